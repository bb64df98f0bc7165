//! `remit policy check`: prints findings of a load, grantees who cannot connect, and paths that cannot be shown now.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use nix::unistd::Uid;
use remit_policy::model::settings::NoPrincipal;
use remit_policy::{
    Base, Diagnostic, Listed, Machine, Network, Policy, Principal, Profile, Severity,
};
use remit_policy_files::{
    Loaded, Names, Owners, approvers, impersonators, taken_uids, unreachable_grantees,
};
use remit_settings::{AccountRef, Config};
use serde_json::json;

use remit_prove::report::{Path as Reached, Report};
use remit_sys::base_set;

use super::approver_keys;
use super::files::{self, errors};
use super::groups;
use crate::args::{CheckArgs, FilesArgs};
use crate::client::prover;
use crate::error::{Exit, Failure};
use crate::render::output::{self, Context, Form};
use crate::render::units::count;

/// Prints findings. The exit status shows if the daemon would refuse the files, or the keys of approvers.
pub fn check(context: &Context, args: &CheckArgs) -> Result<Exit, Failure> {
    let CheckArgs { prove, files: args } = args;
    if *prove && !Uid::effective().is_root() {
        return Err(Failure::NotRoot("policy check --prove"));
    }
    let owners = files::owners(args);
    let config = files::resolve(&args.config, owners);
    let (made, names) = files::of_args(args);
    let (loaded, mut found) = match made {
        Ok(mut loaded) => {
            let warnings = std::mem::take(&mut loaded.warnings);
            (Some(loaded), warnings)
        }
        Err(found) => (None, found),
    };
    if let Some(loaded) = &loaded {
        found.extend(findings(loaded, &names, &config, owners));
        found.extend(missing_paths(&loaded.policy, &names));
        if *prove {
            found.extend(opened_paths(&loaded.policy));
        }
    }
    let loaded = loaded.filter(|_| errors(&found) == 0);
    // The daemon loads the policy without them, and then accepts no signature.
    let keys = approver_keys::faults(files::settings_directory(&config), owners);
    let has_faults = !keys.is_empty();
    found.extend(keys);
    match context.form {
        Form::Json => output::json(&json!({
            "loads": loaded.is_some(),
            "digest": loaded.as_ref().and_then(|loaded| digest(loaded, args)),
            "errors": errors(&found),
            "warnings": found.len() - errors(&found),
            "findings": files::objects(&found),
            "files": loaded.iter().flat_map(files_of).collect::<Vec<_>>(),
            "rules": loaded.as_ref().map(|loaded| loaded.policy.rules()),
            "commands": loaded.as_ref().map(|loaded| loaded.policy.commands().count()),
            "owners": !args.any_owner && !args.machine.other_machine,
            "names": !args.machine.other_machine,
        }))?,
        Form::Text => output::text(&show(loaded.as_ref(), &found, args))?,
    }
    Ok(match loaded {
        Some(_) if !has_faults => Exit::OK,
        Some(_) | None => Exit::FOUND,
    })
}

/// Returns `POLICY` of the records of a daemon that loads these files. `None` if names were not looked up, which it covers.
fn digest<'a>(loaded: &'a Loaded, args: &FilesArgs) -> Option<&'a str> {
    (!args.machine.other_machine).then(|| loaded.policy.digest())
}

fn files_of(loaded: &Loaded) -> impl Iterator<Item = &str> {
    loaded.sources.iter().map(|source| source.name.as_str())
}

