//! Every operation in both directions, and every obstacle that is refused before anything changes.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use remit_edit::{Action, Edit};

use crate::interrupted::injected;
use crate::scene::*;

const MEMORY: Disk = Disk::Memory("size=64m,mode=755");

fn sixty_and_back(disk: Disk) {
    let _scene = Scene::new(disk);
    let edits = sixty();
    let old = tree();
    let input = plan(&edits);
    let id = id_of(&input);
    commit(&input).is_done();
    let new = tree();
    assert_eq!(new[&at("etc/changed/3")].bytes, b"new 3\n");
    assert_eq!(
        new[&at("etc/changed/3")].attributes[&b"user.remit"[..]],
        [3; 5]
    );
    assert_eq!(new[&at("etc/changed/3")].owner, (3, 3));
    assert_eq!(new[&at("etc/changed/3")].mode & 0o7777, 0o640);
    assert_ne!(
        new[&at("etc/changed/3")].inode,
        old[&at("etc/changed/3")].inode
    );
    assert_eq!(
        (
            new[&at("etc/meta/4")].mode & 0o7777,
            new[&at("etc/meta/4")].owner
        ),
        (0o600, (4, 7))
    );
    assert_eq!(new[&at("etc/meta/4")].inode, old[&at("etc/meta/4")].inode);
    assert_eq!(
        (
            new[&at("etc/made/deep")].mode & 0o7777,
            new[&at("etc/made/deep")].owner
        ),
        (0o750, (0, 9))
    );
    assert_eq!(new[&at("etc/made/deep/8")].mode & 0o7777, 0o4755);
    assert!(!new.contains_key(&at("etc/removed")));
    for (link, target) in [
        ("etc/changed/link", &b"/new"[..]),
        ("etc/made/link", b"deep/0"),
        ("etc/changed/to-link", b"3"),
    ] {
        assert_eq!(new[&at(link)].bytes, target);
        assert!(fs::symlink_metadata(at(link)).unwrap().is_symlink());
    }
    assert!(new[&at("etc/changed/to-link")].attributes.is_empty());
    let file = &new[&at("etc/changed/to-file")];
    assert_eq!((file.mode, file.owner), (libc::S_IFREG | 0o4750, (7, 0)));
    assert_eq!(file.bytes, b"new\n");
    assert_eq!(new.len(), 1 + 21 + 11 + 1 + 9 + 10);
    recover().is_done();
    assert_eq!(tree(), new);
    undo(&id).is_done();
    assert_eq!(tree(), old);
    assert!(kept().is_empty(), "{:?}", kept());
    undo(&id).is_refused("cannot use the journal");
    // The same plan does not fit any more where ctime has changed.
    commit(&input).is_refused("it has changed");
}

#[test]
fn all_operations_are_done_and_undone_on_tmpfs() {
    sixty_and_back(MEMORY);
}

#[test]
fn all_operations_are_done_and_undone_on_ext4() {
    sixty_and_back(Disk::Ext4);
}

#[test]
fn old_files_stay_beside_if_the_journal_is_on_another_file_system() {
    let _scene = Scene::new(MEMORY);
    mount(
        Some("none"),
        &at("state"),
        Some("tmpfs"),
        MsFlags::empty(),
        None::<&str>,
    )
    .unwrap();
    put("etc/a", b"old", 0o4755, 0);
    let old = tree();
    let input = plan(&[write("etc/a", "new")]);
    let id = id_of(&input);
    commit(&input).is_done();
    let private = at(&format!("etc/.remit-{id}"));
    // Nobody but root reaches the old set-id program.
    assert_eq!(fs::metadata(&private).unwrap().mode() & 0o7777, 0o700);
    assert_eq!(read("etc/a"), b"new");
    undo(&id).is_done();
    assert_eq!(tree(), old);
}

