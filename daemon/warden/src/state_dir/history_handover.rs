//! Gives the broker the history that the last release kept in the warden's directory.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, fchown};
use std::path::Path;

use crate::identity::user_names::Ids;
use crate::state_dir::framed_file::quarantine;

/// Names in the warden's directory and in the broker's; the older file is first.
const NAMES: [(&str, &str); 2] = [("history-old", "log.1"), ("history", "log.2")];

/// Moves the files, if there are any. The broker checks their content, as that of its own files.
pub fn hand_over(warden: &Path, history: &Path, broker: Ids) {
    let [oldest, (old, new)] = NAMES;
    let changed = |name: &str| history.join(name).symlink_metadata()?.modified();
    // The last release ran once more, for a short time. Of the broker's files it replaces the one that is older.
    let is_short = !warden.join(oldest.0).exists();
    let newest = match is_short && changed(oldest.1).ok() < changed(new).ok() {
        true => (old, oldest.1),
        false => (old, new),
    };
    for (old, new) in [oldest, newest] {
        let (from, to) = (warden.join(old), history.join(new));
        match give(&from, &to, broker) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                say!("cannot take over '{}': {error}", from.display());
            }
            Ok(()) | Err(_) => {}
        }
    }
}

fn give(from: &Path, to: &Path, broker: Ids) -> io::Result<()> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(from)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is not a regular file",
        ));
    }
    // The last release ran once more after this one.
    match quarantine::move_file(to, "a newer history replaces it".to_owned()) {
        Ok(kept_as) => say!("'{}': {}", to.display(), kept_as.describe()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    fchown(&file, Some(broker.uid), Some(broker.gid))?;
    fs::rename(from, to)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    #[test]
    fn files_are_moved_once_and_nothing_is_overwritten() {
        let dir = nix::unistd::mkdtemp(&std::env::temp_dir().join("remit-handover-XXXXXX"));
        let dir = dir.unwrap();
        let [warden, history] = ["warden", "history"].map(|name| dir.join(name));
        fs::create_dir(&warden).unwrap();
        fs::create_dir(&history).unwrap();
        let own = dir.metadata().unwrap();
        // Only root can give a file to somebody else.
        let uid = if own.uid() == 0 { 12_345 } else { own.uid() };
        let ids = Ids {
            uid,
            gid: own.gid(),
        };
        let read = |name: &str| fs::read_to_string(history.join(name)).ok();
        hand_over(&warden, &history, ids);
        assert_eq!(fs::read_dir(&history).unwrap().count(), 0);

        fs::write(warden.join("history-old"), "older").unwrap();
        fs::write(warden.join("history"), "newer").unwrap();
        hand_over(&warden, &history, ids);
        assert_eq!(read("log.1").as_deref(), Some("older"));
        assert_eq!(read("log.2").as_deref(), Some("newer"));
        assert_eq!(history.join("log.2").metadata().unwrap().uid(), uid);
        assert_eq!(fs::read_dir(&warden).unwrap().count(), 0);

        // Killed between the two files: the other one follows.
        fs::remove_file(history.join("log.2")).unwrap();
        fs::write(warden.join("history"), "newest").unwrap();
        hand_over(&warden, &history, ids);
        assert_eq!(read("log.1").as_deref(), Some("older"));
        assert_eq!(read("log.2").as_deref(), Some("newest"));

        // The broker's own newest entries stay, whichever file has them.
        let second = std::time::Duration::from_secs(1);
        for (older, newer, text) in [("log.1", "log.2", "again"), ("log.2", "log.1", "once more")] {
            let newest = fs::File::open(history.join(newer)).unwrap();
            newest
                .set_modified(std::time::SystemTime::now() + second)
                .unwrap();
            fs::write(warden.join("history"), text).unwrap();
            let kept = read(newer);
            hand_over(&warden, &history, ids);
            assert_eq!(read(older).as_deref(), Some(text));
            assert_eq!(read(newer), kept);
            let past = std::time::SystemTime::now() - 60 * second;
            let newest = fs::File::open(history.join(newer)).unwrap();
            newest.set_modified(past).unwrap();
        }
        assert_eq!(read("log.damaged-1").as_deref(), Some("older"));
        assert_eq!(read("log.damaged-2").as_deref(), Some("newest"));

        symlink("/etc/passwd", warden.join("history")).unwrap();
        fs::create_dir(warden.join("history-old")).unwrap();
        hand_over(&warden, &history, ids);
        assert_eq!(read("log.1").as_deref(), Some("again"));
        assert_eq!(read("log.2").as_deref(), Some("once more"));
        fs::remove_dir_all(dir).unwrap();
    }
}
