//! Asks the service manager for a job, follows it to its end, and judges the states of the units after it.

use std::future::poll_fn;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_core::Stream;
use tokio::time::{sleep, timeout_at};
use zbus::{MatchRule, Message, MessageStream, OwnedObjectPath, message};

use super::effects::Act;
use super::journal::show_journal;
use super::manager::{Known, SYSTEMD};
use super::seen::{LOOK, LOOKS, SeenUnit, settled, state};
use crate::args::Fault;
use crate::bus::{Bus, said};

/// The result of a job that is not seen to end.
const GOES_ON: &str = "it has not ended within nine minutes; the job goes on";
/// The same if the unit has no job by then.
const UNSEEN: &str = "its result was not seen within nine minutes; the job has ended";
/// Signals that are kept until they are read. Of one more, zbus reads no reply until another is read.
const QUEUE: usize = 1 << 14;
/// Other units of which lines of the journal are shown.
const NAMED: usize = 5;

/// `others`: the units that the job starts, restarts or reloads with its own.
pub async fn job(
    bus: &Bus,
    method: &str,
    unit: &Known,
    others: &[(&Known, Act)],
) -> Result<(), Fault> {
    let units: Vec<&Known> = [unit]
        .into_iter()
        .chain(others.iter().map(|(known, _)| *known))
        .collect();
    for known in &units {
        // A unit that does not run and that nobody refers to is forgotten, with what its last start was.
        let id = known.id.as_str();
        match bus.call::<_, ()>(&SYSTEMD, "RefUnit", &id).await {
            // The manager keeps none that is masked or has no file, but can stop or reload one with another.
            Err(_) if known.load != "loaded" => {}
            other => other?,
        }
    }
    let before = state(bus, unit).await?;
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let result = asked(bus, method, &unit.id).await?;
    let pauses = match (method, result.as_deref()) {
        ("StopUnit", _) => 0,
        (_, Some("done")) => LOOKS,
        _ => 0,
    };
    let look = async |known: &&Known| state(bus, known).await;
    let all = settled(&units, pauses, look, async || sleep(LOOK).await).await?;
    let mut all = all.into_iter();
    let after = all.next().unwrap_or_default();
    let result = result.unwrap_or_else(|| unseen(&after).to_owned());
    println!("{method} {}: {result}", unit.id);
    println!("before: {before}");
    println!("after:  {after}");
    show_journal(&unit.id, since);
    let mut failed = Vec::new();
    for ((known, act), after) in others.iter().zip(all) {
        let id = known.id.as_str();
        if after.is_unfinished() {
            println!("With it, '{id}' has not ended its job: it is {after}");
        } else if let Err(why) = judged_with(known, *act, &after) {
            println!("With it, {why}: it is {after}");
            if !decides(unit, known, *act) {
                continue;
            }
            if failed.len() < NAMED {
                show_journal(id, since);
            }
            failed.push(why);
        }
    }
    judged(method, &result, unit, &after)
        .and_then(|()| match failed.is_empty() {
            true => Ok(()),
            false => Err(format!("with '{}', {}", unit.id, failed.join("; "))),
        })
        .map_err(Fault::Failed)
}

/// Fails also if the manager calls a job done whose unit does not run: it does so if a condition skips the start, and
/// a restart has stopped the unit by then; or if the program ends at the signal of its reload.
fn judged(method: &str, result: &str, known: &Known, after: &SeenUnit) -> Result<(), String> {
    let unit = &known.id;
    match (method, result) {
        // First: whether the manager has started it again by the last look is chance.
        ("ReloadUnit", "done") if after.restarts() || after.invocation != known.invocation => Err(
            format!("'{unit}' is started again by the service manager: its reload ended it"),
        ),
        // A program that ends with an error at its signal leaves its unit in the state `failed`, and stopped.
        ("StopUnit", "done") => Ok(()),
        (_, "done") if after.has_failed() => Err(format!("'{unit}' failed right after it")),
        ("StartUnit" | "RestartUnit", "done") if after.is_skipped() => Err(format!(
            "'{unit}' does not run: a condition of its unit is not met"
        )),
        ("ReloadUnit", "done") if !after.is_active() => Err(format!(
            "'{unit}' does not run any more: its reload ended it"
        )),
        (_, "done") => Ok(()),
        (_, other) => Err(format!("{method} of '{unit}': {other}")),
    }
}

/// Judges another unit as [`judged`] does. Its job has no result here, and a condition may skip what only starts with it.
fn judged_with(known: &Known, act: Act, after: &SeenUnit) -> Result<(), String> {
    let id = &known.id;
    let method = match act {
        Act::Restart if known.is_up() => "RestartUnit",
        Act::Reload => "ReloadUnit",
        _ if after.is_unmet || after.is_skipped() => return Ok(()),
        _ => "StartUnit",
    };
    judged(method, "done", known, after)?;
    match after.reload_error() {
        Some(error) if act == Act::Reload => {
            Err(format!("the reload of '{id}' failed, result {error}"))
        }
        _ if known.active == "active" && after.active == "inactive" => {
            Err(format!("'{id}' ran before and does not run any more"))
        }
        _ => Ok(()),
    }
}

