use std::os::unix::net::{UnixListener, UnixStream};

use zbus::{ObjectPath, interface};

use super::*;

struct Names;

#[interface(name = "org.freedesktop.DBus")]
impl Names {
    fn name_has_owner(&self, name: &str) -> bool {
        name == "org.freedesktop.systemd1" || name == "org.freedesktop.login1"
    }
}

struct Systemd;

#[interface(name = "org.freedesktop.systemd1.Manager")]
impl Systemd {
    fn list_units(&self) -> Vec<Unit> {
        let unit = |name: &str, active: &str, sub: &str, object: &str| {
            let path =
                |path: &str| OwnedObjectPath::from(ObjectPath::try_from(path.to_owned()).unwrap());
            let text = |text: &str| text.to_owned();
            let described = format!("About {name}");
            (
                text(name),
                described,
                text("loaded"),
                text(active),
                text(sub),
                text(""),
                path(object),
                0,
                text(""),
                path("/"),
            )
        };
        vec![
            unit("ok.service", "active", "running", "/unit/ok"),
            unit("old.service", "failed", "failed", "/unit/old"),
            unit("new.service", "failed", "failed", "/unit/new"),
            unit("pre.service", "failed", "failed", "/unit/pre"),
            unit("gone.mount", "failed", "failed", "/unit/gone"),
            unit(
                "loop\x1b.service",
                "activating",
                "auto-restart",
                "/unit/loop",
            ),
            unit(
                "queued.service",
                "activating",
                "auto-restart-queued",
                "/unit/queued",
            ),
        ]
    }

    #[zbus(property)]
    fn system_state(&self) -> &str {
        "degraded"
    }

    #[zbus(property, name = "NJobs")]
    fn jobs(&self) -> u32 {
        3
    }
}

struct UnitState(u64);

#[interface(name = "org.freedesktop.systemd1.Unit")]
impl UnitState {
    #[zbus(property)]
    fn state_change_timestamp(&self) -> u64 {
        self.0
    }
}

