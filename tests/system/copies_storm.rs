//! The machine changes beneath copies: names, kinds, bytes and modes, while jobs change the same paths in their copies.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use remit_tests::daemon::user_a;

use super::copies::lay;

/// Copies that are made and extracted in the storm.
const COPIES: usize = 6;
const DIRECTORIES: usize = 6;
const FILES: usize = 12;

/// What the kernel says of itself if something is wrong with it.
const TROUBLE: [&str; 4] = ["BUG: ", "WARNING: ", "Oops: ", "general protection"];
/// Functions and files of the kernel that copies run in.
const OVERLAY: [&str; 2] = ["ovl_", "fs/overlayfs/"];

/// One round of changes by the machine's root. Each of them may fail: another has just renamed its path.
fn round(dir: &Path, number: usize) {
    let (at, next) = (number % DIRECTORIES, (number + 1) % DIRECTORIES);
    let path = |at: usize| dir.join(format!("d{at}"));
    let file = |at: usize, number: usize| path(at).join(format!("f{}", number % FILES));
    let _ = fs::rename(path(at), dir.join("away"));
    let _ = fs::rename(path(next), path(at));
    let _ = fs::rename(dir.join("away"), path(next));
    let _ = fs::write(file(at, number), format!("host {number}\n"));
    let _ = fs::rename(file(at, number), file(next, number + 1));
    let _ = fs::remove_file(file(next, number + 2));
    let _ = fs::write(file(next, number + 2), "new\n");
    let _ = fs::set_permissions(path(at), Permissions::from_mode([0o700, 0o755][number % 2]));
    let _ = fs::remove_file(file(at, number + 3));
    let _ = match number % 3 {
        0 => fs::create_dir(file(at, number + 3)),
        1 => symlink("../d0", file(at, number + 3)),
        _ => fs::write(file(at, number + 3), "file\n"),
    };
    let _ = fs::remove_dir(file(at, number + 4));
}

/// The same by the root of a copy. Nothing is moved or copied into a directory that the machine has just made there (`-T`):
/// trees within trees would double in each round, until the space of the copy is full.
const SCRIPT: &str = "for n in 1 2 3 4 5 6 7 8; do for d in 0 1 2 3 4 5; do
  mv -T d$d away; mv -T away d$d; mkdir d$d; echo copy >d$d/f$n; mv -T d$d/f$n d$d/g; rm -rf d$d/f1; cat d$d/*; ls -R d$d; chmod 711 d$d
  ln -sfn f2 d$d/link; cp -aT d$d copied; rm -rf copied away; done; done >/dev/null 2>&1; echo own >own";

/// Ends the storm, also if a copy fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn storm_beneath_copies_ends_in_plans_and_refusals() {
    let fixture = lay();
    let dir = fixture.dir.clone();
    for at in 0..DIRECTORIES {
        fs::create_dir(dir.join(format!("d{at}"))).unwrap();
        for number in 0..FILES {
            fixture.file(&format!("d{at}/f{number}"), "old\n");
        }
    }
    let kernel = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/kmsg");
    let mut kernel = kernel
        .and_then(|mut log| log.seek(SeekFrom::End(0)).map(|_| log))
        .ok();
    let (is_over, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
    let ends = thread::scope(|scope| {
        let _over = Over(&is_over);
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                round(&dir, rounds.fetch_add(1, Ordering::Relaxed));
            }
        });
        let ends = (0..COPIES).map(|_| {
            let before = rounds.load(Ordering::Relaxed);
            let ran = fixture.on_copy(
                &user_a(),
                &format!("cd {} && {{ {SCRIPT}; }}", dir.display()),
            );
            assert!(ran.out.status.success(), "{}", ran.answer);
            let extracted = fixture.extract(&user_a(), ran.job);
            let during = rounds.load(Ordering::Relaxed) - before;
            assert!(during > 0, "there was no storm");
            extracted.answer
        });
        let ends: Vec<_> = ends.collect();
        is_over.store(true, Ordering::Relaxed);
        ends
    });
    for end in &ends {
        let said = end["stderr"].as_str().unwrap_or_default();
        let is_plan = end["exit"] == 0;
        let is_refused =
            end["exit"] == 1 && said.contains("remit-extract: cannot plan a change of '");
        assert!(is_plan || is_refused, "{end}");
    }
    let is_refused = |end: &&serde_json::Value| end["exit"] == 1;
    assert!(
        ends.iter().any(|end| is_refused(&end)),
        "nothing of it was seen: {ends:?}"
    );
    if let Some(log) = &mut kernel {
        let mut said = Vec::new();
        let mut record = [0; 8192];
        loop {
            match log.read(&mut record) {
                Ok(length) if length > 0 => said.extend_from_slice(&record[..length]),
                // Overwritten meanwhile.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
                _ => break,
            }
        }
        let said = String::from_utf8_lossy(&said);
        let trouble = said
            .lines()
            .find(|line| TROUBLE.iter().any(|word| line.contains(word)));
        // A trace names them. Without one it is the trouble of another test, or the machine's.
        let is_of_copies = OVERLAY.iter().any(|name| said.contains(name));
        assert!(trouble.is_none() || !is_of_copies, "{said}");
    }
    // The calm after it: what a job changes then is planned, and what the machine has changed since is not overwritten.
    let (mine, other) = (
        fixture.file("mine", "old\n"),
        fixture.file("other", "old\n"),
    );
    let ran = fixture.on_copy(&user_a(), &format!("echo new >{mine}; echo new >{other}"));
    let extracted = fixture.extract(&user_a(), ran.job);
    assert!(extracted.out.status.success(), "{}", extracted.answer);
    let plan = extracted.job.to_string();
    let request = fixture.asks(&["change", "--plan", &plan, "-m", "a test", "--no-wait"]);
    fs::write(&other, "the machine's\n").unwrap();
    let _ = fixture.approve(request);
    let words = ["job", "--wait", &request.to_string()];
    let ended = fixture.daemon.remit(&user_a(), &words);
    assert!(!ended.status.success(), "{ended:?}");
    assert_eq!(fixture.read("other"), b"the machine's\n");
    assert_eq!(fixture.read("mine"), b"old\n");
}
