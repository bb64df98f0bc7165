//! What a command of the policy does: has units started, or writes what its caller gives.

use remit_policy::{Command, Param, ParamKind, Part, Stdin, Word};
use remit_programs::Class;

pub const STARTING_VERBS: [&str; 6] = [
    "start",
    "restart",
    "reload",
    "try-restart",
    "reload-or-restart",
    "stop",
];

pub fn literal(command: &Command, at: usize) -> &str {
    match command.argv.get(at) {
        Some(Part::Word(Word::Literal(word))) => word.strip_prefix('-').unwrap_or(word),
        _ => "",
    }
}

fn is_systemctl(command: &Command) -> bool {
    let program = literal(command, 0);
    let acts = program.ends_with("/remit-act") && literal(command, 1) == "unit";
    (acts && STARTING_VERBS.contains(&literal(command, 2)))
        || (program.ends_with("/systemctl") && command.argv.iter().any(|part| matches!(part, Part::Word(Word::Literal(word)) if STARTING_VERBS.contains(&word.as_str()))))
}

/// Returns true if calls start a unit, write what the caller gives, or commit a plan.
pub fn leads_on(command: &Command) -> bool {
    is_systemctl(command) || command.is_commit() || written(command).is_some()
}

/// Returns the parameters that name a unit to start, and whether it may be an instance.
pub fn unit_params(command: &Command) -> impl Iterator<Item = (&Param, bool)> {
    let params = command.params.iter().filter(|_| is_systemctl(command));
    params.filter_map(|param| match param.kind {
        ParamKind::Unit { instances } => Some((param, instances)),
        ParamKind::Text { .. } => Some((param, true)),
        _ => None,
    })
}

/// Returns the units that the definition names, behind the verb.
pub fn literal_units(command: &Command) -> Vec<String> {
    let words = (1..command.argv.len()).map(|at| literal(command, at));
    let words = words.filter(|_| is_systemctl(command));
    let behind = words
        .skip_while(|word| !STARTING_VERBS.contains(word))
        .skip(1);
    let units =
        behind.filter(|word| !word.is_empty() && !word.contains('/') && !word.starts_with('-'));
    units.map(unit_name).collect()
}

/// As systemctl(1) completes it.
pub fn unit_name(word: &str) -> String {
    const KINDS: [&str; 11] = [
        "service",
        "socket",
        "target",
        "timer",
        "path",
        "mount",
        "automount",
        "swap",
        "slice",
        "scope",
        "device",
    ];
    match word.rsplit_once('.') {
        Some((_, kind)) if KINDS.contains(&kind) => word.to_owned(),
        _ => format!("{word}.service"),
    }
}

/// Returns where a program writes what the caller gives. Empty: anywhere. `None`: it writes nothing of it. A program that
/// would execute it is refused when the policy is loaded. Where a path of the caller leads is not known: it may be a link.
pub fn written(command: &Command) -> Option<Vec<String>> {
    const INPUT: [&str; 6] = ["tee", "dd", "sponge", "patch", "cpio", "tar"];
    const FILES: [&str; 8] = ["cp", "install", "mv", "ln", "rsync", "tar", "unzip", "tee"];
    let name = literal(command, 0).rsplit('/').next().unwrap_or_default();
    let has_input = command.stdin == Stdin::Caller && INPUT.contains(&name);
    let is_chosen =
        |param: &Param| matches!(param.kind, ParamKind::Text { .. } | ParamKind::Path { .. });
    let is_chosen_path = command.params.iter().any(is_chosen)
        && (FILES.contains(&name) || writes_file(command, name));
    if !has_input && !is_chosen_path {
        return None;
    }
    let words = (1..command.argv.len()).map(|at| literal(command, at));
    let files = words.map(|word| word.strip_prefix("of=").unwrap_or(word));
    let files = files.filter(|word| word.starts_with('/'));
    Some(files.map(str::to_owned).collect())
}

/// Returns true if one of its options names a file to write, as `curl -o`.
fn writes_file(command: &Command, name: &str) -> bool {
    let Some(Class::Tool(tool)) = remit_programs::known(name).map(|program| &program.class) else {
        return false;
    };
    (1..command.argv.len()).any(|at| tool.writes.contains(&literal(command, at)))
}

pub fn template_of(unit: &str) -> Option<String> {
    let (prefix, rest) = unit.split_once('@')?;
    let (instance, suffix) = rest.rsplit_once('.')?;
    (!instance.is_empty()).then(|| format!("{prefix}@.{suffix}"))
}

/// An instance that no rule names, to ask whether any text is permitted.
pub fn template_instance(unit: &str) -> Option<String> {
    let (prefix, suffix) = unit.split_once("@.")?;
    Some(format!("{prefix}@remit-prove-asks.{suffix}"))
}
