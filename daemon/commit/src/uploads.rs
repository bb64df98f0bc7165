//! What the requester of a plan uploaded. The broker wrote it, so nothing but its hash is believed.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use remit_plan::{Plan, Upload};
use remit_sys::sys;

/// The directory, the beginning of the names of the requester's files in it, and the one that has all contents.
#[derive(Default)]
pub struct UploadDirectory {
    location: Option<(OwnedFd, Vec<u8>)>,
    pack: Option<(File, Vec<Range<u64>>)>,
}

impl UploadDirectory {
    /// Errors: a sentence that names the directory. A plan without uploads needs none.
    pub fn open(plan: &Plan, start: Option<&Path>) -> Result<Self, String> {
        let mut entries = plan.entries().iter();
        if !entries.any(|entry| entry.change.uploaded().is_some()) {
            return Ok(Self::default());
        }
        let parts = start.and_then(|start| Some((start.parent()?, start.file_name()?)));
        let (dir, name) = parts.ok_or("the plan has uploads, and nothing says where they are")?;
        let opened = File::open(dir).map_err(|error| {
            let dir = dir.display();
            format!("cannot open '{dir}': {error}")
        })?;
        let mut uploads = Self {
            location: Some((opened.into(), name.as_bytes().to_vec())),
            pack: None,
        };
        if let Some(pack) = plan.pack() {
            let file = uploads.named(pack, "plan again")?;
            uploads.pack = Some((file, plan.packed_ranges()));
        }
        Ok(uploads)
    }

    pub fn directory(&self) -> Option<BorrowedFd<'_>> {
        self.location.as_ref().map(|(dir, _)| dir.as_fd())
    }

    /// Returns where the bytes of the entry with this position are. `stage` compares their hash.
    pub fn bytes(&self, at: usize, upload: Upload) -> Result<(File, Range<u64>), String> {
        match &self.pack {
            Some((pack, ranges)) => {
                let pack = pack.try_clone().map_err(|error| error.to_string())?;
                Ok((pack, ranges.get(at).cloned().unwrap_or_default()))
            }
            None => Ok((self.named(upload, "upload it again")?, 0..upload.size)),
        }
    }

    fn named(&self, upload: Upload, next: &str) -> Result<File, String> {
        let opened = self.opened(upload).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => format!("it is not there any more; {next}"),
            _ => format!("{error}; {next}"),
        });
        opened.map_err(|why| format!("cannot use the upload {upload}: {why}"))
    }

    fn opened(&self, upload: Upload) -> io::Result<File> {
        let (dir, start) = self.location.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let name = CString::new([start.as_slice(), upload.to_string().as_bytes()].concat())?;
        let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = File::from(sys::open_plain(dir.as_fd(), &name, flags)?);
        let found = file.metadata()?;
        match found.is_file() && found.len() == upload.size {
            true => Ok(file),
            false => Err(io::Error::other("it is not whole")),
        }
    }
}
