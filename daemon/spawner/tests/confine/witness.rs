//! The self-test: all layers hold here; with one switched off it reports that.

use super::common::*;
use remit_confine::*;

const STRICT: [Layer; 7] = [
    Layer::PidNamespace,
    Layer::PrivateRoot,
    Layer::NoExec,
    Layer::NetworkNamespace,
    Layer::IpcNamespace,
    Layer::UtsNamespace,
    Layer::CgroupNamespace,
];

pub(super) fn ask(sandbox: &Sandbox) -> Result<Vec<Finding>> {
    let fixture = fixture();
    let uid = uid();
    let mut at_work = self_test(sandbox, fixture.cgroup().fd(), (uid, uid))?;
    let findings = loop {
        wait_readable(at_work.fd());
        match at_work.read() {
            Ok(None) => {}
            Ok(Some(findings)) => break Ok(findings),
            Err(e) => break Err(e),
        }
    };
    end(fixture);
    findings
}

#[test]
fn all_layers_hold() {
    let kernel = probe().unwrap();
    let findings = ask(&sandbox()).unwrap();
    for finding in &findings {
        assert!(finding.held, "{}: {}", finding.layer.name(), finding.detail);
    }
    for layer in Layer::ALL {
        let has_finding = findings.iter().any(|f| f.layer == layer);
        let absent = layer.absent(&kernel).is_some() || STRICT.contains(&layer);
        assert_eq!(
            has_finding,
            !absent,
            "{} was tried, or is absent",
            layer.name()
        );
    }
}

/// Two other programs then make the filter: each layer holds as before, in every base.
#[test]
fn layers_hold_with_kernel_audit() {
    let kernel = probe().unwrap();
    let read = || compile_read(&profile(), &kernel).unwrap();
    let strict = || compile_strict(&super::strict::plain(), &kernel).unwrap();
    let audited = |profile| compile_audited(profile, &kernel).unwrap();
    let audited_read = || audited(Profile::Read(profile()));
    let audited_strict = || audited(Profile::Strict(super::strict::plain()));
    let tried = |sandbox: &Sandbox| -> Vec<Layer> {
        let findings = ask(sandbox).unwrap();
        for finding in &findings {
            assert!(finding.held, "{}: {}", finding.layer.name(), finding.detail);
        }
        findings.iter().map(|finding| finding.layer).collect()
    };
    assert_eq!(tried(&read()), tried(&audited_read()));
    assert_eq!(tried(&strict()), tried(&audited_strict()));
    let fixture = fixture();
    for sandbox in [read(), audited_read()] {
        let status = [
            "grep",
            "-oP",
            "Seccomp_filters:\\s*\\K.*",
            "/proc/self/status",
        ];
        let ran = run_in(&sandbox, &fixture, &status, &With::default());
        assert_eq!((ran.out.trim(), ran.code()), ("2", Some(0)), "{ran:?}");
    }
    end(fixture);
}

/// A logout removes mounts and their mount points, and they vanish from every copy of the tree.
#[test]
fn layers_are_tried_while_host_mounts_change() {
    let kernel = probe().unwrap();
    let sandboxes = [
        compile_read(&profile(), &kernel).unwrap(),
        compile_strict(&super::strict::plain(), &kernel).unwrap(),
    ];
    let over = std::sync::atomic::AtomicBool::new(false);
    let order = std::sync::atomic::Ordering::Relaxed;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let dir = HostDir::new();
            let mut mounted = std::collections::VecDeque::new();
            for n in 0.. {
                let at = dir.0.join(n.to_string());
                std::fs::create_dir(&at).unwrap();
                let none: Option<&str> = None;
                let flags = nix::mount::MsFlags::empty();
                nix::mount::mount(Some("tmpfs"), &at, Some("tmpfs"), flags, none).unwrap();
                mounted.push_back(at);
                // Each exists for longer than a self-test takes, and in each self-test some of them go.
                let keep = if over.load(order) { 0 } else { 64 };
                while mounted.len() > keep {
                    let at = mounted.pop_front().unwrap();
                    nix::mount::umount(&at).unwrap();
                    std::fs::remove_dir(&at).unwrap();
                }
                if keep == 0 {
                    break;
                }
            }
        });
        let tried: Vec<_> = sandboxes.iter().cycle().take(20).map(ask).collect();
        over.store(true, order);
        for findings in tried {
            assert!(findings.unwrap().iter().all(|finding| finding.held));
        }
    });
}

