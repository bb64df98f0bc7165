//! Files that are sent for plans, and files that are fetched: what was named is written, and nothing else.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remit_common::caps;
use remit_common::refusal::Code;
use remit_edit::{Action, Edit};
use remit_plan::PlanPath;
use remit_tests::caller::{Caller, cause, change};
use remit_tests::daemon::{Daemon, admin, user_a, user_b};
use remit_tests::process::{Identity, ends_within};
use remit_wire::edits::keep;
use remit_wire::{Reply, Request, Run, Upload, UploadPart};

use crate::copies;
use crate::plans::{GRANTS, PlanFixture};

/// Bytes that are no text, and longer than two parts.
fn image() -> Vec<u8> {
    let word = |number: u32| number.wrapping_mul(2_654_435_761).to_le_bytes();
    let words = (0..600_000).flat_map(word);
    words.chain(*b"end").collect()
}

fn named(bytes: &[u8]) -> Upload {
    Upload {
        sha256: remit_plan::sha256(bytes),
        size: bytes.len() as u64,
    }
}

fn send(caller: &mut Caller, upload: Upload, offset: u64, bytes: &[u8]) -> Result<u64, Code> {
    let part = UploadPart {
        upload,
        offset,
        bytes: bytes.to_vec().into(),
    };
    match caller.ask(Request::Upload(part)) {
        Ok(Reply::Uploaded(received)) => Ok(received),
        Ok(other) => panic!("{other:?}"),
        Err(refusal) => Err(refusal.code),
    }
}

fn kept(daemon: &Daemon, user: &Identity, upload: Upload) -> PathBuf {
    let name = format!("{}-{upload}", user.uid);
    daemon.path().join("state/uploads").join(name)
}

fn file_names(daemon: &Daemon) -> Vec<String> {
    let files = fs::read_dir(daemon.path().join("state/uploads")).expect("the daemon made it");
    let name = |file: std::io::Result<fs::DirEntry>| file.expect("it is listed").file_name();
    files
        .map(|file| name(file).to_string_lossy().into_owned())
        .collect()
}

/// The copy stays: the job need not run again.
#[test]
fn extraction_without_space_for_its_contents_is_repeated_from_the_same_copy() {
    let fixture = copies::lay();
    let at = fixture.dir.display();
    let ran = fixture.on_copy(&user_a(), &format!("yes new | head -c 3000000 >{at}/large"));
    assert!(ran.out.status.success(), "{}", ran.answer);
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let started: Vec<Vec<u8>> = (0..4_u8).map(|number| vec![number, 0]).collect();
    for bytes in &started {
        assert_eq!(send(&mut caller, named(bytes), 0, &bytes[..1]), Ok(1));
    }
    let extracted = fixture.extract(&user_a(), ran.job);
    assert_eq!(extracted.answer["exit"], 1, "{}", extracted.answer);
    let stderr = extracted.answer["stderr"].to_string();
    assert!(
        stderr.contains("4 uploads of this user are not finished"),
        "{stderr}"
    );
    for bytes in &started {
        assert_eq!(send(&mut caller, named(bytes), 1, &bytes[1..]), Ok(2));
    }
    let extracted = fixture.extract(&user_a(), ran.job);
    assert!(extracted.out.status.success(), "{}", extracted.answer);
    let plan = extracted.job.to_string();
    let request = fixture.asks(&["change", "--plan", &plan, "-m", "a test", "--no-wait"]);
    assert!(fixture.approve(request).status.success());
    let words = ["job", "--wait", &request.to_string()];
    let ended = fixture.daemon.remit(&user_a(), &words);
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(fixture.read("large"), b"new\n".repeat(750_000));
    // There is a plan, so the copy is gone.
    let again = fixture.extract(&user_a(), ran.job);
    assert!(!again.out.status.success(), "{}", again.answer);
}

