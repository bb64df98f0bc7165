//! Decides who can approve: never the requester, and never a process inside a job.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd};

use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_policy::{Approval, CallerIds, Consent, NotApprover, Policy, User};
use remit_sys::sys;

use super::table::Request;
use crate::identity::accounts::{AccountState, People};
use crate::identity::peer::Subject;

/// Prefix of a job's cgroup name; the job id follows.
const CGROUP: &str = "remit-";

/// Fails if a connected process may be in a job: below our pid namespace, or in a job's cgroup. `NSpid` of a pidfd has
/// one number per nested namespace, from ours down (pidfd_open(2), proc_pid_fdinfo(5)); links in `/proc/PID/ns` would
/// need the right to trace. The cgroup is read by pid, and counts only if the process still lives then.
pub fn from_outside(pid: i32, pidfd: BorrowedFd<'_>) -> Result<(), Refusal> {
    let unknown = |why: String| {
        let text = format!("cannot tell whether this process is part of a job: {why}");
        refused(&text)
    };
    let read = |path: String| {
        fs::read_to_string(&path).map_err(|error| unknown(format!("cannot read '{path}': {error}")))
    };
    let fdinfo = read(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))?;
    let cgroup = read(format!("/proc/{pid}/cgroup"))?;
    if !sys::pidfd_alive(pidfd).unwrap_or(false) {
        return Err(unknown("it has ended".to_owned()));
    }
    match is_inside(&fdinfo, &cgroup) {
        None => Err(unknown("its pid namespaces are unknown".to_owned())),
        Some(true) => Err(refused("a job cannot approve anything")),
        Some(false) => Ok(()),
    }
}

/// Fails if a profile's jobs run as this user by now. Root is not checked: see `remit_policy_files::impersonators`.
pub fn not_a_jobs_user(policy: &Policy, uid: u32) -> Result<(), Refusal> {
    let is_one = |user: &User| matches!(user, User::Fixed { uid: user, .. } if *user == uid);
    let mut profiles = policy.profiles();
    match profiles.find(|profile| uid != 0 && is_one(&profile.user)) {
        None => Ok(()),
        Some(profile) => {
            let text = format!(
                "jobs of profile '{}' run as this user, so it cannot approve",
                profile.name
            );
            Err(Refusal::new(Code::DeniedRule, text)
                .lift("give the profile a user of its own, then remit policy reload")
                .next("ask another approver"))
        }
    }
}

fn refused(text: &str) -> Refusal {
    Refusal::new(Code::DeniedRule, text)
        .next("approve in a terminal of your own, outside of all jobs")
}

fn is_inside(fdinfo: &str, cgroup: &str) -> Option<bool> {
    let mut lines = fdinfo.lines();
    let pids = lines.find_map(|line| line.strip_prefix("NSpid:"))?;
    let pids: Vec<&str> = pids.split_ascii_whitespace().collect();
    let nested = match pids[..] {
        // It has ended, or its pid namespace is beside ours.
        [] | ["-1" | "0", ..] => return None,
        [_] => false,
        [_, _, ..] => true,
    };
    let of_job = |name: &str| {
        let id = name.strip_prefix(CGROUP);
        id.is_some_and(|id| id.parse::<JobId>().is_ok())
    };
    Some(nested || cgroup.lines().flat_map(|line| line.split('/')).any(of_job))
}

/// Checks an approver by the credentials that the kernel reported at connect. Fails if the request is their own, or if
/// they have approved it, under any account of the person. Fails if the rule does not name them.
pub fn may_approve(approver: &Subject, request: &Request) -> Result<(), Refusal> {
    if is_own(approver, request) {
        return Err(own());
    }
    if let Some(earlier) = earlier(approver, request) {
        return Err(again(earlier.user(), request.missing()));
    }
    is_named(
        &consent(approver, &request.draft.requester.subject),
        request,
    )
}

fn is_own(subject: &Subject, request: &Request) -> bool {
    let requester = &request.draft.requester.subject;
    same_person(approver_uids(subject), requester_uids(requester))
}

/// Returns the account by which this person has approved it.
fn earlier<'r>(subject: &Subject, request: &'r Request) -> Option<&'r Subject> {
    let is_same = |earlier: &&Subject| same_person(approver_uids(subject), approver_uids(earlier));
    request.approvers().find(is_same)
}

