//! `client-check` with the real ssh, sshd, mcp-shim and daemon. Each test shows the entry working, and then broken.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use remit_tests::daemon::Daemon;
use serde_json::{Value, json};

use crate::real_ssh::Machine;
use crate::stage::{RELEASE, canned, daemon};

const SSH: &str = "/usr/bin/ssh";
const PATIENCE: Duration = Duration::from_secs(30);

/// A user's computer: a `PATH` whose ssh is the real one with the test's configuration.
struct Computer {
    machine: Machine,
    shim: String,
}

impl Computer {
    fn new(daemon: &Daemon) -> Option<Self> {
        let machine = Machine::new(daemon, "")?;
        let (program, socket) = (daemon.program("mcp-shim"), daemon.runtime().socket());
        let shim = format!("{} --socket {}", program.display(), socket.display());
        let computer = Self { machine, shim };
        fs::create_dir(computer.path("bin")).unwrap();
        let config = computer.path("home/.ssh/config");
        computer.script(
            "bin/ssh",
            &format!("exec {SSH} -F '{}' \"$@\"\n", config.display()),
        );
        Some(computer)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.machine.path(name)
    }

    fn script(&self, name: &str, text: &str) {
        self.machine.write(name, &format!("#!/bin/sh\n{text}"));
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Lets the key run this instead of mcp-shim.
    fn set_forced(&self, command: &str) {
        self.script("forced", command);
        let key = fs::read_to_string(self.path("user_key.pub")).unwrap();
        let forced = self.path("forced").display().to_string();
        self.machine.write(
            "authorized_keys",
            &format!("restrict,command=\"{forced}\" {key}"),
        );
    }

    fn replace(&self, file: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(file)).unwrap();
        assert!(text.contains(from), "no '{from}' in {text}");
        self.machine.write(file, &text.replace(from, to));
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.machine.command(arguments);
        command.env(
            "PATH",
            format!("{}:/usr/bin:/bin:/usr/sbin", self.path("bin").display()),
        );
        command
    }

    fn outcome(mut command: Command) -> (Option<i32>, String) {
        let output = command.output().unwrap();
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
        )
    }

    fn check(&self, arguments: &[&str]) -> (Option<i32>, String) {
        Self::outcome(self.command(&[&["client-check"], arguments].concat()))
    }

    /// An entry that works.
    fn works(&self, arguments: &[&str]) -> String {
        let (status, out) = self.check(arguments);
        assert_eq!(status, Some(0), "{out}");
        assert!(
            out.contains("\nok      access of 'root': 1 grants") && !out.contains("broken"),
            "{out}"
        );
        out
    }

    /// An entry that does not, for one reason.
    fn breaks(&self, arguments: &[&str], what: &str, fix: &str) -> String {
        let (status, out) = self.check(arguments);
        assert_eq!(status, Some(1), "{out}");
        assert!(out.contains(&format!("\nbroken  {what}")), "{what}: {out}");
        let fixes: Vec<&str> = out
            .lines()
            .filter(|line| line.contains("to go on: "))
            .collect();
        assert!(fixes.iter().any(|line| line.contains(fix)), "{fix}: {out}");
        out
    }
}

#[test]
fn entry_that_works_is_found_good() {
    let daemon = daemon();
    let Some(computer) = Computer::new(&daemon) else {
        return;
    };
    let out = computer.works(&["cursor", "web1"]);
    let first = out.lines().next().unwrap();
    let expect = "as cursor, with HOME PATH SSH_AUTH_SOCK: ssh -T -a -o BatchMode=yes -o ClearAllForwardings=yes -o ServerAliveInterval=15 web1 mcp-shim";
    assert_eq!(first, expect);
    assert!(out.contains(" of 60, with 8 tools"), "{out}");
    assert_eq!(computer.machine.logins(), 1);
    // The entry of all hosts.
    let (status, out) = computer.check(&["claude-code"]);
    assert_eq!(status, Some(0), "{out}");
    assert!(
        out.contains("with 9 tools") && out.contains("\nok      1 of 1 hosts answer"),
        "{out}"
    );
}