fn show(loaded: Option<&Loaded>, found: &[Diagnostic], args: &FilesArgs) -> String {
    let mut lines = files::lines(found);
    let errors = errors(found);
    let warnings = match found.len() - errors {
        0 => String::new(),
        many => format!(", {}", count(many, "warning")),
    };
    lines += &match loaded {
        Some(Loaded {
            policy, sources, ..
        }) => format!(
            "the policy loads: {} and {} in {}{warnings}\n",
            count(policy.rules(), "rule"),
            count(policy.commands().count(), "command"),
            count(sources.len(), "file"),
        ),
        None => format!(
            "the policy does not load: {}{warnings}\n",
            count(errors, "error")
        ),
    };
    if let Some(digest) = loaded.and_then(|loaded| digest(loaded, args)) {
        lines += &format!("policy {digest}\n");
    }
    if loaded.is_some() && errors > 0 {
        let errors = count(errors, "error");
        lines += &format!(
            "no signature of an approver is accepted: {errors} in the file of their keys\n"
        );
    }
    if args.any_owner || args.machine.other_machine {
        lines += "file ownership and permissions were not checked\n";
    } else if loaded.is_none() && found.iter().any(|one| one.line().is_none()) {
        // An error about a whole file is mostly about its owner.
        lines += "to check files that are not installed yet: --any-owner\n";
    }
    if args.machine.other_machine {
        lines += "every user, group, host and program was assumed to exist, each user in no other group\n";
    }
    lines
}

/// Returns a warning for each way of an agent to more than it should have of which a permission of this policy is a step. A
/// path that the policy accepts has its reason.
fn opened_paths(policy: &Policy) -> Vec<Diagnostic> {
    let question = prover::question(Path::new("/"), policy, None);
    match question.and_then(|question| prover::ask(&question)) {
        Ok(report) => opened(&report, policy),
        Err(why) => vec![Diagnostic::whole(
            Severity::Warning,
            "policy",
            format!("cannot look for ways to root: {why}"),
        )],
    }
}

fn opened(report: &Report, policy: &Policy) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for subject in &report.subjects {
        let is_opened = |path: &&Reached| {
            path.steps
                .iter()
                .any(|step| step.rule.starts_with("grant-"))
        };
        for path in subject.reaches.iter().filter(is_opened) {
            let steps: Vec<&str> = path.steps.iter().map(|step| step.fact.as_str()).collect();
            let (name, goal, steps) = (&subject.name, &path.goal, steps.join("; "));
            let closed_by = match path.closed_by.is_empty() {
                true => "no single change closes it".to_owned(),
                false => format!("closed by: {}", path.closed_by.join("; or ")),
            };
            let ends = match policy.accepted(name, goal) {
                Some(accepted) => format!("accepted by {}: {}", accepted.id, accepted.reason),
                None => closed_by,
            };
            let why = format!("agent {name} reaches {goal}: {steps}; {ends}");
            found.push(Diagnostic::whole(Severity::Warning, "policy", why));
        }
    }
    found
}

/// Warns of grantees who may not connect and approvers who cannot approve. Errors: what the daemon refuses in `remit.toml`
/// itself, and of this policy with it, as profiles whose user may approve.
fn findings(loaded: &Loaded, names: &Names, config: &Path, owners: Owners) -> Vec<Diagnostic> {
    let policy = &loaded.policy;
    let config = files::settings_directory(config);
    let file = config.join("remit.toml");
    let settings = match groups::settings(&file, owners) {
        Ok(settings) => settings,
        Err(found) => return vec![found],
    };
    let file = file.to_string_lossy();
    let mut found = unmet(&settings, policy, names, &file);
    match groups::groups(&settings) {
        // `None` if the group is missing, for example if remit is not installed.
        Ok([socket, admin]) => {
            let outside = socket.map(|gid| unreachable_grantees(policy, names, gid, admin));
            let keys = (config, Owners::Any);
            let unable = admin.map(|gid| approvers(policy, names, (socket, gid), keys));
            found.extend([outside, unable].into_iter().flatten().flatten());
            found.extend(impersonators(policy, &loaded.sources, names, admin));
        }
        Err(why) => {
            let why = format!("cannot determine who may connect: {why}");
            found.push(Diagnostic::whole(Severity::Warning, &file, why));
        }
    }
    if !names.are_of_other_host() {
        found.extend(ended_earlier(policy, settings.limits.max_runtime_s));
    }
    found
}

