//! The options that a user keeps in a file, which is only read: `sesame/config` in the configuration
//! directory, or another.
//!
//! A line is one option, as on the command line. Options before the first `[section]` apply to each run,
//! and those of a section to `sesame @section`.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use super::Environment;
use crate::cli::layer::{self, LineFault, OptionLine};
use crate::cli::{CommandLine, Options, Stop, Typed};
use crate::exit::Failure;
use crate::proto::text_line;
use crate::sys::{file, reason};

/// The most bytes that are read.
const MOST_BYTES: u64 = 65_536;

/// The options of a run: those of the command line, and what the file adds.
///
/// # Errors
/// Wrong usage: the file cannot be read, or has a fault, which is named by its line.
pub(super) fn complete(
    line: CommandLine,
    environment: &Environment,
) -> Result<(Options, Typed), Failure> {
    let CommandLine {
        section,
        options,
        typed,
        ..
    } = line;
    let file = match (&options.config, options.no_config) {
        (Some(path), _) => Some(ConfigFile::read(path, section.as_deref(), environment)?),
        (None, true) => None,
        (None, false) => ConfigFile::read_own(section.as_deref(), environment)?,
    };
    match (file, section) {
        (Some(file), _) => match layer::combine(&typed, &[&file.section, &file.general]) {
            Ok(options) => Ok((options, typed)),
            Err(Stop::Failure(failure)) => Err(failure),
            Err(Stop::Print(_)) => Ok((options, typed)),
        },
        (None, None) => Ok((options, typed)),
        (None, Some(name)) if options.no_config => Err(Failure::usage(
            format!("'@{name}' cannot be used with '--no-config'"),
            "the sections are in the configuration file",
        )),
        (None, Some(name)) => Err(Failure::usage(
            format!("no section [{name}]: there is no configuration file"),
            "write one (see sesame man, FILES), or name one with --config PATH",
        )),
    }
}

/// What a file gives to one run.
struct ConfigFile {
    /// The options of the section that the run names.
    section: Vec<OptionLine>,
    /// The options of each run.
    general: Vec<OptionLine>,
}

impl ConfigFile {
    /// The file in the configuration directory, if there is one.
    ///
    /// # Errors
    /// As [`complete`]; also if another user could have written it, as ssh refuses it then.
    fn read_own(section: Option<&str>, environment: &Environment) -> Result<Option<Self>, Failure> {
        let Some(path) = environment.folder().map(|folder| folder.join("config")) else {
            return Ok(None);
        };
        let file = match open(&path) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(None);
            }
            result => result.map_err(|error| unreadable(&path, &error))?,
        };
        let meta = file.metadata().map_err(|error| unreadable(&path, &error))?;
        if !file::is_own(&meta) && !file::is_of_root(&meta) {
            return Err(Failure::usage(
                format!("refusing '{}': it belongs to another user", path.display()),
                "use a file of your own; --config PATH takes any file, --no-config none",
            ));
        }
        if file::is_writable_by_others(&meta) {
            return Err(Failure::usage(
                format!("refusing '{}': other users can write it", path.display()),
                "check what it says, and run chmod go-w on it",
            ));
        }
        Self::parse(&path, file, section, environment).map(Some)
    }

    /// A file that the user names.
    ///
    /// # Errors
    /// As [`complete`].
    fn read(
        path: &Path,
        section: Option<&str>,
        environment: &Environment,
    ) -> Result<Self, Failure> {
        let file = open(path).map_err(|error| unreadable(path, &error))?;
        Self::parse(path, file, section, environment)
    }

    fn parse(
        path: &Path,
        file: File,
        section: Option<&str>,
        environment: &Environment,
    ) -> Result<Self, Failure> {
        let mut bytes = Vec::new();
        file.take(MOST_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| unreadable(path, &error))?;
        if bytes.len() as u64 > MOST_BYTES {
            let why = io::Error::other(format!("it is longer than {MOST_BYTES} bytes"));
            return Err(unreadable(path, &why));
        }
        let at = |line: usize, what: &str, advice: &str| {
            Failure::usage(format!("{}:{line}: {what}", path.display()), advice)
        };
        if text_line::is_utf16(&bytes) {
            return Err(at(1, "the file is UTF-16", "save it as UTF-8"));
        }
        let text = std::str::from_utf8(&bytes).map_err(|error| {
            let before = bytes.iter().take(error.valid_up_to());
            let line = 1 + before.filter(|byte| **byte == b'\n').count();
            at(line, "the line is not UTF-8", "save the file as UTF-8")
        })?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let resolve = |given: &Path| environment.resolve(given, path);

        let mut found = Self {
            section: Vec::new(),
            general: Vec::new(),
        };
        let mut names: Vec<&str> = Vec::new();
        for (number, line) in (1..).zip(text.lines().map(str::trim)) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(rest) = line.strip_prefix('[') {
                let name = rest.strip_suffix(']').filter(|name| is_name(name));
                let name = name.ok_or_else(|| {
                    at(
                        number,
                        "expected a section such as [work]",
                        "its name has letters, digits, '-', '_' and '.'",
                    )
                })?;
                if names.contains(&name) {
                    let what = format!("there is a section [{name}] already");
                    return Err(at(number, &what, ""));
                }
                names.push(name);
                continue;
            }
            let name = names.last().copied();
            let applies = name.is_none() || name == section;
            let option = match OptionLine::parse(line, resolve) {
                Ok(option) => option,
                // It may be right on the day on which that section is used: an interface comes and goes.
                Err(LineFault::Value(_)) if !applies => continue,
                Err(LineFault::Value(what)) => {
                    return Err(at(number, &what, "see sesame --help"));
                }
                Err(LineFault::Option(what)) => {
                    return Err(at(
                        number,
                        &what,
                        "a line is one option, as on the command line; see sesame --help",
                    ));
                }
                Err(LineFault::Passphrase) => {
                    return Err(at(
                        number,
                        "a configuration file must not contain the passphrase",
                        "put it in a file that only you can read, and write phrase-file PATH here",
                    ));
                }
            };
            let part = match name {
                _ if !applies => continue,
                None => &mut found.general,
                Some(_) => &mut found.section,
            };
            for earlier in part.iter() {
                let fits = option.follows(earlier);
                fits.map_err(|what| at(number, &what, "see sesame --help"))?;
            }
            part.push(option);
        }
        match section {
            Some(name) if !names.contains(&name) => Err(Failure::usage(
                format!("no section [{name}] in '{}'", path.display()),
                match names.is_empty() {
                    true => "it has no sections".into(),
                    false => format!("it has @{}", names.join(", @")),
                },
            )),
            _ => Ok(found),
        }
    }
}

