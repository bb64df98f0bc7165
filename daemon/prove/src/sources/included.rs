//! Files that a configuration includes.

use std::collections::BTreeSet;

use super::shell::is_open;
use crate::look::Look;
use crate::path::FilePath;

/// Files that include one another.
const FILES: usize = 100;

/// Files that are to be read yet, each once, with what the caller keeps of them.
#[derive(Debug)]
pub struct Includes<T> {
    left: Vec<(FilePath, T)>,
    seen: BTreeSet<FilePath>,
}

impl<T: Clone> Includes<T> {
    pub fn new(files: impl IntoIterator<Item = (FilePath, T)>) -> Self {
        Self {
            left: files.into_iter().collect(),
            seen: BTreeSet::new(),
        }
    }

    /// Returns the next file. `None` also beyond the bound, which is then in the answer.
    pub fn take(&mut self, look: &Look<'_>) -> Option<(FilePath, T)> {
        while let Some((path, kept)) = self.left.pop() {
            if self.seen.len() >= FILES {
                look.machine.unknown(&path, "too many files are included");
                return None;
            }
            if self.seen.insert(path.clone()) {
                return Some((path, kept));
            }
        }
        None
    }

    /// Adds what a word of a file names, beneath a directory if it is relative: a star is for the last part alone, as in
    /// `sshd_config.d/*.conf`. What is not followed is in the answer.
    pub fn add(&mut self, look: &Look<'_>, by: &FilePath, above: &FilePath, word: &[u8], kept: &T) {
        let Some(path) = above.resolve(word) else {
            return;
        };
        let name = path.name().to_vec();
        let directory = path.parent().unwrap_or_else(FilePath::root);
        let mut parts = name.splitn(2, |byte| *byte == b'*');
        let (before, after) = (parts.next().unwrap_or_default(), parts.next());
        if is_open(directory.as_bytes()) || is_open(before) || after.is_some_and(is_open) {
            let word = remit_common::text::line(word, 60);
            let why = format!("what it includes by '{word}' is not followed");
            return look.machine.unknown(by, why);
        }
        let Some(after) = after else {
            return self.left.push((path, kept.clone()));
        };
        let names = look.machine.list(&directory).into_iter();
        let names = names.filter(|name| {
            let is_long = name.len() >= before.len().saturating_add(after.len());
            is_long && name.starts_with(before) && name.ends_with(after)
        });
        let files = names.filter_map(|name| directory.join(name));
        self.left.extend(files.map(|file| (file, kept.clone())));
    }
}
