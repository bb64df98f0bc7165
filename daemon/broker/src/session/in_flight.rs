//! Unanswered calls of a session. They are dropped with the session; their jobs continue.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use remit_wire::{Request, ToClient};
use tokio::task::{AbortHandle, JoinSet, yield_now};

use super::Client;
use crate::call::{Call, CallRefusal};
use crate::session::usage::Buffered;
use crate::state::Broker;

#[derive(Default)]
pub struct Inflight {
    ids: Rc<RefCell<HashMap<u32, AbortHandle>>>,
    tasks: JoinSet<()>,
}

impl Inflight {
    pub fn has(&self, id: u32) -> bool {
        self.ids.borrow().contains_key(&id)
    }

    pub fn count(&self) -> usize {
        self.ids.borrow().len()
    }

    /// Starts a call, which sends its own answer. `reservation` is the buffer reservation of its frame.
    pub fn start(
        &mut self,
        broker: &Rc<Broker>,
        client: &Rc<Client>,
        id: u32,
        request: Request,
        reservation: Option<Buffered>,
    ) {
        while self.tasks.try_join_next().is_some() {}
        let call = Call {
            broker: Rc::clone(broker),
            client: Rc::clone(client),
            id,
            reservation: Cell::new(reservation),
            turn: Cell::new(None),
        };
        let ids = Rc::clone(&self.ids);
        let handle = self.tasks.spawn_local(async move {
            let answer = call.answer(request).await;
            let reply = match answer {
                Ok(reply) => Ok(reply),
                Err(CallRefusal::ByWarden(refusal)) => {
                    Err(call.client.denied(refusal.with_next()).await)
                }
                Err(CallRefusal::Here(refusal)) => {
                    ids.borrow_mut().remove(&id);
                    return call.client.refuse(&call.broker, id, refusal.with_next());
                }
            };
            ids.borrow_mut().remove(&id);
            call.client.outbox.send(&ToClient::Reply { id, reply });
            // Keep the turn of this uid across the yield: other clients are served before its next answer.
            yield_now().await;
        });
        self.ids.borrow_mut().insert(id, handle);
    }

    pub fn forget(&mut self, id: u32) {
        if let Some(call) = self.ids.borrow_mut().remove(&id) {
            call.abort();
        }
    }
}
