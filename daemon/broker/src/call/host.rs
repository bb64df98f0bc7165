//! `host`: gathers facts about the machine, also for built-in commands that need some: the broker asks, because a job
//! cannot. Files are read on a thread, because a dead file system can block it. The thread holds its permit until it
//! ends, even if the client is gone. So the permits limit the number of blocked threads.

use std::sync::Arc;
use std::time::Duration;

use remit_common::builtin::Builtin;
use remit_common::caps;
use remit_common::refusal::{Code, Refusal};
use remit_facts::Sources;
use remit_wire::host::Section;
use remit_wire::{Bytes, Reply};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::{Call, CallRefusal, validate};

impl Call {
    pub async fn host(&self, mut sections: Vec<Section>) -> Result<Reply, CallRefusal> {
        validate::sections(&sections)?;
        sections.sort_unstable();
        sections.dedup();
        let gather = async {
            let _turn = self.client.account.host_turn().await;
            let permit = Arc::clone(&self.broker.host)
                .acquire_owned()
                .await
                .map_err(|_| late())?;
            let at = Sources::host();
            let bus = remit_facts::ask_bus(&sections, &at).await;
            let gather = move || {
                let _permit = permit;
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

    /// Returns the standard input of a built-in command, if it needs one. A failure of the service manager is a fact
    /// too: the job prints it and is recorded like any other.
    pub async fn facts(&self, command: &Builtin) -> Result<Option<Bytes>, CallRefusal> {
        if !command.asks_manager() {
            return Ok(None);
        }
        let ask = async {
            let _turn = self.client.account.host_turn().await;
            let _permit = self.broker.manager.acquire().await.map_err(|_| no_turn())?;
            Ok(remit_facts::service_json(command, &Sources::host()).await)
        };
        let deadline = Duration::from_millis(caps::HOST_DEADLINE_MS);
        let facts: Result<_, Refusal> = timeout(deadline, ask)
            .await
            .unwrap_or_else(|_| Err(no_turn()));
        Ok(Some(facts?.into()))
    }
}

fn late() -> Refusal {
    let seconds = caps::HOST_DEADLINE_MS / 1000;
    Refusal::new(
        Code::Busy,
        format!("gathering the facts took more than {seconds} s"),
    )
    .next("ask for fewer sections, or run commands that show the same")
}

fn no_turn() -> Refusal {
    let seconds = caps::HOST_DEADLINE_MS / 1000;
    Refusal::new(
        Code::Busy,
        format!("it was not this request's turn to ask the service manager within {seconds} s"),
    )
    .next("try again later")
}
