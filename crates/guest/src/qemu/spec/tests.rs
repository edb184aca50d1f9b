use super::*;
use crate::qemu::describe::Accel;
use crate::qemu::plan::Places;

const WEB: &str = r#"
name = "web"
memory = "512MiB"
vcpus = 2
kernel = "/boot/vmlinuz"
append = "console=ttyS0,115200"

[[disk]]
path = "/srv/a,b.qcow2"
format = "qcow2"
cache = "none"
aio = "native"

[[net]]
bridge = "br0"
"#;

fn places() -> Places {
    Places { runtime: "/run/punctual".into(), ram: "/dev/shm".into(), huge_ram: "/huge".into() }
}

#[test]
fn a_spec_becomes_a_command_line() {
    let plan = WEB.parse::<Spec>().unwrap().plan(&places(), Accel::Tcg);
    let line = plan.arguments.join(" ");
    for part in [
        "-name web,debug-threads=on -machine pc,memory-backend=ram0 -accel tcg -cpu max -smp 2 -m 512M",
        "-object memory-backend-file,id=ram0,size=536870912,mem-path=/dev/shm/web-ram0.ram,share=on",
        "-kernel /boot/vmlinuz -append console=ttyS0,115200",
        "-drive file=/srv/a,,b.qcow2,format=qcow2,if=none,id=disk0,cache=none,aio=native",
        "-netdev tap,id=net0,ifname=web-t0,script=no,downscript=no",
        "-display none -qmp unix:/run/punctual/machines/web/qmp.sock,server=on,wait=off",
        "-nodefaults -no-user-config",
    ] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    assert_eq!(plan.taps[0].bridge.as_deref(), Some("br0"));
    let again = WEB.parse::<Spec>().unwrap().plan(&places(), Accel::Tcg);
    assert_eq!(plan, again, "also the hardware address");
}

#[test]
fn numa_nodes_have_backends_of_their_own() {
    let text = "name='n'\nmemory='384MiB'\nhugepages=true\n[[numa]]\nmemory='128MiB'\ncpus='0'\n\
                [[numa]]\nmemory='256MiB'\n";
    let plan = text.parse::<Spec>().unwrap().plan(&places(), Accel::Kvm);
    let line = plan.arguments.join(" ");
    assert!(line.contains("-numa node,nodeid=0,memdev=ram0,cpus=0"), "{line}");
    assert!(line.contains("mem-path=/huge/n-ram1.ram"), "{line}");
    assert!(!line.contains("memory-backend=ram0"), "{line}");
    assert_eq!(plan.layout().unwrap().regions().len(), 2);
}

#[test]
fn errors_name_the_line_and_the_remedy() {
    let unknown = "name = 'x'\nmemory = '1GiB'\nmemroy = '2GiB'\n".parse::<Spec>();
    let unknown = unknown.unwrap_err().to_string();
    assert!(unknown.contains("line 3") && unknown.contains("expected one of"), "{unknown}");
    let size = "name = 'x'\nmemory = 'much'\n".parse::<Spec>().unwrap_err().to_string();
    assert!(size.contains("line 2") && size.contains("512MiB"), "{size}");
}

#[test]
fn values_that_make_no_sense() {
    for (text, expected) in [
        ("name='a/b'\nmemory='1GiB'", "`name` is `a/b`"),
        ("name='a'\nmemory='1GiB'\nvcpus=0", "write 1 to 1024"),
        ("name='a'\nmemory='4097'", "a whole number of MiB"),
        ("name='a'\nmemory='1GiB'\ninitrd='/x'", "belong to one"),
        ("name='a'\nmemory='1GiB'\n[[numa]]\nmemory='1MiB'", "the sum of the NUMA nodes'"),
        ("name='a'\nmemory='1GiB'\n[[net]]\ntap='much-too-long-a-name'", "1 to 15 letters"),
    ] {
        let error = text.parse::<Spec>().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
