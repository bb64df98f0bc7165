//! The `strict` sandbox: what it shows and allows, and what not.

use super::common::*;
use nix::mount::{MsFlags, mount};
use remit_confine::*;
use std::os::{fd::AsFd, unix::fs::PermissionsExt};

pub fn listed(path: impl AsRef<std::path::Path>) -> ListedPath {
    ListedPath {
        path: path.as_ref().into(),
        optional: false,
    }
}

pub fn plain() -> StrictProfile {
    StrictProfile {
        limits: LIMITS,
        ..StrictProfile::default()
    }
}

pub fn strict(profile: &StrictProfile) -> Sandbox {
    compile_strict(profile, &probe().unwrap()).unwrap()
}

pub fn run_strict(profile: &StrictProfile, argv: &[&str], with: &With<'_>) -> Ran {
    let fixture = fixture();
    let ran = run_in(&strict(profile), &fixture, argv, with);
    end(fixture);
    ran
}

fn sh_in(profile: &StrictProfile, script: &str) -> Ran {
    run_strict(profile, &["sh", "-c", script], &With::default())
}

pub fn run_as(profile: &StrictProfile, argv: &[&str]) -> Ran {
    run_as_with(profile, argv, &[])
}

fn run_as_with(profile: &StrictProfile, argv: &[&str], arguments: &[Argument<'_>]) -> Ran {
    let fixture = fixture();
    let cgroup = fixture.cgroup();
    let with = With {
        cgroup: Some(&cgroup),
        arguments,
        ..With::default()
    };
    let ran = run_strict(profile, argv, &with);
    assert!(!cgroup.populated().unwrap(), "something is left");
    end(fixture);
    ran
}

const ROOT: StrictProfile = StrictProfile {
    user: Some((0, 0)),
    groups: Vec::new(),
    capabilities: 0,
    read: Vec::new(),
    write: Vec::new(),
    exec: Vec::new(),
    devices: Vec::new(),
    sockets: Vec::new(),
    scratch: Vec::new(),
    write_and_exec: false,
    network: Network::None,
    limits: LIMITS,
};

#[test]
fn a_program_runs_with_every_step_done() {
    let ran = run_strict(&plain(), &["true"], &With::default());
    let Progress::Executed(done) = &ran.progress else {
        panic!("{ran:?}")
    };
    let kernel = probe().unwrap();
    for step in Step::ALL {
        let here = match step {
            Step::Exec | Step::Loginuid | Step::Mounts | Step::Plan | Step::Arguments => false,
            Step::Landlock => kernel.landlock_abi > 0,
            Step::Keyring => kernel.keyrings,
            _ => true,
        };
        assert_eq!(done.contains(&step), here, "{}: {done:?}", step.name());
    }
    assert!(done.is_sorted(), "{done:?}");
    assert_eq!((ran.code(), ran.err.as_str()), (Some(0), ""));
    assert!(ran.usage.maxrss_bytes > 0 && ran.usage.cpu_usec > 0);
}

#[test]
fn root_holds_only_base_set() {
    let script = "ls -A /; ls -A /dev /var /tmp; ls -d /proc/[0-9]*; echo $$";
    let ran = sh_in(&plain(), script);
    assert_eq!(ran.err, "");
    let links = ["bin", "lib", "lib32", "lib64", "libx32", "sbin"];
    let top: Vec<&str> = ran
        .out
        .lines()
        .take_while(|line| !line.is_empty() && !line.starts_with("/dev"))
        .filter(|name| !links.contains(name))
        .collect();
    assert_eq!(top, ["dev", "etc", "proc", "tmp", "usr", "var"]);
    let rest = ran.out.split_once("/dev:\n").unwrap().1;
    let devices = "fd\nfull\nnull\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n";
    assert_eq!(
        rest,
        format!("{devices}\n/tmp:\nhome\n\n/var:\ntmp\n/proc/2\n2\n")
    );
    let ran = sh_in(&plain(), "ls /proc /etc");
    for name in ["sys", "meminfo", "kcore", "shadow", "ssh"] {
        assert!(!ran.out.lines().any(|line| line == name), "{name}");
    }
}

fn tried(profile: &StrictProfile, as_user: bool, tries: &[(&str, bool)]) {
    let script: String = tries
        .iter()
        .map(|(what, _)| {
            format!("if ( {what} ) >/dev/null 2>&1; then echo yes; else echo no; fi\n")
        })
        .collect();
    let argv = ["sh", "-c", &script];
    let ran = match as_user {
        false => run_strict(profile, &argv, &With::default()),
        true => run_as(profile, &argv),
    };
    let answers: Vec<&str> = ran.out.lines().collect();
    assert_eq!(answers.len(), tries.len(), "{ran:?}");
    for ((what, goes), answer) in tries.iter().zip(answers) {
        assert_eq!(answer == "yes", *goes, "{what}");
    }
}

#[test]
fn host_cannot_be_changed_or_reached() {
    let tries = [
        ("echo x > /tmp/file", true),
        ("echo x > /dev/shm/file", true),
        ("cat /etc/passwd", true),
        ("getent passwd root", true),
        ("true > /dev/null", true),
        ("head -c1 /dev/urandom", true),
        ("touch /file", false),
        ("touch /etc/file", false),
        ("touch /usr/file", false),
        ("chmod 700 /usr", false),
        ("cp /bin/true /tmp/t && chmod +x /tmp/t && /tmp/t", false),
        (
            "cp /bin/true /dev/shm/t && chmod +x /dev/shm/t && /dev/shm/t",
            false,
        ),
        ("cat /proc/1/environ", false),
        ("ls /proc/1/root/", false),
        ("mknod /tmp/null c 1 3", false),
        ("unshare -r true", false),
        ("mount -t tmpfs x /tmp", false),
        ("cat /proc/sys/kernel/hostname", false),
        ("ls /sys/class", false),
        ("cat /etc/shadow", false),
    ];
    tried(&plain(), false, &tries);
    tried(&ROOT, true, &tries);
}

#[test]
fn listed_paths_are_what_they_are_listed_for() {
    let dir = HostDir::new();
    for name in ["read", "write", "exec", "both"] {
        let path = dir.0.join(name);
        std::fs::create_dir(&path).unwrap();
        std::fs::copy("/bin/true", path.join("program")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    dir.file("hidden", 0o644, "hidden");
    let file = dir.file("file", 0o666, "text");
    let at = |name: &str| dir.0.join(name);
    let profile = StrictProfile {
        read: vec![
            listed(at("read")),
            ListedPath {
                path: at("missing"),
                optional: true,
            },
        ],
        write: vec![listed(at("write")), listed(at("both")), listed(&file)],
        exec: vec![listed(at("exec")), listed(at("both"))],
        scratch: vec![at("scratch"), "/srv/deep/down".into()],
        write_and_exec: true,
        ..plain()
    };
    let root = StrictProfile {
        user: Some((0, 0)),
        ..profile.clone()
    };
    let tries: Vec<(String, bool)> = [
        ("cat @/read/program", true),
        ("@/read/program", false),
        ("touch @/read/new", false),
        ("chmod 700 @/read/program", false),
        ("@/write/program", false),
        ("touch @/write/new && rm @/write/new", true),
        ("touch @/write/id && chmod 4755 @/write/id", false),
        ("cp /bin/true @/write/id && chmod g+s @/write/id", false),
        ("touch /tmp/id && chmod 4755 /tmp/id", false),
        ("@/exec/program", true),
        ("touch @/exec/new", false),
        ("touch @/both/new && rm @/both/new", true),
        ("@/both/program", true),
        ("echo more > @/file", true),
        ("touch @/scratch/new", true),
        ("touch /srv/deep/down/new", true),
        ("touch /srv/deep/new", false),
        (
            "cp /bin/true @/scratch/t && chmod +x @/scratch/t && @/scratch/t",
            false,
        ),
        ("cat @/hidden", false),
        ("ls @/missing", false),
        ("ls @/read", true),
    ]
    .into_iter()
    .map(|(what, goes)| (what.replace('@', dir.0.to_str().unwrap()), goes))
    .collect();
    let tries: Vec<(&str, bool)> = tries.iter().map(|(w, g)| (w.as_str(), *g)).collect();
    tried(&profile, false, &tries);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "more\n");
    tried(&root, true, &tries);
    assert!(!dir.0.join("scratch").exists(), "made on the host");
}

/// A file in memory counts, too: without a controller nothing else bounds it.
#[test]
fn s11_file_size_limit_applies_to_host_files() {
    let dir = HostDir::new();
    let write = StrictProfile {
        write: vec![listed(&dir.0)],
        ..plain()
    };
    let blocks = format!("{}\n", LIMITS.fsize / 512);
    assert_eq!(sh_in(&write, "ulimit -f").out, blocks);
    assert_eq!(sh_in(&plain(), "ulimit -f").out, blocks);
}

#[test]
fn locks_are_real_where_files_are_written() {
    let dir = HostDir::new();
    let path = dir.file("file", 0o666, "");
    let file = std::fs::File::open(&path).unwrap();
    let held = nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusive).unwrap();
    let script = format!("flock -n {path} true");
    let write = StrictProfile {
        write: vec![listed(&path)],
        ..plain()
    };
    let read = StrictProfile {
        read: vec![listed(&path)],
        ..plain()
    };
    assert_eq!(sh_in(&write, &script).code(), Some(1));
    assert_eq!(sh_in(&read, &script).code(), Some(0));
    drop(held);
    assert_eq!(sh_in(&write, &script).code(), Some(0));
}

#[test]
fn listed_path_of_wrong_kind_is_named() {
    let dir = HostDir::new();
    let file = dir.file("file", 0o644, "");
    std::os::unix::fs::symlink(&file, dir.0.join("link")).unwrap();
    std::os::unix::fs::symlink(&dir.0, dir.0.join("way")).unwrap();
    let at = |name: &str| dir.0.join(name);
    let fixture = fixture();
    for (profile, path, errno, why) in [
        (
            StrictProfile {
                read: vec![listed(at("missing"))],
                ..plain()
            },
            at("missing"),
            libc::ENOENT,
            Why::Errno,
        ),
        (
            StrictProfile {
                read: vec![listed(at("link"))],
                ..plain()
            },
            at("link"),
            libc::ELOOP,
            Why::Errno,
        ),
        (
            StrictProfile {
                write: vec![listed(at("way/file"))],
                ..plain()
            },
            at("way/file"),
            libc::ELOOP,
            Why::Errno,
        ),
        (
            StrictProfile {
                devices: vec![listed(at("file"))],
                ..plain()
            },
            at("file"),
            0,
            Why::WrongKind,
        ),
        (
            StrictProfile {
                sockets: vec![listed(at("file"))],
                ..plain()
            },
            at("file"),
            0,
            Why::WrongKind,
        ),
    ] {
        let sandbox = strict(&profile);
        let ran = run_in(&sandbox, &fixture, &["true"], &With::default());
        let Progress::Failed(
            StepFailure {
                step,
                errno: e,
                why: w,
                at,
            },
            _,
        ) = ran.progress
        else {
            panic!("{ran:?}")
        };
        assert_eq!((step, e, w), (Step::Root, errno, why));
        let named = sandbox.description().paths[usize::from(at.unwrap())].clone();
        assert_eq!(named, path);
    }
    end(fixture);
}

/// Also a link of root: a job of root may have made it.
#[test]
fn optional_path_with_a_link_is_left_out() {
    let dir = HostDir::new();
    let real = dir.file("file", 0o666, "text");
    let link = |to: &str, name: &str| {
        std::os::unix::fs::symlink(to, dir.0.join(name)).unwrap();
        dir.path(name)
    };
    let (own, way) = (link("file", "own"), link(".", "way") + "/file");
    let profiles = |path: &str| {
        let list = || {
            vec![ListedPath {
                optional: true,
                ..listed(path)
            }]
        };
        let mut all = [(); 5].map(|()| plain());
        all[0].read = list();
        all[1].write = list();
        all[2].exec = list();
        all[3].devices = list();
        all[4].sockets = list();
        all
    };
    for (path, is_shown) in [(&real, true), (&own, false), (&way, false)] {
        let kinds = if is_shown { 3 } else { 5 };
        for profile in profiles(path).iter().take(kinds) {
            let ran = sh_in(profile, &format!("cat {path} || exit 7"));
            assert_eq!(ran.out, if is_shown { "text" } else { "" }, "{profile:?}");
            assert_eq!(ran.code(), Some(if is_shown { 0 } else { 7 }), "{ran:?}");
        }
    }
}

#[test]
fn profiles_that_contradict_themselves_are_refused() {
    let kernel = probe().unwrap();
    let etc = || vec![listed("/etc")];
    for (profile, why) in [
        (
            StrictProfile {
                read: vec![listed("/")],
                ..plain()
            },
            "beneath '/'",
        ),
        (
            StrictProfile {
                read: vec![listed("etc")],
                ..plain()
            },
            "beneath '/'",
        ),
        (
            StrictProfile {
                read: vec![listed("/etc/../root")],
                ..plain()
            },
            "beneath '/'",
        ),
        (
            StrictProfile {
                read: vec![listed("/proc/sys")],
                ..plain()
            },
            "'/proc' is the sandbox's",
        ),
        (
            StrictProfile {
                write: vec![listed("/tmp")],
                ..plain()
            },
            "has a private one",
        ),
        (
            StrictProfile {
                write: etc(),
                exec: etc(),
                ..plain()
            },
            "two purposes",
        ),
        (
            StrictProfile {
                read: etc(),
                devices: etc(),
                ..plain()
            },
            "two purposes",
        ),
        (
            StrictProfile {
                read: etc(),
                scratch: vec!["/etc".into()],
                ..plain()
            },
            "the host's",
        ),
        (
            StrictProfile {
                scratch: vec!["/dev".into()],
                ..plain()
            },
            "sandbox's own",
        ),
    ] {
        let error = compile_strict(&profile, &kernel).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

/// Landlock's ninth version refuses what only mounts and modes decided before: sockets that are not listed.
#[test]
fn socket_beside_a_listed_one_is_refused_by_landlock() {
    let dir = HostDir::new();
    let [listed_one, other] = ["listed", "other"].map(|name| dir.0.join(name));
    let _listeners = [&listed_one, &other].map(|path| {
        let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)).unwrap();
        listener
    });
    let profile = StrictProfile {
        sockets: vec![listed(&listed_one)],
        read: vec![listed(&dir.0)],
        ..plain()
    };
    let perl = "use Socket; for my $at (@ARGV) { socket(S, AF_UNIX, SOCK_STREAM, 0) or die; \
        print connect(S, pack_sockaddr_un($at)) ? qq(met\n) : qq($!\n) } \
        socket(L, AF_UNIX, SOCK_STREAM, 0) and bind(L, pack_sockaddr_un('/tmp/own')) and listen(L, 1) or die; \
        socket(S, AF_UNIX, SOCK_STREAM, 0) or die; print connect(S, pack_sockaddr_un('/tmp/own')) ? qq(own\n) : qq($!\n)";
    let [first, second] = [&listed_one, &other].map(|path| path.display().to_string());
    let ran = run_strict(
        &profile,
        &["perl", "-e", perl, &first, &second],
        &With::default(),
    );
    let expected = match probe().unwrap().landlock_abi {
        0..=8 => "met\nmet\nown\n",
        _ => "met\nPermission denied\nown\n",
    };
    assert_eq!(ran.out, expected, "{ran:?}");
}

#[test]
fn a_listed_device_and_a_listed_socket_work() {
    let dir = HostDir::new();
    let path = dir.0.join("socket");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
    let device = dir.0.join("zero");
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o666);
    let zero = nix::sys::stat::makedev(1, 5);
    nix::sys::stat::mknod(&device, nix::sys::stat::SFlag::S_IFCHR, mode, zero).unwrap();
    std::fs::set_permissions(&device, std::fs::Permissions::from_mode(0o666)).unwrap();
    let profile = StrictProfile {
        sockets: vec![listed(&path)],
        devices: vec![listed(&device)],
        ..plain()
    };
    let connect = format!(
        "use Socket; socket(S, AF_UNIX, SOCK_STREAM, 0) or die \"no socket: $!\"; \
         connect(S, pack_sockaddr_un('{}')) or die \"no connection: $!\"",
        path.display()
    );
    let script = format!(
        "perl -e \"$1\" && echo met; head -c1 {0} | wc -c; [ -w {0} ] && echo x > {0} && echo written",
        device.display()
    );
    let ran = run_strict(
        &profile,
        &["sh", "-c", &script, "sh", &connect],
        &With::default(),
    );
    assert_eq!(ran.out, "met\n1\nwritten\n", "{ran:?}");
    drop(listener);
    let ran = run_strict(&plain(), &["perl", "-e", &connect], &With::default());
    assert!(ran.err.contains("no socket: Address family"), "{ran:?}");
    // In a directory that is only listed for reading, the device node cannot be opened.
    let profile = StrictProfile {
        read: vec![listed(&dir.0)],
        ..plain()
    };
    let ran = sh_in(&profile, &format!("head -c1 {}", device.display()));
    assert!(ran.err.contains("Permission denied"), "{ran:?}");
}

