//! Policies that may replace another without an administrator: those that allow no more.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

use remit_policy::{Ids, MachineTable, Policy, Source};
use remit_policy_compile::load;

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