#[test]
fn what_was_sent_is_committed_and_undone() {
    let mut fixture = PlanFixture::lay();
    let bytes = image();
    let local = fixture.file("local", &bytes);
    let remit = |words: &[&str]| fixture.daemon.remit(&user_a(), words);
    let output = remit(&["put", &local]);
    let said = String::from_utf8(output.stdout.clone()).expect("it is text");
    let upload = named(&bytes);
    assert_eq!(said, format!("{upload}  {local}\n"), "{output:?}");
    let records = fixture.daemon.records("upload");
    let [record] = &records[..] else {
        panic!("{records:?}")
    };
    assert_eq!(record["REMIT_UPLOAD"], upload.hash(), "{record}");
    assert_eq!(
        record["REMIT_UPLOAD_BYTES"],
        bytes.len().to_string(),
        "{record}"
    );

    // Both ways to name it: by its name, and by a file that is too long to be shown.
    let (by_name, by_file) = (fixture.at("by-name"), fixture.file("by-file", "old\n"));
    let plan = remit(&[
        "plan",
        "--upload",
        &by_name,
        &upload.to_string(),
        "--write",
        &by_file,
        &local,
    ]);
    let text = String::from_utf8(plan.stdout.clone()).expect("it is text");
    let size = format!("{} bytes (uploaded)", bytes.len());
    assert!(
        text.matches(&size).count() == 2 && text.contains(&upload.hash()),
        "{plan:?}"
    );
    assert!(
        text.contains("is an upload, not shown: compare its hash"),
        "{text}"
    );
    let id = text
        .split("remit change --plan ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    let job = fixture.asks(&[
        "change",
        "--plan",
        id.expect("an id"),
        "-m",
        "a release",
        "--no-wait",
    ]);
    let page = fixture.daemon.remit(&admin(), &["show", &job.to_string()]);
    let page = String::from_utf8(page.stdout).expect("it is text");
    assert!(page.contains(&upload.hash()), "{page}");
    let approved = fixture.approve(job);
    let said = String::from_utf8(approved.stdout).expect("it is text");
    for path in ["by-name", "by-file"] {
        assert!(fixture.read(path) == bytes, "{path}: {said}");
    }
    let intents = fixture.daemon.records("intent");
    let commit = intents
        .iter()
        .find(|one| one["REMIT_JOB"] == job.to_string());
    let changes = commit.and_then(|one| one["REMIT_PLAN_CHANGES"].as_str());
    let named = changes.map(|text| text.matches(&upload.hash()).count());
    assert_eq!(named, Some(2), "{changes:?}");
    let undo = said
        .split("undo: remit undo ")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next());
    let job = fixture.asks(&["undo", undo.expect("an id"), "-m", "it fails", "--no-wait"]);
    fixture.approve(job);
    assert_eq!(fixture.read("by-file"), b"old\n");
    assert!(!fixture.dir.join("by-name").exists());

    let may_run = format!("{GRANTS}\n[[grant]]\nto = [\"#64001\"]\nallow = [\"run\"]\n");
    fixture
        .daemon
        .set_file("config/policy.d/10-test.toml", &may_run);
    fixture.daemon.restart_cleanly();
    let remit = |words: &[&str]| fixture.daemon.remit(&user_a(), words);
    let got = remit(&["get", &local, "-"]);
    assert!(
        got.stdout == bytes,
        "{:?}",
        String::from_utf8_lossy(&got.stderr)
    );
    let got = remit(&["get", &fixture.at("none"), "-"]);
    let said = String::from_utf8_lossy(&got.stderr);
    assert!(
        !got.status.success() && said.contains("No such file"),
        "{said}"
    );
}

#[test]
fn fetching_says_that_an_approval_is_needed() {
    let mut fixture = PlanFixture::lay();
    let rule = "to = [\"#64001\"]\nallow = [\"run\"]\napproval = { by = [\"#64005\"] }";
    let policy = format!("{GRANTS}\n[[grant]]\n{rule}\n");
    fixture
        .daemon
        .set_file("config/policy.d/10-test.toml", &policy);
    fixture.daemon.restart_cleanly();
    let local = fixture.file("local", "text\n");
    let mut remit = Command::new(fixture.daemon.program("remit"));
    remit.arg("--runtime").arg(fixture.daemon.runtime().dir());
    remit.args(["get", &local, "-"]).stdin(Stdio::null());
    remit.stdout(Stdio::piped()).stderr(Stdio::piped());
    user_a().runs(&mut remit);
    let mut remit = remit.spawn().expect("it starts");
    let mut note = String::new();
    let said = BufReader::new(remit.stderr.as_mut().expect("it is piped")).read_line(&mut note);
    said.expect("it is text");
    assert!(note.contains("waits for an approval"), "{note}");
    let asked = &fixture.daemon.records("asked")[0];
    let job = asked["REMIT_JOB"].as_str().and_then(|id| id.parse().ok());
    fixture.approve(job.expect("an id"));
    let output = remit.wait_with_output().expect("it ends");
    assert_eq!(output.stdout, b"text\n", "{output:?}");
}

