//! Copies of the machine that jobs of base `plan` left, until a job of base `extract` reads them. Their bytes are in memory,
//! which is bounded here. A restart forgets them.
//!
//! **Invariant:** a job's uid is no other job's as long as its view is here or somebody reads it.

use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::sys::statvfs::fstatvfs;
use remit_common::inspect::EXTRACTED_JOB;
use remit_common::names::JobId;
use remit_policy::Base;
use remit_spawn::KeptView;

use crate::event_loop::timers::{self, Timer};
use crate::job::allocation::JobUid;
use crate::job::context::JobCx;
use crate::job::live::{Job, Start};
use crate::job::pack::PackSocket;
use crate::request::Plan;

/// Time in which a view can be extracted.
const KEPT: Duration = Duration::from_secs(600);
/// Bytes of memory that a file takes beside its content.
const FILE: u64 = 2 << 10;
/// Views of one user, and of all.
const OWN: usize = 4;
const ALL: usize = 16;

#[derive(Debug)]
pub struct LeftView {
    pub job: JobId,
    /// The requester.
    pub owner: u32,
    /// The job's own, which owns the view's user namespace.
    pub uid: JobUid,
    pub view: Rc<KeptView>,
    /// Bytes of memory that it takes.
    pub bytes: u64,
    /// Time since boot (CLOCK_BOOTTIME).
    pub ended: Duration,
    /// The job that reads it.
    pub reader: Option<JobId>,
}

/// Why a view cannot be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoView {
    IsRead,
    None,
}

/// Oldest first.
#[derive(Debug, Default)]
pub struct KeptViews {
    all: Vec<LeftView>,
    /// Bytes of the machine's memory: all views have half of them, those of one user a quarter.
    memory: u64,
}

impl KeptViews {
    pub const fn new(memory: u64) -> Self {
        Self {
            all: Vec::new(),
            memory,
        }
    }

    /// Keeps a view, if need be instead of older ones of its user, or of others. Returns the uids of those.
    pub fn keep(&mut self, view: LeftView) -> Vec<JobUid> {
        let owner = view.owner;
        self.all.push(view);
        self.drop_beyond(owner)
    }

    fn drop_beyond(&mut self, owner: u32) -> Vec<JobUid> {
        let mut freed = Vec::new();
        freed.extend(self.drop_until(OWN, self.memory / 4, |view| view.owner == owner));
        freed.extend(self.drop_until(ALL, self.memory / 2, |_| true));
        freed
    }

    /// The newest one stays, and those that are read.
    fn drop_until(
        &mut self,
        most: usize,
        bytes: u64,
        is_meant: impl Fn(&LeftView) -> bool,
    ) -> Vec<JobUid> {
        let mut freed = Vec::new();
        loop {
            let meant = || self.all.iter().filter(|view| is_meant(view));
            let taken: u64 = meant().map(|view| view.bytes).sum();
            if meant().count() <= most && taken <= bytes {
                return freed;
            }
            let others = self.all.len().saturating_sub(1);
            let oldest = self.all.iter().take(others);
            let oldest = oldest
                .into_iter()
                .position(|it| is_meant(it) && it.reader.is_none());
            match oldest {
                Some(at) => freed.push(self.all.remove(at).uid),
                None => return freed,
            }
        }
    }

    /// Gives a view to the job that extracts it. Errors: a sentence.
    pub fn lend(&mut self, job: &str, owner: u32, reader: JobId) -> Result<Rc<KeptView>, String> {
        let id = job
            .parse::<JobId>()
            .map_err(|_| format!("'{EXTRACTED_JOB}' is no job id: it has 32 hexadecimal digits"))?;
        let is_it = |view: &&mut LeftView| view.job == id && view.owner == owner;
        match self.all.iter_mut().find(is_it) {
            Some(view) if view.reader.is_none() => {
                view.reader = Some(reader);
                Ok(Rc::clone(&view.view))
            }
            Some(_) => Err(format!("the copy of job {job} is being extracted just now")),
            None => Err(format!(
                "no copy of job {job} is kept: a copy is kept if its job ends with status 0, for {} minutes, until an \
                 extraction has made a plan of it, and not beside much newer ones; run the job again",
                KEPT.as_secs() / 60
            )),
        }
    }

