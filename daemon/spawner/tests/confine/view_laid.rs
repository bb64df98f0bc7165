//! The plan of a check in a view: all of it is laid before the job, or no job starts.

use super::common::*;
use super::view::{Mounted, Tree, profile, run_in_view, view};
use nix::mount::MsFlags;
use remit_common::hex::hex;
use remit_confine::*;
use remit_spawn::{LaidAs, LaidBytes, LaidEntry, LaidKind, LaidPlan, Owner, Staged};
use sha2::{Digest, Sha256};
use std::ffi::CString;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

const BYTES: &[u8] = b"new\ntext\n";
const FILE: Option<LaidKind> = Some(LaidKind::File);
const DIRECTORY: Option<LaidKind> = Some(LaidKind::Directory);
const CAPABILITY: &std::ffi::CStr = c"security.capability";
const LINK: Option<LaidKind> = Some(LaidKind::Link);

const fn owned(uid: u32, gid: u32, mode: u32) -> Owner {
    Owner { uid, gid, mode }
}

/// A file with the first four bytes.
fn file(owner: Owner) -> LaidAs {
    let bytes = LaidBytes {
        upload: None,
        start: 0,
        length: 4,
    };
    LaidAs::File {
        owner,
        bytes,
        capabilities: None,
        mtime: None,
    }
}

fn plain() -> LaidAs {
    file(owned(0, 0, 0o644))
}

/// A link to `text`.
fn link() -> LaidAs {
    LaidAs::Link {
        owner: owned(5, 6, 0o777),
        start: 4,
        length: 4,
    }
}

fn entry(path: impl AsRef<Path>, before: Option<LaidKind>, what: LaidAs) -> LaidEntry {
    let path = path.as_ref().as_os_str().as_bytes();
    let path = CString::new(path.strip_prefix(b"/").unwrap_or(path)).unwrap();
    LaidEntry { path, before, what }
}

impl Tree {
    fn entry(&self, name: &str, before: Option<LaidKind>, what: LaidAs) -> LaidEntry {
        entry(self.0.join(name), before, what)
    }
}

/// A view for which nobody has to find out what it hides.
fn quick() -> Sandbox {
    let profile = ViewProfile {
        sees_all: true,
        ..profile()
    };
    compile_view(&profile, &probe().unwrap()).unwrap()
}

fn laid(sandbox: &Sandbox, plan: &LaidPlan, script: &str) -> Ran {
    let fixture = fixture();
    let cgroup = fixture.cgroup();
    let sealed = Staged::seal(plan, BYTES).unwrap();
    let with = With {
        staged: Some(sealed.as_fd()),
        cgroup: Some(&cgroup),
        ..With::default()
    };
    let ran = run_in(sandbox, &fixture, &["sh", "-c", script], &with);
    assert!(!cgroup.populated().unwrap(), "something is left");
    end(fixture);
    ran
}

fn plan(entries: Vec<LaidEntry>) -> LaidPlan {
    LaidPlan {
        uploads: Vec::new(),
        entries,
    }
}

fn shown(entries: Vec<LaidEntry>, script: &str) -> String {
    let ran = laid(&view(), &plan(entries), script);
    let Progress::Executed(steps) = &ran.progress else {
        panic!("{ran:?}")
    };
    assert!(steps.contains(&Step::Plan), "{steps:?}");
    assert_eq!(ran.err, "");
    ran.out
}

/// Returns the entry that could not be laid, and why. Nothing ran.
fn refused_in(sandbox: &Sandbox, plan: &LaidPlan) -> (u16, Why, i32) {
    let ran = laid(sandbox, plan, "echo ran");
    assert_eq!(ran.out, "", "{ran:?}");
    match ran.progress {
        Progress::Failed(
            StepFailure {
                step: Step::Plan,
                why,
                errno,
                at: Some(at),
            },
            _,
        ) => (at, why, errno),
        progress => panic!("{progress:?}"),
    }
}

fn refused(entries: Vec<LaidEntry>) -> (u16, Why, i32) {
    refused_in(&view(), &plan(entries))
}

