//! What a command of the policy does: has units started, or writes what its caller gives.

use remit_common::builtin::UNIT_KINDS;
use remit_policy::call::bind::param_position;
use remit_policy::{Command, Param, ParamKind, Part, Stdin, Word};
use remit_programs::{Class, Written, innermost};

pub fn literal(command: &Command, at: usize) -> &str {
    match command.argv.get(at) {
        // A hyphen before the program means that it may be missing.
        Some(Part::Word(Word::Literal(word))) if at == 0 => word.strip_prefix('-').unwrap_or(word),
        Some(Part::Word(Word::Literal(word))) => word,
        _ => "",
    }
}

/// Where the program is that a command runs in the end, behind wrappers.
fn program_at(command: &Command) -> usize {
    let words: Vec<&str> = (0..command.argv.len())
        .map(|at| literal(command, at))
        .collect();
    match innermost(&words).len() {
        0 => 0,
        left => words.len().saturating_sub(left),
    }
}

/// Returns the name of the program.
fn program(command: &Command) -> &str {
    let path = literal(command, program_at(command));
    path.rsplit('/').next().unwrap_or_default()
}

/// Where the verb of systemctl(1) or of `remit-act unit` is.
fn verb_at(command: &Command) -> Option<usize> {
    let behind = program_at(command).saturating_add(1);
    let first = match program(command) {
        "remit-act" if literal(command, behind) == "unit" => behind.saturating_add(1),
        "systemctl" => behind,
        _ => return None,
    };
    let is_option = |at: usize| texts(command, at).any(|word| word.starts_with('-'));
    let is_value = |at: usize| has_value(literal(command, at.saturating_sub(1)));
    (first..command.argv.len()).find(|at| !is_option(*at) && !is_value(*at))
}

/// Returns true for an option of systemctl(1) before a value.
fn has_value(option: &str) -> bool {
    matches!(
        remit_programs::known("systemctl").map(|program| &program.class),
        Some(Class::Tool(tool)) if tool.with_value.contains(&option)
    )
}

/// Returns the words that the definition has at this position of argv.
fn texts(command: &Command, at: usize) -> impl Iterator<Item = &str> {
    let words = command.argv.get(at).map_or(&[][..], Part::words);
    words.iter().filter_map(|word| match word {
        Word::Literal(text) | Word::Attached(text, _) => Some(text.as_str()),
        Word::Value(at) => match &command.params.get(*at)?.kind {
            ParamKind::Flag(text) => Some(text.as_str()),
            _ => None,
        },
    })
}

/// `may`: a call may have this value of this argument.
pub fn has_units_started(command: &Command, may: impl Fn(&Param, &str) -> bool) -> bool {
    let Some(at) = verb_at(command) else {
        return false;
    };
    let mut words = (at..command.argv.len()).flat_map(|at| texts(command, at));
    if words.any(|word| word == "--now") {
        return true;
    }
    let param = match command.argv.get(at) {
        Some(Part::Word(Word::Value(at))) => command.params.get(*at),
        _ => return remit_programs::has_units_started(literal(command, at)),
    };
    param.is_none_or(|param| match &param.kind {
        ParamKind::Enum(verbs) => verbs
            .iter()
            .any(|verb| remit_programs::has_units_started(verb) && may(param, verb)),
        _ => true,
    })
}

/// Returns true if calls start a unit, write what the caller gives, or commit a plan.
pub fn leads_on(command: &Command) -> bool {
    has_units_started(command, |_, _| true) || command.is_commit() || written(command).is_some()
}

