//! The witness: all walls hold here; with one switched off it says so.

use super::common::*;
use remit_confine::*;

fn ask(sandbox: &Sandbox) -> Result<Vec<Finding>> {
    let keeper = keeper();
    let uid = uid();
    let mut at_work = witness(sandbox, &keeper, uid, uid)?;
    let findings = loop {
        wait_readable(at_work.fd());
        match at_work.read() {
            Ok(None) => {}
            Ok(Some(findings)) => break Ok(findings),
            Err(e) => break Err(e),
        }
    };
    end(keeper);
    findings
}

#[test]
fn every_wall_holds() {
    let findings = ask(&sandbox()).unwrap();
    for finding in &findings {
        assert!(finding.held, "{}: {}", finding.wall.name(), finding.detail);
    }
    for wall in Wall::ALL {
        // Its effect cannot be seen behind the filter: the step stands for it.
        let told = findings.iter().any(|f| f.wall == wall) || wall == Wall::Keyring;
        assert!(told, "nothing was tried for {}", wall.name());
    }
}

/// As on kernels that have none: the step is absent, all other walls stand.
#[test]
fn without_landlock_everything_else_holds() {
    let mut kernel = Kernel::probe().unwrap();
    kernel.landlock_abi = 0;
    let sandbox = Sandbox::read(&profile(), &kernel).unwrap();
    for finding in ask(&sandbox).unwrap() {
        assert!(finding.held, "{}: {}", finding.wall.name(), finding.detail);
        assert!(!matches!(
            finding.wall,
            Wall::Landlock | Wall::LandlockScope
        ));
    }
    let keeper = keeper();
    let ran = run_in(&sandbox, &keeper, &["true"], &With::default());
    let Progress::Executed(done) = &ran.progress else {
        panic!("{ran:?}")
    };
    assert!(!done.contains(&Step::Landlock));
    end(keeper);
}

#[cfg(feature = "mutate")]
#[test]
fn a_missing_wall_is_seen() {
    let kernel = Kernel::probe().unwrap();
    for wall in Wall::ALL.into_iter().filter(|w| *w != Wall::Keyring) {
        let sandbox = Sandbox::without(&profile(), &kernel, wall).unwrap();
        match ask(&sandbox) {
            // The filter cannot even be installed.
            Err(e) => assert_eq!(wall, Wall::NoNewPrivs, "{e}"),
            Ok(findings) => {
                let broken: Vec<_> = findings.iter().filter(|f| !f.held).collect();
                assert!(
                    broken.iter().any(|f| f.wall == wall),
                    "{} is not missed: {broken:?}",
                    wall.name()
                );
                println!("{}: {broken:#?}", wall.name());
            }
        }
    }
}
