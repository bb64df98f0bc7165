//! `remit top` where it cannot draw. On a terminal with the real daemon: tests/system/top.rs.

use remit_common::admin::AdminReply;

use crate::fake::Fake;

#[test]
fn without_a_terminal_other_verbs_are_named() {
    let (fake, heard) = Fake::admin(AdminReply::Done("it is done".into()));
    for (args, why) in [
        (&["top"][..], "needs a terminal that can move its cursor"),
        (&["--json", "top"], "has no JSON"),
    ] {
        let said = fake.output(args);
        assert_eq!(said.status, Some(125), "{said:?}");
        for part in [why, "remit jobs", "remit pending --watch"] {
            assert!(said.stderr.contains(part), "{part}: {said:?}");
        }
        let json = args.len() > 1;
        assert_eq!(json, !said.stdout.is_empty(), "{said:?}");
    }
    assert!(heard.try_recv().is_err(), "nothing was asked");
}
