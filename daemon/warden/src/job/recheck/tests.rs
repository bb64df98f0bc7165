use remit_policy::MachineTable;

use super::Condition as C;
use super::looked::{check_looked, not_looked_at};
use super::*;
use crate::approval::file_hash::Unmeasured;
use crate::approval::fixture::Scene;
use crate::approval::grants::Grants;
use crate::identity::accounts::{AccountState, People};

const STAGES: [At; 7] = [
    At::Examined,
    At::Parked,
    At::Approving,
    At::Turn,
    At::Rehashed,
    At::Follows,
    At::LookedUp,
];

/// A row for each condition, a column for each stage: `x` if the stage asks for it.
const TABLE: [(C, &str); 22] = [
    (C::Open, "x x x . x x x"),
    (C::Session, "x x . . . . ."),
    (C::Unpaused, "x x x x x . ."),
    (C::Required, "x x x x x . ."),
    (C::Sandbox, ". x . x . . ."),
    (C::Grant, ". x . x . . x"),
    (C::Deadline, ". . . x . . ."),
    (C::SamePolicy, "x x x . x . ."),
    (C::Allowed, ". . . x . . ."),
    (C::Approver, ". . x . x x ."),
    (C::Looked, ". . x . . . x"),
    (C::EarlierApprovers, ". . x . . . ."),
    (C::EarlierSignatures, ". . x . x x ."),
    (C::Signature, ". . x . . . ."),
    (C::Hashed, "x . x . x x ."),
    (C::Requester, "x . x . x x x"),
    (C::Files, ". . x . x . ."),
    (C::Loose, ". . x . x . ."),
    (C::Effects, ". . x . x . ."),
    (C::Unprotected, ". . x x x . ."),
    (C::Recovered, ". x x x x . ."),
    (C::Copies, ". . . x . . ."),
];

fn refusal() -> Refusal {
    Refusal::new(Code::NotStarted, "no")
}

/// The result at this stage if only `unmet` is not met.
fn at(stage: At, unmet: C) -> Result<(), Unmet> {
    first_unmet(stage, |condition| match condition == unmet {
        true => Err(refusal()),
        false => Ok(()),
    })
}

#[test]
fn each_stage_asks_for_its_conditions() {
    for (condition, row) in TABLE {
        let row: Vec<&str> = row.split(' ').collect();
        assert_eq!(row.len(), STAGES.len());
        for (stage, cell) in STAGES.iter().zip(row) {
            let unmet = at(*stage, condition).map_err(|unmet| unmet.condition);
            let expect = match cell {
                "x" => Err(condition),
                _ => Ok(()),
            };
            assert_eq!(unmet, expect, "{condition:?} at {stage:?}");
        }
    }
    let asked: usize = STAGES.iter().map(|stage| conditions(*stage).len()).sum();
    let cells = TABLE.iter().map(|(_, row)| row.matches('x').count());
    assert_eq!(asked, cells.sum::<usize>());
}

/// The answer must not depend on anything else: a requester could learn of it.
#[test]
fn the_first_condition_in_order_is_the_answer() {
    for (stage, first) in [
        (At::Examined, C::Open),
        (At::Parked, C::Open),
        (At::Approving, C::Looked),
        (At::Turn, C::Grant),
        (At::Rehashed, C::Open),
        (At::Follows, C::Open),
        (At::LookedUp, C::Open),
    ] {
        let unmet = first_unmet(stage, |_| Err(refusal())).unwrap_err();
        assert_eq!(unmet.condition, first);
    }
}

#[test]
fn unmet_condition_decides_the_end() {
    for (condition, state, cause, is_change) in [
        (C::Open, State::NotStarted, "no; it never ran", false),
        (C::Sandbox, State::NotStarted, "no; it never ran", true),
        (C::Unpaused, State::NotStarted, "no; it never ran", false),
        (C::Required, State::NotStarted, "no; it never ran", false),
        (C::Recovered, State::NotStarted, "no; it never ran", false),
        (C::Copies, State::NotStarted, "no; it never ran", true),
        (C::Deadline, State::Expired, "no; it never ran", true),
        (C::Grant, State::Denied, "no; it never ran", true),
        (
            C::Allowed,
            State::Denied,
            "the policy has changed: no; it never ran",
            true,
        ),
        (C::Approver, State::Denied, "no; it never ran", false),
        (C::Looked, State::NotStarted, "no; it never ran", false),
        (C::Hashed, State::Denied, "no; it never ran", true),
        (C::Requester, State::Denied, "no; it never ran", true),
        (C::EarlierApprovers, State::Denied, "no; it never ran", true),
        (
            C::EarlierSignatures,
            State::Denied,
            "no; it never ran",
            true,
        ),
        (C::Files, State::Denied, "no; it never ran", true),
    ] {
        let unmet = Unmet {
            condition,
            refusal: refusal(),
        };
        assert_eq!(unmet.end(), (state, cause.to_owned()), "{condition:?}");
        assert_eq!(unmet.is_change(), is_change, "{condition:?}");
    }
}

