//! Answers questions about a profile's permissions. Pure: paths are compared as text, links are not followed.

use remit_common::denial::ProfileVisibility;

/// Directories that base strict shows only if the profile lists a path in them.
const HIDDEN: [&str; 8] = [
    "/home", "/root", "/var", "/srv", "/opt", "/boot", "/mnt", "/media",
];

#[derive(Clone, Copy, Debug)]
pub struct View<'a>(&'a ProfileVisibility);

impl<'a> View<'a> {
    /// Returns `None` for base host: it has no sandbox, so refusals come from the host itself.
    pub fn of(visibility: &'a ProfileVisibility) -> Option<Self> {
        (visibility.base != "host").then_some(Self(visibility))
    }

    pub fn profile(&self) -> &'a str {
        &self.0.profile
    }

    pub fn base(&self) -> &'a str {
        &self.0.base
    }

    pub fn read(&self) -> &'a [String] {
        &self.0.read
    }

    pub fn write(&self) -> &'a [String] {
        &self.0.write
    }

    pub fn private(&self) -> &'a [String] {
        &self.0.private
    }

    pub fn network(&self) -> &'a [String] {
        &self.0.network
    }

    pub fn reaches(&self, socket: &str) -> bool {
        // /var/run is a link to /run on every system.
        let same = |listed: &String| listed.strip_prefix("/var").unwrap_or(listed) == socket;
        self.0.sockets.iter().any(same)
    }

    pub fn writes(&self, path: &str) -> bool {
        covers(self.write(), path) || covers(self.private(), path)
    }

    pub fn is_private(&self, path: &str) -> bool {
        covers(self.private(), path)
    }

    /// Returns true only if the sandbox certainly shows nothing at this path, whatever the host has there.
    pub fn hides(&self, path: &str) -> bool {
        let seen =
            |list: &[String]| covers(list, path) || list.iter().any(|listed| lies_in(listed, path));
        let ProfileVisibility {
            read,
            write,
            private,
            sockets,
            ..
        } = self.0;
        let named = HIDDEN.iter().any(|hidden| lies_in(path, hidden));
        self.base() == "strict"
            && is_plain(path)
            && named
            && ![read, write, private, sockets]
                .into_iter()
                .any(|list| seen(list))
    }
}

fn covers(list: &[String], path: &str) -> bool {
    is_plain(path) && list.iter().any(|listed| lies_in(path, listed))
}

fn lies_in(path: &str, dir: &str) -> bool {
    path.strip_prefix(dir)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || dir.ends_with('/'))
}

/// Absolute and without `..`, so that a comparison of texts is valid for the path.
fn is_plain(path: &str) -> bool {
    path.starts_with('/') && !path.split('/').any(|part| part == "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_texts() {
        let list = |paths: &[&str]| paths.iter().map(ToString::to_string).collect::<Vec<_>>();
        let visibility = ProfileVisibility {
            profile: "git".into(),
            base: "strict".into(),
            read: list(&["/srv/git"]),
            write: list(&["/var/lib/x"]),
            private: list(&["/tmp"]),
            sockets: list(&["/var/run/docker.sock"]),
            network: list(&["none"]),
        };
        let view = View::of(&visibility).unwrap();
        for (path, hides, writes) in [
            ("/srv/git/a", false, false),
            ("/srv", false, false),
            ("/srv/gitx", true, false),
            ("/home/alice/x", true, false),
            ("/homes", false, false),
            ("/etc/x", false, false),
            ("/var/lib/x/y", false, true),
            ("/var/lib/y", true, false),
            ("/tmp/../home/x", false, false),
            ("/tmp/x", false, true),
            ("home/x", false, false),
        ] {
            assert_eq!(
                (view.hides(path), view.writes(path)),
                (hides, writes),
                "{path}"
            );
        }
        assert!(view.reaches("/run/docker.sock") && !view.reaches("/run/x"));
        let host = ProfileVisibility {
            base: "host".into(),
            ..visibility
        };
        assert!(View::of(&host).is_none());
    }
}
