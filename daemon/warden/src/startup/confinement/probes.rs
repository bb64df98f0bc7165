//! Tries, in a child, what the daemon must not be able to do. Without the sandbox all of it works, and changes nothing.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::ptrace;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socket, sockopt};
use nix::unistd::{gethostname, getppid, sethostname};
use remit_common::admin::{LayerCheck, LayerState};
use remit_sys::{Answer, in_child, sys};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layer {
    Capabilities,
    Landlock,
    Seccomp,
}

struct Probe {
    layer: Layer,
    what: &'static str,
    attempt: fn() -> io::Result<()>,
}

const PROBES: [Probe; 10] = [
    probe(Layer::Seccomp, "mounts nothing", mounts),
    probe(Layer::Seccomp, "enters no namespace", || {
        Ok(unshare(CloneFlags::CLONE_NEWNS)?)
    }),
    probe(Layer::Seccomp, "makes no user namespace", || {
        Ok(unshare(CloneFlags::CLONE_NEWUSER)?)
    }),
    probe(Layer::Seccomp, "traces no process", || {
        Ok(ptrace::seize(getppid(), ptrace::Options::empty())?)
    }),
    probe(Layer::Seccomp, "administers no kernel", administers),
    probe(
        Layer::Seccomp,
        "changes the mode of no file",
        changes_a_mode,
    ),
    probe(
        Layer::Capabilities,
        "takes no capability back",
        sys::raise_sys_admin,
    ),
    probe(Layer::Capabilities, "rules no network", rules_the_network),
    probe(
        Layer::Landlock,
        "writes in no directory but its own",
        writes,
    ),
    probe(
        Layer::Landlock,
        "changes no setting of the kernel",
        changes_the_kernel,
    ),
];

const fn probe(layer: Layer, what: &'static str, attempt: fn() -> io::Result<()>) -> Probe {
    Probe {
        layer,
        what,
        attempt,
    }
}

/// Milliseconds for each of them: it is one call.
const PATIENCE: u16 = 30_000;

/// Makes each attempt in a child of its own, because one that is possible may change what others can do.
pub fn run(has_landlock: bool) -> Result<Vec<LayerCheck>, String> {
    let tried = |probe: &Probe| {
        let attempt = probe.attempt;
        let mut answer = in_child(|| vec![errno(attempt())]).map_err(io::Error::other)?;
        match wait(&mut answer)?.as_slice() {
            [answer] => Ok(check(probe, *answer, has_landlock)),
            _ => Err(io::Error::other("a child ended without an answer")),
        }
    };
    let checks: io::Result<Vec<_>> = PROBES.iter().map(tried).collect();
    checks.map_err(|error| error.to_string())
}

pub fn broken(checks: &[LayerCheck]) -> Option<String> {
    let is_broken = |check: &&LayerCheck| check.state == LayerState::Broken;
    let broken: Vec<_> = checks
        .iter()
        .filter(is_broken)
        .map(|check| format!("'{}' does not hold ({})", check.name, check.detail))
        .collect();
    (!broken.is_empty()).then(|| broken.join("; "))
}

fn check(probe: &Probe, answer: u8, has_landlock: bool) -> LayerCheck {
    let state = match (probe.layer, answer) {
        (Layer::Landlock, _) if !has_landlock => LayerState::Absent,
        (_, 0) => LayerState::Broken,
        _ => LayerState::Held,
    };
    let seen = match answer {
        0 => "it was possible".to_owned(),
        answer => Errno::from_raw(answer.into()).to_string(),
    };
    LayerCheck {
        name: match probe.layer {
            Layer::Capabilities => "capabilities",
            Layer::Landlock => "landlock",
            Layer::Seccomp => "seccomp",
        }
        .to_owned(),
        state,
        detail: format!("remitd {}: {seen}", probe.what),
    }
}

/// 0 for success, 255 for an error without a number.
fn errno(result: io::Result<()>) -> u8 {
    match result {
        Ok(()) => 0,
        Err(error) => error
            .raw_os_error()
            .and_then(|errno| u8::try_from(errno).ok())
            .unwrap_or(u8::MAX),
    }
}

