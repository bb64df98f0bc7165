//! Checks tools, and tools that run a program in a container: options that run code or write files, words that start a
//! program as `find -exec` does, words that are code or a program by position. Also finds values that replace an absent
//! one: an absent optional argument adds no element, so the next takes its position, with a type never checked for it.

use remit_policy::call::bind::param_position;
use remit_policy::model::command::{Param, ParamKind, Part, Word};
use remit_policy::{Severity, quoted};
use remit_programs::{ContainerRunner, Tool};

use super::{Finding, LintWord, Linter};
use crate::load::reader::WithSpan;

impl Linter {
    pub(super) fn tool(&mut self, program: &LintWord<'_>, rest: &[LintWord<'_>], tool: &Tool) {
        let name = quoted(program.text);
        let mut operands = 0;
        let mut verb = None;
        let mut skip = false;
        for (at, word) in rest.iter().enumerate() {
            self.sign(program, word, tool);
            let after = rest.get(at + 1..).unwrap_or_default();
            let text = if word.value {
                Some(word)
            } else {
                after.first()
            };
            if skip {
                skip = false;
            } else if !word.value && tool.starts.contains(&word.text) {
                let options = after
                    .iter()
                    .take_while(|word| word.is_option() && !word.value);
                let inner = after.get(options.count()..).unwrap_or_default();
                match inner.first() {
                    Some(first) if first.value => {
                        self.refuse(&first.span, format!("a value that {name} starts"));
                    }
                    _ => self.command(inner),
                }
            } else if word.is_option() {
                let (code, writes) = (word.leads_to(tool.code), word.leads_to(tool.writes));
                if code && let Some(text) = text.filter(|text| text.is_open()) {
                    let message = format!("a value that {name} takes for code or settings");
                    self.refuse(&text.span, message);
                }
                if writes && let Some(text) = text.filter(|text| is_text(text)) {
                    self.writes(&name, text);
                }
                skip = !word.value && (code || writes || tool.with_value.contains(&word.text));
            } else {
                let position = operands;
                operands += 1;
                if !word.value && tool.verbs.contains(&word.text) {
                    verb = Some(word.text);
                }
                if !word.is_free() {
                    continue;
                }
                if tool.verb && position == 0 {
                    let message = format!("a value that chooses what {name} does");
                    self.refuse(&word.span, message);
                } else if tool.operands.is_some_and(|from| position >= from) {
                    let message = format!("a value that {name} executes or loads");
                    self.refuse(&word.span, message);
                } else if let Some(verb) = verb {
                    let message = format!(
                        "a value behind '{verb}': {name} takes it for a file to install or load, or for code, where \
                         it is written so; the types package, unit and enum are no such thing"
                    );
                    self.refuse(&word.span, message);
                } else if tool.operands_written && is_text(word) {
                    self.writes(&name, word);
                }
            }
        }
    }

    fn writes(&mut self, name: &str, word: &LintWord<'_>) {
        let message = format!(
            "a value that chooses a file which {name} writes: type path keeps it in one directory"
        );
        self.push(Severity::Warning, &word.span, message);
    }

    fn sign(&mut self, program: &LintWord<'_>, word: &LintWord<'_>, tool: &Tool) {
        let Some(ParamKind::Text { pattern, .. }) = word.kind else {
            return;
        };
        for sign in tool.signs.chars() {
            let begins = ["a", "/a", "/etc/passwd", "so/srv/a", ""];
            let mut begins = begins.iter().map(|rest| format!("{sign}{rest}"));
            if begins.any(|text| pattern.matches(text.as_bytes())) {
                let message = format!(
                    "a value can begin with '{sign}', by which {} takes it for a file or a command: a pattern that \
                     begins with [A-Za-z0-9_] says that it is none",
                    quoted(program.text)
                );
                self.push(Severity::Warning, &word.span, message);
            }
        }
    }
}

/// Returns true if its value is free text. A path is not: it is bound to its directory.
fn is_text(word: &LintWord<'_>) -> bool {
    word.is_free() && !matches!(word.kind, Some(ParamKind::Path { .. }))
}

const WITH_VALUE: &[&str] = &[
    "-c",
    "-e",
    "-n",
    "-u",
    "-v",
    "-w",
    "--container",
    "--cwd",
    "--env",
    "--group",
    "--name",
    "--namespace",
    "--network",
    "--user",
    "--volume",
    "--workdir",
];

