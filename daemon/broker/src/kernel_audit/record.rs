//! Parses one record of the kernel audit. Total. Values chosen by a job are quoted, or hexadecimal with unusual bytes.

use remit_common::denial::Layer;
use remit_common::text;

/// Size of `struct nlmsghdr`. Its length field is ignored: in audit messages it does not include the header.
const HEADER: usize = 16;
const SYSCALL: u16 = 1300;
const SECCOMP: u16 = 1326;
const LANDLOCK_ACCESS: u16 = 1423;
// Bytes kept of an object.
const OBJECT: usize = 256;
/// `SECCOMP_RET_ERRNO`.
const REFUSED: u64 = 0x5_0000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    Seccomp {
        uid: u32,
        refused: KernelRefusal,
    },
    /// A refusal by Landlock. The record of the system call of this event has the uid; that of the domain has root's, because root
    /// makes the domains of jobs.
    Access {
        serial: u64,
        refused: KernelRefusal,
    },
    /// The uid of the system call of an event. An audit rule can suppress this record.
    Call {
        serial: u64,
        uid: u32,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KernelRefusal {
    pub layer: Layer,
    pub operation: &'static str,
    /// A path or an address that the job named, safe to show.
    pub object: Option<String>,
}

#[must_use]
pub fn read(datagram: &[u8]) -> Option<Record> {
    let (header, body) = datagram.split_at_checked(HEADER)?;
    let kind = u16::from_ne_bytes(header.get(4..)?.first_chunk().copied()?);
    if ![SYSCALL, SECCOMP, LANDLOCK_ACCESS].contains(&kind) {
        return None;
    }
    let (serial, fields) = stamped(body)?;
    let field = |name: &str| field(fields, name);
    match kind {
        SYSCALL => Some(Record::Call {
            serial,
            uid: decimal(field("uid")?)?,
        }),
        SECCOMP => seccomp(fields),
        _ => Some(Record::Access {
            serial,
            refused: landlock(fields)?,
        }),
    }
}

/// Parses `audit(SECONDS.MILLISECONDS:SERIAL): FIELDS`.
fn stamped(body: &[u8]) -> Option<(u64, &[u8])> {
    let stamp = body.strip_prefix(b"audit(")?;
    let end = stamp.iter().position(|byte| *byte == b')')?;
    let (stamp, rest) = stamp.split_at_checked(end)?;
    let colon = stamp.iter().position(|byte| *byte == b':')?;
    let serial = decimal(stamp.get(colon + 1..)?)?;
    Some((serial, rest.strip_prefix(b"):")?))
}

fn field<'a>(fields: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let ends = |byte: &u8| matches!(byte, b' ' | b'\n' | 0);
    let mut all = fields.split(ends);
    all.find_map(|one| one.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

fn seccomp(fields: &[u8]) -> Option<Record> {
    let field = |name: &str| field(fields, name);
    if hexadecimal(field("code")?.strip_prefix(b"0x")?)? != REFUSED {
        return None;
    }
    // On a foreign architecture numbers mean other calls. They are killed, not refused.
    if hexadecimal(field("arch")?)? != u64::from(super::calls::ARCH) {
        return None;
    }
    let number: libc::c_long = decimal(field("syscall")?)?;
    Some(Record::Seccomp {
        uid: decimal(field("uid")?)?,
        refused: KernelRefusal {
            layer: Layer::Seccomp,
            operation: super::calls::operation(number)?,
            object: None,
        },
    })
}

fn landlock(fields: &[u8]) -> Option<KernelRefusal> {
    let field = |name: &str| field(fields, name);
    // A call can need several rights. The first one is sufficient.
    let blocker = field("blockers")?.split(|byte| *byte == b',').next()?;
    let object = match blocker {
        b"net.connect_tcp" => address(field("daddr"), field("dest")),
        b"net.bind_tcp" => address(field("saddr"), field("src")),
        _ if blocker.starts_with(b"fs.") => field("path").and_then(path),
        // Other processes and their sockets: the job knows no name of them.
        _ => None,
    };
    Some(KernelRefusal {
        layer: Layer::Landlock,
        operation: match blocker {
            b"fs.write_file" => "write",
            b"fs.truncate" => "truncate",
            b"fs.read_file" | b"fs.read_dir" => "read",
            b"fs.execute" => "execute",
            b"fs.remove_file" | b"fs.remove_dir" => "remove",
            b"fs.refer" => "rename",
            b"fs.ioctl_dev" if field("ioctlcmd").is_some_and(is_terminal_query) => return None,
            b"fs.ioctl_dev" => "ioctl",
            b"fs.change_topology" => "mount",
            _ if blocker.starts_with(b"fs.make_") => "create",
            b"net.connect_tcp" | b"scope.abstract_unix_socket" => "connect",
            b"net.bind_tcp" => "bind",
            b"scope.signal" => "signal",
            b"ptrace" => "ptrace",
            _ => return None,
        },
        object,
    })
}

/// Returns true for TCGETS, TCGETS2 and TIOCGWINSZ: isatty(3) asks `/dev/null` as well, and no program fails by the answer.
/// The kernel writes the lower 16 bits of a command alone (`struct lsm_ioctlop_audit`).
fn is_terminal_query(command: &[u8]) -> bool {
    matches!(command, b"0x5401" | b"0x542a" | b"0x5413")
}

fn address(address: Option<&[u8]>, port: Option<&[u8]>) -> Option<String> {
    let plain = |value: &&[u8]| {
        let ok = |byte: &u8| byte.is_ascii_hexdigit() || b".:%".contains(byte);
        (1..=64).contains(&value.len()) && value.iter().all(ok)
    };
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let port = port.filter(plain).map(text);
    match (address.filter(plain).map(text), port) {
        (Some(address), Some(port)) if address.contains(':') => Some(format!("[{address}]:{port}")),
        (Some(address), Some(port)) => Some(format!("{address}:{port}")),
        (None, Some(port)) => Some(format!("port {port}")),
        (Some(address), None) => Some(address),
        (None, None) => None,
    }
}

/// Decodes a path: `"…"` or hexadecimal. Returns `None` if it is not absolute.
fn path(value: &[u8]) -> Option<String> {
    let unquoted = value
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""));
    let decoded;
    let path = match unquoted {
        Some(path) => path,
        None => {
            decoded = unhex(value)?;
            &decoded
        }
    };
    (path.first() == Some(&b'/')).then(|| text::line(path, OBJECT))
}

