//! Strict jobs, whose namespaces, root and attendants are made before there is the job.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use remit_common::admin::{AdminReply, AdminRequest};
use remit_common::outcome::{JobReport, State};
use remit_tests::caller::{Caller, argv, at_once, change, script, stdout};
use remit_tests::daemon::{Daemon, Options, admin, user_a, user_b};
use remit_tests::place::Place;
use remit_tests::process::{Process, descendants};

use super::{
    OWN_NAMESPACES, READ, STRICT, filters, of_jobs, same, signal, strict, until, within,
    zygote_for, zygotes,
};

/// A profile `site` that shows `path`, besides the two of [`strict`].
fn showing(path: &str) -> Options {
    site(&format!("base = \"strict\"\nread = [\"{path}\"]"))
}

/// A profile `site` of these lines, besides the two of [`strict`].
fn site(lines: &str) -> Options {
    let options = strict();
    let site = format!(
        "[profile.site]\n{lines}\n\n[[grant]]\nname = \"site\"\n\
         to = [\"#64001\", \"#64002\"]\nallow = [\"run\"]\nprofile = \"site\"\napproval = \"none\"\n"
    );
    Options {
        policy: format!("{}\n{site}", options.policy),
        ..options
    }
}

/// What a job in `site` reads there, and how many filters it was behind.
fn reads(caller: &mut Caller, file: &Path) -> (String, u32) {
    let text = format!("cat {} 2>&1; cat /proc/self/status", file.display());
    let report = caller
        .run(within("site", script(&text)))
        .expect("user A may run");
    let text = stdout(&report);
    let first = text.lines().next().unwrap_or_default().to_owned();
    (first, filters(&report))
}

fn made(dir: &Path, text: &str) {
    fs::create_dir_all(dir).expect("the place is ours");
    fs::write(dir.join("file"), format!("{text}\n")).expect("the place is ours");
}

/// A root that was built before is one that would be built now: whatever was put in the place of what it shows.
#[test]
fn a_job_is_shown_what_is_there_when_it_comes() {
    let place = Place::new();
    let dir = place.directory("files");
    let (shown, aside) = (dir.join("shown"), dir.join("aside"));
    made(&shown, "first");
    let daemon = Daemon::start(showing(&shown.display().to_string()));
    let mut caller = Caller::new(&daemon, &user_a());
    let file = shown.join("file");
    // Every job reads this, until one did that was made ahead.
    let mut all_read = |expected: &str| {
        let ahead = until(|| {
            let (text, filters) = reads(&mut caller, &file);
            assert_eq!(text, expected);
            (filters == 2).then_some(())
        });
        assert!(ahead.is_some(), "no such job is made ahead");
    };
    let inside = |command: &str| inside(&daemon, command);
    all_read("first");
    for round in 0..5 {
        // One waits, and the change comes.
        fs::rename(&shown, &aside).expect("the place is ours");
        made(&shown, &format!("round {round}"));
        all_read(&format!("round {round}"));
        inside(&format!(
            "mount -t tmpfs none {0} && echo mounted > {0}/file",
            shown.display()
        ));
        all_read("mounted");
        inside(&format!("umount {}", shown.display()));
        all_read(&format!("round {round}"));
        fs::remove_dir_all(&aside).expect("the place is ours");
    }
    // What is missing is told as it is without a zygote.
    fs::rename(&shown, &aside).expect("the place is ours");
    let report = caller
        .run(within("site", argv(&["true"])))
        .expect("user A may run");
    let cause = report.ending.expect("it has ended").cause;
    assert!(cause.contains(&shown.display().to_string()), "{cause}");
    daemon.stop();
}

/// Does something where the daemon has its mounts.
fn inside(daemon: &Daemon, command: &str) {
    let pid = daemon.pid().to_string();
    let status = Command::new("nsenter")
        .args(["--mount", "--target", &pid, "sh", "-c", command])
        .status();
    assert!(status.is_ok_and(|status| status.success()), "{command}");
}

/// The same directory, mounted otherwise: a copy of a mount has of it what no profile says, as whose its files are
/// (an idmapped mount), or whether a look at them is noted.
#[test]
fn a_job_has_mounts_as_they_are_when_it_comes() {
    let place = Place::new();
    let dir = place.directory("files");
    let dir = dir.display();
    let daemon = Daemon::start(showing(&dir.to_string()));
    let mut caller = Caller::new(&daemon, &user_a());
    let text = format!("grep ' {dir} ' /proc/self/mountinfo; cat /proc/self/status");
    let mut noatime = || {
        let run = within("site", script(&text));
        let report = caller.run(run).expect("user A may run");
        let text = stdout(&report);
        let mount = text.lines().next().unwrap_or_default();
        assert!(mount.contains("nosuid"), "{text}");
        (mount.contains("noatime"), filters(&report))
    };
    assert!(until(|| (noatime() == (false, 2)).then_some(())).is_some());
    for _ in 0..3 {
        // One waits, and the change comes.
        for (command, want) in [
            (format!("mount --bind -o noatime {dir} {dir}"), true),
            (format!("mount -o remount,bind,atime,relatime {dir}"), false),
            (format!("mount -o remount,bind,noatime {dir}"), true),
            (format!("umount {dir}"), false),
        ] {
            inside(&daemon, &command);
            let ahead = until(|| {
                let (is, filters) = noatime();
                assert_eq!(is, want, "{command}");
                (filters == 2).then_some(())
            });
            assert!(ahead.is_some(), "{command}: none is made ahead");
        }
    }
    daemon.stop();
}

