//! Looks up accounts in forked children, because a directory service may block. Keeps pending actions, within bounds.

use std::collections::BTreeMap;
use std::time::Duration;

use remit_common::admin::NewGrant;
use remit_common::refusal::{Code, Refusal};
use remit_sys::{Answer, in_child};
use serde::{Deserialize, Serialize};

use crate::event_loop::epoll::{Interest, Reactor, Token};
use crate::event_loop::timers::Timer;
use crate::identity::accounts::{People, Question};
use crate::identity::peer::Subject;
use crate::job::admission::fits;
use crate::request::{Call, Requester};
use crate::startup::error::chain;

/// Timeout of a look-up. Its child is then ended.
pub const PATIENCE: Duration = Duration::from_secs(10);
const MOST: usize = 32;
/// Of these, look-ups for uses of grants: of one user and of all. Users must not keep each other, arrivals and grants out
/// by requests of their own.
const USES_PER_UID: usize = 4;
const USES: usize = 16;
/// Additional look-ups for administrators' requests, so other users cannot block them.
const SERVES: usize = 16;

#[derive(Debug)]
pub struct GrantUse {
    pub requester: Requester,
    pub call: Call,
}

#[derive(Debug)]
pub struct Giving {
    pub serial: u64,
    pub connection: u64,
    pub subject: Subject,
    pub new: NewGrant,
    pub accepts_paths: bool,
    pub judged: JudgedBy,
}

/// What a look at a grant is about. Another grant or policy may open a path with it.
#[derive(Debug, PartialEq, Eq)]
pub struct JudgedBy {
    /// Its digest.
    pub policy: String,
    pub is_proved: bool,
    pub next_number: u64,
    /// Loads of the policy that somebody asked for, as `remit unenroll` does.
    pub asked_loads: u64,
}

/// What the child asks besides: started before anything is looked up, because a user database may start threads.
pub type AskedBeside<'a> = Box<dyn FnOnce(&People) -> Vec<u8> + 'a>;

#[derive(Debug, Serialize, Deserialize)]
pub struct LookedUp {
    pub people: People,
    /// What was asked besides.
    pub beside: Option<Vec<u8>>,
}

#[derive(Debug)]
pub enum LookUpPurpose {
    Name(u32),
    GrantUse(Box<GrantUse>),
    Give(Box<Giving>),
    Serve(u32, String),
}

#[derive(Debug)]
struct LookUp {
    answer: Answer,
    then: LookUpPurpose,
}

#[derive(Debug, Default)]
pub struct LookUps {
    next: u64,
    live: BTreeMap<u64, LookUp>,
}

impl LookUps {
    pub fn has_request(&self, uid: u32, id: &str) -> bool {
        self.uses().any(|used| {
            let same = used.call.request().is_some_and(|(own, _)| own == id);
            used.requester.subject.uid() == uid && same
        })
    }

    /// Starts a look-up. Fails if too many run, or the child cannot be forked.
    pub fn look_up(
        &mut self,
        reactor: &mut Reactor,
        question: &Question,
        then: LookUpPurpose,
    ) -> Result<(), Refusal> {
        self.look_up_with(reactor, question, then, None)
    }

    /// `beside`: what the child also asks, and how long that takes.
    pub fn look_up_with<'b>(
        &mut self,
        reactor: &mut Reactor,
        question: &Question,
        then: LookUpPurpose,
        beside: Option<(&dyn Fn() -> AskedBeside<'b>, Duration)>,
    ) -> Result<(), Refusal> {
        let cannot = |why: String| {
            let text = format!("cannot look up accounts: {why}");
            Refusal::new(Code::NotStarted, text).next("try again in a moment")
        };
        let most = match then {
            LookUpPurpose::Serve(..) => MOST + SERVES,
            LookUpPurpose::Name(_) | LookUpPurpose::GrantUse(_) | LookUpPurpose::Give(_) => MOST,
        };
        let busy = |text: String| Err(Refusal::new(Code::Busy, text).next("try again in a moment"));
        if self.live.len() >= most {
            return busy(format!("{most} accounts are being looked up, the maximum"));
        }
        if let LookUpPurpose::GrantUse(used) = &then
            && let Some(text) = too_many_uses(self.uses(), used)
        {
            return busy(text);
        }
        let answer = in_child(|| {
            let ask = beside.map(|(begin, _)| begin());
            let people = People::look_up(question);
            let beside = ask.map(|ask| ask(&people));
            let found = LookedUp { people, beside };
            postcard::to_extend(&found, Vec::new()).unwrap_or_default()
        });
        let answer = answer.map_err(|error| cannot(chain(&error)))?;
        self.next += 1;
        let serial = self.next;
        reactor
            .add(answer.fd(), Token::LookUp(serial), Interest::Read)
            .map_err(|error| cannot(error.to_string()))?;
        let more = beside.map(|(_, more)| more).unwrap_or_default();
        let patience = PATIENCE.saturating_add(more);
        reactor.timers.add(patience, Timer::LookUp(serial));
        self.live.insert(serial, LookUp { answer, then });
        Ok(())
    }

