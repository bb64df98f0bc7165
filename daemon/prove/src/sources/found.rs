//! What find(1) finds and runs.

use remit_programs::{Program, program_of};

use super::execution::Execution;
use super::shell::is_found;
use crate::look::Look;
use crate::path::FilePath;

impl Look<'_> {
    /// Notes that any file is run that lies in the directories of find(1), or in one in them.
    pub(super) fn found(&mut self, by: &Execution, args: &[Vec<u8>]) {
        let is_option = |word: &&Vec<u8>| matches!(word.as_slice(), b"-H" | b"-L" | b"-P");
        let is_test = |word: &&Vec<u8>| matches!(word.first(), Some(b'-' | b'(' | b'!' | b'\\'));
        let named = args.iter().skip_while(is_option);
        let named = named.take_while(|word| !is_test(word));
        let directories = named.filter_map(|word| match &by.directory {
            Some(own) => own.resolve(word),
            None => FilePath::new(word),
        });
        for directory in directories.collect::<Vec<_>>() {
            self.obeys(by.uid, directory.clone(), by.rule, &by.when, &by.source);
            for name in self.machine.list(&directory) {
                let Some(path) = directory.join(name) else {
                    continue;
                };
                let entry = self.machine.entry(&path).map(|(_, entry)| entry);
                if entry.is_some_and(|entry| entry.is_directory() || entry.is_executable()) {
                    self.obeys(by.uid, path, by.rule, &by.when, &by.source);
                }
            }
        }
    }
}

/// Returns true for words of find(1) that run what it finds, by itself or by an interpreter.
pub(super) fn runs_found(words: &[Vec<u8>]) -> bool {
    let interprets = |word: &Vec<u8>| program_of(word).is_some_and(Program::interprets);
    match words {
        [word, ..] if is_found(word) => true,
        [program, word, ..] => is_found(word) && interprets(program),
        _ => false,
    }
}
