use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use remit_spawn::{ListedPath, Profile, StrictProfile, Wanted};
use remit_sys::in_child;
use std::os::fd::AsRawFd;

use super::*;
use crate::probe;

/// Milliseconds after which a worker is taken for one that hangs.
const PATIENCE: u16 = 60_000;

fn mount_here(kind: &str, at: &str, options: &str) {
    mount(
        Some("none"),
        at,
        Some(kind),
        MsFlags::empty(),
        Some(options),
    )
    .unwrap();
}

fn set_propagation(flag: MsFlags) {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | flag, none).unwrap();
}

/// Looks whether a child could wait that shows a file system which somebody mounts, and nobody answers for.
fn forks_beside_silent_server() -> Vec<u8> {
    sys::own_mounts().unwrap();
    // Peers of these are in this namespace alone.
    set_propagation(MsFlags::MS_PRIVATE);
    set_propagation(MsFlags::MS_SHARED);
    mount_here("tmpfs", "/mnt", "size=1m");
    fs::create_dir(SILENT).unwrap();
    let profile = StrictProfile {
        read: vec![ListedPath {
            path: SILENT.into(),
            optional: false,
        }],
        ..StrictProfile::default()
    };
    let wanted = Wanted {
        profile: Profile::Strict(profile),
        is_audited: false,
    };
    let sandbox = Sandbox::compile(wanted, &probe().unwrap()).unwrap();
    let mut tree = HostTree::new(&sandbox).unwrap();
    let before = tree.before_fork(&sandbox).map(drop);
    let server = fs::OpenOptions::new().read(true).write(true).open(FUSE);
    let server = server.unwrap();
    let fd = server.as_raw_fd();
    let options = format!("fd={fd},rootmode=40000,user_id=0,group_id=0");
    mount_here("fuse", SILENT, &options);
    let after = tree.before_fork(&sandbox).map(drop);
    let again = HostTree::new(&sandbox).unwrap().before_fork(&sandbox);
    format!("{before:?} {after:?} {:?}", again.map(drop)).into_bytes()
}

const SILENT: &str = "/mnt/silent";
const FUSE: &str = "/dev/fuse";

#[test]
fn file_system_that_does_not_answer_is_not_asked() {
    let mut answer = in_child(forks_beside_silent_server).unwrap();
    let found = loop {
        let mut ready = [PollFd::new(answer.fd(), PollFlags::POLLIN)];
        let count = poll(&mut ready, PollTimeout::from(PATIENCE)).unwrap();
        assert!(count > 0, "it waits for a file system that does not answer");
        if let Some(bytes) = answer.read().unwrap() {
            break String::from_utf8(bytes).unwrap();
        }
    };
    let busy = Err::<(), _>(io::Error::from_raw_os_error(libc::EBUSY));
    assert_eq!(found, format!("Ok(()) {busy:?} {busy:?}"));
}
