//! What the commands of a text leave to those after them: the working directory, search paths and values of variables.

use std::collections::{BTreeMap, BTreeSet};

use crate::sources::shell::{ShellCommand, is_open};

/// Variables of one text whose values are kept, and search paths of it that build on each other.
const KNOWN: usize = 64;
const SEARCHES: usize = 8;
/// A longer directory, search path or value is not followed, bytes.
const COPIED: usize = 1 << 10;
/// Bytes of a copy that cost as much as a word.
const COPY: usize = 64;

const TOO_LONG: &str = "long directories, search paths and values of it are not followed";

#[derive(Debug, Default)]
pub struct ShellState {
    pub directory: Option<Vec<u8>>,
    searches: Vec<Vec<u8>>,
    values: BTreeMap<Vec<u8>, ShellValue>,
    /// Values end at code that is not read here. Otherwise they are kept.
    pub ends_values: bool,
    /// A value was added that such code may have changed.
    pub used_kept: bool,
    pub unread: BTreeSet<&'static str>,
}

#[derive(Debug)]
struct ShellValue {
    /// `None`: it has several values, or one that only the shell knows.
    known: Option<Vec<u8>>,
    /// Code that is not read here may have given it another.
    is_kept: bool,
}

impl ShellState {
    /// Adds the value of a variable, or its name, to a word. Returns what that costs, in words.
    pub fn value(&mut self, name: &[u8], word: &mut Vec<u8>) -> usize {
        let value = self.values.get(name);
        let Some((value, known)) = value.and_then(|value| Some((value, value.known.as_ref()?)))
        else {
            word.push(b'$');
            word.extend_from_slice(name);
            return 0;
        };
        self.used_kept |= value.is_kept;
        word.extend_from_slice(known);
        cost(known.len())
    }

    /// Completes a command by what was before it, and keeps what it leaves. Returns what that costs, in words.
    pub fn settle(&mut self, command: &mut ShellCommand) -> usize {
        let (name, operands) = match command.words.split_first() {
            Some((name, operands)) => (name.as_slice(), operands),
            None => (&b""[..], &[][..]),
        };
        let is_exported = matches!(
            name,
            b"export" | b"declare" | b"local" | b"readonly" | b"typeset"
        );
        let exported = operands
            .iter()
            .filter(|word| is_exported && is_assignment(word));
        let own = command.variables.iter().chain(exported);
        let own: Vec<Vec<u8>> = own.map(|word| replaced(word)).collect();
        let lasting = match command.words.is_empty() || is_exported {
            true => own.clone(),
            false => Vec::new(),
        };
        match name {
            b"cd" | b"pushd" => self.directory = self.directory_of(operands),
            b"popd" => self.directory = Some(b"$OLDPWD".to_vec()),
            // Code that is not read here may give them others. Libraries of packages have functions.
            b"." | b"source" | b"eval"
                if !operands.first().is_some_and(|file| is_library(file)) =>
            {
                for value in self.values.values_mut() {
                    value.is_kept = true;
                    value.known.take_if(|_| self.ends_values);
                }
            }
            b"for" | b"read" | b"select" | b"unset" | b"mapfile" | b"getopts" => {
                for name in operands.iter().take_while(|word| *word != b"in") {
                    self.learn(name, None);
                }
            }
            _ => {}
        }
        command.directory.clone_from(&self.directory);
        let copied = self.searches.iter().chain(&command.directory).map(Vec::len);
        let cost = cost(copied.sum());
        command.variables = self.searches.iter().cloned().chain(own).collect();
        for variable in lasting {
            self.assigned(&variable);
        }
        cost
    }

    fn directory_of(&mut self, operands: &[Vec<u8>]) -> Option<Vec<u8>> {
        let named = operands
            .iter()
            .rfind(|word| *word == b"-" || !word.starts_with(b"-"));
        let named = match named.map(Vec::as_slice) {
            None => b"~",
            Some(b"-") => &b"$OLDPWD"[..],
            Some(named) => named,
        };
        let directory = match self.directory.take() {
            Some(above) if !matches!(named.first(), Some(b'/' | b'~' | b'$')) => {
                [above.as_slice(), named].join(&b'/')
            }
            _ => named.to_vec(),
        };
        match directory.len() <= COPIED {
            true => Some(directory),
            false => {
                self.unread.insert(TOO_LONG);
                Some(b"$PWD".to_vec())
            }
        }
    }

    /// Keeps what `NAME=value` says for the commands after it.
    fn assigned(&mut self, variable: &[u8]) {
        let at = variable.iter().position(|byte| *byte == b'=');
        let (name, value) = variable.split_at(at.unwrap_or(variable.len()));
        let value = value.get(1..).unwrap_or_default();
        if value.len() > COPIED {
            self.unread.insert(TOO_LONG);
            return self.learn(name, None);
        }
        if let Some(name) = name.strip_suffix(b"+") {
            return self.learn(name, None);
        }
        if name != b"PATH" {
            return self.learn(name, Some(value));
        }
        let goes_on = value.windows(5).any(|part| part == b"$PATH");
        if !goes_on {
            self.searches.clear();
        }
        match self.searches.len() < SEARCHES {
            true => self.searches.push(variable.to_vec()),
            false => {
                self.unread.insert(TOO_LONG);
            }
        }
    }

    fn learn(&mut self, name: &[u8], value: Option<&[u8]>) {
        let value = value.filter(|value| !is_open(value));
        let has_capacity = self.values.len() < KNOWN;
        match self.values.get_mut(name) {
            Some(before) if before.known.as_deref() == value => {}
            Some(before) => {
                let is_kept = before.is_kept && before.known.is_some();
                before.known = value.filter(|_| is_kept).map(<[u8]>::to_vec);
            }
            None if has_capacity => {
                let value = ShellValue {
                    known: value.map(<[u8]>::to_vec),
                    is_kept: false,
                };
                self.values.insert(name.to_vec(), value);
            }
            None => {}
        }
    }
}

fn is_library(file: &[u8]) -> bool {
    let directories = ["/lib/", "/usr/lib/", "/usr/share/"];
    directories
        .iter()
        .any(|above| file.starts_with(above.as_bytes()))
}

/// Returns an assignment, and for `PATH+=value` one of the whole search path.
fn replaced(word: &[u8]) -> Vec<u8> {
    match word.strip_prefix(b"PATH+=") {
        Some(more) => [b"PATH=$PATH", more].concat(),
        None => word.to_vec(),
    }
}

/// Returns what a copy of so many bytes costs, in words.
pub fn cost(copied: usize) -> usize {
    copied.div_ceil(COPY)
}

pub fn is_assignment(word: &[u8]) -> bool {
    word.contains(&b'=') && !word.starts_with(b"/")
}
