//! A session's calls that are not answered yet. Dropped with the session; their jobs go on.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use remit_common::wire::{Request, ToClient};
use tokio::task::{AbortHandle, JoinSet, yield_now};

use super::Client;
use crate::account::Buffered;
use crate::broker::Broker;
use crate::call::{Call, Refused};

/// Calls by the client's ids.
#[derive(Default)]
pub struct Inflight {
    ids: Rc<RefCell<HashMap<u32, AbortHandle>>>,
    tasks: JoinSet<()>,
}

impl Inflight {
    /// Whether a call with this id is not answered yet.
    pub fn has(&self, id: u32) -> bool {
        self.ids.borrow().contains_key(&id)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.ids.borrow().len()
    }

    /// Begins a call; it answers by itself. `room` is what its frame takes.
    pub fn start(
        &mut self,
        broker: &Rc<Broker>,
        client: &Rc<Client>,
        id: u32,
        request: Request,
        room: Option<Buffered>,
    ) {
        while self.tasks.try_join_next().is_some() {}
        let call = Call {
            broker: Rc::clone(broker),
            client: Rc::clone(client),
            id,
            room: Cell::new(room),
            turn: Cell::new(None),
        };
        let ids = Rc::clone(&self.ids);
        let handle = self.tasks.spawn_local(async move {
            let answer = call.answer(request).await;
            let reply = match answer {
                Ok(reply) => Ok(reply),
                Err(Refused::ByWarden(refusal)) => {
                    Err(call.client.denied(refusal.with_next()).await)
                }
                Err(Refused::Here(refusal)) => {
                    ids.borrow_mut().remove(&id);
                    return call.client.refuse(&call.broker, id, refusal.with_next());
                }
            };
            ids.borrow_mut().remove(&id);
            call.client.outbox.send(&ToClient::Reply { id, reply });
            // Still this uid's turn: what others sent meanwhile is seen before its next one.
            yield_now().await;
        });
        self.ids.borrow_mut().insert(id, handle);
    }

    /// Drops a call that nobody waits for any more.
    pub fn forget(&mut self, id: u32) {
        if let Some(call) = self.ids.borrow_mut().remove(&id) {
            call.abort();
        }
    }
}
