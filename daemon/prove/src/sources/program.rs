//! What executing a program touches: its file, the interpreter of a script, what an interpreter is to run, and what a
//! script mentions, one level deep.

use super::execution::Execution;
use super::shell::{is_interpreter, is_shell, mentions};
use crate::facts::Source;
use crate::lines::lines;
use crate::look::Look;
use crate::path::FilePath;
use crate::rule::RuleId;

/// Bytes of a script that are read for mentions.
const SCRIPT: usize = 256 << 10;

impl Look<'_> {
    /// Notes the execution of `argv`. The first word may be a name.
    pub fn executes(&mut self, by: &Execution, argv: &[Vec<u8>]) {
        let Some((program, args)) = argv.split_first() else {
            return;
        };
        self.runs_word(by, program, true);
        let name = program
            .rsplit(|byte| *byte == b'/')
            .next()
            .unwrap_or_default();
        if is_shell(name)
            && args
                .iter()
                .any(|arg| arg == b"-c" || arg == b"-lc" || arg == b"-ec")
        {
            for text in args.iter().filter(|arg| arg.first() != Some(&b'-')) {
                self.shell_text(by, text);
            }
        } else if name == b"env" || is_interpreter(name) {
            let mut words = args
                .iter()
                .filter(|arg| arg.first() != Some(&b'-') && !arg.contains(&b'='));
            match words.next() {
                Some(word) if name == b"env" => self.runs_word(by, word, true),
                Some(word) if word.first() == Some(&b'/') => self.runs_word(by, word, true),
                _ => {}
            }
        }
    }

    /// Notes what a shell text executes.
    pub fn shell_text(&mut self, by: &Execution, text: &[u8]) {
        super::git::mentioned(self, by, text);
        for mention in mentions(text) {
            if mention.is_command {
                self.runs_word(by, &mention.word, true);
            } else if let Some(path) = FilePath::new(&mention.word) {
                self.argument(by, path);
            }
        }
    }

    /// An argument that is an executable file or a script is most likely run: `sh /opt/x`, `run-parts DIR`.
    fn argument(&mut self, by: &Execution, path: FilePath) {
        let is_program = self.machine.entry(&path);
        if is_program.is_some_and(|(_, entry)| entry.is_executable()) {
            self.runs(by, path, true);
        }
    }

    fn runs_word(&mut self, by: &Execution, word: &[u8], follow: bool) {
        match FilePath::new(word) {
            Some(path) => self.runs(by, path, follow),
            None if word.contains(&b'/') || word.is_empty() => {}
            None => self.runs_name(by, word, follow),
        }
    }

    /// A name is looked for in each directory: who can put it into an earlier one decides.
    fn runs_name(&mut self, by: &Execution, name: &[u8], follow: bool) {
        for directory in &by.path {
            let Some(path) = directory.join(name) else {
                continue;
            };
            let is_there = self.machine.entry(&path).is_some();
            if is_there {
                self.runs(by, path, follow);
                return;
            }
            let source = by.source.clone();
            let rule = RuleId::SearchPath;
            self.obeys(by.uid, path, rule, &by.when, &source);
        }
    }

    fn runs(&mut self, by: &Execution, path: FilePath, follow: bool) {
        let obeys = match by.is_of_root {
            true => Self::obeys_roots,
            false => Self::obeys,
        };
        obeys(self, by.uid, path.clone(), by.rule, &by.when, &by.source);
        self.venv(by, &path);
        if !follow {
            return;
        }
        let Some(content) = self.machine.script(&path, SCRIPT) else {
            return;
        };
        self.script(by, &path, &content);
    }

    /// The interpreter of a Python environment loads its packages: site, `pyvenv.cfg`.
    fn venv(&mut self, by: &Execution, program: &FilePath) {
        let Some(environment) = program.parent().and_then(|bin| bin.parent()) else {
            return;
        };
        let settings = environment.join("pyvenv.cfg");
        if settings.is_none_or(|path| self.machine.entry(&path).is_none()) {
            return;
        }
        let Some(libraries) = environment.join("lib") else {
            return;
        };
        for name in self.machine.list(&libraries) {
            let packages = libraries
                .join(name)
                .and_then(|path| path.join("site-packages"));
            for path in packages.into_iter().chain(environment.join("pyvenv.cfg")) {
                self.obeys(by.uid, path, RuleId::Venv, &by.when, &by.source);
            }
        }
    }

    fn script(&mut self, by: &Execution, path: &FilePath, content: &[u8]) {
        let (_, first) = lines(content).next().unwrap_or_default();
        let words: Vec<Vec<u8>> = first
            .get(2..)
            .unwrap_or_default()
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty())
            .map(<[u8]>::to_vec)
            .collect();
        let interpreter = Execution {
            rule: RuleId::Interpreter,
            is_of_root: false,
            source: Source::line(path, 1, first),
            ..by.clone()
        };
        for word in &words {
            if word.first() != Some(&b'-') {
                self.runs_word(&interpreter, word, false);
            }
        }
        super::git::mentioned(self, by, content);
        let is_of_shell = words
            .iter()
            .any(|word| is_shell(word.rsplit(|byte| *byte == b'/').next().unwrap_or_default()));
        let text: Vec<&[u8]> = content.split(|byte| *byte == b'\n').collect();
        for mention in mentions(content) {
            let Some(file) = FilePath::new(&mention.word) else {
                if is_of_shell && mention.is_command {
                    self.mentioned(by, path, &text, mention.line, &mention.word);
                }
                continue;
            };
            let is_executable = self
                .machine
                .entry(&file)
                .is_some_and(|(_, entry)| entry.is_executable());
            if is_executable || (is_of_shell && mention.is_command) {
                self.mentioned(by, path, &text, mention.line, &mention.word);
            }
        }
    }

    fn mentioned(
        &mut self,
        by: &Execution,
        script: &FilePath,
        text: &[&[u8]],
        line: usize,
        word: &[u8],
    ) {
        let shown = text
            .get(line.saturating_sub(1))
            .copied()
            .unwrap_or_default();
        let by = Execution {
            rule: RuleId::Mentioned,
            is_of_root: false,
            source: by.source.mentioned(script, line, shown),
            ..by.clone()
        };
        self.runs_word(&by, word, false);
    }
}
