//! What `main` does first of all, before any thread: nothing of this process goes into a core
//! dump or to a debugger, no signal comes before its handler, and the phrase leaves the argument
//! list. And what has to be looked at before `main`.
#![allow(unsafe_code)]

use std::env;
use std::ffi::OsString;

use zeroize::{Zeroize, Zeroizing};

#[cfg(unix)]
use super::signals;

/// What [`harden`] achieved, one line each, for the diagnostics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hardening {
    /// What holds now.
    pub done: Vec<String>,
    /// What does not, and why.
    pub failed: Vec<String>,
    /// Whether other processes of this user could look into this image until now.
    pub was_open: bool,
}

impl Hardening {
    #[cfg(unix)]
    pub(super) fn note(&mut self, what: &str, result: std::io::Result<()>) {
        match result {
            Ok(()) => self.done.push(what.into()),
            Err(error) => self
                .failed
                .push(format!("cannot ensure that {what}: {error}")),
        }
    }
}

/// Forbids core dumps and debuggers, and blocks the signals that the program handles: from here on
/// one that comes waits in the kernel until [`signals::wait`] takes it, across an exec too. Call it
/// first of all, in each process image: an exec undoes a part of it.
///
/// Nothing that fails here is a reason not to run; the report says it.
pub fn harden() -> Hardening {
    let mut report = Hardening::default();
    #[cfg(unix)]
    {
        report.note("core dumps are off", unix::forbid_core_dumps());
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            report.was_open = unix::is_dumpable();
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        report.note(
            "other processes of this user cannot read the memory",
            unix::forbid_debuggers(),
        );
        report.note("signals wait until sesame handles them", signals::block());
    }
    report
}

/// Whether stdout was closed when this process image began. The standard library opens `/dev/null`
/// in its place before `main`, so that writing there succeeds, and is heard by nobody.
///
/// Known on Linux and Android; false elsewhere.
pub fn stdout_was_closed() -> bool {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let closed = before_main::STDOUT_CLOSED.load(std::sync::atomic::Ordering::Relaxed);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let closed = false;
    closed
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod before_main {
    use std::sync::atomic::{AtomicBool, Ordering};

    pub(super) static STDOUT_CLOSED: AtomicBool = AtomicBool::new(false);

    extern "C" fn look() {
        // SAFETY: this operation takes no pointer, and fails for a number that is not open.
        let flags = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) };
        STDOUT_CLOSED.store(flags < 0, Ordering::Relaxed);
    }

    // SAFETY: the section is a list of pointers to functions that the C library calls once each, when
    // it is ready itself and before `main` (gABI, "Initialization and Termination Functions"). This
    // one has the C calling convention, in which arguments may be left unread; it does not unwind,
    // and uses nothing that the standard library's runtime sets up.
    #[used]
    #[unsafe(link_section = ".init_array")]
    static INITIALISER: extern "C" fn() = look;
}

#[cfg(unix)]
mod unix {
    use std::io;

