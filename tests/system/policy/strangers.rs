//! Callers without a grant learn nothing about a command.

use remit_common::refusal::Code;
use remit_tests::caller::{Caller, argv, change, named, stdout};
use remit_tests::daemon::{Daemon, SOCKET_GROUP, user_a, user_b, user_m};
use remit_tests::process::Identity;
use remit_wire::outcome::State;
use remit_wire::{
    Access, AccessReport, Effect, HistoryEntry, HistoryQuery, Purpose, Reply, Request, Run,
};

use super::scene::{FILE, GRANTS, answer, asked, exit, prints, reload, with};

fn secret() -> String {
    prints(
        "site.secret",
        "\"{word}\"",
        "args.word = { type = \"string\" }",
    )
}

fn unit() -> String {
    prints("site.unit", "\"{unit}\"", "args.unit = { type = \"unit\" }")
}

fn access(name: Option<&str>, query: Option<&str>) -> Request {
    Request::Access(Access {
        argv: None,
        profile: None,
        name: name.map(str::to_owned),
        query: query.map(str::to_owned),
    })
}

fn report(daemon: &Daemon, user: &Identity, request: Request) -> AccessReport {
    match Caller::new(daemon, user).ask(request) {
        Ok(Reply::Access(report)) => report,
        other => panic!("{other:?}"),
    }
}

fn questions() -> Vec<Request> {
    let rush = |run: Run| {
        Request::Run(Run {
            wait_ms: Some(0),
            ..run
        })
    };
    let right = [("word", "x")];
    let wrong: [&[(&str, &str)]; 4] = [&[], &[("word", "-x")], &[("other", "x")], &[("word", "")]];
    let mut questions = vec![
        rush(named("site.secret", &right)),
        rush(change("site.secret", &right)),
        rush(named("site.unit", &[("unit", "nginx")])),
        rush(Run {
            stdin: Some(remit_wire::Bytes::from(b"x".to_vec())),
            ..named("site.secret", &right)
        }),
        rush(Run {
            profile: Some("read".into()),
            ..named("site.secret", &right)
        }),
        rush(Run {
            request_id: Some("one".into()),
            ..named("site.secret", &right)
        }),
        access(Some("site.secret"), None),
        access(None, Some("secret")),
        access(None, None),
    ];
    questions.extend(wrong.map(|args| rush(named("site.secret", args))));
    questions
}

/// Asks each question as a new user: first users without any grant, then members of a group that may run
/// anything.
fn answers(daemon: &Daemon) -> Vec<Vec<u8>> {
    askers()
        .map(|(question, user)| answer(daemon, &user, question))
        .collect()
}

fn askers() -> impl Iterator<Item = (Request, Identity)> {
    let group = |uid| Identity::new(uid, &[SOCKET_GROUP, 64_777]);
    let strangers = (0..).map(|n| Identity::new(67_000 + n, &[SOCKET_GROUP]));
    let members = (0..).map(move |n| group(67_100 + n));
    let strangers = questions().into_iter().zip(strangers);
    let members = questions().into_iter().zip(members);
    strangers.chain(members)
}

/// Command, verdict and cause of an entry of the history.
type ReadEntry = (Option<String>, String, Option<String>);

/// Returns what each user reads of their refusals afterwards, the newest first.
fn histories(daemon: &Daemon) -> Vec<Vec<ReadEntry>> {
    let query = HistoryQuery {
        limit: 100,
        ..HistoryQuery::default()
    };
    let own = |user: Identity| match Caller::new(daemon, &user).ask(Request::History(query.clone()))
    {
        Ok(Reply::History(page)) => page.entries,
        other => panic!("{other:?}"),
    };
    let entries = askers().map(|(_, user)| own(user).into_iter());
    let read = |entry: HistoryEntry| (entry.command, entry.verdict, entry.cause);
    entries.map(|own| own.map(read).collect()).collect()
}

