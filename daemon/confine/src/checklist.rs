//! The child's way from the fork to the exec: every wall in its order, each step with its name.
//!
//! Everything that allocates was made ready before the fork. The order is forced: what needs
//! root first (mounts), then the identity, then what only takes away. The login uid and the
//! oom score are files of /proc and so come before the tree is read-only.
//!
//! In a `strict` sandbox the child becomes the job's monitor half-way, and the job goes on from
//! there as its child (`monitor`). What a zygote has forked has some of the steps behind it.

use crate::arguments::{self, Prepared};
use crate::beginning::{begin, ruleset_at, steps_at};
use crate::fence::Fence;
use crate::floor::{self, Later, Pointers};
use crate::identity;
use crate::inherited::{Inherited, told};
use crate::limits::Row;
use crate::monitor::{Go, Monitor};
use crate::mounts;
use crate::net::{Entered, Net, Relay};
use crate::notes::{Failure, Fault, Notes, Taken};
use crate::root::{self, Given};
use crate::sandbox::{Base, Strict};
use crate::{Measured, Sandbox, Step, Wall, execute};
use std::{
    ffi::{CStr, CString},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// All that the child needs, made by the parent.
#[derive(Clone)]
pub(crate) struct Way<'a> {
    pub(crate) sandbox: &'a Sandbox,
    /// Of processes that serve this job alone.
    pub(crate) own: (u32, u32),
    /// The job's, which may be another's.
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) loginuid: Option<CString>,
    pub(crate) limits: &'a [Row],
    /// Set where the fork could not place the child itself.
    pub(crate) join_cgroup: Option<BorrowedFd<'a>>,
    /// The process that forks the child in that case.
    pub(crate) parent: u32,
    /// The child is in its cgroup, one way or the other.
    pub(crate) has_cgroup: bool,
    /// Options of a private directory that is anybody's, as `/tmp` is, and of one that is not.
    pub(crate) tmpfs: CString,
    pub(crate) scratch: CString,
    /// Pages of System V shared memory.
    pub(crate) shared_pages: CString,
    pub(crate) stdin: Option<BorrowedFd<'a>>,
    pub(crate) stdout: BorrowedFd<'a>,
    pub(crate) stderr: BorrowedFd<'a>,
    pub(crate) script: Option<BorrowedFd<'a>>,
    pub(crate) measured: &'a [Measured],
    pub(crate) arguments: &'a [Prepared<'a>],
    pub(crate) steps: BorrowedFd<'a>,
    pub(crate) cwd: &'a CStr,
    pub(crate) candidates: Vec<CString>,
    /// Where programs are looked up.
    pub(crate) path: &'a [CString],
    pub(crate) argv: Pointers<'a>,
    pub(crate) env: Pointers<'a>,
    /// What a witness wants to see in a private root.
    pub(crate) stage: Option<&'a root::Mount>,
    /// What stands already, where a zygote forks the child.
    pub(crate) inherited: Option<Inherited<'a>>,
}

/// Where a job's home is.
pub(crate) const HOME: &CStr = c"/tmp/home";

/// Exit status of a child that did not become the job. Its step pipe says why.
const NOT_STARTED: i32 = 127;

/// The child's body: confines itself, then executes. Returns its exit status when it could not.
pub(crate) fn run(way: &Way<'_>) -> i32 {
    confined(way, |steps| {
        let failure = execute::execute(way);
        let _ = Notes::default().send(steps, Some(failure));
        NOT_STARTED
    })
}

