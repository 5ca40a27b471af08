//! Which peers meet: those with the same phrase, another one, a decoy's.

use serde_json::{Value, json};

use super::helper::{Run, up};

const OTHER: &str = "another phrase altogether";

#[test]
fn with_another_phrase_both_ends_say_so_and_stay_apart() {
    let alice = Run::named("alice").peer();
    let mallory = Run::named("mallory").phrase(OTHER).to(&alice).peer();
    let refused = alice.expect("auth_failed", |event| event["inbound"] == true);
    assert!(refused["addr"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert_eq!(refused["count"], 1);
    let refused = mallory.expect("auth_failed", |event| event["inbound"] == false);
    assert_eq!(refused["addr"], alice.addr());
    let bob = Run::named("bob").to(&alice).peer();
    up(&alice, &bob);
    assert_eq!(alice.every("peer_up").len(), 1);
    assert!(mallory.every("peer_up").is_empty());
}

#[test]
fn a_pipe_with_another_phrase_ends_with_5() {
    let alice = Run::named("alice").peer();
    let pipe = Run::new()
        .phrase(OTHER)
        .to(&alice)
        .with(&["--timeout", "10"]);
    let ended = pipe.pipe(b"hello\n");
    assert_eq!(ended.status, 5, "{ended:?}");
    let refusal = format!("{} has another passphrase", alice.addr());
    assert!(
        ended.err.iter().any(|line| line.contains(&refusal)),
        "{ended:?}"
    );
    assert!(
        ended
            .err
            .iter()
            .all(|line| !line.contains(OTHER) && !line.contains("hello"))
    );
    assert!(ended.out.is_empty());
}

#[test]
fn five_answers_with_another_phrase_are_enough() {
    let alice = Run::named("alice").peer();
    let mut mallory = Run::named("mallory").phrase(OTHER).peer();
    for _ in 0..5 {
        mallory
            .process
            .write(format!("/connect {}\n", alice.addr()).as_bytes());
        mallory.expect("auth_failed", |event| event["inbound"] == false);
    }
    let known = mallory.ask("peers");
    let [listed] = &known["peers"].as_array().unwrap()[..] else {
        panic!("{known}")
    };
    let answer = (&listed["peer"], &listed["error"]);
    assert_eq!(answer, (&Value::Null, &json!("another passphrase")));
}

#[test]
fn the_phrase_is_the_same_however_it_is_given() {
    use std::fs::File;
    use std::os::fd::AsRawFd;

    let run = Run::named("alice").phrase("na\u{ef}ve caf\u{e9} phrase");
    let alice = run.with(&["--stay"]).peer();
    let addr = alice.addr();
    let run = || Run::new().dials(&addr);
    // Decomposed, behind a byte-order mark, before a line end of Windows.
    let file = run().phrase("\u{feff}nai\u{308}ve cafe\u{301} phrase\r\nsecond line");
    assert_eq!(file.pipe(b"by file\n").status, 0);
    let ended = run()
        .no_phrase()
        .with(&["--phrase", "naïve café phrase"])
        .pipe(b"by option\n");
    assert_eq!(ended.status, 0);
    assert!(
        ended.err[0].contains("warning") && ended.err[0].contains("history"),
        "{ended:?}"
    );
    let input = "naïve café phrase\nby stdin\n".as_bytes();
    assert_eq!(
        run()
            .no_phrase()
            .with(&["--phrase-fd", "0"])
            .pipe(input)
            .status,
        0
    );
    for text in ["by file", "by option", "by stdin"] {
        alice.expect("message", |event| event["text"] == text);
    }
    // A descriptor of its own, as a shell hands it over.
    let run = run().no_phrase().with(&["--phrase-fd", "3"]);
    let path = run.place.file("on-fd", "naïve café phrase\n".as_bytes());
    let file = File::open(&path).unwrap();
    assert!(file.as_raw_fd() > 2);
    let run = run.env("PHRASE", path.to_str().unwrap());
    let script = r#"echo "by descriptor" | "$@" 3<"$PHRASE""#;
    run.under_shell("bash", script).plain().ends_with(0);
    alice.expect("message", |event| event["text"] == "by descriptor");
}

#[test]
fn phrase_that_is_no_line_of_text_is_2_with_advice() {
    let utf16: Vec<u8> = "\u{feff}open sesame\r\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    for (bytes, told) in [
        (utf16.as_slice(), "UTF-16; save it as UTF-8"),
        (b"\xfe\xff\0o\0p\0\r\0\n", "UTF-16; save it as UTF-8"),
        (b"open\0sesame\n", "a NUL character"),
        (b"open\rsesame\r", "a carriage return inside"),
        (b"open\r\r\n", "a carriage return inside"),
    ] {
        let file = Run::new();
        file.place.file("phrase", bytes);
        let stdin = Run::new().no_phrase().with(&["--phrase-fd", "0"]);
        for ended in [file.pipe(b"hello\n"), stdin.pipe(bytes)] {
            assert_eq!(ended.status, 2, "{ended:?}");
            let line = &ended.err[0];
            let advice: &[String] = match told.starts_with("UTF-16") {
                // This error includes advice.
                true => &[],
                false => &["sesame: use 1 to 1,024 bytes of UTF-8 in one line".into()],
            };
            assert_eq!(&ended.err[1..], advice, "{ended:?}");
            assert!(line.contains(told) && !line.contains("open"), "{line}");
        }
    }
}

#[test]
fn saved_name_is_read_as_a_phrase_is() {
    let named = |content: &[u8]| {
        let run = Run::new();
        std::fs::create_dir_all(run.place.path("config/sesame/saved")).unwrap();
        run.place.file("config/sesame/saved/name", content);
        run
    };
    let zoe = named("\u{feff}Zoe\u{308}\r\n".as_bytes()).peer();
    assert_eq!(zoe.ready()["name"], "Zo\u{eb}");
    let other = named(b"\xff\xfeZ\0\r\0\n\0").peer();
    assert_eq!(other.ready()["name"], serde_json::Value::Null);
    other.process.told("it is UTF-16; save it as UTF-8");
}

#[test]
fn a_phrase_file_that_others_may_read_is_warned_about() {
    use std::os::unix::fs::PermissionsExt;

    let run = Run::new().with(&["--timeout", "1"]);
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(run.place.path("phrase"), open).unwrap();
    let ended = run.pipe(b"");
    assert!(
        ended
            .err
            .iter()
            .any(|line| line.contains("warning") && line.contains("phrase")),
        "{ended:?}"
    );
    assert_eq!(ended.status, 0);
}

#[test]
fn a_decoy_never_meets_the_real_one_with_the_same_phrase() {
    let alice = Run::named("alice").peer();
    let decoy = Run::new().with(&["--decoy"]).to(&alice).peer();
    assert_eq!(decoy.ready()["decoy"], true);
    assert_eq!(alice.ready()["decoy"], false);
    alice.expect("auth_failed", |event| event["inbound"] == true);
    decoy.expect("auth_failed", |event| event["inbound"] == false);
    assert!(alice.every("peer_up").is_empty() && decoy.every("peer_up").is_empty());
}

#[test]
fn two_decoys_meet() {
    let mut one = Run::new().with(&["--decoy"]).peer();
    let other = Run::new().with(&["--decoy"]).to(&one).peer();
    up(&one, &other);
    one.say("nothing real");
    other.hears(&one, "nothing real");
}

#[test]
fn decoy_is_marked_on_each_notice() {
    let alice = Run::new().with(&["--decoy"]).peer();
    let ended = Run::new()
        .with(&["--decoy"])
        .to(&alice)
        .pipe(b"/whoami\nhello\n");
    assert_eq!(ended.status, 0);
    let notices: Vec<_> = ended
        .err
        .iter()
        .filter(|line| line.starts_with("* "))
        .collect();
    assert!(notices.len() >= 3, "{ended:?}");
    assert!(
        notices.iter().all(|line| line.starts_with("* [decoy] ")),
        "{ended:?}"
    );
}
