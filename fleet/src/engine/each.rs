//! Work on many hosts, some at a time.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Does all works, at most `at_a_time` at once, and hands over the outcome of each as it comes, with its number. Dropping the
/// future ends all of them soon.
pub async fn each<W, O>(
    works: impl IntoIterator<Item = W>,
    at_a_time: usize,
    done: impl FnMut(usize, O),
) where
    W: Future<Output = O> + Send + 'static,
    O: Send + 'static,
{
    each_in(&mut JoinSet::new(), works, at_a_time, done).await;
}

/// As [`each`], for a caller that ends the tasks itself.
pub async fn each_in<W, O>(
    tasks: &mut JoinSet<(usize, O)>,
    works: impl IntoIterator<Item = W>,
    at_a_time: usize,
    mut done: impl FnMut(usize, O),
) where
    W: Future<Output = O> + Send + 'static,
    O: Send + 'static,
{
    let slots = Arc::new(Semaphore::new(at_a_time));
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
