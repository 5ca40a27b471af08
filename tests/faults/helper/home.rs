//! Hosts behind a router that forwards ports on request, and one host outside.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::net::{Net, ip};
use crate::scenario::{Run, has, seen, skip};

/// The host outside. All others are behind the router.
pub const OUTSIDE: usize = 0;

/// The addresses of the router, and that of the host outside. Those out there have to be public ones,
/// or nobody takes them for a way in from everywhere.
const INNER: &str = "10.99.0.254";
const OUTER: &str = "44.1.1.2";
const NEIGHBOUR: &str = "44.1.1.9";

/// What the router does with packets. It lets everything out, under its own address.
const RULES: &str = r#"
table inet filter {
  chain forward {
    type filter hook forward priority 0; policy drop;
    ct state established,related accept
    iifname "inner" accept
    jump miniupnpd
  }
  chain miniupnpd { }
  chain prerouting { type nat hook prerouting priority -100; jump prerouting_miniupnpd; }
  chain postrouting {
    type nat hook postrouting priority 100
    jump postrouting_miniupnpd
    oifname "outer" masquerade
  }
  chain prerouting_miniupnpd { }
  chain postrouting_miniupnpd { }
}
"#;

/// A router that knows nothing but NAT-PMP (RFC 6886): `python3 - ADDRESS OUTSIDE SECONDS GRANTS`. It
/// grants no more seconds than that, so often, and then takes mappings back only. It writes a line for
/// each request about a mapping, and for each that it ignores.
const NAT_PMP: &str = r#"
import socket, struct, sys
here, outside = sys.argv[1:3]
longest, grants = map(int, sys.argv[3:])
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((here, 5351))
print("ready", flush=True)
while True:
    asked, who = s.recvfrom(100)
    version, op = asked[0], asked[1]
    if version != 0:
        s.sendto(struct.pack(">BBHI", 0, 128 | op, 1, 1), who)
    elif grants == 0 and (op == 0 or asked[8:12] != bytes(4)):
        print("ignored", flush=True)
    elif op == 0:
        s.sendto(struct.pack(">BBHI", 0, 128, 0, 1) + socket.inet_aton(outside), who)
    else:
        inner, outer, seconds = struct.unpack(">HHI", asked[4:12])
        outer = outer if seconds else 0
        grants -= 1 if seconds else 0
        granted = min(seconds, longest)
        s.sendto(struct.pack(">BBHIHHI", 0, 128 | op, 0, 1, inner, outer, granted), who)
        print("map", op, inner, outer, seconds, flush=True)
"#;

/// A home: a router, this many hosts behind it, and one outside.
pub struct Home {
    pub net: Net,
    place: TempDir,
    daemon: Option<Child>,
}

impl Home {
    /// `None`, and a line about it, if it cannot be made.
    pub fn of(hosts: usize) -> Option<Self> {
        for (tool, package) in [("miniupnpd", "miniupnpd"), ("python3", "python3")] {
            if !has(tool, "--version") {
                skip(&format!(
                    "a router that forwards ports needs the package {package}"
                ));
                return None;
            }
        }
        let net = Net::of(hosts + 1)?;
        net.cut(true);
        net.readdress(OUTSIDE, NEIGHBOUR);
        let home = Self {
            place: TempDir::new().unwrap(),
            daemon: None,
            net,
        };
        let space = home.space();
        ip(&["netns", "add", &space]).unwrap();
        ip(&["-n", &space, "link", "set", "lo", "up"]).unwrap();
        for (device, side, addr) in [("outer", 0, OUTER), ("inner", 1, INNER)] {
            home.net.plug_in(&space, device, side);
            let addr = format!("{addr}/24");
            ip(&["-n", &space, "addr", "add", &addr, "dev", device]).unwrap();
            ip(&["-n", &space, "link", "set", device, "up"]).unwrap();
        }
        for host in 1..=hosts {
            home.net.route_v4(host, INNER);
        }
        let forwarding = ["sysctl", "-qw", "net.ipv4.ip_forward=1"];
        assert!(home.inside(&forwarding).status().unwrap().success());
        home.net.firewall(&space, RULES);
        Some(home)
    }

    fn space(&self) -> String {
        self.net.space_of("router")
    }

