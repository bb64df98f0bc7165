//! Tests against a fake manager that has properties as systemd does.

use std::os::unix::net::UnixStream;

use remit_wire::service::ServiceFacts;
use zbus::{Connection, ObjectPath, OwnedObjectPath, connection, interface};

use super::*;

#[test]
fn a_unit_lies_where_its_name_says() {
    for (name, expect) in [
        ("ssh.service", "ssh_2eservice"),
        ("getty@tty1.service", "getty_40tty1_2eservice"),
        ("9p-x_y.mount", "_39p_2dx_5fy_2emount"),
    ] {
        let expect = format!("/org/freedesktop/systemd1/unit/{expect}");
        assert_eq!(object_path(name), expect);
    }
}

struct Names;

#[interface(name = "org.freedesktop.DBus")]
impl Names {
    fn name_has_owner(&self, _name: &str) -> bool {
        true
    }
}

struct Manager;

#[interface(name = "org.freedesktop.systemd1.Manager")]
impl Manager {
    fn list_units(&self) -> Vec<Unit> {
        let path = || OwnedObjectPath::from(ObjectPath::try_from("/x").unwrap());
        let unit = |name: &str, load: &str, active: &str, sub: &str| {
            let text = |text: &str| text.to_owned();
            let described = format!("About {name}\x1b");
            (
                text(name),
                described,
                text(load),
                text(active),
                text(sub),
                text(""),
                path(),
                0,
                text(""),
                path(),
            )
        };
        vec![
            unit("ssh.service", "loaded", "active", "running"),
            unit("ssh.socket", "loaded", "inactive", "dead"),
            unit("gone.service", "not-found", "inactive", "dead"),
            unit("apt.timer", "loaded", "active", "waiting"),
        ]
    }
}

struct OneUnit(&'static str, &'static str);

#[interface(name = "org.freedesktop.systemd1.Unit")]
impl OneUnit {
    #[zbus(property)]
    fn id(&self) -> &str {
        self.0
    }
    #[zbus(property)]
    fn description(&self) -> &str {
        "A\nunit"
    }
    #[zbus(property)]
    fn load_state(&self) -> &str {
        self.1
    }
    #[zbus(property)]
    fn load_error(&self) -> (String, String) {
        (String::new(), String::new())
    }
    #[zbus(property)]
    fn active_state(&self) -> &str {
        "inactive"
    }
    #[zbus(property)]
    fn sub_state(&self) -> &str {
        "dead"
    }
    #[zbus(property)]
    fn drop_in_paths(&self) -> Vec<String> {
        vec!["/etc/x.conf".into(); NAMES + 1]
    }
    #[zbus(property)]
    fn need_daemon_reload(&self) -> bool {
        true
    }
    #[zbus(property)]
    fn state_change_timestamp(&self) -> u64 {
        7_999_999
    }
    #[zbus(property)]
    fn condition_result(&self) -> bool {
        false
    }
    #[zbus(property)]
    fn condition_timestamp(&self) -> u64 {
        8_000_000
    }
    #[zbus(property)]
    fn conditions(&self) -> Vec<(String, bool, bool, String, i32)> {
        let path = || "ConditionPathExists".to_owned();
        vec![
            (path(), false, true, "/a".into(), -1),
            (path(), false, false, "/b".into(), 1),
        ]
    }
    #[zbus(property)]
    fn triggered_by(&self) -> Vec<String> {
        vec!["a.socket".into()]
    }
}

struct Service;

