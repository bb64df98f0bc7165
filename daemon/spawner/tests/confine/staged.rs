//! Files of a plan in a `strict` sandbox: at their paths as they will be, read-only, not executable, and nowhere else.

use super::common::*;
use super::strict::{listed, plain, strict};
use remit_confine::*;
use remit_spawn::{Owner, Staged, StagedAs, StagedEntry};
use std::{
    ffi::CString,
    fs,
    os::fd::AsFd,
    os::unix::ffi::OsStrExt,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

struct Tree(PathBuf);

impl Drop for Tree {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

impl Tree {
    /// `a`, `gone`, `full/x` and `sub/deep/s`, where `sub` is only root's.
    fn lay() -> Tree {
        let tree = Tree(nix::unistd::mkdtemp("/srv/remit-staged-XXXXXX").unwrap());
        fs::set_permissions(&tree.0, fs::Permissions::from_mode(0o755)).unwrap();
        for directory in ["full", "sub", "sub/deep"] {
            fs::create_dir(tree.at(directory)).unwrap();
        }
        for file in ["a", "gone", "full/x", "sub/deep/s"] {
            fs::write(tree.at(file), format!("old {file}\n")).unwrap();
        }
        fs::set_permissions(tree.at("sub"), fs::Permissions::from_mode(0o711)).unwrap();
        tree
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn profile(&self) -> StrictProfile {
        StrictProfile {
            read: vec![listed(&self.0)],
            ..plain()
        }
    }

    fn entry(&self, name: &str, what: StagedAs) -> StagedEntry {
        entry(&self.at(name), what)
    }
}

fn entry(path: &Path, what: StagedAs) -> StagedEntry {
    let path = path.as_os_str().as_bytes().strip_prefix(b"/").unwrap();
    StagedEntry {
        path: CString::new(path).unwrap(),
        what,
    }
}

const ANY: Owner = Owner {
    uid: 0,
    gid: 0,
    mode: 0o644,
};
const BYTES: &[u8] = b"new\n";
const FILE: StagedAs = StagedAs::File {
    owner: ANY,
    start: 0,
    length: 4,
};

/// To `ew`.
const LINK: StagedAs = StagedAs::Link {
    start: 1,
    length: 2,
};

fn sees(profile: &StrictProfile, entries: &[StagedEntry], script: &str) -> Ran {
    let fixture = fixture();
    let sealed = Staged::seal(&entries.to_vec(), BYTES).unwrap();
    let with = With {
        staged: Some(sealed.as_fd()),
        ..With::default()
    };
    let ran = run_in(&strict(profile), &fixture, &["sh", "-c", script], &with);
    end(fixture);
    ran
}

fn refused(profile: &StrictProfile, entries: &[StagedEntry]) -> Progress {
    let ran = sees(profile, entries, "echo ran");
    assert_eq!(ran.out, "", "{ran:?}");
    assert!(!matches!(ran.progress, Progress::Executed(_)), "{ran:?}");
    ran.progress
}

#[test]
fn tree_is_as_the_plan_leaves_it_and_the_hosts_is_untouched() {
    let tree = Tree::lay();
    let private = Owner {
        uid: 1234,
        gid: 5678,
        mode: 0o750,
    };
    let of_own = StagedAs::File {
        owner: Owner {
            uid: 7,
            gid: 8,
            mode: 0o604,
        },
        start: 1,
        length: 2,
    };
    let entries = [
        tree.entry("a", of_own),
        tree.entry("full", StagedAs::Gone),
        tree.entry("full/x", StagedAs::Gone),
        tree.entry("gone", StagedAs::Gone),
        tree.entry("made", StagedAs::Directory(ANY.with(0o755))),
        tree.entry("made/b", FILE),
        tree.entry("private", StagedAs::Directory(private)),
        tree.entry("sub/deep/t", FILE),
        tree.entry("to", LINK),
    ];
    let script = format!(
        "cd {}; cat a made/b sub/deep/s sub/deep/t; echo; ls; readlink to; stat -c '%n %u %g %a' . a private sub sub/deep; ls -A / | grep plan",
        tree.0.display()
    );
    let ran = sees(&tree.profile(), &entries, &script);
    let expect = "ewnew\nold sub/deep/s\nnew\n\na\nmade\nprivate\nsub\nto\new\n. 0 0 755\na 7 8 604\nprivate 1234 5678 750\nsub 0 0 711\nsub/deep 0 0 755\n";
    assert_eq!((ran.out.as_str(), ran.err.as_str()), (expect, ""));
    for name in ["a", "gone", "full/x", "sub/deep/s"] {
        let old = fs::read_to_string(tree.at(name)).unwrap();
        assert_eq!(old, format!("old {name}\n"));
    }
    assert!(!tree.at("made").exists());
}

trait WithMode {
    fn with(self, mode: u32) -> Owner;
}

impl WithMode for Owner {
    fn with(self, mode: u32) -> Owner {
        Owner { mode, ..self }
    }
}

/// A mode's bits of the group are a mask if there is an access list.
#[test]
fn access_list_of_a_directory_holds() {
    let tree = Tree::lay();
    let (own, user) = (uid(), 1_879_000_777_u32);
    let entry = |tag: u16, rights: u16, id: u32| -> Vec<u8> {
        [
            &tag.to_le_bytes()[..],
            &rights.to_le_bytes(),
            &id.to_le_bytes(),
        ]
        .concat()
    };
    // acl(5): of the owner, a user, the owning group, the mask, others.
    let list = [
        entry(1, 7, u32::MAX),
        entry(2, 7, user),
        entry(4, 0, u32::MAX),
        entry(16, 7, u32::MAX),
        entry(32, 0, u32::MAX),
    ];
    let list = [2u32.to_le_bytes().to_vec(), list.concat()].concat();
    let sub = fs::File::open(tree.at("sub")).unwrap();
    std::os::unix::fs::fchown(&sub, Some(0), Some(own)).unwrap();
    sys::set_xattr(&sub, c"system.posix_acl_access", &list).unwrap();
    let fixture = fixture();
    let sealed = Staged::seal(&vec![tree.entry("sub/t", FILE)], BYTES).unwrap();
    let path = tree.at("sub/t").display().to_string();
    for (uid, out) in [(own, ""), (user, "new\n")] {
        let with = With {
            uid: Some(uid),
            staged: Some(sealed.as_fd()),
            ..With::default()
        };
        let ran = run_in(&strict(&tree.profile()), &fixture, &["cat", &path], &with);
        assert_eq!(ran.out, out, "{uid}: {ran:?}");
    }
    end(fixture);
}

/// Attack: a plan that makes a directory which is there does not open that one.
#[test]
fn new_directory_hides_one_of_the_host() {
    let tree = Tree::lay();
    fs::set_permissions(tree.at("sub"), fs::Permissions::from_mode(0o700)).unwrap();
    let entries = [
        tree.entry("sub", StagedAs::Directory(ANY.with(0o755))),
        tree.entry("sub/deep", StagedAs::Directory(ANY.with(0o755))),
        tree.entry("sub/deep/t", FILE),
    ];
    let script = format!("cd {}; find sub; cat sub/deep/s", tree.0.display());
    let ran = sees(&tree.profile(), &entries, &script);
    assert_eq!(ran.out, "sub\nsub/deep\nsub/deep/t\n", "{ran:?}");
    assert!(ran.err.contains("No such file"), "{ran:?}");
}

#[test]
fn what_is_shown_is_neither_written_nor_executed() {
    let tree = Tree::lay();
    let program = Owner {
        mode: 0o4777,
        ..ANY
    };
    let entries = [
        tree.entry(
            "a",
            StagedAs::File {
                owner: program,
                start: 0,
                length: 4,
            },
        ),
        tree.entry("open", StagedAs::Directory(ANY.with(0o777))),
    ];
    let script = format!(
        "cd {}; echo x >a; echo x >open/x; ./a; rm -f a; cat a",
        tree.0.display()
    );
    let ran = sees(&tree.profile(), &entries, &script);
    assert_eq!(ran.out, "new\n");
    let read_only = ran.err.matches("Read-only file system").count();
    assert_eq!(read_only, 3, "{}", ran.err);
    assert!(ran.err.contains("./a: Permission denied"), "{}", ran.err);
}

#[test]
fn file_that_is_listed_by_itself_is_replaced() {
    let tree = Tree::lay();
    let profile = StrictProfile {
        read: vec![listed(tree.at("a")), listed(tree.at("full"))],
        ..plain()
    };
    let script = format!("cd {}; cat a full/x; echo x >a", tree.0.display());
    let ran = sees(&profile, &[tree.entry("a", FILE)], &script);
    assert_eq!(ran.out, "new\nold full/x\n", "{ran:?}");
    assert!(ran.err.contains("Read-only"), "{ran:?}");
    refused(&profile, &[tree.entry("a", StagedAs::Gone)]);
    refused(&profile, &[tree.entry("gone", FILE)]);
}

#[test]
fn deepest_listed_path_shows_it() {
    let tree = Tree::lay();
    let profile = StrictProfile {
        read: vec![listed(&tree.0), listed(tree.at("sub/deep"))],
        ..plain()
    };
    let entries = [tree.entry("b", FILE), tree.entry("sub/deep/t", FILE)];
    let script = format!("cd {}; cat b sub/deep/s sub/deep/t", tree.0.display());
    let ran = sees(&profile, &entries, &script);
    assert_eq!(ran.out, "new\nold sub/deep/s\nnew\n", "{ran:?}");
}

#[test]
fn nothing_runs_if_an_entry_cannot_be_shown() {
    let tree = Tree::lay();
    let profile = tree.profile();
    symlink("/etc", tree.at("link")).unwrap();
    let missing = tree.at("missing");
    let optional = ListedPath {
        path: missing.clone(),
        optional: true,
    };
    let others = StrictProfile {
        read: vec![listed(&tree.0), optional],
        write: vec![listed(tree.at("sub"))],
        exec: vec![listed(tree.at("full"))],
        ..plain()
    };
    for (name, profile, path) in [
        ("not listed", &profile, PathBuf::from("/srv/remit-other")),
        ("programs", &profile, "/usr/bin/true".into()),
        ("private", &profile, "/tmp/x".into()),
        ("proc", &profile, "/proc/self/x".into()),
        ("above", &profile, "/srv".into()),
        ("the listed directory", &profile, tree.0.clone()),
        ("through a link", &profile, tree.at("link/x")),
        ("no directory", &profile, tree.at("none/x")),
        ("a file above", &profile, tree.at("a/x")),
        ("written", &others, tree.at("sub/x")),
        ("executed", &others, tree.at("full/y")),
        ("missing", &others, missing.join("x")),
        ("dots", &profile, tree.at("../x")),
    ] {
        println!("{name}: {:?}", refused(profile, &[entry(&path, FILE)]));
    }
    let twice = [tree.entry("b", FILE), tree.entry("b", FILE)];
    refused(&profile, &twice);
    let long = StagedAs::File {
        owner: ANY,
        start: 0,
        length: 5,
    };
    refused(&profile, &[tree.entry("a", long)]);
}

#[test]
fn other_bases_and_unsealed_files_are_refused() {
    let tree = Tree::lay();
    let sealed = Staged::seal(&vec![tree.entry("a", FILE)], BYTES).unwrap();
    let fixture = fixture();
    let host = HostProfile {
        user: (0, 0),
        groups: Vec::new(),
        limits: LIMITS,
    };
    let host = compile_host(&host, &probe().unwrap()).unwrap();
    for sandbox in [&sandbox(), &host] {
        let with = With {
            staged: Some(sealed.as_fd()),
            ..With::default()
        };
        let ran = run_in(sandbox, &fixture, &["echo", "ran"], &with);
        assert_eq!(ran.out, "", "{ran:?}");
    }
    let unsealed = fs::File::open("/dev/null").unwrap();
    let with = With {
        staged: Some(unsealed.as_fd()),
        ..With::default()
    };
    assert!(start(&strict(&tree.profile()), &fixture, &["true"], &with).is_err());
    end(fixture);
}
