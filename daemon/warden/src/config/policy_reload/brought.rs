//! Reads files and names for a policy load in a child process, because disks and directory services may block.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use remit_common::wire::Bytes;
use remit_plan::Protected;
use remit_policy::{Diagnostic, Machine, MachineTable, Policy, Severity, Source};
use remit_policy_files::{LastKnown, Names, Owners};
use serde::{Deserialize, Serialize};

use super::opened::OpenedCheck;
use super::refused::LoadError;
use super::shadow_load::ShadowLoad;
use super::{Changes, PolicyInForce, compiler, patience};
use crate::config::Config;
use crate::config::policy_reload::compiler::{NotCompiled, Runs};
use crate::config::shadow;
use crate::identity::accounts::{People, Question};
use crate::identity::user_names::{self, AccountError};
use crate::job::floor::{self, Floor};
use crate::startup::arguments::Args;

pub mod names_file {
    //! `STATE/warden/names`: the ids of the names in the current policy. If a name is unknown at a start, a denial of it
    //! still applies to the same account. The file grants nothing: a name that it lacks is a load error, as any unknown
    //! name.

    use std::io;
    use std::path::Path;

    use nix::unistd::Uid;
    use remit_policy_files::LastKnown;

    use crate::state_dir::framed_file::Snapshot;

    const MAGIC: &[u8; 15] = b"remit names v1\n";
    const MOST: u64 = 64 << 20;

    fn file(state: &Path) -> Snapshot {
        Snapshot::new(state, "names", MAGIC, MOST)
    }

    /// Why the names are not known.
    #[derive(Debug, PartialEq, Eq)]
    pub struct Unknown {
        pub text: String,
        /// Only root can read the file, so what others meet is no fault of it.
        pub is_fault: bool,
    }

    /// Returns the names that were saved last; none without a file. Fails if the file is damaged.
    pub fn read(state: &Path) -> Result<LastKnown, Unknown> {
        let file = file(state);
        let parse = |body: Option<Vec<u8>>| match body {
            None => Ok(LastKnown::default()),
            Some(body) => postcard::from_bytes(&body).map_err(|error| error.to_string()),
        };
        file.read()
            .and_then(parse)
            .map_err(|why| unknown(&file.path, &why, Uid::effective()))
    }

    fn unknown(path: &Path, why: &str, reader: Uid) -> Unknown {
        let (path, is_fault) = (path.display(), reader.is_root());
        let text = match is_fault {
            true => format!(
                "the ids of denied names are not known, '{path}' cannot be read: {why}; move this file away: then a name \
                 that the user database lacks is an error of the policy"
            ),
            false => format!(
                "the ids of denied names are not known, because only root can read '{path}'"
            ),
        };
        Unknown { text, is_fault }
    }

    /// Saves the names if the file differs, on the disk before it replaces the old one. If only the sync of the directory
    /// fails, a power cut may bring back older names; a name that they lack is a load error: nothing runs.
    pub fn save_names(state: &Path, names: &LastKnown) -> io::Result<()> {
        if read(state).is_ok_and(|saved| saved == *names) {
            return Ok(());
        }
        let body = postcard::to_extend(names, Vec::new()).map_err(io::Error::other)?;
        file(state).replace(&body, true)
    }

    #[cfg(test)]
    mod tests {
        use std::fs;

        use super::*;

        #[test]
        fn saved_names_are_read_back_and_damage_refused() {
            let state = std::env::temp_dir().join(format!("remit-names-{}", std::process::id()));
            fs::create_dir_all(state.join("warden")).unwrap();
            assert_eq!(read(&state), Ok(LastKnown::default()));
            let names = LastKnown {
                users: [("ann".to_owned(), 1005)].into(),
                groups: [("agents".to_owned(), 2000)].into(),
                members: [(2000, [("bot".to_owned(), 1002)].into())].into(),
            };
            save_names(&state, &names).unwrap();
            assert_eq!(read(&state), Ok(names));
            let whole = fs::read(file(&state).path).unwrap();
            for at in 0..whole.len() {
                let mut bytes = whole.clone();
                bytes[at] ^= 1;
                fs::write(file(&state).path, &bytes).unwrap();
                assert!(read(&state).is_err(), "{at}");
                fs::write(file(&state).path, &whole[..at]).unwrap();
                assert!(read(&state).is_err(), "{at}");
            }
            fs::remove_dir_all(state).unwrap();
        }

