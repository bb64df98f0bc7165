//! A file that is sent.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use remit_plan::{FILE_BYTES, Upload};

use super::naming::Naming;
use super::shown;

/// It stays open, so that other bytes at the path are not sent.
#[derive(Debug)]
pub struct Outgoing {
    pub path: String,
    pub upload: Upload,
    pub file: File,
}

impl Outgoing {
    /// Opens the file and reads it once, for the name of its bytes.
    pub fn open(path: &Path) -> Result<Self, String> {
        let failed = |error: io::Error| format!("cannot read '{}': {error}", shown(path));
        // Opening a FIFO would wait for ever.
        let found = path.metadata().map_err(failed)?;
        match (found.is_file(), found.len()) {
            (false, _) => return Err(format!("'{}' is no regular file", shown(path))),
            (true, 0..=FILE_BYTES) => {}
            (true, _) => return Err(too_large(&shown(path))),
        }
        Self::named(shown(path), File::open(path).map_err(failed)?)
    }

    /// Reads an open file.
    pub fn named(path: String, file: File) -> Result<Self, String> {
        let mut naming = Naming::default();
        let mut piece = vec![0; 64 << 10];
        let mut bounded = (&file).take(FILE_BYTES + 1);
        loop {
            let read = bounded.read(&mut piece);
            match read.map_err(|error| format!("cannot read '{path}': {error}"))? {
                0 => break,
                read => naming.add(piece.get(..read).unwrap_or_default()),
            }
        }
        let upload = naming.end();
        match upload.size {
            0 => Err(format!(
                "'{path}' is empty: a plan writes that without an upload"
            )),
            1..=FILE_BYTES => Ok(Self { path, upload, file }),
            _ => Err(too_large(&path)),
        }
    }
}

fn too_large(path: &str) -> String {
    format!("'{path}' has more than {FILE_BYTES} bytes, the most that a host takes")
}
