//! The verdicts that change under another policy, grouped by the rule that decides, the worst first. Pure.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use remit_common::signed::Signed;
use serde_json::{Value, json};

use super::judge::{CannotTell, NewVerdict};
use super::past::{PastRequest, PastVerdict, approvers};
use crate::render::{table, units};

/// Users that a group names.
const USERS: usize = 8;
/// Numbers of records that a group keeps, and shows.
const SEQS: usize = 1000;
const SEQS_SHOWN: usize = 8;

/// From the worst on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum VerdictChange {
    RefusedThenAllowed,
    AskedThenAllowed,
    RefusedThenAsked,
    AskedOfFewer,
    SignedWeaker,
    AllowedThenRefused,
    AskedThenRefused,
    AllowedThenAsked,
    AskedOfMore,
    SignedStronger,
}

impl VerdictChange {
    pub fn between(past: &PastVerdict, now: &NewVerdict) -> Option<Self> {
        Some(match (past, now) {
            (PastVerdict::Allowed, NewVerdict::Allow { .. })
            | (PastVerdict::Asked, NewVerdict::Ask { .. })
            | (PastVerdict::Refused(_), NewVerdict::Deny { .. }) => return None,
            (PastVerdict::Refused(_), NewVerdict::Allow { .. }) => Self::RefusedThenAllowed,
            (PastVerdict::Asked, NewVerdict::Allow { .. }) => Self::AskedThenAllowed,
            (PastVerdict::Refused(_), NewVerdict::Ask { .. }) => Self::RefusedThenAsked,
            (PastVerdict::Allowed, NewVerdict::Deny { .. }) => Self::AllowedThenRefused,
            (PastVerdict::Asked, NewVerdict::Deny { .. }) => Self::AskedThenRefused,
            (PastVerdict::Allowed, NewVerdict::Ask { .. }) => Self::AllowedThenAsked,
        })
    }

    /// Returns how the approval changes, if both policies ask for one: what is weaker first.
    fn of_approval(request: &PastRequest, now: &NewVerdict) -> Option<Self> {
        let (PastVerdict::Asked, NewVerdict::Ask { people, signed, .. }, Some(by)) =
            (&request.past, now, &request.program.by)
        else {
            return None;
        };
        let people = people.cmp(&approvers(by).0);
        let signed = signed.cmp(&request.program.signed);
        Some(match (people, signed) {
            (Ordering::Less, _) => Self::AskedOfFewer,
            (_, Ordering::Less) => Self::SignedWeaker,
            (Ordering::Greater, _) => Self::AskedOfMore,
            (_, Ordering::Greater) => Self::SignedStronger,
            (Ordering::Equal, Ordering::Equal) => return None,
        })
    }

    pub const fn word(self) -> &'static str {
        match self {
            Self::RefusedThenAllowed => "refused_now_allowed",
            Self::AskedThenAllowed => "asked_now_allowed",
            Self::RefusedThenAsked => "refused_now_asked",
            Self::AskedOfFewer => "asked_now_of_fewer",
            Self::SignedWeaker => "signed_now_weaker",
            Self::AskedOfMore => "asked_now_of_more",
            Self::SignedStronger => "signed_now_stronger",
            Self::AllowedThenRefused => "allowed_now_refused",
            Self::AskedThenRefused => "asked_now_refused",
            Self::AllowedThenAsked => "allowed_now_asked",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::RefusedThenAllowed => "now allowed without an approval, was refused",
            Self::AskedThenAllowed => "now allowed without an approval, needed one",
            Self::RefusedThenAsked => "now allowed with an approval, was refused",
            Self::AskedOfFewer => "now needs fewer people to approve it",
            Self::SignedWeaker => "now needs a weaker signature of its approvers, or none",
            Self::AskedOfMore => "now needs more people to approve it",
            Self::SignedStronger => "now needs a stronger signature of its approvers",
            Self::AllowedThenRefused => "now refused, was allowed",
            Self::AskedThenRefused => "now refused, needed an approval",
            Self::AllowedThenAsked => "now needs an approval, was allowed without one",
        }
    }
}

