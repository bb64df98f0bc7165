//! Sentences about programs whose answer may mislead inside the `read` sandbox.
//!
//! One line each, true and short; a result gets at most three. Found by the
//! program's name, which decides nothing: it is help for the reader only.

use remit_common::wire::{Run, What};
use remit_link::JobMeta;

/// Notes a result gets at most.
const MOST: usize = 3;
/// Bytes of a script that are looked at.
const LOOKED_AT: usize = 64 << 10;

const MOUNTS: &str = "the mount table is the sandbox's own, all read-only: `findmnt -N 1` and /proc/1/mounts show the host's";
const TMP: &str = "/tmp, /var/tmp and /dev/shm are private to the job and empty";
const DESCRIPTORS: &str = "descriptors of other users' processes cannot be seen here: `ss -ltnpe` shows uid and cgroup of each socket, and the tool host (section ports) names the unit";
const LOCKS: &str =
    "locks are answered without locking in this sandbox: a lock that was got here proves nothing";
const BUS: &str = "there is no D-Bus in this sandbox: use the tool host (section units), or read /etc and /run/systemd; journalctl works";
const NETWORK: &str = "there is no network in this sandbox, for any host and for localhost";
const CONTAINERS: &str = "the container engine's socket cannot be reached from this sandbox: the tool host (section containers) lists what runs";
const KERNEL_LOG: &str =
    "the kernel's ring buffer is closed to this sandbox: `journalctl -k` shows the same";
const CRONTAB: &str = "other users' crontabs are private: /etc/crontab and /etc/cron.d can be read";
const FIREWALL: &str = "reading firewall rules takes a capability that no job has here";
const DEVICES: &str = "disks cannot be opened here: `lsblk`, /sys/block and the tool host (section disks) know their size and use";
const PING: &str =
    "no raw or datagram socket can be made in this sandbox: `ip -s link` and `ss -s` show counters";

/// Program names and their sentence.
const TABLE: &[(&[&str], &str)] = &[
    (&["mount", "findmnt", "df"], MOUNTS),
    (&["mktemp"], TMP),
    (&["netstat", "lsof", "fuser", "lsns"], DESCRIPTORS),
    (&["flock", "lslocks"], LOCKS),
    (
        &[
            "systemctl",
            "loginctl",
            "hostnamectl",
            "timedatectl",
            "localectl",
            "busctl",
            "machinectl",
            "networkctl",
            "resolvectl",
            "bootctl",
        ],
        BUS,
    ),
    (
        &[
            "curl",
            "wget",
            "dig",
            "host",
            "nslookup",
            "nc",
            "ncat",
            "telnet",
            "ssh",
            "scp",
            "rsync",
            "git-remote-https",
        ],
        NETWORK,
    ),
    (
        &[
            "ping",
            "ping6",
            "traceroute",
            "tracepath",
            "mtr",
            "arping",
            "tcpdump",
        ],
        PING,
    ),
    (
        &["docker", "podman", "crictl", "ctr", "nerdctl", "kubectl"],
        CONTAINERS,
    ),
    (&["dmesg"], KERNEL_LOG),
    (&["crontab", "atq"], CRONTAB),
    (
        &[
            "iptables",
            "ip6tables",
            "iptables-save",
            "nft",
            "ufw",
            "firewall-cmd",
        ],
        FIREWALL,
    ),
    (
        &[
            "fdisk", "sfdisk", "parted", "blkid", "smartctl", "hdparm", "lvs", "pvs", "vgs",
            "mdadm", "dumpe2fs",
        ],
        DEVICES,
    ),
];

/// Notes for a run that is about to start.
pub fn of_run(run: &Run) -> Vec<&'static str> {
    if !matches!(run.profile.as_deref(), None | Some("read")) {
        return Vec::new();
    }
    match &run.what {
        What::Argv(argv) => {
            let argv: Vec<&[u8]> = argv.iter().map(|arg| arg.as_slice()).collect();
            of_argv(&argv)
        }
        What::Script { text, .. } => of_script(text),
    }
}

/// Notes for a job that an earlier broker started, from its command line as far as it is known.
pub fn of_line(meta: &JobMeta) -> Vec<&'static str> {
    match &meta.enforced {
        Some(enforced) if enforced.profile == "read" => {
            let argv: Vec<&[u8]> = meta.command.split(' ').map(str::as_bytes).collect();
            of_argv(&argv)
        }
        Some(_) | None => Vec::new(),
    }
}

fn of_argv(argv: &[&[u8]]) -> Vec<&'static str> {
    let Some((program, args)) = argv.split_first() else {
        return Vec::new();
    };
    let name = program
        .rsplit(|byte| *byte == b'/')
        .next()
        .unwrap_or(program);
    match (name, args) {
        // A shell's one-liner is a script.
        (b"sh" | b"bash" | b"dash" | b"ash" | b"zsh" | b"ksh", args) => args
            .iter()
            .skip_while(|arg| arg.starts_with(b"-"))
            .flat_map(|arg| of_script(arg))
            .take(MOST)
            .collect(),
        (b"ss", args)
            if args
                .iter()
                .any(|arg| arg.starts_with(b"-") && arg.contains(&b'p')) =>
        {
            vec![DESCRIPTORS]
        }
        _ => of_name(name).into_iter().collect(),
    }
}

/// Program names as whole words anywhere in the text: too many notes are better than none.
fn of_script(text: &[u8]) -> Vec<&'static str> {
    let text = text.get(..LOOKED_AT).unwrap_or(text);
    let mut notes = Vec::new();
    for word in text.split(|byte| !(byte.is_ascii_alphanumeric() || b"-_.".contains(byte))) {
        if let Some(note) = of_name(word).filter(|note| !notes.contains(note)) {
            notes.push(note);
            if notes.len() == MOST {
                break;
            }
        }
    }
    notes
}

fn of_name(name: &[u8]) -> Option<&'static str> {
    let name = std::str::from_utf8(name).ok()?;
    TABLE
        .iter()
        .find(|(names, _)| names.contains(&name))
        .map(|(_, note)| *note)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(words: &[&str]) -> Vec<&'static str> {
        of_argv(&words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>())
    }

    #[test]
    fn a_program_gets_its_sentence_and_others_none() {
        assert_eq!(argv(&["df", "-h"]), [MOUNTS]);
        assert_eq!(argv(&["/usr/bin/systemctl", "status"]), [BUS]);
        assert_eq!(argv(&["ss", "-ltnp"]), [DESCRIPTORS]);
        for plain in [
            &["ss", "-ltn"][..],
            &["ls", "mount"],
            &["mountpoint"],
            &["./df-x"],
            &[],
        ] {
            assert!(argv(plain).is_empty(), "{plain:?}");
        }
    }

    #[test]
    fn a_script_gets_three_at_most_and_each_once() {
        assert_eq!(of_script(b"df -h; df -i\nfindmnt"), [MOUNTS]);
        assert_eq!(
            of_script(b"a|/bin/dmesg;$(curl x)\nlsof `crontab`").len(),
            MOST
        );
        assert_eq!(argv(&["sh", "-c", "dmesg | tail"]), [KERNEL_LOG]);
        assert!(of_script(b"remount dfx my-curl").is_empty());
    }

    #[test]
    fn sentences_are_one_line_and_names_stand_once() {
        let mut names: Vec<_> = TABLE.iter().flat_map(|(names, _)| *names).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
        assert!(
            TABLE
                .iter()
                .all(|(_, note)| note.len() < 200 && !note.contains('\n'))
        );
    }
}
