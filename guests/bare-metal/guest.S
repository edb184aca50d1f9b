/* A guest without an operating system, for /dev/kvm that cannot boot a stock Linux kernel.
 *
 * It sweeps over the pages from 1 MiB to 64 MiB. Each page holds its own address in its first four
 * bytes and, in the middle, the number of sweeps over it (modulo 256). Before it counts a page up,
 * it compares both with what they ought to be; what it says on COM1 and on COM2 is
 *
 *     .         BATCH pages are done (1000 times a second, so that gaps show when it stood still)
 *     newline   a sweep is done
 *     !PPPPPPPP the page with this number (in hexadecimal) is wrong; the guest halts
 *
 * Between batches it waits with the processor halted for its local APIC's timer, as systems do. (For
 * ticks of the old 8254, KVM needs a thread of the kernel, which is late where the host is busy.)
 */
    .set FIRST, 0x100000            /* address of the first page */
    .set END, 0x4000000             /* address after the last page */
    .set PAGE, 0x1000
    .set COUNTER, 0x800             /* where in a page the counter stands */
    .set BATCH, 16                  /* pages between two ticks, a power of two */
    .set PERIOD, 1000000            /* of the timer's clock, which KVM and QEMU run at 1 GHz: 1 ms */

    .set COM1, 0x3f8
    .set COM2, 0x2f8
    .set INTERRUPT_MASK, 0x21       /* of the old controller */
    .set APIC, 0xfee00000
    .set APIC_END_OF_INTERRUPT, APIC + 0xb0
    .set APIC_SPURIOUS, APIC + 0xf0 /* also turns it on */
    .set APIC_TIMER, APIC + 0x320
    .set APIC_INITIAL_COUNT, APIC + 0x380
    .set APIC_DIVISOR, APIC + 0x3e0
    .set TIMER_VECTOR, 32
    .set IDT, 0x1000                /* the table of interrupts is built at this address */
    .set STACK, 0x7c00              /* grows down from the code */

    .section .text
    .code16
    .globl _start
_start:
    cli
    xor %ax, %ax
    mov %ax, %ds
    lgdt gdt_descriptor
    mov %cr0, %eax
    or $1, %eax
    mov %eax, %cr0
    ljmp $8, $protected

    .code32
protected:
    mov $16, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    mov $STACK, %esp
    inb $0x92, %al                  /* enable the A20 line */
    or $2, %al
    outb %al, $0x92

/* One entry of the table of interrupts is used: the timer's. */
    mov $on_timer, %eax
    movl $(8 << 16), IDT + TIMER_VECTOR * 8
    mov %ax, IDT + TIMER_VECTOR * 8
    mov $0x8e00, %ax
    mov %eax, IDT + TIMER_VECTOR * 8 + 4
    lidt idt_descriptor
    mov $0xff, %al                  /* the old controller's interrupts off */
    outb %al, $INTERRUPT_MASK
    movl $0x1ff, APIC_SPURIOUS
    movl $0xb, APIC_DIVISOR         /* by 1 */
    movl $(1 << 17 | TIMER_VECTOR), APIC_TIMER      /* periodic */
    movl $PERIOD, APIC_INITIAL_COUNT

    mov $FIRST, %ebx
prepare:
    mov %ebx, (%ebx)
    movb $0, COUNTER(%ebx)
    add $PAGE, %ebx
    cmp $END, %ebx
    jb prepare

    xor %ecx, %ecx                  /* %cl is the number of the sweep */
sweep:
    mov $FIRST, %ebx
page:
    cmp %ebx, (%ebx)
    jne wrong
    cmp %cl, COUNTER(%ebx)
    jne wrong
    incb COUNTER(%ebx)
    add $PAGE, %ebx
    test $(BATCH * PAGE - 1), %ebx
    jnz page
    mov $'.', %al
    call say
    sti
    hlt
resumed:
    cmp $END, %ebx
    jb page
    inc %cl
    mov $'\n', %al
    call say
    jmp sweep

wrong:
    mov $'!', %al
    call say
    shr $12, %ebx                   /* the page's number, as eight digits */
    mov $8, %ecx
digit:
    rol $4, %ebx
    mov %bl, %al
    and $15, %al
    cmp $10, %al
    jb decimal
    add $('a' - '0' - 10), %al
decimal:
    add $'0', %al
    call say
    loop digit
    mov $'\n', %al
    call say
halt:
    hlt
    jmp halt

/* Writes %al to COM1, and to COM2, which need not be there. The emulated ports take it at once. */
say:
    mov $COM1, %dx
    outb %al, %dx
    mov $COM2, %dx
    outb %al, %dx
    ret

/* The only place that interrupts come from is the wait, so there is nothing to restore: the frame is
 * dropped and the sweep goes on with interrupts off. (An `iret` in protected mode is more than the
 * instruction emulator of KVM can do, which a KVM without hardware help leans on.) */
on_timer:
    add $12, %esp
    movl $0, APIC_END_OF_INTERRUPT
    jmp resumed

    .align 8
gdt:
    .quad 0
    .quad 0x00cf9a000000ffff        /* 8: code, all 4 GiB */
    .quad 0x00cf92000000ffff        /* 16: data, all 4 GiB */
gdt_descriptor:
    .word gdt_descriptor - gdt - 1
    .long gdt
idt_descriptor:
    .word (TIMER_VECTOR + 1) * 8 - 1
    .long IDT
