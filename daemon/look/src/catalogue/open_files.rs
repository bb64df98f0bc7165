//! `openfiles.*`: who holds a file or a port, and what a process or a unit has open.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use remit_common::text;
use serde::Serialize;

use super::inode::Inode;
use super::inspect::{Link, MissedLinks, Processes, Raw, SHOWN, each_link};
use crate::text::{lines, number, print};

#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct Holder {
    pid: u32,
    program: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<String>,
    descriptor: String,
}

pub fn holder(process: &Raw, descriptor: String) -> Holder {
    Holder {
        pid: process.pid,
        program: process.program(),
        unit: process.unit(),
        descriptor,
    }
}

#[derive(Debug, Serialize)]
struct OpenFile {
    #[serde(flatten)]
    holder: Holder,
    file: String,
    access: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
}

/// Lists open files: of a process, of a unit's processes, or of all that have one file or port open.
pub fn open(words: &[&str]) -> Result<ExitCode, String> {
    // Before `collect`, after which this process looks at descriptors only.
    let real = match *words {
        ["file", file, _] => real_path(file),
        _ => None,
    };
    let (wanted, most) = match *words {
        ["process", pid, count] => (Wanted::Process(number(pid)?), count),
        ["unit", unit, count] => (Wanted::Unit(unit), count),
        ["file", file, count] => (Wanted::File(file, real.as_deref()), count),
        ["port", port, count] => (Wanted::Port(number(port)?), count),
        _ => {
            return Err(
                "open-files takes process, unit, file or port, its name, and a count".into(),
            );
        }
    };
    let most: usize = number(most)?;
    let mut sockets = HashSet::new();
    if let Wanted::Port(port) = wanted {
        for name in SOCKET_TABLES {
            let path = Path::new("/proc/net").join(name);
            let table = File::open(&path).map(BufReader::new);
            let read = table.and_then(|table| sockets_at(table, port, &mut sockets));
            if let Err(error) = read
                && !is_of_no_protocol(name, &error)
            {
                let path = path.display();
                eprintln!("remit-look: cannot read all of {path}: {error}");
            }
        }
    }
    let processes = Processes::collect()?;
    let (mut shown, mut more, mut looked) = (Vec::new(), 0usize, 0usize);
    let mut missed = MissedLinks::default();
    for process in &processes.all {
        let is_one = match wanted {
            Wanted::Process(pid) => process.pid == pid,
            Wanted::Unit(unit) => process.unit().as_deref() == Some(unit),
            Wanted::File(..) | Wanted::Port(_) => true,
        };
        if !is_one {
            continue;
        }
        let is_there = each_link(process.pid, &mut missed, |link| {
            if !wanted.is_about(&link, &sockets) {
                return;
            }
            if shown.len() >= most {
                more += 1;
                return;
            }
            let inode = Inode::behind(&link.path).ok();
            shown.push(OpenFile {
                access: access(&link.path),
                file: text::line(&link.target, SHOWN),
                bytes: inode.filter(Inode::is_file).map(|file| file.length()),
                holder: holder(process, link.name),
            });
        });
        looked += usize::from(is_there);
    }
    if shown.is_empty() {
        print(&wanted.nothing(looked))?;
    } else {
        lines(shown)?;
    }
    if more > 0 {
        eprintln!("remit-look: {more} more are open");
    }
    missed.say();
    Ok(ExitCode::SUCCESS)
}

#[derive(Clone, Copy)]
enum Wanted<'a> {
    Process(u32),
    Unit(&'a str),
    /// The path, and the one that it leads to by links.
    File(&'a str, Option<&'a Path>),
    Port(u16),
}

impl Wanted<'_> {
    fn is_about(self, link: &Link, sockets: &HashSet<Vec<u8>>) -> bool {
        match self {
            Self::Process(_) | Self::Unit(_) => true,
            Self::File(file, real) => {
                let real = real.map(|real| real.as_os_str().as_encoded_bytes());
                [Some(file.as_bytes()), real]
                    .into_iter()
                    .flatten()
                    .any(|path| {
                        let rest = link.target.strip_prefix(path);
                        rest.is_some_and(|rest| rest.is_empty() || rest == b" (deleted)")
                    })
            }
            Self::Port(_) => sockets.contains(&link.target),
        }
    }

    fn nothing(self, looked: usize) -> String {
        match self {
            Self::Process(pid) if looked == 0 => format!("there is no process {pid}\n"),
            Self::Process(pid) => format!("process {pid} has nothing open\n"),
            Self::Unit(unit) if looked == 0 => {
                format!("no process is in a unit of the name {unit} (an alias is not resolved)\n")
            }
            Self::Unit(unit) => format!("the {looked} processes of {unit} have nothing open\n"),
            Self::File(file, real) => {
                let file = text::line(file.as_bytes(), SHOWN);
                let real = real.map(|real| text::line(real.as_os_str().as_encoded_bytes(), SHOWN));
                let real = real.map_or_else(String::new, |real| format!(" (which is {real})"));
                format!("none of {looked} processes has {file}{real} open\n")
            }
            Self::Port(port) => format!("none of {looked} processes has a socket at port {port}\n"),
        }
    }
}

/// Returns what a path leads to by links, if that is another path. A deleted file has a directory that can be followed.
fn real_path(path: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    let real = fs::canonicalize(path).ok().or_else(|| {
        let directory = fs::canonicalize(path.parent()?).ok()?;
        Some(directory.join(path.file_name()?))
    });
    real.filter(|real| real.as_os_str() != path.as_os_str())
}

/// The permissions of the link say how the file was opened, proc_pid_fd(5).
fn access(link: &Path) -> &'static str {
    let mode = fs::symlink_metadata(link).map_or(0, |link| link.mode());
    match mode & 0o600 {
        0o400 => "read",
        0o200 => "write",
        0o600 => "read and write",
        _ => "path",
    }
}

