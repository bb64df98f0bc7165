//! The directory of master connections: private, with a bounded number. A file beside each socket has the time of its last
//! use, for all processes of the user. Starts no ssh.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use remit_common::hex::hex;
use sha2::{Digest, Sha256};

use crate::config::Limits;
use crate::host_name::HostName;

const NAME: &str = "remit-fleet";
/// Digits of a hash.
const HASH: usize = 40;
/// ssh binds its socket under a longer name first, and macOS has 104 bytes for a path and its NUL.
const ADDED: usize = 17;
const LONGEST_PATH: usize = 103;
const USED: &str = "used";

#[derive(Debug)]
pub struct Masters {
    dir: PathBuf,
    max: usize,
}

impl Masters {
    /// Opens the directory in `~/.ssh`, because MCP clients pass `HOME` on and few other variables, or in
    /// `XDG_RUNTIME_DIR`. `None` if neither is private, short enough and safe in an option.
    pub fn open(limits: &Limits) -> Option<Self> {
        let max = usize::try_from(limits.masters)
            .ok()
            .filter(|max| *max > 0)?;
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".ssh"));
        [home, runtime].into_iter().flatten().find_map(|parent| {
            let dir = parent.join(NAME);
            let fits = dir.as_os_str().len() + 1 + HASH + ADDED <= LONGEST_PATH;
            let is_usable = parent.is_absolute() && fits && is_plain(&dir) && is_private(&dir);
            is_usable.then_some(Self { dir, max })
        })
    }

    /// Returns the socket of a host: of its name and all that `ssh -G` says of it. `%C` of ssh_config(5) is the same for hosts
    /// that have one address behind different proxies, and a master of one would lead to the other.
    pub fn socket(&self, host: &HostName, effective: &[u8]) -> PathBuf {
        let mut hash = Sha256::new_with_prefix(host.as_str());
        hash.update(b"\0");
        hash.update(effective);
        let digits = hex(&hash.finalize());
        self.dir.join(digits.get(..HASH).unwrap_or(&digits))
    }

    /// Notes that a master is used now.
    pub fn note_use(&self, socket: &Path) {
        if socket.exists() {
            // Without the time it is the first to go.
            let _ = File::create(socket.with_extension(USED));
        }
    }

    /// Returns the masters to stop so that a new one fits: the least recently used.
    pub fn to_stop(&self, socket: &Path) -> Vec<PathBuf> {
        if socket.exists() {
            return Vec::new();
        }
        self.forget_ended();
        let mut others = self.sockets();
        let too_many = (others.len() + 1).saturating_sub(self.max);
        others.sort();
        let oldest = others.into_iter().take(too_many);
        let oldest: Vec<PathBuf> = oldest.map(|(_, path)| path).collect();
        for socket in &oldest {
            let _ = fs::remove_file(socket.with_extension(USED));
        }
        oldest
    }

    /// Removes the times of masters that have ended.
    fn forget_ended(&self) {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let times = entries.map(|entry| entry.path());
        let times = times.filter(|path| path.extension().is_some_and(|end| end == USED));
        for time in times.filter(|time| !time.with_extension("").exists()) {
            let _ = fs::remove_file(time);
        }
    }

    fn sockets(&self) -> Vec<(SystemTime, PathBuf)> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let sockets = entries.filter(|entry| {
            let kind = entry.file_type();
            kind.is_ok_and(|kind| kind.is_socket()) && is_hash(&entry.file_name())
        });
        sockets
            .map(|entry| {
                let path = entry.path();
                let used = fs::metadata(path.with_extension(USED)).and_then(|used| used.modified());
                (used.unwrap_or(SystemTime::UNIX_EPOCH), path)
            })
            .collect()
    }
}

/// Returns true if ssh takes the path as it is: `ControlPath` has words, quotes, tokens and variables.
fn is_plain(path: &Path) -> bool {
    let bytes = path.as_os_str().as_encoded_bytes();
    let is_special = |byte: &u8| byte.is_ascii_whitespace() || b"\"'\\%$".contains(byte);
    !bytes.iter().any(is_special)
}

fn is_hash(name: &OsStr) -> bool {
    name.len() == HASH && name.as_encoded_bytes().iter().all(u8::is_ascii_hexdigit)
}

