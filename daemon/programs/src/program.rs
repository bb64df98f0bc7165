#[derive(Debug)]
pub struct Program {
    /// Names without the version that a distribution adds.
    pub names: &'static [&'static str],
    pub class: Class,
}

#[derive(Debug)]
pub enum Class {
    Shell,
    /// Runs its script, or the text after one of its options for code.
    Interpreter(Interpreter),
    Wrapper(Wrapper),
    /// Joins its words into one text that a shell parses.
    Joins(Wrapper),
    ContainerRunner(ContainerRunner),
    /// Does work of its own, and takes code, programs or files to write at certain positions.
    Tool(Tool),
}

#[derive(Debug)]
pub struct Interpreter {
    /// Options before code, modules or settings.
    pub code: &'static [&'static str],
    /// Those of them before the name of a module, which it finds by itself.
    pub modules: &'static [&'static str],
    /// True if code in its language starts programs with words like a shell's.
    pub starts_programs: bool,
}

#[derive(Debug)]
pub struct Wrapper {
    pub operands: usize,
    pub with_value: &'static [&'static str],
    /// Options whose text is split into words or parsed by a shell.
    pub code: &'static [&'static str],
    /// `NAME=value` words come before the inner program.
    pub assigns: bool,
    /// Options before the account that the inner program gets.
    pub accounts: &'static [&'static str],
    /// Without such an option the first operand names the account.
    pub is_account_operand: bool,
    /// Options before the working directory of the inner program.
    pub directories: &'static [&'static str],
    /// It does not change why the inner program would fail in a sandbox.
    pub is_transparent: bool,
    /// The inner program is a file of another machine, or of a container.
    pub is_remote: bool,
}

#[derive(Debug)]
pub struct ContainerRunner {
    /// Words followed by a target (such as a container) and a program.
    pub starts: &'static [&'static str],
    /// Words after which the target itself chooses the program.
    pub chooses: &'static [&'static str],
    /// Options whose value reaches files, devices or programs of the host.
    pub code: &'static [&'static str],
    /// The same, after one of these verbs.
    pub verb_code: &'static [(&'static str, &'static [&'static str])],
    /// Other options with a value, after one of these verbs.
    pub verb_with_value: &'static [(&'static str, &'static [&'static str])],
    /// Files of its working directory that it reads after one of these verbs, if no such option names others.
    pub verb_reads: &'static [(&'static str, &'static [&'static str])],
}

#[derive(Debug)]
pub struct Tool {
    /// Options whose value is code, a program, or settings that name some.
    pub code: &'static [&'static str],
    /// Those of them whose value another machine runs.
    pub remote_code: &'static [&'static str],
    pub starts: &'static [&'static str],
    pub writes: &'static [&'static str],
    /// The first word that is not an option chooses the action.
    pub verb: bool,
    /// Verbs after which each word is code, a program, or a file that is installed or loaded.
    pub verbs: &'static [&'static str],
    /// From this operand on, words are code, or files that are executed or loaded. Options do not count.
    pub operands: Option<usize>,
    pub operands_written: bool,
    pub with_value: &'static [&'static str],
    /// First characters that turn a value into a file or code: `@file`, `+command`.
    pub signs: &'static str,
    /// It runs a language of its own, as editors do.
    pub is_interpreter: bool,
    /// Files of its working directory whose code it runs.
    pub reads: &'static [&'static str],
    /// Options before the account as which it runs code.
    pub accounts: &'static [&'static str],
}

pub(crate) const TOOL: Tool = Tool {
    code: &[],
    remote_code: &[],
    starts: &[],
    writes: &[],
    verb: false,
    verbs: &[],
    operands: None,
    operands_written: false,
    with_value: &[],
    signs: "",
    is_interpreter: false,
    reads: &[],
    accounts: &[],
};

