//! Which file of `src` needs which: read from `use` lines and paths, as far as Rust's own rules for
//! names go. Tests, comments and strings do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::pieces::{Kind, pieces};

/// The path of a module from the root of the crate.
type Module = Vec<String>;

/// What was read of one module, which is a file or a part of one.
#[derive(Default)]
struct Content {
    file: PathBuf,
    /// Paths as they are written: `crate::…`, `self::…`, `super::…` or from a module inside.
    used: Vec<Module>,
    /// Which of them others see under a name of this module; `*` for all names.
    exported: Vec<(String, Module)>,
}

/// All modules of the crate.
pub struct Sources(BTreeMap<Module, Content>);

impl Sources {
    /// Reads all files of this folder but the binary's.
    pub fn read(src: &Path) -> Self {
        let mut sources = Self(BTreeMap::new());
        sources.read_file(src, &src.join("lib.rs"), Module::new());
        sources
    }

    fn read_file(&mut self, src: &Path, path: &Path, module: Module) {
        let text = fs::read_to_string(path).unwrap();
        let tokens = tokens(&text);
        let file = path.strip_prefix(src).unwrap().to_owned();
        let mut reader = Reader {
            tokens: &tokens,
            at: 0,
            file,
            outside: Vec::new(),
        };
        reader.module(&module, &mut self.0);
        for name in reader.outside {
            let inside = [module.clone(), name].concat();
            let path = src.join(inside.iter().collect::<PathBuf>());
            let file = path.with_extension("rs");
            let folder = path.join("mod.rs");
            let path = if file.exists() { file } else { folder };
            self.read_file(src, &path, inside);
        }
    }

    /// Each file with those that it needs.
    pub fn needs(&self) -> BTreeMap<&Path, BTreeSet<&Path>> {
        let mut needs: BTreeMap<&Path, BTreeSet<&Path>> = BTreeMap::new();
        for (module, content) in &self.0 {
            let needed = needs.entry(&content.file).or_default();
            for path in &content.used {
                let found = self.file_of(module, path, 0);
                needed.extend(found.filter(|file| *file != content.file));
            }
        }
        needs
    }

    /// The file in which what a path names is defined; `None` if it is of another crate.
    fn file_of(&self, module: &Module, path: &[String], depth: usize) -> Option<&Path> {
        assert!(depth < 20, "{path:?} leads to itself");
        let (first, rest) = path.split_first()?;
        let (mut at, mut rest) = match first.as_str() {
            "crate" => (Module::new(), rest),
            "self" => (module.clone(), rest),
            "super" => (module[..module.len().checked_sub(1)?].to_vec(), rest),
            _ => (module.clone(), path),
        };
        while let Some((name, after)) = rest.split_first() {
            let inside = [at.clone(), vec![name.clone()]].concat();
            if name == "super" {
                at.pop();
            } else if self.0.contains_key(&inside) {
                at = inside;
            } else if at == *module && rest.len() == path.len() {
                // Neither a module here nor one from above: another crate.
                return None;
            } else {
                let exported = &self.0[&at].exported;
                let by_name = exported.iter().find(|(as_name, _)| as_name == name);
                return match by_name {
                    Some((_, path)) => {
                        let path = [path.as_slice(), after].concat();
                        self.file_of(&at, &path, depth + 1)
                    }
                    None => Some(&self.0[&at].file),
                };
            }
            rest = after;
        }
        Some(&self.0[&at].file)
    }

    /// Groups of files each of which needs all others of its group, if only through others.
    pub fn cycles(&self) -> Vec<BTreeSet<&Path>> {
        let needs = self.needs();
        let reached: BTreeMap<&Path, BTreeSet<&Path>> = needs
            .keys()
            .map(|start| {
                let mut reached = BTreeSet::new();
                let mut next: Vec<&Path> = needs[start].iter().copied().collect();
                while let Some(file) = next.pop() {
                    if reached.insert(file) {
                        next.extend(&needs[file]);
                    }
                }
                (*start, reached)
            })
            .collect();
        let groups = reached.keys().filter_map(|start| {
            let group: BTreeSet<&Path> = reached[start]
                .iter()
                .copied()
                .filter(|other| reached[other].contains(start))
                .collect();
            (!group.is_empty()).then_some(group)
        });
        groups.collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// Reads the tokens of one file.
struct Reader<'a> {
    tokens: &'a [String],
    at: usize,
    file: PathBuf,
    /// Modules in files of their own, as paths from this file's module.
    outside: Vec<Module>,
}

impl Reader<'_> {
    fn peek(&self, ahead: usize) -> &str {
        self.tokens.get(self.at + ahead).map_or("", String::as_str)
    }

