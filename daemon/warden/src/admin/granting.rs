//! Temporary grants: administrators create, list and revoke them.

use remit_common::admin::{ActiveGrant, AdminReply, Grantee, NewGrant, in_short};
use remit_common::refusal::{Code, Refusal};
use remit_common::{calendar, caps, frame, text};
use remit_plan::PlanPath;

use super::grantable::{check_grantable, complete};
use super::judged::{check_judged, judged_by};
use super::{Wants, failed};
use crate::approval::grants::ended::{end_grants, void_jobs_of_grant};
use crate::approval::grants::{Covered, Giver, described, in_words, names, with_grant};
use crate::approval::opens::{GrantAnswer, GrantQuestion};
use crate::approval::still_administers;
use crate::audit::{Event, FIELD, Record, unrecorded};
use crate::config::policy_reload::Live;
use crate::event_loop::timers;
use crate::identity::accounts::{AccountState, People, Question};
use crate::identity::lookups::{Giving, LookUpPurpose};
use crate::identity::peer::Subject;
use crate::identity::user_names::{UserNames, nameless};
use crate::job::context::RequestCx;
use crate::request::with_subject;

/// Between the names of commands in a record.
const SEPARATOR: &str = ", ";

/// Starts the look-up of giver and recipient. `on_give_looked_up` then creates the grant.
pub fn look_up_give(
    cx: &mut RequestCx<'_>,
    names: &mut UserNames,
    number: u64,
    subject: &Subject,
    (mut new, accepts_paths): (NewGrant, bool),
) -> Result<Wants, Refusal> {
    cx.life.check_open()?;
    check(&new)?;
    // Before the look at what it opens. A policy that differs by then ends the request.
    complete(&cx.policies.live.policy, &mut new)?;
    let mut question = Question::of([subject]);
    match &mut new.to {
        Grantee::User { name, uid } => {
            names.renew();
            *name = names.name(*uid).unwrap_or_else(|| nameless(*uid));
            question.account(*uid, name);
        }
        Grantee::Group { gid, .. } => drop(question.gids.insert(*gid)),
    }
    cx.job.admins.giving += 1;
    let serial = cx.job.admins.giving;
    let giving = Giving {
        serial,
        connection: number,
        subject: subject.clone(),
        new,
        accepts_paths,
        judged: judged_by(cx),
    };
    let in_force = cx.approvals.grants.in_force();
    let is_asked = cx.policies.live.is_proved;
    let new = giving.new.clone();
    let question_of_grant = GrantQuestion {
        situation: cx.situation(&in_force),
        new: &new,
        giver: subject.user(),
    };
    let (live, group) = (&cx.policies.live, cx.job.admins.group());
    let covered = |people: &People| {
        covered(live, (subject, group), &new, people).map(|(_, commands)| commands)
    };
    let begin: &dyn Fn() -> _ = &|| question_of_grant.begin(&covered);
    let beside = is_asked.then_some((begin, GrantQuestion::PATIENCE));
    let then = LookUpPurpose::Give(Box::new(giving));
    let reactor = &mut *cx.job.reactor;
    cx.lookups.look_up_with(reactor, &question, then, beside)?;
    Ok(Wants::Grant(serial))
}

/// Creates the grant once it is recorded and saved. Creates nothing if the connection is gone.
pub fn on_give_looked_up(
    cx: &mut RequestCx<'_>,
    giving: Giving,
    people: Result<People, String>,
    beside: Option<Vec<u8>>,
) {
    let Giving {
        serial,
        connection,
        subject,
        new,
        accepts_paths,
        judged,
    } = giving;
    let opens = beside.map_or_else(GrantAnswer::default, |bytes| GrantAnswer::decode(&bytes));
    if !cx.job.admins.live.contains_key(&connection) {
        return;
    }
    let granted = people
        .map_err(|why| Refusal::new(Code::NotStarted, why).next("try again"))
        .and_then(|people| check_judged(cx, &judged).map(|()| people))
        .and_then(|people| make_grant(cx, &subject, new, &people, (&opens, accepts_paths)));
    let reply = granted.unwrap_or_else(|refusal| cx.job.reports.refuse(&subject, refusal));
    cx.job.admins.tell(Wants::Grant(serial), || reply);
}

