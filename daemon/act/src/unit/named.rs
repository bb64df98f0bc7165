//! Loads a unit by its first name, if that may be changed.

use remit_common::service::is_protected;
use remit_common::text;

use super::manager::{Known, Manager, SYSTEMD, WORD};
use crate::bus::Bus;
use crate::fault::Fault;

/// Loads the unit. Refuses it if this is not its first name, or if one of its names is protected.
pub async fn named(bus: &Bus, name: &str) -> Result<Known, Fault> {
    let unit = bus.unit(name).await?;
    is_as_named(name, &unit.id, &unit.names).map_err(Fault::Refused)?;
    match unit.load.as_str() {
        "loaded" => Ok(unit),
        "not-found" => Err(Fault::Refused(format!("there is no unit '{name}'"))),
        state => Err(Fault::Refused(format!(
            "unit '{name}' is not loaded: it is {}",
            text::line(state.as_bytes(), WORD)
        ))),
    }
}

/// Returns the directories of unit files, highest priority first.
pub async fn search_path(bus: &Bus) -> Result<Vec<String>, Fault> {
    bus.get(&SYSTEMD, SYSTEMD.path, SYSTEMD.manager, "UnitPath")
        .await
}

/// Checks that a unit may be changed by this name. Rules and approvers know only the requested name, and an alias
/// would mean another unit than they know.
fn is_as_named(name: &str, id: &str, names: &[String]) -> Result<(), String> {
    for known in names.iter().map(String::as_str).chain([id]) {
        if let Some(why) = is_protected(known) {
            let known = text::line(known.as_bytes(), WORD);
            return Err(format!(
                "unit '{name}' is '{known}', which is protected: {why}"
            ));
        }
    }
    match name == id {
        true => Ok(()),
        false => {
            let id = text::line(id.as_bytes(), WORD);
            Err(format!(
                "unit '{name}' is '{id}': ask for it by that name, which rules and people know"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_alias_is_refused() {
        let names = |names: &[&str]| -> Vec<String> {
            names.iter().map(|name| (*name).to_owned()).collect()
        };
        let both = names(&["mysql.service", "mariadb.service"]);
        assert_eq!(
            is_as_named("mariadb.service", "mariadb.service", &both),
            Ok(())
        );
        let other = is_as_named("mysql.service", "mariadb.service", &both).unwrap_err();
        assert!(other.contains("is 'mariadb.service'"), "{other}");
        let bus = names(&["x.service", "dbus.service"]);
        for (name, id) in [("x.service", "dbus.service"), ("x.service", "x.service")] {
            let said = is_as_named(name, id, &bus).unwrap_err();
            assert!(
                said.contains("'dbus.service', which is protected"),
                "{said}"
            );
        }
    }
}
