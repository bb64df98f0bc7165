use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use remit_plan::{Base, Change, Content, PlanDirectories, Source, sha256};

use super::*;

const REQUESTER: u32 = 64_001;

/// A directory of one test that all may list, with one for journals.
struct Scene(PathBuf);

impl Scene {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("remit-outdated-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(dir.join("commits")).unwrap();
        fs::create_dir_all(dir.join("own")).unwrap();
        for own in [&dir, &dir.join("own")] {
            fs::set_permissions(own, fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::set_permissions(dir.join("commits"), fs::Permissions::from_mode(0o700)).unwrap();
        Self(dir)
    }

    fn path(&self) -> PathBuf {
        self.0.join("own/a")
    }

    /// Puts another file to the path, and keeps the one that is there, as commits do.
    fn put(&self, text: &str) {
        let kept = self
            .0
            .join(format!("kept-{}", fs::read_dir(&self.0).unwrap().count()));
        if self.path().exists() {
            fs::rename(self.path(), kept).unwrap();
        }
        fs::write(self.path(), text).unwrap();
    }

    fn now(&self) -> Option<Stat> {
        seen(&self.plan_path()).unwrap()
    }

    fn plan_path(&self) -> PlanPath {
        PlanPath::new(self.path().as_os_str().as_bytes()).unwrap()
    }

    /// Returns the plan that makes this of the path as it is now.
    fn plan(&self, text: &str) -> Plan {
        let content = Content {
            size: text.len() as u64,
            sha256: sha256(text.as_bytes()),
            source: Source::Bundle,
            capabilities: None,
            mtime: None,
        };
        let meta = Metadata {
            mode: 0o644,
            uid: 0,
            gid: 0,
        };
        let change = match self.now() {
            None => Change::Create {
                new: New::File(content),
                meta,
            },
            Some(stat) => Change::Replace {
                base: Base::new(stat, Some([7; 32])),
                content,
                meta,
            },
        };
        let path = self.plan_path();
        Plan::new(vec![Entry { path, change }]).unwrap()
    }

    fn journal(&self, plan: &Plan, phase: Phase) -> String {
        let inodes = [self.now().map_or(0, |now| now.ino)];
        let (mut bytes, rows_at) = Journal::begin(plan, &PlanDirectories::new());
        bytes.truncate(usize::try_from(rows_at).unwrap());
        bytes.extend(Journal::encode_rows(
            plan,
            &inodes,
            &[],
            &PlanDirectories::new(),
        ));
        bytes[usize::try_from(Journal::PHASE).unwrap()] = phase as u8;
        let id = plan.id();
        let dir = self.0.join("commits").join(&id);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("journal"), bytes).unwrap();
        id
    }

    /// Makes this of the path as a commit does, and returns the plan with the id of the commit.
    fn commit(&self, text: &str) -> (Plan, String) {
        let plan = self.plan(text);
        self.put(text);
        let id = self.journal(&plan, Phase::Kept);
        (plan, id)
    }

    fn committed(&self, id: &str) -> Journal {
        read_journal(&self.0.join("commits"), id).unwrap()
    }

    fn by(&self, conflict: &PathConflict, other_than: Option<&str>) -> Option<String> {
        conflict.commit(&self.0.join("commits"), other_than)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn parts(unmeasured: Unmeasured) -> (String, String) {
    match unmeasured {
        Unmeasured::Outdated { why, next } => (why, next),
        other => panic!("{other:?}"),
    }
}

#[test]
fn changed_path_of_a_plan_is_named_with_the_way_out() {
    let scene = Scene::new();
    let new = scene.plan("new");
    assert_eq!(of_plan(&new), None);
    scene.put("new");
    scene.journal(&new, Phase::Kept);
    // It is asked for again.
    let conflict = of_plan(&new).unwrap();
    let by = scene.by(&conflict, None);
    assert_eq!(by, Some(new.id()));
    let (why, next) = parts(conflict.of_plan(&new.id(), by));
    let path = scene.path().display().to_string();
    assert!(
        why.ends_with(&format!(
            "'{path}': it exists, because this plan is committed already"
        )),
        "{why}"
    );
    assert!(
        next.contains(&format!("undo commit {}", new.id())),
        "{next}"
    );

    let old = scene.plan("newer");
    assert_eq!(of_plan(&old), None);
    let (_, later) = scene.commit("other");
    let conflict = of_plan(&old).unwrap();
    let by = scene.by(&conflict, None);
    assert_eq!(by.as_deref(), Some(later.as_str()));
    let (why, next) = parts(conflict.of_plan(&old.id(), by));
    assert!(
        why.ends_with(&format!(
            "it is another file; commit {later} has changed it"
        )),
        "{why}"
    );
    assert!(next.starts_with("plan again"), "{next}");

    // An editor writes to it.
    let (_, _) = scene.commit("x");
    let plan = scene.plan("y");
    fs::write(scene.path(), "longer").unwrap();
    let conflict = of_plan(&plan).unwrap();
    assert_eq!(conflict.why, "its size has changed");
    fs::remove_file(scene.path()).unwrap();
    assert_eq!(of_plan(&plan).unwrap().why, "it does not exist");
    let (why, next) = parts(conflict.of_plan(&plan.id(), None));
    assert!(why.ends_with("its size has changed"), "{why}");
    assert!(next.starts_with("plan again"), "{next}");
}

#[test]
fn undo_of_an_older_commit_names_the_newest_one() {
    let scene = Scene::new();
    fs::write(scene.path(), "old").unwrap();
    let (_, first) = scene.commit("1");
    assert_eq!(of_undo(&scene.committed(&first)), None);
    let (_, second) = scene.commit("2");
    let by = |of: &str| {
        let conflict = of_undo(&scene.committed(of))?;
        Some((conflict.why, scene.by(&conflict, Some(of))))
    };
    let another = "it is another file";
    assert_eq!(by(&first), Some((another, Some(second.clone()))));
    assert_eq!(by(&second), None);
    let (third_plan, third) = scene.commit("3");
    assert_eq!(by(&second), Some((another, Some(third.clone()))));
    // It is in the way even if the commit before it is not kept any more.
    fs::remove_dir_all(scene.0.join("commits").join(&second)).unwrap();
    assert_eq!(by(&first), Some((another, Some(third.clone()))));
    scene.journal(&third_plan, Phase::Gone);
    assert_eq!(by(&first), Some((another, None)));
    scene.put("of others");
    assert_eq!(by(&third), Some((another, None)));
    fs::remove_file(scene.path()).unwrap();
    symlink("x", scene.path()).unwrap();
    assert_eq!(by(&third), Some((another, None)));
    fs::remove_file(scene.path()).unwrap();
    assert_eq!(by(&third), Some(("it does not exist", None)));
}

/// A kill has ended an undo between two paths, and the next one goes on.
#[test]
fn undo_that_goes_on_is_not_refused() {
    let scene = Scene::new();
    let (_, made) = scene.commit("made");
    fs::remove_file(scene.path()).unwrap();
    assert_eq!(of_undo(&scene.committed(&made)), None);
    fs::write(scene.path(), "old").unwrap();
    let plan = scene.plan("new");
    fs::rename(scene.path(), scene.0.join("old")).unwrap();
    scene.put("new");
    let id = scene.journal(&plan, Phase::Kept);
    assert_eq!(of_undo(&scene.committed(&id)), None);
    fs::rename(scene.0.join("old"), scene.path()).unwrap();
    assert_eq!(of_undo(&scene.committed(&id)), None);
}

/// Attack: a plan of a path in a private directory, to learn if there is a file.
#[test]
fn path_that_the_requester_cannot_see_refuses_nothing() {
    let scene = Scene::new();
    let plan = scene.plan("new");
    scene.put("new");
    let look = |uid| ReaderIdentity::alone(uid).look(|| Ok(of_plan(&plan).is_some()));
    for (mode, is_seen) in [(0o755, true), (0o711, true), (0o700, false)] {
        let private = scene.0.join("own");
        fs::set_permissions(&private, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(
            (look(0), look(REQUESTER)),
            (Ok(true), Ok(is_seen)),
            "{mode:o}"
        );
    }
}

#[test]
fn journals_are_those_of_the_packages_own_commit() {
    let word = |text: &CStr| Word::Literal(text.to_owned());
    let own = c"/usr/libexec/remit/remit-commit";
    let dir = c"/var/lib/remit/commits";
    let expect = Some(Path::new("/var/lib/remit/commits"));
    for (argv, expect) in [
        (vec![word(own), word(c"commit"), word(dir)], expect),
        (
            vec![
                word(own),
                word(c"commit"),
                word(dir),
                word(c"--then"),
                Word::Settled,
            ],
            expect,
        ),
        (vec![word(own), word(c"undo"), word(dir)], None),
        (
            vec![word(c"/srv/remit-commit"), word(c"commit"), word(dir)],
            None,
        ),
        (
            vec![word(own), word(c"commit"), Word::Text(dir.to_owned())],
            None,
        ),
        (vec![word(own), word(c"commit")], None),
    ] {
        assert_eq!(commits(&argv), expect, "{argv:?}");
    }
}
