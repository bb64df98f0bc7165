//! How those who ask and the one who kills hear of each other.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// Longer than any answer may take, even of a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Long enough for a new broker.
const IDLE: Duration = Duration::from_millis(200);

#[derive(Debug, Default)]
struct State {
    answers: u64,
    warden_lives: bool,
    over: bool,
    finished: usize,
    failed: bool,
}

/// Shared by all threads of one test.
#[derive(Debug, Default)]
pub struct Pulse {
    state: Mutex<State>,
    changed: Condvar,
}

impl Pulse {
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

    /// Somebody was answered.
    pub fn answered(&self) {
        self.change(|state| state.answers += 1);
    }

    /// Waits until so many more were answered, or none was for a while: everybody may wait for a job that ends
    /// only when it is ended.
    ///
    /// # Panics
    /// When another thread has failed.
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

    /// How many were answered.
    pub fn answers(&self) -> u64 {
        self.state().answers
    }

    /// From now on there is a warden.
    pub fn lives(&self) {
        self.change(|state| state.warden_lives = true);
    }

    /// From now on there may be none.
    pub fn dies(&self) {
        self.change(|state| state.warden_lives = false);
    }

    /// Waits until there is a warden.
    pub fn until_it_lives(&self) {
        self.until("a warden", |state| state.warden_lives);
    }

    /// Waits a moment for something to happen: an answer to somebody makes room.
    pub fn rest(&self) {
        let moment = Duration::from_millis(50);
        let rested = self.changed.wait_timeout(self.state(), moment);
        drop(rested.expect("nobody panics with it"));
    }

    /// Somebody has all the answers.
    pub fn finished(&self) {
        self.change(|state| state.finished += 1);
    }

    /// Waits until so many have all their answers.
    pub fn until_finished(&self, count: usize) {
        self.until("the last answers", |state| state.finished == count);
    }

    /// Nothing new is to be asked for.
    pub fn over(&self) {
        self.change(|state| state.over = true);
    }

    /// Whether nothing new is to be asked for.
    pub fn is_over(&self) -> bool {
        self.state().over
    }
}

/// Tells the others when its thread panics, so that none waits for it.
pub struct Alarm<'a>(pub &'a Pulse);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.change(|state| state.failed = true);
        }
    }
}
