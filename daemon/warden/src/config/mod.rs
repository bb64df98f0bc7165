//! `remit.toml`: limits, accounts, audit. Every key has a default. An unknown key is refused.

mod limits;
pub(crate) mod policy_reload;
mod sections;

use std::path::Path;

use remit_common::caps;
use serde::Deserialize;

use crate::startup::error::Fatal;
pub use limits::{JobLimits, machine_memory, machine_watches};
pub use sections::{Approval, AuditConfig, AuditSink, Output, Sync};

const FILE: &str = "remit.toml";

/// Seconds that a stop waits for changes: longer than some package upgrades take, and shorter than what systemd
/// allows at power-off (JobTimeoutSec= of poweroff.target).
const STOP_WAIT_S: u32 = 600;
/// Upper bound. No change runs longer by default.
const LONGEST_STOP_WAIT_S: u32 = 3600;

/// Upper bound of the queue: each waiting job holds its script and standard input open.
const QUEUE: usize = 1024;

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub audit: AuditConfig,
    pub accounts: Accounts,
    pub jobs: JobsConfig,
    pub limits: JobLimits,
    pub output: Output,
    pub sandbox: SandboxNeeds,
    pub approval: Approval,
}

impl Config {
    /// Returns the keys whose values differ. A running daemon cannot change its values.
    pub fn changed(&self, new: &Self) -> Vec<&'static str> {
        let Self {
            audit,
            accounts,
            jobs,
            limits,
            output,
            sandbox,
            approval,
        } = self;
        let keys = [
            ("audit.sink", audit.sink != new.audit.sink),
            ("audit.sync", audit.sync != new.audit.sync),
            ("audit.kernel", audit.kernel != new.audit.kernel),
            ("audit.per_user", audit.per_user != new.audit.per_user),
            ("accounts.broker", accounts.broker != new.accounts.broker),
            (
                "accounts.socket_group",
                accounts.socket_group != new.accounts.socket_group,
            ),
            (
                "accounts.admin_group",
                accounts.admin_group != new.accounts.admin_group,
            ),
            ("accounts.numbers", accounts.numbers != new.accounts.numbers),
            ("jobs.uid_first", jobs.uid_first != new.jobs.uid_first),
            ("jobs.uid_count", jobs.uid_count != new.jobs.uid_count),
            ("jobs.groups", jobs.groups != new.jobs.groups),
            ("jobs.max", jobs.max != new.jobs.max),
            (
                "jobs.max_per_user",
                jobs.max_per_user != new.jobs.max_per_user,
            ),
            ("jobs.queue", jobs.queue != new.jobs.queue),
            (
                "jobs.queue_per_user",
                jobs.queue_per_user != new.jobs.queue_per_user,
            ),
            ("jobs.stop_wait_s", jobs.stop_wait_s != new.jobs.stop_wait_s),
            ("limits.runtime_s", limits.runtime_s != new.limits.runtime_s),
            (
                "limits.max_runtime_s",
                limits.max_runtime_s != new.limits.max_runtime_s,
            ),
            ("limits.memory", limits.memory != new.limits.memory),
            ("limits.tasks", limits.tasks != new.limits.tasks),
            (
                "limits.cpu_percent",
                limits.cpu_percent != new.limits.cpu_percent,
            ),
            ("limits.cpu_s", limits.cpu_s != new.limits.cpu_s),
            ("limits.files", limits.files != new.limits.files),
            ("limits.tmp", limits.tmp != new.limits.tmp),
            ("limits.tmp_files", limits.tmp_files != new.limits.tmp_files),
            ("limits.file", limits.file != new.limits.file),
            ("output.per_job", output.per_job != new.output.per_job),
            ("output.per_user", output.per_user != new.output.per_user),
            ("output.total", output.total != new.output.total),
            ("sandbox.require", sandbox.require != new.sandbox.require),
            ("approval.notify", approval.notify != new.approval.notify),
        ];
        let changed = keys.into_iter().filter(|(_, differs)| *differs);
        changed.map(|(key, _)| key).collect()
    }
}

/// `[accounts]`: names, or numbers for accounts that the user database does not have.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Accounts {
    pub broker: AccountRef,
    /// May connect to `remit.sock`.
    pub socket_group: AccountRef,
    /// May connect to `admin.sock`.
    pub admin_group: AccountRef,
    /// Uids without an account that may connect.
    pub numbers: Vec<u32>,
}

