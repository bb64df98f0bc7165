//! The settings as text, key by key: what a reload and a start compare, and what the audit log says of a change.

use std::fmt::Debug;

use crate::{
    AccountRef, Accounts, Approval, AuditConfig, BreakerConfig, BusConfig, Config, FloorConfig,
    JobLimits, JobsConfig, Output, PolicyConfig, RequiredCommand, SandboxNeeds,
};

/// The only key that each load reads.
const PROVE: &str = "policy.prove";

impl Config {
    /// Returns the keys whose values differ. A running daemon cannot change its values.
    pub fn changed(&self, new: &Self) -> Vec<&'static str> {
        let both = self.values().into_iter().zip(new.values());
        let changed = both.filter(|(old, new)| old != new && old.0 != PROVE);
        changed.map(|((key, _), _)| key).collect()
    }

    /// Returns each key with its value as one text, which is another one for another value.
    pub fn values(&self) -> Vec<(&'static str, String)> {
        let Self {
            audit,
            accounts,
            jobs,
            limits,
            output,
            sandbox,
            approval,
            bus,
            floor,
            breaker,
            policy,
        } = self;
        let all = [
            of_audit(audit),
            of_accounts(accounts),
            of_jobs(jobs),
            of_limits(limits),
            of_others(output, sandbox, approval, bus),
            of_floor(floor),
            of_breaker(breaker),
        ];
        let PolicyConfig { prove } = policy;
        let mut all: Vec<_> = all.into_iter().flatten().collect();
        all.push((PROVE, text(prove)));
        all
    }
}

