//! A purge of the .deb, of a machine beneath a temporary directory. `tests/machine/test-lifecycle` has a whole one.

use std::fs;
use std::process::Command;

use super::repo;

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
    let purge = Command::new("sh")
        .arg(repo::root().join("packaging/deb/postrm"))
        .arg("purge")
        .env("DPKG_ROOT", &root)
        .output();
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
