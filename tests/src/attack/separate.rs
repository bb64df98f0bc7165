//! Additional permissions of a job in `strict`, and checks of the sandbox layers that only `strict` has.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use super::Tried;
use super::allowed::{Check, check, made, read, truth};
use super::raw::sys;

#[rustfmt::skip] // a table, one row a line
pub const CHECKS: &[Check] = &[
    check("may-listen-low", "listen on a port below 1024 and connect to it", |_| own_server("127.0.0.1:80")),
    check("may-listen-low6", "the same with IPv6", |_| own_server("[::1]:80")),
    check("may-share-memory", "make, use and remove a System V segment", share_memory),
    check("may-semaphores", "make, use and remove a set of System V semaphores", semaphores),
    check("may-see-itself", "see itself in /proc", |_| read("/proc/self/status")),
    check("is-separate", "each of its namespaces is another than the host's", is_separate),
    check("is-alone", "no process but its own and pid 1 is to be seen", is_alone),
    check("is-bare", "it has its three descriptors and no other", is_bare),
    check("is-own-network", "its network has a loopback interface and nothing else", is_own_network),
    check("is-own-root", "its root has what is listed and a base set", is_own_root),
    check("is-never-both", "no mount is writable and executable at once", is_never_both),
];

fn own_server(address: &str) -> Tried {
    let listener = TcpListener::bind(address)?;
    let mut near = TcpStream::connect(address)?;
    let (mut far, _) = listener.accept()?;
    near.write_all(b"text")?;
    far.read_exact(&mut [0; 4])?;
    Ok("connected".into())
}

fn share_memory(_: &[String]) -> Tried {
    let id = sys!(libc::SYS_shmget, libc::IPC_PRIVATE, 4096, 0o600)?;
    let at = sys!(libc::SYS_shmat, id, 0, 0)?;
    sys!(libc::SYS_shmdt, at)?;
    made(sys!(libc::SYS_shmctl, id, libc::IPC_RMID, 0))
}

fn semaphores(_: &[String]) -> Tried {
    const MANY: i32 = 250;
    let id = sys!(libc::SYS_semget, libc::IPC_PRIVATE, MANY, 0o600)?;
    let mut up = libc::sembuf {
        sem_num: 0,
        sem_op: 1,
        sem_flg: 0,
    };
    sys!(libc::SYS_semop, id, &raw mut up, 1)?;
    made(sys!(libc::SYS_semctl, id, 0, libc::IPC_RMID))
}

/// The scene passes the host's namespaces as `kind:[number]`.
fn is_separate(arguments: &[String]) -> Tried {
    for host in arguments {
        let kind = host.split(':').next().unwrap_or_default();
        let own = fs::read_link(format!("/proc/self/ns/{kind}"))?;
        truth(own.as_os_str() != host.as_str(), host.clone())?;
    }
    truth(
        arguments.len() == 6,
        format!("{} namespaces", arguments.len()),
    )
}

fn is_alone(_: &[String]) -> Tried {
    let names =
        fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let pids: Vec<u32> = names.filter_map(|name| name.parse().ok()).collect();
    let own = std::process::id();
    truth(
        own <= 2 && pids.contains(&own) && pids.iter().all(|pid| [1, own].contains(pid)),
        format!("{pids:?}, itself {own}"),
    )
}

/// The fourth descriptor is that of the listing itself. None may be a directory, which could be a way out.
fn is_bare(_: &[String]) -> Tried {
    let open = fs::read_dir("/proc/self/fd")?.count();
    let directory = (0..3).any(|fd| {
        let meta = fs::metadata(format!("/proc/self/fd/{fd}"));
        meta.is_ok_and(|meta| meta.is_dir())
    });
    truth(open == 4 && !directory, format!("{open} descriptors"))
}

fn is_own_network(_: &[String]) -> Tried {
    let devices = fs::read_to_string("/proc/self/net/dev")?;
    let names: Vec<&str> = devices
        .lines()
        .skip(2)
        .filter_map(|line| Some(line.split(':').next()?.trim()))
        .collect();
    truth(names == ["lo"], format!("{names:?}"))
}

/// Only the first of the directories above a listed path is visible here.
fn is_own_root(_: &[String]) -> Tried {
    const BASE: &[&str] = &[
        "bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "run", "sbin", "tmp",
        "usr", "var",
    ];
    let names: Vec<String> = fs::read_dir("/")?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    truth(
        names.iter().all(|name| BASE.contains(&name.as_str())),
        format!("{names:?}"),
    )
}

fn is_never_both(_: &[String]) -> Tried {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let both = mounts.lines().find(|line| {
        let options = line.split_whitespace().nth(5).unwrap_or_default();
        !options
            .split(',')
            .any(|option| ["ro", "noexec"].contains(&option))
    });
    truth(both.is_none(), both.unwrap_or_default().into())
}
