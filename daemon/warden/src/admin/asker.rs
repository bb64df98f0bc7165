//! Checks for each request on admin.sock that its user still administers remit. Processes of a login keep its groups
//! after the administrator is removed from them. The groups that the kernel reports therefore permit nothing. Only
//! root is not looked up.

use std::collections::BTreeMap;

use remit_common::refusal::{Code, Refusal};

use super::Admin;
use crate::approval::still_administers;
use crate::event_loop::epoll::{Interest, Token};
use crate::identity::accounts::{People, Question};
use crate::identity::lookups::LookUpPurpose;
use crate::state::Warden;

/// The result of a connection's look-up. It is valid for one request.
#[derive(Debug)]
pub(super) enum AdminStanding {
    Unknown,
    Asked,
    Known(Result<(), Refusal>),
}

impl AdminStanding {
    pub(super) const fn is_asked(&self) -> bool {
        matches!(self, Self::Asked)
    }

    pub(super) fn take(&mut self) -> Result<(), Refusal> {
        match std::mem::replace(self, Self::Unknown) {
            Self::Known(known) => known,
            Self::Unknown | Self::Asked => Err(unsure("it was not looked up")),
        }
    }
}

/// Connections in look-up, by account. Each account has one look-up at a time. A request that arrives meanwhile
/// waits for the next look-up, which starts after the request.
#[derive(Debug, Default)]
pub(super) struct Askers(BTreeMap<(u32, String), Asking>);

#[derive(Debug, Default)]
struct Asking {
    now: Vec<u64>,
    next: Vec<u64>,
}

impl Warden {
    /// Returns true if the result is known. Otherwise a look-up runs, and the connection is served again after it.
    pub(super) fn knows_standing(&mut self, number: u64, admin: &mut Admin) -> bool {
        match admin.standing {
            AdminStanding::Known(_) => return true,
            AdminStanding::Asked => return false,
            AdminStanding::Unknown => {}
        }
        let (uid, user) = (admin.subject.uid(), admin.subject.user().to_owned());
        if uid == 0 {
            admin.standing = AdminStanding::Known(Ok(()));
            return true;
        }
        if let Some(asking) = self.admins.askers.0.get_mut(&(uid, user.clone())) {
            asking.next.push(number);
            admin.standing = AdminStanding::Asked;
            return false;
        }
        match self.ask_standing(uid, &user, vec![number]) {
            Ok(()) => {
                admin.standing = AdminStanding::Asked;
                false
            }
            Err(refusal) => {
                admin.standing = AdminStanding::Known(Err(refusal));
                true
            }
        }
    }

    fn ask_standing(&mut self, uid: u32, user: &str, now: Vec<u64>) -> Result<(), Refusal> {
        let mut question = Question::default();
        question.account(uid, user);
        self.look_up(&question, LookUpPurpose::Serve(uid, user.to_owned()))?;
        let next = Vec::new();
        let asking = Asking { now, next };
        self.admins.askers.0.insert((uid, user.to_owned()), asking);
        Ok(())
    }

    pub fn on_standing_looked_up(&mut self, uid: u32, user: &str, people: Result<People, String>) {
        let Some(asking) = self.admins.askers.0.remove(&(uid, user.to_owned())) else {
            return;
        };
        let standing = people.map_err(|why| unsure(&why)).and_then(|people| {
            let group = self.admins.group();
            let found = still_administers(uid, user, &people, group);
            found.map(drop).map_err(|why| {
                Refusal::new(
                    Code::DeniedRule,
                    format!("you are no longer an administrator of remit: {why}"),
                )
                .next("log in again, or ask an administrator")
            })
        });
        if !asking.next.is_empty()
            && let Err(refusal) = self.ask_standing(uid, user, asking.next.clone())
        {
            self.serve_again(&asking.next, &Err(refusal));
        }
        self.serve_again(&asking.now, &standing);
    }

    fn serve_again(&mut self, numbers: &[u64], standing: &Result<(), Refusal>) {
        for number in numbers {
            let Some(admin) = self.admins.live.get_mut(number) else {
                continue;
            };
            admin.standing = AdminStanding::Known(standing.clone());
            let token = Token::Admin(*number);
            match self.reactor.add(&admin.stream, token, Interest::Read) {
                Ok(()) => self.on_admin_event(*number),
                Err(_) => self.end_admin(*number),
            }
        }
    }
}

fn unsure(why: &str) -> Refusal {
    let text = format!("cannot determine whether you are still an administrator of remit: {why}");
    Refusal::new(Code::DaemonUnavailable, text).next("try again in a moment, or as root")
}
