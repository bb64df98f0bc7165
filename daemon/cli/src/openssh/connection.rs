//! Describes a connection for `sshd -T -C …` (sshd(8)). Pure.

use std::fmt;

use super::pattern::PatternKind;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connection {
    host: String,
    addr: String,
    laddr: String,
    lport: String,
    rdomain: Option<String>,
}

impl Default for Connection {
    /// TEST-NET-1 addresses (RFC 5737) belong to nobody, so no `Match Address` for trusted hosts applies. With a
    /// `Match LocalPort`, sshd needs a port.
    fn default() -> Self {
        Self {
            host: "192.0.2.1".into(),
            addr: "192.0.2.1".into(),
            laddr: "192.0.2.2".into(),
            lport: "22".into(),
            rdomain: None,
        }
    }
}

impl Connection {
    pub fn kind(criterion: &str) -> PatternKind {
        match criterion {
            "address" | "localaddress" => PatternKind::Address,
            "localport" => PatternKind::Number,
            "host" => PatternKind::Host,
            _ => PatternKind::Name,
        }
    }

    /// Returns this criterion's value in lower case. `None` if sshd cannot be queried by it.
    pub fn value(&self, criterion: &str) -> Option<&str> {
        match criterion {
            "host" => Some(&self.host),
            "address" => Some(&self.addr),
            "localaddress" => Some(&self.laddr),
            "localport" => Some(&self.lport),
            "rdomain" => Some(self.rdomain.as_deref().unwrap_or_default()),
            _ => None,
        }
    }

    /// Sets a criterion's value. `None` if sshd cannot be queried by it or could misread the value.
    pub fn set(&mut self, criterion: &str, value: String) -> Option<()> {
        let plain = |c: char| c.is_ascii_alphanumeric() || ".:-_%".contains(c);
        if value.is_empty() || !value.chars().all(plain) {
            return None;
        }
        match criterion {
            "host" => self.host = value,
            "address" => self.addr = value,
            "localaddress" => self.laddr = value,
            "localport" => self.lport = value,
            "rdomain" => self.rdomain = Some(value),
            _ => return None,
        }
        Some(())
    }
}

/// Formats it for `-C`, after the user.
impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            host,
            addr,
            laddr,
            lport,
            rdomain,
        } = self;
        write!(f, "host={host},addr={addr},laddr={laddr},lport={lport}")?;
        match rdomain {
            Some(rdomain) => write!(f, ",rdomain={rdomain}"),
            None => Ok(()),
        }
    }
}
