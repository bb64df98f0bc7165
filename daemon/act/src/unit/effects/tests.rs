//! Judged by a table of units instead of the service manager; tests/machine/test-changes asks the real one.

use std::collections::BTreeMap;

use super::*;

#[derive(Default)]
struct Table(BTreeMap<String, Known>);

impl Table {
    fn with(mut self, known: Known) -> Self {
        self.0.insert(known.id.clone(), known);
        self
    }
}

impl Manager for Table {
    async fn unit(&self, name: &str) -> Result<Known, Fault> {
        let absent = Known {
            id: name.to_owned(),
            load: "not-found".to_owned(),
            active: "inactive".to_owned(),
            ..Known::default()
        };
        Ok(self.0.get(name).cloned().unwrap_or(absent))
    }
}

fn unit(name: &str, active: &str) -> Known {
    Known {
        id: name.to_owned(),
        names: vec![name.to_owned()],
        load: "loaded".to_owned(),
        active: active.to_owned(),
        has_default_dependencies: true,
        ..Known::default()
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn judge(table: &Table, verb: UnitVerb, name: &str) -> Result<Effects, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let unit = table.0.get(name).unwrap();
    match runtime.block_on(of(table, verb, unit)) {
        Ok(effects) => Ok(effects),
        Err(Fault::Refused(why) | Fault::Failed(why)) => Err(why),
    }
}

fn refused(table: &Table, verb: UnitVerb, name: &str, why: &str) {
    let told = judge(table, verb, name).unwrap_err();
    assert!(told.contains(why), "{told}");
}

#[test]
fn c08_a_start_is_judged_with_all_that_it_pulls_in() {
    for list in ["wants", "triggers", "on-failure"] {
        let mut puller = unit("puller.service", "inactive");
        match list {
            "on-failure" => puller.started_by_end = names(&["pulled.service"]),
            _ => puller.started_by_start = names(&["pulled.service"]),
        }
        let mut pulled = unit("pulled.service", "inactive");
        pulled.stopped_by_start = names(&["ssh.service", "shutdown.target"]);
        let table = Table::default()
            .with(puller)
            .with(pulled.clone())
            .with(unit("ssh.service", "active"));
        for verb in [UnitVerb::Start, UnitVerb::Restart, UnitVerb::Enable] {
            refused(&table, verb, "puller.service", "'ssh.service' stops");
        }
        // One that runs already has stopped what it conflicts with.
        pulled.active = "active".to_owned();
        let table = table.with(pulled);
        assert_eq!(
            judge(&table, UnitVerb::Start, "puller.service"),
            Ok(Effects::default())
        );
        // A conflict with one that does not run stops nothing.
        let table = table
            .with(unit("ssh.service", "inactive"))
            .with(unit("pulled.service", "inactive"));
        let effects = judge(&table, UnitVerb::Start, "puller.service").unwrap();
        assert_eq!(effects.starts, [unit("pulled.service", "inactive")]);
    }
}

#[test]
fn c08_a_start_that_pulls_in_a_reboot_is_refused() {
    for name in ["reboot.target", "rescue.target", "debug-shell.service"] {
        let mut a = unit("a.service", "inactive");
        a.started_by_start = names(&["b.target"]);
        let mut b = unit("b.target", "inactive");
        b.started_by_start = names(&[name]);
        let table = Table::default()
            .with(a)
            .with(b)
            .with(unit(name, "inactive"));
        refused(&table, UnitVerb::Start, "a.service", &format!("'{name}'"));
        assert!(judge(&table, UnitVerb::Reload, "a.service").is_ok());
    }
}

#[test]
fn c02_units_that_act_on_the_machine_are_refused() {
    let mut update = unit("offline-update.service", "inactive");
    update.actions = names(&["FailureAction=reboot"]);
    let mut puller = unit("puller.service", "inactive");
    puller.started_by_start = names(&["offline-update.service"]);
    let table = Table::default().with(update).with(puller);
    for verb in [UnitVerb::Start, UnitVerb::Stop, UnitVerb::Enable] {
        refused(
            &table,
            verb,
            "offline-update.service",
            "FailureAction=reboot",
        );
    }
    refused(
        &table,
        UnitVerb::Start,
        "puller.service",
        "'offline-update.service'",
    );
    assert!(judge(&table, UnitVerb::Stop, "puller.service").is_ok());
}

#[test]
fn c02_a_stop_that_undoes_a_part_of_the_boot_is_refused() {
    let mut storage = unit("site-storage.service", "active");
    storage.has_default_dependencies = false;
    storage.undoes = true;
    let mut below = unit("below.service", "active");
    below.stopped_by_stop = names(&["site-storage.service"]);
    let table = Table::default().with(storage.clone()).with(below);
    for verb in [UnitVerb::Stop, UnitVerb::Restart] {
        refused(
            &table,
            verb,
            "site-storage.service",
            "undoes a part of the boot",
        );
        refused(
            &table,
            verb,
            "below.service",
            "'site-storage.service' stops",
        );
    }
    assert!(judge(&table, UnitVerb::Start, "below.service").is_ok());
    // It has nothing to undo.
    storage.active = "inactive".to_owned();
    assert!(judge(&table.with(storage), UnitVerb::Stop, "site-storage.service").is_ok());
}

#[test]
fn c08_a_stop_reaches_protected_units_through_others() {
    let mut a = unit("a.service", "active");
    a.stopped_by_stop = names(&["b.service", "a.service"]);
    let mut b = unit("b.service", "active");
    b.stopped_by_stop = names(&["c.service"]);
    let mut c = unit("c.service", "active");
    c.names = names(&["c.service", "sshd.service"]);
    let table = Table::default().with(a).with(b).with(c);
    refused(&table, UnitVerb::Stop, "a.service", "'sshd.service' stops");
    let table = table.with(unit("c.service", "active"));
    let effects = judge(&table, UnitVerb::Stop, "a.service").unwrap();
    assert_eq!(effects.stops, ["b.service", "c.service"]);
}

#[test]
fn more_units_than_can_be_looked_at_are_refused() {
    let many: Vec<String> = (0..=OTHERS).map(|at| format!("u{at}.service")).collect();
    let mut a = unit("a.service", "active");
    a.started_by_start = many.clone();
    a.stopped_by_stop = many;
    let table = Table::default().with(a);
    refused(&table, UnitVerb::Start, "a.service", "others start");
    refused(&table, UnitVerb::Stop, "a.service", "others stop");
}
