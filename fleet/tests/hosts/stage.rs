//! A user's computer with hosts behind a test ssh: a script for each host, which usually starts the real mcp-shim in front of
//! a real daemon. `ssh -G` and words to masters are the real ssh's.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use remit_tests::daemon::{Daemon, Options, SOCKET_GROUP};
use remit_tests::process::Identity;
use remit_tests::test_dir::{TestDir, built};
use serde_json::{Value, json};

use crate::client::Client;

/// The user of this computer, who is the same user on each host. ssh runs only for users with an account.
pub fn user() -> Identity {
    Identity::new(1000, &[SOCKET_GROUP])
}

/// The person who approves, on this computer and on each host. An account that is an administrator by itself.
pub fn approver() -> Identity {
    Identity::new(0, &[])
}

/// Who approves, in a policy.
pub const BY: &str = "{ by = [\"root\"], expires = \"10min\" }";
pub const NONE: &str = "\"none\"";

/// A daemon with one change, `site.switch`, that runs this program.
pub fn changing(program: &str, approval: &str) -> Daemon {
    let policy = format!(
        "[[command]]\nname = \"site.switch\"\nsummary = \"switches\"\nargv = [\"{program}\", \"{{to}}\"]\neffect = \"change\"\n\
         profile = \"strict\"\nargs.to = {{ type = \"string\", pattern = \"[a-z ]+\", summary = \"to what\" }}\n\
         [[grant]]\nname = \"asks\"\nto = [\"#0\", \"somebody\"]\nallow = [\"site.*\"]\neffect = \"change\"\napproval = {approval}\n"
    );
    Daemon::start(Options {
        // A request that waits has its uid.
        waiting: 8,
        policy,
        ..Options::default()
    })
}

/// A daemon in whose sandbox the user may run anything.
pub fn daemon() -> Daemon {
    let policy = "[[grant]]\nname = \"test\"\nto = [\"#0\", \"somebody\"]\nallow = [\"run\"]\nrun_profile = \"read\"\n";
    Daemon::start(Options {
        policy: policy.to_owned(),
        ..Options::default()
    })
}

/// A daemon with the commands of plans. To run them, the test has `remit-look` where the package has it.
pub fn plans(policy: &str) -> Daemon {
    let mut daemon = Daemon::start(Options {
        waiting: 8,
        ..Options::default()
    });
    let commands = include_str!("../../../packaging/policy.d/60-plans.toml");
    let commit = daemon.program("remit-commit");
    let commits = daemon.path().join("state/commits");
    let commands = commands
        .replace("/usr/libexec/remit/remit-commit", commit.to_str().unwrap())
        .replace("/var/lib/remit/commits", commits.to_str().unwrap());
    daemon.set_file("vendor/policy.d/60-plans.toml", &commands);
    daemon.set_file("config/policy.d/10-test.toml", policy);
    // Other tests have links to the program, and each new one would be a change of it.
    fs::remove_file(&commit).unwrap();
    fs::copy(built().join("remit-commit"), &commit).unwrap();
    daemon.restart_cleanly();
    daemon
}

pub struct Stage {
    dir: TestDir,
    limits: String,
}

/// A host that answers each call with this result, as this server.
pub fn canned(name: &str, version: &str, result: &Value) -> String {
    let info = json!({
        "protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
        "serverInfo": {"name": name, "version": version},
    });
    // A quoted text of the shell.
    let quoted = |value: &Value| value.to_string().replace('\'', "'\\''");
    format!(
        "while read -r line; do\n\
         id=${{line#'{{\"id\":'}}; id=${{id%%,*}}\n\
         case $line in\n\
         *'\"method\":\"initialize\"'*) result='{}' ;;\n\
         *'\"method\":\"tools/call\"'*) result='{}' ;;\n\
         *) continue ;;\n\
         esac\n\
         printf '{{\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":%s}}\\n' \"$id\" \"$result\"\n\
         done\n",
        quoted(&info),
        quoted(result)
    )
}

/// The result of a run that has ended.
pub fn ran(stdout: &str) -> Value {
    let data = json!({"job_id": "ab", "state": "exited", "exit": 0, "stdout": stdout});
    json!({"content": [{"type": "text", "text": data.to_string()}], "structuredContent": data, "isError": false})
}

