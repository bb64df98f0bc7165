use proptest::prelude::*;
use remit_common::caps;
use remit_common::escape;
use remit_common::names::JobId;

use super::*;
use crate::fixture::{Asked, Scene, file};
use crate::is_of_cut;

fn pending() -> PendingView {
    PendingView {
        job: JobId([7; 16]),
        user: "agent".into(),
        uid: 64_001,
        command: "x".repeat(9000),
        reason: "y".repeat(9000),
        by: (0..500)
            .map(|at| format!("%group{at}{}", "g".repeat(90)))
            .collect(),
        approved_by: vec!["z".repeat(900); 3],
        missing: 2,
        signed: None,
        yours: true,
        asked_ms: u64::MAX,
        left_ms: u64::MAX,
        digest: [0xff; 32],
        set: None,
        behalf: None,
    }
}

fn show(verified: &Verified, files: &[BoundFile]) -> ShownRequest {
    let mut verified = verified.clone();
    verified.context.pending = pending();
    verified.request.files = files.to_vec();
    shown(&verified)
}

fn texts(shown: &ShownRequest) -> Vec<&String> {
    let ShownRequest {
        pending,
        login,
        client,
        reason,
        summary,
        argv,
        more_argv: _,
        files,
        cwd,
        env,
        script,
        stdin,
        plan: _,
        undoes,
        then,
        profile,
        limits,
        opens,
        risks,
        rule,
        policy,
    } = shown;
    let one = [
        &pending.user,
        &pending.command,
        &pending.reason,
        login,
        client,
        reason,
        summary,
        cwd,
        rule,
        policy,
    ];
    let lists = [&pending.by, argv, env, script, then, profile, limits, risks];
    let files = files.iter().flat_map(|file| [&file.what, &file.path]);
    let ways = opens.iter().flat_map(|way| {
        let lists = way.steps.iter().chain(&way.closed_by);
        lists.chain([&way.what])
    });
    let lists = lists.into_iter().flatten();
    one.into_iter()
        .chain(lists)
        .chain(stdin)
        .chain(undoes)
        .chain(files)
        .chain(ways)
        .collect()
}

/// Bounded, without control or invisible characters.
fn check(shown: &ShownRequest) -> Result<(), String> {
    let texts_size: usize = texts(shown).iter().map(|text| text.len() + 3).sum();
    let size = texts_size + shown.files.len() * 42;
    if size > (96 << 10) - 2048 {
        return Err(format!("{size} bytes"));
    }
    let bad = |c: char| c != escape::ELLIPSIS && escape::is_hidden(c);
    match texts(shown).into_iter().find(|text| text.contains(bad)) {
        Some(text) => Err(format!("{text:?}")),
        None => Ok(()),
    }
}

