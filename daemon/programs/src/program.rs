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
    /// It does not change why the inner program would fail in a sandbox.
    pub is_transparent: bool,
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
}

#[derive(Debug)]
pub struct Tool {
    /// Options whose value is code, a program, or settings that name some.
    pub code: &'static [&'static str],
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
}

pub(crate) const TOOL: Tool = Tool {
    code: &[],
    starts: &[],
    writes: &[],
    verb: false,
    verbs: &[],
    operands: None,
    operands_written: false,
    with_value: &[],
    signs: "",
    is_interpreter: false,
};

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
