//! What holds for every policy and every request.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

mod common;

use common::{accounts, source};
use proptest::prelude::*;
use remit_policy::{Ask, Policy, Source, Verdict, Who, load};

/// A rule over few people, so that rules and callers meet.
fn rule() -> impl Strategy<Value = String> {
    let who = prop::sample::subsequence(
        vec![
            "deploy", "mallory", "root", "%ops", "%remit", "#64010", "%#7",
        ],
        0..4,
    );
    let env = prop::sample::subsequence(vec!["TZ", "LANG", "A"], 0..3);
    (any::<bool>(), who, env, any::<bool>()).prop_map(|(deny, who, env, empty)| {
        let (to, actions) = (who, if empty { vec![] } else { vec!["run"] });
        if deny {
            format!("[[deny]]\nto = {to:?}\ndeny = {actions:?}\n")
        } else {
            format!("[[grant]]\nto = {to:?}\nallow = {actions:?}\nenv = {env:?}\n")
        }
    })
}

fn files() -> impl Strategy<Value = Vec<Source>> {
    let file = prop::collection::vec(rule(), 0..4).prop_map(|rules| rules.concat());
    prop::collection::vec(file, 0..5).prop_map(|texts| {
        let named = texts.iter().enumerate();
        named
            .map(|(at, text)| source(&format!("{at}.toml"), text))
            .collect()
    })
}

fn caller() -> impl Strategy<Value = (u32, Vec<u32>)> {
    let uid = prop::sample::select(vec![0, 64001, 64003, 64010, 1, 65534, u32::MAX]);
    (
        uid,
        prop::sample::subsequence(vec![0, 7, 900, 901, 65534], 0..5),
    )
}

fn names() -> impl Strategy<Value = Vec<&'static [u8]>> {
    let names: Vec<&'static [u8]> = vec![b"TZ", b"LANG", b"A", b"\xff"];
    prop::sample::subsequence(names, 0..4)
}

fn loaded(sources: &[Source]) -> Policy {
    load(sources, &accounts())
        .map(|(policy, _)| policy)
        .unwrap()
}

fn verdict(policy: &Policy, (uid, gids): &(u32, Vec<u32>), env_names: &[&[u8]]) -> Verdict {
    let ask = Ask::Run {
        profile: None,
        argv0: b"x",
        env_names,
    };
    policy.decide(Who { uid: *uid, gids }, &ask)
}

fn allows(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Allow(_))
}

proptest! {
    #[test]
    fn one_more_denial_never_allows_more(files in files(), more in rule(), who in caller(), env in names()) {
        prop_assume!(more.starts_with("[[deny]]"));
        let before = verdict(&loaded(&files), &who, &env);
        let with = [files, vec![source("more.toml", &more)]].concat();
        let after = verdict(&loaded(&with), &who, &env);
        prop_assert!(allows(&before) || !allows(&after));
    }

    #[test]
    fn one_more_grant_never_allows_less(files in files(), more in rule(), who in caller(), env in names()) {
        prop_assume!(more.starts_with("[[grant]]"));
        let before = verdict(&loaded(&files), &who, &env);
        let with = [files, vec![source("more.toml", &more)]].concat();
        prop_assert!(allows(&verdict(&loaded(&with), &who, &env)) || !allows(&before));
    }

    #[test]
    fn the_order_of_sources_does_not_matter(
        (files, shuffled) in files().prop_flat_map(|files| (Just(files.clone()), Just(files).prop_shuffle())),
        who in caller(),
        env in names(),
    ) {
        let (one, other) = (loaded(&files), loaded(&shuffled));
        prop_assert_eq!(verdict(&one, &who, &env), verdict(&other, &who, &env));
        prop_assert_eq!(one.digest_input(), other.digest_input());
    }

    #[test]
    fn access_and_decide_agree(files in files(), who in caller()) {
        let policy = loaded(&files);
        let shown = policy.access(Who { uid: who.0, gids: &who.1 }).grants;
        prop_assert_eq!(!shown.is_empty(), allows(&verdict(&policy, &who, &[])));
        for view in shown {
            let env: Vec<&[u8]> = view.env.iter().map(String::as_bytes).collect();
            prop_assert!(allows(&verdict(&policy, &who, &env)));
        }
    }

    #[test]
    fn any_request_has_a_verdict(
        files in files(),
        uid: u32,
        gids: Vec<u32>,
        profile: Option<String>,
        argv0: Vec<u8>,
        env: Vec<Vec<u8>>,
    ) {
        let env: Vec<&[u8]> = env.iter().map(Vec::as_slice).collect();
        let ask = Ask::Run { profile: profile.as_deref(), argv0: &argv0, env_names: &env };
        let _ = loaded(&files).decide(Who { uid, gids: &gids }, &ask);
    }

    #[test]
    fn any_bytes_load_or_are_refused_with_a_reason(bytes: Vec<u8>) {
        if let Err(found) = load(&[source("f", &bytes)], &accounts()) {
            prop_assert!(!found.is_empty());
        }
    }

    #[test]
    fn a_damaged_policy_loads_or_is_refused_with_a_reason(
        files in files(), at: prop::sample::Index, byte: u8, cut: prop::sample::Index,
    ) {
        let mut text: Vec<u8> = files.iter().flat_map(|file| file.text.clone()).collect();
        if !text.is_empty() {
            let at = at.index(text.len());
            text[at] = byte;
            text.truncate(cut.index(text.len()) + 1);
        }
        if let Err(found) = load(&[source("f", &text)], &accounts()) {
            prop_assert!(!found.is_empty());
            for one in found {
                prop_assert!(!one.to_string().is_empty());
            }
        }
    }
}
