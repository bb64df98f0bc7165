//! Edits as a client makes them: encodings, edits beside `patch` and `sed`, bundles, and what people read of links.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use proptest::prelude::*;
use remit_edit::{
    Action, Edit, Edits, Found, Planned, Problem, Replacement, Tabs, ViewText as _, bundle, diff,
    patch,
};
use remit_plan::{
    BUNDLE_BYTES, Base, Bundle, Change, Content, Entry, Kind, Metadata, New, OLD_BYTES,
    OldCapabilities, Plan, PlanError, PlanPath, Stat, risk_sentences, sha256,
};

const META: Metadata = Metadata {
    mode: 0o640,
    uid: 0,
    gid: 42,
};

/// The mode of a link.
const OF_LINKS: Metadata = Metadata {
    mode: 0o777,
    uid: 0,
    gid: 0,
};
const ROOT: Metadata = Metadata {
    mode: 0o644,
    uid: 0,
    gid: 0,
};

fn path(text: &str) -> PlanPath {
    PlanPath::new(text).unwrap()
}

fn base(kind: Kind, bytes: &[u8]) -> Base {
    Base {
        stat: Stat {
            kind,
            dev: 1,
            ino: 7,
            ctime_ns: 99,
            size: bytes.len() as u64,
            meta: META,
        },
        sha256: (kind == Kind::File).then(|| sha256(bytes)),
        capabilities: OldCapabilities::Unread,
    }
}

fn file(bytes: &[u8]) -> Found {
    Found {
        base: base(Kind::File, bytes),
        bytes: Some(bytes.to_vec()),
    }
}

fn edit(at: &str, action: Action) -> Edit {
    Edit {
        path: path(at),
        action,
        mode: None,
        uid: None,
        gid: None,
        base_sha256: None,
        create_only: false,
    }
}

fn replacement(old: &[u8], new: &[u8], count: u32) -> Action {
    Action::Replace(vec![Replacement {
        old: old.to_vec(),
        new: new.to_vec(),
        count,
    }])
}

fn entry(at: &str, change: Change) -> Entry {
    Entry {
        path: path(at),
        change,
    }
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        Just(&b"a\n"[..]),
        Just(&b"b\n"[..]),
        Just(&b"c\r\n"[..]),
        Just(&b"\n"[..]),
        Just(&b"\xff\x1b\n"[..]),
        Just(&b"- - -\n"[..]),
        Just(&b"\\ No newline\n"[..]),
    ];
    let lines = prop::collection::vec(line, 0..60);
    (lines, prop::collection::vec(any::<u8>(), 0..4))
        .prop_map(|(lines, end)| [lines.concat(), end].concat())
}

proptest! {
    #[test]
    fn patch_of_a_diff_is_the_new_text(old in text(), new in text()) {
        let hunks = diff(&old, &new);
        prop_assert_eq!(hunks.is_empty(), old == new);
        if !hunks.is_empty() {
            prop_assert_eq!(patch(&old, &hunks).unwrap(), new);
        }
    }

    #[test]
    fn patch_of_any_bytes_gives_bytes_or_an_error(base in text(), bytes: Vec<u8>, changed in text()) {
        let _ = patch(&base, &bytes);
        let mut hunks = diff(&base, &changed);
        if let Some(byte) = bytes.first() && !hunks.is_empty() {
            let at = usize::from(*byte) % hunks.len();
            hunks[at] = hunks[at].wrapping_add(1);
            let _ = patch(&base, &hunks);
        }
    }

    #[test]
    fn edits_are_decoded_as_they_were_encoded(bytes: Vec<u8>, old: Vec<u8>, count: u32, mode: Option<u32>) {
        let mut edits = Edits { edits: vec![
            edit("/a", Action::Write(bytes.clone())),
            edit("/b", replacement(&old, &bytes, count)),
            edit("/c", Action::Patch(bytes.clone())),
            edit("/d", Action::Remove),
        ] };
        edits.edits[0].mode = mode;
        prop_assert_eq!(Edits::decode(&edits.encode()).unwrap(), edits);
        prop_assert!(Edits::decode(&bytes).is_err());
    }
}

#[test]
fn diff_of_large_texts_is_exact_and_bounded() {
    let old: Vec<u8> = (0..20_000)
        .flat_map(|n| format!("line {n}\n").into_bytes())
        .collect();
    let new: Vec<u8> = (0..20_000)
        .flat_map(|n| format!("line {}\n", n * 7 % 20_011).into_bytes())
        .collect();
    let hunks = diff(&old, &new);
    assert_eq!(patch(&old, &hunks).unwrap(), new);
    let small = String::from_utf8(old.clone())
        .unwrap()
        .replacen("line 9999\n", "changed\n", 1);
    assert_eq!(
        diff(&old, small.as_bytes())
            .iter()
            .filter(|byte| **byte == b'\n')
            .count(),
        9
    );
}

