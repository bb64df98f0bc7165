//! What executing a program touches: its file, the interpreter of a script, what a wrapper or an interpreter is to run, and
//! what a script mentions, one level deep.

use remit_programs::{Class, Program, Wrapper, program_of};

use super::execution::Execution;
use super::shell::{ShellCommand, base_name, commands, is_name, is_open, paths};
use crate::facts::Source;
use crate::lines::lines;
use crate::look::Look;
use crate::path::FilePath;
use crate::rule::RuleId;

/// Bytes of a script that are read for mentions.
const SCRIPT: usize = 256 << 10;
/// Texts for a shell in another one.
const NESTED: usize = 8;

/// Options of interpreters before a library or a setting: the script follows.
const BEFORE_SCRIPT: [&str; 12] = [
    "-I",
    "-M",
    "-r",
    "-l",
    "-d",
    "-cp",
    "-classpath",
    "--require",
    "--import",
    "--loader",
    "--ini",
    "--config",
];

/// Returns which of the words says that a shell text follows.
fn code_at(wrapper: &Wrapper, args: &[Vec<u8>]) -> Option<usize> {
    let is_text = |arg: &Vec<u8>| wrapper.code.iter().any(|code| code.as_bytes() == *arg);
    args.iter().position(is_text)
}

impl Look<'_> {
    /// Notes the execution of `argv`. The first word may be a name, or empty if it is not known.
    pub fn executes(&mut self, by: &Execution, argv: &[Vec<u8>]) {
        let (mut by, mut argv) = (by.clone(), argv);
        while let Some((program, args)) = argv.split_first() {
            self.runs_word(&by, program);
            let mut inner: &[Vec<u8>] = &[];
            let mut rest = args;
            if base_name(program) == b"git" {
                super::git::executed(self, &by, args);
            }
            match program_of(program).map(|program| (program, &program.class)) {
                Some((_, Class::Wrapper(wrapper) | Class::Joins(wrapper))) => {
                    (rest, inner) = args.split_at(wrapper.inner(args));
                    by = self.wrapped(by, wrapper, args);
                    // A text is all that is behind it: to go on there as well would double the work with each level.
                    if code_at(wrapper, args).is_some() {
                        inner = &[];
                    }
                }
                Some((_, Class::Tool(_))) if base_name(program) == b"run-parts" => {
                    for directory in args.iter().flat_map(|arg| paths(arg)) {
                        self.run_parts(&by, &directory);
                    }
                }
                Some((known, Class::Shell | Class::Interpreter(_) | Class::Tool(_))) => {
                    rest = self.interpreted(&by, known, args);
                }
                Some((_, Class::ContainerRunner(_))) | None => {}
            }
            for path in rest.iter().flat_map(|arg| paths(arg)) {
                self.argument(&by, path);
            }
            argv = inner;
        }
    }

    /// Notes what a shell text executes.
    pub fn shell_text(&mut self, by: &Execution, text: &[u8]) {
        super::git::mentioned(self, by, text);
        for command in commands(text) {
            self.shell_command(by, &command);
        }
    }

    fn nested_text(&mut self, by: &Execution, text: &[u8]) {
        let nested = by.nested.saturating_add(1);
        match nested > NESTED {
            true => {
                let why = "texts of shells in other ones are not followed to their end";
                self.machine.unknown(&by.source.file, why);
            }
            false => self.shell_text(
                &Execution {
                    nested,
                    ..by.clone()
                },
                text,
            ),
        }
    }

    fn shell_command(&mut self, by: &Execution, command: &ShellCommand) {
        let mut by = by.clone();
        if let Some(directory) = &command.directory {
            let above = by.directory.take().unwrap_or_else(FilePath::root);
            by.directory = above.resolve(directory).filter(|_| !is_open(directory));
        }
        let mut words = command.words.clone();
        if let Some(program) = words.first_mut() {
            if is_open(program) {
                self.unfollowed(&by, program);
            }
            if is_open(program) || !program.contains(&b'/') && !is_name(program) {
                program.clear();
            }
        }
        for variable in &command.variables {
            super::variables::apply(self, &mut by, variable);
            for path in paths(variable) {
                self.argument(&by, path);
            }
        }
        self.executes(&by, &words);
    }

    /// What a text runs by a variable or a pattern is not known. In scripts that is usual, and their own affair.
    fn unfollowed(&self, by: &Execution, word: &[u8]) {
        if !by.is_in_script {
            let word = remit_common::text::line(word, 60);
            let why = match by.source.line {
                0 => format!("what it runs by '{word}' is not followed"),
                line => format!("what its line {line} runs by '{word}' is not followed"),
            };
            self.machine.unknown(&by.source.file, why);
        }
    }

    /// Notes what the options of a wrapper say. Returns how it executes the inner program.
    fn wrapped(&mut self, mut by: Execution, wrapper: &Wrapper, args: &[Vec<u8>]) -> Execution {
        let account = wrapper
            .account(args)
            .and_then(|name| std::str::from_utf8(name).ok());
        let uid = account.and_then(|name| name.parse().ok().or(self.facts.accounts.uid(name)));
        by.uid = uid.unwrap_or(by.uid);
        if let Some(at) = code_at(wrapper, args) {
            let text = args.iter().skip(at.saturating_add(1));
            self.nested_text(&by, &text.cloned().collect::<Vec<_>>().join(&b' '));
        }
        by
    }

    /// Notes the code that an interpreter is to run. Returns the words behind it.
    fn interpreted<'w>(
        &mut self,
        by: &Execution,
        known: &Program,
        args: &'w [Vec<u8>],
    ) -> &'w [Vec<u8>] {
        let has_script = match &known.class {
            Class::Interpreter(interpreter) => interpreter.starts_programs,
            class => matches!(class, Class::Shell),
        };
        if let Class::Tool(tool) = &known.class {
            for name in tool.reads {
                let file = by.directory.as_ref().and_then(|above| above.join(name));
                file.into_iter().for_each(|file| self.runs(by, file));
            }
        }
        let (mut words, mut missing, mut open) = (args.iter(), None, None);
        let mut is_value = false;
        while let Some(word) = words.next() {
            let code = known.code().iter().find(|code| is_option(code, word));
            match (code, &known.class) {
                (Some(_), Class::Shell) => {
                    let text = words.cloned().collect::<Vec<_>>().join(&b' ');
                    self.nested_text(by, &text);
                    return &[];
                }
                (Some(code), class) => {
                    let value = words.next().map(Vec::as_slice).unwrap_or_default();
                    for path in paths(value) {
                        self.code(by, class, path);
                    }
                    if known.modules().contains(code) && !BEFORE_SCRIPT.contains(code) {
                        missing = self.script_named(by, value);
                    }
                    if has_script && !BEFORE_SCRIPT.contains(code) {
                        open = None;
                        break;
                    }
                    continue;
                }
                (None, _) => {}
            }
            let is_after_option = std::mem::take(&mut is_value);
            if matches!(word.first(), Some(b'-' | b'+')) {
                is_value = word.len() == 2 || word.starts_with(b"--") && !word.contains(&b'=');
            } else if !has_script {
            } else if is_open(word) {
                open = open.or(Some(word));
            } else {
                let named = self.script_named(by, word);
                let is_there = |path: &FilePath| self.machine.entry(path).is_some();
                let is_script = word.starts_with(b"/") || named.as_ref().is_some_and(is_there);
                missing = match is_script || missing.is_none() {
                    true => named,
                    false => missing,
                };
                if is_script || !is_after_option {
                    open = None;
                    break;
                }
            }
        }
        if let Some(script) = missing {
            self.runs(by, script);
        }
        if let Some(word) = open {
            self.unfollowed(by, word);
        }
        match has_script {
            true => words.as_slice(),
            false => args,
        }
    }

    /// Notes the value of an option for code: a file, or for tools a directory that has it.
    fn code(&mut self, by: &Execution, class: &Class, path: FilePath) {
        let is_directory =
            (self.machine.entry(&path)).is_some_and(|(_, entry)| entry.is_directory());
        match class {
            Class::Tool(tool) if is_directory => {
                for file in tool.reads.iter().filter_map(|name| path.join(name)) {
                    self.runs(by, file);
                }
            }
            _ => self.runs(by, path),
        }
    }

    /// Returns the file of a script, or of a module as `a.b:app` of Python. `None`: the directory is not known.
    fn script_named(&self, by: &Execution, word: &[u8]) -> Option<FilePath> {
        let above = match word.first() {
            Some(b'/') => FilePath::root(),
            _ => by.directory.clone()?,
        };
        let module = word.split(|byte| *byte == b':').next()?;
        let part = |byte: &u8| if *byte == b'.' { b'/' } else { *byte };
        let module: Vec<u8> = module.iter().map(part).collect();
        let files = [b".py".as_slice(), b"/__main__.py", b"/__init__.py"];
        let files = files.iter().map(|end| [module.as_slice(), end].concat());
        let files = std::iter::once(word.to_vec()).chain(files);
        let mut files = files.filter_map(|file| above.resolve(file));
        let there = files.find(|file| self.machine.entry(file).is_some());
        there.or_else(|| above.resolve(word))
    }

    fn run_parts(&mut self, by: &Execution, directory: &FilePath) {
        // cron.rs reads these by the rule of their names.
        if directory.as_bytes().starts_with(b"/etc/cron.") {
            return;
        }
        self.obeys(by.uid, directory.clone(), by.rule, &by.when, &by.source);
        for path in self.machine.list(directory) {
            if let Some(path) = directory.join(path) {
                self.argument(by, path);
            }
        }
    }

    /// An argument that is an executable file is most likely run.
    fn argument(&mut self, by: &Execution, path: FilePath) {
        let is_program = self.machine.entry(&path);
        if is_program.is_some_and(|(_, entry)| entry.is_executable()) {
            self.runs(by, path);
        }
    }

    fn runs_word(&mut self, by: &Execution, word: &[u8]) {
        let path = match &by.directory {
            _ if word.is_empty() => return,
            _ if !word.contains(&b'/') => return self.runs_name(by, word),
            Some(directory) => directory.resolve(word),
            None => FilePath::new(word),
        };
        if let Some(path) = path {
            self.runs(by, path);
        }
    }

    /// A name is looked for in each directory: who can put it into an earlier one decides.
    fn runs_name(&mut self, by: &Execution, name: &[u8]) {
        for directory in &by.path {
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

    fn runs(&mut self, by: &Execution, path: FilePath) {
        let obeys = match by.is_of_root {
            true => Self::obeys_roots,
            false => Self::obeys,
        };
        obeys(self, by.uid, path.clone(), by.rule, &by.when, &by.source);
        self.venv(by, &path);
        if by.is_in_script {
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
        let words: Vec<&[u8]> = first
            .get(2..)
            .unwrap_or_default()
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty())
            .collect();
        let interpreter = Execution {
            rule: RuleId::Interpreter,
            is_of_root: false,
            is_in_script: true,
            source: Source::line(path, 1, first),
            ..by.clone()
        };
        for word in words.iter().filter(|word| !word.starts_with(b"-")) {
            self.runs_word(&interpreter, word);
        }
        let is_of_shell = words
            .iter()
            .filter_map(|word| program_of(word))
            .any(|program| matches!(program.class, Class::Shell));
        super::git::mentioned(self, by, content);
        let text: Vec<&[u8]> = content.split(|byte| *byte == b'\n').collect();
        for command in commands(content) {
            let shown = text.get(command.line.saturating_sub(1));
            let shown = shown.copied().unwrap_or_default();
            let by = Execution {
                rule: RuleId::Mentioned,
                is_of_root: false,
                is_in_script: true,
                source: by.source.mentioned(path, command.line, shown),
                ..by.clone()
            };
            if is_of_shell {
                self.shell_command(&by, &command);
                continue;
            }
            let words = command.variables.iter().chain(&command.words);
            for path in words.flat_map(|word| paths(word)) {
                self.argument(&by, path);
            }
        }
    }
}

/// Returns true for this option, also as the last letter of several, as `-pe`.
fn is_option(option: &str, word: &[u8]) -> bool {
    let letter = option.strip_prefix('-').filter(|letter| letter.len() == 1);
    let letters = word.strip_prefix(b"-").unwrap_or_default();
    let is_bundle = (2..5).contains(&letters.len()) && letters.iter().all(u8::is_ascii_alphabetic);
    let is_last = |letter: &str| is_bundle && word.ends_with(letter.as_bytes());
    word == option.as_bytes() || letter.is_some_and(is_last)
}
