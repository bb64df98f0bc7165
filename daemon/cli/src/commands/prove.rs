//! `remit prove`: has `remit-prove` look at the machine and answer what an agent could reach. That program reads what
//! strangers wrote, so it is a process of its own; its answer is printed as text of a stranger.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::resource::{UsageWho as Usage, getrusage};
use nix::unistd::{Gid, Uid, User, getgrouplist};
use remit_common::refusal::{Code, Refusal};
use remit_policy::exchange::{receive, send};
use remit_policy::{Ids, MachineTable, Policy};
use remit_policy_files::{Owners, PolicyFiles};
use remit_prove::accounts::Accounts;
use remit_prove::machine::{Bounds, Machine};
use remit_prove::question::{Answer, KnownAccount, PROGRAM, Question};
use remit_prove::report::Report;
use remit_prove::text;

use super::policy;
use crate::args::{FilesArgs, MachineArgs, ProveArgs};
use crate::error::{Exit, Failure};
use crate::render::output::{self, Context, Form};

const PACKAGED: &str = "/usr/libexec/remit";

/// The exit status shows if a path was found.
pub fn prove(context: &Context, args: &ProveArgs) -> Result<Exit, Failure> {
    if !Uid::effective().is_root() {
        return Err(Failure::NotRoot("prove"));
    }
    let root = args.root.canonicalize();
    let root = root.map_err(|error| failed(&args.root, &error))?;
    let policy = match policy_of(&root) {
        Ok(policy) => policy,
        Err(found) => return policy::unloaded(context, found),
    };
    let [socket_group, admin_group] = policy::group_words(&root.join("etc/remit/remit.toml"))
        .map_err(|why| failed(&root, &why))?;
    let question = Question {
        release: remit_common::RELEASE.to_owned(),
        root: root.as_os_str().as_bytes().to_vec(),
        policy: policy.encode(),
        subject: args.subject.clone(),
        accounts: args
            .subject
            .iter()
            .filter_map(|name| known(&root, name))
            .collect(),
        socket_group,
        admin_group,
    };
    let mut report = ask(&question)?;
    if !root.join("etc/remit").exists() {
        let why = "there is no policy in /etc/remit: nothing is granted";
        report.limits.push(why.to_owned());
    }
    match context.form {
        Form::Json => output::json(&report)?,
        Form::Text => output::text(&text::text(&report, args.verbose))?,
    }
    let is_reached = report
        .subjects
        .iter()
        .any(|subject| !subject.reaches.is_empty());
    Ok(if is_reached { Exit::FOUND } else { Exit::OK })
}

/// Asks the user database about an account: a directory service may have it, or more groups of it.
fn known(root: &Path, name: &str) -> Option<KnownAccount> {
    if root != Path::new("/") {
        return None;
    }
    let user = User::from_name(name).ok()??;
    let gids = getgrouplist(&CString::new(name).ok()?, user.gid).ok()?;
    let others = gids.into_iter().filter(|gid| *gid != user.gid);
    let gids = std::iter::once(user.gid).chain(others);
    Some(KnownAccount {
        name: user.name,
        uid: user.uid.as_raw(),
        gids: gids.map(Gid::as_raw).collect(),
    })
}

/// Loads the policy of a machine. Without files of a policy nothing is granted.
fn policy_of(root: &Path) -> Result<Policy, Vec<remit_policy::Diagnostic>> {
    let (config, vendor) = (root.join("etc/remit"), root.join("usr/lib/remit"));
    if root == Path::new("/") && config.exists() {
        let args = FilesArgs {
            config,
            any_owner: false,
            machine: MachineArgs {
                vendor,
                other_machine: false,
            },
        };
        return policy::of_args(&args).0.map(|loaded| loaded.policy);
    }
    let files = match config.exists() {
        true => policy::directory(&config, &vendor, Owners::Any)?,
        false => PolicyFiles {
            sources: Vec::new(),
            warnings: Vec::new(),
        },
    };
    let accounts = Machine::open(root, Bounds::default()).map(|machine| Accounts::read(&machine));
    let table = table(&accounts.unwrap_or_default());
    remit_policy_compile::load(&files.sources, &table).map(|(policy, _)| policy)
}

/// Answers about names as the tables of another machine do.
fn table(accounts: &Accounts) -> MachineTable {
    let users = accounts.users.iter();
    let groups = accounts.groups.iter();
    let listed = groups.clone().map(|(_, group)| {
        let members = accounts.users.iter();
        let members = members.filter(|(name, _)| accounts.gids(name).contains(&group.gid));
        (group.gid, members.map(|(_, user)| user.uid).collect())
    });
    MachineTable {
        users: users
            .clone()
            .map(|(name, user)| {
                let (uid, gid) = (user.uid, user.gid);
                (name.clone(), Ids { uid, gid })
            })
            .collect(),
        groups: groups
            .clone()
            .map(|(name, group)| (name.clone(), group.gid))
            .collect(),
        members: users
            .map(|(name, _)| (name.clone(), accounts.gids(name)))
            .collect(),
        listed: listed.collect(),
        ..MachineTable::default()
    }
}

fn ask(question: &Question) -> Result<Report, Failure> {
    let program = find();
    let mut child = Command::new(&program)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(&program, &error))?;
    // It reads the whole question before it answers, and ends by itself: its time is limited.
    let sent = child
        .stdin
        .take()
        .map(|mut input| send(&mut input, question));
    let answer = child.stdout.take().map(|mut output| receive(&mut output));
    let status = child.wait().map_err(|error| failed(&program, &error))?;
    match (sent, answer) {
        (Some(Ok(())), Some(Ok(Answer::Report(mut report)))) => {
            let usage = getrusage(Usage::RUSAGE_CHILDREN);
            let memory = usage.map_or(0, |usage| usage.max_rss());
            report.figures.kibibytes = u64::try_from(memory).unwrap_or(0);
            Ok(report)
        }
        (Some(Ok(())), Some(Ok(Answer::Refused(why)))) => {
            Err(Failure::Machine(Refusal::new(Code::InvalidArgs, why)))
        }
        _ => Err(failed(&program, &format!("it gave no answer ({status})"))),
    }
}

fn failed(path: &Path, why: &dyn std::fmt::Display) -> Failure {
    let text = format!("cannot look at the machine: '{}': {why}", path.display());
    Failure::Machine(Refusal::new(Code::NotStarted, text))
}

/// Next to this program, as in a build, or in the package's directory.
fn find() -> PathBuf {
    let own = std::env::current_exe().ok();
    let beside = own
        .map(|own| own.with_file_name(PROGRAM))
        .filter(|path| path.exists());
    beside.unwrap_or_else(|| Path::new(PACKAGED).join(PROGRAM))
}
