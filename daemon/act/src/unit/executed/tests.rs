use super::*;

type Value = Variant<'static>;

fn value(value: impl Into<Value>) -> OwnedVariant {
    OwnedVariant::try_from(value.into()).unwrap()
}

/// An entry of a command with its flags, as the service manager lists it.
fn command(path: &str, argv: &[&str], flags: &[&str]) -> ExecEx {
    let all = |words: &[&str]| words.iter().map(ToString::to_string).collect();
    (path.to_owned(), all(argv), all(flags), 0, 0, 0, 0, 0, 0, 0)
}

fn older(path: &str, argv: &[&str]) -> Exec {
    let argv = argv.iter().map(ToString::to_string).collect();
    (path.to_owned(), argv, false, 0, 0, 0, 0, 0, 0, 0)
}

fn plain(path: &str) -> OwnedVariant {
    value(vec![command(path, &[path], &[])])
}

fn unit(properties: Vec<(&str, OwnedVariant)>) -> Properties {
    let all = properties.into_iter();
    all.map(|(name, value)| (name.to_owned(), value)).collect()
}

fn said(name: &str, act: Act, all: &Properties) -> Vec<String> {
    let lines = lines(name, act, all, &by_name).unwrap();
    lines.all().cloned().collect()
}

fn by_name(user: &str) -> Account {
    match user {
        "root" | "toor" | "0" => Account::Root,
        "of-ldap" => Account::Unknown,
        "unread" => Account::Unreadable,
        _ => Account::Other,
    }
}

#[test]
fn what_root_removes_is_shown_without_any_command() {
    let text = |text: &str| value(text.to_owned());
    let line =
        |rest: &str| format!("the service manager removes when a.service stops, as root: {rest}");
    let both = "RuntimeDirectory web, RuntimeDirectory 'a b', PIDFile /etc/x";
    for (keeps, stop, restart) in [
        ("no", both, both),
        ("restart", both, "PIDFile /etc/x"),
        ("yes", "PIDFile /etc/x", "PIDFile /etc/x"),
    ] {
        let all = unit(vec![
            (
                "RuntimeDirectory",
                value(vec!["web".to_owned(), "a b".to_owned()]),
            ),
            ("RuntimeDirectoryPreserve", text(keeps)),
            ("PIDFile", text("/etc/x")),
        ]);
        for (act, expect) in [(Act::Stop, stop), (Act::Restart, restart)] {
            let said = lines("a.service", act, &all, &by_name).unwrap();
            assert_eq!(said.of_root, [line(expect)], "{keeps} {act:?}");
        }
        for act in [Act::Start, Act::Reload] {
            assert_eq!(said("a.service", act, &all), [""; 0], "{act:?}");
        }
    }
    let none = unit(vec![
        ("RuntimeDirectory", value(Vec::<String>::new())),
        ("PIDFile", text("")),
    ]);
    assert_eq!(said("a.service", Act::Stop, &none), [""; 0]);
}

#[test]
fn unit_of_paths_says_what_root_makes() {
    let paths = [
        ("PathExists", "/run/x"),
        ("DirectoryNotEmpty", "/var/lib/a b"),
        ("PathChanged", "/srv/in"),
    ];
    let paths = paths.map(|(kind, path)| (kind.to_owned(), path.to_owned()));
    let all = |makes: bool| {
        unit(vec![
            ("Paths", value(paths.to_vec())),
            ("MakeDirectory", bool(makes)),
            ("DirectoryMode", value(0o755_u32)),
        ])
    };
    let line = "the service manager makes for a.path, as root: MakeDirectory 'DirectoryNotEmpty:/var/lib/a b', MakeDirectory \
                PathChanged:/srv/in, DirectoryMode 0755";
    for (act, makes, expect) in [
        (Act::Start, true, &[line][..]),
        (Act::Restart, true, &[line]),
        (Act::Stop, true, &[]),
        (Act::Start, false, &[]),
    ] {
        assert_eq!(said("a.path", act, &all(makes)), expect, "{act:?}");
    }
}

