//! `remit-fleet lock` and `unlock`: all hosts at once, and which of them did not answer.

use std::sync::Arc;

use super::approve::done;
use super::pending::{chosen, limit, words};
use crate::args::{LockArgs, UnlockArgs};
use crate::engine::Engine;
use crate::exit::Exit;

pub async fn lock(engine: &Arc<Engine>, args: &LockArgs) -> Exit {
    let mut words = words(&["lock", "-m", &args.message]);
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
    let answers = engine.remit(asked, Some(limit(engine))).await;
    done(answers, word, false)
}
