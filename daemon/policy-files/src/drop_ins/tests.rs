//! Real files below /run, made as root. Every directory above them is writable only by root, unlike /tmp.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use super::*;

/// A directory with `usr/policy.d` and `etc/policy.d`, removed on drop.
struct Tree(PathBuf);

impl Tree {
    fn new() -> Self {
        let tree = Self(nix::unistd::mkdtemp("/run/remit-policy-test-XXXXXX").unwrap());
        for dir in ["", "usr", "usr/policy.d", "etc", "etc/policy.d"] {
            let path = tree.path(dir);
            fs::create_dir_all(&path).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        }
        tree
    }

    fn path(&self, below: &str) -> PathBuf {
        if below.is_empty() {
            self.0.clone()
        } else {
            self.0.join(below)
        }
    }

    fn write(&self, below: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(below);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        path
    }

    fn chmod(&self, below: &str, mode: u32) {
        fs::set_permissions(self.path(below), Permissions::from_mode(mode)).unwrap();
    }

    fn node(&self, below: &str, kind: SFlag, device: u64) {
        mknod(
            &self.path(below),
            kind,
            Mode::from_bits_truncate(0o644),
            device,
        )
        .unwrap();
    }

    fn read(&self) -> Result<PolicyFiles, Vec<Diagnostic>> {
        read(
            &self.path("usr/policy.d"),
            &self.path("etc/policy.d"),
            Owners::Root,
        )
    }

    fn sources(&self) -> Vec<(String, String)> {
        let found = self.read().unwrap();
        let below = |name: &str| {
            name.strip_prefix(self.0.to_str().unwrap())
                .unwrap()
                .to_owned()
        };
        let pair = |source: Source| (below(&source.name), String::from_utf8(source.text).unwrap());
        found.sources.into_iter().map(pair).collect()
    }

    fn errors(&self) -> Vec<String> {
        let found = self.read().expect_err("it was read");
        let root = self.0.to_str().unwrap();
        found
            .iter()
            .map(|one| one.to_string().replace(root, ""))
            .collect()
    }

