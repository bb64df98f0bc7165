//! Selects what to measure of a draft, and adds the resulting copies to it.

use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Instant;

use remit_approval::{FileBinding, name_of_argument};
use remit_common::prove::{KnownAccount, PermittedCall, PermittedWhat};
use remit_common::refusal::{Code, Refusal};
use remit_common::text;
use remit_policy::{Base, PathIs};

use crate::approval::accepted::AcceptedSignatures;
use crate::approval::file_hash::{
    self, AsFound, FileFound, Measuring, ReaderIdentity, Wanted, Word,
};
use crate::approval::opens::{ChangeOfFiles, OpensWanted};
use crate::event_loop::epoll::{Interest, Reactor, Token};
use crate::event_loop::timers::Timer;
use crate::identity::accounts::Question;
use crate::identity::peer::Subject;
use crate::job::table::Jobs;
use crate::request::{BoundAct, BoundCall, Draft, Passed, SlotWhat};
use crate::service::prover::Situation;

/// Bytes of the argv of a command that follows.
const ACT: usize = 1024;

pub fn copied<'a>(bound: &BoundCall, files: &'a [FileFound]) -> Vec<(usize, &'a FileFound)> {
    let slots = bound.slots.iter().filter(|slot| {
        let pass = match &slot.what {
            SlotWhat::Path { pass, .. } => Some(pass),
            SlotWhat::Secret(_) => None,
        };
        matches!(pass, Some(Passed::Copy(_)))
    });
    let found = slots.filter_map(|slot| {
        let what = name_of_argument(slot.index);
        let is = |file: &&FileFound| file.held == FileBinding::Copied && file.what == what;
        Some((slot.index, files.iter().find(is)?))
    });
    found.collect()
}

/// Replaces files by their copies: the job gets what is approved. Fails if the copies are too large or one is missing.
pub fn hold_copies(
    jobs: &Jobs,
    draft: &mut Draft,
    measuring: Measuring,
    found: AsFound,
) -> Result<AsFound, Refusal> {
    let copied = found
        .files
        .iter()
        .filter(|file| file.held == FileBinding::Copied);
    let bytes = copied
        .map(|file| file.measured.size)
        .fold(0, u64::saturating_add);
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    draft.held = draft.held.saturating_add(bytes);
    jobs.check_requests_bytes(draft.requester.subject.uid(), draft.held)?;
    let copies = measuring
        .into_copies(&found.files)
        .map_err(|why| Refusal::new(Code::NotStarted, why))?;
    for (at, copy) in copies {
        draft.bound.hold_copy(at, copy);
    }
    Ok(found)
}

impl Wanted {
    pub fn start(&self, reactor: &mut Reactor, serial: u64) -> Result<Measuring, Refusal> {
        self.start_with(reactor, serial, None)
    }

    /// `opens`: also asks which ways to root it opens.
    pub fn start_with(
        &self,
        reactor: &mut Reactor,
        serial: u64,
        opens: Option<&OpensWanted<'_>>,
    ) -> Result<Measuring, Refusal> {
        let measuring = Measuring::start(self, opens);
        watched(measuring, reactor, serial, "cannot hash its files")
    }
}

/// Looks the people up that a job rests on, and the keys of `accepted`, before it starts. Fails if nothing can be forked.
pub fn look_up_again(
    question: &Question,
    accepted: Option<&AcceptedSignatures>,
    reactor: &mut Reactor,
    serial: u64,
) -> Result<Measuring, Refusal> {
    let measuring = Measuring::of_people(question, accepted);
    watched(measuring, reactor, serial, "cannot look up accounts")
}

fn watched(
    started: Result<Measuring, String>,
    reactor: &mut Reactor,
    serial: u64,
    cannot: &str,
) -> Result<Measuring, Refusal> {
    let cannot = |why: String| Refusal::new(Code::NotStarted, format!("{cannot}: {why}"));
    let measuring = started.map_err(cannot)?;
    reactor
        .add(measuring.fd(), Token::Measuring(serial), Interest::Read)
        .map_err(|error| cannot(error.to_string()))?;
    let patience = measuring.end.saturating_duration_since(Instant::now());
    reactor.timers.add(patience, Timer::Measuring(serial));
    Ok(measuring)
}