/// Says who runs `/bin/x`, the only command.
fn whom(all: &Properties) -> String {
    let said = said("a.service", Act::Start, all);
    let line = said.iter().find(|line| line.ends_with(": /bin/x"));
    let rest = line.unwrap().split_once("executes as ").unwrap().1;
    rest.strip_suffix(": /bin/x").unwrap().to_owned()
}

fn bool(is: bool) -> OwnedVariant {
    value(is)
}

fn user(name: &str) -> (&str, OwnedVariant) {
    ("User", value(name.to_owned()))
}

/// Each line was tried with systemd 252: who ran the command, by id(1).
#[test]
fn command_is_of_who_runs_it() {
    const NO: &str = "PermissionsStartOnly";
    let start = || ("ExecStartEx", plain("/bin/x"));
    let before = || ("ExecStartPreEx", plain("/bin/x"));
    let with = |flag: &str| value(vec![command("/bin/x", &["/bin/x"], &[flag])]);
    let root = |path: &str| ("RootDirectory", value(path.to_owned()));
    for (properties, expect) in [
        (vec![start()], "root"),
        (vec![start(), user("")], "root"),
        (vec![start(), user("bob"), (NO, bool(false))], "bob"),
        (vec![start(), user("bob"), (NO, bool(true))], "bob"),
        (vec![start(), user("toor")], "root"),
        (vec![start(), user("0")], "root"),
        (vec![start(), user("a b")], "'a b'"),
        (vec![start(), user("bob"), ("UID", value(0_u32))], "root"),
        (vec![start(), user("bob"), ("UID", value(1000_u32))], "bob"),
        (vec![before(), user("bob"), (NO, bool(false))], "bob"),
        (
            vec![before(), user("bob"), (NO, bool(true))],
            "root, without the unit's sandbox (PermissionsStartOnly=yes)",
        ),
        // The manager leaves it out of the list of all properties, and a newer one may not have it.
        (
            vec![before(), user("bob")],
            "root (or bob: the service manager does not say which)",
        ),
        (
            vec![("ExecStartEx", with("privileged")), user("bob")],
            "root, without the unit's sandbox",
        ),
        (
            vec![("ExecStartEx", with("no-setuid")), user("bob")],
            "root",
        ),
        (vec![("ExecStartEx", with("ambient")), user("bob")], "bob"),
        (
            vec![("ExecStartEx", with("via-shell")), user("bob")],
            "bob, by its shell",
        ),
        (
            vec![("ExecStartEx", with("as-admin")), user("bob")],
            "root (or bob: the service manager says it by a word that is not known)",
        ),
        (
            vec![
                ("ExecStart", value(vec![older("/bin/x", &["/bin/x"])])),
                user("bob"),
            ],
            "root (or bob: the service manager does not say which)",
        ),
        (
            vec![start(), user("of-ldap")],
            "root (or of-ldap: its number is not known)",
        ),
        (
            vec![start(), user("unread"), ("DynamicUser", bool(true))],
            "root (or unread (made for it unless there is such a user): its number is not known)",
        ),
        (
            vec![start(), user("of-ldap"), ("DynamicUser", bool(true))],
            "of-ldap (made for it unless there is such a user)",
        ),
        (
            vec![start(), ("DynamicUser", bool(true))],
            "a user of its own",
        ),
        (
            vec![start(), ("DynamicUser", bool(true)), user("bob")],
            "bob (made for it unless there is such a user)",
        ),
        (
            vec![start(), ("DynamicUser", bool(true)), user("root")],
            "root",
        ),
        (
            vec![
                start(),
                user("bob"),
                ("Group", value("disk".to_owned())),
                ("SupplementaryGroups", value(vec!["docker".to_owned()])),
                ("AmbientCapabilities", value(0x20_0002_u64)),
            ],
            "bob with groups disk docker and capabilities CAP_DAC_OVERRIDE CAP_SYS_ADMIN",
        ),
        (vec![start(), root("/srv/a")], "root, within /srv/a"),
        (
            vec![("ExecStartEx", with("privileged")), root("/srv/a")],
            "root, without the unit's sandbox, within /srv/a",
        ),
        (
            vec![
                start(),
                root("/srv/a"),
                ("RootDirectoryStartOnly", bool(true)),
            ],
            "root, within /srv/a",
        ),
        (
            vec![
                before(),
                root("/srv/a"),
                ("RootDirectoryStartOnly", bool(true)),
            ],
            "root",
        ),
    ] {
        let names: Vec<&str> = properties.iter().map(|(name, _)| *name).collect();
        let names = names.join(" ");
        assert_eq!(whom(&unit(properties)), expect, "{names}");
    }
}

