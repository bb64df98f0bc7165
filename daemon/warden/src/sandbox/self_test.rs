//! Decides from a self-test if jobs may run, and keeps the state of each base: proved, untested or refused.

use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use remit_spawn::Finding;

use super::Compiled;
use crate::sandbox::host_support::HostSupport;
use crate::sandbox::prepared::{PreforkedJob, empty_within};
use crate::sandbox::spawner::SelfTest;
use crate::startup::error::chain;

pub mod test_run {
    //! A self-test while jobs run, from its fork until no process of it is left.

    use remit_common::admin::{AdminReply, ProfileCheck};
    use remit_sys::{Cgroup, sys};

    use crate::identity::peer::Subject;
    use crate::job::allocation::JobUid;
    use crate::sandbox::ConfinedBase;
    use crate::sandbox::spawner::SelfTest;

    #[derive(Debug)]
    pub struct SelfTestRun {
        pub phase: SelfTestPhase,
        pub tour: TestTour,
    }

    impl SelfTestRun {
        pub fn has_ended(&self) -> bool {
            let SelfTestPhase::Trying(self_test, _) = &self.phase else {
                return false;
            };
            sys::wait_readable(self_test.fd(), Some(0))
        }
    }

    #[derive(Debug)]
    pub struct TestTour {
        pub asked: Option<Subject>,
        /// The running test was killed with the jobs.
        pub is_void: bool,
        pub left: Vec<ConfinedBase>,
        /// Bases whose layers all held, since the current watchdog was started.
        pub held: Vec<ConfinedBase>,
        pub done: Vec<ProfileCheck>,
    }

    #[derive(Debug)]
    pub enum SelfTestPhase {
        Trying(SelfTest, TestSandbox),
        /// Killed, but not ended. Those who waited have their answer.
        Stuck(SelfTest, TestSandbox),
        /// Ended. Leftover processes in its cgroup are being killed.
        Clearing(TestSandbox, AfterCleanup),
    }

    /// The cgroup and the uid of a self-test. No job has this uid meanwhile.
    #[derive(Debug)]
    pub struct TestSandbox {
        pub cgroup: Cgroup,
        pub uid: JobUid,
    }

    #[derive(Debug)]
    pub enum AfterCleanup {
        GoOn,
        Tell(Option<AdminReply>),
    }
}

/// Timeout of the self-test at start-up. The event loop waits for no child.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestedAt {
    AtStart,
    Later,
}

/// Tests all layers and waits. Fails with the layers that failed, or the reason why they cannot be tested.
pub fn now(host_support: &HostSupport, compiled: &Compiled, uid: u32) -> Result<(), String> {
    let (self_test, cgroup) = host_support
        .self_test(compiled, uid)
        .map_err(|not_forked| chain(&not_forked.why))?;
    let left = PreforkedJob::of(cgroup);
    let findings = findings(&self_test);
    drop(self_test);
    // The next self-test has a cgroup of the same name.
    if let Some(cgroup) = left.cgroup() {
        empty_within(cgroup, PATIENCE);
    }
    match broken(&findings?, TestedAt::AtStart) {
        None => Ok(()),
        Some(why) => Err(why),
    }
}

fn findings(self_test: &SelfTest) -> Result<Vec<Finding>, String> {
    loop {
        wait_for(self_test.fd())?;
        if let Some(findings) = self_test.read().map_err(|error| chain(&error))? {
            return Ok(findings);
        }
    }
}

/// Returns the layers that failed, with what was seen; `None` if all held.
pub fn broken(findings: &[Finding], asked: TestedAt) -> Option<String> {
    let failed: Vec<String> = findings
        .iter()
        .filter(|finding| !finding.held)
        .map(|finding| {
            format!(
                "sandbox layer '{}' does not hold ({})",
                finding.layer.name(),
                finding.detail
            )
        })
        .collect();
    match failed.is_empty() {
        // An empty result proves nothing.
        true if findings.is_empty() => Some("no sandbox layer was tested".to_owned()),
        true => None,
        false => is_judged(asked).then(|| failed.join("; ")),
    }
}

#[cfg(not(feature = "mutate"))]
const fn is_judged(_: TestedAt) -> bool {
    true
}

/// Under test, a daemon with a disabled layer still runs jobs, so that the attack is seen to succeed.
/// `REMIT_MUTATE_PROVE=start` makes it trust the self-test from the start, `later` only after the start.
#[cfg(feature = "mutate")]
fn is_judged(asked: TestedAt) -> bool {
    match std::env::var("REMIT_MUTATE_PROVE").as_deref() {
        Ok("start") => true,
        Ok(_) => asked == TestedAt::Later,
        Err(_) => std::env::var_os("REMIT_MUTATE").is_none(),
    }
}

