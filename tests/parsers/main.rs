//! Parsers and state machines, with any bytes: the properties that `tests/fuzz` looks for a
//! counterexample to for hours hold here for their seeds, for changes of them, and for texts and frames
//! made on purpose. All cases follow from one number, so a run is as any other.
// A failed expectation is a failed test, in the helpers too.
#![allow(clippy::unwrap_used, clippy::panic)]

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::RngSeed;
use sesame::front::{Cut, Lines};
use sesame::proto::{Address, DisplayName, Proxy};

mod properties;

use properties::{PROPERTIES, Property};

/// The cases of a property that takes a millisecond or so.
const FEW: u32 = 64;
/// The cases of the others.
const MANY: u32 = 1000;

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        // A case that fails fails in the next run too.
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(20),
        ..ProptestConfig::default()
    }
}

fn property(name: &str) -> &'static Property {
    PROPERTIES.iter().find(|it| it.name == name).unwrap()
}

/// One change of an input.
#[derive(Clone, Debug)]
enum Edit {
    Set(Index, u8),
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Repeat(Index, usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let odd = select(vec![0, 1, 2, 0x7f, 0x80, 0xff, b'"', b'\n', b':', b'/']);
    let byte = prop_oneof![any::<u8>(), odd];
    prop_oneof![
        (any::<Index>(), byte).prop_map(|(at, byte)| Edit::Set(at, byte)),
        (any::<Index>(), 0..8u8).prop_map(|(at, bit)| Edit::Flip(at, bit)),
        (any::<Index>(), vec(any::<u8>(), 1..9)).prop_map(|(at, new)| Edit::Insert(at, new)),
        (any::<Index>(), 1..20usize).prop_map(|(at, length)| Edit::Remove(at, length)),
        (any::<Index>(), 1..40usize).prop_map(|(at, length)| Edit::Repeat(at, length)),
    ]
}

fn edited(mut input: Vec<u8>, edits: Vec<Edit>) -> Vec<u8> {
    for edit in edits {
        let end = input.len();
        match edit {
            Edit::Insert(at, new) => {
                let at = at.index(end + 1);
                input.splice(at..at, new);
            }
            _ if end == 0 => {}
            Edit::Set(at, byte) => input[at.index(end)] = byte,
            Edit::Flip(at, bit) => input[at.index(end)] ^= 1 << bit,
            Edit::Remove(at, length) => {
                let at = at.index(end);
                input.drain(at..end.min(at + length));
            }
            Edit::Repeat(at, length) => {
                let at = at.index(end);
                let part = input[at..end.min(at + length)].to_vec();
                input.splice(at..at, part);
            }
        }
    }
    input
}

/// Checks a property with its seeds, with changes of them, and with any bytes.
fn holds(name: &str, cases: u32) {
    let property = property(name);
    let seeds = (property.seeds)();
    seeds.iter().for_each(|seed| (property.check)(seed));
    let changed = (select(seeds), vec(edit(), 1..6)).prop_map(|(seed, edits)| edited(seed, edits));
    let input = prop_oneof![4 => changed, 1 => vec(any::<u8>(), 0..1100)];
    proptest!(config(cases), |(input in input)| (property.check)(&input));
}

macro_rules! hold {
    ($($test:ident: $name:ident, $cases:expr;)*) => {$(
        #[test]
        fn $test() {
            holds(stringify!($name), $cases);
        }
    )*};
}

hold! {
    frames_come_back_from_any_payload: frames, MANY;
    hello_is_what_a_simple_reading_finds: hello, MANY;
    cells_that_are_forged_change_nothing: cells, MANY;
    handshake_of_changed_cells_fails: handshake, FEW;
    addresses_are_printed_and_read_again: addresses, MANY;
    names_that_are_accepted_keep_the_rules: names, MANY;
    certificates_that_are_accepted_are_right: certificates, MANY;
    json_lines_give_a_command_or_a_mistake: json_lines, MANY;
    slash_commands_mean_the_same_in_json: slash_commands, MANY;
    config_file_survives_a_panic_or_is_refused: config_file, FEW;
    saved_name_is_read_as_one_line: saved_name, FEW;
    handover_is_written_as_it_was_read: handover, FEW;
    socks_answers_are_read_to_their_end: socks, MANY;
    tor_replies_come_in_any_portions: tor_control, MANY;
    inbox_does_what_its_model_does: inbox, MANY;
    outbox_does_what_its_model_does: outbox, MANY;
    ratchet_does_what_its_model_does: ratchet, FEW;
}

#[test]
fn certificates_like_ours_are_accepted() {
    assert!(properties::certificates::accepts_right_ones());
}

/// A text of the parts of addresses.
fn like_an_address() -> impl Strategy<Value = String> {
    let parts = [
        "fe80::1",
        "%eth0",
        "::",
        "[",
        "]",
        ":",
        "9000",
        "0",
        "65535",
        "65536",
        "192.0.2.7",
        ".",
        "home",
        "example",
        "-",
        "_",
        "onion",
        "socks5://",
        "@",
        "%41",
        "localhost",
        "/",
        "127.0.0.1",
        "::ffff:1.2.3.4",
        "xn--",
        "\u{fc}",
    ];
    vec(select(parts.to_vec()), 1..8).prop_map(|parts| parts.concat())
}

/// A right address.
fn an_address() -> impl Strategy<Value = String> {
    let host = prop_oneof![
        any::<[u8; 4]>().prop_map(|ip| std::net::Ipv4Addr::from(ip).to_string()),
        any::<[u8; 16]>()
            .prop_filter("no zone", |ip| ip[..2] != [0xfe, 0x80])
            .prop_map(|ip| format!("[{}]", std::net::Ipv6Addr::from(ip))),
        "([a-z0-9_]([a-z0-9_-]{0,10}[a-z0-9_])?\\.){0,3}[a-z]{1,9}",
    ];
    (host, 1..=u16::MAX).prop_map(|(host, port)| format!("{host}:{port}"))
}

/// A text of characters that names treat in different ways.
fn like_a_name() -> impl Strategy<Value = String> {
    let odd = "aZ09 :#*!\u{301}\u{308}\u{64e}\u{200c}\u{200d}\u{fe0f}\u{202e}مक्👩🚒éß✓∗＃";
    let odd: Vec<char> = odd.chars().collect();
    let character = prop_oneof![3 => select(odd), 1 => any::<char>()];
    vec(character, 0..40).prop_map(|characters| characters.into_iter().collect())
}

/// A value of JSON, as text; mostly a field that commands have.
fn json_object() -> impl Strategy<Value = String> {
    let keys = [
        "type",
        "ref",
        "text",
        "to",
        "peer",
        "seq",
        "addr",
        "name",
        "on",
        "quit",
        "r\\u0065f",
    ];
    let kinds = [
        "send",
        "ack",
        "connect",
        "disconnect",
        "name",
        "peers",
        "pending",
        "stats",
        "whoami",
        "verify",
        "ignore",
        "panic",
        "quit",
        "x",
    ];
    let value = prop_oneof![
        select(kinds.to_vec()).prop_map(|kind| format!("\"{kind}\"")),
        "\"[a-z:.0-9 \\\\]{0,70}\"",
        "-?[0-9]{1,21}(\\.[0-9])?(e[0-9])?",
        select(vec![
            "true",
            "false",
            "null",
            "[]",
            "[\"a\"]",
            "{\"ref\":1}"
        ])
        .prop_map(String::from),
    ];
    let field =
        (select(keys.to_vec()), value).prop_map(|(key, value)| format!("\"{key}\":{value}"));
    let kind = select(kinds.to_vec()).prop_map(|kind| format!("\"type\":\"{kind}\""));
    (kind, vec(field, 0..4)).prop_map(|(kind, fields)| {
        let mut all = vec![kind];
        all.extend(fields);
        format!("{{{}}}", all.join(","))
    })
}

/// A line of the parts of commands.
fn like_a_command() -> impl Strategy<Value = String> {
    let parts = [
        "/",
        "msg",
        "/msg ",
        "/name ",
        "/connect ",
        "/ignore ",
        "/verify ",
        "/disconnect ",
        "/help ",
        "/panic ",
        "\"",
        " ",
        "alice",
        "#3f9c01aa",
        "home.example:1",
        "quit",
        "\u{a0}",
        "\n",
    ];
    vec(select(parts.to_vec()), 1..8).prop_map(|parts| parts.concat())
}

/// A file of options.
fn like_a_config_file() -> impl Strategy<Value = String> {
    let lines = [
        "cover = 20",
        "cover off",
        "json",
        "ack",
        "literal",
        "null",
        "whole",
        "stay=input",
        "--stay",
        "port 0",
        "listen ::1",
        "no-listen",
        "peer home.example",
        "proxy socks5://[::1]:9050",
        "onion",
        "map",
        "lan",
        "forwarded",
        "no-carry",
        "decoy",
        "require any",
        "require 2",
        "min-peers 3",
        "timeout 1",
        "away 7",
        "give-up 8",
        "inactivity-timeout 9",
        "-v",
        "quiet",
        "timestamps",
        "no-title",
        "on-panic quit",
        "require-mlock",
        "display-name bob",
        "advertise home.example:1",
        "[a]",
        "[work]",
        "# x",
        "",
    ];
    vec(select(lines.to_vec()), 0..7).prop_map(|lines| lines.join("\n"))
}

#[test]
fn texts_like_addresses_are_printed_and_read_again() {
    let check = property("addresses").check;
    proptest!(config(MANY), |(text in like_an_address())| check(text.as_bytes()));
}

#[test]
fn right_addresses_are_accepted() {
    let check = property("addresses").check;
    proptest!(config(MANY), |(text in an_address())| {
        prop_assert!(Address::parse(&text).is_ok(), "{}", text);
        check(text.as_bytes());
    });
}

#[test]
fn credentials_of_a_proxy_may_be_any_bytes() {
    let part = || vec(any::<u8>(), 1..256);
    let escaped =
        |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("%{byte:02x}")).collect() };
    proptest!(config(FEW), |(user in part(), password in part())| {
        let url = format!("socks5://{}:{}@[::1]:1", escaped(&user), escaped(&password));
        let proxy = Proxy::parse(&url).unwrap();
        let login = Proxy::parse(&proxy.url()).unwrap();
        let login = login.credentials().unwrap();
        prop_assert_eq!((login.user(), login.password()), (&user[..], &password[..]));
    });
}

