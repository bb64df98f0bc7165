//! Reads the table of banned words and old names, `xtask/words.toml`, and scans scripts, man pages, documents,
//! settings and paths for the words.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::Deserialize;

use super::{TextKind, WordHit, for_each_word, lowercase_words};
use crate::repository::{ReportError, Repository};

pub const TABLE_FILE: &str = "xtask/words.toml";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BannedWord {
    /// In lower case.
    pub word: String,
    #[serde(default)]
    pub forms: Vec<String>,
    pub instead: String,
    /// Kinds of text in which it counts; all, if none is named.
    #[serde(default)]
    pub kinds: Vec<TextKind>,
    /// Phrases in which it is right.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Phrases in which it is right in prose, but not in a name.
    #[serde(default)]
    pub allow_in_prose: Vec<String>,
    #[serde(default)]
    pub allow_in_files: Vec<String>,
    /// Keys and words of a protocol, which cannot change. It is right if it is the whole text of a string.
    #[serde(default)]
    pub on_the_wire: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TableFile {
    #[serde(default)]
    skip: Vec<String>,
    word: Vec<BannedWord>,
    #[serde(default)]
    files: BTreeMap<String, String>,
    #[serde(default)]
    types: BTreeMap<String, String>,
    #[serde(default)]
    functions: BTreeMap<String, String>,
}

#[derive(Debug)]
pub struct WordTable {
    skip: Vec<String>,
    words: Vec<BannedWord>,
    by_form: HashMap<String, usize>,
    /// Old path → new path.
    pub files: BTreeMap<String, String>,
    pub types: BTreeMap<String, String>,
    pub functions: BTreeMap<String, String>,
}

impl WordTable {
    pub fn parse(path: &str, text: &str) -> Result<Self, ReportError> {
        let table: TableFile =
            toml::from_str(text).map_err(|error| ReportError::invalid(path, error))?;
        let mut by_form = HashMap::new();
        for (index, entry) in table.word.iter().enumerate() {
            for form in entry.forms.iter().chain([&entry.word]) {
                if by_form.insert(form.clone(), index).is_some() {
                    return Err(ReportError::invalid(path, format!("'{form}' twice")));
                }
            }
        }
        Ok(Self {
            skip: table.skip,
            words: table.word,
            by_form,
            files: table.files,
            types: table.types,
            functions: table.functions,
        })
    }

    pub fn words(&self) -> &[BannedWord] {
        &self.words
    }

    pub fn skips(&self, file: &str) -> bool {
        self.skip.iter().any(|path| is_below(file, path))
    }

    /// Adds the banned words of `text` to `hits`. `line` is the number of its line.
    pub fn scan(
        &self,
        file: &str,
        kind: TextKind,
        line: usize,
        text: &str,
        hits: &mut Vec<WordHit>,
    ) {
        let mut index = 0;
        for_each_word(text, |word| {
            if let Some(entry) = self.find(word)
                && entry.counts(kind, file)
                && !entry.is_on_the_wire(kind, text)
                && !entry.is_allowed_phrase(kind, text, index)
                && !self.skips(file)
            {
                hits.push(WordHit {
                    file: file.to_owned(),
                    line,
                    kind,
                    word: entry.word.clone(),
                });
            }
            index += 1;
        });
    }

    fn find(&self, word: &str) -> Option<&BannedWord> {
        let index = if word.bytes().any(|byte| byte.is_ascii_uppercase()) {
            self.by_form.get(&word.to_ascii_lowercase())
        } else {
            self.by_form.get(word)
        };
        self.words.get(*index?)
    }
}

impl BannedWord {
    fn counts(&self, kind: TextKind, file: &str) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&kind))
            && !self.allow_in_files.iter().any(|path| is_below(file, path))
    }

    fn is_on_the_wire(&self, kind: TextKind, text: &str) -> bool {
        let literal = text
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'));
        kind == TextKind::String
            && literal.is_some_and(|literal| self.on_the_wire.iter().any(|key| key == literal))
    }

    fn is_allowed_phrase(&self, kind: TextKind, text: &str, index: usize) -> bool {
        let prose = if kind.is_prose() {
            self.allow_in_prose.as_slice()
        } else {
            &[]
        };
        if self.allow.is_empty() && prose.is_empty() {
            return false;
        }
        let words = lowercase_words(text);
        self.allow.iter().chain(prose).any(|phrase| {
            let phrase = lowercase_words(phrase);
            words
                .windows(phrase.len().max(1))
                .enumerate()
                .any(|(at, window)| window == phrase && (at..at + phrase.len()).contains(&index))
        })
    }
}

