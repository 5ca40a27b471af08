//! The input thread of the front ends without an editor: bytes become commands.

use std::thread;
use std::time::Duration;

use super::clock;
use super::grammar::Grammar;
use super::input_sender::{Gone, InputSender, Local, ParsedInput};
use super::options::Mode;
use super::unread::{CHUNK, Unread};
use crate::sys::reason;
use crate::sys::stream::Input;

/// How often to look at input that comes after the end was asked for.
const AT_THE_END: Duration = Duration::from_millis(20);

/// Reads until the input ends, a panic stops it, or the receiver of commands is gone. It notices
/// the last two when it has input to hand over; until then it waits only for input.
pub(super) fn run(input: &Input, unread: &Unread, grammar: &Grammar, sender: &InputSender) {
    // The receiver of commands ends the run, so there is no one to report this to.
    let _: Result<(), Gone> = read_all(input, unread, grammar, sender);
}

fn read_all(
    input: &Input,
    unread: &Unread,
    grammar: &Grammar,
    sender: &InputSender,
) -> Result<(), Gone> {
    let mut chunk = vec![0; CHUNK];
    let mut more = true;
    loop {
        if grammar.counters.phase.is_ending() {
            // Only a panic counts now. The pause keeps endless input from keeping a processor busy
            // until the end.
            thread::sleep(AT_THE_END);
        }
        while let Some(parsed) = unread.parse(grammar) {
            sender.deliver(parsed)?;
        }
        if unread.is_stopped() {
            return Ok(());
        }
        if unread.is_utf16() {
            return refuse_utf16(grammar, sender);
        }
        if !more {
            break;
        }
        if input.wait(None) {
            more = match unread.read(input, &mut chunk) {
                Ok(more) => more,
                Err(error) => {
                    let why = format!("cannot read stdin: {}", reason(&error));
                    grammar.counters.fail();
                    let mut parsed = ParsedInput::default();
                    parsed.tell(Local::Trouble(why));
                    sender.deliver(parsed)?;
                    false
                }
            };
        }
    }
    if grammar.options.mode == Mode::Chat {
        // At a terminal the input ends with Ctrl-D, or when the terminal is gone.
        let mut input = ParsedInput::default();
        input.push_quit(clock::now(), &grammar.counters);
        return sender.deliver(input);
    }
    sender.end()
}