pub fn wanted(draft: &Draft) -> Wanted {
    let bound = &draft.bound;
    let subject = &draft.requester.subject;
    let argv = bound.argv.iter().enumerate().map(|(at, element)| {
        let slot = bound.slots.iter().find(|slot| slot.index == at);
        match slot.map(|slot| &slot.what) {
            Some(SlotWhat::Path {
                under,
                beneath,
                is,
                pass,
            }) => path_word(under, beneath, *is, pass),
            Some(SlotWhat::Secret(_)) => Word::Settled,
            None if is_script(draft, at) => Word::Settled,
            None if at == 0 || bound.literal.get(at).copied().unwrap_or(false) => {
                Word::Literal(element.clone())
            }
            None => Word::Text(element.clone()),
        }
    });
    let sandbox = bound.compiled.sandbox();
    let (uid, gid, groups, capabilities) = sandbox.identity(draft.uid.get());
    Wanted {
        argv: argv.collect(),
        path: draft.path.clone(),
        undo: bound.undo.clone(),
        acts: acts(bound),
        changed: changed(draft),
        describe: draft
            .call()
            .named()
            .and_then(|_| file_hash::asking(&bound.argv)),
        cwd: bound.cwd.clone(),
        chosen: draft.call().named().is_none(),
        text_files: match bound.compiled.base() {
            Base::Host => FileBinding::Checked,
            Base::Read | Base::Strict | Base::Plan | Base::Extract => FileBinding::Seen,
        },
        reader: ReaderIdentity {
            uid,
            gid,
            groups: groups.to_vec(),
            capabilities,
        },
        uid: subject.uid(),
        people: Question::of([subject]),
        signature: None,
        accepted: None,
    }
}

/// Returns `None` for a program that the requester chose: what it does is on the page, and nothing else knows it.
pub fn opens_wanted<'a>(draft: &'a Draft, situation: Situation<'a>) -> Option<OpensWanted<'a>> {
    let call = draft.call();
    let files = change_of_files(draft);
    let subject = &draft.requester.subject;
    let permitted = |name: &str, args: &[(String, String)]| {
        PermittedWhat::Call(PermittedCall {
            uid: subject.uid(),
            command: name.to_owned(),
            args: args.to_vec(),
        })
    };
    let acts = draft.bound.acts.iter();
    let acts = acts.map(|one| permitted(&one.act.command.name, &one.act.args));
    let own = call.named().filter(|_| files.is_none());
    let own = own.map(|name| permitted(name, call.args()));
    let calls: Vec<PermittedWhat> = own.into_iter().chain(acts).collect();
    (files.is_some() || !calls.is_empty()).then(|| OpensWanted {
        situation,
        files,
        calls,
        requester: known(subject),
    })
}

fn change_of_files(draft: &Draft) -> Option<ChangeOfFiles<'_>> {
    match (draft.call().file_change(), &draft.bound.undo) {
        (Some(Ok(bundle)), _) if draft.bound.staged.is_some() => Some(ChangeOfFiles::Check(bundle)),
        (Some(Ok(bundle)), _) => Some(ChangeOfFiles::Commit(bundle, journals(&draft.bound))),
        (_, Some(undo)) => Some(ChangeOfFiles::Undo(undo)),
        (Some(Err(_)) | None, None) => None,
    }
}

/// Returns the directory with the journals, which the argv of a commit has.
fn journals(commit: &BoundCall) -> Option<&Path> {
    let directory = commit.argv.get(2)?;
    Some(Path::new(OsStr::from_bytes(directory.as_bytes())))
}

fn known(subject: &Subject) -> KnownAccount {
    KnownAccount {
        name: subject.user().to_owned(),
        uid: subject.uid(),
        gids: subject.gids().to_vec(),
    }
}

/// Returns the paths that a commit changes, if commands follow it.
fn changed(draft: &Draft) -> Option<Vec<u8>> {
    let bundle = draft.call().file_change()?.ok()?;
    let is_followed = !draft.bound.acts.is_empty();
    is_followed.then(|| remit_common::changed::encode(&bundle.changed_paths()))
}