/// Takes every step and says so, then does `then`, in the process that is the job. Returns an
/// exit status.
pub(crate) fn confined(way: &Way<'_>, then: impl FnOnce(BorrowedFd<'_>) -> i32) -> i32 {
    let mut notes = Notes::default();
    let taken = match &way.sandbox.base {
        Base::Strict(strict) if way.inherited.is_none() => {
            match apart(way, strict, &mut notes, then) {
                Err(failure) => Err(failure),
                Ok(never) => match never {},
            }
        }
        // Also where a job that has namespaces of its own was forked ahead, in them.
        Base::Read(_) | Base::Strict(_) | Base::Host => in_place(way, &mut notes).map(|()| then),
    };
    if !told(
        way,
        !taken.as_ref().is_err_and(|failure| failure.is_early()),
    ) {
        return NOT_STARTED;
    }
    match taken {
        Ok(then) => go_on(way, &mut notes, then),
        Err(failure) => fail(way, &mut notes, failure),
    }
}

/// The notes go first: nothing can be written after an exec.
fn go_on(way: &Way<'_>, notes: &mut Notes, then: impl FnOnce(BorrowedFd<'_>) -> i32) -> i32 {
    let steps = floor::placed(steps_at(way));
    match notes.send(steps, None) {
        Ok(()) => then(steps),
        Err(_) => NOT_STARTED,
    }
}

fn fail(way: &Way<'_>, notes: &mut Notes, failure: Failure) -> i32 {
    let to = match failure.is_early() {
        true => way.steps,
        false => floor::placed(steps_at(way)),
    };
    let _ = notes.send(to, Some(failure));
    NOT_STARTED
}

pub(crate) fn only(
    way: &Way<'_>,
    wall: Wall,
    take: impl FnOnce() -> io::Result<Taken>,
) -> Result<Taken, Fault> {
    match way.sandbox.walls.up(wall) {
        true => Ok(take()?),
        false => Ok(Taken::Absent),
    }
}

/// Every step of a job that is the forked child itself.
fn in_place(way: &Way<'_>, notes: &mut Notes) -> Result<(), Failure> {
    begin(way, notes)?;
    if let Base::Strict(strict) = &way.sandbox.base
        && own_network(way.sandbox, strict).is_some()
    {
        notes.take(Step::Network, Ok(Taken::Done))?;
    }
    notes.take(Step::Rlimits, only(way, Wall::Rlimits, || rlimits(way)))?;
    let mut ruleset = None;
    if let Some(inherited) = way.inherited {
        // The zygote has seen to all of this, or had not forked.
        notes.take(Step::Namespaces, Ok(Taken::Done))?;
        let tree = match way.sandbox.base {
            Base::Strict(_) => Step::Root,
            Base::Read(_) | Base::Host => Step::Mounts,
        };
        notes.take(tree, Ok(Taken::Done))?;
        ruleset = inherited.ruleset.map(|_| floor::owned(ruleset_at(way)));
    } else if let Base::Read(places) = &way.sandbox.base {
        notes.take(Step::Namespaces, namespaces())?;
        let taken = new_ruleset(way.sandbox)
            .map_err(Fault::from)
            .and_then(|new| {
                ruleset = new;
                let given = Given {
                    walls: way.sandbox.walls,
                    whole: true,
                    shared: &way.tmpfs,
                    own: &way.tmpfs,
                    ruleset: granted(way.sandbox, &ruleset),
                    stage: None,
                };
                mounts::confine(places, &given, Later::CutOff)?;
                Ok(Taken::Done)
            });
        notes.take(Step::Mounts, taken)?;
    }
    settle(way, notes, ruleset)
}