/// The edits of everyday work, each as `patch` makes it of the diff, and as `sed` makes it of the words.
#[test]
fn edits_give_the_bytes_of_patch_and_sed() {
    let config = b"# web\nuser www;\nworkers 4;\n\nserver {\n\tlisten 80;\n\tname a.example;\n\troot /srv/a;\n}\n\nserver {\n\tlisten 80;\n\tname b.example;\n}\n".to_vec();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let crlf = text(&config).replace('\n', "\r\n").into_bytes();
    let open = config.strip_suffix(b"\n").unwrap().to_vec();
    let latin = [&config[..], b"# caf\xe9 \xff\n"].concat();
    let words: [(&str, &str, &str); 8] = [
        ("workers 4;", "workers 8;", "s/workers 4;/workers 8;/"),
        ("www", "web", "s/www/web/"),
        ("a.example", "c.example", "s/a\\.example/c.example/"),
        ("# web\n", "", "/^# web/d"),
        (
            "\troot /srv/a;",
            "\troot /srv/b;",
            "s|root /srv/a|root /srv/b|",
        ),
        ("80", "8080", "s/80/8080/g"),
        ("listen", "bind", "s/listen/bind/"),
        ("}", "} # end", "s/}/} # end/"),
    ];
    let dir =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("plan-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let (file_path, patch_path) = (dir.join("file"), dir.join("patch"));
    let mut count = 0;
    for original in [&config, &crlf, &open, &latin] {
        for (old, new, script) in words {
            // sed's own line ends are bytes, too.
            if old.contains('\n') && original == &crlf {
                continue;
            }
            let found = original
                .windows(old.len())
                .filter(|window| *window == old.as_bytes())
                .count();
            let action = replacement(
                old.as_bytes(),
                new.as_bytes(),
                u32::try_from(found).unwrap(),
            );
            let planned = edit("/etc/a", action)
                .apply(Some(&file(original)))
                .unwrap()
                .unwrap();
            let bytes = planned.new.unwrap();
            fs::write(&file_path, original).unwrap();
            let sed = Command::new("sed")
                .env("LC_ALL", "C")
                .arg("-i")
                .arg(script)
                .arg(&file_path)
                .status()
                .unwrap();
            assert!(sed.success());
            assert_eq!(
                text(&fs::read(&file_path).unwrap()),
                text(&bytes),
                "sed {script}"
            );
            assert_eq!(fs::read(&file_path).unwrap(), bytes, "sed {script}");
            // The same edit as a patch, also one that has moved by two lines.
            for moved in [&b""[..], b"# one\n# two\n"] {
                let (from, to) = ([moved, original].concat(), [moved, &bytes].concat());
                let hunks = diff(original, &bytes);
                fs::write(&file_path, &from).unwrap();
                let head = b"--- a\n+++ b\n".to_vec();
                fs::write(&patch_path, [head, hunks.clone()].concat()).unwrap();
                let mut command = Command::new("patch");
                command.args([
                    "--binary",
                    "--silent",
                    "--fuzz=0",
                    "--no-backup-if-mismatch",
                    "--input",
                ]);
                let done = command.arg(&patch_path).arg(&file_path).output().unwrap();
                let own = patch(&from, &hunks);
                assert!(!moved.is_empty() || done.status.success(), "{done:?}");
                // Without fuzz, patch binds a hunk with less context before than after to the first line.
                if done.status.success() {
                    assert_eq!(
                        fs::read(&file_path).unwrap(),
                        own.unwrap(),
                        "patch {script}"
                    );
                    assert_eq!(fs::read(&file_path).unwrap(), to, "patch {script}");
                    count += 1;
                }
            }
        }
    }
    fs::remove_dir_all(&dir).unwrap();
    assert!(count >= 45, "{count}");
}

#[test]
fn replace_needs_the_exact_count() {
    let found = file(b"aaa b a");
    let bytes = |action| {
        edit("/f", action)
            .apply(Some(&found))
            .map(|planned| planned.unwrap().new.unwrap())
    };
    assert_eq!(bytes(replacement(b"b", b"c", 1)).unwrap(), b"aaa c a");
    assert_eq!(bytes(replacement(b"aa", b"x", 1)).unwrap(), b"xa b a");
    let problem = |action| bytes(action).unwrap_err().problem;
    let expect = Problem::Count {
        number: 1,
        expected: 1,
        found: 4,
    };
    assert_eq!(problem(replacement(b"a", b"c", 1)), expect);
    assert_eq!(
        problem(replacement(b"", b"c", 0)),
        Problem::EmptyOld { number: 1 }
    );
    let twice = Action::Replace(vec![
        Replacement {
            old: b"b".to_vec(),
            new: b"cc".to_vec(),
            count: 1,
        },
        Replacement {
            old: b"c".to_vec(),
            new: b"".to_vec(),
            count: 2,
        },
    ]);
    assert_eq!(bytes(twice).unwrap(), b"aaa  a");
}

/// A link as a planner finds it.
fn link_to(target: &[u8]) -> Found {
    let mut base = base(Kind::Symlink, target);
    base.stat.meta.mode = 0o777;
    base.sha256 = Some(sha256(target));
    Found {
        base,
        bytes: Some(target.to_vec()),
    }
}

#[test]
fn links_are_made_changed_and_shown() {
    let to = |target: &[u8]| edit("/srv/current", Action::Link(target.to_vec()));
    let shown = |edit: Edit, found: Option<Found>| {
        let planned = edit.apply(found.as_ref()).unwrap()?;
        let bundle = bundle(vec![planned]).unwrap();
        let view = bundle.views().next()?;
        assert_eq!(
            Bundle::decode(bundle.as_bytes().to_vec()).as_ref(),
            Ok(&bundle)
        );
        Some((view.what(), view.diff(999, Tabs::Shown)))
    };
    let made = shown(to(b"releases/1"), None).unwrap();
    assert_eq!(made.0, "new symbolic link, owner 0:0");
    assert_eq!(made.1, "@@ -0,0 +1 @@\n+releases/1\n");
    let changed = shown(to(b"releases/2"), Some(link_to(b"releases/1"))).unwrap();
    assert_eq!(changed.0, "symbolic link gets another target");
    assert_eq!(changed.1, "@@ -1 +1 @@\n-releases/1\n+releases/2\n");
    let removed = shown(edit("/srv/current", Action::Remove), Some(link_to(b"x"))).unwrap();
    assert_eq!(removed.0, "removed symbolic link");
    assert_eq!(removed.1, "@@ -1 +0,0 @@\n-x\n");
    assert_eq!(shown(to(b"releases/1"), Some(link_to(b"releases/1"))), None);
}

/// What a file becomes if it is a link with this target.
fn turned_to_link(old: &[u8], target: &[u8]) -> Change {
    Change::ReplaceKind {
        base: base(Kind::File, old),
        new: New::Link(Content::bundled(target)),
        meta: OF_LINKS,
    }
}

/// What a link becomes if it is a file with these bytes.
fn turned_to_file(target: &[u8], new: &[u8], mode: u32) -> Change {
    Change::ReplaceKind {
        base: link_to(target).base,
        new: New::File(Content::bundled(new)),
        meta: Metadata { mode, ..ROOT },
    }
}

#[test]
fn file_and_link_in_place_of_each_other_are_shown() {
    let shown = |change: Change, old: &[u8], new: &[u8]| {
        let (new, old) = (Some(new.to_vec()), Some(old.to_vec()));
        let entry = entry("/srv/current", change);
        let bundle = bundle(vec![Planned { entry, new, old }]).unwrap();
        let bytes = bundle.as_bytes().to_vec();
        assert_eq!(Bundle::decode(bytes).as_ref(), Ok(&bundle));
        let view = bundle.views().next().unwrap();
        let risks = risk_sentences(bundle.views());
        (view.what(), view.diff(999, Tabs::Shown), risks)
    };
    // The bytes are those of the target: the diff says all the same what goes and what comes.
    let (what, diff, risks) = shown(turned_to_link(b"a\n", b"a"), b"a\n", b"a");
    let expect = "file of 2 bytes, mode 0640, owner 0:42, becomes a symbolic link, owner 0:0";
    assert_eq!(what, expect);
    assert_eq!(diff, "@@ -0,0 +1 @@\n+a\n@@ -1 +0,0 @@\n-a\n");
    let long = "x\n".repeat(999);
    let (_, diff, _) = shown(
        turned_to_link(long.as_bytes(), b"to"),
        long.as_bytes(),
        b"to",
    );
    assert!(diff.starts_with("@@ -0,0 +1 @@\n+to\n"), "{diff}");
    let all = risks.join("; ");
    assert!(all.contains("'a'") && !all.contains("set-id"), "{all}");
    let (what, diff, risks) = shown(turned_to_file(b"a", b"a\n", 0o4755), b"a", b"a\n");
    let expect = "symbolic link, owner 0:42, becomes a file of 2 bytes, mode 4755, owner 0:0";
    assert_eq!(what, expect);
    assert_eq!(diff, "@@ -1 +0,0 @@\n-a\n@@ -0,0 +1 @@\n+a\n");
    // A link has all bits, which are not those of a file.
    let all = risks.join("; ");
    assert!(
        all.contains("set-id") && all.contains("can be executed"),
        "{all}"
    );
    let changes = [
        turned_to_link(b"a", b"b"),
        turned_to_file(b"a", b"b", 0o644),
    ];
    let summaries = changes.map(|change| {
        let plan = Plan::new(vec![entry("/a", change)]).unwrap();
        remit_plan::summary(&plan, 999)
    });
    for (summary, what) in summaries.iter().zip(["a symbolic link", "a file"]) {
        assert!(summary.contains(&format!("becomes {what}")), "{summary}");
    }
}

#[test]
fn edit_that_does_not_fit_is_refused_with_its_reason() {
    let link = Found {
        base: base(Kind::Symlink, b""),
        bytes: None,
    };
    let unreadable = Found {
        bytes: None,
        ..file(b"secret")
    };
    let write = || Action::Write(b"x".to_vec());
    let believed = |sha| Edit {
        base_sha256: Some(sha),
        ..edit("/f", write())
    };
    let only = Edit {
        create_only: true,
        ..edit("/f", write())
    };
    let moded = Edit {
        mode: Some(0o600),
        ..edit("/f", Action::Remove)
    };
    for (edit, found, expect) in [
        (edit("/f", Action::Remove), None, Problem::Missing),
        (
            edit("/f", Action::Patch(Vec::new())),
            None,
            Problem::Missing,
        ),
        (only, Some(file(b"a")), Problem::Exists),
        (
            edit("/f", Action::CreateDirectory),
            Some(file(b"a")),
            Problem::Exists,
        ),
        (
            edit("/f", write()),
            Some(link.clone()),
            Problem::Kind(Kind::Symlink),
        ),
        (
            edit("/f", replacement(b"s", b"t", 1)),
            Some(unreadable),
            Problem::Unreadable,
        ),
        (believed(sha256(b"b")), Some(file(b"a")), Problem::OtherBase),
        (believed(sha256(b"b")), None, Problem::OtherBase),
        (moded, Some(file(b"a")), Problem::RemovedWithMetadata),
        (
            Edit {
                mode: Some(0o777),
                ..edit("/f", Action::Link(b"x".to_vec()))
            },
            None,
            Problem::LinkWithMode,
        ),
        (
            edit("/f", Action::Link(b"x".to_vec())),
            Some(file(b"a")),
            Problem::Exists,
        ),
        (edit("/f", Action::Link(Vec::new())), None, Problem::Target),
        (
            edit("/f", Action::Link(b"a\0".to_vec())),
            Some(link_to(b"x")),
            Problem::Target,
        ),
        (
            edit("/f", Action::Link(vec![b'a'; 4096])),
            None,
            Problem::Target,
        ),
        (
            Edit {
                mode: Some(0o10000),
                ..edit("/f", write())
            },
            None,
            Problem::Metadata,
        ),
        (
            Edit {
                uid: Some(u32::MAX),
                ..edit("/f", write())
            },
            None,
            Problem::Metadata,
        ),
    ] {
        let refused = edit.apply(found.as_ref()).unwrap_err();
        assert_eq!(refused.problem, expect, "{refused}");
    }
    // True for an edit that removes, too.
    let missing = edit("/f", Action::Remove).apply(None).unwrap_err();
    let text = "cannot edit '/f': it does not exist; 'write' and 'mkdir' make a path";
    assert_eq!(missing.to_string(), text);
    assert_eq!(
        believed(sha256(b"a"))
            .apply(Some(&file(b"a")))
            .map(|planned| planned.is_some()),
        Ok(true)
    );
    assert!(
        edit("/f", Action::Remove)
            .apply(Some(&link))
            .unwrap()
            .is_some()
    );
    // Equal bytes change nothing, or only the mode.
    assert_eq!(
        edit("/f", Action::Write(b"a".to_vec())).apply(Some(&file(b"a"))),
        Ok(None)
    );
    let mode = Edit {
        mode: Some(0o600),
        ..edit("/f", Action::Write(b"a".to_vec()))
    };
    let planned = mode.apply(Some(&file(b"a"))).unwrap().unwrap();
    assert!(matches!(
        planned.entry.change,
        Change::SetMetadata {
            meta: Metadata {
                mode: 0o600,
                uid: 0,
                gid: 42
            },
            ..
        }
    ));
}

#[test]
fn bundle_has_the_bytes_of_its_plan_and_no_others() {
    let old = b"one\ntwo\n".to_vec();
    let long = vec![b'x'; usize::try_from(OLD_BYTES).unwrap() + 1];
    let edits = [
        (edit("/etc/a", Action::Write(b"new\n".to_vec())), None),
        (
            edit("/etc/b", replacement(b"two", b"2", 1)),
            Some(file(&old)),
        ),
        (edit("/etc/c", Action::Remove), Some(file(&old))),
        // Nobody could read so much: only its size and hash are shown.
        (edit("/etc/d", Action::Write(Vec::new())), Some(file(&long))),
        (edit("/etc/e", Action::CreateDirectory), None),
    ];
    let planned = edits
        .iter()
        .map(|(edit, found)| edit.apply(found.as_ref()).unwrap().unwrap());
    let bundle = bundle(planned.collect()).unwrap();
    let seen: Vec<_> = bundle.views().map(|view| (view.old, view.new)).collect();
    type Seen<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);
    let expected: [Seen<'_>; 5] = [
        (None, Some(b"new\n")),
        (Some(&old), Some(b"one\n2\n")),
        (Some(&old), None),
        (None, Some(b"")),
        (None, None),
    ];
    assert_eq!(seen, expected);
    let bytes = bundle.as_bytes().to_vec();
    assert_eq!(Bundle::decode(bytes.clone()), Ok(bundle.clone()));
    for cut in 0..bytes.len() {
        assert!(Bundle::decode(bytes[..cut].to_vec()).is_err(), "{cut}");
    }
    let contents = bytes.len() - usize::try_from(bundle.plan().bundled_bytes()).unwrap();
    for at in contents..bytes.len() {
        let mut other = bytes.clone();
        other[at] ^= 1;
        let error = Bundle::decode(other).unwrap_err().to_string();
        assert!(error.contains("its bytes have another hash"), "{error}");
    }
    let more = [bytes.as_slice(), b"x"].concat();
    assert!(Bundle::decode(more).is_err());
    assert_eq!(
        Bundle::decode(vec![0; BUNDLE_BYTES + 1]),
        Err(PlanError::Bundle)
    );
}

