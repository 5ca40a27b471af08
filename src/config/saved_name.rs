//! The display name that is kept from one run to the next, which is all that is kept.
//!
//! One rule holds for reading, saving and deleting. The saved name is the file that `sesame/saved/name`
//! leads to, also through symbolic links, which dotfile managers make: a regular file of this user,
//! not longer than a name can be. It is read there and written there (so that links stay links),
//! and emptied there before `sesame/saved/name` is deleted: then any other path to that file, such as
//! a hard link, shows nothing either. A link that another user made is not followed.
//!
//! The folder `saved` holds nothing else, so that the process can give up the right to write beside it,
//! where the user's configuration is. A name that is saved in `sesame/name` moves there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::proto::{DisplayName, MAX_NAME_BYTES, text_line};
use crate::sys::{file, reason};

/// The most bytes of the file: decomposed, a name may be longer than on the wire.
const LONGEST: u64 = 4 * MAX_NAME_BYTES as u64;

/// How many links are followed; Linux has the same limit.
const MOST_LINKS: usize = 40;

/// The folder of the name, in sesame's own.
const FOLDER: &str = "saved";

/// Where the name is saved: `sesame/saved/name` in the user's configuration directory.
#[derive(Clone, Debug)]
pub struct SavedName {
    path: Option<PathBuf>,
    /// Where it was saved before: `sesame/name`.
    old: Option<PathBuf>,
    decoy: bool,
}

impl SavedName {
    /// In this folder, which is called `sesame`. A decoy session knows the place only to delete what is
    /// there.
    pub fn locate(folder: Option<&Path>, decoy: bool) -> Self {
        Self {
            path: folder.map(|folder| folder.join(FOLDER).join("name")),
            old: folder.map(|folder| folder.join("name")),
            decoy,
        }
    }

    /// The paths that this process must still be able to reach, to save and delete the name: a folder
    /// and files. Makes the folder if it does not exist, because later the process may not; a decoy
    /// session makes none. Takes a folder in which others may write for this user only.
    pub fn prepare(&self) -> Vec<PathBuf> {
        let Some(path) = &self.path else {
            return Vec::new();
        };
        // A name that stays where it was is still read and deleted there.
        let _ = self.take_over();
        let folder = path.parent().filter(|folder| {
            if !self.decoy {
                // If the folder cannot be made, saving reports it.
                let _ = make_private(folder);
            }
            folder.is_dir()
        });
        let mut reach: Vec<_> = folder.map(Path::to_path_buf).into_iter().collect();
        for place in self.places() {
            match find(place) {
                Ok(Found::File { at, .. }) if at != *path => reach.push(at),
                _ => {}
            }
        }
        reach
    }

    /// Both places, the present one first.
    fn places(&self) -> impl Iterator<Item = &PathBuf> {
        self.path.iter().chain(&self.old)
    }

