//! Groups of commands in brackets and braces.

use super::TextLexer;
use super::open::Unclosed;
use super::state::cost;
use crate::sources::shell::{ShellCommand, is_name};

impl TextLexer {
    pub(super) fn bracket<'t>(&mut self, after: &'t [u8], is_target: bool) -> &'t [u8] {
        let is_first = self.command.words.is_empty() && self.command.variables.is_empty();
        if self.is_pattern() {
            return after;
        }
        // `<(…)`
        if is_target {
            self.substitution(b')');
            return after;
        }
        // A function is defined.
        if let [b')', rest @ ..] = after
            && is_first
            && !self.word.is_empty()
            && is_name(&self.word)
        {
            self.word.clear();
            return rest;
        }
        let is_list = self.word.ends_with(b"=");
        self.end_command();
        let directory = self.state.directory.clone();
        let feed = self.feed_group();
        self.push(Unclosed::Group { directory, feed });
        if is_list {
            self.command.words.push(Vec::new());
        }
        after
    }

    pub(super) fn closing_bracket(&mut self) {
        if self.is_pattern() && self.word == b"esac" {
            self.end_word();
        }
        if let Some(Unclosed::Case { is_pattern }) = self.open.last_mut()
            && *is_pattern
        {
            *is_pattern = false;
            self.word.clear();
            self.command = ShellCommand::default();
            return;
        }
        if !self.close(b')') {
            // A pattern of a case that was not seen.
            self.end_word();
            self.command.words.insert(0, Vec::new());
            self.end_command();
        }
    }

    pub(super) fn is_pattern(&self) -> bool {
        matches!(self.open.last(), Some(Unclosed::Case { is_pattern: true }))
    }

    /// `{ …; }`. Only one with an input is followed to its end: a brace that is none would stay open.
    pub(super) fn brace(&mut self, brace: u8, after: &[u8]) {
        let is_first = self.command.words.is_empty() && self.command.variables.is_empty();
        self.end_command();
        let is_mark = match brace {
            b'{' => after.first().is_none_or(u8::is_ascii_whitespace),
            _ => matches!(self.open.last(), Some(Unclosed::Braces { .. })),
        };
        match brace {
            _ if !is_first || !is_mark || self.is_pattern() => {}
            b'{' if self.feed.is_some() || self.group_feed.is_some() => {
                let feed = self.feed_group();
                self.push(Unclosed::Braces { feed });
            }
            b'{' => {}
            _ => {
                self.pop();
            }
        }
    }

    /// Gives the input of a pipe to all commands of the group that begins. Returns the input of the one around it.
    fn feed_group(&mut self) -> Option<Vec<u8>> {
        let around = self.group_feed.clone();
        let copied = cost(around.as_ref().map_or(0, Vec::len));
        self.found.words = self.found.words.saturating_add(copied);
        self.group_feed = self.feed.take().or(self.group_feed.take());
        around
    }
}
