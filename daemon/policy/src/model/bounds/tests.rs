use std::net::Ipv4Addr;
use std::sync::Arc;

use remit_common::wire::Effect;

use super::*;
use crate::model::command::{Param, Part, Stdin};
use crate::model::profile::{Destination, Listed, ProfileLimits};
use crate::model::rule::Principal;

/// Makes something with a list or a text of this size.
type Sized<T> = fn(&mut T, usize);

fn check<T>(make: fn() -> T, bounded: fn(&T) -> Checked, cases: &[(usize, Sized<T>)]) {
    for (at, (most, set)) in cases.iter().enumerate() {
        let of = |size| {
            let mut made = make();
            set(&mut made, size);
            bounded(&made)
        };
        assert_eq!(of(*most), Ok(()), "{at}");
        let why = of(most + 1).unwrap_err();
        assert!(why.contains(&format!("over {most}")), "{at}: {why}");
    }
}

fn text(size: usize) -> String {
    "x".repeat(size)
}

fn numbered<T>(size: usize, made: impl Fn(String) -> T) -> Vec<T> {
    (0..size).map(|number| made(number.to_string())).collect()
}

fn id() -> RuleId {
    let file = "a.toml".to_owned();
    let (line, name) = (1, None);
    RuleId { file, line, name }
}

fn scope(name: String, values: Vec<Glob>) -> Scope {
    BTreeMap::from([(name, values)]).into()
}

fn deny() -> DenyRule {
    DenyRule {
        id: id(),
        to: Grantees::default(),
        deny: Vec::new(),
        scope: Scope::default(),
    }
}

#[test]
fn rule_is_bounded() {
    check(
        deny,
        denial,
        &[
            (caps::PATH, |rule, size| rule.id.file = text(size)),
            (caps::NAME, |rule, size| rule.id.name = Some(text(size))),
            (ENTRIES, |rule, size| {
                let ids = (0..size).map(|id| Principal::User(id as u32));
                rule.to.ids = ids.map(|id| (id, String::new())).collect();
            }),
            (ENTRIES, |rule, size| {
                rule.to.words = vec![String::new(); size]
            }),
            (TEXT, |rule, size| rule.to.words = vec![text(size)]),
            (MEMBERS, |rule, size| {
                rule.to.members = (0..size as u32).collect()
            }),
            (ENTRIES, |rule, size| rule.deny = vec![Glob::new("x"); size]),
            (TEXT, |rule, size| rule.deny = vec![Glob::new(text(size))]),
            (caps::NAMED_ARGS, |rule, size| {
                let args = numbered(size, |name| (name, Vec::new()));
                rule.scope = args.into_iter().collect::<BTreeMap<_, _>>().into();
            }),
            (caps::NAME, |rule, size| {
                rule.scope = scope(text(size), Vec::new())
            }),
            (VALUES, |rule, size| {
                rule.scope = scope(text(1), numbered(size, Glob::new))
            }),
        ],
    );
    let grant = || {
        let DenyRule {
            id,
            to,
            deny: allow,
            scope,
        } = deny();
        GrantRule {
            id,
            to,
            allow,
            effect: None,
            scope,
            profile: Arc::new(Profile::read()),
            env: [].into(),
            approval: None,
            unconfined: false,
            paths: Vec::new(),
            confirm_s: None,
            acts: [].into(),
        }
    };
    check(
        grant,
        super::grant,
        &[
            (caps::NAME, |rule, size| rule.id.name = Some(text(size))),
            (ENTRIES, |rule, size| {
                rule.to.words = vec![String::new(); size]
            }),
            (ENTRIES, |rule, size| {
                rule.allow = vec![Glob::new("x"); size]
            }),
            (VALUES, |rule, size| {
                rule.scope = scope(text(1), numbered(size, Glob::new))
            }),
            (ENTRIES, |rule, size| {
                rule.env = numbered(size, |name| name).into_iter().collect()
            }),
            (TEXT, |rule, size| rule.env = [text(size)].into()),
            (ENTRIES, |rule, size| {
                let words = vec![String::new(); size];
                let by = Grantees {
                    words,
                    ..Grantees::default()
                };
                rule.approval = Some(Approval::new(by, crate::Count::One, 60));
            }),
        ],
    );
}

