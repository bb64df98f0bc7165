//! What a view has of its own beside the copies: private directories, devices, `/proc`; and Landlock's rights.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::mount::{MsFlags, mount};

use super::Building;
use super::site::NO_WRITE;
use crate::steps::private_root::{DEVICES, c_string};
use crate::steps::report::Fault;
use crate::sys;

/// Returns the mounts of a view on which devices work.
pub(crate) fn devices() -> Vec<CString> {
    let all = DEVICES.iter().map(|(path, ..)| *path);
    all.chain(["/dev/pts"])
        .filter_map(|path| CString::new(path).ok())
        .collect()
}

impl Building<'_> {
    /// Mounts what is the view's own: `/run`, `/tmp`, `/dev`, `/proc`; and a read-only `/sys`.
    pub(super) fn furnish(&self, view: BorrowedFd<'_>, host: BorrowedFd<'_>) -> io::Result<()> {
        let root = self.mapped(0);
        let own = |rest: &str| c_string(format!("{rest},uid={root},gid={root}"));
        let private = [
            (c"run", own("size=16m,nr_inodes=4096,mode=755")?),
            (c"tmp", self.shared.to_owned()),
            (c"var/tmp", self.shared.to_owned()),
            (c"dev", own("size=64k,nr_inodes=128,mode=755")?),
        ];
        for (path, options) in private {
            match sys::open_plain(view, path, libc::O_PATH | libc::O_DIRECTORY) {
                // A link, as /var/tmp can be, leads to one of them, or to a copy.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENOENT)) => {
                    continue;
                }
                there => sys::change_to(there?.as_fd())?,
            }
            sys::mount_tmpfs_here(&options, false)?;
        }
        self.devices(view, host)?;
        let system = sys::open_plain(host, c"sys", libc::O_PATH | libc::O_DIRECTORY)?;
        let system = sys::copy_mount_of(system.as_fd(), false)?;
        sys::set_mount(system.as_fd(), NO_WRITE | sys::NOEXEC)?;
        sys::attach_mount_on(
            system.as_fd(),
            sys::open_plain(view, c"sys", libc::O_PATH)?.as_fd(),
        )?;
        sys::change_to(sys::open_plain(view, c"proc", libc::O_PATH)?.as_fd())?;
        let flags =
            MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        Ok(mount(
            Some(c"proc"),
            c".",
            Some(c"proc"),
            flags,
            None::<&CStr>,
        )?)
    }

    fn devices(&self, view: BorrowedFd<'_>, host: BorrowedFd<'_>) -> io::Result<()> {
        let dev = sys::open_plain(view, c"dev", libc::O_PATH | libc::O_DIRECTORY)?;
        for (path, major, minor) in DEVICES {
            let path = c_string(path.strip_prefix('/').unwrap_or(path))?;
            let source = match sys::open_plain(host, &path, libc::O_PATH) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                source => source?,
            };
            let stat = sys::stat_of(source.as_fd())?;
            let device = (stat.st_mode & libc::S_IFMT, stat.st_rdev);
            if device != (libc::S_IFCHR, libc::makedev(major, minor)) {
                continue;
            }
            sys::make_file_at(view, &path, b"")?;
            let node = sys::copy_mount_of(source.as_fd(), false)?;
            sys::set_mount(node.as_fd(), sys::RDONLY | sys::NOSUID | sys::NOEXEC)?;
            sys::attach_mount_on(
                node.as_fd(),
                sys::open_plain(view, &path, libc::O_PATH)?.as_fd(),
            )?;
        }
        for (name, to) in [
            (c"fd", c"/proc/self/fd"),
            (c"stdin", c"/proc/self/fd/0"),
            (c"stdout", c"/proc/self/fd/1"),
            (c"stderr", c"/proc/self/fd/2"),
            (c"ptmx", c"pts/ptmx"),
        ] {
            sys::make_link_at(to, dev.as_fd(), name)?;
        }
        for name in [c"shm", c"pts"] {
            sys::make_dir_at(dev.as_fd(), name, 0o755)?;
        }
        let enter = |name| {
            sys::open_plain(dev.as_fd(), name, libc::O_PATH)
                .and_then(|there| sys::change_to(there.as_fd()))
        };
        enter(c"shm")?;
        sys::mount_tmpfs_here(self.shared, true)?;
        enter(c"pts")?;
        // Of the machine's terminals, which are few, a view gets no more than these.
        let options = c"newinstance,ptmxmode=0666,mode=620,max=16";
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
        let kind = Some(c"devpts");
        Ok(mount(kind, c".", kind, flags, Some(options))?)
    }

    /// Lets the job write beneath the root of the view, and use its own terminals.
    pub(super) fn grant(&self) -> Result<(), Fault> {
        let Some((ruleset, fence)) = self.ruleset else {
            return Ok(());
        };
        let open = |path| sys::open(path, libc::O_PATH | libc::O_DIRECTORY);
        sys::landlock_grant(ruleset, open(c"/")?.as_fd(), fence.in_private_dirs)?;
        sys::landlock_grant(ruleset, open(c"/dev/pts")?.as_fd(), fence.on_listed_devices)?;
        Ok(())
    }
}
