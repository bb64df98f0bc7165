//! Permissions of sudoers(5), with includes and aliases, for accounts of the machine's own tables, on any host. What of it is not
//! followed is in the answer.

use std::collections::BTreeSet;
use std::rc::Rc;

use remit_common::text::first_of;

use super::execution::Execution;
use super::judged::unjudged;
use super::shell::paths;
use super::sudo_commands::{commands, is_digest};
use super::sudo_defaults::Defaults;
use super::sudo_lists::{AliasKind, Aliases, Lists};
use super::systemd::words;
use crate::facts::{Source, SudoCommand, SudoRule, When, has_star};
use crate::lines::{ends_in_single_backslash, joined, lines};
use crate::look::Look;
use crate::path::FilePath;
use crate::rule::RuleId;

/// Files that include one another, in a chain and of all. sudoers(5) has 128 in a chain.
const DEPTH: usize = 16;
const FILES: usize = 1000;
/// Each permission costs as much as so many of them: its program is looked at.
const PERMISSION: usize = 50;
/// Programs that are not judged, and are named.
const NAMED: usize = 5;
const NOT_UNDERSTOOD: &str = "some of its lines are not understood";

#[derive(Debug, Default)]
struct Sudoers {
    /// Files that were read.
    files: usize,
    aliases: Aliases,
    /// Permissions, each for one list of hosts: users with the first of these lists, and commands.
    permissions: Vec<(Source, Vec<u8>, Vec<u8>)>,
    defaults: Defaults,
}

pub fn look(look: &mut Look<'_>) {
    let sudo = ["/usr/bin/sudo", "/usr/local/bin/sudo"].map(FilePath::fixed);
    if !sudo.iter().any(|path| look.exists(path)) {
        return;
    }
    let mut sudoers = Sudoers::default();
    file(look, &FilePath::fixed("/etc/sudoers"), 0, &mut sudoers);
    let mut lists = Lists::new(&sudoers.aliases);
    for (source, subject, list) in &sudoers.permissions {
        permission(look, &sudoers, &mut lists, source, subject, list);
    }
    look.facts.strong_groups.extend(&lists.groups);
    for (file, programs) in &lists.unjudged {
        let named = first_of(programs, NAMED);
        let why = format!("what it lets accounts do as root by {named} is not judged");
        look.machine.unknown(file, why);
    }
}

fn file(look: &mut Look<'_>, path: &FilePath, depth: usize, sudoers: &mut Sudoers) {
    sudoers.files = sudoers.files.saturating_add(1);
    if depth > DEPTH || sudoers.files > FILES {
        look.machine
            .unknown(path, "too many files include one another");
        return;
    }
    let content = look.machine.read(path).unwrap_or_default();
    let directory = path.parent().unwrap_or_else(FilePath::root);
    for (number, line) in statements(&content) {
        let line = line.trim_ascii();
        let included = |names: [&[u8]; 2]| {
            let rest = names.iter().find_map(|name| line.strip_prefix(*name));
            let rest = rest.filter(|rest| rest.first().is_some_and(u8::is_ascii_whitespace))?;
            let word = words(rest).into_iter().next()?;
            if word.windows(2).any(|two| two == b"%h") {
                let why = "it includes a file by the name of the host, which is not read";
                look.machine.unknown(path, why);
            }
            directory.resolve(word)
        };
        if let Some(other) = included([b"@includedir", b"#includedir"]) {
            for name in look.machine.list(&other) {
                let is_read = !name.ends_with(b"~") && !name.contains(&b'.');
                if let Some(path) = other.join(&name).filter(|_| is_read) {
                    file(look, &path, depth.saturating_add(1), sudoers);
                }
            }
        } else if let Some(other) = included([b"@include", b"#include"]) {
            file(look, &other, depth.saturating_add(1), sudoers);
        } else if line.starts_with(b"Defaults") {
            sudoers.defaults.read(look, line);
        } else if !line.is_empty() && !statement(path, number, line, sudoers) {
            look.machine.unknown(path, NOT_UNDERSTOOD);
        }
    }
}

