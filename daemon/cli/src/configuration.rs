//! Whether the daemon takes configuration and policy as they are now: it is asked itself, by
//! `remitd --check` (remitd(8)). Nothing is read or judged here.

use crate::program::Program;

/// The daemon.
pub const REMITD: &str = "/usr/libexec/remit/remitd";

/// What the daemon says.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// It would start.
    Taken {
        /// The good news, such as `policy DIGEST`.
        policy: String,
        /// Somebody should look.
        warnings: Vec<Finding>,
    },
    /// It would not start, and a reload changes nothing; at least one error.
    Refused {
        errors: Vec<Finding>,
        warnings: Vec<Finding>,
    },
}

/// What it found in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The place and a sentence, in one line.
    pub what: String,
    /// What to do about it, where it says so.
    pub help: Option<String>,
}

/// Asks. Needs root, who alone may read all of it.
///
/// # Errors
/// Why it cannot be asked.
pub fn ask() -> Result<Answer, String> {
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

/// The last line is the good news, those before it are warnings.
fn taken(said: &str) -> Answer {
    let (warnings, good) = said.trim_end().rsplit_once('\n').unwrap_or(("", said));
    let good = good.trim_end();
    // "… are right; policy DIGEST".
    let (_, policy) = good.rsplit_once("; ").unwrap_or(("", good));
    Answer::Taken {
        policy: policy.to_owned(),
        warnings: findings(warnings),
    }
}

fn refused(said: &str, status: &str) -> Answer {
    // An error of another kind than those of files has no such word.
    let (warnings, mut errors): (Vec<_>, Vec<_>) = findings(said)
        .into_iter()
        .partition(|finding| finding.what.contains(": warning: "));
    if errors.is_empty() {
        errors.push(Finding {
            what: format!("'{REMITD} --check' failed ({status})"),
            help: None,
        });
    }
    Answer::Refused { errors, warnings }
}

/// One for each line that is not indented; below it stand the place, underlined, and after a `=`
/// what to do.
fn findings(said: &str) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    for line in said.lines() {
        let line = line.strip_prefix("remitd: ").unwrap_or(line);
        match (line.starts_with(' '), found.last_mut()) {
            (true, Some(last)) => {
                if let Some(help) = line.trim_start().strip_prefix("= ") {
                    last.help = Some(help.to_owned());
                }
            }
            (_, _) => found.push(Finding {
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

    fn finding(what: &str, help: Option<&str>) -> Finding {
        Finding {
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
        let expect = Answer::Taken {
            policy: "policy abc".into(),
            warnings: vec![
                finding("/p/10.toml:1:18: warning: there is no user 'x'", None),
                finding("/p/90.conf: warning: it is not read", Some("rename it")),
            ],
        };
        assert_eq!(taken(said), expect);
        let none = Answer::Taken {
            policy: "policy abc".into(),
            warnings: Vec::new(),
        };
        assert_eq!(taken("all right; policy abc\n"), none);
    }

    #[test]
    fn errors_stand_apart_from_warnings_and_without_the_name_of_the_daemon() {
        let said = "remitd: /p/10.toml:1:18: warning: there is no user 'x'\n\
            remitd:   1 | grant = 1\n\
            remitd: /p/20.toml:3:7: error: there is no user 'y', so this denial would hit nobody\n\
            remitd:   3 | to = [\"y\"]\nremitd:     |       ^^^\nremitd:     = create it\n";
        let expect = Answer::Refused {
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
        let Answer::Refused { errors, .. } = refused("", "signal: 9") else {
            panic!("it is refused");
        };
        assert!(errors[0].what.contains("signal: 9"), "{errors:?}");
    }
}
