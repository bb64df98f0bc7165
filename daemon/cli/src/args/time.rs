//! Times on the command line.

use remit_common::builtin::Time;

pub fn time(text: &str) -> Result<Time, &'static str> {
    text.parse().map_err(|_: &str| {
        "not a time; examples: -2h, -30m, today, yesterday, 2026-11-20, '2026-11-20 08:30', always UTC"
    })
}
