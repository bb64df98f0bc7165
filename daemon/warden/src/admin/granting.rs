//! Grants for a time, as administrators give, list and revoke them.

use remit_common::admin::{AdminReply, NewGrant, Whom};
use remit_common::refusal::{Code, Refusal};
use remit_common::{calendar, caps, frame, text};
use remit_policy::{Beforehand, Glob, NotGivable, Recipient};

use super::{Wants, failed};
use crate::accounts::nameless;
use crate::approval::still_administers;
use crate::audit::{Event, Record};
use crate::clock;
use crate::grants::{Giver, described, in_words, told_of};
use crate::lookups::Then;
use crate::peer::Subject;
use crate::people::{Account, People, Question};
use crate::plan::who;
use crate::warden::Warden;

/// A grant that is given, while those whom it is about are looked up.
#[derive(Debug)]
pub struct Giving {
    serial: u64,
    connection: u64,
    subject: Subject,
    new: NewGrant,
}

impl Warden {
    /// Looks up giver and recipient, who are accounts and no numbers; then it is given.
    ///
    /// # Errors
    /// It can be given to nobody, or too much is looked up.
    pub(super) fn look_up_give(
        &mut self,
        number: u64,
        subject: &Subject,
        mut new: NewGrant,
    ) -> Result<Wants, Refusal> {
        self.open_for_work()?;
        let mut question = Question::of([subject]);
        match &mut new.to {
            Whom::User { name, uid } => {
                self.names.renew();
                *name = self.names.name(*uid).unwrap_or_else(|| nameless(*uid));
                question.account(*uid, name);
            }
            Whom::Group { gid, .. } => drop(question.gids.insert(*gid)),
        }
        self.admins.giving += 1;
        let serial = self.admins.giving;
        let giving = Giving {
            serial,
            connection: number,
            subject: subject.clone(),
            new,
        };
        self.look_up(&question, Then::Give(Box::new(giving)))?;
        Ok(Wants::Grant(serial))
    }

    /// Giver and recipient were looked up: gives the grant, once that is recorded and saved. Where nobody
    /// waits for it any more, there is none.
    pub fn give_looked_up(&mut self, giving: Giving, people: Result<People, String>) {
        let Giving {
            serial,
            connection,
            subject,
            new,
        } = giving;
        if !self.admins.live.contains_key(&connection) {
            return;
        }
        let given = people
            .map_err(|why| Refusal::new(Code::NotStarted, why).next("give it again"))
            .and_then(|people| self.given_to(&subject, new, &people));
        let reply = given.unwrap_or_else(|refusal| {
            self.record_refusal(Some(&subject), None, &refusal, None);
            AdminReply::Refused(refusal)
        });
        self.tell_waiting(Wants::Grant(serial), || reply);
    }

    fn given_to(
        &mut self,
        subject: &Subject,
        mut new: NewGrant,
        people: &People,
    ) -> Result<AdminReply, Refusal> {
        self.open_for_work()?;
        self.who(subject)?;
        self.end_grants();
        name(&mut new.to, people)?;
        check(&new)?;
        let group = self.admins.group();
        let gids = still_administers(subject.uid(), subject.user(), people, group);
        let gids = gids.map_err(|why| {
            let text = format!("you can no longer approve anything: {why}");
            Refusal::new(Code::DeniedRule, text).next("log in again, or ask somebody who can")
        })?;
        let giver = Giver::of(subject, gids);
        not_to_oneself(&giver, &new.to)?;
        self.can_be_given(&giver, &new)?;
        self.has_room_for(&new)?;
        let number = self.grants.next_number();
        let until = clock::unix_ms().saturating_add(u64::from(new.for_s).saturating_mul(1000));
        let uses = match new.uses {
            None => String::new(),
            Some(1) => ", one run".to_owned(),
            Some(uses) => format!(", {uses} runs"),
        };
        let message = format!(
            "{} approves beforehand, as grant {number} until {}{uses}: {}",
            subject.user(),
            calendar::utc(until),
            in_words(&new)
        );
        let record = who(Record::new(Event::Given, message), subject, None);
        let record = told_of(record, number, &new)
            .field("UNTIL", calendar::utc(until))
            .maybe("USES", new.uses.map(|uses| uses.to_string()))
            .field(
                "ACROSS_REBOOT",
                if new.across_reboot { "yes" } else { "no" },
            );
        self.audit
            .write(record)
            .map_err(|why| crate::parking::unrecorded(&why))?;
        let given = self.grants.give(new.clone(), giver);
        self.end_grants();
        given.map(AdminReply::Granted).map_err(|error| {
            let message = format!("grant {number} is not in force: it cannot be saved: {error}");
            let record = who(Record::new(Event::Revoked, message), subject, None);
            self.audit.note(told_of(record, number, &new));
            let text = format!("the grant cannot be saved: {error}");
            Refusal::new(Code::NotStarted, text).lift("make room on the state directory's disk")
        })
    }

