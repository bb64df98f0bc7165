//! `remit-fleet get` and `put`: a file of each host, or files to each host. A line for each that is there, as they come.

use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use remit_plan::Upload;
use serde_json::json;

use super::render::print;
use super::run::chosen;
use crate::args::{GetArgs, PutArgs};
use crate::engine::{Engine, each};
use crate::exit::{Exit, say};
use crate::files::directory::{Directory, Made};
use crate::files::local::{Existing, Part};
use crate::files::outgoing::Outgoing;
use crate::files::shown;
use crate::files::targets::Targets;
use crate::files::transfer::{self, Bound, Road};
use crate::host_name::HostName;
use crate::signals::stopped;

/// A file that was fetched.
struct Fetched {
    path: String,
    upload: Upload,
}

pub async fn get(engine: &Arc<Engine>, args: &GetArgs) -> Exit {
    let hosts = match chosen(engine, args.on.as_deref()) {
        Ok(hosts) => hosts,
        Err(exit) => return exit,
    };
    let remote: Arc<[u8]> = args.remote.as_bytes().into();
    let targets = match Targets::new(args.local.as_deref(), &remote, hosts.len()) {
        Ok(targets) => targets,
        Err(why) => {
            say(&why);
            return Exit::Usage;
        }
    };
    // It stays if a file comes.
    let made = match targets.dir().map(directory_of_all) {
        Some(Ok(made)) => made,
        Some(Err(why)) => {
            say(&why);
            return Exit::Failed;
        }
        None => Made::none(),
    };
    let most = Bound {
        bytes: args.max_mib << 20,
        way_out: "--max-mib allows more",
    };
    let existing = match args.force {
        true => Existing::Replaced,
        false => Existing::Stays("--force replaces it"),
    };
    let works = Road::each(engine, &hosts).map(|road| {
        let (target, remote) = (targets.target(&road.host), remote.clone());
        async move {
            let mut part = Part::new(&target, existing)?;
            let upload = transfer::get(&road, &remote, &mut part, most).await?;
            let path = shown(&part.keep()?);
            Ok(Fetched { path, upload })
        }
    });
    let ended = "interrupted before it was whole";
    let exit = on_each(engine, &hosts, works, ended, |host, outcome| {
        match (outcome, args.json) {
            (Ok(Fetched { path, upload }), true) => {
                let upload = upload.to_string();
                line(&json!({ "host": host.as_str(), "file": path, "upload": upload }));
            }
            (Ok(Fetched { path, upload }), false) => line(&format!("{upload}  {path}")),
            (Err(why), true) => line(&json!({ "host": host.as_str(), "why": why })),
            (Err(why), false) => say(&format!("{host}: not fetched: {why}")),
        }
    })
    .await;
    drop(made);
    match exit {
        ControlFlow::Continue(exit) | ControlFlow::Break(exit) => exit,
    }
}

pub async fn put(engine: &Arc<Engine>, args: &PutArgs) -> Exit {
    let hosts = match chosen(engine, args.on.as_deref()) {
        Ok(hosts) => hosts,
        Err(exit) => return exit,
    };
    let opened: Result<Vec<_>, String> =
        args.files.iter().map(|path| Outgoing::open(path)).collect();
    let opened = match opened {
        Ok(opened) => opened,
        Err(why) => {
            say(&why);
            return Exit::Usage;
        }
    };
    let mut exit = Exit::Ok;
    // One file after another: a host takes a few at a time from one account.
    for Outgoing { path, upload, file } in opened {
        let file = Arc::new(file);
        let works = Road::each(engine, &hosts).map(|road| {
            let file = Arc::clone(&file);
            async move { transfer::put(&road, upload, &file).await }
        });
        let name = upload.to_string();
        let ended =
            "interrupted before it was whole; the same line goes on there within ten minutes";
        let sent = on_each(engine, &hosts, works, ended, |host, outcome| {
            match (outcome, args.json) {
                (Ok(()), true) => {
                    line(&json!({ "host": host.as_str(), "file": path, "upload": name }));
                }
                (Ok(()), false) => line(&format!("{host}: sent {path}")),
                (Err(why), true) => {
                    line(&json!({ "host": host.as_str(), "file": path, "why": why }));
                }
                (Err(why), false) => say(&format!("{host}: not sent: {path}: {why}")),
            }
        })
        .await;
        match sent {
            ControlFlow::Continue(Exit::Ok) if args.json => {}
            ControlFlow::Continue(Exit::Ok) => line(&format!("{upload}  {path}")),
            ControlFlow::Continue(failed) => exit = failed,
            ControlFlow::Break(failed) => return failed,
        }
    }
    exit
}

/// Makes it, unless it is there.
fn directory_of_all(dir: &Path) -> Result<Made, String> {
    let (Some(name), false) = (dir.file_name(), dir.is_dir()) else {
        return Ok(Made::none());
    };
    let parent = Directory::open(dir.parent().unwrap_or(Path::new("")))?;
    Made::child(parent, name).map(|(made, _)| made)
}

/// Does the work of each host, some at a time, until a signal breaks it. What is begun by then leaves nothing behind here, and
/// fails with `ended`.
async fn on_each<T: Send + 'static>(
    engine: &Engine,
    hosts: &[HostName],
    works: impl Iterator<Item = impl Future<Output = Result<T, String>> + Send + 'static>,
    ended: &'static str,
    done: impl Fn(&HostName, Result<T, String>),
) -> ControlFlow<Exit, Exit> {
    let mut exit = Exit::Ok;
    let end = async {
        stopped().await;
        ended
    };
    let broken = each(works, engine.manner().at_a_time, end, |at, outcome| {
        // Of what is ended the parts are removed by then.
        let outcome = outcome.unwrap_or_else(|_| Err(ended.to_owned()));
        if outcome.is_err() {
            exit = Exit::Failed;
        }
        if let Some(host) = hosts.get(at) {
            done(host, outcome);
        }
    });
    match broken.await {
        None => ControlFlow::Continue(exit),
        Some(_) => ControlFlow::Break(Exit::Failed),
    }
}

fn line(text: &impl ToString) {
    // A reader that is gone does not end what is begun.
    let _ = print(&format!("{}\n", text.to_string()));
}
