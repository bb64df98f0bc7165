//! Parses `Match` blocks of sshd's configuration with criteria other than user and group (sshd_config(5)). `sshd -T`
//! answers for one connection at a time. These blocks show which connections to query. Judges nothing.

use std::fs;
use std::path::{Path, PathBuf};

use remit_openssh::{expand, words};

use super::pattern::{self, Connection, PatternKind};

const DIR: &str = "/etc/ssh";
const FILES: [&str; 2] = ["/etc/ssh/sshd_config", "/usr/etc/ssh/sshd_config"];
/// As sshd (`SERVCONF_MAX_DEPTH`).
const DEPTH: usize = 16;
/// Maximum number of blocks that are checked.
const MOST: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    pub location: String,
    pub text: String,
    criteria: Vec<(String, String)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blocks {
    pub all: Vec<Block>,
    /// Criteria by the user, of each block.
    by_user: Vec<(String, String)>,
    pub unread: Vec<String>,
}

impl Block {
    pub fn may_be_about(&self, user: &str) -> bool {
        let mut users = self.criteria.iter().filter(|(key, _)| key == "user");
        users.all(|(_, patterns)| pattern::fits(PatternKind::Name, patterns, user))
    }

    /// Returns true if a connection meets all criteria but user and group. `None`: sshd cannot be asked about one.
    pub fn is_met_by(&self, connection: &Connection) -> Option<bool> {
        let mut met = true;
        for (key, patterns) in &self.criteria {
            match key.as_str() {
                "user" | "group" | "all" => {}
                key => {
                    let value = connection.value(key)?;
                    met &= pattern::fits(Connection::kind(key), patterns, value);
                }
            }
        }
        Some(met)
    }

    /// Returns true if no connection fails its criteria, so that the usual answer of sshd includes it.
    pub fn is_met_by_all(&self) -> bool {
        let mut criteria = self.criteria.iter();
        criteria.all(|(key, patterns)| match key.as_str() {
            "user" | "group" | "all" => true,
            key => pattern::fits_all(Connection::kind(key), patterns),
        })
    }

    pub fn meeting(&self, base: &Connection) -> Option<Connection> {
        let mut found = base.clone();
        for (key, patterns) in &self.criteria {
            if ["user", "group", "all"].contains(&key.as_str()) {
                continue;
            }
            let kind = Connection::kind(key);
            let mut samples = pattern::samples(kind, patterns);
            let value = samples.find(|sample| pattern::fits(kind, patterns, sample))?;
            found.set(key, value)?;
        }
        (self.is_met_by(&found) == Some(true)).then_some(found)
    }

    pub fn missing(&self, base: &Connection) -> Option<Connection> {
        self.criteria.iter().find_map(|(key, patterns)| {
            if ["user", "group", "all"].contains(&key.as_str()) {
                return None;
            }
            let kind = Connection::kind(key);
            let mut samples = pattern::others(kind, patterns);
            let value = samples.find(|sample| !pattern::fits(kind, patterns, sample))?;
            let mut found = base.clone();
            found.set(key, value)?;
            Some(found)
        })
    }
}

impl Blocks {
    /// Returns which criteria the user meets: sshd has the same settings for users with the same answer. `None`: not known.
    pub fn met_by(&self, user: &str) -> Option<Vec<bool>> {
        let met = |(key, patterns): &(String, String)| match key.as_str() {
            "user" => Some(pattern::fits(PatternKind::Name, patterns, user)),
            // Groups are sshd's to look up.
            _ => None,
        };
        let met = self.by_user.iter().map(met).collect();
        self.unread.is_empty().then_some(met)?
    }

    /// Reads the default configuration files. A running sshd may use others if its command line names them.
    pub fn read() -> Self {
        let mut found = Self::default();
        match FILES.iter().map(Path::new).find(|file| file.exists()) {
            Some(file) => found.file(file, &[], 0),
            None => found.unread.push("sshd has no configuration file".into()),
        }
        found
    }

    fn file(&mut self, path: &Path, outer: &[(String, String)], depth: usize) {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                let path = path.display();
                self.unread.push(format!("cannot read '{path}': {error}"));
                return;
            }
        };
        let mut criteria = outer.to_vec();
        for (number, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
            let words = words(line);
            let Some((keyword, rest)) = words.split_first() else {
                continue;
            };
            if keyword.eq_ignore_ascii_case("match") {
                let own = criteria_of(rest);
                // A block in an included file is nested in the block that includes it.
                criteria = [outer, own.as_slice()].concat();
                let is_by_user = |(key, _): &&(String, String)| {
                    ["user", "group", "invalid-user"].contains(&key.as_str())
                };
                self.by_user.extend(own.iter().filter(is_by_user).cloned());
                let block = Block {
                    location: format!("'{}':{}", path.display(), number + 1),
                    text: rest.join(" "),
                    criteria: criteria.clone(),
                };
                let is_more = |(key, _): &(String, String)| {
                    !["user", "group", "all", "invalid-user"].contains(&key.as_str())
                };
                let never = criteria.iter().any(|(key, _)| key == "invalid-user");
                if criteria.iter().any(is_more) && !never {
                    match self.all.len() < MOST {
                        true => self.all.push(block),
                        false => self
                            .unread
                            .push(format!("{} is one too many", block.location)),
                    }
                }
            } else if keyword.eq_ignore_ascii_case("include") {
                if depth == DEPTH {
                    let path = path.display();
                    self.unread.push(format!("'{path}' includes too deep"));
                    continue;
                }
                for pattern in rest {
                    for file in included(pattern) {
                        self.file(&file, &criteria, depth + 1);
                    }
                }
            }
        }
    }
}

