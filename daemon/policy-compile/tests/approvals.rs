//! Approvals and temporary grants: who may give one, to whom, and what it permits.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

use remit_common::signed::Touch;
use remit_common::wire::Effect;
use remit_policy::{
    Ask, Basis, CallerIds, Consent, Glob, MachineTable, NotApprover, NotGivable, PartlyComplete,
    Pending, PreApproval, Principal, Proof, Source, Verdict,
};
use remit_policy_compile::{explain, load};

fn asked(text: &str, ask: &Ask<'_>) -> Pending {
    let source = Source {
        name: "a.toml".into(),
        text: text.into(),
    };
    let (policy, _) = load(&[source], &MachineTable::default()).unwrap();
    let (uid, gids) = (1000, &[][..]);
    match policy.decide(CallerIds { uid, gids }, ask) {
        Verdict::Ask(pending) => pending,
        other @ (Verdict::Allow(_) | Verdict::Deny(_)) => panic!("{other:?}"),
    }
}

fn pending() -> Pending {
    let text = "[[grant]]\nname = 'look'\nto = ['#1000']\nallow = ['run']\n\
                approval = { by = ['#7', '%#70', '#1000'] }\n";
    let ask = Ask::Run {
        profile: None,
        argv0: b"df",
        env_names: &[],
    };
    asked(text, &ask)
}

fn unconfined() -> Pending {
    let text = "[[grant]]\nto = ['#1000']\nallow = ['a.b']\neffect = 'change'\napproval = { by = ['#7'] }\n\
                [[command]]\nname = 'a.b'\nsummary = 'x'\neffect = 'change'\nprofile = 'host'\n\
                argv = ['/usr/bin/true']\n";
    let ask = Ask::Command {
        name: "a.b",
        effect: Effect::Change,
        args: &[],
    };
    asked(text, &ask)
}

fn consent(uid: u32, gids: &[u32], requester: u32) -> Consent<'_> {
    Consent {
        by: CallerIds { uid, gids },
        name: "ann",
        requester,
        proof: None,
    }
}

/// A temporary grant of 'run' ends when another profile can be approved, or one of them changes.
#[test]
fn definition_of_run_is_that_of_its_profiles() {
    let rule = |to: u32, profile: &str, rest: &str| {
        format!("[[grant]]\nto = ['#{to}']\nallow = ['run']\nrun_profile = '{profile}'\n{rest}\n")
    };
    let asks = "approval = { by = ['#8'] }";
    let profile = |read: &str| format!("[profile.some]\nbase = 'strict'\nread = ['{read}']\n");
    let definition = |text: String| {
        let source = Source {
            name: "a.toml".into(),
            text: text.into(),
        };
        let (policy, _) = load(&[source], &MachineTable::default()).unwrap();
        policy.definition("run").unwrap().into_owned()
    };
    let one = profile("/srv") + &rule(7, "some", asks);
    let same = definition(one.clone());
    assert_eq!(
        definition(one.clone() + &rule(9, "strict", "approval = 'none'")),
        same
    );
    assert_ne!(definition(one.clone() + &rule(9, "strict", asks)), same);
    assert_ne!(definition(one.replace("/srv", "/etc")), same);
}

#[test]
fn only_another_named_person_can_approve() {
    let (no, own) = (Err(NotApprover::NotNamed), Err(NotApprover::Requester));
    for (uid, gids, expect) in [
        (7, &[][..], Ok(())),
        (8, &[70], Ok(())),
        (8, &[1, 2, 70], Ok(())),
        (0, &[0], no), // Root is not implied, nor is a gid equal to a named uid, or the reverse.
        (8, &[7], no),
        (70, &[], no),
        (8, &[], no),
        (1000, &[], own), // The requester never can, though the rule names them twice.
        (1000, &[70], own),
    ] {
        let consent = consent(uid, gids, 1000);
        assert_eq!(pending().may_approve(&consent), expect, "{uid} {gids:?}");
        let approved = pending().approved(&[consent]).map(|_| ());
        assert_eq!(approved, expect, "{uid} {gids:?}");
        let granted = pending().granted(&consent, 3, None).map(|_| ());
        assert_eq!(granted, expect, "{uid} {gids:?}");
    }
}

