//! A self-test while jobs run, from its fork until no process of it is left.

use remit_common::admin::{AdminReply, ProfileCheck};
use remit_spawn::SelfTest;
use remit_sys::{Cgroup, sys};

use crate::identity::peer::Subject;
use crate::job::uid_pool::JobUid;
use crate::sandbox::ConfinedBase;

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
