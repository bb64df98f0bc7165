//! `host`: facts about the machine.

use remit_common::host::Section;
use remit_common::refusal::{Code, Refusal};
use remit_common::wire::Reply;

use super::{Call, Refused};

impl Call {
    /// Reads the facts.
    pub async fn host(&self, _sections: Vec<Section>) -> Result<Reply, Refused> {
        let _one = self.broker.host.acquire().await;
        Err(Refusal::new(Code::NotFound, "this build has no host facts").into())
    }
}
