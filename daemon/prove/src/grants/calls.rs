//! The words with which calls of a command run its program, as far as the definition lists them.

use std::collections::BTreeMap;

use remit_policy::{Command, Param, ParamKind, Part, Word};

use super::command::listed;

/// Calls of one command that are looked at.
const CALLS: usize = 512;

/// What calls of a command run.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct CallWords {
    /// The words of each call, without doubles. `$NAME` is a value that the definition does not list.
    pub calls: Vec<Vec<String>>,
    /// `NAME=WORD` of each argument with too many values for all their combinations: in a call, only one of these
    /// arguments has another value than the first.
    pub unlisted: Vec<String>,
    /// Each `$NAME` whose value may name a file, with the directory in which that is.
    pub chosen: BTreeMap<String, String>,
}

/// What an argument adds to a call.
#[derive(Clone, Copy, Debug)]
enum WordChoice<'c> {
    Absent,
    Listed(&'c str),
    Unknown,
}

impl CallWords {
    pub fn new(command: &Command) -> Self {
        let choices: Vec<Vec<WordChoice<'_>>> = command.params.iter().map(choices).collect();
        let first = choices.iter().filter_map(|choices| choices.first());
        let first: Vec<WordChoice<'_>> = first.copied().collect();
        let (mut all, mut alone) = (vec![first.clone()], Vec::new());
        let mut unlisted = Vec::new();
        for (at, choices) in choices.iter().enumerate() {
            let uses = |word: &Word| matches!(word, Word::Value(own) | Word::Attached(_, own) if *own == at);
            if !command.argv.iter().flat_map(Part::words).any(uses) {
                continue;
            }
            if all.len().saturating_mul(choices.len()) <= CALLS {
                all = all
                    .iter()
                    .flat_map(|call| with_each(call, at, choices))
                    .collect();
            } else {
                alone.extend(with_each(&first, at, choices));
                let name = command.params.get(at).map_or("", |param| &param.name);
                let shown = choices.iter().filter_map(|choice| choice.shown(name));
                unlisted.extend(shown.map(|word| format!("{name}={word}")));
            }
        }
        let calls = all.iter().chain(&alone).map(|call| render(command, call));
        let mut calls: Vec<Vec<String>> = calls.collect();
        calls.sort_unstable();
        calls.dedup();
        let chosen = command.params.iter().filter_map(|param| {
            let above = match &param.kind {
                ParamKind::Text { .. } | ParamKind::Secret { .. } => "/",
                ParamKind::Path { under, .. } => under,
                _ if listed(param).is_some() => return None,
                _ => &command.cwd,
            };
            Some((format!("${}", param.name), above.to_owned()))
        });
        Self {
            calls,
            unlisted,
            chosen: chosen.collect(),
        }
    }
}

impl WordChoice<'_> {
    /// `None`: it adds no word.
    fn shown(self, name: &str) -> Option<String> {
        match self {
            Self::Absent => None,
            Self::Listed(word) => Some(word.to_owned()),
            Self::Unknown => Some(format!("${name}")),
        }
    }
}

/// Returns the call with each of these choices of one argument.
fn with_each<'c>(
    call: &[WordChoice<'c>],
    at: usize,
    choices: &[WordChoice<'c>],
) -> Vec<Vec<WordChoice<'c>>> {
    let with = |choice: &WordChoice<'c>| {
        let mut call = call.to_vec();
        if let Some(own) = call.get_mut(at) {
            *own = *choice;
        }
        call
    };
    choices.iter().map(with).collect()
}

/// Returns at least one.
fn choices(param: &Param) -> Vec<WordChoice<'_>> {
    let default = param.default.as_deref().map(WordChoice::Listed);
    let mut found = match (listed(param), &param.kind) {
        (Some(listed), _) => {
            let words = listed.into_iter().map(|(_, word)| WordChoice::Listed(word));
            words.collect()
        }
        (None, ParamKind::Int { .. }) => vec![WordChoice::Unknown],
        (None, _) => [WordChoice::Unknown].into_iter().chain(default).collect(),
    };
    let may_be_absent = param.optional && default.is_none();
    if may_be_absent || found.is_empty() || matches!(param.kind, ParamKind::Flag(_)) {
        found.push(WordChoice::Absent);
    }
    found
}

fn render(command: &Command, chosen: &[WordChoice<'_>]) -> Vec<String> {
    let value = |at: usize| {
        let name = &command.params.get(at)?.name;
        chosen.get(at)?.shown(name)
    };
    let word = |word: &Word| match word {
        Word::Literal(text) => Some(text.clone()),
        Word::Value(at) => value(*at),
        Word::Attached(before, at) => Some(before.clone() + &value(*at)?),
    };
    let parts = command.argv.iter().map(|part| match part {
        Part::Word(one) => word(one).map(|word| vec![word]),
        Part::Group(words) => words.iter().map(word).collect::<Option<Vec<_>>>(),
    });
    let mut words: Vec<String> = parts.flatten().flatten().collect();
    // A hyphen before the program means that it may be missing.
    if let Some(program) = words.first_mut()
        && program.starts_with("-/")
    {
        program.remove(0);
    }
    words
}
