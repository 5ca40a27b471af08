//! The pages that people read: their links lead somewhere, and they keep to plain words. So do the
//! comments and texts of the sources.
// A failed expectation is a failed test, in the helpers too.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

#[path = "layers/pieces.rs"]
mod pieces;

use pieces::{Kind, pieces};

const PAGES: [&str; 8] = [
    "README.md",
    "USAGE.md",
    "SECURITY.md",
    "CHANGELOG.md",
    ".github/CONTRIBUTING.md",
    "src/proto/PROTOCOL.md",
    // The texts of `--help` and of all commands.
    "man/sesame.1",
    "man/sesame-json.5",
];

/// Folders whose sources keep to plain words too.
const SOURCES: [&str; 2] = ["src", "tests"];

/// Forms that are grammatical and strange, or that name nobody who acts.
const STRANGE: [&str; 22] = [
    "all the same",
    "alone",
    "are said",
    "are told",
    "as it is",
    "cell a tick",
    "hearsay",
    "hence",
    "is no address",
    "is said",
    "is told",
    "knock",
    "knocks",
    "let out",
    "lest",
    "nothing of the one",
    "obey",
    "so long as",
    "so many",
    "the own",
    "the rim",
    "whoever",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(page: &str) -> String {
    fs::read_to_string(root().join(page)).unwrap()
}

/// The words of a text in lower case, each with one blank before and after it.
fn words(text: &str) -> String {
    let is_part = |c: char| c.is_alphanumeric() || "'-_".contains(c);
    let words: Vec<_> = text
        .split(|c| !is_part(c))
        .filter(|w| !w.is_empty())
        .collect();
    format!(" {} ", words.join(" ").to_lowercase())
}

fn strange_in(text: &str) -> Vec<&'static str> {
    let words = words(text);
    let is_in = |form: &&str| words.contains(&format!(" {form} "));
    STRANGE.into_iter().filter(is_in).collect()
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(page: &str) -> Vec<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            let kept = heading
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.collect::<String>().replace(' ', "-")
        })
        .collect()
}

/// The targets of a page's links, but for those to other sites.
fn links(page: &str) -> Vec<&str> {
    let targets = page.split("](").skip(1);
    targets
        .filter_map(|rest| rest.split([')', ' ']).next())
        .filter(|target| !target.starts_with("https://"))
        .collect()
}

/// The Rust files in a folder, except this one, which lists the forms.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs")
            && path != root().join(file!())
        {
            found.push(path);
        }
    }
}

/// The comments and string literals of a source text. Adjacent comments are one.
fn prose(source: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut in_comment = false;
    for piece in pieces(source) {
        match piece.kind {
            Kind::Comment => match found.last_mut().filter(|_| in_comment) {
                Some(before) => *before += piece.text,
                None => found.push(piece.text.to_owned()),
            },
            Kind::Text => found.push(piece.text.replace("\\n", " ")),
            Kind::Code => {}
        }
        in_comment = piece.kind == Kind::Comment;
    }
    found
}

#[test]
fn sources_have_no_strange_forms() {
    let mut paths = Vec::new();
    for folder in SOURCES {
        sources(&root().join(folder), &mut paths);
    }
    assert!(paths.len() > 100, "sources are found");
    let mut wrong = Vec::new();
    for path in paths {
        for text in prose(&fs::read_to_string(&path).unwrap()) {
            let strange = strange_in(&text);
            if !strange.is_empty() {
                wrong.push(format!("{}: {strange:?} in {text}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn strange_form_is_found_in_comments_and_literals() {
    let found = |source: &str| {
        let strange = |text: &String| strange_in(text);
        prose(source).iter().flat_map(strange).collect::<Vec<_>>()
    };
    assert_eq!(found("/// It is\n    /// told.\nfn f() {}"), ["is told"]);
    assert_eq!(found("let a = 1; // as it is"), ["as it is"]);
    assert_eq!(
        found("x(\"one\\nknock\", 'a', r#\"lest\"#)"),
        ["knock", "lest"]
    );
    assert_eq!(found("// so\nlet many = alone(hence);"), [""; 0]);
}

#[test]
fn pages_have_no_strange_forms() {
    for page in PAGES {
        assert_eq!(strange_in(&read(page)), [""; 0], "{page}");
    }
}

#[test]
fn a_strange_form_is_found_across_lines_and_commas() {
    let text = "A peer, whoever it is, sends one cell a\ntick. It walks alone.";
    assert_eq!(strange_in(text), ["alone", "cell a tick", "whoever"]);
    assert_eq!(strange_in("standalone cells"), [""; 0]);
}

#[test]
fn links_of_pages_lead_somewhere() {
    let mut seen = 0;
    for page in PAGES {
        let text = read(page);
        for link in links(&text) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let folder = Path::new(page).parent().unwrap();
            let target = match file {
                "" => PathBuf::from(page),
                file => folder.join(file),
            };
            assert!(root().join(&target).exists(), "{page}: {link}");
            if !anchor.is_empty() {
                let there = anchors(&read(target.to_str().unwrap()));
                assert!(there.iter().any(|it| it == anchor), "{page}: {link}");
            }
            seen += 1;
        }
    }
    assert!(seen > 20, "links are found");
}