/// Returns whether an administrator may read the files that were copied with the rights of the job, and the plan: root, or
/// somebody that could approve the request now, or has approved it. `gids`: groups of the account, as they were looked up.
pub fn may_read_content(reader: &Subject, gids: &[u32], request: &Request) -> bool {
    let uid = reader.uid();
    let connected = consent(reader, &request.draft.requester.subject);
    let now = Consent {
        by: CallerIds { uid, gids },
        ..connected
    };
    let is_named = |consent| is_named(consent, request).is_ok();
    let is_or_was_approver = || !is_own(reader, request) || earlier(reader, request).is_some();
    uid == 0 || ([connected, now].iter().all(is_named) && is_or_was_approver())
}

/// Checks an approver again, by the user database as it is now. The account must be the one at connect, and in the
/// administrators' group. The rule must name it, with the groups of a login. A user who had no account at connect
/// and has none now is the kernel's uid without groups.
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
        .next("log in again, or ask another approver")
    })?;
    let consent = Consent {
        by: CallerIds { uid, gids },
        ..consent(approver, &request.draft.requester.subject)
    };
    is_named(&consent, request)
}

/// Returns why one of the approvers of this could no longer approve it, by the user database as it is now.
pub fn lost_approver<'a>(
    approvers: impl IntoIterator<Item = &'a Subject>,
    asked: &Approval,
    people: &People,
    admin_group: u32,
) -> Option<String> {
    let why = approvers.into_iter().find_map(|approver| {
        let (uid, user) = (approver.uid(), approver.user());
        match still_administers(uid, user, people, admin_group) {
            Ok(gids) if asked.is_met_by(CallerIds { uid, gids }) => None,
            Ok(_) => Some(format!(
                "{user} is no longer one of {}",
                asked.asked_of().join(", ")
            )),
            Err(why) => Some(why),
        }
    })?;
    Some(format!("its approver could no longer approve it: {why}"))
}

/// Returns the current groups of an administrator. Fails if they are no longer one, or were not looked up.
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
        Some(AccountState::Is(_)) if uid != 0 && !gids.contains(&admin_group) => {
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
            NotApprover::Again => again(consent.name, request.missing()),
            NotApprover::NotNamed
            | NotApprover::Unconfined
            | NotApprover::TooFew
            | NotApprover::Unsigned => {
                let by = request.pending.approval().asked_of().join(", ");
                let text = format!("you are not one of its approvers ({by})");
                Refusal::new(Code::DeniedRule, text)
                    .by(request.pending.rule().to_string())
                    .next("ask one of them")
            }
        })
}

pub fn consent<'a>(approver: &'a Subject, requester: &Subject) -> Consent<'a> {
    Consent {
        by: approver.caller_ids(),
        name: approver.user(),
        requester: requester.uid(),
        proof: None,
    }
}

fn own() -> Refusal {
    Refusal::new(
        Code::DeniedRule,
        "you cannot approve your own change, with any of your accounts",
    )
    .next("ask another approver")
}

fn again(earlier: &str, missing: usize) -> Refusal {
    let more = match missing {
        1 => "the approval of 1 other person is missing".to_owned(),
        more => format!("the approvals of {more} other people are missing"),
    };
    Refusal::new(
        Code::DeniedRule,
        format!("you have approved it as {earlier}; {more}"),
    )
    .next("ask another approver")
}

/// Returns whether this connection has one of these uids, as its own, by its login or by its claim.
pub fn is_person(subject: &Subject, uids: impl Iterator<Item = u32>) -> bool {
    same_person(approver_uids(subject), uids.collect())
}

/// Uids that the requester has or provably logged in with. Claimed uids would exclude others from approving.
fn requester_uids(subject: &Subject) -> BTreeSet<u32> {
    let login = subject.loginuid();
    std::iter::once(subject.uid()).chain(login).collect()
}

/// Adds claimed uids: a claim can only exclude the approver who makes it.
fn approver_uids(subject: &Subject) -> BTreeSet<u32> {
    requester_uids(subject)
        .into_iter()
        .chain(subject.claimed())
        .collect()
}

fn same_person(a: BTreeSet<u32>, b: BTreeSet<u32>) -> bool {
    !a.is_disjoint(&b)
}

