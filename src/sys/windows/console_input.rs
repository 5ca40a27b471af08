//! What is typed at a console, as the bytes that a terminal would send.
//!
//! A console gives events: keys, and a window of another size. Where it edits lines itself, a read
//! gives a whole line. Otherwise each key becomes its character, or the sequence that terminals have
//! for it (ECMA-48, and xterm for function keys and modifiers).
//!
//! A paste has to be told from typing, since a pasted line is never a command. A console that marks
//! it itself (bracketed paste, mode 2004, as Windows Terminal does) is believed. Elsewhere several
//! characters that come in one piece, with no pause between them, are a paste.
#![allow(unsafe_code)]

use std::io;
use std::os::windows::io::BorrowedHandle;
use std::ptr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use windows_sys::Win32::Foundation::WAIT_OBJECT_0;
use windows_sys::Win32::System::Console::{
    ENABLE_LINE_INPUT, GetConsoleMode, GetNumberOfConsoleInputEvents, INPUT_RECORD, KEY_EVENT,
    KEY_EVENT_RECORD, LEFT_ALT_PRESSED, LEFT_CTRL_PRESSED, PeekConsoleInputW, RIGHT_ALT_PRESSED,
    RIGHT_CTRL_PRESSED, ReadConsoleInputW, ReadConsoleW, SHIFT_PRESSED, WINDOW_BUFFER_SIZE_EVENT,
};
use windows_sys::Win32::System::Threading::{INFINITE, WaitForSingleObject};
use windows_sys::Win32::UI::Input::KeyboardAndMouse::{
    VK_DELETE, VK_DOWN, VK_END, VK_F1, VK_F12, VK_HOME, VK_INSERT, VK_LEFT, VK_MENU, VK_NEXT,
    VK_PRIOR, VK_RIGHT, VK_UP,
};
use zeroize::{Zeroize, Zeroizing};

use super::native::{checked, raw};
use super::polling::poll;

/// How many events are read at once.
const EVENTS: usize = 256;
/// The most of a line that is read at once, in units of UTF-16.
const LINE: usize = 8192;
/// After how long without a further event a paste is over.
const QUIET: Duration = Duration::from_millis(25);
/// The most that one paste may be, in bytes; it goes on as another one.
const LONGEST_PASTE: usize = 1 << 20;
/// This many characters in one piece were not typed, nor are two if one of them is Enter.
const BURST: usize = 4;

const PASTE_START: &[u8] = b"\x1b[200~";
const PASTE_END: &[u8] = b"\x1b[201~";
/// Ctrl-Z, which at the beginning of a line is the end of the input.
const SUBSTITUTE: u8 = 0x1a;

/// What was taken from the console and not read yet.
struct Taken {
    bytes: Vec<u8>,
    at: usize,
    /// The first half of a character that takes two units of UTF-16.
    half: Option<u16>,
    /// The console marks pastes itself.
    marks_pastes: bool,
}

static TAKEN: Mutex<Taken> = Mutex::new(Taken {
    bytes: Vec::new(),
    at: 0,
    half: None,
    marks_pastes: false,
});

/// The window has another size, which nobody has asked for yet.
static RESIZED: Mutex<bool> = Mutex::new(false);
static HAS_RESIZED: Condvar = Condvar::new();

fn note_resized() {
    *RESIZED.lock().unwrap_or_else(PoisonError::into_inner) = true;
    HAS_RESIZED.notify_all();
}

/// Waits until the window has another size, which shows while somebody waits for keys. False once
/// the patience is over.
pub(super) fn wait_for_size(patience: Option<Duration>) -> bool {
    let resized = RESIZED.lock().unwrap_or_else(PoisonError::into_inner);
    let is_quiet = |resized: &mut bool| !*resized;
    let mut resized = match patience {
        None => HAS_RESIZED
            .wait_while(resized, is_quiet)
            .unwrap_or_else(PoisonError::into_inner),
        Some(patience) => {
            HAS_RESIZED
                .wait_timeout_while(resized, patience, is_quiet)
                .unwrap_or_else(PoisonError::into_inner)
                .0
        }
    };
    std::mem::take(&mut *resized)
}

