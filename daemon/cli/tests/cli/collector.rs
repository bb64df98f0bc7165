//! `remit audit verify --journal` on real files: systemd-journal-remote writes what it would receive from hosts.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use remit_trail::{Hash, hash, hex};
use serde_json::{Value, json};

use crate::chained::chain_on;
use crate::fake::{Directory, Said, remit};

const REMOTE: [&str; 2] = [
    "/usr/lib/systemd/systemd-journal-remote",
    "/lib/systemd/systemd-journal-remote",
];

/// What a host records: a chain that `seed` tells from every other.
fn records(seed: u64, count: u64) -> Vec<Vec<(&'static str, String)>> {
    chain(seed, (0, [0; 32]), count)
}

/// Records after the one with this number and hash.
fn chain(
    seed: u64,
    (after, mut prev): (u64, Hash),
    count: u64,
) -> Vec<Vec<(&'static str, String)>> {
    let record = |seq: u64| {
        let mut fields = vec![
            ("MESSAGE", format!("alice runs df, {seed}: gr\u{fc}n")),
            ("MESSAGE_ID", "1edd20adaf1747c6a70f3941f01b0e26".to_owned()),
            ("PRIORITY", "6".to_owned()),
            ("REMIT_SEQ", seq.to_string()),
            ("REMIT_BOOT", format!("{seed:032x}")),
            ("REMIT_TIME", time(seq)),
            ("REMIT_PREV", hex(&prev)),
            ("REMIT_EVENT", "intent".to_owned()),
            ("REMIT_NOTHING", String::new()),
        ];
        chain_on(&mut fields, &mut prev);
        fields
    };
    (after + 1..=after + count).map(record).collect()
}

fn time(seq: u64) -> String {
    format!("2026-11-20T08:{:02}:{:02}.042Z", seq / 60 % 60, seq % 60)
}