#[test]
fn profile_is_bounded() {
    fn to(size: usize, addresses: usize) -> Network {
        let address = Ipv4Addr::LOCALHOST.into();
        Network::Connect(vec![Destination {
            host: text(size),
            addresses: vec![address; addresses],
            port: 1,
        }])
    }
    check(
        Profile::strict,
        profile,
        &[
            (caps::NAME, |profile, size| profile.name = text(size)),
            (SUMMARY, |profile, size| profile.summary = text(size)),
            (TEXT, |profile, size| {
                let (name, uid, gid) = (text(size), 1, 1);
                profile.user = User::Fixed { name, uid, gid };
            }),
            (ENTRIES, |profile, size| profile.groups = vec![1; size]),
            (caps::PROFILE_PATHS, |profile, size| {
                profile.scratch = vec![text(1); size]
            }),
            (TEXT, |profile, size| {
                let (path, optional) = (text(size), false);
                profile.sockets = vec![Listed { path, optional }];
            }),
            (TEXT, |profile, size| profile.network = to(size, 1)),
            (ADDRESSES, |profile, size| profile.network = to(1, size)),
            (caps::ENV_COUNT, |profile, size| {
                let env = numbered(size, |name| (name, String::new()));
                profile.env = env.into_iter().collect();
            }),
            (caps::ENV_ELEMENT, |profile, size| {
                profile.env = [(text(1), text(size))].into();
            }),
        ],
    );
}

fn command() -> Command {
    Command {
        name: "a.b".to_owned(),
        summary: String::new(),
        effect: Effect::Read,
        profile: Arc::new(Profile::strict()),
        id: id(),
        argv: vec![Part::Word(Word::Literal("/bin/x".to_owned()))],
        params: vec![Param {
            name: "x".to_owned(),
            kind: ParamKind::User,
            summary: String::new(),
            optional: false,
            default: None,
            most: 1,
        }],
        stdin: Stdin::None,
        env: BTreeMap::new(),
        cwd: "/".to_owned(),
        limits: ProfileLimits::default(),
        definition: String::new(),
    }
}

#[test]
fn command_is_bounded() {
    check(
        command,
        super::command,
        &[
            (caps::NAME, |command, size| command.name = text(size)),
            (SUMMARY, |command, size| command.summary = text(size)),
            (TEXT, |command, size| command.cwd = text(size)),
            (DEFINITION, |command, size| command.definition = text(size)),
            (ELEMENTS, |command, size| {
                command.argv = vec![Part::Word(Word::Value(0)); size]
            }),
            (ELEMENTS, |command, size| {
                command.argv = vec![Part::Group(vec![Word::Value(0); size])];
            }),
            (ELEMENT, |command, size| {
                command.argv = vec![Part::Group(vec![Word::Attached(text(size), 0)])];
            }),
            (caps::ENV_ELEMENT, |command, size| {
                command.env = [(text(size), text(1))].into()
            }),
        ],
    );
    fn kind(command: &mut Command, kind: ParamKind) {
        command.params[0].kind = kind;
    }
    check(
        command,
        super::command,
        &[
            (caps::NAME, |command, size| {
                command.params[0].name = text(size)
            }),
            (SUMMARY, |command, size| {
                command.params[0].summary = text(size)
            }),
            (caps::NAMED_ARGS, |command, size| {
                command.params[0].most = size
            }),
            (VALUES, |command, size| {
                kind(command, ParamKind::Enum(vec![text(1); size]))
            }),
            (caps::NAMED_VALUE, |command, size| {
                kind(command, ParamKind::Enum(vec![text(size)]));
            }),
            (caps::NAMED_VALUE, |command, max| {
                kind(command, ParamKind::Secret { max })
            }),
            (TEXT, |command, size| {
                kind(command, ParamKind::Flag(text(size)))
            }),
        ],
    );
}
