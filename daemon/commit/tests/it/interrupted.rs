//! Kills and failures of single system calls, at each step and at random: the tree is the old one or the new one.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::process::Command;
use std::time::Instant;

use remit_plan::{Journal, Phase};

use crate::capabilities::{self, RAW, with_capabilities};
use crate::partly::phase;
use crate::scene::*;

/// System calls that change something.
const CHANGES: &str = "mkdirat,unlinkat,renameat2,fchown,fchmod,fsetxattr,fremovexattr,write,pwrite64,fsync,fdatasync,syncfs";
const MEMORY: Disk = Disk::Memory("size=64m,mode=755");

fn strace(arguments: &[&str]) -> Vec<String> {
    let common = ["strace", "-qq", "-o"];
    common
        .iter()
        .chain(arguments)
        .map(|text| (*text).to_owned())
        .collect()
}

/// Runs it once, and returns each changing call with its number among those of its name.
pub fn calls(arguments: &[&str], input: Option<&[u8]>) -> Vec<(String, usize)> {
    let log = at("calls");
    let wrapper = strace(&[log.to_str().unwrap(), "-e", &format!("trace={CHANGES}")]);
    end(start(&wrapper, arguments, input)).is_done();
    let text = fs::read_to_string(&log).unwrap();
    fs::remove_file(&log).unwrap();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let calls = text
        .lines()
        .filter_map(|line| line.split_once('('))
        .map(|(name, _)| {
            let count = counts.entry(name.to_owned()).or_default();
            *count += 1;
            (name.to_owned(), *count)
        });
    calls.collect()
}

pub fn injected(call: &(String, usize), what: &str) -> Vec<String> {
    let (name, number) = call;
    strace(&[
        "/dev/null",
        "-e",
        &format!("trace={name}"),
        "-e",
        &format!("inject={name}:{what}:when={number}"),
    ])
}

fn is_old_or_new(old: &Tree, new: &Tree, what: &str) -> bool {
    let now = tree();
    let is_old = &now == old;
    assert!(
        is_old || content(&now) == content(new),
        "{what}: {:#?}",
        difference(&now, old, new)
    );
    is_old
}

fn difference(now: &Tree, old: &Tree, new: &Tree) -> Vec<String> {
    let paths = now.keys().chain(old.keys());
    let odd = paths.filter(|path| {
        now.get(*path) != old.get(*path)
            && now.get(*path).map(|one| &one.bytes) != new.get(*path).map(|one| &one.bytes)
    });
    odd.map(|path| path.display().to_string()).collect()
}

/// A file of another owner than root, with other capabilities before, and a new file.
const CAPABLE: [&str; 2] = ["etc/changed/2", "etc/made/deep/2"];

/// Makes a bundle of a few edits of every kind, with capabilities for two of them. Each of their calls is interrupted, and each
/// time all of them are made.
fn changes() -> Vec<u8> {
    with_capabilities(&plan(&of_every_kind(3, 2, 2, 3)), &CAPABLE)
}

/// Returns the tree after a commit of them, and the calls that it made.
fn whole_commit() -> (Tree, Vec<(String, usize)>) {
    let input = changes();
    let made = calls(&["commit", &state()], Some(&input));
    let new = tree();
    for name in CAPABLE {
        let own = new[&at(name)].attributes.get(capabilities::NAME.as_bytes());
        assert_eq!(own, Some(&RAW.encode()), "{name}");
    }
    (new, made)
}

#[test]
fn kill_at_each_step_of_a_commit_leaves_the_old_or_the_new_tree() {
    let _scene = Scene::new(MEMORY);
    let (new, calls) = whole_commit();
    assert!(calls.len() > 100, "{}", calls.len());
    let (mut olds, mut news) = (0, 0);
    for call in &calls {
        let input = changes();
        let old = tree();
        let killed = end(start(
            &injected(call, "signal=SIGKILL"),
            &["commit", &state()],
            Some(&input),
        ));
        assert_ne!(killed.code, Some(0), "{call:?}");
        recover().is_done();
        let what = format!("{call:?}");
        match is_old_or_new(&old, &new, &what) {
            true => {
                olds += 1;
                assert!(kept().is_empty(), "{what}: {:?}", kept());
            }
            false => {
                news += 1;
                undo(&kept()[0]).is_done();
                assert_eq!(tree(), old, "{what}");
            }
        }
        recover().is_done();
    }
    println!("{} steps: {olds} rolled back, {news} finished", calls.len());
    assert!(olds > 50 && news > 20, "{olds} {news}");
}

