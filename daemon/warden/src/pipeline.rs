//! The story of one request to run something, in order.
//!
//! Each line is a step of its own, in a file of its own; a refusal at any of
//! them ends the story with a record and a sentence, and nothing has run.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use remit_common::refusal::{Code, Refusal};
use remit_link::{Answer, Spec};
use remit_policy::{Grant, Lifted, Terms};

use crate::audit::Recorded;
use crate::fault::{self, Point};
use crate::jobs::Job;
use crate::ledger::Ledger;
use crate::peer::Subject;
use crate::people::People;
use crate::plan::{Asked, Call, Draft, Plan, Requester};
use crate::waiting::Room;
use crate::walls::Ready;
use crate::warden::{Decided, Warden};

/// What became of a request.
pub enum Told {
    /// A job was started or waits for its place; the broker has it, with this ticket.
    Started,
    /// It is answered later: the trail is full for the moment, or its files are measured.
    Parked,
    /// Answered without starting anything.
    Answered(Answer),
}

/// A refusal, and what it refuses, as far as that was understood.
pub struct Refused {
    /// For the caller.
    pub refusal: Refusal,
    /// For the record.
    pub asked: Option<Rc<Asked>>,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let asked = None;
        Self { refusal, asked }
    }
}

/// Runs what a session asks for.
///
/// # Errors
/// The refusal for the caller. Nothing ran.
pub fn run(
    warden: &mut Warden,
    session: u64,
    ticket: u64,
    spec: Spec,
    fds: Vec<OwnedFd>,
) -> Result<Told, Refused> {
    let subject = warden.subject(session)?;
    let call = Call::new(spec, fds)?;
    let asked = Rc::new(warden.asked(&call));
    let requester = Requester {
        subject,
        session,
        ticket,
    };
    begun(warden, requester, call).map_err(|refusal| Refused {
        refusal,
        asked: Some(asked),
    })
}

fn begun(warden: &mut Warden, requester: Requester, call: Call) -> Result<Told, Refusal> {
    let subject: &Subject = &requester.subject;
    if let Some(job) = warden.jobs.same_request(subject.owner(), call.request())? {
        return Ok(Told::Answered(Answer::Known(job)));
    }
    warden.not_parked(subject.uid(), call.request())?;
    warden.open_for_work()?;
    warden.audit.may_write(subject.uid())?;
    decided(warden, requester, call, None)
}

/// Does what policy says of a request; `people`: whom it rests on, where they were looked up for it.
///
/// # Errors
/// As [`run`].
pub fn decided(
    warden: &mut Warden,
    requester: Requester,
    call: Call,
    people: Option<&People>,
) -> Result<Told, Refusal> {
    // Only who may use a command learns what its arguments are.
    match warden.decide(&requester.subject, &call)? {
        Decided::Granted(grant) => granted(warden, requester, call, grant),
        Decided::Lifted(lifted) => warden.run_lifted(requester, call, lifted, people),
        Decided::Asks(pending) => {
            let bound = warden.bind(&call, pending.terms())?;
            let new = warden.new_job(Room::Later, &bound)?;
            let draft = Box::new(Draft::new(call, bound, requester, new));
            warden.ask_a_person(draft, *pending)
        }
    }
}

/// Runs what was granted, or has it wait for a place.
///
/// # Errors
/// As [`run`].
pub fn granted(
    warden: &mut Warden,
    requester: Requester,
    call: Call,
    grant: Grant,
) -> Result<Told, Refusal> {
    let (room, draft) = drafted(warden, requester, call, grant.terms())?;
    begin(warden, room, Box::new(draft.granted(grant, None)))
}

/// Spends a use on what a grant for a time covers, and runs it or has it wait for a place.
///
/// # Errors
/// As [`run`].
pub fn lifted(
    warden: &mut Warden,
    requester: Requester,
    call: Call,
    lifted: Lifted,
) -> Result<Told, Refusal> {
    let (room, draft) = drafted(warden, requester, call, lifted.terms())?;
    // Saved before anything runs by it.
    match lifted.spend(|grant| warden.take_use(grant)) {
        Ok(grant) => begin(warden, room, Box::new(draft.granted(grant, None))),
        Err(refusal) => {
            warden.drop_draft(Box::new(draft));
            Err(refusal)
        }
    }
}

fn drafted(
    warden: &mut Warden,
    requester: Requester,
    call: Call,
    terms: &Terms,
) -> Result<(Room, Draft), Refusal> {
    let room = warden.room_for(requester.subject.uid())?;
    let bound = warden.bind(&call, terms)?;
    let new = warden.new_job(room, &bound)?;
    Ok((room, Draft::new(call, bound, requester, new)))
}

fn begin(warden: &mut Warden, room: Room, plan: Box<Plan>) -> Result<Told, Refusal> {
    match room {
        Room::Now => execute(warden, plan),
        Room::Later => warden.wait_for_place(plan),
    }
}

/// Records a plan and runs it; also tells the story of a parked one to its end.
///
/// # Errors
/// As [`run`].
pub fn execute(warden: &mut Warden, plan: Box<Plan>) -> Result<Told, Refusal> {
    let mut plan = noted(warden, plan, Ledger::open)?;
    let ready = plan.ready.take();
    let recorded = match warden.audit.intent(plan) {
        Ok(recorded) => recorded,
        Err((mut plan, why)) => {
            plan.ready = ready.map(Ready::bare);
            return warden.park(plan, why);
        }
    };
    launch(warden, recorded, ready).map_err(|(plan, error)| warden.not_forked(plan, &error))?;
    Ok(Told::Started)
}

/// Notes a plan in the ledger, before it is recorded: whatever happens then, the next start knows of it.
///
/// # Errors
/// The disk is full. The plan is dropped.
pub fn noted(
    warden: &mut Warden,
    plan: Box<Plan>,
    note: impl FnOnce(&mut Ledger, &Plan) -> io::Result<()>,
) -> Result<Box<Plan>, Refusal> {
    fault::point(warden, Point::BeforeLedger);
    if let Err(error) = note(&mut warden.ledger, &plan) {
        warden.drop_plan(plan);
        let text = format!("the ledger of jobs cannot be written: {error}");
        return Err(
            Refusal::new(Code::NotStarted, text).lift("make room on the state directory's disk")
        );
    }
    fault::point(warden, Point::AfterLedger);
    Ok(plan)
}

/// Forks what is recorded, and follows it; `ready` is what was made for it.
///
/// # Errors
/// The plan, of which nothing ran, and why.
pub fn launch(
    warden: &mut Warden,
    recorded: Recorded<Box<Plan>>,
    ready: Option<Ready>,
) -> Result<(), (Box<Plan>, remit_confine::Error)> {
    fault::point(warden, Point::AfterRecord);
    warden.ahead.want(&recorded.bound.compiled);
    let (process, cgroup) = match warden.walls.spawn(&recorded, ready) {
        Ok(spawned) => spawned,
        Err(error) => return Err((recorded.into_inner(), error)),
    };
    fault::point(warden, Point::AfterFork);
    // Whoever is told that it runs finds it in the history. The job begins meanwhile.
    warden.audit.history.keep();
    warden.follow(Job::new(recorded.into_inner(), process, cgroup));
    fault::point(warden, Point::AfterSend);
    Ok(())
}