    /// Moves a name from the old place, if there is none at the new one. A link then leads from there
    /// to the same file.
    fn take_over(&self) -> io::Result<()> {
        let (Some(path), Some(old)) = (&self.path, &self.old) else {
            return Ok(());
        };
        if fs::symlink_metadata(path).is_ok() {
            return Ok(());
        }
        let Some(at) = own_file(old)? else {
            return Ok(());
        };
        make_private(path.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
        if at == *old {
            return fs::rename(old, path);
        }
        file::link(&at, path)?;
        fs::remove_file(old)
    }

    /// The saved name, if there is one and it may be read.
    ///
    /// # Errors
    /// A warning for the user, if the file does not hold a name.
    pub fn load(&self) -> Result<Option<DisplayName>, String> {
        let is_there = |path: &&PathBuf| fs::symlink_metadata(path).is_ok();
        let Some(path) = self.places().filter(|_| !self.decoy).find(is_there) else {
            return Ok(None);
        };
        let told = |why: &dyn std::fmt::Display| {
            format!(
                "ignoring the saved name in '{}': {why}; save another with /name NAME",
                path.display()
            )
        };
        let at = match own_file(path).map_err(|error| told(&error))? {
            Some(at) => at,
            None => return Ok(None),
        };
        let bytes = read_bounded(&at).map_err(|error| told(&error))?;
        if bytes.is_empty() {
            // What remains of a file that a panic could empty and not delete.
            return Ok(None);
        }
        let line = text_line::read(&bytes).map_err(|why| told(&format!("it {why}")))?;
        DisplayName::from_user(line)
            .map(Some)
            .map_err(|error| told(&error))
    }

    /// Saves a name. A decoy session saves nothing.
    ///
    /// # Errors
    /// A warning for the user, if it cannot be written.
    pub fn save(&self, name: &DisplayName) -> Result<(), String> {
        let path = match &self.path {
            _ if self.decoy => return Ok(()),
            Some(path) => path,
            None => {
                return Err(format!(
                    "cannot save the name: no home directory; set {}",
                    file::CONFIG_HOME
                ));
            }
        };
        // What is linked stays linked.
        let _ = self.take_over();
        write(path, format!("{name}\n").as_bytes()).map_err(|error| {
            format!(
                "cannot save the name in '{}': {}; it applies to this run only",
                path.display(),
                reason(&error)
            )
        })
    }

    /// Deletes the saved name, at both places; the panic of a decoy session does so too.
    ///
    /// # Errors
    /// What is still there, by its path, one line each.
    pub fn delete(&self) -> Result<(), Vec<String>> {
        let is_there = |path: &&PathBuf| match fs::symlink_metadata(path) {
            Err(error) => error.kind() != io::ErrorKind::NotFound,
            Ok(_) => true,
        };
        let left: Vec<_> = self
            .places()
            .filter(is_there)
            .flat_map(|path| Self::delete_at(path))
            .collect();
        if left.is_empty() { Ok(()) } else { Err(left) }
    }

    /// What is still there.
    fn delete_at(path: &Path) -> Vec<String> {
        let mut left = Vec::new();
        let mut note = |at: &Path, why: &str| {
            left.push(format!(
                "cannot delete the saved name in '{}': {why}",
                at.display()
            ));
        };
        // Deleting the only name of a file deletes its content too.
        let mut content_stays = false;
        match find(path) {
            Ok(Found::File { at, single }) => {
                let elsewhere = at != *path || !single;
                if let Err(error) = empty(&at) {
                    content_stays = true;
                    if elsewhere {
                        note(&at, &reason(&error));
                    }
                }
            }
            Ok(Found::TooLong { at, single }) if at != *path || !single => {
                note(
                    &at,
                    "it is too long for a name, so sesame did not change it",
                );
            }
            Ok(Found::TooLong { .. } | Found::Folder) => content_stays = true,
            Err(error) => {
                content_stays = true;
                if fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink()) {
                    note(path, &reason(&error));
                }
            }
            Ok(Found::Nothing | Found::Special | Found::Foreign) => {}
        }
        match fs::remove_file(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if content_stays => note(path, &reason(&error)),
            Err(error) => note(
                path,
                &format!(
                    "sesame emptied it, but cannot remove it: {}",
                    reason(&error)
                ),
            ),
        }
        left
    }
}

/// What a path leads to.
enum Found {
    /// There is no file, or links that lead nowhere.
    Nothing,
    /// A regular file, at this path; `single` if it has no other name.
    File { at: PathBuf, single: bool },
    /// The same, but longer than a name.
    TooLong { at: PathBuf, single: bool },
    /// A folder.
    Folder,
    /// A pipe, a socket or a device.
    Special,
    /// A link that another user made.
    Foreign,
}

/// Follows links one by one, to check who made each. If others may write in the folder, following a
/// link blindly would let them make this process overwrite any file of its user.
fn find(path: &Path) -> io::Result<Found> {
    let mut at = path.to_path_buf();
    for _ in 0..MOST_LINKS {
        let meta = match fs::symlink_metadata(&at) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            result => result?,
        };
        if !meta.is_symlink() {
            return Ok(match meta {
                meta if meta.is_dir() => Found::Folder,
                meta if !meta.is_file() => Found::Special,
                meta if meta.len() > LONGEST => Found::TooLong {
                    at,
                    single: file::is_single(&meta),
                },
                meta => Found::File {
                    at,
                    single: file::is_single(&meta),
                },
            });
        }
        if !file::is_own(&meta) && !file::is_of_root(&meta) {
            return Ok(Found::Foreign);
        }
        let to = fs::read_link(&at)?;
        at = at.parent().unwrap_or(Path::new("/")).join(to);
    }
    // The links lead to each other.
    Ok(Found::Nothing)
}

/// The file that a path leads to, if it may be read and written as a name. `None` if there is none.
fn own_file(path: &Path) -> io::Result<Option<PathBuf>> {
    for folder in folders(path) {
        if let Ok(meta) = fs::metadata(folder)
            && !file::is_own(&meta)
        {
            return Err(io::Error::other("the directory belongs to another user"));
        }
    }
    let why = match find(path)? {
        Found::Nothing => return Ok(None),
        Found::File { at, .. } if file::is_own(&fs::symlink_metadata(&at)?) => return Ok(Some(at)),
        Found::File { .. } => "it belongs to another user",
        Found::TooLong { .. } => "it is too long for a name",
        Found::Folder => "it is a directory",
        Found::Special => "it is not a regular file",
        Found::Foreign => "it is a symbolic link that another user made",
    };
    Err(io::Error::new(io::ErrorKind::InvalidData, why))
}

