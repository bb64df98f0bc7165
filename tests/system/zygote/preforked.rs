//! Strict jobs, whose namespaces, root and helper processes are made in advance.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use remit_common::admin::{AdminReply, AdminRequest};
use remit_tests::caller::{Caller, argv, at_once, change, script, stdout};
use remit_tests::daemon::{Daemon, Options, admin, user_a, user_b};
use remit_tests::process::{Process, descendants};
use remit_tests::test_dir::TestDir;
use remit_wire::outcome::{JobReport, State};

use super::{
    OWN_NAMESPACES, READ, STARTED, STRICT, filters, kill_waiting, of_jobs, preforked, same, signal,
    strict, until, within, zygote_for, zygotes,
};

fn showing(path: &str) -> Options {
    site(&format!("base = \"strict\"\nread = [\"{path}\"]"))
}

fn site(lines: &str) -> Options {
    let options = strict();
    let site = format!(
        "[profile.site]\n{lines}\n\n[[grant]]\nname = \"site\"\n\
         to = [\"#64001\", \"#64002\"]\nallow = [\"run\"]\nrun_profile = \"site\"\napproval = \"none\"\n"
    );
    Options {
        policy: format!("{}\n{site}", options.policy),
        ..options
    }
}

fn reads(caller: &mut Caller, file: &Path) -> (String, bool) {
    let text = format!("cat {} 2>&1; {STARTED}", file.display());
    let run = within("site", script(&text));
    let (is_preforked, report) = preforked(|| caller.run(run).expect("user A may run"));
    let text = stdout(&report);
    let first = text.lines().next().unwrap_or_default().to_owned();
    (first, is_preforked)
}

fn made(dir: &Path, text: &str) {
    fs::create_dir_all(dir).expect("the directory is writable");
    fs::write(dir.join("file"), format!("{text}\n")).expect("the directory is writable");
}

/// A root built in advance equals one built now, even if the shown paths were replaced meanwhile.
#[test]
fn preforked_job_sees_current_paths() {
    let test_dir = TestDir::new();
    let dir = test_dir.directory("files");
    let (shown, moved) = (dir.join("shown"), dir.join("moved"));
    made(&shown, "first");
    let daemon = Daemon::start(showing(&shown.display().to_string()));
    let mut caller = Caller::new(&daemon, &user_a());
    let file = shown.join("file");
    // Every job reads this text; repeats until a pre-forked one has.
    let mut all_read = |expected: &str| {
        let found = until(|| {
            let (text, is_preforked) = reads(&mut caller, &file);
            assert_eq!(text, expected);
            is_preforked.then_some(())
        });
        assert!(found.is_some(), "no such job is pre-forked");
    };
    let inside = |command: &str| inside(&daemon, command);
    all_read("first");
    for round in 0..5 {
        fs::rename(&shown, &moved).expect("the directory is writable");
        made(&shown, &format!("round {round}"));
        all_read(&format!("round {round}"));
        inside(&format!(
            "mount -t tmpfs none {0} && echo mounted > {0}/file",
            shown.display()
        ));
        all_read("mounted");
        inside(&format!("umount {}", shown.display()));
        all_read(&format!("round {round}"));
        fs::remove_dir_all(&moved).expect("the directory is writable");
    }
    fs::rename(&shown, &moved).expect("the directory is writable");
    let report = caller
        .run(within("site", argv(&["true"])))
        .expect("user A may run");
    let cause = report.ending.expect("it has ended").cause;
    assert!(cause.contains(&shown.display().to_string()), "{cause}");
    daemon.stop();
}

fn inside(daemon: &Daemon, command: &str) {
    let pid = daemon.pid().to_string();
    let status = Command::new("nsenter")
        .args(["--mount", "--target", &pid, "sh", "-c", command])
        .status();
    assert!(status.is_ok_and(|status| status.success()), "{command}");
}