    fn is(&self, expected: &[&str]) -> bool {
        let mut numbered = expected.iter().enumerate();
        numbered.all(|(ahead, token)| self.peek(ahead) == *token)
    }

    /// Reads up to the brace that closes this module, or to the end of the file.
    fn module(&mut self, module: &Module, found: &mut BTreeMap<Module, Content>) {
        let mut content = Content {
            file: self.file.clone(),
            ..Content::default()
        };
        let (mut depth, mut public) = (0_usize, false);
        while self.at < self.tokens.len() {
            if self.is(&["#", "[", "cfg", "(", "test", ")", "]"]) {
                self.skip_item();
                continue;
            }
            let after_path = self.at > 0 && self.tokens[self.at - 1] == "::";
            match self.peek(0) {
                "mod" if self.peek(2) == "{" => {
                    let name = self.peek(1).to_owned();
                    self.at += 3;
                    let inside = [module.clone(), vec![name]].concat();
                    self.module(&inside, found);
                }
                "mod" if self.peek(2) == ";" => {
                    self.outside.push(vec![self.peek(1).to_owned()]);
                    self.at += 3;
                }
                "use" => {
                    self.at += 1;
                    let mut trees = Vec::new();
                    self.use_tree(&Module::new(), &mut trees);
                    for (name, path) in trees {
                        if public {
                            content.exported.push((name, path.clone()));
                        }
                        content.used.push(path);
                    }
                }
                "{" => (depth, self.at) = (depth + 1, self.at + 1),
                "}" if depth == 0 => {
                    self.at += 1;
                    break;
                }
                "}" => (depth, self.at) = (depth - 1, self.at + 1),
                "pub" => {
                    public = true;
                    self.at += 1;
                    if self.peek(0) == "(" {
                        while self.peek(0) != ")" {
                            self.at += 1;
                        }
                        self.at += 1;
                    }
                    continue;
                }
                name if is_name(name) && self.peek(1) == "::" && !after_path => {
                    let mut path = vec![name.to_owned()];
                    self.at += 1;
                    while self.peek(0) == "::" && is_name(self.peek(1)) {
                        path.push(self.peek(1).to_owned());
                        self.at += 2;
                    }
                    content.used.push(path);
                }
                _ => self.at += 1,
            }
            public = false;
        }
        found.insert(module.clone(), content);
    }

    /// One tree of a `use` line: what is called how.
    fn use_tree(&mut self, before: &Module, trees: &mut Vec<(String, Module)>) {
        let mut path = before.clone();
        loop {
            match self.peek(0) {
                "{" => {
                    self.at += 1;
                    while self.peek(0) != "}" {
                        self.use_tree(&path, trees);
                        if self.peek(0) == "," {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    return;
                }
                "*" => {
                    self.at += 1;
                    trees.push(("*".to_owned(), path));
                    return;
                }
                "::" => self.at += 1,
                "as" => {
                    let name = self.peek(1).to_owned();
                    self.at += 2;
                    trees.push((name, path));
                    return;
                }
                "self" if path != *before || !before.is_empty() => self.at += 1,
                name if is_name(name) => {
                    path.push(name.to_owned());
                    self.at += 1;
                }
                _ => {
                    let name = path.last().cloned().unwrap_or_default();
                    trees.push((name, path));
                    return;
                }
            }
        }
    }

    /// Skips an item that stands behind `#[cfg(test)]`.
    fn skip_item(&mut self) {
        self.at += 7;
        let (mut depth, mut is_use) = (0_usize, false);
        while self.at < self.tokens.len() {
            let token = self.peek(0).to_owned();
            self.at += 1;
            match token.as_str() {
                "use" if depth == 0 => is_use = true,
                "{" | "(" | "[" => depth += 1,
                // A field, or an arm, that ends with what it stands in.
                "}" | ")" | "]" if depth == 0 => {
                    self.at -= 1;
                    return;
                }
                "}" | ")" | "]" => {
                    depth -= 1;
                    if depth == 0 && token == "}" && !is_use {
                        return;
                    }
                }
                ";" | "," if depth == 0 => return,
                _ => {}
            }
        }
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Names, `::` and single characters; no comments, strings and characters.
pub fn tokens(text: &str) -> Vec<String> {
    let code = pieces(text).into_iter().filter(|it| it.kind == Kind::Code);
    code.map(|it| it.text.to_owned()).collect()
}
