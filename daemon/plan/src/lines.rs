//! Changes of single lines of a table of passwords, shadow(5) or gshadow(5). A copy of the machine has these tables without
//! hashes, so its plan has no file but the lines that change; the commit makes the file from them and the machine's own.
//!
//! Text, a line or two for each account: `+LINE` adds it, `-LINE` removes it, `<LINE` and `>LINE` are it before and after. A
//! password that is there already is in none of them: its field is empty. It stays, or goes with its line.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use remit_common::accounts::{NO_PASSWORD, PASSWORD, shown_line, with_password};
use remit_common::escape;

use crate::PlanPath;
use crate::accounts::{LINES, account_name, field, is_table};
use crate::plan::{Base, Change, Source};

/// Bytes of the longest table, and of a line that a plan changes.
pub const TABLE_BYTES: usize = 4 << 20;
const LINE_BYTES: usize = 16 << 10;
/// Position of the day of the last change of a password, which another name of an account leaves as it is; in gshadow(5) of the
/// administrators.
const CHANGED: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableChange<'a> {
    Add(&'a [u8]),
    Remove(&'a [u8]),
    Set { before: &'a [u8], after: &'a [u8] },
}

/// What a plan of lines cannot have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineError {
    /// Two lines of this account.
    Twice(Vec<u8>),
    /// A line that is none of an account, that is too long, or with bytes that are not text.
    Unknown,
    Password(Vec<u8>),
    /// An account with a password became another one, which would have none.
    Renamed {
        from: Vec<u8>,
        to: Vec<u8>,
    },
    Exists(Vec<u8>),
    Missing(Vec<u8>),
    /// It has other fields than the plan says.
    Other(Vec<u8>),
    Long,
}

impl<'a> TableChange<'a> {
    #[must_use]
    pub fn account(&self) -> &'a [u8] {
        match self {
            Self::Add(line) | Self::Remove(line) | Self::Set { after: line, .. } => {
                field(line, 0).unwrap_or_default()
            }
        }
    }

    /// Returns the changes of a text; each account has one.
    pub fn decode(text: &'a [u8]) -> Result<Vec<Self>, &'static str> {
        let body = text.strip_suffix(b"\n").ok_or("its last line is cut")?;
        let mut lines = body.split(|byte| *byte == b'\n');
        if lines.clone().take(LINES + 1).count() > LINES {
            return Err("it changes too many lines");
        }
        let mut changes = Vec::new();
        while let Some(text) = lines.next() {
            let change = match signed(text)? {
                (b'+', line) if field(line, PASSWORD).is_some() => Self::Add(line),
                (b'-', line) if is_without_password(line) => Self::Remove(line),
                (b'<', before) if is_without_password(before) => {
                    let (sign, after) = signed(lines.next().unwrap_or_default())?;
                    let is_same = sign == b'>' && field(before, 0) == field(after, 0);
                    if !is_same || !is_without_password(after) || before == after {
                        return Err("a line of it has no other one after it");
                    }
                    Self::Set { before, after }
                }
                _ => return Err("a line of it is no change of an account"),
            };
            changes.push(change);
        }
        let names: BTreeSet<&[u8]> = changes.iter().map(Self::account).collect();
        match names.len() == changes.len() {
            true => Ok(changes),
            false => Err("it changes the line of an account twice"),
        }
    }

    /// Returns the names of a list field that are there after it and not before.
    pub(crate) fn listed(&self, number: usize) -> BTreeSet<&'a [u8]> {
        let list = |line: &'a [u8]| -> BTreeSet<&'a [u8]> {
            let names = field(line, number).unwrap_or_default();
            let names = names.split(|byte| *byte == b',');
            names.filter(|name| !name.is_empty()).collect()
        };
        let (before, after) = match self {
            Self::Add(after) => (&b""[..], *after),
            Self::Set { before, after } => (*before, *after),
            Self::Remove(_) => return BTreeSet::new(),
        };
        &list(after) - &list(before)
    }
}

/// Returns the sign of a line and the rest, which is text and begins with a name.
fn signed(text: &[u8]) -> Result<(u8, &[u8]), &'static str> {
    let (sign, line) = text.split_first().ok_or("a line of it is empty")?;
    let is_text = std::str::from_utf8(line).is_ok_and(|line| !line.chars().any(char::is_control));
    match is_text && line.len() <= LINE_BYTES && is_name(field(line, 0).unwrap_or_default()) {
        true => Ok((*sign, line)),
        false => Err("a line of it has no name of an account, is too long, or is no text"),
    }
}

