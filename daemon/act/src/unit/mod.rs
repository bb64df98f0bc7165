//! Runs verbs on units (org.freedesktop.systemd1(5)): checks effects, asks the service manager, waits for its job.

pub mod after;
pub mod describe;
pub mod effects;
mod executed;
mod install;
mod manager;
mod section;

use std::fmt;
use std::future::poll_fn;
use std::io::Read;
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use after::Changed;
use futures_core::Stream;
use manager::{Known, SYSTEMD, UNIT, WORD, named, search_path};
use remit_common::builtin::UnitName;
use remit_common::text;
use tokio::time::{sleep, timeout_at};
use zbus::{MatchRule, Message, MessageStream, OwnedObjectPath, message};

use crate::args::{Fault, UnitVerb};
use crate::bus::{Bus, said};

/// Maximum number of loaded units that are checked for changed files before a daemon-reload.
const LOADED: usize = 8192;
const NAMED: usize = 5;
/// The result of a job that is not seen to end.
const GOES_ON: &str = "it has not ended within nine minutes; the job goes on";

const SERVICE: &str = "org.freedesktop.systemd1.Service";
/// Pauses in which a service that has started can still fail, and the length of one. A service of `Type=simple` has
/// started before its program has read its configuration.
const LOOKS: u32 = 10;
const LOOK: Duration = Duration::from_millis(100);

type Change = (String, String, String);
type Listed = (
    String,
    String,
    String,
    String,
    String,
    String,
    OwnedObjectPath,
    u32,
    String,
    OwnedObjectPath,
);

pub async fn act(verb: UnitVerb, name: &UnitName) -> Result<(), Fault> {
    act_on(&Bus::system().await?, verb, name.as_str()).await
}

async fn act_on(bus: &Bus, verb: UnitVerb, name: &str) -> Result<(), Fault> {
    let unit = named(bus, name).await?;
    let also = match verb {
        UnitVerb::Enable | UnitVerb::Disable => {
            let search = search_path(bus).await?;
            let links = install::linked(bus, verb, &unit, &search).await?;
            if verb == UnitVerb::Enable {
                links.also
            } else {
                describe::removed(&unit.id, &links, &Changed::default(), &search)?;
                Vec::new()
            }
        }
        _ => Vec::new(),
    };
    effects::compute(bus, verb, &unit, &also).await?;
    match verb {
        UnitVerb::Enable => link(bus, "EnableUnitFiles", &unit).await,
        UnitVerb::Disable => link(bus, "DisableUnitFiles", &unit).await,
        UnitVerb::Start => job(bus, "StartUnit", &unit).await,
        UnitVerb::Stop => job(bus, "StopUnit", &unit).await,
        UnitVerb::Restart => job(bus, "RestartUnit", &unit).await,
        UnitVerb::Reload => job(bus, "ReloadUnit", &unit).await,
    }
}

async fn job(bus: &Bus, method: &str, unit: &Known) -> Result<(), Fault> {
    // Subscribe before the call: the job can end before its reply is read.
    bus.call::<_, ()>(&SYSTEMD, "Subscribe", &()).await?;
    let manager = bus.owner(&SYSTEMD).await?;
    // A unit that does not run and that nobody refers to is forgotten, with what its last start was.
    bus.call::<_, ()>(&SYSTEMD, "RefUnit", &unit.id.as_str())
        .await?;
    let mut removed = jobs_removed(bus).await?;
    let before = state(bus, unit).await?;
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let asked: OwnedObjectPath = bus
        .call(&SYSTEMD, method, &(unit.id.as_str(), "replace"))
        .await?;
    let ended = timeout_at(bus.end_of_jobs(), ended(&mut removed, &manager, &asked)).await;
    let result = ended.unwrap_or_else(|_| Ok(GOES_ON.to_owned()))?;
    let after = match (method, result.as_str()) {
        ("StartUnit" | "RestartUnit", "done") => {
            settled(async || state(bus, unit).await, async || sleep(LOOK).await).await?
        }
        _ => state(bus, unit).await?,
    };
    println!("{method} {}: {result}", unit.id);
    println!("before: {before}");
    println!("after:  {after}");
    show_journal(&unit.id, since);
    judged(method, &result, &unit.id, &after).map_err(Fault::Failed)
}