#[interface(name = "org.freedesktop.systemd1.Service")]
impl Service {
    #[zbus(property)]
    fn result(&self) -> &str {
        "exit-code"
    }
    #[zbus(property, name = "MainPID")]
    fn main_pid(&self) -> u32 {
        0
    }
    #[zbus(property)]
    fn exec_start(&self) -> Vec<Exec> {
        let argv = vec!["/bin/a".into(), "b c".into()];
        vec![("/bin/a".into(), argv, false, 0, 0, 0, 0, 0, 0, 0)]
    }
    #[zbus(property)]
    fn exec_main_code(&self) -> i32 {
        1
    }
    #[zbus(property)]
    fn exec_main_status(&self) -> i32 {
        3
    }
    #[zbus(property)]
    fn exec_main_exit_timestamp(&self) -> u64 {
        6_000_000
    }
    #[zbus(property, name = "NRestarts")]
    fn restarts(&self) -> u32 {
        5
    }
    #[zbus(property)]
    fn memory_current(&self) -> u64 {
        NONE
    }
    #[zbus(property)]
    fn tasks_current(&self) -> u64 {
        2
    }
    // This type differs from systemd's. The value must be ignored.
    #[zbus(property)]
    fn tasks_max(&self) -> &str {
        "many"
    }
    #[zbus(property, name = "CPUUsageNSec")]
    fn cpu(&self) -> u64 {
        5_000
    }
}

struct Socket;

#[interface(name = "org.freedesktop.systemd1.Socket")]
impl Socket {
    #[zbus(property)]
    fn listen(&self) -> Vec<(String, String)> {
        vec![("Stream".into(), "/run/a\x1b".into())]
    }
    #[zbus(property, name = "NConnections")]
    fn connections(&self) -> u32 {
        1
    }
}

async fn bus() -> (Bus, Connection) {
    let (client_end, server_end) = UnixStream::pair().unwrap();
    let root = "/org/freedesktop/systemd1";
    let [a, b, c] = ["a.service", "b.socket", "shd.service"].map(object_path);
    let manager = connection::Builder::unix_stream(server_end)
        .server(zbus::Guid::generate())
        .p2p()
        .serve_at("/org/freedesktop/DBus", Names)
        .serve_at(root, Manager)
        .serve_at(a.as_str(), OneUnit("a.service", "loaded"))
        .serve_at(a.as_str(), Service)
        .serve_at(b.as_str(), OneUnit("b.socket", "loaded"))
        .serve_at(b.as_str(), Socket)
        .serve_at(c.as_str(), OneUnit("shd.service", "not-found"))
        .serve_at(c.as_str(), Service);
    let client = connection::Builder::unix_stream(client_end).p2p();
    let (manager, client) = tokio::join!(manager.build(), client.build());
    let end = Instant::now() + Duration::from_secs(20);
    let bus = client.unwrap();
    let bus = Bus {
        bus,
        end,
        decode_by: |decoding| decoding(),
    };
    (bus, manager.unwrap())
}

async fn answer(words: &[&str]) -> Result<ManagerAnswer, Why> {
    let (bus, _manager) = bus().await;
    bus.tell(&Builtin::of_words(words.iter().copied()).unwrap())
        .await
}

