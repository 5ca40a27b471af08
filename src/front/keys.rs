//! Turns the bytes of a terminal into keys, however reads split them.

use std::mem;

use zeroize::Zeroize;

use crate::mesh::Text;

/// Begins a paste (xterm's bracketed paste).
pub(super) const PASTE_START: &[u8] = b"\x1b[200~";
/// Ends a paste.
const PASTE_END: &[u8] = b"\x1b[201~";
/// F12, as xterm, VTE, the Linux console and rxvt send it.
const F12: &[u8] = b"\x1b[24~";
/// The most parameter bytes of a control sequence; a longer one is no key.
const PARAMETERS: usize = 16;

/// A key, or a paste.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// A character that is part of the text.
    Char(char),
    /// Ctrl with an upper-case letter, or with one of ``@ \ ] ^ _``.
    Ctrl(char),
    /// Alt with a character.
    Alt(char),
    Enter,
    AltEnter,
    Tab,
    Backspace,
    AltBackspace,
    Delete,
    Up,
    Down,
    Left,
    Right,
    WordLeft,
    WordRight,
    Home,
    End,
    F12,
    /// A whole paste, with line feeds as line ends.
    Paste(String),
    /// A paste too long for a message; it is dropped.
    PasteTooLong,
    /// Bytes that are not UTF-8; they are dropped.
    NotUtf8,
    /// Any other key.
    Unbound,
}

/// The reader's position in the bytes of a key.
enum State {
    Ground,
    /// Within a character of several bytes.
    Character(Vec<u8>),
    /// After ESC. `stale` after a while: then it was the key Esc, unless a control sequence
    /// follows.
    Escape {
        stale: bool,
    },
    /// After ESC `[`.
    Control(Vec<u8>),
    /// After ESC `[` `[`, which begins the function keys of the Linux console.
    Console,
    /// After ESC `O`.
    Shift3,
    Paste(Paste),
}

#[derive(Default)]
struct Paste {
    bytes: Vec<u8>,
    too_long: bool,
    /// The program was stopped in the middle of a paste, whose end may have gone to another
    /// program.
    interrupted: bool,
}

/// Bytes in, keys out. The same bytes give the same keys, however they are split.
pub(super) struct KeyReader {
    state: State,
}

impl KeyReader {
    /// Between two keys.
    pub(super) fn new() -> Self {
        Self {
            state: State::Ground,
        }
    }

    /// Adds the keys that this byte completes: mostly none or one.
    pub(super) fn push(&mut self, byte: u8, keys: &mut Vec<Key>) {
        self.state = match mem::replace(&mut self.state, State::Ground) {
            State::Ground => ground(byte, keys),
            State::Character(bytes) => character(bytes, byte, keys),
            State::Escape { stale } => escape(stale, byte, keys),
            State::Control(parameters) => control(parameters, byte, keys),
            State::Console => State::Ground,
            State::Shift3 => shift3(byte, keys),
            State::Paste(paste) => paste.push(byte, keys),
        };
    }

    /// Whether the last byte may have been the key Esc by itself. If no byte follows for a while,
    /// call [`Self::nothing_followed`].
    pub(super) fn may_be_escape(&self) -> bool {
        matches!(self.state, State::Escape { stale: false })
    }

    /// See [`Self::may_be_escape`].
    pub(super) fn nothing_followed(&mut self) {
        if self.may_be_escape() {
            self.state = State::Escape { stale: true };
        }
    }

    /// Whether a paste has begun and not ended.
    pub(super) fn is_in_paste(&self) -> bool {
        matches!(self.state, State::Paste(_))
    }

    /// The program was stopped and continues. The end of a paste that had begun may be lost: from
    /// here on F12 counts within it, and Ctrl-C ends it.
    pub(super) fn interrupt(&mut self) {
        if let State::Paste(paste) = &mut self.state {
            paste.interrupted = true;
        }
    }
}

fn ground(byte: u8, keys: &mut Vec<Key>) -> State {
    let key = match byte {
        0x1b => return State::Escape { stale: false },
        0x80.. => return character(Vec::with_capacity(4), byte, keys),
        b'\r' | b'\n' => Key::Enter,
        b'\t' => Key::Tab,
        0x08 | 0x7f => Key::Backspace,
        0..=0x1f => Key::Ctrl(char::from(byte + b'@')),
        _ => Key::Char(char::from(byte)),
    };
    keys.push(key);
    State::Ground
}

