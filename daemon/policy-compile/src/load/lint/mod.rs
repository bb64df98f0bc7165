//! Checks templates of programs that run code. A value that such a program takes for code is not an argument but a
//! command, whatever its type. The list is not complete and no sandbox layer: it refuses what can only be a mistake.

mod package;
mod tool;

use std::ops::Range;

use remit_programs::{Class, Interpreter, Wrapper, known};

pub(crate) use crate::load::lint::tool::gaps;
use crate::load::reader::WithSpan;
use remit_policy::model::command::{Param, ParamKind, Part, Stdin, Word};
use remit_policy::{Severity, quoted};

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    pub(crate) span: Range<usize>,
    pub(crate) message: String,
    /// What to write instead, if it is an error.
    pub(crate) help: String,
}

const HELP: &str = "name the inner program in a command of its own, or write fixed words there; see WRAPPERS AND INTERPRETERS in \
                    remit-policy(5)";

/// One word: text, with a value at the end if `value`.
#[derive(Clone)]
struct LintWord<'a> {
    text: &'a str,
    value: bool,
    kind: Option<&'a ParamKind>,
    span: Range<usize>,
}

pub(crate) fn lint(
    argv: &[WithSpan<Part>],
    params: &[WithSpan<Param>],
    stdin: &Stdin,
) -> Vec<Finding> {
    let lint_word = |word, span| lint_word(word, params, span);
    let seen: Vec<LintWord<'_>> = argv
        .iter()
        .flat_map(|part| {
            part.value
                .words()
                .iter()
                .map(move |word| lint_word(word, &part.span))
        })
        .collect();
    let mut linter = Linter {
        found: Vec::new(),
        // Also a secret and a plan are a caller's text.
        caller_writes: *stdin != Stdin::None,
    };
    linter.command(&seen);
    linter.found
}

fn lint_word<'a>(
    word: &'a Word,
    params: &'a [WithSpan<Param>],
    span: &Range<usize>,
) -> LintWord<'a> {
    let (text, at) = match word {
        Word::Literal(text) => (text.as_str(), None),
        Word::Value(at) => ("", Some(at)),
        Word::Attached(before, at) => (before.as_str(), Some(at)),
    };
    let param = at.and_then(|at| params.get(*at));
    LintWord {
        text,
        value: at.is_some(),
        kind: param.map(|param| &param.value.kind),
        span: span.clone(),
    }
}

impl LintWord<'_> {
    fn is_option(&self) -> bool {
        self.text.starts_with(['-', '+']) && self.text.len() > 1
    }

    /// Returns true for one of these options, for a short one with its value attached, and for a bundle that ends with
    /// one, as `-ae`. A capital letter counts anywhere in a bundle: programs differ in which takes the next word.
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

    /// Returns true if the caller writes its value freely, or by a pattern. Enums and numbers are not free.
    fn is_free(&self) -> bool {
        let kind = self.kind;
        self.value
            && kind.is_none_or(|kind| {
                matches!(
                    kind,
                    ParamKind::Text { .. } | ParamKind::Path { .. } | ParamKind::Secret { .. }
                )
            })
    }

    /// Returns true if its value is neither from a list of the definition nor a number.
    fn is_open(&self) -> bool {
        let listed = |kind: &ParamKind| {
            matches!(
                kind,
                ParamKind::Enum(_) | ParamKind::Int { .. } | ParamKind::Flag(_)
            )
        };
        self.value && !self.kind.is_some_and(listed)
    }

    /// Returns true if it is one of these options. A short one may end a bundle, such as `e` in `-ne`.
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

    fn refuse_with_help(&mut self, span: &Range<usize>, message: String, help: String) {
        let (severity, span) = (Severity::Error, span.clone());
        self.found.push(Finding {
            severity,
            span,
            message,
            help,
        });
    }

    fn push(&mut self, severity: Severity, span: &Range<usize>, message: String) {
        let span = span.clone();
        self.found.push(Finding {
            severity,
            span,
            message,
            help: HELP.to_owned(),
        });
    }

    /// Checks a program and its words. The words of a wrapper contain another command.
    fn command(&mut self, words: &[LintWord<'_>]) {
        let Some((program, rest)) = words.split_first() else {
            return;
        };
        let name = program.text.rsplit('/').next().unwrap_or_default();
        self.package(name, rest);
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
            Class::ContainerRunner(container_runner) => {
                return self.container_runner(program, rest, container_runner);
            }
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
    fn shell(&mut self, program: &LintWord<'_>, rest: &[LintWord<'_>]) {
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
                    // As $0, $1 it is safe only if the text quotes it.
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

    fn no_script(&mut self, program: &LintWord<'_>) {
        if self.caller_writes {
            let message = format!("{} would run what a caller writes", quoted(program.text));
            self.refuse(&program.span, message);
        }
    }

    /// `perl [options] [-e text]… [script] [values]`: no value up to and in text or script.
    fn interpreter(&mut self, program: &LintWord<'_>, rest: &[LintWord<'_>], code: &[&str]) {
        let mut has_code = false;
        let mut words = rest.iter();
        while let Some(word) = words.next() {
            if word.is_one_of(code) {
                let text = if word.value { Some(word) } else { words.next() };
                if let Some(text) = text.filter(|text| text.value) {
                    let message = format!("a value that {} runs as code", quoted(program.text));
                    return self.refuse(&text.span, message);
                }
                has_code = true;
            } else if word.value && !has_code {
                let message = format!(
                    "a value where {} takes options, its script or its code",
                    quoted(program.text)
                );
                return self.refuse(&word.span, message);
            } else if !word.is_option() {
                has_code = true;
            }
        }
        if !has_code {
            self.no_script(program);
        }
    }

    /// `timeout [options] 5 program [values]`.
    fn wrapper(&mut self, program: &LintWord<'_>, rest: &[LintWord<'_>], wrapper: &Wrapper) {
        let has_value = rest.iter().any(|word| word.value);
        let mut operands = wrapper.operands;
        let mut options = true;
        let mut words = rest;
        while let Some((word, after)) = words.split_first() {
            if word.value {
                let message = format!(
                    "a value before the program that {} starts, or instead of it",
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
                let inner: Vec<LintWord<'_>> = [word].into_iter().chain(words).cloned().collect();
                return self.command(&inner);
            }
        }
        self.no_script(program);
    }

    /// `ssh [options] host [words]`: no value in words, nor in options that run code.
    fn joins(&mut self, program: &LintWord<'_>, rest: &[LintWord<'_>], joins: &Wrapper) {
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
