use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remit_approval::{
    AnswerHead, ApprovalRequest, BoundArgument, BoundFile, BoundLimits, BoundPass, BoundPath,
    Context, FileBinding,
};
use remit_common::admin::{
    ActiveGrant, AdminReply, AdminRequest, AnyJob, AuditHead, Grantee, NewGrant, PendingView,
};
use remit_common::behalf::Behalf;
use remit_common::hex::hex;
use remit_common::names::{JobId, SetId};
use remit_common::prove::OpenedPath;
use remit_common::refusal::{Code, Refusal};
use remit_common::text;
use remit_edit::{Action, Edit};
use remit_plan::PlanPath;
use remit_policy::{PathIs, Profile, User};
use remit_wire::outcome::State;
use remit_wire::{Bytes, Effect};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::fake::{Answer, Directory, Fake, JOB, Said, job, remit};
use crate::man::check_keys;
use crate::terminal::pty_of;

const HEAD: AuditHead = AuditHead {
    seq: 3,
    hash: [9; 32],
};
const SHORT: &str = "ABAB-abab";

fn digest_bytes() -> [u8; 32] {
    shown().digest()
}

fn digest() -> String {
    hex(&digest_bytes())
}

fn pending(job: JobId) -> PendingView {
    PendingView {
        job,
        user: "agent".into(),
        uid: 1001,
        command: "service.restart unit=nginx.service".into(),
        reason: "certificate renewed".into(),
        by: vec!["%sre".into(), "bob".into()],
        approved_by: Vec::new(),
        missing: 1,
        signed: None,
        yours: true,
        asked_ms: 951_782_399_000,
        left_ms: 599_000,
        digest: [0; 32],
        set: None,
        behalf: None,
    }
}

#[derive(Clone)]
struct Shown {
    request: ApprovalRequest,
    context: Context,
    contents: Vec<Vec<u8>>,
    is_withheld: bool,
}

impl Shown {
    fn digest(&self) -> [u8; 32] {
        Sha256::digest(remit_approval::encode(&self.request)).into()
    }

    fn pending(&self) -> PendingView {
        PendingView {
            digest: self.digest(),
            ..self.context.pending.clone()
        }
    }

    fn answer(&self) -> Vec<u8> {
        self.lies(&remit_approval::encode(&self.request), self.digest())
    }

    fn lies(&self, bytes: &[u8], listed: [u8; 32]) -> Vec<u8> {
        let mut context = self.context.clone();
        context.pending.digest = listed;
        let lengths = self.contents.iter().map(|content| content.len() as u64);
        let head = AnswerHead {
            context,
            request: bytes.len() as u64,
            contents: lengths.collect(),
            is_withheld: self.is_withheld,
        };
        [head.encode(), bytes.to_vec(), self.contents.concat()].concat()
    }
}

fn reply(answer: Vec<u8>) -> AdminReply {
    AdminReply::Shown {
        left: 0,
        bytes: Bytes::from(answer),
    }
}

fn file(what: &str, path: &str) -> BoundFile {
    let path = CString::new(path).unwrap();
    BoundFile {
        what: what.into(),
        held: FileBinding::Checked,
        name: path.clone(),
        real: path,
        dev: 1,
        ino: 2,
        ctime_ns: 3,
        size: 1234,
        sha256: [0xcd; 32],
    }
}

fn shown() -> Shown {
    let line = "nginx.service is defined in /lib/systemd/system/nginx.service";
    Shown {
        request: ApprovalRequest {
            machine_id: "00112233445566778899aabbccddeeff".into(),
            job: JOB,
            requester_uid: 1001,
            requester_name: "agent".into(),
            command: Some("service.restart".into()),
            effect: Effect::Change,
            path: vec![c"/usr/bin".into()],
            argv: vec![
                c"/usr/sbin/unit-act".into(),
                c"unit".into(),
                c"restart".into(),
                c"nginx.service".into(),
            ],
            slots: Vec::new(),
            files: vec![file("program", "/usr/sbin/unit-act")],
            does: vec![line.into()],
            opens: Vec::new(),
            opens_unknown: Vec::new(),
            script: None,
            stdin: None,
            secret_stdin: None,
            cwd: c"/".into(),
            env: vec![c"LANG=C.UTF-8".into()],
            profile: "units".into(),
            policy: "ab12".into(),
            rule: "restarts".into(),
            limits: BoundLimits {
                nofile: 256,
                nproc: 64,
                data: 1 << 30,
                cpu_s: 30,
                fsize: 1 << 26,
                tmp_bytes: 1 << 25,
                tmp_inodes: 1024,
                ..BoundLimits::default()
            },
            runtime_s: 60,
            reason: Some("certificate renewed; the old one ends tonight".into()),
            expires_ms: 951_782_999_000,
        },
        context: Context {
            pending: pending(JOB),
            loginuid: Some(1001),
            peer: "pid 4711".into(),
            client: "mcp-shim 9.9".into(),
            summary: "Restart a unit".into(),
            profile: Profile {
                name: "units".into(),
                user: User::Fixed {
                    name: "root".into(),
                    uid: 0,
                    gid: 0,
                },
                ..Profile::strict()
            },
            runtime_source: "limit of command 'service.restart'".into(),
            usual_runtime_s: None,
            is_own_program: false,
            loose: BTreeSet::new(),
            today: BTreeMap::new(),
            required: Vec::new(),
            checks: Vec::new(),
            host_jobs: Vec::new(),
            acts: Vec::new(),
            head: HEAD,
        },
        contents: Vec::new(),
        is_withheld: false,
    }
}

fn nasty(text: &str) -> Shown {
    let usual = shown();
    let owned = || text.to_owned();
    let c = || CString::new(text).unwrap();
    let nasty_file = BoundFile {
        what: owned(),
        name: c(),
        real: c"/x".into(),
        ..file("", "")
    };
    let contents = vec![text.as_bytes().to_vec(); 2];
    let hash = Some(Sha256::digest(text).into());
    Shown {
        request: ApprovalRequest {
            machine_id: owned(),
            requester_name: owned(),
            // The listed command is as nasty, and no name of one.
            command: None,
            path: vec![c()],
            argv: vec![c(); 3],
            files: vec![nasty_file],
            does: vec![owned()],
            opens: vec![OpenedPath {
                agent: owned(),
                goal: String::new(),
                steps: vec![owned()],
                closed_by: Vec::new(),
            }],
            opens_unknown: Vec::new(),
            script: hash,
            stdin: hash,
            cwd: c(),
            env: vec![c()],
            profile: owned(),
            policy: owned(),
            rule: owned(),
            reason: Some(owned()),
            ..usual.request
        },
        context: Context {
            pending: PendingView {
                user: owned(),
                command: owned(),
                reason: owned(),
                by: vec![owned()],
                ..usual.context.pending
            },
            peer: owned(),
            client: owned(),
            summary: owned(),
            profile: Profile {
                name: owned(),
                ..usual.context.profile
            },
            runtime_source: owned(),
            required: vec![owned()],
            checks: Vec::new(),
            host_jobs: vec![owned()],
            acts: Vec::new(),
            head: HEAD,
            ..usual.context
        },
        contents,
        is_withheld: false,
    }
}

fn ended() -> AnyJob {
    AnyJob {
        then: Vec::new(),
        job: JOB,
        user: "agent".into(),
        uid: 1001,
        command: "service.restart unit=nginx.service".into(),
        state: State::Exited,
        exit: Some(3),
        cause: Some("exited with status 3".into()),
        unconfirmed: None,
        started_ms: 951_782_400_000,
        runtime_ms: 2100,
        kill_verified: Some(true),
    }
}

const END: &str = "abab-abab: the job exited by itself with status 3; every process of it is gone, \
                   verified (it ran for 2.1 s)\n";

fn until_its_end() -> AdminRequest {
    AdminRequest::Job {
        id: job(),
        wait: true,
    }
}

