//! The line editor: keys change the text being typed, and some ask for an action. Pure: it uses no
//! terminal and no clock.

use std::collections::VecDeque;
use std::mem;
use std::ops::Range;

use super::command::COMMANDS;
use super::completion_names::CompletionNames;
use super::edit::EditLine;
use super::keys::Key;
use super::screen::Block;

/// How many typed lines are kept.
const HISTORY: usize = 1000;
/// How many cut texts are kept.
const CUTS: usize = 16;
/// How many steps can be undone, and how many bytes they hold at most.
const STEPS: usize = 100;
const STEP_BYTES: usize = 1 << 20;

/// What a key asks for, besides changing the text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// No action.
    Nothing,
    /// Enter: take the text, if that is possible ([`Editor::take`]).
    Accept,
    /// Ctrl-C or Ctrl-D on an empty line.
    Quit,
    /// F12, or Ctrl-X Ctrl-P.
    Panic,
    /// Ctrl-Z.
    Suspend,
    /// Ctrl-L: paint the screen again.
    ClearScreen,
    /// List the possible completions.
    List(Vec<String>),
    /// Tell the user what went wrong.
    Tell(&'static str),
}

/// The previous key, if it matters for the next one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Other,
    /// A character was typed: the next one belongs to the same undo step.
    Typed,
    /// Text was cut: text that is cut next is joined to it.
    Cut,
    /// A cut text was inserted: Alt-Y replaces it by an earlier one.
    Yank(usize),
    /// Ctrl-X.
    Chord,
    /// Ctrl-V: the next key is text.
    Quote,
}

/// A search through the typed lines.
struct Search {
    query: String,
    /// The line that was found.
    at: Option<usize>,
    /// The text that was being typed before.
    before: EditLine,
}

/// The text being typed, with its history and state.
pub(super) struct Editor {
    prompt: &'static str,
    line: EditLine,
    history: VecDeque<String>,
    /// Which of the typed lines is recalled, and the text that was typed before.
    recalled: Option<(usize, EditLine)>,
    cuts: VecDeque<EditLine>,
    steps: VecDeque<EditLine>,
    last: Last,
    search: Option<Search>,
}

impl Editor {
    /// An empty line after this prompt.
    pub(super) fn new(prompt: &'static str) -> Self {
        Self {
            prompt,
            line: EditLine::default(),
            history: VecDeque::new(),
            recalled: None,
            cuts: VecDeque::new(),
            steps: VecDeque::new(),
            last: Last::Other,
            search: None,
        }
    }

    /// The text being typed.
    pub(super) fn line(&self) -> &EditLine {
        &self.line
    }

    /// What the terminal has to show.
    pub(super) fn block(&self) -> Block {
        let prompt = match &self.search {
            Some(search) => format!("(search: {}) ", search.query),
            None => self.prompt.into(),
        };
        Block {
            prompt,
            text: self.line.text().into(),
            cursor: self.line.cursor(),
        }
    }

    /// Takes the text and begins the next line. Only the history leads back to it.
    pub(super) fn take(&mut self) -> EditLine {
        self.steps.clear();
        self.recalled = None;
        self.search = None;
        self.last = Last::Other;
        self.line.take()
    }

    /// Forgets everything that was typed.
    pub(super) fn forget(&mut self) {
        *self = Self::new(self.prompt);
    }

    /// Adds a typed line to the history, in a form in which it can be typed again.
    pub(super) fn remember(&mut self, line: &str) {
        if line.is_empty() || self.history.back().is_some_and(|last| last == line) {
            return;
        }
        if self.history.len() == HISTORY {
            self.history.pop_front();
            self.recalled = None;
        }
        self.history.push_back(line.into());
    }

    /// Puts back a text that could not be sent. Returns false if another one is being typed.
    pub(super) fn put_back(&mut self, line: &str) -> bool {
        let free = self.line.text().is_empty() && self.search.is_none();
        if free {
            self.line = EditLine::typed(line);
        }
        free
    }

    /// Handles one key.
    pub(super) fn press(&mut self, key: Key, names: &CompletionNames) -> Wish {
        let last = mem::replace(&mut self.last, Last::Other);
        match (&key, last) {
            (Key::F12, _) | (Key::Ctrl('P'), Last::Chord) => return Wish::Panic,
            (Key::Ctrl('U'), Last::Chord) => {
                self.step_back();
                return Wish::Nothing;
            }
            _ => {}
        }
        if last == Last::Quote
            && let Some(c) = quoted(&key)
        {
            self.keep_step();
            self.line.insert(c.encode_utf8(&mut [0; 4]), false);
            return Wish::Nothing;
        }
        if self.search.is_some() {
            match self.search_key(key) {
                Some(key) => return self.edit(key, last, names),
                None => return Wish::Nothing,
            }
        }
        self.edit(key, last, names)
    }

