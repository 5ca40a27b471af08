//! The texts that explain the command line: `-h`, `--help`, and the manual page, which `sesame man`
//! prints. `tests/generated.rs` keeps `man/sesame.1` equal to it.

use std::io;

use clap::CommandFactory;
use clap_mangen::Man;

use super::options::{COMMANDS, Cli};

/// The date of the manual page. Set it when you change what the page says.
const DATE: &str = "2026-11-27";

/// The longest line of text in the manual page, in bytes, which is what `mandoc -T lint` asks for.
const LONGEST_LINE: usize = 80;

/// The definitions that the rendered text needs: an apostrophe that stays one.
const PREAMBLE: &str = "\
.ie \\n(.g .ds Aq \\(aq
.el .ds Aq '
";

/// The synopsis. clap's own would list all options in one paragraph.
const SYNOPSIS: &str = "\
.SH SYNOPSIS
\\fBsesame\\fR [\\fB@\\fISECTION\\fR] [\\fIOPTIONS\\fR]
.br
\\fBsesame phrase\\fR [\\fIWORDS\\fR]
.br
\\fBsesame completions\\fR \\fISHELL\\fR
.br
\\fBsesame man\\fR
.br
\\fBsesame schema\\fR
.br
\\fBsesame help\\fR [\\fICOMMAND\\fR]
.br
\\fBsesame version\\fR
";

/// The sections after the options: slash commands, keys, exit status, environment, files, examples.
const SECTIONS: &str = include_str!("sections.roff");

/// What clap prints for `-h` and `--help`, except that the summary of all options is shorter.
pub(super) fn help_of(error: &clap::Error) -> String {
    let text = error.to_string();
    match text == Cli::command().render_help().to_string() {
        true => brief(),
        false => without_blanks(&text),
    }
}

/// What `-h` prints: one screen, without headings.
fn brief() -> String {
    let mut command = Cli::command().help_template(format!(
        "{{about}}\n\n{{usage-heading}} {{usage}}\n\nCommands: {}\n\n{{options}}{{after-help}}",
        COMMANDS.join(", ")
    ));
    command.render_help().to_string()
}

/// What `--help` prints, of the program or of one of its commands.
pub(super) fn help(command: Option<&str>) -> String {
    let mut program = Cli::command();
    // The usage line of a command names the program too.
    program.build();
    let named = command.and_then(|name| program.find_subcommand_mut(name));
    let text = match named {
        Some(command) => command.render_long_help(),
        None => program.render_long_help(),
    };
    without_blanks(&text.to_string())
}

/// clap indents empty lines too.
fn without_blanks(text: &str) -> String {
    let lines = text.lines().map(str::trim_end);
    lines.map(|line| format!("{line}\n")).collect()
}

/// What `--version` prints.
pub(super) fn version() -> String {
    Cli::command().render_version()
}

/// The manual page, in roff.
///
/// # Errors
/// None in practice: it is written into memory.
pub(super) fn man() -> io::Result<String> {
    // Whatever `-h` leaves out, the page has.
    let page = Man::new(Cli::command().mut_args(|arg| arg.hide_short_help(false)));
    let part = |render: &dyn Fn(&mut Vec<u8>) -> io::Result<()>| {
        let mut out = Vec::new();
        render(&mut out)?;
        Ok::<_, io::Error>(String::from_utf8_lossy(&out).into_owned())
    };
    let page = [
        PREAMBLE,
        &format!(
            ".TH SESAME 1 \"{DATE}\" \"sesame {}\" \"User Commands\"\n",
            env!("CARGO_PKG_VERSION")
        ),
        &without_preamble(&part(&|out| page.render_name_section(out))?),
        SYNOPSIS,
        &without_preamble(&part(&|out| page.render_description_section(out))?),
        ".SH OPTIONS\n",
        &as_subsections(&without_preamble(&part(&|out| {
            page.render_options_section(out)
        })?)),
        SECTIONS,
    ]
    .concat();
    Ok(wrapped(&page))
}

/// Breaks long lines of text, except in examples. A line that begins with a dot or an apostrophe would
/// be a request.
fn wrapped(page: &str) -> String {
    let mut out = String::with_capacity(page.len());
    let mut literal = false;
    for line in page.lines() {
        match line {
            ".nf" => literal = true,
            ".fi" => literal = false,
            _ => {}
        }
        if literal || line.starts_with('.') {
            out.push_str(&format!("{line}\n"));
            continue;
        }
        let mut column = 0;
        for word in line.split(' ') {
            let fits = column + 1 + word.len() <= LONGEST_LINE;
            if column > 0 && (fits || word.starts_with(['.', '\''])) {
                out.push(' ');
                column += 1;
            } else if column > 0 {
                out.push('\n');
                column = 0;
            }
            out.push_str(word);
            column += word.len();
        }
        out.push('\n');
    }
    out
}

/// Each part is rendered as if it were a page by itself; one [`PREAMBLE`] is enough.
fn without_preamble(part: &str) -> String {
    let lines = part
        .lines()
        .filter(|line| !line.starts_with(".ie ") && !line.starts_with(".el "));
    lines.map(|line| format!("{line}\n")).collect()
}

/// clap renders one section per group of options, and an option's short and long help as separate
/// paragraphs. This makes subsections of the groups, and one paragraph of the two.
fn as_subsections(part: &str) -> String {
    let mut text = String::with_capacity(part.len());
    for line in part.lines() {
        if let Some(heading) = line.strip_prefix(".SH ") {
            let heading = heading.trim_matches('"').to_lowercase();
            let (first, rest) = heading.split_at_checked(1).unwrap_or(("", &heading));
            text.push_str(&format!(".SS \"{}{rest}\"\n", first.to_uppercase()));
        } else if line.starts_with(['.', '\\']) {
            text.push_str(&format!("{line}\n"));
        } else if !line.is_empty() {
            text.push_str(&format!("{}.\n", line.trim_end_matches('.')));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Command;

    use super::*;

    #[test]
    fn commands_that_help_explains_are_all_there_are() {
        let command = Cli::command();
        let names: Vec<_> = command.get_subcommands().map(Command::get_name).collect();
        assert_eq!(names, COMMANDS);
        for name in COMMANDS {
            let text = help(Some(name));
            assert!(text.contains(&format!("Usage: sesame {name}")), "{text}");
        }
    }

    #[test]
    fn summary_fits_one_screen() {
        let text = brief();
        assert!(text.lines().count() <= 24, "{text}");
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
        for part in [
            "Usage: sesame",
            "Commands: phrase",
            "--peer",
            "-V, --version",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains("--give-up") && help(None).contains("--give-up"));
    }

    #[test]
    fn long_line_of_the_page_is_broken_between_words() {
        let long = ["word"; 40].join(" ") + " .dot";
        let text = wrapped(&format!("{long}\n.nf\n{long}\n.fi\n"));
        assert!(text.contains(&format!(".nf\n{long}\n.fi")));
        let (before, _) = text.split_once(".nf").unwrap();
        assert!(before.lines().count() > 2);
        assert!(
            before
                .lines()
                .all(|line| line.len() <= 85 && !line.starts_with('.'))
        );
        assert_eq!(before.replace('\n', " ").trim(), long);
    }
}