/// Each wrong upload is a record, so they count as what their user makes remit write.
#[test]
fn uploads_use_up_their_users_part_of_the_audit_log() {
    let mut fixture = PlanFixture::lay();
    let path = fixture.daemon.path().join("config/remit.toml");
    let text = fs::read_to_string(path).expect("the daemon has read it");
    let text = text.replace("sink = \"file\"", "sink = \"file\"\nper_user = 1048576");
    fixture.daemon.set_file("config/remit.toml", &text);
    fixture.daemon.restart_cleanly();
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    for number in 0_u32..10_000 {
        let upload = Upload {
            size: 1,
            ..named(&number.to_be_bytes())
        };
        let part = UploadPart {
            upload,
            offset: 0,
            bytes: b"x".to_vec().into(),
        };
        match caller.ask(Request::Upload(part)) {
            Err(refusal) if refusal.message.contains("1048576") => {
                assert!(number > 500, "{number}");
                return;
            }
            // The rate of requests: the next one waits as long as is said.
            Err(refusal) if refusal.code == Code::RateLimited => {
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            Err(_) | Ok(_) => {}
        }
    }
    panic!("nothing bounds them");
}

#[test]
fn parts_come_in_order_and_an_upload_that_was_cut_goes_on() {
    let fixture = PlanFixture::lay();
    let bytes = image();
    let (upload, half) = (named(&bytes), caps::UPLOAD_PART);
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    assert_eq!(send(&mut caller, upload, 0, &[]), Ok(0));
    assert_eq!(
        file_names(&fixture.daemon),
        [""; 0],
        "a question makes nothing"
    );
    assert_eq!(
        send(&mut caller, upload, 7, b"x"),
        Ok(0),
        "it does not begin there"
    );
    assert_eq!(
        send(&mut caller, upload, 0, &bytes[..half]),
        Ok(half as u64)
    );
    drop(caller);
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    // What is there already, and what comes later, changes nothing.
    for at in [0, half + 1] {
        assert_eq!(send(&mut caller, upload, at as u64, b"x"), Ok(half as u64));
    }
    assert_eq!(
        send(&mut caller, upload, half as u64, &bytes[half..2 * half]),
        Ok(2 * half as u64)
    );
    let (at, size) = (2 * half as u64, upload.size);
    assert_eq!(send(&mut caller, upload, at, &bytes[2 * half..]), Ok(size));
    assert_eq!(send(&mut caller, upload, 0, b"x"), Ok(size), "it is whole");
    assert!(fs::read(kept(&fixture.daemon, &user_a(), upload)).expect("it is kept") == bytes);
    // Another account has none of it.
    let mut other = Caller::new(&fixture.daemon, &user_b());
    assert_eq!(send(&mut other, upload, 0, &[]), Ok(0));
    assert_eq!(fixture.daemon.records("upload").len(), 1);
}

#[test]
fn what_is_not_as_named_is_refused_and_not_kept() {
    let fixture = PlanFixture::lay();
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    let upload = named(b"ten bytes!");
    assert_eq!(
        send(&mut caller, upload, 0, b"ten bytes!!"),
        Err(Code::InvalidArgs)
    );
    assert_eq!(
        send(&mut caller, upload, u64::MAX, b"x"),
        Err(Code::InvalidArgs)
    );
    assert_eq!(
        send(&mut caller, upload, 0, b"ten bytes?"),
        Err(Code::InvalidArgs)
    );
    for size in [0, 257 << 20, u64::MAX] {
        let odd = Upload { size, ..upload };
        assert_eq!(send(&mut caller, odd, 0, b"x"), Err(Code::TooLarge));
    }
    let long = named(&image());
    let part = vec![0; caps::UPLOAD_PART + 1];
    assert_eq!(send(&mut caller, long, 0, &part), Err(Code::TooLarge));
    assert_eq!(file_names(&fixture.daemon), [""; 0]);
    for number in 0..4_u8 {
        let open = Upload {
            size: 2,
            sha256: [number; 32],
        };
        assert_eq!(send(&mut caller, open, 0, b"x"), Ok(1));
    }
    assert_eq!(send(&mut caller, upload, 0, b"ten"), Err(Code::Busy));
    // Who may not plan sends nothing.
    let mut stranger = Caller::new(&fixture.daemon, &user_b());
    assert_eq!(send(&mut stranger, upload, 0, b"ten"), Err(Code::NotFound));
}

/// The broker keeps the bytes, and root writes them: what it does to them must not matter.
#[test]
fn bytes_that_changed_after_they_were_sent_are_not_written() {
    let fixture = PlanFixture::lay();
    let bytes = image();
    let (upload, local) = (named(&bytes), fixture.file("local", &bytes));
    let put = fixture.daemon.remit(&user_a(), &["put", &local]);
    assert!(put.status.success(), "{put:?}");
    let edit = fixture.edit("target", Action::Upload(upload));
    let bundle = fixture.bundle(vec![edit]);
    assert!(bundle.as_bytes().len() < 1000, "the bytes are not in it");
    let file = kept(&fixture.daemon, &user_a(), upload);
    let commit = || {
        let run = Run {
            stdin: Some(bundle.as_bytes().to_vec().into()),
            wait_ms: Some(0),
            ..change("plan.commit", &[])
        };
        let mut caller = Caller::new(&fixture.daemon, &user_a());
        let job = caller.run(run).expect("a person is asked").job;
        fixture.approve(job);
        let report = caller.end_of(job);
        assert!(!fixture.dir.join("target").exists(), "{report:?}");
        remit_tests::caller::stdout(&report)
    };
    let mut other = bytes.clone();
    other[1_000_000] ^= 1;
    fs::write(&file, &other).expect("it is foreign");
    let said = commit();
    assert!(
        said.contains("its bytes are not those of the plan"),
        "{said}"
    );
    fs::write(&file, &bytes[1..]).expect("it is foreign");
    assert!(commit().contains("it is not whole; upload it again"));
    fs::remove_file(&file).expect("it is there");
    std::os::unix::fs::symlink(&local, &file).expect("it is new");
    let said = commit();
    assert!(
        said.contains(&format!("cannot use the upload {upload}")),
        "{said}"
    );
    fs::remove_file(&file).expect("it is there");
    assert!(commit().contains("it is not there any more; upload it again"));
}

#[test]
fn a_new_broker_knows_what_is_whole() {
    let fixture = PlanFixture::lay();
    let bytes = image();
    let (whole, cut, damaged) = (named(&bytes), named(&bytes[1..]), named(&bytes[2..]));
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    for (upload, bytes) in [(whole, &bytes[..]), (damaged, &bytes[2..])] {
        let parts = bytes.chunks(caps::UPLOAD_PART).zip(0_u64..);
        for (part, number) in parts {
            let at = number * caps::UPLOAD_PART as u64;
            send(&mut caller, upload, at, part).expect("it is granted");
        }
    }
    send(&mut caller, cut, 0, b"x").expect("it is granted");
    let file = kept(&fixture.daemon, &user_a(), damaged);
    fs::write(&file, vec![0; bytes.len() - 2]).expect("it is foreign");
    let broker = fixture.daemon.broker().expect("it runs");
    kill(Pid::from_raw(broker), Signal::SIGKILL).expect("it is ours");
    assert!(ends_within(broker, 20_000));
    let mut caller = Caller::new(&fixture.daemon, &user_a());
    assert_eq!(send(&mut caller, whole, 0, &[]), Ok(whole.size));
    for gone in [cut, damaged] {
        assert_eq!(send(&mut caller, gone, 0, &[]), Ok(0));
        assert!(!kept(&fixture.daemon, &user_a(), gone).exists());
        assert_eq!(send(&mut caller, gone, 0, b"x"), Ok(1));
    }
}

#[test]
fn an_upload_is_looked_for_early_and_is_no_sudoers_file() {
    let fixture = PlanFixture::lay();
    let missing = named(b"nobody sent this").to_string();
    let path = fixture.at("target");
    let plan = fixture
        .daemon
        .remit(&user_a(), &["plan", "--upload", &path, &missing]);
    let said = String::from_utf8_lossy(&plan.stderr);
    assert!(
        said.contains(&format!("there is no upload {missing} of yours")),
        "{said}"
    );
    let mut session = fixture.daemon.session(&user_a());
    let edits = serde_json::json!([{ "path": path, "upload": missing }]);
    let refused = session.tool("plan", &serde_json::json!({ "edits": edits }));
    let text = refused["content"][0]["text"].as_str().expect("it is text");
    assert!(
        refused["isError"] == true && text.contains("remit put"),
        "{refused}"
    );
    assert_eq!(session.close(), Some(0));

    let upload = named(b"root ALL=(ALL) ALL\n");
    let edit = Edit {
        action: Action::Upload(upload),
        ..keep(PlanPath::new("/etc/sudoers.d/remit-test").expect("it is a path"))
    };
    let (report, bytes) = fixture.plan(vec![edit]);
    let said = String::from_utf8_lossy(&report.stderr.head).into_owned();
    assert!(
        bytes.is_empty() && said.contains("whoever approves reads it"),
        "{said} {}",
        cause(&report)
    );
}