/// Fails also if the manager calls a job done whose unit does not run: it does so if a condition skips the start, and
/// a restart has stopped the unit by then.
fn judged(method: &str, result: &str, unit: &str, after: &SeenUnit) -> Result<(), String> {
    match (method, result) {
        // A program that ends with an error at its signal leaves its unit in the state `failed`, and stopped.
        ("StopUnit", "done") => Ok(()),
        (_, "done") if after.has_failed() => Err(format!("'{unit}' failed right after it")),
        ("StartUnit" | "RestartUnit", "done") if after.is_skipped() => Err(format!(
            "'{unit}' does not run: a condition of its unit is not met"
        )),
        (_, "done") => Ok(()),
        (_, other) => Err(format!("{method} of '{unit}': {other}")),
    }
}

async fn jobs_removed(bus: &Bus) -> Result<MessageStream, Fault> {
    let failed = |error| Fault::Failed(format!("cannot wait for a job: {}", said(&error)));
    let rule = MatchRule::builder()
        .msg_type(message::Type::Signal)
        .sender(SYSTEMD.name)
        .path(SYSTEMD.path)
        .interface(SYSTEMD.manager)
        .member("JobRemoved")
        .build()
        .map_err(failed)?;
    MessageStream::for_match_rule(rule, &bus.connection, None)
        .await
        .map_err(failed)
}

/// Waits for the result of a job. Any process can send a signal, so only the manager's own connection counts.
async fn ended(
    removed: &mut MessageStream,
    manager: &str,
    job: &OwnedObjectPath,
) -> Result<String, Fault> {
    while let Some(signal) = poll_fn(|context| Pin::new(&mut *removed).poll_next(context)).await {
        let signal: Message = signal.map_err(|error| Fault::Failed(said(&error)))?;
        if signal.header().sender().map(|sender| sender.as_str()) != Some(manager) {
            continue;
        }
        let body = signal.body();
        let reported: Result<(u32, OwnedObjectPath, String, String), _> = body.deserialize();
        match reported {
            Ok((_, ended, _, result)) if ended == *job => return Ok(result),
            Ok(_) => {}
            Err(error) => return Err(Fault::Failed(said(&error))),
        }
    }
    Err(Fault::Failed("the system bus has ended".into()))
}

/// What the manager says of a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct SeenUnit {
    active: String,
    sub: String,
    /// Of a service; 0 if there is none.
    main_process: u32,
    /// Why a service ended; `success` while it runs.
    result: Option<String>,
    /// The conditions of the unit were not met when it was to start last.
    is_unmet: bool,
}

impl SeenUnit {
    fn runs(&self) -> bool {
        self.active == "active" && self.main_process != 0
    }

    /// Also if the manager is about to start it again.
    fn has_failed(&self) -> bool {
        let is_between = matches!(self.active.as_str(), "activating" | "deactivating");
        self.active == "failed" || (is_between && self.error().is_some())
    }

    /// By a condition of the unit, or by `ExecCondition=` of the service, which is a result.
    fn is_skipped(&self) -> bool {
        self.active == "inactive" && (self.is_unmet || self.error().is_some())
    }

