//! `remit-commit`: makes an approved change of files, all of it or nothing, undoes it, and repairs what a kill or a power
//! cut has left. It reads a plan and writes files; it knows no policy, no format of any file, and has no network.
//!
//! **Invariant:** after a commit, an undo or a recovery the tree is the old one or the new one, and no byte that
//! somebody else wrote is lost.

mod anchor;
mod apply;
mod confine;
mod failure;
mod journal;
mod recover;
mod restore;
mod run;
mod stage;
mod tree;

use std::ffi::OsString;
use std::fs::File;
use std::process::ExitCode;

use recover::recover;
use run::{End, commit, undo};

const USAGE: &str = "usage: remit-commit commit DIRECTORY, remit-commit undo DIRECTORY ID, remit-commit recover DIRECTORY; \
                     after the first two maybe --then CALL, which remitd reads";
const THEN: &str = "--then";

fn main() -> ExitCode {
    remit_common::panics::end_process();
    let end = match start() {
        Ok(end) => end,
        Err(why) => End::Nothing(why),
    };
    let (code, line) = match end {
        End::Done(line) => (0, line),
        End::Nothing(why) => (1, format!("nothing was changed: {why}")),
        End::Left(why) | End::Mixed(why) => (3, format!("not all is as it was: {why}")),
    };
    println!("{line}");
    ExitCode::from(code)
}

fn start() -> Result<End, String> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let text = |at: usize| arguments.get(at).and_then(|text| text.to_str());
    let directory = arguments.get(1).ok_or(USAGE)?;
    let state = File::open(directory).map_err(|error| {
        let directory = directory.display();
        format!("cannot open '{directory}': {error}")
    })?;
    let descriptors = confine::prepare()?;
    let (own, follow) = arguments.split_at(own_words(&arguments));
    let (calls, rest) = follow.as_chunks::<2>();
    let is_followed = rest.is_empty() && calls.iter().all(|[then, _]| then == THEN);
    match (text(0), text(2), own.len()) {
        _ if !is_followed => Err(USAGE.to_owned()),
        (Some("commit"), _, 2) => commit(state, descriptors),
        (Some("undo"), Some(id), 3) => undo(state, &checked(id)?, descriptors),
        (Some("recover"), None, 2) => recover(state, descriptors),
        _ => Err(USAGE.to_owned()),
    }
}

/// Returns the number of words before the commands that follow. They are for remitd and for approvers.
fn own_words(arguments: &[OsString]) -> usize {
    let then = arguments.iter().position(|argument| argument == THEN);
    then.unwrap_or(arguments.len())
}

/// The id is a part of names of files.
fn checked(id: &str) -> Result<String, String> {
    match journal::is_id(id) {
        true => Ok(id.to_owned()),
        false => Err("an id has 32 hexadecimal digits".to_owned()),
    }
}
