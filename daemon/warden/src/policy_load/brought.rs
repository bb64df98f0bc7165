//! What a child brings of files and names: it may wait for a disk or a directory service.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use remit_common::wire::Bytes;
use remit_policy::{Diagnostic, MachineTable};
use remit_policy_files::{Gone, Loaded, Names, Owners};
use serde::{Deserialize, Serialize};

use super::{Changes, Live, Refused, users};
use crate::accounts;
use crate::args::Args;
use crate::config::{self, Config};
use crate::error::Fatal;
use crate::people::{People, Question};

/// What a policy is made from, and what is known of it beside that.
#[derive(Debug, Serialize, Deserialize)]
pub struct Brought {
    /// The text of `remit.toml`.
    pub settings: String,
    /// Path, content.
    pub sources: Vec<(String, Bytes)>,
    /// What the machine answered.
    pub machine: MachineTable,
    /// What the author should look at.
    pub warnings: Vec<String>,
    /// The people who were asked about.
    pub people: People,
    /// The uids that the policy names by their accounts' names, with each name of theirs.
    pub named: BTreeMap<u32, BTreeSet<String>>,
    /// What is other than in the policy in force.
    pub changes: Changes,
}

impl Brought {
    /// Reads everything. `old`: the policy in force and the settings that it runs with, where there are.
    ///
    /// # Errors
    /// Every finding.
    pub fn of(
        args: &Args,
        live: Option<(&Live, &Config)>,
        people: &Question,
    ) -> Result<Self, Refused> {
        let old = live.map(|(live, running)| (&live.policy, running));
        let settings = config::read(&args.config)?;
        let config = config::parse_file(&args.config, &settings)?;
        if old.is_some() {
            judge(&config).map_err(|error| error.to_string())?;
        }
        let (vendor, admin) = (args.vendor.join("policy.d"), args.config.join("policy.d"));
        let own = [&args.config, &args.vendor, &args.state, &args.runtime];
        let names = Names::new(remit_policy_files::own_files(&own.map(PathBuf::as_path)));
        let names = names.without(live.map_or(Gone::All, |(live, _)| Gone::Those(known(live))));
        let loaded = load(&vendor, &admin, &names)?;
        // What was read counts from the next start on, and until then what runs.
        let settings_of = old.map(|(_, running)| running).into_iter().chain([&config]);
        for config in settings_of {
            match users::taken(&loaded.policy, config).as_slice() {
                [] => {}
                found => return Err(lines(found).join("\n")),
            }
            let admins = accounts::optional_group(&config.accounts.admin_group);
            let found =
                remit_policy_files::impersonators(&loaded.policy, &loaded.sources, &names, admins);
            if !found.is_empty() {
                return Err(lines(&found).join("\n"));
            }
            let notify = &config.approval.notify;
            if !notify.is_empty() {
                let told = loaded.policy.notification(notify);
                told.map_err(|why| format!("cannot use approval.notify of remit.toml: {why}"))?;
            }
        }
        let admins = accounts::optional_group(&config.accounts.admin_group);
        let outsiders = accounts::optional_group(&config.accounts.socket_group)
            .map(|group| remit_policy_files::outsiders(&loaded.policy, &names, group, admins));
        let approvers =
            admins.map(|group| remit_policy_files::approvers(&loaded.policy, &names, group));
        let unable = [outsiders, approvers]
            .map(Option::unwrap_or_default)
            .concat();
        let warnings = [loaded.warnings, unable].concat();
        let sources = loaded.sources.into_iter();
        Ok(Self {
            settings,
            changes: old.map_or_else(Changes::default, |(old, _)| {
                Changes::between(old, &loaded.policy)
            }),
            sources: sources
                .map(|source| (source.name, source.text.into()))
                .collect(),
            named: named(&loaded.machine),
            machine: loaded.machine,
            warnings: lines(&warnings),
            people: People::look_up(people),
        })
    }
}

fn load(vendor: &Path, admin: &Path, names: &Names) -> Result<Loaded, Refused> {
    remit_policy_files::load(vendor, admin, Owners::Root, names)
        .map_err(|found| lines(&found).join("\n"))
}

/// Whether a start would take these settings.
fn judge(Config { accounts, jobs, .. }: &Config) -> Result<(), Fatal> {
    accounts::user("accounts.broker", &accounts.broker)?;
    accounts::group("accounts.socket_group", &accounts.socket_group)?;
    accounts::group("accounts.admin_group", &accounts.admin_group)?;
    accounts::check_range(jobs.uid_first, jobs.uid_count)
}

fn lines(findings: &[Diagnostic]) -> Vec<String> {
    findings.iter().map(ToString::to_string).collect()
}

/// Users whom the policy in force names, those who are gone as well.
fn known(live: &Live) -> BTreeSet<String> {
    let named = live.named.values().flatten();
    named.chain(&live.gone).cloned().collect()
}

/// The uids of the users that a policy names, with these names and the one that their account has: a uid
/// may have several.
fn named(machine: &MachineTable) -> BTreeMap<u32, BTreeSet<String>> {
    let mut named: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
    for (name, ids) in &machine.users {
        let names = named.entry(ids.uid).or_insert_with(|| {
            let account = accounts::of_uid(ids.uid).ok().flatten();
            account.map(|login| login.name).into_iter().collect()
        });
        names.insert(name.clone());
    }
    named
}
