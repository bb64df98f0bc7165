//! What every change needs here: `[floor]` of `remit.toml`. It turns a permission into a question or a refusal. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use remit_common::refusal::{Code, Refusal};
use remit_common::wire::Effect;
use remit_policy::model::rule::{Grantees, Principal};
use remit_policy::model::settings::NoPrincipal;
use remit_policy::{Approval, Ask, CallerIds, Command, Count, Denial, Machine, Policy, Verdict};
use remit_settings::{FloorConfig, RequiredCommand};
use serde::{Deserialize, Serialize};

use crate::identity::user_names::AccountError;

/// The key that has each change approved.
pub const FLOOR_APPROVAL: &str = "floor.approval of remit.toml";
const REQUIRE: &str = "floor.require of remit.toml";

/// The approval that each change needs in addition to what the rules ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Floor {
    #[default]
    Off,
    /// Without approvers of its own: a rule has to name them.
    ByRule,
    By(Approval),
}

impl Floor {
    /// Resolves the names of the approvers. Fails if one does not exist or can approve nothing.
    pub fn resolve(config: &FloorConfig, machine: &dyn Machine) -> Result<Self, AccountError> {
        let mut by = Grantees::default();
        for word in &config.approvers {
            let id = principal(word, machine)?;
            by.ids.insert(id, word.clone());
            by.words.push(word.clone());
        }
        Ok(match (config.approval, by.words.is_empty()) {
            (false, _) => Self::Off,
            (true, true) => Self::ByRule,
            (true, false) => Self::By(Approval::new(by, Count::One, Approval::EXPIRES_S)),
        })
    }

    /// Returns whether a grant for a time can start a call of this effect.
    pub fn takes_grants(&self, effect: Effect) -> bool {
        matches!(self, Self::Off) || effect == Effect::Read
    }

    /// Returns the verdict of these rules on a call of this effect, with the floor.
    pub fn decide(
        &self,
        policy: &Policy,
        caller: CallerIds<'_>,
        (ask, effect): (&Ask<'_>, Effect),
    ) -> Verdict {
        let floor = match self {
            Self::By(approval) => Some(approval),
            Self::Off | Self::ByRule => None,
        };
        self.over(policy.decide_under(caller, ask, floor), effect)
    }

    /// Applies the floor to a verdict that the rules have on a call of this effect without it.
    pub fn over(&self, verdict: Verdict, effect: Effect) -> Verdict {
        let grant = match verdict {
            Verdict::Allow(grant) if effect == Effect::Change => grant,
            other => return other,
        };
        let rule = grant.basis().rule().cloned();
        let asked = match self {
            Self::Off => return Verdict::Allow(grant),
            Self::ByRule => Err(grant),
            Self::By(approval) => grant.asking(approval.clone()),
        };
        asked.map_or_else(|_| Verdict::Deny(no_approver(rule)), Verdict::Ask)
    }

    /// Describes for lists what it asks for before a call that no rule asks about.
    pub fn asks(&self, effect: Effect) -> Option<String> {
        match self {
            Self::By(approval) if effect == Effect::Change => Some(approval.to_string()),
            Self::ByRule if effect == Effect::Change => Some(format!(
                "needs an approval ({FLOOR_APPROVAL}), but nobody is named"
            )),
            Self::Off | Self::ByRule | Self::By(_) => None,
        }
    }
}

fn no_approver(rule: Option<remit_policy::RuleId>) -> Denial {
    Denial {
        code: Code::DeniedRule,
        object: Some("floor.approval".to_owned()),
        rule,
        what: format!(
            "every change on this machine needs an approval ({FLOOR_APPROVAL}), and neither the rule nor floor.approvers names \
             anybody who could give it"
        ),
        lift: Some(
            "write floor.approvers in remit.toml and restart remitd, or 'approval' in the rule"
                .to_owned(),
        ),
        next: "tell the person you work for".to_owned(),
    }
}

fn principal(word: &str, machine: &dyn Machine) -> Result<Principal, AccountError> {
    let key = |why| format!("floor.approvers: {why}");
    Principal::named(word, machine).map_err(|error| match error {
        NoPrincipal::Missing(why) => AccountError::Missing(key(why)),
        NoPrincipal::Refused(why) => AccountError::Refused(key(why)),
    })
}

/// Fails with a sentence if a required command could never end well, or is a change itself.
pub fn check_required(require: &[RequiredCommand], policy: &Policy) -> Result<(), String> {
    require.iter().try_for_each(|one| {
        let checked = policy.check_required(&one.command);
        checked.map_err(|why| format!("cannot use {REQUIRE}: {why}"))
    })
}

/// The required commands, and when the last run of each ended if it was with exit 0. A restart forgets the ends.
#[derive(Debug, Default)]
pub struct RequiredCommands {
    require: Vec<RequiredCommand>,
    /// Of the required commands, in the policy in force.
    definitions: BTreeMap<String, String>,
    /// Time since boot (CLOCK_BOOTTIME).
    ended: BTreeMap<String, Duration>,
}

impl RequiredCommands {
    pub fn new(require: Vec<RequiredCommand>, policy: &Policy) -> Self {
        let mut all = Self {
            require,
            ..Self::default()
        };
        all.bind(policy);
        all
    }

