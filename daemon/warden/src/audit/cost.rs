//! Measures what a record costs the warden's thread, with real sinks (`make bench`). journald is measured if
//! `REMIT_BENCH_JOURNALD` is set, on a disposable machine. The records would be a second chain in the journal.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Audit, Event, Unwritten};
use crate::approval::fixture::Scene;
use crate::config::{AuditSink, Sync};

const RECORDS: usize = 3000;
const SYNCED: usize = 300;
const BEFORE: usize = 100;

struct Times(Vec<Duration>);

impl Times {
    fn at(&self, part: usize, of: usize) -> f64 {
        let at = self.0.len() * part / of;
        self.0[at.min(self.0.len() - 1)].as_secs_f64() * 1e6
    }
}

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
            // The reader was slower. This one is tried again and not counted.
            Err(Unwritten::Later) => {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            }
            Err(why) => panic!("{why}"),
        }
        if at >= BEFORE {
            times.push(start.elapsed());
        }
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
        (AuditSink::File, Sync::Never, false),
        (AuditSink::File, Sync::Changes, false),
        (AuditSink::File, Sync::Changes, true),
        (AuditSink::File, Sync::Always, false),
        (AuditSink::Journald, Sync::Never, false),
        (AuditSink::Journald, Sync::Changes, true),
    ];
    // The state directory of an installation. Not every directory is on a disk.
    let base = std::env::var("REMIT_BENCH_STATE").unwrap_or_else(|_| "/var/lib".into());
    for (at, (sink, sync, is_change)) in ways.into_iter().enumerate() {
        let name = match sink {
            AuditSink::File => "file",
            AuditSink::Journald => "journald",
        };
        let synced = sink == AuditSink::File
            && (sync == Sync::Always || (sync == Sync::Changes && is_change));
        if sink == AuditSink::Journald && std::env::var_os("REMIT_BENCH_JOURNALD").is_none() {
            let _ = writeln!(
                table,
                "{name:<10} not measured (REMIT_BENCH_JOURNALD=1, on a throw-away machine)"
            );
            continue;
        }
        let state = Path::new(&base).join(format!("remit-cost-{}-{at}", std::process::id()));
        std::fs::create_dir_all(state.join("warden")).unwrap();
        let config = crate::config::AuditConfig {
            sink,
            sync,
            kernel: false,
            ..crate::config::AuditConfig::default()
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