/// Waits until a read has something to give, or while the console edits a line itself, until the
/// line was begun. False once the patience is over.
pub(super) fn wait(console: BorrowedHandle<'_>, patience: Option<Duration>) -> bool {
    if lock().has_more() {
        return true;
    }
    let look_ups = [Duration::ZERO; 2];
    poll(patience, look_ups, || {
        let step = patience.unwrap_or(Duration::MAX);
        signalled(console, step) && (edits_lines(console) || skip_to_key(console))
    })
}

/// Reads what is there; waits if there is nothing.
///
/// # Errors
/// The system's.
pub(super) fn read(console: BorrowedHandle<'_>, bytes: &mut [u8]) -> io::Result<usize> {
    let mut taken = lock();
    while !taken.has_more() {
        if edits_lines(console) {
            if !taken.take_line(console)? {
                return Ok(0);
            }
        } else {
            taken.take_keys(console)?;
        }
    }
    Ok(taken.give(bytes))
}

impl Taken {
    fn has_more(&self) -> bool {
        self.at < self.bytes.len()
    }

    fn give(&mut self, bytes: &mut [u8]) -> usize {
        let left = &self.bytes[self.at..];
        let len = left.len().min(bytes.len());
        bytes[..len].copy_from_slice(&left[..len]);
        self.at += len;
        if !self.has_more() {
            self.bytes.zeroize();
            self.at = 0;
        }
        len
    }

    /// False at the end of the input.
    fn take_line(&mut self, console: BorrowedHandle<'_>) -> io::Result<bool> {
        let mut units = Zeroizing::new(vec![0_u16; LINE]);
        let mut read = 0;
        // SAFETY: the system writes at most as many units as there are.
        checked(unsafe {
            ReadConsoleW(
                raw(console),
                units.as_mut_ptr().cast(),
                LINE as u32,
                &raw mut read,
                ptr::null(),
            )
        })?;
        for unit in &units[..read as usize] {
            self.unit(*unit);
        }
        let ends = self.bytes.first() == Some(&SUBSTITUTE);
        if ends {
            self.bytes.zeroize();
        }
        Ok(read > 0 && !ends)
    }

    fn take_keys(&mut self, console: BorrowedHandle<'_>) -> io::Result<()> {
        self.take_batch(console)?;
        self.marks_pastes |= self
            .bytes
            .windows(PASTE_START.len())
            .any(|it| it == PASTE_START);
        if self.marks_pastes || !is_burst(&self.bytes) {
            return Ok(());
        }
        while self.bytes.len() < LONGEST_PASTE && signalled(console, QUIET) {
            self.take_batch(console)?;
        }
        self.bytes.splice(..0, PASTE_START.iter().copied());
        self.bytes.extend_from_slice(PASTE_END);
        Ok(())
    }

    /// Takes the events that are there; waits for one.
    fn take_batch(&mut self, console: BorrowedHandle<'_>) -> io::Result<()> {
        // SAFETY: a record is made of numbers, for which all bits may be zero.
        let mut records: [INPUT_RECORD; EVENTS] = unsafe { std::mem::zeroed() };
        let mut read = 0;
        // SAFETY: the system writes at most as many records as there are.
        checked(unsafe {
            let first = records.as_mut_ptr();
            ReadConsoleInputW(raw(console), first, EVENTS as u32, &raw mut read)
        })?;
        for record in &mut records[..read as usize] {
            match u32::from(record.EventType) {
                // SAFETY: the type says which of the union's variants it is.
                KEY_EVENT => self.key(unsafe { &record.Event.KeyEvent }),
                WINDOW_BUFFER_SIZE_EVENT => note_resized(),
                _ => {}
            }
            // SAFETY: as above. The record may hold a character of a message or a passphrase.
            unsafe { ptr::write_volatile(record, std::mem::zeroed()) };
        }
        Ok(())
    }

