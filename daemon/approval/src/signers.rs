//! Keys of approvers: a file in the format of allowed_signers (ssh-keygen(1)), a line each: account names, options, key.
//! A principal is the whole name of an account, without a pattern. A line that is not understood refuses the file.

use std::collections::BTreeSet;
use std::fmt;

use remit_common::signed::NAMESPACE;
use remit_common::{calendar, text};
use remit_policy::Glob;

/// Name of the file, in the directory of `remit.toml`.
pub const FILE: &str = "approvers";
/// Bytes of the file.
pub const MOST: usize = 64 << 10;
const SHOWN: usize = 80;
/// Kinds of keys whose signatures are verified.
const KINDS: [&str; 4] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// One line: a key of one or more accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// Its number, from 1.
    pub line: u32,
    pub names: Vec<String>,
    /// Milliseconds since 1970.
    after: Option<u64>,
    before: Option<u64>,
    /// `None`: any namespace.
    namespaces: Option<Vec<Glob>>,
    /// Kind and base64, with a blank between.
    pub key: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signers(pub Vec<Signer>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignersError {
    line: usize,
    why: String,
}

impl fmt::Display for SignersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

impl std::error::Error for SignersError {}

impl Signer {
    #[must_use]
    pub fn is_of(&self, account: &str) -> bool {
        self.names.iter().any(|name| name == account)
    }

    #[must_use]
    pub fn is_security_key(&self) -> bool {
        self.key.starts_with("sk-")
    }

    /// Says why a signature at this time, in milliseconds since 1970, does not count.
    #[must_use]
    pub fn refuses(&self, at_ms: u64) -> Option<String> {
        let line = self.line;
        let is_named = |named: &Vec<Glob>| named.iter().any(|glob| glob.matches(NAMESPACE));
        if !self.namespaces.as_ref().is_none_or(is_named) {
            return Some(format!(
                "the key of line {line} is not for the namespace {NAMESPACE}"
            ));
        }
        if let Some(after) = self.after.filter(|after| at_ms < *after) {
            let time = calendar::timestamp(after);
            return Some(format!("the key of line {line} is valid after {time}"));
        }
        let before = self.before.filter(|before| at_ms >= *before)?;
        let time = calendar::timestamp(before);
        Some(format!("the key of line {line} was valid before {time}"))
    }
}

impl Signers {
    /// Reads the text of the file.
    ///
    /// # Errors
    /// Names the first line that is not understood.
    pub fn parse(bytes: &[u8]) -> Result<Self, SignersError> {
        if bytes.len() > MOST {
            let why = format!("the file has over {MOST} bytes");
            return Err(SignersError { line: 1, why });
        }
        let text = std::str::from_utf8(bytes).map_err(|error| SignersError {
            line: bytes.get(..error.valid_up_to()).map_or(1, |good| {
                good.iter().filter(|byte| **byte == b'\n').count() + 1
            }),
            why: "it is not UTF-8".to_owned(),
        })?;
        let mut all = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let signer = signer(number, line).map_err(|why| SignersError {
                line: usize::try_from(number).unwrap_or(usize::MAX),
                why,
            })?;
            all.push(signer);
        }
        Ok(Self(all))
    }
}

fn signer(line: u32, text: &str) -> Result<Signer, String> {
    let (names, rest) = word(text)?;
    let names: Vec<String> = names
        .trim_matches('"')
        .split(',')
        .map(str::to_owned)
        .collect();
    if let Some(bad) = names.iter().find(|name| !is_account(name)) {
        return Err(format!(
            "{} is not the name of an account; patterns are not allowed",
            quoted(bad)
        ));
    }
    let (first, after_first) = word(rest)?;
    let is_kind =
        |word: &str| word.contains("ssh-") || word.starts_with("ecdsa-") || word.starts_with("sk-");
    let (options, kind, rest) = match is_kind(first) && !first.contains('=') {
        true => ("", first, after_first),
        false => {
            let (kind, rest) = word(after_first)?;
            (first, kind, rest)
        }
    };
    let mut signer = Signer {
        line,
        names,
        after: None,
        before: None,
        namespaces: None,
        key: String::new(),
    };
    signer.options(options)?;
    if !KINDS.contains(&kind) {
        return Err(format!(
            "keys of the kind {} are not accepted; use one of {}",
            quoted(kind),
            KINDS.join(", ")
        ));
    }
    let (key, _comment) = word(rest)?;
    if key.is_empty() {
        return Err("it has no key".to_owned());
    }
    signer.key = format!("{kind} {key}");
    Ok(signer)
}

