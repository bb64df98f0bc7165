//! Enables and disables units: their links below /etc/systemd/system, and what else starts them.

use std::path::Path;

use remit_common::text;
use zbus::OwnedObjectPath;

use super::after::{Changed, quoted};
use super::manager::{CONFIG, InterfaceProperties, SYSTEMD, UNIT, WORD};
use super::reload::refuse_pending_reload;
use crate::args::{Fault, UnitVerb};
use crate::bus::Bus;

/// What is done, the link, and where it leads.
type Change = (String, String, String);

/// `also`: the units that are enabled or disabled with it.
pub async fn link(bus: &Bus, verb: UnitVerb, id: &str, also: &[String]) -> Result<(), Fault> {
    refuse_pending_reload(bus).await?;
    let is_enable = verb == UnitVerb::Enable;
    let method = match is_enable {
        true => "EnableUnitFiles",
        false => "DisableUnitFiles",
    };
    let changes = match changes(bus, method, id).await {
        Ok(changes) => changes,
        Err(why) => return Err(interrupted(bus, id, also, why).await),
    };
    println!("{method} {id}: {} changed", changes.len());
    for (what, link, to) in &changes {
        let line = match to.is_empty() {
            true => format!("{what} {link}"),
            false => format!("{what} {link} -> {to}"),
        };
        println!("{}", text::line(line.as_bytes(), 4 * WORD));
    }
    bus.call::<_, ()>(&SYSTEMD, "Reload", &()).await?;
    if is_enable {
        return Ok(());
    }
    let started = StartedBy::read(bus, id).await?;
    let Some(line) = started.line(&[]) else {
        return Ok(());
    };
    println!("{line}");
    match changes.is_empty() && !started.is_disabled() {
        true => Err(Fault::Failed(format!(
            "no link of '{id}' was removed, and it is {line}"
        ))),
        false => Ok(()),
    }
}

async fn changes(bus: &Bus, method: &str, id: &str) -> Result<Vec<Change>, Fault> {
    let files = [id];
    if method == "DisableUnitFiles" {
        let body = (files.as_slice(), false);
        return bus.call(&SYSTEMD, method, &body).await;
    }
    // `false` (force): existing links of other units are not replaced.
    let body = (files.as_slice(), false, false);
    let (carries, changes): (bool, Vec<Change>) = bus.call(&SYSTEMD, method, &body).await?;
    if !carries {
        println!("'{id}' has no [Install] section: nothing starts it at boot by that");
    }
    Ok(changes)
}

/// The service manager makes and removes links one after another, undoes none at an error, and does not say which it
/// has changed. It reads them now, and not at a later reload about another unit.
async fn interrupted(bus: &Bus, id: &str, also: &[String], why: Fault) -> Fault {
    let units: Vec<&str> = also.iter().map(String::as_str).chain([id]).collect();
    println!("{}", links_now(&units, Path::new(CONFIG)));
    let (Fault::Failed(why) | Fault::Refused(why)) = why;
    let reloaded = bus.call::<_, ()>(&SYSTEMD, "Reload", &()).await;
    let after = match reloaded {
        Ok(()) => String::new(),
        Err(Fault::Failed(why) | Fault::Refused(why)) => format!("; {why}"),
    };
    Fault::Failed(format!(
        "{why}; what it changed before that is not undone{after}"
    ))
}

fn links_now(units: &[&str], config: &Path) -> String {
    let what = format!("links to it below {} now", quoted(config));
    match Changed::default().links_to(units, config) {
        Err(Fault::Failed(why) | Fault::Refused(why)) => format!("{what}: {why}"),
        Ok(links) if links.is_empty() => format!("{what}: none"),
        Ok(links) => {
            let links: Vec<String> = links.iter().map(|(link, _)| quoted(link)).collect();
            format!("{what}: {}", links.join(" "))
        }
    }
}

/// What starts a unit, at boot or later.
#[derive(Debug, Default)]
pub struct StartedBy {
    names: Vec<String>,
    /// `enabled-runtime` if a link below /run is there.
    state: String,
}

impl StartedBy {
    /// Leaves out units that are disabled and do not run: a socket that nothing starts starts nothing.
    pub async fn read(bus: &Bus, id: &str) -> Result<Self, Fault> {
        let lists = ["WantedBy", "RequiredBy", "UpheldBy", "TriggeredBy"];
        let mut own = properties(bus, id).await?;
        let mut started = Self {
            names: Vec::new(),
            state: own.word("UnitFileState"),
        };
        for name in own.lists(&lists, id)? {
            let mut other = properties(bus, &name).await?;
            if can_start(&other.word("ActiveState"), &other.word("UnitFileState")) {
                started.names.push(name);
            }
        }
        Ok(started)
    }

