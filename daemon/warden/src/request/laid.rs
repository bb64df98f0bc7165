//! The plan of a check that runs in a copy of the machine: what its child lays into the copy, which is all of the plan.
//!
//! **Invariant:** no entry is left out. What no copy can have refuses the check.

use std::ffi::CString;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;

use remit_common::calendar;
use remit_common::view::IDS;
use remit_plan::{Content, Kind, Metadata, New, Plan, Source, Upload, View};
use remit_spawn::{LaidAs, LaidBytes, LaidEntry, LaidKind, LaidPlan, Owner, Staged, UPLOADS};

fn now() -> i64 {
    let now = calendar::now_ms().saturating_mul(1_000_000);
    i64::try_from(now).unwrap_or(i64::MAX)
}

/// Collects the entries of a plan, and the bytes beside them.
pub struct LaidPlanWriter<'a> {
    pack: Option<Upload>,
    /// Where the bytes of each entry are in the pack.
    packed: Vec<Range<u64>>,
    /// Beginning of the paths of the requester's uploads.
    start: Option<&'a str>,
    list: LaidPlan,
    names: Vec<Upload>,
    bytes: Vec<u8>,
}

impl<'a> LaidPlanWriter<'a> {
    pub fn new(plan: &Plan, start: Option<&'a str>) -> Self {
        Self {
            pack: plan.pack(),
            packed: plan.packed_ranges(),
            start,
            list: LaidPlan::default(),
            names: Vec::new(),
            bytes: Vec::new(),
        }
    }

    /// Adds the entry with this position. Errors: why no copy can have it.
    pub fn add(&mut self, at: usize, view: &View<'_>) -> Result<(), &'static str> {
        let change = &view.entry.change;
        if change
            .meta()
            .is_some_and(|meta| meta.uid >= IDS || meta.gid >= IDS)
        {
            return Err("a copy of the machine has no owner or group above 65535");
        }
        let path = relative(view)?;
        let before = change.base().map(|base| match base.stat.kind {
            Kind::File => Ok(LaidKind::File),
            Kind::Directory => Ok(LaidKind::Directory),
            Kind::Symlink => Ok(LaidKind::Link),
            Kind::Special => Err("it is a device, a FIFO or a socket"),
        });
        let what = self.what(at, view)?;
        self.list.entries.push(LaidEntry {
            path,
            before: before.transpose()?,
            what,
        });
        Ok(())
    }

    pub fn seal(&self) -> io::Result<OwnedFd> {
        Staged::seal(&self.list, &self.bytes)
    }

    fn what(&mut self, at: usize, view: &View<'_>) -> Result<LaidAs, &'static str> {
        let change = &view.entry.change;
        let (makes, owner) = (change.makes(), change.meta().map(owner));
        Ok(match (makes, owner) {
            (None, None) => LaidAs::Gone,
            (None, Some(owner)) => LaidAs::Metadata(owner),
            (Some(New::Directory), Some(owner)) => LaidAs::Directory(owner),
            (Some(New::Link(_)), Some(owner)) => {
                let Plain { start, length } = Plain::push(view, &mut self.bytes);
                LaidAs::Link {
                    owner,
                    start,
                    length,
                }
            }
            (Some(New::File(content)), Some(owner)) if content.source == Source::Lines => {
                let Plain { start, length } = Plain::push(view, &mut self.bytes);
                LaidAs::Lines {
                    owner,
                    start,
                    length,
                }
            }
            (Some(New::File(content)), Some(owner)) => LaidAs::File {
                owner,
                bytes: self.bytes(at, view, content)?,
                capabilities: content.capabilities.map(|own| own.encode().to_vec()),
                mtime: view.entry.time(now()),
            },
            (Some(_), None) => return Err("it has no owner"),
        })
    }

    fn bytes(
        &mut self,
        at: usize,
        view: &View<'_>,
        content: Content,
    ) -> Result<LaidBytes, &'static str> {
        let Some(own) = view.entry.change.upload() else {
            let Plain { start, length } = Plain::push(view, &mut self.bytes);
            return Ok(LaidBytes {
                upload: None,
                start,
                length,
            });
        };
        let (upload, start) = match self.pack {
            Some(pack) => (pack, self.packed.get(at).map_or(0, |range| range.start)),
            None => (own, 0),
        };
        let number = match self.names.iter().position(|name| *name == upload) {
            Some(number) => number,
            None if self.names.len() == UPLOADS => {
                return Err("its plan has more uploads than a user can have (64)");
            }
            None => {
                let path = self.start.map(|start| format!("{start}{upload}"));
                let path = path.and_then(|path| CString::new(path).ok());
                self.list
                    .uploads
                    .push(path.ok_or("nothing says where its upload is")?);
                self.names.push(upload);
                self.names.len() - 1
            }
        };
        Ok(LaidBytes {
            upload: Some((u16::try_from(number).unwrap_or(u16::MAX), content.sha256)),
            start,
            length: content.size,
        })
    }
}

/// Where the bytes of an entry are.
pub(super) struct Plain {
    pub(super) start: u64,
    pub(super) length: u64,
}

impl Plain {
    pub(super) fn push(view: &View<'_>, bytes: &mut Vec<u8>) -> Self {
        let (start, content) = (bytes.len() as u64, view.new.unwrap_or_default());
        bytes.extend_from_slice(content);
        Self {
            start,
            length: content.len() as u64,
        }
    }
}

/// Returns the path relative to the root.
pub(super) fn relative(view: &View<'_>) -> Result<CString, &'static str> {
    let path = view.entry.path.as_bytes();
    let path = CString::new(path.strip_prefix(b"/").unwrap_or(path));
    path.map_err(|_| "its name has a NUL")
}

pub(super) fn owner(meta: Metadata) -> Owner {
    Owner {
        uid: meta.uid,
        gid: meta.gid,
        mode: meta.mode,
    }
}
