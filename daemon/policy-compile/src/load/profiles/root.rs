//! Finds paths of a profile that lead to all of root, by the path alone: system paths do unless known not to.

use remit_policy::model::paths::{beneath, nested};

/// Top-level directories of the system, its services or people. The files there that root reads as code, as settings
/// of services or as rules about root have no complete list. Other top-level directories belong to the site.
const SYSTEM: [&str; 25] = [
    "bin",
    "boot",
    "dev",
    "efi",
    "etc",
    "gnu",
    "home",
    "lib",
    "lib32",
    "lib64",
    "libx32",
    "lost+found",
    "nix",
    "opt",
    "ostree",
    "proc",
    "root",
    "run",
    "sbin",
    "snap",
    "sys",
    "sysroot",
    "tmp",
    "usr",
    "var",
];
/// Directories in these whose files root's own programs read neither as code nor as settings, at any depth.
const DATA: [&str; 12] = [
    "/var/www",
    "/var/backups",
    "/var/log",
    "/var/games",
    "/var/crash",
    "/var/cache/nginx",
    "/var/cache/apache2",
    "/var/lib/nginx",
    // Text that exporters read as numbers.
    "/var/lib/prometheus",
    "/var/lib/node_exporter",
    "/run/nginx",
    "/run/postgresql",
];
const SHARED_DIRS: [&str; 2] = ["/tmp", "/var/tmp"];
/// Prefixes below [`SHARED_DIRS`] and [`DATA`] that root's programs use.
const TAKEN: [&str; 6] = [
    "/tmp/tmux-",
    "/tmp/systemd-private-",
    "/tmp/.X11-unix",
    "/tmp/ssh-",
    "/var/log/journal",
    "/var/backups/dpkg",
];
/// Directories below `/run` of services that act as root for clients, or identify a client by the connection itself.
const ROOT_LISTENS: [&str; 34] = [
    "NetworkManager",
    "acpid",
    "avahi-daemon",
    "buildkit",
    "containerd",
    "crio",
    "cups",
    "dbus",
    "docker",
    "fail2ban",
    "firewalld",
    "frr",
    "incus",
    "k3s",
    "libvirt",
    "lvm",
    "lxd",
    "multipathd",
    "openvswitch",
    "pcscd",
    "podman",
    "polkit",
    "remit",
    "rpcbind",
    "samba",
    "screen",
    "snapd",
    "supervisor",
    "systemd",
    "tmux",
    "tuned",
    "udev",
    "user",
    "uuidd",
];
/// Other paths at which such services listen.
const OTHER_LISTEN_DIRS: [&str; 4] = [
    "/var/lib/docker",
    "/var/lib/incus",
    "/var/lib/lxd",
    "/var/snap",
];
/// Kinds of device nodes below `/dev` behind which lie neither files of others nor a keyboard, without their numbers. A
/// list of all disks could not be complete.
const HARMLESS: [&str; 21] = [
    "fuse",
    "gpiochip",
    "hwrng",
    "iio:device",
    "kfd",
    "kvm",
    "lp",
    "media",
    "nvidia",
    "nvidia-modeset",
    "nvidia-uvm",
    "nvidia-uvm-tools",
    "nvidiactl",
    "pps",
    "ptp",
    "rtc",
    "ttyACM",
    "ttyS",
    "ttyUSB",
    "video",
    "watchdog",
];
/// Directories below `/dev` in which all nodes are of such kinds.
const HARMLESS_DIRS: [&str; 7] = ["accel", "dri", "dvb", "net", "nvidia-caps", "snd", "v4l"];

pub(super) fn by_writing(path: &str) -> Option<&'static str> {
    // Links of a merged tree.
    let of_run = path
        .strip_prefix("/var")
        .filter(|rest| beneath(rest, "/run").is_some());
    let path = of_run.unwrap_or(path);
    if path.split('/').any(|part| part == ".ssh") {
        return Some("keys in a directory .ssh are logins");
    }
    if TAKEN.iter().any(|taken| path.starts_with(taken)) {
        return Some("programs of root and of people who log in keep their own there");
    }
    let known = DATA.iter().chain(&SHARED_DIRS);
    let top = path.split('/').nth(1).unwrap_or_default();
    if !SYSTEM.contains(&top) || known.into_iter().any(|data| is_below(path, data)) {
        return None;
    }
    Some(match top {
        "etc" => "what lies below /etc are settings of programs that run as root",
        "home" | "root" => "what lies in a home is run by whoever logs in there",
        "run" => "what lies below /run steers services that run as root",
        "boot" | "efi" => "what lies there is started as the kernel",
        "usr" | "opt" | "snap" | "gnu" | "nix" | "ostree" => {
            "what lies there are programs, which root may run"
        }
        _ => "what lies there is read by services that run as root",
    })
}

fn is_below(path: &str, data: &str) -> bool {
    beneath(path, data).is_some()
}

pub(super) fn by_socket(path: &str, is_root: bool) -> Option<&'static str> {
    if is_root {
        return Some("the job is root, and what listens there sees that");
    }
    let below = |dir: &str| beneath(path, dir).filter(|rest| !rest.is_empty());
    if let Some((dir, _)) = below("/run")
        .or_else(|| below("/var/run"))
        .and_then(|rest| rest.split_once('/'))
    {
        let listens = ROOT_LISTENS.contains(&dir);
        return listens.then_some("what listens there does for root what it is asked");
    }
    let top = path.split('/').nth(1).unwrap_or_default();
    let is_own = path.split('/').count() > 3 && !SYSTEM.contains(&top);
    (!is_own).then_some(
        "it does not lie in an application's own directory, as /run/APPLICATION/ or below /srv",
    )
}