    fn uses(&self) -> impl Iterator<Item = &GrantUse> + Clone {
        self.live.values().filter_map(|one| match &one.then {
            LookUpPurpose::GrantUse(used) => Some(used.as_ref()),
            LookUpPurpose::Name(_) | LookUpPurpose::Give(_) | LookUpPurpose::Serve(..) => None,
        })
    }

    pub fn read(&mut self, serial: u64) -> Option<Result<LookedUp, String>> {
        match self.live.get_mut(&serial)?.answer.read() {
            Ok(None) => None,
            Ok(Some(bytes)) => {
                let found = postcard::from_bytes(&bytes);
                Some(found.map_err(|_| "the child that looks up accounts died".to_owned()))
            }
            Err(error) => Some(Err(chain(&error))),
        }
    }

    pub fn end(&mut self, serial: u64, reactor: &mut Reactor) -> Option<LookUpPurpose> {
        reactor.timers.cancel(Timer::LookUp(serial));
        let LookUp { answer, then } = self.live.remove(&serial)?;
        reactor.remove(answer.fd());
        Some(then)
    }

    pub fn take_uses(&mut self, reactor: &mut Reactor) -> Vec<GrantUse> {
        let is_use = |then: &LookUpPurpose| matches!(then, LookUpPurpose::GrantUse(_));
        let uses = self.take(reactor, is_use).into_iter();
        let uses = uses.filter_map(|then| match then {
            LookUpPurpose::GrantUse(used) => Some(*used),
            LookUpPurpose::Name(_) | LookUpPurpose::Give(_) | LookUpPurpose::Serve(..) => None,
        });
        uses.collect()
    }

    /// Ends the look-ups of new grants for which `is_meant` is true.
    pub fn take_giving(
        &mut self,
        reactor: &mut Reactor,
        is_meant: impl Fn(&NewGrant) -> bool,
    ) -> Vec<Giving> {
        let is_it =
            |then: &LookUpPurpose| matches!(then, LookUpPurpose::Give(one) if is_meant(&one.new));
        let all = self.take(reactor, is_it).into_iter();
        let all = all.filter_map(|then| match then {
            LookUpPurpose::Give(giving) => Some(*giving),
            LookUpPurpose::Name(_) | LookUpPurpose::GrantUse(_) | LookUpPurpose::Serve(..) => None,
        });
        all.collect()
    }

    fn take(
        &mut self,
        reactor: &mut Reactor,
        is_meant: impl Fn(&LookUpPurpose) -> bool,
    ) -> Vec<LookUpPurpose> {
        let meant = self.live.iter().filter(|(_, one)| is_meant(&one.then));
        let serials: Vec<u64> = meant.map(|(serial, _)| *serial).collect();
        let taken = serials.into_iter().map(|serial| self.end(serial, reactor));
        taken.flatten().collect()
    }
}

/// Returns why one more use may not be looked up, beside those of `uses`.
fn too_many_uses<'a>(
    uses: impl Iterator<Item = &'a GrantUse> + Clone,
    new: &GrantUse,
) -> Option<String> {
    let uid = new.requester.subject.uid();
    let own = uses
        .clone()
        .filter(|used| used.requester.subject.uid() == uid);
    let bytes = |used: &GrantUse| used.call.held;
    let (own_held, all_held) = (own.clone().map(bytes).sum(), uses.clone().map(bytes).sum());
    let what = "uses of temporary grants are being looked up, the maximum";
    if own.count() >= USES_PER_UID {
        Some(format!("{USES_PER_UID} of your {what}"))
    } else if uses.count() >= USES {
        Some(format!("{USES} {what}"))
    } else if !fits(own_held, all_held, new.call.held) {
        let text = "the uses of temporary grants that are being looked up hold the maximum number of bytes";
        Some(text.to_owned())
    } else {
        None
    }
}

