//! Starts a front end, waits for its end, and stops it in the middle of a panic.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::mpsc;

use super::clock;
use super::completion_names::CompletionNames;
use super::grammar::Grammar;
use super::input;
use super::input_sender::InputSender;
use super::json::{self, Json};
use super::keyboard::{Keeper, Keys, LineHandler};
use super::options::{FrontendOptions, Mode};
use super::output::{OutputQueue, OutputThread, Sink, View, tell_closed};
use super::ready::Ready;
use super::screen::{self, Screen, SharedScreen};
use super::terminal;
use super::text::{ChatStyle, Style, TextView};
use super::unread::{Unread, UnreadInput};
use super::writer::{Diagnostics, Gate, Writer, write_within};
use crate::channels::{Control, FrontendChannels};
use crate::mesh::ByeReason;
use crate::sys::stream::{Input, Output};
use crate::sys::{console, reason};

/// How long a program may take to read the last events about its messages.
const LAST_WORDS_PATIENCE: Duration = Duration::from_millis(20);
/// How long it may take to read the last line, if a panic ends the run.
const BYE_PATIENCE: Duration = Duration::from_millis(50);

/// What a panic takes over from a front end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frozen {
    /// Input that was read and not parsed: at most one line (512 KiB) and one chunk (64 KiB).
    pub input: UnreadInput,
    /// Whether the last line on stdout lacks its end.
    pub line_open: bool,
}

/// A running front end.
pub struct Handle {
    output: io::Result<JoinHandle<u8>>,
    gate: Arc<Gate>,
    unread: Arc<Unread>,
    keys: Option<Arc<Keys>>,
    /// Where lines are read, and how they are parsed.
    input: Input,
    grammar: Grammar,
    /// Whether it reports the fate of each message, also at a panic.
    reports_each: bool,
}

impl Handle {
    /// Waits until the last event has been shown, and returns the exit status. The terminal is then
    /// as it was before. If the front end could not be started, prints why.
    pub fn join(&mut self) -> u8 {
        let output = std::mem::replace(&mut self.output, Err(io::ErrorKind::Other.into()));
        let status = match output {
            // The output thread does not panic. If it did, that is a failure at run time.
            Ok(output) => output.join().unwrap_or(1),
            Err(why) => {
                let line = format!("sesame: cannot start the front end: {}\n", reason(&why));
                Diagnostics::new(Output::stderr()).write(line.as_bytes());
                1
            }
        };
        terminal::restore_terminal();
        status
    }

    /// Whether a panic is in the unread input of a run that is over. A terminal is not asked: what
    /// was typed there and not read belongs to the next program.
    pub fn holds_panic(&self) -> bool {
        !self.input.is_terminal() && self.unread.holds_panic(&self.input, &self.grammar)
    }

    /// Removes what the line editor shows, for a run that ends without waiting for its last output.
    pub fn remove_line(&self) {
        if let Some(keys) = &self.keys {
            keys.shared_screen().hide();
        }
    }

    /// Stops input and output within milliseconds, even if stdout is not read, and returns what the
    /// next process image needs. Parsed input that was not sent is forgotten. In JSON mode the
    /// engine's last event, [`ByeReason::Panic`](crate::mesh::ByeReason), is written first, as far
    /// as stdout takes it without waiting. In chat the terminal is restored and cleared, as far as
    /// it takes that without waiting. Nothing is read or written afterwards, and [`Self::join`]
    /// would not return. May be called from any thread.
    pub fn freeze(&self) -> Frozen {
        if self.reports_each
            && let Ok(output) = &self.output
        {
            let deadline = clock::now() + LAST_WORDS_PATIENCE;
            while !output.is_finished() && clock::now() < deadline {
                thread::sleep(Duration::from_millis(1));
            }
        }
        let line_open = self.gate.shut();
        let mut input = self.unread.take();
        if let Some(keys) = &self.keys {
            input.lines.extend(keys.capture());
            terminal::hand_over_terminal();
        }
        Frozen { input, line_open }
    }

