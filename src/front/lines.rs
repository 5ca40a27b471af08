//! Cuts input into lines, with bounded memory whatever the input is.

use std::mem;

use memchr::memmem;
use zeroize::Zeroize;

use super::json_ref::RefScanner;
use super::options::Cut;
use crate::mesh::Reference;
use crate::proto::text_line;

/// Why a line cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadLine {
    /// It has more bytes than the limit.
    TooLong,
    /// It is not UTF-8.
    NotUtf8,
}

/// One line of the input.
#[derive(Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Counts from 1.
    pub number: u64,
    /// The text without its line end.
    pub text: Result<&'a str, BadLine>,
    /// How many bytes of input it took.
    pub bytes: usize,
    /// The `ref` of a JSON line that cannot be used, if it could be read.
    pub reference: Option<Reference>,
}

/// The rest of an input, for its next reader.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Leftover {
    /// Complete lines.
    pub lines: Vec<u8>,
    /// The rest of a line whose beginning was dropped comes next.
    pub begun: bool,
    /// The first byte of that beginning, if it was here.
    pub begun_with: Option<u8>,
    /// No input has come yet, so a byte order mark may.
    pub at_start: bool,
}

const BOM: &[u8] = b"\xef\xbb\xbf";
const CRLF: &[u8] = b"\r\n";

/// Bytes in, lines out. Holds at most one chunk and one line.
#[derive(Debug)]
pub struct Lines {
    buffer: Vec<u8>,
    /// Where the first line begins that was not returned yet.
    start: usize,
    /// Up to here there is no line end.
    scanned: usize,
    cut: Cut,
    limit: usize,
    number: u64,
    /// The number of line ends of two bytes, of which one is dropped; counted only if the input is
    /// not cut.
    crlfs: usize,
    /// The rest of a line is being dropped: it was too long, or a panic cut it.
    skipping: bool,
    /// After the handed-over lines comes the rest of a line that a panic cut.
    rest_follows: bool,
    /// Whether the lines are JSON: the error for an unusable one carries its `ref`.
    json: bool,
    /// Looks for the `ref` of the line that is being skipped.
    scanner: Option<RefScanner>,
    /// All input so far, if any, may be the beginning of a byte order mark.
    at_start: bool,
    /// The input began with the byte order mark of UTF-16: there are no lines.
    utf16: bool,
    ended: bool,
}

