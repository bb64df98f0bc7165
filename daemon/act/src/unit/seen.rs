//! Reads the state of units, and looks until it stays as it is.

use std::fmt;
use std::time::Duration;

use remit_common::text;
use zbus::Variant;

use super::manager::{InterfaceProperties, Known, SYSTEMD, WORD};
use crate::args::Fault;
use crate::bus::Bus;

/// Pauses in which a program that has started can still fail, and the length of one. A service of `Type=simple` has
/// started before its program has read its configuration.
pub const LOOKS: u32 = 10;
pub const LOOK: Duration = Duration::from_millis(100);

/// What the manager says of a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenUnit {
    pub active: String,
    pub sub: String,
    /// Of a service; 0 if there is none.
    pub main_process: u32,
    /// Why a service ended; `success` while it runs.
    pub result: Option<String>,
    /// Of the last reload of a service.
    pub reload_result: Option<String>,
    /// The conditions of the unit were not met when it was to start last.
    pub is_unmet: bool,
    /// The manager has not ended a job of it yet.
    pub has_job: bool,
    /// Of the last time that the manager started it.
    pub invocation: Vec<u8>,
}

impl SeenUnit {
    /// Returns true if it can still become another state by what was asked.
    fn goes_on(&self) -> bool {
        let is_between = matches!(
            self.active.as_str(),
            "activating" | "deactivating" | "reloading" | "refreshing"
        );
        let runs = self.active == "active" && (self.main_process != 0 || self.error().is_some());
        !self.restarts() && (self.has_job || runs || (is_between && self.error().is_none()))
    }

    /// Returns true between the end of its program and its next start by the manager.
    pub fn restarts(&self) -> bool {
        self.sub.starts_with("auto-restart")
    }

    /// Also if the manager is about to start it again.
    pub fn has_failed(&self) -> bool {
        let is_between = matches!(self.active.as_str(), "activating" | "deactivating");
        let has_lost_program = self.active == "active" && self.main_process == 0;
        self.active == "failed" || ((is_between || has_lost_program) && self.error().is_some())
    }

    /// By a condition of the unit, or by `ExecCondition=` of the service, which is a result.
    pub fn is_skipped(&self) -> bool {
        self.active == "inactive" && (self.is_unmet || self.error().is_some())
    }

    /// Returns true for what a reload leaves of a unit.
    pub fn is_active(&self) -> bool {
        matches!(self.active.as_str(), "active" | "reloading" | "refreshing")
    }

    /// Returns true if it has neither started nor failed yet.
    pub fn is_unfinished(&self) -> bool {
        self.goes_on() && (self.has_job || self.active != "active")
    }

    fn error(&self) -> Option<&str> {
        self.result.as_deref().filter(|result| *result != "success")
    }

    pub fn reload_error(&self) -> Option<&str> {
        let result = self.reload_result.as_deref();
        result.filter(|result| *result != "success")
    }

    /// `None`: a property is missing, or is of another type.
    fn read(mut all: InterfaceProperties) -> Option<Self> {
        let word = |word: String| text::line(word.as_bytes(), WORD);
        let mut seen = Self {
            active: word(all.take("ActiveState")?),
            sub: word(all.take("SubState")?),
            // Of a unit that was never to start the result is false, too.
            is_unmet: all.take::<u64>("ConditionTimestamp")? != 0
                && !all.take::<bool>("ConditionResult")?,
            has_job: match &**all.0.get("Job")? {
                Variant::Structure(job) => !matches!(job.fields(), [Variant::U32(0), _]),
                _ => return None,
            },
            invocation: all.take("InvocationID").unwrap_or_default(),
            ..Self::default()
        };
        // A mount has a result, too.
        if let Some(process) = all.take("MainPID") {
            seen.main_process = process;
            seen.result = Some(word(all.take("Result")?));
            seen.reload_result = all.take("ReloadResult").map(word);
        }
        Some(seen)
    }
}