    fn warnings(&self) -> Vec<String> {
        let found = self.read().unwrap().warnings;
        let root = self.0.to_str().unwrap();
        found
            .iter()
            .map(|one| one.to_string().replace(root, ""))
            .collect()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

#[track_caller]
fn check(spoil: impl FnOnce(&Tree), expect: &str) {
    let tree = Tree::new();
    tree.write("etc/policy.d/20-b.toml", "b");
    tree.read().unwrap();
    spoil(&tree);
    let errors = tree.errors();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(
        errors[0].starts_with(expect),
        "{:?} is not {expect:?}",
        errors[0]
    );
}

const B: &str = "etc/policy.d/20-b.toml";

#[test]
fn files_come_in_the_order_of_their_names() {
    let tree = Tree::new();
    for name in [
        "etc/policy.d/20",
        "usr/policy.d/10",
        "usr/policy.d/9",
        "etc/policy.d/15",
        "etc/policy.d/Z",
    ] {
        tree.write(&format!("{name}.toml"), name);
    }
    let names: Vec<_> = tree.sources().into_iter().map(|(_, text)| text).collect();
    assert_eq!(
        names,
        [
            "usr/policy.d/10",
            "etc/policy.d/15",
            "etc/policy.d/20",
            "usr/policy.d/9",
            "etc/policy.d/Z"
        ]
    );
    assert_eq!(tree.warnings(), Vec::<String>::new());
}

#[test]
fn the_administrators_file_replaces_the_vendors() {
    let tree = Tree::new();
    tree.write("usr/policy.d/10.toml", "vendor");
    tree.write("etc/policy.d/10.toml", "admin");
    assert_eq!(
        tree.sources(),
        [("/etc/policy.d/10.toml".into(), "admin".into())]
    );
    tree.chmod("usr/policy.d/10.toml", 0o666);
    assert_eq!(tree.sources().len(), 1);
    tree.write("etc/policy.d/10.toml", "");
    assert_eq!(
        tree.sources(),
        [("/etc/policy.d/10.toml".into(), String::new())]
    );
}

#[test]
fn a_link_to_dev_null_masks() {
    let tree = Tree::new();
    tree.write("usr/policy.d/10.toml", "vendor");
    tree.write("usr/policy.d/20.toml", "kept");
    symlink("/dev/null", tree.path("etc/policy.d/10.toml")).unwrap();
    // A mask without a file to mask is correct: the package may be installed later.
    symlink("/dev/null", tree.path("etc/policy.d/99.toml")).unwrap();
    assert_eq!(
        tree.sources(),
        [("/usr/policy.d/20.toml".into(), "kept".into())]
    );
}

#[test]
fn other_links_are_refused() {
    for to in [
        "../../usr/policy.d/10.toml",
        "/dev/zero",
        "/dev/../dev/null",
        "//dev/null",
        "nowhere",
    ] {
        let link = |tree: &Tree| symlink(to, tree.path("etc/policy.d/30.toml")).unwrap();
        check(
            link,
            &format!("/etc/policy.d/30.toml: error: it is a symbolic link to '{to}'"),
        );
    }
}

#[test]
fn names_that_are_no_policies_are_left_alone() {
    let tree = Tree::new();
    tree.write("etc/policy.d/10.toml", "x");
    for leftover in [
        ".toml",
        ".x.toml",
        "10.toml~",
        "10.toml.dpkg-old",
        "10.toml.dpkg-dist",
        "10.toml.ucf-dist",
        "#10.toml#",
        "10.toml.rpmnew",
        "10.toml.bak",
    ] {
        tree.write(&format!("etc/policy.d/{leftover}"), "x");
    }
    assert_eq!(tree.sources().len(), 1);
    assert_eq!(tree.warnings(), Vec::<String>::new());
    for other in ["10.TOML", "20.conf", "toml", "30.toml "] {
        tree.write(&format!("etc/policy.d/{other}"), "x");
    }
    assert_eq!(tree.sources().len(), 1);
    assert_eq!(tree.warnings().len(), 4);
    assert_eq!(
        tree.warnings()[0],
        "/etc/policy.d/10.TOML: warning: it is not read: the name of a policy file ends in '.toml'"
    );
}

#[test]
fn a_missing_directory_is_empty() {
    let tree = Tree::new();
    tree.write("usr/policy.d/10.toml", "vendor");
    fs::remove_dir(tree.path("etc/policy.d")).unwrap();
    assert_eq!(tree.sources().len(), 1);
    fs::remove_dir(tree.path("etc")).unwrap();
    assert_eq!(tree.sources().len(), 1);

    let tree = Tree::new();
    tree.write("etc/policy.d/10.toml", "admin");
    fs::remove_dir_all(tree.path("usr")).unwrap();
    assert_eq!(tree.sources().len(), 1);
    assert_eq!(tree.warnings(), Vec::<String>::new());

    fs::remove_dir_all(tree.path("etc")).unwrap();
    assert_eq!(tree.sources(), []);
    assert_eq!(
        tree.warnings(),
        [
            "/etc/policy.d: warning: there is no policy file here or in '/usr/policy.d', so nobody has any permission"
        ]
    );
}

#[test]
fn directories_above_must_be_roots_alone() {
    for below in ["", "etc", "etc/policy.d"] {
        let name = if below.is_empty() {
            String::new()
        } else {
            format!("/{below}")
        };
        check(
            |tree| tree.chmod(below, 0o775),
            &format!("{name}: error: it is writable by group 0"),
        );
        check(
            |tree| tree.chmod(below, 0o757),
            &format!("{name}: error: it is writable by everybody"),
        );
        check(
            |tree| tree.chmod(below, 0o1777),
            &format!("{name}: error: it is writable by everybody"),
        );
        check(
            |tree| chown(tree.path(below), Some(64003), None).unwrap(),
            &format!("{name}: error: it is owned by uid 64003, not by root"),
        );
    }
}

#[test]
fn link_or_file_as_directory_is_refused() {
    let relink = |tree: &Tree| {
        fs::rename(tree.path("etc"), tree.path("real")).unwrap();
        symlink("real", tree.path("etc")).unwrap();
    };
    check(relink, "/etc: error: it is a symbolic link");
    let relink = |tree: &Tree| {
        fs::rename(tree.path("etc/policy.d"), tree.path("real")).unwrap();
        symlink("../real", tree.path("etc/policy.d")).unwrap();
    };
    check(relink, "/etc/policy.d: error: it is a symbolic link");
    let file = |tree: &Tree| {
        fs::remove_dir_all(tree.path("etc/policy.d")).unwrap();
        tree.write("etc/policy.d", "x");
    };
    check(file, "/etc/policy.d: error: it is not a directory");
}

#[test]
fn a_file_must_be_roots_alone() {
    check(
        |tree| tree.chmod(B, 0o664),
        "/etc/policy.d/20-b.toml: error: it is writable by group 0",
    );
    check(
        |tree| tree.chmod(B, 0o646),
        "/etc/policy.d/20-b.toml: error: it is writable by everybody",
    );
    check(
        |tree| chown(tree.path(B), Some(64003), None).unwrap(),
        "/etc/policy.d/20-b.toml: error: it is owned by uid 64003",
    );
    check(
        |tree| fs::hard_link(tree.path(B), tree.path("other")).unwrap(),
        "/etc/policy.d/20-b.toml: error: it has 2 hard links",
    );
    let tree = Tree::new();
    let path = tree.write(B, "b");
    chown(&path, None, Some(64003)).unwrap();
    assert_eq!(tree.sources().len(), 1);
}

#[test]
fn special_file_is_refused_at_once() {
    let regular = "/etc/policy.d/30.toml: error: it is not a regular file";
    let name = "etc/policy.d/30.toml";
    check(|tree| tree.node(name, SFlag::S_IFIFO, 0), regular);
    check(
        |tree| tree.node(name, SFlag::S_IFCHR, makedev(1, 5)),
        regular,
    );
    check(|tree| tree.node(name, SFlag::S_IFSOCK, 0), regular);
    check(|tree| fs::create_dir(tree.path(name)).unwrap(), regular);
}

#[test]
fn sizes_and_numbers_are_bounded() {
    let sized = |tree: &Tree, below: &str, size: usize| {
        let path = tree.write(below, "");
        fs::File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_len(size as u64)
            .unwrap();
    };
    let tree = Tree::new();
    sized(&tree, B, caps::POLICY_FILE);
    assert_eq!(tree.sources().len(), 1);
    let over = |tree: &Tree| sized(tree, B, caps::POLICY_FILE + 1);
    check(
        over,
        "/etc/policy.d/20-b.toml: error: it has 1048577 bytes, the most is 1048576",
    );
    check(
        |tree| sized(tree, B, 1 << 30),
        "/etc/policy.d/20-b.toml: error: it has 1073741824 bytes",
    );

    let tree = Tree::new();
    for at in 0..4 {
        sized(&tree, &format!("usr/policy.d/{at}.toml"), caps::POLICY_FILE);
    }
    assert_eq!(tree.sources().len(), 4);
    tree.write("etc/policy.d/5.toml", "x");
    assert_eq!(
        tree.errors(),
        ["/etc/policy.d: error: all policy files together have over 4194304 bytes"]
    );

    let tree = Tree::new();
    for at in 0..caps::POLICY_FILES {
        tree.write(&format!("usr/policy.d/{at}.toml"), "");
    }
    assert_eq!(tree.sources().len(), caps::POLICY_FILES);
    tree.write("etc/policy.d/0.toml", "");
    assert_eq!(tree.sources().len(), caps::POLICY_FILES);
    tree.write("etc/policy.d/x.toml", "");
    assert_eq!(
        tree.errors(),
        ["/etc/policy.d: error: 257 policy files are more than 256"]
    );
}

#[test]
fn names_that_could_deceive_are_refused() {
    let named = |name: &'static [u8]| {
        move |tree: &Tree| {
            fs::write(tree.path("etc/policy.d").join(OsStr::from_bytes(name)), "").unwrap()
        }
    };
    check(
        named(b"\x1b[2J.toml"),
        "/etc/policy.d/\\x1b[2J.toml: error: its name must be UTF-8",
    );
    check(
        named(b"a\nb.toml"),
        "/etc/policy.d/a\\nb.toml: error: its name must be UTF-8",
    );
    check(
        named(b"\xff.toml"),
        "/etc/policy.d/\\xff.toml: error: its name must be UTF-8",
    );
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let tree = Tree::new();
    tree.write("etc/policy.d/1.toml", "");
    tree.chmod("etc/policy.d/1.toml", 0o666);
    tree.node("etc/policy.d/2.toml", SFlag::S_IFIFO, 0);
    tree.write("etc/policy.d/3.toml", "fine");
    tree.chmod("usr/policy.d", 0o777);
    let errors = tree.errors();
    let paths: Vec<_> = errors
        .iter()
        .map(|one| one.split(':').next().unwrap())
        .collect();
    assert_eq!(
        paths,
        [
            "/usr/policy.d",
            "/etc/policy.d/1.toml",
            "/etc/policy.d/2.toml"
        ]
    );
}

#[test]
fn relative_or_climbing_paths_are_refused() {
    for (path, why) in [
        ("etc", "absolute"),
        ("", "absolute"),
        ("/run/../run", "'..'"),
    ] {
        let error = trust::directory(Path::new(path), Owners::Root).unwrap_err();
        assert!(error.why.contains(why), "{error}");
    }
    assert!(
        trust::directory(Path::new("/etc/./"), Owners::Root)
            .unwrap()
            .is_some()
    );
    let error = trust::directory(Path::new("/tmp/x"), Owners::Root).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot open '/tmp': it is writable by everybody; chmod go-w"
    );
}