    /// Forgets the ends of commands that this policy defines in another way.
    pub fn bind(&mut self, policy: &Policy) {
        let required = self.require.iter();
        let commands = required.filter_map(|one| policy.command(&one.command));
        let definitions = commands
            .map(|command| (command.name.clone(), command.definition.clone()))
            .collect();
        let before = std::mem::replace(&mut self.definitions, definitions);
        let now = &self.definitions;
        self.ended
            .retain(|name, _| before.get(name) == now.get(name));
    }

    /// Takes note of the end of a command that ran without arguments. Only its last run counts, and none of another
    /// definition.
    pub fn on_ended(&mut self, command: &Command, is_well: bool, now: Duration) {
        let name = &command.name;
        if self.definitions.get(name) != Some(&command.definition) {
            return;
        }
        // Without a clock, no end is within any time.
        match is_well && now != Duration::MAX {
            true => drop(self.ended.insert(name.clone(), now)),
            false => drop(self.ended.remove(name)),
        }
    }

    fn age(&self, command: &str, now: Duration) -> Option<u64> {
        let ended = self.ended.get(command)?;
        now.checked_sub(*ended).map(|age| age.as_secs())
    }

    /// Fails with the first command that has not ended well within its time.
    pub fn check(&self, now: Duration) -> Result<(), Refusal> {
        for RequiredCommand { command, within_s } in &self.require {
            let within = in_words(u64::from(*within_s));
            let last = match self.age(command, now) {
                Some(age) if age < u64::from(*within_s) => continue,
                Some(age) => format!("it last did {} ago", in_words(age)),
                None => "its last run failed, or it has not run since remitd started or its definition changed"
                    .to_owned(),
            };
            let text = format!(
                "a change on this machine needs that '{command}' has ended with exit 0 within {within}, and {last}"
            );
            return Err(Refusal::new(Code::NotStarted, text)
                .object(command.clone())
                .by(REQUIRE)
                .next(format!("run {command}; if it ends with exit 0, ask again")));
        }
        Ok(())
    }

