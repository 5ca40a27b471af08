//! Writes the seeds of all properties into `corpus`, one file each, in place of those that are there:
//! `cargo run --manifest-path tests/fuzz/Cargo.toml --example seeds`.

use std::fs;
use std::io;
use std::path::Path;

use sesame_fuzz::properties::PROPERTIES;

fn main() -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let _ = fs::remove_dir_all(&corpus);
    for property in PROPERTIES {
        let folder = corpus.join(property.name);
        fs::create_dir_all(&folder)?;
        for (number, seed) in (1..).zip((property.seeds)()) {
            fs::write(folder.join(format!("{number:02}")), seed)?;
        }
    }
    Ok(())
}