#[test]
fn link_gets_its_owner_and_no_other_bytes_than_its_target() {
    let _scene = Scene::new(Disk::Ext4);
    put("etc/file", b"old", 0o644, 0);
    symlink("file", at("etc/there")).unwrap();
    let to = |name: &str, target: &str| edit(name, Action::Link(target.into()));
    let owned = Edit {
        uid: Some(7),
        gid: Some(8),
        ..to("etc/new", "a b/\u{e9}")
    };
    let old = tree();
    // It is exchanged in one step, and what it leads to is nobody's business.
    let id = done(&[owned, to("etc/there", "/no/such")]);
    let target = |name: &str| fs::read_link(at(name)).unwrap();
    assert_eq!(target("etc/new").to_str(), Some("a b/\u{e9}"));
    assert_eq!(target("etc/there").to_str(), Some("/no/such"));
    let made = fs::symlink_metadata(at("etc/new")).unwrap();
    assert_eq!((made.uid(), made.gid()), (7, 8));
    assert_eq!(read("etc/file"), b"old");
    undo(&id).is_done();
    assert_eq!(tree(), old);
    // Another link at its path is somebody else's.
    let id = done(&[to("etc/there", "/no/such")]);
    fs::remove_file(at("etc/there")).unwrap();
    symlink("/no/such", at("etc/there")).unwrap();
    undo(&id).is_refused("it is another file");
    undo_partly(&id).is_done();
    assert_eq!(target("etc/there").to_str(), Some("/no/such"));
}

#[test]
fn file_and_link_that_somebody_changes_in_between_are_left() {
    let _scene = Scene::new(Disk::Ext4);
    let lay = || {
        let _ = fs::remove_file(at("etc/a"));
        let _ = fs::remove_file(at("etc/b"));
        put("etc/a", b"old", 0o640, 5);
        symlink("a", at("etc/b")).unwrap();
        [
            edit("etc/a", Action::Link(b"c".to_vec())),
            write("etc/b", "new"),
        ]
    };
    // Before the commit.
    let input = plan(&lay());
    append("etc/a", b"x");
    commit(&input).is_refused("'/mnt/etc/a': its size has changed");
    let input = plan(&lay());
    fs::remove_file(at("etc/b")).unwrap();
    symlink("c", at("etc/b")).unwrap();
    commit(&input).is_refused("'/mnt/etc/b': it");
    // Somebody writes to the old file while the commit runs: all goes back.
    let input = plan(&lay());
    let writer = File::options().append(true).open(at("etc/a")).unwrap();
    commit(&input).is_refused("open for writing");
    drop(writer);
    // Before the undo, which leaves what it cannot have made.
    let edits = lay();
    let id = done(&edits);
    append("etc/b", b"x");
    undo(&id).is_refused("'/mnt/etc/b': its size has changed");
    undo_partly(&id).is_done();
    assert_eq!(read("etc/a"), b"old");
    assert_eq!(read("etc/b"), b"newx");
    let edits = lay();
    let id = done(&edits);
    fs::remove_file(at("etc/a")).unwrap();
    put("etc/a", b"theirs", 0o644, 0);
    undo(&id).is_refused("'/mnt/etc/a': it is another file");
    undo_partly(&id).is_done();
    assert_eq!(read("etc/a"), b"theirs");
    assert_eq!(fs::read_link(at("etc/b")).unwrap().to_str(), Some("a"));
}

#[test]
fn compressed_file_of_btrfs_stays_compressed() {
    const COMPRESSION: &str = "btrfs.compression";
    if !has_btrfs() {
        return;
    }
    let _scene = Scene::new(Disk::Btrfs);
    for name in ["etc/a", "etc/b", "etc/dir/c"] {
        put(name, b"old", 0o640, 5);
    }
    set_attribute("etc/a", COMPRESSION, b"zstd");
    // New files beneath it have this at once.
    set_attribute("etc/dir", COMPRESSION, b"lzo");
    let old = tree();
    let id = done(&["etc/a", "etc/b", "etc/dir/c"].map(|name| write(name, "new")));
    for path in ["etc/a", "etc/b", "etc/dir/c"].map(at) {
        let (now, before) = (&tree()[&path].attributes, &old[&path].attributes);
        assert_eq!(now, before, "{path:?}");
    }
    undo(&id).is_done();
    assert_eq!(tree(), old);
    assert_eq!(
        old[&at("etc/a")].attributes[COMPRESSION.as_bytes()],
        b"zstd"
    );
}

