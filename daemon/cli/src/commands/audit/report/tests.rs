//! Whole pages, from audit logs in files.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use remit_common::names::Runtime;
use serde_json::{Map, Value};

use super::*;
use crate::render::units::Width;

type FieldPairs<'a> = &'a [(&'a str, &'a str)];

/// Lines of records with a chain that holds.
fn lines(records: &[FieldPairs<'_>]) -> Vec<String> {
    let mut previous = "0".repeat(64);
    let mut lines = Vec::new();
    for (number, fields) in records.iter().enumerate() {
        let seq = (number + 1).to_string();
        let mut record = Map::new();
        let mut put = |name: &str, value: &str| record.insert(name.to_owned(), value.into());
        put("MESSAGE", "a sentence");
        put("REMIT_TIME", "2026-11-20T08:25:48.042Z");
        for (name, value) in *fields {
            match *name {
                "MESSAGE" => put(name, value),
                _ => put(&format!("REMIT_{name}"), value),
            };
        }
        put("REMIT_SEQ", &seq);
        put("REMIT_PREV", &previous);
        let texts = record
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str().unwrap()));
        previous = remit_trail::hex(&remit_trail::hash(texts));
        record.insert("REMIT_HASH".to_owned(), previous.as_str().into());
        lines.push(Value::Object(record).to_string());
    }
    lines
}

/// Returns the page about these lines, and if the audit log is whole.
fn page_of(lines: &[String]) -> (String, bool) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let file = std::env::temp_dir().join(format!("remit-page-{}-{number}", std::process::id()));
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(&file, text).unwrap();
    let context = Context {
        runtime: Runtime::new(Path::new("/nonexistent")),
        form: Form::Text,
        width: Width::UNLIMITED,
    };
    let source = RecordSource::Files {
        paths: vec![file.clone()],
        live: false,
    };
    let of = Of {
        source: &source,
        state: Path::new("/nonexistent"),
        span: Span::default(),
        expect: &[],
    };
    let (verification, contents): (_, Contents) = Verification::new(&context, &of).unwrap();
    fs::remove_file(&file).unwrap();
    let page = ReportPage::new(
        &contents,
        &verification,
        None,
        1_795_163_148_042,
        " --file 'a b'",
    );
    let page = document::document(&page);
    (page, verification.is_whole())
}

