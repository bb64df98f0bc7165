//! Checks if a policy may replace the one in force without a reload by an administrator. It compares rule by rule and
//! is conservative: a policy of other files is not narrower, whatever it decides.

use crate::model::approval::Approval;
use crate::model::policy::Policy;
use crate::model::rule::{DenyRule, GrantRule};

impl Policy {
    /// Returns true if it differs from `old` only in fewer grantees or more denied subjects. Then `old` allows all
    /// that it allows.
    pub fn is_within(&self, old: &Self) -> bool {
        let grants = self.grants.len() == old.grants.len()
            && self.grants.iter().zip(&old.grants).all(|(new, was)| {
                is_narrower(new, was)
                    && (new.to.includes(&was.to) || !old.is_strict_for_others(was))
            });
        let denies = self.denies.len() == old.denies.len()
            && self
                .denies
                .iter()
                .zip(&old.denies)
                .all(|(new, was)| is_wider(new, was));
        grants && denies && self.commands == old.commands && self.profiles == old.profiles
    }

    /// Returns true if another rule may allow calls for which this one asks an approval. The strictest grant decides,
    /// so a grantee who leaves this rule would be asked less.
    fn is_strict_for_others(&self, rule: &GrantRule) -> bool {
        let mut others = self.grants.iter().filter(|other| other.id != rule.id);
        rule.approval.is_some() && others.any(|other| self.meet(rule, other))
    }
}

fn is_narrower(new: &GrantRule, was: &GrantRule) -> bool {
    let approval = match (&new.approval, &was.approval) {
        (Some(new), Some(was)) => is_asked_of_fewer(new, was),
        (new, was) => new.is_none() && was.is_none(),
    };
    let same = GrantRule {
        to: was.to.clone(),
        approval: was.approval.clone(),
        ..new.clone()
    };
    approval && same == *was && was.to.includes(&new.to)
}

fn is_asked_of_fewer(new: &Approval, was: &Approval) -> bool {
    new.expires_s() == was.expires_s()
        && new.lists().len() == was.lists().len()
        && new
            .lists()
            .iter()
            .zip(was.lists())
            .all(|(new, was)| was.includes(new))
}

fn is_wider(new: &DenyRule, was: &DenyRule) -> bool {
    let same = DenyRule {
        to: was.to.clone(),
        ..new.clone()
    };
    same == *was && new.to.includes(&was.to)
}

#[cfg(test)]
mod tests {
    use crate::{Ids, MachineTable, Policy, Source, load};

    fn policy(text: &str, users: &[(&str, u32)], agents: &[u32]) -> Policy {
        let ids = |uid: u32| Ids { uid, gid: uid };
        let users = users
            .iter()
            .map(|(name, uid)| ((*name).to_owned(), ids(*uid)));
        let machine = MachineTable {
            users: users.collect(),
            groups: [("agents".to_owned(), 50)].into(),
            listed: [(50, agents.to_vec())].into(),
            last_uids: [("ann".to_owned(), 7)].into(),
            ..MachineTable::default()
        };
        let source = Source {
            name: "a.toml".into(),
            text: text.into(),
        };
        load(&[source], &machine).unwrap().0
    }

    const TEXT: &str = "[[grant]]\nto = ['bot', 'bob']\nallow = ['run']\napproval = 'none'\n\
                        [[deny]]\nto = ['ann', '%agents']\ndeny = ['run']\n";

    #[test]
    fn a02_fewer_grantees_and_more_denied_is_within() {
        let all = [("bot", 1), ("bob", 2), ("ann", 7)];
        let old = policy(TEXT, &all, &[1, 3]);
        for (users, agents, is_within) in [
            (&all[..], &[1, 3][..], true),
            (&all[1..], &[1, 3, 4], true),
            (&all[..2], &[1, 3], true),
            (&all, &[1], false),
            (&[("bot", 9), ("bob", 2), ("ann", 7)], &[1, 3], false),
            (&[("bot", 1), ("bob", 2), ("ann", 8)], &[1, 3], false),
        ] {
            let new = policy(TEXT, users, agents);
            assert_eq!(new.is_within(&old), is_within, "{users:?} {agents:?}");
        }
        let more = format!("{TEXT}[[grant]]\nto = ['bob']\nallow = ['run']\n");
        assert!(!policy(&more, &all, &[1, 3]).is_within(&old));
        let fewer = TEXT.split("[[deny]]").next().unwrap();
        assert!(!policy(fewer, &all, &[1, 3]).is_within(&old));
    }

    #[test]
    fn a02_grantee_asked_less_is_not_within() {
        let asks = "[[grant]]\nto = ['bot']\nallow = ['run']\napproval = { by = ['bob', '#9'] }\n";
        let also = "[[grant]]\nto = ['%agents']\nallow = ['run']\napproval = 'none'\n";
        let both = format!("{asks}{also}");
        for (text, users, is_within) in [
            (asks, &[("bob", 2)][..], true),
            (both.as_str(), &[("bob", 2)], false),
            (asks, &[("bot", 1)], true),
            (asks, &[("bot", 1), ("bob", 3)], false),
        ] {
            let old = policy(text, &[("bot", 1), ("bob", 2)], &[]);
            assert_eq!(
                policy(text, users, &[]).is_within(&old),
                is_within,
                "{text} {users:?}"
            );
        }
    }
}
