//! `remit plan` shows a plan of edits, or of what a program changed in a copy of the machine, and has it checked; `remit
//! change --plan` commits a plan, `remit undo` undoes that.
//! Checks are named commands that see the files as they will be. Whatever they say, the plan stays as it is.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nix::unistd::{Group, User};
use remit_common::caps;
use remit_common::inspect::EXTRACTED_JOB;
use remit_common::outcome::Ending;
use remit_common::refusal::{Code, Refusal};
use remit_edit::{Action, Edit, Replacement};
use remit_plan::{OLD_BYTES, PlanPath, Upload, is_read};
use remit_wire::edits::{
    self, Accounts, CHECKS, CONTENTS, CallText, EXTRACT, EditText, OwnerName, PLAN, PLAN_PRIVATE,
    UNDO,
};
use remit_wire::outcome::JobReport;
use remit_wire::{Bytes, Purpose, Reply, Request, Run};

use super::input::{bounded, conflict, file_of, usage};
use super::job::own_id;
use super::plan_check::run_checks;
use super::plan_output::{bundle, follow, own, request};
use super::{run, transfer};
use crate::args::{CopyArgs, PlanArgs, PlanDropArgs, PlanShowArgs, PlanVerb, UndoArgs};
use crate::client::ctrl_c::Interrupt;
use crate::client::follow::Streams;
use crate::client::user_socket::Daemon;
use crate::error::{Exit, Failure};
use crate::render::output::{self, Context, Form};
use crate::render::{job_end, plan as page, units};

pub fn plan(context: &Context, mut args: PlanArgs) -> Result<Exit, Failure> {
    match args.verb {
        Some(PlanVerb::Show(args)) => return show(context, args),
        Some(PlanVerb::Drop(args)) => return drop_copy(context, &args),
        None => {}
    }
    let checks = std::mem::take(&mut args.check);
    if checks.len() > CHECKS {
        let why = format!("'--check' can be given {CHECKS} times at most");
        return Err(usage(&why));
    }
    if args.copy.is_asked() {
        return on_copy(context, args.copy, &checks);
    }
    let name = match args.private {
        true => PLAN_PRIVATE,
        false => PLAN,
    };
    let (requested, files) = requested(args)?;
    for (upload, mut file) in files {
        transfer::send(&context.runtime, upload, &mut file)?;
    }
    transfer::check_edits(&context.runtime, &requested)?;
    let edits = edits::encode(requested);
    if edits.len() > caps::STDIN {
        let (length, most) = (edits.len(), caps::STDIN);
        let why = format!("the edits have {length} bytes, and at most {most} can be planned");
        let refusal = Refusal::new(Code::TooLarge, why).next("split them into several plans");
        return Err(Failure::Input(refusal));
    }
    let mut daemon = Daemon::connect(&context.runtime)?;
    let interrupt = Interrupt::watch(context.runtime.socket())?;
    let making = request(name, Vec::new(), Purpose::Use, Some(edits.into()));
    planned(context, &mut daemon, &interrupt, making, &checks)
}

/// Runs a program on a copy of the machine, and passes on its output. Only if it ends well, there is a plan.
fn on_copy(context: &Context, args: CopyArgs, checks: &[CallText]) -> Result<Exit, Failure> {
    let mut daemon = Daemon::connect(&context.runtime)?;
    let interrupt = Interrupt::watch(context.runtime.socket())?;
    let job = match &args.job {
        Some(id) => own_id(&mut daemon, id)?,
        None => {
            let report = run::streamed(&mut daemon, &interrupt, run::on_copy(args)?)?;
            if interrupt.ended() || !is_planned(&report) {
                output::note("it did not end well: its copy is gone, and there is no plan");
                return Ok(match Exit::of_job(&report) {
                    Exit::OK => Exit::INTERRUPTED,
                    exit => exit,
                });
            }
            interrupt.watch_next();
            report.job
        }
    };
    let named = vec![(EXTRACTED_JOB.to_owned(), job.to_string())];
    let making = request(EXTRACT, named, Purpose::Use, None);
    planned(context, &mut daemon, &interrupt, making, checks)
}

