//! An ssh process with the programs that it starts: its ProxyCommand, or another ssh for a jump host.

use std::ops::{Deref, DerefMut};
use std::path::PathBuf;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

/// The process group of an ssh and of the programs that it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessGroup {
    /// Their own, which ends with the ssh. A program in it that reads the terminal is stopped, and takes no keystrokes.
    Own,
    /// That of this program: a signal of the terminal ends them with it.
    Terminal,
}

#[derive(Debug)]
pub struct Process {
    child: Child,
    group: ProcessGroup,
    /// The socket of the master connection that it may become.
    socket: Option<PathBuf>,
    is_master: bool,
}

impl Process {
    pub fn spawn(
        command: &mut Command,
        group: ProcessGroup,
        socket: Option<PathBuf>,
    ) -> std::io::Result<Self> {
        if group == ProcessGroup::Own {
            command.process_group(0);
        }
        let child = command.kill_on_drop(true).spawn()?;
        Ok(Self {
            child,
            group,
            socket,
            is_master: false,
        })
    }

    /// Notes that the login has succeeded. Its socket may be removed while others use the master that it became.
    pub fn logged_in(&mut self) {
        self.is_master = self.has_socket();
    }

    fn has_socket(&self) -> bool {
        self.socket.as_ref().is_some_and(|socket| socket.exists())
    }

    /// Ends it at once, unless it has ended by itself.
    pub fn kill(&mut self) {
        // A master goes on for others, with the programs of its ssh.
        if self.group == ProcessGroup::Terminal || self.is_master || self.has_socket() {
            let _ = self.child.start_kill();
            return;
        }
        // It is known until the process was waited for, and is nothing else's by then.
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(id) = id {
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}

impl Deref for Process {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.child
    }
}

impl DerefMut for Process {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.child
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;
    use std::time::Duration;

    use tokio::io::AsyncReadExt;
    use tokio::runtime::Builder;
    use tokio::time::timeout;

    use super::*;

    /// Returns true if the program that it has started ends with it.
    fn ends_all(master: Option<PathBuf>) -> bool {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut command = Command::new("sh");
            command.args(["-c", "sleep 3 & echo; wait"]);
            let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
            let command = command.stderr(Stdio::null());
            let mut process = Process::spawn(command, ProcessGroup::Own, master).unwrap();
            let mut stdout = process.stdout.take().unwrap();
            assert_eq!(stdout.read_u8().await.unwrap(), b'\n');
            drop(process);
            // It has the other end.
            let end = timeout(Duration::from_secs(1), stdout.read_u8()).await;
            end.is_ok()
        })
    }

    #[test]
    fn programs_of_an_ssh_end_with_it_unless_it_is_a_master() {
        assert!(ends_all(None));
        assert!(ends_all(Some("/nonexistent".into())));
        assert!(!ends_all(Some("/".into())));
    }
}