/// As an extended attribute has it: user::rw- user:7:r-- group::r-- mask::r-- other::---. acl(5)
pub fn access_list() -> Vec<u8> {
    let entry = |tag: u16, rights: u16, id: u32| {
        [
            &tag.to_le_bytes()[..],
            &rights.to_le_bytes(),
            &id.to_le_bytes(),
        ]
        .concat()
    };
    let none = u32::MAX;
    let list = [
        entry(1, 6, none),
        entry(2, 4, 7),
        entry(4, 4, none),
        entry(16, 4, none),
        entry(32, 0, none),
    ]
    .concat();
    [&2_u32.to_le_bytes()[..], &list].concat()
}

#[test]
fn attributes_are_kept_except_those_of_the_old_bytes() {
    let _scene = Scene::new(Disk::Ext4);
    put("etc/a", b"old", 0o640, 5);
    let list = access_list();
    set_attribute("etc/a", "system.posix_acl_access", &list);
    set_attribute("etc/a", "security.selinux", b"system_u:object_r:etc_t:s0\0");
    set_attribute("etc/a", "user.note", b"x");
    let capability = [
        &0x0200_0001_u32.to_le_bytes()[..],
        &[0x20, 0, 0, 0],
        &[0; 12],
    ]
    .concat();
    set_attribute("etc/a", "security.capability", &capability);
    let old = tree();
    let input = plan(&[write("etc/a", "new")]);
    let id = id_of(&input);
    commit(&input).is_done();
    let mut expected = old[&at("etc/a")].attributes.clone();
    assert_eq!(expected.len(), 4);
    expected.remove(&b"security.capability"[..]);
    assert_eq!(tree()[&at("etc/a")].attributes, expected);
    undo(&id).is_done();
    assert_eq!(tree(), old);
    // A mode leaves capabilities.
    let only_mode = done(&[mode("etc/a", 0o600)]);
    assert!(
        tree()[&at("etc/a")]
            .attributes
            .contains_key(&b"security.capability"[..])
    );
    undo(&only_mode).is_done();
    set_attribute("etc/a", "trusted.other", b"x");
    commit(&plan(&[write("etc/a", "new")])).is_refused("trusted.other");
}

/// XFS lists `trusted.SGI_ACL_FILE` and `trusted.SGI_ACL_DEFAULT` wherever it has the lists of acl(5).
#[test]
fn lists_under_the_names_of_xfs_keep_no_file_from_its_change() {
    let _scene = Scene::new(Disk::Ext4);
    put("etc/a", b"old", 0o640, 5);
    set_attribute("etc/a", "system.posix_acl_access", &access_list());
    set_attribute("etc/a", "trusted.SGI_ACL_FILE", b"x");
    let old = tree();
    let id = done(&[write("etc/a", "new")]);
    let made = &tree()[&at("etc/a")].attributes;
    assert_eq!(
        made.keys().collect::<Vec<_>>(),
        [&b"system.posix_acl_access".to_vec()]
    );
    undo(&id).is_done();
    assert_eq!(tree(), old);
    // Of a default list: the new file has it, and the link that it replaces has nothing.
    symlink("b", at("etc/link")).unwrap();
    let id = done(&[write("etc/link", "new")]);
    set_attribute("etc/link", "trusted.SGI_ACL_FILE", b"x");
    undo(&id).is_done();
    assert_eq!(fs::read_link(at("etc/link")).unwrap().to_str(), Some("b"));
}