/// As on kernels without it: the step is absent, all other layers hold.
#[test]
fn without_landlock_everything_else_holds() {
    let mut kernel = probe().unwrap();
    kernel.landlock_abi = 0;
    let sandbox = compile_read(&profile(), &kernel).unwrap();
    for finding in ask(&sandbox).unwrap() {
        assert!(finding.held, "{}: {}", finding.layer.name(), finding.detail);
        assert!(!matches!(
            finding.layer,
            Layer::Landlock | Layer::LandlockScope
        ));
    }
    let fixture = fixture();
    let ran = run_in(&sandbox, &fixture, &["true"], &With::default());
    let Progress::Executed(done) = &ran.progress else {
        panic!("{ran:?}")
    };
    assert!(!done.contains(&Step::Landlock));
    end(fixture);
}

#[test]
fn one_that_is_killed_says_so_without_waiting() {
    let (sandbox, fixture, uid) = (sandbox(), fixture(), uid());
    let mut at_work = self_test(&sandbox, fixture.cgroup().fd(), (uid, uid)).unwrap();
    at_work.kill();
    wait_readable(at_work.fd());
    let error = at_work.read().unwrap_err().to_string();
    assert!(error.starts_with("cannot test the sandbox"), "{error}");
    assert!(at_work.read().is_err());
    end(fixture);
}

#[test]
fn self_test_without_processes_reports_nothing() {
    let mut profile = profile();
    profile.limits.nproc = 1;
    let sandbox = compile_read(&profile, &probe().unwrap()).unwrap();
    let error = ask(&sandbox).unwrap_err().to_string();
    assert!(error.contains("could not be tested: no process"), "{error}");
}

#[test]
fn layers_hold_with_extended_read_profile() {
    use super::strict::listed;
    let dir = HostDir::new();
    let more = ReadProfile {
        capabilities: 1 << 2,
        write: vec![listed(dir.0.display().to_string())],
        devices: vec![listed("/dev/kmsg")],
        network: true,
        ..profile()
    };
    let sandbox = compile_read(&more, &probe().unwrap()).unwrap();
    let findings = ask(&sandbox).unwrap();
    assert!(findings.len() > 20, "{findings:?}");
    for finding in findings {
        assert!(finding.held, "{}: {}", finding.layer.name(), finding.detail);
    }
}

fn strict_profiles() -> Vec<(&'static str, StrictProfile)> {
    use super::strict::{listed, plain};
    let root = StrictProfile {
        user: Some((0, 0)),
        // Root's own groups would prove nothing.
        groups: vec![4],
        capabilities: 1,
        ..plain()
    };
    let busy = StrictProfile {
        read: vec![listed("/etc"), listed("/sys")],
        write: vec![listed("/srv")],
        exec: vec![listed("/opt")],
        scratch: vec!["/run".into()],
        network: Network::Loopback,
        ..plain()
    };
    vec![("plain", plain()), ("root", root), ("busy", busy)]
}

#[test]
fn all_strict_layers_hold() {
    let kernel = probe().unwrap();
    for (name, profile) in strict_profiles() {
        let findings = ask(&compile_strict(&profile, &kernel).unwrap()).unwrap();
        for finding in &findings {
            let what = finding.layer.name();
            assert!(finding.held, "{name}: {what}: {}", finding.detail);
        }
        for layer in Layer::ALL {
            let has_finding = findings.iter().any(|f| f.layer == layer);
            let absent = layer.absent(&kernel).is_some()
                || match layer {
                    // Allowed, in its own namespace.
                    Layer::SeccompIpc => true,
                    Layer::SeccompLocks => name == "busy",
                    Layer::LandlockScope => name == "root",
                    _ => false,
                };
            assert_eq!(
                has_finding,
                !absent,
                "{name}: {} was tried, or is absent",
                layer.name()
            );
        }
    }
}

