//! Why a host cannot be asked: words of ssh and of the host, and what to do. Pure.

use remit_common::text;

/// Bytes that are kept of standard error: the last ones.
pub const KEPT: usize = 4096;
const LINES: usize = 3;
const LINE: usize = 300;

/// The last bytes of a stream.
#[derive(Debug, Default)]
pub struct Tail(Vec<u8>);

impl Tail {
    pub fn add(&mut self, bytes: &[u8]) {
        let bytes = bytes
            .get(bytes.len().saturating_sub(KEPT)..)
            .unwrap_or(bytes);
        let too_many = (self.0.len() + bytes.len()).saturating_sub(KEPT);
        self.0.drain(..too_many.min(self.0.len()));
        self.0.extend_from_slice(bytes);
    }

    /// Returns its last lines on one line, escaped, or those from the first one of remit, which has the reason. Lines that give no
    /// reason come only if others do not fill it. Of a changed or revoked key it is one sentence, without the words of ssh, and what remit on the host says: ssh that checks no keys goes on.
    pub fn lines(&self) -> String {
        let has = |words: &str| {
            let mut parts = self.0.windows(words.len());
            parts.any(|part| part == words.as_bytes())
        };
        // ssh prints the command that removes the old key, and a man in the middle looks the same.
        let key = KEYS.iter().find(|(words, _)| has(words));
        let lines = self.0.split(|byte| matches!(byte, b'\n' | b'\r'));
        let lines: Vec<String> = lines
            .map(|line| text::line(line.trim_ascii(), LINE))
            .filter(|line| !line.is_empty() && (key.is_none() || line.starts_with(OWN)))
            .collect();
        // Lines of a rule that would allow it follow.
        let own = lines.iter().position(|line| line.starts_with(OWN));
        let lines: Vec<String> = match own {
            Some(first) => lines.into_iter().skip(first).take(LINES).collect(),
            None => last(lines),
        };
        let lines = lines.join("; ");
        match key {
            None => lines,
            Some((_, key)) if lines.is_empty() => (*key).to_owned(),
            Some((_, key)) => format!("{key}; whoever answered says: {lines}"),
        }
    }
}

/// Returns the last lines. Of too many, those without a reason go first, the first one of them before the others.
fn last(mut lines: Vec<String>) -> Vec<String> {
    while lines.len() > LINES {
        let useless = lines.iter().position(|line| gives_no_reason(line));
        lines.remove(useless.unwrap_or(0));
    }
    lines
}

/// How ssh begins a line that follows when a connection that it did not make itself has ended.
const CLOSING: [&str; 5] = [
    "stdio forwarding failed",
    CLOSED,
    "Connection closed by ",
    "Connection reset by ",
    "banner exchange: ",
];

/// Returns true if these words of ssh, or this sentence with them, say only that a connection has ended.
pub fn gives_no_reason(said: &str) -> bool {
    CLOSING.iter().any(|words| said.starts_with(words))
}

/// Words of ssh about a host whose key is not to be trusted, and what they mean.
const KEYS: [(&str, &str); 4] = [
    (
        "was revoked and you have requested strict checking",
        REVOKED_KEY,
    ),
    ("REVOKED HOST KEY DETECTED", REVOKED_KEY),
    (
        "has changed and you have requested strict checking",
        CHANGED_KEY,
    ),
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", CHANGED_KEY),
];
const CHANGED_KEY: &str = "the key of HOST is another one than before";
const REVOKED_KEY: &str = "the key of HOST is revoked";
/// Returns true for words that begin with that a key is not to be trusted.
pub fn is_about_key(said: &str) -> bool {
    KEYS.iter().any(|(_, key)| said.starts_with(key))
}

/// How `remit` begins a line of its own.
pub const OWN: &str = "remit: ";
/// Words of ssh about a login that no key opens.
const DENIED: &str = "Permission denied (";

