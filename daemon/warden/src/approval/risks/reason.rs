//! What stands in a reason that no reason needs. Pure.

use super::super::escape::is_hidden;

/// Parts of remit's own pages, and of prompts.
const OURS: &[&str] = &[
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
/// Lines to be typed.
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

/// What is seen in it.
pub fn notes(reason: &str) -> Vec<String> {
    let lower = reason.to_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|part| lower.contains(part));
    let mut all = Vec::new();
    if has(COMMANDS) {
        all.push("the reason has text that looks like a command: do not type what it says".into());
    }
    if has(OURS) {
        all.push(
            "the reason has text that looks like remit's own: only what stands outside of it is"
                .into(),
        );
    }
    if reason.chars().any(|c| c.is_control() || is_hidden(c)) {
        all.push(
            "the reason has line breaks or characters that cannot be seen, shown as escapes".into(),
        );
    }
    if reason.contains("    ") {
        all.push("the reason has a long run of spaces, shown as their number".into());
    }
    all
}
