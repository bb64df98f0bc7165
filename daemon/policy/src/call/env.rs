//! Builds the environment of a job from nothing. Left out on purpose:
//! - `COLUMNS`: it cuts lines of output.
//! - `APT_CONFIG`: it can only name a file. apt needs none to look: `-s` takes no lock (apt-get(8)), nor do `apt
//!   list` and `apt-cache`.
//! - `SHELL`, `MAIL`, `SSH_*`, `XDG_*`: they describe a login; a job has none.

use std::ffi::CString;

use remit_common::caps;
use remit_common::refusal::Refusal;

use crate::call::request::{malformed, no_nul, within};
use crate::call::variables::{check_value, never_permitted};
use crate::decide::Terms;
use crate::model::diagnostic::quoted;
use crate::model::profile::{Base, Eyes, Network, Profile, User};

/// The job's `PATH`: programs are looked up in this order.
pub const PATH_DIRS: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

const ALL: [(&str, &str); 11] = [
    ("LANG", "C.UTF-8"),
    ("TERM", "dumb"),
    ("TMPDIR", "/tmp"),
    // No pager: nobody is there to turn a page.
    ("PAGER", "cat"),
    ("GIT_PAGER", "cat"),
    ("MANPAGER", "cat"),
    ("SYSTEMD_PAGER", "cat"),
    ("NO_COLOR", "1"),
    // Otherwise git status would try to write the index (git(1)).
    ("GIT_OPTIONAL_LOCKS", "0"),
    ("DEBIAN_FRONTEND", "noninteractive"),
    // needrestart(1) lists services: a job of remitd that restarts remitd would wait for its own end.
    ("NEEDRESTART_MODE", "l"),
];

/// git refuses repositories of other owners, and a job uid of its own owns none (git-config(1), safe.directory; the
/// environment counts as command scope). Not for a user with something to lose: a repository can name programs to run.
const SAFE_DIRECTORY: [(&str, &str); 3] = [
    ("GIT_CONFIG_COUNT", "1"),
    ("GIT_CONFIG_KEY_0", "safe.directory"),
    ("GIT_CONFIG_VALUE_0", "*"),
];

/// Returns true if a job may run programs that the owner of a repository names. A caller with `run` can run any program
/// anyway. In the profile of a command or of a one-off change they would get rights meant for something else.
fn trusts_repositories(terms: &Terms) -> bool {
    let profile = terms.profile();
    let as_run =
        profile.takes_any_program() && profile.groups.is_empty() && profile.capabilities == 0;
    let is_for_any = terms.command().is_none() && !terms.is_one_off();
    let has_to_lose = profile.user != User::Own || profile.eyes == Eyes::Root;
    !has_to_lose && (as_run || is_for_any)
}

/// systemctl(1) as root uses a private socket of the service manager, and refuses it if the peer is not a visible
/// process. A job of base strict has its own pid namespace. With this variable systemctl uses the bus.
const SYSTEMCTL: (&str, &str) = ("SYSTEMCTL_FORCE_BUS", "1");

/// The proxy of a copy that reaches names. Some programs know the one spelling, some the other; what a job serves itself it
/// reaches without.
const PROXY: [(&str, &str); 6] = [
    ("http_proxy", "http://127.0.0.1:3128"),
    ("https_proxy", "http://127.0.0.1:3128"),
    ("HTTP_PROXY", "http://127.0.0.1:3128"),
    ("HTTPS_PROXY", "http://127.0.0.1:3128"),
    ("no_proxy", "localhost,127.0.0.1,::1"),
    ("NO_PROXY", "localhost,127.0.0.1,::1"),
];

/// Returns true for a variable, as `NAME=value`, that jobs have without a policy or a caller asking for it. Those of a proxy
/// are not: few profiles have one, and in any other the caller has asked for it.
pub fn is_default_variable(variable: &str) -> bool {
    const IDENTITIES: [(&str, &str); 6] = [
        ("USER", "remit-job"),
        ("LOGNAME", "remit-job"),
        ("USER", "root"),
        ("LOGNAME", "root"),
        ("HOME", "/tmp/home"),
        ("HOME", "/root"),
    ];
    let Some((name, value)) = variable.split_once('=') else {
        return false;
    };
    let mut fixed = [&ALL[..], &SAFE_DIRECTORY, &[SYSTEMCTL], &IDENTITIES]
        .into_iter()
        .flatten();
    fixed.any(|fixed| *fixed == (name, value)) || (name == "PATH" && value == PATH_DIRS.join(":"))
}

