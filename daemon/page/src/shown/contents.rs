//! Shows copies of files, whether the originals are the same, standard input, and what a change would do, as far as it fits.

use remit_approval::{COPIES, Now, arguments_sentence};
use remit_common::escape::{start, words};

use super::{Content, hash_of_all};
use crate::hex;
use crate::verified::Verified;
use crate::view::{self, DOES, Extent, OVERHEAD, exact};

const HEAD: usize = 200;
/// Of a script and of copies.
const LINE_OF_SCRIPT: usize = 400;
const STDIN: usize = 2 << 10;
const LINE: usize = 2 << 10;
const ALL: usize = 6 << 10;

/// Returns the lines of the script, or of the files that a command gets in a copy.
pub fn script_or_copies(verified: &Verified, extent: Extent) -> Vec<String> {
    let Some(script) = verified.script() else {
        return copies(verified, extent);
    };
    let script = script.to(extent, verified.script.as_ref());
    match extent {
        Extent::Page => lines(script, super::SCRIPT, LINE_OF_SCRIPT),
        Extent::Whole => lines(script, usize::MAX, usize::MAX),
    }
}

/// On a page each copy gets an equal part of the bytes. Each has a header line of remit's.
fn copies(verified: &Verified, extent: Extent) -> Vec<String> {
    let copies = verified.request.copied();
    let shown = copies.len().min(COPIES);
    let more = copies.len() - shown;
    let (each, width) = match extent {
        Extent::Page => {
            let each = super::COPIES.checked_div(shown).unwrap_or_default();
            (each.saturating_sub(HEAD), LINE_OF_SCRIPT)
        }
        Extent::Whole => (usize::MAX, usize::MAX),
    };
    let more = (more > 0).then(|| format!("[… {more} copies more are not shown …]"));
    if verified.is_withheld {
        let heads = copies.iter().take(shown).map(|(at, file)| {
            let size = crate::describe::size(file.size);
            let sha256 = hex(&file.sha256);
            format!("[… argument {at}, in a copy: {size}, sha256 {sha256}; not shown to you …]")
        });
        return heads.chain(more).collect();
    }
    let copies = copies.into_iter().zip(&verified.copies);
    let lines = copies.flat_map(|((at, file), copy)| {
        let content = Content::new(copy, file.sha256).to(extent, Some(copy));
        let mut lines = lines(content, each, width);
        if let Some(head) = lines.first_mut() {
            // The mark of remit's own words: no line of content can have it.
            *head = format!("[… argument {at}, in a copy: {head} …]");
        }
        lines
    });
    lines.chain(more).collect()
}

/// Returns the lines of a script or a copy after one with the number of lines and bytes and the hash.
fn lines(script: Content<'_>, mut free_bytes: usize, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut bytes, mut shortened) = (0, 0);
    let mut rest = script.start;
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n');
        let (line, after) = match end {
            Some(end) => (rest.get(..end), rest.get(end + 1..)),
            None => (Some(rest), None),
        };
        let line = line.unwrap_or_default();
        let text = match line {
            [] => String::new(),
            line => exact(line, width),
        };
        let Some(left) = free_bytes.checked_sub(text.len() + OVERHEAD) else {
            break;
        };
        free_bytes = left;
        lines.push(text);
        shortened += usize::from(start(line, width).1 < line.len());
        bytes += line.len() + usize::from(end.is_some());
        rest = after.unwrap_or_default();
    }
    let mut head = format!(
        "{}, {}, sha256 {}",
        match script.lines {
            1 => "1 line".to_owned(),
            count => format!("{count} lines"),
        },
        crate::describe::size(script.size as u64),
        hex(&script.sha256)
    );
    match (script.size.saturating_sub(bytes), shortened) {
        (0, 0) => head.push_str(", all of it:"),
        (0, _) => head.push_str(&format!("; all lines, {shortened} of them cut:")),
        (more, _) => {
            let cut = format!("[… {more} bytes more …]");
            head.push_str(&format!("; the first {} lines, {cut}:", lines.len()));
            // Also where it ends: after hundreds of lines, the head has left the screen.
            lines.push(cut);
        }
    }
    lines.insert(0, head);
    lines
}

/// Says that the reader gets neither the content of copies nor a plan, and so approves nothing.
pub fn withheld(verified: &Verified) -> Vec<String> {
    const PLAN: &str =
        "standard input is a plan that is not shown to you: only approvers of this get it";
    const ONE: &str =
        "is a copy of a file whose content is not shown to you: only approvers of this get it";
    const MANY: &str =
        "are copies of files whose content is not shown to you: only approvers of this get it";
    let copies = verified.request.copied();
    let numbers: Vec<usize> = copies.iter().map(|(at, _)| *at).collect();
    let of_copies = arguments_sentence(&numbers, ONE, MANY).filter(|_| verified.is_withheld);
    let of_plan = verified.withheld_plan().map(|_| PLAN.to_owned());
    of_copies.into_iter().chain(of_plan).collect()
}