fn page(records: &[FieldPairs<'_>]) -> String {
    page_of(&lines(records)).0
}

/// Returns the ids and the links of the body. Panics at a tag or an attribute that the page must not have.
fn scanned(page: &str) -> (Vec<String>, Vec<String>) {
    const TAGS: &str = "a bdi body caption code dd details div dl dt figcaption figure footer g h1 h2 h3 header html li \
                        main nav p rect section span strong summary svg table tbody td th thead title tr ul";
    const ATTRIBUTES: &str = "aria-hidden aria-label class height href id preserveAspectRatio role scope viewBox width x y";
    let (_, body) = page.split_once("</head>").unwrap();
    let (mut ids, mut links) = (Vec::new(), Vec::new());
    for tag in body.split('<').skip(1) {
        let (tag, text) = tag.split_once('>').expect("each tag has an end");
        assert!(!text.contains(['"', '\'']), "{text}");
        let tag = tag.trim_start_matches('/');
        let (name, mut rest) = tag.split_once(' ').unwrap_or((tag, ""));
        assert!(TAGS.split(' ').any(|known| known == name), "<{tag}>");
        while !rest.is_empty() {
            let (attribute, more) = rest.split_once("=\"").expect("each attribute has a value");
            let (value, more) = more.split_once('"').expect("each value has an end");
            let attribute = attribute.trim_start();
            assert!(
                ATTRIBUTES.split(' ').any(|known| known == attribute),
                "<{tag}>"
            );
            match attribute {
                "id" => ids.push(value.to_owned()),
                "href" => links.push(value.strip_prefix('#').expect("it stays here").to_owned()),
                _ => {}
            }
            rest = more;
        }
    }
    (ids, links)
}

/// Checks that each link leads to one anchor.
fn is_sound(page: &str) {
    let (ids, links) = scanned(page);
    let anchors: BTreeSet<&String> = ids.iter().collect();
    assert_eq!(anchors.len(), ids.len(), "two anchors have one id");
    for link in &links {
        assert!(anchors.contains(link), "nothing is at #{link}");
    }
    let raw = page.chars().find(|c| *c != '\n' && !text::is_plain(*c));
    assert_eq!(raw, None);
}

const JOB: &str = "7f3a91c2000000000000000000000000";

#[test]
fn change_shows_people_and_leads_to_its_records() {
    let about = |event, more: FieldPairs<'static>| {
        let mut fields = vec![
            ("EVENT", event),
            ("JOB", JOB),
            ("EFFECT", "change"),
            ("USER", "alice"),
            ("UID", "1000"),
            ("ARGV", "service.restart unit=a"),
        ];
        fields.extend(more);
        fields
    };
    let records = [
        about("asked", &[("REASON", "ticket 7")]),
        about(
            "approved",
            &[
                ("APPROVER", "bob"),
                ("APPROVER_UID", "1001"),
                ("APPROVALS", "1 of 2"),
            ],
        ),
        about(
            "approved",
            &[
                ("APPROVER", "ann"),
                ("APPROVER_UID", "1002"),
                ("APPROVALS", "2 of 2"),
            ],
        ),
        about(
            "intent",
            &[("RULE", "rule 'units', approved by bob and ann")],
        ),
        about("end", &[("STATE", "exited"), ("EXIT", "0")]),
    ];
    let records: Vec<FieldPairs<'_>> = records.iter().map(Vec::as_slice).collect();
    let lines = lines(&records);
    let (page, is_whole) = page_of(&lines);
    assert!(is_whole);
    is_sound(&page);
    for part in [
        "<strong>The audit log is whole</strong>",
        "reason: <bdi>ticket 7</bdi>",
        "<a href=\"#r2\">2</a> <bdi>approved</bdi> by <bdi>bob</bdi>, <bdi>1 of 2</bdi>",
        "<a href=\"#r3\">3</a> <bdi>approved</bdi> by <bdi>ann</bdi>, <bdi>2 of 2</bdi>",
        "<bdi>exited</bdi>, <bdi>status 0</bdi>",
        "allowed by: <bdi>rule &#39;units&#39;, approved by bob and ann</bdi>",
        "remit audit show 7f3a91c2 --file &#39;a b&#39;",
        "remit audit show --json --seq 5 --file &#39;a b&#39;",
        "<dt>asked to change</dt>\n<dd>1</dd>",
        "<dt>approvals</dt>\n<dd>2</dd>",
        "<dt>changes started</dt>\n<dd>1</dd>",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    for line in &lines {
        let record: Value = serde_json::from_str(line).unwrap();
        let hash = record["REMIT_HASH"].as_str().unwrap();
        assert!(page.contains(&format!("<bdi>{hash}</bdi>")), "{hash}");
    }
}

/// Records that were lost without a number leave no gap.
#[test]
fn page_does_not_say_that_none_is_missing_if_the_log_says_that_some_were_lost() {
    for (lost, says) in [
        (None, "the last, none is missing and none was changed."),
        (Some("3"), "none is missing but for what the notes say."),
    ] {
        let mut second = vec![("EVENT", "start")];
        second.extend(lost.map(|count| ("LOST", count)));
        let (page, is_whole) = page_of(&lines(&[&[("EVENT", "start")], &second]));
        assert!(is_whole);
        assert!(page.contains(says), "{page}");
        assert_eq!(page.contains("<dt>note</dt>"), lost.is_some(), "{page}");
    }
}

#[test]
fn reader_of_copies_is_no_requester() {
    let about = |event, user, more: FieldPairs<'static>| {
        let mut fields = vec![("EVENT", event), ("JOB", JOB), ("USER", user)];
        fields.extend(more);
        fields
    };
    let asked = about("asked", "alice", &[("EFFECT", "change"), ("ARGV", "x")]);
    let shown = about("shown", "bob", &[("MESSAGE", "bob reads the files")]);
    let approver = [("APPROVER", "ann"), ("ARGV", "x")];
    let mut approved = about("approved", "alice", &[("EFFECT", "change")]);
    approved.extend(approver);
    let (page, is_whole) = page_of(&lines(&[&asked, &shown, &approved]));
    assert!(is_whole);
    is_sound(&page);
    let section = |name: &str| {
        let start = page.split(&format!("<section id=\"{name}\">")).nth(1);
        let (section, _) = start.unwrap().split_once("</section>").unwrap();
        section.to_owned()
    };
    let decisions = section("decisions");
    let by = "<td class=\"user\"><bdi>ann</bdi></td>";
    assert!(decisions.contains(by), "{decisions}");
    assert!(!decisions.contains("bob"), "{decisions}");
    let shown = section("shown");
    for part in ["bob", "bob reads the files"] {
        assert!(shown.contains(&format!("<bdi>{part}</bdi>")), "{shown}");
    }
    assert!(shown.contains("<a href=\"#r2\">2</a>"), "{shown}");
    assert!(!shown.contains("alice"), "{shown}");
}

