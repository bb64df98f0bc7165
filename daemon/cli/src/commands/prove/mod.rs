//! `remit prove`: finds how an agent could become root, and what is new since an earlier look. `remit-prove` looks; its answer
//! is printed as text of a stranger.

mod journal;
pub mod looks;

use std::io::{self, Write};
use std::path::Path;

use nix::unistd::Uid;
use remit_common::calendar;
use remit_common::refusal::{Code, Refusal};
use remit_prove::compare::{Comparison, compare};
use remit_prove::report::Report;
use remit_prove::text::{comparison, text};
use serde::Serialize;

use super::policy;
use crate::args::ProveArgs;
use crate::client::{admin_socket, prover};
use crate::error::{Exit, Failure};
use crate::render::output::{self, Context, Form};
use crate::render::units;
use looks::{KeptLook, LookQuestion, Looks, LooksFile};

/// The exit status shows if a path was found; with `--compare`, a new one.
pub fn prove(context: &Context, args: &ProveArgs) -> Result<Exit, Failure> {
    if !Uid::effective().is_root() {
        return Err(Failure::NotRoot("prove"));
    }
    let root = args.root.canonicalize();
    let root = root.map_err(|error| failed(&format!("'{}': {error}", args.root.display())))?;
    let asked = LookQuestion::new(&root, args.subject.as_deref());
    // Before the look: it takes its time, and an error of the file is known without it.
    let kept = match &args.compare {
        Some(file) => {
            let store = LooksFile::open(file).map_err(Failure::Machine)?;
            let looks = store.load(&asked).map_err(Failure::Machine)?;
            Some((store, looks))
        }
        None => None,
    };
    let policy = match prover::policy_of(&root) {
        Ok(policy) => policy,
        Err(found) => return policy::unloaded(context, found),
    };
    let question = prover::question(&root, &policy, args.subject.as_deref());
    let mut question = question.map_err(|why| failed(&why))?;
    // Without the daemon no temporary grant permits anything; a nightly look must not start it.
    let is_served = !args.log && root == Path::new("/") && admin_socket::may_ask(context);
    let in_force = is_served.then(|| prover::in_force(context));
    let is_unlisted = matches!(in_force, Some(Err(_)));
    question.in_force = in_force.and_then(Result::ok).unwrap_or_default();
    let mut report = prover::ask(&question).map_err(|why| failed(&why))?;
    if is_unlisted || args.log {
        report
            .limits
            .push("temporary grants are not followed".to_owned());
    }
    if !root.join("etc/remit").exists() {
        let why = "there is no policy in /etc/remit: nothing is granted";
        report.limits.push(why.to_owned());
    }
    if let Some((store, looks)) = kept {
        return compared(context, args, &report, asked, &store, looks);
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

fn failed(why: &str) -> Failure {
    let text = format!("cannot look at the machine: {why}");
    Failure::Machine(Refusal::new(Code::NotStarted, text))
}

/// The answer of `--compare --json`: that of `--json`, and what is new.
#[derive(Serialize)]
struct Compared<'a> {
    #[serde(flatten)]
    report: &'a Report,
    /// When the earlier look was, in milliseconds since 1970. Null: this one is the first.
    since_ms: Option<u64>,
    /// The release that looked then.
    since_release: Option<&'a str>,
    #[serde(flatten)]
    comparison: &'a Comparison,
}

/// Says what is new since the look that was last shown, or logged, and keeps this one. A look whose news was not written
/// is not kept: its news stays news.
fn compared(
    context: &Context,
    args: &ProveArgs,
    report: &Report,
    asked: LookQuestion,
    store: &LooksFile,
    looks: Option<Looks>,
) -> Result<Exit, Failure> {
    let before = looks.as_ref().and_then(|looks| match args.log {
        true => Some(&looks.newest),
        false => looks.shown.as_ref(),
    });
    let found = compare(before.map(|look| &look.seen), report);
    let exit = match found.new.is_empty() {
        true => Exit::OK,
        false => Exit::FOUND,
    };
    let printed = match (args.log, context.form) {
        (true, _) => journal::log(report, &found, before, store.file()),
        (false, Form::Json) => output::json_part(&Compared {
            report,
            since_ms: before.map(|look| look.at_ms),
            since_release: before.map(|look| look.release.as_str()),
            comparison: &found,
        }),
        (false, Form::Text) => {
            let mut lines = head(before, store.file());
            if report.subjects.is_empty() {
                lines += "there is no agent on this machine: name a user, or %group\n";
            }
            lines += &comparison(&found, args.verbose);
            output::part(&lines)
        }
    };
    match printed.and_then(|()| Ok(io::stdout().flush()?)) {
        Err(Failure::Gone) => return Ok(exit),
        printed => printed?,
    }
    let newest = KeptLook::of(report, calendar::now_ms());
    let shown = match args.log {
        true => looks.and_then(|looks| looks.shown),
        false => Some(newest.clone()),
    };
    let looks = Looks::new(asked, newest, shown);
    store.save(&looks).map_err(Failure::Machine)?;
    Ok(exit)
}

fn head(before: Option<&KeptLook>, file: &Path) -> String {
    let file = file.display();
    let Some(before) = before else {
        return format!("the first look that '{file}' keeps: every path is new\n");
    };
    let time = units::time(before.at_ms / 1000);
    let mut head = format!("compared with the look of {time}, kept in '{file}'\n");
    if before.release != remit_common::RELEASE {
        let (other, own) = (&before.release, remit_common::RELEASE);
        head += &format!("note: release {other} looked then, this is {own}: it may find more\n");
    }
    head
}
