//! Starts the user's own ssh: its configuration, agent, jump hosts and known hosts are the user's. Adds only what a
//! session without a terminal needs, and a master connection.
//!
//! **Invariant:** a host's name comes after `--`, so it is never an option.

mod effective;
mod masters;
mod process;

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use remit_common::text;
use remit_plan::Upload;
use remit_words::path_word::path_word;
use tokio::process::Command;
use tokio::time::timeout;

use crate::config::{Limits, Ssh};
use crate::host_name::HostName;

pub use effective::Effective;
pub use masters::Masters;
pub use process::{Process, ProcessGroup};

/// Time for `ssh -G`, which may run programs of the user (`Match exec`).
const QUICK: Duration = Duration::from_secs(10);
/// Time for a word to a master. One that hangs is left alone.
const WORD: Duration = Duration::from_secs(2);
const REASON: usize = 400;

/// What the shell of a host runs.
#[derive(Debug)]
pub struct RemoteCommand(String);

impl RemoteCommand {
    pub fn shim() -> Self {
        Self("mcp-shim".to_owned())
    }

    /// Sends standard input as this upload, as `remit put` does. No shell changes the name of one.
    pub fn put(upload: Upload) -> Self {
        Self(format!("mcp-shim --put {upload}"))
    }

    /// Prints a file, as `remit get` does.
    pub fn get(path: &[u8]) -> Self {
        Self(format!("mcp-shim --get {}", path_word(path)))
    }

    /// `remit` with these words, each quoted as the shells of hosts read it.
    pub fn remit(words: &[&str]) -> Self {
        let words = words.iter().map(|word| format!(" {}", quoted(word)));
        Self(std::iter::once("remit".to_owned()).chain(words).collect())
    }
}

/// Quotes a word for sh(1). Other shells read it alike, unless it ends in a backslash.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.,:/@".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

/// The ssh of one configuration, with its master connections.
#[derive(Debug)]
pub struct Client {
    ssh: Ssh,
    masters: Option<Masters>,
}

/// How a login goes, as ssh sees it.
#[derive(Clone, Debug)]
pub struct Way {
    pub effective: Effective,
    /// The socket of the master connection.
    master: Option<PathBuf>,
    /// Whether this login becomes the master if there is none.
    becomes_master: bool,
}

impl Way {
    /// Returns true if ssh may hide why a program of the way failed: one that becomes a master closes the standard error of its
    /// ProxyCommand, or of the ssh for a jump host.
    pub fn hides_reasons(&self) -> bool {
        self.becomes_master && self.effective.has_proxy
    }

    /// Neither makes nor uses a master connection to the host, whatever the user's configuration says. The ssh that
    /// `ProxyJump` starts for a jump host reads that configuration alone.
    pub fn without_master(&self) -> Self {
        Self {
            master: None,
            becomes_master: false,
            effective: self.effective.clone(),
        }
    }
}

impl Client {
    pub fn new(ssh: Ssh, limits: &Limits) -> Self {
        Self {
            ssh,
            masters: Masters::open(limits),
        }
    }

    /// Returns false if each login is a connection of its own.
    pub fn has_masters(&self) -> bool {
        self.masters.is_some()
    }

    /// Returns how a person types this ssh, before its options.
    pub fn typed(&self) -> String {
        self.ssh.typed()
    }

    /// Asks `ssh -G` what a host is. Its configuration may run programs (`Match exec`), as at each login.
    pub async fn way(&self, host: &HostName, may_become_master: bool) -> Result<Way, String> {
        let mut command = self.command();
        command.args(["-G", "--", host.as_str()]);
        let output = timeout(QUICK, command.output()).await;
        let output = output
            .map_err(|_| format!("'ssh -G' did not end within {} s", QUICK.as_secs()))?
            .map_err(|error| self.not_started(&error))?;
        if !output.status.success() {
            let said = text::line(output.stderr.trim_ascii(), REASON);
            return Err(format!("'ssh -G' failed: {said}"));
        }
        let effective = Effective::parse(&String::from_utf8_lossy(&output.stdout));
        let masters = self.masters.as_ref();
        let master = masters.map(|masters| masters.socket(host, &output.stdout));
        Ok(Way {
            effective,
            becomes_master: master.is_some() && may_become_master,
            master,
        })
    }

    /// Starts the session of a host.
    pub async fn start(
        &self,
        host: &HostName,
        way: &Way,
        limits: &Limits,
        remote: &RemoteCommand,
        group: ProcessGroup,
    ) -> Result<Process, String> {
        if let (Some(masters), Some(socket), true) =
            (&self.masters, &way.master, way.becomes_master)
        {
            for oldest in masters.to_stop(socket) {
                // Its sessions go on, and it ends with the last one.
                self.tell_master(&oldest, "stop").await;
                // One that hangs does not remove it, and one that was killed has left it.
                let _ = std::fs::remove_file(&oldest);
            }
        }
        let mut command = self.command();
        command.args(session_options(way, limits));
        command.args(["--", host.as_str(), remote.0.as_str()]);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let master = way.master.clone().filter(|_| way.becomes_master);
        Process::spawn(&mut command, group, master).map_err(|error| self.not_started(&error))
    }

    /// Notes that the session of a host was opened.
    pub fn note_use(&self, way: &Way) {
        if let (Some(masters), Some(socket)) = (&self.masters, &way.master) {
            masters.note_use(socket);
        }
    }

    /// Leaves a master connection that does not answer: it gets no more sessions. Returns false if there was none.
    pub async fn drop_master(&self, way: &Way) -> bool {
        match &way.master {
            Some(socket) if socket.exists() => {
                self.tell_master(socket, "stop").await;
                // A master that hangs does not remove it.
                let _ = std::fs::remove_file(socket);
                true
            }
            _ => false,
        }
    }

