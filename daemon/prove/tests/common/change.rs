//! Makes the changes that an answer proposes, as an administrator would who types them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, lchown};

use super::laid::Laid;

impl Laid {
    /// Makes one change of `closed_by`. An error: it is no change that anybody could make.
    pub fn make(&mut self, change: &str) -> Result<(), String> {
        let words: Vec<&str> = change.split(' ').collect();
        match words.as_slice() {
            ["chmod", "o-w", path] => self.take_bits(path, 0o002),
            ["chmod", "g-w", path] => self.take_bits(path, 0o020),
            ["chmod", "o-x", path] => self.take_bits(path, 0o001),
            ["chmod", "u-s", path] => self.take_bits(path, 0o4000),
            ["chmod", "g-s", path] => self.take_bits(path, 0o2000),
            ["setcap", "-r", path] => {
                let content = fs::read(self.at(path)).unwrap();
                let mode = fs::metadata(self.at(path)).unwrap().permissions();
                fs::remove_file(self.at(path)).unwrap();
                fs::write(self.at(path), content).unwrap();
                fs::set_permissions(self.at(path), mode).unwrap();
                Ok(())
            }
            ["chown", "-h", owner, path] | ["chown", owner, path] => {
                let uid = self.number(owner);
                lchown(self.at(path), Some(uid), None).map_err(|error| error.to_string())
            }
            ["setfacl", "-x", entry, path] => self.take_entry(path, entry),
            ["usermod", "-g", "OTHER", user] => self.take_primary(user),
            ["gpasswd", "-d", user, group] => self.leave(user, group),
            ["take", "back", location] | ["narrow", location] => self.take_line(location),
            ["narrow", .., location] => self.take_rule(location),
            _ => Err(format!("'{change}' is no change that is known")),
        }
    }

    fn take_bits(&self, path: &str, bits: u32) -> Result<(), String> {
        let path = self.at(path);
        let mode = fs::symlink_metadata(&path).map_err(|error| error.to_string())?;
        let mode = mode.permissions().mode();
        let mode = fs::Permissions::from_mode(mode & 0o7777 & !bits);
        fs::set_permissions(&path, mode).map_err(|error| error.to_string())
    }

    fn take_entry(&self, path: &str, entry: &str) -> Result<(), String> {
        let (kind, name) = entry.split_once(':').ok_or("no entry")?;
        let tag: u16 = if kind == "u" { 2 } else { 8 };
        let of = [tag.to_le_bytes(), [0, 0]].concat();
        let id = self.number(name).to_le_bytes();
        let opened = fs::File::open(self.at(path)).map_err(|error| error.to_string())?;
        let list = remit_sys::sys::xattr(&opened, c"system.posix_acl_access");
        let list = list.map_err(|error| error.to_string())?;
        let (begin, rows) = list.split_at(4);
        let is_it = |row: &&[u8]| row[..2] == of[..2] && row[4..] == id;
        assert_eq!(rows.chunks(8).filter(is_it).count(), 1, "{entry}");
        let rows = rows.chunks(8).filter(|row| !is_it(row));
        let list: Vec<u8> = begin
            .iter()
            .copied()
            .chain(rows.flatten().copied())
            .collect();
        let written = remit_sys::sys::set_xattr(&opened, c"system.posix_acl_access", &list);
        written.map_err(|error| error.to_string())
    }

    fn take_primary(&self, user: &str) -> Result<(), String> {
        let path = self.at("/etc/passwd");
        let uid = self.number(user);
        let before = fs::read_to_string(&path).unwrap();
        let own = format!("{user}:x:{uid}:{uid}:");
        if !before.contains(&own) {
            return Err(format!("there is no {own}"));
        }
        let after = before.replace(&own, &format!("{user}:x:{uid}:65533:"));
        fs::write(&path, after).map_err(|error| error.to_string())
    }

    fn leave(&mut self, user: &str, group: &str) -> Result<(), String> {
        let path = self.at("/etc/group");
        let before = fs::read_to_string(&path).unwrap();
        let lines = before.lines().map(|line| {
            let (begin, members) = line.rsplit_once(':').unwrap();
            let members = members.split(',').filter(|member| *member != user);
            match line.split(':').next() == Some(group) {
                true => format!("{begin}:{}\n", members.collect::<Vec<_>>().join(",")),
                false => format!("{line}\n"),
            }
        });
        let after: String = lines.collect();
        if after == before {
            return Err(format!("{user} is not in {group}"));
        }
        fs::write(&path, after).unwrap();
        Ok(())
    }

    /// `FILE:LINE`: empties a statement, with the lines that a backslash joins, or until a rule of polkit ends.
    fn take_line(&self, location: &str) -> Result<(), String> {
        let (path, line) = location.rsplit_once(':').ok_or("no location")?;
        let line: usize = line
            .parse()
            .map_err(|_| format!("{location} is no location"))?;
        let path = self.at(path);
        let text = fs::read_to_string(&path).map_err(|error| error.to_string())?;
        let mut lines: Vec<&str> = text.lines().collect();
        let is_rule = lines
            .get(line - 1)
            .is_some_and(|one| one.contains("addRule"));
        for at in line - 1..lines.len() {
            let goes_on = match is_rule {
                true => lines
                    .get(at + 1)
                    .is_some_and(|one| !one.contains("addRule")),
                false => lines[at].ends_with('\\'),
            };
            lines[at] = "";
            if !goes_on {
                break;
            }
        }
        fs::write(&path, lines.join("\n") + "\n").map_err(|error| error.to_string())
    }

    /// `(a.toml:LINE)`: removes the table that begins there.
    fn take_rule(&mut self, location: &str) -> Result<(), String> {
        let line = location
            .strip_prefix("(a.toml:")
            .and_then(|rest| rest.strip_suffix(')'))
            .ok_or_else(|| format!("'{location}' is no location in the policy"))?;
        let line: usize = line
            .parse()
            .map_err(|_| format!("'{location}' has no line"))?;
        let lines: Vec<&str> = self.described.policy.lines().collect();
        // The location is the table's first line, or a key in it.
        let begin = (0..line)
            .rev()
            .find(|at| lines[*at].starts_with("[[grant]]"));
        let begin = begin.ok_or("there is no grant")?;
        let end = (begin + 1..lines.len()).find(|at| lines[*at].starts_with('['));
        let end = end.unwrap_or(lines.len());
        self.described.policy = [&lines[..begin], &lines[end..]].concat().join("\n");
        Ok(())
    }
}
