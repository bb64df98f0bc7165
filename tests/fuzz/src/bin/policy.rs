//! Policy files: any text is a policy that stays the same when printed and read again, or a list of findings.
//! Each finding names a position in the text.
#![no_main]

use remit_policy::{HostAddress, Ids, Machine, Program, Severity, Source};
use remit_policy_compile::{load, print};

/// Every name of one letter exists, and every program.
struct OneLetter;

impl Machine for OneLetter {
    fn user(&self, name: &str) -> Option<Ids> {
        id(name).map(|id| Ids { uid: id, gid: id })
    }

    fn group(&self, name: &str) -> Option<u32> {
        id(name)
    }

    fn groups_of(&self, user: &str) -> Vec<u32> {
        id(user).into_iter().collect()
    }

    fn members(&self, gid: u32) -> Vec<u32> {
        vec![gid]
    }

    fn last_uid(&self, user: &str) -> Option<u32> {
        (user.len() == 2).then_some(1)
    }

    fn last_gid(&self, group: &str) -> Option<u32> {
        (group.len() == 2).then_some(1)
    }

    fn addresses(&self, host: &str) -> Vec<HostAddress> {
        id(host)
            .map(|id| HostAddress::from(id.to_be_bytes()))
            .into_iter()
            .collect()
    }

    fn program(&self, _: &str) -> Program {
        Program::Trusted
    }

    fn protected(&self) -> Vec<String> {
        vec!["/etc/remit".into()]
    }
}

fn id(name: &str) -> Option<u32> {
    match name.as_bytes() {
        [letter @ b'a'..=b'z'] => Some(1000 + u32::from(*letter)),
        _ => None,
    }
}

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let source = Source {
        name: "fuzz.toml".to_owned(),
        text: text.to_vec(),
    };
    match load(&[source], &OneLetter) {
        Ok((policy, findings)) => {
            assert!(findings.iter().all(|f| f.severity() == Severity::Warning));
            let printed = print(&policy);
            let source = Source {
                name: "printed.toml".to_owned(),
                text: printed.clone().into_bytes(),
            };
            match load(&[source], &OneLetter) {
                Ok((again, _)) => assert_eq!(printed, print(&again)),
                Err(findings) => panic!("{printed}\n{}", findings[0]),
            }
        }
        Err(findings) => {
            assert!(findings.iter().any(|f| f.severity() == Severity::Error));
            let lines = 1 + text.iter().filter(|byte| **byte == b'\n').count();
            for finding in findings {
                let shown = finding.to_string();
                assert!(
                    !shown.contains(|c: char| c.is_control() && c != '\n'),
                    "{shown:?}"
                );
                assert!(
                    finding
                        .line()
                        .is_none_or(|line| (1..=lines).contains(&line)),
                    "{finding}"
                );
            }
        }
    }
});
