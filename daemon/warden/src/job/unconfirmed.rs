//! Takes confirmations of commits, and ends of the undos of those that nobody confirmed.
//!
//! **Invariant:** a confirmation is on the disk before it is answered.

use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use remit_common::admin::AdminReply;
use remit_common::id_prefix::IdPrefix;
use remit_common::names::JobId;
use remit_common::outcome::{Ending, FollowUp};
use remit_common::refusal::{Code, Refusal};
use remit_common::signed::Signed;
use remit_common::text;
use remit_link::{Owner, ToBroker};
use remit_plan::{Journal, Phase};
use remit_trail::RecordVerdict;

use crate::audit::{Event, Record, unrecorded};
use crate::event_loop::timers;
use crate::identity::peer::Subject;
use crate::job::confirmation::{
    ConfirmStage, Unconfirmed, UndoStage,
    store::{choose, clocks},
    view::with_note,
};
use crate::job::context::JobCx;
use crate::request::{file_change, with_subject};
use crate::service::log::{self, Weight};

/// Bytes of a command line in an answer: that of an undo with as many commands as can follow is shorter.
const LINE: usize = 4 << 10;

/// Returns the phase of a commit's journal; `None` if there is no journal.
pub fn phase(directory: &str, commit: &str) -> io::Result<Option<Phase>> {
    let file = match file_change::open_journal(Path::new(directory), commit) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut start = Vec::new();
    file.take(Journal::HEAD as u64).read_to_end(&mut start)?;
    let phase = Journal::phase_of(&start);
    phase
        .map(Some)
        .map_err(|error| io::Error::other(error.to_string()))
}

/// Notes that the commands are over that follow a job. Returns what the requester of a commit has to know.
pub fn on_acts_over(cx: &mut JobCx<'_>, job: JobId, then: &[FollowUp]) -> Option<String> {
    let all = &mut cx.confirmations.all;
    let of_undo = |one: &&mut Unconfirmed| matches!(one.stage, ConfirmStage::Following { job: undo, .. } if undo == job);
    let Some(one) = all.iter_mut().find(of_undo) else {
        if let Some(one) = all.iter_mut().find(|one| one.undone_by == Some(job)) {
            one.on_carried_over(then);
            // What is left of its commands follows now.
            cx.confirmations.is_settled = true;
            cx.confirmations.save_or_say();
            return None;
        }
        let one = all.iter_mut().find(|one| one.job == job)?;
        let note = one.on_acts_over(then, clocks());
        cx.confirmations.save_or_say();
        return note;
    };
    match then.iter().find(|one| !one.has_succeeded()) {
        None => {
            one.then.clear();
            match one.undo == UndoStage::Parted {
                true => {
                    one.on_final();
                    let one = one.clone();
                    cx.confirmations.save_or_say();
                    report_failure(cx, &one);
                }
                false => {
                    let one = one.clone();
                    forget(cx, &one);
                }
            }
        }
        Some(act) => {
            let why = format!("it is undone, but not '{}': {}", act.command, act.cause);
            one.on_acts_failed(then);
            one.on_undo_failed(&why, timers::since_boot());
            let one = one.clone();
            cx.confirmations.save_or_say();
            report_failure(cx, &one);
        }
    }
    None
}

/// Handles the recorded end of a job, which may be the undo of a commit.
pub fn on_recorded(cx: &mut JobCx<'_>, job: JobId, ending: &Ending) {
    if let Some(one) = cx.confirmations.on_undo_end(job, ending) {
        report_failure(cx, &one);
    }
}

pub fn report_failure(cx: &mut JobCx<'_>, one: &Unconfirmed) {
    let line = format!(
        "{}; look at its paths, then undo it by hand, or keep it: {}",
        one.sentence(clocks()),
        one.command()
    );
    log::beside(&cx.reports.audit, Weight::Error, format_args!("{line}"));
    let verdict = match one.undo {
        UndoStage::Parted => RecordVerdict::UndonePartly,
        _ => RecordVerdict::Failed,
    };
    let record = record(cx, Event::Unconfirmed, line, one).with_error_priority();
    let record = record.field("VERDICT", verdict.name());
    cx.reports.audit.note(record);
    note_end(cx, one.job, &one.sentence(clocks()));
}

