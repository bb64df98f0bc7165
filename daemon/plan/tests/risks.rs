//! Which risks the paths and the bytes of a plan have, and what of many is named first.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use remit_plan::{
    Base, Bundle, Change, Content, Entry, Kind, Metadata, New, Plan, PlanPath, Risk, Stat, View,
    is_read, needs_approval, risk_sentences, risks, sha256,
};

const fn meta(mode: u32) -> Metadata {
    Metadata {
        mode,
        uid: 0,
        gid: 0,
    }
}

fn base(mode: u32, bytes: &[u8]) -> Base {
    let stat = Stat {
        kind: Kind::File,
        dev: 1,
        ino: 2,
        ctime_ns: 3,
        size: bytes.len() as u64,
        meta: meta(mode),
    };
    Base::new(stat, Some(sha256(bytes)))
}

fn entry(at: &str, change: Change) -> Entry {
    let path = PlanPath::new(at).unwrap();
    Entry { path, change }
}

fn made(at: &str, mode: u32, bytes: &[u8]) -> Entry {
    let new = New::File(Content::bundled(bytes));
    let meta = meta(mode);
    entry(at, Change::Create { new, meta })
}

fn replaced(at: &str, modes: (u32, u32), old: &[u8], new: &[u8]) -> Entry {
    let change = Change::Replace {
        base: base(modes.0, old),
        content: Content::bundled(new),
        meta: meta(modes.1),
    };
    entry(at, change)
}

const fn unknown(entry: &Entry) -> View<'_> {
    View {
        entry,
        old: None,
        new: None,
    }
}

fn of(entry: &Entry) -> Vec<Risk> {
    risks(&unknown(entry)).into_iter().collect()
}

/// Attack: other bytes of /usr/sbin/sshd have the mode of before.
#[test]
fn other_bytes_of_a_program_are_a_risk_that_asks_a_person() {
    let named = [PlanPath::new("/usr/local/bin").unwrap()];
    for (modes, old, new, is_program) in [
        ((0o755, 0o755), "a", "b", true),
        ((0o100, 0o100), "a", "b", true),
        ((0o755, 0o644), "a", "b", true),
        ((0o644, 0o755), "a", "b", true),
        ((0o644, 0o644), "a", "b", false),
        ((0o755, 0o755), "a", "a", false),
    ] {
        let entry = replaced("/usr/local/bin/tool", modes, old.as_bytes(), new.as_bytes());
        let found = of(&entry);
        assert_eq!(found.contains(&Risk::Program), is_program, "{modes:?}");
        let asks = needs_approval(&unknown(&entry), &named);
        let says = "it is a program, and its content changes";
        assert_eq!(asks.as_deref() == Some(says), is_program, "{modes:?}");
    }
    let link = Change::Replace {
        base: Base {
            stat: Stat {
                kind: Kind::Symlink,
                ..base(0o777, b"a").stat
            },
            ..base(0o777, b"a")
        },
        content: Content::bundled(b"b"),
        meta: meta(0o777),
    };
    assert!(!of(&entry("/usr/bin/awk", link)).contains(&Risk::Program));
    assert!(Risk::Program < Risk::WorldWritable);
}

