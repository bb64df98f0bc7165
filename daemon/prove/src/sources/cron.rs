//! Tables of cron(8) and anacron(8), and the directories that they run.

use remit_common::cron::{SCRIPTS, SPOOLS};
use remit_words::cron::{DEBIAN, is_hierarchical, name_ignored};

use super::execution::Execution;
use super::variables::libraries;
use crate::facts::{Source, When};
use crate::lines::lines;
use crate::look::Look;
use crate::path::FilePath;
use crate::rule::RuleId;

const TABLES: [&str; 2] = ["/etc/crontab", "/etc/anacrontab"];

pub fn look(look: &mut Look<'_>) {
    if !has_cron(look) {
        return;
    }
    for path in TABLES.map(FilePath::fixed) {
        if look.exists(&path) {
            table(look, &path, None);
        }
    }
    let tables = FilePath::fixed("/etc/cron.d");
    if look.exists(&tables) {
        let source = Source::whole(&tables);
        look.obeys_roots(
            0,
            tables.clone(),
            RuleId::CronTable,
            &When::ByItself,
            &source,
        );
    }
    let is_debian = look.exists(&FilePath::fixed(DEBIAN));
    let is_run = |name: &Vec<u8>| name_ignored(name, is_debian).is_none();
    let names = look.machine.list(&tables).into_iter();
    for name in names.filter(|name| is_run(name) || is_hierarchical(name)) {
        if let Some(path) = tables.join(&name) {
            table(look, &path, None);
        }
    }
    for path in SCRIPTS.map(FilePath::fixed) {
        directory(look, &path);
        for name in look.machine.list(&path) {
            if let Some(script) = path.join(&name).filter(|_| is_run(&name)) {
                let by = Execution::new(
                    0,
                    RuleId::CronProgram,
                    When::ByItself,
                    Source::whole(&script),
                );
                look.executes(&by, &[script.as_bytes().to_vec()]);
            }
        }
    }
    for path in SPOOLS.map(FilePath::fixed) {
        users(look, &path, true);
    }
}

/// Tables of accounts that are not root: what is looked for of root comes first.
pub fn look_others(look: &mut Look<'_>) {
    if !has_cron(look) {
        return;
    }
    for path in SPOOLS.map(FilePath::fixed) {
        users(look, &path, false);
    }
}

fn has_cron(look: &mut Look<'_>) -> bool {
    ["/usr/sbin/cron", "/usr/sbin/crond", "/usr/sbin/anacron"]
        .map(FilePath::fixed)
        .iter()
        .any(|program| look.exists(program))
}

/// Who can make a file in one of these directories decides what root runs.
fn directory(look: &mut Look<'_>, path: &FilePath) {
    if look.exists(path) {
        look.obeys(
            0,
            path.clone(),
            RuleId::CronTable,
            &When::ByItself,
            &Source::whole(path),
        );
    }
}

fn users(look: &mut Look<'_>, spool: &FilePath, is_of_root: bool) {
    for name in look.machine.list(spool) {
        let user = String::from_utf8(name.clone()).ok();
        let uid = user.and_then(|user| look.facts.accounts.uid(&user));
        let uid = uid.filter(|uid| (*uid == 0) == is_of_root);
        if let (Some(path), Some(uid)) = (spool.join(&name), uid) {
            let payer = look.machine.pay_as(uid);
            table(look, &path, Some(uid));
            look.machine.pay_as(payer);
        }
    }
}

/// A line of a table.
#[derive(Debug, PartialEq, Eq)]
enum Row<'a> {
    Variable(&'a [u8], &'a [u8]),
    /// `None`: the table's own user.
    Command(Option<&'a [u8]>, &'a [u8]),
}

