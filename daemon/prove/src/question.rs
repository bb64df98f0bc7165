//! Answers a question of `remit_common::prove` by looking at a machine.

use std::time::Duration;

use remit_common::prove::{Compared, FileChange, KnownAccount, Opened, PermittedWhat, Question};
use remit_policy::Policy;
use remit_policy::model::rule::Principal;
use serde::{Deserialize, Serialize};

use crate::accounts::{Accounts, User};
use crate::closure::Clauses;
use crate::facts::Facts;
use crate::grants::{Grants, Rights, new_programs, programs};
use crate::machine::Machine;
use crate::opened::{Side, compare};
use crate::over_time::{RightsOverTime, times};
use crate::people::{People, unjudged};
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
    let rights = Rights {
        policy: &policy,
        programs: programs(&policy),
        in_advance: question.in_force.iter().collect(),
        calls: Vec::new(),
        asks_for_changes: question.asks_for_changes,
    };
    let grants = Grants::of(&rights, accounts, &first.facts().units);
    let people = People::of(question, accounts, &[&policy]);
    let subjects = people.subjects(question, first.facts())?;
    let (mut facts, commands) = first.finish([&grants]);
    facts.obeys.extend(commands.into_iter().flatten());
    let end = end(machine);
    let is_late = || machine.elapsed() > end;
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
    let times = times(&question.in_force, [before, &policy])?;
    let rights = [
        RightsOverTime::new(question, before, &times, &[]),
        RightsOverTime::new(question, &policy, &times, &compared.permitted),
    ];
    match compared.changes.is_empty() {
        true => by_rights(question, &rights, &compared.permitted, machine),
        false => by_files(question, &rights, &compared.changes, machine),
    }
}

/// Both sides meet the same look: what an account changes meanwhile opens nothing.
fn by_rights(
    question: &Question,
    rights: &[RightsOverTime<'_>; 2],
    permitted: &[PermittedWhat],
    machine: &Machine,
) -> Result<Opened, String> {
    let policies = rights.each_ref().map(|one| one.policy);
    let first = begin(question, machine, &policies);
    let grants = rights.each_ref().map(|one| one.grants(&first));
    let [old, new] = &grants;
    let accounts = &first.facts().accounts;
    let unjudged = unjudged(permitted, accounts);
    let is_within = new.iter().zip(old).all(|(new, old)| new.is_within(old));
    let [old_programs, own_programs] = rights.each_ref().map(|one| &one.programs);
    let new_programs = new_programs(own_programs, old_programs);
    // Whatever the machine is like, and however long a look at it takes.
    if is_within && new_programs.is_empty && unjudged.is_none() {
        return Ok(Opened::default());
    }
    let people = People::of(question, accounts, &policies);
    let mut limits = people.limits(&policies, accounts, new);
    limits.extend(new_programs.left_out);
    let (mut facts, commands) = first.finish(grants.iter().flatten());
    let Ok([old_commands, new_commands]) = <[_; 2]>::try_from(commands) else {
        return Err("a policy was not looked at".to_owned());
    };
    facts.hide_private();
    let own = facts.obeys.len();
    let goals = policies.map(|policy| People::of(question, &facts.accounts, &[policy]).goals);
    let mut comparing = Comparing::new(question, machine, &people, limits);
    for (old, new) in distinct(old, new) {
        if comparing.is_late() {
            break;
        }
        let sides = [(old, &old_commands), (new, &new_commands)];
        let clauses = sides.map(|(grants, commands)| {
            facts.obeys.truncate(own);
            facts.obeys.extend(commands.iter().cloned());
            clauses(&facts, grants)
        });
        let ([old, new], [old_goals, new_goals]) = (&clauses, &goals);
        comparing.add([(old, &facts, old_goals), (new, &facts, new_goals)])?;
    }
    let mut opened = comparing.opened();
    opened.incomplete = opened.incomplete.or(unjudged);
    Ok(opened)
}

/// The machine is looked at as it is, and as it would be.
fn by_files(
    question: &Question,
    rights: &[RightsOverTime<'_>; 2],
    changes: &[FileChange],
    machine: &mut Machine,
) -> Result<Opened, String> {
    let policies = rights.each_ref().map(|one| one.policy);
    let whole = |machine: &Machine, rights: &RightsOverTime<'_>| {
        let first = begin(question, machine, &[rights.policy]);
        let grants = rights.grants(&first);
        let accounts = &first.facts().accounts;
        let people = People::of(question, accounts, &policies);
        let limits = people.limits(&[rights.policy], accounts, &grants);
        let (mut facts, commands) = first.finish(&grants);
        facts.obeys.extend(commands.into_iter().flatten());
        facts.hide_private();
        (facts, grants, people, limits)
    };
    let [before, after] = rights;
    let (old_facts, old, mut people, _) = whole(machine, before);
    let old_goals = people.goals.clone();
    machine.change(changes)?;
    let (facts, new, later, limits) = whole(machine, after);
    let new_goals = later.goals.clone();
    // A change that makes somebody an approver does not take an agent out of the question.
    people.add(later);
    let mut comparing = Comparing::new(question, machine, &people, limits);
    for (old, new) in distinct(&old, &new) {
        if comparing.is_late() {
            break;
        }
        let (old, new) = (clauses(&old_facts, old), clauses(&facts, new));
        comparing.add([(&old, &old_facts, &old_goals), (&new, &facts, &new_goals)])?;
    }
    Ok(comparing.opened())
}

/// Leaves out times at which the same is permitted as at another.
fn distinct<'g>(old: &'g [Grants], new: &'g [Grants]) -> Vec<(&'g Grants, &'g Grants)> {
    let mut found: Vec<(&Grants, &Grants)> = Vec::new();
    for (old, new) in old.iter().zip(new) {
        let mut known = found.iter();
        if !known.any(|known| known.0.is_same(old) && known.1.is_same(new)) {
            found.push((old, new));
        }
    }
    found
}