fn is_name(name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    !name.is_empty() && name.chars().all(is_part)
}

/// Opens a regular file: nobody waits for a pipe to be written.
fn open(path: &Path) -> io::Result<File> {
    let check = |meta: fs::Metadata| match meta.is_file() {
        true => Ok(()),
        false => Err(io::Error::other("it is not a regular file")),
    };
    check(fs::metadata(path)?)?;
    let file = File::open(path)?;
    check(file.metadata()?)?;
    Ok(file)
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::usage(
        format!(
            "cannot read the configuration file '{}': {}",
            path.display(),
            reason(error)
        ),
        "",
    )
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::cli;
    use crate::config::{Config, plan};
    use crate::front::Mode;
    use crate::mesh::{Cover, Stay};
    use crate::sys::file::test_files;

    /// A configuration directory with this file.
    struct Rig {
        base: tempfile::TempDir,
    }

    impl Rig {
        fn new(content: impl AsRef<[u8]>) -> Self {
            let base = tempfile::tempdir().unwrap();
            fs::create_dir(base.path().join("sesame")).unwrap();
            let rig = Self { base };
            fs::write(rig.path(), content).unwrap();
            test_files::set_mode(&rig.path(), 0o644);
            rig
        }

        fn path(&self) -> PathBuf {
            self.base.path().join("sesame").join("config")
        }

        fn try_plan(&self, args: &[&str]) -> Result<super::super::Plan, Failure> {
            let args = ["sesame"].iter().chain(args).map(Into::into);
            let environment = Environment {
                config_home: Some(self.base.path().into()),
                home: Some("/home/alice".into()),
                ..Environment::default()
            };
            match cli::parse(args) {
                Ok(cli) => plan(cli, None, &environment),
                Err(Stop::Failure(failure)) => Err(failure),
                Err(Stop::Print(text)) => Err(Failure::usage(text, "")),
            }
        }

        fn plan(&self, args: &[&str]) -> Config {
            self.try_plan(args).map(|plan| plan.config).unwrap()
        }

        fn refused(&self, args: &[&str]) -> String {
            let failure = self.try_plan(args).err().unwrap();
            assert_eq!(failure.status.code(), 2);
            failure.to_string()
        }
    }

    fn peers(config: &Config) -> Vec<String> {
        let peers = config.settings.peers.iter();
        peers.map(|peer| peer.host.to_string()).collect()
    }

    const EXAMPLE: &str = "# all runs\r
--stay=input
cover = 20
--display-name= \"bob smith\"

[work]
  -p one.example
-p two.example
--cover 50
--json
[home]
--peer=home.example
";

    #[test]
    fn nearer_place_replaces_a_farther_one() {
        let rig = Rig::new(EXAMPLE);
        let cover = |config: &Config| match config.settings.cover {
            Cover::Every(interval) => interval.as_millis(),
            Cover::Off => 0,
        };
        let all = rig.plan(&[]);
        assert_eq!((cover(&all), all.settings.stay), (20, Stay::Input));
        assert_eq!(all.settings.name.as_ref().unwrap().as_str(), "bob smith");
        assert!(peers(&all).is_empty());
        let work = rig.plan(&["@work"]);
        assert_eq!((cover(&work), work.settings.stay), (50, Stay::Input));
        assert_eq!(peers(&work), ["one.example", "two.example"]);
        assert_eq!(work.frontend.mode, Mode::Json);
        let typed = rig.plan(&[
            "@work",
            "-p",
            "three.example",
            "--cover",
            "off",
            "--literal",
        ]);
        assert_eq!((cover(&typed), typed.frontend.mode), (0, Mode::Plain));
        assert_eq!(peers(&typed), ["three.example"]);
        assert_eq!(peers(&rig.plan(&["@home"])), ["home.example"]);
        assert_eq!(cover(&rig.plan(&["--no-config"])), 100);
    }

    #[test]
    fn fault_is_named_by_file_and_line() {
        for (content, line, part) in [
            ("--prot 1\n", 1, "--port"),
            ("prot = 1\n", 1, "did you mean --port?"),
            ("\n# x\n--port x\n", 3, "0 to 65535"),
            ("--port\n", 1, "--port"),
            ("--json yes\n", 1, "unexpected text after '--json'"),
            ("correct horse\n", 1, "expected an option"),
            ("--port 1\n--port 2\n", 2, "twice"),
            (
                "--port 1\n--no-listen\n",
                2,
                "'--no-listen' cannot be used with '--port'",
            ),
            ("--config x\n", 1, "no place"),
            ("--help\n", 1, "no place"),
            ("[work\n", 1, "such as [work]"),
            ("[a b]\n", 1, "such as [work]"),
            ("[a]\n[b]\n[a]\n", 3, "already"),
            ("[other]\n--nonsense\n", 2, "--nonsense"),
            ("--phrase correct horse\n", 1, "phrase-file"),
            ("phrase=correct horse\n", 1, "phrase-file"),
            ("-p a\n[x]\nphrase correct horse\n", 3, "phrase-file"),
        ] {
            let rig = Rig::new(content);
            let said = rig.refused(&[]);
            let place = format!("{}:{line}: ", rig.path().display());
            assert!(said.starts_with(&place) && said.contains(part), "{said}");
            assert!(
                !said.contains("horse") && !said.contains("correct"),
                "{said}"
            );
        }
        let said = Rig::new(b"--json\n\xff\n").refused(&[]);
        assert!(said.contains(":2: the line is not UTF-8"), "{said}");
        let said = Rig::new(vec![b'#'; 65_537]).refused(&[]);
        assert!(said.contains("longer than 65536 bytes"), "{said}");
        Rig::new(vec![b'#'; 65_536]).plan(&[]);
    }

    #[test]
    fn section_in_use_has_right_values_and_exists() {
        let rig = Rig::new("[away]\n--port x\n[here]\n--port 7\n");
        assert_eq!(rig.plan(&["@here"]).listen.unwrap().port, 7);
        assert!(rig.refused(&["@away"]).contains(":2: "));
        assert!(rig.refused(&["@none"]).contains("it has @away, @here"));
        assert!(
            rig.refused(&["@here", "--no-config"])
                .contains("'@here' cannot be used with '--no-config'")
        );
        assert!(rig.refused(&["@here", "phrase"]).contains("@here"));
        assert!(rig.refused(&["--json", "@here"]).contains("sesame @here"));
        assert!(rig.refused(&["@"]).contains("section"));
    }

    #[test]
    fn passphrase_file_is_where_the_line_says() {
        let rig = Rig::new("phrase-file ~/phrase\n[near]\n--phrase-file 'the phrase'\n");
        let file = |args: &[&str]| match rig.try_plan(args).unwrap().source {
            super::super::PhraseSource::File(path) => Some(path),
            _ => None,
        };
        assert_eq!(file(&[]), Some("/home/alice/phrase".into()));
        let near = rig.path().with_file_name("the phrase");
        assert_eq!(file(&["@near"]), Some(near));
        assert_eq!(file(&["--phrase-file", "x"]), Some("x".into()));
        // The real passphrase must not become the one of a decoy.
        assert_eq!(file(&["--decoy"]), None);
        assert_eq!(file(&["--phrase-fd", "0"]), None);
    }

    #[test]
    fn option_for_some_runs_does_not_hinder_others() {
        let rig = Rig::new("--ack\n--timestamps\n");
        assert!(!rig.plan(&[]).settings.explicit_ack);
        assert!(rig.plan(&["--json"]).settings.explicit_ack);
    }

    #[test]
    fn onion_of_a_file_is_never_dropped_for_direct_dials() {
        for (option, value) in [("no-listen", ""), ("advertise", "a.example:1")] {
            let line = format!("{option} {value}\n");
            let dashed = format!("--{option}");
            let mut typed = vec![dashed.as_str()];
            typed.extend((!value.is_empty()).then_some(value));
            let near: Vec<_> = [&["@near"][..], &typed].concat();
            for (content, args) in [
                ("onion\n".to_owned(), &typed[..]),
                ("[near]\nonion 9051\n".to_owned(), &near),
                (format!("onion\n[near]\n{line}"), &["@near"]),
                (format!("{line}[near]\nonion\n"), &["@near"]),
                (format!("onion\n{line}"), &[]),
                (line.clone(), &["--onion"]),
            ] {
                let said = Rig::new(&content).refused(args);
                let begin = format!("with --onion sesame cannot use {dashed}");
                assert!(said.starts_with(&begin), "{content:?} {args:?}: {said}");
            }
        }
        let rig = Rig::new("onion\n[near]\nproxy socks5://127.0.0.1:1\n");
        let proxy = "--proxy=socks5://127.0.0.1:2";
        for (args, has_onion) in [
            (&[][..], true),
            (&["@near"], false),
            (&[proxy], false),
            (&[proxy, "--no-listen"], false),
            (&[proxy, "--advertise", "a.onion"], false),
            (&["@near", "--onion"], true),
            (&["--port", "1"], true),
        ] {
            let config = rig.plan(args);
            assert_eq!(config.onion.is_some(), has_onion, "{args:?}");
            assert_eq!(config.proxy.is_some(), !has_onion, "{args:?}");
            assert!(config.settings.proxied, "{args:?}");
        }
        assert!(
            rig.refused(&["--listen", "0.0.0.0"])
                .starts_with("with --onion")
        );
        assert!(!rig.plan(&["--no-config"]).settings.proxied);
    }

    #[test]
    fn another_file_is_read_if_it_is_named() {
        let rig = Rig::new("--nonsense\n");
        let other = rig.base.path().join("other");
        fs::write(&other, "[x]\n--port 7\n").unwrap();
        let name = other.display().to_string();
        let config = rig.plan(&["@x", "--config", &name]);
        assert_eq!(config.listen.unwrap().port, 7);
        let missing = rig.refused(&["--config", "/nonexistent/config"]);
        assert!(missing.contains("'/nonexistent/config'"), "{missing}");
        let folder = rig.base.path().display().to_string();
        assert!(rig.refused(&["--config", &folder]).contains("regular"));
    }

    #[test]
    fn file_that_others_could_have_written_is_refused() {
        if !test_files::CAN_BE_MADE {
            eprintln!("skipped: this system has no such files");
            return;
        }
        let rig = Rig::new("--port 7\n");
        let name = rig.path().display().to_string();
        for mode in [0o666, 0o620] {
            test_files::set_mode(&rig.path(), mode);
            assert!(rig.refused(&[]).contains("chmod go-w"));
            // As with ssh, a file that is named is taken.
            rig.plan(&["--config", &name]);
        }
        test_files::set_mode(&rig.path(), 0o444);
        rig.plan(&[]);
        if test_files::give_away(&rig.path()) {
            assert!(rig.refused(&[]).contains("belongs to another user"));
        }
        fs::remove_file(rig.path()).unwrap();
        test_files::make_pipe(&rig.path());
        assert!(rig.refused(&[]).contains("regular"));
        fs::remove_file(rig.path()).unwrap();
        rig.plan(&[]);
    }
}
