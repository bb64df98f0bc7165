//! Answers a question of `remit_common::prove` by looking at a machine.

use std::time::Duration;

use remit_common::prove::{Compared, FileChange, KnownAccount, Opened, Permitted, Question};
use remit_policy::Policy;
use remit_policy::model::rule::Principal;
use serde::{Deserialize, Serialize};

use crate::accounts::{Accounts, User};
use crate::closure::Clauses;
use crate::facts::Facts;
use crate::grants::{Grants, programs_are_within};
use crate::machine::Machine;
use crate::opened::{Side, compare};
use crate::people::People;
use crate::report::{Goals, Report, prove};
use crate::rules::clauses;
use crate::sources::{self, FirstLook};

/// Time for proofs and for trying what closes them.
const PROOFS: Duration = Duration::from_secs(30);
/// A uid that no account has, for a member of one group only. 4294967295 is no uid, and this is next to it.
const MEMBER: u32 = u32::MAX - 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    Report(Report),
    Refused(String),
}

/// Answers a question without `compared`. An error is a sentence.
pub fn answer(question: &Question, machine: &Machine) -> Result<Report, String> {
    check_release(question)?;
    let policy = decode(&question.policy)?;
    let first = begin(question, machine, &[&policy]);
    let accounts = &first.facts().accounts;
    let permitted: Vec<_> = question.permitted.iter().collect();
    let grants = Grants::of(&policy, &permitted, accounts, &first.facts().units);
    let people = People::of(question, accounts, &[&policy]);
    let subjects = people.subjects(question, first.facts())?;
    let (mut facts, commands) = first.finish();
    facts.obeys.extend(commands.into_iter().flatten());
    let is_late = late(machine);
    let mut report = prove(&facts, &grants, &subjects, &people.goals, &is_late);
    report.figures.milliseconds = u64::try_from(machine.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(report)
}

/// Answers what a policy or a change of files opens.
pub fn opened(
    question: &Question,
    compared: &Compared,
    machine: &mut Machine,
) -> Result<Opened, String> {
    check_release(question)?;
    let policy = decode(&question.policy)?;
    let before = compared.before.as_deref().map(|bytes| decode(bytes));
    let before = before.transpose()?;
    let in_force = &question.permitted;
    let rights = [
        Rights::new(before.as_ref().unwrap_or(&policy), in_force, &[]),
        Rights::new(&policy, in_force, &compared.permitted),
    ];
    match compared.changes.is_empty() {
        true => by_rights(question, &rights, machine),
        false => by_files(question, &rights, &compared.changes, machine),
    }
}

/// What accounts may do without another person.
struct Rights<'q> {
    policy: &'q Policy,
    /// Without temporary grants, and with them if there are any: they take part in paths, and hide none that stays longer.
    permitted: Vec<Vec<&'q Permitted>>,
}

impl<'q> Rights<'q> {
    fn new(policy: &'q Policy, in_force: &'q [Permitted], new: &'q [Permitted]) -> Self {
        let with = in_force.iter().chain(new).collect();
        let with = Some(with).filter(|_| !in_force.is_empty());
        Self {
            policy,
            permitted: [Some(new.iter().collect()), with]
                .into_iter()
                .flatten()
                .collect(),
        }
    }

    fn grants(&self, first: &FirstLook<'_>) -> Vec<Grants> {
        let facts = first.facts();
        let permitted = self.permitted.iter();
        permitted
            .map(|permitted| Grants::of(self.policy, permitted, &facts.accounts, &facts.units))
            .collect()
    }
}