/// Returns what readers of the journal see of the refusals.
fn recorded(daemon: &Daemon) -> Vec<Vec<String>> {
    const FIELDS: [&str; 10] = [
        "MESSAGE",
        "REMIT_UID",
        "REMIT_COMMAND",
        "REMIT_ARGS",
        "REMIT_ARGV",
        "REMIT_VERDICT",
        "REMIT_CAUSE",
        "REMIT_RULE",
        "REMIT_EFFECT",
        "REMIT_PROFILE",
    ];
    let records = daemon.records("refusal").into_iter();
    records
        .map(|record| FIELDS.map(|field| record[field].to_string()).to_vec())
        .collect()
}

#[test]
fn ungranted_command_answers_as_unknown() {
    let members = "[[grant]]\nname = \"members\"\nto = [\"%#64777\"]\nallow = [\"run\"]\n";
    let certain = "[[grant]]\nto = [\"#64002\"]\nallow = [\"site.*\"]\nargs = { word = [\"x\"] }\n\
                   [[deny]]\nto = [\"%#64777\"]\ndeny = [\"site.secret\"]\nargs = { word = [\"x\"] }\n";
    let mut daemon = with(&(members.to_owned() + certain + &secret() + &unit()));
    let used = asked(&daemon, &user_a(), named("site.secret", &[("word", "x")]));
    assert_eq!(exit(&used.expect("it is granted")), Some(0));
    let there = answers(&daemon);
    let (history, records) = (histories(&daemon), recorded(&daemon));
    assert!(history.iter().flatten().count() >= questions().len());
    daemon.set_file(FILE, &(members.to_owned() + GRANTS));
    // Restarts, so that earlier refusals are forgotten.
    daemon.restart_cleanly();
    let not_there = answers(&daemon);
    for (question, (one, other)) in questions().iter().cycle().zip(there.iter().zip(&not_there)) {
        assert_eq!(one, other, "{question:?}");
    }
    let later = histories(&daemon);
    for ((question, user), (one, both)) in askers().zip(history.iter().zip(&later)) {
        assert_eq!(both, &[&one[..]; 2].concat(), "{user:?}: {question:?}");
    }
    let later = recorded(&daemon);
    assert_eq!(later.get(..records.len()), Some(&records[..]));
    assert_eq!(later.get(records.len()..), Some(&records[..]));
    let used = asked(&daemon, &user_a(), named("site.secret", &[("word", "x")]));
    assert_eq!(used.expect_err("it is gone").code, Code::NotFound);
    daemon.stop();
}

#[test]
fn run_grant_and_command_grant_are_independent() {
    let daemon = with(&(secret() + &prints("site.other", "\"x\"", "")));
    daemon.set_file(
        FILE,
        &(secret()
            + &prints("site.other", "\"x\"", "")
            + "[[grant]]\nto = [\"#64001\"]\nallow = [\"site.s*\"]\n\
               [[grant]]\nto = [\"#0\", \"#64002\"]\nallow = [\"run\"]\n"),
    );
    let _ = reload(&daemon).expect("it is right");
    let args = [("word", "x")];
    let a = |run| asked(&daemon, &user_a(), run);
    let b = |run| asked(&daemon, &user_b(), run);
    let own = a(named("site.secret", &args)).expect("it is granted");
    assert_eq!((exit(&own), stdout(&own).as_str()), (Some(0), "[x]"));
    for refused in [
        a(named("site.other", &[])),
        a(named("service.failed", &[])),
        b(named("site.secret", &args)),
    ] {
        let refusal = refused.expect_err("it is not granted");
        assert_eq!(refusal.code, Code::NotFound, "{refusal}");
    }
    let refusal = a(argv(&["true"])).expect_err("it is not granted");
    assert_eq!(refusal.code, Code::DeniedRule, "{refusal}");
    assert_eq!(
        b(argv(&["true"])).expect("it is granted").state,
        State::Exited
    );
    assert!(b(named("service.failed", &[])).is_ok());
    daemon.is_well();
    daemon.stop();
}

