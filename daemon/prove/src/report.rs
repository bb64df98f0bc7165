//! Answers: what one account reaches, with the proof. All texts are plain: names of the machine are escaped.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::atom::Atom;
use crate::closure::{Clause, Clauses, Closure};
use crate::facts::Facts;
use crate::grants::Grants;
use crate::rule::RuleId;
use crate::rules::clauses;

/// How a limit ends that is about time.
pub const LATE: &str = "it took too long";
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

/// `is_late` ends the search for proofs; what is then missing is in the report's limits.
pub fn prove(
    facts: &Facts,
    grants: &Grants,
    subjects: &[Subject],
    goals: &Goals,
    is_late: &dyn Fn() -> bool,
) -> Report {
    let clauses = clauses(facts, grants);
    let mut limits = limits(grants);
    let mut answered = Vec::new();
    for (number, subject) in subjects.iter().enumerate() {
        if number > 0 && is_late() {
            let left = subjects.len().saturating_sub(number);
            limits.push(format!("{left} accounts were not judged: {LATE}"));
            break;
        }
        answered.push(one(facts, &clauses, subject, goals, is_late, &mut limits));
    }
    let unknown = facts.unknown.iter().take(LISTED);
    let unknown: Vec<(String, String)> = unknown
        .map(|one| (one.path.to_string(), one.why.clone()))
        .collect();
    Report {
        subjects: answered,
        more_unknown: facts
            .more_unknown
            .saturating_add(facts.unknown.len().saturating_sub(unknown.len())),
        unknown,
        limits,
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
        "weaknesses of programs and of the kernel are not looked for".to_owned(),
        "programs with set-id bits are looked for in directories of programs, /opt, /srv and /home, and not deep in them"
            .to_owned(),
        "what start files of shells run by variables and patterns is not followed".to_owned(),
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

fn one(
    facts: &Facts,
    clauses: &Clauses,
    subject: &Subject,
    goals: &Goals,
    is_late: &dyn Fn() -> bool,
    limits: &mut Vec<String>,
) -> SubjectReport {
    let begin = [
        Atom::Anyone,
        Atom::Account(subject.uid),
        Atom::Keys(subject.uid),
    ];
    let closure = clauses.close(&begin, None);
    let mut reached: Vec<Reached<'_>> = wanted(subject, &closure, facts, goals)
        .into_iter()
        .filter(|(_, atom)| closure.holds(atom))
        .map(|(goal, atom)| Reached::new(&closure, goal, atom))
        .collect();
    if reached.len() > LISTED {
        let more = reached.len().saturating_sub(LISTED);
        limits.push(format!(
            "{more} more goals of {} are not shown",
            subject.name
        ));
        reached.truncate(LISTED);
    }
    if !try_fixes(clauses, &begin, &mut reached, is_late) {
        let name = &subject.name;
        limits.push(format!("not each change was tried for {name}: {LATE}"));
    }
    let reaches = reached.into_iter().map(Reached::path).collect();
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

/// The goals that are worth reaching for an account, with their names.
pub(crate) fn wanted(
    subject: &Subject,
    closure: &Closure<'_>,
    facts: &Facts,
    goals: &Goals,
) -> Vec<(String, Atom)> {
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
    wanted
}

/// A goal with its proof.
pub(crate) struct Reached<'a> {
    goal: String,
    atom: Atom,
    proof: Vec<&'a Clause>,
    /// Changes of its steps, each with whether it closes the path.
    fixes: Vec<(&'a str, bool)>,
}

impl<'a> Reached<'a> {
    pub(crate) fn new(closure: &Closure<'a>, goal: String, atom: Atom) -> Self {
        let proof = closure.proof(&atom);
        let mut fixes: Vec<(&str, bool)> = Vec::new();
        for fix in proof.iter().filter_map(|clause| clause.fix.as_deref()) {
            if !fixes.iter().any(|(other, _)| *other == fix) {
                fixes.push((fix, false));
            }
        }
        Self {
            goal,
            atom,
            proof,
            fixes,
        }
    }

    pub(crate) fn path(self) -> Path {
        let closing = self.fixes.into_iter().filter(|(_, closes)| *closes);
        Path {
            goal: self.goal,
            steps: self.proof.into_iter().filter_map(step).collect(),
            closed_by: closing.map(|(fix, _)| fix.to_owned()).collect(),
        }
    }
}

/// Finds the changes that close paths: each is tried once, for all paths. Returns false if it was too late for some.
pub(crate) fn try_fixes(
    clauses: &Clauses,
    begin: &[Atom],
    reached: &mut [Reached<'_>],
    is_late: &dyn Fn() -> bool,
) -> bool {
    let fixes = reached.iter().flat_map(|one| &one.fixes);
    let fixes: BTreeSet<&str> = fixes.map(|(fix, _)| *fix).collect();
    for fix in fixes {
        if is_late() {
            return false;
        }
        let closure = clauses.close(begin, Some(fix));
        for one in reached.iter_mut() {
            let closes = !closure.holds(&one.atom);
            let same = one.fixes.iter_mut().filter(|(other, _)| *other == fix);
            same.for_each(|(_, found)| *found = closes);
        }
    }
    true
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

impl SubjectReport {
    /// There are more goals than are listed.
    pub fn is_cut(&self) -> bool {
        self.reaches.len() >= LISTED
    }
}