impl Lines {
    /// `limit` is the most bytes of a line, without what is dropped: its end, carriage returns
    /// before line feeds, and a byte order mark at the start of the input.
    pub fn new(cut: Cut, limit: usize) -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            scanned: 0,
            cut,
            limit,
            number: 0,
            crlfs: 0,
            skipping: false,
            rest_follows: false,
            json: false,
            scanner: None,
            at_start: true,
            utf16: false,
            ended: false,
        }
    }

    /// The lines are JSON. One that is too long is then returned at its end, because its `ref` may
    /// come last.
    pub fn of_json(self) -> Self {
        Self { json: true, ..self }
    }

    /// Whether the input began with the byte order mark of UTF-16. Then there are no lines.
    pub fn is_utf16(&self) -> bool {
        self.utf16
    }

    /// The next line, if it is complete. Call it until there is none.
    pub fn next_line(&mut self) -> Option<Line<'_>> {
        self.drop_bom();
        if self.utf16 {
            self.clear();
            return None;
        }
        let separator = match self.cut {
            Cut::Newline => Some(b'\n'),
            Cut::Null => Some(0),
            Cut::Nowhere => None,
        };
        let found = separator
            .and_then(|end| memchr::memchr(end, &self.buffer[self.scanned..]))
            .map(|at| self.scanned + at);
        if self.skipping {
            return self.skip(found);
        }
        let (end, after) = match found {
            Some(at) => (at, at + 1),
            None if self.ended && self.start < self.buffer.len() => {
                (self.buffer.len(), self.buffer.len())
            }
            None if mem::take(&mut self.rest_follows) => {
                self.skipping = true;
                return self.skip(None);
            }
            None => {
                self.forget_given_out();
                self.scanned = self.buffer.len();
                return self.overflow();
            }
        };
        let begin = mem::replace(&mut self.start, after);
        self.number += 1;
        if self.cut == Cut::Nowhere {
            drop_carriage_returns(&mut self.buffer);
            self.crlfs = 0;
            self.start = self.buffer.len();
        }
        self.scanned = self.start;
        let whole = &self.buffer[begin..end.min(self.buffer.len())];
        let line = self.trim(whole);
        let text = if line.len() > self.limit {
            Err(BadLine::TooLong)
        } else {
            str::from_utf8(line).map_err(|_| BadLine::NotUtf8)
        };
        // With its carriage return, as of a line that comes in parts: it ends a number.
        let reference = (self.json && text.is_err())
            .then(|| RefScanner::scan(whole))
            .flatten();
        Some(Line {
            number: self.number,
            text,
            bytes: after - begin,
            reference,
        })
    }

    /// Adds input.
    pub fn push(&mut self, bytes: &[u8]) {
        self.forget_given_out();
        let looked_at = self.buffer.len().saturating_sub(1);
        self.buffer.extend_from_slice(bytes);
        if self.cut == Cut::Nowhere {
            self.crlfs += memmem::find_iter(&self.buffer[looked_at..], CRLF).count();
        }
    }

    /// Moves the rest to the front, because lines that were returned must not stay in the buffer.
    fn forget_given_out(&mut self) {
        if self.start > 0 {
            let left = self.buffer.len() - self.start;
            self.buffer.copy_within(self.start.., 0);
            cut_off(&mut self.buffer, left);
            self.scanned -= self.start;
            self.start = 0;
        }
    }

    /// The input has ended: the rest is the last line.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Takes the input that was not returned, for its next reader: complete lines only. If the
    /// beginning of a line is here, it is dropped, and the next reader must drop its rest.
    pub fn take_unread(&mut self) -> Leftover {
        let at_start = self.at_start && self.buffer.is_empty();
        let mut unread = mem::take(&mut self.buffer);
        unread.drain(..self.start);
        let cut_off_before = mem::take(&mut self.rest_follows);
        let is_separator = |byte: &u8| match self.cut {
            Cut::Newline => *byte == b'\n',
            Cut::Null => *byte == 0,
            Cut::Nowhere => false,
        };
        if self.skipping {
            match unread.iter().position(is_separator) {
                Some(at) => {
                    unread.drain(..=at);
                    self.skipping = false;
                }
                None => unread.clear(),
            }
        }
        let complete = match unread.iter().rposition(is_separator) {
            _ if self.ended => unread.len(),
            Some(at) => at + 1,
            None => 0,
        };
        let begun_with = unread.get(complete).copied();
        let begun = begun_with.is_some() || mem::take(&mut self.skipping) || cut_off_before;
        cut_off(&mut unread, complete);
        self.start = 0;
        self.scanned = 0;
        self.crlfs = 0;
        self.scanner = None;
        Leftover {
            lines: unread,
            begun: begun && !self.ended,
            begun_with,
            at_start,
        }
    }

    /// Continues the input of an earlier process image. Its start is here only if `at_start`. If
    /// that image had read the beginning of a line, the rest of it follows `lines` and is dropped.
    pub fn go_on(&mut self, lines: &[u8], begun: bool, at_start: bool) {
        self.at_start = at_start;
        // Lines that were handed over are taken before more input comes.
        self.rest_follows = begun && !lines.is_empty();
        self.skipping = begun && lines.is_empty();
        self.push(lines);
    }

    fn drop_bom(&mut self) {
        if !self.at_start {
            return;
        }
        if self.buffer.starts_with(BOM) {
            self.start = BOM.len();
            self.scanned = BOM.len();
        }
        self.utf16 = text_line::is_utf16(&self.buffer);
        // The mark may come in parts. After anything else, it is part of the text.
        self.at_start = text_line::may_become_mark(&self.buffer);
    }

    fn skip(&mut self, found: Option<usize>) -> Option<Line<'_>> {
        let end = found.unwrap_or(self.buffer.len());
        let bytes = end - self.start + 1;
        if let Some(scanner) = &mut self.scanner {
            scanner.push(&self.buffer[self.start..end]);
        }
        match found {
            None => self.clear(),
            Some(at) => {
                self.skipping = false;
                self.start = at + 1;
                self.scanned = self.start;
            }
        }
        if found.is_none() && !self.ended {
            return None;
        }
        match self.scanner.take() {
            Some(scanner) => Some(self.too_long(bytes, scanner.finish())),
            None if found.is_some() => self.next_line(),
            None => None,
        }
    }

    /// Returns a line once it is known to be too long, and drops its bytes so far.
    fn overflow(&mut self) -> Option<Line<'static>> {
        let bytes = self.buffer.len() - self.start;
        // For each byte that is dropped at least one counts, so at most twice the limit is held.
        if bytes - self.crlfs <= self.limit + SLACK {
            return None;
        }
        self.skipping = true;
        if self.json {
            let mut scanner = RefScanner::new();
            scanner.push(&self.buffer[self.start..]);
            self.scanner = Some(scanner);
            self.clear();
            return None;
        }
        self.clear();
        Some(self.too_long(bytes, None))
    }

    fn too_long(&mut self, bytes: usize, reference: Option<Reference>) -> Line<'static> {
        self.number += 1;
        Line {
            number: self.number,
            text: Err(BadLine::TooLong),
            bytes,
            reference,
        }
    }

    fn clear(&mut self) {
        cut_off(&mut self.buffer, 0);
        self.start = 0;
        self.scanned = 0;
        self.crlfs = 0;
    }

    fn trim<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        match self.cut {
            Cut::Newline => text.strip_suffix(b"\r").unwrap_or(text),
            Cut::Null => text,
            Cut::Nowhere => text.strip_suffix(b"\n").unwrap_or(text),
        }
    }
}