#[test]
fn a_nasty_argument_hides_nothing() {
    let scene = Scene::new();
    let spaces = format!("a{}--force", " ".repeat(4096));
    for (bytes, text, risk) in [
        (&b"a\ndigest: 1234"[..], "a\\ndigest: 1234", "line breaks"),
        (
            b"\x1b[2J\x1b[1;1Hall is well",
            "\\x1b[2J\\x1b[1;1Hall is well",
            "control a terminal",
        ),
        (b"ok\rrm -rf /", "ok\\rrm -rf /", "line breaks"),
        (b"\x08\x08\x08", "\\x08\\x08\\x08", "control a terminal"),
        (
            "\u{202e}gpj.exe".as_bytes(),
            "\\u{202e}gpj.exe",
            "invisible",
        ),
        (
            "\u{2066}a\u{2069}".as_bytes(),
            "\\u{2066}a\\u{2069}",
            "invisible",
        ),
        (
            "a\u{200b}b\u{feff}".as_bytes(),
            "a\\u{200b}b\\u{feff}",
            "invisible",
        ),
        (
            "a\u{2028}b\u{85}".as_bytes(),
            "a\\u{2028}b\\u{85}",
            "invisible",
        ),
        (
            "\u{e0041}\u{e0042}".as_bytes(),
            "\\u{e0041}\\u{e0042}",
            "invisible",
        ),
        (
            "/srv/\u{5d0}1/2".as_bytes(),
            "/srv/\u{5d0}1/2",
            "run from right to left",
        ),
        (b"\xff\xfe\xc3(", "\\xff\\xfe\\xc3(", "not text"),
        (b"\xc0\x80", "\\xc0\\x80", "not text"),
        (
            spaces.as_bytes(),
            "a[… 4096 spaces …]--force",
            "run of spaces",
        ),
        (b" -rf", "\\x20-rf", ""),
        (
            "p\u{430}ypal".as_bytes(),
            "p\u{430}ypal",
            "mixes Latin and Cyrillic letters in a word",
        ),
        (
            "\u{3bf}p".as_bytes(),
            "\u{3bf}p",
            "mixes Greek and Latin letters in a word",
        ),
        (
            "\u{430}\u{435}".as_bytes(),
            "\u{430}\u{435}",
            "look like Latin letters",
        ),
        (
            "\u{ff52}\u{ff4d}".as_bytes(),
            "\u{ff52}\u{ff4d}",
            "look like Latin letters",
        ),
        (
            "[… 9 bytes more …]".as_bytes(),
            "[\\u{2026} 9 bytes more \\u{2026}]",
            "",
        ),
        (b"\\x1b[31m", "\\\\x1b[31m", ""),
        (b"", "[… empty …]", "is empty"),
    ] {
        let shown = show(&scene.program(&[b"ls", bytes]), &[]);
        assert_eq!(shown.argv, ["ls", text]);
        check(&shown).unwrap();
        let has = |risk: &str| shown.risks.iter().any(|sentence| sentence.contains(risk));
        assert!(risk.is_empty() || has(risk), "{bytes:?}: {:?}", shown.risks);
        let named = shown
            .risks
            .iter()
            .any(|sentence| sentence.starts_with("argument 1"));
        assert!(risk.is_empty() || named, "{:?}", shown.risks);
    }
}

#[test]
fn a_secret_is_nowhere() {
    let scene = Scene::new();
    let shown = show(&scene.backup("a b", "do it\nnow"), &[]);
    let want = [
        "/usr/bin/true",
        "--key=[… a secret …]",
        "a b",
        "-f",
        "/etc/backup/all",
    ];
    assert_eq!(shown.argv, want);
    assert_eq!(shown.reason, "do it\\nnow");
    assert_eq!(shown.stdin.as_deref(), Some("[… a secret …]"));
    let secret = |text: &&String| {
        text.contains("hunter2") || text.contains(&hex(&Sha256::digest(b"hunter2")))
    };
    assert!(!texts(&shown).iter().any(secret));
    assert!(
        shown
            .risks
            .iter()
            .any(|sentence| sentence.starts_with("argument 1 is a secret"))
    );
}

#[test]
fn omitted_parts_are_counted_and_hashed() {
    let scene = Scene::new();
    let long = vec![b'x'; 100_000];
    let shown = show(&scene.program(&[b"echo", &long]), &[]);
    let all = hex(&Sha256::digest(&long));
    let cut = shown.argv[1].trim_start_matches('x');
    let kept = shown.argv[1].len() - cut.len();
    assert_eq!(
        cut,
        format!("[… {} bytes more, sha256 of all {all} …]", 100_000 - kept)
    );
    assert_eq!(shown.more_argv, 0);
    let many = vec![&b"\n\n\n\n"[..]; caps::ARGV_COUNT];
    let shown = show(&scene.program(&many), &[]);
    let more = caps::ARGV_COUNT - shown.argv.len();
    assert_eq!(usize::try_from(shown.more_argv).unwrap(), more);
    let all = hex(&Sha256::digest(b"\n\n\n\n\0".repeat(caps::ARGV_COUNT)));
    let sentence = shown
        .risks
        .iter()
        .find(|sentence| sentence.contains("not shown"))
        .unwrap();
    assert!(
        more > 0 && sentence.starts_with(&more.to_string()) && sentence.ends_with(&all),
        "{sentence}"
    );
    assert!(is_of_cut(sentence), "{sentence}");
    check(&shown).unwrap();
}

