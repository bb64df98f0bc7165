//! Names of units, and patterns for them (systemd.unit(5), "unit file load path" and what a name may be).

use std::fmt;
use std::str::FromStr;

/// Bytes of a unit's name: systemd's UNIT_NAME_MAX without its NUL.
const MAX: usize = 255;
/// The kinds of unit there are.
const KINDS: [&str; 11] = [
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

fn may_stand(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte)
}

/// The whole name of a unit, with its kind: `nginx.service`, `getty@tty1.service`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitName(String);

impl UnitName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands after the last dot.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.0.rsplit_once('.').map_or("", |(_, kind)| kind)
    }

    /// Whether it is an instance of a template: `getty@tty1.service`.
    #[must_use]
    pub fn is_instance(&self) -> bool {
        self.0.contains('@')
    }

    /// What stands before the last dot.
    #[must_use]
    pub fn stem(&self) -> &str {
        self.0.rsplit_once('.').map_or("", |(stem, _)| stem)
    }
}

impl FromStr for UnitName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err("is empty");
        }
        if text.starts_with(['-', '.', '@']) {
            return Err("begins with a sign that no unit's name begins with");
        }
        if !text.bytes().all(may_stand) {
            return Err("has a sign that no unit's name has");
        }
        let kind = text.rsplit_once('.').map(|(_, kind)| kind);
        let name = match kind.is_some_and(|kind| KINDS.contains(&kind)) {
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

/// What the name of a unit must be like: it has this in it, or with `*` and `?` it is this.
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
            .all(|byte| may_stand(byte) || b"*?".contains(&byte))
        {
            return Err("has a sign that no unit's name has");
        }
        Ok(Self(text.to_owned()))
    }
}

impl UnitPattern {
    /// Whether a unit's name is like it. Takes at most the product of both lengths in steps.
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

/// A match from begin to end. Only the last star passed is ever tried again: an earlier one
/// could not reach further.
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
    fn a_name_gets_its_kind_and_nothing_else_passes() {
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
        let room = MAX - ".service".len();
        assert!("x".repeat(room).parse::<UnitName>().is_ok());
        assert!("x".repeat(room + 1).parse::<UnitName>().is_err());
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
