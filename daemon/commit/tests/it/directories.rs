//! Old files come back only to the directories that the commit had.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MsFlags, mount};
use remit_edit::{Action, Edit};
use remit_plan::{Journal, Phase};

use crate::forgotten::age;
use crate::partly::phase;
use crate::scene::*;

const MEMORY: Disk = Disk::Memory("size=64m,mode=755");
const OTHER: &str = "its directory is another one than at the commit";
const AWAY: &str = "the file system of its directory is not mounted";

/// A program with a set-id bit that only root reaches, in a directory of uid 1000.
fn prepare() {
    let _ = fs::remove_dir_all(at("etc/app"));
    put("etc/app/private/key", b"secret", 0o4755, 0);
    fs::set_permissions(at("etc/app/private"), fs::Permissions::from_mode(0o700)).unwrap();
    chown(at("etc/app"), Some(1000), Some(1000)).unwrap();
}

fn remove(relative: &str) -> Edit {
    edit(relative, Action::Remove)
}

fn as_user(script: &str) {
    run(Command::new("sh")
        .args(["-ec", script])
        .current_dir(at("etc/app"))
        .uid(1000)
        .gid(1000));
}

fn journal(id: &str) -> PathBuf {
    at(&format!("state/{id}/journal"))
}

pub fn set_phase(id: &str, phase: Phase) {
    let file = File::options().write(true).open(journal(id)).unwrap();
    file.write_all_at(&[phase as u8], Journal::PHASE).unwrap();
}

/// The user can read no byte of it, and root still has it.
#[track_caller]
fn is_kept_from_the_user(id: &str, what: &str) {
    let found = fs::read_dir(at("etc/app/private")).unwrap().count();
    assert_eq!(found, 0, "{what}");
    let kept = |path: &Path| fs::read(path).is_ok_and(|bytes| bytes == b"secret");
    let kept_at = [
        at(&format!("state/{id}/0")),
        at(&format!("state/{id}/1")),
        at(&format!("state/{id}/0/key")),
    ];
    assert!(kept_at.iter().any(|path| kept(path)), "{what}");
}

#[test]
fn old_file_does_not_come_into_a_directory_that_somebody_else_has_put_there() {
    for disk in [MEMORY, Disk::Ext4] {
        let _scene = Scene::new(disk);
        let key = "etc/app/private/key";
        let edits: [(&str, Vec<Edit>, &str, &str); 3] = [
            (
                "removed",
                vec![remove(key)],
                "mv private o; mkdir private",
                OTHER,
            ),
            (
                "replaced",
                vec![write(key, "new")],
                "mv private o; mkdir private",
                OTHER,
            ),
            (
                "with directory",
                vec![remove(key), remove("etc/app/private")],
                "mkdir private",
                "it exists",
            ),
        ];
        for (what, edits, script, why) in edits {
            prepare();
            let id = done(&edits);
            as_user(script);
            undo(&id).is_refused(why);
            assert_eq!(phase(&id), Phase::Kept, "{what}");
            is_kept_from_the_user(&id, what);
            let undone = undo_partly(&id);
            undone.is_done();
            assert!(undone.text.contains("undone: 0 changes"), "{}", undone.text);
            assert_eq!(phase(&id), Phase::Parted, "{what}");
            is_kept_from_the_user(&id, what);
            fs::remove_dir_all(at(&format!("state/{id}"))).unwrap();
            for interrupted in [Phase::Applying, Phase::Undoing] {
                prepare();
                let id = done(&edits);
                set_phase(&id, interrupted);
                as_user(script);
                recover().is_done();
                let what = format!("{what} {interrupted:?}");
                assert!(matches!(phase(&id), Phase::Left | Phase::Kept), "{what}");
                is_kept_from_the_user(&id, &what);
                fs::remove_dir_all(at(&format!("state/{id}"))).unwrap();
            }
        }
    }
}

#[test]
fn directory_that_has_the_number_of_a_removed_one_is_another() {
    let _scene = Scene::new(Disk::Ext4);
    prepare();
    let id = done(&[remove("etc/app/private/key")]);
    let number = |relative: &str| fs::metadata(at(relative)).unwrap().ino();
    let before = number("etc/app/private");
    as_user("rmdir private; n=0; while [ $n -lt 200 ]; do n=$((n + 1)); mkdir $n; done");
    let made = (1..=200).map(|number| format!("etc/app/{number}"));
    let again = made.into_iter().find(|path| number(path) == before);
    fs::rename(at(&again.unwrap()), at("etc/app/private")).unwrap();
    undo(&id).is_refused(OTHER);
    is_kept_from_the_user(&id, "number");
}

