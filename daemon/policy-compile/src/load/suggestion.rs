//! Finds what to write instead of a mistake: the known word that is most like it, and an example of a key.

use remit_common::text::is_plain;
use toml::Spanned;
use toml::de::DeValue;

pub(crate) type Value<'a> = Spanned<DeValue<'a>>;

/// Longer words are not compared.
const LONGEST: usize = 64;

/// Returns the known word that `word` is most likely meant to be: one edit away for each three letters, at most three.
/// An edit is one letter more, less or another, or two exchanged.
pub(crate) fn similar<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let bound = (word.len() / 3).clamp(1, 3);
    let near = |one: &&str| one.len().abs_diff(word.len()) <= bound && one.len() <= LONGEST;
    let known = known.into_iter().filter(|one| *one != word).filter(near);
    let known = known.map(|one| (distance(word.as_bytes(), one.as_bytes()), one));
    let best = known.min_by_key(|(distance, _)| *distance);
    best.filter(|(distance, _)| word.len() <= LONGEST && *distance <= bound)
        .map(|(_, one)| one)
}

/// Counts edits between two words (optimal string alignment).
fn distance(one: &[u8], other: &[u8]) -> usize {
    let at = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX / 2);
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (i, x) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in other.iter().enumerate() {
            let changed = at(&last, j) + usize::from(x != y);
            let longer_or_shorter = at(&last, j + 1).min(at(&row, j)) + 1;
            let is_exchanged =
                i > 0 && j > 0 && one.get(i - 1) == Some(y) && other.get(j - 1) == Some(x);
            let exchanged = if is_exchanged {
                at(&before, j - 1) + 1
            } else {
                usize::MAX
            };
            row.push(changed.min(longer_or_shorter).min(exchanged));
        }
        before = std::mem::replace(&mut last, row);
    }
    at(&last, other.len())
}

/// Returns a line that sets this key as most files do.
pub(crate) fn example(key: &str) -> Option<&'static str> {
    Some(match key {
        "to" => "to = [\"%remit\"]",
        "allow" => "allow = [\"nginx.test\"]",
        "deny" => "deny = [\"run\"]",
        "by" => "by = [\"%remit-admin\"]",
        "name" => "name = \"nginx.test\"",
        "summary" => "summary = \"Check an nginx configuration\"",
        "argv" => "argv = [\"/usr/sbin/nginx\", \"-t\"]",
        "effect" => "effect = \"read\" or effect = \"change\"",
        "profile" => "profile = \"read\"",
        "run_profile" => "run_profile = \"strict\"",
        "base" => "base = \"strict\"",
        "type" => "type = \"string\"",
        "under" => "under = \"/srv\"",
        "values" => "values = [\"start\", \"stop\"]",
        "flag" => "flag = \"--verbose\"",
        "who" => "who = \"%remit\"",
        "what" => "what = \"run nginx.test\"",
        "verdict" => "verdict = \"deny\"",
        "approval" => "approval = { by = [\"%remit-admin\"] }",
        "network" => "network = [\"api.example.com:443\"]",
        "args" => {
            "args.unit = { type = \"unit\" } in a [[command]], args = { unit = [\"nginx.service\"] } in a rule"
        }
        _ => return None,
    })
}

/// Returns the line to write instead: with the same value if its meaning is clear.
pub(crate) fn instead(key: &str, expected: &str, value: &Value<'_>) -> Option<String> {
    let text = value.get_ref().as_str();
    let plain = text.filter(|text| text.len() <= 64 && text.chars().all(is_plain));
    let plain = plain.filter(|text| !text.contains(['"', '\\']));
    let number = value.get_ref().as_integer().map(|number| number.as_str());
    match (expected, plain, number) {
        ("a list of strings", None, Some(uid)) if ["to", "by"].contains(&key) => {
            Some(format!("\"#{uid}\": a uid is text with '#' before it"))
        }
        (_, Some(text), _) if expected.starts_with("a list of strings") => {
            Some(format!("{key} = [\"{text}\"]"))
        }
        _ if ["profile", "type"].contains(&key) && expected.contains("table") => {
            Some(format!("[{key}.NAME]"))
        }
        ("true or false", ..) => Some(format!("{key} = true, without quotes")),
        ("an integer", Some(text), _) if text.parse::<i64>().is_ok() => {
            Some(format!("{key} = {text}, without quotes"))
        }
        ("a string", _, Some(number)) => Some(format!("{key} = \"{number}\"")),
        _ => example(key).map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_word_has_one_suggestion() {
        let known = [
            "allow",
            "approval",
            "unconfined",
            "web.test",
            "web.reload",
            "to",
        ];
        for (word, expect) in [
            ("alow", Some("allow")),
            ("aproval", Some("approval")),
            ("unconfind", Some("unconfined")),
            ("web.tset", Some("web.test")),
            ("web.relaod", Some("web.reload")),
            ("tp", Some("to")),
            ("allow", None),
            ("everything", None),
            ("", None),
        ] {
            assert_eq!(similar(word, known), expect, "{word}");
        }
        assert_eq!(similar(&"a".repeat(65), [&*"a".repeat(64)]), None);
    }

    #[test]
    fn edits_are_counted() {
        for (one, other, expect) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "abc", 0),
            ("abc", "acb", 1),
            ("abc", "abd", 1),
            ("abc", "ab", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(
                distance(one.as_bytes(), other.as_bytes()),
                expect,
                "{one} {other}"
            );
        }
    }
}