/// Refuses new grants whose accounts are looked up, if `is_meant`. Returns how many.
pub fn refuse_giving(
    cx: &mut RequestCx<'_>,
    refusal: &Refusal,
    is_meant: impl Fn(&NewGrant) -> bool,
) -> usize {
    let all = cx.lookups.take_giving(cx.job.reactor, is_meant);
    for giving in &all {
        let reply = cx.job.reports.refuse(&giving.subject, refusal.clone());
        let wants = Wants::Grant(giving.serial);
        cx.job.admins.tell(wants, || reply);
    }
    all.len()
}

fn make_grant(
    cx: &mut RequestCx<'_>,
    subject: &Subject,
    mut new: NewGrant,
    people: &People,
    (opens, accepts_paths): (&GrantAnswer, bool),
) -> Result<AdminReply, Refusal> {
    cx.life.check_open()?;
    cx.policies.caller_ids(subject)?;
    end_grants(&mut cx.job, &mut cx.approvals.grants);
    name(&mut new.to, people)?;
    check(&new)?;
    let group = cx.job.admins.group();
    let (giver, commands) = covered(&cx.policies.live, (subject, group), &new, people)?;
    let covered = names(&commands);
    check_grant_limits(cx, &new, &covered)?;
    if !accepts_paths {
        opens.check_accepted()?;
    }
    let number = cx.approvals.grants.next_number();
    let record = grant_record(subject, number, &new, &covered);
    let record = opens.on_record(record);
    let written = cx.job.reports.audit.write(record);
    written.map_err(|why| unrecorded(&why))?;
    let granted = cx.approvals.grants.give(new.clone(), giver, commands);
    end_grants(&mut cx.job, &mut cx.approvals.grants);
    let granted = granted.map(|granted| AdminReply::Granted(Box::new(granted)));
    granted.map_err(|error| {
        let message = format!("grant {number} is not in force: cannot save it: {error}");
        let record = with_subject(Record::new(Event::Revoked, message), subject, None);
        cx.job.reports.audit.note(with_grant(record, number, &new));
        let text = format!("cannot save the grant: {error}");
        Refusal::new(Code::NotStarted, text).lift("free space on the disk of the state directory")
    })
}

/// Returns the giver as they are now, and the commands that can start by their grant. `group`: that of administrators.
fn covered(
    live: &Live,
    (subject, group): (&Subject, u32),
    new: &NewGrant,
    people: &People,
) -> Result<(Giver, Vec<Covered>), Refusal> {
    let gids = still_administers(subject.uid(), subject.user(), people, group);
    let gids = gids.map_err(|why| {
        let text = format!("you can no longer approve anything: {why}");
        Refusal::new(Code::DeniedRule, text).next("log in again, or ask an approver")
    })?;
    let giver = Giver::of(subject, gids);
    not_to_oneself(&giver, &new.to)?;
    let commands = check_grantable(&live.policy, &live.floor, &giver, new)?;
    Ok((giver, commands))
}

fn grant_record(subject: &Subject, number: u64, new: &NewGrant, covered: &[String]) -> Record {
    let until = timers::unix_ms().saturating_add(u64::from(new.for_s).saturating_mul(1000));
    let uses = match new.uses {
        None => String::new(),
        Some(1) => ", one run".to_owned(),
        Some(uses) => format!(", {uses} runs"),
    };
    let full = NewGrant {
        what: in_short(&new.what, covered),
        ..new.clone()
    };
    let message = format!(
        "{} approves in advance, as grant {number} until {}{uses}: {}",
        subject.user(),
        calendar::utc(until),
        in_words(&full)
    );
    let record = with_subject(Record::new(Event::Granted, message), subject, None);
    with_grant(record, number, new)
        .field("COVERED", covered.join(SEPARATOR))
        .field("UNTIL", calendar::utc(until))
        .maybe("USES", new.uses.map(|uses| uses.to_string()))
        .field(
            "ACROSS_REBOOT",
            if new.across_reboot { "yes" } else { "no" },
        )
}

/// Checks the number of grants, and that the list with this one fits in one frame.
fn check_grant_limits(
    cx: &RequestCx<'_>,
    new: &NewGrant,
    covered: &[String],
) -> Result<(), Refusal> {
    check_record(&new.what, covered)?;
    let mut all = cx.approvals.grants.list();
    let full = |text: String| {
        Err(Refusal::new(Code::TooLarge, text)
            .next("remit revoke ends grants that are no longer needed"))
    };
    if all.len() >= caps::GRANTS {
        return full(format!("there are {} grants, the maximum", all.len()));
    }
    all.push(ActiveGrant {
        grant: u64::MAX,
        new: new.clone(),
        covered: covered.to_vec(),
        by: "x".repeat(caps::NAME),
        by_uid: u32::MAX,
        granted_ms: u64::MAX,
        left_ms: u64::MAX,
        uses_left: new.uses,
    });
    match frame::encode(&AdminReply::Grants(all), caps::ADMIN_FRAME) {
        Ok(_) => Ok(()),
        Err(_) => full("the list of grants would be too long with this one".into()),
    }
}

