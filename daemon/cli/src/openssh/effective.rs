//! Queries the settings that sshd applies to one user: `sshd -T -C user=…` (sshd(8)), once for each kind of connection.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::{fmt, iter};

use super::blocks::{Block, Blocks};
use super::pattern::Connection;
use crate::external_program::{Program, ProgramError};

const SSHD: [&str; 3] = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"];

/// Keyword and value pairs. Keywords are in lower case, as `sshd -T` writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effective(Vec<(String, String)>);

#[derive(Debug)]
pub enum EffectiveError {
    NoSshd,
    /// The name has characters with a meaning in `-C`.
    Name(String),
    Sshd(ProgramError),
}

impl fmt::Display for EffectiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSshd => f.write_str("there is no sshd on this machine"),
            Self::Name(name) => write!(f, "sshd cannot be asked about a user '{name}'"),
            Self::Sshd(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for EffectiveError {}

/// Returns true if sshd is known to read times in UTC. That came with OpenSSH 9.1, and `-V` with 9.2.
pub fn reads_utc() -> bool {
    let version = Program::find(&SSHD).map(|sshd| sshd.run(&["-V"]));
    version.is_some_and(|version| version.is_ok_and(|output| output.status.success()))
}

impl Effective {
    /// Queries sshd about `user` over this connection. Needs root. Fails if sshd is missing or refuses its settings.
    pub fn ask(user: &str, connection: &Connection) -> Result<Self, EffectiveError> {
        let sshd = Program::find(&SSHD).ok_or(EffectiveError::NoSshd)?;
        // A comma would start another criterion.
        if user.is_empty() || user.contains([',', '=']) || user.contains(char::is_whitespace) {
            return Err(EffectiveError::Name(user.to_owned()));
        }
        let connection = format!("user={user},{connection}");
        let text = sshd
            .ask(&["-T", "-C", &connection])
            .map_err(EffectiveError::Sshd)?;
        Ok(Self::parse(&String::from_utf8_lossy(&text)))
    }

    pub fn parse(text: &str) -> Self {
        let pair = |line: &str| {
            let line = line.trim();
            let (name, value) = line.split_once(' ').unwrap_or((line, ""));
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        Self(text.lines().map(pair).collect())
    }

    pub fn values<'a>(&'a self, keyword: &'a str) -> impl Iterator<Item = &'a str> {
        let of_keyword = self.0.iter().filter(move |(name, _)| name == keyword);
        of_keyword.map(|(_, value)| value.as_str())
    }

    pub fn get(&self, keyword: &str) -> Option<&str> {
        let first = self.0.iter().find(|(name, _)| name == keyword);
        first
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty() && !value.eq_ignore_ascii_case("none"))
    }

    pub fn is_yes(&self, keyword: &str) -> bool {
        self.get(keyword)
            .is_some_and(|value| value.eq_ignore_ascii_case("yes"))
    }

    pub fn authorized_keys_files(&self, user: &str, uid: u32, home: &Path) -> Vec<PathBuf> {
        let patterns = match self.values("authorizedkeysfile").next() {
            Some(value) if value.eq_ignore_ascii_case("none") => return Vec::new(),
            Some(value) if !value.is_empty() => value,
            Some(_) | None => ".ssh/authorized_keys .ssh/authorized_keys2", // sshd's default.
        };
        patterns
            .split_whitespace()
            .map(|pattern| home.join(expand(pattern, user, uid, home)))
            .collect()
    }
}

fn expand(pattern: &str, user: &str, uid: u32, home: &Path) -> String {
    let mut path = String::new();
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            path.push(c);
            continue;
        }
        match rest.next() {
            Some('h') => path += &home.to_string_lossy(),
            Some('u') => path += user,
            Some('U') => path += &uid.to_string(),
            Some('%') => path.push('%'),
            Some(other) => path.extend(['%', other]), // sshd refuses other tokens at its start.
            None => path.push('%'),
        }
    }
    path
}

#[derive(Debug)]
pub struct Answers {
    blocks: Blocks,
    known: RefCell<BTreeMap<(String, Connection), EffectiveResult>>,
    /// By the criteria of blocks that they meet.
    first_of_alike: RefCell<BTreeMap<Vec<bool>, String>>,
}

type EffectiveResult = Result<Rc<Effective>, Rc<EffectiveError>>;

/// A connection that sshd treats differently from the default one.
#[derive(Clone, Debug)]
pub struct Way<'a> {
    pub block: &'a Block,
    pub meets: bool,
    /// `None`: no such connection was found, so sshd was not queried.
    pub connection: Option<Connection>,
}

impl Answers {
    pub fn read() -> Self {
        Self::of(Blocks::read())
    }

    pub fn of(blocks: Blocks) -> Self {
        Self {
            blocks,
            known: RefCell::default(),
            first_of_alike: RefCell::default(),
        }
    }

    pub fn unread(&self) -> &[String] {
        &self.blocks.unread
    }

