//! Addresses, and the places of proxies and of tor: each is printed in a form that is read as the
//! same, and the line about a wrong one is short.

use std::num::NonZeroU32;
use std::str;

use sesame::proto::tor::{ControlPlace, TorControl};
use sesame::proto::wire::{Reader, put_address};
use sesame::proto::{Address, Host, Proxy};

/// The longest line about a wrong address, in characters.
const LONGEST: usize = 500;

/// An interface of each name and index.
fn interface(zone: &str) -> Option<NonZeroU32> {
    match zone.parse() {
        Ok(index) => NonZeroU32::new(index),
        // Names of Linux have at most 15 bytes.
        Err(_) => NonZeroU32::new(zone.len() as u32).filter(|length| length.get() < 16),
    }
}

/// Takes a text.
pub fn check(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    address(text);
    proxy(text);
    tor(text);
    on_the_wire(bytes);
}

fn address(text: &str) {
    match Address::parse(text) {
        Ok(address) => {
            is_right(&address);
            assert_eq!(Address::parse(&address.to_string()).as_ref(), Ok(&address));
            assert!(!matches!(address.host, Host::LinkLocal(..)));
            let mut bytes = Vec::new();
            put_address(&mut bytes, Some(&address));
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.address(), Ok(Some(address)));
            assert!(reader.is_empty());
        }
        Err(error) => is_short(&error.line(text)),
    }
    match Address::parse_with(text, interface) {
        Ok(address) => {
            is_right(&address);
            let again = Address::parse_with(&address.to_string(), interface);
            assert_eq!(again.as_ref(), Ok(&address));
            let told = address.told_over(([192, 0, 2, 1], 9000).into());
            let is_of_here = matches!(address.host, Host::LinkLocal(..));
            assert_eq!(told.is_none(), is_of_here, "a zone is never sent");
        }
        Err(error) => is_short(&error.line(text)),
    }
}

fn is_short(line: &str) {
    assert!(line.chars().count() <= LONGEST, "{line}");
}

fn is_right(address: &Address) {
    assert!(address.port > 0);
    match &address.host {
        Host::Name(name) => {
            assert!((1..=253).contains(&name.len()));
            let is_allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '.' | '-' | '_');
            assert!(name.chars().all(is_allowed), "{name}");
            assert_eq!(
                address.is_onion(),
                name == "onion" || name.ends_with(".onion")
            );
        }
        Host::Ip(ip) => assert_eq!(*ip, ip.to_canonical()),
        Host::LinkLocal(ip, zone) => {
            assert!(ip.is_unicast_link_local());
            assert_eq!(interface(zone.as_str()), Some(zone.index()));
        }
    }
}

fn proxy(text: &str) {
    let Ok(proxy) = Proxy::parse(text) else {
        return;
    };
    let again = Proxy::parse(&proxy.url()).unwrap();
    assert_eq!(again.servers(), proxy.servers());
    assert_eq!(again.to_string(), proxy.to_string());
    assert_eq!(format!("{proxy:?}"), format!("Proxy({proxy})"));
    let login = |proxy: &Proxy| {
        let login = proxy.credentials();
        login.map(|login| (login.user().to_vec(), login.password().to_vec()))
    };
    assert_eq!(login(&again), login(&proxy));
    if let Some((user, password)) = login(&proxy) {
        assert!((1..256).contains(&user.len()) && (1..256).contains(&password.len()));
    }
    assert!(proxy.servers().iter().all(|server| server.port() > 0));
}

fn tor(text: &str) {
    let Ok(control) = TorControl::parse(text) else {
        return;
    };
    let again = TorControl::parse(&control.text()).unwrap();
    assert_eq!(again.places(), control.places());
    assert_eq!(again.is_given(), control.is_given());
    assert_eq!(again.password(), control.password());
    for place in control.places() {
        match place {
            ControlPlace::Port(at) => assert!(at.ip().is_loopback() && at.port() > 0),
            ControlPlace::Localhost(port) => assert!(port > 0),
            ControlPlace::Socket(path) => assert!(path.is_absolute()),
        }
    }
}

/// The same bytes, as a peer sends an address.
fn on_the_wire(bytes: &[u8]) {
    let mut reader = Reader::new(bytes);
    let Ok(Some(address)) = reader.address() else {
        return;
    };
    is_right(&address);
    let mut written = Vec::new();
    put_address(&mut written, Some(&address));
    assert_eq!(
        Reader::new(&written).address().as_ref(),
        Ok(&Some(address.clone()))
    );
    assert_eq!(Address::parse(&address.to_string()), Ok(address));
}

/// A text of each form, right and wrong.
pub fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        "192.0.2.7",
        "192.0.2.7:1",
        "2001:db8::1",
        "[2001:db8::1]:77",
        "[::ffff:192.0.2.1]:77",
        "Home.Example.:80",
        "abc.onion",
        "fe80::1%eth0",
        "[fe80::1%2]:77",
        "https://home.example/chat?x#y",
        "tcp://[fe80::1%eth0]:1",
        "me@x:9000",
        "2001:db8::1:9000",
        "1.2.3.400",
        "socks5://127.0.0.1:9050",
        "socks5h://a%3a:b:c@localhost:1/",
        "socks5://%FF:x@[::1]:9050",
        "9051",
        ":pass%20word@[::1]:9051",
        "localhost:9151",
        "/run/tor/control",
        "\u{4}\0\0\u{1}\u{2}\0\u{9}",
        "\u{1}\u{3}a.b\0\u{9}",
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}