fn statements(content: &[u8]) -> Vec<(usize, Vec<u8>)> {
    // A comment ends with its line, whatever its last byte is.
    let plain = lines(content).map(|(number, line)| (number, without_comment(line)));
    let mut is_quoted = false;
    joined(plain, |line, is_first| {
        is_quoted = ends_in_quotes(line, is_quoted && !is_first);
        // Within quotes a pair of backslashes takes the next line, too.
        is_quoted || ends_in_single_backslash(line)
    })
}

fn ends_in_quotes(line: &[u8], mut is_quoted: bool) -> bool {
    let mut is_escaped = false;
    for byte in line {
        is_quoted ^= *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
    }
    is_quoted
}

/// Returns false if it is neither an alias nor a permission.
fn statement(path: &FilePath, number: usize, line: &[u8], sudoers: &mut Sudoers) -> bool {
    const KINDS: [(&[u8], AliasKind); 5] = [
        (b"User_Alias", AliasKind::User),
        (b"Runas_Alias", AliasKind::Runas),
        (b"Host_Alias", AliasKind::Host),
        (b"Cmnd_Alias", AliasKind::Command),
        (b"Cmd_Alias", AliasKind::Command),
    ];
    let alias = KINDS
        .iter()
        .find_map(|(word, kind)| Some((*kind, line.strip_prefix(*word)?)));
    let assignments = assignments(alias.map_or(line, |(_, rest)| rest));
    if let Some((kind, _)) = alias {
        for (name, members) in &assignments {
            let key = (kind, name.clone());
            sudoers.aliases.insert(key, split(members, b','));
        }
    } else if let Some((subject, _)) = assignments.first() {
        let source = Source::line(path, number, line);
        let one = |(_, list): &(_, Vec<u8>)| (source.clone(), subject.clone(), list.clone());
        sudoers.permissions.extend(assignments.iter().map(one));
    }
    !assignments.is_empty()
}