/// Has a job make a plan, shows it, and runs its checks.
fn planned(
    context: &Context,
    daemon: &mut Daemon,
    interrupt: &Interrupt,
    making: Run,
    checks: &[CallText],
) -> Result<Exit, Failure> {
    let report = run::ended(daemon, interrupt, making)?;
    let job = report.job;
    let is_pressed = interrupt.ended();
    if !is_planned(&report) {
        Streams::both(0, 0).rest(daemon, &report)?;
        job_end::notes(&report);
        return Ok(match Exit::of_job(&report) {
            Exit::OK => Exit::REFUSED,
            exit => exit,
        });
    }
    let bundle = bundle(daemon, job)?;
    Streams::errors().rest(daemon, &report)?;
    if context.form == Form::Text {
        output::unfolded(&page::page(job, &bundle, None))?;
    }
    let (exit, outcomes) = match is_pressed && !checks.is_empty() {
        true => (Exit::INTERRUPTED, Vec::new()),
        false => run_checks(context.form, daemon, interrupt, &bundle, checks)?,
    };
    if context.form == Form::Json {
        output::json(&page::json(job, &bundle, outcomes))?;
    }
    Ok(exit)
}

fn show(context: &Context, args: PlanShowArgs) -> Result<Exit, Failure> {
    let (mut daemon, job) = own(context, &args.id)?;
    let bundle = bundle(&mut daemon, job)?;
    let path = args.path.as_deref();
    if let Some(path) = path
        && !bundle
            .plan()
            .entries()
            .iter()
            .any(|entry| entry.path.as_bytes() == path.as_os_str().as_bytes())
    {
        let why = format!("the plan does not change '{}'", path.display());
        return Err(Failure::Input(Refusal::new(Code::NotFound, why)));
    }
    match context.form {
        Form::Json => output::json(&page::json(job, &bundle, Vec::new()))?,
        Form::Text => output::unfolded(&page::page(job, &bundle, path))?,
    }
    Ok(Exit::OK)
}

fn drop_copy(context: &Context, args: &PlanDropArgs) -> Result<Exit, Failure> {
    let (mut daemon, job) = own(context, &args.id)?;
    let Reply::Dropped(bytes) = daemon.call(Request::DropCopy { job })? else {
        return Err(Failure::off_protocol());
    };
    match context.form {
        Form::Json => output::json(&serde_json::json!({ "job_id": job, "bytes": bytes }))?,
        Form::Text => output::text(&format!(
            "dropped: the copy of job {}, {} of memory\n",
            job.short(),
            units::bytes(bytes)
        ))?,
    }
    Ok(Exit::OK)
}

pub fn undo(context: &Context, args: UndoArgs) -> Result<Exit, Failure> {
    let UndoArgs {
        id,
        with_contents,
        then,
        reason,
        request_id,
        no_wait,
    } = args;
    let asked = then.len();
    let contents = with_contents.then(|| (CONTENTS.to_owned(), true.to_string()));
    let args = [("id".to_owned(), id)].into_iter().chain(contents);
    let args = args.chain(follow(then));
    let run = Run {
        request_id,
        ..request(UNDO, args.collect(), Purpose::Change { reason }, None)
    };
    let report = match no_wait {
        true => run::start_detached(context, run)?,
        false => run::run_attached(context, run)?,
    };
    Ok(run::exit(&report, asked))
}

fn is_planned(report: &JobReport) -> bool {
    report.ending.as_ref().is_some_and(Ending::has_succeeded)
}

struct Local;

impl Accounts for Local {
    fn uid(&self, name: &str) -> Option<u32> {
        Some(User::from_name(name).ok()??.uid.as_raw())
    }

    fn gid(&self, name: &str) -> Option<u32> {
        Some(Group::from_name(name).ok()??.gid.as_raw())
    }
}

/// Edits by path. A path has one action, and a mode and an owner beside it.
#[derive(Default)]
struct EditsByPath(BTreeMap<Vec<u8>, Edit>);

impl EditsByPath {
    fn edit_at(&mut self, path: &OsStr) -> Result<&mut Edit, Failure> {
        let path = PlanPath::new(path.as_bytes())
            .map_err(|error| usage(&format!("'{}': {error}", Path::new(path).display())))?;
        let edit = self.0.entry(path.as_bytes().to_vec());
        Ok(edit.or_insert_with(|| edits::keep(path)))
    }

    fn act(&mut self, path: &OsStr, action: Action) -> Result<(), Failure> {
        let edit = self.edit_at(path)?;
        match (&mut edit.action, action) {
            (Action::Replace(list), Action::Replace(more)) => list.extend(more),
            (Action::Keep, action) => edit.action = action,
            (_, Action::Keep) => {}
            (_, _) => return Err(edited_twice(path)),
        }
        Ok(())
    }

