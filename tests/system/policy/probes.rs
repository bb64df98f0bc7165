//! Commands of a profile with `network = "this-host"`, on servers that answer, lead away, say nothing and lie.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use remit_tests::caller::{named, stdout};
use remit_tests::daemon::{Daemon, user_a};
use remit_wire::outcome::JobReport;

use super::scene::{FILE, GRANTS, asked, exit, reload, with};

/// Serves on the loopback interface. Returns the port and how many connections came.
fn server(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> (u16, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback interface is up");
    let port = listener.local_addr().expect("it is bound").port();
    let count = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&count);
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            counted.fetch_add(1, Ordering::SeqCst);
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(stream.expect("it is accepted")));
        }
    });
    (port, count)
}

fn answers(text: impl Into<Vec<u8>>) -> impl Fn(TcpStream) + Send + Sync + 'static {
    let text = text.into();
    move |mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(&text);
    }
}

fn daemon() -> Daemon {
    let daemon = with("");
    let look = daemon.program("remit-look");
    let bin = look.parent().expect("it is in a directory").display();
    let command = |name: &str, words: &str| {
        format!(
            "[[command]]\nname = \"{name}\"\nsummary = \"a probe\"\nargv = [\"{}\", {words}]\neffect = \"read\"\n\
             profile = \"here\"\nargs.address = {{ type = \"string\", default = \"127.0.0.1\" }}\n\
             args.port = {{ type = \"int\" }}\n\n",
            look.display()
        )
    };
    let http =
        "\"probe-http\", \"http\", \"{address}\", \"{port}\", \"/\", \"shop.example\", \"2\"";
    let tcp = "\"probe-tcp\", \"{address}\", \"{port}\", \"2\"";
    let tls = "\"probe-tls\", \"{address}\", \"{port}\", \"localhost\", \"smtp\", \"2\"";
    let redis = "\"redis-info\", \"{address}\", \"{port}\", \"2\"";
    let profile =
        format!("[profile.here]\nbase = \"strict\"\nnetwork = \"this-host\"\nexec = [\"{bin}\"]\n");
    let policy = [
        command("p.http", http),
        command("p.tcp", tcp),
        command("p.tls", tls),
        command("p.redis", redis),
        profile,
        GRANTS.to_owned(),
    ];
    daemon.set_file(FILE, &policy.concat());
    let _ = reload(&daemon).unwrap_or_else(|why| panic!("{why}"));
    daemon
}

fn probe(daemon: &Daemon, name: &str, port: u16) -> JobReport {
    probe_at(daemon, name, "127.0.0.1", port)
}

fn probe_at(daemon: &Daemon, name: &str, address: &str, port: u16) -> JobReport {
    let port = port.to_string();
    let args = [("address", address), ("port", port.as_str())];
    asked(daemon, &user_a(), named(name, &args)).unwrap_or_else(|why| panic!("{name}: {why}"))
}

/// Expects a failure with `words` on standard error, and nothing else that could be taken for an answer.
fn fails(report: &JobReport, words: &str) {
    let said = String::from_utf8_lossy(&report.stderr.head);
    assert!(said.contains(words), "{words}: {report:?}");
    assert_eq!((exit(report), stdout(report).as_str()), (Some(1), ""));
}

#[test]
fn probe_of_this_host_follows_nothing_and_reaches_no_other() {
    let daemon = daemon();
    let (there, came) = server(answers("HTTP/1.1 200 OK\r\n\r\n"));
    let moved = format!(
        "HTTP/1.1 302 Found\r\nServer: test\r\nSet-Cookie: id=geheim\r\nLocation: http://127.0.0.1:{there}/\r\nContent-Length: 5\r\n\r\nmoved"
    );
    let (here, _) = server(answers(moved));
    let said = stdout(&probe(&daemon, "p.http", here));
    for part in [
        "\"status\":302",
        "\"body_bytes\":5",
        &format!("\"redirect_not_followed\":\"http://127.0.0.1:{there}/\""),
        "\"name\":\"server\",\"value\":\"test\"",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains("geheim"), "{said}");
    assert_eq!(came.load(Ordering::SeqCst), 0, "the redirect");
    let said = stdout(&probe(&daemon, "p.http", there));
    assert!(said.contains("\"status\":200"), "{said}");
    assert_eq!(came.load(Ordering::SeqCst), 1);
    for other in ["192.0.2.1", "2001:db8::1", "0.0.0.0", "224.0.0.1"] {
        for name in ["p.http", "p.tcp"] {
            let report = probe_at(&daemon, name, other, here);
            fails(&report, "is not an address of this host");
        }
    }
    fails(
        &probe_at(&daemon, "p.http", "shop.example", here),
        "names are not looked up",
    );
    daemon.is_well();
    daemon.stop();
}

