//! `remit.toml` as data. Every key has a default, an unknown one is refused. Only `remit-compiler` parses the text.
#![forbid(unsafe_code)]

mod sections;
mod values;

use remit_common::{bus, caps};
use serde::{Deserialize, Serialize};

pub use sections::{
    AccountRef, Approval, AuditConfig, AuditSink, BreakerConfig, BusConfig, FloorConfig, JobLimits,
    Output, PolicyConfig, RequiredCommand, Sync,
};

/// Seconds that a stop waits for changes, as package upgrades: less than systemd at power-off (JobTimeoutSec=).
const STOP_WAIT_S: u32 = 600;
/// Upper bound. No change runs longer by default.
const LONGEST_STOP_WAIT_S: u32 = 3600;

/// Upper bound of the queue: each waiting job holds its script and standard input open.
const QUEUE: usize = 1024;

/// The kernel's bound of `pids.max`: PID_MAX_LIMIT.
const TASKS: u64 = 1 << 22;

const FLOOR_WORDS: usize = 32;
const LONGEST_FRESH_S: u32 = 365 * 86_400;
/// Upper bound of counted refusals: the time of each is kept.
const REFUSALS: u32 = 10_000;

/// Maximum number of bytes of encoded settings. They need no more than their text.
const ENCODED: usize = caps::POLICY_FILE;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub audit: AuditConfig,
    pub accounts: Accounts,
    pub jobs: JobsConfig,
    pub limits: JobLimits,
    pub output: Output,
    pub sandbox: SandboxNeeds,
    pub approval: Approval,
    pub bus: BusConfig,
    pub floor: FloorConfig,
    pub breaker: BreakerConfig,
    pub policy: PolicyConfig,
}

impl Config {
    pub fn encode(&self) -> Vec<u8> {
        // These types have no error, and no bytes are refused by the decoder.
        postcard::to_extend(self, Vec::new()).unwrap_or_default()
    }

    /// Makes the settings of [`Config::encode`] again. Fails with a part of a sentence.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > ENCODED {
            return Err(format!("they have {} bytes, over {ENCODED}", bytes.len()));
        }
        match postcard::take_from_bytes(bytes) {
            Ok((settings, [])) => Ok(settings),
            Ok((_, rest)) => Err(format!("{} bytes follow them", rest.len())),
            Err(error) => Err(format!("their bytes cannot be decoded: {error}")),
        }
    }

    /// Fails with a sentence if a value is out of its bounds. Only root judges this, after it has decoded the settings.
    pub fn check(&self) -> Result<(), String> {
        let JobsConfig {
            uid_first,
            uid_count,
            max,
            max_per_user,
            queue,
            queue_per_user,
            ..
        } = self.jobs;
        let Output {
            per_job,
            per_user,
            total,
        } = self.output;
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
                self.jobs.stop_wait_s <= LONGEST_STOP_WAIT_S,
                "jobs.stop_wait_s must be 0 to 3600",
            ),
            (
                self.jobs.groups.len() <= 32,
                "jobs.groups has more than 32 groups",
            ),
            (
                (1..=caps::RUNTIME_S).contains(&self.limits.max_runtime_s),
                "limits.max_runtime_s must be 1 to 86400",
            ),
            (
                (1..=self.limits.max_runtime_s).contains(&self.limits.runtime_s),
                "limits.runtime_s must be 1 to limits.max_runtime_s",
            ),
            (
                self.limits.memory >= 1 << 20,
                "limits.memory must be 1048576 or more",
            ),
            (
                (1..=TASKS).contains(&self.limits.tasks),
                "limits.tasks must be 1 to 4194304",
            ),
            (
                self.limits.cpu_percent >= 1,
                "limits.cpu_percent must be 1 or more",
            ),
            (self.limits.cpu_s >= 1, "limits.cpu_s must be 1 or more"),
            (self.limits.files >= 32, "limits.files must be 32 or more"),
            (
                self.limits.tmp >= 1 << 16,
                "limits.tmp must be 65536 or more",
            ),
            (
                self.limits.file >= 1 << 20,
                "limits.file must be 1048576 or more",
            ),
            (
                self.audit.per_user >= 1 << 20,
                "audit.per_user must be 1048576 or more",
            ),
            (
                self.limits.tmp_files >= 16,
                "limits.tmp_files must be 16 or more",
            ),
            (per_job >= 1 << 16, "output.per_job must be 65536 or more"),
            (
                per_job <= per_user,
                "output.per_job must not be more than output.per_user",
            ),
            (
                self.bus.calls.len() <= bus::CALLS,
                "bus.calls has more than 64 calls",
            ),
            (
                self.bus.calls.iter().all(|call| bus::is_call(call)),
                "bus.calls must be names such as org.example.Service.GetState",
            ),
            (
                self.floor.approvers.len() <= FLOOR_WORDS
                    && self.floor.require.len() <= FLOOR_WORDS,
                "floor.approvers and floor.require must have 32 entries at most",
            ),
            (
                self.floor
                    .require
                    .iter()
                    .all(|one| (1..=LONGEST_FRESH_S).contains(&one.within_s)),
                "within_s of floor.require must be 1 to 31536000",
            ),
            (
                self.breaker.slow_refusals.max(self.breaker.pause_refusals) <= REFUSALS,
                "breaker.slow_refusals and breaker.pause_refusals must be 0 to 10000",
            ),
            (
                [self.breaker.slow_within_s, self.breaker.pause_within_s]
                    .iter()
                    .all(|within| (1..=86_400).contains(within)),
                "breaker.slow_within_s and breaker.pause_within_s must be 1 to 86400",
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
}