    fn edit(&mut self, key: Key, last: Last, names: &CompletionNames) -> Wish {
        match key {
            Key::Char(c) => self.type_in(c, last),
            Key::Paste(text) => {
                self.keep_step();
                self.line.insert(&text, true);
            }
            Key::PasteTooLong => {
                return Wish::Tell("not pasted: longer than 65,536 bytes");
            }
            Key::NotUtf8 => return Wish::Tell("sesame dropped bytes that are not UTF-8"),
            Key::Enter => return Wish::Accept,
            Key::AltEnter => {
                self.keep_step();
                self.line.insert("\n", false);
            }
            Key::Tab => return self.complete(names),
            Key::Ctrl('C' | '\\') => return self.give_up(),
            Key::Ctrl('D') if self.line.text().is_empty() => return Wish::Quit,
            Key::Ctrl('Z') => return Wish::Suspend,
            Key::Ctrl('L') => return Wish::ClearScreen,
            Key::Ctrl('X') => self.last = Last::Chord,
            Key::Ctrl('V' | 'Q') => self.last = Last::Quote,
            Key::Ctrl('R' | 'S') => {
                self.search = Some(Search {
                    query: String::new(),
                    at: None,
                    before: self.line.clone(),
                });
            }
            Key::Ctrl('_') => self.step_back(),
            Key::Up => match self.line.row_above() {
                Some(at) => self.line.move_to(at),
                None => self.recall_before(),
            },
            Key::Down => match self.line.row_below() {
                Some(at) => self.line.move_to(at),
                None => self.recall_after(),
            },
            Key::Ctrl('P') => self.recall_before(),
            Key::Ctrl('N') => self.recall_after(),
            key => {
                self.move_key(&key);
                self.cut_key(&key, last);
            }
        }
        Wish::Nothing
    }

    fn type_in(&mut self, c: char, last: Last) {
        if last != Last::Typed {
            self.keep_step();
        }
        self.line.insert(c.encode_utf8(&mut [0; 4]), false);
        self.last = Last::Typed;
    }

    /// Ctrl-C.
    fn give_up(&mut self) -> Wish {
        if self.line.text().is_empty() && self.search.is_none() {
            return Wish::Quit;
        }
        drop(self.take());
        Wish::Nothing
    }

    fn move_key(&mut self, key: &Key) {
        let line = &self.line;
        let to = match key {
            Key::Left | Key::Ctrl('B') => line.before(),
            Key::Right | Key::Ctrl('F') => line.after(),
            Key::Home | Key::Ctrl('A') => line.row_start(),
            Key::End | Key::Ctrl('E') => line.row_end(),
            Key::WordLeft | Key::Alt('b') => line.word_before(),
            Key::WordRight | Key::Alt('f') => line.word_after(),
            Key::Alt('<') => 0,
            Key::Alt('>') => line.text().len(),
            _ => return,
        };
        self.line.move_to(to);
    }

    fn cut_key(&mut self, key: &Key, last: Last) {
        let line = &self.line;
        let at = line.cursor();
        match key {
            Key::Backspace => self.remove(line.before()..at),
            Key::Delete | Key::Ctrl('D') => self.remove(at..line.after()),
            Key::Ctrl('K') => {
                let end = line.row_end();
                // At the end of a row, the line feed.
                let end = if end == at { line.after() } else { end };
                self.cut(at..end, last);
            }
            Key::Ctrl('U') => self.cut(0..at, last),
            Key::Ctrl('W') => self.cut(line.stretch_before()..at, last),
            Key::AltBackspace => self.cut(line.word_before()..at, last),
            Key::Alt('d') => self.cut(at..line.word_after(), last),
            Key::Ctrl('Y') => self.yank(),
            Key::Alt('y') => self.yank_earlier(last),
            Key::Ctrl('T') => self.transpose(),
            Key::Alt('u') => self.recase(str::to_uppercase),
            Key::Alt('l') => self.recase(str::to_lowercase),
            _ => {}
        }
    }

