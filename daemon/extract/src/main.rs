//! remit-extract: prints what a program changed in a view as a bundle of `remit-plan`. The top of the view is descriptor 3.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    match remit_extract::print() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("remit-extract: {why}");
            ExitCode::FAILURE
        }
    }
}
