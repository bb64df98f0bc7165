//! A second, slow implementation of rules: it checks every rule for every question.

use std::collections::BTreeSet;

use proptest::prelude::*;

pub const NAMES: [&str; 8] = [
    "logs",
    "service.status",
    "service.list",
    "service.failed",
    "nginx.test",
    "nginx.reload",
    "unit.act",
    "none.such",
];

pub const UNIT: &str = "
[[command]]
name = 'unit.act'
summary = 'Do something to units'
argv = ['/bin/x', '{how}', '{unit}']
effect = 'read'
profile = 'strict'
args.unit = { type = 'string', repeat = 2 }
args.how = { type = 'enum', values = ['soft', 'hard'], default = 'soft' }
";

pub type Args = Vec<(String, String)>;

pub fn args() -> impl Strategy<Value = Args> {
    let one = prop::sample::select(vec![
        ("unit", "a"),
        ("unit", "b"),
        ("unit", "ab"),
        ("unit", ""),
        ("how", "soft"),
        ("how", "hard"),
        ("other", "a"),
    ]);
    let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    prop::collection::vec(one.prop_map(own), 0..4)
}

/// Few subjects, so that rules and callers match often.
pub const SUBJECTS: [&str; 7] = [
    "deploy", "mallory", "root", "%ops", "%remit", "#64010", "%#7",
];

#[derive(Debug, Clone)]
pub struct Rule {
    pub deny: bool,
    pub to: Vec<&'static str>,
    pub names: Vec<&'static str>,
    pub profile: &'static str,
    pub env: Vec<&'static str>,
    pub expires_s: Option<u32>,
    pub by: &'static str,
    pub changes: bool,
    /// Patterns for `unit` and for `how`; an empty list is not a condition.
    pub args: [Vec<&'static str>; 2],
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Allow,
    /// Seconds, and lists that must all contain the approver.
    Ask(u32, BTreeSet<String>),
    Deny,
}

pub fn rule() -> impl Strategy<Value = Rule> {
    let patterns = vec![
        "run",
        "*",
        "r*n",
        "logs",
        "service.*",
        "nginx.*",
        "nginx.test",
        "*.reload",
        "*s*",
        "unit.act",
        "*.act",
        "change",
        "c*",
    ];
    (
        any::<bool>(),
        prop::sample::subsequence(SUBJECTS.to_vec(), 1..4),
        prop::sample::subsequence(patterns, 1..3),
        prop::sample::select(vec!["read", "read", "strict", "wide"]),
        prop::sample::subsequence(vec!["TZ", "LANG", "A"], 0..3),
        (
            prop::sample::select(vec![None, None, Some(90), Some(600)]),
            prop::sample::select(vec!["%remit", "root", "%ops"]),
            any::<bool>(),
        ),
        (
            prop::sample::subsequence(vec!["a", "b", "a*", "*"], 0..3),
            prop::sample::subsequence(vec!["soft", "hard", "*"], 0..2),
            any::<bool>(),
        ),
    )
        .prop_map(
            |(deny, to, names, profile, env, (expires_s, by, changes), (unit, how, any))| Rule {
                deny,
                to,
                names,
                profile,
                env,
                expires_s,
                by,
                changes,
                args: if any { [vec![], vec![]] } else { [unit, how] },
            },
        )
}

impl Rule {
    pub fn toml(&self) -> String {
        let Self {
            deny,
            to,
            names,
            profile,
            env,
            expires_s,
            by,
            changes,
            args: [unit, how],
        } = self;
        let args = match (unit.is_empty(), how.is_empty()) {
            _ if !self.is_scoped() => String::new(),
            (true, _) => format!("args = {{ how = {how:?} }}\n"),
            (_, true) => format!("args = {{ unit = {unit:?} }}\n"),
            _ => format!("args = {{ unit = {unit:?}, how = {how:?} }}\n"),
        };
        if *deny {
            return format!("[[deny]]\nto = {to:?}\ndeny = {names:?}\n{args}");
        }
        let is_loaded = |name: &&&str| self.can_name_change() || **name != "change";
        let names: Vec<&str> = names.iter().filter(is_loaded).copied().collect();
        let approval = match expires_s {
            Some(s) => format!("approval = {{ by = ['{by}'], expires = '{s}s' }}\n"),
            None => String::new(),
        };
        let effect = match (changes, expires_s) {
            (true, _) => "effect = 'change'\n",
            // The rule must say that its patterns no longer ask.
            (false, Some(_)) => "effect = 'read'\n",
            (false, None) => "",
        };
        format!(
            "[[grant]]\nto = {to:?}\nallow = {names:?}\nprofile = '{profile}'\nenv = {env:?}\n{effect}{approval}{args}"
        )
    }

