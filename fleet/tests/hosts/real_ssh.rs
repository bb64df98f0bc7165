//! The real ssh and sshd, without a network: a ProxyCommand starts sshd on its standard input.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remit_tests::daemon::Daemon;
use remit_tests::test_dir::{TestDir, missing};
use serde_json::json;

use crate::client::Client;
use crate::files::planning;
use crate::stage::{Stage, daemon, shim};

const SSHD: &str = "/usr/sbin/sshd";

pub struct Machine {
    dir: TestDir,
}

impl Machine {
    /// `None` if sshd is not installed.
    pub fn new(daemon: &Daemon, options: &str) -> Option<Self> {
        if !Path::new(SSHD).exists() {
            missing("sshd");
            return None;
        }
        let dir = TestDir::new();
        for name in [
            "r",
            "home",
            "home/.ssh",
            "home/.config",
            "home/.config/remit",
        ] {
            fs::set_permissions(dir.directory(name), fs::Permissions::from_mode(0o700)).unwrap();
        }
        // sshd wants it, and a container may not have it.
        let _ = fs::create_dir("/run/sshd");
        let machine = Self { dir };
        for name in ["host_key", "user_key"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(machine.path(name))
                .status();
            assert!(made.unwrap().success());
        }
        let at = |name: &str| machine.path(name).display().to_string();
        let read = |name: &str| fs::read_to_string(machine.path(name)).unwrap();
        let login = format!("#!/bin/sh\nwords=$SSH_ORIGINAL_COMMAND\n{}", shim(daemon));
        machine.write("login", &login);
        fs::set_permissions(machine.path("login"), fs::Permissions::from_mode(0o755)).unwrap();
        let key = format!(
            "restrict,command=\"{}\" {}",
            at("login"),
            read("user_key.pub")
        );
        machine.write("authorized_keys", &key);
        let known = format!("web1 {}", read("host_key.pub"));
        machine.write("known_hosts", &known);
        let sshd = format!(
            "HostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nLogLevel ERROR\n",
            at("host_key"),
            at("authorized_keys")
        );
        machine.write("sshd_config", &sshd);
        let proxy = format!(
            "#!/bin/sh\necho >>{}\nexec {SSHD} -i -f {}\n",
            at("logins"),
            at("sshd_config")
        );
        machine.write("proxy", &proxy);
        fs::set_permissions(machine.path("proxy"), fs::Permissions::from_mode(0o755)).unwrap();
        let config = format!(
            "Host web1\n  HostName 192.0.2.1\n  HostKeyAlias web1\n  User root\n  ProxyCommand {}\n  IdentityFile {}\n  \
             IdentitiesOnly yes\n  UserKnownHostsFile {}\n{options}",
            at("proxy"),
            at("user_key"),
            at("known_hosts")
        );
        machine.write("home/.ssh/config", &config);
        let fleet = format!(
            "[hosts]\ninclude = [\"w*\"]\n[limits]\nconnect_s = 10\n[ssh]\nconfig = \"{}\"\n",
            at("home/.ssh/config")
        );
        machine.write("home/.config/remit/fleet.toml", &fleet);
        Some(machine)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_remit-fleet"));
        command
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/bin:/bin:/usr/sbin")
            .env("HOME", self.path("home"))
            // The path below HOME is too long for a socket.
            .env("XDG_RUNTIME_DIR", self.path("r"));
        command
    }

    pub fn logins(&self) -> usize {
        fs::read_to_string(self.path("logins"))
            .unwrap_or_default()
            .lines()
            .count()
    }

    fn set_connect_s(&self, seconds: u32) {
        let text = fs::read_to_string(self.path("home/.config/remit/fleet.toml")).unwrap();
        let (before, rest) = text.split_once("connect_s = ").unwrap();
        let (_, after) = rest.split_once('\n').unwrap();
        let text = format!("{before}connect_s = {seconds}\n{after}");
        self.write("home/.config/remit/fleet.toml", &text);
    }

    fn masters(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path("r/remit-fleet"))
            .into_iter()
            .flatten();
        let paths = entries.flatten().map(|entry| entry.path());
        paths.filter(|path| path.extension().is_none()).collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for socket in self.masters() {
            let mut ssh = Command::new("ssh");
            let _ = ssh
                .arg("-S")
                .arg(socket)
                .args(["-O", "exit", "--", "x"])
                .output();
        }
    }
}

