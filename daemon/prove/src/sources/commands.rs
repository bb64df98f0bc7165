//! Programs of the policy's commands whose profile has more rights than every account.

use remit_policy::Policy;

use super::execution::Execution;
use crate::facts::{Source, When};
use crate::grants::{JOB, programs};
use crate::look::Look;
use crate::path::FilePath;
use crate::rule::RuleId;

pub fn look(look: &mut Look<'_>, policy: &Policy) {
    for program in programs(policy) {
        let when = When::Called {
            command: program.command.clone(),
            profile: program.profile.clone(),
        };
        let source = Source {
            text: format!("command {} of {}", program.command, program.rule),
            ..Source::whole(&FilePath::fixed("/etc/remit/policy.d"))
        };
        let uid = program.uid.unwrap_or(JOB);
        let by = Execution {
            directory: FilePath::new(&program.directory),
            ..Execution::new(uid, RuleId::GrantProgram, when, source)
        };
        if let Some(why) = program.left_out() {
            look.machine.unknown(&by.source.file, why);
        }
        for call in program.words.calls {
            let argv: Vec<Vec<u8>> = call.into_iter().map(String::into_bytes).collect();
            look.executes(&by, &argv);
        }
    }
}
