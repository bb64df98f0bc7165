//! The path of an entry: absolute, without links by its form, bounded.

use std::fmt;

use remit_common::escape;
use serde::{Deserialize, Serialize};

use crate::{NAME_BYTES, PATH_BYTES, PATH_DEPTH};

/// An absolute path that is not `/` and has no `.`, no `..`, no empty part and no NUL.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct PlanPath(Vec<u8>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    NotAbsolute,
    Root,
    Part,
    Nul,
    Long,
    Deep,
    LongName,
    Reserved,
}

/// Beginning of names that `remit-commit` uses.
const RESERVED: &[u8] = b".remit-";

impl PlanPath {
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, PathError> {
        let bytes = bytes.into();
        let rest = bytes.strip_prefix(b"/").ok_or(PathError::NotAbsolute)?;
        let parts = || rest.split(|byte| *byte == b'/');
        match () {
            () if rest.is_empty() => Err(PathError::Root),
            () if bytes.len() > PATH_BYTES => Err(PathError::Long),
            () if bytes.contains(&0) => Err(PathError::Nul),
            () if parts().any(|part| [&b""[..], b".", b".."].contains(&part)) => {
                Err(PathError::Part)
            }
            () if parts().any(|part| part.len() > NAME_BYTES) => Err(PathError::LongName),
            () if parts().any(|part| part.starts_with(RESERVED)) => Err(PathError::Reserved),
            () if parts().count() > PATH_DEPTH => Err(PathError::Deep),
            () => Ok(Self(bytes)),
        }
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the directory; `/` for a name in it.
    #[must_use]
    pub fn parent(&self) -> &[u8] {
        match self.split() {
            ([], _) => b"/",
            (parent, _) => parent,
        }
    }

    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.split().1
    }

    /// Returns true beneath a directory of systemd: the service manager compares the times of units with what it has read.
    #[must_use]
    pub fn is_of_units(&self) -> bool {
        let mut parts = self.parent().split(|byte| *byte == b'/');
        parts.any(|part| part == b"systemd")
    }

    /// The same, also of what generators make units of.
    #[must_use]
    pub fn is_compared_by_time(&self) -> bool {
        self.is_of_units() || crate::deciding::makes_units(self)
    }

    fn split(&self) -> (&[u8], &[u8]) {
        let slash = self.0.iter().rposition(|byte| *byte == b'/');
        let at = slash.unwrap_or_default();
        let name = self.0.get(at.saturating_add(1)..).unwrap_or_default();
        (self.0.get(..at).unwrap_or_default(), name)
    }

    /// Returns the directories above, the nearest first, without `/`.
    pub fn ancestors(&self) -> impl Iterator<Item = &[u8]> {
        let slashes = self.0.iter().enumerate().skip(1).rev();
        slashes
            .filter(|(_, byte)| **byte == b'/')
            .map(|(at, _)| self.0.get(..at).unwrap_or_default())
    }

    /// Returns the path of its first parts.
    pub(crate) fn first_parts(&self, parts: usize) -> Self {
        let mut slashes = (0..self.0.len()).filter(|at| self.0.get(*at) == Some(&b'/'));
        let end = slashes.nth(parts).unwrap_or(self.0.len());
        Self(self.0.get(..end).unwrap_or_default().to_vec())
    }

    /// Returns true if this path is `dir` or lies beneath it.
    #[must_use]
    pub fn is_in(&self, dir: &[u8]) -> bool {
        let rest = self.0.strip_prefix(dir);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    }

    /// Returns the path with the lowest byte for `/`: sorted by it, what lies beneath a directory comes next to it.
    pub(crate) fn tree_key(&self) -> Vec<u8> {
        // A path has no NUL.
        let lowest = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
        self.0.iter().map(lowest).collect()
    }

    /// Returns true if sshd reads keys or hosts from it, as far as its name says.
    #[must_use]
    pub fn holds_login_keys(&self) -> bool {
        let is_one =
            |part: &[u8]| [&b".ssh"[..], b".shosts", b".rhosts", b".k5login"].contains(&part);
        let mut parts = self.as_bytes().split(|byte| *byte == b'/');
        self.name().starts_with(b"authorized_keys") || parts.any(is_one)
    }
}

/// Returns true if the path of this key lies beneath that of the other one.
pub fn is_beneath(key: &[u8], directory: &[u8]) -> bool {
    let rest = key.strip_prefix(directory);
    rest.is_some_and(|rest| rest.starts_with(&[0]))
}

