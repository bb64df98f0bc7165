//! Checks sshd's settings and the keys of an agent's account.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use remit_common::calendar;
use remit_openssh::matches;

use super::agents::AccountFacts;
use super::file_facts;
use super::keys::{self, KeyLocation, Now};
use super::report::{Check, or_ok};
use crate::checks::file_facts::{FileFacts, FileKind, word};
use crate::enrollment::Role;
use crate::enrollment::account::starts_nothing;
use crate::external_program::Program;
use crate::openssh::effective::{Answers, Effective, EffectiveError};
use crate::openssh::keys::{KeyLine, lines};
use crate::openssh::options::RIGHTS;
use crate::openssh::pattern::Connection;
use crate::render::units;

/// A client that can set one of these runs its own program instead of mcp-shim, because a shell starts mcp-shim.
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

/// Restricts every key to mcp-shim, including keys without options.
const SHIM_ALONE: &str =
    "ForceCommand /usr/bin/mcp-shim, DisableForwarding yes, PermitTTY no, PermitUserRC no";

/// sshd's settings for one account: the defaults if sshd does not answer, with a check that reports why.
pub struct SshdSettings {
    pub answered: bool,
    pub effective: Effective,
    pub problem: Option<Check>,
}

/// Queries sshd. `None` if it is not installed: then nobody can log in by ssh.
pub fn settings(account: &AccountFacts, sshd: &Answers) -> Option<SshdSettings> {
    match sshd.ask(&account.name, &Connection::default()) {
        Ok(effective) => Some(SshdSettings {
            answered: true,
            effective: Effective::clone(&effective),
            problem: None,
        }),
        Err(error) if matches!(*error, EffectiveError::NoSshd) => None,
        Err(error) => Some(SshdSettings {
            answered: false,
            effective: Effective::default(),
            problem: Some(unknown_settings(account, &error.to_string())),
        }),
    }
}

/// Returns true if a key of the account starts mcp-shim: then it is an agent's. The error is why that is not known.
pub fn starts_shim(account: &AccountFacts, settings: &SshdSettings) -> Result<bool, String> {
    let sshd = &settings.effective;
    let is_shim = |line: KeyLine<'_>| match line {
        KeyLine::AuthorizedKey(key) => {
            let own = key.options.command().map(<[u8]>::to_vec);
            let commands = [own, keys::forced(&key, sshd)];
            let mut commands = commands.into_iter().flatten();
            commands.any(|command| String::from_utf8_lossy(&command).contains("mcp-shim"))
        }
        KeyLine::Blank | KeyLine::Unread(_) => false,
    };
    let mut unread = None;
    for file in sshd.authorized_keys_files(&account.name, account.uid, &account.home) {
        match file_facts::read_bytes(&file) {
            Ok(None) => {}
            Ok(Some(bytes)) if lines(&bytes).any(|(_, line)| is_shim(line)) => return Ok(true),
            Ok(Some(_)) => {}
            Err(error) => unread = Some(format!("'{}': {error}", file.display())),
        }
    }
    unread.map_or(Ok(false), Err)
}

/// An sshd that systemd starts for each connection has no privilege separation directory between connections.
fn unknown_settings(account: &AccountFacts, error: &str) -> Check {
    let ask = format!("sshd -T -C user={}", account.name);
    let fix = match error.contains("privilege separation directory") {
        true => format!("mkdir -p -m 0755 /run/sshd; {ask} >/dev/null && remit doctor"),
        false => ask,
    };
    let why = format!("sshd does not report its settings: {error}");
    Check::warning(format!("{}: sshd", account.name), why, fix)
}

pub fn now() -> Now {
    let digits = |text: &str| {
        text.chars()
            .filter(char::is_ascii_digit)
            .collect::<String>()
    };
    let utc = digits(&units::time(calendar::now_ms() / 1000));
    let date = Program::find(&["/usr/bin/date", "/bin/date"]);
    let local = date.and_then(|date| date.ask(&["+%Y%m%d%H%M%S"]).ok());
    let local = local.map(|local| digits(&String::from_utf8_lossy(&local)));
    Now {
        local: local.unwrap_or_else(|| utc.clone()),
        utc,
    }
}

pub fn checks(account: &AccountFacts, settings: &SshdSettings, now: &Now) -> Vec<Check> {
    let sshd = &settings.effective;
    let mut checks: Vec<Check> = match &settings.problem {
        Some(problem) => vec![problem.clone()],
        None => settings_checks(account, sshd),
    };
    checks.extend(key_checks(account, sshd, now));
    checks
}