    /// The last step of a run that a panic ends, after [`Self::freeze`]: writes the final JSON
    /// line, as far as stdout takes it within a moment, and throws away what was typed and not
    /// read.
    pub fn end_after_panic(&self, frozen: &Frozen, status: u8) {
        if self.reports_each {
            let mut line = Vec::new();
            if frozen.line_open {
                line.push(b'\n');
            }
            json::push_bye(&mut line, ByeReason::Panic, status);
            write_within(&Output::stdout(), &line, BYE_PATIENCE);
        }
        console::discard_typed();
    }
}

/// Starts the front end that the options name, on stdin, stdout and stderr. `before` is input that
/// a panic handed over; it comes before stdin. With `line_open`, a line on stdout that the panic
/// cut short is ended first.
pub fn start(
    options: FrontendOptions,
    ready: Ready,
    channels: FrontendChannels,
    before: UnreadInput,
    line_open: bool,
) -> Handle {
    let streams = Streams {
        input: Input::stdin(),
        output: Output::stdout(),
        diagnostics: Output::stderr(),
    };
    FrontendStart {
        options: Arc::new(options),
        channels,
        before,
        line_open,
        streams,
    }
    .start(ready)
}

struct Streams {
    input: Input,
    output: Output,
    diagnostics: Output,
}

struct FrontendStart {
    options: Arc<FrontendOptions>,
    channels: FrontendChannels,
    before: UnreadInput,
    line_open: bool,
    streams: Streams,
}

impl FrontendStart {
    fn start(self, ready: Ready) -> Handle {
        let editing = self.options.editor;
        // In chat no line waits to be parsed: what is handed over goes to the editor.
        let goes_on = ready.after_panic.is_some() && !editing;
        let before = goes_on.then_some(&self.before);
        let unread = Unread::new(&self.options, before);
        let names = CompletionNames::default();
        let keys = || {
            let (shared, decoy) = (Arc::new(SharedScreen::new()), self.options.decoy);
            Arc::new(Keys::new(shared, names.clone(), decoy, &self.before.lines))
        };
        let mut handle = Handle {
            output: Err(io::ErrorKind::Other.into()),
            gate: Arc::new(Gate::new(self.line_open)),
            unread: Arc::new(unread),
            keys: editing.then(keys),
            input: self.streams.input.clone(),
            grammar: Grammar::new(
                Arc::clone(&self.options),
                Arc::clone(&self.channels.counters),
                Arc::default(),
            ),
            reports_each: self.options.mode == Mode::Json,
        };
        let control = self.channels.control.clone();
        let counters = Arc::clone(&self.channels.counters);
        handle.output = self.threads(ready, &handle, names);
        if handle.output.is_err() {
            counters.fail();
            tell_closed(&control, &AtomicBool::new(false));
        }
        handle
    }

