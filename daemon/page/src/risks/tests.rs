//! Tests each note with a request that has it and one that does not.

use super::*;
use crate::fixture::{Scene, file};

fn of(verified: &Verified) -> Vec<String> {
    risks(verified, usize::MAX)
}

fn has(all: &[String], part: &str) -> bool {
    all.iter().any(|sentence| sentence.contains(part))
}

#[test]
fn an_argv_tells_what_it_may_do() {
    let scene = Scene::new();
    let cases: &[(&[&str], &str)] = &[
        (&["rm", "-rf", "/srv/x"], "it removes files for good"),
        (
            &["rm", "-rf", "/srv/x"],
            "argument 1 means whole directory trees",
        ),
        (
            &["rm", "-rf", "/srv/x"],
            "argument 1 switches off a check or a question",
        ),
        (&["/usr/sbin/mkfs.ext4", "x"], "it makes a new file system"),
        (&["ls", "/"], "argument 1 is the root directory"),
        (&["ls", "--root=/"], "argument 1 is the root directory"),
        (&["ls", "//"], "argument 1 is the root directory"),
        (&["ls", "/./."], "argument 1 is the root directory"),
        (
            &["cat", "//etc/shadow", "if=/etc/.//shadow/."],
            "arguments 1, 2 name paths that decide",
        ),
        (
            &["ls", "//tmp", "/./tmp/x"],
            "arguments 1, 2 are in directories where every user can put files",
        ),
        (
            &["cat", "/etc/shadow"],
            "argument 1 names a path that decides",
        ),
        (
            &["cat", "/etc/sudoers.d/x", "/etc/cron.daily/y"],
            "arguments 1, 2 name paths that decide",
        ),
        (&["ls", "/var/log/*.log"], "argument 1 has a wildcard"),
        (&["ls", "/srv/../etc"], "argument 1 has '..' in a path"),
        (
            &["ls", "/tmp/x"],
            "argument 1 is in a directory where every user can put files",
        ),
        (
            &["get", "https://192.0.2.1/x"],
            "argument 1 names a network address",
        ),
        (
            &["echo", "$(id)"],
            "argument 1 has characters that a shell would execute",
        ),
        (
            &["bash", "-c", "id"],
            "argument 2 is code that 'bash' executes",
        ),
        (
            &["/usr/bin/python3.12", "x.py"],
            "'python3.12' executes code from its arguments",
        ),
        (&["xargs", "ls"], "'xargs' can start other programs"),
        (
            &["apt", "--purge"],
            "argument 1 switches off a check or a question",
        ),
        (
            &["a", "*", "*", "*", "*", "*", "*", "*", "*"],
            "arguments 1, 2, 3, 4, 5, 6 and 2 more have wildcards",
        ),
    ];
    for (argv, want) in cases {
        let argv: Vec<&[u8]> = argv.iter().map(|arg| arg.as_bytes()).collect();
        let all = of(&scene.program(&argv));
        assert!(has(&all, want), "{want}: {all:?}");
    }
    for argv in [
        &["ls", "-l", "/srv/www", "a=b", "/dev/null", "--colour", "."][..],
        &[
            "nginx",
            "-t",
            "-c",
            "/etc/nginx/nginx.conf",
            "/etcetera",
            "/rooted",
        ],
        &["tail", "-f", "/var/log/syslog", "-", "--", "-n100"],
        &[
            "echo",
            "gr\u{fc}n",
            "\u{e9}t\u{e9}",
            "\u{4e2d}\u{6587}",
            "100\u{2122}",
        ],
    ] {
        let argv: Vec<&[u8]> = argv.iter().map(|arg| arg.as_bytes()).collect();
        assert_eq!(of(&scene.program(&argv)), [""; 0], "{argv:?}");
    }
}

#[test]
fn a_sandbox_tells_what_it_leaves_open() {
    let scene = Scene::new();
    let host = of(&scene.change("disk.wipe", &[("disk", "a")]));
    let first = "no sandbox: it runs as root and can do anything on this machine";
    assert_eq!(host[0], first);
    assert!(has(&host, "over whole disks"));
    let bus = of(&scene.change(
        "service.act",
        &[("verb", "restart"), ("unit", "nginx.service")],
    ));
    let master = "as root it can make the service at /run/dbus/system_bus_socket do anything on this machine";
    for part in [
        "nginx.service stops and starts again",
        "it can read files whatever their permissions are",
        "it can change files of this machine: /srv/www",
        "over the network: to 192.0.2.1:443",
    ] {
        assert!(has(&bus, part), "{part}: {bus:?}");
    }
    assert!(bus[0].starts_with("nginx.service stops"));
    let of_bus = |all: &[String]| {
        all.iter()
            .filter(|risk| risk.contains("system_bus"))
            .count()
    };
    assert_eq!(
        of_bus(&bus),
        0,
        "only remit's own program reaches it: {bus:?}"
    );
    let other = of(&scene.change("service.call", &[("verb", "x")]));
    assert!(has(&other, master) && of_bus(&other) == 1, "{other:?}");
    assert!(!has(&other, "it runs as root"), "said once: {other:?}");
    let stop = of(&scene.change(
        "service.act",
        &[("verb", "stop"), ("unit", "nginx.service")],
    ));
    assert!(has(&stop, "nginx.service and what requires it stop"));
}

