//! What the root process gets from `sys`: services, peers, memfds.

use super::common::wait_readable;
use super::common::*;
use remit_confine::{sys::*, *};
use std::{
    io::{Read, Write},
    os::fd::{AsFd, OwnedFd},
    os::unix::net::{UnixListener, UnixStream},
};

#[test]
fn a_service_is_stripped() {
    let uid = uid();
    let (mut read, write) = std::io::pipe().unwrap();
    let argv = strings(&[
        "sh",
        "-c",
        "cat /proc/self/status >&7; ls /proc/self/fd >&7; echo $X >&7",
    ]);
    let fixture = fixture();
    let fds = [(write.as_fd(), 7)];
    let (pid, pidfd) = spawn_service(
        c"/bin/sh",
        &argv,
        &strings(&["X=env"]),
        uid,
        uid,
        &[4, 24],
        &fds,
    )
    .unwrap();
    drop(write);
    let mut out = String::new();
    read.read_to_string(&mut out).unwrap();
    wait_readable(&pidfd);
    assert_eq!(reap(pid).unwrap().0.code(), Some(0));
    end(fixture);
    for want in [
        format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n"),
        format!("Gid:\t{uid}\t{uid}\t{uid}\t{uid}\n"),
        "Groups:\t4 24 \n".into(),
        "CapPrm:\t0000000000000000\n".into(),
        "CapEff:\t0000000000000000\n".into(),
        "CapBnd:\t0000000000000000\n".into(),
        "CapAmb:\t0000000000000000\n".into(),
        "NoNewPrivs:\t1\n".into(),
        // 3 is the directory that `ls` reads.
        "0\n1\n2\n3\n7\nenv\n".into(),
    ] {
        assert!(out.contains(&want), "{want} is not in {out}");
    }
    let nspid = out
        .lines()
        .find_map(|l| l.strip_prefix("NSpid:\t"))
        .unwrap();
    assert_eq!(nspid.split_whitespace().count(), 1);
}

#[test]
fn service_can_have_pipes_as_standard_ones() {
    let (its_input, mut to) = std::io::pipe().unwrap();
    let (mut from, its_output) = std::io::pipe().unwrap();
    let fds = [(its_input.as_fd(), 0), (its_output.as_fd(), 1)];
    let (argv, uid) = (strings(&["cat"]), uid());
    let (pid, pidfd) = spawn_service(c"/bin/cat", &argv, &[], uid, uid, &[], &fds).unwrap();
    drop((its_input, its_output));
    to.write_all(b"copied").unwrap();
    drop(to);
    let mut out = String::new();
    from.read_to_string(&mut out).unwrap();
    assert_eq!(out, "copied");
    wait_readable(&pidfd);
    assert_eq!(reap(pid).unwrap().0.code(), Some(0));
}

#[test]
fn services_that_make_no_sense_are_refused() {
    let (_, write) = std::io::pipe().unwrap();
    let w = write.as_fd();
    for (uid, fds) in [(0, vec![]), (5, vec![(w, 2)]), (5, vec![(w, 4), (w, 4)])] {
        assert!(
            spawn_service(c"/bin/true", &[], &[], uid, 5, &[], &fds).is_err(),
            "{uid} {fds:?}"
        );
    }
}

#[test]
fn peer_is_known_before_first_message() {
    let dir = HostDir::new();
    let listener = UnixListener::bind(dir.0.join("s")).unwrap();
    let client = UnixStream::connect(dir.0.join("s")).unwrap();
    let (server, _) = listener.accept().unwrap();
    let peer = peer(&server).unwrap();
    assert_eq!(peer.pid as u32, std::process::id());
    assert_eq!((peer.uid, peer.gid), (0, 0));
    let groups = nix::unistd::getgroups().unwrap();
    assert_eq!(
        peer.groups,
        groups.iter().map(|g| g.as_raw()).collect::<Vec<_>>()
    );
    assert!(pidfd_alive(peer.pidfd.as_fd()).unwrap());
    let login = loginuid(peer.pid, peer.pidfd.as_fd()).unwrap();
    let own = std::fs::read_to_string("/proc/self/loginuid")
        .ok()
        .and_then(|t| t.trim().parse().ok());
    assert_eq!(login, own.filter(|uid| *uid != u32::MAX));
    drop(client);
}

#[test]
fn a_peer_that_has_gone_is_no_peer() {
    let dir = HostDir::new();
    let path = dir.path("s");
    let listener = UnixListener::bind(&path).unwrap();
    let connect = format!("import socket; s = socket.socket(socket.AF_UNIX); s.connect('{path}')");
    let python = std::process::Command::new("python3")
        .args(["-c", &connect])
        .status();
    if !has("python3", python.is_ok_and(|s| s.success())) {
        return;
    }
    let (server, _) = listener.accept().unwrap();
    assert_eq!(peer(&server).unwrap_err().raw_os_error(), Some(libc::ESRCH));
}

#[test]
fn sealed_memfds_stay_as_they_are() {
    let fd: OwnedFd = sealed_memfd(c"script", b"#!/bin/sh\n").unwrap();
    assert!(is_sealed(&fd));
    let mut file = std::fs::File::from(fd);
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "#!/bin/sh\n");
    assert_eq!(
        file.write(b"x").unwrap_err().raw_os_error(),
        Some(libc::EPERM)
    );
    assert_eq!(
        file.set_len(0).unwrap_err().raw_os_error(),
        Some(libc::EPERM)
    );
    assert!(!is_sealed(std::fs::File::open("/etc/passwd").unwrap()));
    let empty = sealed_memfd(c"none", b"").unwrap();
    assert!(is_sealed(&empty));
}
