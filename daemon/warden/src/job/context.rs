//! What code about jobs touches: these parts of the daemon, and no others.

use remit_common::prove::PermittedGrant;
use remit_common::wire::Effect;

use crate::admin::Admins;
use crate::approval::Approvals;
use crate::audit::reports::Reports;
use crate::config::Settings;
use crate::config::policy_reload::Policies;
use crate::event_loop::epoll::Reactor;
use crate::event_loop::lifecycle::Lifecycle;
use crate::identity::lookups::LookUps;
use crate::identity::sessions::Sessions;
use crate::job::acts::Acts;
use crate::job::commits::Commits;
use crate::job::confirmation::store::Confirmations;
use crate::job::table::Jobs;
use crate::sandbox::pool::Sandboxing;
use crate::service::prover::Situation;
use crate::state_dir::ledger::Ledger;

/// What starts, follows and ends jobs.
pub struct JobCx<'a> {
    pub jobs: &'a mut Jobs,
    pub ledger: &'a mut Ledger,
    pub commits: &'a mut Commits,
    pub confirmations: &'a mut Confirmations,
    pub acts: &'a mut Acts,
    pub reports: &'a mut Reports,
    pub sandbox: &'a mut Sandboxing,
    /// Some wait for the end of a job.
    pub admins: &'a mut Admins,
    pub reactor: &'a mut Reactor,
}

/// What decides whether a request may run, or still may.
pub struct RequestCx<'a> {
    pub job: JobCx<'a>,
    pub approvals: &'a mut Approvals,
    pub lookups: &'a mut LookUps,
    pub policies: &'a Policies,
    pub sessions: &'a Sessions,
    pub life: &'a Lifecycle,
    pub settings: &'a Settings,
}

impl<'a> RequestCx<'a> {
    /// Returns what a look at the machine is about. `in_force`: temporary grants.
    pub fn situation<'p>(&self, in_force: &'p [PermittedGrant]) -> Situation<'p>
    where
        'a: 'p,
    {
        Situation {
            machine: &self.settings.args.machine,
            accounts: &self.settings.config.accounts,
            policy: &self.policies.live.policy,
            in_force,
            asks_for_changes: !self.policies.live.floor.takes_grants(Effect::Change),
        }
    }
}