/// The directory is mounted differently: the job must see mount options that no profile names, such as the file
/// owner (an idmapped mount) or noatime.
#[test]
fn preforked_job_sees_current_mounts() {
    let test_dir = TestDir::new();
    let dir = test_dir.directory("files");
    let dir = dir.display();
    let daemon = Daemon::start(showing(&dir.to_string()));
    let mut caller = Caller::new(&daemon, &user_a());
    let text = format!("grep ' {dir} ' /proc/self/mountinfo; {STARTED}");
    let mut noatime = || {
        let run = within("site", script(&text));
        let (is_preforked, report) = preforked(|| caller.run(run).expect("user A may run"));
        let text = stdout(&report);
        let mount = text.lines().next().unwrap_or_default();
        assert!(mount.contains("nosuid"), "{text}");
        (mount.contains("noatime"), is_preforked)
    };
    assert!(until(|| (noatime() == (false, true)).then_some(())).is_some());
    for _ in 0..3 {
        for (command, want) in [
            (format!("mount --bind -o noatime {dir} {dir}"), true),
            (format!("mount -o remount,bind,atime,relatime {dir}"), false),
            (format!("mount -o remount,bind,noatime {dir}"), true),
            (format!("umount {dir}"), false),
        ] {
            inside(&daemon, &command);
            let found = until(|| {
                let (is, is_preforked) = noatime();
                assert_eq!(is, want, "{command}");
                is_preforked.then_some(())
            });
            assert!(found.is_some(), "{command}: none is pre-forked");
        }
    }
    daemon.stop();
}

#[test]
fn job_of_any_profile_is_same_preforked_or_not() {
    let group = "groups = [\"daemon\"]";
    for lines in [
        "user = \"root\"".to_owned(),
        "user = \"root\"\ncapabilities = [\"CAP_DAC_OVERRIDE\", \"CAP_KILL\"]".to_owned(),
        format!("user = \"daemon\"\n{group}"),
        format!("{group}\ncapabilities = [\"CAP_NET_ADMIN\"]\nnetwork = \"loopback\""),
        "network = \"host\"\nscratch = [\"/srv/own\"]".to_owned(),
        "limits = { tasks = 6, memory = \"32M\", tmp = \"1M\", open_files = 40 }".to_owned(),
    ] {
        let test_dir = TestDir::new();
        let dir = test_dir.directory("files");
        fs::write(dir.join("view"), super::VIEW).expect("the directory is writable");
        let dir = dir.display();
        let site = format!(
            "[profile.site]\nbase = \"strict\"\nread = [\"{dir}\"]\n{lines}\n\n\
             [[command]]\nname = \"site.view\"\nsummary = \"looks\"\n\
             argv = [\"/bin/sh\", \"{dir}/view\"]\neffect = \"change\"\nprofile = \"site\"\n\n\
             [[grant]]\nname = \"site\"\nto = [\"#64001\"]\nallow = [\"site.view\"]\napproval = \"none\"\n"
        );
        let options = strict();
        let daemon = Daemon::start(Options {
            policy: format!("{}\n{site}", options.policy),
            ..options
        });
        let mut caller = Caller::new(&daemon, &user_a());
        let first = caller.run(change("site.view", &[])).expect("user A may");
        let limits = first.enforced.map(|enforced| enforced.limits);
        // Without a controller that counts the job's tasks, a pre-forked child counts those of its user.
        let counts = limits
            .unwrap_or_default()
            .iter()
            .any(|limit| limit.contains("more than its user had"));
        let mut by = |want: bool| {
            let found = until(|| {
                if !want {
                    kill_waiting(&daemon);
                }
                let ask = || caller.run(change("site.view", &[])).expect("user A may");
                let (is, report) = preforked(ask);
                assert!(report.enforced.is_some(), "{lines}: {report:?}");
                (is == want).then_some(report)
            });
            found.unwrap_or_else(|| panic!("{lines}: none is {want}"))
        };
        if counts {
            by(false);
            daemon.stop();
            continue;
        }
        let by_waiting = by(true);
        let by_fresh = by(false);
        let hosts = usize::from(lines.contains("\"host\""));
        let own = &OWN_NAMESPACES[..OWN_NAMESPACES.len() - hosts];
        same(&by_waiting, &by_fresh, own);
        daemon.stop();
    }
}

/// A child whose root cannot be built exits before it gets a job, and is reaped.
#[test]
fn nothing_is_left_of_what_cannot_wait() {
    let test_dir = TestDir::new();
    let dir = test_dir.directory("files");
    let dir = dir.display();
    // The host's directory covers it and does not contain `none`.
    let daemon = Daemon::start(site(&format!(
        "base = \"strict\"\nread = [\"{dir}\"]\nscratch = [\"{dir}/none\"]"
    )));
    let mut caller = Caller::new(&daemon, &user_a());
    for _ in 0..6 {
        let report = caller
            .run(within("site", argv(&["true"])))
            .expect("user A may run");
        let cause = report.ending.expect("it has ended").cause;
        assert!(cause.contains("none"), "{cause}");
    }
    // The newest may still be exiting.
    let dead = || {
        let all = descendants(daemon.pid()).into_iter();
        let dead: Vec<_> = all
            .filter(|it| it.state == 'Z' && it.parent == daemon.pid())
            .collect();
        dead
    };
    let reaped = until(|| (dead().len() <= 1).then_some(()));
    assert!(reaped.is_some(), "{:?}", dead());
    daemon.stop();
}