/// Whoever a profile makes of its jobs, and whatever network it gives them: they are the same with a zygote and without.
#[test]
fn a_job_of_any_profile_is_what_it_would_be_without_a_zygote() {
    let group = "groups = [\"daemon\"]";
    for lines in [
        "user = \"root\"".to_owned(),
        "user = \"root\"\ncapabilities = [\"CAP_DAC_OVERRIDE\", \"CAP_KILL\"]".to_owned(),
        format!("user = \"daemon\"\n{group}"),
        format!("{group}\ncapabilities = [\"CAP_NET_ADMIN\"]\nnetwork = \"loopback\""),
        "network = \"host\"\nscratch = [\"/srv/own\"]".to_owned(),
        "limits = { tasks = 6, memory = \"32M\", tmp = \"1M\", open_files = 40 }".to_owned(),
    ] {
        let place = Place::new();
        let dir = place.directory("files");
        fs::write(dir.join("view"), super::VIEW).expect("the place is ours");
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
        let mut by = |many: u32| {
            let of = |report: &JobReport| {
                stdout(report).contains(&format!("Seccomp_filters:\t{many}\n"))
            };
            let found = until(|| {
                let report = caller.run(change("site.view", &[])).expect("user A may");
                assert!(report.enforced.is_some(), "{lines}: {report:?}");
                of(&report).then_some(report)
            });
            found.unwrap_or_else(|| panic!("{lines}: none behind {many} filters"))
        };
        let by_zygote = by(2);
        for zygote in zygotes(&daemon) {
            signal(zygote, Signal::SIGKILL);
        }
        let by_warden = by(1);
        let hosts = usize::from(lines.contains("\"host\""));
        let own = &OWN_NAMESPACES[..OWN_NAMESPACES.len() - hosts];
        same(&by_zygote, &by_warden, own);
        daemon.stop();
    }
}