fn one(shown: Shown) -> (Fake, Receiver<AdminRequest>) {
    let fake = Fake::new(|_| Answer::HangUp);
    let heard = fake.answer_each_administrator(move |request| match request {
        AdminRequest::Show { .. } => reply(shown.answer()),
        AdminRequest::Pending { .. } => AdminReply::Pending {
            state: 1,
            requests: vec![shown.pending()],
            omitted: 2,
        },
        AdminRequest::Job { .. } => AdminReply::Job(Box::new(ended())),
        _ => AdminReply::Done("it is done".into()),
    });
    (fake, heard)
}

fn show_of(id: &str) -> AdminRequest {
    AdminRequest::Show { id: id.into() }
}

fn approval() -> AdminRequest {
    AdminRequest::Approve {
        job: JOB,
        digest: digest_bytes(),
        signature: None,
    }
}

fn variables(command: &Command) -> Vec<(OsString, OsString)> {
    let set = |(name, value): (&OsStr, Option<&OsStr>)| Some((name.to_owned(), value?.to_owned()));
    command.get_envs().filter_map(set).collect()
}

/// setsid removes the terminal that the tests may have.
fn without_terminal(mut command: Command) -> Said {
    let mut alone = Command::new("setsid");
    alone
        .arg("-w")
        .arg(command.get_program())
        .args(command.get_args())
        .envs(variables(&command));
    command = alone;
    Said::from(command.stdin(Stdio::null()).output().unwrap())
}

#[test]
fn the_list_is_a_table() {
    let (fake, heard) = one(shown());
    let said = fake.output(&["pending"]);
    assert_eq!(
        (said.status, said.text()),
        (
            Some(0),
            "  REQUEST    CAN APPROVE  USER         LEFT  COMMAND
  abab-abab  yes          agent  9 min 59 s  service.restart unit=nginx.service
              | certificate renewed
  … and 2 more
to go on: remit show ID; remit approve ID; remit deny ID -m WHY
"
        )
    );
    assert_eq!(heard.recv().unwrap(), AdminRequest::Pending { seen: None });
    let json = fake.output(&["pending", "--json"]).json();
    assert_eq!(json["omitted"], 2);
    assert_eq!(
        json["requests"],
        json!([{
            "job_id": job(),
            "user": "agent",
            "uid": 1001,
            "command": "service.restart unit=nginx.service",
            "reason": "certificate renewed",
            "by": ["%sre", "bob"],
            "approved_by": [],
            "missing": 1,
            "signed": null,
            "yours": true,
            "asked_ms": 951_782_399_000_u64,
            "left_ms": 599_000,
            "digest": digest(),
            "set": null,
            "behalf": null,
        }])
    );
    let of_set = AdminReply::Pending {
        state: 1,
        requests: vec![PendingView {
            set: Some(SetId([7; 16])),
            ..pending(JobId([0xab; 16]))
        }],
        omitted: 0,
    };
    let claimed = AdminReply::Pending {
        state: 1,
        requests: vec![PendingView {
            behalf: Behalf::new("ann\n  7f3a  yes\u{202e}".as_bytes()),
            ..pending(JobId([0xab; 16]))
        }],
        omitted: 0,
    };
    let (fake, _heard) = Fake::admin(claimed);
    let text = fake.output(&["pending"]).text().to_owned();
    let line = "\n              | unverified: for ann\\n  7f3a  yes\\u{202e}\n";
    assert!(text.contains(line), "{text}");
    let json = fake.output(&["pending", "--json"]).json();
    check_keys(&["pending"], &json);
    assert_eq!(json["requests"][0]["behalf"], "ann\\n  7f3a  yes\\u{202e}");
    let (fake, _heard) = Fake::admin(of_set);
    let set = "07".repeat(16);
    let text = fake.output(&["pending"]).text().to_owned();
    assert!(
        text.contains(&format!("\n              : set {set}\n")),
        "{text}"
    );
    assert_eq!(
        fake.output(&["pending", "--json"]).json()["requests"][0]["set"],
        json!(set)
    );
    let (fake, _heard) = Fake::admin(AdminReply::Pending {
        state: 1,
        requests: Vec::new(),
        omitted: 0,
    });
    assert_eq!(
        fake.output(&["pending"]).text(),
        "no requests wait for an approval\n"
    );
}

/// A daemon with one more request at each query, up to three. Then it waits for the returned channel, and fails.
fn growing() -> (Fake, mpsc::Sender<()>, Receiver<AdminRequest>) {
    let fake = Fake::new(|_| Answer::HangUp);
    let asked = AtomicU32::new(0);
    let (go, gate) = mpsc::channel();
    let gate = Mutex::new(gate);
    let heard = fake.answer_each_administrator(move |request| {
        let number = asked.fetch_add(1, Ordering::SeqCst) + 1;
        let seen = (number > 1).then(|| u64::from(number) - 1);
        assert_eq!(*request, AdminRequest::Pending { seen });
        if number > 3 {
            gate.lock().unwrap().recv().unwrap();
            panic!("the daemon goes");
        }
        AdminReply::Pending {
            state: number.into(),
            requests: (1..=number)
                .map(|n| pending(JobId([n as u8; 16])))
                .collect(),
            omitted: 0,
        }
    });
    (fake, go, heard)
}

fn watch(fake: &Fake, args: &[&str]) -> (Child, impl Iterator<Item = String> + use<>) {
    let mut command = fake.remit(&[&["pending", "--watch"], args].concat());
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines.map(Result::unwrap))
}

#[test]
fn watch_shows_each_request_once() {
    let (fake, go, _heard) = growing();
    let (child, mut lines) = watch(&fake, &[]);
    assert!(
        lines
            .next()
            .unwrap()
            .starts_with("  REQUEST    CAN APPROVE")
    );
    for id in ["0101-0101", "0202-0202", "0303-0303"] {
        let line = lines.next().unwrap();
        assert!(
            line.starts_with(&format!("  {id}  yes          agent ")),
            "{line}"
        );
        assert_eq!(lines.next().unwrap().trim(), "| certificate renewed");
        assert_eq!(
            lines.next().unwrap().trim(),
            format!(": remit approve {id}")
        );
    }
    go.send(()).unwrap();
    assert_eq!(lines.next(), None);
    let said = Said::from(child.wait_with_output().unwrap());
    assert_eq!(said.status, Some(69), "{said:?}");
    assert!(
        said.stderr.contains("\nremit: lost the connection"),
        "{said:?}"
    );
}

/// Others who watch see that their approval is the one that is missing.
#[test]
fn watch_shows_a_request_again_that_somebody_has_approved() {
    let fake = Fake::new(|_| Answer::HangUp);
    let asked = AtomicU32::new(0);
    let _heard = fake.answer_each_administrator(move |_| {
        let number = asked.fetch_add(1, Ordering::SeqCst) + 1;
        assert!(number <= 3, "the daemon goes");
        let (approved_by, missing) = match number {
            1 => (Vec::new(), 2),
            _ => (vec!["ann".to_owned()], 1),
        };
        AdminReply::Pending {
            state: number.into(),
            requests: vec![PendingView {
                approved_by,
                missing,
                ..pending(JobId([1; 16]))
            }],
            omitted: 0,
        }
    });
    let (child, lines) = watch(&fake, &["--json"]);
    let seen: Vec<String> = lines
        .map(|line| {
            let list: serde_json::Value = serde_json::from_str(&line).unwrap();
            let one = &list["requests"][0];
            format!("{} {}", one["approved_by"], one["missing"])
        })
        .collect();
    // The last is the error.
    assert_eq!(seen, ["[] 2", "[\"ann\"] 1", "[\"ann\"] 1", "null null"]);
    child.wait_with_output().unwrap();
}