    fn key(&mut self, key: &KEY_EVENT_RECORD) {
        let Some(pressed) = Pressed::of(key) else {
            return;
        };
        for _ in 0..key.wRepeatCount.max(1) {
            match pressed {
                Pressed::Character { unit, alt } => {
                    if alt {
                        self.bytes.push(0x1b);
                    }
                    self.unit(unit);
                }
                Pressed::Function { key, modifiers } => {
                    self.bytes.extend(function_key(key, modifiers));
                }
            }
        }
    }

    fn unit(&mut self, unit: u16) {
        let half = self.half.take();
        for decoded in char::decode_utf16(half.into_iter().chain([unit])) {
            match decoded {
                Ok(character) => {
                    let mut utf8 = [0; 4];
                    let text = character.encode_utf8(&mut utf8);
                    self.bytes.extend_from_slice(text.as_bytes());
                }
                // The other half may be the next event.
                Err(lone)
                    if lone.unpaired_surrogate() == unit && (0xd800..0xdc00).contains(&unit) =>
                {
                    self.half = Some(unit);
                }
                Err(_) => self.bytes.extend_from_slice("\u{fffd}".as_bytes()),
            }
        }
    }
}

/// What a key event stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pressed {
    Character { unit: u16, alt: bool },
    Function { key: u16, modifiers: u8 },
}

impl Pressed {
    /// `None` for a key that is released, or that only changes what others mean.
    fn of(key: &KEY_EVENT_RECORD) -> Option<Self> {
        // SAFETY: both variants of the union are numbers, and the call was the wide one.
        let unit = unsafe { key.uChar.UnicodeChar };
        // A character that was typed by its number comes when Alt is released.
        let by_number = key.wVirtualKeyCode == VK_MENU && unit != 0;
        if key.bKeyDown == 0 && !by_number {
            return None;
        }
        let held = |keys: u32| key.dwControlKeyState & keys != 0;
        let control = held(LEFT_CTRL_PRESSED | RIGHT_CTRL_PRESSED);
        let alt = held(LEFT_ALT_PRESSED | RIGHT_ALT_PRESSED);
        if unit != 0 {
            // AltGr is Ctrl and Alt together.
            let alt = alt && !control && !by_number;
            return Some(Self::Character { unit, alt });
        }
        let modifiers = u8::from(held(SHIFT_PRESSED)) | u8::from(alt) << 1 | u8::from(control) << 2;
        let key = key.wVirtualKeyCode;
        (!function_key(key, modifiers).is_empty()).then_some(Self::Function { key, modifiers })
    }
}

/// The sequence of a key without a character; empty for one that has none.
fn function_key(key: u16, modifiers: u8) -> Vec<u8> {
    let letter = match key {
        VK_UP => 'A',
        VK_DOWN => 'B',
        VK_RIGHT => 'C',
        VK_LEFT => 'D',
        VK_END => 'F',
        VK_HOME => 'H',
        _ => '\0',
    };
    if letter != '\0' {
        return match modifiers {
            0 => format!("\x1b[{letter}"),
            _ => format!("\x1b[1;{}{letter}", modifiers + 1),
        }
        .into_bytes();
    }
    let number = match key {
        VK_INSERT => 2,
        VK_DELETE => 3,
        VK_PRIOR => 5,
        VK_NEXT => 6,
        VK_F1..=VK_F12 => {
            /// xterm's numbers, which leave some out.
            const FUNCTION: [u8; 12] = [11, 12, 13, 14, 15, 17, 18, 19, 20, 21, 23, 24];
            FUNCTION[usize::from(key - VK_F1)]
        }
        _ => return Vec::new(),
    };
    match modifiers {
        0 => format!("\x1b[{number}~"),
        _ => format!("\x1b[{number};{}~", modifiers + 1),
    }
    .into_bytes()
}

