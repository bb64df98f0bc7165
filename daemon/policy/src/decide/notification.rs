//! The command by which the daemon itself tells people that a change waits for them.

use std::sync::Arc;

use super::{Basis, Grant, Terms};
use crate::model::command::Stdin;
use crate::model::policy::Policy;

impl Policy {
    /// The right to run the command that `approval.notify` of remit.toml names, with the request on its
    /// standard input. No rule is asked: who writes remit.toml is root. It has a sandbox, since a command
    /// of base host reads no standard input.
    ///
    /// # Errors
    /// There is no such command, or it is none for that: in words.
    pub fn notification(&self, name: &str) -> Result<Grant, String> {
        let command = self
            .command(name)
            .ok_or_else(|| format!("there is no command '{name}'"))?;
        if command.stdin != Stdin::Caller {
            return Err(format!("command '{name}' does not have stdin = \"caller\""));
        }
        command
            .bind(&[], true)
            .map_err(|refusal| format!("command '{name}' needs arguments: {}", refusal.message))?;
        Ok(Grant {
            terms: Terms {
                profile: Arc::clone(&command.profile),
                env: Vec::new(),
                command: Some(Arc::clone(command)),
            },
            basis: Basis::Notification,
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::{MachineTable, Source, load};

    #[test]
    fn it_takes_a_sandboxed_command_that_reads_and_needs_nothing() {
        let command = |name: &str, rest: &str, profile: &str| {
            format!(
                "[[command]]\nname = 'a.{name}'\nsummary = 'x'\neffect = 'change'\nprofile = '{profile}'\n{rest}\n"
            )
        };
        let plain = "argv = ['/usr/bin/true']";
        let text = [
            command("ok", &format!("{plain}\nstdin = 'caller'"), "strict"),
            command("deaf", plain, "strict"),
            command(
                "asks",
                "argv = ['/usr/bin/true', '{n}']\nstdin = 'caller'\nargs.n = { type = 'int', min = 0, max = 9 }",
                "strict",
            ),
        ]
        .concat();
        let source = Source {
            name: "a.toml".into(),
            text: text.into(),
        };
        let (policy, _) = load(&[source], &MachineTable::default()).unwrap();
        let told = |name: &str| match policy.notification(name) {
            Ok(grant) => format!("{} in {}", grant.basis(), grant.profile().name),
            Err(why) => why,
        };
        for (name, expect) in [
            ("a.ok", "approval.notify of remit.toml in strict"),
            ("a.none", "there is no command 'a.none'"),
            (
                "a.deaf",
                "command 'a.deaf' does not have stdin = \"caller\"",
            ),
        ] {
            assert_eq!(told(name), expect);
        }
        assert!(told("a.asks").starts_with("command 'a.asks' needs arguments: "));
    }
}
