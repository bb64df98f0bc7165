use std::time::Instant;

use remit_common::caps;

use super::*;
use crate::approval::fixture::Scene;
use crate::job::state::Parked;

pub fn ended(number: u64) -> JobMeta {
    JobMeta {
        then: Vec::new(),
        has_secrets: false,
        job: JobId(u128::from(number).to_le_bytes()),
        owner: owner(),
        command: "true".into(),
        waiting: None,
        number,
        started_ms: 0,
        age_ms: 0,
        waited_ms: 0,
        enforced: None,
        ending: None,
    }
}

fn owner() -> Owner {
    Owner {
        uid: 1000,
        user: "alice".into(),
    }
}

#[test]
fn request_names_newest_job_after_older_is_forgotten() {
    let mut jobs = Jobs::default();
    let request = || Some(("once".to_owned(), [7; 32]));
    let known = |jobs: &Jobs| jobs.same_request(owner(), Some(("once", [7; 32]))).unwrap();
    assert!(jobs.remember(ended(1), request()).is_none());
    assert!(jobs.remember(ended(2), request()).is_none());
    let newest = ended(2).job;
    assert_eq!(known(&jobs), Some(newest));
    let last = caps::ENDED_PER_UID as u64 + 1;
    let forget = |jobs: &mut Jobs, number| jobs.remember(ended(number), None);
    for number in 3..last {
        assert!(forget(&mut jobs, number).is_none());
    }
    assert_eq!(forget(&mut jobs, last), Some(ended(1).job));
    assert_eq!(known(&jobs), Some(newest));
    assert_eq!(forget(&mut jobs, last + 1), Some(newest));
    assert_eq!(known(&jobs), None);
}

fn parked(scene: &Scene, uid: u32) -> Parked {
    let mut plan = Box::new(scene.plan());
    plan.requester.subject = Subject::fake(uid, "someone", None);
    let since = Instant::now();
    Parked { since, plan }
}

#[test]
fn slot_is_counted_while_its_state_is_in_the_table() {
    let (scene, mut jobs) = (Scene::new(), Jobs::default());
    for (serial, uid) in [(1, 1000), (2, 1000), (3, 1001)] {
        jobs.insert(serial, parked(&scene, uid));
    }
    assert_eq!(
        [1000, 1001, 1002].map(|uid| jobs.slots(uid)),
        [(3, 2), (3, 1), (3, 0)]
    );
    assert!(jobs.take::<Waiting>(1).is_none());
    assert!(jobs.take::<Parked>(4).is_none());
    assert_eq!((jobs.slots(1000), jobs.slots(1001)), ((3, 2), (3, 1)));

    let Parked { plan, .. } = jobs.take(1).unwrap();
    assert!(jobs.take::<Parked>(1).is_none());
    assert_eq!((jobs.slots(1000), jobs.slots(1001)), ((2, 1), (2, 1)));
    jobs.queue(Waiting::new(plan, 0));
    assert_eq!((jobs.slots(1000), jobs.slots(1001)), ((2, 1), (2, 1)));
    assert!(jobs.next_turn(|_, _| true).is_some());
    assert_eq!((jobs.slots(1000), jobs.slots(1001)), ((2, 1), (2, 1)));

    assert!(jobs.take::<Parked>(2).is_some() && jobs.take::<Parked>(3).is_some());
    assert_eq!((jobs.slots(1000), jobs.slots(1001)), ((0, 0), (0, 0)));
    assert!(jobs.own_slots.is_empty());
}