/// The child of an approval that found this about the accounts.
fn about(uid: u32, name: &str, account: AccountState) -> MeasuredFiles {
    MeasuredFiles {
        people: People::fake(uid, name, account),
        ..MeasuredFiles::default()
    }
}

/// A change is for the other conditions: they void the request.
#[test]
fn what_could_not_be_looked_at_is_no_change() {
    let unknown = || AccountState::Unknown("EIO".into());
    let signatures = |signatures: SignaturesNow, signature: Option<Result<_, String>>| {
        Ok(MeasuredFiles {
            signature,
            signatures,
            ..MeasuredFiles::default()
        })
    };
    let (unread, bad) = (SignaturesNow::Unread("cannot use".into()), Err("no".into()));
    let request = Scene::new().approved_before(Subject::fake(64_002, "ann", Some(64_002)));
    let by = Subject::fake(64_003, "bob", Some(64_003));
    for (found, unseen) in [
        (Err(Unmeasured::Failed("late".into())), Some("late")),
        (Err(Unmeasured::Unbindable("gone".into())), None),
        (Ok(MeasuredFiles::default()), None),
        (
            Ok(about(64_001, "agent", unknown())),
            Some("cannot look up the account of agent: EIO"),
        ),
        (
            Ok(about(64_002, "ann", unknown())),
            Some("cannot look up the account of ann: EIO"),
        ),
        (
            Ok(about(64_003, "bob", unknown())),
            Some("cannot look up the account of bob: EIO"),
        ),
        (Ok(about(64_001, "agent", AccountState::NoAccount)), None),
        (Ok(about(64_002, "ann", AccountState::NoAccount)), None),
        (signatures(unread.clone(), None), Some("cannot use")),
        (signatures(unread, Some(bad)), None),
        (signatures(SignaturesNow::Lost("lost".into()), None), None),
    ] {
        let why = not_looked_at(&Check::Approving(&request, &by, &found));
        assert_eq!(why.as_deref(), unseen, "{found:?}");
    }
    // Before an approver is asked `Hashed` refuses it.
    let failed = Err(Unmeasured::Failed("late".into()));
    assert_eq!(
        not_looked_at(&Check::Examined(&request.draft, &failed)),
        None
    );
}

/// A plan without an answer about its people does not start. Its grant stays: perhaps they have lost nothing.
#[test]
fn turn_by_a_grant_needs_an_answer_about_each_of_its_people() {
    let state = std::env::temp_dir().join(format!("remit-looked-{}", std::process::id()));
    std::fs::create_dir_all(state.join("warden")).unwrap();
    let grants = Grants::open(&state).unwrap();
    let plan = Scene::new().plan();
    let unknown = AccountState::Unknown("EIO".into());
    for (found, why) in [
        (Err(Unmeasured::Failed("late".into())), "late"),
        (Err(Unmeasured::Unbindable("gone".into())), "gone"),
        (
            Ok(about(64_001, "agent", unknown)),
            "cannot look up the account of agent: EIO",
        ),
        (
            Ok(about(64_001, "agent", AccountState::NoAccount)),
            "the giver of its grant was not looked up",
        ),
    ] {
        let refusal = check_looked(&grants, &Check::LookedUp(&plan, &found)).unwrap_err();
        let expect = (Code::NotStarted, why);
        assert_eq!((refusal.code, refusal.message.as_str()), expect);
    }
    std::fs::remove_dir_all(state).unwrap();
}

#[test]
fn notification_is_bound_to_the_policy_in_force() {
    let scene = |argv: &str| {
        let text = format!(
            "[[command]]\nname = \"people.tell\"\nsummary = \"x\"\nargv = [\"{argv}\"]\neffect = \"change\"\n\
             profile = \"strict\"\nstdin = \"caller\"\n"
        );
        Scene::of(&text, &MachineTable::default())
    };
    let mut plan = scene("/usr/bin/cat").notification("people.tell");
    let now = scene("/usr/bin/tee");
    rebind_notification(&now.policy, &mut plan, &now.setting("of now")).unwrap();
    assert_eq!(plan.policy(), "of now");
    assert_eq!(plan.bound.argv[0].to_bytes(), b"/usr/bin/tee");
    let without = Scene::of("", &MachineTable::default());
    let refused = rebind_notification(&without.policy, &mut plan, &without.setting("later"));
    let refusal = refused.unwrap_err();
    let expect = (Code::NotStarted, "there is no command 'people.tell'");
    assert_eq!((refusal.code, refusal.message.as_str()), expect);
}