/// Returns an error for each thing in `remit.toml`, called `file`, that does not go with this policy.
fn unmet(settings: &Config, policy: &Policy, names: &Names, file: &str) -> Vec<Diagnostic> {
    let Config {
        accounts,
        approval,
        floor,
        jobs,
        ..
    } = settings;
    let approvers = floor.approvers.iter().filter_map(|word| {
        let (NoPrincipal::Missing(why) | NoPrincipal::Refused(why)) =
            Principal::named(word, names).err()?;
        Some(format!("floor.approvers: {why}"))
    });
    let required = floor.require.iter().filter_map(|one| {
        let why = policy.check_required(&one.command).err()?;
        Some(format!("cannot use floor.require: {why}"))
    });
    let notify = Some(&approval.notify).filter(|name| !name.is_empty());
    let notify = notify.and_then(|name| policy.notification(name).err());
    let notify = notify.map(|why| format!("cannot use approval.notify: {why}"));
    let wrong = approvers.chain(required).chain(notify);
    let wrong = wrong.map(|why| Diagnostic::whole(Severity::Error, file, why));
    let mut found: Vec<Diagnostic> = wrong.collect();
    if !names.are_of_other_host() {
        let uid = |account: &AccountRef| match account {
            AccountRef::Id(uid) => Some(*uid),
            AccountRef::Name(name) => names.user(name).map(|ids| ids.uid),
        };
        let range = jobs.uid_first..jobs.uid_first.saturating_add(jobs.uid_count);
        let own = [
            ("broker", uid(&accounts.broker)),
            ("bus", uid(&accounts.bus)),
        ];
        found.extend(taken_uids(policy, &range, &own));
    }
    found
}

/// Returns a warning for each profile and each command whose jobs are ended before the time that it says.
fn ended_earlier(policy: &Policy, most: u32) -> Vec<Diagnostic> {
    let profiles = policy.profiles();
    let profiles = profiles.map(|one| ("profile", &one.name, one.limits));
    let commands = policy.commands();
    let commands = commands.map(|one| ("command", &one.name, one.limits));
    let longer = profiles.chain(commands).filter_map(|(kind, name, limits)| {
        let runtime = limits.runtime_s.filter(|runtime| *runtime > most)?;
        let why = format!(
            "'runtime' of the {kind} '{name}' is {runtime} s, but limits.max_runtime_s of remit.toml ends its jobs \
             after {most} s; write less here, or more there"
        );
        Some(Diagnostic::whole(Severity::Warning, "policy", why))
    });
    longer.collect()
}

/// Returns a warning for each path of a profile that is missing or goes through a symbolic link; nothing if `names`
/// describe another machine. May wait for a disk. The daemon does not call this: each start of a job checks for itself.
pub fn missing_paths(policy: &Policy, names: &Names) -> Vec<Diagnostic> {
    if names.are_of_other_host() {
        return Vec::new();
    }
    let mut found: BTreeMap<(&str, &str), String> = BTreeMap::new();
    for profile in policy
        .profiles()
        .filter(|profile| profile.base != Base::Host)
    {
        for listed in needed(profile) {
            let is_of_base_set = base_set_shows(profile, listed);
            let path = Path::new(&listed.path);
            if let Some(why) = cannot_be_shown(path, listed.optional).filter(|_| !is_of_base_set) {
                found.insert((&profile.name, &listed.path), why);
            }
        }
    }
    let warning = |((profile, path), why): ((&str, &str), String)| {
        let why = format!("'{path}', which profile '{profile}' lists, {why}");
        Diagnostic::whole(Severity::Warning, "policy", why)
    };
    found.into_iter().map(warning).collect()
}

fn needed(profile: &Profile) -> impl Iterator<Item = &Listed> {
    let Profile {
        read,
        write,
        exec,
        devices,
        sockets,
        ..
    } = profile;
    [read, write, exec, devices, sockets].into_iter().flatten()
}

