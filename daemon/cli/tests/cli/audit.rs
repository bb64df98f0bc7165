use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use remit_common::admin::{AdminReply, AdminRequest, AuditHead, Status};
use remit_trail::{Hash, hash, hex};
use serde_json::{Map, Value, json};

use crate::admin::status;
use crate::chained::chained_line;
use crate::fake::{Answer, Directory, Fake, Said, remit};

/// Makes an audit log of jobs with two records each, an intent and an end. Returns its lines and the last hash.
fn audit_log(count: u64) -> (Vec<String>, Hash) {
    let mut prev = [0; 32];
    let lines = (1..=count).map(|seq| {
        let job = format!("{:08x}{}", seq.div_ceil(2), "0".repeat(24));
        let is_end = seq % 2 == 0;
        let mut fields = vec![
            ("MESSAGE", format!("alice runs [{}]: df", &job[..8])),
            ("MESSAGE_ID", "1edd20adaf1747c6a70f3941f01b0e26".to_owned()),
            ("PRIORITY", "6".to_owned()),
            ("REMIT_SEQ", seq.to_string()),
            ("REMIT_BOOT", "ab".repeat(16)),
            (
                "REMIT_TIME",
                format!("2026-11-20T08:{:02}:00.042Z", seq % 60),
            ),
            ("REMIT_PREV", hex(&prev)),
            (
                "REMIT_EVENT",
                if is_end { "end" } else { "intent" }.to_owned(),
            ),
            (
                "REMIT_USER",
                if seq % 4 < 2 { "bob" } else { "alice" }.to_owned(),
            ),
            ("REMIT_VERDICT", "allow".to_owned()),
            ("REMIT_JOB", job),
            ("REMIT_ARGV", format!("df -h /srv/{seq} gr\u{fc}n")),
        ];
        if is_end {
            fields.push(("REMIT_STATE", "exited".to_owned()));
            fields.push(("REMIT_EXIT", "0".to_owned()));
        }
        chained_line(fields, &mut prev)
    });
    let lines = lines.collect();
    (lines, prev)
}