#[test]
fn part_that_is_not_shown_whole_is_the_first_risk() {
    let scene = Scene::new();
    let cut_of = |verified: &Verified| -> Vec<String> {
        let risks = show(verified, &[]).risks.into_iter();
        let cut = risks.take_while(|risk| risk.contains("cut on this page"));
        cut.filter_map(|risk| Some(risk.split_once(" cut")?.0.to_owned()))
            .collect()
    };
    let mark = "[… 9 bytes more …] 9 bytes more".as_bytes();
    assert_eq!(cut_of(&scene.script(mark, mark)), [""; 0]);
    assert_eq!(
        cut_of(&scene.program(&[b"echo", mark, b"", b"a      b"])),
        [""; 0]
    );
    // Behind what an approver sees of a line, and behind the last line.
    let wide = [&b"true "[..], &b"a".repeat(500), b"; id\n"].concat();
    assert_eq!(cut_of(&scene.script(&wide, b"")), ["the script is"]);
    let long = b"true\n".repeat(20_000);
    assert_eq!(
        cut_of(&scene.script(&long, &long)),
        ["the script is", "standard input is"]
    );
    let long = vec![b'x'; 100_000];
    let mut verified = scene.program(&[b"sh", b"-c", &long]);
    assert_eq!(cut_of(&verified), ["argument 2 is"]);
    verified.request.cwd = CString::new(b"/x".repeat(2000)).unwrap();
    verified.request.env = vec![c"A=1".into(); 5000];
    assert_eq!(
        cut_of(&verified),
        ["the environment is", "the directory is", "argument 2 is"]
    );
    let mut undo = scene.undo();
    undo.request.does = vec!["it removes a 1, [… 2 more …]".to_owned()];
    assert_eq!(cut_of(&undo), [""; 0]);
    // What a unit runs: a line longer than the page's, and one behind all that it has room for.
    for does in [
        vec!["x".repeat(3 << 10)],
        [vec!["x".repeat(1000); 9], vec!["runs as root".to_owned()]].concat(),
    ] {
        let mut verified = scene.program(&[b"x"]);
        verified.request.does = does.clone();
        assert_eq!(cut_of(&verified), ["what it does is"]);
        let first = &shown(&verified).risks[0];
        assert!(first.ends_with(READ) && is_of_cut(first), "{first}");
        let all = whole(&verified).risks;
        assert!(all.iter().all(|risk| !risk.contains(" cut ")), "{all:?}");
        let does: Vec<String> = does.iter().map(|line| format!("does: {line}")).collect();
        assert!(all.ends_with(&does), "{all:?}");
    }
}

