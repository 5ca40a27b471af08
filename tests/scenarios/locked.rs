//! Memory for keys that cannot be locked.

use super::helper::{Process, Run};

/// Far less than a chunk, in KiB.
const LIMIT: &str = "64";

/// With so little memory that may be locked, and without the right to lock more.
fn limited(run: &Run) -> Process {
    let script = format!(r#"ulimit -l {LIMIT} && exec "$@""#);
    let run = run.clone().copied();
    run.under_shell("/bin/sh", &script).plain()
}

#[test]
fn run_that_requires_locked_memory_ends_before_the_phrase() {
    // Its standard input stays open, and empty.
    let run = Run::new().no_phrase();
    let run = run.with(&["--require-mlock", "--phrase-fd", "0"]);
    let ended = limited(&run).ends_with(1);
    let [line, advice] = &ended.err[..] else {
        panic!("{ended:?}")
    };
    assert!(
        line.starts_with("sesame: cannot lock the memory for keys, so it may be swapped out")
            && line.ends_with("at least 256 KiB (now 64 KiB)")
            && advice == "sesame: omit --require-mlock to run anyway",
        "{line}"
    );
}

#[test]
fn any_other_run_says_it_once() {
    let mut alice = limited(&Run::named("alice").with(&["--stay"]));
    alice.told("cannot lock the memory for keys, so it may be swapped out");
    alice.write(b"/panic\n");
    alice.told("sesame has forgotten everything");
    alice.write(b"/quit\n");
    let ended = alice.ends_with(0);
    let lines = ended.err.iter();
    let times = lines.filter(|line| line.contains("swapped out")).count();
    assert_eq!(times, 1, "{ended:?}");
}