    /// Adds an edit to those of its path. Fails if they contradict each other.
    fn add(&mut self, edit: Edit) -> Result<(), Failure> {
        let Edit {
            path,
            action,
            mode,
            uid,
            gid,
            base_sha256,
            create_only,
        } = edit;
        let path = OsStr::from_bytes(path.as_bytes());
        self.act(path, action)?;
        let known = self.edit_at(path)?;
        known.create_only |= create_only;
        let agrees = [
            merge(&mut known.mode, mode),
            merge(&mut known.uid, uid),
            merge(&mut known.gid, gid),
            merge(&mut known.base_sha256, base_sha256),
        ];
        match agrees.contains(&false) {
            true => Err(edited_twice(path)),
            false => Ok(()),
        }
    }
}

/// Returns false if something else is known.
fn merge<T: PartialEq>(known: &mut Option<T>, new: Option<T>) -> bool {
    match (&known, new) {
        (_, None) => true,
        (Some(known), Some(new)) => *known == new,
        (None, new) => {
            *known = new;
            true
        }
    }
}

fn edited_twice(path: &OsStr) -> Failure {
    let path = Path::new(path).display();
    usage(&format!("'{path}' is edited twice; make two plans"))
}

/// Edits, and the files of those that are uploads.
type Requested = (Vec<Edit>, Vec<(Upload, File)>);

fn requested(args: PlanArgs) -> Result<Requested, Failure> {
    let is_input = |file: &&Path| *file == Path::new("-");
    let written = args.write.chunks(2).filter_map(|pair| pair.get(1));
    let files = written.chain(&args.patch).chain(&args.edits);
    if files.map(PathBuf::as_path).filter(is_input).count() > 1 {
        return Err(conflict("one file ('-')", "another"));
    }
    let (mut edits, mut sent) = (EditsByPath::default(), Vec::new());
    if let Some(file) = &args.edits {
        let bytes = content("edits", file)?;
        let list: Vec<EditText> = serde_json::from_slice(&bytes).map_err(|error| {
            usage(&format!(
                "'{}' is no list of edits: {error}",
                file.display()
            ))
        })?;
        for text in list {
            let edit = text.edit(&Local, |text| STANDARD.decode(text).ok());
            edits.add(edit.map_err(|why| usage(&why))?)?;
        }
    }
    for pair in args.write.chunks(2) {
        if let [path, file] = pair {
            if let Some((upload, file)) = large(path, file)? {
                edits.act(path.as_os_str(), Action::Upload(upload))?;
                sent.push((upload, file));
                continue;
            }
            let bytes = content("content", file)?.into_vec();
            edits.act(path.as_os_str(), Action::Write(bytes))?;
        }
    }
    for pair in args.upload.chunks(2) {
        if let [path, upload] = pair {
            let upload = upload.to_string_lossy().parse();
            let upload = upload.map_err(|why: String| usage(&why))?;
            edits.act(path, Action::Upload(upload))?;
        }
    }
    for three in args.replace.chunks(3) {
        if let [path, old, new] = three {
            let replacement = Replacement {
                old: old.as_bytes().to_vec(),
                new: new.as_bytes().to_vec(),
                count: args.count.unwrap_or(1),
            };
            edits.act(path, Action::Replace(vec![replacement]))?;
        }
    }
    for file in &args.patch {
        let name = file.display();
        let parts = edits::split_patch(&content("patch", file)?)
            .map_err(|why| usage(&format!("'{name}': {why}")))?;
        for edit in parts {
            edits.add(edit)?;
        }
    }
    for path in args.remove {
        edits.act(path.as_os_str(), Action::Remove)?;
    }
    for path in args.mkdir {
        edits.act(path.as_os_str(), Action::CreateDirectory)?;
    }
    for pair in args.link.chunks(2) {
        if let [path, target] = pair {
            edits.act(path, Action::Link(target.as_bytes().to_vec()))?;
        }
    }
    for pair in args.mode.chunks(2) {
        if let [path, mode] = pair {
            let mode = edits::mode(&mode.to_string_lossy()).map_err(|why| usage(&why))?;
            edits.edit_at(path)?.mode = Some(mode);
        }
    }
    for pair in args.owner.chunks(2) {
        if let [path, owner] = pair {
            let (uid, gid) = owners(&owner.to_string_lossy()).map_err(|why| usage(&why))?;
            let edit = edits.edit_at(path)?;
            (edit.uid, edit.gid) = (uid.or(edit.uid), gid.or(edit.gid));
        }
    }
    Ok((edits.0.into_values().collect(), sent))
}

