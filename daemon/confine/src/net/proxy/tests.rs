//! The real proxy between a job's network and another machine's, which has a name server and HTTP servers. Everything is in
//! network namespaces of the tests' threads; the files with names are in a mount namespace of the job's thread.

use super::super::Relay;
use super::super::tests::{V4, V6, in_job, on_host};
use super::*;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{SockaddrStorage, setsockopt, sockopt};
use remit_spawn::Network;
use std::{
    fs::Permissions,
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream, UdpSocket},
    os::unix::fs::PermissionsExt,
    process::Command,
    sync::{Arc, Condvar, Mutex, mpsc},
    thread,
};

const HERE: &str = "10.99.0.1";
/// A second address of the host: its source address is the first one.
const HERE_TOO: &str = "10.99.0.3";
const THERE: &str = "10.99.0.2";

fn ip(words: &str) {
    let ran = Command::new("ip").args(words.split(' ')).status();
    assert!(ran.expect("iproute2").success(), "{words}");
}

/// What the other machine was asked.
#[derive(Clone, Default)]
struct Log(Arc<(Mutex<Vec<String>>, Condvar)>);

impl Log {
    fn add(&self, text: impl Into<String>) {
        self.0.0.lock().unwrap().push(text.into());
        self.0.1.notify_all();
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.0.lock().unwrap())
    }

    fn wait_for(&self, line: &str) {
        let is_missing = |all: &mut Vec<String>| !all.iter().any(|one| one == line);
        let all = self.0.0.lock().unwrap();
        let limit = Duration::from_secs(20);
        let waited = self.0.1.wait_timeout_while(all, limit, is_missing).unwrap();
        assert!(!waited.1.timed_out(), "{line}: {:?}", waited.0);
    }
}

/// Runs `body` on a host with another machine on its link, whose servers write a log.
fn beside_another_machine(body: impl FnOnce(&Log) + Send) {
    on_host(|| {
        ip("link add here type veth peer name there");
        let (ready, is_ready) = mpsc::channel();
        let (moved, is_moved) = mpsc::channel::<()>();
        let (end, ended) = mpsc::channel::<()>();
        let log = Log::default();
        thread::scope(|scope| {
            let end = end;
            let log = &log;
            scope.spawn(move || {
                sys::own_network().unwrap();
                ready
                    .send(std::fs::read_link("/proc/thread-self").unwrap())
                    .unwrap();
                is_moved.recv().unwrap();
                ip("link set lo up");
                ip(&format!("addr add {THERE}/24 dev there"));
                ip("link set there up");
                listen(80, log, serve);
                listen(8080, log, serve);
                let socket = UdpSocket::bind((THERE, 53)).unwrap();
                let names = log.clone();
                thread::spawn(move || name_server(&socket, &names));
                ready.send(std::path::PathBuf::new()).unwrap();
                let _ = ended.recv();
            });
            let other = is_ready.recv().unwrap();
            ip(&format!(
                "link set there netns /proc/{}/ns/net",
                other.display()
            ));
            ip(&format!("addr add {HERE}/24 dev here"));
            ip(&format!("addr add {HERE_TOO}/24 dev here"));
            ip("link set here up");
            moved.send(()).unwrap();
            is_ready.recv().unwrap();
            TcpStream::connect((THERE, 80)).expect("the host reaches it");
            body(log);
            drop(end);
        });
    });
}

fn listen(port: u16, log: &Log, serve: fn(TcpStream, &Log)) {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
    let log = log.clone();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let (connection, log) = (connection.unwrap(), log.clone());
            thread::spawn(move || serve(connection, &log));
        }
    });
}

fn head(connection: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut one = [0];
        match connection.read(&mut one) {
            Ok(1) => bytes.push(one[0]),
            _ => break,
        }
    }
    String::from_utf8(bytes).unwrap()
}

const BIG: usize = 8 << 20;

fn end_of(connection: &mut TcpStream) -> &'static str {
    match connection.read(&mut [0]) {
        Ok(0) => "ended",
        Ok(_) => "has a body",
        Err(e) if e.raw_os_error() == Some(libc::ECONNRESET) => "was reset",
        Err(_) => "failed",
    }
}