pub fn settings_checks(account: &AccountFacts, sshd: &Effective) -> Vec<Check> {
    let name = format!("{}: sshd", account.name);
    let user = &account.name;
    let in_match =
        |setting: &str| format!("set '{setting}' in a 'Match User {user}' block of sshd_config");
    let mut found = Vec::new();
    let mut warn = |why: String, fix: String| found.push(Check::warning(&name, why, fix));
    let forces_shim = match sshd.get("forcecommand") {
        None => false,
        Some(command) => match keys::shim(command.as_bytes()) {
            Ok(_) => true,
            Err(_) => {
                let why = format!("ForceCommand replaces mcp-shim: {command}");
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
            "PermitUserEnvironment is '{value}': whoever can write '~{user}/.ssh/environment' controls mcp-shim"
        );
        warn(why, "set 'PermitUserEnvironment no' in sshd_config".into());
    }
    // A key that this check cannot see has every right that sshd's settings leave to keys.
    let is_shim_alone = forces_shim && !RIGHTS.iter().any(|right| keys::grants(sshd, right));
    if !is_shim_alone {
        for (why, lift) in unseen_logins(sshd, SHIM_ALONE) {
            warn(why, in_match(lift));
        }
    }
    if let Some(value) = sshd.get("permittunnel").filter(|value| *value != "no") {
        let why = format!("PermitTunnel is '{value}': even a restricted key may open a tunnel");
        warn(why, in_match("PermitTunnel no"));
    }
    found.extend(steering_faults(user, sshd, "the agent", "mcp-shim"));
    or_ok(found, &name, "no setting bypasses mcp-shim")
}

/// Finds ways in that no file of keys shows, and the setting against each. `alone`: those that restrict any key.
pub fn unseen_logins<'a>(sshd: &Effective, alone: &'a str) -> Vec<(String, &'a str)> {
    let keywords = ["authorizedkeyscommand", "trustedusercakeys"].into_iter();
    let set = keywords.filter_map(|keyword| Some((keyword, sshd.get(keyword)?)));
    let mut found: Vec<(String, &str)> = set
        .map(|(keyword, value)| {
            let why = format!("keys that this check cannot see may log in: {keyword} {value}");
            (why, alone)
        })
        .collect();
    if sshd.is_yes("hostbasedauthentication") {
        let why = "HostbasedAuthentication accepts logins that another host vouches for".to_owned();
        found.push((why, "HostbasedAuthentication no"));
    }
    found
}

/// Finds variables that a client may set, and by which it runs another program than the forced one.
pub fn steering_faults(user: &str, sshd: &Effective, whose: &str, program: &str) -> Vec<Check> {
    let patterns = sshd.values("acceptenv").flat_map(str::split_whitespace);
    let fault = |pattern: &str| {
        let variable = STEERING.iter().find(|name| matches(pattern, name))?;
        Some(Check::failure(
            format!("{user}: sshd"),
            format!(
                "AcceptEnv '{pattern}' lets {whose} set {variable}, and so run any program instead of {program}"
            ),
            format!("remove '{pattern}' from AcceptEnv in sshd_config"),
        ))
    };
    patterns.filter_map(fault).collect()
}

pub fn key_checks(account: &AccountFacts, sshd: &Effective, now: &Now) -> Vec<Check> {
    let name = format!("{}: keys", account.name);
    let mut found = Vec::new();
    let mut shims = BTreeSet::new();
    let mut count = 0;
    for file in sshd.authorized_keys_files(&account.name, account.uid, &account.home) {
        found.extend(file_faults(account, &file));
        let unread = |why, fix| found.push(Check::failure(&name, why, fix));
        let Some(bytes) = file_facts::read_keys(&file, unread) else {
            continue;
        };
        let mut unread = Vec::new();
        for (line, of_line) in lines(&bytes) {
            let location = KeyLocation {
                user: &account.name,
                file: &file,
                line,
            };
            match of_line {
                KeyLine::Blank => {}
                KeyLine::AuthorizedKey(key) => {
                    count += 1;
                    found.extend(keys::judge(Role::Agent, location, &key, sshd, now));
                    let command = keys::forced(&key, sshd);
                    shims.extend(command.and_then(|command| keys::shim(&command).ok()));
                }
                KeyLine::Unread(why) => unread.push((line, why)),
            }
        }
        if let [(line, why), others @ ..] = unread.as_slice() {
            let mut why = format!("'{}':{line} is not a key: {why}", file.display());
            if !others.is_empty() {
                why += &format!(" ({} more such)", others.len());
            }
            found.push(Check::warning(&name, why, format!("remove line {line}")));
        }
    }
    found.extend(shims.iter().filter_map(|shim| shim_fault(account, shim)));
    if count > 0 {
        found.extend(shell_fault(account, "mcp-shim", "the agent"));
    }
    let text = match count {
        0 => "none".to_owned(),
        1 => "1, only for mcp-shim".to_owned(),
        count => format!("{count}, only for mcp-shim"),
    };
    or_ok(found, &name, text)
}

