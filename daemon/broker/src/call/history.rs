//! `history`: what the caller's user has done here. The warden has it, and reads it.

use remit_common::wire::{HistoryQuery, Reply};
use remit_link::{Answer, ToWarden};

use super::{Call, Refused, wrong_answer};
use crate::check;

impl Call {
    /// One page of it.
    pub async fn history(&self, query: HistoryQuery) -> Result<Reply, Refused> {
        check::history(&query)?;
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
