//! Reads the encoding back with an independent parser.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::rc::Rc;
use std::sync::LazyLock;

use remit_approval::{FileBinding, VERSION};
use remit_common::names::JobId;
use remit_common::prove::OpenedPath;
use remit_common::wire::Effect;
use remit_policy::PathIs;

use super::*;
use crate::approval::fixture::{Scene, file};
use crate::audit::chain::hex;
use crate::identity::peer::Subject;

const KEY: Key = Key([9; 32]);

/// `ops (t.toml:34)` and the next line.
static RULES: LazyLock<[RuleId; 2]> = LazyLock::new(|| {
    [34, 35].map(|line| RuleId {
        file: "t.toml".to_owned(),
        line,
        name: Some("ops".to_owned()),
    })
});

static NOTHING: Opens = Opens {
    paths: Vec::new(),
    unknown: Vec::new(),
};

fn parts<'a>(draft: &'a Draft, files: &'a [FileFound]) -> Parts<'a> {
    Parts {
        machine_id: "00112233445566778899aabbccddeeff",
        key: &KEY,
        draft,
        files,
        does: &[],
        opens: &NOTHING,
        rule: &RULES[0],
        expires_ms: 1_700_000_000_000,
    }
}

fn read(mut rest: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    rest = rest.strip_prefix(VERSION).expect("a version");
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n').expect("a head");
        let head = std::str::from_utf8(&rest[..end]).expect("text");
        let (name, number) = head.split_once(' ').expect("a length or a count");
        rest = &rest[end + 1..];
        if let Some(count) = number.strip_prefix('x') {
            all.push((name.to_owned(), format!("x{count}").into_bytes()));
            continue;
        }
        let length: usize = number.parse().expect("a length");
        assert_eq!(length.to_string(), number);
        all.push((name.to_owned(), rest[..length].to_vec()));
        assert_eq!(rest[length], b'\n');
        rest = &rest[length + 1..];
    }
    all
}

fn c(text: &str) -> CString {
    CString::new(text).unwrap()
}

type Change = fn(&mut Draft, &mut Vec<FileFound>);

const BACKUP: &[(&str, Change)] = &[
    ("job", |draft, _| draft.job = JobId([8; 16])),
    ("requester-uid", |draft, _| {
        draft.requester.subject = Subject::fake(64_002, "agent", Some(64_001))
    }),
    ("requester-name", |draft, _| {
        draft.requester.subject = Subject::fake(64_001, "agenT", Some(64_001))
    }),
    ("effect", |draft, _| draft.bound.effect = Effect::Read),
    ("dir", |draft, _| draft.path[0] = c("/usr/local/sbiM")),
    ("path", |draft, _| draft.path.truncate(1)),
    ("arg", |draft, _| {
        let mut argv = draft.bound.argv.to_vec();
        argv[0] = c("/usr/bin/truf");
        draft.bound.argv = Rc::from(argv);
    }),
    ("argv", |draft, _| {
        let mut argv = draft.bound.argv.to_vec();
        argv.push(c(""));
        draft.bound.argv = Rc::from(argv);
    }),
    ("index", |draft, _| draft.bound.slots[1].index = 2),
    ("before", |draft, _| {
        draft.bound.slots[0].before = b"--kez=".to_vec()
    }),
    ("slots", |draft, _| draft.bound.slots.truncate(1)),
    ("keyed", |draft, _| {
        draft.bound.slots[0].what = SlotWhat::Secret(b"hunter3".to_vec())
    }),
    ("what", |draft, _| {
        draft.bound.slots[1].what = SlotWhat::Secret(b"hunter2".to_vec())
    }),
    ("under", |draft, _| {
        path_slot(draft, |under, _, _, _| *under = c("/etc/backuP"))
    }),
    ("beneath", |draft, _| {
        path_slot(draft, |_, beneath, _, _| *beneath = c("alL"))
    }),
    ("is", |draft, _| {
        path_slot(draft, |_, _, is, _| *is = PathIs::Directory)
    }),
    ("pass", |draft, _| {
        path_slot(draft, |_, _, _, pass| *pass = Passed::Descriptor)
    }),
    ("pass", |draft, _| {
        path_slot(draft, |_, _, _, pass| {
            *pass = Passed::Copy(remit_link::memfd::seal(c"file", b"").unwrap())
        })
    }),
    ("files", |_, files| files.truncate(0)),
    ("what", |_, files| files[0].what = "prograM".into()),
    ("name", |_, files| {
        files[0].measured.path = c("/usr/bin/truE")
    }),
    ("held", |_, files| files[0].held = FileBinding::Seen),
    ("real", |_, files| files[0].real = c("/usr/bin/truE")),
    ("dev", |_, files| files[0].measured.dev = 7),
    ("ino", |_, files| files[0].measured.ino = 7),
    ("ctime-ns", |_, files| files[0].measured.ctime_ns = 7),
    ("size", |_, files| files[0].measured.size = 7),
    ("sha256", |_, files| files[0].measured.sha256[31] = 7),
    ("keyed", |draft, _| {
        draft.bound.secret_stdin = Some(b"hunter3".to_vec())
    }),
    ("secret-stdin", |draft, _| draft.bound.secret_stdin = None),
    ("cwd", |draft, _| draft.bound.cwd = c("/usR")),
    ("var", |draft, _| draft.bound.env[0] = c("HOME=/")),
    ("env", |draft, _| draft.bound.env.push(c("X=y"))),
    ("policy", |draft, _| draft.bound.policy = "0123abce".into()),
    ("nofile", |draft, _| draft.bound.limits.nofile += 1),
    ("nproc", |draft, _| draft.bound.limits.nproc += 1),
    ("data", |draft, _| draft.bound.limits.data += 1),
    ("cpu-s", |draft, _| draft.bound.limits.cpu_s += 1),
    ("fsize", |draft, _| draft.bound.limits.fsize += 1),
    ("tmp-bytes", |draft, _| draft.bound.limits.tmp_bytes += 1),
    ("tmp-inodes", |draft, _| draft.bound.limits.tmp_inodes += 1),
    ("n", |draft, _| draft.bound.limits.memory = Some(1)),
    ("memory", |draft, _| draft.bound.limits.memory = None),
    ("n", |draft, _| draft.bound.limits.tasks = Some(1)),
    ("tasks", |draft, _| draft.bound.limits.tasks = None),
    ("n", |draft, _| draft.bound.limits.cpu_percent = Some(1)),
    ("cpu-percent", |draft, _| {
        draft.bound.limits.cpu_percent = None
    }),
    ("runtime-s", |draft, _| draft.bound.runtime.seconds += 1),
];

