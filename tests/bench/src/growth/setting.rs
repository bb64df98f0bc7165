//! Sizes of the compared daemons: a small one, and one that is large in a single dimension.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use remit_common::caps;

use crate::Failure;
use crate::args::Args;
use crate::setting::Setting;
use crate::stage::CLIENTS;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub rules: usize,
    pub commands: usize,
    pub paths: usize,
    pub mounts: usize,
}

pub const SMALL: Size = Size {
    rules: 10,
    commands: 5,
    paths: 4,
    mounts: 0,
};
/// The maximum that a policy may list.
pub const PATHS: usize = caps::PROFILE_PATHS;
/// The first job uid. Each daemon has its own range, because none may take another's job for its own.
const UIDS: u32 = 1_879_048_192;
const UIDS_EACH: u32 = 65_536;
pub const LISTED: &str = "bench.listed";
pub const PLAIN: &str = "bench.plain";

impl Size {
    /// Builds the setting of a daemon. `number` is unique per daemon of a run and at least 1.
    pub fn setting(self, args: &Args, name: &'static str, number: u32) -> Result<Setting, Failure> {
        let shown = args.stage.join(format!("{name}.shown"));
        for at in 0..self.paths {
            fs::create_dir_all(shown.join(at.to_string()))?;
        }
        Ok(Setting {
            name,
            toml: jobs(number),
            policy: self.policy(&shown)?,
            mounts: self.mounts,
            ..Setting::default()
        })
    }

    /// Writes the rules. One more grant, for `run`, is in a drop-in of every daemon.
    fn policy(self, shown: &Path) -> Result<String, Failure> {
        let mut text = String::new();
        let paths: Vec<_> = (0..self.paths)
            .map(|at| shown.join(at.to_string()))
            .collect();
        writeln!(
            text,
            "[profile.listed]\nbase = \"strict\"\nread = {paths:?}"
        )?;
        for at in 0..self.commands {
            // The measured command is neither the first nor the last.
            let (name, profile) = match at {
                1 => (LISTED.to_owned(), "listed"),
                2 => (PLAIN.to_owned(), "read"),
                _ => {
                    let (family, member) = family(at);
                    (format!("svc{family}.do{member}"), "strict")
                }
            };
            writeln!(
                text,
                "[[command]]\nname = \"{name}\"\nsummary = \"number {at}\"\nargv = [\"/usr/bin/true\"]\neffect = \"read\"\nprofile = \"{profile}\""
            )?;
        }
        let denials = self.rules / 5;
        for at in 0..denials {
            let (family, member) = family(3 + at % (self.commands - 3));
            writeln!(
                text,
                "[[deny]]\nto = [\"%#{CLIENTS}\"]\ndeny = [\"svc{family}.do{member}\"]"
            )?;
        }
        // The grant of `run` already exists, and the last grant is the one that decides here.
        for at in 2..self.rules - denials {
            let (family, _) = family(at % self.commands);
            writeln!(
                text,
                "[[grant]]\nto = [\"%#{CLIENTS}\"]\nallow = [\"svc{family}.*\"]"
            )?;
        }
        writeln!(
            text,
            "[[grant]]\nto = [\"%#{CLIENTS}\"]\nallow = [\"{PLAIN}\", \"{LISTED}\"]"
        )?;
        Ok(text)
    }
}

/// Groups commands in families of ten, which a pattern can match.
fn family(command: usize) -> (usize, usize) {
    (command / 10, command % 10)
}

pub fn jobs(number: u32) -> String {
    format!(
        "[jobs]\nuid_first = {}\nuid_count = {UIDS_EACH}\nmax = 1024\nmax_per_user = 1024\n",
        UIDS + UIDS_EACH * number
    )
}

#[cfg(test)]
mod tests {
    use remit_common::wire::Effect;
    use remit_policy::{Ask, CallerIds, MachineTable, Source, Verdict};
    use remit_policy_compile::load;

    use super::*;

    #[test]
    fn generated_policy_has_requested_size_and_allows_command() {
        let large = Size {
            rules: 2000,
            commands: 500,
            paths: PATHS,
            ..SMALL
        };
        for size in [SMALL, large] {
            let text = size
                .policy(Path::new("/var/lib/bench"))
                .expect("a string takes it");
            let source = Source {
                name: "bench.toml".into(),
                text: text.into_bytes(),
            };
            let (policy, _) = load(&[source], &MachineTable::default()).expect("it loads");
            assert_eq!(policy.rules() + 1, size.rules);
            assert_eq!(policy.commands().count(), size.commands);
            for name in [LISTED, PLAIN] {
                let ask = Ask::Command {
                    name,
                    effect: Effect::Read,
                    args: &[],
                };
                let caller = CallerIds {
                    uid: 400_000,
                    gids: &[CLIENTS],
                };
                let verdict = policy.decide(caller, &ask);
                assert!(matches!(verdict, Verdict::Allow(_)), "{name}: {verdict:?}");
            }
        }
    }
}
