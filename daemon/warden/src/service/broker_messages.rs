//! Packs messages to the broker, and keeps those that it has not read.

use std::collections::VecDeque;

use remit_common::caps;
use remit_common::refusal::{Code, Refusal};
use remit_link::socket::Packed;
use remit_link::{Delivery, ForeignSocket, HistoryRecord, LinkError, ToBroker};

/// Bounds of the queue for a broker that does not read: messages, bytes, descriptors. Beyond them, it is killed.
const QUEUE: usize = 8192;
const QUEUE_BYTES: usize = 16 << 20;
const QUEUE_FDS: usize = 1024;

#[derive(Debug, Default)]
pub struct LinkQueue {
    pub messages: VecDeque<(Packed, Vec<ForeignSocket>)>,
    bytes: usize,
    fds: usize,
}

impl LinkQueue {
    pub fn has_capacity(&self) -> bool {
        self.messages.len() < QUEUE && self.bytes < QUEUE_BYTES && self.fds < QUEUE_FDS
    }

    pub fn push(&mut self, packed: Packed, fds: Vec<ForeignSocket>) {
        self.bytes = self.bytes.saturating_add(packed.size());
        self.fds = self.fds.saturating_add(fds.len());
        self.messages.push_back((packed, fds));
    }

    pub fn pop(&mut self) {
        if let Some((packed, fds)) = self.messages.pop_front() {
            self.bytes = self.bytes.saturating_sub(packed.size());
            self.fds = self.fds.saturating_sub(fds.len());
        }
    }
}

pub fn packed(
    entry: Option<&HistoryRecord>,
    message: Option<&ToBroker>,
) -> Result<Packed, LinkError> {
    Packed::new(&Delivery { entry, message })
}

/// Returns what to send instead of an answer that cannot be packed: its client would never hear of it.
pub fn too_large(message: &ToBroker) -> Option<ToBroker> {
    let ToBroker::Answer {
        ticket,
        answer: Ok(_),
    } = message
    else {
        return None;
    };
    let most = caps::LINK_PARTS >> 20;
    let refusal = Refusal::new(
        Code::TooLarge,
        format!("the answer has more than {most} MiB"),
    );
    Some(ToBroker::Answer {
        ticket: *ticket,
        answer: Err(refusal.next("ask for less")),
    })
}

#[cfg(test)]
mod tests {
    use remit_common::wire::AccessReport;
    use remit_link::{Answer, Startable};

    use super::*;

    #[test]
    fn refusal_is_sent_for_an_answer_that_is_too_large() {
        let message = |bytes| {
            let report = AccessReport {
                user: "a".repeat(bytes),
                uid: 1000,
                grants: Vec::new(),
                more_grants: 0,
                asked: None,
                profiles: Vec::new(),
                commands: Vec::new(),
                more_commands: 0,
            };
            ToBroker::Answer {
                ticket: 7,
                answer: Ok(Answer::Access(Box::new(report), Startable::default())),
            }
        };
        assert!(packed(None, Some(&message(1 << 20))).is_ok());
        let large = message(caps::LINK_PARTS);
        assert!(packed(None, Some(&large)).is_err());
        let refusal = too_large(&large).expect("it is an answer");
        assert!(packed(None, Some(&refusal)).is_ok());
        let ToBroker::Answer { ticket: 7, answer } = &refusal else {
            panic!("{refusal:?}");
        };
        let code = answer.as_ref().err().map(|refusal| refusal.code);
        assert_eq!(code, Some(Code::TooLarge), "{refusal:?}");
        assert!(too_large(&refusal).is_none());
        assert!(too_large(&ToBroker::Adopted).is_none());
    }
}
