//! The maximum runtime of a job, and the setting that it comes from.

use std::fmt;

use remit_common::refusal::{Code, Refusal};
use remit_policy::{Command, Profile};

use crate::config::JobLimits;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// Seconds from the start of the job; at least 1.
    pub seconds: u32,
    /// As long as it would be if the caller asked for none.
    usual: u32,
    source: RuntimeSource,
}

/// The setting to change for a longer runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
enum RuntimeSource {
    Caller,
    Command(String),
    Profile(String),
    Default,
    /// `limits.max_runtime_s`: the bound for all jobs applies.
    Most,
}

impl RuntimeSource {
    fn in_words(&self) -> String {
        match self {
            Self::Caller => "limit of this call".to_owned(),
            Self::Command(name) => format!("limit of command '{name}'"),
            Self::Profile(name) => format!("limit of profile '{name}'"),
            Self::Default => "limits.runtime_s of remit.toml".to_owned(),
            Self::Most => "limits.max_runtime_s of remit.toml".to_owned(),
        }
    }
}

impl Runtime {
    /// Applies the command's limit before the profile's. Neither exceeds `limits.max_runtime_s`. A caller may ask for less.
    /// Errors: `invalid_args`: the caller asks for 0 seconds, or for more than the limit.
    pub fn new(
        asked: Option<u32>,
        all: &JobLimits,
        profile: &Profile,
        command: Option<&Command>,
    ) -> Result<Self, Refusal> {
        let of_command = command.and_then(|command| {
            let seconds = command.limits.runtime_s?;
            Some((seconds, RuntimeSource::Command(command.name.clone())))
        });
        let of_profile = || {
            let seconds = profile.limits.runtime_s?;
            Some((seconds, RuntimeSource::Profile(profile.name.clone())))
        };
        let own = of_command.or_else(of_profile);
        let default = match own {
            Some(_) => None,
            None => Some((all.runtime_s, RuntimeSource::Default)),
        };
        let (most, source) = own
            .filter(|(seconds, _)| *seconds <= all.max_runtime_s)
            .unwrap_or((all.max_runtime_s, RuntimeSource::Most));
        let usual = default.as_ref().map_or(most, |(seconds, _)| *seconds);
        let (seconds, source) = match (asked, default) {
            (None, Some(default)) => default,
            (Some(seconds), _) if !(1..=most).contains(&seconds) => {
                let text = format!(
                    "a time limit of {seconds} s was asked for, but it must be 1 s to {most} s ({})",
                    source.in_words()
                );
                let refusal = Refusal::new(Code::InvalidArgs, text).object("max_runtime_s");
                return Err(refusal.next("ask for another time, or leave it out"));
            }
            (Some(seconds), _) if seconds < most => (seconds, RuntimeSource::Caller),
            (Some(_), _) | (None, None) => (most, source),
        };
        Ok(Self {
            seconds,
            usual,
            source,
        })
    }

    pub fn source(&self) -> String {
        self.source.in_words()
    }

    /// Returns the usual seconds if the caller asked for another number.
    pub fn other_than(&self) -> Option<u32> {
        (self.seconds != self.usual).then_some(self.usual)
    }
}

/// Example: `30 s (limit of command 'nginx.test')`.
impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s ({})", self.seconds, self.source())
    }
}

#[cfg(test)]
mod tests {
    use remit_policy::{MachineTable, Policy, Source as File};

    use super::*;

    fn policy() -> Policy {
        let text = "
            [profile.short]
            base = 'strict'
            limits = { runtime = '20s' }
            [profile.long]
            base = 'strict'
            limits = { runtime = '2h' }
            [[command]]
            name = 'a.own'
            summary = 'x'
            argv = ['/usr/bin/true']
            effect = 'read'
            profile = 'short'
            limits = { runtime = '30s' }
            [[command]]
            name = 'a.none'
            summary = 'x'
            argv = ['/usr/bin/true']
            effect = 'read'
            profile = 'short'
            [[command]]
            name = 'a.long'
            summary = 'x'
            argv = ['/usr/bin/true']
            effect = 'read'
            profile = 'long'";
        let file = File {
            name: "a.toml".into(),
            text: text.as_bytes().to_vec(),
        };
        remit_policy_compile::load(&[file], &MachineTable::default())
            .unwrap()
            .0
    }

    #[test]
    fn runtime_names_source_of_its_limit() {
        let (policy, all) = (policy(), JobLimits::default());
        let profile = |name: &str| policy.profiles().find(|known| known.name == name).unwrap();
        let check = |command: Option<&str>, other: &str, asked, expect: &str| {
            let command = command.map(|name| policy.command(name).unwrap());
            let profile = command.map_or_else(|| profile(other), |command| &command.profile);
            let command = command.map(AsRef::as_ref);
            let display = match Runtime::new(asked, &all, profile, command) {
                Ok(runtime) => runtime.to_string(),
                Err(refusal) => {
                    let next = "ask for another time, or leave it out";
                    assert_eq!(refusal.next.as_deref(), Some(next), "{asked:?}");
                    refusal.message
                }
            };
            assert_eq!(display, expect, "{command:?} {other} {asked:?}");
        };
        let default = "300 s (limits.runtime_s of remit.toml)";
        check(None, "read", None, default);
        check(None, "read", Some(300), "300 s (limit of this call)");
        let most = "3600 s (limits.max_runtime_s of remit.toml)";
        check(None, "read", Some(3600), most);
        let of_command = "30 s (limit of command 'a.own')";
        check(Some("a.own"), "", None, of_command);
        check(Some("a.own"), "", Some(30), of_command);
        check(Some("a.own"), "", Some(29), "29 s (limit of this call)");
        let refused = "a time limit of 31 s was asked for, but it must be 1 s to 30 s (limit of command 'a.own')";
        check(Some("a.own"), "", Some(31), refused);
        let of_profile = "20 s (limit of profile 'short')";
        check(Some("a.none"), "", None, of_profile);
        check(None, "short", None, of_profile);
        let refused = "a time limit of 0 s was asked for, but it must be 1 s to 20 s (limit of profile 'short')";
        check(None, "short", Some(0), refused);
        let refused = format!(
            "a time limit of {} s was asked for, but it must be 1 s to {most}",
            u32::MAX
        );
        check(None, "long", Some(u32::MAX), &refused);
        // A limit above `limits.max_runtime_s` is not reported as the cause.
        check(Some("a.long"), "", None, most);
        check(None, "long", Some(60), "60 s (limit of this call)");
    }
    #[test]
    fn runtime_that_the_caller_chose_has_a_usual_one() {
        let (policy, all) = (policy(), JobLimits::default());
        let read = policy.profile("read").unwrap();
        let usual = |asked| Runtime::new(asked, &all, read, None).unwrap().other_than();
        assert_eq!([None, Some(300)].map(usual), [None; 2]);
        assert_eq!([1, 3600].map(|asked| usual(Some(asked))), [Some(300); 2]);
    }
}