#[test]
fn commit_shows_its_paths_and_its_undo() {
    let (digest, id) = ("5".repeat(64), "5".repeat(32));
    let args = format!("id={id}");
    let about = |event, job: &'static str, command| {
        let of_job = [("EVENT", event), ("JOB", job), ("EFFECT", "change")];
        let mut fields = of_job.to_vec();
        fields.push(("COMMAND", command));
        fields
    };
    let undo = "0123456789abcdef0123456789abcdef";
    let changes = "'/etc/<motd>': changed, mode 0644";
    let whole = "d".repeat(64);
    let script = "e".repeat(64);
    let commit: FieldPairs<'_> = &[
        ("PLAN_DIGEST", &digest),
        ("PLAN_CHANGES", changes),
        ("DIGEST", &whole),
        ("SCRIPT_SHA256", &script),
    ];
    let ended: FieldPairs<'_> = &[("STATE", "exited"), ("EXIT", "0"), ("ARGS", &args)];
    let records = [
        [&about("asked", JOB, "plan.commit"), commit].concat(),
        [
            &about("approved", JOB, "plan.commit"),
            commit,
            &[("APPROVER", "bob")],
        ]
        .concat(),
        [&about("intent", JOB, "plan.commit"), commit].concat(),
        [&about("intent", undo, "plan.undo")[..], &[("ARGS", &args)]].concat(),
        [&about("end", undo, "plan.undo"), ended].concat(),
    ];
    let records: Vec<FieldPairs<'_>> = records.iter().map(Vec::as_slice).collect();
    let (page, is_whole) = page_of(&lines(&records));
    assert!(is_whole);
    is_sound(&page);
    let digest = format!("digest: <bdi>{}…</bdi>", "d".repeat(16));
    let script = format!("SHA-256 of the script: <bdi>{script}</bdi>");
    // In the list of changes, and in that of decisions.
    for part in [
        "changes: <bdi>&#39;/etc/&lt;motd&gt;&#39;: changed, mode 0644</bdi>",
        &digest,
        &script,
    ] {
        assert_eq!(page.matches(part).count(), 2, "{part}: {page}");
    }
    for part in [
        "undone by <bdi>01234567</bdi>",
        "undoes <bdi>7f3a91c2</bdi>",
    ] {
        assert_eq!(page.matches(part).count(), 1, "{part}: {page}");
    }
}

#[test]
fn failed_notification_is_no_refused_request() {
    let about = |event, more: FieldPairs<'static>| {
        let mut fields = vec![("EVENT", event), ("JOB", JOB), ("USER", "alice")];
        fields.extend([("UID", "1000")]);
        fields.extend(more);
        fields
    };
    let asked = about("asked", &[("EFFECT", "change"), ("COMMAND", "a.b")]);
    let failed = about("refusal", &[("VERDICT", "rate_limited"), ("CAUSE", "many")]);
    let (page, is_whole) = page_of(&lines(&[&asked, &failed]));
    assert!(is_whole);
    is_sound(&page);
    for part in [
        "<dt>asked to change</dt>\n<dd>1</dd>",
        "<dt>refused</dt>\n<dd>0</dd>",
        "<td class=\"word\">waits</td>",
        "<tr id=\"r2\">",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
}

