//! What a job can reach, by its own network with a relay or by the host's. `src/net/tests.rs` tests the relay itself.

use super::common::*;
use remit_confine::*;
use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
};

fn has_bash() -> bool {
    has("bash", std::path::Path::new("/usr/bin/bash").exists())
}

fn strict(network: Network) -> Sandbox {
    let profile = StrictProfile {
        network,
        limits: LIMITS,
        ..StrictProfile::default()
    };
    compile_strict(&profile, &probe().unwrap()).unwrap()
}

fn connect(host: &str, addresses: &[&str], port: u16) -> Network {
    Network::Connect(vec![Destination {
        host: host.into(),
        addresses: addresses
            .iter()
            .map(|a| FarAddress {
                ip: a.parse().unwrap(),
                may_be_own: true,
            })
            .collect(),
        port,
    }])
}

fn bash(sandbox: &Sandbox, script: &str) -> Ran {
    let fixture = fixture();
    let ran = run_in(sandbox, &fixture, &["bash", "-c", script], &With::default());
    end(fixture);
    ran
}

/// Listeners on one port of all these addresses; another program may have the port of one of them.
fn listeners(addresses: &[&str]) -> Vec<TcpListener> {
    loop {
        let first = TcpListener::bind((addresses[0], 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        let others = addresses[1..].iter().map(|a| TcpListener::bind((*a, port)));
        match std::iter::once(Ok(first)).chain(others).collect() {
            Ok(all) => return all,
            Err(e) if e.kind() == std::io::ErrorKind::AddrInUse => {}
            Err(e) => panic!("{addresses:?}: {e}"),
        }
    }
}

fn echo(addresses: &[&str]) -> u16 {
    let listeners = listeners(addresses);
    let port = listeners[0].local_addr().unwrap().port();
    for listener in listeners {
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                std::thread::spawn(move || serve(connection.unwrap()));
            }
        });
    }
    port
}

fn serve(mut connection: TcpStream) {
    let mut copy = connection.try_clone().unwrap();
    let _ = std::io::copy(&mut connection, &mut copy);
    let _ = copy.shutdown(Shutdown::Write);
}

fn talk(host: &str, port: u16) -> String {
    format!("exec 3<>/dev/tcp/{host}/{port} && echo word >&3 && read -r said <&3 && echo \"$said\"")
}

#[test]
fn exactly_the_destinations_are_reached() {
    if !has_bash() {
        return;
    }
    let port = echo(&["127.0.0.1", "::1"]);
    let other = echo(&["127.0.0.1"]);
    let sandbox = strict(connect("there.example", &["127.0.0.1", "::1"], port));
    for host in ["127.0.0.1", "::1", "there.example"] {
        let ran = bash(&sandbox, &talk(host, port));
        assert_eq!(ran.out, "word\n", "{host}: {ran:?}");
    }
    for (host, port) in [("127.0.0.1", other), ("127.0.0.2", port)] {
        let ran = bash(&sandbox, &talk(host, port));
        assert!(ran.out.is_empty() && ran.err.contains("refused"), "{ran:?}");
    }
    let ran = bash(&sandbox, &talk("192.0.2.1", port));
    assert!(ran.err.contains("unreachable"), "{ran:?}");
    let ran = bash(&sandbox, &talk("elsewhere.example", port));
    assert!(ran.out.is_empty() && ran.code() != Some(0), "{ran:?}");
}

#[test]
fn without_a_destination_the_hosts_loopback_is_another() {
    if !has_bash() {
        return;
    }
    let port = echo(&["127.0.0.1"]);
    let ran = bash(&strict(Network::None), &talk("127.0.0.1", port));
    assert!(ran.err.contains("unreachable"), "{ran:?}");
    let ran = bash(&strict(Network::Loopback), &talk("127.0.0.1", port));
    assert!(ran.err.contains("refused"), "{ran:?}");
    let links = bash(&strict(Network::Loopback), "cat /proc/self/net/dev");
    assert_eq!(links.out.lines().count(), 3, "{links:?}");
}

