//! The witness: all walls hold here; with one switched off it says so.

use super::common::*;
use remit_confine::*;

/// Walls of base `strict` alone.
const STRICT: [Wall; 7] = [
    Wall::PidNamespace,
    Wall::PrivateRoot,
    Wall::NoExec,
    Wall::NetworkNamespace,
    Wall::IpcNamespace,
    Wall::UtsNamespace,
    Wall::CgroupNamespace,
];

fn ask(sandbox: &Sandbox) -> Result<Vec<Finding>> {
    let ground = ground();
    let uid = uid();
    let mut at_work = witness(sandbox, &ground.cgroup(), uid, uid)?;
    let findings = loop {
        wait_readable(at_work.fd());
        match at_work.read() {
            Ok(None) => {}
            Ok(Some(findings)) => break Ok(findings),
            Err(e) => break Err(e),
        }
    };
    end(ground);
    findings
}

#[test]
fn every_wall_holds() {
    let kernel = Kernel::probe().unwrap();
    let findings = ask(&sandbox()).unwrap();
    for finding in &findings {
        assert!(finding.held, "{}: {}", finding.wall.name(), finding.detail);
    }
    for wall in Wall::ALL {
        let told = findings.iter().any(|f| f.wall == wall);
        let absent = wall.absent(&kernel).is_some() || STRICT.contains(&wall);
        assert_eq!(told, !absent, "{} was tried, or is absent", wall.name());
    }
}

/// Two programs then stand in place of one: each wall holds as before, in every base.
#[test]
fn every_wall_holds_where_the_kernels_audit_is_told() {
    let kernel = Kernel::probe().unwrap();
    let read = || Sandbox::read(&profile(), &kernel).unwrap();
    let strict = || Sandbox::strict(&super::strict::plain(), &kernel).unwrap();
    let tried = |sandbox: &Sandbox| -> Vec<Wall> {
        let findings = ask(sandbox).unwrap();
        for finding in &findings {
            assert!(finding.held, "{}: {}", finding.wall.name(), finding.detail);
        }
        findings.iter().map(|finding| finding.wall).collect()
    };
    assert_eq!(tried(&read()), tried(&read().told_to_audit()));
    assert_eq!(tried(&strict()), tried(&strict().told_to_audit()));
    let ground = ground();
    for (sandbox, filters) in [(read(), "1"), (read().told_to_audit(), "2")] {
        let status = [
            "grep",
            "-oP",
            "Seccomp_filters:\\s*\\K.*",
            "/proc/self/status",
        ];
        let ran = run_in(&sandbox, &ground, &status, &With::default());
        assert_eq!((ran.out.trim(), ran.code()), (filters, Some(0)), "{ran:?}");
    }
    end(ground);
}

/// As on kernels that have none: the step is absent, all other walls stand.
#[test]
fn without_landlock_everything_else_holds() {
    let mut kernel = Kernel::probe().unwrap();
    kernel.landlock_abi = 0;
    let sandbox = Sandbox::read(&profile(), &kernel).unwrap();
    for finding in ask(&sandbox).unwrap() {
        assert!(finding.held, "{}: {}", finding.wall.name(), finding.detail);
        assert!(!matches!(
            finding.wall,
            Wall::Landlock | Wall::LandlockScope
        ));
    }
    let ground = ground();
    let ran = run_in(&sandbox, &ground, &["true"], &With::default());
    let Progress::Executed(done) = &ran.progress else {
        panic!("{ran:?}")
    };
    assert!(!done.contains(&Step::Landlock));
    end(ground);
}

#[test]
fn one_that_is_killed_says_so_without_waiting() {
    let (sandbox, ground, uid) = (sandbox(), ground(), uid());
    let mut at_work = witness(&sandbox, &ground.cgroup(), uid, uid).unwrap();
    at_work.kill();
    wait_readable(at_work.fd());
    let error = at_work.read().unwrap_err().to_string();
    assert!(error.starts_with("cannot witness the sandbox"), "{error}");
    // Nothing of it is left to be waited for.
    assert!(at_work.read().is_err());
    end(ground);
}

/// With no process to be had nothing is seen of any wall, neither that it holds nor that it does not.
#[test]
fn one_without_room_for_attempts_has_seen_nothing() {
    let mut profile = profile();
    profile.limits.nproc = 1;
    let sandbox = Sandbox::read(&profile, &Kernel::probe().unwrap()).unwrap();
    let error = ask(&sandbox).unwrap_err().to_string();
    assert!(error.contains("could not be tried: no process"), "{error}");
}

/// What a profile adds to `read` is no hole in what is left.
#[test]
fn every_wall_holds_that_a_profile_with_more_has() {
    use super::strict::place;
    let dir = HostDir::new();
    let more = ReadProfile {
        capabilities: 1 << 2,
        write: vec![place(dir.0.display().to_string())],
        devices: vec![place("/dev/kmsg")],
        network: true,
        ..profile()
    };
    let sandbox = Sandbox::read(&more, &Kernel::probe().unwrap()).unwrap();
    let findings = ask(&sandbox).unwrap();
    assert!(findings.len() > 20, "{findings:?}");
    for finding in findings {
        assert!(finding.held, "{}: {}", finding.wall.name(), finding.detail);
    }
}

