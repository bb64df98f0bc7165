//! Capabilities and times of files: with the content of a plan, in its base, and after an undo. Kills are in `interrupted.rs`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::slice;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::stat::futimens;
use nix::sys::time::TimeSpec;
use remit_edit::{Action, Edit};
use remit_plan::{Bundle, Change, Entry, FileCapabilities, New, OldCapabilities, Plan};
use remit_sys::sys;

use crate::interrupted::{calls, injected};
use crate::scene::*;

pub const NAME: &str = "security.capability";
pub const RAW: FileCapabilities = FileCapabilities {
    permitted: 1 << 13,
    inheritable: 0,
    is_effective: true,
};
pub const BIND: FileCapabilities = FileCapabilities {
    permitted: 1 << 10,
    inheritable: 1 << 10,
    is_effective: false,
};
/// In 1969.
const TIME: i64 = -1_500_000_000;
const MEMORY: Disk = Disk::Memory("size=64m,mode=755");

fn give(relative: &str, own: FileCapabilities) {
    set_attribute(relative, NAME, &own.encode());
}

fn take(relative: &str) {
    let file = fs::File::open(at(relative)).unwrap();
    sys::remove_xattr(&file, c"security.capability").unwrap();
}

fn own(relative: &str) -> Option<FileCapabilities> {
    let value = attributes(&at(relative)).remove(NAME.as_bytes());
    value.map(|value| FileCapabilities::decode(&value).unwrap())
}

/// Makes the bundle of these edits, with capabilities as an extraction reads them: of each base, and `new` for new files.
fn planned(edits: &[Edit], new: Option<FileCapabilities>) -> Vec<u8> {
    planned_at(edits, new, TIME)
}

fn planned_at(edits: &[Edit], new: Option<FileCapabilities>, time: i64) -> Vec<u8> {
    let bundle = Bundle::decode(plan(edits)).unwrap();
    let entry = |entry: &Entry| {
        let mut change = entry.change;
        if let Change::Create {
            new: New::File(content),
            ..
        }
        | Change::Replace { content, .. } = &mut change
        {
            content.capabilities = new;
            content.mtime = Some(time);
        }
        if let Change::Replace { base, .. }
        | Change::Remove { base }
        | Change::SetMetadata { base, .. } = &mut change
        {
            let path = String::from_utf8(entry.path.as_bytes().to_vec()).unwrap();
            base.capabilities = OldCapabilities::Read(own(path.strip_prefix("/mnt/").unwrap()));
        }
        Entry {
            path: entry.path.clone(),
            change,
        }
    };
    let entries = bundle.plan().entries().iter().map(entry).collect();
    with(&bundle, entries)
}

/// Returns the bundle with [`RAW`] for the new files of these paths.
pub fn with_capabilities(input: &[u8], names: &[&str]) -> Vec<u8> {
    let bundle = Bundle::decode(input.to_vec()).unwrap();
    let mut entries = bundle.plan().entries().to_vec();
    let is_one = |entry: &&mut Entry| {
        let is_it = |name: &&str| at(name).as_os_str().as_encoded_bytes() == entry.path.as_bytes();
        names.iter().any(is_it)
    };
    for entry in entries.iter_mut().filter(is_one) {
        if let Change::Create {
            new: New::File(content),
            ..
        }
        | Change::Replace { content, .. } = &mut entry.change
        {
            content.capabilities = Some(RAW);
        }
    }
    with(&bundle, entries)
}

/// Returns the bundle with these entries and the bytes that it has.
fn with(bundle: &Bundle, entries: Vec<Entry>) -> Vec<u8> {
    let (mut new, mut old) = (Vec::new(), Vec::new());
    for view in bundle.views() {
        new.extend_from_slice(view.new.unwrap_or_default());
        old.extend_from_slice(view.old.unwrap_or_default());
    }
    let plan = Plan::new(entries).unwrap();
    Bundle::new(&plan, &new, &old).unwrap().as_bytes().to_vec()
}

/// Returns the bundle of a planner that reads no capabilities.
fn unread(edits: &[Edit]) -> Vec<u8> {
    let bundle = Bundle::decode(plan(edits)).unwrap();
    let mut entries = bundle.plan().entries().to_vec();
    for entry in &mut entries {
        if let Change::Replace { base, .. }
        | Change::Remove { base }
        | Change::SetMetadata { base, .. } = &mut entry.change
        {
            base.capabilities = OldCapabilities::Unread;
        }
    }
    with(&bundle, entries)
}

