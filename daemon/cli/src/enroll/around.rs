//! What leads around remit before anything is done: sshd's settings, keys and rights of the account.

use std::fs;
use std::path::Path;

use super::add::Request;
use super::line::{self, COMMAND};
use super::{Name, Refused};
use crate::doctor::{self, Verdict};
use crate::sshd::answers::Answers;
use crate::sshd::base64;
use crate::sshd::connection::Connection;
use crate::sshd::effective::Effective;

/// Refuses an account with a way around remit, by the checks of `remit doctor`, and a key that opens other accounts.
/// Gives what is no reason to refuse it.
pub(super) fn led_around(request: &Request) -> Result<Vec<String>, Refused> {
    let name = request.name;
    let blob = base64::decode(request.key.base64.as_bytes()).unwrap_or_default();
    let checks = doctor::of_newcomer(name.as_str(), blob)
        .map_err(|error| Refused::new(format!("cannot look at user '{name}': {error}")))?;
    let (mut whys, mut fixes, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
    for check in checks {
        match check.verdict {
            Verdict::Failure(finding) => {
                whys.push(finding.why);
                fixes.push(finding.fix);
            }
            Verdict::Warning(finding) => warnings.push(finding.why),
            Verdict::Ok(_) | Verdict::Skipped(_) => {}
        }
    }
    if whys.is_empty() {
        return Ok(warnings);
    }
    let text = format!("user '{name}' has a way around remit: {}", whys.join("; "));
    let fixes = fixes.join("; ");
    Err(Refused::new(text).lift(format!(
        "{fixes}; or choose a name that is free and a key of its own, and the account is made"
    )))
}

/// What sshd does with this user.
pub(super) fn sshd_of(name: &Name) -> Result<Effective, Refused> {
    let usual = Connection::default();
    let settings = Effective::ask(name.as_str(), &usual).map_err(|error| {
        Refused::from(error).lift("install an ssh server; 'sshd -t' checks its settings")
    })?;
    not_forced(name, &settings, "")?;
    let sshd = Answers::read();
    for way in sshd.ways(name.as_str()) {
        let Some(connection) = &way.connection else {
            continue;
        };
        let there = sshd.ask(name.as_str(), connection);
        let there = there.map_err(|error| Refused::new(error.to_string()))?;
        not_forced(name, &there, &format!(", by {}", way.block.place))?;
    }
    Ok(settings)
}

/// Another command would run in place of what the key says (sshd_config(5)).
fn not_forced(name: &Name, settings: &Effective, place: &str) -> Result<(), Refused> {
    match settings.get("forcecommand") {
        Some(command) if command != COMMAND => Err(Refused::new(format!(
            "sshd forces another command on user '{name}'{place}: {command}"
        ))
        .lift("except this user from ForceCommand in '/etc/ssh/sshd_config'")),
        Some(_) | None => Ok(()),
    }
}

/// A key that opens root's account already restricts nobody. Root's own files are trusted as they are.
pub(super) fn not_roots(key: &super::PublicKey) -> Result<(), Refused> {
    let settings = Effective::ask("root", &Connection::default())?;
    for path in settings.authorized_keys_files("root", 0, Path::new("/root")) {
        // Where there is none, or none that can be read, sshd finds no key either.
        let text = fs::read(&path).unwrap_or_default();
        if let Some(line) = line::elsewhere(&text, key) {
            let text = format!(
                "the key opens root's account: '{}', line {line}",
                path.display()
            );
            return Err(
                Refused::new(text).lift("remove that line, or give the agent a key of its own")
            );
        }
    }
    Ok(())
}
