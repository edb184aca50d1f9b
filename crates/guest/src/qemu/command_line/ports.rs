use super::{CommandLine, Options};

impl CommandLine {
    /// The TCP ports that QEMU will listen on, with their addresses (empty: all of the host's).
    ///
    /// Monitors, serial lines, displays and debuggers; not the ports of QEMU's user network.
    #[must_use]
    pub fn ports(&self) -> Vec<(String, u16)> {
        let mut ports = Vec::new();
        for argument in &self.arguments {
            let options = argument.options();
            match argument.name() {
                "s" => ports.push((String::new(), 1234)),
                "qmp" | "qmp-pretty" | "monitor" | "serial" | "parallel" | "gdb" => {
                    ports.extend(short_form(&options, argument.name() == "gdb"));
                }
                "chardev" if options.kind("backend") == Some("socket") => {
                    ports.extend(in_full(&options, "port").filter(|_| options.is_on("server")));
                }
                "vnc" => ports.extend(display(&options)),
                "spice" => {
                    ports.extend(in_full(&options, "port"));
                    ports.extend(in_full(&options, "tls-port"));
                }
                _ => {}
            }
        }
        ports
    }
}

/// `tcp:ADDRESS:PORT,server=on`. A debugger's port is listened on without being told.
fn short_form(options: &Options, always: bool) -> Option<(String, u16)> {
    let what = options.kind("chardev")?;
    let what = what.strip_prefix("mon:").unwrap_or(what);
    let place = what.strip_prefix("tcp:").or_else(|| what.strip_prefix("telnet:"))?;
    let (address, port) = place.rsplit_once(':')?;
    let port = port.parse().ok()?;
    (always || options.is_on("server")).then(|| (address.to_owned(), port))
}

fn in_full(options: &Options, key: &str) -> impl Iterator<Item = (String, u16)> {
    let address = options.get("host").or_else(|| options.get("addr")).unwrap_or_default();
    let port = options.get(key).and_then(|port| port.parse().ok());
    let address = address.to_owned();
    port.map(|port| (address, port)).into_iter()
}

/// `ADDRESS:NUMBER`: display 0 has port 5900.
fn display(options: &Options) -> Option<(String, u16)> {
    let (address, number) = options.kind("vnc")?.rsplit_once(':')?;
    if address == "unix" || options.is_on("reverse") {
        return None;
    }
    Some((address.to_owned(), number.parse::<u16>().ok()?.checked_add(5900)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_every_kind() {
        let line = "-vnc 10.0.0.1:2 -vnc unix:/x -monitor tcp:127.0.0.1:4444,server=on \
            -serial tcp:10.0.0.9:5555 -gdb tcp::9000 -s -spice port=5930,addr=::1 \
            -chardev socket,id=c,host=127.0.0.1,port=7000,server=on,wait=off";
        let ports = CommandLine::parse(line.split_whitespace()).ports();
        let numbers: Vec<u16> = ports.iter().map(|(_, port)| *port).collect();
        assert_eq!(numbers, [5902, 4444, 9000, 1234, 5930, 7000]);
        assert_eq!(ports[0].0, "10.0.0.1");
    }
}
