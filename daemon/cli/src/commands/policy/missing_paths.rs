//! Finds paths that profiles list and that cannot be shown now. Nothing runs in such a profile until they can.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use remit_policy::{Base, Diagnostic, Listed, Policy, Profile, Severity};
use remit_policy_files::Names;

/// Returns a warning for each path that a profile needs and that is missing or reached through a symbolic link.
/// Returns nothing if `names` describe another machine. It may wait for a disk. The daemon does not call this: a path
/// may come and go, and each start of a job checks for itself.
pub fn missing_paths(policy: &Policy, names: &Names) -> Vec<Diagnostic> {
    if names.are_of_other_host() {
        return Vec::new();
    }
    let mut found: BTreeMap<(&str, &str), String> = BTreeMap::new();
    for profile in policy
        .profiles()
        .filter(|profile| profile.base != Base::Host)
    {
        for listed in needed(profile) {
            if let Some(why) = cannot_be_shown(Path::new(&listed.path), listed.optional) {
                found.insert((&profile.name, &listed.path), why);
            }
        }
    }
    let warning = |((profile, path), why): ((&str, &str), String)| {
        let why = format!("'{path}', which profile '{profile}' lists, {why}");
        Diagnostic::whole(Severity::Warning, "policy", why)
    };
    found.into_iter().map(warning).collect()
}

fn needed(profile: &Profile) -> impl Iterator<Item = &Listed> {
    let Profile {
        read,
        write,
        exec,
        devices,
        sockets,
        ..
    } = profile;
    [read, write, exec, devices, sockets].into_iter().flatten()
}

fn cannot_be_shown(path: &Path, optional: bool) -> Option<String> {
    let link = path.ancestors().find(|part| part.is_symlink());
    if let Some(link) = link {
        let link = link.display();
        return Some(match path.canonicalize() {
            Ok(real) => format!(
                "goes through the symbolic link '{link}', and none is followed: list '{}'",
                real.display()
            ),
            Err(_) => format!("goes through the symbolic link '{link}', and none is followed"),
        });
    }
    match path.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound && !optional => Some(format!(
            "does not exist, and nothing runs in the profile until it does; write \"-{}\" if it may be missing",
            path.display()
        )),
        // Root may see what this caller may not.
        Ok(_) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use remit_policy::Source;

    use super::*;

    fn reported(text: &str, names: &Names) -> Vec<String> {
        let source = Source {
            name: "a.toml".into(),
            text: text.into(),
        };
        let (policy, _) = remit_policy_compile::load(&[source], names).unwrap();
        let found = missing_paths(&policy, names);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn missing_or_linked_paths_are_reported() {
        let dir = std::env::temp_dir().join(format!("remit-paths-{}", std::process::id()));
        fs::create_dir_all(dir.join("there")).unwrap();
        symlink("there", dir.join("link")).unwrap();
        symlink("nowhere", dir.join("loose")).unwrap();
        let dir = dir.canonicalize().unwrap();
        let at = dir.display();
        let text = format!(
            "[profile.a]\nbase = 'strict'\nread = ['{at}/there', '{at}/gone', '-{at}/lost', '-{at}/loose']\n\
             write = ['{at}/link']\n"
        );
        let listed =
            |path: &str| format!("policy: warning: '{at}/{path}', which profile 'a' lists,");
        assert_eq!(
            reported(&text, &Names::default()),
            [
                format!(
                    "{} does not exist, and nothing runs in the profile until it does; write \"-{at}/gone\" if it may be missing",
                    listed("gone")
                ),
                format!(
                    "{0} goes through the symbolic link '{at}/link', and none is followed: list \
                     '{at}/there'",
                    listed("link")
                ),
                format!(
                    "{0} goes through the symbolic link '{at}/loose', and none is followed",
                    listed("loose")
                ),
            ]
        );
        assert_eq!(
            reported(&text, &Names::of_other_machine(Vec::new())),
            Vec::<String>::new()
        );
        fs::remove_dir_all(&dir).unwrap();
    }
}
