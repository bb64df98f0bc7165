//! A user's file system: a directory with one file that its server reports as owned by root. fuse(4).

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const OPEN: u32 = 14;
const READ: u32 = 15;
const STATFS: u32 = 17;
const RELEASE: u32 = 18;
const INIT: u32 = 26;
const BATCH_FORGET: u32 = 42;

const ROOT: u64 = 1;
const FILE: u64 = 2;

/// Mounted until it is dropped. A thread serves it.
#[derive(Debug)]
pub struct Fuse(PathBuf);

impl Fuse {
    /// Mounts it on a directory, as fusermount(1) does for `uid`. The file's name is `file`.
    pub fn mount(on: &Path, uid: u32, content: &'static str) -> Self {
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse");
        let device = device.expect("the kernel has FUSE");
        let options = format!(
            "fd={},rootmode=40755,user_id={uid},group_id={uid},allow_other",
            device.as_raw_fd()
        );
        let options = CString::new(options).expect("no NUL");
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(
            Some("own"),
            on,
            Some("fuse"),
            flags,
            Some(options.as_c_str()),
        )
        .expect("a mount");
        std::thread::spawn(move || serve(device, content.as_bytes()));
        Self(on.to_owned())
    }

    /// Returns the path of its file.
    pub fn file(&self) -> PathBuf {
        self.0.join("file")
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

fn serve(mut device: File, content: &[u8]) {
    let mut request = vec![0; 256 << 10];
    while let Ok(length) = device.read(&mut request) {
        let request = request.get(..length).unwrap_or_default();
        let (opcode, unique, node) = (word(request, 4), long(request, 8), long(request, 16));
        let body = request.get(40..).unwrap_or_default();
        let answer = match opcode {
            FORGET | BATCH_FORGET => continue,
            INIT => Ok(init()),
            LOOKUP if node == ROOT && body.starts_with(b"file\0") => Ok(entry(content.len())),
            LOOKUP => Err(libc::ENOENT),
            GETATTR => Ok([&[0; 16][..], &attributes(node, content.len())].concat()),
            OPEN => Ok(vec![0; 16]),
            READ => {
                let from = usize::try_from(long(body, 8)).unwrap_or(usize::MAX);
                Ok(content.get(from..).unwrap_or_default().to_vec())
            }
            STATFS => Ok(vec![0; 80]),
            RELEASE => Ok(Vec::new()),
            _ => Err(libc::ENOSYS),
        };
        let (error, body) = match answer {
            Ok(body) => (0, body),
            Err(errno) => (-errno, Vec::new()),
        };
        let length = u32::try_from(16 + body.len()).unwrap_or(u32::MAX);
        let head = [
            &length.to_ne_bytes()[..],
            &error.to_ne_bytes(),
            &unique.to_ne_bytes(),
        ];
        if device.write_all(&[head.concat(), body].concat()).is_err() {
            return;
        }
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes
        .get(at..at + 4)
        .and_then(|bytes| bytes.try_into().ok());
    u32::from_ne_bytes(bytes.unwrap_or_default())
}

fn long(bytes: &[u8], at: usize) -> u64 {
    let bytes = bytes
        .get(at..at + 8)
        .and_then(|bytes| bytes.try_into().ok());
    u64::from_ne_bytes(bytes.unwrap_or_default())
}

fn words(all: &[u32]) -> Vec<u8> {
    all.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn longs(all: &[u64]) -> Vec<u8> {
    all.iter().flat_map(|long| long.to_ne_bytes()).collect()
}

/// `struct fuse_init_out` of version 7.31: no flags, pages of 4 KiB.
fn init() -> Vec<u8> {
    let mut all = words(&[7, 31, 0, 0, 0, 4096, 1, 0]);
    all.resize(64, 0);
    all
}

/// `struct fuse_attr`: owned by root, world-readable.
fn attributes(node: u64, size: usize) -> Vec<u8> {
    let (mode, size) = match node {
        ROOT => (0o040_755, 0),
        _ => (0o100_644, size as u64),
    };
    let longs = longs(&[node, size, 1, 1, 1, 1]);
    [longs, words(&[0, 0, 0, mode, 1, 0, 0, 0, 4096, 0])].concat()
}

/// `struct fuse_entry_out`: nothing is cached.
fn entry(size: usize) -> Vec<u8> {
    [longs(&[FILE, 0, 0, 0, 0]), attributes(FILE, size)].concat()
}
