//! The verifier's own memory: for each host of a collector the newest record that was verified. Whoever can write it can
//! have a rewritten past pass, so nobody else may.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::unistd::geteuid;
use remit_audit_verify::{Arrived, Expected, Remembered};
use remit_common::refusal::{Code, Refusal};
use remit_trail::{hex, unhex};
use serde::{Deserialize, Serialize};

use crate::error::Failure;
use crate::json_file::replace;

const VERSION: u32 = 1;
/// In bytes. A machine takes some 300.
const LARGEST: u64 = 1 << 20;
const SUFFIX: &[u8] = b".json";
const NEW: &str = ".new";

/// What is remembered of one host.
#[derive(Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    version: u32,
    /// By machine id.
    pub machines: BTreeMap<String, MachineHead>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MachineHead {
    pub newest: RecordHead,
    /// When it was verified, by this machine's clock, in milliseconds since 1970.
    pub verified_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub accepted: Option<Accepted>,
}

/// A person accepted everything up to this record.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    pub record: RecordHead,
    /// Where the collector has it. A memory that does not say it has nothing accepted.
    #[serde(default)]
    pub position: String,
    pub at_ms: u64,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RecordHead {
    pub seq: u64,
    hash: String,
}

impl RecordHead {
    pub fn of(record: Expected) -> Self {
        Self {
            seq: record.seq,
            hash: hex(&record.hash),
        }
    }

    fn expected(&self) -> Option<Expected> {
        let hash = unhex(&self.hash)?;
        (self.seq > 0).then_some(Expected {
            seq: self.seq,
            hash,
        })
    }
}

impl MachineHead {
    pub fn remembered(&self) -> Option<Remembered> {
        let accepted = match &self.accepted {
            Some(Accepted {
                record, position, ..
            }) => Some(Arrived {
                record: record.expected()?,
                position: position.clone(),
            }),
            None => None,
        };
        Some(Remembered {
            newest: self.newest.expected()?,
            accepted,
        })
    }
}

impl Memory {
    pub fn new(machines: BTreeMap<String, MachineHead>) -> Self {
        Self {
            version: VERSION,
            machines,
        }
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let memory: Self = serde_json::from_slice(bytes).ok()?;
        let is_right = |head: &MachineHead| head.remembered().is_some();
        (memory.version == VERSION && memory.machines.values().all(is_right)).then_some(memory)
    }
}

/// The directory of the memory, locked against another verification.
#[derive(Debug)]
pub struct Heads {
    dir: PathBuf,
    locked: Flock<File>,
}

impl Heads {
    /// Opens the directory and makes it if it is missing. Fails if somebody else can write to it.
    pub fn open(dir: Option<&Path>) -> Result<Self, Failure> {
        let dir = match dir {
            Some(dir) => dir.to_owned(),
            None => own()
                .ok_or_else(|| {
                    wrong(
                        "there is no HOME, which would say where the newest records are remembered"
                            .into(),
                    )
                    .lift("give a directory of your own: --heads DIR")
                })
                .map_err(Failure::Machine)?,
        };
        let failed = |error| cannot("open", &dir, &error);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(failed)?;
        let open = File::open(&dir).map_err(failed)?;
        let found = open.metadata().map_err(failed)?;
        let (owner, mode) = (found.uid(), found.mode() & 0o7777);
        if owner != geteuid().as_raw() || mode & 0o022 != 0 {
            let text = format!(
                "'{}' belongs to uid {owner} and has mode {mode:04o}: others could write what is remembered there",
                dir.display()
            );
            return Err(Failure::Machine(wrong(text).lift(
                "give a directory that you alone can write: --heads DIR; or chmod go-w",
            )));
        }
        match Flock::lock(open, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => Ok(Self { dir, locked }),
            Err((_, nix::errno::Errno::EAGAIN)) => {
                let text = format!("another verification works with '{}'", dir.display());
                Err(Failure::Machine(wrong(text).lift("wait for its end")))
            }
            Err((_, error)) => Err(cannot("lock", &dir, &error.into())),
        }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns what is remembered of a host. Fails with a sentence.
    pub fn read(&self, stem: &OsStr) -> Result<Option<Memory>, String> {
        let path = self.path(stem);
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(LARGEST).read_to_end(&mut bytes));
        match read {
            Ok(_) => Memory::parse(&bytes).map(Some).ok_or_else(|| {
                format!(
                    "'{}' is damaged, or of another release of remit, so this host's past cannot be compared; if you know why, remove it",
                    path.display()
                )
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("cannot read '{}': {error}", path.display())),
        }
    }

    /// Replaces what is remembered of a host: the old or the new is there, whatever happens.
    pub fn write(&self, stem: &OsStr, memory: &Memory) -> Result<(), Failure> {
        let (new, path) = (self.dir.join(NEW), self.path(stem));
        replace(&path, &new, memory)
            .and_then(|()| self.locked.sync_all())
            .map_err(|error| cannot("write", &path, &error))
    }

    pub fn forget(&self, stem: &OsStr) -> Result<(), Failure> {
        let path = self.path(stem);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(cannot("remove", &path, &error))
            }
            _ => Ok(()),
        }
    }

    /// Returns all hosts that are remembered.
    pub fn stems(&self) -> Result<Vec<OsString>, Failure> {
        let failed = |error| cannot("read", &self.dir, &error);
        let mut stems = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            if let Some(stem) = name.as_bytes().strip_suffix(SUFFIX) {
                stems.push(OsString::from_vec(stem.to_vec()));
            }
        }
        stems.sort_unstable();
        Ok(stems)
    }

    pub fn path(&self, stem: &OsStr) -> PathBuf {
        let mut name = stem.to_owned();
        name.push(OsStr::from_bytes(SUFFIX));
        self.dir.join(name)
    }
}

