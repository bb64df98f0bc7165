//! Who decides what a file says has the account that does it.

use remit_programs::has_units_started;

use crate::atom::Atom;
use crate::closure::{Clause, Clauses};
use crate::facts::{Facts, Obeys, When};
use crate::machine::entry::End;
use crate::machine::entry::Kind;
use crate::rule::RuleId;
use crate::rules::files::user;

/// Programs of templates of which the argument is what they execute, or a file that says what to execute.
const EXECUTE_THEIR_ARGUMENT: [&[u8]; 5] =
    [b"podman", b"docker-compose", b"docker", b"modprobe", b"sh"];

pub fn rules(facts: &Facts, clauses: &mut Clauses) {
    for one in facts.obeys.iter().filter(|one| has_content(facts, one)) {
        clauses.add(clause(facts, one));
    }
    for one in &facts.powerful {
        // What matters is writing this very socket or device: at another one nothing answers.
        if let Some(End::There(end)) = facts.ways.get(&one.file).map(|way| &way.end) {
            let head = Atom::Account(one.uid);
            let body = [Atom::Write(end.clone())];
            clauses.add(
                Clause::new(head, body, one.rule).detail(format!("{} leads to root", one.file)),
            );
        }
    }
    for (unit, uid, program, source) in &facts.templates {
        let name = program
            .rsplit(|byte| *byte == b'/')
            .next()
            .unwrap_or_default();
        if EXECUTE_THEIR_ARGUMENT.contains(&name) {
            let body = [Atom::StartTyped(unit.clone())];
            let mut rights = facts.unit_rights.iter();
            let head = match *uid != 0 && rights.any(|one| one.unit == *unit) {
                true => Atom::Unit(unit.clone()),
                false => Atom::Account(*uid),
            };
            let clause = Clause::new(head, body, RuleId::Template);
            clauses.add(clause.detail(source.to_string()));
        }
    }
    for one in &facts.unit_rights {
        let body = [Atom::Unit(one.unit.clone())];
        if let Some(uid) = one.uid {
            clauses.add(Clause::hidden(Atom::Account(uid), body.clone()));
        }
        for (gid, source) in &one.rights {
            let head = gid.map_or(Atom::Account(0), Atom::Member);
            let clause = Clause::new(head, body.clone(), RuleId::UnitRights);
            let clause = clause.detail(format!(
                "{} has more than its account by {source}",
                one.unit
            ));
            clauses.add(clause.fix(format!("take back {}:{}", source.file, source.line)));
        }
    }
    for (unit, other, source) in &facts.pulls {
        let body = [Atom::Start(unit.clone())];
        let clause = Clause::new(Atom::Start(other.clone()), body, RuleId::PulledUnit);
        clauses.add(clause.detail(format!("{unit} starts {other} by {source}")));
    }
    for (when, words, source) in &facts.starts {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let Some((name, words)) = words.split_first() else {
            continue;
        };
        let starts = match when {
            When::Sudo { .. } => has_units_started,
            _ => starts_stopped,
        };
        for head in super::sudo::units(facts, name, words, starts) {
            let body = condition(when).unwrap_or(Atom::Anyone);
            let clause = Clause::new(head, [body], RuleId::PulledUnit);
            clauses.add(clause.detail(format!("root has it started by {source}")));
        }
    }
    for unit in &facts.units {
        let by_template = unit.split_once('@').and_then(|(prefix, rest)| {
            let suffix = rest.rsplit_once('.')?.1;
            Some(format!("{prefix}@.{suffix}"))
        });
        if let Some(template) = by_template {
            clauses.add(Clause::hidden(
                Atom::Start(unit.clone()),
                [Atom::StartTyped(template)],
            ));
        }
    }
}

/// As `has_units_started`, for a unit that does not run: of one that runs it is known what it runs.
fn starts_stopped(verb: &str) -> bool {
    const OF_RUNNING: [&str; 10] = [
        "clean",
        "condrestart",
        "force-reload",
        "freeze",
        "kill",
        "reload",
        "stop",
        "thaw",
        "try-reload-or-restart",
        "try-restart",
    ];
    has_units_started(verb) && !OF_RUNNING.contains(&verb)
}

/// Returns false for devices, sockets and pipes: what is written to them stays nowhere.
fn has_content(facts: &Facts, one: &Obeys) -> bool {
    let end = match facts.ways.get(&one.file).map(|way| &way.end) {
        Some(End::There(end)) => facts.files.get(end),
        _ => None,
    };
    end.is_none_or(|entry| matches!(entry.kind, Kind::File | Kind::Directory))
}

/// What has to be reached before something is done. `None`: it happens by itself.
pub(super) fn condition(when: &When) -> Option<Atom> {
    match when {
        When::ByItself => None,
        When::Started(unit) => Some(Atom::Start(unit.clone())),
        When::Unit { name, needs_start } => needs_start.then(|| Atom::Start(name.clone())),
        When::Sudo { program, runas } => Some(Atom::Sudo(program.clone(), *runas)),
        When::Called { command, .. } => Some(Atom::Call(command.clone())),
    }
}

fn clause(facts: &Facts, one: &Obeys) -> Clause {
    let change = match one.is_of_root {
        true => super::files::as_root(facts, &one.file),
        false => Atom::Change(one.file.clone()),
    };
    let both = [change.clone()].into_iter().chain(condition(&one.when));
    let (head, body) = match &one.when {
        _ if one.rule == RuleId::RemitFile => (Atom::Remit, vec![change]),
        When::ByItself | When::Started(_) | When::Sudo { .. } => {
            (Atom::Account(one.uid), both.collect())
        }
        When::Unit { name, .. } => (Atom::Unit(name.clone()), both.collect()),
        When::Called { profile, .. } => (Atom::Inside(profile.clone()), both.collect()),
    };
    let user = match &one.when {
        When::Unit { name, .. } => name.clone(),
        _ => user(facts, one.uid),
    };
    let detail = match one.source.file == one.file && one.source.line == 0 {
        true => format!("{user} reads or runs {}", one.file),
        false => format!("{user} reads or runs {} by {}", one.file, one.source),
    };
    Clause::new(head, body, one.rule).detail(detail)
}
