//! A run at a real terminal: tmux is the terminal, and the tests check what it shows.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use nix::libc;

use super::place::Place;
use super::run::Run;
use super::seen::{look_for, readable};
use super::skip::{has, skip};

/// A terminal of 100 columns and 30 lines in which the program was started by a shell.
pub struct Screen {
    socket: String,
    pub place: Arc<Place>,
}

/// The shell notes the modes of the terminal before and after the run, and `status` last.
const SCRIPT: &str = r#"export TERM="${SCREEN_TERM:-$TERM}"
modes() { stty -a | sed 's/rows [0-9]*; columns [0-9]*;//'; }
modes >"$NOTES/before"
(echo "$BASHPID" >"$NOTES/pid.new"; mv "$NOTES/pid.new" "$NOTES/pid"; exec "$@")
status=$?
modes >"$NOTES/after"
echo "$status" >"$NOTES/status.new"
mv "$NOTES/status.new" "$NOTES/status"
read -r _
"#;

/// The same with job control. Each time the run is stopped, the shell notes the modes of the
/// terminal, sets its own, clears the screen, and waits for a line before it continues the run. It
/// also notes typed input that the run has left unread at its end.
const SHELL: &str = r#"export TERM="${SCREEN_TERM:-$TERM}"
modes() { stty -a | sed 's/rows [0-9]*; columns [0-9]*;//'; }
set -m
saved=$(stty -g)
modes >"$NOTES/before"
(echo "$BASHPID" >"$NOTES/pid.new"; mv "$NOTES/pid.new" "$NOTES/pid"; exec "$@")
status=$?
stops=0
# No loop: a job that SIGTSTP stops ends that.
while_stopped() {
    [ -n "$(jobs -s)" ] || return 0
    stops=$((stops + 1))
    modes >"$NOTES/stopped"
    stty "$saved"
    if [ -n "${CHANGED_MODES:-}" ]; then
        stty $CHANGED_MODES
        modes >"$NOTES/changed"
    fi
    printf '\033[H\033[2J'
    echo "$stops" >"$NOTES/stops.new"
    mv "$NOTES/stops.new" "$NOTES/stops"
    read -r _
    fg >/dev/null
    status=$?
    while_stopped
}
while_stopped
modes >"$NOTES/after"
if read -r -t 0; then touch "$NOTES/left"; fi
echo "$status" >"$NOTES/status.new"
mv "$NOTES/status.new" "$NOTES/status"
read -r _
"#;

impl Screen {
    /// Starts a run at a terminal. Without tmux, prints that and returns `None`.
    pub fn start(run: &Run) -> Option<Self> {
        Self::start_with(run, &[])
    }

    /// As [`Self::start`], with these in the environment; `SCREEN_TERM` is the program's `TERM`.
    pub fn start_with(run: &Run, environment: &[(&str, &str)]) -> Option<Self> {
        Self::start_in(SCRIPT, run, environment)
    }

    /// Like [`Self::start_with`], by a shell with job control, which sets `CHANGED_MODES` with
    /// `stty` while the run is stopped.
    pub fn start_as_job(run: &Run, environment: &[(&str, &str)]) -> Option<Self> {
        Self::start_in(SHELL, run, environment)
    }

    fn start_in(script: &str, run: &Run, environment: &[(&str, &str)]) -> Option<Self> {
        let script = run.place.file("script", script.as_bytes());
        let mut words = vec!["bash".to_owned(), script.display().to_string()];
        words.extend(run.words());
        Self::open(run, environment, &words)
    }

    /// Starts any program at a terminal, in the place of a run.
    pub fn open(run: &Run, environment: &[(&str, &str)], words: &[String]) -> Option<Self> {
        if !has("tmux", "-V") {
            skip("a terminal needs the package tmux");
            return None;
        }
        let screen = Self {
            socket: run.place.path("tmux").display().to_string(),
            place: Arc::clone(&run.place),
        };
        let mut command = screen.command();
        run.dress(&mut command);
        command
            .env("NOTES", run.place.path(""))
            .envs(environment.iter().copied())
            .args(["-f", "/dev/null", "-u", "new-session", "-d"])
            .args(["-x", "100", "-y", "30"])
            .args(words);
        assert!(command.status().unwrap().success());
        Some(screen)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("tmux");
        command.args(["-S", &self.socket]).env_remove("TMUX");
        command
    }

    /// Presses keys, named as tmux names them.
    pub fn press(&self, keys: &[&str]) {
        let mut command = self.command();
        assert!(
            command
                .arg("send-keys")
                .args(keys)
                .status()
                .unwrap()
                .success()
        );
    }

    /// Presses all of these bytes at once.
    pub fn presses_at_once(&self, bytes: &str) {
        let bytes: Vec<String> = bytes.bytes().map(|byte| format!("{byte:02x}")).collect();
        let mut keys = vec!["-H"];
        keys.extend(bytes.iter().map(String::as_str));
        self.press(&keys);
    }

    /// Gives the terminal another size.
    pub fn resize(&self, columns: u16, rows: u16) {
        let mut command = self.command();
        command.args(["resize-window", "-x", &columns.to_string()]);
        command.args(["-y", &rows.to_string()]);
        assert!(command.status().unwrap().success());
    }

    /// From now on, what the program writes to the terminal also goes to the file that this returns.
    pub fn records(&self) -> PathBuf {
        let record = self.place.file("record", b"");
        let mut command = self.command();
        command.args(["pipe-pane", "-O"]);
        command.arg(format!("exec cat >'{}'", record.display()));
        assert!(command.status().unwrap().success());
        record
    }

