//! The configuration file: it gives a configuration, whose options survive a panic unchanged, or one
//! line that names the file.

use std::ffi::OsString;
use std::fs;
use std::net::Ipv4Addr;
use std::sync::Arc;

use sesame::cli;
use sesame::config::{Config, Environment, plan};
use sesame::proto::Proxy;

use super::choices::Choices;
use super::saved_name::in_folder;

/// Longer files are cut. Each line takes a tenth of a millisecond.
const LONGEST: usize = 600;

/// Takes the number of a section, and the content of a file.
pub fn check(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let section = [None, Some("@a"), Some("@work")][usize::from(choices.byte()) % 3];
    let content = choices.take(LONGEST);
    in_folder(|folder| {
        let path = folder.join("config");
        fs::write(&path, content).unwrap();
        let mut args: Vec<OsString> = vec!["sesame".into()];
        args.extend(section.map(Into::into));
        args.extend(["--config".into(), path.clone().into()]);
        let Ok(line) = cli::parse(args) else {
            panic!("the command line is right");
        };
        match plan(line, None, &Environment::default()) {
            Ok(plan) => survives_a_panic(plan.config),
            Err(failure) => {
                assert_eq!(failure.status.code(), 2);
                assert_eq!(failure.what.lines().count(), 1, "{failure:?}");
                assert!(!failure.advice.contains('\n'), "{failure:?}");
            }
        }
    });
}

/// The options that a panic keeps give a configuration that keeps the same ones.
pub fn survives_a_panic(mut config: Config) {
    if config.onion.is_some() {
        // Tor has been asked.
        let socks = (Ipv4Addr::LOCALHOST, 9050);
        config.proxy = Some(Arc::new(Proxy::at(socks.into())));
    }
    let carried = config.carried();
    let after = Config::after_panic(&carried, &Environment::default()).unwrap();
    assert_eq!(after.carried(), carried);
    assert!(after.settings.peers.is_empty());
    assert_eq!(after.settings.advertise, None);
    assert_eq!(after.settings.name, None);
    assert_eq!(after.listen.is_some(), config.listen.is_some());
    assert_eq!(after.settings.decoy, config.settings.decoy);
    assert_eq!(after.proxy.is_some(), config.proxy.is_some());
}

/// Files with most options, and some mistakes.
pub fn seeds() -> Vec<Vec<u8>> {
    let files = [
        "# all runs\r\n--stay=input\ncover = 20\n--display-name= \"bob smith\"\n\n[work]\n  -p one.example\n-p two.example:1\n--cover off\n--json\n--ack\n[a]\n--peer=home.example\n",
        "port 9001\nlisten 127.0.0.1\nrequire any\ntimeout 5\naway 60\nmin-peers 2\nwhole\non-panic quit\n",
        "onion :pass%20word@127.0.0.1:9051\nquiet\ninactivity-timeout 40\n",
        "proxy socks5://a:b@127.0.0.1:9050\n-v\n-v\nnull\ntimestamps\nno-title\n",
        "map\nlan\nforwarded\nno-carry\nadvertise home.example\ndecoy\nphrase-file ~/phrase\n",
        "no-listen\nliteral\nrequire 3\ngive-up 10\nrequire-mlock\n",
        "prot = 1\n",
        "phrase correct horse\n",
        "[a]\n[a]\n",
        "--port 1\n--no-listen\n",
        "\u{feff}[a]\nport x\n",
    ];
    let sections = [2, 0, 0, 0, 0, 1];
    files
        .iter()
        .zip(sections.into_iter().chain([0; 10]))
        .map(|(file, section)| [&[section], file.as_bytes()].concat())
        .collect()
}