#[test]
fn view_is_as_the_plan_leaves_the_machine_which_is_untouched() {
    let tree = Tree::new();
    let mut mounted = Mounted::default();
    for name in ["a", "b", "mode", "time", "gone", "to-link"] {
        tree.file(name, 0o644, 33, "old\n");
    }
    for name in ["dir", "full", "full/sub"] {
        tree.dir(name, 0o755);
    }
    tree.file("full/x", 0o644, 0, "x\n");
    tree.file("dir/kept", 0o644, 0, "kept\n");
    for name in ["to-file", "to-other", "link-gone"] {
        symlink("a", tree.0.join(name)).unwrap();
    }
    mounted.mount("tmpfs", tree.0.join("z"), Some("tmpfs"), MsFlags::empty());
    let with_capability = LaidAs::File {
        owner: owned(0, 0, 0o755),
        bytes: LaidBytes {
            upload: None,
            start: 0,
            length: 4,
        },
        capabilities: Some(capability()),
        mtime: None,
    };
    let at_time = LaidAs::File {
        owner: owned(0, 0, 0o644),
        bytes: LaidBytes {
            upload: None,
            start: 0,
            length: 0,
        },
        capabilities: None,
        mtime: Some(4_000_000_000_000_000_001),
    };
    let entries = vec![
        tree.entry("a", FILE, file(owned(7, 8, 0o4755))),
        tree.entry("cap", None, with_capability),
        tree.entry("dir/in", None, plain()),
        tree.entry("dir", DIRECTORY, LaidAs::Metadata(owned(9, 10, 0o2750))),
        tree.entry("gone", FILE, LaidAs::Gone),
        tree.entry("full/x", FILE, LaidAs::Gone),
        tree.entry("full/sub", DIRECTORY, LaidAs::Gone),
        tree.entry("full", DIRECTORY, LaidAs::Gone),
        tree.entry("link-gone", LINK, LaidAs::Gone),
        tree.entry("made", None, LaidAs::Directory(owned(1234, 5678, 0o1777))),
        tree.entry("made/deep", None, LaidAs::Directory(owned(0, 0, 0o700))),
        tree.entry("made/deep/b", None, plain()),
        tree.entry("mode", FILE, LaidAs::Metadata(owned(33, 34, 0o600))),
        tree.entry("new-link", None, link()),
        tree.entry("time", FILE, at_time),
        tree.entry("to-file", LINK, plain()),
        tree.entry("to-link", FILE, link()),
        tree.entry("to-other", LINK, link()),
        tree.entry("z/on-a-mount", None, plain()),
    ];
    let script = format!(
        "cd {} && find . -mindepth 1 | sort | xargs stat -c '%N %u %g %a %s' && stat -c %Y time && cat a b made/deep/b && \
         getcap cap",
        tree.at()
    );
    let script = format!("PATH=/usr/sbin:/sbin:$PATH; {script}");
    let expect = "'./a' 7 8 4755 4
'./b' 33 33 644 4
'./cap' 0 0 755 4
'./dir' 9 10 2750 60
'./dir/in' 0 0 644 4
'./dir/kept' 0 0 644 5
'./made' 1234 5678 1777 60
'./made/deep' 0 0 700 60
'./made/deep/b' 0 0 644 4
'./mode' 33 34 600 4
'./new-link' -> 'text' 5 6 777 4
'./time' 0 0 644 0
'./to-file' 0 0 644 4
'./to-link' -> 'text' 5 6 777 4
'./to-other' -> 'text' 5 6 777 4
'./z' 0 0 1777 60
'./z/on-a-mount' 0 0 644 4
4000000000
new
old
new
cap cap_net_bind_service=ep
";
    assert_eq!(shown(entries, &script), expect);
    for name in ["a", "mode", "time", "gone", "to-link"] {
        assert_eq!(fs::read_to_string(tree.0.join(name)).unwrap(), "old\n");
    }
    assert_eq!(
        fs::read_link(tree.0.join("to-file")).unwrap(),
        Path::new("a")
    );
    assert!(tree.0.join("full/sub").exists() && !tree.0.join("made").exists());
    assert!(!tree.0.join("z/on-a-mount").exists());
}

