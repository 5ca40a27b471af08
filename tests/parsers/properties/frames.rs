//! The frames of a cell: each is read within its bounds, and is the same once written and read
//! again.

use sesame::proto::cell::PAYLOAD;
use sesame::proto::frame::{
    Circuit, CircuitFrame, Fragment, Frame, Gossip, Linked, MAX_LOCAL, Payload, Way, decode,
};
use sesame::proto::{Address, MAX_NAME_BYTES, MessageId, PeerId};

/// Type and length.
const HEAD: usize = 3;
/// The least bytes of an entry of PEERS.
const ENTRY: usize = 32 + 1 + 1;

/// Takes a payload.
pub fn check(bytes: &[u8]) {
    let payload = &bytes[..bytes.len().min(PAYLOAD)];
    let mut rest = payload;
    loop {
        let before = rest;
        let decoded = decode(&mut rest);
        assert!(before.ends_with(rest), "the rest is the end of the payload");
        let Ok(Some(frame)) = decoded else {
            assert!(decoded != Ok(None) || rest.is_empty());
            return;
        };
        let taken = before.len().checked_sub(rest.len());
        let taken = &before[..taken.filter(|taken| *taken >= HEAD).unwrap()];
        // What follows a frame does not matter to it.
        assert_eq!(decode(&mut &taken[..]), Ok(Some(frame.clone())));
        is_bounded(&frame);
        let Some(written) = written(&frame) else {
            continue;
        };
        let mut again = &written[..];
        assert_eq!(decode(&mut again), Ok(Some(frame.clone())));
        assert!(again.is_empty());
        if has_one_form(&frame) {
            assert!(taken.ends_with(&written), "{frame:?}");
        }
    }
}

fn is_bounded(frame: &Frame<'_>) {
    match frame {
        Frame::Peers(entries) => assert!(entries.len() <= PAYLOAD / ENTRY),
        Frame::Local(addresses) => {
            assert!((1..=MAX_LOCAL).contains(&addresses.len()));
            assert!(addresses.iter().all(|address| address.ip().is_some()));
        }
        Frame::Message(fragment) => {
            assert!(fragment.number > 0);
            assert!(fragment.last || !fragment.text.is_empty());
        }
        Frame::Name(Some(name)) => assert!(name.as_str().len() <= MAX_NAME_BYTES),
        Frame::Circuit(CircuitFrame { what, .. }) => match what {
            Circuit::Open { interval_ms, .. } | Circuit::Opened { interval_ms } => {
                assert!((10..=10_000).contains(interval_ms));
            }
            Circuit::Data(bytes) => assert!(!bytes.is_empty()),
            Circuit::Credit(bytes) => assert!(*bytes > 0),
            Circuit::Refused | Circuit::Close => {}
        },
        Frame::Kem(fragment) => {
            let end = usize::from(fragment.offset) + fragment.bytes.len();
            assert!(!fragment.bytes.is_empty() && end <= fragment.part.size());
        }
        _ => {}
    }
}

/// The frame as the sender of a cell writes it. `None`: it has no way to write this one.
fn written(frame: &Frame<'_>) -> Option<Vec<u8>> {
    let mut payload = Payload::default();
    let fits = match frame {
        Frame::Hello(hello) => payload.hello(hello),
        Frame::Message(fragment) => return Some(fragment_bytes(fragment)),
        Frame::Ack(number) => payload.ack(*number),
        Frame::Withdraw(number) => payload.withdraw(*number),
        Frame::Peers(entries) if entries.is_empty() => return None,
        Frame::Peers(entries) => payload.peers(entries.iter(), PAYLOAD).len() == entries.len(),
        Frame::Name(name) => payload.name(name.as_ref()),
        Frame::Goodbye { leaving } => payload.goodbye(*leaving),
        Frame::Circuit(frame) => payload.circuit(frame),
        Frame::Observed(ip) => payload.observed(*ip),
        Frame::Local(addresses) if !addresses.is_empty() => payload.local(addresses),
        Frame::Kem(fragment) => {
            let mut rest = vec![0; fragment.part.size() - usize::from(fragment.offset)];
            rest[..fragment.bytes.len()].copy_from_slice(fragment.bytes);
            let most = 7 + fragment.bytes.len();
            match payload.kem(fragment.epoch, fragment.part, &rest, most) {
                // A sender makes no fragment as short as this.
                0 => return None,
                taken => taken == fragment.bytes.len(),
            }
        }
        // A frame of a later extension.
        _ => return None,
    };
    assert!(fits, "{frame:?}");
    Some(payload.as_slice().to_vec())
}