impl Default for Accounts {
    fn default() -> Self {
        Self {
            broker: AccountRef::Name("remit-broker".into()),
            socket_group: AccountRef::Name("remit".into()),
            admin_group: AccountRef::Name("remit-admin".into()),
            numbers: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum AccountRef {
    Id(u32),
    Name(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JobsConfig {
    /// First uid and gid of the range that only jobs use. The watchdog has the first one.
    pub uid_first: u32,
    pub uid_count: u32,
    /// Groups of every job with base `read`. Groups that do not exist are ignored.
    pub groups: Vec<AccountRef>,
    pub max: usize,
    pub max_per_user: usize,
    /// Jobs that wait for a slot. With 0 here or for one user, a job without a free slot is refused.
    pub queue: usize,
    pub queue_per_user: usize,
    /// Seconds that a stop of the daemon waits for changes without a sandbox.
    pub stop_wait_s: u32,
}

impl Default for JobsConfig {
    fn default() -> Self {
        Self {
            uid_first: 1_879_048_192,
            uid_count: 65_536,
            groups: vec![
                AccountRef::Name("adm".into()),
                AccountRef::Name("systemd-journal".into()),
            ],
            max: caps::JOBS,
            max_per_user: caps::JOBS_PER_UID,
            queue: caps::QUEUED,
            queue_per_user: caps::QUEUED_PER_UID,
            stop_wait_s: STOP_WAIT_S,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SandboxNeeds {
    /// Nothing runs without these.
    pub require: Vec<Need>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Need {
    Landlock,
    Cgroup,
    /// The memory and pids controllers in the job's cgroup.
    Controllers,
}

impl Need {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Landlock => "landlock",
            Self::Cgroup => "cgroup",
            Self::Controllers => "controllers",
        }
    }
}

/// Reads `remit.toml` in `dir`. A missing file means all defaults. Fails as `read` and `parse_file`.
pub fn load(dir: &Path) -> Result<Config, Fatal> {
    let text = read(dir).map_err(Fatal::Config)?;
    parse_file(dir, &text).map_err(Fatal::Config)
}

/// Returns the text of `remit.toml` in `dir`; empty if there is none. May block on a disk.
/// Errors: Unreadable, not UTF-8, not owned by root, writable by others.
pub fn read(dir: &Path) -> Result<String, String> {
    let path = dir.join(FILE);
    match remit_policy_files::read_trusted(&path)? {
        Some(bytes) => {
            String::from_utf8(bytes).map_err(|error| unusable(&path, &error.to_string()))
        }
        None => Ok(String::new()),
    }
}

/// Fails if the text is not TOML, for an unknown key and for a number out of bounds.
pub fn parse_file(dir: &Path, text: &str) -> Result<Config, String> {
    let path = dir.join(FILE);
    parse(text).map_err(|wrong| match wrong.at {
        Some((line, column)) => {
            format!("{}:{line}:{column}: error: {}", path.display(), wrong.what)
        }
        None => unusable(&path, &wrong.what),
    })
}

fn unusable(path: &Path, why: &str) -> String {
    format!("cannot use '{}': {why}", path.display())
}

/// An error in the text, at line and column, both from 1.
#[derive(Debug, PartialEq, Eq)]
struct Wrong {
    at: Option<(usize, usize)>,
    what: String,
}

impl Wrong {
    fn of(error: &toml::de::Error, text: &str) -> Self {
        let before = error.span().and_then(|span| text.get(..span.start));
        let at = before.map(|before| {
            let line = before.rsplit('\n').next().unwrap_or_default();
            (before.matches('\n').count() + 1, line.chars().count() + 1)
        });
        let what = error.message().replace('`', "'").replace('\n', ", ");
        Self { at, what }
    }
}

fn parse(text: &str) -> Result<Config, Wrong> {
    let config: Config = toml::from_str(text).map_err(|error| Wrong::of(&error, text))?;
    check(&config).map_err(|what| Wrong { at: None, what })?;
    Ok(config)
}

fn check(config: &Config) -> Result<(), String> {
    let JobsConfig {
        uid_first,
        uid_count,
        max,
        max_per_user,
        queue,
        queue_per_user,
        ..
    } = config.jobs;
    let Output {
        per_job,
        per_user,
        total,
    } = config.output;
    let last = uid_first.saturating_add(uid_count);
    let need = u32::try_from(max).unwrap_or(u32::MAX).saturating_add(2);
    let bounds = [
        (uid_first >= 1000, "jobs.uid_first must be 1000 or more"),
        (
            last < u32::MAX,
            "jobs.uid_first + jobs.uid_count is beyond the last uid",
        ),
        (
            !(uid_first..last).contains(&65_534),
            "the range of job uids must not contain 65534, the overflow uid",
        ),
        (
            uid_count >= need,
            "jobs.uid_count must be at least jobs.max + 2",
        ),
        (
            (1..=caps::JOBS * 16).contains(&max),
            "jobs.max must be 1 to 1024",
        ),
        (
            (1..=max).contains(&max_per_user),
            "jobs.max_per_user must be 1 to jobs.max",
        ),
        (queue <= QUEUE, "jobs.queue must be 0 to 1024"),
        (
            queue_per_user <= QUEUE,
            "jobs.queue_per_user must be 0 to 1024",
        ),
        (
            config.jobs.stop_wait_s <= LONGEST_STOP_WAIT_S,
            "jobs.stop_wait_s must be 0 to 3600",
        ),
        (
            config.jobs.groups.len() <= 32,
            "jobs.groups has more than 32 groups",
        ),
        (
            (1..=caps::RUNTIME_S).contains(&config.limits.max_runtime_s),
            "limits.max_runtime_s must be 1 to 86400",
        ),
        (
            (1..=config.limits.max_runtime_s).contains(&config.limits.runtime_s),
            "limits.runtime_s must be 1 to limits.max_runtime_s",
        ),
        (
            config.limits.memory >= 1 << 20,
            "limits.memory must be 1048576 or more",
        ),
        (config.limits.tasks >= 1, "limits.tasks must be 1 or more"),
        (
            config.limits.cpu_percent >= 1,
            "limits.cpu_percent must be 1 or more",
        ),
        (config.limits.cpu_s >= 1, "limits.cpu_s must be 1 or more"),
        (config.limits.files >= 32, "limits.files must be 32 or more"),
        (
            config.limits.tmp >= 1 << 16,
            "limits.tmp must be 65536 or more",
        ),
        (
            config.limits.file >= 1 << 20,
            "limits.file must be 1048576 or more",
        ),
        (
            config.audit.per_user >= 1 << 20,
            "audit.per_user must be 1048576 or more",
        ),
        (
            config.limits.tmp_files >= 16,
            "limits.tmp_files must be 16 or more",
        ),
        (per_job >= 1 << 16, "output.per_job must be 65536 or more"),
        (
            per_job <= per_user,
            "output.per_job must not be more than output.per_user",
        ),
        (
            per_user <= total,
            "output.per_user must not be more than output.total",
        ),
    ];
    match bounds.into_iter().find(|(holds, _)| !holds) {
        Some((_, why)) => Err(why.to_owned()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_the_defaults() {
        assert_eq!(parse("").unwrap(), Config::default());
    }

    #[test]
    fn the_shipped_file_is_the_defaults() {
        let shipped = include_str!("../../../../packaging/remit.toml");
        assert_eq!(parse(shipped).unwrap(), Config::default());
    }

    #[test]
    fn the_man_page_shows_the_defaults() {
        let page = include_str!("../../../../packaging/man/remit.toml.5");
        let (_, block) = page.split_once(".\\\" defaults").unwrap();
        let lines = block
            .lines()
            .skip(1)
            .skip_while(|line| line.starts_with('.'));
        let text: Vec<_> = lines.take_while(|line| !line.starts_with('.')).collect();
        let text = text.join("\n").replace("\\-", "-");
        assert_eq!(parse(&text).unwrap(), Config::default(), "{text}");
    }

    /// A changed value is reported under its key, for each key of the shipped file.
    #[test]
    fn every_key_that_changes_is_named() {
        use toml::Value;
        let shipped = include_str!("../../../../packaging/remit.toml");
        let table: toml::Table = toml::from_str(shipped).unwrap();
        let mut keys = Vec::new();
        for (section, values) in &table {
            for (key, value) in values.as_table().unwrap() {
                let other = match (key.as_str(), value) {
                    ("sink", _) => Value::from("file"),
                    ("sync", _) => Value::from("never"),
                    ("require", _) => Value::from(vec!["landlock"]),
                    (_, Value::Boolean(on)) => Value::from(!on),
                    (_, Value::Integer(number)) => Value::from(number - 1),
                    ("numbers", _) => Value::from(vec![64_001]),
                    (_, Value::Array(_)) => Value::from(vec!["adm"]),
                    (_, _) => Value::from("other"),
                };
                let mut changed = table.clone();
                changed[section][key] = other;
                let new: Config = changed.try_into().unwrap();
                let name = format!("{section}.{key}");
                assert_eq!(Config::default().changed(&new), [name.as_str()]);
                keys.push(name);
            }
        }
        assert_eq!(keys.len(), 31, "{keys:?}");
        assert!(Config::default().changed(&Config::default()).is_empty());
    }

    #[test]
    fn accounts_are_names_or_numbers() {
        let config = parse("[accounts]\nbroker = 64100\nsocket_group = \"ops\"").unwrap();
        assert_eq!(config.accounts.broker, AccountRef::Id(64100));
        assert_eq!(config.accounts.socket_group, AccountRef::Name("ops".into()));
        assert_eq!(
            config.accounts.admin_group,
            AccountRef::Name("remit-admin".into())
        );
    }

    #[test]
    fn error_has_position_and_reason() {
        let text = |text: &str| parse_file(Path::new("/e"), text).unwrap_err();
        let unknown = text("[jobs]\nmax = 4\n  mex = 5\n");
        assert!(
            unknown.starts_with("/e/remit.toml:3:3: error: unknown field 'mex', expected"),
            "{unknown}"
        );
        let broken = text("[jobs");
        assert!(broken.starts_with("/e/remit.toml:1:6: error: "), "{broken}");
        assert_eq!(
            text("[jobs]\nmax = 0"),
            "cannot use '/e/remit.toml': jobs.max must be 1 to 1024"
        );
        for wrong in [unknown, broken] {
            assert!(!wrong.contains('\n') && !wrong.contains('`'), "{wrong}");
        }
    }

    #[test]
    fn output_limits_nest_and_empty_queue_is_allowed() {
        let parsed = |text: &str| parse(text).map_err(|wrong| wrong.what);
        let small = "[output]\nper_job = 65536\nper_user = 65536\ntotal = 65536";
        assert_eq!(parsed(small).unwrap().output.total, 1 << 16);
        let none = "[jobs]\nqueue = 0\nqueue_per_user = 1024";
        assert_eq!(parsed(none).unwrap().jobs.queue, 0);
        for (text, why) in [
            (
                "[output]\nper_user = 67108863",
                "output.per_job must not be more than output.per_user",
            ),
            (
                "[output]\nper_user = 1073741825",
                "output.per_user must not be more than output.total",
            ),
        ] {
            assert_eq!(parsed(text).unwrap_err(), why);
        }
    }

    #[test]
    fn unknown_or_out_of_range_value_is_refused() {
        for text in [
            "x = 1",
            "[audit]\nsinc = \"file\"",
            "[audit]\nsink = \"syslog\"",
            "[jobs]\nuid_first = 0",
            "[jobs]\nuid_first = 60000",
            "[jobs]\nuid_count = 3",
            "[jobs]\nuid_first = 4294967000",
            "[jobs]\nmax = 0",
            "[jobs]\nmax_per_user = 65",
            "[jobs]\nqueue = 1025",
            "[jobs]\nqueue_per_user = 1025",
            "[jobs]\nqueue = -1",
            "[jobs]\nstop_wait_s = 3601",
            "[limits]\nruntime_s = 0",
            "[limits]\nmax_runtime_s = 86401",
            "[limits]\nmemory = 1",
            "[limits]\nfiles = 1",
            "[limits]\nfile = 1",
            "[audit]\nper_user = 1",
            "[output]\nper_job = 65535",
            "[output]\nper_user = 65536",
            "[output]\ntotal = 65536",
            "[output]\nper_jobs = 65536",
            "[accounts]\nbroker = -1",
            "[sandbox]\nrequire = [\"selinux\"]",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