#[test]
fn as_many_different_people_as_the_rule_asks_for_approve() {
    let ask = Ask::Run {
        profile: None,
        argv0: b"df",
        env_names: &[],
    };
    let of = |count: usize| {
        let text = format!(
            "[[grant]]\nname = 'look'\nto = ['#1000']\nallow = ['run']\n\
             approval = {{ by = ['%#70', '#1000'], count = {count} }}\n"
        );
        asked(&text, &ask)
    };
    let by = |uids: &[u32]| -> Vec<Consent<'_>> {
        uids.iter().map(|uid| consent(*uid, &[70], 1000)).collect()
    };
    let (few, again, own) = (
        Err(NotApprover::TooFew),
        Err(NotApprover::Again),
        Err(NotApprover::Requester),
    );
    for (count, uids, expect) in [
        (1, &[][..], few),
        (1, &[7], Ok(())),
        (2, &[7], few),
        (2, &[7, 7], again),
        (2, &[7, 1000], own),
        (2, &[7, 8], Ok(())),
        (3, &[7, 8], few),
        (3, &[7, 8, 7], again),
        (3, &[7, 8, 9], Ok(())),
    ] {
        let approved = of(count).approved(&by(uids)).map(|_| ());
        assert_eq!(approved, expect, "{count} {uids:?}");
    }
    let one = consent(7, &[70], 1000);
    assert_eq!(of(2).granted(&one, 3, None).map(|_| ()), few);
    assert!(of(1).granted(&one, 3, None).is_ok());
}

#[test]
fn permission_needs_the_signatures_that_the_rule_asks_for() {
    let ask = Ask::Run {
        profile: None,
        argv0: b"df",
        env_names: &[],
    };
    let of = |approval: &str| {
        let text = format!(
            "[[grant]]\nname = 'look'\nto = ['#1000']\nallow = ['run']\n\
             approval = {{ by = ['%#70'], {approval} }}\n"
        );
        asked(&text, &ask)
    };
    let sk = |flags| {
        Some(Proof {
            touch: Some(Touch { flags, counter: 1 }),
        })
    };
    let file = Some(Proof { touch: None });
    let signed = |uid, proof| Consent {
        proof,
        ..consent(uid, &[70], 1000)
    };
    let no = Err(NotApprover::Unsigned);
    for (approval, proofs, expect) in [
        ("signed = 'key'", &[None][..], no),
        ("signed = 'key'", &[file], Ok(())),
        ("signed = 'key'", &[sk(0)], Ok(())),
        ("signed = 'touch'", &[file], no),
        ("signed = 'touch'", &[sk(4)], no),
        ("signed = 'touch'", &[sk(1)], Ok(())),
        ("signed = 'verify'", &[sk(1)], no),
        ("signed = 'verify'", &[sk(5)], Ok(())),
        ("count = 2, signed = 'touch'", &[sk(1), None], no),
        (
            "count = 2, signed = 'touch'",
            &[sk(1)],
            Err(NotApprover::TooFew),
        ),
        ("count = 2, signed = 'touch'", &[sk(1), sk(5)], Ok(())),
        ("count = 1", &[None], Ok(())),
    ] {
        let consents: Vec<_> = (7..)
            .zip(proofs)
            .map(|(uid, proof)| signed(uid, *proof))
            .collect();
        let approved = of(approval).approved(&consents).map(|_| ());
        assert_eq!(approved, expect, "{approval} {proofs:?}");
    }
    let granted = of("signed = 'key'")
        .granted(&signed(7, file), 3, None)
        .map(|_| ());
    assert_eq!(granted, no);
}

#[test]
fn explanation_says_how_many_have_to_type_it() {
    for (count, expect) in [(1, "; one of them,"), (2, "; each of two of them,")] {
        let text = format!(
            "[[grant]]\nname = 'look'\nto = ['#1000']\nallow = ['run']\napproval = {{ by = ['%#70'], count = {count} }}\n"
        );
        let source = Source {
            name: "a.toml".into(),
            text: text.into(),
        };
        let (policy, _) = load(&[source], &MachineTable::default()).unwrap();
        let (uid, gids) = (1000, &[][..]);
        let ask = Ask::Run {
            profile: None,
            argv0: b"df",
            env_names: &[],
        };
        let why = explain(&policy, CallerIds { uid, gids }, &ask).why;
        assert!(why.contains(expect), "{why}");
    }
}

