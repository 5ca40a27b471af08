//! What goes to a worker through its pipe: from the keeper, or from the worker before it.
#![allow(unsafe_code)]

use std::ffi::OsString;

use zeroize::Zeroizing;

use crate::sys::scrubbed_arguments::ScrubbedArguments;

/// The most bytes that can be handed over.
pub const MAX_STATE: usize = (1 << 20) - 4096;

/// What a state begins with.
const MAGIC: u64 = 0x0065_6d61_7365_7331;
/// What stands before each state: [`MAGIC`], the length of all that follows the header, and how many
/// listeners there are, followed by the keeper's handles of them; 8 bytes each.
pub(super) const HEADER: usize = 8 * (3 + MAX_KEPT);
/// The most listening sockets that can be kept.
pub(super) const MAX_KEPT: usize = 64;

/// The environment variable that tells a worker its handles: the pipe that it reads its state from,
/// the pipe that it writes the next one to, and the keeper.
pub(super) const VARIABLE: &str = "SESAME_WORKER";

/// What a keeper hands to the first worker.
pub(super) const FIRST: u8 = 0;
/// The same, what a worker hands to the one that follows.
pub(super) const NEXT: u8 = 1;

/// A header and what follows it, which the pipe has room for.
pub(super) fn message(handles: &[u64], body: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut message = Zeroizing::new(Vec::with_capacity(HEADER + body.len()));
    for number in [MAGIC, body.len() as u64, handles.len() as u64] {
        message.extend_from_slice(&number.to_le_bytes());
    }
    message.extend(handles.iter().flat_map(|handle| handle.to_le_bytes()));
    message.resize(HEADER, 0);
    message.extend_from_slice(body);
    message
}

/// The numbers of a header.
pub(super) fn header(bytes: &[u8; HEADER]) -> Option<(u64, Vec<u64>)> {
    let mut numbers = bytes.chunks_exact(8).map(|eight| {
        let eight: [u8; 8] = eight.try_into().unwrap_or_default();
        u64::from_le_bytes(eight)
    });
    let (magic, len, count) = (numbers.next()?, numbers.next()?, numbers.next()?);
    let count = usize::try_from(count)
        .ok()
        .filter(|count| *count <= MAX_KEPT)?;
    (magic == MAGIC).then(|| (len, numbers.take(count).collect()))
}

/// The body of what the keeper hands to the first worker.
pub(super) fn first(arguments: &ScrubbedArguments) -> Zeroizing<Vec<u8>> {
    let mut body = Zeroizing::new(vec![FIRST]);
    let phrase = arguments.phrase.as_ref().map(|phrase| phrase.as_slice());
    let texts = arguments.args.iter().map(|text| text.as_encoded_bytes());
    for text in [phrase].into_iter().chain(texts.map(Some)) {
        let len = text.map_or(u64::MAX, |text| text.len() as u64);
        body.extend_from_slice(&len.to_le_bytes());
        body.extend_from_slice(text.unwrap_or_default());
    }
    body
}

/// The arguments in such a body.
pub(super) fn read_first(mut body: &[u8]) -> Option<ScrubbedArguments> {
    let mut texts = Vec::new();
    while let Some((len, rest)) = body.split_first_chunk() {
        let len = u64::from_le_bytes(*len);
        body = rest;
        if len == u64::MAX {
            texts.push(None);
            continue;
        }
        let (text, rest) = body.split_at_checked(usize::try_from(len).ok()?)?;
        body = rest;
        texts.push(Some(text.to_vec()));
    }
    let mut texts = texts.into_iter();
    let phrase = texts.next()?.map(Zeroizing::new);
    let args = texts.flatten().map(|text| {
        // SAFETY: another process of this same program encoded it.
        unsafe { OsString::from_encoded_bytes_unchecked(text) }
    });
    Some(ScrubbedArguments {
        args: args.collect(),
        phrase,
        failure: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_tells_length_and_handles_or_is_refused() {
        let sent = message(&[4, 8], b"state");
        let (start, body) = sent.split_first_chunk().unwrap();
        assert_eq!(header(start), Some((5, vec![4, 8])));
        assert_eq!(body, b"state");
        let mut other = *start;
        other[0] ^= 1;
        assert_eq!(header(&other), None);
        let mut too_many = *start;
        too_many[16] = u8::try_from(MAX_KEPT + 1).unwrap();
        assert_eq!(header(&too_many), None);
    }

    #[test]
    fn arguments_arrive_as_they_were_given() {
        for phrase in [None, Some(b"four words".to_vec())] {
            let given = ScrubbedArguments {
                args: ["sesame", "--json", ""].map(OsString::from).into(),
                phrase: phrase.map(Zeroizing::new),
                failure: None,
            };
            let body = first(&given);
            assert_eq!(body[0], FIRST);
            let read = read_first(&body[1..]).unwrap();
            assert_eq!(read.args, given.args);
            assert_eq!(read.phrase, given.phrase);
        }
        assert!(read_first(&[1, 0, 0, 0, 0, 0, 0, 0]).is_none());
    }
}