/// Returns true if the base set of `strict` shows this path, whose links it follows, and the profile only reads it.
fn base_set_shows(profile: &Profile, listed: &Listed) -> bool {
    let path = Path::new(&listed.path);
    let sets = [&base_set::PROGRAMS[..], &base_set::FILES, &base_set::NAMES];
    let count = match profile.network {
        Network::Host => 3,
        _ => 2,
    };
    let is_in_set = sets
        .iter()
        .take(count)
        .any(|set| set.contains(&listed.path.as_str()));
    let only_reads = profile.read.contains(listed)
        && needed(profile)
            .filter(|one| one.path == listed.path)
            .count()
            == 1;
    let is_beneath = |one: &Listed| one.path != listed.path && path.starts_with(&one.path);
    profile.base == Base::Strict
        && is_in_set
        && only_reads
        && !needed(profile).any(is_beneath)
        && path.exists()
}

fn cannot_be_shown(path: &Path, optional: bool) -> Option<String> {
    let link = path.ancestors().find(|part| part.is_symlink());
    if let Some(link) = link {
        let then = match optional {
            true => "it is left out",
            false => "nothing runs in the profile; list a path without links",
        };
        return Some(format!(
            "goes through the symbolic link '{}', which is not followed: {then}",
            link.display()
        ));
    }
    match path.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound && !optional => Some(format!(
            "does not exist, and nothing runs in the profile until it does; write \"-{}\" if it may be missing",
            path.display()
        )),
        Ok(_) | Err(_) => None, // Root may see what this caller may not.
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use remit_policy::{MachineTable, Source};

    use super::*;

    fn reported(text: &str, names: &Names) -> Vec<String> {
        let source = Source {
            name: "a.toml".into(),
            text: text.into(),
        };
        let (policy, _) = remit_policy_compile::load(&[source], names).unwrap();
        let found = missing_paths(&policy, names);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_paths_by_a_grant_are_of_the_policy() {
        use remit_prove::report::{Step, SubjectReport};

        let step = |rule: &str, fact: &str| Step {
            rule: rule.to_owned(),
            fact: fact.to_owned(),
            sentence: String::new(),
            source: String::new(),
        };
        let path = |rule: &str, fact: &str| Reached {
            goal: "root".to_owned(),
            steps: vec![step("member", "a is in deploy"), step(rule, fact)],
            closed_by: vec!["narrow x".to_owned()],
        };
        let subject = SubjectReport {
            name: "a".to_owned(),
            groups: Vec::new(),
            reaches: vec![path("sudo-all", "sudo"), path("grant-unit", "a may call u")],
            accounts: Vec::new(),
        };
        let report = Report {
            subjects: vec![subject],
            ..Report::default()
        };
        let reached = |text: &str| {
            let source = Source {
                name: "a.toml".to_owned(),
                text: text.into(),
            };
            let loaded = remit_policy_compile::load(&[source], &MachineTable::default());
            let found = opened(&report, &loaded.unwrap().0);
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let steps = "policy: warning: agent a reaches root: a is in deploy; a may call u";
        assert_eq!(reached(""), [format!("{steps}; closed by: narrow x")]);
        let accepts = "[[accept]]\nagent = 'a'\nreaches = 'root'\nreason = 'it is trusted'\n";
        let accepted = [format!("{steps}; accepted by a.toml:1: it is trusted")];
        assert_eq!(reached(accepts), accepted);
    }

    #[test]
    fn longer_times_than_the_machine_allows_are_reported() {
        let text = "[profile.a]\nbase = 'strict'\nlimits = { runtime = '2h' }\n\
                    [profile.b]\nbase = 'strict'\nlimits = { runtime = '1h' }\n\
                    [[command]]\nname = 'x.y'\nsummary = 'x'\nargv = ['/bin/true']\neffect = 'read'\n\
                    profile = 'a'\nlimits = { runtime = '3h' }\n";
        let source = Source {
            name: "a.toml".to_owned(),
            text: text.into(),
        };
        let loaded = remit_policy_compile::load(&[source], &MachineTable::default());
        let (policy, _) = loaded.unwrap();
        let found = |most: u32| -> Vec<String> {
            let found = ended_earlier(&policy, most);
            found.iter().map(ToString::to_string).collect()
        };
        let line = |what: &str, runtime: u32| {
            format!(
                "policy: warning: 'runtime' of the {what} is {runtime} s, but limits.max_runtime_s of remit.toml ends its \
                 jobs after 3600 s; write less here, or more there"
            )
        };
        assert_eq!(
            found(3600),
            [line("profile 'a'", 7200), line("command 'x.y'", 10800)]
        );
        assert_eq!(found(10800), [""; 0]);
    }

    #[test]
    fn missing_or_linked_paths_are_reported() {
        let dir = std::env::temp_dir().join(format!("remit-paths-{}", std::process::id()));
        fs::create_dir_all(dir.join("there")).unwrap();
        symlink("there", dir.join("link")).unwrap();
        symlink("nowhere", dir.join("loose")).unwrap();
        let dir = dir.canonicalize().unwrap();
        let at = dir.display();
        let text = format!(
            "[profile.a]\nbase = 'strict'\nread = ['/bin', '{at}/there', '{at}/gone', '-{at}/lost', '-{at}/loose']\n\
             write = ['{at}/link']\n"
        );
        let listed =
            |path: &str| format!("policy: warning: '{at}/{path}', which profile 'a' lists,");
        assert_eq!(
            reported(&text, &Names::default()),
            [
                format!(
                    "{} does not exist, and nothing runs in the profile until it does; write \"-{at}/gone\" if it may be missing",
                    listed("gone")
                ),
                format!(
                    "{0} goes through the symbolic link '{at}/link', which is not followed: nothing runs in the \
                     profile; list a path without links",
                    listed("link")
                ),
                format!(
                    "{0} goes through the symbolic link '{at}/loose', which is not followed: it is left out",
                    listed("loose")
                ),
            ]
        );
        assert_eq!(
            reported(&text, &Names::of_other_machine(Vec::new())),
            Vec::<String>::new()
        );
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn links_that_the_base_set_follows_are_not_reported() {
        let shows = |profile: &str, path: &str| {
            let text = format!("[profile.a]\n{profile}\n");
            let source = Source {
                name: "a.toml".into(),
                text: text.into(),
            };
            let (policy, _) = remit_policy_compile::load(&[source], &Names::default()).unwrap();
            let profile = policy
                .profiles()
                .find(|profile| profile.name == "a")
                .unwrap();
            let mut listed = needed(profile).filter(|listed| listed.path == path);
            listed.any(|listed| base_set_shows(profile, listed))
        };
        for (profile, path, want) in [
            ("base = 'strict'\nread = ['/bin']", "/bin", true),
            (
                "base = 'strict'\nread = ['-/etc/passwd']",
                "/etc/passwd",
                true,
            ),
            ("base = 'strict'\nexec = ['/bin']", "/bin", false),
            (
                "base = 'strict'\nread = ['/bin']\nexec = ['/bin']",
                "/bin",
                false,
            ),
            ("base = 'strict'\nread = ['/libx32/x']", "/libx32/x", false),
            (
                "base = 'strict'\nread = ['/etc', '/etc/passwd']",
                "/etc/passwd",
                false,
            ),
            (
                "base = 'strict'\nread = ['/etc/hosts']",
                "/etc/hosts",
                false,
            ),
            (
                "base = 'strict'\nread = ['/etc/hosts']\nnetwork = 'host'",
                "/etc/hosts",
                true,
            ),
            (
                "base = 'read'\nleads_to_root = true\nwrite = ['/etc/passwd']",
                "/etc/passwd",
                false,
            ),
        ] {
            assert_eq!(shows(profile, path), want, "{profile}");
        }
    }
}
