//! Private directories of the machine: what a job makes in them in its copy is planned, made and undone, and what they have stays
//! unknown and as it is.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use remit_tests::daemon::user_a;

use super::copies::lay;
use super::plans::PlanFixture;

/// A private directory of root and one of a service, each with private files.
fn lay_private() -> PlanFixture {
    let fixture = lay();
    for (name, owner) in [("private", 0), ("service", 110)] {
        fs::create_dir_all(fixture.dir.join(name).join("sub")).unwrap();
        for file in ["key", "sub/in"] {
            let path = fixture.file(&format!("{name}/{file}"), "SECRET\n");
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        }
        let path = fixture.dir.join(name);
        fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
        chown(&path, Some(owner), Some(owner)).unwrap();
    }
    fixture
}

type Tree = BTreeMap<PathBuf, (u32, u32, u32, Vec<u8>)>;

fn tree(dir: &Path) -> Tree {
    let (mut tree, mut left) = (BTreeMap::new(), vec![dir.to_owned()]);
    while let Some(path) = left.pop() {
        let seen = fs::symlink_metadata(&path).unwrap();
        let mut bytes = Vec::new();
        if seen.is_dir() {
            left.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|name| name.unwrap().path()),
            );
        } else {
            bytes = fs::read(&path).unwrap();
        }
        tree.insert(path, (seen.mode(), seen.uid(), seen.gid(), bytes));
    }
    tree
}

