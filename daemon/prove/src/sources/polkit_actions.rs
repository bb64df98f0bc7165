//! Actions of polkit(8) that need no password of anybody: `allow_any`, pkexec(1).

use super::execution::Execution;
use crate::facts::{Permit, Source, When};
use crate::look::Look;
use crate::path::FilePath;
use crate::rule::RuleId;

const DIRECTORIES: [&str; 4] = [
    "/etc/polkit-1/actions",
    "/run/polkit-1/actions",
    "/usr/local/share/polkit-1/actions",
    "/usr/share/polkit-1/actions",
];

/// The action of which a unit narrows what it does.
pub(super) const MANAGE_UNITS: &str = "org.freedesktop.systemd1.manage-units";

/// Actions by which a client gets what root has.
pub(super) const STRONG: [&str; 9] = [
    MANAGE_UNITS,
    "org.freedesktop.systemd1.manage-unit-files",
    "org.freedesktop.systemd1.set-environment",
    "org.freedesktop.policykit.exec",
    "org.freedesktop.packagekit.package-install-untrusted",
    "org.freedesktop.accounts.user-administration",
    "org.freedesktop.machine1.host-shell",
    "org.libvirt.unix.manage",
    "org.freedesktop.udisks2.modify-device-system",
];

pub fn look(look: &mut Look<'_>) {
    for directory in DIRECTORIES.map(FilePath::fixed) {
        for name in look.machine.list(&directory) {
            if let Some(path) = directory.join(&name).filter(|_| name.ends_with(b".policy")) {
                file(look, &path);
            }
        }
    }
}

fn file(look: &mut Look<'_>, path: &FilePath) {
    let content = look.machine.read(path).unwrap_or_default();
    for action in permitted(&String::from_utf8_lossy(&content)) {
        let source = Source::line(path, action.line, action.id.as_bytes());
        if STRONG.contains(&action.id.as_str()) {
            look.facts.permits.push(Permit {
                rule: RuleId::PolkitRoot,
                users: [].into(),
                groups: [].into(),
                is_for_all: true,
                units: Vec::new(),
                source: source.clone(),
            });
        }
        let Some(program) = action.program.and_then(FilePath::new) else {
            continue;
        };
        let by = Execution::new(0, RuleId::ConfiguredProgram, When::ByItself, source);
        look.executes(&by, &[program.as_bytes().to_vec()]);
        let why = format!("what it lets each account do as root by {program} is not judged");
        look.machine.unknown(path, why);
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Action {
    line: usize,
    id: String,
    /// What pkexec(1) runs as root.
    program: Option<String>,
}

/// The actions with `allow_any` that is yes.
fn permitted(text: &str) -> Vec<Action> {
    let text = without_comments(text);
    let mut found = Vec::new();
    let (mut line, mut parts) = (1_usize, text.split("<action"));
    let mut before = parts.next().unwrap_or_default();
    for part in parts {
        line = line.saturating_add(before.matches('\n').count());
        before = part;
        if !part.starts_with(|char: char| char.is_ascii_whitespace()) {
            continue;
        }
        let part = part.split("</action").next().unwrap_or_default();
        let between = |begin: &str, end: &str| Some(part.split_once(begin)?.1.split_once(end)?.0);
        let any = between("<allow_any", "</allow_any").and_then(|any| any.split_once('>'));
        let is_yes = any.is_some_and(|(_, any)| any.trim() == "yes");
        let id = part
            .split_once('>')
            .and_then(|(tag, _)| attribute(tag, "id"));
        if let (true, Some(id)) = (is_yes, id) {
            let program = part.split_once("org.freedesktop.policykit.exec.path");
            let program = program.and_then(|(_, rest)| rest.split_once('>'));
            let program = program.and_then(|(_, rest)| rest.split('<').next());
            found.push(Action {
                line,
                id: id.to_owned(),
                program: program.map(|program| program.trim().to_owned()),
            });
        }
    }
    found
}

/// Returns the value of `NAME = "VALUE"` of a tag.
fn attribute<'t>(tag: &'t str, name: &str) -> Option<&'t str> {
    tag.match_indices(name).find_map(|(at, _)| {
        let is_begin = tag
            .get(..at)?
            .ends_with(|char: char| char.is_ascii_whitespace());
        let rest = tag.get(at.saturating_add(name.len())..)?;
        let value = rest.trim_start().strip_prefix('=')?.trim_start();
        let quote = value
            .chars()
            .next()
            .filter(|char| is_begin && "\"'".contains(*char))?;
        value.split(quote).nth(1)
    })
}

/// Lines stay.
fn without_comments(text: &str) -> String {
    let mut parts = text.split("<!--");
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (comment, code) = part.split_once("-->").unwrap_or((part, ""));
        kept.extend(comment.chars().filter(|char| *char == '\n'));
        kept += code;
    }
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn actions_without_authentication_have_programs() {
        let action = |id: &str, any: &str| {
            format!(
                "<action id=\"{id}\">\n<defaults><allow_any>{any}</allow_any></defaults>\n\
                 <annotate key=\"org.freedesktop.policykit.exec.path\">/opt/{id}</annotate>\n</action>\n"
            )
        };
        let text = format!("\n{}{}", action("a", "auth_admin"), action("b", "yes"));
        let expect = Action {
            line: 6,
            id: "b".to_owned(),
            program: Some("/opt/b".to_owned()),
        };
        assert_eq!(permitted(&text), [expect]);
        for (text, expect) in [
            (
                "<action\n vendor='x' id = 'a'>\n<allow_any >yes</allow_any >",
                &["a"][..],
            ),
            (
                "<!-- <action id='a'>\n<allow_any>yes</allow_any></action> -->",
                &[],
            ),
            ("<action id='a'>\n<!-- <allow_any>yes</allow_any> -->", &[]),
            (
                "<action id='a'>\n<!-- <allow_any>no</allow_any> --><allow_any>yes</allow_any>",
                &["a"],
            ),
            (
                "<actions>\n<action id='a' ><allow_any>\nyes\n</allow_any></action >",
                &["a"],
            ),
        ] {
            let found = permitted(text);
            let ids: Vec<&str> = found.iter().map(|one| one.id.as_str()).collect();
            assert_eq!(ids, expect, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(text: String) {
            let _ = permitted(&format!("<action id=\"{text}<allow_any>yes</allow_any>"));
        }
    }
}