    pub(super) fn forbid_core_dumps() -> io::Result<()> {
        let none = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: the kernel reads the struct.
        result(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) })
    }

    /// Not dumpable: no core, and no reading or tracing but with CAP_SYS_PTRACE (ptrace(2)).
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(super) fn forbid_debuggers() -> io::Result<()> {
        let zero: libc::c_ulong = 0;
        // SAFETY: this operation takes no pointer.
        result(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, zero, zero, zero, zero) })
    }

    /// Root's own processes are no matter: they need no such way.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(super) fn is_dumpable() -> bool {
        // SAFETY: neither call takes a pointer.
        unsafe { libc::prctl(libc::PR_GET_DUMPABLE) == 1 && libc::geteuid() != 0 }
    }

    fn result(code: libc::c_int) -> io::Result<()> {
        if code == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

/// The option whose value is hidden.
const OPTION: &[u8] = b"--phrase";

/// What stands in the arguments where a phrase was.
const PLACEHOLDER: &str = "hidden";

/// The arguments without the phrase.
pub struct ScrubbedArguments {
    /// All of them, beginning with the program's name, the value of each `--phrase` being a
    /// placeholder. For the parser; nobody else may read the process's arguments.
    pub args: Vec<OsString>,
    /// The value of `--phrase`; of the last, if there are several. Encoded as the system gives it.
    pub phrase: Option<Zeroizing<Vec<u8>>>,
    /// Why the phrase still shows in the argument list: one line for people.
    pub failure: Option<String>,
}

/// Takes the phrase out of the argument list, where `ps` of every user of the machine shows it.
/// Until this has run it was there to be seen, and its length still is. Call it before any thread
/// starts, and before anything parses the arguments.
pub fn scrub_phrase() -> ScrubbedArguments {
    let (mut arguments, hidden) = separate(env::args_os());
    if !hidden.is_empty()
        && let Err(why) = scrub(&hidden, arguments.args.len())
    {
        arguments.failure = Some(format!(
            "cannot hide the passphrase in the process list: {why}; use --phrase-fd or --phrase-file"
        ));
    }
    arguments
}

/// Which bytes of which argument are to be hidden.
#[derive(Debug, PartialEq, Eq)]
struct PhraseSpan {
    argument: usize,
    /// Where the value begins in it.
    from: usize,
    /// The whole argument's length.
    len: usize,
}

/// Splits phrases from arguments in the forms that the parser takes: `--phrase X`, where X does not
/// begin with a hyphen unless it is one, and `--phrase=X`; nothing after `--`.
fn separate(given: impl Iterator<Item = OsString>) -> (ScrubbedArguments, Vec<PhraseSpan>) {
    let mut arguments = ScrubbedArguments {
        args: Vec::new(),
        phrase: None,
        failure: None,
    };
    let mut hidden = Vec::new();
    let mut value_next = false;
    let mut options_end = false;
    for (argument, text) in given.enumerate() {
        let bytes = text.as_encoded_bytes();
        let len = bytes.len();
        let value_here =
            std::mem::take(&mut value_next) && (bytes == b"-" || !bytes.starts_with(b"-"));
        let joined = bytes
            .strip_prefix(OPTION)
            .is_some_and(|rest| rest.starts_with(b"="));
        if value_here {
            arguments.phrase = Some(Zeroizing::new(text.into_encoded_bytes()));
            arguments.args.push(PLACEHOLDER.into());
            hidden.push(PhraseSpan {
                argument,
                from: 0,
                len,
            });
        } else if argument > 0 && !options_end && joined {
            let from = OPTION.len() + 1;
            let mut whole = text.into_encoded_bytes();
            arguments.phrase = Some(Zeroizing::new(whole[from..].to_vec()));
            whole.zeroize();
            arguments
                .args
                .push(format!("--phrase={PLACEHOLDER}").into());
            hidden.push(PhraseSpan {
                argument,
                from,
                len,
            });
        } else {
            if argument > 0 && !options_end {
                options_end = bytes == b"--";
                value_next = bytes == OPTION;
            }
            arguments.args.push(text);
        }
    }
    (arguments, hidden)
}

/// Zeroes the hidden bytes in the argument strings as the kernel laid them out: one after the
/// other, each ended by a NUL. Changes nothing if they are not where they should be.
#[cfg(any(target_os = "linux", target_os = "android", test))]
fn blank(strings: &mut [u8], hidden: &[PhraseSpan], count: usize) -> Result<(), &'static str> {
    let ends: Vec<usize> = (0..strings.len()).filter(|at| strings[*at] == 0).collect();
    let span = |item: &PhraseSpan| {
        let end = *ends.get(item.argument)?;
        let start = if item.argument == 0 {
            0
        } else {
            ends[item.argument - 1] + 1
        };
        (end - start == item.len && item.from <= item.len).then_some(start + item.from..end)
    };
    let spans: Option<Vec<_>> = hidden.iter().map(span).collect();
    match spans {
        Some(spans) if ends.len() == count => {
            spans.into_iter().for_each(|span| strings[span].zeroize());
            Ok(())
        }
        _ => Err("unexpected layout of the argument list"),
    }
}

/// The strings are found by what the kernel says about them: the C library hands the arguments to
/// nobody but `main`, and musl not even to initialisers. Where /proc is missing nobody reads the
/// argument list there either.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn scrub(hidden: &[PhraseSpan], count: usize) -> Result<(), String> {
    let stat = std::fs::read_to_string("/proc/self/stat")
        .map_err(|error| format!("/proc/self/stat: {error}"))?;
    let span =
        argument_span(&stat).ok_or("/proc/self/stat does not say where the arguments are")?;
    // SAFETY: the kernel put the argument strings there, on the main thread's stack, writable and
    // for as long as the process lives. Nothing else reads or writes them meanwhile: no other
    // thread runs, and the standard library copies them only when asked.
    let strings = unsafe {
        std::slice::from_raw_parts_mut(
            std::ptr::with_exposed_provenance_mut::<u8>(span.start),
            span.len(),
        )
    };
    blank(strings, hidden, count).map_err(Into::into)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn scrub(_hidden: &[PhraseSpan], _count: usize) -> Result<(), String> {
    Err("this system does not let a program change its arguments".into())
}

