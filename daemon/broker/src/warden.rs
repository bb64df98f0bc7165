//! The broker's side of the link: a queue out, tickets that wait for answers.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use remit_common::caps;
use remit_common::refusal::{Code, Refusal};
use remit_link::socket::Packed;
use remit_link::{Answer, Link, LinkError, ToBroker, ToWarden};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, oneshot};

use crate::call::Refused;
use crate::job::Job;
use crate::notes::About;
use crate::watch::watch;

/// What the warden answered to a request.
#[derive(Debug)]
pub enum Granted {
    /// A job has started.
    Started(Rc<Job>),
    /// Nothing had to be started.
    Answer(Answer),
}

/// A request that waits for its answer.
#[derive(Debug)]
pub struct Waiting {
    /// Who waits.
    pub answer: oneshot::Sender<Result<Granted, Refusal>>,
    /// What is known of the job, if one starts.
    pub about: About,
}

/// Messages on their way to the warden, and requests under way.
#[derive(Debug, Default)]
pub struct Warden {
    queue: RefCell<VecDeque<(Packed, Vec<OwnedFd>)>>,
    more: Notify,
    tickets: RefCell<HashMap<u64, Waiting>>,
    last: Cell<u64>,
}

/// Forgets the request when whoever asked no longer waits.
struct Ticket<'a> {
    warden: &'a Warden,
    number: u64,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.warden.tickets.borrow_mut().remove(&self.number);
    }
}

impl Warden {
    /// Tells a fact. Facts are few: each job and session has a handful.
    pub fn tell(&self, message: &ToWarden) {
        match Packed::new(message) {
            Ok(packed) => self.push(packed, Vec::new()),
            Err(error) => tracing::error!(%error, "cannot tell the warden"),
        }
    }

    /// Makes a request and waits for its answer. `message` gets the ticket.
    ///
    /// # Errors
    /// What the warden refuses, or `message`; busy when the link is full.
    pub async fn ask(
        &self,
        about: About,
        message: impl FnOnce(u64) -> Result<(ToWarden, Vec<OwnedFd>), Refusal>,
    ) -> Result<Granted, Refused> {
        if self.queue.borrow().len() >= caps::LINK_QUEUE {
            let refusal = Refusal::new(Code::Busy, "the daemon has too many requests waiting");
            return Err(refusal.next("try again in a second").into());
        }
        let number = self.last.get().wrapping_add(1);
        self.last.set(number);
        let (message, fds) = message(number)?;
        let packed = Packed::new(&message).map_err(not_packed)?;
        let (answer, answered) = oneshot::channel();
        self.tickets
            .borrow_mut()
            .insert(number, Waiting { answer, about });
        let _ticket = Ticket {
            warden: self,
            number,
        };
        self.push(packed, fds);
        match answered.await {
            Ok(answer) => answer.map_err(Refused::ByWarden),
            // The sender goes only with the whole broker.
            Err(_) => Err(Refusal::new(Code::DaemonUnavailable, "the daemon is stopping").into()),
        }
    }

    /// The request that a message answers, if somebody still waits.
    pub fn take(&self, ticket: u64) -> Option<Waiting> {
        self.tickets.borrow_mut().remove(&ticket)
    }

    fn push(&self, packed: Packed, fds: Vec<OwnedFd>) {
        self.queue.borrow_mut().push_back((packed, fds));
        self.more.notify_one();
    }

    /// Sends what is queued, for ever.
    ///
    /// # Errors
    /// When the link is lost.
    pub async fn transmit(&self, link: &Watched) -> Result<(), LinkError> {
        loop {
            let Some((packed, fds)) = self.next() else {
                self.more.notified().await;
                continue;
            };
            let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
            link.send(&packed, &fds).await?;
        }
    }

    fn next(&self) -> Option<(Packed, Vec<OwnedFd>)> {
        self.queue.borrow_mut().pop_front()
    }
}

fn not_packed(error: LinkError) -> Refusal {
    match error {
        LinkError::Malformed => {
            let cap = caps::LINK_MEMFD;
            Refusal::new(
                Code::TooLarge,
                format!("the request is too large: at most {cap} bytes without script and stdin"),
            )
        }
        LinkError::Full | LinkError::Empty | LinkError::Closed | LinkError::Io(_) => Refusal::new(
            Code::Busy,
            format!("the daemon cannot pass the request on: {error}"),
        ),
    }
}

/// The link, and the runtime's eye on it.
#[derive(Debug)]
pub struct Watched {
    link: Link,
    /// A copy of the link's descriptor, of the same open socket.
    events: AsyncFd<Arc<OwnedFd>>,
}

impl Watched {
    /// Watches the link.
    ///
    /// # Errors
    /// What dup(2) or epoll_ctl(2) say.
    pub fn new(link: Link) -> std::io::Result<Self> {
        let copy = link.as_fd().try_clone_to_owned()?;
        let events = watch(Arc::new(copy), Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { link, events })
    }

    /// The next message from the warden.
    ///
    /// # Errors
    /// When the link is lost or what came is no message.
    pub async fn receive(&self) -> Result<(ToBroker, Vec<OwnedFd>), LinkError> {
        loop {
            let mut ready = self.events.readable().await.map_err(LinkError::Io)?;
            match self.link.recv() {
                Err(LinkError::Empty) => ready.clear_ready(),
                other => return other,
            }
        }
    }

    async fn send(&self, packed: &Packed, fds: &[BorrowedFd<'_>]) -> Result<(), LinkError> {
        loop {
            let mut ready = self.events.writable().await.map_err(LinkError::Io)?;
            match self.link.send(packed, fds) {
                Err(LinkError::Full) => ready.clear_ready(),
                other => return other,
            }
        }
    }
}