#[test]
fn one_login_serves_many_programs_over_a_private_master() {
    let daemon = daemon();
    let strange = "  RemoteCommand tmux attach\n  RequestTTY force\n  ForwardAgent yes\n  LocalForward 1 localhost:1\n";
    let Some(machine) = Machine::new(&daemon, strange) else {
        return;
    };
    let mut client = Client::start(machine.command(&[]));
    client.initialize("2025-11-25");
    let data = client.data("run", json!({"argv": ["echo", "hello"]}));
    assert_eq!(
        (&data["on"], &data["stdout"]),
        (&json!("web1"), &json!("hello\n")),
        "{data}"
    );
    assert_eq!(machine.masters().len(), 1, "{:?}", machine.masters());
    let dir = fs::metadata(machine.path("r/remit-fleet")).unwrap();
    assert_eq!(dir.permissions().mode() & 0o777, 0o700);
    for _ in 0..2 {
        let output = machine
            .command(&["run", "--", "echo", "again"])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text, "== web1: exit 0\n  again\n", "{:?}", output.stderr);
    }
    assert_eq!(machine.logins(), 1, "the others went over the master");
    assert_eq!(client.close().0.code(), Some(0));
    // Another configuration of the host is another master.
    let config = fs::read_to_string(machine.path("home/.ssh/config")).unwrap();
    machine.write(
        "home/.ssh/config",
        &config.replace("192.0.2.1", "192.0.2.2"),
    );
    let output = machine.command(&["run", "--", "true"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!((machine.logins(), machine.masters().len()), (2, 2));
}

/// Returns the pid of the only master, which hangs from now on.
fn hanging(machine: &Machine) -> Pid {
    let mut ssh = Command::new("ssh");
    ssh.arg("-S").arg(&machine.masters()[0]);
    let check = ssh.args(["-O", "check", "--", "x"]).output().unwrap();
    let said = String::from_utf8(check.stderr).unwrap();
    let pid = said.split(['=', ')']).nth(1).unwrap().parse().unwrap();
    kill(Pid::from_raw(pid), Signal::SIGSTOP).unwrap();
    Pid::from_raw(pid)
}

/// As after sleep of this computer, for programs that start then.
#[test]
fn master_that_hangs_is_left_for_a_new_one() {
    let daemon = daemon();
    let Some(machine) = Machine::new(&daemon, "") else {
        return;
    };
    machine.set_connect_s(5);
    let run = || machine.command(&["run", "--", "true"]).output().unwrap();
    assert!(run().status.success());
    let master = hanging(&machine);
    let again = run();
    kill(master, Signal::SIGKILL).unwrap();
    assert!(again.status.success(), "{again:?}");
    assert_eq!((machine.logins(), machine.masters().len()), (2, 1));
}

/// A transfer may wait long for a job of the host. The next one does not hang in the same master.
#[test]
fn master_that_hangs_is_left_by_a_transfer() {
    let daemon = planning();
    let Some(machine) = Machine::new(&daemon, "") else {
        return;
    };
    machine.write("file", "x");
    let (file, got) = (machine.path("file"), machine.path("got"));
    let (file, got) = (file.to_str().unwrap(), got.to_str().unwrap());
    for (words, logins) in [
        (&["put", file][..], 2),
        (&["get", "/etc/hostname", got, "--force"], 3),
    ] {
        let run = machine.command(&["run", "--", "true"]).output().unwrap();
        assert!(run.status.success(), "{run:?}");
        let master = hanging(&machine);
        machine.set_connect_s(2);
        let mut first = machine.command(words).spawn().unwrap();
        let start = Instant::now();
        while !machine.masters().is_empty() && start.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let is_left = machine.masters().is_empty();
        let goes_on = first.try_wait().unwrap().is_none();
        // Its ssh ends with it.
        let pid = Pid::from_raw(first.id().try_into().unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        first.wait().unwrap();
        machine.set_connect_s(10);
        let again = is_left.then(|| machine.command(words).output().unwrap());
        kill(master, Signal::SIGKILL).unwrap();
        assert!(is_left && goes_on, "{words:?}: {is_left} {goes_on}");
        assert!(again.unwrap().status.success(), "{words:?}");
        assert_eq!(machine.logins(), logins, "{words:?}");
    }
}

/// A host that gets a file says nothing until it has all, and a job may wait.
#[test]
fn master_that_answers_stays_after_a_silent_transfer() {
    let daemon = planning();
    let Some(machine) = Machine::new(&daemon, "") else {
        return;
    };
    let run = machine.command(&["run", "--", "true"]).output().unwrap();
    assert!(run.status.success(), "{run:?}");
    machine.set_connect_s(1);
    let login = fs::read_to_string(machine.path("login")).unwrap();
    let login = login.replacen('\n', "\nsleep 4\n", 1);
    machine.write("login", &login);
    machine.write("file", "x");
    let (file, got) = (machine.path("file"), machine.path("got"));
    let (file, got) = (file.to_str().unwrap(), got.to_str().unwrap());
    for words in [&["put", file][..], &["get", "/etc/hostname", got]] {
        let output = machine.command(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        let found = (machine.logins(), machine.masters().len());
        assert_eq!(found, (1, 1), "{words:?}");
    }
}

/// Two hosts with one address behind different proxies: `%C` of ssh_config(5) is the same for both.
#[test]
fn hosts_with_one_address_are_not_mixed_up() {
    let (one, two) = (daemon(), daemon());
    let Some(machine) = Machine::new(&one, "") else {
        return;
    };
    // The second one starts another sshd, whose logins reach the other daemon.
    let read = |name: &str| fs::read_to_string(machine.path(name)).unwrap();
    machine.write(
        "login2",
        &format!("#!/bin/sh\nwords=$SSH_ORIGINAL_COMMAND\n{}", shim(&two)),
    );
    let keys = read("authorized_keys").replace("/login\"", "/login2\"");
    machine.write("authorized_keys2", &keys);
    let sshd = read("sshd_config").replace("authorized_keys", "authorized_keys2");
    machine.write("sshd_config2", &sshd);
    let proxy = read("proxy").replace("sshd_config", "sshd_config2");
    machine.write("proxy2", &proxy);
    for name in ["login2", "proxy2"] {
        fs::set_permissions(machine.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let config = read("home/.ssh/config");
    let second = config
        .replace("Host web1", "Host web2")
        .replace("/proxy\n", "/proxy2\n");
    machine.write("home/.ssh/config", &(config + &second));
    for host in ["web1", "web2", "web1"] {
        let output = machine
            .command(&["run", "--on", host, "--", "true"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let runs = |daemon: &Daemon| daemon.records("intent").len();
    assert_eq!((runs(&one), runs(&two)), (2, 1));
    assert_eq!(machine.masters().len(), 2);
}

#[test]
fn words_for_remit_pass_a_real_login() {
    let daemon = daemon();
    let Some(machine) = Machine::new(&daemon, "  RemoteCommand tmux attach\n") else {
        return;
    };
    let why = "what's it doing? $(reboot) `id` \"x\" ;";
    let output = machine.command(&["lock", "-m", why]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, "web1: locked\n", "{:?}", output.stderr);
    let locked = daemon.records("lock");
    assert!(
        locked[0]["MESSAGE"].as_str().unwrap().contains(why),
        "{locked:?}"
    );
    let output = machine.command(&["pending"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        text, "no requests wait for an approval\n",
        "{:?}",
        output.stderr
    );
}

/// The login of a person approves. Through a master that stays open, another program of the same user would, too.
#[test]
fn login_of_a_person_leaves_no_master_and_uses_none() {
    let daemon = daemon();
    let Some(machine) = Machine::new(&daemon, "") else {
        return;
    };
    let config = fs::read_to_string(machine.path("home/.ssh/config")).unwrap();
    let own = machine.path("r/own");
    machine.write(
        "home/.ssh/config",
        &format!(
            "{config}  ControlMaster auto\n  ControlPath {}\n  ControlPersist 10m\n",
            own.display()
        ),
    );
    let logins_of = |arguments: &[&str]| {
        let before = machine.logins();
        let output = machine.command(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        machine.logins() - before
    };
    for (arguments, logins) in [
        (&["lock", "-m", "x"][..], 1),
        (&["unlock"], 1),
        (&["pending"], 1),
        (&["hosts", "--probe"], 2),
    ] {
        assert_eq!(logins_of(arguments), logins, "{arguments:?}");
        assert_eq!(machine.masters(), [] as [PathBuf; 0], "{arguments:?}");
    }
    assert_eq!(logins_of(&["run", "--", "true"]), 1);
    assert_eq!(machine.masters().len(), 1);
    assert_eq!(logins_of(&["pending"]), 1, "over a master that is there");
    assert!(!own.exists());
}

#[test]
fn unknown_host_key_is_not_accepted() {
    let daemon = daemon();
    let Some(machine) = Machine::new(&daemon, "") else {
        return;
    };
    machine.write("known_hosts", "");
    let output = machine.command(&["hosts", "--probe"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("Host key verification failed") && text.contains("by hand"),
        "{text}"
    );
    assert!(text.contains("root@192.0.2.1:22"), "{text}");
    assert_eq!(fs::read_to_string(machine.path("known_hosts")).unwrap(), "");
}

/// Its ssh for the jump host writes to the standard error of the other one, which a master closes.
#[test]
fn reason_behind_a_jump_host_is_named() {
    let daemon = daemon();
    let Some(machine) = Machine::new(&daemon, "") else {
        return;
    };
    let read = |name: &str| fs::read_to_string(machine.path(name)).unwrap();
    let config = read("home/.ssh/config").replace("Host web1\n", "Host jump\n");
    let host = "Host web1\n  HostName 127.0.0.1\n  Port 1\n  ProxyJump jump\n";
    machine.write("home/.ssh/config", &format!("{host}{config}"));
    machine.write("authorized_keys", &read("user_key.pub"));
    machine.write("file", "x");
    // It must not be asked, although the user has it.
    let asked = machine.path("asked");
    machine.write(
        "askpass",
        &format!("#!/bin/sh\necho >>{}\n", asked.display()),
    );
    fs::set_permissions(machine.path("askpass"), fs::Permissions::from_mode(0o755)).unwrap();
    let known = read("known_hosts");
    let (file, got) = (machine.path("file"), machine.path("got"));
    let (file, got) = (file.to_str().unwrap(), got.to_str().unwrap());
    for (name, text, expect, fix) in [
        (
            "known_hosts",
            &*known,
            "open failed: connect failed",
            "check the host and its port",
        ),
        (
            "known_hosts",
            "",
            "Host key verification failed",
            "compare the key",
        ),
        (
            "authorized_keys",
            "",
            "Permission denied (",
            "ssh asks nothing here",
        ),
    ] {
        machine.write("known_hosts", &known);
        machine.write(name, text);
        for arguments in [
            &["hosts", "--probe"][..],
            &["run", "--", "true"],
            &["lock", "-m", "x"],
            &["put", file],
            &["get", "/a", got],
        ] {
            let mut command = machine.command(arguments);
            command.env("SSH_ASKPASS", machine.path("askpass"));
            command.env("SSH_ASKPASS_REQUIRE", "force");
            let output = command.output().unwrap();
            let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            assert!(said.contains(expect), "{arguments:?}: {said}");
            assert!(
                fix.is_empty() || said.contains(fix),
                "{arguments:?}: {said}"
            );
        }
    }
    assert!(!asked.exists());
    assert_eq!(machine.masters(), [] as [PathBuf; 0]);
}

/// Its ssh was killed.
#[test]
fn socket_without_a_master_is_removed() {
    let mut stage = Stage::new(&["web1"]);
    stage.set_limits("masters = 1");
    stage.set_fleet("[hosts]\ninclude = [\"web1\"]\n");
    stage.set_host("web1", "exit 1\n");
    let run = || stage.run(&["run", "--", "true"]);
    run();
    let socket = stage.path().join("r/remit-fleet").join("0".repeat(40));
    drop(UnixListener::bind(&socket).unwrap());
    assert!(socket.exists());
    run();
    assert!(!socket.exists());
}

/// ssh itself prints how to remove the old key.
#[test]
fn changed_host_key_is_not_removed() {
    let daemon = daemon();
    let Some(machine) = Machine::new(&daemon, "") else {
        return;
    };
    let other = fs::read_to_string(machine.path("user_key.pub")).unwrap();
    machine.write("known_hosts", &format!("web1 {other}"));
    let expect = "the key of HOST is another one than before (ssh ended with status 255). find out why with a person; do not \
        remove the old key";
    for arguments in [
        &["hosts", "--probe"][..],
        &["run", "--", "true"],
        &["pending"],
    ] {
        let output = machine.command(arguments).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert!(
            said.contains(expect) && !said.contains("ssh-keygen"),
            "{said}"
        );
    }
    let mut client = Client::start(machine.command(&[]));
    client.initialize("2025-11-25");
    let why = client.refusal("access", json!({}));
    assert!(why.ends_with(expect), "{why}");
}