/// Without a filter the kernel looks for the directory first.
fn mounts() -> io::Result<()> {
    let none = None::<&str>;
    match mount(none, "/nonexistent/remit", none, MsFlags::MS_PRIVATE, none) {
        Err(Errno::ENOENT) => Ok(()),
        other => Ok(other?),
    }
}

fn administers() -> io::Result<()> {
    Ok(sethostname(gethostname()?)?)
}

/// Of a pipe, which nobody else has.
fn changes_a_mode() -> io::Result<()> {
    let (pipe, _) = nix::unistd::pipe()?;
    Ok(nix::sys::stat::fchmod(pipe, nix::sys::stat::Mode::S_IRUSR)?)
}

fn rules_the_network() -> io::Result<()> {
    let socket = socket(
        AddressFamily::Unix,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    Ok(setsockopt(&socket, sockopt::RcvBufForce, &4096)?)
}

/// A file without a name, so nothing is left where it is possible.
fn writes() -> io::Result<()> {
    let mut options = OpenOptions::new();
    options
        .write(true)
        .custom_flags(libc::O_TMPFILE | libc::O_CLOEXEC);
    options.open("/tmp").map(drop)
}

/// Opens the setting and writes nothing.
fn changes_the_kernel() -> io::Result<()> {
    let mut options = OpenOptions::new();
    options
        .write(true)
        .open("/proc/sys/kernel/core_pattern")
        .map(drop)
}

fn wait(answer: &mut Answer) -> io::Result<Vec<u8>> {
    loop {
        let mut ready = [PollFd::new(answer.fd(), PollFlags::POLLIN)];
        if poll(&mut ready, PATIENCE)? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if let Some(bytes) = answer.read().map_err(io::Error::other)? {
            return Ok(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{calls, capabilities, paths};
    use super::*;

    fn checks(layers: &[Layer]) -> Vec<LayerCheck> {
        let enter = |layer: &Layer| match layer {
            Layer::Landlock => assert!(
                paths::enter(&["/var".into()]).unwrap(),
                "a kernel without Landlock"
            ),
            Layer::Capabilities => capabilities::enter().unwrap(),
            Layer::Seccomp => calls::enter().unwrap(),
        };
        let answer = in_child(|| {
            nix::sys::prctl::set_no_new_privs().unwrap();
            layers.iter().for_each(enter);
            postcard::to_stdvec(&run(true).unwrap()).unwrap()
        });
        postcard::from_bytes(&wait(&mut answer.unwrap()).unwrap()).unwrap()
    }

    fn has(check: &LayerCheck, errno: Errno) -> bool {
        check.detail.ends_with(&format!(": {errno}"))
    }

    #[test]
    fn all_is_possible_without_the_layers() {
        let possible = checks(&[]);
        assert_eq!(possible.len(), PROBES.len());
        for check in possible {
            assert_eq!(check.state, LayerState::Broken, "{check:?}");
        }
    }

    #[test]
    fn each_layer_refuses_its_probes_alone() {
        for (layer, name, refusal) in [
            (Layer::Landlock, "landlock", Errno::EACCES),
            (Layer::Capabilities, "capabilities", Errno::EPERM),
            (Layer::Seccomp, "seccomp", Errno::ENOSYS),
        ] {
            let tried = checks(&[layer]);
            let own: Vec<_> = tried.iter().filter(|check| check.name == name).collect();
            assert!(own.len() > 1);
            for check in own {
                assert!(
                    check.state == LayerState::Held && has(check, refusal),
                    "{check:?}"
                );
            }
        }
    }

    #[test]
    fn together_they_refuse_all() {
        let tried = checks(&[Layer::Landlock, Layer::Capabilities, Layer::Seccomp]);
        assert_eq!((broken(&tried), tried.len()), (None, PROBES.len()));
        assert!(broken(&[check(&PROBES[0], 0, true)]).is_some());
        assert_eq!(check(&PROBES[9], 0, false).state, LayerState::Absent);
    }
}