/// Says which signatures the policies ask for, if that is the change.
fn signature(change: VerdictChange, request: &PastRequest, now: Option<Signed>) -> Option<String> {
    use VerdictChange::{SignedStronger, SignedWeaker};
    let asked = |signed: Option<Signed>| signed.map_or("no signature", Signed::asked);
    let then = asked(request.program.signed);
    matches!(change, SignedWeaker | SignedStronger)
        .then(|| format!("its rule asks for {}, and asked for {then}", asked(now)))
}

/// Requests that are alike: how many, by whom, and the last one.
#[derive(Debug, Default)]
struct RequestGroup {
    count: u64,
    by: BTreeMap<String, u64>,
    /// Numbers of the first records.
    seqs: Vec<u64>,
    last: Option<LastRequest>,
}

#[derive(Debug)]
struct LastRequest {
    seq: Option<u64>,
    at_ms: Option<u64>,
    example: String,
    then: String,
    why: Option<String>,
}

impl RequestGroup {
    fn add(&mut self, request: &PastRequest, why: Option<String>) {
        self.count += 1;
        *self.by.entry(request.user.clone()).or_default() += 1;
        self.seqs
            .extend(request.seq.filter(|_| self.seqs.len() < SEQS));
        let then = match (&request.past, &request.rule) {
            (PastVerdict::Refused(code), None) => code.clone(),
            (PastVerdict::Refused(code), Some(rule)) => format!("{code}, {rule}"),
            (PastVerdict::Allowed | PastVerdict::Asked, rule) => rule.clone().unwrap_or_default(),
        };
        self.last = Some(LastRequest {
            seq: request.seq,
            at_ms: request.at_ms,
            example: request.shown.clone(),
            then,
            why,
        });
    }

    fn records(&self) -> String {
        let shown = self.seqs.iter().take(SEQS_SHOWN);
        let shown: Vec<String> = shown.map(u64::to_string).collect();
        match self.count - shown.len() as u64 {
            0 => shown.join(", "),
            more => format!("{} and {more} more", shown.join(", ")),
        }
    }

    fn by(&self) -> String {
        let mut by: Vec<(&String, &u64)> = self.by.iter().collect();
        by.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let shown = by.iter().take(USERS);
        let mut shown: Vec<String> = shown
            .map(|(user, count)| format!("{} {count}", table::cell(user)))
            .collect();
        if by.len() > USERS {
            shown.push(format!("and {} more users", by.len() - USERS));
        }
        shown.join(", ")
    }
}

impl LastRequest {
    fn when(&self) -> String {
        let time = self.at_ms.map_or_else(
            || "at an unknown time".to_owned(),
            |ms| units::time(ms / 1000),
        );
        match self.seq {
            Some(seq) => format!("{time}, record {seq}"),
            None => time,
        }
    }
}

/// What the replay of all decisions found.
#[derive(Debug, Default)]
pub struct VerdictChanges {
    pub decisions: u64,
    /// Decided with the groups of now, as the records have none.
    pub with_groups_of_now: u64,
    changed: BTreeMap<(VerdictChange, String), RequestGroup>,
    cannot_tell: BTreeMap<CannotTell, RequestGroup>,
}

impl VerdictChanges {
    pub fn add(&mut self, request: &PastRequest, now: Result<NewVerdict, CannotTell>) {
        self.decisions += 1;
        let now = match now {
            Ok(now) => now,
            Err(why) => return self.cannot_tell.entry(why).or_default().add(request, None),
        };
        let change = VerdictChange::between(&request.past, &now);
        let Some(change) = change.or_else(|| VerdictChange::of_approval(request, &now)) else {
            return;
        };
        let (rule, why) = match now {
            NewVerdict::Allow { rule } => (rule, None),
            NewVerdict::Ask { rule, signed, .. } => (rule, signature(change, request, signed)),
            NewVerdict::Deny { rule, why } => (rule.unwrap_or_default(), Some(why)),
        };
        // Without a rule that denies, the one that is missed names the group.
        let rule = match (rule.as_str(), &request.rule) {
            ("", Some(then)) => format!("no rule, instead of {then}"),
            ("", None) => "no rule".to_owned(),
            (_, _) => rule,
        };
        self.changed
            .entry((change, rule))
            .or_default()
            .add(request, why);
    }

    pub fn changed(&self) -> u64 {
        self.changed.values().map(|group| group.count).sum()
    }

