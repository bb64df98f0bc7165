//! Shows a request to approvers. [`remit_page`] makes its texts from signed bytes, [`super::untrusted_columns`] keeps
//! them in their column. Pure but for the clock. Invariant: a short page omits only defaults of a requester's choices.

use std::iter;

use remit_common::admin::PendingView;
use remit_common::calendar;
use remit_common::hex::hex;
use remit_page::{DOES, FileView, OpensView, ShownRequest, is_of_cut};

use crate::render::plan;
use crate::render::units::Colour;
use crate::render::units::{self, name};
use crate::render::untrusted_columns::Page;

/// Row that says what becomes of a commit which nobody confirms.
const UNDONE: &str = "undone";

const GROUP: usize = 8;
/// Longest argument on a line with others, in columns.
const WORD: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    Short,
    All,
}

const LONG: usize = 24;

/// Begins with its summary if a terminal cannot show the short page whole.
pub fn page(request: &ShownRequest, detail: Detail) -> Page {
    let short = layout(request, Detail::Short, false);
    match (detail, short.lines() > LONG) {
        (Detail::Short, false) => short,
        (detail, is_long) => layout(request, detail, is_long),
    }
}

fn layout(request: &ShownRequest, detail: Detail, is_long: bool) -> Page {
    let all = detail == Detail::All;
    let pending = &request.pending;
    let mut page = Page::default();
    page.line(&format!("request {}", pending.job));
    let requester = format!("{} (uid {})", pending.user, pending.uid);
    let mut cut = Vec::new();
    let mut put = |page: &mut Page, name: &'static str, text: &str| match is_long {
        true if page.brief(Colour::Plain, name, text) => cut.push((name, text.to_owned())),
        true => {}
        false => page.value(name, text),
    };
    put(&mut page, "who", &requester);
    if all && !is_long {
        page.value("", &request.login);
    }
    let is_usual = |c: char| is_plain(c) || " ()".contains(c);
    let is_client_shown =
        all || !request.client.chars().all(is_usual) || request.client.len() > WORD;
    if is_client_shown && !is_long {
        client(&mut page, request);
    }
    put(&mut page, "asks for", &request.asks_for());
    if let Some(commit) = &request.undoes {
        put(&mut page, "undoes", commit);
    }
    if let Some(plan) = &request.plan {
        if !(is_long && plan::packed(&mut page, plan)) {
            put(&mut page, "changes", &plan.names);
        }
        if let Some(undone) = &plan.undone {
            match is_long {
                true => put(&mut page, UNDONE, undone),
                false => page.sentence(UNDONE, undone),
            }
        }
        let checked = plan.checked.iter();
        checked.for_each(|check| put(&mut page, "checked", check));
    }
    for call in &request.then {
        put(&mut page, "then", call);
    }
    if all && !is_long {
        purpose(&mut page, request);
    }
    match request.reason.as_str() {
        "" => page.own_text("because", "no reason was given"),
        reason => put(&mut page, "because", reason),
    }
    let mut profile = request.profile.iter();
    let identity = profile.next().map_or("", String::as_str);
    if is_long {
        put(&mut page, "as", identity);
        summary(&mut page, request);
        plan::packed_names(&mut page, request.plan.as_ref());
        for (name, text) in &cut {
            match *name {
                UNDONE => page.sentence(name, text),
                _ => page.value(name, text),
            }
        }
        if all {
            page.value("login", &request.login);
            purpose(&mut page, request);
        }
        if is_client_shown {
            client(&mut page, request);
        }
    }
    argv(&mut page, request, all);
    if !is_long {
        page.sentence("as", identity);
    }
    let is_script = request.files.iter().any(is_interpreter);
    let is_wanted = |file: &&FileView| all || is_script || !is_program_itself(file, request);
    request
        .files
        .iter()
        .filter(is_wanted)
        .for_each(|one| file(&mut page, one));
    if all || request.cwd != "/" {
        page.value("directory", &request.cwd);
    }
    let is_wanted = |variable: &&String| all || !remit_policy::is_default_variable(variable);
    let env: Vec<&String> = request.env.iter().filter(is_wanted).collect();
    if all || !env.is_empty() {
        variables(&mut page, &env);
    }
    if let Some(plan) = &request.plan {
        plan::entries(&mut page, plan);
    }
    script(&mut page, &request.script);
    match &request.stdin {
        Some(_) if !all && request.plan.is_some() => {}
        Some(stdin) => page.value("stdin", stdin),
        None if all => page.own_text("stdin", "nothing"),
        None => {}
    }
    if all {
        named(&mut page, "sandbox", profile.as_slice(), Page::sentence);
        let limits = joined(&request.limits);
        named(&mut page, "limits", &limits, Page::sentence);
        page.value("rule", &request.rule);
        page.value("policy", &request.policy);
    }
    risks(&mut page, request);
    approvers(&mut page, pending, all);
    deadline_and_digest(&mut page, pending);
    if !all {
        let line = format!("remit show {} --all", name(pending.job));
        page.own_text(
            "more",
            &format!("{line} (environment, sandbox, limits, rule)"),
        );
    }
    page
}

