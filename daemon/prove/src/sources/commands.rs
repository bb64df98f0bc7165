//! Programs of the policy's commands that run as an account of the machine.

use remit_policy::Policy;

use super::fixed;
use super::program::Execution;
use crate::facts::{Look, Source, When};
use crate::grants::programs;
use crate::rules::RuleId;

pub fn look(look: &mut Look<'_>, policy: &Policy) {
    for program in programs(policy) {
        let when = When::Called {
            command: program.command.clone(),
            profile: program.profile,
        };
        let source = Source {
            text: format!("command {} of {}", program.command, program.rule),
            ..Source::whole(&fixed("/etc/remit/policy.d"))
        };
        let by = Execution::new(program.uid, RuleId::GrantProgram, when, source);
        let argv: Vec<Vec<u8>> = program
            .argv
            .iter()
            .map(|word| word.clone().into_bytes())
            .collect();
        look.executes(&by, &argv);
    }
}
