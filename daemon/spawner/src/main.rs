//! `remit-spawner`: forks jobs into their sandboxes, as the warden orders. It is root. It must hold no policy and read
//! nothing but the warden's messages: no client, no file that a user can write. Its children are the warden's.

mod service;

use std::process::ExitCode;

use remit_confine::spawner;

fn main() -> ExitCode {
    remit_core::panics::end_process();
    if spawner::is_worker() {
        return ExitCode::from(spawner::serve());
    }
    match service::Service::take().and_then(service::Service::serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let source = std::error::Error::source(&error);
            let source = source.map_or(String::new(), |source| format!(": {source}"));
            eprintln!("remit-spawner: {error}{source}");
            ExitCode::FAILURE
        }
    }
}
