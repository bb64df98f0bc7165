//! Gathers input for built-in commands that need facts. The broker asks, because a job cannot.

use std::time::Duration;

use remit_common::builtin::Builtin;
use remit_common::caps;
use remit_common::refusal::{Code, Refusal};
use remit_common::wire::Bytes;
use remit_facts::Sources;
use tokio::time::timeout;

use super::{Call, CallRefusal};

impl Call {
    /// Returns the standard input of a built-in command, if it needs one. A failure of the service manager is a fact
    /// too: the job prints it and is recorded like any other.
    pub async fn facts(&self, command: &Builtin) -> Result<Option<Bytes>, CallRefusal> {
        if !command.asks_manager() {
            return Ok(None);
        }
        let ask = async {
            let _turn = self.client.account.host_turn().await;
            let _permit = self.broker.manager.acquire().await.map_err(|_| late())?;
            Ok(remit_facts::service_json(command, &Sources::host()).await)
        };
        let deadline = Duration::from_millis(caps::HOST_DEADLINE_MS);
        let facts: Result<_, Refusal> =
            timeout(deadline, ask).await.unwrap_or_else(|_| Err(late()));
        Ok(Some(facts?.into()))
    }
}

fn late() -> Refusal {
    let seconds = caps::HOST_DEADLINE_MS / 1000;
    Refusal::new(
        Code::Busy,
        format!("it was not this request's turn to ask the service manager within {seconds} s"),
    )
    .next("try again later")
}
