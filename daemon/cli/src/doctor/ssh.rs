//! The way in by ssh: sshd's settings for an agent, and its keys.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::agents::Account;
use super::check::{Check, or_ok};
use super::keys::{self, Now, Stands};
use super::place::{Kind, Place, word};
use super::read;
use crate::human;
use crate::program::Program;
use crate::sshd::answers::Answers;
use crate::sshd::connection::Connection;
use crate::sshd::effective::{Effective, EffectiveError};
use crate::sshd::keys::{Line, lines};
use crate::sshd::options::RIGHTS;

/// Variables with which a client would run what it wants in the shim's place, since a shell starts it.
const STEERING: [&str; 9] = [
    "BASH_ENV",
    "BASH_FUNC_x%%",
    "ENV",
    "LD_AUDIT",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "PATH",
    "SHELLOPTS",
    "ZDOTDIR",
];

/// What leaves mcp-shim and nothing else to every key, also to one without options.
const SHIM_ALONE: &str =
    "ForceCommand /usr/bin/mcp-shim, DisableForwarding yes, PermitTTY no, PermitUserRC no";

/// sshd's settings for one account. Without an answer they are the defaults, and a check tells why.
pub struct Settings {
    /// Whether they are sshd's own answer.
    pub told: bool,
    pub effective: Effective,
    /// The check of the question itself, where it failed.
    pub problem: Option<Check>,
}

/// Asks sshd. `None` where there is none: then nobody comes in by ssh.
pub fn settings(account: &Account, sshd: &Answers) -> Option<Settings> {
    match sshd.ask(&account.name, &Connection::default()) {
        Ok(effective) => Some(Settings {
            told: true,
            effective: Effective::clone(&effective),
            problem: None,
        }),
        Err(error) if matches!(*error, EffectiveError::NoSshd) => None,
        Err(error) => Some(Settings {
            told: false,
            effective: Effective::default(),
            problem: Some(untold(account, &error.to_string())),
        }),
    }
}

/// Whether a key of an account starts mcp-shim, so that somebody made it an agent's by hand. Keys that cannot be read
/// may be such.
pub fn starts_shim(account: &Account, settings: &Settings) -> bool {
    let sshd = &settings.effective;
    let files = sshd.authorized_keys_files(&account.name, account.uid, &account.home);
    files.iter().any(|file| match read::bytes(file) {
        Ok(None) => false,
        Err(_) => true,
        Ok(Some(bytes)) => lines(&bytes).any(|(_, line)| match line {
            Line::Key(key) => {
                let own = key.options.command().map(<[u8]>::to_vec);
                let commands = [own, keys::forced(&key, sshd)];
                let mut commands = commands.into_iter().flatten();
                commands.any(|command| String::from_utf8_lossy(&command).contains("mcp-shim"))
            }
            Line::Blank | Line::Unread(_) => false,
        }),
    })
}

/// sshd does not tell. One that systemd starts for each connection has no directory meanwhile.
fn untold(account: &Account, error: &str) -> Check {
    let ask = format!("sshd -T -C user={}", account.name);
    let fix = match error.contains("privilege separation directory") {
        true => format!("mkdir -p -m 0755 /run/sshd; {ask} >/dev/null && remit doctor"),
        false => ask,
    };
    let why = format!("sshd does not tell its settings: {error}");
    Check::warning(format!("{}: sshd", account.name), why, fix)
}

/// The time in both clocks of [`Now`].
pub fn now() -> Now {
    let digits = |text: &str| {
        text.chars()
            .filter(char::is_ascii_digit)
            .collect::<String>()
    };
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let utc = digits(&human::time(since.unwrap_or_default().as_secs()));
    let date = Program::find(&["/usr/bin/date", "/bin/date"]);
    let local = date.and_then(|date| date.ask(&["+%Y%m%d%H%M%S"]).ok());
    let local = local.map(|local| digits(&String::from_utf8_lossy(&local)));
    Now {
        local: local.unwrap_or_else(|| utc.clone()),
        utc,
    }
}

/// All checks of one account.
pub fn checks(account: &Account, settings: &Settings, now: &Now) -> Vec<Check> {
    let sshd = &settings.effective;
    let mut checks: Vec<Check> = match &settings.problem {
        Some(problem) => vec![problem.clone()],
        None => settings_checks(account, sshd),
    };
    checks.extend(key_checks(account, sshd, now));
    checks
}