pub fn late() -> String {
    let seconds = PATIENCE.as_secs();
    format!("accounts were not looked up in {seconds} s: a directory service does not respond")
}

#[cfg(test)]
mod tests {
    use remit_common::admin::Grantee;
    use remit_common::caps;
    use remit_common::wire::Purpose;

    use super::*;
    use crate::request::fixture::{named, spec};

    fn used(uid: u32, held: usize) -> GrantUse {
        let mut call = Call::new(spec(named("a.b", &[]), Purpose::Use), Vec::new()).unwrap();
        call.held = held;
        GrantUse {
            requester: Requester {
                subject: Subject::fake(uid, "agent", None),
                session: 1,
                ticket: 1,
            },
            call,
        }
    }

    fn giving(serial: u64, uid: u32) -> Giving {
        Giving {
            serial,
            connection: 1,
            subject: Subject::fake(1005, "ann", None),
            new: NewGrant {
                to: Grantee::User {
                    name: "agent".into(),
                    uid,
                },
                what: "a.b".into(),
                args: Vec::new(),
                for_s: 60,
                uses: None,
                across_reboot: false,
                paths: Vec::new(),
            },
            accepts_paths: false,
            judged: JudgedBy {
                policy: String::new(),
                is_proved: false,
                next_number: 1,
                asked_loads: 0,
            },
        }
    }

    #[test]
    fn look_ups_of_new_grants_end_without_the_others() {
        let (mut lookups, mut reactor) = (LookUps::default(), Reactor::new().unwrap());
        for then in [
            LookUpPurpose::Give(Box::new(giving(1, 1000))),
            LookUpPurpose::GrantUse(Box::new(used(1000, 1))),
            LookUpPurpose::Give(Box::new(giving(2, 1001))),
        ] {
            let question = Question::default();
            lookups.look_up(&mut reactor, &question, then).unwrap();
        }
        let mut taken = |uid: Option<u32>| {
            let is_meant = |new: &NewGrant| {
                uid.is_none_or(|uid| matches!(new.to, Grantee::User { uid: own, .. } if own == uid))
            };
            let all = lookups.take_giving(&mut reactor, is_meant).into_iter();
            let serials: Vec<u64> = all.map(|one| one.serial).collect();
            (serials, lookups.live.len())
        };
        assert_eq!(taken(Some(1002)), (vec![], 3));
        assert_eq!(taken(Some(1001)), (vec![2], 2));
        assert_eq!(taken(None), (vec![1], 1));
        assert_eq!(taken(None), (vec![], 1));
    }

    #[test]
    fn uses_of_one_user_and_of_all_leave_slots_to_other_look_ups() {
        let of_users = |users: u32, each: u32| {
            let all = (0..users * each).map(|at| used(1000 + at / each, 1));
            all.collect::<Vec<_>>()
        };
        let (quarter, whole) = (caps::QUEUED_BYTES / 4, caps::QUEUED_BYTES);
        for (uses, new, expect) in [
            (of_users(1, 0), used(1000, 1), None),
            (of_users(1, 3), used(1000, 1), None),
            (of_users(1, 4), used(1000, 1), Some("4 of your uses")),
            (of_users(1, 4), used(1001, 1), None),
            (of_users(3, 4), used(1003, 1), None),
            (of_users(4, 4), used(1004, 1), Some("16 uses")),
            (of_users(15, 1), used(1015, 1), None),
            (of_users(16, 1), used(1016, 1), Some("16 uses")),
            (
                vec![used(1000, quarter)],
                used(1000, quarter),
                Some("bytes"),
            ),
            (vec![used(1000, quarter)], used(1001, quarter), None),
            (
                vec![used(1000, whole), used(1001, whole)],
                used(1002, whole),
                Some("bytes"),
            ),
        ] {
            let count = uses.len();
            let text = too_many_uses(uses.iter(), &new);
            let is_expected = match (&text, expect) {
                (Some(text), Some(expect)) => text.contains(expect),
                (None, None) => true,
                _ => false,
            };
            assert!(is_expected, "{count}: {text:?}");
        }
    }
}
