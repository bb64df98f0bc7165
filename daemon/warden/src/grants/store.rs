//! The file of grants: `STATE/warden/grants`, written whole each time, and read once.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::moment::Moment;
use super::table::{Given, Table};
use crate::ledger::{Damage, aside};

/// How it begins. Another version has another number.
const MAGIC: &[u8; 16] = b"remit grants v1\n";
/// Bytes. All that can be given fits.
const MOST: u64 = 1 << 20;

/// What is behind the magic and the SHA-256 of it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// In which boot of the machine.
    pub boot: String,
    /// When.
    pub at: Moment,
    /// The grants then.
    pub table: Table,
}

/// Where it is.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
}

impl Store {
    /// The one of this state directory.
    pub fn in_state(state: &Path) -> Self {
        let path = state.join("warden").join("grants");
        Self { path }
    }

    /// What was saved last; `None` where nothing was. What cannot be read is set aside.
    ///
    /// # Errors
    /// It cannot be set aside.
    pub fn load(&self) -> io::Result<Result<Option<Saved>, Damage>> {
        match self.read() {
            Ok(saved) => Ok(Ok(Some(saved))),
            Err(Unread::Absent) => Ok(Ok(None)),
            Err(Unread::Damaged(why)) => Ok(Err(aside::renamed(&self.path, why)?)),
        }
    }

    fn read(&self) -> Result<Saved, Unread> {
        let damaged = |why: &str| Unread::Damaged(why.to_owned());
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(&self.path);
        let file = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Unread::Absent),
            opened => opened.map_err(|error| Unread::Damaged(error.to_string()))?,
        };
        let mut bytes = Vec::new();
        let read = file.take(MOST + 1).read_to_end(&mut bytes);
        read.map_err(|error| Unread::Damaged(error.to_string()))?;
        let rest = bytes.strip_prefix(MAGIC);
        let rest = rest.ok_or_else(|| damaged("it is no file of grants of this version"))?;
        let (sum, body) = rest
            .split_first_chunk::<32>()
            .ok_or_else(|| damaged("it is cut short"))?;
        if Sha256::digest(body).as_slice() != sum {
            return Err(damaged("its checksum is wrong"));
        }
        postcard::from_bytes(body).map_err(|error| Unread::Damaged(error.to_string()))
    }

    /// Saves: afterwards it is on the disk, or the file is as it was.
    ///
    /// # Errors
    /// The disk is full, or worse.
    pub fn save(&self, saved: &Saved) -> io::Result<()> {
        self.write(saved, true)
    }

    /// Saves what was used. The next daemon of this boot finds it, whatever ends this one. It is put on the disk only
    /// where that counts: where a grant outlives a reboot. A power cut ends the others, and so does a file that it damaged.
    ///
    /// # Errors
    /// The disk is full, or worse.
    pub fn save_use(&self, saved: &Saved) -> io::Result<()> {
        let mut grants = saved.table.grants.iter();
        self.write(saved, grants.any(|given| given.new.across_reboot))
    }

    fn write(&self, saved: &Saved, on_disk: bool) -> io::Result<()> {
        let body = postcard::to_extend(saved, Vec::new()).map_err(io::Error::other)?;
        if body.len() as u64 > MOST - 64 {
            return Err(io::Error::other("there are too many grants"));
        }
        let new = self.path.with_extension("new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&new)?;
        file.write_all(MAGIC)?;
        file.write_all(&Sha256::digest(&body))?;
        file.write_all(&body)?;
        if on_disk {
            file.sync_all()?;
        }
        fs::rename(&new, &self.path)?;
        match on_disk {
            true => self.sync_name(),
            false => Ok(()),
        }
    }

    /// Saves that there are none, where nothing else can be saved. One that is not there is as good.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => self.sync_name(),
        }
    }

    /// The name, too, must outlive a power cut.
    fn sync_name(&self) -> io::Result<()> {
        File::open(self.path.parent().unwrap_or(&self.path))?.sync_all()
    }
}

enum Unread {
    Absent,
    Damaged(String),
}

impl Saved {
    /// The grants as they are now in this boot, and those that have not come through a reboot, each with
    /// the reason. What is over stays among the first: its end is recorded as any other.
    pub fn now(self, boot: &str, now: Moment) -> (Table, Vec<(Given, &'static str)>) {
        let Self {
            boot: then,
            at,
            mut table,
        } = self;
        if then == boot {
            return (table, Vec::new());
        }
        let mut ended = Vec::new();
        let grants = std::mem::take(&mut table.grants);
        for mut given in grants {
            if !given.new.across_reboot {
                ended.push((given, "the machine was booted again"));
            } else if now.wall_ms < at.wall_ms {
                let why = "the machine was booted again, and its clock is behind what it was";
                ended.push((given, why));
            } else {
                let off = now.wall_ms.saturating_sub(at.wall_ms);
                let left = given.end.left(at).saturating_sub(off);
                given.end = now.after(left);
                table.grants.push(given);
            }
        }
        (table, ended)
    }
}

#[cfg(test)]
mod tests {
    use remit_common::admin::{NewGrant, Whom};