impl Linter {
    /// `docker exec [options] container program [values]`: a caller chooses the container, not the program or host files.
    pub(super) fn container_runner(
        &mut self,
        program: &LintWord<'_>,
        rest: &[LintWord<'_>],
        container_runner: &ContainerRunner,
    ) {
        let has = |word: &str| rest.iter().any(|seen| !seen.value && seen.text == word);
        let verbs = container_runner.verb_code.iter();
        let verbs = verbs
            .filter(|(verb, _)| has(verb))
            .flat_map(|(_, code)| *code);
        let code: Vec<&str> = container_runner.code.iter().chain(verbs).copied().collect();
        for (at, word) in rest.iter().enumerate().filter(|(_, word)| word.is_option()) {
            let text = if word.value {
                Some(word)
            } else {
                rest.get(at + 1)
            };
            if word.leads_to(&code)
                && let Some(text) = text.filter(|text| text.is_open())
            {
                let message = format!(
                    "a value by which {} is given files, programs or devices of the host",
                    quoted(program.text)
                );
                return self.refuse(&text.span, message);
            }
        }
        let mut words = rest.iter();
        if words.any(|word| container_runner.chooses.contains(&word.text))
            && let Some(value) = words.find(|word| word.is_free())
        {
            let message = format!("a value that {} starts", quoted(program.text));
            return self.refuse(&value.span, message);
        }
        let mut words = rest.iter();
        if !words.any(|word| container_runner.starts.contains(&word.text)) {
            return;
        }
        let mut is_target = true;
        while let Some(word) = words.next() {
            if word.is_option() {
                if WITH_VALUE.contains(&word.text) {
                    words.next();
                }
            } else if is_target {
                is_target = false;
            } else if word.value {
                let message = format!("a value that {} starts", quoted(program.text));
                return self.refuse(&word.span, message);
            } else {
                let inner: Vec<LintWord<'_>> = [word].into_iter().chain(words).cloned().collect();
                return self.command(&inner);
            }
        }
    }
}

const GAP_HELP: &str = "put it into brackets together with the option before it, or behind the others; in brackets \
                        alone, where that is meant";

/// Finds each optional value whose absence would move another one up. Values in brackets of their own are meant so.
pub(crate) fn gaps(argv: &[WithSpan<Part>], params: &[WithSpan<Param>]) -> Vec<Finding> {
    let param = |word: &Word| params.get(param_position(word)?).map(|param| &param.value);
    let mut found = Vec::new();
    for (at, part) in argv.iter().enumerate() {
        let Part::Word(word @ Word::Value(_)) = &part.value else {
            continue;
        };
        let Some(gone) = param(word).filter(|param| is_optional(param)) else {
            continue;
        };
        let after = argv.iter().skip(at + 1).map(|part| &part.value);
        if let Some(next) = moves_up(after, &param) {
            let message = format!(
                "if {} is not given, {} takes its position",
                quoted(&gone.name),
                quoted(&next.name)
            );
            found.push(Finding {
                severity: Severity::Error,
                span: part.span.clone(),
                message,
                help: GAP_HELP.to_owned(),
            });
        }
    }
    found
}

/// Returns false for a flag: it has no position of its own.
fn is_optional(param: &Param) -> bool {
    param.optional && param.default.is_none() && !matches!(param.kind, ParamKind::Flag(_))
}

fn moves_up<'a, 'p>(
    mut after: impl Iterator<Item = &'a Part>,
    param: &impl Fn(&Word) -> Option<&'p Param>,
) -> Option<&'p Param> {
    after.find_map(|part| {
        let (first, is_group) = match part {
            Part::Word(word) => (word, false),
            Part::Group(words) => (words.first()?, true),
        };
        match first {
            Word::Value(_) => {
                let is_flag = |param: &&Param| matches!(param.kind, ParamKind::Flag(_));
                param(first).filter(|param| !is_flag(param)).map(Some)
            }
            Word::Literal(_) | Word::Attached(..) => (!is_group).then_some(None),
        }
    })?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn param(name: &str, optional: bool, flag: bool) -> WithSpan<Param> {
        let text = ParamKind::Text {
            pattern: crate::load::regex::pattern("a").unwrap(),
            max: 1,
            dash: false,
        };
        let kind = match flag {
            true => ParamKind::Flag("-f".into()),
            false => text,
        };
        let value = Param {
            name: name.into(),
            kind,
            summary: String::new(),
            optional,
            default: None,
            most: 1,
        };
        WithSpan { value, span: 0..0 }
    }

    #[test]
    fn what_would_move_up_is_found() {
        let params = [
            param("x", true, false),
            param("y", false, false),
            param("f", true, true),
        ];
        let literal = |text: &str| Part::Word(Word::Literal(text.into()));
        let value = |at| Part::Word(Word::Value(at));
        let group = |words: Vec<Word>| Part::Group(words);
        let check = |argv: Vec<Part>, expect: usize| {
            let shown = format!("{argv:?}");
            let argv: Vec<_> = argv
                .into_iter()
                .map(|value| WithSpan { value, span: 0..0 })
                .collect();
            let found = gaps(&argv, &params);
            assert_eq!(found.len(), expect, "{shown}: {found:?}");
        };
        let (x, y, f) = (Word::Value(0), Word::Value(1), Word::Value(2));
        check(vec![literal("--out"), value(0), value(1)], 1);
        check(vec![value(0), value(1)], 1);
        check(vec![value(0), value(2), value(1)], 1);
        check(vec![value(0), group(vec![f]), value(1)], 1);
        check(vec![value(0), group(vec![y.clone()])], 1);
        check(vec![value(1), value(0)], 0);
        check(vec![value(2), value(1)], 0);
        check(vec![value(0), literal("--"), value(1)], 0);
        let attached = Part::Word(Word::Attached("--y=".into(), 1));
        check(vec![value(0), attached, value(1)], 0);
        let out = Word::Literal("--out".into());
        check(vec![group(vec![out, x.clone()]), value(1)], 0);
        check(vec![group(vec![x]), value(1)], 0);
        let with = group(vec![Word::Literal("-q".into()), y]);
        check(vec![value(0), with], 0);
    }
}
