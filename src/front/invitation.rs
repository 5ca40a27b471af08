//! How others reach this end: the first lines of a chat, which `/invite` shows again. They contain
//! no secret.

use std::net::{IpAddr, SocketAddr};

use super::ready::Ready;
use super::render::Note;
use crate::mesh::{Confirmation, Event, Scope};
use crate::proto::{Address, DEFAULT_PORT, DisplayName, PeerId};
use crate::sys::network::own_addresses;

/// The most addresses that a line names.
const NAMED: usize = 3;

/// What the lines say, except for the addresses of this computer, which may change at any time.
pub(super) struct Invitation {
    id: PeerId,
    name: Option<DisplayName>,
    decoy: bool,
    listen: Vec<SocketAddr>,
    advertise: Option<Address>,
}

impl Invitation {
    /// The invitation of a run that begins.
    pub(super) fn of(ready: &Ready) -> Self {
        Self {
            id: ready.id,
            name: ready.name.clone(),
            decoy: ready.decoy,
            listen: ready.listen.clone(),
            advertise: ready.advertise.clone(),
        }
    }

    /// Learns a new name of this user, or a new address.
    pub(super) fn update(&mut self, event: &Event) {
        match event {
            Event::Confirmed {
                what: Confirmation::Named(name),
                ..
            } => self.name = Some(name.clone()),
            Event::Advertised { address } => self.advertise = Some(address.clone()),
            _ => {}
        }
    }

    /// The answer to `/invite`.
    pub(super) fn answer(&self) -> Vec<Note> {
        let lines = self.reach(&own_addresses()).into_iter();
        let lines = std::iter::once(self.introduction()).chain(lines);
        lines.map(Note::answer).collect()
    }

    /// Who this end is.
    pub(super) fn who(&self) -> String {
        let id = self.id.hex_prefix(16);
        match &self.name {
            Some(name) => format!("you are {name} ({id})"),
            None => format!("you are {id}"),
        }
    }

    /// Who this end is, and how it gets a name.
    pub(super) fn introduction(&self) -> String {
        match &self.name {
            Some(_) => self.who(),
            None => format!("{}; /name NAME sets your name", self.who()),
        }
    }

    /// What others type to reach this end, and what is needed to be reached from outside. `own` are
    /// the addresses of this computer, the one to other networks first.
    pub(super) fn reach(&self, own: &[IpAddr]) -> Vec<String> {
        let Some(first) = self.listen.first() else {
            return vec![
                "not listening: nobody can dial you; /connect HOST[:PORT] dials".to_owned(),
            ];
        };
        let port = first.port();
        let reachable = self.reachable(own);
        let at = match first.ip().is_unspecified() {
            true => format!("port {port}"),
            false => first.to_string(),
        };
        let (nearest, outside) = match reachable.first() {
            Some(ip) if Scope::of(*ip) != Scope::Loopback => {
                ("others on this network", self.to_outside(&reachable, port))
            }
            _ => ("others on this computer", self.to_elsewhere(first)),
        };
        let options: Vec<String> = reachable
            .iter()
            .map(|ip| format!("-p {}", argument(*ip, port)))
            .collect();
        vec![
            format!(
                "listening on {at}: {nearest} type {} {}",
                self.program(),
                options.join(", or ")
            ),
            outside,
        ]
    }

