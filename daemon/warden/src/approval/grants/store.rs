//! The file `STATE/warden/grants`: rewritten as a whole on each save, read once.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::bounds::Covered;
use super::table::{Table, TemporaryGrant};
use crate::approval::grants::bounds::Moment;
use crate::state_dir::framed_file::quarantine::{self, Damage};
use crate::state_dir::framed_file::{self, Snapshot};

const MAGIC: &[u8; 16] = b"remit grants v1\n";
/// Bytes. All grants that can be given fit.
const MOST: u64 = 8 << 20;

/// Content after the magic and its SHA-256.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    pub boot: String,
    pub at: Moment,
    pub table: Table,
}

#[derive(Debug)]
pub struct GrantStore {
    pub(super) file: Snapshot,
}

impl GrantStore {
    pub fn in_state(state: &Path) -> Self {
        Self {
            file: Snapshot::new(state, "grants", MAGIC, MOST),
        }
    }

    /// Loads the last save, if any. Quarantines a file that cannot be read, or fails.
    pub fn load(&self) -> io::Result<Result<Option<Saved>, Damage>> {
        let parse = |body: Option<Vec<u8>>| body.map(|body| Saved::parse(&body)).transpose();
        match self.file.read().and_then(parse) {
            Ok(saved) => Ok(Ok(saved)),
            Err(why) => quarantine::move_file(&self.file.path, why).map(Err),
        }
    }

    /// Replaces the file by a rename, and syncs it.
    pub fn save(&self, saved: &Saved) -> io::Result<()> {
        self.file.replace(&saved.body()?, true)
    }

    /// Saves a table with one more grant.
    pub fn save_grants(&self, saved: &Saved, before: &Saved) -> io::Result<()> {
        let (saved, before) = (saved.body()?, before.body()?);
        self.file.replace_or_keep(&saved, &before, true)
    }

    /// Saves a use. The next daemon of this boot finds it, even after a kill. Syncs only if a grant survives a
    /// reboot. A power cut ends all others, and so does a file that it damaged.
    pub fn save_use(&self, saved: &Saved, before: &Saved) -> io::Result<()> {
        let mut grants = saved.table.grants.iter();
        let on_disk = grants.any(|granted| granted.new.across_reboot);
        let (saved, before) = (saved.body()?, before.body()?);
        self.file.replace_or_keep(&saved, &before, on_disk)
    }

    /// Removes the file if nothing can be saved. A missing file is not an error.
    pub fn remove(&self) -> io::Result<()> {
        framed_file::remove(&self.file.path)
    }
}

impl Saved {
    fn parse(body: &[u8]) -> Result<Self, String> {
        let damaged = |error: postcard::Error| error.to_string();
        let (mut saved, rest) = postcard::take_from_bytes::<Self>(body).map_err(damaged)?;
        // Earlier releases wrote no more, or no paths.
        if !rest.is_empty() {
            let (all, rest): (Vec<Option<Vec<Covered>>>, _) =
                postcard::take_from_bytes(rest).map_err(damaged)?;
            for (granted, covered) in saved.table.grants.iter_mut().zip(all) {
                granted.covered = covered;
            }
            if !rest.is_empty() {
                let all: Vec<Vec<String>> = postcard::from_bytes(rest).map_err(damaged)?;
                for (granted, paths) in saved.table.grants.iter_mut().zip(all) {
                    granted.new.paths = paths;
                }
            }
        }
        Ok(saved)
    }

    fn body(&self) -> io::Result<Vec<u8>> {
        let body = postcard::to_extend(self, Vec::new()).map_err(io::Error::other)?;
        // What each grant covers is appended: an earlier release does not read that far.
        let grants = self.table.grants.iter();
        let covered: Vec<_> = grants.map(|granted| &granted.covered).collect();
        let body = postcard::to_extend(&covered, body).map_err(io::Error::other)?;
        let grants = self.table.grants.iter();
        let paths: Vec<_> = grants.map(|granted| &granted.new.paths).collect();
        postcard::to_extend(&paths, body).map_err(io::Error::other)
    }

