//! What the rules are asked about a call. It decides nothing.
//! **Invariant:** an undo is judged by the paths in the journal of its commit. Without a journal that can be read, no path is
//! known and each rule counts.

use std::path::Path;

use remit_common::wire::Purpose;
use remit_plan::PlanPath;
use remit_policy::{Ask, Policy};

use super::file_change;
use super::validated::{Call, What};

impl Call {
    /// Reads which paths the commit changed that it undoes, if it undoes one: at most the bytes of a journal.
    pub fn read_undone(&mut self, policy: &Policy) {
        let command = self.named().and_then(|name| policy.command(name));
        let commit = command.and_then(|command| {
            Some((command.commit_directory()?, command.undone_by(self.args())?))
        });
        let Some((directory, id)) = commit else {
            return;
        };
        self.undone = file_change::changed_paths(Path::new(directory), id);
        let bytes = |path: &PlanPath| size_of::<PlanPath>() + path.as_bytes().len();
        self.held += self.undone.iter().map(bytes).sum::<usize>();
    }

    pub fn ask<'a>(&'a self, env_names: &'a [&'a [u8]]) -> Ask<'a> {
        let profile = self.profile.as_deref();
        match (&self.what, &self.purpose) {
            (_, Purpose::Try) => Ask::Try { profile, env_names },
            (What::Named { name, args }, Purpose::Change { .. })
                if let Some(Ok(plan)) = &self.file_change =>
            {
                Ask::Commit { name, args, plan }
            }
            (What::Named { name, args }, Purpose::Change { .. }) if !self.undone.is_empty() => {
                let paths = &self.undone;
                Ask::Paths { name, args, paths }
            }
            (What::Named { name, args }, Purpose::Use | Purpose::Change { .. }) => Ask::Command {
                name,
                effect: self.effect(),
                args,
            },
            (What::Program(_), Purpose::Change { .. }) => Ask::Change { profile, env_names },
            (What::Program(argv), Purpose::Use) => Ask::Run {
                profile,
                argv0: argv.first().map_or(&[][..], |argv0| argv0.as_bytes()),
                env_names,
            },
        }
    }
}
