//! Templates of programs that run code: a value that such a program takes for code is not an argument
//! but a command, whatever its type.
//!
//! The list cannot be complete, and it is no wall: the profile is. It refuses what can only be a mistake.

mod elsewhere;
mod gaps;
mod tool;

use std::ops::Range;

use remit_programs::{Class, Interpreter, Wrapper, known};

use crate::load::diagnostic::{Severity, quoted};
use crate::load::reader::Placed;
use crate::load::template::words;
use crate::model::command::{Kind, Param, Part, Stdin, Word};
pub(crate) use gaps::gaps;

/// What is wrong with a template, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    pub(crate) span: Range<usize>,
    pub(crate) message: String,
}

/// One word: text, or a value at the end.
#[derive(Clone)]
struct Seen<'a> {
    text: &'a str,
    value: bool,
    /// The type of the value.
    kind: Option<&'a Kind>,
    span: Range<usize>,
}

/// Looks through a whole template.
pub(crate) fn lint(argv: &[Placed<Part>], params: &[Placed<Param>], stdin: &Stdin) -> Vec<Finding> {
    let see = |word, span| see(word, params, span);
    let seen: Vec<Seen<'_>> = argv
        .iter()
        .flat_map(|part| {
            words(&part.value)
                .iter()
                .map(move |word| see(word, &part.span))
        })
        .collect();
    let mut linter = Linter {
        found: Vec::new(),
        caller_writes: *stdin == Stdin::Caller,
    };
    linter.command(&seen);
    linter.found
}

fn see<'a>(word: &'a Word, params: &'a [Placed<Param>], span: &Range<usize>) -> Seen<'a> {
    let (text, at) = match word {
        Word::Literal(text) => (text.as_str(), None),
        Word::Value(at) => ("", Some(at)),
        Word::Attached(before, at) => (before.as_str(), Some(at)),
    };
    let param = at.and_then(|at| params.get(*at));
    Seen {
        text,
        value: at.is_some(),
        kind: param.map(|param| &param.value.kind),
        span: span.clone(),
    }
}

impl Seen<'_> {
    fn is_option(&self) -> bool {
        self.text.starts_with(['-', '+']) && self.text.len() > 1
    }

    /// Whether it is one of these options, or begins with a short one and ends in a value; or is a bundle of
    /// short ones with one of these at its end, as `-ae`. A capital letter counts anywhere in it: programs
    /// differ in which of a bundle takes the next word.
    fn leads_to(&self, options: &[&str]) -> bool {
        let name = self.text.strip_suffix('=').unwrap_or(self.text);
        let glued = |option: &&str| {
            let short = option.len() == 2 && !self.text.starts_with("--");
            self.value && short && self.text.starts_with(option)
        };
        let letters = name.strip_prefix('-').filter(|letters| {
            letters.len() > 1 && letters.bytes().all(|byte| byte.is_ascii_alphanumeric())
        });
        let bundled = |option: &&str| {
            let letter = option.strip_prefix('-').filter(|letter| letter.len() == 1);
            let (Some(letters), Some(letter)) = (letters, letter) else {
                return false;
            };
            let capital = letter.bytes().all(|byte| byte.is_ascii_uppercase());
            letters.ends_with(letter) || (capital && letters.contains(letter))
        };
        options
            .iter()
            .any(|option| *option == name || glued(option) || bundled(option))
    }

    /// Whether its value is whatever a caller writes, within a pattern at most: no word of a list in this
    /// file, no number, and no name that is more than a name to no program.
    fn is_free(&self) -> bool {
        let kind = self.kind;
        self.value
            && kind.is_none_or(|kind| {
                matches!(
                    kind,
                    Kind::Text { .. } | Kind::Path { .. } | Kind::Secret { .. }
                )
            })
    }

    /// Whether its value is not one of those that this file lists, nor a number.
    fn is_open(&self) -> bool {
        let listed = |kind: &Kind| matches!(kind, Kind::Enum(_) | Kind::Int { .. } | Kind::Flag(_));
        self.value && !self.kind.is_some_and(listed)
    }

    /// Whether it is one of these options; a short one may stand at the end of others, as `e` in `-ne`.
    fn is_one_of(&self, options: &[&str]) -> bool {
        let name = self.text.strip_suffix('=').unwrap_or(self.text);
        let bundled = |option: &&str| {
            let letter = option.strip_prefix('-').filter(|letter| letter.len() == 1);
            let short = name.starts_with('-') && !name.starts_with("--");
            letter.is_some_and(|letter| short && name.ends_with(letter))
        };
        options
            .iter()
            .any(|option| *option == name || bundled(option))
    }
}

struct Linter {
    found: Vec<Finding>,
    caller_writes: bool,
}

impl Linter {
    fn refuse(&mut self, span: &Range<usize>, message: String) {
        self.push(Severity::Error, span, message);
    }

    fn push(&mut self, severity: Severity, span: &Range<usize>, message: String) {
        let span = span.clone();
        self.found.push(Finding {
            severity,
            span,
            message,
        });
    }