/// Strict sandboxes of several kinds.
fn strict_profiles() -> Vec<(&'static str, StrictProfile)> {
    use super::strict::{place, plain};
    let root = StrictProfile {
        user: Some((0, 0)),
        // Root's own groups would prove nothing.
        groups: vec![4],
        capabilities: 1,
        ..plain()
    };
    let busy = StrictProfile {
        read: vec![place("/etc"), place("/sys")],
        write: vec![place("/srv")],
        exec: vec![place("/opt")],
        scratch: vec!["/run".into()],
        network: Network::Loopback,
        ..plain()
    };
    vec![("plain", plain()), ("root", root), ("busy", busy)]
}

#[test]
fn every_wall_of_a_strict_sandbox_holds() {
    let kernel = Kernel::probe().unwrap();
    for (name, profile) in strict_profiles() {
        let findings = ask(&Sandbox::strict(&profile, &kernel).unwrap()).unwrap();
        for finding in &findings {
            let what = finding.wall.name();
            assert!(finding.held, "{name}: {what}: {}", finding.detail);
        }
        for wall in Wall::ALL {
            let told = findings.iter().any(|f| f.wall == wall);
            let absent = wall.absent(&kernel).is_some()
                || match wall {
                    // Allowed, in a namespace of its own.
                    Wall::SeccompIpc => true,
                    Wall::SeccompLocks => name == "busy",
                    Wall::LandlockScope => name == "root",
                    _ => false,
                };
            assert_eq!(
                told,
                !absent,
                "{name}: {} was tried, or is absent",
                wall.name()
            );
        }
    }
}

#[test]
fn without_landlock_a_strict_sandbox_holds() {
    let mut kernel = Kernel::probe().unwrap();
    kernel.landlock_abi = 0;
    for (name, profile) in strict_profiles() {
        for finding in ask(&Sandbox::strict(&profile, &kernel).unwrap()).unwrap() {
            let what = finding.wall.name();
            assert!(finding.held, "{name}: {what}: {}", finding.detail);
        }
    }
}

#[cfg(feature = "mutate")]
#[test]
fn a_missing_wall_of_a_strict_sandbox_is_seen() {
    let kernel = Kernel::probe().unwrap();
    for (name, profile) in strict_profiles() {
        for wall in Wall::ALL {
            let untried = match wall {
                Wall::SeccompIpc => true,
                Wall::SeccompLocks => name == "busy",
                Wall::LandlockScope if name == "root" => true,
                _ => wall.absent(&kernel).is_some(),
            };
            let sandbox = Sandbox::strict_without(&profile, &kernel, wall).unwrap();
            match ask(&sandbox) {
                Err(e) => assert_eq!(wall, Wall::NoNewPrivs, "{name}: {e}"),
                Ok(findings) => {
                    let broken = findings.iter().any(|f| !f.held && f.wall == wall);
                    assert!(broken || untried, "{name}: {} is not missed", wall.name());
                }
            }
        }
    }
}

#[cfg(feature = "mutate")]
#[test]
fn a_missing_wall_is_seen() {
    let kernel = Kernel::probe().unwrap();
    for wall in Wall::ALL.into_iter().filter(|w| !STRICT.contains(w)) {
        let sandbox = Sandbox::without(&profile(), &kernel, wall).unwrap();
        match ask(&sandbox) {
            // The filter cannot even be installed.
            Err(e) => assert_eq!(wall, Wall::NoNewPrivs, "{e}"),
            Ok(findings) => {
                let broken: Vec<_> = findings.iter().filter(|f| !f.held).collect();
                assert!(
                    broken.iter().any(|f| f.wall == wall),
                    "{} is not missed: {broken:?}",
                    wall.name()
                );
                println!("{}: {broken:#?}", wall.name());
            }
        }
    }
}

/// As containers have it: then what is set for a sandbox is set by a `/proc` of its own.
#[test]
fn every_wall_holds_where_proc_sys_is_read_only() {
    let script = "mount --make-rprivate / && mount --bind /proc/sys /proc/sys && \
                  mount -o remount,ro,bind /proc/sys && ! echo 64 2>&- > /proc/sys/kernel/msgmni && \
                  exec \"$0\" --exact witness::every_wall_of_a_strict_sandbox_holds";
    let this = std::env::current_exe().unwrap();
    let mut alone = std::process::Command::new("unshare");
    alone.args(["--mount", "sh", "-c", script]).arg(this);
    let ended = alone.output().unwrap();
    let text = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{ended:?}");
    assert!(text.contains("1 passed"), "{text}");
}
