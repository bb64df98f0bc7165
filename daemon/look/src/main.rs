//! remit-look: what a built-in command shows.
//!
//! It runs as a job in the profile `read`, as any other program, with no right of its own. It gets
//! what the service manager said on standard input, reads the journal by one `journalctl`, and
//! writes text. No decisions, no files, no bus.
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
