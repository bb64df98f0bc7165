//! Lists all units and unit files with their state, for a snapshot.

use tokio::time::Instant;

use super::{Bus, SYSTEMD, connect};
use crate::read::{Sources, Why};

/// More units than any machine has. Each takes about 200 bytes here.
const MOST: usize = 20_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListedUnitFile {
    pub(crate) name: String,
    /// As `enabled` (systemctl(1), is-enabled).
    pub(crate) state: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListedUnit {
    pub(crate) name: String,
    pub(crate) active: String,
    pub(crate) sub: String,
}

pub(crate) async fn unit_files(at: &Sources, end: Instant) -> Result<Vec<ListedUnitFile>, Why> {
    let bus = manager(at, end).await?;
    let (to, path, interface) = (SYSTEMD.name, SYSTEMD.path, SYSTEMD.manager);
    let files: Vec<(String, String)> = bus.call(to, path, interface, "ListUnitFiles", &()).await?;
    bounded(files.len(), "unit files")?;
    let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let files = files.into_iter();
    Ok(files
        .map(|(path, state)| ListedUnitFile {
            name: name(&path),
            state,
        })
        .collect())
}

pub(crate) async fn unit_states(at: &Sources, end: Instant) -> Result<Vec<ListedUnit>, Why> {
    let units = manager(at, end).await?.list_units().await?;
    bounded(units.len(), "units")?;
    let units = units.into_iter();
    Ok(units
        .map(|(name, _, _, active, sub, ..)| ListedUnit { name, active, sub })
        .collect())
}

async fn manager(at: &Sources, end: Instant) -> Result<Bus, Why> {
    let bus = connect(&at.run, end).await?;
    bus.present(&SYSTEMD).await?;
    Ok(bus)
}

fn bounded(count: usize, what: &str) -> Result<(), Why> {
    match count <= MOST {
        true => Ok(()),
        false => Err(format!(
            "the service manager lists {count} {what}, more than {MOST}"
        )),
    }
}
