//! Bundles that a client makes itself, with a base that it has not read, and changes of a user who owns a directory of
//! the plan.

use std::fs;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};

use nix::sys::resource::{Resource, getrlimit};
use remit_edit::{Action, Edit};
use remit_plan::{Bundle, Change, Plan, sha256};

use crate::scene::*;

const MEMORY: Disk = Disk::Memory("size=64m,mode=755");

/// Makes a bundle whose old bytes, and their hashes, are those that the client says.
fn forged(edits: &[Edit], shown: impl Fn(&str) -> Vec<u8>) -> Vec<u8> {
    let (mut entries, mut new_bytes, mut old_bytes) = (Vec::new(), Vec::new(), Vec::new());
    let honest = Bundle::decode(plan(edits)).unwrap();
    for view in honest.views() {
        let mut entry = view.entry.clone();
        let path = entry.path.to_string();
        match &mut entry.change {
            Change::Replace { base, .. }
            | Change::Remove { base }
            | Change::SetMetadata { base, .. }
                if base.sha256.is_some() =>
            {
                let old = shown(&path);
                base.sha256 = Some(sha256(&old));
                if view.old.is_some() {
                    old_bytes.extend(old);
                }
            }
            _ => {}
        }
        new_bytes.extend(view.new.unwrap_or_default());
        entries.push(entry);
    }
    let plan = Plan::new(entries).unwrap();
    Bundle::new(&plan, &new_bytes, &old_bytes)
        .unwrap()
        .as_bytes()
        .to_vec()
}

fn strace(expressions: &[&str]) -> Vec<String> {
    let mut words = vec!["strace", "-qq", "-o", "/dev/null"];
    words.extend(expressions.iter().flat_map(|one| ["-e", one]));
    words.into_iter().map(str::to_owned).collect()
}

fn ctime(relative: &str) -> (i64, i64) {
    let seen = fs::symlink_metadata(at(relative)).unwrap();
    (seen.ctime(), seen.ctime_nsec())
}

/// The diff that an approver saw was of other old bytes. The new file is in force until this is found out.
#[test]
fn base_with_another_hash_is_refused_before_the_first_step() {
    let _scene = Scene::new(MEMORY);
    put("etc/shadow", b"root:!:\nboss:$6$real:\n", 0o640, 0);
    let before = ctime("etc/shadow");
    let input = forged(&[write("etc/shadow", "root:!:\nboss:$6$evil:\n")], |_| {
        b"root:!:\nboss:$6$evil:x".to_vec()
    });
    commit(&input).is_refused("bytes have changed");
    assert_eq!(read("etc/shadow"), b"root:!:\nboss:$6$real:\n");
    assert_eq!(ctime("etc/shadow"), before, "it was replaced for a moment");
}

/// Whoever cannot read a file has no hash of it. Its mode is changed all the same.
#[test]
fn mode_of_a_file_that_the_planner_has_not_read_is_refused() {
    let _scene = Scene::new(MEMORY);
    put("etc/key.pem", b"secret\n", 0o600, 0);
    let input = forged(&[mode("etc/key.pem", 0o644)], |_| b"not known".to_vec());
    let result = commit(&input);
    let now = fs::metadata(at("etc/key.pem"))
        .unwrap()
        .permissions()
        .mode()
        & 0o7777;
    assert_eq!((result.code, now), (Some(1), 0o600), "{}", result.text);
}

/// A file without blocks has any size, and a hash takes as long as that.
#[test]
fn base_that_takes_long_to_compare_is_refused() {
    let _scene = Scene::new(MEMORY);
    put("etc/file", b"x", 0o600, 0);
    let small = Bundle::decode(plan(&[mode("etc/file", 0o644)])).unwrap();
    let mut entry = small.views().next().unwrap().entry.clone();
    let file = fs::File::options()
        .write(true)
        .open(at("etc/file"))
        .unwrap();
    file.set_len((1 << 30) + 1).unwrap();
    let seen = file.metadata().unwrap();
    if let Change::SetMetadata { base, .. } = &mut entry.change {
        base.stat.size = seen.size();
        base.stat.ctime_ns =
            i128::from(seen.ctime()) * 1_000_000_000 + i128::from(seen.ctime_nsec());
    }
    let input = Bundle::new(&Plan::new(vec![entry]).unwrap(), b"", b"").unwrap();
    drop(file);
    commit(input.as_bytes()).is_refused("at most 1073741824 bytes");
}

/// Only an empty directory can be removed. A full one leaves its path first, with all that is in it.
#[test]
fn full_directory_does_not_leave_its_path_for_a_moment() {
    let _scene = Scene::new(MEMORY);
    put("etc/data/file", b"x\n", 0o644, 0);
    let input = plan(&[edit("etc/data", Action::Remove)]);
    let before = ctime("etc/data");
    commit(&input).is_refused("not empty");
    assert_eq!(read("etc/data/file"), b"x\n");
    assert_eq!(ctime("etc/data"), before, "it was moved for a moment");
}

