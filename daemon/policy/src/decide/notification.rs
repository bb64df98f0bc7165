//! Grants the command that notifies people of waiting changes.

use std::sync::Arc;

use super::{Basis, Grant, Terms};
use crate::model::command::Stdin;
use crate::model::policy::Policy;

impl Policy {
    /// Returns the right to run the command of `approval.notify` in remit.toml, with the request on its standard
    /// input. No rule is asked: only root writes remit.toml. It has a sandbox, because a command of base host reads
    /// no standard input.
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
    fn notify_command_reads_stdin_without_arguments() {
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
        let outcome = |name: &str| match policy.notification(name) {
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
            assert_eq!(outcome(name), expect);
        }
        assert!(outcome("a.asks").starts_with("command 'a.asks' needs arguments: "));
    }
}
