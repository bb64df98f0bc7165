//! Runs `remitd --check` (remitd(8)) to learn if the daemon accepts configuration and policy. Only the daemon reads
//! and judges the files; this module does not.

use crate::external_program::Program;

pub const REMITD: &str = "/usr/libexec/remit/remitd";

#[derive(Debug, PartialEq, Eq)]
pub enum ConfigAnswer {
    Taken {
        /// The last line of stdout, such as `policy DIGEST`.
        policy: String,
        warnings: Vec<ConfigFinding>,
    },
    /// The daemon would not start, and a reload would change nothing. `errors` is never empty.
    Refused {
        errors: Vec<ConfigFinding>,
        warnings: Vec<ConfigFinding>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFinding {
    /// One line: position in a file and a sentence.
    pub what: String,
    pub help: Option<String>,
}

/// Runs the check. Needs root, because only root can read all files. Fails if `remitd` is missing or cannot be run.
pub fn ask() -> Result<ConfigAnswer, String> {
    let remitd = Program::find(&[REMITD]).ok_or_else(|| format!("there is no '{REMITD}'"))?;
    let output = remitd
        .run(&["--check"])
        .map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(taken(&text(&output.stdout))),
        false => Ok(refused(&text(&output.stderr), &output.status.to_string())),
    }
}

/// Parses stdout of a successful check: warnings, then a last line "… are right; policy DIGEST".
fn taken(said: &str) -> ConfigAnswer {
    let (warnings, good) = said.trim_end().rsplit_once('\n').unwrap_or(("", said));
    let good = good.trim_end();
    let (_, policy) = good.rsplit_once("; ").unwrap_or(("", good));
    ConfigAnswer::Taken {
        policy: policy.to_owned(),
        warnings: findings(warnings),
    }
}

fn refused(said: &str, status: &str) -> ConfigAnswer {
    // Errors outside the files have no severity word, so every line without ": warning: " is an error.
    let (warnings, mut errors): (Vec<_>, Vec<_>) = findings(said)
        .into_iter()
        .partition(|finding| finding.what.contains(": warning: "));
    if errors.is_empty() {
        errors.push(ConfigFinding {
            what: format!("'{REMITD} --check' failed ({status})"),
            help: None,
        });
    }
    ConfigAnswer::Refused { errors, warnings }
}

/// Returns one finding for each line that is not indented. Indented lines show the position, and after `=` the help.
fn findings(said: &str) -> Vec<ConfigFinding> {
    let mut found: Vec<ConfigFinding> = Vec::new();
    for line in said.lines() {
        let line = line.strip_prefix("remitd: ").unwrap_or(line);
        match (line.starts_with(' '), found.last_mut()) {
            (true, Some(last)) => {
                if let Some(help) = line.trim_start().strip_prefix("= ") {
                    last.help = Some(help.to_owned());
                }
            }
            (_, _) => found.push(ConfigFinding {
                what: line.trim().to_owned(),
                help: None,
            }),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(what: &str, help: Option<&str>) -> ConfigFinding {
        ConfigFinding {
            what: what.into(),
            help: help.map(Into::into),
        }
    }

    #[test]
    fn a_warning_of_several_lines_is_one() {
        let said = "/p/10.toml:1:18: warning: there is no user 'x'\n\
            \x20 1 | grant = [{ to = [\"x\"] }]\n    |                  ^^^\n\
            /p/90.conf: warning: it is not read\n  = rename it\n\
            configuration and policy are right; policy abc\n";
        let expect = ConfigAnswer::Taken {
            policy: "policy abc".into(),
            warnings: vec![
                finding("/p/10.toml:1:18: warning: there is no user 'x'", None),
                finding("/p/90.conf: warning: it is not read", Some("rename it")),
            ],
        };
        assert_eq!(taken(said), expect);
        let none = ConfigAnswer::Taken {
            policy: "policy abc".into(),
            warnings: Vec::new(),
        };
        assert_eq!(taken("all right; policy abc\n"), none);
    }

    #[test]
    fn errors_are_split_from_warnings_without_daemon_name() {
        let said = "remitd: /p/10.toml:1:18: warning: there is no user 'x'\n\
            remitd:   1 | grant = 1\n\
            remitd: /p/20.toml:3:7: error: there is no user 'y', so this denial would hit nobody\n\
            remitd:   3 | to = [\"y\"]\nremitd:     |       ^^^\nremitd:     = create it\n";
        let expect = ConfigAnswer::Refused {
            errors: vec![finding(
                "/p/20.toml:3:7: error: there is no user 'y', so this denial would hit nobody",
                Some("create it"),
            )],
            warnings: vec![finding(
                "/p/10.toml:1:18: warning: there is no user 'x'",
                None,
            )],
        };
        assert_eq!(refused(said, "x"), expect);
    }

    #[test]
    fn a_refusal_without_a_word_is_still_one() {
        let ConfigAnswer::Refused { errors, .. } = refused("", "signal: 9") else {
            panic!("it is refused");
        };
        assert!(errors[0].what.contains("signal: 9"), "{errors:?}");
    }
}
