//! Tests of the sandbox on the real kernel, as root.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;
mod endings;
mod facilities;
mod host {
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
                Progress::Failed(
                    StepFailure {
                        step: Step::Exec,
                        why: Why::Untrusted,
                        ..
                    },
                    _
                )
            );
            assert_eq!(refused, !trusted, "{program}: {ran:?}");
        }
        let wide = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(&dir.0, wide).unwrap();
        let ran = run_host(&sandbox, &[&mine], None);
        assert_eq!(ran.code(), Some(127), "{ran:?}");
    }
}
mod identity {
    //! A job's identity, as the job itself sees it.

    use super::common::*;
    use remit_confine::*;
    use std::collections::HashMap;

    fn status(text: &str) -> HashMap<&str, &str> {
        text.lines().filter_map(|l| l.split_once(":\t")).collect()
    }

    #[test]
    fn kernel_reports_job_identity() {
        let uid = uid();
        let ran = run(
            &["cat", "/proc/self/status"],
            &With {
                uid: Some(uid),
                ..With::default()
            },
        );
        let status = status(&ran.out);
        let four = format!("{uid}\t{uid}\t{uid}\t{uid}");
        for (key, want) in [
            ("Uid", four.as_str()),
            ("Gid", four.as_str()),
            ("CapInh", "0000000000000000"),
            ("CapPrm", "0000000000000000"),
            ("CapEff", "0000000000000000"),
            ("CapBnd", "0000000000000000"),
            ("CapAmb", "0000000000000000"),
            ("NoNewPrivs", "1"),
            ("Seccomp", "2"),
            ("Seccomp_filters", "2"),
            ("SigBlk", "0000000000000000"),
            ("SigIgn", "0000000000000000"),
            ("Umask", "0022"),
        ] {
            assert_eq!(status.get(key), Some(&want), "{key}");
        }
        assert_eq!(status["Groups"].trim(), "4");
        assert_eq!(
            status["NSpid"].split_whitespace().count(),
            1,
            "the host's pid namespace"
        );
    }

    #[test]
    fn job_has_own_session_and_default_attributes() {
        let ran = run(&["cat", "/proc/self/stat"], &With::default());
        let fields: Vec<&str> = ran.out.rsplit_once(") ").unwrap().1.split(' ').collect();
        let pid = ran.out.split(' ').next().unwrap();
        let (session, tty, nice) = (fields[3], fields[4], fields[16]);
        assert_eq!((session, tty, nice), (pid, "0", "0"));
        assert_eq!(sh("cat /proc/self/oom_score_adj").out, "1000\n");
    }

    #[test]
    fn the_login_uid_is_the_requesters() {
        if !has("audit", probe().unwrap().loginuid) {
            return;
        }
        let ran = run(
            &["cat", "/proc/self/loginuid"],
            &With {
                loginuid: Some(4242),
                ..With::default()
            },
        );
        assert_eq!(ran.out, "4242");
        assert_ne!(
            run(&["cat", "/proc/self/loginuid"], &With::default()).out,
            "4242"
        );
    }

    #[test]
    fn keys_of_the_daemon_are_not_the_jobs() {
        if !has("keyrings", probe().unwrap().keyrings) {
            return;
        }
        let ran = sh("cat /proc/keys");
        // A uid that owns no keyring sees only possessed ones: the new, anonymous one.
        let rings = ran.out.lines().filter(|l| l.contains("keyring")).count();
        assert!(ran.out.contains("_ses"), "{}", ran.out);
        assert_eq!(rings, 1, "{}", ran.out);
    }

    #[cfg(feature = "mutate")]
    #[test]
    fn without_layer_job_has_no_own_keyring() {
        let kernel = probe().unwrap();
        if !has("keyrings", kernel.keyrings) {
            return;
        }
        let fixture = fixture();
        let sandbox = read_without(&profile(), &kernel, Layer::Keyring).unwrap();
        let ran = run_in(&sandbox, &fixture, &["cat", "/proc/keys"], &With::default());
        let Progress::Executed(done) = &ran.progress else {
            panic!("{ran:?}")
        };
        assert!(!done.contains(&Step::Keyring));
        let own = ran
            .out
            .lines()
            .filter(|l| l.contains("keyring") && l.contains(" _ses"))
            .count();
        assert_eq!(own, 0, "{}", ran.out);
        end(fixture);
    }

    #[test]
    fn host_processes_cannot_be_signalled_or_read() {
        let me = std::process::id();
        let ran = sh(&format!(
            "kill -0 {me}; echo $?; cat /proc/{me}/environ; ls /proc/{me}/root; kill -9 -1; echo $?"
        ));
        // kill -1 reaches only the job itself, and the shell survives it.
        assert!(ran.out.starts_with("1\n"), "{ran:?}");
        assert!(
            ran.err.contains("Operation not permitted") && ran.err.contains("Permission denied"),
            "{ran:?}"
        );
        // The host's processes are visible, so ps is right.
        assert!(sh("ls /proc").out.lines().any(|l| l == me.to_string()));
    }
}
mod inspect;
mod measured;
mod mounts;
mod network;
mod read_extras;
mod spawn;
mod staged;
mod strict;
mod strict_ends;
mod view;
mod view_emptied;
mod view_eyes;
mod view_laid;
mod view_machine;
mod view_mounts;
mod view_secrets;
mod view_watched;
mod witness;
