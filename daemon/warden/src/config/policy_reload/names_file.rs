//! `STATE/warden/names`: the ids of the names in the current policy. If a name is unknown at a start, a denial of it
//! still applies to the same account. The file grants nothing: a name that it lacks is a load error, as any unknown
//! name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use remit_policy_files::LastKnown;
use sha2::{Digest, Sha256};

/// The first bytes. Another version has another number.
const MAGIC: &[u8; 15] = b"remit names v1\n";
const MOST: u64 = 64 << 20;

fn path(state: &Path) -> PathBuf {
    state.join("warden").join("names")
}

/// Returns the names that were saved last; none without a file. Fails if the file is damaged.
pub fn read(state: &Path) -> Result<LastKnown, String> {
    let path = path(state);
    let cannot = |why: &str| {
        format!(
            "the ids of denied names are not known, '{}' cannot be read: {why}",
            path.display()
        )
    };
    match bytes(&path) {
        Ok(None) => Ok(LastKnown::default()),
        Ok(Some(bytes)) => parse(&bytes).ok_or_else(|| cannot("it is damaged")),
        Err(error) => Err(cannot(&error.to_string())),
    }
}

/// Saves the names if the file differs. The new file is on the disk before it replaces the old one.
///
/// If only the sync of the directory fails, the new names are read until a power cut. The older names may then be back,
/// and a name that they lack is a load error: nothing runs.
pub fn save_names(state: &Path, names: &LastKnown) -> io::Result<()> {
    if read(state).is_ok_and(|saved| saved == *names) {
        return Ok(());
    }
    let path = path(state);
    let body = postcard::to_extend(names, Vec::new()).map_err(io::Error::other)?;
    let new = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&new)?;
    file.write_all(&[MAGIC, Sha256::digest(&body).as_slice(), &body].concat())?;
    file.sync_all()?;
    fs::rename(&new, &path)?;
    File::open(state.join("warden"))?.sync_all()
}

fn bytes(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path);
    let file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn parse(bytes: &[u8]) -> Option<LastKnown> {
    let (sum, body) = bytes.strip_prefix(MAGIC)?.split_first_chunk::<32>()?;
    let is_whole = Sha256::digest(body).as_slice() == sum;
    postcard::from_bytes(body).ok().filter(|_| is_whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saved_names_are_read_back_and_damage_refused() {
        let state = std::env::temp_dir().join(format!("remit-names-{}", std::process::id()));
        fs::create_dir_all(state.join("warden")).unwrap();
        assert_eq!(read(&state), Ok(LastKnown::default()));
        let names = LastKnown {
            users: [("ann".to_owned(), 1005)].into(),
            groups: [("agents".to_owned(), 2000)].into(),
            members: [(2000, [("bot".to_owned(), 1002)].into())].into(),
        };
        save_names(&state, &names).unwrap();
        assert_eq!(read(&state), Ok(names));
        let whole = fs::read(path(&state)).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(path(&state), &bytes).unwrap();
            assert!(read(&state).is_err(), "{at}");
            fs::write(path(&state), &whole[..at]).unwrap();
            assert!(read(&state).is_err(), "{at}");
        }
        fs::remove_dir_all(state).unwrap();
    }
}