#[test]
fn host_network_is_reachable_if_listed() {
    if !has_bash() {
        return;
    }
    let port = echo(&["127.0.0.1"]);
    let kernel = probe().unwrap();
    let ran = bash(&strict(Network::Host), &talk("127.0.0.1", port));
    assert_eq!(ran.out, "word\n", "{ran:?}");
    for (network, said) in [(true, "word\n"), (false, "")] {
        let profile = ReadProfile {
            network,
            ..profile()
        };
        let ran = bash(
            &compile_read(&profile, &kernel).unwrap(),
            &talk("127.0.0.1", port),
        );
        assert_eq!(ran.out, said, "{ran:?}");
    }
    // Unix sockets are another thing: the network gives none.
    let dir = HostDir::new();
    let _listener = std::os::unix::net::UnixListener::bind(dir.0.join("socket")).unwrap();
    let list = bash(
        &strict(Network::Host),
        &format!("ls {}", dir.path("socket")),
    );
    assert_ne!(list.code(), Some(0), "{list:?}");
}

#[test]
fn many_bytes_and_many_connections_go_through() {
    const SIZE: usize = 64 << 20;
    if !has_bash() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let mut copy = connection.try_clone().unwrap();
        let pour = std::thread::spawn(move || {
            let zeros = vec![0; 1 << 20];
            for _ in 0..SIZE >> 20 {
                copy.write_all(&zeros).unwrap();
            }
            copy.shutdown(Shutdown::Write).unwrap();
        });
        let mut got = 0;
        let mut buffer = vec![0; 1 << 20];
        while got < SIZE {
            got += match connection.read(&mut buffer).unwrap() {
                0 => break,
                n => n,
            };
        }
        pour.join().unwrap();
        got
    });
    let sandbox = strict(connect("127.0.0.1", &["127.0.0.1"], port));
    let ran = bash(
        &sandbox,
        &format!(
            "exec 3<>/dev/tcp/127.0.0.1/{port}; head -c {SIZE} /dev/zero >&3 & wc -c <&3; wait"
        ),
    );
    assert_eq!(ran.out.trim(), SIZE.to_string(), "{ran:?}");
    assert_eq!(server.join().unwrap(), SIZE);

    let port = echo(&["127.0.0.1"]);
    let sandbox = strict(connect("127.0.0.1", &["127.0.0.1"], port));
    let one = talk("127.0.0.1", port);
    let ran = bash(
        &sandbox,
        &format!("for i in {{1..200}}; do {one}; exec 3>&-; done"),
    );
    assert_eq!(ran.out, "word\n".repeat(200), "{ran:?}");
}

#[test]
fn job_ending_while_connected_leaves_no_process() {
    if !has_bash() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let sandbox = strict(connect("127.0.0.1", &["127.0.0.1"], port));
    let fixture = fixture();
    // The job ends by itself and leaves a process that holds the connection; then, one is killed.
    for kill in [false, true] {
        let uid = uid();
        let with = With {
            uid: Some(uid),
            ..With::default()
        };
        let rest = if kill { "wait" } else { "exit 7" };
        let script = format!(
            "exec 3<>/dev/tcp/127.0.0.1/{port}; echo last words >&3; sleep 1000 & echo ready; {rest}"
        );
        let spawned = start(&sandbox, &fixture, &["bash", "-c", &script], &with).unwrap();
        let (mut connection, _) = listener.accept().unwrap();
        if kill {
            wait_for_line(&spawned.stdout, "ready");
            assert!(!processes(uid).is_empty());
            sys::pidfd_send_signal(&spawned.pidfd, libc::SIGKILL).unwrap();
        }
        let ran = finish(spawned);
        let (code, signal) = if kill {
            (None, Some(libc::SIGKILL))
        } else {
            (Some(7), None)
        };
        assert_eq!((ran.code(), ran.signal()), (code, signal), "{ran:?}");
        let mut heard = Vec::new();
        let end = connection.read_to_end(&mut heard);
        if !kill {
            assert!(end.is_ok() && heard == b"last words\n", "{end:?} {heard:?}");
        }
        gone(uid);
    }
    end(fixture);
}

