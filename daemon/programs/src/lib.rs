//! What programs are known for, by their names: one table for all who say something about a program.
//!
//! The lint of templates refuses values that a program takes for code. The risks of a request say that a program
//! executes what its arguments tell it. The hints about a failed job look through a program that only starts another
//! one. Each reads this table and has no list of its own of shells, interpreters and programs that start others.
//! It is data: no IO, no dependency. A name decides nothing by itself, and no list of programs is complete.
#![forbid(unsafe_code)]

mod elsewhere;
mod starters;
mod tools;

/// Programs that have one thing in common.
#[derive(Debug)]
pub struct Program {
    /// Their names, without the version that a distribution adds.
    pub names: &'static [&'static str],
    /// What they do with their words.
    pub class: Class,
}

/// What a program does with its words.
#[derive(Debug)]
pub enum Class {
    /// Runs its script, or the text behind `-c`.
    Shell,
    /// Runs its script, or the text behind one of its options for code.
    Interpreter(Interpreter),
    /// Starts another program.
    Wrapper(Wrapper),
    /// Puts its words together into one text, which a shell reads.
    Joins(Wrapper),
    /// Starts a program somewhere else: in a container, on a machine, in a network.
    Elsewhere(Elsewhere),
    /// Does work of its own, and takes code, programs or files to write in certain places.
    Tool(Tool),
}

/// A program that runs a language.
#[derive(Debug)]
pub struct Interpreter {
    /// Options before code, modules or settings.
    pub code: &'static [&'static str],
    /// Whether its language starts other programs in words as a shell has them.
    pub starts_programs: bool,
}

/// A program that starts another one.
#[derive(Debug)]
pub struct Wrapper {
    /// Words before the inner program that are no options.
    pub operands: usize,
    /// Options that take the next word.
    pub with_value: &'static [&'static str],
    /// Options whose text is split into words or read by a shell.
    pub code: &'static [&'static str],
    /// `NAME=value` words come before the inner program.
    pub assigns: bool,
    /// It changes nothing about why the inner program would fail in a sandbox.
    pub is_transparent: bool,
}

/// A program that starts others elsewhere.
#[derive(Debug)]
pub struct Elsewhere {
    /// Words behind which a place and then a program stand.
    pub starts: &'static [&'static str],
    /// Words behind which the place itself chooses what is started.
    pub chooses: &'static [&'static str],
    /// Options whose value reaches files, devices or programs of the host.
    pub code: &'static [&'static str],
    /// The same, behind one of these verbs.
    pub verb_code: &'static [(&'static str, &'static [&'static str])],
}

/// A tool, and the places where a value is more than data.
#[derive(Debug)]
pub struct Tool {
    /// Options whose value is code, a program or settings that name some.
    pub code: &'static [&'static str],
    /// Words behind which another program stands.
    pub starts: &'static [&'static str],
    /// Options whose value is a file that is written.
    pub writes: &'static [&'static str],
    /// The first word that is no option chooses what is done.
    pub verb: bool,
    /// Verbs behind which each word is code, a program, or a file that is installed or loaded.
    pub verbs: &'static [&'static str],
    /// From this word on (without options) they are code, or files that are executed or loaded.
    pub operands: Option<usize>,
    /// Each of its words is a file that is written.
    pub operands_written: bool,
    /// Options that take the next word.
    pub with_value: &'static [&'static str],
    /// Signs at the begin of a value that make a file or code of it: `@file`, `+command`.
    pub signs: &'static str,
    /// It runs a language of its own, as editors do.
    pub is_interpreter: bool,
}

const TOOL: Tool = Tool {
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
    /// Whether it executes code from its arguments, from files that these name, or from its standard input.
    pub fn interprets(&self) -> bool {
        match &self.class {
            Class::Shell | Class::Interpreter(_) => true,
            Class::Tool(tool) => tool.is_interpreter,
            Class::Wrapper(_) | Class::Joins(_) | Class::Elsewhere(_) => false,
        }
    }

    /// Whether it can start other programs.
    pub fn starts_others(&self) -> bool {
        match &self.class {
            Class::Shell | Class::Interpreter(_) => true,
            Class::Wrapper(_) | Class::Joins(_) | Class::Elsewhere(_) => true,
            Class::Tool(tool) => {
                let words = [tool.code, tool.starts, tool.verbs];
                tool.is_interpreter
                    || tool.operands.is_some()
                    || words.iter().any(|words| !words.is_empty())
            }
        }
    }

    /// Its options before code.
    pub fn code(&self) -> &'static [&'static str] {
        match &self.class {
            Class::Shell => &["-c"],
            Class::Interpreter(interpreter) => interpreter.code,
            Class::Wrapper(wrapper) | Class::Joins(wrapper) => wrapper.code,
            Class::Elsewhere(elsewhere) => elsewhere.code,
            Class::Tool(tool) => tool.code,
        }
    }
}

/// All of them. A name stands in one entry.
pub fn all() -> impl Iterator<Item = &'static Program> {
    let starters = starters::PROGRAMS.iter().chain(elsewhere::PROGRAMS);
    starters.chain(tools::PROGRAMS)
}

/// What distributions put behind the name of one of several builds, or of what they have diverted.
const BUILDS: [&str; 8] = [
    "-dbg", ".basic", ".distrib", ".nox", ".openbsd", ".orig", ".real", ".tiny",
];

/// The program of this name, the last part of a path; a version as in `python3.11` is left out.
pub fn known(name: &str) -> Option<&'static Program> {
    let built = BUILDS.iter().find_map(|build| name.strip_suffix(build));
    let stem = built.unwrap_or(name);
    let stem =
        stem.trim_end_matches(|char: char| char.is_ascii_digit() || char == '.' || char == '-');
    let of = |name: &str| all().find(|program| program.names.contains(&name));
    of(name).or_else(|| of(stem))
}

/// Whether a shell has this name.
pub fn is_shell(name: &str) -> bool {
    known(name).is_some_and(|program| matches!(program.class, Class::Shell))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_stands_once() {
        let mut names: Vec<&str> = all().flat_map(|program| program.names).copied().collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(all().all(|program| !program.names.is_empty()));
    }

    #[test]
    fn versions_and_builds_are_left_out() {
        for (name, expect) in [
            ("python3.11", "python"),
            ("perl5.36", "perl"),
            ("vim.tiny", "vim"),
            ("sh.distrib", "sh"),
            ("ld-linux-x86-64.so.2", "ld-linux-x86-64.so"),
            ("nc.openbsd", "nc"),
        ] {
            let program = known(name).unwrap_or_else(|| unreachable!("{name}"));
            assert!(program.names.contains(&expect), "{name}");
        }
        for name in ["", "df", "showenv", "pythonic", "3.11"] {
            assert!(known(name).is_none(), "{name}");
        }
        assert!(is_shell("bash") && !is_shell("python3"));
    }
}