impl PlanFixture {
    /// Runs a script in a copy, and returns what the extraction of it says.
    fn extraction_refuses(&self, script: &str) -> String {
        let ran = self.on_copy(&user_a(), script);
        assert!(ran.out.status.success(), "{script}: {}", ran.answer);
        let extracted = self.extract(&user_a(), ran.job);
        assert_eq!(
            extracted.answer["exit"], 1,
            "{script}: {}",
            extracted.answer
        );
        extracted.answer["stderr"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    fn approved(&self, words: &[&str]) {
        let request = self.asks(words);
        assert!(self.approve(request).status.success());
        let words = ["job", "--wait", &request.to_string()];
        let ended = self.daemon.remit(&user_a(), &words);
        assert!(ended.status.success(), "{ended:?}");
    }
}

#[test]
fn new_files_in_private_directories_are_committed_and_undone() {
    let fixture = lay_private();
    let at = fixture.dir.display();
    let before = tree(&fixture.dir);
    let script = format!(
        "set -e; cd {at}; ls -A private service; ! cat private/key 2>/dev/null; echo key >private/new; chmod 600 private/new; \
         mkdir private/dir; echo open >private/dir/open; chown 0:4 private; chmod 710 private; echo of-service >service/new; \
         chown 110:110 service/new"
    );
    let ran = fixture.on_copy(&user_a(), &script);
    assert!(ran.out.status.success(), "{}", ran.answer);
    assert_eq!(ran.answer["stdout"], "private:\n\nservice:\n");
    assert_eq!(tree(&fixture.dir), before);
    let extracted = fixture.extract(&user_a(), ran.job);
    assert!(extracted.out.status.success(), "{}", extracted.answer);
    let said = extracted.answer["stderr"].as_str().unwrap_or_default();
    for name in ["private", "service"] {
        let note = format!("'{at}/{name}' was shown without the names that are in it");
        assert!(said.contains(&note), "{said}");
    }
    let plan = extracted.job.to_string();
    let shown = fixture.asks_for(&user_a(), &["plan", "show", &plan]);
    let entries: Vec<_> = shown.answer["entries"]
        .as_array()
        .into_iter()
        .flatten()
        .collect();
    let paths: Vec<&str> = entries
        .iter()
        .filter_map(|entry| entry["path"].as_str())
        .collect();
    let expect = [
        "private",
        "private/dir",
        "private/dir/open",
        "private/new",
        "service/new",
    ];
    assert_eq!(paths, expect.map(|name| fixture.at(name)));
    let can_know = "the requester of this change can know its content";
    let is_known = |at: usize| entries[at]["risks"].to_string().contains(can_know);
    assert_eq!(
        [0, 1, 2, 3, 4].map(is_known),
        [false, false, false, true, false]
    );
    assert!(!shown.answer.to_string().contains("SECRET"));
    fixture.approved(&["change", "--plan", &plan, "-m", "a test", "--no-wait"]);
    let made = tree(&fixture.dir);
    let of = |name: &str| {
        let (mode, uid, gid, bytes) = &made[&fixture.dir.join(name)];
        (
            mode & 0o7777,
            *uid,
            *gid,
            String::from_utf8_lossy(bytes).into_owned(),
        )
    };
    assert_eq!(of("private"), (0o710, 0, 4, String::new()));
    assert_eq!(of("private/new"), (0o600, 0, 0, "key\n".into()));
    assert_eq!(of("private/dir/open"), (0o644, 0, 0, "open\n".into()));
    assert_eq!(of("service"), (0o700, 110, 110, String::new()));
    assert_eq!(of("service/new"), (0o644, 110, 110, "of-service\n".into()));
    assert_eq!(of("private/key"), (0o600, 0, 0, "SECRET\n".into()));
    assert_eq!(made.len(), before.len() + 4);
    let commit = shown.answer["commit_id"].as_str().unwrap_or_default();
    fixture.approved(&["undo", commit, "-m", "a test", "--no-wait"]);
    assert_eq!(tree(&fixture.dir), before);
}

/// Otherwise one plan after the other would answer what is in a file.
#[test]
fn name_that_is_there_is_refused_with_the_same_words() {
    let fixture = lay_private();
    let at = fixture.dir.display();
    let words = |name: &str| {
        format!(
            "remit-extract: cannot plan a change of '{at}/private/{name}': its directory is hidden in copies of the machine, and has \
             something of that name"
        )
    };
    for (script, name) in [
        ("echo SECRET >private/key && chmod 600 private/key", "key"),
        ("echo other >private/key", "key"),
        ("mkdir private/key", "key"),
        ("mkdir private/sub", "sub"),
        (
            "mkdir -m 755 private/sub && echo SECRET >private/sub/in && chmod 600 private/sub/in",
            "sub",
        ),
    ] {
        let said = fixture.extraction_refuses(&format!("cd {at} && {script}"));
        let refusals: Vec<&str> = said
            .lines()
            .filter(|line| line.contains("cannot plan"))
            .collect();
        assert_eq!(refusals, [words(name)], "{script}");
    }
    for script in [
        "rm -rf private",
        "mv private moved",
        "rm -rf private && mkdir -m 700 private",
    ] {
        let said = fixture.extraction_refuses(&format!("cd {at} && {script}"));
        let refusal =
            format!("cannot plan a change of '{at}/private': you cannot read what is there now");
        assert!(said.contains(&refusal), "{script}: {said}");
    }
}

/// Between plan and commit.
#[test]
fn name_that_somebody_makes_meanwhile_stays() {
    let fixture = lay_private();
    let ran = fixture.on_copy(
        &user_a(),
        &format!("echo mine >{}/private/new", fixture.dir.display()),
    );
    let extracted = fixture.extract(&user_a(), ran.job);
    assert!(extracted.out.status.success(), "{}", extracted.answer);
    fixture.file("private/new", "theirs\n");
    let plan = extracted.job.to_string();
    let request = fixture.asks(&["change", "--plan", &plan, "-m", "a test", "--no-wait"]);
    let _ = fixture.approve(request);
    let ended = fixture
        .daemon
        .remit(&user_a(), &["job", "--wait", &request.to_string()]);
    assert!(!ended.status.success(), "{ended:?}");
    assert_eq!(fixture.read("private/new"), b"theirs\n");
}
