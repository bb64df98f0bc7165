//! A temporary grant, as it is asked for and as it is in force.

use serde::{Deserialize, Serialize};

use crate::text;

/// Commands that a sentence or a row of a table names.
const NAMED: usize = 8;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Grantee {
    User {
        name: String,
        uid: u32,
    },
    Group {
        /// Name as typed, without `%`.
        name: String,
        gid: u32,
    },
}

/// A requested temporary grant. Runs of a command start without approval, if the giver could approve each of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewGrant {
    pub to: Grantee,
    /// Command name, or a name pattern as in `allow` (remit-policy(5)).
    pub what: String,
    /// Arguments that a run must have, with exactly these values. Other arguments are free.
    pub args: Vec<(String, String)>,
    /// Duration in seconds; at most [`crate::caps::GRANT_S`].
    pub for_s: u32,
    /// Number of runs, if limited; at most [`crate::caps::GRANT_USES`].
    pub uses: Option<u32>,
    pub across_reboot: bool,
    /// Of a command that commits plans of changes of files: beneath which paths. Empty for all other commands.
    pub paths: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveGrant {
    /// Number of the grant, never reused.
    pub grant: u64,
    /// Grant as requested, with its arguments in full; `for_s` is the total duration.
    pub new: NewGrant,
    /// Names of all commands that it covers, sorted. No load of the policy adds one.
    pub covered: Vec<String>,
    pub by: String,
    pub by_uid: u32,
    pub granted_ms: u64,
    pub left_ms: u64,
    pub uses_left: Option<u32>,
}

/// Returns a pattern with the commands that it covers, at most 8 of them: `site.* (site.reload, site.test)`. A name without
/// a pattern is unchanged.
#[must_use]
pub fn in_short(what: &str, covered: &[String]) -> String {
    if covered.is_empty() || !what.contains(['*', '?']) {
        return what.to_owned();
    }
    format!("{what} ({})", text::first_of(covered, NAMED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_has_its_first_commands_and_the_number_of_others() {
        let names =
            |count: usize| -> Vec<String> { (0..count).map(|at| format!("a.{at}")).collect() };
        let eight = "a.0, a.1, a.2, a.3, a.4, a.5, a.6, a.7";
        for (what, count, expect) in [
            ("a.1", 1, "a.1".to_owned()),
            ("a.*", 0, "a.*".to_owned()),
            ("a.?", 2, "a.? (a.0, a.1)".to_owned()),
            ("a.*", 8, format!("a.* ({eight})")),
            ("*", 11, format!("* ({eight} and 3 more)")),
        ] {
            assert_eq!(in_short(what, &names(count)), expect);
        }
    }
}
