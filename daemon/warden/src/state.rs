//! The state of the daemon in parts. Code outside of event loop and start-up gets the parts that it touches.

use nix::sys::signalfd::SignalFd;

use crate::admin::Admins;
use crate::approval::Approvals;
use crate::audit::reports::Reports;
use crate::config::Settings;
use crate::config::policy_reload::Policies;
use crate::event_loop::epoll::Reactor;
use crate::event_loop::lifecycle::Lifecycle;
use crate::identity::arrivals::Callers;
use crate::job::acts::Acts;
use crate::job::commits::Commits;
use crate::job::confirmation::store::Confirmations;
use crate::job::table::Jobs;
use crate::sandbox::pool::Sandboxing;
use crate::state_dir::ledger::Ledger;

#[derive(Debug)]
pub struct Warden {
    pub settings: Settings,
    pub life: Lifecycle,
    pub reactor: Reactor,
    pub signals: SignalFd,
    pub callers: Callers,
    pub admins: Admins,
    pub policies: Policies,
    pub reports: Reports,
    pub sandbox: Sandboxing,
    pub jobs: Jobs,
    pub ledger: Ledger,
    pub commits: Commits,
    pub confirmations: Confirmations,
    pub acts: Acts,
    pub approvals: Approvals,
}

/// Borrows what starts, follows and ends jobs. A macro, because a method would borrow the other parts too.
macro_rules! job_cx {
    ($warden:expr) => {
        $crate::job::context::JobCx {
            jobs: &mut $warden.jobs,
            ledger: &mut $warden.ledger,
            commits: &mut $warden.commits,
            confirmations: &mut $warden.confirmations,
            acts: &mut $warden.acts,
            reports: &mut $warden.reports,
            sandbox: &mut $warden.sandbox,
            admins: &mut $warden.admins,
            reactor: &mut $warden.reactor,
        }
    };
}

macro_rules! request_cx {
    ($warden:expr) => {
        $crate::job::context::RequestCx {
            job: $crate::state::job_cx!($warden),
            approvals: &mut $warden.approvals,
            lookups: &mut $warden.callers.lookups,
            policies: &$warden.policies,
            sessions: &$warden.callers.sessions,
            life: &$warden.life,
            settings: &$warden.settings,
        }
    };
}

pub(crate) use {job_cx, request_cx};
