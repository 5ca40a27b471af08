//! A network of the test's own, and its faults.

use std::fs;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use crate::scenario::{Peer, Run, has, skip};

/// The prefix of the names of all namespaces made here; after it come the process that made them,
/// the network's number, and the host's.
const PREFIX: &str = "sesame-test";

/// The names of the switches, in the one namespace that holds both.
const SWITCHES: [&str; 2] = ["switch0", "switch1"];

/// The ends of the cable between them.
const TRUNK: [&str; 2] = ["trunk0", "trunk1"];

static MADE: AtomicU32 = AtomicU32::new(0);

/// Two switches with a cable between them, and hosts, each a network namespace with a cable to one
/// of them: the first host to the first, all others to the second. Gone when dropped.
pub struct Net {
    name: String,
    hosts: usize,
}

impl Net {
    /// A network of this many hosts; `None`, and a line about it, if it cannot be made.
    pub fn of(hosts: usize) -> Option<Self> {
        match Self::build(hosts) {
            Ok(net) => Some(net),
            Err(why) => {
                skip(&why);
                None
            }
        }
    }

    fn build(hosts: usize) -> Result<Self, String> {
        if !nix::unistd::geteuid().is_root() {
            return Err(
                "network namespaces need root, with CAP_SYS_ADMIN and CAP_NET_ADMIN".into(),
            );
        }
        let tools = [
            ("ip", "-V", "iproute2"),
            ("tc", "-V", "iproute2"),
            ("nft", "-v", "nftables"),
        ];
        for (tool, version, package) in tools {
            if !has(tool, version) {
                return Err(format!("a network needs the package {package}"));
            }
        }
        remove_leftovers();
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let net = Self {
            name: format!("{PREFIX}-{}-{number}", std::process::id()),
            hosts,
        };
        net.make()?;
        Ok(net)
    }

    fn make(&self) -> Result<(), String> {
        let switch = self.switch();
        ip(&["netns", "add", &switch])?;
        for bridge in SWITCHES {
            ip(&["-n", &switch, "link", "add", bridge, "type", "bridge"])?;
            ip(&["-n", &switch, "link", "set", bridge, "up"])?;
        }
        let [one, other] = TRUNK;
        ip(&[
            "-n", &switch, "link", "add", one, "type", "veth", "peer", "name", other,
        ])?;
        for (end, bridge) in TRUNK.into_iter().zip(SWITCHES) {
            ip(&["-n", &switch, "link", "set", end, "master", bridge, "up"])?;
        }
        for host in 0..self.hosts {
            let (space, port) = (self.space(host), port(host));
            ip(&["netns", "add", &space])?;
            ip(&[
                "-n", &switch, "link", "add", &port, "type", "veth", "peer", "name", "eth0",
                "netns", &space,
            ])?;
            let bridge = SWITCHES[host.min(1)];
            ip(&["-n", &switch, "link", "set", &port, "master", bridge, "up"])?;
            let addr = format!("{}/24", self.addr(host));
            ip(&["-n", &space, "addr", "add", &addr, "dev", "eth0"])?;
            ip(&["-n", &space, "link", "set", "lo", "up"])?;
            ip(&["-n", &space, "link", "set", "eth0", "up"])?;
        }
        Ok(())
    }

    fn switch(&self) -> String {
        self.space_of("switch")
    }

    /// The name of a host's namespace.
    pub fn space(&self, host: usize) -> String {
        self.space_of(&host.to_string())
    }

    /// The name of a namespace of this network for something else.
    pub fn space_of(&self, what: &str) -> String {
        format!("{}-{what}", self.name)
    }

    /// The address that a host has at first.
    pub fn addr(&self, host: usize) -> String {
        format!("10.99.0.{}", host + 1)
    }

    /// Gives a host a link-local address, and returns it without the zone.
    pub fn link_local(&self, host: usize) -> String {
        let addr = format!("fe80::{}", host + 1);
        let space = self.space(host);
        // Without the second in which another host could object.
        self.do_ip(&[
            "-n",
            &space,
            "addr",
            "add",
            &format!("{addr}/64"),
            "dev",
            "eth0",
            "nodad",
        ]);
        addr
    }

    /// Leaves a host no address but a link-local one.
    pub fn only_link_local(&self, host: usize) {
        let space = self.space(host);
        self.link_local(host);
        self.do_ip(&["-n", &space, "-4", "addr", "flush", "dev", "eth0"]);
    }

    /// A run on a host, with this name, that listens at all of its addresses. The started process
    /// is the program itself, without a shell or helper in between.
    pub fn run(&self, host: usize, name: &str) -> Run {
        self.put(host, Run::named(name))
    }

    /// Puts a run on a host.
    pub fn put(&self, host: usize, run: Run) -> Run {
        let space = self.space(host);
        run.listening(&[]).under(&["ip", "netns", "exec", &space])
    }

