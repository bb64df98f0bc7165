//! One job from fork to end.
#![allow(missing_docs)]

mod common;
use common::*;
use remit_confine::*;

#[test]
fn a_program_runs_with_every_step_done() {
    let ran = run(&["true"], &With::default());
    let Progress::Executed(done) = &ran.progress else {
        panic!("{ran:?}")
    };
    for step in Step::ALL {
        let optional = matches!(step, Step::Cgroup | Step::Loginuid | Step::Exec);
        assert!(
            optional || done.contains(&step),
            "{}: {done:?}",
            step.name()
        );
    }
    assert_eq!(ran.code(), Some(0));
    assert!(ran.usage.maxrss_bytes > 0);
}

#[test]
fn output_and_status_come_back() {
    let ran = sh("echo out; echo err >&2; echo dev > /dev/stderr; exit 7");
    assert_eq!(
        (ran.out.as_str(), ran.err.as_str(), ran.code()),
        ("out\n", "err\ndev\n", Some(7))
    );
    assert_eq!(sh("kill -9 $$").signal(), Some(9));
}
