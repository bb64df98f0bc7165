//! Whether remit holds on this machine: its walls, and the ways around them.
//!
//! The daemon tries its own walls and tells. Everything else is looked at from here, with the
//! caller's rights: what only root can see is skipped, and said so. Nothing is changed.

mod agents;
mod check;
mod elsewhere;
mod files;
mod journal;
mod keys;
mod place;
mod reach;
mod read;
mod report;
mod rise;
mod service;
mod ssh;
mod started;
mod walls;
mod ways;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{io, iter};

use nix::unistd::{Group, geteuid};
use remit_common::admin::{AdminReply, AdminRequest, Checkup};
use remit_common::client::{self, ClientError};
use remit_common::names::Runtime;

use agents::{Account, Accounts};
use check::Part;
pub use check::{Check, Verdict};
use keys::Now;
use place::Place;
pub use report::Report;
use service::Service;

use crate::enroll;
use crate::program::ProgramError;
use crate::sshd::answers::Answers;
use crate::sshd::connection::Connection;
use crate::sshd::effective::Effective;

/// How long the daemon may take to try its walls. It answers within ten seconds by itself.
const DEADLINE: Duration = Duration::from_secs(30);

/// Makes all checks.
pub fn examine(runtime: &Runtime) -> Report {
    let asked = SystemTime::now().duration_since(UNIX_EPOCH);
    let asked = asked.unwrap_or_default();
    // First, since a connection starts a daemon that was only waiting for one.
    let Told {
        checkup,
        parts: [walls, kernel],
        lock,
    } = daemon(runtime);
    let service = Service::ask();
    let units = match &service {
        Some(Ok(service)) => service.files(),
        Some(Err(_)) | None => Vec::new(),
    };
    let own = files::own(&units);
    let (agents, ssh) = match geteuid().is_root() {
        true => agents(runtime, &own),
        false => {
            let skipped = || {
                vec![Check::skipped(
                    "all",
                    "only root can tell: sudo remit doctor",
                )]
            };
            (skipped(), skipped())
        }
    };
    let part = |title, checks| Part { title, checks };
    let parts = vec![
        walls,
        kernel,
        part("agents", agents),
        part("ssh", ssh),
        part("files", files(runtime, &own)),
        part("service", [lock, service_checks(service)].concat()),
        part("journal", journal(checkup.as_ref(), asked)),
    ];
    Report { parts, checkup }
}

/// What the daemon tells of itself.
struct Told {
    checkup: Option<Checkup>,
    parts: [Part; 2],
    /// Whether it is locked; nothing where it does not tell.
    lock: Vec<Check>,
}

fn daemon(runtime: &Runtime) -> Told {
    let socket = runtime.admin_socket();
    let (tell, told) = mpsc::channel();
    // A daemon that hangs must not hang its doctor: the thread ends with the process.
    thread::spawn(move || {
        let doctor = client::admin(&socket, AdminRequest::Doctor);
        let lock = doctor.is_ok().then(|| lock(&socket));
        tell.send((doctor, lock.unwrap_or_default()))
    });
    let failure = |why: String, fix: &str| {
        let walls = Part {
            title: "walls",
            checks: vec![Check::failure("daemon", why, fix)],
        };
        let kernel = Part {
            title: "kernel",
            checks: vec![Check::skipped("all", "the daemon did not tell")],
        };
        Told {
            checkup: None,
            parts: [walls, kernel],
            lock: Vec::new(),
        }
    };
    let restart = "systemctl restart remitd; if it fails: journalctl -u remitd -n 20";
    match told.recv_timeout(DEADLINE) {
        Ok((Ok(AdminReply::Doctor(checkup)), lock)) => {
            let lsm = read::text(Path::new("/sys/kernel/security/lsm"))
                .ok()
                .flatten();
            let parts = walls::parts(&checkup, lsm.as_deref());
            Told {
                checkup: Some(*checkup),
                parts,
                lock,
            }
        }
        Ok((Ok(_), _)) => failure(
            "the daemon gave the answer to another question".into(),
            restart,
        ),
        Ok((Err(error @ ClientError::NotAllowed { .. }), _)) => {
            failure(error.to_string(), "sudo remit doctor")
        }
        Ok((Err(error), _)) => failure(error.to_string(), restart),
        Err(_) => failure(
            format!("the daemon did not answer within {} s", DEADLINE.as_secs()),
            restart,
        ),
    }
}