/// `~/.local/state/remit/heads`, or where `XDG_STATE_HOME` says.
fn own() -> Option<PathBuf> {
    let absolute = |name: &str| {
        let path = PathBuf::from(std::env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    let state =
        absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(state.join("remit/heads"))
}

fn wrong(text: String) -> Refusal {
    Refusal::new(Code::InvalidArgs, text)
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Failure {
    let text = format!("cannot {what} '{}': {error}", path.display());
    Failure::Machine(
        wrong(text).lift("give a directory of your own for what is remembered: --heads DIR"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn memory() -> Memory {
        let newest = RecordHead::of(Expected {
            seq: 7,
            hash: [7; 32],
        });
        let accepted = Accepted {
            record: newest.clone(),
            position: "journal cursor s=1;i=7".to_owned(),
            at_ms: 5,
        };
        let head = MachineHead {
            newest,
            verified_ms: 9,
            accepted: Some(accepted),
        };
        Memory::new(BTreeMap::from([("a".repeat(32), head)]))
    }

    fn dir(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("remit-heads-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        dir
    }

    #[test]
    fn what_was_written_is_read_by_its_owner_alone() {
        let dir = dir("own");
        let heads = Heads::open(Some(&dir)).unwrap();
        let stem = OsStr::new("remote-web1");
        assert_eq!(heads.read(stem), Ok(None));
        heads.write(stem, &memory()).unwrap();
        assert_eq!(heads.read(stem), Ok(Some(memory())));
        assert_eq!(heads.stems().unwrap(), [stem]);
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&dir), mode(&heads.path(stem))), (0o700, 0o600));
        let Err(Failure::Machine(busy)) = Heads::open(Some(&dir)) else {
            panic!("it is locked");
        };
        assert!(busy.message.contains("another verification"), "{busy:?}");
        drop(heads);
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o770)).unwrap();
        let Err(Failure::Machine(open)) = Heads::open(Some(&dir)) else {
            panic!("its group can write to it");
        };
        assert!(open.message.contains("mode 0770"), "{open:?}");
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn memory_without_a_position_is_read() {
        let mut older = serde_json::to_value(memory()).unwrap();
        let machine = &mut older["machines"]["a".repeat(32)];
        let accepted = machine["accepted"].as_object_mut().unwrap();
        accepted.remove("position").unwrap();
        let read = Memory::parse(older.to_string().as_bytes()).unwrap();
        let remembered = read.machines[&"a".repeat(32)].remembered().unwrap();
        assert_eq!(remembered.accepted.unwrap().position, "");
    }

    #[test]
    fn damaged_memory_is_never_no_memory() {
        let dir = dir("damaged");
        let heads = Heads::open(Some(&dir)).unwrap();
        let stem = OsStr::new("w");
        heads.write(stem, &memory()).unwrap();
        let path = heads.path(stem);
        let whole = fs::read_to_string(&path).unwrap();
        for damaged in [
            String::new(),
            whole[..whole.len() / 2].to_owned(),
            whole.replace("\"version\": 1", "\"version\": 2"),
            whole.replace("0707", "07"),
            whole.replace("\"seq\": 7", "\"seq\": 0"),
            whole.replace("verified_ms", "x"),
            "{}".to_owned(),
        ] {
            fs::write(&path, &damaged).unwrap();
            let said = heads.read(stem).unwrap_err();
            assert!(said.contains("w.json' is damaged"), "{damaged}: {said}");
        }
        fs::remove_dir_all(dir).unwrap();
    }
}
