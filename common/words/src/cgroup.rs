//! Units by the paths of control groups (systemd's CONTROL_GROUP_INTERFACE). Reads nothing of the machine.

use remit_common::builtin::UnitName;

/// Returns the unit in a path, and the unit of a user's own service manager. Slices are skipped: the first part after them
/// is the unit. The same rule applies again below `user@UID.service`. Nothing else is looked for below another group,
/// because a container names its groups as it likes.
#[must_use]
pub fn units_of(path: &str) -> (Option<&str>, Option<&str>) {
    let mut parts = path
        .split('/')
        .filter(|part| !part.is_empty())
        .map(unescape);
    let mut next = || {
        parts
            .find(|part| !part.ends_with(".slice"))
            .filter(|part| is_unit(part))
    };
    let unit = next();
    let user = unit
        .filter(|unit| unit.starts_with("user@"))
        .and_then(|_| next());
    (unit, user)
}

/// systemd prefixes `_` to a name that could collide with a file of the kernel.
fn unescape(part: &str) -> &str {
    part.strip_prefix('_').unwrap_or(part)
}

fn is_unit(name: &str) -> bool {
    const KINDS: [&str; 5] = ["service", "scope", "socket", "mount", "swap"];
    let unit = name.parse::<UnitName>();
    unit.is_ok_and(|unit| unit.as_str() == name && KINDS.contains(&unit.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_is_the_first_part_after_the_slices() {
        for (path, unit, user_unit) in [
            ("/system.slice/nginx.service", Some("nginx.service"), None),
            (
                "/system.slice/system-getty.slice/getty@tty1.service",
                Some("getty@tty1.service"),
                None,
            ),
            ("/system.slice/ssh.socket", Some("ssh.socket"), None),
            (
                "/system.slice/docker.service/sub/deeper",
                Some("docker.service"),
                None,
            ),
            (
                "/system.slice/my\\x2dapp.service",
                Some("my\\x2dapp.service"),
                None,
            ),
            ("/system.slice/_cpu.service", Some("cpu.service"), None),
            ("/init.scope", Some("init.scope"), None),
            (
                "/user.slice/user-1000.slice/session-3.scope",
                Some("session-3.scope"),
                None,
            ),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/web.service",
                Some("user@1000.service"),
                Some("web.service"),
            ),
            (
                "/user.slice/user-1000.slice/user@1000.service/init.scope",
                Some("user@1000.service"),
                Some("init.scope"),
            ),
            (
                "/user.slice/user-1000.slice/user@1000.service",
                Some("user@1000.service"),
                None,
            ),
            ("/lxc.payload.c1/system.slice/ssh.service", None, None),
            ("/docker/abc/system.slice/ssh.service", None, None),
            ("/docker/abc", None, None),
            ("/system.slice", None, None),
            ("/system.slice/a b.service", None, None),
            ("/plain/name", None, None),
            ("/.service", None, None),
            ("/", None, None),
            ("", None, None),
        ] {
            assert_eq!(units_of(path), (unit, user_unit), "{path}");
        }
    }

    proptest::proptest! {
        #[test]
        fn odd_paths_never_panic(path in "[/a-z@._-]{0,60}", odd in ".{0,80}") {
            let _ = (units_of(&path), units_of(&odd));
        }
    }
}