#[test]
fn ssh_outside_of_the_path_is_named() {
    let daemon = daemon();
    let Some(computer) = Computer::new(&daemon) else {
        return;
    };
    computer.works(&["cursor", "web1"]);
    let check = |arguments: &[&str]| {
        let mut command =
            computer.command(&[&["client-check", "cursor", "web1"], arguments].concat());
        command.env("PATH", "/nonexistent");
        Computer::outcome(command)
    };
    let (status, out) = check(&[]);
    assert_eq!(status, Some(1), "{out}");
    assert!(
        out.contains("broken  'ssh' is not found in /nonexistent") && out.contains("--os"),
        "{out}"
    );
    // That ssh has not the test's configuration, so it ends with another reason.
    let (status, out) = check(&["--os", "macos"]);
    assert_eq!(status, Some(1), "{out}");
    assert!(
        out.contains(": /usr/bin/ssh -T") && !out.contains("is not found"),
        "{out}"
    );
}

/// An agent with the user's key. It ends with the value.
struct SshAgent {
    child: Child,
    socket: PathBuf,
}

impl SshAgent {
    fn start(computer: &Computer) -> Self {
        let socket = computer.path("agent");
        let child = Command::new("ssh-agent")
            .arg("-D")
            .arg("-a")
            .arg(&socket)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let agent = Self { child, socket };
        let started = Instant::now();
        while UnixStream::connect(&agent.socket).is_err() {
            assert!(started.elapsed() < PATIENCE, "no agent");
            std::thread::sleep(Duration::from_millis(10));
        }
        let added = Command::new("ssh-add")
            .arg("-q")
            .arg(computer.path("user_key"))
            .env("SSH_AUTH_SOCK", &agent.socket)
            .status();
        assert!(added.unwrap().success());
        agent
    }
}

impl Drop for SshAgent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn key_that_only_the_agent_has_is_named() {
    let daemon = daemon();
    let Some(computer) = Computer::new(&daemon) else {
        return;
    };
    let agent = SshAgent::start(&computer);
    let key = computer.path("user_key").display().to_string();
    computer.replace("home/.ssh/config", &key, "/nonexistent");
    computer.replace(
        "home/.ssh/config",
        "IdentitiesOnly yes",
        "IdentitiesOnly no",
    );
    let socket = agent.socket.to_str().unwrap();
    let check = |arguments: &[&str]| {
        let mut command = computer.command(&[&["client-check"], arguments].concat());
        command.env("SSH_AUTH_SOCK", socket);
        Computer::outcome(command)
    };
    // A client that passes nothing on, the same with the socket in its entry, one with a reference, one that passes all on.
    let (status, out) = check(&["generic", "web1"]);
    assert_eq!(status, Some(1), "{out}");
    assert!(
        out.contains("broken  ssh has a key only through your agent"),
        "{out}"
    );
    assert!(out.contains(&format!("--agent {socket}")), "{out}");
    for arguments in [
        &["generic", "web1", "--agent", socket][..],
        &["cursor", "web1"],
        &["claude-code", "web1"],
    ] {
        let (status, out) = check(arguments);
        assert_eq!(status, Some(0), "{arguments:?}: {out}");
    }
    // The entry of all hosts starts an ssh of its own.
    let (status, out) = check(&["generic"]);
    assert_eq!(status, Some(1), "{out}");
    assert!(
        out.contains("broken  ssh has a key only through your agent"),
        "{out}"
    );
    // Without any agent the reason is another one.
    let out = computer.breaks(
        &["generic", "web1"],
        "the host wants a password",
        "--identity",
    );
    assert!(!out.contains("your agent"), "{out}");
}

