#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

mod common;
mod model;

use common::{COMMANDS, accounts, source};
use model::{Answer, Args, NAMES, Rule, args, rule};
use proptest::prelude::*;
use remit_common::wire::Effect;
use remit_policy::{Ask, CallerIds, Policy, Source, Verdict};
use remit_policy_compile::{diff, explain, load};

const PROFILES: [&str; 5] = ["read", "strict", "wide", "host", "none-such"];
const VARIABLES: [&str; 3] = ["TZ", "LANG", "A"];

fn rules() -> impl Strategy<Value = Vec<Vec<Rule>>> {
    prop::collection::vec(prop::collection::vec(rule(), 0..4), 0..4)
}

fn caller() -> impl Strategy<Value = (u32, Vec<u32>)> {
    let uid = prop::sample::select(vec![0, 64001, 64003, 64010, 1, 65534, u32::MAX]);
    let gids = prop::sample::subsequence(vec![0, 7, 900, 901, 65534], 0..5);
    (uid, gids)
}

fn variables() -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(VARIABLES.to_vec(), 0..3)
}

#[derive(Debug, Clone)]
enum Question {
    Run(&'static str, Vec<&'static str>),
    Command(&'static str, Args),
    Change(&'static str, Vec<&'static str>),
}

fn question() -> impl Strategy<Value = Question> {
    let run = || (prop::sample::select(PROFILES.to_vec()), variables());
    prop_oneof![
        run().prop_map(|(profile, env)| Question::Run(profile, env)),
        run().prop_map(|(profile, env)| Question::Change(profile, env)),
        (prop::sample::select(names()), args())
            .prop_map(|(name, args)| Question::Command(name, args)),
    ]
}

fn names() -> Vec<&'static str> {
    [&NAMES[..], &["unit.act"; 5]].concat()
}

fn effect(name: &str) -> Effect {
    match name {
        "nginx.reload" => Effect::Change,
        _ => Effect::Read,
    }
}

fn files(rules: &[Vec<Rule>]) -> Vec<Source> {
    let commands = format!(
        "{COMMANDS}\n[profile.wide]\nbase = 'read'\ngroups = ['ops']\n{}",
        model::UNIT
    );
    let mut files = vec![source("commands.toml", commands)];
    for (at, rules) in rules.iter().enumerate() {
        let text: String = rules.iter().map(Rule::toml).collect();
        files.push(source(&format!("{at}.toml"), text));
    }
    files
}

fn loaded(sources: &[Source]) -> Policy {
    match load(sources, &accounts()) {
        Ok((policy, _)) => policy,
        Err(found) => panic!("{}", common::lines(&found)),
    }
}

fn verdict(policy: &Policy, (uid, gids): &(u32, Vec<u32>), question: &Question) -> Verdict {
    let subject = CallerIds { uid: *uid, gids };
    match question {
        Question::Command(name, args) => policy.decide(
            subject,
            &Ask::Command {
                name,
                effect: effect(name),
                args,
            },
        ),
        Question::Run(profile, names) => {
            let env_names: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
            let ask = Ask::Run {
                profile: Some(profile),
                argv0: b"x",
                env_names: &env_names,
            };
            policy.decide(subject, &ask)
        }
        Question::Change(profile, names) => {
            let env_names: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
            let ask = Ask::Change {
                profile: Some(profile),
                env_names: &env_names,
            };
            policy.decide(subject, &ask)
        }
    }
}

fn answer(verdict: &Verdict) -> Answer {
    match verdict {
        Verdict::Allow(_) => Answer::Allow,
        Verdict::Ask(pending) => {
            let by = pending.approval().asked_of().into_iter();
            let by = by.map(|word| word.trim_start_matches("and ").to_owned());
            Answer::Ask(pending.approval().expires_s(), by.collect())
        }
        Verdict::Deny(_) => Answer::Deny,
    }
}