fn permission(
    look: &mut Look<'_>,
    sudoers: &Sudoers,
    lists: &mut Lists<'_>,
    source: &Source,
    subject: &[u8],
    list: &[u8],
) {
    // The last word is the list of hosts.
    let subject = around_commas(subject);
    let Some(at) = subject.iter().rposition(u8::is_ascii_whitespace) else {
        look.machine.unknown(&source.file, NOT_UNDERSTOOD);
        return;
    };
    let (users, _) = subject.split_at(at);
    let of = lists.accounts(look, AliasKind::User, &split(users, b','), 0);
    let callers = Rc::new(of.clone());
    let mut runas = vec![b"root".to_vec()];
    // Of tags; without one the settings decide.
    let (mut password, mut sets_variables) = (None, None);
    let mut has_group = false;
    for item in split(list, b',') {
        let mut rest = item.as_slice();
        if let Some(inner) = rest.strip_prefix(b"(") {
            let end = inner
                .iter()
                .position(|byte| *byte == b')')
                .unwrap_or(inner.len());
            let (list, after) = inner.split_at(end);
            let mut lists = list.splitn(2, |byte| *byte == b':');
            runas = split(lists.next().unwrap_or_default(), b',');
            has_group = lists
                .next()
                .is_some_and(|groups| !groups.trim_ascii().is_empty());
            rest = after.get(1..).unwrap_or_default().trim_ascii_start();
        }
        while let Some((tag, after)) = tag(rest) {
            match tag {
                b"NOPASSWD" => password = Some(false),
                b"PASSWD" => password = Some(true),
                b"SETENV" => sets_variables = Some(true),
                b"NOSETENV" => sets_variables = Some(false),
                _ => {}
            }
            rest = after;
        }
        let runas_uids = match runas.is_empty() {
            true => BTreeSet::new(),
            false => lists.accounts(look, AliasKind::Runas, &runas, 0),
        };
        if has_group && !runas_uids.contains(&0) {
            let why = "which groups it lets accounts run programs with is not followed";
            look.machine.unknown(&source.file, why);
        }
        let expanded = lists.expand(look, rest).into_iter();
        let parsed = |command: Vec<u8>| commands(look, lists, &source.file, &command);
        let found: Vec<SudoCommand> = expanded.flat_map(parsed).collect();
        for command in found {
            let rights = sudoers.defaults.of(look, lists, &of, &command);
            // Of all accounts root is the strongest.
            let run_as = match runas_uids.contains(&0) {
                true => BTreeSet::from([0]),
                false => runas_uids.clone(),
            };
            for runas in run_as {
                if !lists.may(look, of.len().saturating_add(PERMISSION)) {
                    return;
                }
                if let SudoCommand::Program { path, args } = &command {
                    let program = path.clone();
                    let when = When::Sudo { program, runas };
                    let by = Execution {
                        callers: Rc::clone(&callers),
                        ..Execution::new(runas, RuleId::SudoProgram, when, source.clone())
                    };
                    let args = args.as_deref();
                    let words = words(args.unwrap_or_default());
                    for file in words.iter().flat_map(|word| paths(word)) {
                        look.way(&file);
                    }
                    let argv = [vec![path.as_bytes().to_vec()], words].concat();
                    look.executes(&by, &argv);
                    let is_free = args.is_none_or(has_star);
                    let unjudged = unjudged(look, &argv, is_free);
                    if let Some(program) = unjudged.filter(|_| runas == 0 && !of.is_empty()) {
                        let programs = lists.unjudged.entry(source.file.clone());
                        programs.or_default().insert(program);
                    }
                }
                look.facts.sudo.push(SudoRule {
                    of: of.clone(),
                    runas,
                    password: password.unwrap_or(!rights.is_free),
                    sets_variables: sets_variables.unwrap_or(rights.keeps_variables),
                    command: command.clone(),
                    source: source.clone(),
                });
            }
        }
    }
}

/// A tag (`NOPASSWD:`) or an option (`CWD=/tmp`), and what follows it.
fn tag(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text
        .iter()
        .position(|byte| !byte.is_ascii_uppercase() && *byte != b'_')?;
    let (tag, rest) = text.split_at(end);
    let rest = match rest.trim_ascii_start() {
        [b':', rest @ ..] => rest,
        [b'=', rest @ ..] => {
            let value = rest.trim_ascii_start();
            let (end, value) = match value {
                [b'"', value @ ..] => (value.iter().position(|byte| *byte == b'"')?, value),
                value => (value.iter().position(u8::is_ascii_whitespace)?, value),
            };
            value.get(end.saturating_add(1)..)?
        }
        _ => return None,
    };
    (!tag.is_empty()).then(|| (tag, rest.trim_ascii_start()))
}

/// `LEFT = RIGHT : LEFT = RIGHT`: definitions of aliases, or commands for lists of hosts. A colon is also a part of tags, digests
/// and addresses of hosts, so one begins with a word and `=`.
fn assignments(text: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let Some((left, rest)) = halves(text) else {
        return Vec::new();
    };
    let mut parts = split(&rest, b':').into_iter();
    let mut found = Vec::new();
    let mut last = (left, parts.next().unwrap_or_default());
    for part in parts {
        let is_part_of_digest =
            is_digest(last.1.rsplit(|byte| !byte.is_ascii_alphanumeric()).next());
        let next = halves(&part).filter(|(left, _)| !is_part_of_digest && is_list(left));
        match next {
            Some(next) => found.push(std::mem::replace(&mut last, next)),
            None => {
                last.1.push(b':');
                last.1.extend(part);
            }
        }
    }
    found.push(last);
    found
}

