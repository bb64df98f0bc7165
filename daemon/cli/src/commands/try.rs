//! `remit try`: lets root run something in a profile without a grant, and shows what confined it.

use std::os::unix::ffi::OsStringExt;

use nix::unistd::geteuid;
use remit_common::client::ClientError;
use remit_common::outcome::Enforced;
use remit_common::wire::{Purpose, Run, What};

use crate::args::{self, TryArgs};
use crate::commands::run;
use crate::context::Context;
use crate::error::Failure;
use crate::exit::Exit;
use crate::render::output::{self, Form};

/// Runs the command, then prints what was enforced. The exit status is the command's.
pub fn attempt(context: &Context, args: TryArgs) -> Result<Exit, Failure> {
    let report = run::run_attached(context, request(args)).map_err(|failure| match failure {
        // Membership in the group would not help: only root may try.
        Failure::Client(ClientError::NotAllowed { .. }) if !geteuid().is_root() => {
            Failure::NotRoot("try")
        }
        other => other,
    })?;
    if context.form == Form::Text
        && let Some(enforced) = &report.enforced
    {
        lines(enforced).iter().for_each(|line| output::note(line));
    }
    Ok(Exit::of_job(&report))
}

fn request(args: TryArgs) -> Run {
    Run {
        traceparent: None,
        what: match args.script {
            Some(text) => What::Script {
                text: text.into_vec().into(),
                interpreter: None,
            },
            None => What::Argv(args::bytes(&args.argv)),
        },
        cwd: args.cwd.map(|dir| dir.into_os_string().into_vec().into()),
        env: Vec::new(),
        stdin: None,
        profile: args.profile,
        wait_ms: None,
        max_runtime_s: args.timeout,
        request_id: None,
        purpose: Purpose::Try,
    }
}

fn lines(enforced: &Enforced) -> Vec<String> {
    let landlock = match enforced.landlock {
        0 => "landlock: none".to_owned(),
        version => format!("landlock: version {version}"),
    };
    let mut lines = vec![
        format!("profile: {}", enforced.profile),
        format!("uid: {}", enforced.uid),
        landlock,
    ];
    lines.push(format!("layers: {}", enforced.layers.join(", ")));
    lines.extend(
        enforced
            .limits
            .iter()
            .map(|limit| format!("limit: {limit}")),
    );
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layer_and_limit_is_shown() {
        let enforced = Enforced {
            profile: "read".into(),
            uid: 7,
            layers: vec!["identity".into(), "seccomp".into()],
            landlock: 0,
            limits: vec!["runtime 300 s".into()],
        };
        let expect =
            "profile: read|uid: 7|landlock: none|layers: identity, seccomp|limit: runtime 300 s";
        assert_eq!(lines(&enforced).join("|"), expect);
    }
}
