//! What the requester of a plan uploaded. The broker wrote it, so nothing but its hash is believed.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use remit_plan::{Content, Plan, Upload};
use remit_sys::sys;

/// The directory, and the beginning of the names of the requester's files in it.
pub struct UploadDirectory(Option<(OwnedFd, Vec<u8>)>);

impl UploadDirectory {
    /// Errors: a sentence that names the directory. A plan without uploads needs none.
    pub fn open(plan: &Plan, start: Option<&Path>) -> Result<Self, String> {
        let mut entries = plan.entries().iter();
        if !entries.any(|entry| entry.change.uploaded().is_some()) {
            return Ok(Self(None));
        }
        let parts = start.and_then(|start| Some((start.parent()?, start.file_name()?)));
        let (dir, name) = parts.ok_or("the plan has uploads, and nothing says where they are")?;
        let opened = File::open(dir).map_err(|error| {
            let dir = dir.display();
            format!("cannot open '{dir}': {error}")
        })?;
        Ok(Self(Some((opened.into(), name.as_bytes().to_vec()))))
    }

    pub fn directory(&self) -> Option<BorrowedFd<'_>> {
        self.0.as_ref().map(|(dir, _)| dir.as_fd())
    }

    /// Opens an upload. `stage` compares its hash.
    pub fn file(&self, content: Content) -> Result<File, String> {
        let Content { sha256, size, .. } = content;
        let upload = Upload { sha256, size };
        let opened = self.opened(upload).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => "it is not there any more; upload it again".to_owned(),
            _ => error.to_string(),
        });
        opened.map_err(|why| format!("cannot use the upload {upload}: {why}"))
    }

    fn opened(&self, upload: Upload) -> io::Result<File> {
        let (dir, start) = self.0.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let name = CString::new([start.as_slice(), upload.to_string().as_bytes()].concat())?;
        let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = File::from(sys::open_plain(dir.as_fd(), &name, flags)?);
        let found = file.metadata()?;
        match found.is_file() && found.len() == upload.size {
            true => Ok(file),
            false => Err(io::Error::other("it is not whole; upload it again")),
        }
    }
}