#[test]
fn profile_user_has_exactly_its_rights() {
    let status = "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp:)' /proc/self/status; id -u";
    let (chown, net_bind) = (1u64, 1u64 << 10);
    for (user, capabilities) in [
        ((0, 0), 0),
        ((0, 0), chown | net_bind),
        ((33, 33), 0),
        ((33, 33), chown),
    ] {
        let profile = StrictProfile {
            user: Some(user),
            groups: vec![4, 7],
            capabilities,
            ..plain()
        };
        let ran = run_as(&profile, &["sh", "-c", status]);
        let (uid, gid) = user;
        let caps = format!("{capabilities:016x}");
        let want = format!(
            "Uid:\t{uid}\t{uid}\t{uid}\t{uid}\nGid:\t{gid}\t{gid}\t{gid}\t{gid}\nGroups:\t4 7 \n\
             CapInh:\t{caps}\nCapPrm:\t{caps}\nCapEff:\t{caps}\nCapBnd:\t{caps}\nCapAmb:\t{caps}\n\
             NoNewPrivs:\t1\nSeccomp:\t2\n{uid}\n"
        );
        assert_eq!(ran.out, want, "{ran:?}");
    }
}

/// By its effect: only with the capability a file can be given away, as root or not.
#[test]
fn capabilities_do_what_they_are_for() {
    let give = "touch /tmp/x && chown 5:5 /tmp/x";
    for user in [(0, 0), (33, 33)] {
        for (capabilities, goes) in [(0, false), (1, true)] {
            let profile = StrictProfile {
                user: Some(user),
                capabilities,
                ..plain()
            };
            tried(&profile, true, &[(give, goes)]);
        }
    }
    for (capabilities, goes) in [(0, false), (1, true)] {
        let profile = StrictProfile {
            capabilities,
            ..plain()
        };
        tried(&profile, false, &[(give, goes)]);
    }
}

