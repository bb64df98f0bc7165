//! Each layer of the sandbox refuses, and without it the same act works.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use remit_bus::confine;
use remit_common::bus::{DATAGRAM, Order, Report};

use crate::stage::{Dir, begin, connect, listen, send_bytes, warden_pair};

type Act = fn(&Path) -> io::Result<()>;

fn act(act: Act, dir: &Path, layer: Option<fn(&Path)>) -> io::Result<()> {
    let run = || {
        if let Some(layer) = layer {
            layer(&dir.join("bus"));
        }
        act(dir)
    };
    thread::scope(|scope| scope.spawn(run).join().unwrap())
}

fn refuses(acts: &[(&str, Act)], layer: fn(&Path)) {
    let dir = Dir::new();
    let _bus = UnixListener::bind(dir.0.join("bus")).unwrap();
    let _longer = UnixListener::bind(dir.0.join("another")).unwrap();
    for (name, one) in acts {
        act(*one, &dir.0, None).unwrap_or_else(|error| panic!("{name} without: {error}"));
        let Err(error) = act(*one, &dir.0, Some(layer)) else {
            panic!("{name} is not refused");
        };
        assert_eq!(
            error.kind(),
            io::ErrorKind::PermissionDenied,
            "{name}: {error}"
        );
    }
    let needed: &[(&str, Act)] = &[
        ("connect to the bus", connect_to_bus),
        ("stat of a process", |_| fs_stat("/proc/self")),
        ("a pair of sockets", |_| UnixStream::pair().map(drop)),
        ("a thread", |_| {
            thread::Builder::new().spawn(|| ())?.join().unwrap();
            Ok(())
        }),
    ];
    for (name, one) in needed {
        act(*one, &dir.0, Some(layer)).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

/// Connects with the length that the proxy uses: without the NUL.
fn connect_to_bus(dir: &Path) -> io::Result<()> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
    let (family, kind) = (AddressFamily::Unix, SockType::Stream);
    let socket = socket(family, kind, SockFlag::empty(), None)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(&dir.join("bus"))?)?;
    Ok(())
}

fn fs_stat(path: &str) -> io::Result<()> {
    nix::sys::stat::stat(path)?;
    Ok(())
}

#[test]
fn landlock_refuses_files() {
    let has = thread::spawn(|| confine::restrict_objects().unwrap())
        .join()
        .unwrap();
    if !has {
        let must = std::env::var_os("REMIT_TESTS_MUST_RUN").is_some();
        assert!(!must, "this kernel has no Landlock");
        return;
    }
    refuses(
        &[
            ("read a file", |_| File::open("/etc/passwd").map(drop)),
            ("read a directory", |_| fs::read_dir("/").map(drop)),
            ("write a file", |dir| fs::write(dir.join("file"), "x")),
            ("append to a file", |_| {
                OpenOptions::new().append(true).open("/dev/null").map(drop)
            }),
            ("make a directory", |dir| {
                fs::create_dir(dir.join("dir"))?;
                fs::remove_dir(dir.join("dir"))
            }),
        ],
        |_| assert!(confine::restrict_objects().unwrap()),
    );
}

#[test]
fn landlock_refuses_tcp_and_abstract_sockets() {
    let version = remit_sys::sys::landlock_abi().unwrap_or(0);
    let layer: fn(&Path) = |_| assert!(confine::restrict_objects().unwrap());
    if version >= 4 {
        refuses(
            &[("bind TCP", |_| TcpListener::bind("127.0.0.1:0").map(drop))],
            layer,
        );
    }
    if version >= 6 {
        // Its listener is in no domain.
        let _listener = UnixListener::bind_addr(&abstract_address()).unwrap();
        refuses(
            &[("connect to an abstract socket", |_| {
                UnixStream::connect_addr(&abstract_address()).map(drop)
            })],
            layer,
        );
    }
}

fn abstract_address() -> SocketAddr {
    let name = format!("remit-bus-test-{}", std::process::id());
    SocketAddr::from_abstract_name(name).unwrap()
}

#[test]
fn seccomp_refuses_other_calls_and_other_addresses() {
    refuses(
        &[
            ("open a file", |_| File::open("/etc/passwd").map(drop)),
            ("start a program", |_| {
                Command::new("/bin/true").status().map(drop)
            }),
            ("a network socket", |_| {
                TcpListener::bind("127.0.0.1:0").map(drop)
            }),
            ("a datagram socket", |_| UnixDatagram::unbound().map(drop)),
            ("listen", |dir| {
                let path = dir.join("own");
                let _ = UnixListener::bind(&path)?;
                fs::remove_file(path)
            }),
            ("connect to another path", |dir| {
                UnixStream::connect(dir.join("another")).map(drop)
            }),
            ("signal itself by kill", |_| {
                nix::sys::signal::kill(nix::unistd::getpid(), None)?;
                Ok(())
            }),
            ("a request of a file system", |dir| {
                let mut free = 0_i32;
                let pair = UnixStream::pair()?;
                let _ = dir;
                let (fd, request) = (pair.0.as_raw_fd(), libc::FIONREAD);
                match unsafe { libc::ioctl(fd, request, &raw mut free) } {
                    0 => Ok(()),
                    _ => Err(io::Error::last_os_error()),
                }
            }),
            ("memory to execute", |_| {
                let (read, exec) = (libc::PROT_READ, libc::PROT_EXEC);
                let private = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
                let null = std::ptr::null_mut();
                let memory = unsafe { libc::mmap(null, 4096, read | exec, private, -1, 0) };
                match memory == libc::MAP_FAILED {
                    true => Err(io::Error::last_os_error()),
                    false => Ok(()),
                }
            }),
            ("another process", |_| match unsafe { libc::fork() } {
                0 => unsafe { libc::_exit(0) },
                -1 => Err(io::Error::last_os_error()),
                pid => {
                    nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None)?;
                    Ok(())
                }
            }),
            ("another option of a socket", |_| {
                let pair = UnixStream::pair()?;
                nix::sys::socket::setsockopt(&pair.0, nix::sys::socket::sockopt::PassCred, &true)?;
                Ok(())
            }),
        ],
        |bus| confine::restrict_calls(bus).unwrap(),
    );
}

