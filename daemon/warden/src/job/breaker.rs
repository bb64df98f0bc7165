//! Pauses a user whose change fails again and again, or who is refused too often, until an administrator resumes them:
//! `[breaker]` of `remit.toml`. Root is never paused: it could do the same without remit.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use remit_common::refusal::{Code, Refusal};
use remit_common::wire::Effect;
use remit_settings::BreakerConfig;
use serde::{Deserialize, Serialize};

use crate::audit::rate_limit::RateWindow;
use crate::identity::peer::Subject;
use crate::state_dir::framed_file::Snapshot;

const MAGIC: &[u8; 16] = b"remit pauses v1\n";
/// Works without the daemon.
const SHOW_PAUSES: &str = "remit audit show --event paused --event resumed";
/// Bytes. One user takes less than 1 KiB.
const MOST: u64 = 16 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PauseScope {
    Changes,
    Everything,
}

impl PauseScope {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Changes => "changes",
            Self::Everything => "everything",
        }
    }

    fn includes(self, effect: Effect) -> bool {
        self == Self::Everything || effect == Effect::Change
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    pub uid: u32,
    pub user: String,
    /// The uid that they logged in with, if it was proven.
    pub login: Option<u32>,
    pub scope: PauseScope,
    pub why: String,
    /// Milliseconds since 1970.
    pub since_ms: u64,
}

impl Pause {
    pub fn line(&self) -> String {
        format!(
            "{} ({}): {}; remit resume {}",
            self.user,
            self.scope.name(),
            self.why,
            self.user
        )
    }

    fn refusal(&self) -> Refusal {
        let what = match self.scope {
            PauseScope::Changes => "your changes are paused",
            PauseScope::Everything => "you are paused",
        };
        let text = format!("{what} until an administrator lets you go on: {}", self.why);
        Refusal::new(Code::Locked, text)
            .object(self.user.clone())
            .by("[breaker] of remit.toml")
            .lift(format!("remit resume {}", self.user))
    }
}

#[derive(Debug)]
pub struct Breakers {
    bounds: BreakerConfig,
    /// How many times in a row a command failed, of each user.
    failed: BTreeMap<(u32, String), u32>,
    refusals: RateWindow,
    paused: BTreeMap<u32, Pause>,
    file: Snapshot,
    pub unannounced: Vec<Pause>,
}

impl Breakers {
    /// Reads who is paused. Fails if the file cannot be read: nobody may go on by damaging it.
    pub fn open(bounds: &BreakerConfig, state: &Path) -> Result<Self, String> {
        let file = Snapshot::new(state, "pauses", MAGIC, MOST);
        let damaged = |why: String| {
            format!(
                "cannot determine which users are paused: '{}': {why}; look at the pauses ({SHOW_PAUSES}), and move this \
                 file away: then none of them is",
                file.path.display()
            )
        };
        let paused: Vec<Pause> = match file.read().map_err(damaged)? {
            None => Vec::new(),
            Some(body) => {
                postcard::from_bytes(&body).map_err(|error| damaged(error.to_string()))?
            }
        };
        Ok(Self {
            refusals: RateWindow::new(
                usize::try_from(bounds.pause_refusals).unwrap_or(usize::MAX),
                Duration::from_secs(bounds.pause_within_s.into()),
            ),
            bounds: bounds.clone(),
            failed: BTreeMap::new(),
            paused: paused.into_iter().map(|pause| (pause.uid, pause)).collect(),
            file,
            unannounced: Vec::new(),
        })
    }

    pub fn save(&self) -> io::Result<()> {
        self.file.replace(&self.body()?, true)
    }

    fn body(&self) -> io::Result<Vec<u8>> {
        let all: Vec<&Pause> = self.paused.values().collect();
        postcard::to_extend(&all, Vec::new()).map_err(io::Error::other)
    }

    /// Fails if the user is paused for requests of this effect.
    pub fn check(&self, uid: u32, effect: Effect) -> Result<(), Refusal> {
        match self.paused.get(&uid) {
            Some(pause) if pause.scope.includes(effect) => Err(pause.refusal()),
            Some(_) | None => Ok(()),
        }
    }

    pub fn paused(&self) -> impl Iterator<Item = &Pause> {
        self.paused.values()
    }

    /// Finds a pause by the name that the account has now, or else by that of its beginning.
    pub fn of_user(&self, user: &str, now: impl Fn(u32) -> Option<String>) -> Option<&Pause> {
        let mut paused = self.paused.values();
        let by_uid = paused.find(|pause| now(pause.uid).is_some_and(|name| name == user));
        by_uid.or_else(|| self.paused.values().find(|pause| pause.user == user))
    }

    /// Counts the end of a change that ran, by its name in rules. Returns the pause that it leads to.
    pub fn on_change_ended(
        &mut self,
        (by, name): (&Subject, &str),
        is_well: bool,
        unix_ms: u64,
    ) -> Option<Pause> {
        let bound = self.bounds.failed_changes;
        let key = (by.uid(), name.to_owned());
        if is_well || bound == 0 {
            self.failed.remove(&key);
            return None;
        }
        let failed = self.failed.entry(key).or_default();
        *failed = failed.saturating_add(1);
        let failed = *failed;
        (failed >= bound).then_some(())?;
        let why = format!("'{name}' failed {failed} times in a row");
        self.pause(by, PauseScope::Changes, why, unix_ms)
    }