/// What is opened at any of the times.
struct Comparing<'q> {
    question: &'q Question,
    machine: &'q Machine,
    people: &'q People,
    /// Of all proofs.
    end: Duration,
    limits: Vec<String>,
    opened: Opened,
}

impl<'q> Comparing<'q> {
    fn new(
        question: &'q Question,
        machine: &'q Machine,
        people: &'q People,
        limits: Vec<String>,
    ) -> Self {
        Self {
            question,
            machine,
            people,
            end: end(machine),
            limits,
            opened: Opened::default(),
        }
    }

    /// Returns true, and notes it, if no time is left.
    fn is_late(&mut self) -> bool {
        let is_late = self.machine.elapsed() > self.end;
        if is_late {
            let why = "not all temporary grants were compared in time";
            self.opened.incomplete.get_or_insert_with(|| why.to_owned());
        }
        is_late
    }

    fn add(&mut self, sides: [(&Clauses, &Facts, &Goals); 2]) -> Result<(), String> {
        let [_, (_, facts, _)] = sides;
        let is_late = || self.machine.elapsed() > self.end;
        let subjects = self.people.subjects(self.question, facts)?;
        let sides = sides.map(|(clauses, facts, goals)| Side {
            clauses,
            facts,
            goals,
        });
        let opened = compare(&sides, (&subjects, &self.people.goals), &is_late);
        self.opened = std::mem::take(&mut self.opened).and(opened);
        Ok(())
    }

    fn opened(self) -> Opened {
        let mut opened = self.opened;
        opened.incomplete = opened.incomplete.or(self.machine.incomplete());
        opened.limits.extend(self.limits);
        opened
    }
}

fn end(machine: &Machine) -> Duration {
    machine.elapsed().saturating_add(machine.proofs(PROOFS))
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
    sources::begin(machine, add, policies, &question.admin_group)
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
        is_open: false,
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
            is_open: false,
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
