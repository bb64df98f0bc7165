//! Runs both layers on a separate thread, because they restrict the calling thread.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use crate::output::spool::tests::Scratch;

fn fenced<T: Send>(scratch: &Scratch, inside: impl FnOnce(u32) -> T + Send) -> T {
    let path = scratch.path.as_path();
    std::thread::scope(|scope| {
        let confined = || {
            let version = super::landlock::restrict(path).unwrap();
            super::seccomp::restrict().unwrap();
            inside(version)
        };
        scope.spawn(confined).join().unwrap()
    })
}

#[test]
fn only_spool_is_writable() {
    let (scratch, outside) = (Scratch::new(), Scratch::new());
    let (path, other) = (scratch.path.clone(), outside.path.join("file"));
    fs::write(&other, "free").unwrap();
    let version = fenced(&scratch, |version| {
        fs::write(path.join("file"), "x").unwrap();
        assert_eq!(fs::read(path.join("file")).unwrap(), b"x");
        fs::remove_file(path.join("file")).unwrap();
        assert!(fs::read("/proc/self/mountinfo").is_ok() && fs::read("/etc/passwd").is_ok());
        if version > 0 {
            for error in [
                OpenOptions::new().write(true).open(&other).unwrap_err(),
                fs::write(other.with_file_name("new"), "x").unwrap_err(),
                fs::remove_file(&other).unwrap_err(),
                fs::read(&other).unwrap_err(),
            ] {
                assert_eq!(error.kind(), ErrorKind::PermissionDenied);
            }
        }
        assert!(fs::create_dir(path.join("dir")).is_err());
        assert!(fs::hard_link("/etc/passwd", path.join("link")).is_err());
        assert!(
            fs::set_permissions(&other, std::os::unix::fs::PermissionsExt::from_mode(0o777))
                .is_err()
        );
        version
    });
    assert!(
        version > 0 || std::env::var_os("REMIT_TESTS_MUST_RUN").is_none(),
        "this kernel has no Landlock"
    );
    assert_eq!(fs::read(&other).unwrap(), b"free");
}

#[test]
fn exec_and_network_denied_threads_and_unix_allowed() {
    assert!(
        Command::new("/bin/true").status().unwrap().success()
            && TcpListener::bind("127.0.0.1:0").is_ok()
    );
    let scratch = Scratch::new();
    fenced(&scratch, |_| {
        assert_eq!(
            Command::new("/bin/true")
                .status()
                .unwrap_err()
                .raw_os_error(),
            Some(libc::EPERM)
        );
        assert_eq!(
            TcpListener::bind("127.0.0.1:0").unwrap_err().raw_os_error(),
            Some(libc::EPERM)
        );
        assert!(UnixDatagram::unbound().is_ok());
        assert_eq!(std::thread::spawn(|| 7).join().unwrap(), 7);
        let own = nix::unistd::getpid();
        assert_eq!(
            nix::sys::signal::kill(own, None),
            Err(nix::errno::Errno::EPERM)
        );
    });
}
