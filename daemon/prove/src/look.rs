//! Collects facts while sources read the machine.

use std::collections::BTreeMap;

use crate::facts::{Facts, Obeys, Source, When};
use crate::machine::Machine;
use crate::machine::entry::{End, Kind, Way};
use crate::path::FilePath;
use crate::rule::RuleId;
use crate::sources::{Layout, ReadTexts};

/// Of what files make accounts do. A text of a stranger can name the same again and again.
const FACTS: usize = 200_000;
/// Of one account that is not root: its own tables take none of what is looked for of root.
const OF_ACCOUNT: usize = 20_000;

#[derive(Debug)]
pub struct Look<'m> {
    pub machine: &'m Machine,
    pub facts: Facts,
    of_accounts: BTreeMap<u32, usize>,
    pub(crate) texts: ReadTexts,
    pub(crate) units: Layout,
}

impl<'m> Look<'m> {
    pub fn new(machine: &'m Machine) -> Self {
        Self {
            machine,
            facts: Facts::default(),
            of_accounts: BTreeMap::new(),
            texts: ReadTexts::default(),
            units: Layout::default(),
        }
    }

    pub fn obeys(&mut self, uid: u32, file: FilePath, rule: RuleId, when: &When, source: &Source) {
        let obeys = Self::fact(uid, file, rule, when, source);
        self.add(obeys);
    }

    /// As `obeys`, of a file that its program refuses unless it is root's, and only root can write it.
    pub fn obeys_roots(
        &mut self,
        uid: u32,
        file: FilePath,
        rule: RuleId,
        when: &When,
        source: &Source,
    ) {
        let obeys = Self::fact(uid, file, rule, when, source);
        self.add(Obeys {
            is_of_root: true,
            ..obeys
        });
    }

    fn fact(uid: u32, file: FilePath, rule: RuleId, when: &When, source: &Source) -> Obeys {
        Obeys {
            uid,
            file,
            rule,
            when: when.clone(),
            source: source.clone(),
            is_of_root: false,
        }
    }

    fn add(&mut self, obeys: Obeys) {
        if !self.texts.is_new_fact(&obeys) {
            return;
        }
        if !self.may_look(obeys.uid, &obeys.file) {
            return;
        }
        *self.of_accounts.entry(obeys.uid).or_default() += 1;
        self.way(&obeys.file);
        self.facts.obeys.push(obeys);
    }

    /// Returns false if no more is looked at for this account, which is then in the answer.
    pub fn may_look(&self, uid: u32, file: &FilePath) -> bool {
        let own = self.of_accounts.get(&uid).copied().unwrap_or_default();
        let why = match () {
            () if self.facts.obeys.len() >= FACTS => {
                format!("more than {FACTS} facts were found")
            }
            () if uid != 0 && own >= OF_ACCOUNT => {
                format!("more than {OF_ACCOUNT} facts of uid {uid} were found")
            }
            () => return !self.machine.is_spent() && !self.machine.is_late(file),
        };
        self.machine.left_out(why);
        false
    }

    /// Returns true if this is a file of that account, which neither its group nor others can write.
    pub fn is_private(&self, file: &FilePath, uid: u32) -> bool {
        let entry = self.machine.entry(file);
        entry.is_some_and(|(_, entry)| {
            entry.kind == Kind::File && entry.uid == uid && entry.mode & 0o022 == 0
        })
    }

    pub fn powerful(&mut self, uid: u32, file: FilePath, rule: RuleId, source: &Source) {
        self.way(&file);
        let fact = Self::fact(uid, file, rule, &When::ByItself, source);
        self.facts.powerful.push(fact);
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
