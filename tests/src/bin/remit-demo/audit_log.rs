//! Shows that the audit log has all calls, and that an edited record is detected.

use std::fs;

use remit_tests::daemon::Daemon;
use remit_tests::process::Identity;
use serde_json::Value;

use super::Demo;
use super::screen::Screen;

const SHOWN: usize = 5;

impl Demo {
    pub fn audit_log(&mut self) {
        let count = self.calls.len();
        self.screen
            .title(&format!("The audit log has exactly these {count} calls"));
        let (intents, ends) = (self.daemon.records("intent"), self.daemon.records("end"));
        for (index, call) in self.calls.iter().enumerate() {
            let only = |records: &[Value]| {
                let mut found = records.iter().filter(|record| record["REMIT_JOB"] == *call);
                (found.next().cloned(), found.next().is_some())
            };
            let ((Some(intent), false), (Some(end), false)) = (only(&intents), only(&ends)) else {
                let what = format!("job {call} has one record before its start and one at its end");
                self.screen.check(false, &what);
                continue;
            };
            let text = |record: &Value, name: &str| record[name].as_str().unwrap_or("-").to_owned();
            if index < SHOWN {
                let daemon_dir = self.daemon.path().display().to_string();
                self.screen.output(&format!(
                    "{}  uid {}  {}: {}",
                    text(&intent, "REMIT_TIME"),
                    text(&intent, "REMIT_UID"),
                    text(&intent, "REMIT_ARGV").replace(&daemon_dir, "…"),
                    text(&end, "REMIT_CAUSE"),
                ));
            }
        }
        println!("… {} more", count.saturating_sub(SHOWN));
        self.screen.check(
            intents.len() == count && ends.len() == count,
            &format!("{count} calls have {count} records before and {count} after"),
        );
    }
}

/// The audit log verifies. A copy with another approver uid does not.
pub fn verify(screen: &mut Screen, daemon: &Daemon, approver: u32) {
    screen.title("Nobody edits the record unnoticed");
    let file = daemon.path().join("state/audit.jsonl");
    let copy = daemon.path().join("edited.jsonl");
    let whole = audit(screen, daemon, &file.display().to_string());
    screen.check(whole == Some(0), "the audit log is whole");
    let text = fs::read_to_string(&file).expect("the demo runs as root");
    let (old, new) = (
        format!("\"REMIT_APPROVER_UID\":\"{approver}\""),
        format!("\"REMIT_APPROVER_UID\":\"{}\"", approver + 1),
    );
    screen.check(text.contains(&old), "the record names the approver");
    fs::write(&copy, text.replace(&old, &new)).expect("the directory is writable");
    screen.sentence(&format!(
        "Now somebody replaces {approver} with {} in a copy:",
        approver + 1
    ));
    let edited = audit(screen, daemon, &copy.display().to_string());
    screen.check(edited == Some(1), "an edited record is found");
}

fn audit(screen: &Screen, daemon: &Daemon, file: &str) -> Option<i32> {
    let daemon_dir = daemon.path().display().to_string();
    let line = format!("root# remit audit verify --file {file}");
    screen.command(&line.replace(&daemon_dir, "…"));
    let root = Identity::new(0, &[]);
    let ran = daemon.remit(&root, &["audit", "verify", "--file", file]);
    let said = [ran.stdout.as_slice(), ran.stderr.as_slice()].concat();
    let said = String::from_utf8_lossy(&said).replace(&daemon_dir, "…");
    screen.sentence(said.lines().next().unwrap_or_default());
    ran.status.code()
}
