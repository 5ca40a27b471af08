//! The display name that is kept from one run to the next. Nothing else is.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::proto::{DisplayName, MAX_NAME_BYTES, text_line};

/// Where the name is kept: `sesame/name` in the user's configuration directory.
#[derive(Clone, Debug)]
pub struct SavedName {
    path: Option<PathBuf>,
    decoy: bool,
}

impl SavedName {
    /// In `$XDG_CONFIG_HOME`, or else in `~/.config`. A relative path in the variable is ignored, as
    /// the XDG Base Directory Specification wants it. A decoy session knows the place only to
    /// delete what is there.
    pub fn locate(config_home: Option<&OsStr>, decoy: bool) -> Self {
        let given = config_home
            .map(PathBuf::from)
            .filter(|path| path.is_absolute());
        let home = || {
            std::env::home_dir()
                .filter(|path| path.is_absolute())
                .map(|home| home.join(".config"))
        };
        let path = given
            .or_else(home)
            .map(|base| base.join("sesame").join("name"));
        Self { path, decoy }
    }

    /// The directory of the name, made if it is not there: later nobody may. A decoy session makes
    /// none. `None` where there is none.
    pub fn prepare(&self) -> Option<&Path> {
        let dir = self.path.as_ref()?.parent()?;
        if !self.decoy {
            // Where it cannot be made, saving says so.
            let _ = make_private(dir);
        }
        dir.is_dir().then_some(dir)
    }

    /// The saved name, if there is one and it may be read.
    ///
    /// # Errors
    /// A warning for people where the file is there and holds no name.
    pub fn load(&self) -> Result<Option<DisplayName>, String> {
        let Some(path) = self.path.as_ref().filter(|_| !self.decoy) else {
            return Ok(None);
        };
        let told = |why: &dyn std::fmt::Display| {
            format!(
                "{}: the saved name is ignored: {why}; --display-name NAME saves another",
                path.display()
            )
        };
        match read_bounded(path) {
            Ok(bytes) => {
                let line = text_line::read(&bytes).map_err(|why| told(&format!("it {why}")))?;
                DisplayName::from_user(line)
                    .map(Some)
                    .map_err(|error| told(&error))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(told(&error)),
        }
    }

    /// Saves a name, wholly or not at all. A decoy session saves nothing.
    ///
    /// # Errors
    /// A warning for people where it cannot be written.
    pub fn save(&self, name: &DisplayName) -> Result<(), String> {
        let path = match &self.path {
            _ if self.decoy => return Ok(()),
            Some(path) => path,
            None => {
                return Err(
                    "the name is not saved: there is no home directory; set XDG_CONFIG_HOME".into(),
                );
            }
        };
        replace(path, format!("{name}\n").as_bytes()).map_err(|error| {
            format!(
                "{}: the name is not saved: {error}; it holds for this run",
                path.display()
            )
        })
    }

    /// Deletes the saved name, and what an interrupted saving left behind; a decoy's panic does so
    /// too.
    ///
    /// # Errors
    /// That the name is still there.
    pub fn delete(&self) -> io::Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        for left in path
            .parent()
            .and_then(|dir| fs::read_dir(dir).ok())
            .into_iter()
            .flatten()
            .flatten()
        {
            if left
                .file_name()
                .as_encoded_bytes()
                .starts_with(TEMPORARY.as_bytes())
            {
                let _ = fs::remove_file(left.path());
            }
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// How the name of an unfinished file begins; the process id follows.
const TEMPORARY: &str = ".name.";

/// As much as a name can be, and one byte more, so that what is longer breaks the rules.
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    // A pipe in this place would be waited for.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "not a regular file",
        ));
    }
    let mut bytes = Vec::new();
    // Decomposed, a name may be longer than the bytes that it has on the wire.
    let most = 4 * MAX_NAME_BYTES as u64;
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    make_private(dir)?;
    let temporary = dir.join(format!("{TEMPORARY}{}", std::process::id()));
    let result = write_new(&temporary, content).and_then(|()| fs::rename(&temporary, path));
    if result.is_err() {
        let _ = fs::remove_file(&temporary);
    } else if let Ok(dir) = File::open(dir) {
        // The name is in place; that it outlives a power cut is as much as can be tried.
        let _ = dir.sync_all();
    }
    result
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    // One that an earlier process with this id left behind.
    let _ = fs::remove_file(path);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn make_private(dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DisplayName {
        DisplayName::from_user(text).unwrap()
    }

    fn place(base: &Path, decoy: bool) -> SavedName {
        SavedName::locate(Some(base.as_os_str()), decoy)
    }

    #[test]
    fn a_saved_name_is_there_in_the_next_run() {
        let base = tempfile::tempdir().unwrap();
        let saved = place(&base.path().join("config"), false);
        assert_eq!(saved.load(), Ok(None));
        saved.save(&name("Zoë")).unwrap();
        saved.save(&name("bob smith")).unwrap();
        assert_eq!(saved.load(), Ok(Some(name("bob smith"))));
        let dir = base.path().join("config/sesame");
        assert_eq!(
            fs::read_dir(&dir).unwrap().count(),
            1,
            "nothing but the name is left"
        );
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!((mode(&dir), mode(&dir.join("name"))), (0o700, 0o600));
        }
    }

    #[test]
    fn a_decoy_neither_reads_nor_writes_and_its_panic_deletes() {
        let base = tempfile::tempdir().unwrap();
        place(base.path(), false).save(&name("alice")).unwrap();
        let decoy = place(base.path(), true);
        assert_eq!(decoy.load(), Ok(None));
        decoy.save(&name("other")).unwrap();
        assert_eq!(place(base.path(), false).load(), Ok(Some(name("alice"))));
        fs::write(base.path().join("sesame/.name.1"), "alice").unwrap();
        decoy.delete().unwrap();
        assert_eq!(fs::read_dir(base.path().join("sesame")).unwrap().count(), 0);
        decoy.delete().unwrap();
    }

    #[test]
    fn saved_name_is_read_as_a_passphrase_is() {
        let base = tempfile::tempdir().unwrap();
        let saved = place(base.path(), false);
        fs::create_dir(base.path().join("sesame")).unwrap();
        for same in [
            "Zo\u{eb}",
            "\u{feff}Zo\u{eb}\r\n",
            "Zoe\u{308}\r",
            "Zo\u{eb}\n",
        ] {
            fs::write(base.path().join("sesame/name"), same).unwrap();
            assert_eq!(saved.load(), Ok(Some(name("Zoë"))), "{same:?}");
        }
        fs::write(base.path().join("sesame/name"), b"\xff\xfea\0\r\0\n\0").unwrap();
        assert!(
            saved
                .load()
                .is_err_and(|warning| warning.contains("UTF-16"))
        );
    }

    #[test]
    fn what_is_no_name_is_ignored_and_said_to_be() {
        let base = tempfile::tempdir().unwrap();
        let saved = place(base.path(), false);
        fs::create_dir(base.path().join("sesame")).unwrap();
        for bad in [
            &b""[..],
            b"a:b\n",
            b"a\nb\n",
            b"\xff\n",
            b"\x1b[2J\n",
            &[b'x'; 100_000],
        ] {
            fs::write(base.path().join("sesame/name"), bad).unwrap();
            assert!(
                saved
                    .load()
                    .is_err_and(|warning| warning.contains("ignored")),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn a_relative_configuration_directory_is_none() {
        let saved = SavedName::locate(Some(OsStr::new("here")), false);
        assert!(saved.path.is_none_or(|path| path.is_absolute()));
    }
}