/// What is wrong with the settings themselves. Pure.
pub fn settings_checks(account: &Account, sshd: &Effective) -> Vec<Check> {
    let name = format!("{}: sshd", account.name);
    let user = &account.name;
    let in_match =
        |setting: &str| format!("set '{setting}' in a 'Match User {user}' of sshd_config");
    let mut found = Vec::new();
    let mut warn = |why: String, fix: String| found.push(Check::warning(&name, why, fix));
    let forces_shim = match sshd.get("forcecommand") {
        None => false,
        Some(command) => match keys::shim(command.as_bytes()) {
            Ok(_) => true,
            Err(_) => {
                let why = format!("ForceCommand takes the place of mcp-shim: {command}");
                warn(why, in_match("ForceCommand /usr/bin/mcp-shim"));
                false
            }
        },
    };
    if let Some(value) = sshd
        .get("permituserenvironment")
        .filter(|value| *value != "no")
    {
        let why = format!(
            "PermitUserEnvironment is '{value}': whoever writes '~{user}/.ssh/environment' steers mcp-shim"
        );
        warn(why, "set 'PermitUserEnvironment no' in sshd_config".into());
    }
    // A key that is not looked at has every right that is left to keys.
    let is_shim_alone = forces_shim && !RIGHTS.iter().any(|right| keys::grants(sshd, right));
    if !is_shim_alone {
        for keyword in ["authorizedkeyscommand", "trustedusercakeys"] {
            if let Some(value) = sshd.get(keyword) {
                let why = format!("keys that are not looked at here may log in: {keyword} {value}");
                warn(why, in_match(SHIM_ALONE));
            }
        }
        if sshd.is_yes("hostbasedauthentication") {
            let why = "HostbasedAuthentication lets in whom another host vouches for".to_owned();
            warn(why, in_match("HostbasedAuthentication no"));
        }
    }
    if let Some(value) = sshd.get("permittunnel").filter(|value| *value != "no") {
        let why = format!("PermitTunnel is '{value}': a key without a right may open a tunnel");
        warn(why, in_match("PermitTunnel no"));
    }
    for pattern in sshd.values("acceptenv").flat_map(str::split_whitespace) {
        if let Some(variable) = STEERING.iter().find(|name| fits(pattern, name)) {
            let why = format!(
                "AcceptEnv '{pattern}' lets the agent set {variable}, and so run anything in mcp-shim's place"
            );
            let fix = format!("take '{pattern}' out of AcceptEnv in sshd_config");
            found.push(Check::failure(&name, why, fix));
        }
    }
    or_ok(found, &name, "nothing that leads around mcp-shim")
}

/// Whether a name fits a pattern of `*` and `?` (ssh_config(5), PATTERNS).
fn fits(pattern: &str, name: &str) -> bool {
    fn bytes(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            ([b'*', rest @ ..], name) => {
                (0..=name.len()).any(|skip| bytes(rest, name.get(skip..).unwrap_or_default()))
            }
            ([b'?', rest @ ..], [_, name @ ..]) => bytes(rest, name),
            ([one, rest @ ..], [other, name @ ..]) => one == other && bytes(rest, name),
            (_, _) => false,
        }
    }
    // Stars in a row mean one, and cost more each.
    let mut pattern = pattern.to_owned();
    while pattern.contains("**") {
        pattern = pattern.replace("**", "*");
    }
    // More stars than any name has use for would be tried one inside the other.
    if pattern.matches('*').count() > 4 {
        return true;
    }
    bytes(pattern.as_bytes(), name.as_bytes())
}