fn criteria_of(words: &[String]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let (key, value) = match word.split_once('=') {
            Some((key, value)) => (key, value.to_owned()),
            None => (word.as_str(), String::new()),
        };
        let key = key.to_ascii_lowercase();
        let value = match key.as_str() {
            "all" | "invalid-user" => String::new(),
            _ if value.is_empty() => words.next().cloned().unwrap_or_default(),
            _ => value,
        };
        found.push((key, value));
    }
    found
}

fn included(pattern: &str) -> Vec<PathBuf> {
    let mut found = expand(&Path::new(DIR).join(pattern), usize::MAX, |dir| {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    });
    found.retain(|path| path.is_file());
    found
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::openssh::effective::Answers;

    pub fn read(text: &str) -> Blocks {
        let dir = std::env::temp_dir().join("remit-blocks-XXXXXX");
        let dir = nix::unistd::mkdtemp(&dir).unwrap();
        fs::create_dir_all(dir.join("more.d")).unwrap();
        let inner = "Match LocalPort 2222\n  PasswordAuthentication yes\n";
        fs::write(dir.join("more.d/1.conf"), inner).unwrap();
        let file = dir.join("sshd_config");
        fs::write(&file, text.replace("DIR", &dir.to_string_lossy())).unwrap();
        let mut found = Blocks::default();
        found.file(&file, &[], 0);
        fs::remove_dir_all(&dir).unwrap();
        found
    }

    #[test]
    fn c05_matching_connection_is_found_per_block() {
        let base = Connection::default();
        let text = "Port 22\nmatch user agent\n  X11Forwarding no\n\
                    Match Address 127.0.0.0/8,10.* # home\n  ForceCommand /bin/sh\n\
                    Match=User=agent Host=\"*.example.org,!bad.example.org\" LocalAddress=10.9.0.1\n\
                    Include DIR/more.d/*.conf\n\
                    Match Address *,!192.0.2.0/24\n\
                    Match all\n  PermitTTY no\nMatch Version OpenSSH_9*\n";
        let blocks = read(text);
        assert!(blocks.unread.is_empty(), "{blocks:?}");
        let locations: Vec<&str> = blocks
            .all
            .iter()
            .filter_map(|block| block.location.rsplit('/').next())
            .collect();
        assert_eq!(
            locations,
            [
                "sshd_config':4",
                "sshd_config':6",
                "1.conf':1",
                "sshd_config':8",
                "sshd_config':11"
            ]
        );
        for block in &blocks.all[..4] {
            let meeting = block.meeting(&base).unwrap();
            assert_eq!(
                block.is_met_by(&meeting),
                Some(true),
                "{block:?} {meeting:?}"
            );
            let missing = block.missing(&base).unwrap();
            assert_eq!(
                block.is_met_by(&missing),
                Some(false),
                "{block:?} {missing:?}"
            );
        }
        assert_eq!(blocks.all[4].meeting(&base), None);
        assert!(blocks.all[1].may_be_about("agent") && !blocks.all[1].may_be_about("bob"));
        let inner = &blocks.all[2];
        let meeting = inner.meeting(&base).unwrap();
        assert_eq!(inner.is_met_by(&meeting), Some(true));
    }

    #[test]
    fn block_that_every_connection_meets_gives_no_way() {
        for (criteria, expect) in [
            ("Address *", 0),
            ("User agent Address 0.0.0.0/0,::/0", 0),
            ("Address * LocalPort 22", 1),
            ("Address *,!10.0.0.0/8", 1),
            ("Version *", 1),
        ] {
            let answers = Answers::of(read(&format!("Match {criteria}\n")));
            assert_eq!(answers.ways("agent").len(), expect, "{criteria}");
        }
    }

    #[test]
    fn users_are_alike_if_they_meet_the_same_criteria() {
        let by_one = "Match User agent,!bob Address 10.*\nMatch User b* LocalPort 22\n";
        for (text, user, expect) in [
            ("Port 22\n", "agent", Some(vec![])),
            ("Match Address 10.*\n", "agent", Some(vec![])),
            (by_one, "agent", Some(vec![true, false])),
            (by_one, "bob", Some(vec![false, true])),
            (by_one, "ann", Some(vec![false, false])),
            ("Match User agent Group remit\n", "agent", None),
            ("Match invalid-user\n", "agent", None),
            ("Include DIR\n", "agent", Some(vec![])),
            ("Include DIR/sshd_config\n", "agent", None),
        ] {
            assert_eq!(read(text).met_by(user), expect, "{text} {user}");
        }
    }

    #[test]
    fn lines_are_read_as_sshd_reads_them() {
        let cases: [(&str, &[&str]); 6] = [
            ("", &[]),
            ("  # Match all", &[]),
            ("Include=a b", &["Include", "a", "b"]),
            ("Include = \"a b\" 'c'#d", &["Include", "a b", "c#d"]),
            (
                "Match\taddress  1.2.3.4 # x",
                &["Match", "address", "1.2.3.4"],
            ),
            ("Match user \"\"", &["Match", "user", ""]),
        ];
        for (line, expect) in cases {
            assert_eq!(words(line), expect, "{line}");
        }
    }
}
