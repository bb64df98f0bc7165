//! What was done for each agent, so that it can be undone: `STATE/enrolled/USER`, JSON, root's alone.
//!
//! It is written before each thing that is done. After a crash it names at most too much, and
//! enrolling again completes it.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::account::Account;
use super::expiry::End;
use super::name::Name;

/// The form of the file.
const VERSION: u32 = 1;
/// The most bytes of a record.
const FILE: u64 = 4 << 20;

/// What was done for one agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    version: u32,
    /// The account was made, and is to be removed again.
    pub account_made: bool,
    /// Its uid, once it is known.
    pub uid: Option<u32>,
    /// The group it was added to; nothing if it was in it.
    pub group_added: Option<String>,
    /// Directories that were made, each after the one it lies in.
    pub directories_made: Vec<PathBuf>,
    /// authorized_keys files that were made.
    pub files_made: Vec<PathBuf>,
    /// Its keys.
    pub keys: Vec<Kept>,
}

/// A key that was written into a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// The file.
    pub file: PathBuf,
    /// The key's type.
    pub kind: String,
    /// Its blob in base64.
    pub base64: String,
    /// Its comment.
    pub comment: String,
    /// When it ends.
    pub expires: Option<End>,
}

impl Record {
    /// Nothing was done yet, for an account with this uid if there is one.
    pub fn new(uid: Option<u32>) -> Self {
        Self {
            version: VERSION,
            account_made: false,
            uid,
            group_added: None,
            directories_made: Vec::new(),
            files_made: Vec::new(),
            keys: Vec::new(),
        }
    }

    /// When this key (base64) ends, if it does.
    pub fn end_of(&self, base64: &str) -> Option<End> {
        let kept = self.keys.iter().find(|kept| kept.base64 == base64);
        kept.and_then(|kept| kept.expires)
    }

    /// Whether this is what was done for this very account, and not for one that had its name.
    pub fn is_of(&self, account: &Account) -> bool {
        // Who made it may not have lived to write its uid down.
        let same = self.uid.map_or(self.account_made, |uid| uid == account.uid);
        // An account that is made by hand gets the uid of one that was removed by hand.
        same && (!self.account_made || account.is_made())
    }
}

/// Why records cannot be read or kept.
#[derive(Debug)]
pub enum RecordError {
    /// A file or directory cannot be used.
    Io(&'static str, PathBuf, io::Error),
    /// It is not root's alone.
    Open(PathBuf),
    /// It is no record.
    Malformed(PathBuf, String),
    /// Another enroll or unenroll is at work.
    Busy,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(what, path, error) => {
                write!(f, "cannot {what} '{}': {error}", path.display())
            }
            Self::Open(path) => write!(
                f,
                "cannot trust '{}': it must be root's, with no right for anybody else",
                path.display()
            ),
            Self::Malformed(path, why) => {
                write!(f, "'{}' is no record of an agent: {why}", path.display())
            }
            Self::Busy => f.write_str("another 'remit enroll' or 'remit unenroll' is at work"),
        }
    }
}

impl std::error::Error for RecordError {}

/// An account that was enrolled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Its name.
    pub name: String,
    /// Its uid then, where that was written down.
    pub uid: Option<u32>,
}

/// Those who are enrolled, by name; nothing is locked or changed.
///
/// # Errors
/// A record cannot be read.
pub fn enrolled(state: &Path) -> Result<Vec<Agent>, RecordError> {
    let dir = state.join("enrolled");
    let failed = |error| RecordError::Io("read", dir.clone(), error);
    let entries = match fs::read_dir(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        // What was being written when somebody pulled the plug begins with a dot.
        let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else {
            continue;
        };
        if let Some(record) = read(&dir.join(name))? {
            let name = name.to_owned();
            let uid = record.uid;
            found.push(Agent { name, uid });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// All records. While it lives nobody else changes them.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    /// The directory, which is locked.
    locked: Flock<File>,
}

impl Store {
    /// Opens the records in the state directory, and makes their directory where it is missing.
    ///
    /// # Errors
    /// It is not root's alone, or in use.
    pub fn open(state: &Path) -> Result<Self, RecordError> {
        let dir = state.join("enrolled");
        let failed = |what| {
            let dir = dir.clone();
            move |error| RecordError::Io(what, dir, error)
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(state)
            .map_err(|error| RecordError::Io("make", state.to_owned(), error))?;
        match DirBuilder::new().mode(0o700).create(&dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed("make")(error));
            }
            Ok(()) | Err(_) => {}
        }
        let found = fs::symlink_metadata(&dir).map_err(failed("look at"))?;
        if !found.is_dir() || found.uid() != 0 || found.mode() & 0o077 != 0 {
            return Err(RecordError::Open(dir));
        }
        let file = File::open(&dir).map_err(failed("open"))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => Ok(Self { dir, locked }),
            Err((_, Errno::EWOULDBLOCK)) => Err(RecordError::Busy),
            Err((_, error)) => Err(failed("lock")(error.into())),
        }
    }

    /// Where an agent's record is.
    pub fn path(&self, user: &Name) -> PathBuf {
        self.dir.join(user.as_str())
    }

    /// An agent's record, if there is one.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn load(&self, user: &Name) -> Result<Option<Record>, RecordError> {
        read(&self.path(user))
    }

    /// The agent other than `user` who has this key, if one has.
    ///
    /// # Errors
    /// A record cannot be read.
    pub fn other_with(&self, user: &Name, base64: &str) -> Result<Option<String>, RecordError> {
        let failed = |error| RecordError::Io("read", self.dir.clone(), error);
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            // What was being written when somebody pulled the plug begins with a dot.
            let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else {
                continue;
            };
            if name == user.as_str() {
                continue;
            }
            let record = read(&self.dir.join(name))?;
            let keys = record.map(|record| record.keys).unwrap_or_default();
            if keys.iter().any(|key| key.base64 == base64) {
                return Ok(Some(name.to_owned()));
            }
        }
        Ok(None)
    }

    /// Keeps a record; it is on the disk when this returns.
    ///
    /// # Errors
    /// It cannot be written; then the one before is there.
    pub fn save(&self, user: &Name, record: &Record) -> Result<(), RecordError> {
        let new = self.dir.join(format!(".{}.new", user.as_str()));
        let failed = |error| RecordError::Io("write", new.clone(), error);
        let mut text = serde_json::to_vec_pretty(record).map_err(|error| failed(error.into()))?;
        text.push(b'\n');
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)
            .map_err(failed)?;
        file.write_all(&text).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        fs::rename(&new, self.path(user)).map_err(failed)?;
        self.sync()
    }

    /// Forgets an agent.
    ///
    /// # Errors
    /// The record cannot be removed.
    pub fn forget(&self, user: &Name) -> Result<(), RecordError> {
        let path = self.path(user);
        fs::remove_file(&path).map_err(|error| RecordError::Io("remove", path, error))?;
        self.sync()
    }

    fn sync(&self) -> Result<(), RecordError> {
        self.locked
            .sync_all()
            .map_err(|error| RecordError::Io("sync", self.dir.clone(), error))
    }
}

