//! Checks of a plan: what is asked, what is shown, and the exit status.

use remit_common::names::JobId;
use remit_common::refusal::{Code, Refusal};
use remit_plan::{Bundle, Change, Content, Entry, Metadata, New, Plan, PlanPath, Source, sha256};
use remit_wire::outcome::{Captured, JobReport, State};
use remit_wire::{Bytes, Purpose, Request, Run, What};
use serde_json::json;

use crate::fake::{Answer, Fake, Said, ended, exited, job, paged, reply};

const NEW: &[u8] = b"gzip on;\n";

fn bundle() -> Vec<u8> {
    let content = Content {
        size: NEW.len() as u64,
        sha256: sha256(NEW),
        source: Source::Bundle,
        capabilities: None,
        mtime: None,
    };
    let entry = Entry {
        path: PlanPath::new("/etc/nginx/nginx.conf").unwrap(),
        change: Change::Create {
            new: New::File(content),
            meta: Metadata {
                mode: 0o644,
                uid: 0,
                gid: 0,
            },
        },
    };
    let plan = Plan::new(vec![entry]).unwrap();
    Bundle::new(&plan, NEW, b"").unwrap().as_bytes().to_vec()
}

/// A check's job.
pub fn check(report: JobReport) -> JobReport {
    JobReport {
        job: JobId([0xcd; 16]),
        ..report
    }
}

/// Returns the command of a check.
pub fn checked(request: &Request) -> Option<&str> {
    match request {
        Request::Run(Run {
            what: What::Named { name, .. },
            ..
        }) if name != "plan.make" => Some(name),
        _ => None,
    }
}

/// Answers requests that make a plan and read it.
pub fn made(request: &Request) -> Answer {
    paged(&exited(0, b"", b""), &bundle(), request)
}

