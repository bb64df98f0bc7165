//! Checks sshd's settings for an agent over connections other than the usual one: other addresses, other ports.

use super::agents::{self, AccountFacts};
use super::check::{Check, Finding, Verdict, or_ok};
use super::keys::Now;
use super::ssh::{self, SshdSettings};
use crate::openssh::answers::Answers;
use crate::openssh::effective::Effective;

pub fn checks(
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
                // The fix must also name the block, because a 'Match User' block would not always take precedence.
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