    /// Whether anything could be started by it.
    fn can_be_given(&self, giver: &Giver, new: &NewGrant) -> Result<(), Refusal> {
        let what = &new.what;
        let glob = Glob::parse(what).ok_or_else(|| {
            let text = "a grant needs the name of a command, or a pattern of names";
            Refusal::new(Code::InvalidArgs, text)
                .object("what")
                .next("write it as in 'allow' of remit-policy(5): service.restart, service.*")
        })?;
        let given = Beforehand {
            by: giver.who(),
            to: match new.to {
                Whom::User { uid, .. } => Recipient::User(uid),
                Whom::Group { gid, .. } => Recipient::Group(gid),
            },
            what: &glob,
            args: &new.args,
        };
        let Err(why) = self.policy.policy.may_give(&given) else {
            return Ok(());
        };
        Err(match why {
            NotGivable::NoCommand => {
                let text = format!("no command is called '{what}'");
                Refusal::new(Code::NotFound, text)
                    .object(what.as_str())
                    .next("its name stands in a policy file, below /etc/remit/policy.d or /usr/lib/remit/policy.d")
            }
            NotGivable::NoArgument(arg) => {
                let arg = text::line(arg.as_bytes(), caps::NAME);
                let text = format!("no command '{what}' takes these arguments together: '{arg}'");
                Refusal::new(Code::InvalidArgs, text)
                    .object(arg)
                    .next("they stand in the [[command]], in a policy file below /etc/remit/policy.d or /usr/lib/remit/policy.d")
            }
            NotGivable::Unconfined => {
                let text =
                    format!("'{what}' runs without a sandbox: each run is approved by itself");
                Refusal::new(Code::DeniedRule, text)
                    .object(what.as_str())
                    .next("wait for the request, then remit pending")
            }
            NotGivable::Unasked => {
                let text = format!(
                    "no rule asks for an approval of '{what}' from them: nothing would come of it"
                );
                Refusal::new(Code::InvalidArgs, text)
                    .object(what.as_str())
                    .lift("a [[grant]] with an approval in the policy; then remit policy reload")
                    .next("remit policy explain tells what they may do")
            }
            NotGivable::NotApprover(others) => {
                let text = format!("rules ask for the approval of others: {}", listed(&others));
                Refusal::new(Code::DeniedRule, text)
                    .object(what.as_str())
                    .lift("name yourself in 'by' of the rule, or ask one of those")
            }
        })
    }

    /// Whether there may be one more: never more than a list can show.
    fn has_room_for(&self, new: &NewGrant) -> Result<(), Refusal> {
        let mut all = self.grants.list();
        let full = |text: String| {
            Err(Refusal::new(Code::TooLarge, text)
                .next("remit revoke ends those that nobody needs"))
        };
        if all.len() >= caps::GRANTS {
            return full(format!(
                "there are {} grants, more are not allowed",
                all.len()
            ));
        }
        all.push(remit_common::admin::GivenGrant {
            grant: u64::MAX,
            new: new.clone(),
            by: "x".repeat(caps::NAME),
            by_uid: u32::MAX,
            given_ms: u64::MAX,
            left_ms: u64::MAX,
            uses_left: new.uses,
        });
        match frame::encode(&AdminReply::Grants(all), caps::ADMIN_FRAME) {
            Ok(_) => Ok(()),
            Err(_) => full("with this one, the grants are longer than a list can be".into()),
        }
    }

