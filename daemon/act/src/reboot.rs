//! A reboot in some minutes, and none after all (org.freedesktop.login1(5)). Who is logged in is told by wall(1).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use remit_common::calendar;

use crate::Fault;
use crate::bus::{Bus, Service};

const LOGIND: Service = Service {
    name: "org.freedesktop.login1",
    path: "/org/freedesktop/login1",
    manager: "org.freedesktop.login1.Manager",
};

/// Schedules a reboot; one that was scheduled before is replaced.
pub async fn schedule(minutes: u64) -> Result<(), Fault> {
    let bus = Bus::system().await?;
    let at = SystemTime::now() + Duration::from_secs(60 * minutes);
    let at = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let micros = u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
    let wall = "A reboot was asked for and approved through remit; 'shutdown -c' cancels it";
    bus.call::<_, ()>(&LOGIND, "SetWallMessage", &(wall, true))
        .await?;
    bus.call::<_, ()>(&LOGIND, "ScheduleShutdown", &("reboot", micros))
        .await?;
    println!(
        "The machine reboots at {}, in {minutes} min.",
        stamp(at.as_secs())
    );
    println!("Until then 'shutdown -c', or the command system.reboot_cancel, keeps it running.");
    Ok(())
}

/// Cancels what is scheduled, whoever did.
pub async fn cancel() -> Result<(), Fault> {
    let bus = Bus::system().await?;
    let was: bool = bus.call(&LOGIND, "CancelScheduledShutdown", &()).await?;
    println!(
        "{}",
        match was {
            true => "What was scheduled is cancelled: the machine goes on.",
            false => "Nothing was scheduled: the machine goes on.",
        }
    );
    Ok(())
}

/// `2026-11-20 10:31:02 UTC`
fn stamp(seconds: u64) -> String {
    let (year, month, day) = calendar::date(seconds / 86_400);
    let of_day = seconds % 86_400;
    let (hour, minute, second) = (of_day / 3600, of_day % 3600 / 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}