    /// Counts refusals of one code. Returns the pause that they lead to.
    pub fn on_refusals(
        &mut self,
        by: &Subject,
        (code, more): (Code, u32),
        (now, unix_ms): (Instant, u64),
    ) -> Option<Pause> {
        let (bound, within) = (self.bounds.pause_refusals, self.bounds.pause_within_s);
        if !code.is_of_request() || bound == 0 {
            return None;
        }
        self.refusals.note(by.uid(), more, now);
        let count = self.refusals.count(by.uid(), now);
        (count >= usize::try_from(bound).unwrap_or(usize::MAX)).then_some(())?;
        let why = format!("{bound} refusals within {within} s");
        self.pause(by, PauseScope::Everything, why, unix_ms)
    }

    fn pause(&mut self, by: &Subject, scope: PauseScope, why: String, at: u64) -> Option<Pause> {
        let is_paused = self
            .paused
            .get(&by.uid())
            .is_some_and(|pause| pause.scope >= scope);
        if by.uid() == 0 || is_paused {
            return None;
        }
        let pause = Pause {
            uid: by.uid(),
            user: by.user().to_owned(),
            login: by.loginuid(),
            scope,
            why,
            since_ms: at,
        };
        self.paused.insert(pause.uid, pause.clone());
        self.unannounced.push(pause.clone());
        Some(pause)
    }