/// Variables, each name once. A later value replaces an earlier one.
struct Variables<'a>(Vec<(&'a str, &'a [u8])>);

impl<'a> Variables<'a> {
    fn set(&mut self, name: &'a str, value: &'a [u8]) {
        match self.0.iter_mut().find(|(own, _)| *own == name) {
            Some((_, own)) => *own = value,
            None => self.0.push((name, value)),
        }
    }

    fn set_all(&mut self, all: impl IntoIterator<Item = (&'a str, &'a str)>) {
        for (name, value) in all {
            self.set(name, value.as_bytes());
        }
    }
}

/// Returns the job's user name and home. A sandbox does not show a user's own home. On base host root has its own.
fn identity(profile: &Profile) -> [(&'static str, &str); 3] {
    let (name, home) = match (&profile.user, profile.base) {
        // It is root there. The home of root is hidden.
        (_, Base::Plan) => ("root", "/tmp/home"),
        (User::Own, _) => ("remit-job", "/tmp/home"),
        (User::Fixed { name, .. }, Base::Read | Base::Strict | Base::Extract) => {
            (name.as_str(), "/tmp/home")
        }
        (User::Fixed { name, uid: 0, .. }, Base::Host) => (name.as_str(), "/root"),
        (User::Fixed { name, .. }, Base::Host) => (name.as_str(), "/"),
    };
    let name = name.trim_start_matches('#');
    [("USER", name), ("LOGNAME", name), ("HOME", home)]
}

/// Returns the whole environment of a job that `grant` permits, as `NAME=value`, each name once. A later source
/// replaces an earlier one: the variables of every job, the profile's, the command's, and those of `extra`, which the
/// caller asked for. Errors: `invalid_args` for a name that the grant does not list, that comes twice, or a NUL in a
/// value; `too_large` over [`caps::ENV_COUNT`] variables or [`caps::ENV_ELEMENT`] bytes in one, `=` and NUL included.
pub fn environment(terms: &Terms, extra: &[(Vec<u8>, Vec<u8>)]) -> Result<Vec<CString>, Refusal> {
    let profile = terms.profile();
    let path = PATH_DIRS.join(":");
    let mut variables = Variables(Vec::with_capacity(32));
    variables.set("PATH", path.as_bytes());
    variables.set_all(ALL);
    variables.set_all(identity(profile));
    if trusts_repositories(terms) {
        variables.set_all(SAFE_DIRECTORY);
    }
    if profile.base == Base::Strict && matches!(profile.user, User::Fixed { uid: 0, .. }) {
        variables.set_all([SYSTEMCTL]);
    }
    if matches!(profile.network, Network::Names(_)) {
        variables.set_all(PROXY);
    }
    let own = terms.command().map(|command| &command.env);
    for env in [&profile.env].into_iter().chain(own) {
        variables.set_all(
            env.iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        );
    }

    within("env", extra.len(), caps::ENV_COUNT, "variables")?;
    let mut seen: Vec<&str> = Vec::new();
    for (name, value) in extra {
        let Some(name) = permitted(terms, name) else {
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
        variables.set(name, value);
    }
    let strings = variables.0.into_iter().map(|(name, value)| {
        let mut string = Vec::with_capacity(name.len() + value.len() + 2);
        string.extend_from_slice(name.as_bytes());
        string.push(b'=');
        string.extend_from_slice(value);
        CString::new(string)
            .map_err(|_| malformed(name, format!("the variable '{name}' has a NUL")))
    });
    strings.collect()
}

/// Returns the name as the grant lists it. A name that can never be permitted is in no grant.
fn permitted<'a>(terms: &'a Terms, name: &[u8]) -> Option<&'a str> {
    let listed = terms
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
        let grant = Terms::fake(env);
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
            LANG=C.UTF-8 TERM=dumb TMPDIR=/tmp PAGER=cat GIT_PAGER=cat MANPAGER=cat \
            SYSTEMD_PAGER=cat NO_COLOR=1 GIT_OPTIONAL_LOCKS=0 DEBIAN_FRONTEND=noninteractive \
            NEEDRESTART_MODE=l USER=remit-job LOGNAME=remit-job HOME=/tmp/home GIT_CONFIG_COUNT=1 \
            GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0=*";
        assert_eq!(built(&[], &[]).unwrap().join(" "), expect);
    }

    #[test]
    fn only_exact_default_is_default_variable() {
        let all = built(&[], &[]).unwrap();
        assert!(all.iter().all(|one| is_default_variable(one)), "{all:?}");
        for other in [
            "PATH=/bin",
            "LANG=C",
            "HOME=/home/a",
            "NOTE=x",
            "http_proxy=http://127.0.0.1:3128",
            "HTTPS_PROXY=http://127.0.0.1:3128",
            "no_proxy=localhost,127.0.0.1,::1",
            "LANG=C.UTF-8 ",
            "LANG",
            "",
        ] {
            assert!(!is_default_variable(other), "{other}");
        }
    }

    #[test]
    fn profile_sets_user_and_variables() {
        let check = |profile: Profile, has: &[&str], has_not: &str| {
            let grant = Terms::fake_in(profile, &["A"]);
            let caller = [(b"A".to_vec(), b"caller".to_vec())];
            let built = environment(&grant, &caller).unwrap();
            let built: Vec<String> = built
                .into_iter()
                .map(|one| one.into_string().unwrap())
                .collect();
            for one in has {
                assert!(built.iter().any(|entry| entry == one), "{one}: {built:?}");
            }
            assert!(
                !built.iter().any(|entry| entry.starts_with(has_not)),
                "{built:?}"
            );
        };
        let fixed = |name: &str, uid| User::Fixed {
            name: name.into(),
            uid,
            gid: uid,
        };
        let read = Profile::read();
        let env = [("A", "b"), ("LANG", "C")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        let env = Profile {
            env: env.into(),
            ..read
        };
        check(
            env,
            &["A=caller", "LANG=C", "USER=remit-job"],
            "LANG=C.UTF-8",
        );
        check(
            Profile::plan(),
            &["USER=root", "HOME=/tmp/home"],
            "http_proxy",
        );
        let names = Profile {
            network: Network::Names(vec![("deb.debian.org".into(), 80)]),
            ..Profile::plan()
        };
        check(
            names,
            &[
                "http_proxy=http://127.0.0.1:3128",
                "HTTPS_PROXY=http://127.0.0.1:3128",
                "no_proxy=localhost,127.0.0.1,::1",
            ],
            "all_proxy",
        );
        check(
            Profile::strict(),
            &["HOME=/tmp/home", "GIT_CONFIG_COUNT=1"],
            "A=b",
        );
        let www = Profile {
            user: fixed("www-data", 33),
            ..Profile::strict()
        };
        check(
            www,
            &["USER=www-data", "LOGNAME=www-data", "HOME=/tmp/home"],
            "GIT_CONFIG_",
        );
        check(
            Profile::host(),
            &["USER=root", "HOME=/root", "TMPDIR=/tmp"],
            "GIT_CONFIG_",
        );
        check(Profile::host(), &["USER=root"], "SYSTEMCTL_");
        let walled = Profile {
            user: fixed("root", 0),
            ..Profile::strict()
        };
        check(walled, &["SYSTEMCTL_FORCE_BUS=1"], "GIT_CONFIG_");
        let other = Profile {
            user: fixed("#1001", 1001),
            ..Profile::host()
        };
        check(other.clone(), &["USER=1001", "HOME=/"], "HOME=/root");
        // The owner of a repository must not get the eyes of root.
        let sees_all = Profile {
            eyes: Eyes::Root,
            ..Profile::plan()
        };
        check(Profile::plan(), &["USER=root", "GIT_CONFIG_COUNT=1"], "X");
        check(sees_all, &["USER=root", "A=caller"], "GIT_CONFIG_");
        check(other, &["USER=1001"], "SYSTEMCTL_");
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
        check(&["LD_PRELOAD"], &[("LD_PRELOAD", "x")], bad);
        check(&["PATH"], &[("PATH", "x")], bad);

        let max_value_len = caps::ENV_ELEMENT - "TZ=".len() - 1;
        check(&["TZ"], &[("TZ", &"x".repeat(max_value_len))], None);
        check(
            &["TZ"],
            &[("TZ", &"x".repeat(max_value_len + 1))],
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
