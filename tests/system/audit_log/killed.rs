//! `kill -9` at random moments, repeatedly in the same state directory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use remit_tests::caller::{argv, change};
use remit_tests::daemon::{Daemon, Options, user_a, user_b};
use remit_tests::process::Identity;
use remit_tests::random::Random;
use remit_wire::Request;
use serde_json::Value;

use crate::audit_log::changed::{found, head, kill, log, verified};

const KILLS: usize = 20;

fn work(daemon: &Daemon, user: &Identity, name: &str, is_over: &AtomicBool, done: &AtomicUsize) {
    let Ok(mut client) = daemon.client(user) else {
        return;
    };
    for number in 0.. {
        // First a change: each round that waits for something to be done leaves a file.
        let run = if number % 3 == 2 {
            argv(&["true"])
        } else {
            let mark = daemon.path().join(format!("marks/{name}x{number}"));
            change("leave.mark", &[("name", &mark.to_string_lossy())])
        };
        if is_over.load(Ordering::Relaxed) || client.call(Request::Run(run), |_| {}).is_err() {
            return;
        }
        let _ = done.fetch_add(1, Ordering::Relaxed);
    }
}

fn allow_marks(daemon: &mut Daemon, marks: &Path) {
    fs::create_dir(marks).expect("the directory is writable");
    fs::set_permissions(marks, fs::Permissions::from_mode(0o777)).expect("it is ours");
    let policy = format!(
        "[profile.marks]\nbase = \"strict\"\nwrite = [\"{}\"]\nleads_to_root = true\n[[command]]\nname = \"leave.mark\"\n\
         summary = \"leaves a file\"\nargv = [\"/usr/bin/touch\", \"{{name}}\"]\neffect = \"change\"\n\
         profile = \"marks\"\n\
         args.name = {{ type = \"string\", pattern = \"/[a-z0-9/-]+\", summary = \"which\" }}\n\
         [[grant]]\nname = \"marks\"\nto = [\"#64001\", \"#64002\"]\nallow = [\"leave.mark\"]\n\
         approval = \"none\"\n",
        marks.display()
    );
    daemon.set_file("config/policy.d/20-marks.toml", &policy);
    daemon.restart_cleanly();
}

#[test]
fn random_kills_leave_whole_chain_and_recorded_jobs() {
    let mut random = Random::seeded_by("REMIT_TRAIL_SEED");
    let mut daemon = Daemon::start(Options {
        jobs: 6,
        ..Options::default()
    });
    let marks = daemon.path().join("marks");
    allow_marks(&mut daemon, &marks);
    let done = AtomicUsize::new(0);
    for round in 0..KILLS {
        let moment = Duration::from_micros(u64::from(random.below(60_000)));
        let is_over = AtomicBool::new(false);
        let before = done.load(Ordering::Relaxed);
        std::thread::scope(|scope| {
            let (daemon, done, is_over) = (&daemon, &done, &is_over);
            let mut index = 0;
            let workers = [user_a(), user_b(), user_a()].map(|user| {
                let name = format!("r{round}c{index}");
                index += 1;
                scope.spawn(move || work(daemon, &user, &name, is_over, done))
            });
            if round % 8 != 0 {
                while done.load(Ordering::Relaxed) == before {
                    if workers.iter().all(|worker| worker.is_finished()) {
                        println!("round {round}: nothing was done");
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            std::thread::sleep(moment);
            kill(daemon);
            is_over.store(true, Ordering::Relaxed);
        });
        let _ = daemon.restart_insistently();
    }
    daemon.is_well();
    let records = daemon.audit();
    let (reported, value) = verified(&[&log(&daemon)], Some(&head(&daemon)));
    assert_eq!(value["whole"], true, "{reported}: {value:#}");
    let jobs = check(&records);
    let left: BTreeSet<String> = fs::read_dir(&marks)
        .expect("it is there")
        .map(|entry| {
            entry
                .expect("it is there")
                .file_name()
                .into_string()
                .expect("a name")
        })
        .collect();
    for name in &left {
        assert!(
            jobs.values()
                .any(|argv| argv.ends_with(&format!("/{name}"))),
            "{name} ran unrecorded"
        );
    }
    println!(
        "{} records, {} jobs, {} files left, notes {:#}",
        records.len(),
        jobs.len(),
        left.len(),
        value["notes"]
    );
    assert!(
        left.len() > KILLS / 2,
        "the daemon did too little: {}",
        left.len()
    );
    daemon.stop();
}

/// Checks that each started job has an end, and at most one certain end. Returns the jobs with their commands.
fn check(records: &[Value]) -> BTreeMap<String, String> {
    let text = |record: &Value, name: &str| record[name].as_str().unwrap_or_default().to_owned();
    let (mut started, mut ends) = (BTreeMap::new(), BTreeMap::<String, u32>::new());
    for record in records {
        let job = text(record, "REMIT_JOB");
        match text(record, "REMIT_EVENT").as_str() {
            "intent" => {
                let again = started.insert(job, text(record, "REMIT_ARGV"));
                assert_eq!(again, None, "{record}");
            }
            // The previous warden may have recorded that end already; the record says so.
            "end" | "interrupted" if text(record, "REMIT_AGAIN") == "maybe" => {
                let _ = ends.entry(job).or_default();
            }
            "end" | "interrupted" => *ends.entry(job).or_default() += 1,
            _ => {}
        }
    }
    for job in started.keys() {
        assert!(ends.contains_key(job), "job {job} has no end");
    }
    let twice: Vec<_> = ends.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    // A job in the ledger but not in the audit log never ran.
    let early = ends
        .keys()
        .filter(|job| !started.contains_key(*job))
        .count();
    println!(
        "{} begun, {} ended, {early} before they were begun",
        started.len(),
        ends.len()
    );
    started
}

#[test]
fn kill_during_write_reports_doubtful_record() {
    // Imitates a kill between the write of the head and that of the record.
    let mut daemon = crate::audit_log::changed::started();
    kill(&daemon);
    let path = log(&daemon);
    let mut bytes = fs::read(&path).expect("it is there");
    let whole = bytes.len();
    bytes.extend(b"{\"MESSAGE\":\"half a rec");
    fs::write(&path, &bytes).expect("it is ours");
    daemon.restart();
    let reported = crate::audit_log::changed::reported(&daemon);
    assert!(
        reported.len() == 1 && reported[0].contains("half a record of 22 bytes"),
        "{reported:?}"
    );
    let text = fs::read(&path).expect("it is there");
    assert!(text[whole..].starts_with(b"{\"MESSAGE\":\"the audit log: "));
    assert_eq!(found(&[&path], Some(&head(&daemon))), []);
    daemon.stop();
}