fn edits() -> Vec<Edit> {
    let program = |name: &str, text: &str, uid| Edit {
        mode: Some(0o755),
        uid: Some(uid),
        ..write(name, text)
    };
    vec![
        program("etc/new.py", "new", 5),
        program("etc/given.py", "new", 0),
        program("etc/owned.py", "new", 5),
    ]
}

fn prepare() {
    for directory in ["etc", "state"] {
        let _ = fs::remove_dir_all(at(directory));
        fs::create_dir(at(directory)).unwrap();
    }
    put("etc/given.py", b"old", 0o755, 0);
    put("etc/owned.py", b"old", 0o755, 0);
    for name in ["etc/given.py", "etc/owned.py"] {
        set_time(name, TimeSpec::new(-9, 0));
    }
    give("etc/owned.py", BIND);
}

fn set_time(name: &str, time: TimeSpec) {
    let file = fs::File::open(at(name)).unwrap();
    futimens(&file, &time, &time).unwrap();
}

#[test]
fn content_has_its_capabilities_and_an_undo_gives_the_old_ones_back() {
    for disk in [MEMORY, Disk::Ext4] {
        for new in [Some(RAW), None] {
            let _scene = Scene::new(disk);
            prepare();
            let old = tree();
            let input = planned(&edits(), new);
            commit(&input).is_done();
            for name in ["etc/new.py", "etc/given.py", "etc/owned.py"] {
                assert_eq!(own(name), new, "{disk:?} {name}");
                let seen = fs::metadata(at(name)).unwrap();
                assert_eq!((seen.mtime(), seen.mtime_nsec()), (-2, 500_000_000));
            }
            undo(&id_of(&input)).is_done();
            assert_eq!(tree(), old);
            assert_eq!(own("etc/owned.py"), Some(BIND));
        }
    }
}

/// A program that looks at times, as cron and the service manager do, would not see a new file with the time of the old
/// one, or with an earlier one. cron looks at seconds.
#[test]
fn new_file_has_no_time_of_the_plan_that_is_not_later() {
    for old in [
        (-2, 500_000_000),
        (-2, 499_999_999),
        (-2, 0),
        (-1, 0),
        (5, 0),
    ] {
        let _scene = Scene::new(MEMORY);
        prepare();
        set_time("etc/given.py", TimeSpec::new(old.0, old.1));
        let input = planned(&edits(), None);
        commit(&input).is_done();
        let seconds = |name: &str| fs::metadata(at(name)).unwrap().mtime();
        assert_eq!((seconds("etc/new.py"), seconds("etc/owned.py")), (-2, -2));
        assert!(seconds("etc/given.py") > 5, "{old:?}");
        undo(&id_of(&input)).is_done();
        assert_eq!(seconds("etc/given.py"), old.0);
    }
}

/// The service manager sets the clock to the time of a file.
#[test]
fn new_file_has_no_time_of_the_plan_that_is_later_than_the_commit() {
    let _scene = Scene::new(MEMORY);
    prepare();
    let day = Duration::from_secs(24 * 3600);
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let later = i64::try_from((now() + day).as_nanos()).unwrap();
    commit(&planned_at(&edits(), None, later)).is_done();
    for name in ["etc/new.py", "etc/given.py", "etc/owned.py"] {
        let seconds = u64::try_from(fs::metadata(at(name)).unwrap().mtime()).unwrap();
        assert!(seconds <= now().as_secs(), "{name}");
    }
}

#[test]
fn file_that_is_no_source_or_of_a_unit_has_the_time_of_the_commit() {
    let _scene = Scene::new(MEMORY);
    prepare();
    let names = [
        "etc/systemd/system/a.py",
        "lib/systemd/system/a.service.d/x.py",
        "etc/cron.d/backup",
    ];
    let beside = ["etc/systemd.py", "etc/new.py"];
    for name in names {
        fs::create_dir_all(at(name).parent().unwrap()).unwrap();
    }
    put(names[0], b"old", 0o644, 0);
    set_time(names[0], TimeSpec::new(-9, 0));
    let all = names.iter().chain(&beside);
    let edits: Vec<Edit> = all.map(|name| write(name, "new")).collect();
    let edit = |edit: Edit| Edit {
        mode: Some(0o644),
        ..edit
    };
    commit(&planned(
        &edits.into_iter().map(edit).collect::<Vec<_>>(),
        None,
    ))
    .is_done();
    let seconds = |name: &&str| fs::metadata(at(name)).unwrap().mtime();
    assert!(names.iter().all(|name| seconds(name) > 0));
    assert!(beside.iter().all(|name| seconds(name) == -2));
}