/// Ends the run: guessing another encoding could send text that the user never wrote.
fn refuse_utf16(grammar: &Grammar, sender: &InputSender) -> Result<(), Gone> {
    grammar.counters.fail();
    let mut input = ParsedInput::default();
    input.tell(Local::Utf16);
    input.push_quit(clock::now(), &grammar.counters);
    sender.deliver(input)
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;
    use crate::channels::{self, Control, EngineChannels, Waiting};
    use crate::front::options::{Cut, FrontendOptions};
    use crate::front::unread::{PARSED_AT_ONCE, UnreadInput};
    use crate::mesh::{Command, Request, Tag};

    /// The input of a front end without a terminal: a pipe in, requests out.
    struct Rig {
        pipe: Option<io::PipeWriter>,
        engine: EngineChannels,
        locals: tokio::sync::mpsc::UnboundedReceiver<Waiting<Local>>,
        unread: Arc<Unread>,
        read_ahead: Arc<Semaphore>,
        /// Gives the input back, so that writing never fails because the thread has ended.
        thread: thread::JoinHandle<Input>,
    }

    fn rig(options: &FrontendOptions, handed_over: &[u8]) -> Rig {
        let (channels, engine, _) = channels::channels();
        let (reader, writer) = io::pipe().unwrap();
        let input = Input::from(reader);
        let (locals_in, locals) = tokio::sync::mpsc::unbounded_channel();
        let unread = Arc::new(Unread::new(options, before(handed_over).as_ref()));
        let grammar = Grammar::new(
            Arc::new(options.clone()),
            Arc::clone(&channels.counters),
            Arc::default(),
        );
        let read_ahead = Arc::clone(&channels.read_ahead);
        let sender = InputSender::new(
            channels.urgent,
            channels.ordered,
            channels.read_ahead,
            locals_in,
            channels.control,
        );
        let shared = Arc::clone(&unread);
        let thread = thread::spawn(move || {
            run(&input, &shared, &grammar, &sender);
            input
        });
        Rig {
            pipe: Some(writer),
            engine,
            locals,
            unread,
            read_ahead,
            thread,
        }
    }

    fn before(lines: &[u8]) -> Option<UnreadInput> {
        let lines = lines.to_vec();
        (!lines.is_empty()).then_some(UnreadInput {
            lines,
            ..UnreadInput::default()
        })
    }

    impl Rig {
        fn local(&mut self) -> Local {
            self.locals.try_recv().unwrap().item
        }

        fn write(&mut self, bytes: &[u8]) {
            self.pipe.as_mut().unwrap().write_all(bytes).unwrap();
        }

        fn end(&mut self) {
            self.pipe = None;
        }

        /// Everything until the end of input, as texts.
        fn texts(&mut self) -> Vec<String> {
            let mut out = Vec::new();
            while !matches!(self.engine.control.try_recv(), Ok(Control::EndOfInput)) {
                if let Ok(batch) = self.engine.ordered.try_recv() {
                    out.extend(batch.item.iter().map(show));
                }
                thread::sleep(Duration::from_millis(1));
            }
            while let Ok(batch) = self.engine.ordered.try_recv() {
                out.extend(batch.item.iter().map(show));
            }
            out
        }
    }

    fn show(request: &Request) -> String {
        match &request.command {
            Command::Send { text, to: None } => {
                format!("{}: {}", request.tag.line, text.as_str())
            }
            other => format!("{}: {other:?}", request.tag.line),
        }
    }

    fn options(mode: Mode) -> FrontendOptions {
        FrontendOptions {
            mode,
            ..FrontendOptions::default()
        }
    }

    #[test]
    fn lines_become_messages_and_the_end_comes_last() {
        let mut rig = rig(&options(Mode::Plain), b"");
        rig.write(b"hello\n\n//x\nlast");
        rig.end();
        assert_eq!(rig.texts(), ["1: hello", "2: ", "3: /x", "4: last"]);
    }

    #[test]
    fn literal_lines_and_the_whole_input_are_never_commands() {
        let mut literal = rig(
            &FrontendOptions {
                literal: true,
                ..options(Mode::Plain)
            },
            b"",
        );
        literal.write(b"/panic\n//x\n");
        literal.end();
        assert_eq!(literal.texts(), ["1: /panic", "2: //x"]);
        let mut whole = rig(
            &FrontendOptions {
                literal: true,
                cut: Cut::Nowhere,
                ..options(Mode::Plain)
            },
            b"",
        );
        whole.write(b"/panic\nline two\n");
        whole.end();
        assert_eq!(whole.texts(), ["1: /panic\nline two"]);
    }

    #[test]
    fn bad_lines_are_counted_and_named() {
        let mut rig = rig(&options(Mode::Plain), b"");
        let sender = rig.pipe.take().map(|mut pipe| {
            thread::spawn(move || {
                pipe.write_all(b"one\n").unwrap();
                pipe.write_all(&[b'x'; 65_537]).unwrap();
                pipe.write_all(b"\n\xff\nfour\n").unwrap();
            })
        });
        assert_eq!(rig.texts(), ["1: one", "4: four"]);
        sender.unwrap().join().unwrap();
        assert_eq!(rig.engine.counters.bad_lines(), 2);
        assert!(matches!(
            rig.local(),
            Local::BadLine(Tag { line: 2, .. }, _)
        ));
        assert!(matches!(
            rig.local(),
            Local::BadLine(Tag { line: 3, .. }, _)
        ));
    }

    #[test]
    fn panic_is_found_behind_commands_that_wait() {
        let mut rig = rig(&options(Mode::Json), b"");
        for _ in 0..2000 {
            rig.write(b"{\"type\":\"peers\"}\nno object\n");
        }
        rig.write(b"{\"type\":\"panic\"}\n");
        assert!(matches!(
            rig.engine.control.blocking_recv(),
            Some(Control::Panic(_))
        ));
    }

    #[test]
    fn commands_overtake_a_megabyte_of_messages() {
        let mut rig = rig(&options(Mode::Json), b"");
        // Many small writes, which are not received: far more than the channel has places.
        for n in 0..3000 {
            let line = format!(
                "{{\"type\":\"send\",\"text\":\"{}\",\"ref\":{n}}}\n",
                "x".repeat(200)
            );
            rig.write(line.as_bytes());
        }
        rig.write(b"{\"type\":\"peers\",\"ref\":\"now\"}\n");
        let request = rig.engine.urgent.blocking_recv().unwrap();
        assert!(matches!(request.item.command, Command::Peers));
        rig.end();
        assert_eq!(rig.texts().len(), 3000);
    }

    #[test]
    fn reading_ahead_stops_at_a_megabyte() {
        let mut rig = rig(&options(Mode::Plain), b"");
        let mut pipe = rig.pipe.take().unwrap();
        let writer = thread::spawn(move || {
            let mut written = 0_usize;
            let line = [vec![b'x'; 999], vec![b'\n']].concat();
            for _ in 0..4000 {
                pipe.write_all(&line).unwrap();
                written += 1;
            }
            written
        });
        // Until the read-ahead has no room.
        while rig.read_ahead.available_permits() >= PARSED_AT_ONCE {
            thread::yield_now();
        }
        assert!(
            !writer.is_finished(),
            "four megabytes were read without being taken"
        );
        assert_eq!(rig.texts().len(), 4000);
        assert_eq!(writer.join().unwrap(), 4000);
    }

    #[test]
    fn panic_is_sent_at_once_and_later_lines_handed_over() {
        let send = b"{\"type\":\"send\",\"text\":\"\"}\n/panic\nafter\npart";
        for (mode, input, forgotten) in [
            (Mode::Plain, &b"secret\n/panic\nafter\npart"[..], 1),
            (Mode::Json, send, 1),
            (Mode::Json, b"{\"type\":\"panic\"}\nafter\npart", 0),
            (Mode::Json, b"/panic\nafter\npart", 0),
        ] {
            let mut rig = rig(&options(mode), b"");
            rig.write(input);
            assert!(matches!(
                rig.engine.control.blocking_recv(),
                Some(Control::Panic(_))
            ));
            let left = rig.unread.take();
            assert_eq!(left.lines, b"after\n");
            assert!(left.begun);
            assert_eq!(left.lost_message, mode == Mode::Plain);
            rig.end();
            rig.thread.join().unwrap();
            assert!(
                rig.engine.ordered.try_recv().is_err(),
                "what was parsed is forgotten"
            );
            let untaken = rig.engine.counters.untaken();
            assert_eq!(untaken, forgotten, "and counts");
        }
    }

    #[test]
    fn a_panic_from_elsewhere_stops_reading() {
        let mut rig = rig(&options(Mode::Plain), b"");
        rig.write(b"one\ntw");
        assert!(rig.engine.ordered.blocking_recv().is_some());
        let left = rig.unread.take();
        assert!(left.lines.is_empty() && left.begun && left.lost_message);
        rig.write(b"o\n");
        rig.end();
        rig.thread.join().unwrap();
        assert!(rig.engine.ordered.try_recv().is_err(), "nothing is read");
    }

    #[test]
    fn panic_after_the_end_is_found() {
        for (bytes, found) in [
            (&b"/quit\nlost\n/panic\n"[..], true),
            (b"/quit\n/pan", false),
        ] {
            let (reader, mut writer) = io::pipe().unwrap();
            writer.write_all(bytes).unwrap();
            let input = Input::from(reader);
            let (channels, _engine, _) = channels::channels();
            let grammar = Grammar::new(
                Arc::new(options(Mode::Plain)),
                channels.counters,
                Arc::default(),
            );
            let unread = Unread::new(&options(Mode::Plain), None);
            assert_eq!(unread.holds_panic(&input, &grammar), found);
        }
    }

    #[test]
    fn input_that_was_handed_over_comes_first() {
        let mut rig = rig(&options(Mode::Plain), b"after\n");
        rig.write(b"that\n");
        rig.end();
        assert_eq!(rig.texts(), ["1: after", "2: that"]);
    }

    #[test]
    fn only_empty_lines_are_bounded_too() {
        let mut rig = rig(&options(Mode::Plain), b"");
        let mut pipe = rig.pipe.take().unwrap();
        let writer = thread::spawn(move || pipe.write_all(&[b'\n'; 300_000]).is_ok());
        assert_eq!(rig.texts().len(), 300_000);
        assert!(writer.join().unwrap());
    }
}