impl Signer {
    fn options(&mut self, options: &str) -> Result<(), String> {
        let mut found = BTreeSet::new();
        for option in split_options(options)? {
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(unquoted(value)?)),
                None => (option, None),
            };
            if !found.insert(name.to_ascii_lowercase()) {
                return Err(format!("the option {} is given twice", quoted(name)));
            }
            match (name.to_ascii_lowercase().as_str(), value) {
                ("cert-authority", _) => {
                    return Err(
                        "certificates are not accepted (cert-authority); list the key itself"
                            .to_owned(),
                    );
                }
                ("valid-after", Some(value)) => self.after = Some(time(value)?),
                ("valid-before", Some(value)) => self.before = Some(time(value)?),
                ("namespaces", Some(value)) => {
                    if value.contains(['!', '?']) {
                        return Err("write the namespaces without '!' and '?'".to_owned());
                    }
                    self.namespaces = Some(value.split(',').map(Glob::new).collect());
                }
                _ => return Err(format!("unknown option {}", quoted(option))),
            }
        }
        Ok(())
    }
}

/// Splits off the first word; blanks within double quotes do not end it.
fn word(text: &str) -> Result<(&str, &str), String> {
    let text = text.trim_start();
    let mut is_quoted = false;
    let end = text.find(|c: char| {
        is_quoted ^= c == '"';
        !is_quoted && (c == ' ' || c == '\t')
    });
    let (word, rest) = text.split_at(end.unwrap_or(text.len()));
    match is_quoted && end.is_none() {
        true => Err("a quote has no end".to_owned()),
        false => Ok((word, rest)),
    }
}

fn split_options(options: &str) -> Result<Vec<&str>, String> {
    let mut is_quoted = false;
    let found = options.split(|c: char| {
        is_quoted ^= c == '"';
        !is_quoted && c == ','
    });
    let found: Vec<&str> = found.collect();
    match found.as_slice() {
        [""] => Ok(Vec::new()),
        all if all.iter().any(|one| one.is_empty()) => Err("an option is empty".to_owned()),
        _ => Ok(found),
    }
}

fn unquoted(value: &str) -> Result<&str, String> {
    let inner = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    inner
        .filter(|inner| !inner.is_empty() && !inner.contains('"'))
        .ok_or_else(|| format!("write the value in double quotes: {}", quoted(value)))
}

/// Reads `YYYYMMDDZ` or `YYYYMMDDHHMM[SS]Z`. The local time zone is not known to all who read the file.
fn time(text: &str) -> Result<u64, String> {
    let wrong = || {
        format!(
            "{} is not a time in UTC, such as 20270131Z or 202701312359Z",
            quoted(text)
        )
    };
    let digits = text.strip_suffix(['Z', 'z']).ok_or_else(wrong)?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) || ![8, 12, 14].contains(&digits.len()) {
        return Err(wrong());
    }
    let number = |at: usize, length: usize| -> u64 {
        let part = digits.get(at..at + length);
        part.map_or(0, |part| part.parse().unwrap_or(u64::MAX))
    };
    let (year, month, day) = (number(0, 4), number(4, 2), number(6, 2));
    let (hour, minute, second) = (number(8, 2), number(10, 2), number(12, 2));
    let is_date = year >= 1970 && (1..=calendar::month_length(year, month)).contains(&day);
    match is_date && hour < 24 && minute < 60 && second < 60 {
        true => {
            let minutes = (calendar::days(year, month, day) * 24 + hour) * 60 + minute;
            Ok((minutes * 60 + second) * 1000)
        }
        false => Err(wrong()),
    }
}