const SOCKET_TABLES: [&str; 4] = ["tcp", "tcp6", "udp", "udp6"];

/// A machine without IPv6 does not have its tables.
fn is_of_no_protocol(table: &str, error: &io::Error) -> bool {
    table.ends_with('6') && error.kind() == io::ErrorKind::NotFound
}

/// Adds the links of sockets with this local port, from a table as in proc_pid_net(5), which has one row for each socket.
fn sockets_at(table: impl BufRead, port: u16, found: &mut HashSet<Vec<u8>>) -> io::Result<()> {
    for row in table.lines().skip(1) {
        found.extend(socket_at(&row?, port));
    }
    Ok(())
}

fn socket_at(row: &str, port: u16) -> Option<Vec<u8>> {
    let mut fields = row.split_ascii_whitespace();
    let (_, local) = fields.nth(1)?.rsplit_once(':')?;
    let inode: u64 = fields.nth(7)?.parse().ok()?;
    let is_here = u16::from_str_radix(local, 16).ok()? == port && inode != 0;
    is_here.then(|| format!("socket:[{inode}]").into_bytes())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn open_here() -> Vec<Link> {
        let mut open = Vec::new();
        each_link(std::process::id(), &mut MissedLinks::default(), |link| {
            open.push(link);
        });
        open
    }

    #[test]
    fn sockets_are_found_by_local_port() {
        let table = b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1 0 100\n\
            1: 0100007F:1F90 0100007F:0050 01 00000000:00000000 00:00000000 00000000     0        0 78 1 0 100\n\
            2: 0100007F:0050 0100007F:1F90 06 00000000:00000000 00:00000000 00000000     0        0 0 1 0 100\nx\n";
        let found = |table: &[u8]| {
            let mut found = HashSet::new();
            sockets_at(table, 80, &mut found).unwrap();
            found
        };
        assert_eq!(found(table), HashSet::from([b"socket:[77]".to_vec()]));
        assert_eq!(found(b""), HashSet::new());
        let broken = BufReader::new(table.as_slice().chain(File::open("/").unwrap()));
        let mut found = HashSet::new();
        assert!(sockets_at(broken, 80, &mut found).is_err());
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn only_a_missing_table_of_ipv6_is_no_failure() {
        for (table, kind, expect) in [
            ("tcp6", io::ErrorKind::NotFound, true),
            ("tcp", io::ErrorKind::NotFound, false),
            ("tcp6", io::ErrorKind::PermissionDenied, false),
        ] {
            let error = io::Error::from(kind);
            assert_eq!(is_of_no_protocol(table, &error), expect, "{table} {kind}");
        }
    }

    #[test]
    fn file_is_found_by_a_link_to_it_and_by_its_path() {
        let base = nix::unistd::mkdtemp(&std::env::temp_dir().join("remit-real-XXXXXX")).unwrap();
        let base = fs::canonicalize(&base).unwrap();
        let path = |name: &str| base.join(name).to_str().unwrap().to_owned();
        fs::create_dir(path("run")).unwrap();
        let files = ["run/held", "run/gone"].map(|name| File::create(path(name)).unwrap());
        std::os::unix::fs::symlink("run", path("way")).unwrap();
        std::os::unix::fs::symlink("way/held", path("link")).unwrap();
        fs::remove_file(path("run/gone")).unwrap();
        let holds = |name: &str| {
            let (file, real) = (path(name), real_path(&path(name)));
            let wanted = Wanted::File(&file, real.as_deref());
            let open = open_here();
            let said = wanted.nothing(7);
            let is_open = open
                .iter()
                .any(|link| wanted.is_about(link, &HashSet::new()));
            (is_open, said)
        };
        for name in ["run/held", "way/held", "link", "run/gone", "way/gone"] {
            assert!(holds(name).0, "{name}");
        }
        assert_eq!(real_path(&path("run/held")), None);
        drop(files);
        let (link, real) = (path("link"), path("run/held"));
        let said = format!("none of 7 processes has {link} (which is {real}) open\n");
        assert_eq!(holds("link"), (false, said));
        let said = format!("none of 7 processes has {real} open\n");
        assert_eq!(holds("run/held"), (false, said));
        fs::remove_dir_all(&base).unwrap();
    }

    #[test]
    fn process_with_nothing_open_is_not_missing() {
        for (wanted, looked, expect) in [
            (Wanted::Process(7), 0, "there is no process 7\n"),
            (Wanted::Process(7), 1, "process 7 has nothing open\n"),
            (
                Wanted::Unit("a.service"),
                0,
                "no process is in a unit of the name a.service (an alias is not resolved)\n",
            ),
            (
                Wanted::Unit("a.service"),
                2,
                "the 2 processes of a.service have nothing open\n",
            ),
        ] {
            assert_eq!(wanted.nothing(looked), expect);
        }
    }

    #[test]
    fn links_of_a_process_say_what_it_has_open() {
        let dir = std::env::temp_dir().join(format!("remit-links-\n{}", std::process::id()));
        let file = File::create(&dir).unwrap();
        fs::remove_file(&dir).unwrap();
        let open = open_here();
        let deleted = format!("{} (deleted)", dir.display()).into_bytes();
        let found = open.iter().find(|link| link.target == deleted).unwrap();
        assert_eq!(access(&found.path), "write");
        assert!(!text::line(&found.target, SHOWN).contains('\n'));
        drop(file);
        assert!(!each_link(u32::MAX, &mut MissedLinks::default(), |_| {}));
        assert!(open.iter().any(|link| link.name == "exe"));
    }
}