#[test]
fn a_user_of_the_profile_needs_a_cgroup() {
    let fixture = fixture();
    let error = without_cgroup(&strict(&ROOT), &fixture, uid()).unwrap_err();
    assert!(error.to_string().contains("needs a cgroup"), "{error}");
    end(fixture);
}

#[test]
fn profile_user_executes_only_trusted_programs() {
    let dir = HostDir::new();
    for (name, mode) in [("mine", 0o755), ("open", 0o777)] {
        std::fs::create_dir(dir.0.join(name)).unwrap();
        std::fs::copy("/bin/true", dir.0.join(name).join("true")).unwrap();
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(dir.0.join(name), mode).unwrap();
    }
    for (link, to) in [
        ("mine/link", "open/true"),
        ("open/onward", "mine/true"),
        ("mine/chain", "open/onward"),
        ("mine/onward", "mine/true"),
        ("mine/own_chain", "mine/onward"),
    ] {
        std::os::unix::fs::symlink(dir.0.join(to), dir.0.join(link)).unwrap();
    }
    std::os::unix::fs::symlink("../mine/./true", dir.0.join("mine/relative")).unwrap();
    std::os::unix::fs::symlink("../open", dir.0.join("mine/beside")).unwrap();
    std::os::unix::fs::symlink("/nothing/here", dir.0.join("mine/gone")).unwrap();
    let profile = StrictProfile {
        exec: vec![listed(&dir.0)],
        ..ROOT
    };
    for (name, trusted) in [
        ("mine/true", true),
        ("open/true", false),
        ("mine/link", false),
        ("mine/chain", false),
        ("mine/own_chain", true),
        ("mine/relative", true),
        ("mine/beside/../mine/true", false),
    ] {
        let ran = run_as(&profile, &[&dir.path(name)]);
        match ran.progress {
            Progress::Executed(_) => assert!(trusted, "{name}"),
            Progress::Failed(StepFailure { step, why, .. }, _) => {
                assert_eq!(
                    (step, why, trusted),
                    (Step::Exec, Why::Untrusted, false),
                    "{name}"
                );
            }
            Progress::More => panic!(),
        }
    }
    // What is missing is not executed. An interpreter that others could make is refused.
    let script = |name: &str, interpreter: &str| {
        let text = format!("#!{}\n", dir.path(interpreter));
        dir.file(name, 0o755, &text);
        dir.path(name)
    };
    for (program, expect) in [
        (dir.path("mine/gone"), Why::NotFound),
        (script("mine/early", "open/missing"), Why::Untrusted),
        (script("mine/late", "mine/missing"), Why::BadInterpreter),
    ] {
        let ran = run_as(&profile, &[&program]);
        let Progress::Failed(StepFailure { why, .. }, _) = ran.progress else {
            panic!("{ran:?}")
        };
        assert_eq!(why, expect, "{program}");
    }
}

