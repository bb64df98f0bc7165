//! The user's computer and the hosts: a home with `fleet.toml` and ssh's configuration, and one sshd that is all hosts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Failure;
use crate::mcp::Sshd;

/// What a host answers: `initialize`, and `df -h` of a usual server.
const REPLAY: &str = r#"#!/bin/sh
while read -r line; do
  id=${line#*\"id\":}; id=${id%%[,\}]*}
  case $line in
  *'"method":"initialize"'*) result='{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"remit","version":"RELEASE"}}' ;;
  *'"method":"tools/call"'*) result='{"content":[{"type":"text","text":"DF"}],"structuredContent":{"job_id":"0123456789abcdef0123456789abcdef","state":"exited","exit":0,"stdout":"DF"},"isError":false}' ;;
  *'"id":'*) result='{}' ;;
  *) continue ;;
  esac
  printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$result"
done
"#;
const DF: &str = r"Filesystem      Size  Used Avail Use% Mounted on\\nudev            1.9G     0  1.9G   0% /dev\\ntmpfs           393M  1.1M  392M   1% /run\\n/dev/vda1        40G   17G   21G  45% /\\ntmpfs           2.0G     0  2.0G   0% /dev/shm\\ntmpfs           5.0M     0  5.0M   0% /run/lock\\n/dev/vda15      124M   12M  113M  10% /boot/efi\\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// Each call is a connection of its own.
    Cold,
    Masters,
}

pub struct Fleet {
    dir: PathBuf,
    /// For the sockets of masters, of which the path has a short bound.
    run: PathBuf,
    sshd: Sshd,
}

impl Fleet {
    /// `Err` is a reason for people.
    pub fn set(dir: &Path) -> Result<Self, String> {
        let sshd = Sshd::start(dir.to_path_buf())?;
        let fleet = Self {
            run: dir.with_file_name("r"),
            dir: dir.to_path_buf(),
            sshd,
        };
        fleet
            .write_files()
            .map_err(|error| format!("no files for many hosts: {error}"))?;
        Ok(fleet)
    }

    fn write_files(&self) -> Result<(), Failure> {
        let replay = REPLAY
            .replace("RELEASE", remit_common::RELEASE)
            .replace("DF", DF);
        self.write("replay", &replay)?;
        fs::set_permissions(self.dir.join("replay"), fs::Permissions::from_mode(0o755))?;
        // The key of the hosts starts the replay alone; the other one serves ansible.
        let key = self.new_key("host-user")?;
        let replay = self.dir.join("replay");
        let allowed = fs::read_to_string(self.dir.join("allowed"))?;
        self.write(
            "allowed",
            &format!("{allowed}restrict,command=\"{}\" {key}", replay.display()),
        )?;
        let at = |name: &str| self.dir.join(name).display().to_string();
        let config = format!(
            "Host h*\n  HostName 127.0.0.1\n  Port {}\n  User root\n  IdentitiesOnly yes\n  IdentityFile {}\n  \
             UserKnownHostsFile {}\n  StrictHostKeyChecking yes\n",
            self.sshd.port(),
            at("host-user"),
            at("known")
        );
        self.write("ssh_config", &config)?;
        fs::create_dir_all(&self.run)?;
        Ok(())
    }

    fn new_key(&self, name: &str) -> Result<String, Failure> {
        let made = Command::new("/usr/bin/ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "remit-bench", "-f"])
            .arg(self.dir.join(name))
            .status()?;
        match made.success() {
            true => Ok(fs::read_to_string(self.dir.join(format!("{name}.pub")))?),
            false => Err(format!("ssh-keygen failed: {made}").into()),
        }
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Failure> {
        Ok(fs::write(self.dir.join(name), text)?)
    }

    /// `remit-fleet run` on the first `hosts` hosts.
    pub fn command(&self, hosts: usize, parallel: usize, login: Login) -> Result<Command, Failure> {
        let names: Vec<String> = (0..hosts).map(|number| format!("\"h{number}\"")).collect();
        let masters = match login {
            Login::Cold => 0,
            Login::Masters => 64,
        };
        let fleet = format!(
            "[hosts]\ninclude = [{}]\n[limits]\nparallel = {parallel}\nmasters = {masters}\n[ssh]\nconfig = \"{}\"\n",
            names.join(", "),
            self.dir.join("ssh_config").display()
        );
        self.write("fleet.toml", &fleet)?;
        let program = std::env::current_exe()?.with_file_name("remit-fleet");
        let mut command = Command::new(program);
        command
            .arg("--config")
            .arg(self.dir.join("fleet.toml"))
            .args(["run", "--on", "*", "--", "df", "-h"])
            .env("HOME", &self.dir)
            .env("XDG_RUNTIME_DIR", &self.run);
        Ok(command)
    }

    /// `ansible -m command` on the first `hosts` hosts, with ssh's own key.
    pub fn ansible(&self, program: &Path, hosts: usize) -> Result<Command, Failure> {
        let names: String = (0..hosts)
            .map(|number| format!("h{number} ansible_python_interpreter=/usr/bin/python3\n"))
            .collect();
        self.write("inventory", &names)?;
        let options = format!(
            "-F {} -o IdentityFile={} -o ControlMaster=auto -o ControlPersist=60s",
            self.dir.join("ssh_config").display(),
            self.dir.join("user").display()
        );
        let mut command = Command::new(program);
        command
            .args(["all", "-i"])
            .arg(self.dir.join("inventory"))
            .args(["--forks", "16", "-m", "command", "-a", "df -h"])
            .env("HOME", &self.dir)
            .env("ANSIBLE_SSH_ARGS", options)
            .env("ANSIBLE_HOST_KEY_CHECKING", "False");
        Ok(command)
    }

    /// Ends the master connections that runs have left.
    pub fn end_masters(&self) {
        let sockets = fs::read_dir(self.run.join("remit-fleet"));
        for socket in sockets.into_iter().flatten().flatten() {
            let mut ssh = Command::new("/usr/bin/ssh");
            ssh.arg("-S").arg(socket.path());
            // One that has ended needs no word.
            let _ = ssh.args(["-O", "exit", "--", "x"]).output();
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.end_masters();
    }
}
