use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::{Child, Stdio};

use remit_wire::host::{Mounts, Port};

use super::*;

fn report(sections: &[Section]) -> HostReport {
    gather(sections, &Sources::host(), BusFacts::default())
}

fn find(list: Option<&List<Port>>, at: SocketAddr) -> Option<Port> {
    let mut items = list.expect("a list of sockets").items.iter();
    let addr = at.ip().to_string();
    items
        .find(|entry| entry.port == at.port() && entry.addr == addr)
        .cloned()
}

fn output(program: &str, args: &[&str]) -> Option<String> {
    match Command::new(program).args(args).output() {
        Ok(output) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(_) if std::env::var_os("REMIT_TESTS_MUST_RUN").is_none() => None,
        Err(err) => panic!("cannot run {program}: {err}"),
    }
}

#[test]
fn own_listeners_are_seen() {
    // Only this test listens there: once it has closed it, no other takes its port.
    let here = Ipv4Addr::new(127, 83, 0, 1);
    let tcp = TcpListener::bind((here, 0)).unwrap();
    let udp = UdpSocket::bind((here, 0)).unwrap();
    let ports = report(&[Section::Ports]).ports.unwrap();
    for (list, at) in [
        (&ports.tcp, tcp.local_addr().unwrap()),
        (&ports.udp, udp.local_addr().unwrap()),
    ] {
        let seen = find(list.as_ref(), at).unwrap_or_else(|| panic!("{at} in {list:?}"));
        assert_eq!(seen.dev, None);
        assert_eq!(
            seen.user,
            output("id", &["-un"]).map_or(seen.user.clone(), |name| name.trim().to_owned())
        );
        assert!(seen.owner.is_some() || seen.why.is_some());
    }
    let at = tcp.local_addr().unwrap();
    drop((tcp, udp));
    let ports = report(&[Section::Ports]).ports.unwrap();
    let left = find(ports.tcp.as_ref(), at);
    assert!(left.is_none(), "a closed listener is gone: {left:?}");
}

struct Group(PathBuf);