#[test]
fn texts_like_names_keep_the_rules_or_are_refused() {
    let check = property("names").check;
    proptest!(config(MANY), |(text in like_a_name())| check(text.as_bytes()));
}

#[test]
fn names_of_plain_letters_are_accepted() {
    proptest!(config(MANY), |(name in "[g-z][a-z]{1,4}( [a-z]{1,8}){0,2}")| {
        let accepted = DisplayName::from_user(&name).unwrap();
        prop_assert_eq!(accepted.as_str(), name);
    });
}

#[test]
fn json_objects_give_a_command_or_a_mistake() {
    let check = property("json_lines").check;
    proptest!(config(MANY), |(lines in vec(json_object(), 1..3), options in 0..8u8)| {
        let mut input = vec![options | 3, 255];
        input.extend(lines.join("\n").bytes());
        check(&input);
    });
}

#[test]
fn texts_like_commands_mean_the_same_in_json() {
    let check = property("slash_commands").check;
    proptest!(config(MANY), |(text in like_a_command())| check(text.as_bytes()));
}

#[test]
fn options_survive_a_panic() {
    let check = property("config_file").check;
    proptest!(config(2 * FEW), |(text in like_a_config_file(), section in 0..3u8)| {
        let mut input = vec![section];
        input.extend(text.bytes());
        check(&input);
    });
}

#[test]
fn lines_of_any_cut_are_those_of_the_whole_input() {
    let piece = prop_oneof![
        "[a-z\u{e9}]{0,12}".prop_map(String::into_bytes),
        select(vec![
            &b"\n"[..],
            b"\r\n",
            b"\r",
            b"\0",
            b"\xef\xbb\xbf",
            b"\xff"
        ])
        .prop_map(<[u8]>::to_vec),
    ];
    let cut = select(vec![Cut::Newline, Cut::Null, Cut::Nowhere]);
    let inputs = (vec(piece, 0..20), cut, 1..9usize);
    proptest!(config(MANY), |((pieces, cut, portion) in inputs)| {
        let input = pieces.concat();
        let read = |portion: usize| {
            let mut lines = Lines::new(cut, 40);
            let mut found = Vec::new();
            for part in input.chunks(portion) {
                lines.push(part);
                while let Some(line) = lines.next_line() {
                    found.push((line.number, line.text.map(str::to_owned)));
                }
            }
            lines.end();
            while let Some(line) = lines.next_line() {
                found.push((line.number, line.text.map(str::to_owned)));
            }
            found
        };
        prop_assert_eq!(read(portion), read(input.len().max(1)));
    });
}
