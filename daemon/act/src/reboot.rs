//! Schedules or cancels a reboot (org.freedesktop.login1(5)). Logged-in users are notified on their terminals.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use remit_common::calendar;

use crate::args::Fault;
use crate::bus::{Bus, Service};

const LOGIND: Service = Service {
    name: "org.freedesktop.login1",
    path: "/org/freedesktop/login1",
    manager: "org.freedesktop.login1.Manager",
};

/// Schedules a reboot and replaces an earlier schedule.
pub async fn schedule(minutes: u64) -> Result<(), Fault> {
    let bus = Bus::system().await?;
    let at = SystemTime::now() + Duration::from_secs(60 * minutes);
    let at = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let micros = u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
    let message = "A reboot was asked for and approved through remit; 'shutdown -c' cancels it";
    bus.call::<_, ()>(&LOGIND, "SetWallMessage", &(message, true))
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

/// Cancels any scheduled shutdown, whoever scheduled it.
pub async fn cancel() -> Result<(), Fault> {
    let bus = Bus::system().await?;
    let was: bool = bus.call(&LOGIND, "CancelScheduledShutdown", &()).await?;
    println!(
        "{}",
        match was {
            true => "The scheduled reboot or shutdown is cancelled.",
            false => "Nothing was scheduled.",
        }
    );
    Ok(())
}

fn stamp(seconds: u64) -> String {
    let (year, month, day) = calendar::date(seconds / 86_400);
    let of_day = seconds % 86_400;
    let (hour, minute, second) = (of_day / 3600, of_day % 3600 / 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}