/// `arg_start` and `arg_end`, fields 48 and 49 of proc_pid_stat(5). The second field, a name in
/// parentheses, may hold anything, parentheses too; the third follows the last one.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn argument_span(stat: &str) -> Option<std::ops::Range<usize>> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut span = fields.split_ascii_whitespace().skip(48 - 3);
    let start: usize = span.next()?.parse().ok()?;
    let end: usize = span.next()?.parse().ok()?;
    (start != 0 && start < end).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn separated(args: &[&str]) -> (Vec<String>, Option<Vec<u8>>, Vec<PhraseSpan>) {
        let (arguments, hidden) = separate(args.iter().map(Into::into));
        let args = arguments
            .args
            .into_iter()
            .map(|arg| arg.into_string().unwrap())
            .collect();
        (args, arguments.phrase.map(|phrase| phrase.to_vec()), hidden)
    }

    fn strings(args: &[&str]) -> Vec<u8> {
        args.iter().flat_map(|arg| arg.bytes().chain([0])).collect()
    }

    #[test]
    fn both_forms_are_taken_out() {
        for (given, left) in [
            (
                &["sesame", "--phrase", "open up", "-v"][..],
                &["sesame", "--phrase", "hidden", "-v"][..],
            ),
            (
                &["sesame", "--phrase=open up", "-v"],
                &["sesame", "--phrase=hidden", "-v"],
            ),
        ] {
            let (args, phrase, hidden) = separated(given);
            assert_eq!(args, left);
            assert_eq!(phrase.as_deref(), Some(&b"open up"[..]));
            let mut memory = strings(given);
            blank(&mut memory, &hidden, given.len()).unwrap();
            assert_eq!(memory.len(), strings(given).len());
            let text = String::from_utf8(memory).unwrap();
            assert!(!text.contains("open") && !text.contains("up"));
            assert!(text.starts_with("sesame\0--phrase") && text.ends_with("\0-v\0"));
        }
    }

    #[test]
    fn odd_values_are_taken_as_the_parser_takes_them() {
        assert_eq!(separated(&["sesame", "--phrase="]).1, Some(vec![]));
        assert_eq!(separated(&["sesame", "--phrase", ""]).1, Some(vec![]));
        assert_eq!(
            separated(&["sesame", "--phrase", "-"]).1,
            Some(b"-".to_vec())
        );
        assert_eq!(
            separated(&["sesame", "--phrase=-x=y"]).1,
            Some(b"-x=y".to_vec())
        );
        assert_eq!(
            separated(&["sesame", "--phrase=--"]).1,
            Some(b"--".to_vec())
        );
        let (args, phrase, hidden) = separated(&["sesame", "--phrase", "a", "--phrase=b"]);
        assert_eq!(args, ["sesame", "--phrase", "hidden", "--phrase=hidden"]);
        assert_eq!((phrase, hidden.len()), (Some(b"b".to_vec()), 2));
    }

    #[test]
    fn everything_else_is_left_alone() {
        for args in [
            &["sesame"][..],
            &["sesame", "--phrase"],
            &["sesame", "--phrase", "--json"],
            &["sesame", "--phrase", "-v"],
            &["sesame", "--phrase", "--", "x"],
            &["sesame", "--", "--phrase", "x"],
            &["sesame", "--", "--phrase=x"],
            &["sesame", "--phrase-file", "x", "--phrases=y"],
            &["--phrase", "x"],
            &["--phrase=x"],
        ] {
            let (left, phrase, hidden) = separated(args);
            assert_eq!(left, args);
            assert_eq!((phrase, hidden.len()), (None, 0), "{args:?}");
        }
    }

    #[test]
    fn memory_that_does_not_fit_is_not_touched() {
        let (_, _, hidden) = separated(&["sesame", "--phrase", "open"]);
        for memory in [
            &["sesame", "--phrase", "longer"][..],
            &["sesame", "--phrase"],
            &["sesame", "--phrase", "open", "x"],
            &[],
        ] {
            let mut bytes = strings(memory);
            assert!(blank(&mut bytes, &hidden, 3).is_err());
            assert_eq!(bytes, strings(memory));
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_kernel_says_where_the_arguments_are() {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let span = argument_span(&stat).unwrap();
        assert_eq!(
            span.len(),
            std::fs::read("/proc/self/cmdline").unwrap().len()
        );
        assert_eq!(argument_span("1 (a) b) S 1"), None);
        assert_eq!(argument_span(""), None);
    }
}
