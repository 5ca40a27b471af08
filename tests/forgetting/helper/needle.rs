//! Needles, in every form in which a program could hold them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicU32, Ordering};

/// The fewest bytes of a form: the search begins with this many.
const LEAST: usize = 6;

/// A value that must not be in memory.
#[derive(Clone)]
pub struct Needle {
    /// Its description.
    pub what: String,
    forms: Vec<(&'static str, Vec<u8>)>,
}

impl Needle {
    /// A text, which must be unlikely enough to occur by chance.
    pub fn text(what: impl Into<String>, text: &str) -> Self {
        let json = serde_json::to_string(text).unwrap();
        let json = json[1..json.len() - 1].to_owned();
        let ascii = json.chars().fold(String::new(), |mut out, c| {
            if c.is_ascii() {
                out.push(c);
            } else {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}").unwrap();
                }
            }
            out
        });
        let chars = text.chars().flat_map(|c| u32::from(c).to_le_bytes());
        Self::of(
            what,
            vec![
                ("UTF-8", text.into()),
                ("JSON", json.into()),
                ("ASCII JSON", ascii.into()),
                ("hex", hex(text.as_bytes()).into()),
                ("characters", chars.collect()),
            ],
        )
    }

    /// Bytes, in binary and as hex digits.
    pub fn bytes(what: impl Into<String>, bytes: &[u8]) -> Self {
        let hex = hex(bytes).into();
        Self::of(what, vec![("raw", bytes.into()), ("hex", hex)])
    }

    /// A peer's id, given in hex. Only its first 16 digits are shown to users.
    pub fn id(what: impl Into<String>, id: &str) -> Self {
        let pairs = id.as_bytes().chunks(2);
        let bytes =
            pairs.map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap());
        let bytes: Vec<u8> = bytes.collect();
        let forms = vec![
            ("hex", id.into()),
            ("short hex", id[..16].into()),
            ("raw", bytes[..16].into()),
            ("raw, second half", bytes[16..].into()),
        ];
        Self::of(what, forms)
    }

    /// An address: its text, and the forms of the kernel and the standard library.
    pub fn address(what: impl Into<String>, addr: &str) -> Self {
        let addr: SocketAddrV4 = addr.parse().unwrap();
        let ip = addr.ip().octets();
        let mut kernel = vec![2, 0];
        kernel.extend(addr.port().to_be_bytes());
        kernel.extend(ip);
        let mut library = ip.to_vec();
        library.extend(addr.port().to_ne_bytes());
        let forms = vec![
            ("text", addr.ip().to_string().into()),
            ("sockaddr", kernel),
            ("SocketAddrV4", library),
        ];
        Self::of(what, forms)
    }

    fn of(what: impl Into<String>, mut forms: Vec<(&'static str, Vec<u8>)>) -> Self {
        // If nothing had to be escaped, two forms are equal.
        let mut seen = Vec::new();
        forms.retain(|(_, bytes)| {
            let new = !seen.contains(bytes);
            seen.push(bytes.clone());
            new
        });
        assert!(forms.iter().all(|(_, bytes)| bytes.len() >= LEAST));
        Self {
            what: what.into(),
            forms,
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").unwrap();
        out
    })
}

/// Random letters and digits.
pub fn chance(len: usize) -> String {
    const LETTERS: &[u8] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = vec![0; len];
    getrandom::fill(&mut bytes).unwrap();
    let letters = bytes
        .iter()
        .map(|byte| char::from(LETTERS[usize::from(byte % 32)]));
    letters.collect()
}

/// Loopback addresses that no other test uses and that do not occur by chance.
pub fn unlikely_ip() -> String {
    static USED: AtomicU32 = AtomicU32::new(0);
    let mut bytes = [0; 2];
    getrandom::fill(&mut bytes).unwrap();
    let number = USED.fetch_add(1, Ordering::Relaxed);
    format!(
        "127.{}.{}.{}",
        129 + bytes[0] % 120,
        129 + bytes[1] % 120,
        129 + number % 120
    )
}

/// A text of which every piece can be recognised: a mark that is repeated up to this length. The
/// mark contains characters that JSON escapes.
pub struct Planted {
    pub text: String,
    pub needle: Needle,
}

impl Planted {
    pub fn new(what: impl Into<String>, len: usize) -> Self {
        let mark = format!("{}\"\u{e9}{}", chance(9), chance(9));
        let text = mark.repeat((len / mark.len()).max(1));
        Self {
            text,
            needle: Needle::text(what, &mark),
        }
    }

    /// This many texts, most of them short and some of up to 5 KB.
    pub fn several(what: &str, count: usize) -> Vec<Self> {
        let length = |number: usize| match number % 20 {
            7 => 5000,
            13 => 1800,
            _ => 25 + 7 * (number % 30),
        };
        (0..count)
            .map(|number| Self::new(format!("{what} {number}"), length(number)))
            .collect()
    }
}

/// The needles of some planted texts.
pub fn needles(planted: &[Planted]) -> Vec<Needle> {
    planted.iter().map(|one| one.needle.clone()).collect()
}

/// An occurrence of a form of a needle.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hit {
    /// Which needle.
    pub needle: usize,
    /// In which form.
    pub form: &'static str,
    /// Where it begins.
    pub at: usize,
}

/// Finds many needles in one pass.
pub struct Finder<'a> {
    needles: &'a [Needle],
    /// All forms, by their first [`LEAST`] bytes.
    starts: BTreeMap<u64, Vec<(usize, usize)>>,
    /// A bit for each of their hashes, so that nearly all places are dismissed after one look.
    sieve: Vec<u64>,
    /// The longest form.
    pub longest: usize,
}

const SIEVE_BITS: u32 = 20;
const START: u64 = (1 << (8 * LEAST)) - 1;

fn place(start: u64) -> (usize, u64) {
    let hash = start.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SIEVE_BITS);
    ((hash / 64) as usize, 1 << (hash % 64))
}

impl<'a> Finder<'a> {
    pub fn new(needles: &'a [Needle]) -> Self {
        let mut finder = Self {
            needles,
            starts: BTreeMap::new(),
            sieve: vec![0; 1 << (SIEVE_BITS - 6)],
            longest: 0,
        };
        for (number, needle) in needles.iter().enumerate() {
            for (form, (_, bytes)) in needle.forms.iter().enumerate() {
                let mut first = [0; 8];
                first[..LEAST].copy_from_slice(&bytes[..LEAST]);
                let start = u64::from_le_bytes(first);
                finder.starts.entry(start).or_default().push((number, form));
                let (word, bit) = place(start);
                finder.sieve[word] |= bit;
                finder.longest = finder.longest.max(bytes.len());
            }
        }
        finder
    }

    /// Every form in these bytes.
    pub fn find(&self, hay: &[u8]) -> Vec<Hit> {
        let mut hits = Vec::new();
        let mut window = 0u64;
        for (at, byte) in hay.iter().enumerate() {
            window = (window >> 8) | (u64::from(*byte) << (8 * (LEAST - 1)));
            if at + 1 < LEAST || window == 0 {
                continue;
            }
            let (word, bit) = place(window & START);
            if self.sieve[word] & bit == 0 {
                continue;
            }
            let begin = at + 1 - LEAST;
            for (number, form) in self.starts.get(&window).into_iter().flatten() {
                let (name, bytes) = &self.needles[*number].forms[*form];
                if hay[begin..].starts_with(bytes) {
                    hits.push(Hit {
                        needle: *number,
                        form: name,
                        at: begin,
                    });
                }
            }
        }
        hits
    }
}
