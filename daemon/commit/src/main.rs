//! `remit-commit`: makes an approved change of files, all of it or nothing, undoes it, and repairs what a kill or a power
//! cut has left. It reads a plan and writes files; it knows no policy, no format of any file, and has no network.
//!
//! **Invariant:** after a commit, an undo or a recovery the tree is the old one or the new one, and no byte that
//! somebody else wrote is lost.

mod anchor;
mod apply;
mod confine;
mod disks;
mod failure;
mod identity;
mod journal;
mod kept;
mod lines;
mod link;
mod lists;
mod locks;
mod new_file;
mod recover;
mod renumbered;
mod restore;
mod reversal;
mod run;
mod stage;
mod staying;
mod tree;
mod undo;
mod uploads;
mod whole;

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;

use remit_sys::sys;

use recover::{Forgetting, KEEP, recover};
use run::{End, commit, lock};
use undo::{Others, undo};

const USAGE: &str = "usage: remit-commit commit DIRECTORY, remit-commit undo DIRECTORY ID [--partly | --with-contents], remit-commit \
                     recover DIRECTORY [--forget [--keep ID]...]; after the first two maybe --then CALL, which remitd reads, and after the \
                     first --uploads START, the beginning of the paths of uploads";
const THEN: &str = "--then";
const UPLOADS: &str = "--uploads";
const PARTLY: &str = "--partly";
const WITH_CONTENTS: &str = "--with-contents";
const FORGET: &str = "--forget";
const KEEP_OPTION: &str = "--keep";
/// Some paths are undone, and an error of the machine kept others from that.
const UNFINISHED: u8 = 4;
/// The tree is whole, and a recovery has to finish before the next undo.
const PENDING: u8 = 5;
/// Another program has a lock of tables that the plan changes. Nothing was tried.
const LOCKED: u8 = 6;
/// EX_TEMPFAIL of sysexits.h: the lock is busy. It is no failure of what was asked for.
const BUSY: u8 = 75;

enum Order {
    Commit {
        uploads: Option<PathBuf>,
    },
    Undo {
        id: String,
        others: Others,
    },
    /// `None`: no undo is forgotten. Otherwise those that are too old or too large, but of none of these ids.
    Recover(Option<Vec<String>>),
}

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
        End::Unfinished(why) => (UNFINISHED, why),
        End::Pending(line) => (PENDING, line),
        End::Locked(why) => (LOCKED, format!("nothing was changed: {why}")),
        End::Busy(why) => (BUSY, format!("nothing was changed: {why}")),
    };
    println!("{line}");
    ExitCode::from(code)
}

fn start() -> Result<End, String> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let directory = arguments.get(1).ok_or(USAGE)?;
    let state = File::open(directory).map_err(|error| {
        let directory = directory.display();
        format!("cannot open '{directory}': {error}")
    })?;
    // Before its filter, which permits nothing that could set the clock.
    let is_clock_right = sys::is_clock_synchronised();
    let descriptors = confine::prepare()?;
    let order = order(&arguments)?;
    let state = match lock(state) {
        Ok(state) => state,
        Err(end) => return Ok(end),
    };
    match order {
        Order::Commit { uploads } => commit(&state, uploads.as_deref(), descriptors),
        Order::Undo { id, others } => undo(&state, &id, others, descriptors),
        Order::Recover(keep) => {
            let forgetting = keep.map(|keep| Forgetting {
                keep,
                is_clock_right,
            });
            recover(&state, forgetting.as_ref(), descriptors)
        }
    }
}

fn order(arguments: &[OsString]) -> Result<Order, String> {
    let text = |at: usize| arguments.get(at).and_then(|text| text.to_str());
    let (arguments, uploads) = match arguments {
        [before @ .., word, start] if word == UPLOADS && text(0) == Some("commit") => {
            (before, Some(PathBuf::from(start)))
        }
        all => (all, None),
    };
    let (own, follow) = arguments.split_at(own_words(arguments));
    match (text(0), text(2), own.len()) {
        (Some("commit"), _, 2) if are_pairs(follow, THEN) => Ok(Order::Commit { uploads }),
        (Some("undo"), Some(id), 3 | 4) if are_pairs(follow, THEN) => Ok(Order::Undo {
            id: checked(id)?,
            others: match own.get(3).and_then(|word| word.to_str()) {
                None if own.len() == 3 => Others::Refuse,
                Some(PARTLY) => Others::Leave,
                Some(WITH_CONTENTS) => Others::Take,
                _ => return Err(USAGE.to_owned()),
            },
        }),
        (Some("recover"), ..) => match is_option(own.get(2), FORGET)? {
            true => {
                kept(arguments.get(3..).unwrap_or_default()).map(|keep| Order::Recover(Some(keep)))
            }
            false => Ok(Order::Recover(None)),
        },
        _ => Err(USAGE.to_owned()),
    }
}

fn is_option(word: Option<&OsString>, option: &str) -> Result<bool, String> {
    match word {
        None => Ok(false),
        Some(word) if word == option => Ok(true),
        Some(_) => Err(USAGE.to_owned()),
    }
}

/// Returns the ids of a recovery whose undo is not forgotten.
fn kept(words: &[OsString]) -> Result<Vec<String>, String> {
    let (pairs, _) = words.as_chunks::<2>();
    match are_pairs(words, KEEP_OPTION) {
        true if pairs.len() > KEEP => Err(format!("at most {KEEP} ids can be kept")),
        true => pairs
            .iter()
            .map(|[_, id]| checked(id.to_str().unwrap_or_default()))
            .collect(),
        false => Err(USAGE.to_owned()),
    }
}

fn are_pairs(words: &[OsString], option: &str) -> bool {
    let (pairs, rest) = words.as_chunks::<2>();
    rest.is_empty() && pairs.iter().all(|[first, _]| first == option)
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
