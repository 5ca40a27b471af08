//! Slash commands: a line that begins with no slash is a message with the same text, a command can be
//! written as one of JSON and as a line that gives the same, and a mistake is one line.

use std::str;

use sesame::front::{ParsedLine, parse_json, parse_line};
use sesame::mesh::{Command, PeerQuery, Text};

use super::shown::{as_json, shown};

/// Takes a line.
pub fn check(bytes: &[u8]) {
    let Ok(line) = str::from_utf8(bytes) else {
        return;
    };
    let parsed = parse_line(line);
    let message = match line.strip_prefix('/') {
        None => Some(line),
        Some(rest) => rest.starts_with('/').then_some(rest),
    };
    if let Some(message) = message {
        return match parsed {
            Ok(parsed) => {
                assert_eq!(shown(&parsed), format!("Send {message:?} None"));
            }
            Err(_) => assert!(message.len() > Text::MAX),
        };
    }
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(mistake) => {
            assert!(!mistake.message.is_empty());
            assert!(line.contains('\n') || !mistake.message.contains('\n'));
            return;
        }
    };
    if let Some(json) = as_json(&parsed, None) {
        let (_, same) = parse_json(&json, false);
        assert_eq!(shown(&same.unwrap()), shown(&parsed));
    }
    if let Some(again) = as_line(&parsed) {
        assert_eq!(shown(&parse_line(&again).unwrap()), shown(&parsed));
    }
}

/// The line that asks for the same. `None`: a peer's name in it can be written in no simple way.
fn as_line(parsed: &ParsedLine) -> Option<String> {
    let command = match parsed {
        ParsedLine::Command(command) => command,
        ParsedLine::Panic { quit } => {
            let quit = if quit.is_some() { " quit" } else { "" };
            return Some(format!("/panic{quit}"));
        }
        ParsedLine::Help(topic) => return Some(format!("/help {}", topic.unwrap_or_default())),
        _ => return None,
    };
    Some(match command {
        Command::Send { text, to: Some(to) } => {
            format!("/msg {} {}", peer(to.first()?)?, text.as_str())
        }
        Command::Connect(address) => format!("/connect {address}"),
        Command::Disconnect(query) => format!("/disconnect {}", peer(query)?),
        Command::Name(name) => format!("/name \"{name}\""),
        Command::Ignore { peer: query, .. } => format!("/ignore {}", peer(query)?),
        Command::Verify(query) => format!("/verify {}", peer(query)?),
        Command::Peers => "/peers".into(),
        Command::Pending => "/pending".into(),
        Command::Stats => "/stats".into(),
        Command::Whoami => "/whoami".into(),
        Command::Quit => "/quit".into(),
        Command::Send { to: None, .. } | Command::Ack { .. } => {
            panic!("no slash command asks for this")
        }
    })
}

fn peer(PeerQuery(peer): &PeerQuery) -> Option<String> {
    match peer.contains('"') {
        false => Some(format!("\"{peer}\"")),
        true if peer.starts_with('"') || peer.contains(char::is_whitespace) => None,
        true => Some(peer.clone()),
    }
}

/// Each command, and some mistakes.
pub fn seeds() -> Vec<Vec<u8>> {
    let lines = [
        "hello",
        "//hello",
        "/help msg",
        "/invite",
        "/peers ",
        "/msg alice hi there",
        "/msg \"alice b\"#3f9c01aa  hi",
        "/msg \"alice hi",
        "/connect [fe80::1%lo]:9000",
        "/connect home.example",
        "/disconnect alice#3f9c01aa",
        "/name \"Zoe\u{308} b\"",
        "/name a#b",
        "/whoami x",
        "/verify a\"b",
        "/ignore bob",
        "/bell direct",
        "/notify all",
        "/panic quit",
        "/quti",
    ];
    lines.iter().map(|line| line.as_bytes().to_vec()).collect()
}
