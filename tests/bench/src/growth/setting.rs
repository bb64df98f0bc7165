//! The daemons that are compared: a small one, and for each thing that can grow one where it is large.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use remit_common::caps;

use crate::Failure;
use crate::args::Args;
use crate::setting::Setting;
use crate::stage::CLIENTS;

/// How large everything is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Grants and denials, all of them about the caller's group.
    pub rules: usize,
    /// Named commands.
    pub commands: usize,
    /// Paths that the `strict` profile of the command `listed` lists.
    pub paths: usize,
    /// Mounts beside those of the machine.
    pub mounts: usize,
}

/// What everything is compared with.
pub const SMALL: Size = Size {
    rules: 10,
    commands: 5,
    paths: 4,
    mounts: 0,
};
/// As `large` as a policy may list them.
pub const PATHS: usize = caps::PROFILE_PATHS;
/// The first of the uids of jobs: each daemon has uids of its own, since none may see a job of another as its own.
const UIDS: u32 = 1_879_048_192;
const UIDS_EACH: u32 = 65_536;
/// The command whose profile lists the paths.
pub const LISTED: &str = "bench.listed";
/// A command in the profile `read`.
pub const PLAIN: &str = "bench.plain";

impl Size {
    /// A daemon like that. `number` is another one for each daemon of a run, 1 and above.
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

    /// One grant of `run` stands in the drop-in of every daemon; the others come here.
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
            // The command that is asked for is neither the first nor the last.
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
        // That of `run` is there already, and the one that decides here is the last.
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

/// Commands come in families of ten, of which a pattern can speak.
fn family(command: usize) -> (usize, usize) {
    (command / 10, command % 10)
}

/// As many jobs at once as there may be, and uids of its own.
pub fn jobs(number: u32) -> String {
    format!(
        "[jobs]\nuid_first = {}\nuid_count = {UIDS_EACH}\nmax = 1024\nmax_per_user = 1024\n",
        UIDS + UIDS_EACH * number
    )
}

#[cfg(test)]
mod tests {
    use remit_common::wire::Effect;
    use remit_policy::{Ask, MachineTable, Source, Verdict, Who, load};

    use super::*;

    #[test]
    fn a_policy_has_the_size_it_is_asked_for_and_allows_what_is_measured() {
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
            // The grant of `run` stands in another file.
            assert_eq!(policy.rules() + 1, size.rules);
            assert_eq!(policy.commands().count(), size.commands);
            for name in [LISTED, PLAIN] {
                let ask = Ask::Command {
                    name,
                    effect: Effect::Read,
                    args: &[],
                };
                let who = Who {
                    uid: 400_000,
                    gids: &[CLIENTS],
                };
                let verdict = policy.decide(who, &ask);
                assert!(matches!(verdict, Verdict::Allow(_)), "{name}: {verdict:?}");
            }
        }
    }
}
