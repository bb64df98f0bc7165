//! Access lists of what gets another owner: whom the old owner named must not write what is root's.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;

use remit_edit::{Action, Edit};
use remit_sys::sys;

use crate::bound::injected;
use crate::operations::access_list;
use crate::scene::*;

const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";

fn moved_to(edit: Edit, uid: u32) -> Edit {
    Edit {
        uid: Some(uid),
        gid: Some(4),
        mode: Some(0o664),
        ..edit
    }
}

/// A mode without rights that the list of [`put_listed`] does not let its accounts have.
fn no_wider(edit: Edit) -> Edit {
    Edit {
        mode: Some(0o644),
        ..edit
    }
}

fn facts(relative: &str) -> Facts {
    tree()[&at(relative)].clone()
}

fn lists(relative: &str) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut all = attributes(&at(relative));
    all.retain(|name, _| name.starts_with(b"system.posix_acl"));
    all
}

/// As setfacl -b does.
fn take_list() {
    let file = fs::File::open(at("etc/a")).unwrap();
    sys::remove_xattr(&file, c"system.posix_acl_access").unwrap();
}

/// A file of this uid, which gave somebody else a right to it.
fn put_listed(owner: u32) {
    put("etc/a", b"old", 0o660, owner);
    set_attribute("etc/a", ACCESS, &access_list());
    set_attribute("etc/a", "user.note", b"x");
}

#[test]
fn new_bytes_for_another_owner_go_without_the_old_owners_list() {
    let _scene = Scene::new(Disk::Ext4);
    for (old, new, is_kept) in [
        (1000, 0, false),
        (1000, 1001, false),
        (1000, 1000, true),
        (0, 1000, true),
    ] {
        put_listed(old);
        let before = facts("etc/a");
        let id = done(&[no_wider(moved_to(write("etc/a", "new"), new))]);
        let made = facts("etc/a");
        assert_eq!(made.owner, (new, 4));
        assert_eq!(made.mode & 0o7777, 0o644);
        assert_eq!(made.attributes[&b"user.note"[..]], b"x");
        assert_eq!(lists("etc/a").len(), usize::from(is_kept), "{old} {new}");
        undo(&id).is_done();
        assert_eq!(facts("etc/a"), before);
    }
}

/// The default list of the directory, which is its owner's, comes to the new file instead otherwise.
#[test]
fn new_bytes_for_another_owner_get_no_list_of_their_directory() {
    let _scene = Scene::new(Disk::Ext4);
    put_listed(1000);
    set_attribute("etc", DEFAULT, &access_list());
    done(&[moved_to(write("etc/a", "new"), 0)]);
    assert!(lists("etc/a").is_empty());
}

#[test]
fn another_owner_of_a_listed_path_is_refused() {
    let _scene = Scene::new(Disk::Ext4);
    let refused = |edit: Edit| {
        let (input, old) = (plan(&[edit, write("etc/z", "new")]), tree());
        commit(&input).is_refused("it has an access list, which would stay with another owner");
        assert_eq!(tree(), old);
        assert!(kept().is_empty(), "{:?}", kept());
    };
    for (old, new) in [(1000, 0), (1000, 1001), (0, 1000)] {
        put_listed(old);
        refused(moved_to(edit("etc/a", Action::Keep), new));
    }
    for list in [ACCESS, DEFAULT] {
        let _ = fs::remove_dir(at("etc/dir"));
        fs::create_dir(at("etc/dir")).unwrap();
        chown(at("etc/dir"), Some(1000), Some(1000)).unwrap();
        set_attribute("etc/dir", list, &access_list());
        refused(moved_to(edit("etc/dir", Action::Keep), 0));
    }
    // What the message says.
    put_listed(1000);
    take_list();
    let before = facts("etc/a");
    let id = done(&[moved_to(edit("etc/a", Action::Keep), 0)]);
    assert!(lists("etc/a").is_empty());
    undo(&id).is_done();
    assert_eq!(facts("etc/a"), before);
}

#[test]
fn another_mode_or_group_leaves_the_list() {
    let _scene = Scene::new(Disk::Ext4);
    put_listed(1000);
    done(&[no_wider(moved_to(edit("etc/a", Action::Keep), 1000))]);
    assert_eq!(lists("etc/a").len(), 1);
}

/// The group's part of the mode is the mask of the list.
#[test]
fn wider_mode_gives_no_account_of_a_list_a_right() {
    let _scene = Scene::new(Disk::Ext4);
    for action in [Action::Keep, Action::Write(b"new".to_vec())] {
        put_listed(0);
        fs::set_permissions(at("etc/a"), fs::Permissions::from_mode(0o600)).unwrap();
        let wider = Edit {
            mode: Some(0o664),
            ..edit("etc/a", action)
        };
        let (input, old) = (plan(&[wider, write("etc/z", "new")]), tree());
        commit(&input).is_refused("it has an access list, whose accounts could get the rights");
        assert_eq!(tree(), old);
    }
    let before = facts("etc/a");
    // No account of the list has the right that the group gets with the second.
    for mode in [0o400, 0o620] {
        let other = Edit {
            mode: Some(mode),
            ..edit("etc/a", Action::Keep)
        };
        let id = done(&[other]);
        undo(&id).is_done();
        assert_eq!(facts("etc/a"), before);
    }
}

