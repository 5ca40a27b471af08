//! What differs by operating system, behind one set of names.

pub mod interface;
