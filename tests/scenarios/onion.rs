//! Onion services (`--onion`), with a control port and a SOCKS port of the test's own.
//! `tests/onion` has the same with a real tor.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::helper::{Peer, Run, Tor, TorManner, seen, up};

fn run(tor: &Tor, name: &str) -> Run {
    let run = Run::named(name).listening(&["--port", "0"]);
    run.with(&["--onion", &tor.control()])
}

/// The address that a run advertises.
fn onion(peer: &Peer) -> String {
    if let Some(address) = peer.ready()["advertise"].as_str() {
        return address.to_owned();
    }
    // After a panic, a run does not wait for a slow tor.
    let event = peer.expect("advertised", |_| true);
    event["addr"].as_str().unwrap().to_owned()
}

/// What a run that ends at once says on stderr.
fn refused(run: Run, status: i32) -> String {
    let ended = run.listening(&["--port", "0"]).pipe(b"");
    let error = ended.err.join("\n");
    assert_eq!(ended.status, status, "{error}");
    error
}

#[test]
fn onion_services_find_each_other_by_gossip() {
    let tor = Tor::new();
    let hub = run(&tor, "hub").peer();
    let address = onion(&hub);
    let (id, port) = address.split_once(".onion:").unwrap();
    assert_eq!((id.len(), port), (56, "9000"));
    let members: Vec<Peer> = ["one", "two"]
        .map(|name| {
            let member = run(&tor, name).dials(&address).peer();
            up(&hub, &member);
            member
        })
        .into();
    let [mut one, two] = <[Peer; 2]>::try_from(members).ok().unwrap();
    up(&one, &two);
    one.say("through tor");
    two.hears(&one, "through tor");
    hub.hears(&one, "through tor");
    assert_ne!(onion(&one), onion(&two));
    let named = [&hub, &one, &two].map(onion);
    let asked = tor.socks.asked();
    assert!(asked.iter().all(|asked| named.contains(&asked.target)));
    let users: std::collections::BTreeSet<_> = asked.iter().map(|asked| &asked.user).collect();
    assert_eq!(users.len(), asked.len(), "each dial has a user of its own");
    for peer in [&hub, &one, &two] {
        for addr in peer.listens() {
            let addr: std::net::SocketAddr = addr.parse().unwrap();
            assert!(addr.ip().is_loopback(), "{addr}");
        }
    }
}

#[test]
fn address_without_a_port_is_enough_to_dial() {
    let tor = Tor::new();
    let alice = run(&tor, "alice").peer();
    let address = onion(&alice);
    let bob = run(&tor, "bob")
        .dials(address.strip_suffix(":9000").unwrap())
        .peer();
    up(&alice, &bob);
    alice
        .process
        .told(&format!("tor has created the onion service {address}"));
}

#[test]
fn control_socket_in_the_file_system_is_used() {
    let tor = Tor::new();
    let path = tor.control_socket();
    let alice = Run::named("alice")
        .listening(&["--port", "0"])
        .with(&[&format!("--onion={}", path.display())])
        .peer();
    let bob = run(&tor, "bob").dials(&onion(&alice)).peer();
    up(&alice, &bob);
}

#[test]
fn quit_withdraws_the_service() {
    let tor = Tor::new();
    let mut alice = run(&tor, "alice").peer();
    let address = onion(&alice);
    let id = address.split_once('.').unwrap().0;
    assert_eq!(alice.quit().status, 0);
    let asked = seen("the end of the service", || {
        let asked = tor.asked();
        (asked.last() == Some(&format!("DEL_ONION {id}"))).then_some(asked)
    });
    let adds: Vec<_> = asked
        .iter()
        .filter(|line| line.starts_with("ADD_ONION"))
        .collect();
    let [add] = adds[..] else { panic!("{asked:?}") };
    assert!(add.starts_with("ADD_ONION NEW:ED25519-V3 Flags=DiscardPK Port=9000,127.0.0.1:"));
}

#[test]
fn each_of_seventeen_panics_has_a_new_service() {
    let tor = Tor::new();
    let mut alice = run(&tor, "alice").with(&["--stay"]).peer();
    let mut addresses = vec![onion(&alice)];
    for _ in 0..17 {
        alice.send(json!({"type": "panic"}));
        alice.begins_anew();
        let address = onion(&alice);
        assert!(!addresses.contains(&address), "{address}");
        addresses.push(address);
    }
    let bob = run(&tor, "bob").dials(&addresses[17]).peer();
    up(&alice, &bob);
    // The first one is gone.
    let carol = run(&tor, "carol").dials(&addresses[0]).peer();
    carol
        .process
        .told(&format!("cannot reach {}", addresses[0]));
}

