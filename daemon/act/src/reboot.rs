//! Schedules or cancels a reboot (org.freedesktop.login1(5)). Logged-in users are notified on their terminals. The login
//! manager has one scheduled shutdown for the machine. One that is not a reboot is of somebody else, and stays.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use remit_common::{calendar, text};
use zbus::{OwnedVariant, Variant};

use crate::args::Fault;
use crate::bus::{Bus, Service};
use crate::unit::describe::PATIENCE;

const LOGIND: Service = Service {
    name: "org.freedesktop.login1",
    path: "/org/freedesktop/login1",
    manager: "org.freedesktop.login1.Manager",
};

/// The only kind of shutdown that is replaced and cancelled.
const REBOOT: &str = "reboot";
/// Minutes before a shutdown in which pam_nologin(8) refuses the logins of others than root.
const WITHOUT_LOGINS: u64 = 5;
/// Bytes of the kind of a shutdown.
const KIND: usize = 64;

/// A shutdown that the login manager has scheduled.
#[derive(Debug, PartialEq, Eq)]
struct Scheduled {
    kind: String,
    /// Unit: seconds since 1970.
    at: u64,
}

/// Prints what is scheduled: a reboot replaces it, and a cancel ends it. `minutes`: of a reboot.
pub async fn describe(minutes: Option<u64>) -> Result<(), Fault> {
    let bus = Bus::system_for(PATIENCE).await?;
    let scheduled = scheduled(&bus).await?;
    refuse_other(scheduled.as_ref())?;
    println!("{}", line(scheduled.as_ref()));
    if let Some(minutes) = minutes {
        println!("{}", logins(minutes));
    }
    Ok(())
}

pub async fn schedule(minutes: u64) -> Result<(), Fault> {
    let bus = Bus::system().await?;
    refuse_other(scheduled(&bus).await?.as_ref())?;
    let at = SystemTime::now() + Duration::from_secs(60 * minutes);
    let at = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let micros = u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
    let message = "A reboot was asked for and approved through remit; 'shutdown -c' cancels it";
    bus.call::<_, ()>(&LOGIND, "SetWallMessage", &(message, true))
        .await?;
    bus.call::<_, ()>(&LOGIND, "ScheduleShutdown", &(REBOOT, micros))
        .await?;
    println!(
        "The machine reboots at {}, in {minutes} min.",
        stamp(at.as_secs())
    );
    println!("Until then 'shutdown -c', or the command system.reboot_cancel, keeps it running.");
    println!("{}", logins(minutes));
    Ok(())
}

pub async fn cancel() -> Result<(), Fault> {
    let bus = Bus::system().await?;
    refuse_other(scheduled(&bus).await?.as_ref())?;
    let was: bool = bus.call(&LOGIND, "CancelScheduledShutdown", &()).await?;
    println!(
        "{}",
        match was {
            true => "The scheduled reboot is cancelled.",
            false => "Nothing was scheduled.",
        }
    );
    Ok(())
}

async fn scheduled(bus: &Bus) -> Result<Option<Scheduled>, Fault> {
    let property = "ScheduledShutdown";
    let value: OwnedVariant = bus
        .get(&LOGIND, LOGIND.path, LOGIND.manager, property)
        .await?;
    known(&value)
        .ok_or_else(|| Fault::Failed(format!("'{}' has an invalid {property}", LOGIND.name)))
}

/// Reads kind and time. `None`: it is not that property.
fn known(value: &Variant<'_>) -> Option<Option<Scheduled>> {
    let Variant::Structure(fields) = value else {
        return None;
    };
    match fields.fields() {
        [Variant::Str(kind), Variant::U64(_)] if kind.as_str().is_empty() => Some(None),
        [Variant::Str(kind), Variant::U64(micros)] => Some(Some(Scheduled {
            kind: text::line(kind.as_str().as_bytes(), KIND),
            at: micros / 1_000_000,
        })),
        _ => None,
    }
}

fn refuse_other(scheduled: Option<&Scheduled>) -> Result<(), Fault> {
    match scheduled.filter(|one| one.kind != REBOOT) {
        None => Ok(()),
        Some(Scheduled { kind, at }) => Err(Fault::Refused(format!(
            "somebody has scheduled a shutdown that is no reboot: {kind} at {}; 'shutdown -c' on the machine cancels it",
            stamp(*at)
        ))),
    }
}

fn line(scheduled: Option<&Scheduled>) -> String {
    match scheduled {
        None => "scheduled now: nothing".to_owned(),
        Some(Scheduled { kind, at }) => format!("scheduled now: {kind} at {}", stamp(*at)),
    }
}

/// The login manager makes `/run/nologin` then, at once for a reboot within these minutes.
fn logins(minutes: u64) -> String {
    match minutes > WITHOUT_LOGINS {
        true => format!(
            "In the last {WITHOUT_LOGINS} minutes before it only root can log in: others can cancel it until then, or by a session that is open."
        ),
        false => "Only root can log in as soon as it is scheduled: others can cancel it by a session that is open.".to_owned(),
    }
}

fn stamp(seconds: u64) -> String {
    calendar::utc(seconds.saturating_mul(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_of_the_last_minutes_are_said() {
        for (minutes, begin) in [
            (10, "In the last 5 minutes before it only root can log in"),
            (6, "In the last 5 minutes before it only root can log in"),
            (5, "Only root can log in as soon as it is scheduled"),
            (1, "Only root can log in as soon as it is scheduled"),
        ] {
            assert!(logins(minutes).starts_with(begin), "{minutes}");
        }
    }

    #[test]
    fn only_a_reboot_is_replaced_or_cancelled() {
        let micros = 1_764_417_600_000_000_u64;
        for (kind, said, is_refused) in [
            ("", "scheduled now: nothing", false),
            (
                "reboot",
                "scheduled now: reboot at 2025-11-29 12:00:00 UTC",
                false,
            ),
            (
                "poweroff",
                "scheduled now: poweroff at 2025-11-29 12:00:00 UTC",
                true,
            ),
            (
                "dry-reboot",
                "scheduled now: dry-reboot at 2025-11-29 12:00:00 UTC",
                true,
            ),
            (
                "a\nb",
                "scheduled now: a\\nb at 2025-11-29 12:00:00 UTC",
                true,
            ),
        ] {
            let found = known(&Variant::from((kind, micros))).unwrap();
            assert_eq!(line(found.as_ref()), said);
            let refused = refuse_other(found.as_ref());
            assert_eq!(
                matches!(refused, Err(Fault::Refused(_))),
                is_refused,
                "{kind}"
            );
        }
        for odd in [Variant::from("reboot"), Variant::from(("reboot", 1_u32))] {
            assert_eq!(known(&odd), None);
        }
    }
}