fn is_without_password(line: &[u8]) -> bool {
    field(line, PASSWORD) == Some(b"")
}

/// Returns true for a name that each program reads as one: glibc skips blanks, and reads `+` and `-` as NIS.
fn is_name(name: &[u8]) -> bool {
    let is_odd =
        |byte: &u8| !byte.is_ascii_graphic() && byte.is_ascii() || *byte == 0xa0 || *byte == 0x85;
    !name.is_empty()
        && !name.starts_with(b"+")
        && !name.starts_with(b"-")
        && !name.iter().any(is_odd)
}

/// Returns the text of what became of `old`, the table of the machine: `new` is that of the copy. Empty if nothing did.
pub fn line_changes(old: &[u8], new: &[u8]) -> Result<Vec<u8>, LineError> {
    let (before, after) = (by_name(old)?, by_name(new)?);
    let lost = lost_passwords(&before, &after);
    let mut text = Vec::new();
    let mut add = |sign: &[u8], line: &[u8]| text.extend_from_slice(&[sign, line, b"\n"].concat());
    // In the order of the new table, in which new lines are added.
    for line in split(new)?.filter(|line| line.contains(&b':')) {
        match before.get(account_name(line)) {
            None => {
                let from = lost.get(&field(line, CHANGED));
                if let Some(from) = from.filter(|_| field(line, PASSWORD) == Some(NO_PASSWORD)) {
                    let (from, to) = (from.to_vec(), account_name(line).to_vec());
                    return Err(LineError::Renamed { from, to });
                }
                add(b"+", line);
            }
            Some(old) if shown_line(old) == line => {}
            Some(old) => {
                if field(&shown_line(old), PASSWORD) != field(line, PASSWORD) {
                    return Err(LineError::Password(account_name(old).to_vec()));
                }
                add(b"<", &with_password(old, b""));
                add(b">", &with_password(line, b""));
            }
        }
    }
    for (_, old) in before.iter().filter(|(name, _)| !after.contains_key(*name)) {
        add(b"-", &with_password(old, b""));
    }
    if !text.is_empty() && TableChange::decode(&text).is_err() {
        return Err(LineError::Unknown);
    }
    Ok(text)
}

/// Returns the removed accounts whose passwords a copy does not show, by a field that a new name leaves as it is.
fn lost_passwords<'a>(
    before: &BTreeMap<&'a [u8], &'a [u8]>,
    after: &BTreeMap<&[u8], &[u8]>,
) -> BTreeMap<Option<&'a [u8]>, &'a [u8]> {
    // gshadow(5), which has four fields: an empty one admits the members alone, as a locked one does.
    let is_open_group = |line: &[u8]| is_without_password(line) && field(line, 4).is_none();
    let is_lost = |(name, line): &(&&[u8], &&[u8])| {
        !after.contains_key(*name) && shown_line(line).as_ref() != **line && !is_open_group(line)
    };
    let lost = before.iter().filter(is_lost);
    lost.map(|(name, line)| (field(line, CHANGED), *name))
        .collect()
}

/// Returns the lines of accounts.
fn by_name(table: &[u8]) -> Result<BTreeMap<&[u8], &[u8]>, LineError> {
    let mut lines = BTreeMap::new();
    for line in split(table)? {
        let is_account = line.contains(&b':');
        let name = account_name(line);
        if is_account && lines.insert(name, line).is_some() {
            return Err(LineError::Twice(name.to_vec()));
        }
    }
    Ok(lines)
}

fn split(table: &[u8]) -> Result<impl Iterator<Item = &[u8]>, LineError> {
    let lines = table.split(|byte| *byte == b'\n');
    let is_short = table.len() <= TABLE_BYTES && lines.clone().take(LINES + 1).count() <= LINES;
    is_short.then_some(lines).ok_or(LineError::Long)
}