    /// Leaves a master connection that hangs itself. One whose host is silent answers, and its keep-alives find a dead host.
    pub async fn drop_hanging_master(&self, way: &Way) {
        if let Some(socket) = &way.master
            && !self.tell_master(socket, "check").await
        {
            self.drop_master(way).await;
        }
    }

    /// Returns false if the master hangs. One that is gone does not.
    async fn tell_master(&self, socket: &std::path::Path, word: &str) -> bool {
        let mut command = self.command();
        command
            .arg("-S")
            .arg(socket)
            // The name is none.
            .args(["-o", "CanonicalizeHostname=no", "-O", word])
            .args(["--", "master"]);
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        timeout(WORD, command.status()).await.is_ok()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.ssh.program);
        if let Some(config) = &self.ssh.config {
            command.arg("-F").arg(config);
        }
        // The ssh for a jump host has no BatchMode, and would ask at the terminal or in a window.
        command
            .env("SSH_ASKPASS_REQUIRE", "force")
            .env("SSH_ASKPASS", "/bin/false");
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    fn not_started(&self, error: &std::io::Error) -> String {
        let program = self.ssh.program.display();
        let fix = match error.kind() {
            ErrorKind::NotFound => "; install the client of OpenSSH",
            _ => "",
        };
        format!("cannot run '{program}': {error}{fix}")
    }
}

/// Options before the name of the host. Those that old releases of OpenSSH do not know are given only if the user's
/// configuration makes them necessary.
fn session_options(way: &Way, limits: &Limits) -> Vec<OsString> {
    let mut all: Vec<OsString> = Vec::new();
    let mut add = |option: &OsStr| all.extend(["-o".into(), option.to_owned()]);
    add("BatchMode=yes".as_ref());
    // The session needs none of them, and a program on the host could use the user's agent.
    add("ClearAllForwardings=yes".as_ref());
    add("ForwardAgent=no".as_ref());
    add("ForwardX11=no".as_ref());
    let Effective {
        keeps_alive,
        has_connect_timeout,
        ..
    } = way.effective;
    if !keeps_alive {
        // A dead connection is found within 45 seconds.
        add("ServerAliveInterval=15".as_ref());
    }
    if !has_connect_timeout {
        add(format!("ConnectTimeout={}", limits.connect_s).as_ref());
    }
    for option in &way.effective.overridden {
        add(option.as_ref());
    }
    match &way.master {
        Some(socket) => {
            let mut path = OsString::from("ControlPath=");
            path.push(socket);
            add(&path);
            let (master, persist) = match way.becomes_master {
                true => ("auto", format!("{}m", limits.persist_min)),
                // With a time, ssh would hide why its ProxyCommand failed.
                false => ("no", "no".to_owned()),
            };
            add(format!("ControlMaster={master}").as_ref());
            add(format!("ControlPersist={persist}").as_ref());
        }
        None => {
            add("ControlPath=none".as_ref());
            add("ControlMaster=no".as_ref());
        }
    }
    all.push("-T".into());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(effective: &str, master: Option<&str>, becomes_master: bool) -> String {
        let way = Way {
            effective: Effective::parse(effective),
            master: master.map(PathBuf::from),
            becomes_master,
        };
        let all = session_options(&way, &Limits::default());
        all.join(" ".as_ref()).into_string().unwrap()
    }

    #[test]
    fn words_for_the_shell_of_a_host_are_quoted() {
        for (words, expect) in [
            (&["pending", "--json"][..], "remit pending --json"),
            (
                &["lock", "-m", "what is it doing?"],
                "remit lock -m 'what is it doing?'",
            ),
            (
                &["lock", "-m", "it's $(reboot)"],
                r"remit lock -m 'it'\''s $(reboot)'",
            ),
            (&["lock", "-m", ""], "remit lock -m ''"),
        ] {
            assert_eq!(RemoteCommand::remit(words).0, expect);
        }
        let hostile = "a'; touch /x; `b` \"c\" \\ !d * ~\n";
        let RemoteCommand(line) = RemoteCommand::remit(&["lock", "-m", hostile]);
        let line = format!("remit() {{ printf '%s|' \"$@\"; }}; {line}");
        let ran = std::process::Command::new("sh")
            .args(["-c", &line])
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8(ran.stdout).unwrap(),
            format!("lock|-m|{hostile}|")
        );
    }

    #[test]
    fn session_has_no_terminal_prompt_or_forwarding() {
        let plain = options("hostname a\n", None, false);
        for part in [
            "-o BatchMode=yes",
            "-o ClearAllForwardings=yes",
            "-o ForwardAgent=no",
            "-o ServerAliveInterval=15",
            "-o ConnectTimeout=15",
            "-o ControlPath=none -o ControlMaster=no",
        ] {
            assert!(plain.contains(part), "{part}: {plain}");
        }
        assert!(plain.ends_with(" -T"), "{plain}");
        assert!(!plain.contains("RemoteCommand"), "{plain}");
        let own = options("serveraliveinterval 5\nconnecttimeout 3\n", None, false);
        assert!(
            !own.contains("ServerAlive") && !own.contains("ConnectTimeout"),
            "{own}"
        );
    }

    #[test]
    fn master_is_used_and_made_only_if_wanted() {
        let auto = options("", Some("/m/1"), true);
        assert!(
            auto.contains("ControlPath=/m/1 -o ControlMaster=auto -o ControlPersist=10m"),
            "{auto}"
        );
        let uses = options("", Some("/m/1"), false);
        assert!(
            uses.contains("ControlPath=/m/1 -o ControlMaster=no -o ControlPersist=no"),
            "{uses}"
        );
    }
}
