use std::io::Read;

use super::model::Terminal;
use super::*;

/// Pseudorandom numbers, the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as usize % limit
    }
}

/// With one space between words, as the sender wrote it: chat fills up rows with further ones.
fn one_blank(text: &str) -> String {
    text.split(' ')
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// A terminal, and the painter of its content.
struct Rig {
    terminal: Terminal,
    painter: Painter,
    /// The size that the painter assumes.
    known: Size,
    block: Block,
    status: String,
    said: Vec<String>,
}

impl Rig {
    fn new(columns: usize, rows: usize, reflows: bool) -> Self {
        Self {
            terminal: Terminal::new(columns, rows, reflows),
            painter: Painter::new(true),
            known: Size { columns, rows },
            block: Block::default(),
            status: String::new(),
            said: Vec::new(),
        }
    }

    fn types(&mut self, text: &str, cursor: usize) {
        self.block = Block {
            prompt: "> ".into(),
            text: text.into(),
            cursor,
        };
        self.paint(None);
    }

    fn waits(&mut self, status: String) {
        self.status = status;
        self.paint(None);
    }

    fn hears(&mut self, text: String) {
        self.said.push(text.clone());
        self.paint(Some(Job::Print(text + "\n")));
    }

    fn paint(&mut self, job: Option<Job>) {
        let jobs = job.into_iter().collect();
        let (block, status) = (Some(&self.block), self.status.as_str());
        let bytes = self.painter.paint(jobs, block, status, self.known);
        self.terminal.write(&bytes);
    }

    fn assert_nothing_is_lost(&self) {
        let lines = self.terminal.lines();
        let lines: Vec<_> = lines.iter().map(|line| line.replace(' ', "")).collect();
        let mut rest = lines.iter();
        for said in &self.said {
            let said = said.replace(' ', "");
            // If the typed line was wrapped, a stale copy of it may be before this one.
            assert!(
                rest.any(|line| line.ends_with(&said)),
                "{said:?} is not where it should be in\n{}",
                lines.join("\n")
            );
        }
    }
}

#[test]
fn a_resize_clears_nothing_above_the_line() {
    for seed in 0..300 {
        let mut dice = Dice(seed);
        let reflows = seed % 3 > 0;
        let mut rig = Rig::new(8 + dice.below(120), 3 + dice.below(40), reflows);
        for step in 0..200 {
            match dice.below(9) {
                // The terminal changes, and the painter learns of it only later.
                0 | 1 => rig.terminal.resize(8 + dice.below(120), 2 + dice.below(40)),
                2 => {
                    (rig.known.columns, rig.known.rows) = rig.terminal.size();
                    rig.paint(None);
                }
                3 => {
                    let some = ["x", "日本", "👩\u{200d}🚀", "e\u{301}", "\n", "\t"];
                    let length = [3, 40, 200, 2000][dice.below(4)];
                    let text: String = (0..length)
                        .map(|_| some[[0, 0, 0, 1, 2, 3, 4, 5][dice.below(8)]])
                        .collect();
                    let cursor = if dice.below(2) == 0 { text.len() } else { 0 };
                    rig.types(&text, cursor);
                }
                4 => {
                    let length = [0, 0, 3, 40, 300][dice.below(5)];
                    rig.waits("a語".repeat(length));
                }
                _ => {
                    let long = if reflows { dice.below(200) } else { 0 };
                    let word = ["語z", "語 zz", " and a URL"][dice.below(3)];
                    rig.hears(format!("m{step}{}", word.repeat(long / word.len())));
                }
            }
        }
        rig.assert_nothing_is_lost();
    }
}

#[test]
fn from_40_to_120_columns_all_messages_stay() {
    let mut rig = Rig::new(40, 30, true);
    for number in 0..5 {
        rig.hears(format!("12:04 alice: message {number}"));
    }
    let typed = "x".repeat(200);
    rig.types(&typed, typed.len());
    rig.terminal.resize(120, 30);
    rig.hears("12:05 alice: before it is known".into());
    rig.known.columns = 120;
    rig.paint(None);
    rig.assert_nothing_is_lost();
    let lines = rig.terminal.lines();
    // And there is one copy of the typed line.
    let copies = lines.iter().filter(|line| line.starts_with("> "));
    assert_eq!(copies.count(), 1, "{}", lines.join("\n"));
}

#[test]
fn status_is_one_row_above_the_line_and_leaves_nothing_behind() {
    for reflows in [true, false] {
        let mut rig = Rig::new(40, 10, reflows);
        let status = "bob, 日本語: 2 messages not acknowledged";
        let rows = |rig: &Rig| {
            let lines = rig.terminal.lines();
            let is_status = |line: &&String| line.starts_with("bob, ");
            lines.iter().filter(is_status).cloned().collect::<Vec<_>>()
        };
        rig.types("half a line", 4);
        rig.waits(status.into());
        assert_eq!(rows(&rig), ["bob, 日本語: 2 messages not acknowledg…"]);
        let lines = rig.terminal.lines();
        let at = lines.iter().position(|line| line.starts_with("bob, "));
        assert_eq!(lines[at.unwrap() + 1], "> half a line");
        for number in 0..30 {
            rig.hears(format!("12:04 alice: message {number}"));
            rig.types(&"x".repeat(3 * number), number);
            rig.paint(Some(Job::Commit("> committed".into())));
            assert_eq!(rows(&rig).len(), 1);
        }
        // The painter learns of the new size after more has come.
        rig.terminal.resize(90, 12);
        rig.hears("12:05 alice: wider".into());
        (rig.known.columns, rig.known.rows) = rig.terminal.size();
        rig.paint(None);
        assert_eq!(rows(&rig), [status]);
        rig.waits(String::new());
        assert!(rows(&rig).is_empty());
        rig.assert_nothing_is_lost();
    }
}

#[test]
fn low_terminal_has_no_room_for_a_status() {
    let mut rig = Rig::new(40, 3, true);
    rig.waits("dialing 192.0.2.1:7777, attempt 3".into());
    rig.types("text", 4);
    assert_eq!(rig.terminal.lines().concat(), "> text");
}

#[test]
fn the_cursor_stands_where_the_next_character_goes() {
    for text in ["", "abc", "日本語", "a\nb", &"y".repeat(300)] {
        let mut rig = Rig::new(40, 10, true);
        for (cursor, _) in text.char_indices().chain([(text.len(), ' ')]) {
            rig.types(text, cursor);
            let row: String = format!("> {}", &text[..cursor])
                .chars()
                .rev()
                .take_while(|c| *c != '\n')
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .collect();
            let shown = rig.terminal.before_cursor();
            assert!(row.ends_with(&shown), "{shown:?} in {row:?}");
            assert!(!shown.is_empty() || row.is_empty() || cursor % 39 == 37);
        }
    }
}

/// The rows in which a terminal of 40 columns shows this, and the line that it joins from them.
fn shown_in_rows(text: &str) -> (Vec<String>, String) {
    let mut rig = Rig::new(40, 30, true);
    rig.hears(text.into());
    let mut rows = rig.terminal.rows();
    rows.pop();
    rig.terminal.resize(120, 30);
    rig.terminal.resize(400, 30);
    (rows, rig.terminal.lines().remove(0))
}

#[test]
fn words_are_broken_only_where_no_space_is_near() {
    let text = "12:04 alice: a message whose words stay whole, and 日本語 too, at a terminal of 40 columns";
    let (rows, line) = shown_in_rows(text);
    assert_eq!(
        rows,
        [
            "12:04 alice: a message whose words stay",
            "  whole, and 日本語 too, at a terminal",
            "  of 40 columns"
        ]
    );
    assert_eq!(one_blank(&line), text);
    // A word that is longer than a row begins where it would begin anyway, and can be copied.
    let url = format!("https://example.org/{}", "long/".repeat(10));
    let (rows, line) = shown_in_rows(&format!("12:04 alice: see {url} now"));
    assert_eq!(rows[0], format!("12:04 alice: see {}", &url[..23]));
    assert_eq!(rows[1..], [&url[23..63], &url[63..], "  now"]);
    assert!(line.starts_with(&format!("12:04 alice: see {url} ")));
    // So does a word whose beginning is far from the end of the row.
    let (rows, _) = shown_in_rows(&format!("12:04 al: {}", "x".repeat(35)));
    assert_eq!(rows[0], format!("12:04 al: {}", "x".repeat(30)));
    // A row that is exactly full needs no more spaces.
    let (rows, line) = shown_in_rows(&format!("{} {} b", "x".repeat(20), "y".repeat(19)));
    assert_eq!(
        rows,
        [
            format!("{} {}", "x".repeat(20), "y".repeat(19)),
            "  b".into()
        ]
    );
    assert_eq!(line, format!("{} {}  b", "x".repeat(20), "y".repeat(19)));
}

/// A sender who knows the width of the terminal, and where it breaks a line.
#[test]
fn no_row_of_a_text_begins_like_another_line() {
    let fake = "12:05 bob: I agree";
    let fillers: [(&str, usize); 8] = [
        ("x", 1),
        (" ", 1),
        ("\u{a0}", 1),
        ("日", 2),
        ("👩\u{200d}🚀", 1),
        ("❤\u{fe0f}", 1),
        ("\u{b95}\u{bcd}\u{bb7}", 1),
        ("https://example.org/", 20),
    ];
    for (filler, width) in fillers {
        for before in 0..=90 / width {
            for between in ["", " ", "\t"] {
                for fake in [fake, &fake.replace(' ', "\u{a0}")] {
                    let text = format!("{}{between}{fake}", filler.repeat(before));
                    let (rows, _) = shown_in_rows(&format!("12:04 mallory: {text}"));
                    for row in &rows[1..] {
                        let is_rest = !row.contains([' ', '\u{a0}']);
                        assert!(row.starts_with("  ") || is_rest, "{text:?}: {rows:#?}");
                    }
                }
            }
        }
    }
}

#[test]
fn row_of_pictures_has_a_line_end() {
    let text = format!("12:04 bob: {}", "👩\u{200d}🚀 ".repeat(12));
    let (rows, line) = shown_in_rows(&text);
    assert!(rows.len() > 1 && !line.ends_with(&rows[1]), "{rows:#?}");
}

#[test]
fn alerts_take_no_columns() {
    let mut out = Vec::new();
    let alerts = "\x07\x1b]9;a very long notification\x07";
    push_wrapped(&mut out, &format!("{alerts}12:04 alice: two rows"), 20);
    let shown = String::from_utf8(out).unwrap();
    assert_eq!(shown, format!("{alerts}12:04 alice: two      rows"));
}

#[test]
fn colours_take_no_columns() {
    let (rows, _) = shown_in_rows(
        "\x1b[2m12:04\x1b[0m \x1b[1;36malice\x1b[0m: a message of two rows, in colour",
    );
    assert_eq!(rows, ["12:04 alice: a message of two rows, in", "  colour"]);
}

#[test]
fn typed_line_stays_on_the_terminal_when_sent() {
    let mut rig = Rig::new(20, 10, true);
    let typed = "a text of more than one row, two in fact";
    rig.types(typed, 0);
    rig.block = Block {
        prompt: "> ".into(),
        ..Block::default()
    };
    rig.paint(Some(Job::Commit(format!("> {typed}"))));
    rig.terminal.resize(80, 10);
    assert_eq!(
        [0, 1].map(|at: usize| one_blank(&rig.terminal.lines()[at])),
        [format!("> {typed}"), ">".into()]
    );
}

fn screen() -> (Screen, Arc<SharedScreen>, io::PipeReader) {
    let (reader, writer) = io::pipe().unwrap();
    let gate = Arc::new(Gate::new(false));
    let writer = Writer::new(writer.into(), Arc::clone(&gate));
    let shared = Arc::new(SharedScreen::new());
    let screen = Screen::start(writer, Arc::clone(&shared), gate, false).unwrap();
    (screen, shared, reader)
}

fn reads(reader: &mut io::PipeReader, text: &str) {
    let mut read = String::new();
    let mut byte = [0];
    while !read.ends_with(text) {
        assert_eq!(reader.read(&mut byte).unwrap(), 1, "{read:?}");
        read.push(char::from(byte[0]));
    }
}

#[test]
fn a_text_is_handed_over_when_it_has_been_written() {
    let (mut screen, shared, mut reader) = screen();
    shared.show(Block {
        prompt: "> ".into(),
        ..Block::default()
    });
    screen.write(b"hello\n", &mut || false).unwrap();
    reads(&mut reader, "hello\r\n");
    reads(&mut reader, "> ");
    shared.leave();
    screen.write(b"2\n", &mut || false).unwrap();
    reads(&mut reader, "2\r\n");
}

#[test]
fn status_that_stays_the_same_is_not_painted_again() {
    let (mut screen, shared, mut reader) = screen();
    shared.show(Block {
        prompt: "> ".into(),
        ..Block::default()
    });
    reads(&mut reader, "> \x1b[K\x1b[J\x1b[?7h");
    shared.show_status("waits".into());
    reads(&mut reader, "waits\x1b[K\r\n> \x1b[K\x1b[J\x1b[?7h");
    shared.show_status("waits".into());
    // The next bytes are those of the text.
    screen.write(b"x\n", &mut || false).unwrap();
    let mut next = [0; 15];
    reader.read_exact(&mut next).unwrap();
    assert_eq!(&next, b"\r\x1b[1A\x1b[Jx\r\n\r\x1b[?");
    drop(screen);
}

#[test]
fn nothing_is_written_while_the_terminal_is_lent() {
    let (mut screen, shared, mut reader) = screen();
    shared.hide();
    assert!(matches!(
        screen.write(b"x\n", &mut || true),
        Err(WriteError::GivenUp)
    ));
    shared.appear();
    reads(&mut reader, "x\r\n");
}

#[test]
fn the_end_of_a_run_does_not_wait_for_a_busy_terminal() {
    let (mut screen, shared, _reader) = screen();
    // More than a pipe holds.
    let text = "x".repeat(1 << 20);
    shared.commit(text, Block::default());
    assert!(matches!(
        screen.write(b"x\n", &mut || true),
        Err(WriteError::GivenUp)
    ));
}