#[cfg(test)]
mod tests {
    use remit_common::wire::Purpose;
    use remit_policy::MachineTable;

    use super::*;
    use crate::approval::fixture::{Scene, spec};
    use crate::request::fixture::named;

    fn asked() -> Request {
        const POLICY: &str = r##"
[[command]]
name = "disk.wipe"
summary = "wipes a disk"
argv = ["/usr/bin/true"]
effect = "change"
profile = "strict"

[[grant]]
name = "ops"
to = ["#64001"]
allow = ["disk.wipe"]
effect = "change"
approval = { by = ["%#64002"] }
"##;
        let scene = Scene::of(POLICY, &MachineTable::default());
        let purpose = Purpose::Change { reason: "x".into() };
        scene.request(spec(named("disk.wipe", &[]), purpose), Vec::new())
    }

    #[test]
    fn content_is_for_root_and_possible_approvers() {
        let request = asked();
        let ann = Subject::fake(64_002, "ann", Some(64_002));
        for (reader, gids, expect) in [
            (ann.clone(), &[64_002][..], true),
            // The process has a group that its account has lost.
            (ann.clone(), &[64_200], false),
            (ann.claiming(64_001), &[64_002], false),
            (Subject::fake(64_001, "agent", None), &[64_002], false),
            (Subject::fake(64_003, "eve", None), &[64_002], false),
            (Subject::fake(0, "root", None), &[], true),
        ] {
            let reads = may_read_content(&reader, gids, &request);
            assert_eq!(reads, expect, "{reader:?} {gids:?}");
        }
    }

    #[test]
    fn process_in_namespace_or_job_cgroup_is_inside() {
        let job = JobId([0xab; 16]);
        let cgroup = format!("0::/system.slice/remitd.service/remit-{job}/x\n");
        let of_user = "0::/user.slice/user-1000.slice/session-3.scope\n";
        for (fdinfo, cgroup, expect) in [
            ("pos:\t0\nPid:\t77\nNSpid:\t77\n", of_user, Some(false)),
            ("NSpid:\t77\t3\n", of_user, Some(true)),
            ("NSpid:\t77\t3\t1\n", of_user, Some(true)),
            ("NSpid:\t77\n", &cgroup, Some(true)),
            ("NSpid:\t77\n", "1:cpu:/remit-x\n0::/remit-1\n", Some(false)),
            ("NSpid:\t77\n", "", Some(false)),
            ("NSpid:\t\n", of_user, None),
            ("Pid:\t77\n", of_user, None),
            ("NSpid:\t-1\n", of_user, None),
            ("NSpid:\t0\n", of_user, None),
        ] {
            assert_eq!(is_inside(fdinfo, cgroup), expect, "{fdinfo:?} {cgroup:?}");
        }
    }

    #[test]
    fn k02_host_process_is_known_by_pidfd() {
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let pidfd = sys::pidfd_open(pid).unwrap();
        let path = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
        let lives = fs::read_to_string(&path).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let ended = fs::read_to_string(&path).unwrap();
        assert_eq!(is_inside(&lives, ""), Some(false), "{lives}");
        assert_eq!(is_inside(&ended, ""), None, "{ended}");
        assert!(from_outside(pid, std::os::fd::AsFd::as_fd(&pidfd)).is_err());
    }

    #[test]
    fn w08_claimed_login_excludes_no_approver() {
        let agent = Subject::fake(1000, "bot", None).claiming(995);
        let ann = Subject::fake(995, "ann", Some(995));
        assert!(!same_person(approver_uids(&ann), requester_uids(&agent)));
        // A proven login does exclude, and so does the approver's own claim.
        let agent = Subject::fake(1000, "bot", Some(995));
        assert!(same_person(approver_uids(&ann), requester_uids(&agent)));
        let other = Subject::fake(996, "bob", None).claiming(1000);
        let agent = Subject::fake(1000, "bot", None);
        assert!(same_person(approver_uids(&other), requester_uids(&agent)));
    }

    #[test]
    fn one_uid_in_common_is_the_same_person() {
        for (a, b, same) in [
            (&[1000, 1000][..], &[1001, 1001][..], false),
            (&[1000], &[1000], true),
            // Root through the requester's login, and the reverse.
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
