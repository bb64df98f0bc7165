//! Reads rules of doas.conf(5), because doas has no query for another user's rights. Pure. Of all rules that match a
//! call the last one decides.

use super::agents::AccountFacts;

/// A rule that applies to the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoasRule {
    is_permit: bool,
    pub needs_password: bool,
    /// The rule as written.
    pub text: String,
    /// `None`: any user.
    target: Option<String>,
    /// `None`: any command.
    command: Option<String>,
    /// `None`: any arguments.
    args: Option<Vec<String>>,
}

impl DoasRule {
    /// Returns true if this rule matches each call that `other` matches.
    fn covers(&self, other: &Self) -> bool {
        let is_any_or_same =
            |own: &Option<String>, other: &Option<String>| own.is_none() || own == other;
        is_any_or_same(&self.target, &other.target)
            && is_any_or_same(&self.command, &other.command)
            && (self.args.is_none() || self.args == other.args)
    }
}

/// Returns the rules that permit something, without those that a later rule replaces as a whole.
pub fn permits(account: &AccountFacts, text: &str) -> Vec<DoasRule> {
    let mut rules: Vec<DoasRule> = Vec::new();
    // A backslash at the end continues a line.
    for line in text.replace("\\\n", " ").lines() {
        if let Some(rule) = rule(account, line) {
            rules.retain(|earlier| !rule.covers(earlier));
            rules.push(rule);
        }
    }
    rules.retain(|rule| rule.is_permit);
    rules
}

/// `permit|deny [options] identity [as target] [cmd command [args ...]]`
fn rule(account: &AccountFacts, line: &str) -> Option<DoasRule> {
    let text = line.split('#').next().unwrap_or_default().trim();
    // Braces need no space around them.
    let spaced = text.replace('{', " { ").replace('}', " } ");
    let mut words = spaced.split_whitespace().map(|word| word.trim_matches('"'));
    let is_permit = match words.next()? {
        "permit" => true,
        "deny" => false,
        _ => return None,
    };
    let mut needs_password = true;
    let identity = loop {
        match words.next()? {
            "nopass" => needs_password = false,
            "nolog" | "persist" | "keepenv" => {}
            "setenv" => {
                words.find(|word| *word == "}")?;
            }
            identity => break identity,
        }
    };
    let is_its = match identity.strip_prefix(':') {
        Some(of) => account
            .groups
            .iter()
            .any(|group| group.name == of || group.id.to_string() == of),
        None => identity == account.name || identity == account.uid.to_string(),
    };
    let (mut target, mut command, mut args) = (None, None, None);
    while let Some(word) = words.next() {
        match word {
            "as" => target = words.next().map(str::to_owned),
            "cmd" => command = words.next().map(str::to_owned),
            "args" => args = Some(words.by_ref().map(str::to_owned).collect()),
            _ => {}
        }
    }
    is_its.then(|| DoasRule {
        is_permit,
        needs_password,
        text: text.to_owned(),
        target,
        command,
        args,
    })
}

#[cfg(test)]
mod tests {
    use super::super::agents::tests::agent;
    use super::*;

    #[test]
    fn rules_apply_to_users_and_groups() {
        let account = agent(&[(10, "wheel")]);
        let cases: [(&str, &[bool]); 20] = [
            ("", &[]),
            ("permit bob\npermit :ops\n# permit agent\n", &[]),
            ("permit agent\n", &[true]),
            ("permit \"agent\"\n", &[true]),
            ("permit nopass agent as root cmd apt\n", &[false]),
            ("permit persist keepenv :wheel\n", &[true]),
            (
                "permit nopass setenv { PATH=/bin -HOME } :wheel # x\n",
                &[false],
            ),
            ("permit nopass setenv {DISPLAY} agent\n", &[false]),
            ("permit nopass setenv { DISPLAY agent } bob\n", &[]),
            ("permit nopass 1001\n", &[false]),
            ("permit nopass \\\n  agent\n", &[false]),
            // The last match decides.
            ("permit nopass agent\ndeny agent\n", &[]),
            ("deny agent\npermit nopass agent\n", &[false]),
            ("permit nopass agent\npermit agent\n", &[true]),
            (
                "permit nopass agent as bob cmd a\ndeny :wheel as bob\n",
                &[],
            ),
            ("permit nopass agent cmd a args b\ndeny agent cmd a\n", &[]),
            (
                "permit nopass agent cmd a\ndeny agent cmd a args\n",
                &[false],
            ),
            ("permit nopass agent\ndeny agent cmd sh\n", &[false]),
            ("permit nopass agent\ndeny agent as bob\n", &[false]),
            ("permit nopass agent\ndeny bob\n", &[false]),
        ];
        for (text, expect) in cases {
            let found = permits(&account, text);
            let found: Vec<bool> = found.iter().map(|rule| rule.needs_password).collect();
            assert_eq!(found, expect, "{text}");
        }
    }
}