    fn is_about(&self, (uid, gids): &(u32, Vec<u32>)) -> bool {
        self.to.iter().any(|word| match *word {
            "deploy" => *uid == 64001,
            "mallory" => *uid == 64003,
            "root" => *uid == 0,
            "#64010" => *uid == 64010,
            "%ops" => gids.contains(&901),
            "%remit" => gids.contains(&900),
            "%#7" => gids.contains(&7),
            word => panic!("{word}"),
        })
    }

    /// Returns true if it is about certain arguments: a command that its names match takes them. Others are not loaded.
    pub fn is_scoped(&self) -> bool {
        let act = |glob: &&str| matches(glob, "unit.act");
        let about = match self.deny {
            true => !self.names.is_empty() && self.names.iter().all(&act),
            false => self.names.iter().any(act),
        };
        about && self.args.iter().any(|values| !values.is_empty())
    }

    /// Without an approval, or with `effect = "read"`, it is not loaded.
    fn can_name_change(&self) -> bool {
        self.expires_s.is_some() && self.changes
    }

    fn speaks(&self, name: &str) -> bool {
        let reaches = |glob: &str| match name {
            _ if self.deny => true,
            "change" if !self.can_name_change() => false,
            _ if !glob.contains('*') => true,
            "change" => false,
            "nginx.reload" => self.changes,
            _ => true,
        };
        self.names
            .iter()
            .any(|glob| matches(glob, name) && reaches(glob))
            && (!self.is_scoped() || name == "unit.act" || self.is_about_unit_of(name))
    }

    fn is_about_unit_of(&self, name: &str) -> bool {
        let is_named = match self.deny {
            true => self.names.iter().any(|glob| matches(glob, name)),
            false => self.names.contains(&name),
        };
        has_unit(name) && is_named && self.args[1].is_empty()
    }

    fn unit(args: &Args) -> Option<String> {
        match args.as_slice() {
            [(key, value)] if key == "unit" && !value.is_empty() => {
                Some(format!("{value}.service"))
            }
            _ => None,
        }
    }

    /// Returns true if its approval is needed, whichever rule allows the call.
    fn is_needed(&self, name: &str, args: &Args) -> bool {
        // The logs of all units show those of the rule.
        let is_shown = || self.is_scoped() && name == "logs" && Self::unit(args).is_none();
        let is_asking = self.expires_s.is_some() && !self.deny;
        is_asking && (self.hits(name, args, true) || is_shown())
    }

    fn fits(&self, name: &str, args: &Args) -> bool {
        self.hits(name, args, self.deny)
    }

