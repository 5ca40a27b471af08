//! Quoted strings of the control protocol, with the escapes of C.

/// Reads a quoted string at the beginning of a text. Returns its bytes and what follows it; `None`:
/// there is none.
pub(super) fn unquote(text: &str) -> Option<(Vec<u8>, &str)> {
    let inside = text.strip_prefix('"')?;
    let mut bytes = Vec::new();
    let mut rest = inside.bytes().enumerate();
    while let Some((at, byte)) = rest.next() {
        match byte {
            b'"' => return Some((bytes, inside.get(at + 1..)?)),
            b'\\' => {
                let (at, byte) = rest.next()?;
                bytes.push(match byte {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'0'..=b'3' => {
                        // Tor writes such a byte in three octal digits.
                        let digits = inside.get(at..at + 3)?;
                        rest.nth(1)?;
                        u8::from_str_radix(digits, 8).ok()?
                    }
                    b'"' | b'\'' | b'\\' => byte,
                    _ => return None,
                });
            }
            byte => bytes.push(byte),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_end_at_their_quote() {
        let read = |text| unquote(text).map(|(bytes, rest)| (bytes, rest.to_owned()));
        assert_eq!(read(r#""ab" c"#), Some((b"ab".to_vec(), " c".into())));
        assert_eq!(read(r#""""#), Some((vec![], String::new())));
        let escaped = read(r#""a\"\\\'\n\r\t\303\251""#);
        assert_eq!(
            escaped,
            Some(("a\"\\'\n\r\té".as_bytes().to_vec(), String::new()))
        );
        for bad in [
            "",
            "a",
            "\"",
            "\"a",
            r#""\""#,
            r#""\x41""#,
            r#""\38""#,
            r#""\3"#,
            r#""\400""#,
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