#[test]
fn copy_that_is_cut_is_a_risk_and_whole_on_demand() {
    let long = b"a line of a copied file\n".repeat(2000);
    let wide = [&b"a".repeat(500)[..], b" end\n"].concat();
    let cut = "a copied file is cut on this page: an approval covers the part that you have not read, too; \
               to read it: remit show --all";
    for (copies, is_cut) in [
        (&[&b"abc\n"[..], b"def"][..], false),
        (&[b"abc", &long], true),
        (&[&wide], true),
        (&[&long, &long, &wide], true),
    ] {
        let asked = || Scene::new().asks_with_copies(copies);
        let page = shown(&asked().verified());
        assert_eq!(page.risks.contains(&cut.to_owned()), is_cut, "{page:?}");
        check(&page).unwrap();
        let page = whole(&asked().verified());
        assert!(page.risks.iter().all(|risk| !risk.contains(" cut ")));
        assert!(!page.script.iter().any(|line| super::is_cut(line)));
        let lines = copies
            .iter()
            .flat_map(|copy| copy.split_inclusive(|byte| *byte == b'\n'));
        let lines = lines.map(|line| std::str::from_utf8(line).unwrap().trim_end());
        let is_content = |line: &&String| !line.starts_with("[… argument ");
        let content: Vec<&str> = page
            .script
            .iter()
            .filter(is_content)
            .map(String::as_str)
            .collect();
        assert_eq!(content, lines.collect::<Vec<_>>());
        // Withheld ones have their own risk, and no command shows them.
        let withheld = Asked {
            is_withheld: true,
            contents: Vec::new(),
            ..asked()
        };
        let risks = shown(&withheld.verified()).risks;
        assert!(
            risks.iter().all(|risk| !risk.contains(" cut ")),
            "{risks:?}"
        );
    }
    let many = vec![&b"abc"[..]; remit_approval::COPIES + 1];
    let mut many = Scene::new().asks_with_copies(&many);
    many.contents.pop();
    let many = many.verified();
    assert!(shown(&many).risks.contains(&cut.to_owned()));
    let more = cut.split(';').next().unwrap().to_owned();
    assert!(whole(&many).risks.contains(&more), "the rest is on no page");
}

#[test]
fn many_arguments_are_a_note_even_if_all_are_shown() {
    let scene = Scene::new();
    let of = |count| show(&scene.program(&vec![&b"x"[..]; count]), &[]).risks;
    let note = "there are 33 arguments: read them to the last".to_owned();
    assert!(of(33).contains(&note) && !of(32).iter().any(|risk| risk.contains("to the last")));
}

#[test]
fn a_script_is_shown_line_by_line() {
    let scene = Scene::new();
    let script = b"#!/bin/sh\n\nrm -rf /srv\x1b[A\n";
    let shown = show(&scene.script(script, b"yes\nno"), &[]);
    let hash = |bytes| hex(&Sha256::digest(bytes));
    let head = format!(
        "3 lines, 26 bytes, sha256 {}, all of it:",
        hash(&script[..])
    );
    assert_eq!(shown.script, [&head, "#!/bin/sh", "", "rm -rf /srv\\x1b[A"]);
    let stdin = format!("6 bytes, sha256 {}: yes\\nno", hash(b"yes\nno"));
    assert_eq!(shown.stdin, Some(stdin));
    assert!(shown.env.contains(&"TZ=UTC".to_owned()));
    let long = b"echo one more line\n".repeat(50_000);
    let shown = show(&scene.script(&long, &long), &[]);
    let lines = shown.script.len() - 2;
    let more = long.len() - 19 * lines;
    let head = format!(
        "50000 lines, {} bytes, sha256 {}; the first {lines} lines, [… {more} bytes more …]:",
        long.len(),
        hash(&long)
    );
    assert_eq!(shown.script[0], head);
    assert!(lines > 100);
    check(&shown).unwrap();
    assert_eq!(shown.script[lines + 1], format!("[… {more} bytes more …]"));
    let wide = [&b"#"[..], &b" ".repeat(3), &b"x".repeat(1000), b"\nid\n"].concat();
    let shown = show(&scene.script(&wide, b""), &[]);
    assert!(
        shown.script[0].ends_with("; all lines, 1 of them cut:"),
        "{:?}",
        shown.script
    );
    assert_eq!(shown.script[2], "id");
}

#[test]
fn files_have_their_names_and_where_they_lead() {
    let scene = Scene::new();
    let mut files = vec![file("program", "/usr/bin/vi", "/usr/bin/vim\x1b.basic")];
    let shown = show(&scene.program(&[b"vi"]), &files);
    assert_eq!(shown.files[0].path, "/usr/bin/vim\\x1b.basic");
    assert_eq!(shown.files[0].what, "program, by the name /usr/bin/vi");
    assert!(!shown.risks.iter().any(|risk| is_of_cut(risk)), "{shown:?}");
    files.extend((0..400).map(|at| {
        let name = format!("/{}", "a".repeat(at));
        file("argument 1", &name, &name)
    }));
    let shown = show(&scene.program(&[b"vi"]), &files);
    let more = files.len() + 1 - shown.files.len();
    let last = shown.files.last().unwrap();
    assert_eq!(last.what, format!("[… {more} files more …]"));
    assert!(shown.risks[0].starts_with("the list of files is cut"));
    assert!(is_of_cut(&shown.risks[0]), "{:?}", shown.risks);
    assert_eq!(last.size, 4 * u64::try_from(more).unwrap());
    check(&shown).unwrap();
}

