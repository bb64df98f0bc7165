//! Programs that start others in a container, a machine or a network.

use remit_programs::Elsewhere;

use super::{Linter, Seen};
use crate::load::diagnostic::quoted;

/// Their options that take the next word.
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
    /// `docker exec [options] container program [values]`: the container may be chosen, not the program, nor
    /// what of the host is seen in there.
    pub(super) fn elsewhere(
        &mut self,
        program: &Seen<'_>,
        rest: &[Seen<'_>],
        elsewhere: &Elsewhere,
    ) {
        let has = |word: &str| rest.iter().any(|seen| !seen.value && seen.text == word);
        let verbs = elsewhere.verb_code.iter();
        let verbs = verbs
            .filter(|(verb, _)| has(verb))
            .flat_map(|(_, code)| *code);
        let code: Vec<&str> = elsewhere.code.iter().chain(verbs).copied().collect();
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
        if words.any(|word| elsewhere.chooses.contains(&word.text))
            && let Some(value) = words.find(|word| word.is_free())
        {
            let message = format!("a value that {} starts", quoted(program.text));
            return self.refuse(&value.span, message);
        }
        let mut words = rest.iter();
        if !words.any(|word| elsewhere.starts.contains(&word.text)) {
            return;
        }
        let mut place = true;
        while let Some(word) = words.next() {
            if word.is_option() {
                if WITH_VALUE.contains(&word.text) {
                    words.next();
                }
            } else if place {
                place = false;
            } else if word.value {
                let message = format!("a value that {} starts", quoted(program.text));
                return self.refuse(&word.span, message);
            } else {
                let inner: Vec<Seen<'_>> = [word].into_iter().chain(words).cloned().collect();
                return self.command(&inner);
            }
        }
    }
}
