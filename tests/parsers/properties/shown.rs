//! Parsed lines in a form that can be compared, and as lines again.

use serde_json::{Map, Value, json};
use sesame::front::ParsedLine;
use sesame::mesh::{Command, PeerQuery, Reference};

/// A parsed line with all that is in it; the text of a message too, which its own form hides.
pub fn shown(parsed: &ParsedLine) -> String {
    match parsed {
        ParsedLine::Command(Command::Send { text, to }) => {
            format!("Send {:?} {to:?}", text.as_str())
        }
        other => format!("{other:?}"),
    }
}

/// The line of JSON that asks for the same. `None`: there is none.
pub fn as_json(parsed: &ParsedLine, reference: Option<&Reference>) -> Option<String> {
    let peer = |PeerQuery(peer): &PeerQuery| Value::from(peer.as_str());
    let (kind, fields) = match parsed {
        ParsedLine::Panic { quit: None } => ("panic", json!({})),
        ParsedLine::Panic { quit: Some(quit) } => ("panic", json!({ "quit": quit })),
        ParsedLine::Command(command) => match command {
            Command::Send { text, to: None } => ("send", json!({ "text": text.as_str() })),
            Command::Send { text, to: Some(to) } => {
                let to: Vec<_> = to.iter().map(peer).collect();
                ("send", json!({ "text": text.as_str(), "to": to }))
            }
            Command::Ack { peer, seq } => ("ack", json!({ "peer": peer.to_string(), "seq": seq })),
            Command::Connect(address) => ("connect", json!({ "addr": address.to_string() })),
            Command::Disconnect(query) => ("disconnect", json!({ "peer": peer(query) })),
            Command::Name(name) => ("name", json!({ "name": name.as_str() })),
            Command::Ignore { on: None, .. } => return None,
            Command::Ignore { peer: query, on } => {
                ("ignore", json!({ "peer": peer(query), "on": on }))
            }
            Command::Verify(query) => ("verify", json!({ "peer": peer(query) })),
            Command::Peers => ("peers", json!({})),
            Command::Pending => ("pending", json!({})),
            Command::Stats => ("stats", json!({})),
            Command::Whoami => ("whoami", json!({})),
            Command::Quit => ("quit", json!({})),
        },
        _ => return None,
    };
    let mut line: Map<String, Value> = serde_json::from_value(fields).ok()?;
    line.insert("type".into(), kind.into());
    if let Some(reference) = reference {
        let value = match reference {
            Reference::Text(text) => Value::from(&**text),
            Reference::Integer(number) => match u64::try_from(*number) {
                Ok(number) => number.into(),
                Err(_) => i64::try_from(*number).ok()?.into(),
            },
        };
        line.insert("ref".into(), value);
    }
    Some(Value::from(line).to_string())
}
