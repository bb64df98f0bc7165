//! Custom profiles: each permits what it lists, and nothing else.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use remit_common::refusal::Code;
use remit_tests::caller::{argv, change, named, stdout};
use remit_tests::daemon::{Daemon, user_a};
use remit_tests::process::Identity;
use remit_wire::outcome::{JobReport, State};
use remit_wire::{Purpose, Run};

use super::scene::{FILE, GRANTS, asked, exit, reload, with};

fn files(daemon: &Daemon) -> PathBuf {
    let files_dir = daemon.path().join("files");
    for name in ["", "box", "other"] {
        fs::create_dir_all(files_dir.join(name)).expect("the directory is writable");
        fs::set_permissions(files_dir.join(name), fs::Permissions::from_mode(0o777))
            .expect("it is ours");
    }
    files_dir
}

fn policy(profile: &str, effect: &str, script: &str) -> String {
    format!(
        "[[command]]\nname = \"a.b\"\nsummary = \"a script\"\nargv = [\"/usr/bin/bash\", \"-c\", '''{script}''']\n\
         effect = \"{effect}\"\nprofile = \"p\"\n\n[profile.p]\n{profile}\n{GRANTS}"
    )
}

fn does(daemon: &Daemon, profile: &str, script: &str) -> JobReport {
    daemon.set_file(FILE, &policy(profile, "change", script));
    let _ = reload(daemon).unwrap_or_else(|why| panic!("{profile}: {why}"));
    asked(daemon, &user_a(), change("a.b", &[])).unwrap_or_else(|why| panic!("{profile}: {why}"))
}

fn alone(script: &str) -> String {
    let output = Command::new("bash")
        .args(["-c", script])
        .output()
        .expect("bash starts");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn only_listed_paths_are_writable() {
    let daemon = with("");
    let files_dir = files(&daemon);
    let dir = files_dir.display();
    let script = format!("echo in >{dir}/box/file; echo out >{dir}/other/file; echo done");
    for base in ["read", "strict"] {
        for user in ["", "user = \"root\"\n"] {
            if base == "read" && !user.is_empty() {
                continue;
            }
            for name in ["box/file", "other/file"] {
                let _ = fs::remove_file(files_dir.join(name));
            }
            assert_eq!(alone(&script), "done\n");
            assert!(
                files_dir.join("other/file").exists(),
                "without remit both are written"
            );
            for name in ["box/file", "other/file"] {
                fs::remove_file(files_dir.join(name)).expect("it is ours");
            }
            let profile =
                format!("base = \"{base}\"\n{user}write = [\"{dir}/box\"]\nleads_to_root = true");
            let report = does(&daemon, &profile, &script);
            assert_eq!(stdout(&report), "done\n", "{profile}: {report:?}");
            let written = fs::metadata(files_dir.join("box/file")).expect("it is written");
            let root = written.uid() == 0;
            assert_eq!(root, !user.is_empty(), "{profile}");
            assert!(!files_dir.join("other/file").exists(), "{profile}");
        }
    }
    let script = format!(
        "cp /usr/bin/true {dir}/box/true; chmod 755 {dir}/box/true; {dir}/box/true && echo ran"
    );
    assert_eq!(alone(&script), "ran\n");
    let _ = fs::remove_file(files_dir.join("box/true"));
    let report = does(
        &daemon,
        &format!("base = \"strict\"\nwrite = [\"{dir}/box\"]\nleads_to_root = true"),
        &script,
    );
    assert_eq!(stdout(&report), "", "{report:?}");
    assert!(files_dir.join("box/true").exists());
    let both = format!(
        "base = \"strict\"\nwrite = [\"{dir}/box\"]\nexec = [\"{dir}/box\"]\nwrite_and_exec = true\nleads_to_root = true"
    );
    let _ = fs::remove_file(files_dir.join("box/true"));
    assert_eq!(stdout(&does(&daemon, &both, &script)), "ran\n");
    daemon.is_well();
    daemon.stop();
}

#[test]
fn user_groups_and_environment_come_from_profile() {
    let daemon = with("");
    let profile =
        "base = \"strict\"\nuser = \"daemon\"\ngroups = [\"adm\"]\nenv = { COLOUR = \"blue\" }";
    let report = does(
        &daemon,
        profile,
        "id -u; id -g; id -G; echo $COLOUR; env | grep -c LD_",
    );
    assert_eq!(stdout(&report), "1\n1\n1 4\nblue\n0\n", "{report:?}");
    let enforced = report.enforced.expect("it ran");
    assert_eq!((enforced.profile.as_str(), enforced.uid), ("p", 1));
    let own = does(&daemon, "base = \"strict\"", "id -u; id -G | wc -w");
    let uid: u32 = stdout(&own)
        .lines()
        .next()
        .and_then(|line| line.parse().ok())
        .expect("a number");
    assert!(uid > 1_000_000, "{own:?}");
    daemon.stop();
}

#[test]
fn network_rule_reaches_only_its_destination() {
    let daemon = with("");
    let listen = || {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback interface is up");
        let port = listener.local_addr().expect("it is bound").port();
        (listener, port)
    };
    let ((here, here_port), (there, there_port)) = (listen(), listen());
    let greets = |listener: TcpListener| {
        let count = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
        let counted = std::sync::Arc::clone(&count);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                let _ = stream.and_then(|mut stream| stream.write_all(b"hello\n"));
            }
        });
        count
    };
    let (here, there) = (greets(here), greets(there));
    let heard =
        |count: &std::sync::atomic::AtomicU32| count.load(std::sync::atomic::Ordering::SeqCst);
    let script = format!(
        "for port in {here_port} {there_port}; do (exec 3<>/dev/tcp/127.0.0.1/$port && cat <&3) 2>/dev/null; done; echo done"
    );
    assert_eq!(alone(&script), "hello\nhello\ndone\n");
    assert_eq!((heard(&here), heard(&there)), (1, 1));
    let rule = format!("network = [\"127.0.0.1:{here_port}\"]");
    for (network, expected) in [
        (rule.as_str(), "hello\ndone\n"),
        ("network = \"none\"", "done\n"),
        ("network = \"loopback\"", "done\n"),
        ("network = \"host\"", "hello\nhello\ndone\n"),
    ] {
        for user in ["", "user = \"root\"\n"] {
            let report = does(
                &daemon,
                &format!("base = \"strict\"\n{user}{network}"),
                &script,
            );
            assert_eq!(stdout(&report), expected, "{network} {user}: {report:?}");
        }
    }
    // Once without a sandbox, then twice for each permitted row.
    assert_eq!((heard(&here), heard(&there)), (1 + 2 + 2, 1 + 2));
    let report = does(&daemon, "base = \"read\"\nnetwork = \"host\"", &script);
    assert_eq!(stdout(&report), "hello\nhello\ndone\n", "{report:?}");
    daemon.is_well();
    daemon.stop();
}

