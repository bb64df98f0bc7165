//! Asks `remit-prove` what accounts of a machine could reach. It reads what strangers wrote, so it is a process of its own.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::sys::resource::{UsageWho, getrusage};
use nix::unistd::{Gid, User};
use remit_common::admin::{ActiveGrant, AdminReply, AdminRequest};
use remit_common::prove::{KnownAccount, PROGRAM, PermittedGrant, Question};
use remit_policy::exchange::{receive, send};
use remit_policy::{Diagnostic, Policy};
use remit_policy_files::{Owners, PolicyFiles};
use remit_prove::accounts::Accounts;
use remit_prove::machine::{Bounds, Machine};
use remit_prove::question::Answer;
use remit_prove::report::Report;

use crate::args::{FilesArgs, MachineArgs};
use crate::client::{admin_socket, helper};
use crate::commands::policy;
use crate::enrollment::account;
use crate::error::Failure;
use crate::render::output::Context;

/// Makes the question about a machine under this policy. `None` as the subject: each agent.
pub fn question(root: &Path, policy: &Policy, subject: Option<&str>) -> Result<Question, String> {
    let settings = root.join("etc/remit/remit.toml");
    let [socket_group, admin_group] =
        policy::group_words(&settings).map_err(|why| failed(&settings, &why))?;
    Ok(Question {
        release: remit_common::RELEASE.to_owned(),
        root: root.as_os_str().as_bytes().to_vec().into(),
        policy: policy.encode().into(),
        compared: None,
        subject: subject.map(ToOwned::to_owned),
        accounts: subject
            .iter()
            .filter_map(|name| known(root, name))
            .collect(),
        in_force: Vec::new(),
        asks_for_changes: policy::asks_for_changes(&settings)
            .map_err(|why| failed(&settings, &why))?,
        socket_group,
        admin_group,
    })
}

/// Returns what temporary grants permit, as the daemon has them.
pub fn in_force(context: &Context) -> Result<Vec<PermittedGrant>, Failure> {
    let grants = admin_socket::ask(context, AdminRequest::Grants, |reply| match reply {
        AdminReply::Grants(grants) => Some(grants),
        _ => None,
    })?;
    let permitted = grants.into_iter().map(|entry| {
        let ActiveGrant { new, by, .. } = &entry;
        let commands = entry.covered.iter().cloned().collect();
        let permitted = PermittedGrant::new(new, commands, by);
        permitted.in_force(entry.grant, by, entry.left_ms)
    });
    Ok(permitted.collect())
}

/// Asks the user database about an account: a directory service may have it, or more groups of it.
fn known(root: &Path, name: &str) -> Option<KnownAccount> {
    if root != Path::new("/") {
        return None;
    }
    let user = User::from_name(name).ok()??;
    let gids = account::groups_of(&user).ok()?;
    let others = gids.into_iter().filter(|gid| *gid != user.gid);
    let gids = std::iter::once(user.gid).chain(others);
    Some(KnownAccount {
        name: user.name,
        uid: user.uid.as_raw(),
        gids: gids.map(Gid::as_raw).collect(),
    })
}

/// Loads the policy of a machine. Without files of a policy nothing is granted.
pub fn policy_of(root: &Path) -> Result<Policy, Vec<Diagnostic>> {
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
    let table = accounts.unwrap_or_default().table();
    remit_policy_compile::load(&files.sources, &table).map(|(policy, _)| policy)
}

pub fn ask(question: &Question) -> Result<Report, String> {
    let program = helper::find(PROGRAM);
    let answer = helper::ask(&program, |input| send(input, question), receive);
    match answer.map_err(|why| failed(&program, &why))? {
        Answer::Report(mut report) => {
            let usage = getrusage(UsageWho::RUSAGE_CHILDREN);
            let memory = usage.map_or(0, |usage| usage.max_rss());
            report.figures.kibibytes = u64::try_from(memory).unwrap_or(0);
            Ok(report)
        }
        Answer::Refused(why) => Err(why),
    }
}

fn failed(path: &Path, why: &dyn std::fmt::Display) -> String {
    format!("'{}': {why}", path.display())
}