/// A user whom the plan gives a directory puts a file in it while the commit runs. The recovery then never ends well,
/// and the daemon refuses the commits of everybody until it does.
#[test]
fn user_cannot_make_every_recovery_fail() {
    let _scene = Scene::new(MEMORY);
    put("etc/app/zz", b"x\n", 0o644, 0);
    let mut edits = vec![
        Edit {
            uid: Some(64_001),
            gid: Some(64_001),
            mode: Some(0o755),
            ..edit("etc/app/own", Action::CreateDirectory)
        },
        write("etc/app/zz", "y\n"),
    ];
    edits.extend((0..20).map(|number| write(&format!("etc/app/{number}"), "x")));
    let input = plan(&edits);
    let wrapper = strace(&["trace=renameat2", "inject=renameat2:delay_enter=20ms"]);
    let mut child = start(&wrapper, &["commit", &state()], Some(&input));
    while fs::write(at("etc/app/own/mine"), b"x").is_err() {
        is_running(&mut child);
    }
    // The commit goes back for a writer.
    let mut options = fs::OpenOptions::new();
    options.write(true).custom_flags(libc::O_NONBLOCK);
    let opened = held(&child, || options.open(at("etc/app/zz")));
    assert!(opened.is_err(), "it has no lease");
    let first = end(child);
    let (second, third) = (recover(), recover());
    let texts = [&first.text, &second.text, &third.text];
    assert_eq!(
        (second.code, third.code),
        (Some(0), Some(0)),
        "{:?} {texts:#?}",
        first.code
    );
}

/// The same without a race: a commit was killed, and then somebody removed the directory that it was about.
#[test]
fn recovery_ends_if_the_directory_of_a_killed_commit_is_gone() {
    let _scene = Scene::new(MEMORY);
    fs::create_dir(at("etc/app")).unwrap();
    let wrapper = strace(&["trace=renameat2", "inject=renameat2:signal=KILL:when=3"]);
    let input = plan(&[write("etc/app/a", "x"), write("etc/app/b", "x")]);
    let killed = end(start(&wrapper, &["commit", &state()], Some(&input)));
    assert_ne!(killed.code, Some(0), "{}", killed.text);
    fs::remove_dir_all(at("etc/app")).unwrap();
    let results = [recover(), recover()];
    let codes = results.each_ref().map(|result| result.code);
    assert_eq!(codes, [Some(0); 2], "{}", results[1].text);
    put("etc/other", b"x\n", 0o644, 0);
    commit(&plan(&[write("etc/other", "y")])).is_done();
}

/// The owner of a directory moves the private directory away: the new file stays, and the recovery must say so.
#[test]
fn old_file_that_is_moved_away_is_said_by_the_recovery() {
    let _scene = Scene::new(MEMORY);
    for name in ["etc/app/a", "etc/app/b"] {
        put(name, b"old", 0o644, 0);
    }
    let wrapper = strace(&["trace=renameat2", "inject=renameat2:signal=KILL:when=3"]);
    let input = plan(&[write("etc/app/a", "new"), write("etc/app/b", "new")]);
    let killed = end(start(&wrapper, &["commit", &state()], Some(&input)));
    assert_ne!(killed.code, Some(0), "{}", killed.text);
    let private = format!("etc/app/.remit-{}", id_of(&input));
    fs::rename(at(&private), at("etc/app/moved")).unwrap();
    let recovered = recover();
    recovered.is_done();
    let is_new = ["etc/app/a", "etc/app/b"].map(|name| read(name) == b"new");
    assert_ne!(is_new, [false; 2]);
    assert!(
        recovered.text.contains("its old file is gone"),
        "{}",
        recovered.text
    );
    assert_eq!(recover().text, "nothing to recover\n");
}

/// The id is known before the commit, so the owner of a directory can make the private directory first.
#[test]
fn private_directory_of_somebody_else_is_refused() {
    let _scene = Scene::new(MEMORY);
    put("etc/app/file", b"old\n", 0o644, 64_001);
    chown(at("etc/app"), Some(64_001), Some(64_001)).unwrap();
    let input = plan(&[write("etc/app/file", "new\n")]);
    let private = at("etc/app").join(format!(".remit-{}", id_of(&input)));
    fs::create_dir(&private).unwrap();
    fs::set_permissions(&private, fs::Permissions::from_mode(0o777)).unwrap();
    chown(&private, Some(64_001), Some(64_001)).unwrap();
    let result = commit(&input);
    assert_eq!(result.code, Some(1), "{}", result.text);
}