/// A daemon that makes a plan, and answers each check by its name.
fn fake(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Fake {
    Fake::new(move |request| match checked(request) {
        Some(name) => answer(name),
        None => made(request),
    })
}

fn plan(fake: &Fake, args: &[&str]) -> Said {
    let edit = ["plan", "--write", "/etc/nginx/nginx.conf", "/dev/null"];
    fake.output(&[&edit, args].concat())
}

fn checks(fake: &Fake) -> Vec<Run> {
    let heard = fake.all_heard().into_iter();
    let checks = heard.filter(|request| checked(request).is_some());
    checks
        .filter_map(|request| match request {
            Request::Run(run) => Some(run),
            _ => None,
        })
        .collect()
}

#[test]
fn check_gets_the_plan_and_is_shown_after_it() {
    let fake = fake(|_| {
        reply(check(exited(
            0,
            b"out\x1b\n",
            b"syntax is ok\ncheck x: exit 0",
        )))
    });
    let said = plan(
        &fake,
        &["--check", "nginx.test config=/etc/nginx/a=b quiet="],
    );
    assert_eq!((said.status, said.stderr.as_str()), (Some(0), ""));
    let (plan, checked) = said.text().split_once("\n\ncheck ").unwrap();
    assert!(plan.contains("+gzip on;"), "{plan}");
    assert!(plan.contains("remit change --plan abab-abab"), "{plan}");
    assert!(plan.contains("a rule has to cover its paths"), "{plan}");
    let expect = "nginx.test config=/etc/nginx/a=b quiet=: exit 0 (job cdcd-cdcd)\n  out\\x1b\n  syntax is ok\n  \
                  check x: exit 0\n";
    assert_eq!(checked, expect);
    let pairs = [("config", "/etc/nginx/a=b"), ("quiet", "")];
    let expect = Run {
        stdin: Some(Bytes::from(bundle())),
        wait_ms: Some(100),
        ..Run::new(
            What::Named {
                name: "nginx.test".into(),
                args: pairs.map(|(n, v)| (n.to_owned(), v.to_owned())).into(),
            },
            Purpose::Use,
        )
    };
    assert_eq!(checks(&fake), [expect]);
}

#[test]
fn status_is_that_of_the_first_check_that_failed() {
    let answer = |name: &str| match name {
        "slow.test" => reply(check(ended(
            State::TimedOut,
            None,
            Some(9),
            "its time is over",
        ))),
        "a.test" => reply(check(exited(7, b"", b"bad\n"))),
        "b.test" => reply(check(exited(1, b"", b""))),
        "no.test" => {
            let refusal = Refusal::no_such_command("no.test");
            Answer::Refuse(refusal)
        }
        _ => reply(check(exited(0, b"", b""))),
    };
    for (names, status) in [
        (&[][..], 0),
        (&["ok.test", "ok.test"], 0),
        (&["ok.test", "a.test", "b.test"], 7),
        (&["b.test", "a.test"], 1),
        (&["slow.test", "a.test"], 124),
        (&["no.test", "a.test"], 125),
    ] {
        let fake = fake(answer);
        let options = names.iter().flat_map(|name| ["--check", *name]);
        let said = plan(&fake, &options.collect::<Vec<_>>());
        assert_eq!(said.status, Some(status), "{names:?}: {said:?}");
        // A failure does not end the others.
        let shown = said.text().matches("\ncheck ").count();
        assert_eq!((checks(&fake).len(), shown), (names.len(), names.len()));
    }
    let said = plan(&fake(answer), &["--check", "slow.test"]);
    assert!(
        said.text()
            .contains("\ncheck slow.test: timed_out (job cdcd-cdcd)\n")
    );
    assert!(said.stderr.contains("the job timed out: its time is over"));
    let said = plan(&fake(answer), &["--check", "no.test"]);
    assert!(said.text().ends_with("\n\ncheck no.test: refused\n"));
    assert!(said.stderr.contains("no.test"), "{said:?}");
}

#[test]
fn json_has_the_plan_and_each_check() {
    let fake = fake(|name| match name {
        "a.test" => reply(check(exited(1, b"out", b"bad\n"))),
        _ => Answer::Refuse(Refusal::new(Code::DeniedRule, "no").next("ask")),
    });
    let args = ["--json", "--check", "a.test x=1", "--check", "b.test"];
    let said = plan(&fake, &args);
    assert_eq!(said.status, Some(1), "{said:?}");
    let json = said.json();
    assert_eq!(json["plan_id"], job());
    assert_eq!(json["entries"][0]["path"], "/etc/nginx/nginx.conf");
    let [first, second] = json["checks"].as_array().unwrap().as_slice() else {
        panic!("{json}");
    };
    assert_eq!(first["command"], "a.test x=1");
    assert_eq!(first["job_id"], "cd".repeat(16));
    assert_eq!(
        (&first["state"], &first["exit"]),
        (&json!("exited"), &json!(1))
    );
    assert_eq!(
        (&first["stdout"], &first["stderr"]),
        (&json!("out"), &json!("bad\n"))
    );
    assert_eq!(second["command"], "b.test");
    assert_eq!(second["error"]["code"], "denied_rule");
    assert_eq!(second["error"]["next"], "ask");
    assert_eq!(plan(&fake, &["--json"]).json().get("checks"), None);
}

#[test]
fn long_output_is_cut_and_counted() {
    let fake = fake(|_| {
        let report = exited(1, b"", b"");
        let stdout = Captured {
            total: 100,
            lines: 3,
            head: Bytes::from("begin"),
            tail: Bytes::from("end\n"),
        };
        reply(check(JobReport { stdout, ..report }))
    });
    let said = plan(&fake, &["--check", "a.test"]);
    let expect = "  begin[… 91 bytes omitted: remit job cdcd-cdcd --stdout …]end\n";
    assert!(said.text().ends_with(expect), "{said:?}");
}

#[test]
fn lost_daemon_ends_the_checks_and_leaves_the_plan() {
    let fake = fake(|_| Answer::HangUp);
    let said = plan(&fake, &["--json", "--check", "a.test", "--check", "b.test"]);
    assert_eq!(said.status, Some(69), "{said:?}");
    let json = said.json();
    assert_eq!(json["plan_id"], job());
    assert_eq!(json["checks"].as_array().map(Vec::len), Some(1));
    assert_eq!(json["checks"][0]["error"]["code"], "daemon_unavailable");
}

#[test]
fn no_plan_is_made_for_checks_that_cannot_be() {
    let fake = fake(|_| Answer::HangUp);
    let five = ["--check", "a.test"].repeat(5);
    for args in [&["--check", "a=b"][..], &["--check", "a.test b"], &five[..]] {
        let args = [&["plan", "--mkdir", "/etc/a"], args].concat();
        let said = fake.output(&args);
        assert_eq!(said.status, Some(64), "{said:?}");
    }
    assert_eq!(fake.all_heard(), []);
}

#[test]
fn without_a_plan_nothing_is_checked() {
    let fake = Fake::job(exited(1, b"", b"'/etc/a': no\n"));
    let said = plan(&fake, &["--check", "a.test"]);
    assert_eq!(
        (said.status, said.stderr.as_str()),
        (Some(1), "'/etc/a': no\n")
    );
    assert_eq!(checks(&fake), []);
}
