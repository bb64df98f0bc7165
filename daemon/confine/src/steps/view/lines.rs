//! Changes of single lines of a table of passwords, shadow(5) or gshadow(5), as a plan has them. Pure.

use std::collections::BTreeMap;

use remit_core::accounts::{PASSWORD, with_password};

/// Returns the table with these changes; `None` if it does not have the lines that the plan has found. The warden has checked their
/// form: see [`remit_spawn::LaidAs::Lines`].
pub(super) fn changed_table(table: &[u8], changes: &[u8]) -> Option<Vec<u8>> {
    let mut lines: Vec<Option<Vec<u8>>> = Vec::new();
    let mut known = BTreeMap::new();
    for line in split(table) {
        if line.contains(&b':') && known.insert(name(line).to_vec(), lines.len()).is_some() {
            return None;
        }
        lines.push(Some(line.to_vec()));
    }
    for change in split(changes) {
        let (sign, line) = change.split_first()?;
        if *sign == b'+' {
            if known.insert(name(line).to_vec(), lines.len()).is_some() {
                return None;
            }
            lines.push(Some(line.to_vec()));
            continue;
        }
        let slot = lines.get_mut(*known.get(name(line))?)?;
        let is_it = |own: &Vec<u8>| with_password(own, b"") == line;
        match sign {
            b'-' => drop(slot.take_if(|own| is_it(own))?),
            b'<' if slot.as_ref().is_some_and(is_it) => {}
            b'>' => {
                let password = slot.as_ref()?.split(|byte| *byte == b':').nth(PASSWORD)?;
                *slot = Some(with_password(line, password));
            }
            _ => return None,
        }
    }
    let mut made = Vec::new();
    for line in lines.into_iter().flatten() {
        made.extend_from_slice(&line);
        made.push(b'\n');
    }
    Some(made)
}

fn split(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let whole = text.strip_suffix(b"\n").unwrap_or(text);
    whole
        .split(|byte| *byte == b'\n')
        .filter(move |_| !whole.is_empty())
}

fn name(line: &[u8]) -> &[u8] {
    line.split(|byte| *byte == b':').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same as a commit makes of the machine's table.
    #[test]
    fn table_is_changed_as_by_a_commit() {
        let tables = [
            &b"root:!:1:0:99999:7:::\nbin:*:1::::::\n# text\nbob:!:1:0:99999:7:::\n"[..],
            b"root:!:1:0:99999:7:::\nbob:!:1:0:99999:7:::",
            b"bob:!:1:0:99999:7:::\nbob:!:1:0:99999:7:::\n",
            b"bob:*:2:0:99999:7:::\n\n",
            b"zed:!:::::::\n",
            b"",
        ];
        let changes = [
            &b"+zed:!:2::::::\n"[..],
            b"<bob::1:0:99999:7:::\n>bob::1:0:30:7::9:\n",
            b"-bob::1:0:99999:7:::\n",
            b"-bin::1::::::\n<bob::1:0:99999:7:::\n>bob::2:0:99999:7:::\n+zed:$y$x:2::::::\n+yan:!:2::::::\n",
            b"-none::1::::::\n",
            b"+root:!:1::::::\n",
        ];
        let mut made = 0;
        for table in tables {
            for change in changes {
                let parsed = remit_plan::TableChange::decode(change).unwrap();
                let expect = remit_plan::changed_table(table, &parsed).ok();
                let found = changed_table(table, change);
                // A commit refuses two lines of an account only if they are its own; a view always.
                let is_twice = table.starts_with(b"bob:!") && found.is_none();
                assert!(
                    is_twice || found == expect,
                    "{table:?} {change:?}: {found:?}"
                );
                made += usize::from(found.is_some());
            }
        }
        assert!(made > 8, "{made}");
    }
}
