//! The units for systemd and the agent for launchd: systemd accepts them, and what they start works.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::helper::{Peer, Run, Running, corner, has, seen, skip};
use crate::tools::{Family, command, installed, repository};

/// A unit of an installation.
fn unit(prefix: &Path, name: &str) -> PathBuf {
    let folder = match name {
        "sesame.service" => "share/systemd/user",
        _ => "lib/systemd/system",
    };
    prefix.join(folder).join(name)
}

/// What a unit starts: the words of its command, as systemd would pass them.
fn started(unit: &Path, replaced: &[(&str, &str)]) -> Vec<String> {
    let text = fs::read_to_string(unit).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="));
    let line = replaced
        .iter()
        .fold(line.unwrap().replace("$$", "$"), |line, (from, to)| {
            line.replace(from, to)
        });
    // Only the last word may be quoted.
    let (plain, quoted) = line.split_once(" '").unwrap_or((&line, ""));
    let words = plain.split(' ').map(ToOwned::to_owned);
    let last = quoted.strip_suffix('\'').map(ToOwned::to_owned);
    words.chain(last).collect()
}

fn start(run: &Run, words: &[String]) -> Family {
    let mut command = command(run, &words[0]);
    command.args(&words[1..]);
    Family::start(run, command)
}

/// Writes marks to a log until one is heard: only then is it certain that the log is followed.
fn is_followed(log: &Path, reader: &Peer) {
    let mut marks = 0;
    seen("a line of the log", || {
        marks += 1;
        add(log, &format!("mark {marks}"));
        let heard = reader.every("message");
        (!heard.is_empty()).then_some(())
    });
}

fn add(log: &Path, line: &str) {
    let mut options = fs::File::options();
    let mut file = options.append(true).create(true).open(log).unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}

fn hears(reader: &Peer, line: &str) {
    reader.expect("message", |event| event["text"] == line);
}

#[test]
fn systemd_accepts_the_installed_units() {
    if !has("systemd-analyze", "--version") {
        skip("the check of the units needs systemd-analyze, of the package systemd");
        return;
    }
    let prefix = installed();
    for (name, manager) in [
        ("sesame.service", "--user"),
        ("sesame-alerts.service", "--system"),
    ] {
        let mut verify = Command::new("systemd-analyze");
        verify
            .args([manager, "verify", "--man=no", "--recursive-errors=no"])
            .env("XDG_RUNTIME_DIR", prefix.path())
            .arg(unit(prefix.path(), name));
        let output = verify.output().unwrap();
        assert!(output.status.success(), "{name}: {output:?}");
        let told = String::from_utf8(output.stderr).unwrap();
        // Units of the system may be told of too.
        assert!(!told.contains("sesame"), "{told}");
    }
}

#[test]
fn systemd_finds_a_mistake_in_a_unit() {
    if !has("systemd-analyze", "--version") {
        skip("the check of the units needs systemd-analyze, of the package systemd");
        return;
    }
    let prefix = installed();
    let path = unit(prefix.path(), "sesame-alerts.service");
    let text = fs::read_to_string(&path).unwrap();
    let wrong = text.replace("LoadCredential", "LoadSecret");
    fs::write(&path, wrong.replace("/bin/bash", "/bin/none")).unwrap();
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no", "--recursive-errors=no"]);
    let output = verify.arg(path).output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("LoadSecret"), "{told}");
}

#[test]
fn system_unit_is_hardened() {
    if !has("systemd-analyze", "--version") {
        skip("the check of the units needs systemd-analyze, of the package systemd");
        return;
    }
    // Of 10; lower is less exposed. A service that sets nothing has 9.6.
    let prefix = installed();
    let mut security = Command::new("systemd-analyze");
    security
        .args(["security", "--offline=yes", "--threshold=20"])
        .arg(unit(prefix.path(), "sesame-alerts.service"));
    let output = security.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}");
}

