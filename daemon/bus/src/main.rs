//! `remit-bus`: reads orders from descriptor 3, confines itself, and serves until the warden closes that socket.

use std::process::ExitCode;

use remit_bus::{Server, Settings, confine, inherited};

const WARDEN: i32 = 3;

fn main() -> ExitCode {
    remit_common::panics::end_process();
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("remit-bus: {why}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), String> {
    let settings = Settings::default();
    let bus = settings.bus.clone();
    let Some(server) = Server::begin(inherited(WARDEN)?, settings)? else {
        return Ok(());
    };
    confine::drop_rights()?;
    if !confine::restrict(&bus)? {
        eprintln!("remit-bus: no landlock here: only seccomp and file permissions confine it");
    }
    server.serve()
}