/// Every key in every file where sshd looks, and the shim that they start.
pub fn key_checks(account: &Account, sshd: &Effective, now: &Now) -> Vec<Check> {
    let name = format!("{}: keys", account.name);
    let mut found = Vec::new();
    let mut shims = BTreeSet::new();
    let mut count = 0;
    for file in sshd.authorized_keys_files(&account.name, account.uid, &account.home) {
        found.extend(file_faults(account, &file));
        let bytes = match read::bytes(&file) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => continue,
            Err(error) => {
                let why = format!(
                    "cannot read '{}', so its keys are unknown: {error}",
                    file.display()
                );
                found.push(Check::failure(&name, why, format!("ls -l {}", word(&file))));
                continue;
            }
        };
        let mut unread = Vec::new();
        for (line, of_line) in lines(&bytes) {
            let stands = Stands {
                user: &account.name,
                file: &file,
                line,
            };
            match of_line {
                Line::Blank => {}
                Line::Key(key) => {
                    count += 1;
                    found.extend(keys::judge(stands, &key, sshd, now));
                    let command = keys::forced(&key, sshd);
                    shims.extend(command.and_then(|command| keys::shim(&command).ok()));
                }
                Line::Unread(why) => unread.push((line, why)),
            }
        }
        // Once for the file: it may be all lines.
        if let [(line, why), others @ ..] = unread.as_slice() {
            let mut why = format!("'{}':{line} is no key: {why}", file.display());
            if !others.is_empty() {
                why += &format!(" ({} more such)", others.len());
            }
            found.push(Check::warning(&name, why, format!("take line {line} out")));
        }
    }
    found.extend(shims.iter().filter_map(|shim| shim_fault(account, shim)));
    if count > 0 {
        found.extend(shell_fault(account));
    }
    let text = match count {
        0 => "none".to_owned(),
        1 => "1, for mcp-shim alone".to_owned(),
        count => format!("{count}, for mcp-shim alone"),
    };
    or_ok(found, &name, text)
}

/// Who else can write a file of keys, or put another in its place.
fn file_faults(account: &Account, file: &Path) -> Vec<Check> {
    let name = format!("{}: keys", account.name);
    let way = match Place::way(file) {
        Ok(way) => way,
        Err(error) => {
            let why = format!("cannot look at '{}': {error}", file.display());
            return vec![Check::failure(&name, why, format!("ls -ld {}", word(file)))];
        }
    };
    let fault = |place: &Place| {
        let (why, fix) = place.fault_besides(account.uid)?;
        let why = format!("{why}: others can give '{}' a key", account.name);
        Some(Check::failure(&name, why, fix))
    };
    way.iter().filter_map(fault).collect()
}

/// What is wrong with the program that a key starts.
fn shim_fault(account: &Account, shim: &Path) -> Option<Check> {
    let name = format!("{}: keys", account.name);
    let shown = shim.display();
    let fix = "write the path of mcp-shim, /usr/bin/mcp-shim, into the key's command=";
    let is_program = |place: &Place| place.kind == Kind::File && place.mode & 0o111 != 0;
    match Place::way(shim) {
        Ok(way) if way.last().is_some_and(is_program) => {
            let (why, _) = way.iter().find_map(Place::fault)?;
            let why = format!("a key starts '{shown}', but {why}");
            Some(Check::failure(name, why, fix))
        }
        Ok(_) | Err(_) => {
            let why = format!("a key starts '{shown}', which is no program");
            Some(Check::failure(name, why, fix))
        }
    }
}