/// Whether these came faster than anybody types. A key that is held down is no paste.
fn is_burst(bytes: &[u8]) -> bool {
    let is_text = |byte: &u8| *byte >= b' ' || matches!(byte, b'\r' | b'\n' | b'\t');
    if !bytes.iter().all(is_text) || bytes.iter().all(|byte| byte == &bytes[0]) {
        return false;
    }
    let characters = bytes.iter().filter(|byte| **byte & 0xc0 != 0x80).count();
    characters >= BURST || (characters > 1 && bytes.iter().any(|it| matches!(it, b'\r' | b'\n')))
}

/// Whether the console gives whole lines.
fn edits_lines(console: BorrowedHandle<'_>) -> bool {
    let mut mode = 0;
    // SAFETY: the handle is open, and the system fills the number.
    let known = unsafe { GetConsoleMode(raw(console), &raw mut mode) } != 0;
    known && mode & ENABLE_LINE_INPUT != 0
}

/// Waits until there is an event.
fn signalled(console: BorrowedHandle<'_>, patience: Duration) -> bool {
    let millis = u32::try_from(patience.as_millis()).unwrap_or(INFINITE);
    // SAFETY: the handle is open.
    unsafe { WaitForSingleObject(raw(console), millis) == WAIT_OBJECT_0 }
}

/// Takes events that are no keys; whether a key is left. One that cannot be looked at is left too:
/// the read itself tells what is wrong.
fn skip_to_key(console: BorrowedHandle<'_>) -> bool {
    loop {
        let (mut there, mut read) = (0, 0);
        // SAFETY: a record is made of numbers, for which all bits may be zero; the system writes at
        // most one, and the type says which of the union's variants it is.
        unsafe {
            let mut record: INPUT_RECORD = std::mem::zeroed();
            if GetNumberOfConsoleInputEvents(raw(console), &raw mut there) == 0 {
                return true;
            }
            if there == 0 || PeekConsoleInputW(raw(console), &raw mut record, 1, &raw mut read) == 0
            {
                return there > 0;
            }
            let is_key = u32::from(record.EventType) == KEY_EVENT
                && Pressed::of(&record.Event.KeyEvent).is_some();
            if is_key {
                return true;
            }
            if u32::from(record.EventType) == WINDOW_BUFFER_SIZE_EVENT {
                note_resized();
            }
            if ReadConsoleInputW(raw(console), &raw mut record, 1, &raw mut read) == 0 {
                return true;
            }
        }
    }
}

fn lock() -> MutexGuard<'static, Taken> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_characters_in_one_piece_are_a_paste() {
        for pasted in ["/quit\r", "a\r", "ab\ncd", "four"] {
            assert!(is_burst(pasted.as_bytes()), "{pasted:?}");
        }
        for typed in [
            "",
            "\r",
            "a",
            "abc",
            "aaaaaaaa",
            "\r\r\r",
            "\x1b[A\x1b[A",
            "é",
        ] {
            assert!(!is_burst(typed.as_bytes()), "{typed:?}");
        }
    }

    #[test]
    fn keys_without_characters_have_the_sequences_of_xterm() {
        assert_eq!(function_key(VK_UP, 0), b"\x1b[A");
        assert_eq!(function_key(VK_LEFT, 4), b"\x1b[1;5D");
        assert_eq!(function_key(VK_F12, 0), b"\x1b[24~");
        assert_eq!(function_key(VK_DELETE, 1), b"\x1b[3;2~");
        assert_eq!(function_key(VK_MENU, 0), b"");
    }

    #[test]
    fn a_character_of_two_units_arrives_whole() {
        let mut taken = Taken {
            bytes: Vec::new(),
            at: 0,
            half: None,
            marks_pastes: false,
        };
        for unit in "a😀é".encode_utf16() {
            taken.unit(unit);
        }
        assert_eq!(taken.bytes, "a😀é".as_bytes());
        taken.unit(0xd83d);
        taken.unit(u16::from(b'x'));
        assert!(taken.bytes.ends_with("\u{fffd}x".as_bytes()));
    }
}
