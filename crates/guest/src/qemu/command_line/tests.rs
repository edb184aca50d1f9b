use std::collections::BTreeMap;
use std::path::PathBuf;

use proptest::prelude::*;
use punctual_units::Bytes;

use super::*;

const MANAGED: &str = "-name guest=web,debug-threads=on -S -machine pc,accel=kvm:tcg,memory-backend=ram0 \
    -m 256,slots=2,maxmem=1G -object memory-backend-file,id=ram0,size=256M,mem-path=/dev/shm/web.ram,share=on \
    -qmp unix:/run/web/qmp.sock,server,nowait -qmp unix:/run/web/second/qmp.sock,server=on \
    -monitor unix:/run/web/hmp.sock,server=on,wait=off -serial file:/run/web/serial.log \
    -chardev socket,id=agent,path=/run/web/agent.sock,server=on,wait=off -chardev socket,id=tpm,path=/run/swtpm.sock \
    -netdev tap,id=net0,ifname=tap7,script=/etc/qemu-ifup -device virtio-net-pci,netdev=net0,mac=52:54:00:00:00:01 \
    -drive file=/srv/a,,b.img,format=raw,if=virtio -vnc unix:/run/web/vnc.sock -pidfile /run/web/pid -daemonize";

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(ToOwned::to_owned).collect()
}

fn elsewhere() -> PerHost {
    PerHost {
        directory: PathBuf::from("/run/b/web"),
        monitor: PathBuf::from("/run/web/qmp.sock"),
        ram: BTreeMap::from([
            ("ram0".to_owned(), PathBuf::from("/dev/shm/b,1.ram")),
            ("mem1".to_owned(), PathBuf::from("/dev/shm/b-2.ram")),
        ]),
        machine_type: "pc-i440fx-7.2".to_owned(),
        accel: "tcg".to_owned(),
        taps: BTreeMap::from([("net0".to_owned(), "tapb".to_owned())]),
        dimms: vec![Dimm {
            id: "dimm1".to_owned(),
            memdev: "mem1".to_owned(),
            size: Bytes::mib(128),
            addr: 0x1_0000_0000,
            slot: 0,
            node: 0,
        }],
    }
}

#[test]
fn what_is_per_host_is_replaced_and_nothing_else() {
    let relocated = relocate(&CommandLine::parse(words(MANAGED)), &elsewhere());
    let expected = "-name guest=web,debug-threads=on -machine pc-i440fx-7.2,accel=tcg,memory-backend=ram0 \
        -m 256,slots=2,maxmem=1G -object memory-backend-file,id=ram0,size=256M,mem-path=/dev/shm/b,,1.ram,share=on \
        -qmp unix:/run/b/web/qmp.sock,server,nowait -qmp unix:/run/b/web/2-qmp.sock,server=on,wait=off \
        -monitor unix:/run/b/web/hmp.sock,server=on,wait=off -serial file:/run/b/web/serial.log \
        -chardev socket,id=agent,path=/run/b/web/agent.sock,server=on,wait=off -chardev socket,id=tpm,path=/run/swtpm.sock \
        -netdev tap,id=net0,ifname=tapb,script=no,downscript=no -device virtio-net-pci,netdev=net0,mac=52:54:00:00:00:01 \
        -drive file=/srv/a,,b.img,format=raw,if=virtio -vnc unix:/run/b/web/vnc.sock -pidfile /run/b/web/pid \
        -object memory-backend-file,id=mem1,size=134217728,mem-path=/dev/shm/b-2.ram,share=on \
        -device pc-dimm,id=dimm1,memdev=mem1,addr=0x100000000,slot=0,node=0 -S -incoming defer";
    assert_eq!(relocated.command_line.words(), words(expected));
    assert_eq!(relocated.monitor, PathBuf::from("/run/b/web/qmp.sock"));
    assert_eq!(relocated.files.len(), 7);
}

#[test]
fn a_module_whose_memory_is_in_no_file_is_plugged_in_with_memory_of_qemus_own() {
    let host = PerHost { ram: BTreeMap::new(), ..elsewhere() };
    let words = relocate(&CommandLine::parse(["-m", "256"]), &host).command_line.words();
    assert!(words.contains(&"memory-backend-ram,id=mem1,size=134217728".to_owned()), "{words:?}");
}

#[test]
fn a_second_move_changes_only_what_is_per_host() {
    let there = relocate(&CommandLine::parse(words(MANAGED)), &elsewhere());
    let host = PerHost { monitor: there.monitor.clone(), dimms: vec![], ..elsewhere() };
    let again = relocate(&there.command_line, &host);
    assert_eq!(again.command_line, there.command_line);
}

#[test]
fn json_as_management_programs_write_it() {
    let line = CommandLine::parse([
        "-object",
        r#"{"qom-type":"memory-backend-file","id":"ram0","mem-path":"/x","share":true,"size":1}"#,
        "-accel",
        "kvm",
        "-accel",
        "tcg,thread=multi",
    ]);
    let host = PerHost { dimms: vec![], ..elsewhere() };
    let words = relocate(&line, &host).command_line.words();
    assert!(words[1].contains(r#""mem-path":"/dev/shm/b,1.ram""#), "{}", words[1]);
    assert!(words[1].contains(r#""share":true"#), "{}", words[1]);
    assert_eq!(&words[2..6], ["-accel", "tcg,thread=multi", "-machine", "pc-i440fx-7.2"]);
    assert_eq!(&words[6..8], ["-qmp", "unix:/run/b/web/qmp.sock,server=on,wait=off"]);
}

#[test]
fn short_and_long_forms_of_a_switch() {
    for on in ["a,server", "a,server=on", "a,server=true", r#"{"server":true}"#] {
        assert!(Options::parse(on).is_on("server"), "{on}");
    }
    for off in ["a", "a,server=off", "server=no,a", r#"{"server":false}"#] {
        assert!(!Options::parse(off).is_on("server"), "{off}");
    }
}

#[test]
fn a_kind_with_and_without_its_key() {
    assert_eq!(Options::parse("pc,accel=tcg").kind("type"), Some("pc"));
    assert_eq!(Options::parse("accel=tcg,type=pc").kind("type"), Some("pc"));
    let mut options = Options::parse("accel=tcg,type=pc");
    options.set_kind("type", "q35");
    assert_eq!(options.to_string(), "accel=tcg,type=q35");
}

proptest! {
    #[test]
    fn printing_undoes_parsing(words in proptest::collection::vec("(-{0,2}[a-zS]{1,5}|[ -~]{0,12}|-S|-daemonize)", 0..12)) {
        prop_assert_eq!(CommandLine::parse(words.clone()).words(), words);
    }

    #[test]
    fn printing_a_value_undoes_parsing(text in "[a-c=,{]{0,16}") {
        prop_assert_eq!(Options::parse(&text).to_string(), text);
    }

    #[test]
    fn any_text_can_be_set_and_read(text in "[ -~]{0,16}") {
        let mut options = Options::parse("tap,id=net0,x=1");
        options.set("x", &text);
        let again = Options::parse(&options.to_string());
        prop_assert_eq!(again.get("x"), Some(text.as_str()));
        prop_assert_eq!(again.get("id"), Some("net0"));
    }
}
