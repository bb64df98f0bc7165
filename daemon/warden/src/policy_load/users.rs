//! Users that no profile can name: uids that the daemon itself gives to somebody.

use std::ops::Range;

use remit_policy::{Diagnostic, Policy, Severity, User};

use crate::accounts;
use crate::config::Config;

/// An error for each profile whose jobs would have a uid of the jobs' range or the broker's. It may ask
/// the user database. A broker that there is not yet has no uid.
pub fn taken(policy: &Policy, config: &Config) -> Vec<Diagnostic> {
    let first = config.jobs.uid_first;
    let jobs = first..first.saturating_add(config.jobs.uid_count);
    let broker = accounts::user("accounts.broker", &config.accounts.broker);
    among(policy, &jobs, broker.ok().map(|ids| ids.uid))
}

fn among(policy: &Policy, jobs: &Range<u32>, broker: Option<u32>) -> Vec<Diagnostic> {
    let found = policy.profiles().filter_map(|profile| {
        let User::Fixed { name, uid, .. } = &profile.user else {
            return None;
        };
        let why = if jobs.contains(uid) {
            format!(
                "is of the range {}-{} (jobs.uid_first in remit.toml), of which each job gets a uid \
                 that nobody else has",
                jobs.start,
                jobs.end.saturating_sub(1)
            )
        } else if broker == Some(*uid) {
            "is that of remit's broker (accounts.broker in remit.toml), which would be in the jobs' \
             hands"
                .to_owned()
        } else {
            return None;
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

    fn told(user: &str) -> Vec<String> {
        let ids = |id| Ids { uid: id, gid: 100 };
        let machine = MachineTable {
            users: [("web", 999), ("ghost", 70_001), ("broker", 998)]
                .map(|(name, id)| (name.to_owned(), ids(id)))
                .into(),
            ..MachineTable::default()
        };
        let text = format!("[profile.x]\nbase = \"strict\"\nuser = \"{user}\"\n");
        let source = Source {
            name: "a.toml".into(),
            text: text.into(),
        };
        let (policy, _) = remit_policy::load(&[source], &machine).unwrap();
        let found = among(&policy, &(70_000..70_010), Some(998));
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_profiles_user_is_neither_of_the_jobs_nor_the_broker() {
        for free in ["web", "#0", "#69999", "#70010"] {
            assert_eq!(told(free), Vec::<String>::new(), "{free}");
        }
        let of_jobs = "is of the range 70000-70009 (jobs.uid_first in remit.toml), of which each job \
                       gets a uid that nobody else has";
        let of_broker = "is that of remit's broker (accounts.broker in remit.toml), which would be in \
                         the jobs' hands";
        for (user, uid, why) in [
            ("#70000", 70_000, of_jobs),
            ("#70009", 70_009, of_jobs),
            ("ghost", 70_001, of_jobs),
            ("broker", 998, of_broker),
            ("#998", 998, of_broker),
        ] {
            let expect =
                format!("policy: error: no job of profile 'x' can be '{user}': uid {uid} {why}");
            assert_eq!(told(user), [expect], "{user}");
        }
    }
}
