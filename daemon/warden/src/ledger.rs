//! A file for each job that was begun and has no end record: `STATE/warden/open/ID`.
//!
//! Written before the intent is recorded, removed after the end is: whatever
//! kills the warden in between, the next one finds the job and says so.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use remit_common::names::JobId;
use remit_common::outcome::{Ending, State};
use remit_link::JobMeta;
use serde::{Deserialize, Serialize};

use crate::plan::Plan;

/// What the record of an interrupted job needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Whose job it was.
    pub uid: u32,
    /// The user's name then.
    pub user: String,
    /// The argv on one line.
    pub command: String,
    /// The uid it ran as.
    pub job_uid: u32,
    /// When it was begun, in milliseconds since 1970.
    pub begun_ms: u64,
    /// The caller's request id, with the hash of what it asked for.
    pub request: Option<(String, [u8; 32])>,
}

impl Entry {
    /// The job as its owner can still ask for it.
    pub fn interrupted(&self, job: JobId) -> JobMeta {
        JobMeta {
            job,
            owner: self.uid,
            command: self.command.clone(),
            started_ms: self.begun_ms,
            enforced: None,
            ending: Some(Ending {
                state: State::Interrupted,
                exit: None,
                signal: None,
                cause: "remitd died while it ran".to_owned(),
                kill_verified: false,
                cpu_usec: 0,
                memory_peak: 0,
                runtime_ms: 0,
            }),
        }
    }
}

/// The directory of open jobs.
#[derive(Debug)]
pub struct Ledger {
    dir: PathBuf,
}

impl Ledger {
    /// Opens or makes the directory in `state`.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open_dir(state: &Path) -> io::Result<Self> {
        let dir = state.join("warden").join("open");
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        Ok(Self { dir })
    }

    /// Notes that a plan is about to be recorded and run. A plan that was parked has its note already.
    ///
    /// # Errors
    /// The disk is full; nothing may run.
    pub fn open(&self, plan: &Plan) -> io::Result<()> {
        let path = self.path(plan.job);
        let entry = Entry {
            uid: plan.requester.subject.uid(),
            user: plan.requester.subject.user().to_owned(),
            command: plan.command.clone(),
            job_uid: plan.uid.get(),
            begun_ms: crate::clock::unix_ms(),
            request: plan.request.clone(),
        };
        let bytes = postcard::to_extend(&entry, Vec::new()).map_err(io::Error::other)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all(&bytes).inspect_err(|_| {
            let _ = fs::remove_file(&path);
        })
    }

    /// The end is recorded, or nothing was.
    pub fn close(&self, job: JobId) {
        if let Err(error) = fs::remove_file(self.path(job)) {
            say!("cannot remove '{}': {error}", self.path(job).display());
        }
    }

    /// Jobs that a dead warden left open; an entry that cannot be read has no details.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn left_open(&self) -> io::Result<Vec<(JobId, Option<Entry>)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if let Some(job) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            {
                found.push((job, read(&entry.path()).ok()));
            }
        }
        Ok(found)
    }

    fn path(&self, job: JobId) -> PathBuf {
        self.dir.join(job.to_string())
    }
}

fn read(path: &Path) -> io::Result<Entry> {
    let mut bytes = Vec::new();
    File::open(path)?.take(64 << 10).read_to_end(&mut bytes)?;
    postcard::from_bytes(&bytes).map_err(io::Error::other)
}
