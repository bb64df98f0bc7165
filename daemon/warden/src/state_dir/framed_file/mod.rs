//! Files in which the warden keeps its state: ledger, grants, names of the policy, head of the audit log. Only this module
//! opens, writes and syncs them, and moves them away. It knows nothing of what they mean. **Invariant:** nothing is used
//! whose checksum is wrong, and nothing that cannot be used is lost: it is kept beside the file ([`quarantine`]).

#[cfg(test)]
mod last_release;
pub mod part {
    //! A part of a file that is written in place: its length (4 bytes, little-endian), a checksum, its body (postcard).
    //! The checksum is the first 8 bytes of the SHA-256 of the part's name, its owner's id and the body. So a torn part, or
    //! another owner's, is known as damaged. Without a part, both are zero.

    use serde::Serialize;
    use serde::de::DeserializeOwned;
    use sha2::{Digest, Sha256};

    pub const HEAD: usize = 4 + 8;

    #[derive(Clone, Copy, Debug)]
    pub struct Part {
        pub name: &'static [u8],
        pub at: usize,
        pub space: usize,
    }

    #[derive(Debug)]
    pub enum Decoded<T> {
        Nothing,
        Whole(T),
        Damaged,
    }

    impl Part {
        pub fn encode(self, owner: [u8; 16], value: &impl Serialize) -> Result<Vec<u8>, String> {
            let body = postcard::to_extend(value, Vec::new()).map_err(|error| error.to_string())?;
            if HEAD + body.len() > self.space {
                return Err(format!("{} bytes do not fit into a slot", body.len()));
            }
            let length = u32::try_from(body.len()).map_err(|error| error.to_string())?;
            let mut bytes = length.to_le_bytes().to_vec();
            bytes.extend(self.checksum(owner, &body));
            bytes.extend(body);
            Ok(bytes)
        }

        /// `slot` may be cut short.
        pub fn decode<T: DeserializeOwned>(self, owner: [u8; 16], slot: &[u8]) -> Decoded<T> {
            let space = slot.get(self.at..).unwrap_or_default();
            let head = space.get(..HEAD.min(space.len())).unwrap_or_default();
            if head.iter().all(|byte| *byte == 0) {
                return Decoded::Nothing;
            }
            match self
                .whole(owner, space)
                .and_then(|body| postcard::from_bytes(body).ok())
            {
                Some(value) => Decoded::Whole(value),
                None => Decoded::Damaged,
            }
        }

        fn whole(self, owner: [u8; 16], space: &[u8]) -> Option<&[u8]> {
            let (length, rest) = space.split_first_chunk::<4>()?;
            let (sum, rest) = rest.split_first_chunk::<8>()?;
            let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
            let body = rest.get(..length).filter(|_| length <= self.space)?;
            (self.checksum(owner, body) == *sum).then_some(body)
        }

        fn checksum(self, owner: [u8; 16], body: &[u8]) -> [u8; 8] {
            let hash = Sha256::new()
                .chain_update(self.name)
                .chain_update(owner)
                .chain_update(body)
                .finalize();
            hash.first_chunk().copied().unwrap_or_default()
        }
    }
}

pub mod quarantine {
    //! Quarantine of damaged files: `open.damaged-1`, `grants.damaged-1` and so on.

    use std::fs;
    use std::io;
    use std::path::{Path, PathBuf};

    const KEPT: u64 = 4;

    #[derive(Debug)]
    pub struct Damage {
        pub what: String,
        pub kept_as: Result<PathBuf, String>,
    }

    impl Damage {
        pub fn describe(&self) -> String {
            let what = &self.what;
            match &self.kept_as {
                Ok(path) => format!("{what}; it is kept as '{}'", path.display()),
                Err(why) => format!("{what}; it cannot be moved away: {why}"),
            }
        }
    }

    /// Quarantines a whole file that cannot be used.
    pub fn move_file(path: &Path, why: String) -> io::Result<Damage> {
        let kept_as = next(path)?;
        fs::rename(path, &kept_as)?;
        Ok(Damage {
            what: why,
            kept_as: Ok(kept_as),
        })
    }

    /// Keeps a copy of a file of which `count` entries are damaged; the others stay in use.
    pub fn copied(path: &Path, count: usize) -> Damage {
        let copy = |kept_as: &PathBuf| {
            let copied = fs::copy(path, kept_as);
            if copied.is_err() {
                // Part of a copy is useless.
                let _ = fs::remove_file(kept_as);
            }
            copied
        };
        let kept_as = next(path).and_then(|kept_as| copy(&kept_as).map(|_| kept_as));
        let entries = if count == 1 {
            "entry is"
        } else {
            "entries are"
        };
        Damage {
            what: format!("{count} {entries} damaged"),
            kept_as: kept_as.map_err(|error| error.to_string()),
        }
    }

    /// Returns the next free name, and removes files that are too old for it.
    fn next(path: &Path) -> io::Result<PathBuf> {
        let numbers = numbers(path)?;
        let next = numbers
            .iter()
            .max()
            .map_or(1, |newest| newest.saturating_add(1));
        for old in numbers
            .into_iter()
            .filter(|number| number.saturating_add(KEPT) <= next)
        {
            fs::remove_file(named(path, old))?;
        }
        Ok(named(path, next))
    }