/// Shows what a long page has at its end: the most serious risk, each part that is cut, the deadline and the digest.
fn summary(page: &mut Page, request: &ShownRequest) {
    let is_risk = |sentence: &&String| !sentence.starts_with(DOES);
    let mut risks = request.risks.iter().filter(is_risk);
    let first = risks.next();
    // A requester can add risks before it, and a page that is cut has an end of many lines.
    let (cut, others): (Vec<&String>, Vec<&String>) = risks.partition(|risk| is_of_cut(risk));
    for risk in first.into_iter().chain(cut) {
        page.brief_warning("RISK", risk);
    }
    if !others.is_empty() {
        let count = units::count(others.len(), "more risk");
        page.own_text("", &format!("{count} at the end of the page"));
    }
    deadline_and_digest(page, &request.pending);
}

fn client(page: &mut Page, request: &ShownRequest) {
    page.value("client", &request.client);
    page.own_text("", "a name that the client gives itself");
}

fn purpose(page: &mut Page, request: &ShownRequest) {
    page.sentence("purpose", &request.summary);
    page.value("asked", &units::time(request.pending.asked_ms / 1000));
}

fn deadline_and_digest(page: &mut Page, pending: &PendingView) {
    if let Some(set) = pending.set {
        // Its form leaves no room for other words.
        page.own_text("set", &format!("{set}, as its requester says"));
    }
    if let Some(behalf) = &pending.behalf {
        page.value("for", behalf.as_str());
        page.own_text("", "words of the requester that nobody has verified");
    }
    page.own_text("until", &until(pending.left_ms));
    let digits = hex(&pending.digest);
    for (name, line) in ["digest", ""].into_iter().zip(groups(&digits).chunks(4)) {
        page.own_text(name, &line.join(" "));
    }
}

/// Shows the program and its arguments on one line if that is unambiguous, otherwise on a line each.
fn argv(page: &mut Page, request: &ShownRequest, all: bool) {
    let is_word = |word: &String| (1..=WORD).contains(&word.len()) && word.chars().all(is_plain);
    let is_line = request.more_argv == 0 && request.argv.iter().all(is_word);
    if is_line {
        page.sentence("executes", &request.argv.join(" "));
    }
    if all || !is_line {
        for (number, element) in request.argv.iter().enumerate() {
            page.value(&format!("argv[{number}]"), element);
        }
    }
    if request.more_argv > 0 {
        let count = units::count(request.more_argv, "argument");
        page.own_text("", &format!("and {count} more that are not shown"));
    }
}

/// A script decides what its interpreter does, so the page never shows the interpreter alone.
fn is_interpreter(file: &FileView) -> bool {
    file.what.starts_with("interpreter")
}

/// Returns true for the program under the name that is executed. Its content is bound, and the page has its path.
fn is_program_itself(file: &FileView, request: &ShownRequest) -> bool {
    file.what == "program" && request.argv.first() == Some(&file.path)
}

fn script(page: &mut Page, lines: &[String]) {
    // remit's mark, which no script line can start with: a command has copies of files instead of a script.
    let is_copy = |line: &String| line.starts_with("[…");
    let name = match lines.first().is_some_and(is_copy) {
        true => "copies",
        false => "script",
    };
    if !lines.is_empty() {
        named(page, name, lines, Page::value);
    }
}

fn risks(page: &mut Page, request: &ShownRequest) {
    let all = &request.risks;
    let does: Vec<String> = all
        .iter()
        .filter_map(|sentence| sentence.strip_prefix(DOES).map(str::to_owned))
        .collect();
    if !does.is_empty() {
        named(page, "does", &does, Page::sentence);
    }
    let mut risks = all
        .iter()
        .filter(|sentence| !sentence.starts_with(DOES))
        .peekable();
    if risks.peek().is_none() {
        page.own_text("risks", "none that remit knows of");
    }
    let ways = request.opens.iter().map(Some).chain(iter::repeat(None));
    for (risk, way) in risks.zip(ways) {
        page.warning("RISK", risk);
        if let Some(way) = way {
            steps(page, way);
        }
    }
}