/// Opens the file that [`find`] found, and checks that it is still the same.
fn open(at: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let file = file::open_itself(at, options)?;
    let meta = file.metadata()?;
    if meta.is_file() && meta.len() <= LONGEST {
        Ok(file)
    } else {
        Err(io::Error::other("another process replaced it meanwhile"))
    }
}

fn read_bounded(at: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = open(at, OpenOptions::new().read(true))?;
    file.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    make_private(folder)?;
    let mut file = match own_file(path)? {
        Some(at) => {
            let file = open(&at, OpenOptions::new().write(true))?;
            file::make_private(&at)?;
            // If this is interrupted, there is no name rather than a wrong one.
            file.set_len(0)?;
            file
        }
        None => {
            // A link that leads nowhere is replaced.
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            file::create_private(path)?
        }
    };
    file.write_all(content)?;
    file.sync_all()?;
    if let Ok(folder) = File::open(folder) {
        // The name is in place. Whether it survives a power cut is best effort.
        let _ = folder.sync_all();
    }
    Ok(())
}

/// Deletes the content of a file, for all of its names.
fn empty(at: &Path) -> io::Result<()> {
    let open_to_write = || open(at, OpenOptions::new().write(true));
    let file = match open_to_write() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            // Its owner may change the mode.
            file::make_private(at).map_err(|_| error)?;
            open_to_write()?
        }
        result => result?,
    };
    file.set_len(0)
}

/// The folders of sesame in which a file is, at the new place or the old one.
fn folders(path: &Path) -> impl Iterator<Item = &Path> {
    let is_new = path.parent().is_some_and(|folder| folder.ends_with(FOLDER));
    path.ancestors().skip(1).take(if is_new { 2 } else { 1 })
}

