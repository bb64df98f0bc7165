//! What executing a program touches: its file, what a wrapper or an interpreter is to run, and code that its words name.

use remit_programs::{
    Class, ContainerRunner, Program, Tool, Wrapper, executes_no_file, program_of,
};

use super::execution::Execution;
use super::found::runs_found;
use super::options::{
    has_value, is_bundle_with, names_this_machine, of_this_machine, option_value, property_user,
    value_of, values_of, without,
};
use super::shell::{base_name, is_open, paths};
use super::variables;
use crate::look::Look;
use crate::path::FilePath;

/// Options of interpreters before a library or a setting: the script follows.
const BEFORE_SCRIPT: [&str; 15] = [
    "-I",
    "-M",
    "-r",
    "-l",
    "-d",
    "-cp",
    "-classpath",
    "-javaagent:",
    "-agentpath:",
    "--class-path",
    "--require",
    "--import",
    "--loader",
    "--ini",
    "--config",
];

/// Endings of files that an interpreter reads, and that are no text.
const ARCHIVES: [&[u8]; 6] = [b".jar", b".war", b".dll", b".phar", b".pyz", b".pyc"];

/// Programs that start one another.
const STARTERS: usize = 16;

/// Returns which of the words says that a shell text follows. Words behind the inner program are that program's.
fn code_at(wrapper: &Wrapper, args: &[Vec<u8>]) -> Option<usize> {
    let is_text = |arg: &Vec<u8>| wrapper.code.iter().any(|code| code.as_bytes() == *arg);
    // su takes its options behind the account, too.
    let own = match wrapper.is_account_operand && wrapper.operands == 0 {
        true => args,
        false => args.split_at(wrapper.inner(args)).0,
    };
    own.iter().position(is_text)
}

