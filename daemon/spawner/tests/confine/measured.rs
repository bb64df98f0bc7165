//! The approved program is executed, or nothing is.

use super::common::*;
use super::strict::listed;
use remit_confine::*;
use sha2::{Digest, Sha256};
use std::ffi::CString;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

fn measure(path: impl AsRef<Path>) -> Measured {
    let sha256 = Sha256::digest(std::fs::read(&path).unwrap()).into();
    Measured {
        sha256,
        ..of_stat(path)
    }
}

fn of_stat(path: impl AsRef<Path>) -> Measured {
    let path = path.as_ref();
    let stat = std::fs::metadata(path).unwrap();
    Measured {
        path: CString::new(path.to_str().unwrap()).unwrap(),
        dev: stat.dev(),
        ino: stat.ino(),
        ctime_ns: i128::from(stat.ctime()) * 1_000_000_000 + i128::from(stat.ctime_nsec()),
        size: stat.size(),
        sha256: [0; 32],
    }
}

/// In another process: a descriptor for writing that our child inherits would make the program busy.
fn tool(program: &str, args: &[&str]) {
    let done = Command::new(program).args(args).status().unwrap();
    assert!(done.success(), "{program} {args:?}");
}

/// The files of one approval, all root's: a program, a script, its interpreter and a file.
struct Stage {
    dir: HostDir,
    approved: Vec<Measured>,
}

impl Stage {
    fn new(first: &str) -> Self {
        let dir = HostDir::new();
        let path = |name: &str| dir.path(name);
        tool("cp", &["/bin/cat", &path("tool")]);
        tool("cp", &["/bin/echo", &path("other")]);
        tool("cp", &["/bin/sh", &path("interpreter")]);
        symlink("tool", path("link")).unwrap();
        let text = format!("#!{} -e\necho approved\n", path("interpreter"));
        dir.file("script", 0o755, &text);
        dir.file("data", 0o644, "approved\n");
        let mut approved = vec![measure(path(first))];
        if first == "script" {
            approved.push(measure(path("interpreter")));
        }
        approved.push(measure(path("data")));
        Self { dir, approved }
    }

    fn run(&self, sandbox: &Sandbox, fixture: &Fixture) -> Ran {
        let with = With {
            measured: &self.approved,
            ..With::default()
        };
        let data = self.dir.path("data");
        run_in(sandbox, fixture, &["called", &data], &with)
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Read,
    Strict,
    Root,
    Host,
}

impl Kind {
    fn all() -> impl Iterator<Item = Kind> {
        [Kind::Read, Kind::Strict, Kind::Root, Kind::Host].into_iter()
    }