/// Returns true if a host refused the login. What a shell says of a program that it may not execute is followed by the end of ssh.
pub fn is_denied(said: &str) -> bool {
    said.contains(DENIED) && !said.contains("Permission denied (ssh ended")
}
/// In a way out: the ssh that was started, with its configuration.
const SSH: &str = "{ssh}";

/// Words of ssh or of a shell.
#[derive(Debug)]
pub struct KnownReason {
    words: &'static str,
    /// What is wrong, in words for a person.
    pub means: &'static str,
    fix: &'static str,
}

impl KnownReason {
    const fn new(words: &'static str, means: &'static str, fix: &'static str) -> Self {
        Self { words, means, fix }
    }

    /// Returns what a person can do. `ssh` is how this ssh is typed, such as `ssh -F FILE`.
    pub fn fix(&self, ssh: &str) -> String {
        self.fix.replace(SSH, ssh)
    }
}

/// What is known. The first one counts.
const KNOWN: [KnownReason; 13] = [
    KnownReason::new(
        CHANGED_KEY,
        CHANGED_KEY,
        "find out why with a person; do not remove the old key",
    ),
    KnownReason::new(
        REVOKED_KEY,
        REVOKED_KEY,
        "do not log in; find out why with a person",
    ),
    KnownReason::new(
        "Host key verification failed",
        "the key of the host is not known on this computer",
        "log in once by hand with '{ssh} HOST' and compare the key",
    ),
    KnownReason::new(
        "this key starts mcp-shim and nothing else",
        "the key may start nothing but mcp-shim",
        "it is an agent's key: approvers need a login of their own, in another file for --config; for a client, leave the command \
         as client-config prints it",
    ),
    KnownReason::new(
        "link mux listener",
        "ssh cannot make a socket for a master connection",
        NO_MASTERS,
    ),
    KnownReason::new(
        "unix_listener: cannot bind",
        "ssh cannot make a socket for a master connection",
        NO_MASTERS,
    ),
    KnownReason::new(
        DENIED,
        "the host accepts none of the keys that ssh has",
        "ssh asks nothing here: a key or certificate has to suffice. Try '{ssh} -o BatchMode=yes HOST mcp-shim --check'",
    ),
    KnownReason::new(
        "Could not resolve hostname",
        "the name of the host is not known",
        "check the name in the configuration of ssh; '{ssh} -G HOST' shows what ssh makes of it",
    ),
    KnownReason::new(
        "Connection refused",
        "no ssh server listens there",
        "check the host and its port in the configuration of ssh",
    ),
    KnownReason::new(
        "timed out",
        "the host does not answer",
        "check the network and the host's firewall",
    ),
    KnownReason::new(
        "not found",
        "mcp-shim is not installed on the host",
        "if it is mcp-shim, install remit there",
    ),
    KnownReason::new(
        "No such file",
        "a file is missing on the host",
        "if it is mcp-shim, install remit there",
    ),
    KnownReason::new(
        CLOSED,
        "an ssh server, of the host or of a jump host, closes the connection",
        "if it takes no more logins at once (MaxStartups of sshd), set a smaller parallel in [limits] of fleet.toml; otherwise \
         '{ssh} -v HOST' says more",
    ),
];
const CLOSED: &str = "kex_exchange_identification: ";
const NO_MASTERS: &str = "set masters = 0 in [limits] of fleet.toml";

/// Returns what is known about these words.
pub fn known(said: &str) -> Option<&'static KnownReason> {
    KNOWN.iter().find(|known| said.contains(known.words))
}

/// Returns true if an ssh server of the way perhaps takes no more logins at once: the connection was closed before the exchange of
/// keys, and nothing else is known.
pub fn is_crowded(said: &str) -> bool {
    !said.contains("open failed") && known(said).is_some_and(|known| known.words == CLOSED)
}

