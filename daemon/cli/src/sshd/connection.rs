//! A connection that sshd is asked about: `sshd -T -C …` (sshd(8)). Pure.

use std::fmt;

use super::pattern::Kind;

/// From where, to where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connection {
    host: String,
    addr: String,
    laddr: String,
    lport: String,
    rdomain: Option<String>,
}

impl Default for Connection {
    /// Addresses of TEST-NET-1 (RFC 5737) are nobody's, so no `Match Address` for friends counts. Without a port sshd
    /// refuses to answer where there is a `Match LocalPort`.
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
    /// Of what kind the patterns of a criterion are.
    pub fn kind(criterion: &str) -> Kind {
        match criterion {
            "address" | "localaddress" => Kind::Address,
            "localport" => Kind::Number,
            "host" => Kind::Host,
            _ => Kind::Name,
        }
    }

    /// What it is by this criterion, in lower case. `None`: sshd cannot be asked by that.
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

    /// Another value for this criterion. `None`: sshd cannot be asked by that, or would take it for more than a value.
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

/// As `-C` takes it, behind the user.
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