pub const RELEASE: &str = env!("CARGO_PKG_VERSION");

impl Stage {
    /// The fleet is `hosts`, each a name of ssh's configuration.
    pub fn new(hosts: &[&str]) -> Self {
        let stage = Self {
            dir: TestDir::new(),
            limits: "connect_s = 10".to_owned(),
        };
        for dir in [
            "r",
            "hosts",
            "home",
            "home/.ssh",
            "home/.config",
            "home/.config/remit",
        ] {
            let dir = stage.dir.directory(dir);
            chown(&dir, Some(user().uid), Some(user().gid)).unwrap();
            fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
        }
        let ssh = "#!/bin/sh\n\
            dir=${0%/*}\n\
            for word; do case $word in -G|-O) exec ssh \"$@\" ;; esac; done\n\
            echo \"$*\" >>\"$dir/hosts/.arguments\"\n\
            while [ \"$1\" != -- ]; do shift; done\n\
            host=$2\n\
            words=$3\n\
            . \"$dir/hosts/$host\"\n";
        stage.script("ssh", ssh);
        let config: String = hosts
            .iter()
            .map(|host| format!("Host {host}\n  HostName 192.0.2.1\n"))
            .collect();
        fs::write(stage.ssh_config(), config).unwrap();
        stage.set_fleet(&format!("[hosts]\ninclude = {}\n", json!(hosts)));
        stage
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn ssh_config(&self) -> PathBuf {
        self.path().join("home/.ssh/config")
    }

    pub fn set_limits(&mut self, limits: &str) {
        self.limits = limits.to_owned();
    }

    /// Writes fleet.toml, with the test ssh and limits.
    pub fn set_fleet(&self, text: &str) {
        let dir = self.path().display();
        let text = format!(
            "{text}\n[limits]\n{}\n[ssh]\nprogram = \"{dir}/ssh\"\nconfig = \"{dir}/home/.ssh/config\"\n",
            self.limits
        );
        fs::write(self.path().join("home/.config/remit/fleet.toml"), text).unwrap();
    }

    fn script(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// What a login to the host runs.
    pub fn set_host(&self, host: &str, script: &str) {
        self.script(&format!("hosts/{host}"), script);
    }

    /// A login to the host runs mcp-shim in front of this daemon.
    pub fn set_real(&self, host: &str, daemon: &Daemon) {
        self.set_host(host, &shim(daemon));
    }

    /// Arguments of each login, in their order.
    pub fn logins(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path().join("hosts/.arguments")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_of(&user(), arguments)
    }

    pub fn command_of(&self, user: &Identity, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_remit-fleet"));
        command
            .args(arguments)
            .current_dir("/")
            .env_clear()
            .env("PATH", "/usr/bin:/bin:/usr/sbin")
            .env("HOME", self.path().join("home"))
            // The path below HOME is too long for a socket.
            .env("XDG_RUNTIME_DIR", self.path().join("r"));
        user.runs(&mut command);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        self.run_of(&user(), arguments)
    }

    pub fn run_of(&self, user: &Identity, arguments: &[&str]) -> (Option<i32>, String, String) {
        let Output {
            status,
            stdout,
            stderr,
        } = self.command_of(user, arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code(), text(stdout), text(stderr))
    }

    /// A client that has said hello.
    pub fn client(&self) -> Client {
        let mut client = Client::start(self.command(&[]));
        client.initialize("2025-11-25");
        client
    }
}

/// Shell that becomes mcp-shim in front of this daemon, or runs the words for `remit`, as the shell of a login does.
pub fn shim(daemon: &Daemon) -> String {
    let program = daemon.program("mcp-shim");
    let socket = daemon.runtime().socket();
    let remit = daemon.program("remit");
    let runtime = daemon.runtime();
    format!(
        "unset REMIT_BEHALF # as sshd does\n\
         case $words in mcp-shim*) exec '{}' --socket '{}' ${{words#mcp-shim}} ;; esac\n\
         remit() {{ '{}' --runtime '{}' \"$@\"; }}\n\
         eval \"$words\"\n",
        program.display(),
        socket.display(),
        remit.display(),
        runtime.dir().display()
    )
}
