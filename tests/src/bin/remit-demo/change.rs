//! One change that another person approves.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use remit_tests::daemon::{ADMIN_GROUP, Daemon, Options, SOCKET_GROUP, admin, user_a};
use remit_tests::process::Identity;
use remit_tests::test_dir::TestDir;
use serde_json::{Value, json};

use super::audit_log;
use super::screen::Screen;

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
    audit_log::verify(screen, &daemon, admin().uid);
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
