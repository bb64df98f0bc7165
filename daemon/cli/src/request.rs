//! A change that waits for an approval, as approvers see it.
//!
//! Its texts are the daemon's, made from what will run. They are not trusted here: whatever they
//! hold, [`crate::fold`] keeps it in its column. Pure, but for the clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use remit_common::admin::{FileView, PendingView, ShownRequest};
use remit_common::names::JobId;
use serde_json::{Value, json};

use crate::fold::Page;
use crate::human;

/// Digits of a digest in a group.
const GROUP: usize = 8;

/// All of it, on a page; the digest last.
pub fn page(request: &ShownRequest) -> String {
    let pending = &request.pending;
    let mut page = Page::default();
    page.line(&format!("request {}", pending.job));
    page.line("");
    page.value("who", &format!("{} (uid {})", pending.user, pending.uid));
    page.value("", &request.login);
    page.value("client", &request.client);
    page.ours("", "a name that it gives itself");
    page.value("asked", &human::time(pending.asked_ms / 1000));
    page.value("reason", &request.reason);
    page.ours("", "the words of who asks");
    page.line("");
    page.value("command", &pending.command);
    page.sentence("purpose", &request.summary);
    for (number, element) in request.argv.iter().enumerate() {
        page.value(&format!("argv[{number}]"), element);
    }
    left_out(&mut page, request.more_argv);
    request.files.iter().for_each(|one| file(&mut page, one));
    page.value("directory", &request.cwd);
    variables(&mut page, &request.env);
    if !request.script.is_empty() {
        named(&mut page, "script", &request.script, Page::value);
    }
    match &request.stdin {
        Some(stdin) => page.value("stdin", stdin),
        None => page.ours("stdin", "nothing"),
    }
    page.line("");
    named(&mut page, "sandbox", &request.profile, Page::sentence);
    named(
        &mut page,
        "limits",
        &joined(&request.limits),
        Page::sentence,
    );
    page.value("rule", &request.rule);
    page.value("policy", &request.policy);
    page.line("");
    match request.risks.as_slice() {
        [] => page.ours("risks", "none that remit knows of"),
        risks => risks.iter().for_each(|risk| page.sentence("RISK", risk)),
    }
    page.line("");
    page.value("by", &pending.by.join(", "));
    page.ours(
        "",
        match pending.yours {
            true => "you can approve it",
            false => "you cannot approve it",
        },
    );
    page.ours("until", &until(pending.left_ms));
    let digits = hex(&pending.digest);
    for (name, line) in ["digest", ""].into_iter().zip(groups(&digits).chunks(4)) {
        page.ours(name, &line.join(" "));
    }
    page.into_text()
}

fn file(page: &mut Page, file: &FileView) {
    page.value("file", &file.path);
    page.ours(
        "",
        &format!(
            "{}, {}, sha256:",
            file.what,
            human::count(file.size, "byte")
        ),
    );
    page.ours("", &hex(&file.sha256));
}

fn left_out(page: &mut Page, count: u32) {
    if count > 0 {
        let count = human::count(count.into(), "argument");
        page.ours("", &format!("and {count} more that are not shown"));
    }
}

/// Short ones without a space stand in a row with others such as they, each whole on its line; any other
/// has lines of its own.
fn variables(page: &mut Page, all: &[String]) {
    let simple = |one: &&String| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"%+,-./:=@_*".contains(&b);
        (1..=32).contains(&one.len()) && one.bytes().all(plain)
    };
    let (short, others): (Vec<&String>, Vec<&String>) = all.iter().partition(simple);
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

/// The daemon's words in one sentence; nothing of nothing.
fn joined(sentences: &[String]) -> Vec<String> {
    match sentences {
        [] => Vec::new(),
        some => vec![some.join("; ")],
    }
}

/// The name stands before the first.
fn named(page: &mut Page, name: &str, texts: &[String], show: fn(&mut Page, &str, &str)) {
    if texts.is_empty() {
        page.ours(name, "none");
    }
    let names = std::iter::once(name).chain(std::iter::repeat(""));
    for (name, text) in names.zip(texts) {
        show(page, name, text);
    }
}

/// When that is, by this machine's clock, and how long it is until then.
pub fn until(left_ms: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let then = now.unwrap_or_default() + Duration::from_millis(left_ms);
    let left = human::duration(left_ms);
    format!("{}, in {left}", human::time(then.as_secs()))
}

/// How a request is named in a line for people: `7f3a-91c2`.
pub fn name(job: JobId) -> String {
    let short = job.short();
    let (head, tail) = short.split_at_checked(4).unwrap_or((&short, ""));
    format!("{head}-{tail}")
}

/// Bytes as lower-case digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn groups(digits: &str) -> Vec<&str> {
    let starts = (0..digits.len()).step_by(GROUP);
    starts.filter_map(|at| digits.get(at..at + GROUP)).collect()
}

/// One of the list as JSON.
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

/// All of it as JSON.
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
    fn variables_share_a_row_where_nothing_can_be_mistaken() {
        let rows = |all: &[&str]| {
            let all: Vec<String> = all.iter().map(|&one| one.to_owned()).collect();
            let mut page = Page::default();
            variables(&mut page, &all);
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
}
