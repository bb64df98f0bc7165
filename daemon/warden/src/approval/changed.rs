//! What is not as it was when somebody was asked.

use remit_common::text;

use super::measure::{AsFound, FileFound, Found, Held};
use crate::peer::Subject;
use crate::people::People;
use crate::plan::Draft;
use crate::warden::Warden;

/// Of a path, on a line.
const PATH: usize = 256;

impl Warden {
    /// What is not as it was when a request was asked for: policy, requester or files.
    pub fn changed_since(
        &self,
        draft: &Draft,
        before: &AsFound,
        found: Result<Found, String>,
    ) -> Option<String> {
        if draft.policy() != self.policy.digest {
            return Some("the policy has changed".to_owned());
        }
        let found = match found {
            Ok(found) => found,
            Err(why) => return Some(why),
        };
        let Found {
            files,
            loose,
            people,
            does,
        } = found;
        self.lost_right(&draft.requester.subject, &people)
            .or_else(|| difference(&before.files, &files))
            .or_else(|| {
                let other = loose.iter().find(|one| !before.loose.contains(one));
                other.cloned()
            })
            .or_else(|| other_effect(&before.does, &does))
    }

    /// Why somebody may not ask any more what they asked, by the account that they have now.
    pub fn lost_right(&self, subject: &Subject, people: &People) -> Option<String> {
        let named = self.policy.policy.groups_named();
        people.has_lost(subject, named)
    }
}

/// The first difference between files as they were and as they are. Of what was copied, the copy stays.
fn difference(before: &[FileFound], now: &[FileFound]) -> Option<String> {
    let is_used = |file: &&FileFound| file.held != Held::Copied;
    let mut used = before.iter().filter(is_used);
    let changed = used.find(|file| !now.contains(file));
    let new = || now.iter().find(|file| !before.contains(file));
    changed.or_else(new).map(|file| {
        let path = text::line(file.measured.path.as_bytes(), PATH);
        format!("'{path}' has changed ({})", file.what)
    })
}

/// The first line of what it would do that is not as it was.
fn other_effect(before: &[String], now: &[String]) -> Option<String> {
    let gone = before.iter().find(|line| !now.contains(line));
    let new = || now.iter().find(|line| !before.contains(line));
    let (line, what) = match gone {
        Some(line) => (line, "is no longer so"),
        None => (new()?, "is new"),
    };
    let line = text::line(line.as_bytes(), PATH);
    Some(format!("what it would do has changed: '{line}' {what}"))
}

#[cfg(test)]
mod tests {
    use remit_confine::Measured;

    use super::*;

    fn file(path: &str, ino: u64) -> FileFound {
        FileFound {
            what: "program".to_owned(),
            held: Held::Checked,
            measured: Measured {
                path: std::ffi::CString::new(path).unwrap(),
                dev: 1,
                ino,
                ctime_ns: 2,
                size: 3,
                sha256: [4; 32],
            },
            real: c"/usr/bin/x".to_owned(),
        }
    }

    #[test]
    fn any_difference_of_files_is_named() {
        let before = [file("/bin/a", 1), file("/bin/b", 2)];
        assert_eq!(difference(&before, &before), None);
        for (now, path) in [
            (vec![file("/bin/a", 9), file("/bin/b", 2)], "/bin/a"),
            (vec![file("/bin/a", 1)], "/bin/b"),
            (vec![], "/bin/a"),
            (
                vec![file("/bin/a", 1), file("/bin/b", 2), file("/bin/c", 3)],
                "/bin/c",
            ),
        ] {
            let told = difference(&before, &now);
            assert_eq!(told, Some(format!("'{path}' has changed (program)")));
        }
    }

    #[test]
    fn any_difference_of_effects_is_named() {
        let lines = |lines: &[&str]| -> Vec<String> {
            lines.iter().map(|line| (*line).to_owned()).collect()
        };
        let before = lines(&["a", "b"]);
        assert_eq!(other_effect(&before, &before), None);
        let gone = other_effect(&before, &lines(&["a", "c"])).unwrap();
        assert!(gone.ends_with("'b' is no longer so"), "{gone}");
        let new = other_effect(&before, &lines(&["a", "b", "c"])).unwrap();
        assert!(new.ends_with("'c' is new"), "{new}");
    }
}
