//! Enables and disables units.

use remit_common::text;

use super::manager::{Known, SYSTEMD, WORD};
use super::refuse_pending_reload;
use crate::args::Fault;
use crate::bus::Bus;

/// What is done, the link, and where it leads.
type Change = (String, String, String);

pub async fn link(bus: &Bus, method: &str, unit: &Known) -> Result<(), Fault> {
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
