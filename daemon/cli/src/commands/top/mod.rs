//! `remit top`: a live view for administrators. [`state`] decides, [`view`] makes lines, [`screen`] and [`daemon`] act.
//! It approves as `remit approve`: the digest is computed here from the bytes of the page, the page was on the screen
//! whole, and the first digits of the digest are typed.

mod daemon;
mod page;
mod prompt;
mod screen;
mod state;
#[cfg(test)]
pub(crate) mod tests;
mod view;

use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use remit_common::refusal::{Code, Refusal};

use self::daemon::DaemonWatch;
use self::screen::Screen;
use self::state::{Event, TopOutcome, TopState};
use super::{pending, status};
use crate::error::{Exit, Failure};
use crate::render::output::{Context, Form};
use crate::render::units;

/// Times that a request has left are shown in seconds.
const TICK: Duration = Duration::from_secs(1);

pub fn top(context: &Context) -> Result<Exit, Failure> {
    if context.form == Form::Json || !screen::is_possible() {
        let why = match context.form {
            Form::Json => "'remit top' draws a screen and has no JSON",
            Form::Text => {
                "'remit top' needs a terminal that can move its cursor, on stdin and stdout"
            }
        };
        let other = "remit jobs, remit pending --watch, remit status (each also with --json)";
        return Err(Failure::Machine(
            Refusal::new(Code::InvalidArgs, why.to_owned()).lift(other),
        ));
    }
    // Asked before the screen changes: who may not ask gets the same error as of any verb.
    let first = [
        Event::Status(status::ask(context)?),
        Event::Pending(pending::list(context, None)?),
    ];
    let seen = first.iter().find_map(|event| match event {
        Event::Pending(list) => Some(list.state),
        _ => None,
    });
    let (sender, events) = mpsc::channel();
    daemon::watch_signals(sender.clone())?;
    let mut screen = Screen::open()?;
    let mut state = TopState::new(screen::size(), units::is_color_wanted());
    let own = Context {
        runtime: context.runtime.clone(),
        ..*context
    };
    let daemon = DaemonWatch::start(own, sender.clone(), seen.unwrap_or_default())?;
    screen::watch_keys(sender)?;
    let end = run(&mut screen, &mut state, &daemon, first, &events);
    drop(screen);
    match end? {
        TopOutcome::Exit(exit) => Ok(exit),
        TopOutcome::Failed(failure) => Err(failure),
    }
}

/// Draws after each event. [`TopState`] counts only what was drawn as shown.
fn run(
    screen: &mut Screen,
    state: &mut TopState,
    daemon: &DaemonWatch,
    first: [Event; 2],
    events: &Receiver<Event>,
) -> Result<TopOutcome, Failure> {
    let begin = Instant::now();
    let mut first = first.into_iter();
    loop {
        let event = match first.next() {
            Some(event) => event,
            None => match events.recv_timeout(TICK) {
                Ok(event) => event,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Event::Tick,
            },
        };
        // Asked each time: a change before the thread of the keys waits for signals would be lost.
        state.size = screen::size();
        let now = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        for action in state.on_event(event, now) {
            daemon.act(action)?;
        }
        if let Some(end) = state.end.take() {
            return Ok(end);
        }
        screen.draw(&view::lines(state), state.size, state.is_coloured)?;
        state.on_drawn();
    }
}