fn path_slot(draft: &mut Draft, change: fn(&mut CString, &mut CString, &mut PathIs, &mut Passed)) {
    for slot in &mut draft.bound.slots {
        if let SlotWhat::Path {
            under,
            beneath,
            is,
            pass,
        } = &mut slot.what
        {
            change(under, beneath, is, pass);
        }
    }
}

fn program() -> Vec<FileFound> {
    vec![file("program", "/usr/bin/true", "/usr/bin/true")]
}

#[test]
fn each_part_counts() {
    let scene = Scene::new();
    let base = scene.backup("a", "it is due");
    let base = encode(&parts(&base, &program()));
    let mut seen = BTreeSet::from([base.clone()]);
    let mut changed = BTreeSet::new();
    let mut look = |bytes: Vec<u8>, name: &str| {
        let differs = read(&bytes) != read(&base);
        assert!(differs && seen.insert(bytes.clone()), "{name}");
        let names = read(&bytes).into_iter().map(|(name, _)| name);
        assert!(names.into_iter().any(|one| one == name), "{name}");
        changed.insert(name.to_owned());
    };
    for (name, change) in BACKUP {
        let (mut draft, mut files) = (scene.backup("a", "it is due"), program());
        change(&mut draft, &mut files);
        look(encode(&parts(&draft, &files)), name);
    }
    let (draft, files) = (scene.backup("a", "it is due"), program());
    let parts = |parts: Parts<'_>| encode(&parts);
    let same = self::parts(&draft, &files);
    look(
        parts(Parts {
            machine_id: "1",
            ..same
        }),
        "machine-id",
    );
    let does = ["a".to_owned(), "b".to_owned()];
    look(
        parts(Parts {
            does: &does,
            ..same
        }),
        "does",
    );
    look(
        parts(Parts {
            does: does.get(..1).unwrap(),
            ..same
        }),
        "line",
    );
    let path = OpenedPath {
        agent: "bot".to_owned(),
        goal: "root".to_owned(),
        steps: vec!["a".to_owned()],
        closed_by: vec!["b".to_owned()],
    };
    let other = |name: &str| {
        let (mut paths, mut unknown) = (vec![path.clone()], Vec::new());
        match name {
            "agent" => paths[0].agent.push('x'),
            "goal" => paths[0].goal.push('x'),
            "step" => paths[0].steps[0].push('x'),
            "steps" => paths[0].steps.clear(),
            "change" => paths[0].closed_by[0].push('x'),
            "closed-by" => paths[0].closed_by.clear(),
            "opens-unknown" => unknown.push(String::new()),
            "why" => unknown.push("it is slow".to_owned()),
            _ => {}
        }
        Opens { paths, unknown }
    };
    for name in [
        "opens",
        "agent",
        "goal",
        "step",
        "steps",
        "change",
        "closed-by",
        "opens-unknown",
        "why",
    ] {
        look(
            parts(Parts {
                opens: &other(name),
                ..same
            }),
            name,
        );
    }
    look(
        parts(Parts {
            rule: &RULES[1],
            ..same
        }),
        "rule",
    );
    look(
        parts(Parts {
            expires_ms: 1,
            ..same
        }),
        "expires-ms",
    );
    look(
        parts(Parts {
            key: &Key([8; 32]),
            ..same
        }),
        "keyed",
    );
    let bytes = |draft: Draft| encode(&self::parts(&draft, &files));
    look(bytes(scene.backup("a", "it is duE")), "text");
    look(
        bytes(scene.change("disk.wipe", &[("disk", "a")])),
        "profile",
    );
    look(
        bytes(scene.change("service.act", &[("verb", "a"), ("unit", "b")])),
        "command",
    );
    look(bytes(scene.script(b"a", b"b")), "script");
    look(bytes(scene.script(b"A", b"b")), "script");
    look(bytes(scene.script(b"b", b"a")), "stdin");
    look(bytes(scene.program(&[b"ls"])), "reason");
    let names: BTreeSet<String> = read(&base).into_iter().map(|(name, _)| name).collect();
    let missing: Vec<_> = names.difference(&changed).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn byte_moved_to_next_argument_changes_digest() {
    let scene = Scene::new();
    let argvs: [&[&[u8]]; 7] = [
        &[b"rm", b"ab", b"c"],
        &[b"rm", b"a", b"bc"],
        &[b"rm", b"abc"],
        &[b"rm", b"abc", b""],
        &[b"rm", b"", b"abc"],
        &[b"rm", b"ab\narg 1\nc"],
        &[b"rma", b"b", b"c"],
    ];
    let digests = argvs.map(|argv| digest(&encode(&parts(&scene.program(argv), &[]))));
    let different: BTreeSet<_> = digests.iter().collect();
    assert_eq!(different.len(), argvs.len());
    let twice = digest(&encode(&parts(&scene.program(argvs[0]), &[])));
    assert_eq!(twice, digests[0]);
}

#[test]
fn c03_each_line_of_what_it_does_counts() {
    let scene = Scene::new();
    let draft = scene.program(&[b"ls"]);
    let lines =
        |lines: &[&str]| -> Vec<String> { lines.iter().map(|line| (*line).to_owned()).collect() };
    let all = [
        lines(&[]),
        lines(&[""]),
        lines(&["ab"]),
        lines(&["a", "b"]),
        lines(&["a\nline 1\nb"]),
    ];
    let digests = all.each_ref().map(|does| {
        let parts = Parts {
            does,
            ..parts(&draft, &[])
        };
        digest(&encode(&parts))
    });
    assert_eq!(digests.iter().collect::<BTreeSet<_>>().len(), all.len());
}

#[test]
fn digest_has_no_secret_or_plain_hash() {
    let scene = Scene::new();
    let bytes = encode(&parts(&scene.backup("a", "x"), &program()));
    let has = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    assert!(!has(b"hunter2"));
    assert!(!has(hex(&Sha256::digest(b"hunter2")).as_bytes()));
    let keyed = Sha256::digest([&KEY.0[..], b"hunter2"].concat());
    assert!(has(hex(&keyed).as_bytes()));
}

/// Fixes the encoding and its digest, for programs of auditors.
#[test]
fn the_encoding_is_as_written_down() {
    let scene = Scene::new();
    let mut draft = scene.program(&[b"ls", b"a\nb"]);
    draft.path.truncate(1);
    draft.bound.env = vec![c("TZ=UTC")];
    draft.bound.limits = Limits {
        nofile: 1,
        nproc: 2,
        others: None,
        data: 3,
        cpu_s: 4,
        fsize: 5,
        tmp_bytes: 6,
        tmp_inodes: 7,
        memory: Some(8),
        tasks: None,
        cpu_percent: Some(10),
    };
    let bytes = encode(&parts(&draft, &program()));
    let sha = "05".repeat(32);
    let want = format!(
        "remit approval digest 3\n\
         machine-id 32\n00112233445566778899aabbccddeeff\n\
         job 32\n07070707070707070707070707070707\n\
         requester-uid 5\n64001\n\
         requester-name 5\nagent\n\
         command x0\n\
         effect 4\nread\n\
         path x1\ndir {}\n{}\n\
         argv x2\narg 2\nls\narg 3\na\nb\n\
         slots x0\n\
         files x1\nwhat 7\nprogram\nheld 7\nchecked\nname 13\n/usr/bin/true\nreal 13\n/usr/bin/true\n\
         dev 1\n1\nino 1\n2\nctime-ns 2\n-3\nsize 1\n4\nsha256 64\n{sha}\n\
         does x0\n\
         opens x0\n\
         opens-unknown x0\n\
         script x0\n\
         stdin x0\n\
         secret-stdin x0\n\
         cwd 1\n/\n\
         env x1\nvar 6\nTZ=UTC\n\
         profile 4\nread\n\
         policy 8\n0123abcd\n\
         rule 15\nops (t.toml:34)\n\
         nofile 1\n1\nnproc 1\n2\ndata 1\n3\ncpu-s 1\n4\nfsize 1\n5\ntmp-bytes 1\n6\ntmp-inodes 1\n7\n\
         memory x1\nn 1\n8\ntasks x0\ncpu-percent x1\nn 2\n10\n\
         runtime-s 3\n300\n\
         reason x0\n\
         expires-ms 13\n1700000000000\n",
        remit_policy::PATH_DIRS[0].len(),
        remit_policy::PATH_DIRS[0],
    );
    assert_eq!(String::from_utf8(bytes).unwrap(), want);
    let golden = "549dec2e9b66281f5878cf5480713b1ec2916a9462deee4f71e211717f48319f";
    assert_eq!(hex(&digest(&encode(&parts(&draft, &program())))), golden);
}