const OF_UNITS: [&str; 3] = [
    "etc/systemd/system/a.service",
    "etc/systemd/system/a.service.d/x.conf",
    "etc/other",
];

/// Files of long ago, and a plan that changes the first and the last, and removes the other.
fn of_units() -> Vec<u8> {
    for name in OF_UNITS {
        fs::create_dir_all(at(name).parent().unwrap()).unwrap();
        put(name, b"old", 0o644, 0);
        set_time(name, TimeSpec::new(-9, 0));
    }
    let [unit, drop_in, other] = OF_UNITS.map(|name| write(name, "new"));
    let action = Action::Remove;
    planned(&[unit, Edit { action, ..drop_in }, other], None)
}

fn time_of(name: &str) -> (i64, i64) {
    let seen = fs::metadata(at(name)).unwrap();
    (seen.mtime(), seen.mtime_nsec())
}

/// The service manager reads a unit again if its file is newer than what it has read: systemd 252 went on with the unit of the
/// commit when the old file came back with its old time.
#[test]
fn file_of_a_unit_that_comes_back_is_newer_than_the_one_that_leaves() {
    let _scene = Scene::new(MEMORY);
    let input = of_units();
    commit(&input).is_done();
    let committed = time_of(OF_UNITS[0]);
    undo(&id_of(&input)).is_done();
    let texts = OF_UNITS.map(|name| fs::read_to_string(at(name)).unwrap());
    assert_eq!(texts, ["old"; 3]);
    let [unit, drop_in, other] = OF_UNITS.map(time_of);
    assert!(
        unit >= committed && drop_in >= committed,
        "{unit:?} {committed:?}"
    );
    assert_eq!(other, (-9, 0));
}

#[test]
fn recovery_gives_back_a_file_of_a_unit_with_a_new_time() {
    let _scene = Scene::new(MEMORY);
    let arguments = ["commit", &state()];
    let input = of_units();
    let all = calls(&arguments, Some(&input));
    undo(&id_of(&input)).is_done();
    let mut renewed = 0;
    for call in all.iter().filter(|(name, _)| name == "renameat2") {
        let input = of_units();
        end(start(
            &injected(call, "signal=SIGKILL"),
            &arguments,
            Some(&input),
        ));
        recover().is_done();
        match fs::read_to_string(at(OF_UNITS[0])).unwrap().as_str() {
            "old" => renewed += u32::from(time_of(OF_UNITS[0]).0 > 0),
            _ => undo(&id_of(&input)).is_done(),
        }
    }
    assert!(renewed > 0);
}

#[test]
fn other_capabilities_than_planned_are_a_conflict() {
    let changes: [(&str, &dyn Fn()); 4] = [
        ("etc/given.py", &|| give("etc/given.py", RAW)),
        ("etc/owned.py", &|| give("etc/owned.py", RAW)),
        ("etc/owned.py", &|| take("etc/owned.py")),
        ("etc/kept", &|| give("etc/kept", RAW)),
    ];
    for (name, change) in changes {
        let _scene = Scene::new(MEMORY);
        prepare();
        put("etc/kept", b"old", 0o755, 0);
        let all = [edits(), vec![mode("etc/kept", 0o700)]].concat();
        let input = planned(&all, Some(RAW));
        // Its time of change is the same: the base is compared by the attribute, too.
        let input = at_this_time(&input, change);
        let old = tree();
        commit(&input).is_refused(&format!("{name}': its capabilities have changed"));
        assert_eq!(tree(), old);
    }
}

/// Returns the plan with the times that its bases have after `change`.
fn at_this_time(input: &[u8], change: &dyn Fn()) -> Vec<u8> {
    change();
    let bundle = Bundle::decode(input.to_vec()).unwrap();
    let mut entries = bundle.plan().entries().to_vec();
    for entry in &mut entries {
        let path = String::from_utf8(entry.path.as_bytes().to_vec()).unwrap();
        if let Change::Replace { base, .. } | Change::SetMetadata { base, .. } = &mut entry.change {
            base.stat = found(path.strip_prefix("/mnt/").unwrap())
                .unwrap()
                .base
                .stat;
        }
    }
    with(&bundle, entries)
}

