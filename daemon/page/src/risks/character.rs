//! Notes about the bytes of arguments: invisible characters, and letters that look like others.

use remit_approval::arguments_sentence;
use remit_common::escape::is_hidden;
use remit_words::characters::is_right_to_left;

use super::{Numbered, about};
use crate::verified::Verified;

const LONG: usize = 1 << 10;
const SPACES: usize = 8;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Script {
    Latin,
    Greek,
    Cyrillic,
    Armenian,
    Cherokee,
    /// Latin letters in another shape: wide or mathematical.
    Shaped,
}

impl Script {
    fn of(c: char) -> Option<Self> {
        Some(match c {
            'a'..='z' | 'A'..='Z' | '\u{aa}'..='\u{24f}' if c.is_alphabetic() => Self::Latin,
            '\u{250}'..='\u{2af}' | '\u{1e00}'..='\u{1eff}' => Self::Latin,
            '\u{370}'..='\u{3ff}' | '\u{1f00}'..='\u{1fff}' => Self::Greek,
            '\u{400}'..='\u{52f}' | '\u{1c80}'..='\u{1c8f}' | '\u{2de0}'..='\u{2dff}' => {
                Self::Cyrillic
            }
            '\u{a640}'..='\u{a69f}' => Self::Cyrillic,
            '\u{530}'..='\u{58f}' => Self::Armenian,
            '\u{13a0}'..='\u{13ff}' | '\u{ab70}'..='\u{abbf}' => Self::Cherokee,
            '\u{ff01}'..='\u{ff5e}' | '\u{1d400}'..='\u{1d7ff}' => Self::Shaped,
            '\u{2100}'..='\u{214f}' if c.is_alphabetic() => Self::Shaped,
            '\u{24b6}'..='\u{24e9}' | '\u{1f130}'..='\u{1f189}' => Self::Shaped,
            _ => return None,
        })
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Latin => "Latin",
            Self::Greek => "Greek",
            Self::Cyrillic => "Cyrillic",
            Self::Armenian => "Armenian",
            Self::Cherokee => "Cherokee",
            Self::Shaped => "reshaped",
        }
    }
}

pub fn notes(argv: &[Numbered<'_>]) -> Vec<String> {
    let mut all = Vec::new();
    all.extend(mixed(argv));
    let has = |arg: &[u8], is: &dyn Fn(char) -> bool| {
        arg.utf8_chunks().any(|chunk| chunk.valid().chars().any(is))
    };
    let alike = |c: char| Script::of(c).is_some_and(|script| script != Script::Latin);
    all.extend(about(
        argv,
        |arg| mix(arg).is_none() && has(arg, &alike),
        "has letters that look like Latin letters but are not",
        "have letters that look like Latin letters but are not",
    ));
    all.extend(about(
        argv,
        |arg| has(arg, &is_right_to_left),
        "has letters that run from right to left: a terminal may show its parts in another order",
        "have letters that run from right to left: a terminal may show their parts in another order",
    ));
    all.extend(about(
        argv,
        |arg| arg.contains(&b'\n') || arg.contains(&b'\r'),
        "has line breaks, shown as \\n or \\r",
        "have line breaks, shown as \\n or \\r",
    ));
    let steers = |c: char| !matches!(c, '\n' | '\r' | '\t') && (c.is_control() || is_hidden(c));
    all.extend(about(
        argv,
        |arg| has(arg, &steers),
        "has characters that control a terminal or are invisible, shown as escapes",
        "have characters that control a terminal or are invisible, shown as escapes",
    ));
    all.extend(about(
        argv,
        |arg| std::str::from_utf8(arg).is_err(),
        "has bytes that are not text, shown as \\xNN",
        "have bytes that are not text, shown as \\xNN",
    ));
    all.extend(about(
        argv,
        |arg| {
            arg.windows(SPACES)
                .any(|part| part.iter().all(|byte| *byte == b' '))
        },
        "has a long run of spaces, shown as their number",
        "have long runs of spaces, shown as their number",
    ));
    all.extend(about(
        argv,
        |arg| arg.is_empty(),
        "is empty",
        "are each empty",
    ));
    all.extend(about(
        argv,
        |arg| arg.len() > LONG,
        "is very long: read it to its end, or to where it is cut",
        "are very long: read them to their end, or to where they are cut",
    ));
    all
}

/// Notes such letters beside the arguments, where an order of commands or values is read as well.
pub fn right_to_left_parts(verified: &Verified) -> Option<String> {
    let has = |bytes: &[u8]| {
        let mut chunks = bytes.utf8_chunks();
        chunks.any(|chunk| chunk.valid().chars().any(is_right_to_left))
    };
    let request = &verified.request;
    let optional = |bytes: Option<&[u8]>| bytes.is_some_and(has);
    let names = request
        .files
        .iter()
        .flat_map(|file| [&file.name, &file.real]);
    let parts = [
        (
            "the reason",
            optional(request.reason.as_deref().map(str::as_bytes)),
        ),
        ("the script", optional(verified.script.as_deref())),
        (
            "the copied files",
            verified.copies.iter().any(|copy| has(copy)),
        ),
        (
            "standard input",
            verified.plan().is_none() && optional(verified.stdin.as_deref()),
        ),
        (
            "the environment",
            request.env.iter().any(|one| has(one.as_bytes())),
        ),
        ("the directory", has(request.cwd.as_bytes())),
        (
            "the names of files",
            names.into_iter().any(|name| has(name.as_bytes())),
        ),
    ];
    let parts = parts
        .into_iter()
        .filter(|(_, has)| *has)
        .map(|(part, _)| part);
    let parts = parts.collect::<Vec<_>>().join(", ");
    (!parts.is_empty()).then(|| {
        format!("letters that run from right to left: a terminal may show their lines in another order: {parts}")
    })
}

/// `argument 2 mixes Latin and Cyrillic letters in a word`, for each pair of alphabets.
fn mixed(argv: &[Numbered<'_>]) -> Vec<String> {
    let mut found: Vec<((Script, Script), Vec<usize>)> = Vec::new();
    for (at, arg) in argv {
        let Some(pair) = mix(arg) else {
            continue;
        };
        match found.iter_mut().find(|(known, _)| *known == pair) {
            Some((_, positions)) => positions.push(*at),
            None => found.push((pair, vec![*at])),
        }
    }
    let sentence = |((one, other), at): ((Script, Script), Vec<usize>)| {
        let what = format!("{} and {} letters in a word", one.name(), other.name());
        arguments_sentence(&at, &format!("mixes {what}"), &format!("mix {what}"))
    };
    found.into_iter().filter_map(sentence).collect()
}

fn mix(arg: &[u8]) -> Option<(Script, Script)> {
    if arg.is_ascii() {
        return None;
    }
    let mut word = None;
    for chunk in arg.utf8_chunks() {
        for c in chunk.valid().chars() {
            match (word, Script::of(c)) {
                (Some(one), Some(other)) if one != other => return Some((one, other)),
                (None, Some(script)) => word = Some(script),
                (_, None) if !c.is_alphanumeric() && !is_hidden(c) => word = None,
                (Some(_) | None, _) => {}
            }
        }
    }
    None
}

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

pub fn reason_notes(reason: &str) -> Vec<String> {
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