pub fn file_faults(account: &AccountFacts, file: &Path) -> Vec<Check> {
    let name = format!("{}: keys", account.name);
    let along_path = match FileFacts::along_path(file) {
        Ok(along_path) => along_path,
        Err(error) => {
            let why = format!("cannot examine '{}': {error}", file.display());
            return vec![Check::failure(&name, why, format!("ls -ld {}", word(file)))];
        }
    };
    let fault = |facts: &FileFacts| {
        let (why, fix) = facts.fault_besides(account.uid)?;
        let why = format!("{why}: others can add keys for '{}'", account.name);
        Some(Check::failure(&name, why, fix))
    };
    along_path.iter().filter_map(fault).collect()
}

fn shim_fault(account: &AccountFacts, shim: &Path) -> Option<Check> {
    let name = format!("{}: keys", account.name);
    let shown = shim.display();
    let fix = "write the path of mcp-shim, /usr/bin/mcp-shim, into the key's command=";
    let is_program = |facts: &FileFacts| facts.kind == FileKind::File && facts.mode & 0o111 != 0;
    match FileFacts::along_path(shim) {
        Ok(along_path) if along_path.last().is_some_and(is_program) => {
            let (why, _) = along_path.iter().find_map(FileFacts::fault)?;
            let why = format!("a key starts '{shown}', but {why}");
            Some(Check::failure(name, why, fix))
        }
        Ok(_) | Err(_) => {
            let why = format!("a key starts '{shown}', which is not a program");
            Some(Check::failure(name, why, fix))
        }
    }
}

pub fn shell_fault(account: &AccountFacts, program: &str, whose: &str) -> Option<Check> {
    let shells = fs::read_to_string("/etc/shells").ok();
    let (user, shell) = (&account.name, account.shell.as_path());
    let shown = shell.display();
    let why = match shell_of(shell, shells.as_deref()) {
        ShellKind::Login => return None,
        ShellKind::StartsNothing => {
            format!("the shell '{shown}' does not start {program}: {whose} cannot log in")
        }
        ShellKind::Unlisted => format!(
            "the shell '{shown}' is not in '/etc/shells': if it does not start {program}, {whose} cannot log in"
        ),
    };
    let fix = format!("usermod -s /bin/sh {user}");
    Some(Check::warning(format!("{user}: keys"), why, fix))
}

enum ShellKind {
    Login,
    StartsNothing,
    Unlisted,
}

