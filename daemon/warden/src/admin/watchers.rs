//! Connections that get the list of waiting requests at its next change. Each list needs a look-up of its own, which begins
//! after the change: a connection can stay open for days after its user has lost the group.

use remit_common::refusal::Refusal;

use super::connections::{AdminStanding, ListsDue, knows_standing};
use super::{Admin, Admins, Wants};
use crate::event_loop::epoll::Reactor;
use crate::identity::lookups::LookUps;
use crate::job::table::Jobs;

/// Has those served who wait for a change of the list, if it has changed.
pub fn tell_pending(admins: &mut Admins, jobs: &Jobs) {
    if std::mem::replace(&mut admins.reported, jobs.generation) == jobs.generation {
        return;
    }
    let is_meant = |(_, what): &mut (u64, Wants)| *what == Wants::Pending;
    let reported: Vec<_> = admins.waiting.extract_if(.., is_meant).collect();
    for (number, _) in reported {
        if let Some(admin) = admins.live.get_mut(&number) {
            admin.lists.add();
            admins.due.push_back(number);
        }
    }
}

/// Returns how many lists the connection gets now, and whether its user may have them. `None`: none, or not yet.
pub fn next_lists(
    admins: &mut Admins,
    lookups: &mut LookUps,
    reactor: &mut Reactor,
    number: u64,
    admin: &mut Admin,
) -> Option<(usize, Result<(), Refusal>)> {
    let count = match (admin.lists, &admin.standing) {
        // A look-up for a request may have begun before the change.
        (ListsDue::None, _)
        | (ListsDue::Changed(_), AdminStanding::Asked | AdminStanding::Known(_)) => {
            return None;
        }
        (ListsDue::Changed(count) | ListsDue::LookedUp(count), _) => count,
    };
    admin.lists = ListsDue::LookedUp(count);
    if !knows_standing(admins, lookups, reactor, number, admin) {
        return None;
    }
    admin.lists = ListsDue::None;
    Some((count, admin.standing.take().map(drop)))
}