impl Look<'_> {
    pub(super) fn executes_words(&mut self, by: &Execution, argv: &[Vec<u8>]) {
        let (mut by, mut argv) = (by.clone(), argv);
        for starters in 0.. {
            self.machine.pay_as(by.uid);
            let Some((program, args)) = argv.split_first() else {
                break;
            };
            if starters > STARTERS {
                let why = "programs that start one another are not followed to their end";
                self.machine.unknown(&by.source.file, why);
                break;
            }
            self.runs_word(&by, program);
            let mut inner: &[Vec<u8>] = &[];
            let mut rest = args;
            let local: Vec<Vec<u8>>;
            self.writes_files(&by, argv);
            match base_name(program) {
                b"git" => super::git::executed(self, &by, args),
                b"systemctl" | b"service" | b"invoke-rc.d" => self.starts_units(&by, argv),
                _ => {}
            }
            match program_of(program).map(|program| (program, &program.class)) {
                Some((_, Class::Wrapper(wrapper) | Class::Joins(wrapper))) => {
                    (rest, inner) = args.split_at(wrapper.inner(args));
                    let Some(wrapped) = self.wrapped(by, program, wrapper, args) else {
                        break;
                    };
                    by = wrapped;
                    // A text is all that is behind it: to go on there as well would double the work with each level.
                    if !wrapper.is_remote && code_at(wrapper, args).is_some() {
                        inner = &[];
                    }
                    if wrapper.is_remote && !inner.is_empty() && !names_this_machine(rest) {
                        self.remote(&by, program);
                        inner = &[];
                    }
                    if base_name(program) == b"chroot" {
                        let why = "what chroot runs beneath another directory is not followed";
                        self.machine.unknown(&by.source.file, why);
                    }
                }
                Some((_, Class::Tool(_))) if base_name(program) == b"run-parts" => {
                    for directory in args.iter().flat_map(|arg| paths(arg)) {
                        self.run_parts(&by, &directory);
                    }
                }
                Some((known, Class::Shell | Class::Interpreter(_))) => {
                    rest = self.interpreted(&by, known, args);
                }
                Some((known, Class::Tool(tool))) => {
                    let own = args.split(|arg| arg == b"--").next().unwrap_or(args);
                    let named = value_of(tool.accounts, own);
                    let Some(named) = self.named_account(by, program, named) else {
                        break;
                    };
                    by = named;
                    if !tool.remote_code.is_empty() && !names_this_machine(args) {
                        local = without(tool.remote_code, args);
                        if local.len() < args.len() {
                            self.remote(&by, program);
                        }
                        rest = &local;
                    }
                    self.tool(&by, known, tool, rest);
                    let is_start = |arg: &Vec<u8>| is_one(tool.starts, arg);
                    let at = args.iter().position(is_start);
                    let behind = at.map_or(args.len(), |at| at.saturating_add(1));
                    inner = args.split_at(behind).1;
                    if base_name(program) == b"find" && runs_found(inner) {
                        self.found(&by, args);
                    }
                }
                Some((known, Class::ContainerRunner(runner))) => {
                    self.contained(&by, runner, args);
                    rest = of_this_machine(known, args);
                }
                None => {}
            }
            if !executes_no_file(base_name(program)) {
                for path in rest.iter().flat_map(|arg| paths(arg)) {
                    self.argument(&by, path);
                }
            }
            argv = inner;
            if let Some(program) = inner.first().filter(|program| is_open(program)) {
                self.unfollowed(&by, program);
                argv = &[];
            }
        }
    }

    /// Notes what the options of a wrapper say. Returns how it executes the inner program. `None`: its account is not
    /// known.
    fn wrapped(
        &mut self,
        by: Execution,
        program: &[u8],
        wrapper: &Wrapper,
        args: &[Vec<u8>],
    ) -> Option<Execution> {
        let own = args.split_at(wrapper.inner(args)).0;
        let named = wrapper
            .account(args)
            .or_else(|| property_user(program, own));
        let mut by = self.named_account(by, program, named)?;
        for word in own {
            if wrapper.assigns && word.contains(&b'=') && !word.starts_with(b"-") {
                variables::apply(self, &mut by, word);
            }
        }
        if let Some(directory) = value_of(wrapper.directories, own) {
            by.enter(directory);
        }
        if wrapper.is_remote {
            self.settings(&by, wrapper, own);
        } else if let Some(at) = code_at(wrapper, args) {
            let text = args.iter().skip(at.saturating_add(1));
            self.nested_text(&by, &text.cloned().collect::<Vec<_>>().join(&b' '));
        }
        Some(by)
    }

    /// `name`: of an account, or its number, also with a group behind a colon. A group alone leaves the account, but chpst(8) has
    /// a colon in front of numbers. Only root becomes another account without a password; what sudo permits an account are
    /// facts of their own. `None`: the account is not known, which is noted.
    fn named_account(
        &self,
        by: Execution,
        program: &[u8],
        name: Option<&[u8]>,
    ) -> Option<Execution> {
        let name = name.filter(|_| by.uid == 0).unwrap_or_default();
        let numbers = name
            .strip_prefix(b":")
            .filter(|_| base_name(program) == b"chpst");
        let mut parts = numbers.unwrap_or(name).split(|byte| *byte == b':');
        let known = parts.next().unwrap_or_default().trim_ascii();
        if known.is_empty() {
            return Some(by);
        }
        let number = known.strip_prefix(b"#").unwrap_or(known);
        let number = std::str::from_utf8(number).ok();
        let number = number.and_then(|number| number.parse().ok());
        let known = std::str::from_utf8(known).ok();
        let uid = number.or_else(|| self.facts.accounts.uid(known?));
        if uid.is_none() {
            let name = remit_common::text::line(name, 60);
            let why = format!("what it runs as '{name}' is not followed: the account is unknown");
            self.machine.unknown(&by.source.file, why);
        }
        uid.map(|uid| Execution { uid, ..by })
    }

    /// Notes the files of verbs of a container runner that name what it does to the machine, such as those of compose.
    fn contained(&mut self, by: &Execution, runner: &ContainerRunner, args: &[Vec<u8>]) {
        for (verb, options) in runner.verb_code {
            if !args.iter().any(|arg| verb.as_bytes() == arg) {
                continue;
            }
            let reads = runner.verb_reads.iter().find(|(of, _)| of == verb);
            let reads = reads.map_or(&[][..], |(_, files)| files);
            let values = values_of(options, args);
            if values.is_empty() {
                self.reads(by, reads);
            }
            for value in values {
                self.loads(by, reads, value);
            }
        }
    }

    /// Notes files that a program looks for in its working directory.
    fn reads(&mut self, by: &Execution, names: &[&str]) {
        let files = names
            .iter()
            .filter_map(|name| by.directory.as_ref()?.join(name));
        for file in files.collect::<Vec<_>>() {
            self.runs(by, file);
        }
    }

    /// Notes the code and the files that a tool executes or loads.
    fn tool(&mut self, by: &Execution, known: &Program, tool: &Tool, args: &[Vec<u8>]) {
        self.reads(by, tool.reads);
        for value in values_of(known.code(), args) {
            self.loads(by, tool.reads, value);
        }
        let verb = args.iter().position(|arg| is_one(tool.verbs, arg));
        let behind = verb.map(|verb| args.split_at(verb.saturating_add(1)).1);
        // texts.rs reads what logrotate accepts. A table of another account is that account's.
        let is_named = |name| known.names.contains(&name);
        let is_of_other = is_named("crontab") && args.iter().any(|arg| arg == b"-u");
        let is_read = !is_named("logrotate") && !is_of_other && !tool.verb;
        let operands = tool.operands.filter(|_| is_read);
        let mut operands_left = operands.unwrap_or_default();
        let all = operands.map(|_| args);
        let mut is_value = false;
        for word in behind.or(all).unwrap_or_default() {
            if std::mem::take(&mut is_value) {
                continue;
            }
            if word.starts_with(b"-") {
                is_value = is_one(tool.with_value, word);
            } else if operands_left > 0 {
                operands_left = operands_left.saturating_sub(1);
            } else {
                self.loads(by, tool.reads, word);
            }
        }
    }

    /// Notes a value that names code: a file, or the directory of such files. A relative one is one if it exists.
    pub(super) fn loads(&mut self, by: &Execution, names: &[&str], value: &[u8]) {
        let own = by.directory.as_ref().filter(|_| !value.starts_with(b"/"));
        let own = own.and_then(|above| above.join(value)).filter(|path| {
            !value.is_empty() && !is_open(value) && self.machine.entry(path).is_some()
        });
        for path in paths(value).chain(own) {
            let entry = self.machine.entry(&path);
            let is_directory = entry.is_some_and(|(_, entry)| entry.is_directory());
            match is_directory {
                true => {
                    for file in names.iter().filter_map(|name| path.join(name)) {
                        self.runs(by, file);
                    }
                }
                false => self.runs(by, path),
            }
        }
    }

    /// Notes the code that a shell or an interpreter is to run. Returns the words behind it.
    fn interpreted<'w>(
        &mut self,
        by: &Execution,
        known: &Program,
        args: &'w [Vec<u8>],
    ) -> &'w [Vec<u8>] {
        let has_script = match &known.class {
            Class::Interpreter(interpreter) => interpreter.starts_programs,
            _ => true,
        };
        let is_shell = matches!(known.class, Class::Shell);
        let (mut words, mut missing, mut open) = (args.iter(), None, None);
        let (mut is_value, mut has_code) = (false, false);
        while let Some(word) = words.next() {
            if is_shell && std::mem::take(&mut is_value) {
                continue;
            }
            if is_shell && is_bundle_with(word, |letter| *letter == b'c') {
                let text = words.cloned().collect::<Vec<_>>().join(&b' ');
                self.nested_text(by, &text);
                return &[];
            }
            let code = known.code().iter().find_map(|code| {
                let value = option_value(code, word)?;
                Some((code, value))
            });
            if let (false, Some((code, value))) = (is_shell, code) {
                let value = value.or_else(|| words.next().map(Vec::as_slice));
                let value = value.unwrap_or_default();
                for path in paths(value) {
                    self.runs(by, path);
                }
                if known.modules().contains(code) && !BEFORE_SCRIPT.contains(code) {
                    missing = self.script_named(by, value);
                }
                if has_script && !BEFORE_SCRIPT.contains(code) {
                    (open, has_code) = (None, true);
                    break;
                }
                continue;
            }
            let is_after_option = std::mem::take(&mut is_value);
            if matches!(word.first(), Some(b'-' | b'+')) {
                is_value = match is_shell {
                    true => has_value(word),
                    false => word.len() == 2 || word.starts_with(b"--") && !word.contains(&b'='),
                };
            } else if !has_script {
            } else if is_open(word) {
                open = open.or(Some(word));
            } else {
                let named = self.script_named(by, word);
                let is_there = |path: &FilePath| self.machine.entry(path).is_some();
                let is_script = word.starts_with(b"/") || named.as_ref().is_some_and(is_there);
                let is_last = is_script || !is_after_option;
                open = match named {
                    None => open.or(Some(word)),
                    Some(_) => open.filter(|_| !is_last),
                };
                missing = match is_script || missing.is_none() {
                    true => named,
                    false => missing,
                };
                if is_last {
                    break;
                }
            }
        }
        let input = by.input.as_ref().filter(|_| has_script && !has_code);
        if let (None, None, Some(word)) = (&missing, open, input) {
            match self.script_named(by, word).filter(|_| !is_open(word)) {
                Some(script) => missing = Some(script),
                None => open = Some(word),
            }
        }
        if let Some(script) = missing {
            let is_archive = ARCHIVES.iter().any(|end| script.as_bytes().ends_with(end));
            self.runs_by(by, script, Some(&known.class).filter(|_| !is_archive));
        }
        if let Some(word) = open {
            self.unfollowed(by, word);
        }
        match has_script {
            true => words.as_slice(),
            false => args,
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
}

fn is_one(words: &[&str], word: &[u8]) -> bool {
    words.iter().any(|one| one.as_bytes() == word)
}