#[test]
fn namespaces_are_the_jobs_own() {
    let script = "for n in pid net ipc uts cgroup mnt; do readlink /proc/self/ns/$n; done; cat /proc/self/cgroup";
    let ran = sh_in(&plain(), script);
    for (name, line) in ["pid", "net", "ipc", "uts", "cgroup", "mnt"]
        .iter()
        .zip(ran.out.lines())
    {
        let host = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        assert!(line.starts_with(&format!("{name}:[")), "{line}");
        assert_ne!(line, host.to_str().unwrap());
    }
    assert!(ran.out.contains("0::/\n"), "{}", ran.out);
    let ran = sh_in(&plain(), "ipcmk -M 4096 && ipcs -m | grep -c 0x");
    assert_eq!(ran.code(), Some(0), "{ran:?}");
    assert!(ran.out.ends_with("\n1\n"), "{ran:?}");
    // As many bytes as a private directory takes, and not one page more.
    let host = std::fs::read_to_string("/proc/sys/kernel/shmall").unwrap();
    let script = "ipcmk -M 1048576; ipcmk -M 4096";
    let ran = sh_in(&plain(), script);
    assert!(
        ran.out.contains("Shared memory id: 0") && ran.err.contains("No space"),
        "{ran:?}"
    );
    assert_eq!(
        std::fs::read_to_string("/proc/sys/kernel/shmall").unwrap(),
        host
    );
}