fn serve(mut connection: TcpStream, log: &Log) {
    let request = head(&mut connection);
    if request.is_empty() {
        return;
    }
    log.add(&request);
    let _ = connection.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
    let path = request.split(' ').nth(1).unwrap_or_default();
    match path {
        "/big" => {
            let _ = connection.write_all(&vec![b'x'; BIG]);
        }
        "/reset" => {
            let _ = connection.write_all(&vec![b'x'; 64 << 10]);
            super::super::pair::reset(&OwnedFd::from(connection));
        }
        "/silent" => std::mem::forget(connection),
        "/last" => {
            let _ = connection.shutdown(Shutdown::Write);
            log.add(format!("{path} {}", end_of(&mut connection)));
        }
        // A write after the reset would take its error.
        "/left" | "/killed" | "/over" => {
            log.add(format!("{path} {}", end_of(&mut connection)));
        }
        _ => {
            let _ = connection.write_all(b"hello");
        }
    }
}

/// Answers by the first label of the name.
fn name_server(socket: &UdpSocket, log: &Log) {
    let mut buffer = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        let question = &buffer[..length];
        let label = question[13..13 + usize::from(question[12])].to_vec();
        let label = String::from_utf8(label).unwrap();
        let kind = question[length - 3];
        log.add(format!("{label} {kind}"));
        let address = match label.as_str() {
            "inside" => [127, 0, 0, 1],
            "own" => [10, 99, 0, 3],
            "metadata" => [169, 254, 169, 254],
            "broadcast" => [10, 99, 0, 255],
            _ => [10, 99, 0, 2],
        };
        let mut answer = question.to_vec();
        answer[2..4].copy_from_slice(&[0x81, 0x80]);
        match label.as_str() {
            "silent" => continue,
            "broken" => answer[3] = 0x82,
            "none" => answer[3] = 0x83,
            "long" => answer[2] |= 0x02,
            _ if kind == 1 => {
                answer[7] = 1;
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
                answer.extend(address);
            }
            _ => {}
        }
        let _ = socket.send_to(&answer, from);
    }
}

/// Runs `body` in a job that reaches these names; all but those of `hosts` are looked up at the other machine.
fn job(names: &[&str], hosts: &str, body: impl FnOnce(&Relay) + Send) {
    job_with(names, hosts, "", body);
}

/// As [`job`]. One of the files of names, `hidden`, is root's alone.
fn job_with(names: &[&str], hosts: &str, hidden: &str, body: impl FnOnce(&Relay) + Send) {
    let list = names.iter().map(|name| {
        let (host, port) = name.split_once(':').unwrap();
        (host.to_owned(), port.parse().unwrap())
    });
    let files = std::env::temp_dir().join(format!("remit-proxy-{}", std::process::id()));
    let _ = std::fs::create_dir(&files);
    let hosts = hosts.to_owned();
    let (own, hidden) = (files.clone(), hidden.to_owned());
    let list: Vec<(String, u16)> = list.collect();
    thread::scope(|scope| {
        let run = scope.spawn(move || {
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            let none = None::<&str>;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
            for (name, text) in [
                ("hosts", &hosts),
                ("resolv.conf", &format!("nameserver {THERE}\n")),
            ] {
                let file = files.join(name);
                std::fs::write(&file, text).unwrap();
                let mode = if name == hidden { 0o600 } else { 0o644 };
                std::fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
                let at = format!("/etc/{name}");
                mount(Some(&file), at.as_str(), none, MsFlags::MS_BIND, none).unwrap();
            }
            // The job's thread comes from this one, with its mounts.
            in_job(Network::Names(list), |relay| body(&relay.unwrap()));
        });
        let ran = run.join();
        let _ = std::fs::remove_dir_all(own);
        ran.unwrap();
    });
}

