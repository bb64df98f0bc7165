//! Checks if the daemon accepts the configuration and the policy of the files, and if it has them in force.

use nix::unistd::geteuid;
use remit_common::admin::Status;

use super::report::{Check, or_ok};
use crate::client::admin_socket::{self, ConfigAnswer, ConfigFinding, REMITD};

const NAME: &str = "configuration and policy";

/// `status`: that of the daemon, if it is known.
pub fn checks(status: Option<&Status>) -> Vec<Check> {
    let found = status.map_or_else(Vec::new, not_in_force);
    let in_force = status.map(|status| (status.policy.as_str(), status.policy_texts.as_str()));
    let answer = admin_socket::check_configuration();
    judge(for_user(answer, geteuid().is_root()), in_force, found)
}

/// Another user than root may be unable to read a file that the daemon reads.
fn for_user(answer: Result<ConfigAnswer, String>, is_root: bool) -> Result<ConfigAnswer, String> {
    match answer {
        Ok(ConfigAnswer::Refused { .. }) if !is_root => {
            Err("only root can check this: sudo remit doctor".to_owned())
        }
        answer => answer,
    }
}

fn not_in_force(status: &Status) -> Vec<Check> {
    let error = status.policy_error.as_ref().map(|error| {
        let first = error.lines().next().unwrap_or_default();
        let why = format!("the old policy is in force, because the new one was refused: {first}");
        Check::warning(NAME, why, "remit policy check, then: remit policy reload")
    });
    let keys = status.needs_restart.join(", ");
    let restart = (!keys.is_empty()).then(|| {
        let why = format!("changed in remit.toml, and not in force: {keys}");
        Check::warning(NAME, why, "systemctl restart remitd")
    });
    error.into_iter().chain(restart).collect()
}

/// `in_force`: the digests of the policy in force, and of its texts. `found`: what is known already.
fn judge(
    answer: Result<ConfigAnswer, String>,
    in_force: Option<(&str, &str)>,
    mut found: Vec<Check>,
) -> Vec<Check> {
    match answer {
        Err(why) => {
            found.push(Check::skipped(NAME, why));
            found
        }
        Ok(ConfigAnswer::Taken {
            policy: files,
            texts,
            warnings,
        }) => {
            let other = in_force.filter(|(policy, _)| *policy != files);
            found.extend(other.map(|(policy, loaded)| match loaded == texts {
                true => {
                    let why = format!(
                        "users, groups or hosts that policy {policy} names have other ids, members or addresses since it was loaded; the files are the same"
                    );
                    Check::warning(NAME, why, "remit policy reload")
                }
                false => {
                    let why =
                        format!("policy {policy} is in force, and the files have policy {files}");
                    Check::failure(NAME, why, "remit policy reload")
                }
            }));
            found.extend(warning_checks(warnings));
            let unknown = match in_force {
                Some(_) => "",
                None => " of the files; which one is in force is not known",
            };
            or_ok(found, NAME, format!("policy {files}{unknown}"))
        }
        Ok(ConfigAnswer::Refused { errors, warnings }) => {
            let errors = errors.into_iter().map(|ConfigFinding { what, help }| {
                let why = format!("the daemon refuses it and would not start again: {what}");
                let help = help.unwrap_or_else(|| "correct it".into());
                let fix = format!("{help}; look with: {REMITD} --check, then: remit policy reload");
                Check::failure(NAME, why, fix)
            });
            found.extend(errors.chain(warning_checks(warnings)));
            found
        }
    }
}

fn warning_checks(warnings: Vec<ConfigFinding>) -> impl Iterator<Item = Check> {
    warnings.into_iter().map(|ConfigFinding { what, help }| {
        let help = help.unwrap_or_else(|| "correct it".into());
        Check::warning(NAME, what, format!("{help}, then: remit policy reload"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::report::whys;

    #[test]
    fn policy_that_is_not_in_force_is_a_failure() {
        let files = || {
            Ok(ConfigAnswer::Taken {
                policy: "ab".into(),
                texts: "12".into(),
                warnings: Vec::new(),
            })
        };
        let expect = ["failure: policy cd is in force, and the files have policy ab"];
        assert_eq!(
            whys(&judge(files(), Some(("cd", "34")), Vec::new())),
            expect
        );
        let expect = [
            "warning: users, groups or hosts that policy cd names have other ids, members or addresses since it was loaded; the files are the same",
        ];
        assert_eq!(
            whys(&judge(files(), Some(("cd", "12")), Vec::new())),
            expect
        );
        let same = judge(files(), Some(("ab", "12")), Vec::new());
        assert_eq!(same, [Check::ok(NAME, "policy ab")]);
        let unknown = "policy ab of the files; which one is in force is not known";
        let found = judge(files(), None, Vec::new());
        assert_eq!(found, [Check::ok(NAME, unknown)]);
        let refused = || ConfigAnswer::Refused {
            errors: vec![ConfigFinding {
                what: "/etc/remit/policy.d/60.toml: error: Permission denied".into(),
                help: None,
            }],
            warnings: Vec::new(),
        };
        for (is_root, is_failure) in [(true, true), (false, false)] {
            let found = judge(for_user(Ok(refused()), is_root), None, Vec::new());
            assert_eq!(found.len(), 1);
            assert_eq!(!whys(&found).is_empty(), is_failure, "{found:?}");
            let passed = for_user(files(), is_root);
            assert_eq!(passed, files());
        }
        let stale = Check::warning(NAME, "changed", "restart");
        let found = judge(files(), Some(("ab", "12")), vec![stale.clone()]);
        assert_eq!(found, [stale]);
    }
}
