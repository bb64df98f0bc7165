//! Runs the checks of agents' accounts: what each can do without remit, by itself and by ssh; and of approvers' keys.
//! Needs root.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::unistd::Group;
use remit_common::names::Runtime;

use super::agents::{self, AccountDatabase, AccountFacts};
use super::approvers::{self, EnrolledKeys};
use super::file_facts::FileFacts;
use super::keys::Now;
use super::report::{AccountChecks, Check, Finding, Verdict, or_ok};
use super::ssh::{self, SshdSettings};
use super::{
    enrolled, files, keys_in_other_accounts, login, privilege_escalation, started, writable_paths,
};
use crate::enrollment::{self, Role};
use crate::openssh::effective::{Answers, Effective};

pub fn checks(runtime: &Runtime, own: &[PathBuf]) -> AccountChecks {
    let clients = group_of(&runtime.socket(), "remit");
    let Some(clients) = clients else {
        let why = "there is no socket of remit and no group 'remit'";
        let failure = Check::failure("members", why, "install the package again");
        return AccountChecks::unknown(failure, why);
    };
    let admins = group_of(&runtime.admin_socket(), "remit-admin");
    let sockets = [Some(clients), admins];
    let sshd = Answers::read();
    let accounts = AccountDatabase::read();
    let found = accounts.as_ref().map_err(|error| (error.to_string(), None));
    let found = found.and_then(|accounts| {
        let enrolled = enrollment::enrolled(Path::new(enrollment::STATE));
        let enrolled = enrolled.map_err(|error| (error.to_string(), error.way_out()))?;
        let is_agent = |account: &AccountFacts| {
            let settings = ssh::settings(account, &sshd);
            settings.map_or(Ok(false), |sshd| ssh::starts_shim(account, &sshd))
        };
        let approving = |account: &AccountFacts| {
            let settings = ssh::settings(account, &sshd);
            settings.map_or_else(BTreeSet::new, |sshd| approvers::own_keys(account, &sshd))
        };
        let found = accounts.find(sockets, &enrolled, is_agent, approving);
        Ok((
            accounts,
            enrolled,
            found.map_err(|e| (e.to_string(), None))?,
        ))
    });
    let (accounts, records, found) = match found {
        Ok(found) => found,
        Err((error, way_out)) => {
            let why = format!("cannot find out who is an agent: {error}");
            let look = || "getent group remit; ls /var/lib/remit/enrolled".to_owned();
            let failure = Check::failure("enrolled", &why, way_out.unwrap_or_else(look));
            return AccountChecks::unknown(failure, &why);
        }
    };
    let guarded = files::guarded(own, runtime);
    let mut checks = agents::members(&found);
    checks.extend(found.faults.iter().cloned());
    let (groups, mut by_ssh) = enrolled::checks(&found, &records, sockets, &sshd);
    checks.extend(groups);
    let now = ssh::now();
    for account in &found.agents {
        let (own, ssh) = account_checks(account, accounts, &sshd, admins, &now);
        checks.extend(own);
        checks.extend(refusals(account, &sshd));
        checks.extend(writable_paths::checks(account, &guarded));
        by_ssh.extend(ssh);
    }
    for (account, enrolled) in &found.approvers {
        by_ssh.extend(approver_checks(account, enrolled, accounts, &sshd, &now));
        by_ssh.extend(refusals(account, &sshd));
    }
    if by_ssh.is_empty() {
        by_ssh.push(match found.agents.is_empty() {
            true => Check::ok("keys", "nobody is enrolled"),
            false => Check::skipped("all", "there is no sshd on this machine"),
        });
    }
    let agents = found.agents.iter().map(|agent| agent.name.clone());
    AccountChecks {
        accounts: checks,
        ssh: by_ssh,
        agents: agents.collect(),
    }
}

fn account_checks(
    account: &AccountFacts,
    accounts: &AccountDatabase,
    sshd: &Answers,
    admins: Option<u32>,
    now: &Now,
) -> (Vec<Check>, Vec<Check>) {
    let settings = ssh::settings(account, sshd);
    let takes_passwords = match &settings {
        None => Some(false),
        Some(settings) if settings.answered => {
            let yes = |keyword| settings.effective.is_yes(keyword);
            Some(yes("passwordauthentication") || yes("kbdinteractiveauthentication"))
        }
        Some(_) => None,
    };
    let mut checks = agents::groups(account, admins);
    checks.push(agents::password_check(account, takes_passwords));
    checks.extend(ends(account, sshd));
    checks.extend(privilege_escalation::checks(account));
    checks.extend(started::checks(account));
    let mut by_ssh = Vec::new();
    if let Some(settings) = settings {
        by_ssh.extend(ssh::checks(account, &settings, now));
        by_ssh.extend(connection_checks(account, &settings, sshd, now));
        let keys = keys_in_other_accounts::keys_of(account, &settings.effective);
        by_ssh.extend(foreign_key_checks(
            (&account.name, Role::Agent),
            &keys,
            accounts,
            sshd,
        ));
    }
    (checks, by_ssh)
}