#[test]
fn packages_and_a_reboot_say_so() {
    let scene = Scene::new();
    let act = |words: &[&str]| {
        let argv = [&["/usr/libexec/remit/remit-act"], words].concat();
        let argv: Vec<&[u8]> = argv.iter().map(|arg| arg.as_bytes()).collect();
        of(&scene.program(&argv))
    };
    assert!(has(
        &act(&["package", "remove", "a", "b"]),
        "removes a, b and every package that requires them"
    ));
    assert!(has(
        &act(&["package", "install", "a"]),
        "run as root, without a sandbox"
    ));
    assert!(has(&act(&["reboot", "--in", "5"]), "the machine reboots"));
    assert!(has(&act(&["reboot", "--cancel"]), "canceled"));
}

#[test]
fn empty_or_hostile_reason_is_reported() {
    let scene = Scene::new();
    for (reason, want) in [
        (
            "please type: remit approve 7f3a-91c2",
            "looks like a command",
        ),
        ("it is safe.\ndigest: 00000000", "looks like remit's own"),
        ("Already APPROVED by ann", "looks like remit's own"),
        ("x\u{202e}y", "invisible"),
        ("x\ny", "line breaks"),
        ("x          y", "run of spaces"),
    ] {
        let all = of(&scene.backup("a", reason));
        assert!(
            all.iter()
                .any(|sentence| sentence.starts_with("the reason") && sentence.contains(want)),
            "{all:?}"
        );
    }
    let all = of(&scene.backup("a", "nginx answers 502 since 10:14, its worker hangs"));
    assert!(!has(&all, "the reason"), "{all:?}");
}

#[test]
fn request_under_other_login_is_reported() {
    let scene = Scene::new();
    let mut verified = scene.program(&[b"ls"]);
    assert_eq!(of(&verified), [""; 0]);
    verified.context.loginuid = Some(1000);
    assert_eq!(
        of(&verified),
        ["the requester is uid 64001, but logged in as uid 1000"]
    );
    verified.context.loginuid = None;
    assert!(of(&verified)[0].starts_with("the requester did not log in"));
}

#[test]
fn code_in_arguments_is_reported() {
    let scene = Scene::new();
    let all = of(&scene.script(b"id\n", b""));
    assert!(
        has(
            &all,
            "a script of 3 bytes that the requester wrote is executed by 'bash'"
        ),
        "{all:?}"
    );
    let mut verified = scene.program(&[b"tool"]);
    verified.request.files = vec![
        file("program", "/usr/bin/tool", "/usr/bin/tool"),
        file("interpreter", "/bin/sh", "/usr/bin/dash"),
    ];
    assert_eq!(
        of(&verified),
        ["the program is a script, executed by '/usr/bin/dash'"]
    );
}

#[test]
fn module_that_an_interpreter_finds_by_itself_is_reported() {
    let scene = Scene::new();
    let said = |argv: &[&[u8]], files: &[&str]| {
        let mut verified = scene.program(argv);
        let files = files.iter().map(|what| file(what, "/srv/x", "/srv/x"));
        verified.request.files = files.collect();
        let all = of(&verified);
        let sentence = all.iter().find(|one| one.contains("finds by itself"));
        sentence.map(|one| one.split(" names").next().unwrap_or_default().to_owned())
    };
    for (argv, files, named) in [
        (
            &[&b"python3"[..], b"-m", b"http.server"][..],
            &["program"][..],
            Some("argument 2"),
        ),
        (
            &[b"/usr/bin/python3.11", b"-mhttp.server"],
            &[],
            Some("argument 1"),
        ),
        // A file among its arguments is not what it executes.
        (
            &[b"python3", b"-m", b"x", b"/etc/hosts"],
            &["argument 3"],
            Some("argument 2"),
        ),
        (
            &[b"node", b"--import=x", b"a.js"],
            &["argument 2"],
            Some("argument 1"),
        ),
        (&[b"perl", b"-Mx", b"-e", b"1"], &[], Some("argument 1")),
        (
            &[b"ruby", b"-r", b"./x.rb", b"a.rb"],
            &["argument 2", "argument 3"],
            None,
        ),
        (
            &[b"python3", b"/srv/x.py", b"-m", b"x"],
            &["argument 1"],
            None,
        ),
        (&[b"python3", b"-c", b"print()"], &[], None),
        (&[b"grep", b"-m", b"1"], &[], None),
    ] {
        assert_eq!(said(argv, files).as_deref(), named, "{argv:?}");
    }
}

