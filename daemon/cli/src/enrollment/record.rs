//! Records what was done for each agent and approver, to undo it: `STATE/enrolled/USER`, JSON, only for root. A step is recorded
//! before it is done, so after a crash some may not be done; enrolling again completes them.

use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::account::Account;
use super::arguments::{End, Name};
use super::role::Role;
use crate::json_file::replace;

const VERSION: u32 = 1;
const FILE_BYTES: u64 = 4 << 20;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrollmentRecord {
    version: u32,
    #[serde(default, skip_serializing_if = "is_agent")]
    pub role: Role,
    pub account_made: bool,
    pub uid: Option<u32>,
    /// `None` if the account already was a member.
    pub group_added: Option<String>,
    /// Parents come before their subdirectories.
    pub directories_made: Vec<PathBuf>,
    pub files_made: Vec<PathBuf>,
    pub keys: Vec<Kept>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    pub file: PathBuf,
    pub kind: String,
    pub base64: String,
    pub comment: String,
    pub expires: Option<End>,
}

impl EnrollmentRecord {
    pub fn new(role: Role, uid: Option<u32>) -> Self {
        Self {
            version: VERSION,
            role,
            account_made: false,
            uid,
            group_added: None,
            directories_made: Vec::new(),
            files_made: Vec::new(),
            keys: Vec::new(),
        }
    }

    pub fn end_of(&self, base64: &str) -> Option<End> {
        let kept = self.keys.iter().find(|kept| kept.base64 == base64);
        kept.and_then(|kept| kept.expires)
    }

    /// Returns true if the record is of this account, and not of an older one of the same name.
    pub fn is_of(&self, account: &Account) -> bool {
        // A crash may have come before the uid was recorded.
        let same = self.uid.map_or(self.account_made, |uid| uid == account.uid);
        // A new account may reuse the uid of a removed one.
        same && (!self.account_made || account.is_made(self.role))
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_agent(role: &Role) -> bool {
    *role == Role::Agent
}

#[derive(Debug)]
pub enum RecordError {
    Io(&'static str, PathBuf, io::Error),
    Open(PathBuf),
    Malformed(PathBuf, String),
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
                "cannot trust '{}': it must belong to root, with no access for others",
                path.display()
            ),
            Self::Malformed(path, why) => {
                write!(f, "'{}' is not an enrollment record: {why}", path.display())
            }
            Self::Busy => f.write_str("another 'remit enroll' or 'remit unenroll' is at work"),
        }
    }
}

impl std::error::Error for RecordError {}