    fn remove(&mut self, range: Range<usize>) {
        if !range.is_empty() {
            self.keep_step();
            drop(self.line.cut(range));
        }
    }

    fn cut(&mut self, range: Range<usize>, last: Last) {
        self.last = Last::Cut;
        if range.is_empty() {
            return;
        }
        self.keep_step();
        let before = range.start < self.line.cursor();
        let cut = self.line.cut(range);
        match self.cuts.front_mut() {
            Some(front) if last == Last::Cut => front.join(&cut, before),
            _ => {
                self.cuts.push_front(cut);
                self.cuts.truncate(CUTS);
            }
        }
    }

    fn yank(&mut self) {
        if self.cuts.is_empty() {
            return;
        }
        self.keep_step();
        let start = self.line.cursor();
        self.line.insert_cut(&self.cuts[0]);
        self.last = Last::Yank(start);
    }

    fn yank_earlier(&mut self, last: Last) {
        let Last::Yank(start) = last else {
            return;
        };
        self.keep_step();
        drop(self.line.cut(start..self.line.cursor()));
        self.cuts.rotate_left(1);
        self.line.insert_cut(&self.cuts[0]);
        self.last = Last::Yank(start);
    }

    /// Swaps the two characters around the cursor.
    fn transpose(&mut self) {
        self.keep_step();
        if self.line.cursor() == self.line.text().len() {
            self.line.move_to(self.line.before());
        }
        let (before, at) = (self.line.before(), self.line.cursor());
        if before == at {
            return;
        }
        let after = self.line.after();
        let first = self.line.cut(before..at);
        self.line.move_to(after - (at - before));
        self.line.insert_cut(&first);
    }

    fn recase(&mut self, change: fn(&str) -> String) {
        let range = self.line.cursor()..self.line.word_after();
        if !range.is_empty() {
            self.keep_step();
            let changed = change(&self.line.text()[range.clone()]);
            self.line.replace(range, &changed);
        }
    }

    /// Keeps the present text, so that Ctrl-_ can restore it.
    fn keep_step(&mut self) {
        self.steps.push_back(self.line.clone());
        let mut bytes: usize = self.steps.iter().map(|step| step.text().len()).sum();
        while self.steps.len() > STEPS || bytes > STEP_BYTES {
            bytes -= self
                .steps
                .pop_front()
                .map_or(bytes, |step| step.text().len());
        }
    }

    fn step_back(&mut self) {
        if let Some(step) = self.steps.pop_back() {
            self.line = step;
        }
    }

    fn recall_before(&mut self) {
        let at = self
            .recalled
            .as_ref()
            .map_or(self.history.len(), |(at, _)| *at);
        if let Some(at) = at.checked_sub(1) {
            let typed = match self.recalled.take() {
                Some((_, typed)) => typed,
                None => self.line.clone(),
            };
            self.show_recalled(at, typed);
        }
    }

    fn recall_after(&mut self) {
        let Some((at, typed)) = self.recalled.take() else {
            return;
        };
        if at + 1 < self.history.len() {
            self.show_recalled(at + 1, typed);
        } else {
            self.steps.clear();
            self.line = typed;
        }
    }

    fn show_recalled(&mut self, at: usize, typed: EditLine) {
        self.steps.clear();
        // Lines in the history have a form in which they may count as typed.
        self.line = EditLine::typed(&self.history[at]);
        self.recalled = Some((at, typed));
    }

    /// Handles a key during a search. Returns it if it ends the search.
    fn search_key(&mut self, key: Key) -> Option<Key> {
        let mut search = self.search.take()?;
        let from = search.at.unwrap_or(self.history.len());
        let found = match &key {
            Key::Char(c) => {
                search.query.push(*c);
                // The line that was found may still match.
                self.find_back(&search.query, (from + 1).min(self.history.len()))
            }
            Key::Backspace => {
                search.query.pop();
                self.find_back(&search.query, self.history.len())
            }
            Key::Ctrl('R') => self.find_back(&search.query, from),
            Key::Ctrl('S') => self.find_on(&search.query, from),
            Key::Ctrl('G' | 'C') => {
                self.line = search.before;
                return None;
            }
            _ => {
                if let Some(at) = search.at {
                    self.recalled = Some((at, search.before));
                }
                return Some(key);
            }
        };
        if let Some(at) = found {
            search.at = Some(at);
            self.steps.clear();
            self.line = EditLine::typed(&self.history[at]);
        } else if search.query.is_empty() {
            search.at = None;
            self.line = search.before.clone();
        }
        self.search = Some(search);
        None
    }

