//! Hidden directories in a view: what a job makes in them, and that it learns nothing of what the machine has there.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, chown};

use nix::mount::MsFlags;

use super::view::{Mounted, Tree, changes, settle, sh};
use remit_common::hex::hex;
use remit_confine::sys;

/// Directories, each with a private directory of root with private names in it: a view takes longer than what is tried in it.
fn trees(count: usize) -> Tree {
    let tree = Tree::new();
    for number in 0..count {
        let at = |name: &str| format!("{number}/{name}");
        tree.dir(&number.to_string(), 0o755);
        tree.dir(&at("other"), 0o755);
        tree.dir(&at("private"), 0o700);
        tree.file(&at("private/SECRET-key"), 0o600, 0, "SECRET\n");
        tree.file(&at("private/SECRET-open"), 0o644, 0, "SECRET\n");
        tree.dir(&at("private/SECRET-sub"), 0o700);
        tree.file(&at("private/SECRET-sub/SECRET-in"), 0o644, 0, "SECRET\n");
    }
    tree
}

/// Two groups, of which `denied` may do nothing: acl(5), `struct posix_acl_xattr_entry`.
pub(super) fn list(denied: u32) -> Vec<u8> {
    list_of(denied, 0, 5)
}

/// What one group may do, and all others.
pub(super) fn list_of(group: u32, may: u16, others: u16) -> Vec<u8> {
    let none = u32::MAX;
    let entries = [
        (1, 7, none),
        (4, others, none),
        (8, may, group),
        (16, 5, none),
        (32, others, none),
    ];
    let entries = entries.map(|(tag, mode, id): (u16, u16, u32)| {
        [
            &tag.to_le_bytes()[..],
            &mode.to_le_bytes(),
            &id.to_le_bytes(),
        ]
        .concat()
    });
    [&2_u32.to_le_bytes()[..], &entries.concat()].concat()
}

#[test]
fn hidden_directory_is_empty_and_can_be_used() {
    let tree = trees(1);
    fs::set_permissions(tree.0.join("0/private"), fs::Permissions::from_mode(0o2710)).unwrap();
    chown(tree.0.join("0/private"), Some(33), Some(34)).unwrap();
    fs::set_permissions(tree.0.join("0/private"), fs::Permissions::from_mode(0o2710)).unwrap();
    let ran = sh(&format!(
        "cd {}/0 && stat -c '%u:%g %a' private && ls -A private && echo mine >private/mine && cat private/mine && \
         mkdir private/dir && ls private && stat -c '%g %a' private/dir && rm -r private/dir private/mine && \
         chown 0:4 private && chmod 00711 private && stat -c '%u:%g %a' private && ls -A private",
        tree.at()
    ));
    assert_eq!((ran.code(), ran.err.as_str()), (Some(0), ""), "{ran:?}");
    assert_eq!(ran.out, "33:34 2710\nmine\ndir\nmine\n34 2755\n0:4 711\n");
}

