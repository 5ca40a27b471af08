//! The pieces of a source text: code, comments and string literals.

/// The kinds of pieces.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A name, `::`, or any other single character; lifetimes without their quote.
    Code,
    /// A comment with its marks.
    Comment,
    /// A string literal with its quotes.
    Text,
}

/// One piece of a source text.
pub struct Piece<'a> {
    pub kind: Kind,
    pub text: &'a str,
}

/// All pieces in order, without white space and character literals.
pub fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let mut kind = None;
        let length = if rest.starts_with("//") {
            kind = Some(Kind::Comment);
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            kind = Some(Kind::Comment);
            rest.find("*/").map_or(rest.len(), |at| at + 2)
        } else if let Some(hashes) = raw_string(rest) {
            kind = Some(Kind::Text);
            let end = format!("\"{}", "#".repeat(hashes));
            let begin = rest.find('"').unwrap_or(0) + 1;
            rest[begin..]
                .find(&end)
                .map_or(rest.len(), |at| begin + at + end.len())
        } else if c == '"' {
            kind = Some(Kind::Text);
            quoted(rest, '"')
        } else if c == '\'' {
            let mut after = rest.chars().skip(1);
            match (after.next(), after.next()) {
                (Some('\\'), _) => quoted(rest, '\''),
                (Some(_), Some('\'')) => rest.char_indices().nth(3).map_or(rest.len(), |it| it.0),
                _ => 1,
            }
        } else if c.is_alphanumeric() || c == '_' {
            kind = Some(Kind::Code);
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
            end.unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            kind = Some(Kind::Code);
            2
        } else {
            kind = (!c.is_whitespace()).then_some(Kind::Code);
            c.len_utf8()
        };
        let (text, after) = rest.split_at(length);
        found.extend(kind.map(|kind| Piece { kind, text }));
        rest = after;
    }
    found
}

/// With how many hashes a raw string begins here, if one does.
fn raw_string(text: &str) -> Option<usize> {
    let text = text.strip_prefix('b').unwrap_or(text);
    let after = text.strip_prefix('r')?;
    let hashes = after.bytes().take_while(|byte| *byte == b'#').count();
    after[hashes..].starts_with('"').then_some(hashes)
}

/// The length of the text between two quotes, with them.
fn quoted(text: &str, mark: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == mark => return at + 1,
            _ => {}
        }
    }
    text.len()
}
