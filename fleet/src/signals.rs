//! Signals that would end this program.

use std::future::pending;

use tokio::signal::unix::{SignalKind, signal};

/// Returns when one comes. From then on they do nothing else.
pub async fn stopped() {
    let kinds = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ];
    match kinds.map(signal) {
        [Ok(mut one), Ok(mut two), Ok(mut three)] => tokio::select! {
            _ = one.recv() => {}
            _ = two.recv() => {}
            _ = three.recv() => {}
        },
        // It ends the program at once, as usual.
        _ => pending().await,
    }
}
