//! What a child of a zygote has that another child makes for itself.

use crate::beginning::{go_at, steps_at};
use crate::checklist::Way;
use crate::floor;
use crate::seccomp::Program;
use crate::steps::{UNTOLD, UNTOLD_LEN};
use std::os::fd::BorrowedFd;

/// What a child of a zygote is born with, besides the zygote's own signals, manners and scheduling: it is in
/// a mount namespace of its own, finished and cut off, and behind the first half of the filter.
#[derive(Clone, Copy)]
pub(crate) struct Inherited<'a> {
    /// With what it grants in that namespace; `None` where there is no Landlock.
    pub(crate) ruleset: Option<BorrowedFd<'a>>,
    /// The other half of the filter. `None`: that and the Landlock domain stand, too.
    pub(crate) closing: Option<&'a Program>,
    /// How it reaches its own files in the host's `/proc`: the one in the namespace is read-only.
    pub(crate) own: Own<'a>,
    /// Has a byte once the warden was told of the child; ends when the zygote does before. `None` for a child
    /// that the warden knew before there was a job: that has its session, its keyring and its rank among those
    /// to be killed for memory already.
    pub(crate) go: Option<BorrowedFd<'a>>,
}

/// Of a child's own files in the host's `/proc`.
#[derive(Clone, Copy)]
pub(crate) enum Own<'a> {
    /// All of them.
    Proc(BorrowedFd<'a>),
    /// The audit login uid, open for writing; `None` on kernels without audit.
    Loginuid(Option<BorrowedFd<'a>>),
}

impl<'a> Inherited<'a> {
    /// Whether the child was there before its job.
    pub(crate) fn is_early(&self) -> bool {
        self.go.is_none()
    }

    /// What it has of its own.
    pub(crate) fn own(&self) -> Option<BorrowedFd<'a>> {
        match self.own {
            Own::Proc(directory) => Some(directory),
            Own::Loginuid(file) => file,
        }
    }
}

/// Whether the warden knows of this child. Else its zygote was killed before it could say, and the child must
/// not become the job; what it still says is by which number it is to be reaped. `moved`: its descriptors are in
/// their places.
pub(crate) fn told(way: &Way<'_>, moved: bool) -> bool {
    let Some(go) = way.inherited.and_then(|inherited| inherited.go) else {
        return true;
    };
    let [go, steps] = match moved {
        false => [go, way.steps],
        true => [go_at(way), steps_at(way)].map(floor::placed),
    };
    let told = matches!(floor::read(go, &mut [0]), Ok(1));
    if moved {
        floor::close_one(go_at(way));
    }
    let mut said = [UNTOLD; UNTOLD_LEN];
    // The tree is the host's, and so are the numbers in its /proc.
    if !told
        && let Some(pid) = said.get_mut(1..)
        && let Ok(length) = floor::read_link(c"/proc/self", pid)
    {
        let _ = floor::write(steps, said.get(..=length).unwrap_or_default());
    }
    told
}
