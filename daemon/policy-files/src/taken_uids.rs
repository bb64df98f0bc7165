//! Refuses profiles whose user is one of remit's own, or a uid that a job gets.

use std::ops::Range;

use remit_policy::{Diagnostic, Policy, Severity, User};

/// Returns an error for each profile whose uid is of the jobs' range, or that of a process of remit: `own`, by its key of
/// `[accounts]` in remit.toml.
pub fn taken_uids(
    policy: &Policy,
    jobs: &Range<u32>,
    own: &[(&str, Option<u32>)],
) -> Vec<Diagnostic> {
    let found = policy.profiles().filter_map(|profile| {
        let User::Fixed { name, uid, .. } = &profile.user else {
            return None;
        };
        let why = if jobs.contains(uid) {
            format!(
                "is in the range {}-{} (jobs.uid_first in remit.toml), from which each job gets a \
                 uid of its own",
                jobs.start,
                jobs.end.saturating_sub(1)
            )
        } else {
            let (process, _) = own.iter().find(|(_, own)| *own == Some(*uid))?;
            format!(
                "is that of remit's {process} (accounts.{process} in remit.toml), which jobs would \
                 control"
            )
        };
        let profile = &profile.name;
        let message = format!("no job of profile '{profile}' can be '{name}': uid {uid} {why}");
        Some(Diagnostic::whole(Severity::Error, "policy", message))
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use remit_policy::{Ids, MachineTable, Source};

    use super::*;

    fn warnings_for(user: &str) -> Vec<String> {
        let ids = |id| Ids { uid: id, gid: 100 };
        let machine = MachineTable {
            users: [
                ("web", 999),
                ("ghost", 70_001),
                ("broker", 998),
                ("bus", 997),
            ]
            .map(|(name, id)| (name.to_owned(), ids(id)))
            .into(),
            ..MachineTable::default()
        };
        let text = format!("[profile.x]\nbase = \"strict\"\nuser = \"{user}\"\n");
        let source = Source {
            name: "a.toml".into(),
            text: text.into(),
        };
        let (policy, _) = remit_policy_compile::load(&[source], &machine).unwrap();
        let found = taken_uids(
            &policy,
            &(70_000..70_010),
            &[("broker", Some(998)), ("bus", Some(997))],
        );
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn profile_user_is_no_uid_of_jobs_or_of_remit() {
        for free in ["web", "#0", "#69999", "#70010"] {
            assert_eq!(warnings_for(free), Vec::<String>::new(), "{free}");
        }
        let of_jobs = "is in the range 70000-70009 (jobs.uid_first in remit.toml), from which each \
                       job gets a uid of its own";
        let of_broker = "is that of remit's broker (accounts.broker in remit.toml), which jobs would \
                         control";
        let of_bus =
            "is that of remit's bus (accounts.bus in remit.toml), which jobs would control";
        for (user, uid, why) in [
            ("bus", 997, of_bus),
            ("#997", 997, of_bus),
            ("#70000", 70_000, of_jobs),
            ("#70009", 70_009, of_jobs),
            ("ghost", 70_001, of_jobs),
            ("broker", 998, of_broker),
            ("#998", 998, of_broker),
        ] {
            let expect =
                format!("policy: error: no job of profile 'x' can be '{user}': uid {uid} {why}");
            assert_eq!(warnings_for(user), [expect], "{user}");
        }
    }
}