#[test]
fn each_way_not_to_answer_has_its_words() {
    let daemon = daemon();
    let closed = TcpListener::bind("127.0.0.1:0").expect("the loopback interface is up");
    let port = closed.local_addr().expect("it is bound").port();
    drop(closed);
    for name in ["p.http", "p.tcp", "p.redis"] {
        let report = probe(&daemon, name, port);
        fails(&report, "nothing listens on 127.0.0.1 port");
        assert!(report.denials.is_empty(), "the server's: {report:?}");
    }
    let (silent, _) = server(std::mem::forget);
    for name in ["p.http", "p.redis"] {
        fails(&probe(&daemon, name, silent), "within 2 s");
    }
    let said = stdout(&probe(&daemon, "p.tcp", silent));
    assert!(
        said.contains("\"connected_ms\"") && !said.contains("banner"),
        "{said}"
    );
    let (ends, _) = server(drop);
    fails(&probe(&daemon, "p.http", ends), "port");
    let (ssh, _) = server(answers("SSH-2.0-x\x1b[2J\r\n"));
    fails(
        &probe(&daemon, "p.http", ssh),
        "the answer is not HTTP: SSH-2.0-x\\x1b[2J",
    );
    let (held, _) = server(|mut stream: TcpStream| {
        let _ = stream.write_all(b"SSH-2.0-x\r\n");
        let _ = stream.read_to_end(&mut Vec::new());
    });
    fails(&probe(&daemon, "p.tls", held), "is an ssh server");
    let (greets, _) = server(|mut stream: TcpStream| {
        let _ = stream.write_all(b"220 mail \x1b[31m\r\n");
    });
    let said = stdout(&probe(&daemon, "p.tcp", greets));
    assert!(
        said.contains("220 mail ") && !said.contains('\x1b'),
        "{said}"
    );
    let (locked, _) = server(answers("-NOAUTH Authentication required.\r\n"));
    fails(&probe(&daemon, "p.redis", locked), "asks for a password");
    let (redis, _) = server(answers("$16\r\nredis_version:7\n\r\n"));
    assert_eq!(
        stdout(&probe(&daemon, "p.redis", redis)),
        "redis_version:7\n"
    );
    daemon.is_well();
    daemon.stop();
}

#[test]
fn endless_and_hostile_answers_are_bounded_and_escaped() {
    let daemon = daemon();
    let endless = |head: &'static [u8]| {
        server(move |mut stream: TcpStream| {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(head);
            while stream.write_all(&[b'x'; 4096]).is_ok() {}
        })
        .0
    };
    let said = stdout(&probe(
        &daemon,
        "p.http",
        endless(b"HTTP/1.1 200 OK\r\n\r\n"),
    ));
    assert!(said.contains("\"body_cut\":true"), "{said}");
    let report = probe(&daemon, "p.http", endless(b"HTTP/1.1 200 OK\r\nServer: "));
    fails(&report, "longer than 32 KiB");
    let forged =
        "HTTP/1.1 200 OK\r\nServer: a\u{1b}]0;x\u{7}\u{202e}\"}\r\nContent-Length: 0\r\n\r\n";
    let (hostile, _) = server(answers(forged));
    let said = stdout(&probe(&daemon, "p.http", hostile));
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(!said.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{said}");
    daemon.is_well();
    daemon.stop();
}