impl fmt::Display for SeenUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.active, self.sub)?;
        match (self.main_process, self.error()) {
            (0, Some(error)) => write!(f, ", result {error}"),
            (0, None) => Ok(()),
            (pid, _) => write!(f, ", main process {pid}"),
        }
    }
}

/// Looks at units, and again at those that can still change, with at most `pauses`. A unit that has failed once
/// stays so, also if it is started again.
pub async fn settled<T>(
    units: &[T],
    pauses: u32,
    mut look: impl AsyncFnMut(&T) -> Result<SeenUnit, Fault>,
    mut pause: impl AsyncFnMut(),
) -> Result<Vec<SeenUnit>, Fault> {
    let mut all = Vec::new();
    for unit in units {
        all.push(look(unit).await?);
    }
    for _ in 0..pauses {
        if !all.iter().any(SeenUnit::goes_on) {
            break;
        }
        pause().await;
        for (unit, seen) in units.iter().zip(&mut all) {
            if seen.goes_on() {
                *seen = look(unit).await?;
            }
        }
    }
    Ok(all)
}

/// Reads all interfaces by one call: between two calls the program of the unit can end.
pub async fn state(bus: &Bus, unit: &Known) -> Result<SeenUnit, Fault> {
    let all = bus.get_all(&SYSTEMD, &unit.object, "").await?;
    SeenUnit::read(InterfaceProperties(all)).ok_or_else(|| {
        let id = text::line(unit.id.as_bytes(), WORD);
        Fault::Failed(format!(
            "the service manager does not say the state of '{id}'"
        ))
    })
}

#[cfg(test)]
pub mod tests {
    use std::cell::Cell;
    use std::collections::HashMap;

    use super::*;
    use crate::bus::run;
    use zbus::{OwnedObjectPath, OwnedVariant};

    pub fn seen(active: &str, sub: &str, main_process: u32, result: &str) -> SeenUnit {
        SeenUnit {
            active: active.to_owned(),
            sub: sub.to_owned(),
            main_process,
            result: Some(result.to_owned()),
            ..SeenUnit::default()
        }
    }

    /// Returns the last state of each unit and the number of pauses before it. The last of its states stays.
    fn last(units: &[&[SeenUnit]]) -> (Vec<SeenUnit>, u32) {
        let (mut pauses, mut last) = (0, Vec::new());
        let units: Vec<_> = units.iter().map(|states| (Cell::new(0), states)).collect();
        run(async {
            let look = async |(looks, states): &(Cell<usize>, &&[SeenUnit])| {
                let next = looks.replace(looks.get() + 1).min(states.len() - 1);
                Ok(states[next].clone())
            };
            last = settled(&units, LOOKS, look, async || pauses += 1).await?;
            Ok(())
        })
        .unwrap();
        (last, pauses)
    }

    #[test]
    fn service_that_fails_just_after_its_start_is_reported_so() {
        let runs = seen("active", "running", 5271, "success");
        for (next, pauses, has_failed, shown) in [
            (
                runs.clone(),
                LOOKS,
                false,
                "active (running), main process 5271",
            ),
            (
                seen("failed", "failed", 0, "exit-code"),
                2,
                true,
                "failed (failed), result exit-code",
            ),
            (
                seen("activating", "auto-restart", 0, "exit-code"),
                2,
                true,
                "activating (auto-restart), result exit-code",
            ),
            (
                seen("activating", "auto-restart", 0, "success"),
                2,
                false,
                "activating (auto-restart)",
            ),
            (
                seen("inactive", "dead", 0, "success"),
                2,
                false,
                "inactive (dead)",
            ),
            // Its program has ended, and the manager has not said yet what follows.
            (
                seen("active", "running", 0, "exit-code"),
                LOOKS,
                true,
                "active (running), result exit-code",
            ),
        ] {
            let (all, paused) = last(&[&[runs.clone(), runs.clone(), next]]);
            assert_eq!(
                (all[0].has_failed(), paused),
                (has_failed, pauses),
                "{}",
                all[0]
            );
            assert_eq!(all[0].to_string(), shown);
        }
    }

