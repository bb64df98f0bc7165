//! `remit prove`: finds how an agent could become root. `remit-prove` looks; its answer is printed as text of a stranger.

use nix::unistd::Uid;
use remit_common::refusal::{Code, Refusal};
use remit_prove::text::text;

use super::policy;
use crate::args::ProveArgs;
use crate::client::prover;
use crate::error::{Exit, Failure};
use crate::render::output::{self, Context, Form};

/// The exit status shows if a path was found.
pub fn prove(context: &Context, args: &ProveArgs) -> Result<Exit, Failure> {
    if !Uid::effective().is_root() {
        return Err(Failure::NotRoot("prove"));
    }
    let failed = |why: String| {
        let text = format!("cannot look at the machine: {why}");
        Failure::Machine(Refusal::new(Code::NotStarted, text))
    };
    let root = args.root.canonicalize();
    let root = root.map_err(|error| failed(format!("'{}': {error}", args.root.display())))?;
    let policy = match prover::policy_of(&root) {
        Ok(policy) => policy,
        Err(found) => return policy::unloaded(context, found),
    };
    let question = prover::question(&root, &policy, args.subject.as_deref()).map_err(failed)?;
    let mut report = prover::ask(&question).map_err(failed)?;
    if !root.join("etc/remit").exists() {
        let why = "there is no policy in /etc/remit: nothing is granted";
        report.limits.push(why.to_owned());
    }
    match context.form {
        Form::Json => output::json(&report)?,
        Form::Text => output::text(&text(&report, args.verbose))?,
    }
    let is_reached = report
        .subjects
        .iter()
        .any(|subject| !subject.reaches.is_empty());
    Ok(if is_reached { Exit::FOUND } else { Exit::OK })
}
