//! Answers: what one account reaches, with the proof. All texts are plain: names of the machine are escaped.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::atom::Atom;
use crate::closure::{Clause, Clauses, Closure};
use crate::facts::Facts;
use crate::grants::Grants;
use crate::rule::RuleId;
use crate::rules::clauses;

/// Entries of a list in an answer.
const LISTED: usize = 200;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub subjects: Vec<SubjectReport>,
    /// Parts of the machine that were not looked at: path and reason.
    pub unknown: Vec<(String, String)>,
    pub more_unknown: usize,
    /// What no look at files can find, in sentences.
    pub limits: Vec<String>,
    pub figures: Figures,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    pub files: usize,
    pub facts: usize,
    pub clauses: usize,
    pub milliseconds: u64,
    /// The most memory that the look had; the asking program knows it.
    pub kibibytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectReport {
    pub name: String,
    pub groups: Vec<String>,
    /// Goals that are reached, with their proofs.
    pub reaches: Vec<Path>,
    /// Further accounts that it can act as.
    pub accounts: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Path {
    /// `root`, `the account NAME` or `remit`.
    pub goal: String,
    pub steps: Vec<Step>,
    /// Changes each of which closes it.
    pub closed_by: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub rule: String,
    /// Why it is true here: the file with its mode, the line, the grant.
    pub fact: String,
    /// Why that leads further, and the document that says so.
    pub sentence: String,
    pub source: String,
}

/// Whose reach is asked: the uid of an account in `Facts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub name: String,
    pub uid: u32,
}

/// Accounts that are worth reaching besides root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Goals {
    pub agents: BTreeSet<u32>,
    pub approvers: BTreeSet<u32>,
}

pub fn prove(facts: &Facts, grants: &Grants, subjects: &[Subject], goals: &Goals) -> Report {
    let clauses = clauses(facts, grants);
    let subjects = subjects
        .iter()
        .map(|subject| one(facts, &clauses, subject, goals));
    let unknown = facts.unknown.iter().take(LISTED);
    let unknown: Vec<(String, String)> = unknown
        .map(|one| (one.path.to_string(), one.why.clone()))
        .collect();
    Report {
        subjects: subjects.collect(),
        more_unknown: facts
            .more_unknown
            .saturating_add(facts.unknown.len().saturating_sub(unknown.len())),
        unknown,
        limits: limits(grants),
        figures: Figures {
            files: facts.files.len(),
            facts: facts
                .obeys
                .len()
                .saturating_add(facts.powerful.len())
                .saturating_add(facts.sudo.len()),
            clauses: clauses.count(),
            milliseconds: 0,
            kibibytes: 0,
        },
    }
}

fn limits(grants: &Grants) -> Vec<String> {
    let mut limits = vec![
        "what a program does by itself is not known: only which files it is, and by whom it is run"
            .to_owned(),
        "what an account can read, such as passwords and private keys, is not followed".to_owned(),
        "grants that an approver gave for a time are not looked at".to_owned(),
        "weaknesses of programs and of the kernel are not looked for".to_owned(),
    ];
    if grants.asking > 0 {
        limits.push(format!(
            "{} permissions need an approval and are not followed",
            grants.asking
        ));
    }
    if grants.left_out > 0 {
        limits.push(format!(
            "the policy was not asked about {} accounts",
            grants.left_out
        ));
    }
    limits
}

fn one(facts: &Facts, clauses: &Clauses, subject: &Subject, goals: &Goals) -> SubjectReport {
    let begin = [
        Atom::Anyone,
        Atom::Account(subject.uid),
        Atom::Keys(subject.uid),
    ];
    let closure = clauses.close(&begin, None);
    let name = |uid: u32| crate::rules::user(facts, uid);
    let mut wanted = vec![("root".to_owned(), Atom::Account(0))];
    // Whoever is root has every account.
    if !closure.holds(&Atom::Account(0)) {
        let agents = goals
            .agents
            .iter()
            .map(|uid| (format!("the account of agent {}", name(*uid)), *uid));
        let approvers = goals
            .approvers
            .iter()
            .map(|uid| (format!("the account of approver {}", name(*uid)), *uid));
        let others = agents
            .chain(approvers)
            .filter(|(_, uid)| *uid != subject.uid && *uid != 0);
        wanted.extend(others.map(|(goal, uid)| (goal, Atom::Account(uid))));
        wanted.push(("remit".to_owned(), Atom::Remit));
    }
    let paths = wanted.into_iter().filter(|(_, atom)| closure.holds(atom));
    let reaches: Vec<Path> = paths
        .map(|(goal, atom)| path(clauses, &closure, &begin, goal, &atom))
        .collect();
    let users = facts.accounts.users.iter();
    let is_other = |uid: u32| uid != subject.uid && closure.holds(&Atom::Account(uid));
    let accounts = users
        .filter(|(_, user)| is_other(user.uid))
        .map(|(name, _)| name.clone());
    let gids = facts
        .accounts
        .name_of(subject.uid)
        .map(|name| facts.accounts.gids(name));
    SubjectReport {
        name: subject.name.clone(),
        groups: gids
            .into_iter()
            .flatten()
            .map(|gid| crate::rules::group(facts, gid))
            .collect(),
        reaches,
        accounts: accounts.take(LISTED).collect(),
    }
}

fn path(
    clauses: &Clauses,
    closure: &Closure<'_>,
    begin: &[Atom],
    goal: String,
    atom: &Atom,
) -> Path {
    let proof = closure.proof(atom);
    let mut fixes: Vec<&str> = Vec::new();
    for fix in proof.iter().filter_map(|clause| clause.fix.as_deref()) {
        if !fixes.contains(&fix) {
            fixes.push(fix);
        }
    }
    let closes = |fix: &&str| !clauses.close(begin, Some(fix)).holds(atom);
    Path {
        goal,
        steps: proof.iter().filter_map(|clause| step(clause)).collect(),
        closed_by: fixes
            .into_iter()
            .filter(closes)
            .map(ToOwned::to_owned)
            .collect(),
    }
}

fn step(clause: &Clause) -> Option<Step> {
    let rule: RuleId = clause.rule?;
    Some(Step {
        rule: rule.name().to_owned(),
        fact: clause.detail.clone(),
        sentence: rule.sentence().to_owned(),
        source: rule.source().to_owned(),
    })
}
