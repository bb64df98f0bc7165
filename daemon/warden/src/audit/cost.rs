//! What a record costs the one thread: the real trail with its real sinks, no stand-in. `make bench` runs it.
//!
//! The sink `journald` is measured where `REMIT_BENCH_JOURNALD` is set: on a throw-away machine. These records are
//! no trail, and an auditor would find a second chain in the journal.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Audit, Event, Unwritten};
use crate::approval::fixture::Scene;
use crate::config::{Sink, Sync};

/// Records of each way, and such that come before them and are not counted.
const RECORDS: usize = 3000;
const SYNCED: usize = 300;
const BEFORE: usize = 100;

/// Times of some records, sorted.
struct Times(Vec<Duration>);

impl Times {
    fn at(&self, part: usize, of: usize) -> f64 {
        let at = self.0.len() * part / of;
        self.0[at.min(self.0.len() - 1)].as_secs_f64() * 1e6
    }
}

/// Records of intents, each made and written as the loop does it.
fn measure(audit: &mut Audit, is_change: bool, count: usize) -> Times {
    let scene = Scene::new();
    let draft = match is_change {
        true => scene.backup("all of it", "it is due"),
        false => scene.program(&[b"/usr/bin/systemctl", b"--no-pager", b"status", b"nginx"]),
    };
    let mut times = Vec::with_capacity(count);
    for at in 0..BEFORE + count {
        let start = Instant::now();
        let message = format!("agent runs in read [01020304]: {}", draft.command());
        let record = draft.about(Event::Intent, message, "ops (t.toml:1)", "allow");
        let record = draft.marked(record);
        match audit.write(record) {
            Ok(()) => {}
            // Its reader was slower than we are: that one is tried again, and not counted.
            Err(Unwritten::Later) => {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            }
            Err(why) => panic!("{why}"),
        }
        if at >= BEFORE {
            times.push(start.elapsed());
        }
        // A call comes a while after the one before; a queue that is full is another matter.
        if audit.fd().is_some() {
            std::thread::sleep(Duration::from_micros(300));
        }
    }
    times.sort_unstable();
    Times(times)
}

#[test]
fn cost_of_a_record() {
    if std::env::var_os("REMIT_BENCH").is_none() {
        return;
    }
    let mut table = String::from("cost of a record on the warden's thread, in µs\n");
    let _ = writeln!(
        table,
        "{:<10} {:<9} {:<9} {:<10} {:>8} {:>8}",
        "sink", "sync", "record", "fdatasync", "median", "p95"
    );
    let ways = [
        (Sink::File, Sync::Never, false),
        (Sink::File, Sync::Changes, false),
        (Sink::File, Sync::Changes, true),
        (Sink::File, Sync::Always, false),
        (Sink::Journald, Sync::Never, false),
        (Sink::Journald, Sync::Changes, true),
    ];
    // Where an installation has its state: not every directory is on a disk.
    let base = std::env::var("REMIT_BENCH_STATE").unwrap_or_else(|_| "/var/lib".into());
    for (at, (sink, sync, is_change)) in ways.into_iter().enumerate() {
        let name = match sink {
            Sink::File => "file",
            Sink::Journald => "journald",
        };
        let synced =
            sink == Sink::File && (sync == Sync::Always || (sync == Sync::Changes && is_change));
        if sink == Sink::Journald && std::env::var_os("REMIT_BENCH_JOURNALD").is_none() {
            let _ = writeln!(
                table,
                "{name:<10} not measured (REMIT_BENCH_JOURNALD=1, on a throw-away machine)"
            );
            continue;
        }
        let state = Path::new(&base).join(format!("remit-cost-{}-{at}", std::process::id()));
        std::fs::create_dir_all(state.join("warden")).unwrap();
        let config = crate::config::Audit {
            sink,
            sync,
            kernel: false,
            ..crate::config::Audit::default()
        };
        let mut audit = Audit::open(&config, &state).unwrap();
        let times = measure(&mut audit, is_change, if synced { SYNCED } else { RECORDS });
        let _ = std::fs::remove_dir_all(&state);
        let _ = writeln!(
            table,
            "{name:<10} {:<9} {:<9} {:<10} {:>8.1} {:>8.1}",
            format!("{sync:?}").to_lowercase(),
            if is_change { "change" } else { "look" },
            if synced { "yes" } else { "no" },
            times.at(1, 2),
            times.at(95, 100)
        );
    }
    println!("{table}");
}
