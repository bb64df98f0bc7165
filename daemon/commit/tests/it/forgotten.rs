//! Which undos a recovery forgets, and which it must not.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use remit_edit::Action;
use remit_plan::{Bundle, Change, Entry, Journal, Kind, Phase, Plan, PlanDirectories};

use crate::directories::set_phase;
use crate::partly::phase;
use crate::scene::*;

const MEMORY: Disk = Disk::Memory("size=64m,mode=755");

/// The same plan, in which what it removes or replaces claims a size of its own.
fn with_size(plan: &Plan, kind: Kind, size: u64) -> Plan {
    let entries = plan.entries().iter().map(|entry| {
        let mut change = entry.change;
        if let Change::Remove { base } | Change::Replace { base, .. } = &mut change
            && base.stat.kind == kind
        {
            base.stat.size = size;
        }
        let path = entry.path.clone();
        Entry { path, change }
    });
    Plan::new(entries.collect()).unwrap()
}

/// Makes the file of a commit as large as no test should make it.
fn enlarge(id: &str, size: u64) {
    let path = at(&format!("state/{id}/journal"));
    let old = Journal::decode(&fs::read(&path).unwrap()).unwrap();
    let plan = with_size(&old.plan, Kind::File, size);
    let (mut bytes, rows_at) = Journal::begin(&plan, &PlanDirectories::new());
    bytes.truncate(usize::try_from(rows_at).unwrap());
    bytes.extend(Journal::encode_rows(
        &plan,
        &old.inodes,
        &old.hashes,
        &old.directories,
    ));
    bytes[usize::try_from(Journal::PHASE).unwrap()] = Phase::Kept as u8;
    fs::write(&path, bytes).unwrap();
}

pub fn age(id: &str) {
    let journal = File::options()
        .write(true)
        .open(at(&format!("state/{id}/journal")))
        .unwrap();
    let month = Duration::from_secs(30 * 24 * 3600 + 60);
    journal.set_modified(SystemTime::now() - month).unwrap();
}

fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort();
    ids
}

/// The commit has no other bytes than these, and its undo was gone.
#[test]
fn claimed_size_of_a_directory_forgets_no_undo() {
    let _scene = Scene::new(MEMORY);
    put("etc/x.conf", b"old", 0o644, 0);
    fs::create_dir_all(at("etc/empty")).unwrap();
    let bundle = Bundle::decode(plan(&[
        write("etc/x.conf", "new"),
        edit("etc/empty", Action::Remove),
    ]))
    .unwrap();
    let plan = with_size(bundle.plan(), Kind::Directory, 1 << 40);
    let input = Bundle::new(&plan, b"new", b"old").unwrap();
    commit(input.as_bytes()).is_done();
    recover().is_done();
    assert_eq!(kept(), [plan.id()]);
    undo(&plan.id()).is_done();
    assert_eq!(read("etc/x.conf"), b"old");
}

/// A boot in the future would forget all of them, and the old files are gone for good.
#[test]
fn old_undo_outlives_a_clock_that_is_not_synchronised() {
    let _scene = Scene::new(MEMORY);
    let [old, large] = ["etc/old", "etc/large"].map(|name| {
        put(name, b"old", 0o644, 0);
        done(&[write(name, "new")])
    });
    age(&old);
    enlarge(&large, 3 << 30);
    recover_by(UNKNOWN, &[]).is_done();
    assert_eq!(kept(), std::slice::from_ref(&old));
    recover_by(RIGHT, &[]).is_done();
    assert!(kept().is_empty(), "{old}");
}

#[test]
fn undo_that_is_kept_is_forgotten_neither_by_size_nor_by_age() {
    let _scene = Scene::new(MEMORY);
    let names = ["etc/old", "etc/large", "etc/both", "etc/small"];
    let ids = names.map(|name| {
        put(name, b"old", 0o644, 0);
        done(&[write(name, "new")])
    });
    let [old, large, both, small] = ids.each_ref().map(String::as_str);
    age(old);
    enlarge(large, 3 << 30);
    enlarge(both, 3 << 30);
    age(both);
    let all = sorted(ids.to_vec());
    recover_with(&["--keep", old, "--keep", large, "--keep", both]).is_done();
    assert_eq!(sorted(kept()), all);
    recover_with(&["--keep", both, "--keep", small, "--keep", large]).is_done();
    assert_eq!(
        sorted(kept()),
        sorted([large, both, small].map(str::to_owned).to_vec())
    );
    // It is not there any more, and that is no error.
    recover_with(&["--keep", old, "--keep", both]).is_done();
    assert_eq!(
        sorted(kept()),
        sorted([both, small].map(str::to_owned).to_vec())
    );
    undo(both).is_done();
    assert_eq!(read("etc/both"), b"old");
    recover().is_done();
    assert_eq!(kept(), [small]);
}