#[test]
fn watch_as_json_is_the_whole_list_at_each_change() {
    let fake = Fake::new(|_| Answer::HangUp);
    let asked = AtomicU32::new(0);
    let _heard = fake.answer_each_administrator(move |request| {
        let number = asked.fetch_add(1, Ordering::SeqCst);
        let seen = (number > 0).then(|| u64::from(number) - 1);
        assert_eq!(*request, AdminRequest::Pending { seen });
        let waiting: &[u8] = match number {
            0 => &[],
            1 => &[1],
            2 => &[1, 2],
            3 => &[2],
            _ => panic!("the daemon goes"),
        };
        AdminReply::Pending {
            state: number.into(),
            requests: waiting.iter().map(|n| pending(JobId([*n; 16]))).collect(),
            omitted: u32::from(number == 2),
        }
    });
    let (child, lines) = watch(&fake, &["--json"]);
    let lists: Vec<(Vec<String>, u64)> = lines
        .take(4)
        .map(|line| {
            let list: serde_json::Value = serde_json::from_str(&line).unwrap();
            let ids = list["requests"].as_array().unwrap().iter();
            let ids = ids.map(|one| one["job_id"].as_str().unwrap()[..2].to_owned());
            (ids.collect(), list["omitted"].as_u64().unwrap())
        })
        .collect();
    let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
    let expected = [
        (ids(&[]), 0),
        (ids(&["01"]), 0),
        (ids(&["01", "02"]), 1),
        (ids(&["02"]), 0),
    ];
    assert_eq!(lists, expected);
    child.wait_with_output().unwrap();
}

#[test]
fn a_signal_ends_the_watch() {
    let (fake, _go, _heard) = growing();
    let (mut child, lines) = watch(&fake, &["--json"]);
    let lengths: Vec<usize> = lines
        .take(3)
        .map(|line| {
            let list: serde_json::Value = serde_json::from_str(&line).unwrap();
            list["requests"].as_array().unwrap().len()
        })
        .collect();
    assert_eq!(lengths, [1, 2, 3]);
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    // Not SIGINT, because shells ignore it in background processes.
    kill(pid, Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(15));
}

#[test]
fn watch_without_reader_ends() {
    let (fake, _go, _heard) = growing();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = fake
        .remit(&["pending", "--watch"])
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn();
    let said = Said::from(child.unwrap().wait_with_output().unwrap());
    assert_eq!(said.status, Some(0), "{said:?}");
    // How to leave, if it did not end before.
    assert!(said.stderr.lines().count() <= 1, "{said:?}");
}

#[test]
fn watch_ends_with_its_reader() {
    let (fake, go, _heard) = growing();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut child = fake
        .remit(&["--json", "pending", "--watch"])
        .stdout(writer)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // All that the daemon says.
    assert_eq!(BufReader::new(reader).lines().take(3).count(), 3);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    drop(go);
}

const PAGE: &str = "\
request abababababababababababababababab
  who         | agent (uid 1001)
  asks for    | service.restart unit=nginx.service
  because     | certificate renewed; the old one ends tonight
  executes    | /usr/sbin/unit-act unit restart nginx.service
  as          | root (uid 0, gid 0), in sandbox 'units' (base strict)
  does        | nginx.service is defined in /lib/systemd/system/nginx.service
  RISK        | it runs as root without capabilities, inside its sandbox
  until       : WHEN, in 9 min 59 s
  digest      : 5a5a5a5a 5a5a5a5a 5a5a5a5a 5a5a5a5a
              : 5a5a5a5a 5a5a5a5a 5a5a5a5a 5a5a5a5a
  more        : remit show abab-abab --all (environment, sandbox, limits, rule)
";

const ALL: &str = "\
request abababababababababababababababab
  who         | agent (uid 1001)
              | loginuid 1001, pid 4711
  client      | mcp-shim 9.9
              : a name that the client gives itself
  asks for    | service.restart unit=nginx.service
  purpose     | Restart a unit
  asked       | 2000-02-28 23:59:59 UTC
  because     | certificate renewed; the old one ends tonight
  executes    | /usr/sbin/unit-act unit restart nginx.service
  argv[0]     | /usr/sbin/unit-act
  argv[1]     | unit
  argv[2]     | restart
  argv[3]     | nginx.service
  as          | root (uid 0, gid 0), in sandbox 'units' (base strict)
  file        | /usr/sbin/unit-act
              : program, 1234 bytes, sha256:
              : cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd
  directory   | /
  variables   | LANG=C.UTF-8
  stdin       : nothing
  sandbox     | sees /usr and what is listed here; no other files of the
              + machine, and no processes of others
              | reaches no network
  limits      | ended after 60 s (limit of command 'service.restart'); 1024 MiB
              + of memory per process; 30 s of CPU time per process; 64
              + processes and threads; 256 open files per process; 32 MiB and
              + 1024 files in each private directory
  rule        | restarts
  policy      | ab12
  does        | nginx.service is defined in /lib/systemd/system/nginx.service
  RISK        | it runs as root without capabilities, inside its sandbox
  by          | %sre, bob
              : you can approve it
  until       : WHEN, in 9 min 59 s
  digest      : 5a5a5a5a 5a5a5a5a 5a5a5a5a 5a5a5a5a
              : 5a5a5a5a 5a5a5a5a 5a5a5a5a 5a5a5a5a
";

fn timeless(page: &str) -> String {
    let lines = page.lines().map(|line| match line.split_once(" UTC, in ") {
        Some((until, left)) => format!("{}WHEN, in {left}\n", &until[..until.len() - 19]),
        None => format!("{line}\n"),
    });
    let page: String = lines.collect();
    let digest = digest();
    let groups: Vec<&str> = (0..8).map(|at| &digest[8 * at..8 * at + 8]).collect();
    let row = ["5a5a5a5a"; 4].join(" ");
    let page = page.replace(&groups[..4].join(" "), &row);
    page.replace(&groups[4..].join(" "), &row)
}

#[test]
fn a_request_is_a_screenful() {
    let (fake, heard) = one(shown());
    let said = fake.output(&["show", SHORT]);
    assert_eq!((said.status, said.stderr.as_str()), (Some(0), ""));
    assert_eq!(timeless(said.text()), PAGE);
    assert_eq!(heard.recv().unwrap(), show_of("abababab"));
    let said = fake.output(&["show", SHORT, "--all"]);
    assert_eq!(timeless(said.text()), ALL);
    assert!(said.text().lines().all(|line| line.len() <= 80), "{said:?}");
    assert_eq!(heard.recv().unwrap(), show_of("abababab"));
    let json = fake.output(&["show", &job(), "--json"]).json();
    check_keys(&["show", "pending"], &json);
    assert_eq!(heard.recv().unwrap(), show_of(&job()));
    assert_eq!(
        json["reason"],
        "certificate renewed; the old one ends tonight"
    );
    assert_eq!(json["argv"][2], "restart");
    assert_eq!(json["files"][0]["sha256"], "cd".repeat(32));
    assert_eq!(json["digest"], digest());
}

fn unusual(change: impl FnOnce(&mut Shown)) -> Vec<String> {
    let mut request = shown();
    change(&mut request);
    let (fake, _heard) = one(request);
    let page = timeless(fake.output(&["show", SHORT]).text());
    let usual: Vec<&str> = PAGE.lines().collect();
    let more = page.lines().filter(|line| !usual.contains(line));
    more.map(|line| line.trim_start().to_owned()).collect()
}

fn copy(shown: &mut Shown) {
    shown.contents.push(b"x".to_vec());
    shown.request.slots.push(BoundArgument::Path(BoundPath {
        index: 1,
        before: Vec::new(),
        under: c"/srv".into(),
        beneath: c"x".into(),
        is: PathIs::File,
        pass: BoundPass::Copy,
    }));
    shown.request.files.push(BoundFile {
        held: FileBinding::Copied,
        size: 1,
        sha256: Sha256::digest(b"x").into(),
        ..file("argument 1", "/srv/x")
    });
}