#[test]
fn without_landlock_a_strict_sandbox_holds() {
    let mut kernel = probe().unwrap();
    kernel.landlock_abi = 0;
    for (name, profile) in strict_profiles() {
        for finding in ask(&compile_strict(&profile, &kernel).unwrap()).unwrap() {
            let what = finding.layer.name();
            assert!(finding.held, "{name}: {what}: {}", finding.detail);
        }
    }
}

#[cfg(feature = "mutate")]
#[test]
fn disabled_strict_layer_is_detected() {
    let kernel = probe().unwrap();
    for (name, profile) in strict_profiles() {
        for layer in Layer::ALL {
            let untried = match layer {
                Layer::SeccompIpc => true,
                Layer::SeccompLocks => name == "busy",
                Layer::LandlockScope if name == "root" => true,
                _ => layer.absent(&kernel).is_some(),
            };
            let sandbox = strict_without(&profile, &kernel, layer).unwrap();
            match ask(&sandbox) {
                Err(e) => assert_eq!(layer, Layer::NoNewPrivs, "{name}: {e}"),
                Ok(findings) => {
                    let broken = findings.iter().any(|f| !f.held && f.layer == layer);
                    assert!(broken || untried, "{name}: {} is not missed", layer.name());
                }
            }
        }
    }
}

#[cfg(feature = "mutate")]
#[test]
fn disabled_layer_is_detected() {
    let kernel = probe().unwrap();
    for layer in Layer::ALL.into_iter().filter(|w| !STRICT.contains(w)) {
        let sandbox = read_without(&profile(), &kernel, layer).unwrap();
        match ask(&sandbox) {
            // The filter cannot even be installed.
            Err(e) => assert_eq!(layer, Layer::NoNewPrivs, "{e}"),
            Ok(findings) => {
                let broken: Vec<_> = findings.iter().filter(|f| !f.held).collect();
                assert!(
                    broken.iter().any(|f| f.layer == layer),
                    "{} is not missed: {broken:?}",
                    layer.name()
                );
                println!("{}: {broken:#?}", layer.name());
            }
        }
    }
}

/// In mounts of the calling thread alone, has only these directories in `/var`.
fn empty_var(directories: &[&str]) {
    use nix::mount::{MsFlags, mount};
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
    let (none, private) = (None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE);
    mount(none, "/", none, private, none).unwrap();
    let tmpfs = Some("tmpfs");
    mount(tmpfs, "/var", tmpfs, MsFlags::empty(), Some("mode=755")).unwrap();
    for directory in directories {
        std::fs::create_dir(format!("/var/{directory}")).unwrap();
    }
}

#[test]
fn private_directory_at_a_path_with_a_space_is_known() {
    empty_var(&["data disk"]);
    std::os::unix::fs::symlink("data disk", "/var/tmp").unwrap();
    for finding in ask(&sandbox()).unwrap() {
        assert!(finding.held, "{}: {}", finding.layer.name(), finding.detail);
    }
}

#[test]
fn stage_that_cannot_be_set_has_its_error() {
    empty_var(&["tmp"]);
    let error = ask(&super::view::view()).unwrap_err().to_string();
    assert_eq!(
        error,
        "cannot test the sandbox: step 'session' failed: No such file or directory (os error 2)"
    );
}

/// As in containers: then a sandbox's settings are written by a `/proc` of its own.
#[test]
fn layers_hold_with_read_only_proc_sys() {
    let script = "mount --make-rprivate / && mount --bind /proc/sys /proc/sys && \
                  mount -o remount,ro,bind /proc/sys && ! echo 64 2>&- > /proc/sys/kernel/msgmni && \
                  exec \"$0\" --exact witness::all_strict_layers_hold";
    let this = std::env::current_exe().unwrap();
    let mut alone = std::process::Command::new("unshare");
    alone.args(["--mount", "sh", "-c", script]).arg(this);
    let ended = alone.output().unwrap();
    let text = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{ended:?}");
    assert!(text.contains("1 passed"), "{text}");
}
