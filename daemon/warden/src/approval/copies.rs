//! Compares copies of files that wait for an approval with the originals. The job gets the copy, and the approver sees
//! it. The requester may have changed the original since. An approver who reads that would see something that does
//! not run. A forked child compares them each time a request is shown.

use std::collections::BTreeMap;
use std::time::Duration;

use remit_approval::Now;
use remit_sys::in_child;

use super::wanted::{copied, wanted};
use crate::admin::{Wants, show_compared};
use crate::approval::file_hash::{FileFound, is_as_copied};
use crate::approval::{Comparing, Request};
use crate::event_loop::epoll::{Interest, Token};
use crate::event_loop::timers::Timer;
use crate::identity::peer::Subject;
use crate::job::context::RequestCx;

/// Time limit of the child. After it, the files count as not compared.
const PATIENCE: Duration = Duration::from_secs(5);
const COMPARING: usize = 8;

/// Shows the request to an administrator that may read its copies, after a child compared them. `None`: there are no copies, or no child can
/// look.
pub fn compare_copies(cx: &mut RequestCx<'_>, request: u64, by: &Subject) -> Option<Wants> {
    let found = cx.job.jobs.find::<Request>(request)?;
    let draft = &found.draft;
    let copies = copied(&draft.bound, &found.found.files);
    if copies.is_empty() || cx.approvals.comparing.len() >= COMPARING {
        return None;
    }
    let reader = wanted(draft).reader;
    let answer = in_child(|| {
        let is_same = |file: &FileFound| reader.look(|| Ok(is_as_copied(file))) == Ok(true);
        let all = copies.iter().map(|(_, file)| u8::from(is_same(file)));
        all.collect()
    });
    let at = copies.iter().map(|(at, _)| *at).collect();
    let (answer, serial) = (answer.ok()?, cx.job.jobs.next_serial());
    let (reactor, token) = (&mut cx.job.reactor, Token::Measuring(serial));
    reactor.add(answer.fd(), token, Interest::Read).ok()?;
    reactor.timers.add(PATIENCE, Timer::Measuring(serial));
    let by = by.clone();
    let comparing = Comparing {
        request,
        by,
        at,
        answer,
    };
    cx.approvals.comparing.insert(serial, comparing);
    Some(Wants::Show(serial))
}

/// Handles an answer or a timeout of a comparing child. Returns false if no child has this number.
pub fn on_compared(cx: &mut RequestCx<'_>, serial: u64, late: bool) -> bool {
    let Some(comparing) = cx.approvals.comparing.get_mut(&serial) else {
        return false;
    };
    let bytes = match (comparing.answer.read(), late) {
        (Ok(None), false) => return true,
        (Ok(Some(bytes)), _) => bytes,
        (Ok(None), true) | (Err(_), _) => Vec::new(),
    };
    let Some(comparing) = cx.approvals.comparing.remove(&serial) else {
        return true;
    };
    cx.job.reactor.timers.cancel(Timer::Measuring(serial));
    cx.job.reactor.remove(comparing.answer.fd());
    let now = |at: usize| match bytes.get(at) {
        Some(1) => Now::Same,
        Some(_) => Now::Other,
        None => Now::Unknown,
    };
    let numbers = comparing.at.iter().enumerate();
    let today: BTreeMap<_, _> = numbers.map(|(at, number)| (*number, now(at))).collect();
    let (admins, jobs) = (&mut cx.job.admins, &cx.job.jobs);
    show_compared(
        admins,
        jobs,
        serial,
        &comparing.by,
        comparing.request,
        today,
    );
    true
}
