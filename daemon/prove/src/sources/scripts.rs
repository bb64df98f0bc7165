//! What texts for shells and scripts execute. A script that a script runs is read, too, unless it is one of a package.

use remit_common::cron;
use remit_programs::{Class, program_of, takes_files};
use remit_words::cron::{DEBIAN, name_ignored};

use super::execution::Execution;
use super::lexer::lexed;
use super::shell::{ShellCommand, is_built_in, is_name, is_open, paths};
use crate::facts::{Source, When};
use crate::lines::lines;
use crate::look::Look;
use crate::path::FilePath;
use crate::rule::RuleId;

/// Bytes of a script that are read for mentions.
const SCRIPT: usize = 256 << 10;
/// Scripts in one another, and texts for a shell in another one.
const SCRIPTS: usize = 3;
const NESTED: usize = 8;
/// Words of one text.
const WORDS: usize = 50_000;
/// Directories of a search path that cost as much as a word.
const SEARCHED: usize = 8;

/// Directories of packages. Their scripts run one another, and only their own mentions are followed.
const PACKAGES: [&str; 10] = [
    "/usr/bin",
    "/usr/sbin",
    "/usr/lib",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/share",
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",
];

impl Look<'_> {
    /// Notes what a shell text executes.
    pub fn shell_text(&mut self, by: &Execution, text: &[u8]) {
        let found = self.commands(by, text);
        super::git::mentioned(self, by, &found);
        for command in &found {
            self.shell_command(by, command);
        }
    }

    fn commands(&mut self, by: &Execution, text: &[u8]) -> Vec<ShellCommand> {
        let left = self.texts.spend(by.uid, 0);
        let found = lexed(text, left.min(WORDS));
        self.texts.spend(by.uid, found.words);
        let file = &by.source.file;
        if found.is_cut && left < WORDS {
            let why = "the texts of all files have too many words: the rest of them was not read";
            self.machine.over(file, why);
            self.machine.unknown(file, why);
        } else if found.is_cut {
            let why = format!("only the first {WORDS} words of a text were read");
            self.machine.unknown(file, why);
        }
        for why in found.unread {
            self.machine.unknown(file, why);
        }
        found.commands
    }

    pub(super) fn nested_text(&mut self, by: &Execution, text: &[u8]) {
        let nested = by.nested.saturating_add(1);
        match nested > NESTED {
            true => {
                let why = "texts of shells in other ones are not followed to their end";
                self.machine.unknown(&by.source.file, why);
            }
            false => self.shell_text(
                &Execution {
                    nested,
                    input: None,
                    ..by.clone()
                },
                text,
            ),
        }
    }

    fn shell_command(&mut self, by: &Execution, command: &ShellCommand) {
        let payer = self.machine.pay_as(by.uid);
        self.shell_words(by, command);
        self.machine.pay_as(payer);
    }

    fn shell_words(&mut self, by: &Execution, command: &ShellCommand) {
        let mut by = Execution {
            input: command.input.clone(),
            ..by.clone()
        };
        if let Some(directory) = &command.directory {
            by.enter(&self.at_home(by.uid, directory));
        }
        for variable in &command.variables {
            super::variables::apply(self, &mut by, variable);
            for path in paths(variable) {
                self.argument(&by, path);
            }
        }
        let words = command.words.iter();
        let mut words: Vec<Vec<u8>> = words.map(|word| self.at_home(by.uid, word)).collect();
        let Some((program, args)) = words.split_first_mut() else {
            return;
        };
        match program.as_slice() {
            b"." | b"source" => return self.sourced(&by, args),
            b"eval" => return self.nested_text(&by, &args.join(&b' ')),
            b"trap" => {
                let text = args.first().map(Vec::as_slice).unwrap_or_default();
                // A name is a function.
                if !is_name(text) {
                    self.nested_text(&by, text);
                }
                return;
            }
            name if is_built_in(name) && takes_files(name) => return,
            name if is_open(name) => self.unfollowed(&by, name),
            _ => {}
        }
        if is_open(program) || !program.contains(&b'/') && !is_name(program) {
            program.clear();
        }
        self.executes(&by, &words);
    }

    /// Replaces `~` and `~NAME` in front by the directory of the account.
    fn at_home(&self, uid: u32, word: &[u8]) -> Vec<u8> {
        self.home_of(uid, word).unwrap_or_else(|| word.to_vec())
    }

    fn home_of(&self, uid: u32, word: &[u8]) -> Option<Vec<u8>> {
        let rest = word.strip_prefix(b"~")?;
        let end = rest.iter().position(|byte| *byte == b'/');
        let (name, rest) = rest.split_at(end.unwrap_or(rest.len()));
        let accounts = &self.facts.accounts;
        let home = match name {
            b"" => accounts.home(uid)?,
            _ => {
                let user = accounts.users.get(std::str::from_utf8(name).ok()?)?;
                user.home.clone()?
            }
        };
        Some([home.as_bytes(), rest].concat())
    }

    /// A name without a slash is looked for in the search path, and by bash then in the working directory.
    fn sourced(&mut self, by: &Execution, args: &[Vec<u8>]) {
        let Some(word) = args.first() else {
            return;
        };
        let file = match (&by.directory, word.contains(&b'/')) {
            _ if is_open(word) => None,
            (Some(directory), true) => directory.resolve(word),
            (None, true) => FilePath::new(word),
            (directory, false) => {
                self.runs_word(by, word);
                let own = directory.as_ref().and_then(|above| above.join(word));
                let Some(file) = own.filter(|file| self.machine.entry(file).is_some()) else {
                    return;
                };
                Some(file)
            }
        };
        match file {
            Some(file) => self.runs_by(by, file, Some(&Class::Shell)),
            None => self.unfollowed(by, word),
        }
    }

    pub(super) fn run_parts(&mut self, by: &Execution, directory: &FilePath) {
        // cron.rs reads these.
        if cron::SCRIPTS.map(FilePath::fixed).contains(directory) {
            return;
        }
        self.obeys(by.uid, directory.clone(), by.rule, &by.when, &by.source);
        let is_debian = self.exists(&FilePath::fixed(DEBIAN));
        for name in self.machine.list(directory) {
            if let Some(path) = directory.join(&name)
                && name_ignored(&name, is_debian).is_none()
            {
                self.argument(by, path);
            }
        }
    }

    /// An argument that is an executable file is most likely run.
    pub(super) fn argument(&mut self, by: &Execution, path: FilePath) {
        let is_program = self.machine.entry(&path);
        if is_program.is_some_and(|(_, entry)| entry.is_executable()) {
            self.runs(by, path);
        }
    }

    pub(super) fn runs_word(&mut self, by: &Execution, word: &[u8]) {
        let path = match &by.directory {
            _ if word.is_empty() => return,
            _ if !word.contains(&b'/') => return self.runs_name(by, word),
            Some(directory) => directory.resolve(word),
            None => FilePath::new(word),
        };
        match path {
            Some(path) => self.runs(by, path),
            None => self.unfollowed(by, word),
        }
    }

    /// A name is looked for in each directory: who can put it into an earlier one decides.
    fn runs_name(&mut self, by: &Execution, name: &[u8]) {
        self.texts.spend(by.uid, by.path.len() / SEARCHED);
        for directory in &by.path {
            if !self.may_look(by.uid, directory) {
                return;
            }
            let Some(path) = directory.join(name) else {
                continue;
            };
            let is_there = self.machine.entry(&path).is_some();
            if is_there {
                self.runs(by, path);
                return;
            }
            let source = by.source.clone();
            let rule = RuleId::SearchPath;
            self.obeys(by.uid, path, rule, &by.when, &source);
        }
    }

    pub(super) fn runs(&mut self, by: &Execution, path: FilePath) {
        self.runs_by(by, path, None);
    }

    /// Notes that a file is executed, or is read by a program of this class.
    pub(super) fn runs_by(&mut self, by: &Execution, path: FilePath, reader: Option<&Class>) {
        let obeys = match by.is_of_root {
            true => Self::obeys_roots,
            false => Self::obeys,
        };
        obeys(self, by.uid, path.clone(), by.rule, &by.when, &by.source);
        self.venv(by, &path);
        if !self.is_next(by, &path, reader) {
            return;
        }
        let content = match reader {
            None => self.machine.script(&path, SCRIPT),
            Some(_) => self.machine.text(&path, SCRIPT),
        };
        // An archive, such as that of java.
        if let Some(content) = content.filter(|content| !content.contains(&0)) {
            if by.scripts > SCRIPTS {
                let why = "scripts in other ones are not followed to their end";
                self.machine.unknown(&path, why);
                return;
            }
            self.script(by, &path, &content, reader);
        }
    }

    /// Returns true for a file of a script, or of a call of a command, that was not read as one yet.
    fn is_next(&mut self, by: &Execution, path: &FilePath, reader: Option<&Class>) -> bool {
        if by.scripts == 0 {
            let by_shell = reader.map(|class| matches!(class, Class::Shell));
            let (when, directory) = (by.when.clone(), by.directory.clone());
            let key = (
                by.uid,
                when,
                path.clone(),
                directory,
                by.path.clone(),
                by_shell,
            );
            let is_called = matches!(by.when, When::Called { .. });
            return !is_called || self.texts.scripts_of_calls.insert(key);
        }
        let mut packages = PACKAGES.iter().map(|path| FilePath::fixed(path));
        if packages.any(|directory| path.is_beneath(&directory)) {
            return false;
        }
        let key = (by.uid, by.when.clone(), path.clone());
        self.texts.scripts.insert(key)
    }

    fn script(&mut self, by: &Execution, path: &FilePath, content: &[u8], reader: Option<&Class>) {
        let (_, first) = lines(content).next().unwrap_or_default();
        let words: Vec<&[u8]> = first
            .strip_prefix(b"#!")
            .unwrap_or_default()
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty())
            .collect();
        let interpreter = Execution {
            rule: RuleId::Interpreter,
            is_of_root: false,
            scripts: by.scripts.saturating_add(1),
            input: None,
            source: Source::line(path, 1, first),
            ..by.clone()
        };
        // A shell or an interpreter that reads it takes the first line for a comment.
        let programs = words.iter().filter(|word| !word.starts_with(b"-"));
        for word in programs.filter(|_| reader.is_none()) {
            self.runs_word(&interpreter, word);
        }
        let is_of_shell = match reader {
            Some(class) => matches!(class, Class::Shell),
            // A shell that starts it reads it.
            None if words.is_empty() => true,
            None => words
                .iter()
                .filter_map(|word| program_of(word))
                .any(|program| matches!(program.class, Class::Shell)),
        };
        let found = self.commands(&interpreter, content);
        super::git::mentioned(self, by, &found);
        let text: Vec<&[u8]> = content.split(|byte| *byte == b'\n').collect();
        for command in &found {
            let shown = text.get(command.line.saturating_sub(1));
            let shown = shown.copied().unwrap_or_default();
            let by = Execution {
                rule: RuleId::Mentioned,
                source: by.source.mentioned(path, command.line, shown),
                ..interpreter.clone()
            };
            if is_of_shell {
                self.shell_command(&by, command);
                continue;
            }
            let words = command.variables.iter().chain(&command.words);
            for path in words.flat_map(|word| paths(word)) {
                self.argument(&by, path);
            }
        }
    }
}