/// Result, code and status of the main process.
struct ServiceState(&'static str, i32, i32);

#[interface(name = "org.freedesktop.systemd1.Service")]
impl ServiceState {
    #[zbus(property)]
    fn result(&self) -> &str {
        self.0
    }

    #[zbus(property)]
    fn exec_main_code(&self) -> i32 {
        self.1
    }

    #[zbus(property)]
    fn exec_main_status(&self) -> i32 {
        self.2
    }
}

struct Logind;

#[interface(name = "org.freedesktop.login1.Manager")]
impl Logind {
    fn list_sessions(&self) -> Vec<Login> {
        ["1", "2"]
            .map(|id| {
                let object = ObjectPath::try_from(format!("/session/{id}")).unwrap();
                (
                    id.to_owned(),
                    1000,
                    "alice".to_owned(),
                    String::new(),
                    object.into(),
                )
            })
            .to_vec()
    }
}

struct LoginState(&'static str);

#[interface(name = "org.freedesktop.login1.Session")]
impl LoginState {
    #[zbus(property)]
    fn class(&self) -> &str {
        self.0
    }

    #[zbus(property, name = "TTY")]
    fn tty(&self) -> &str {
        "pts/1"
    }

    #[zbus(property)]
    fn remote_host(&self) -> &str {
        "192.0.2.7"
    }

    #[zbus(property)]
    fn timestamp(&self) -> u64 {
        5_999_999
    }
}

async fn bus() -> (Bus, Connection) {
    let (client_end, server_end) = UnixStream::pair().unwrap();
    let managers = connection::Builder::unix_stream(server_end)
        .server(zbus::Guid::generate())
        .p2p()
        .serve_at("/org/freedesktop/DBus", Names)
        .serve_at("/org/freedesktop/systemd1", Systemd)
        .serve_at("/unit/old", UnitState(10_000_000))
        .serve_at("/unit/old", ServiceState("exit-code", 1, 3))
        .serve_at("/unit/new", UnitState(20_000_000))
        .serve_at("/unit/new", ServiceState("oom-kill", 2, 9))
        .serve_at("/unit/pre", UnitState(5_000_000))
        .serve_at("/unit/pre", ServiceState("exit-code", 0, 0))
        .serve_at("/org/freedesktop/login1", Logind)
        .serve_at("/session/1", LoginState("user"))
        .serve_at("/session/2", LoginState("manager"));
    let client = connection::Builder::unix_stream(client_end).p2p();
    let (managers, client) = tokio::join!(managers.build(), client.build());
    let end = Instant::now() + Duration::from_secs(20);
    (
        Bus {
            bus: client.unwrap(),
            end,
            decode_by: |decoding| decoding(),
        },
        managers.unwrap(),
    )
}

#[tokio::test]
async fn units_are_counted_and_failed_listed_newest_first() {
    let (bus, _managers) = bus().await;
    let units = bus.units().await.unwrap();
    let reported: Vec<_> = units
        .failed
        .items
        .iter()
        .map(|unit| (unit.name.as_str(), unit.since, unit.status))
        .collect();
    assert_eq!(
        reported,
        [
            ("new.service", Some(20), Some(9)),
            ("old.service", Some(10), Some(3)),
            ("pre.service", Some(5), None),
            ("gone.mount", None, None)
        ]
    );
    assert_eq!(units.failed.items[0].result.as_deref(), Some("oom-kill"));
    assert!(units.failed.items[0].why.is_none());
    assert!(
        units.failed.items[3]
            .why
            .as_ref()
            .is_some_and(|why| why.contains("refused Get")),
        "{units:?}"
    );
    let counts: Vec<_> = units
        .counts
        .iter()
        .map(|count| (count.state.as_str(), count.count))
        .collect();
    assert_eq!(counts, [("activating", 2), ("active", 1), ("failed", 4)]);
    assert_eq!(
        units.restarting.items,
        ["loop\\x1b.service", "queued.service"]
    );
    assert_eq!(
        (units.system.as_deref(), units.jobs),
        (Some("degraded"), Some(3))
    );
}

#[tokio::test]
async fn user_sessions_are_listed() {
    let (bus, _managers) = bus().await;
    let sessions = bus.sessions().await.unwrap();
    let expect = Session {
        user: "alice".into(),
        tty: Some("pts/1".into()),
        from: Some("192.0.2.7".into()),
        since: Some(5),
    };
    assert_eq!(sessions.items, [expect]);
}

#[tokio::test]
async fn absent_service_is_not_called() {
    let (bus, _managers) = bus().await;
    let absent = Service {
        name: "org.example.None",
        path: "/",
        manager: "org.example.None",
    };
    assert_eq!(
        bus.present(&absent).await.unwrap_err(),
        "'org.example.None' is not on the system bus"
    );
}

#[tokio::test]
async fn silent_or_missing_bus_is_a_reason() {
    let directory = crate::tests::Scratch::new();
    let at = Sources {
        run: directory.path().to_owned(),
        ..Sources::host()
    };
    let missing = ask(&[Section::Units], &at).await;
    assert!(
        missing
            .units
            .unwrap()
            .unwrap_err()
            .starts_with("no system bus at '")
    );
    assert!(missing.sessions.is_none());

    std::fs::create_dir(directory.path().join("dbus")).unwrap();
    let _listener = UnixListener::bind(directory.path().join("dbus/system_bus_socket")).unwrap();
    let silent = ask_within(&[], &at, Duration::from_millis(50)).await;
    for why in [
        silent.units.unwrap().unwrap_err(),
        silent.sessions.unwrap().unwrap_err(),
    ] {
        assert!(why.ends_with("did not answer in time"), "{why}");
    }
}

#[tokio::test]
async fn nothing_is_asked_where_nothing_needs_it() {
    let facts = ask(&[Section::Os, Section::Ports], &Sources::host()).await;
    assert!(facts.units.is_none() && facts.sessions.is_none());
}