fn ask(request: &str) -> String {
    let mut connection = TcpStream::connect(("127.0.0.1", PORT)).unwrap();
    connection.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

fn get(name: &str, path: &str) -> String {
    ask(&format!(
        "GET http://{name}{path} HTTP/1.1\r\nHost: {name}\r\n\r\n"
    ))
}

#[test]
fn listed_names_are_reached_by_get_and_head_alone() {
    beside_another_machine(|log| {
        job(&["deb.example.org:80", "deb.example.org:8080"], "", |_| {
            assert!(get("deb.example.org", "/x").ends_with("\r\n\r\nhello"));
            assert!(get("deb.example.org:8080", "/y").ends_with("\r\n\r\nhello"));
            let log: Vec<String> = log.take();
            let asked: Vec<&String> = log.iter().filter(|line| line.starts_with("GET")).collect();
            let expect = [
                "GET /x HTTP/1.1\r\nHost: deb.example.org\r\nConnection: close\r\n\r\n",
                "GET /y HTTP/1.1\r\nHost: deb.example.org:8080\r\nConnection: close\r\n\r\n",
            ];
            assert_eq!(asked, expect);
            for (request, status) in [
                (
                    "GET http://other.example.org/ HTTP/1.1\r\nHost: other.example.org",
                    403,
                ),
                (
                    "GET http://deb.example.org:81/ HTTP/1.1\r\nHost: deb.example.org:81",
                    403,
                ),
                (
                    "POST http://deb.example.org/ HTTP/1.1\r\nHost: deb.example.org\r\nContent-Length: 3\r\n\r\nabc",
                    405,
                ),
                (
                    "CONNECT deb.example.org:80 HTTP/1.1\r\nHost: deb.example.org",
                    403,
                ),
                (
                    "GET http://deb.example.org/ HTTP/1.1\r\nHost: other.example.org",
                    400,
                ),
            ] {
                let answer = ask(&format!("{request}\r\n\r\n"));
                assert!(
                    answer.starts_with(&format!("HTTP/1.1 {status} ")),
                    "{request}: {answer}"
                );
            }
        });
        // The name was looked up once, and no other one.
        assert!(log.take().is_empty());
    });
}

#[test]
fn names_that_lead_to_this_machine_or_to_metadata_are_refused() {
    beside_another_machine(|log| {
        let own = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80)).unwrap();
        let six = TcpListener::bind((V6, 80)).unwrap();
        for address in ["127.0.0.1", V4, V6, HERE, HERE_TOO] {
            TcpStream::connect((address, 80))
                .unwrap_or_else(|e| panic!("without the proxy: {address}: {e}"));
        }
        for _ in 0..4 {
            own.accept().unwrap();
        }
        six.accept().unwrap();
        // A bind proves nothing then; the kernel's routes still do.
        std::fs::write("/proc/sys/net/ipv4/ip_nonlocal_bind", "1").unwrap();
        ip("-6 route add 64:ff9b::/96 dev here");
        let hosts = format!(
            "127.9.9.9 loop.example.org\n{V4} four.example.org\n{V6} six.example.org\n{HERE} here.example.org\n\
                     ::ffff:{HERE} mapped.example.org\n64:ff9b::{HERE} translated.example.org\n192.0.2.250 nowhere.example.org\n"
        );
        let names = [
            "inside",
            "own",
            "metadata",
            "broadcast",
            "loop",
            "four",
            "six",
            "here",
            "mapped",
            "translated",
            "nowhere",
        ];
        let listed: Vec<String> = names
            .iter()
            .map(|name| format!("{name}.example.org:80"))
            .collect();
        let listed: Vec<&str> = listed.iter().map(String::as_str).collect();
        job(&listed, &hosts, |_| {
            for (name, why) in names.into_iter().zip([
                "127.0.0.1 is a loopback address",
                "10.99.0.3 is an address of this machine",
                "169.254.169.254 is a link-local address",
                "10.99.0.255 is not the address of one host",
                "127.9.9.9 is a loopback address",
                "192.0.2.7 is an address of this machine",
                "2001:db8::7 is an address of this machine",
                "10.99.0.1 is an address of this machine",
                "10.99.0.1 is an address of this machine",
                "64:ff9b::a63:1 leads back to this machine",
                "192.0.2.250: network is unreachable",
            ]) {
                let answer = get(&format!("{name}.example.org"), "/");
                let expect = format!(
                    "HTTP/1.1 502 no address of '{name}.example.org' can be reached: {why}\r\n"
                );
                assert!(answer.starts_with(&expect), "{name}: {answer}");
            }
        });
        own.set_nonblocking(true).unwrap();
        six.set_nonblocking(true).unwrap();
        assert!(own.accept().is_err() && six.accept().is_err());
        assert!(!log.take().iter().any(|line| line.starts_with("GET")));
    });
}