/// Otherwise anybody could keep any number of journals, which each recovery reads.
#[test]
fn journal_and_number_of_undos_count() {
    let _scene = Scene::new(MEMORY);
    let [first, second] = ["etc/a", "etc/b"].map(|name| {
        put(name, b"old", 0o644, 0);
        done(&[write(name, "new")])
    });
    // The second one has 3 bytes.
    let most = (2 << 30) - 3 - 2 * (64 << 10);
    let journals = || {
        let journal = |id| fs::metadata(at(&format!("state/{id}/journal"))).unwrap();
        journal(&first).len() + journal(&second).len()
    };
    enlarge(&first, most);
    let fitting = most - journals();
    enlarge(&first, fitting);
    recover().is_done();
    assert_eq!(kept().len(), 2);
    enlarge(&first, fitting + 1);
    recover().is_done();
    assert_eq!(kept(), [second]);
}

#[test]
fn recovery_takes_nothing_but_ids_to_keep() {
    let _scene = Scene::new(MEMORY);
    put("etc/a", b"old", 0o644, 0);
    let id = done(&[write("etc/a", "new")]);
    age(&id);
    let upper = "A".repeat(32);
    let pairs = |count: usize| ["--keep", id.as_str()].repeat(count);
    for (arguments, words) in [
        (vec!["--keep"], "usage"),
        (vec![id.as_str()], "usage"),
        (vec!["--keep", &id, "--keep"], "usage"),
        (vec!["--then", &id], "usage"),
        (vec!["--keep", &id, "--then", "x"], "usage"),
        (vec!["--keep", "../../etc"], "32 hexadecimal digits"),
        (vec!["--keep", &upper], "32 hexadecimal digits"),
        (vec!["--keep", "--keep"], "32 hexadecimal digits"),
        (pairs(65), "at most 64"),
    ] {
        recover_with(&arguments).is_refused(words);
        assert_eq!(kept(), std::slice::from_ref(&id), "{arguments:?}");
    }
    recover_with(&pairs(64)).is_done();
    assert_eq!(kept(), [id]);
}

#[test]
fn recovery_that_is_not_asked_to_forgets_no_undo() {
    let _scene = Scene::new(MEMORY);
    put("etc/a", b"old", 0o644, 0);
    let id = done(&[write("etc/a", "new")]);
    age(&id);
    let directory = state();
    let run = |words: &[&str]| {
        let all = [&["recover", &directory], words].concat();
        end(start(&clock(RIGHT), &all, None))
    };
    run(&[]).is_done();
    run(&["--keep", &id]).is_refused("usage");
    run(&["--forgets"]).is_refused("usage");
    assert_eq!(kept(), [id]);
    run(&["--forget"]).is_done();
    assert!(kept().is_empty());
}

/// Those of a file system that is away stay for long, and are many at last.
#[test]
fn forgotten_commits_leave_the_descriptors_of_interrupted_ones() {
    let _scene = Scene::new(MEMORY);
    let wrapper = ["prlimit", "--nofile=1024:1024"].map(str::to_owned);
    // Two plans of four fit.
    let ids = ["a", "b", "c", "d"].map(|top| {
        let file = |number: u32| format!("etc/{top}/{number}/x");
        (0..150).for_each(|number| put(&file(number), b"old", 0o644, 0));
        let edits = (0..150).map(|number| write(&file(number), "new"));
        done(&edits.collect::<Vec<_>>())
    });
    let ids = sorted(ids.to_vec());
    let (interrupted, gone) = ids.split_last().unwrap();
    set_phase(interrupted, Phase::Undoing);
    gone.iter().for_each(|id| set_phase(id, Phase::Gone));
    let wrapper = [clock(RIGHT), wrapper.to_vec()].concat();
    for (left, is_late) in [(3, true), (1, false)] {
        let recovered = end(start(&wrapper, &["recover", &state(), "--forget"], None));
        recovered.is_done();
        assert_eq!(phase(interrupted), Phase::Kept);
        assert_eq!(kept().len(), left, "{:.300}", recovered.text);
        let is_named = recovered.text.contains("it goes with the next recovery");
        assert_eq!(is_named, is_late, "{left}: {:.300}", recovered.text);
    }
}
