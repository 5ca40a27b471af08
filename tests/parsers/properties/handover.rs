//! The state that a panic hands over: what is read is written as the same bytes, and the options in it
//! give a configuration, or are refused.

use std::net::Ipv4Addr;
use std::num::NonZeroU16;

use sesame::config::{Config, Environment};
use sesame::mesh::Reference;
use sesame::net::port_mapping::Kept;
use sesame::net::router::{Held, Protocol};
use sesame::node::handover::{Handover, Parts};
use sesame::secret::Secret;

use super::config_file::survives_a_panic;

/// Where the flags are, and those that have a meaning.
const FLAGS: usize = 1;
const KNOWN: u8 = 0x0f;

/// Takes a state.
pub fn check(bytes: &[u8]) {
    let Some(state) = Handover::read(bytes) else {
        return;
    };
    let texts = state.options.iter().chain(&state.name_left);
    let length: usize = texts.map(|text| 4 + text.len()).sum();
    assert!(length + state.unread.len() < bytes.len(), "it is bounded");
    let written = Handover::write(&Parts {
        key: &state.key,
        options: &state.options,
        unread: &state.unread,
        line_begun: state.line_begun,
        at_start: state.at_start,
        line_open: state.line_open,
        undelivered: state.undelivered,
        name_left: &state.name_left,
        reference: state.reference.as_ref(),
        mapping: state.mapping,
    });
    let mut expected = bytes.to_vec();
    expected[FLAGS] &= KNOWN;
    assert_eq!(*written, expected);
    if state.options.is_empty() {
        return;
    }
    if let Ok(config) = Config::after_panic(&state.options, &Environment::default()) {
        survives_a_panic(config);
    }
}

/// States with each kind of `ref` and of mapping.
pub fn seeds() -> Vec<Vec<u8>> {
    let key = Secret::fill_with(|bytes: &mut [u8; 32]| bytes.fill(7));
    let held = |protocol| {
        Some(Held {
            protocol,
            gateway: Ipv4Addr::new(192, 168, 1, 1),
            outside_port: NonZeroU16::MAX,
        })
    };
    let nonce = [1, 2, 3];
    let mappings = [
        None,
        Some(Kept { nonce, held: None }),
        Some(Kept {
            nonce,
            held: held(Protocol::Pcp),
        }),
        Some(Kept {
            nonce,
            held: held(Protocol::Upnp),
        }),
    ];
    let references = [
        None,
        Some(Reference::Text("r1".into())),
        Some(Reference::Integer(-3)),
    ];
    let options: [&[&str]; 4] = [
        &[],
        &["--cover=20", "--json", "--port=0"],
        &["--no-listen", "--proxy=socks5://a:b@127.0.0.1:9050", "-v"],
        &["--onion=", "--proxy=socks5://127.0.0.1:9050"],
    ];
    let options = options.map(|options| options.iter().map(ToString::to_string).collect());
    let options: Vec<Vec<String>> = options.to_vec();
    (0..4)
        .map(|nth| {
            let state = Handover::write(&Parts {
                key: &key,
                options: &options[nth],
                unread: b"{\"type\":\"quit\"}\n",
                line_begun: nth % 2 == 0,
                at_start: nth == 1,
                line_open: nth == 2,
                undelivered: nth == 3,
                name_left: &["the saved name".to_owned()][..nth % 2],
                reference: references[nth % 3].as_ref(),
                mapping: mappings[nth],
            });
            state.to_vec()
        })
        .collect()
}