/// A reload compiles all profiles. A worker of before has the links as they led then.
#[test]
fn profile_compiled_again_follows_links_of_the_machine() {
    super::mounts::own_mounts();
    let none = None::<&str>;
    mount(none, "/etc", Some("tmpfs"), MsFlags::empty(), none).unwrap();
    let fixture = fixture();
    for program in ["/usr/bin/env", "/usr/bin/id"] {
        let _ = std::fs::remove_file("/etc/localtime");
        std::os::unix::fs::symlink(program, "/etc/localtime").unwrap();
        let sandbox = strict(&plain());
        let argv = ["readlink", "/etc/localtime"];
        let ran = run_in(&sandbox, &fixture, &argv, &With::default());
        assert_eq!(ran.out.trim_end(), program, "{ran:?}");
    }
    end(fixture);
}

/// The profiles of the package list such paths, which are links on many machines.
#[test]
fn link_of_the_base_set_stays_where_a_profile_only_reads_it() {
    super::mounts::own_mounts();
    let none = None::<&str>;
    for directory in ["/etc", "/run"] {
        mount(none, directory, Some("tmpfs"), MsFlags::empty(), none).unwrap();
    }
    for directory in ["/etc/ssl", "/run/x"] {
        std::fs::create_dir(directory).unwrap();
    }
    std::fs::write("/run/x/stub", "names").unwrap();
    for (to, name) in [
        ("../run/x/stub", "/etc/resolv.conf"),
        ("../../run/x", "/etc/ssl/certs"),
        ("x/stub", "/run/docker.sock"),
    ] {
        std::os::unix::fs::symlink(to, name).unwrap();
    }
    let list = |paths: &[&str], optional| {
        let one = |path| ListedPath {
            optional,
            ..listed(path)
        };
        paths.iter().map(one).collect::<Vec<_>>()
    };
    let on_host = |read| StrictProfile {
        network: Network::Host,
        read,
        ..plain()
    };
    let without = |read, sockets| StrictProfile {
        read,
        sockets,
        ..plain()
    };
    let name = "/etc/resolv.conf";
    for (profile, want) in [
        (on_host(Vec::new()), "names"),
        (on_host(list(&[name], false)), "names"),
        (on_host(list(&[name, "/run/x"], true)), "names"),
        (without(list(&[name, "/etc/ssl/certs"], true), vec![]), ""),
        (without(vec![], list(&["/run/docker.sock"], true)), ""),
    ] {
        let script = format!("cat {name} /etc/ssl/certs/stub /run/docker.sock 2>&-; :");
        let ran = sh_in(&profile, &script);
        assert_eq!((ran.out.as_str(), ran.code()), (want, Some(0)), "{ran:?}");
    }
    let sandbox = strict(&without(list(&[name], false), vec![]));
    let fixture = fixture();
    let ran = run_in(&sandbox, &fixture, &["true"], &With::default());
    let Progress::Failed(StepFailure { step, errno, .. }, _) = ran.progress else {
        panic!("{ran:?}")
    };
    assert_eq!((step, errno), (Step::Root, libc::ELOOP));
    end(fixture);
}