    /// Returns the bytes of a view of this user that nobody reads.
    pub fn own(&self, job: JobId, owner: u32) -> Result<u64, NoView> {
        let is_it = |view: &&LeftView| view.job == job && view.owner == owner;
        match self.all.iter().find(is_it) {
            Some(view) if view.reader.is_none() => Ok(view.bytes),
            Some(_) => Err(NoView::IsRead),
            None => Err(NoView::None),
        }
    }

    /// Takes back a view of which its reader made nothing. What was kept meanwhile may leave no space for as many. Returns
    /// the uids of those that are dropped.
    fn give_back(&mut self, reader: JobId) -> Vec<JobUid> {
        let lent = self.all.iter_mut().find(|view| view.reader == Some(reader));
        let Some(view) = lent else {
            return Vec::new();
        };
        view.reader = None;
        let owner = view.owner;
        self.drop_beyond(owner)
    }

    /// Drops the view that this job has read. Returns its uid.
    pub fn end_reader(&mut self, reader: JobId) -> Option<JobUid> {
        let at = self
            .all
            .iter()
            .position(|view| view.reader == Some(reader))?;
        Some(self.all.remove(at).uid)
    }

    /// Drops views whose time is over, and returns their uids.
    fn drop_old(&mut self, now: Duration) -> Vec<JobUid> {
        let is_old = |view: &mut LeftView| view.reader.is_none() && view.ended + KEPT <= now;
        self.all
            .extract_if(.., is_old)
            .map(|view| view.uid)
            .collect()
    }

    fn next(&self) -> Option<Duration> {
        let waiting = self.all.iter().filter(|view| view.reader.is_none());
        waiting.map(|view| view.ended + KEPT).min()
    }
}

/// Gives an extraction the view that it names. Errors: a sentence.
pub fn lend(cx: &mut JobCx<'_>, plan: &mut Plan) -> Result<(), String> {
    if plan.bound.compiled.base() != Base::Extract {
        return Ok(());
    }
    let args = plan.call().args();
    let named = args.iter().find(|(name, _)| name == EXTRACTED_JOB);
    let named = named.map_or("", |(_, job)| job.as_str());
    let owner = plan.requester.subject.uid();
    let kept = cx.jobs.views.lend(named, owner, plan.job)?;
    plan.kept = Some(kept);
    let pack = PackSocket::new();
    plan.pack = Some(pack.map_err(|error| format!("cannot make a socket: {error}"))?);
    Ok(())
}

/// Takes the view of a job that has ended well. Otherwise nothing is kept of what it wrote.
pub fn take_left(job: &mut Job, has_succeeded: bool) {
    let is_copy = job.plan.bound.is_on_copy();
    // The end of a job is recorded once more if the audit log had no space.
    if !is_copy || job.left.is_some() {
        return;
    }
    // Also one that is not kept: it must not last in the socket.
    let view = job.process.kept_view();
    let is_kept = has_succeeded && job.plan.bound.leaves_copy;
    if !is_kept || !matches!(job.start, Start::Executed) {
        return;
    }
    let view = view.and_then(|view| Ok((size(&view)?, view)));
    match view {
        Ok((bytes, view)) => job.left = Some((Rc::new(view), bytes)),
        Err(error) => say!("nothing is kept of job {}: {error}", job.plan.job),
    }
}

fn size(view: &KeptView) -> io::Result<u64> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let area = openat(&view.tree, "area", flags, Mode::empty())?;
    let area = fstatvfs(area.as_fd())?;
    let used = area.blocks().saturating_sub(area.blocks_free());
    let files = area.files().saturating_sub(area.files_free());
    let bytes = used.saturating_mul(area.fragment_size());
    Ok(bytes.saturating_add(files.saturating_mul(FILE)))
}

pub fn keep(cx: &mut JobCx<'_>, view: LeftView) {
    let freed = cx.jobs.views.keep(view);
    free(cx, freed);
}