#[test]
fn user_unit_collects_messages() {
    let prefix = installed();
    let run = Run::new();
    let home = run.place.path("home");
    fs::copy(run.place.path("phrase"), home.join("phrase")).unwrap();
    let home = home.display().to_string();
    let unit = unit(prefix.path(), "sesame.service");
    let mut words = started(&unit, &[("%h", &home)]);
    assert_eq!(
        words[0],
        prefix.path().join("bin/sesame").display().to_string()
    );
    let mut alice = Run::named("alice").peer();
    let to_alice = ["--listen", "127.0.0.1", "--port", "0", "-p"];
    words.extend(to_alice.map(ToOwned::to_owned));
    words.push(alice.addr());
    let mut logger = start(&run, &words);
    logger.process.close_stdin();
    alice.expect("peer_up", |event| event["name"] == "logger");
    alice.say("disk full");
    let collected = |line: &String| line.ends_with(" alice: disk full");
    logger.process.expect("a line of the log", collected);
    logger.signal(Signal::SIGTERM);
    // systemd counts this as a clean end.
    assert_eq!(logger.process.ends().signal, Some(Signal::SIGTERM as i32));
}

#[test]
fn system_unit_follows_a_log_with_the_credential() {
    if !has("bash", "--version") {
        skip("the unit sesame-alerts.service needs bash");
        return;
    }
    let prefix = installed();
    let reader = Run::named("reader").peer();
    let run = Run::new();
    let log = run.place.path("work/app.log");
    let credentials = run.place.path("").display().to_string();
    let unit = unit(prefix.path(), "sesame-alerts.service");
    let words = started(&unit, &[("%d/", &credentials), ("%H", "web1")]);
    let run = run
        .env("LOG", &log.display().to_string())
        .env("OPTIONS", &format!("-p {}", reader.addr()));
    let mut forwarder = start(&run, &words);
    reader.expect("peer_up", |event| event["name"] == "web1");
    is_followed(&log, &reader);
    add(&log, "/quit is not a command");
    hears(&reader, "/quit is not a command");
    // systemd stops all processes of a unit.
    forwarder.signal(Signal::SIGTERM);
    assert_eq!(
        forwarder.process.ends().signal,
        Some(Signal::SIGTERM as i32)
    );
}

#[test]
fn system_unit_shows_its_manager_the_status_of_sesame() {
    if !has("bash", "--version") {
        skip("the unit sesame-alerts.service needs bash");
        return;
    }
    let prefix = installed();
    let run = Run::new().env("LOG", "app.log").env("OPTIONS", "--cover 1");
    let credentials = run.place.path("").display().to_string();
    let unit = unit(prefix.path(), "sesame-alerts.service");
    let words = started(&unit, &[("%d/", &credentials), ("%H", "web1")]);
    let mut command = command(&run, &words[0]);
    command.args(&words[1..]);
    let mut forwarder = Running::spawn(&run.place, command, Stdio::null(), Stdio::null());
    assert_eq!(forwarder.ends().code(), Some(2));
}

#[test]
fn launchd_agent_is_a_property_list_that_collects_messages() {
    if !has("python3", "--version") {
        skip("the check of the agent for launchd needs python3");
        return;
    }
    let script = "import json, plistlib, sys; print(json.dumps(plistlib.load(sys.stdin.buffer)))";
    let mut python = Command::new("python3");
    let agent = fs::File::open(repository("scripts/units/sesame.plist")).unwrap();
    let output = python.args(["-c", script]).stdin(agent).output().unwrap();
    let agent: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(agent["Label"], "sesame");
    let words = agent["ProgramArguments"].as_array().unwrap();
    let mut words: Vec<_> = words
        .iter()
        .map(|word| word.as_str().unwrap().to_owned())
        .collect();
    let mut alice = Run::named("alice").peer();
    let run = Run::new();
    fs::copy(run.place.path("phrase"), run.place.path("home/phrase")).unwrap();
    let place = format!("sesame --listen 127.0.0.1 --port 0 -p {} ", alice.addr());
    words[2] = words[2].replace("sesame ", &place);
    let logger = start(&run, &words);
    alice.expect("peer_up", |event| event["name"] == "logger");
    alice.say("disk full");
    seen("the message in the log", || {
        let log = fs::read_to_string(run.place.path("home/messages.log"));
        log.unwrap_or_default()
            .ends_with(" alice: disk full\n")
            .then_some(())
    });
    drop(logger);
}