    /// Those in force.
    pub(super) fn list_grants(&mut self) -> AdminReply {
        self.end_grants();
        AdminReply::Grants(self.grants.list())
    }

    /// Ends one or all, and what waits by them: when this returns, nothing starts by them.
    pub(super) fn revoke(&mut self, subject: &Subject, number: Option<u64>) -> AdminReply {
        self.end_grants();
        if let Some(number) = number
            && !self.grants.has(number)
        {
            let text = format!("there is no grant {number}: it has ended, or never was");
            let refusal = Refusal::new(Code::NotFound, text).next("remit grants lists them");
            return AdminReply::Refused(refusal.object(number.to_string()));
        }
        let (revoked, saved) = self.grants.revoke(number);
        let cause = format!("{} revoked the grant", subject.user());
        for given in &revoked {
            self.void_given(given.number, &cause);
            let (name, grant) = (subject.user(), given.number);
            let message = format!("{name} revokes grant {grant}: {}", in_words(&given.new));
            let record = who(Record::new(Event::Revoked, message), subject, None);
            self.audit.note(described(record, given));
        }
        self.end_grants();
        if let Err(error) = saved {
            return failed(
                "revoked, but a restart would give it back",
                &error.to_string(),
            );
        }
        AdminReply::Done(match (number, revoked.len()) {
            (Some(number), _) => format!("grant {number} is revoked; what runs by it goes on"),
            (None, 0) => "there was no grant".to_owned(),
            (None, 1) => "one grant is revoked; what runs by it goes on".to_owned(),
            (None, count) => format!("all {count} grants are revoked; what runs by them goes on"),
        })
    }
}

/// Users and groups are called as connections of theirs are, whatever was typed.
fn name(to: &mut Whom, people: &People) -> Result<(), Refusal> {
    let unknown = |why: String| {
        let text = format!("to whom it is given cannot be looked up: {why}");
        Refusal::new(Code::NotStarted, text).next("give it again")
    };
    match to {
        Whom::User { name, uid } => match people.account(*uid, name) {
            Some(Account::Is(login)) => name.clone_from(&login.name),
            Some(Account::Nobody) => *name = nameless(*uid),
            Some(Account::Unknown(why)) => return Err(unknown(why.clone())),
            None => return Err(unknown("nobody asked".to_owned())),
        },
        Whom::Group { name, gid } => *name = people.group_name(*gid).map_err(unknown)?,
    }
    Ok(())
}

/// The bounds of a grant.
fn check(new: &NewGrant) -> Result<(), Refusal> {
    let refuse = |code, object: &str, text: String| Err(Refusal::new(code, text).object(object));
    let within = |value: u32, most: u32| (1..=most).contains(&value);
    if !within(new.for_s, caps::GRANT_S) {
        let text = format!("a grant is for a second to {} days", caps::GRANT_S / 86_400);
        return refuse(Code::InvalidArgs, "for", text);
    }
    if new.uses.is_some_and(|uses| !within(uses, caps::GRANT_USES)) {
        let text = format!("a grant is for one to {} uses", caps::GRANT_USES);
        return refuse(Code::InvalidArgs, "uses", text);
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

fn not_to_oneself(giver: &Giver, to: &Whom) -> Result<(), Refusal> {
    match to {
        Whom::User { uid, .. } if giver.may_be(*uid, None) => {
            let text = "nobody approves their own changes, also not beforehand";
            Err(Refusal::new(Code::DeniedRule, text)
                .next("ask another administrator; to a group it can be given: your own runs are not covered then"))
        }
        Whom::User { .. } | Whom::Group { .. } => Ok(()),
    }
}

/// As many as a sentence can take.
fn listed(words: &[String]) -> String {
    const MOST: usize = 8;
    let shown: Vec<&str> = words.iter().take(MOST).map(String::as_str).collect();
    match words.len().checked_sub(MOST) {
        None | Some(0) => shown.join(", "),
        Some(more) => format!("{} and {more} more", shown.join(", ")),
    }
}