/// Every step of a job that has namespaces of its own. In the monitor it returns with a failure
/// only.
fn apart(
    way: &Way<'_>,
    strict: &Strict,
    notes: &mut Notes,
    then: impl FnOnce(BorrowedFd<'_>) -> i32,
) -> Result<std::convert::Infallible, Failure> {
    begin(way, notes)?;
    let mut relay = None;
    notes.take(Step::Network, network(way, strict, &mut relay))?;
    notes.take(Step::Rlimits, only(way, Wall::Rlimits, || rlimits(way)))?;
    let monitor = Monitor {
        filters: &strict.filters,
        walls: way.sandbox.walls,
        call: way.sandbox.kernel.fork,
        uid: way.own.0,
        gid: way.own.1,
        shared_pages: &way.shared_pages,
        hello: None,
    };
    let entered = monitor.enter().map(|()| Taken::Done);
    let before = *notes;
    notes.take(Step::Namespaces, entered.map_err(Fault::from))?;
    let mut job = *notes;
    let watched = monitor.watch(relay, |go| match inside(way, strict, &mut job, go) {
        Ok(true) => go_on(way, &mut job, then),
        Ok(false) => NOT_STARTED,
        Err(failure) => fail(way, &mut job, failure),
    });
    *notes = before;
    watched.map_err(|fault| Failure {
        step: Step::Namespaces,
        fault,
    })
}

/// The rest of a `strict` job's steps, in the job. False: it must not execute, and the monitor has
/// said why.
fn inside(way: &Way<'_>, strict: &Strict, notes: &mut Notes, go: Go) -> Result<bool, Failure> {
    let mut ruleset = None;
    let private = [way.tmpfs.as_c_str(), way.scratch.as_c_str()];
    let built = new_root(way.sandbox, strict, private, way.stage, Later::CutOff);
    let taken = built.map(|new| {
        ruleset = new;
        Taken::Done
    });
    notes.take(Step::Root, taken)?;
    if !go.wait() {
        return Ok(false);
    }
    settle(way, notes, ruleset)?;
    Ok(true)
}

/// Builds a `strict` job's root in the process that will live in it, and gives the ruleset of that.
/// `private`: options of directories that are anybody's, and of those that are the job's user's.
pub(crate) fn new_root(
    sandbox: &Sandbox,
    strict: &Strict,
    private: [&CStr; 2],
    stage: Option<&root::Mount>,
    later: Later,
) -> Result<Option<OwnedFd>, Fault> {
    // The monitor has blocked them.
    floor::default_signals()?;
    let ruleset = new_ruleset(sandbox)?;
    let [shared, own] = private;
    let given = Given {
        walls: sandbox.walls,
        whole: false,
        shared,
        own,
        ruleset: granted(sandbox, &ruleset),
        stage,
    };
    root::build(&strict.root, &given, later)?;
    Ok(ruleset)
}

/// The steps that every job ends with.
fn settle(way: &Way<'_>, notes: &mut Notes, ruleset: Option<OwnedFd>) -> Result<(), Failure> {
    notes.take(Step::Keyring, only(way, Wall::Keyring, || keyring(way)))?;
    notes.take(Step::Identity, identity::become_job(way))?;
    let trusted = way.sandbox.who.trusted(way.uid);
    if let Base::Host = way.sandbox.base {
        notes.take(Step::Cwd, cwd(way))?;
        return notes.take(Step::Arguments, arguments::open(way.arguments, trusted));
    }
    notes.take(Step::NoNewPrivs, only(way, Wall::NoNewPrivs, no_new_privs))?;
    notes.take(Step::Cwd, cwd(way))?;
    notes.take(Step::Arguments, arguments::open(way.arguments, trusted))?;
    notes.take(Step::Landlock, landlock(way, ruleset))?;
    notes.take(Step::Seccomp, seccomp(way))
}

fn rlimits(way: &Way<'_>) -> io::Result<Taken> {
    for row in way.limits {
        floor::set_limit(row.resource, row.soft, row.hard)?;
    }
    Ok(Taken::Done)
}

fn namespaces() -> Result<Taken, Fault> {
    floor::own_mounts()?;
    Ok(Taken::Done)
}

fn network(way: &Way<'_>, strict: &Strict, relay: &mut Option<Relay>) -> Result<Taken, Fault> {
    let Some((net, entered)) = new_network(way.sandbox, strict)? else {
        return Ok(Taken::Absent);
    };
    let (uid, gid) = way.own;
    *relay = net.relay(entered, way.sandbox.kernel.fork, uid, gid)?;
    Ok(Taken::Done)
}

/// The network of its own that this sandbox has, if it has one.
fn own_network<'a>(sandbox: &Sandbox, strict: &'a Strict) -> Option<&'a Net> {
    let up = sandbox.walls.up(Wall::NetworkNamespace);
    strict.net.as_ref().filter(|_| up)
}

