//! A separate user database: the daemon runs in a mount namespace with these files at /etc/passwd and /etc/group. A
//! directory service answers the C library like nscd(8), so users need not be in /etc/passwd.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fs, thread};

use nix::fcntl::{Flock, FlockArg};

use crate::process::until;

/// Users and groups other than root and its group.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    /// Users of /etc/passwd: name and uid. The primary group has the same number.
    pub users: Vec<(&'static str, u32)>,
    /// Groups: name, gid and members.
    pub groups: Vec<(&'static str, u32, Vec<&'static str>)>,
    /// Users of a directory service, absent from /etc/passwd.
    pub directory: Vec<(&'static str, u32)>,
}

const DIR: &str = "accounts";
/// A lock by which the directory service is held, and what it makes while it is.
const HELD: &str = "held";
const ASKED: &str = "asked";

impl Accounts {
    /// Writes the files below `base_dir`. Overwrites existing files in place, because they are bind-mounted.
    pub fn write(&self, base_dir: &Path) {
        let dir = base_dir.join(DIR);
        fs::create_dir_all(dir.join("nscd")).expect("the directory is writable");
        let line = |(name, uid): &(&str, u32)| format!("{name}:x:{uid}:{uid}::/:/bin/sh\n");
        let users: String = self.users.iter().map(line).collect();
        let groups = self.groups.iter().map(|(name, gid, members)| {
            let members = members.join(",");
            format!("{name}:x:{gid}:{members}\n")
        });
        let passwd = format!("root:x:0:0::/root:/bin/sh\n{users}");
        let directory: String = self.directory.iter().map(line).collect();
        let files = [
            ("passwd", passwd),
            (
                "group",
                format!("root:x:0:\n{}", groups.collect::<String>()),
            ),
            (
                "nsswitch.conf",
                "passwd: files\ngroup: files\nhosts: files\n".to_owned(),
            ),
            ("directory", directory),
        ];
        for (name, text) in files {
            let path = dir.join(name);
            fs::write(&path, text).expect("the directory is writable");
            let readable = fs::Permissions::from_mode(0o644);
            fs::set_permissions(&path, readable).expect("the file is ours");
        }
    }

    /// Returns a command that runs `program` with this user database, and the directory service if there is one.
    #[must_use]
    pub fn around(&self, base_dir: &Path, program: &Path) -> (Command, Option<Directory>) {
        self.write(base_dir);
        let dir = base_dir.join(DIR);
        let at = dir.display();
        let mut script = format!(
            "for file in passwd group nsswitch.conf; do\n\
             [ ! -e /etc/$file ] || mount --bind {at}/$file /etc/$file || exit 1\ndone\n"
        );
        let directory = (!self.directory.is_empty()).then(|| {
            script += &format!(
                "mount -t tmpfs none /run && mkdir /run/nscd && mount --bind {at}/nscd /run/nscd || exit 1\n"
            );
            Directory::start(&dir.join("nscd/socket"), &dir)
        });
        script += "exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", &script, "sh"]).arg(program);
        (command, directory)
    }
}

const VERSION: i32 = 2;
const BY_NAME: i32 = 0;
const BY_UID: i32 = 1;
/// Requests for nscd's shared memory. They get no answer, so the C library uses the socket.
const SHARED: std::ops::RangeInclusive<i32> = 11..=13;

/// A running directory service. The C library first asks `/var/run/nscd/socket` (glibc, nscd/nscd-client.h). A request
/// is a version, a type, the length of a key and the key. Groups are left to /etc/group. It ends on drop.
#[derive(Debug)]
pub struct Directory {
    socket: PathBuf,
    ends: Arc<AtomicBool>,
}

