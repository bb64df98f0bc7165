//! Collects facts while sources read the machine.

use crate::facts::{Facts, Obeys, Source, When};
use crate::machine::Machine;
use crate::machine::entry::{End, Way};
use crate::path::FilePath;
use crate::rule::RuleId;

#[derive(Debug)]
pub struct Look<'m> {
    pub machine: &'m Machine,
    pub facts: Facts,
}

impl<'m> Look<'m> {
    pub fn new(machine: &'m Machine) -> Self {
        Self {
            machine,
            facts: Facts::default(),
        }
    }

    pub fn obeys(&mut self, uid: u32, file: FilePath, rule: RuleId, when: &When, source: &Source) {
        self.way(&file);
        self.facts.obeys.push(Obeys {
            uid,
            file,
            rule,
            when: when.clone(),
            source: source.clone(),
        });
    }

    pub fn powerful(&mut self, uid: u32, file: FilePath, rule: RuleId, source: &Source) {
        self.way(&file);
        self.facts.powerful.push(Obeys {
            uid,
            file,
            rule,
            when: When::ByItself,
            source: source.clone(),
        });
    }

    /// Keeps where a path leads.
    pub fn way(&mut self, file: &FilePath) -> &Way {
        let machine = self.machine;
        let ways = &mut self.facts.ways;
        ways.entry(file.clone())
            .or_insert_with(|| machine.way(file))
    }

    pub fn exists(&mut self, file: &FilePath) -> bool {
        matches!(self.way(file).end, End::There(_))
    }
}
