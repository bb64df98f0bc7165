//! Chooses hosts by words: names, patterns, `tag:x`, and each with `!` to exclude. Pure.
//!
//! **Invariant:** a word that matches nothing is an error, because a mistyped exclusion would include a host.

use std::collections::BTreeSet;
use std::fmt;

use remit_common::text::first_of;

const WORDS: usize = 1000;
const WORD: usize = 300;
/// Names that an error lists.
const LISTED: usize = 12;

/// What a selector sees of a host.
pub trait Selectable {
    fn name(&self) -> &str;
    fn has_tag(&self, tag: &str) -> bool;
    fn tags(&self) -> &[String];
}

#[derive(Debug, PartialEq, Eq)]
pub struct SelectError(pub String);

impl fmt::Display for SelectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Splits `web* tag:prod, !web3` into words.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_between = |c: char| c.is_whitespace() || c == ',';
    text.split(is_between).filter(|word| !word.is_empty())
}

/// Returns the positions of the hosts that the words choose, each once: in the order of the words, those of a pattern or a
/// tag in the order of `hosts`.
pub fn select<H: Selectable>(hosts: &[H], words: &[&str]) -> Result<Vec<usize>, SelectError> {
    if words.len() > WORDS {
        return Err(SelectError(format!("more than {WORDS} words: use a tag")));
    }
    let (included, excluded): (Vec<&str>, Vec<&str>) =
        words.iter().partition(|word| !word.starts_with('!'));
    if included.is_empty() {
        let why = match excluded.first() {
            None => "no host is named",
            Some(_) => "only exclusions are named: begin with '*' for all other hosts",
        };
        return Err(SelectError(format!("{why}; {}", there_are(hosts))));
    }
    let all = |words: &[&str]| -> Result<Vec<usize>, SelectError> {
        let found: Result<Vec<_>, _> = words.iter().map(|word| matching(hosts, word)).collect();
        Ok(found?.concat())
    };
    let mut found = all(&included)?;
    let excluded: Vec<&str> = excluded
        .iter()
        .map(|word| word.strip_prefix('!').unwrap_or(word))
        .collect();
    let mut left_out: BTreeSet<usize> = all(&excluded)?.into_iter().collect();
    // What was found before is left out, too.
    found.retain(|at| left_out.insert(*at));
    match found.is_empty() {
        true => Err(SelectError(format!(
            "'{}' excludes every host that it includes",
            shown(&words.join(" "))
        ))),
        false => Ok(found),
    }
}

fn matching<H: Selectable>(hosts: &[H], word: &str) -> Result<Vec<usize>, SelectError> {
    let is_meant: Box<dyn Fn(&H) -> bool + '_> = match word.strip_prefix("tag:") {
        Some(tag) => Box::new(move |host| host.has_tag(tag)),
        None if word.len() > WORD => Box::new(|_| false),
        None => Box::new(move |host| remit_openssh::matches(word, host.name())),
    };
    let found: Vec<usize> = hosts
        .iter()
        .enumerate()
        .filter_map(|(at, host)| is_meant(host).then_some(at))
        .collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let word = shown(word);
    Err(SelectError(match word.strip_prefix("tag:") {
        Some(tag) => format!("no host has the tag '{tag}'; {}", tags(hosts)),
        None if remit_openssh::is_literal(&word) => {
            format!("no host is named '{word}'; {}", there_are(hosts))
        }
        None => format!("no host matches '{word}'; {}", there_are(hosts)),
    }))
}

fn shown(word: &str) -> String {
    remit_common::text::line(word.as_bytes(), WORD)
}

fn there_are<H: Selectable>(hosts: &[H]) -> String {
    match hosts {
        [] => "there are no hosts".to_owned(),
        _ => format!(
            "there are {}",
            first_of(hosts.iter().map(Selectable::name), LISTED)
        ),
    }
}

fn tags<H: Selectable>(hosts: &[H]) -> String {
    let mut tags: Vec<&str> = hosts
        .iter()
        .flat_map(|host| host.tags())
        .map(String::as_str)
        .collect();
    tags.sort_unstable();
    tags.dedup();
    match tags.is_empty() {
        true => "there are no tags".to_owned(),
        false => {
            tags.truncate(LISTED);
            format!("tags are {}", tags.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct One(&'static str, Vec<String>);

    impl Selectable for One {
        fn name(&self) -> &str {
            self.0
        }

        fn has_tag(&self, tag: &str) -> bool {
            self.1.iter().any(|one| one == tag)
        }

        fn tags(&self) -> &[String] {
            &self.1
        }
    }

    fn hosts() -> Vec<One> {
        let tags = |tags: &[&str]| tags.iter().map(|tag| (*tag).to_owned()).collect();
        vec![
            One("web1", tags(&["prod"])),
            One("web2", tags(&["prod", "canary"])),
            One("web3", tags(&[])),
            One("db1", tags(&["prod"])),
        ]
    }

    fn chosen(on: &str) -> Result<String, String> {
        let hosts = hosts();
        let words: Vec<&str> = words(on).collect();
        match select(&hosts, &words) {
            Ok(found) => Ok(found
                .iter()
                .map(|at| hosts[*at].0)
                .collect::<Vec<_>>()
                .join(" ")),
            Err(error) => Err(error.0),
        }
    }

    #[test]
    fn hosts_are_in_the_order_of_the_words() {
        for (on, expect) in [
            ("web1", "web1"),
            ("db1 web1", "db1 web1"),
            ("web2 web* db1 web1", "web2 web1 web3 db1"),
            ("db1 tag:prod", "db1 web1 web2"),
            ("db1 web3 * !web1", "db1 web3 web2"),
            ("web*", "web1 web2 web3"),
            ("web1,web1, web1", "web1"),
            ("tag:prod", "web1 web2 db1"),
            ("tag:prod !tag:canary", "web1 db1"),
            ("!web3 *", "web1 web2 db1"),
            ("* !web?", "db1"),
            ("web? !web2\tdb1", "web1 web3 db1"),
        ] {
            assert_eq!(chosen(on).as_deref(), Ok(expect), "{on}");
        }
    }

    #[test]
    fn word_that_matches_nothing_is_an_error() {
        for (on, expect) in [
            ("", "no host is named; there are web1, web2, web3, db1"),
            ("web9", "no host is named 'web9'; there are web1, "),
            ("web1 web9", "no host is named 'web9'"),
            ("mail*", "no host matches 'mail*'"),
            ("* !web9", "no host is named 'web9'"),
            (
                "tag:test",
                "no host has the tag 'test'; tags are canary, prod",
            ),
            ("tag:", "no host has the tag ''"),
            ("tag:pro*", "no host has the tag 'pro*'"),
            ("!web1", "only exclusions are named: begin with '*'"),
            ("web1 !web1", "'web1 !web1' excludes every host"),
            ("-oProxyCommand=x", "no host is named '-oProxyCommand=x'"),
            ("a\u{1b}b", "no host is named 'a\\x1bb'"),
            ("WEB1", "no host is named 'WEB1'"),
        ] {
            let error = chosen(on).unwrap_err();
            assert!(error.starts_with(expect), "{on}: {error}");
        }
    }

    #[test]
    fn long_lists_are_bounded() {
        let many = "web1 ".repeat(WORDS + 1);
        assert!(chosen(&many).unwrap_err().contains("use a tag"));
        let long = chosen(&"a".repeat(1 << 20)).unwrap_err();
        assert!(long.len() < 1000, "{}", long.len());
    }
}