fn table(look: &mut Look<'_>, path: &FilePath, owner: Option<u32>) {
    let uid = owner.unwrap_or(0);
    // cron refuses other tables: "WRONG FILE OWNER", "INSECURE MODE".
    if !look.is_private(path, uid) {
        return;
    }
    look.obeys_roots(
        uid,
        path.clone(),
        RuleId::CronTable,
        &When::ByItself,
        &Source::whole(path),
    );
    let content = look.machine.read(path).unwrap_or_default();
    let is_anacron = path.name() == b"anacrontab";
    let mut search = vec![FilePath::fixed("/usr/bin"), FilePath::fixed("/bin")];
    let (mut shell, mut home): (Option<(Source, &[u8])>, _) = (None, None);
    let mut variables = Vec::new();
    // One is enough: each reason of a file is added to those before.
    let mut has_stranger = false;
    for (number, line) in lines(&content) {
        let (user, command) = match row(line, owner.is_some(), is_anacron) {
            Some(Row::Variable(b"PATH", value)) => {
                search = look.search_path(path, value.split(|byte| *byte == b':'));
                continue;
            }
            Some(Row::Variable(b"SHELL", value)) => {
                shell = Some((Source::line(path, number, line), value));
                continue;
            }
            Some(Row::Variable(b"HOME", value)) => {
                home = FilePath::new(value);
                continue;
            }
            Some(Row::Variable(name, value)) => {
                let variable = [name, b"=", value].concat();
                variables.push((Source::line(path, number, line), variable));
                continue;
            }
            Some(Row::Command(user, command)) => (user, command),
            None => continue,
        };
        let uid = match user {
            None => Some(uid),
            Some(user) => std::str::from_utf8(user)
                .ok()
                .and_then(|user| look.facts.accounts.uid(user)),
        };
        let Some(uid) = uid else {
            if !has_stranger {
                let why = format!("the user of its line {number} is unknown");
                look.machine.unknown(path, why);
            }
            has_stranger = true;
            continue;
        };
        let by = Execution {
            path: search.clone(),
            directory: home.clone().or_else(|| look.facts.accounts.home(uid)),
            ..Execution::new(
                uid,
                RuleId::CronProgram,
                When::ByItself,
                Source::line(path, number, line),
            )
        };
        for (source, variable) in &variables {
            libraries(look, uid, variable, &by.when, source);
        }
        look.shell_text(&by, command);
        if let Some((source, shell)) = &shell {
            let by = Execution {
                source: source.clone(),
                ..by
            };
            look.executes(&by, &[shell.to_vec()]);
        }
    }
}

/// crontab(5): a variable, or five fields or `@when`, in a system table a user, and a command. anacrontab(5) has a
/// period, a delay and a name.
fn row(line: &[u8], is_own: bool, is_anacron: bool) -> Option<Row<'_>> {
    let line = line.trim_ascii();
    let first = *line.first()?;
    if first == b'#' {
        return None;
    }
    if first.is_ascii_alphabetic() || first == b'_' {
        let at = line.iter().position(|byte| *byte == b'=')?;
        let (name, value) = line.split_at(at);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        let quotes = |byte: &u8| matches!(byte, b'"' | b'\'');
        let value = match value {
            [open, value @ .., close] if quotes(open) && open == close => value,
            value => value,
        };
        return Some(Row::Variable(name.trim_ascii(), value));
    }
    let fields = match (is_anacron, first) {
        (true, _) => 3,
        (false, b'@') => 1,
        (false, _) => 5,
    };
    let rest = (0..fields).try_fold(line, |rest, _| after_field(rest))?;
    match is_own || is_anacron {
        true => Some(Row::Command(None, rest)),
        false => {
            let end = rest.iter().position(u8::is_ascii_whitespace)?;
            let (user, command) = rest.split_at(end);
            Some(Row::Command(Some(user), command.trim_ascii()))
        }
    }
}

fn after_field(line: &[u8]) -> Option<&[u8]> {
    let end = line.iter().position(u8::is_ascii_whitespace)?;
    let rest = line.get(end..)?.trim_ascii_start();
    (!rest.is_empty()).then_some(rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rows_have_users_and_commands() {
        let root: Option<&[u8]> = Some(b"root");
        let found = |line: &'static str, own, anacron| row(line.as_bytes(), own, anacron);
        assert_eq!(
            found("5 4 * * * root /a b", false, false),
            Some(Row::Command(root, b"/a b"))
        );
        assert_eq!(
            found("@daily root\t/a", false, false),
            Some(Row::Command(root, b"/a"))
        );
        assert_eq!(
            found("5 4 * * * /a b", true, false),
            Some(Row::Command(None, b"/a b"))
        );
        assert_eq!(
            found("1 5 x run-parts /d", false, true),
            Some(Row::Command(None, b"run-parts /d"))
        );
        assert_eq!(
            found(" PATH = \"/a:/b\"", false, false),
            Some(Row::Variable(b"PATH", b"/a:/b"))
        );
        for none in ["", "# x", "5 4 * *", "5 4 * * * root"] {
            assert_eq!(found(none, false, false), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn any_line_is_read(bytes: Vec<u8>, own: bool, anacron: bool) {
            let _ = row(&bytes, own, anacron);
        }
    }
}
