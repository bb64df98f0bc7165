//! Who can approve: somebody else than who asks, and nobody from inside a job.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::BorrowedFd;

use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_confine::floor;
use remit_policy::{Consent, NotApprover, Policy, User};

use super::table::Request;
use crate::peer::Subject;
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

/// Whether somebody can approve a request.
///
/// # Errors
/// It is their own, also under another account of the same person, or the rule does not name them.
pub fn may_approve(approver: &Subject, request: &Request) -> Result<(), Refusal> {
    let requester = &request.draft.requester.subject;
    let consent = consent(approver, requester);
    if same_person(persons(approver), persons(requester)) {
        return Err(own());
    }
    request
        .pending
        .may_approve(&consent)
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

/// The uids that somebody has or logged in with.
fn persons(subject: &Subject) -> BTreeSet<u32> {
    let login = subject.loginuid();
    std::iter::once(subject.uid()).chain(login).collect()
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