    pub fn untold(&self) -> u64 {
        self.cannot_tell.values().map(|group| group.count).sum()
    }

    pub fn lines(&self) -> String {
        let mut lines = String::new();
        for ((change, rule), group) in &self.changed {
            lines += &format!("{}: {}\n", change.title(), group.count);
            lines += &table::fact("decides now", rule);
            lines += &group.lines();
        }
        for (why, group) in &self.cannot_tell {
            lines += &format!("cannot tell: {}\n", group.count);
            lines += &table::fact("because", &why.to_string());
            lines += &group.lines();
        }
        lines
    }

    pub fn json(&self) -> (Vec<Value>, Vec<Value>) {
        let changed = self.changed.iter().map(|((change, rule), group)| {
            group.json(json!({ "change": change.word(), "rule": rule }))
        });
        let untold = self
            .cannot_tell
            .iter()
            .map(|(why, group)| group.json(json!({ "why": why.word(), "text": why.to_string() })));
        (changed.collect(), untold.collect())
    }
}

impl RequestGroup {
    fn lines(&self) -> String {
        let mut lines = table::fact("by", &self.by());
        if self.count > 1 {
            lines += &table::fact("records", &self.records());
        }
        if let Some(last) = &self.last {
            if let Some(why) = &last.why {
                lines += &table::fact("because", why);
            }
            lines += &table::fact("last", &last.when());
            lines += &table::fact("", &last.example);
            lines += &table::fact("then", &last.then);
        }
        lines
    }