#[test]
fn user_unit_of_the_page_is_the_installed_one() {
    let page = fs::read_to_string(repository("USAGE.md")).unwrap();
    let unit = fs::read_to_string(repository("scripts/units/sesame.service")).unwrap();
    // The page says in a sentence what the unit has as a comment.
    let (_, unit) = unit.split_once('\n').unwrap();
    assert!(page.contains(&format!("```ini\n{unit}```\n")));
}

/// The shell commands of a section of USAGE.md, block by block.
fn blocks(heading: &str) -> Vec<String> {
    let page = fs::read_to_string(repository("USAGE.md")).unwrap();
    let (_, section) = page.split_once(&format!("\n### {heading}\n")).unwrap();
    let section = section.split("\n#").next().unwrap();
    let blocks = section.split("```sh\n").skip(1);
    blocks
        .map(|block| block.split("```").next().unwrap().to_owned())
        .collect()
}

fn shell(run: &Run, script: &str) -> Family {
    let mut command = command(run, "bash");
    command.args(["-c", script]);
    Family::start(run, command)
}

/// A reader that can be started again at the same address.
fn reader(listens: &[&str]) -> Run {
    Run::named("ops").listening(listens).with(&["--stay"])
}

#[test]
fn forwarder_of_the_page_survives_rotation_and_its_reader() {
    let block = blocks("An alert forwarder").remove(0);
    assert!(block.contains("tail -n 0 -F app.log |") && block.contains("-p ops.example"));
    let (ip, port) = corner();
    let port = port.to_string();
    let listens = ["--listen", &ip, "--port", &port];
    let mut ops = reader(&listens).peer();
    let run = Run::new();
    let log = run.place.path("work/app.log");
    let rotate = |number: usize| {
        let old = run.place.path(&format!("work/app.log.{number}"));
        fs::rename(&log, old).unwrap();
    };
    fs::copy(run.place.path("phrase"), run.place.path("work/phrase")).unwrap();
    let forwarder = shell(&run, &block.replace("ops.example", &format!("{ip}:{port}")));
    ops.expect("peer_up", |event| event["name"] == "web1");
    is_followed(&log, &ops);
    rotate(1);
    add(&log, "after the first rotation");
    hears(&ops, "after the first rotation");
    // The reader is killed, and the log goes on and is rotated again.
    ops.signal(Signal::SIGKILL);
    forwarder.process.told(" left: ");
    add(&log, "while nobody is there");
    rotate(2);
    add(&log, "after the second rotation");
    ops = reader(&listens).peer();
    hears(&ops, "while nobody is there");
    hears(&ops, "after the second rotation");
    // The reader says goodbye, and comes back.
    ops.quit();
    forwarder.process.told(" left: goodbye");
    add(&log, "after a goodbye");
    ops = reader(&listens).peer();
    hears(&ops, "after a goodbye");
    forwarder.signal(Signal::SIGTERM);
    let end = ops.expect("peer_down", |_| true);
    assert_eq!(end["reason"], "goodbye");
}

#[test]
fn collector_under_nohup_survives_the_end_of_its_terminal() {
    let block = blocks("An alert forwarder").remove(1);
    assert!(block.starts_with("nohup sesame "));
    let mut alice = Run::named("alice").peer();
    let run = Run::new();
    fs::copy(run.place.path("phrase"), run.place.path("work/phrase")).unwrap();
    let here = format!(
        "nohup sesame --listen 127.0.0.1 --port 0 -p {} ",
        alice.addr()
    );
    let script = block.trim_end().replace("nohup sesame ", &here);
    let family = shell(&run, &format!("{script}\necho $!; wait"));
    let pid = family.process.expect("the process id", |_| true);
    let up = alice.expect("peer_up", |event| event["name"] == "logger");
    // To all processes, as when a terminal is closed: the shell ends, sesame does not.
    family.signal(Signal::SIGHUP);
    let collected = || fs::read_to_string(run.place.path("work/messages.log")).unwrap_or_default();
    alice.say("still there?");
    alice.expect("delivered", |event| event["peer"] == up["peer"]);
    assert!(collected().contains(" alice: still there?"));
    let pid = nix::unistd::Pid::from_raw(pid.parse().unwrap());
    nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
    let end = alice.expect("peer_down", |_| true);
    assert_eq!(end["reason"], "goodbye");
}