/// Whether the daemon runs anything at all just now.
fn lock(socket: &Path) -> Vec<Check> {
    let Ok(AdminReply::Status(status)) = client::admin(socket, AdminRequest::Status) else {
        return Vec::new();
    };
    vec![match &status.locked {
        None => Check::ok("lock", "not locked"),
        Some(why) => Check::warning(
            "lock",
            format!("remit is locked, and runs nothing: {why}"),
            "remit unlock",
        ),
    }]
}

/// Everything about those who may connect, and their ways in by ssh.
fn agents(runtime: &Runtime, own: &[PathBuf]) -> (Vec<Check>, Vec<Check>) {
    let clients = group_of(&runtime.socket(), "remit");
    let Some(clients) = clients else {
        let why = "there is neither a socket nor a group 'remit'";
        let failure = Check::failure("members", why, "install the package again");
        return (vec![failure], vec![Check::skipped("all", why)]);
    };
    let sshd = Answers::read();
    let accounts = Accounts::read();
    let found = accounts.as_ref().map_err(ToString::to_string);
    let found = found.and_then(|accounts| {
        let enrolled = enroll::enrolled(Path::new(enroll::STATE)).map_err(|e| e.to_string())?;
        let is_agent = |account: &Account| {
            ssh::settings(account, &sshd).is_some_and(|sshd| ssh::starts_shim(account, &sshd))
        };
        let found = accounts.find(clients, &enrolled, is_agent);
        Ok((accounts, found.map_err(|e| e.to_string())?))
    });
    let (accounts, found) = match found {
        Ok(found) => found,
        Err(error) => {
            let why = format!("cannot tell who is an agent: {error}");
            let failure = Check::failure(
                "enrolled",
                &why,
                "getent group remit; ls /var/lib/remit/enrolled",
            );
            return (vec![failure], vec![Check::skipped("all", why)]);
        }
    };
    let admins = group_of(&runtime.admin_socket(), "remit-admin");
    let guarded = files::guarded(own, runtime);
    let mut checks = members(&found);
    checks.extend(found.records.iter().cloned());
    let mut by_ssh = Vec::new();
    let now = ssh::now();
    for account in &found.agents {
        let (own, ssh) = judged(account, accounts, &sshd, admins, &now);
        checks.extend(own);
        checks.extend(reach::checks(account, &guarded));
        by_ssh.extend(ssh);
    }
    if by_ssh.is_empty() {
        by_ssh.push(match found.agents.is_empty() {
            true => Check::ok("keys", "nobody is enrolled"),
            false => Check::skipped("all", "there is no sshd on this machine"),
        });
    }
    (checks, by_ssh)
}

/// What one account may do without remit: by itself, and by ssh.
fn judged(
    account: &Account,
    accounts: &Accounts,
    sshd: &Answers,
    admins: Option<u32>,
    now: &Now,
) -> (Vec<Check>, Vec<Check>) {
    let settings = ssh::settings(account, sshd);
    let takes_passwords = match &settings {
        None => Some(false),
        Some(settings) if settings.told => {
            let yes = |keyword| settings.effective.is_yes(keyword);
            Some(yes("passwordauthentication") || yes("kbdinteractiveauthentication"))
        }
        Some(_) => None,
    };
    let mut checks = agents::groups(account, admins);
    checks.push(agents::password_check(account, takes_passwords));
    checks.extend(rise::checks(account));
    checks.extend(started::checks(account));
    let mut by_ssh = Vec::new();
    if let Some(settings) = settings {
        by_ssh.extend(ssh::checks(account, &settings, now));
        by_ssh.extend(ways::checks(account, &settings, sshd, now));
        let keys = elsewhere::keys_of(account, &settings.effective);
        by_ssh.extend(foreign(&account.name, &keys, accounts, sshd, now));
    }
    (checks, by_ssh)
}

