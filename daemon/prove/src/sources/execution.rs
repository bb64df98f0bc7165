//! What is known of an execution before its words are looked at.

use std::collections::BTreeSet;
use std::rc::Rc;

use remit_programs::has_shell_escape;
use remit_programs::has_units_started;

use super::shell::{base_name, is_open, paths};
use crate::facts::{Source, When, Writer};
use crate::look::Look;
use crate::path::FilePath;
use crate::rule::RuleId;

/// The search path of systemd(1) and of most shells.
pub const PATH: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// Directories of one search path that are looked at.
const SEARCHED: usize = 64;

/// Returns the words of an execution as text, the program's name first.
fn named_words(argv: &[Vec<u8>]) -> Vec<String> {
    let (program, words) = argv.split_at(argv.len().min(1));
    let program = program.iter().map(|program| base_name(program));
    let words = program.chain(words.iter().map(Vec::as_slice));
    words
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}

impl Look<'_> {
    /// Notes the execution of `argv`. The first word may be a name, or empty if it is not known.
    pub fn executes(&mut self, by: &Execution, argv: &[Vec<u8>]) {
        let payer = self.machine.pay_as(by.uid);
        self.executes_words(by, argv);
        self.machine.pay_as(payer);
    }

    /// Notes a program of root that writes as its words say, or that is an editor or a pager of a script of sudo.
    pub(super) fn writes_files(&mut self, by: &Execution, argv: &[Vec<u8>]) {
        const WRITERS: usize = 2000;
        let is_of_sudo = matches!(by.when, When::Sudo { .. });
        // The words of a permission are judged with it.
        let is_permission = is_of_sudo && by.scripts == 0 && by.nested == 0;
        if !by.is_of_machine_root() || is_permission {
            return;
        }
        let words = named_words(argv);
        let Some(program) = words.first() else {
            return;
        };
        // In it the caller starts other programs.
        let is_shell = is_of_sudo && by.input.is_none() && has_shell_escape(program);
        if !is_shell && remit_programs::written(program).is_none() {
            return;
        }
        if !is_shell && words.iter().any(|word| word.contains(['$', '`'])) {
            if is_of_sudo {
                let program = remit_common::text::line(program.as_bytes(), 60);
                let why =
                    format!("what it writes by {program} with words of variables is not judged");
                self.machine.unknown(&by.source.file, why);
            }
            return;
        }
        if self.facts.writers.len() >= WRITERS {
            let why = "not all of what programs of root write is judged";
            return self.machine.unknown(&by.source.file, why);
        }
        for word in argv.iter().skip(1) {
            let own = by.directory.as_ref().filter(|_| !word.starts_with(b"-"));
            let own = own.and_then(|own| own.resolve(word));
            for file in paths(word).chain(own) {
                self.way(&file);
            }
        }
        self.facts.writers.push(Writer {
            when: by.when.clone(),
            words,
            directory: by.directory.clone(),
            has_input: is_of_sudo && by.input.is_none(),
            source: by.source.clone(),
        });
    }

    /// Notes the words by which root has units started. What a command of the policy has started the policy says.
    pub(super) fn starts_units(&mut self, by: &Execution, argv: &[Vec<u8>]) {
        if by.is_of_machine_root() && argv.iter().all(|word| word != b"--user") {
            let words = named_words(argv);
            let mut named = argv.iter().skip(1);
            if let Some(word) = named.find(|word| word.iter().any(|byte| b"$`".contains(byte)))
                && words.iter().all(|word| has_units_started(word))
            {
                self.unfollowed(by, word);
            }
            let fact = (by.when.clone(), words, by.source.clone());
            self.facts.starts.push(fact);
        }
    }

    /// What a text runs by a variable, a pattern or in a directory that is not known. Of a script one reason is enough.
    pub(super) fn unfollowed(&self, by: &Execution, word: &[u8]) {
        // It is in the limits of each answer: start files of distributions have many.
        if by.is_start_file {
            return;
        }
        let word = remit_common::text::line(word, 60);
        let why = match (by.scripts, by.source.line) {
            (1.., _) => "what it runs by variables and patterns is not followed".to_owned(),
            (0, 0) => format!("what it runs by '{word}' is not followed"),
            (0, line) => format!("what its line {line} runs by '{word}' is not followed"),
        };
        self.machine.unknown(&by.source.file, why);
    }

    /// Returns the directories of a search path that this file has.
    pub fn search_path<'a>(
        &self,
        file: &FilePath,
        parts: impl Iterator<Item = &'a [u8]>,
    ) -> Vec<FilePath> {
        let mut found: Vec<FilePath> = parts.filter_map(FilePath::new).collect();
        if found.len() > SEARCHED {
            let why = format!("only the first {SEARCHED} directories of its search path count");
            self.machine.unknown(file, why);
            found.truncate(SEARCHED);
        }
        found
    }
}

/// An execution: as whom, by which rule, when, and where that is written.
#[derive(Clone, Debug)]
pub struct Execution {
    pub uid: u32,
    pub rule: RuleId,
    pub when: When,
    pub source: Source,
    /// The program is not run unless it is root's, and only root can write it.
    pub is_of_root: bool,
    /// Directories in which a name without a slash is looked for.
    pub path: Vec<FilePath>,
    /// The working directory, if it is known.
    pub directory: Option<FilePath>,
    /// The file of its standard input, or `$(NAME …)` for the output of a program.
    pub input: Option<Vec<u8>>,
    /// Accounts that have it run by sudo(8).
    pub callers: Rc<BTreeSet<u32>>,
    /// A start file of a shell does it.
    pub is_start_file: bool,
    /// Scripts that are around it, the innermost of which is the source's file.
    pub scripts: usize,
    /// Texts for a shell that are around it.
    pub nested: usize,
}

impl Execution {
    /// Returns true if root does it, and no command of the policy: of that the policy says what it does.
    fn is_of_machine_root(&self) -> bool {
        self.uid == 0 && !matches!(self.when, When::Called { .. })
    }

    /// Goes to a directory. One that only the shell knows is not known.
    pub fn enter(&mut self, directory: &[u8]) {
        let above = self.directory.take();
        self.directory = match directory.first() {
            _ if is_open(directory) => None,
            Some(b'/') => FilePath::new(directory),
            _ => above.and_then(|above| above.join(directory)),
        };
    }

    pub fn new(uid: u32, rule: RuleId, when: When, source: Source) -> Self {
        let path = PATH.iter().filter_map(FilePath::new).collect();
        Self {
            uid,
            rule,
            when,
            source,
            is_of_root: false,
            path,
            directory: None,
            input: None,
            callers: Rc::default(),
            is_start_file: false,
            scripts: 0,
            nested: 0,
        }
    }
}