    /// The command that others type: only decoy sessions meet decoy sessions.
    fn program(&self) -> &'static str {
        match self.decoy {
            true => "sesame --decoy",
            false => "sesame",
        }
    }

    /// The addresses to name, the best first: those at which somebody listens, IPv4 before IPv6,
    /// and those inside a network before public ones. Only if there is no other, one that the
    /// computer gave itself, or one that leads nowhere but to this computer.
    fn reachable(&self, own: &[IpAddr]) -> Vec<IpAddr> {
        let single = self.listen.iter().map(SocketAddr::ip);
        let single = single.filter(|ip| !ip.is_unspecified());
        let everywhere = |ip: &&IpAddr| {
            let mut listen = self.listen.iter().map(SocketAddr::ip);
            listen.any(|at| at.is_unspecified() && at.is_ipv4() == ip.is_ipv4())
        };
        let mut found: Vec<IpAddr> = single.collect();
        found.extend(own.iter().filter(everywhere));
        let nowhere = |ip: &IpAddr| match Scope::of(*ip) {
            Scope::Private | Scope::Public => 0,
            Scope::LinkLocal => 1,
            Scope::Loopback | Scope::Never => 2,
        };
        // A stable sort: the order of the system decides the rest.
        found.sort_by_key(|ip| (nowhere(ip), ip.is_ipv6(), Scope::of(*ip)));
        let best = found.first().map(nowhere);
        let mut kept: Vec<IpAddr> = Vec::new();
        for ip in found {
            // An interface has several IPv6 addresses, and one is enough.
            let another = kept.iter().any(|it| it.is_ipv6()) && ip.is_ipv6();
            if Some(nowhere(&ip)) == best && !kept.contains(&ip) && !another {
                kept.push(ip);
            }
        }
        // The same address leads to this computer from anywhere on it.
        kept.truncate(if best == Some(0) { NAMED } else { 1 });
        kept
    }

    fn to_outside(&self, reachable: &[IpAddr], port: u16) -> String {
        let program = self.program();
        if let Some(address) = &self.advertise {
            let address = match address.ip() {
                Some(ip) => argument(ip, address.port),
                None => without_default(address),
            };
            return format!("from outside: {program} -p {address}");
        }
        let public = reachable.iter().find(|ip| Scope::of(**ip) == Scope::Public);
        match (public, reachable.first()) {
            (Some(ip), _) => format!(
                "from outside: {program} -p {}, if no firewall stops TCP port {port}",
                argument(*ip, port)
            ),
            (None, Some(ip)) => format!(
                "from outside: let the router forward TCP port {port} to {ip}; others then dial its \
                 public address"
            ),
            (None, None) => String::new(),
        }
    }

    /// For an end that other computers cannot dial directly.
    fn to_elsewhere(&self, listens: &SocketAddr) -> String {
        match (&self.advertise, listens.ip().is_unspecified()) {
            (Some(address), _) if address.is_onion() => format!(
                "from anywhere, with Tor: {} --onion -p {}",
                self.program(),
                without_default(address)
            ),
            (Some(address), _) => format!(
                "from other computers: {} -p {}",
                self.program(),
                without_default(address)
            ),
            (None, true) => {
                "from other computers: connect this computer to a network, and see /invite"
                    .to_owned()
            }
            (None, false) => {
                format!("from other computers: only if something forwards a port to {listens}")
            }
        }
    }
}

/// The address as an argument in a shell, with its port only if that is not the default.
fn argument(ip: IpAddr, port: u16) -> String {
    let bare = ip.to_string();
    let same = |text: &str| {
        Address::parse_with(text, |_| None)
            .is_ok_and(|address| address.ip() == Some(ip) && address.port == port)
    };
    match (ip, same(&bare)) {
        (_, true) => bare,
        (IpAddr::V4(_), false) => format!("{bare}:{port}"),
        // Some shells take brackets for a pattern.
        (IpAddr::V6(_), false) => format!("\"[{bare}]:{port}\""),
    }
}

