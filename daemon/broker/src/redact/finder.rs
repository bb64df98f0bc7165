//! Finds secrets in a text, in linear time for any text and any secrets.

use std::ops::Range;

use aho_corasick::automaton::Automaton;
use aho_corasick::nfa::{contiguous, noncontiguous};
use aho_corasick::{Anchored, PatternID};

use super::forms::Form;
use super::join;

/// Maximum size of all forms, in bytes, for the faster automaton, which needs more memory.
const FAST: usize = 4 << 10;

pub struct Finder {
    machine: Machine,
    /// For each form, combined with the forms that end at the same position.
    edges: Vec<Edges>,
}

enum Machine {
    Fast(contiguous::NFA),
    Plain(noncontiguous::NFA),
}

#[derive(Clone, Copy, Debug)]
struct Edges {
    length: usize,
    spills_before: bool,
    spills_after: bool,
}

impl Finder {
    /// Returns `None` and logs an error if the automaton cannot be built.
    pub fn new(forms: &[Form]) -> Option<Self> {
        let made = noncontiguous::NFA::new(forms.iter().map(|form| &form.bytes));
        let size: usize = forms.iter().map(|form| form.bytes.len()).sum();
        let machine = made.and_then(|plain| match size {
            0..=FAST => contiguous::Builder::new()
                .build_from_noncontiguous(&plain)
                .map(Machine::Fast),
            _ => Ok(Machine::Plain(plain)),
        });
        let Ok(machine) = machine else {
            tracing::error!("cannot search for secrets, so nothing is shown");
            return None;
        };
        let edges = |form: &Form| Edges {
            length: form.bytes.len(),
            spills_before: form.spills,
            spills_after: match &machine {
                Machine::Fast(machine) => ends_in_spill(machine, forms, &form.bytes),
                Machine::Plain(machine) => ends_in_spill(machine, forms, &form.bytes),
            },
        };
        let edges = forms.iter().map(edges).collect();
        Some(Self { machine, edges })
    }

    /// Returns disjoint ranges, in order.
    pub fn find(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        let mut add = |end: usize, longest: PatternID| {
            let Some(edges) = self.edges.get(longest.as_usize()) else {
                return;
            };
            let is_digit = |at: &usize| {
                let digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(byte);
                bytes.get(*at).is_some_and(digit)
            };
            let start = end - edges.length;
            let before = start.checked_sub(1).filter(is_digit);
            let start = before.filter(|_| edges.spills_before).unwrap_or(start);
            let after = edges.spills_after && is_digit(&end);
            join(&mut found, start..end + usize::from(after));
        };
        let walked = match &self.machine {
            Machine::Fast(machine) => walk(machine, bytes, &mut add),
            Machine::Plain(machine) => walk(machine, bytes, &mut add),
        };
        match walked {
            Some(()) => found,
            // Never happens. If it does, the whole text is redacted.
            None => vec![Range {
                start: 0,
                end: bytes.len(),
            }],
        }
    }
}

/// Reports each position where forms end, with the longest of them, which covers the others. The requester can cause
/// any number of forms at each byte.
fn walk<A: Automaton>(
    machine: &A,
    bytes: &[u8],
    mut found: impl FnMut(usize, PatternID),
) -> Option<()> {
    let mut state = machine.start_state(Anchored::No).ok()?;
    for (at, byte) in bytes.iter().enumerate() {
        state = machine.next_state(Anchored::No, state, *byte);
        if machine.is_match(state) {
            // Pattern 0 is the longest: the whole path of a state comes before its suffixes.
            found(at + 1, machine.match_pattern(state, 0));
        }
    }
    Some(())
}

/// Returns true if a spilling form ends where these bytes do.
fn ends_in_spill<A: Automaton>(machine: &A, forms: &[Form], bytes: &[u8]) -> bool {
    let Ok(start) = machine.start_state(Anchored::No) else {
        return true;
    };
    let next = |state, byte: &u8| machine.next_state(Anchored::No, state, *byte);
    let end = bytes.iter().fold(start, next);
    let mut all = (0..machine.match_len(end)).map(|at| machine.match_pattern(end, at));
    machine.is_match(end)
        && all.any(|form| forms.get(form.as_usize()).is_none_or(|form| form.spills))
}