/// A MESSAGE as section 8 of PROTOCOL.md has it. If it is a whole message, its sender writes the same.
fn fragment_bytes(fragment: &Fragment<'_>) -> Vec<u8> {
    let mid = fragment
        .mid
        .map_or(Vec::new(), |MessageId(mid)| mid.to_vec());
    let length = 8 + 1 + mid.len() + fragment.text.len();
    let flags = u8::from(fragment.mid.is_some())
        | u8::from(fragment.last) << 1
        | u8::from(fragment.direct) << 2;
    let mut bytes = vec![2];
    bytes.extend((length as u16).to_be_bytes());
    bytes.extend(fragment.number.to_be_bytes());
    bytes.push(flags);
    bytes.extend(mid);
    bytes.extend(fragment.text);
    if let (Some(mid), true) = (fragment.mid, fragment.last) {
        let mut payload = Payload::default();
        let whole = (fragment.text.len(), true);
        let put = payload.message(fragment.number, &mid, fragment.direct, fragment.text, 0);
        assert_eq!(put, Some(whole));
        assert_eq!(payload.as_slice(), bytes);
    }
    bytes
}

/// Whether no other bytes than those of its sender can mean the same.
fn has_one_form(frame: &Frame<'_>) -> bool {
    match frame {
        Frame::Message(_) | Frame::Ack(_) | Frame::Withdraw(_) | Frame::Circuit(_) => true,
        Frame::Goodbye { .. } | Frame::Name(Some(_)) => true,
        // Addresses of IPv4 have two forms, and HELLO may have more at its end.
        _ => false,
    }
}

/// Puts a frame into a cell.
type Writer<'a> = Box<dyn Fn(&mut Payload) + 'a>;

/// A cell with each kind of frame, and each frame in a cell of its own.
pub fn seeds() -> Vec<Vec<u8>> {
    let id = PeerId([7; 32]);
    let gossip = |linked, address: &str| Gossip {
        id,
        linked,
        address: Address::parse(address).ok(),
    };
    let entries = [
        gossip(Linked::Directly, "192.0.2.1:9000"),
        gossip(Linked::ByCircuit, "abc.example:1"),
        gossip(Linked::No, ""),
    ];
    let local = ["192.168.1.5:9000", "[fd00::5]:9000"];
    let local: Vec<_> = local
        .iter()
        .filter_map(|it| Address::parse(it).ok())
        .collect();
    let circuits = [
        Circuit::Open {
            interval_ms: 1000,
            way: Way::To,
            peer: id,
        },
        Circuit::Opened { interval_ms: 10 },
        Circuit::Refused,
        Circuit::Data(b"record"),
        Circuit::Credit(3812),
        Circuit::Close,
    ];
    let mid = MessageId([3; 16]);
    let mut writers: Vec<Writer<'_>> = vec![
        Box::new(|payload| {
            payload.message(1, &mid, true, b"Hello, Zo\xc3\xab!", 0);
        }),
        Box::new(|payload| {
            payload.message(2, &mid, false, &[b'x'; 5000], 932);
        }),
        Box::new(|payload| {
            payload.peers(entries.iter(), PAYLOAD);
        }),
        Box::new(|payload| {
            payload.local(&local);
        }),
        Box::new(|payload| {
            payload.observed([192, 0, 2, 1].into());
        }),
    ];
    for what in circuits {
        writers.push(Box::new(move |payload| {
            payload.circuit(&CircuitFrame { id: 9, what });
        }));
    }
    let mut seeds: Vec<_> = writers
        .iter()
        .map(|write| {
            let mut payload = Payload::default();
            write(&mut payload);
            payload.as_slice().to_vec()
        })
        .collect();
    let mut all = Payload::default();
    for write in &writers {
        if all.room() > 400 {
            write(&mut all);
        }
    }
    all.ack(5);
    all.withdraw(6);
    all.name(None);
    all.goodbye(false);
    let mut all = all.as_slice().to_vec();
    // A frame of an unknown type, then padding.
    all.extend([200, 0, 2, 1, 2, 3, 0, 8, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0]);
    seeds.push(all);
    seeds.extend(super::hello::seeds().into_iter().map(|body| {
        let mut frame = vec![1];
        frame.extend((body.len() as u16).to_be_bytes());
        frame.extend(body);
        frame
    }));
    seeds
}
