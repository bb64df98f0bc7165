//! Reads the inputs of a policy from this machine: the drop-in files and the names they use. The warden calls this
//! crate in a forked child, because it may wait for a disk or a directory service; `remit policy` calls it offline.

mod account_sources;
mod approver_keys;
mod drop_ins;
mod guard;

mod impersonators {
    //! Refuses profiles whose user may approve: a job of such a user could approve its own request from outside of its
    //! sandbox, by the user's service manager, crontab or at queue, which are not in a job's cgroup. Root is left out:
    //! without a sandbox it can do anything by itself; in one, the paths that its profile lists decide.

    use nix::errno::Errno;
    use nix::unistd::{Gid, Uid, User, getgrouplist};
    use remit_policy::{Diagnostic, Machine, Policy, Severity, Source, User as Jobs};

    use crate::names::Names;

    /// Returns an error for each profile whose user is an administrator or an approver named by a `by`. `sources` give
    /// its file and line. Returns nothing if `names` describe another machine. It may wait for a directory service. No
    /// answer is an error, at a start only a warning, because each approval refuses a job's user as well.
    pub fn impersonators(
        policy: &Policy,
        sources: &[Source],
        names: &Names,
        admin_gid: Option<u32>,
    ) -> Vec<Diagnostic> {
        if names.are_of_other_host() {
            return Vec::new();
        }
        let found = policy.profiles().filter_map(|profile| {
        let Jobs::Fixed { name, uid, .. } = &profile.user else {
            return None;
        };
        let found = approves(policy, names, *uid, admin_gid);
        let of = &profile.name;
        let (severity, message) = match found {
            _ if *uid == 0 => return None,
            Ok(None) => return None,
            Ok(Some(how)) => (
                Severity::Error,
                format!(
                    "no job of profile '{of}' can be '{name}': {name} {how}, so a job could approve what it asks for. \
                     Give the profile a user of its own: user = \"NAME\""
                ),
            ),
            Err(errno) => (
                match names.may_be_unanswered() {
                    true => Severity::Warning,
                    false => Severity::Error,
                },
                format!(
                    "whether jobs of profile '{of}' could approve what they ask for is not known: the user \
                     database does not answer about '{name}': {}; load the policy again when it does",
                    errno.desc()
                ),
            ),
        };
        let location = location(sources, of).unwrap_or_else(|| "policy".to_owned());
        Some(Diagnostic::whole(severity, &location, message))
    });
        found.collect()
    }

    fn approves(
        policy: &Policy,
        names: &Names,
        uid: u32,
        admin_gid: Option<u32>,
    ) -> Result<Option<String>, Errno> {
        let groups = groups_of(uid)?;
        if admin_gid.is_some_and(|gid| groups.contains(&gid)) {
            return Ok(Some(
                "is in the group of administrators (accounts.admin_group in remit.toml)".into(),
            ));
        }
        Ok(policy.asking().find_map(|asking| {
            let mut by = asking.approval.words();
            let named = by.find(|word| match word.strip_prefix('%') {
                Some(group) => {
                    number(group, |name| names.group(name)).is_some_and(|gid| groups.contains(&gid))
                }
                None => number(word, |name| names.user(name).map(|ids| ids.uid)) == Some(uid),
            })?;
            Some(format!("can approve what {} asks of {named}", asking.rule))
        }))
    }

    fn number(word: &str, named: impl Fn(&str) -> Option<u32>) -> Option<u32> {
        match word.strip_prefix('#') {
            Some(digits) => digits.parse().ok(),
            None => named(word),
        }
    }

    fn groups_of(uid: u32) -> Result<Vec<u32>, Errno> {
        let user = match User::from_uid(Uid::from_raw(uid)) {
            Ok(Some(user)) => user,
            Ok(None) | Err(Errno::ENOENT | Errno::ESRCH) => return Ok(Vec::new()),
            Err(errno) => return Err(errno),
        };
        let name = std::ffi::CString::new(user.name).unwrap_or_default();
        let all = getgrouplist(&name, user.gid)?;
        Ok(all.into_iter().map(Gid::as_raw).collect())
    }

