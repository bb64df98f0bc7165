//! Synchronizes clients with the thread that kills daemons.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// Longer than any answer may take, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const IDLE: Duration = Duration::from_millis(200);

#[derive(Debug, Default)]
struct State {
    answers: u64,
    warden_lives: bool,
    over: bool,
    finished: usize,
    failed: bool,
}

#[derive(Debug, Default)]
pub struct ChaosCoordinator {
    state: Mutex<State>,
    changed: Condvar,
}

impl ChaosCoordinator {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with it")
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    fn until(&self, what: &str, reached: impl Fn(&State) -> bool) {
        let waiting = |state: &mut State| !state.failed && !reached(state);
        let (state, waited) = self
            .changed
            .wait_timeout_while(self.state(), PATIENCE, waiting)
            .expect("nobody panics with it");
        let failed = state.failed;
        drop(state);
        assert!(!failed, "another thread has failed");
        assert!(!waited.timed_out(), "waited {PATIENCE:?} for {what}");
    }

    pub fn answered(&self) {
        self.change(|state| state.answers += 1);
    }

    /// Waits for `more` answers, or until none came for a while. All clients may be waiting for jobs that must be
    /// stopped. Panics if another thread has failed.
    pub fn until_answered_or_idle(&self, more: u32) {
        let wanted = self.state().answers + u64::from(more);
        loop {
            let state = self.state();
            let before = state.answers;
            let quiet = |state: &mut State| !state.failed && state.answers == before;
            let (state, waited) = match before < wanted {
                true => self
                    .changed
                    .wait_timeout_while(state, IDLE, quiet)
                    .expect("nobody panics with it"),
                false => return,
            };
            let failed = state.failed;
            drop(state);
            assert!(!failed, "another thread has failed");
            if waited.timed_out() {
                return;
            }
        }
    }

    pub fn answers(&self) -> u64 {
        self.state().answers
    }

    pub fn lives(&self) {
        self.change(|state| state.warden_lives = true);
    }

    pub fn dies(&self) {
        self.change(|state| state.warden_lives = false);
    }

    pub fn until_it_lives(&self) {
        self.until("a warden", |state| state.warden_lives);
    }

    /// Waits a moment, because an answer to another client may free a slot.
    pub fn rest(&self) {
        let moment = Duration::from_millis(50);
        let rested = self.changed.wait_timeout(self.state(), moment);
        drop(rested.expect("nobody panics with it"));
    }

    pub fn finished(&self) {
        self.change(|state| state.finished += 1);
    }

    pub fn until_finished(&self, count: usize) {
        self.until("the last answers", |state| state.finished == count);
    }

    pub fn over(&self) {
        self.change(|state| state.over = true);
    }

    pub fn is_over(&self) -> bool {
        self.state().over
    }
}

/// Marks the test as failed if its thread panics, so that no other thread waits for it.
pub struct Alarm<'a>(pub &'a ChaosCoordinator);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.change(|state| state.failed = true);
        }
    }
}