/// Replaces what the ended job of a commit says of its confirmation: for its requester, the next broker and the next daemon.
fn note_end(cx: &mut JobCx<'_>, job: JobId, note: &str) {
    let is_held = cx.acts.set_note(job, |before| with_note(before, note));
    let set = |before: Option<&str>| Some(with_note(before, note));
    let Some(meta) = cx.jobs.set_note(job, set) else {
        return;
    };
    // Its end is reported and on the disk once the commands are over that follow it.
    if is_held {
        return;
    }
    cx.ledger.end(job, &meta, None);
    cx.ledger.recorded(job);
    if let Some(ending) = meta.ending {
        cx.reports.tell(&ToBroker::Ended {
            job,
            enforced: None,
            ending: Box::new(ending),
            visibility: None,
            then: meta.then,
        });
    }
}

/// Replaces what the jobs of commits to be confirmed said before a restart of remitd.
pub fn note_restored(cx: &mut JobCx<'_>) {
    let now = clocks();
    let all = cx.confirmations.all.iter();
    let notes: Vec<(JobId, String)> = all.map(|one| (one.job, one.restored_note(now))).collect();
    for (job, note) in notes {
        note_end(cx, job, &note);
    }
}

/// Forgets a commit that nobody has to confirm any more: it was undone, or taken back.
pub fn forget(cx: &mut JobCx<'_>, one: &Unconfirmed) {
    let message = format!(
        "commit {} of {} is not there any more: it was undone or taken back",
        one.commit, one.user
    );
    let record = record(cx, Event::Unconfirmed, message, one);
    let record = record.field("VERDICT", RecordVerdict::Undone.name());
    cx.reports.audit.note(record);
    cx.confirmations.remove(one.job);
    note_end(cx, one.job, &one.undone_note(clocks()));
}

pub fn record(cx: &JobCx<'_>, event: Event, message: String, one: &Unconfirmed) -> Record {
    Record::new(event, message)
        .field("JOB", one.job.to_string())
        .field("COMMIT", &one.commit)
        .number("UID", one.uid)
        .field("USER", &one.user)
        .for_history(requester(one), Some(one.job), command(cx, one))
}

/// The command that made the commit. `None`: its job is forgotten.
fn command<'a>(cx: &'a JobCx<'_>, one: &Unconfirmed) -> Option<&'a str> {
    let job = cx.jobs.ended().find(|meta| meta.job == one.job)?;
    Some(&job.command)
}

fn requester(one: &Unconfirmed) -> Owner {
    Owner {
        uid: one.uid,
        user: one.user.clone(),
    }
}

/// Keeps a commit for good, for an administrator whose session began then and who has these groups now.
pub fn confirm(
    cx: &mut JobCx<'_>,
    (by, gids): (&Subject, &[u32]),
    session: Result<Duration, Refusal>,
    id: Option<&str>,
) -> AdminReply {
    match try_confirm(cx, (by, gids), session, id) {
        Ok(sentence) => AdminReply::Done(sentence),
        Err(refusal) => cx.reports.refuse(by, refusal),
    }
}