/// A rule for TCP of one port is one of TCP's routes alone.
#[test]
fn route_that_only_one_port_has_is_the_one_that_counts() {
    const RULED: &str = "198.51.100.7";
    beside_another_machine(|_| {
        let own = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80)).unwrap();
        // As one that gets what others address elsewhere.
        setsockopt(&own, sockopt::IpTransparent, &true).unwrap();
        ip("route add 198.51.100.0/24 via 10.99.0.2");
        // The source is another address, so what it is connected to says nothing.
        ip("route add local 198.51.100.0/24 dev lo src 10.99.0.1 table 77");
        ip("rule add pref 100 ipproto tcp dport 80 lookup 77");
        TcpStream::connect((RULED, 80)).expect("without the proxy");
        own.accept().unwrap();
        let hosts = format!("{RULED} ruled.example.org\n");
        job(&["ruled.example.org:80"], &hosts, |_| {
            let answer = get("ruled.example.org", "/");
            let expect = format!("{RULED} is an address of this machine\r\n");
            assert!(answer.contains(&expect), "{answer}");
        });
        own.set_nonblocking(true).unwrap();
        assert!(own.accept().is_err());
    });
}

#[test]
fn lookup_is_shared_and_says_why_it_failed() {
    beside_another_machine(|log| {
        job(
            &[
                "deb.example.org:80",
                "broken.example.org:80",
                "none.example.org:80",
                "long.example.org:80",
            ],
            "",
            |_| {
                thread::scope(|scope| {
                    for _ in 0..16 {
                        scope.spawn(|| assert!(get("deb.example.org", "/").ends_with("hello")));
                    }
                });
                let mut questions = log.take();
                questions.retain(|line| !line.starts_with("GET"));
                assert_eq!(questions, ["deb 1", "deb 28"]);
                for (name, why) in [
                    ("broken", "the name server answers with code 2"),
                    ("none", "it has no address"),
                    (
                        "long",
                        "the name server's answer is too long for a datagram",
                    ),
                ] {
                    let answer = get(&format!("{name}.example.org"), "/");
                    let expect =
                        format!("HTTP/1.1 502 '{name}.example.org' cannot be looked up: {why}\r\n");
                    assert!(answer.starts_with(&expect), "{answer}");
                }
            },
        );
    });
}

#[test]
fn large_answer_arrives_whole_and_buffers_are_bounded() {
    beside_another_machine(|_| {
        job(&["deb.example.org:80"], "", |relay| {
            let mut connection = TcpStream::connect(("127.0.0.1", PORT)).unwrap();
            connection
                .write_all(b"GET http://deb.example.org/big HTTP/1.0\r\n\r\n")
                .unwrap();
            connection.read_exact(&mut vec![0; BIG / 2]).unwrap();
            // Of the proxy's network, which is the host's.
            let host = format!("--net=/proc/{}/ns/net", relay.pid);
            let shown = Command::new("nsenter")
                .args([&host, "ss", "-tmnO", "dst", THERE])
                .output()
                .unwrap();
            let shown = String::from_utf8(shown.stdout).unwrap();
            let bound = 64 << 10;
            assert!(
                shown.contains(&format!(",rb{bound},")) && shown.contains(&format!(",tb{bound},")),
                "{shown}"
            );
            let mut rest = Vec::new();
            connection.read_to_end(&mut rest).unwrap();
            assert_eq!(rest.len(), BIG / 2 + "HTTP/1.1 200 OK\r\n\r\n".len());
        });
    });
}