/// Whoever owned it between the commit and the undo.
#[test]
fn undo_gives_root_nothing_with_a_list() {
    let _scene = Scene::new(Disk::Ext4);
    put("etc/a", b"old", 0o644, 0);
    let before = facts("etc/a");
    let id = done(&[moved_to(edit("etc/a", Action::Keep), 1000)]);
    set_attribute("etc/a", ACCESS, &fitting());
    undo(&id).is_refused("it has an access list");
    assert_eq!(facts("etc/a").owner, (1000, 4));
    take_list();
    undo(&id).is_done();
    assert_eq!(facts("etc/a"), before);
}

/// The mode stays 0644, so the list is all that has changed.
#[test]
fn undo_takes_no_attribute_away_that_somebody_has_set_since() {
    let _scene = Scene::new(Disk::Ext4);
    let mut list = access_list();
    let (version, entry, rights) = (4, 8, 2);
    list[version + entry + rights] = 0;
    list[version + 4 * entry + rights] = 4;
    for (name, value, is_new) in [
        (ACCESS, list.as_slice(), true),
        ("user.note", b"theirs", true),
        ("user.note", b"later", false),
    ] {
        let _ = fs::remove_file(at("etc/a"));
        put("etc/a", b"old", 0o644, 0);
        put("etc/b", b"old", 0o644, 0);
        if !is_new {
            set_attribute("etc/a", name, b"own");
        }
        let id = done(&[write("etc/a", "new"), write("etc/b", "new")]);
        set_attribute("etc/a", name, value);
        let later = facts("etc/a");
        assert_eq!(later.mode & 0o7777, 0o644);
        undo(&id).is_refused("etc/a': its attributes have changed since the commit");
        assert_eq!(
            (facts("etc/a"), read("etc/b")),
            (later.clone(), b"new".to_vec())
        );
        let undone = undo_partly(&id);
        undone.is_done();
        assert!(
            undone.text.contains("its attributes have changed"),
            "{}",
            undone.text
        );
        assert_eq!((facts("etc/a"), read("etc/b")), (later, b"old".to_vec()));
    }
}

#[test]
fn undo_compares_no_label_and_what_was_set_on_a_file_in_place_of_a_link() {
    let _scene = Scene::new(Disk::Ext4);
    put("etc/a", b"old", 0o644, 0);
    let id = done(&[write("etc/a", "new")]);
    set_attribute("etc/a", "security.selinux", b"system_u:object_r:etc_t:s0\0");
    undo(&id).is_done();

    fs::remove_file(at("etc/a")).unwrap();
    std::os::unix::fs::symlink("b", at("etc/a")).unwrap();
    let id = done(&[write("etc/a", "new")]);
    set_attribute("etc/a", "user.note", b"later");
    undo(&id).is_refused("etc/a': its attributes have changed since the commit");
}

#[test]
fn file_in_place_of_a_link_is_undone_also_with_the_list_of_its_directory() {
    let _scene = Scene::new(Disk::Ext4);
    set_attribute("etc", "system.posix_acl_default", &access_list());
    std::os::unix::fs::symlink("b", at("etc/a")).unwrap();
    let id = done(&[write("etc/a", "new")]);
    assert!(!lists("etc/a").is_empty());
    undo(&id).is_done();
    assert_eq!(fs::read_link(at("etc/a")).unwrap(), PathBuf::from("b"));
}

/// Makes a file, or a directory, of this owner.
fn make(is_dir: bool, owner: u32) {
    let path = at("etc/a");
    let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
    match is_dir {
        true => fs::create_dir(&path).unwrap(),
        false => put("etc/a", b"old", 0o664, owner),
    }
    chown(&path, Some(owner), Some(owner)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o664)).unwrap();
}

/// A list that leaves mode 0664 as it is: its mask is the group's part.
fn fitting() -> Vec<u8> {
    let mut list = access_list();
    let (version, entry, rights) = (4, 8, 2);
    list[version + 3 * entry + rights] = 6;
    list[version + 4 * entry + rights] = 4;
    list
}

#[test]
fn list_that_comes_before_the_owner_changes_ends_the_commit() {
    let _scene = Scene::new(Disk::Ext4);
    for is_dir in [false, true] {
        make(is_dir, 1000);
        let input = plan(&[moved_to(edit("etc/a", Action::Keep), 0)]);
        let wrapper = injected("fchown", "delay_enter=900000:when=1");
        let mut child = start(&wrapper, &["commit", &state()], Some(&input));
        let journal = at(&format!("state/{}/journal", id_of(&input)));
        while !fs::read(&journal).is_ok_and(|bytes| bytes.get(16) == Some(&b'A')) {
            is_running(&mut child);
        }
        held(&child, || set_attribute("etc/a", ACCESS, &fitting()));
        end(child).is_refused("it has an access list");
        assert_eq!(facts("etc/a").owner, (1000, 1000));
        assert!(kept().is_empty(), "{:?}", kept());
    }
}

/// The owner makes it before a recovery gives root's name back.
#[test]
fn way_back_gives_root_nothing_with_a_list() {
    let _scene = Scene::new(Disk::Ext4);
    for is_dir in [false, true] {
        make(is_dir, 0);
        let input = plan(&[moved_to(edit("etc/a", Action::Keep), 1000)]);
        let kill = injected("pwrite64", "signal=SIGKILL:when=3");
        let killed = end(start(&kill, &["commit", &state()], Some(&input)));
        assert_ne!(killed.code, Some(0));
        assert_eq!(facts("etc/a").owner, (1000, 4));
        set_attribute("etc/a", ACCESS, &fitting());
        assert_eq!(facts("etc/a").mode & 0o7777, 0o664);
        let recovered = recover();
        recovered.is_done();
        let text = recovered.text;
        assert!(text.contains("it has an access list"), "{text}");
        assert_eq!(facts("etc/a").owner, (1000, 4));
    }
}
