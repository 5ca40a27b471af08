//! The replies of a control port.

use super::error::TorError;

/// The most bytes of a reply. Those that are asked for here have a few hundred; the longest part is
/// the path of the cookie file.
const MOST: usize = 16 * 1024;

/// A whole reply. All its bytes are printable ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its code; 250 is success.
    pub code: u16,
    /// Its lines, without code and line end.
    pub lines: Vec<String>,
}

impl Reply {
    /// The code of success.
    pub const OK: u16 = 250;

    /// What follows this in the first line that begins with it.
    pub(super) fn after(&self, beginning: &str) -> Option<&str> {
        let mut lines = self.lines.iter();
        lines.find_map(|line| line.strip_prefix(beginning))
    }
}

/// Cuts what comes on a control connection into replies.
#[derive(Default)]
pub struct Replies {
    /// The line that has begun.
    line: Vec<u8>,
    /// The lines of the reply that has begun, and its code.
    lines: Vec<String>,
    code: Option<u16>,
    /// How many bytes the reply has so far.
    length: usize,
}

impl Replies {
    /// Takes bytes up to the end of a reply, and returns that. The rest stays in `bytes`.
    ///
    /// # Errors
    /// [`TorError::NotTor`]: it is no reply, or is too long.
    pub fn take(&mut self, bytes: &mut &[u8]) -> Result<Option<Reply>, TorError> {
        while let Some((&byte, rest)) = bytes.split_first() {
            *bytes = rest;
            self.length += 1;
            if self.length > MOST {
                return Err(TorError::NotTor);
            }
            match byte {
                b'\n' => {
                    let line = std::mem::take(&mut self.line);
                    if let Some(reply) = self.end_line(&line)? {
                        return Ok(Some(reply));
                    }
                }
                b'\r' | b' '..=b'~' => self.line.push(byte),
                _ => return Err(TorError::NotTor),
            }
        }
        Ok(None)
    }

    /// `250-text` is followed by another line of the same reply, and `250 text` ends it. A reply with
    /// data (`250+text`) is asked for by nothing here.
    fn end_line(&mut self, line: &[u8]) -> Result<Option<Reply>, TorError> {
        let line = line.strip_suffix(b"\r").ok_or(TorError::NotTor)?;
        let (code, rest) = line.split_at_checked(3).ok_or(TorError::NotTor)?;
        let (kind, text) = rest.split_first().ok_or(TorError::NotTor)?;
        let is_code = code.iter().all(u8::is_ascii_digit);
        let number = std::str::from_utf8(code)
            .ok()
            .and_then(|it| it.parse().ok());
        let code: u16 = number.filter(|_| is_code).ok_or(TorError::NotTor)?;
        if self.code.is_some_and(|before| before != code) || text.contains(&b'\r') {
            return Err(TorError::NotTor);
        }
        self.code = Some(code);
        self.lines.push(String::from_utf8_lossy(text).into_owned());
        match kind {
            b'-' => Ok(None),
            b' ' => {
                let Self { lines, .. } = std::mem::take(self);
                Ok(Some(Reply { code, lines }))
            }
            _ => Err(TorError::NotTor),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Reply>, TorError> {
        Replies::default().take(&mut text.as_bytes())
    }

    fn reply(code: u16, lines: &[&str]) -> Reply {
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        Reply { code, lines }
    }

    #[test]
    fn replies_come_in_any_pieces() {
        let text = b"250-a=1\r\n250-\r\n250 OK\r\n515 no\r\n";
        for size in 1..text.len() {
            let (mut replies, mut found) = (Replies::default(), Vec::new());
            for mut piece in text.chunks(size) {
                while !piece.is_empty() {
                    found.extend(replies.take(&mut piece).unwrap());
                }
            }
            let expected = [reply(250, &["a=1", "", "OK"]), reply(515, &["no"])];
            assert_eq!(found, expected, "{size}");
        }
    }

    #[test]
    fn garbage_is_refused_at_its_line() {
        for bad in [
            "\n",
            "\r\n",
            "250\r\n",
            "25 OK\r\n",
            "250 OK\n",
            "250+data\r\n",
            "+50 OK\r\n",
            "250-a\r\n251 b\r\n",
            "250 a\rb\r\n",
            "HTTP/1.1 400 Bad Request\r\n",
            "250 \u{7f}",
            "250 é",
            "\0",
        ] {
            assert_eq!(read(bad), Err(TorError::NotTor), "{bad:?}");
        }
        assert_eq!(read("250 OK\r"), Ok(None), "it has not ended");
    }

    #[test]
    fn endless_lines_and_endless_replies_are_refused() {
        let mut replies = Replies::default();
        let line = [b'x'; 1024];
        assert!((0..100).any(|_| replies.take(&mut &line[..]).is_err()));
        assert!(replies.line.len() <= MOST);
        let mut replies = Replies::default();
        assert!((0..10_000).any(|_| replies.take(&mut &b"250-x\r\n"[..]).is_err()));
        assert!(replies.lines.len() <= MOST);
    }
}
