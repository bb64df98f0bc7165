//! Rules of polkit(8) that answer yes without a password. They are programs; what is found is words: the groups, users,
//! actions and units that a rule names beside its answer.

use super::polkit_actions::{MANAGE_UNITS, STRONG};
use super::polkit_conditions::{Conditions, Others};
use crate::facts::{Permit, Source};
use crate::look::Look;
use crate::path::FilePath;
use crate::rule::RuleId;

pub const DIRECTORIES: [&str; 4] = [
    "/etc/polkit-1/rules.d",
    "/run/polkit-1/rules.d",
    "/usr/local/share/polkit-1/rules.d",
    "/usr/share/polkit-1/rules.d",
];

/// Rules of packages, which are not listed if it is not known what their actions do.
const OF_PACKAGES: &str = "/usr/share/polkit-1";

pub fn look(look: &mut Look<'_>) {
    if look
        .machine
        .entry(&FilePath::fixed("/usr/lib/polkit-1/polkitd"))
        .is_none()
        && look
            .machine
            .entry(&FilePath::fixed("/usr/libexec/polkitd"))
            .is_none()
    {
        return;
    }
    for directory in DIRECTORIES.map(FilePath::fixed) {
        for name in look.machine.list(&directory) {
            if let Some(path) = directory.join(&name).filter(|_| name.ends_with(b".rules")) {
                rules(look, &path);
            }
        }
    }
    super::polkit_actions::look(look);
}

