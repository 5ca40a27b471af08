//! The properties of `tests/parsers`, for the fuzz targets.

#[path = "../../parsers/properties/mod.rs"]
pub mod properties;
