//! Machines that are large, broken or hostile: the look ends, says what it did not see, and shows no raw byte of a name.
//! Needs root.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use common::Laid;
use proptest::prelude::*;
use remit_prove::machine::{Bounds, Machine};
use remit_prove::text::text;

const AGENT: &str = "about = \"\"\nagent = \"agent\"\nuser = [{ name = \"agent\", uid = 5001, groups = [\"deploy\"] }]\n\
                     group = [{ name = \"deploy\", gid = 6001 }]\n";

fn laid(name: &str) -> Laid {
    let laid = Laid::out(name, AGENT);
    fs::create_dir_all(laid.root().join("etc/systemd/system")).unwrap();
    fs::create_dir_all(laid.root().join("etc/cron.d")).unwrap();
    fs::create_dir_all(laid.root().join("usr/sbin")).unwrap();
    fs::write(laid.root().join("usr/sbin/cron"), "").unwrap();
    laid
}

fn rows(directory: &Path, count: usize, suffix: &str, content: &str) {
    fs::create_dir_all(directory).unwrap();
    for number in 0..count {
        fs::write(directory.join(format!("file-{number}{suffix}")), content).unwrap();
    }
}

#[test]
fn hundred_thousand_files_are_looked_at() {
    let laid = laid("large");
    rows(&laid.root().join("opt/site"), 80_000, "", "x");
    rows(
        &laid.root().join("etc/systemd/system"),
        10_000,
        ".service",
        "[Service]\nExecStart=/opt/site/file-1 /opt/x\n",
    );
    rows(
        &laid.root().join("etc/cron.d"),
        10_000,
        "",
        "5 5 * * * root /opt/site/file-2\n",
    );
    // Not optimised and beside other tests, it may take longer than the usual minute.
    let bounds = Bounds {
        time: Duration::from_secs(500),
        ..Bounds::default()
    };
    let report = laid.report_of(Machine::open(laid.root(), bounds).unwrap());
    let report = report.unwrap();
    assert!(
        report.subjects[0].reaches.is_empty(),
        "{}",
        text(&report, true)
    );
    assert!(report.unknown.is_empty(), "{:?}", report.unknown);
    assert!(report.figures.files > 100_000, "{:?}", report.figures);
}

#[test]
fn bounds_end_a_look_and_are_reported() {
    let laid = laid("bounded");
    rows(&laid.root().join("opt/site"), 2000, "", "x");
    fs::write(laid.root().join("etc/cron.d/long"), "# x\n".repeat(10_000)).unwrap();
    let few = Bounds {
        entries: 500,
        ..Bounds::default()
    };
    let short = Bounds {
        file: 1000,
        ..Bounds::default()
    };
    let late = Bounds {
        time: Duration::ZERO,
        ..Bounds::default()
    };
    for (bounds, why) in [
        (few, "more than 500 files were looked at"),
        (short, "only its first 1000 bytes were read"),
        (late, "looking took longer"),
    ] {
        let report = laid.report_of(Machine::open(laid.root(), bounds).unwrap());
        let report = match report {
            Ok(report) => report,
            // Not even the accounts were read.
            Err(_) if bounds.time.is_zero() => continue,
            Err(why) => panic!("{why}"),
        };
        assert!(
            report.unknown.iter().any(|(_, found)| found.contains(why)),
            "{why}: {:?}",
            report.unknown
        );
    }
}

#[test]
fn link_cycles_end() {
    let laid = laid("links");
    let system = laid.root().join("etc/systemd/system");
    symlink("b.service", system.join("a.service")).unwrap();
    symlink("a.service", system.join("b.service")).unwrap();
    symlink(".", laid.root().join("opt")).unwrap();
    symlink("/opt/opt/opt/srv", laid.root().join("srv")).unwrap();
    symlink("../../../../../../..", laid.root().join("home")).unwrap();
    fs::write(
        laid.root().join("etc/cron.d/x"),
        "@daily root /opt/opt/x; /srv/y; /home/etc/z\n",
    )
    .unwrap();
    let report = laid.report();
    assert!(
        report.subjects[0].reaches.is_empty(),
        "{}",
        text(&report, true)
    );
    let cycles = report
        .unknown
        .iter()
        .filter(|(_, why)| why.contains("too many links"));
    assert!(cycles.count() >= 2, "{:?}", report.unknown);
}

