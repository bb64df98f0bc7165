//! Files of JSON that belong to their owner alone.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::Serialize;

/// Writes `new` to the disk and renames it to `path`: the old or the new content is there, whatever happens. The caller syncs
/// their directory.
pub fn replace(path: &Path, new: &Path, value: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(new)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(new, path)
}