fn refusals(account: &AccountFacts, sshd: &Answers) -> Vec<Check> {
    login::refusals(&account.name, &account.group_names(), sshd)
}

fn ends(account: &AccountFacts, sshd: &Answers) -> Vec<Check> {
    login::ends(&account.name, &account.aging, &account.password, sshd)
}

/// Checks the keys that an approver has for remit, for each kind of connection.
fn approver_checks(
    account: &AccountFacts,
    enrolled: &EnrolledKeys,
    accounts: &AccountDatabase,
    sshd: &Answers,
    now: &Now,
) -> Vec<Check> {
    let Some(settings) = ssh::settings(account, sshd) else {
        return Vec::new();
    };
    let mut checks: Vec<Check> = settings.problem.iter().cloned().collect();
    checks.extend(ends(account, sshd));
    let (own, mut keys) = approvers::checks(account, &settings.effective, enrolled, now);
    checks.extend(own);
    let ways = sshd.ways(&account.name).into_iter();
    for connection in ways.filter_map(|way| way.connection) {
        // Another check already reports an sshd that does not answer.
        let Ok(effective) = sshd.ask(&account.name, &connection) else {
            continue;
        };
        let (there, more) = approvers::checks(account, &effective, enrolled, now);
        keys.extend(more);
        for check in there {
            if !matches!(check.verdict, Verdict::Ok(_)) && !checks.contains(&check) {
                checks.push(check);
            }
        }
    }
    checks.extend(foreign_key_checks(
        (&account.name, Role::Approver),
        &keys,
        accounts,
        sshd,
    ));
    checks
}

fn foreign_key_checks(
    (user, role): (&str, Role),
    keys: &BTreeSet<Vec<u8>>,
    accounts: &AccountDatabase,
    sshd: &Answers,
) -> Vec<Check> {
    let others = keys_in_other_accounts::others(&accounts.passwd);
    let settings = |name: &str| settings_of_other(sshd, user, name);
    keys_in_other_accounts::checks((user, role), keys, &others, settings)
}

/// Returns sshd's settings for another account, one for each kind of connection.
fn settings_of_other(sshd: &Answers, user: &str, other: &str) -> Vec<Rc<Effective>> {
    let all: Vec<Rc<Effective>> = sshd
        .connections(other)
        .filter_map(|connection| sshd.of_other(user, other, &connection))
        .collect();
    match all.is_empty() {
        true => vec![Rc::new(Effective::default())],
        false => all,
    }
}

/// Returns another account for which sshd reads keys in `file`, too. Needs root.
pub fn other_account_of(user: &str, file: &Path, sshd: &Answers) -> io::Result<Option<String>> {
    let others = keys_in_other_accounts::others(&AccountDatabase::read()?.passwd);
    let settings = |name: &str| settings_of_other(sshd, user, name);
    Ok(keys_in_other_accounts::sharing(
        (user, file),
        &others,
        settings,
    ))
}

/// Checks an account that is about to become an agent, and finds other accounts that its new `key` opens. Needs root.
pub fn checks_of_new_agent(user: &str, key: Vec<u8>, sshd: &Answers) -> io::Result<Vec<Check>> {
    let accounts = AccountDatabase::read()?;
    let now = ssh::now();
    let mut checks = match accounts.account(user)? {
        None => checks_of_no_account((user, "the agent", "mcp-shim"), sshd),
        Some(account) => {
            let admins = group_of(
                &Runtime::new(Runtime::DEFAULT).admin_socket(),
                "remit-admin",
            );
            let (own, by_ssh) = account_checks(&account, &accounts, sshd, admins, &now);
            // The account may have no key yet, so it was not asked about.
            let fault = ssh::shell_fault(&account, "mcp-shim", "the agent");
            let fault = fault.filter(|fault| !by_ssh.contains(fault));
            own.into_iter().chain(by_ssh).chain(fault).collect()
        }
    };
    checks.extend(foreign_key_checks(
        (user, Role::Agent),
        &BTreeSet::from([key]),
        &accounts,
        sshd,
    ));
    Ok(checks)
}