fn is_account(name: &str) -> bool {
    let is_in = |c: char| !c.is_control() && !c.is_whitespace() && !"*?!\",:%#".contains(c);
    !name.is_empty() && name.chars().all(is_in)
}

fn quoted(word: &str) -> String {
    format!("'{}'", text::line(word.as_bytes(), SHOWN))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPx";

    fn one(line: &str) -> Result<Signer, String> {
        let all = Signers::parse(line.as_bytes()).map_err(|error| error.to_string())?;
        assert_eq!(all.0.len(), 1);
        Ok(all.0[0].clone())
    }

    #[test]
    fn line_has_names_options_and_a_key() {
        let text = format!(
            "# people\n\nann,bob {KEY} ann@home\r\n\"eve\" namespaces=\"git,approve@*\" {KEY}\n"
        );
        let all = Signers::parse(text.as_bytes()).unwrap();
        let [first, second] = &all.0[..] else {
            panic!("{all:?}");
        };
        assert_eq!((first.line, first.key.as_str()), (3, KEY));
        assert!(first.is_of("ann") && first.is_of("bob") && !first.is_of("an"));
        assert_eq!((second.line, second.refuses(0)), (4, None));
    }

    #[test]
    fn validity_and_namespaces_are_honoured() {
        let signer = one(&format!(
            "ann valid-after=\"20270101Z\",valid-before=\"202701311200Z\" {KEY}"
        ))
        .unwrap();
        let (from, to) = (1_798_761_600_000, 1_801_396_800_000);
        for (at, refused) in [(from - 1, true), (from, false), (to - 1, false), (to, true)] {
            assert_eq!(signer.refuses(at).is_some(), refused, "{at}");
        }
        for (namespaces, refused) in [
            ("git", true),
            ("*", false),
            ("approve@remit", false),
            ("a*t", false),
            ("a*m", true),
            ("approve@remit2,*@remit", false),
            ("approve@remit*x", true),
            ("git,", true),
            ("a*a*t", true),
            ("a*e@r**t", false),
        ] {
            let signer = one(&format!("ann NAMESPACES=\"{namespaces}\" {KEY}")).unwrap();
            assert_eq!(signer.refuses(0).is_some(), refused, "{namespaces}");
        }
    }

    #[test]
    fn line_that_is_not_understood_refuses_the_file() {
        for (line, expect) in [
            ("ann", "line 1: keys of the kind ''"),
            ("ann ssh-ed25519", "has no key"),
            (&format!("* {KEY}"), "'*' is not the name of an account"),
            (&format!("ann,!bob {KEY}"), "'!bob' is not"),
            (
                &format!("ann cert-authority {KEY}"),
                "certificates are not accepted",
            ),
            (
                &format!("ann cert-authority,namespaces=\"x\" {KEY}"),
                "certificates are",
            ),
            (
                &format!("ann valid-after=\"20270101\" {KEY}"),
                "not a time in UTC",
            ),
            (
                &format!("ann valid-before=\"20271301Z\" {KEY}"),
                "not a time in UTC",
            ),
            (
                &format!("ann valid-before=20271201Z {KEY}"),
                "double quotes",
            ),
            (&format!("ann namespaces=\"!x\" {KEY}"), "without '!'"),
            (
                &format!("ann valid-before=\"20200101Z\",Valid-Before=\"20990101Z\" {KEY}"),
                "the option 'Valid-Before' is given twice",
            ),
            (
                &format!("ann no-touch-required {KEY}"),
                "unknown option 'no-touch",
            ),
            (&format!("ann namespaces=\"x {KEY}"), "a quote has no end"),
            ("ann ssh-rsa AAAAB3", "'ssh-rsa' are not accepted"),
            (
                "ann ssh-ed25519-cert-v01@openssh.com AAAA",
                "are not accepted",
            ),
        ] {
            let error = one(line).unwrap_err();
            assert!(error.contains(expect), "{line}: {error}");
        }
        let text = [format!("ann {KEY}\n").as_bytes(), b"\xff\n"].concat();
        let error = Signers::parse(&text).unwrap_err().to_string();
        assert_eq!(error, "line 2: it is not UTF-8");
    }
}