#[test]
fn capabilities_that_somebody_changed_since_are_in_the_way_of_an_undo() {
    for change in [&(|| take("etc/new.py")) as &dyn Fn(), &|| {
        give("etc/new.py", BIND)
    }] {
        let _scene = Scene::new(MEMORY);
        prepare();
        let input = planned(&edits(), Some(RAW));
        commit(&input).is_done();
        change();
        let new = tree();
        undo(&id_of(&input)).is_refused("etc/new.py': its capabilities have changed");
        assert_eq!(tree(), new);
        let undone = undo_partly(&id_of(&input));
        undone.is_done();
        assert!(
            undone
                .text
                .contains("etc/new.py': its capabilities have changed"),
            "{}",
            undone.text
        );
        assert_eq!(
            (own("etc/given.py"), own("etc/owned.py")),
            (None, Some(BIND))
        );
    }
}

/// The kernel takes capabilities away with the owner.
#[test]
fn capabilities_that_a_new_owner_would_remove_are_in_the_way() {
    let _scene = Scene::new(MEMORY);
    prepare();
    let owner = |name: &str| Edit {
        uid: Some(5),
        ..edit(name, Action::Keep)
    };
    let input = at_this_time(&unread(&[owner("etc/given.py")]), &|| {
        give("etc/given.py", RAW)
    });
    commit(&input).is_refused("etc/given.py': it has file capabilities, and the plan does not say");
    take("etc/given.py");
    let input = planned(&[owner("etc/given.py")], None);
    commit(&input).is_done();
    give("etc/given.py", RAW);
    let old = tree();
    for undone in [undo(&id_of(&input)), undo_partly(&id_of(&input))] {
        assert!(
            undone
                .text
                .contains("etc/given.py': its capabilities have changed"),
            "{}",
            undone.text
        );
        assert_eq!(tree(), old);
    }
}

/// An approver would not be shown that everybody gets them, or that they are lost.
#[test]
fn capabilities_that_the_plan_does_not_say_are_refused_but_in_a_removal() {
    let unsaid = "etc/owned.py': it has file capabilities, and the plan does not say which";
    let [chmod, write] = [mode("etc/owned.py", 0o711), write("etc/owned.py", "new")];
    for edit in [&chmod, &write] {
        let _scene = Scene::new(MEMORY);
        prepare();
        let input = || unread(slice::from_ref(edit));
        let old = tree();
        commit(&input()).is_refused(unsaid);
        assert_eq!(tree(), old);
        take("etc/owned.py");
        commit(&input()).is_done();
    }
    let _scene = Scene::new(MEMORY);
    prepare();
    commit(&plan(&[chmod])).is_done();
    assert_eq!(own("etc/owned.py"), Some(BIND));
    let old = tree();
    let input = unread(&[edit("etc/owned.py", Action::Remove)]);
    commit(&input).is_done();
    undo(&id_of(&input)).is_done();
    assert_eq!(tree(), old);
    commit(&plan(slice::from_ref(&write))).is_done();
    assert_eq!(own("etc/owned.py"), None);
    // Version 3 of the attribute is of the root of a user namespace.
    let other = [&[1, 0, 0, 3], &BIND.encode()[4..], &[1, 0, 0, 0]].concat();
    set_attribute("etc/given.py", NAME, &other);
    let refused = commit(&plan(&[mode("etc/given.py", 0o700)]));
    refused.is_refused("it has file capabilities (security.capability) that no plan can name");
}

#[test]
fn undo_of_a_mode_gives_no_capabilities_that_were_set_since() {
    for is_read in [true, false] {
        let _scene = Scene::new(MEMORY);
        prepare();
        let edits = [mode("etc/given.py", 0o700)];
        let input = match is_read {
            true => plan(&edits),
            false => unread(&edits),
        };
        commit(&input).is_done();
        give("etc/given.py", RAW);
        let old = tree();
        let why = match is_read {
            true => "etc/given.py': its capabilities have changed",
            false => "etc/given.py': it has file capabilities, which it had not at the commit",
        };
        undo(&id_of(&input)).is_refused(why);
        assert_eq!(tree(), old);
        take("etc/given.py");
        undo(&id_of(&input)).is_done();
    }
}
