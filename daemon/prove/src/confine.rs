//! The sandbox of this process: an account without a name, the capability to read, Landlock for reading beneath one
//! directory, and few system calls.

use std::os::fd::AsFd;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use remit_prove::machine::Machine;
use remit_self_confine::{Limits, confine_reader};
use remit_sys::sys;

/// `nobody`: no file that matters is its own, and it cannot write those that are.
const READER: u32 = 65534;
/// `CAP_DAC_READ_SEARCH`, capabilities(7).
const READ: u64 = 1 << 2;
/// Beyond the look's own bound of time.
const LIMITS: Limits = Limits {
    cpu_s: 120,
    memory: 2 << 30,
};

/// `LANDLOCK_ACCESS_FS_READ_FILE` and `READ_DIR`.
const READS: u64 = 1 << 2 | 1 << 3;

pub fn confine(machine: &Machine) -> Result<(), String> {
    let cannot =
        |what: &'static str| move |error: std::io::Error| format!("cannot {what}: {error}");
    sys::drop_bounding_but(READ).map_err(cannot("give up capabilities"))?;
    sys::become_user_with(READER, READER, &[], READ).map_err(cannot("become another user"))?;
    // The change of identity undoes it. A daemon that gives up the load must not leave this process.
    set_pdeathsig(Signal::SIGKILL).map_err(|errno| cannot("end with its parent")(errno.into()))?;
    sys::no_new_privs().map_err(cannot("give up new privileges"))?;
    restrict(machine).map_err(cannot("restrict itself with landlock"))?;
    confine_reader(LIMITS)
}

/// Everything that this kernel's Landlock knows is refused, but reading beneath the machine's directory.
fn restrict(machine: &Machine) -> std::io::Result<()> {
    let abi = sys::landlock_abi().unwrap_or(0);
    let fs = match abi {
        0 => return Ok(()),
        1 => 13,
        2 => 14,
        3 | 4 => 15,
        5..=8 => 16,
        _ => 17,
    };
    let net = match abi {
        0..=3 => 0,
        4..=9 => 0b11,
        _ => 0b1111,
    };
    let handled = sys::Handled {
        fs: (1 << fs) - 1,
        net,
        scoped: if abi >= 6 { 3 } else { 0 },
    };
    let ruleset = sys::landlock_ruleset(&handled)?;
    let directory = machine.directory();
    sys::landlock_grant(ruleset.as_fd(), directory.as_fd(), READS)?;
    sys::landlock_restrict(ruleset.as_fd(), 0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use std::fs;
    use std::io::Error;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::ExitStatusExt;
    use std::path::PathBuf;
    use std::process::{Command, Output};

    use remit_prove::machine::Bounds;
    use remit_prove::path::FilePath;

    use super::*;

    const PROBE: &str = "REMIT_PROVE_PROBE";

    fn directory() -> PathBuf {
        std::env::temp_dir().join(format!("remit-prove-confined-{}", std::process::id()))
    }

    /// Runs [`probe`] in a process of its own, because the sandbox is for good.
    fn tried(probe: &str) -> Output {
        let directory = directory();
        fs::create_dir_all(&directory).unwrap();
        for (name, mode) in [("secret", 0o600), ("open", 0o666)] {
            let path = directory.join(name);
            fs::write(&path, "content").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "confine::tests::probe", "--nocapture"])
            .env(PROBE, probe)
            .env("REMIT_PROVE_ROOT", &directory)
            .output()
            .unwrap();
        fs::remove_dir_all(&directory).unwrap();
        output
    }

    fn said(probe: &str) -> String {
        let output = tried(probe);
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    #[test]
    fn confined_process_reads_and_does_nothing_else() {
        assert!(said("read").contains("read 7"), "{}", said("read"));
        for probe in ["socket", "execute", "fork", "signal"] {
            let output = tried(probe);
            assert_eq!(
                output.status.signal(),
                Some(libc::SIGSYS),
                "{probe}: {output:?}"
            );
        }
        if sys::landlock_abi().unwrap_or(0) > 0 {
            for probe in ["write", "outside"] {
                assert!(said(probe).contains("errno 13"), "{probe}: {}", said(probe));
            }
        }
    }

    #[test]
    fn probe() {
        use nix::fcntl::{OFlag, OpenHow, openat2};

        // The test above starts this as a process of its own.
        let Ok(probe) = std::env::var(PROBE) else {
            return;
        };
        let root = PathBuf::from(std::env::var("REMIT_PROVE_ROOT").unwrap());
        let machine = Machine::open(&root, Bounds::default()).unwrap();
        let open = |path: &str, flags: OFlag| {
            let opened = openat2(machine.directory(), path, OpenHow::new().flags(flags));
            opened.map_err(|errno| errno as i32)
        };
        confine(&machine).unwrap();
        match probe.as_str() {
            "read" => {
                let content = machine.read(&FilePath::new("/secret").unwrap());
                eprintln!("read {}", content.unwrap().len());
            }
            "write" => eprintln!("errno {:?}", open("open", OFlag::O_WRONLY).unwrap_err()),
            "outside" => eprintln!(
                "errno {:?}",
                open("/etc/passwd", OFlag::O_RDONLY).unwrap_err()
            ),
            "socket" => drop(std::net::UdpSocket::bind("127.0.0.1:0")),
            "execute" => drop(Command::new("/bin/true").status()),
            "fork" => drop(std::thread::spawn(|| ()).join()),
            "signal" => drop(sys::kill(1, 0)),
            _ => panic!("{probe}: {}", Error::last_os_error()),
        }
        std::process::exit(0);
    }
}