fn nasty(most: usize) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        any::<char>().prop_map(|c| c.to_string().into_bytes()),
        Just(b"\xff".to_vec()),
        Just(b"\n".to_vec()),
        Just("\u{202e}\u{200b}".as_bytes().to_vec()),
        Just(vec![b' '; 40]),
        Just(vec![1_u8; 300]),
        Just("\u{ad}".repeat(200).into_bytes()),
        Just("plain text ".repeat(20).into_bytes()),
    ];
    prop::collection::vec(piece, 0..most).prop_map(|pieces| {
        let mut bytes = pieces.concat();
        bytes.retain(|byte| *byte != 0);
        bytes.truncate(caps::ARGV_ELEMENT - 1);
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_page_is_bounded(
        args in prop::collection::vec(nasty(40), 0..80),
        values in prop::collection::vec(nasty(40), 3),
        script in prop::option::of(nasty(200)),
        cwd in nasty(6),
        client in nasty(4),
    ) {
        let scene = Scene::new();
        let c = |bytes: Vec<u8>| CString::new(bytes).unwrap();
        let mut verified = match script {
            Some(script) => scene.script(&script, &script),
            None => {
                let mut argv = vec![b"ls".to_vec()];
                let mut free_bytes = caps::ARGV / 2;
                argv.extend(args.into_iter().map_while(|arg| {
                    free_bytes = free_bytes.checked_sub(arg.len())?;
                    Some(arg)
                }));
                scene.program(&argv.iter().map(Vec::as_slice).collect::<Vec<_>>())
            }
        };
        let mut cwd = [b"/".to_vec(), cwd].concat();
        cwd.truncate(caps::PATH - 1);
        verified.request.cwd = c(cwd);
        let names = ["NOTE=", "NOTE1=", "NOTE2="];
        let values = names.into_iter().zip(values);
        let env = values.map(|(name, value)| c([name.as_bytes(), &value].concat()));
        verified.request.env.extend(env);
        verified.context.client = String::from_utf8_lossy(&client).into_owned();
        prop_assert_eq!(check(&show(&verified, &[])), Ok(()));
    }

    #[test]
    fn any_reason_fits(reason in "\\PC{1,200}|[\u{80}-\u{ad}]{500}|[ \n]{900}x") {
        let mut end = reason.len().min(caps::REASON);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        let reason = &reason[..end];
        prop_assume!(!reason.trim().is_empty());
        let what = "\u{ad}".repeat(2000);
        let shown = show(&Scene::new().backup(&what, reason), &[]);
        prop_assert_eq!(check(&shown), Ok(()));
        prop_assert!(!shown.reason.contains("bytes more, sha256"));
    }
}

#[test]
fn the_largest_request_fits() {
    let scene = Scene::new();
    let element = vec![1_u8; caps::ARGV_ELEMENT - 1];
    let mut verified = scene.program(&[b"ls", &element, &element, &element, &element]);
    let var = CString::new(vec![1_u8; caps::ENV_ELEMENT]).unwrap();
    verified.request.env = vec![var; caps::ENV_COUNT + 40];
    let long = "\u{1}".repeat(4000);
    let files: Vec<_> = (0..100)
        .map(|_| file("argument 1", &long, &format!("{long}x")))
        .collect();
    let shown = show(&verified, &files);
    check(&shown).unwrap();
    assert!(
        shown
            .env
            .last()
            .unwrap()
            .contains("variables more, sha256 of all")
    );
}