/// A job of root that may write a directory in `/run` must not lead later jobs to files that they may not see.
#[test]
fn links_of_the_base_set_are_followed_only_in_directories_of_root() {
    super::mounts::own_mounts();
    let none = None::<&str>;
    for directory in ["/etc", "/run", "/var"] {
        mount(none, directory, Some("tmpfs"), MsFlags::empty(), none).unwrap();
    }
    std::fs::create_dir("/run/x").unwrap();
    for (file, text) in [("/run/x/stub", "names"), ("/etc/secret", "secret")] {
        std::fs::write(file, text).unwrap();
    }
    let profile = StrictProfile {
        network: Network::Host,
        ..plain()
    };
    for (links, want) in [
        (&[("/etc/resolv.conf", "../run/x/stub")][..], "names"),
        (
            &[("/etc/resolv.conf", "names"), ("/etc/names", "/run/x/stub")],
            "names",
        ),
        (
            &[
                ("/etc/resolv.conf", "/var/run/x/stub"),
                ("/var/run", "/run"),
            ],
            "names",
        ),
        (
            &[
                ("/etc/resolv.conf", "/run/x/link"),
                ("/run/x/link", "../../etc/secret"),
            ],
            "",
        ),
        (
            &[("/etc/resolv.conf", "/run/l/secret"), ("/run/l", "/etc")],
            "",
        ),
        // As systemd-resolved has it without its own name server.
        (
            &[
                ("/etc/resolv.conf", "/run/x/other"),
                ("/run/x/other", "stub"),
            ],
            "names",
        ),
        (
            &[("/etc/resolv.conf", "/run/x/up"), ("/run/x/up", "..")],
            "",
        ),
        (&[("/etc/resolv.conf", "resolv.conf")], ""),
    ] {
        for (name, to) in links {
            std::os::unix::fs::symlink(to, name).unwrap();
        }
        let ran = sh_in(&profile, "cat /etc/resolv.conf 2>&-; :");
        assert_eq!(
            (ran.out.as_str(), ran.code()),
            (want, Some(0)),
            "{links:?}: {ran:?}"
        );
        for (name, _) in links {
            std::fs::remove_file(name).unwrap();
        }
    }
}