/// `cap_net_bind_service=ep`, version 2.
fn capability() -> Vec<u8> {
    let low = [1, 0, 0, 2, 0, 4, 0, 0];
    low.into_iter().chain([0; 12]).collect()
}

/// As the commit does: only new bytes and a new owner take them away.
#[test]
fn capabilities_stay_if_a_mode_alone_changes() {
    let tree = Tree::new();
    for name in ["mode", "owner", "bytes", "empty", "kept"] {
        tree.file(name, 0o755, 0, "old\n");
        let file = fs::File::open(tree.0.join(name)).unwrap();
        sys::set_xattr(&file, CAPABILITY, &capability()).unwrap();
    }
    let mut empty = file(owned(0, 0, 0o755));
    if let LaidAs::File { bytes, .. } = &mut empty {
        bytes.length = 0;
    }
    let entries = vec![
        tree.entry("bytes", FILE, file(owned(0, 0, 0o755))),
        tree.entry("empty", FILE, empty),
        tree.entry("mode", FILE, LaidAs::Metadata(owned(0, 0, 0o4750))),
        tree.entry("owner", FILE, LaidAs::Metadata(owned(0, 7, 0o750))),
    ];
    let script = format!(
        "PATH=/usr/sbin:/sbin:$PATH; cd {} && stat -c '%n %a %g' mode owner && getcap bytes empty kept mode owner",
        tree.at()
    );
    let expect =
        "mode 4750 0\nowner 750 7\nkept cap_net_bind_service=ep\nmode cap_net_bind_service=ep\n";
    assert_eq!(shown(entries, &script), expect);
}