#[test]
fn new_file_gets_the_default_list_of_its_directory_and_a_changed_one_does_not() {
    let _scene = Scene::new(Disk::Ext4);
    put("etc/a", b"old", 0o640, 5);
    run(Command::new("chmod").arg("0750").arg(at("etc")));
    let list = access_list();
    set_attribute("etc", "system.posix_acl_default", &list);
    commit(&plan(&[write("etc/a", "new"), write("etc/b", "new")])).is_done();
    let tree = tree();
    let has_list = |name: &str| {
        tree[&at(name)]
            .attributes
            .contains_key(&b"system.posix_acl_access"[..])
    };
    assert_eq!((has_list("etc/a"), has_list("etc/b")), (false, true));
}

/// The owner of the directory would read and write what is root's, and the page has the mode alone.
#[test]
fn new_file_of_another_owner_than_its_directory_gets_no_default_list() {
    let _scene = Scene::new(Disk::Ext4);
    for (owner, has_lists) in [(1000, [false, true, false]), (0, [true; 3])] {
        let dir = format!("etc/{owner}");
        let path = |name: &str| format!("{dir}/{name}");
        fs::create_dir(at(&dir)).unwrap();
        std::os::unix::fs::chown(at(&dir), Some(owner), Some(owner)).unwrap();
        set_attribute(&dir, "system.posix_acl_default", &access_list());
        let names = ["root", "own", "dir", "dir/beneath"].map(path);
        let own = Edit {
            uid: Some(1000),
            mode: Some(0o660),
            ..write(&names[1], "new")
        };
        let made = |name: &str| Edit {
            mode: Some(0o775),
            ..edit(name, Action::CreateDirectory)
        };
        let root = Edit {
            mode: Some(0o660),
            ..write(&names[0], "new")
        };
        let beneath = Edit {
            mode: Some(0o664),
            ..write(&names[3], "new")
        };
        commit(&plan(&[root, own, made(&names[2]), beneath])).is_done();
        let tree = tree();
        let lists = names.each_ref().map(|name| {
            let attributes = &tree[&at(name)].attributes;
            let is_list = |name: &&Vec<u8>| name.starts_with(b"system.posix_acl");
            attributes.keys().filter(is_list).count() > 0
        });
        assert_eq!(lists[..3], has_lists, "{owner}");
        assert_eq!(lists[3], lists[2], "{owner}");
        let modes = names.map(|name| tree[&at(&name)].mode & 0o7777);
        assert_eq!(modes, [0o660, 0o660, 0o775, 0o664], "{owner}");
    }
}

/// Commits the change of `etc/a`, which must be refused with these words, and leaves nothing.
#[track_caller]
fn refused(words: &str) {
    let (input, old) = (
        plan(&[write("etc/a", "new"), write("etc/z", "new")]),
        tree(),
    );
    commit(&input).is_refused(words);
    assert_eq!(tree(), old);
    assert!(kept().is_empty(), "{:?}", kept());
}

