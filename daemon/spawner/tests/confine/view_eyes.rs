//! A view with the eyes of root: what it reads that others do not, what is kept back all the same, and what becomes a plan.

use super::common::*;
use super::view::{Jobs, Tree, profile, settle, view};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use remit_confine::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

fn with_the_eyes_of_root() -> Sandbox {
    let profile = ViewProfile {
        sees_all: true,
        ..profile()
    };
    compile_view(&profile, &probe().unwrap()).unwrap()
}

fn said(jobs: &Jobs, script: &str) -> String {
    jobs.run(&["sh", "-c", &format!("{{ {script}; }} 2>&1")])
        .out
}

/// Mounts of this test alone: what it mounts, and what it starts, is seen by nobody else.
fn own_mounts() {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
}

fn tmpfs(at: &Path) {
    let none = None::<&str>;
    mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), none).unwrap();
}

#[test]
fn private_files_are_read_with_the_eyes_of_root_alone() {
    own_mounts();
    let tree = Tree::new();
    tree.file("key", 0o600, 0, "SECRET\n");
    tree.file("user", 0o600, 1000, "SECRET\n");
    tree.dir("private", 0o700);
    tree.file("private/in", 0o644, 0, "SECRET\n");
    tree.dir("private/mount", 0o755);
    tmpfs(&tree.0.join("private/mount"));
    tree.file("private/mount/in", 0o600, 0, "SECRET\n");
    // An owner that no view has.
    tree.file("foreign", 0o600, 70_000, "SECRET\n");
    let [root, operator] = [with_the_eyes_of_root(), view()].map(Jobs::within);
    for (script, is_read) in [
        ("cat key", true),
        (
            "cp key copy && chmod 644 copy && su -s /bin/sh -c 'cat copy' nobody",
            true,
        ),
        ("su -s /bin/sh -c 'cat key' nobody", false),
        ("cat user", true),
        ("cat private/in", true),
        ("mv private other && cat other/in", false),
        ("cat private/mount/in", true),
        ("cat foreign", false),
        ("chmod 644 foreign; cat foreign", false),
    ] {
        let script = format!("cd {}; {script}", tree.at());
        let read = |jobs| said(jobs, &script).contains("SECRET");
        assert_eq!(read(&root), is_read, "{script}: {}", said(&root, &script));
        assert!(!read(&operator), "{script}");
    }
    for name in ["key", "user", "foreign", "private/in", "private/mount/in"] {
        let path = tree.0.join(name);
        assert_eq!(fs::read_to_string(&path).unwrap(), "SECRET\n", "{name}");
    }
    end(root.fixture);
    end(operator.fixture);
    nix::mount::umount2(
        &tree.0.join("private/mount"),
        nix::mount::MntFlags::MNT_DETACH,
    )
    .unwrap();
}

#[test]
fn files_of_remit_and_passwords_are_kept_back_from_the_eyes_of_root() {
    own_mounts();
    let (tree, state) = (Tree::new(), Path::new("/var/lib"));
    tmpfs(state);
    // Closed by their name, also where a link leads.
    fs::create_dir(state.join("moved")).unwrap();
    fs::write(state.join("moved/spool"), "SECRET\n").unwrap();
    fs::write(state.join("open"), "SECRET\n").unwrap();
    symlink("moved", state.join("remit")).unwrap();
    tree.file("key", 0o600, 0, "SECRET\n");
    let [root, operator] = [with_the_eyes_of_root(), view()].map(Jobs::within);
    for (script, is_read) in [
        ("cat /var/lib/remit/spool", false),
        ("cat /var/lib/moved/spool", false),
        ("chmod 777 /var/lib/moved; cat /var/lib/moved/spool", false),
        ("mv /var/lib/moved /opt/moved; cat /opt/moved/spool", false),
        (
            "rm -r /var/lib/moved; mkdir /var/lib/moved; cat /var/lib/moved/spool",
            false,
        ),
        ("cat /var/lib/open", true),
    ] {
        let read = said(&root, script);
        assert_eq!(read.contains("SECRET"), is_read, "{script}: {read}");
    }
    assert_eq!(said(&operator, "cat /var/lib/remit/spool"), "SECRET\n");
    let table = fs::read_to_string("/etc/shadow").unwrap();
    let shown = said(&root, "cat /etc/shadow; cat /etc/gshadow");
    assert!(shown.lines().count() >= table.lines().count(), "{shown}");
    for line in shown.lines().filter(|line| line.contains(':')) {
        let password = line.split(':').nth(1).unwrap();
        assert!(password.chars().all(|sign| "!*".contains(sign)), "{line}");
    }
    end(root.fixture);
    end(operator.fixture);
}

#[test]
fn what_root_changed_in_private_files_is_a_plan() {
    let tree = Tree::new();
    tree.file("key", 0o600, 33, "old\n");
    tree.file("gone", 0o600, 0, "gone\n");
    tree.dir("private", 0o700);
    tree.file("private/in", 0o600, 0, "in\n");
    settle();
    let at = tree.at();
    let script = format!(
        "cd {at} && echo newer >key && rm gone private/in && echo x >private/new && chmod 600 private/new && \
         echo 'remit-test:!:1::::::' >>/etc/shadow"
    );
    let jobs = Jobs::within(with_the_eyes_of_root());
    let found = jobs.changes(&script);
    let (table, rest): (Vec<&str>, Vec<&str>) = found
        .lines()
        .partition(|line| line.starts_with("/etc/shadow"));
    let want = [
        format!("remove {at}/gone read true"),
        format!("{at}/key 4 -> 6 33:33 600"),
        format!("remove {at}/private/in read true"),
        format!("new file of 2 {at}/private/new 0:0 600"),
        "scratch 0".to_owned(),
    ];
    assert_eq!(rest, want);
    // The sign, the line, and its end: the lines that changed alone.
    assert!(table.len() == 1 && table[0].contains(" -> 22 "), "{found}");
    let script = "sed -i 's/^root:[^:]*/root:x/' /etc/shadow";
    let found = jobs.changes(script);
    end(jobs.fixture);
    assert!(found.contains("the password of 'root'"), "{found}");
}
