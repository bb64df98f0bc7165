//! Notes about text that a reason does not need.

use super::super::escape::is_hidden;

const REMIT_WORDS: &[&str] = &[
    "approved",
    "approver",
    "awaiting_approval",
    "digest",
    "press enter",
    "press y",
    "risk",
    "sandbox",
    "sha256",
    "type the",
    "[y/n]",
    "(y/n)",
    "(yes/no)",
    "you can approve",
];
const COMMANDS: &[&str] = &[
    "remit ",
    "sudo ",
    "curl ",
    "wget ",
    "ssh ",
    "| sh",
    "|sh",
    "| bash",
    "|bash",
    "$(",
    "`",
    "&&",
    "chmod ",
    "--digest",
    "--password",
];

pub fn notes(reason: &str) -> Vec<String> {
    let lower = reason.to_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|part| lower.contains(part));
    let mut all = Vec::new();
    if has(COMMANDS) {
        all.push("the reason has text that looks like a command: do not type what it says".into());
    }
    if has(REMIT_WORDS) {
        all.push(
            "the reason has text that looks like remit's own: only text outside the reason is"
                .into(),
        );
    }
    if reason.chars().any(|c| c.is_control() || is_hidden(c)) {
        all.push("the reason has line breaks or invisible characters, shown as escapes".into());
    }
    if reason.contains("    ") {
        all.push("the reason has a long run of spaces, shown as their number".into());
    }
    all
}