fn steps(page: &mut Page, way: &OpensView) {
    for (number, step) in (1_usize..).zip(&way.steps) {
        page.sentence("", &format!("{number}. {step}"));
    }
    let changes = way.closed_by.iter();
    changes.for_each(|change| page.sentence("closed by", change));
}

fn approvers(page: &mut Page, pending: &PendingView, all: bool) {
    if pending.missing > 1 || !pending.approved_by.is_empty() {
        let approved_by = match pending.approved_by.as_slice() {
            [] => "nobody yet".to_owned(),
            approved_by => approved_by.join(", "),
        };
        page.value("approved by", &approved_by);
        let missing = units::count(pending.missing, "approval");
        page.own_text("", &format!("{missing} missing, by different people"));
    }
    if let Some(signed) = pending.signed {
        page.own_text("signed", &format!("each approval needs {}", signed.asked()));
    }
    if all || !pending.yours {
        page.value("by", &pending.by.join(", "));
        page.own_text(
            "",
            match pending.yours {
                true => "you can approve it",
                false => "you cannot approve it",
            },
        );
    }
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "%*+,-./:=@_^~".contains(c)
}

fn file(page: &mut Page, file: &FileView) {
    page.value("file", &file.path);
    page.own_text(
        "",
        &format!(
            "{}, {}, sha256:",
            file.what,
            units::count(file.size, "byte")
        ),
    );
    page.own_text("", &hex(&file.sha256));
}

/// Shows short variables without spaces together in a row, each whole on one line. Others get lines of their own.
fn variables(page: &mut Page, all: &[&String]) {
    let simple = |one: &&String| (1..=32).contains(&one.len()) && one.chars().all(is_plain);
    let (short, others): (Vec<&String>, Vec<&String>) = all.iter().copied().partition(simple);
    let short: Vec<&str> = short.into_iter().map(String::as_str).collect();
    let mut name = "variables";
    if !short.is_empty() || others.is_empty() {
        let row = match all.is_empty() {
            true => Vec::new(),
            false => vec![short.join(" ")],
        };
        named(page, name, &row, Page::sentence);
        name = "";
    }
    for other in others {
        page.value(std::mem::take(&mut name), other);
    }
}

fn joined(sentences: &[String]) -> Vec<String> {
    match sentences {
        [] => Vec::new(),
        some => vec![some.join("; ")],
    }
}

fn named(page: &mut Page, name: &str, texts: &[String], show: fn(&mut Page, &str, &str)) {
    if texts.is_empty() {
        page.own_text(name, "none");
    }
    let names = iter::once(name).chain(iter::repeat(""));
    for (name, text) in names.zip(texts) {
        show(page, name, text);
    }
}

pub fn until(left_ms: u64) -> String {
    let then = calendar::now_ms().saturating_add(left_ms);
    let left = units::duration(left_ms);
    format!("{}, in {left}", units::time(then / 1000))
}

fn groups(digits: &str) -> Vec<&str> {
    let starts = (0..digits.len()).step_by(GROUP);
    starts.filter_map(|at| digits.get(at..at + GROUP)).collect()
}

#[cfg(test)]
pub mod tests {
    use remit_page::{EntryView, PlanView};

    use remit_common::names::JobId;

    use super::*;

    #[test]
    fn digits_are_grouped_to_be_read_out() {
        assert_eq!(name(JobId([0x7f; 16])), "7f7f-7f7f");
        let digits = hex(&[0xab; 32]);
        assert_eq!(groups(&digits), ["abababab"; 8]);
    }

