//! What sshd does with an agent that comes by another connection than the usual one.

use super::agents::{self, Account};
use super::check::{Check, Finding, Verdict, or_ok};
use super::keys::Now;
use super::ssh::{self, Settings};
use crate::sshd::answers::Answers;
use crate::sshd::effective::Effective;

/// What is otherwise if the agent comes by other connections than the usual one: from other addresses, to other ports.
pub fn checks(account: &Account, usual: &Settings, sshd: &Answers, now: &Now) -> Vec<Check> {
    let name = format!("{}: sshd by connection", account.name);
    // Without the usual answer there is none to compare with, and that is a check already.
    if !usual.told {
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
                format!("what holds in it was not looked at: {why}"),
                "sshd -t",
            )
        })
        .collect();
    let ways = sshd.ways(&account.name);
    for way in &ways {
        let (text, place) = (&way.block.text, &way.block.place);
        let when = match way.meets {
            true => format!("where 'Match {text}' holds ({place})"),
            false => format!("where 'Match {text}' does not hold ({place})"),
        };
        let unseen = |why: &str| {
            Check::warning(
                &name,
                format!("what sshd does {when} was not looked at: {why}"),
                format!("look at it: sshd -T -C user={},addr=…", account.name),
            )
        };
        let Some(connection) = &way.connection else {
            found.push(unseen("no connection was found to ask about"));
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
                // A line of sshd's configuration is meant, and 'Match User' would not always win.
                fix: format!("{}; or change the block at {place}", finding.fix),
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
        0 => "no Match block asks for more than a user".to_owned(),
        1 => "1 Match block asked about".to_owned(),
        count => format!("{count} Match blocks asked about, each by itself"),
    };
    or_ok(found, &name, asked)
}