    /// Pulls the cable out of a host's port of the switch.
    pub fn pull(&self, host: usize) {
        self.do_ip(&["-n", &self.switch(), "link", "set", &port(host), "down"]);
    }

    /// Puts the cable back.
    pub fn plug(&self, host: usize) {
        self.do_ip(&["-n", &self.switch(), "link", "set", &port(host), "up"]);
    }

    /// Cuts the cable between the switches, or mends it: no host sees it in an interface of its
    /// own. Returns the moment from which that holds.
    pub fn cut(&self, cut: bool) -> Instant {
        let state = if cut { "down" } else { "up" };
        self.do_ip(&["-n", &self.switch(), "link", "set", TRUNK[0], state]);
        Instant::now()
    }

    /// Takes a host's own interface down, as an aeroplane mode would, or up again.
    pub fn radio(&self, host: usize, on: bool) {
        let state = if on { "up" } else { "down" };
        self.do_ip(&["-n", &self.space(host), "link", "set", "eth0", state]);
    }

    /// From now on this percentage of TCP packets is lost, in both directions.
    pub fn lose(&self, percent: u32) {
        self.firewall(
            &self.switch(),
            // Each packet is counted where it comes from its host.
            &format!(
                "add table bridge losses
                 add chain bridge losses passing {{ type filter hook forward priority 0; }}
                 add rule bridge losses passing iifname \"port*\" ip protocol tcp numgen random mod 100 < {percent} drop"
            ),
        );
    }

    /// Limits each cable to this rate in each direction, with a queue of 50 ms.
    pub fn narrow(&self, rate: &str) {
        let ends = (0..self.hosts).flat_map(|host| {
            [
                (self.switch(), port(host)),
                (self.space(host), "eth0".to_owned()),
            ]
        });
        for (space, device) in ends {
            let mut tc = Command::new("tc");
            tc.args([
                "-n", &space, "qdisc", "replace", "dev", &device, "root", "tbf",
            ]);
            tc.args(["rate", rate, "burst", "8kb", "latency", "50ms"]);
            run(tc).unwrap();
        }
    }

    /// Answers everything on a connection to the first hosts, on which these peers are, with a
    /// reset, until each has reported that its link went down.
    pub fn reset(&self, peers: &[&Peer]) {
        let since = Instant::now();
        for host in 0..peers.len() {
            self.firewall(
                &self.space(host),
                // A reset in answer to a reset would hide it from its receiver.
                "add table inet resets
                 add chain inet resets coming { type filter hook input priority 0; }
                 add rule inet resets coming tcp flags & (syn | rst) == 0 reject with tcp reset",
            );
        }
        for peer in peers {
            peer.expect_after(since, "peer_down");
        }
        for host in 0..peers.len() {
            self.firewall(&self.space(host), "delete table inet resets");
        }
    }

    /// Keeps all packets between two hosts of one switch from each other, while both reach the
    /// others.
    pub fn part(&self, one: usize, other: usize) {
        let rule = |from: usize, to: usize| {
            let (from, to) = (port(from), port(to));
            format!("add rule bridge parted passing iifname {from} oifname {to} drop\n")
        };
        self.firewall(
            &self.switch(),
            &format!(
                "add table bridge parted
                 add chain bridge parted passing {{ type filter hook forward priority 0; }}
                 {}{}",
                rule(one, other),
                rule(other, one)
            ),
        );
    }

    /// Gives a host a route to every IPv4 address there is, through this one.
    pub fn route_v4(&self, host: usize, through: &str) {
        let space = self.space(host);
        self.do_ip(&["-n", &space, "route", "add", "default", "via", through]);
    }

    /// Gives a namespace an interface of this name, with a cable to one of the two switches.
    pub fn plug_in(&self, space: &str, device: &str, switch: usize) {
        let (here, port) = (self.switch(), format!("to-{device}"));
        self.do_ip(&[
            "-n", &here, "link", "add", &port, "type", "veth", "peer", "name", device, "netns",
            space,
        ]);
        let bridge = SWITCHES[switch];
        self.do_ip(&["-n", &here, "link", "set", &port, "master", bridge, "up"]);
    }

    /// Gives a host a route to every address there is, through this one.
    pub fn route_everything(&self, host: usize, through: &str) {
        self.route_v4(host, through);
        let space = self.space(host);
        let six = [
            "-n",
            &space,
            "addr",
            "add",
            "fd99::1/64",
            "dev",
            "eth0",
            "nodad",
        ];
        self.do_ip(&six);
        self.do_ip(&[
            "-n", &space, "-6", "route", "add", "default", "via", "fd99::2",
        ]);
    }

