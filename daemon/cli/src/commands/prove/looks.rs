//! The file of `remit prove --compare`: the newest look, and the one that a person saw last. JSON, for root alone. Who can write it
//! can hide a path, so a file or directory that others can write is refused, and a damaged one is never taken for none.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use remit_common::refusal::{Code, Refusal};
use remit_common::{caps, text};
use remit_prove::compare::SeenPaths;
use remit_prove::report::Report;
use serde::{Deserialize, Serialize};

use crate::checks::file_facts::{FileFacts, word};
use crate::json_file::replace;

const VERSION: u32 = 1;
const FILE_BYTES: usize = 16 << 20;
/// That of remit-prove.service.
pub const NIGHTLY: &str = "/var/lib/remit/prove/nightly.json";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Looks {
    version: u32,
    asked: LookQuestion,
    pub newest: KeptLook,
    /// The newest look whose news a person saw. `None`: there is none.
    pub shown: Option<KeptLook>,
}

/// The question. Answers to different ones cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LookQuestion {
    root: String,
    subject: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptLook {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    pub release: String,
    pub seen: SeenPaths,
}

/// All versions have this.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl LookQuestion {
    pub fn new(root: &Path, subject: Option<&str>) -> Self {
        Self {
            root: word(root),
            subject: subject.map(ToOwned::to_owned),
        }
    }

    fn command(&self) -> String {
        let Self { root, subject } = self;
        let subject = subject.as_ref().map(|name| {
            let name = text::command_line(&[name], caps::PATH);
            format!(" {name}")
        });
        format!("remit prove --root {root}{}", subject.unwrap_or_default())
    }
}

impl KeptLook {
    pub fn of(report: &Report, at_ms: u64) -> Self {
        Self {
            at_ms,
            release: remit_common::RELEASE.to_owned(),
            seen: SeenPaths::of(report),
        }
    }
}

impl Looks {
    pub fn new(asked: LookQuestion, newest: KeptLook, shown: Option<KeptLook>) -> Self {
        Self {
            version: VERSION,
            asked,
            newest,
            shown,
        }
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let damaged = |error: serde_json::Error| format!("is damaged ({error})");
        let Versioned { version } = serde_json::from_slice(bytes).map_err(damaged)?;
        if version != VERSION {
            return Err(format!(
                "has version {version}, and this release reads {VERSION}"
            ));
        }
        serde_json::from_slice(bytes).map_err(damaged)
    }
}

/// A file, locked by its directory against another comparison.
#[derive(Debug)]
pub struct LooksFile {
    file: PathBuf,
    directory: Flock<File>,
}

impl LooksFile {
    /// Opens and locks the directory of this file. The last directory is made if it is missing.
    pub fn open(file: &Path) -> Result<Self, Refusal> {
        let cannot = |error: io::Error| refused(file, &format!("cannot be used: {error}"));
        let file = std::path::absolute(file).map_err(cannot)?;
        let (Some(above), Some(_)) = (file.parent(), file.file_name()) else {
            return Err(refused(&file, "is no name of a file").lift("name a file"));
        };
        trusted(&file, above)?;
        let made = DirBuilder::new().mode(0o700).create(above);
        match made {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                let shell = word(above);
                return Err(cannot(error).lift(format!("mkdir -p -m 700 {shell}")));
            }
            Ok(()) | Err(_) => {}
        }
        let directory = File::open(above).map_err(cannot)?;
        match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
            Ok(directory) => Ok(Self { file, directory }),
            Err((_, Errno::EWOULDBLOCK)) => {
                let why = "is in use by another 'remit prove --compare'";
                Err(refused(&file, why).lift("try again when that has ended"))
            }
            Err((_, errno)) => Err(cannot(errno.into())),
        }
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Returns the looks that it keeps. `None`: there is no file.
    pub fn load(&self, asked: &LookQuestion) -> Result<Option<Looks>, Refusal> {
        let looks = read(&self.file)?;
        match looks {
            Some(looks) if looks.asked != *asked => {
                let (other, file) = (looks.asked.command(), word(&self.file));
                Err(refused(&self.file, &format!("keeps looks of '{other}'"))
                    .lift(format!("name another file, or: {other} --compare {file}")))
            }
            looks => Ok(looks),
        }
    }

    /// Replaces the file: the old or the new content is there, whatever happens.
    pub fn save(&self, looks: &Looks) -> Result<(), Refusal> {
        let cannot = |error: io::Error| refused(&self.file, &format!("cannot be written: {error}"));
        let length = serde_json::to_vec_pretty(looks).map_err(|error| cannot(error.into()))?;
        if length.len() >= FILE_BYTES {
            let why = format!("would have more than {FILE_BYTES} bytes, so this look is not kept");
            return Err(refused(&self.file, &why)
                .lift("close the paths that 'remit prove' shows, or name one account"));
        }
        let mut name = std::ffi::OsString::from(".");
        name.push(self.file.file_name().unwrap_or_default());
        name.push(".new");
        let new = self.file.with_file_name(name);
        replace(&self.file, &new, looks).map_err(cannot)?;
        self.directory.sync_all().map_err(cannot)
    }
}

/// Reads the file of root. `None`: there is none.
pub fn read(file: &Path) -> Result<Option<Looks>, Refusal> {
    let shell = word(file);
    let first =
        format!("mv {shell} {shell}.old: the next look is a first one, and every path is new");
    let cannot = |error: io::Error| refused(file, &format!("cannot be read: {error}"));
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let mut options = OpenOptions::new();
    let opened = match options.read(true).custom_flags(flags.bits()).open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cannot(error).lift(first)),
    };
    let meta = opened.metadata().map_err(cannot)?;
    let (uid, mode) = (meta.uid(), meta.mode() & 0o7777);
    if !meta.is_file() {
        return Err(refused(file, "is no regular file").lift("name another file"));
    }
    if uid != 0 || mode & 0o077 != 0 {
        let why =
            format!("belongs to uid {uid} and has mode {mode:04o}: others could hide a path in it");
        return Err(refused(file, &why).lift(first));
    }
    let mut bytes = Vec::new();
    let most = u64::try_from(FILE_BYTES).unwrap_or(u64::MAX);
    opened.take(most).read_to_end(&mut bytes).map_err(cannot)?;
    match Looks::parse(&bytes) {
        Ok(looks) => Ok(Some(looks)),
        Err(why) => Err(refused(file, &why).lift(first)),
    }
}

/// Refuses a directory that others can write. Directories above it may be sticky, as `/tmp`.
fn trusted(file: &Path, directory: &Path) -> Result<(), Refusal> {
    let cannot = |error: io::Error| refused(file, &format!("cannot be used: {error}"));
    for facts in FileFacts::along_path(directory).map_err(cannot)? {
        let is_sticky = facts.owner.id == 0 && facts.mode & 0o1000 != 0;
        if is_sticky && facts.path != directory {
            continue;
        }
        if let Some((why, fix)) = facts.fault() {
            return Err(refused(file, &format!("cannot be trusted: {why}")).lift(fix));
        }
    }
    Ok(())
}

fn refused(file: &Path, why: &str) -> Refusal {
    Refusal::new(Code::InvalidArgs, format!("'{}' {why}", file.display()))
}
