//! What the test program does when it is started again as a process that is paged.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, Read, Write};
use std::os::fd::AsRawFd;
use std::sync::Mutex;
use std::time::Duration;

use super::{LONG, PAGE, PAGES, PageSet, Pager, deliver, open, run};
use crate::Ram;
use crate::trace::Pid;
use crate::trace::tests::victim::{ARGUMENT, ROLE};

/// Where each page has the byte that counts the writes to it.
const COUNTER: usize = 1234;

/// Other tests start it as a process of its own, with a role; among them it has none and ends.
#[test]
fn victim() {
    let argument = std::env::var(ARGUMENT).unwrap_or_default();
    match std::env::var(ROLE).as_deref() {
        Ok("guest") => be_guest(&argument),
        Ok("nobody") => {
            // SAFETY: plain system calls on this process alone.
            unsafe {
                assert_eq!(libc::setgid(65534), 0);
                assert_eq!(libc::setuid(65534), 0);
                libc::prctl(libc::PR_SET_DUMPABLE, 1);
            }
            be_guest(&argument);
        }
        Ok("deaf") => be_deaf_pager(&argument),
        Ok("heir") => be_next_pager(&argument),
        _ => {}
    }
}

/// What a page is to hold: every fourth is zero.
pub(super) fn content(page: u64, bytes: &mut [u8]) {
    if page % 4 == 3 {
        bytes.fill(0);
        return;
    }
    let mut state = (page + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for word in bytes.as_chunks_mut::<8>().0 {
        *word = random(&mut state).to_le_bytes();
    }
}

/// A random number (xorshift64*); `state` is not zero.
pub(super) fn random(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d)
}

/// The memory, and what has been written to it.
struct Guest {
    whole: *mut u8,
    /// The second half once more.
    again: *mut u8,
    pages: u64,
    counters: Vec<Mutex<u8>>,
}

// SAFETY: plain memory that is only touched by volatile accesses through pointers.
unsafe impl Send for Guest {}
// SAFETY: as above; a page is touched under its lock.
unsafe impl Sync for Guest {}

/// Does as told: `work THREADS` reads and writes all pages in random order, `again A B` looks at
/// pages through the second mapping, `touch A B` reads one byte, `send A B` has the kernel read
/// pages and `receive A B` write them, `direct A` has a disk do so, `spoil A B` fills pages with something else, `merge` asks for
/// huge pages, `check` compares all, and `drop A B` gives back memory.
fn be_guest(path: &str) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len() as usize;
    let pages = (length / PAGE) as u64;
    let counters = (0..pages).map(|_| Mutex::default()).collect();
    let again = length / PAGE / 2 / 512 * 512 * PAGE;
    let guest = Guest {
        whole: map(&file, 0, length),
        again: map(&file, again, length - again).wrapping_sub(again),
        pages,
        counters,
    };
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let number = |index: usize| words.get(index).map_or(0, |word| word.parse().unwrap());
        let (from, to) = (number(1), number(2));
        match words[0] {
            "work" => guest.work(from),
            "check" => (0..pages).for_each(|page| guest.check(guest.whole, page)),
            "again" => (from..to).for_each(|page| guest.check(guest.again, page)),
            "touch" => (from..to).for_each(|page| {
                guest.byte(page, 0);
            }),
            "send" => (from..to).for_each(|page| guest.send(page)),
            "receive" => (from..to).for_each(|page| guest.receive(page)),
            "direct" => guest.receive_directly(from),
            "spoil" => (from..to).for_each(|page| guest.spoil(page)),
            "merge" => println!("{}", guest.merge(length)),
            "drop" => {
                let how = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
                let (at, length) = (from as usize * PAGE, (to - from) as usize * PAGE);
                // SAFETY: no memory is passed.
                let result =
                    unsafe { libc::fallocate(file.as_raw_fd(), how, at as i64, length as i64) };
                assert_eq!(result, 0);
            }
            _ => panic!("{line}"),
        }
        println!("done");
    }
}

impl Guest {
    fn at(&self, page: u64) -> *mut u8 {
        assert!(page < self.pages);
        self.whole.wrapping_add(page as usize * PAGE)
    }

    fn byte(&self, page: u64, offset: usize) -> u8 {
        // SAFETY: inside of the mapping.
        unsafe { self.at(page).add(offset).read_volatile() }
    }

