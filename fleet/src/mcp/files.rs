//! The tools `upload` and `download`: only if `[files] directory` says where. The model never has the bytes: a name, a size, a
//! hash.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde_json::{Map, Value, json};

use super::reply::Reply;
use crate::config::Host;
use crate::engine::{Engine, each, end_for_clients, too_late};
use crate::files::below::{self, Below};
use crate::files::outgoing::Outgoing;
use crate::files::shown;
use crate::files::targets;
use crate::files::transfer::{self, Bound, Road};
use crate::host_name::HostName;

pub const UPLOAD: &str = "upload";
pub const DOWNLOAD: &str = "download";
/// A job prints no more, as a rule.
const MOST: Bound = Bound {
    bytes: 64 << 20,
    way_out: "a person may fetch more with 'remit-fleet get'",
};
/// Hosts of one call.
const HOSTS: usize = 64;

/// Does the call on these hosts.
pub async fn call(
    engine: &Arc<Engine>,
    tool: &str,
    hosts: &[Host],
    arguments: &Map<String, Value>,
) -> Result<Reply, String> {
    let root = engine.fleet.files.clone();
    let root = root.ok_or("fleet.toml has no '[files] directory'")?;
    if hosts.len() > HOSTS {
        return Err(format!(
            "'on' names {} hosts; name at most {HOSTS}",
            hosts.len()
        ));
    }
    let hosts: Vec<HostName> = hosts.iter().map(|host| host.name.clone()).collect();
    match tool {
        UPLOAD => upload(engine, &root, &hosts, arguments).await,
        _ => download(engine, &root, &hosts, arguments).await,
    }
}

async fn upload(
    engine: &Arc<Engine>,
    root: &Path,
    hosts: &[HostName],
    arguments: &Map<String, Value>,
) -> Result<Reply, String> {
    let [path] = texts(UPLOAD, arguments, ["path"])?;
    let path = Below::parse(path.ok_or("'path' says which file")?)?;
    let Outgoing { path, upload, file } = path.outgoing(root)?;
    let file = Arc::new(file);
    let works = Road::each(engine, hosts).map(|road| {
        let file = Arc::clone(&file);
        async move { transfer::put(&road, upload, &file).await }
    });
    let (done, failed) = all(engine, hosts, works).await;
    let there: Vec<&str> = done.iter().map(|(host, ())| host.as_str()).collect();
    let data = json!({
        "upload": upload.to_string(), "path": path, "hosts": there,
        "next": "plan with an edit that has path and upload, on these hosts",
    });
    Ok(reply(data, there.is_empty(), failed))
}

async fn download(
    engine: &Arc<Engine>,
    root: &Path,
    hosts: &[HostName],
    arguments: &Map<String, Value>,
) -> Result<Reply, String> {
    let [remote, to] = texts(DOWNLOAD, arguments, ["path", "to"])?;
    let remote: Arc<[u8]> = remote.ok_or("'path' says which file")?.as_bytes().into();
    let name = targets::name_of(&remote)?;
    let to = to.map(Below::parse).transpose()?;
    let works = Road::each(engine, hosts).map(|road| {
        let (root, to, name) = (root.to_owned(), to.clone(), name.to_owned());
        let remote = Arc::clone(&remote);
        async move {
            let mut part = below::incoming(&root, to.as_ref(), &road.host, &name)?;
            let upload = transfer::get(&road, &remote, &mut part, MOST).await?;
            Ok((part.keep()?, upload))
        }
    });
    let (done, failed) = all(engine, hosts, works).await;
    let files: Vec<Value> = done
        .iter()
        .map(|(host, (path, upload))| {
            json!({ "host": host.as_str(), "path": shown(path), "sha256": upload.hash(), "bytes": upload.size })
        })
        .collect();
    Ok(reply(json!({ "files": files }), files.is_empty(), failed))
}

