//! Keeps the redactors that were used last. To build one of a long secret takes milliseconds of the only thread, and it takes
//! megabytes: one for each job that is remembered would be too many.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::{Arc, Weak};

use remit_wire::Bytes;

use super::Redactor;

const KEPT: usize = 4;

/// At most 4 redactors of all jobs, those used last.
#[derive(Default)]
pub struct RecentRedactors(RefCell<VecDeque<Arc<Redactor>>>);

impl std::fmt::Debug for RecentRedactors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RecentRedactors")
    }
}

impl RecentRedactors {
    fn note(&self, used: &Arc<Redactor>) {
        let mut all = self.0.borrow_mut();
        all.retain(|one| !Arc::ptr_eq(one, used));
        all.push_back(Arc::clone(used));
        if all.len() > KEPT {
            all.pop_front();
        }
    }

    fn forget(&self, unused: &Arc<Redactor>) {
        let mut all = self.0.borrow_mut();
        all.retain(|one| !Arc::ptr_eq(one, unused));
    }
}

/// The values of one job, and its redactor as long as somebody has it.
pub struct KnownSecrets {
    values: Vec<Bytes>,
    redactor: RefCell<Weak<Redactor>>,
    recent: Rc<RecentRedactors>,
}

impl KnownSecrets {
    pub(super) fn new(values: Vec<Bytes>, recent: &Rc<RecentRedactors>) -> Self {
        Self {
            values,
            redactor: RefCell::default(),
            recent: Rc::clone(recent),
        }
    }

    pub(super) fn redactor(&self) -> Arc<Redactor> {
        let known = self.redactor.borrow().upgrade();
        let redactor = known.unwrap_or_else(|| {
            let new = Arc::new(Redactor::new(&self.values));
            self.redactor.replace(Arc::downgrade(&new));
            new
        });
        self.recent.note(&redactor);
        redactor
    }
}

/// A secret leaves the memory with its job.
impl Drop for KnownSecrets {
    fn drop(&mut self) {
        if let Some(redactor) = self.redactor.get_mut().upgrade() {
            self.recent.forget(&redactor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::BUILT;
    use super::*;

    #[test]
    fn few_redactors_are_kept_and_none_of_a_forgotten_job() {
        let recent = Rc::new(RecentRedactors::default());
        let job =
            |n: usize| KnownSecrets::new(vec![format!("hunter{n}").into_bytes().into()], &recent);
        let mut jobs: Vec<KnownSecrets> = (0..=KEPT).map(job).collect();
        let kept = || recent.0.borrow().len();
        for _ in 0..10 {
            for job in &jobs[..KEPT] {
                job.redactor();
            }
        }
        assert_eq!((BUILT.get(), kept()), (KEPT, KEPT), "each was built once");
        jobs[KEPT].redactor();
        assert_eq!((BUILT.get(), kept()), (KEPT + 1, KEPT));
        // The first one has made way, the last ones have not.
        jobs[KEPT - 1].redactor();
        assert_eq!(BUILT.get(), KEPT + 1);
        jobs[0].redactor();
        assert_eq!(BUILT.get(), KEPT + 2);
        jobs.remove(0);
        assert_eq!(kept(), KEPT - 1);
        drop(jobs);
        assert_eq!(kept(), 0);
    }
}
