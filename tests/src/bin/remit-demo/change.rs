//! One change that another person approves; the audit log has all calls, and an edited record is detected.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use remit_tests::daemon::{ADMIN_GROUP, Daemon, Options, SOCKET_GROUP, admin, user_a};
use remit_tests::process::Identity;
use remit_tests::test_dir::TestDir;
use serde_json::{Value, json};

use crate::{Demo, Screen};

/// The agent asks and cannot approve, but another person can. Then the record is edited.
pub fn show(screen: &mut Screen) {
    screen.title("An agent may change one thing when another person has approved it");
    let test_dir = TestDir::new();
    let site = test_dir.directory("site");
    fs::set_permissions(&site, fs::Permissions::from_mode(0o1777)).expect("it is ours");
    let daemon = Daemon::start(Options {
        waiting: 1,
        policy: open_the_site(&site),
        ..Options::default()
    });
    let mut agent = daemon.session(&user_a());
    screen.sentence(&format!(
        "remitd runs. The agent is uid {} and speaks MCP with mcp-shim. It calls:",
        user_a().uid
    ));
    screen.command("change {\"name\": \"site.open\", \"reason\": \"ticket 7\"}");
    let ask = json!({ "name": "site.open", "reason": "ticket 7" });
    let asked = agent.tool("change", &ask)["structuredContent"].take();
    let text = |name: &str| asked[name].as_str().unwrap_or_default().to_owned();
    let (job, digest) = (text("job_id"), asked["approval"]["digest"].clone());
    screen.sentence(&format!("{}: {}", text("state"), text("next")));
    let open = site.join("open");
    screen.check(
        text("state") == "awaiting_approval" && !open.exists(),
        "the agent has to wait, and nothing has happened",
    );
    approve(screen, &daemon, &job, digest.as_str().unwrap_or_default());
    let ended = agent.tool("job", &json!({ "job_id": job, "wait_ms": 20_000 }));
    let ran = ended["structuredContent"]["exit"] == 0 && open.exists();
    screen.command("job {\"job_id\": …}");
    screen.sentence(if ran {
        "exited, exit 0: the site is open"
    } else {
        "it did not run"
    });
    screen.check(ran, "the change has run, and the agent sees its result");
    records(screen, &daemon, &job, &digest);
    screen.check(
        agent.close() == Some(0),
        "the agent's session ends in order",
    );
    verify(screen, &daemon, admin().uid);
    daemon.stop();
}

/// The agent tries first, with every group of an administrator; then another person.
fn approve(screen: &mut Screen, daemon: &Daemon, job: &str, digest: &str) {
    let line = ["approve", job, "--digest", digest];
    let agent_as_admin = Identity::new(user_a().uid, &[SOCKET_GROUP, ADMIN_GROUP]);
    for approver in [agent_as_admin, admin()] {
        screen.command(&format!("uid {}$ remit approve {job}", approver.uid));
        let tried = daemon.remit(&approver, &line);
        // An answer is on stdout, a refusal on stderr. With an answer, stderr has notes for a terminal.
        let said = if tried.status.success() {
            tried.stdout
        } else {
            tried.stderr
        };
        for line in String::from_utf8_lossy(&said).lines() {
            screen.sentence(line);
        }
        screen.check(
            tried.status.success() == (approver.uid != user_a().uid),
            "nobody approves their own request, and another person can",
        );
    }
}

fn records(screen: &mut Screen, daemon: &Daemon, job: &str, digest: &Value) {
    for event in ["asked", "approved", "intent", "end"] {
        let records = daemon.records(event);
        let record = records.iter().find(|record| record["REMIT_JOB"] == job);
        let record = record.cloned().unwrap_or_default();
        let text = |name: &str| record[name].as_str().unwrap_or_default();
        let short: String = text("REMIT_DIGEST").chars().take(16).collect();
        let approver = match text("REMIT_APPROVER_UID") {
            "" => String::new(),
            uid => format!("  by uid {uid}"),
        };
        screen.output(&format!("record {event:9} digest {short}…{approver}"));
        screen.check(
            record["REMIT_DIGEST"] == *digest,
            "every record has the digest that was approved",
        );
    }
}

/// A policy that lets the agent create a file in a directory after approval by an administrator.
fn open_the_site(site: &Path) -> String {
    format!(
        r##"
[[command]]
name = "site.open"
summary = "open the site"
argv = ["/usr/bin/touch", "--", "{site}/open"]
effect = "change"
profile = "site"

[profile.site]
base = "strict"
write = ["{site}"]
leads_to_root = true

[[grant]]
name = "site"
to = ["#{agent}"]
allow = ["site.open"]
approval = {{ by = ["#{admin}"], expires = "1min" }}
"##,
        site = site.display(),
        agent = user_a().uid,
        admin = admin().uid,
    )
}

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
