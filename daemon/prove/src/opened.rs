//! Compares what is reached before and after a change. Pure.

use std::collections::BTreeMap;

use remit_common::prove::{Opened, OpenedPath};

use crate::atom::Atom;
use crate::closure::Clauses;
use crate::facts::Facts;
use crate::machine::Unknown;
use crate::report::{Goals, Path, Reached, Step, Subject, try_fixes, wanted};

/// What holds before the change, or after it.
#[derive(Clone, Copy, Debug)]
pub struct Side<'s> {
    pub clauses: &'s Clauses,
    pub facts: &'s Facts,
    /// Whose accounts were worth reaching.
    pub goals: &'s Goals,
}

/// Returns what accounts reach only after the change, with the proofs. What one reached before, it reaches anyway: another
/// way there opens nothing.
pub fn compare(
    sides: &[Side<'_>; 2],
    (subjects, goals): (&[Subject], &Goals),
    is_late: &dyn Fn() -> bool,
) -> Opened {
    let [before, after] = sides;
    let mut opened = Opened {
        unknown: after
            .facts
            .unknown
            .len()
            .saturating_add(after.facts.more_unknown),
        limits: newly_unknown(before.facts, after.facts)
            .into_iter()
            .collect(),
        ..Opened::default()
    };
    for subject in subjects {
        if is_late() {
            let why = format!(
                "not all accounts were judged in time: {} was not",
                subject.name
            );
            opened.incomplete = Some(why);
            break;
        }
        opened.paths.extend(of(subject, sides, goals, is_late));
    }
    opened
}

fn of(
    subject: &Subject,
    sides: &[Side<'_>; 2],
    goals: &Goals,
    is_late: &dyn Fn() -> bool,
) -> Vec<OpenedPath> {
    let (anyone, account) = (Atom::Anyone, Atom::Account(subject.uid));
    let keys = Atom::Keys(subject.uid);
    // With its keys whoever lists a key of root in its own account seems to be root before. Without them the way by a key
    // that is listed elsewhere is not found.
    let mut paths = between(
        &[anyone.clone(), account.clone()],
        sides,
        subject,
        goals,
        is_late,
    );
    let more = between(&[anyone, account, keys], sides, subject, goals, is_late);
    let more = more
        .into_iter()
        .filter(|path| paths.iter().all(|known| known.goal != path.goal));
    let more: Vec<Path> = more.collect();
    paths.extend(more);
    let paths = paths.into_iter().map(|path| OpenedPath {
        agent: subject.name.clone(),
        goal: path.goal,
        steps: path.steps.iter().map(step).collect(),
        closed_by: path.closed_by,
    });
    paths.collect()
}

/// Returns what follows from `begin` on the second side only.
fn between(
    begin: &[Atom],
    [before, after]: &[Side<'_>; 2],
    subject: &Subject,
    goals: &Goals,
    is_late: &dyn Fn() -> bool,
) -> Vec<Path> {
    let known = before.clauses.close(begin, None);
    if known.holds(&Atom::Account(0)) {
        return Vec::new();
    }
    let closure = after.clauses.close(begin, None);
    let goals = wanted(subject, &closure, after.facts, goals).into_iter();
    let was_reached = |atom: &Atom| known.holds(atom) && !is_new(atom, before.goals, after.goals);
    let goals = goals.filter(|(_, atom)| closure.holds(atom) && !was_reached(atom));
    let mut reached: Vec<Reached<'_>> = goals
        .map(|(goal, atom)| Reached::new(&closure, goal, atom))
        .collect();
    let _ = try_fixes(after.clauses, begin, &mut reached, is_late);
    reached.into_iter().map(Reached::path).collect()
}

/// Returns true if an account becomes one that is worth reaching, or more so: an approver.
fn is_new(atom: &Atom, before: &Goals, after: &Goals) -> bool {
    let Atom::Account(uid) = atom else {
        return false;
    };
    let is_approver = |goals: &Goals| goals.approvers.contains(uid);
    let is_goal = |goals: &Goals| is_approver(goals) || goals.agents.contains(uid);
    (is_approver(after) && !is_approver(before)) || (*uid != 0 && !is_goal(before))
}

fn step(step: &Step) -> String {
    format!("{} [{}]", step.fact, step.rule)
}

/// Says which parts are unknown only as the change makes them: new bytes that are not known here, mostly.
fn newly_unknown(before: &Facts, after: &Facts) -> Option<String> {
    let reasons = |one: &Unknown| {
        let mut reasons = BTreeMap::<_, usize>::new();
        for why in one.why.split("; ") {
            *reasons.entry(without_lines(why)).or_default() += 1;
        }
        reasons
    };
    let known = before.unknown.iter().map(|one| (&one.path, reasons(one)));
    let known: BTreeMap<_, _> = known.collect();
    let is_new = |one: &&Unknown| {
        let known = |why: &String| known.get(&one.path)?.get(why).copied();
        let mut reasons = reasons(one).into_iter();
        reasons.any(|(why, count)| count > known(&why).unwrap_or_default())
    };
    let mut new = after.unknown.iter().filter(is_new);
    let more = after.more_unknown.saturating_sub(before.more_unknown);
    let Some(Unknown { path, why }) = new.next() else {
        return (more > 0)
            .then(|| format!("{more} more parts could not be looked at as they would be"));
    };
    Some(match new.count() {
        0 => format!("{path}: {why}"),
        more => format!("{path} and {more} more could not be looked at as they would be: {why}"),
    })
}

/// Leaves out the numbers of lines: a change of the lines before them moves them.
fn without_lines(why: &str) -> String {
    let mut parts = why.split("line ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + "line " + part.trim_start_matches(|char: char| char.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::FilePath;

    #[test]
    fn unknown_parts_are_new_or_moved() {
        let facts = |why: &str, more_unknown: usize| Facts {
            unknown: vec![Unknown {
                path: FilePath::fixed("/etc/crontab"),
                why: why.to_owned(),
            }],
            more_unknown,
            ..Facts::default()
        };
        let old = "what its line 4 runs by '$X' is not followed; its line 12 is malformed";
        for (why, more, expect) in [
            (old, 3, None),
            (
                "what its line 5 runs by '$X' is not followed; its line 130 is malformed",
                3,
                None,
            ),
            ("its line 4 is malformed", 2, None),
            (
                "its line 4 is malformed; its line 5 is malformed",
                3,
                Some("/etc/crontab: its line 4"),
            ),
            (
                "what its line 4 runs by '$Y' is not followed",
                3,
                Some("/etc/crontab: what"),
            ),
            (old, 5, Some("2 more parts could not be looked at")),
        ] {
            let found = newly_unknown(&facts(old, 3), &facts(why, more));
            let is_expected = match (&found, expect) {
                (Some(found), Some(expect)) => found.starts_with(expect),
                (found, expect) => found.is_none() && expect.is_none(),
            };
            assert!(is_expected, "{why}: {found:?}");
        }
    }
}
