//! Answers a question of `remit_common::prove` by looking at a machine.

use std::time::Duration;

use remit_common::prove::{Compared, FileChange, KnownAccount, Opened, Question};
use remit_policy::Policy;
use remit_policy::model::rule::Principal;
use serde::{Deserialize, Serialize};

use crate::accounts::{Accounts, User};
use crate::grants::{Grants, programs_are_within};
use crate::machine::Machine;
use crate::opened::{Side, compare};
use crate::people::People;
use crate::report::{Report, prove};
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
    let grants = Grants::from_policy(&policy, accounts, first.facts().units.iter());
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
    let before = before.as_ref().unwrap_or(&policy);
    match compared.changes.is_empty() {
        true => by_policy(question, before, &policy, machine),
        false => by_files(question, before, &policy, &compared.changes, machine),
    }
}

/// Both policies meet the same look: what an account changes meanwhile opens nothing.
fn by_policy(
    question: &Question,
    before: &Policy,
    after: &Policy,
    machine: &Machine,
) -> Result<Opened, String> {
    let policies = [before, after];
    let first = begin(question, machine, &policies);
    let accounts = &first.facts().accounts;
    let units = first.facts().units.iter();
    let grants = policies.map(|policy| Grants::from_policy(policy, accounts, units.clone()));
    let [old, new] = &grants;
    // Whatever the machine is like, and however long a look at it takes.
    if new.is_within(old) && programs_are_within(after, before) {
        return Ok(Opened::default());
    }
    let people = People::of(question, accounts, &policies);
    let limits = people.limits(&policies, accounts, new);
    let (mut facts, commands) = first.finish();
    facts.hide_private();
    let own = facts.obeys.len();
    let mut clauses = commands.into_iter().zip(&grants).map(|(commands, grants)| {
        facts.obeys.truncate(own);
        facts.obeys.extend(commands);
        clauses(&facts, grants)
    });
    let (Some(old), Some(new)) = (clauses.next(), clauses.next()) else {
        return Err("a policy was not looked at".to_owned());
    };
    drop(clauses);
    let goals = policies.map(|policy| People::of(question, &facts.accounts, &[policy]).goals);
    let [old_goals, new_goals] = &goals;
    let sides = [(&old, old_goals), (&new, new_goals)].map(|(clauses, goals)| Side {
        clauses,
        facts: &facts,
        goals,
    });
    judge(question, machine, &sides, &people, limits)
}

/// The machine is looked at as it is, and as it would be.
fn by_files(
    question: &Question,
    before: &Policy,
    after: &Policy,
    changes: &[FileChange],
    machine: &mut Machine,
) -> Result<Opened, String> {
    let whole = |machine: &Machine, policy: &Policy| {
        let first = begin(question, machine, &[policy]);
        let accounts = &first.facts().accounts;
        let grants = Grants::from_policy(policy, accounts, first.facts().units.iter());
        let people = People::of(question, accounts, &[before, after]);
        let limits = people.limits(&[policy], accounts, &grants);
        let (mut facts, commands) = first.finish();
        facts.obeys.extend(commands.into_iter().flatten());
        facts.hide_private();
        let clauses = clauses(&facts, &grants);
        (facts, clauses, people, limits)
    };
    let (old_facts, old, mut people, _) = whole(machine, before);
    let old_goals = people.goals.clone();
    machine.change(changes)?;
    let (facts, new, later, limits) = whole(machine, after);
    let new_goals = later.goals.clone();
    // A change that makes somebody an approver does not take an agent out of the question.
    people.add(later);
    let sides = [(&old, &old_facts, &old_goals), (&new, &facts, &new_goals)];
    let sides = sides.map(|(clauses, facts, goals)| Side {
        clauses,
        facts,
        goals,
    });
    judge(question, machine, &sides, &people, limits)
}

fn judge(
    question: &Question,
    machine: &Machine,
    sides: &[Side<'_>; 2],
    people: &People,
    limits: Vec<String>,
) -> Result<Opened, String> {
    let [_, after] = sides;
    let is_late = late(machine);
    let subjects = people.subjects(question, after.facts)?;
    let mut opened = compare(sides, (&subjects, &people.goals), &is_late);
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