/// Takes the texts of the arguments. Others are refused.
fn texts<'a, const N: usize>(
    tool: &str,
    arguments: &'a Map<String, Value>,
    names: [&str; N],
) -> Result<[Option<&'a str>; N], String> {
    if let Some(other) = arguments.keys().find(|key| !names.contains(&key.as_str())) {
        let other = remit_common::text::line(other.as_bytes(), 60);
        let names = names.join(" and ");
        return Err(format!(
            "{tool} has no argument '{other}': it has on, {names}"
        ));
    }
    let mut texts = [None; N];
    for (text, name) in texts.iter_mut().zip(names) {
        *text = match arguments.get(name) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.as_str()),
            Some(_) => return Err(format!("'{name}' is a text")),
        };
    }
    Ok(texts)
}

type Failed = BTreeMap<String, Vec<String>>;

/// Does the work of each host before the client gives up. What is not whole by then leaves nothing.
async fn all<T: Send + 'static>(
    engine: &Engine,
    hosts: &[HostName],
    works: impl Iterator<Item = impl Future<Output = Result<T, String>> + Send + 'static>,
) -> (Vec<(HostName, T)>, Failed) {
    const LATE: &str = "it was not whole before the time for this call was over; a person has more time with 'remit-fleet get' and 'put'";
    let late = || Err(LATE.to_owned());
    let mut outcomes: Vec<Result<T, String>> = hosts.iter().map(|_| late()).collect();
    let end = too_late(Some(end_for_clients()));
    each(works, engine.manner().at_a_time, end, |at, outcome| {
        if let Some(slot) = outcomes.get_mut(at) {
            *slot = outcome.unwrap_or_else(|_| late());
        }
    })
    .await;
    let (mut done, mut failed) = (Vec::new(), Failed::new());
    for (host, outcome) in hosts.iter().zip(outcomes) {
        match outcome {
            Ok(outcome) => done.push((host.clone(), outcome)),
            Err(why) => failed.entry(why).or_default().push(host.to_string()),
        }
    }
    (done, failed)
}

fn reply(data: Value, is_error: bool, failed: Failed) -> Reply {
    let mut data = match data {
        Value::Object(data) => data,
        _ => Map::new(),
    };
    let failed: Vec<Value> = failed
        .into_iter()
        .map(|(why, hosts)| json!({ "hosts": hosts, "why": why }))
        .collect();
    if !failed.is_empty() {
        data.insert("failed".to_owned(), failed.into());
    }
    Reply {
        is_error,
        ..Reply::plain(data)
    }
}

/// Returns both tools, with `on` in this form.
pub fn tools(on: &Value, has_many: bool) -> Vec<Tool> {
    let text = |what: &str| json!({ "type": "string", "description": what });
    [
        (
            UPLOAD,
            "Send a file to hosts",
            "Send a file of the user's directory for this to hosts, for plan. Nothing there changes.",
            json!({ "on": on, "path": text("Relative to that directory.") }),
            json!({ "upload": { "type": "string" } }),
        ),
        (
            DOWNLOAD,
            "Fetch a file of hosts",
            "Fetch a file of up to 64 MiB of each host into the user's directory for this, below a directory of the host's name. Replaces nothing.",
            json!({ "on": on, "path": text("Absolute, on the hosts."), "to": text("A directory below that one.") }),
            json!({ "files": { "type": "array" } }),
        ),
    ]
    .map(|(name, title, what, properties, output)| {
        let required = match has_many {
            true => json!(["path", "on"]),
            false => json!(["path"]),
        };
        let schema = |properties: Value| -> JsonObject {
            Map::from_iter([
                ("type".to_owned(), json!("object")),
                ("properties".to_owned(), properties),
            ])
        };
        let mut input = schema(properties);
        input.insert("required".to_owned(), required);
        input.insert("additionalProperties".to_owned(), json!(false));
        Tool::new(name, what, Arc::new(input))
            .with_raw_output_schema(Arc::new(schema(output)))
            .with_title(title)
            .with_annotations(
                ToolAnnotations::with_title(title)
                    .read_only(false)
                    .destructive(false)
                    .idempotent(name == UPLOAD)
                    .open_world(true),
            )
    })
    .into()
}