    fn error(&self) -> Option<&str> {
        self.result.as_deref().filter(|result| *result != "success")
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

/// Returns the state in which a started unit does not run any more, or the one after [`LOOKS`] pauses.
async fn settled(
    mut state: impl AsyncFnMut() -> Result<SeenUnit, Fault>,
    mut pause: impl AsyncFnMut(),
) -> Result<SeenUnit, Fault> {
    let mut now = state().await?;
    for _ in 0..LOOKS {
        if !now.runs() {
            break;
        }
        pause().await;
        now = state().await?;
    }
    Ok(now)
}

async fn state(bus: &Bus, unit: &Known) -> Result<SeenUnit, Fault> {
    let mut state = SeenUnit {
        active: word(bus, unit, UNIT, "ActiveState").await?,
        sub: word(bus, unit, UNIT, "SubState").await?,
        // Of a unit that was never to start the result is false, too.
        is_unmet: bus
            .get::<u64>(&SYSTEMD, &unit.object, UNIT, "ConditionTimestamp")
            .await?
            != 0
            && !bus
                .get::<bool>(&SYSTEMD, &unit.object, UNIT, "ConditionResult")
                .await?,
        ..SeenUnit::default()
    };
    if unit.id.ends_with(".service") {
        let pid = bus.get(&SYSTEMD, &unit.object, SERVICE, "MainPID");
        state.main_process = pid.await?;
        state.result = Some(word(bus, unit, SERVICE, "Result").await?);
    }
    Ok(state)
}

async fn word(bus: &Bus, unit: &Known, interface: &str, property: &str) -> Result<String, Fault> {
    let word: String = bus.get(&SYSTEMD, &unit.object, interface, property).await?;
    Ok(text::line(word.as_bytes(), WORD))
}

/// Has the service manager read the files of all units again, and run its generators.
pub async fn reload_all() -> Result<(), Fault> {
    let bus = Bus::system().await?;
    let changed = changed(&bus).await?.len();
    bus.call::<_, ()>(&SYSTEMD, "Reload", &()).await?;
    println!("the files of all units were read again; of {changed} loaded units they had changed");
    Ok(())
}

/// Returns the loaded units whose files have changed since they were read.
async fn changed(bus: &Bus) -> Result<Vec<String>, Fault> {
    let all: Vec<Listed> = bus.call(&SYSTEMD, "ListUnits", &()).await?;
    if all.len() > LOADED {
        return Err(Fault::Refused(format!(
            "more than {LOADED} units are loaded"
        )));
    }
    let mut changed = Vec::new();
    for (name, .., object, _, _, _) in all {
        if bus
            .get(&SYSTEMD, object.as_str(), UNIT, "NeedDaemonReload")
            .await?
        {
            changed.push(text::line(name.as_bytes(), WORD));
        }
    }
    Ok(changed)
}

/// Refuses a daemon-reload if files of any loaded unit changed: a verb about another unit would bring them into force.
async fn refuse_pending_reload(bus: &Bus) -> Result<(), Fault> {
    let mut changed = changed(bus).await?;
    let more = changed.len().saturating_sub(NAMED);
    changed.truncate(NAMED);
    match (changed.is_empty(), more) {
        (true, _) => Ok(()),
        (false, more) => Err(Fault::Refused(format!(
            "files of other units were changed and not read again yet, and this would bring them into force: {}{}; an \
             administrator runs systemctl daemon-reload first",
            changed.join(" "),
            match more {
                0 => String::new(),
                more => format!(" and {more} more"),
            }
        ))),
    }
}

async fn link(bus: &Bus, method: &str, unit: &Known) -> Result<(), Fault> {
    refuse_pending_reload(bus).await?;
    let id = unit.id.as_str();
    let files = [id];
    let changes: Vec<Change> = match method {
        // `false` (force): existing links of other units are not replaced.
        "EnableUnitFiles" => {
            let body = (files.as_slice(), false, false);
            let (carries, changes): (bool, Vec<Change>) = bus.call(&SYSTEMD, method, &body).await?;
            if !carries {
                println!("'{id}' has no [Install] section: nothing starts it at boot by that");
            }
            changes
        }
        _ => {
            bus.call(&SYSTEMD, method, &(files.as_slice(), false))
                .await?
        }
    };
    bus.call::<_, ()>(&SYSTEMD, "Reload", &()).await?;
    println!("{method} {id}: {} changed", changes.len());
    for (what, link, to) in changes {
        let line = match to.is_empty() {
            true => format!("{what} {link}"),
            false => format!("{what} {link} -> {to}"),
        };
        println!("{}", text::line(line.as_bytes(), 4 * WORD));
    }
    Ok(())
}

const JOURNALCTL: &str = "/usr/bin/journalctl";
const LINES: &str = "--lines=10";
// Bytes read in all, and bytes shown of one line.
const MOST: u64 = 64 << 10;
const LINE: usize = 1000;

/// Prints the last journal lines of a unit since a time, by one journalctl. An unreadable journal is no failure.
fn show_journal(unit: &str, since: Duration) {
    match last_lines(unit, since) {
        Ok(said) if said.trim_ascii().is_empty() => println!("It has written nothing since."),
        Ok(said) => {
            println!("Its last lines since:");
            for line in said.trim_ascii_end().split(|byte| *byte == b'\n') {
                println!("  {}", text::line(line, LINE));
            }
        }
        Err(error) => println!("Its lines cannot be shown: '{JOURNALCTL}': {error}"),
    }
}

fn last_lines(unit: &str, since: Duration) -> std::io::Result<Vec<u8>> {
    let mut child = Command::new(JOURNALCTL)
        .env_clear()
        .env("TZ", "UTC")
        .args(["--quiet", "--no-pager", "--output=short-iso", LINES])
        .arg(format!(
            "--since=@{}.{:06}",
            since.as_secs(),
            since.subsec_micros()
        ))
        .arg(format!("--unit={unit}"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut said = Vec::new();
    if let Some(out) = child.stdout.take() {
        out.take(MOST).read_to_end(&mut said)?;
    }
    child.wait()?;
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::run;

    fn seen(active: &str, sub: &str, main_process: u32, result: &str) -> SeenUnit {
        SeenUnit {
            active: active.to_owned(),
            sub: sub.to_owned(),
            main_process,
            result: Some(result.to_owned()),
            is_unmet: false,
        }
    }

    /// Returns the last state and the number of pauses before it. The last of `states` stays.
    fn last(states: &[SeenUnit]) -> (SeenUnit, u32) {
        let (mut looks, mut pauses, mut last) = (0, 0, SeenUnit::default());
        run(async {
            let state = async || {
                let at = looks.min(states.len() - 1);
                looks += 1;
                Ok(states[at].clone())
            };
            last = settled(state, async || pauses += 1).await?;
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
        ] {
            let (state, paused) = last(&[runs.clone(), runs.clone(), next]);
            assert_eq!(
                (state.has_failed(), paused),
                (has_failed, pauses),
                "{state}"
            );
            assert_eq!(state.to_string(), shown);
        }
    }

    #[test]
    fn job_is_judged_by_its_result_and_by_the_unit_after_it() {
        let unmet = |active: &str, sub: &str| SeenUnit {
            is_unmet: true,
            ..seen(active, sub, 0, "success")
        };
        let dead = seen("inactive", "dead", 0, "success");
        let skipped = Some("'a.service' does not run: a condition of its unit is not met");
        for (method, result, after, expect) in [
            ("StartUnit", "done", unmet("inactive", "dead"), skipped),
            ("RestartUnit", "done", unmet("inactive", "dead"), skipped),
            (
                "RestartUnit",
                "done",
                seen("inactive", "dead", 0, "exec-condition"),
                skipped,
            ),
            // A service of `Type=oneshot` has done its work.
            ("StartUnit", "done", dead.clone(), None),
            (
                "StartUnit",
                "done",
                seen("active", "running", 7, "success"),
                None,
            ),
            ("StopUnit", "done", unmet("inactive", "dead"), None),
            ("StopUnit", "done", dead.clone(), None),
            (
                "StopUnit",
                "done",
                seen("failed", "failed", 0, "exit-code"),
                None,
            ),
            (
                "StopUnit",
                "timeout",
                seen("failed", "failed", 0, "timeout"),
                Some("StopUnit of 'a.service': timeout"),
            ),
            (
                "ReloadUnit",
                "done",
                seen("failed", "failed", 0, "exit-code"),
                Some("'a.service' failed right after it"),
            ),
            (
                "RestartUnit",
                "done",
                seen("activating", "auto-restart", 0, "exit-code"),
                Some("'a.service' failed right after it"),
            ),
            (
                "StartUnit",
                "skipped",
                unmet("inactive", "dead"),
                Some("StartUnit of 'a.service': skipped"),
            ),
            (
                "StartUnit",
                "done",
                seen("failed", "failed", 0, "exit-code"),
                Some("'a.service' failed right after it"),
            ),
        ] {
            let found = judged(method, result, "a.service", &after).err();
            assert_eq!(found.as_deref(), expect, "{method} {result} {after:?}");
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
            assert_eq!(last(std::slice::from_ref(&state)), (state, 0));
        }
    }
}
