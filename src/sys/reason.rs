//! The text of system errors, for lines to the user.

use std::io;

/// The text of an error, to follow a colon: in lower case, and without the system's number.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let Some(code) = error.raw_os_error() else {
        return text;
    };
    let text = text.trim_end_matches(&format!(" (os error {code})"));
    // Windows writes whole sentences.
    let text = text.trim_end().trim_end_matches('.');
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        // An abbreviation keeps its capitals.
        (Some(first), Some(second)) if !second.is_uppercase() => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_has_no_number_and_no_capital() {
        let missing = std::fs::read("/nonexistent/file").unwrap_err();
        let text = reason(&missing);
        assert!(text.starts_with(char::is_lowercase), "{text}");
        assert!(!text.contains("os error"), "{text}");
        assert_eq!(reason(&io::Error::other("RST")), "RST");
    }
}
