//! Whether the walls of one base were seen to hold.

use std::rc::Rc;

use super::Compiled;

/// Why nothing runs in what is put up and not tried yet.
pub const UNTRIED: &str = "the keeper of the jobs died, and the walls are not tried again yet";

/// A base, as its witness has it, and its standing: that of every profile made of it.
#[derive(Debug)]
pub struct Stand {
    compiled: Option<Rc<Compiled>>,
    standing: Standing,
}

#[derive(Debug)]
enum Standing {
    /// A witness tried each wall from inside, and each held.
    Proved,
    /// Proved once, and put up anew since: nothing runs until each wall was tried again.
    Untried,
    /// Nothing runs any more, until the daemon is started again. Which wall, and what was seen of it.
    Refused(String),
}

impl Stand {
    /// What a witness saw hold.
    pub fn proved(compiled: Rc<Compiled>) -> Self {
        Self {
            compiled: Some(compiled),
            standing: Standing::Proved,
        }
    }

    /// What cannot be built, or did not hold.
    pub fn refused(compiled: Option<Rc<Compiled>>, why: String) -> Self {
        Self {
            compiled,
            standing: Standing::Refused(why),
        }
    }

    /// What a witness tries; `None` when it could not even be built.
    pub fn compiled(&self) -> Option<&Rc<Compiled>> {
        self.compiled.as_ref()
    }

    /// Why nothing runs in it, if so.
    pub fn why_not(&self) -> Option<&str> {
        match &self.standing {
            Standing::Proved => None,
            Standing::Untried => Some(UNTRIED),
            Standing::Refused(why) => Some(why),
        }
    }

    /// Whether it waits to be tried again.
    pub fn is_untried(&self) -> bool {
        matches!(self.standing, Standing::Untried)
    }

    /// Nothing runs in it any more.
    pub fn refuse(&mut self, why: String) {
        self.standing = Standing::Refused(why);
    }

    /// Each wall was tried as it stands now, and held. What is refused stays so.
    pub fn prove(&mut self) {
        if self.is_untried() {
            self.standing = Standing::Proved;
        }
    }

    /// It was put up anew. What is refused stays so.
    pub fn renew(&mut self) {
        if let Standing::Proved = self.standing {
            self.standing = Standing::Untried;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_waits_to_be_tried_is_proved_and_what_is_refused_stays_so() {
        let mut stand = Stand {
            compiled: None,
            standing: Standing::Proved,
        };
        assert_eq!(stand.why_not(), None);
        stand.renew();
        assert!(stand.is_untried());
        assert_eq!(stand.why_not(), Some(UNTRIED));
        stand.prove();
        assert_eq!(stand.why_not(), None);
        stand.refuse("it fell".into());
        stand.prove();
        stand.renew();
        stand.prove();
        assert_eq!(
            (stand.why_not(), stand.is_untried()),
            (Some("it fell"), false)
        );
    }
}
