//! A verdict about a program whose name is that of a command.

use remit_programs::shipped;
use remit_wire::{AccessReport, Effect};

use super::find::lift;
use crate::hints;

/// Adds the call of the command that was meant, and the rule for one of the package that is not granted. Returns false if the
/// first word is no name of a command. `report` has commands of the caller, and no answer to a query yet.
pub fn add_call(report: &mut AccessReport, argv: &[&[u8]]) -> bool {
    let granted = |name: &str| {
        let view = report.commands.iter().find(|view| view.name() == name);
        let unknown = || shipped(name).filter(|_| report.more_commands > 0);
        view.map(|view| view.effect == Effect::Change)
            .or_else(|| unknown().map(|command| command.changes))
    };
    let Some(call) = hints::call_of_typed_name(argv, granted) else {
        return false;
    };
    let name = argv.first().and_then(|name| str::from_utf8(name).ok());
    let missing = name.filter(|name| granted(name).is_none());
    let rule = missing
        .and_then(shipped)
        .map(|command| lift(&command, &[], &report.user));
    if let Some(asked) = report.asked.as_mut() {
        asked.why += &format!("; but {call}");
        asked.lift = asked.lift.take().or(rule);
    }
    true
}