/// Commits, and returns the tree before and the id.
fn committed() -> (Tree, String) {
    let input = changes();
    let (old, id) = (tree(), id_of(&input));
    commit(&input).is_done();
    (old, id)
}

#[test]
fn kill_at_each_step_of_an_undo_leaves_the_old_or_the_new_tree() {
    let _scene = Scene::new(MEMORY);
    let (_, first) = committed();
    let calls = calls(&["undo", &state(), &first], None);
    assert!(calls.len() > 40, "{}", calls.len());
    for call in &calls {
        let (old, id) = committed();
        let new = tree();
        let killed = end(start(
            &injected(call, "signal=SIGKILL"),
            &["undo", &state(), &id],
            None,
        ));
        assert_ne!(killed.code, Some(0), "{call:?}");
        recover().is_done();
        let what = format!("{call:?}");
        if !is_old_or_new(&old, &new, &what) {
            assert_eq!(tree(), new, "{what}");
            undo(&id).is_done();
            assert_eq!(tree(), old, "{what}");
        }
        assert!(kept().is_empty(), "{what}: {:?}", kept());
    }
}

#[test]
fn kill_at_each_step_of_a_recovery_leaves_the_old_tree_to_the_next() {
    let _scene = Scene::new(MEMORY);
    let prepare = || {
        let input = changes();
        let old = tree();
        // At the third of four removals, after all other steps.
        let call = ("renameat2".to_owned(), 18);
        let killed = end(start(
            &injected(&call, "signal=SIGKILL"),
            &["commit", &state()],
            Some(&input),
        ));
        assert_ne!(killed.code, Some(0));
        assert_ne!(tree(), old);
        old
    };
    prepare();
    let calls = calls(&["recover", &state()], None);
    assert!(calls.len() > 60, "{}", calls.len());
    for call in &calls {
        let old = prepare();
        let killed = end(start(
            &injected(call, "signal=SIGKILL"),
            &["recover", &state()],
            None,
        ));
        assert_ne!(killed.code, Some(0), "{call:?}");
        recover().is_done();
        assert!(tree() == old, "{call:?}");
        assert!(kept().is_empty(), "{call:?}: {:?}", kept());
    }
}

#[test]
fn failure_of_each_call_leaves_the_old_or_the_new_tree() {
    let _scene = Scene::new(MEMORY);
    let (new, calls) = whole_commit();
    let mut pending = 0;
    for (number, call) in calls.iter().enumerate() {
        let input = changes();
        let old = tree();
        let error = ["error=EIO", "error=ENOSPC"][number % 2];
        let failed = end(start(
            &injected(call, error),
            &["commit", &state()],
            Some(&input),
        ));
        let what = format!("{call:?} {error}: {:?} {}", failed.code, failed.text);
        match failed.code {
            // The way back was stopped, or the end was; the next start goes on.
            Some(3) => recover().is_done(),
            Some(1) => assert_eq!(tree(), old, "{what}"),
            // remitd starts no recovery after that.
            Some(0) => assert_eq!(phase(&id_of(&input)), Phase::Kept, "{what}"),
            Some(5) => pending += 1,
            // Its own words could not be printed.
            Some(101) | None => {}
            other => panic!("{other:?} {what}"),
        }
        recover().is_done();
        let is_old = is_old_or_new(&old, &new, &what);
        assert!(!is_old || !matches!(failed.code, Some(0 | 5)), "{what}");
    }
    assert!(pending > 0);
}

