//! A separate sshd on loopback with its own keys and configuration, on a free port.

use std::fs::{self, DirBuilder};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Failure;

/// sshd requires an absolute path.
const SSHD: &str = "/usr/sbin/sshd";
/// sshd needs this directory, which some systems only create with the service.
const EMPTY: &str = "/run/sshd";
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Sshd {
    dir: PathBuf,
    port: u16,
    child: Child,
    made: bool,
}

impl Sshd {
    /// Starts it with files in a new directory `dir`. `Err` is a reason for people.
    pub fn start(dir: PathBuf) -> Result<Self, String> {
        for (program, package) in [
            (SSHD, "openssh-server"),
            ("/usr/bin/ssh", "openssh-client"),
            ("/usr/bin/ssh-keygen", "openssh-client"),
        ] {
            if !Path::new(program).exists() {
                return Err(format!("{package} is not installed"));
            }
        }
        let describe = |error: Failure| format!("sshd does not serve here: {error}");
        DirBuilder::new()
            .mode(0o700)
            .create(&dir)
            .map_err(|e| describe(e.into()))?;
        let made = DirBuilder::new().mode(0o755).create(EMPTY).is_ok();
        let port = prepare(&dir).map_err(describe)?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig=KILL", SSHD, "-D", "-f"])
            .arg(dir.join("config"))
            .arg("-E")
            .arg(dir.join("log"))
            .stdin(Stdio::null())
            .spawn()
            .map_err(|e| describe(e.into()))?;
        let server = Self {
            dir,
            port,
            child,
            made,
        };
        server.listens().map_err(describe)?;
        let status = server
            .command(&["/bin/true"])
            .stdin(Stdio::null())
            .output()
            .map_err(|e| describe(e.into()))?;
        if status.status.success() {
            Ok(server)
        } else {
            let said = String::from_utf8_lossy(&status.stderr).trim().to_owned();
            Err(format!("root may not log in to an sshd of its own: {said}"))
        }
    }

    /// Runs `argv` over a new connection. No word may need quoting.
    pub fn command(&self, argv: &[&str]) -> Command {
        let option = |name: &str, value: &Path| format!("-o{name}={}", value.display());
        let mut command = Command::new("/usr/bin/ssh");
        command
            .args(["-F", "none", "-q", "-T", "-oBatchMode=yes"])
            .arg("-oStrictHostKeyChecking=yes")
            .arg("-oIdentitiesOnly=yes")
            .arg(option("UserKnownHostsFile", &self.dir.join("known")))
            .arg(option("IdentityFile", &self.dir.join("user")))
            .args(["-p", &self.port.to_string(), "root@127.0.0.1", "--"])
            .args(argv);
        command
    }

    fn listens(&self) -> Result<(), Failure> {
        let start = Instant::now();
        loop {
            match TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) {
                Ok(_) => return Ok(()),
                Err(error) if start.elapsed() > PATIENCE => return Err(error.into()),
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

fn prepare(dir: &Path) -> Result<u16, Failure> {
    for name in ["host", "user"] {
        let made = Command::new("/usr/bin/ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "remit-bench", "-f"])
            .arg(dir.join(name))
            .stdin(Stdio::null())
            .status()?;
        if !made.success() {
            return Err(format!("ssh-keygen failed: {made}").into());
        }
    }
    fs::copy(dir.join("user.pub"), dir.join("allowed"))?;
    // The port was free a moment ago. If another process takes it first, the start fails with an error.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port();
    let key = fs::read_to_string(dir.join("host.pub"))?;
    fs::write(dir.join("known"), format!("[127.0.0.1]:{port} {key}"))?;
    let file = |name: &str| dir.join(name).display().to_string();
    fs::write(
        dir.join("config"),
        format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
             UsePAM no\nStrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PermitRootLogin prohibit-password\nPrintMotd no\nMaxStartups 100\n",
            file("host"),
            file("allowed")
        ),
    )?;
    Ok(port)
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if self.made {
            let _ = fs::remove_dir(EMPTY);
        }
    }
}
