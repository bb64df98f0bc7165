//! Real files below /run, made as root. Every directory above them is writable only by root, unlike /tmp.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};

use nix::sys::stat::mknod;

use super::*;

const STRANGER: Option<u32> = Some(64003);

/// `bin/tool`, a program, and two other directories. Removed on drop.
struct Tree(PathBuf);

impl Tree {
    fn new() -> Self {
        let tree = Self(nix::unistd::mkdtemp("/run/remit-program-test-XXXXXX").unwrap());
        tree.chmod("", 0o755);
        for dir in ["bin", "alternatives", "other"] {
            fs::create_dir(tree.path(dir)).unwrap();
            tree.chmod(dir, 0o755);
        }
        fs::write(tree.path("bin/tool"), "#!/bin/sh\n").unwrap();
        tree.chmod("bin/tool", 0o755);
        tree
    }

    fn path(&self, below: &str) -> PathBuf {
        match below {
            "" => self.0.clone(),
            below => self.0.join(below),
        }
    }

    fn chmod(&self, below: &str, mode: u32) {
        fs::set_permissions(self.path(below), Permissions::from_mode(mode)).unwrap();
    }

    fn link(&self, below: &str, to: &str) {
        let to = to.replace('~', self.0.to_str().unwrap());
        symlink(to, self.path(below)).unwrap();
    }