    /// A command on the router.
    fn inside(&self, words: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.space()]).args(words);
        command
    }

    /// A run on a host, which asks the router to forward its port.
    pub fn mapped(&self, host: usize, name: &str) -> Run {
        self.net.run(host, name).with(&["--map"])
    }

    /// Starts the router's service, with these lines of its own configuration, and waits until it
    /// serves.
    pub fn serve(&mut self, options: &[&str]) {
        let config = self.place.path().join("config");
        let log = self.place.path().join("log");
        let lines = [
            "ext_ifname=outer",
            "listening_ip=inner",
            "enable_natpmp=yes",
            "enable_upnp=yes",
            "secure_mode=yes",
            "uuid=00000000-0000-0000-0000-000000000001",
        ];
        // The first line for an option is the one that holds.
        let named = |line: &&str| line.split('=').next().unwrap().to_owned();
        let given: Vec<_> = options.iter().map(named).collect();
        let kept = lines.iter().filter(|line| !given.contains(&named(line)));
        let all: Vec<_> = options.iter().chain(kept).copied().collect();
        fs::write(&config, all.join("\n") + "\n").unwrap();
        let output = File::create(&log).unwrap();
        let daemon = self
            .inside(&["miniupnpd", "-d", "-P"])
            .arg(self.place.path().join("pid"))
            .arg("-f")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        self.daemon = Some(daemon);
        let mut awaited = Vec::new();
        if all.contains(&"enable_natpmp=yes") {
            awaited.push("Listening for NAT-PMP/PCP traffic");
        }
        if all.contains(&"enable_upnp=yes") {
            awaited.push("HTTP listening on port");
        }
        seen("a router that serves", || {
            let log = fs::read_to_string(&log).unwrap();
            awaited.iter().all(|line| log.contains(line)).then_some(())
        });
    }

    /// Serves NAT-PMP and nothing else, as a router whose own address is `outside`.
    pub fn serve_nat_pmp(&mut self, outside: &str) {
        self.serve_by_script(&[outside, "600", "1000"]);
    }

    /// The same, but grants one mapping for some seconds, and does not renew it.
    pub fn serve_nat_pmp_once(&mut self, outside: &str) {
        self.serve_by_script(&[outside, "6", "1"]);
    }

    fn serve_by_script(&mut self, args: &[&str]) {
        let script = self.place.path().join("nat-pmp.py");
        let log = self.place.path().join("log");
        fs::write(&script, NAT_PMP).unwrap();
        let daemon = self
            .inside(&["python3"])
            .arg(&script)
            .arg(INNER)
            .args(args)
            .stdout(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        self.daemon = Some(daemon);
        seen("a router that serves", || {
            self.log().contains("ready").then_some(())
        });
    }

    fn log(&self) -> String {
        fs::read_to_string(self.place.path().join("log")).unwrap()
    }

    /// Waits until the router's service has written this.
    pub fn logs(&self, line: &str) {
        seen("a line of the router", || {
            self.log().contains(line).then_some(())
        });
    }

    /// Ends the router's service, and with it all that it forwards.
    pub fn end(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        self.net.firewall(
            &self.space(),
            "flush chain inet filter miniupnpd
             flush chain inet filter prerouting_miniupnpd
             flush chain inet filter postrouting_miniupnpd",
        );
        assert_eq!(self.forwarded(), Vec::<u16>::new());
    }

    /// Ends the router's service, and starts it again.
    pub fn restart(&mut self, options: &[&str]) {
        self.end();
        self.serve(options);
    }

    /// The ports of the router that it forwards.
    pub fn forwarded(&self) -> Vec<u16> {
        let chain = [
            "nft",
            "list",
            "chain",
            "inet",
            "filter",
            "prerouting_miniupnpd",
        ];
        let listed = self.inside(&chain).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        let mut ports: Vec<u16> = listed
            .lines()
            .filter(|line| line.contains("dnat"))
            .map(|line| {
                let mut words = line.split_whitespace();
                words.find(|word| *word == "dport");
                words.next().unwrap().parse().unwrap()
            })
            .collect();
        ports.sort_unstable();
        ports
    }

    /// Waits until the router forwards exactly these ports.
    pub fn forwards(&self, ports: &[u16]) {
        seen("a change of what the router forwards", || {
            (self.forwarded() == ports).then_some(())
        });
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        let _ = ip(&["netns", "del", &self.space()]);
    }
}