#[test]
fn denial_overrides_grants_and_is_named() {
    let daemon = with(&secret());
    let deny = "[[deny]]\nname = \"not-now\"\nto = [\"#64001\", \"#64003\"]\ndeny = [\"site.*\"]\n";
    daemon.set_file(FILE, &(secret() + GRANTS + deny));
    let changes = reload(&daemon).expect("it is right").changes;
    assert!(!changes.is_empty());
    let args = [("word", "x")];
    let refusal = asked(&daemon, &user_a(), named("site.secret", &args)).expect_err("denied");
    assert_eq!(refusal.code, Code::DeniedRule, "{refusal:?}");
    assert!(format!("{refusal:?}").contains("not-now"), "{refusal:?}");
    // A caller without a grant does not learn of the denial either.
    let refusal = asked(&daemon, &user_m(), named("site.secret", &args)).expect_err("not granted");
    assert_eq!(refusal.code, Code::NotFound, "{refusal:?}");
    assert!(!format!("{refusal:?}").contains("not-now"), "{refusal:?}");
    assert!(
        asked(&daemon, &user_a(), argv(&["true"])).is_ok(),
        "the rest stays"
    );
    let last = daemon
        .records("refusal")
        .pop()
        .expect("each refusal is recorded");
    assert_eq!(last["REMIT_UID"], "64003", "{last}");
    daemon.stop();
}

#[test]
fn access_lists_searches_and_explains_usable_commands() {
    let changes = secret()
        .replace("site.secret", "site.deploy")
        .replace("\"read\"\nprofile", "\"change\"\nprofile")
        .replace("summary = \"prints\"", "summary = \"Bring the SITE up\"");
    let daemon = with(&(secret() + &changes));
    let all = report(&daemon, &user_a(), access(None, None));
    let built_in = remit_common::builtin::COMMANDS.len();
    assert_eq!(all.commands.len(), built_in + 2, "{all:?}");
    assert_eq!(all.more_commands, 0);
    let found = report(&daemon, &user_a(), access(None, Some("bring up")));
    assert_eq!(found.commands.len(), 1, "{found:?}");
    let found = report(&daemon, &user_a(), access(None, Some("bring the site up")));
    assert_eq!(found.commands.len(), 2, "{found:?}");
    let view = &found.commands[0];
    assert_eq!(view.usage, "site.deploy word=WORD", "{view:?}");
    assert_eq!(
        (view.effect, view.profile.as_str()),
        (Effect::Change, "read")
    );
    let one = report(&daemon, &user_a(), access(Some("site.deploy"), None));
    assert_eq!(one.commands.len(), 1);
    assert!(one.commands[0].args[0].starts_with("word: "), "{one:?}");
    let asked = one.asked.expect("it was asked for");
    assert!(asked.allowed && asked.rule.is_some_and(|rule| rule.contains("commands")));
    let none = report(&daemon, &user_b(), access(None, Some("site")));
    assert!(none.commands.is_empty(), "{none:?}");
    daemon.stop();
}

#[test]
fn access_shows_as_many_grants_as_fit_and_counts_the_others() {
    const GRANTS: usize = 4_000;
    let pad = "x".repeat(150);
    let grants: String = (0..GRANTS)
        .map(|i| {
            format!(
                "[[grant]]\nto = [\"#64001\"]\nallow = [\"site.secret\"]\nargs.word = [\"{pad}{i}\"]\n"
            )
        })
        .collect();
    let daemon = with(&(secret() + &grants));
    let all = report(&daemon, &user_a(), access(None, None));
    let shown = all.grants.len();
    assert!(shown > 1_000 && shown < GRANTS, "{shown}");
    let more = usize::try_from(all.more_grants).expect("it is small");
    // The policy of the scene has further ones.
    assert!(shown + more >= GRANTS, "{shown} and {more}");
    daemon.is_well();
    daemon.stop();
}