#[test]
fn no_secret_makes_a_note() {
    let all = of(&Scene::new().backup("a", "it is due"));
    assert!(!has(&all, "wildcard"), "{all:?}");
}

#[test]
fn end_that_the_requester_chose_is_a_note() {
    let scene = Scene::new();
    let mut verified = scene.change("service.act", &[("verb", "start"), ("unit", "a.service")]);
    let mut of_runtime = |seconds: Option<u32>| {
        verified.request.runtime_s = seconds.unwrap_or(300);
        verified.context.usual_runtime_s = seconds.map(|_| 300);
        let notes = of(&verified).into_iter();
        notes
            .filter(|note| note.contains("ended after"))
            .collect::<Vec<_>>()
    };
    assert_eq!(of_runtime(None), [""; 0]);
    for seconds in [1, 3600] {
        let note = format!(
            "it is ended after {seconds} s, finished or not, as the requester asked; the default is 300 s"
        );
        assert_eq!(of_runtime(Some(seconds)), [note]);
    }
}

#[test]
fn right_to_left_letters_have_a_note_in_every_part() {
    let scene = Scene::new();
    let part = "letters that run from right to left";
    let hebrew = "echo \u{5d0} 1 > 2 \u{5d1}\n".as_bytes();
    assert!(!has(&of(&scene.script(b"echo a 1 > 2 b\n", b"x")), part));
    assert!(has(&of(&scene.script(hebrew, b"x")), "order: the script"));
    assert!(has(
        &of(&scene.script(b"x", hebrew)),
        "order: standard input"
    ));
    assert!(has(&of(&scene.backup("a", "\u{5d0}")), "order: the reason"));
    let mut verified = scene.program(&[b"ls"]);
    verified.request.cwd = c"/srv/\u{5d0}".into();
    verified.request.env.push(c"A=\u{5d0}".into());
    verified
        .request
        .files
        .push(file("program", "/bin/ls", "/srv/\u{5d0}"));
    let want = "order: the environment, the directory, the names of files";
    assert!(has(&of(&verified), want), "{:?}", of(&verified));
}

#[test]
fn unconfined_change_that_names_remit_is_a_risk() {
    let scene = Scene::new();
    let said = |argv: &[&[u8]], is_unconfined: bool| {
        let mut asked = scene.asks_for(argv);
        if is_unconfined {
            asked.context.profile = Profile::host();
            asked.request.profile = "host".into();
        }
        has(&of(&asked.verified()), "it names remitd")
    };
    let restart: &[&[u8]] = &[b"systemctl", b"restart", b"remitd.service"];
    assert!(said(restart, true));
    assert!(!said(restart, false));
    assert!(!said(&[b"systemctl", b"restart", b"nginx.service"], true));
}

#[test]
fn jobs_that_a_restart_would_cut_are_named() {
    let scene = Scene::new();
    let said = |argv: &[&[u8]], jobs: &[&str]| {
        let mut asked = scene.asks_for(argv);
        asked.context.profile = Profile::host();
        asked.request.profile = "host".into();
        asked.context.host_jobs = jobs.iter().map(|job| (*job).to_owned()).collect();
        has(&of(&asked.verified()), "which run now: a [0123], 2 more")
    };
    let jobs = &["a [0123]", "2 more"];
    for argv in [
        &[&b"systemctl"[..], b"restart", b"remitd.service"][..],
        &[b"apt-get", b"install", b"-y", b"nginx"],
        &[b"/usr/libexec/remit/remit-act", b"package", b"upgrade"],
    ] {
        assert!(said(argv, jobs), "{argv:?}");
        assert!(!said(argv, &[]), "{argv:?}");
    }
    assert!(!said(&[b"systemctl", b"restart", b"nginx.service"], jobs));
}

#[test]
fn ends_of_required_commands_are_shown() {
    let scene = Scene::new();
    let line = "required command 'a' ended with exit 0 5 s ago (needed: within 60 s)";
    let mut asked = scene.asks_for(&[b"true"]);
    asked.context.required.push(line.to_owned());
    assert!(has(&of(&asked.verified()), line));
    let without = scene.asks_for(&[b"true"]);
    assert!(!has(&of(&without.verified()), line));
}

#[test]
fn one_off_call_of_own_program_runs_without_sandbox() {
    let scene = Scene::new();
    let mut asked = scene.asks_for(&[b"/usr/libexec/remit/remit-act", b"reboot"]);
    asked.context.profile = Profile::host();
    asked.request.profile = "host".into();
    asked.context.is_own_program = true;
    let said = of(&asked.verified());
    assert!(has(&said, "no sandbox: it runs as root"), "{said:?}");
}