/// What is in a file that cannot be read decides about a name: no other address is taken instead.
#[test]
fn file_of_names_that_cannot_be_read_fails_the_lookup() {
    const HOSTS: &str = "10.99.0.2 listed.example.org\n";
    beside_another_machine(|log| {
        let names = ["listed.example.org:80", "deb.example.org:80"];
        let is_refused = |name: &str, file: &str| {
            let answer = get(name, "/");
            let expect = format!(
                "HTTP/1.1 502 '{name}' cannot be looked up: cannot read /etc/{file}: permission denied\r\n"
            );
            assert!(answer.starts_with(&expect), "{answer}");
        };
        job_with(&names, HOSTS, "hosts", |_| {
            is_refused("listed.example.org", "hosts");
            is_refused("deb.example.org", "hosts");
        });
        job_with(&names, HOSTS, "resolv.conf", |_| {
            is_refused("deb.example.org", "resolv.conf");
            assert!(log.take().is_empty());
            assert!(get("listed.example.org", "/").ends_with("hello"));
        });
    });
}

fn ticks(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Ends of a connection that poll(2) reports again and again.
#[test]
fn ends_of_connections_use_no_processor() {
    beside_another_machine(|_| {
        job(&["deb.example.org:80"], "", |relay| {
            let begin = |path: &str| {
                let mut one = TcpStream::connect(("127.0.0.1", PORT)).unwrap();
                write!(one, "GET http://deb.example.org{path} HTTP/1.0\r\n\r\n").unwrap();
                one
            };
            let unread: Vec<TcpStream> = ["/reset", "/big", "/silent", "/"].map(begin).into();
            let half = begin("/silent");
            half.shutdown(Shutdown::Write).unwrap();
            let refused = begin("x");
            let mut dribble = TcpStream::connect(("127.0.0.1", PORT)).unwrap();
            dribble.write_all(b"G").unwrap();
            // All are where they stay.
            assert!(get("deb.example.org", "/").ends_with("hello"));
            let before = ticks(relay.pid);
            thread::sleep(Duration::from_millis(500));
            assert!(ticks(relay.pid) - before < 8, "it spins");
            drop((unread, half, refused, dribble));
            assert!(get("deb.example.org", "/").ends_with("hello"));
        });
    });
}

#[test]
fn reset_of_a_server_is_no_end_of_its_answer() {
    beside_another_machine(|_| {
        job(&["deb.example.org:80"], "", |_| {
            let mut connection = TcpStream::connect(("127.0.0.1", PORT)).unwrap();
            connection
                .write_all(b"GET http://deb.example.org/reset HTTP/1.0\r\n\r\n")
                .unwrap();
            let ended = connection.read_to_end(&mut Vec::new());
            assert_eq!(ended.unwrap_err().raw_os_error(), Some(libc::ECONNRESET));
        });
    });
}

/// Otherwise a server that acknowledges nothing keeps a closed connection in the kernel for long.
#[test]
fn server_is_reset_if_the_job_leaves_first() {
    beside_another_machine(|log| {
        let begin = |path: &str| {
            let mut one = TcpStream::connect(("127.0.0.1", PORT)).unwrap();
            write!(one, "GET http://deb.example.org{path} HTTP/1.0\r\n\r\n").unwrap();
            one.peek(&mut [0]).unwrap();
            one
        };
        job(&["deb.example.org:80"], "", |relay| {
            assert_eq!(get("deb.example.org", "/last"), "HTTP/1.1 200 OK\r\n\r\n");
            log.wait_for("/last ended");
            // With bytes that it has not read: its close is a reset.
            drop(begin("/left"));
            log.wait_for("/left was reset");
            let _held = begin("/over");
            sys::kill(relay.pid, libc::SIGTERM).unwrap();
            sys::wait(relay.pid, 0).unwrap();
            log.wait_for("/over was reset");
        });
        job(&["deb.example.org:80"], "", |relay| {
            let _held = begin("/killed");
            sys::kill(relay.pid, libc::SIGKILL).unwrap();
            sys::wait(relay.pid, 0).unwrap();
            log.wait_for("/killed was reset");
        });
    });
}

#[test]
fn connections_beyond_the_most_wait_and_a_dribbled_request_ends() {
    beside_another_machine(|_| {
        job(&["deb.example.org:80"], "", |_| {
            let idle: Vec<TcpStream> = (0..CONNECTIONS)
                .map(|_| TcpStream::connect(("127.0.0.1", PORT)).unwrap())
                .collect();
            let (sender, answers) = mpsc::channel();
            thread::scope(|scope| {
                let mut dribble = idle[0].try_clone().unwrap();
                // Each byte is an event; the time of the head counts on.
                scope.spawn(move || {
                    while dribble.write_all(b"x").is_ok() {
                        thread::sleep(Duration::from_millis(200));
                    }
                });
                scope.spawn(move || sender.send(get("deb.example.org", "/")).unwrap());
                let mut text = String::new();
                let _ = (&idle[0]).read_to_string(&mut text);
                assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
                assert!(answers.recv().unwrap().ends_with("hello"));
                drop(idle);
            });
        });
    });
}

#[test]
fn proxy_has_no_right_no_file_and_one_filter() {
    beside_another_machine(|_| {
        job(&["deb.example.org:80"], "", |relay| {
            // It has said that it is ready before it closes the pipe for that.
            assert!(get("other.example.org", "/").starts_with("HTTP/1.1 403 "));
            let status = std::fs::read_to_string(format!("/proc/{}/status", relay.pid)).unwrap();
            for line in [
                "Name:\tremit-proxy",
                "Groups:\t ",
                "CapEff:\t0000000000000000",
                "CapBnd:\t0000000000000000",
                "NoNewPrivs:\t1",
                "Seccomp:\t2",
            ] {
                assert!(status.lines().any(|l| l == line), "{line} in {status}");
            }
            for entry in std::fs::read_dir(format!("/proc/{}/fd", relay.pid)).unwrap() {
                // It closes the connection of the request before meanwhile.
                let Ok(to) = std::fs::read_link(entry.unwrap().path()) else {
                    continue;
                };
                let to = to.to_string_lossy().into_owned();
                assert!(
                    to.starts_with("socket:") || to == "anon_inode:[signalfd]",
                    "{to}"
                );
            }
            sys::kill(relay.pid, libc::SIGKILL).unwrap();
            sys::wait(relay.pid, 0).unwrap();
            let refused = TcpStream::connect(("127.0.0.1", PORT)).unwrap_err();
            assert_eq!(refused.raw_os_error(), Some(libc::ECONNREFUSED));
        });
    });
}

/// What comes beyond the rate waits for its turn.
#[test]
fn connections_to_servers_begin_at_a_rate() {
    beside_another_machine(|log| {
        job(&["deb.example.org:80"], "", |_| {
            const EACH: usize = 15;
            let start = Instant::now();
            thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        for _ in 0..EACH {
                            assert!(get("deb.example.org", "/").ends_with("hello"));
                        }
                    });
                }
            });
            // 20 at once, and 10 more at 5 a second.
            assert!(start.elapsed() >= Duration::from_millis(1900));
            let asked = log.take();
            let count = asked.iter().filter(|line| line.starts_with("GET")).count();
            assert_eq!(count, 2 * EACH);
        });
    });
}

/// The kernel connects a socket to its own port, if that is the one asked for. No route is wrong then.
#[test]
fn connection_to_itself_is_recognized() {
    let of = |address: &str| match address.parse().unwrap() {
        std::net::SocketAddr::V4(v4) => SockaddrStorage::from(v4),
        std::net::SocketAddr::V6(v6) => SockaddrStorage::from(v6),
    };
    for (own, peer, is_same) in [
        ("10.0.0.1:40000", "10.0.0.1:40000", true),
        ("10.0.0.1:40000", "10.0.0.1:80", true),
        ("10.0.0.1:40000", "10.0.0.2:80", false),
        ("[2001:db8::1]:1", "[2001:db8::1]:80", true),
        ("[2001:db8::1]:1", "[2001:db8::2]:80", false),
        ("10.0.0.1:1", "[2001:db8::1]:80", true),
    ] {
        let found = connection::is_same_host(&of(own), &of(peer));
        assert_eq!(found, is_same, "{own} {peer}");
    }
}