fn rules(look: &mut Look<'_>, path: &FilePath) {
    let content = look.machine.read(path).unwrap_or_default();
    for found in permits(&String::from_utf8_lossy(&content)) {
        if !found.unjudged.is_empty() && !path.is_beneath(&FilePath::fixed(OF_PACKAGES)) {
            let (line, actions) = (found.line, found.unjudged.join(", "));
            let actions = remit_common::text::line(actions.as_bytes(), 200);
            let why = format!("what its line {line} permits by {actions} is not judged");
            look.machine.unknown(path, why);
        }
        if found.is_unclear {
            let why = format!(
                "which actions its line {} permits is not judged",
                found.line
            );
            look.machine.unknown(path, why);
        }
        if !found.is_strong {
            continue;
        }
        let accounts = &look.facts.accounts;
        let users = found.users.iter().filter_map(|name| accounts.uid(name));
        let groups = found.groups.iter().filter_map(|name| accounts.gid(name));
        look.facts.permits.push(Permit {
            rule: RuleId::PolkitRoot,
            users: users.collect(),
            groups: groups.collect(),
            is_for_all: found.is_open || found.users.is_empty() && found.groups.is_empty(),
            units: found.units,
            source: Source::line(path, found.line, found.text.as_bytes()),
        });
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Found {
    line: usize,
    text: String,
    users: Vec<String>,
    groups: Vec<String>,
    /// It names an action that leads to root, or none.
    is_strong: bool,
    /// Actions of which it is not known what they lead to.
    unjudged: Vec<String>,
    /// It is not known whether it permits all actions but one.
    is_unclear: bool,
    /// It asks more about its subject than was understood.
    is_open: bool,
    /// Empty: all of what the action does.
    units: Vec<String>,
}

/// Each function that is added as a rule and answers yes.
fn permits(text: &str) -> Vec<Found> {
    let text = without_comments(text);
    let mut found = Vec::new();
    let begins: Vec<usize> = text.match_indices("addRule").map(|(at, _)| at).collect();
    let (mut line, mut counted) = (1_usize, 0);
    for (number, begin) in begins.iter().enumerate() {
        let before = text.get(counted..*begin).unwrap_or_default();
        line = line.saturating_add(before.matches('\n').count());
        counted = *begin;
        let end = begins
            .get(number.saturating_add(1))
            .copied()
            .unwrap_or(text.len());
        let rule = text.get(*begin..end).unwrap_or_default();
        let words = quoted(rule);
        let says_yes = |(word, _): &(&str, &str)| word.eq_ignore_ascii_case("yes");
        if !rule.contains("Result.YES") && !words.iter().any(says_yes) {
            continue;
        }
        let conditions = Conditions::new(rule, &words);
        let (mut actions, mut others) = (Vec::new(), Vec::new());
        let mut of_units = conditions.missing();
        for (number, (word, _)) in words.iter().enumerate() {
            let kind = match (is_unit(word), is_action(word)) {
                (true, _) => &mut of_units,
                (false, true) => {
                    actions.push(*word);
                    &mut others
                }
                (false, false) => continue,
            };
            kind.extend(conditions.unequal(number));
        }
        let begins = |strong: &str, action: &str| strong.starts_with(action);
        let strong = STRONG.iter().copied();
        let strong = strong.filter(|strong| actions.iter().any(|one| begins(strong, one)));
        let strong: Vec<&str> = strong.collect();
        let unjudged = actions
            .iter()
            .filter(|one| !STRONG.iter().any(|strong| begins(strong, one)));
        // All actions but this one.
        let is_other = others.contains(&Others::Permitted);
        let is_unclear = others.contains(&Others::Unknown);
        let are_units_all = of_units.iter().all(|one| *one == Others::Refused);
        let is_narrow = !is_other
            && !is_unclear
            && are_units_all
            && strong.iter().all(|action| *action == MANAGE_UNITS);
        let named = |is_one: fn(&str) -> bool| -> Vec<String> {
            let named = words.iter().filter(|(_, before)| is_one(before));
            named.map(|(word, _)| (*word).to_owned()).collect()
        };
        let (users, groups) = (named(is_user), named(is_group));
        let code = without_quoted(rule, &words);
        let is_open = asked(&code, ".user") > users.len()
            || asked(&code, ".isInGroup") > groups.len()
            || asked(&code, ".isInNetGroup") > 0
            || is_passed_on(&code);
        let units = words.iter().filter(|(word, _)| is_narrow && is_unit(word));
        found.push(Found {
            line,
            text: rule.split_whitespace().collect::<Vec<_>>().join(" "),
            users,
            groups,
            is_strong: actions.is_empty() || is_other || !strong.is_empty(),
            unjudged: unjudged.map(|word| (*word).to_owned()).collect(),
            is_unclear,
            is_open,
            units: units.map(|(word, _)| (*word).to_owned()).collect(),
        });
    }
    found
}

/// `subject.user == ` is before a name. No other operator is understood.
fn is_user(before: &str) -> bool {
    let before = before.trim_end();
    let before = before
        .strip_suffix("==")
        .map(|rest| rest.trim_end_matches('='));
    before.is_some_and(|before| before.trim_end().ends_with(".user"))
}

fn is_group(before: &str) -> bool {
    let call = before.trim_end().strip_suffix("isInGroup(");
    let object = call.map(|call| call.trim_end_matches('.'));
    let is_of_name = |char: char| char.is_alphanumeric() || char == '_';
    object.is_some_and(|object| {
        !object
            .trim_end_matches(is_of_name)
            .trim_end()
            .ends_with('!')
    })
}

fn without_quoted(rule: &str, words: &[(&str, &str)]) -> String {
    let quoted = words.iter();
    let end =
        quoted.map(|(word, before)| word.len().saturating_add(before.len()).saturating_add(2));
    let end = end.fold(0_usize, usize::saturating_add);
    let before = words.iter().map(|(_, before)| *before);
    before.chain(rule.get(end..)).collect()
}

/// Returns how often a rule asks for this member of its subject.
fn asked(rule: &str, member: &str) -> usize {
    let after = rule.split(member).skip(1);
    let is_of_name = |char: char| char.is_alphanumeric() || char == '_';
    after.filter(|rest| !rest.starts_with(is_of_name)).count()
}

/// Returns true if the subject itself is passed to a function, or kept by another name.
fn is_passed_on(rule: &str) -> bool {
    let Some((_, body)) = rule.split_once('{') else {
        return false;
    };
    let after = body.split("subject").skip(1);
    let mut ends = after.map(str::trim_start);
    ends.any(|rest| rest.starts_with([')', ',', ';', '[']))
}

fn is_action(word: &str) -> bool {
    word.matches('.').count() >= 2 && word.starts_with(|c: char| c.is_ascii_lowercase())
}

fn is_unit(word: &str) -> bool {
    [
        ".service", ".timer", ".socket", ".path", ".target", ".mount",
    ]
    .iter()
    .any(|suffix| word.ends_with(suffix))
}

/// Each quoted word with the text before it.
fn quoted(text: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..) {
        let Some(open) = rest.find(['"', '\'']) else {
            break;
        };
        let quote = rest
            .get(open..)
            .and_then(|rest| rest.chars().next())
            .unwrap_or('"');
        let inner = rest.get(open.saturating_add(1)..).unwrap_or_default();
        let Some(close) = inner.find(quote) else {
            break;
        };
        let before = rest.get(..open).unwrap_or_default();
        found.push((inner.get(..close).unwrap_or_default(), before));
        at = at
            .saturating_add(open)
            .saturating_add(close)
            .saturating_add(2);
    }
    found
}

/// Comments become spaces, so that lines stay.
fn without_comments(text: &str) -> String {
    let lines = text.lines().map(|line| match line.split_once("//") {
        Some((code, _)) => code,
        None => line,
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    let mut kept = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some((code, comment)) = rest.split_once("/*") {
        let (comment, after) = comment.split_once("*/").unwrap_or((comment, ""));
        kept += code;
        kept.extend(comment.chars().filter(|c| *c == '\n'));
        rest = after;
    }
    kept + rest
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rules_that_say_yes_are_found() {
        let text = "// polkit.addRule YES\npolkit.addRule(function(action, subject) {\n\
             if (action.id == \"org.freedesktop.systemd1.manage-units\" && subject.isInGroup(\"ops\")\n\
             && action.lookup('unit') == 'web.service') return polkit.Result.YES;\n});\n\
             polkit.addRule(function(a, s) { if (s.isInGroup(\"x\")) return polkit.Result.AUTH_ADMIN; });\n\
             polkit.addRule(function(a, s) { if (a.id == \"org.freedesktop.color.x\") return polkit.Result.YES; });\n\
             polkit.addRule(function(a, subject) { if (subject.user == \"bob\") { return polkit.Result.YES; } });";
        let found = permits(text);
        assert_eq!(found.len(), 3, "{found:?}");
        let [first, weak, second] = found.as_slice() else {
            panic!()
        };
        assert_eq!(
            (first.line, &first.groups[..], &first.units[..]),
            (2, &["ops".to_owned()][..], &["web.service".to_owned()][..])
        );
        assert_eq!(second.users, ["bob"]);
        assert!(!weak.is_strong && weak.unjudged == ["org.freedesktop.color.x"]);
    }

    #[test]
    fn rule_that_asks_more_than_is_understood_is_open() {
        let yes = |asks: &str| {
            let text = format!(
                "addRule(function(action, subject) {{ if ({asks}) return polkit.Result.YES; }});"
            );
            permits(&text).remove(0)
        };
        for (asks, users, groups, is_open) in [
            ("subject.user == \"bob\"", 1, 0, false),
            (
                "subject.user === 'bob' || subject.isInGroup('sudo')",
                1,
                1,
                false,
            ),
            (
                "subject.isInGroup('sudo') && subject.active == true && subject.local",
                0,
                1,
                false,
            ),
            (
                "['bot', 'carl'].indexOf(subject.user) >= 0 || subject.isInGroup('sudo')",
                0,
                1,
                true,
            ),
            (
                "'bot' == subject.user || subject.isInGroup('sudo')",
                0,
                1,
                true,
            ),
            (
                "subject.user != 'bob' || subject.isInGroup('sudo')",
                0,
                1,
                true,
            ),
            (
                "!subject.isInGroup('x') || subject.isInGroup('sudo')",
                0,
                1,
                true,
            ),
            (
                "subject.isInNetGroup('x') || subject.isInGroup('sudo')",
                0,
                1,
                true,
            ),
            ("allowed(subject) || subject.isInGroup('sudo')", 0, 1, true),
            (
                "subject.isInGroup(name) || subject.isInGroup('sudo')",
                0,
                1,
                true,
            ),
            (
                "action.id == 'org.freedesktop.accounts.user-administration' && subject.isInGroup('sudo')",
                0,
                1,
                false,
            ),
            (
                "subject.isInGroup('sudo') && action.lookup('user') == 'x'",
                0,
                1,
                false,
            ),
        ] {
            let found = yes(asks);
            let counts = (found.users.len(), found.groups.len(), found.is_open);
            assert_eq!(counts, (users, groups, is_open), "{asks}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(text: String) {
            let _ = permits(&format!("addRule{text}Result.YES"));
        }
    }
}