#[test]
fn obstacles_are_refused_before_anything_changes() {
    let _scene = Scene::new(Disk::Ext4);
    put("etc/a", b"old", 0o644, 0);
    let writer = fs::OpenOptions::new()
        .append(true)
        .open(at("etc/a"))
        .unwrap();
    refused("open for writing");
    drop(writer);
    fs::hard_link(at("etc/a"), at("etc/b")).unwrap();
    refused("2 names");
    fs::remove_file(at("etc/b")).unwrap();
    for flag in ["i", "a"] {
        run(Command::new("chattr")
            .arg(format!("+{flag}"))
            .arg(at("etc/a")));
        refused("immutable or append-only");
        run(Command::new("chattr")
            .arg(format!("-{flag}"))
            .arg(at("etc/a")));
        let set = |sign: &str| {
            run(Command::new("chattr")
                .arg(format!("{sign}{flag}"))
                .arg(at("etc")));
        };
        set("+");
        let made = commit(&plan(&[write("etc/z", "new")]));
        let replaced = commit(&plan(&[write("etc/a", "new")]));
        set("-");
        for refused in [made, replaced] {
            refused.is_refused("its directory is immutable or append-only; see chattr(1)");
        }
        assert!(kept().is_empty() && names("etc") == ["a"], "{flag}");
    }
    put("other", b"old", 0o644, 0);
    mount(
        Some(&at("other")),
        &at("etc/a"),
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
    .unwrap();
    refused("mounted on it");
    nix::mount::umount(&at("etc/a")).unwrap();
    mount(
        Some(&at("etc")),
        &at("etc"),
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
    .unwrap();
    let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(
        None::<&str>,
        &at("etc"),
        None::<&str>,
        read_only,
        None::<&str>,
    )
    .unwrap();
    refused("read-only");
    nix::mount::umount(&at("etc")).unwrap();
    // A reader is no obstacle.
    let _reader = File::open(at("etc/a")).unwrap();
    commit(&plan(&[write("etc/a", "new")])).is_done();
}

fn names(relative: &str) -> Vec<String> {
    let names = fs::read_dir(at(relative)).unwrap().flatten();
    names
        .map(|name| name.file_name().into_string().unwrap())
        .collect()
}

/// Mounts an overlay of two file systems at `etc/m`, again if there is one.
fn mount_overlay(xino: &str) {
    let _ = nix::mount::umount(&at("etc/m"));
    let [lower, upper, work] =
        ["lower", "upper/u", "upper/w"].map(|name| at(name).display().to_string());
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work},xino={xino}");
    let (kind, options) = (Some("overlay"), Some(options.as_str()));
    mount(kind, &at("etc/m"), kind, MsFlags::empty(), options).unwrap();
}

#[test]
fn file_system_that_gives_files_other_inode_numbers_is_refused() {
    let _scene = Scene::new(MEMORY);
    for name in ["lower", "upper"] {
        let (none, kind) = (Some("none"), Some("tmpfs"));
        fs::create_dir(at(name)).unwrap();
        mount(
            none,
            &at(name),
            kind,
            MsFlags::empty(),
            Some("size=1m,mode=755"),
        )
        .unwrap();
    }
    for name in ["upper/u", "upper/w", "etc/m"] {
        fs::create_dir(at(name)).unwrap();
    }
    for name in ["lower/a", "lower/b", "lower/c"] {
        put(name, b"old", 0o644, 0);
    }
    fs::create_dir(at("lower/d")).unwrap();
    symlink("a", at("lower/l")).unwrap();
    symlink("a", at("lower/r")).unwrap();
    let edits = || {
        let directory = Edit {
            mode: Some(0o755),
            ..edit("etc/m/x", Action::CreateDirectory)
        };
        [
            write("etc/m/a", "new"),
            mode("etc/m/b", 0o640),
            edit("etc/m/c", Action::Remove),
            write("etc/m/n", "new"),
            directory,
            mode("etc/m/d", 0o700),
            edit("etc/m/e", Action::Remove),
            edit("etc/m/r", Action::Remove),
            edit("etc/m/l", Action::Link(b"b".to_vec())),
            edit("etc/m/k", Action::Link(b"b".to_vec())),
        ]
    };
    mount_overlay("off");
    // An overlay does not move a directory of a lower layer.
    fs::create_dir(at("etc/m/e")).unwrap();
    for edit in edits() {
        let old = tree();
        commit(&plan(&[edit])).is_refused("gives files other inode numbers");
        assert!(tree() == old && kept().is_empty());
    }
    mount_overlay("on");
    let old = content(&tree());
    let id = done(&edits());
    mount_overlay("on");
    undo(&id).is_done();
    assert_eq!(content(&tree()), old);
}

/// FAT keeps no mode, and chmod(2) succeeds there.
#[test]
fn file_system_that_does_not_keep_a_mode_is_refused_before_anything_changes() {
    let _scene = Scene::new(MEMORY);
    put("etc/a", b"old", 0o640, 0);
    let old = tree();
    let directory = Edit {
        mode: Some(0o755),
        ..edit("etc/d", Action::CreateDirectory)
    };
    for (edit, wanted, kept) in [
        (write("etc/a", "new"), "0640", "0600"),
        (directory, "0755", "0700"),
    ] {
        let wrapper = injected(&("fchmod".to_owned(), 1), "retval=0");
        let words = ["commit", &state()];
        let refused = end(start(&wrapper, &words, Some(&plan(&[edit]))));
        let text = format!("does not keep mode {wanted}, owner 0:0: it has mode {kept}");
        refused.is_refused(&text);
        assert_eq!(tree(), old);
    }
}

#[test]
fn full_file_system_is_refused_before_anything_changes() {
    let _scene = Scene::new(Disk::Memory("size=512k,nr_inodes=24,mode=755"));
    put("etc/a", b"old", 0o644, 0);
    let old = tree();
    let large = "x".repeat(1_000_000);
    commit(&plan(&[write("etc/a", &large)])).is_refused("free bytes");
    let many: Vec<_> = (0..20)
        .map(|number| write(&format!("etc/{number}"), "x"))
        .collect();
    commit(&plan(&many)).is_refused("free inodes");
    assert_eq!((tree(), kept()), (old, Vec::new()));
    commit(&plan(&[write("etc/a", "new")])).is_done();
}

#[test]
fn what_has_changed_since_the_plan_is_refused() {
    let _scene = Scene::new(MEMORY);
    put("etc/d/a", b"old", 0o644, 0);
    let both = || plan(&[write("etc/d/a", "new"), write("etc/d/b", "new")]);
    let input = both();
    put("etc/d/b", b"other", 0o644, 0);
    commit(&input).is_refused("it exists");
    fs::remove_file(at("etc/d/b")).unwrap();
    let input = both();
    append("etc/d/a", b"x");
    commit(&input).is_refused("its size has changed");
    let input = both();
    fs::rename(at("etc/d/a"), at("etc/d/c")).unwrap();
    commit(&input).is_refused("it does not exist");
    put("etc/d/a", b"oldx", 0o644, 0);
    commit(&input).is_refused("it is another file");
    fs::remove_file(at("etc/d/a")).unwrap();
    symlink("c", at("etc/d/a")).unwrap();
    commit(&input).is_refused("it is of another kind");
    fs::remove_file(at("etc/d/a")).unwrap();
    put("etc/d/a", b"old", 0o644, 0);
    let input = both();
    fs::rename(at("etc/d"), at("etc/e")).unwrap();
    symlink("e", at("etc/d")).unwrap();
    commit(&input).is_refused("cannot open its directory");
    assert_eq!(read("etc/e/a"), b"old");
}

#[test]
fn input_that_is_not_whole_and_sealed_is_refused() {
    let _scene = Scene::new(MEMORY);
    put("etc/a", b"old", 0o644, 0);
    let input = plan(&[write("etc/a", "new")]);
    commit(&input[..input.len() - 1]).is_refused("as many bytes");
    commit(&[&input[..], b"x"].concat()).is_refused("as many bytes");
    commit(&[0xff; 40]).is_refused("too long");
    commit(b"").is_refused("cannot read the plan");
    let mut other = input.clone();
    let last = other.len() - 1 - b"old".len();
    other[last] ^= 1;
    commit(&other).is_refused("not those of the plan");
    let file = at("plan");
    fs::write(&file, &input).unwrap();
    let command = Command::new(PROGRAM)
        .args(["commit", &state()])
        .stdin(File::open(&file).unwrap())
        .output();
    let text = String::from_utf8(command.unwrap().stdout).unwrap();
    assert!(text.contains("not a sealed memory file"), "{text}");
    for wrong in [
        "",
        "0",
        "../../../../../../../etc/passwd00",
        "0123456789ABCDEF0123456789ABCDEF",
    ] {
        undo(wrong).is_refused("32 hexadecimal digits");
    }
    assert_eq!(read("etc/a"), b"old");
    assert!(kept().is_empty());
}

#[test]
fn undo_is_refused_if_a_path_is_not_what_the_commit_left() {
    let _scene = Scene::new(MEMORY);
    put("etc/a", b"old", 0o644, 0);
    put("etc/m", b"old", 0o644, 0);
    put("etc/r", b"old", 0o644, 0);
    let edits = [
        write("etc/a", "new"),
        edit("etc/d", Action::CreateDirectory),
        write("etc/d/n", "new"),
        mode("etc/m", 0o600),
        edit("etc/r", Action::Remove),
    ];
    let id = done(&edits);
    let left = tree();
    let refused = |words: &str| {
        let changed = tree();
        undo(&id).is_refused(words);
        assert_eq!(tree(), changed);
    };
    put("etc/r", b"again", 0o644, 0);
    refused("it exists");
    fs::remove_file(at("etc/r")).unwrap();
    append("etc/d/n", b"x");
    refused("its size has changed");
    fs::write(at("etc/d/n"), "neW").unwrap();
    refused("its bytes have changed");
    fs::write(at("etc/d/n"), "new").unwrap();
    put("etc/m", b"old", 0o444, 0);
    refused("mode or owner");
    put("etc/m", b"old", 0o600, 0);
    let writer = fs::OpenOptions::new()
        .append(true)
        .open(at("etc/a"))
        .unwrap();
    refused("open for writing");
    drop(writer);
    assert_eq!(content(&tree()), content(&left));
    undo(&id).is_done();
    assert_eq!(read("etc/a"), b"old");
}

#[test]
fn directory_that_is_not_empty_is_not_removed() {
    let _scene = Scene::new(MEMORY);
    put("etc/d/a", b"old", 0o644, 0);
    put("etc/d/b", b"old", 0o644, 0);
    let old = tree();
    let input = plan(&[
        edit("etc/d", Action::Remove),
        edit("etc/d/a", Action::Remove),
    ]);
    commit(&input).is_refused("it is not empty");
    assert_eq!(tree(), old);
}

/// The filter and Landlock are in force while it works: it opens nothing outside of its plan, and starts nothing.
#[test]
fn process_has_its_sandbox_while_it_works() {
    let _scene = Scene::new(MEMORY);
    put("etc/a", b"old", 0o644, 0);
    let input = plan(&[write("etc/a", "new")]);
    let mut child = start(&delayed(2, 900), &["commit", &state()], Some(&input));
    let status = loop {
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        let pids = fs::read_to_string(children).unwrap();
        let is_staged = fs::read_dir(at("etc")).unwrap().count() > 1;
        if let Some(pid) = pids.split_whitespace().next().filter(|_| is_staged) {
            break held(&child, || {
                fs::read_to_string(format!("/proc/{pid}/status")).unwrap()
            });
        }
        is_running(&mut child);
    };
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap()
            .trim()
            .to_owned()
    };
    assert_eq!(
        (field("Seccomp:"), field("NoNewPrivs:"), field("Threads:")),
        ("2".into(), "1".into(), "1".into())
    );
    for set in ["CapEff:", "CapPrm:", "CapBnd:"] {
        assert_eq!(field(set), "000000009020001b", "{set}");
    }
    end(child).is_done();
}