#[test]
fn what_no_sandbox_holds_is_approved_each_time() {
    let pending = unconfined();
    let consent = consent(7, &[], 1000);
    let granted = pending.clone().granted(&consent, 3, None);
    assert_eq!(granted, Err(NotApprover::Unconfined));
    assert!(pending.approved(&[consent]).is_ok());
}

#[test]
fn permission_names_the_approver() {
    let consent = consent(7, &[], 1000);
    let approved = pending().approved(&[consent]).unwrap();
    let basis = approved.basis().to_string();
    assert_eq!(basis, "look (a.toml:1), approved by ann");
    let lifted = pending().granted(&consent, 3, None).unwrap();
    assert_eq!((lifted.grant(), lifted.terms()), (3, pending().terms()));
    let granted = lifted.spend(|_| Ok::<_, ()>(())).unwrap();
    let basis = granted.basis().to_string();
    assert_eq!(basis, "look (a.toml:1), grant 3 given by ann");
    let Basis::TemporaryGrant { approval, .. } = granted.basis() else {
        panic!("{:?}", granted.basis());
    };
    assert_eq!(approval, pending().approval());
    assert_eq!(*granted.terms(), *pending().terms());
}

#[test]
fn one_off_change_is_never_granted_for_a_time() {
    let text = "[[grant]]\nto = ['#1000']\nallow = ['change']\napproval = { by = ['#7'] }\n";
    for profile in ["host", "strict", "read"] {
        let profile = Some(profile);
        let pending = || {
            let ask = Ask::Change {
                profile,
                env_names: &[],
            };
            asked(text, &ask)
        };
        let consent = consent(7, &[], 1000);
        let lifted = pending().granted(&consent, 3, None);
        assert_eq!(lifted, Err(NotApprover::Unconfined), "{profile:?}");
        let grant = pending().approved(&[consent]).unwrap();
        assert_eq!(Some(grant.profile().name.as_str()), profile);
        assert!(grant.terms().is_one_off() && grant.command().is_none());
    }
}

#[test]
fn no_use_no_permission() {
    let lifted = || pending().granted(&consent(7, &[], 1000), 3, None).unwrap();
    let mut taken = Vec::new();
    let mut take = |number| {
        taken.push(number);
        if taken.len() == 1 {
            Ok(())
        } else {
            Err("none is left")
        }
    };
    assert!(lifted().spend(&mut take).is_ok());
    assert_eq!(lifted().spend(&mut take), Err("none is left"));
    assert_eq!(taken, [3, 3]);
}

#[test]
fn notify_command_reads_stdin_without_arguments() {
    let command = |name: &str, rest: &str, profile: &str| {
        format!(
            "[[command]]\nname = 'a.{name}'\nsummary = 'x'\neffect = 'change'\nprofile = '{profile}'\n{rest}\n"
        )
    };
    let plain = "argv = ['/usr/bin/true']";
    let text = [
        command("ok", &format!("{plain}\nstdin = 'caller'"), "strict"),
        command("deaf", plain, "strict"),
        command(
            "asks",
            "argv = ['/usr/bin/true', '{n}']\nstdin = 'caller'\nargs.n = { type = 'int', min = 0, max = 9 }",
            "strict",
        ),
    ]
    .concat();
    let source = Source {
        name: "a.toml".into(),
        text: text.into(),
    };
    let (policy, _) = load(&[source], &MachineTable::default()).unwrap();
    let outcome = |name: &str| match policy.notification(name) {
        Ok(grant) => format!("{} in {}", grant.basis(), grant.profile().name),
        Err(why) => why,
    };
    for (name, expect) in [
        ("a.ok", "approval.notify of remit.toml in strict"),
        ("a.none", "there is no command 'a.none'"),
        (
            "a.deaf",
            "command 'a.deaf' does not have stdin = \"caller\"",
        ),
    ] {
        assert_eq!(outcome(name), expect);
    }
    assert!(outcome("a.asks").starts_with("command 'a.asks' needs arguments: "));
}