impl RecordError {
    pub fn way_out(&self) -> Option<String> {
        match self {
            Self::Malformed(path, _) => Some(format!(
                "look at '{path}', which lists what was done; move it to another directory, and undo by hand or enroll again",
                path = path.display()
            )),
            Self::Io(..) | Self::Open(_) | Self::Busy => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrolledAccount {
    pub name: String,
    pub uid: Option<u32>,
    pub role: Role,
    pub is_made: bool,
    /// Base64 of its keys.
    pub keys: Vec<String>,
}

pub fn enrolled(state: &Path) -> Result<Vec<EnrolledAccount>, RecordError> {
    match all(&state.join("enrolled")) {
        Err(RecordError::Io(_, _, error)) if error.kind() == io::ErrorKind::NotFound => {
            Ok(Vec::new())
        }
        found => found,
    }
}

fn all(dir: &Path) -> Result<Vec<EnrolledAccount>, RecordError> {
    let failed = |error| RecordError::Io("read", dir.to_owned(), error);
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        // A file with a leading dot is left from an interrupted write.
        let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else {
            continue;
        };
        if let Some(record) = read(&dir.join(name))? {
            let name = name.to_owned();
            found.push(EnrolledAccount {
                name,
                uid: record.uid,
                role: record.role,
                is_made: record.account_made,
                keys: record.keys.into_iter().map(|key| key.base64).collect(),
            });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// All records. The lock excludes other writers while this value lives.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    locked: Flock<File>,
}

impl Store {
    /// Opens and locks the records; makes a missing directory. Fails if others than root have access, or the lock is held.
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

    pub fn path(&self, user: &Name) -> PathBuf {
        self.dir.join(user.as_str())
    }

    pub fn load(&self, user: &Name) -> Result<Option<EnrollmentRecord>, RecordError> {
        read(&self.path(user))
    }

    pub fn other_with(
        &self,
        user: &Name,
        base64: &str,
    ) -> Result<Option<(Role, String)>, RecordError> {
        let mut others = all(&self.dir)?.into_iter();
        let found = others
            .find(|one| one.name != user.as_str() && one.keys.iter().any(|key| key == base64));
        Ok(found.map(|one| (one.role, one.name)))
    }

    pub fn save(&self, user: &Name, record: &EnrollmentRecord) -> Result<(), RecordError> {
        let new = self.dir.join(format!(".{}.new", user.as_str()));
        let failed = |error| RecordError::Io("write", new.clone(), error);
        replace(&self.path(user), &new, record).map_err(failed)?;
        self.sync()
    }

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

fn read(path: &Path) -> Result<Option<EnrollmentRecord>, RecordError> {
    let failed = |error| RecordError::Io("read", path.to_owned(), error);
    let malformed = |why: String| RecordError::Malformed(path.to_owned(), why);
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    let mut text = Vec::new();
    file.take(FILE_BYTES)
        .read_to_end(&mut text)
        .map_err(failed)?;
    let record: EnrollmentRecord =
        serde_json::from_slice(&text).map_err(|error| malformed(error.to_string()))?;
    match record.version {
        VERSION => Ok(Some(record)),
        other => Err(malformed(format!("it has version {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::enrollment::refused::Refused;
    use crate::enrollment::safe_open::tests::Stage;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn record() -> EnrollmentRecord {
        EnrollmentRecord {
            account_made: true,
            uid: Some(60_101),
            keys: vec![Kept {
                file: "/home/a/.ssh/authorized_keys".into(),
                kind: "ssh-ed25519".into(),
                base64: "AAAA".into(),
                comment: String::new(),
                expires: Some(serde_json::from_str("1798675200").unwrap()),
            }],
            ..EnrollmentRecord::new(Role::Agent, None)
        }
    }

    #[test]
    fn record_without_a_role_is_an_agents() {
        let json = serde_json::to_string(&record()).unwrap();
        assert!(!json.contains("role"), "{json}");
        let approver = EnrollmentRecord {
            role: Role::Approver,
            ..record()
        };
        let json = serde_json::to_string(&approver).unwrap();
        assert!(json.contains("\"role\":\"approver\""), "{json}");
        assert_eq!(
            serde_json::from_str::<EnrollmentRecord>(&json).unwrap(),
            approver
        );
        assert!(serde_json::from_str::<EnrollmentRecord>(&json.replace("approver", "x")).is_err());
    }

    #[test]
    fn a_record_is_read_back_and_forgotten() {
        let stage = Stage::new();
        let store = Store::open(&stage.0).unwrap();
        assert_eq!(store.load(&name("a")).unwrap(), None);
        store
            .save(&name("a"), &EnrollmentRecord::new(Role::Agent, None))
            .unwrap();
        store.save(&name("a"), &record()).unwrap();
        assert_eq!(store.load(&name("a")).unwrap(), Some(record()));
        let end = record().end_of("AAAA").map(|end| end.to_string());
        assert_eq!(end.as_deref(), Some("2026-12-31 00:00:00 UTC"));
        assert_eq!(record().end_of("BBBB"), None);
        let mode = fs::metadata(store.path(&name("a"))).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        let other = |user: &str, key| store.other_with(&name(user), key).unwrap();
        assert_eq!(other("b", "AAAA"), Some((Role::Agent, "a".to_owned())));
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
    fn malformed_record_is_refused() {
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
            // It stops the enrollment of every account, and it alone cannot be removed by unenroll.
            let refused = Refused::from(error);
            let path = store.path(&name("a")).display().to_string();
            assert!(
                refused.lift.is_some_and(|lift| lift.contains(&path)),
                "{text}"
            );
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