#[test]
fn socket_with_a_user_may_run_commands_as_root() {
    // `ExecStartPre=+/bin/x` of a socket looks like this, too.
    let all = unit(vec![
        ("ExecStartPre", value(vec![older("/bin/x", &["/bin/x"])])),
        user("bob"),
    ]);
    assert_eq!(
        said("a.socket", Act::Start, &all),
        [
            "before its start, a.socket executes as root (or bob: the service manager does not say which): /bin/x"
        ]
    );
}

#[test]
fn commands_of_root_are_known_by_the_words() {
    for (whom, expect) in [
        ("root", true),
        ("root, within /srv", true),
        ("root (or bob: its number is not known)", true),
        ("rooty", false),
        ("root,x", false),
        ("'root x'", false),
    ] {
        assert_eq!(identity::is_root(whom), expect, "{whom}");
    }
    let all = unit(vec![
        (
            "ExecStartEx",
            value(vec![
                command("/bin/x", &["/bin/x"], &[]),
                command("/bin/y", &["/bin/y"], &["no-setuid"]),
            ]),
        ),
        user("bob"),
    ]);
    let lines = lines("a.service", Act::Start, &all, &by_name).unwrap();
    assert!(lines.of_root[0].ends_with("/bin/y") && lines.of_others[0].ends_with("/bin/x"));
    assert_eq!(lines.of_root.len() + lines.of_others.len(), 2);
}

#[test]
fn groups_and_names_are_whole() {
    let many: Vec<String> = (0..900).map(|at| format!("group{at}")).collect();
    let long = "/".repeat(3 * RAW);
    let whom = whom(&unit(vec![
        ("ExecStartEx", plain("/bin/x")),
        user("bob"),
        ("SupplementaryGroups", value(many)),
        ("RootDirectory", value(long.clone())),
    ]));
    assert!(whom.contains(" group899"), "{whom}");
    assert!(whom.ends_with(&format!("within {long}")), "{whom}");
}

#[test]
fn socket_says_what_root_makes_of_paths() {
    let text = |text: &str| value(text.to_owned());
    let listen = [("Stream", "/run/x"), ("FIFO", "/var/lib/a b")];
    let listen = listen.map(|(kind, path)| (kind.to_owned(), path.to_owned()));
    let all = unit(vec![
        ("Listen", value(listen.to_vec())),
        ("Symlinks", value(vec!["/etc/cron.d/x".to_owned()])),
        ("SocketUser", text("bob")),
        ("SocketGroup", text("")),
        ("SocketMode", value(0o666_u32)),
        ("DirectoryMode", value(0o755_u32)),
        ("RemoveOnStop", bool(true)),
    ]);
    let line = "the service manager makes for a.socket, as root: Listen Stream:/run/x, Listen 'FIFO:/var/lib/a b', \
                Symlinks /etc/cron.d/x, SocketUser bob, SocketMode 0666, DirectoryMode 0755, RemoveOnStop yes";
    for act in [Act::Start, Act::Stop, Act::Restart] {
        assert_eq!(said("a.socket", act, &all), [line]);
    }
    assert_eq!(said("a.service", Act::Start, &all), [""; 0]);
}