/// A shell that starts no forced command.
fn shell_fault(account: &Account) -> Option<Check> {
    let shell = &account.shell;
    let refuses = ["nologin", "false", "true"]
        .iter()
        .any(|name| shell.ends_with(name));
    // An empty field is /bin/sh (passwd(5)).
    let is_there = shell.as_os_str().is_empty() || shell.exists();
    if is_there && !refuses {
        return None;
    }
    let user = &account.name;
    Some(Check::warning(
        format!("{user}: keys"),
        format!(
            "the shell '{}' starts no mcp-shim: ssh lets nobody in",
            shell.display()
        ),
        format!("usermod -s /bin/sh {user}"),
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::super::agents::tests::agent;
    use super::super::check::whys;
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

    #[test]
    fn patterns_are_those_of_ssh() {
        for (pattern, name, expect) in [
            ("LANG", "LANG", true),
            ("LANG", "LANGUAGE", false),
            ("LC_*", "LD_PRELOAD", false),
            ("L*", "LD_PRELOAD", true),
            ("*", "ENV", true),
            ("?NV", "ENV", true),
            ("*_PRE*", "LD_PRELOAD", true),
            ("**x**", "LD_PRELOAD", false),
            ("a*b*c*d*e*f", "ENV", true),
        ] {
            assert_eq!(fits(pattern, name), expect, "{pattern} {name}");
        }
    }

    #[test]
    fn settings_that_lead_around_the_shim_are_named() {
        let debian = "permituserenvironment no\nacceptenv LANG\nacceptenv LC_*\nacceptenv COLORTERM\n\
                      acceptenv NO_COLOR\npermittunnel no\nforcecommand none\n\
                      authorizedkeyscommand none\ntrustedusercakeys none\nx11forwarding yes\n";
        let cases = [
            (debian, vec![]),
            ("acceptenv *", vec!["failure: AcceptEnv '*' lets"]),
            (
                "acceptenv BASH_*",
                vec!["failure: AcceptEnv 'BASH_*' lets the agent set BASH_ENV"],
            ),
            (
                "permituserenvironment yes",
                vec!["warning: PermitUserEnvironment is 'yes'"],
            ),
            (
                "forcecommand /bin/menu",
                vec!["warning: ForceCommand takes"],
            ),
            (
                "trustedusercakeys /etc/ca",
                vec!["warning: keys that are not looked at"],
            ),
            (
                "trustedusercakeys /etc/ca\nforcecommand /usr/bin/mcp-shim",
                vec!["warning: keys that are not looked at"],
            ),
            (
                "trustedusercakeys /etc/ca\nforcecommand /usr/bin/mcp-shim\n\
                 disableforwarding yes\npermittty no\npermituserrc no",
                vec![],
            ),
            ("permittunnel point-to-point", vec!["warning: PermitTunnel"]),
            ("hostbasedauthentication yes", vec!["warning: Hostbased"]),
        ];
        for (text, expect) in cases {
            let found = whys(&settings_checks(&agent(&[]), &Effective::parse(text)));
            assert_eq!(found.len(), expect.len(), "{text}: {found:?}");
            for (found, expect) in found.iter().zip(expect) {
                assert!(found.starts_with(expect), "{text}: {found}");
            }
        }
    }

    #[test]
    fn files_of_keys_are_read_where_sshd_reads_them() {
        // Below a directory that only root may write, as a home's way is.
        let dir = Path::new("/run").join(format!("remit-keys-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let home = dir.join("agent");
        let file = home.join("keys");
        let shim = dir.join("mcp-shim");
        let account = Account {
            home: home.clone(),
            ..agent(&[])
        };
        let sshd = Effective::parse("authorizedkeysfile keys");
        let now = Now {
            utc: "20261120100000".into(),
            local: "20261120100000".into(),
        };
        let look = || whys(&key_checks(&account, &sshd, &now));
        let line = format!("restrict,command=\"{}\" {KEY}\n", shim.display());
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));

        let nothing = look();
        fs::create_dir(&home).unwrap();
        chown(&home, Some(1001), Some(1001)).unwrap();
        fs::write(&shim, "").unwrap();
        mode(&shim, 0o755).unwrap();
        fs::write(&file, &line).unwrap();
        let good = look();
        fs::write(&file, format!("{line}\nnonsense\nnonsense\n{KEY}\n")).unwrap();
        let more = look();
        mode(&home, 0o775).unwrap();
        mode(&shim, 0o4757).unwrap();
        fs::write(&file, &line).unwrap();
        let written = look();
        mode(&home, 0o755).unwrap();
        fs::remove_file(&shim).unwrap();
        let gone = look();
        fs::rename(&file, home.join("real")).unwrap();
        symlink("real", &file).unwrap();
        let link = look();
        fs::remove_dir_all(&dir).unwrap();

        assert_eq!(nothing, [""; 0]);
        assert_eq!(good, [""; 0]);
        let place = format!("'{}'", file.display());
        assert_eq!(more.len(), 3, "{more:?}");
        assert!(
            more[0].contains(&format!("{place}:5 has no command=")),
            "{more:?}"
        );
        assert!(
            more[2].contains(&format!(
                "{place}:3 is no key: there is no key on it (1 more such)"
            )),
            "{more:?}"
        );
        assert_eq!(written.len(), 2, "{written:?}");
        assert!(
            written[0].contains("others can give 'agent' a key"),
            "{written:?}"
        );
        assert!(
            written[1].contains("is writable by everyone"),
            "{written:?}"
        );
        assert!(gone[0].contains("which is no program"), "{gone:?}");
        assert!(link[0].contains("its keys are unknown"), "{link:?}");
    }

    #[test]
    fn a_shell_that_starts_nothing_is_told() {
        for (shell, expect) in [
            ("/bin/sh", false),
            ("", false),
            ("/usr/sbin/nologin", true),
            ("/bin/false", true),
            ("/nonexistent/sh", true),
        ] {
            let account = Account {
                shell: shell.into(),
                ..agent(&[])
            };
            assert_eq!(shell_fault(&account).is_some(), expect, "{shell}");
        }
    }
}