    fn find_back(&self, query: &str, before: usize) -> Option<usize> {
        let fits = |at: &usize| !query.is_empty() && self.history[*at].contains(query);
        (0..before).rev().find(fits)
    }

    fn find_on(&self, query: &str, after: usize) -> Option<usize> {
        let fits = |at: &usize| !query.is_empty() && self.history[*at].contains(query);
        (after + 1..self.history.len()).find(fits)
    }

    fn complete(&mut self, names: &CompletionNames) -> Wish {
        let at = self.line.cursor();
        let (typed, rest) = self.line.text().split_at(at);
        if rest.starts_with(|c: char| !c.is_whitespace()) {
            // In the middle of a word.
            return Wish::Nothing;
        }
        let (start, found) = match self.line.begins_pasted() {
            true => complete_message(typed, names),
            false => complete(typed, names),
        };
        let Some((_, first)) = found.first() else {
            return Wish::Nothing;
        };
        // As far as all candidates agree; never across a character.
        let agreed = found.iter().fold(first.as_str(), |agreed, (_, text)| {
            let same = agreed.char_indices().zip(text.chars());
            let end = same.take_while(|((_, a), b)| a == b).last();
            &agreed[..end.map_or(0, |((at, c), _)| at + c.len_utf8())]
        });
        let typed = &self.line.text()[start..at];
        if found.len() > 1 && agreed.len() <= typed.len() {
            return Wish::List(found.into_iter().map(|(shown, _)| shown).collect());
        }
        if agreed != typed {
            let agreed = agreed.to_owned();
            self.keep_step();
            let pasted = start == 0 && self.line.begins_pasted();
            drop(self.line.cut(start..at));
            self.line.insert(&agreed, pasted);
        }
        Wish::Nothing
    }
}

/// The text of a key after Ctrl-V.
fn quoted(key: &Key) -> Option<char> {
    match key {
        Key::Char(c) => Some(*c),
        Key::Tab => Some('\t'),
        Key::Enter => Some('\n'),
        Key::Ctrl(c) => u8::try_from(*c).ok()?.checked_sub(b'@').map(char::from),
        _ => None,
    }
}

/// Where the word begins that is the one argument of a command with a fixed choice, and the choice.
fn choices(typed: &str) -> Option<(usize, Vec<&'static str>)> {
    let (word, argument) = typed.split_once(' ')?;
    let argument = argument.trim_start();
    let (_, usage, _) = COMMANDS.iter().find(|(it, ..)| *it == word)?;
    let choices = match *usage {
        "[COMMAND]" if argument.starts_with('/') => {
            COMMANDS.iter().map(|(word, ..)| *word).collect()
        }
        "[COMMAND]" => COMMANDS.iter().map(|(word, ..)| &word[1..]).collect(),
        "[quit]" => vec!["quit"],
        usage if usage.contains('|') => usage.split('|').collect(),
        _ => return None,
    };
    Some((typed.len() - argument.len(), choices))
}

/// Where the word to complete begins, and its completions: as shown, and as typed.
fn complete(typed: &str, names: &CompletionNames) -> (usize, Vec<(String, String)>) {
    if !typed.starts_with('/') || typed.starts_with("//") {
        return complete_message(typed, names);
    }
    if !typed.contains(char::is_whitespace) {
        let fit = COMMANDS.iter().filter(|(word, ..)| word.starts_with(typed));
        let fit = fit.map(|(word, usage, _)| {
            let needs_more = !usage.is_empty() && !usage.starts_with('[');
            let space = if needs_more { " " } else { "" };
            ((*word).to_owned(), format!("{word}{space}"))
        });
        return (0, fit.collect());
    }
    if let Some((start, choices)) = choices(typed) {
        let fit = choices
            .into_iter()
            .filter(|it| it.starts_with(&typed[start..]));
        return (
            start,
            fit.map(|it| (it.to_owned(), it.to_owned())).collect(),
        );
    }
    let takes_peer = COMMANDS
        .iter()
        .filter(|(_, usage, _)| usage.starts_with("PEER"))
        .find_map(|(word, ..)| Some((*word, typed.strip_prefix(word)?.strip_prefix(' ')?)));
    if let Some((word, peer)) = takes_peer {
        let peer = peer.trim_start();
        let start = typed.len() - peer.len();
        let quoted = peer.strip_prefix('"');
        if quoted.is_none() && peer.contains(' ') || quoted.is_some_and(|p| p.contains('"')) {
            return (typed.len(), Vec::new());
        }
        let fit = names
            // Only a peer with a link has words to verify.
            .beginning(quoted.unwrap_or(peer), word == "/verify")
            .into_iter()
            .map(|name| {
                let quote = if quoted.is_some() || name.contains(' ') {
                    "\""
                } else {
                    ""
                };
                let typed = format!("{quote}{name}{quote} ");
                (name, typed)
            });
        return (start, fit.collect());
    }
    (typed.len(), Vec::new())
}