    fn location(sources: &[Source], profile: &str) -> Option<String> {
        let headers = ["", "\"", "'"].map(|quote| format!("[profile.{quote}{profile}{quote}]"));
        sources.iter().find_map(|source| {
            let text = String::from_utf8_lossy(&source.text);
            let is_header =
                |line: &str| headers.iter().any(|header| line.trim().starts_with(header));
            let line = text.lines().position(is_header)?;
            Some(format!("{}:{}", source.name, line + 1))
        })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn reported(user: &str, by: &str, admin_gid: Option<u32>) -> Vec<String> {
            let text = format!(
                "[[grant]]\nname = \"look\"\nto = [\"games\"]\nallow = [\"run\"]\napproval = {{ by = [{by}] }}\n\n\
             [profile.x]\nbase = \"strict\"\nuser = \"{user}\"\n"
            );
            let sources = [Source {
                name: "a.toml".into(),
                text: text.into(),
            }];
            let names = Names::default();
            let (policy, _) = remit_policy_compile::load(&sources, &names).unwrap();
            let found = impersonators(&policy, &sources, &names, admin_gid);
            found.iter().map(ToString::to_string).collect()
        }

        #[test]
        fn w04_approver_as_profile_user_is_refused() {
            let gid = |name: &str| {
                nix::unistd::Group::from_name(name)
                    .unwrap()
                    .unwrap()
                    .gid
                    .as_raw()
            };
            let bin = Some(gid("bin"));
            for (user, by, admin) in [
                ("daemon", "\"root\"", bin),
                ("daemon", "\"bin\", \"%bin\"", bin),
                ("daemon", "\"bin\"", None),
                ("#64999", "\"root\"", bin),
                ("root", "\"root\"", Some(0)),
            ] {
                assert_eq!(
                    reported(user, by, admin),
                    Vec::<String>::new(),
                    "{user} {by}"
                );
            }
            for (user, by, admin, how) in [
                (
                    "bin",
                    "\"root\"",
                    bin,
                    "bin is in the group of administrators",
                ),
                (
                    "daemon",
                    "\"daemon\"",
                    bin,
                    "daemon can approve what look (a.toml:1) asks of daemon",
                ),
                ("daemon", "\"root\", \"%daemon\"", None, "asks of %daemon"),
                (
                    "#64999",
                    "\"#64999\"",
                    bin,
                    "#64999 can approve what look (a.toml:1)",
                ),
            ] {
                let found = reported(user, by, admin);
                assert_eq!(found.len(), 1, "{user} {by}: {found:?}");
                assert!(
                    found[0].starts_with("a.toml:7: error: no job of profile 'x' can be "),
                    "{found:?}"
                );
                assert!(found[0].contains(how), "{found:?}");
                assert!(found[0].contains("user = \"NAME\""), "{found:?}");
            }
        }
    }
}

mod interface_addresses;
mod names;
mod programs;
mod taken_uids;
mod trust;
mod unreachable;

use std::path::Path;

use remit_policy::{Diagnostic, Machine, MachineTable, Policy, Severity, Source};

pub use crate::trust::own_files;
pub use approver_keys::approver_keys;
pub use drop_ins::{PolicyFiles, read, read_file, read_trusted};
pub use guard::protected;
pub use impersonators::impersonators;
pub use interface_addresses::InterfaceAddresses;
pub use names::{LastKnown, Names};
pub use programs::{only_root_changes, only_root_names};
pub use taken_uids::taken_uids;
pub use trust::Owners;
pub use unreachable::{approvers, unreachable_grantees};

#[derive(Debug)]
pub struct Loaded {
    pub policy: Policy,
    pub warnings: Vec<Diagnostic>,
    pub sources: Vec<Source>,
    /// The machine's answers. With the sources they make the same policy again, on any machine.
    pub machine: MachineTable,
}

/// Turns texts and the answers of a machine into a policy and warnings, or into all findings.
pub type Compile<'a> =
    dyn Fn(&[Source], &dyn Machine) -> Result<(Policy, Vec<Diagnostic>), Vec<Diagnostic>> + 'a;

/// Reads the policy of two directories and compiles it with the names of this machine. Fails with every finding.
pub fn load(
    vendor: &Path,
    admin: &Path,
    owners: Owners,
    names: &Names,
    compile: &Compile<'_>,
) -> Result<Loaded, Vec<Diagnostic>> {
    Loaded::of(read(vendor, admin, owners)?, names, compile)
}

impl Loaded {
    /// Compiles files that are already read, with errors as [`load()`].
    pub fn of(
        files: PolicyFiles,
        names: &Names,
        compile: &Compile<'_>,
    ) -> Result<Self, Vec<Diagnostic>> {
        let PolicyFiles {
            sources,
            mut warnings,
        } = files;
        let made = compile(&sources, names);
        warnings.extend(names.late().iter().map(|host| late(host)));
        let unanswered = names.unanswered();
        let is_answered = unanswered.is_empty() || names.may_be_unanswered();
        let severity = match names.may_be_unanswered() {
            true => Severity::Warning,
            false => Severity::Error,
        };
        let findings = unanswered.into_iter();
        warnings.extend(findings.map(|why| Diagnostic::whole(severity, "policy", why)));
        match made {
            Ok((_, found)) if !is_answered => {
                warnings.extend(found);
                Err(warnings)
            }
            Ok((policy, found)) => {
                warnings.extend(found);
                let has_directory = account_sources::has_directory(Path::new("/"));
                let memberless = unreachable::memberless_denials(&policy, names, has_directory);
                warnings.extend(memberless);
                warnings.extend(InterfaceAddresses::ask(names).warnings(&policy));
                if policy.rules() == 0 && !sources.is_empty() {
                    let why = "none of its files has a rule, so nobody has any permission";
                    warnings.push(Diagnostic::whole(Severity::Warning, "policy", why));
                }
                Ok(Self {
                    policy,
                    warnings,
                    sources,
                    machine: names.table(),
                })
            }
            Err(found) => {
                warnings.extend(found);
                Err(warnings)
            }
        }
    }
}

fn late(host: &str) -> Diagnostic {
    let why = format!(
        "no name server answered for '{host}' in time; see /etc/resolv.conf, or write the \
         address itself"
    );
    Diagnostic::whole(Severity::Warning, "policy", why)
}
