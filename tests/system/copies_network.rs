//! Copies that reach names: a job asks the proxy of its network, and a server on another machine answers. All of it, the
//! daemon too, is in network namespaces of the test, with its own /etc/hosts.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use remit_tests::daemon::user_a;

use super::copies::{Ran, tested};
use super::plans::PlanFixture;

const HERE: &str = "10.98.0.1";
const THERE: &str = "10.98.0.2";
const POLICY: &str = r##"
[profile.mirrors]
base = "plan"
network = ["mirror.example.org:80", "own.example.org:80", "loop.example.org:80", "metadata.example.org:80"]

[[grant]]
name = "copies"
to = ["#64001"]
allow = ["run", "plan.extract"]
run_profile = "mirrors"
approval = "none"
"##;

fn run(words: &[&str]) -> String {
    let (program, arguments) = words.split_first().expect("it has a name");
    let ran = Command::new(program)
        .args(arguments)
        .output()
        .expect("it is installed");
    assert!(ran.status.success(), "{words:?}: {ran:?}");
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

fn ip(words: &str) {
    run(&[&["ip"], &words.split(' ').collect::<Vec<_>>()[..]].concat());
}

/// Puts this thread, and what it starts, on a host with another machine, which serves `files`. The lines of requests come
/// through the channel.
fn host_beside_a_server(files: &Path) -> mpsc::Receiver<String> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("root may");
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("its own");
    let hosts = files.join("hosts");
    let text = format!(
        "127.0.0.1 localhost\n{THERE} mirror.example.org other.example.org\n{HERE} own.example.org\n\
         127.0.0.1 loop.example.org\n169.254.169.254 metadata.example.org\n"
    );
    fs::write(&hosts, text).expect("its own");
    mount(Some(&hosts), "/etc/hosts", none, MsFlags::MS_BIND, none).expect("it is there");
    ip("link set lo up");
    ip("link add here type veth peer name there");
    let (ready, is_ready) = mpsc::channel();
    let (moved, is_moved) = mpsc::channel::<()>();
    let (asked, requests) = mpsc::channel();
    let files = files.to_owned();
    thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("root may");
        ready
            .send(fs::read_link("/proc/thread-self").expect("/proc"))
            .expect("it waits");
        is_moved.recv().expect("it says so");
        ip(&format!("addr add {THERE}/24 dev there"));
        ip("link set there up");
        let listener = TcpListener::bind((THERE, 80)).expect("its own network");
        ready.send(PathBuf::new()).expect("it waits");
        for connection in listener.incoming() {
            let (files, asked) = (files.clone(), asked.clone());
            let connection = connection.expect("its own network");
            thread::spawn(move || serve(connection, &files, &asked));
        }
    });
    let other = is_ready.recv().expect("it starts");
    ip(&format!(
        "link set there netns /proc/{}/ns/net",
        other.display()
    ));
    ip(&format!("addr add {HERE}/24 dev here"));
    ip("link set here up");
    moved.send(()).expect("it waits");
    is_ready.recv().expect("it listens");
    requests
}