impl Group {
    fn new(below: &str) -> Option<Self> {
        let table = mounts::table(&Sources::host()).unwrap();
        let root = table
            .into_iter()
            .find(|mount| mount.fstype == "cgroup2")
            .map(|mount| mount.target);
        match root
            .map(|root| root.join(below))
            .map(|path| std::fs::create_dir_all(&path).map(|()| Self(path)))
        {
            Some(Ok(group)) => Some(group),
            other if std::env::var_os("REMIT_TESTS_MUST_RUN").is_none() => {
                drop(other);
                None
            }
            Some(Err(err)) => panic!("cannot make a control group: {err}"),
            None => panic!("no unified control group hierarchy"),
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
        let _ = self.0.parent().map(std::fs::remove_dir);
    }
}

/// A process in a group that listens on an ephemeral port. Killed on drop.
struct Listener {
    child: Child,
    at: SocketAddr,
}

impl Listener {
    fn start(group: &Group) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::live::listener_process", "--nocapture"])
            .env("REMIT_FACTS_LISTEN", group.0.join("cgroup.procs"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let at = lines
            .map_while(Result::ok)
            .find_map(|line| line.split_once("at=")?.1.parse().ok());
        Self {
            at: at.expect("an address from the listener"),
            child,
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Not a test: the process that [`Listener`] starts.
#[test]
fn listener_process() {
    let Some(procs) = std::env::var_os("REMIT_FACTS_LISTEN") else {
        return;
    };
    std::fs::write(procs, "0").unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    println!("\nat={}", listener.local_addr().unwrap());
    let _ = std::io::stdin().lines().next();
}

#[test]
fn socket_is_traced_to_its_unit_and_processes() {
    let Some(group) = Group::new(&format!(
        "remit-facts-{}.slice/listen.service",
        std::process::id()
    )) else {
        return;
    };
    let listener = Listener::start(&group);
    let ports = report(&[Section::Ports]).ports.unwrap();
    let seen = find(ports.tcp.as_ref(), listener.at).expect("its socket");
    let owner = seen
        .owner
        .unwrap_or_else(|| panic!("an owner, but: {:?}", seen.why));
    assert_eq!(owner.unit.as_deref(), Some("listen.service"));
    assert!(
        owner.cgroup.ends_with(".slice/listen.service"),
        "{}",
        owner.cgroup
    );
    let pids: Vec<u64> = owner.procs.items.iter().map(|proc| proc.pid).collect();
    assert_eq!(pids, [u64::from(listener.child.id())]);
    assert!(
        owner.procs.items[0]
            .comm
            .as_ref()
            .is_some_and(|comm| comm.starts_with("remit_facts"))
    );
    assert_eq!(seen.why, None);
    drop(listener);
}

/// The mounts are those of pid 1, and only in its mount namespace their space is known: `hermetic` makes another one.
#[test]
fn fs_usage_equals_df() {
    let Mounts { list, .. } = report(&[Section::Mounts]).mounts.unwrap();
    let root = list.items.iter().find(|mount| mount.target == "/").unwrap();
    let space = root.space.as_ref().unwrap();
    let Some(df) = output("df", &["-B1", "--output=size,itotal,source", "/"]) else {
        return;
    };
    let words: Vec<&str> = df
        .lines()
        .last()
        .unwrap()
        .split_ascii_whitespace()
        .collect();
    assert_eq!(
        [space.size.to_string(), space.inodes.to_string()],
        [words[0], words[1]]
    );
    assert_eq!(root.source, words[2]);
    assert!(space.used + space.avail <= space.size && space.used > 0);
    assert!(!root.read_only, "this test wrote to it");
}

#[test]
fn addresses_and_routes_are_what_ip_says() {
    let network = report(&[Section::Network]).network.unwrap();
    let Some(text) = output("ip", &["-j", "addr"]) else {
        return;
    };
    let ip: Value = serde_json::from_str(&text).unwrap();
    let mut expect: Vec<String> = Vec::new();
    for link in ip.as_array().unwrap() {
        for addr in link["addr_info"].as_array().unwrap() {
            expect.push(format!(
                "{} {}/{}",
                link["ifname"].as_str().unwrap(),
                addr["local"].as_str().unwrap(),
                addr["prefixlen"]
            ));
        }
    }
    let ifaces = network.interfaces.unwrap().items;
    let mut reported: Vec<String> = ifaces
        .iter()
        .flat_map(|iface| {
            iface
                .addrs
                .items
                .iter()
                .map(|addr| format!("{} {addr}", iface.name))
        })
        .collect();
    expect.sort();
    reported.sort();
    assert_eq!(reported, expect);
    let lo = ifaces.iter().find(|iface| iface.name == "lo").unwrap();
    assert_eq!((lo.kind.as_deref(), lo.up), (Some("loopback"), true));
    assert_eq!(
        lo.counters.as_ref().map(|counters| counters.rx > 0),
        Some(true)
    );

    let routes: Value = serde_json::from_str(&output("ip", &["-j", "route"]).unwrap()).unwrap();
    let reported: Vec<String> = network
        .routes
        .unwrap()
        .items
        .into_iter()
        .map(|route| route.to)
        .collect();
    for route in routes.as_array().unwrap() {
        let to = route["dst"].as_str().unwrap();
        let host = format!("{to}/32");
        assert!(
            reported
                .iter()
                .any(|reported| reported == to || *reported == host),
            "{to} in {reported:?}"
        );
    }
}

#[test]
fn whole_report_of_this_machine_is_sound() {
    let report = report(&[]);
    let json = serde_json::to_string(&report).unwrap();
    assert!(json.len() <= JSON_CHARS, "{}", json.len());
    assert_eq!(serde_json::from_str::<HostReport>(&json).unwrap(), report);
    every_null_has_a_reason(&report);
    assert!(report.load.is_some() && report.memory.is_some());
    if let Some(online) = output("getconf", &["_NPROCESSORS_ONLN"]) {
        assert_eq!(
            report.cpu.map(|cpu| cpu.count.to_string()).as_deref(),
            Some(online.trim())
        );
    }
}
