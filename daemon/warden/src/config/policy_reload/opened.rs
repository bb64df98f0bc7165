//! Refuses a policy by which an agent would become root, or another account, unless the policy accepts that path.

use remit_common::prove::{Compared, OpenedPath};
use remit_policy::Policy;

use super::refused::LoadError;
use crate::config::Config;
use crate::service::prover;
use crate::startup::arguments::Args;

/// Milliseconds for looking at the machine twice. A part that was not looked at by then is a warning.
const PATIENCE: u64 = 10_000;

/// Compares `new` with the policy in force, which `is_within` tells apart from one that only takes permissions away: that
/// loads whatever the machine is like. Returns warnings.
pub fn check(
    args: &Args,
    config: &Config,
    live: &Policy,
    new: &Policy,
) -> Result<Vec<String>, LoadError> {
    if new.is_within(live) {
        return Ok(Vec::new());
    }
    let compared = Compared {
        before: Some(live.encode().into()),
        changes: Vec::new(),
        milliseconds: PATIENCE,
    };
    let opened = prover::opened(&args.machine, &config.accounts, new.encode(), compared);
    let opened = opened.map_err(|why| {
        LoadError::Refused(format!(
            "policy: error: the ways to root that this policy opens are not known: {why}; mend that, or write \
             'prove = false' in the section [policy] of remit.toml"
        ))
    })?;
    let accepted = |path: &&OpenedPath| new.accepted(&path.agent, &path.goal).is_some();
    let (accepted, refused): (Vec<_>, Vec<_>) = opened.paths.iter().partition(accepted);
    if !refused.is_empty() {
        let refused: Vec<String> = refused.into_iter().map(refusal).collect();
        return Err(LoadError::Refused(refused.join("\n")));
    }
    let accepted = accepted.into_iter().map(|path| {
        let (agent, goal, steps) = (&path.agent, &path.goal, path.steps.join("; "));
        format!("policy: warning: {agent} reaches {goal}, as accepted: {steps}")
    });
    let limits = opened.limits.iter().map(|limit| {
        format!("policy: warning: the look for ways to root is not complete: {limit}")
    });
    Ok(accepted.chain(limits).collect())
}

fn refusal(path: &OpenedPath) -> String {
    let goal = path.goal.strip_prefix("the account of ");
    let reaches = goal.and_then(|goal| goal.split_once(' '));
    let reaches = reaches.map_or(path.goal.as_str(), |(_, name)| name);
    let lines = prover::lines(path).join("\n");
    format!(
        "policy: error: this policy opens a path: {lines}\n  to accept it, write: [[accept]] with agent = \"{}\", reaches = \"{reaches}\" \
         and the reason",
        path.agent
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_has_the_steps_and_both_ways_out() {
        let path = OpenedPath {
            agent: "bot".to_owned(),
            goal: "the account of approver ann".to_owned(),
            steps: vec!["bot may call a.b".to_owned(), "it leads on".to_owned()],
            closed_by: vec!["narrow it".to_owned()],
        };
        assert_eq!(
            refusal(&path),
            "policy: error: this policy opens a path: bot reaches the account of approver ann:\n  \
             1. bot may call a.b\n  2. it leads on\n  closed by: narrow it\n  to accept it, write: [[accept]] with \
             agent = \"bot\", reaches = \"ann\" and the reason"
        );
    }
}
