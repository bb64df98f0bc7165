//! Verbs of systemctl(1) and remit-act(8) that start nothing.

/// Verbs of systemctl(1) and remit-act(8) by which nothing of a unit runs. A verb that is not here counts as a start.
const STARTS_NOTHING: [&str; 26] = [
    "cancel",
    "cat",
    "disable",
    "get-default",
    "help",
    "is-active",
    "is-enabled",
    "is-failed",
    "is-system-running",
    "list-automounts",
    "list-dependencies",
    "list-jobs",
    "list-machines",
    "list-paths",
    "list-sockets",
    "list-timers",
    "list-unit-files",
    "list-units",
    "mask",
    "reset-failed",
    "show",
    "show-environment",
    "status",
    "unmask",
    "unset-environment",
    "whoami",
];

/// Returns true if programs of the unit run by this verb, now or at the next boot.
#[must_use]
pub fn has_units_started(verb: &str) -> bool {
    !STARTS_NOTHING.contains(&verb)
}