    /// From now on nothing leaves a program on this host except to this address and port. The rest
    /// is dropped and counted. (ICMP comes from the kernel itself.)
    pub fn count_what_passes_by(&self, host: usize, place: &str) {
        let (ip, port) = place.rsplit_once(':').unwrap();
        self.firewall(
            &self.space(host),
            &format!(
                "add table inet leaks
                 add counter inet leaks passed
                 add chain inet leaks leaving {{ type filter hook output priority 0; }}
                 add rule inet leaks leaving ip daddr {ip} tcp dport {port} accept
                 add rule inet leaks leaving meta l4proto {{ icmp, ipv6-icmp }} accept
                 add rule inet leaks leaving counter name passed drop"
            ),
        );
    }

    /// The same, and only this computer itself can be reached.
    pub fn count_what_leaves(&self, host: usize) {
        self.firewall(
            &self.space(host),
            "add table inet leaks
             add counter inet leaks passed
             add chain inet leaks leaving { type filter hook output priority 0; }
             add rule inet leaks leaving oifname lo accept
             add rule inet leaks leaving meta l4proto { icmp, ipv6-icmp } accept
             add rule inet leaks leaving counter name passed drop",
        );
    }

    /// From now on counts the datagrams that arrive for this group and port and cannot go further than
    /// this network.
    pub fn count_near_datagrams(&self, host: usize, group: &str, port: u16) {
        self.firewall(
            &self.space(host),
            &format!(
                "add table inet near
                 add counter inet near arrived
                 add chain inet near coming {{ type filter hook input priority 0; }}
                 add rule inet near coming ip ttl 1 ip daddr {group} udp dport {port} counter name arrived"
            ),
        );
    }

    /// How many packets the one counter of a host's firewall has counted, which one of these has set up.
    pub fn counted(&self, host: usize) -> u64 {
        let mut nft = Command::new("ip");
        let space = self.space(host);
        nft.args(["netns", "exec", &space, "nft", "list", "counters"]);
        let listed = String::from_utf8(nft.output().unwrap().stdout).unwrap();
        let mut words = listed
            .split_whitespace()
            .skip_while(|word| *word != "packets");
        words.nth(1).unwrap().parse().unwrap()
    }

    /// From now on the switches pass no datagram to this port.
    pub fn drop_datagrams(&self, port: u16) {
        self.firewall(
            &self.switch(),
            &format!(
                "add table bridge quiet
                 add chain bridge quiet passing {{ type filter hook forward priority 0; }}
                 add rule bridge quiet passing ip protocol udp udp dport {port} drop
                 add rule bridge quiet passing ip6 nexthdr udp udp dport {port} drop"
            ),
        );
    }

    /// Undoes [`Self::part`].
    pub fn reunite(&self) {
        self.firewall(&self.switch(), "delete table bridge parted");
    }

    /// Gives a host another address in place of its own, as a new lease would.
    pub fn readdress(&self, host: usize, addr: &str) {
        let space = self.space(host);
        self.do_ip(&[
            "-n", &space, "addr", "flush", "dev", "eth0", "scope", "global",
        ]);
        let addr = format!("{addr}/24");
        self.do_ip(&["-n", &space, "addr", "add", &addr, "dev", "eth0"]);
    }

    fn do_ip(&self, args: &[&str]) {
        ip(args).unwrap();
    }

    /// Has the firewall of a namespace take these rules.
    pub fn firewall(&self, space: &str, rules: &str) {
        let mut nft = Command::new("ip");
        nft.args(["netns", "exec", space, "nft", "-f", "-"]);
        let mut child = nft.stdin(Stdio::piped()).spawn().unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(rules.as_bytes())
            .unwrap();
        assert!(child.wait().unwrap().success(), "nft: {rules}");
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for host in 0..self.hosts {
            remove(&self.space(host));
        }
        remove(&self.switch());
    }
}

/// Moves this thread, and those that it starts, into a namespace.
pub fn enter(space: &str) {
    let file = fs::File::open(Path::new("/run/netns").join(space)).unwrap();
    // SAFETY: the call changes nothing but this thread's network.
    let done = unsafe { nix::libc::setns(file.as_raw_fd(), nix::libc::CLONE_NEWNET) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

/// A host's port of the switch.
fn port(host: usize) -> String {
    format!("port{host}")
}

pub fn ip(args: &[&str]) -> Result<(), String> {
    let mut command = Command::new("ip");
    command.args(args);
    run(command)
}

fn run(mut command: Command) -> Result<(), String> {
    let ended = command.output().map_err(|error| error.to_string())?;
    if ended.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&ended.stderr);
    Err(format!("{command:?}: {}", why.trim()))
}

fn remove(space: &str) {
    // If it is missing, it was never made.
    let _ = ip(&["netns", "del", space]);
}

/// Removes what a killed test process has left behind.
fn remove_leftovers() {
    let Ok(spaces) = fs::read_dir("/run/netns") else {
        return;
    };
    for space in spaces.flatten() {
        let name = space.file_name().to_string_lossy().into_owned();
        let rest = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.strip_prefix('-'));
        let maker = rest.and_then(|rest| rest.split('-').next());
        if maker.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            remove(&name);
        }
    }
}