/// Returns the table with these changes: the other lines as they are, and in their order.
pub fn changed_table(table: &[u8], changes: &[TableChange<'_>]) -> Result<Vec<u8>, LineError> {
    let mut left: BTreeMap<&[u8], TableChange<'_>> = changes
        .iter()
        .map(|change| (change.account(), *change))
        .collect();
    let names: BTreeSet<&[u8]> = left.keys().copied().collect();
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for line in split(table)? {
        let name = account_name(line);
        if !line.contains(&b':') || !names.contains(name) {
            lines.push(line.to_vec());
            continue;
        }
        let is = |shown: &[u8]| match with_password(line, b"") == shown {
            true => Ok(()),
            false => Err(LineError::Other(name.to_vec())),
        };
        match left.remove(name) {
            None => return Err(LineError::Twice(name.to_vec())),
            Some(TableChange::Add(_)) => return Err(LineError::Exists(name.to_vec())),
            Some(TableChange::Remove(old)) => is(old)?,
            Some(TableChange::Set { before, after }) => {
                is(before)?;
                lines.push(with_password(
                    after,
                    field(line, PASSWORD).unwrap_or_default(),
                ));
            }
        }
    }
    // What ends the last line.
    if lines.last().is_some_and(Vec::is_empty) {
        lines.pop();
    }
    for change in changes
        .iter()
        .filter(|change| left.contains_key(change.account()))
    {
        match change {
            TableChange::Add(line) => lines.push(line.to_vec()),
            TableChange::Remove(_) | TableChange::Set { .. } => {
                return Err(LineError::Missing(change.account().to_vec()));
            }
        }
    }
    lines.push(Vec::new());
    Ok(lines.join(&b'\n'))
}

impl Change {
    /// Fails for changes of lines, but for those of a table of passwords whose bytes the planner has not read.
    pub(crate) fn check_lines(&self, path: &PlanPath) -> Result<(), &'static str> {
        let is_of_lines = self.content().map(|content| content.source) == Some(Source::Lines);
        let is_unread = matches!(self, Self::Replace { base, .. } if base.is_unread());
        match is_of_lines && !(is_unread && is_table(path.as_bytes())) {
            true => Err("only a table of passwords that nobody has read is changed by its lines"),
            false => Ok(()),
        }
    }

    /// Returns true if its bytes are changes of lines.
    #[must_use]
    pub fn is_of_lines(&self) -> bool {
        self.content()
            .is_some_and(|content| content.source == Source::Lines)
    }

    /// Returns true if nobody has read what it replaces or removes, and somebody should: lines are shown as they are.
    #[must_use]
    pub fn has_unread_base(&self) -> bool {
        !self.is_of_lines() && self.base().is_some_and(Base::is_unread)
    }
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |name: &[u8]| escape::in_quotes(name, 64);
        match self {
            Self::Twice(account) => write!(f, "'{}' has two lines in it", name(account)),
            Self::Unknown => f.write_str("a changed line of it is none of an account"),
            Self::Password(account) => write!(
                f,
                "the password of '{}' was set, locked or unlocked; a copy does not know it, so do that on the machine",
                name(account)
            ),
            Self::Renamed { from, to } => write!(
                f,
                "'{0}' was removed and '{1}' is new; if that is its new name, the password of '{0}' would be lost, which a copy does \
                 not know; rename it on the machine, or plan the removal first and the new one after that change",
                name(from),
                name(to)
            ),
            Self::Exists(account) => write!(f, "'{}' has a line in it", name(account)),
            Self::Other(account) => write!(f, "the line of '{}' is another one", name(account)),
            Self::Missing(account) => write!(f, "'{}' has no line in it", name(account)),
            Self::Long => write!(f, "it has more than {TABLE_BYTES} bytes or {LINES} lines"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const OLD: &[u8] =
        b"root:$y$abc:1:0:99999:7:::\nbin:*:1::::::\nopen::1::::::\nbob:$6$x:1:0:99999:7:::\n";

    #[test]
    fn changes_of_a_copy_are_made_in_the_table() {
        let shown = "root:!:1:0:99999:7:::\nbin:*:1::::::\nopen:!:1::::::\nbob:!:1:0:99999:7:::\n";
        let old = std::str::from_utf8(OLD).unwrap();
        for (new, text, table) in [
            (
                format!("{shown}new:!:2::::::\n"),
                "+new:!:2::::::\n",
                format!("{old}new:!:2::::::\n"),
            ),
            (
                shown.replace("bob:!:1:0:99999:7:::", "bob:!:1:0:30:7::9:"),
                "<bob::1:0:99999:7:::\n>bob::1:0:30:7::9:\n",
                old.replace("bob:$6$x:1:0:99999:7:::", "bob:$6$x:1:0:30:7::9:"),
            ),
            (
                shown.replace("open:!:1::::::\n", ""),
                "-open::1::::::\n",
                old.replace("open::1::::::\n", ""),
            ),
            (
                "bob:!:1:0:99999:7:::\nopen:!:1::::::\nbin:*:1::::::\nroot:!:1:0:99999:7:::"
                    .to_owned(),
                "",
                old.to_owned(),
            ),
        ] {
            let found = line_changes(OLD, new.as_bytes()).unwrap();
            assert_eq!(String::from_utf8_lossy(&found), text);
            if !text.is_empty() {
                let changes = TableChange::decode(&found).unwrap();
                assert_eq!(changed_table(OLD, &changes).unwrap(), table.as_bytes());
                let unended = OLD.strip_suffix(b"\n").unwrap();
                assert_eq!(changed_table(unended, &changes).unwrap(), table.as_bytes());
            }
        }
    }

    #[test]
    fn a_password_is_never_changed() {
        for line in [
            &b"bob:$6$y:1:0:99999:7:::"[..],
            b"bob::1:0:99999:7:::",
            b"bob:!!:1:0:99999:7:::",
            b"bob:*:1:0:99999:7:::",
            b"bob",
        ] {
            let rest = b"root:!:1:0:99999:7:::\nbin:*:1::::::\nopen:!:1::::::\n";
            let new = [rest, line, b"\n"].concat();
            let expect = match line {
                b"bob" => Ok(b"-bob::1:0:99999:7:::\n".to_vec()),
                _ => Err(LineError::Password(b"bob".to_vec())),
            };
            assert_eq!(line_changes(OLD, &new), expect);
        }
        let (before, after) = (&b"bob::1:0:99999:7:::"[..], &b"bob::5::::::"[..]);
        let table = changed_table(OLD, &[TableChange::Set { before, after }]).unwrap();
        assert!(table.ends_with(b"bob:$6$x:5::::::\n"));
    }

    /// `usermod -l rob bob`, and removals beside new accounts.
    #[test]
    fn a_new_name_loses_no_password() {
        let shown = "root:!:1:0:99999:7:::\nbin:*:1::::::\nopen:!:9::::::\nbob:!:7:0:99999:7:::\n";
        let old =
            b"root:$y$abc:1:0:99999:7:::\nbin:*:1::::::\nopen::9::::::\nbob:$6$x:7:0:99999:7:::\n";
        let renamed = |from: &str, to: &str| {
            let (from, to) = (from.into(), to.into());
            Err(LineError::Renamed { from, to })
        };
        for (from, to, expect) in [
            (
                "bob:!:7:0:99999:7:::",
                "rob:!:7:0:99999:7:::",
                renamed("bob", "rob"),
            ),
            (
                "bob:!:7:0:99999:7:::",
                "rob:!:7:0:30:7::99:",
                renamed("bob", "rob"),
            ),
            ("open:!:9::::::", "shut:!:9::::::", renamed("open", "shut")),
            // It has a password of its own, or was made on another day.
            ("bob:!:7:0:99999:7:::", "rob:$6$y:7:0:99999:7:::", Ok(())),
            ("bob:!:7:0:99999:7:::", "eve:!:8:0:99999:7:::", Ok(())),
            ("bin:*:1::::::", "new:*:1::::::", Ok(())),
            ("bin:*:1::::::", "new:!:1::::::", Ok(())),
        ] {
            let new = shown.replace(from, to);
            let found = line_changes(old, new.as_bytes()).map(|_| ());
            assert_eq!(found, expect, "{from} {to}");
        }
        // Of groups; Fedora has the last one.
        for (old, expect) in [
            ("wheel:$6$x::ann", renamed("wheel", "staff")),
            ("wheel:!$6$x::", renamed("wheel", "staff")),
            ("wheel:!::ann", Ok(())),
            ("wheel:::", Ok(())),
        ] {
            let found = line_changes(old.as_bytes(), b"staff:!::ann,bob\n").map(|_| ());
            assert_eq!(found, expect, "{old}");
        }
    }

    #[test]
    fn what_is_no_change_of_an_account_is_refused() {
        let long = [b"+a:!:", &[b'a'; LINE_BYTES][..], b"\n"].concat();
        for text in [
            &b""[..],
            b"\n",
            b"+a:!:1",
            b"+a\n",
            b">a::1\n",
            b"<a::1\n",
            b"<a::1\n>b::2\n",
            b"<a::1\n>a:!:2\n",
            b"<a:!:1\n>a::2\n",
            b"<a::1\n>a::1\n",
            b"<a::1\n+a::2\n",
            b"-a\n",
            b"-a:x\n",
            b"-\n",
            b"+:!:\n",
            b" a:!:\n",
            b"+ a:!:\n",
            b"+a:!:\n-a::\n",
            b"++a:!:\n",
            b"+a:!:\0\n",
            b"+a:!:\x1b\n",
            b"+a:!:\xff\n",
            "+a:!:\u{85}\n".as_bytes(),
            b"--a::\n",
            b"+a\xa0:!:\n",
            b"+a:!:\n\n",
            &long,
        ] {
            assert!(TableChange::decode(text).is_err(), "{text:?}");
        }
        for text in [
            &b"+a:!:1::::::\n"[..],
            b"-a::1\n<b::1\n>b::2\n",
            "+\u{e9}va:!:\n".as_bytes(),
        ] {
            assert!(TableChange::decode(text).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn another_table_is_a_conflict() {
        let name = |name: &[u8]| name.to_vec();
        let set = |before, after| TableChange::Set { before, after };
        for (change, expect) in [
            (TableChange::Add(b"bob:!:"), LineError::Exists(name(b"bob"))),
            (
                TableChange::Remove(b"eve::1"),
                LineError::Missing(name(b"eve")),
            ),
            (set(b"eve::1", b"eve::2"), LineError::Missing(name(b"eve"))),
            (
                TableChange::Remove(b"bob::1"),
                LineError::Other(name(b"bob")),
            ),
            (set(b"bob::1", b"bob::2"), LineError::Other(name(b"bob"))),
        ] {
            assert_eq!(changed_table(OLD, &[change]), Err(expect));
        }
        let twice = [OLD, b" bob:!:\n"].concat();
        let change = TableChange::Remove(b"bob::1:0:99999:7:::");
        let expect = Err(LineError::Twice(name(b"bob")));
        assert_eq!(changed_table(&twice, &[change]), expect);
        assert_eq!(line_changes(&twice, OLD), expect);
    }

    #[test]
    fn names_that_are_new_in_a_list_are_found() {
        let (before, after) = (
            &b"sudo::root:ann,bob"[..],
            &b"sudo::root,eve:bob,ann,eve"[..],
        );
        let set = TableChange::Set { before, after };
        let only = |name: &'static [u8]| BTreeSet::from([name]);
        assert_eq!(set.listed(2), only(b"eve"));
        assert_eq!(set.listed(3), only(b"eve"));
        assert_eq!(TableChange::Add(b"new:!::ann,,ann").listed(3), only(b"ann"));
        assert!(TableChange::Remove(before).listed(3).is_empty());
    }

    /// A stranger chooses the lists, and the daemon reads them before it decides anything.
    #[test]
    fn time_of_a_list_grows_with_it_and_no_faster() {
        // proc(5), "schedstat": nanoseconds on the processor.
        let used = || -> u64 {
            let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
            text.split(' ').next().unwrap().parse().unwrap()
        };
        let cost = |count: usize, times: usize| {
            let list = |first: char| -> String {
                let names = (0..count).map(|at| format!("{first}{at:04},"));
                names.collect()
            };
            let (before, after) = (format!("g:::{}", list('a')), format!("g:::{}", list('b')));
            let (before, after) = (before.as_bytes(), after.as_bytes());
            let start = used();
            for _ in 0..times {
                assert_eq!(TableChange::Set { before, after }.listed(3).len(), count);
            }
            used() - start
        };
        // The same bytes: the kernel counts by ticks.
        let (few, many) = (cost(100, 1280), cost(6400, 20));
        assert!(many < few * 6, "64 times the names: {few} ns, {many} ns");
    }
}
