//! An undo goes to the one host that made the commit, for models and for people.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use remit_tests::test_dir::install_look;
use serde_json::{Value, json};

use crate::client::Client;
use crate::stage::{BY, RELEASE, Stage, approver, canned, plans, ran};

const ID: &str = "0123456789abcdef0123456789abcdef";

/// A directory that plans may change, removed at the end.
struct Srv(PathBuf);

impl Srv {
    fn new() -> Self {
        let dir = nix::unistd::mkdtemp("/srv/remit-fleet-XXXXXX").unwrap();
        fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
        Self(dir)
    }
}

impl Drop for Srv {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Approves as a person does, with the digest that is shown, and returns what is printed.
fn approve(stage: &Stage, target: &str) -> String {
    let (_, out, err) = stage.run_of(&approver(), &["approve", target]);
    let digest = out.trim_end().rsplit(' ').next().unwrap();
    let (status, out, said) = stage.run_of(&approver(), &["approve", target, "--digest", digest]);
    assert_eq!(status, Some(0), "{err}{out}{said}");
    out
}

fn commit(client: &mut Client, stage: &Stage, file: &Path, text: &str) -> Value {
    let edits = json!([{"path": file, "write": text}]);
    let plan = client.data("plan", json!({"on": "web2", "edits": edits}));
    let change =
        json!({"on": "web2", "plan_id": plan["plan_id"], "reason": "a test", "wait_ms": 0});
    let asked = client.data("change", change);
    assert_eq!(asked["state"], "awaiting_approval", "{asked}");
    approve(
        stage,
        &format!("web2:{}", asked["job_id"].as_str().unwrap()),
    );
    assert_eq!(fs::read_to_string(file).unwrap(), text);
    let ended = client.data("job", json!({"on": "web2", "job_id": asked["job_id"]}));
    let stdout = ended["stdout"]
        .as_str()
        .unwrap_or_else(|| panic!("{ended}"));
    let id = stdout.split("remit undo ").nth(1).unwrap();
    json!(id.split_whitespace().next().unwrap())
}

#[test]
fn undo_puts_back_the_file_of_one_host() {
    install_look();
    let daemon = plans(&format!(
        "[[grant]]\nname = \"plans\"\nto = [\"somebody\"]\nallow = [\"plan.make\"]\napproval = \"none\"\n\
         [[grant]]\nname = \"commits\"\nto = [\"somebody\"]\nallow = [\"plan.commit\", \"plan.undo\"]\napproval = {BY}\n"
    ));
    let stage = Stage::new(&["web1", "web2"]);
    stage.set_host("web1", &canned("remit", RELEASE, &ran("x")));
    stage.set_real("web2", &daemon);
    let srv = Srv::new();
    let file = srv.0.join("a");
    fs::write(&file, "old\n").unwrap();
    let mut client = stage.client();
    // A model undoes it.
    let id = commit(&mut client, &stage, &file, "new\n");
    let undo = json!({"on": "web2", "undo": id, "reason": "it was none", "wait_ms": 0});
    let asked = client.data("change", undo);
    assert_eq!(
        (&asked["on"], &asked["state"]),
        (&json!("web2"), &json!("awaiting_approval"))
    );
    approve(
        &stage,
        &format!("web2:{}", asked["job_id"].as_str().unwrap()),
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), "old\n");
    // A person does.
    let id = commit(&mut client, &stage, &file, "newer\n");
    let words = [
        "undo",
        "--on",
        "web2",
        "-m",
        "it's none; $(id)",
        id.as_str().unwrap(),
    ];
    let (status, out, err) = stage.run(&words);
    assert_eq!((status, &*err), (Some(0), ""), "{out}");
    let target = out.trim_end().rsplit(' ').next().unwrap();
    assert_eq!(
        out,
        format!(
            "web2: job {} waits for an approval: remit-fleet approve {target}\n",
            &target[5..]
        )
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), "newer\n");
    approve(&stage, target);
    assert_eq!(fs::read_to_string(&file).unwrap(), "old\n");
    let undone = daemon.records("intent");
    let reasons = undone.iter().map(|record| record.to_string());
    assert_eq!(
        reasons
            .filter(|text| text.contains("it's none; $(id)"))
            .count(),
        1
    );
    // It is undone, and the reason is the host's own.
    let (status, _, err) = stage.run(&words);
    assert_eq!(status, Some(1), "{err}");
    assert!(
        err.contains("there is no commit with this id that can be undone")
            && err.ends_with("(status 125)\n"),
        "{err}"
    );
    assert!(
        stage
            .logins()
            .iter()
            .all(|login| !login.contains("-- web1"))
    );
}

