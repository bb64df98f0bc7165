//! Base `host`: no sandbox, and what holds all the same.

use super::common::*;
use remit_confine::*;

fn host(user: (u32, u32), groups: &[u32]) -> Sandbox {
    let profile = HostProfile {
        user,
        groups: groups.to_vec(),
        limits: LIMITS,
    };
    compile_host(&profile, &probe().unwrap()).unwrap()
}

fn run_host(sandbox: &Sandbox, argv: &[&str], loginuid: Option<u32>) -> Ran {
    let fixture = fixture();
    let with = With {
        loginuid,
        ..With::default()
    };
    let ran = run_in(sandbox, &fixture, argv, &with);
    end(fixture);
    ran
}

#[test]
fn only_these_steps_are_taken() {
    let ran = run_host(&host((0, 0), &[]), &["true"], Some(4242));
    let Progress::Executed(done) = &ran.progress else {
        panic!("{ran:?}")
    };
    let kernel = probe().unwrap();
    for step in Step::ALL {
        let here = match step {
            Step::Session | Step::Cgroup | Step::Descriptors | Step::Scheduling => true,
            Step::Rlimits | Step::Identity | Step::Cwd => true,
            Step::Loginuid => kernel.loginuid,
            Step::Keyring => kernel.keyrings,
            _ => false,
        };
        assert_eq!(done.contains(&step), here, "{}: {done:?}", step.name());
    }
    assert_eq!(ran.code(), Some(0));
}

/// Root is root: it changes the host. But its session, its descriptors and its limits are its own.
#[test]
fn root_may_what_root_may() {
    let dir = HostDir::new();
    let script = format!(
        "id -u; id -G; grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status; \
         echo changed > {0}/file; chown 5 {0}/file; ls /proc/self/fd | tr '\\n' ' '; echo; \
         readlink /proc/self/ns/mnt /proc/self/ns/net; ulimit -n; cat /proc/self/oom_score_adj; \
         [ -e /tmp/home ] || echo no home",
        dir.0.display()
    );
    let ran = run_host(&host((0, 0), &[4]), &["sh", "-c", &script], None);
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let own = |key: &str| own.lines().find(|line| line.starts_with(key));
    let mut lines = ran.out.lines();
    assert_eq!(lines.next(), Some("0"), "{ran:?}");
    assert_eq!(lines.next(), Some("0 4"));
    for key in ["CapEff:", "NoNewPrivs:", "Seccomp:"] {
        assert_eq!(lines.next(), own(key));
    }
    assert_eq!(lines.next(), Some("0 1 2 3 "));
    for name in ["mnt", "net"] {
        let host = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        assert_eq!(lines.next(), host.to_str());
    }
    assert_eq!(lines.next(), Some("256"));
    assert_eq!(lines.next(), Some("0"));
    assert_eq!(lines.next(), Some("no home"));
    let ran = run_host(&host((0, 0), &[]), &["env"], None);
    assert_eq!(ran.out.lines().collect::<Vec<_>>(), ENV);
    let stat = std::fs::metadata(dir.0.join("file")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&stat), 5);
}

#[test]
fn another_user_may_what_it_may() {
    let script =
        "id -u; id -g; id -G; grep -E '^Cap(Inh|Prm|Eff|Amb)' /proc/self/status; touch /root/x";
    let ran = run_host(&host((33, 34), &[4, 7]), &["sh", "-c", script], None);
    let zeros = "0000000000000000";
    let want = format!(
        "33\n34\n34 4 7\nCapInh:\t{zeros}\nCapPrm:\t{zeros}\nCapEff:\t{zeros}\nCapAmb:\t{zeros}\n"
    );
    assert_eq!(ran.out, want, "{ran:?}");
    assert!(ran.err.contains("Permission denied"), "{ran:?}");
}

/// It is among the host's processes: a root change signals a daemon by the pid in its file.
#[test]
fn s12_its_pids_are_the_hosts() {
    let mut daemon = std::process::Command::new("sleep")
        .arg("300")
        .spawn()
        .unwrap();
    let script = format!("readlink /proc/self/ns/pid; kill -TERM {}", daemon.id());
    let ran = run_host(&host((0, 0), &[]), &["sh", "-c", &script], None);
    let host = std::fs::read_link("/proc/self/ns/pid").unwrap();
    assert_eq!(ran.out.lines().next(), host.to_str(), "{ran:?}");
    assert_eq!(ran.code(), Some(0), "{ran:?}");
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(daemon.wait().unwrap().signal(), Some(libc::SIGTERM));
}

#[test]
fn host_base_needs_cgroup_and_has_no_layers() {
    let (fixture, sandbox, uid) = (fixture(), host((0, 0), &[]), uid());
    let error = without_cgroup(&sandbox, &fixture, uid).unwrap_err();
    assert!(error.to_string().contains("needs a cgroup"), "{error}");
    let error = self_test(&sandbox, fixture.cgroup().fd(), (uid, uid)).unwrap_err();
    assert!(error.to_string().contains("no sandbox layers"), "{error}");
    end(fixture);
}

#[test]
fn program_changeable_by_others_is_not_executed() {
    use std::os::unix::fs::PermissionsExt;
    let dir = HostDir::new();
    let open = dir.file("open", 0o777, "#!/bin/sh\n");
    let mine = dir.file("mine", 0o755, "#!/bin/sh\n");
    let foreign = dir.file("foreign", 0o755, "#!/bin/sh\n");
    std::os::unix::fs::chown(&foreign, Some(5), None).unwrap();
    let sandbox = host((0, 0), &[]);
    for (program, trusted) in [(&open, false), (&foreign, false), (&mine, true)] {
        let ran = run_host(&sandbox, &[program], None);
        let refused = matches!(
            ran.progress,
            Progress::Failed {
                step: Step::Exec,
                why: Why::Untrusted,
                ..
            }
        );
        assert_eq!(refused, !trusted, "{program}: {ran:?}");
    }
    let wide = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(&dir.0, wide).unwrap();
    let ran = run_host(&sandbox, &[&mine], None);
    assert_eq!(ran.code(), Some(127), "{ran:?}");
}
