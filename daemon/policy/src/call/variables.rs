//! Limits which variables a caller can ever set, and their values.

use remit_common::caps;
use remit_common::refusal::Refusal;

use crate::call::request::malformed;

/// Families of names that choose code, configuration or files for a program.
const NEVER_PREFIXES: &str = "
    APT_ BASH CARGO_ CLASSPATH COMP_ DBUS_ DEBCONF_ DEBIAN_ DEBUGINFOD_ DPKG_ DYLD_ GCONV_
    GIT_ GLIBC_ GNUPG JAVA_ JDK_ LD_ LESS LUA MALLOC_ NODE_ NPM_ OPENSSL_ PERL PYTHON
    REMIT_ RUBY SSH_ SUDO_ SYSTEMD_ XDG_";

/// Single names that do the same, and those whose value belongs to the sandbox.
const NEVER_NAMES: &str = "
    AWKLIBPATH AWKPATH CDPATH COLUMNS CURL_HOME CVS_RSH EDITOR ENV EXINIT FPATH GEM_HOME
    GEM_PATH GETCONF_DIR GLOBIGNORE HISTFILE HOME HOSTALIASES IFS INPUTRC KRB5CCNAME
    KRB5_CONFIG LOCALDOMAIN LOCPATH LOGNAME MAKEFILES MAKEFLAGS MANOPT MANPAGER MANPATH
    MYVIMRC NIS_PATH NLSPATH NO_COLOR NULLCMD PAGER PATH PHPRC PHP_INI_SCAN_DIR
    PROMPT_COMMAND PS4 PWD READNULLCMD RESOLV_ADD_TRIM_DOMAINS RESOLV_HOST_CONF RES_OPTIONS
    RSYNC_RSH SHELL SHELLOPTS SSLKEYLOGFILE TAR_OPTIONS TERM TERMCAP TERMINFO TERMINFO_DIRS
    TERMPATH TMPDIR TZDIR USER VIMINIT VIMRUNTIME VISUAL WGETRC ZDOTDIR _JAVA_OPTIONS";

/// Returns why no policy can let a caller set this variable, or `None` if one can. These names make a program load code or
/// read files that the caller chose. The list is not a sandbox layer: it rejects policies that cannot be meant.
pub fn never_permitted(name: &str) -> Option<&'static str> {
    let mut bytes = name.bytes();
    let first = bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    if !first || !bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        Some("a name is made of letters, digits and '_', and there are no wildcards")
    } else if name.len() > caps::NAME {
        Some("it is over 128 bytes")
    } else if NEVER_NAMES.split_whitespace().any(|never| never == name)
        || NEVER_PREFIXES
            .split_whitespace()
            .any(|prefix| name.starts_with(prefix))
    {
        Some("it can choose code, files or terminals for a program, or is the sandbox's own")
    } else {
        None
    }
}

/// Refuses paths in locales and time zones: the C library reads the file that they name (locale(7), tzset(3)). `%` is
/// refused because a locale once could become a format string (sudoers(5), `env_check`).
pub fn check_value(name: &str, value: &[u8]) -> Result<(), Refusal> {
    let locale = name.starts_with("LC_") || name.starts_with("LANG");
    let path = value.starts_with(b"/") || value.starts_with(b":/");
    let dots = value.windows(2).any(|pair| pair == b"..");
    let bad = (locale && (value.contains(&b'/') || value.contains(&b'%')))
        || (name == "TZ" && (path || dots));
    if bad {
        return Err(malformed(
            name,
            format!("the variable '{name}' must be a name, not a path"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dangerous_names_can_never_be_permitted() {
        for name in [
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "LD_",
            "BASH_ENV",
            "BASHOPTS",
            "BASH_FUNC_x",
            "ENV",
            "PATH",
            "IFS",
            "PYTHONPATH",
            "PYTHONSTARTUP",
            "PERL5LIB",
            "PERL5OPT",
            "PERLLIB",
            "GCONV_PATH",
            "GLIBC_TUNABLES",
            "RUBYOPT",
            "NODE_OPTIONS",
            "GIT_CONFIG_COUNT",
            "GIT_SSH_COMMAND",
            "LESSOPEN",
            "PS4",
            "SHELLOPTS",
            "COLUMNS",
            "HOME",
            "TMPDIR",
            "JAVA_TOOL_OPTIONS",
            "_JAVA_OPTIONS",
            "TERM",
            "SYSTEMD_PAGER",
            "APT_CONFIG",
            "LC_*",
            "",
            "1A",
            "A B",
            "A=B",
            "A\0",
            "Ä",
            "*",
        ] {
            assert!(never_permitted(name).is_some(), "{name:?}");
        }
        for name in [
            "TZ",
            "LANG",
            "LC_ALL",
            "LANGUAGE",
            "PGDATABASE",
            "http_proxy",
            "A",
            "_a1",
        ] {
            assert_eq!(never_permitted(name), None, "{name:?}");
        }
        assert!(never_permitted(&"A".repeat(caps::NAME)).is_none());
        assert!(never_permitted(&"A".repeat(caps::NAME + 1)).is_some());
    }
}
