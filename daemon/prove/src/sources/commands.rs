//! Programs of the policy's commands whose profile has more rights than every account.

use remit_policy::Policy;
use remit_programs::innermost;

use super::execution::Execution;
use super::shell::{base_name, paths};
use super::variables;
use crate::facts::{Source, When};
use crate::grants::{JOB, programs};
use crate::look::Look;
use crate::path::FilePath;
use crate::rule::RuleId;

pub fn look(look: &mut Look<'_>, policy: &Policy) {
    for program in programs(policy).iter() {
        let when = When::Called {
            command: program.command.clone(),
            profile: program.profile.clone(),
        };
        let source = Source {
            text: format!("command {} of {}", program.command, program.rule),
            ..Source::whole(&FilePath::fixed("/etc/remit/policy.d"))
        };
        let uid = program.uid.unwrap_or(JOB);
        let mut by = Execution {
            directory: FilePath::new(&program.directory),
            ..Execution::new(uid, RuleId::GrantProgram, when, source)
        };
        for variable in &program.variables {
            variables::apply(look, &mut by, variable.as_bytes());
        }
        if let Some(why) = program.left_out() {
            look.machine.unknown(&by.source.file, why);
        }
        for call in &program.words.calls {
            let argv: Vec<Vec<u8>> = call.iter().map(|word| word.clone().into_bytes()).collect();
            ways(look, &by, &argv);
            look.executes(&by, &argv);
        }
    }
}

/// Keeps where the words of a program lead that writes files.
fn ways(look: &mut Look<'_>, by: &Execution, argv: &[Vec<u8>]) {
    let Some((program, words)) = innermost(argv).split_first() else {
        return;
    };
    let name = std::str::from_utf8(base_name(program)).unwrap_or_default();
    if remit_programs::written(name).is_none() {
        return;
    }
    for word in words {
        let own = by.directory.as_ref().filter(|_| !word.starts_with(b"-"));
        let own = own.and_then(|directory| directory.resolve(word));
        for file in paths(word).chain(own) {
            look.way(&file);
        }
    }
}