/// Frees the uids of views that are dropped, and sets the timer for the next one.
fn free(cx: &mut JobCx<'_>, freed: Vec<JobUid>) {
    for uid in freed {
        cx.sandbox.uids.give_back(uid);
    }
    set_timer(cx);
}

/// Drops views that nobody extracted in time.
pub fn on_timer(cx: &mut JobCx<'_>) {
    let freed = cx.jobs.views.drop_old(timers::since_boot());
    free(cx, freed);
}

/// Drops the oldest view that nobody reads: its uid is needed.
pub fn drop_oldest(cx: &mut JobCx<'_>) {
    let all = &mut cx.jobs.views.all;
    if let Some(at) = all.iter().position(|view| view.reader.is_none()) {
        cx.sandbox.uids.give_back(all.remove(at).uid);
    }
}

/// Drops the view of a job unless somebody reads it.
pub fn drop_own(cx: &mut JobCx<'_>, job: JobId) {
    let all = &mut cx.jobs.views.all;
    let is_it = |view: &LeftView| view.job == job && view.reader.is_none();
    if let Some(at) = all.iter().position(is_it) {
        cx.sandbox.uids.give_back(all.remove(at).uid);
    }
    set_timer(cx);
}

/// Takes back the view that this job read, if it has one. Its time goes on from the end of the job that left it.
pub fn give_back(cx: &mut JobCx<'_>, reader: JobId) {
    let freed = cx.jobs.views.give_back(reader);
    free(cx, freed);
}

pub fn end_reader(cx: &mut JobCx<'_>, reader: JobId) {
    if let Some(uid) = cx.jobs.views.end_reader(reader) {
        cx.sandbox.uids.give_back(uid);
    }
}