        #[test]
        fn only_root_hears_that_the_file_is_to_be_moved() {
            let path = Path::new("/var/lib/remit/warden/names");
            for (uid, is_fault) in [(0, true), (1000, false)] {
                let unknown = unknown(path, "permission denied", Uid::from_raw(uid));
                assert_eq!(unknown.is_fault, is_fault, "{unknown:?}");
                assert_eq!(
                    unknown.text.contains("move this file away"),
                    is_fault,
                    "{unknown:?}"
                );
            }
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Brought {
    pub settings: Config,
    pub files: Vec<String>,
    pub model: Bytes,
    pub warnings: Vec<String>,
    pub people: People,
    pub named: BTreeMap<u32, BTreeSet<String>>,
    pub last_known: LastKnown,
    pub changes: Changes,
    pub floor: Floor,
    pub protected: Protected,
    /// The model of the shadow policy, if one is in use.
    pub shadow: Option<Bytes>,
}

impl Brought {
    /// Reads everything. `now`: what is in force. Fails with all findings.
    pub fn of(
        args: &Args,
        now: Option<PolicyInForce<'_>>,
        people: &Question,
    ) -> Result<Self, LoadError> {
        let live = now.map(|now| now.live);
        let running = now.map(|now| now.config);
        let begin = Instant::now();
        let config = settings(&args.config, Runs::new(running, live.is_none()))?;
        let (last, unknown) = match live {
            Some(live) => (live.last_known.clone(), None),
            None => match names_file::read(&args.state) {
                Ok(last) => (last, None),
                Err(why) => (LastKnown::default(), Some(why)),
            },
        };
        // A check puts nothing in force, and a container may lack the range.
        let runs = Runs::new(running.or((!args.check).then_some(&config)), live.is_none());
        // Both before anything is looked up: a user database may start threads.
        let look = now.filter(|_| config.policy.prove);
        let look = look.map(|now| (OpenedCheck::start(), now));
        let shadow =
            ShadowLoad::prepare(args, &last, runs, patience(live.is_none()), live.is_none());
        // A start resolves them by itself, once its limits are set.
        if live.is_some() || args.check {
            judge(&config)?;
        }
        let (vendor, admin) = (args.vendor.join("policy.d"), args.config.join("policy.d"));
        let own = [&args.config, &args.vendor, &args.state, &args.runtime];
        let own = remit_policy_files::own_files(&own.map(PathBuf::as_path));
        let names = Names::new(own.clone());
        let names = match live {
            Some(_) => names.after(last),
            None => names.at_start().after(last),
        };
        let (changes, unavailable) = (RefCell::default(), Cell::new(false));
        let compile = |sources: &[Source], machine: &dyn Machine| {
            let before = live.map(|live| &live.policy);
            let compiled = compiler::compile(sources, machine, before, runs).map_err(|error| {
                unavailable.set(matches!(error, NotCompiled::Unavailable(_)));
                error.findings()
            })?;
            changes.replace(Changes::new(&compiled.changes));
            Ok((compiled.policy, compiled.warnings))
        };
        let loaded = remit_policy_files::load(&vendor, &admin, Owners::Root, &names, &compile);
        let loaded = loaded.map_err(|found| {
            let unknown = unknown.iter().map(|unknown| unknown.text.clone());
            let text = unknown.chain(lines(&found));
            let text = text.collect::<Vec<_>>().join("\n");
            match unavailable.get() {
                true => LoadError::Unavailable(text),
                false => LoadError::from_findings(&found, text),
            }
        })?;
        let mut unsure = Vec::new();
        let mut admin_gids = Vec::new();
        // The running settings apply until a restart and the new ones after it. The policy must fit both.
        for config in running.into_iter().chain([&config]) {
            match taken(&loaded.policy, config).as_slice() {
                [] => {}
                found => return Err(lines(found).join("\n").into()),
            }
            let group = &config.accounts.admin_group;
            let admins = user_names::group_or_none("accounts.admin_group", group)?;
            admin_gids.extend(admins);
            let found =
                remit_policy_files::impersonators(&loaded.policy, &loaded.sources, &names, admins);
            if found.iter().any(|one| one.severity() == Severity::Error) {
                return Err(lines(&found).join("\n").into());
            }
            unsure.extend(found);
            floor::check_required(&config.floor.require, &loaded.policy)?;
            Floor::resolve(&config.floor, &names)?;
            let notify = &config.approval.notify;
            if !notify.is_empty() {
                let notification = loaded.policy.notification(notify);
                notification
                    .map_err(|why| format!("cannot use approval.notify of remit.toml: {why}"))?;
            }
        }
        let opened = match look {
            Some((look, now)) => look.check(args, now, &loaded.policy)?,
            None => Vec::new(),
        };
        let floor = Floor::resolve(&running.unwrap_or(&config).floor, &names)?;
        let admins = user_names::optional_group(&config.accounts.admin_group);
        let socket = user_names::optional_group(&config.accounts.socket_group);
        let unreachable_grantees = socket.map(|group| {
            remit_policy_files::unreachable_grantees(&loaded.policy, &names, group, admins)
        });
        let approvers = admins.map(|group| {
            let keys = (args.config.as_path(), Owners::Root);
            remit_policy_files::approvers(&loaded.policy, &names, (socket, group), keys)
        });
        let unable = [unreachable_grantees, approvers]
            .map(Option::unwrap_or_default)
            .concat();
        let warnings = [loaded.warnings, unsure, unable].concat();
        let fault = unknown
            .filter(|unknown| unknown.is_fault)
            .map(|unknown| unknown.text);
        let warnings = [fault.into_iter().collect(), lines(&warnings), opened].concat();
        let sources = loaded.sources.into_iter();
        let mut brought = Self {
            shadow: None,
            settings: config,
            changes: changes.take(),
            floor,
            files: sources.map(|source| source.name).collect(),
            protected: remit_policy_files::protected(&loaded.policy, &own, &admin_gids),
            model: loaded.policy.encode().into(),
            named: named(&loaded.machine),
            warnings,
            last_known: names.last_known(),
            people: People::look_up(people),
        };
        // Last: nothing that is looked up here has to be again, and the rest of the time is its own.
        match shadow.map(|load| load.and_then(|load| load.finish(begin))) {
            None => {}
            Some(Ok(model)) => brought.shadow = Some(model),
            Some(Err(why)) => brought.warnings.push(shadow::unusable(&why)),
        }
        Ok(brought)
    }
}

fn judge(Config { accounts, jobs, .. }: &Config) -> Result<(), AccountError> {
    user_names::user("accounts.broker", &accounts.broker)?;
    user_names::group("accounts.socket_group", &accounts.socket_group)?;
    user_names::group("accounts.admin_group", &accounts.admin_group)?;
    user_names::check_range(jobs.uid_first, jobs.uid_count)
}

fn lines(findings: &[Diagnostic]) -> Vec<String> {
    findings.iter().map(ToString::to_string).collect()
}

/// Returns the uids that a policy names, with these names and the account's own: a uid may have several.
fn named(machine: &MachineTable) -> BTreeMap<u32, BTreeSet<String>> {
    let mut named: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
    for (name, ids) in &machine.users {
        let names = named.entry(ids.uid).or_insert_with(|| {
            let account = user_names::of_uid(ids.uid).ok().flatten();
            account.map(|login| login.name).into_iter().collect()
        });
        names.insert(name.clone());
    }
    named
}

/// Returns errors for profiles whose uid is of the jobs' range or one of remit's own. May query the user database.
pub fn taken(policy: &Policy, config: &Config) -> Vec<Diagnostic> {
    let first = config.jobs.uid_first;
    let jobs = first..first.saturating_add(config.jobs.uid_count);
    let uid = |key, account| user_names::user(key, account).ok().map(|ids| ids.uid);
    let accounts = &config.accounts;
    let own = [
        ("broker", uid("accounts.broker", &accounts.broker)),
        ("bus", uid("accounts.bus", &accounts.bus)),
    ];
    remit_policy_files::taken_uids(policy, &jobs, &own)
}

/// Reads `remit.toml` in `dir`. A missing file means all defaults. May block on a disk. Errors: not readable, not UTF-8,
/// changeable by others than root, not TOML, an unknown key, a value out of bounds, no compiler.
fn settings(dir: &Path, runs: Runs) -> Result<Config, LoadError> {
    let path = dir.join("remit.toml");
    let unusable = |why: &str| format!("cannot use '{}': {why}", path.display());
    let Some(bytes) = remit_policy_files::read_trusted(&path)? else {
        return Ok(Config::default());
    };
    let text = String::from_utf8(bytes).map_err(|error| unusable(&error.to_string()))?;
    let config = compiler::settings(path.display().to_string(), text, runs)?;
    config.check().map_err(|why| unusable(&why))?;
    Ok(config)
}