/// Returns, for each of the paths, the position of the nearest one above it. No ancestor is looked up: a stranger chooses how
/// many there are.
pub fn nearest_above<'a>(paths: impl Iterator<Item = &'a PlanPath>) -> Vec<Option<usize>> {
    let mut sorted: Vec<(Vec<u8>, usize)> = paths.map(PlanPath::tree_key).zip(0..).collect();
    sorted.sort();
    let mut found = vec![None; sorted.len()];
    let mut above: Vec<(&[u8], usize)> = Vec::new();
    for (key, at) in &sorted {
        let is_other = |(parent, _): &mut (&[u8], usize)| !is_beneath(key, parent);
        while above.pop_if(is_other).is_some() {}
        if let Some(found) = found.get_mut(*at) {
            *found = above.last().map(|(_, parent)| *parent);
        }
        above.push((key, *at));
    }
    found
}

impl TryFrom<Vec<u8>> for PlanPath {
    type Error = PathError;

    fn try_from(bytes: Vec<u8>) -> Result<Self, PathError> {
        Self::new(bytes)
    }
}

impl From<PlanPath> for Vec<u8> {
    fn from(path: PlanPath) -> Self {
        path.0
    }
}

impl fmt::Display for PlanPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape::start(&self.0, usize::MAX).0)
    }
}

impl fmt::Debug for PlanPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{self}'")
    }
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAbsolute => f.write_str("the path does not begin with '/'"),
            Self::Root => f.write_str("'/' itself cannot be changed"),
            Self::Part => f.write_str("the path has '.', '..' or an empty part; write it without"),
            Self::Nul => f.write_str("the path has a NUL byte"),
            Self::Long => write!(f, "the path is longer than {PATH_BYTES} bytes"),
            Self::Deep => write!(f, "the path has more than {PATH_DEPTH} parts"),
            Self::LongName => write!(f, "the path has a name of more than {NAME_BYTES} bytes"),
            Self::Reserved => f.write_str("names that begin with '.remit-' are remit's own"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_absolute_paths_are_paths() {
        let deep = |parts: usize| "/a".repeat(parts);
        for (text, expect) in [
            ("/etc/hosts".to_owned(), None),
            (format!("/{}", "n".repeat(255)), None),
            (deep(64), None),
            (String::new(), Some(PathError::NotAbsolute)),
            ("etc".to_owned(), Some(PathError::NotAbsolute)),
            ("/".to_owned(), Some(PathError::Root)),
            ("/a/".to_owned(), Some(PathError::Part)),
            ("//a".to_owned(), Some(PathError::Part)),
            ("/a/./b".to_owned(), Some(PathError::Part)),
            ("/a/..".to_owned(), Some(PathError::Part)),
            ("/a\0".to_owned(), Some(PathError::Nul)),
            (format!("/{}", "n".repeat(256)), Some(PathError::LongName)),
            (deep(65), Some(PathError::Deep)),
            ("/a".repeat(2048), Some(PathError::Long)),
            ("/etc/.remit-1/0".to_owned(), Some(PathError::Reserved)),
        ] {
            assert_eq!(PlanPath::new(text.clone()).err(), expect, "{text}");
        }
    }

    #[test]
    fn parts_of_a_path_are_found() {
        let path = PlanPath::new("/etc/nginx/a b\n").unwrap();
        assert_eq!(
            (path.parent(), path.name()),
            (&b"/etc/nginx"[..], &b"a b\n"[..])
        );
        let above: Vec<_> = path.ancestors().collect();
        assert_eq!(above, [&b"/etc/nginx"[..], b"/etc"]);
        assert!(path.is_in(b"/etc/nginx") && path.is_in(b"/etc/nginx/a b\n"));
        assert!(!path.is_in(b"/etc/ng") && !path.is_in(b"/etc/nginx/a"));
        assert_eq!(PlanPath::new("/etc").unwrap().parent(), b"/");
        assert_eq!(path.to_string(), "/etc/nginx/a b\\n");
    }

    #[test]
    fn nearest_path_above_is_found_among_names_that_begin_the_same() {
        let paths = [
            "/a", "/a!", "/a!/b", "/a-/b", "/a/b/c", "/a/b/c/d", "/a/b/d", "/ab", "/c/d",
        ];
        let paths = paths.map(|path| PlanPath::new(path).unwrap());
        let expect = [
            None,
            None,
            Some(1),
            None,
            Some(0),
            Some(4),
            Some(0),
            None,
            None,
        ];
        assert_eq!(nearest_above(paths.iter()), expect);
    }
}
