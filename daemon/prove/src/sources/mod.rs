//! Each source reads one mechanism of the machine by which an account does what a file says.

pub mod bus;
pub mod commands;
pub mod cron;
pub mod engines;
pub mod execution;
pub mod git;
pub mod hooks;
pub mod keys;
pub mod loader;
pub mod login;
pub mod own;
pub mod pam;
pub mod polkit;
pub mod program;
pub mod setid;
pub mod shell;
pub mod sshd;
pub mod sudo;
pub mod systemd;
pub mod texts;

use remit_policy::Policy;

use crate::accounts::Accounts;
use crate::facts::Facts;
use crate::look::Look;
use crate::machine::Machine;

/// Looks at a machine with all sources. `add` adds accounts that the machine does not have.
pub fn look(machine: &Machine, add: impl Fn(&mut Accounts), policy: &Policy) -> Facts {
    let mut look = Look::new(machine);
    look.facts.accounts = Accounts::read(machine);
    add(&mut look.facts.accounts);
    look.facts.accounts.index();
    for source in [
        systemd::look,
        cron::look,
        sudo::look,
        login::look,
        engines::look,
        own::look,
        pam::look,
        loader::look,
        hooks::look,
        texts::look,
        bus::look,
        polkit::look,
        setid::look,
    ] {
        source(&mut look);
    }
    commands::look(&mut look, policy);
    look.facts
}
