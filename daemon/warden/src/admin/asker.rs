//! Checks for each request on admin.sock that its user still administers remit. Processes of a login keep its groups
//! after the administrator is removed from them. The groups that the kernel reports permit nothing.

use std::collections::BTreeMap;

use remit_common::refusal::{Code, Refusal};

use super::{Admin, Admins};
use crate::approval::still_administers;
use crate::event_loop::epoll::{Interest, Reactor, Token};
use crate::identity::accounts::{People, Question};
use crate::identity::lookups::{LookUpPurpose, LookUps};

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

/// Connections in look-up, by account, one look-up at a time. A later request waits for a look-up after it.
#[derive(Debug, Default)]
pub(super) struct Askers(BTreeMap<(u32, String), Asking>);

#[derive(Debug, Default)]
struct Asking {
    now: Vec<u64>,
    next: Vec<u64>,
}

/// Returns true if the result is known. Otherwise a look-up runs, and the connection is served again after it.
pub(super) fn knows_standing(
    admins: &mut Admins,
    lookups: &mut LookUps,
    reactor: &mut Reactor,
    number: u64,
    admin: &mut Admin,
) -> bool {
    match admin.standing {
        AdminStanding::Known(_) => return true,
        AdminStanding::Asked => return false,
        AdminStanding::Unknown => {}
    }
    let (uid, user) = (admin.subject.uid(), admin.subject.user());
    let asked = match admins.askers.0.get_mut(&(uid, user.to_owned())) {
        _ if uid == 0 => {
            admin.standing = AdminStanding::Known(Ok(()));
            return true;
        }
        Some(asking) => {
            asking.next.push(number);
            Ok(())
        }
        None => ask_standing(admins, lookups, reactor, (uid, user), vec![number]),
    };
    let is_known = asked.is_err();
    admin.standing = match asked {
        Ok(()) => AdminStanding::Asked,
        Err(refusal) => AdminStanding::Known(Err(refusal)),
    };
    is_known
}

fn ask_standing(
    admins: &mut Admins,
    lookups: &mut LookUps,
    reactor: &mut Reactor,
    (uid, user): (u32, &str),
    now: Vec<u64>,
) -> Result<(), Refusal> {
    let mut question = Question::default();
    question.account(uid, user);
    let then = LookUpPurpose::Serve(uid, user.to_owned());
    lookups.look_up(reactor, &question, then)?;
    let next = Vec::new();
    let asking = Asking { now, next };
    admins.askers.0.insert((uid, user.to_owned()), asking);
    Ok(())
}

pub fn on_standing_looked_up(
    admins: &mut Admins,
    lookups: &mut LookUps,
    reactor: &mut Reactor,
    (uid, user): (u32, &str),
    people: Result<People, String>,
) {
    let Some(Asking { now, next }) = admins.askers.0.remove(&(uid, user.to_owned())) else {
        return;
    };
    let standing = people.map_err(|why| unsure(&why)).and_then(|people| {
        let found = still_administers(uid, user, &people, admins.group);
        found.map(drop).map_err(|why| {
            Refusal::new(
                Code::DeniedRule,
                format!("you are no longer an administrator of remit: {why}"),
            )
            .next("log in again, or ask an administrator")
        })
    });
    if !next.is_empty()
        && let Err(refusal) = ask_standing(admins, lookups, reactor, (uid, user), next.clone())
    {
        serve_again(admins, reactor, &next, &Err(refusal));
    }
    serve_again(admins, reactor, &now, &standing);
}

fn serve_again(
    admins: &mut Admins,
    reactor: &Reactor,
    numbers: &[u64],
    standing: &Result<(), Refusal>,
) {
    for number in numbers {
        let Some(admin) = admins.live.get_mut(number) else {
            continue;
        };
        admin.standing = AdminStanding::Known(standing.clone());
        let token = Token::Admin(*number);
        match reactor.add(&admin.stream, token, Interest::Read) {
            Ok(()) => admins.due.push_back(*number),
            Err(_) => admins.close(*number, reactor),
        }
    }
}

fn unsure(why: &str) -> Refusal {
    let text = format!("cannot determine whether you are still an administrator of remit: {why}");
    Refusal::new(Code::DaemonUnavailable, text).next("try again in a moment, or as root")
}
