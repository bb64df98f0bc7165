use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use remit_edit::{Action, Edit, Found};
use remit_plan::{Base, Bundle, Journal, Phase, PlanDirectories, sha256};

use super::*;

const REQUESTER: u32 = 64_001;

/// A directory of one test that all may list.
struct Scene(PathBuf);

impl Scene {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("remit-outdated-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(dir.join("own")).unwrap();
        for own in [&dir, &dir.join("own")] {
            fs::set_permissions(own, Permissions::from_mode(0o755)).unwrap();
        }
        Self(dir)
    }

    fn put(&self, text: &str) {
        fs::write(self.0.join("own/a"), text).unwrap();
    }

    /// Returns the plan that makes this of the file as it is now.
    fn plan(&self, name: &str, text: &str) -> Bundle {
        let path = self.0.join(name);
        let edit = Edit {
            path: PlanPath::new(path.as_os_str().as_bytes()).unwrap(),
            action: Action::Write(text.as_bytes().to_vec()),
            mode: None,
            uid: None,
            gid: None,
            base_sha256: None,
            create_only: false,
        };
        let root = sys::open(c"/", O_PATH | O_DIRECTORY).unwrap();
        let now = look(root.as_fd(), &edit.path, true).unwrap();
        let bytes = fs::read(&path).ok();
        let found = now.map(|stat| Found {
            base: Base::new(stat, bytes.as_deref().map(sha256)),
            bytes,
        });
        let planned = edit.apply(found.as_ref()).unwrap().unwrap();
        remit_edit::bundle(vec![planned]).unwrap()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn checked(bundle: &Bundle) -> Result<(), Unmeasured> {
    checked_with(bundle, Path::new("/nonexistent"))
}

fn checked_with(bundle: &Bundle, journals: &Path) -> Result<(), Unmeasured> {
    check(
        ChangeOfFiles::Commit(bundle, Some(journals)),
        &ReaderIdentity::alone(REQUESTER),
    )
}

fn outdated(bundle: &Bundle) -> (String, String) {
    match checked(bundle) {
        Err(Unmeasured::Outdated { why, next }) => (why, next),
        other => panic!("{other:?}"),
    }
}

#[test]
fn plan_of_a_path_that_has_changed_names_it_and_the_way_out() {
    let scene = Scene::new();
    let path = scene.0.join("own/a").display().to_string();
    let made = scene.plan("own/a", "new");
    assert_eq!(checked(&made), Ok(()));
    scene.put("new");
    let (why, next) = outdated(&made);
    assert!(why.ends_with(&format!("'{path}': it exists")), "{why}");
    assert!(next.starts_with("plan again"), "{next}");
    assert!(!next.contains("undo"), "nothing was committed: {next}");
    let (id, journals) = (made.plan().id(), scene.0.join("commits"));
    fs::create_dir_all(journals.join(&id)).unwrap();
    let (mut journal, _) = Journal::begin(made.plan(), &PlanDirectories::new());
    for (phase, is_offered) in [(Phase::Kept, true), (Phase::Gone, false)] {
        journal[usize::try_from(Journal::PHASE).unwrap()] = phase as u8;
        fs::write(journals.join(&id).join("journal"), &journal).unwrap();
        let refused = checked_with(&made, &journals).unwrap_err();
        let next = format!("{refused:?}");
        assert_eq!(next.contains(&format!("undo {id}")), is_offered, "{next}");
    }
    let check_of = ChangeOfFiles::Check(&made);
    assert_eq!(check(check_of, &ReaderIdentity::alone(REQUESTER)), Ok(()));
    let replaced = scene.plan("own/a", "newer");
    assert_eq!(checked(&replaced), Ok(()));
    scene.put("longer than before");
    let (why, _) = outdated(&replaced);
    assert!(why.ends_with("its size has changed"), "{why}");
    // The way out: nothing of the refusal is kept.
    assert_eq!(checked(&scene.plan("own/a", "newer")), Ok(()));
    fs::remove_file(scene.0.join("own/a")).unwrap();
    assert!(outdated(&replaced).0.ends_with("it does not exist"));
}

/// Attack: a plan of a path in a private directory, to learn if there is a file.
#[test]
fn path_that_the_requester_cannot_see_refuses_nothing() {
    let scene = Scene::new();
    let made = scene.plan("own/a", "new");
    scene.put("new");
    let plan = made.plan();
    let finds = |uid, is_listed| {
        let requester = ReaderIdentity::alone(uid);
        let found = looking(&requester, (is_listed, LOOKING), |look| plan.conflict(look));
        found.unwrap().is_some()
    };
    for (mode, is_seen, is_listed) in [
        (0o755, true, true),
        (0o711, true, false),
        (0o744, false, false),
        (0o700, false, false),
    ] {
        fs::set_permissions(scene.0.join("own"), Permissions::from_mode(mode)).unwrap();
        assert_eq!(
            [(0, false), (REQUESTER, false), (REQUESTER, true)].map(|(uid, is)| finds(uid, is)),
            [true, is_seen, is_listed],
            "{mode:o}"
        );
    }
}

/// `remit-commit` follows no link, so what is behind one is not what the plan has.
#[test]
fn path_behind_a_link_refuses_nothing() {
    let scene = Scene::new();
    symlink(Path::new("own"), scene.0.join("link")).unwrap();
    let direct = scene.plan("own/a", "new");
    scene.put("x");
    let root = sys::open(c"/", O_PATH | O_DIRECTORY).unwrap();
    let behind = PlanPath::new(scene.0.join("link/a").as_os_str().as_bytes()).unwrap();
    assert!(look(root.as_fd(), &behind, false).is_err());
    // A link at the end is seen itself.
    let link = PlanPath::new(scene.0.join("link").as_os_str().as_bytes()).unwrap();
    let seen = look(root.as_fd(), &link, true).unwrap();
    assert_eq!(seen.map(|seen| seen.kind), Some(Kind::Symlink));
    assert!(checked(&direct).is_err());
}

#[test]
fn paths_for_which_no_time_is_left_refuse_nothing() {
    let scene = Scene::new();
    let made = scene.plan("own/a", "new");
    scene.put("new");
    let requester = ReaderIdentity::alone(REQUESTER);
    let within = |time| check_within(ChangeOfFiles::Commit(&made, None), &requester, time);
    assert_eq!(within(Duration::ZERO), Ok(()));
    assert!(within(LOOKING).is_err());
}
