//! Figures from the daemon's state. They have no text of requests: everybody on the machine may read the file.

use remit_common::admin::{Status, Totals};
use remit_common::refusal::Code;

use super::exposition::{Kind, Label, MetricFamily, Sample};

pub fn is_up(is_up: bool) -> MetricFamily {
    gauge("remit_up", "Whether remitd answers.", flag(is_up))
}

/// Returns all families, with a sample for each value of their labels: what was never seen is 0, not absent.
pub fn up(status: &Status) -> Vec<MetricFamily> {
    let mut families = vec![
        is_up(true),
        info(
            "remit_build_info",
            "Release of remitd; always 1.",
            ("version", &status.release),
        ),
        info(
            "remit_policy_info",
            "Digest of the policy in force; always 1.",
            ("digest", &status.policy),
        ),
    ];
    families.extend(gauges(status));
    families.push(counter(
        "remit_broker_restarts_total",
        "Restarts of the broker.",
        status.broker_restarts.into(),
    ));
    families.extend(counters(&status.totals));
    families
}

fn gauges(status: &Status) -> Vec<MetricFamily> {
    let unconfirmed = |has_failed: bool| {
        let commits = status.unconfirmed.iter();
        count(commits.filter(|one| one.has_failed == has_failed).count())
    };
    let uptime = status.uptime_ms as f64 / 1000.0;
    vec![
        gauge(
            "remit_uptime_seconds",
            "Time since the start of remitd.",
            uptime,
        ),
        gauge(
            "remit_locked",
            "Whether remit is locked, so nothing runs.",
            flag(status.locked.is_some()),
        ),
        gauge(
            "remit_audit_error",
            "Whether the audit log takes no records, so nothing runs.",
            flag(status.audit_error.is_some()),
        ),
        gauge(
            "remit_policy_error",
            "Whether the policy files have an error, so an older policy is in force.",
            flag(status.policy_error.is_some()),
        ),
        gauge(
            "remit_policy_rules",
            "Rules of the policy in force.",
            status.rules.into(),
        ),
        gauge(
            "remit_policy_warnings",
            "Warnings about the policy in force; 9 are more than 8.",
            count(status.policy_warnings.len()),
        ),
        gauge(
            "remit_settings_not_in_force",
            "Changed keys of remit.toml that need a restart.",
            count(status.needs_restart.len()),
        ),
        gauge(
            "remit_profiles_refused",
            "Profiles in which nothing runs, because a sandbox layer does not hold or this machine cannot provide them.",
            count(status.refused.len()),
        ),
        gauge(
            "remit_layers_missing",
            "Sandbox layers that this kernel lacks.",
            count(status.missing.len()),
        ),
        gauge("remit_jobs_running", "Jobs that run.", status.jobs.into()),
        gauge(
            "remit_jobs_limit",
            "Jobs that may run at once.",
            status.max_jobs.into(),
        ),
        gauge(
            "remit_jobs_queued",
            "Jobs that wait for a slot.",
            status.queued.into(),
        ),
        gauge(
            "remit_jobs_stuck",
            "Ended jobs with a process that the kernel cannot end; each occupies a slot.",
            status.stuck.into(),
        ),
        gauge(
            "remit_approvals_pending",
            "Requests that wait for an approval.",
            status.pending.into(),
        ),
        gauge(
            "remit_temporary_grants",
            "Temporary grants in force.",
            status.grants.into(),
        ),
        gauge(
            "remit_sessions",
            "Connected clients.",
            status.sessions.into(),
        ),
        gauge(
            "remit_users_paused",
            "Users whom a breaker paused; 9 are more than 8.",
            count(status.paused.len()),
        ),
        gauge(
            "remit_commits_unconfirmed",
            "Commits of files that are undone unless somebody confirms them.",
            unconfirmed(false),
        ),
        gauge(
            "remit_commits_not_undone",
            "Commits of files that nobody confirmed and that could not be undone.",
            unconfirmed(true),
        ),
    ]
}

fn counters(totals: &Totals) -> Vec<MetricFamily> {
    let decisions = [
        ("approved", totals.approved),
        ("denied", totals.denied),
        ("expired", totals.expired),
        ("void", totals.void),
    ];
    let refused = |code: Code| {
        let mut all = totals.refused.iter();
        let found = all.find(|(of, _)| *of == code);
        (code.as_str(), found.map_or(0, |(_, count)| *count))
    };
    vec![
        counter(
            "remit_jobs_started_total",
            "Jobs recorded before their start, with and without an approval.",
            totals.started,
        ),
        counter(
            "remit_approvals_asked_total",
            "Requests that had to wait for an approval.",
            totals.asked,
        ),
        labeled(
            "remit_approval_decisions_total",
            "Approvals (one for each approver), and requests that were denied, expired or became void.",
            "decision",
            decisions.into_iter(),
        ),
        labeled(
            "remit_refusals_total",
            "Refused requests, by the code of remit-refusals(7).",
            "code",
            Code::ALL.into_iter().map(refused),
        ),
        counter(
            "remit_audit_records_total",
            "Records in the audit log.",
            totals.records,
        ),
        counter(
            "remit_audit_records_lost_total",
            "Records that could be neither written nor kept; no job ran for them.",
            totals.lost_records,
        ),
    ]
}

fn gauge(name: &'static str, help: &'static str, value: f64) -> MetricFamily {
    let samples = vec![Sample { label: None, value }];
    MetricFamily {
        name,
        kind: Kind::Gauge,
        help,
        samples,
    }
}

fn info(
    name: &'static str,
    help: &'static str,
    (label, value): (&'static str, &str),
) -> MetricFamily {
    let label = Label {
        name: label,
        value: value.to_owned(),
    };
    let samples = vec![Sample {
        label: Some(label),
        value: 1.0,
    }];
    MetricFamily {
        name,
        kind: Kind::Gauge,
        help,
        samples,
    }
}

fn counter(name: &'static str, help: &'static str, value: u64) -> MetricFamily {
    MetricFamily {
        kind: Kind::Counter,
        ..gauge(name, help, exact(value))
    }
}

fn labeled(
    name: &'static str,
    help: &'static str,
    label: &'static str,
    values: impl Iterator<Item = (&'static str, u64)>,
) -> MetricFamily {
    let sample = |(value, count): (&str, u64)| Sample {
        label: Some(Label {
            name: label,
            value: value.to_owned(),
        }),
        value: exact(count),
    };
    MetricFamily {
        name,
        kind: Kind::Counter,
        help,
        samples: values.map(sample).collect(),
    }
}

const fn flag(is_so: bool) -> f64 {
    if is_so { 1.0 } else { 0.0 }
}

const fn count(number: usize) -> f64 {
    number as f64
}

/// Prometheus has only floating point numbers: exact up to 2^53.
const fn exact(number: u64) -> f64 {
    number as f64
}
