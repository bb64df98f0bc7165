//! Policy files: any text is a policy or a list of findings that each name a place in it.
#![no_main]

use remit_policy::{Accounts, Severity, Source, load};

/// Every name of one letter exists.
struct OneLetter;

impl Accounts for OneLetter {
    fn uid(&self, user: &str) -> Option<u32> {
        id(user)
    }
    fn gid(&self, group: &str) -> Option<u32> {
        id(group)
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
            drop(policy);
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
