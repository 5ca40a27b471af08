//! The manual page, which `sesame man` prints. `tests/generated.rs` keeps `man/sesame.1` equal to it.

use std::io;

use clap::CommandFactory;
use clap_mangen::Man;

use super::Cli;

/// The definitions that the rendered text needs: an apostrophe that stays one.
const PREAMBLE: &str = "\
.ie \\n(.g .ds Aq \\(aq
.el .ds Aq '
";

/// The synopsis. clap's own would list all options in one paragraph.
const SYNOPSIS: &str = "\
.SH SYNOPSIS
\\fBsesame\\fR [\\fIOPTIONS\\fR]
.br
\\fBsesame phrase\\fR [\\fIWORDS\\fR]
.br
\\fBsesame completions\\fR \\fISHELL\\fR
.br
\\fBsesame man\\fR
.br
\\fBsesame schema\\fR
";

/// The sections after the options: slash commands, exit status, environment, files, examples.
const SECTIONS: &str = include_str!("sections.roff");

/// The manual page, in roff.
///
/// # Errors
/// None in practice: it is written into memory.
pub fn man() -> io::Result<String> {
    let page = Man::new(Cli::command());
    let part = |render: &dyn Fn(&mut Vec<u8>) -> io::Result<()>| {
        let mut out = Vec::new();
        render(&mut out)?;
        Ok::<_, io::Error>(String::from_utf8_lossy(&out).into_owned())
    };
    Ok([
        PREAMBLE,
        &format!(
            ".TH SESAME 1 \"\" \"sesame {}\" \"User Commands\"\n",
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
    .concat())
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
