//! Absolute paths of the machine as bytes. Nothing is looked up here.

use std::fmt;

use remit_common::text;

/// As the kernel's PATH_MAX.
const MOST: usize = 4096;
/// As the kernel's NAME_MAX.
const NAME_MOST: usize = 255;

/// Starts with a slash; has no empty part, no `.` and no NUL. `..` stays: what it means depends on links.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilePath(Vec<u8>);

impl FilePath {
    pub fn root() -> Self {
        Self(b"/".to_vec())
    }

    /// A path that this program itself names, which is plain.
    pub(crate) fn fixed(path: &str) -> Self {
        Self::new(path).unwrap_or_else(Self::root)
    }

    /// Returns `None` if it is not absolute, or no file can have it: it or a part of it is too long, or it has a NUL.
    pub fn new(bytes: impl AsRef<[u8]>) -> Option<Self> {
        let bytes = bytes.as_ref();
        if bytes.first() != Some(&b'/') || bytes.len() >= MOST || bytes.contains(&0) {
            return None;
        }
        let mut plain = Vec::with_capacity(bytes.len());
        for part in parts(bytes) {
            if part.len() > NAME_MOST {
                return None;
            }
            plain.push(b'/');
            plain.extend_from_slice(part);
        }
        match plain.is_empty() {
            true => Some(Self::root()),
            false => Some(Self(plain)),
        }
    }

    /// Returns `None` if the result, or a part of it, is too long. A `name` with a slash is several parts.
    pub fn join(&self, name: impl AsRef<[u8]>) -> Option<Self> {
        let name = name.as_ref();
        let is_part = !name.is_empty() && name != b"." && !name.contains(&b'/');
        let path = [self.0.as_slice(), b"/", name].concat();
        // A look at each part of a long path would look at all parts before it again.
        if !is_part || self.0 == b"/" {
            return Self::new(path);
        }
        let is_path = name.len() <= NAME_MOST && path.len() < MOST && !name.contains(&0);
        is_path.then_some(Self(path))
    }

    /// Returns the path of `text` if it is absolute, otherwise beneath this directory.
    pub fn resolve(&self, text: impl AsRef<[u8]>) -> Option<Self> {
        match text.as_ref().first() {
            Some(b'/') => Self::new(text),
            _ => self.join(text),
        }
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn parts(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        parts(&self.0)
    }

    /// The last part; empty for `/`.
    pub fn name(&self) -> &[u8] {
        self.parts().next_back().unwrap_or_default()
    }

    pub fn parent(&self) -> Option<Self> {
        let name = self.name();
        let before = self.0.len().checked_sub(name.len().checked_add(1)?)?;
        match (name.is_empty(), before) {
            (true, _) => None,
            (false, 0) => Some(Self::root()),
            (false, _) => Some(Self(self.0.get(..before)?.to_vec())),
        }
    }

    pub fn is_beneath(&self, directory: &Self) -> bool {
        let rest = self.0.strip_prefix(directory.0.as_slice());
        directory.0 == b"/" || rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
    }
}

fn parts(bytes: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    bytes
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
}

/// On one line, with control characters and invalid UTF-8 escaped.
impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::line(&self.0, MOST))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn path(text: &str) -> FilePath {
        FilePath::new(text).unwrap()
    }

    #[test]
    fn path_is_plain_and_has_parents() {
        assert_eq!(path("//a/./b//"), path("/a/b"));
        assert_eq!(path("/a/b").parent(), Some(path("/a")));
        assert_eq!(path("/a").parent(), Some(FilePath::root()));
        assert_eq!(path("//").parent(), None);
        assert_eq!(path("/a/b").name(), b"b");
        assert_eq!(FilePath::new("a/b"), None);
        assert_eq!(FilePath::new("/a\0"), None);
        assert_eq!(FilePath::new("/a".repeat(MOST / 2)), None);
        let long = |length: usize| "a".repeat(length);
        assert!(FilePath::root().resolve(long(NAME_MOST)).is_some());
        // A query of SQL among the words of a command is no file.
        assert_eq!(FilePath::root().resolve(long(NAME_MOST + 1)), None);
        assert_eq!(path("/a").resolve(format!("b/{}/c", long(300))), None);
    }

    #[test]
    fn beneath_means_whole_parts() {
        assert!(path("/a/b").is_beneath(&path("/a")));
        assert!(path("/a").is_beneath(&path("/a")));
        assert!(path("/a").is_beneath(&FilePath::root()));
        assert!(!path("/ab").is_beneath(&path("/a")));
    }

    #[test]
    fn hostile_name_is_escaped() {
        let shown = FilePath::new(b"/a\n\x1b[31m\xff").unwrap().to_string();
        assert!(shown.chars().all(|c| !c.is_control()), "{shown:?}");
    }
}
