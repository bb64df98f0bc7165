//! Unit names and patterns for them (systemd.unit(5)).

use std::fmt;
use std::str::FromStr;

/// Maximum bytes of a unit name: systemd's UNIT_NAME_MAX without its NUL.
const MAX: usize = 255;
/// Every unit kind (systemd.unit(5)). A name without such a suffix is a service.
pub const UNIT_KINDS: [&str; 11] = [
    "service",
    "socket",
    "device",
    "mount",
    "automount",
    "swap",
    "target",
    "path",
    "timer",
    "slice",
    "scope",
];

fn is_allowed_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte)
}

/// A complete unit name with its kind: `nginx.service`, `getty@tty1.service`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitName(String);

impl UnitName {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    #[must_use]
    pub fn kind(&self) -> &str {
        self.0.rsplit_once('.').map_or("", |(_, kind)| kind)
    }

    #[must_use]
    pub fn is_instance(&self) -> bool {
        self.0.contains('@')
    }

    #[must_use]
    pub fn stem(&self) -> &str {
        self.0.rsplit_once('.').map_or("", |(stem, _)| stem)
    }
}

/// Checks that `name` is the unit's first name, its `id` by the service manager. Rules and approvers know only the
/// requested name, and an alias would mean another unit than they know. Fails with a sentence about the first name.
pub fn check_first_name(name: &str, id: &str) -> Result<(), String> {
    if name == id {
        return Ok(());
    }
    let id = crate::text::line(id.as_bytes(), MAX);
    Err(format!(
        "unit '{name}' is '{id}': ask for it by that name, which rules and people know"
    ))
}

impl FromStr for UnitName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err("is empty");
        }
        if text.starts_with(['-', '.', '@']) {
            return Err(
                "begins with '-', '.' or '@': such a name is not taken, not even '-.slice'",
            );
        }
        if !text.bytes().all(is_allowed_byte) {
            return Err("has a sign that no unit's name has");
        }
        let kind = text.rsplit_once('.').map(|(_, kind)| kind);
        let name = match kind.is_some_and(|kind| UNIT_KINDS.contains(&kind)) {
            true => text.to_owned(),
            false => format!("{text}.service"),
        };
        if name.len() > MAX {
            return Err("is longer than a unit's name can be");
        }
        let stem = name.rsplit_once('.').map_or("", |(stem, _)| stem);
        if stem.ends_with('@') {
            return Err("is a template: its instance is missing after the @");
        }
        Ok(Self(name))
    }
}

impl fmt::Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A pattern for unit names: a substring, or with `*` and `?` the whole name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitPattern(String);

impl FromStr for UnitPattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err("is empty");
        }
        if text.starts_with('-') {
            return Err("begins with a hyphen");
        }
        if text.len() > MAX {
            return Err("is longer than a unit's name can be");
        }
        if !text
            .bytes()
            .all(|byte| is_allowed_byte(byte) || b"*?".contains(&byte))
        {
            return Err("has a sign that no unit's name has");
        }
        Ok(Self(text.to_owned()))
    }
}

impl UnitPattern {
    /// Returns true if `name` matches. The number of steps is at most the product of both lengths.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match self.0.contains(['*', '?']) {
            true => whole(self.0.as_bytes(), name.as_bytes()),
            false => name.contains(&self.0),
        }
    }
}

impl fmt::Display for UnitPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Matches the whole name. Retries only from the last star passed, because an earlier one cannot reach further.
fn whole(mut pattern: &[u8], mut name: &[u8]) -> bool {
    let mut again: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern.split_first(), name.split_first()) {
            (Some((b'*', rest)), _) => {
                again = Some((rest, name));
                pattern = rest;
            }
            (None, None) => return true,
            (Some((sign, rest)), Some((byte, left))) if *sign == b'?' || sign == byte => {
                (pattern, name) = (rest, left);
            }
            _ => match again.and_then(|(rest, from)| Some((rest, from.split_first()?.1))) {
                Some((rest, from)) => {
                    again = Some((rest, from));
                    (pattern, name) = (rest, from);
                }
                None => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_name_gets_kind_or_is_refused() {
        for (text, expect) in [
            ("nginx", Some("nginx.service")),
            ("nginx.service", Some("nginx.service")),
            ("ssh.socket", Some("ssh.socket")),
            ("getty@tty1", Some("getty@tty1.service")),
            ("org.example.Thing", Some("org.example.Thing.service")),
            ("dev-disk\\x2d1.device", Some("dev-disk\\x2d1.device")),
            ("session-3.scope", Some("session-3.scope")),
            ("", None),
            ("-H", None),
            ("-.slice", None),
            ("--all", None),
            (".service", None),
            ("@a", None),
            ("getty@", None),
            ("getty@.service", None),
            ("a b", None),
            ("a/b", None),
            ("a*", None),
            ("a\nb", None),
            ("a\0", None),
            ("ü", None),
        ] {
            let found = text.parse::<UnitName>().ok();
            assert_eq!(found.as_ref().map(UnitName::as_str), expect, "{text:?}");
        }
        // It exists on each machine, so the refusal says no other reason.
        let why = "-.slice".parse::<UnitName>().unwrap_err();
        assert!(why.contains("not taken"), "{why}");
        let capacity = MAX - ".service".len();
        assert!("x".repeat(capacity).parse::<UnitName>().is_ok());
        assert!("x".repeat(capacity + 1).parse::<UnitName>().is_err());
        let name: UnitName = "a.b.timer".parse().unwrap();
        assert_eq!((name.stem(), name.kind()), ("a.b", "timer"));
    }

    #[test]
    fn a_pattern_is_a_part_or_a_whole() {
        for (pattern, name, expect) in [
            ("ssh", "ssh.service", true),
            ("ssh", "openssh.socket", true),
            ("ssh", "sss.service", false),
            ("*.timer", "apt-daily.timer", true),
            ("*.timer", "apt-daily.timer.service", false),
            ("s?h.*", "ssh.service", true),
            ("s?h.*", "sh.service", false),
            ("*", "", true),
            ("?", "", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("**", "x", true),
        ] {
            let pattern: UnitPattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(name), expect, "{pattern} {name}");
        }
        for text in ["", "-x", "[ab]", "a b", "{a,b}", &"x".repeat(MAX + 1)] {
            assert!(text.parse::<UnitPattern>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn many_stars_cost_no_more_than_their_length() {
        let pattern: UnitPattern = format!("{}b", "a*".repeat(127)).parse().unwrap();
        assert!(!pattern.matches(&"a".repeat(MAX)));
    }
}