    #[test]
    fn long_page_begins_with_its_summary() {
        let request = |lines: usize| ShownRequest {
            then: Vec::new(),
            pending: PendingView {
                job: JobId([7; 16]),
                user: "agent".into(),
                uid: 7,
                command: "bash script: x".into(),
                reason: "x".into(),
                by: vec!["ann".into()],
                approved_by: Vec::new(),
                missing: 1,
                signed: None,
                yours: true,
                asked_ms: 0,
                left_ms: 1000,
                digest: [0xab; 32],
                set: None,
                behalf: None,
            },
            login: String::new(),
            client: "x".into(),
            reason: "x".into(),
            summary: String::new(),
            argv: vec!["bash".into(), "/proc/self/fd/3".into()],
            more_argv: 0,
            files: Vec::new(),
            cwd: "/".into(),
            env: Vec::new(),
            script: vec!["x".into(); lines],
            stdin: None,
            plan: None,
            undoes: None,
            profile: vec!["root, without a sandbox".into()],
            limits: Vec::new(),
            opens: Vec::new(),
            risks: vec!["the worst".into(), "another".into(), "does: x".into()],
            rule: String::new(),
            policy: String::new(),
        };
        let text = |lines| page(&request(lines), Detail::Short).into_text();
        let long = text(200);
        let first: Vec<&str> = long.lines().take(12).collect();
        for part in [
            "who ",
            "asks for",
            "because",
            "as ",
            "RISK  ",
            "1 more risk",
            "until",
            "digest",
        ] {
            assert!(
                first.iter().any(|line| line.contains(part)),
                "{part}: {long}"
            );
        }
        assert_eq!(long.matches("abababab abababab").count(), 8, "{long}");
        assert_eq!(long.matches("without a sandbox").count(), 1, "{long}");
        let short = text(2);
        assert_eq!(short.matches("abababab abababab").count(), 4, "{short}");
        // One argument, and the names of files, fill a screen as lines of a script do.
        let mut wide = request(0);
        wide.argv = vec!["sh".into(), "-c".into(), "true; ".repeat(400)];
        let mut files = request(0);
        let file = |at| FileView {
            what: format!("argument {at}"),
            path: "/etc/fstab".into(),
            size: 1,
            sha256: [0; 32],
        };
        files.files = (1..12).map(file).collect();
        for request in [wide, files] {
            let text = page(&request, Detail::Short).into_text();
            let first: String = text.lines().take(12).collect();
            assert!(first.contains("RISK") && first.contains("digest"), "{text}");
        }
    }

    #[test]
    fn short_page_has_the_script_before_its_interpreter() {
        let hash = |path: &str| [u8::try_from(path.len()).unwrap(); 32];
        let file = |what: &str, path: &str| FileView {
            what: what.into(),
            path: path.into(),
            size: 1,
            sha256: hash(path),
        };
        let script = || file("program", "/usr/local/bin/rotate");
        for (files, shown) in [
            (vec![script()], vec![]),
            (
                vec![script(), file("interpreter", "/usr/bin/bash")],
                vec!["/usr/local/bin/rotate", "/usr/bin/bash"],
            ),
            (
                vec![
                    script(),
                    file("interpreter, by the name /bin/sh", "/usr/bin/dash"),
                ],
                vec!["/usr/local/bin/rotate", "/usr/bin/dash"],
            ),
            (
                vec![script(), file("argument 1", "/etc/fstab")],
                vec!["/etc/fstab"],
            ),
        ] {
            let mut request = nasty("x");
            request.argv = vec!["/usr/local/bin/rotate".into()];
            request.files = files;
            let text = page(&request, Detail::Short).into_text();
            let paths = text
                .lines()
                .filter_map(|line| line.strip_prefix("  file        | "));
            assert_eq!(paths.collect::<Vec<_>>(), shown, "{text}");
            for path in shown {
                assert!(text.contains(&hex(&hash(path))[..32]), "{text}");
            }
        }
    }

    /// A requester can add a path of which a risk comes before.
    #[test]
    fn summary_of_a_long_page_names_what_is_cut() {
        let unread = "an approval covers the part that you have not read, too";
        let root = "/etc/sudoers.d/x: it decides who may become root".to_owned();
        let cut = format!("the plan is cut on this page: {unread}; to read it: remit show --all");
        let other = format!("the directory is cut on this page: {unread}");
        for (risks, named, more) in [
            (vec![&root, &cut], vec!["the plan is cut"], ""),
            (vec![&cut, &root], vec!["the plan is cut"], "1 more risk at"),
            (
                vec![&root, &root, &other, &root, &cut],
                vec!["the directory is cut", "the plan is cut"],
                "2 more risks at",
            ),
        ] {
            let mut request = nasty("x");
            request.script = vec!["x".into(); 9000];
            request.risks = risks.into_iter().cloned().collect();
            let text = page(&request, Detail::Short).into_text();
            let (head, _) = text.split_once("  digest ").unwrap();
            for part in named.into_iter().chain([more]) {
                assert!(head.contains(part), "{part}: {head}");
            }
            assert_eq!(head.contains("at the end of the page"), !more.is_empty());
        }
    }