    fn threads(
        self,
        ready: Ready,
        handle: &Handle,
        names: CompletionNames,
    ) -> io::Result<JoinHandle<u8>> {
        let Self {
            options,
            channels,
            line_open,
            streams,
            ..
        } = self;
        let writer = || Writer::new(streams.output.clone(), Arc::clone(&handle.gate));
        let (locals_in, locals) = mpsc::unbounded_channel();
        let sender = InputSender::new(
            channels.urgent,
            channels.ordered,
            channels.read_ahead,
            locals_in,
            channels.control.clone(),
        );
        let grammar = handle.grammar.clone();
        let audience = Arc::clone(&grammar.audience);

        let mut sink = Sink::Stdout(writer());
        if let Some(keys) = &handle.keys {
            let keeper = Keeper::new(Arc::clone(keys))?;
            if options.title {
                keys.shared_screen().begin_title();
            }
            sink = Sink::Screen(Screen::start(
                writer(),
                keys.shared_screen(),
                Arc::clone(&handle.gate),
                options.colour,
            )?);
            let handler = LineHandler {
                input: streams.input,
                grammar,
                sender,
                control: channels.control.clone(),
            };
            let keys = Arc::clone(keys);
            spawn("terminal", move || keeper.run())?;
            spawn("keyboard", move || handler.run(&keys))?;
        } else {
            let (input, unparsed) = (streams.input, Arc::clone(&handle.unread));
            spawn("input", move || {
                input::run(&input, &unparsed, &grammar, &sender)
            })?;
        }

        let keys = handle.keys.clone();
        let view: Box<dyn View> = match options.mode {
            Mode::Chat => {
                let style = ChatStyle::new(names, audience, keys, screen::columns);
                Box::new(TextView::new(options, Style::Chat(style)))
            }
            Mode::Plain => Box::new(TextView::new(options, Style::Plain { line_open })),
            Mode::Json => Box::new(Json::new(options.verbosity, line_open)),
        };
        let closed = Arc::new(AtomicBool::new(false));
        watch(
            streams.output.clone(),
            channels.control.clone(),
            Arc::clone(&closed),
        )?;
        let output = OutputThread {
            view,
            sink,
            diagnostics: Diagnostics::new(streams.diagnostics),
            queue: OutputQueue::new(channels.events, locals),
            shown: channels.shown,
            control: channels.control,
            counters: channels.counters,
            closed,
            mute: false,
        };
        spawn("output", move || output.run(ready))
    }
}

fn spawn<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    thread::Builder::new().name(name.into()).spawn(run)
}