    /// Ends a pause, and begins to count from zero. If this cannot be saved, the pause stays.
    pub fn resume(&mut self, uid: u32) -> io::Result<()> {
        let before = self.body()?;
        let Some(pause) = self.paused.remove(&uid) else {
            return Ok(());
        };
        let saved = self.body();
        let saved = saved.and_then(|body| self.file.replace_or_keep(&body, &before, true));
        if let Err(error) = saved {
            self.paused.insert(uid, pause);
            return Err(error);
        }
        self.failed.retain(|(of, _), _| *of != uid);
        self.refusals.forget(uid);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn bounds() -> BreakerConfig {
        BreakerConfig {
            failed_changes: 3,
            slow_refusals: 4,
            slow_within_s: 10,
            pause_refusals: 6,
            pause_within_s: 20,
        }
    }

    struct StateDir(PathBuf);

    impl StateDir {
        fn new(name: &str) -> Self {
            let name = format!("remit-breaker-{name}-{}", std::process::id());
            let dir = std::env::temp_dir().join(name);
            std::fs::create_dir_all(dir.join("warden")).unwrap();
            Self(dir)
        }

        fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for StateDir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn user(uid: u32) -> Subject {
        Subject::fake(uid, &format!("user{uid}"), Some(uid + 1000))
    }

    fn allowed(breakers: &Breakers, uid: u32) -> (bool, bool) {
        let may = |effect| breakers.check(uid, effect).is_ok();
        (may(Effect::Read), may(Effect::Change))
    }

    #[test]
    fn change_that_fails_in_a_row_pauses_changes_of_its_user() {
        let dir = StateDir::new("failed");
        let mut breakers = Breakers::open(&bounds(), dir.path()).unwrap();
        let ends = |breakers: &mut Breakers, uid, is_well| {
            let change = (&user(uid), "service.start");
            breakers.on_change_ended(change, is_well, 5).is_some()
        };
        for is_well in [false, false, true, false, false] {
            assert!(!ends(&mut breakers, 1, is_well));
        }
        assert_eq!(allowed(&breakers, 1), (true, true));
        assert!(!ends(&mut breakers, 2, false));
        let other = (&user(1), "service.stop");
        assert_eq!(breakers.on_change_ended(other, false, 5), None);
        assert!(ends(&mut breakers, 1, false));
        assert!(!ends(&mut breakers, 1, false), "it is paused already");
        assert_eq!(
            (allowed(&breakers, 1), allowed(&breakers, 2)),
            ((true, false), (true, true))
        );
        assert_eq!(breakers.unannounced.len(), 1);
        // A success of a job that had started before does not end the pause.
        assert!(!ends(&mut breakers, 1, true));
        assert_eq!(allowed(&breakers, 1), (true, false));
        breakers.save().unwrap();
        let mut breakers = Breakers::open(&BreakerConfig::default(), dir.path()).unwrap();
        assert_eq!(
            allowed(&breakers, 1),
            (true, false),
            "a restart ends no pause"
        );
        let pause = breakers.of_user("user1", |_| None).unwrap();
        assert_eq!((pause.login, pause.since_ms), (Some(1001), 5));
        breakers.resume(1).unwrap();
        assert_eq!(allowed(&breakers, 1), (true, true));
        let breakers = Breakers::open(&bounds(), dir.path()).unwrap();
        assert_eq!(breakers.paused().count(), 0);
    }

    #[test]
    fn pause_is_found_by_the_name_of_the_account_now_and_by_the_old_one() {
        let dir = StateDir::new("renamed");
        let mut breakers = Breakers::open(&bounds(), dir.path()).unwrap();
        for uid in [1, 2] {
            for _ in 0..3 {
                breakers.on_change_ended((&user(uid), "service.start"), false, 5);
            }
        }
        let unknown: &dyn Fn(u32) -> Option<String> = &|_| None;
        // User 1 is now called otherwise, and user 2 has its old name.
        let renamed: &dyn Fn(u32) -> Option<String> = &|uid| match uid {
            1 => Some("new".to_owned()),
            2 => Some("user1".to_owned()),
            _ => None,
        };
        for (name, now, expect) in [
            ("user1", unknown, Some(1)),
            ("user2", unknown, Some(2)),
            ("new", unknown, None),
            ("new", renamed, Some(1)),
            ("user1", renamed, Some(2)),
            ("user2", renamed, Some(2)),
            ("user3", renamed, None),
        ] {
            let found = breakers.of_user(name, now).map(|pause| pause.uid);
            assert_eq!(found, expect, "{name}");
        }
    }

    #[test]
    fn pause_with_an_unsaved_end_is_in_the_file() {
        let dir = StateDir::new("unsynced");
        let mut breakers = Breakers::open(&bounds(), dir.path()).unwrap();
        for _ in 0..3 {
            breakers.on_change_ended((&user(1), "service.start"), false, 5);
        }
        breakers.save().unwrap();
        breakers.file.sync_name = |_| Err(io::ErrorKind::Other.into());
        breakers.resume(1).unwrap_err();
        assert_eq!(allowed(&breakers, 1), (true, false));
        let breakers = Breakers::open(&bounds(), dir.path()).unwrap();
        assert_eq!(allowed(&breakers, 1), (true, false));
    }

    #[test]
    fn root_is_not_paused_and_zero_is_off() {
        let dir = StateDir::new("root");
        let off = BreakerConfig {
            failed_changes: 0,
            slow_refusals: 0,
            pause_refusals: 0,
            ..bounds()
        };
        let now = Instant::now();
        for (bounds, uid) in [(bounds(), 0), (off, 1)] {
            let mut breakers = Breakers::open(&bounds, dir.path()).unwrap();
            for _ in 0..50 {
                assert_eq!(breakers.on_change_ended((&user(uid), "x"), false, 5), None);
                assert_eq!(
                    breakers.on_refusals(&user(uid), (Code::NotFound, 9), (now, 5)),
                    None
                );
            }
            assert_eq!(allowed(&breakers, uid), (true, true));
        }
    }

    #[test]
    fn refusals_pause_their_user_only() {
        let dir = StateDir::new("refusals");
        let mut breakers = Breakers::open(&bounds(), dir.path()).unwrap();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut refuse = |code, seconds| {
            let pause = breakers.on_refusals(&user(1), (code, 1), (at(seconds), 5));
            pause.map(|pause| pause.scope)
        };
        for _ in 0..20 {
            assert_eq!(refuse(Code::Locked, 0), None, "not the user's doing");
        }
        assert_eq!(
            [0; 5].map(|second| refuse(Code::NotFound, second)),
            [None; 5]
        );
        assert_eq!(refuse(Code::DeniedRule, 21), None, "the others are too old");
        assert_eq!(
            [22; 4].map(|second| refuse(Code::DeniedRule, second)),
            [None; 4]
        );
        let everything = Some(PauseScope::Everything);
        assert_eq!(refuse(Code::DeniedRule, 40), everything);
        assert_eq!(refuse(Code::DeniedRule, 40), None, "it is paused already");
        assert_eq!(
            (allowed(&breakers, 1), allowed(&breakers, 2)),
            ((false, false), (true, true))
        );
        let refusal = breakers.check(1, Effect::Read).unwrap_err();
        assert_eq!(refusal.lift.as_deref(), Some("remit resume user1"));
        breakers.resume(1).unwrap();
        let (last, now) = (Code::DeniedRule, (at(41), 5));
        assert_eq!(
            breakers.on_refusals(&user(1), (last, 5), now),
            None,
            "it counts from zero"
        );
        assert_eq!(allowed(&breakers, 1), (true, true));
        // A count of several is as many of one.
        let pause = breakers.on_refusals(&user(2), (Code::InvalidArgs, 6), now);
        assert_eq!(pause.map(|pause| pause.scope), everything);
    }

    #[test]
    fn damaged_file_is_an_error() {
        let dir = StateDir::new("damaged");
        let path = dir.path().join("warden/pauses");
        std::fs::write(&path, b"remit pauses v1\nx").unwrap();
        let why = Breakers::open(&bounds(), dir.path()).unwrap_err();
        assert!(
            why.contains("pauses': it is cut short; look at the pauses (remit audit show"),
            "{why}"
        );
        std::fs::remove_file(&path).unwrap();
        assert!(Breakers::open(&bounds(), dir.path()).is_ok());
    }
}