    /// The count of paths came first, and of the packages their names without versions.
    #[test]
    fn summary_of_a_long_page_has_whole_packages() {
        let paths = format!(
            "161 paths (150 new files, 11 new directories): {}",
            "/usr/x, ".repeat(99)
        );
        let package = format!("{} {}", "n".repeat(64), "2".repeat(64));
        let lines = [
            "by dpkg's lists it installs nightly 2026.11.27-1, [… 161 more …]".to_owned(),
            format!("by dpkg's lists it removes {package}, [… 1 more …]"),
        ];
        let mut request = nasty("x");
        request.script = vec!["x".into(); 100];
        let plan = request.plan.as_mut().unwrap();
        plan.names = format!("161 paths, {}: {paths}", lines.join("; "));
        plan.paths = paths;
        plan.packages = lines.to_vec();
        for detail in [Detail::Short, Detail::All] {
            let text = page(&request, detail).into_text();
            let first: Vec<&str> = text.lines().take(14).collect();
            let first: String = first
                .iter()
                .flat_map(|line| line.get(14..))
                .map(|line| line.trim_start_matches(['|', '+', ' ']))
                .collect::<Vec<_>>()
                .join(" ");
            let packed = first.replace(' ', "");
            for line in &lines {
                assert!(packed.contains(&line.replace(' ', "")), "{line}: {text}");
            }
            assert!(first.contains("161 paths (150 new files"), "{text}");
            assert!(text.contains("RISK"), "{text}");
            // The whole text follows.
            assert!(text.matches("161 paths").count() == 2, "{text}");
        }
    }

    #[test]
    fn summary_of_a_long_page_has_one_line_for_each_part() {
        let long = "word ".repeat(300);
        let mut request = nasty(&long);
        request.script = vec!["x".into(); 100];
        // A request has a plan, or undoes one.
        request.undoes = None;
        for detail in [Detail::Short, Detail::All] {
            let text = page(&request, detail).into_text();
            let first: Vec<&str> = text.lines().take(12).collect();
            for part in [
                "who ", "asks for", "changes", "because", "as ", "RISK", "until", "digest",
            ] {
                let is_there = first.iter().any(|line| line.trim_start().starts_with(part));
                assert!(is_there, "{part}: {text}");
            }
            assert!(
                first.iter().any(|line| line.ends_with(" more …]")),
                "{text}"
            );
            // What is cut there is whole below.
            assert!(text.matches("because").count() == 2, "{text}");
            let words = text.matches("word word").count();
            assert!(words > 9 * 100, "{words}");
        }
    }

    #[test]
    fn unambiguous_variables_share_a_row() {
        let rows = |all: &[&str]| {
            let all: Vec<String> = all.iter().map(|&one| one.to_owned()).collect();
            let mut page = Page::default();
            variables(&mut page, &all.iter().collect::<Vec<_>>());
            page.into_text()
        };
        let long = format!("B={}", "x".repeat(31));
        assert_eq!(
            rows(&["LANG=C.UTF-8", "A=1 LD_PRELOAD=/x", "TERM=dumb", &long, ""]),
            format!(
                "  variables   | LANG=C.UTF-8 TERM=dumb\n\
                 {0:14}| A=1 LD_PRELOAD=/x\n{0:14}| {long}\n{0:14}: empty\n",
                ""
            )
        );
        assert_eq!(rows(&["A=\u{a0}B=2"]), "  variables   | A=\\u{a0}B=2\n");
        assert_eq!(rows(&[]), "  variables   : none\n");
        let many: Vec<String> = (10..40).map(|n| format!("NAME_{n}=value")).collect();
        let page = rows(&many.iter().map(String::as_str).collect::<Vec<_>>());
        let words = page.split_whitespace().filter(|word| word.len() > 1);
        assert_eq!(words.skip(1).collect::<Vec<_>>(), many);
        assert!(page.lines().count() == 8, "{page}");
    }

    #[test]
    fn a_deadline_has_a_moment_and_a_length() {
        let far = until(u64::MAX);
        assert!(far.contains(", in "), "{far}");
        assert!(until(90_000).ends_with(", in 1 min 30 s"));
    }