fn wait_for(fd: BorrowedFd<'_>) -> Result<(), String> {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    let patience = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::MAX);
    match poll(&mut fds, patience) {
        Ok(1..) => Ok(()),
        Ok(_) => Err(format!(
            "the self-test of the sandbox does not answer within {} s",
            PATIENCE.as_secs()
        )),
        Err(errno) => Err(format!(
            "cannot wait for the self-test of the sandbox: {errno}"
        )),
    }
}

const UNTRIED: &str = "the watchdog died, and the sandbox layers are not tested again yet";
const NEW: &str = "the sandbox layers are not tested yet";
const UNNEEDED: &str = "nothing has used this base, so its layers were not tested";

#[derive(Debug)]
pub struct BaseState {
    compiled: Option<Rc<Compiled>>,
    state: SelfTestState,
}

#[derive(Debug)]
enum SelfTestState {
    Proved,
    /// Not tested since it was set up, for this reason. Nothing runs until each layer is tested.
    Untried(&'static str),
    /// The policy does not use it.
    Unneeded,
    /// Nothing runs until the daemon restarts. Names the layer and what was seen.
    Refused(String),
}

impl BaseState {
    pub fn proved(compiled: Rc<Compiled>) -> Self {
        Self {
            compiled: Some(compiled),
            state: SelfTestState::Proved,
        }
    }

    pub fn unneeded() -> Self {
        Self {
            compiled: None,
            state: SelfTestState::Unneeded,
        }
    }

    pub fn untried(compiled: Rc<Compiled>) -> Self {
        Self {
            compiled: Some(compiled),
            state: SelfTestState::Untried(NEW),
        }
    }

    pub fn refused(compiled: Option<Rc<Compiled>>, why: String) -> Self {
        Self {
            compiled,
            state: SelfTestState::Refused(why),
        }
    }

    pub fn compiled(&self) -> Option<&Rc<Compiled>> {
        self.compiled.as_ref()
    }

    pub fn why_not(&self) -> Option<&str> {
        match &self.state {
            SelfTestState::Proved => None,
            SelfTestState::Untried(why) => Some(why),
            SelfTestState::Unneeded => Some(UNNEEDED),
            SelfTestState::Refused(why) => Some(why),
        }
    }

    pub fn is_untried(&self) -> bool {
        matches!(self.state, SelfTestState::Untried(_))
    }

    pub fn is_refused(&self) -> bool {
        matches!(self.state, SelfTestState::Refused(_))
    }

    pub fn is_needed(&self) -> bool {
        !matches!(self.state, SelfTestState::Unneeded)
    }

    pub fn refuse(&mut self, why: String) {
        self.state = SelfTestState::Refused(why);
    }

    pub fn prove(&mut self) {
        if self.is_untried() {
            self.state = SelfTestState::Proved;
        }
    }

    /// Marks a proved base as untested after a new set-up. A refused base stays refused.
    pub fn renew(&mut self) {
        if let SelfTestState::Proved = self.state {
            self.state = SelfTestState::Untried(UNTRIED);
        }
    }
}

#[cfg(test)]
mod tests {
    use remit_spawn::Layer;

    use super::*;

    #[test]
    fn each_broken_layer_is_named() {
        let found = |layer, held| Finding {
            layer,
            held,
            detail: "tried: allowed".into(),
        };
        let all = [
            found(Layer::Identity, true),
            found(Layer::NoSuid, false),
            found(Layer::Rlimits, false),
        ];
        for (findings, want) in [
            (&all[..0], Some("no sandbox layer was tested")),
            (&all[..1], None),
            (
                &all[..],
                Some(
                    "sandbox layer 'nosuid' does not hold (tried: allowed); \
                     sandbox layer 'rlimits' does not hold (tried: allowed)",
                ),
            ),
        ] {
            assert_eq!(broken(findings, TestedAt::Later).as_deref(), want);
        }
    }

    #[test]
    fn untried_base_is_proved_and_refused_one_stays() {
        let mut base_state = BaseState {
            compiled: None,
            state: SelfTestState::Proved,
        };
        assert_eq!(base_state.why_not(), None);
        base_state.renew();
        assert!(base_state.is_untried());
        assert_eq!(base_state.why_not(), Some(UNTRIED));
        base_state.prove();
        assert_eq!(base_state.why_not(), None);
        base_state.refuse("it fell".into());
        base_state.prove();
        base_state.renew();
        base_state.prove();
        assert_eq!(
            (base_state.why_not(), base_state.is_untried()),
            (Some("it fell"), false)
        );
    }
}