    #[test]
    fn unit_without_a_process_is_settled_at_once() {
        for state in [
            seen("active", "exited", 0, "success"),
            SeenUnit {
                result: None,
                ..seen("active", "waiting", 0, "")
            },
        ] {
            assert!(!state.has_failed());
            assert_eq!(last(&[std::slice::from_ref(&state)]), (vec![state], 0));
        }
    }

    #[test]
    fn units_that_change_with_another_are_looked_at_until_they_stay() {
        let exited = seen("active", "exited", 0, "success");
        let (runs, starts) = (
            seen("active", "running", 7, "success"),
            seen("activating", "start", 0, "success"),
        );
        let failed = seen("failed", "failed", 0, "protocol");
        let queued = SeenUnit {
            has_job: true,
            ..seen("inactive", "dead", 0, "success")
        };
        let one = std::slice::from_ref(&exited);
        for (other, expect, pauses) in [
            (&[starts.clone(), failed.clone()][..], &failed, 1),
            (&[queued, starts.clone(), failed.clone()], &failed, 2),
            // It is started again.
            (&[runs.clone(), failed.clone(), runs.clone()], &failed, 1),
            (std::slice::from_ref(&starts), &starts, LOOKS),
        ] {
            let expect = (vec![exited.clone(), expect.clone()], pauses);
            assert_eq!(last(&[one, other]), expect);
        }
        assert!(starts.is_unfinished() && !runs.is_unfinished() && !failed.is_unfinished());
    }

    #[test]
    fn state_is_of_one_answer() {
        let job = |id: u32| {
            let path = OwnedObjectPath::try_from("/a").unwrap();
            OwnedVariant::try_from(Variant::from((id, path))).unwrap()
        };
        let word = |word: &str| OwnedVariant::try_from(Variant::from(word)).unwrap();
        let all = |own: Vec<(&'static str, OwnedVariant)>| {
            let unit = [
                ("ActiveState", word("active")),
                ("SubState", word("running")),
                (
                    "ConditionTimestamp",
                    Variant::from(7_u64).try_into().unwrap(),
                ),
                ("ConditionResult", Variant::from(false).try_into().unwrap()),
                ("Job", job(0)),
                (
                    "InvocationID",
                    Variant::from(vec![3_u8; 2]).try_into().unwrap(),
                ),
            ];
            let all = unit.into_iter().chain(own);
            let all: HashMap<_, _> = all.map(|(name, value)| (name.to_owned(), value)).collect();
            SeenUnit::read(InterfaceProperties(all))
        };
        let process = || ("MainPID", Variant::from(7_u32).try_into().unwrap());
        let unit = SeenUnit {
            is_unmet: true,
            result: None,
            invocation: vec![3; 2],
            ..seen("active", "running", 0, "")
        };
        assert_eq!(all(vec![("Result", word("timeout"))]), Some(unit.clone()));
        let queued = SeenUnit {
            has_job: true,
            ..unit.clone()
        };
        assert_eq!(all(vec![("Job", job(3))]), Some(queued));
        let service = SeenUnit {
            main_process: 7,
            result: Some("success".to_owned()),
            reload_result: Some("exit-code".to_owned()),
            ..unit
        };
        let own = || vec![process(), ("Result", word("success"))];
        let mut with_reload = own();
        with_reload.push(("ReloadResult", word("exit-code")));
        assert_eq!(all(with_reload), Some(service.clone()));
        assert_eq!(service.reload_error(), Some("exit-code"));
        let mut odd = own();
        odd.push(("Job", word("none")));
        for one in [odd, vec![process()]] {
            assert_eq!(all(one), None);
        }
    }
}