fn unhex(value: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    let (pairs, rest) = value.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let byte = |[high, low]: &[u8; 2]| Some(digit(*high)? << 4 | digit(*low)?);
    pairs.iter().map(byte).collect()
}

fn decimal<T: std::str::FromStr>(value: &[u8]) -> Option<T> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn hexadecimal(value: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(value).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Builds a datagram with an arbitrary length field, because the kernel's is unreliable.
    fn datagram(kind: u16, text: &str) -> Vec<u8> {
        let mut bytes = 7_u32.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(text.as_bytes());
        bytes
    }

    fn access(blockers_and_object: &str) -> Option<KernelRefusal> {
        let text =
            format!("audit(1795222024.401:33): domain=19fe60dee blockers={blockers_and_object}");
        match read(&datagram(LANDLOCK_ACCESS, &text))? {
            Record::Access {
                serial: 33,
                refused,
            } => Some(refused),
            other => panic!("{other:?}"),
        }
    }

    // Recorded with Linux 6.18.15.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn records_of_a_kernel_are_read() {
        const JOB: u32 = 1_879_048_193;
        let call = "audit(1795222024.401:33): arch=c000003e syscall=257 success=no exit=-13 a0=ffffff9c \
            a1=55819b3e09b0 a2=241 a3=1b6 items=0 ppid=604 pid=738 auid=0 uid=1879048193 gid=1879048193 \
            euid=1879048193 suid=1879048193 fsuid=1879048193 egid=1879048193 sgid=1879048193 \
            fsgid=1879048193 tty=(none) ses=16 comm=\"bash\" exe=\"/usr/bin/bash\" subj=unconfined key=(null)";
        let seccomp = |number: i32| {
            format!(
                "audit(1795222024.381:32): auid=0 uid=1879048193 gid=1879048193 ses=16 subj=unconfined \
                 pid=739 comm=\"unshare\" exe=\"/usr/bin/unshare\" sig=0 arch=c000003e syscall={number} \
                 compat=0 ip=0x7fb1e97ff0f7 code=0x50000"
            )
        };
        let refused = |operation| Record::Seccomp {
            uid: JOB,
            refused: KernelRefusal {
                layer: Layer::Seccomp,
                operation,
                object: None,
            },
        };
        let made = "audit(1795222024.401:33): domain=19fe60dee status=allocated mode=enforcing pid=738 \
            uid=0 exe=\"/usr/libexec/remit/remit-spawner\" comm=\"remit-zygote\"";
        let user = "audit(1795222023.485:25): pid=735 uid=0 auid=0 ses=15 subj=unconfined \
            msg='op=PAM:authentication acct=\"alice\" exe=\"/usr/bin/su\" res=success'";
        for (kind, text, want) in [
            (SECCOMP, seccomp(272).as_str(), Some(refused("unshare"))),
            (SECCOMP, &seccomp(165), Some(refused("mount"))),
            (SECCOMP, &seccomp(41), Some(refused("socket"))),
            (SECCOMP, &seccomp(72), None),
            (
                SYSCALL,
                call,
                Some(Record::Call {
                    serial: 33,
                    uid: JOB,
                }),
            ),
            (1424, made, None),
            (
                1327,
                "audit(1795222024.401:33): proctitle=\"/usr/libexec/remit/remitd\"",
                None,
            ),
            (1320, "audit(1795222024.401:33): ", None),
            (1100, user, None),
        ] {
            assert_eq!(read(&datagram(kind, text)), want, "{text}");
        }
    }

    #[test]
    fn landlock_refusal_has_operation_and_object() {
        for (text, operation, object) in [
            (
                r#"fs.write_file path="/srv/pipe" dev="vda" ino=12087"#,
                "write",
                Some("/srv/pipe"),
            ),
            (
                r#"fs.make_reg,fs.refer path="/usr/local" dev="vda2" ino=365"#,
                "create",
                Some("/usr/local"),
            ),
            (
                r#"fs.ioctl_dev path="/dev/tty" dev="devtmpfs" ino=9 ioctlcmd=0x5412"#,
                "ioctl",
                Some("/dev/tty"),
            ),
            (
                r#"fs.truncate path=2F737276 dev="vda""#,
                "truncate",
                Some("/srv"),
            ),
            // A space, a newline, an escape, a right-to-left override, invalid UTF-8.
            (
                "fs.write_file path=2F6120620A1BE280AEFF",
                "write",
                Some(r"/a b\n\x1b\u{202e}\xff"),
            ),
            ("fs.write_file path=2", "write", None),
            ("fs.write_file path=2F7", "write", None),
            ("fs.write_file path=2G", "write", None),
            ("fs.write_file path=\"", "write", None),
            ("fs.write_file path=\"relative\"", "write", None),
            ("fs.write_file path=\"<no_memory>\"", "write", None),
            ("fs.write_file", "write", None),
            (
                "net.connect_tcp daddr=192.0.2.1 dest=443",
                "connect",
                Some("192.0.2.1:443"),
            ),
            (
                "net.connect_tcp daddr=2001:db8::1 dest=443",
                "connect",
                Some("[2001:db8::1]:443"),
            ),
            ("net.bind_tcp src=80", "bind", Some("port 80")),
            ("net.connect_tcp daddr=\u{1b}[2J dest=x", "connect", None),
            ("net.connect_tcp daddr= dest=", "connect", None),
            (r#"scope.signal opid=1 ocomm="systemd""#, "signal", None),
            ("scope.abstract_unix_socket path=00", "connect", None),
            (r#"ptrace opid=1 ocomm="systemd""#, "ptrace", None),
        ] {
            let refused = access(text).unwrap();
            let found = (refused.layer, refused.operation, refused.object.as_deref());
            assert_eq!(found, (Layer::Landlock, operation, object), "{text}");
        }
        assert_eq!(access("fs.a_right_to_come path=\"/x\""), None);
        for command in ["0x5401", "0x542a", "0x5413"] {
            let query =
                format!(r#"fs.ioctl_dev path="/dev/null" dev="devtmpfs" ino=4 ioctlcmd={command}"#);
            assert_eq!(access(&query), None, "{command}");
        }
    }

    #[test]
    fn long_object_is_cut_broken_record_is_none() {
        let long = access(&format!("fs.write_file path=\"/{}\"", "x".repeat(8000))).unwrap();
        assert_eq!(long.object.unwrap().len(), OBJECT + '…'.len_utf8());
        let good = "audit(1.2:3): auid=0 uid=5 sig=0 arch=c000003e syscall=165 code=0x50000";
        let whole = datagram(SECCOMP, good);
        for end in 0..whole.len() {
            // A truncated record gives `None`, a truncated number does not: the last field is compared whole.
            assert_eq!(read(whole.get(..end).unwrap()), None, "{end}");
        }
        for (from, to) in [
            ("audit(", "("),
            (":3)", ":x)"),
            (":3)", ")"),
            ("uid=5", "uid=-5"),
            ("uid=5", "uid=99999999999"),
            ("uid=5", "uid"),
            (" uid=5", " xuid=5"),
            ("code=0x50000", "code=0x7ffc0000"),
            ("code=0x50000", "code=50000"),
            ("syscall=165", "syscall=99999999999999999999"),
            ("arch=c000003e", "arch=40000003"),
        ] {
            let broken = good.replace(from, to);
            assert_eq!(read(&datagram(SECCOMP, &broken)), None, "{broken}");
        }
    }
}