#[test]
fn host_name_files_need_host_network() {
    let script = "cat /etc/hosts; ls /etc/resolv.conf";
    let ran = sh_in(&plain(), script);
    assert_eq!(ran.out, "127.0.0.1 localhost\n::1 localhost\n");
    let profile = StrictProfile {
        network: Network::Host,
        ..plain()
    };
    let ran = sh_in(&profile, script);
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap();
    assert!(ran.out.starts_with(&hosts), "{ran:?}");
    let resolves = std::fs::metadata("/etc/resolv.conf").is_ok();
    assert_eq!(ran.out.ends_with("/etc/resolv.conf\n"), resolves, "{ran:?}");
}

#[test]
fn a_secret_and_a_file_come_as_descriptors() {
    let dir = HostDir::new();
    dir.file("config", 0o644, "from the file\n");
    let secret = sys::sealed_memfd(c"secret", b"from the secret\n").unwrap();
    let script =
        sys::sealed_memfd(c"script", b"cat \"$1\" \"${2#--x=}\"; ls /proc/self/fd").unwrap();
    let under = std::ffi::CString::new(dir.0.to_str().unwrap()).unwrap();
    let path = |by_descriptor| What::Path {
        under: &under,
        beneath: c"config",
        is: PathIs::File,
        by_descriptor,
        copy: None,
    };
    let profile = StrictProfile {
        read: vec![listed(&dir.0)],
        ..plain()
    };
    let fixture = fixture();
    for by_descriptor in [true, false] {
        let arguments = [
            Argument {
                index: 2,
                before: b"",
                what: What::Secret(secret.as_fd()),
            },
            Argument {
                index: 3,
                before: b"--x=",
                what: path(by_descriptor),
            },
        ];
        let with = With {
            script: Some(script.as_fd()),
            arguments: &arguments,
            ..With::default()
        };
        let argv = ["sh", "/proc/self/fd/3", "?", "?"];
        let ran = run_in(&strict(&profile), &fixture, &argv, &with);
        let Progress::Executed(done) = &ran.progress else {
            panic!("{ran:?}")
        };
        assert!(done.contains(&Step::Arguments));
        let open = if by_descriptor {
            "0\n1\n2\n3\n4\n5\n6\n"
        } else {
            "0\n1\n2\n3\n4\n5\n"
        };
        assert_eq!(
            ran.out,
            format!("from the secret\nfrom the file\n{open}"),
            "{ran:?}"
        );
    }
    end(fixture);
}

