//! Answers a question of `remit_common::prove` by looking at a machine.

use std::collections::BTreeSet;
use std::time::Duration;

use remit_common::prove::{Compared, KnownAccount, Opened, Question};
use remit_policy::Policy;
use serde::{Deserialize, Serialize};

use crate::accounts::{Accounts, User};
use crate::facts::Facts;
use crate::grants::Grants;
use crate::machine::Machine;
use crate::opened;
use crate::report::{Goals, Report, Subject, prove};
use crate::sources;

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
    report(question, machine, &decode(&question.policy)?)
}

/// Answers what a change opens: the machine is looked at as it is, and as it would be.
pub fn opened(
    question: &Question,
    compared: &Compared,
    machine: &mut Machine,
) -> Result<Opened, String> {
    check_release(question)?;
    let policy = decode(&question.policy)?;
    let earlier = compared.before.as_deref().map(|bytes| decode(bytes));
    let earlier = earlier.transpose()?;
    let before = report(question, machine, earlier.as_ref().unwrap_or(&policy))?;
    machine.change(&compared.changes)?;
    let after = report(question, machine, &policy)?;
    Ok(opened::opened(&before, &after))
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

fn report(question: &Question, machine: &Machine, policy: &Policy) -> Result<Report, String> {
    let mut facts = sources::look(
        machine,
        |accounts| {
            for known in &question.accounts {
                add_known(accounts, known);
            }
            add_member(accounts, question.subject.as_deref());
        },
        policy,
    );
    let milliseconds = || u64::try_from(machine.elapsed().as_millis()).unwrap_or(u64::MAX);
    let grants = Grants::from_policy(policy, &facts.accounts, facts.units.iter());
    let (subjects, goals) = subjects(question, &facts, policy)?;
    let begin = milliseconds();
    let (files, unknown, more_unknown) = machine.take();
    facts.files = files;
    facts.unknown = unknown;
    facts.more_unknown = more_unknown;
    let late = machine.elapsed().saturating_add(machine.proofs(PROOFS));
    let is_late = || machine.elapsed() > late;
    let mut report = prove(&facts, &grants, &subjects, &goals, &is_late);
    report.figures.milliseconds = milliseconds().max(begin);
    Ok(report)
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

fn subjects(
    question: &Question,
    facts: &Facts,
    policy: &Policy,
) -> Result<(Vec<Subject>, Goals), String> {
    let accounts = &facts.accounts;
    let members = |group: &str| -> BTreeSet<u32> {
        let gid = accounts.gid(group);
        let users = accounts
            .users
            .iter()
            .filter(|(name, _)| !name.starts_with('%'));
        let users =
            users.filter(|(name, _)| gid.is_some_and(|gid| accounts.gids(name).contains(&gid)));
        users.map(|(_, user)| user.uid).collect()
    };
    let mut approvers = members(&question.admin_group);
    for word in policy.asking().flat_map(|asking| asking.approval.words()) {
        match word.strip_prefix('%') {
            Some(group) => approvers.extend(members(group)),
            None => approvers.extend(accounts.uid(word)),
        }
    }
    let mut agents = members(&question.socket_group);
    agents.retain(|uid| !approvers.contains(uid) && *uid != 0);
    let subjects = match &question.subject {
        None => agents
            .iter()
            .map(|uid| (crate::rules::user(facts, *uid), *uid))
            .collect(),
        Some(name) => {
            let uid = accounts.uid(name);
            let uid = uid.ok_or_else(|| {
                format!("there is no '{name}' in the tables of accounts of this machine")
            })?;
            vec![(name.clone(), uid)]
        }
    };
    let subjects = subjects
        .into_iter()
        .map(|(name, uid)| Subject { name, uid });
    Ok((subjects.collect(), Goals { agents, approvers }))
}
