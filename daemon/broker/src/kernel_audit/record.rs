//! One record of the kernel's audit, from the bytes of its datagram.
//!
//! Total: whatever the bytes are, the answer is a record of those that count or none. Values that a job
//! chooses (paths, names of programs) come quoted, or in hexadecimal where they hold a space, a quote or
//! what is not printable ASCII; so no value can look like another field.

use remit_common::denial::Layer;
use remit_common::text;

/// `struct nlmsghdr`. The length that it begins with does not count: of audit's it leaves itself out.
const HEADER: usize = 16;
/// Kinds of records (`linux/audit.h`).
const SYSCALL: u16 = 1300;
const SECCOMP: u16 = 1326;
const LANDLOCK_ACCESS: u16 = 1423;
const LANDLOCK_DOMAIN: u16 = 1424;
/// Bytes of an object that are kept.
const OBJECT: usize = 256;
/// `SECCOMP_RET_ERRNO`.
const REFUSED: u64 = 0x5_0000;

/// What a record says that may concern a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The filter of system calls refused one to somebody of `uid`.
    Seccomp {
        /// Whose process.
        uid: u32,
        /// What was refused.
        refused: Refused,
    },
    /// A Landlock domain refused something; whose it is, another record says.
    Access {
        /// Ties the records of one event together.
        serial: u64,
        /// Which domain.
        domain: u64,
        /// What was refused.
        refused: Refused,
    },
    /// Who made a domain. Said once, with the first thing that it refuses.
    Domain {
        /// Which.
        domain: u64,
        /// Who.
        uid: u32,
    },
    /// A domain is gone.
    DomainGone {
        /// Which.
        domain: u64,
    },
    /// Who made the system call of an event. Not said where an audit rule suppresses it.
    Call {
        /// Of which event.
        serial: u64,
        /// Who.
        uid: u32,
    },
}

/// What was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Refused {
    /// By what.
    pub layer: Layer,
    /// What was tried.
    pub operation: &'static str,
    /// On what: a path or an address that the job named, safe to show.
    pub object: Option<String>,
}

/// Reads one datagram.
#[must_use]
pub fn read(datagram: &[u8]) -> Option<Record> {
    let (header, body) = datagram.split_at_checked(HEADER)?;
    let kind = u16::from_ne_bytes(header.get(4..)?.first_chunk().copied()?);
    if ![SYSCALL, SECCOMP, LANDLOCK_ACCESS, LANDLOCK_DOMAIN].contains(&kind) {
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
        LANDLOCK_DOMAIN => {
            let domain = hexadecimal(field("domain")?)?;
            match field("status")? {
                b"allocated" => Some(Record::Domain {
                    domain,
                    uid: decimal(field("uid")?)?,
                }),
                b"deallocated" => Some(Record::DomainGone { domain }),
                _ => None,
            }
        }
        _ => Some(Record::Access {
            serial,
            domain: hexadecimal(field("domain")?)?,
            refused: landlock(fields)?,
        }),
    }
}

/// `audit(SECONDS.MILLISECONDS:SERIAL): FIELDS`.
fn stamped(body: &[u8]) -> Option<(u64, &[u8])> {
    let stamp = body.strip_prefix(b"audit(")?;
    let end = stamp.iter().position(|byte| *byte == b')')?;
    let (stamp, rest) = stamp.split_at_checked(end)?;
    let colon = stamp.iter().position(|byte| *byte == b':')?;
    let serial = decimal(stamp.get(colon + 1..)?)?;
    Some((serial, rest.strip_prefix(b"):")?))
}

/// The value of the first field of that name.
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
    // Numbers of another architecture mean other calls; it is killed there, not refused.
    if hexadecimal(field("arch")?)? != u64::from(super::calls::ARCH) {
        return None;
    }
    let number: i64 = decimal(field("syscall")?)?;
    Some(Record::Seccomp {
        uid: decimal(field("uid")?)?,
        refused: Refused {
            layer: Layer::Seccomp,
            operation: super::calls::operation(number)?,
            object: None,
        },
    })
}

fn landlock(fields: &[u8]) -> Option<Refused> {
    let field = |name: &str| field(fields, name);
    // Several where one call needed more than one right: the first says it well enough.
    let blocker = field("blockers")?.split(|byte| *byte == b',').next()?;
    let object = match blocker {
        b"net.connect_tcp" => address(field("daddr"), field("dest")),
        b"net.bind_tcp" => address(field("saddr"), field("src")),
        _ if blocker.starts_with(b"fs.") => field("path").and_then(path),
        // Other processes and sockets of theirs: the job knows a number, not a name.
        _ => None,
    };
    Some(Refused {
        layer: Layer::Landlock,
        operation: match blocker {
            b"fs.write_file" => "write",
            b"fs.truncate" => "truncate",
            b"fs.read_file" | b"fs.read_dir" => "read",
            b"fs.execute" => "execute",
            b"fs.remove_file" | b"fs.remove_dir" => "remove",
            b"fs.refer" => "rename",
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

/// `ADDRESS:PORT`, as far as it is known.
fn address(address: Option<&[u8]>, port: Option<&[u8]>) -> Option<String> {
    let plain = |value: &&[u8]| {
        let ok = |byte: &u8| byte.is_ascii_hexdigit() || b".:%".contains(byte);
        value.len() <= 64 && value.iter().all(ok)
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

/// A path as the kernel writes it: `"…"`, or hexadecimal. One that no longer leads anywhere is none.
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
