//! Accounts and groups of passwd(5) and group(5), whole but for a password.

use super::lines::SnapshotSection;
use crate::read::{self, Sources, Why};

const FILE: u64 = 16 << 20;

pub(super) fn accounts(at: &Sources, section: &mut SnapshotSection<'_>) -> Result<(), Why> {
    each(at, "passwd", |name, password, rest| {
        let [uid, gid, comment, home, shell] = [0, 1, 2, 3, 4].map(|at| rest.get(at).copied());
        let part = |part: Option<&str>| part.unwrap_or_default().to_owned();
        let comment = part(comment);
        let comment = match comment.as_str() {
            "" => String::new(),
            comment => format!(" comment '{comment}'"),
        };
        let value = format!(
            "uid {} gid {} home {} shell {}{comment}{password}",
            part(uid),
            part(gid),
            part(home),
            part(shell)
        );
        section.add(name.as_bytes(), &value);
    })
}

pub(super) fn groups(at: &Sources, section: &mut SnapshotSection<'_>) -> Result<(), Why> {
    each(at, "group", |name, password, rest| {
        let gid = rest.first().copied().unwrap_or_default();
        let members = match rest.get(1).copied().unwrap_or_default() {
            "" => "none",
            members => members,
        };
        section.add(
            name.as_bytes(),
            &format!("gid {gid} members {members}{password}"),
        );
    })
}

/// Calls `each` with the name, words about the password, and the fields after it.
fn each(at: &Sources, file: &str, mut each: impl FnMut(&str, &str, &[&str])) -> Result<(), Why> {
    let text = read::text(&at.etc.join(file), FILE)?;
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let mut fields = line.split(':');
        let name = fields.next().unwrap_or_default();
        let password = match fields.next() {
            Some("x") => "",
            Some("") => " without a password",
            Some("*" | "!" | "!!" | "!*") | None => " locked",
            Some(_) => " password in this file",
        };
        each(name, password, &fields.collect::<Vec<_>>());
    }
    Ok(())
}