#[test]
fn what_a_path_decides_is_known_in_each_directory_of_settings() {
    for (paths, risk) in [
        (
            &["/etc/ld.so.preload"][..],
            "every program loads the code that it names",
        ),
        (
            &[
                "/etc/cron.yearly/x",
                "/etc/at.deny",
                "/var/spool/cron/crontabs/root",
            ],
            "by themselves at set times",
        ),
        (
            &[
                "/usr/local/share/systemd/user/x.service",
                "/etc/xdg/systemd/user/x.service",
                "/usr/share/containers/systemd/x.container",
                "/var/lib/systemd/linger/bot",
            ],
            "by themselves as services",
        ),
        (
            &[
                "/usr/lib/binfmt.d/x.conf",
                "/lib/binfmt.d/x.conf",
                "/var/lib/binfmts/x",
                "/usr/lib/networkd-dispatcher/routable.d/x",
                "/etc/NetworkManager/dispatcher.d/x",
                "/etc/.git/hooks/pre-commit",
                "/etc/letsencrypt/renewal-hooks/deploy/x",
                "/etc/needrestart/conf.d/x.conf",
            ],
            "it makes programs run by themselves, mostly as root",
        ),
        (
            &[
                "/etc/default/cron",
                "/etc/sysconfig/sshd",
                "/etc/snmp/snmpd.conf",
                "/etc/auto.master",
                "/var/lib/lxc/web/config",
            ],
            "it can name programs that a service runs",
        ),
        (
            &[
                "/etc/apt/sources.list",
                "/usr/share/keyrings/x.gpg",
                "/etc/yum.repos.d/x.repo",
            ],
            "which packages are installed, and from whom",
        ),
        (&["/usr/lib/environment.d/x.conf"], "logins of all users"),
        (
            &[
                "/usr/local/lib/modprobe.d/x.conf",
                "/usr/share/initramfs-tools/hooks/x",
            ],
            "the machine boots with it",
        ),
        (
            &[
                "/etc/ld.so.cache",
                "/usr/lib/ssl/openssl.cnf",
                "/usr/lib/x86_64-linux-gnu/gconv/gconv-modules.cache",
                "/usr/local/lib/python3.11/dist-packages/x.pth",
                "/usr/lib/python3/dist-packages/usercustomize.py",
                "/etc/python3.11/sitecustomize.py",
            ],
            "it decides which code programs load",
        ),
        (
            &["/etc/exports", "/etc/samba/smb.conf"],
            "which files other machines get",
        ),
        (
            &["/etc/vim/vimrc.local", "/etc/gitconfig"],
            "of all users run or read it",
        ),
        (
            &["/etc/apparmor.d/usr.sbin.x", "/etc/audit/rules.d/x.rules"],
            "what programs may do",
        ),
        (
            &[
                "/etc/ssl/certs/x.pem",
                "/usr/local/share/ca-certificates/x.crt",
            ],
            "which servers programs trust",
        ),
        (&["/etc/hosts"], "to which machines names lead"),
        (
            &["/var/lib/dpkg/info/bash.postinst"],
            "dpkg runs it as root",
        ),
        (
            &[
                "/srv/app/x.so",
                "/usr/lib/x86_64-linux-gnu/libc.so.6",
                "/usr/lib/python3/dist-packages/yaml/__init__.py",
                "/usr/share/perl5/Debconf/Config.pm",
                "/usr/lib/python3/dist-packages/__pycache__/six.cpython-311.pyc",
                "/etc/perl/sitecustomize.pl",
                "/usr/share/bash-completion/completions/git",
            ],
            "programs load it as code",
        ),
        (
            &[
                "/etc/nginx/nginx.conf",
                "/usr/local/etc/app.conf",
                "/etc/new.conf",
            ],
            "programs of root may have settings in it",
        ),
    ] {
        for path in paths {
            let found = of(&made(path, 0o644, b"x"));
            let found: Vec<String> = found.iter().map(Risk::to_string).collect();
            assert!(
                found.iter().any(|found| found.contains(risk)),
                "{path}: {found:?}"
            );
        }
    }
    for path in [
        "/srv/site/index.php",
        "/usr/share/doc/x/example.py",
        "/usr/share/man/man1/x.1.gz",
        "/var/lib/dpkg/info/bash.md5sums",
        "/etcx/a",
        "/srv/libx.so.md",
    ] {
        assert_eq!(of(&made(path, 0o644, b"x")), [], "{path}");
    }
    let new = New::Directory;
    let meta = meta(0o755);
    let directory = entry("/etc/nginx", Change::Create { new, meta });
    assert_eq!(of(&directory), []);
    let strong = of(&made("/etc/cron.d/x", 0o644, b"x"));
    assert!(!strong.contains(&Risk::Settings), "{strong:?}");
}

/// A rule without approval has named the directory.
#[test]
fn settings_need_no_approval_and_what_has_an_effect_of_its_own_does() {
    let asks = |at: &str, dir: &str| {
        let entry = made(at, 0o644, b"x");
        needs_approval(&unknown(&entry), &[PlanPath::new(dir).unwrap()])
    };
    assert_eq!(asks("/etc/nginx/conf.d/a.conf", "/etc/nginx"), None);
    for (at, dir) in [
        ("/etc/snmp/snmpd.conf", "/etc/snmp"),
        ("/etc/apt/sources.list.d/x.list", "/etc/apt"),
        ("/usr/local/lib/app/x.py", "/usr/local/lib/app"),
        ("/etc/vim/vimrc.local", "/etc/vim"),
    ] {
        assert!(asks(at, dir).is_some(), "{at}");
    }
}

#[test]
fn settings_are_read_if_they_are_short_and_what_runs_is_read_whole() {
    let long = remit_plan::OLD_BYTES + 1;
    for (path, short, whole) in [
        ("/etc/nginx/nginx.conf", true, false),
        ("/etc/ssl/certs/ca-certificates.crt", true, false),
        ("/etc/apt/sources.list", true, false),
        ("/etc/default/cron", true, true),
        ("/etc/systemd/system/x.service", true, true),
        ("/etc/ld.so.preload", true, true),
        ("/etc/ld.so.cache", true, false),
        ("/root/.selected_editor", true, false),
        ("/root/.gitconfig", true, false),
        ("/home/bob/.vim/vimrc", true, false),
        ("/home/bob/.config/autostart/x/y.desktop", true, false),
        ("/home/bob/.bashrc", true, true),
        ("/home/bob/.cache/pip/http/a", false, false),
        ("/home/bob/x", false, false),
        ("/usr/lib/libx.so.1", false, false),
        ("/usr/bin/tool", false, false),
        ("/srv/app/x", false, false),
    ] {
        let path = PlanPath::new(path).unwrap();
        assert_eq!(is_read(&path, 1), short, "{path}");
        assert_eq!(is_read(&path, long), whole, "{path}");
    }
}

