//! Merges the refusals of a job: what differs in its object alone is one, and the other objects are counted. Pure.

use std::collections::BTreeSet;

use remit_common::caps;
use remit_common::denial::Denial;

/// Refusals without duplicates, at most [`caps::DENIALS`].
#[derive(Default)]
pub struct Merged(Vec<ManyObjects>);

struct ManyObjects {
    denial: Denial,
    /// Objects with the same answer, but for that of `denial`.
    others: BTreeSet<String>,
}

impl Merged {
    /// Adds a refusal that the warden knows.
    pub fn add_known(&mut self, denial: Denial) {
        if self.0.len() < caps::DENIALS {
            let others = BTreeSet::new();
            self.0.push(ManyObjects { denial, others });
        }
    }

    /// Adds a refusal that no earlier one explains. `of_file`: each object is a file, which is counted.
    pub fn add(&mut self, denial: Denial, of_file: bool) {
        let is_answer = |known: &Denial| known.rule == denial.rule && known.next == denial.next;
        let is_covered = |known: &Denial| {
            let is_object = known.object == denial.object;
            let is_lesser = denial.guess && !known.guess;
            is_lesser && (is_object || is_answer(known))
        };
        if self.0.iter().any(|entry| is_covered(&entry.denial)) {
            return;
        }
        match self.0.iter_mut().find(|entry| is_answer(&entry.denial)) {
            None => self.add_known(denial),
            Some(_) if !of_file => {}
            Some(entry) => match entry.denial.object {
                None => entry.denial.object = denial.object,
                Some(ref first) => entry
                    .others
                    .extend(denial.object.filter(|object| object != first)),
            },
        }
    }

    pub fn into_denials(self) -> Vec<Denial> {
        self.0.into_iter().map(ManyObjects::into_denial).collect()
    }
}

impl ManyObjects {
    fn into_denial(self) -> Denial {
        let more = self.others.len();
        let counted = |object: String| match more {
            0 => object,
            more => format!("{object} and {more} more"),
        };
        Denial {
            object: self.denial.object.map(counted),
            ..self.denial
        }
    }
}