    /// All lines, scrollback first; wrapped lines are joined.
    pub fn joined(&self) -> Vec<String> {
        self.capture(&["-J", "-S", "-"])
    }

    /// Waits until the run has been stopped this many times.
    pub fn stops(&self, times: usize) {
        let times = times.to_string();
        self.wait("a stop", || self.note("stops").filter(|it| *it == times));
    }

    /// Whether the terminal had its own modes at the last stop.
    pub fn was_itself_when_stopped(&self) -> bool {
        self.note("stopped") == self.note("before")
    }

    /// Presses Enter until the run has ended, and returns the exit status. The modes of the terminal
    /// must be restored; the last Enter may come after the end.
    pub fn ends_by_enter(&self) -> i32 {
        let mut press = self.command();
        press.args(["send-keys", "Enter"]);
        self.wait("the end", || {
            // An Enter that the run did not take ends the shell, and with it the terminal.
            press.status().unwrap();
            self.note("status")
        });
        self.ends_with_its_modes()
    }

    /// Types a text, without Enter.
    pub fn types(&self, text: &str) {
        self.press(&["-l", text]);
    }

    /// Types a text and waits until the run has read it: a stop would leave the rest to the shell.
    pub fn types_to_the_run(&self, text: &str) {
        self.types(text);
        let terminal = self
            .command()
            .args(["display-message", "-p", "#{pane_tty}"])
            .output();
        let terminal = String::from_utf8(terminal.unwrap().stdout).unwrap();
        let terminal = fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOCTTY)
            .open(terminal.trim_end())
            .unwrap();
        self.wait("that the run reads", || {
            (readable(&terminal) == 0).then_some(())
        });
    }

    /// Types a line and presses Enter.
    pub fn enters(&self, line: &str) {
        self.types(line);
        self.press(&["Enter"]);
    }

    /// Pastes a text, with bracketed paste if the program asked for it.
    pub fn pastes(&self, text: &str) {
        let mut command = self.command();
        command.args(["load-buffer", "-"]).stdin(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        assert!(child.wait().unwrap().success());
        let mut command = self.command();
        assert!(
            command
                .args(["paste-buffer", "-p", "-r"])
                .status()
                .unwrap()
                .success()
        );
    }

    /// What the terminal shows, without the empty lines at the end.
    pub fn lines(&self) -> Vec<String> {
        self.capture(&[])
    }

    /// What the terminal shows and what has scrolled out of it.
    pub fn with_scrollback(&self) -> Vec<String> {
        self.capture(&["-S", "-"])
    }

    fn capture(&self, options: &[&str]) -> Vec<String> {
        let mut command = self.command();
        let output = command
            .args(["capture-pane", "-p"])
            .args(options)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.trim_end()
            .lines()
            .map(|line| line.trim_end().to_owned())
            .collect()
    }

    /// Waits until the screen is like this.
    pub fn shows(&self, what: &str, fits: impl Fn(&[String]) -> bool) -> Vec<String> {
        self.wait(what, || {
            let lines = self.lines();
            fits(&lines).then_some(lines)
        })
    }

    /// Waits until a line of the screen contains this.
    pub fn shows_line(&self, part: &str) -> String {
        let holds = |line: &&String| line.contains(part);
        let lines = self.shows(part, |lines| lines.iter().any(|line| holds(&line)));
        lines.iter().find(holds).unwrap().clone()
    }

    /// The title of the window.
    pub fn title(&self) -> String {
        let mut command = self.command();
        let output = command
            .args(["display-message", "-p", "#{pane_title}"])
            .output();
        let text = String::from_utf8(output.unwrap().stdout).unwrap();
        text.trim_end().to_owned()
    }

    /// Waits until the window has this title.
    pub fn is_titled(&self, title: &str) {
        self.wait(title, || (self.title() == title).then_some(()));
    }

    /// Waits until the last line of the screen, where the user types, is this.
    pub fn shows_typed(&self, line: &str) -> Vec<String> {
        self.shows(line, |lines| lines.last().is_some_and(|last| last == line))
    }

    /// The process id of the program.
    pub fn pid(&self) -> u32 {
        self.wait("a process id", || self.note("pid"))
            .parse()
            .unwrap()
    }

    /// Waits for the end of the program; gives its exit status, whatever the modes of the terminal are.
    pub fn status(&self) -> i32 {
        let status = self.wait("the end", || self.note("status"));
        status.parse().unwrap()
    }

    /// Waits for the end of the program, and returns the exit status. The modes of the terminal
    /// must be restored, and all that was typed must have been read.
    pub fn ends(&self) -> i32 {
        let status = self.ends_with_its_modes();
        assert_eq!(self.note("left"), None, "what was typed for the run");
        status
    }

    fn ends_with_its_modes(&self) -> i32 {
        let status = self.status();
        let modes = self.note("changed").or_else(|| self.note("before"));
        assert_eq!(modes, self.note("after"), "the terminal's modes");
        status
    }

    fn note(&self, name: &str) -> Option<String> {
        let text = fs::read_to_string(self.place.path(name)).ok()?;
        Some(text.trim_end().to_owned())
    }

    fn wait<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> T {
        look_for(look).unwrap_or_else(|| {
            let lines = self.with_scrollback().join("\n    ");
            panic!("expected {what:?}; the terminal shows\n    {lines}")
        })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Ends the program in it too.
        let _ = self
            .command()
            .arg("kill-server")
            .stderr(Stdio::null())
            .status();
    }
}
