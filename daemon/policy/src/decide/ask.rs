//! What is asked about: a request as the rules see it, and its caller. It decides nothing.

use remit_common::wire::Effect;
use remit_plan::{Bundle, PlanPath};

/// The caller: ids that the kernel reports for the peer of a socket.
#[derive(Debug, Clone, Copy)]
pub struct CallerIds<'a> {
    /// The effective uid at connect (unix(7), SO_PEERCRED).
    pub uid: u32,
    /// All gids at connect, with the primary one (SO_PEERCRED, SO_PEERGROUPS).
    pub gids: &'a [u32],
}

#[derive(Debug, Clone, Copy)]
pub enum Ask<'a> {
    Run {
        /// `None` means `read`.
        profile: Option<&'a str>,
        /// The program, or a script's interpreter. `run` covers every program: its sandbox makes them harmless.
        argv0: &'a [u8],
        env_names: &'a [&'a [u8]],
    },
    Command {
        name: &'a str,
        effect: Effect,
        args: &'a [(String, String)],
    },
    /// A command that commits changes of files, with the plan.
    Commit {
        name: &'a str,
        args: &'a [(String, String)],
        plan: &'a Bundle,
    },
    /// A command that changes files, with all of their paths: an undo, or a commit of a plan that is not there. No paths
    /// mean that they are not known.
    Paths {
        name: &'a str,
        args: &'a [(String, String)],
        paths: &'a [PlanPath],
    },
    /// Run any program or script once, as an approver saw it.
    Change {
        /// `None` means `host`.
        profile: Option<&'a str>,
        env_names: &'a [&'a [u8]],
    },
    /// Run any program or script to try a profile as root: no rule is asked.
    Try {
        profile: Option<&'a str>,
        env_names: &'a [&'a [u8]],
    },
}