async fn unit(name: &str) -> UnitFacts {
    match answer(&["service.status", &format!("unit={name}")]).await {
        Ok(ManagerAnswer::Unit(unit)) => *unit,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn service_facts_are_its_properties() {
    let expect = UnitFacts {
        name: "a.service".into(),
        description: "A\\nunit".into(),
        load: "loaded".into(),
        active: "inactive".into(),
        sub: "dead".into(),
        drop_ins: vec!["/etc/x.conf".into(); NAMES],
        needs_reload: true,
        since: Some(7),
        condition: Some(Condition {
            time: 8,
            unmet: vec!["ConditionPathExists=!/a".into()],
        }),
        triggered_by: vec!["a.socket".into()],
        result: Some("exit-code".into()),
        process: Some(Process {
            pid: 0,
            command: Some("/bin/a 'b c'".into()),
            ended: Some("exited".into()),
            status: Some(3),
            exited: Some(6),
            restarts: Some(5),
            ..Process::default()
        }),
        usage: Usage {
            tasks: Some(2),
            cpu_usec: Some(5),
            ..Usage::default()
        },
        ..UnitFacts::default()
    };
    assert_eq!(unit("a").await, expect);
}

#[test]
fn timer_elapses_by_earlier_clock() {
    let clocks = Clocks {
        real: 1_000_000_000,
        monotonic: 10_000_000,
    };
    for (calendar, since_boot, expect) in [
        (0, 0, None),
        (NONE, NONE, None),
        (1_200_000_000, 0, Some(1200)),
        (0, 70_000_000, Some(1060)),
        (1_200_000_000, 70_000_000, Some(1060)),
        (1_010_000_000, 70_000_000, Some(1010)),
    ] {
        let names = ["NextElapseUSecRealtime", "NextElapseUSecMonotonic"];
        let values = [calendar, since_boot].map(OwnedVariant::from);
        let all = names.map(str::to_owned).into_iter().zip(values);
        let found = next(&mut Properties(all.collect()), clocks);
        assert_eq!(found, expect, "{calendar} {since_boot}");
    }
}

#[tokio::test]
async fn a_socket_tells_where_it_listens() {
    let socket = unit("b.socket").await;
    assert_eq!(socket.listen, ["Stream /run/a\\x1b"]);
    assert_eq!((socket.connections, socket.process), (Some(1), None));
}

#[tokio::test]
async fn absent_unit_has_similar_names() {
    let missing = unit("shd").await;
    assert_eq!(missing.load, "not-found");
    assert_eq!(missing.similar, Vec::<String>::new());
    let (bus, _manager) = bus().await;
    let units = bus.list_units().await.unwrap();
    let like = |name: &str| similar(&units, &name.parse().unwrap());
    assert_eq!(like("sshd"), ["ssh.socket", "ssh.service"]);
    assert_eq!(like("ssh"), ["ssh.socket", "ssh.service"]);
    assert_eq!(like("gone"), Vec::<String>::new());
    let error = answer(&["service.status", "unit=zzz"]).await.unwrap_err();
    assert!(error.contains("refused GetAll"), "{error}");
}

#[tokio::test]
async fn lists_have_services_unless_pattern_differs() {
    for (words, expect) in [
        (&["service.list"][..], &["ssh.service"][..]),
        (
            &["service.list", "pattern=ssh"],
            &["ssh.service", "ssh.socket"],
        ),
        (&["service.list", "pattern=*.timer"], &["apt.timer"]),
        (&["service.list", "state=running"], &["ssh.service"]),
        (&["service.list", "state=not-found"], &["gone.service"]),
        (
            &["service.list", "state=waiting", "pattern=*"],
            &["apt.timer"],
        ),
        (&["service.list", "state=failed"], &[]),
    ] {
        let Ok(ManagerAnswer::List(list)) = answer(words).await else {
            panic!("{words:?}");
        };
        let names: Vec<&str> = list.items.iter().map(|unit| unit.name.as_str()).collect();
        assert_eq!(names, expect, "{words:?}");
        let described = list
            .items
            .iter()
            .all(|unit| unit.description.ends_with("\\x1b"));
        assert!(described, "{list:?}");
    }
}

#[tokio::test]
async fn lists_of_all_units_are_decoded_where_the_caller_says() {
    for (words, is_list) in [
        (&["service.list"][..], true),
        (&["service.failed"], true),
        (&["service.status", "unit=a"], false),
    ] {
        let (bus, _manager) = bus().await;
        let bus = Bus {
            decode_by: drop,
            ..bus
        };
        let command = Builtin::of_words(words.iter().copied()).unwrap();
        let expect = is_list.then(|| "the answer to ListUnits was not decoded".to_owned());
        assert_eq!(bus.tell(&command).await.err(), expect, "{words:?}");
    }
}

#[tokio::test]
async fn without_a_bus_the_reason_is_the_answer() {
    let directory = crate::tests::Scratch::new();
    let at = Sources {
        run: directory.path().to_owned(),
        ..Sources::host()
    };
    let json = service_json(&Builtin::ServiceFailed, &at, |decoding| decoding()).await;
    let facts: ServiceFacts = serde_json::from_slice(&json).unwrap();
    assert!(facts.time > 0);
    assert!(facts.answer.unwrap_err().starts_with("no system bus at '"));
}