fn undo_words<'a>(directory: &'a str, id: &'a str, word: Option<&'a str>) -> Vec<&'a str> {
    ["undo", directory, id].into_iter().chain(word).collect()
}

/// After an end by itself no recovery is due, so the next undo has to work.
#[test]
fn failure_of_each_call_of_an_undo_leaves_it_to_the_next() {
    let _scene = Scene::new(MEMORY);
    for word in [None, Some("--partly")] {
        let (_, first) = committed();
        let directory = state();
        let mut codes = BTreeMap::new();
        for call in &calls(&undo_words(&directory, &first, word), None) {
            let (old, id) = committed();
            let words = undo_words(&directory, &id, word);
            let failed = end(start(&injected(call, "error=EIO"), &words, None));
            let what = format!("{word:?} {call:?}: {:?} {}", failed.code, failed.text);
            *codes.entry(failed.code).or_insert(0) += 1;
            match failed.code {
                Some(0) => {
                    assert!(!failed.text.contains("a recovery"), "{what}");
                    assert_eq!(tree(), old, "{what}");
                    // A journal that nothing needs any more could not be removed.
                    recover().is_done();
                    assert!(kept().is_empty(), "{what}");
                }
                Some(1) => assert_eq!(phase(&id), Phase::Kept, "{what}"),
                // The last: its own words could not be printed.
                Some(3..=5 | 101) | None => recover().is_done(),
                other => panic!("{other:?} {what}"),
            }
            if !kept().is_empty() {
                undo(&id).is_done();
            }
            assert_eq!(tree(), old, "{what}");
            assert!(kept().is_empty(), "{what}: {:?}", kept());
        }
        println!("{word:?}: {codes:?}");
    }
}

#[test]
fn undo_before_the_recovery_says_that_one_is_needed() {
    let _scene = Scene::new(MEMORY);
    put("etc/a", b"old", 0o644, 0);
    let id = done(&[write("etc/a", "new")]);
    let journal = at(&format!("state/{id}/journal"));
    for one in [Phase::Done, Phase::Undoing] {
        let journal = fs::File::options().write(true).open(&journal).unwrap();
        journal.write_all_at(&[one as u8], Journal::PHASE).unwrap();
        for undone in [undo(&id), undo_partly(&id), undo_with_contents(&id)] {
            assert_eq!(undone.code, Some(5), "{}", undone.text);
            assert!(undone.text.contains("a recovery has to finish it"));
        }
        assert_eq!(read("etc/a"), b"new");
        recover().is_done();
        assert_eq!(phase(&id), Phase::Kept);
    }
    undo(&id).is_done();
    assert_eq!(read("etc/a"), b"old");
}

/// No recovery repairs it, and until one works no commit starts.
#[test]
fn recovery_says_which_damaged_journal_to_move_away() {
    let _scene = Scene::new(MEMORY);
    put("etc/a", b"old", 0o644, 0);
    let id = done(&[write("etc/a", "new")]);
    let directory = at(&format!("state/{id}"));
    let way_out = format!("then move 'commits/{id}', with the old files in it, out of 'commits'");
    let journal = directory.join("journal");
    for is_lost in [false, true] {
        match is_lost {
            false => fs::write(&journal, "damaged").unwrap(),
            true => fs::remove_file(&journal).unwrap(),
        }
        let failed = recover();
        assert_eq!(failed.code, Some(3), "{}", failed.text);
        assert!(failed.text.contains(&way_out), "{}", failed.text);
    }
    fs::rename(&directory, at("moved")).unwrap();
    assert_eq!(recover().text, "nothing to recover\n");
}

