//! What the runs of a command gave, read from the files that `tests/everyday/each` keeps. Nothing is judged here.

use std::io;
use std::path::Path;

use crate::text::normal;

/// How `remit run` begins a note.
const NOTE: &str = "remit: note: ";

/// What one run of a command gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: String,
    pub stdout: String,
    pub stderr: String,
}

/// A command with its three answers. Root asks before and after the agent.
#[derive(Clone, Debug)]
pub struct Trial {
    pub command: String,
    pub root: Answer,
    pub remit: Answer,
    pub again: Answer,
}

impl Trial {
    /// # Errors
    /// A file of the directory that cannot be read, by its path.
    fn read(dir: &Path) -> io::Result<Self> {
        let text = |name: &str| {
            let path = dir.join(name);
            std::fs::read(&path)
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                .map_err(|error| {
                    io::Error::other(format!("cannot read '{}': {error}", path.display()))
                })
        };
        let answer = |who: &str| {
            Ok::<_, io::Error>(Answer {
                status: text(&format!("{who}.status"))?.trim().to_owned(),
                stdout: text(&format!("{who}.out"))?,
                stderr: text(&format!("{who}.err"))?,
            })
        };
        Ok(Self {
            command: text("command")?,
            root: answer("root")?,
            remit: answer("remit")?,
            again: answer("again")?,
        })
    }

    /// All commands of a run, in their order.
    ///
    /// # Errors
    /// As [`Trial::read`].
    pub fn read_all(results: &Path) -> io::Result<Vec<Self>> {
        let mut dirs: Vec<_> = std::fs::read_dir(results)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        dirs.sort();
        dirs.iter().map(|dir| Self::read(dir)).collect()
    }

    /// What the agent is told on stderr and root is not: the first note of remit's, else the program's own first line.
    pub fn sentence(&self) -> Option<&str> {
        let lines = self.remit.stderr.lines();
        let mut notes = lines.filter_map(|line| line.strip_prefix(NOTE));
        notes.next().or_else(|| self.reason())
    }

    /// The first line of the program itself that only the agent got on stderr.
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
    fn the_sentence_is_what_only_the_agent_is_told() {
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
