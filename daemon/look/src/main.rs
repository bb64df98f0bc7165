//! remit-look: what a built-in command shows, and some of the shipped catalogue.
//!
//! It runs as a job in a sandbox, as any other program, with no right of its own. A built-in one gets what the service
//! manager said on standard input and reads the journal by one `journalctl`; those of the catalogue look at files, or
//! ask a container engine. It writes text, or JSON. No decisions, no bus.
#![forbid(unsafe_code)]

mod catalogue;
mod list;
mod logs;
mod show;
mod status;
mod text;
mod times;

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let shown = catalogue::show(&words).unwrap_or_else(|| show::show(&words));
    shown.unwrap_or_else(|why| {
        eprintln!("remit-look: {why}");
        ExitCode::from(show::CANNOT)
    })
}