const TEXT: &str = "
[[command]]
name = 'web.reload'
summary = 'x'
effect = 'change'
profile = 'strict'
argv = ['/bin/true', '{unit}', '{how}']
args.unit = { type = 'enum', values = ['a', 'b'], summary = 'x' }
args.how = { type = 'enum', values = ['x'], summary = 'x' }
[[command]]
name = 'web.test'
summary = 'x'
effect = 'change'
profile = 'strict'
argv = ['/bin/true']
[[command]]
name = 'all.install'
summary = 'x'
effect = 'change'
profile = 'host'
argv = ['/bin/true']
[[grant]]
to = ['#1000']
allow = ['*.reload', 'all.*']
effect = 'change'
approval = { by = ['#7', '%#70'] }
[[grant]]
to = ['#1001', '%#50']
allow = ['web.test']
approval = { by = ['#8'] }
[[grant]]
to = ['#1000']
allow = ['run']
approval = 'none'
";

fn reported(
    by: (u32, &[u32]),
    to: Principal,
    what: &str,
    args: &[(&str, &str)],
) -> Result<(), NotGivable> {
    let source = Source {
        name: "a.toml".into(),
        text: TEXT.into(),
    };
    let (policy, _) = load(&[source], &MachineTable::default()).unwrap();
    let args: Vec<_> = args
        .iter()
        .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
        .collect();
    policy.may_give(&PreApproval {
        by: CallerIds {
            uid: by.0,
            gids: by.1,
        },
        to,
        what: &Glob::parse(what).unwrap(),
        args: &args,
        paths: &[],
    })
}

#[test]
fn grant_within_approval_rights_is_accepted() {
    let user = Principal::User(1000);
    for (by, to, what, args) in [
        ((7, &[][..]), user, "web.reload", &[][..]),
        ((9, &[70]), user, "web.*", &[("unit", "a")]),
        ((7, &[]), user, "*", &[("unit", "a"), ("how", "x")]),
        ((8, &[]), Principal::User(1001), "web.test", &[]),
        // A rule about a group may be about them.
        ((8, &[]), Principal::User(1002), "web.test", &[]),
        ((7, &[]), Principal::Group(50), "web.reload", &[]),
    ] {
        assert_eq!(reported(by, to, what, args), Ok(()), "{by:?} {to:?} {what}");
    }
}

#[test]
fn arguments_of_a_grant_are_completed_as_those_of_each_covered_call() {
    let command = |name: &str, profile: &str, args: &str| {
        format!(
            "[[command]]\nname = '{name}'\nsummary = 'x'\neffect = 'change'\nprofile = '{profile}'\n{args}\n"
        )
    };
    let unit = "argv = ['/bin/true', '{unit}']\nargs.unit = { type = 'unit' }";
    let both = "argv = ['/bin/true', '{unit}', '{how}']\nargs.unit = { type = 'string' }\nargs.how = { type = 'string' }";
    let all = [
        command("a.start", "strict", unit),
        command("a.stop", "strict", unit),
        command("b.start", "strict", unit),
        command("b.name", "strict", both),
        // No grant covers it.
        command(
            "a.wipe",
            "host",
            "argv = ['/bin/true', '{unit}']\nargs.unit = { type = 'enum', values = ['nginx'] }",
        ),
    ];
    let source = Source {
        name: "a.toml".into(),
        text: all.concat().into(),
    };
    let (policy, _) = load(&[source], &MachineTable::default()).unwrap();
    let full = |what: &str, args: &[(&str, &str)]| {
        let mut args: Vec<_> = args
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let what = Glob::parse(what).unwrap();
        policy
            .complete_granted(&what, false, &mut args)
            .map(|()| args)
    };
    let nginx = ("unit", "nginx");
    for (what, args, expect) in [
        ("a.start", &[nginx][..], Ok("nginx.service")),
        ("a.*", &[nginx], Ok("nginx.service")),
        ("a.*", &[("unit", "nginx.socket")], Ok("nginx.socket")),
        ("b.name", &[nginx], Ok("nginx")),
        ("b.*", &[nginx, ("how", "x")], Ok("nginx")),
        ("b.*", &[("unit", "nginx.service")], Ok("nginx.service")),
        ("b.*", &[nginx], Err("nginx.service")),
        ("*", &[nginx], Err("nginx.service")),
        ("a.wipe", &[nginx], Ok("nginx")),
    ] {
        let found = full(what, args);
        match expect {
            Ok(value) => assert_eq!(found.unwrap()[0].1, value, "{what} {args:?}"),
            Err(complete) => {
                let (arg, complete) = ("unit".to_owned(), complete.to_owned());
                assert_eq!(found, Err(PartlyComplete { arg, complete }), "{what}");
            }
        }
    }
}