#[test]
fn only_listed_socket_is_connectable() {
    let daemon = with("");
    let files_dir = files(&daemon);
    let dir = files_dir.display();
    let listen = |name: &str| {
        let path = files_dir.join(name);
        let listener = UnixListener::bind(&path).expect("the directory is writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).expect("it is ours");
        listener.set_nonblocking(true).expect("it is a socket");
        listener
    };
    let (listed, other) = (listen("listed"), listen("other-socket"));
    let script = format!(
        "for name in listed other-socket; do curl --silent --max-time 1 --unix-socket {dir}/$name http://x/; done; echo done"
    );
    let _ = alone(&script);
    assert!(
        listed.accept().is_ok() && other.accept().is_ok(),
        "without remit it connects to both"
    );
    let profile = format!("base = \"strict\"\nsockets = [\"{dir}/listed\"]\nleads_to_root = true");
    let report = does(&daemon, &profile, &script);
    assert_eq!(stdout(&report), "done\n", "{report:?}");
    assert!(listed.accept().is_ok(), "{report:?}");
    assert!(other.accept().is_err(), "{report:?}");
    daemon.stop();
}

#[test]
fn read_search_capability_reads_all_and_changes_nothing() {
    let daemon = with("");
    let policy = "[profile.eyes]\nbase = \"read\"\ncapabilities = [\"CAP_DAC_READ_SEARCH\"]\n\
                  [[grant]]\nto = [\"#64001\"]\nallow = [\"run\"]\nrun_profile = \"eyes\"\n\
                  [[grant]]\nto = [\"#0\", \"#64002\"]\nallow = [\"run\"]\n";
    daemon.set_file(FILE, policy);
    let _ = reload(&daemon).unwrap_or_else(|why| panic!("{why}"));
    let read_all = |words: &[&str]| Run {
        profile: Some("eyes".into()),
        ..argv(words)
    };
    let seen = asked(
        &daemon,
        &user_a(),
        read_all(&["head", "-c", "5", "/etc/shadow"]),
    )
    .expect("it is granted");
    assert_eq!(stdout(&seen), "root:", "{seen:?}");
    let files_dir = files(&daemon);
    let file = files_dir.join("other/file").display().to_string();
    let touched = asked(&daemon, &user_a(), read_all(&["touch", &file])).expect("it is granted");
    assert_ne!(exit(&touched), Some(0), "{touched:?}");
    assert!(!Path::new(&file).exists());
    let refusal = asked(&daemon, &user_a(), argv(&["true"])).expect_err("read is not granted");
    assert_eq!(refusal.code, Code::DeniedRule, "{refusal}");
    let plain = asked(
        &daemon,
        &remit_tests::daemon::user_b(),
        argv(&["cat", "/etc/shadow"]),
    )
    .expect("it is granted");
    assert_ne!(exit(&plain), Some(0), "{plain:?}");
    daemon.is_well();
    daemon.stop();
}

#[test]
fn unconfined_profile_changes_host() {
    let daemon = with("");
    let files_dir = files(&daemon);
    let file = files_dir.join("other/file");
    let command = format!(
        "[[command]]\nname = \"a.b\"\nsummary = \"touches\"\nargv = [\"/usr/bin/touch\", \"{}\"]\neffect = \"change\"\n\
         profile = \"host\"\n[[grant]]\nto = [\"#0\", \"#64002\"]\nallow = [\"run\"]\n",
        file.display()
    );
    let grant = "[[grant]]\nto = [\"#64001\"]\nallow = [\"a.b\"]\n";
    daemon.set_file(FILE, &format!("{command}{grant}"));
    let refusal = reload(&daemon).expect_err("it does not say that it is meant");
    assert!(refusal.message.contains("without sandbox"), "{refusal}");
    daemon.set_file(FILE, &format!("{command}{grant}unconfined = true\n"));
    let _ = reload(&daemon).unwrap_or_else(|why| panic!("{why}"));
    let report = asked(&daemon, &user_a(), change("a.b", &[])).expect("it is granted");
    assert_eq!(exit(&report), Some(0), "{report:?}");
    assert_eq!(fs::metadata(&file).expect("it was touched").uid(), 0);
    let enforced = report.enforced.expect("it ran");
    assert!(
        format!("{enforced:?}").contains("none (host)"),
        "{enforced:?}"
    );
    let tried = asked(&daemon, &user_a(), named("a.b", &[])).expect_err("it is a change");
    assert_eq!(tried.code, Code::InvalidArgs, "{tried}");
    daemon.is_well();
    daemon.stop();
}

#[test]
fn missing_path_is_reported_unless_optional() {
    let daemon = with("");
    let missing = "base = \"strict\"\nread = [\"/srv/no-such-directory-here\"]";
    let refused = {
        daemon.set_file(FILE, &policy(missing, "change", "true"));
        let _ = reload(&daemon).unwrap_or_else(|why| panic!("{why}"));
        asked(&daemon, &user_a(), change("a.b", &[]))
    };
    let said = match refused {
        Err(refusal) => format!("{refusal:?}"),
        Ok(report) => {
            assert_eq!(report.state, State::NotStarted, "{report:?}");
            format!("{report:?}")
        }
    };
    assert!(said.contains("/srv/no-such-directory-here"), "{said}");
    let optional = missing.replace("\"/srv", "\"-/srv");
    assert_eq!(exit(&does(&daemon, &optional, "true")), Some(0));
    daemon.is_well();
    daemon.stop();
}

#[test]
fn program_changeable_by_others_is_not_executed() {
    let daemon = with("");
    let files_dir = files(&daemon);
    let tool = files_dir.join("tools/tool");
    fs::create_dir(files_dir.join("tools")).expect("it is ours");
    fs::write(&tool, "#!/bin/sh\necho ran\n").expect("it is ours");
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let command = format!(
        "[[command]]\nname = \"a.b\"\nsummary = \"a tool\"\nargv = [\"{}\"]\neffect = \"read\"\nprofile = \"p\"\n\
         [profile.p]\nbase = \"strict\"\nuser = \"root\"\nexec = [\"{}\"]\n{GRANTS}",
        tool.display(),
        files_dir.join("tools").display()
    );
    daemon.set_file(FILE, &command);
    let refusal = reload(&daemon).expect_err("others can change it");
    assert!(refusal.message.contains("tool"), "{refusal}");
    fs::set_permissions(&files_dir, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let _ = reload(&daemon).unwrap_or_else(|why| panic!("{why}"));
    let report = asked(&daemon, &user_a(), named("a.b", &[])).expect("it is granted");
    assert_eq!(stdout(&report), "ran\n", "{report:?}");
    // Other users may change it now. It is checked again in the sandbox, at its exec.
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o777)).expect("it is ours");
    let report = asked(&daemon, &user_a(), named("a.b", &[])).expect("it is granted");
    assert_eq!(
        (report.state, stdout(&report).as_str()),
        (State::NotStarted, ""),
        "{report:?}"
    );
    daemon.is_well();
    daemon.stop();
}

#[test]
fn try_by_root_in_writable_profile_records_change() {
    let daemon = with("");
    let box_ = files(&daemon).join("box");
    let profile = format!(
        "base = \"strict\"\nwrite = [\"{}\"]\nleads_to_root = true",
        box_.display()
    );
    daemon.set_file(FILE, &policy(&profile, "change", "true"));
    let _ = reload(&daemon).expect("it loads");
    let root = Identity::new(0, &[0]);
    let tried = |profile: &str, effect: &str| {
        let run = Run {
            purpose: Purpose::Try,
            profile: Some(profile.into()),
            ..argv(&["/usr/bin/touch", &format!("{}/tried", box_.display())])
        };
        let _ = asked(&daemon, &root, run).expect("root may try");
        for event in ["intent", "end"] {
            let records = daemon.records(event);
            let last = records.last().expect("it is recorded");
            assert_eq!(last["REMIT_EFFECT"], effect, "{profile} {last}");
        }
    };
    tried("strict", "read");
    tried("p", "change");
    assert!(box_.join("tried").exists());
    daemon.stop();
}
