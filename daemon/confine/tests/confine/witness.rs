//! The witness: all walls hold here; with one switched off it says so.

use super::common::*;
use remit_confine::*;

fn ask(sandbox: &Sandbox) -> Result<Vec<Finding>> {
    let keeper = keeper();
    let uid = uid();
    let mut at_work = witness(sandbox, None, &keeper, uid, uid)?;
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