fn serve(mut connection: TcpStream, files: &Path, asked: &mpsc::Sender<String>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if !matches!(connection.read(&mut byte), Ok(1)) {
            return;
        }
        head.extend(byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default();
    let file = fs::read(files.join(path.trim_start_matches('/')));
    let (status, body) = file.map_or(("404 Not Found", Vec::new()), |bytes| ("200 OK", bytes));
    let _ = asked.send(head);
    let length = body.len();
    let _ = write!(
        connection,
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    let _ = connection.write_all(&body);
}

struct Files(PathBuf);

impl Files {
    fn new() -> Self {
        let path = nix::unistd::mkdtemp("/tmp/remit-mirror-XXXXXX").expect("/tmp is there");
        Self(path)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn lay() -> PlanFixture {
    let fixture = PlanFixture::lay();
    fixture.loads("20-copies.toml", POLICY);
    tested(&fixture);
    fixture
}

fn on_copy(fixture: &PlanFixture, script: &str) -> Ran {
    fixture.asks_for(
        &user_a(),
        &["run", "--profile", "mirrors", "--", "sh", "-c", script],
    )
}

fn out(ran: &Ran) -> &str {
    ran.answer["stdout"].as_str().unwrap_or_default()
}

#[test]
fn listed_names_are_reached_by_get_and_head_and_nothing_else_is() {
    let files = Files::new();
    fs::write(files.0.join("hello"), "hello").expect("its own");
    let requests = host_beside_a_server(&files.0);
    let own = TcpListener::bind((HERE, 80)).expect("its own network");
    TcpStream::connect((HERE, 80)).expect("without a copy it is reached");
    own.accept().expect("that one");
    let fixture = lay();
    let ran = on_copy(
        &fixture,
        "curl -sS http://mirror.example.org/hello && curl -sSI http://mirror.example.org/hello",
    );
    assert!(
        out(&ran).starts_with("helloHTTP/1.1 200 OK"),
        "{}",
        ran.answer
    );
    let heads: Vec<String> = requests.try_iter().collect();
    assert!(
        heads[0].starts_with("GET /hello HTTP/1.1\r\nHost: mirror.example.org\r\n"),
        "{heads:?}"
    );
    assert!(heads[1].starts_with("HEAD /hello "), "{heads:?}");
    let notes = ran.answer["notes"].to_string();
    let expect =
        "the copy has a network: loop.example.org:80 metadata.example.org:80 mirror.example.org:80";
    assert!(notes.contains(expect), "{}", ran.answer);

    let script =
        "ask() { curl -s -o /dev/null -w '%{http_code} %{http_connect} %{exitcode}\n' \"$@\"; }
        ask http://other.example.org/
        ask http://mirror.example.org:81/
        ask http://10.98.0.2/
        ask -d x http://mirror.example.org/hello
        ask -X DELETE http://mirror.example.org/hello
        ask https://mirror.example.org/
        ask http://own.example.org/
        ask http://loop.example.org/
        ask http://metadata.example.org/
        ask --noproxy '*' http://10.98.0.2/hello
        ask --noproxy '*' http://10.98.0.1/";
    let ran = on_copy(&fixture, script);
    let answers = [
        "403 000 0",
        "403 000 0",
        "403 000 0",
        "405 000 0",
        "405 000 0",
        "000 403 56",
        "502 000 0",
        "502 000 0",
        "502 000 0",
        "000 000 7",
        "000 000 7",
    ];
    assert_eq!(
        out(&ran).lines().collect::<Vec<_>>(),
        answers,
        "{}",
        ran.answer
    );
    let ran = on_copy(
        &fixture,
        "curl -s http://own.example.org/ http://other.example.org/",
    );
    let expect = format!(
        "remit: no address of 'own.example.org' can be reached: {HERE} is an address of this machine\n\
         remit: 'other.example.org:80' is not in the profile's network list\n"
    );
    assert_eq!(out(&ran), expect, "{}", ran.answer);
    assert_eq!(requests.try_iter().count(), 0, "the server saw one of them");
    own.set_nonblocking(true).expect("its own");
    assert!(own.accept().is_err());
}

/// The worker's filter answers a job that sets its buffers without effect; the proxy's own are bounded nevertheless.
#[test]
fn buffers_of_the_proxy_are_bounded() {
    let files = Files::new();
    fs::write(files.0.join("big"), vec![0; 64 << 20]).expect("its own");
    let requests = host_beside_a_server(&files.0);
    let fixture = lay();
    let words = [
        "run",
        "--profile",
        "mirrors",
        "--no-wait",
        "--",
        "curl",
        "-s",
        "-o",
        "/dev/null",
        "--limit-rate",
        "1k",
        "http://mirror.example.org/big",
    ];
    let ran = fixture.asks_for(&user_a(), &words);
    requests.recv().expect("it asks");
    let shown = run(&["ss", "-tmnOH", "dst", THERE]);
    assert!(
        shown.contains(",rb65536,") && shown.contains(",tb65536,"),
        "{shown}"
    );
    let stopped = fixture
        .daemon
        .remit(&user_a(), &["stop", &ran.job.to_string()]);
    assert!(stopped.status.success(), "{stopped:?}");
    assert_eq!(
        run(&["ss", "-tnOH", "state", "established", "dst", THERE]),
        ""
    );
}

#[test]
fn packages_come_from_a_mirror() {
    let has = |program: &str| Path::new("/usr/bin").join(program).exists();
    if !(has("apt-get") && has("dpkg-deb") && has("dpkg-scanpackages")) {
        assert!(!Path::new("/etc/debian_version").exists() || !has("dpkg-scanpackages"));
        return;
    }
    let files = Files::new();
    let package = files.0.join("build");
    fs::create_dir_all(package.join("DEBIAN")).expect("its own");
    fs::create_dir_all(package.join("opt")).expect("its own");
    fs::write(package.join("opt/remit-test-file"), "packed\n").expect("its own");
    let control = "Package: remit-test-package\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: x\n";
    fs::write(package.join("DEBIAN/control"), control).expect("its own");
    let at = files.0.display();
    run(&[
        "dpkg-deb",
        "-b",
        &format!("{at}/build"),
        &format!("{at}/x.deb"),
    ]);
    run(&[
        "sh",
        "-c",
        &format!("cd {at} && dpkg-scanpackages -m . >Packages"),
    ]);
    let requests = host_beside_a_server(&files.0);
    let fixture = lay();
    let script = "set -e
        echo 'deb [trusted=yes] http://mirror.example.org ./' >/tmp/list
        set -- -o Dir::Etc::SourceList=/tmp/list -o Dir::Etc::SourceParts=/dev/null
        apt-get \"$@\" update
        apt-get \"$@\" install --download-only -y --no-install-recommends remit-test-package
        dpkg-deb --fsys-tarfile /var/cache/apt/archives/remit-test-package_1_all.deb | tar -xO ./opt/remit-test-file";
    let ran = on_copy(&fixture, script);
    assert!(
        ran.out.status.success() && out(&ran).ends_with("packed\n"),
        "{}",
        ran.answer
    );
    assert!(!Path::new("/opt/remit-test-file").exists());
    assert!(
        requests
            .try_iter()
            .any(|head| head.starts_with("GET /./x.deb") || head.starts_with("GET /x.deb"))
    );
    let other = script.replace("mirror.example.org", "other.example.org");
    let ran = on_copy(&fixture, &other);
    let stderr = ran.answer["stderr"].to_string();
    assert!(
        stderr.contains("is not in the profile's network list"),
        "{}",
        ran.answer
    );
}
