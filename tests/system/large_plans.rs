//! Plans of copies as large as those of a database server with its libraries: nothing is cut, and the daemon's memory stays.

use std::fs;
use std::process::Command;

use remit_tests::daemon::{admin, user_a};

use super::copies::lay;
use super::plans::PlanFixture;

const MIB: u64 = 1 << 20;
/// What a request of 6,000 paths may take of remitd, and what reading contents may take of the broker.
const MOST: u64 = 64 * MIB;
const LARGE: [&str; 3] = ["random", "text", "holes"];
const SMALL: usize = 6_000;
const OLD: usize = 1_500;

fn memory(pid: i32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.split_whitespace().next());
    kib.unwrap().parse::<u64>().unwrap() << 10
}

/// Resets the peak of a process. Returns what it has now.
fn resident(pid: i32) -> u64 {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
    memory(pid, "VmRSS:")
}

/// Returns one hash of the bytes of all files.
fn hash(fixture: &PlanFixture) -> String {
    let script = "find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum";
    let mut shell = Command::new("sh");
    let out = shell
        .args(["-c", script])
        .current_dir(&fixture.dir)
        .output();
    String::from_utf8(out.unwrap().stdout).unwrap()
}

/// Three files of 100 MiB, 6,000 small ones, 1,500 others removed or replaced.
fn script(fixture: &PlanFixture) -> String {
    format!(
        "set -e; cd {}; head -c 100M /dev/urandom >random; yes line | head -c 100M >text; truncate -s 100M holes; \
         d=0; while [ $d -lt 60 ]; do mkdir -p new/$d; n=0; while [ $n -lt 100 ]; do \
         echo $d $n >new/$d/$n; n=$((n + 1)); done; d=$((d + 1)); done; \
         rm -r old/removed; for file in old/*; do echo new >>$file; done; \
         find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum",
        fixture.dir.display()
    )
}

fn with_old_files(fixture: &PlanFixture) {
    let removed = fixture.dir.join("old/removed");
    fs::create_dir_all(&removed).unwrap();
    for number in 0..OLD {
        let dir = if number % 3 == 0 {
            "old/removed"
        } else {
            "old"
        };
        fixture.file(&format!("{dir}/{number}"), vec![b'o'; 3_000]);
    }
}

#[test]
fn plan_of_300_mib_and_thousands_of_files_is_committed_and_undone() {
    let fixture = lay();
    with_old_files(&fixture);
    let before = hash(&fixture);
    let ran = fixture.on_copy(&user_a(), &script(&fixture));
    assert!(ran.out.status.success(), "{}", ran.answer);
    let expect = ran.answer["stdout"].as_str().unwrap_or_default().to_owned();
    let (warden, broker) = (fixture.daemon.pid(), fixture.daemon.broker().unwrap());
    let begin = [warden, broker].map(resident);
    let extracted = fixture.extract(&user_a(), ran.job);
    assert!(extracted.out.status.success(), "{}", extracted.answer);
    let plan = extracted.job.to_string();
    // What it prints is a list of paths, and what people read.
    let printed = extracted.answer["stdout_bytes"].as_u64();
    assert!(printed.is_none_or(|bytes| bytes < 3 * MIB), "{printed:?}");
    let shown = fixture.daemon.remit(&user_a(), &["plan", "show", &plan]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    let total = LARGE.len() + SMALL + 61 + OLD + 1;
    let count = format!("of {total} paths");
    let kinds = "6003 new files, 61 new directories, 1000 other contents, 501 removed";
    for part in [count.as_str(), kinds, "more paths"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(shown.lines().count() < 4_000, "{}", shown.lines().count());
    let request = fixture.asks(&["change", "--plan", &plan, "-m", "a test", "--no-wait"]);
    let page = fixture
        .daemon
        .remit(&admin(), &["show", &request.to_string()]);
    let page = String::from_utf8(page.stdout).unwrap();
    // Its lines have one width, so words are cut.
    let joined = |text: &str| text.replace(|c: char| c == '+' || c.is_whitespace(), "");
    assert!(joined(&page).contains(&joined(kinds)), "{page}");
    assert!(page.len() < 200_000, "{}", page.len());
    assert!(fixture.approve(request).status.success());
    let words = ["job", "--wait", &request.to_string()];
    let ended = fixture.daemon.remit(&user_a(), &words);
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(hash(&fixture), expect);
    assert!(fixture.read("holes").iter().all(|byte| *byte == 0));
    let said = fixture.asks_for(&user_a(), &["plan", "show", &plan]);
    let commit = said.answer["commit_id"].as_str().unwrap_or_default();
    let request = fixture.asks(&["undo", commit, "-m", "a test", "--no-wait"]);
    assert!(fixture.approve(request).status.success());
    let words = ["job", "--wait", &request.to_string()];
    let ended = fixture.daemon.remit(&user_a(), &words);
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(hash(&fixture), before);
    for (pid, begin) in [warden, broker].into_iter().zip(begin) {
        let peak = memory(pid, "VmHWM:");
        assert!(peak < begin + MOST, "{pid}: {begin} became {peak}");
    }
    let uploads = || fs::read_dir(fixture.daemon.path().join("state/uploads")).unwrap();
    assert_eq!(uploads().count(), 1);
}

#[test]
fn plan_above_its_bounds_is_refused_with_bound_and_size() {
    let fixture = lay();
    let at = fixture.dir.display();
    let sparse = "for n in 1 2 3 4 5; do truncate -s 250M f$n; done";
    for (script, expect) in [
        (
            "truncate -s 257M one",
            "it has 269484032 bytes, holes included; a plan has files of at most 268435456 (256 MiB)",
        ),
        (
            sparse,
            "with it the new files have 1310720000 bytes, holes included; a plan has at most 1073741824 (1 GiB)",
        ),
    ] {
        let ran = fixture.on_copy(&user_a(), &format!("set -e; cd {at}; {script}"));
        assert!(ran.out.status.success(), "{}", ran.answer);
        let extracted = fixture.extract(&user_a(), ran.job);
        assert_eq!(extracted.answer["exit"], 1, "{}", extracted.answer);
        let stderr = extracted.answer["stderr"].as_str().unwrap_or_default();
        assert!(stderr.contains(expect), "{stderr}");
        assert_eq!(extracted.answer["stdout"], "", "{}", extracted.answer);
    }
    let uploads = fs::read_dir(fixture.daemon.path().join("state/uploads"));
    assert_eq!(uploads.unwrap().count(), 0);
}