#[test]
fn undo_names_one_host_and_one_commit() {
    let stage = Stage::new(&["web1", "web2"]);
    stage.set_host("web1", "echo 'remit: there is no command' >&2; exit 1\n");
    for (words, expect) in [
        (
            &["undo", "-m", "x", ID][..],
            "'--on' is required, because there are 2 hosts",
        ),
        (
            &["undo", "--on", "*", "-m", "x", ID],
            "a commit belongs to one host, and '--on' names 2",
        ),
        (
            &["undo", "--on", "web1", "-m", "x", "--", "-x"],
            "it does not have 32 hexadecimal digits",
        ),
        (&["undo", "--on", "web1", ID], "--message <WHY>"),
    ] {
        let (status, out, err) = stage.run(words);
        assert_eq!((status, &*out), (Some(64), ""), "{err}");
        assert!(err.contains(expect), "{err}");
    }
    assert_eq!(stage.logins(), [""; 0]);
    let (status, _, err) = stage.run(&["undo", "--on", "web1", "-m", "x", ID]);
    assert_eq!(status, Some(1));
    assert!(
        err.starts_with(
            "remit-fleet: web1: remit there failed: remit: there is no command (status 1)"
        ),
        "{err}"
    );
    // Words for a shell instead of a job are not shown as a command line, and neither is a state of many words.
    let ssh = format!("{0}/ssh -F {0}/home/.ssh/config", stage.path().display());
    let jobs = ["$(id)", "x\\u001b[2J", "--help", &ID[1..], ""];
    for job in jobs {
        let lie = format!(r#"{{"job_id": "{job}", "state": "awaiting_approval"}}"#);
        stage.set_host("web1", &format!("printf '%s' '{lie}'\n"));
        let (status, out, err) = stage.run(&["undo", "--on", "web1", "-m", "x", ID]);
        assert_eq!((status, &*out), (Some(1), ""), "{err}");
        let expect = format!(
            "web1: whether it is undone is not known: its answer names no job; {ssh} web1 remit jobs"
        );
        assert!(err.contains(&expect) && err.lines().count() == 1, "{err}");
    }
    for (state, expect) in [
        ("running", "is running"),
        ("running: $(id) #", "has a state without a name"),
        ("awaiting\\nweb2: ok", "has a state without a name"),
    ] {
        let lie = format!(r#"{{"job_id": "{ID}", "state": "{state}"}}"#);
        stage.set_host("web1", &format!("printf '%s' '{lie}'\n"));
        let (status, out, _) = stage.run(&["undo", "--on", "web1", "-m", "x", ID]);
        let expect = format!("web1: job {ID} {expect}: {ssh} web1 remit job {ID}\n");
        assert_eq!((status, out), (Some(0), expect));
    }
    for (state, exit, expect) in [
        ("exited", 4, "ended with status 4"),
        ("oom_killed", 0, "is oom_killed, with status 0"),
    ] {
        let ended =
            json!({"job_id": ID, "state": state, "exit": exit, "cause": "it is undone\nweb2: ok"});
        stage.set_host("web1", &format!("printf '%s' '{ended}'\n"));
        let (_, out, _) = stage.run(&["undo", "--on", "web1", "-m", "x", ID]);
        let expect = format!("web1: job {ID} {expect}\n  it is undone\\nweb2: ok\n");
        assert_eq!(out, expect);
    }
}

/// A reason or a call that looks like an option is one all the same.
#[test]
fn words_of_an_undo_are_no_options() {
    let stage = Stage::new(&["web1"]);
    stage.set_host("web1", "echo 'remit: no' >&2; exit 1\n");
    let words = ["undo", "--message=--x y", "--then=--y a=b", ID];
    let (status, _, err) = stage.run(&words);
    assert_eq!(status, Some(1), "{err}");
    let login = &stage.logins()[0];
    let expect = "--reason=--x y --then=--y a=b";
    assert!(login.replace('\'', "").ends_with(expect), "{login}");
}
