//! Validates ssh destination and server name: only plain characters, as both get into files and command lines. Pure.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// In bytes: the longest host name (RFC 1035), more than any user name.
const LONGEST: usize = 255;
/// Clients put the name before tool names, and some allow 60 characters for both.
const NAME: usize = 40;
/// Bytes of a user's name besides letters and digits.
const USER: &[u8] = b"._-";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    pub user: Option<String>,
    /// A name, an address, or a `Host` of ssh_config(5).
    pub host: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoDestination;

impl fmt::Display for NoDestination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "it must be HOST or USER@HOST, of letters, digits and '.', '_', '-', and begin with no '-'; or an IPv6 address \
             without brackets. A port or a jump host belongs in ~/.ssh/config, under a Host",
        )
    }
}

impl std::error::Error for NoDestination {}

impl FromStr for Destination {
    type Err = NoDestination;

    fn from_str(text: &str) -> Result<Self, NoDestination> {
        let (user, host) = match text.split_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, text),
        };
        let is_host = is_plain(host, b"._-") || is_ipv6(host);
        let good = is_host && user.is_none_or(|user| is_plain(user, USER));
        good.then(|| Self {
            user: user.map(str::to_owned),
            host: host.to_owned(),
        })
        .ok_or(NoDestination)
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        f.write_str(&self.host)
    }
}

fn is_plain(word: &str, more: &[u8]) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || more.contains(&byte);
    (1..=LONGEST).contains(&word.len()) && !word.starts_with('-') && word.bytes().all(good)
}

/// An address such as `fe80::1%eth0`. ssh takes any other word with a colon as a name, and finds no port in it.
fn is_ipv6(host: &str) -> bool {
    let (address, zone) = match host.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (host, None),
    };
    address.parse::<Ipv6Addr>().is_ok() && zone.is_none_or(|zone| is_plain(zone, b"._-"))
}

/// The name of an account on another machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserName(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAUserName;

impl fmt::Display for NotAUserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it must be of letters, digits and '.', '_', '-', and begin with no '-'")
    }
}

impl std::error::Error for NotAUserName {}

impl FromStr for UserName {
    type Err = NotAUserName;

    fn from_str(text: &str) -> Result<Self, NotAUserName> {
        let good = is_plain(text, USER);
        good.then(|| Self(text.to_owned())).ok_or(NotAUserName)
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerName(String);

/// For several machines at once.
impl Default for ServerName {
    fn default() -> Self {
        Self("remit".to_owned())
    }
}

impl ServerName {
    /// Returns the machine's name, because a client may use several machines; `remit` if the host is an address.
    pub fn of(to: &Destination) -> Self {
        let label = to.host.split('.').next().unwrap_or_default();
        label.parse().unwrap_or_default()
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAServerName;

impl fmt::Display for NotAServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "it must be a letter, then letters, digits, '_' or '-', {NAME} at most"
        )
    }
}

impl std::error::Error for NotAServerName {}

impl FromStr for ServerName {
    type Err = NotAServerName;

    fn from_str(text: &str) -> Result<Self, NotAServerName> {
        let later = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        let good = text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.len() <= NAME
            && text.bytes().all(later);
        good.then(|| Self(text.to_owned())).ok_or(NotAServerName)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_what_ssh_takes() {
        for (text, user, host) in [
            ("web-1", None, "web-1"),
            ("web_1.example.org", None, "web_1.example.org"),
            ("192.0.2.7", None, "192.0.2.7"),
            ("fe80::1%eth0", None, "fe80::1%eth0"),
            ("agent@2001:db8::7", Some("agent"), "2001:db8::7"),
            ("agent@web", Some("agent"), "web"),
            ("John.Doe@web", Some("John.Doe"), "web"),
        ] {
            let parsed: Destination = text.parse().unwrap();
            assert_eq!((parsed.user.as_deref(), &*parsed.host), (user, host));
            assert_eq!(parsed.to_string(), text);
        }
    }

    #[test]
    fn a_word_that_means_more_is_refused() {
        for text in [
            "",
            "-oProxyCommand=x",
            "a b",
            "a\nb",
            "a\tb",
            "a;b",
            "a/b",
            "ssh://a",
            "a'",
            "a\"",
            "a\\",
            "$a",
            "`a`",
            "@a",
            "a@",
            "a@-b",
            "-a@b",
            "a@b@c",
            "a:b@c",
            "agent@web1:2222",
            "agent@web1:",
            "agent@host:22:33",
            "192.0.2.7:22",
            "[fe80::1]",
            "web%",
            "web%eth0",
            "fe80::1%",
            "fe80::1%-x",
            "\u{fc}",
            "a=b",
            &"a".repeat(256),
        ] {
            assert_eq!(text.parse::<Destination>(), Err(NoDestination), "{text:?}");
        }
    }

    #[test]
    fn a_server_is_called_as_its_machine() {
        for (host, name) in [
            ("web-1", "web-1"),
            ("agent@web_1.example.org", "web_1"),
            ("192.0.2.7", "remit"),
            ("fe80::1%eth0", "remit"),
            ("1st.example.org", "remit"),
            (&"a".repeat(41), "remit"),
        ] {
            assert_eq!(ServerName::of(&host.parse().unwrap()).as_str(), name);
        }
    }

    #[test]
    fn a_server_name_is_a_word() {
        for text in ["remit", "Web-1_a", &"a".repeat(40)] {
            assert_eq!(text.parse::<ServerName>().unwrap().as_str(), text);
        }
        for text in ["", "1a", "-a", "a.b", "a b", "a\"", &"a".repeat(41)] {
            assert_eq!(text.parse::<ServerName>(), Err(NotAServerName), "{text:?}");
        }
    }
}