#[test]
fn outcome_of_a_job_is_that_of_its_newest_record() {
    let records = ["asked", "approved", "queued", "intent"].map(|event| {
        let fields = [("EFFECT", "change"), ("VERDICT", "allow")];
        [&[("EVENT", event), ("JOB", JOB)], &fields[..]].concat()
    });
    let records: Vec<FieldPairs<'_>> = records.iter().map(Vec::as_slice).collect();
    for (at, outcome) in ["waits", "approved", "in the queue", "started"]
        .iter()
        .enumerate()
    {
        let page = page(&records[..=at]);
        let cell = format!("<td class=\"word\">{outcome}</td>");
        assert!(page.contains(&cell), "{outcome} is not in {page}");
    }
}

#[test]
fn signed_approval_shows_its_key_and_that_it_was_not_checked() {
    let approved = |more: FieldPairs<'static>| {
        let mut fields = vec![("EVENT", "approved"), ("JOB", JOB), ("EFFECT", "change")];
        fields.extend([("APPROVER", "bob"), ("APPROVER_UID", "1001")]);
        fields.extend(more);
        fields
    };
    let records = [
        approved(&[
            ("SIGNED", "touch"),
            ("SIGNATURE", "QUJD"),
            ("SIGNED_BY", "SHA256:abc"),
            ("SIGNED_RECORD", "7:00ff"),
            ("SIGNED_FLAGS", "5"),
            ("SIGNED_COUNTER", "9"),
            ("SIGNED_RISK", "the counter went back"),
        ]),
        approved(&[("SIGNED", "key")]),
        approved(&[]),
    ];
    let records: Vec<FieldPairs<'_>> = records.iter().map(Vec::as_slice).collect();
    let (page, is_whole) = page_of(&lines(&records));
    assert!(is_whole);
    is_sound(&page);
    let times = |part: &str| page.matches(part).count();
    // In the story of the job, and in the list of decisions.
    let line = "<bdi>approved</bdi>, signed by <bdi>SHA256:abc</bdi>, not checked";
    let step = "<bdi>bob</bdi>, signed by <bdi>SHA256:abc</bdi>, not checked";
    assert_eq!((times(line), times(step)), (1, 1), "{page}");
    let missing = "no signature, and its rule asks for a signature</span>";
    assert_eq!((times(missing), times("not checked<")), (2, 2), "{page}");
    for part in [
        "This report has not checked 1 signature of approvers: &#39;--signers FILE&#39; checks them.",
        "the rule asks for a signature by a security key that was touched; over record <bdi>7:00ff</bdi>",
        "the key reports <bdi>flags 5, counter 9</bdi>; <bdi>the counter went back</bdi>",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
}

#[test]
fn hostile_text_stays_text_in_each_field() {
    let texts = [
        "</style><script>alert(1)</script>",
        "<!-- --><img src=x onerror=alert(1)>",
        "\" onload=\"alert(1)",
        "' style='x",
        "\u{202e}txt.exe\u{2066}\u{200b}\u{feff}",
        "\0\x1b[31m\r\n\t\x7f\u{9b}",
        "</td></tr></table></body></html>",
        "&lt;&#60;",
        "e\u{301}\u{301}",
    ];
    const EVENTS: [&str; 15] = [
        "asked",
        "shown",
        "approved",
        "denied",
        "void",
        "intent",
        "end",
        "refusal",
        "given",
        "policy",
        "lock",
        "unconfirmed",
        "upload",
        "start",
        "another",
    ];
    const FIELDS: [&str; 28] = [
        "PLAN_CHANGES",
        "PLAN_DIGEST",
        "DIGEST",
        "SCRIPT_SHA256",
        "SIGNATURE",
        "SIGNED_BY",
        "SIGNED_RECORD",
        "SIGNED_FLAGS",
        "SIGNED_COUNTER",
        "SIGNED_RISK",
        "USER",
        "UID",
        "ARGV",
        "COMMAND",
        "ARGS",
        "REASON",
        "CAUSE",
        "VERDICT",
        "STATE",
        "EXIT",
        "APPROVER",
        "APPROVER_UID",
        "APPROVALS",
        "GRANT",
        "EFFECT",
        "TIME",
        "CLIENT",
        "RULE",
    ];
    for text in texts {
        for with_job in [true, false] {
            let records: Vec<Vec<(&str, &str)>> = EVENTS
                .iter()
                .chain([&text])
                .map(|event| {
                    let mut fields = vec![("EVENT", *event), ("MESSAGE", text)];
                    fields.extend(FIELDS.map(|name| (name, text)));
                    fields.push(if with_job {
                        ("JOB", JOB)
                    } else {
                        ("JOB", text)
                    });
                    fields
                })
                .collect();
            let records: Vec<FieldPairs<'_>> = records.iter().map(Vec::as_slice).collect();
            is_sound(&page(&records));
        }
    }
}