/// Returns true if the verb fails with another unit. One that is only to start with it (`Wants=`) may be broken for long.
fn decides(unit: &Known, other: &Known, act: Act) -> bool {
    let mut restarted = unit.restarted_by_restart.iter();
    act != Act::Start || other.active == "active" || restarted.any(|name| other.is_named(name))
}

/// Returns the result of the job, or `None` if its end is not seen in time. The stream ends with it: the signals of later
/// jobs would fill its queue.
async fn asked(bus: &Bus, method: &str, id: &str) -> Result<Option<String>, Fault> {
    // Subscribe before the call: the job can end before its reply is read.
    bus.call::<_, ()>(&SYSTEMD, "Subscribe", &()).await?;
    let manager = bus.owner(&SYSTEMD).await?;
    let mut removed = jobs_removed(bus).await?;
    let job: OwnedObjectPath = bus.call(&SYSTEMD, method, &(id, "replace")).await?;
    let ended = timeout_at(bus.end_of_jobs(), ended(bus, &mut removed, &manager, &job)).await;
    ended.ok().transpose()
}

fn unseen(after: &SeenUnit) -> &'static str {
    match after.has_job {
        true => GOES_ON,
        false => UNSEEN,
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
    MessageStream::for_match_rule(rule, &bus.connection, NonZeroUsize::new(QUEUE))
        .await
        .map_err(failed)
}