/// The commit was on the disk whole, and is not taken back for what somebody has done since.
#[test]
fn mode_that_somebody_set_after_all_steps_is_no_lost_write() {
    let _scene = Scene::new(MEMORY);
    for (mode_now, phase_now, bytes) in [(0o600, Some(Phase::Kept), "new"), (0o644, None, "old")] {
        put("etc/a", b"old", 0o644, 0);
        put("etc/b", b"old", 0o644, 0);
        let id = done(&[write("etc/a", "new"), mode("etc/b", 0o640)]);
        let journal = at(&format!("state/{id}/journal"));
        let file = fs::File::options().write(true).open(&journal).unwrap();
        file.write_all_at(&[Phase::Done as u8], Journal::PHASE)
            .unwrap();
        fs::set_permissions(at("etc/b"), fs::Permissions::from_mode(mode_now)).unwrap();
        recover().is_done();
        assert_eq!(read("etc/a"), bytes.as_bytes());
        let mode = fs::metadata(at("etc/b")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, mode_now);
        assert_eq!(journal.exists().then(|| phase(&id)), phase_now);
        if phase_now.is_some() {
            undo_partly(&id).is_done();
        }
    }
}

#[test]
fn kills_at_random_moments_leave_the_old_or_the_new_tree() {
    const KILLS: u32 = 60;
    let _scene = Scene::new(Disk::Ext4);
    let mut times = [(); 3].map(|()| {
        let input = changes();
        let started = Instant::now();
        commit(&input).is_done();
        started.elapsed()
    });
    times.sort();
    let (whole, new) = (times[1], tree());
    let (mut random, mut olds) = (88_172_645_463_325_252_u64, 0);
    for _ in 0..KILLS {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let input = changes();
        let old = tree();
        let mut child = start(&[], &["commit", &state()], Some(&input));
        let share = u32::try_from(random % 1024).unwrap();
        // Also after the end, if this commit is as quick as those before.
        std::thread::sleep(whole * share / 768);
        let _ = child.kill();
        drop(end(child));
        recover().is_done();
        olds += u32::from(is_old_or_new(&old, &new, "random"));
    }
    println!("{KILLS} kills: {olds} rolled back");
    assert!((1..KILLS).contains(&olds), "{olds}");
}

/// A power cut: the copy of the disk has what was written to it. Nothing writes while a call is delayed.
#[test]
fn disk_as_it_is_before_a_call_recovers() {
    let scene = Scene::new(Disk::SmallExt4);
    let (new, calls) = whole_commit();
    let image = scene.image.clone().unwrap();
    let copy = image.with_extension("copy");
    let points: Vec<_> = calls
        .iter()
        .enumerate()
        .filter(|(_, (name, _))| {
            ["renameat2", "syncfs", "pwrite64", "fsync"].contains(&name.as_str())
        })
        .collect();
    let mut olds = 0;
    let mut left: Vec<_> = points.iter().step_by(points.len() / 20).collect();
    while let Some(point) = left.pop() {
        let (before, call) = point;
        let input = changes();
        let old = tree();
        run(Command::new("sync").arg("-f").arg(at("etc")));
        let (name, number) = call;
        // The log is not on that disk.
        let log = image.with_extension("log");
        let inject = format!("inject={name}:delay_enter=1500000:when={number}");
        let wrapper = strace(&[
            log.to_str().unwrap(),
            "-e",
            &format!("trace={CHANGES}"),
            "-e",
            &inject,
        ]);
        let mut child = start(&wrapper, &["commit", &state()], Some(&input));
        let made = || {
            let text = fs::read_to_string(&log).unwrap_or_default();
            text.matches('\n').count()
        };
        while made() < *before {
            is_running(&mut child);
        }
        let is_in_time = held(&child, || {
            fs::copy(&image, &copy).unwrap();
            made() == *before
        });
        let whole = end(child);
        fs::remove_file(&log).unwrap();
        whole.is_done();
        if !is_in_time {
            left.push(point);
            continue;
        }
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(&copy)
            .arg("/mnt"));
        recover().is_done();
        olds += u32::from(is_old_or_new(&old, &new, &format!("{call:?}")));
        nix::mount::umount("/mnt").unwrap();
    }
    fs::remove_file(&copy).unwrap();
    println!(
        "{} copies: {olds} old",
        points.len().div_ceil(points.len() / 20)
    );
    assert!(olds > 10, "{olds}");
}
