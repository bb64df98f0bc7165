//! Files that models name: paths strictly below one directory of the user.
//!
//! **Invariant:** each part of a path is opened by its name in the directory before it, and no link is followed.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::directory::{Directory, Made};
use super::local::{Existing, Part};
use super::outgoing::Outgoing;
use crate::host_name::HostName;

const PARTS: usize = 16;
const PART: usize = 255;

/// A path below the directory, with no part that leads elsewhere or is hidden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Below(Vec<OsString>);

impl Below {
    /// Reads a path of one part or more.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('/').collect();
        match parts.len() <= PARTS && parts.iter().copied().all(is_plain) {
            true => Ok(Self(parts.into_iter().map(OsString::from).collect())),
            false => Err(
                "a path here is relative, of at most 16 names, none hidden, and without '..'"
                    .to_owned(),
            ),
        }
    }

    /// Opens a file that is sent.
    pub fn outgoing(&self, root: &Path) -> Result<Outgoing, String> {
        let (name, above) = self.0.split_last().ok_or("a path has a name")?;
        let mut dir = Directory::open(root)?;
        for part in above {
            dir = dir.child(part)?;
        }
        let file = dir.file(name)?;
        Outgoing::named(super::shown(&dir.path_of(name)), file)
    }
}

/// Neither hidden, nor with a character that a terminal does not show as itself.
fn is_plain(name: &str) -> bool {
    let is_shown = |c| c != '\n' && remit_common::text::is_plain(c);
    (1..=PART).contains(&name.len()) && !name.starts_with('.') && name.chars().all(is_shown)
}

/// Begins a file of a host, in a directory of the host's name.
pub fn incoming(
    root: &Path,
    to: Option<&Below>,
    host: &HostName,
    name: &OsStr,
) -> Result<Part, String> {
    if !name.to_str().is_some_and(is_plain) {
        return Err(
            "the file would be hidden here, or its name is not plain text; a person may fetch it with 'remit-fleet get'"
                .to_owned(),
        );
    }
    let mut dir = Directory::open(root)?;
    let parts = to.map(|to| to.0.as_slice()).unwrap_or_default();
    for part in parts {
        // It may stay empty: other hosts write there, too.
        dir.make(part)?;
        dir = dir.child(part)?;
    }
    let made = Made::child(dir, OsStr::new(host.as_str()))?;
    let existing = Existing::Stays("files are not replaced: give another 'to'");
    Part::within(made, name.to_owned(), existing)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::symlink;

    use remit_tests::test_dir::TestDir;

    use super::*;

    #[test]
    fn path_stays_below() {
        for text in ["a", "a/b c", "-a/b..c"] {
            assert!(Below::parse(text).is_ok(), "{text}");
        }
        for text in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "a/..",
            "a/../b",
            "./a",
            "a//b",
            "a/",
            ".ssh/x",
            "a/.b",
            "a\nb",
            "a\u{202e}b",
            "a\0",
            &"a/".repeat(17),
            &"a".repeat(256),
        ] {
            assert!(Below::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn no_link_is_followed() {
        let (root, other) = (TestDir::new(), TestDir::new());
        let at = |name: &str| root.path().join(name);
        fs::create_dir(at("dir")).unwrap();
        fs::write(at("dir/file"), "text").unwrap();
        fs::write(other.path().join("secret"), "secret").unwrap();
        symlink(other.path(), at("out")).unwrap();
        symlink("dir/file", at("link")).unwrap();
        nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let read = |path: &str| Below::parse(path).unwrap().outgoing(root.path());
        assert_eq!(read("dir/file").unwrap().upload.size, 4);
        for (path, expect) in [
            ("out/secret", "out' is no directory"),
            ("link", "link' is no regular file"),
            ("fifo", "fifo' is no regular file"),
            ("dir", "dir' is no regular file"),
            ("dir/file/x", "file' is no directory"),
            ("nothing", "No such file"),
        ] {
            let why = read(path).unwrap_err();
            assert!(why.contains(expect), "{path}: {why}");
        }
        let host: HostName = "web1".parse().unwrap();
        let write = |to: Option<&str>, name: &str| {
            let to = to.map(|to| Below::parse(to).unwrap());
            let mut part = incoming(root.path(), to.as_ref(), &host, OsStr::new(name))?;
            part.write_all(b"new").unwrap();
            part.keep()
        };
        assert_eq!(write(None, "a"), Ok(at("web1/a")));
        assert_eq!(write(Some("x/y"), "a"), Ok(at("x/y/web1/a")));
        for name in [".bashrc", "a\nb", "a\u{202e}b", &"a".repeat(256)] {
            let why = write(None, name).unwrap_err();
            assert!(why.starts_with("the file would be hidden"), "{name}: {why}");
        }
        symlink(other.path(), at("dir/web1")).unwrap();
        for (to, expect) in [
            (None, "is there; files are not replaced: give another 'to'"),
            (Some("out"), "out' is no directory"),
            (Some("out/x"), "out' is no directory"),
            (Some("link"), "link' is no directory"),
            (Some("dir"), "web1' is no directory"),
        ] {
            let why = write(to, "a").unwrap_err();
            assert!(why.ends_with(expect), "{to:?}: {why}");
        }
        let others = fs::read_dir(other.path()).unwrap().count();
        assert_eq!(others, 1, "nothing came out of the directory");
    }
}
