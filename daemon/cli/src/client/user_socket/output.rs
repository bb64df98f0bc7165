//! Requests for a job's output.

use remit_common::caps;
use remit_common::names::JobId;
use remit_common::outcome::{Matches, OutputPart, Page, Stream};
use remit_common::wire::{GrepQuery, PageQuery, PartQuery};

use super::Daemon;
use crate::client::stream_writer::Sink;
use crate::error::Failure;

impl Daemon {
    pub fn page(
        &mut self,
        job: JobId,
        stream: Stream,
        offset: u64,
        limit: u64,
    ) -> Result<Page, Failure> {
        let cap = u32::try_from(caps::PAGE).unwrap_or(u32::MAX);
        self.asked(
            job,
            PageQuery {
                stream,
                offset,
                limit: u32::try_from(limit).map_or(cap, |limit| limit.min(cap)),
                tail: false,
                whole_characters: false,
            },
        )
    }

    /// Returns the offset after the last byte kept so far.
    pub fn end(&mut self, job: JobId, stream: Stream) -> Result<u64, Failure> {
        let page = self.asked(
            job,
            PageQuery {
                stream,
                offset: 0,
                limit: 1,
                tail: true,
                whole_characters: false,
            },
        )?;
        Ok(page.offset.saturating_add(page.bytes.len() as u64))
    }

    fn asked(&mut self, job: JobId, page: PageQuery) -> Result<Page, Failure> {
        match self.about(job, 0, Some(PartQuery::Page(page)))? {
            (_, Some(OutputPart::Page(page))) => Ok(page),
            (_, Some(OutputPart::Matches(_)) | None) => Err(Failure::off_protocol()),
        }
    }

    /// Copies at most `limit` bytes from `offset` on to `sink`, page by page, up to the current end. Returns the
    /// offset after the last byte copied.
    pub fn copy(
        &mut self,
        job: JobId,
        stream: Stream,
        mut offset: u64,
        mut limit: u64,
        sink: &mut Sink<'_>,
    ) -> Result<u64, Failure> {
        while limit > 0 {
            let page = self.page(job, stream, offset, limit)?;
            let length = page.bytes.len() as u64;
            if length == 0 || length > limit {
                break;
            }
            sink.write(&page.bytes)?;
            offset += length;
            limit -= length;
            if page.eof || offset >= page.total {
                break;
            }
        }
        Ok(offset)
    }

    pub fn matches(&mut self, job: JobId, query: GrepQuery) -> Result<Matches, Failure> {
        match self.about(job, 0, Some(PartQuery::Grep(query)))? {
            (_, Some(OutputPart::Matches(matches))) => Ok(matches),
            (_, Some(OutputPart::Page(_)) | None) => Err(Failure::off_protocol()),
        }
    }
}
