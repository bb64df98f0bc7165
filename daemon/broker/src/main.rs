//! remit-broker: serves clients and stores job output, without privilege or access decision. The warden starts it with
//! the link as fd 3. `remit-broker --sink` is a separate process, which closes sockets that can block the warden.
#![deny(unsafe_code)]

mod call;
mod confine_self;
mod hints;
mod job;
mod kernel_audit;
mod output;
mod redact;
mod runtime;
mod search;
mod session;
mod snapshots;
mod startup;
mod state;
mod uploads;
mod warden_link;

use std::process::ExitCode;

fn main() -> ExitCode {
    remit_common::panics::end_process();
    if startup::is_sink_wanted() {
        return startup::run_sink();
    }
    startup::run()
}