#[test]
fn link_out_of_the_machine_stays_inside() {
    let laid = laid("escape");
    let outside = std::env::temp_dir().join(format!("remit-prove-outside-{}", std::process::id()));
    fs::write(&outside, "@daily root /opt/agents\n").unwrap();
    let up = format!("../../../../../../../..{}", outside.display());
    symlink(&outside, laid.root().join("etc/cron.d/absolute")).unwrap();
    symlink(up, laid.root().join("etc/cron.d/up")).unwrap();
    fs::create_dir(laid.root().join("opt")).unwrap();
    std::os::unix::fs::chown(laid.root().join("opt"), Some(5001), None).unwrap();
    let report = laid.report();
    fs::remove_file(&outside).unwrap();
    assert!(
        report.subjects[0].reaches.is_empty(),
        "{}",
        text(&report, true)
    );
}

#[test]
fn hostile_names_and_contents_are_escaped() {
    let laid = laid("hostile");
    let site = laid.root().join("srv/site");
    fs::create_dir_all(&site).unwrap();
    std::os::unix::fs::chown(&site, None, Some(6001)).unwrap();
    fs::set_permissions(&site, std::os::unix::fs::PermissionsExt::from_mode(0o775)).unwrap();
    let name = OsStr::from_bytes(b"a\x1b]0;x\x07\xff\nroot ALL");
    fs::write(site.join(name), "#!/bin/sh\n").unwrap();
    let line = [
        b"@daily root '/srv/site/a\x1b]0;x\x07\xff' \xe2\x80\xae\n@daily root /srv/site/x\n"
            .as_slice(),
        &[0, 255, 10],
    ]
    .concat();
    fs::write(laid.root().join("etc/cron.d").join(name), line).unwrap();
    fs::write(
        laid.root()
            .join("etc/systemd/system")
            .join("\u{202e}.service"),
        "[Service]\nExecStart=/srv/site/x",
    )
    .unwrap();
    let report = laid.report();
    assert!(!report.subjects[0].reaches.is_empty());
    let shown = text(&report, true);
    let raw: Vec<char> = shown
        .chars()
        .filter(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}')
        .collect();
    assert!(raw.is_empty(), "{raw:?} in {shown}");
    assert!(
        shown.lines().all(|line| !line.starts_with("root ALL")),
        "{shown}"
    );
}

#[test]
fn half_written_files_are_read_as_far_as_they_go() {
    let laid = laid("half");
    for (number, text) in [
        "[Service",
        "[Service]\nExecStart",
        "[Service]\nExecStart=\\",
        "[Service]\nExecStart=-+@!",
        "[Service]\nExecStart=\"/opt/x\nUser=",
        "[Service]\nUser=%",
        "\u{feff}[Service]\r\nExecStart=/x\r\n",
        "=\n==\n[=]\n",
    ]
    .iter()
    .enumerate()
    {
        let path = laid
            .root()
            .join(format!("etc/systemd/system/u{number}.service"));
        fs::write(path, text).unwrap();
    }
    for (path, text) in [
        (
            "etc/sudoers",
            "agent ALL=\n@include /etc/sudoers\nX=Y=Z\n%deploy\n(((\n",
        ),
        (
            "etc/cron.d/x",
            "* * * *\n@\n@daily\nPATH\n=\n1 1 1 1 1 nobody-there /x\n",
        ),
        ("etc/ld.so.conf", "include /etc/ld.so.conf\n:,::\n"),
    ] {
        fs::write(laid.root().join(path), text).unwrap();
    }
    fs::create_dir_all(laid.root().join("usr/bin")).unwrap();
    fs::write(laid.root().join("usr/bin/sudo"), "").unwrap();
    let report = laid.report();
    assert!(
        report.subjects[0].reaches.is_empty(),
        "{}",
        text(&report, true)
    );
    let unknown: Vec<&str> = report.unknown.iter().map(|(_, why)| why.as_str()).collect();
    assert!(
        unknown
            .iter()
            .any(|why| why.contains("too many files include one another")),
        "{unknown:?}"
    );
    assert!(
        unknown
            .iter()
            .any(|why| why.contains("the user of its line 6 is unknown")),
        "{unknown:?}"
    );
}

