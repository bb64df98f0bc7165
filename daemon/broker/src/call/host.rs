//! `host`: facts about the machine.
//!
//! Files are read on a thread of their own, since a dead file system may hang
//! it. It keeps its place until it is done, even when nobody waits any more:
//! so there are never more such threads than places.

use std::sync::Arc;
use std::time::Duration;

use remit_common::caps;
use remit_common::host::Section;
use remit_common::refusal::{Code, Refusal};
use remit_common::wire::Reply;
use remit_facts::Sources;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::{Call, Refused};
use crate::check;

impl Call {
    /// Gathers the facts.
    pub async fn host(&self, mut sections: Vec<Section>) -> Result<Reply, Refused> {
        check::sections(&sections)?;
        sections.sort_unstable();
        sections.dedup();
        let gather = async {
            let _turn = self.client.account.host_turn().await;
            let place = Arc::clone(&self.broker.host)
                .acquire_owned()
                .await
                .map_err(|_| late())?;
            let at = Sources::host();
            let bus = remit_facts::ask_bus(&sections, &at).await;
            let gather = move || {
                let _place = place;
                remit_facts::gather(&sections, &at, bus)
            };
            spawn_blocking(gather).await.map_err(|_| late())
        };
        let deadline = Duration::from_millis(caps::HOST_DEADLINE_MS);
        let report = timeout(deadline, gather)
            .await
            .unwrap_or_else(|_| Err(late()))?;
        Ok(Reply::Host(Box::new(report)))
    }
}

fn late() -> Refusal {
    let seconds = caps::HOST_DEADLINE_MS / 1000;
    Refusal::new(
        Code::Busy,
        format!("the facts were not gathered within {seconds} s"),
    )
    .next("ask for fewer sections, or run the commands that show them")
}