/// Options of a command, which have a value as an assignment has.
const OPTIONS: [&[u8]; 10] = [
    b"CWD",
    b"CHROOT",
    b"TIMEOUT",
    b"NOTBEFORE",
    b"NOTAFTER",
    b"ROLE",
    b"TYPE",
    b"APPARMOR_PROFILE",
    b"PRIVS",
    b"LIMITPRIVS",
];

/// Returns true for one list of names, none of which is an option.
fn is_list(text: &[u8]) -> bool {
    let text = around_commas(text);
    let is_of_name = |byte: &u8| !byte.is_ascii_whitespace() && !b"/(^\"".contains(byte);
    let last = text.rsplit(|byte| *byte == b',').next();
    text.iter().all(is_of_name) && last.is_none_or(|name| !OPTIONS.contains(&name))
}

/// Both sides of the first `=` that no backslash precedes.
fn halves(line: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut parts = split_at_most(line, b'=', 2).into_iter();
    let (left, right) = (parts.next()?, parts.next()?);
    (!left.is_empty() && !right.is_empty()).then_some((left, right))
}

pub(super) fn split(text: &[u8], at: u8) -> Vec<Vec<u8>> {
    split_at_most(text, at, usize::MAX)
}

/// Parts without white space around them. A backslash before `at` makes it a part of the text; quotes do as well.
fn split_at_most(text: &[u8], at: u8, most: usize) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    let mut part = Vec::new();
    let (mut escaped, mut quoted, mut depth) = (false, false, 0_usize);
    for &byte in text {
        match byte {
            _ if escaped => {
                if byte != at {
                    part.push(b'\\');
                }
                part.push(byte);
                escaped = false;
            }
            b'\\' => escaped = true,
            b'"' => {
                quoted = !quoted;
                part.push(byte);
            }
            _ if byte == at && !quoted && depth == 0 && parts.len().saturating_add(1) < most => {
                parts.push(std::mem::take(&mut part));
            }
            _ => {
                match byte {
                    b'(' => depth = depth.saturating_add(1),
                    b')' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                part.push(byte);
            }
        }
    }
    parts.push(part);
    let parts = parts.iter().map(|part| part.trim_ascii().to_vec());
    parts.collect()
}

/// Removes white space around commas, so that a list is one word.
fn around_commas(text: &[u8]) -> Vec<u8> {
    split(text.trim_ascii(), b',').join(&b',')
}

