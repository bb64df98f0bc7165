//! A purge of the .deb, of a machine beneath a temporary directory. `tests/machine/test-lifecycle` has a whole one.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use super::repo;

fn run_purge(root: &Path) -> std::io::Result<Output> {
    Command::new("sh")
        .arg(repo::root().join("packaging/deb/postrm"))
        .arg("purge")
        .env("DPKG_ROOT", root)
        .output()
}

#[test]
fn purge_keeps_directories_of_others_with_their_journals() {
    let root = std::env::temp_dir().join(format!("remit-purge-{}", std::process::id()));
    let state = "var/lib/remit";
    for file in [
        "warden/lock",
        "commits/a1/journal",
        "commits/a1/1",
        "commits/a1/2/of-others",
        "commits/b2/journal",
        "commits/b2/1",
        "commits/c3/journal",
        "commits/c3/1/.hidden/of-others",
    ] {
        let file = root.join(state).join(file);
        fs::create_dir_all(file.parent().expect("it has one")).expect("a directory");
        fs::write(file, "").expect("a file");
    }
    fs::create_dir(root.join(state).join("commits/a1/3")).expect("a directory");
    let purge = run_purge(&root);
    let mut left = Vec::new();
    let mut above = vec![root.join(state)];
    while let Some(directory) = above.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => above.push(path),
                false => left.push(
                    path.strip_prefix(root.join(state))
                        .expect("beneath")
                        .to_owned(),
                ),
            }
        }
    }
    let is_left = |path: &str| root.join(state).join(path).exists();
    let (empty, other) = (is_left("commits/a1/3"), is_left("commits/b2"));
    let _ = fs::remove_dir_all(&root);
    let purge = purge.expect("a shell");
    assert!(purge.status.success(), "{purge:?}");
    left.sort();
    let left: Vec<_> = left.iter().map(|path| path.display().to_string()).collect();
    let expect = [
        "commits/a1/2/of-others",
        "commits/a1/journal",
        "commits/c3/1/.hidden/of-others",
        "commits/c3/journal",
    ];
    assert_eq!(left, expect, "{purge:?}");
    assert!(!empty && !other);
}

/// The plan of a journal, as far as it is read: anything, the path, a control character.
#[test]
fn purge_names_private_directories_on_other_file_systems_and_keeps_their_journals() {
    let root = std::env::temp_dir().join(format!("remit-purge-beside-{}", std::process::id()));
    let commits = root.join("var/lib/remit/commits");
    let write = |path: &Path, bytes: &[u8]| {
        fs::create_dir_all(path.parent().expect("it has one")).expect("a directory");
        fs::write(path, bytes).expect("a file");
    };
    // Each commit, what its journal has, and where its private directory is.
    let cases: [(&str, &[u8], Option<&str>); 7] = [
        (
            "a1",
            b"K\0\0remit plan\n\x01\x10/etc/nginx/a\x02x\x01",
            Some("etc/nginx"),
        ),
        (
            "b2",
            b"\x02\x10/etc/other\0\x2f/srv/it/x y\x05",
            Some("srv/it"),
        ),
        (
            "c3",
            b"\x9f/x/\x20/srv/b\xf6/new/deep/file\x01",
            Some("srv/b\u{fffd}"),
        ),
        ("d4", b"\x01\x05/motd\x02", Some("")),
        ("e5", b"\x01\x08/srv/gone\x02", None),
        ("f6", b"", None),
        // A link is no private directory.
        ("a7", b"\x01\x0c/srv/links/a\x02", None),
    ];
    let in_root = |at: &str| {
        use std::os::unix::ffi::OsStrExt;
        let parts: Vec<&[u8]> = at.split('\u{fffd}').map(str::as_bytes).collect();
        root.join(std::ffi::OsStr::from_bytes(&parts.join(&b'\xf6')))
    };
    for (id, journal, above) in &cases {
        write(&commits.join(id).join("journal"), journal);
        write(&commits.join(id).join("1"), b"old");
        if let Some(above) = above {
            write(&in_root(above).join(format!(".remit-{id}/0")), b"old");
        }
    }
    write(&root.join("srv/links/x"), b"");
    std::os::unix::fs::symlink("/etc", root.join("srv/links/.remit-a7")).expect("a link");
    let purge = run_purge(&root);
    let seen: Vec<_> = cases
        .iter()
        .map(|(id, _, above)| {
            let is_kept = commits.join(id).join("journal").exists();
            let is_old = commits.join(id).join("1").exists();
            let is_beside =
                above.is_some_and(|above| in_root(above).join(format!(".remit-{id}/0")).exists());
            (*id, is_kept, is_old, is_beside)
        })
        .collect();
    let _ = fs::remove_dir_all(&root);
    let purge = purge.expect("a shell");
    assert!(purge.status.success(), "{purge:?}");
    let said = String::from_utf8_lossy(&purge.stderr).into_owned();
    for ((id, _, above), seen) in cases.iter().zip(seen) {
        let is_there = above.is_some();
        assert_eq!(seen, (*id, is_there, false, is_there), "{said}");
        let named = above.map_or_else(
            || format!(".remit-{id}"),
            |above| {
                let slash = if above.is_empty() { "" } else { "/" };
                format!("{}/{above}{slash}.remit-{id}", root.display())
            },
        );
        assert_eq!(said.contains(&named), is_there, "{named}: {said}");
    }
}

/// Each slash of a journal may begin a path: a line of many slashes is no reason for a purge without an end.
#[test]
fn purge_ends_for_a_journal_with_very_many_paths_and_keeps_it() {
    let root = std::env::temp_dir().join(format!("remit-purge-many-{}", std::process::id()));
    let commits = root.join("var/lib/remit/commits");
    let write = |path: &Path, bytes: &[u8]| {
        fs::create_dir_all(path.parent().expect("it has one")).expect("a directory");
        fs::write(path, bytes).expect("a file");
    };
    let line = |depth: usize| format!("\x01{}/file\x02", "/d".repeat(depth));
    let many: String = (0..200).map(|more| line(1800 + more)).collect();
    write(&commits.join("many/journal"), many.as_bytes());
    // The end of a line that is longer than any path is looked at.
    let long = format!("\x01{}/srv/other/file\x02", "x".repeat(9000));
    write(&commits.join("long/journal"), long.as_bytes());
    write(&root.join("srv/other/.remit-long/0"), b"old");
    let purge = run_purge(&root);
    let is_kept = ["many", "long"].map(|id| commits.join(id).join("journal").exists());
    let _ = fs::remove_dir_all(&root);
    let purge = purge.expect("a shell");
    assert!(purge.status.success(), "{purge:?}");
    let said = String::from_utf8_lossy(&purge.stderr).into_owned();
    assert_eq!(is_kept, [true, true], "{said}");
    let line = |start: &str| {
        let start = format!("remit: {start}");
        let line = said.lines().find(|line| line.starts_with(&start));
        line.map_or_else(Vec::new, |line| line.split(' ').collect())
    };
    let [unsearched, beside] = [line("journals of commits"), line("commits keep")];
    let many = commits.join("many/journal").display().to_string();
    let old = root.join("srv/other/.remit-long").display().to_string();
    for (list, path, expect) in [
        (&unsearched, &many, true),
        (&unsearched, &old, false),
        (&beside, &many, false),
        (&beside, &old, true),
    ] {
        assert_eq!(list.contains(&path.as_str()), expect, "{path}: {said}");
    }
    assert!(unsearched.contains(&".remit-ID."), "{said}");
}