    /// `checked` is false only to test the test.
    fn sandbox(self, dir: &HostDir, checked: bool) -> Sandbox {
        let kernel = probe().unwrap();
        let strict = StrictProfile {
            user: matches!(self, Kind::Root).then_some((0, 0)),
            exec: vec![listed(&dir.0)],
            limits: LIMITS,
            ..StrictProfile::default()
        };
        let host = HostProfile {
            user: (0, 0),
            groups: Vec::new(),
            limits: LIMITS,
        };
        let sandbox = match (self, checked) {
            (Kind::Read, true) => compile_read(&profile(), &kernel),
            (Kind::Strict | Kind::Root, true) => compile_strict(&strict, &kernel),
            (Kind::Host, true) => compile_host(&host, &kernel),
            #[cfg(feature = "mutate")]
            (Kind::Read, false) => read_without(&profile(), &kernel, Layer::Measured),
            #[cfg(feature = "mutate")]
            (Kind::Strict | Kind::Root, false) => strict_without(&strict, &kernel, Layer::Measured),
            #[cfg(feature = "mutate")]
            (Kind::Host, false) => host_without(&host, &kernel, Layer::Measured),
            #[cfg(not(feature = "mutate"))]
            (_, false) => unreachable!(),
        };
        sandbox.unwrap()
    }
}

fn refused(ran: &Ran) -> Option<(Why, i32, Option<u16>)> {
    match ran.progress {
        Progress::Failed(
            StepFailure {
                step: Step::Exec,
                why,
                errno,
                at,
            },
            _,
        ) => Some((why, errno, at)),
        _ => None,
    }
}

type Change = fn(&HostDir);

const CHANGES: &[(&str, &str, Change, u16)] = &[
    (
        "replaced by rename",
        "tool",
        |dir| tool("mv", &[&dir.path("other"), &dir.path("tool")]),
        0,
    ),
    (
        "same content, other inode",
        "tool",
        |dir| {
            tool("cp", &[&dir.path("tool"), &dir.path("new")]);
            tool("mv", &[&dir.path("new"), &dir.path("tool")]);
        },
        0,
    ),
    (
        "written in place, times set back",
        "tool",
        |dir| {
            // The last bytes of a program's section names have no meaning.
            let (file, old) = (dir.path("tool"), dir.path("old"));
            tool("touch", &["-r", &file, &old]);
            let script = "size=$(stat -c %s $0) && printf X | dd of=$0 bs=1 conv=notrunc status=none \
                      seek=$((size - 1)) && touch -r $1 $0";
            tool("sh", &["-c", script, &file, &old]);
        },
        0,
    ),
    (
        "retargeted link",
        "link",
        |dir| {
            symlink("other", dir.path("new")).unwrap();
            tool("mv", &["-T", &dir.path("new"), &dir.path("link")]);
        },
        0,
    ),
    (
        "script replaced",
        "script",
        |dir| {
            let text = format!("#!{}\necho something else\n", dir.path("interpreter"));
            dir.file("new", 0o755, &text);
            tool("mv", &[&dir.path("new"), &dir.path("script")]);
        },
        0,
    ),
    (
        "script edited in place",
        "script",
        |dir| {
            let text = std::fs::read_to_string(dir.path("script")).unwrap();
            std::fs::write(dir.path("script"), text.replace("approved", "deprived")).unwrap();
        },
        0,
    ),
    (
        "interpreter replaced",
        "script",
        |dir| {
            tool("mv", &[&dir.path("other"), &dir.path("interpreter")]);
        },
        1,
    ),
    (
        "argument replaced",
        "tool",
        |dir| {
            dir.file("new", 0o644, "something else\n");
            tool("mv", &[&dir.path("new"), &dir.path("data")]);
        },
        1,
    ),
    (
        "argument of a script edited",
        "script",
        |dir| {
            dir.file("data", 0o644, "deprived\n");
        },
        2,
    ),
    (
        "mode changed",
        "tool",
        |dir| tool("chmod", &["0555", &dir.path("tool")]),
        0,
    ),
];

#[test]
fn what_is_as_it_was_is_executed() {
    let fixture = fixture();
    for kind in Kind::all() {
        for first in ["tool", "link", "script"] {
            let stage = Stage::new(first);
            let ran = stage.run(&kind.sandbox(&stage.dir, true), &fixture);
            assert_eq!(ran.out, "approved\n", "{kind:?} {first}: {ran:?}");
            assert!(matches!(ran.progress, Progress::Executed(_)));
        }
    }
    end(fixture);
}

#[test]
fn what_has_changed_is_not_executed() {
    let fixture = fixture();
    for kind in Kind::all() {
        for (what, first, change, at) in CHANGES {
            let stage = Stage::new(first);
            change(&stage.dir);
            let ran = stage.run(&kind.sandbox(&stage.dir, true), &fixture);
            let want = Some((Why::Changed, 0, Some(*at)));
            assert_eq!(refused(&ran), want, "{kind:?}: {what}: {ran:?}");
            assert_eq!((ran.out.as_str(), ran.code()), ("", Some(127)), "{what}");
        }
    }
    end(fixture);
}

/// The file is hashed for longer than the test lasts.
#[test]
fn child_that_is_killed_while_it_hashes_has_executed_nothing() {
    let fixture = fixture();
    let mut stage = Stage::new("tool");
    let large = stage.dir.path("large");
    std::fs::File::create(&large)
        .unwrap()
        .set_len(256 << 30)
        .unwrap();
    stage.approved.push(Measured {
        sha256: [0; 32],
        ..of_stat(&large)
    });
    let with = With {
        measured: &stage.approved,
        ..With::default()
    };
    let job = start(
        &Kind::Read.sandbox(&stage.dir, true),
        &fixture,
        &["called"],
        &with,
    )
    .unwrap();
    let open = std::path::PathBuf::from(format!("/proc/{}/fd", job.pid));
    let is_read = || {
        let files = std::fs::read_dir(&open).into_iter().flatten().flatten();
        let mut files = files.filter_map(|file| std::fs::read_link(file.path()).ok());
        files.any(|file| file.ends_with("large"))
    };
    while !is_read() {
        std::thread::yield_now();
    }
    sys::pidfd_send_signal(&job.pidfd, libc::SIGKILL).unwrap();
    let ran = finish(job);
    assert_eq!(ran.signal(), Some(libc::SIGKILL), "{ran:?}");
    let Progress::Failed(StepFailure { step, why, .. }, _) = ran.progress else {
        panic!("{ran:?}")
    };
    assert_eq!((step, why), (Step::Arguments, Why::Died));
    end(fixture);
}

#[cfg(feature = "mutate")]
#[test]
fn without_layer_changed_programs_run() {
    let fixture = fixture();
    for kind in Kind::all() {
        for (what, first, change, _) in CHANGES {
            let stage = Stage::new(first);
            change(&stage.dir);
            let ran = stage.run(&kind.sandbox(&stage.dir, false), &fixture);
            let ran_it = matches!(ran.progress, Progress::Executed(_));
            assert!(ran_it, "{kind:?}: {what}: {ran:?}");
        }
    }
    end(fixture);
}

/// What no change time shows: the clock was set, or a disk changed beneath the kernel.
#[test]
fn changed_content_with_same_metadata_is_refused() {
    let fixture = fixture();
    for at in 0..2 {
        let mut stage = Stage::new("tool");
        stage.approved[usize::from(at)].sha256[31] ^= 1;
        let ran = stage.run(&Kind::Read.sandbox(&stage.dir, true), &fixture);
        assert_eq!(refused(&ran), Some((Why::Changed, 0, Some(at))), "{ran:?}");
    }
    end(fixture);
}

#[test]
fn what_cannot_be_compared_is_not_executed() {
    let fixture = fixture();
    let changed = |errno| (Why::Changed, errno, Some(0));
    let cases: [(&str, Change, _); 6] = [
        (
            "gone",
            |dir| tool("rm", &[&dir.path("tool")]),
            changed(libc::ENOENT),
        ),
        (
            "a directory",
            |dir| {
                tool("rm", &[&dir.path("tool")]);
                tool("mkdir", &[&dir.path("tool")]);
            },
            changed(0),
        ),
        (
            "a fifo",
            |dir| {
                tool("rm", &[&dir.path("tool")]);
                tool("mkfifo", &[&dir.path("tool")]);
            },
            changed(0),
        ),
        (
            "a link to itself",
            |dir| tool("ln", &["-sfn", "tool", &dir.path("tool")]),
            changed(libc::ELOOP),
        ),
        (
            "not to be read",
            |_| (),
            (Why::Unreadable, libc::EACCES, Some(0)),
        ),
        (
            "a way open to others",
            |dir| tool("chmod", &["o+w", dir.0.to_str().unwrap()]),
            (Why::Untrusted, 0, Some(1)),
        ),
    ];
    for (what, change, want) in cases {
        let mut stage = Stage::new("tool");
        if what == "not to be read" {
            let file = stage.dir.path("tool");
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o711)).unwrap();
            stage.approved[0] = measure(file);
        }
        change(&stage.dir);
        let ran = stage.run(&Kind::Read.sandbox(&stage.dir, true), &fixture);
        assert_eq!(refused(&ran), Some(want), "{what}: {ran:?}");
        assert_eq!(ran.out, "", "{what}");
    }
    end(fixture);
}