/// As `remove_lists` of remit-commit. Each directory has a default list that its owner has chosen.
#[test]
fn new_files_have_the_lists_of_directories_of_root_and_of_their_owner_alone() {
    let tree = Tree::new();
    let chown =
        |name: &str, uid| std::os::unix::fs::chown(tree.0.join(name), Some(uid), None).unwrap();
    for (name, owner) in [("own", 0), ("others", 33), ("becomes", 33), ("was", 0)] {
        tree.dir(name, 0o755);
        chown(name, owner);
        symlink("a", tree.0.join(format!("{name}/link"))).unwrap();
        tree.file(&format!("{name}/old"), 0o644, 0, "old\n");
        let directory = fs::File::open(tree.0.join(name)).unwrap();
        let list = super::view_emptied::list(4);
        sys::set_xattr(&directory, c"system.posix_acl_default", &list).unwrap();
    }
    let mut entries = Vec::new();
    for name in ["becomes", "others", "own", "was"] {
        let at = |rest: &str| format!("{name}/{rest}");
        entries.extend([
            tree.entry(&at("made"), None, LaidAs::Directory(owned(0, 0, 0o755))),
            tree.entry(
                &at("made/deep"),
                None,
                LaidAs::Directory(owned(5, 0, 0o755)),
            ),
            tree.entry(&at("made/deep/new"), None, file(owned(5, 0, 0o644))),
            tree.entry(&at("made/deep/roots"), None, plain()),
            tree.entry(&at("made/new"), None, plain()),
            tree.entry(&at("mine"), None, file(owned(33, 0, 0o644))),
            tree.entry(&at("new"), None, plain()),
            tree.entry(&at("link"), LINK, plain()),
            tree.entry(&at("old"), FILE, plain()),
        ]);
    }
    entries.extend([
        tree.entry("becomes", DIRECTORY, LaidAs::Metadata(owned(0, 0, 0o755))),
        tree.entry("was", DIRECTORY, LaidAs::Metadata(owned(33, 0, 0o755))),
    ]);
    let script = format!(
        "cd {} && find . -mindepth 2 | sort | /usr/bin/python3 -c '
import os, sys
for path in sys.stdin.read().split():
    if any(name.startswith(\"system.posix_acl\") for name in os.listxattr(path)): print(path)'",
        tree.at()
    );
    let with_lists = |name: &str| {
        let names = [
            "link",
            "made",
            "made/deep",
            "made/deep/new",
            "made/deep/roots",
            "made/new",
            "mine",
            "new",
        ];
        names.map(|rest| format!("./{name}/{rest}\n")).concat()
    };
    let expect = format!(
        "./becomes/mine\n./others/mine\n{}{}",
        with_lists("own"),
        with_lists("was")
    );
    assert_eq!(shown(entries, &script), expect);
}

/// What the requester wrote is shown, and nothing of the machine's beside it.
#[test]
fn hidden_stays_hidden() {
    let tree = Tree::new();
    tree.file("key", 0o600, 0, "SECRET\n");
    tree.dir("private", 0o700);
    tree.file("private/in", 0o644, 0, "SECRET\n");
    tree.dir("person", 0o700);
    std::os::unix::fs::chown(tree.0.join("person"), Some(1000), Some(1000)).unwrap();
    let mode = || LaidAs::Metadata(owned(0, 0, 0o644));
    for (name, before, what) in [
        ("key", FILE, mode()),
        ("key", None, plain()),
        ("private/in", FILE, mode()),
        ("person/new", None, plain()),
    ] {
        let entries = vec![
            tree.entry("first", None, plain()),
            tree.entry(name, before, what),
        ];
        let found = refused(entries.clone());
        assert_eq!(found, (1, Why::Hidden, 0), "{entries:?}");
    }
    let entries = vec![
        tree.entry("private/new", None, plain()),
        tree.entry("private", DIRECTORY, LaidAs::Metadata(owned(0, 0, 0o755))),
    ];
    let script = format!(
        "cd {} && find private; cat private/* key 2>/dev/null; true",
        tree.at()
    );
    let expect = "private\nprivate/new\nnew\n";
    assert_eq!(shown(entries, &script), expect);
    // With the eyes of root it is not hidden.
    let entries = plan(vec![
        tree.entry("key", FILE, plain()),
        tree.entry("private/in", FILE, mode()),
    ]);
    let script = format!("cd {} && cat key private/in", tree.at());
    assert_eq!(laid(&quick(), &entries, &script).out, "new\nSECRET\n");
}

/// The mask is the layer: without it, a mode that the plan sets opens the file.
#[cfg(feature = "mutate")]
#[test]
fn without_the_mask_a_hidden_file_is_opened() {
    let tree = Tree::new();
    tree.file("key", 0o600, 0, "SECRET\n");
    let off = view_without(&profile(), &probe().unwrap(), Layer::Mask).unwrap();
    let opened = plan(vec![tree.entry(
        "key",
        FILE,
        LaidAs::Metadata(owned(0, 0, 0o644)),
    )]);
    let script = format!("cat {}/key", tree.at());
    assert_eq!(laid(&off, &opened, &script).out, "SECRET\n");
}

#[test]
fn nothing_runs_if_an_entry_cannot_be_laid() {
    let tree = Tree::new();
    let mut mounted = Mounted::default();
    tree.file("a", 0o644, 0, "old\n");
    tree.dir("full", 0o755);
    tree.file("full/x", 0o644, 0, "x\n");
    tree.dir("fixed", 0o755);
    let options = MsFlags::MS_RDONLY;
    mounted.mount_on("tmpfs", tree.0.join("fixed"), Some("tmpfs"), options);
    symlink("/etc", tree.0.join("link")).unwrap();
    symlink("full", tree.0.join("inner")).unwrap();
    nix::unistd::mkfifo(
        &tree.0.join("fifo"),
        nix::sys::stat::Mode::from_bits_truncate(0o666),
    )
    .unwrap();
    let errno = |errno| (Why::Errno, errno);
    let other = (Why::WrongKind, 0);
    let mode = || LaidAs::Metadata(owned(0, 0, 0o600));
    for (name, before, what, expect) in [
        ("link/x", None, plain(), errno(libc::ELOOP)),
        ("inner/x", FILE, LaidAs::Gone, errno(libc::ELOOP)),
        ("none/x", None, plain(), errno(libc::ENOENT)),
        ("a/x", None, plain(), errno(libc::ENOTDIR)),
        ("fifo/x", None, plain(), errno(libc::ENOTDIR)),
        ("a", None, plain(), other),
        ("a", LINK, plain(), other),
        ("a", DIRECTORY, LaidAs::Gone, other),
        ("none", FILE, mode(), other),
        ("none", FILE, LaidAs::Gone, other),
        ("link", FILE, plain(), other),
        ("link", FILE, mode(), other),
        ("fifo", FILE, plain(), other),
        ("full", None, LaidAs::Directory(owned(0, 0, 0o755)), other),
        ("full", DIRECTORY, LaidAs::Gone, errno(libc::ENOTEMPTY)),
        (
            "a",
            FILE,
            LaidAs::Metadata(owned(70_000, 0, 0o644)),
            errno(libc::EINVAL),
        ),
        ("fixed/x", None, plain(), errno(libc::EROFS)),
        ("../x", None, plain(), (Why::Unmet, 0)),
    ] {
        let entries = vec![
            tree.entry("first", None, plain()),
            tree.entry(name, before, what),
        ];
        let (at, why, errno) = refused_in(&quick(), &plan(entries.clone()));
        assert_eq!((at, (why, errno)), (1, expect), "{entries:?}");
    }
    let twice = vec![
        tree.entry("b", None, plain()),
        tree.entry("b", None, plain()),
    ];
    assert_eq!(refused_in(&quick(), &plan(twice)), (1, Why::WrongKind, 0));
    let long = LaidAs::Link {
        owner: owned(0, 0, 0o777),
        start: 4,
        length: 400,
    };
    assert_eq!(
        refused_in(&quick(), &plan(vec![tree.entry("l", None, long)])).0,
        0
    );
    // A small area.
    fs::write(tree.0.join("large"), vec![b'x'; 2 << 20]).unwrap();
    let small = ViewProfile {
        area: (1 << 20, 1000),
        sees_all: true,
        ..profile()
    };
    let small = compile_view(&small, &probe().unwrap()).unwrap();
    let large = plan(vec![tree.entry("large", FILE, mode())]);
    assert_eq!(refused_in(&small, &large), (0, Why::Errno, libc::ENOSPC));
}

#[test]
fn uploads_are_believed_by_their_hash_alone() {
    let tree = Tree::new();
    let bytes = b"0123456789".repeat(20_000);
    let upload = tree.0.join("upload");
    fs::write(&upload, &bytes).unwrap();
    fs::set_permissions(&upload, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    symlink(&upload, tree.0.join("to-upload")).unwrap();
    let hash = |bytes: &[u8]| -> [u8; 32] { Sha256::digest(bytes).into() };
    let packed = |name: &str, start: u64, length: u64, sha256: [u8; 32]| {
        let what = LaidAs::File {
            owner: owned(0, 0, 0o644),
            bytes: LaidBytes {
                upload: Some((0, sha256)),
                start,
                length,
            },
            capabilities: None,
            mtime: None,
        };
        tree.entry(name, None, what)
    };
    let of = |name: &str, start: u64, length: u64, sha256: [u8; 32]| LaidPlan {
        uploads: vec![CString::new(tree.0.join(name).as_os_str().as_bytes()).unwrap()],
        entries: vec![packed("b", start, length, sha256)],
    };
    let script = format!("cd {} && sha256sum <b; cat upload", tree.at());
    let mut pack = of("upload", 0, 150_000, hash(&bytes[..150_000]));
    let rest = packed("c", 150_000, 50_000, hash(&bytes[150_000..]));
    pack.entries.push(rest);
    let ran = laid(&view(), &pack, &script);
    let expect = hex(&hash(&bytes[..150_000]));
    assert_eq!(ran.out, format!("{expect}  -\n"));
    assert!(ran.err.contains("Permission denied"), "{ran:?}");
    for (name, start, length, sha256, errno) in [
        ("upload", 1, 199_999, hash(&bytes), 0),
        // The commit refuses bytes that no file has, too.
        ("upload", 0, 150_000, hash(&bytes[..150_000]), 0),
        ("upload", 0, 200_001, hash(&bytes), 0),
        ("none", 0, 200_000, hash(&bytes), libc::ENOENT),
        ("to-upload", 0, 200_000, hash(&bytes), libc::ELOOP),
    ] {
        let found = refused_in(&quick(), &of(name, start, length, sha256));
        assert_eq!(found, (0, Why::Changed, errno), "{name} {start}");
    }
}

#[test]
fn table_of_passwords_gets_its_lines_and_shows_no_hash() {
    let lines = b"+zed:!:19000:0:99999:7:::\n";
    let entry = entry(
        "/etc/shadow",
        FILE,
        LaidAs::Lines {
            owner: owned(0, 42, 0o640),
            start: 0,
            length: lines.len() as u64,
        },
    );
    let sealed = Staged::seal(&plan(vec![entry]), lines).unwrap();
    let (sandbox, fixture) = (view(), fixture());
    let with = With {
        staged: Some(sealed.as_fd()),
        ..With::default()
    };
    let script = "stat -c '%u:%g %a' /etc/shadow; cat /etc/shadow";
    let ran = run_in(&sandbox, &fixture, &["sh", "-c", script], &with);
    end(fixture);
    let real = fs::read_to_string("/etc/shadow").unwrap();
    assert_eq!(ran.out.lines().next(), Some("0:42 640"), "{ran:?}");
    assert_eq!(ran.out.lines().count(), real.lines().count() + 2);
    assert!(ran.out.ends_with("zed:!:19000:0:99999:7:::\n"), "{ran:?}");
    assert!(!ran.out.contains('$') && !real.contains("zed:"));
}

#[test]
fn two_plans_do_not_mix_and_what_checks_write_is_gone() {
    let tree = Tree::new();
    tree.file("a", 0o644, 0, "old\n");
    let (sandbox, fixture) = (view(), fixture());
    let script = format!(
        "cd {} && read go; cat a b c 2>/dev/null; echo mine >a; echo mine >d; ls",
        tree.at()
    );
    let plans = [
        vec![
            tree.entry("a", FILE, plain()),
            tree.entry("b", None, plain()),
        ],
        vec![
            tree.entry("a", FILE, LaidAs::Gone),
            tree.entry("c", None, plain()),
        ],
    ];
    let pipes = [nix::unistd::pipe().unwrap(), nix::unistd::pipe().unwrap()];
    let jobs: Vec<_> = plans
        .iter()
        .zip(&pipes)
        .map(|(entries, (go, _))| {
            let sealed = Staged::seal(&plan(entries.clone()), BYTES).unwrap();
            let with = With {
                staged: Some(sealed.as_fd()),
                stdin: Some(go.as_fd()),
                ..With::default()
            };
            start(&sandbox, &fixture, &["sh", "-c", &script], &with).unwrap()
        })
        .collect();
    // Both have their view before one of them goes on.
    for job in &jobs {
        assert!(matches!(progress(job), Progress::Executed(_)));
    }
    for (_, go) in &pipes {
        sys::write(go.as_fd(), b"go\n").unwrap();
    }
    let said: Vec<String> = jobs
        .into_iter()
        .map(|job| {
            let out = read_all(job.stdout);
            wait_readable(&job.pidfd);
            sys::reap(job.pid).unwrap();
            out
        })
        .collect();
    end(fixture);
    assert_eq!(said, ["new\nnew\na\nb\nd\n", "new\na\nc\nd\n"]);
    assert_eq!(fs::read_to_string(tree.0.join("a")).unwrap(), "old\n");
    assert_eq!(fs::read_dir(&tree.0).unwrap().count(), 1);
    let after = run_in_view(&view(), &["cat", tree.0.join("a").to_str().unwrap()]);
    assert_eq!(after.out, "old\n");
}