fn without_default(address: &Address) -> String {
    match address.port {
        DEFAULT_PORT => address.host.to_string(),
        _ => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::text::tests::ready;

    fn invitation(listen: &[&str]) -> Invitation {
        Invitation {
            listen: listen.iter().map(|addr| addr.parse().unwrap()).collect(),
            ..Invitation::of(&ready())
        }
    }

    const ALL: [&str; 2] = ["[::]:9000", "0.0.0.0:9000"];

    fn reach(listen: &[&str], own: &[&str]) -> Vec<String> {
        let own: Vec<IpAddr> = own.iter().map(|ip| ip.parse().unwrap()).collect();
        invitation(listen).reach(&own)
    }

    /// What others type.
    fn command(listen: &[&str], own: &[&str]) -> String {
        let line = reach(listen, own).remove(0);
        line.split_once(" type ").unwrap().1.to_owned()
    }

    #[test]
    fn private_ipv4_comes_first_and_loopback_not_at_all() {
        let home = ["127.0.0.1", "192.168.1.42", "::1", "fd00::7"];
        assert_eq!(
            reach(&ALL, &home),
            [
                "listening on port 9000: others on this network type sesame -p 192.168.1.42, or -p \
                 fd00::7",
                "from outside: let the router forward TCP port 9000 to 192.168.1.42; others then \
                 dial its public address"
            ]
        );
        let order = ["8.8.8.8", "fd00::7", "10.0.0.3", "2a00::7", "192.168.1.42"];
        assert_eq!(
            command(&ALL, &order),
            "sesame -p 10.0.0.3, or -p 192.168.1.42, or -p 8.8.8.8"
        );
    }

    #[test]
    fn first_address_of_the_system_stays_first() {
        assert_eq!(
            command(&ALL, &["172.17.0.1", "10.0.0.3"]),
            "sesame -p 172.17.0.1, or -p 10.0.0.3"
        );
    }

    #[test]
    fn address_of_the_last_resort_is_named_only_without_others() {
        let lost = ["127.0.0.1", "169.254.3.4", "::1"];
        assert_eq!(command(&ALL, &lost), "sesame -p 169.254.3.4");
        let lines = reach(&ALL, &["::1", "127.0.0.1"]);
        assert_eq!(
            lines,
            [
                "listening on port 9000: others on this computer type sesame -p 127.0.0.1",
                "from other computers: connect this computer to a network, and see /invite"
            ]
        );
    }

    #[test]
    fn only_addresses_at_which_somebody_listens_are_named() {
        let own = ["127.0.0.1", "192.168.1.42", "10.0.0.3", "fd00::7"];
        assert_eq!(command(&["10.0.0.3:9000"], &own), "sesame -p 10.0.0.3");
        assert_eq!(command(&["[::]:9000"], &own), "sesame -p fd00::7");
        assert_eq!(
            command(&["0.0.0.0:9000"], &own),
            "sesame -p 192.168.1.42, or -p 10.0.0.3"
        );
        assert_eq!(
            reach(&["127.0.0.1:40113"], &own),
            [
                "listening on 127.0.0.1:40113: others on this computer type sesame -p \
                 127.0.0.1:40113",
                "from other computers: only if something forwards a port to 127.0.0.1:40113"
            ]
        );
        assert_eq!(
            reach(&[], &own),
            ["not listening: nobody can dial you; /connect HOST[:PORT] dials"]
        );
    }

    #[test]
    fn port_is_named_unless_it_is_the_default() {
        let own = ["192.168.1.42", "fd00::7"];
        assert_eq!(
            command(&["[::]:9001", "0.0.0.0:9001"], &own),
            "sesame -p 192.168.1.42:9001, or -p \"[fd00::7]:9001\""
        );
    }

    #[test]
    fn named_arguments_lead_to_their_addresses() {
        for ip in ["192.168.1.42", "fd00::7", "2001:db8::1:9000", "fd00::1:2"] {
            for port in [9000, 9001] {
                let ip = ip.parse().unwrap();
                let text = argument(ip, port);
                let address = Address::parse_with(text.trim_matches('"'), |_| None).unwrap();
                assert_eq!((address.ip(), address.port), (Some(ip), port), "{text}");
            }
        }
    }

    #[test]
    fn onion_service_is_reached_with_tor() {
        let onion = |name: &str| Some(Address::parse(&format!("{name}.onion:9000")).unwrap());
        let mut invitation = Invitation {
            advertise: onion("old"),
            ..invitation(&["127.0.0.1:9000"])
        };
        let address = onion("new").unwrap();
        invitation.update(&Event::Advertised { address });
        let lines = invitation.reach(&[]);
        assert_eq!(
            lines[1],
            "from anywhere, with Tor: sesame --onion -p new.onion"
        );
    }

    #[test]
    fn outside_line_names_a_public_or_advertised_address() {
        let server = reach(&ALL, &["127.0.0.1", "8.8.8.8"]);
        assert_eq!(
            server[1],
            "from outside: sesame -p 8.8.8.8, if no firewall stops TCP port 9000"
        );
        let advertised = Invitation {
            advertise: Some(Address {
                host: crate::proto::Host::Name("home.example".into()),
                port: 19000,
            }),
            decoy: true,
            ..invitation(&ALL)
        };
        let home = ["192.168.1.42".parse().unwrap()];
        assert_eq!(
            advertised.reach(&home),
            [
                "listening on port 9000: others on this network type sesame --decoy -p 192.168.1.42",
                "from outside: sesame --decoy -p home.example:19000"
            ]
        );
    }
}