/// Checks that the record can name all that is approved in advance.
fn check_record(what: &str, covered: &[String]) -> Result<(), Refusal> {
    if covered.join(SEPARATOR).len() <= FIELD {
        return Ok(());
    }
    let count = covered.len();
    let text = format!("'{what}' covers {count} commands: their names do not fit into its record");
    Err(Refusal::new(Code::TooLarge, text)
        .object("what")
        .next("grant patterns of fewer commands"))
}

pub fn list_grants(cx: &mut RequestCx<'_>) -> AdminReply {
    end_grants(&mut cx.job, &mut cx.approvals.grants);
    let all = AdminReply::Grants(cx.approvals.grants.list());
    match frame::encode(&all, caps::ADMIN_FRAME) {
        Ok(_) => all,
        // Of an earlier release, whose list did not name all commands.
        Err(_) => {
            let refusal = Refusal::new(Code::TooLarge, "the list of grants is too long");
            AdminReply::Refused(
                refusal.next("remit revoke --all ends them, remit audit lists them"),
            )
        }
    }
}

/// Ends one grant or all, the waiting jobs that depend on them, and new grants to the same recipients. After the return
/// nothing starts by them.
pub fn revoke(cx: &mut RequestCx<'_>, subject: &Subject, number: Option<u64>) -> AdminReply {
    end_grants(&mut cx.job, &mut cx.approvals.grants);
    if let Some(number) = number
        && !cx.approvals.grants.has(number)
    {
        let text = format!("there is no grant {number}: it has ended, or never existed");
        let refusal = Refusal::new(Code::NotFound, text).next("remit grants lists them");
        return AdminReply::Refused(refusal.object(number.to_string()));
    }
    let (revoked, saved) = cx.approvals.grants.revoke(number);
    let cause = format!("{} revoked the grant", subject.user());
    // Otherwise a slow look-up would bring back what was to end.
    let is_meant = |new: &NewGrant| {
        number.is_none()
            || revoked
                .iter()
                .any(|one| is_same_grantee(&one.new.to, &new.to))
    };
    let text = format!("{} revoked grants meanwhile", subject.user());
    let refusal = Refusal::new(Code::NotStarted, text).next("give it again, if it is still right");
    let unmade = match refuse_giving(cx, &refusal, is_meant) {
        0 => String::new(),
        unmade => format!("; new grants that are refused: {unmade}"),
    };
    for granted in &revoked {
        void_jobs_of_grant(&mut cx.job, granted.number, &cause);
        let (name, grant) = (subject.user(), granted.number);
        let message = format!("{name} revokes grant {grant}: {}", in_words(&granted.new));
        let record = with_subject(Record::new(Event::Revoked, message), subject, None);
        cx.job.reports.audit.note(described(record, granted));
    }
    end_grants(&mut cx.job, &mut cx.approvals.grants);
    if let Err(error) = saved {
        return failed(
            "revoked, but in force again after a restart",
            &error.to_string(),
        );
    }
    AdminReply::Done(match (number, revoked.len()) {
        (Some(number), _) => {
            format!("grant {number} is revoked; its running jobs continue{unmade}")
        }
        (None, 0) => format!("there was no grant{unmade}"),
        (None, 1) => format!("one grant is revoked; its running jobs continue{unmade}"),
        (None, count) => {
            format!("all {count} grants are revoked; their running jobs continue{unmade}")
        }
    })
}

fn is_same_grantee(one: &Grantee, other: &Grantee) -> bool {
    match (one, other) {
        (Grantee::User { uid, .. }, Grantee::User { uid: other, .. }) => uid == other,
        (Grantee::Group { gid, .. }, Grantee::Group { gid: other, .. }) => gid == other,
        (Grantee::User { .. }, Grantee::Group { .. })
        | (Grantee::Group { .. }, Grantee::User { .. }) => false,
    }
}

