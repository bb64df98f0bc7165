//! Compares what is reached before and after a change. Pure.

use std::collections::BTreeSet;

use remit_common::prove::{Opened, OpenedPath};

use crate::atom::Atom;
use crate::closure::Clauses;
use crate::facts::Facts;
use crate::machine::Unknown;
use crate::path::FilePath;
use crate::people::People;
use crate::report::{Path, Reached, Step, Subject, try_fixes, wanted};

/// What holds before the change, or after it.
#[derive(Clone, Copy, Debug)]
pub struct Side<'s> {
    pub clauses: &'s Clauses,
    pub unknown: &'s [Unknown],
    pub more_unknown: usize,
}

/// Returns what accounts reach only after the change, with the proofs. What one reached before, it reaches anyway: another
/// way there opens nothing. `facts`: those after the change.
pub fn compare(
    sides: &[Side<'_>; 2],
    facts: &Facts,
    people: &People,
    is_late: &dyn Fn() -> bool,
) -> Opened {
    let [before, after] = sides;
    let mut opened = Opened {
        unknown: after.unknown.len().saturating_add(after.more_unknown),
        limits: newly_unknown(before, after).into_iter().collect(),
        ..Opened::default()
    };
    for subject in people.all(facts) {
        if is_late() {
            let why = format!(
                "not all accounts were judged in time: {} was not",
                subject.name
            );
            opened.incomplete = Some(why);
            break;
        }
        opened
            .paths
            .extend(of(&subject, sides, facts, people, is_late));
    }
    opened
}

fn of(
    subject: &Subject,
    [before, after]: &[Side<'_>; 2],
    facts: &Facts,
    people: &People,
    is_late: &dyn Fn() -> bool,
) -> Vec<OpenedPath> {
    // Without its keys: whoever lists a key of root in its own account would seem to be root already.
    let begin = [Atom::Anyone, Atom::Account(subject.uid)];
    let known = before.clauses.close(&begin, None);
    if known.holds(&Atom::Account(0)) {
        return Vec::new();
    }
    let closure = after.clauses.close(&begin, None);
    let goals = wanted(subject, &closure, facts, &people.goals).into_iter();
    let goals = goals.filter(|(_, atom)| closure.holds(atom) && !known.holds(atom));
    let mut reached: Vec<Reached<'_>> = goals
        .map(|(goal, atom)| Reached::new(&closure, goal, atom))
        .collect();
    let _ = try_fixes(after.clauses, &begin, &mut reached, is_late);
    let paths = reached.into_iter().map(Reached::path);
    let paths = paths.map(
        |Path {
             goal,
             steps,
             closed_by,
         }| OpenedPath {
            agent: subject.name.clone(),
            goal,
            steps: steps.iter().map(step).collect(),
            closed_by,
        },
    );
    paths.collect()
}

fn step(step: &Step) -> String {
    format!("{} [{}]", step.fact, step.rule)
}

/// Says which parts are unknown only as the change makes them: new bytes that are not known here, mostly.
fn newly_unknown(before: &Side<'_>, after: &Side<'_>) -> Option<String> {
    let known: BTreeSet<&FilePath> = before.unknown.iter().map(|one| &one.path).collect();
    let mut new = after
        .unknown
        .iter()
        .filter(|one| !known.contains(&one.path));
    let first = new.next()?;
    let Unknown { path, why } = first;
    Some(match new.count() {
        0 => format!("{path}: {why}"),
        more => format!("{path} and {more} more could not be looked at as they would be: {why}"),
    })
}
