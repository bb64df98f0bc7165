//! The audit trail: all calls are in it, and a changed byte shows.

use std::fs;
use std::process::Output;

use remit_tests::process::Identity;
use serde_json::Value;

use super::Demo;

impl Demo {
    pub fn trail(&mut self) {
        self.title("The audit trail has exactly these calls");
        println!(
            "(an attempt tells the answer it got and exits with status 0: it was refused all the same)"
        );
        let (intents, ends) = (self.daemon.records("intent"), self.daemon.records("end"));
        for call in self.calls.clone() {
            let of_call = |records: &[Value]| {
                let mut found = records.iter().filter(|record| record["REMIT_JOB"] == call);
                (found.next().cloned(), found.next().is_some())
            };
            let ((Some(intent), false), (Some(end), false)) = (of_call(&intents), of_call(&ends))
            else {
                self.wrong
                    .push(format!("job {call} does not have one intent and one end"));
                continue;
            };
            let text =
                |record: &Value, name: &str| record[name].as_str().unwrap_or_default().to_owned();
            let argv =
                text(&intent, "REMIT_ARGV").replace(&self.daemon.path().display().to_string(), "…");
            println!(
                "{}  uid {}  {argv}  → {}",
                text(&intent, "REMIT_TIME"),
                text(&intent, "REMIT_UID"),
                text(&end, "REMIT_CAUSE")
            );
        }
        let exactly = intents.len() == self.calls.len() && ends.len() == self.calls.len();
        let count = self.calls.len();
        self.check(
            exactly,
            &format!("{count} calls, {count} records before and {count} after"),
        );
    }

    /// The chain is whole, and a copy in which one byte differs is not.
    pub fn verify(&mut self) {
        self.title("Nobody edits the past unseen");
        let file = self.daemon.path().join("state/audit.jsonl");
        let copy = self.daemon.path().join("edited.jsonl");
        let mut text = fs::read_to_string(&file).expect("the demo runs as root");
        let whole = self.audit(&["verify", "--file", &file.display().to_string()]);
        self.check(whole.status.success(), "the trail is whole");
        // One word of the fourth record.
        let fourth = text.match_indices('\n').nth(2).expect("there are more").0;
        let user = fourth + text[fourth..].find("64001").expect("a uid is in it");
        text.replace_range(user..user + 5, "64002");
        fs::write(&copy, &text).expect("the place is ours");
        let edited = self.audit(&["verify", "--file", &copy.display().to_string()]);
        self.check(edited.status.code() == Some(1), "a changed record is found");
    }

    fn audit(&self, arguments: &[&str]) -> Output {
        let place = self.daemon.path().display().to_string();
        let shown = arguments.join(" ").replace(&place, "…");
        println!(
            "{}",
            self.paint("36", &format!("root# remit audit {shown}"))
        );
        let root = Identity::new(0, &[]);
        let ran = self.daemon.remit(&root, &[&["audit"], arguments].concat());
        let said = [ran.stdout.as_slice(), ran.stderr.as_slice()].concat();
        print!("{}", String::from_utf8_lossy(&said).replace(&place, "…"));
        ran
    }
}
