//! Checks for ways around remit before anything is changed: sshd's settings, keys and rights of the account.

use std::fs;
use std::path::Path;

use super::Request;
use super::key::PublicKey;
use super::name::Name;
use super::refused::Refused;
use crate::checks::{self, Verdict};
use crate::enrollment::authorized_keys_line::{self, COMMAND};
use crate::openssh::effective::{Answers, Effective};
use crate::openssh::keys;
use crate::openssh::pattern::Connection;

/// Refuses an account that fails a check of `remit doctor`, and a key that opens other accounts. Returns the warnings.
pub(super) fn check_bypasses(request: &Request) -> Result<Vec<String>, Refused> {
    let name = request.name;
    let blob = keys::decode_base64(request.key.base64.as_bytes()).unwrap_or_default();
    let checks = checks::checks_of_new_agent(name.as_str(), blob)
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
    let text = format!("user '{name}' can bypass remit: {}", whys.join("; "));
    let fixes = fixes.join("; ");
    Err(Refused::new(text).lift(format!(
        "{fixes}; or choose an unused name and a new key, and remit will create the account"
    )))
}

pub(super) fn sshd_of(name: &Name) -> Result<Effective, Refused> {
    let usual = Connection::default();
    let settings = Effective::ask(name.as_str(), &usual).map_err(|error| {
        Refused::from(error).lift("install an ssh server; 'sshd -t' checks its settings")
    })?;
    check_not_forced(name, &settings, "")?;
    let sshd = Answers::read();
    for way in sshd.ways(name.as_str()) {
        let Some(connection) = &way.connection else {
            continue;
        };
        let there = sshd.ask(name.as_str(), connection);
        let there = there.map_err(|error| Refused::new(error.to_string()))?;
        check_not_forced(name, &there, &format!(", by {}", way.block.location))?;
    }
    Ok(settings)
}

/// ForceCommand overrides the command of the key (sshd_config(5)).
fn check_not_forced(name: &Name, settings: &Effective, location: &str) -> Result<(), Refused> {
    match settings.get("forcecommand") {
        Some(command) if command != COMMAND => Err(Refused::new(format!(
            "sshd forces another command on user '{name}'{location}: {command}"
        ))
        .lift("in '/etc/ssh/sshd_config', exclude this user from ForceCommand")),
        Some(_) | None => Ok(()),
    }
}

/// Refuses a key that opens root's account, because it restricts nothing. Root's own files are trusted.
pub(super) fn check_not_root_key(key: &PublicKey) -> Result<(), Refused> {
    let settings = Effective::ask("root", &Connection::default())?;
    for path in settings.authorized_keys_files("root", 0, Path::new("/root")) {
        // sshd finds no key either in a file that is missing or unreadable.
        let text = fs::read(&path).unwrap_or_default();
        if let Some(line) = authorized_keys_line::find_foreign_line(&text, key) {
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
