//! Reads the results of a command from the files that `tests/everyday/each` writes. Judges nothing.

use std::io;
use std::path::Path;

use crate::text::normal;

const NOTE: &str = "remit: note: ";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: String,
    pub stdout: String,
    pub stderr: String,
}

/// A command with three answers. Root runs it before and after the agent.
#[derive(Clone, Debug)]
pub struct Trial {
    pub command: String,
    pub root: Answer,
    pub remit: Answer,
    pub again: Answer,
}

impl Trial {
    fn read(dir: &Path) -> io::Result<Self> {
        let text = |name: &str| {
            let path = dir.join(name);
            std::fs::read(&path)
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                .map_err(|error| {
                    io::Error::other(format!("cannot read '{}': {error}", path.display()))
                })
        };
        let answer = |run_name: &str| {
            Ok::<_, io::Error>(Answer {
                status: text(&format!("{run_name}.status"))?.trim().to_owned(),
                stdout: text(&format!("{run_name}.out"))?,
                stderr: text(&format!("{run_name}.err"))?,
            })
        };
        Ok(Self {
            command: text("command")?,
            root: answer("root")?,
            remit: answer("remit")?,
            again: answer("again")?,
        })
    }

    /// Reads all commands of a run in order. An error names the file.
    pub fn read_all(results: &Path) -> io::Result<Vec<Self>> {
        let mut dirs: Vec<_> = std::fs::read_dir(results)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        dirs.sort();
        dirs.iter().map(|dir| Self::read(dir)).collect()
    }

    /// Returns what only the agent sees on stderr: the first note of remit, otherwise the program's own first line.
    pub fn sentence(&self) -> Option<&str> {
        let lines = self.remit.stderr.lines();
        let mut notes = lines.filter_map(|line| line.strip_prefix(NOTE));
        notes.next().or_else(|| self.reason())
    }

    /// Returns the first stderr line of the program itself that only the agent got.
    pub fn reason(&self) -> Option<&str> {
        let known = normal(&format!("{}\n{}", self.root.stderr, self.again.stderr));
        self.remit.stderr.lines().find(|line| {
            let own = !line.starts_with(NOTE) && !line.trim().is_empty();
            own && !known.lines().any(|one| one == normal(line))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentence_is_last_line_only_agent_got() {
        let answer = |stderr: &str| Answer {
            status: "0".into(),
            stdout: String::new(),
            stderr: stderr.into(),
        };
        for (remit, expect) in [
            ("", None),
            ("warning 2\n", None),
            ("warning 2\nno\n", Some("no")),
            ("no\nremit: note: why\n", Some("why")),
        ] {
            let trial = Trial {
                command: String::new(),
                root: answer("warning 1\n"),
                remit: answer(remit),
                again: answer(""),
            };
            assert_eq!(trial.sentence(), expect, "{remit:?}");
            let reason = remit.contains("no\n").then_some("no");
            assert_eq!(trial.reason(), reason, "{remit:?}");
        }
    }
}