/// A zygote that is dead or hangs is given up, like one that forks jobs on demand. No job waits for it twice, and
/// another one replaces it later.
#[test]
fn unusable_zygote_is_abandoned() {
    for with in [Signal::SIGSTOP, Signal::SIGKILL] {
        let daemon = Daemon::start(strict());
        let before = zygote_for(&daemon, &[READ, STRICT]);
        let mut caller = Caller::new(&daemon, &user_a());
        let _ = all_waiting(&daemon);
        signal(before, with);
        // The first job gets the pre-forked child. The next asks the zygote without effect.
        for _ in 0..3 {
            let report = status(&mut caller, STRICT);
            assert_eq!(filters(&report), 2, "{report:?}");
        }
        let reaped = until(|| Process::of(before).is_none().then_some(()));
        assert!(reaped.is_some(), "{with}: it is asked again and again");
        daemon.is_well();
        daemon.stop();
    }
}

/// In the smallest uid range, the uid reserved for the next job is missing nowhere: the self-test runs while all
/// slots are taken, and an approval can wait while none is.
#[test]
fn preforked_children_take_no_uid_from_jobs() {
    let asking = "[[command]]\nname = \"site.change\"\nsummary = \"changes\"\nargv = [\"/usr/bin/true\"]\n\
                  effect = \"change\"\nprofile = \"strict\"\n\n[[grant]]\nname = \"asks\"\nto = [\"#64001\"]\n\
                  allow = [\"site.change\"]\napproval = { by = [\"#64005\"], expires = \"10min\" }\n";
    for slots in [1, 3] {
        let options = strict();
        let daemon = Daemon::start(Options {
            jobs: slots,
            policy: format!("{}\n{asking}", options.policy),
            ..options
        });
        let mut caller = Caller::new(&daemon, &user_a());
        let asked = caller.run(at_once(change("site.change", &[])));
        assert_eq!(
            asked.map(|report| report.state),
            Ok(State::AwaitingApproval)
        );
        for _ in 0..4 {
            assert_eq!(
                stdout(&status(&mut caller, STRICT)).lines().next(),
                Some("Name:\tcat")
            );
        }
        daemon.stop();

        let daemon = Daemon::start(Options {
            jobs: slots,
            ..strict()
        });
        let mut caller = Caller::new(&daemon, &user_a());
        let _ = zygote_for(&daemon, &[READ, STRICT]);
        let run = within(STRICT, at_once(argv(&["sleep", "60"])));
        let jobs: Vec<_> = (0..slots)
            .map(|_| caller.run(run.clone()).expect("there is a free slot").job)
            .collect();
        for _ in 0..2 {
            let tried = daemon.administers(&admin(), AdminRequest::Doctor);
            assert!(matches!(tried, Ok(AdminReply::Doctor(_))), "{tried:?}");
        }
        for job in jobs {
            let _ = caller.stop(job).expect("it is A's");
        }
        daemon.stop();
    }
}

/// A pre-forked child must not keep a file system busy, so none waits whose root shows another file system.
#[test]
fn no_preforked_root_keeps_disk_busy() {
    // Not on a disk, but not known as such either: neither the root's file system nor a tmpfs.
    let daemon = Daemon::start(showing("/sys/kernel/mm"));
    let mut caller = Caller::new(&daemon, &user_a());
    for _ in 0..10 {
        let run = within("site", script(STARTED));
        let (is_preforked, report) = preforked(|| caller.run(run).expect("user A may run"));
        assert!(!is_preforked, "{report:?}");
    }
    assert_eq!(waiting(&daemon), []);
    daemon.stop();
}

#[test]
fn alternating_profiles_both_get_preforked_children() {
    let daemon = Daemon::start(strict());
    let mut caller = Caller::new(&daemon, &user_a());
    for profile in [READ, STRICT, READ, STRICT, READ, STRICT] {
        let _ = status(&mut caller, profile);
        let _ = zygote_for(&daemon, &[READ, STRICT]);
    }
    for _ in 0..5 {
        let all = all_waiting(&daemon);
        let one = until(|| (of_jobs(&daemon).len() == all.len() + 1).then_some(()));
        assert!(one.is_some(), "{:?}", of_jobs(&daemon));
        let _ = status(&mut caller, READ);
        let (is_preforked, report) = preforked(|| status(&mut caller, STRICT));
        assert!(is_preforked, "{report:?}");
    }
    daemon.stop();
}