/// One whose root cannot be built ends ahead of its job, and is reaped.
#[test]
fn nothing_is_left_of_what_cannot_wait() {
    let place = Place::new();
    let dir = place.directory("files");
    let dir = dir.display();
    // The host's directory lies above it, and does not have it.
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
    // The newest may be on its way.
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

/// One that is dead, or does not answer any more, is given up, as one that forks jobs when they come is: nobody
/// waits for it twice, and there is another one in its place some time.
#[test]
fn a_zygote_that_is_of_no_use_is_given_up() {
    for with in [Signal::SIGSTOP, Signal::SIGKILL] {
        let daemon = Daemon::start(strict());
        let before = zygote_for(&daemon, &[READ, STRICT]);
        let mut caller = Caller::new(&daemon, &user_a());
        let _ = all_waiting(&daemon);
        signal(before, with);
        // The first is what waits already, then one is asked for in vain.
        for _ in 0..3 {
            let report = status(&mut caller, STRICT);
            assert!(filters(&report) >= 1, "{report:?}");
        }
        let reaped = until(|| Process::of(before).is_none().then_some(()));
        assert!(reaped.is_some(), "{with}: it is asked again and again");
        daemon.is_well();
        daemon.stop();
    }
}

/// The uid of the next job is not missing elsewhere, in the smallest range: the walls are tried while all places are
/// taken, and somebody is asked while none is.
#[test]
fn what_is_ahead_takes_no_uid_from_others() {
    let asking = "[[command]]\nname = \"site.change\"\nsummary = \"changes\"\nargv = [\"/usr/bin/true\"]\n\
                  effect = \"change\"\nprofile = \"strict\"\n\n[[grant]]\nname = \"asks\"\nto = [\"#64001\"]\n\
                  allow = [\"site.change\"]\napproval = { by = [\"#64005\"], expires = \"10min\" }\n";
    for places in [1, 3] {
        let options = strict();
        let daemon = Daemon::start(Options {
            jobs: places,
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
            jobs: places,
            ..strict()
        });
        let mut caller = Caller::new(&daemon, &user_a());
        let _ = zygote_for(&daemon, &[READ, STRICT]);
        let run = within(STRICT, at_once(argv(&["sleep", "60"])));
        let jobs: Vec<_> = (0..places)
            .map(|_| caller.run(run.clone()).expect("there is a place").job)
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

/// What could be let go is kept by nobody: no root waits that shows a file system of its own.
#[test]
fn no_root_waits_that_would_keep_a_disk() {
    // On no disk, but none that says so: neither the root's nor a tmpfs.
    let daemon = Daemon::start(showing("/sys/kernel/mm"));
    let mut caller = Caller::new(&daemon, &user_a());
    for _ in 0..10 {
        let report = caller
            .run(within("site", argv(&["cat", "/proc/self/status"])))
            .expect("user A may run");
        assert_eq!(filters(&report), 1, "{report:?}");
    }
    assert_eq!(waiting(&daemon), []);
    daemon.stop();
}

/// Whoever takes turns in two profiles finds something ahead in both, and no more waits than may.
#[test]
fn turns_in_two_profiles_are_both_ahead() {
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
        assert_eq!(filters(&status(&mut caller, STRICT)), 2);
    }
    daemon.stop();
}

/// What has to go for jobs of other kinds leaves nothing: no cgroup, no process, no uid that nobody may have.
#[test]
fn what_goes_unused_leaves_nothing() {
    let daemon = Daemon::start(site("base = \"strict\"\nread = [\"/usr/share\"]"));
    let mut caller = Caller::new(&daemon, &user_a());
    let cgroup = match daemon.administers(&admin(), AdminRequest::Status) {
        Ok(AdminReply::Status(status)) => status.cgroup,
        other => panic!("{other:?}"),
    };
    let base = cgroup.expect("there are cgroups");
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

/// Where nothing may run, nothing waits to.
#[test]
fn a_lock_ends_what_waits() {
    let daemon = Daemon::start(strict());
    let mut caller = Caller::new(&daemon, &user_a());
    for _ in 0..3 {
        let _ = zygote_for(&daemon, &[READ, STRICT]);
        for profile in [READ, STRICT, STRICT] {
            let _ = status(&mut caller, profile);
        }
        let there = until(|| (!of_jobs(&daemon).is_empty()).then_some(()));
        assert!(there.is_some(), "nothing is made ahead");
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

/// Monitor, init and the job's process of what was made ahead.
fn waiting(daemon: &Daemon) -> Vec<Process> {
    let all = descendants(daemon.pid());
    let monitors = all.iter().filter(|process| process.name == "remit-monitor");
    let of = |monitor: &Process| {
        let children = all.iter().filter(|process| process.parent == monitor.pid);
        let children: Vec<Process> = children.cloned().collect();
        let waits = children.iter().any(|child| child.name == "remit-zygote");
        waits.then(|| [vec![monitor.clone()], children].concat())
    };
    monitors.filter_map(of).flatten().collect()
}

fn all_waiting(daemon: &Daemon) -> Vec<Process> {
    let there = until(|| {
        let all = waiting(daemon);
        (all.len() == 3).then_some(all)
    });
    there.expect("one is made ahead")
}

fn status(caller: &mut Caller, profile: &str) -> JobReport {
    let run = within(profile, argv(&["cat", "/proc/self/status"]));
    caller.run(run).expect("user A may run")
}

/// Whichever of its processes is killed while it waits, the call runs, once.
#[test]
fn a_call_runs_whichever_of_what_waits_was_killed() {
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
        assert!(filters(&report) >= 1, "{at}: {report:?}");
        let again = until(|| (filters(&status(&mut caller, STRICT)) == 2).then_some(()));
        assert!(again.is_some(), "{at}: none is made ahead any more");
    }
    daemon.is_well();
    daemon.stop();
}

/// No job reaches what waits: it is root's, or has a uid that no other job has.
#[test]
fn no_job_reaches_what_waits() {
    let daemon = Daemon::start(strict());
    // By its numbers in the host's /proc, which alone `read` jobs see, and all that they may signal.
    let reach = "until pgrep remit-monitor > /tmp/found; do :; done; sleep 1; kill -9 -1; for name in monitor init zygote keeper; do for pid in $(pgrep remit-$name); do \
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

/// Callers in both kinds of sandbox by turns and at once: each job has its own walls, and what was made ahead for the
/// other kind is no part of it.
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

/// The keeper's end is known at once, though something waits for a job: whoever comes next finds another.
#[test]
fn the_end_of_the_keeper_is_known_while_something_waits() {
    for profiles in [&[READ][..], &[READ, STRICT]] {
        let daemon = Daemon::start(strict());
        let _ = zygote_for(&daemon, profiles);
        let keeper = || {
            let all = descendants(daemon.pid()).into_iter();
            let mut keepers = all.filter(|it| it.name == "remit-keeper" && it.state != 'Z');
            keepers.next().map(|it| it.pid)
        };
        let before = keeper().expect("there is one");
        let waits = |it: &Process| it.name == "remit-zygote" && it.is_of_jobs();
        let waits = until(|| descendants(daemon.pid()).into_iter().find(waits));
        assert!(waits.is_some(), "{profiles:?}: none is made ahead");
        signal(before, Signal::SIGKILL);
        let other = until(|| keeper().filter(|now| *now != before));
        assert!(
            other.is_some(),
            "{profiles:?}: it is not known to have ended"
        );
        daemon.stop();
    }
}

/// Whatever waits ends with the warden, however that ends, and the next one goes on.
#[test]
fn nothing_waits_for_a_warden_that_is_dead() {
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