/// Returns the sentence about a session that failed. `end` says how it ended, `strange` what was printed before, `ssh` how
/// this ssh is typed.
pub fn sentence(end: &str, said: &str, strange: &str, ssh: &str) -> String {
    let mut sentence = match said.is_empty() {
        true => end.to_owned(),
        false => format!("{said} ({end})"),
    };
    if !strange.is_empty() {
        sentence += &format!("; it printed: {strange}");
    }
    if let Some(known) = known(said) {
        sentence += &format!(". {}", known.fix(ssh));
    }
    sentence
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_lines_are_kept() {
        let mut tail = Tail::default();
        tail.add(&[b'x'; 3 * KEPT]);
        tail.add(b"\n** WARNING **\r\n\r\none\ntwo\x1b[2J\nthree\n");
        assert!(tail.0.len() <= KEPT);
        assert_eq!(tail.lines(), "one; two\\x1b[2J; three");
        assert_eq!(Tail::default().lines(), "");
    }

    /// What ssh prints behind a jump host that cannot reach the host.
    #[test]
    fn reason_comes_before_what_follows_from_it() {
        let refused = "channel 0: open failed: connect failed: Connection refused";
        let after = "stdio forwarding failed\r\nkex_exchange_identification: Connection closed by remote host\r\n\
                     Connection closed by UNKNOWN port 65535\r\n";
        for (said, expect, is_reason, is_crowd) in [
            (
                format!("{refused}\r\n{after}"),
                "channel 0: open failed: connect failed: Connection refused; kex_exchange_identification: Connection closed by \
                 remote host; Connection closed by UNKNOWN port 65535",
                true,
                false,
            ),
            (format!("a\nb\nc\n{after}d\n"), "b; c; d", true, false),
            (
                after.to_owned(),
                "stdio forwarding failed; kex_exchange_identification: Connection closed by remote host; Connection closed by \
                 UNKNOWN port 65535",
                false,
                true,
            ),
            (
                "Warning: added\nConnection closed by 10.0.0.1 port 22\n".to_owned(),
                "Warning: added; Connection closed by 10.0.0.1 port 22",
                true,
                false,
            ),
        ] {
            let mut tail = Tail::default();
            tail.add(said.as_bytes());
            let said = tail.lines();
            assert_eq!(said, expect);
            let sentence = sentence("ssh ended with status 255", &said, "", "ssh");
            assert_eq!(!gives_no_reason(&sentence), is_reason, "{sentence}");
            assert_eq!(is_crowded(&sentence), is_crowd, "{sentence}");
        }
    }

    #[test]
    fn reason_of_remit_comes_before_the_rule_that_would_allow_it() {
        let rule =
            "[[grant]]\nallow = [\"plan.undo\"]\nargs = { id = [\"x\"] }\napproval = \"none\"\n";
        for (said, expect) in [
            (
                format!("Welcome\nremit: not granted\nremit: to lift it: add\n{rule}"),
                "remit: not granted; remit: to lift it: add; [[grant]]",
            ),
            (
                "Welcome\nremit: not granted\n".to_owned(),
                "remit: not granted",
            ),
            (
                format!("a\n{rule}"),
                "allow = [\"plan.undo\"]; args = { id = [\"x\"] }; approval = \"none\"",
            ),
        ] {
            let mut tail = Tail::default();
            tail.add(said.as_bytes());
            assert_eq!(tail.lines(), expect);
        }
    }

    #[test]
    fn known_reasons_have_a_way_out() {
        let end = "ssh ended with status 255";
        for (said, part) in [
            (
                "ann@web1: Permission denied (publickey).",
                "'ssh -F /x -o BatchMode=yes HOST",
            ),
            (
                "bash: line 1: mcp-shim: command not found",
                "install remit there",
            ),
            (
                "mcp-shim: this key starts mcp-shim and nothing else; not run: 'remit pending --json'",
                "a login of their own, in another file for --config",
            ),
            (
                "Host key verification failed.",
                "by hand with 'ssh -F /x HOST'",
            ),
            (
                "Identity file /a: No such file.; ann@web1: Permission denied (publickey).",
                "BatchMode=yes",
            ),
            (
                "muxserver_listen: link mux listener /a => /b: Operation not permitted",
                "set masters = 0",
            ),
            (
                "unix_listener: cannot bind to path /a: Operation not permitted",
                "set masters = 0",
            ),
            (
                "kex_exchange_identification: Connection closed by remote host",
                "MaxStartups of sshd",
            ),
        ] {
            let sentence = sentence(end, said, "", "ssh -F /x");
            assert!(
                sentence.starts_with(said) && sentence.contains(part),
                "{sentence}"
            );
        }
        // The host lets it in, and a file there is not executable.
        let said = "bash: line 1: /usr/bin/mcp-shim: Permission denied";
        assert_eq!(
            sentence("status 126", said, "", "ssh"),
            format!("{said} (status 126)")
        );
        assert_eq!(sentence("it is silent", "", "", "ssh"), "it is silent");
        assert_eq!(
            sentence("ended", "", "hello", "ssh"),
            "ended; it printed: hello"
        );
    }

    /// All that OpenSSH 9.2 prints of it, and behind a jump host.
    #[test]
    fn changed_key_is_never_removed() {
        let mark = "@".repeat(59);
        let all = format!(
            "{mark}\r\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r\n{mark}\r\n\
             IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!\r\n\
             Someone could be eavesdropping on you right now (man-in-the-middle attack)!\r\n\
             It is also possible that a host key has just been changed.\r\n\
             The fingerprint for the ED25519 key sent by the remote host is\nSHA256:abc.\r\n\
             Please contact your system administrator.\r\n\
             Add correct host key in /home/ann/.ssh/known_hosts to get rid of this message.\r\n\
             Offending ED25519 key in /home/ann/.ssh/known_hosts:1\r\n  remove with:\r\n  \
             ssh-keygen -f \"/home/ann/.ssh/known_hosts\" -R \"web1\"\r\n\
             Host key for web1 has changed and you have requested strict checking.\r\n\
             Host key verification failed.\r\n"
        );
        let jump =
            "kex_exchange_identification: Connection closed\r\nConnection closed\r\nmore\r\n";
        // Without the strict check ssh goes on, and the login fails later.
        let later = "ann@web1: Permission denied (publickey).\r\n";
        let loose =
            format!("@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r\n{later}");
        for said in [all.clone(), all + jump, loose] {
            let mut tail = Tail::default();
            tail.add(said.as_bytes());
            assert_eq!(
                sentence("ssh ended with status 255", &tail.lines(), "", "ssh"),
                "the key of HOST is another one than before (ssh ended with status 255). find out why with a person; \
                 do not remove the old key"
            );
        }
    }

    #[test]
    fn revoked_key_is_no_unknown_one() {
        let banner = "@       WARNING: REVOKED HOST KEY DETECTED!               @\r\n";
        let words = "Host key for web1 was revoked and you have requested strict checking.\r\n\
                     Host key verification failed.\r\n";
        for said in [
            words.to_owned(),
            format!("{banner}{words}"),
            banner.to_owned(),
        ] {
            let mut tail = Tail::default();
            tail.add(said.as_bytes());
            assert_eq!(
                sentence("ssh ended with status 255", &tail.lines(), "", "ssh"),
                "the key of HOST is revoked (ssh ended with status 255). do not log in; find out why with a person"
            );
        }
    }

    #[test]
    fn refusal_of_remit_follows_the_warning_about_a_key() {
        let mut tail = Tail::default();
        tail.add(
            b"@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r\nssh-keygen -R web1\r\nremit: denied\r\n",
        );
        let said = tail.lines();
        assert!(is_about_key(&said));
        assert_eq!(
            sentence("status 77", &said, "", "ssh"),
            "the key of HOST is another one than before; whoever answered says: remit: denied (status 77). find out why with a person; \
             do not remove the old key"
        );
    }
}