/// Pre-forked children that make way for other kinds leave no cgroup, no process, and no reserved uid.
#[test]
fn what_goes_unused_leaves_nothing() {
    let daemon = Daemon::start(site("base = \"strict\"\nread = [\"/usr/share\"]"));
    let mut caller = Caller::new(&daemon, &user_a());
    let base = daemon.status().cgroup.expect("there are cgroups");
    let own = |jobs: &mut Vec<String>| {
        let all = fs::read_dir(&base).expect("it is there");
        let names = all.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        jobs.extend(names.filter(|name| name.starts_with("remit-") && name != "remit-daemon"));
    };
    for _ in 0..12 {
        for profile in [READ, STRICT, "site"] {
            let _ = status(&mut caller, profile);
        }
    }
    let _ = daemon.administers(
        &admin(),
        AdminRequest::Lock {
            why: "test".into(),
            kill: false,
        },
    );
    let mut left = Vec::new();
    let none = until(|| {
        left.clear();
        own(&mut left);
        (left.is_empty() && of_jobs(&daemon).is_empty()).then_some(())
    });
    assert!(none.is_some(), "{left:?} {:?}", of_jobs(&daemon));
    assert!(!daemon.stderr().contains("cannot"), "{}", daemon.stderr());
    daemon.stop();
}

#[test]
fn lock_ends_preforked_children() {
    let daemon = Daemon::start(strict());
    let mut caller = Caller::new(&daemon, &user_a());
    for _ in 0..3 {
        let _ = zygote_for(&daemon, &[READ, STRICT]);
        for profile in [READ, STRICT, STRICT] {
            let _ = status(&mut caller, profile);
        }
        let there = until(|| (!of_jobs(&daemon).is_empty()).then_some(()));
        assert!(there.is_some(), "nothing is pre-forked");
        let lock = AdminRequest::Lock {
            why: "test".into(),
            kill: false,
        };
        let locked = daemon.administers(&admin(), lock);
        assert!(locked.is_ok(), "{locked:?}");
        let left = until(|| of_jobs(&daemon).is_empty().then_some(()));
        assert!(left.is_some(), "{:?}", of_jobs(&daemon));
        let unlocked = daemon.administers(&admin(), AdminRequest::Unlock);
        assert!(unlocked.is_ok(), "{unlocked:?}");
    }
    daemon.stop();
}

/// Returns monitor, init and job process of each pre-forked child.
fn waiting(daemon: &Daemon) -> Vec<Process> {
    let all = descendants(daemon.pid());
    let monitors = all.iter().filter(|process| process.name == "remit-monitor");
    let of = |monitor: &Process| {
        let children = all.iter().filter(|process| process.parent == monitor.pid);
        let children: Vec<Process> = children.cloned().collect();
        let waiting_child = children.iter().any(|child| child.name == "remit-zygote");
        waiting_child.then(|| [vec![monitor.clone()], children].concat())
    };
    monitors.filter_map(of).flatten().collect()
}

fn all_waiting(daemon: &Daemon) -> Vec<Process> {
    let there = until(|| {
        let all = waiting(daemon);
        (all.len() == 3).then_some(all)
    });
    there.expect("one is pre-forked")
}

fn status(caller: &mut Caller, profile: &str) -> JobReport {
    let text = format!("cat /proc/self/status; {STARTED}");
    let run = within(profile, script(&text));
    caller.run(run).expect("user A may run")
}

#[test]
fn call_runs_after_any_preforked_process_is_killed() {
    let daemon = Daemon::start(strict());
    let _ = zygote_for(&daemon, &[READ, STRICT]);
    let mut caller = Caller::new(&daemon, &user_a());
    for at in 0..3 {
        let all = all_waiting(&daemon);
        signal(all[at].pid, Signal::SIGKILL);
        let alive = |process: &Process| Process::of(process.pid).is_some_and(|it| it.state != 'Z');
        let ended = until(|| (!all.iter().any(alive)).then_some(()));
        assert!(ended.is_some(), "{at}: all end with one");
        let report = status(&mut caller, STRICT);
        assert_eq!(filters(&report), 2, "{at}: {report:?}");
        let again = until(|| preforked(|| status(&mut caller, STRICT)).0.then_some(()));
        assert!(again.is_some(), "{at}: none is pre-forked any more");
    }
    daemon.is_well();
    daemon.stop();
}

