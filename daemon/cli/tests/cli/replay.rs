//! `remit policy replay` on audit logs that are made here, with the chain of the daemon's.

use std::fs;
use std::path::Path;

use remit_trail::hex;
use serde_json::{Value, json};

use crate::chained::chained_line;
use crate::fake::{Directory, Said, remit};

type Fields = Vec<(&'static str, String)>;

/// An audit log as the daemon's file has it, and a configuration to decide by.
struct Scene(Directory);

impl Scene {
    fn new(policy: &str, records: &[Fields]) -> Self {
        let scene = Self(Directory::new());
        fs::create_dir(scene.0.path().join("policy.d")).unwrap();
        scene.write("policy.d/20.toml", policy);
        scene.write("audit.jsonl", &audit_log(records).join("\n"));
        scene
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), format!("{text}\n")).unwrap();
    }

    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(self.0.path().join("audit.jsonl")).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn replay(&self, args: &[&str]) -> Said {
        let dir = self.0.path().to_str().unwrap();
        let log = format!("{dir}/audit.jsonl");
        let own = [
            "policy",
            "replay",
            "--config",
            dir,
            "--vendor",
            "/nonexistent",
            "--any-owner",
            "--file",
            &log,
        ];
        let output = remit(Path::new("/nonexistent"), &[&own, args].concat()).output();
        let mut said = Said::from(output.unwrap());
        said.stdout = said.text().replace(dir, "~").into_bytes();
        said
    }

    fn json(&self) -> Value {
        self.replay(&["--json"]).json()
    }
}

fn audit_log(records: &[Fields]) -> Vec<String> {
    let mut prev = [0; 32];
    let lines = records.iter().zip(1..).map(|(record, seq): (_, u64)| {
        let mut fields = vec![
            ("MESSAGE", "somebody does something".to_owned()),
            ("MESSAGE_ID", "1edd20adaf1747c6a70f3941f01b0e26".to_owned()),
            ("PRIORITY", "6".to_owned()),
            ("REMIT_SEQ", seq.to_string()),
            ("REMIT_BOOT", "ab".repeat(16)),
            (
                "REMIT_TIME",
                format!("2026-11-{:02}T08:00:00.042Z", seq % 28 + 1),
            ),
            ("REMIT_PREV", hex(&prev)),
        ];
        fields.extend(record.iter().cloned());
        chained_line(fields, &mut prev)
    });
    lines.collect()
}