/// Makes a folder that only this user may use, and takes it, and those of sesame above it, for this user
/// only if others may write there.
fn make_private(folder: &Path) -> io::Result<()> {
    file::create_private_folder(folder)?;
    for folder in folders(&folder.join("name")) {
        let meta = fs::metadata(folder)?;
        if file::is_own(&meta) && file::is_writable_by_others(&meta) {
            file::make_folder_private(folder)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::file::test_files;

    fn name(text: &str) -> DisplayName {
        DisplayName::from_user(text).unwrap()
    }

    fn place(base: &Path, decoy: bool) -> SavedName {
        SavedName::locate(Some(&base.join("sesame")), decoy)
    }

    #[test]
    fn saved_name_is_loaded_in_the_next_run() {
        let base = tempfile::tempdir().unwrap();
        let saved = place(&base.path().join("config"), false);
        assert_eq!(saved.load(), Ok(None));
        saved.save(&name("Zoë")).unwrap();
        saved.save(&name("bob smith")).unwrap();
        assert_eq!(saved.load(), Ok(Some(name("bob smith"))));
        let dir = base.path().join("config/sesame/saved");
        assert_eq!(
            fs::read_dir(&dir).unwrap().count(),
            1,
            "nothing but the name is left"
        );
        if test_files::CAN_BE_MADE {
            let modes = [&dir, &dir.join("name")].map(|path| test_files::mode(path));
            assert_eq!(modes, [0o700, 0o600]);
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
        decoy.delete().unwrap();
        assert_eq!(
            fs::read_dir(base.path().join("sesame/saved"))
                .unwrap()
                .count(),
            0
        );
        decoy.delete().unwrap();
    }

    #[test]
    fn saved_name_is_read_as_a_passphrase_is() {
        let base = tempfile::tempdir().unwrap();
        let saved = place(base.path(), false);
        fs::create_dir_all(base.path().join("sesame/saved")).unwrap();
        for same in [
            "Zo\u{eb}",
            "\u{feff}Zo\u{eb}\r\n",
            "Zoe\u{308}\r",
            "Zo\u{eb}\n",
        ] {
            fs::write(base.path().join("sesame/saved/name"), same).unwrap();
            assert_eq!(saved.load(), Ok(Some(name("Zoë"))), "{same:?}");
        }
        fs::write(
            base.path().join("sesame/saved/name"),
            b"\xff\xfea\0\r\0\n\0",
        )
        .unwrap();
        assert!(
            saved
                .load()
                .is_err_and(|warning| warning.contains("UTF-16"))
        );
    }

    #[test]
    fn content_that_is_no_name_is_ignored_with_a_warning() {
        let base = tempfile::tempdir().unwrap();
        let saved = place(base.path(), false);
        fs::create_dir_all(base.path().join("sesame/saved")).unwrap();
        for bad in [
            &b"a:b\n"[..],
            b"a\nb\n",
            b"\xff\n",
            b"\x1b[2J\n",
            &[b'x'; 100_000],
        ] {
            fs::write(base.path().join("sesame/saved/name"), bad).unwrap();
            assert!(
                saved
                    .load()
                    .is_err_and(|warning| warning.starts_with("ignoring")),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn name_at_the_old_place_is_taken_over() {
        let base = tempfile::tempdir().unwrap();
        let old = base.path().join("sesame/name");
        let new = base.path().join("sesame/saved/name");
        fs::create_dir(base.path().join("sesame")).unwrap();
        fs::write(&old, "alice\n").unwrap();
        let saved = place(base.path(), false);
        assert_eq!(saved.load(), Ok(Some(name("alice"))));
        assert_eq!(saved.prepare(), [new.parent().unwrap()]);
        assert!(new.exists() && !old.exists());
        assert_eq!(saved.load(), Ok(Some(name("alice"))));
        // The name that was saved last stays.
        fs::write(&old, "older\n").unwrap();
        saved.prepare();
        assert_eq!(saved.load(), Ok(Some(name("alice"))));
        saved.delete().unwrap();
        assert!(!new.exists() && !old.exists());
        // A panic may come before anything was moved.
        fs::write(&old, "alice\n").unwrap();
        saved.delete().unwrap();
        assert!(!old.exists());
    }

    mod links {
        use super::*;

        /// A configuration folder, and a place elsewhere.
        struct Rig {
            base: tempfile::TempDir,
            saved: SavedName,
        }

        impl Rig {
            /// `None` where there are no links.
            fn new() -> Option<Self> {
                if !test_files::CAN_BE_MADE {
                    eprintln!("skipped: this system has no such files");
                    return None;
                }
                let base = tempfile::tempdir().unwrap();
                fs::create_dir_all(base.path().join("config/sesame/saved")).unwrap();
                fs::create_dir(base.path().join("dotfiles")).unwrap();
                let saved = place(&base.path().join("config"), false);
                Some(Self { base, saved })
            }

            fn path(&self, name: &str) -> PathBuf {
                self.base.path().join(name)
            }

            fn name(&self) -> PathBuf {
                self.path("config/sesame/saved/name")
            }

            fn there(&self) -> PathBuf {
                self.path("dotfiles/name")
            }

            /// Saves, loads and deletes through one name, and checks the other file.
            fn follows(&self) {
                assert_eq!(self.saved.load(), Ok(Some(name("alice"))));
                self.saved.save(&name("bob")).unwrap();
                assert_eq!(self.saved.load(), Ok(Some(name("bob"))));
                assert_eq!(fs::read_to_string(self.there()).unwrap(), "bob\n");
                self.saved.delete().unwrap();
                assert!(fs::symlink_metadata(self.name()).is_err());
                assert_eq!(fs::read_to_string(self.there()).unwrap(), "");
            }
        }

        #[test]
        fn linked_name_is_read_saved_and_emptied_in_its_place() {
            for mode in [0o644, 0o600, 0o400] {
                let Some(rig) = Rig::new() else {
                    return;
                };
                fs::write(rig.there(), "alice\n").unwrap();
                test_files::link("../../../dotfiles/name", &rig.name());
                assert_eq!(rig.saved.prepare()[1].file_name().unwrap(), "name");
                if mode == 0o400 {
                    test_files::set_mode(&rig.there(), mode);
                    rig.saved.delete().unwrap();
                    assert_eq!(fs::read_to_string(rig.there()).unwrap(), "");
                } else {
                    rig.follows();
                }
            }
        }

        #[test]
        fn linked_name_at_the_old_place_stays_linked() {
            let Some(rig) = Rig::new() else {
                return;
            };
            fs::write(rig.there(), "alice\n").unwrap();
            test_files::link("../../dotfiles/name", &rig.path("config/sesame/name"));
            rig.saved.prepare();
            assert!(fs::symlink_metadata(rig.path("config/sesame/name")).is_err());
            rig.follows();
        }

        #[test]
        fn hard_link_shows_nothing_after_a_panic() {
            let Some(rig) = Rig::new() else {
                return;
            };
            fs::write(rig.there(), "alice\n").unwrap();
            fs::hard_link(rig.there(), rig.name()).unwrap();
            rig.follows();
        }

        #[test]
        fn linked_folder_is_like_any_folder() {
            let Some(rig) = Rig::new() else {
                return;
            };
            fs::remove_dir(rig.path("config/sesame/saved")).unwrap();
            test_files::link("../../dotfiles", &rig.path("config/sesame/saved"));
            rig.saved.save(&name("bob")).unwrap();
            assert_eq!(fs::read_to_string(rig.there()).unwrap(), "bob\n");
            rig.saved.delete().unwrap();
            assert!(fs::symlink_metadata(rig.there()).is_err());
        }

        #[test]
        fn link_that_leads_nowhere_is_replaced() {
            let Some(rig) = Rig::new() else {
                return;
            };
            test_files::link("../../../dotfiles/name", &rig.name());
            assert_eq!(rig.saved.load(), Ok(None));
            rig.saved.save(&name("bob")).unwrap();
            assert!(fs::symlink_metadata(rig.name()).unwrap().is_file());
            assert!(!rig.there().exists());
            test_files::link("name", &rig.there());
            fs::remove_file(rig.name()).unwrap();
            test_files::link("../../../dotfiles/name", &rig.name());
            assert_eq!(rig.saved.load(), Ok(None));
            rig.saved.delete().unwrap();
            assert!(fs::symlink_metadata(rig.name()).is_err());
        }

        #[test]
        fn file_too_long_for_a_name_is_left_and_named() {
            let Some(rig) = Rig::new() else {
                return;
            };
            let long = "x".repeat(10_000);
            fs::write(rig.there(), &long).unwrap();
            test_files::link("../../../dotfiles/name", &rig.name());
            assert!(rig.saved.load().is_err());
            assert!(rig.saved.save(&name("bob")).is_err());
            let left = rig.saved.delete().unwrap_err();
            assert!(
                left.len() == 1 && left[0].contains("dotfiles/name"),
                "{left:?}"
            );
            assert_eq!(fs::read_to_string(rig.there()).unwrap(), long);
            assert!(fs::symlink_metadata(rig.name()).is_err());
        }

        #[test]
        fn other_than_a_file_is_not_read_and_reported_if_it_stays() {
            let Some(rig) = Rig::new() else {
                return;
            };
            fs::create_dir(rig.name()).unwrap();
            assert!(
                rig.saved
                    .load()
                    .is_err_and(|why| why.contains("a directory"))
            );
            assert!(rig.saved.save(&name("bob")).is_err());
            let left = rig.saved.delete().unwrap_err();
            assert!(
                left.len() == 1 && left[0].contains("config/sesame/saved/name"),
                "{left:?}"
            );
            fs::remove_dir(rig.name()).unwrap();
            test_files::make_pipe(&rig.name());
            assert!(rig.saved.load().is_err_and(|why| why.contains("regular")));
            assert!(rig.saved.save(&name("bob")).is_err());
            rig.saved.delete().unwrap();
            assert!(fs::symlink_metadata(rig.name()).is_err());
        }

        #[test]
        fn link_of_another_user_is_not_followed() {
            let Some(rig) = Rig::new() else {
                return;
            };
            fs::write(rig.there(), "alice\n").unwrap();
            test_files::link("../../../dotfiles/name", &rig.name());
            if !test_files::give_away(&rig.name()) {
                eprintln!("skipped: only root can make a link for another user");
                return;
            }
            assert!(
                rig.saved
                    .load()
                    .is_err_and(|why| why.contains("another user"))
            );
            assert!(rig.saved.save(&name("bob")).is_err());
            rig.saved.delete().unwrap();
            assert!(fs::symlink_metadata(rig.name()).is_err());
            assert_eq!(fs::read_to_string(rig.there()).unwrap(), "alice\n");
            // A file of another user does not count as a name; a panic deletes it here.
            fs::rename(rig.there(), rig.name()).unwrap();
            assert!(test_files::give_away(&rig.name()));
            assert!(
                rig.saved
                    .load()
                    .is_err_and(|why| why.contains("another user"))
            );
            rig.saved.delete().unwrap();
            assert!(fs::symlink_metadata(rig.name()).is_err());
        }

        #[test]
        fn folder_open_to_others_becomes_private() {
            for mode in [0o777, 0o770, 0o1777] {
                let Some(rig) = Rig::new() else {
                    return;
                };
                for folder in ["config/sesame", "config/sesame/saved"] {
                    let folder = rig.path(folder);
                    test_files::set_mode(&folder, mode);
                    rig.saved.prepare();
                    assert_eq!(test_files::mode(&folder), 0o700);
                }
            }
        }
    }
}