fn character(mut bytes: Vec<u8>, byte: u8, keys: &mut Vec<Key>) -> State {
    bytes.push(byte);
    match std::str::from_utf8(&bytes) {
        Ok(text) => {
            keys.extend(text.chars().map(|c| match c.is_control() {
                true => Key::Unbound,
                false => Key::Char(c),
            }));
            State::Ground
        }
        Err(why) if why.error_len().is_none() => State::Character(bytes),
        Err(_) => {
            keys.push(Key::NotUtf8);
            // A byte that cuts a character short may begin another, or be a key.
            if bytes.len() > 1 {
                ground(byte, keys)
            } else {
                State::Ground
            }
        }
    }
}

fn escape(stale: bool, byte: u8, keys: &mut Vec<Key>) -> State {
    let key = match byte {
        b'[' => return State::Control(Vec::new()),
        0x1b => return State::Escape { stale: false },
        _ if stale => return ground(byte, keys),
        b'O' => return State::Shift3,
        b'\r' | b'\n' => Key::AltEnter,
        0x08 | 0x7f => Key::AltBackspace,
        0..=0x1f | 0x80.. => return ground(byte, keys),
        _ => Key::Alt(char::from(byte)),
    };
    keys.push(key);
    State::Ground
}

fn control(mut parameters: Vec<u8>, byte: u8, keys: &mut Vec<Key>) -> State {
    match byte {
        b'[' if parameters.is_empty() => return State::Console,
        b' '..=b'?' => {
            if parameters.len() <= PARAMETERS {
                parameters.push(byte);
            }
            return State::Control(parameters);
        }
        b'@'..=b'~' => {}
        // Not part of a sequence: the sequence is dropped.
        _ => return ground(byte, keys),
    }
    if (parameters.as_slice(), byte) == (b"200", b'~') {
        return State::Paste(Paste::default());
    }
    keys.push(sequence(&parameters, byte));
    State::Ground
}

/// The key of a control sequence, as xterm and similar terminals send it.
fn sequence(parameters: &[u8], last: u8) -> Key {
    match (parameters, last) {
        (b"", b'A') => Key::Up,
        (b"", b'B') => Key::Down,
        (b"", b'C') => Key::Right,
        (b"", b'D') => Key::Left,
        (b"1;3" | b"1;5", b'C') | (b"5", b'C') => Key::WordRight,
        (b"1;3" | b"1;5", b'D') | (b"5", b'D') => Key::WordLeft,
        (b"", b'H') | (b"1" | b"7", b'~') => Key::Home,
        (b"", b'F') | (b"4" | b"8", b'~') => Key::End,
        (b"3", b'~') => Key::Delete,
        (b"24", b'~') => Key::F12,
        // If the terminal reports modifiers: Shift-Enter and Alt-Enter.
        (b"13;2" | b"13;3", b'u') | (b"27;2;13" | b"27;3;13", b'~') => Key::AltEnter,
        _ => Key::Unbound,
    }
}

fn shift3(byte: u8, keys: &mut Vec<Key>) -> State {
    let key = match byte {
        b'A' => Key::Up,
        b'B' => Key::Down,
        b'C' => Key::Right,
        b'D' => Key::Left,
        b'H' => Key::Home,
        b'F' => Key::End,
        b'M' => Key::Enter,
        // Not part of a sequence: the sequence is dropped.
        0..=0x1f | 0x7f.. => return ground(byte, keys),
        _ => Key::Unbound,
    };
    keys.push(key);
    State::Ground
}

impl Paste {
    fn push(mut self, byte: u8, keys: &mut Vec<Key>) -> State {
        if self.interrupted && byte == 0x03 {
            self.bytes.zeroize();
            return State::Ground;
        }
        self.bytes.push(byte);
        if self.interrupted && self.bytes.ends_with(F12) {
            self.bytes.zeroize();
            keys.push(Key::F12);
            return State::Ground;
        }
        if self.bytes.ends_with(PASTE_END) {
            self.end(keys);
            return State::Ground;
        }
        if self.bytes.len() > 2 * Text::MAX {
            self.too_long = true;
            let end = self.bytes.len() - PASTE_END.len();
            self.bytes.copy_within(end.., 0);
            self.bytes[PASTE_END.len()..].zeroize();
            self.bytes.truncate(PASTE_END.len());
        }
        State::Paste(self)
    }