    fn named(path: &Path, number: u64) -> PathBuf {
        path.with_extension(format!("damaged-{number}"))
    }

    fn numbers(path: &Path) -> io::Result<Vec<u64>> {
        let dir = path.parent().unwrap_or(path);
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let begin = format!("{stem}.damaged-");
        let mut numbers = Vec::new();
        for entry in fs::read_dir(dir)? {
            let name = entry?.file_name();
            let name = name.to_str().and_then(|name| name.strip_prefix(&begin));
            numbers.extend(name.and_then(|number| number.parse::<u64>().ok()));
        }
        Ok(numbers)
    }
}

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use quarantine::Damage;

/// Puts the name of a file on the disk.
pub type SyncName = fn(&Path) -> io::Result<()>;

/// A file that is replaced as a whole: a magic with the version, the SHA-256 of the rest, the rest (postcard).
#[derive(Debug)]
pub struct Snapshot {
    pub path: PathBuf,
    what: &'static str,
    magic: &'static [u8],
    most: u64,
    /// A test has it fail.
    pub sync_name: SyncName,
}

impl Snapshot {
    /// `what`: its name, also in messages. `magic`: another version has another one. `most`: bytes of the longest file.
    pub fn new(state: &Path, what: &'static str, magic: &'static [u8], most: u64) -> Self {
        let path = state.join("warden").join(what);
        Self {
            path,
            what,
            magic,
            most,
            sync_name,
        }
    }

    /// Returns the body, or `None` without a file. Otherwise fails with the reason.
    pub fn read(&self) -> Result<Option<Vec<u8>>, String> {
        let bytes = match self.bytes() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.map_err(|error| error.to_string())?,
        };
        let rest = bytes
            .strip_prefix(self.magic)
            .ok_or_else(|| format!("it is not a file of {} of this version", self.what))?;
        let (sum, body) = rest.split_first_chunk::<32>().ok_or("it is cut short")?;
        match Sha256::digest(body).as_slice() == sum {
            true => Ok(Some(body.to_vec())),
            false => Err("its checksum is wrong".to_owned()),
        }
    }

    fn bytes(&self) -> io::Result<Vec<u8>> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(&self.path)?;
        let mut bytes = Vec::new();
        file.take(self.most + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    pub fn replace(&self, body: &[u8], on_disk: bool) -> io::Result<()> {
        let bytes = [self.magic, &Sha256::digest(body), body].concat();
        if bytes.len() as u64 > self.most {
            return Err(io::Error::other(format!(
                "there are too many {}",
                self.what
            )));
        }
        replace_by(&self.path, &bytes, on_disk.then_some(self.sync_name))
    }

    /// Replaces the body as [`Self::replace`]. After a failure `before` is the body again: whoever is refused must not have
    /// the change after a restart.
    pub fn replace_or_keep(&self, body: &[u8], before: &[u8], on_disk: bool) -> io::Result<()> {
        let replaced = self.replace(body, on_disk);
        if replaced.is_err() {
            // If only the sync of the directory failed, the refused body is in the file already. After any other failure the
            // file has not changed, and this only repeats it.
            let _ = self.replace(before, true);
        }
        replaced
    }
}

/// Opens a file of the daemon unchanged, or creates it with mode 0600. Refuses a symbolic link.
pub fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

/// Replaces a file by a rename. `on_disk`: a power cut leaves the old file or the new one. Otherwise only a kill does.
pub fn replace(path: &Path, bytes: &[u8], on_disk: bool) -> io::Result<()> {
    replace_by(path, bytes, on_disk.then_some(sync_name))
}

fn replace_by(path: &Path, bytes: &[u8], sync_name: Option<SyncName>) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&new)?;
    file.write_all(bytes)?;
    if sync_name.is_some() {
        file.sync_all()?;
    }
    fs::rename(&new, path)?;
    sync_name.map_or(Ok(()), |sync_name| sync_name(path))
}

/// Removes a file. A missing one is not an error.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => sync_name(path),
    }
}

/// The name must survive a power cut, too.
fn sync_name(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(path))?.sync_all()
}

/// A file that is written in place, part by part. Its owner decides on the order of writes, and when they are synced.
#[derive(Debug)]
pub struct InPlaceFile {
    path: PathBuf,
    file: File,
}

impl InPlaceFile {
    /// Opens the file, or creates it empty.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = private_file(path)?;
        if file.metadata()?.len() == 0 {
            sync_name(path)?;
        }
        Ok(Self::new(path, file))
    }

    pub fn new(path: &Path, file: File) -> Self {
        let path = path.to_path_buf();
        Self { path, file }
    }

    pub fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Returns at most `most` bytes from `at`; fewer at the end of the file.
    pub fn read(&self, at: u64, most: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; most];
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, at + filled as u64)? {
                0 => break,
                count => filled += count,
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    pub fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Moves the file away and goes on with an empty one.
    pub fn quarantine(&mut self, why: String) -> io::Result<Damage> {
        let damage = quarantine::move_file(&self.path, why)?;
        self.file = private_file(&self.path)?;
        Ok(damage)
    }

    /// Keeps a copy of the file, of which `count` entries are damaged.
    pub fn keep_copy(&self, count: usize) -> Damage {
        quarantine::copied(&self.path, count)
    }
}
