//! Profiles of an administrator: what each gives, and that it gives nothing else.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use remit_common::outcome::{JobReport, State};
use remit_common::refusal::Code;
use remit_common::wire::{Purpose, Run};
use remit_tests::caller::{argv, change, named, stdout};
use remit_tests::daemon::{Daemon, user_a};
use remit_tests::process::Identity;

use super::scene::{FILE, GRANTS, asked, exit, reload, with};

/// A directory of files, which everybody may write.
fn files(daemon: &Daemon) -> PathBuf {
    let place = daemon.path().join("files");
    for name in ["", "box", "other"] {
        fs::create_dir_all(place.join(name)).expect("the place is ours");
        fs::set_permissions(place.join(name), fs::Permissions::from_mode(0o777))
            .expect("it is ours");
    }
    place
}

/// A command `a.b` that runs this script of ours in a profile of its own.
fn policy(profile: &str, effect: &str, script: &str) -> String {
    format!(
        "[[command]]\nname = \"a.b\"\nsummary = \"a script\"\nargv = [\"/usr/bin/bash\", \"-c\", '''{script}''']\n\
         effect = \"{effect}\"\nprofile = \"p\"\n\n[profile.p]\n{profile}\n{GRANTS}"
    )
}

/// Loads such a command and runs it.
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
fn what_is_listed_to_write_is_written_and_nothing_else() {
    let daemon = with("");
    let place = files(&daemon);
    let dir = place.display();
    let script = format!("echo in >{dir}/box/file; echo out >{dir}/other/file; echo done");
    for base in ["read", "strict"] {
        for user in ["", "user = \"root\"\n"] {
            if base == "read" && !user.is_empty() {
                continue;
            }
            for name in ["box/file", "other/file"] {
                let _ = fs::remove_file(place.join(name));
            }
            assert_eq!(alone(&script), "done\n");
            assert!(
                place.join("other/file").exists(),
                "without remit both are written"
            );
            for name in ["box/file", "other/file"] {
                fs::remove_file(place.join(name)).expect("it is ours");
            }
            let profile =
                format!("base = \"{base}\"\n{user}write = [\"{dir}/box\"]\nleads_to_root = true");
            let report = does(&daemon, &profile, &script);
            assert_eq!(stdout(&report), "done\n", "{profile}: {report:?}");
            let written = fs::metadata(place.join("box/file")).expect("it is written");
            let root = written.uid() == 0;
            assert_eq!(root, !user.is_empty(), "{profile}");
            assert!(!place.join("other/file").exists(), "{profile}");
        }
    }
    // What is written is not executed, whoever runs it.
    let script = format!(
        "cp /usr/bin/true {dir}/box/true; chmod 755 {dir}/box/true; {dir}/box/true && echo ran"
    );
    assert_eq!(alone(&script), "ran\n");
    let _ = fs::remove_file(place.join("box/true"));
    let report = does(
        &daemon,
        &format!("base = \"strict\"\nwrite = [\"{dir}/box\"]\nleads_to_root = true"),
        &script,
    );
    assert_eq!(stdout(&report), "", "{report:?}");
    assert!(place.join("box/true").exists());
    let both = format!(
        "base = \"strict\"\nwrite = [\"{dir}/box\"]\nexec = [\"{dir}/box\"]\nwrite_and_exec = true\nleads_to_root = true"
    );
    let _ = fs::remove_file(place.join("box/true"));
    assert_eq!(stdout(&does(&daemon, &both, &script)), "ran\n");
    daemon.is_well();
    daemon.stop();
}

#[test]
fn a_user_its_groups_and_variables_are_those_of_the_profile() {
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
fn a_network_rule_reaches_its_destination_and_no_other() {
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
        // It ends with the test program.
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
    // Alone once, then twice for each row that may.
    assert_eq!((heard(&here), heard(&there)), (1 + 2 + 2, 1 + 2));
    let report = does(&daemon, "base = \"read\"\nnetwork = \"host\"", &script);
    assert_eq!(stdout(&report), "hello\nhello\ndone\n", "{report:?}");
    daemon.is_well();
    daemon.stop();
}

#[test]
fn a_socket_that_is_listed_is_connected_to_and_another_is_not() {
    let daemon = with("");
    let place = files(&daemon);
    let dir = place.display();
    let listen = |name: &str| {
        let path = place.join(name);
        let listener = UnixListener::bind(&path).expect("the place is ours");
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
fn root_s_eyes_see_all_and_change_nothing() {
    let daemon = with("");
    let policy = "[profile.eyes]\nbase = \"read\"\ncapabilities = [\"CAP_DAC_READ_SEARCH\"]\n\
                  [[grant]]\nto = [\"#64001\"]\nallow = [\"run\"]\nprofile = \"eyes\"\n\
                  [[grant]]\nto = [\"#0\", \"#64002\"]\nallow = [\"run\"]\n";
    daemon.set_file(FILE, policy);
    let _ = reload(&daemon).unwrap_or_else(|why| panic!("{why}"));
    let eyes = |words: &[&str]| Run {
        profile: Some("eyes".into()),
        ..argv(words)
    };
    let seen = asked(
        &daemon,
        &user_a(),
        eyes(&["head", "-c", "5", "/etc/shadow"]),
    )
    .expect("it is granted");
    assert_eq!(stdout(&seen), "root:", "{seen:?}");
    let place = files(&daemon);
    let file = place.join("other/file").display().to_string();
    let touched = asked(&daemon, &user_a(), eyes(&["touch", &file])).expect("it is granted");
    assert_ne!(exit(&touched), Some(0), "{touched:?}");
    assert!(!Path::new(&file).exists());
    // Another profile than the one granted.
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
fn the_host_is_changed_where_the_policy_says_that_nothing_confines() {
    let daemon = with("");
    let place = files(&daemon);
    let file = place.join("other/file");
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
fn a_path_that_is_missing_is_named_unless_it_may_be() {
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
fn a_program_that_others_can_change_is_not_executed() {
    let daemon = with("");
    let place = files(&daemon);
    let tool = place.join("tools/tool");
    fs::create_dir(place.join("tools")).expect("it is ours");
    fs::write(&tool, "#!/bin/sh\necho ran\n").expect("it is ours");
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let command = format!(
        "[[command]]\nname = \"a.b\"\nsummary = \"a tool\"\nargv = [\"{}\"]\neffect = \"read\"\nprofile = \"p\"\n\
         [profile.p]\nbase = \"strict\"\nuser = \"root\"\nexec = [\"{}\"]\n{GRANTS}",
        tool.display(),
        place.join("tools").display()
    );
    daemon.set_file(FILE, &command);
    // Everybody may write the directory above.
    let refusal = reload(&daemon).expect_err("others can change it");
    assert!(refusal.message.contains("tool"), "{refusal}");
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let _ = reload(&daemon).unwrap_or_else(|why| panic!("{why}"));
    let report = asked(&daemon, &user_a(), named("a.b", &[])).expect("it is granted");
    assert_eq!(stdout(&report), "ran\n", "{report:?}");
    // Since then somebody has let others in: it is looked at again, inside, where it is executed.
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
fn what_root_tries_where_it_can_change_something_is_recorded_as_a_change() {
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