    fn end(mut self, keys: &mut Vec<Key>) {
        let text = &self.bytes[..self.bytes.len() - PASTE_END.len()];
        if self.too_long {
            keys.push(Key::PasteTooLong);
        } else {
            let text = String::from_utf8_lossy(text);
            let text = text.replace("\r\n", "\n").replace('\r', "\n");
            keys.push(if text.len() > Text::MAX {
                Key::PasteTooLong
            } else {
                Key::Paste(text)
            });
        }
        self.bytes.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let (mut reader, mut keys) = (KeyReader::new(), Vec::new());
        for byte in bytes {
            reader.push(*byte, &mut keys);
        }
        keys
    }

    use Key::{Char, Ctrl};

    #[test]
    fn keys_of_one_write_are_all_read() {
        assert_eq!(
            keys(b"\x03hi\r\x03\x03"),
            [
                Ctrl('C'),
                Char('h'),
                Char('i'),
                Key::Enter,
                Ctrl('C'),
                Ctrl('C')
            ]
        );
        assert_eq!(keys(b"a\x04"), [Char('a'), Ctrl('D')]);
        assert_eq!(keys(b"a\x1b[24~b"), [Char('a'), Key::F12, Char('b')]);
        assert_eq!(keys(b"\x18\x10"), [Ctrl('X'), Ctrl('P')]);
        assert_eq!(keys("é日".as_bytes()), [Char('é'), Char('日')]);
    }

    #[test]
    fn sequences_have_their_names() {
        assert_eq!(
            keys(b"\x1b[A\x1bOB\x1b[1;5C\x1b[1;3D\x1b[3~\x1bOM\x1b\r\x1bb\x1b\x7f"),
            [
                Key::Up,
                Key::Down,
                Key::WordRight,
                Key::WordLeft,
                Key::Delete,
                Key::Enter,
                Key::AltEnter,
                Key::Alt('b'),
                Key::AltBackspace,
            ]
        );
        assert_eq!(keys(b"\x1b[99;99x\x1b[[Aa"), [Key::Unbound, Char('a')]);
        assert_eq!(keys(b"\x1b[1;2\x03a"), [Ctrl('C'), Char('a')]);
        assert_eq!(keys(b"\x1b\x1b[24~"), [Key::F12]);
    }

    #[test]
    fn escape_is_not_alt_after_a_while() {
        let (mut reader, mut keys) = (KeyReader::new(), Vec::new());
        reader.push(0x1b, &mut keys);
        assert!(reader.may_be_escape());
        reader.nothing_followed();
        reader.push(b'b', &mut keys);
        assert_eq!(keys, [Char('b')]);
        // But a slow sequence is still a sequence.
        keys.clear();
        for byte in b"\x1b[24~" {
            reader.push(*byte, &mut keys);
            reader.nothing_followed();
        }
        assert_eq!(keys, [Key::F12]);
    }

    #[test]
    fn a_paste_is_one_key() {
        assert_eq!(
            keys(b"a\x1b[200~/quit\r\nb\rc\x1b[24~\x03\x1b[201~d"),
            [
                Char('a'),
                Key::Paste("/quit\nb\nc\x1b[24~\x03".into()),
                Char('d')
            ]
        );
    }

    #[test]
    fn a_paste_without_end_takes_bounded_memory() {
        let (mut reader, mut keys) = (KeyReader::new(), Vec::new());
        for byte in b"\x1b[200~"
            .iter()
            .chain([b'x'].iter().cycle().take(10 * Text::MAX))
        {
            reader.push(*byte, &mut keys);
            if let State::Paste(paste) = &reader.state {
                assert!(paste.bytes.len() <= 2 * Text::MAX);
            }
        }
        for byte in PASTE_END.iter().chain(b"y") {
            reader.push(*byte, &mut keys);
        }
        assert_eq!(keys, [Key::PasteTooLong, Char('y')]);
    }

    #[test]
    fn interrupted_paste_ends_with_ctrl_c() {
        for (rest, last) in [(&b"x\x1b[24~"[..], Key::F12), (b"x\x03y", Char('y'))] {
            let (mut reader, mut keys) = (KeyReader::new(), Vec::new());
            for byte in b"\x1b[200~half" {
                reader.push(*byte, &mut keys);
            }
            reader.interrupt();
            for byte in rest {
                reader.push(*byte, &mut keys);
            }
            assert_eq!(keys, [last]);
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_cost_only_themselves() {
        assert_eq!(
            keys(b"a\xffb\xc3(\xe2\x82\x1b[A"),
            [
                Char('a'),
                Key::NotUtf8,
                Char('b'),
                Key::NotUtf8,
                Char('('),
                Key::NotUtf8,
                Key::Up
            ]
        );
    }
}
