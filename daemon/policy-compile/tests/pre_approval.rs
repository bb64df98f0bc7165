//! Temporary grants: who may give which, to whom.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail"
)]

use remit_policy::{CallerIds, Glob, MachineTable, NotGivable, PreApproval, Recipient, Source};
use remit_policy_compile::load;

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
    to: Recipient,
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
    })
}

#[test]
fn grant_within_approval_rights_is_accepted() {
    let user = Recipient::User(1000);
    for (by, to, what, args) in [
        ((7, &[][..]), user, "web.reload", &[][..]),
        ((9, &[70]), user, "web.*", &[("unit", "a")]),
        ((7, &[]), user, "*", &[("unit", "a"), ("how", "x")]),
        ((8, &[]), Recipient::User(1001), "web.test", &[]),
        // A rule about a group may be about them.
        ((8, &[]), Recipient::User(1002), "web.test", &[]),
        ((7, &[]), Recipient::Group(50), "web.reload", &[]),
    ] {
        assert_eq!(reported(by, to, what, args), Ok(()), "{by:?} {to:?} {what}");
    }
}

#[test]
fn grant_without_effect_is_refused() {
    let user = Recipient::User(1000);
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
        (
            (7, &[]),
            Recipient::User(1002),
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