/// A `#` before a digit is a uid or gid; at `#include` it is no comment either. Blanks behind the last backslash go.
fn without_comment(line: &[u8]) -> &[u8] {
    let line = line.trim_ascii_end();
    if line.trim_ascii_start().starts_with(b"#include") {
        return line;
    }
    let is_statement = line.contains(&b'=') || line.ends_with(b"\\");
    let mut before = b' ';
    for (at, &byte) in line.iter().enumerate() {
        let next = line.get(at.saturating_add(1));
        let is_id = next.is_some_and(u8::is_ascii_digit) && (at > 0 || is_statement);
        if byte == b'#' && before != b'\\' && before != b'%' && !is_id {
            return line.get(..at).unwrap_or_default();
        }
        before = byte;
    }
    line
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn statements_are_split() {
        let mut sudoers = Sudoers::default();
        let path = FilePath::fixed("/etc/sudoers");
        for line in [
            &b"User_Alias OPS = ann, bob : WEB = carl"[..],
            b"Cmnd_Alias X = /bin/a, /bin/b \\=c",
            b"OPS , dan ALL = (root) NOPASSWD: X, /bin/c d, PASSWD: ALL",
        ] {
            statement(&path, 1, line, &mut sudoers);
        }
        assert_eq!(sudoers.aliases.len(), 3);
        let of_commands = (AliasKind::Command, b"X".to_vec());
        assert_eq!(sudoers.aliases.get(&of_commands).unwrap().len(), 2);
        let (_, subject, commands) = sudoers.permissions.first().unwrap();
        assert_eq!(around_commas(subject), b"OPS,dan ALL");
        assert_eq!(split(commands, b',').len(), 3);
        assert_eq!(tag(b"NOPASSWD: X"), Some((&b"NOPASSWD"[..], &b"X"[..])));
        assert_eq!(tag(b"/bin/x:"), None);
    }

    /// As visudo(8) takes them.
    #[test]
    fn line_goes_on_after_one_backslash_and_in_quotes_after_any() {
        for (line, expect) in [
            (&br"a\"[..], true),
            (br"a\\\", true),
            (br"a\\", false),
            (br#"p="/bin:\\"#, true),
            (br#"p="/bin"\\"#, false),
            (br#"p="a\"b:\\"#, true),
            (br#"p=a\"b:\\"#, false),
            (b"p=\"a:\\\nb:\\\\", true),
            (b"p=\"a:\\\nb\":\\\\", false),
        ] {
            let found = statements(&[line, b"\nx"].concat());
            assert_eq!(
                found.len() == 1,
                expect,
                "{}",
                String::from_utf8_lossy(line)
            );
        }
    }

    #[test]
    fn colon_begins_another_list_of_hosts_or_alias() {
        let found = |text: &str| {
            let found = assignments(text.as_bytes()).into_iter();
            let shown = |bytes| String::from_utf8(bytes).unwrap();
            let found = found.map(|(left, right)| format!("{}|{}", shown(left), shown(right)));
            found.collect::<Vec<_>>()
        };
        for (text, expect) in [
            (
                "a ALL = /x : ALL = (root) NOPASSWD: ALL",
                &["a ALL|/x", "ALL|(root) NOPASSWD:ALL"][..],
            ),
            (
                "a ALL=(b:c) SETENV: NOPASSWD: /x, CWD=/y /z",
                &["a ALL|(b:c) SETENV:NOPASSWD:/x, CWD=/y /z"],
            ),
            (
                "a h = NOPASSWD: sha224:ab= /x : h1, h2 = /y",
                &["a h|NOPASSWD:sha224:ab= /x", "h1, h2|/y"],
            ),
            (
                "a h = NOPASSWD: /x a=b, (c) /y\\:z",
                &["a h|NOPASSWD:/x a=b, (c) /y:z"],
            ),
            (
                "a ALL=(root) NOPASSWD: CMDS, CWD=/y /z",
                &["a ALL|(root) NOPASSWD:CMDS, CWD=/y /z"],
            ),
            (
                "a ALL=(root) NOPASSWD: ALL, TIMEOUT=30 /z",
                &["a ALL|(root) NOPASSWD:ALL, TIMEOUT=30 /z"],
            ),
            ("A = /x : B = sha224:ab= /y", &["A|/x", "B|sha224:ab= /y"]),
            ("a", &[]),
        ] {
            assert_eq!(found(text), expect, "{text}");
        }
        assert_eq!(
            tag(b"CWD=/tmp NOPASSWD: x"),
            Some((&b"CWD"[..], &b"NOPASSWD: x"[..]))
        );
        assert_eq!(tag(b"CWD = \"/a b\" x"), Some((&b"CWD"[..], &b"x"[..])));
    }

    #[test]
    fn comment_ends_a_line_and_uid_does_not() {
        assert_eq!(without_comment(b"a ALL=ALL # x"), b"a ALL=ALL ");
        assert_eq!(without_comment(b"#1000 ALL=ALL"), b"#1000 ALL=ALL");
        assert_eq!(without_comment(b"# 1000"), b"");
        assert_eq!(without_comment(b"#includedir /x"), b"#includedir /x");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>) {
            let mut sudoers = Sudoers::default();
            statement(&FilePath::fixed("/etc/sudoers"), 1, without_comment(&bytes), &mut sudoers);
            let _ = (tag(&bytes), around_commas(&bytes));
        }
    }
}