#[test]
fn edit_without_shown_bytes_is_refused() {
    let found = Found {
        bytes: None,
        ..file(b"secret")
    };
    for action in [Action::Write(b"x".to_vec()), Action::Remove] {
        let error = edit("/etc/a", action).apply(Some(&found)).unwrap_err();
        assert_eq!(error.problem, Problem::Unreadable);
    }
    let kept = Edit {
        mode: Some(0o600),
        ..edit("/etc/a", Action::Keep)
    };
    assert!(kept.apply(Some(&found)).unwrap().is_some());
}

/// Text with the escapes of printf's `%b`, as far as seeds have them; `\\c` ends it.
fn unescaped(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let (byte, length) = match (first, after) {
            (b'\\', [b'x', high, low, ..]) => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).unwrap();
                (u8::from_str_radix(digits, 16).unwrap(), 4)
            }
            (b'\\', [b'n', ..]) => (b'\n', 2),
            (b'\\', [b'c', ..]) => break,
            _ => (*first, 1),
        };
        bytes.push(byte);
        rest = &rest[length..];
    }
    bytes
}

/// Fuzzing begins with them: a new version of the format needs new ones.
#[test]
fn seeds_of_the_fuzz_targets_are_of_this_version() {
    let seeds = include_str!("../../../tests/fuzz/seeds.txt");
    let mut plans = 0;
    for seed in seeds.split("== ") {
        let (name, text) = seed.split_once('\n').unwrap_or_default();
        let bytes = unescaped(text);
        let decoded = match name.split_once(' ') {
            Some(("plan", "edits")) => Edits::decode(&bytes).map(|_| ()).map_err(|e| e.to_string()),
            Some(("plan", _)) => Plan::decode(&bytes).map(|_| ()).map_err(|e| e.to_string()),
            Some(("bundle", _)) => Bundle::decode(bytes).map(|_| ()).map_err(|e| e.to_string()),
            _ => continue,
        };
        assert_eq!(decoded, Ok(()), "{name}");
        plans += 1;
    }
    assert!(plans > 5, "{plans}");
}
