//! `remit change`: runs a named command that changes the machine.

use remit_common::refusal::{Code, Refusal};
use remit_common::text;
use remit_common::wire::{Purpose, Run};

use super::input::usage;
use super::named;
use super::run;
use crate::args::ChangeArgs;
use crate::context::Context;
use crate::error::Failure;
use crate::exit::Exit;

/// Runs the command and passes on its output. The exit status is the command's.
pub fn change(context: &Context, args: ChangeArgs) -> Result<Exit, Failure> {
    let no_wait = args.call.no_wait;
    let run = request(args)?;
    let report = match no_wait {
        true => run::start_detached(context, run)?,
        false => run::run_attached(context, run)?,
    };
    Ok(Exit::of_job(&report))
}

fn request(args: ChangeArgs) -> Result<Run, Failure> {
    let ChangeArgs {
        name,
        reason,
        call,
        words,
    } = args;
    let mut words = words.into_iter();
    let name = match name {
        Some(name) => name,
        None => match words.next() {
            Some(word) => named_by(word.as_encoded_bytes())?,
            None => return Err(usage("it names no command; 'remit access' lists them")),
        },
    };
    let words: Vec<_> = words.collect();
    let what = named::what(name, &words, &call)?;
    run::call(what, call, Purpose::Change { reason })
}

fn named_by(word: &[u8]) -> Result<String, Failure> {
    match std::str::from_utf8(word) {
        Ok(name) if !name.contains('=') => Ok(name.to_owned()),
        Ok(pair) => Err(usage(&format!(
            "'{}' is an argument: the command's name comes first",
            text::line(pair.as_bytes(), 64)
        ))),
        Err(_) => {
            let why = "the name of the command is not UTF-8";
            Err(Failure::Input(Refusal::new(Code::InvalidArgs, why)))
        }
    }
}
