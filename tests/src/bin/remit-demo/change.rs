//! One change that another person approves.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use remit_tests::daemon::{ADMIN_GROUP, Daemon, Options, SOCKET_GROUP, admin, user_a};
use remit_tests::place::Place;
use remit_tests::process::Identity;
use serde_json::{Value, json};

use super::Demo;

impl Demo {
    pub fn change(&mut self) {
        self.title("It may change one thing, when another person has approved exactly that");
        let place = Place::new();
        let site = place.directory("site");
        fs::set_permissions(&site, fs::Permissions::from_mode(0o1777)).expect("it is ours");
        let daemon = Daemon::start(Options {
            waiting: 1,
            policy: open_the_site(&site),
            ..Options::default()
        });
        let mut agent = daemon.session(&user_a());
        let ask = json!({ "name": "site.open", "reason": "ticket 7" });
        let asked = agent.tool("change", &ask)["structuredContent"].take();
        let text = |name: &str| asked[name].as_str().unwrap_or_default().to_owned();
        let (job, digest) = (text("job_id"), asked["approval"]["digest"].clone());
        println!("{}: {}", text("state"), text("next"));
        let open = site.join("open");
        self.check(
            text("state") == "awaiting_approval" && !open.exists(),
            "the agent is told to wait, and nothing has happened",
        );
        let line = [
            "approve",
            &job,
            "--digest",
            digest.as_str().unwrap_or_default(),
        ];
        let agent_as_admin = Identity::new(user_a().uid, &[SOCKET_GROUP, ADMIN_GROUP]);
        for who in [agent_as_admin, admin()] {
            println!(
                "{}",
                self.paint("36", &format!("uid {}$ remit approve {job}", who.uid))
            );
            let tried = daemon.remit(&who, &line);
            let said = [tried.stdout.as_slice(), tried.stderr.as_slice()].concat();
            print!("{}", String::from_utf8_lossy(&said));
            self.check(
                tried.status.success() == (who.uid != user_a().uid),
                "nobody approves what they asked for themselves, and another person can",
            );
        }
        let ended = agent.tool("job", &json!({ "job_id": job, "wait_ms": 20_000 }));
        self.check(
            ended["structuredContent"]["exit"] == 0 && open.exists(),
            "it has run, and the agent is told so",
        );
        for event in ["asked", "approved", "intent", "end"] {
            let records = daemon.records(event);
            let of_it = |record: &&Value| record["REMIT_JOB"] == job.as_str();
            let record = records.iter().find(of_it).cloned().unwrap_or_default();
            let who = record["REMIT_APPROVER_UID"].as_str().unwrap_or_default();
            let short: String = record["REMIT_DIGEST"]
                .as_str()
                .unwrap_or_default()
                .chars()
                .take(16)
                .collect();
            println!(
                "{event:9} digest {short}…  {}",
                match who {
                    "" => String::new(),
                    uid => format!("by uid {uid}"),
                }
            );
            self.check(
                record["REMIT_DIGEST"] == digest,
                "it is on record with one digest",
            );
        }
        self.check(agent.close() == Some(0), "its session ends in order");
        daemon.stop();
    }
}

/// A policy by which the agent may have a file made in a directory, when an administrator approves it.
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
