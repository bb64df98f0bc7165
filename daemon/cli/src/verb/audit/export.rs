//! `remit audit export`: records as JSON Lines, so that anybody can verify them elsewhere.

use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;

use serde::Serializer;
use serde::ser::{Serialize, SerializeMap};

use super::filter::Filter;
use super::record::Record;
use super::source::Source;
use crate::app::Context;
use crate::args::{ExportArgs, Format};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::{json, output};

/// The fields of a record as one object, in the order in which they stand.
pub struct Fields<'a>(pub &'a Record);

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

/// Prints them. What cannot be read is told on stderr, and the exit status is 1 then.
pub fn export(_: &Context, args: &ExportArgs) -> Result<Exit, Failure> {
    let Format::Jsonl = args.format;
    let source = Source::of(&args.trail)?;
    let filter = Filter::of(&args.filter);
    let mut exit = Exit::OK;
    let mut to = BufWriter::new(io::stdout().lock());
    source.some(&filter, &mut |record| {
        match record.why {
            Some(why) => {
                output::note(&format!("left out: {}: {why}", record.entry.place));
                exit = Exit::FOUND;
            }
            None => {
                let line = json::line(&Fields(&record)).map_err(io::Error::other)?;
                writeln!(to, "{line}")?;
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    to.flush()?;
    Ok(exit)
}
