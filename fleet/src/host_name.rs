//! The name of a host as ssh takes it. Only plain characters, because names get into command lines. Pure.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// The longest host name (RFC 1035).
const LONGEST: usize = 255;

/// A `Host` of ssh_config(5), a name or an address. It never begins with a hyphen, so ssh reads no option in it, or
/// with a dot, so it names a directory below another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoHostName;

impl HostName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HostName {
    type Err = NoHostName;

    fn from_str(text: &str) -> Result<Self, NoHostName> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let is_name = (1..=LONGEST).contains(&text.len())
            && !text.starts_with(['-', '.'])
            && text.bytes().all(is_plain);
        let is_address = || text.parse::<Ipv6Addr>().is_ok();
        match is_name || is_address() {
            true => Ok(Self(text.to_owned())),
            false => Err(NoHostName),
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for NoHostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the name of a host has letters, digits and '.', '_', '-', and begins with no '-' or '.'; \
             user and port belong in ~/.ssh/config",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_name_is_accepted() {
        for text in ["web1", "web_1.example.org", "192.0.2.7", "2001:db8::7", "W"] {
            assert_eq!(text.parse::<HostName>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn name_that_means_more_is_refused() {
        for text in [
            "",
            "-oProxyCommand=x",
            "-",
            ".",
            "..",
            ".web1",
            "ann@web1",
            "ssh://web1",
            "web1:22",
            "tag:prod",
            "a b",
            "a\n",
            "a/b",
            "a;b",
            "$a",
            "`a`",
            "a%h",
            "web*",
            "!web1",
            "a=b",
            "\u{fc}",
            "fe80::1%eth0",
            &"a".repeat(256),
        ] {
            assert_eq!(text.parse::<HostName>(), Err(NoHostName), "{text:?}");
        }
    }
}
