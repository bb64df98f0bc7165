//! `remit policy diff`: what two states of policy files mean differently.

use remit_common::refusal::{Code, Refusal};
use remit_policy::Diagnostic;
use serde_json::json;

use super::files::{self, count, errors};
use crate::app::Context;
use crate::args::DiffArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Form};

/// Shows who gains and who loses what. The exit status is that of diff(1): 0 for the same meaning, 1
/// for another, 2 where one of them does not load.
pub fn diff(context: &Context, args: &DiffArgs) -> Result<Exit, Failure> {
    let made = [&args.old, &args.new].map(|path| files::of_either(path, &args.machine));
    let changes = match &made {
        [Ok(old), Ok(new)] => remit_policy::diff(&old.policy, &new.policy),
        [old, new] => {
            let found: Vec<Diagnostic> = [old, new]
                .into_iter()
                .filter_map(|made| made.as_ref().err())
                .flatten()
                .cloned()
                .collect();
            return unloaded(context, &found);
        }
    };
    match context.form {
        Form::Json => output::json(&json!({ "changes": changes }))?,
        Form::Text => output::text(
            &changes
                .iter()
                .map(|line| format!("{line}\n"))
                .collect::<String>(),
        )?,
    }
    Ok(match changes.is_empty() {
        true => Exit::OK,
        false => Exit::FOUND,
    })
}

/// Files that do not load: nothing can be told of what they mean.
pub fn unloaded(context: &Context, found: &[Diagnostic]) -> Result<Exit, Failure> {
    let why = format!(
        "the policy does not load: {}",
        count(errors(found), "error")
    );
    trouble(context, found, &why)
}

/// Nothing can be told, and why.
pub fn trouble(context: &Context, found: &[Diagnostic], why: &str) -> Result<Exit, Failure> {
    output::complain(&files::lines(found));
    output::note(why);
    if context.form == Form::Json {
        let refusal = Refusal::new(Code::InvalidArgs, why);
        output::json(&json!({ "error": refusal, "findings": files::objects(found) }))?;
    }
    Ok(Exit::TROUBLE)
}
