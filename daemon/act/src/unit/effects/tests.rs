//! Uses a table of units instead of the service manager. tests/machine/test-changes uses a real one.

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
    match runtime.block_on(compute(table, verb, unit, &[])) {
        Ok(effects) => Ok(effects),
        Err(Fault::Refused(why) | Fault::Failed(why)) => Err(why),
    }
}

fn refused(table: &Table, verb: UnitVerb, name: &str, why: &str) {
    let message = judge(table, verb, name).unwrap_err();
    assert!(message.contains(why), "{message}");
}

#[test]
fn c08_start_is_judged_with_its_dependencies() {
    for list in ["wants", "triggers", "on-failure"] {
        let mut puller = unit("puller.service", "inactive");
        match list {
            "on-failure" => puller.started_by_end = names(&["pulled.service"]),
            "triggers" => puller.started_later = names(&["pulled.service"]),
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
        pulled.active = "active".to_owned();
        let table = table.with(pulled);
        // What runs already is not started, but what is triggered, or starts when this ends, starts again.
        match list {
            "wants" => assert_eq!(
                judge(&table, UnitVerb::Start, "puller.service"),
                Ok(Effects::default())
            ),
            _ => refused(
                &table,
                UnitVerb::Start,
                "puller.service",
                "'ssh.service' stops",
            ),
        }
        // A conflict with an inactive unit stops nothing.
        let table = table
            .with(unit("ssh.service", "inactive"))
            .with(unit("pulled.service", "inactive"));
        let effects = judge(&table, UnitVerb::Start, "puller.service").unwrap();
        assert_eq!(effects.names(Act::Start), ["pulled.service"]);
    }
}

#[test]
fn c08_start_that_pulls_in_reboot_is_refused() {
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
fn c02_machine_action_unit_is_refused() {
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
fn c02_stop_that_undoes_boot_state_is_refused() {
    let mut storage = unit("site-storage.service", "active");
    storage.has_default_dependencies = false;
    storage.undoes = true;
    let mut below = unit("below.service", "active");
    below.stopped_by_stop = names(&["site-storage.service"]);
    below.restarted_by_restart = names(&["site-storage.service"]);
    let table = Table::default().with(storage.clone()).with(below);
    for verb in [UnitVerb::Stop, UnitVerb::Restart] {
        refused(
            &table,
            verb,
            "site-storage.service",
            "undoes a part of the boot",
        );
        refused(&table, verb, "below.service", "undoes a part of the boot");
    }
    assert!(judge(&table, UnitVerb::Start, "below.service").is_ok());
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
    assert_eq!(effects.names(Act::Stop), ["b.service", "c.service"]);
}

#[test]
fn too_many_affected_units_are_refused() {
    let many: Vec<String> = (0..=OTHERS).map(|at| format!("u{at}.service")).collect();
    let mut a = unit("a.service", "active");
    a.started_by_start = many.clone();
    a.stopped_by_stop.clone_from(&many);
    let mut table = Table::default().with(a);
    for name in &many {
        let mut one = unit(name, "inactive");
        one.stopped_by_stop.clone_from(&many);
        table = table.with(one);
    }
    refused(&table, UnitVerb::Start, "a.service", "256 others change");
    for name in &many {
        table = table.with(unit(name, "active"));
    }
    refused(&table, UnitVerb::Stop, "a.service", "256 others change");
}

#[test]
fn too_many_possible_effects_are_refused() {
    let mut a = unit("a.service", "active");
    a.stopped_by_stop = (0..=PAIRS).map(|at| format!("u{at}.service")).collect();
    let table = Table::default().with(a);
    let expected = "1024 effects on others are possible";
    refused(&table, UnitVerb::Stop, "a.service", expected);
}

#[test]
fn q03_consequent_unit_stop_is_judged() {
    let mut db = unit("db.service", "active");
    db.stopped_by_stop = names(&["app.service"]);
    let mut app = unit("app.service", "active");
    app.started_by_end = names(&["poweroff.target"]);
    let table = Table::default()
        .with(db)
        .with(app)
        .with(unit("poweroff.target", "inactive"));
    refused(
        &table,
        UnitVerb::Stop,
        "db.service",
        "'poweroff.target' starts",
    );
    let table = table.with(unit("app.service", "inactive"));
    assert!(judge(&table, UnitVerb::Stop, "db.service").is_ok());
}

fn with_dependent() -> Table {
    let mut r = unit("r.service", "active");
    r.stopped_by_stop = names(&["needs-r.service"]);
    r.restarted_by_restart = names(&["needs-r.service"]);
    let mut needs = unit("needs-r.service", "active");
    needs.started_by_start = names(&["conf.service"]);
    let mut conf = unit("conf.service", "inactive");
    conf.stopped_by_start = names(&["rival.service"]);
    Table::default()
        .with(r)
        .with(needs)
        .with(conf)
        .with(unit("rival.service", "active"))
}

#[test]
fn q03_restart_includes_dependents_and_their_starts() {
    let table = with_dependent();
    let effects = judge(&table, UnitVerb::Restart, "r.service").unwrap();
    assert_eq!(effects.names(Act::Restart), ["needs-r.service"]);
    assert_eq!(effects.names(Act::Start), ["conf.service"]);
    assert_eq!(effects.names(Act::Stop), ["rival.service"]);
    assert_eq!(effects.units(), 3);
    let effects = judge(&table, UnitVerb::Stop, "r.service").unwrap();
    assert_eq!(effects.names(Act::Stop), ["needs-r.service"]);
    assert_eq!(effects.units(), 1);

    let mut conf = unit("conf.service", "inactive");
    conf.stopped_by_start = names(&["ssh.service"]);
    let table = table.with(conf).with(unit("ssh.service", "active"));
    refused(
        &table,
        UnitVerb::Restart,
        "r.service",
        "'ssh.service' stops",
    );

    let mut r = unit("r.service", "active");
    r.restarted_by_restart = names(&["ssh.service"]);
    let table = table.with(r);
    refused(
        &table,
        UnitVerb::Restart,
        "r.service",
        "'ssh.service' restarts, which is protected",
    );
}

#[test]
fn q03_running_unit_that_stops_can_start_again() {
    // x stops y and z. The end of y starts z again, although z was active at first.
    let mut x = unit("x.service", "active");
    x.stopped_by_stop = names(&["y.service", "z.service"]);
    let mut y = unit("y.service", "active");
    y.started_by_end = names(&["z.service"]);
    let mut z = unit("z.service", "active");
    z.started_by_start = names(&["w.service"]);
    let table = Table::default()
        .with(x.clone())
        .with(y)
        .with(z)
        .with(unit("w.service", "inactive"));
    let effects = judge(&table, UnitVerb::Stop, "x.service").unwrap();
    assert_eq!(effects.names(Act::Stop), ["y.service", "z.service"]);
    assert_eq!(effects.names(Act::Start), ["w.service", "z.service"]);
    x.stopped_by_stop = names(&["y.service"]);
    let table = table.with(x);
    let effects = judge(&table, UnitVerb::Stop, "x.service").unwrap();
    assert_eq!(effects.names(Act::Stop), ["y.service"]);
    assert_eq!(
        effects.names(Act::Start),
        ["w.service", "z.service"],
        "at another time"
    );

    // What is wanted is started if it stops before, whatever is found first.
    for conflicts in [&["z.service"][..], &[]] {
        let mut a = unit("a.service", "inactive");
        a.started_by_start = names(&["b.service"]);
        let mut b = unit("b.service", "inactive");
        b.started_by_start = names(&["z.service", "c.service"]);
        let mut c = unit("c.service", "inactive");
        c.stopped_by_start = names(conflicts);
        let table = Table::default()
            .with(a)
            .with(b)
            .with(c)
            .with(unit("z.service", "active"));
        let effects = judge(&table, UnitVerb::Start, "a.service").unwrap();
        assert_eq!(effects.names(Act::Stop), names(conflicts));
        let started = [&["b.service", "c.service"][..], conflicts].concat();
        assert_eq!(effects.names(Act::Start), started);
    }
}

#[test]
fn q03_self_ending_unit_stops_dependents() {
    let mut once = unit("once.service", "inactive");
    once.stopped_by_end = names(&["ssh.service"]);
    let table = Table::default()
        .with(once)
        .with(unit("ssh.service", "active"));
    refused(
        &table,
        UnitVerb::Start,
        "once.service",
        "'ssh.service' stops",
    );
    assert!(judge(&table, UnitVerb::Reload, "once.service").is_ok());
}

#[test]
fn q03_unneeded_and_upheld_units_are_followed() {
    let mut x = unit("x.service", "active");
    x.kept_up = names(&["helper.service", "other.service"]);
    x.upheld_by = names(&["upholder.service"]);
    x.started_by_start = names(&["helper.service"]);
    let mut helper = unit("helper.service", "active");
    helper.stops_unneeded = true;
    let table = Table::default()
        .with(x)
        .with(helper)
        .with(unit("other.service", "active"));
    let effects = judge(&table, UnitVerb::Stop, "x.service").unwrap();
    assert_eq!(effects.names(Act::Stop), ["helper.service"]);
    assert_eq!(
        effects.names(Act::Start),
        ["helper.service", "x.service"],
        "it is upheld"
    );
}

#[test]
fn q03_reload_reaches_units_that_it_propagates_to() {
    let mut x = unit("x.service", "active");
    x.reloaded_by_reload = names(&["y.service", "idle.service"]);
    let mut y = unit("y.service", "active");
    y.reloaded_by_reload = names(&["z.service"]);
    let table = Table::default()
        .with(x)
        .with(y.clone())
        .with(unit("z.service", "active"));
    let table = table.with(unit("idle.service", "inactive"));
    let effects = judge(&table, UnitVerb::Reload, "x.service").unwrap();
    assert_eq!(effects.names(Act::Reload), ["y.service", "z.service"]);
    y.reloaded_by_reload = names(&["ssh.service"]);
    let table = table.with(y).with(unit("ssh.service", "active"));
    refused(
        &table,
        UnitVerb::Reload,
        "x.service",
        "'ssh.service' reloads, which is protected",
    );
}

#[test]
fn socket_activated_service_is_no_own_consequence() {
    let mut service = unit("x.service", "active");
    service.started_by_start = names(&["x.socket"]);
    let mut socket = unit("x.socket", "inactive");
    socket.started_later = names(&["x.service"]);
    let table = Table::default().with(service).with(socket);
    for verb in [UnitVerb::Restart, UnitVerb::Start] {
        let effects = judge(&table, verb, "x.service").unwrap();
        assert_eq!(effects.names(Act::Start), ["x.socket"]);
        assert_eq!(effects.units(), 1);
    }
}

#[test]
fn triggered_unit_is_named_although_it_is_active() {
    let mut timer = unit("x.timer", "inactive");
    timer.started_later = names(&["x.service"]);
    let mut service = unit("x.service", "active");
    service.triggered_by = names(&["x.timer"]);
    let table = Table::default().with(timer.clone()).with(service);
    let started = |table: &Table, verb, name| {
        let effects = judge(table, verb, name).unwrap();
        effects.names(Act::Start)
    };
    assert_eq!(
        started(&table, UnitVerb::Start, "x.timer"),
        ["x.service"],
        "its program runs at the time"
    );
    // Stopped, it starts again while its timer is active.
    assert_eq!(started(&table, UnitVerb::Stop, "x.service"), [""; 0]);
    timer.active = "active".to_owned();
    let table = table.with(timer);
    assert_eq!(started(&table, UnitVerb::Stop, "x.service"), ["x.service"]);
    let mut notify = unit("notify.service", "active");
    notify.stopped_by_start = names(&["ssh.service"]);
    let mut app = unit("app.service", "active");
    app.started_by_end = names(&["notify.service"]);
    let table = table
        .with(notify)
        .with(app)
        .with(unit("ssh.service", "active"));
    refused(&table, UnitVerb::Stop, "app.service", "'ssh.service' stops");
}

#[test]
fn unit_that_is_enabled_too_is_followed() {
    let mut other = unit("other.service", "active");
    other.started_by_start = names(&["more.service"]);
    let table = Table::default()
        .with(unit("a.service", "inactive"))
        .with(other)
        .with(unit("more.service", "inactive"))
        .with(unit("rescue.target", "inactive"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let enable = |also: &[&str]| {
        let unit = table.0.get("a.service").unwrap();
        runtime.block_on(compute(&table, UnitVerb::Enable, unit, &names(also)))
    };
    let Ok(effects) = enable(&["other.service", "gone.service"]) else {
        panic!("it is refused");
    };
    assert_eq!(effects.names(Act::Start), ["more.service", "other.service"]);
    assert!(enable(&["rescue.target"]).is_err());
}

#[test]
fn units_that_change_at_once_are_known() {
    let mut wrapper = unit("wrapper.service", "active");
    wrapper.started_by_start = names(&["wrapper@a.service", "wrapper@b.service"]);
    wrapper.restarted_by_restart = names(&["wrapper@a.service", "wrapper@b.service"]);
    wrapper.reloaded_by_reload = names(&["other@a.service"]);
    wrapper.started_later = names(&["timed.service"]);
    wrapper.started_by_end = names(&["mail.service"]);
    let mut runs = unit("wrapper@a.service", "active");
    runs.names.push("other@a.service".to_owned());
    runs.started_by_end = names(&["mail.service"]);
    let mut fails = unit("wrapper@b.service", "failed");
    fails.started_by_start = names(&["needed.service"]);
    // What it starts is of the later event, too.
    let mut mail = unit("mail.service", "inactive");
    mail.started_by_start = names(&["spool.service"]);
    let mut table = Table::default()
        .with(wrapper)
        .with(runs.clone())
        .with(fails)
        .with(mail)
        .with(unit("timed.service", "inactive"))
        .with(unit("spool.service", "inactive"))
        .with(unit("needed.service", "inactive"));
    table.0.insert("other@a.service".to_owned(), runs);
    for (verb, expect) in [
        (
            UnitVerb::Start,
            &[
                ("wrapper@b.service", Act::Start),
                ("needed.service", Act::Start),
            ][..],
        ),
        (
            UnitVerb::Restart,
            &[
                ("wrapper@a.service", Act::Restart),
                // It starts, and so it can also restart.
                ("wrapper@b.service", Act::Restart),
                ("needed.service", Act::Start),
            ],
        ),
        (UnitVerb::Reload, &[("wrapper@a.service", Act::Reload)]),
        (UnitVerb::Stop, &[]),
    ] {
        let effects = judge(&table, verb, "wrapper.service").unwrap();
        let unit = table.0.get("wrapper.service").unwrap();
        let now = effects.now(unit, Act::from_verb(verb).unwrap());
        let now = now.iter().map(|(known, act)| (known.id.as_str(), *act));
        assert_eq!(now.collect::<Vec<_>>(), expect, "{verb:?}");
    }
}

#[test]
fn names_of_the_bus_protect_no_other_unit() {
    for (name, other, is_refused) in [
        (
            "avahi-daemon.service",
            "dbus-org.freedesktop.Avahi.service",
            false,
        ),
        (
            "systemd-hostnamed.service",
            "dbus-org.freedesktop.hostname1.service",
            true,
        ),
        (
            "own.service",
            "dbus-org.freedesktop.hostname1.service",
            true,
        ),
    ] {
        let mut bound = unit(name, "active");
        bound.names.push(other.to_owned());
        let mut below = unit("below.service", "active");
        below.stopped_by_stop = names(&[other]);
        let mut table = Table::default().with(below).with(bound.clone());
        table.0.insert(other.to_owned(), bound);
        match is_refused {
            true => refused(
                &table,
                UnitVerb::Stop,
                "below.service",
                "which is protected",
            ),
            false => assert!(judge(&table, UnitVerb::Stop, "below.service").is_ok()),
        }
    }
}
