//! Shows a request that waits for an approval to approvers. Pure except for the clock. [`remit_page`] makes its texts
//! from the bytes that are signed. They are untrusted here: [`super::untrusted_columns`] confines them to their
//! column. The short page omits only what is the same for most requests. Invariant: a value that a requester can
//! choose is omitted only if it is the default.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use remit_common::admin::PendingView;
use remit_common::names::JobId;
use remit_page::{DOES, FileView, ShownRequest};
use serde_json::{Value, json};

use crate::render::units;
use crate::render::untrusted_columns::Page;

const GROUP: usize = 8;
/// Longest argument on a line with others, in columns.
const WORD: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// What an approver decides by, and everything unusual.
    Short,
    All,
}

pub fn page(request: &ShownRequest, detail: Detail) -> Page {
    let all = detail == Detail::All;
    let pending = &request.pending;
    let mut page = Page::default();
    page.line(&format!("request {}", pending.job));
    page.value("who", &format!("{} (uid {})", pending.user, pending.uid));
    if all {
        page.value("", &request.login);
    }
    let is_usual = |c: char| is_plain(c) || " ()".contains(c);
    if all || !request.client.chars().all(is_usual) || request.client.len() > WORD {
        page.value("client", &request.client);
        page.own_text("", "a name that the client gives itself");
    }
    page.value("asks for", &pending.command);
    if all {
        page.sentence("purpose", &request.summary);
        page.value("asked", &units::time(pending.asked_ms / 1000));
    }
    match request.reason.as_str() {
        "" => page.own_text("because", "no reason was given"),
        reason => page.value("because", reason),
    }
    argv(&mut page, request, all);
    let mut profile = request.profile.iter();
    page.sentence("as", profile.next().map_or("", String::as_str));
    let is_wanted = |file: &&FileView| all || !is_program_itself(file, request);
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
    script(&mut page, &request.script);
    match &request.stdin {
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
    risks(&mut page, &request.risks);
    approvers(&mut page, pending, all);
    page.own_text("until", &until(pending.left_ms));
    let digits = hex(&pending.digest);
    for (name, line) in ["digest", ""].into_iter().zip(groups(&digits).chunks(4)) {
        page.own_text(name, &line.join(" "));
    }
    if !all {
        let line = format!("remit show {} --all", name(pending.job));
        page.own_text(
            "more",
            &format!("{line} (environment, sandbox, limits, rule)"),
        );
    }
    page
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
        let count = units::count(request.more_argv.into(), "argument");
        page.own_text("", &format!("and {count} more that are not shown"));
    }
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

fn risks(page: &mut Page, all: &[String]) {
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
    risks.for_each(|risk| page.warning("RISK", risk));
}

fn approvers(page: &mut Page, pending: &PendingView, all: bool) {
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

/// Shows `name` only before the first text.
fn named(page: &mut Page, name: &str, texts: &[String], show: fn(&mut Page, &str, &str)) {
    if texts.is_empty() {
        page.own_text(name, "none");
    }
    let names = std::iter::once(name).chain(std::iter::repeat(""));
    for (name, text) in names.zip(texts) {
        show(page, name, text);
    }
}

/// Formats a deadline by this machine's clock, and the time left.
pub fn until(left_ms: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let then = now.unwrap_or_default() + Duration::from_millis(left_ms);
    let left = units::duration(left_ms);
    format!("{}, in {left}", units::time(then.as_secs()))
}

/// Formats an id for people: `7f3a-91c2`.
pub fn name(job: JobId) -> String {
    let short = job.short();
    let (head, tail) = short.split_at_checked(4).unwrap_or((&short, ""));
    format!("{head}-{tail}")
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn groups(digits: &str) -> Vec<&str> {
    let starts = (0..digits.len()).step_by(GROUP);
    starts.filter_map(|at| digits.get(at..at + GROUP)).collect()
}

pub fn pending_json(pending: &PendingView) -> Value {
    json!({
        "job_id": pending.job.to_string(),
        "user": pending.user,
        "uid": pending.uid,
        "command": pending.command,
        "reason": pending.reason,
        "by": pending.by,
        "yours": pending.yours,
        "asked_ms": pending.asked_ms,
        "left_ms": pending.left_ms,
        "digest": hex(&pending.digest),
    })
}

pub fn json(request: &ShownRequest) -> Value {
    let ShownRequest {
        pending,
        login,
        client,
        reason,
        summary,
        argv,
        more_argv,
        files,
        cwd,
        env,
        script,
        stdin,
        profile,
        limits,
        risks,
        rule,
        policy,
    } = request;
    let files: Vec<Value> = files
        .iter()
        .map(|file| {
            json!({
                "what": file.what,
                "path": file.path,
                "size": file.size,
                "sha256": hex(&file.sha256),
            })
        })
        .collect();
    let mut value = pending_json(pending);
    let more = json!({
        "login": login,
        "client": client,
        "reason": reason,
        "summary": summary,
        "argv": argv,
        "more_argv": more_argv,
        "files": files,
        "cwd": cwd,
        "env": env,
        "script": script,
        "stdin": stdin,
        "profile": profile,
        "limits": limits,
        "risks": risks,
        "rule": rule,
        "policy": policy,
    });
    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
        value.extend(more);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_to_be_read_out() {
        assert_eq!(name(JobId([0x7f; 16])), "7f7f-7f7f");
        let digits = hex(&[0xab; 32]);
        assert_eq!(groups(&digits), ["abababab"; 8]);
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

    fn nasty(text: &str) -> ShownRequest {
        let text = || text.to_owned();
        ShownRequest {
            pending: PendingView {
                job: JobId([0xab; 16]),
                user: text(),
                uid: 1001,
                command: text(),
                reason: text(),
                by: vec![text()],
                yours: true,
                asked_ms: 951_782_399_000,
                left_ms: 599_000,
                digest: [0x5a; 32],
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
            profile: vec![text()],
            limits: vec![text()],
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
                assert_eq!(digests.collect::<Vec<_>>(), [own], "{page}");
                let requests = page.lines().filter(|line| line.starts_with("request "));
                assert_eq!(requests.count(), 1, "{page}");
                assert!(!page.contains(['\x1b', '\r', '\u{9b}']), "{page:?}");
            }
        }
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
