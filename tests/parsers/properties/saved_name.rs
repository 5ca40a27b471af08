//! The saved name: what the file holds is read as one line, and a name that is saved is read again
//! and deleted.

use std::fs;
use std::path::Path;

use sesame::config::SavedName;
use sesame::proto::{DisplayName, text_line};
use tempfile::TempDir;

/// The most bytes of the file.
const LONGEST: usize = 512;

thread_local! {
    /// One folder for all inputs. In memory where the system has such a folder, since a name is
    /// written through to the disk.
    static FOLDER: TempDir = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap();
}

/// Does something in a folder that belongs to this thread.
pub fn in_folder(what: impl FnOnce(&Path)) {
    FOLDER.with(|folder| what(folder.path()));
}

/// Takes the content of the file.
pub fn check(bytes: &[u8]) {
    in_folder(|folder| {
        let place = SavedName::locate(Some(folder), false);
        let path = folder.join("saved").join("name");
        fs::create_dir_all(folder.join("saved")).unwrap();
        fs::write(&path, bytes).unwrap();
        let loaded = place.load();
        let line = text_line::read(bytes).ok();
        let expected = line.and_then(|line| DisplayName::from_user(line).ok());
        match &loaded {
            Ok(None) => assert!(bytes.is_empty()),
            Ok(name) => assert_eq!(*name, expected),
            Err(warning) => {
                assert!(expected.is_none() || bytes.len() > LONGEST, "{warning}");
                assert_eq!(warning.lines().count(), 1, "{warning}");
            }
        }
        is_one_line(bytes);
        let Ok(Some(name)) = loaded else {
            return;
        };
        place.save(&name).unwrap();
        assert_eq!(fs::read(&path).unwrap(), format!("{name}\n").as_bytes());
        assert_eq!(place.load(), Ok(Some(name)));
        assert_eq!(place.delete(), Ok(()));
        assert!(!path.exists());
        assert_eq!(place.load(), Ok(None));
    });
}

/// What is read of these bytes, if anything, is a part of them without line ends.
fn is_one_line(bytes: &[u8]) {
    let Ok(line) = text_line::read(bytes) else {
        return;
    };
    assert!(!line.contains(['\n', '\r', '\0']));
    let before = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let after = before.strip_prefix(line.as_bytes()).unwrap();
    assert!([&b""[..], b"\n", b"\r\n", b"\r"].contains(&after));
    assert_eq!(text_line::trim(bytes), line.as_bytes());
}

/// Files as editors of several systems write them, and some that are none.
pub fn seeds() -> Vec<Vec<u8>> {
    let files: [&[u8]; 9] = [
        b"Alice\n",
        b"\xef\xbb\xbfZo\xc3\xab\r\n",
        b"bob smith\r",
        b"",
        b"\xff\xfeA\0",
        b"a\nb\n",
        b"a\0b",
        b"\xff",
        &[b'x'; 513],
    ];
    files.iter().map(|file| file.to_vec()).collect()
}
