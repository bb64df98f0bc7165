//! Work on many hosts, some at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Why a work has no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfinished {
    NotStarted,
    /// What ended the wait.
    Started(&'static str),
}

/// Does all works, at most `at_a_time` at once, until `end` says why nothing more is waited for, and hands over the outcome of
/// each as it comes, with its number. Works without one by then are ended, and then handed over as well. Returns what `end` said.
/// Dropping the future ends all of them soon.
pub async fn each<W, O>(
    works: impl IntoIterator<Item = W>,
    at_a_time: usize,
    end: impl Future<Output = &'static str>,
    mut done: impl FnMut(usize, Result<O, Unfinished>),
) -> Option<&'static str>
where
    W: Future<Output = O> + Send + 'static,
    O: Send + 'static,
{
    let slots = Arc::new(Semaphore::new(at_a_time));
    let mut tasks = JoinSet::new();
    // Whether each that has no outcome yet is started.
    let mut open = Vec::new();
    for (at, work) in works.into_iter().enumerate() {
        let (slots, is_started) = (Arc::clone(&slots), Arc::new(AtomicBool::new(false)));
        open.push(Some(Arc::clone(&is_started)));
        tasks.spawn(async move {
            // The semaphore is never closed.
            let _slot = slots.acquire_owned().await;
            is_started.store(true, Ordering::Relaxed);
            (at, work.await)
        });
    }
    let mut end = std::pin::pin!(end);
    let why = loop {
        let joined = tokio::select! {
            biased;
            why = &mut end => break Some(why),
            joined = tasks.join_next() => joined,
        };
        match joined {
            Some(Ok((at, outcome))) => close(&mut open, at, outcome, &mut done),
            Some(Err(_)) => {}
            None => break None,
        }
    };
    while let Some(joined) = tasks.try_join_next() {
        if let Ok((at, outcome)) = joined {
            close(&mut open, at, outcome, &mut done);
        }
    }
    tasks.shutdown().await;
    for (at, is_started) in open.into_iter().enumerate() {
        if let Some(is_started) = is_started {
            let started = why.filter(|_| is_started.load(Ordering::Relaxed));
            done(
                at,
                Err(started.map_or(Unfinished::NotStarted, Unfinished::Started)),
            );
        }
    }
    why
}

fn close<O>(
    open: &mut [Option<Arc<AtomicBool>>],
    at: usize,
    outcome: O,
    done: &mut impl FnMut(usize, Result<O, Unfinished>),
) {
    if let Some(slot) = open.get_mut(at) {
        *slot = None;
    }
    done(at, Ok(outcome));
}
