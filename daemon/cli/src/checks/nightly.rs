//! Checks the nightly look for paths: that its timer runs, when it last looked, and if a person has seen what it found.

use std::path::Path;

use remit_common::calendar;
use remit_common::refusal::Refusal;

use super::report::{Check, or_ok};
use super::service::Properties;
use crate::checks::file_facts::word;
use crate::commands::prove::looks::{self, Looks, NIGHTLY};
use crate::external_program::ProgramError;
use crate::render::units::{count, time};

const TIMER: &str = "remit-prove.timer";
const SERVICE: &str = "remit-prove.service";
const NAME: &str = "nightly look";
/// A machine that is off at night looks after its next start.
const OLD_MS: u64 = 3 * 24 * 60 * 60 * 1000;

/// Needs root.
pub fn checks() -> Vec<Check> {
    let units: Option<Result<Vec<Properties>, ProgramError>> = Properties::of(&[TIMER, SERVICE]);
    match units {
        None => vec![Check::skipped(NAME, "systemd does not run this machine")],
        Some(Err(error)) => vec![Check::skipped(NAME, error.to_string())],
        Some(Ok(units)) => {
            let [timer, service] = units.as_slice() else {
                return vec![Check::skipped(NAME, "systemctl did not answer")];
            };
            judge(
                timer,
                service,
                looks::read(Path::new(NIGHTLY)),
                calendar::now_ms(),
            )
        }
    }
}

fn judge(
    timer: &Properties,
    service: &Properties,
    looks: Result<Option<Looks>, Refusal>,
    now_ms: u64,
) -> Vec<Check> {
    let mut found: Vec<Check> = of_timer(timer).into_iter().collect();
    let is_on = found.is_empty();
    if service.get("ActiveState") == "failed" {
        let why = format!("the last one failed: '{}'", service.get("Result"));
        let fix = format!("journalctl -u {SERVICE} -n 20");
        found.push(Check::warning(NAME, why, fix));
    }
    let looks = match looks {
        Ok(Some(looks)) => looks,
        Ok(None) => return or_ok(found, NAME, "none yet"),
        Err(refusal) => {
            let fix = refusal.lift.unwrap_or_else(|| format!("ls -l {NIGHTLY}"));
            found.push(Check::warning(NAME, refusal.message, fix));
            return found;
        }
    };
    let at = time(looks.newest.at_ms / 1000);
    let shown = looks.shown.as_ref().map(|look| &look.seen);
    let new = looks.newest.seen.count_new(shown);
    if new > 0 {
        let paths = count(new, "path");
        let why = format!("that of {at} has {paths} which no person has seen");
        let fix = format!("remit prove --compare {}", word(Path::new(NIGHTLY)));
        found.push(Check::warning(NAME, why, fix));
    }
    if is_on && now_ms.saturating_sub(looks.newest.at_ms) > OLD_MS {
        let why = format!("the last one was at {at}");
        let fix = format!("systemctl start {SERVICE}; if it fails: journalctl -u {SERVICE} -n 20");
        found.push(Check::warning(NAME, why, fix));
    }
    or_ok(found, NAME, format!("{at}, no path that was not seen"))
}

fn of_timer(timer: &Properties) -> Option<Check> {
    let (load, enabled) = (timer.get("LoadState"), timer.get("UnitFileState"));
    let (why, fix) = match load {
        "masked" => (
            format!("unit '{TIMER}' is masked: new paths are not noticed"),
            format!("systemctl unmask {TIMER}; systemctl enable --now {TIMER}"),
        ),
        "loaded" if enabled != "enabled" => (
            format!("unit '{TIMER}' is '{enabled}': new paths are not noticed"),
            format!("systemctl enable --now {TIMER}"),
        ),
        "loaded" if timer.get("ActiveState") != "active" => (
            format!("unit '{TIMER}' is '{}'", timer.get("ActiveState")),
            format!("systemctl start {TIMER}"),
        ),
        "loaded" => return None,
        _ => (
            format!("unit '{TIMER}' is '{load}', not 'loaded'"),
            "install the package again".to_owned(),
        ),
    };
    Some(Check::warning(NAME, why, fix))
}

#[cfg(test)]
mod tests {
    use remit_common::refusal::Code;
    use remit_prove::compare::{SeenPath, SeenPaths};

    use super::super::report::whys;
    use super::*;
    use crate::commands::prove::looks::{KeptLook, LookQuestion};

    const DAY_MS: u64 = 24 * 60 * 60 * 1000;

    fn look(goal: Option<&str>, at_ms: u64) -> KeptLook {
        let path = goal.map(|goal| SeenPath {
            goal: goal.to_owned(),
            steps: Vec::new(),
        });
        let seen = SeenPaths {
            accounts: [("agent".to_owned(), path.into_iter().collect())].into(),
            ..SeenPaths::default()
        };
        KeptLook {
            at_ms,
            release: String::new(),
            seen,
        }
    }

    fn looks(newest: KeptLook, shown: Option<KeptLook>) -> Result<Option<Looks>, Refusal> {
        Ok(Some(Looks::new(
            LookQuestion::new(Path::new("/"), None),
            newest,
            shown,
        )))
    }

    #[test]
    fn nightly_look_is_judged() {
        const ON: &str = "LoadState=loaded\nUnitFileState=enabled\nActiveState=active";
        let said = |timer: &str, service: &str, looks| {
            let (timer, service) = (Properties::parse(timer), Properties::parse(service));
            whys(&judge(&timer, &service, looks, 10 * DAY_MS))
        };
        let fresh = 9 * DAY_MS + DAY_MS / 2;
        let none: [&str; 0] = [];
        assert_eq!(said(ON, "", Ok(None)), none);
        let seen = look(Some("root"), fresh);
        assert_eq!(said(ON, "", looks(seen.clone(), Some(seen.clone()))), none);
        assert_eq!(said(ON, "", looks(look(None, fresh), None)), none);
        let unseen = "warning: that of 1970-01-10 12:00:00 UTC has 1 path which no person has seen";
        let before = Some(look(None, 0));
        assert_eq!(said(ON, "", looks(seen.clone(), before)), [unseen]);
        assert_eq!(said(ON, "", looks(seen, None)), [unseen]);
        let old = looks(look(None, DAY_MS), None);
        let expect = "warning: the last one was at 1970-01-02 00:00:00 UTC";
        assert_eq!(said(ON, "", old), [expect]);
        let expect = "warning: the last one failed: 'exit-code'";
        let failed = "ActiveState=failed\nResult=exit-code";
        assert_eq!(said(ON, failed, Ok(None)), [expect]);
        let refusal = Refusal::new(Code::InvalidArgs, "damaged");
        assert_eq!(said(ON, "", Err(refusal)), ["warning: damaged"]);
        for (timer, expect) in [
            ("LoadState=masked", "is masked"),
            ("LoadState=not-found", "'not-found'"),
            (
                "LoadState=loaded\nUnitFileState=disabled",
                "'disabled': new paths",
            ),
            (
                "LoadState=loaded\nUnitFileState=enabled\nActiveState=inactive",
                "'inactive'",
            ),
        ] {
            // It does not look, so an old look is no second complaint.
            let found = said(timer, "", looks(look(None, 0), None));
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].contains(expect), "{found:?}");
        }
    }
}
