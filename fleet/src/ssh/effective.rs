//! Reads what `ssh -G` prints about a host: lower-case keywords with their values. Pure.

use remit_common::text;

const SHOWN: usize = 300;

/// Values that would break a session of JSON lines or let a host use more of the user's than it needs, and what to give
/// instead.
const UNWANTED: [(&str, &str, &str); 6] = [
    ("remotecommand", "none", "RemoteCommand=none"),
    ("sessiontype", "default", "SessionType=default"),
    ("stdinnull", "no", "StdinNull=no"),
    (
        "forkafterauthentication",
        "no",
        "ForkAfterAuthentication=no",
    ),
    // Not every ssh knows it.
    (
        "gssapidelegatecredentials",
        "no",
        "GSSAPIDelegateCredentials=no",
    ),
    ("tunnel", "false", "Tunnel=no"),
];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effective {
    /// `USER@HOSTNAME:PORT`, escaped.
    pub address: String,
    pub keeps_alive: bool,
    pub has_connect_timeout: bool,
    /// Another program makes the connection, such as an ssh to a jump host.
    pub has_proxy: bool,
    /// Options that replace the user's own for this session.
    pub overridden: Vec<&'static str>,
}

impl Effective {
    /// Returns the name of the account there, escaped.
    pub fn user(&self) -> &str {
        self.address.rsplit_once('@').map_or("", |(user, _)| user)
    }

    pub fn parse(output: &str) -> Self {
        // The first value of a keyword counts, as in ssh_config(5).
        let value = |wanted: &str| {
            output.lines().find_map(|line| {
                let (keyword, value) = line.split_once(' ')?;
                (keyword == wanted).then_some(value)
            })
        };
        let part = |keyword| text::line(value(keyword).unwrap_or("?").as_bytes(), SHOWN);
        let differs = |(keyword, usual, _): &&(&str, &str, &str)| {
            value(keyword).is_some_and(|value| value != *usual)
        };
        let is_set = |keyword| value(keyword).is_some_and(|value| !["0", "none"].contains(&value));
        Self {
            address: format!("{}@{}:{}", part("user"), part("hostname"), part("port")),
            keeps_alive: is_set("serveraliveinterval"),
            has_connect_timeout: is_set("connecttimeout"),
            has_proxy: is_set("proxyjump") || is_set("proxycommand"),
            overridden: UNWANTED
                .iter()
                .filter(differs)
                .map(|(_, _, option)| *option)
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: &str = "host web1\nuser ann\nhostname 10.0.0.1\nport 22\nsessiontype default\nstdinnull no\n\
        forkafterauthentication no\nserveraliveinterval 0\nconnecttimeout none\n\
        remotecommand none\ngssapidelegatecredentials no\ntunnel false\n";

    #[test]
    fn usual_host_needs_nothing_else() {
        assert_eq!(
            Effective::parse(USUAL),
            Effective {
                address: "ann@10.0.0.1:22".into(),
                keeps_alive: false,
                has_connect_timeout: false,
                has_proxy: false,
                overridden: vec![],
            }
        );
    }

    #[test]
    fn unwanted_options_are_replaced() {
        let strange = USUAL
            .replace("remotecommand none", "remotecommand tmux attach")
            .replace("stdinnull no", "stdinnull yes")
            .replace("sessiontype default", "sessiontype none")
            .replace("credentials no", "credentials yes")
            .replace("tunnel false", "tunnel point-to-point")
            .replace("interval 0", "interval 30")
            .replace("connecttimeout none", "connecttimeout 5");
        let found = Effective::parse(&strange);
        let all = [
            "RemoteCommand=none",
            "SessionType=default",
            "StdinNull=no",
            "GSSAPIDelegateCredentials=no",
            "Tunnel=no",
        ];
        assert_eq!(found.overridden, all);
        assert!(found.keeps_alive && found.has_connect_timeout);
        for (line, expect) in [
            ("proxyjump bastion\n", true),
            ("proxycommand nc %h %p\n", true),
            ("proxycommand none\n", false),
        ] {
            let found = Effective::parse(&(USUAL.to_owned() + line));
            assert_eq!(found.has_proxy, expect, "{line}");
        }
        // OpenSSH before 8.7 prints none of these.
        assert_eq!(Effective::parse("user a\n").overridden, [""; 0]);
    }

    #[test]
    fn address_is_safe_to_show() {
        let found = Effective::parse("user a\nuser b\nhostname h\u{1b}[2J\n");
        assert_eq!(found.address, "a@h\\x1b[2J:?");
    }
}