/// Both sides meet the same look: what an account changes meanwhile opens nothing.
fn by_rights(
    question: &Question,
    rights: &[Rights<'_>; 2],
    machine: &Machine,
) -> Result<Opened, String> {
    let policies = rights.each_ref().map(|one| one.policy);
    let first = begin(question, machine, &policies);
    let grants = rights.each_ref().map(|one| one.grants(&first));
    let [old, new] = &grants;
    let [before, after] = policies;
    let is_within = new.iter().zip(old).all(|(new, old)| new.is_within(old));
    // Whatever the machine is like, and however long a look at it takes.
    if is_within && programs_are_within(after, before) {
        return Ok(Opened::default());
    }
    let accounts = &first.facts().accounts;
    let people = People::of(question, accounts, &policies);
    let limits = people.limits(&policies, accounts, new);
    let (mut facts, commands) = first.finish();
    facts.hide_private();
    let own = facts.obeys.len();
    let mut all_clauses = commands.into_iter().zip(&grants).map(|(commands, grants)| {
        facts.obeys.truncate(own);
        facts.obeys.extend(commands);
        let grants = grants.iter();
        grants.map(|grants| clauses(&facts, grants)).collect()
    });
    let (Some(old), Some(new)): (Option<Vec<_>>, Option<Vec<_>>) =
        (all_clauses.next(), all_clauses.next())
    else {
        return Err("a policy was not looked at".to_owned());
    };
    drop(all_clauses);
    let goals = policies.map(|policy| People::of(question, &facts.accounts, &[policy]).goals);
    let [old_goals, new_goals] = &goals;
    let sides = [(&old, &facts, old_goals), (&new, &facts, new_goals)];
    judge(question, machine, sides, &people, limits)
}

/// The machine is looked at as it is, and as it would be.
fn by_files(
    question: &Question,
    rights: &[Rights<'_>; 2],
    changes: &[FileChange],
    machine: &mut Machine,
) -> Result<Opened, String> {
    let policies = rights.each_ref().map(|one| one.policy);
    let whole = |machine: &Machine, rights: &Rights<'_>| {
        let first = begin(question, machine, &[rights.policy]);
        let grants = rights.grants(&first);
        let accounts = &first.facts().accounts;
        let people = People::of(question, accounts, &policies);
        let limits = people.limits(&[rights.policy], accounts, &grants);
        let (mut facts, commands) = first.finish();
        facts.obeys.extend(commands.into_iter().flatten());
        facts.hide_private();
        let clauses: Vec<_> = grants
            .iter()
            .map(|grants| clauses(&facts, grants))
            .collect();
        (facts, clauses, people, limits)
    };
    let [before, after] = rights;
    let (old_facts, old, mut people, _) = whole(machine, before);
    let old_goals = people.goals.clone();
    machine.change(changes)?;
    let (facts, new, later, limits) = whole(machine, after);
    let new_goals = later.goals.clone();
    // A change that makes somebody an approver does not take an agent out of the question.
    people.add(later);
    let sides = [(&old, &old_facts, &old_goals), (&new, &facts, &new_goals)];
    judge(question, machine, sides, &people, limits)
}

/// Without temporary grants and with them: what either opens is opened.
fn judge(
    question: &Question,
    machine: &Machine,
    sides: [(&Vec<Clauses>, &Facts, &Goals); 2],
    people: &People,
    limits: Vec<String>,
) -> Result<Opened, String> {
    let [(old, old_facts, old_goals), (new, facts, goals)] = sides;
    let is_late = late(machine);
    let subjects = people.subjects(question, facts)?;
    let compared = old.iter().zip(new).map(|(old, new)| {
        let sides = [(old, old_facts, old_goals), (new, facts, goals)];
        let sides = sides.map(|(clauses, facts, goals)| Side {
            clauses,
            facts,
            goals,
        });
        compare(&sides, (&subjects, &people.goals), &is_late)
    });
    let mut opened = compared.reduce(Opened::and).unwrap_or_default();
    opened.incomplete = opened.incomplete.or(machine.incomplete());
    opened.limits.extend(limits);
    Ok(opened)
}

fn late(machine: &Machine) -> impl Fn() -> bool {
    let end = machine.elapsed().saturating_add(machine.proofs(PROOFS));
    move || machine.elapsed() > end
}

fn check_release(question: &Question) -> Result<(), String> {
    let (own, other) = (remit_common::RELEASE, &question.release);
    match own == other {
        true => Ok(()),
        false => Err(format!(
            "it is of release {own}, and was asked by release {other}"
        )),
    }
}

fn decode(policy: &[u8]) -> Result<Policy, String> {
    Policy::decode(policy).map_err(|why| format!("the policy is not usable: {why}"))
}

fn begin<'m>(question: &Question, machine: &'m Machine, policies: &[&Policy]) -> FirstLook<'m> {
    let add = |accounts: &mut Accounts| {
        for known in &question.accounts {
            add_known(accounts, known);
        }
        add_member(accounts, question.subject.as_deref());
        add_granted(accounts, policies, &question.socket_group);
    };
    sources::begin(machine, add, policies)
}

fn add_known(accounts: &mut Accounts, known: &KnownAccount) {
    let KnownAccount { name, uid, gids } = known;
    let Some(gid) = gids.first() else {
        return;
    };
    let mut users = accounts.users.iter();
    // The tables may have the account under another name.
    let listed = users.find(|(_, user)| user.uid == *uid);
    let name = match listed.filter(|_| !accounts.users.contains_key(name)) {
        Some((listed, _)) => listed.clone(),
        None => name.clone(),
    };
    accounts.users.entry(name.clone()).or_insert_with(|| User {
        uid: *uid,
        gid: *gid,
        home: None,
        shell: Vec::new(),
        has_password: true,
    });
    for gid in gids {
        let group = accounts
            .group_name_of(*gid)
            .map_or_else(|| format!("#{gid}"), str::to_owned);
        let group = accounts.groups.entry(group).or_default();
        group.gid = *gid;
        group.members.insert(name.clone());
    }
}

/// Adds an account for `%group`.
fn add_member(accounts: &mut Accounts, subject: Option<&str>) {
    let Some(group) = subject.and_then(|subject| subject.strip_prefix('%')) else {
        return;
    };
    if let Some(gid) = accounts.gid(group) {
        let user = User {
            uid: MEMBER,
            gid,
            home: None,
            shell: b"/usr/sbin/nologin".to_vec(),
            has_password: false,
        };
        accounts.users.insert(format!("%{group}"), user);
    }
}

/// Adds accounts that policies name and the tables lack: numbers, and accounts of a directory service. Their groups there
/// are not known.
fn add_granted(accounts: &mut Accounts, policies: &[&Policy], socket_group: &str) {
    let gid = accounts.gid(socket_group).unwrap_or(MEMBER);
    let granted = policies.iter().flat_map(|policy| &policy.grants);
    let granted = granted.flat_map(|rule| &rule.to.ids);
    for (principal, word) in granted {
        let Principal::User(uid) = *principal else {
            continue;
        };
        if uid != 0 && !accounts.users.values().any(|user| user.uid == uid) {
            let known = KnownAccount {
                name: word.clone(),
                uid,
                gids: vec![gid],
            };
            add_known(accounts, &known);
        }
    }
}
