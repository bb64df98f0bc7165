//! `kill -9` at random moments, again and again in the same state directory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use remit_common::wire::Request;
use remit_tests::caller::{argv, change};
use remit_tests::daemon::{Daemon, Options, user_a, user_b};
use remit_tests::process::Identity;
use remit_tests::random::Random;
use serde_json::Value;

use crate::scene::{found, head, kill, log, verified};

const KILLS: usize = 200;

/// Asks for one thing after the other until the daemon dies: changes that leave a file, and short jobs.
fn work(daemon: &Daemon, who: &Identity, name: &str, is_over: &AtomicBool, done: &AtomicUsize) {
    let Ok(mut client) = daemon.client(who) else {
        return;
    };
    for number in 0.. {
        let run = if number % 3 == 0 {
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

/// A command that leaves a file on the host, beside what everybody may.
fn allow_marks(daemon: &mut Daemon, marks: &Path) {
    fs::create_dir(marks).expect("the place is ours");
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
fn killed_at_200_random_moments_nothing_ran_unrecorded_and_the_chain_is_whole() {
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
            for (index, who) in [user_a(), user_b(), user_a()].into_iter().enumerate() {
                let name = format!("r{round}c{index}");
                let _ = scope.spawn(move || work(daemon, &who, &name, is_over, done));
            }
            // Now and then before anybody is served, most often in the midst of it.
            if round % 8 != 0 {
                while done.load(Ordering::Relaxed) == before {
                    std::thread::yield_now();
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
    let (told, value) = verified(&[&log(&daemon)], Some(&head(&daemon)));
    assert_eq!(value["whole"], true, "{told}: {value:#}");
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

/// Each job that was begun has one end, and each number comes once; the jobs with their command.
fn check(records: &[Value]) -> BTreeMap<String, String> {
    let text = |record: &Value, name: &str| record[name].as_str().unwrap_or_default().to_owned();
    let (mut begun, mut ends) = (BTreeMap::new(), BTreeMap::<String, u32>::new());
    for record in records {
        let job = text(record, "REMIT_JOB");
        match text(record, "REMIT_EVENT").as_str() {
            "intent" => {
                let again = begun.insert(job, text(record, "REMIT_ARGV"));
                assert_eq!(again, None, "{record}");
            }
            // The warden before may have recorded that end already, and this one says so.
            "end" | "interrupted" if text(record, "REMIT_AGAIN") == "maybe" => {
                let _ = ends.entry(job).or_default();
            }
            "end" | "interrupted" => *ends.entry(job).or_default() += 1,
            _ => {}
        }
    }
    for job in begun.keys() {
        assert!(ends.contains_key(job), "job {job} has no end");
    }
    let twice: Vec<_> = ends.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    // Noted in the ledger and not yet in the trail, a job never ran.
    let early = ends.keys().filter(|job| !begun.contains_key(*job)).count();
    println!(
        "{} begun, {} ended, {early} before they were begun",
        begun.len(),
        ends.len()
    );
    begun
}

#[test]
fn killed_while_it_writes_it_says_which_record_is_in_doubt() {
    // What a kill leaves that comes between the head's note and the record: both, made by hand.
    let mut daemon = crate::scene::begun();
    kill(&daemon);
    let path = log(&daemon);
    let mut bytes = fs::read(&path).expect("it is there");
    let whole = bytes.len();
    bytes.extend(b"{\"MESSAGE\":\"half a rec");
    fs::write(&path, &bytes).expect("it is ours");
    daemon.restart();
    let told = crate::scene::told(&daemon);
    assert!(
        told.len() == 1 && told[0].contains("half a record of 22 bytes"),
        "{told:?}"
    );
    let text = fs::read(&path).expect("it is there");
    assert!(text[whole..].starts_with(b"{\"MESSAGE\":\"the audit trail: "));
    assert_eq!(found(&[&path], Some(&head(&daemon))), []);
    daemon.stop();
}