#[test]
fn program_and_its_other_name_are_shown() {
    let all = unit(vec![(
        "ExecStartEx",
        value(vec![
            command("/usr/bin/busybox", &["sh", "-c", "true"], &[]),
            command("/bin/x", &["-x y"], &[]),
            command("/bin/x", &[], &[]),
        ]),
    )]);
    assert_eq!(
        said("a.service", Act::Start, &all),
        [
            "to start, a.service executes as root, under the name sh: /usr/bin/busybox -c true",
            "to start, a.service executes as root, under the name '-x y': /bin/x",
            "to start, a.service executes as root: /bin/x",
        ]
    );
    let long = "x".repeat(RAW);
    let all = unit(vec![(
        "ExecStartEx",
        value(vec![command("/bin/x", &[&long], &[])]),
    )]);
    assert!(lines("a.service", Act::Start, &all, &by_name).is_err());
}

#[test]
fn act_has_its_commands_and_those_that_nobody_knows() {
    let all = unit(vec![
        ("ExecStartEx", plain("/start")),
        ("ExecStart", value(vec![older("/start", &["/start"])])),
        ("ExecReloadEx", plain("/reload")),
        ("ExecReloadPostEx", plain("/reloaded")),
        ("ExecStopPostEx", plain("/stopped")),
        ("ExecNewEx", plain("/new")),
        ("ExecPaths", value(vec!["/usr".to_owned()])),
        ("ExecMainPID", value(7_u32)),
    ]);
    let programs = |act| -> Vec<String> {
        let all = said("a.service", act, &all).into_iter();
        all.map(|line| line.rsplit(' ').next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(programs(Act::Start), ["/start", "/stopped", "/new"]);
    assert_eq!(programs(Act::Stop), ["/stopped", "/new"]);
    assert_eq!(programs(Act::Restart), ["/stopped", "/start", "/new"]);
    assert_eq!(programs(Act::Reload), ["/reload", "/reloaded", "/new"]);
    assert_eq!(programs(Act::Release), [""; 0]);
    // A list of another form hides nothing.
    let odd = unit(vec![("ExecNew", value(vec![("/bin/x".to_owned(), 1_u32)]))]);
    assert!(lines("a.service", Act::Start, &odd, &by_name).is_err());
}

#[test]
fn settings_that_decide_what_runs_are_shown_with_the_commands() {
    let texts = |all: &[&str]| value(all.iter().map(ToString::to_string).collect::<Vec<_>>());
    let all = unit(vec![
        ("ExecStartEx", plain("/bin/sh")),
        ("Environment", texts(&["A=1", "LD_PRELOAD=/srv/x y"])),
        (
            "EnvironmentFiles",
            value(vec![("/srv/env".to_owned(), true)]),
        ),
        ("StandardInput", value("data".to_owned())),
        ("StandardInputData", value(b"id\nexit".to_vec())),
        ("StandardOutput", value("append".to_owned())),
        ("StandardError", value("fd:x".to_owned())),
        (
            "BindPaths",
            value(vec![(
                "/srv".to_owned(),
                "/usr/bin".to_owned(),
                false,
                0_u64,
            )]),
        ),
        ("ExecSearchPath", texts(&["/srv/bin"])),
        ("PAMName", value("login".to_owned())),
        ("WorkingDirectory", value("!/srv/of agent".to_owned())),
        (
            "RuntimeDirectorySymlink",
            value(vec![(
                "app".to_owned(),
                "systemd/system/cron.service.d".to_owned(),
                0_u64,
            )]),
        ),
        (
            "SetCredentialEncrypted",
            value(vec![("key".to_owned(), b"x".to_vec())]),
        ),
    ]);
    let start = "to start, a.service executes as root: /bin/sh";
    let settings = "a.service sets for what it executes: WorkingDirectory '/srv/of agent', Environment A=1, Environment 'LD_PRELOAD=/srv/x y', \
                    EnvironmentFiles /srv/env, StandardInputData 'id\\nexit', BindPaths /srv:/usr/bin, ExecSearchPath \
                    /srv/bin, SetCredentialEncrypted key:x, RuntimeDirectorySymlink app:systemd/system/cron.service.d, PAMName login, StandardOutput append (the service manager does not say which file), \
                    StandardError fd:x";
    assert_eq!(said("a.service", Act::Start, &all), [start, settings]);
    // Nothing is executed.
    assert_eq!(said("a.service", Act::Reload, &all), [""; 0]);
    let plain = unit(vec![
        ("ExecStartEx", plain("/bin/sh")),
        ("Environment", texts(&[])),
        ("StandardInput", value("null".to_owned())),
        ("StandardOutput", value("journal".to_owned())),
        ("StandardInputData", value(Vec::<u8>::new())),
        ("PAMName", value(String::new())),
        ("TTYPath", value(String::new())),
        ("StateDirectory", texts(&[])),
        ("WorkingDirectory", value(String::new())),
        ("SELinuxContext", value((false, String::new()))),
    ]);
    assert_eq!(said("a.service", Act::Start, &plain), [start]);
    // Whoever holds the terminal or connects says what the shell does.
    for input in ["tty", "tty-force", "socket", "fd"] {
        let all = unit(vec![
            ("ExecStartEx", self::plain("/bin/sh")),
            ("StandardInput", value(input.to_owned())),
            ("TTYPath", value("/dev/pts/3".to_owned())),
            ("StateDirectory", texts(&["dpkg"])),
            ("SELinuxContext", value((false, "unconfined_t".to_owned()))),
        ]);
        let settings = format!(
            "a.service sets for what it executes: StateDirectory dpkg, SELinuxContext unconfined_t, TTYPath /dev/pts/3, \
             StandardInput {input}"
        );
        assert_eq!(said("a.service", Act::Start, &all), [start, &settings]);
    }
    let many: Vec<String> = (0..300).map(|at| format!("VARIABLE_{at}=value")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let all = unit(vec![
        ("ExecStartEx", self::plain("/bin/sh")),
        ("Environment", texts(&many)),
    ]);
    let lines = said("a.service", Act::Start, &all);
    assert!(lines.iter().all(|line| line.len() < 2 * RAW), "{lines:?}");
    assert_eq!(lines.join("").matches("VARIABLE_").count(), 300);
    let long = "A=".to_owned() + &"ü".repeat(3 * RAW);
    let all = unit(vec![
        ("ExecStartEx", self::plain("/bin/sh")),
        ("Environment", texts(&[&long])),
    ]);
    let lines = said("a.service", Act::Start, &all);
    assert!(lines.iter().all(|line| line.len() < 2 * RAW), "{lines:?}");
    assert_eq!(lines.join("").matches('ü').count(), 3 * RAW);
    assert!(
        lines
            .last()
            .unwrap()
            .starts_with("a.service sets for what it executes: … ü")
    );
}

#[test]
fn mount_and_swap_say_what_they_mount() {
    let text = |text: &str| value(text.to_owned());
    let all = unit(vec![
        ("What", text("/srv/x#")),
        ("Where", text("/mnt/a")),
        ("Type", text("fuse")),
        ("Options", text("allow_other")),
        ("User", text("bob")),
        (
            "ExecMount",
            value(vec![older("/bin/mount", &["/bin/mount", "old"])]),
        ),
    ]);
    let begin = "to start, mnt-a.mount executes as root: mount -t fuse -o allow_other";
    assert_eq!(
        said("mnt-a.mount", Act::Start, &all),
        [format!("{begin} '/srv/x#' /mnt/a")]
    );
    assert_eq!(
        said("mnt-a.mount", Act::Stop, &all),
        ["to stop, mnt-a.mount executes as root: umount /mnt/a"]
    );
    assert_eq!(
        said("dev-x.swap", Act::Restart, &all),
        ["to start, dev-x.swap executes as root: swapon -o allow_other '/srv/x#'"]
    );
}
