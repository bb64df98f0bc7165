//! `remit policy check`: prints every finding of a load, grantees who cannot connect, and profiles in which nothing
//! could run.

use remit_policy::Diagnostic;
use remit_policy_files::{Loaded, missing_paths};
use serde_json::json;

use super::files::{self, count, errors};
use super::reach;
use crate::args::FilesArgs;
use crate::context::Context;
use crate::error::Failure;
use crate::exit::Exit;
use crate::render::output::{self, Form};

/// Prints findings. The exit status shows if the daemon would refuse the files.
pub fn check(context: &Context, args: &FilesArgs) -> Result<Exit, Failure> {
    let (made, names) = files::of_args(args);
    let (loaded, mut found) = match made {
        Ok(mut loaded) => {
            let warnings = std::mem::take(&mut loaded.warnings);
            (Some(loaded), warnings)
        }
        Err(found) => (None, found),
    };
    if let Some(loaded) = &loaded {
        found.extend(reach::findings(loaded, &names, &args.config));
        found.extend(missing_paths(&loaded.policy, &names));
    }
    let loaded = loaded.filter(|_| errors(&found) == 0);
    match context.form {
        Form::Json => output::json(&json!({
            "loads": loaded.is_some(),
            "errors": errors(&found),
            "warnings": found.len() - errors(&found),
            "findings": files::objects(&found),
            "files": loaded.iter().flat_map(files_of).collect::<Vec<_>>(),
            "rules": loaded.as_ref().map(|loaded| loaded.policy.rules()),
            "commands": loaded.as_ref().map(|loaded| loaded.policy.commands().count()),
            "owners": !args.any_owner && !args.machine.elsewhere,
            "names": !args.machine.elsewhere,
        }))?,
        Form::Text => output::text(&show(loaded.as_ref(), &found, args))?,
    }
    Ok(match loaded {
        Some(_) => Exit::OK,
        None => Exit::FOUND,
    })
}

fn files_of(loaded: &Loaded) -> impl Iterator<Item = &str> {
    loaded.sources.iter().map(|source| source.name.as_str())
}

fn show(loaded: Option<&Loaded>, found: &[Diagnostic], args: &FilesArgs) -> String {
    let mut lines = files::lines(found);
    let errors = errors(found);
    let warnings = match found.len() - errors {
        0 => String::new(),
        many => format!(", {}", count(many, "warning")),
    };
    lines += &match loaded {
        Some(Loaded {
            policy, sources, ..
        }) => format!(
            "the policy loads: {} and {} in {}{warnings}\n",
            count(policy.rules(), "rule"),
            count(policy.commands().count(), "command"),
            count(sources.len(), "file"),
        ),
        None => format!(
            "the policy does not load: {}{warnings}\n",
            count(errors, "error")
        ),
    };
    if args.any_owner || args.machine.elsewhere {
        lines += "file ownership and permissions were not checked\n";
    } else if loaded.is_none() && found.iter().any(|one| one.line().is_none()) {
        // An error about a whole file is mostly about its owner.
        lines += "to check files that are not installed yet: --any-owner\n";
    }
    if args.machine.elsewhere {
        lines += "every user, group, host and program was assumed to exist, each user in no other group\n";
    }
    lines
}