fn set_timer(cx: &mut JobCx<'_>) {
    match cx.jobs.views.next() {
        Some(at) => {
            let after = at.saturating_sub(timers::since_boot());
            cx.reactor.timers.add(after, Timer::KeptViews);
        }
        None => cx.reactor.timers.cancel(Timer::KeptViews),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs::File;

    use remit_sys::Closing;

    use super::*;
    use crate::job::allocation::JobUids;

    const SECOND: Duration = Duration::from_secs(1);

    fn id(number: u8) -> JobId {
        JobId([number; 16])
    }

    struct Scene {
        views: KeptViews,
        uids: JobUids,
        now: Duration,
        closed: Rc<Cell<usize>>,
    }

    impl Scene {
        fn new() -> Self {
            Self {
                views: KeptViews::new(1000),
                uids: JobUids::new(100, 100),
                now: SECOND,
                closed: Rc::default(),
            }
        }

        /// Returns the uids that became free, counted from the first.
        fn keep(&mut self, job: u8, owner: u32, bytes: u64) -> Vec<u32> {
            let closed = Rc::clone(&self.closed);
            let closing = Closing::by(move |_| closed.set(closed.get() + 1));
            let null = || closing.guard(File::open("/dev/null").unwrap().into());
            let view = KeptView {
                users: null(),
                tree: null(),
            };
            self.now += SECOND;
            let freed = self.views.keep(LeftView {
                job: id(job),
                owner,
                uid: self.uids.take().unwrap(),
                view: Rc::new(view),
                bytes,
                ended: self.now,
                reader: None,
            });
            freed.iter().map(|uid| uid.get() - 101).collect()
        }

        fn lend(&mut self, job: u8, owner: u32, reader: u8) -> Result<Rc<KeptView>, String> {
            self.views.lend(&id(job).to_string(), owner, id(reader))
        }
    }

    #[test]
    fn no_descriptor_of_a_view_is_closed_here() {
        let mut scene = Scene::new();
        for job in 0..=OWN {
            scene.keep(job.try_into().unwrap(), 1, 10);
        }
        assert_eq!(scene.closed.get(), 2);
        scene.views.drop_old(scene.now + KEPT);
        assert_eq!(scene.closed.get(), 2 * (OWN + 1));
    }

    #[test]
    fn older_views_go_for_newer_ones() {
        let mut scene = Scene::new();
        for job in 0..4 {
            assert!(scene.keep(job, 1, 10).is_empty());
        }
        // By number, then by bytes; the newest stays whatever it takes.
        assert_eq!(scene.keep(4, 1, 10), [0]);
        assert_eq!(scene.keep(5, 1, 230), [1, 2]);
        assert!(scene.keep(6, 2, 240).is_empty());
        assert_eq!(scene.keep(7, 3, 900), [3, 4, 5, 6]);
    }

    #[test]
    fn own_view_that_no_job_reads_can_be_dropped() {
        let mut scene = Scene::new();
        scene.keep(0, 1, 10);
        assert_eq!(scene.views.own(id(0), 1), Ok(10));
        assert_eq!(scene.views.own(id(0), 2), Err(NoView::None));
        assert_eq!(scene.views.own(id(9), 1), Err(NoView::None));
        let lent = scene.lend(0, 1, 5);
        assert!(lent.is_ok());
        assert_eq!(scene.views.own(id(0), 1), Err(NoView::IsRead));
        scene.views.give_back(id(5));
        assert_eq!(scene.views.own(id(0), 1), Ok(10));
    }

    #[test]
    fn view_that_is_read_stays_and_is_read_by_one_job_of_its_user() {
        let mut scene = Scene::new();
        scene.keep(0, 1, 10);
        for (job, owner, why) in [(0, 2, "no copy of job"), (9, 1, "no copy of job")] {
            let error = scene.lend(job, owner, 50).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        assert!(
            scene
                .views
                .lend("x", 1, id(50))
                .unwrap_err()
                .contains("no job id")
        );
        let lent = scene.lend(0, 1, 50).unwrap();
        assert!(scene.lend(0, 1, 51).unwrap_err().contains("just now"));
        // Neither number, nor bytes, nor time ends it.
        assert!(scene.keep(1, 1, 900).is_empty());
        for job in 2..8 {
            scene.keep(job, 1, 10);
        }
        let late = scene.now + KEPT;
        let old = scene.views.drop_old(late).len();
        assert!(old > 0 && scene.views.all.len() == 1, "{old}");
        assert_eq!(Rc::strong_count(&lent), 2);
        scene.views.give_back(id(50));
        assert!(scene.lend(0, 1, 52).is_ok());
        assert_eq!(scene.views.end_reader(id(50)), None);
        assert_eq!(
            scene.views.end_reader(id(52)).map(|uid| uid.get()),
            Some(101)
        );
        assert_eq!(Rc::strong_count(&lent), 1);
        assert_eq!(scene.views.next(), None);
    }

    #[test]
    fn view_that_is_taken_back_has_its_bounds_and_its_time_again() {
        let mut scene = Scene::new();
        for job in 0..5 {
            assert!(scene.keep(job, 1, 10).is_empty());
            assert!(scene.lend(job, 1, 50 + job).is_ok());
        }
        let freed = [50, 51, 52].map(|reader| scene.views.give_back(id(reader)).len());
        assert_eq!((freed, scene.views.all.len()), ([1, 0, 0], OWN));
        let mut scene = Scene::new();
        scene.keep(0, 1, 10);
        let ended = scene.now;
        assert!(scene.lend(0, 1, 50).is_ok());
        assert_eq!(scene.views.next(), None);
        assert!(scene.views.drop_old(ended + KEPT).is_empty());
        assert!(scene.views.give_back(id(50)).is_empty());
        assert_eq!(scene.views.next(), Some(ended + KEPT));
        assert_eq!(scene.views.drop_old(ended + KEPT).len(), 1);
        assert!(scene.views.give_back(id(50)).is_empty(), "nothing is lent");
    }

    #[test]
    fn view_goes_when_its_time_is_over() {
        let mut scene = Scene::new();
        scene.keep(0, 1, 10);
        scene.keep(1, 1, 10);
        assert_eq!(scene.views.next(), Some(SECOND * 2 + KEPT));
        assert_eq!(scene.views.drop_old(SECOND + KEPT).len(), 0);
        assert_eq!(scene.views.drop_old(SECOND * 2 + KEPT).len(), 1);
        assert_eq!(scene.views.next(), Some(SECOND * 3 + KEPT));
    }
}
