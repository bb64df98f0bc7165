//! remit-look: prints the answers of built-in commands and of some commands of the shipped catalogue. Runs as a job in
//! a sandbox without privilege. A built-in command gets the service manager's answer on standard input and reads the
//! journal by one `journalctl`. A catalogue command reads files or asks a container engine. Makes no decisions.
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