/// `shells`: the text of `/etc/shells` (shells(5)), if there is one.
fn shell_of(shell: &Path, shells: Option<&str>) -> ShellKind {
    // An empty field means /bin/sh (passwd(5)).
    if shell.as_os_str().is_empty() {
        return ShellKind::Login;
    }
    if starts_nothing(shell) || !shell.exists() {
        return ShellKind::StartsNothing;
    }
    let is_same = |listed: &Path| {
        // One program may have several names, as in busybox, and one name several paths, as in a merged /usr.
        listed.file_name() == shell.file_name()
            && matches!((listed.canonicalize(), shell.canonicalize()), (Ok(a), Ok(b)) if a == b)
    };
    let mut listed = shells.map(|text| text.lines().map(|line| Path::new(line.trim())));
    match listed.as_mut().is_none_or(|all| all.any(is_same)) {
        true => ShellKind::Login,
        false => ShellKind::Unlisted,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::super::agents::tests::agent;
    use super::*;
    use crate::checks::report::whys;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

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
            ("acceptenv X*_*_*_*_*_*", vec![]),
            (
                "acceptenv L*D*_*P*R*E*",
                vec!["failure: AcceptEnv 'L*D*_*P*R*E*' lets the agent set LD_PRELOAD"],
            ),
            (
                "permituserenvironment yes",
                vec!["warning: PermitUserEnvironment is 'yes'"],
            ),
            (
                "forcecommand /bin/menu",
                vec!["warning: ForceCommand replaces"],
            ),
            (
                "trustedusercakeys /etc/ca",
                vec!["warning: keys that this check cannot see"],
            ),
            (
                "trustedusercakeys /etc/ca\nforcecommand /usr/bin/mcp-shim",
                vec!["warning: keys that this check cannot see"],
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
    fn key_files_of_sshd_are_read() {
        // Only root may write the directories above it, as above a home.
        let dir = nix::unistd::mkdtemp("/run/remit-keys-XXXXXX").unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        let home = dir.join("agent");
        let file = home.join("keys");
        let shim = dir.join("mcp-shim");
        let account = AccountFacts {
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
        let location = format!("'{}'", file.display());
        assert_eq!(more.len(), 3, "{more:?}");
        assert!(
            more[0].contains(&format!("{location}:5 has no command=")),
            "{more:?}"
        );
        assert!(
            more[2].contains(&format!(
                "{location}:3 is not a key: there is no key on it (1 more such)"
            )),
            "{more:?}"
        );
        assert_eq!(written.len(), 2, "{written:?}");
        assert!(
            written[0].contains("others can add keys for 'agent'"),
            "{written:?}"
        );
        assert!(
            written[1].contains("is writable by everyone"),
            "{written:?}"
        );
        assert!(gone[0].contains("which is not a program"), "{gone:?}");
        assert!(link[0].contains("its keys are unknown"), "{link:?}");
    }

    #[test]
    fn agent_made_by_hand_is_known_by_its_keys_if_they_can_be_read() {
        let dir = nix::unistd::mkdtemp(&std::env::temp_dir().join("remit-shim-XXXXXX")).unwrap();
        let shim = format!("restrict,command=\"/usr/bin/mcp-shim\" {KEY}\n");
        fs::write(dir.join("shim"), shim).unwrap();
        fs::write(dir.join("own"), format!("{KEY}\n")).unwrap();
        symlink("shim", dir.join("link")).unwrap();
        let account = AccountFacts {
            home: dir.clone(),
            ..agent(&[])
        };
        let found = [
            "own",
            "missing",
            "shim own",
            "link",
            "link own",
            "link shim",
        ]
        .map(|files| {
            let settings = SshdSettings {
                answered: true,
                effective: Effective::parse(&format!("authorizedkeysfile {files}")),
                problem: None,
            };
            starts_shim(&account, &settings).ok()
        });
        fs::remove_dir_all(&dir).unwrap();
        let expect = [Some(false), Some(false), Some(true), None, None, Some(true)];
        assert_eq!(found, expect);
    }

    #[test]
    fn shell_that_starts_nothing_is_reported() {
        for (shell, expect) in [
            ("/bin/sh", None),
            ("", None),
            ("/usr/sbin/nologin", Some("does not start mcp-shim")),
            ("/bin/false", Some("does not start mcp-shim")),
            ("/nonexistent/sh", Some("does not start mcp-shim")),
            ("/usr/bin/git-shell", Some("does not start mcp-shim")),
            ("/usr/bin/env", Some("is not in '/etc/shells'")),
        ] {
            let account = AccountFacts {
                shell: shell.into(),
                ..agent(&[])
            };
            let found = shell_fault(&account, "mcp-shim", "the agent");
            let found = whys(found.as_slice());
            assert_eq!(
                found.len(),
                usize::from(expect.is_some()),
                "{shell}: {found:?}"
            );
            assert!(
                found.concat().contains(expect.unwrap_or_default()),
                "{found:?}"
            );
        }
    }

    #[test]
    fn listed_shell_is_known_by_each_of_its_paths() {
        let is_login =
            |shell: &str, shells| matches!(shell_of(Path::new(shell), shells), ShellKind::Login);
        for (shell, shells, expect) in [
            ("/bin/bash", Some("# shells\n/usr/bin/bash\n"), true),
            ("/bin/bash", Some("/bin/sh\n"), false),
            ("/bin/bash", Some(""), false),
            ("/bin/bash", None, true),
            ("", Some(""), true),
        ] {
            assert_eq!(is_login(shell, shells), expect, "{shell} {shells:?}");
        }
    }
}
