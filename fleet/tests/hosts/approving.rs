//! What an approver types: `pending`, `approve`, `deny`, `lock`, `unlock`, on real hosts and on hosts that lie.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remit_tests::daemon::Daemon;
use serde_json::{Value, json};

use crate::client::Client;
use crate::screen::Screen;
use crate::stage::{BY, Stage, approver, changing, shim, user};

/// Asks for the change on each of these hosts, as one set with `set`.
fn asks(stage: &Stage, hosts: &[&str], set: &str) {
    for host in hosts {
        // As remit-fleet does after a canary: with the same request id and set.
        let line = |id: u32, method: &str, params: Value| {
            json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()
        };
        let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        let change = json!({
            "name": "change", "_meta": {"remit/set": set},
            "arguments": {"name": "site.switch", "args": {"to": "a"}, "reason": "new release", "request_id": set},
        });
        let mut ssh = Command::new(stage.path().join("ssh"));
        ssh.args(["--", host, "mcp-shim"]);
        user().runs(&mut ssh);
        let mut client = Client::start(ssh);
        client.raw(format!("{}\n", line(900, "initialize", hello)).as_bytes());
        client.answer(900);
        client.raw(b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n");
        client.raw(format!("{}\n", line(901, "tools/call", change)).as_bytes());
        let answer = client.answer(901);
        let state = &answer["result"]["structuredContent"]["state"];
        assert_eq!(state, "awaiting_approval", "{answer}");
    }
}

fn set() -> String {
    "0123456789abcdef".repeat(2)
}

/// Hosts with daemons whose changes wait for the approver.
fn fleet<const N: usize>(names: [&str; N], programs: [&str; N]) -> (Stage, [Daemon; N]) {
    let stage = Stage::new(&names);
    let daemons = programs.map(|program| changing(program, BY));
    for (host, daemon) in names.iter().zip(&daemons) {
        stage.set_real(host, daemon);
    }
    (stage, daemons)
}

const TRUE: &str = "/usr/bin/true";

fn run(stage: &Stage, arguments: &[&str]) -> (Option<i32>, String, String) {
    stage.run_of(&approver(), arguments)
}

fn listed(stage: &Stage) -> Value {
    let (_, out, err) = run(stage, &["pending", "--json"]);
    serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"))
}

/// The digest of the whole list, as it is shown without a terminal.
fn digest(stage: &Stage, target: &str) -> String {
    let (status, out, err) = run(stage, &["approve", target]);
    assert_eq!(status, Some(1), "{out}{err}");
    assert!(err.contains("there is no terminal to ask at"), "{err}");
    let digest = out
        .lines()
        .find_map(|line| line.strip_prefix("digest of all "));
    digest.unwrap_or_else(|| panic!("{out}{err}")).to_owned()
}

fn intents(daemons: &[Daemon]) -> Vec<usize> {
    daemons
        .iter()
        .map(|daemon| daemon.records("intent").len())
        .collect()
}

#[test]
fn set_is_listed_once_and_approved_by_each_digest() {
    let (stage, daemons) = fleet(["web1", "web2", "web3"], [TRUE; 3]);
    let (status, out, _) = run(&stage, &["pending"]);
    assert_eq!(
        (status, &*out),
        (Some(0), "no requests wait for an approval\n")
    );
    asks(&stage, &["web1", "web2"], &set());
    asks(&stage, &["web3"], &"f".repeat(32));
    let (status, out, err) = run(&stage, &["pending"]);
    assert_eq!(status, Some(0), "{out}{err}");
    assert_eq!(out.matches("site.switch to=a").count(), 2, "{out}");
    assert!(
        out.contains(&format!(
            "set {}, as its requester says: web1 web2\n",
            set()
        )),
        "{out}"
    );
    let all = listed(&stage);
    let requests = all["sets"][0]["requests"].as_array().unwrap().clone();
    assert_eq!(
        (requests.len(), &requests[0]["host"], &all["single"]),
        (2, &json!("web1"), &json!([]))
    );
    for request in &requests {
        let line = format!("-- {}:", request["host"].as_str().unwrap());
        let line = out.lines().find(|it| it.starts_with(&line)).unwrap();
        assert!(line.contains(request["digest"].as_str().unwrap()), "{out}");
    }
    let digest = digest(&stage, &set());
    assert_eq!(intents(&daemons), [0, 0, 0]);
    let wrong = "0".repeat(64);
    let (status, _, err) = run(&stage, &["approve", &set(), "--digest", &wrong]);
    assert_eq!(status, Some(1));
    assert!(err.contains("nothing was approved"), "{err}");
    assert_eq!(intents(&daemons), [0, 0, 0]);
    let (status, out, err) = run(&stage, &["approve", &set()[..8], "--digest", &digest]);
    let expect = "web1: approved, it ended with status 0\nweb2: approved, it ended with status 0\n";
    assert_eq!((status, &*out), (Some(0), expect), "{err}");
    assert_eq!(intents(&daemons), [1, 1, 0]);
    for (daemon, request) in daemons.iter().zip(&requests) {
        let approved = daemon.records("approved");
        assert_eq!(approved[0]["REMIT_DIGEST"], request["digest"]);
        assert_eq!(approved[0]["REMIT_APPROVER"], "root");
        assert_eq!(approved[0]["REMIT_SET"], set());
    }
    let (status, out, _) = run(&stage, &["deny", "ffffffff", "-m", "it's late; $(reboot)"]);
    assert_eq!((status, &*out), (Some(0), "web3: denied\n"));
    let denied = daemons[2].records("denied");
    assert!(
        denied[0].to_string().contains("it's late; $(reboot)"),
        "{denied:?}"
    );
    let (status, _, err) = run(&stage, &["approve", &set()]);
    assert_eq!(status, Some(1));
    assert!(err.contains("no such request waits"), "{err}");
}

/// As its calls do, on a host whose login prints something.
#[test]
fn words_of_a_login_are_no_answer() {
    let daemon = changing(TRUE, BY);
    let stage = Stage::new(&["web1"]);
    let login = "echo Welcome; printf 'Hi {you} '\n";
    stage.set_real("web1", &daemon);
    asks(&stage, &["web1"], &set());
    stage.set_host("web1", &format!("{login}{}", shim(&daemon)));
    let (status, out, err) = run(&stage, &["pending"]);
    assert_eq!(status, Some(0), "{err}");
    assert!(out.contains("as its requester says: web1\n"), "{out}");
    let digest = digest(&stage, &set());
    let (status, out, err) = run(&stage, &["approve", &set(), "--digest", &digest]);
    let expect = "web1: approved, it ended with status 0\n";
    assert_eq!((status, &*out), (Some(0), expect), "{err}");
    stage.set_host("web1", login);
    let (status, _, err) = run(&stage, &["pending"]);
    let expect = "web1: it printed no object of JSON: Welcome\\nHi {you}; if a login there prints it, let it print nothing";
    assert_eq!(status, Some(1));
    assert!(err.contains(expect), "{err}");
}

/// Nothing runs before the second person, so no host keeps the others from being approved.
#[test]
fn set_that_several_have_to_approve_is_approved_on_each_host() {
    let names = ["web1", "web2"];
    let stage = Stage::new(&names);
    let several = "{ by = [\"root\", \"#64005\"], count = 2, expires = \"10min\" }";
    let daemons = [(); 2].map(|()| changing(TRUE, several));
    for (host, daemon) in names.iter().zip(&daemons) {
        stage.set_real(host, daemon);
    }
    asks(&stage, &names, &set());
    let digest = digest(&stage, &set());
    let (status, out, err) = run(&stage, &["approve", &set(), "--digest", &digest]);
    let counted = "approved, and 1 other person has to approve it, too";
    let expect = format!("web1: {counted}\nweb2: {counted}\n");
    assert_eq!((status, out), (Some(0), expect), "{err}");
    for daemon in &daemons {
        assert_eq!(daemon.records("approved")[0]["REMIT_APPROVALS"], "1 of 2");
    }
    assert_eq!(intents(&daemons), [0, 0]);
    let (status, _, err) = run(&stage, &["approve", &set(), "--digest", &digest]);
    assert_eq!(status, Some(1));
    let expect =
        "nothing was approved: you have approved it on web1 web2; other people have to, too";
    assert!(err.contains(expect), "{err}");
    let (_, out, _) = run(&stage, &["pending"]);
    assert_eq!(out.matches(", you have approved it\n").count(), 2, "{out}");
    // One that asks later is approved, though the others cannot be approved again.
    let other = changing(TRUE, BY);
    stage.set_real("web2", &other);
    asks(&stage, &["web2"], &set());
    let digest = self::digest(&stage, &set());
    let (status, out, err) = run(&stage, &["approve", &set(), "--digest", &digest]);
    let expect = "web2: approved, it ended with status 0\n";
    assert_eq!((status, &*out), (Some(0), expect), "{err}");
    assert!(err.contains("you have approved it on web1; "), "{err}");
    assert!(
        err.contains("a set may ask further hosts now: remit-fleet pending"),
        "{err}"
    );
}

const QUESTION: &str = "one host after another, type ";

#[test]
fn request_that_needs_a_signature_leads_to_the_command_that_signs() {
    let daemon = changing(
        TRUE,
        "{ by = [\"root\"], expires = \"10min\", signed = \"key\" }",
    );
    let stage = Stage::new(&["web1"]);
    stage.set_real("web1", &daemon);
    asks(&stage, &["web1"], &set());
    let (status, _, said) = run(&stage, &["approve", &set()]);
    assert_eq!(status, Some(1), "{said}");
    assert!(
        said.contains("a signature is needed") && said.contains("remit approve --on web1 "),
        "{said}"
    );
    assert_eq!(intents(&[daemon]), [0]);
}

#[test]
fn person_sees_all_of_it_and_types_the_digest() {
    let (stage, daemons) = fleet(["web1", "web2", "web3"], [TRUE, TRUE, "/usr/bin/false"]);
    asks(&stage, &["web1", "web2", "web3"], &set());
    let command = stage.command_of(&approver(), &["approve", &set()]);
    let mut screen = Screen::of(&command);
    screen.reads_until(QUESTION, 1);
    screen.types("yes\n");
    screen.reads_until(QUESTION, 2);
    assert_eq!(intents(&daemons), [0, 0, 0]);
    let typed = screen.seen.rsplit(QUESTION).next().unwrap()[..8].to_owned();
    screen.types(&format!("{typed}\n"));
    let (status, out, err, seen) = screen.end();
    // Hosts differ in where their policy is, and web3 has another program, which fails.
    assert!(
        seen.contains("/usr/bin/true") && seen.contains("/usr/bin/false"),
        "{seen}"
    );
    assert_eq!(seen.matches("new release").count(), 1, "{seen}");
    let lines = seen.split("\r\n\r\n3 hosts").next().unwrap();
    let lines = lines.lines().count();
    assert!(
        seen.contains(&format!(
            "3 hosts, 3 different requests, 1 risk, in {lines} lines above: web1 web2 web3"
        )),
        "{seen}"
    );
    for daemon in &daemons {
        let asked = daemon.records("asked");
        let digest = asked[0]["REMIT_DIGEST"].as_str().unwrap();
        assert_eq!(seen.matches(digest).count(), 1, "{seen}");
    }
    assert_eq!(status, Some(1), "{err}");
    assert!(
        out.ends_with("web2: approved, it ended with status 0\n"),
        "{out}"
    );
    assert!(
        err.contains("web3: approved, and it ended with status 1"),
        "{err}"
    );
    assert_eq!(intents(&daemons), [1, 1, 1]);
}

#[test]
fn first_failure_leaves_the_others_waiting() {
    let (stage, daemons) = fleet(["web1", "web2", "web3"], [TRUE, "/usr/bin/false", TRUE]);
    asks(&stage, &["web1", "web2", "web3"], &set());
    let digest = digest(&stage, &set());
    let (status, out, err) = run(&stage, &["approve", &set(), "--digest", &digest]);
    assert_eq!(
        (status, &*out),
        (Some(1), "web1: approved, it ended with status 0\n")
    );
    assert!(
        err.contains("web2: approved, and it ended with status 1; not approved: web3"),
        "{err}"
    );
    assert!(
        err.contains("web2: waiting for its end") && !err.contains("web3: waiting"),
        "{err}"
    );
    assert_eq!(intents(&daemons), [1, 1, 0]);
    assert_eq!(listed(&stage)["sets"][0]["requests"][0]["host"], "web3");
    // Half of it is approved by its own name.
    let job = listed(&stage)["sets"][0]["requests"][0]["job_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let one = format!("web3:{}", &job[..8]);
    let digest = self::digest(&stage, &one);
    let (status, _, err) = run(&stage, &["approve", &one, "--digest", &digest]);
    assert_eq!(status, Some(0), "{err}");
    assert_eq!(intents(&daemons), [1, 1, 1]);
}

/// Two names of one machine have the same request: nothing differs.
#[test]
fn identical_requests_are_shown_once() {
    let (stage, [daemon]) = fleet(["web1"], [TRUE]);
    stage.set_real("web2", &daemon);
    let hosts = "Host web1\n  HostName 192.0.2.1\nHost web2\n  HostName 192.0.2.1\n";
    std::fs::write(stage.ssh_config(), hosts).unwrap();
    stage.set_fleet("[hosts]\ninclude = [\"*\"]\n");
    asks(&stage, &["web1", "web2"], &set());
    let (status, out, err) = run(&stage, &["approve", &set()]);
    assert_eq!(status, Some(1), "{err}");
    assert!(
        out.starts_with("== web1 web2\n  user       | somebody\n"),
        "{out}"
    );
    assert_eq!(
        out.matches("/usr/bin/true").count(),
        2,
        "argv and file: {out}"
    );
    let lines = |host: &str| out.lines().filter(|line| line.starts_with(host)).count();
    assert_eq!(
        (lines("-- web1:"), lines("-- web2:"), lines("== ")),
        (1, 1, 1),
        "{out}"
    );
}

/// What a host lies about is on its own line, and goes to no other host.
#[test]
fn lying_host_gets_nothing_else_approved() {
    let (stage, daemons) = fleet(["web1", "liar"], [TRUE; 2]);
    asks(&stage, &["web1"], &set());
    let request = listed(&stage)["sets"][0]["requests"][0].clone();
    let (job, digest) = (
        request["job_id"].as_str().unwrap(),
        request["digest"].as_str().unwrap(),
    );
    let liar = |listed: &Value, shown: &Value| {
        stage.set_host(
            "liar",
            &format!(
                "echo \"$words\" >>\"$dir/hosts/.liar\"\ncase $words in\n*pending*) printf '%s\\n' '{}' ;;\n*show*) printf '%s\\n' '{}' ;;\n\
                 *approve*) echo '{{\"end\":{{\"state\":\"exited\",\"exit\":0}}}}' ;;\nesac\n",
                json!({"requests": [listed], "omitted": 0}),
                shown
            ),
        );
    };
    let says = |job: &str, digest: &str, command: &str| json!({"job_id": job, "digest": digest, "set": set(), "yours": true, "command": command, "user": "somebody"});
    let (other_job, other_digest) = ("ab".repeat(16), "cd".repeat(32));
    // Words for a shell instead of an id: it sent nothing, and is named.
    for bad in [
        says("$(touch /tmp/x)", &other_digest, "x"),
        says(&other_job, "cd; reboot", "x"),
        json!({"job_id": other_job, "digest": 7, "set": set()}),
    ] {
        liar(&bad, &bad);
        let (status, out, err) = run(&stage, &["pending"]);
        assert_eq!(status, Some(1), "{out}");
        assert!(
            err.contains("liar: it sent a request without a job_id and a digest"),
            "{err}"
        );
        assert!(out.contains("as its requester says: web1\n"), "{out}");
    }
    // Another request than it listed, a page that begins another set, a page with more than is taken.
    let good = says(&other_job, &other_digest, "x");
    for (shown, expect) in [
        (
            says(job, digest, "x"),
            "liar: it shows another request than it lists",
        ),
        (
            json!({"job_id": other_job, "digest": other_digest, "yours": true}),
            "liar: it shows another",
        ),
        (json!([]), "liar: it printed no object of JSON"),
        (
            json!({"x": "y".repeat(2 << 20)}),
            "liar: it printed more than 1048576 bytes",
        ),
        (
            says(&other_job, &other_digest, "x")
                .as_object()
                .map(|it| {
                    let mut it = it.clone();
                    it.insert("yours".into(), json!(false));
                    Value::Object(it)
                })
                .unwrap(),
            "on liar it is not yours to approve",
        ),
    ] {
        if shown.to_string().len() > 100_000 {
            stage.set_host(
                "liar",
                &format!(
                    "case $words in *pending*) printf '%s\\n' '{}' ;; *) head -c 2000000 /dev/zero ;; esac\n",
                    json!({"requests": [good], "omitted": 0})
                ),
            );
        } else {
            liar(&good, &shown);
        }
        let (status, _, err) = run(&stage, &["approve", &set()]);
        assert_eq!(status, Some(1), "{err}");
        assert!(
            err.contains(expect) && err.contains("nothing was approved"),
            "{err}"
        );
    }
    // It claims the job and the digest of web1, with another page: both are shown, each goes to its own host.
    let forged = says(job, digest, "x\n-- web1:00000000 digest 00\u{1b}[2J");
    liar(&forged, &forged);
    let list = self::digest(&stage, &set());
    let (_, page, _) = run(&stage, &["approve", &set()]);
    assert!(
        page.contains("== liar") && !page.contains('\u{1b}'),
        "{page}"
    );
    assert_eq!(
        page.lines()
            .filter(|line| line.starts_with("-- web1:"))
            .count(),
        1,
        "{page}"
    );
    let (status, out, err) = run(&stage, &["approve", &set(), "--digest", &list]);
    assert_eq!(status, Some(0), "{out}{err}");
    assert_eq!(intents(&daemons), [1, 0]);
    // If it changes what it shows, the digest of the list is another one.
    asks(&stage, &["web1"], &"e".repeat(32));
    let mut again = says(&other_job, &other_digest, "x");
    again["set"] = json!("e".repeat(32));
    liar(&again, &again);
    let list = self::digest(&stage, "eeeeeeee");
    again["digest"] = json!("ef".repeat(32));
    liar(&again, &again);
    let (status, _, err) = run(&stage, &["approve", "eeeeeeee", "--digest", &list]);
    assert_eq!(status, Some(1));
    assert!(err.contains("has another digest"), "{err}");
    // A second request in the set would be guessed.
    let twice = json!({"requests": [again, says(&other_job, &other_digest, "y")], "omitted": 0});
    let mut twice = twice;
    twice["requests"][1]["set"] = json!("e".repeat(32));
    stage.set_host("liar", &format!("echo '{twice}'\n"));
    let (_, _, err) = run(&stage, &["approve", "eeeeeeee"]);
    assert!(
        err.contains("liar has 2 requests that say they belong to it"),
        "{err}"
    );
    assert_eq!(intents(&daemons), [1, 0]);
}

/// A request as its host lists and shows it.
fn waiting(job: &str) -> Value {
    json!({
        "job_id": job.repeat(16), "digest": job.repeat(32), "set": set(), "yours": true, "left_ms": 60_000, "user": "somebody",
        "command": "site.switch to=a", "reason": "why",
    })
}

/// A host without a daemon. This request waits there, and ends well once it is approved.
fn set_waiting(stage: &Stage, host: &str, request: &Value) {
    stage.set_host(
        host,
        &format!(
            "case $words in\n*pending*) printf '%s' '{}' ;;\n*show*) printf '%s' '{request}' ;;\n\
             *approve*) echo '{{\"end\":{{\"state\":\"exited\",\"exit\":0}}}}' ;;\nesac\n",
            json!({"requests": [request], "omitted": 0}),
        ),
    );
}

/// What a terminal shows where a line of a host ends is a line of this program.
#[test]
fn long_text_of_a_silent_host_begins_no_row_of_a_screen() {
    let stage = Stage::new(&["web1", "liar"]);
    set_waiting(&stage, "web1", &waiting("01"));
    let forged = format!("-- web1:01010101 digest {}", "0".repeat(64));
    for begin in ["not asked: liar: ", "remit-fleet: liar: "] {
        let begin = format!("{begin}it printed no object of JSON: ");
        let text = "x".repeat(80 - begin.len()) + &forged;
        stage.set_host("liar", &format!("printf '%s' '{text}'\n"));
        let command = stage.command_of(&approver(), &["approve", &set()]);
        let mut screen = Screen::with_output(&command);
        screen.reads_until(QUESTION, 1);
        screen.types("\u{4}");
        let (status, _, _, seen) = screen.end();
        assert_eq!(status, Some(1), "{seen}");
        assert!(seen.contains(&begin), "{seen}");
        let rows = Screen::rows(&seen);
        let of_web1 = rows.iter().filter(|row| row.starts_with("-- web1:"));
        assert_eq!(of_web1.count(), 1, "{seen}");
    }
}

/// Below a long script nobody looks.
#[test]
fn risks_are_above_the_script_and_in_the_summary() {
    let stage = Stage::new(&["web1"]);
    let mut request = waiting("01");
    request["script"] = json!(vec!["line"; 200]);
    request["risks"] = json!(["does: a", "bot reaches root"]);
    set_waiting(&stage, "web1", &request);
    let mut screen = Screen::of(&stage.command_of(&approver(), &["approve", &set()]));
    screen.reads_until(QUESTION, 1);
    screen.types("\u{4}");
    let (_, _, _, seen) = screen.end();
    let at = |text: &str| seen.find(text).unwrap_or_else(|| panic!("{seen}"));
    assert!(at("bot reaches root") < at("script"), "{seen}");
    assert!(seen.contains("\n1 host, 1 risk, in "), "{seen}");
}

#[test]
fn digest_in_another_spelling_is_the_same() {
    let stage = Stage::new(&["web1"]);
    set_waiting(&stage, "web1", &waiting("01"));
    let digest = digest(&stage, &set());
    let (begin, end) = digest.split_at(8);
    for spelling in [digest.to_uppercase(), format!(" {begin} {end}")] {
        let (status, _, err) = run(&stage, &["approve", &set(), "--digest", &spelling]);
        assert_eq!(status, Some(0), "{err}");
    }
    for wrong in [begin, "x", ""] {
        let (status, out, err) = run(&stage, &["approve", &set(), "--digest", wrong]);
        assert_eq!((status, &*out), (Some(64), ""), "{err}");
        assert!(err.contains("expected all 64 hex digits"), "{err}");
    }
}

#[test]
fn host_of_a_set_that_did_not_list_it_all_is_a_failure() {
    let stage = Stage::new(&["web1", "web2"]);
    let request = waiting("01");
    set_waiting(&stage, "web1", &request);
    let many = json!({"requests": [], "omitted": 7});
    for web2 in ["exit 255\n", &format!("echo '{many}'\n")] {
        stage.set_host("web2", web2);
        let digest = digest(&stage, &set());
        let (status, out, err) = run(&stage, &["approve", &set(), "--digest", &digest]);
        let approved = "web1: approved, it ended with status 0\n";
        assert_eq!((status, &*out), (Some(1), approved), "{err}");
        assert!(
            err.contains("what was shown is approved; ") && err.contains("of the set: web2; "),
            "{err}"
        );
        // One request is whole.
        let one = format!("web1:{}", request["job_id"].as_str().unwrap());
        let digest = self::digest(&stage, &one);
        let (status, _, err) = run(&stage, &["approve", &one, "--digest", &digest]);
        assert_eq!(status, Some(0), "{err}");
        let (status, out, _) = run(&stage, &["deny", &set(), "-m", "no"]);
        assert_eq!((status, &*out), (Some(1), "web1: denied\n"));
    }
    stage.set_host("web1", "exit 255\n");
    let (status, out, _) = run(&stage, &["pending"]);
    assert_eq!(status, Some(1));
    assert!(!out.contains("no requests wait"), "{out}");
}

/// A connection that ends after the work says nothing about it.
#[test]
fn lost_connection_does_not_say_that_nothing_was_done() {
    let (stage, [daemon]) = fleet(["web1"], [TRUE]);
    stage.set_host("web1", &(shim(&daemon) + "exit 255\n"));
    for (words, done) in [
        (&["lock", "-m", "x"][..], "locked"),
        (&["unlock"], "unlocked"),
    ] {
        let (status, out, err) = run(&stage, words);
        assert_eq!((status, &*out), (Some(1), ""), "{err}");
        let expect = format!("remit-fleet: web1: whether it is {done} is not known: ");
        assert!(err.starts_with(&expect), "{err}");
    }
    let kinds = ["lock", "unlock"].map(|kind| daemon.records(kind).len());
    assert_eq!(kinds, [1, 1]);
    // Its own status is an answer, and may be about a part.
    let said = "remit: locked, but not after a restart: No space left on device";
    stage.set_host("web1", &format!("echo '{said}' >&2; exit 1\n"));
    let (status, _, err) = run(&stage, &["lock", "-m", "x"]);
    let expect = format!("remit-fleet: web1: remit there failed: {said} (status 1)\n");
    assert_eq!((status, err), (Some(1), expect));
}

#[test]
fn host_that_on_leaves_out_is_no_unknown_one() {
    let stage = Stage::new(&["web1", "web2"]);
    for (request, expect) in [
        (
            "web1:0123",
            "--on leaves out 'web1', the host of the request",
        ),
        ("mail:0123", "no host is named 'mail'"),
    ] {
        let (status, _, err) = run(&stage, &["approve", "--on", "web2", request]);
        assert!(status == Some(64) && err.contains(expect), "{err}");
    }
    assert_eq!(stage.logins(), [""; 0]);
}

/// A process that the login left behind keeps it.
#[test]
fn answer_counts_though_standard_error_stays_open() {
    let stage = Stage::new(&["web1"]);
    stage.set_host(
        "web1",
        "sleep 1000 >/dev/null </dev/null &\necho $! >\"$dir/hosts/.pid\"\necho '{\"requests\": [], \"omitted\": 0}'\n",
    );
    let (status, out, err) = run(&stage, &["pending"]);
    let pid = std::fs::read_to_string(stage.path().join("hosts/.pid")).unwrap();
    kill(Pid::from_raw(pid.trim().parse().unwrap()), Signal::SIGKILL).unwrap();
    let expect = "no requests wait for an approval\n";
    assert_eq!((status, &*out, &*err), (Some(0), expect, ""));
}

/// As an sshd with many logins at once, which refuses some at random.
#[test]
fn host_that_takes_no_more_logins_is_asked_again() {
    let stage = Stage::new(&["web1"]);
    let script = "echo 'kex_exchange_identification: Connection closed by remote host' >&2\n\
         echo 'Connection closed by 192.0.2.1 port 22' >&2\n\
         mkdir \"$dir/hosts/.once\" && exit 255\n\
         exit 0\n";
    stage.set_host("web1", script);
    let (status, out, err) = stage.run(&["lock", "-m", "x"]);
    assert_eq!((status, &*out), (Some(0), "web1: locked\n"), "{err}");
    assert_eq!(stage.logins().len(), 2);
}

#[test]
fn interrupted_lock_names_what_is_known() {
    let stage = Stage::new(&["web1", "web2"]);
    stage.set_host("web1", "exit 0\n");
    stage.set_host("web2", "exec sleep 1000\n");
    let mut command = stage.command(&["lock", "-m", "x"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut lock = command.spawn().unwrap();
    let mut lines = BufReader::new(lock.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert_eq!(first, "web1: locked", "while the other is silent");
    kill(Pid::from_raw(lock.id().cast_signed()), Signal::SIGINT).unwrap();
    let left = lock.wait_with_output().unwrap();
    let err = String::from_utf8(left.stderr).unwrap();
    let expect =
        "remit-fleet: web2: whether it is locked is not known: interrupted before its answer\n";
    assert_eq!((left.status.code(), &*err), (Some(1), expect));
}

#[test]
fn lock_reaches_all_hosts_at_once_and_names_the_silent_ones() {
    let (stage, daemons) = fleet(["web1", "web2", "down"], [TRUE; 3]);
    stage.set_host(
        "down",
        "echo 'ssh: connect to host down: No route to host' >&2; exit 255\n",
    );
    let why = "what's it doing? `id` \"$HOME\" \\ !x";
    // Each is named as its answer comes.
    let sorted = |out: &str| {
        let mut lines: Vec<String> = out.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let (status, out, err) = run(&stage, &["lock", "-m", why]);
    assert_eq!(
        (status, sorted(&out)),
        (Some(1), sorted("web1: locked\nweb2: locked\n")),
        "{err}"
    );
    assert!(
        err.contains("down: whether it is locked is not known: ssh: connect")
            && err.contains("No route to host"),
        "{err}"
    );
    for daemon in &daemons[..2] {
        let locked = daemon.records("lock");
        assert!(
            locked[0].to_string().contains("what's it doing? `id`"),
            "{locked:?}"
        );
    }
    let (status, out, err) = run(&stage, &["unlock", "--on", "web*"]);
    assert_eq!(
        (status, sorted(&out), &*err),
        (Some(0), sorted("web1: unlocked\nweb2: unlocked\n"), "")
    );
    // The host says who may not.
    let (status, out, err) = stage.run(&["lock", "--on", "web1", "-m", "x"]);
    assert_eq!((status, &*out), (Some(1), ""));
    assert!(err.contains("web1: remit there failed: "), "{err}");
    // A reason that looks like an option is one all the same.
    let (status, _, err) = run(&stage, &["lock", "--on", "web1", "--message=--kill it"]);
    assert_eq!(status, Some(0), "{err}");
    let locked = daemons[0].records("lock");
    assert!(
        locked.iter().any(|it| it.to_string().contains("--kill it")),
        "{locked:?}"
    );
    let (status, _, err) = run(&stage, &["lock", "--on", "nonsense", "-m", "x"]);
    assert_eq!(status, Some(64), "{err}");
    assert!(
        run(&stage, &["lock"]).2.contains("--message"),
        "a reason is required"
    );
}