#[test]
fn special_files_are_not_opened() {
    let laid = laid("special");
    let cron = laid.root().join("etc/cron.d");
    nix::unistd::mkfifo(&cron.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::create_dir(cron.join("directory")).unwrap();
    symlink("/nowhere", cron.join("dangling")).unwrap();
    drop(std::os::unix::net::UnixListener::bind(cron.join("socket")).unwrap());
    let report = laid.report();
    assert!(
        report.subjects[0].reaches.is_empty(),
        "{}",
        text(&report, true)
    );
}

/// Users with groups of their own, in one more group that may commit changes anywhere and can write each home.
fn crowd(count: usize) -> String {
    let users = (0..count).map(|number| {
        let uid = 10_000 + number;
        format!("[[user]]\nname = \"u{number}\"\nuid = {uid}\ngroups = [\"remit\"]\n[[file]]\npath = \"/home/u{number}\"\nowner = \"u{number}\"\ngroup = \"remit\"\nmode = \"775\"\n")
    });
    let users: String = users.collect();
    format!("{users}[[group]]\nname = \"remit\"\ngid = 6003\n")
}

#[test]
fn many_goals_and_accounts_are_answered() {
    let machine = format!("about = \"\"\nagent = \"u0\"\n{}", crowd(400));
    let laid = Laid::out("crowd", &machine);
    let begin = Instant::now();
    let report = laid.report();
    let all = &report.subjects[0].reaches;
    // Proofs have 30 s.
    assert!(begin.elapsed() < Duration::from_secs(60), "{begin:?}");
    assert_eq!(all.len(), 200);
    assert!(
        report
            .limits
            .contains(&"199 more goals of u0 are not shown".to_owned()),
        "{:?}",
        report.limits
    );
    assert!(all.iter().all(|path| path.steps.len() == 4), "{:?}", all[0]);
}

/// Fragments of all formats: unlike random bytes, they get past the first word of a parser.
const FRAGMENTS: [&str; 60] = [
    "[Service]",
    "[Unit]",
    "ExecStart=",
    "-+!@",
    "/srv/agent/x",
    "%i",
    "%%",
    "%",
    "User=",
    "root",
    "agent",
    "\\",
    "\n",
    "\n",
    "\n",
    " ",
    "\t",
    "\"",
    "'",
    "=",
    ",",
    ":",
    ";",
    "#",
    "//",
    "/*",
    "*/",
    "{",
    "}",
    "(",
    ")",
    "!",
    "*",
    "ALL",
    "NOPASSWD:",
    "Cmnd_Alias X",
    "Defaults",
    "@include",
    "@includedir",
    "/etc/sudoers",
    "sudoedit",
    "5 4 * * *",
    "@daily",
    "PATH",
    "SHELL",
    "Match User",
    "AuthorizedKeysFile",
    "command=",
    "AAAA",
    "auth required",
    "pam_exec.so",
    "polkit.addRule(function(a, s)",
    "Result.YES",
    "org.freedesktop.systemd1.manage-units",
    "postrotate",
    "endscript",
    "DPkg::Post-Invoke",
    "RUN+=",
    "\u{202e}",
    "\u{7f}\u{1b}[2J",
];
const LOCATIONS: [&str; 20] = [
    "etc/passwd",
    "etc/group",
    "etc/shadow",
    "etc/sudoers",
    "etc/sudoers.d/x",
    "etc/crontab",
    "etc/anacrontab",
    "etc/cron.d/x",
    "etc/cron.daily/x",
    "etc/systemd/system/x.service",
    "etc/systemd/system/x@.service",
    "etc/systemd/system/x.timer",
    "etc/pam.d/sshd",
    "etc/ssh/sshd_config",
    "root/.ssh/authorized_keys",
    "etc/polkit-1/rules.d/x.rules",
    "etc/ld.so.conf",
    "etc/logrotate.d/x",
    "etc/apt/apt.conf.d/x",
    "etc/udev/rules.d/x.rules",
];
const READERS: [&str; 8] = [
    "usr/bin/sudo",
    "usr/sbin/logrotate",
    "usr/bin/apt-get",
    "usr/bin/dpkg",
    "usr/bin/udevadm",
    "usr/lib/polkit-1/polkitd",
    "usr/sbin/anacron",
    "usr/bin/git",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn fragments_of_all_formats_are_answered(
        files in prop::collection::vec(prop::collection::vec(0..FRAGMENTS.len() + 1, 0..60), LOCATIONS.len())
    ) {
        let laid = laid("fragments");
        for path in READERS.iter().chain(&LOCATIONS) {
            fs::create_dir_all(laid.root().join(path).parent().unwrap()).unwrap();
        }
        for path in READERS {
            fs::write(laid.root().join(path), "").unwrap();
        }
        for (path, words) in LOCATIONS.iter().zip(&files) {
            let words = words.iter().map(|word| FRAGMENTS.get(*word).map_or(&b"\0\xff\xfe"[..], |word| word.as_bytes()));
            let content: Vec<u8> = words.flatten().copied().collect();
            // The tables keep the account that is asked about.
            let before = match *path {
                "etc/passwd" => fs::read(laid.root().join(path)).unwrap(),
                _ if path.ends_with(".daily/x") => b"#!/bin/sh\n".to_vec(),
                _ => Vec::new(),
            };
            fs::write(laid.root().join(path), [before, content].concat()).unwrap();
        }
        let report = laid.report();
        let shown = text(&report, true);
        let is_raw = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        prop_assert!(!shown.contains(is_raw), "{}", shown);
    }
}

/// Texts that name the same again and again, so that the whole of what they say has billions of parts.
#[test]
fn repeated_names_end_and_are_reported() {
    let aliases = |kind: &str, last: &str| -> String {
        let next = |number: u32| match number {
            39 => last.to_owned(),
            _ => [format!("A{}", number + 1).as_str(); 12].join(", "),
        };
        let row = |number| format!("{kind} A{number} = {}\n", next(number));
        (0..40).map(row).collect()
    };
    let commands = aliases("Cmnd_Alias", "/opt/a") + "agent ALL = (root) NOPASSWD: A0\n";
    let users = aliases("User_Alias", "agent") + "A0 ALL = (root) NOPASSWD: ALL\n";
    let cycle = "User_Alias A = B, B : B = A, A, agent\nA ALL = (root) NOPASSWD: ALL\n".to_owned();
    let product = format!(
        "Cmnd_Alias A = /opt/a{}\nagent ALL = NOPASSWD: A{}\n",
        ", /opt/b".repeat(4000),
        ", A".repeat(4000)
    );
    let patterns = format!(
        "agent ALL = NOPASSWD: /opt/a{}\n",
        ", /*/*/*".repeat(50_000)
    );
    let deep = (0..200).map(|number| format!("User_Alias A{number} = A{}\n", number + 1));
    let deep = deep.collect::<String>() + "A0 ALL = ALL\n";
    let included = "@include /etc/sudoers.d/a\n".repeat(20);
    let search = format!(
        "PATH={}\n{}",
        "/srv/a:".repeat(20_000),
        "* * * * * x y\n".repeat(2000)
    );
    let strangers = "* * * * * stranger x\n".repeat(40_000);
    for (path, content, is_reached, why) in [
        ("etc/sudoers", commands, true, None),
        ("etc/sudoers", users, true, None),
        ("etc/sudoers", cycle, true, None),
        ("etc/sudoers", product, true, Some("it permits too much")),
        ("etc/sudoers", patterns, true, Some("it permits too much")),
        (
            "etc/sudoers",
            deep,
            false,
            Some("aliases name one another too deeply"),
        ),
        (
            "etc/sudoers.d/a",
            included,
            false,
            Some("too many files include one another"),
        ),
        (
            "var/spool/cron/crontabs/root",
            search,
            false,
            Some("only the first 64 directories"),
        ),
        (
            "etc/cron.d/x",
            strangers,
            false,
            Some("the user of its line 1 is unknown"),
        ),
    ] {
        let laid = laid("repeated");
        for directory in ["etc/sudoers.d", "var/spool/cron/crontabs", "usr/bin", "opt"] {
            fs::create_dir_all(laid.root().join(directory)).unwrap();
        }
        fs::write(laid.root().join("usr/bin/sudo"), "").unwrap();
        fs::write(
            laid.root().join("etc/sudoers"),
            "@includedir /etc/sudoers.d\n",
        )
        .unwrap();
        let opt = laid.root().join("opt/a");
        fs::write(&opt, "").unwrap();
        std::os::unix::fs::chown(&opt, Some(5001), None).unwrap();
        fs::write(laid.root().join(path), &content).unwrap();
        let report = laid.report();
        let shown = text(&report, true);
        assert_eq!(
            !report.subjects[0].reaches.is_empty(),
            is_reached,
            "{path}: {shown}"
        );
        let unknown = report.unknown.iter().flat_map(|(_, why)| why.split("; "));
        let unknown = unknown.filter(|why| !why.contains("by /opt/a is not judged"));
        let found: Vec<&str> = unknown.collect();
        match why {
            None => assert_eq!(found, [""; 0], "{path}"),
            Some(why) => assert!(
                found.iter().any(|one| one.contains(why)),
                "{why}: {found:?}"
            ),
        }
    }
}

/// Texts of a stranger that are long, deep, or copied to each of their commands end, and use up nothing of root's.
#[test]
fn long_texts_of_a_stranger_end_and_those_of_root_are_read() {
    let line = |text: String| format!("* * * * * {text}\n");
    let words = |count: usize| line(format!(": {}", "a ".repeat(count)));
    let name = "a".repeat(900);
    let directories = (0..64).map(|number| format!("/q{number}:"));
    let search = format!("PATH={}\n", directories.collect::<String>());
    let programs = (0..200).map(|number| format!("n{number};"));
    let programs = line(programs.collect());
    let deep = format!("/opt/deep{}", "/a".repeat(500));
    let directories = (0..64).map(|number| format!("{deep}/{number}:"));
    let names = (0..30_000).map(|number| format!("n{number};"));
    let long_search = format!(
        "PATH={}\n{}",
        directories.collect::<String>(),
        line(names.collect())
    );
    for (text, why) in [
        (words(60_000), "only the first 50000 words of a text"),
        (words(40_000).repeat(8), "too many words"),
        (
            line(format!("PATH=/{name}; {}", "a;".repeat(5000))),
            "only the first 50000 words of a text",
        ),
        (
            line(format!("cd /{name}; {}", "a;".repeat(5000))),
            "only the first 50000 words of a text",
        ),
        (
            line(format!("cd {name};").repeat(10)),
            "long directories, search paths and values",
        ),
        (
            line(format!("A={name}; : {}", "$A".repeat(5000))),
            "only the first 50000 words of a text",
        ),
        (
            line("nice ".repeat(5000)),
            "programs that start one another",
        ),
        (
            line("find -exec ".repeat(5000)),
            "programs that start one another",
        ),
        (line("$(a ".repeat(5000)), "brackets in each other"),
        (search + &programs.repeat(5), ""),
        (
            long_search,
            "parts of paths and files were looked at for uid 5001",
        ),
        (
            line("sh /opt/long; ".repeat(4000)),
            "parts of paths and files were looked at for uid 5001",
        ),
        (
            line("run-parts /opt/many;".repeat(4000)),
            "parts of paths and files were looked at for uid 5001",
        ),
        (
            line("python3 -m x;".repeat(4000))
                .replace("* python3", &format!("* cd {deep}; python3")),
            "parts of paths and files were looked at for uid 5001",
        ),
        // As root these would be more than root's texts may have.
        (
            line(format!(
                "{}: {}",
                "su root -c ".repeat(6),
                "a ".repeat(40_000)
            ))
            .repeat(8),
            "too many words",
        ),
    ] {
        let laid = laid("long");
        for directory in ["var/spool/cron/crontabs", "etc/logrotate.d", "opt"] {
            fs::create_dir_all(laid.root().join(directory)).unwrap();
        }
        fs::write(laid.root().join("usr/sbin/logrotate"), "").unwrap();
        let own = laid.root().join("opt/a");
        fs::write(&own, "").unwrap();
        std::os::unix::fs::chown(&own, Some(5001), None).unwrap();
        let rotation = "/var/log/x {\n postrotate\n  /opt/a\n endscript\n}\n";
        fs::write(laid.root().join("etc/logrotate.d/x"), rotation).unwrap();
        fs::write(laid.root().join("opt/long"), "#".repeat(256 << 10)).unwrap();
        if text.contains("/opt/many") {
            rows(&laid.root().join("opt/many"), 2000, "", "");
        }
        for number in (0..64).filter(|_| text.contains(&deep)) {
            fs::create_dir_all(laid.root().join(format!(".{deep}/{number}"))).unwrap();
        }
        let table = laid.root().join("var/spool/cron/crontabs/agent");
        fs::write(&table, &text).unwrap();
        std::os::unix::fs::chown(&table, Some(5001), None).unwrap();
        let report = laid.report();
        let start: String = text.chars().take(40).collect();
        let found = report.unknown.iter().any(|(_, found)| found.contains(why));
        assert!(found || why.is_empty(), "{start}: {:?}", report.unknown);
        assert!(!report.subjects[0].reaches.is_empty(), "{start}");
    }
}

/// Facts of start files of many accounts use up nothing of root's tables.
#[test]
fn start_files_of_many_accounts_hide_no_hook_of_root() {
    let laid = laid("start");
    let mut passwd = fs::read_to_string(laid.root().join("etc/passwd")).unwrap();
    for number in 0..12 {
        let home = format!("home/u{number}");
        passwd += &format!("u{number}:x:{0}:{0}::/{home}:/bin/sh\n", 6000 + number);
        fs::create_dir_all(laid.root().join(&home)).unwrap();
        for (file, letter) in [(".profile", 'a'), (".bashrc", 'b'), (".zshrc", 'c')] {
            let directories = (0..8000).map(|number| format!("/{letter}{number}:"));
            let search = format!("PATH={}\n", directories.collect::<String>());
            fs::write(laid.root().join(&home).join(file), search).unwrap();
        }
    }
    fs::write(laid.root().join("etc/passwd"), passwd).unwrap();
    for directory in ["etc/logrotate.d", "opt"] {
        fs::create_dir_all(laid.root().join(directory)).unwrap();
    }
    fs::write(laid.root().join("usr/sbin/logrotate"), "").unwrap();
    let own = laid.root().join("opt/a");
    fs::write(&own, "").unwrap();
    std::os::unix::fs::chown(&own, Some(5001), None).unwrap();
    let rotation = "/var/log/x {\n postrotate\n  /opt/a\n endscript\n}\n";
    fs::write(laid.root().join("etc/logrotate.d/x"), rotation).unwrap();
    let report = laid.report();
    let bound = "more than 20000 facts of uid 6000 were found";
    let mut unknown = report.unknown.iter();
    assert!(unknown.any(|(_, why)| why.contains(bound)));
    assert!(!report.subjects[0].reaches.is_empty());
}
