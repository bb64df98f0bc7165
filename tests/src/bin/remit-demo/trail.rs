//! The audit trail: all calls are in it, and an edited record is found.

use std::fs;

use remit_tests::daemon::Daemon;
use remit_tests::process::Identity;
use serde_json::Value;

use super::Demo;
use super::screen::Screen;

/// Records that are shown; the others are counted.
const SHOWN: usize = 5;

impl Demo {
    pub fn trail(&mut self) {
        let count = self.calls.len();
        self.screen
            .title(&format!("The audit trail has exactly these {count} calls"));
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
                let place = self.daemon.path().display().to_string();
                self.screen.output(&format!(
                    "{}  uid {}  {}: {}",
                    text(&intent, "REMIT_TIME"),
                    text(&intent, "REMIT_UID"),
                    text(&intent, "REMIT_ARGV").replace(&place, "…"),
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

/// The trail is whole; a copy in which the approver's uid was edited is not.
pub fn verify(screen: &mut Screen, daemon: &Daemon, approver: u32) {
    screen.title("Nobody edits the record unnoticed");
    let file = daemon.path().join("state/audit.jsonl");
    let copy = daemon.path().join("edited.jsonl");
    let whole = audit(screen, daemon, &file.display().to_string());
    screen.check(whole == Some(0), "the trail is whole");
    let text = fs::read_to_string(&file).expect("the demo runs as root");
    let (old, new) = (
        format!("\"REMIT_APPROVER_UID\":\"{approver}\""),
        format!("\"REMIT_APPROVER_UID\":\"{}\"", approver + 1),
    );
    screen.check(text.contains(&old), "the record names the approver");
    fs::write(&copy, text.replace(&old, &new)).expect("the place is ours");
    screen.sentence(&format!(
        "Now somebody replaces {approver} with {} in a copy:",
        approver + 1
    ));
    let edited = audit(screen, daemon, &copy.display().to_string());
    screen.check(edited == Some(1), "an edited record is found");
}

/// The exit status of `remit audit verify --file FILE`.
fn audit(screen: &Screen, daemon: &Daemon, file: &str) -> Option<i32> {
    let place = daemon.path().display().to_string();
    let line = format!("root# remit audit verify --file {file}");
    screen.command(&line.replace(&place, "…"));
    let root = Identity::new(0, &[]);
    let ran = daemon.remit(&root, &["audit", "verify", "--file", file]);
    let said = [ran.stdout.as_slice(), ran.stderr.as_slice()].concat();
    let said = String::from_utf8_lossy(&said).replace(&place, "…");
    screen.sentence(said.lines().next().unwrap_or_default());
    ran.status.code()
}
