//! The state of a base: proved by a self-test, untested or refused.

use std::rc::Rc;

use super::Compiled;

pub const UNTRIED: &str = "the watchdog died, and the sandbox layers are not tested again yet";

/// A base and its state, which applies to every profile of this base.
#[derive(Debug)]
pub struct BaseState {
    compiled: Option<Rc<Compiled>>,
    state: SelfTestState,
}

#[derive(Debug)]
enum SelfTestState {
    /// Each layer was tested from inside, and each held.
    Proved,
    /// Proved once and set up again since. Nothing runs until each layer is tested again.
    Untried,
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
            SelfTestState::Untried => Some(UNTRIED),
            SelfTestState::Refused(why) => Some(why),
        }
    }

    pub fn is_untried(&self) -> bool {
        matches!(self.state, SelfTestState::Untried)
    }

    pub fn refuse(&mut self, why: String) {
        self.state = SelfTestState::Refused(why);
    }

    /// Marks an untested base as proved. A refused base stays refused.
    pub fn prove(&mut self) {
        if self.is_untried() {
            self.state = SelfTestState::Proved;
        }
    }

    /// Marks a proved base as untested after a new set-up. A refused base stays refused.
    pub fn renew(&mut self) {
        if let SelfTestState::Proved = self.state {
            self.state = SelfTestState::Untried;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