#[test]
fn damage_is_at_the_top_and_at_its_records() {
    let refusal: FieldPairs<'_> = &[
        ("EVENT", "refusal"),
        ("USER", "alice"),
        ("UID", "1000"),
        ("CAUSE", "a rule"),
    ];
    let mut lines = lines(&[refusal; 9]);
    let whole = page_of(&lines).0;
    assert!(!whole.contains("in doubt<"), "{whole}");
    lines[2] = lines[2].replace("a rule", "no rule");
    lines[4] = "<b>what is no record</b>".to_owned();
    lines.push(lines[8].clone());
    let (page, is_whole) = page_of(&lines);
    assert!(!is_whole);
    is_sound(&page);
    for part in [
        "<p class=\"verdict broken\"><strong>The audit log is not whole: record 3 ",
        "<a href=\"#r3\">3</a> <span class=\"doubt\">in doubt</span>",
        "<a href=\"#r9-1\">9</a> <span class=\"doubt\">in doubt</span>",
        "Lines that are no records, and are in no section: 1.",
        "<dt>finding</dt>",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    assert!(page.contains("<a href=\"#r2\">2</a></td>"), "{page}");
}

#[test]
fn more_damage_than_is_listed_is_said() {
    let refusal: FieldPairs<'_> = &[("EVENT", "refusal"), ("CAUSE", "a rule")];
    let mut lines = lines(&[refusal; 1500]);
    lines
        .iter_mut()
        .for_each(|line| *line = line.replace("a rule", "no rule"));
    let (page, is_whole) = page_of(&lines);
    assert!(
        !is_whole && page.contains("more findings than are listed"),
        "{page}"
    );
    is_sound(&page);
}

#[test]
fn late_beginning_is_in_the_headline() {
    let refusal: FieldPairs<'_> = &[("EVENT", "refusal"), ("CAUSE", "a rule")];
    let (page, is_whole) = page_of(&lines(&[refusal; 9])[6..]);
    assert!(is_whole);
    let headline =
        "<strong>The audit log is whole from record 7 on; 6 earlier ones are not here</strong>";
    assert!(page.contains(headline), "{page}");
}

#[test]
fn empty_log_proves_nothing() {
    let (page, is_whole) = page_of(&[]);
    assert!(!is_whole);
    is_sound(&page);
    for part in [
        "<strong>There are no records</strong>, so nothing is proven.",
        "No record has a time.",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
}

#[test]
fn long_lists_are_cut_and_totals_are_not() {
    let refusal: FieldPairs<'_> = &[("EVENT", "refusal"), ("USER", "alice"), ("UID", "1000")];
    let page = page(&[refusal; 1234]);
    is_sound(&page);
    for part in [
        "<dt>refused</dt>\n<dd>1234</dd>",
        "The newest 300 are listed; 934 older entries are left out. Totals count all.",
        "<tr id=\"r935\">",
    ] {
        assert!(page.contains(part), "{part} is not in the page");
    }
    assert!(!page.contains("<tr id=\"r934\">"));
}

#[test]
fn files_are_named_as_a_shell_reads_them() {
    for (paths, expect) in [
        (&[][..], ""),
        (&["/a/b"], " --file /a/b"),
        (&["-"], " --file FILE"),
        (
            &["it's", "<b>\u{202e}"],
            " --file 'it'\\''s' --file '<b>\\u{202e}'",
        ),
    ] {
        let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
        assert_eq!(files(&paths), expect);
    }
}