/// `[accounts]`: names, or numbers for accounts that the user database does not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Accounts {
    pub broker: AccountRef,
    /// Asks the system bus for jobs in profile `read`.
    pub bus: AccountRef,
    pub socket_group: AccountRef,
    pub admin_group: AccountRef,
    /// Uids without an account that may connect.
    pub numbers: Vec<u32>,
}

impl Default for Accounts {
    fn default() -> Self {
        Self {
            broker: AccountRef::Name("remit-broker".into()),
            bus: AccountRef::Name("remit-bus".into()),
            socket_group: AccountRef::Name("remit".into()),
            admin_group: AccountRef::Name("remit-admin".into()),
            numbers: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SandboxNeeds {
    /// Nothing runs without these.
    pub require: Vec<Need>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_settings_are_decoded() {
        let settings = Config {
            accounts: Accounts {
                broker: AccountRef::Id(64_100),
                numbers: vec![64_001, u32::MAX],
                ..Accounts::default()
            },
            sandbox: SandboxNeeds {
                require: vec![Need::Landlock, Need::Controllers],
            },
            approval: Approval {
                notify: "site.notify".to_owned(),
            },
            floor: FloorConfig {
                approval: true,
                approvers: vec!["%ops".to_owned()],
                require: vec![RequiredCommand {
                    command: "backup.fresh".to_owned(),
                    within_s: 3600,
                }],
            },
            ..Config::default()
        };
        let mut bytes = settings.encode();
        assert_eq!(Config::decode(&bytes), Ok(settings));
        for at in 0..bytes.len() {
            assert!(Config::decode(&bytes[..at]).is_err(), "{at}");
        }
        bytes.push(0);
        let why = Config::decode(&bytes).unwrap_err();
        assert_eq!(why, "1 bytes follow them");
        let why = Config::decode(&vec![0; ENCODED + 1]).unwrap_err();
        assert!(why.contains("over 1048576"), "{why}");
    }

    #[test]
    fn decoded_settings_out_of_bounds_are_refused() {
        let mut settings = Config::default();
        assert_eq!(settings.check(), Ok(()));
        settings.jobs.max = 0;
        let decoded = Config::decode(&settings.encode()).unwrap();
        let why = "jobs.max must be 1 to 1024".to_owned();
        assert_eq!(decoded.check(), Err(why));
    }
}