/// The cost beside `sed -i` and fsync(2). It asserts no time: other load would decide.
#[test]
fn commit_of_one_file_is_measured_beside_sed() {
    let _scene = Scene::new(Disk::Ext4);
    put("etc/a", b"workers 4;\n", 0o644, 0);
    let mut times: [Vec<Duration>; 4] = Default::default();
    for round in 0..40 {
        let started = Instant::now();
        let input = plan(&[write("etc/a", &format!("workers {};\n", 5 + round % 2))]);
        times[0].push(started.elapsed());
        let id = id_of(&input);
        let started = Instant::now();
        commit(&input).is_done();
        times[1].push(started.elapsed());
        let started = Instant::now();
        undo(&id).is_done();
        times[2].push(started.elapsed());
        let started = Instant::now();
        run(Command::new("sed")
            .args(["-i", "s/workers [0-9]*/workers 7/"])
            .arg(at("etc/a")));
        run(Command::new("sync").arg(at("etc/a")));
        times[3].push(started.elapsed());
    }
    let median = times.map(|mut times| {
        times.sort();
        times[times.len() / 2].as_secs_f64() * 1000.0
    });
    let [plan, commit, undo, sed] = median;
    let ratio = commit / sed;
    println!(
        "plan {plan:.2} ms, commit {commit:.2} ms, undo {undo:.2} ms; sed -i and fsync {sed:.2} ms; commit / sed {ratio:.2}"
    );
}

