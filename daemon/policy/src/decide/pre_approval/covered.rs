use crate::model::glob::Glob;
use crate::model::names::{Named, RUN};
use crate::model::policy::Policy;
use crate::model::profile::Base;
use crate::model::profile::User;
use crate::print::{command_lines, profile_lines};

impl Policy {
    /// Returns the commands that match `what` and run in a sandbox, sorted by name.
    pub fn covered(&self, what: &Glob) -> Vec<String> {
        let named = self.all_named().filter(|named| what.matches(named.name()));
        let confined = named.filter(|named| self.profile_of(*named).base != Base::Host);
        let names = confined.map(|named| named.name().to_owned());
        let run = what.matches(RUN).then(|| RUN.to_owned());
        let mut names: Vec<String> = names.chain(run).collect();
        names.sort();
        names
    }

    /// Returns a command's definition as text: the command, its profile, and the ids of the profile's user. Returns
    /// `None` if there is no such command, and an empty text for built-in commands.
    pub fn definition(&self, name: &str) -> Option<String> {
        if name == RUN {
            return Some(String::new());
        }
        let lines = match self.all_named().find(|named| named.name() == name)? {
            Named::Builtin(_) => return Some(String::new()),
            Named::Command(command) => {
                let user = match command.profile.user {
                    User::Fixed { uid, gid, .. } => format!("{uid}:{gid}"),
                    User::Own => String::new(),
                };
                [
                    command_lines(command),
                    profile_lines(&command.profile),
                    vec![user],
                ]
                .concat()
            }
        };
        Some(lines.join("\n"))
    }
}