/// Replaces the typed name by the name that connections of this user or group have.
fn name(to: &mut Grantee, people: &People) -> Result<(), Refusal> {
    let unknown = |why: String| {
        let text = format!("cannot look up the grantee: {why}");
        Refusal::new(Code::NotStarted, text).next("give it again")
    };
    match to {
        Grantee::User { name, uid } => match people.account(*uid, name) {
            Some(AccountState::Is(login)) => name.clone_from(&login.name),
            Some(AccountState::NoAccount) => *name = nameless(*uid),
            Some(AccountState::Unknown(why)) => return Err(unknown(why.clone())),
            None => return Err(unknown("nobody asked".to_owned())),
        },
        Grantee::Group { name, gid } => *name = people.group_name(*gid).map_err(unknown)?,
    }
    Ok(())
}

fn check(new: &NewGrant) -> Result<(), Refusal> {
    let refuse = |code, object: &str, text: String| Err(Refusal::new(code, text).object(object));
    let within = |value: u32, most: u32| (1..=most).contains(&value);
    if !within(new.for_s, caps::GRANT_S) {
        let text = format!(
            "a grant lasts from 1 second to {} days",
            caps::GRANT_S / 86_400
        );
        return refuse(Code::InvalidArgs, "for", text);
    }
    if new.uses.is_some_and(|uses| !within(uses, caps::GRANT_USES)) {
        let text = format!("a grant has 1 to {} uses", caps::GRANT_USES);
        return refuse(Code::InvalidArgs, "uses", text);
    }
    if new.paths.len() > caps::GRANT_PATHS {
        let text = format!("at most {} paths are allowed", caps::GRANT_PATHS);
        return refuse(Code::TooLarge, "paths", text);
    }
    let not_plain = |path: &&String| {
        PlanPath::new(path.as_bytes()).is_err() || path.chars().any(char::is_control)
    };
    if let Some(path) = new.paths.iter().find(not_plain) {
        let path = text::line(path.as_bytes(), caps::NAME);
        let text = format!("'{path}' is not an absolute path without '.', '..' and a final slash");
        return refuse(Code::InvalidArgs, "paths", text);
    }
    if new.args.len() > caps::NAMED_ARGS {
        let text = format!("at most {} arguments are allowed", caps::NAMED_ARGS);
        return refuse(Code::TooLarge, "args", text);
    }
    let longest = new
        .args
        .iter()
        .map(|(name, value)| name.len().max(value.len()))
        .max();
    if longest > Some(caps::NAMED_VALUE) {
        let text = format!("an argument has at most {} bytes", caps::NAMED_VALUE);
        return refuse(Code::TooLarge, "args", text);
    }
    Ok(())
}

fn not_to_oneself(giver: &Giver, to: &Grantee) -> Result<(), Refusal> {
    match to {
        Grantee::User { uid, .. } if giver.may_be(*uid, None) => {
            let text = "you cannot approve your own changes in advance";
            Err(Refusal::new(Code::DeniedRule, text).next(
                "ask another administrator, or grant it to a group: your own runs stay excluded",
            ))
        }
        Grantee::User { .. } | Grantee::Group { .. } => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_names_each_covered_command() {
        let new = NewGrant {
            to: Grantee::User {
                name: "agent".into(),
                uid: 1000,
            },
            what: "site.*".into(),
            args: Vec::new(),
            for_s: 60,
            uses: None,
            across_reboot: false,
            paths: Vec::new(),
        };
        let names = |count: usize| -> Vec<String> {
            (0..count)
                .map(|at| format!("site.number-{at:03}"))
                .collect()
        };
        let ann = Subject::fake(1005, "ann", Some(1005));
        let named = |count: usize| {
            let record = grant_record(&ann, 3, &new, &names(count));
            let covered = record.fields.iter().find(|(name, _)| *name == "COVERED");
            let covered = covered.map(|(_, text)| text.split(", ").map(str::to_owned).collect());
            (covered == Some(names(count)), record.message)
        };
        let (is_whole, message) = named(12);
        assert!(is_whole && message.contains(" and 4 more)"), "{message}");
        // As many as fit into a field, and one more.
        let most = (FIELD + SEPARATOR.len()) / (names(1)[0].len() + SEPARATOR.len());
        assert!(check_record("site.*", &names(most)).is_ok() && named(most).0);
        let refusal = check_record("site.*", &names(most + 1)).unwrap_err();
        assert_eq!(refusal.code, Code::TooLarge);
        assert!(!named(most + 1).0, "its record would be cut");
    }
}