/// Whether these keys of `user` open other accounts, by whatever connection.
fn foreign(
    user: &str,
    keys: &BTreeSet<Vec<u8>>,
    accounts: &Accounts,
    sshd: &Answers,
    now: &Now,
) -> Vec<Check> {
    let others = elsewhere::others(&accounts.passwd);
    let settings_of = |name: &str| {
        let other_ways = sshd.ways(name).into_iter().filter_map(|way| way.connection);
        let ways = iter::once(Connection::default()).chain(other_ways);
        let all: Vec<Rc<Effective>> = ways
            .filter_map(|connection| sshd.of_other(user, name, &connection))
            .collect();
        match all.is_empty() {
            true => vec![Rc::new(Effective::default())],
            false => all,
        }
    };
    elsewhere::checks(user, keys, &others, settings_of, now)
}

/// What is wrong with an account that is to become an agent's, and which other accounts its new `key` opens. Needs root.
///
/// # Errors
/// The accounts cannot be read.
pub fn of_newcomer(user: &str, key: Vec<u8>) -> io::Result<Vec<Check>> {
    let accounts = Accounts::read()?;
    let (sshd, now) = (Answers::read(), ssh::now());
    let mut checks = match accounts.account(user)? {
        None => Vec::new(),
        Some(account) => {
            let admins = group_of(
                &Runtime::new(Runtime::DEFAULT).admin_socket(),
                "remit-admin",
            );
            let (own, by_ssh) = judged(&account, &accounts, &sshd, admins, &now);
            [own, by_ssh].concat()
        }
    };
    checks.extend(foreign(
        user,
        &BTreeSet::from([key]),
        &accounts,
        &sshd,
        &now,
    ));
    Ok(checks)
}

/// The group that a socket belongs to, else the group of this name.
fn group_of(socket: &Path, name: &str) -> Option<u32> {
    match Place::look(socket) {
        Ok(Some(place)) => Some(place.group.id),
        Ok(None) | Err(_) => {
            let group = Group::from_name(name).ok().flatten()?;
            Some(group.gid.as_raw())
        }
    }
}

fn members(found: &agents::Found) -> Vec<Check> {
    let names: Vec<&str> = found.agents.iter().map(|one| one.name.as_str()).collect();
    let agents = match names.as_slice() {
        [] => "nobody is enrolled yet: remit enroll USER KEYFILE".to_owned(),
        names => names.join(" "),
    };
    let mut checks = vec![Check::ok("agents", agents)];
    if !found.people.is_empty() {
        let people = found.people.join(" ");
        checks.push(Check::ok(
            "people",
            format!("{people}: may connect, not enrolled, so not judged as agents"),
        ));
    }
    if found.more > 0 {
        checks.push(Check::warning(
            "members",
            format!("of those who may connect {} are not looked at", found.more),
            "getent group remit",
        ));
    }
    checks
}

fn files(runtime: &Runtime, own: &[PathBuf]) -> Vec<Check> {
    let mut checks = files::programs();
    checks.extend(files::trust(own));
    checks.extend(files::accepted());
    checks.extend(files::sockets(runtime));
    checks.extend(files::state());
    checks.push(files::room(Path::new("/var/lib/remit")));
    checks
}

fn service_checks(service: Option<Result<Service, ProgramError>>) -> Vec<Check> {
    match service {
        None => vec![Check::skipped("all", "systemd does not run this machine")],
        Some(Err(error)) => vec![Check::skipped("all", error.to_string())],
        Some(Ok(service)) => service.checks(),
    }
}

/// The trail, after the daemon was `asked` for a checkup (time since 1970).
fn journal(checkup: Option<&Checkup>, asked: Duration) -> Vec<Check> {
    let Some(checkup) = checkup else {
        let mut checks = vec![Check::skipped("audit trail", "the daemon did not tell")];
        checks.extend(journal::checks(None));
        return checks;
    };
    let mut checks = vec![walls::audit(checkup)];
    if checkup.audit.starts_with("journald") {
        checks.extend(journal::checks(Some(asked)));
    }
    checks
}