/// Opens a file that is too long to be shown to an approver, and names its bytes. They may have to be shown all the same.
fn large(to: &Path, path: &Path) -> Result<Option<(Upload, File)>, Failure> {
    let is_large = |meta: Metadata| meta.is_file() && meta.len() > OLD_BYTES;
    let is_shown = PlanPath::new(to.as_os_str().as_bytes()).is_ok_and(|to| is_read(&to, u64::MAX));
    if path == Path::new("-") || is_shown || !fs::metadata(path).is_ok_and(is_large) {
        return Ok(None);
    }
    let mut file = transfer::opened(path)?;
    Ok(Some((transfer::name(path, &mut file)?, file)))
}

/// `USER`, `USER:GROUP` or `:GROUP`.
fn owners(text: &str) -> Result<(Option<u32>, Option<u32>), String> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let account = |name: &str| OwnerName::Name(name.to_owned());
    let user = (!user.is_empty()).then(|| account(user).uid(&Local));
    let group = group.map(|group| account(group).gid(&Local));
    match (user.transpose()?, group.transpose()?) {
        (None, None) => Err("the owner is empty".to_owned()),
        both => Ok(both),
    }
}

fn content(what: &str, file: &Path) -> Result<Bytes, Failure> {
    match file == Path::new("-") {
        true => bounded(&mut io::stdin(), "standard input", caps::STDIN),
        false => file_of(what, file, caps::STDIN),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::args::{Cli, Verb};

    /// Plans this list of edits, and these options.
    fn made(list: &str, more: &[&str]) -> Result<Vec<Edit>, Failure> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let file =
            std::env::temp_dir().join(format!("remit-edits-{}-{number}", std::process::id()));
        fs::write(&file, list).unwrap();
        let words = ["remit", "plan", "--edits", file.to_str().unwrap()];
        let words: Vec<OsString> = words.iter().chain(more).map(OsString::from).collect();
        let Verb::Plan(args) = Cli::read(&words).unwrap().verb else {
            panic!("it is a plan");
        };
        let made = requested(args);
        fs::remove_file(&file).unwrap();
        made.map(|(edits, _)| edits)
    }

    #[test]
    fn edits_of_one_path_are_all_kept_or_refused() {
        let sha = "ab".repeat(32);
        let whole = format!(r#""write":"x","owner":7,"base_sha256":"{sha}","create_only":true"#);
        let edit = Edit {
            action: Action::Write(b"x".to_vec()),
            mode: Some(0o640),
            uid: Some(7),
            gid: Some(8),
            base_sha256: Some([0xab; 32]),
            create_only: true,
            ..edits::keep(PlanPath::new(b"/srv/a").unwrap())
        };
        let mode = r#""mode":"0640","group":8"#;
        for (one, other) in [(whole.as_str(), mode), (mode, whole.as_str())] {
            let list = format!(r#"[{{"path":"/srv/a",{one}}},{{"path":"/srv/a",{other}}}]"#);
            let made = made(&list, &[]).unwrap();
            assert_eq!(made, std::slice::from_ref(&edit), "{list}");
        }
        let list = format!(r#"[{{"path":"/srv/a",{whole},"mode":"0640"}}]"#);
        let made_with = made(&list, &["--owner", "/srv/a", ":8"]).unwrap();
        assert_eq!(made_with, [edit]);
        let other_sha = format!(r#""base_sha256":"{}""#, "cd".repeat(32));
        for (one, other) in [
            (whole.as_str(), r#""write":"y""#),
            (&whole, r#""mode":"0644","owner":8"#),
            (mode, r#""mode":"0644""#),
            (mode, r#""mode":"0640","group":9"#),
            (&whole, &format!(r#""mode":"0640",{other_sha}"#)),
        ] {
            let list = format!(r#"[{{"path":"/srv/a",{one}}},{{"path":"/srv/a",{other}}}]"#);
            let said = format!("{:?}", made(&list, &[]).unwrap_err());
            assert!(said.contains("'/srv/a' is edited twice"), "{list}: {said}");
        }
    }
}
