//! The version, and the sizes that both ends agree on. Sections are those of PROTOCOL.md.

/// The version of the protocol (PROTOCOL.md).
pub const VERSION: u16 = 1;
/// The size of every cell, in bytes (section 7).
pub const CELL: usize = 1024;
/// The most bytes of text in one message (section 9).
pub const MAX_TEXT: usize = 65_536;
/// The most messages sent and not acknowledged (section 9).
pub const WINDOW_MESSAGES: usize = 8_192;
/// The most bytes of text sent and not acknowledged (section 9).
pub const WINDOW_BYTES: usize = 1 << 20;
/// The most bytes of a display name (section 8).
pub const MAX_NAME_BYTES: usize = 128;