/// The kernel ends what is left in a namespace before its init is reaped, and a child of a dead process just after.
fn gone(uid: u32) {
    for pid in processes(uid) {
        if let Ok(pidfd) = sys::pidfd_open(pid) {
            wait_readable(pidfd);
        }
    }
    assert_eq!(processes(uid), Vec::<i32>::new());
}

#[test]
fn a_job_sees_nothing_of_its_relay() {
    let port = echo(&["127.0.0.1"]);
    let sandbox = strict(connect("127.0.0.1", &["127.0.0.1"], port));
    let fixture = fixture();
    let script =
        "ls /proc/self/fd | wc -l; for p in /proc/[0-9]*; do read -r n < $p/comm && echo $n; done";
    let ran = run_in(&sandbox, &fixture, &["sh", "-c", script], &With::default());
    end(fixture);
    assert!(!ran.out.contains("relay"), "{ran:?}");
    assert_eq!(ran.out.lines().next().map(str::trim), Some("4"), "{ran:?}");
}

#[test]
fn root_job_has_unprivileged_relay() {
    if !has_bash() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (connection, _) = listener.accept().unwrap();
        let relays: Vec<String> = std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("status")).ok())
            .filter(|status| status.starts_with("Name:\tremit-relay\n"))
            .collect();
        serve(connection);
        relays
    });
    let profile = StrictProfile {
        user: Some((0, 0)),
        network: connect("127.0.0.1", &["127.0.0.1"], port),
        limits: LIMITS,
        ..StrictProfile::default()
    };
    let script = format!("id -u; {}", talk("127.0.0.1", port));
    let ran = super::strict::run_as(&profile, &["bash", "-c", &script]);
    assert_eq!(ran.out, "0\nword\n", "{ran:?}");
    let relays = server.join().unwrap();
    assert!(!relays.is_empty());
    for status in relays {
        assert!(!status.contains("Uid:\t0"), "{status}");
        assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
    }
}

/// Abstract names belong to a network: a job with Unix sockets has none of the host's.
#[test]
fn abstract_host_sockets_are_unreachable() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener};
    if !has("perl", std::path::Path::new("/usr/bin/perl").exists()) {
        return;
    }
    let name = format!("remit-test-{}", uid());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _listener = UnixListener::bind_addr(&address).unwrap();
    let script = format!(
        "use Socket; socket(S, AF_UNIX, SOCK_STREAM, 0) or die \"no socket: $!\"; \
         connect(S, pack('Sa*', AF_UNIX, \"\\0{name}\")) or die \"no connection: $!\"; print 'met'"
    );
    let outside = std::process::Command::new("perl")
        .args(["-e", &script])
        .output()
        .unwrap();
    assert_eq!(outside.stdout, b"met", "{outside:?}");
    let dir = HostDir::new();
    let _other = UnixListener::bind(dir.0.join("socket")).unwrap();
    let profile = StrictProfile {
        sockets: vec![super::strict::listed(dir.0.join("socket"))],
        network: Network::Loopback,
        limits: LIMITS,
        ..StrictProfile::default()
    };
    let ran = super::strict::run_strict(&profile, &["perl", "-e", &script], &With::default());
    assert!(
        ran.err.contains("no connection: Connection refused"),
        "{ran:?}"
    );
}

#[test]
fn unix_sockets_with_host_network_need_landlock_scopes() {
    let mut kernel = probe().unwrap();
    for (abi, network, sockets, goes) in [
        (5, Network::Host, true, false),
        (0, Network::Host, true, false),
        (6, Network::Host, true, true),
        (5, Network::Host, false, true),
        (0, Network::Loopback, true, true),
    ] {
        kernel.landlock_abi = abi;
        let profile = StrictProfile {
            sockets: match sockets {
                true => vec![super::strict::listed("/run/socket")],
                false => Vec::new(),
            },
            network: network.clone(),
            limits: LIMITS,
            ..StrictProfile::default()
        };
        let made = compile_strict(&profile, &kernel);
        assert_eq!(made.is_ok(), goes, "{abi} {network:?} {sockets}: {made:?}");
    }
}