/// The same in a message, for the word before the cursor. Without a word, all peers would be
/// offered.
fn complete_message(typed: &str, names: &CompletionNames) -> (usize, Vec<(String, String)>) {
    let word = typed.rsplit(char::is_whitespace).next().unwrap_or_default();
    let start = typed.len() - word.len();
    if word.is_empty() {
        return (start, Vec::new());
    }
    let colon = if start == 0 { ": " } else { "" };
    let fit = names.beginning(&typed[start..], false).into_iter();
    (
        start,
        fit.map(|name| (name.clone(), format!("{name}{colon}")))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::keys::KeyReader;
    use crate::mesh::Addressee;

    fn names() -> CompletionNames {
        let names = CompletionNames::default();
        let all = [("alice", true), ("bob smith", true), ("bobby", false)];
        let all = all.into_iter().map(|(shown, up)| Addressee {
            shown: shown.into(),
            up,
        });
        names.learn(all.collect());
        names
    }

    fn completed(typed: &str) -> Vec<String> {
        let (start, found) = complete(typed, &names());
        found
            .into_iter()
            .map(|(_, text)| format!("{}{text}", &typed[..start]))
            .collect()
    }

    #[test]
    fn commands_and_peers_are_completed() {
        assert_eq!(completed("/qu"), ["/quit"]);
        assert_eq!(completed("/p"), ["/peers", "/pending", "/panic"]);
        assert_eq!(completed("/m"), ["/msg ", "/more"]);
        assert_eq!(completed("/bell d"), ["/bell direct"]);
        assert_eq!(
            completed("/bell "),
            ["/bell off", "/bell direct", "/bell all"]
        );
        assert_eq!(completed("/help ver"), ["/help verify"]);
        assert_eq!(completed("/panic "), ["/panic quit"]);
        assert_eq!(completed("/help /ver"), ["/help /verify"]);
        assert_eq!(completed("/bell  d"), ["/bell  direct"]);
        assert!(completed("/bell off d").is_empty());
        assert_eq!(completed("/verify  al"), ["/verify  alice "]);
        assert_eq!(completed("//x al"), ["//x alice"]);
        assert_eq!(completed("one\nal"), ["one\nalice"]);
        assert!(completed("/x\nal").is_empty());
        assert_eq!(completed("/msg bo"), ["/msg \"bob smith\" ", "/msg bobby "]);
        assert_eq!(completed("/msg \"bob "), ["/msg \"bob smith\" "]);
        assert_eq!(completed("/verify al"), ["/verify alice "]);
        assert_eq!(completed("/verify bob"), ["/verify \"bob smith\" "]);
        assert!(completed("/msg alice bo").is_empty());
        assert!(completed("/connect al").is_empty());
        assert_eq!(completed("al"), ["alice: "]);
        assert_eq!(completed("hello al"), ["hello alice"]);
        assert!(completed("hello ").is_empty());
        assert!(completed("").is_empty());
    }

    /// An editor after these bytes, and what the last key asked for.
    fn after(bytes: &str) -> (Editor, Wish) {
        let mut editor = Editor::new("> ");
        for line in ["first", "second one", "third"] {
            editor.remember(line);
        }
        let wish = type_in(&mut editor, bytes);
        (editor, wish)
    }

    fn type_in(editor: &mut Editor, bytes: &str) -> Wish {
        let (mut reader, mut keys) = (KeyReader::new(), Vec::new());
        for byte in bytes.bytes() {
            reader.push(byte, &mut keys);
        }
        let mut wish = Wish::Nothing;
        for key in keys {
            wish = editor.press(key, &names());
        }
        wish
    }

    fn text(bytes: &str) -> String {
        after(bytes).0.line().text().into()
    }

    #[test]
    fn keys_move_and_edit() {
        assert_eq!(text("helo\x02l\x05!"), "hello!");
        assert_eq!(text("one two\x1bb\x1b\x7f"), "two");
        assert_eq!(text("ab\x01\x04"), "b");
        assert_eq!(text("ab\x7f\x7f\x7fx"), "x");
        assert_eq!(text("ab\x14"), "ba");
        assert_eq!(text("a\x1b\rb\x1b[Ac"), "ac\nb");
        assert_eq!(text("ab\x01\x1bu"), "AB");
        assert_eq!(text("a\x16\tb"), "a\tb");
    }

    #[test]
    fn cut_text_is_inserted_again() {
        assert_eq!(text("one two\x17\x17x\x19"), "xone two");
        assert_eq!(text("one two\x01\x0b\x19\x19"), "one twoone two");
        assert_eq!(text("a\x15b\x15\x19"), "b");
        assert_eq!(text("a\x15x\x7fb\x15\x19\x1by"), "a");
        assert_eq!(text("one\x15x\x1f\x1f"), "one");
    }

    #[test]
    fn ctrl_c_clears_the_line_and_ctrl_d_needs_an_empty_one() {
        assert_eq!(after("half\x03"), (editor_with(""), Wish::Nothing));
        assert_eq!(after("half\x03\x03").1, Wish::Quit);
        assert_eq!(after("\x04").1, Wish::Quit);
        assert_eq!(after("half\x04"), (editor_with("half"), Wish::Nothing));
        assert_eq!(after("half\x03hello\r").0.line().text(), "hello");
        assert_eq!(after("\x12\x03").1, Wish::Nothing);
    }

    fn editor_with(line: &str) -> Editor {
        let mut editor = after("").0;
        editor.line = EditLine::typed(line);
        editor
    }

    impl PartialEq for Editor {
        fn eq(&self, other: &Self) -> bool {
            self.line.text() == other.line.text()
        }
    }

    impl std::fmt::Debug for Editor {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.line.text())
        }
    }

    #[test]
    fn typed_lines_are_recalled_and_left_again() {
        assert_eq!(text("x\x1b[A"), "third");
        assert_eq!(text("x\x1b[A\x1b[A\x1b[B"), "third");
        assert_eq!(text("x\x1b[A\x1b[B"), "x");
        assert_eq!(text("\x1b[A\x1b[A\x1b[A\x1b[A"), "first");
        // A pasted line is still a pasted line after going up in the history and back.
        let (editor, _) = after("\x1b[200~/x\x1b[201~\x1b[A\x1b[B");
        assert!(editor.line().begins_pasted());
        assert!(!after("\x1b[200~/x\x1b[201~\x1b[A").0.line().begins_pasted());
    }

    #[test]
    fn search_finds_a_line_and_ends() {
        assert_eq!(text("x\x12ir"), "third");
        assert_eq!(text("x\x12ir\x12"), "first");
        assert_eq!(text("x\x12ir\x07"), "x");
        assert_eq!(text("x\x12one\x01y"), "ysecond one");
        assert_eq!(after("x\x12ir\r").1, Wish::Accept);
        assert_eq!(after("x\x12ir").0.block().prompt, "(search: ir) ");
    }

    #[test]
    fn panic_keys_work_in_every_state() {
        for before in [
            "", "half", "\x12", "\x12ir", "bob\t\t", "\x16", "\x18", "\x1b[A",
        ] {
            assert_eq!(
                after(&format!("{before}\x1b[24~")).1,
                Wish::Panic,
                "{before:?}"
            );
            let chord = format!("{before}\x18\x18\x10");
            assert_eq!(after(&chord).1, Wish::Panic, "{before:?}");
        }
    }

    #[test]
    fn tab_completes_as_far_as_all_agree() {
        assert_eq!(text("/wh\t"), "/whoami");
        assert_eq!(text("bo\t"), "bob");
        assert_eq!(text("\x1b[200~/wh\x1b[201~\t"), "/wh");
        assert_eq!(text("\x1b[200~x al\x1b[201~\t"), "x alice");
        assert_eq!(text("/whoami\x1b[D\t"), "/whoami");
        let (editor, wish) = after("bo\t\t");
        assert_eq!(wish, Wish::List(vec!["bob smith".into(), "bobby".into()]));
        assert_eq!(editor.line().text(), "bob");
    }

    #[test]
    fn unsent_line_returns_only_to_an_empty_editor() {
        let mut editor = after("").0;
        assert!(editor.put_back("unsent"));
        assert!(!editor.put_back("another"));
        assert_eq!(editor.line().text(), "unsent");
    }
}