#[test]
fn uninstalled_files_may_have_any_owner() {
    let tree = Tree::new();
    let path = tree.write(B, "b");
    chown(&path, Some(64003), None).unwrap();
    chown(tree.path("etc"), Some(64003), None).unwrap();
    tree.chmod("etc/policy.d", 0o1777);
    tree.chmod(B, 0o666);
    fs::hard_link(&path, tree.path("other")).unwrap();
    let read_any_owner = |tree: &Tree| {
        let (vendor, admin) = (tree.path("usr/policy.d"), tree.path("etc/policy.d"));
        read(&vendor, &admin, Owners::Any)
    };
    assert_eq!(read_any_owner(&tree).unwrap().sources.len(), 1);
    let text = Some(b"b".to_vec());
    assert_eq!(read_file(&path, Owners::Any), Ok(text));
    assert!(read_trusted(&path).is_err());
    // Type and size are checked all the same.
    tree.node("etc/policy.d/30.toml", SFlag::S_IFIFO, 0);
    symlink(B, tree.path("etc/policy.d/40.toml")).unwrap();
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(1 << 30)
        .unwrap();
    let found = read_any_owner(&tree).unwrap_err();
    let found: Vec<&str> = found.iter().map(Diagnostic::message).collect();
    assert_eq!(
        found,
        [
            "it has 1073741824 bytes, the most is 1048576",
            "it is not a regular file",
            &format!("it is a symbolic link to '{B}'; only '/dev/null' may be linked to"),
        ]
    );
}

