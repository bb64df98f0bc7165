//! `files.list`, `disks.explain`, `files.private`: names and sizes in directories that only root sees, and the content of
//! one file. Each path is a descriptor that was opened for this process, never a name that it follows.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;

use nix::fcntl::AT_FDCWD;
use nix::sys::statvfs::statvfs;
use remit_common::text;
use serde::Serialize;

use super::files::{self, Walk};
use super::inode::Inode;
use super::processes::user;
use crate::text::{cannot_write, lines, number, print, size, stamp};

const SHOWN: usize = 4096;

/// Makes the directory of a descriptor the working directory, and returns its name.
fn enter(descriptor: &str) -> Result<PathBuf, String> {
    let cannot = |error: io::Error| format!("cannot look at '{descriptor}': {error}");
    let name = fs::read_link(descriptor).map_err(cannot)?;
    std::env::set_current_dir(descriptor).map_err(cannot)?;
    Ok(name)
}

#[derive(Debug, Serialize)]
struct ListedName {
    name: String,
    kind: &'static str,
    mode: String,
    owner: String,
    group: u32,
    bytes: u64,
    changed: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    link_to: Option<String>,
}

impl ListedName {
    /// Looks at a name in the working directory.
    fn new(name: &OsStr) -> io::Result<Self> {
        let inode = Inode::in_directory(AT_FDCWD, name)?;
        let link = inode.is_link().then(|| fs::read_link(name).ok()).flatten();
        Ok(Self {
            name: text::line(name.as_bytes(), SHOWN),
            kind: match inode.kind() {
                libc::S_IFREG => "file",
                libc::S_IFDIR => "directory",
                libc::S_IFLNK => "link",
                libc::S_IFSOCK => "socket",
                libc::S_IFIFO => "fifo",
                libc::S_IFBLK => "block device",
                _ => "character device",
            },
            mode: format!("{:04o}", inode.mode() & 0o7777),
            owner: user(inode.owner()),
            group: inode.group(),
            bytes: inode.length(),
            changed: stamp(u64::try_from(inode.written().0).unwrap_or(0)),
            link_to: link.map(|link| text::line(link.as_os_str().as_bytes(), SHOWN)),
        })
    }
}

/// Lists a directory by name. Keeps no more names than it shows, however many there are.
pub fn list(directory: &str, count: &str) -> Result<ExitCode, String> {
    let most: usize = number(count)?;
    let shown_as = enter(directory)?;
    let shown_as = text::line(shown_as.as_os_str().as_bytes(), SHOWN);
    let entries =
        fs::read_dir(".").map_err(|error| format!("cannot list '{shown_as}': {error}"))?;
    let mut first: BTreeMap<OsString, ()> = BTreeMap::new();
    let mut all = 0usize;
    for entry in entries {
        let entry = entry.map_err(|error| format!("cannot list '{shown_as}': {error}"))?;
        all += 1;
        first.insert(entry.file_name(), ());
        if first.len() > most {
            first.pop_last();
        }
    }
    let found: Vec<ListedName> = first
        .keys()
        .filter_map(|name| ListedName::new(name).ok())
        .collect();
    if all == 0 {
        print(&format!("{shown_as} is empty\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let shown = found.len();
    lines(found)?;
    if shown < all {
        eprintln!("remit-look: {shown} of {all} names in {shown_as}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows the largest directories below one, private ones too, and what the file system's own count has beyond them.
pub fn explain(directory: &str, count: &str) -> Result<ExitCode, String> {
    let name = enter(directory)?;
    let shown_as = text::line(name.as_os_str().as_bytes(), SHOWN);
    let mut walk = Walk::new(".")?;
    let total = files::directories_below(&mut walk, &name, count)?;
    let covered = walk.unseen.covered();
    let covered = covered.map_or_else(String::new, |covered| format!("{covered}; "));
    let system = statvfs(".")
        .map_err(|errno| format!("cannot ask the file system of '{shown_as}': {errno}"))?;
    let blocks = |blocks: u64| blocks.saturating_mul(system.fragment_size());
    let used = blocks(system.blocks().saturating_sub(system.blocks_free()));
    let rest = used.saturating_sub(total);
    print(&format!(
        "its file system has {} of {} in use (df); below {shown_as} seen {}; not seen there {}: {covered}other directories \
         and subvolumes, deleted files that are still open (disks.deleted), what the file system needs itself\n",
        size(used),
        size(blocks(system.blocks())),
        size(total),
        size(rest),
    ))?;
    Ok(ExitCode::SUCCESS)
}

pub fn file(descriptor: &str, most: &str) -> Result<ExitCode, String> {
    let most: u64 = number(most)?;
    let cannot = |error: io::Error| format!("cannot read '{descriptor}': {error}");
    let mut file = File::open(descriptor).map_err(cannot)?;
    let length = file.metadata().map_err(cannot)?.len();
    let mut out = io::stdout().lock();
    io::copy(&mut Read::by_ref(&mut file).take(most), &mut out).map_err(cannot_write)?;
    out.flush().map_err(cannot_write)?;
    if length > most {
        eprintln!("remit-look: the first {most} of {length} bytes");
    }
    if length == 0 {
        eprintln!("remit-look: the file is empty");
    }
    Ok(ExitCode::SUCCESS)
}
