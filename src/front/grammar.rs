//! What a line of input asks for: messages and commands.

use std::sync::Arc;
use std::time::Instant;

use super::audience::Audience;
use super::command::{self, Mistake, ParsedLine};
use super::input_sender::{Local, ParsedInput};
use super::json_in;
use super::lines::Line;
use super::options::{FrontendOptions, Mode};
use crate::channels::PanicRequest;
use crate::exit::ExitCounters;
use crate::mesh::{Command, ErrorCode, Request, Tag};

/// How lines are parsed in this run.
#[derive(Clone)]
pub(super) struct Grammar {
    /// Of the whole front end.
    pub options: Arc<FrontendOptions>,
    /// Counts for the exit status.
    pub counters: Arc<ExitCounters>,
    /// In chat, whether a message would reach any peer.
    pub audience: Arc<Audience>,
}

impl Grammar {
    /// The grammar of these options.
    pub(super) fn new(
        options: Arc<FrontendOptions>,
        counters: Arc<ExitCounters>,
        audience: Arc<Audience>,
    ) -> Self {
        Self {
            options,
            counters,
            audience,
        }
    }

    /// Parses one line, and adds what it asks for to `input`.
    pub(super) fn read(&self, line: &Line<'_>, read_at: Instant, input: &mut ParsedInput) {
        let mut tag = Tag {
            reference: line.reference.clone(),
            line: line.number,
        };
        let text = match line.text {
            Ok(text) => text,
            Err(why) => {
                if self.counts_as_bad() {
                    input.tell(Local::BadLine(tag, why));
                }
                return;
            }
        };
        let parsed = if self.options.mode == Mode::Json && !text.starts_with('/') {
            let (reference, parsed) = json_in::parse(text, self.options.explicit_ack);
            tag.reference = reference;
            parsed
        } else if self.options.literal {
            command::message(text)
        } else {
            command::parse(text)
        };
        self.put(tag, read_at, parsed, line.bytes, input);
    }

    /// Adds what a line asks for to `input`. `bytes` is the size of the line in the input.
    pub(super) fn put(
        &self,
        tag: Tag,
        read_at: Instant,
        parsed: Result<ParsedLine, Mistake>,
        bytes: usize,
        input: &mut ParsedInput,
    ) {
        let command = match parsed {
            Ok(ParsedLine::Command(command)) => command,
            Ok(ParsedLine::Panic { quit }) => return self.panic(tag, quit, input),
            Ok(ParsedLine::Help(topic)) => return input.tell(Local::Help(topic)),
            Ok(ParsedLine::Invite) => return input.tell(Local::Invite),
            Ok(ParsedLine::More) => return input.tell(Local::More(tag)),
            Ok(ParsedLine::Alert(alert, messages)) => {
                return input.tell(Local::Alert(tag, alert, messages));
            }
            Ok(ParsedLine::Clear) => return input.tell(Local::Clear),
            Err(mistake) => return self.mistake(tag, mistake, input),
        };
        let ends = self.counters.phase.is_ending();
        let command = match command {
            Command::Send { text, to: None }
                if self.options.mode == Mode::Chat && text.as_str().is_empty() =>
            {
                if !self.audience.may_leave(read_at) {
                    return;
                }
                Command::Quit
            }
            Command::Send { .. } if ends => return,
            command => command,
        };
        let request = Request {
            tag,
            read_at,
            command,
        };
        input.push(request, bytes, &self.counters);
    }

    fn panic(&self, tag: Tag, quit: Option<bool>, input: &mut ParsedInput) {
        if quit == Some(true) {
            // At once: another panic may be under way, and must not lose the request to end.
            self.counters.phase.ask_end();
        }
        input.panic = Some(PanicRequest { tag, quit });
    }

    fn mistake(&self, tag: Tag, mistake: Mistake, input: &mut ParsedInput) {
        if mistake.code != ErrorCode::TooLong || self.counts_as_bad() {
            input.tell(Local::Mistake(tag, mistake));
        }
    }

    /// Whether to count a line that cannot be a message; not after the end was asked for, as a good
    /// one is not sent then either.
    fn counts_as_bad(&self) -> bool {
        let counts = !self.counters.phase.is_ending();
        if counts {
            self.counters.count_bad_line();
        }
        counts
    }
}