#[test]
fn panic_goes_on_without_tor_until_it_is_back() {
    let mut tor = Tor::new();
    tor.has_password("open: @sesame");
    let control = format!(":open%3A%20%40sesame@{}", tor.control());
    let mut alice = Run::named("alice")
        .listening(&["--port", "0"])
        .with(&["--stay", "--onion", &control])
        .peer();
    onion(&alice);
    let command_line = fs::read(format!("/proc/{}/cmdline", alice.process.pid())).unwrap();
    let command_line = String::from_utf8(command_line).unwrap();
    assert!(command_line.contains("--onion"), "{command_line:?}");
    assert!(!command_line.contains("sesame@"), "{command_line:?}");
    tor.dies();
    alice.process.told("tor has ended the onion service");
    alice.send(json!({"type": "panic"}));
    alice.begins_anew();
    assert_eq!(alice.ready()["advertise"], json!(null));
    let line = alice.process.told("cannot use tor at");
    assert!(line.contains(&tor.control()), "{line}");
    tor.starts_again();
    let event = alice.expect("advertised", |_| true);
    let address = event["addr"].as_str().unwrap();
    let bob = Run::named("bob")
        .listening(&["--port", "0"])
        .with(&["--onion", &control])
        .dials(address)
        .peer();
    up(&alice, &bob);
}

#[test]
fn restart_of_tor_leads_to_a_new_address() {
    let mut tor = Tor::new();
    let alice = run(&tor, "alice").peer();
    let bob = run(&tor, "bob").dials(&onion(&alice)).peer();
    up(&alice, &bob);
    let before = onion(&alice);
    tor.dies();
    for peer in [&alice, &bob] {
        peer.process.told("tor has ended the onion service");
    }
    tor.starts_again();
    let of = |peer: &Peer| {
        let event = peer.expect("advertised", |_| true);
        event["addr"].as_str().unwrap().to_owned()
    };
    let (alices, bobs) = (of(&alice), of(&bob));
    assert!(alices != before && alices != bobs);
    // A newcomer learns of both by their new addresses.
    let carol = run(&tor, "carol").dials(&alices).peer();
    up(&alice, &carol);
    let dave = run(&tor, "dave").dials(&bobs).peer();
    up(&bob, &dave);
}

#[test]
fn links_outlive_the_control_connection() {
    let tor = Tor::new();
    let alice = run(&tor, "alice").peer();
    let mut bob = run(&tor, "bob").dials(&onion(&alice)).peer();
    up(&alice, &bob);
    tor.cuts_control();
    alice.expect("advertised", |_| true);
    bob.say("still here");
    alice.hears(&bob, "still here");
    assert!(alice.every("peer_down").is_empty());
}

#[test]
fn each_fault_of_the_control_port_has_its_line() {
    let tor = Tor::new();
    let bad_id = "250-ServiceID=abc\r\n250 OK";
    let no_socks = "250-net/listeners/socks=\"unix:/run/tor/socks\" \"192.0.2.1:9050\"\r\n250 OK";
    for (manner, line) in [
        (TorManner::Closes, "closed the connection without an answer"),
        (
            TorManner::Says(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            "does not speak tor's control protocol",
        ),
        (TorManner::Says(b"\x16\x03\x01\0\0"), "does not speak"),
        (TorManner::Floods, "does not speak"),
        (TorManner::Offers("NULL"), "lets every program control it"),
        (
            TorManner::Offers("COOKIE COOKIEFILE=\"/etc/hostname\""),
            "does not have SAFECOOKIE",
        ),
        (TorManner::Offers("HASHEDPASSWORD"), "wants a password"),
        (
            TorManner::Offers("SAFECOOKIE COOKIEFILE=\"/etc/passwd\""),
            "'/etc/passwd' does not have 32 bytes",
        ),
        (
            TorManner::Offers("SAFECOOKIE COOKIEFILE=\"/nonexistent\""),
            "cannot read tor's cookie file '/nonexistent'",
        ),
        (
            TorManner::Offers("SAFECOOKIE COOKIEFILE=\"/dev/zero\""),
            "does not have 32 bytes",
        ),
        (
            TorManner::Offers("SAFECOOKIE COOKIEFILE=\"/a\\033[2Jb\""),
            "named an invalid path",
        ),
        (
            TorManner::Offers("SAFECOOKIE COOKIEFILE=\"cookie\""),
            "named an invalid path",
        ),
        (TorManner::KnowsNoCookie, "does not know tor's cookie"),
        (
            TorManner::Answers("AUTHENTICATE", "515 Bad"),
            "refused the cookie",
        ),
        (TorManner::Answers("GETINFO", no_socks), "has no SOCKS port"),
        (
            TorManner::Answers("ADD_ONION", "551 Failed"),
            "did not create the onion service (error 551)",
        ),
        (
            TorManner::Answers("ADD_ONION", bad_id),
            "named an invalid address",
        ),
    ] {
        tor.behaves(manner.clone());
        let error = refused(Run::new().with(&["--onion", &tor.control()]), 1);
        let place = format!("cannot use tor at {}: ", tor.control());
        assert!(error.contains(&place), "{manner:?}: {error}");
        assert!(error.contains(line), "{manner:?}: {error}");
        let lines: Vec<_> = error.lines().collect();
        assert!(
            lines.len() <= 3,
            "one line, advice, and the warning: {error}"
        );
    }
}

#[test]
fn control_port_that_hangs_or_is_missing_is_named() {
    let mut tor = Tor::new();
    tor.behaves(TorManner::Hangs);
    let error = refused(Run::new().with(&["--onion", &tor.control()]), 1);
    assert!(error.contains("no answer within 10 s"), "{error}");
    tor.dies();
    let error = refused(Run::new().with(&["--onion", &tor.control()]), 1);
    assert!(
        error.to_lowercase().contains("connection refused"),
        "{error}"
    );
    let error = refused(Run::new().with(&["--onion", "/nonexistent/control"]), 1);
    assert!(error.contains("tor at /nonexistent/control: "), "{error}");
}

#[test]
fn missing_rights_are_named_with_what_to_do() {
    if !nix::unistd::geteuid().is_root() {
        super::helper::skip("files of another user need root");
        return;
    }
    let tor = Tor::new();
    let socket = tor.control_socket();
    let as_nobody = |place: &str| Run::new().copied().with(&["--onion", place]);
    let folder = socket.parent().unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o600)).unwrap();
    let error = refused(as_nobody(&socket.display().to_string()), 1);
    assert!(error.contains("ermission denied"), "{error}");
    assert!(error.contains("group debian-tor"), "{error}");
    let error = refused(as_nobody(&tor.control()), 1);
    assert!(error.contains("cannot read tor's cookie file"), "{error}");
    assert!(error.contains("CookieAuthFileGroupReadable 1"), "{error}");
}