/// A record of user 64001, ann.
fn record(event: &str, fields: &[(&'static str, &str)]) -> Fields {
    let own = [
        ("REMIT_EVENT", event),
        ("REMIT_USER", "ann"),
        ("REMIT_UID", "64001"),
        ("REMIT_GIDS", "64001"),
        ("REMIT_POLICY", "00"),
        ("REMIT_PROFILE", "read"),
    ];
    let own = own
        .iter()
        .filter(|(name, _)| fields.iter().all(|(other, _)| other != name));
    let fields = own.chain(fields);
    fields
        .map(|(name, value)| (*name, (*value).to_owned()))
        .collect()
}

fn reload(event: &str, unit: &str) -> Fields {
    let mut fields = record(
        event,
        &[
            ("REMIT_COMMAND", "unit.reload"),
            ("REMIT_ARGV", "/usr/bin/systemctl reload x"),
            ("REMIT_EFFECT", "change"),
            ("REMIT_RULE", "reloads (/etc/remit/policy.d/20.toml:9)"),
        ],
    );
    fields.push(("REMIT_ARGS", format!("unit={unit}")));
    fields
}

fn run(event: &str, argv: &str, more: &[(&'static str, &str)]) -> Fields {
    let fields = [("REMIT_ARGV", argv), ("REMIT_EFFECT", "read")];
    record(event, &[&fields, more].concat())
}

const POLICY: &str = r##"
[[command]]
name = "unit.reload"
summary = "reloads"
argv = ["/usr/bin/true", "reload", "{unit}"]
effect = "change"
profile = "host"
args.unit = { type = "enum", values = ["a", "b"] }

[[grant]]
name = "reloads"
to = ["#64001"]
allow = ["unit.reload", "run"]
unconfined = true
"##;

#[test]
fn exactly_the_changed_verdicts_are_shown() {
    let mut records: Vec<Fields> = (0..200).map(|_| reload("intent", "a")).collect();
    for (at, unit) in [(7, "c"), (70, "c"), (170, "d")] {
        records[at] = reload("intent", unit);
    }
    records.push(run("intent", "df", &[]));
    records.push(run("refusal", "df", &[("REMIT_VERDICT", "busy")]));
    let scene = Scene::new(POLICY, &records);
    let said = scene.replay(&[]);
    let expect = "\
now refused, was allowed: 3
  decides now  no rule, instead of reloads (/etc/remit/policy.d/20.toml:9)
  by           ann 3
  records      8, 71, 171
  because      argument 'unit' of unit.reload is 'd', which is not one of: a, b
  last         2026-11-04 08:00:00 UTC, record 171
               unit.reload unit=d
  then         reloads (/etc/remit/policy.d/20.toml:9)
not refused by rules, and not decided again: 1
  with         busy 1
";
    assert_eq!(said.status, Some(1), "{said:?}");
    let (head, rest) = said.text().split_once("now refused").unwrap();
    assert_eq!(format!("now refused{rest}"), expect);
    assert!(
        head.starts_with("3 verdicts change of 201 decisions under policy "),
        "{head}"
    );
    let json = scene.json();
    assert_eq!(json["changes"][0]["seqs"], json!([8, 71, 171]));
    assert_eq!(json["changes"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&json["decisions"], &json["same"]),
        (&201.into(), &198.into())
    );
    assert_eq!(json["audit"]["not_by_rules"], json!({ "busy": 1 }));
    assert_eq!(json["audit"]["whole"], true);

    let same = Scene::new(&POLICY.replace(r#""b"]"#, r#""b", "c", "d"]"#), &records);
    let said = same.replay(&[]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(
        said.text()
            .starts_with("no verdict changes of 201 decisions"),
        "{said:?}"
    );
}

#[test]
fn worst_change_comes_first() {
    let denied = &[("REMIT_VERDICT", "denied_rule")];
    let mut other = run("intent", "id", &[]);
    other[2].1 = "64009".to_owned();
    let records = [
        other,
        run("refusal", "df", denied),
        reload("asked", "a"),
        run("refusal", "df -h", denied),
        reload("intent", "x"),
    ];
    let json = Scene::new(POLICY, &records).json();
    let found = json["changes"].as_array().unwrap().iter();
    let found: Vec<_> = found
        .map(|one| (one["change"].as_str().unwrap(), one["seqs"].clone()))
        .collect();
    assert_eq!(
        found,
        [
            ("refused_now_allowed", json!([2, 4])),
            ("asked_now_allowed", json!([3])),
            ("allowed_now_refused", json!([1])),
            ("allowed_now_refused", json!([5])),
        ]
    );
}

#[test]
fn weaker_and_stronger_signatures_are_shown() {
    let asked = |signed: Option<&str>| {
        let mut fields = reload("asked", "a");
        fields.push(("REMIT_BY", "ann".to_owned()));
        fields.extend(signed.map(|word| ("REMIT_SIGNED", word.to_owned())));
        fields
    };
    let records = [asked(None), asked(Some("key")), asked(Some("touch"))];
    let approval = "approval = { by = [\"#64009\"], signed = \"key\" }\n";
    let scene = Scene::new(&format!("{POLICY}{approval}"), &records);
    let json = scene.json();
    let found = json["changes"].as_array().unwrap().iter();
    let found: Vec<_> = found
        .map(|one| (one["change"].as_str().unwrap(), one["seqs"].clone()))
        .collect();
    assert_eq!(
        found,
        [
            ("signed_now_weaker", json!([3])),
            ("signed_now_stronger", json!([1])),
        ]
    );
    let said = scene.replay(&[]);
    assert_eq!(said.status, Some(1), "{said:?}");
    let why = "its rule asks for a signature, and asked for a signature by a security key that was touched\n";
    assert!(said.text().contains(why), "{said:?}");
}

#[test]
fn damaged_log_is_reported_and_the_rest_decided() {
    let records: Vec<Fields> = (0..9).map(|_| reload("intent", "c")).collect();
    for damage in [
        |lines: &mut Vec<String>| drop(lines.remove(4)),
        |lines: &mut Vec<String>| lines[4] = "{\"MESSAGE\":".to_owned(),
        |lines: &mut Vec<String>| lines[4] = lines[4].replace("ann", "eve"),
    ] {
        let scene = Scene::new(POLICY, &records);
        let mut lines = scene.lines();
        damage(&mut lines);
        scene.write("audit.jsonl", &lines.join("\n"));
        let said = scene.replay(&[]);
        assert_eq!(said.status, Some(1), "{said:?}");
        assert!(said.text().contains("\n  not whole    "), "{said:?}");
        let json = scene.json();
        assert_eq!(json["audit"]["whole"], false);
        assert!(json["changed"].as_u64().unwrap() >= 8, "{json}");
    }
}

#[test]
fn replay_of_a_time_reports_what_is_missing_at_its_begin() {
    let records: Vec<Fields> = (0..20).map(|_| reload("intent", "c")).collect();
    let scene = Scene::new(POLICY, &records);
    let whole = |scene: &Scene| {
        let json = scene.replay(&["--since", "2026-11-11", "--json"]).json();
        (json["audit"]["whole"].clone(), json["changed"].clone())
    };
    assert_eq!(whole(&scene), (true.into(), 11.into()));
    let mut lines = scene.lines();
    // The first record of 11 November.
    lines.remove(9);
    scene.write("audit.jsonl", &lines.join("\n"));
    assert_eq!(whole(&scene), (false.into(), 10.into()));
}

#[test]
fn unknown_verdicts_are_counted() {
    let mut old = run("intent", "df", &[]);
    old.retain(|(name, _)| *name != "REMIT_GIDS");
    let mut hidden = reload("refusal", "***");
    hidden.push(("REMIT_VERDICT", "invalid_args".to_owned()));
    let counted = record("refusal", &[("REMIT_SUPPRESSED", "40")]);
    let scene = Scene::new(POLICY, &[old, hidden, counted]);
    let json = scene.json();
    let untold = json["cannot_tell"].as_array().unwrap().iter();
    let untold: Vec<_> = untold
        .map(|one| (one["why"].as_str().unwrap(), one["seqs"].clone()))
        .collect();
    assert_eq!(
        untold,
        [("no_groups", json!([1])), ("no_arguments", json!([2]))]
    );
    assert_eq!(
        (&json["untold"], &json["audit"]["counted"]),
        (&2.into(), &40.into())
    );
    let said = scene.replay(&[]);
    assert_eq!(said.status, Some(0));
    assert!(said.text().contains("cannot tell: 40\n"), "{said:?}");
}

#[test]
fn time_and_faults_bound_a_replay() {
    let records: Vec<Fields> = (0..20).map(|_| reload("intent", "c")).collect();
    let scene = Scene::new(POLICY, &records);
    let since = scene.replay(&["--since", "2026-11-11", "--until", "2026-11-13", "--json"]);
    assert_eq!(since.json()["changes"][0]["seqs"], json!([10, 11]));
    let none = scene.replay(&["--since", "2026-12-01"]);
    assert_eq!(none.status, Some(0));
    assert!(
        none.text().starts_with("there are no decisions to replay"),
        "{none:?}"
    );

    scene.write("policy.d/20.toml", "[[grant]]\n");
    let said = scene.replay(&[]);
    assert_eq!(said.status, Some(2), "{said:?}");
    scene.write("policy.d/20.toml", POLICY);
    scene.write("remit.toml", "[floor]\napprovals = true\n");
    let said = scene.replay(&[]);
    assert_eq!(said.status, Some(2), "{said:?}");
    assert!(said.stderr.contains("remit.toml:2:1"), "{said:?}");
    scene.write(
        "remit.toml",
        "[floor]\napproval = true\napprovers = [\"root\"]\n",
    );
    let json = scene.replay(&["--json"]).json();
    assert_eq!(json["changes"][0]["change"], "allowed_now_refused");
    fs::remove_file(scene.0.path().join("audit.jsonl")).unwrap();
    let said = scene.replay(&[]);
    assert!(said.status != Some(0) && said.status != Some(1), "{said:?}");
}

#[test]
fn hostile_records_reach_no_terminal_raw() {
    let argv = "'\u{1b}[2J\u{202e}x\u{9b}'";
    let mut fields = run("refusal", argv, &[("REMIT_VERDICT", "denied_rule")]);
    fields[1].1 = "ann\n\u{1b}]0;x".to_owned();
    fields.push(("REMIT_RULE", "r\u{202e}\n (f:1)".to_owned()));
    let scene = Scene::new(POLICY, &[fields.clone(), fields.clone(), fields]);
    for args in [
        &[][..],
        &["--json"],
        &["--from-denials"],
        &["--from-denials", "--json"],
    ] {
        let said = scene.replay(args);
        assert!(!said.stdout.is_empty());
        let hostile = |c: char| !remit_common::text::is_plain(c);
        assert!(!said.text().contains(hostile), "{said:?}");
    }
}

#[test]
fn candidates_are_a_policy_file() {
    let denied = &[
        ("REMIT_VERDICT", "denied_rule"),
        ("REMIT_PROFILE", "strict"),
    ];
    let change = |event: &str, job: &str| {
        let fields = [
            ("REMIT_ARGV", "id -G"),
            ("REMIT_EFFECT", "change"),
            ("REMIT_JOB", job),
            ("REMIT_BY", "root %root"),
        ];
        record(event, &fields)
    };
    let mut records = vec![
        run("refusal", "id -u", denied),
        run("refusal", "id -g", denied),
        run("refusal", "id -u", denied),
        // Once, so it is nothing that happens again and again.
        run("refusal", "id -u -r x", denied),
        run(
            "refusal",
            "sh script: id",
            &[denied, &[("REMIT_SCRIPT", "id")][..]].concat(),
        ),
    ];
    for job in ["1", "2", "3", "4"] {
        records.push(change("asked", job));
        // The last one was not approved.
        if job != "4" {
            records.push(change("approved", job));
        }
    }
    let scene = Scene::new(POLICY, &records);
    let said = scene.replay(&["--from-denials"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    let text = said.text().to_owned();
    for part in [
        "# 3 requests of #64001 (then 'ann'): denied_rule, the last 2026-11-04 08:00:00 UTC (record 3)\n#   id -u\n",
        "values = [\"-g\", \"-u\"]",
        "# 3 requests of #64001 (then 'ann'): approved, the last ",
        "approval = { by = [\"root\", \"%root\"] }",
        "# 1 time, as it cannot be a candidate: a script is no list of words",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(text.matches("\n[[command]]\n").count(), 2, "{text}");
    let json = scene.replay(&["--from-denials", "--json"]).json();
    assert_eq!(json["candidates"][1]["count"], 3);
    assert_eq!(json["candidates"][0]["users"], json!(["#64001"]));

    scene.write("policy.d/30.toml", &text);
    let dir = scene.0.path().to_str().unwrap();
    let check = [
        "policy",
        "check",
        "--config",
        dir,
        "--vendor",
        "/nonexistent",
        "--any-owner",
    ];
    let output = remit(Path::new("/nonexistent"), &check).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}