    /// Returns true if there is no link to remove: an earlier disable has removed all.
    fn is_disabled(&self) -> bool {
        matches!(self.state.as_str(), "disabled" | "indirect")
    }

    /// Returns the line about all but `removed`.
    pub fn line(&self, removed: &[String]) -> Option<String> {
        let names = self.names.iter().filter(|name| !removed.contains(name));
        let names: Vec<&str> = names.map(String::as_str).collect();
        let is_enabled = match removed {
            [] => self.state.starts_with("enabled"),
            _ => self.state == "enabled-runtime",
        };
        let line = match (names.is_empty(), is_enabled) {
            (true, false) => return None,
            (false, false) => format!("still started by: {}", names.join(" ")),
            (true, true) => format!("still started by: a link that makes it {}", self.state),
            (false, true) => format!("still started by: {} ({})", names.join(" "), self.state),
        };
        Some(text::line(line.as_bytes(), 16 * WORD))
    }
}

fn can_start(active: &str, file_state: &str) -> bool {
    let is_off = matches!(file_state, "disabled" | "masked" | "masked-runtime");
    !(is_off && matches!(active, "inactive" | "failed"))
}

async fn properties(bus: &Bus, id: &str) -> Result<InterfaceProperties, Fault> {
    let object: OwnedObjectPath = bus.call(&SYSTEMD, "LoadUnit", &id).await?;
    let all = bus.get_all(&SYSTEMD, object.as_str(), UNIT).await?;
    Ok(InterfaceProperties(all))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_still_starts_a_unit_is_said() {
        for (names, state, removed, expect) in [
            (&[][..], "disabled", &[][..], None),
            (&[], "static", &[], None),
            (
                &["multi-user.target", "a.timer"],
                "static",
                &[],
                Some("still started by: multi-user.target a.timer"),
            ),
            (
                &["multi-user.target"],
                "enabled-runtime",
                &[],
                Some("still started by: multi-user.target (enabled-runtime)"),
            ),
            // The target is not loaded.
            (
                &[],
                "enabled-runtime",
                &[],
                Some("still started by: a link that makes it enabled-runtime"),
            ),
            // Before the links are removed.
            (
                &["multi-user.target"],
                "enabled",
                &["multi-user.target"],
                None,
            ),
            (
                &["a.socket", "multi-user.target"],
                "enabled",
                &["multi-user.target"],
                Some("still started by: a.socket"),
            ),
        ] {
            let own =
                |all: &[&str]| -> Vec<String> { all.iter().map(ToString::to_string).collect() };
            let started = StartedBy {
                names: own(names),
                state: state.to_owned(),
            };
            let line = started.line(&own(removed));
            assert_eq!(line.as_deref(), expect, "{names:?} {state}");
        }
    }

    #[test]
    fn disabled_unit_can_be_disabled_again() {
        for (state, is) in [
            ("disabled", true),
            ("indirect", true),
            ("enabled-runtime", false),
            ("linked", false),
            ("static", false),
            ("generated", false),
            ("", false),
        ] {
            let started = StartedBy {
                state: state.to_owned(),
                ..StartedBy::default()
            };
            assert_eq!(started.is_disabled(), is, "{state}");
        }
    }

    #[test]
    fn unit_that_is_off_starts_nothing() {
        for (active, state, expect) in [
            ("active", "disabled", true),
            ("inactive", "disabled", false),
            ("failed", "masked", false),
            ("inactive", "enabled", true),
            // A service of the boot that has done its work.
            ("inactive", "static", true),
            ("inactive", "", true),
        ] {
            assert_eq!(can_start(active, state), expect, "{active} {state}");
        }
    }

    #[test]
    fn links_after_an_error_are_listed() {
        let dir = std::env::temp_dir().join(format!("remit-act-links-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("multi-user.target.wants")).unwrap();
        let all = |units: &[&str]| links_now(units, &dir);
        let begin = format!("links to it below '{}' now: ", dir.display());
        assert_eq!(all(&["a.service"]), format!("{begin}none"));
        for link in ["multi-user.target.wants/a.service", "other.service"] {
            symlink("/usr/lib/systemd/system/a.service", dir.join(link)).unwrap();
        }
        symlink("/usr/lib/systemd/system/c.service", dir.join("c2.service")).unwrap();
        let shown = |link: &str| format!("'{}'", dir.join(link).display());
        assert_eq!(
            all(&["also.service", "a.service"]),
            format!(
                "{begin}{} {}",
                shown("multi-user.target.wants/a.service"),
                shown("other.service")
            )
        );
        fs::remove_dir_all(&dir).unwrap();
    }
}