fn program(dir: &Path, warden: Option<&impl AsFd>, is_root: bool) -> Child {
    // A path that the other user can search.
    let path = dir.join("remit-bus");
    if !path.exists() {
        // Not by this process: a child of another test would keep it open for writing, and execve(2) fail.
        let mode = ["-m755", env!("CARGO_BIN_EXE_remit-bus")];
        let copied = Command::new("install").args(mode).arg(&path).status();
        assert!(copied.unwrap().success());
    }
    let mut command = Command::new(path);
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    if nix::unistd::geteuid().is_root() && !is_root {
        command.uid(65534).gid(65534);
    }
    let raw = warden.map(|warden| warden.as_fd().as_raw_fd());
    let at_three = move || {
        if let Some(raw) = raw {
            match raw {
                3 => drop(unsafe { libc::fcntl(3, libc::F_SETFD, 0) }),
                _ => drop(unsafe { libc::dup2(raw, 3) }),
            }
        }
        Ok(())
    };
    unsafe { command.pre_exec(at_three) }.spawn().unwrap()
}

fn failure(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

fn report(warden: &impl AsRawFd) -> Report {
    let mut buffer = vec![0; DATAGRAM];
    let flags = nix::sys::socket::MsgFlags::empty();
    let length = nix::sys::socket::recv(warden.as_raw_fd(), &mut buffer, flags).unwrap();
    Report::decode(&buffer[..length]).unwrap()
}

#[test]
fn program_gives_up_all_rights_before_it_is_ready() {
    let dir = Dir::new();
    let (warden, its) = warden_pair();
    let mut child = program(&dir.0, Some(&its), false);
    drop(its);
    let before = limits(child.id());
    send_bytes(&warden, &begin(&[]).encode().unwrap(), &[]);
    assert_eq!(report(&warden), Report::Ready);
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    for line in ["NoNewPrivs:\t1", "Seccomp:\t2", "Threads:\t1"] {
        assert!(status.contains(line), "{line}: {status}");
    }
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        let line = format!("{set}:\t0000000000000000");
        assert!(status.contains(&line), "{line}: {status}");
    }
    let after = limits(child.id());
    assert!(!before.contains(&"960".to_owned()) || before == after);
    assert!(after.contains(&"960".to_owned()), "{after:?}");
    // It serves: a job is asked about, and answered.
    let refused = thread::spawn(move || {
        let listener = listen();
        let order = Order::Listener.encode().unwrap();
        send_bytes(&warden, &order, &[listener.as_fd()]);
        drop(listener);
        let answer = connect().map(drop).map_err(|error| error.kind());
        (warden, answer)
    });
    let (warden, answer) = refused.join().unwrap();
    match Path::new("/run/dbus/system_bus_socket").exists() {
        true => assert_eq!(answer, Ok(())),
        false => assert_eq!(answer, Err(io::ErrorKind::ConnectionRefused)),
    }
    drop(warden);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// Returns the soft limit of open descriptors, which root alone may not see of an undumpable process.
fn limits(pid: u32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = text.lines().find(|line| line.starts_with("Max open files"));
    let numbers = line.unwrap().split_whitespace().skip(3).take(2);
    numbers.map(str::to_owned).collect()
}

#[test]
fn program_refuses_root_and_what_is_no_socket() {
    let dir = Dir::new();
    let none: Option<&UnixStream> = None;
    let why = failure(program(&dir.0, none, false));
    assert!(
        why.contains("remit-bus: descriptor 3 is not a socket of the warden"),
        "{why}"
    );
    let (stream, _other) = UnixStream::pair().unwrap();
    let why = failure(program(&dir.0, Some(&stream), false));
    assert!(why.contains("descriptor 3 is not a socket"), "{why}");
    if nix::unistd::geteuid().is_root() {
        let (warden, its) = warden_pair();
        let child = program(&dir.0, Some(&its), true);
        send_bytes(&warden, &begin(&[]).encode().unwrap(), &[]);
        let why = failure(child);
        assert!(why.contains("refusing to run as root"), "{why}");
    }
    let (warden, its) = warden_pair();
    let child = program(&dir.0, Some(&its), false);
    send_bytes(&warden, b"\xff", &[]);
    let why = failure(child);
    assert!(why.contains("remit-bus: cannot read an order"), "{why}");
}
