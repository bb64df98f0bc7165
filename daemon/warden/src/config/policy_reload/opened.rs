//! Refuses a policy by which an agent would become root, or another account, unless the policy accepts that path.

use std::time::Duration;

use remit_common::prove::{Compared, OpenedPath, PermittedGrant};
use remit_policy::Policy;

use super::refused::LoadError;
use super::{Live, PolicyInForce};
use crate::service::prover::{PATHS, Prover, ProverAnswer, Situation};
use crate::startup::arguments::Args;

/// Time for looking at the machine and for proofs.
const LOOK: Duration = Duration::from_secs(16);

/// The program that looks, started before the load looks anything up.
#[derive(Debug)]
pub struct OpenedCheck(Prover);

impl OpenedCheck {
    pub fn start() -> Self {
        Self(Prover::start(LOOK))
    }

    /// Compares `new` with the policy in force. One that only takes permissions away loads whatever the machine is like: an
    /// agent could change that. Returns warnings.
    pub fn check(
        self,
        args: &Args,
        running: PolicyInForce<'_>,
        new: &Policy,
    ) -> Result<Vec<String>, LoadError> {
        let PolicyInForce {
            live,
            config,
            in_force,
        } = running;
        if new.takes_only_away(&live.policy) {
            return Ok(Vec::new());
        }
        let compared = Compared {
            before: Some(live.policy.encode().into()),
            changes: Vec::new(),
            permitted: Vec::new(),
            milliseconds: u64::try_from(LOOK.as_millis()).unwrap_or(u64::MAX),
        };
        let Self(prover) = self;
        let in_force: Vec<PermittedGrant> =
            in_force.iter().map(|one| kept(one, live, new)).collect();
        let situation = Situation {
            machine: &args.machine,
            accounts: &config.accounts,
            policy: new,
            in_force: &in_force,
            asks_for_changes: config.floor.approval,
        };
        let asked = prover.ask(situation, Vec::new(), compared);
        let opened = asked
            .and_then(ProverAnswer::take)
            .map_err(|why| unknown(&why))?;
        let is_accepted = |path: &&OpenedPath| new.accepted(&path.agent, &path.goal).is_some();
        let (accepted, refused): (Vec<_>, Vec<_>) = opened.paths.iter().partition(is_accepted);
        if !refused.is_empty() {
            let more = refused.len().saturating_sub(PATHS);
            let refused = refused.into_iter().take(PATHS).map(refusal);
            let more = (more > 0).then(|| format!("policy: error: it opens {more} more paths"));
            let refused: Vec<String> = refused.chain(more).collect();
            return Err(LoadError::Refused(refused.join("\n")));
        }
        if let Some(why) = &opened.incomplete {
            return Err(unknown(why));
        }
        let accepted = accepted.into_iter().map(|path| {
            let (agent, goal, steps) = (&path.agent, &path.goal, path.steps_in_words());
            format!("policy: warning: {agent} reaches {goal}, as accepted: {steps}")
        });
        let limits = opened.limits.iter();
        let limits = limits.map(|limit| format!("policy: warning: ways to root: {limit}"));
        Ok(accepted.take(PATHS).chain(limits).collect())
    }
}

/// A grant loses the commands whose definitions change.
fn kept(grant: &PermittedGrant, live: &Live, new: &Policy) -> PermittedGrant {
    let mut grant = grant.clone();
    let is_same = |name: &String| live.policy.definition(name) == new.definition(name);
    grant.commands.retain(is_same);
    grant
}

fn unknown(why: &str) -> LoadError {
    LoadError::Refused(format!(
        "policy: error: the ways to root that this policy opens are not known: {why}; mend that, or write \
         'prove = false' in the section [policy] of remit.toml"
    ))
}

/// One line, because a short answer has the first lines alone.
fn refusal(path: &OpenedPath) -> String {
    let goal = path.goal.strip_prefix("the account of ");
    let reaches = goal.and_then(|goal| goal.split_once(' '));
    let reaches = reaches.map_or(path.goal.as_str(), |(_, name)| name);
    let (agent, path) = (&path.agent, path.in_words());
    format!(
        "policy: error: this policy opens a path: {path}; to accept it, write [[accept]] with agent = \"{agent}\", \
         reaches = \"{reaches}\" and the reason"
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
            "policy: error: this policy opens a path: bot reaches the account of approver ann: \
             1. bot may call a.b 2. it leads on; closed by: narrow it; to accept it, write [[accept]] with \
             agent = \"bot\", reaches = \"ann\" and the reason"
        );
    }
}