/// What is older than 30 days is forgotten by a recovery, wherever its old files lie; another one stays.
#[test]
fn old_undos_are_forgotten() {
    let _scene = Scene::new(Disk::Memory(""));
    let old_inode = |name: &str| fs::metadata(at(name)).unwrap().ino();
    put("etc/a", b"old", 0o644, 0);
    put("etc/gone/b", b"old", 0o644, 0);
    let mut ids = Vec::new();
    for edits in [
        [
            write("etc/a", "new"),
            edit("etc/made", Action::CreateDirectory),
        ],
        [
            edit("etc/gone/b", Action::Remove),
            edit("etc/gone", Action::Remove),
        ],
        [write("etc/kept", "new"), write("etc/other", "new")],
    ] {
        ids.push(done(&edits));
    }
    recover().is_done();
    assert_eq!(kept().len(), 3);
    let now = old_inode("etc/a");
    for id in &ids[..2] {
        let journal = File::options()
            .write(true)
            .open(at(&format!("state/{id}/journal")))
            .unwrap();
        let month = Duration::from_secs(30 * 24 * 3600 + 60);
        journal
            .set_modified(std::time::SystemTime::now() - month)
            .unwrap();
    }
    let before = tree();
    let recovered = recover();
    recovered.is_done();
    assert!(
        recovered.text.contains("is forgotten"),
        "{}",
        recovered.text
    );
    assert_eq!(
        (kept(), tree(), old_inode("etc/a")),
        (vec![ids[2].clone()], before, now)
    );
    undo(&ids[0]).is_refused("cannot use the journal");
    undo(&ids[2]).is_done();
}

