//! What sshd would do with users, for each connection that its configuration tells apart; asked once each.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::blocks::{Block, Blocks};
use super::connection::Connection;
use super::effective::{Effective, EffectiveError};

/// The answers so far.
#[derive(Debug)]
pub struct Answers {
    blocks: Blocks,
    known: RefCell<BTreeMap<(String, Connection), Answer>>,
}

type Answer = Result<Rc<Effective>, Rc<EffectiveError>>;

/// A connection that is another one to sshd than the usual.
#[derive(Clone, Debug)]
pub struct Way<'a> {
    /// The block that it meets, or does not meet.
    pub block: &'a Block,
    /// Whether it meets it.
    pub meets: bool,
    /// `None`: no such connection was found, so nothing was asked.
    pub connection: Option<Connection>,
}

impl Answers {
    /// Reads sshd's configuration.
    pub fn read() -> Self {
        Self::of(Blocks::read())
    }

    /// With these blocks.
    pub fn of(blocks: Blocks) -> Self {
        Self {
            blocks,
            known: RefCell::default(),
        }
    }

    /// What could not be read of the configuration.
    pub fn unread(&self) -> &[String] {
        &self.blocks.unread
    }

    /// The settings for a user who comes by this connection.
    ///
    /// # Errors
    /// sshd does not answer.
    pub fn ask(&self, user: &str, connection: &Connection) -> Answer {
        let key = (user.to_owned(), connection.clone());
        if let Some(answer) = self.known.borrow().get(&key) {
            return answer.clone();
        }
        let answer = Effective::ask(user, connection);
        let answer = answer.map(Rc::new).map_err(Rc::new);
        self.known.borrow_mut().insert(key, answer.clone());
        answer
    }

    /// The settings for somebody else than is looked at: where no block is, everybody's are the same.
    pub fn of_other(
        &self,
        like: &str,
        user: &str,
        connection: &Connection,
    ) -> Option<Rc<Effective>> {
        let sure = self.blocks.any || !self.blocks.unread.is_empty();
        self.ask(if sure { user } else { like }, connection).ok()
    }

    /// The connections that sshd may treat in another way than [`Connection::default`]: for each block that can be about
    /// `user` one that meets it or one that does not, whichever the default is not.
    pub fn ways(&self, user: &str) -> Vec<Way<'_>> {
        let base = Connection::default();
        let about = |block: &&Block| block.may_be_about(user);
        let way = |block| {
            let meets = Block::is_met_by(block, &base) != Some(true);
            let connection = match meets {
                true => block.meeting(&base),
                false => block.missing(&base),
            };
            Way {
                block,
                meets,
                connection,
            }
        };
        self.blocks.all.iter().filter(about).map(way).collect()
    }
}
