//! Asks `remit-prove` if an agent could become root, or act as an approver or another agent. `remit prove` shows the steps.

use std::path::Path;

use remit_policy::Policy;
use remit_prove::report::Report;

use super::report::Check;
use crate::client::prover;

/// Checks these agents. Needs root.
pub fn checks(agents: &[String]) -> Vec<Check> {
    if agents.is_empty() {
        return vec![Check::ok("all", "there is no agent")];
    }
    match look() {
        Ok((report, policy)) => judge(&report, agents, &|agent, goal| {
            policy
                .accepted(agent, goal)
                .map(|accepted| accepted.reason.clone())
        }),
        Err(why) => vec![Check::skipped("all", why)],
    }
}

fn look() -> Result<(Report, Policy), String> {
    let root = Path::new("/");
    let policy = prover::policy_of(root);
    let policy = policy.map_err(|_| "the policy does not load: remit policy check".to_owned())?;
    let report = prover::ask(&prover::question(root, &policy, None)?)?;
    Ok((report, policy))
}

/// Why a path of an agent to a goal is accepted, if it is.
type AcceptedReason<'a> = &'a dyn Fn(&str, &str) -> Option<String>;

fn judge(report: &Report, agents: &[String], accepted: AcceptedReason<'_>) -> Vec<Check> {
    let unknown = report.unknown.len().saturating_add(report.more_unknown);
    let checks = agents.iter().map(|agent| {
        let name = format!("{agent}: paths");
        let mut subjects = report.subjects.iter();
        // For example of a directory service, or the time was over.
        let Some(subject) = subjects.find(|subject| subject.name == *agent) else {
            let why = format!("remit-prove did not judge it: remit prove {agent}");
            return Check::skipped(name, why);
        };
        let reason = |goal: &str| accepted(&subject.name, goal);
        let mut reaches = subject.reaches.iter();
        match reaches.find(|path| reason(&path.goal).is_none()) {
            None if !subject.reaches.is_empty() => {
                let reached = subject.reaches.iter();
                let reached = reached.map(|path| {
                    let reason = reason(&path.goal).unwrap_or_default();
                    format!("{}, as the policy accepts: {reason}", path.goal)
                });
                let reached: Vec<String> = reached.collect();
                Check::ok(name, format!("reaches {}", reached.join("; ")))
            }
            None => Check::ok(
                name,
                format!("no path found; {unknown} parts of the machine were not looked at"),
            ),
            Some(path) => {
                let steps: Vec<&str> = path.steps.iter().map(|step| step.fact.as_str()).collect();
                let why = format!(
                    "'{}' reaches {}: {}",
                    subject.name,
                    path.goal,
                    steps.join("; ")
                );
                Check::warning(name, why, format!("remit prove {}", subject.name))
            }
        }
    });
    checks.collect()
}

#[cfg(test)]
mod tests {
    use remit_prove::report::{Path, Step, SubjectReport};

    use super::super::report::{Verdict, whys};
    use super::*;

    #[test]
    fn path_is_a_warning_and_none_is_never_safe() {
        let subject = |name: &str, reaches: Vec<Path>| SubjectReport {
            name: name.to_owned(),
            groups: Vec::new(),
            reaches,
            accounts: Vec::new(),
        };
        let step = |fact: &str| Step {
            rule: "r".to_owned(),
            fact: fact.to_owned(),
            sentence: String::new(),
            source: String::new(),
        };
        let path = Path {
            goal: "root".to_owned(),
            steps: vec![step("a is in docker"), step("docker leads to root")],
            closed_by: Vec::new(),
        };
        let report = Report {
            subjects: vec![subject("a", vec![path]), subject("b", Vec::new())],
            more_unknown: 3,
            ..Report::default()
        };
        let checks = judge(&report, &["a".to_owned(), "b".to_owned()], &|_, _| None);
        assert_eq!(
            whys(&checks),
            ["warning: 'a' reaches root: a is in docker; docker leads to root"]
        );
        let expect =
            Verdict::Ok("no path found; 3 parts of the machine were not looked at".to_owned());
        assert!(
            checks.iter().any(|check| check.verdict == expect),
            "{checks:?}"
        );
        assert_eq!(
            whys(&judge(&report, &["b".to_owned()], &|_, _| None)),
            Vec::<String>::new()
        );
        let why = "remit-prove did not judge it: remit prove ldap".to_owned();
        let unjudged = judge(&report, &["ldap".to_owned()], &|_, _| None);
        assert_eq!(unjudged, [Check::skipped("ldap: paths", why)]);
        let accepted = judge(&report, &["a".to_owned()], &|agent, goal| {
            (agent == "a" && goal == "root").then(|| "it is trusted".to_owned())
        });
        let expect = Verdict::Ok("reaches root, as the policy accepts: it is trusted".to_owned());
        assert_eq!(accepted[0].verdict, expect);
        assert_eq!(super::checks(&[]), [Check::ok("all", "there is no agent")]);
    }
}
