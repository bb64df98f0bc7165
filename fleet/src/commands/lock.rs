//! `remit-fleet lock` and `unlock`: all hosts, many at a time, and which of them did not answer.

use std::sync::Arc;

use super::approve::each_done;
use super::pending::{chosen, words};
use crate::args::{LockArgs, UnlockArgs};
use crate::engine::Engine;
use crate::exit::Exit;
use crate::remote::Manner;

/// Hosts that are down hold up nobody: it is urgent. Each is an ssh process.
const AT_A_TIME: usize = 64;

pub async fn lock(engine: &Arc<Engine>, args: &LockArgs) -> Exit {
    let mut words = words(&["lock", &format!("--message={}", args.message)]);
    words.extend(args.kill.then(|| "--kill".to_owned()));
    on_each(engine, args.on.as_deref(), words, "locked").await
}

pub async fn unlock(engine: &Arc<Engine>, args: &UnlockArgs) -> Exit {
    on_each(engine, args.on.as_deref(), words(&["unlock"]), "unlocked").await
}

async fn on_each(engine: &Arc<Engine>, on: Option<&str>, words: Vec<String>, word: &str) -> Exit {
    let hosts = match chosen(engine, on) {
        Ok(hosts) => hosts,
        Err(exit) => return exit,
    };
    let asked = hosts.into_iter().map(|host| (host, words.clone()));
    let manner = Manner {
        at_a_time: AT_A_TIME,
        ..engine.manner()
    };
    each_done(engine, asked.collect(), manner, word).await
}