/// What somebody put into the private directory is kept with the commit, and then it cannot be forgotten.
#[test]
fn planted_slot_does_not_block_the_recovery() {
    let _scene = Scene::new(MEMORY);
    put("etc/app/file", b"old\n", 0o644, 64_001);
    chown(at("etc/app"), Some(64_001), Some(64_001)).unwrap();
    let input = plan(&[mode("etc/app/file", 0o600)]);
    let planted = at("etc/app").join(format!(".remit-{}/0", id_of(&input)));
    fs::create_dir_all(&planted).unwrap();
    fs::write(planted.join("x"), b"x").unwrap();
    let first = commit(&input);
    let undone = undo(&id_of(&input));
    let results = [recover(), recover()];
    let codes = results.each_ref().map(|result| result.code);
    assert_eq!(
        codes,
        [Some(0); 2],
        "{} {} {}",
        first.text,
        undone.text,
        results[1].text
    );
}

/// A disk that is full for a moment while the journal is made: the same plan is then refused with words that are not true.
#[test]
fn plan_can_be_committed_after_its_journal_could_not_be_made() {
    let _scene = Scene::new(MEMORY);
    put("etc/file", b"old\n", 0o644, 0);
    let wrapper = strace(&["trace=write", "inject=write:error=ENOSPC:when=1"]);
    let input = plan(&[write("etc/file", "new\n")]);
    let full = end(start(&wrapper, &["commit", &state()], Some(&input)));
    assert_ne!(full.code, Some(0), "{}", full.text);
    commit(&input).is_done();
}

/// An undo takes more descriptors than its commit, so a commit is refused if its undo would not have enough.
#[test]
fn commit_within_the_limit_of_descriptors_can_be_undone() {
    let _scene = Scene::new(MEMORY);
    let limited = |words: &[&str], input: Option<&[u8]>| {
        let wrapper = ["prlimit", "--nofile=1024:1024"].map(str::to_owned);
        end(start(&wrapper, words, input))
    };
    let planned = |count: usize| {
        let mut edits = Vec::new();
        for number in 0..count {
            edits.push(edit(&format!("etc/{number}"), Action::CreateDirectory));
            edits.push(write(&format!("etc/{number}/a"), "x"));
        }
        plan(&edits)
    };
    let (many, old) = (planned(400), tree());
    let refused = limited(&["commit", &state()], Some(&many));
    refused.is_refused("split the plan, about ");
    assert_eq!(tree(), old);
    let (_, fits) = refused.text.split_once("about ").unwrap();
    let fits: usize = fits.split(' ').next().unwrap().parse().unwrap();
    assert!(fits > 600, "{fits}");
    let input = planned(fits / 2);
    limited(&["commit", &state()], Some(&input)).is_done();
    limited(&["undo", &state(), &id_of(&input)], None).is_done();
    assert_eq!(tree(), old);
}

/// A plan of as many files as a bundle holds is made, shown and approved; then it must be possible.
#[test]
fn plan_of_a_thousand_files_is_committed_as_a_job() {
    let _scene = Scene::new(MEMORY);
    let profile = include_str!("../../../../packaging/policy.d/60-plans.toml");
    let (_, most) = profile.split_once("open_files = ").unwrap();
    let most: u64 = most.split(' ').next().unwrap().parse().unwrap();
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let most = most.min(hard);
    let wrapper = ["prlimit".to_owned(), format!("--nofile={most}:{most}")];
    let edits: Vec<Edit> = (0..1_100)
        .map(|number| write(&format!("etc/{number}"), "x"))
        .collect();
    end(start(&wrapper, &["commit", &state()], Some(&plan(&edits)))).is_done();
}

/// Several large commits are forgotten on one day, with the journal on another file system.
#[test]
fn forgetting_many_commits_within_the_limit_of_descriptors_works() {
    let _scene = Scene::new(MEMORY);
    let none = None::<&str>;
    let (flags, kind) = (nix::mount::MsFlags::empty(), Some("tmpfs"));
    nix::mount::mount(Some("none"), &at("state"), kind, flags, none).unwrap();
    let wrapper = ["prlimit", "--nofile=1024:1024"].map(str::to_owned);
    for number in 0..150 {
        put(&format!("etc/{number}/a"), b"0", 0o644, 0);
    }
    for round in 1..4 {
        let edits = (0..150).map(|number| write(&format!("etc/{number}/a"), &round.to_string()));
        let input = plan(&edits.collect::<Vec<_>>());
        end(start(&wrapper, &["commit", &state()], Some(&input))).is_done();
        let journal = at("state").join(id_of(&input)).join("journal");
        run(std::process::Command::new("touch")
            .args(["-d", "40 days ago"])
            .arg(journal));
    }
    let wrapper = [clock(RIGHT), wrapper.to_vec()].concat();
    let results = [0; 2].map(|_| end(start(&wrapper, &["recover", &state(), "--forget"], None)));
    let codes = results.each_ref().map(|result| result.code);
    let private = tree()
        .into_keys()
        .filter(|path| path.to_string_lossy().contains(".remit-"))
        .count();
    assert_eq!(
        (codes, private),
        ([Some(0); 2], 0),
        "{:.300}",
        results[1].text
    );
}
