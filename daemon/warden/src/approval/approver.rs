//! Who can approve: somebody else than who asks, and nobody from inside a job.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::BorrowedFd;

use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_confine::floor;
use remit_policy::{Consent, NotApprover, Policy, User, Who};

use super::table::Request;
use crate::peer::Subject;
use crate::people::{Account, People};
use crate::warden::by;

/// How the cgroup of a job begins; its id follows.
const CGROUP: &str = "remit-";

/// Whether a connected process is no job's: not below the pid namespace of this process, and not in a cgroup of a job.
///
/// Both are read by pid, and count only where the process that connected still lives afterwards. `NSpid`
/// in `/proc/PID/status` has a number for each namespace that the process is in, down from ours
/// (proc_pid_status(5)); unlike the links in `/proc/PID/ns` it needs no right to trace.
///
/// # Errors
/// It is, or that cannot be told.
pub fn from_outside(pid: i32, pidfd: BorrowedFd<'_>) -> Result<(), Refusal> {
    let unknown = |why: String| {
        let text = format!("it cannot be told whether this process is part of a job: {why}");
        refused(&text)
    };
    let read = |name: &str| {
        let path = format!("/proc/{pid}/{name}");
        fs::read_to_string(&path).map_err(|error| unknown(format!("cannot read '{path}': {error}")))
    };
    let status = read("status")?;
    let cgroup = read("cgroup")?;
    if !floor::pidfd_alive(pidfd).unwrap_or(false) {
        return Err(unknown("it has ended".to_owned()));
    }
    match is_inside(&status, &cgroup) {
        None => Err(unknown("its pid namespaces are not told".to_owned())),
        Some(true) => Err(refused("nothing is approved from inside a job")),
        Some(false) => Ok(()),
    }
}

/// Whether no job of a profile is this user. Who became an approver after the policy was loaded is none either.
/// Root is not asked: see `remit_policy_files::impersonators`.
///
/// # Errors
/// Jobs of a profile are.
pub fn not_a_jobs_user(policy: &Policy, uid: u32) -> Result<(), Refusal> {
    let is_one = |user: &User| matches!(user, User::Fixed { uid: user, .. } if *user == uid);
    let mut profiles = policy.profiles();
    match profiles.find(|profile| uid != 0 && is_one(&profile.user)) {
        None => Ok(()),
        Some(profile) => {
            let text = format!(
                "jobs of profile '{}' are this user: it approves nothing",
                profile.name
            );
            Err(Refusal::new(Code::DeniedRule, text)
                .lift("give the profile a user of its own, and reload the policy")
                .next("ask another person who can approve it"))
        }
    }
}

fn refused(text: &str) -> Refusal {
    Refusal::new(Code::DeniedRule, text)
        .next("approve in a terminal of your own, outside of every job")
}

/// Whether a process with these files in /proc is of a job; `None`: they do not tell.
fn is_inside(status: &str, cgroup: &str) -> Option<bool> {
    let mut lines = status.lines();
    let pids = lines.find_map(|line| line.strip_prefix("NSpid:"))?;
    let nested = match pids.split_ascii_whitespace().count() {
        0 => return None,
        count => count > 1,
    };
    let of_job = |name: &str| {
        let id = name.strip_prefix(CGROUP);
        id.is_some_and(|id| id.parse::<JobId>().is_ok())
    };
    Some(nested || cgroup.lines().flat_map(|line| line.split('/')).any(of_job))
}

/// Whether somebody can approve a request, by what the kernel said when they connected.
///
/// # Errors
/// It is their own, also under another account of the same person, or the rule does not name them.
pub fn may_approve(approver: &Subject, request: &Request) -> Result<(), Refusal> {
    let requester = &request.draft.requester.subject;
    if same_person(who_approves(approver), who_asks(requester)) {
        return Err(own());
    }
    is_named(&consent(approver, requester), request)
}

/// Whether somebody can still approve a request, by what the user database says of them now: they have
/// the account that they had when they connected, are in the group of administrators, and are named by the
/// rule with the groups of a login. Whoever has no account, and had none, is who the kernel said, in no group.
///
/// # Errors
/// They cannot.
pub fn may_still_approve(
    approver: &Subject,
    people: &People,
    admin_group: u32,
    request: &Request,
) -> Result<(), Refusal> {
    let (uid, user) = (approver.uid(), approver.user());
    let gids = still_administers(uid, user, people, admin_group).map_err(|why| {
        Refusal::new(
            Code::DeniedRule,
            format!("you can no longer approve this: {why}"),
        )
        .next("log in again, or ask somebody who can approve it")
    })?;
    let consent = Consent {
        by: Who { uid, gids },
        ..consent(approver, &request.draft.requester.subject)
    };
    is_named(&consent, request)
}