    /// Converts grants to this boot; returns those it ends. Those that are over stay, until their end is recorded.
    pub fn now(self, boot: &str, now: Moment) -> (Table, Vec<(TemporaryGrant, &'static str)>) {
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
        for mut granted in grants {
            if !granted.new.across_reboot {
                ended.push((granted, "the machine was rebooted"));
            } else if now.realtime_ms < at.realtime_ms {
                let why = "the machine was rebooted, and its clock was set back";
                ended.push((granted, why));
            } else {
                let off = now.realtime_ms.saturating_sub(at.realtime_ms);
                let left = granted.end.left(at).saturating_sub(off);
                granted.end = now.after(left);
                table.grants.push(granted);
            }
        }
        (table, ended)
    }
}

/// A grant as all releases have written it. Without its paths it covers no commit.
pub mod without_paths {
    use remit_common::admin::{Grantee, NewGrant};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    type OldParts<T, W, A> = (T, W, A, u32, Option<u32>, bool);

    pub fn serialize<S: Serializer>(new: &NewGrant, to: S) -> Result<S::Ok, S::Error> {
        let parts: OldParts<_, _, _> = (
            &new.to,
            &new.what,
            &new.args,
            new.for_s,
            new.uses,
            new.across_reboot,
        );
        parts.serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<NewGrant, D::Error> {
        let (to, what, args, for_s, uses, across_reboot): OldParts<
            Grantee,
            String,
            Vec<(String, String)>,
        > = OldParts::deserialize(from)?;
        Ok(NewGrant {
            to,
            what,
            args,
            for_s,
            uses,
            across_reboot,
            paths: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use remit_common::admin::{Grantee, NewGrant};

    use super::*;
    use crate::approval::grants::table::Giver;

    const AT: Moment = Moment {
        realtime_ms: 10_000_000,
        boot_ms: 500_000,
    };

    fn saved() -> Saved {
        let mut table = Table::empty(7);
        for across_reboot in [false, true] {
            let new = NewGrant {
                to: Grantee::User {
                    name: "agent".into(),
                    uid: 1000,
                },
                what: "web.*".into(),
                args: vec![("unit".into(), "nginx".into())],
                for_s: 60,
                uses: Some(3),
                across_reboot,
                paths: vec!["/etc/nginx".into()],
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

    fn store(name: &str) -> (PathBuf, GrantStore) {
        let state =
            std::env::temp_dir().join(format!("remit-grants-{name}-{}", std::process::id()));
        fs::create_dir_all(state.join("warden")).unwrap();
        let store = GrantStore::in_state(&state);
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
            let kept_as = damage.kept_as.unwrap();
            assert_eq!(fs::read(&kept_as).unwrap(), bytes, "{}", damage.what);
            assert_eq!(store.load().unwrap().unwrap(), None);
        }
        let kept = fs::read_dir(state.join("warden")).unwrap().count();
        assert!(kept <= 4, "{kept}");
        fs::create_dir(&path).unwrap();
        assert!(store.load().unwrap().is_err());
        fs::remove_dir_all(state).unwrap();
    }

    #[test]
    fn restart_in_same_boot_keeps_grant_ends() {
        let (table, ended) = saved().now("boot-1", AT.after(30_000));
        assert_eq!((table, ended), (saved().table, Vec::new()));
    }

    #[test]
    fn reboot_ends_grants_not_across_reboot() {
        let rebooted = |realtime_ms| Moment {
            realtime_ms,
            boot_ms: 40,
        };
        let after = |ms: u64| {
            rebooted(
                saved()
                    .at
                    .realtime_ms
                    .saturating_add_signed(i64::try_from(ms).unwrap()),
            )
        };
        let (table, ended) = saved().now("boot-2", after(20_000));
        assert_eq!(
            ended
                .iter()
                .map(|(granted, _)| granted.number)
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
        // 50 s were left when it was saved, and 20 s have passed.
        assert_eq!(table.grants[0].end, after(20_000).after(30_000));
        let (table, _) = saved().now("boot-2", after(50_000));
        assert!(!table.is_valid(8, after(50_000)));
        let behind = rebooted(saved().at.realtime_ms - 1);
        let (table, ended) = saved().now("boot-2", behind);
        assert_eq!((table.grants.len(), ended.len()), (0, 2));
    }

    #[test]
    fn clock_set_back_before_reboot_adds_no_time() {
        let mut saved = saved();
        // 10 s have passed, and the wall clock was set back by an hour.
        saved.at.realtime_ms -= 3_600_000;
        let now = Moment {
            realtime_ms: saved.at.realtime_ms,
            boot_ms: 40,
        };
        let (table, _) = saved.now("boot-2", now);
        assert_eq!(table.grants[0].end.left(now), 50_000);
    }
}