fn is_below(file: &str, path: &str) -> bool {
    file.strip_prefix(path.trim_end_matches('/'))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

pub fn hits(repository: &Repository, table: &WordTable) -> Result<Vec<WordHit>, ReportError> {
    let mut hits = Vec::new();
    for file in repository.files() {
        if table.skips(file) {
            continue;
        }
        table.scan(file, TextKind::Path, 0, file, &mut hits);
        if !may_be_text(file) {
            continue;
        }
        if let Some(text) = repository.text(file)?
            && let Some(kind) = kind(file, &text)
        {
            scan_text(table, file, kind, &text, &mut hits);
        }
    }
    Ok(hits)
}

fn scan_text(table: &WordTable, file: &str, kind: TextKind, text: &str, hits: &mut Vec<WordHit>) {
    for (number, line) in (1..).zip(text.lines()) {
        if kind == TextKind::Page {
            table.scan(file, kind, number, &without_roff(line), hits);
        } else {
            table.scan(file, kind, number, line, hits);
        }
    }
}

/// Returns false for Rust, which has a parser of its own, and for generated files.
fn may_be_text(file: &str) -> bool {
    let ending = Path::new(file)
        .extension()
        .and_then(|ending| ending.to_str());
    !matches!(ending, Some("rs" | "lock" | "json"))
}

/// Returns the kind of a text by its path and first line. `None`: nobody reads it as prose.
fn kind(file: &str, text: &str) -> Option<TextKind> {
    let path = Path::new(file);
    if text.starts_with("#!") || path.file_name().is_some_and(|name| name == "Makefile") {
        return Some(TextKind::Script);
    }
    match path.extension()?.to_str()? {
        "md" => Some(TextKind::Document),
        "sh" | "py" | "mjs" => Some(TextKind::Script),
        "toml" | "conf" | "service" | "socket" | "slice" | "catalog" | "preset" | "sysusers"
        | "tmpfiles" => Some(TextKind::Setting),
        section if section.len() == 1 && section.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(TextKind::Page)
        }
        _ => None,
    }
}

/// Removes roff's escapes, whose letters would otherwise join the words.
fn without_roff(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            text.push(letter);
            continue;
        }
        match letters.next() {
            Some('f') => drop(letters.next()),
            Some('-') => text.push('-'),
            _ => text.push(' '),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = r#"
        skip = ["old"]
        [[word]]
        word = "wall"
        forms = ["walls"]
        instead = "sandbox layer"
        allow = ["wall clock"]
        allow_in_prose = ["stone wall"]
        allow_in_files = ["README.md"]
        on_the_wire = ["walls"]
        [[word]]
        word = "had"
        instead = "used"
        kinds = ["name"]
    "#;

    fn count(file: &str, kind: TextKind, text: &str) -> usize {
        let table = WordTable::parse("words.toml", TABLE).expect("a table");
        let mut hits = Vec::new();
        table.scan(file, kind, 1, text, &mut hits);
        hits.len()
    }

    #[test]
    fn forms_count_and_longer_words_do_not() {
        assert_eq!(count("a", TextKind::Name, "StoneWalls"), 1);
        assert_eq!(
            count("a", TextKind::Comment, "A wall, WALLS; wallpaper, firewall"),
            2
        );
    }

    #[test]
    fn allowed_phrase_covers_its_own_words_only() {
        assert_eq!(count("a", TextKind::Name, "wall_clock"), 0);
        assert_eq!(
            count("a", TextKind::Comment, "the wall clock of this wall"),
            1
        );
        assert_eq!(count("a", TextKind::Comment, "a stone wall"), 0);
        assert_eq!(count("a", TextKind::Name, "stone_wall"), 1);
    }

    #[test]
    fn kinds_and_files_limit_a_word() {
        assert_eq!(count("a", TextKind::Name, "has_had"), 1);
        assert_eq!(count("a", TextKind::Comment, "it had"), 0);
        assert_eq!(count("README.md", TextKind::Document, "wall"), 0);
        assert_eq!(count("b/README.md", TextKind::Document, "wall"), 1);
        assert_eq!(count("old/x", TextKind::Comment, "wall"), 0);
    }

    #[test]
    fn key_on_the_wire_is_allowed_as_whole_string() {
        assert_eq!(count("a", TextKind::String, "\"walls\""), 0);
        assert_eq!(count("a", TextKind::String, "\"wall\""), 1);
        assert_eq!(count("a", TextKind::String, "\"the walls\""), 1);
        assert_eq!(count("a", TextKind::Comment, "walls"), 1);
    }

    #[test]
    fn repeated_or_unknown_keys_are_refused() {
        let twice = "[[word]]\nword = \"a\"\ninstead = \"b\"\nforms = [\"a\"]";
        assert!(WordTable::parse("x", twice).is_err());
        assert!(WordTable::parse("x", "word = []\nwrods = []").is_err());
    }

    #[test]
    fn kind_is_known_by_name_or_first_line() {
        for (file, text, expected) in [
            ("a/run", "#!/bin/bash\n", Some(TextKind::Script)),
            ("a/postinst", "#!/bin/sh\n", Some(TextKind::Script)),
            ("Makefile", "", Some(TextKind::Script)),
            ("man/a.8", "", Some(TextKind::Page)),
            ("a.md", "", Some(TextKind::Document)),
            ("a.toml", "", Some(TextKind::Setting)),
            ("a.txt", "", None),
            ("LICENSE", "", None),
        ] {
            assert_eq!(kind(file, text), expected, "{file}");
        }
    }

    #[test]
    fn roff_escapes_leave_whole_words() {
        assert_eq!(without_roff("\\fBroom\\fR\\-less \\(bu"), "room-less  bu");
    }

    #[test]
    fn rust_and_lock_files_are_left_out() {
        assert!(may_be_text("a/run"));
        assert!(!may_be_text("a.rs") && !may_be_text("Cargo.lock"));
    }
}