fn head(records: &[Vec<(&'static str, String)>]) -> (u64, Hash) {
    let last = records.last().unwrap();
    let value = |name| &last.iter().find(|(other, _)| *other == name).unwrap().1;
    let hash = remit_trail::unhex(value("REMIT_HASH")).unwrap();
    (value("REMIT_SEQ").parse().unwrap(), hash)
}

struct Collector {
    remote: &'static str,
    dir: Directory,
}

impl Collector {
    /// `None` if this machine has no systemd-journal-remote.
    fn new() -> Option<Self> {
        let Some(remote) = REMOTE.into_iter().find(|path| Path::new(path).exists()) else {
            assert!(
                std::env::var_os("REMIT_TESTS_MUST_RUN").is_none(),
                "systemd-journal-remote is missing"
            );
            return None;
        };
        let dir = Directory::new();
        fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        fs::create_dir(dir.path().join("remote")).unwrap();
        Some(Self { remote, dir })
    }

    fn journals(&self) -> PathBuf {
        self.dir.path().join("remote")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.journals().join(name)
    }

    /// A host uploads these records; what it says of itself is `machine` and `host`.
    fn receives(
        &self,
        file: &str,
        (machine, host): (&str, &str),
        records: &[Vec<(&'static str, String)>],
    ) {
        self.receives_with(file, (machine, host), records, b"");
    }

    /// With `bytes` as the field `X` of the last record.
    fn receives_with(
        &self,
        file: &str,
        (machine, host): (&str, &str),
        records: &[Vec<(&'static str, String)>],
        bytes: &[u8],
    ) {
        let mut text = Vec::new();
        for fields in records {
            let seq: u64 = fields[3].1.parse().unwrap();
            let mut put = |line: String| text.extend(line.into_bytes());
            put(format!(
                "__REALTIME_TIMESTAMP={}\n__MONOTONIC_TIMESTAMP={}\n_BOOT_ID={:032x}\n",
                1_795_163_148_000_000 + seq * 1_000_000,
                seq * 1_000_000,
                7
            ));
            put(format!("_MACHINE_ID={machine}\n_HOSTNAME={host}\n"));
            put("_UID=0\nSYSLOG_IDENTIFIER=remitd\n".into());
            for (name, value) in fields {
                put(format!("{name}={value}\n"));
            }
            put("\n".into());
        }
        if !bytes.is_empty() {
            text.pop();
            text.extend(b"X\n");
            text.extend((bytes.len() as u64).to_le_bytes());
            text.extend(bytes);
            text.extend(b"\n\n");
        }
        let upload = self.dir.path().join("upload");
        fs::write(&upload, text).unwrap();
        let mut command = Command::new(self.remote);
        command.arg("-o").arg(self.file(file)).arg(&upload);
        let said = command.stdin(Stdio::null()).output().unwrap();
        assert!(said.status.success(), "{said:?}");
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = remit(Path::new("/nonexistent"), &["audit", "verify"]);
        command.arg("--journal").arg(self.journals()).args(args);
        command
            .env("HOME", self.dir.path())
            .env_remove("XDG_STATE_HOME");
        command
    }

    fn verify(&self, args: &[&str]) -> Said {
        Said::from(self.command(args).output().unwrap())
    }

    /// Returns the exit status, and of each host its name and findings: kind, first and last number.
    fn found(&self, args: &[&str]) -> (Option<i32>, Vec<(String, Vec<Value>)>) {
        let said = self.verify(&[args, &["--json"]].concat());
        let json = said.json();
        assert_eq!(json["whole"], said.status == Some(0), "{json}");
        let hosts = json["hosts"].as_array().unwrap().iter().map(|host| {
            let findings = host["findings"].as_array().unwrap().iter();
            let of = |f: &Value| json!([f["kind"], f["seq"], f["last"]]);
            (
                host["host"].as_str().unwrap().to_owned(),
                findings.map(of).collect(),
            )
        });
        (said.status, hosts.collect())
    }

    /// Accepts what is found of a host, as its page says. Returns what the verification then says.
    fn accept(&self, args: &[&str], host: &str) -> Said {
        let json = self.verify(&[args, &["--json"]].concat()).json();
        let mut hosts = json["hosts"].as_array().unwrap().iter();
        let found = hosts.find(|found| found["host"] == host).unwrap();
        let words = found["accept"].as_array().unwrap().iter();
        let options = words.flat_map(|word| ["--accept", word.as_str().unwrap()]);
        self.verify(&args.iter().copied().chain(options).collect::<Vec<_>>())
    }

    fn findings(&self, args: &[&str], host: &str) -> (Option<i32>, Vec<Value>) {
        let (status, hosts) = self.found(args);
        let found = hosts.into_iter().find(|(name, _)| name == host);
        (status, found.unwrap_or_else(|| panic!("no host {host}")).1)
    }
}

fn id(host: u64) -> String {
    format!("{host:032x}")
}

#[test]
fn host_that_rewrites_its_journal_is_named_and_others_are_whole() {
    let Some(collector) = Collector::new() else {
        return;
    };
    let upload = |host: u64, records: &[_]| {
        let name = format!("web{host}");
        collector.receives(
            &format!("remote-{name}.journal"),
            (&id(host), &name),
            records,
        );
    };
    for host in 1..=5 {
        upload(host, &records(host, 30));
    }
    let said = collector.verify(&[]);
    assert_eq!(said.status, Some(0), "{said:?}");
    let text = said.text();
    assert!(
        text.starts_with("the collected records are whole: 5 hosts\n"),
        "{text}"
    );
    assert!(
        text.contains("web3: whole\n") && text.contains("calls itself web3"),
        "{text}"
    );
    assert!(text.contains("30 (numbers 1 to 30)"), "{text}");
    assert_eq!(
        text.matches("verified for the first time").count(),
        5,
        "{text}"
    );
    let heads = collector.dir.path().join(".local/state/remit/heads");
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!(
        (mode(&heads), mode(&heads.join("remote-web3.json"))),
        (0o700, 0o600)
    );
    for host in 1..=5 {
        upload(host, &chain(host, head(&records(host, 30)), 10));
    }
    assert_eq!(collector.found(&[]).0, Some(0));

    // Root of web3 drops and changes records, makes the chain consistent again, and uploads it.
    let forged = [&records(3, 11)[..], &chain(33, head(&records(3, 11)), 40)].concat();
    let true_file = fs::read(collector.file("remote-web3.journal")).unwrap();
    upload(3, &forged);
    let (status, hosts) = collector.found(&[]);
    assert_eq!(status, Some(1));
    for (name, findings) in hosts {
        assert_eq!(findings.is_empty(), name != "web3", "{name}: {findings:?}");
        if name == "web3" {
            assert_eq!(
                findings,
                [json!(["rewritten", 40, 40]), json!(["fork", 12, 12])]
            );
        }
    }
    // The collector's file is replaced too: the memory alone has the true past.
    fs::remove_file(collector.file("remote-web3.journal")).unwrap();
    upload(3, &forged);
    let said = collector.verify(&[]);
    assert_eq!(said.status, Some(1));
    let text = said.text();
    assert!(
        text.starts_with("the collected records are not whole: 1 of 5 hosts: web3\n"),
        "{text}"
    );
    assert!(
        text.contains("finding      the past was rewritten: another record has the number of record 40, which was verified at 20"),
        "{text}"
    );
    assert_eq!(text.matches(": whole\n").count(), 4, "{text}");
    // It stays found, until the records are back.
    assert_eq!(
        collector.findings(&[], "web3"),
        (Some(1), vec![json!(["rewritten", 40, 40])])
    );
    fs::write(collector.file("remote-web3.journal"), true_file).unwrap();
    assert_eq!(collector.found(&[]).0, Some(0));
}

#[test]
fn accepted_host_is_judged_from_there_on() {
    let Some(collector) = Collector::new() else {
        return;
    };
    let (file, web) = ("remote-web1.journal", (&*id(1), "web1"));
    collector.receives(file, web, &records(1, 20));
    assert_eq!(collector.found(&[]).0, Some(0));
    // The daemon was installed again.
    collector.receives(file, web, &records(2, 5));
    assert_eq!(
        collector.findings(&[], "web1"),
        (Some(1), vec![json!(["fork", 1, 1])])
    );
    let said = collector.accept(&[], "web1");
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(said.text().contains("web1: accepted\n"), "{}", said.text());
    let said = collector.verify(&[]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(
        said.text().contains("came up to record 5 was accepted at "),
        "{}",
        said.text()
    );
    collector.receives(file, web, &chain(2, head(&records(2, 5)), 5));
    assert_eq!(collector.found(&[]).0, Some(0));
    collector.receives(file, web, &records(3, 20));
    let (status, findings) = collector.findings(&[], "web1");
    assert_eq!(
        (status, &findings[..2]),
        (
            Some(1),
            &[json!(["rewritten", 10, 10]), json!(["fork", 1, 4])][..]
        )
    );
    // A host that is gone for good.
    fs::remove_file(collector.file(file)).unwrap();
    collector.receives("remote-web2.journal", (&id(2), "web2"), &records(4, 3));
    assert_eq!(
        collector.findings(&[], "web1"),
        (Some(1), vec![json!(["gone", 0, 0])])
    );
    assert_eq!(collector.accept(&[], "web1").status, Some(0));
    let (status, hosts) = collector.found(&[]);
    assert_eq!((status, hosts.len()), (Some(0), 1));
    let said = collector.verify(&["--accept", "web9@none"]);
    assert_eq!(said.status, Some(125), "{said:?}");
    assert!(said.stderr.contains("there is no host 'web9'"), "{said:?}");
}

/// Of no daemon of remit.
fn lines() -> Vec<Vec<(&'static str, String)>> {
    let mut lines = records(3, 2);
    for fields in &mut lines {
        fields[3].0 = "OTHER_SEQ";
        fields.retain(|(name, _)| !name.starts_with("REMIT_"));
    }
    lines
}

#[test]
fn memory_outlives_the_records() {
    let Some(collector) = Collector::new() else {
        return;
    };
    let (file, web) = ("remote-web1.journal", (&*id(1), "web1"));
    let all = records(1, 30);
    collector.receives(file, web, &all[..20]);
    assert_eq!(collector.found(&[]).0, Some(0));
    fs::remove_file(collector.file(file)).unwrap();
    collector.receives(file, web, &lines());
    let said = collector.verify(&[]);
    assert_eq!(said.status, Some(0), "{said:?}");
    let text = said.text();
    assert!(text.contains("the next must follow record 20"), "{text}");
    // Neither a damaged file nor accepting it makes it forgotten.
    let whole = fs::read(collector.file(file)).unwrap();
    fs::write(collector.file(file), "garbage".repeat(1000)).unwrap();
    let said = collector.accept(&[], "web1");
    assert_eq!(said.status, Some(0), "{said:?}");
    fs::write(collector.file(file), whole).unwrap();
    collector.receives(file, web, &records(5, 3));
    assert_eq!(
        collector.findings(&[], "web1"),
        (Some(1), vec![json!(["truncated", 4, 20])])
    );
}

#[test]
fn only_what_a_person_saw_is_accepted() {
    let Some(collector) = Collector::new() else {
        return;
    };
    let (file, web) = ("remote-web1.journal", (&*id(1), "web1"));
    let all = records(1, 30);
    collector.receives(file, web, &all[..10]);
    collector.receives(file, web, &all[15..20]);
    let said = collector.verify(&[]);
    let text = said.text().to_owned();
    let (_, word) = text.split_once("to accept    --accept '").unwrap();
    let (word, _) = word.split_once('\'').unwrap();
    assert!(word.starts_with("web1@20:"), "{text}");
    // Another record comes before the person answers.
    collector.receives(file, web, &all[25..]);
    let (status, findings) = collector.findings(&["--accept", word], "web1");
    assert_eq!(
        (status, findings.last()),
        (Some(1), Some(&json!(["accept", 0, 0])))
    );
    assert_eq!(collector.findings(&[], "web1").1.len(), 2);
    for wrong in [
        "web1",
        "web1@20",
        "web1@20:ab",
        "web1@0:0123456789abcdef",
        "@none:",
    ] {
        assert_eq!(
            collector.verify(&["--accept", wrong]).status,
            Some(64),
            "{wrong}"
        );
    }
    assert_eq!(collector.accept(&[], "web1").status, Some(0));
    assert_eq!(collector.found(&[]).0, Some(0));
}

#[test]
fn each_odd_file_has_its_answer() {
    let all = records(1, 40);
    let web = (&*id(1), "web1");
    /// Name, exit status, findings (kind, first and last number), and what befalls the collector.
    type Case<'a> = (
        &'a str,
        i32,
        &'a [(&'a str, u64, u64)],
        &'a dyn Fn(&Collector),
    );
    let current = "remote-web1.journal";
    let archived = |first: u64| {
        format!(
            "remote-web1@da23ef89b0d84113a280b070f0baee23-{first:016x}-{:016x}.journal",
            1
        )
    };
    // Each begins with the first 20 records verified.
    let cases: [Case<'_>; 17] = [
        ("nothing new", 0, &[], &|_| {}),
        ("more", 0, &[], &|c| c.receives(current, web, &all[20..])),
        ("all again, and more", 0, &[], &|c| {
            c.receives(current, web, &all)
        }),
        ("a gap", 1, &[("gap", 21, 23)], &|c| {
            c.receives(current, web, &all[23..])
        }),
        ("rotated", 0, &[], &|c| {
            fs::rename(c.file(current), c.file(&archived(1))).unwrap();
            c.receives("b.journal", web, &all[20..30]);
            fs::rename(c.file("b.journal"), c.file(&archived(21))).unwrap();
            c.receives(current, web, &all[25..]);
        }),
        ("an old file was removed", 0, &[], &|c| {
            fs::remove_file(c.file(current)).unwrap();
            c.receives(current, web, &all[20..]);
        }),
        ("too much was removed", 1, &[("gap", 21, 25)], &|c| {
            fs::remove_file(c.file(current)).unwrap();
            c.receives(current, web, &all[25..]);
        }),
        ("the end is gone", 1, &[("truncated", 16, 20)], &|c| {
            fs::remove_file(c.file(current)).unwrap();
            c.receives(current, web, &all[..15]);
        }),
        ("truncated", 1, &[("file", 0, 0)], &|c| {
            let file = OpenOptions::new()
                .write(true)
                .open(c.file(current))
                .unwrap();
            file.set_len(100_000).unwrap();
        }),
        ("a byte was changed", 1, &[("edit", 7, 7)], &|c| {
            let mut bytes = fs::read(c.file(current)).unwrap();
            let (time, other) = (b"REMIT_TIME=2026-11-20T08:00:07.042Z", b"3");
            let at = bytes
                .windows(time.len())
                .position(|part| part == time)
                .unwrap();
            bytes[at + time.len() - 2] = other[0];
            fs::write(c.file(current), bytes).unwrap();
        }),
        ("garbage", 1, &[("file", 0, 0)], &|c| {
            fs::write(c.file(current), "garbage".repeat(1000)).unwrap();
        }),
        ("a directory", 1, &[("file", 0, 0)], &|c| {
            fs::remove_file(c.file(current)).unwrap();
            fs::create_dir(c.file(current)).unwrap();
        }),
        ("an empty file", 0, &[], &|c| {
            fs::write(c.file(current), "").unwrap();
        }),
        ("a record of a newer remit", 0, &[], &|c| {
            let mut more = records(1, 21).split_off(20);
            more[0].retain(|(name, _)| *name != "REMIT_HASH");
            more[0][1].1 = "f".repeat(32);
            let newer = hash(more[0].iter().map(|(name, value)| (*name, value.as_str())));
            more[0].push(("REMIT_HASH", hex(&newer)));
            c.receives(current, web, &more);
            c.receives(current, web, &chain(1, head(&more), 3));
        }),
        ("only other lines", 0, &[], &|c| {
            fs::remove_file(c.file(current)).unwrap();
            c.receives(current, web, &lines());
        }),
        ("another machine", 1, &[("identity", 3, 3)], &|c| {
            c.receives(current, (&id(9), "web9"), &records(9, 3));
        }),
        ("damaged memory", 1, &[("memory", 0, 0)], &|c| {
            let memory = c.dir.path().join("heads/remote-web1.json");
            fs::write(memory, "{").unwrap();
        }),
    ];
    for (what, status, findings, make) in cases {
        let Some(collector) = Collector::new() else {
            return;
        };
        collector.receives(current, web, &all[..20]);
        let heads = collector.dir.path().join("heads").display().to_string();
        let args = ["--heads", &heads];
        assert_eq!(collector.found(&args).0, Some(0), "{what}");
        make(&collector);
        let findings: Vec<Value> = findings.iter().map(|f| json!(f)).collect();
        let found = collector.findings(&args, "web1");
        assert_eq!(found, (Some(status), findings.clone()), "{what}");
        // It is not forgotten.
        assert_eq!(collector.findings(&args, "web1"), found, "{what}, again");
    }
}

#[test]
fn gap_has_its_times_and_a_repetition_its_count() {
    let Some(collector) = Collector::new() else {
        return;
    };
    let all = records(1, 40);
    let web = (&*id(1), "web1");
    collector.receives("remote-web1.journal", web, &all[..20]);
    collector.receives("remote-web1.journal", web, &all[..20]);
    collector.receives("remote-web1.journal", web, &all[23..]);
    let said = collector.verify(&[]);
    assert_eq!(said.status, Some(1));
    let text = said.text();
    for part in [
        "records 21 to 23 are missing before record 24",
        "written between 2026-11-20 08:00:20 UTC and 2026-11-20 08:00:24 UTC",
        "20 records came more than once, unchanged",
        "written      2026-11-20 08:00:01 UTC to 2026-11-20 08:00:40 UTC, ",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn host_that_takes_another_identity_is_found_and_the_other_is_whole() {
    let Some(collector) = Collector::new() else {
        return;
    };
    let all = records(1, 20);
    collector.receives("remote-web1.journal", (&id(1), "web1"), &all);
    collector.receives("remote-web2.journal", (&id(2), "web2"), &records(2, 20));
    // Not of remit.
    collector.receives("remote-db1.journal", (&id(3), "db1"), &lines());
    assert_eq!(collector.found(&[]).0, Some(0));
    assert!(collector.verify(&[]).text().contains("no records   db1\n"));
    // web2 sends what web1 would send, with another end.
    let other = chain(7, head(&all), 3);
    collector.receives("remote-web2.journal", (&id(1), "web1"), &all);
    collector.receives("remote-web2.journal", (&id(1), "web1"), &other);
    let (status, hosts) = collector.found(&[]);
    assert_eq!(status, Some(1));
    for (name, findings) in hosts {
        let kinds: Vec<&Value> = findings.iter().map(|finding| &finding[0]).collect();
        match name.as_str() {
            "web2" => assert_eq!(kinds, ["identity", "identity"]),
            _ => assert_eq!(findings, [] as [Value; 0], "{name}"),
        }
    }
    let text = collector.verify(&[]).text().to_owned();
    assert!(
        text.contains(&format!("machine {} also sends as web1: ", id(1))),
        "{text}"
    );
    assert!(
        text.contains("which differ by their own word alone"),
        "{text}"
    );
}

#[test]
fn files_that_are_rotated_while_they_are_read_are_whole() {
    let Some(collector) = Collector::new() else {
        return;
    };
    let all = records(1, 50);
    let web = (&*id(1), "web1");
    collector.receives("remote-web1.journal", web, &all[..10]);
    for (number, part) in (1_u64..).zip(all[10..].chunks(10)) {
        // One rotation is two changes, a rename and a new file: fewer than the times a verification reads again.
        std::thread::scope(|scope| {
            let rotated = scope.spawn(|| {
                let archived = format!(
                    "remote-web1@{}-{number:016x}-{number:016x}.journal",
                    "ab".repeat(16)
                );
                let current = collector.file("remote-web1.journal");
                fs::rename(&current, collector.file(&archived)).unwrap();
                collector.receives("remote-web1.journal", web, part);
            });
            let mut is_last = false;
            while !is_last {
                is_last = rotated.is_finished();
                let said = collector.verify(&["--json"]);
                assert_eq!(said.status, Some(0), "{}", said.text());
            }
        });
    }
    let json = collector.verify(&["--json"]).json();
    assert_eq!(json["hosts"][0]["machines"][0]["last"], 50);
}

#[test]
fn silent_host_is_a_finding_if_asked_for() {
    let Some(collector) = Collector::new() else {
        return;
    };
    collector.receives("remote-web1.journal", (&id(1), "web1"), &records(1, 5));
    let file = OpenOptions::new()
        .write(true)
        .open(collector.file("remote-web1.journal"))
        .unwrap();
    let then = std::time::SystemTime::now() - std::time::Duration::from_secs(3 * 3600);
    file.set_modified(then).unwrap();
    assert_eq!(collector.found(&["--silent-after", "4h"]).0, Some(0));
    assert!(collector.verify(&[]).text().contains(", 3 h 0 min ago\n"));
    let found = collector.findings(&["--silent-after", "2h"], "web1");
    assert_eq!(found, (Some(1), vec![json!(["silent", 0, 0])]));
}

#[test]
fn names_are_taken_as_they_are() {
    let Some(collector) = Collector::new() else {
        return;
    };
    // A certificate's name may look like a pattern, an option or a control sequence.
    for (number, name) in (1..).zip(["CN=*", "[a]", "-x", "\\", "{a,b}", "\u{1b}[2J", "a b"]) {
        let file = format!("remote-{name}.journal");
        collector.receives("x.journal", (&id(number), "x"), &records(number, 3));
        fs::rename(collector.file("x.journal"), collector.file(&file)).unwrap();
    }
    let (status, hosts) = collector.found(&[]);
    assert_eq!((status, hosts.len()), (Some(0), 7), "{hosts:?}");
    let mut relative = remit(Path::new("/nonexistent"), &["audit", "verify", "--journal"]);
    relative.arg("remote").current_dir(collector.dir.path());
    let relative = relative.env("HOME", collector.dir.path()).status();
    assert!(relative.unwrap().success());
    let json = collector.verify(&["--json"]).json();
    let counts = json["hosts"].as_array().unwrap().iter();
    let counts: Vec<&Value> = counts.map(|host| &host["machines"][0]["records"]).collect();
    assert_eq!(counts, [&json!(3); 7]);
    assert!(!collector.verify(&[]).text().contains('\u{1b}'));
}

#[test]
fn bad_arguments_are_refused_with_the_way_out() {
    let Some(collector) = Collector::new() else {
        return;
    };
    for (args, status, part) in [
        (&["--since", "-1h"][..], 64, "--since"),
        (&["--file", "x"], 64, "--file"),
        (&["--silent-after", "soon"], 64, "--silent-after"),
        (&[], 125, "there is no journal file in"),
    ] {
        let said = collector.verify(args);
        assert_eq!(said.status, Some(status), "{said:?}");
        assert!(said.stderr.contains(part), "{said:?}");
    }
    let alone = remit(
        Path::new("/nonexistent"),
        &["audit", "verify", "--heads", "/x"],
    )
    .output();
    assert_eq!(alone.unwrap().status.code(), Some(64));
    let missing = ["audit", "verify", "--journal", "/nonexistent"];
    let said = Said::from(remit(Path::new("/nonexistent"), &missing).output().unwrap());
    assert_eq!(said.status, Some(125), "{said:?}");
    assert!(
        said.stderr.contains("cannot read '/nonexistent'"),
        "{said:?}"
    );

    collector.receives("remote-web1.journal", (&id(1), "web1"), &records(1, 5));
    let heads = collector.dir.path().join("heads");
    fs::create_dir(&heads).unwrap();
    fs::set_permissions(&heads, PermissionsExt::from_mode(0o777)).unwrap();
    let said = collector.verify(&["--heads", heads.to_str().unwrap()]);
    assert_eq!(said.status, Some(125), "{said:?}");
    assert!(
        said.stderr
            .contains("others could write what is remembered"),
        "{said:?}"
    );
    let homeless = collector.command(&[]).env_remove("HOME").output().unwrap();
    let said = Said::from(homeless);
    assert!(said.stderr.contains("--heads DIR"), "{said:?}");
}

/// Needs no right but to read the files, and no daemon.
#[test]
fn user_without_rights_verifies_what_is_readable() {
    use std::os::unix::process::CommandExt;
    let Some(collector) = Collector::new() else {
        return;
    };
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let program = collector.dir.path().join("remit");
    let mut cp = Command::new("cp");
    assert!(
        cp.arg(env!("CARGO_BIN_EXE_remit"))
            .arg(&program)
            .status()
            .unwrap()
            .success()
    );
    let home = collector.dir.path().join("home");
    fs::create_dir(&home).unwrap();
    std::os::unix::fs::chown(&home, Some(65534), Some(65534)).unwrap();
    collector.receives("remote-web1.journal", (&id(1), "web1"), &records(1, 5));
    collector.receives("remote-web2.journal", (&id(2), "web2"), &records(2, 5));
    let verify = || {
        let mut command = Command::new(&program);
        command
            .args(["audit", "verify", "--json", "--journal"])
            .arg(collector.journals());
        command.env("HOME", &home).env_remove("XDG_STATE_HOME");
        command.uid(65534).gid(65534).stdin(Stdio::null());
        Said::from(command.output().unwrap())
    };
    let mode = |file: &str, mode| {
        fs::set_permissions(collector.file(file), PermissionsExt::from_mode(mode)).unwrap();
    };
    mode("remote-web1.journal", 0o644);
    mode("remote-web2.journal", 0o644);
    assert_eq!(verify().status, Some(0), "{:?}", verify());
    mode("remote-web2.journal", 0o600);
    let said = verify();
    assert_eq!(said.status, Some(1), "{said:?}");
    assert_eq!(
        said.json()["hosts"][1]["findings"][0]["kind"],
        "file",
        "{said:?}"
    );
    assert_eq!(said.json()["hosts"][0]["whole"], true, "{said:?}");
    mode("remote-web1.journal", 0o600);
    let said = verify();
    assert_eq!(said.status, Some(77), "{said:?}");
}

/// journalctl would take gigabytes for one field.
#[test]
fn field_that_exhausts_memory_is_a_finding_of_its_host_alone() {
    let Some(collector) = Collector::new() else {
        return;
    };
    collector.receives("remote-web1.journal", (&id(1), "web1"), &records(1, 5));
    let large = records(2, 1);
    // Does not compress, and is no text: an array of numbers as JSON.
    let mut random = 1_u64;
    let mut bytes = Vec::with_capacity(32 << 20);
    while bytes.len() < 32 << 20 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        bytes.extend(random.to_be_bytes());
    }
    collector.receives_with("remote-web2.journal", (&id(2), "web2"), &large, &bytes);
    let (status, hosts) = collector.found(&[]);
    let kinds: Vec<_> = hosts
        .iter()
        .map(|(name, found)| (&**name, found.first().map(|found| found[0].clone())))
        .collect();
    assert_eq!(status, Some(1));
    assert_eq!(kinds, [("web1", None), ("web2", Some(json!("file")))]);
}

#[test]
fn host_with_two_addresses_is_one_finding_with_the_other_address() {
    let Some(collector) = Collector::new() else {
        return;
    };
    let all = records(1, 30);
    let web = (&*id(1), "web1");
    collector.receives("remote-10.0.0.7.journal", web, &all[..10]);
    assert_eq!(collector.found(&[]).0, Some(0));
    collector.receives("remote-fd00::7.journal", web, &all[10..20]);
    collector.receives("remote-10.0.0.7.journal", web, &all[20..]);
    let (status, hosts) = collector.found(&[]);
    let found = [
        ("10.0.0.7".to_owned(), vec![json!(["gap", 11, 20])]),
        ("fd00::7".to_owned(), vec![]),
    ];
    assert_eq!((status, &hosts[..]), (Some(1), &found[..]));
    let text = collector.verify(&[]).text().to_owned();
    assert!(text.contains("; they came as fd00::7, "), "{text}");
    // The collector removed what was verified.
    fs::remove_file(collector.file("remote-10.0.0.7.journal")).unwrap();
    collector.receives("remote-10.0.0.7.journal", web, &all[20..]);
    assert_eq!(collector.found(&[]), (Some(1), found.to_vec()));
    let text = collector.verify(&[]).text().to_owned();
    assert!(text.contains("; they came as fd00::7, "), "{text}");
    // Another past with the same machine id explains nothing.
    collector.receives("remote-10.0.0.9.journal", web, &records(7, 25));
    let text = collector.verify(&[]).text().to_owned();
    assert!(text.contains("; they came as fd00::7, "), "{text}");
    let found = collector.findings(&[], "10.0.0.9");
    assert_eq!(found.1, [json!(["identity", 0, 0])]);
}

#[test]
fn forged_records_with_the_numbers_of_a_gap_do_not_explain_it() {
    let Some(collector) = Collector::new() else {
        return;
    };
    let all = records(1, 30);
    let web = (&*id(1), "web1");
    collector.receives("remote-web1.journal", web, &all[..10]);
    assert_eq!(collector.found(&[]).0, Some(0));
    collector.receives("remote-web1.journal", web, &all[20..]);
    for (what, forged) in [
        ("no link", chain(7, (10, [7; 32]), 10)),
        ("after the record before", chain(7, head(&all[..10]), 10)),
        ("some more", chain(7, (9, [7; 32]), 12)),
    ] {
        collector.receives("remote-mallory.journal", web, &forged);
        for _ in 0..2 {
            let (status, hosts) = collector.found(&[]);
            let found = [
                ("mallory".to_owned(), vec![json!(["identity", 0, 0])]),
                ("web1".to_owned(), vec![json!(["gap", 11, 20])]),
            ];
            assert_eq!((status, &hosts[..]), (Some(1), &found[..]), "{what}");
            let text = collector.verify(&[]).text().to_owned();
            assert!(!text.contains("they came as"), "{what}: {text}");
        }
        fs::remove_file(collector.file("remote-mallory.journal")).unwrap();
    }
}
