//! An ssh process with the programs that it starts: its ProxyCommand, or another ssh for a jump host. They are a process group
//! of their own, which ends with this.

use std::ops::{Deref, DerefMut};
use std::path::PathBuf;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

#[derive(Debug)]
pub struct Process {
    child: Child,
    /// The socket of the master connection that it may have become.
    master: Option<PathBuf>,
}

impl Process {
    pub fn spawn(command: &mut Command, master: Option<PathBuf>) -> std::io::Result<Self> {
        // A program in a background group that reads the terminal is stopped, and takes no keystrokes.
        let child = command.process_group(0).kill_on_drop(true).spawn()?;
        Ok(Self { child, master })
    }

    /// Ends it at once, unless it has ended by itself.
    pub fn kill(&mut self) {
        // A master goes on for others, with the programs of this one.
        if self.master.as_ref().is_some_and(|socket| socket.exists()) {
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
            let mut process = Process::spawn(command, master).unwrap();
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
