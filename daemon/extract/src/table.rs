//! Tables of passwords: the copy has them without hashes, so a plan has the lines that changed, and no hash of the file.

use std::fs::File;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use remit_plan::{LineError, TABLE_BYTES, line_changes, sha256};

use crate::refusal::RefusalReason;

/// Changes of lines; nothing if all are as they were. The hashes are those of the tables that were compared.
pub struct TableChanges {
    pub text: Vec<u8>,
    pub old: [u8; 32],
    pub new: [u8; 32],
}

/// Compares the machine's table with that of the copy.
pub fn changes(old: &File, new: &File) -> Result<TableChanges, RefusalReason> {
    let (old, new) = (bytes(old)?, bytes(new)?);
    Ok(TableChanges {
        text: line_changes(&old, &new).map_err(RefusalReason::Lines)?,
        old: sha256(&old),
        new: sha256(&new),
    })
}

fn bytes(file: &File) -> Result<Vec<u8>, RefusalReason> {
    let size = file.metadata().map_err(errno)?.len();
    let size = usize::try_from(size)
        .ok()
        .filter(|size| *size <= TABLE_BYTES);
    let mut bytes = vec![0; size.ok_or(RefusalReason::Lines(LineError::Long))?];
    file.read_exact_at(&mut bytes, 0).map_err(errno)?;
    Ok(bytes)
}

fn errno(error: std::io::Error) -> RefusalReason {
    let errno = error.raw_os_error();
    errno.map_or(Errno::EIO, Errno::from_raw).into()
}