    use super::*;
    use crate::grants::table::Giver;

    const AT: Moment = Moment {
        wall_ms: 10_000_000,
        boot_ms: 500_000,
    };

    fn saved() -> Saved {
        let mut table = Table::empty(7);
        for across_reboot in [false, true] {
            let new = NewGrant {
                to: Whom::User {
                    name: "agent".into(),
                    uid: 1000,
                },
                what: "web.*".into(),
                args: vec![("unit".into(), "nginx".into())],
                for_s: 60,
                uses: Some(3),
                across_reboot,
            };
            let giver = Giver {
                uid: 7,
                gids: vec![70],
                loginuid: None,
                name: "ann".into(),
            };
            table.give(new, giver, AT);
        }
        let boot = "boot-1".into();
        let at = AT.after(10_000);
        Saved { boot, at, table }
    }

    fn store(name: &str) -> (PathBuf, Store) {
        let state =
            std::env::temp_dir().join(format!("remit-grants-{name}-{}", std::process::id()));
        fs::create_dir_all(state.join("warden")).unwrap();
        let store = Store::in_state(&state);
        (state, store)
    }

    #[test]
    fn what_is_saved_is_read_back() {
        let (state, store) = store("saved");
        assert_eq!(store.load().unwrap().unwrap(), None);
        store.save(&saved()).unwrap();
        assert_eq!(store.load().unwrap().unwrap(), Some(saved()));
        store.remove().unwrap();
        store.remove().unwrap();
        assert_eq!(store.load().unwrap().unwrap(), None);
        fs::remove_dir_all(state).unwrap();
    }

    #[test]
    fn no_byte_of_it_can_be_another() {
        let (state, store) = store("damaged");
        let path = state.join("warden/grants");
        store.save(&saved()).unwrap();
        let whole = fs::read(&path).unwrap();
        let flipped = (0..whole.len()).map(|at| {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            bytes
        });
        let cut = (0..whole.len()).map(|length| whole[..length].to_vec());
        for bytes in flipped.chain(cut) {
            fs::write(&path, &bytes).unwrap();
            let damage = store.load().unwrap().unwrap_err();
            let aside = damage.aside.unwrap();
            assert_eq!(fs::read(&aside).unwrap(), bytes, "{}", damage.what);
            assert_eq!(store.load().unwrap().unwrap(), None);
        }
        let kept = fs::read_dir(state.join("warden")).unwrap().count();
        assert!(kept <= 4, "{kept}");
        fs::create_dir(&path).unwrap();
        assert!(store.load().unwrap().is_err());
        fs::remove_dir_all(state).unwrap();
    }

    #[test]
    fn a_restart_in_the_same_boot_changes_no_end() {
        let (table, ended) = saved().now("boot-1", AT.after(30_000));
        assert_eq!((table, ended), (saved().table, Vec::new()));
    }

    #[test]
    fn a_reboot_ends_those_that_are_not_meant_to_outlive_it() {
        let rebooted = |wall_ms| Moment {
            wall_ms,
            boot_ms: 40,
        };
        let after = |ms: u64| {
            rebooted(
                saved()
                    .at
                    .wall_ms
                    .saturating_add_signed(i64::try_from(ms).unwrap()),
            )
        };
        let (table, ended) = saved().now("boot-2", after(20_000));
        assert_eq!(
            ended
                .iter()
                .map(|(given, _)| given.number)
                .collect::<Vec<_>>(),
            [7]
        );
        assert_eq!(table.grants.len(), 1);
        assert_eq!(
            (
                table.grants[0].number,
                table.grants[0].uses_left,
                table.next
            ),
            (8, Some(3), 9)
        );
        // It had 50 s when it was saved, and 20 have passed.
        assert_eq!(table.grants[0].end, after(20_000).after(30_000));
        let (table, _) = saved().now("boot-2", after(50_000));
        assert!(!table.stands(8, after(50_000)));
        let behind = rebooted(saved().at.wall_ms - 1);
        let (table, ended) = saved().now("boot-2", behind);
        assert_eq!((table.grants.len(), ended.len()), (0, 2));
    }

    #[test]
    fn a_clock_that_was_set_back_before_the_reboot_gives_no_more_time() {
        let mut saved = saved();
        // 10 s have passed since it was given, and the wall clock was set back by an hour.
        saved.at.wall_ms -= 3_600_000;
        let now = Moment {
            wall_ms: saved.at.wall_ms,
            boot_ms: 40,
        };
        let (table, _) = saved.now("boot-2", now);
        assert_eq!(table.grants[0].end.left(now), 50_000);
    }
}