/// Waits for the result of a job. Any process can send a signal, so only those of the manager count.
async fn ended(
    bus: &Bus,
    removed: &mut MessageStream,
    manager: &str,
    job: &OwnedObjectPath,
) -> Result<String, Fault> {
    while let Some(signal) = poll_fn(|context| Pin::new(&mut *removed).poll_next(context)).await {
        let signal: Message = signal.map_err(|error| Fault::Failed(said(&error)))?;
        let header = signal.header();
        let sender = header.sender().map_or("", |sender| sender.as_str());
        let body = signal.body();
        let reported: Result<(u32, OwnedObjectPath, String, String), _> = body.deserialize();
        match reported {
            Ok((_, ended, _, result)) if ended == *job => {
                // After `daemon-reexec` the manager has another connection.
                if sender == manager || bus.owner(&SYSTEMD).await.is_ok_and(|now| now == sender) {
                    return Ok(result);
                }
            }
            Err(error) if sender == manager => return Err(Fault::Failed(said(&error))),
            Ok(_) | Err(_) => {}
        }
    }
    Err(Fault::Failed("the system bus has ended".into()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use tokio::time::Instant;
    use zbus::{Connection, connection};

    use super::*;
    use crate::bus::run;
    use crate::unit::seen::tests::seen;

    const JOB: &str = "/org/freedesktop/systemd1/job/7";
    const OTHER: &str = "/org/freedesktop/systemd1/job/8";

    /// The sender of an end of a job, the job, its result, and how often it is sent.
    type End = (&'static str, &'static str, &'static str, usize);

    /// Answers as a manager that is `:1.1` before the job and `:1.2` after it, with these signals before and after the job's
    /// reply.
    async fn manage(manager: Connection, before: Vec<End>, after: Vec<End>) {
        let send = async |ends: &[End]| {
            for (sender, job, result, times) in ends {
                let job = OwnedObjectPath::try_from(*job).unwrap();
                let signal = Message::signal(SYSTEMD.path, SYSTEMD.manager, "JobRemoved")
                    .sender(*sender)
                    .build(&(7_u32, job, "a.service", *result))
                    .unwrap();
                for _ in 0..*times {
                    manager.send(&signal).await.unwrap();
                }
            }
        };
        let mut calls = MessageStream::from(&manager);
        let mut owner = ":1.1";
        while let Some(Ok(call)) = poll_fn(|context| Pin::new(&mut calls).poll_next(context)).await
        {
            let header = call.header();
            match header.member().map(|member| member.as_str()) {
                Some("GetNameOwner") => manager.reply(&header, &owner).await.unwrap(),
                Some("RestartUnit") => {
                    owner = ":1.2";
                    send(&before).await;
                    let job = OwnedObjectPath::try_from(JOB).unwrap();
                    manager.reply(&header, &job).await.unwrap();
                    send(&after).await;
                }
                _ => manager.reply(&header, &()).await.unwrap(),
            }
        }
    }

    #[test]
    fn end_of_a_job_is_seen_among_many_and_hinders_no_later_reply() {
        let done: End = (":1.1", JOB, "done", 1);
        let many: End = (":1.1", OTHER, "failed", 300);
        let stranger: End = (":1.9", JOB, "failed", 1);
        for (before, after) in [
            (vec![], vec![done]),
            (vec![done], vec![]),
            (vec![many], vec![done]),
            (vec![], vec![done, many]),
            (vec![done, many], vec![many]),
            (vec![], vec![stranger, done]),
            // It has executed itself again.
            (vec![], vec![stranger, (":1.2", JOB, "done", 1)]),
        ] {
            let case = format!("{before:?} {after:?}");
            let ended = run(async {
                let (client, server) = UnixStream::pair().unwrap();
                let server = connection::Builder::unix_stream(server)
                    .server(zbus::Guid::generate())
                    .p2p()
                    .build();
                let client = connection::Builder::unix_stream(client).p2p().build();
                let (server, client) = tokio::join!(server, client);
                let manager = tokio::spawn(manage(server.unwrap(), before, after));
                let bus = Bus {
                    connection: client.unwrap(),
                    end: Instant::now() + Duration::from_secs(20),
                };
                let result = asked(&bus, "RestartUnit", "a.service").await?;
                assert_eq!(result.as_deref(), Some("done"), "{case}");
                assert_eq!(bus.owner(&SYSTEMD).await?, ":1.2", "{case}");
                manager.abort();
                Ok(())
            });
            assert!(ended.is_ok(), "{case}: {ended:?}");
        }
    }

    #[test]
    fn job_without_a_seen_end_goes_on_only_if_the_unit_has_one() {
        for (has_job, said) in [(true, GOES_ON), (false, UNSEEN)] {
            let after = SeenUnit {
                has_job,
                ..seen("active", "running", 7, "success")
            };
            assert_eq!(unseen(&after), said);
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
        let reloaded = Some("'a.service' does not run any more: its reload ended it");
        let again =
            Some("'a.service' is started again by the service manager: its reload ended it");
        let started_again = |seen: SeenUnit| SeenUnit {
            invocation: vec![2; 16],
            ..seen
        };
        let known = Known {
            id: "a.service".to_owned(),
            ..Known::default()
        };
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
                "ReloadUnit",
                "done",
                seen("active", "running", 7, "success"),
                None,
            ),
            // A program without a handler ends at SIGHUP, which is no error.
            ("ReloadUnit", "done", dead.clone(), reloaded),
            (
                "ReloadUnit",
                "done",
                seen("activating", "auto-restart", 0, "success"),
                again,
            ),
            (
                "ReloadUnit",
                "done",
                seen("activating", "auto-restart-queued", 0, "exit-code"),
                again,
            ),
            (
                "ReloadUnit",
                "done",
                started_again(seen("active", "running", 8, "success")),
                again,
            ),
            (
                "ReloadUnit",
                "done",
                started_again(seen("failed", "failed", 0, "exit-code")),
                again,
            ),
            (
                "RestartUnit",
                "done",
                started_again(seen("active", "running", 8, "success")),
                None,
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
            let found = judged(method, result, &known, &after).err();
            assert_eq!(found.as_deref(), expect, "{method} {result} {after:?}");
        }
    }

    #[test]
    fn units_that_change_with_another_are_judged() {
        let runs = seen("active", "running", 7, "success");
        let dead = seen("inactive", "dead", 0, "success");
        let failed = seen("failed", "failed", 0, "protocol");
        let unmet = |seen: &SeenUnit| SeenUnit {
            is_unmet: true,
            ..seen.clone()
        };
        let not_reloaded = SeenUnit {
            reload_result: Some("exit-code".to_owned()),
            ..runs.clone()
        };
        let right_after = Some("'b@main.service' failed right after it");
        let gone = Some("'b@main.service' ran before and does not run any more");
        for (before, act, after, expect) in [
            ("inactive", Act::Start, &runs, None),
            ("active", Act::Start, &failed, right_after),
            // It was broken before.
            ("failed", Act::Start, &failed, None),
            ("inactive", Act::Start, &failed, None),
            ("activating", Act::Start, &failed, None),
            ("failed", Act::Restart, &failed, right_after),
            ("active", Act::Restart, &failed, right_after),
            ("active", Act::Reload, &failed, right_after),
            ("active", Act::Restart, &runs, None),
            // A service of `Type=oneshot` has done its work.
            ("inactive", Act::Start, &dead, None),
            ("activating", Act::Restart, &dead, None),
            // The unit that it requires has not started.
            ("active", Act::Restart, &dead, gone),
            ("inactive", Act::Start, &unmet(&dead), None),
            ("failed", Act::Start, &unmet(&failed), None),
            ("failed", Act::Restart, &unmet(&failed), None),
            (
                "active",
                Act::Restart,
                &unmet(&dead),
                Some("'b@main.service' does not run: a condition of its unit is not met"),
            ),
            (
                "active",
                Act::Reload,
                &not_reloaded,
                Some("the reload of 'b@main.service' failed, result exit-code"),
            ),
            // Of an older reload.
            ("active", Act::Restart, &not_reloaded, None),
        ] {
            let known = Known {
                id: "b@main.service".to_owned(),
                active: before.to_owned(),
                ..Known::default()
            };
            let found = judged_with(&known, act, after).err();
            let found = found.filter(|_| decides(&Known::default(), &known, act));
            assert_eq!(found.as_deref(), expect, "{before} {act:?} {after:?}");
        }
        let known = Known {
            names: vec!["b@main.service".to_owned()],
            ..Known::default()
        };
        let wrapper = Known {
            restarted_by_restart: known.names.clone(),
            ..Known::default()
        };
        assert!(decides(&wrapper, &known, Act::Start));
    }
}