/// Those of the daemon come last: an approver has read on the page of the commit what they do.
fn acts(bound: &BoundCall) -> Vec<(String, Option<Vec<CString>>)> {
    let own = bound.after_undo.iter().map(|text| {
        let line = format!(
            "then remitd runs '{text}', which has followed the commit, unless that is confirmed before its undo"
        );
        (line, None)
    });
    bound.acts.iter().map(act).chain(own).collect()
}

fn act(BoundAct { act, bound }: &BoundAct) -> (String, Option<Vec<CString>>) {
    let sandbox = match bound.compiled.base() {
        Base::Host => "without a sandbox".to_owned(),
        Base::Read | Base::Strict | Base::Plan | Base::Extract => {
            format!("in the profile {}", bound.compiled.name())
        }
    };
    let argv: Vec<&[u8]> = bound.argv.iter().map(|arg| arg.as_bytes()).collect();
    let argv = text::command_line(&argv, ACT);
    let line = format!("then '{}' runs {sandbox}: {argv}", act.text());
    (line, file_hash::asking_after(&bound.argv))
}

/// The script is bound by its own content, not as an argument.
fn is_script(draft: &Draft, at: usize) -> bool {
    draft.script().is_some() && at == 1
}

fn path_word(under: &CStr, beneath: &CStr, is: PathIs, pass: &Passed) -> Word {
    let slash: &[u8] = match under.to_bytes().ends_with(b"/") || beneath.is_empty() {
        true => b"",
        false => b"/",
    };
    let whole = [under.to_bytes(), slash, beneath.to_bytes()].concat();
    match (CString::new(whole), pass) {
        (Ok(path), Passed::Text | Passed::Descriptor) => Word::Path {
            path,
            is,
            copied: matches!(pass, Passed::Descriptor),
        },
        // Neither part has a NUL byte.
        (Ok(_), Passed::Copy(_)) | (Err(_), _) => Word::Settled,
    }
}

#[cfg(test)]
mod tests {
    use remit_common::wire::Purpose;
    use remit_link::{Spec, memfd};
    use remit_policy::MachineTable;

    use super::*;
    use crate::approval::fixture::{Scene, plan_of_a_file, spec};
    use crate::request::fixture::named;

    const POLICY: &str = r##"
[[command]]
name = "plan.commit"
summary = "commits"
argv = ["/usr/libexec/remit/remit-commit", "commit", "/var/lib/remit/commits"]
effect = "change"
profile = "host"
stdin = "plan"

[[command]]
name = "site.check"
summary = "checks"
argv = ["/usr/bin/true"]
effect = "read"
profile = "site"
stdin = "plan"

[profile.site]
base = "strict"
read = ["/srv"]

[[grant]]
to = ["#64001"]
allow = ["plan.commit", "site.check"]
paths = ["/srv"]
approval = { by = ["#64002"] }
"##;

    #[test]
    fn check_of_a_plan_is_no_change_of_its_files() {
        let scene = Scene::of(POLICY, &MachineTable::default());
        let bundle = plan_of_a_file("/srv/x");
        let reason = "it is due".to_owned();
        for (name, purpose, is_commit) in [
            ("plan.commit", Purpose::Change { reason }, true),
            ("site.check", Purpose::Use, false),
        ] {
            let spec = Spec {
                stdin: true,
                ..spec(named(name, &[]), purpose)
            };
            let stdin = memfd::seal(c"stdin", bundle.as_bytes()).unwrap();
            let draft = scene.draft(spec, vec![stdin]);
            let found = match change_of_files(&draft) {
                Some(ChangeOfFiles::Commit(_, journals)) => {
                    assert_eq!(journals, Some(Path::new("/var/lib/remit/commits")));
                    Some(true)
                }
                Some(ChangeOfFiles::Check(_)) => Some(false),
                Some(ChangeOfFiles::Undo(_)) | None => None,
            };
            assert_eq!(found, Some(is_commit), "{name}");
        }
    }
}
