//! The files of a plan as a check sees them: what the child of its job shows at their paths, or lays into a copy of the machine.
//!
//! **Invariant:** in base `strict` each path is beneath one that the profile lists in `read`, so nobody runs or writes what is shown.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use remit_common::refusal::{Code, Refusal};
use remit_plan::{Bundle, Change, New, PlanPath, View};
use remit_policy::{Base, Command, Profile};
use remit_spawn::{Staged, StagedAs, StagedEntry};

use super::laid::{LaidPlanWriter, Plain, owner, relative};
use crate::request::Call;

/// Returns the files of the call's plan, if its command checks plans and it has one. Errors: `invalid_args`: what a check in
/// this profile cannot see; `not_started`: no memory.
pub fn of(call: &Call, command: Option<&Command>) -> Result<Option<OwnedFd>, Refusal> {
    let Some(command) = command.filter(|command| command.checks_plans()) else {
        return Ok(None);
    };
    let Some(Ok(bundle)) = call.file_change() else {
        // `file_change::check` refuses what is no plan.
        return Ok(None);
    };
    let sealed = match command.profile.base {
        Base::Plan => in_copy(bundle, call.uploads_at(), command),
        _ => in_strict(bundle, command),
    }?;
    let sealed = sealed.map_err(|error| {
        let text = format!("cannot keep the files of the plan: {error}");
        Refusal::new(Code::NotStarted, text)
    })?;
    Ok(Some(sealed))
}

fn in_copy(
    bundle: &Bundle,
    uploads: Option<&str>,
    command: &Command,
) -> Result<io::Result<OwnedFd>, Refusal> {
    let mut writer = LaidPlanWriter::new(bundle.plan(), uploads);
    let views: Vec<View<'_>> = bundle.views().collect();
    // That of the commit, on which depends what new files have from their directories.
    let order = bundle.plan().operations();
    for (at, view) in order.iter().filter_map(|at| Some((*at, views.get(*at)?))) {
        let added = writer.add(at, view);
        added.map_err(|why| cannot(view, command, why, SPLIT))?;
    }
    Ok(writer.seal())
}

fn in_strict(bundle: &Bundle, command: &Command) -> Result<io::Result<OwnedFd>, Refusal> {
    let mut bytes = Vec::new();
    let entries = bundle.views().map(|view| {
        is_shown(&view.entry.path, &command.profile)
            .map_err(|why| cannot(&view, command, &why, IN_COPY))?;
        staged(&view, &mut bytes).map_err(|why| cannot(&view, command, why, IN_COPY))
    });
    let entries = entries.collect::<Result<Vec<_>, _>>()?;
    Ok(Staged::seal(&entries, &bytes))
}

const SPLIT: &str = "plan this change apart from the others, or ask for them without this check";
const IN_COPY: &str = "use a command with a profile of base plan, which sees all of a plan; or plan these changes apart from the \
                       others, or ask for them without this check";

fn cannot(view: &View<'_>, command: &Command, why: &str, next: &str) -> Refusal {
    let (path, name) = (&view.entry.path, &command.name);
    Refusal::new(
        Code::InvalidArgs,
        format!("{name} cannot check the change of '{path}': {why}"),
    )
    .object(path.to_string())
    .next(next)
}

fn staged(view: &View<'_>, bytes: &mut Vec<u8>) -> Result<StagedEntry, &'static str> {
    let change = &view.entry.change;
    if change.uploaded().is_some() {
        return Err("its content was uploaded, and a check sees only what is in the plan");
    }
    if change.is_of_lines() {
        return Err("it is a table of passwords, which is made at the commit");
    }
    let Plain { start, length } = Plain::push(view, bytes);
    let what = match (change.makes(), change.meta().map(owner)) {
        (Some(New::File(_)), Some(owner)) => StagedAs::File {
            owner,
            start,
            length,
        },
        (Some(New::Directory), Some(owner)) => StagedAs::Directory(owner),
        (Some(New::Link(_)), _) => StagedAs::Link { start, length },
        _ if matches!(change, Change::Remove { .. }) => StagedAs::Gone,
        _ => return Err("a change of mode or owner alone is not shown to checks"),
    };
    let path = relative(view)?;
    Ok(StagedEntry { path, what })
}

/// Fails unless the deepest path that the profile lists above this one is of `read`.
fn is_shown(path: &PlanPath, profile: &Profile) -> Result<(), String> {
    let text = path.to_string();
    let is_above = |listed: &str| Path::new(&text).starts_with(listed);
    let others = [
        &profile.write,
        &profile.exec,
        &profile.devices,
        &profile.sockets,
    ];
    let others = others
        .into_iter()
        .flatten()
        .map(|listed| listed.path.as_str());
    let others = others.chain(profile.scratch.iter().map(String::as_str));
    let read = profile.read.iter().map(|listed| listed.path.as_str());
    let depth =
        |all: &mut dyn Iterator<Item = &str>| all.filter(|it| is_above(it)).map(str::len).max();
    let (read, other) = (depth(&mut read.into_iter()), depth(&mut others.into_iter()));
    match read.is_some() && read > other {
        true => Ok(()),
        false => Err(format!(
            "its profile '{}' does not list it in 'read'",
            profile.name
        )),
    }
}