/// Enters it.
pub(crate) fn new_network<'a>(
    sandbox: &Sandbox,
    strict: &'a Strict,
) -> io::Result<Option<(&'a Net, Entered)>> {
    let net = own_network(sandbox, strict);
    net.map(|net| Ok((net, net.enter()?))).transpose()
}

/// What a Landlock domain is made of, where there is Landlock.
fn new_ruleset(sandbox: &Sandbox) -> io::Result<Option<OwnedFd>> {
    let fence = sandbox.fence.as_ref();
    fence
        .map(|fence| floor::landlock_ruleset(&fence.handled))
        .transpose()
}

/// The ruleset and what it can grant.
fn granted<'a>(
    sandbox: &'a Sandbox,
    ruleset: &'a Option<OwnedFd>,
) -> Option<(BorrowedFd<'a>, &'a Fence)> {
    Some((ruleset.as_ref()?.as_fd(), sandbox.fence.as_ref()?))
}

fn keyring(way: &Way<'_>) -> io::Result<Taken> {
    match way.inherited {
        Some(inherited) if inherited.is_early() && way.sandbox.kernel.keyrings => Ok(Taken::Done),
        _ => new_keyring(way.sandbox),
    }
}

pub(crate) fn new_keyring(sandbox: &Sandbox) -> io::Result<Taken> {
    if !sandbox.kernel.keyrings {
        return Ok(Taken::Absent);
    }
    floor::new_session_keyring()?;
    Ok(Taken::Done)
}

fn no_new_privs() -> io::Result<Taken> {
    floor::no_new_privs()?;
    Ok(Taken::Done)
}

/// The home is made and the directory opened by the job's own identity, inside.
fn cwd(way: &Way<'_>) -> Result<Taken, Fault> {
    let walls = way.sandbox.walls;
    let private = match way.sandbox.base {
        Base::Read(_) => walls.up(Wall::PrivateTmp),
        Base::Strict(_) => walls.up(Wall::PrivateTmp) && walls.up(Wall::PrivateRoot),
        Base::Host => false,
    };
    if private {
        floor::make_dir(HOME, 0o700)?;
    }
    if way.stdin.is_none() {
        let null = floor::open(c"/dev/null", libc::O_RDONLY)?;
        floor::place(null.as_fd(), 0)?;
    }
    floor::change_dir(way.cwd)?;
    Ok(Taken::Done)
}

fn landlock(way: &Way<'_>, ruleset: Option<OwnedFd>) -> Result<Taken, Fault> {
    let stands = way
        .inherited
        .is_some_and(|inherited| inherited.closing.is_none());
    if stands && way.sandbox.fence.is_some() {
        return Ok(Taken::Done);
    }
    let Some(ruleset) = ruleset else {
        return Ok(Taken::Absent);
    };
    floor::landlock_restrict(ruleset.as_fd(), way.sandbox.landlock_flags())?;
    Ok(Taken::Done)
}

fn seccomp(way: &Way<'_>) -> Result<Taken, Fault> {
    let sandbox = way.sandbox;
    if let Some(inherited) = way.inherited {
        if let Some(closing) = inherited.closing {
            floor::install_filter(closing.instructions())?;
        }
        return Ok(Taken::Done);
    }
    match (&sandbox.told, &sandbox.program) {
        (Some(told), _) => told.install()?,
        (None, Some(program)) => floor::install_filter(program.instructions())?,
        (None, None) => return Err(Fault::because(crate::Why::Unmet)),
    }
    Ok(Taken::Done)
}
