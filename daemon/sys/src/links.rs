//! Follows the symbolic links of a path by hand: only links that nobody but root can change.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Most links of a path, as the kernel has it (path_resolution(7)).
const MOST: usize = 40;

#[derive(Debug, PartialEq, Eq)]
pub enum Followed {
    /// The path has no link.
    Plain,
    /// Where it leads, without a link. The last parts may be missing.
    To(PathBuf),
    /// This link is not followed: others can change it, or it is one too many.
    Not(PathBuf),
}

/// Follows the links of an absolute path. `asks`: this path may be looked at; beneath one that may not, no link is followed.
/// `trusts`: nobody but root can change what is in this directory, which has no link in its path.
pub fn follow(
    path: &Path,
    asks: impl Fn(&Path) -> bool,
    trusts: impl Fn(&Path) -> bool,
) -> Followed {
    let (mut real, mut count, mut is_asked) = (PathBuf::from("/"), 0, true);
    let mut rest = parts(path);
    while let Some(part) = rest.pop() {
        if part == ".." {
            real.pop();
            continue;
        }
        let above = real.clone();
        real.push(part);
        is_asked &= asks(&real);
        let found = is_asked.then(|| fs::symlink_metadata(&real).ok()).flatten();
        let Some(link) = found.filter(fs::Metadata::is_symlink) else {
            continue;
        };
        let is_roots = link.uid() == 0 && above.ancestors().all(&trusts);
        let to = fs::read_link(&real).ok();
        let Some(to) = to.filter(|_| is_roots && count < MOST) else {
            return Followed::Not(real);
        };
        count += 1;
        real = if to.is_absolute() { "/".into() } else { above };
        rest.extend(parts(&to));
    }
    match count {
        0 => Followed::Plain,
        _ => Followed::To(real),
    }
}

/// Returns the parts of a path, the last one first.
fn parts(path: &Path) -> Vec<OsString> {
    let is_part =
        |part: &Component<'_>| matches!(part, Component::Normal(_) | Component::ParentDir);
    let all = path.components().rev().filter(is_part);
    all.map(|part| part.as_os_str().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{lchown, symlink};

    #[test]
    fn links_are_followed_where_only_root_can_change_them() {
        let dir = std::env::temp_dir().join(format!("remit-links-{}", std::process::id()));
        let dir = fs::create_dir_all(dir.join("a/b")).and_then(|()| dir.canonicalize());
        let dir = dir.unwrap();
        let at = |name: &str| dir.join(name);
        for (name, to) in [
            ("rel", "a/b"),
            ("abs", at("a").to_str().unwrap()),
            ("loose", "a/missing/../x"),
            ("a/up", "../rel"),
            ("chain", "abs/up"),
            ("loop", "loop"),
            ("users", "a"),
            ("a/b/deep", "../../a"),
        ] {
            symlink(to, at(name)).unwrap();
        }
        lchown(at("users"), Some(1), None).unwrap();
        let to = |name: &str| Followed::To(at(name));
        let not = |name: &str| Followed::Not(at(name));
        for (path, want) in [
            ("a/b", Followed::Plain),
            ("missing/x", Followed::Plain),
            ("rel", to("a/b")),
            ("abs/b/x/y", to("a/b/x/y")),
            ("loose", to("a/x")),
            ("chain", to("a/b")),
            ("loop", not("loop")),
            ("users/b", not("users")),
            // The link itself is in a directory that is not trusted.
            ("a/b/deep", not("a/b/deep")),
            ("rel/deep", not("a/b/deep")),
        ] {
            let trusts = |dir: &Path| dir != at("a/b");
            assert_eq!(follow(&at(path), |_| true, trusts), want, "{path}");
        }
        // What may hang is not asked, nor what is beneath it.
        let asks = |path: &Path| path != at("a");
        assert_eq!(follow(&at("a/up"), asks, |_| true), Followed::Plain);
        assert_eq!(follow(&at("abs/up"), asks, |_| true), to("a/up"));
        fs::remove_dir_all(&dir).unwrap();
    }
}