type KeyValues = Vec<(&'static str, String)>;

fn text(value: &impl Debug) -> String {
    format!("{value:?}")
}

fn word(value: &impl Debug) -> String {
    text(value).to_lowercase()
}

fn account(account: &AccountRef) -> String {
    match account {
        AccountRef::Id(id) => text(id),
        AccountRef::Name(name) => text(name),
    }
}

fn list<T>(all: &[T], one: impl Fn(&T) -> String) -> String {
    let all: Vec<String> = all.iter().map(one).collect();
    format!("[{}]", all.join(", "))
}

fn of_audit(audit: &AuditConfig) -> KeyValues {
    let AuditConfig {
        sink,
        sync,
        kernel,
        per_user,
    } = audit;
    vec![
        ("audit.sink", word(sink)),
        ("audit.sync", word(sync)),
        ("audit.kernel", text(kernel)),
        ("audit.per_user", text(per_user)),
    ]
}

fn of_accounts(accounts: &Accounts) -> KeyValues {
    let Accounts {
        broker,
        bus,
        socket_group,
        admin_group,
        numbers,
    } = accounts;
    vec![
        ("accounts.broker", account(broker)),
        ("accounts.bus", account(bus)),
        ("accounts.socket_group", account(socket_group)),
        ("accounts.admin_group", account(admin_group)),
        ("accounts.numbers", text(numbers)),
    ]
}

fn of_jobs(jobs: &JobsConfig) -> KeyValues {
    let JobsConfig {
        uid_first,
        uid_count,
        groups,
        max,
        max_per_user,
        queue,
        queue_per_user,
        stop_wait_s,
    } = jobs;
    vec![
        ("jobs.uid_first", text(uid_first)),
        ("jobs.uid_count", text(uid_count)),
        ("jobs.groups", list(groups, account)),
        ("jobs.max", text(max)),
        ("jobs.max_per_user", text(max_per_user)),
        ("jobs.queue", text(queue)),
        ("jobs.queue_per_user", text(queue_per_user)),
        ("jobs.stop_wait_s", text(stop_wait_s)),
    ]
}

fn of_limits(limits: &JobLimits) -> KeyValues {
    let JobLimits {
        runtime_s,
        max_runtime_s,
        memory,
        tasks,
        cpu_percent,
        cpu_s,
        files,
        tmp,
        tmp_files,
        file,
    } = limits;
    vec![
        ("limits.runtime_s", text(runtime_s)),
        ("limits.max_runtime_s", text(max_runtime_s)),
        ("limits.memory", text(memory)),
        ("limits.tasks", text(tasks)),
        ("limits.cpu_percent", text(cpu_percent)),
        ("limits.cpu_s", text(cpu_s)),
        ("limits.files", text(files)),
        ("limits.tmp", text(tmp)),
        ("limits.tmp_files", text(tmp_files)),
        ("limits.file", text(file)),
    ]
}

fn of_others(
    output: &Output,
    sandbox: &SandboxNeeds,
    approval: &Approval,
    bus: &BusConfig,
) -> KeyValues {
    let Output {
        per_job,
        per_user,
        total,
    } = output;
    let SandboxNeeds { require } = sandbox;
    let Approval { notify } = approval;
    let BusConfig { off, calls } = bus;
    vec![
        ("output.per_job", text(per_job)),
        ("output.per_user", text(per_user)),
        ("output.total", text(total)),
        ("sandbox.require", list(require, |need| text(&need.name()))),
        ("approval.notify", text(notify)),
        ("bus.off", text(off)),
        ("bus.calls", text(calls)),
    ]
}

fn of_floor(floor: &FloorConfig) -> KeyValues {
    let FloorConfig {
        approval,
        approvers,
        require,
    } = floor;
    let required = |one: &RequiredCommand| {
        let RequiredCommand { command, within_s } = one;
        format!("{{ command = {command:?}, within_s = {within_s} }}")
    };
    vec![
        ("floor.approval", text(approval)),
        ("floor.approvers", text(approvers)),
        ("floor.require", list(require, required)),
    ]
}

fn of_breaker(breaker: &BreakerConfig) -> KeyValues {
    let BreakerConfig {
        failed_changes,
        slow_refusals,
        slow_within_s,
        pause_refusals,
        pause_within_s,
    } = breaker;
    vec![
        ("breaker.failed_changes", text(failed_changes)),
        ("breaker.slow_refusals", text(slow_refusals)),
        ("breaker.slow_within_s", text(slow_within_s)),
        ("breaker.pause_refusals", text(pause_refusals)),
        ("breaker.pause_within_s", text(pause_within_s)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AuditSink, Need};

    #[test]
    fn changed_keys_have_their_values_as_the_file_has_them() {
        let (old, mut new) = (Config::default(), Config::default());
        assert!(old.changed(&new).is_empty());
        new.floor.approval = true;
        new.floor.approvers = vec!["%ops".into(), "a\"b".into()];
        new.floor.require = vec![RequiredCommand {
            command: "backup.fresh".into(),
            within_s: 60,
        }];
        new.accounts.admin_group = AccountRef::Id(7);
        new.accounts.broker = AccountRef::Name("7".into());
        new.sandbox.require = vec![Need::Landlock, Need::Cgroup];
        new.audit.sink = AuditSink::File;
        new.breaker.failed_changes = 0;
        let expect = [
            ("audit.sink", "journald", "file"),
            ("accounts.broker", r#""remit-broker""#, r#""7""#),
            ("accounts.admin_group", r#""remit-admin""#, "7"),
            ("sandbox.require", "[]", r#"["landlock", "cgroup"]"#),
            ("floor.approval", "false", "true"),
            ("floor.approvers", "[]", r#"["%ops", "a\"b"]"#),
            (
                "floor.require",
                "[]",
                r#"[{ command = "backup.fresh", within_s = 60 }]"#,
            ),
            ("breaker.failed_changes", "10", "0"),
        ];
        let keys: Vec<_> = expect.iter().map(|(key, _, _)| *key).collect();
        assert_eq!(old.changed(&new), keys);
        let value = |config: &Config, key: &str| {
            let mut values = config.values().into_iter();
            values.find(|(other, _)| *other == key).unwrap().1
        };
        for (key, before, after) in expect {
            let both = (value(&old, key), value(&new, key));
            assert_eq!(both, (before.to_owned(), after.to_owned()), "{key}");
        }
    }

    #[test]
    fn what_each_load_reads_needs_no_restart() {
        let (old, mut new) = (Config::default(), Config::default());
        new.policy.prove = false;
        assert!(old.changed(&new).is_empty());
        assert_ne!(old.values(), new.values());
    }
}
