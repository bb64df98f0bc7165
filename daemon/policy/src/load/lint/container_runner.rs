use remit_programs::ContainerRunner;

use super::{LintWord, Linter};
use crate::load::diagnostic::quoted;

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