/// Each as root of the view, which owns the directory there.
#[test]
fn what_is_in_a_hidden_directory_stays_hidden() {
    let python = |code: &str| format!("/usr/bin/python3 -c '{code}'");
    let attributes = python(
        "import os\n\
         for name in (\"opaque\", \"redirect\", \"origin\", \"impure\", \"metacopy\", \"upper\", \"whiteout\"):\n  \
           for kind in (\"trusted\", \"user\"):\n    \
             for value in (None, b\"n\", b\"\", b\"x\", b\"/\"):\n      \
               full = f\"{kind}.overlay.{name}\"\n      \
               try: os.removexattr(\"private\", full) if value is None else os.setxattr(\"private\", full, value)\n      \
               except OSError: pass",
    );
    let exchange = python(
        "import ctypes\n\
         rename = ctypes.CDLL(None).renameat2\n\
         for flags in (2, 4, 1):\n  rename(-100, b\"private\", -100, b\"other\", flags)",
    );
    let look = "find . ; ls -AR . private other; cat private/* private/*/* other/* private/SECRET-key private/SECRET-open \
                private/SECRET-sub/SECRET-in; cat */SECRET-key; cd private/SECRET-sub && ls -A";
    let attacks = [
        "true",
        "touch private",
        "chmod 777 private",
        "chown -R 0:0 private; chmod -R 777 private",
        "rmdir private; mkdir private",
        "rm -rf private; mkdir private; mkdir private/SECRET-sub",
        "rm -rf private; mv other private",
        "mv private moved; mv moved private",
        "mv private other/private; mv other/private .",
        "rmdir private; ln -s other private; rm private; mkdir private",
        "echo x >private/SECRET-key; rm private/SECRET-key",
        "mkdir private/SECRET-sub; rmdir private/SECRET-sub",
        "mkdir private/SECRET-sub; touch private/SECRET-sub/x",
        "ln private/SECRET-key other/key; ln -s $PWD/private/SECRET-key other/key",
        "mknod private/SECRET-key c 0 0; mknod private c 0 0; mknod other/x c 0 0",
        "cp -a private copy; cp -al private copy2; tar -cf - private | tar -C other -x",
        "chroot private /bin/ls; chroot private ls -A",
        "mount --bind private other; mount -t overlay -o lowerdir=private overlay other",
        "cd .. && mv $OLDPWD x; cd x",
        "cat /proc/self/root/$PWD/private/SECRET-key /proc/1/root/$PWD/private/SECRET-key",
        "(cd private && rmdir ../private; ls -A . ; cat SECRET-key; mkdir -p ../private)",
        &attributes,
        &format!("touch private; {attributes}"),
        &format!("rmdir private; mkdir private; {attributes}"),
        &exchange,
        &format!("touch private; {exchange}; {attributes}"),
    ];
    let tree = trees(attacks.len());
    let script: String = attacks
        .iter()
        .enumerate()
        .map(|(n, attack)| {
            format!(
                "(cd {}/{n} && {{ {attack}; {look}; }} 2>/dev/null; echo END {n})\n",
                tree.at()
            )
        })
        .collect();
    let ran = sh(&script);
    let (mut lines, mut said) = (ran.out.lines(), Vec::new());
    for (n, attack) in attacks.iter().enumerate() {
        let end = format!("END {n}");
        let own: Vec<&str> = lines.by_ref().take_while(|line| *line != end).collect();
        // Names that it has made itself.
        let makes = |line: &str| {
            let line = line.trim_end_matches([':']).trim_end_matches("/x");
            attack.contains("mkdir private/SECRET-sub") && line.ends_with("SECRET-sub")
        };
        let learned: Vec<&&str> = own
            .iter()
            .filter(|line| line.contains("SECRET") && !makes(line))
            .collect();
        assert_eq!(learned, [&""; 0], "{attack}");
        said.push(own.len());
    }
    assert!(said.iter().all(|count| *count > 2), "{said:?}");
    for path in ["0/private/SECRET-key", "1/private/SECRET-sub/SECRET-in"] {
        assert_eq!(fs::read_to_string(tree.0.join(path)).unwrap(), "SECRET\n");
    }
}

#[test]
fn directories_of_people_and_with_private_attributes_stay_closed() {
    let tree = trees(1);
    let mut mounted = Mounted::default();
    tree.dir("person", 0o700);
    chown(tree.0.join("person"), Some(1000), Some(1000)).unwrap();
    tree.dir("attribute", 0o700);
    let attribute = File::open(tree.0.join("attribute")).unwrap();
    sys::set_xattr(&attribute, c"user.x", b"SECRET").unwrap();
    tree.dir("large-id", 0o700);
    chown(tree.0.join("large-id"), Some(0), Some(70_000)).unwrap();
    mounted.mount(
        "tmpfs",
        tree.0.join("mount"),
        Some("tmpfs"),
        MsFlags::empty(),
    );
    fs::set_permissions(tree.0.join("mount"), fs::Permissions::from_mode(0o700)).unwrap();
    let tries = |name: &str| {
        let read = format!("import os; os.getxattr(\"{name}\", \"user.x\")");
        let tries = [
            format!("ls {name}"),
            format!("touch {name}/x"),
            format!("chmod 755 {name}"),
            format!("chown 0:0 {name}"),
            format!("/usr/bin/python3 -c '{read}'"),
        ];
        tries
            .map(|one| format!("{one} && echo DID {name}"))
            .join("\n")
    };
    let ran = sh(&format!(
        "cd {}\n{}\necho END",
        tree.at(),
        ["person", "attribute", "large-id", "mount"]
            .map(tries)
            .join("\n")
    ));
    assert_eq!(ran.out, "END\n", "{ran:?}");
}