/// Returns the parameters that name a unit to start, and whether it may be an instance. Those whose values the definition
/// lists are whole words behind the verb.
pub fn unit_params(command: &Command) -> impl Iterator<Item = (&Param, bool)> {
    let behind = verb_at(command).map_or(usize::MAX, |at| at.saturating_add(1));
    let is_behind = move |param: usize| {
        let mut all = command.argv.iter().skip(behind).flat_map(Part::words);
        all.any(|word| *word == Word::Value(param))
    };
    let params = command.params.iter().enumerate();
    params.filter_map(move |(at, param)| match param.kind {
        ParamKind::Unit { instances } => Some((param, instances)),
        ParamKind::Text { .. } => Some((param, true)),
        ParamKind::Enum(_) | ParamKind::Flag(_) if is_behind(at) => Some((param, true)),
        _ => None,
    })
}

/// Returns the values that the definition lists for an argument, each with the word that it adds. `None`: it lists none.
pub fn listed(param: &Param) -> Option<Vec<(&str, &str)>> {
    match &param.kind {
        ParamKind::Enum(values) => {
            let values = values.iter().map(String::as_str);
            Some(values.map(|value| (value, value)).collect())
        }
        ParamKind::Flag(word) => Some(vec![("true", word)]),
        _ => None,
    }
}

/// Returns the words by which the definition names units, behind the verb.
pub fn literal_units(command: &Command) -> impl Iterator<Item = &str> {
    let behind = verb_at(command).map_or(usize::MAX, |at| at.saturating_add(1));
    let words = (behind..command.argv.len()).map(|at| literal(command, at));
    words.filter(|word| is_unit(word))
}

/// Returns true for a word that may name a unit.
pub fn is_unit(word: &str) -> bool {
    !word.is_empty() && !word.starts_with(['-', '/'])
}

/// As systemctl(1) completes it.
pub fn unit_name(word: &str) -> String {
    match word.rsplit_once('.') {
        Some((_, kind)) if UNIT_KINDS.contains(&kind) => word.to_owned(),
        _ => format!("{word}.service"),
    }
}

/// Returns where a program writes what the caller gives. Empty: anywhere. `None`: it writes nothing of it. A program that
/// would execute it is refused when the policy is loaded. Where a path of the caller leads is not known: it may be a link.
pub fn written(command: &Command) -> Option<Vec<String>> {
    let name = program(command);
    let written = remit_programs::written(name);
    let has_input = has_input(command) && written == Some(Written::Input);
    let is_of_files = matches!(
        written,
        Some(Written::Input | Written::LastOperand | Written::Files | Written::Metadata)
    );
    let is_chosen = |word: &Word| {
        let param = param_position(word).and_then(|at| command.params.get(at));
        param.is_some_and(is_free)
    };
    let is_chosen_path = command.argv.iter().flat_map(Part::words).any(is_chosen)
        && (is_of_files || writes_file(command, name));
    if !has_input && !is_chosen_path {
        return None;
    }
    let literals = (1..command.argv.len()).map(|at| literal(command, at));
    let files = literals.map(|word| word.strip_prefix("of=").unwrap_or(word));
    let files = files.filter(|word| word.starts_with('/'));
    Some(files.map(str::to_owned).collect())
}

/// Returns true if the caller writes what the program reads as its standard input.
pub fn has_input(command: &Command) -> bool {
    matches!(command.stdin, Stdin::Caller | Stdin::Secret(_))
}

/// Returns true if the caller chooses a text, or a file with what is in it.
fn is_free(param: &Param) -> bool {
    matches!(
        param.kind,
        ParamKind::Text { .. } | ParamKind::Path { .. } | ParamKind::Secret { .. }
    )
}

/// Returns true if one of its options names a file to write, as `curl -o`.
fn writes_file(command: &Command, name: &str) -> bool {
    let Some(Class::Tool(tool)) = remit_programs::known(name).map(|program| &program.class) else {
        return false;
    };
    (1..command.argv.len()).any(|at| tool.writes.contains(&literal(command, at)))
}

/// An instance that no rule names, to ask whether any text is permitted.
pub fn template_instance(unit: &str) -> Option<String> {
    let (prefix, suffix) = unit.split_once("@.")?;
    Some(format!("{prefix}@remit-prove-asks.{suffix}"))
}