/// The groups of an administrator as they are now.
///
/// # Errors
/// Why they administer no longer, or that they were not looked up.
pub fn still_administers<'a>(
    uid: u32,
    name: &str,
    people: &'a People,
    admin_group: u32,
) -> Result<&'a [u32], String> {
    if let Some(why) = people.is_other(uid, name) {
        return Err(why);
    }
    let gids = people.groups(uid, name);
    match people.account(uid, name) {
        None => Err(format!("the account of {name} was not looked up")),
        Some(Account::Is(_)) if uid != 0 && !gids.contains(&admin_group) => {
            Err(format!("{name} is no longer in the group of admin.sock"))
        }
        Some(_) => Ok(gids),
    }
}

fn is_named(consent: &Consent<'_>, request: &Request) -> Result<(), Refusal> {
    request
        .pending
        .may_approve(consent)
        .map_err(|why| match why {
            NotApprover::Requester => own(),
            NotApprover::NotNamed | NotApprover::Unconfined => {
                let by = request.pending.approval().by().join(", ");
                let text = format!("you are not one of those who can approve it ({by})");
                Refusal::new(Code::DeniedRule, text)
                    .by(request.pending.rule().to_string())
                    .next("ask one of them")
            }
        })
}

/// Somebody's yes to what somebody else asks for.
pub fn consent<'a>(approver: &'a Subject, requester: &Subject) -> Consent<'a> {
    Consent {
        by: by(approver),
        name: approver.user(),
        requester: requester.uid(),
    }
}

fn own() -> Refusal {
    Refusal::new(
        Code::DeniedRule,
        "nobody approves their own changes, whatever account they use",
    )
    .next("ask another person who can approve it")
}

/// The uids that somebody who asks has, or is proven to have logged in with. What they only say is not
/// counted: it would keep others from approving.
fn who_asks(subject: &Subject) -> BTreeSet<u32> {
    let login = subject.loginuid();
    std::iter::once(subject.uid()).chain(login).collect()
}

/// The same of somebody who approves, with what they only say: it can but keep themselves from it.
fn who_approves(subject: &Subject) -> BTreeSet<u32> {
    who_asks(subject)
        .into_iter()
        .chain(subject.claimed())
        .collect()
}

fn same_person(a: BTreeSet<u32>, b: BTreeSet<u32>) -> bool {
    !a.is_disjoint(&b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_below_a_namespace_or_in_a_jobs_cgroup_is_inside() {
        let job = JobId([0xab; 16]);
        let cgroup = format!("0::/system.slice/remitd.service/remit-{job}/x\n");
        let of_user = "0::/user.slice/user-1000.slice/session-3.scope\n";
        for (status, cgroup, expect) in [
            ("Name:\tx\nNSpid:\t77\nNSpgid:\t1\n", of_user, Some(false)),
            ("NSpid:\t77\t3\n", of_user, Some(true)),
            ("NSpid:\t77\t3\t1\n", of_user, Some(true)),
            ("NSpid:\t77\n", &cgroup, Some(true)),
            ("NSpid:\t77\n", "1:cpu:/remit-x\n0::/remit-1\n", Some(false)),
            ("NSpid:\t77\n", "", Some(false)),
            ("NSpid:\t\n", of_user, None),
            ("Name:\tNSpid\n", of_user, None),
        ] {
            assert_eq!(is_inside(status, cgroup), expect, "{status:?} {cgroup:?}");
        }
    }

    #[test]
    fn w08_what_a_requester_says_of_its_login_keeps_nobody_from_approving() {
        let agent = Subject::fake(1000, "bot", None).claiming(995);
        let ann = Subject::fake(995, "ann", Some(995));
        assert!(!same_person(who_approves(&ann), who_asks(&agent)));
        // What is proven does, and so does what the approver says.
        let agent = Subject::fake(1000, "bot", Some(995));
        assert!(same_person(who_approves(&ann), who_asks(&agent)));
        let other = Subject::fake(996, "bob", None).claiming(1000);
        let agent = Subject::fake(1000, "bot", None);
        assert!(same_person(who_approves(&other), who_asks(&agent)));
    }

    #[test]
    fn one_uid_in_common_is_the_same_person() {
        for (a, b, same) in [
            (&[1000, 1000][..], &[1001, 1001][..], false),
            (&[1000], &[1000], true),
            // Root by way of the requester's login, and the other way round.
            (&[0, 1000], &[1000], true),
            (&[1001], &[1000, 1001], true),
            (&[0, 1000], &[1002, 1000], true),
            (&[0, 1001], &[1000], false),
        ] {
            let set = |uids: &[u32]| uids.iter().copied().collect();
            assert_eq!(same_person(set(a), set(b)), same, "{a:?} {b:?}");
        }
    }
}