#[test]
fn unusual_value_is_on_short_page() {
    assert_eq!(unusual(|_| {}), [""; 0]);
    assert_eq!(unusual(|r| r.context.peer = "x".into()), [""; 0]);
    fn content(shown: &mut Shown) -> Option<[u8; 32]> {
        shown.contents.push(b"x".to_vec());
        Some(Sha256::digest(b"x").into())
    }
    type Change = Box<dyn FnOnce(&mut Shown)>;
    let cases: [(Change, &str); 13] = [
        (
            Box::new(|r| r.request.cwd = c"/srv".into()),
            "directory   | /srv",
        ),
        (
            Box::new(|r| r.request.env.push(c"A=b".into())),
            "variables   | A=b",
        ),
        (
            Box::new(|r| r.request.env.push(c"LANG=C".into())),
            "variables   | LANG=C",
        ),
        (
            Box::new(|r| r.request.stdin = content(r)),
            "stdin       | 1 byte, sha256",
        ),
        (
            Box::new(|r| r.request.script = content(r)),
            "script      | 1 line, 1 byte, sha256",
        ),
        (Box::new(copy), "copies      | [… argument 1"),
        (
            Box::new(|r| r.context.client = "a\u{202e}".into()),
            "client      | a\\u{202e}",
        ),
        (
            Box::new(|r| r.request.files.push(file("argument 3", "/x"))),
            "file        | /x",
        ),
        (
            Box::new(|r| r.request.files.push(file("interpreter", "/sh"))),
            "file        | /sh",
        ),
        (
            Box::new(|r| r.request.files[0].name = c"/x".into()),
            ": program, by the name /x",
        ),
        (
            Box::new(|r| r.request.argv[3] = c"a b".into()),
            "argv[3]     | a b",
        ),
        (
            Box::new(|r| r.request.argv[3] = CString::new("x".repeat(65)).unwrap()),
            "argv[1]     | unit",
        ),
        (
            Box::new(|r| r.context.pending.yours = false),
            ": you cannot approve it",
        ),
    ];
    for (change, line) in cases {
        let more = unusual(change);
        assert!(
            more.iter().any(|one| one.starts_with(line)),
            "{line}: {more:?}"
        );
    }
}

fn is_sound(page: &str) -> bool {
    let columns = |line: &str| -> usize {
        let width = |c: char| if c.is_ascii() { 1 } else { 2 };
        line.chars().map(width).sum()
    };
    let own = [format!("request {}", job()), String::new()];
    page.lines().all(|line| {
        let mark = line.as_bytes().get(14).copied().unwrap_or_default();
        let named = line.starts_with("  ") && b"|+:".contains(&mark);
        let plain = line.chars().all(|c| text::is_plain(c) && c != '\t');
        plain && columns(line) <= 80 && (named || own.iter().any(|own| own == line))
    })
}

#[test]
fn request_text_cannot_forge_own_lines() {
    let wide = "\u{6f22}".repeat(300);
    let far = format!("{}\n  digest      : 00000000 00000000", " ".repeat(2048));
    for text in [
        "",
        "a\n  digest      : 00000000 00000000\nrequest 0",
        "\x1b[2J\x1b[1;1H\x1b]0;x\x07\r\x08\x7f\u{9b}2J",
        "\u{202e}desrever\u{2066}\u{200b}\u{ad}\u{feff}",
        "a\u{301}\u{a0}b\tc",
        "[\u{2026} 40 bytes more, sha256 00 \u{2026}]",
        &"x".repeat(1000),
        &wide,
        &far,
    ] {
        let nasty = nasty(text);
        let digest = hex(&nasty.digest()[..4]);
        let (fake, _heard) = one(nasty);
        let short = fake.output(&["show", "abab"]);
        assert!(is_sound(short.text()), "{}", short.text());
        let said = fake.output(&["show", "abab", "--all"]);
        assert_eq!(said.status, Some(0));
        assert!(is_sound(said.text()), "{}", said.text());
        let end: Vec<&str> = said.text().lines().rev().take(2).collect();
        assert!(
            end[1].starts_with(&format!("  digest      : {digest} ")),
            "{end:?}"
        );
        assert!(
            said.text().lines().count() < 600,
            "{}",
            said.text().lines().count()
        );
        for args in [
            &["pending"][..],
            &["--json", "pending"],
            &["--json", "show", "abab"],
        ] {
            let said = fake.output(args);
            assert!(said.text().chars().all(text::is_plain), "{args:?} {said:?}");
            let long = |line: &str| line.chars().count() > 80;
            assert!(
                args != ["pending"] || !said.text().lines().any(long),
                "{said:?}"
            );
            let lines = said.text().lines().count();
            assert!(lines == 1 || args == ["pending"] && lines == 5, "{said:?}");
        }
    }
}

struct Screen {
    child: Child,
    master: File,
    seen: String,
}

impl Screen {
    fn of(command: Command) -> Self {
        Self::of_columns(None, command)
    }

    fn of_columns(columns: Option<u16>, command: Command) -> Self {
        let pty = pty_of(columns);
        // setsid(1) makes it session leader with this controlling terminal.
        let mut own = Command::new("setsid");
        own.arg("-c")
            .arg("-w")
            .arg(command.get_program())
            .args(command.get_args())
            .envs(variables(&command));
        let child = own
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .stdin(pty.slave)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(own);
        Self {
            child,
            master: File::from(pty.master),
            seen: String::new(),
        }
    }

    fn asked(&mut self, times: usize) {
        self.shows("8 digits of the digest: ", times);
    }

    fn shows(&mut self, text: &str, times: usize) {
        let mut chunk = [0; 4096];
        while self.seen.matches(text).count() < times {
            let length = self.master.read(&mut chunk).unwrap();
            self.seen += std::str::from_utf8(&chunk[..length]).unwrap();
        }
    }

