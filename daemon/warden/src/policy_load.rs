//! Loading the policy: a child reads the files and looks the names up, the
//! warden makes the policy from what it brings. The loop never waits for a
//! disk or a directory service.
//!
//! A reload reads `remit.toml`, too: its values count from the next start on, and one that would
//! keep the daemon from starting is to be known before that.

use std::ffi::CString;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, User, getgrouplist};
use remit_common::wire::Bytes;
use remit_confine::{Answer, in_child};
use remit_policy::{Diagnostic, MachineTable, Policy, Severity, Source};
use remit_policy_files::{Names, Owners};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::accounts;
use crate::audit::chain::hex;
use crate::config::{self, Config};
use crate::error::{Fatal, chain};
use crate::peer::Subject;

/// A policy in force.
#[derive(Debug)]
pub struct Live {
    /// Its rules.
    pub policy: Policy,
    /// SHA-256 of everything it was made from, in hexadecimal.
    pub digest: String,
    /// The files it was made from.
    pub files: Vec<String>,
    /// What its author should look at.
    pub warnings: Vec<String>,
    /// The groups that connected users have now; none for one who is gone.
    pub members: Vec<(u32, Vec<u32>)>,
}

/// What a reload found.
#[derive(Debug)]
pub struct Loaded {
    /// The new policy.
    pub live: Live,
    /// `remit.toml` as it is now.
    pub settings: Config,
}

/// What the child brings: the text of `remit.toml`, and the policy's parts.
type Parts = (String, Brought);

/// What a policy is made from.
#[derive(Debug, Serialize, Deserialize)]
struct Brought {
    /// Path, content.
    sources: Vec<(String, Bytes)>,
    machine: MachineTable,
    warnings: Vec<String>,
    members: Vec<(u32, Vec<u32>)>,
}

/// A load under way.
#[derive(Debug)]
pub struct Loading {
    answer: Answer,
    config: PathBuf,
    /// It was asked for again meanwhile.
    pub again: bool,
    /// Who asked for it; nobody when it was a signal.
    pub asked: Option<Subject>,
}

/// Why a policy was not loaded: every finding, a line or more each.
pub type Refused = String;

/// Each finding by its sentence, without the lines that show the place in the file.
pub fn findings(why: &str) -> Vec<&str> {
    why.lines().filter(|line| !line.starts_with(' ')).collect()
}

/// The first finding, which is an error where there is one, and how many more there are.
pub fn in_short(why: &str) -> String {
    let all = findings(why);
    let grave = all.iter().find(|line| !line.contains(": warning: "));
    let first = grave.or(all.first()).copied().unwrap_or_default();
    match all.len() {
        0 | 1 => first.to_owned(),
        many => format!("{first} (and {} more)", many - 1),
    }
}

impl Loading {
    /// Forks the child, which also looks up the groups of `connected` users.
    ///
    /// # Errors
    /// It cannot be forked.
    pub fn start(
        vendor: &Path,
        config: &Path,
        connected: &[u32],
        asked: Option<&Subject>,
    ) -> Result<Self, Fatal> {
        let (vendor, admin) = dirs(vendor, config);
        let answer = in_child(|| {
            let parts = bring_settings(config)
                .and_then(|text| Ok((text, bring(&vendor, &admin, connected)?)));
            postcard::to_extend(&parts, Vec::new()).unwrap_or_default()
        });
        match answer {
            Ok(answer) => Ok(Self {
                answer,
                config: config.to_path_buf(),
                again: false,
                asked: asked.cloned(),
            }),
            Err(error) => Err(Fatal::System(chain(&error))),
        }
    }

    /// Readable when [`Loading::read`] gets on.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.answer.fd()
    }

    /// The policy, once the child has brought everything. `None`: read again when readable.
    pub fn read(&mut self) -> Option<Result<Loaded, Refused>> {
        match self.answer.read() {
            Ok(None) => None,
            Ok(Some(bytes)) => Some(
                postcard::from_bytes::<Result<Parts, Refused>>(&bytes)
                    .map_err(|_| "the child that reads the policy died".to_owned())
                    .and_then(|parts| {
                        let (text, brought) = parts?;
                        let settings = config::parse_file(&self.config, &text)?;
                        let live = make(brought)?;
                        Ok(Loaded { live, settings })
                    }),
            ),
            Err(error) => Some(Err(chain(&error))),
        }
    }
}

