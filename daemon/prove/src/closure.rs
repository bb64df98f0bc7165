//! The fixed point: which atoms follow from one account, and the proof of each with the fewest steps. Clauses have no
//! variables, so Knuth's form of Dijkstra's algorithm finds both at once. Pure.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};

use crate::atom::Atom;
use crate::rule::RuleId;

/// If all atoms of the body hold, the head does.
#[derive(Clone, Debug)]
pub struct Clause {
    pub head: Atom,
    pub body: Vec<Atom>,
    /// `None`: a step that says nothing by itself.
    pub rule: Option<RuleId>,
    /// What makes it true here.
    pub detail: String,
    /// A change after which it is not true any more.
    pub fix: Option<String>,
}

impl Clause {
    pub fn new(head: Atom, body: impl IntoIterator<Item = Atom>, rule: RuleId) -> Self {
        Self {
            head,
            body: body.into_iter().collect(),
            rule: Some(rule),
            detail: String::new(),
            fix: None,
        }
    }

    pub fn hidden(head: Atom, body: impl IntoIterator<Item = Atom>) -> Self {
        Self {
            head,
            body: body.into_iter().collect(),
            rule: None,
            detail: String::new(),
            fix: None,
        }
    }

    #[must_use]
    pub fn detail(self, detail: impl Into<String>) -> Self {
        Self {
            detail: detail.into(),
            ..self
        }
    }

    #[must_use]
    pub fn fix(self, fix: impl Into<String>) -> Self {
        Self {
            fix: Some(fix.into()),
            ..self
        }
    }
}

#[derive(Debug, Default)]
pub struct Clauses {
    atoms: HashMap<Atom, usize>,
    clauses: Vec<Clause>,
    heads: Vec<usize>,
    bodies: Vec<Vec<usize>>,
    /// Clauses in whose body an atom is.
    uses: Vec<Vec<usize>>,
}

impl Clauses {
    pub fn add(&mut self, clause: Clause) {
        let at = self.clauses.len();
        let head = self.number(&clause.head);
        let body: BTreeSet<usize> = clause.body.iter().map(|atom| self.number(atom)).collect();
        for atom in &body {
            if let Some(uses) = self.uses.get_mut(*atom) {
                uses.push(at);
            }
        }
        self.heads.push(head);
        self.bodies.push(body.into_iter().collect());
        self.clauses.push(clause);
    }

    pub fn count(&self) -> usize {
        self.clauses.len()
    }

    fn number(&mut self, atom: &Atom) -> usize {
        if let Some(number) = self.atoms.get(atom) {
            return *number;
        }
        let number = self.uses.len();
        self.uses.push(Vec::new());
        self.atoms.insert(atom.clone(), number);
        number
    }

    /// Computes what follows from these atoms, without the clauses that one change makes untrue.
    pub fn close(&self, begin: &[Atom], without: Option<&str>) -> Closure<'_> {
        let mut closure = Closure {
            clauses: self,
            cost: vec![None; self.uses.len()],
            by: vec![None; self.uses.len()],
        };
        let mut open: Vec<usize> = self.bodies.iter().map(Vec::len).collect();
        let mut heap = BinaryHeap::new();
        for atom in begin.iter().filter_map(|atom| self.atoms.get(atom)) {
            heap.push(Reverse((0_u64, None, *atom)));
        }
        for (at, body) in self.bodies.iter().enumerate() {
            if body.is_empty() {
                self.push(at, &closure, without, &mut heap);
            }
        }
        while let Some(Reverse((cost, by, atom))) = heap.pop() {
            match closure.cost.get_mut(atom) {
                Some(known @ None) => *known = Some(cost),
                _ => continue,
            }
            if let Some(slot) = closure.by.get_mut(atom) {
                *slot = by;
            }
            for at in self.uses.get(atom).into_iter().flatten() {
                let Some(left) = open.get_mut(*at) else {
                    continue;
                };
                *left = left.saturating_sub(1);
                if *left == 0 {
                    self.push(*at, &closure, without, &mut heap);
                }
            }
        }
        closure
    }

    fn push(&self, at: usize, closure: &Closure<'_>, without: Option<&str>, heap: &mut Heap) {
        let (Some(clause), Some(head), Some(body)) = (
            self.clauses.get(at),
            self.heads.get(at),
            self.bodies.get(at),
        ) else {
            return;
        };
        if without.is_some() && clause.fix.as_deref() == without {
            return;
        }
        let own = u64::from(clause.rule.is_some());
        let costs = body
            .iter()
            .filter_map(|atom| closure.cost.get(*atom).copied().flatten());
        let cost = costs.fold(own, u64::saturating_add);
        heap.push(Reverse((cost, Some(at), *head)));
    }
}