    fn types(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    fn end(mut self) -> (Said, String) {
        let mut chunk = [0; 4096];
        // Linux returns EIO after the last slave is closed (pty(7)).
        while let Ok(length @ 1..) = self.master.read(&mut chunk) {
            self.seen += std::str::from_utf8(&chunk[..length]).unwrap();
        }
        (
            Said::from(self.child.wait_with_output().unwrap()),
            self.seen,
        )
    }
}

fn all(heard: &Receiver<AdminRequest>) -> Vec<AdminRequest> {
    heard.try_iter().collect()
}

#[test]
fn no_terminal_gets_the_bytes_of_a_request() {
    let (fake, heard) = one(shown());
    let pty = pty_of(None);
    let mut command = fake.remit(&["show", SHORT, "--bytes"]);
    command.stdout(pty.slave).stderr(Stdio::piped());
    let said = Said::from(command.spawn().unwrap().wait_with_output().unwrap());
    assert_ne!(said.status, Some(0), "{said:?}");
    assert!(said.stderr.contains("remit show ID --all"), "{said:?}");
    assert!(all(&heard).is_empty(), "{said:?}");
}

#[test]
fn typed_digest_approves_shown_request() {
    let digest = digest();
    let first = &digest[..8];
    let spaced = format!("{} {}\n", first[..4].to_uppercase(), &first[4..]);
    for typed in [format!("{first}\n"), spaced, format!("{digest}\n")] {
        let (fake, heard) = one(shown());
        let mut screen = Screen::of(fake.remit(&["approve", SHORT]));
        screen.asked(1);
        screen.types(&typed);
        let (said, seen) = screen.end();
        assert_eq!(
            (said.status, said.text()),
            (Some(0), format!("it is done\n{END}").as_str()),
            "{said:?}"
        );
        assert_eq!(
            all(&heard),
            [show_of("abababab"), approval(), until_its_end()]
        );
        let page = seen.replace("\r\n", "\n");
        let (page, _) = page.split_once("\nTo approve exactly this").unwrap();
        let painted = "\x1b[33m  RISK        | it runs as root without capabilities, inside its sandbox\x1b[0m";
        assert_eq!(page.matches('\x1b').count(), 2, "{page}");
        let page = page.replace(
            painted,
            "  RISK        | it runs as root without capabilities, inside its sandbox",
        );
        assert_eq!(timeless(&page), PAGE);
    }
}

#[test]
fn page_is_folded_on_a_narrow_terminal() {
    let reason = format!("{}  approved by | carol, erin", "A".repeat(24));
    let shown = Shown {
        request: ApprovalRequest {
            reason: Some(reason.clone()),
            ..shown().request
        },
        context: Context {
            pending: PendingView {
                reason,
                ..pending(JOB)
            },
            ..shown().context
        },
        contents: Vec::new(),
        is_withheld: false,
    };
    let (fake, _heard) = one(shown);
    let mut screen = Screen::of_columns(Some(40), fake.remit(&["approve", SHORT]));
    screen.asked(1);
    screen.types("\u{4}");
    let (_, seen) = screen.end();
    let (page, _) = seen.split_once("\r\n\r\nTo approve exactly").unwrap();
    assert!(page.contains("  approved by | "), "{page}");
    let page = page.replace("\x1b[33m", "").replace("\x1b[0m", "");
    for row in page
        .lines()
        .filter(|row| !row.is_empty() && !row.starts_with("request "))
    {
        let mark = row.as_bytes().get(14).copied().unwrap_or_default();
        assert!(b"|+:".contains(&mark) && row.len() <= 40, "{row}: {page}");
    }
}

#[test]
fn a_slip_may_be_corrected_twice() {
    let (fake, heard) = one(shown());
    let mut screen = Screen::of(fake.remit(&["--json", "approve", SHORT]));
    let digest = digest();
    let first = &digest[..8];
    let typed = [
        "yes\n",
        &format!("{}\n", &first[..7]),
        &format!("{first}\n"),
    ];
    for (time, typed) in typed.into_iter().enumerate() {
        screen.asked(time + 1);
        screen.types(typed);
    }
    let (said, seen) = screen.end();
    assert_eq!(
        said.json(),
        json!({ "done": "it is done", "job_id": job(), "digest": digest, "missing": 0, "end": {
            "job_id": job(),
            "user": "agent",
            "uid": 1001,
            "command": "service.restart unit=nginx.service",
            "state": "exited",
            "exit": 3,
            "cause": "exited with status 3",
            "started_ms": 951_782_400_000_u64,
            "runtime_ms": 2100,
            "kill_verified": true,
        } })
    );
    // N27: the message must say what to type, how to leave and how to deny.
    for part in [
        &format!(
            "That is not the digest. Type {first}… to approve, Ctrl-C to leave (it stays pending)."
        ),
        "remit deny abab-abab -m",
    ] {
        assert_eq!(seen.matches(part).count(), 2, "{part}: {seen}");
    }
    assert!(all(&heard).contains(&approval()));
}

#[test]
fn anything_else_approves_nothing() {
    let long = format!("{}\n", "5a".repeat(200));
    for (lines, why) in [
        (
            &["y\n", "\n", "ffffffff\n"][..],
            "what was typed is not the digest",
        ),
        (
            &["a5a5a5a5\n", &long, "0a5a5a5b\n"],
            "what was typed is not the digest",
        ),
        (&["\x04"], "nothing was typed"),
        (&["no\n", "\x04"], "nothing was typed"),
    ] {
        let (fake, heard) = one(shown());
        let mut screen = Screen::of(fake.remit(&["approve", SHORT]));
        for (time, line) in lines.iter().enumerate() {
            screen.asked(time + 1);
            screen.types(line);
        }
        let (said, _) = screen.end();
        assert_eq!((said.status, said.text()), (Some(1), ""), "{lines:?}");
        assert_eq!(said.stderr, format!("remit: not approved: {why}\n"));
        assert_eq!(all(&heard), [show_of("abababab")], "nothing was approved");
    }
}

#[test]
fn page_without_its_copies_is_read_and_not_approved() {
    let mut withheld = shown();
    copy(&mut withheld);
    (withheld.is_withheld, withheld.contents) = (true, Vec::new());
    let (fake, heard) = one(withheld);
    let said = fake.output(&["show", SHORT, "--json"]);
    assert_eq!(said.status, Some(0));
    assert!(said.text().contains("is not shown to you"), "{said:?}");
    let said = fake.output(&["approve", SHORT]);
    assert!(said.stderr.contains("nothing was approved"), "{said:?}");
    assert!(said.status != Some(0) && said.stdout.is_empty(), "{said:?}");
    assert_eq!(all(&heard), [show_of("abababab"), show_of("abababab")]);
}

/// The requester knows the digest and can give a person lines to paste.
#[test]
fn input_before_the_question_is_ignored() {
    let (go, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let fake = Fake::new(|_| Answer::HangUp);
    let heard = fake.answer_each_administrator(move |request| match request {
        AdminRequest::Show { .. } => {
            gate.lock().unwrap().recv().unwrap();
            reply(shown().answer())
        }
        _ => AdminReply::Done("it is done".into()),
    });
    let mut screen = Screen::of(fake.remit(&["approve", SHORT]));
    let first = &digest()[..8];
    screen.types(&format!("{first}\n{first}\n"));
    // The echo shows that the terminal has the input.
    let mut chunk = [0; 4096];
    while screen.seen.matches(&format!("{first}\r\n")).count() < 2 {
        let length = screen.master.read(&mut chunk).unwrap();
        screen.seen += std::str::from_utf8(&chunk[..length]).unwrap();
    }
    go.send(()).unwrap();
    screen.asked(1);
    screen.types("\x04");
    let (said, _) = screen.end();
    assert_eq!(said.status, Some(1), "{said:?}");
    assert_eq!(all(&heard), [show_of("abababab")]);
}

/// A daemon, or its renderer, that lies: nothing of the answer is shown, and nothing is approved.
#[test]
fn answer_that_contradicts_itself_is_refused() {
    let bytes = remit_approval::encode(&shown().request);
    let digest_of = |bytes: &[u8]| -> [u8; 32] { Sha256::digest(bytes).into() };
    let with_script = || {
        let mut shown = shown();
        shown.request.script = Some(digest_of(b"id\n"));
        shown.contents = vec![b"id\n".to_vec()];
        shown
    };
    let changed = |change: fn(&mut Shown)| {
        let mut shown = with_script();
        change(&mut shown);
        shown.answer()
    };
    let trailing = [&bytes[..], b"rule 1\nx\n"].concat();
    let other = shown().lies(&bytes, [0x5a; 32]);
    let cases = [
        (other, "but the daemon lists the request with 5a5a5a5a"),
        (
            shown().lies(&trailing, digest_of(&trailing)),
            "'expires-ms' is not the end",
        ),
        (
            shown().lies(&bytes[..40], digest_of(&bytes[..40])),
            "are not a request",
        ),
        ([shown().answer(), vec![0]].concat(), "do not fit together"),
        (
            changed(|shown| shown.contents[0] = b"rm\n".to_vec()),
            "the script is not what",
        ),
        (
            changed(|shown| shown.contents.clear()),
            "the script is not what",
        ),
        (
            changed(|shown| shown.contents.push(b"more".to_vec())),
            "do not fit together",
        ),
        (
            changed(|shown| shown.context.pending.job = JobId([1; 16])),
            "about another request",
        ),
        (
            changed(|shown| {
                shown.request.job = JobId([1; 16]);
                shown.context.pending.job = JobId([1; 16]);
            }),
            "about another request",
        ),
        (
            changed(|shown| shown.context.pending.command = "service.start".into()),
            "another command",
        ),
        (
            changed(|shown| shown.context.profile.name = "strict".into()),
            "another sandbox",
        ),
    ];
    for (answer, why) in cases {
        let fake = Fake::new(|_| Answer::HangUp);
        let heard = fake.answer_each_administrator(move |request| match request {
            AdminRequest::Show { .. } => reply(answer.clone()),
            _ => AdminReply::Done("it is done".into()),
        });
        for args in [
            &["show", SHORT][..],
            &["show", SHORT, "--json"],
            &["approve", SHORT],
        ] {
            let mut said = Screen::of(fake.remit(args));
            said.types(&format!("{}\n", digest()));
            let (said, seen) = said.end();
            assert_eq!(said.status, Some(125), "{why}: {said:?}");
            let printed = format!("{}{}", said.stderr, said.text());
            assert!(printed.contains(why), "{why}: {said:?}");
            assert!(!seen.contains("nginx"), "nothing of it is shown: {seen}");
        }
        assert_eq!(
            all(&heard),
            [
                show_of("abababab"),
                show_of("abababab"),
                show_of("abababab")
            ]
        );
    }
    let (fake, _heard) = one(with_script());
    assert_eq!(fake.output(&["show", SHORT]).status, Some(0));
}

#[test]
fn without_a_terminal_only_the_whole_digest_approves() {
    let (fake, heard) = one(shown());
    let said = without_terminal(fake.remit(&["approve", SHORT]));
    assert_eq!((said.status, said.text()), (Some(125), ""));
    let line = format!("remit approve {} --digest {}", job(), digest());
    assert_eq!(
        said.stderr,
        format!(
            "remit: there is no terminal to ask at; 'remit show abab-abab' shows what you approve\n\
             remit: to go on: {line}\n"
        )
    );
    assert_eq!(all(&heard), [show_of("abababab")]);
    let json = without_terminal(fake.remit(&["--json", "approve", SHORT])).json();
    assert_eq!(
        (&json["error"]["code"], &json["error"]["lift"]),
        (&"needs_approval".into(), &line.into())
    );
    all(&heard);

    for (id, looked_up) in [(job(), false), (SHORT.to_owned(), true)] {
        let args = ["approve", &id, "--no-wait", "--digest", &digest()];
        let said = without_terminal(fake.remit(&args));
        assert_eq!((said.status, said.text()), (Some(0), "it is done\n"));
        let show = looked_up.then(|| show_of("abababab"));
        assert_eq!(
            all(&heard),
            Vec::from_iter(show.into_iter().chain([approval()]))
        );
    }

    // Another digest is sent unchanged, so the audit log records the mismatch.
    let other = "00".repeat(32);
    without_terminal(fake.remit(&["approve", &job(), "--no-wait", "--digest", &other]));
    let sent = AdminRequest::Approve {
        job: JOB,
        digest: [0; 32],
        signature: None,
    };
    assert_eq!(all(&heard), [sent]);
}

/// A commit of one new file, and the id that undoes it.
fn commit() -> (Shown, String) {
    let edit = Edit {
        path: PlanPath::new("/srv/a").unwrap(),
        action: Action::Write(b"x\n".to_vec()),
        mode: None,
        uid: None,
        gid: None,
        base_sha256: None,
        create_only: false,
    };
    let bundle = remit_edit::bundle(vec![edit.apply(None).unwrap().unwrap()]).unwrap();
    let mut shown = shown();
    shown.request.command = Some("plan.commit".into());
    shown.request.argv = vec![
        c"/usr/libexec/remit/remit-commit".into(),
        c"commit".into(),
        c"/var/lib/remit/commits".into(),
    ];
    shown.request.stdin = Some(Sha256::digest(bundle.as_bytes()).into());
    shown.context.pending.command = "plan.commit".into();
    shown.contents = vec![bundle.as_bytes().to_vec()];
    (shown, bundle.plan().commit_id())
}

/// It was there whatever became of the commit.
#[test]
fn undo_follows_a_commit_that_ended_well() {
    for (exit, missing, more, has_undo) in [
        (Some(0), 0, None, true),
        (Some(1), 0, None, false),
        (None, 0, None, false),
        (Some(0), 1, None, false),
        (Some(0), 0, Some("--no-wait"), false),
    ] {
        let (shown, id) = commit();
        let digest: String = shown.digest().map(|byte| format!("{byte:02x}")).concat();
        let fake = Fake::new(|_| Answer::HangUp);
        let _heard = fake.answer_each_administrator(move |request| match request {
            AdminRequest::Show { .. } => reply(shown.answer()),
            AdminRequest::Job { .. } => AdminReply::Job(Box::new(AnyJob { exit, ..ended() })),
            _ => AdminReply::Counted {
                text: "it is done".into(),
                missing,
            },
        });
        for (one, is_known) in [(SHORT.to_owned(), true), (job(), false)] {
            let args = ["approve", &one, "--digest", &digest];
            let args: Vec<&str> = args.into_iter().chain(more).collect();
            let is_there = has_undo && is_known;
            let json = fake.output(&[&["--json"], &args[..]].concat()).json();
            let undo = is_there.then_some(id.as_str());
            assert_eq!(
                json.get("undo").and_then(serde_json::Value::as_str),
                undo,
                "{json}"
            );
            check_keys(&["approve", "jobs"], &json);
            let said = fake.output(&args);
            let line = format!("\nundo: remit undo {id} -m WHY\n");
            assert_eq!(said.text().ends_with(&line), is_there, "{said:?}");
            assert_eq!(said.text().contains("undo"), is_there, "{said:?}");
        }
    }
}

#[test]
fn request_for_other_approvers_has_no_question() {
    let mut request = shown();
    request.context.pending.yours = false;
    let (fake, heard) = one(request);
    for more in [&[][..], &["--signed"], &["--signed", "--digest", &digest()]] {
        let args = [&["approve", SHORT], more].concat();
        let said = without_terminal(fake.remit(&args));
        assert_eq!((said.status, said.text()), (Some(125), ""), "{more:?}");
        let why = "nothing was approved: you cannot approve this; it needs approval by ";
        assert!(said.stderr.contains(why), "{said:?}");
        assert_eq!(all(&heard), [show_of("abababab")]);
    }
    // The daemon refuses it, so the audit log has it.
    without_terminal(fake.remit(&["approve", SHORT, "--no-wait", "--digest", &digest()]));
    assert_eq!(all(&heard), [show_of("abababab"), approval()]);
}

#[test]
fn n06_show_tells_end_of_decided_request() {
    for (state, cause, word, end) in [
        (
            State::Exited,
            "exited with status 3",
            "exited",
            "exited by itself with status 3",
        ),
        (
            State::Denied,
            "denied by ann: not now",
            "denied",
            "not approved: denied by ann",
        ),
        (
            State::Denied,
            "the policy has changed; it never ran",
            "void",
            "the request is void: the policy",
        ),
        (
            State::Expired,
            "nobody approved it in time; it never ran",
            "expired",
            "the request expired",
        ),
    ] {
        let fake = Fake::new(|_| Answer::HangUp);
        let over = AnyJob {
            state,
            exit: (state == State::Exited).then_some(3),
            cause: Some(cause.into()),
            unconfirmed: None,
            ..ended()
        };
        let heard = fake.answer_each_administrator(move |request| match request {
            AdminRequest::Job { .. } => AdminReply::Job(Box::new(over.clone())),
            _ => AdminReply::Refused(Refusal::new(
                Code::NotFound,
                "no request with this id is waiting",
            )),
        });
        let said = fake.output(&["show", SHORT]);
        assert_eq!(
            (said.status, said.stderr.as_str()),
            (Some(0), ""),
            "{said:?}"
        );
        let page = said.text().to_owned();
        let has_run = state == State::Exited;
        let title = format!("{} {}\n", if has_run { "job" } else { "request" }, job());
        assert!(page.starts_with(&title), "{page}");
        assert_eq!(page.contains("verified"), has_run, "{page}");
        assert!(
            page.contains(&format!("\n  state       : {word}\n")),
            "{page}"
        );
        assert!(
            page.replace("\n              + ", " ").contains(end),
            "{page}"
        );
        assert!(page.lines().all(|line| line.len() <= 80), "{page}");
        let question = AdminRequest::Job {
            id: "abababab".into(),
            wait: false,
        };
        assert_eq!(all(&heard), [show_of("abababab"), question]);
        let json = fake.output(&["show", SHORT, "--json"]).json();
        assert_eq!(json["cause"], cause);
        // A key that only approves opens no audit log.
        let mut shell = fake.remit(&["approver-shell"]);
        shell.env("SSH_ORIGINAL_COMMAND", format!("show {SHORT}"));
        let afar = without_terminal(shell);
        let story = "remit audit show abababab";
        assert!(
            page.contains(story) && !afar.text().contains(story),
            "{afar:?}"
        );
        assert!(
            afar.text().contains(&format!("\n  state       : {word}\n")),
            "{afar:?}"
        );
    }
}

/// An older daemon closes the connection after an unknown request.
#[test]
fn n06_approval_by_older_daemon_succeeds() {
    let fake = Fake::new(|_| Answer::HangUp);
    let _heard = fake.answer_each_administrator(|request| match request {
        AdminRequest::Job { .. } => panic!("a question of a later release"),
        _ => AdminReply::Done("it is done".into()),
    });
    let said = without_terminal(fake.remit(&["approve", &job(), "--digest", &digest()]));
    assert_eq!(
        (said.status, said.text()),
        (Some(0), "it is done\n"),
        "{said:?}"
    );
    assert!(
        said.stderr.contains("does not say how it ended"),
        "{said:?}"
    );
    assert!(said.stderr.contains("remit show abab-abab"), "{said:?}");
}

#[test]
fn a_denial_carries_its_reason() {
    let (fake, heard) = one(shown());
    let deny = AdminRequest::Deny {
        job: JOB,
        why: "not before the weekend".into(),
    };
    // The request itself is not asked for: the log would have that it was shown.
    let listed = AdminRequest::Pending { seen: None };
    let looked_up = AdminRequest::Job {
        id: "abababab".into(),
        wait: false,
    };
    for (id, expect) in [
        // The list is cut: another request may begin alike.
        (SHORT, &[listed, looked_up, deny.clone()][..]),
        (&job(), std::slice::from_ref(&deny)),
    ] {
        let said = fake.output(&["deny", id, "-m", "not before the weekend"]);
        assert_eq!((said.status, said.text()), (Some(0), "it is done\n"));
        assert_eq!(all(&heard), expect);
    }
    let json = fake.output(&["--json", "deny", &job(), "-m", "no"]).json();
    assert_eq!(json, json!({ "done": "it is done" }));
    // It cannot be sent, so no answer to it comes.
    let long = "w".repeat(100_000);
    let said = fake.output(&["deny", &job(), "-m", &long]);
    assert_eq!(said.status, Some(125), "{said:?}");
    assert!(said.stderr.contains("the maximum is 65536"), "{said:?}");
}

#[test]
fn a_denial_chooses_among_pending_requests() {
    let fake = Fake::new(|_| Answer::HangUp);
    let _heard = fake.answer_each_administrator(|request| match request {
        AdminRequest::Pending { .. } => AdminReply::Pending {
            state: 1,
            requests: vec![shown().pending()],
            omitted: 0,
        },
        AdminRequest::Deny { job: JOB, .. } => AdminReply::Done("it is done".into()),
        // Among all jobs, several begin so.
        _ => AdminReply::Refused(Refusal::new(Code::InvalidArgs, "2 ids begin with it")),
    });
    for (id, status) in [(SHORT, Some(0)), ("cdcd", Some(125))] {
        let said = fake.output(&["deny", id, "-m", "no"]);
        assert_eq!(said.status, status, "{said:?}");
    }
}

#[test]
fn refused_approval_is_reported() {
    let refusal = Refusal::new(Code::NotFound, "'abab' begins two ids\x1b[2J");
    let (fake, heard) = Fake::admin(AdminReply::Refused(refusal));
    for args in [
        &["show", "abab"][..],
        &["approve", "abab"],
        &["approve", "abab", "--digest", &digest()],
        &["approve", &job(), "--digest", &digest()],
        &["deny", "abab", "-m", "no"],
        &["grant", "root", "x.*", "--for", "1h"],
        &["grants"],
        &["revoke", "7"],
        &["pending", "--watch"],
    ] {
        let said = fake.output(args);
        assert_eq!((said.status, said.text()), (Some(125), ""), "{args:?}");
        assert_eq!(
            said.stderr, "remit: 'abab' begins two ids\\x1b[2J (not_found)\n",
            "{args:?}"
        );
        let json = fake.output(&[&["--json"], args].concat());
        assert_eq!(json.json()["error"]["code"], "not_found", "{args:?}");
        // One request each: nothing follows a refusal, except that show asks for the decision.
        let questions = if args[0] == "show" { 4 } else { 2 };
        assert_eq!(all(&heard).len(), questions, "{args:?}");
    }
}

#[test]
fn invalid_id_is_not_sent() {
    let (fake, heard) = one(shown());
    for id in ["", "aba", "xyzw", "ab ab", &"a".repeat(33), "\x1b[2J"] {
        for args in [
            &["show", id][..],
            &["approve", id],
            &["deny", id, "-m", "x"],
        ] {
            assert_eq!(fake.output(args).status, Some(64), "{args:?}");
        }
    }
    assert_eq!(all(&heard), []);
}

#[test]
fn missing_client_of_ssh_says_what_to_install() {
    let dir = Directory::new();
    let mut command = remit(dir.path(), &["approve", "--on", "web1", "7f3a-91c2"]);
    let said = Said::from(command.env("PATH", dir.path()).output().unwrap());
    assert_ne!(said.status, Some(0), "{said:?}");
    let next = "to go on: install OpenSSH's client";
    assert!(said.stderr.contains(next), "{said:?}");
}

#[test]
fn status_of_ssh_is_that_of_the_first_connection() {
    let dir = Directory::new();
    let ssh = dir.path().join("ssh");
    for (script, status) in [("exit 255", 255), ("exit 77", 77), ("kill -9 $$", 255)] {
        std::fs::write(&ssh, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&ssh, PermissionsExt::from_mode(0o755)).unwrap();
        let mut command = remit(dir.path(), &["approve", "--on", "web1", "7f3a-91c2"]);
        let said = Said::from(command.env("PATH", dir.path()).output().unwrap());
        assert_eq!(said.status, Some(status), "{said:?}");
        assert!(
            said.stderr
                .contains("nothing was approved: 'ssh web1' failed"),
            "{said:?}"
        );
    }
}

#[test]
fn a_reader_that_left_is_no_failure() {
    let (fake, heard) = one(shown());
    for args in [
        &["show", &job()][..],
        &["pending"],
        &["approve", &job(), "--digest", &digest()],
        &["deny", &job(), "-m", "no"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let child = fake
            .remit(args)
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn();
        let said = Said::from(child.unwrap().wait_with_output().unwrap());
        assert_eq!(
            (said.status, said.stderr.as_str()),
            (Some(0), ""),
            "{args:?}"
        );
    }
    assert_eq!(all(&heard).len(), 4);
}

fn sample_grant(to: Grantee, uses: Option<u32>) -> ActiveGrant {
    ActiveGrant {
        grant: 7,
        new: NewGrant {
            to,
            what: "service.*".into(),
            args: vec![("unit".into(), "a b=c".into())],
            for_s: 1800,
            uses,
            across_reboot: uses.is_none(),
            paths: Vec::new(),
        },
        covered: (1..=9).map(|at| format!("service.s{at}")).collect(),
        by: "ann".into(),
        by_uid: 1002,
        granted_ms: 951_782_399_000,
        left_ms: 1_799_000,
        uses_left: uses,
    }
}

fn root() -> Grantee {
    Grantee::User {
        name: "root".into(),
        uid: 0,
    }
}

#[test]
fn grant_shows_its_terms() {
    let (fake, heard) = Fake::admin(AdminReply::Granted(Box::new(sample_grant(root(), Some(5)))));
    let args = [
        "grant",
        "root",
        "service.*",
        "unit=a b=c",
        "--for",
        "30min",
        "--uses",
        "5",
    ];
    let said = fake.output(&args);
    assert_eq!(
        (said.status, said.text()),
        (
            Some(0),
            "grant 7: root may run service.* (service.s1, service.s2, service.s3, service.s4, service.s5, service.s6, service.s7, \
             service.s8 and 1 more) unit=a b=c without another approval for 29 min 59 s, 5 runs\n\
             to end it: remit revoke 7\n"
        )
    );
    assert_eq!(
        heard.recv().unwrap(),
        AdminRequest::Grant {
            new: sample_grant(root(), Some(5)).new,
            accepts_paths: false
        }
    );
    let json = fake.output(&[&["--json"], &args[..]].concat()).json();
    check_keys(&["grant"], &json);
    assert_eq!(
        json,
        json!({
            "grant": 7,
            "to": "root",
            "uid": 0,
            "gid": null,
            "what": "service.*",
            "covered": (1..=9).map(|at| format!("service.s{at}")).collect::<Vec<_>>(),
            "args": [{ "name": "unit", "value": "a b=c" }],
            "paths": [],
            "for_s": 1800,
            "left_ms": 1_799_000,
            "uses": 5,
            "uses_left": 5,
            "across_reboot": false,
            "by": "ann",
            "by_uid": 1002,
            "given_ms": 951_782_399_000_u64,
        })
    );
    heard.recv().unwrap();
    fake.output(&["grant", "%#64999", "x", "--for", "1d", "--across-reboot"]);
    assert_eq!(
        heard.recv().unwrap(),
        AdminRequest::Grant {
            new: NewGrant {
                to: Grantee::Group {
                    name: "#64999".into(),
                    gid: 64999
                },
                what: "x".into(),
                args: Vec::new(),
                for_s: 86_400,
                uses: None,
                across_reboot: true,
                paths: Vec::new(),
            },
            accepts_paths: false
        }
    );
    let said = fake.output(&["grant", "no-such-user-x", "x", "--for", "1d"]);
    assert_eq!(
        (said.status, said.stderr.as_str()),
        (
            Some(125),
            "remit: there is no user 'no-such-user-x' on this machine\n"
        )
    );
    assert_eq!(all(&heard), []);
}

#[test]
fn grants_are_a_table_and_end_by_number() {
    let group = Grantee::Group {
        name: "ops\x1b".into(),
        gid: 9,
    };
    let all_grants = vec![sample_grant(root(), Some(5)), sample_grant(group, None)];
    let (fake, _heard) = Fake::admin(AdminReply::Grants(all_grants));
    let eight = "service.s1, service.s2, service.s3, service.s4, service.s5, service.s6, service.s7, service.s8";
    let what = format!("service.* ({eight} and 1 more) unit=a b=c");
    assert_eq!(
        fake.output(&["grants"]).text(),
        format!(
            "  GRANT  TO               LEFT  RUNS LEFT  SURVIVES REBOOT  BY   WHAT\n      \
               7  root      29 min 59 s          5  no               ann  {what}\n      \
               7  %ops\\x1b  29 min 59 s          -  yes              ann  {what}\n"
        )
    );
    let json = fake.output(&["--json", "grants"]).json();
    assert_eq!(json["grants"][1]["to"], "%ops\x1b");
    let (fake, _heard) = Fake::admin(AdminReply::Grants(Vec::new()));
    assert_eq!(fake.output(&["grants"]).text(), "no temporary grants\n");

    let (fake, heard) = Fake::admin(AdminReply::Done("2 grants ended".into()));
    for (args, grant) in [
        (&["revoke", "7"][..], Some(7)),
        (&["revoke", "--all"], None),
    ] {
        let said = fake.output(args);
        assert_eq!((said.status, said.text()), (Some(0), "2 grants ended\n"));
        assert_eq!(heard.recv().unwrap(), AdminRequest::Revoke { grant });
    }
}

/// The daemon, and `remit approver-shell` as sshd starts it for a client that asks for `line`.
fn approver_shell(line: &str) -> (Said, Vec<AdminRequest>) {
    let (fake, heard) = one(shown());
    let mut command = fake.remit(&["approver-shell"]);
    command.env("SSH_ORIGINAL_COMMAND", line);
    let said = without_terminal(command);
    (said, all(&heard))
}

#[test]
fn approvers_key_reaches_the_daemon_by_four_verbs() {
    let pending = AdminRequest::Pending { seen: None };
    let (said, heard) = approver_shell("remit pending --json");
    assert_eq!(
        (said.json()["omitted"].as_u64(), heard),
        (Some(2), vec![pending])
    );
    let (said, heard) = approver_shell("show abababab");
    assert!(said.text().contains("certificate renewed"), "{said:?}");
    assert_eq!(heard, [show_of("abababab")]);
    let (said, heard) = approver_shell(&format!(
        "remit approve {} --digest {} --no-wait",
        job(),
        digest()
    ));
    assert_eq!((said.status, heard), (Some(0), vec![approval()]));
    let (said, heard) = approver_shell(&format!(
        r"remit deny {} '--message=it'\''s $(id); night'",
        job()
    ));
    let why = "it's $(id); night".to_owned();
    assert_eq!(
        (said.status, heard),
        (Some(0), vec![AdminRequest::Deny { job: JOB, why }])
    );
    // Without a terminal it approves nothing, as ever.
    let (said, heard) = approver_shell("approve abababab");
    assert_eq!((said.status, heard), (Some(125), vec![show_of("abababab")]));
}

#[test]
fn approvers_key_signs_on_its_own_computer() {
    let refusal = Refusal::new(Code::NeedsApproval, "its rule asks for a signature");
    let refusal = refusal.lift("remit approve abab --signed");
    let (fake, _heard) = Fake::admin(AdminReply::Refused(refusal));
    let line = format!("remit approve {} --digest {}", job(), digest());
    let mut command = fake.remit(&["approver-shell"]);
    command.env("SSH_ORIGINAL_COMMAND", line);
    let said = without_terminal(command);
    assert_eq!(said.status, Some(125), "{said:?}");
    let lift = "on your own computer: remit approve --on ";
    assert!(said.stderr.contains(lift), "{said:?}");
    assert!(!said.stderr.contains("--signed"), "{said:?}");
}

#[test]
fn approvers_key_reaches_nothing_else() {
    for (line, status, why) in [
        (
            "remit lock -m x",
            125,
            "this key only approves: 'lock' is not permitted",
        ),
        (
            "remit grant agent x --for 1h",
            125,
            "'grant' is not permitted",
        ),
        (
            "remit approver-shell",
            125,
            "'approver-shell' is not permitted",
        ),
        (
            "sh",
            125,
            "type one of: pending; show ID; approve ID; deny ID -m WHY",
        ),
        (
            "remit pending; remit unlock",
            125,
            "no shell reads this line: put ';' into single quotes",
        ),
        (
            "remit --runtime /tmp pending",
            125,
            "--runtime is not permitted",
        ),
        ("remit deny abab", 64, "--message"),
        ("", 125, "there is no terminal to ask at"),
        ("remit \u{1b}[2J", 125, "\\x1b[2J"),
    ] {
        let (said, heard) = approver_shell(line);
        assert_eq!(
            (said.status, heard),
            (Some(status), Vec::new()),
            "{line}: {said:?}"
        );
        assert!(said.stderr.contains(why), "{line}: {said:?}");
        assert!(said.text().is_empty(), "{line}: {said:?}");
    }
}

#[test]
fn approver_without_a_command_is_asked_for_one() {
    let (fake, heard) = one(shown());
    let mut screen = Screen::of(fake.remit(&["approver-shell"]));
    let long = format!("deny {} -m {}", job(), "x".repeat(300));
    let deny = format!("deny {} -m 'not now'", job());
    for (at, line) in ["lock -m x", &long, &deny, "", "exit"]
        .into_iter()
        .enumerate()
    {
        screen.shows("remit> ", at + 1);
        screen.types(&format!("{line}\n"));
    }
    let (said, _) = screen.end();
    assert_eq!(said.status, Some(0), "{said:?}");
    assert_eq!(
        said.text().matches("certificate renewed").count(),
        2,
        "{said:?}"
    );
    assert!(said.stderr.contains("'lock' is not permitted"), "{said:?}");
    assert!(
        said.stderr.contains("a line has less than 256 bytes"),
        "{said:?}"
    );
    let why = "not now".to_owned();
    let pending = || AdminRequest::Pending { seen: None };
    assert_eq!(
        all(&heard),
        [pending(), AdminRequest::Deny { job: JOB, why }, pending()]
    );
}