impl Wrapper {
    /// Returns where the inner program is among the words; their number if there is none.
    pub fn inner<W: AsRef<[u8]>>(&self, words: &[W]) -> usize {
        let (mut operands, mut has_options, mut is_value) = (self.operands, true, false);
        let inner = words.iter().map(AsRef::as_ref).position(|word| {
            if std::mem::take(&mut is_value) {
                return false;
            }
            if has_options && word.len() > 1 && word.starts_with(b"-") {
                has_options = word != b"--";
                is_value = is_one(self.with_value, word) || self.bundled(word).is_some();
                return false;
            }
            if self.assigns && word.contains(&b'=') {
                return false;
            }
            operands = match operands.checked_sub(1) {
                Some(left) => left,
                None => return true,
            };
            false
        });
        inner.unwrap_or(words.len())
    }

    /// Returns the option of the last letter of several, as `-u` of `-iu`, if the next word is its value.
    fn bundled(&self, word: &[u8]) -> Option<&'static str> {
        let letters = word.strip_prefix(b"-")?;
        let (last, others) = letters.split_last()?;
        let option = |letter: &u8| {
            let mut options = self.with_value.iter().copied();
            options.find(|option| option.as_bytes() == [b'-', *letter])
        };
        let is_bundle =
            (1..4).contains(&others.len()) && letters.iter().all(u8::is_ascii_alphabetic);
        let is_value = others.iter().any(|letter| option(letter).is_some());
        option(last).filter(|_| is_bundle && !is_value)
    }

    /// Returns the account that the inner program gets, if these words name one.
    pub fn account<'w, W: AsRef<[u8]>>(&self, words: &'w [W]) -> Option<&'w [u8]> {
        let mut left = words.iter().map(AsRef::as_ref);
        while let Some(word) = left.next() {
            if is_one(self.accounts, word) {
                return left.next();
            }
            let attached = self.accounts.iter().find_map(|option| {
                let value = word.strip_prefix(option.as_bytes())?;
                match option.starts_with("--") {
                    true => value.strip_prefix(b"="),
                    false => Some(value),
                }
            });
            match word {
                _ if attached.is_some() => return attached,
                _ if let Some(option) = self.bundled(word) => {
                    let value = left.next();
                    if self.accounts.contains(&option) {
                        return value;
                    }
                    continue;
                }
                _ if is_one(self.with_value, word) || is_one(self.code, word) => left.next(),
                _ if word.starts_with(b"-") => continue,
                _ => return self.is_account_operand.then_some(word),
            };
        }
        None
    }
}

fn is_one(options: &[&str], word: &[u8]) -> bool {
    options.iter().any(|option| option.as_bytes() == word)
}

impl Program {
    /// Returns true if it executes code from its arguments, from files that these name, or from its standard input.
    pub fn interprets(&self) -> bool {
        match &self.class {
            Class::Shell | Class::Interpreter(_) => true,
            Class::Tool(tool) => tool.is_interpreter,
            Class::Wrapper(_) | Class::Joins(_) | Class::ContainerRunner(_) => false,
        }
    }

    pub fn starts_others(&self) -> bool {
        match &self.class {
            Class::Shell | Class::Interpreter(_) => true,
            Class::Wrapper(_) | Class::Joins(_) | Class::ContainerRunner(_) => true,
            Class::Tool(tool) => {
                let words = [tool.code, tool.starts, tool.verbs];
                tool.is_interpreter
                    || tool.operands.is_some()
                    || words.iter().any(|words| !words.is_empty())
            }
        }
    }

    /// Returns the options before the name of code that it finds by itself.
    pub fn modules(&self) -> &'static [&'static str] {
        match &self.class {
            Class::Interpreter(interpreter) => interpreter.modules,
            _ => &[],
        }
    }

    pub fn code(&self) -> &'static [&'static str] {
        match &self.class {
            Class::Shell => &["-c"],
            Class::Interpreter(interpreter) => interpreter.code,
            Class::Wrapper(wrapper) | Class::Joins(wrapper) => wrapper.code,
            Class::ContainerRunner(container_runner) => container_runner.code,
            Class::Tool(tool) => tool.code,
        }
    }
}