/// Makes the directory, or checks that it is a directory of this user that nobody else can enter, and where ssh can have a
/// socket: if it cannot, it ends after its login.
fn is_private(dir: &Path) -> bool {
    // It may be there already; what counts is checked below.
    let _ = DirBuilder::new().mode(0o700).create(dir);
    let Ok(found) = fs::symlink_metadata(dir) else {
        return false;
    };
    if !found.is_dir() || found.mode() & 0o077 != 0 {
        return false;
    }
    // As ssh: it binds the socket under another name, and links it. std does not know the own uid; a new file has it.
    let names = ["a", "b"].map(|name| dir.join(format!(".{}.{name}", std::process::id())));
    let [socket, link] = &names;
    let remove = || names.iter().map(fs::remove_file).for_each(drop);
    // What another process with this pid has left.
    remove();
    let owner = UnixListener::bind(socket)
        .and_then(|_| fs::hard_link(socket, link))
        .and_then(|()| fs::symlink_metadata(link));
    remove();
    owner.is_ok_and(|owner| owner.uid() == found.uid())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    use super::*;

    const NONE: [PathBuf; 0] = [];

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("rf-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&dir);
            Self(dir)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn hash(number: usize) -> String {
        format!("{number:040x}")
    }

    #[test]
    fn directory_of_others_is_refused() {
        let dir = Dir::new("private");
        assert!(is_private(&dir.0), "a new one");
        assert_eq!(fs::metadata(&dir.0).unwrap().mode() & 0o777, 0o700);
        assert!(is_private(&dir.0), "the same again");
        fs::set_permissions(&dir.0, fs::Permissions::from_mode(0o710)).unwrap();
        assert!(!is_private(&dir.0), "of a group");
        fs::remove_dir(&dir.0).unwrap();
        std::os::unix::fs::symlink("/tmp", &dir.0).unwrap();
        assert!(!is_private(&dir.0), "a link");
        fs::remove_file(&dir.0).unwrap();
        assert!(!is_private(Path::new("/nonexistent/a")));
        fs::create_dir(&dir.0).unwrap();
        assert!(!is_private(&dir.0.join("x".repeat(110))), "no socket there");
    }

    #[test]
    fn path_that_ssh_reads_otherwise_is_not_taken() {
        for (path, expect) in [
            ("/home/ann/.ssh", true),
            ("/home/jörg-1_a@x,y=z+#~/.ssh", true),
            ("/home/ann lee/.ssh", false),
            ("/home/ann\tlee/.ssh", false),
            ("/home/50%/.ssh", false),
            ("/home/${HOME}/.ssh", false),
            ("/home/\"ann\"/.ssh", false),
            ("/home/o'neil/.ssh", false),
            ("/home/a\\b/.ssh", false),
        ] {
            assert_eq!(is_plain(Path::new(path)), expect, "{path}");
        }
    }

    #[test]
    fn least_recently_used_master_goes() {
        let dir = Dir::new("lru");
        assert!(is_private(&dir.0));
        let masters = Masters {
            dir: dir.0.clone(),
            max: 3,
        };
        let socket = |number| dir.0.join(hash(number));
        let mut listeners = Vec::new();
        let time = |number: usize| socket(number).with_extension(USED);
        for number in 0..3 {
            assert_eq!(masters.to_stop(&socket(number)), NONE);
            listeners.push(UnixListener::bind(socket(number)).unwrap());
            masters.note_use(&socket(number));
            let age = std::time::Duration::from_secs(100 - number as u64);
            let used = File::options().write(true).open(time(number)).unwrap();
            used.set_modified(SystemTime::now() - age).unwrap();
        }
        File::create(dir.0.join("strange")).unwrap();
        File::create(time(7)).unwrap();
        // One that is there needs no room.
        assert_eq!(masters.to_stop(&socket(0)), NONE);
        // A use makes it the newest one.
        masters.note_use(&socket(0));
        assert_eq!(masters.to_stop(&socket(9)), [socket(1)]);
        assert!(!time(7).exists(), "its master has ended");
        assert!(time(2).exists() && !time(1).exists());
        masters.note_use(&socket(8));
        assert!(!time(8).exists(), "no master");
    }

    #[test]
    fn each_host_has_a_socket_of_its_own() {
        let masters = Masters {
            dir: "/m".into(),
            max: 1,
        };
        let of = |host: &str, effective: &str| {
            masters.socket(&host.parse().unwrap(), effective.as_bytes())
        };
        let one = of("web1", "hostname 10.0.0.1\nproxycommand a\n");
        assert!(is_hash(one.file_name().unwrap()) && one.starts_with("/m"));
        assert_eq!(of("web1", "hostname 10.0.0.1\nproxycommand a\n"), one);
        assert_ne!(of("web2", "hostname 10.0.0.1\nproxycommand a\n"), one);
        assert_ne!(of("web1", "hostname 10.0.0.1\nproxycommand b\n"), one);
        for other in ["strange", &"g".repeat(HASH), &format!("{}.used", hash(7))] {
            assert!(!is_hash(other.as_ref()), "{other}");
        }
    }
}
