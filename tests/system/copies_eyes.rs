//! Copies with the eyes of root: a private file is changed, approved and undone. What says so: the result, its record, the page.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::Output;

use remit_common::names::JobId;
use remit_tests::daemon::{admin, other_admin, user_a};
use remit_tests::process::Identity;

use super::copies::{Ran, lay};
use super::plans::PlanFixture;

const GRANTS: &str = r##"
[profile.eyes]
base = "plan"
eyes = "root"

[[grant]]
name = "eyes"
to = ["#64001"]
allow = ["run"]
run_profile = "eyes"
approval = "none"
"##;
const ASKS: &str = r##"approval = { by = ["#64005"] }"##;

/// A private file in a private directory, with its owner.
fn lay_private(grants: &str) -> PlanFixture {
    let fixture = lay();
    let key = fixture.file("key", "SECRET\n");
    chown(&key, Some(33), Some(33)).unwrap();
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    fixture.loads("30-eyes.toml", grants);
    fixture
}

impl PlanFixture {
    fn in_profile(&self, profile: &str, script: &str) -> Ran {
        let words = ["run", "--profile", profile, "--", "sh", "-c", script];
        self.asks_for(&user_a(), &words)
    }

    fn ends_well(&self, request: JobId) {
        assert!(self.approve(request).status.success());
        let words = ["job", "--wait", &request.to_string()];
        let ended = self.daemon.remit(&user_a(), &words);
        assert!(ended.status.success(), "{ended:?}");
    }

    /// The layers of a job, in its result and in its record, which are the same.
    fn layers(&self, ran: &Ran) -> Vec<String> {
        let layers = ran.answer["enforced"]["walls"].as_array();
        let layers = layers.into_iter().flatten();
        let layers: Vec<String> = layers
            .map(|layer| layer.as_str().unwrap().to_owned())
            .collect();
        let job = ran.job.to_string();
        let ends = self.daemon.records("end");
        let end = ends.iter().find(|end| end["REMIT_JOB"] == job.as_str());
        assert_eq!(end.unwrap()["REMIT_ENFORCED"], layers.join(" "));
        layers
    }
}

#[test]
fn private_file_is_changed_approved_and_undone() {
    let fixture = lay_private(GRANTS);
    let at = fixture.dir.display();
    let script = format!("cd {at}; cat key && echo NEWER >key");
    let usual = fixture.in_profile("plan", &script);
    assert_ne!(usual.answer["exit"], 0, "{}", usual.answer);
    assert_eq!(usual.answer["stdout"], "");
    assert!(!fixture.layers(&usual).contains(&"unmasked".to_owned()));
    let ran = fixture.in_profile("eyes", &script);
    assert!(ran.out.status.success(), "{}", ran.answer);
    assert_eq!(ran.answer["stdout"], "SECRET\n");
    assert_eq!(fixture.layers(&ran).last().unwrap(), "unmasked");
    assert_eq!(fixture.read("key"), b"SECRET\n");
    let extracted = fixture.extract(&user_a(), ran.job);
    assert!(extracted.out.status.success(), "{}", extracted.answer);
    let plan = extracted.job.to_string();
    let request = fixture.asks(&["change", "--plan", &plan, "-m", "a test", "--no-wait"]);
    // Old private bytes are for root and possible approvers.
    let root = Identity::new(0, &[]);
    let readers = [(other_admin(), false), (admin(), true), (root, true)];
    for (at, (reader, may_read)) in readers.iter().enumerate() {
        let id = request.to_string();
        let page = fixture.daemon.remit(reader, &["show", &id, "--all"]);
        let bytes = fixture.daemon.remit(reader, &["show", &id, "--bytes"]);
        assert!(page.status.success() && bytes.status.success(), "{page:?}");
        let page = String::from_utf8_lossy(&page.stdout).into_owned();
        let has_old = |text: &[u8]| text.windows(6).any(|part| part == b"SECRET");
        assert_eq!(has_old(page.as_bytes()), *may_read, "{page}");
        assert_eq!(has_old(&bytes.stdout), *may_read, "{reader:?}");
        assert_eq!(page.contains("not shown to you"), !may_read, "{page}");
        assert_eq!(fixture.daemon.records("shown").len(), at);
    }
    let last = fixture.daemon.records("shown").pop().expect("it was read");
    assert_eq!(last["REMIT_JOB"], request.to_string().as_str());
    fixture.ends_well(request);
    let metadata = fs::metadata(fixture.at("key")).unwrap();
    let meta = (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777);
    assert_eq!(meta, (33, 33, 0o600));
    assert_eq!(fixture.read("key"), b"NEWER\n");
    let shown = fixture.asks_for(&user_a(), &["plan", "show", &plan]);
    let commit = shown.answer["commit_id"].as_str().unwrap();
    let request = fixture.asks(&["undo", commit, "-m", "a test", "--no-wait"]);
    fixture.ends_well(request);
    assert_eq!(fixture.read("key"), b"SECRET\n");
}

#[test]
fn what_no_plan_may_change_stays_so_with_the_eyes_of_root() {
    let fixture = lay_private(GRANTS);
    let state = fixture.daemon.path().join("state");
    let script = format!("ls {0} >/dev/null && echo x >{0}/made", state.display());
    let ran = fixture.in_profile("eyes", &script);
    assert!(ran.out.status.success(), "{}", ran.answer);
    let extracted = fixture.extract(&user_a(), ran.job);
    assert!(extracted.out.status.success(), "{}", extracted.answer);
    let plan = extracted.job.to_string();
    let words = ["change", "--plan", &plan, "-m", "a test", "--no-wait"];
    let refused = fixture.daemon.remit(&user_a(), &words);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && said.contains("no plan can change"),
        "{refused:?}"
    );
    assert!(!state.join("made").exists());
}

#[test]
fn page_of_a_job_with_the_eyes_of_root_says_so() {
    let asks = GRANTS.replace(r#"approval = "none""#, ASKS);
    let fixture = lay_private(&asks);
    let words = [
        "run",
        "--profile",
        "eyes",
        "--no-wait",
        "--",
        "cat",
        "/etc/hostname",
    ];
    let request = fixture.asks(&words);
    let page = fixture.daemon.remit(&admin(), &["show", &request.short()]);
    let risk = "RISK | it reads every file of this machine as root does, private keys too, and the";
    assert!(folded(&page).contains(risk), "{page:?}");
    let page = fixture
        .daemon
        .remit(&admin(), &["show", &request.short(), "--all"]);
    let says =
        "of a copy of the machine, and reads every file of it as root does, private keys too";
    assert!(folded(&page).contains(says), "{page:?}");
    let of = |name: &str| fixture.daemon.path().join(name).display().to_string();
    let (config, vendor) = (of("config"), of("vendor"));
    let directories = ["--config", &config, "--vendor", &vendor];
    let words = [
        &["policy", "explain", "--profile", "eyes"],
        &directories[..],
        &["#64001", "run"],
    ];
    let explained = fixture.daemon.remit(&admin(), &words.concat());
    assert!(folded(&explained).contains(says), "{explained:?}");
}

fn folded(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    let words = text.split_whitespace();
    // Of lines that go on.
    let words = words.filter(|word| !["+", ":"].contains(word));
    words.collect::<Vec<_>>().join(" ")
}