type Heap = BinaryHeap<Reverse<(u64, Option<usize>, usize)>>;

/// What follows, and by which clause each atom was first reached.
#[derive(Debug)]
pub struct Closure<'a> {
    clauses: &'a Clauses,
    cost: Vec<Option<u64>>,
    by: Vec<Option<usize>>,
}

impl<'a> Closure<'a> {
    pub fn holds(&self, atom: &Atom) -> bool {
        let number = self.clauses.atoms.get(atom);
        let cost = number.and_then(|number| self.cost.get(*number).copied());
        cost.flatten().is_some()
    }

    /// Returns the clauses of an atom's proof, each after those that it needs. Empty if it does not hold.
    pub fn proof(&self, atom: &Atom) -> Vec<&'a Clause> {
        let Some(number) = self.clauses.atoms.get(atom) else {
            return Vec::new();
        };
        let (mut steps, mut seen) = (Vec::new(), BTreeSet::new());
        // A clause is visited twice: first its body is put before it.
        let mut left = vec![(*number, false)];
        while let Some((atom, is_done)) = left.pop() {
            let Some(at) = self.by.get(atom).copied().flatten() else {
                continue;
            };
            if is_done {
                steps.extend(self.clauses.clauses.get(at));
            } else if seen.insert(atom) {
                left.push((atom, true));
                let body = self.clauses.bodies.get(at).into_iter().flatten();
                left.extend(body.map(|atom| (*atom, false)));
            }
        }
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(uid: u32) -> Atom {
        Atom::Account(uid)
    }

    fn clauses(rows: &[(u32, &[u32])]) -> Clauses {
        let mut clauses = Clauses::default();
        for (head, body) in rows {
            let body = body.iter().copied().map(account);
            let clause = Clause::new(account(*head), body, RuleId::Member);
            clauses.add(clause.fix(format!("{head} {}", clauses.count())));
        }
        clauses
    }

    #[test]
    fn all_of_a_body_must_hold() {
        let clauses = clauses(&[(3, &[1, 2]), (4, &[1]), (2, &[4])]);
        assert!(clauses.close(&[account(1)], None).holds(&account(3)));
        let without = clauses.close(&[account(1)], Some("2 2"));
        assert!(without.holds(&account(4)) && !without.holds(&account(3)));
        assert!(!clauses.close(&[account(2)], None).holds(&account(3)));
    }

    #[test]
    fn proof_is_the_shortest_and_in_order() {
        let clauses = clauses(&[(2, &[1]), (3, &[2]), (9, &[3]), (9, &[2, 2]), (1, &[9])]);
        let closure = clauses.close(&[account(1)], None);
        let steps: Vec<Atom> = closure
            .proof(&account(9))
            .iter()
            .map(|one| one.head.clone())
            .collect();
        assert_eq!(steps, [account(2), account(9)]);
        assert!(closure.proof(&account(7)).is_empty());
    }

    #[test]
    fn circles_prove_nothing() {
        let clauses = clauses(&[(2, &[3]), (3, &[2]), (4, &[4])]);
        let closure = clauses.close(&[account(1)], None);
        assert!(!closure.holds(&account(2)) && !closure.holds(&account(4)));
    }
}