/// An upload is refused where its bytes have to be read: also in a script of a package that the plan does not touch.
#[test]
fn script_of_another_package_is_no_upload() {
    let uploaded = |at: &str| {
        let mut entry = made(at, 0o755, b"#!/bin/sh\n");
        entry.change.pack();
        entry
    };
    let is_made = |list: Option<&str>, at: &str| {
        let list = list.map(|list| made(list, 0o644, b"/.\n"));
        let plan = Plan::new(list.into_iter().chain([uploaded(at)]).collect()).unwrap();
        let new = if plan.entries().len() == 2 {
            &b"/.\n"[..]
        } else {
            b""
        };
        Bundle::new(&plan, new, b"").is_ok()
    };
    let script = "/var/lib/dpkg/info/bash.postinst";
    assert!(!is_made(None, script));
    assert!(!is_made(Some("/var/lib/dpkg/info/tree.list"), script));
    assert!(is_made(Some("/var/lib/dpkg/info/bash.list"), script));
    assert!(is_made(None, "/usr/share/doc/x"));
    assert!(!is_made(None, "/etc/nginx/nginx.conf"));
}

#[test]
fn files_of_dpkg_and_compiled_python_belong_to_the_package() {
    let list = "/usr/lib/py/tool.py\n/lib/x86_64-linux-gnu/libtool.so.1\n";
    let cache = "/usr/lib/py/__pycache__";
    let entries = [
        made("/var/lib/dpkg/info/tool:amd64.list", 0o644, list.as_bytes()),
        made("/var/lib/dpkg/info/tool:amd64.postinst", 0o755, b"x"),
        made("/var/lib/dpkg/info/zsh.postinst", 0o755, b"x"),
        made("/usr/lib/py/tool.py", 0o644, b"x"),
        made(&format!("{cache}/tool.cpython-311.pyc"), 0o644, b"x"),
        made(&format!("{cache}/zip.cpython-311.pyc"), 0o644, b"x"),
        made("/usr/lib/x86_64-linux-gnu/libtool.so.1", 0o644, b"x"),
        replaced("/etc/ld.so.cache", (0o644, 0o644), b"a", b"b"),
        made("/etc/ld.so.conf.d/z.conf", 0o644, b"x"),
    ];
    let views = entries.iter().map(|entry| View {
        entry,
        old: None,
        new: entry
            .path
            .name()
            .ends_with(b".list")
            .then_some(list.as_bytes()),
    });
    let found = risk_sentences(views);
    for expect in [
        "/etc/ld.so.conf.d/z.conf, /etc/ld.so.cache: it decides which code programs load",
        "/var/lib/dpkg/info/zsh.postinst, [… 1 more …]: dpkg runs it as root when a package changes",
    ] {
        assert!(found.contains(&expect.to_owned()), "{found:#?}");
    }
    let code = found.iter().find(|risk| risk.ends_with("load it as code"));
    let code = code.unwrap();
    assert!(code.contains("p.cpython-311.pyc, ["), "{code}");
}

/// Attack: a list whose package no page names would have its paths come last.
#[test]
fn list_of_no_package_hides_nothing() {
    let of = |name: &str| {
        let list = b"/etc/cron.d/evil\n";
        let path = format!("/var/lib/dpkg/info/{name}.list");
        let entries = [
            made("/etc/cron.d/evil", 0o644, b"x"),
            made("/etc/cron.d/usual", 0o644, b"x"),
            made(&path, 0o644, list),
        ];
        let views = entries.iter().map(|entry| View {
            entry,
            old: None,
            new: entry.path.name().ends_with(b".list").then_some(&list[..]),
        });
        let found = risk_sentences(views);
        let cron = found.iter().find(|risk| risk.starts_with("/etc/cron.d/"));
        cron.unwrap().starts_with("/etc/cron.d/evil")
    };
    assert!(!of("tool"));
    for name in ["a b", "_"] {
        assert!(of(name), "{name}");
    }
}

/// Attack: names that fill a sentence hide the one that gives root.
#[test]
fn paths_of_other_effects_do_not_hide_each_other() {
    let mut paths = vec![
        "/etc/ld.so.cache".to_owned(),
        "/etc/ld.so.preload".to_owned(),
        "/var/spool/cron/crontabs/root".to_owned(),
        "/etc/systemd/system/z.service".to_owned(),
    ];
    paths.extend((0..12).map(|at| format!("/usr/lib/x86_64-linux-gnu/lib{at}.so.1")));
    paths.extend((0..7).map(|at| format!("/etc/init.d/a-service-with-a-long-name-{at}")));
    paths.sort();
    let entries: Vec<Entry> = paths.iter().map(|path| made(path, 0o644, b"x")).collect();
    let found = risk_sentences(entries.iter().map(unknown));
    for path in [
        "/etc/ld.so.preload: every program",
        "/var/spool/cron/crontabs/root: it makes programs",
        "/etc/systemd/system/z.service: it makes programs",
        "/etc/ld.so.cache: it decides which code",
    ] {
        assert!(
            found.iter().any(|risk| risk.starts_with(path)),
            "{path}: {found:#?}"
        );
    }
}
