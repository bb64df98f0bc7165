//! `remit audit export`: prints records as JSON Lines, to be verified on another machine.

use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;

use serde::Serializer;
use serde::ser::{Serialize, SerializeMap};

use super::filter::Filter;
use super::record::AuditRecord;
use super::source::RecordSource;
use crate::args::{ExportArgs, Format};
use crate::context::Context;
use crate::error::Failure;
use crate::exit::Exit;
use crate::render::{json, output};

/// Serializes a record's fields in their order.
pub struct Fields<'a>(pub &'a AuditRecord);

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = &self.0.entry.fields;
        let mut map = serializer.serialize_map(Some(fields.len()))?;
        for (name, value) in fields {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// Prints the records. An unreadable record is reported on stderr, and the exit status is 1.
pub fn export(_: &Context, args: &ExportArgs) -> Result<Exit, Failure> {
    let Format::Jsonl = args.format;
    let source = RecordSource::of(&args.source_args)?;
    let filter = Filter::of(&args.filter);
    let mut exit = Exit::OK;
    let mut to = BufWriter::new(io::stdout().lock());
    let mut print = |record: &AuditRecord| {
        match record.why {
            Some(why) => {
                output::note(&format!("left out: {}: {why}", record.entry.position));
                exit = Exit::FOUND;
            }
            None => {
                let line = json::line(&Fields(record)).map_err(io::Error::other)?;
                writeln!(to, "{line}")?;
            }
        }
        Ok::<(), Failure>(())
    };
    // A job has few records. All are read before the first is printed, because an ambiguous id is an error.
    let mut of_job = Vec::new();
    source.some(&filter, &mut |record| {
        match args.filter.job {
            Some(_) => of_job.push(record),
            None => print(&record)?,
        }
        Ok(ControlFlow::Continue(()))
    })?;
    filter.only_job(&of_job)?;
    of_job.iter().try_for_each(print)?;
    to.flush()?;
    Ok(exit)
}
