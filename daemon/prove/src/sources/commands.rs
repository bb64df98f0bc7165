//! Programs of the policy's commands that run as an account of the machine.

use remit_policy::Policy;

use super::execution::Execution;
use crate::facts::{Source, When};
use crate::grants::programs;
use crate::look::Look;
use crate::path::FilePath;
use crate::rule::RuleId;

pub fn look(look: &mut Look<'_>, policy: &Policy) {
    for program in programs(policy) {
        let when = When::Called {
            command: program.command.clone(),
            profile: program.profile,
        };
        let source = Source {
            text: format!("command {} of {}", program.command, program.rule),
            ..Source::whole(&FilePath::fixed("/etc/remit/policy.d"))
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