fn read(path: &Path) -> Result<Option<Record>, RecordError> {
    let failed = |error| RecordError::Io("read", path.to_owned(), error);
    let malformed = |why: String| RecordError::Malformed(path.to_owned(), why);
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    let mut text = Vec::new();
    file.take(FILE).read_to_end(&mut text).map_err(failed)?;
    let record: Record =
        serde_json::from_slice(&text).map_err(|error| malformed(error.to_string()))?;
    match record.version {
        VERSION => Ok(Some(record)),
        other => Err(malformed(format!("it has version {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::walk::tests::Stage;
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn record() -> Record {
        Record {
            account_made: true,
            uid: Some(60_101),
            keys: vec![Kept {
                file: "/home/a/.ssh/authorized_keys".into(),
                kind: "ssh-ed25519".into(),
                base64: "AAAA".into(),
                comment: String::new(),
                expires: Some(serde_json::from_str("1798675200").unwrap()),
            }],
            ..Record::new(None)
        }
    }

    #[test]
    fn a_record_is_read_back_and_forgotten() {
        let stage = Stage::new();
        let store = Store::open(&stage.0).unwrap();
        assert_eq!(store.load(&name("a")).unwrap(), None);
        store.save(&name("a"), &Record::new(None)).unwrap();
        store.save(&name("a"), &record()).unwrap();
        assert_eq!(store.load(&name("a")).unwrap(), Some(record()));
        let end = record().end_of("AAAA").map(|end| end.to_string());
        assert_eq!(end.as_deref(), Some("2026-12-31 00:00:00Z"));
        assert_eq!(record().end_of("BBBB"), None);
        let mode = fs::metadata(store.path(&name("a"))).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        let other = |user: &str, key| store.other_with(&name(user), key).unwrap();
        assert_eq!(other("b", "AAAA").as_deref(), Some("a"));
        assert_eq!((other("a", "AAAA"), other("b", "BBBB")), (None, None));
        store.forget(&name("a")).unwrap();
        assert_eq!(store.load(&name("a")).unwrap(), None);
    }

    #[test]
    fn one_at_a_time() {
        let stage = Stage::new();
        let first = Store::open(&stage.0).unwrap();
        assert!(matches!(Store::open(&stage.0), Err(RecordError::Busy)));
        drop(first);
        Store::open(&stage.0).unwrap();
    }

    #[test]
    fn what_is_no_record_is_told() {
        let stage = Stage::new();
        let store = Store::open(&stage.0).unwrap();
        let good = serde_json::to_string(&record()).unwrap();
        for text in [
            String::new(),
            "{}".into(),
            good.replace("\"version\":1", "\"version\":2"),
            good.replace("\"uid\"", "\"more\":1,\"uid\""),
        ] {
            fs::write(store.path(&name("a")), &text).unwrap();
            let error = store.load(&name("a")).unwrap_err();
            assert!(matches!(error, RecordError::Malformed(..)), "{text}");
        }
    }

    #[test]
    fn records_that_others_can_reach_are_not_trusted() {
        let stage = Stage::new();
        drop(Store::open(&stage.0).unwrap());
        let dir = stage.0.join("enrolled");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o710)).unwrap();
        assert!(matches!(Store::open(&stage.0), Err(RecordError::Open(_))));
        fs::remove_dir(&dir).unwrap();
        std::os::unix::fs::symlink("/root", &dir).unwrap();
        assert!(matches!(Store::open(&stage.0), Err(RecordError::Open(_))));
    }
}
