//! What the next jobs need and can be made before anybody asks for them: while the daemon has nothing else to do.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::rc::Rc;

use remit_common::names::JobId;
use remit_policy::Profile;

use crate::error::chain;
use crate::plan::NewJob;
use crate::reactor::{Interest, Token};
use crate::uids::JobUid;
use crate::waiting::Room;
use crate::walls::{Compiled, Ready};
use crate::warden::{Gate, Warden};

/// Jobs, at most. With four, each costs a fourth more: what was made long ago is in no cache any more.
const MOST: usize = 2;

/// The names of a job that is still to come, and what was made for it.
#[derive(Debug)]
struct Ahead {
    job: JobId,
    uid: JobUid,
    ready: Ready,
    /// Something was asked to wait in it. What cannot wait is not asked for again and again.
    tried: bool,
}

/// All of them, the oldest first.
#[derive(Debug, Default)]
pub struct AllAhead {
    all: VecDeque<Ahead>,
    /// The sandbox of the last job: the next one's, as far as can be known.
    wanted: Option<Rc<Compiled>>,
    /// A zygote was asked for some since all were undone.
    asked: bool,
}

impl AllAhead {
    /// Of this sandbox the next job will be. What could not wait is given another try.
    pub fn want(&mut self, compiled: &Rc<Compiled>) {
        if compiled.sandbox().can_wait() {
            self.wanted = Some(Rc::clone(compiled));
            self.all.iter_mut().for_each(|ahead| ahead.tried = false);
        }
    }

    /// The one for a job in this sandbox: where something waits for it, else where nothing does.
    fn fitting(&self, compiled: &Compiled) -> Option<usize> {
        let sandbox = compiled.sandbox();
        let of = |fits: &dyn Fn(&Ready) -> bool| self.all.iter().position(|it| fits(&it.ready));
        of(&|ready| ready.serves(sandbox)).or_else(|| of(&Ready::is_bare))
    }
}

impl Warden {
    /// Makes the next job's place in the ledger and something of what it will need. False where all of it was there,
    /// or cannot be made. Where nothing may run, nothing waits to: what was made goes.
    pub fn make_ahead(&mut self) -> bool {
        if self.gate != Gate::Open {
            self.drop_ahead();
            return false;
        }
        if !self.broker.is_ready() {
            return false;
        }
        // Whoever asks next makes it, where this fails.
        self.ledger.make_ready();
        let Some(wanted) = self.ahead.wanted.clone() else {
            return false;
        };
        let all = &mut self.ahead.all;
        if let Some(at) = all.iter().position(|it| it.ready.is_bare() && !it.tried) {
            return self.equip_ahead(at, &wanted);
        }
        // The last uid is not for a job that may never come: the walls are tried under it, or it is asked for.
        if all.len() >= MOST || self.uids.free() < 2 {
            if self.ahead.fitting(&wanted).is_some() {
                return false;
            }
            if let Some(oldest) = self.ahead.all.pop_front() {
                self.undo(Some(oldest.ready), oldest.uid);
            }
        }
        if self.uids.free() < 2 {
            return false;
        }
        let Ok(job) = self.new_id() else { return false };
        let Ok(ready) = self.walls.make_ready(job) else {
            return false;
        };
        let Some(uid) = self.uids.take() else {
            return false;
        };
        self.ahead.all.push_back(Ahead {
            job,
            uid,
            ready,
            tried: false,
        });
        self.equip_ahead(self.ahead.all.len() - 1, &wanted);
        true
    }

    /// Has something wait for a job in this sandbox. Whether that can be.
    fn equip_ahead(&mut self, at: usize, wanted: &Compiled) -> bool {
        let Some(ahead) = self.ahead.all.get_mut(at) else {
            return false;
        };
        ahead.tried = self.walls.equip(&mut ahead.ready, wanted, ahead.uid.get());
        self.ahead.asked |= ahead.tried;
        if let Some(end) = ahead.ready.end() {
            // Where it is not watched, its end is known when the job comes.
            let _ = self.reactor.add(end, Token::Ahead, Interest::End);
        }
        ahead.tried
    }

    /// Makes all of it, and waits until it is known what there is: where a broker has become ready.
    pub fn settle_ahead(&mut self) {
        if self.ahead.wanted.is_none() {
            self.want_usual();
        }
        while self.make_ahead() {}
        let all = self.ahead.all.iter_mut();
        all.for_each(|ahead| ahead.ready.settle());
    }

    /// Something that waited has ended.
    pub fn reap_ahead(&mut self) {
        let all = self.ahead.all.iter_mut();
        all.for_each(|ahead| ahead.ready.reap());
    }

    /// As long as nobody has asked for anything by this policy.
    pub fn want_usual(&mut self) {
        self.ahead.wanted = self.sandboxes.get(&Profile::read()).ok();
    }

    /// Undoes all of it: nothing may run, or not as before.
    pub fn drop_ahead(&mut self) {
        for ahead in std::mem::take(&mut self.ahead.all) {
            self.undo(Some(ahead.ready), ahead.uid);
        }
        if std::mem::take(&mut self.ahead.asked) {
            self.walls.dismissed();
        }
    }

    /// Ends what was made for a job that will not be. Its uid is free when nothing of it lives any more.
    pub fn undo(&mut self, ready: Option<Ready>, uid: JobUid) {
        let (waiting, cgroup) = ready.map_or((None, None), Ready::into_parts);
        // What it waited for ends with it, but maybe later.
        drop(waiting);
        match cgroup {
            Some(cgroup) if !matches!(cgroup.populated(), Ok(false)) => {
                self.leave_unused(cgroup, uid);
            }
            Some(cgroup) => {
                if let Err(left) = cgroup.remove() {
                    say!("{}", chain(&left));
                }
                self.uids.give_back(uid);
            }
            None => self.uids.give_back(uid),
        }
    }

    /// An id and, where one is free, a uid for a job in this sandbox that runs now, or later. What is ready is for those
    /// that run at once, unless its uid is the last one.
    ///
    /// # Errors
    /// The kernel has no random bytes.
    pub fn next_names(&mut self, room: Room, compiled: &Compiled) -> io::Result<Option<NewJob>> {
        let fitting = self.ahead.fitting(compiled).filter(|_| room == Room::Now);
        // The last one that is free stays so, as long as there is another.
        let scarce = self.uids.free() < 2;
        let at = fitting.or_else(|| scarce.then_some(0));
        let number = self.jobs.next_number();
        if let Some(Ahead {
            job, uid, ready, ..
        }) = at.and_then(|at| self.ahead.all.remove(at))
        {
            return Ok(Some(NewJob {
                job,
                number,
                uid,
                ready: Some(match room {
                    Room::Now => ready,
                    Room::Later => ready.bare(),
                }),
            }));
        }
        let job = self.new_id()?;
        let uid = self.uids.take().or_else(|| {
            self.put_all_away();
            self.uids.take()
        });
        Ok(uid.map(|uid| NewJob {
            job,
            number,
            uid,
            ready: None,
        }))
    }

    /// How many uids are free for jobs.
    pub fn free_uids(&self) -> usize {
        self.uids.free() + self.ahead.all.len() + self.leftovers.unused()
    }

    fn new_id(&mut self) -> io::Result<JobId> {
        let mut id = [0; 16];
        self.random.read_exact(&mut id)?;
        Ok(JobId(id))
    }
}