/// Loads at once, for the start-up and `--check`.
///
/// # Errors
/// Every finding.
pub fn load_now(vendor: &Path, config: &Path) -> Result<Live, Refused> {
    let (vendor, admin) = dirs(vendor, config);
    bring(&vendor, &admin, &[]).and_then(make)
}

fn dirs(vendor: &Path, config: &Path) -> (PathBuf, PathBuf) {
    (vendor.join("policy.d"), config.join("policy.d"))
}

/// The text of `remit.toml`, which a start would take.
fn bring_settings(dir: &Path) -> Result<String, Refused> {
    let text = config::read(dir)?;
    let Config { accounts, jobs, .. } = config::parse_file(dir, &text)?;
    let names = [
        accounts::user("accounts.broker", &accounts.broker).map(drop),
        accounts::group("accounts.socket_group", &accounts.socket_group).map(drop),
        accounts::group("accounts.admin_group", &accounts.admin_group).map(drop),
        accounts::check_range(jobs.uid_first, jobs.uid_count),
    ];
    match names.into_iter().find_map(Result::err) {
        None => Ok(text),
        Some(error) => Err(error.to_string()),
    }
}

fn bring(vendor: &Path, admin: &Path, connected: &[u32]) -> Result<Brought, Refused> {
    let lines =
        |findings: Vec<Diagnostic>| findings.iter().map(ToString::to_string).collect::<Vec<_>>();
    let files =
        remit_policy_files::read(vendor, admin, Owners::Root).map_err(|e| lines(e).join("\n"))?;
    // A first load, only to learn which names are asked for.
    let names = Names::default();
    let (_, findings) =
        remit_policy::load(&files.sources, &names).map_err(|e| lines(e).join("\n"))?;
    let mut warnings = lines(files.warnings);
    warnings.extend(lines(findings));
    Ok(Brought {
        sources: files
            .sources
            .into_iter()
            .map(|source| (source.name, source.text.into()))
            .collect(),
        machine: names.table(),
        warnings,
        members: connected
            .iter()
            .map(|uid| (*uid, groups_of(*uid)))
            .collect(),
    })
}

fn make(brought: Brought) -> Result<Live, Refused> {
    let files = brought.sources.iter().map(|(name, _)| name.clone());
    let files = files.collect();
    let sources: Vec<Source> = brought
        .sources
        .into_iter()
        .map(|(name, text)| Source {
            name,
            text: text.into_vec(),
        })
        .collect();
    let (policy, _) = remit_policy::load(&sources, &brought.machine).map_err(|findings| {
        let errors = findings
            .iter()
            .filter(|f| matches!(f.severity(), Severity::Error));
        errors
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    })?;
    let digest = hex(&Sha256::digest(policy.digest_input()));
    let mut warnings = brought.warnings;
    if policy.rules() == 0 && !sources.is_empty() {
        let text = "none of its files has a rule: nobody may do anything";
        warnings.push(Diagnostic::whole(Severity::Warning, "policy", text).to_string());
    }
    Ok(Live {
        policy,
        digest,
        files,
        warnings,
        members: brought.members,
    })
}

/// The groups a login would give this user now; none for one who is gone.
fn groups_of(uid: u32) -> Vec<u32> {
    let Ok(Some(user)) = User::from_uid(uid.into()) else {
        return Vec::new();
    };
    let name = CString::new(user.name).unwrap_or_default();
    let groups = getgrouplist(&name, user.gid).unwrap_or_default();
    groups.into_iter().map(Gid::as_raw).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_short_it_is_the_first_error_and_a_count() {
        let check = |why: &str, expect: &str| assert_eq!(in_short(why), expect, "{why}");
        check("", "");
        check(
            "a.toml:1:1: error: m\n  1 | x\n    | ^\n    = h",
            "a.toml:1:1: error: m",
        );
        check(
            "a.toml:1:1: warning: w\n  1 | x\nb.toml: error: m\n  = h",
            "b.toml: error: m (and 1 more)",
        );
        check("a: warning: v\nb: warning: w", "a: warning: v (and 1 more)");
    }
}