/// As [`checks_of_new_agent`], of an approver.
pub fn checks_of_new_approver(user: &str, key: Vec<u8>, sshd: &Answers) -> io::Result<Vec<Check>> {
    let accounts = AccountDatabase::read()?;
    let now = ssh::now();
    let mut checks = Vec::new();
    if let Some(account) = accounts.account(user)? {
        let settings = ssh::settings(&account, sshd);
        // Keys that cannot be read are a failure of the checks below.
        if settings.is_some_and(|settings| ssh::starts_shim(&account, &settings) == Ok(true)) {
            checks.push(Check::failure(
                format!("{user}: keys"),
                format!("a key of '{user}' starts mcp-shim: who asks for changes cannot be who approves them"),
                "choose another account for the approver",
            ));
        }
        let none = EnrolledKeys::Only(BTreeSet::new());
        checks.extend(approver_checks(&account, &none, &accounts, sshd, &now));
        let fault = ssh::shell_fault(&account, "remit", "the approver");
        checks.extend(fault.filter(|fault| !checks.contains(fault)));
    } else {
        checks.extend(checks_of_no_account((user, "the approver", "remit"), sshd));
    }
    checks.extend(foreign_key_checks(
        (user, Role::Approver),
        &BTreeSet::from([key]),
        &accounts,
        sshd,
    ));
    Ok(checks)
}

/// Checks that sshd lets the keys of an account in. Its groups decide about that, so it has joined them. Needs root.
pub fn login_checks(user: &str) -> io::Result<Vec<Check>> {
    let account = AccountDatabase::read()?.account(user)?;
    Ok(account.map_or_else(Vec::new, |account| refusals(&account, &Answers::read())))
}

/// Checks the settings of sshd for an account that is not there yet, for each kind of connection.
fn checks_of_no_account((user, whose, program): (&str, &str, &str), sshd: &Answers) -> Vec<Check> {
    let mut found = Vec::new();
    for connection in sshd.connections(user) {
        // An enrollment asks the same, and fails without an answer.
        let Ok(effective) = sshd.ask(user, &connection) else {
            continue;
        };
        for fault in ssh::steering_faults(user, &effective, whose, program) {
            if !found.contains(&fault) {
                found.push(fault);
            }
        }
    }
    found
}

fn group_of(socket: &Path, name: &str) -> Option<u32> {
    match FileFacts::look(socket) {
        Ok(Some(facts)) => Some(facts.group.id),
        Ok(None) | Err(_) => {
            let group = Group::from_name(name).ok().flatten()?;
            Some(group.gid.as_raw())
        }
    }
}

fn connection_checks(
    account: &AccountFacts,
    usual: &SshdSettings,
    sshd: &Answers,
    now: &Now,
) -> Vec<Check> {
    let name = format!("{}: sshd by connection", account.name);
    // Another check already reports the missing usual answer.
    if !usual.answered {
        return Vec::new();
    }
    let known: Vec<Check> = ssh::checks(account, usual, now);
    let passwords = |sshd: &Effective| {
        let yes =
            sshd.is_yes("passwordauthentication") || sshd.is_yes("kbdinteractiveauthentication");
        agents::password_check(account, Some(yes))
    };
    let mut found: Vec<Check> = sshd
        .unread()
        .iter()
        .map(|why| {
            Check::warning(
                &name,
                format!("a part of sshd's configuration was not checked: {why}"),
                "sshd -t",
            )
        })
        .collect();
    let ways = sshd.ways(&account.name);
    for way in &ways {
        let (text, location) = (&way.block.text, &way.block.location);
        let when = match way.meets {
            true => format!("where 'Match {text}' holds ({location})"),
            false => format!("where 'Match {text}' does not hold ({location})"),
        };
        let unseen = |why: &str| {
            Check::warning(
                &name,
                format!("sshd's settings {when} were not checked: {why}"),
                format!("to see them: sshd -T -C user={},addr=…", account.name),
            )
        };
        let Some(connection) = &way.connection else {
            found.push(unseen("no connection meets this condition"));
            continue;
        };
        let effective = match sshd.ask(&account.name, connection) {
            Ok(effective) => effective,
            Err(error) => {
                found.push(unseen(&error.to_string()));
                continue;
            }
        };
        if *effective == usual.effective {
            continue;
        }
        let mut there = ssh::settings_checks(account, &effective);
        there.extend(ssh::key_checks(account, &effective, now));
        if passwords(&effective) != passwords(&usual.effective) {
            there.push(passwords(&effective));
        }
        for check in there {
            if known.contains(&check) {
                continue;
            }
            let (Verdict::Warning(finding) | Verdict::Failure(finding)) = &check.verdict else {
                continue;
            };
            let finding = Finding {
                why: format!("{when}: {}", finding.why),
                fix: format!("{}; or change the block at {location}", finding.fix),
            };
            found.push(Check {
                name: name.clone(),
                verdict: match check.verdict {
                    Verdict::Failure(_) => Verdict::Failure(finding),
                    _ => Verdict::Warning(finding),
                },
            });
        }
    }
    let asked = match ways.len() {
        0 => "no Match block depends on the connection".to_owned(),
        1 => "1 Match block checked".to_owned(),
        count => format!("{count} Match blocks checked, each by itself"),
    };
    or_ok(found, &name, asked)
}
