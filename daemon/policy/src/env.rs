//! The environment of a job, built from nothing.
//!
//! Left out on purpose:
//! - `COLUMNS`: it cuts lines of output.
//! - `APT_CONFIG`: it can only name a file. apt needs none for looking: `-s`
//!   takes no lock (apt-get(8)), nor do `apt list` and `apt-cache`.
//! - `SHELL`, `MAIL`, `SSH_*`, `XDG_*`: they speak of a login, a job has none.

use std::ffi::CString;

use remit_common::caps;
use remit_common::refusal::Refusal;

use crate::decide::Grant;
use crate::diagnostic::quoted;
use crate::request::{malformed, no_nul, within};
use crate::variables::{check_value, never_permitted};

/// Where programs are looked up, in this order. The job's `PATH` is these.
pub const PATH_DIRS: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// Variables of every job in `read`, besides `PATH`.
const READ: [(&str, &str); 16] = [
    ("LANG", "C.UTF-8"),
    ("TERM", "dumb"),
    ("USER", "remit-job"),
    ("LOGNAME", "remit-job"),
    ("HOME", "/tmp/home"),
    ("TMPDIR", "/tmp"),
    // No pager: nobody is there to turn a page.
    ("PAGER", "cat"),
    ("GIT_PAGER", "cat"),
    ("MANPAGER", "cat"),
    ("SYSTEMD_PAGER", "cat"),
    ("NO_COLOR", "1"),
    // git status would otherwise try to write the index (git(1)).
    ("GIT_OPTIONAL_LOCKS", "0"),
    // git refuses repositories of other owners, and here all are others'
    // (git-config(1), safe.directory; the environment counts as command scope).
    ("GIT_CONFIG_COUNT", "1"),
    ("GIT_CONFIG_KEY_0", "safe.directory"),
    ("GIT_CONFIG_VALUE_0", "*"),
    ("DEBIAN_FRONTEND", "noninteractive"),
];

/// The whole environment of a job that `grant` permits, as `NAME=value`: the
/// profile's own variables, with those of `extra`, which the caller asked for,
/// in their place or after them. Each name is there once.
///
/// # Errors
/// `invalid_args` for a name that the grant does not list, that comes twice, or
/// a NUL in a value; `too_large` over [`caps::ENV_COUNT`] variables or over
/// [`caps::ENV_ELEMENT`] bytes in one, with `=` and its final NUL.
pub fn environment(grant: &Grant, extra: &[(Vec<u8>, Vec<u8>)]) -> Result<Vec<CString>, Refusal> {
    let mut variables = vec![("PATH".to_owned(), PATH_DIRS.join(":").into_bytes())];
    variables.extend(READ.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec())));

    within("env", extra.len(), caps::ENV_COUNT, "variables")?;
    let mut seen: Vec<&str> = Vec::new();
    for (name, value) in extra {
        let Some(name) = permitted(grant, name) else {
            let shown = quoted(name);
            let message = format!("the grant does not let a caller set the variable {shown}");
            return Err(malformed(shown, message));
        };
        if seen.contains(&name) {
            return Err(malformed(
                name,
                format!("the variable '{name}' is set twice"),
            ));
        }
        seen.push(name);
        no_nul(name, value)?;
        check_value(name, value)?;
        let size = name.len() + value.len() + 2;
        within(name, size, caps::ENV_ELEMENT, "bytes as a variable")?;
        match variables.iter_mut().find(|(own, _)| own == name) {
            Some((_, own)) => own.clone_from(value),
            None => variables.push((name.to_owned(), value.clone())),
        }
    }
    let strings = variables.into_iter().map(|(name, value)| {
        CString::new([name.as_bytes(), b"=", &value].concat())
            .map_err(|_| malformed(name.as_str(), format!("the variable '{name}' has a NUL")))
    });
    strings.collect()
}

