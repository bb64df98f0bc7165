//! Work on many hosts, some at a time.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Does all works, at most `at_a_time` at once, and hands over the outcome of each as it comes, with its number. Dropping the
/// future ends all of them.
pub async fn each<W, O>(
    works: impl IntoIterator<Item = W>,
    at_a_time: usize,
    mut done: impl FnMut(usize, O),
) where
    W: Future<Output = O> + Send + 'static,
    O: Send + 'static,
{
    let slots = Arc::new(Semaphore::new(at_a_time));
    let mut tasks = JoinSet::new();
    for (at, work) in works.into_iter().enumerate() {
        let slots = Arc::clone(&slots);
        tasks.spawn(async move {
            // The semaphore is never closed.
            let _slot = slots.acquire_owned().await;
            (at, work.await)
        });
    }
    while let Some(joined) = tasks.join_next().await {
        if let Ok((at, outcome)) = joined {
            done(at, outcome);
        }
    }
}