#[test]
fn directory_with_another_mode_and_owner_is_the_same() {
    let _scene = Scene::new(MEMORY);
    prepare();
    let id = done(&[remove("etc/app/private/key")]);
    let private = at("etc/app/private");
    fs::set_permissions(&private, fs::Permissions::from_mode(0o750)).unwrap();
    chown(&private, Some(7), Some(7)).unwrap();
    undo(&id).is_done();
    assert_eq!(read("etc/app/private/key"), b"secret");
}

/// A disk of its own at `data`.
struct Data(PathBuf);

/// Why nothing can be written to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    Away,
    ReadOnly,
    /// The kernel has found an error. Since Linux 6.12 no flag of ext4 says so.
    Stopped,
}

impl Data {
    fn new() -> Self {
        let name = format!("data-{}-{}.ext4", std::process::id(), unique());
        let image = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        File::create(&image).unwrap().set_len(16 << 20).unwrap();
        let words = ["-q", "-F", "-e", "remount-ro"];
        run(Command::new("mkfs.ext4").args(words).arg(&image));
        fs::create_dir(at("data")).unwrap();
        let own = Self(image);
        own.mount();
        own
    }

    fn mount(&self) {
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(&self.0)
            .arg(at("data")));
    }

    fn unmount() {
        nix::mount::umount(&at("data")).unwrap();
    }

    fn remount(flags: MsFlags) {
        let none = None::<&str>;
        mount(none, &at("data"), none, MsFlags::MS_REMOUNT | flags, none).unwrap();
    }

    fn stop() {
        // What is not on it yet would be lost.
        nix::unistd::syncfs(File::open(at("data")).unwrap()).unwrap();
        let device = fs::metadata(at("data")).unwrap().dev();
        let (major, minor) = (libc::major(device), libc::minor(device));
        let device = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).unwrap();
        let own = Path::new("/sys/fs/ext4").join(device.file_name().unwrap());
        fs::write(own.join("trigger_fs_error"), "remit").unwrap();
    }

    fn lose(loss: Loss) {
        match loss {
            Loss::Away => Self::unmount(),
            Loss::ReadOnly => Self::remount(MsFlags::MS_RDONLY),
            Loss::Stopped => Self::stop(),
        }
    }

    fn repair(&self, loss: Loss) {
        match loss {
            Loss::Away => self.mount(),
            Loss::ReadOnly => Self::remount(MsFlags::empty()),
            Loss::Stopped => {
                Self::unmount();
                self.mount();
            }
        }
    }

    /// Commits a plan on both disks.
    fn committed(file: &str) -> String {
        put("etc/a", b"old", 0o644, 0);
        put(file, b"old", 0o644, 0);
        done(&[write("etc/a", "new"), write(file, "new")])
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        let _ = nix::mount::umount(&at("data"));
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn recovery_does_not_end_while_a_file_system_is_away() {
    let _scene = Scene::new(MEMORY);
    let data = Data::new();
    // In the root of that disk, and below.
    for file in ["data/b", "data/below/b"] {
        for (interrupted, after) in [
            (Phase::Applying, None),
            (Phase::Done, Some(Phase::Kept)),
            (Phase::Undoing, Some(Phase::Kept)),
        ] {
            let id = Data::committed(file);
            set_phase(&id, interrupted);
            Data::unmount();
            for _ in 0..2 {
                let recovered = recover();
                assert_eq!(recovered.code, Some(3), "{file} {interrupted:?}");
                assert!(recovered.text.contains(AWAY), "{}", recovered.text);
                assert_eq!(phase(&id), interrupted, "{file}");
                assert_eq!(read("etc/a"), b"new", "{file}");
            }
            data.mount();
            recover().is_done();
            assert_eq!(journal(&id).exists().then(|| phase(&id)), after, "{file}");
            if after.is_some() {
                undo(&id).is_done();
            }
            assert_eq!([read("etc/a"), read(file)], [b"old", b"old"]);
            assert!(kept().is_empty(), "{file} {interrupted:?}");
        }
    }
}

/// Whoever can rename a directory above a mount point could keep all commits waiting by that.
#[test]
fn mount_that_a_user_can_move_away_keeps_no_recovery_from_its_end() {
    let _scene = Scene::new(MEMORY);
    let data = Data::new();
    let beneath = at("etc/app/mine/data");
    fs::create_dir_all(&beneath).unwrap();
    for path in ["etc/app", "etc/app/mine"] {
        chown(at(path), Some(1000), Some(1000)).unwrap();
    }
    let moved = MsFlags::MS_BIND;
    mount(
        Some(&at("data")),
        &beneath,
        None::<&str>,
        moved,
        None::<&str>,
    )
    .unwrap();
    let id = Data::committed("etc/app/mine/data/b");
    set_phase(&id, Phase::Applying);
    as_user("mv mine other");
    let recovered = recover();
    nix::mount::umount(&at("etc/app/other/data")).unwrap();
    assert_eq!(recovered.code, Some(0), "{}", recovered.text);
    assert_eq!(read("etc/a"), b"old");
    drop(data);
}

#[test]
fn partial_undo_is_not_over_while_a_file_system_is_away() {
    let _scene = Scene::new(MEMORY);
    let data = Data::new();
    for file in ["data/b", "data/below/b"] {
        let id = Data::committed(file);
        Data::unmount();
        undo(&id).is_refused(AWAY);
        let undone = undo_partly(&id);
        assert_eq!(undone.code, Some(4), "{}", undone.text);
        assert!(undone.text.contains(AWAY), "{}", undone.text);
        assert_eq!(phase(&id), Phase::Kept);
        assert_eq!(read("etc/a"), b"old");
        data.mount();
        undo_partly(&id).is_done();
        assert_eq!(read(file), b"old");
        assert!(kept().is_empty());
    }
}

/// Its way back could not end either, and no other commit starts before a recovery has worked.
#[test]
fn undo_on_a_read_only_file_system_is_refused_before_anything_changes() {
    let _scene = Scene::new(MEMORY);
    let data = Data::new();
    for loss in [Loss::ReadOnly, Loss::Stopped] {
        let id = Data::committed("data/b");
        for undo in [undo, undo_with_contents] {
            Data::lose(loss);
            undo(&id).is_refused("data/b': its file system is read-only");
            assert_eq!(phase(&id), Phase::Kept, "{loss:?}");
            recover().is_done();
            assert_eq!([read("etc/a"), read("data/b")], [b"new", b"new"]);
            data.repair(loss);
        }
        undo(&id).is_done();
        assert_eq!([read("etc/a"), read("data/b")], [b"old", b"old"]);
        assert!(kept().is_empty());
    }
}

/// The private directory with the old file stays, as after the commit.
#[test]
fn undo_that_a_read_only_file_system_ends_is_taken_back() {
    let _scene = Scene::new(MEMORY);
    let data = Data::new();
    for loss in [Loss::ReadOnly, Loss::Stopped] {
        let id = Data::committed("data/b");
        set_phase(&id, Phase::Undoing);
        Data::lose(loss);
        recover().is_done();
        assert_eq!(phase(&id), Phase::Kept, "{loss:?}");
        assert_eq!([read("etc/a"), read("data/b")], [b"new", b"new"]);
        data.repair(loss);
        undo(&id).is_done();
        assert_eq!([read("etc/a"), read("data/b")], [b"old", b"old"]);
        assert!(kept().is_empty());
    }
}

#[test]
fn undo_is_forgotten_with_the_old_files_of_all_its_file_systems() {
    let _scene = Scene::new(MEMORY);
    let data = Data::new();
    let private = |id: &str| at(&format!("data/.remit-{id}"));
    let all = [Loss::Away, Loss::ReadOnly, Loss::Stopped];
    for (loss, is_interrupted) in all
        .into_iter()
        .flat_map(|loss| [(loss, false), (loss, true)])
    {
        let id = Data::committed("data/b");
        assert!(private(&id).exists());
        match is_interrupted {
            true => set_phase(&id, Phase::Gone),
            false => age(&id),
        }
        let before = phase(&id);
        Data::lose(loss);
        // It keeps no other commit from its paths.
        let recovered = recover();
        recovered.is_done();
        let is_named = recovered.text.contains("it goes with the next recovery");
        assert_eq!(is_named, is_interrupted, "{loss:?}: {}", recovered.text);
        assert_eq!(phase(&id), before, "{loss:?}");
        data.repair(loss);
        recover().is_done();
        assert!(kept().is_empty());
        assert!(!private(&id).exists());
    }
}
