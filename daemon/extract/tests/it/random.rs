//! Sequences of random changes, each compared with what the overlay shows.

use std::fs;
use std::os::unix::fs::{lchown, symlink};
use std::path::PathBuf;

use crate::oracle::check;
use crate::scene::{Scene, append, chmod, put, seen};

const OPERATIONS: usize = 300;

/// xorshift64*.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
    }

    /// A directory of at most four levels: its names are those of directories.
    fn directory(&mut self) -> PathBuf {
        let mut path = seen("t");
        for _ in 0..self.below(4) {
            path.push(format!("d{}", self.below(3)));
        }
        path
    }

    /// A name says the kind, but for files and links that replace each other: otherwise a path would be of another
    /// kind than the host's.
    fn path(&mut self, kind: char) -> PathBuf {
        let directory = self.directory();
        directory.join(format!("{kind}{}", self.below(4)))
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = [0, 1, 10, 70_000][usize::try_from(self.below(4)).unwrap()];
        let byte = u8::try_from(self.below(2)).unwrap();
        vec![byte; length]
    }

    /// Does one thing. Most of them fail if a path does not exist, and the sequence goes on.
    fn change(&mut self) {
        match self.below(18) {
            0..3 => {
                let path = self.path('f');
                let _ = fs::write(path, self.bytes());
            }
            3 => {
                let path = self.path('f');
                let bytes = self.bytes();
                if path.exists() {
                    append(&path, &bytes);
                }
            }
            4 => {
                let path = self.path('f');
                let mode = [0o644, 0o600, 0o4755, 0o2644][usize::try_from(self.below(4)).unwrap()];
                if path.exists() {
                    chmod(&path, mode);
                }
            }
            5 => {
                let kind = ['f', 'd', 'l'][usize::try_from(self.below(3)).unwrap()];
                let path = self.path(kind);
                let (uid, gid) = (self.below(3) as u32, self.below(3) as u32);
                let _ = lchown(path, Some(uid), Some(gid));
            }
            6 | 7 => {
                let _ = fs::create_dir_all(self.directory());
            }
            8 | 9 => {
                let _ = fs::remove_file(self.path('f'));
            }
            10 => {
                let path = self.path('d');
                if self.below(2) == 0 {
                    let _ = fs::remove_dir_all(path);
                } else if path.exists() {
                    chmod(
                        &path,
                        [0o755, 0o700][usize::try_from(self.below(2)).unwrap()],
                    );
                }
            }
            11 => {
                let path = self.path('d');
                let _ = fs::remove_dir_all(&path);
                let _ = fs::create_dir(&path);
            }
            12 => {
                let _ = fs::rename(self.path('f'), self.path('f'));
            }
            13 => {
                let _ = fs::rename(self.path('d'), self.path('d'));
            }
            14 => {
                let target = self.below(3).to_string();
                let path = self.path('l');
                let _ = fs::remove_file(&path);
                let _ = symlink(target, &path);
            }
            15 => {
                let _ = fs::rename(self.path('l'), self.path('l'));
            }
            16 => {
                let (path, bytes) = (self.path('l'), self.bytes());
                let _ = fs::remove_file(&path);
                let _ = fs::write(path, bytes);
            }
            _ => {
                let path = self.path('f');
                let _ = fs::remove_file(&path);
                let _ = symlink("0", path);
            }
        }
    }
}

#[test]
fn random_changes_are_planned() {
    for seed in 1..=6 {
        let mut numbers = Numbers(seed);
        // The host's directory: half of the names that the changes use.
        let mut base = Numbers(seed << 32);
        let scene = Scene::with("", |lower| {
            for _ in 0..60 {
                let path = base.path('f');
                let path = lower.join(path.strip_prefix(seen("")).unwrap());
                put(&path, &base.bytes(), 0o644, 0);
                let link = path.with_file_name("l1");
                let _ = symlink("0", link);
            }
        });
        let mut planned = 0;
        for operation in 1..=OPERATIONS {
            numbers.change();
            if operation % 100 == 0 {
                planned = check(&scene).entries().len();
            }
        }
        assert!(planned > 50, "seed {seed}: {planned} entries");
    }
}