/// Its directories may be gone by then.
#[test]
fn old_undo_of_a_missing_directory_is_forgotten() {
    let _scene = Scene::new(Disk::Memory(""));
    put("etc/dir/a", b"old", 0o644, 0);
    let id = done(&[write("etc/dir/a", "new")]);
    fs::remove_dir_all(at("etc/dir")).unwrap();
    let journal = File::options()
        .write(true)
        .open(at(&format!("state/{id}/journal")))
        .unwrap();
    journal
        .set_modified(std::time::SystemTime::UNIX_EPOCH)
        .unwrap();
    recover().is_done();
    assert!(kept().is_empty(), "{:?}", kept());
    commit(&plan(&[write("etc/b", "new")])).is_done();
}

/// Only a plan without a base can fit again.
#[test]
fn plan_that_creates_is_committed_again_if_its_file_is_gone() {
    let _scene = Scene::new(MEMORY);
    let input = plan(&[write("etc/a", "new")]);
    commit(&input).is_done();
    commit(&input).is_refused("it exists");
    undo_is_possible(&id_of(&input));
    fs::remove_file(at("etc/a")).unwrap();
    commit(&input).is_done();
    undo(&id_of(&input)).is_done();
    assert!(kept().is_empty() && tree().len() == 1);
}

fn undo_is_possible(id: &str) {
    assert_eq!(kept(), [id.to_owned()]);
}
