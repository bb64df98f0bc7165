//! Compares copies of files that wait for an approval with the originals. The job gets the copy, and the approver sees
//! it. The requester may have changed the original since. An approver who reads that would see something that does
//! not run. A forked child compares them each time a request is shown.

use std::collections::BTreeMap;
use std::time::Duration;

use remit_approval::{FileBinding, Now, name_of_argument};
use remit_sys::{Answer, in_child};

use crate::admin::Wants;
use crate::approval::Request;
use crate::approval::file_hash::{FileFound, is_as_copied};
use crate::event_loop::epoll::{Interest, Token};
use crate::event_loop::timers::Timer;
use crate::identity::peer::Subject;
use crate::request::{BoundCall, Passed, SlotWhat};
use crate::state::Warden;

/// Time limit of the child. After it, the files count as not compared.
const PATIENCE: Duration = Duration::from_secs(5);
const COMPARING: usize = 8;

#[derive(Debug)]
pub struct Comparing {
    request: u64,
    by: Subject,
    at: Vec<usize>,
    answer: Answer,
}

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

impl Warden {
    /// Shows the request after a child compared its copies. `None`: there are no copies, or no child can look.
    pub fn compare_copies(&mut self, request: u64, by: &Subject) -> Option<Wants> {
        let found = self.jobs.find::<Request>(request)?;
        let draft = &found.draft;
        let copies = copied(&draft.bound, &found.found.files);
        if copies.is_empty() || self.approvals.comparing.len() >= COMPARING {
            return None;
        }
        let reader = super::wanted(draft).reader;
        let answer = in_child(|| {
            let is_same = |file: &FileFound| reader.look(|| Ok(is_as_copied(file))) == Ok(true);
            let all = copies.iter().map(|(_, file)| u8::from(is_same(file)));
            all.collect()
        });
        let at = copies.iter().map(|(at, _)| *at).collect();
        let (answer, serial) = (answer.ok()?, self.jobs.next_serial());
        self.reactor
            .add(answer.fd(), Token::Measuring(serial), Interest::Read)
            .ok()?;
        self.timers.add(PATIENCE, Timer::Measuring(serial));
        let by = by.clone();
        let comparing = Comparing {
            request,
            by,
            at,
            answer,
        };
        self.approvals.comparing.insert(serial, comparing);
        Some(Wants::Show(serial))
    }

    /// Handles an answer or a timeout of a comparing child. Returns false if no child has this number.
    pub(super) fn on_compared(&mut self, serial: u64, late: bool) -> bool {
        let Some(comparing) = self.approvals.comparing.get_mut(&serial) else {
            return false;
        };
        let bytes = match (comparing.answer.read(), late) {
            (Ok(None), false) => return true,
            (Ok(Some(bytes)), _) => bytes,
            (Ok(None), true) | (Err(_), _) => Vec::new(),
        };
        let Some(comparing) = self.approvals.comparing.remove(&serial) else {
            return true;
        };
        self.timers.cancel(Timer::Measuring(serial));
        self.reactor.remove(comparing.answer.fd());
        let now = |at: usize| match bytes.get(at) {
            Some(1) => Now::Same,
            Some(_) => Now::Other,
            None => Now::Unknown,
        };
        let numbers = comparing.at.iter().enumerate();
        let today: BTreeMap<_, _> = numbers.map(|(at, number)| (*number, now(at))).collect();
        self.show_compared(serial, &comparing.by, comparing.request, today);
        true
    }
}
