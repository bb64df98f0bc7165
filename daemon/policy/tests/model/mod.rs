//! What rules mean, said a second time, slowly: a look at every rule for every question.

use proptest::prelude::*;

/// The commands that rules of these tests can speak of, and one that does not exist.
pub const NAMES: [&str; 7] = [
    "logs",
    "service.status",
    "service.list",
    "service.failed",
    "nginx.test",
    "nginx.reload",
    "none.such",
];

/// Few people, so that rules and callers meet.
pub const WHO: [&str; 7] = [
    "deploy", "mallory", "root", "%ops", "%remit", "#64010", "%#7",
];

/// A rule as it is written. A denial has no use for the rest.
#[derive(Debug, Clone)]
pub struct Rule {
    pub deny: bool,
    pub to: Vec<&'static str>,
    pub names: Vec<&'static str>,
    pub profile: &'static str,
    pub env: Vec<&'static str>,
    pub expires_s: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Allow,
    Ask(u32),
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
    ];
    (
        any::<bool>(),
        prop::sample::subsequence(WHO.to_vec(), 0..4),
        prop::sample::subsequence(patterns, 0..3),
        prop::sample::select(vec!["read", "read", "strict", "wide"]),
        prop::sample::subsequence(vec!["TZ", "LANG", "A"], 0..3),
        prop::sample::select(vec![None, None, Some(90), Some(600)]),
    )
        .prop_map(|(deny, to, names, profile, env, expires_s)| Rule {
            deny,
            to,
            names,
            profile,
            env,
            expires_s,
        })
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
        } = self;
        if *deny {
            return format!("[[deny]]\nto = {to:?}\ndeny = {names:?}\n");
        }
        let approval = match expires_s {
            Some(s) => format!("approval = {{ by = ['%remit'], expires = '{s}s' }}\n"),
            None => String::new(),
        };
        format!(
            "[[grant]]\nto = {to:?}\nallow = {names:?}\nprofile = '{profile}'\nenv = {env:?}\n{approval}"
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

    fn speaks(&self, name: &str) -> bool {
        self.names.iter().any(|glob| matches(glob, name))
    }
}

/// Every way to share the text among the stars.
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

fn is_builtin(name: &str) -> bool {
    name == "logs" || name.starts_with("service.")
}

fn is_anybodys((uid, _): &(u32, Vec<u32>)) -> bool {
    *uid == 65534 || *uid >= 1 << 31
}

/// The strictest of all that matter.
fn strictest<'a>(rules: impl Iterator<Item = &'a Rule>) -> Answer {
    let expiries: Vec<Option<u32>> = rules.map(|rule| rule.expires_s).collect();
    match expiries.iter().flatten().min() {
        Some(s) => Answer::Ask(*s),
        None if expiries.is_empty() => Answer::Deny,
        None => Answer::Allow,
    }
}

pub fn run(rules: &[&Rule], who: &(u32, Vec<u32>), profile: &str, env: &[&str]) -> Answer {
    let about: Vec<&&Rule> = rules
        .iter()
        .filter(|rule| rule.is_about(who) && rule.speaks("run"))
        .collect();
    let granting = || {
        let grants = about.iter().filter(|rule| !rule.deny);
        grants.filter(|rule| rule.profile == profile)
    };
    let listed = granting().any(|rule| env.iter().all(|name| rule.env.contains(name)));
    if is_anybodys(who) || about.iter().any(|rule| rule.deny) || !listed {
        return Answer::Deny;
    }
    strictest(granting().map(|rule| **rule))
}

pub fn command(rules: &[&Rule], who: &(u32, Vec<u32>), name: &str) -> Answer {
    let speaks = |rule: &Rule| {
        let by_run = is_builtin(name) && rule.speaks("run");
        rule.speaks(name) || (by_run && (rule.deny || rule.profile != "strict"))
    };
    let about: Vec<&&Rule> = rules
        .iter()
        .filter(|rule| rule.is_about(who) && speaks(rule))
        .collect();
    if is_anybodys(who) || name == "none.such" || about.iter().any(|rule| rule.deny) {
        return Answer::Deny;
    }
    strictest(about.into_iter().copied())
}