/// A line end of two bytes may follow the longest line, and a byte order mark precede it.
const SLACK: usize = 2 + BOM.len();

fn drop_carriage_returns(text: &mut Vec<u8>) {
    if text.contains(&b'\r') {
        let ends: Vec<bool> = text.windows(2).map(|pair| pair == CRLF).collect();
        let mut ends = ends.into_iter();
        let before = text.len();
        text.retain(|_| !ends.next().unwrap_or(false));
        let kept = text.len();
        text.resize(before, 0);
        cut_off(text, kept);
    }
}

/// Shortens a buffer that lives on, and wipes what was behind its new end.
fn cut_off(buffer: &mut Vec<u8>, length: usize) {
    buffer[length..].zeroize();
    buffer.truncate(length);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(lines: &mut Lines) -> Vec<(u64, Result<String, BadLine>)> {
        let mut out = Vec::new();
        while let Some(line) = lines.next_line() {
            out.push((line.number, line.text.map(str::to_owned)));
        }
        out
    }

    fn cut(cut: Cut, input: &[u8]) -> Vec<Result<String, BadLine>> {
        let mut lines = Lines::new(cut, 10);
        let mut out = Vec::new();
        // Byte by byte, which is the hardest way.
        for byte in input {
            lines.push(&[*byte]);
            out.extend(all(&mut lines));
        }
        lines.end();
        out.extend(all(&mut lines));
        let mut whole = Lines::new(cut, 10);
        whole.push(input);
        let mut at_once = all(&mut whole);
        whole.end();
        at_once.extend(all(&mut whole));
        assert_eq!(out, at_once);
        assert!(out.iter().map(|l| l.0).eq(1..=out.len() as u64));
        out.into_iter().map(|l| l.1).collect()
    }

    fn ok(texts: &[&str]) -> Vec<Result<String, BadLine>> {
        texts.iter().map(|t| Ok((*t).to_owned())).collect()
    }

    #[test]
    fn line_ends_are_cut_off() {
        assert_eq!(
            cut(Cut::Newline, b"a\nb\r\n\nlast"),
            ok(&["a", "b", "", "last"])
        );
        assert_eq!(cut(Cut::Newline, b""), ok(&[]));
        assert_eq!(
            cut(Cut::Newline, b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n"),
            ok(&["a", "\u{feff}b"])
        );
        assert_eq!(cut(Cut::Newline, b"\xef\xbb\xbf"), ok(&[]));
        assert_eq!(cut(Cut::Null, b"a\nb\0c\n\0"), ok(&["a\nb", "c\n"]));
    }

    /// The lines if each part is read by itself.
    fn cut_parts(cut: Cut, parts: &[&[u8]]) -> Vec<Result<String, BadLine>> {
        let mut lines = Lines::new(cut, 10);
        let mut out = Vec::new();
        for part in parts {
            lines.push(part);
            out.extend(all(&mut lines));
        }
        lines.end();
        out.extend(all(&mut lines));
        out.into_iter().map(|l| l.1).collect()
    }

    #[test]
    fn byte_order_mark_counts_only_at_the_start() {
        let bom = BOM;
        assert_eq!(
            cut_parts(Cut::Newline, &[b"a\n", b"\xef\xbb\xbfb\n"]),
            ok(&["a", "\u{feff}b"])
        );
        assert_eq!(
            cut_parts(Cut::Newline, &[b"\n", bom]),
            ok(&["", "\u{feff}"])
        );
        assert_eq!(
            cut_parts(Cut::Null, &[b"\0", bom, b"b"]),
            ok(&["", "\u{feff}b"])
        );
        assert_eq!(cut_parts(Cut::Nowhere, &[b"a", bom]), ok(&["a\u{feff}"]));
        assert_eq!(
            cut_parts(Cut::Newline, &[b"", b"\xef", b"\xbb", b"\xbfa\n", bom]),
            ok(&["a", "\u{feff}"])
        );
        assert_eq!(
            cut_parts(Cut::Newline, &[b"\xef", b"\n", b"\xbb\xbf\n", bom]),
            [
                Err(BadLine::NotUtf8),
                Err(BadLine::NotUtf8),
                Ok("\u{feff}".into())
            ]
        );
    }

    #[test]
    fn dropped_bytes_do_not_count() {
        let fits = ok(&["1\n3\n567\n90"]);
        assert_eq!(cut(Cut::Nowhere, b"1\r\n3\r\n567\r\n90"), fits);
        assert_eq!(
            cut(Cut::Nowhere, b"\xef\xbb\xbf1\r\n3\r\n567\r\n90\r\n"),
            fits
        );
        let ends = [b'\r', b'\n'].repeat(11);
        assert_eq!(cut(Cut::Nowhere, &ends), ok(&["\n".repeat(10).as_str()]));
        // A carriage return by itself is an ordinary character.
        assert_eq!(cut(Cut::Nowhere, b"1\r3\r\r\n6\r"), ok(&["1\r3\r\n6\r"]));
        for too_long in [
            b"1234567890\r".as_slice(),
            b"1234567890\r\r\n",
            b"1\r\n3\r\n567\r\n901",
            &[b'\r', b'\n'].repeat(12),
        ] {
            assert_eq!(cut(Cut::Nowhere, too_long), [Err(BadLine::TooLong)]);
        }
        assert_eq!(
            cut(Cut::Newline, b"\xef\xbb\xbf1234567890\r\n123456789\r\r\n"),
            ok(&["1234567890", "123456789\r"])
        );
        assert_eq!(cut(Cut::Null, b"1234567890\0"), ok(&["1234567890"]));
    }

    #[test]
    fn all_of_the_input_can_be_one_text() {
        assert_eq!(cut(Cut::Nowhere, b"a\r\nb\n"), ok(&["a\nb"]));
        assert_eq!(cut(Cut::Nowhere, b"\xef\xbb\xbfa"), ok(&["a"]));
        assert_eq!(cut(Cut::Nowhere, b""), ok(&[]));
        assert_eq!(cut(Cut::Nowhere, b"12345\n78901"), [Err(BadLine::TooLong)]);
    }

    #[test]
    fn bad_line_costs_only_that_line() {
        assert_eq!(
            cut(Cut::Newline, b"1234567890\r\n12345678901\n\xff\nok\n"),
            [
                Ok("1234567890".into()),
                Err(BadLine::TooLong),
                Err(BadLine::NotUtf8),
                Ok("ok".into())
            ]
        );
        assert_eq!(cut(Cut::Newline, &[b'x'; 1000]), [Err(BadLine::TooLong)]);
    }

    #[test]
    fn utf16_gives_no_lines() {
        for input in [b"\xff\xfeh\0i\0\n\0".as_slice(), b"\xfe\xff\0h\0i\0\n"] {
            for how in [Cut::Newline, Cut::Null, Cut::Nowhere] {
                assert_eq!(cut(how, input), ok(&[]));
            }
            let mut lines = Lines::new(Cut::Newline, 10);
            lines.push(&input[..1]);
            assert!(lines.next_line().is_none() && !lines.is_utf16());
            lines.push(&input[1..]);
            assert!(lines.next_line().is_none() && lines.is_utf16());
        }
        let mut later = Lines::new(Cut::Newline, 10);
        later.push(b"a\n\xff\xfe\n");
        assert_eq!(
            all(&mut later),
            [(1, Ok("a".into())), (2, Err(BadLine::NotUtf8))]
        );
        assert!(!later.is_utf16());
    }

    #[test]
    fn bad_line_of_json_carries_its_ref() {
        let refs = |parts: &[&[u8]]| {
            let mut lines = Lines::new(Cut::Newline, 40).of_json();
            let mut out = Vec::new();
            for part in parts {
                lines.push(part);
                while let Some(line) = lines.next_line() {
                    out.push((line.number, line.text.err(), line.reference));
                }
            }
            lines.end();
            while let Some(line) = lines.next_line() {
                out.push((line.number, line.text.err(), line.reference));
            }
            out
        };
        let one = || Some(Reference::Integer(1));
        let (long, ends) = (b"{\"text\":\"".as_slice(), b"\",\"ref\":1}\n".as_slice());
        let too_long = [(1, Some(BadLine::TooLong), one())];
        assert_eq!(refs(&[long, &[b'x'; 50], ends]), too_long);
        assert_eq!(refs(&[&[long, &[b'x'; 50], ends].concat()]), too_long);
        assert_eq!(
            refs(&[long, &[b'x'; 50], &ends[..ends.len() - 1]]),
            too_long
        );
        let number_last = b"\",\"ref\":1\r\n".as_slice();
        assert_eq!(refs(&[long, &[b'x'; 50], number_last]), too_long);
        assert_eq!(
            refs(&[&[long, &[b'x'; 50], number_last].concat()]),
            too_long
        );
        assert_eq!(
            refs(&[
                long,
                &[b'x'; 50],
                b"\"}\n{\"ref\":1}\n",
                long,
                b"\xff",
                ends
            ]),
            [
                (1, Some(BadLine::TooLong), None),
                (2, None, None),
                (3, Some(BadLine::NotUtf8), one()),
            ]
        );
    }

    #[test]
    fn a_line_without_end_takes_no_memory() {
        let mut lines = Lines::new(Cut::Newline, 10);
        for _ in 0..1000 {
            lines.push(&[b'x'; 1000]);
            while lines.next_line().is_some() {}
        }
        assert!(lines.buffer.capacity() < 10_000);
    }

    #[test]
    fn line_ends_without_end_take_no_memory() {
        let mut lines = Lines::new(Cut::Nowhere, 10);
        let mut told = Vec::new();
        for _ in 0..1000 {
            lines.push(&[b'\r', b'\n'].repeat(500));
            told.extend(all(&mut lines));
        }
        assert!(lines.buffer.capacity() < 10_000);
        assert_eq!(told, [(1, Err(BadLine::TooLong))]);
    }

    fn handed_over(lines: &mut Lines, cut: Cut) -> (Leftover, Lines) {
        let left = lines.take_unread();
        let mut heir = Lines::new(cut, 10);
        heir.go_on(&left.lines, left.begun, left.at_start);
        (left, heir)
    }

    #[test]
    fn complete_lines_are_handed_over_and_a_begun_one_dropped() {
        for (cut, end) in [(Cut::Newline, "\n"), (Cut::Null, "\0")] {
            let mut lines = Lines::new(cut, 10);
            lines.push(format!("one{end}two{end}/panic{end}thr").as_bytes());
            assert_eq!(lines.next_line().and_then(|l| l.text.ok()), Some("one"));
            let (left, mut heir) = handed_over(&mut lines, cut);
            assert_eq!(left.lines, format!("two{end}/panic{end}").as_bytes());
            assert_eq!((left.begun, left.begun_with), (true, Some(b't')));
            let whole = [(1, Ok("two".into())), (2, Ok("/panic".into()))];
            assert_eq!(all(&mut heir), whole);
            // However it comes, the rest of the line is dropped.
            for rest in ["e", "ee", "e and a half"] {
                heir.push(rest.as_bytes());
                assert_eq!(all(&mut heir), []);
            }
            heir.push(format!("{end}next{end}").as_bytes());
            assert_eq!(all(&mut heir), [(3, Ok("next".into()))]);
        }
    }

    #[test]
    fn a_begun_line_stays_dropped_through_further_panics() {
        let mut lines = Lines::new(Cut::Newline, 10);
        lines.push(b"half");
        assert!(lines.next_line().is_none());
        let (_, mut heir) = handed_over(&mut lines, Cut::Newline);
        // Before any line was taken from it, and after.
        let (left, mut heir) = handed_over(&mut heir, Cut::Newline);
        assert!(left.begun && left.begun_with.is_none());
        assert!(heir.next_line().is_none());
        heir.push(b" and");
        let (left, mut heir) = handed_over(&mut heir, Cut::Newline);
        assert!(left.begun && left.lines.is_empty());
        heir.push(b" all\nnext\n");
        assert_eq!(all(&mut heir), [(1, Ok("next".into()))]);
        heir.push(b"last");
        heir.end();
        // At the end of the input the line is complete.
        let (left, mut heir) = handed_over(&mut heir, Cut::Newline);
        assert!(!left.begun);
        heir.end();
        assert_eq!(all(&mut heir), [(1, Ok("last".into()))]);
    }

    #[test]
    fn byte_order_mark_after_a_panic_counts_only_at_the_start() {
        let mut lines = Lines::new(Cut::Newline, 10);
        let (_, mut heir) = handed_over(&mut lines, Cut::Newline);
        let (_, mut heir) = handed_over(&mut heir, Cut::Newline);
        heir.push(b"\xef\xbb\xbfa\n");
        assert_eq!(all(&mut heir), [(1, Ok("a".into()))]);
        let (_, mut heir) = handed_over(&mut heir, Cut::Newline);
        heir.push(b"\xef\xbb\xbfb\n");
        assert_eq!(all(&mut heir), [(1, Ok("\u{feff}b".into()))]);
        let (_, mut heir) = handed_over(&mut lines, Cut::Newline);
        heir.push(b"\xff\xfeh\0");
        assert!(heir.next_line().is_none() && heir.is_utf16());
    }

    #[test]
    fn rest_of_a_cut_line_without_end_is_dropped() {
        for cut in [Cut::Newline, Cut::Null, Cut::Nowhere] {
            let mut lines = Lines::new(cut, 10);
            lines.push(b"half");
            assert!(lines.next_line().is_none());
            let (left, mut heir) = handed_over(&mut lines, cut);
            assert!(left.begun && left.lines.is_empty());
            heir.push(b"more");
            assert_eq!(all(&mut heir), []);
            heir.end();
            assert_eq!(all(&mut heir), [], "{cut:?}");
        }
    }

    #[test]
    fn rest_of_a_line_that_was_too_long_is_dropped_too() {
        let mut lines = Lines::new(Cut::Newline, 10);
        lines.push(&[b'x'; 30]);
        assert_eq!(
            lines.next_line().map(|l| l.text),
            Some(Err(BadLine::TooLong))
        );
        let (left, mut heir) = handed_over(&mut lines, Cut::Newline);
        assert!(left.begun && left.begun_with.is_none(), "it was named");
        heir.push(b"/rest\nnext\n");
        assert_eq!(all(&mut heir), [(1, Ok("next".into()))]);
    }
}