/// Notes copies that differ from the file an approver would find. Includes copies that were not compared.
pub fn notes(verified: &Verified) -> Vec<String> {
    if verified.is_withheld {
        return Vec::new();
    }
    let copies = verified.request.copied();
    let today = &verified.context.today;
    let of = |wanted: Now| -> Vec<usize> {
        let numbers = copies.iter().map(|(at, _)| *at);
        let now = |at: &usize| today.get(at).copied().unwrap_or(Now::Unknown);
        numbers.filter(|at| now(at) == wanted).collect()
    };
    let other = arguments_sentence(
        &of(Now::Other),
        "is not the file that has its name now: what is shown and approved is the copy",
        "are not the files that have their names now: what is shown and approved are the copies",
    );
    let unknown = arguments_sentence(
        &of(Now::Unknown),
        "was not compared with the file that has its name now: what is shown and approved is the copy",
        "were not compared with the files that have their names now: what is shown and approved are the copies",
    );
    other.into_iter().chain(unknown).collect()
}

/// Returns what standard input is. `has_plan`: the page shows it as a plan.
pub fn stdin(verified: &Verified, has_plan: bool, extent: Extent) -> Option<String> {
    if verified.request.secret_stdin.is_some() {
        return Some("[… a secret …]".into());
    }
    if let Some(sha256) = verified.withheld_plan() {
        let sha256 = hex(&sha256);
        return Some(format!("sha256 {sha256}: a plan, not shown to you"));
    }
    let stdin = verified.stdin()?;
    if has_plan {
        let size = crate::describe::size(stdin.size as u64);
        let sha256 = hex(&stdin.sha256);
        return Some(format!("{size}, sha256 {sha256}: a plan, shown above"));
    }
    let most = match extent {
        Extent::Page => STDIN,
        Extent::Whole => usize::MAX,
    };
    Some(start_of(stdin.to(extent, verified.stdin.as_ref()), most))
}

fn start_of(stdin: Content<'_>, most: usize) -> String {
    let (text, taken) = start(stdin.start, most);
    let size = crate::describe::size(stdin.size as u64);
    let head = format!("{size}, sha256 {}", hex(&stdin.sha256));
    match stdin.size.saturating_sub(taken) {
        0 if stdin.size == 0 => head,
        0 => format!("{head}: {text}"),
        more => format!("{head}, begins: {text}[… {more} bytes more …]"),
    }
}

/// Returns the lines of what a request does, and whether bytes are left out. Omitted lines are counted and hashed. Those of
/// an undo are remit's, with escapes.
pub fn does(does: &[String], is_undo: bool, extent: Extent) -> (Vec<String>, bool) {
    let (line_bytes, mut free_bytes) = match extent {
        Extent::Page => (LINE, ALL),
        Extent::Whole => (usize::MAX, usize::MAX),
    };
    let mut lines = Vec::new();
    let (mut is_own, mut is_cut) = (is_undo, false);
    for line in does {
        // Lines of the commands that follow have words of others.
        is_own &= !line.starts_with("then ");
        let own = words(line, usize::MAX);
        let shown = match is_own && own.len() <= line_bytes {
            true => own,
            false => {
                let shown = exact(line.as_bytes(), line_bytes);
                is_cut |= view::is_cut(&shown);
                shown
            }
        };
        let text = format!("{DOES}{shown}");
        let Some(left) = free_bytes.checked_sub(text.len() + OVERHEAD) else {
            let more = does.len() - lines.len();
            let hash = hex(&hash_of_all(does.iter().map(String::as_bytes)));
            lines.push(format!(
                "{DOES}[… {more} lines more, sha256 of all {hash} …]"
            ));
            return (lines, true);
        };
        free_bytes = left;
        lines.push(text);
    }
    (lines, is_cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_shown_or_counted() {
        let few = ["a b".to_owned(), "\u{1b}[2J".to_owned()];
        assert_eq!(
            does(&few, false, Extent::Page),
            (
                vec!["does: a b".to_owned(), "does: \\x1b[2J".to_owned()],
                false
            )
        );
        let mut many = vec!["x".repeat(1000); 20];
        let (lines, is_cut) = does(&many, false, Extent::Page);
        assert!(lines.iter().map(String::len).sum::<usize>() < ALL + 200);
        let last = lines.last().unwrap();
        assert!(
            last.starts_with("does: [… 14 lines more") && is_cut,
            "{last}"
        );
        many.push("y".repeat(8 << 10));
        for is_undo in [true, false] {
            let (lines, is_cut) = does(&many, is_undo, Extent::Whole);
            assert!(!is_cut);
            let text = |line: &String| line.strip_prefix(DOES).unwrap().to_owned();
            assert_eq!(lines.iter().map(text).collect::<Vec<_>>(), many);
        }
    }
}