    pub fn ask(&self, user: &str, connection: &Connection) -> EffectiveResult {
        let key = (user.to_owned(), connection.clone());
        if let Some(answer) = self.known.borrow().get(&key) {
            return answer.clone();
        }
        let answer = Effective::ask(user, connection);
        let answer = answer.map(Rc::new).map_err(Rc::new);
        self.known.borrow_mut().insert(key, answer.clone());
        answer
    }

    /// Returns the settings for another user: those of a user for whom sshd has the same, which saves a query.
    pub fn of_other(
        &self,
        asked: &str,
        user: &str,
        connection: &Connection,
    ) -> Option<Rc<Effective>> {
        match self.ask(&self.same_as(asked, user), connection) {
            Err(error) if matches!(*error, EffectiveError::Name(_)) => self.ask(user, connection),
            answer => answer,
        }
        .ok()
    }

    /// Returns the first user for whom sshd has the same settings: `asked`, if it is one.
    fn same_as(&self, asked: &str, user: &str) -> String {
        let mut first = self.first_of_alike.borrow_mut();
        let mut first_like = |one: &str| {
            let met = self.blocks.met_by(one)?;
            let first = first.entry(met).or_insert_with(|| one.to_owned());
            Some(first.clone())
        };
        first_like(asked);
        first_like(user).unwrap_or_else(|| user.to_owned())
    }

    /// Returns the usual connection, and those of [`Self::ways`] that were found.
    pub fn connections(&self, user: &str) -> impl Iterator<Item = Connection> {
        let ways = self.ways(user).into_iter();
        iter::once(Connection::default()).chain(ways.filter_map(|way| way.connection))
    }

    /// Returns connections that sshd may treat differently from [`Connection::default`]. Each block that can apply to
    /// `user` gives one: it matches if the default does not, and the other way round.
    pub fn ways(&self, user: &str) -> Vec<Way<'_>> {
        let base = Connection::default();
        let about = |block: &&Block| block.may_be_about(user) && !block.is_met_by_all();
        let way = |block| {
            let meets = Block::is_met_by(block, &base) != Some(true);
            let connection = match meets {
                true => block.meeting(&base),
                false => block.missing(&base),
            };
            Way {
                block,
                meets,
                connection,
            }
        };
        self.blocks.all.iter().filter(about).map(way).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openssh::blocks::tests::read;

    #[test]
    fn settings_are_found_by_keyword() {
        let text = "port 22\nPermitUserEnvironment no\nauthorizedkeyscommand none\n\
                    acceptenv LANG\nacceptenv LC_*\nforcecommand /usr/bin/env a b\n";
        let found = Effective::parse(text);
        assert_eq!(found.get("port"), Some("22"));
        assert_eq!(found.get("authorizedkeyscommand"), None);
        assert_eq!(found.get("forcecommand"), Some("/usr/bin/env a b"));
        assert_eq!(
            found.values("acceptenv").collect::<Vec<_>>(),
            ["LANG", "LC_*"]
        );
        assert!(!found.is_yes("permituserenvironment") && !found.is_yes("nothing"));
    }

    #[test]
    fn key_files_are_where_sshd_looks() {
        let files = |value: &str| {
            let text = format!("authorizedkeysfile {value}\n");
            let found = Effective::parse(&text);
            let files = found.authorized_keys_files("agent", 1001, Path::new("/home/agent"));
            files
                .iter()
                .map(|path| path.to_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(files("none"), [""; 0]);
        assert_eq!(
            files(".ssh/authorized_keys .ssh/authorized_keys2"),
            [
                "/home/agent/.ssh/authorized_keys",
                "/home/agent/.ssh/authorized_keys2"
            ]
        );
        assert_eq!(
            files("/etc/ssh/keys/%u-%U%% %h/k"),
            ["/etc/ssh/keys/agent-1001%", "/home/agent/k"]
        );
        let default = Effective::default();
        let files = default.authorized_keys_files("a", 1, Path::new("/h"));
        assert_eq!(files.len(), 2);
    }

    #[test]
    fn users_that_sshd_treats_alike_are_asked_about_once() {
        let alike = |blocks: &str| {
            let answers = Answers::of(read(blocks));
            ["bob", "ann", "agent"].map(|user| answers.same_as("agent", user))
        };
        assert_eq!(alike(""), ["agent"; 3]);
        assert_eq!(alike("Match Address 10.*\n"), ["agent"; 3]);
        let by_user = "Match User agent Address 10.*\n";
        assert_eq!(alike(by_user), ["bob", "bob", "agent"]);
        assert_eq!(alike("Match Group remit\n"), ["bob", "ann", "agent"]);
    }

    #[test]
    fn user_name_with_separator_is_refused() {
        for name in ["", "a,addr=127.0.0.1", "a=b", "a b"] {
            assert!(matches!(
                Effective::ask(name, &Connection::default()),
                Err(EffectiveError::Name(_) | EffectiveError::NoSshd)
            ));
        }
    }
}
