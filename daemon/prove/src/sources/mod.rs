//! Each source reads one mechanism of the machine by which an account does what a file says.

pub mod bus;
pub mod commands;
pub mod cron;
pub mod engines;
pub mod execution;
mod found;
pub mod git;
pub mod hooks;
mod included;
mod judged;
pub mod keys;
mod lexer;
pub mod loader;
pub mod login;
mod options;
pub mod own;
pub mod pam;
pub mod polkit;
mod polkit_actions;
mod polkit_conditions;
pub mod program;
mod read_texts;
mod remote;
mod scripts;
pub mod setid;
pub mod shell;
pub mod sshd;
pub mod sudo;
mod sudo_commands;
mod sudo_defaults;
mod sudo_lists;
pub mod systemd;
pub mod texts;
pub mod variables;
mod venv;

use remit_policy::Policy;

use crate::accounts::Accounts;
use crate::facts::{Facts, Obeys};
use crate::grants::Grants;
use crate::look::Look;
use crate::machine::Machine;
pub(crate) use read_texts::ReadTexts;
pub(crate) use systemd::Layout;

/// A look of which accounts, units and the programs of policies are known, and the rest is not read yet.
pub struct FirstLook<'m> {
    look: Look<'m>,
    /// What the commands of each policy execute.
    commands: Vec<Vec<Obeys>>,
}

/// Begins with what decides what policies mean here. Only root writes most of it, so nobody else can make it long. `add`
/// adds accounts that the machine does not have. Members of `admin_group` approve.
pub fn begin<'m>(
    machine: &'m Machine,
    add: impl Fn(&mut Accounts),
    policies: &[&Policy],
    admin_group: &str,
) -> FirstLook<'m> {
    let mut look = Look::new(machine);
    look.facts.accounts = Accounts::read(machine);
    add(&mut look.facts.accounts);
    look.facts.accounts.index();
    let approvers = look.facts.accounts.gid(admin_group);
    look.facts.strong_groups.extend(approvers);
    systemd::look(&mut look);
    let of_units = look.facts.obeys.len();
    let commands = policies.iter().map(|policy| {
        commands::look(&mut look, policy);
        // The next policy's commands lead to the same scripts.
        look.texts.forget();
        look.facts.obeys.split_off(of_units)
    });
    let commands = commands.collect();
    FirstLook { look, commands }
}

impl FirstLook<'_> {
    pub fn facts(&self) -> &Facts {
        &self.look.facts
    }

    /// Looks with all other sources. Returns the facts without those of the commands, and these for each policy.
    pub fn finish<'g>(
        mut self,
        grants: impl IntoIterator<Item = &'g Grants>,
    ) -> (Facts, Vec<Vec<Obeys>>) {
        let mut started: Vec<String> = Vec::new();
        // A file that is missing yet is one of its directory.
        for grants in grants {
            started.extend(grants.started().map(str::to_owned));
            for file in grants.named() {
                self.look.way(&file);
            }
            judged::commands(&self.look, grants);
        }
        let sources: [&dyn Fn(&mut Look<'_>); 15] = [
            &cron::look,
            &sudo::look,
            &login::look,
            &engines::look,
            &pam::look,
            &loader::look,
            &hooks::look,
            &texts::look,
            &bus::look,
            &polkit::look,
            &|look| systemd::named_instances(look, &started),
            &cron::look_others,
            &login::look_others,
            // It lists what the others have not read.
            &own::look,
            // The last one walks through directories of accounts.
            &setid::look,
        ];
        for source in sources {
            source(&mut self.look);
        }
        let machine = self.look.machine;
        let mut facts = self.look.facts;
        let (files, unknown, more_unknown) = machine.take();
        facts.files = files;
        facts.unknown = unknown;
        facts.more_unknown = more_unknown;
        (facts, self.commands)
    }
}
