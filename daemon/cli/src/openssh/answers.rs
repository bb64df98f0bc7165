//! Queries sshd's settings for users, once for each connection that its configuration distinguishes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::blocks::{Block, Blocks};
use super::connection::Connection;
use super::effective::{Effective, EffectiveError};

#[derive(Debug)]
pub struct Answers {
    blocks: Blocks,
    known: RefCell<BTreeMap<(String, Connection), EffectiveResult>>,
}

type EffectiveResult = Result<Rc<Effective>, Rc<EffectiveError>>;

/// A connection that sshd treats differently from the default one.
#[derive(Clone, Debug)]
pub struct Way<'a> {
    /// The block that this connection matches or fails to match.
    pub block: &'a Block,
    pub meets: bool,
    /// `None`: no such connection was found, so sshd was not queried.
    pub connection: Option<Connection>,
}

impl Answers {
    pub fn read() -> Self {
        Self::of(Blocks::read())
    }

    pub fn of(blocks: Blocks) -> Self {
        Self {
            blocks,
            known: RefCell::default(),
        }
    }

    pub fn unread(&self) -> &[String] {
        &self.blocks.unread
    }

    /// Returns the settings for a user over this connection, from the cache if possible.
    pub fn ask(&self, user: &str, connection: &Connection) -> EffectiveResult {
        let key = (user.to_owned(), connection.clone());
        if let Some(answer) = self.known.borrow().get(&key) {
            return answer.clone();
        }
        let answer = Effective::ask(user, connection);
        let answer = answer.map(Rc::new).map_err(Rc::new);
        self.known.borrow_mut().insert(key, answer.clone());
        answer
    }

    /// Returns the settings for another user. Without any Match block they equal those of `like`, which saves a
    /// query.
    pub fn of_other(
        &self,
        like: &str,
        user: &str,
        connection: &Connection,
    ) -> Option<Rc<Effective>> {
        let sure = self.blocks.any || !self.blocks.unread.is_empty();
        self.ask(if sure { user } else { like }, connection).ok()
    }

    /// Returns connections that sshd may treat differently from [`Connection::default`]. Each block that can apply to
    /// `user` gives one: it matches if the default does not, and the other way round.
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