#[test]
fn unknown_key_of_a_host_is_named() {
    let daemon = daemon();
    let Some(computer) = Computer::new(&daemon) else {
        return;
    };
    computer.works(&["cursor", "web1"]);
    computer.machine.write("known_hosts", "");
    computer.breaks(
        &["cursor", "web1"],
        "the key of the host is not known",
        "log in once by hand",
    );
    assert_eq!(
        fs::read_to_string(computer.path("known_hosts")).unwrap(),
        ""
    );
    let other = fs::read_to_string(computer.path("user_key.pub")).unwrap();
    computer
        .machine
        .write("known_hosts", &format!("web1 {other}"));
    computer.breaks(
        &["cursor", "web1"],
        "the key of HOST is another one than before",
        "do not remove the old key",
    );
}

#[test]
fn host_that_wants_a_password_is_named() {
    let daemon = daemon();
    let Some(computer) = Computer::new(&daemon) else {
        return;
    };
    computer.works(&["cursor", "web1"]);
    computer.machine.write("authorized_keys", "");
    computer.breaks(
        &["cursor", "web1"],
        "the host wants a password",
        "remit enroll",
    );
    computer.replace(
        "sshd_config",
        "UsePAM no",
        "UsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no",
    );
    computer.breaks(
        &["cursor", "web1"],
        "the host accepts none of the keys",
        "remit enroll",
    );
}

#[test]
fn words_before_the_first_line_are_named() {
    let daemon = daemon();
    let Some(computer) = Computer::new(&daemon) else {
        return;
    };
    // A banner of sshd is on standard error.
    computer.machine.write("banner", "Authorized use only\n");
    let banner = computer.path("banner").display().to_string();
    computer.replace(
        "sshd_config",
        "UsePAM no",
        &format!("UsePAM no\nBanner {banner}"),
    );
    computer.set_forced(&format!("exec {}\n", computer.shim));
    computer.works(&["cursor", "web1"]);
    computer.set_forced(&format!("echo Welcome\nexec {}\n", computer.shim));
    let out = computer.breaks(
        &["cursor", "web1"],
        "it printed what is no message: Welcome",
        "login script",
    );
    assert!(out.contains("\nok      answers within"), "{out}");
    // Without a newline the first answer is lost.
    computer.set_forced(&format!("printf Welcome\nexec {}\n", computer.shim));
    let out = computer.breaks(
        &["cursor", "web1", "--start-s", "8"],
        "it printed what is no message: Welcome",
        "login script",
    );
    assert!(out.contains("no answer to initialize"), "{out}");
    let (status, out) = computer.check(&["cursor"]);
    assert_eq!(status, Some(0), "remit-fleet passes over it: {out}");
}

#[test]
fn host_without_remit_is_named() {
    let daemon = daemon();
    let Some(computer) = Computer::new(&daemon) else {
        return;
    };
    computer.works(&["cursor", "web1"]);
    computer.set_forced("PATH=/nonexistent; exec mcp-shim\n");
    computer.breaks(
        &["cursor", "web1"],
        "mcp-shim is not installed",
        "install remit there",
    );
}

#[test]
fn account_that_is_not_enrolled_is_named() {
    let daemon = daemon();
    let Some(computer) = Computer::new(&daemon) else {
        return;
    };
    computer.set_forced(&format!("exec {}\n", computer.shim));
    computer.works(&["cursor", "web1"]);
    let stranger = "exec setpriv --reuid 64077 --regid 64077 --clear-groups";
    computer.set_forced(&format!("{stranger} {}\n", computer.shim));
    let out = computer.breaks(
        &["cursor", "web1"],
        "the account is not enrolled",
        "remit enroll USER key.pub",
    );
    assert!(out.contains("\nok      answers within"), "{out}");
}