/// Outside a job that user could replace a checked path by a link for the job to follow.
#[test]
fn user_gaining_rights_is_not_trusted_with_paths() {
    let dir = HostDir::new();
    let (uid, capability) = (64_301, 1 << 2);
    std::os::unix::fs::chown(&dir.0, Some(uid), Some(uid)).unwrap();
    dir.file("file", 0o644, "");
    let under = std::ffi::CString::new(dir.0.to_str().unwrap()).unwrap();
    for (capabilities, groups, by_descriptor, taken) in [
        (0, vec![], false, true),
        (capability, vec![], true, true),
        (capability, vec![], false, false),
        (0, vec![42], false, false),
    ] {
        let profile = StrictProfile {
            user: Some((uid, uid)),
            capabilities,
            groups,
            read: vec![listed(&dir.0)],
            ..plain()
        };
        let arguments = [Argument {
            index: 1,
            before: b"",
            what: What::Path {
                under: &under,
                beneath: c"file",
                is: PathIs::File,
                by_descriptor,
                copy: None,
            },
        }];
        let ran = run_as_with(&profile, &["true", "?"], &arguments);
        match ran.progress {
            Progress::Executed(_) => assert!(taken, "{profile:?}"),
            Progress::Failed(StepFailure { step, why, .. }, _) => {
                assert_eq!((step, why, taken), (Step::Arguments, Why::Untrusted, false));
            }
            Progress::More => panic!(),
        }
    }
}

#[test]
fn redirected_path_arguments_are_refused() {
    let dir = HostDir::new();
    let uid = uid();
    dir.file("private", 0o600, "");
    dir.file("file", 0o644, "");
    std::os::unix::fs::symlink("/etc/passwd", dir.0.join("link")).unwrap();
    std::os::unix::fs::symlink("/etc", dir.0.join("way")).unwrap();
    nix::unistd::mkfifo(
        &dir.0.join("fifo"),
        nix::sys::stat::Mode::from_bits_truncate(0o666),
    )
    .unwrap();
    for (name, owner, mode) in [
        ("open", 0, 0o777),
        ("mine", uid, 0o755),
        ("other", 5, 0o755),
    ] {
        let path = dir.0.join(name);
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        std::os::unix::fs::chown(&path, Some(owner), None).unwrap();
        std::fs::write(path.join("file"), "").unwrap();
    }
    let under = std::ffi::CString::new(dir.0.to_str().unwrap()).unwrap();
    let profile = StrictProfile {
        read: vec![listed(&dir.0)],
        ..plain()
    };
    let (fixture, sandbox) = (fixture(), strict(&profile));
    let errno = |e| Some((Why::Errno, e));
    let (file, directory) = (PathIs::File, PathIs::Directory);
    for (beneath, is, by_descriptor, want) in [
        (c"file", file, true, None),
        (c"file", file, false, None),
        (c"file", PathIs::Either, true, None),
        (c"open", directory, true, None),
        (c"", directory, true, None),
        (c"mine/file", file, false, None),
        (c"open/file", file, true, None),
        (c"open/file", file, false, Some((Why::Untrusted, 0))),
        (c"other/file", file, false, Some((Why::Untrusted, 0))),
        (c"missing", file, true, errno(libc::ENOENT)),
        (c"link", file, true, errno(libc::ELOOP)),
        (c"way/passwd", file, false, errno(libc::ELOOP)),
        (c"private", file, true, errno(libc::EACCES)),
        (c"fifo", file, true, Some((Why::WrongKind, 0))),
        (c"fifo", PathIs::Either, false, Some((Why::WrongKind, 0))),
        (c"file", directory, true, Some((Why::WrongKind, 0))),
        (c"open", file, true, Some((Why::WrongKind, 0))),
    ] {
        let what = What::Path {
            under: &under,
            beneath,
            is,
            by_descriptor,
            copy: None,
        };
        let arguments = [Argument {
            index: 1,
            before: b"",
            what,
        }];
        let with = With {
            arguments: &arguments,
            uid: Some(uid),
            ..With::default()
        };
        let ran = run_in(&sandbox, &fixture, &["true", "?"], &with);
        match (ran.progress, want) {
            (Progress::Executed(_), None) => {}
            (
                Progress::Failed(
                    StepFailure {
                        step,
                        errno,
                        why,
                        at,
                    },
                    _,
                ),
                Some(want),
            ) => {
                assert_eq!(
                    (step, at, (why, errno)),
                    (Step::Arguments, Some(1), want),
                    "{beneath:?}"
                );
            }
            (other, _) => panic!("{beneath:?}: {other:?}"),
        }
    }
    end(fixture);
}
