//! Where the kernel put the argument list, to change it there.
#![allow(unsafe_code)]

use crate::sys::reason;

/// Has `change` work on the argument strings: one after the other, each ended by a NUL. Call it
/// before any thread starts.
///
/// They are found by what the kernel says about them: the C library hands the arguments to nobody
/// but `main`, and musl not even to initialisers. Where /proc is missing nobody reads the argument
/// list there either.
///
/// # Errors
/// Why they were not found, or what `change` says.
pub fn change(change: impl FnOnce(&mut [u8]) -> Result<(), &'static str>) -> Result<(), String> {
    let stat = std::fs::read_to_string("/proc/self/stat")
        .map_err(|error| format!("cannot read /proc/self/stat: {}", reason(&error)))?;
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
    change(strings).map_err(Into::into)
}

/// `arg_start` and `arg_end`, fields 48 and 49 of proc_pid_stat(5). The second field, a name in
/// parentheses, may hold anything, parentheses too; the third follows the last one.
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

    #[test]
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