#[test]
fn file_written_meanwhile_is_whole_or_refused() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let tree = Tree::new();
    // By rename, as `install` and editors do, and in place, as `cp` does.
    let (old, new) = (vec![b'a'; 300_000], vec![b'b'; 500_000]);
    let path = tree.write(B, &old);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let next = tree.path("next");
            while !done.load(Ordering::Relaxed) {
                for text in [&new, &old] {
                    fs::write(&next, text).unwrap();
                    fs::rename(&next, &path).unwrap();
                    fs::write(&path, if text == &new { &old } else { &new }).unwrap();
                }
            }
        });
        for _ in 0..200 {
            match tree.read() {
                Ok(found) => {
                    let text = &found.sources[0].text;
                    // A write in place truncates first and may grow in steps that end in time.
                    let whole = [&old, &new].into_iter().any(|all| all.starts_with(text));
                    assert!(whole, "{} bytes of both", text.len());
                }
                Err(found) => assert!(
                    found.iter().all(|one| one.message().ends_with("try again")
                        || one.message().ends_with("make it a file of its own")
                        || one.message().contains("has 0 hard links")),
                    "{found:?}"
                ),
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn include_is_unknown_and_reads_nothing() {
    let tree = Tree::new();
    tree.write(B, "include = \"/etc/shadow\"\n");
    tree.write(
        "etc/policy.d/30.toml",
        "include = [\"../policy.d/*.toml\"]\n",
    );
    let found = crate::load(
        &tree.path("usr/policy.d"),
        &tree.path("etc/policy.d"),
        Owners::Root,
        &crate::Names::default(),
        &remit_policy_compile::load,
    );
    let found = found.expect_err("it was loaded");
    assert_eq!(found.len(), 2, "{found:?}");
    for one in found {
        assert!(one.message().contains("'include'"), "{one}");
        assert!(!one.to_string().contains("root:"), "{one}");
    }
}

#[test]
fn configuration_file_has_the_same_conditions() {
    let tree = Tree::new();
    let path = tree.path("etc/remit.toml");
    assert_eq!(read_trusted(&path), Ok(None));
    assert_eq!(read_trusted(&tree.path("none/remit.toml")), Ok(None));
    tree.write("etc/remit.toml", "x = 1");
    assert_eq!(read_trusted(&path), Ok(Some(b"x = 1".to_vec())));
    tree.chmod("etc/remit.toml", 0o660);
    let why = "it is writable by group 0; chmod go-w";
    assert_eq!(
        read_trusted(&path),
        Err(format!("cannot open '{}': {why}", path.display()))
    );
    fs::remove_file(&path).unwrap();
    symlink("/dev/null", &path).unwrap();
    assert!(read_trusted(&path).unwrap_err().contains("symbolic link"));
    assert!(read_trusted(Path::new("/")).is_err());
}

/// /proc/version reports a size of 0 and then returns bytes, like a file that grows while it is read.
#[test]
fn file_of_wrong_length_is_refused() {
    let why = read_trusted(Path::new("/proc/version")).unwrap_err();
    assert_eq!(
        why,
        "cannot open '/proc/version': it changed while it was read; try again"
    );
}