    /// A program and its words. Of a wrapper, the words hold another command.
    fn command(&mut self, words: &[Seen<'_>]) {
        let Some((program, rest)) = words.split_first() else {
            return;
        };
        let name = program.text.rsplit('/').next().unwrap_or_default();
        let before = self.found.len();
        let Some(known) = known(name) else { return };
        let what = match &known.class {
            Class::Shell => {
                self.shell(program, rest);
                "a shell"
            }
            Class::Interpreter(Interpreter { code, .. }) => {
                self.interpreter(program, rest, code);
                "an interpreter"
            }
            Class::Wrapper(wrapper) => {
                self.wrapper(program, rest, wrapper);
                "a program that starts others"
            }
            Class::Joins(joins) => {
                self.joins(program, rest, joins);
                "a program that has a shell read its words"
            }
            Class::Elsewhere(elsewhere) => return self.elsewhere(program, rest, elsewhere),
            Class::Tool(tool) => return self.tool(program, rest, tool),
        };
        if self.found.len() == before {
            let message = format!(
                "{} is {what}: a script of your own, or the inner program itself, says more \
                 clearly what is run",
                quoted(program.text)
            );
            self.push(Severity::Warning, &program.span, message);
        }
    }

    /// `sh [options] [-c text | script] [values]`.
    fn shell(&mut self, program: &Seen<'_>, rest: &[Seen<'_>]) {
        let mut text = false;
        let mut words = rest.iter();
        while let Some(word) = words.next() {
            if word.value {
                let message = if text {
                    "a value in the text of a shell's -c: it would be run as code"
                } else {
                    "a value where a shell takes options or its script"
                };
                return self.refuse(&word.span, message.into());
            }
            match word.text {
                "-o" | "+o" | "-O" | "+O" | "--rcfile" | "--init-file" => {
                    if let Some(value) = words.next().filter(|word| word.value) {
                        let message = "a value where a shell takes options or its script";
                        return self.refuse(&value.span, message.into());
                    }
                }
                _ if word.is_option() && !word.text.starts_with("--") => {
                    text |= word.text.contains(['c', 'C']);
                }
                _ if word.is_option() => {}
                _ if text => {
                    // As $0, $1 it is safe only where the text quotes it.
                    if let Some(value) = words.find(|word| word.value) {
                        let message = "a value behind the text of a shell's -c: put the text into a \
                                       script file, which gets it as an argument";
                        self.refuse(&value.span, message.into());
                    }
                    return;
                }
                _ => return,
            }
        }
        self.no_script(program);
    }

    /// Nothing but standard input tells it what to do.
    fn no_script(&mut self, program: &Seen<'_>) {
        if self.caller_writes {
            let message = format!("{} would run what a caller writes", quoted(program.text));
            self.refuse(&program.span, message);
        }
    }

    /// `perl [options] [-e text]… [script] [values]`: no value up to and in text or script.
    fn interpreter(&mut self, program: &Seen<'_>, rest: &[Seen<'_>], code: &[&str]) {
        let mut told = false;
        let mut words = rest.iter();
        while let Some(word) = words.next() {
            if word.is_one_of(code) {
                let text = if word.value { Some(word) } else { words.next() };
                if let Some(text) = text.filter(|text| text.value) {
                    let message = format!("a value that {} runs as code", quoted(program.text));
                    return self.refuse(&text.span, message);
                }
                told = true;
            } else if word.value && !told {
                let message = format!(
                    "a value where {} takes options, its script or its code",
                    quoted(program.text)
                );
                return self.refuse(&word.span, message);
            } else if !word.is_option() {
                told = true;
            }
        }
        if !told {
            self.no_script(program);
        }
    }

    /// `timeout [options] 5 program [values]`.
    fn wrapper(&mut self, program: &Seen<'_>, rest: &[Seen<'_>], wrapper: &Wrapper) {
        let has_value = rest.iter().any(|word| word.value);
        let mut operands = wrapper.operands;
        let mut options = true;
        let mut words = rest;
        while let Some((word, after)) = words.split_first() {
            if word.value {
                let message = format!(
                    "a value before the program that {} starts, or in its place",
                    quoted(program.text)
                );
                return self.refuse(&word.span, message);
            }
            words = after;
            if options && word.text == "--" {
                options = false;
            } else if options && word.is_option() {
                if wrapper.code.contains(&word.text) && has_value {
                    let message = format!("{} splits a text into words", quoted(program.text));
                    return self.refuse(&word.span, message);
                }
                if wrapper.with_value.contains(&word.text) {
                    if let Some(value) = after.first().filter(|word| word.value) {
                        let message =
                            format!("a value among the options of {}", quoted(program.text));
                        return self.refuse(&value.span, message);
                    }
                    words = after.get(1..).unwrap_or_default();
                }
            } else if wrapper.assigns && word.text.contains('=') {
            } else if operands > 0 {
                operands -= 1;
            } else {
                if has_value && !word.text.starts_with('/') {
                    let message = format!(
                        "what {} starts is not an absolute path, and there are values",
                        quoted(program.text)
                    );
                    return self.refuse(&word.span, message);
                }
                let inner: Vec<Seen<'_>> = [word].into_iter().chain(words).cloned().collect();
                return self.command(&inner);
            }
        }
        self.no_script(program);
    }

    /// `ssh [options] host [words]`: no value in words, nor in options that run code.
    fn joins(&mut self, program: &Seen<'_>, rest: &[Seen<'_>], joins: &Wrapper) {
        let mut operands = joins.operands;
        let mut words = rest.iter();
        while let Some(word) = words.next() {
            let bad = if word.is_option() && word.leads_to(joins.code) {
                let text = if word.value { Some(word) } else { words.next() };
                text.filter(|text| text.value)
            } else if joins.with_value.contains(&word.text) && !word.value {
                words.next();
                None
            } else if word.is_option() && !word.value {
                None
            } else if operands > 0 {
                operands -= 1;
                None
            } else {
                let first = Some(word).filter(|word| word.value);
                first.or_else(|| words.find(|word| word.value))
            };
            if let Some(value) = bad {
                let message = format!("a value that {} gives to a shell", quoted(program.text));
                return self.refuse(&value.span, message);
            }
        }
    }
}

#[cfg(test)]
mod tests;