impl Directory {
    /// Serves the users of `passwd` and `directory` in `dir`. Reads the files for each request.
    #[must_use]
    pub fn start(socket: &Path, dir: &Path) -> Self {
        let _ = fs::remove_file(socket);
        let listener = UnixListener::bind(socket).expect("the directory is writable");
        fs::set_permissions(socket, fs::Permissions::from_mode(0o666)).expect("it is ours");
        let ends = Arc::new(AtomicBool::new(false));
        let (dir, ended) = (dir.to_owned(), Arc::clone(&ends));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let _ = answer(stream, &dir);
            }
        });
        Self {
            socket: socket.to_owned(),
            ends,
        }
    }
}

/// Keeps the directory service of a daemon from answering, as a slow one, until it is dropped. The C library asks `/etc/passwd`
/// instead after 5 s.
#[derive(Debug)]
pub struct HeldDirectory {
    dir: PathBuf,
    _held: Flock<File>,
}

impl HeldDirectory {
    /// `base_dir`: that of the daemon.
    #[must_use]
    pub fn hold(base_dir: &Path) -> Self {
        let dir = base_dir.join(DIR);
        let file = File::create(dir.join(HELD)).expect("the directory is writable");
        Self {
            _held: Flock::lock(file, FlockArg::LockExclusive).expect("nothing else has it"),
            dir,
        }
    }

    /// Returns once the daemon has asked it something.
    pub fn until_asked(&self) {
        until("it is asked", || self.dir.join(ASKED).exists());
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        // Wakes its accept(2).
        let _ = UnixStream::connect(&self.socket);
    }
}

fn answer(mut stream: UnixStream, dir: &Path) -> std::io::Result<()> {
    let mut header = [0; 12];
    stream.read_exact(&mut header)?;
    let number = |at: usize| i32::from_ne_bytes(header[at..at + 4].try_into().expect("four bytes"));
    let (kind, length) = (number(4), number(8));
    let mut key = vec![0; usize::try_from(length).unwrap_or_default()];
    stream.read_exact(&mut key)?;
    let key = String::from_utf8_lossy(&key);
    let key = key.trim_end_matches('\0');
    if SHARED.contains(&kind) {
        return Ok(());
    }
    if let Ok(held) = File::open(dir.join(HELD)) {
        fs::write(dir.join(ASKED), "")?;
        // Until whoever holds it lets go.
        drop(Flock::lock(held, FlockArg::LockShared));
    }
    let found = match kind {
        BY_NAME | BY_UID => user(dir, kind, key),
        // The C library then reads /etc/group.
        _ => {
            let mut none = [VERSION, -1].map(i32::to_ne_bytes).concat();
            none.resize(64, 0);
            return stream.write_all(&none);
        }
    };
    let (name, uid, gid) = found.clone().unwrap_or_default();
    let strings = [name.as_str(), "x", "", "/", "/bin/sh"].map(|text| format!("{text}\0"));
    let length = |at: usize| {
        strings[at]
            .len()
            .to_string()
            .parse::<i32>()
            .expect("it is short")
    };
    let is_there = found.is_some();
    let ids = [uid, gid].map(u32::to_ne_bytes).concat();
    let mut reply = [VERSION, i32::from(is_there), length(0), length(1)]
        .map(i32::to_ne_bytes)
        .concat();
    reply.extend(ids);
    reply.extend(
        [length(2), length(3), length(4)]
            .map(i32::to_ne_bytes)
            .concat(),
    );
    if is_there {
        reply.extend(strings.concat().into_bytes());
    }
    stream.write_all(&reply)
}

fn user(dir: &Path, kind: i32, key: &str) -> Option<(String, u32, u32)> {
    let text = ["passwd", "directory"].map(|name| fs::read_to_string(dir.join(name)));
    let text: String = text.into_iter().flatten().collect();
    text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, ..] = fields.as_slice() else {
            return None;
        };
        let is_asked = if kind == BY_NAME { name } else { uid } == &key;
        is_asked.then(|| Some(((*name).to_owned(), uid.parse().ok()?, gid.parse().ok()?)))?
    })
}