#[test]
fn grant_without_effect_is_refused() {
    let user = Principal::User(1000);
    let others =
        |words: &[&str]| NotGivable::NotApprover(words.iter().map(|w| (*w).to_owned()).collect());
    for (by, to, what, args, why) in [
        (
            (7, &[][..]),
            user,
            "web.relaod",
            &[][..],
            NotGivable::NoCommand,
        ),
        (
            (7, &[]),
            user,
            "web.*",
            &[("uint", "a")],
            NotGivable::NoArgument("uint".into()),
        ),
        (
            (7, &[]),
            user,
            "run",
            &[("unit", "a")],
            NotGivable::NoArgument("unit".into()),
        ),
        ((7, &[]), user, "all.install", &[], NotGivable::Unconfined),
        ((7, &[]), user, "all.*", &[], NotGivable::Unconfined),
        ((7, &[]), user, "run", &[], NotGivable::Unasked),
        ((7, &[]), user, "change", &[], NotGivable::OneOff),
        ((7, &[]), user, "chang*", &[], NotGivable::NoCommand),
        (
            (7, &[]),
            Principal::User(1002),
            "web.reload",
            &[],
            NotGivable::Unasked,
        ),
        ((8, &[8]), user, "web.reload", &[], others(&["#7", "%#70"])),
        ((0, &[0]), user, "web.reload", &[], others(&["#7", "%#70"])),
    ] {
        assert_eq!(
            reported(by, to, what, args),
            Err(why),
            "{by:?} {to:?} {what}"
        );
    }
}

#[test]
fn grant_is_judged_by_its_arguments() {
    let text = "
[[command]]
name = 'svc.restart'
summary = 'x'
effect = 'change'
profile = 'strict'
argv = ['/bin/true', '{unit}', '{how}']
args.unit = { type = 'unit', repeat = 3 }
args.how = { type = 'enum', values = ['soft', 'hard'], default = 'soft' }
[[grant]]
to = ['#1000']
allow = ['svc.restart']
args.unit = ['shop.service', 'php*']
args.how = ['soft']
approval = { by = ['#7'] }
[[grant]]
to = ['#1000']
allow = ['svc.restart']
args.unit = ['db.service']
approval = { by = ['#9'] }
[[grant]]
to = ['#1000']
allow = ['svc.restart']
args.unit = ['free.service']
approval = 'none'
[[grant]]
to = ['#1000']
allow = ['logs', 'service.status']
args.unit = ['shop.service']
approval = { by = ['#7'] }
";
    let source = Source {
        name: "a.toml".into(),
        text: text.into(),
    };
    let (policy, _) = load(&[source], &MachineTable::default()).unwrap();
    let judged = |what: &str, args: &[(&str, &str)]| {
        let args: Vec<_> = args
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        policy.may_give(&PreApproval {
            by: CallerIds { uid: 7, gids: &[] },
            to: Principal::User(1000),
            what: &Glob::parse(what).unwrap(),
            args: &args,
            paths: &[],
        })
    };
    let shop = ("unit", "shop.service");
    let other = Err(NotGivable::NotApprover(vec!["#9".to_owned()]));
    for (what, args, expect) in [
        ("svc.restart", &[][..], Ok(())),
        ("svc.restart", &[shop], Ok(())),
        ("svc.*", &[shop, ("how", "soft")], Ok(())),
        ("svc.restart", &[("unit", "php8.service")], Ok(())),
        ("svc.restart", &[("how", "soft")], Ok(())),
        (
            "svc.restart",
            &[("unit", "nginx.service")],
            Err(NotGivable::Unasked),
        ),
        (
            "svc.restart",
            &[shop, ("unit", "nginx.service")],
            Err(NotGivable::Unasked),
        ),
        (
            "svc.restart",
            &[shop, ("how", "hard")],
            Err(NotGivable::Unasked),
        ),
        // No star of a rule includes an instance.
        (
            "svc.restart",
            &[("unit", "php@1.service")],
            Err(NotGivable::Unasked),
        ),
        (
            "svc.restart",
            &[("unit", "free.service")],
            Err(NotGivable::Unasked),
        ),
        ("svc.restart", &[("unit", "db.service")], other),
        ("service.status", &[shop], Ok(())),
        (
            "service.status",
            &[("unit", "nginx.service")],
            Err(NotGivable::Unasked),
        ),
        ("logs", &[shop, ("lines", "5")], Ok(())),
        ("logs", &[("lines", "5")], Ok(())),
        ("*", &[shop], Ok(())),
    ] {
        assert_eq!(judged(what, args), expect, "{what} {args:?}");
    }
}