pub(super) fn by_showing(path: &str) -> Option<&'static str> {
    let below_run = |dir: &str| {
        let mut listens = ROOT_LISTENS.iter();
        listens.any(|name| nested(path, &format!("{dir}/{name}")))
            || beneath(path, dir).is_some_and(|rest| !rest.contains('/'))
    };
    let shows = below_run("/run")
        || below_run("/var/run")
        || OTHER_LISTEN_DIRS.iter().any(|dir| nested(path, dir));
    shows.then_some(
        "with 'sockets', each socket that is shown can be connected to, and root listens there",
    )
}

pub(super) fn by_device(path: &str) -> Option<&'static str> {
    let node = beneath(path, "/dev").unwrap_or_default();
    let top = node.split('/').next().unwrap_or_default();
    let kind = node.trim_end_matches(|last: char| last.is_ascii_digit());
    let is_harmless = HARMLESS.contains(&kind) || HARMLESS_DIRS.contains(&top);
    (!is_harmless).then_some(
        "of this kind of device it is not known that no files of others lie behind it, as behind a disk",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_by_where_a_path_lies() {
        for path in [
            "/etc/nginx",
            "/etc/update-motd.d",
            "/etc/new-in-ten-years",
            "/usr/local/share/a",
            "/usr/src/x",
            "/var/lib/app",
            "/var/cache/apt",
            "/var/spool/at",
            "/opt/app",
            "/home/alice",
            "/home/alice/.ssh",
            "/srv/git/.ssh",
            "/run/x",
            "/var/run/x",
            "/root/x",
            "/boot/grub",
            "/tmp/tmux-0",
            "/var/mail/root",
            "/efi/EFI/BOOT",
            "/nix/store/x",
            "/nix/var/nix",
            "/gnu/store/x",
            "/ostree/deploy/x",
            "/sysroot/etc",
        ] {
            assert!(by_writing(path).is_some(), "{path}");
        }
        for path in [
            "/srv/www",
            "/data/x",
            "/var/www/html",
            "/var/log/app",
            "/var/backups/remit",
            "/tmp/x/box",
            "/var/tmp/x",
            "/mnt/usb",
            "/var/cache/nginx/a",
            "/run/nginx",
            "/etcetera/x",
        ] {
            assert_eq!(by_writing(path), None, "{path}");
        }
    }

    #[test]
    fn socket_outside_application_dirs_leads_to_root() {
        for path in [
            "/run/docker.sock",
            "/run/snapd.socket",
            "/run/docker/x.sock",
            "/var/snap/lxd/common/lxd/unix.socket",
            "/var/lib/incus/unix.socket",
            "/run/k3s/containerd/containerd.sock",
            "/run/buildkit/buildkitd.sock",
            "/run/supervisor.sock",
            "/run/user/0/bus",
            "/tmp/tmux-0/default",
            "/run/screen/S-root/1.x",
            "/srv/x",
            "/var/run/docker.sock",
            "/run/dbus/system_bus_socket",
        ] {
            assert!(by_socket(path, false).is_some(), "{path}");
        }
        for path in [
            "/run/postgresql/.s.PGSQL.5432",
            "/run/mysqld/mysqld.sock",
            "/srv/app/app.sock",
            "/var/run/a/b",
        ] {
            assert_eq!(by_socket(path, false), None, "{path}");
            // As root, the job would be superuser of a database that identifies users by uid.
            assert!(by_socket(path, true).is_some(), "{path}");
        }
        for (path, expect) in [
            ("/run", true),
            ("/run/docker", true),
            ("/run/systemd/journal", true),
            ("/run/x.sock", true),
            ("/run/postgresql/a", false),
            ("/srv", false),
            ("/var", true),
            ("/var/log/journal", false),
        ] {
            assert_eq!(by_showing(path).is_some(), expect, "{path}");
        }
    }

    #[test]
    fn only_known_kinds_of_devices_are_harmless() {
        for path in [
            "/dev/sda",
            "/dev/nvme0n1p2",
            "/dev/ng0n1",
            "/dev/dm-0",
            "/dev/vdb",
            "/dev/hda",
            "/dev/nbd0",
            "/dev/drbd0",
            "/dev/rbd0",
            "/dev/bcache0",
            "/dev/pmem0",
            "/dev/sg0",
            "/dev/bsg/0:0:0:0",
            "/dev/mapper/root",
            "/dev/mapper",
            "/dev/disk/by-id/x",
            "/dev/block/8:0",
            "/dev/mtd0",
            "/dev/vg0/root",
            "/dev/media/root",
            "/dev/uinput",
            "/dev/input/event0",
            "/dev/tty1",
            "/dev/nvidia0x",
        ] {
            assert!(by_device(path).is_some(), "{path}");
        }
        for path in [
            "/dev/kvm",
            "/dev/dri",
            "/dev/dri/card0",
            "/dev/ttyUSB0",
            "/dev/nvidia0",
            "/dev/net/tun",
            "/dev/video10",
        ] {
            assert_eq!(by_device(path), None, "{path}");
        }
    }
}
