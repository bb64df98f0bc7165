//! `STATE/warden/names`: the ids of the names in the current policy. If a name is unknown at a start, a denial of it
//! still applies to the same account. The file grants nothing: a name that it lacks is a load error, as any unknown
//! name.

use std::io;
use std::path::Path;

use remit_policy_files::LastKnown;

use crate::state_dir::framed_file::Snapshot;

const MAGIC: &[u8; 15] = b"remit names v1\n";
const MOST: u64 = 64 << 20;

fn file(state: &Path) -> Snapshot {
    Snapshot::new(state, "names", MAGIC, MOST)
}

/// Returns the names that were saved last; none without a file. Fails if the file is damaged.
pub fn read(state: &Path) -> Result<LastKnown, String> {
    let file = file(state);
    let parse = |body: Option<Vec<u8>>| match body {
        None => Ok(LastKnown::default()),
        Some(body) => postcard::from_bytes(&body).map_err(|error| error.to_string()),
    };
    file.read().and_then(parse).map_err(|why| {
        let path = file.path.display();
        format!("the ids of denied names are not known, '{path}' cannot be read: {why}")
    })
}

/// Saves the names if the file differs, on the disk before it replaces the old one. If only the sync of the directory
/// fails, a power cut may bring back older names; a name that they lack is a load error: nothing runs.
pub fn save_names(state: &Path, names: &LastKnown) -> io::Result<()> {
    if read(state).is_ok_and(|saved| saved == *names) {
        return Ok(());
    }
    let body = postcard::to_extend(names, Vec::new()).map_err(io::Error::other)?;
    file(state).replace(&body, true)
}

#[cfg(test)]
mod tests {
    use std::fs;

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
        let whole = fs::read(file(&state).path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(file(&state).path, &bytes).unwrap();
            assert!(read(&state).is_err(), "{at}");
            fs::write(file(&state).path, &whole[..at]).unwrap();
            assert!(read(&state).is_err(), "{at}");
        }
        fs::remove_dir_all(state).unwrap();
    }
}