    /// Threads that read each page as a whole and write to it, twice each.
    fn work(&self, threads: u64) {
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let mut state = thread + 1;
                scope.spawn(move || {
                    for _ in 0..2 * self.pages {
                        let page = random(&mut state) % self.pages;
                        // Every fourth touch is a write before any read.
                        if !state.is_multiple_of(4) {
                            self.check(self.whole, page);
                        }
                        self.count(page);
                    }
                });
            }
        });
    }

    fn count(&self, page: u64) {
        let mut counter = self.counters[page as usize].lock().unwrap();
        let mut expected = [0; PAGE];
        content(page, &mut expected);
        *counter = counter.wrapping_add(1);
        // SAFETY: inside of the mapping; nobody else touches the page.
        unsafe {
            self.at(page).add(COUNTER).write_volatile(expected[COUNTER].wrapping_add(*counter));
        }
    }

    fn check(&self, mapping: *mut u8, page: u64) {
        let counter = self.counters[page as usize].lock().unwrap();
        let mut expected = [0; PAGE];
        content(page, &mut expected);
        expected[COUNTER] = expected[COUNTER].wrapping_add(*counter);
        // From the end, so that what is filled in pieces shows.
        for offset in (0..PAGE).rev() {
            // SAFETY: inside of the mapping; nobody else touches the page.
            let found = unsafe { mapping.add(page as usize * PAGE + offset).read_volatile() };
            if found != expected[offset] {
                println!("page {page} byte {offset} is {found} and not {}", expected[offset]);
                std::process::exit(9);
            }
        }
    }

    /// The kernel reads the page.
    fn send(&self, page: u64) {
        let (mut reader, writer) = std::io::pipe().unwrap();
        // SAFETY: the kernel reads a page of the mapping.
        let sent = unsafe { libc::write(writer.as_raw_fd(), self.at(page).cast(), PAGE) };
        assert_eq!(sent, PAGE as isize, "{}", std::io::Error::last_os_error());
        let (mut found, mut expected) = ([0; PAGE], [0; PAGE]);
        reader.read_exact(&mut found).unwrap();
        content(page, &mut expected);
        assert!(found == expected, "page {page}");
    }

    /// The kernel writes half of the page.
    fn receive(&self, page: u64) {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(&[0xa5; PAGE / 2]).unwrap();
        // SAFETY: the kernel writes into the mapping.
        let got = unsafe { libc::read(reader.as_raw_fd(), self.at(page).cast(), PAGE / 2) };
        assert_eq!(got, PAGE as isize / 2, "{}", std::io::Error::last_os_error());
        let mut expected = [0; PAGE];
        content(page, &mut expected);
        expected[..PAGE / 2].fill(0xa5);
        (0..PAGE).for_each(|at| assert_eq!(self.byte(page, at), expected[at], "{page} {at}"));
    }

    /// A disk writes the page: the kernel pins it first.
    fn receive_directly(&self, page: u64) {
        use std::os::unix::fs::{FileExt, OpenOptionsExt};
        let program = std::env::current_exe().unwrap();
        let opened = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(&program);
        let Ok(file) = opened else {
            println!("SKIP: no direct I/O on {}", program.display());
            self.byte(page, 0); // the fault is waited for
            return;
        };
        // SAFETY: the kernel writes into the mapping.
        let got = unsafe { libc::pread(file.as_raw_fd(), self.at(page).cast(), PAGE, 0) };
        assert_eq!(got, PAGE as isize, "{}", std::io::Error::last_os_error());
        let mut expected = [0; PAGE];
        File::open(program).unwrap().read_exact_at(&mut expected, 0).unwrap();
        (0..PAGE).for_each(|at| assert_eq!(self.byte(page, at), expected[at], "{page} {at}"));
    }

    fn spoil(&self, page: u64) {
        // SAFETY: inside of the mapping.
        (0..PAGE).for_each(|at| unsafe { self.at(page).add(at).write_volatile(0x77) });
    }

    /// What the kernel says to a wish for huge pages now.
    fn merge(&self, length: usize) -> String {
        const COLLAPSE: i32 = 25;
        // SAFETY: a whole mapping; its content stays.
        let result = unsafe { libc::madvise(self.whole.cast(), length, COLLAPSE) };
        if result == 0 { "merged".to_owned() } else { "not merged".to_owned() }
    }
}

/// At an address where a huge page can begin.
fn map(file: &File, offset: usize, length: usize) -> *mut u8 {
    const HUGE: usize = 2 << 20;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let none = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: new mappings at places that the kernel chooses, the second inside of the first.
    let address = unsafe {
        let space = libc::mmap(std::ptr::null_mut(), length + HUGE, libc::PROT_NONE, none, -1, 0);
        assert_ne!(space, libc::MAP_FAILED);
        let start = space.wrapping_byte_add(space.align_offset(HUGE));
        let how = libc::MAP_SHARED | libc::MAP_FIXED;
        libc::mmap(start, length, access, how, file.as_raw_fd(), offset as i64)
    };
    assert_ne!(address, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
    address.cast()
}

/// Whom to page: `PID FILE`.
fn whom(argument: &str) -> (Pid, Ram) {
    let (pid, path) = argument.split_once(' ').unwrap();
    (Pid::from_raw(pid.parse().unwrap()).unwrap(), open(path.as_ref()))
}

/// Attaches to a process, reads its faults and answers none, until it is killed.
fn be_deaf_pager(argument: &str) {
    let (pid, ram) = whom(argument);
    let pager = Pager::attach(pid, &ram, &PageSet::full(ram.layout().pages())).unwrap();
    println!("ready");
    loop {
        if let Some(fault) = pager.next_fault(LONG).unwrap() {
            println!("told {}", fault.pages.start.0);
        }
    }
}

/// Takes a process over, answers its faults and pushes pages as well, until it is killed.
fn be_next_pager(argument: &str) {
    let (pid, ram) = whom(argument);
    let pager = Pager::take_over(pid, &ram, &PageSet::full(ram.layout().pages())).unwrap();
    println!("ready");
    let mut state = u64::from(std::process::id());
    loop {
        if let Some(fault) = pager.next_fault(Duration::from_micros(200)).unwrap() {
            deliver(&pager, fault.pages).unwrap();
        }
        let start = random(&mut state) % PAGES;
        deliver(&pager, run(start, (start + 3).min(PAGES))).unwrap();
        println!("one more");
    }
}