    pub fn nasty(text: &str) -> ShownRequest {
        let text = || text.to_owned();
        ShownRequest {
            then: vec![text()],
            pending: PendingView {
                job: JobId([0xab; 16]),
                user: text(),
                uid: 1001,
                command: text(),
                reason: text(),
                by: vec![text()],
                approved_by: Vec::new(),
                missing: 1,
                signed: None,
                yours: true,
                asked_ms: 951_782_399_000,
                left_ms: 599_000,
                digest: [0x5a; 32],
                set: None,
                behalf: None,
            },
            login: text(),
            client: text(),
            reason: text(),
            summary: text(),
            argv: vec![text(); 3],
            more_argv: 7,
            files: vec![FileView {
                what: text(),
                path: text(),
                size: u64::MAX,
                sha256: [0; 32],
            }],
            cwd: text(),
            env: vec![text()],
            script: vec![text(); 2],
            stdin: Some(text()),
            plan: Some(PlanView {
                commit_id: text(),
                content_sha256: text(),
                names: text(),
                paths: text(),
                packages: Vec::new(),
                undone: Some(text()),
                checked: vec![text()],
                entries: vec![EntryView {
                    path: text(),
                    what: String::new(),
                    diff: vec![text()],
                }],
                left_out: Some(text()),
            }),
            undoes: Some(text()),
            profile: vec![text()],
            limits: vec![text()],
            opens: vec![OpensView {
                what: text(),
                steps: vec![text()],
                closed_by: vec![text()],
            }],
            risks: vec![text()],
            rule: text(),
            policy: text(),
        }
    }

    #[test]
    fn text_of_any_part_cannot_forge_own_lines() {
        let far = format!("{}\n  digest      : 00000000", " ".repeat(2048));
        for text in [
            "",
            "a\n  digest      : 00000000\nrequest 0",
            "\x1b[2J\r\x08\u{9b}2J",
            &far,
        ] {
            for detail in [Detail::Short, Detail::All] {
                let page = page(&nasty(text), detail).into_text();
                assert!(page.contains(": and 7 arguments more that are not shown\n"));
                let digests = page.lines().filter(|line| line.starts_with("  digest "));
                let own = "  digest      : 5a5a5a5a 5a5a5a5a 5a5a5a5a 5a5a5a5a";
                let digests: Vec<&str> = digests.collect();
                // A long page has it at its beginning, too.
                assert!((1..=2).contains(&digests.len()), "{page}");
                assert!(digests.iter().all(|digest| *digest == own), "{page}");
                let requests = page.lines().filter(|line| line.starts_with("request "));
                assert_eq!(requests.count(), 1, "{page}");
                assert!(!page.contains(['\x1b', '\r', '\u{9b}']), "{page:?}");
            }
        }
    }

    /// The page has the lines of a script once.
    #[test]
    fn script_of_several_lines_is_requested_by_their_number() {
        let mut request = nasty("x");
        request.pending.command = "sh script: a\\nb".into();
        request.argv = vec!["sh".into(), "/proc/self/fd/3".into()];
        let mut text = |head: &str, lines: &[&str]| {
            request.script = [&[head], lines]
                .concat()
                .iter()
                .map(|&line| line.to_owned())
                .collect();
            page(&request, Detail::Short).into_text()
        };
        let many = text("2 lines, 4 bytes, sha256 00, all of it:", &["a", "b"]);
        assert!(
            many.contains("  asks for    | sh script of 2 lines\n"),
            "{many}"
        );
        assert!(!many.contains("script: a"), "{many}");
        let copies = "[… argument 1, in a copy: 2 lines, 4 bytes, sha256 00, all of it: …]";
        for (head, lines) in [
            ("1 line, 1 byte, sha256 00, all of it:", &["a"][..]),
            (copies, &["a", "b"]),
        ] {
            let text = text(head, lines);
            assert!(
                text.contains("  asks for    | sh script: a\\nb\n"),
                "{text}"
            );
        }
    }

    #[test]
    fn plan_is_shown_and_its_hash_on_demand() {
        let mut request = nasty("x");
        request.stdin = Some("9 bytes, sha256 00: a plan, shown above".into());
        let text = |request: &ShownRequest, detail| page(request, detail).into_text();
        assert!(!text(&request, Detail::Short).contains("  stdin "));
        assert!(text(&request, Detail::All).contains("  stdin       | 9 bytes"));
        request.plan = None;
        assert!(text(&request, Detail::Short).contains("  stdin       | 9 bytes"));
    }

    #[test]
    fn omitted_parts_are_on_short_page() {
        let mut request = nasty("x");
        request.env = vec!["[… 3 variables more …]".into()];
        request.more_argv = 2;
        let page = page(&request, Detail::Short).into_text();
        assert!(
            page.contains("  variables   | [… 3 variables more …]"),
            "{page}"
        );
        assert!(
            page.contains(": and 2 arguments more that are not shown"),
            "{page}"
        );
    }
}