    fn look(&self, below: &str) -> String {
        let root = self.0.to_str().unwrap();
        match program(self.path(below).to_str().unwrap()) {
            Program::Trusted => "trusted".to_owned(),
            Program::Missing => "missing".to_owned(),
            Program::Distrusted(why) => why.replace(root, "~"),
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn links_are_followed_wherever_root_put_them() {
    let tree = Tree::new();
    assert_eq!(tree.look("bin/tool"), "trusted");
    assert_eq!(tree.look("bin/none"), "missing");
    assert_eq!(tree.look("none/tool"), "missing");
    tree.link("bin/absolute", "~/alternatives/tool");
    tree.link("alternatives/tool", "../bin/tool");
    tree.link("sbin", "bin");
    tree.link("up", "other/../../..");
    tree.link("dangling", "~/none");
    for (below, expect) in [
        ("bin/absolute", "trusted"),
        ("sbin/absolute", "trusted"),
        ("other/../sbin/./tool", "trusted"),
        ("up/bin/sh", "trusted"),
        ("dangling", "missing"),
        ("dangling/tool", "missing"),
    ] {
        assert_eq!(tree.look(below), expect, "{below}");
    }
    for path in ["/bin/sh", "/usr/bin/env", "/../bin/sh"] {
        assert_eq!(program(path), Program::Trusted, "{path}");
    }
}

#[test]
fn links_end_after_forty() {
    let tree = Tree::new();
    tree.link("loop", "loop");
    let why = "cannot open '~/loop': it leads through more than 40 symbolic links";
    assert_eq!(tree.look("loop"), why);
    tree.link("hop1", "bin/tool");
    for at in 2..=41 {
        tree.link(&format!("hop{at}"), &format!("hop{}", at - 1));
    }
    assert_eq!(tree.look("hop40"), "trusted");
    assert_eq!(tree.look("hop41"), why.replace("loop", "hop41"));
    tree.link("grow", "grow/grow");
    assert_eq!(tree.look("grow"), why.replace("loop", "grow"));
}

#[track_caller]
fn check(below: &str, spoil: impl FnOnce(&Tree), expect: &str) {
    let tree = Tree::new();
    tree.link("bin/called", "~/alternatives/tool");
    tree.link("alternatives/tool", "../other/tool");
    tree.link("other/tool", "~/bin/tool");
    assert_eq!(tree.look(below), "trusted");
    spoil(&tree);
    assert_eq!(tree.look(below), format!("cannot open {expect}"));
}

#[test]
fn directories_along_links_must_be_roots_alone() {
    let called = "bin/called";
    for dir in ["", "bin", "alternatives", "other"] {
        let name = match dir {
            "" => "~".to_owned(),
            dir => format!("~/{dir}"),
        };
        check(
            called,
            |tree| tree.chmod(dir, 0o777),
            &format!("'{name}': it is writable by everybody; chmod go-w"),
        );
        check(
            called,
            |tree| tree.chmod(dir, 0o1777),
            &format!("'{name}': it is writable by everybody; chmod go-w"),
        );
        check(
            called,
            |tree| tree.chmod(dir, 0o775),
            &format!("'{name}': it is writable by group 0; chmod go-w"),
        );
        check(
            called,
            |tree| chown(tree.path(dir), STRANGER, None).unwrap(),
            &format!("'{name}': it is owned by uid 64003, not by root; chown it"),
        );
    }
    for link in ["bin/called", "alternatives/tool", "other/tool"] {
        check(
            called,
            |tree| lchown(tree.path(link), STRANGER, None).unwrap(),
            &format!("'~/{link}': the symbolic link is owned by uid 64003, not by root"),
        );
    }
    // A directory that is only passed by '..' counts as well: its writer controls the way.
    check(
        "other/../bin/tool",
        |tree| tree.chmod("other", 0o777),
        "'~/other': it is writable by everybody; chmod go-w",
    );
}

#[test]
fn the_file_must_be_roots_alone_and_a_program() {
    let (called, tool) = ("bin/called", "bin/tool");
    check(
        called,
        |tree| tree.chmod(tool, 0o757),
        "'~/bin/tool': it is writable by everybody; chmod go-w",
    );
    check(
        called,
        |tree| tree.chmod(tool, 0o775),
        "'~/bin/tool': it is writable by group 0; chmod go-w",
    );
    check(
        called,
        |tree| chown(tree.path(tool), STRANGER, None).unwrap(),
        "'~/bin/tool': it is owned by uid 64003, not by root; chown it",
    );
    check(
        called,
        |tree| tree.chmod(tool, 0o644),
        "'~/bin/tool': it is not executable",
    );
    check(
        called,
        |tree| {
            fs::remove_file(tree.path("other/tool")).unwrap();
            tree.link("other/tool", "~/bin");
        },
        "'~/bin': it is a directory, not a program",
    );
    check(
        called,
        |tree| {
            fs::remove_file(tree.path(tool)).unwrap();
            mknod(&tree.path(tool), SFlag::S_IFIFO, Mode::S_IRWXU, 0).unwrap();
        },
        "'~/bin/tool': it is not a regular file",
    );
    check(
        called,
        |tree| {
            fs::remove_file(tree.path("alternatives/tool")).unwrap();
            tree.link("alternatives/tool", "~/bin/tool/x");
        },
        "'~/bin/tool': Not a directory",
    );
}

#[test]
fn hard_link_or_setuid_bit_is_accepted() {
    let tree = Tree::new();
    fs::hard_link(tree.path("bin/tool"), tree.path("bin/twin")).unwrap();
    tree.chmod("bin/tool", 0o6755);
    assert_eq!(tree.look("bin/twin"), "trusted");
}

#[test]
fn relative_path_is_refused() {
    for path in ["", "sh", "./sh"] {
        let Program::Distrusted(why) = program(path) else {
            panic!("{path}");
        };
        assert!(why.ends_with("the path must be absolute"), "{why}");
    }
    let root = Program::Distrusted("cannot open '/': it is a directory, not a program".into());
    assert_eq!(program("/"), root);
    let Program::Distrusted(why) = program("/bin/a\0b") else {
        panic!("a NUL");
    };
    assert!(why.starts_with("cannot open '/"), "{why}");
    assert_eq!(
        program(&format!("/{}", "x".repeat(300))),
        Program::Distrusted(format!(
            "cannot open '/{}': File name too long",
            "x".repeat(300)
        ))
    );
}

#[test]
fn c18_an_interpreter_that_others_can_change_is_refused() {
    let tree = Tree::new();
    let script = |first: &str| {
        let root = tree.0.to_str().unwrap();
        fs::write(tree.path("bin/script"), first.replace('~', root)).unwrap();
        tree.chmod("bin/script", 0o755);
        tree.look("bin/script")
    };
    let machine = |name: &str, text: &str| {
        fs::write(tree.path(name), text).unwrap();
        tree.chmod(name, 0o755);
    };
    machine("other/mine", "\x7fELF");
    machine("other/theirs", "\x7fELF");
    chown(tree.path("other/theirs"), STRANGER, None).unwrap();
    for first in [
        "#!~/other/mine\n",
        "#!/usr/bin/env sh\n",
        "#!/usr/bin/env -S sh -e\n",
        "#!/usr/bin/env no-such-program-at-all\n",
        "#!~/other/none\n",
        "\x7fELF",
        "echo no first line\n",
    ] {
        assert_eq!(script(first), "trusted", "{first}");
    }
    let refused = |first: &str, why: &str| {
        let said = script(first);
        assert!(
            said.starts_with("it is a script, and its interpreter is refused: "),
            "{first}: {said}"
        );
        assert!(said.contains(why), "{first}: {said}");
    };
    refused(
        "#!~/other/theirs\n",
        "'~/other/theirs': it is owned by uid 64003",
    );
    let inner = format!("#!{}\n", tree.path("other/theirs").display());
    machine("bin/inner", &inner);
    refused(
        "#!~/bin/inner\n",
        "'~/other/theirs': it is owned by uid 64003",
    );
    refused("#!theirs\n", "names no interpreter by an absolute path");
    refused("#!/usr/bin/env A=b sh\n", "more than a name");
    let itself = format!("#!{}\n", tree.path("bin/itself").display());
    machine("bin/itself", &itself);
    refused("#!~/bin/itself\n", "scripts themselves");
    chown(tree.path("other"), STRANGER, None).unwrap();
    refused("#!~/other/mine\n", "'~/other': it is owned by uid 64003");
    refused("#!~/other/none\n", "'~/other': it is owned by uid 64003");
}