#[test]
fn password_must_be_right_and_wanted() {
    let tor = Tor::new();
    let with = |password: &str| {
        let control = format!(":{password}@{}", tor.control());
        refused(Run::new().with(&["--onion", &control]), 1)
    };
    assert!(with("x").contains("tor has no password"));
    tor.has_password("right");
    let wrong = with("wrong");
    assert!(wrong.contains("tor refused the password"), "{wrong}");
    assert!(!wrong.contains("wrong"), "it is not shown: {wrong}");
    let control = format!(":right@{}", tor.control());
    let alice = Run::new().listening(&["--port", "0"]);
    onion(&alice.with(&["--onion", &control]).peer());
}

#[test]
fn what_does_not_go_with_an_onion_service_is_wrong_usage() {
    for (args, line) in [
        (
            &["--onion", "--proxy", "socks5://127.0.0.1:1"][..],
            "cannot be used with",
        ),
        (
            &["--onion", "--advertise", "a:1"],
            "with --onion sesame cannot use --advertise",
        ),
        (
            &["--onion", "--no-listen"],
            "with --onion sesame cannot use --no-listen",
        ),
        (
            &["--onion", "--listen", "0.0.0.0"],
            "with --onion sesame does not listen on 0.0.0.0",
        ),
        (&["--onion", "tor.example:9051"], "must be on this computer"),
        (&["--onion", "9051x"], "expected HOST:PORT"),
        (&["--onion", ":%4@9051"], "expected :PASSWORD@HOST:PORT"),
        (&["--onion=0"], "not a number from 1 to 65535"),
        (
            &["--onion", "-p", "[fe80::1%lo]:1"],
            "no proxy can dial a link-local",
        ),
    ] {
        let ended = Run::new().listening(&[]).with(args).pipe(b"");
        let error = ended.err.join("\n");
        assert_eq!(ended.status, 2, "{args:?}: {error}");
        assert!(error.contains(line), "{args:?}: {error}");
        assert!(!error.contains("%4"), "no part of a password is shown");
    }
}

#[test]
fn wrong_guesses_through_the_service_delay_nobody_else() {
    let tor = Tor::new();
    let alice = run(&tor, "alice").peer();
    let address = onion(&alice);
    let strangers: Vec<Peer> = (0..4)
        .map(|n| {
            let stranger = run(&tor, &format!("stranger{n}"));
            stranger.phrase("another phrase").dials(&address).peer()
        })
        .collect();
    seen("several guesses", || {
        let failed = alice.every("auth_failed");
        let count: u64 = failed
            .iter()
            .map(|event| event["count"].as_u64().unwrap())
            .sum();
        (count > 5).then_some(())
    });
    let bob = run(&tor, "bob").dials(&address).peer();
    up(&alice, &bob);
    let carol = Run::named("carol").dials(&alice.addr()).peer();
    up(&alice, &carol);
    drop(strangers);
}
