//! What a profile's jobs see and reach, asked about texts. Pure: no path is looked up, no link is followed.

use remit_common::denial::Sight;

/// Directories of a machine that a sandbox of base strict shows only where its profile lists something in them.
const HIDDEN: [&str; 8] = [
    "/home", "/root", "/var", "/srv", "/opt", "/boot", "/mnt", "/media",
];

/// A profile, with questions.
#[derive(Clone, Copy, Debug)]
pub struct View<'a>(&'a Sight);

impl<'a> View<'a> {
    /// Of a profile; `None` without walls, where every refusal is the host's own.
    pub fn of(sight: &'a Sight) -> Option<Self> {
        (sight.base != "host").then_some(Self(sight))
    }

    /// Its name.
    pub fn profile(&self) -> &'a str {
        &self.0.profile
    }

    /// `read` or `strict`.
    pub fn base(&self) -> &'a str {
        &self.0.base
    }

    /// What it sees, beside the programs of the system.
    pub fn read(&self) -> &'a [String] {
        &self.0.read
    }

    /// What it changes on the host.
    pub fn write(&self) -> &'a [String] {
        &self.0.write
    }

    /// Directories of the job's own.
    pub fn private(&self) -> &'a [String] {
        &self.0.private
    }

    /// What it reaches by network.
    pub fn network(&self) -> &'a [String] {
        &self.0.network
    }

    /// Whether it may connect to a socket of this path.
    pub fn reaches(&self, socket: &str) -> bool {
        // /var/run is a link to /run everywhere.
        let same = |listed: &String| listed.strip_prefix("/var").unwrap_or(listed) == socket;
        self.0.sockets.iter().any(same)
    }

    /// Whether it may change what lies at a path, as far as paths tell.
    pub fn writes(&self, path: &str) -> bool {
        covers(self.write(), path) || covers(self.private(), path)
    }

    /// Whether a path lies in a directory of the job's own.
    pub fn is_private(&self, path: &str) -> bool {
        covers(self.private(), path)
    }

    /// Whether it is certain that the sandbox shows nothing at this path, whatever the machine has there.
    pub fn hides(&self, path: &str) -> bool {
        let seen =
            |list: &[String]| covers(list, path) || list.iter().any(|listed| lies_in(listed, path));
        let Sight {
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

/// Whether a path is `dir` or lies in it.
fn lies_in(path: &str, dir: &str) -> bool {
    path.strip_prefix(dir)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || dir.ends_with('/'))
}

/// Absolute and without a way up: what a text says of such a path is true of the path.
fn is_plain(path: &str) -> bool {
    path.starts_with('/') && !path.split('/').any(|part| part == "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_texts() {
        let list = |paths: &[&str]| paths.iter().map(ToString::to_string).collect::<Vec<_>>();
        let sight = Sight {
            profile: "git".into(),
            base: "strict".into(),
            read: list(&["/srv/git"]),
            write: list(&["/var/lib/x"]),
            private: list(&["/tmp"]),
            sockets: list(&["/var/run/docker.sock"]),
            network: list(&["none"]),
        };
        let view = View::of(&sight).unwrap();
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
        let host = Sight {
            base: "host".into(),
            ..sight
        };
        assert!(View::of(&host).is_none());
    }
}
