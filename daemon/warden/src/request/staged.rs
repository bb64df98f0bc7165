//! The files of a plan as a check sees them: what the child of its job shows at their paths.
//!
//! **Invariant:** each path is beneath one that the profile lists in `read`, so nobody runs or writes what is shown.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::Path;

use remit_common::refusal::{Code, Refusal};
use remit_plan::{Bundle, Change, Metadata, New, PlanPath, View};
use remit_policy::{Command, Profile};
use remit_spawn::{Owner, Staged, StagedAs, StagedEntry};

use crate::request::Call;

/// Returns the files of the call's plan, if its command checks plans and it has one. Errors: `invalid_args`: a path that
/// the profile does not show, a change of mode or owner alone; `not_started`: no memory.
pub fn of(call: &Call, command: Option<&Command>) -> Result<Option<OwnedFd>, Refusal> {
    let Some(command) = command.filter(|command| command.checks_plans()) else {
        return Ok(None);
    };
    match call.file_change() {
        Some(Ok(bundle)) => seal(bundle, command).map(Some),
        // `file_change::check` refuses the first.
        Some(Err(_)) | None => Ok(None),
    }
}

fn seal(bundle: &Bundle, command: &Command) -> Result<OwnedFd, Refusal> {
    let mut bytes = Vec::new();
    let entries = bundle.views().map(|view| {
        is_shown(&view.entry.path, &command.profile).map_err(|why| cannot(&view, command, &why))?;
        staged(&view, &mut bytes).map_err(|why| cannot(&view, command, why))
    });
    let entries = entries.collect::<Result<Vec<_>, _>>()?;
    Staged::seal(&entries, &bytes).map_err(|error| {
        let text = format!("cannot keep the files of the plan: {error}");
        Refusal::new(Code::NotStarted, text)
    })
}

fn cannot(view: &View<'_>, command: &Command, why: &str) -> Refusal {
    let (path, name) = (&view.entry.path, &command.name);
    Refusal::new(
        Code::InvalidArgs,
        format!("{name} cannot check the change of '{path}': {why}"),
    )
    .object(path.to_string())
    .next("plan these changes apart from the others, or ask for them without this check")
}

fn staged(view: &View<'_>, bytes: &mut Vec<u8>) -> Result<StagedEntry, &'static str> {
    let change = &view.entry.change;
    if change.uploaded().is_some() {
        return Err("its content was uploaded, and a check sees only what is in the plan");
    }
    let (start, content) = (bytes.len() as u64, view.new.unwrap_or_default());
    let length = content.len() as u64;
    bytes.extend_from_slice(content);
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
    let path = view.entry.path.as_bytes();
    let path = CString::new(path.strip_prefix(b"/").unwrap_or(path));
    let path = path.map_err(|_| "its name has a NUL")?;
    Ok(StagedEntry { path, what })
}

fn owner(meta: Metadata) -> Owner {
    Owner {
        uid: meta.uid,
        gid: meta.gid,
        mode: meta.mode,
    }
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