#[test]
fn request_needing_approval_names_approvers() {
    let policy = secret()
        + "[[grant]]\nto = [\"#64001\"]\nallow = [\"site.*\"]\neffect = \"change\"\n\
           approval = { by = [\"%#64200\"], expires = \"10min\" }\n\
           [[grant]]\nname = \"at-once\"\nto = [\"#64001\"]\nallow = [\"site.secret\"]\n\
           [[grant]]\nto = [\"#0\", \"#64002\"]\nallow = [\"run\"]\n\
           [[test]]\nwho = \"#64001\"\nwhat = \"run site.secret word=x\"\nverdict = \"ask\"\n";
    let daemon = with(&secret());
    daemon.set_file(FILE, &policy);
    let _ = reload(&daemon).expect("it is right");
    let before = daemon.records("intent").len();
    let at_once = Run {
        wait_ms: Some(0),
        ..named("site.secret", &[("word", "x")])
    };
    let pending = asked(&daemon, &user_a(), at_once).expect("it waits");
    assert_eq!(pending.state, State::AwaitingApproval, "{pending:?}");
    let approval = pending.approval.expect("it says whose");
    assert!(format!("{approval:?}").contains("64200"), "{approval:?}");
    assert_eq!(daemon.records("intent").len(), before, "nothing ran");
    let view = report(&daemon, &user_a(), access(Some("site.secret"), None));
    assert!(view.commands[0].approval.is_some(), "{view:?}");
    let asked = view.asked.expect("it was asked for");
    assert!(!asked.allowed && asked.approval.is_some(), "{asked:?}");
    daemon.is_well();
    daemon.stop();
}

#[test]
fn access_shows_permitted_arguments() {
    let rules = "[[grant]]\nname = \"some\"\nto = [\"#64002\"]\nallow = [\"site.*\"]\n\
                 args = { word = [\"a*\", \"b\"] }\n\
                 [[deny]]\nname = \"not-ab\"\nto = [\"#64002\"]\ndeny = [\"site.*\"]\n\
                 args = { word = [\"ab*\"] }\n";
    let daemon = with(&(secret() + rules));
    let call = |word: &str| asked(&daemon, &user_b(), named("site.secret", &[("word", word)]));
    for word in ["a", "axe", "b"] {
        assert_eq!(exit(&call(word).expect("it is granted")), Some(0), "{word}");
    }
    for (word, by, what) in [
        (
            "c",
            "some",
            "'site.secret' is granted only with word: a*, b",
        ),
        (
            "bb",
            "some",
            "'site.secret' is granted only with word: a*, b",
        ),
        ("abc", "not-ab", "'site.secret' is denied by rule not-ab"),
    ] {
        let refusal = call(word).expect_err("it is not granted");
        assert_eq!(refusal.code, Code::DeniedRule, "{refusal:?}");
        assert!(refusal.message.starts_with(what), "{refusal:?}");
        assert!(refusal.by.is_some_and(|rule| rule.starts_with(by)));
    }
    let view = report(&daemon, &user_b(), access(Some("site.secret"), None));
    let shown = format!("{:?}", view.commands);
    for part in ["only with word: a*, b", "never with word: ab*"] {
        assert!(shown.contains(part), "{shown}");
    }
    assert!(view.asked.expect("it was asked for").allowed);
    daemon.stop();
}

#[test]
fn root_needs_grant_like_other_users() {
    let daemon = with(&secret());
    let root = Identity::new(0, &[0]);
    let refusal =
        asked(&daemon, &root, named("site.secret", &[("word", "x")])).expect_err("no grant");
    assert_eq!(refusal.code, Code::NotFound, "{refusal}");
    let tried = Run {
        purpose: Purpose::Try,
        ..named("site.secret", &[("word", "x")])
    };
    assert!(asked(&daemon, &root, tried).is_err());
    daemon.stop();
}