/// Swaps a link while programs are started: either the approved one runs, or nothing. ATTACKS A15, A18.
#[test]
fn nothing_comes_between_the_look_and_the_exec() {
    let fixture = fixture();
    let stage = Stage::new("link");
    let sandbox = Kind::Read.sandbox(&stage.dir, true);
    let over = AtomicBool::new(false);
    let (mut ran, mut not, mut odd) = (0, 0, None);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for name in ["other", "tool"].into_iter().cycle() {
                symlink(name, stage.dir.path("new")).unwrap();
                std::fs::rename(stage.dir.path("new"), stage.dir.path("link")).unwrap();
                if over.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        while odd.is_none() && (ran < 20 || not < 20) && ran + not < 3000 {
            let job = stage.run(&sandbox, &fixture);
            match (refused(&job), job.out.as_str()) {
                (Some((Why::Changed, 0, Some(0))), "") => not += 1,
                (None, "approved\n") => ran += 1,
                _ => odd = Some(job),
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(odd.is_none(), "{odd:?}");
    assert!(ran >= 20 && not >= 20, "{ran} ran, {not} did not");
    end(fixture);
}

/// Executed by a descriptor, it sees itself as usual, and has no further descriptor.
#[test]
fn a_program_knows_itself() {
    let fixture = fixture();
    let stage = Stage::new("tool");
    let sandbox = Kind::Read.sandbox(&stage.dir, true);
    let measured = [measure(stage.dir.path("tool"))];
    let with = With {
        measured: &measured,
        ..With::default()
    };
    let ran = run_in(
        &sandbox,
        &fixture,
        &["called", "/proc/self/comm", "/proc/self/cmdline"],
        &with,
    );
    let (comm, cmdline) = ran.out.split_once('\n').unwrap();
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release
        .split(['.', '-'])
        .map(|n| n.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap(), numbers.next().unwrap());
    match version >= (6, 14) {
        true => assert_eq!(comm, "tool"),
        false => assert!(comm.bytes().all(|b| b.is_ascii_digit()), "{comm}"),
    }
    assert!(cmdline.starts_with("called\0"), "{cmdline:?}");
    let measured = [measure(std::fs::canonicalize("/bin/readlink").unwrap())];
    let with = With {
        measured: &measured,
        ..With::default()
    };
    let argv = ["readlink", "/proc/self/exe"];
    let ran = run_in(&sandbox, &fixture, &argv, &with);
    assert_eq!(ran.out.trim_end(), measured[0].path.to_str().unwrap());
    let measured = [measure(std::fs::canonicalize("/bin/ls").unwrap())];
    let with = With {
        measured: &measured,
        ..With::default()
    };
    let ran = run_in(&sandbox, &fixture, &["ls", "/proc/self/fd"], &with);
    assert_eq!(ran.out, "0\n1\n2\n3\n", "{ran:?}");
    end(fixture);
}

#[test]
fn a_measured_file_needs_an_absolute_name() {
    let fixture = fixture();
    let mut measured = measure("/bin/cat");
    measured.path = c"cat".to_owned();
    let measured = [measured];
    let with = With {
        measured: &measured,
        ..With::default()
    };
    let error = start(&sandbox(), &fixture, &["cat"], &with).unwrap_err();
    assert!(error.to_string().contains("absolute name"), "{error}");
    end(fixture);
}
