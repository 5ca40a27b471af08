//! Situations, each told in a few lines.
