//! What a job sees of the host's tree.

use super::common::*;
use remit_confine::*;
use std::process::Command;

const PRIVATE: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];
const DEVICES: [&str; 6] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
];

#[test]
fn all_mounts_are_read_only_nosuid_nodev_private() {
    let ran = run(&["cat", "/proc/self/mountinfo"], &With::default());
    let mut last = std::collections::HashMap::new();
    for line in ran.out.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let (mount_point, options) = (fields[4], fields[5].split(',').collect::<Vec<_>>());
        assert!(options.contains(&"nosuid"), "{line}");
        assert_eq!(fields[6], "-", "it has peers or a master: {line}");
        assert!(
            options.contains(&"nodev") || DEVICES.contains(&mount_point),
            "{line}"
        );
        assert!(
            options.contains(&"ro") || PRIVATE.contains(&mount_point),
            "{line}"
        );
        last.insert(mount_point.to_owned(), options.contains(&"rw"));
    }
    for mount_point in PRIVATE.iter().filter(|p| std::path::Path::new(p).is_dir()) {
        assert_eq!(
            last.get(*mount_point),
            Some(&true),
            "{mount_point} is not the job's own"
        );
    }
}

#[test]
fn private_directories_are_empty_writable_and_bounded() {
    let host = std::env::temp_dir().join(format!("remit-host-{}", uid()));
    std::fs::write(&host, "host").unwrap();
    let ran = sh(
        "ls -A /tmp /var/tmp /dev/shm; ls -ld /tmp/home | cut -c1-10; touch $HOME/x && echo made",
    );
    std::fs::remove_file(&host).unwrap();
    assert_eq!(
        ran.out, "/dev/shm:\n\n/tmp:\nhome\n\n/var/tmp:\ndrwx------\nmade\n",
        "{ran:?}"
    );
    for dir in PRIVATE {
        let ran = sh(&format!(
            "head -c 2097152 /dev/zero > {dir}/big; ls -s --block-size=1 {dir}/big"
        ));
        assert!(
            ran.err.contains("No space left on device"),
            "{dir}: {ran:?}"
        );
        let ran = sh(&format!(
            "i=0; while [ $i -lt 100 ]; do : > {dir}/f$i || exit 9; i=$((i+1)); done"
        ));
        assert!(
            ran.err.contains("No space left on device"),
            "{dir}: {ran:?}"
        );
    }
    assert_eq!(sh("ls /tmp").out, "home\n");
}

#[test]
fn minimal_dev_works_other_devices_do_not() {
    let ran = sh(
        "echo x > /dev/null && head -c 3 /dev/zero | od -An -tx1 && head -c 4 /dev/urandom | wc -c",
    );
    assert_eq!(ran.out, " 00 00 00\n4\n", "{ran:?}");
    assert!(
        sh("cat /etc/passwd > /dev/full")
            .err
            .contains("No space left")
    );
    assert!(sh("cat /dev/tty").err.contains("No such device or address"));
    assert!(sh("cat /dev/ptmx").err.contains("Permission denied"));
}

#[test]
fn files_open_to_all_stay_as_they_are() {
    let dir = HostDir::new();
    let file = dir.file("file", 0o666, "host\n");
    let fifo = dir.path("fifo");
    nix::unistd::mkfifo(
        fifo.as_str(),
        nix::sys::stat::Mode::from_bits_truncate(0o666),
    )
    .unwrap();
    Command::new("chmod")
        .args(["0666", &fifo])
        .status()
        .unwrap();
    let ran = sh(&format!(
        "echo job > {file}; echo job >> {file}; rm -f {file}; mv {file} {file}2; chmod 0 {file}; touch -d 2001-01-01 {file}; ln {file} {file}3; cat {file}"
    ));
    assert_eq!(ran.out, "host\n");
    assert_eq!(
        ran.err.matches("Read-only file system").count(),
        7,
        "{}",
        ran.err
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "host\n");
    if probe().unwrap().landlock_abi > 0 {
        let ran = sh(&format!("exec 4<> {fifo}"));
        assert!(ran.err.contains("Permission denied"), "{ran:?}");
    }
}

#[test]
fn later_mount_is_visible_read_only_and_released() {
    own_mounts();
    let dir = HostDir::new();
    let (fixture, sandbox) = (fixture(), sandbox());
    let mount_point = dir.path("m");
    std::fs::create_dir(&mount_point).unwrap();
    mount(&["-t", "tmpfs", "-o", "mode=0777", "tmpfs", &mount_point]);
    std::fs::write(format!("{mount_point}/file"), "later\n").unwrap();
    let script = format!("cat {mount_point}/file; echo no > {mount_point}/new");
    let ran = run_in(&sandbox, &fixture, &["sh", "-c", &script], &With::default());
    assert_eq!(ran.out, "later\n", "{ran:?}");
    assert!(ran.err.contains("Read-only file system"), "{ran:?}");
    let busy = start(
        &sandbox,
        &fixture,
        &["sh", "-c", &format!("cd {mount_point}; echo in; sleep 60")],
        &With::default(),
    )
    .unwrap();
    wait_for_line(&busy.stdout, "in");
    // A job that runs in it does not keep the host from unmounting.
    assert!(
        Command::new("umount")
            .arg(&mount_point)
            .status()
            .unwrap()
            .success()
    );
    end_with(fixture, [busy]);
}

/// This test's thread and its children get their own mounts: jobs of other tests would keep copies of those here.
pub(super) fn own_mounts() {
    use nix::mount::{MsFlags, mount};
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
}

fn mount(args: &[&str]) {
    assert!(Command::new("mount").args(args).status().unwrap().success());
}

/// While compiled sandboxes are kept, an unmounted device is free for another use at once.
#[test]
fn an_unmounted_device_is_free_while_idle() {
    let tools = ["mkfs.ext2", "losetup"].iter().all(|tool| {
        Command::new("sh")
            .args(["-c", &format!("command -v {tool} >/dev/null")])
            .status()
            .unwrap()
            .success()
    });
    if !has(
        "mkfs.ext2 and loop devices",
        tools && std::path::Path::new("/dev/loop-control").exists(),
    ) {
        return;
    }
    own_mounts();
    let dir = HostDir::new();
    let image = dir.file("image", 0o600, "");
    std::fs::File::options()
        .write(true)
        .open(&image)
        .unwrap()
        .set_len(1 << 20)
        .unwrap();
    let mount_point = dir.path("m");
    std::fs::create_dir(&mount_point).unwrap();
    assert!(
        Command::new("mkfs.ext2")
            .args(["-q", &image])
            .status()
            .unwrap()
            .success()
    );
    mount(&["-o", "loop", &image, &mount_point]);
    let (fixture, sandbox) = (fixture(), sandbox());
    let ran = run_in(&sandbox, &fixture, &["ls", &mount_point], &With::default());
    assert_eq!(ran.out, "lost+found\n");
    assert!(
        Command::new("umount")
            .arg(&mount_point)
            .status()
            .unwrap()
            .success()
    );
    // `mount -o loop` removes the device with its last user; the kernel releases mounts of a sandbox a moment after its end.
    until("that nobody keeps the mount", || {
        let attached = Command::new("losetup").args(["-j", &image]).output();
        attached.unwrap().stdout.is_empty()
    });
    end(fixture);
}
