//! `remit change`: run a named command that changes the machine.

use remit_common::refusal::{Code, Refusal};
use remit_common::text;
use remit_common::wire::{Purpose, Run};

use super::named;
use super::run::{self, usage};
use crate::app::Context;
use crate::args::ChangeArgs;
use crate::exit::Exit;
use crate::failure::Failure;

/// Has it run, and passes on what it writes until its end. The exit status is the command's.
pub fn change(context: &Context, args: ChangeArgs) -> Result<Exit, Failure> {
    let no_wait = args.given.no_wait;
    let run = request(args)?;
    let report = match no_wait {
        true => run::leave(context, run)?,
        false => run::carry_out(context, run)?,
    };
    Ok(Exit::of_job(&report))
}

fn request(args: ChangeArgs) -> Result<Run, Failure> {
    let ChangeArgs {
        name,
        reason,
        given,
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
    let what = named::what(name, &words, &given)?;
    run::given(what, given, Purpose::Change { reason })
}

/// The name in the first word.
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