fn more(mut rules: Vec<Vec<Rule>>, one: Rule) -> Vec<Vec<Rule>> {
    rules.push(vec![one]);
    rules
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn verdict_equals_that_of_the_model(
        rules in rules(),
        others in 0usize..130,
        subject in caller(),
        asks in prop::collection::vec(question(), 8),
    ) {
        // Rules about other users move the relevant ones to later positions.
        let others = "[[grant]]\nto = ['#5']\nallow = ['*']\n[[deny]]\nto = ['#5']\ndeny = ['*']\n".repeat(others);
        let policy = loaded(&[files(&rules), vec![source("-.toml", others)]].concat());
        let all: Vec<&Rule> = rules.iter().flatten().collect();
        for ask in asks {
            let expect = match &ask {
                Question::Command(name, args) => model::command(&all, &subject, name, args),
                Question::Run(profile, names) => model::run(&all, &subject, profile, names),
                Question::Change(profile, names) => model::change(&all, &subject, profile, names),
            };
            prop_assert_eq!(answer(&verdict(&policy, &subject, &ask)), expect, "{:?}", ask);
        }
    }

    #[test]
    fn one_more_denial_never_allows_more(rules in rules(), one in rule(), subject in caller(), ask in question()) {
        let one = Rule { deny: true, ..one };
        let before = verdict(&loaded(&files(&rules)), &subject, &ask);
        let after = verdict(&loaded(&files(&more(rules, one))), &subject, &ask);
        prop_assert!(answer(&after) == answer(&before) || answer(&after) == Answer::Deny);
    }

    #[test]
    fn one_more_grant_never_refuses_more(rules in rules(), one in rule(), subject in caller(), ask in question()) {
        let one = Rule { deny: false, ..one };
        let before = verdict(&loaded(&files(&rules)), &subject, &ask);
        let after = verdict(&loaded(&files(&more(rules, one))), &subject, &ask);
        prop_assert!(answer(&before) == Answer::Deny || answer(&after) != Answer::Deny);
    }

    #[test]
    fn the_order_of_sources_does_not_matter(
        (files, shuffled) in rules()
            .prop_map(|rules| files(&rules))
            .prop_flat_map(|files| (Just(files.clone()), Just(files).prop_shuffle())),
        subject in caller(),
        ask in question(),
    ) {
        let (one, other) = (loaded(&files), loaded(&shuffled));
        prop_assert_eq!(verdict(&one, &subject, &ask), verdict(&other, &subject, &ask));
        prop_assert_eq!(one.digest(), other.digest());
        prop_assert_eq!(diff(&one, &other), Vec::<String>::new());
    }

    #[test]
    fn access_and_decide_agree(rules in rules(), subject in caller(), names in variables(), args in args()) {
        let policy = loaded(&files(&rules));
        let access = policy.access(CallerIds { uid: subject.0, gids: &subject.1 });
        for name in NAMES {
            let mut shown = access.commands.iter();
            let shown = shown.find(|one| one.named.name() == name && one.is_about(&args));
            let found = verdict(&policy, &subject, &Question::Command(name, args.clone()));
            let shown = shown.map(|one| one.verdict_of(&args));
            let decided = Some(found).filter(|found| !matches!(found, Verdict::Deny(_)));
            prop_assert_eq!(shown, decided, "{}", name);
        }
        let runs = || access.grants.iter().filter(|view| view.allow.iter().any(|one| ["run", "*", "r*n"].contains(&one.as_str())));
        for profile in PROFILES {
            let found = verdict(&policy, &subject, &Question::Run(profile, names.clone()));
            let lists = |env: &[String]| names.iter().all(|name| env.iter().any(|one| one == name));
            let mut listing = runs().filter(|view| view.profile == profile && lists(&view.env));
            match &found {
                Verdict::Deny(_) => prop_assert!(listing.next().is_none()),
                Verdict::Allow(_) => prop_assert!(listing.any(|view| view.approval.is_none())),
                Verdict::Ask(pending) => {
                    let approval = Some(pending.approval().to_string());
                    prop_assert!(listing.any(|view| view.approval == approval));
                }
            }
            let reaches = access.profiles.iter().any(|one| one.name == profile);
            prop_assert!(reaches || answer(&found) == Answer::Deny);
        }
        let found = verdict(&policy, &subject, &Question::Change("host", names.clone()));
        let lists = |env: &[String]| names.iter().all(|name| env.iter().any(|one| one == name));
        let views = access.grants.iter().filter(|view| view.allow.iter().any(|one| one == "change"));
        let approvals: Vec<&Option<String>> = views.filter(|view| lists(&view.env)).map(|view| &view.approval).collect();
        match &found {
            Verdict::Ask(pending) => prop_assert!(approvals.contains(&&Some(pending.approval().to_string()))),
            other => prop_assert!(approvals.is_empty() && answer(other) == Answer::Deny, "{:?}", approvals),
        }
        // A command that is not shown is missing or denied. A caller without a grant learns nothing of arguments.
        for name in NAMES {
            let Verdict::Deny(denial) = verdict(&policy, &subject, &Question::Command(name, args.clone())) else {
                continue;
            };
            let reported = denial.what.contains("is granted only with");
            let shown = access.commands.iter().any(|one| one.named.name() == name && one.scope().is_some());
            prop_assert!(!reported || shown, "{}", denial.what);
        }
        prop_assert!(access.grants.iter().all(|view| !view.allow.is_empty()));
    }

    #[test]
    fn an_explanation_explains_the_verdict(rules in rules(), subject in caller(), name in prop::sample::select(names()), args in args(), kind in 0..3) {
        let policy = loaded(&files(&rules));
        let subject = CallerIds { uid: subject.0, gids: &subject.1 };
        let ask = match kind {
            0 => Ask::Run { profile: None, argv0: b"x", env_names: &[b"TZ"] },
            1 => Ask::Change { profile: None, env_names: &[b"TZ"] },
            _ => Ask::Command { name, effect: effect(name), args: &args },
        };
        let explanation = explain(&policy, subject, &ask);
        prop_assert_eq!(&explanation.verdict, &policy.decide(subject, &ask));
        prop_assert_eq!(explanation.considered.len(), policy.rules());
        let deciding = explanation.considered.iter().filter(|(_, why)| why.starts_with("decides"));
        let deciding: Vec<String> = deciding.map(|(rule, _)| rule.to_string()).collect();
        let named = match &explanation.verdict {
            Verdict::Allow(grant) => vec![grant.basis().to_string()],
            Verdict::Ask(pending) => vec![pending.rule().to_string()],
            Verdict::Deny(denial) => match &denial.rule {
                Some(rule) if denial.what.contains("is denied by") => vec![rule.to_string()],
                _ => Vec::new(),
            },
        };
        prop_assert_eq!(deciding, named);
    }

    #[test]
    fn policies_without_a_difference_answer_alike(old in rules(), one in rule(), subject in caller(), asks in prop::collection::vec(question(), 12)) {
        let new = loaded(&files(&more(old.clone(), one)));
        let old = loaded(&files(&old));
        prop_assert_eq!(diff(&old, &old), Vec::<String>::new());
        let reported = [diff(&old, &new), diff(&new, &old)];
        prop_assert_eq!(reported[0].is_empty(), reported[1].is_empty());
        for ask in asks {
            let answers = [&old, &new].map(|policy| answer(&verdict(policy, &subject, &ask)));
            prop_assert!(answers[0] == answers[1] || !reported[0].is_empty(), "{:?} {:?}", ask, answers);
        }
    }

    #[test]
    fn any_request_has_a_verdict(
        rules in rules(),
        uid: u32,
        gids: Vec<u32>,
        text: Option<String>,
        args: Vec<(String, String)>,
        argv0: Vec<u8>,
        env: Vec<Vec<u8>>,
        change: bool,
    ) {
        let policy = loaded(&files(&rules));
        let subject = CallerIds { uid, gids: &gids };
        let env: Vec<&[u8]> = env.iter().map(Vec::as_slice).collect();
        let name = text.as_deref().unwrap_or("nginx.test");
        for ask in [
            Ask::Run { profile: text.as_deref(), argv0: &argv0, env_names: &env },
            Ask::Try { profile: text.as_deref(), env_names: &env },
            Ask::Change { profile: text.as_deref(), env_names: &env },
            Ask::Command { name, effect: if change { Effect::Change } else { Effect::Read }, args: &args },
        ] {
            prop_assert_eq!(explain(&policy, subject, &ask).verdict, policy.decide(subject, &ask));
        }
        let _ = policy.access(subject);
    }

    #[test]
    fn any_bytes_load_or_are_refused(bytes: Vec<u8>) {
        if let Err(found) = load(&[source("f", &bytes)], &accounts()) {
            prop_assert!(!found.is_empty());
        }
    }

    #[test]
    fn damaged_policy_loads_or_is_refused(
        rules in rules(), at: prop::sample::Index, byte: u8, cut: prop::sample::Index,
    ) {
        let mut text: Vec<u8> = files(&rules).iter().flat_map(|file| file.text.clone()).collect();
        let at = at.index(text.len());
        text[at] = byte;
        text.truncate(cut.index(text.len()) + 1);
        if let Err(found) = load(&[source("f", &text)], &accounts()) {
            prop_assert!(!found.is_empty());
            for one in found {
                prop_assert!(!one.to_string().is_empty());
            }
        }
    }
}
