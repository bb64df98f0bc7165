//! `history`: lists what the caller's user has done. The warden reads it.

use remit_common::wire::{HistoryQuery, Reply};
use remit_link::{Answer, ToWarden};

use super::{Call, CallRefusal, wrong_answer};
use crate::call::validate;

impl Call {
    pub async fn history(&self, query: HistoryQuery) -> Result<Reply, CallRefusal> {
        validate::history(&query)?;
        let session = self.client.session;
        let message = |ticket| ToWarden::History {
            session,
            ticket,
            query,
        };
        match self.question(message).await? {
            Answer::History(page) => Ok(Reply::History(*page)),
            Answer::Known(_) | Answer::Stopping(_) | Answer::Access(_) => Err(wrong_answer()),
        }
    }
}