fn write(dir: &Directory, name: &str, lines: &[String]) -> String {
    let path = dir.path().join(name);
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn audit(args: &[&str]) -> Said {
    let args = [&["audit"], args].concat();
    Said::from(remit(Path::new("/nonexistent"), &args).output().unwrap())
}

#[test]
fn whole_log_verifies_across_files_and_without_start() {
    let dir = Directory::new();
    let (lines, last) = audit_log(40);
    let all = write(&dir, "all", &lines);
    let (old, new) = (
        write(&dir, "old", &lines[..25]),
        write(&dir, "new", &lines[25..]),
    );
    let keep = format!("40:{}", hex(&last));
    let whole = "the audit log is whole";
    let late = "the audit log is whole from record 26 on; 25 earlier ones are not here";
    for (args, records, first_line) in [
        (&["--file", &all][..], 40, whole),
        (&["--file", &old, "--file", &new], 40, whole),
        (&["--file", &new], 15, late),
        (&["--file", &all, "--since", "2026-11-20 08:31"], 10, whole),
        (&["--file", &all, "--expect", &keep], 40, whole),
    ] {
        let said = audit(&[&["verify"], args].concat());
        assert_eq!(said.status, Some(0), "{args:?}: {said:?}");
        assert_eq!(said.text().lines().next(), Some(first_line), "{args:?}");
        assert!(
            said.text().contains(&format!("verify --expect {keep}\n")),
            "{args:?}"
        );
        let json = audit(&[&["--json", "verify"], args].concat()).json();
        assert_eq!(json["whole"], true);
        assert_eq!(json["records"], records, "{args:?}");
        assert_eq!((&json["last"], &json["keep"]), (&json!(40), &json!(keep)));
        assert_eq!(json["findings"], json!([]));
    }
    let until = [
        "verify",
        "--file",
        &all,
        "--until",
        "2026-11-20 08:20:30",
        "--json",
    ];
    assert_eq!(audit(&until).json()["last"], 20);
}

#[test]
fn list_that_leaves_out_older_records_says_so() {
    let dir = Directory::new();
    let (lines, _) = audit_log(51);
    let file = write(&dir, "trail", &lines);
    let said = audit(&["show", "--file", &file]);
    assert_eq!(said.text().lines().count(), 50);
    assert!(said.stderr.contains("older records match"), "{said:?}");
    let all = audit(&["show", "--file", &file, "-n", "51"]);
    assert_eq!((all.text().lines().count(), all.stderr.as_str()), (51, ""));
}

#[test]
fn first_line_names_the_bad_record() {
    let (lines, last) = audit_log(40);
    let keep = format!("40:{}", hex(&last));
    let change = |at: usize, from: &str, to: &str| {
        let mut lines = lines.clone();
        lines[at - 1] = lines[at - 1].replace(from, to);
        lines
    };
    let mut removed = lines.clone();
    removed.remove(16);
    let mut doubled = lines.clone();
    doubled.insert(20, lines[16].clone());
    let mut swapped = lines.clone();
    swapped.swap(16, 17);
    let cut = lines[..33].to_vec();
    let mut half = lines.clone();
    half[39].truncate(100);
    // Many parsers use the other of two equal keys.
    let twice = change(17, "{", "{\"REMIT_USER\":\"root\",");
    for (what, lines, kind, seq) in [
        ("an edit", change(17, "df -h", "rm -r"), "edit", 17),
        (
            "a field more",
            change(17, "{", "{\"REMIT_RULE\":\"x\","),
            "edit",
            17,
        ),
        ("a field twice", twice, "edit", 17),
        (
            "a field less",
            change(17, "REMIT_ARGV", "XEMIT_ARGV"),
            "edit",
            17,
        ),
        ("removed", removed, "gap", 17),
        ("doubled", doubled, "double", 17),
        ("swapped", swapped, "order", 18),
        ("cut", cut, "truncated", 34),
        ("half a line", half, "unreadable", 40),
        ("no line", change(17, "}", ""), "unreadable", 17),
        (
            "bytes in it",
            change(17, "df -h", "\u{1}"),
            "unreadable",
            17,
        ),
    ] {
        let dir = Directory::new();
        let file = write(&dir, "trail", &lines);
        let args = ["verify", "--file", &file, "--expect", &keep];
        let said = audit(&args);
        assert_eq!(said.status, Some(1), "{what}: {said:?}");
        let first = said.text().lines().next().unwrap_or_default();
        let number = format!(" {seq}");
        assert!(
            first.starts_with("the audit log is not whole: ") && first.contains(&number),
            "{what}: {first}"
        );
        let json = audit(&[&args[..], &["--json"]].concat()).json();
        let finding = &json["findings"][0];
        assert_eq!(
            (&finding["kind"], &finding["seq"]),
            (&json!(kind), &json!(seq)),
            "{what}: {json}"
        );
        assert_eq!(
            (&json["whole"], &json["keep"]),
            (&json!(false), &Value::Null)
        );
    }
}

/// The demand of a rule and the signature are in names of other fields: the hash is the same, and no reader sees them.
#[test]
fn signature_in_a_name_is_found() {
    const KEY: &str =
        "ann ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
    let job = "ab".repeat(16);
    let mut prev = [0; 32];
    let mut last = String::new();
    let mut record = |seq: u64, own: &[(&str, &str)], swallowed: [&str; 2]| {
        let mut fields: Vec<(String, String)> = [
            ("MESSAGE", "m"),
            ("MESSAGE_ID", "0a328af6c0994a3fbca1be6cdfb98d06"),
            ("PRIORITY", "5"),
            ("REMIT_BOOT", &job),
            ("REMIT_JOB", &job),
            ("REMIT_PREV", &hex(&prev)),
            ("REMIT_SEQ", &seq.to_string()),
            ("REMIT_SIGNED", "touch"),
            ("REMIT_TIME", "2026-11-20T08:11:11.042Z"),
        ]
        .iter()
        .chain(own)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
        prev = hash(
            fields
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        );
        last = format!("{seq}:{}", hex(&prev));
        fields.sort();
        let at = |name: &str| fields.iter().position(|(other, _)| other == name).unwrap();
        let (from, to) = (at(swallowed[0]), at(swallowed[1]));
        let before = fields[from..to].iter();
        let before: String = before
            .map(|(name, value)| format!("{name} {}\n{value}\n", value.len()))
            .collect();
        let mut changed = fields.clone();
        changed[to].0.insert_str(0, &before);
        changed.drain(from..to);
        [fields, changed].map(|mut fields| {
            fields.push(("REMIT_HASH".to_owned(), hex(&prev)));
            let fields = fields.into_iter().map(|(name, value)| (name, json!(value)));
            Value::Object(fields.collect::<Map<_, _>>()).to_string()
        })
    };
    let asked = record(
        1,
        &[("REMIT_EVENT", "asked")],
        ["REMIT_SIGNED", "REMIT_TIME"],
    );
    let approved = [
        ("REMIT_APPROVER", "ann"),
        ("REMIT_EVENT", "approved"),
        ("REMIT_SIGNATURE", "AAAA"),
        ("REMIT_SIGNED_BY", "SHA256:x"),
    ];
    let approved = record(2, &approved, ["REMIT_SIGNATURE", "REMIT_TIME"]);
    let dir = Directory::new();
    let keys = write(&dir, "keys", &[KEY.to_owned()]);
    let [true_log, changed] = [0, 1].map(|at| [asked[at].clone(), approved[at].clone()]);
    let file = write(&dir, "trail", &true_log);
    let json = audit(&["--json", "verify", "--file", &file, "--expect", &last]).json();
    assert_eq!(json["whole"], true, "{json}");
    let file = write(&dir, "trail", &changed);
    let args = [
        "--json",
        "verify",
        "--file",
        &file,
        "--expect",
        &last,
        "--signers",
        &keys,
    ];
    let said = audit(&args);
    assert_eq!(said.status, Some(1), "{said:?}");
    let json = said.json();
    let found: Vec<_> = json["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (&one["kind"], &one["seq"]))
        .collect();
    assert_eq!(
        found,
        [(&json!("edit"), &json!(1)), (&json!("edit"), &json!(2))],
        "{json}"
    );
}

#[test]
fn end_is_compared_with_daemon_head() {
    let (lines, hash) = audit_log(20);
    let (fake, _heard) = Fake::admin(AdminReply::AuditHead(AuditHead { seq: 20, hash }));
    let state = Directory::new();
    let config = Directory::new();
    fs::write(
        config.path().join("remit.toml"),
        "[audit]\nsink = \"file\"\n",
    )
    .unwrap();
    let source_args = [
        "--state",
        state.path().to_str().unwrap(),
        "--config",
        config.path().to_str().unwrap(),
    ];
    let verify = || fake.output(&[&["audit", "verify"], &source_args[..]].concat());
    write(&state, "audit.jsonl", &lines);
    let said = verify();
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(
        said.text()
            .contains("compared with record 20 of the daemon"),
        "{said:?}"
    );

    write(&state, "audit.jsonl", &lines[..18]);
    let said = verify();
    assert_eq!(said.status, Some(1), "{said:?}");
    assert!(
        said.text().lines().next().unwrap().contains("19"),
        "{said:?}"
    );

    write(&state, "audit.jsonl", &audit_log(24).0);
    let said = verify();
    assert_eq!(said.status, Some(1), "{said:?}");
    assert!(
        said.text()
            .contains("the newest that the daemon knows is 20"),
        "{said:?}"
    );

    write(&state, "audit.jsonl", &lines);
    let said = fake.output(
        &[
            &["audit", "verify", "--since", "2026-11-20 09:00"],
            &source_args[..],
        ]
        .concat(),
    );
    assert_eq!(
        (said.status, said.text().lines().next()),
        (Some(0), Some("there are no records"))
    );
}

#[test]
fn sink_of_the_running_daemon_is_read() {
    let (lines, hash) = audit_log(20);
    let fake = Fake::new(|_| Answer::HangUp);
    let _heard = fake.answer_each_administrator(move |request| match request {
        AdminRequest::Status => AdminReply::Status(Box::new(Status {
            audit: "file".to_owned(),
            ..status()
        })),
        _ => AdminReply::AuditHead(AuditHead { seq: 20, hash }),
    });
    let (state, config) = (Directory::new(), Directory::new());
    write(&state, "audit.jsonl", &lines);
    // Newer than the daemon.
    let edited = "[audit]\nsink = \"syslog\"\n".to_owned();
    write(&config, "remit.toml", &[edited]);
    let [state, config] = [&state, &config].map(|dir| dir.path().to_str().unwrap());
    for verb in [
        &["verify"][..],
        &["show"],
        &["show", "00000007"],
        &["export"],
        &["report", "-o", "-"],
    ] {
        let args = [&["audit"], verb, &["--state", state]].concat();
        let said = fake.output(&args);
        assert_eq!(said.status, Some(0), "{said:?}");
        let said = fake.output(&[&args[..], &["--config", config]].concat());
        assert_eq!(said.status, Some(125), "{said:?}");
        assert!(said.stderr.contains("is no sink"), "{said:?}");
    }
    let said = fake.output(&["audit", "verify", "--state", state]);
    let end = "compared with record 20 of the daemon";
    assert!(said.text().contains(end), "{said:?}");
}

#[test]
fn end_of_a_time_is_compared_too() {
    let (lines, hash) = audit_log(20);
    let (fake, _heard) = Fake::admin(AdminReply::AuditHead(AuditHead { seq: 20, hash }));
    let state = Directory::new();
    let config = Directory::new();
    let sink = "[audit]\nsink = \"file\"\n";
    fs::write(config.path().join("remit.toml"), sink).unwrap();
    let [state_dir, config_dir] = [&state, &config].map(|dir| dir.path().to_str().unwrap());
    let garbage: Vec<String> = (0..50).map(|_| "garbage".to_owned()).collect();
    let mended = |at: usize, line: &str| {
        let mut lines = lines.clone();
        lines[at] = line.to_owned();
        lines
    };
    let without = |from: usize, to: usize| [&lines[..from], &lines[to..]].concat();
    // Record N is of 08:N; the last one of 08:20.
    for (what, lines, since, records, finding) in [
        ("whole", lines.clone(), "08:10", 11, None),
        ("whole, nothing since", lines.clone(), "09:00", 0, None),
        ("cut", lines[..14].to_vec(), "09:00", 0, Some("truncated")),
        ("cut", lines[..14].to_vec(), "08:10", 5, Some("truncated")),
        ("empty", Vec::new(), "09:00", 0, Some("truncated")),
        ("garbage", garbage, "09:00", 16, Some("unreadable")),
        (
            "garbage at the end",
            mended(19, "x"),
            "09:00",
            1,
            Some("unreadable"),
        ),
        (
            "garbage at the start",
            mended(9, "x"),
            "08:10",
            11,
            Some("unreadable"),
        ),
        ("start removed", without(9, 12), "08:10", 8, Some("gap")),
        ("removed before it", without(2, 4), "08:10", 11, None),
    ] {
        write(&state, "audit.jsonl", &lines);
        let since = format!("2026-11-20 {since}:00");
        let args = ["audit", "verify", "--json", "--since", &since];
        let said =
            fake.output(&[&args, &["--state", state_dir, "--config", config_dir][..]].concat());
        let expect = if finding.is_some() { 1 } else { 0 };
        assert_eq!(said.status, Some(expect), "{what}: {said:?}");
        let json = said.json();
        assert_eq!(json["records"], records, "{what}: {json}");
        assert_eq!(
            json["findings"][0]["kind"].as_str(),
            finding,
            "{what}: {json}"
        );
    }
}

#[test]
fn unread_verdict_is_in_the_status() {
    let (lines, _) = audit_log(4);
    let dir = Directory::new();
    let whole = write(&dir, "whole", &lines);
    let cut = write(&dir, "cut", &[&lines[..1], &lines[2..]].concat());
    fs::create_dir(dir.path().join("policy.d")).unwrap();
    write(&dir, "policy.d/broken.toml", &["[[grant]]".to_owned()]);
    let config = dir.path().to_str().unwrap();
    let page = format!("{config}/report.html");
    for (args, expect) in [
        (["audit", "verify", "--file", &whole].to_vec(), 0),
        (["audit", "verify", "--file", &cut].to_vec(), 1),
        (
            ["policy", "check", "--any-owner", "--config", config].to_vec(),
            1,
        ),
        (["audit", "report", "-o", "-", "--file", &cut].to_vec(), 1),
        (
            ["audit", "report", "--force", "-o", &page, "--file", &cut].to_vec(),
            1,
        ),
    ] {
        for form in [&[][..], &["--json"]] {
            let args = [&args[..], form].concat();
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            let mut command = remit(dir.path(), &args);
            let status = command.stdout(writer).status().unwrap();
            assert_eq!(status.code(), Some(expect), "{args:?}");
        }
    }
}

#[test]
fn head_file_is_used_without_daemon() {
    let (lines, hash) = audit_log(20);
    let state = Directory::new();
    let mut head = remit_trail::Head::new([1; 16]);
    head.newest = remit_trail::Link { seq: 20, hash };
    fs::create_dir(state.path().join("warden")).unwrap();
    let file = state.path().join("warden/audit-head");
    fs::write(&file, head.bytes()).unwrap();
    let audit_log = write(&state, "audit.jsonl", &lines[..18]);
    let dir = state.path().to_str().unwrap();
    let args = [
        "verify", "--state", dir, "--config", dir, "--file", &audit_log,
    ];
    let said = audit(&args);
    assert_eq!(said.status, Some(1), "{said:?}");
    assert!(
        said.text()
            .contains("compared with record 20 of the state directory"),
        "{said:?}"
    );
    for (bytes, why) in [
        (&b"x"[..], "not a head"),
        (&head.bytes()[1..], "not a head"),
    ] {
        fs::write(&file, bytes).unwrap();
        let said = audit(&args);
        assert_eq!(said.status, Some(0), "{said:?}");
        assert!(
            said.text()
                .contains("not compared: the daemon does not run")
                && said.text().contains(why),
            "{said:?}"
        );
    }
}

/// The chain goes on in another sink, to record 40.
#[test]
fn end_of_a_file_is_compared_only_if_the_daemon_writes_to_it() {
    let (lines, hash) = audit_log(20);
    let (state, config) = (Directory::new(), Directory::new());
    let file = write(&state, "audit.jsonl", &lines);
    let [state, settings] = [&state, &config].map(|dir| dir.path().to_str().unwrap());
    let args = ["audit", "verify", "--state", state, "--file", &file];
    for (sink, exit) in [("journald", 0), ("file", 1)] {
        let fake = Fake::new(|_| Answer::HangUp);
        let _heard = fake.answer_each_administrator(move |request| match request {
            AdminRequest::Status => AdminReply::Status(Box::new(Status {
                audit: sink.to_owned(),
                ..status()
            })),
            _ => AdminReply::AuditHead(AuditHead { seq: 40, hash }),
        });
        let said = fake.output(&args);
        assert_eq!(said.status, Some(exit), "{sink}: {said:?}");
        for (text, exit) in [
            (format!("[audit]\nsink = \"{sink}\"\n"), exit),
            ("[audit]\n".to_owned(), 0),
            ("damaged".to_owned(), 1),
        ] {
            write(&config, "remit.toml", std::slice::from_ref(&text));
            let said = fake.output(&[&args[..], &["--config", settings]].concat());
            assert_eq!(said.status, Some(exit), "{text}: {said:?}");
        }
    }
}

#[test]
fn half_last_line_is_finding_where_daemon_runs() {
    let (lines, hash) = audit_log(20);
    let text = lines.join("\n");
    let state = Directory::new();
    let file = state.path().join("audit.jsonl");
    fs::write(&file, &text[..text.len() - 30]).unwrap();
    let (dir, file) = (state.path().to_str().unwrap(), file.to_str().unwrap());
    let args = ["verify", "--state", dir, "--config", dir, "--file", file];
    let said = audit(&args);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(
        said.text().contains("line 20 is half a record")
            && said.text().contains("numbers      1 to 19"),
        "{said:?}"
    );

    let (fake, _heard) = Fake::admin(AdminReply::AuditHead(AuditHead { seq: 20, hash }));
    let said = fake.output(&[&["audit"], &args[..]].concat());
    assert_eq!(said.status, Some(1), "{said:?}");
    assert!(said.text().contains("cannot be read (line 20)"), "{said:?}");

    let copy = state.path().join("copy");
    fs::copy(file, &copy).unwrap();
    let said = audit(&["verify", "--state", dir, "--file", copy.to_str().unwrap()]);
    assert_eq!(said.status, Some(1), "{said:?}");
}

#[test]
fn export_verifies_and_is_stable() {
    let dir = Directory::new();
    let (mut lines, _) = audit_log(20);
    lines[4] = lines[4]
        .replace('{', "{\"TIME\":\"x\",")
        .replace("gr\u{fc}n", "gr\\u00fcn");
    let file = write(&dir, "trail", &lines);
    let export = audit(&["export", "--format", "jsonl", "--file", &file]);
    assert_eq!(
        (export.status, export.text().lines().count()),
        (Some(0), 20)
    );
    let exported = dir.path().join("export");
    fs::write(&exported, export.text()).unwrap();
    let exported = exported.display().to_string();
    assert_eq!(audit(&["verify", "--file", &exported]).status, Some(0));
    assert_eq!(
        audit(&["export", "--file", &exported]).text(),
        export.text()
    );
    assert!(!export.text().contains("TIME\":\"x"), "{export:?}");

    let part = audit(&["export", "--file", &file, "--user", "bob", "--event", "end"]);
    let users = part
        .text()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    assert!(
        users
            .map(|record| record["REMIT_USER"].clone())
            .all(|user| user == "bob")
    );
    assert_eq!(part.text().lines().count(), 5);

    lines[4] = "no record".to_owned();
    let file = write(&dir, "trail", &lines);
    let said = audit(&["export", "--file", &file]);
    assert_eq!((said.status, said.text().lines().count()), (Some(1), 19));
    assert!(said.stderr.contains("line 5"), "{said:?}");
}

#[test]
fn records_are_listed_a_line_each_and_filtered() {
    let dir = Directory::new();
    let file = write(&dir, "trail", &audit_log(100).0);
    let count = |args: &[&str]| {
        let said = audit(&[&["show", "--file", &file], args].concat());
        assert_eq!(said.status, Some(0), "{said:?}");
        let lines: Vec<String> = said.text().lines().map(str::to_owned).collect();
        match lines.as_slice() {
            [one] if one == "no records" => 0,
            lines => lines.len(),
        }
    };
    for (args, expect) in [
        (&[][..], 50),
        (&["-n", "7"], 7),
        (&["-n", "1000"], 100),
        (&["--user", "bob", "-n", "1000"], 50),
        (&["--user", "nobody"], 0),
        (&["--job", "00000007"], 2),
        (&["--job", "0000-0007-0000"], 2),
        (&["--verdict", "allow", "--event", "end", "-n", "1000"], 50),
        (&["--verdict", "exited", "-n", "1000"], 50),
        (&["--event", "intent", "--event", "end", "-n", "1000"], 100),
        (&["--command", "DF -H /srv/77"], 1),
        (
            &[
                "--since",
                "2026-11-20 08:50",
                "--until",
                "2026-11-20T08:55:00.042Z",
            ],
            6,
        ),
        (&["--since", "-1s"], 0),
    ] {
        assert_eq!(count(args), expect, "{args:?}");
    }
    let newest = audit(&["show", "--file", &file, "-n", "2"]);
    assert_eq!(
        newest.text(),
        "2026-11-20 08:39:00 UTC  alice  intent  allow     00000032  df -h /srv/99 gr\u{fc}n\n\
         2026-11-20 08:40:00 UTC  bob    end     exited 0  00000032  df -h /srv/100 gr\u{fc}n\n"
    );
    let json = audit(&["--json", "show", "--file", &file, "-n", "2"]).json();
    assert_eq!(
        (&json["older"], &json["records"][1]["REMIT_SEQ"]),
        (&json!(true), &json!("100"))
    );
    for args in [
        &["show", "--since", "soon"][..],
        &["show", "--event", "x"],
        &["show", "--job", "12"],
        &["show", "000", "--file", &file],
        &["show", "00000007", "--user", "bob"],
        &["show", "-n", "0"],
        &["verify", "--expect", "7"],
        &["export", "--format", "csv"],
    ] {
        assert_eq!(audit(args).status, Some(64), "{args:?}");
    }
}

#[test]
fn changed_record_is_named_where_records_are_shown() {
    let dir = Directory::new();
    let (lines, _) = audit_log(20);
    let mut changed = lines.clone();
    changed[6] = changed[6].replace("df -h", "rm -r");
    let cut = [&lines[..6], &lines[8..]].concat();
    let edit = "record 7 is not as it was written: its hash does not match its content";
    let gap = "records 7 to 8 are missing before record 9";
    for (what, lines, finding) in [
        ("whole", &lines, None),
        ("changed", &changed, Some(edit)),
        ("cut", &cut, Some(gap)),
    ] {
        let file = write(&dir, "trail", lines);
        for args in [
            &["show"][..],
            &["show", "--json"],
            &["export"],
            &["show", "--user", "alice"],
            &["export", "--job", "00000004"],
            &["show", "00000004"],
        ] {
            // A filter leaves out records, so only their own hashes are checked.
            let is_filtered = args.iter().any(|arg| {
                arg.starts_with("--u") || arg.starts_with("--job") || arg.starts_with('0')
            });
            if what == "cut" && is_filtered {
                continue;
            }
            let said = audit(&[args, &["--file", &file]].concat());
            assert_eq!(said.status, Some(0), "{what} {args:?}: {said:?}");
            match finding {
                None => assert_eq!(said.stderr, "", "{args:?}"),
                Some(finding) => {
                    assert!(said.stderr.contains(finding), "{what} {args:?}: {said:?}");
                    assert!(said.stderr.contains("remit audit verify"), "{said:?}");
                }
            }
        }
    }
}

/// Returns the lines of these records, each with its job, with a chain that holds.
fn of_jobs(records: &[(&str, &[(&str, &str)])]) -> Vec<String> {
    let mut prev = [0; 32];
    let lines = records.iter().zip(1..).map(|((job, own), seq)| {
        let common = [
            ("MESSAGE", "m".to_owned()),
            ("MESSAGE_ID", "1edd20adaf1747c6a70f3941f01b0e26".to_owned()),
            ("PRIORITY", "6".to_owned()),
            ("REMIT_JOB", (*job).to_owned()),
            ("REMIT_PREV", hex(&prev)),
            ("REMIT_SEQ", seq.to_string()),
            ("REMIT_TIME", "2026-11-20T08:11:11.042Z".to_owned()),
        ];
        let own = own.iter().map(|(name, value)| (*name, (*value).to_owned()));
        chained_line(common.into_iter().chain(own).collect(), &mut prev)
    });
    lines.collect()
}

#[test]
fn commit_and_its_undo_name_each_other() {
    let dir = Directory::new();
    let [commit, undo] = ["11".repeat(16), "22".repeat(16)];
    let (digest, args) = ("a".repeat(64), format!("id={}", "a".repeat(32)));
    let lines = of_jobs(&[
        (
            &commit,
            &[
                ("REMIT_EVENT", "intent"),
                ("REMIT_COMMAND", "plan.commit"),
                ("REMIT_PLAN_DIGEST", &digest),
            ],
        ),
        (
            &undo,
            &[
                ("REMIT_EVENT", "intent"),
                ("REMIT_COMMAND", "plan.undo"),
                ("REMIT_ARGS", &args),
            ],
        ),
        (
            &undo,
            &[
                ("REMIT_EVENT", "end"),
                ("REMIT_COMMAND", "plan.undo"),
                ("REMIT_ARGS", &args),
                ("REMIT_EXIT", "0"),
            ],
        ),
    ]);
    for (count, of_commit, of_undo) in [
        (3, Some(&undo), Some(&commit)),
        (2, None, Some(&commit)),
        (1, None, None),
    ] {
        let file = write(&dir, "trail", &lines[..count]);
        let show = |job: &str| audit(&["show", "--json", job, "--file", &file]).json();
        assert_eq!(
            show(&commit)["undone_by"].as_str(),
            of_commit.map(String::as_str)
        );
        assert!(show(&commit)["undoes"].is_null());
        if count > 1 {
            assert_eq!(show(&undo)["undoes"].as_str(), of_undo.map(String::as_str));
        }
    }
    let file = write(&dir, "trail", &lines);
    for (job, line) in [
        (&commit, format!("undone by {undo}")),
        (&undo, format!("undoes {commit}")),
    ] {
        let said = audit(&["show", job, "--file", &file]);
        assert_eq!(said.text().lines().nth(1), Some(line.as_str()), "{said:?}");
    }
}

#[test]
fn ambiguous_id_is_refused_with_candidates() {
    let dir = Directory::new();
    let file = write(&dir, "trail", &audit_log(40).0);
    for args in [
        &["show", "0000-000"][..],
        &["show", "--job", "0000000"],
        &["export", "--job", "0000000"],
    ] {
        let said = audit(&[args, &["--file", &file]].concat());
        assert_eq!((said.status, said.text()), (Some(125), ""), "{args:?}");
        let begin = "remit: 15 ids begin with '0000000': 00000001, 00000002, ";
        assert!(said.stderr.starts_with(begin), "{said:?}");
        assert!(said.stderr.contains("type more digits"), "{said:?}");
    }
}

#[test]
fn story_is_complete_for_one_job() {
    let dir = Directory::new();
    let (mut lines, _) = audit_log(40);
    lines[13] = lines[13].replace("df -h", "\\u001b[2J\\u202e\\u009b  user        | root\\n");
    let file = write(&dir, "trail", &lines);
    let said = audit(&["show", "0000-0007", "--file", &file]);
    assert_eq!(said.status, Some(0), "{said:?}");
    let heads: Vec<&str> = said
        .text()
        .lines()
        .filter(|line| !line.starts_with(' '))
        .collect();
    assert_eq!(
        heads,
        [
            "job 00000007000000000000000000000000",
            "2026-11-20 08:13:00 UTC  intent, record 13",
            "2026-11-20 08:14:00 UTC  end, record 14",
        ]
    );
    assert!(
        said.text()
            .chars()
            .all(|c| c == '\n' || !c.is_control() && c != '\u{202e}')
    );
    let json = audit(&["--json", "show", "00000007", "--file", &file]).json();
    assert_eq!(json["records"][0]["REMIT_SEQ"], "13");

    let said = audit(&["show", "99999999", "--file", &file]);
    assert_eq!((said.status, said.text()), (Some(1), ""));
    assert!(
        said.stderr.contains("no record is about a job 99999999")
            && said.stderr.contains("remit history"),
        "{said:?}"
    );

    for line in &mut lines {
        *line = line.replace("00000008000", "00000007100");
    }
    let file = write(&dir, "trail", &lines);
    let said = audit(&["show", "00000007", "--file", &file]);
    assert_eq!(said.status, Some(125), "{said:?}");
    assert!(said.stderr.contains("type more digits"), "{said:?}");
}

#[test]
fn unreadable_source_tells_reason_and_fix() {
    let said = audit(&["verify", "--file", "/nonexistent/x"]);
    assert_eq!(said.status, Some(125), "{said:?}");
    assert!(said.stderr.contains("'/nonexistent/x'"), "{said:?}");
    let said = audit(&["verify", "--file", "/"]);
    assert_eq!(said.status, Some(125), "{said:?}");

    let (fake, _) = Fake::admin(AdminReply::Done(String::new()));
    let file = fake.dir().join("trail");
    fs::write(&file, "").unwrap();
    fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    let file = file.display().to_string();
    for verb in ["verify", "show", "export"] {
        let said = fake.output_unprivileged(&["audit", verb, "--file", &file]);
        assert_eq!(said.status, Some(77), "{said:?}");
        assert!(said.stderr.contains("be root"), "{said:?}");
    }

    // An empty audit log with an unknown end must not pass.
    let said = audit(&["verify", "--file", "/dev/null"]);
    assert_eq!(
        (said.status, said.text().lines().next()),
        (Some(1), Some("there are no records"))
    );

    let config = Directory::new();
    for (text, why) in [
        ("[audit]\nsink = \"syslog\"\n", "is no sink"),
        ("audit = 1\n", "remit.toml"),
    ] {
        fs::write(config.path().join("remit.toml"), text).unwrap();
        let said = audit(&["verify", "--config", config.path().to_str().unwrap()]);
        assert_eq!(said.status, Some(125), "{said:?}");
        assert!(said.stderr.contains(why), "{said:?}");
    }
}

#[test]
fn n29_unknown_verdict_is_refused_with_valid_ones() {
    let dir = Directory::new();
    let said = |verdict: &str| {
        let args = ["audit", "show", "--verdict", verdict, "--file", "/dev/null"];
        Said::from(remit(dir.path(), &args).output().unwrap())
    };
    let wrong = said("denyed");
    assert_eq!(wrong.status, Some(64), "{wrong:?}");
    for word in ["approval_denied", "denied", "void", "allow", "locked"] {
        assert!(wrong.stderr.contains(word), "{word}: {wrong:?}");
        assert_ne!(said(word).status, Some(64), "{word}");
    }
}