#[test]
fn directory_that_a_list_hides_keeps_it() {
    let tree = trees(1);
    let private = File::open(tree.0.join("0/private")).unwrap();
    // The account of a view has group 4.
    sys::set_xattr(&private, c"system.posix_acl_access", &list(4)).unwrap();
    settle();
    let read = "import os; print(os.getxattr(\"private\", \"system.posix_acl_access\").hex())";
    let ran = sh(&format!(
        "cd {}/0 && stat -c %a private && /usr/bin/python3 -c '{read}' && ls -A private && touch private/mine && ls private",
        tree.at()
    ));
    let expect = format!("755\n{}\nmine\n", hex(&list(4)));
    assert_eq!(ran.out, expect, "{ran:?}");
    let at = tree.at();
    assert_eq!(
        changes(&format!("cd {at}/0 && touch private/mine")),
        format!("new file of 0 {at}/0/private/mine 0:0 644\nscratch 0\n")
    );
}

/// A list for what is new in a directory is none of what was in it before.
#[test]
fn directories_of_the_mask_have_the_lists_of_the_machine_alone() {
    let tree = trees(1);
    tree.file("0/other/key", 0o600, 0, "SECRET\n");
    let above = File::open(tree.0.join("0")).unwrap();
    sys::set_xattr(&above, c"system.posix_acl_default", &list_of(33, 7, 5)).unwrap();
    settle();
    let at = tree.at();
    let read = "import os; print([os.listxattr(name) for name in (\".\", \"other\", \"private\")])";
    let ran = sh(&format!(
        "cd {at}/0 && /usr/bin/python3 -c '{read}' && stat -c %a . other private"
    ));
    let expect = "[['system.posix_acl_default'], [], []]\n755\n755\n700\n";
    assert_eq!(ran.out, expect, "{ran:?}");
    assert_eq!(
        changes(&format!("cd {at}/0 && touch other/new private/mine")),
        format!(
            "new file of 0 {at}/0/other/new 0:0 644\nnew file of 0 {at}/0/private/mine 0:0 644\nscratch 0\n"
        )
    );
}

#[test]
fn new_names_are_planned() {
    let tree = trees(1);
    settle();
    let at = format!("{}/0", tree.at());
    let planned = changes(&format!(
        "cd {at}/private && echo x >new && chmod 640 new && chown 0:4 . && chmod 710 . && mkdir -m 700 dir && echo y >dir/y"
    ));
    assert_eq!(
        planned,
        format!(
            "{at}/private 0:0 700 -> 0:4 710\nnew directory {at}/private/dir 0:0 700\nnew file of 2 {at}/private/dir/y 0:0 644\n\
             new file of 2 {at}/private/new 0:0 640\nscratch 0\n"
        )
    );
}

#[test]
fn names_that_are_there_and_removals_are_refused() {
    let has = "its directory is hidden in copies of the machine, and has something of that name";
    let unread = "you cannot read what is there now";
    let cases = [
        (
            "echo SECRET >private/SECRET-key; chmod 600 private/SECRET-key",
            "/SECRET-key",
            has,
        ),
        ("echo other >private/SECRET-key", "/SECRET-key", has),
        ("mkdir private/SECRET-key", "/SECRET-key", has),
        ("mkdir private/SECRET-sub", "/SECRET-sub", has),
        (
            "mkdir -m 700 private/SECRET-sub; echo SECRET >private/SECRET-sub/SECRET-in",
            "/SECRET-sub",
            has,
        ),
        ("rm -rf private", "", unread),
        ("rm -rf private; mkdir -m 700 private", "", unread),
        (
            "rm -rf private; mkdir -m 700 private; touch private/SECRET-key",
            "",
            unread,
        ),
        ("rm -rf private; touch private", "", unread),
        ("mv private other/moved; mkdir -m 700 private", "", unread),
        (
            "cd .. && rm -rf $OLDPWD && mkdir -p $OLDPWD/private",
            "",
            unread,
        ),
    ];
    let tree = trees(cases.len());
    settle();
    let at = tree.at();
    let script = cases.iter().enumerate();
    let script: String = script
        .map(|(n, (script, ..))| format!("cd {at}/{n}\n{script}\n"))
        .collect();
    let found = changes(&format!("{script}true"));
    for (n, (script, name, why)) in cases.iter().enumerate() {
        let refusal = format!("cannot plan a change of '{at}/{n}/private{name}': {why}");
        let of = |line: &&str| line.contains(&format!("{at}/{n}/private"));
        let lines: Vec<&str> = found.lines().filter(of).collect();
        let others: Vec<&&str> = lines.iter().filter(|line| **line != refusal).collect();
        assert_eq!(
            (lines.len() - others.len(), others.len()),
            (1, 0),
            "{script}: {lines:?}"
        );
    }
}