    /// Describes each for an approver.
    pub fn lines(&self, now: Duration) -> Vec<String> {
        let lines = self
            .require
            .iter()
            .map(|RequiredCommand { command, within_s }| {
                let within = in_words(u64::from(*within_s));
                let last = self.age(command, now).map_or_else(
                    || "has not ended with exit 0".to_owned(),
                    |age| format!("ended with exit 0 {} ago", in_words(age)),
                );
                format!("required command '{command}' {last} (needed: within {within})")
            });
        lines.collect()
    }
}

/// `90 s`, `10 min`, `3 h`: rounded down to one unit.
pub fn in_words(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use remit_policy::{Ids, MachineTable, Source};

    use super::*;

    fn machine() -> MachineTable {
        MachineTable {
            users: [("ann".to_owned(), Ids { uid: 7, gid: 7 })].into(),
            groups: [("ops".to_owned(), 8)].into(),
            ..MachineTable::default()
        }
    }

    fn floor(approval: bool, approvers: &[&str]) -> Result<Floor, AccountError> {
        let config = FloorConfig {
            approval,
            approvers: approvers.iter().map(|word| (*word).to_owned()).collect(),
            require: Vec::new(),
        };
        Floor::resolve(&config, &machine())
    }

    fn policy() -> Policy {
        let text = "[[command]]\nname = \"site.change\"\nargv = [\"/bin/true\"]\neffect = \"change\"\nprofile = \"strict\"\nsummary = \"x\"\n\
                    [[command]]\nname = \"site.look\"\nargv = [\"/bin/true\"]\neffect = \"read\"\nprofile = \"read\"\nsummary = \"x\"\n\
                    [[grant]]\nto = [\"#64001\"]\nallow = [\"site.change\", \"site.look\"]\neffect = \"change\"\napproval = \"none\"\n\
                    [[grant]]\nto = [\"#64002\"]\nallow = [\"site.change\"]\neffect = \"change\"\napproval = { by = [\"ann\"] }\n";
        let source = Source {
            name: "a.toml".into(),
            text: text.into(),
        };
        let loaded = remit_policy_compile::load(&[source], &machine());
        loaded.unwrap_or_else(|found| panic!("{found:?}")).0
    }

    fn verdict(policy: &Policy, uid: u32, name: &str, effect: Effect) -> Verdict {
        let args = &[];
        let ask = Ask::Command { name, effect, args };
        policy.decide(CallerIds { uid, gids: &[] }, &ask)
    }

    /// The rules alone refuse what follows a commit, because it is not granted by itself.
    #[test]
    fn floor_is_part_of_the_decision() {
        let program = "/usr/libexec/remit/remit-commit";
        let text = format!(
            "[[command]]\nname = \"site.commit\"\nargv = [\"{program}\", \"commit\", \"/srv/state\", [\"--then\", \"{{then}}\"]]\n\
             effect = \"change\"\nprofile = \"host\"\nstdin = \"plan\"\nsummary = \"x\"\n\
             args.then = {{ type = \"string\", pattern = \"[a-z.]+\", max = 99, repeat = 4, optional = true }}\n\
             [[command]]\nname = \"site.look\"\nargv = [\"/bin/true\"]\neffect = \"read\"\nprofile = \"read\"\nsummary = \"x\"\n\
             [[grant]]\nto = [\"#64001\"]\nallow = [\"site.commit\"]\npaths = [\"/srv/app\"]\nacts = [\"site.look\"]\n"
        );
        let source = Source {
            name: "a.toml".into(),
            text: text.into(),
        };
        let (policy, _) = remit_policy_compile::load(&[source], &machine()).unwrap();
        let (name, effect) = ("site.commit", Effect::Change);
        let args = &[("then".to_owned(), "site.look".to_owned())];
        let caller = CallerIds {
            uid: 64_001,
            gids: &[],
        };
        let ask = Ask::Command { name, effect, args };
        let by = floor(true, &["%ops"]).unwrap();
        for (floor, is_asked) in [(Floor::Off, false), (Floor::ByRule, false), (by, true)] {
            let found = floor.decide(&policy, caller, (&ask, effect));
            assert_eq!(matches!(found, Verdict::Ask(_)), is_asked, "{found:?}");
            assert!(!matches!(found, Verdict::Allow(_)), "{found:?}");
        }
    }

    #[test]
    fn floor_asks_for_changes_only_and_never_permits() {
        let policy = policy();
        let asked = |verdict: Verdict| match verdict {
            Verdict::Allow(_) => "allow".to_owned(),
            Verdict::Ask(pending) => pending.approval().asked_of().join(" "),
            Verdict::Deny(denial) => denial.object.unwrap_or_else(|| "deny".to_owned()),
        };
        let (off, by_rule, by) = (
            floor(false, &["%ops"]),
            floor(true, &[]),
            floor(true, &["%ops"]),
        );
        let floors = [off.unwrap(), by_rule.unwrap(), by.unwrap()];
        for (uid, name, effect, expect) in [
            (
                64_001,
                "site.change",
                Effect::Change,
                ["allow", "floor.approval", "%ops"],
            ),
            (
                64_001,
                "site.look",
                Effect::Read,
                ["allow", "allow", "allow"],
            ),
            (64_002, "site.change", Effect::Change, ["ann", "ann", "ann"]),
            (64_003, "site.change", Effect::Change, ["site.change"; 3]),
        ] {
            for (floor, expect) in floors.iter().zip(expect) {
                let found = asked(floor.over(verdict(&policy, uid, name, effect), effect));
                assert_eq!(found, expect, "{uid} {name} {floor:?}");
            }
        }
        let takes = |effect| floors.each_ref().map(|floor| floor.takes_grants(effect));
        assert_eq!(takes(Effect::Change), [true, false, false]);
        assert_eq!(takes(Effect::Read), [true; 3]);
    }

    #[test]
    fn approvers_exist() {
        assert!(floor(true, &["ann", "%ops", "#5", "%#6"]).is_ok());
        let (missing, refused) = (AccountError::Missing, AccountError::Refused);
        type Wrap = fn(String) -> AccountError;
        for (word, kind, why) in [
            ("eve", missing as Wrap, "there is no user 'eve'"),
            ("%dev", missing, "there is no group 'dev'"),
            ("#x", refused, "there is no user '#x'"),
            (
                "#65534",
                refused,
                "'#65534' can approve nothing: 65534 means every id without a mapping",
            ),
        ] {
            let why = format!("floor.approvers: {why}");
            assert_eq!(floor(true, &[word]), Err(kind(why)));
            assert!(floor(false, &[word]).is_err(), "{word}");
        }
    }

    fn required(command: &str, within_s: u32) -> RequiredCommand {
        let command = command.to_owned();
        RequiredCommand { command, within_s }
    }

    #[test]
    fn required_command_looks_and_needs_nothing() {
        let policy = policy();
        assert_eq!(check_required(&[required("site.look", 1)], &policy), Ok(()));
        for (name, why) in [
            ("site.change", "is a change"),
            ("no", "there is no command"),
        ] {
            let found = check_required(&[required(name, 1)], &policy).unwrap_err();
            assert!(found.contains(why), "{found}");
        }
    }

    /// Three commands that look, with this program.
    fn looks(program: &str) -> Policy {
        let command = |name: &str| {
            format!(
                "[[command]]\nname = \"{name}\"\nargv = [\"/bin/{program}\"]\neffect = \"read\"\nprofile = \"read\"\nsummary = \"x\"\n"
            )
        };
        let text = ["x.a", "x.b", "x.c"].map(command).concat();
        let source = Source {
            name: "a.toml".into(),
            text: text.into(),
        };
        let loaded = remit_policy_compile::load(&[source], &machine());
        loaded.unwrap_or_else(|found| panic!("{found:?}")).0
    }

    #[test]
    fn only_a_fresh_last_end_counts() {
        let seconds = Duration::from_secs;
        let policy = looks("true");
        let all = vec![required("x.a", 10), required("x.b", 3600)];
        let mut all = RequiredCommands::new(all, &policy);
        let command = |name| policy.command(name).unwrap().as_ref();
        let unmet = |all: &RequiredCommands, now| {
            all.check(seconds(now)).err().map(|refusal| refusal.message)
        };
        assert!(
            unmet(&all, 100)
                .unwrap()
                .contains("has not run since remitd started")
        );
        all.on_ended(command("x.a"), true, seconds(100));
        all.on_ended(command("x.c"), true, seconds(100));
        assert!(unmet(&all, 100).unwrap().contains("'x.b'"));
        all.on_ended(command("x.b"), true, seconds(100));
        assert_eq!(unmet(&all, 100), None);
        assert_eq!(unmet(&all, 109), None);
        let stale = unmet(&all, 110).unwrap();
        assert!(
            stale.contains("within 10 s, and it last did 10 s ago"),
            "{stale}"
        );
        // A clock that goes back, or fails, proves nothing.
        assert!(unmet(&all, 99).is_some());
        assert!(all.check(Duration::MAX).is_err());
        all.on_ended(command("x.a"), false, seconds(101));
        assert!(unmet(&all, 101).unwrap().contains("'x.a'"));
        all.on_ended(command("x.a"), true, Duration::MAX);
        assert!(unmet(&all, 101).is_some());
        assert_eq!(all.ended.len(), 1);
        assert_eq!(
            all.lines(seconds(400)),
            [
                "required command 'x.a' has not ended with exit 0 (needed: within 10 s)",
                "required command 'x.b' ended with exit 0 5 min ago (needed: within 60 min)"
            ]
        );
        assert_eq!(RequiredCommands::default().check(seconds(0)), Ok(()));
    }

    #[test]
    fn end_counts_for_the_definition_of_the_run_only() {
        let (now, long) = (Duration::from_secs(5), vec![required("x.a", 3600)]);
        let [same, other] = ["true", "false"].map(looks);
        let run = |policy: &Policy| policy.command("x.a").unwrap().clone();
        for (policy, ran, then, counts) in [
            (&same, &same, &same, true),
            (&same, &same, &other, false),
            // It was bound under an earlier policy.
            (&other, &same, &other, false),
            (&other, &same, &same, false),
        ] {
            let mut all = RequiredCommands::new(long.clone(), policy);
            all.on_ended(&run(ran), true, now);
            all.bind(then);
            assert_eq!(all.check(now).is_ok(), counts, "{all:?}");
        }
        let mut all = RequiredCommands::new(long, &same);
        all.on_ended(&run(&same), true, now);
        all.on_ended(&run(&other), false, now);
        assert_eq!(all.check(now), Ok(()), "that was another command");
    }
}
