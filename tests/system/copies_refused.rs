//! Jobs in copies whose changes nobody is asked to approve: what no plan may change, space that is full, and jobs that do not end.

use std::time::{Duration, Instant};

use remit_tests::daemon::{user_a, user_b};

use super::copies::{Ran, lay};
use super::plans::PlanFixture;

const SMALL: &str = r##"
[profile.small]
base = "plan"
space = "8M"

[[grant]]
name = "small-copies"
to = ["#64001"]
allow = ["run"]
run_profile = "small"
approval = "none"
"##;

/// Makes directories until there is no inode left. Exits 0 if that was soon.
const MANY: &str = "import os, errno\nfor n in range(1000000):\n  try: os.mkdir(\"n/%d\" % n)\n  \
                    except OSError as error: os._exit(0 if error.errno == errno.ENOSPC else 1)\nos._exit(2)";

fn lay_small() -> PlanFixture {
    let fixture = lay();
    fixture.loads("30-small.toml", SMALL);
    super::copies::tested(&fixture);
    fixture
}

fn why(ran: &Ran) -> &str {
    ran.answer["error"]["message"].as_str().unwrap_or_default()
}

/// Root of a copy can write them there, and an approver never sees them.
#[test]
fn what_no_plan_may_change_is_refused_before_an_approver_is_asked() {
    let fixture = lay();
    let config = fixture.daemon.path().join("config/policy.d/99-mine.toml");
    for path in [
        "/usr/bin/mcp-shim",
        "/etc/systemd/system/remitd.service.d/x.conf",
        "/etc/ssh/sshd_config.d/remit.conf",
        config.to_str().unwrap(),
    ] {
        let script =
            format!("set -e; mkdir -p \"$(dirname {path})\"; rm -f {path}; echo x >{path}");
        let ran = fixture.on_copy(&user_a(), &script);
        assert!(ran.out.status.success(), "{path}: {}", ran.answer);
        let extracted = fixture.extract(&user_a(), ran.job);
        assert!(
            extracted.out.status.success(),
            "{path}: {}",
            extracted.answer
        );
        let plan = extracted.job.to_string();
        let asked = fixture.asks_for(
            &user_a(),
            &["change", "--plan", &plan, "-m", "a test", "--no-wait"],
        );
        assert!(
            why(&asked).contains("no plan can change"),
            "{path}: {}",
            asked.answer
        );
    }
}

#[test]
fn full_copy_costs_its_own_job_and_is_planned_as_far_as_it_was_written() {
    let fixture = lay_small();
    let at = fixture.dir.display();
    let script = format!(
        "cd {at}; head -c 64m /dev/zero >big; rm big; mkdir n; /usr/bin/python3 -c '{MANY}' && rm -r n && echo x >left"
    );
    let ran = fixture.asks_for(
        &user_a(),
        &["run", "--profile", "small", "--", "sh", "-c", &script],
    );
    assert!(ran.out.status.success(), "{}", ran.answer);
    let said = ran.answer["stderr"].as_str().unwrap_or_default();
    assert!(said.contains("No space left on device"), "{said}");
    let extracted = fixture.extract(&user_a(), ran.job);
    assert!(extracted.out.status.success(), "{}", extracted.answer);
    let plan = extracted.job.to_string();
    let shown = fixture.asks_for(&user_a(), &["plan", "show", &plan]);
    let entries = shown.answer["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 1, "{}", shown.answer);
    assert_eq!(entries[0]["path"], fixture.at("left"));
    assert!(fixture.on_copy(&user_b(), "true").out.status.success());
}

/// Its children in sessions of their own, too.
#[test]
fn job_that_does_not_end_is_killed_and_leaves_no_copy() {
    let fixture = lay_small();
    let script = format!(
        "echo x >{}/new; (setsid sh -c 'while :; do :; done' &) ; trap '' TERM; while :; do sleep 1; done",
        fixture.dir.display()
    );
    let begin = Instant::now();
    let ran = fixture.asks_for(
        &user_a(),
        &[
            "run",
            "--profile",
            "small",
            "--timeout",
            "2s",
            "--",
            "sh",
            "-c",
            &script,
        ],
    );
    assert!(!ran.out.status.success(), "{}", ran.answer);
    assert!(begin.elapsed() < Duration::from_secs(60), "{}", ran.answer);
    let extracted = fixture.extract(&user_a(), ran.job);
    assert!(
        why(&extracted).contains("no copy of job"),
        "{}",
        extracted.answer
    );
    assert_eq!(fixture.daemon.job_processes(), []);
    assert!(!fixture.dir.join("new").exists());
}
