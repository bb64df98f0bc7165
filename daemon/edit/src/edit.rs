//! What a client asks for a path, applied to what is there.

use std::fmt;

use serde::{Deserialize, Serialize};

use remit_plan::{
    Base, Change, Content, Entry, FILE_BYTES, Kind, LINK_BYTES, Metadata, New, PlanError, PlanPath,
    Upload, codec,
};

use crate::EDITS_BYTES;
use crate::patch::{Overlaps, PatchError, occurrences};
use crate::patch_names::patch_file;

const MAGIC: &[u8] = b"remit edits 1\n";
const NEW_FILE: Metadata = of_root(0o644);
const NEW_LINK: Metadata = of_root(0o777);
const NEW_DIRECTORY: Metadata = of_root(0o755);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edits {
    #[serde(deserialize_with = "codec::at_most_entries")]
    pub edits: Vec<Edit>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    pub path: PlanPath,
    pub action: Action,
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// Hash of the bytes that the client believes are there.
    pub base_sha256: Option<[u8; 32]>,
    pub create_only: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    Write(Vec<u8>),
    Replace(#[serde(deserialize_with = "codec::at_most_entries")] Vec<Replacement>),
    /// A unified diff of this one file.
    Patch(Vec<u8>),
    Remove,
    CreateDirectory,
    /// Only mode and owner change.
    Keep,
    /// Makes a symbolic link to this target, or has one lead there.
    Link(Vec<u8>),
    /// Writes what was uploaded.
    Upload(Upload),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replacement {
    pub old: Vec<u8>,
    pub new: Vec<u8>,
    /// How many times `old` must be there.
    pub count: u32,
}

/// What is at a path. `bytes` is `None` if the client may not read them, or if no edit and no bundle needs them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub base: Base,
    pub bytes: Option<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    pub entry: Entry,
    pub new: Option<Vec<u8>>,
    /// Bytes that its bundle needs.
    pub old: Option<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EditError {
    pub path: PlanPath,
    pub problem: Problem,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    Missing,
    Exists,
    Kind(Kind),
    Unreadable,
    OtherBase,
    EmptyOld {
        number: usize,
    },
    Count {
        number: usize,
        expected: u32,
        found: usize,
    },
    Long,
    Metadata,
    RemovedWithMetadata,
    LinkWithMode,
    Target,
    Patch(PatchError),
}

/// A change with its new bytes.
type Changed = (Change, Option<Vec<u8>>);

impl Edits {
    pub fn decode(bytes: &[u8]) -> Result<Self, PlanError> {
        codec::decode(MAGIC, EDITS_BYTES, bytes).map_err(PlanError::Format)
    }

    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(MAGIC, self)
    }
}

impl Edit {
    /// Returns the entry with its new bytes, or `None` if the edit changes nothing.
    pub fn apply(&self, found: Option<&Found>) -> Result<Option<Planned>, EditError> {
        let refused = |problem| EditError {
            path: self.path.clone(),
            problem,
        };
        let Some((change, new)) = self.planned(found).map_err(refused)? else {
            return Ok(None);
        };
        let old = match (change.readable_old(), found) {
            (Some(_), Some(found)) => {
                let bytes = found.bytes.clone().ok_or(Problem::Unreadable);
                Some(bytes.map_err(refused)?)
            }
            _ => None,
        };
        let path = self.path.clone();
        let entry = Entry { path, change };
        Ok(Some(Planned { entry, new, old }))
    }

    fn planned(&self, found: Option<&Found>) -> Result<Option<Changed>, Problem> {
        if self.mode.is_some_and(|mode| mode > 0o7777)
            || [self.uid, self.gid].contains(&Some(u32::MAX))
        {
            return Err(Problem::Metadata);
        }
        if self.create_only && found.is_some() {
            return Err(Problem::Exists);
        }
        if let Some(believed) = self.base_sha256
            && found.and_then(|found| found.base.sha256) != Some(believed)
        {
            return Err(Problem::OtherBase);
        }
        match (&self.action, found) {
            (Action::Write(bytes), None) => {
                let new = New::File(content(bytes)?);
                let meta = self.meta(NEW_FILE);
                Ok(Some((Change::Create { new, meta }, Some(bytes.clone()))))
            }
            (Action::Upload(upload), None) => {
                let new = New::File(bounded(upload.content())?);
                let meta = self.meta(NEW_FILE);
                Ok(Some((Change::Create { new, meta }, None)))
            }
            (Action::CreateDirectory, None) => {
                let meta = self.meta(NEW_DIRECTORY);
                Ok(Some((
                    Change::Create {
                        new: New::Directory,
                        meta,
                    },
                    None,
                )))
            }
            (Action::Link(target), None) => {
                let new = New::Link(self.target(target)?);
                let meta = self.meta(NEW_LINK);
                Ok(Some((Change::Create { new, meta }, Some(target.clone()))))
            }
            (_, None) => Err(Problem::Missing),
            (Action::Link(target), Some(found)) => self.relinked(found.base, target),
            (Action::Write(bytes), Some(found)) => self.rewritten(found, bytes.clone()),
            (Action::Upload(upload), Some(found)) => {
                self.replaced(found.base, bounded(upload.content())?, None)
            }
            (Action::Replace(list), Some(found)) => {
                self.rewritten(found, replace(readable(found)?, list)?)
            }
            (Action::Patch(text), Some(found)) => {
                let bytes = patch_file(self.path.as_bytes(), readable(found)?, text);
                self.rewritten(found, bytes.map_err(Problem::Patch)?)
            }
            (Action::Remove, Some(found)) => {
                if (self.mode, self.uid, self.gid) != (None, None, None) {
                    return Err(Problem::RemovedWithMetadata);
                }
                match found.base.stat.kind {
                    Kind::Special => Err(Problem::Kind(Kind::Special)),
                    _ => Ok(Some((Change::Remove { base: found.base }, None))),
                }
            }
            (Action::CreateDirectory, Some(found)) if found.base.stat.kind != Kind::Directory => {
                Err(Problem::Exists)
            }
            (Action::CreateDirectory | Action::Keep, Some(found)) => self.kept(found.base),
        }
    }

    fn meta(&self, otherwise: Metadata) -> Metadata {
        Metadata {
            mode: self.mode.unwrap_or(otherwise.mode),
            uid: self.uid.unwrap_or(otherwise.uid),
            gid: self.gid.unwrap_or(otherwise.gid),
        }
    }

    fn rewritten(&self, found: &Found, bytes: Vec<u8>) -> Result<Option<Changed>, Problem> {
        self.replaced(found.base, content(&bytes)?, Some(bytes))
    }

    fn replaced(
        &self,
        base: Base,
        content: Content,
        bytes: Option<Vec<u8>>,
    ) -> Result<Option<Changed>, Problem> {
        if base.stat.kind != Kind::File {
            return Err(Problem::Kind(base.stat.kind));
        }
        if base.sha256 == Some(content.sha256) {
            return self.kept(base);
        }
        let meta = self.meta(base.stat.meta);
        Ok(Some((
            Change::Replace {
                base,
                content,
                meta,
            },
            bytes,
        )))
    }

    fn relinked(&self, base: Base, target: &[u8]) -> Result<Option<Changed>, Problem> {
        if base.stat.kind != Kind::Symlink {
            return Err(Problem::Exists);
        }
        let (content, meta) = (self.target(target)?, self.meta(base.stat.meta));
        let is_same = base.sha256 == Some(content.sha256) && meta == base.stat.meta;
        let change = Change::Replace {
            base,
            content,
            meta,
        };
        Ok((!is_same).then(|| (change, Some(target.to_vec()))))
    }

    fn target(&self, target: &[u8]) -> Result<Content, Problem> {
        match self.mode {
            Some(_) => Err(Problem::LinkWithMode),
            None if !LINK_BYTES.contains(&(target.len() as u64)) || target.contains(&0) => {
                Err(Problem::Target)
            }
            None => content(target),
        }
    }

    fn kept(&self, base: Base) -> Result<Option<Changed>, Problem> {
        match base.stat.kind {
            Kind::Symlink | Kind::Special => return Err(Problem::Kind(base.stat.kind)),
            Kind::File | Kind::Directory => {}
        }
        let meta = self.meta(base.stat.meta);
        let is_changed = meta != base.stat.meta;
        Ok(is_changed.then_some((Change::SetMetadata { base, meta }, None)))
    }
}

const fn of_root(mode: u32) -> Metadata {
    let (uid, gid) = (0, 0);
    Metadata { mode, uid, gid }
}

fn content(bytes: &[u8]) -> Result<Content, Problem> {
    bounded(Content::bundled(bytes))
}

fn bounded(content: Content) -> Result<Content, Problem> {
    (content.size <= FILE_BYTES)
        .then_some(content)
        .ok_or(Problem::Long)
}

fn readable(found: &Found) -> Result<&[u8], Problem> {
    match found.base.stat.kind {
        Kind::File => found.bytes.as_deref().ok_or(Problem::Unreadable),
        kind => Err(Problem::Kind(kind)),
    }
}

/// Makes the replacements one after the other.
fn replace(bytes: &[u8], list: &[Replacement]) -> Result<Vec<u8>, Problem> {
    let mut bytes = bytes.to_vec();
    for (number, Replacement { old, new, count }) in (1..).zip(list) {
        if old.is_empty() {
            return Err(Problem::EmptyOld { number });
        }
        let at = occurrences(&bytes, old, Overlaps::Skipped);
        let found = at.len();
        if u32::try_from(found) != Ok(*count) {
            return Err(Problem::Count {
                number,
                expected: *count,
                found,
            });
        }
        let grown = (new.len() as u64)
            .saturating_mul(found as u64)
            .saturating_add(bytes.len() as u64);
        if grown > FILE_BYTES.saturating_mul(2) {
            return Err(Problem::Long);
        }
        let (mut out, mut done) = (Vec::with_capacity(bytes.len()), 0);
        for start in at {
            out.extend_from_slice(bytes.get(done..start).unwrap_or_default());
            out.extend_from_slice(new);
            done = start + old.len();
        }
        out.extend_from_slice(bytes.get(done..).unwrap_or_default());
        bytes = out;
    }
    Ok(bytes)
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, problem } = self;
        write!(f, "cannot edit '{path}': {problem}")
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("it does not exist; 'write' and 'mkdir' make a path"),
            Self::Exists => f.write_str("it exists"),
            Self::Kind(Kind::Symlink) => {
                f.write_str("it is a symbolic link; name the file that it leads to, or use 'link'")
            }
            Self::Kind(Kind::Directory) => f.write_str("it is a directory"),
            Self::Kind(Kind::File) => f.write_str("it is a file"),
            Self::Kind(Kind::Special) => f.write_str("it is a device, a FIFO or a socket"),
            Self::Unreadable => f.write_str("you may not read it, so its change cannot be shown"),
            Self::OtherBase => {
                f.write_str("it does not have the bytes of 'base_sha256'; read it again")
            }
            Self::EmptyOld { number } => write!(f, "'old' of replacement {number} is empty"),
            Self::Count {
                number,
                expected,
                found,
            } => write!(
                f,
                "'old' of replacement {number} occurs {found} times, not {expected}; add context or set \
                 'count'"
            ),
            Self::Long => write!(f, "it would be longer than {FILE_BYTES} bytes"),
            Self::Metadata => f.write_str("its mode or owner is out of range"),
            Self::RemovedWithMetadata => {
                f.write_str("what is removed cannot get a mode or an owner")
            }
            Self::LinkWithMode => f.write_str("a symbolic link has no mode of its own"),
            Self::Target => {
                f.write_str("the target of a symbolic link has 1 to 4095 bytes and no NUL")
            }
            Self::Patch(error) => error.fmt(f),
        }
    }
}