/// Two teams are asked about what one subject may do. No request needs both if no call is about both.
#[test]
fn c04_approvers_are_compared_if_one_call_is_about_both_rules() {
    const COMMANDS: &str = "[[command]]
name = 'web.deploy'
summary = 'x'
argv = ['/bin/true', '{env}', '{unit}', '{packages}']
effect = 'change'
profile = 'host'
args.env = { type = 'enum', values = ['prod', 'test'] }
args.unit = { type = 'unit', repeat = 3 }
args.packages = { type = 'package' }
";
    let plans = include_str!("../../../packaging/policy.d/60-plans.toml");
    let deploy = |args: &str| format!("allow = ['web.deploy']\nargs = {{ {args} }}\n");
    let commit = |paths: &str| format!("allow = ['plan.commit']\npaths = ['{paths}']\n");
    let third = |to: &str, paths: &str| {
        format!(
            "[[grant]]\nto = ['{to}']\nallow = ['plan.commit']\npaths = {paths}\napproval = {{ by = ['#7', '#8'] }}\n"
        )
    };
    for (one, other, more, expect) in [
        (
            deploy("env = ['prod']"),
            deploy("env = ['test']"),
            String::new(),
            0,
        ),
        (
            deploy("env = ['prod']"),
            deploy("env = ['p*']"),
            String::new(),
            1,
        ),
        (
            deploy("env = ['prod']"),
            deploy("unit = ['a.service']"),
            String::new(),
            1,
        ),
        // Several values, and several spellings of one.
        (
            deploy("unit = ['a.service']"),
            deploy("unit = ['b.service']"),
            String::new(),
            1,
        ),
        (
            deploy("packages = ['a']"),
            deploy("packages = ['a-1']"),
            String::new(),
            1,
        ),
        (commit("/srv/a"), commit("/srv/b"), String::new(), 0),
        (commit("/srv/a"), commit("/srv"), String::new(), 1),
        (
            commit("/srv/a"),
            commit("/srv/b"),
            third("#1000", "['/srv']"),
            3,
        ),
        (
            commit("/srv/a"),
            commit("/srv/b"),
            third("#1001", "['/srv']"),
            0,
        ),
        (
            commit("/srv/a"),
            commit("/srv/b"),
            third("#1000", "['/srv/a']"),
            1,
        ),
        (
            commit("/srv/a"),
            commit("/srv/b").replace("plan.commit", "plan.undo"),
            third("#1000", "['/srv']"),
            1,
        ),
    ] {
        let rule = |rule: &str, by: &str| {
            format!("[[grant]]\nto = ['#1000']\n{rule}approval = {{ by = ['{by}'] }}\n")
        };
        let (first, second) = (rule(&one, "#7"), rule(&other, "#8"));
        let source = Source {
            name: "a.toml".into(),
            text: format!("{plans}{COMMANDS}{first}{second}{more}").into(),
        };
        let machine = MachineTable::default();
        let (policy, _) = load(&[source], &machine).unwrap();
        let found = policy.asking_together(9, &machine);
        assert_eq!(found.len(), expect, "{first}{second}{more}");
    }
}