fn try_confirm(
    cx: &mut JobCx<'_>,
    (by, gids): (&Subject, &[u32]),
    session: Result<Duration, Refusal>,
    id: Option<&str>,
) -> Result<String, Refusal> {
    let id = id
        .map(str::parse::<IdPrefix>)
        .transpose()?
        .map(String::from);
    let mut one = choose(cx.confirmations.all.iter(), id.as_deref())?.clone();
    one.may_confirm(by, gids, session)?;
    // Its journal says so only once all paths are opened and compared.
    if let Some(job) = cx.jobs.undo_of(&one.commit) {
        let (commit, job) = (one.short(), job.short());
        let text = format!("not confirmed: job {job} undoes commit {commit}");
        let next = "if the undo fails, confirm it again";
        return Err(Refusal::new(Code::Busy, text).next(next));
    }
    let unsaved = |one: &Unconfirmed, why: String| {
        let text = format!(
            "not confirmed, commit {} is still undone: {why}",
            one.short()
        );
        Refusal::new(Code::NotStarted, text)
    };
    let phase = phase(&cx.confirmations.directory, &one.commit)
        .map_err(|error| unsaved(&one, format!("cannot read its journal: {error}")))?;
    match one.saw(phase) {
        UndoStage::Done | UndoStage::Parted if one.has_to_follow() && one.due_at().is_some() => {
            let text = format!("commit {} is undone, and commands follow that", one.short());
            return Err(Refusal::new(Code::Busy, text).next("try again in a moment"));
        }
        UndoStage::Done => {
            forget(cx, &one);
            let text = format!(
                "commit {} is not there any more: it was undone",
                one.short()
            );
            return Err(Refusal::new(Code::NotFound, text));
        }
        UndoStage::Kept | UndoStage::Lost | UndoStage::Parted => {}
        // Complete, but its last step was cut off.
        UndoStage::Started if phase == Some(Phase::Done) => {}
        UndoStage::Started => {
            let text = format!(
                "commit {} was interrupted and is being recovered",
                one.short()
            );
            return Err(Refusal::new(Code::Busy, text).next("try again in a moment"));
        }
    }
    let unsigned = match one.signed {
        Some(_) => ", by a login: only its approval was signed",
        None => "",
    };
    let stays = match one.may_be_undone_partly() {
        true => "its undo ends, and some of its paths may be undone",
        false => "it stays",
    };
    let message = format!(
        "{} confirms commit {} of {} [{}]: {stays}{unsigned}",
        by.user(),
        one.commit,
        one.user,
        one.job.short()
    );
    // Before it is saved: a kill leaves one that is recorded and still undone, and never one that stays without a record.
    let confirmed = with_subject(Record::new(Event::Confirmed, message), by, None)
        .field("JOB", one.job.to_string())
        .field("COMMIT", &one.commit)
        .field("OF", &one.user)
        .maybe("SIGNED", one.signed.map(Signed::as_str))
        .for_history(requester(&one), Some(one.job), command(cx, &one));
    let written = cx.reports.audit.write(confirmed);
    written.map_err(|why| unrecorded(&why))?;
    let before = cx.confirmations.all.clone();
    cx.confirmations.all.retain(|other| other.job != one.job);
    if let Err(error) = cx.confirmations.save_or_keep(before) {
        let refusal = unsaved(&one, format!("that cannot be saved: {error}"));
        let record = record(cx, Event::Unconfirmed, refusal.message.clone(), &one);
        let record = record
            .with_error_priority()
            .field("VERDICT", RecordVerdict::NotConfirmed.name());
        cx.reports.audit.note(record);
        return Err(refusal);
    }
    note_end(cx, one.job, &format!("confirmed by {}", by.user()));
    let later = match one.undo {
        UndoStage::Lost => "It cannot be undone: its undo is gone".to_owned(),
        UndoStage::Parted => "It was undone, but for what somebody else had changed".to_owned(),
        _ => {
            // Nothing follows an undo of a confirmed commit by itself.
            let then = one.then.iter().flat_map(|call| ["--then", call]);
            let line = ["remit", "undo", &one.commit, "-m", "WHY"];
            let line: Vec<&str> = line.into_iter().chain(then).collect();
            format!("To undo it later: {}", text::command_line(&line, LINE))
        }
    };
    Ok(format!(
        "confirmed; commit {}: {stays}. {later}",
        one.commit
    ))
}