    fn json(&self, mut object: Value) -> Value {
        let last = self.last.as_ref();
        let more = json!({
            "count": self.count,
            "by": self.by,
            "seqs": self.seqs,
            "because": last.and_then(|last| last.why.as_ref()),
            "then": last.map(|last| &last.then),
            "last_seq": last.and_then(|last| last.seq),
            "last_ms": last.and_then(|last| last.at_ms),
            "example": last.map(|last| &last.example),
        });
        if let (Value::Object(object), Value::Object(more)) = (&mut object, more) {
            object.extend(more);
        }
        object
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::policy::replay::past::{PastProgram, PastWhat};

    fn request(user: &str, past: PastVerdict, rule: Option<&str>) -> PastRequest {
        PastRequest {
            seq: Some(7),
            job: None,
            at_ms: Some(1_795_163_148_042),
            user: user.to_owned(),
            uid: Some(1000),
            gids: None,
            what: PastWhat::Following,
            past,
            rule: rule.map(str::to_owned),
            policy: String::new(),
            shown: "df \\x1b".to_owned(),
            program: PastProgram::default(),
        }
    }

    #[test]
    fn worst_comes_first_and_alike_are_together() {
        let (refused, rule) = (PastVerdict::Refused("denied_rule".into()), |rule: &str| {
            rule.to_owned()
        });
        let deny = |why: &str| NewVerdict::Deny {
            rule: None,
            why: why.to_owned(),
        };
        let mut changes = VerdictChanges::default();
        let mut add = |user: &str, past: &PastVerdict, rule: Option<&str>, now| {
            changes.add(&request(user, past.clone(), rule), now);
        };
        add(
            "ann",
            &PastVerdict::Allowed,
            Some("look (f:1)"),
            Ok(deny("nothing grants it")),
        );
        add(
            "bob",
            &PastVerdict::Allowed,
            Some("look (f:1)"),
            Ok(deny("nothing grants it to 2")),
        );
        add(
            "bob",
            &refused,
            None,
            Ok(NewVerdict::Ask {
                rule: rule("asks (f:9)"),
                people: 1,
                signed: None,
            }),
        );
        add(
            "bob",
            &refused,
            None,
            Ok(NewVerdict::Allow {
                rule: rule("all (f:5)"),
            }),
        );
        add("bob", &refused, None, Ok(deny("no")));
        add(
            "bob",
            &PastVerdict::Asked,
            None,
            Ok(NewVerdict::Ask {
                rule: rule("asks (f:9)"),
                people: 1,
                signed: None,
            }),
        );
        add("eve\u{1b}[2J", &refused, None, Err(CannotTell::Secret));
        assert_eq!(
            (changes.decisions, changes.changed(), changes.untold()),
            (7, 4, 1)
        );
        let last = "  last         2026-11-20 08:25:48 UTC, record 7\n               df \\x1b\n";
        assert_eq!(
            changes.lines(),
            format!(
                "now allowed without an approval, was refused: 1\n  decides now  all (f:5)\n  by           bob 1\n{last}\
                 \x20 then         denied_rule\n\
                 now allowed with an approval, was refused: 1\n  decides now  asks (f:9)\n  by           bob 1\n{last}\
                 \x20 then         denied_rule\n\
                 now refused, was allowed: 2\n  decides now  no rule, instead of look (f:1)\n  by           ann 1, bob 1\n\
                 \x20 records      7, 7\n  because      nothing grants it to 2\n{last}  then         look (f:1)\n\
                 cannot tell: 1\n  because      the value of a secret is in no record\n  by           eve\\x1b[2J 1\n{last}\
                 \x20 then         denied_rule\n"
            )
        );
        let (changed, untold) = changes.json();
        let words: Vec<_> = changed
            .iter()
            .map(|one| one["change"].as_str().unwrap())
            .collect();
        assert_eq!(
            words,
            [
                "refused_now_allowed",
                "refused_now_asked",
                "allowed_now_refused"
            ]
        );
        assert_eq!(changed[2]["by"], json!({ "ann": 1, "bob": 1 }));
        assert_eq!(untold[0]["why"], "secret");
    }

    #[test]
    fn another_approval_is_a_change() {
        const KEY: Option<Signed> = Some(Signed::Key);
        const TOUCH: Option<Signed> = Some(Signed::Touch);
        for (by, then, people, now, expect) in [
            (
                Some("2 of (ann, bob)"),
                None,
                1,
                None,
                Some("asked_now_of_fewer"),
            ),
            (Some("ann bob"), None, 2, None, Some("asked_now_of_more")),
            (Some("2 of %sre"), None, 2, None, None),
            (Some("ann"), TOUCH, 1, TOUCH, None),
            (Some("ann"), TOUCH, 1, KEY, Some("signed_now_weaker")),
            (Some("ann"), KEY, 1, None, Some("signed_now_weaker")),
            (Some("ann"), KEY, 1, TOUCH, Some("signed_now_stronger")),
            (Some("ann"), None, 1, KEY, Some("signed_now_stronger")),
            (Some("2 of %sre"), KEY, 1, TOUCH, Some("asked_now_of_fewer")),
            (Some("ann"), KEY, 2, None, Some("signed_now_weaker")),
            (Some("ann"), KEY, 2, TOUCH, Some("asked_now_of_more")),
            // A temporary grant: the record has neither.
            (None, None, 2, KEY, None),
        ] {
            let mut asked = request("bob", PastVerdict::Asked, None);
            asked.program.by = by.map(str::to_owned);
            asked.program.signed = then;
            let mut changes = VerdictChanges::default();
            let rule = "r".to_owned();
            let ask = NewVerdict::Ask {
                rule,
                people,
                signed: now,
            };
            changes.add(&asked, Ok(ask));
            let (changed, _) = changes.json();
            let word = changed.first().and_then(|one| one["change"].as_str());
            assert_eq!(word, expect, "{by:?} {then:?} {people} {now:?}");
        }
    }

    #[test]
    fn each_pair_of_verdicts_is_a_change_or_none() {
        let rule = || "r".to_owned();
        let now = [
            NewVerdict::Allow { rule: rule() },
            NewVerdict::Ask {
                rule: rule(),
                people: 1,
                signed: None,
            },
            NewVerdict::Deny {
                rule: None,
                why: rule(),
            },
        ];
        let words = |past: PastVerdict| {
            now.each_ref()
                .map(|now| VerdictChange::between(&past, now).map(VerdictChange::word))
        };
        assert_eq!(
            words(PastVerdict::Allowed),
            [None, Some("allowed_now_asked"), Some("allowed_now_refused")]
        );
        assert_eq!(
            words(PastVerdict::Asked),
            [Some("asked_now_allowed"), None, Some("asked_now_refused")]
        );
        assert_eq!(
            words(PastVerdict::Refused("x".into())),
            [Some("refused_now_allowed"), Some("refused_now_asked"), None]
        );
    }
}