/// Notices when stdout is closed at the other end although nothing is being written: sesame never
/// runs on without its output.
fn watch(
    output: Output,
    control: mpsc::UnboundedSender<Control>,
    closed: Arc<AtomicBool>,
) -> io::Result<()> {
    spawn("watch", move || {
        while !output.wait_for_hang_up() {}
        tell_closed(&control, &closed);
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;
    use crate::channels::{self, EngineChannels};
    use crate::front::options::Verbosity;
    use crate::front::text::tests::{message, ready};
    use crate::mesh::{Event, Outcome, Tag};

    /// A whole front end between pipes.
    struct Rig {
        input: io::PipeWriter,
        output: io::PipeReader,
        diagnostics: io::PipeReader,
        engine: EngineChannels,
        handle: Handle,
    }

    fn rig(options: FrontendOptions, ready: Ready, unread: &[u8], line_open: bool) -> Rig {
        let (channels, engine, _) = channels::channels();
        let (stdin, input) = io::pipe().unwrap();
        let (output, stdout) = io::pipe().unwrap();
        let (diagnostics, stderr) = io::pipe().unwrap();
        let streams = Streams {
            input: stdin.into(),
            output: stdout.into(),
            diagnostics: stderr.into(),
        };
        let start = FrontendStart {
            options: Arc::new(options),
            channels,
            before: UnreadInput {
                lines: unread.to_vec(),
                ..UnreadInput::default()
            },
            line_open,
            streams,
        };
        let handle = start.start(ready);
        Rig {
            input,
            output,
            diagnostics,
            engine,
            handle,
        }
    }

    fn json() -> FrontendOptions {
        FrontendOptions {
            mode: Mode::Json,
            ..FrontendOptions::default()
        }
    }

    fn bye() -> Event {
        Event::Bye(Outcome {
            reason: ByeReason::Quit,
            unsatisfied: 0,
            unreached: 0,
            left_early: false,
            all_refused: false,
        })
    }

    fn read_line(from: &mut impl Read) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        while from.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn a_run_from_ready_to_bye() {
        let mut rig = rig(json(), ready(), b"", false);
        assert!(read_line(&mut rig.output).starts_with("{\"type\":\"ready\""));
        rig.engine
            .events
            .blocking_send(vec![message("hi", false)])
            .unwrap();
        assert!(read_line(&mut rig.output).contains("\"text\":\"hi\""));
        let shown = rig.engine.shown.blocking_recv().unwrap();
        assert_eq!((shown.len(), shown[0].seq), (1, 3));
        rig.input.write_all(b"what\n").unwrap();
        assert!(read_line(&mut rig.output).contains("\"code\":\"bad_json\""));
        rig.engine.events.blocking_send(vec![bye()]).unwrap();
        assert_eq!(
            read_line(&mut rig.output),
            r#"{"type":"bye","reason":"quit","status":0}"#
        );
        assert_eq!(rig.handle.join(), 0);
    }

    #[test]
    fn message_that_does_not_fit_the_pipe_is_not_shown() {
        let mut rig = rig(FrontendOptions::default(), ready(), b"", false);
        let text = "x".repeat(60_000);
        for _ in 0..4 {
            rig.engine
                .events
                .blocking_send(vec![message(&text, false)])
                .unwrap();
        }
        thread::sleep(Duration::from_millis(200));
        let mut told = 0;
        while let Ok(shown) = rig.engine.shown.try_recv() {
            told += shown.len();
        }
        assert!(told <= 1, "a pipe holds one of them, and {told} were told");
        while told < 4 {
            read_line(&mut rig.output);
            while let Ok(shown) = rig.engine.shown.try_recv() {
                told += shown.len();
            }
        }
    }

    #[test]
    fn a_panic_does_not_wait_for_a_blocked_reader() {
        let mut rig = rig(json(), ready(), b"", false);
        rig.input
            .write_all(b"{\"type\":\"panic\"}\n{\"type\":\"peers\"}\n{\"ty")
            .unwrap();
        rig.engine
            .events
            .blocking_send(vec![message(&"x".repeat(65_536), false)])
            .unwrap();
        rig.engine
            .events
            .blocking_send(vec![message(&"y".repeat(65_536), false)])
            .unwrap();
        thread::sleep(Duration::from_millis(100));
        let frozen = rig.handle.freeze();
        assert_eq!(frozen.input.lines, b"{\"type\":\"peers\"}\n");
        assert!(frozen.input.begun);
        assert!(frozen.line_open);
    }

    #[test]
    fn last_events_before_a_panic_do_not_end_the_run() {
        let mut rig = rig(json(), ready(), b"", false);
        let mut last = bye();
        if let Event::Bye(outcome) = &mut last {
            outcome.reason = ByeReason::Panic;
        }
        let said = vec![message("said before", false), last];
        rig.engine.events.blocking_send(said).unwrap();
        assert!(read_line(&mut rig.output).starts_with("{\"type\":\"ready\""));
        assert!(read_line(&mut rig.output).contains("said before"));
        assert!(!rig.handle.freeze().line_open);
        let rest = Input::from(rig.output);
        assert!(!rest.wait(Some(Duration::ZERO)), "nothing follows");
    }

    #[test]
    fn after_a_panic_the_cut_line_is_ended_and_the_input_goes_on() {
        let after = Ready {
            after_panic: Some(Tag::default()),
            ..ready()
        };
        let mut rig = rig(json(), after, b"{\"type\":\"peers\"}\n", true);
        assert_eq!(read_line(&mut rig.output), "");
        assert!(read_line(&mut rig.output).starts_with("{\"type\":\"panicked\""));
        assert!(read_line(&mut rig.output).starts_with("{\"type\":\"ready\""));
        assert!(rig.engine.urgent.blocking_recv().is_some());
        rig.input.write_all(b"{\"type\":\"stats\"}\n").unwrap();
        assert!(rig.engine.urgent.blocking_recv().is_some());
    }

    #[test]
    fn a_closed_output_is_noticed_once_and_without_writing() {
        let mut rig = rig(FrontendOptions::default(), ready(), b"", false);
        drop(rig.output);
        assert!(matches!(
            rig.engine.control.blocking_recv(),
            Some(Control::OutputClosed)
        ));
        rig.engine
            .events
            .blocking_send(vec![message("lost", false), bye()])
            .unwrap();
        assert_eq!(rig.handle.join(), 0);
        assert!(rig.engine.control.try_recv().is_err());
        assert!(rig.engine.shown.try_recv().is_err());
    }

    /// Sends events that fill the pipe, then more until no further one is taken for a while.
    fn fill(rig: &Rig) -> usize {
        let full = vec![message(&"x".repeat(65_536), false); 2];
        rig.engine.events.blocking_send(full).unwrap();
        let mut taken = 1;
        let mut since = clock::now();
        while since.elapsed() < Duration::from_millis(300) {
            if rig
                .engine
                .events
                .try_send(vec![message("y", false)])
                .is_ok()
            {
                taken += 1;
                since = clock::now();
                assert!(taken < 100, "it takes all and writes nothing");
            }
            thread::sleep(Duration::from_millis(1));
        }
        taken
    }

    #[test]
    fn no_batch_is_taken_while_output_is_not_read() {
        let rig = rig(FrontendOptions::default(), ready(), b"", false);
        let room = rig.engine.events.max_capacity();
        assert_eq!(fill(&rig), room + 1);
    }

    #[test]
    fn signal_ends_a_run_whose_output_is_not_read() {
        let mut rig = rig(FrontendOptions::default(), ready(), b"", false);
        fill(&rig);
        let counters = &rig.engine.counters;
        counters.end_by(15);
        counters.phase.finish();
        let events = rig.engine.events.clone();
        // The last event has no room until the output gives up what waits before it.
        let saying = thread::spawn(move || {
            let outcome = Outcome {
                reason: ByeReason::Signal,
                unsatisfied: 0,
                unreached: 0,
                left_early: false,
                all_refused: false,
            };
            events.blocking_send(vec![Event::Bye(outcome)]).is_ok()
        });
        assert_eq!(rig.handle.join(), 143);
        assert!(saying.join().unwrap());
    }

    #[test]
    fn a_full_disk_is_a_failure() {
        let Ok(full) = std::fs::File::options().write(true).open("/dev/full") else {
            return;
        };
        let (channels, engine, _) = channels::channels();
        let (stdin, _input) = io::pipe().unwrap();
        let (mut diagnostics, stderr) = io::pipe().unwrap();
        let streams = Streams {
            input: stdin.into(),
            output: full.into(),
            diagnostics: stderr.into(),
        };
        let options = FrontendOptions {
            verbosity: Verbosity {
                quiet: true,
                level: 0,
            },
            ..FrontendOptions::default()
        };
        let start = FrontendStart {
            options: Arc::new(options),
            channels,
            before: UnreadInput::default(),
            line_open: false,
            streams,
        };
        let mut handle = start.start(ready());
        engine
            .events
            .blocking_send(vec![message("x", false), bye()])
            .unwrap();
        assert_eq!(handle.join(), 1);
        let line = read_line(&mut diagnostics);
        let why = line.strip_prefix("sesame: cannot write to stdout: ");
        // As the system has it.
        assert!(
            why.is_some_and(|why| why.contains("space") || why.contains("disk full")),
            "{line}"
        );
    }

    #[test]
    fn an_engine_that_goes_away_is_a_failure() {
        let mut rig = rig(json(), ready(), b"", false);
        drop(rig.engine);
        assert_eq!(rig.handle.join(), 1);
        read_line(&mut rig.output);
        assert!(read_line(&mut rig.output).contains("\"reason\":\"failed\",\"status\":1"));
    }

    #[test]
    fn undelivered_lines_are_reported_before_the_end() {
        let mut rig = rig(FrontendOptions::default(), ready(), b"", false);
        read_line(&mut rig.diagnostics);
        rig.input.write_all(b"/what\n").unwrap();
        assert!(read_line(&mut rig.diagnostics).starts_with("* listening on"));
        assert!(read_line(&mut rig.diagnostics).starts_with("! line 1: unknown command '/what'"));
    }
}