#[test]
fn other_release_is_a_note() {
    let daemon = daemon();
    let Some(computer) = Computer::new(&daemon) else {
        return;
    };
    let out = computer.works(&["cursor", "web1"]);
    assert!(!out.contains("note"), "{out}");
    let without_tools = json!({"structuredContent": {"user": "root", "grants": [{}]}});
    computer
        .set_forced(&canned("remit", RELEASE, &without_tools).replace("tools/call\"", "tools/"));
    computer.breaks(&["cursor", "web1"], "answers within", "the same release");
    let result = json!({"tools": [{}], "structuredContent": {"user": "root", "grants": [{}]}});
    computer.set_forced(&canned("remit", "0.0.1", &result).replace("tools/call\"", "tools/"));
    let out = computer.works(&["cursor", "web1"]);
    let expect = format!("\nnote    remit 0.0.1 there, {RELEASE} here");
    assert!(
        out.contains(&expect) && out.contains("to go on: upgrade"),
        "{out}"
    );
    computer.set_forced(&canned("other", "1", &result));
    computer.breaks(
        &["cursor", "web1", "--start-s", "8"],
        "too slow: no answer to tools/list",
        "ssh -v",
    );
    computer.set_forced(&canned("other", "1", &result).replace("tools/call\"", "tools/"));
    computer.breaks(
        &["cursor", "web1"],
        "'other' answers, and not remit",
        "client-config",
    );
}

#[test]
fn host_slower_than_the_client_is_named() {
    let daemon = daemon();
    let Some(computer) = Computer::new(&daemon) else {
        return;
    };
    computer.works(&["cursor", "web1"]);
    // It never answers, so no machine is fast enough for the client.
    computer.set_forced("exec cat >/dev/null\n");
    computer.breaks(
        &["cursor", "web1", "--start-s", "1"],
        "too slow: no answer to initialize within 1 s",
        "remit-fleet's own entry",
    );
    // remit-fleet answers before it logs in.
    let fleet = computer.machine.path("home/.config/remit/fleet.toml");
    let short = fs::read_to_string(&fleet)
        .unwrap()
        .replace("connect_s = 10", "connect_s = 1");
    fs::write(&fleet, short).unwrap();
    let (_, out) = computer.check(&["cursor", "--start-s", "20"]);
    assert!(out.contains("\nok      answers within"), "{out}");
}

#[test]
fn second_login_that_fails_is_named() {
    let daemon = daemon();
    let Some(computer) = Computer::new(&daemon) else {
        return;
    };
    let out = computer.works(&["generic", "web1"]);
    assert!(
        out.contains("\nnote    some clients start a server twice"),
        "{out}"
    );
    assert_eq!(computer.machine.logins(), 2);
    // As a key that has to be touched, or a host that bounds logins.
    let once = computer.path("once").display().to_string();
    computer.set_forced(&format!(
        "mkdir '{once}' || exit 1\nexec {}\n",
        computer.shim
    ));
    computer.breaks(
        &["generic", "web1"],
        "this client may start a server twice",
        "logs in once",
    );
    fs::remove_dir(&once).unwrap();
    let out = computer.works(&["cursor", "web1"]);
    assert!(!out.contains("twice"), "{out}");
}

#[test]
fn printed_entry_starts_this_program() {
    let daemon = daemon();
    let Some(computer) = Computer::new(&daemon) else {
        return;
    };
    let output = computer
        .command(&["client-config", "claude-desktop", "--agent", "/a"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let config: Value = serde_json::from_slice(&output.stdout).unwrap();
    let entry = &config["mcpServers"]["remit"];
    assert_eq!(entry["command"], env!("CARGO_BIN_EXE_remit-fleet"));
    assert_eq!(
        (&entry["args"], &entry["env"]),
        (&json!([]), &json!({"SSH_AUTH_SOCK": "/a"}))
    );
    let hints = String::from_utf8(output.stderr).unwrap();
    assert!(hints.contains("client-check claude-desktop"), "{hints}");
    let output = computer
        .command(&["client-config", "goose", "agent@web1"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("\n    args: [\"-T\",") && text.contains("\"agent@web1\""),
        "{text}"
    );
    for wrong in [
        &["client-config", "cursor", "--", "-oProxyCommand=x"][..],
        &["client-config", "emacs"],
        &["client-config", "cursor", "--user", "a"],
        &["client-config", "cursor", "a@web1", "--user", "b"],
        &["client-config", "cursor", "--agent", "relative"],
        &["client-check", "cursor", "web1", "--start-s", "0"],
    ] {
        let output = computer.command(wrong).output().unwrap();
        assert_eq!(
            (output.status.code(), output.stdout),
            (Some(64), vec![]),
            "{wrong:?}"
        );
    }
}
