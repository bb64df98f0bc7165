//! Checks tools, and tools that run a program in a container. They have options that run code or write files, and words
//! that start a program as `find -exec` does. Other words are code, a program or a verb by their position.

use remit_programs::{ContainerRunner, Tool};

use super::{LintWord, Linter};
use remit_policy::model::command::ParamKind;
use remit_policy::{Severity, quoted};

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
    /// `docker exec [options] container program [values]`: a caller may choose the container, but not the program,
    /// nor which files of the host it sees.
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