    fn hits(&self, name: &str, args: &Args, is_one_enough: bool) -> bool {
        if self.is_scoped() && has_unit(name) {
            let unit = Self::unit(args);
            let fits = |unit: String| self.args[0].iter().any(|glob| matches(glob, &unit));
            return unit.map_or(self.deny, fits);
        }
        let passed = |name: &str| -> Vec<&str> {
            let of_name = args.iter().filter(|(passed, _)| passed == name);
            of_name.map(|(_, value)| value.as_str()).collect()
        };
        let mut how = passed("how");
        if how.is_empty() {
            how.push("soft");
        }
        let pairs = self.args.iter().zip([passed("unit"), how]);
        !self.is_scoped()
            || pairs.into_iter().all(|(globs, values)| {
                let hit = |value: &&str| globs.iter().any(|glob| matches(glob, value));
                let hits = values.iter().filter(|value| hit(value)).count();
                globs.is_empty() || (hits > 0 && (is_one_enough || hits == values.len()))
            })
    }
}

fn matches(glob: &str, text: &str) -> bool {
    match (glob.chars().next(), text.chars().next()) {
        (None, None) => true,
        (Some('*'), _) => {
            matches(&glob[1..], text) || (!text.is_empty() && matches(glob, &text[1..]))
        }
        (Some(one), Some(other)) => one == other && matches(&glob[1..], &text[1..]),
        _ => false,
    }
}

fn has_unit(name: &str) -> bool {
    matches!(name, "logs" | "service.status")
}

fn is_builtin(name: &str) -> bool {
    name == "logs" || name.starts_with("service.")
}

fn is_anybodys((uid, _): &(u32, Vec<u32>)) -> bool {
    *uid == 65534 || *uid >= 1 << 31
}

fn strictest<'a>(rules: impl Iterator<Item = &'a Rule>) -> Answer {
    let rules: Vec<&Rule> = rules.collect();
    let asking = || rules.iter().filter(|rule| rule.expires_s.is_some());
    match asking().filter_map(|rule| rule.expires_s).min() {
        Some(s) => Answer::Ask(s, asking().map(|rule| rule.by.to_owned()).collect()),
        None if rules.is_empty() => Answer::Deny,
        None => Answer::Allow,
    }
}

pub fn run(rules: &[&Rule], subject: &(u32, Vec<u32>), profile: &str, env: &[&str]) -> Answer {
    let about: Vec<&&Rule> = rules
        .iter()
        .filter(|rule| rule.is_about(subject) && rule.speaks("run"))
        .collect();
    let granting = || {
        let grants = about.iter().filter(|rule| !rule.deny);
        grants.filter(|rule| rule.profile == profile)
    };
    let listed = granting().any(|rule| env.iter().all(|name| rule.env.contains(name)));
    if is_anybodys(subject) || about.iter().any(|rule| rule.deny) || !listed {
        return Answer::Deny;
    }
    strictest(granting().map(|rule| **rule))
}

pub fn change(rules: &[&Rule], subject: &(u32, Vec<u32>), profile: &str, env: &[&str]) -> Answer {
    let about: Vec<&&Rule> = rules
        .iter()
        .filter(|rule| rule.is_about(subject) && rule.speaks("change"))
        .collect();
    let granting = || about.iter().filter(|rule| !rule.deny);
    let listed = granting().any(|rule| env.iter().all(|name| rule.env.contains(name)));
    let is_denied = about.iter().any(|rule| rule.deny) || !listed;
    if is_anybodys(subject) || is_denied || profile == "none-such" {
        return Answer::Deny;
    }
    strictest(granting().map(|rule| **rule))
}

pub fn command(rules: &[&Rule], subject: &(u32, Vec<u32>), name: &str, args: &Args) -> Answer {
    let speaks = |rule: &Rule| {
        let by_run = is_builtin(name) && rule.speaks("run") && !rule.is_scoped();
        rule.speaks(name) || (by_run && (rule.deny || rule.profile != "strict"))
    };
    let about: Vec<&&Rule> = rules
        .iter()
        .filter(|rule| rule.is_about(subject) && speaks(rule))
        .filter(|rule| rule.fits(name, args) || rule.is_needed(name, args))
        .collect();
    let is_allowed = about.iter().any(|rule| rule.fits(name, args));
    let is_denied = about.iter().any(|rule| rule.deny) || !is_allowed;
    if is_anybodys(subject) || name == "none.such" || is_denied {
        return Answer::Deny;
    }
    strictest(about.into_iter().copied())
}