/// No job can reach a waiting process: it belongs to root or has a uid that no other job has.
#[test]
fn jobs_cannot_reach_preforked_processes() {
    let daemon = Daemon::start(strict());
    // By pids in the host's /proc, which only `read` jobs see, and by signals to everything they may signal.
    let reach = "until pgrep remit-monitor > /tmp/found; do :; done; sleep 1; kill -9 -1; for name in monitor init zygote watchdog; do for pid in $(pgrep remit-$name); do \
                 kill -9 $pid; cat /proc/$pid/environ /proc/$pid/maps; \
                 ls /proc/$pid/fd /proc/$pid/root/ /proc/$pid/ns/; echo 0 > /proc/$pid/oom_score_adj; \
                 done; done; echo end";
    let mut b = Caller::new(&daemon, &user_b());
    let reaching = b.run(at_once(script(reach))).expect("user B may run");
    let _ = zygote_for(&daemon, &[READ, STRICT]);
    let all = all_waiting(&daemon);
    let report = b.end_of(reaching.job);
    assert_eq!(stdout(&report), "end\n", "{report:?}");
    let same = |process: &Process| {
        Process::of(process.pid).is_some_and(|now| now.state != 'Z' && now.name == process.name)
    };
    assert!(all.iter().all(same), "{all:?}");
    let uids: Vec<u32> = all.iter().map(|process| process.uid).collect();
    let uid = report.enforced.expect("it ran").uid;
    assert!(!uids.contains(&uid) && uids.contains(&0), "{uids:?}");
    daemon.stop();
}

/// Callers alternate and overlap in both kinds of sandbox. Each job has its own layers, and nothing pre-forked
/// for the other kind.
#[test]
fn each_gets_the_sandbox_of_its_profile() {
    let daemon = Daemon::start(strict());
    let before = zygote_for(&daemon, &[READ, STRICT]);
    let text = "ls -A / | wc -l; readlink /proc/self/ns/net; cat /proc/self/cgroup; \
                ls /proc | grep -c '^[0-9]'";
    let host = fs::read_dir("/").expect("it is there").count();
    let mut callers = [user_a(), user_b()].map(|user| Caller::new(&daemon, &user));
    let pattern = [
        STRICT, STRICT, READ, READ, STRICT, READ, STRICT, STRICT, STRICT, READ,
    ];
    let mut networks = Vec::new();
    for (turn, profile) in pattern.into_iter().cycle().take(40).enumerate() {
        let report = callers[turn % 2]
            .run(within(profile, script(text)))
            .expect("both may run");
        let text = stdout(&report);
        let lines: Vec<&str> = text.lines().collect();
        let entries: usize = lines[0].parse().expect("a number");
        match profile {
            READ => assert_eq!(entries, host, "{text}"),
            _ => assert!(entries < host && lines.contains(&"0::/"), "{text}"),
        }
        if profile == STRICT {
            networks.push(lines[1].to_owned());
        }
        assert_eq!(report.enforced.expect("it ran").profile, profile);
    }
    assert!(zygotes(&daemon).contains(&before));
    let own = fs::read_link("/proc/self/ns/net").expect("it is there");
    assert!(
        !networks.contains(&own.display().to_string()),
        "{networks:?}"
    );
    daemon.stop();
}

#[test]
fn watchdog_end_is_noticed_with_preforked_children() {
    for profiles in [&[READ][..], &[READ, STRICT]] {
        let daemon = Daemon::start(strict());
        let _ = zygote_for(&daemon, profiles);
        let watchdog = || {
            let all = descendants(daemon.pid()).into_iter();
            let mut watchdogs = all.filter(|it| it.name == "remit-watchdog" && it.state != 'Z');
            watchdogs.next().map(|it| it.pid)
        };
        let before = watchdog().expect("there is one");
        let waiting_child = |it: &Process| it.name == "remit-zygote" && it.is_of_jobs();
        let waiting_child = until(|| descendants(daemon.pid()).into_iter().find(waiting_child));
        assert!(waiting_child.is_some(), "{profiles:?}: none is pre-forked");
        signal(before, Signal::SIGKILL);
        let other = until(|| watchdog().filter(|now| *now != before));
        assert!(
            other.is_some(),
            "{profiles:?}: it is not known to have ended"
        );
        daemon.stop();
    }
}

#[test]
fn preforked_processes_end_with_warden() {
    let mut daemon = Daemon::start(strict());
    for _ in 0..3 {
        let _ = zygote_for(&daemon, &[READ, STRICT]);
        let all = all_waiting(&daemon);
        signal(daemon.pid(), Signal::SIGKILL);
        let gone = until(|| {
            all.iter()
                .all(|it| {
                    Process::of(it.pid).is_none_or(|now| now.name != it.name || now.state == 'Z')
                })
                .then_some(())
        });
        assert!(gone.is_some(), "{all:?}");
        let _ = daemon.restart_insistently();
    }
    daemon.stop();
}