/// The name as the grant lists it. A name that can never be permitted is in
/// no grant; asking again costs nothing.
fn permitted<'a>(grant: &'a Grant, name: &[u8]) -> Option<&'a str> {
    let listed = grant
        .env()
        .iter()
        .find(|listed| listed.as_bytes() == name)?;
    never_permitted(listed).is_none().then_some(listed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use remit_common::refusal::Code;

    fn built(env: &[&str], extra: &[(&str, &str)]) -> Result<Vec<String>, Refusal> {
        let grant = Grant::fake(env);
        let bytes = |text: &str| text.as_bytes().to_vec();
        let extra: Vec<_> = extra.iter().map(|(n, v)| (bytes(n), bytes(v))).collect();
        let built = environment(&grant, &extra)?;
        Ok(built
            .into_iter()
            .map(|entry| entry.into_string().unwrap())
            .collect())
    }

    #[test]
    fn without_extras_it_is_exactly_this() {
        let expect = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
            LANG=C.UTF-8 TERM=dumb USER=remit-job LOGNAME=remit-job HOME=/tmp/home TMPDIR=/tmp \
            PAGER=cat GIT_PAGER=cat MANPAGER=cat SYSTEMD_PAGER=cat NO_COLOR=1 \
            GIT_OPTIONAL_LOCKS=0 GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory \
            GIT_CONFIG_VALUE_0=* DEBIAN_FRONTEND=noninteractive";
        assert_eq!(built(&[], &[]).unwrap().join(" "), expect);
    }

    #[test]
    fn a_listed_variable_replaces_or_follows() {
        let found = built(&["LANG", "TZ"], &[("TZ", "UTC"), ("LANG", "de_DE.UTF-8")]).unwrap();
        let langs: Vec<_> = found
            .iter()
            .filter(|entry| entry.starts_with("LANG="))
            .collect();
        assert_eq!(langs, ["LANG=de_DE.UTF-8"]);
        assert_eq!(found.last().unwrap(), "TZ=UTC");
    }

    #[test]
    fn other_variables_are_refused() {
        let check = |env: &[&str], extra: &[(&str, &str)], expect: Option<Code>| {
            let code = built(env, extra).err().map(|refusal| refusal.code);
            assert_eq!(code, expect, "{extra:?}");
        };
        let bad = Some(Code::InvalidArgs);
        check(&["TZ"], &[("TZ", "")], None);
        check(&["TZ"], &[("LC_ALL", "C")], bad);
        check(&["TZ"], &[("tz", "C")], bad);
        check(&["TZ"], &[("TZ=A", "C")], bad);
        check(&["TZ"], &[("", "C")], bad);
        check(&["TZ"], &[("TZ", "a\0b")], bad);
        check(&["TZ"], &[("TZ", "A"), ("TZ", "B")], bad);
        check(&["TZ"], &[("TZ", "Europe/Berlin")], None);
        check(&["TZ"], &[("TZ", ":Europe/Berlin")], None);
        check(&["TZ"], &[("TZ", "/etc/shadow")], bad);
        check(&["TZ"], &[("TZ", ":/etc/shadow")], bad);
        check(&["TZ"], &[("TZ", "../../etc/shadow")], bad);
        check(&["LC_ALL"], &[("LC_ALL", "de_DE.UTF-8@euro")], None);
        check(&["LC_ALL"], &[("LC_ALL", "x/y")], bad);
        check(&["LANG"], &[("LANG", "%n")], bad);
        check(&["A"], &[("A", "/x/../%n")], None);
        // Even a grant that should not exist does not let these through.
        check(&["LD_PRELOAD"], &[("LD_PRELOAD", "x")], bad);
        check(&["PATH"], &[("PATH", "x")], bad);

        let room = caps::ENV_ELEMENT - "TZ=".len() - 1;
        check(&["TZ"], &[("TZ", &"x".repeat(room))], None);
        check(
            &["TZ"],
            &[("TZ", &"x".repeat(room + 1))],
            Some(Code::TooLarge),
        );
    }

    #[test]
    fn the_number_of_variables_is_bounded() {
        let names: Vec<String> = (0..=caps::ENV_COUNT).map(|at| format!("V{at}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let extra: Vec<_> = names.iter().map(|name| (*name, "x")).collect();
        assert!(built(&names, &extra[..caps::ENV_COUNT]).is_ok());
        assert_eq!(built(&names, &extra).unwrap_err().code, Code::TooLarge);
    }
}
