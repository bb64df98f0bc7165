//! The terminal: drawing, keys and the size. It is as before at any end, also after a panic.

use std::io::{self, IsTerminal, Stdout, Write};
use std::sync::Once;
use std::sync::mpsc::Sender;
use std::{panic, thread};

use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_core::style::{Color, Modifier, Style};
use ratatui_core::terminal::{Terminal, TerminalOptions, Viewport};
use ratatui_crossterm::CrosstermBackend;
use ratatui_crossterm::crossterm::cursor::{Hide, Show};
use ratatui_crossterm::crossterm::event::{
    self, DisableBracketedPaste, EnableBracketedPaste, Event as TerminalEvent, KeyCode, KeyEvent,
    KeyEventKind, KeyModifiers,
};
use ratatui_crossterm::crossterm::execute;
use ratatui_crossterm::crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use terminal_size::terminal_size_of;

use super::state::{Event, Key, Size};
use super::view::{Line, Weight};
use crate::error::Failure;
use crate::render::units::Colour;

/// Of a terminal that does not know its size, such as a serial console.
const DEFAULT: Size = Size {
    columns: 80,
    rows: 24,
};

pub struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    size: Size,
}

/// Returns true if keys can be read and a screen can be drawn.
pub fn is_possible() -> bool {
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    io::stdin().is_terminal() && io::stdout().is_terminal() && !is_dumb
}

pub fn size() -> Size {
    match terminal_size_of(io::stdout()) {
        Some((columns, rows)) if columns.0 > 0 && rows.0 > 0 => Size {
            columns: columns.0,
            rows: rows.0,
        },
        _ => DEFAULT,
    }
}

impl Screen {
    /// Takes the terminal. Dropping the screen gives it back.
    pub fn open() -> io::Result<Self> {
        restore_after_panic();
        let size = size();
        enable_raw_mode()?;
        let opened = execute!(
            io::stdout(),
            EnterAlternateScreen,
            Clear(ClearType::All),
            EnableBracketedPaste,
            Hide
        );
        let terminal = opened.and_then(|()| terminal(size));
        match terminal {
            Ok(terminal) => Ok(Self { terminal, size }),
            Err(error) => {
                restore();
                Err(error)
            }
        }
    }

    pub fn draw(&mut self, lines: &[Line], size: Size, is_coloured: bool) -> io::Result<()> {
        if size != self.size {
            execute!(io::stdout(), Clear(ClearType::All))?;
            (self.terminal, self.size) = (terminal(size)?, size);
        }
        self.terminal
            .draw(|frame| paint(frame.buffer_mut(), lines, is_coloured))?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// The viewport is fixed because its size is asked for here: another way runs programs if a terminal has none.
fn terminal(size: Size) -> io::Result<Terminal<CrosstermBackend<Stdout>>> {
    let viewport = Viewport::Fixed(Rect::new(0, 0, size.columns, size.rows));
    let backend = CrosstermBackend::new(io::stdout());
    Terminal::with_options(backend, TerminalOptions { viewport })
}

/// Gives the terminal back. A terminal that is gone needs nothing.
fn restore() {
    let _ = execute!(
        io::stdout(),
        DisableBracketedPaste,
        LeaveAlternateScreen,
        Show
    );
    let _ = io::stdout().flush();
    let _ = disable_raw_mode();
}

/// The release aborts after a panic and drops nothing.
fn restore_after_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            restore();
            before(info);
            std::process::abort();
        }));
    });
}

pub fn paint(buffer: &mut Buffer, lines: &[Line], is_coloured: bool) {
    let area = buffer.area;
    for (row, line) in (area.y..area.bottom()).zip(lines) {
        let style = style(line, is_coloured);
        buffer.set_stringn(area.x, row, &line.text, area.width.into(), style);
        if line.weight == Weight::Reversed {
            buffer.set_style(Rect::new(area.x, row, area.width, 1), style);
        }
    }
}

fn style(line: &Line, is_coloured: bool) -> Style {
    let style = match line.weight {
        Weight::Plain => Style::new(),
        Weight::Bold => Style::new().add_modifier(Modifier::BOLD),
        Weight::Reversed => Style::new().add_modifier(Modifier::REVERSED),
    };
    match (is_coloured, line.colour) {
        (false, _) | (true, Colour::Plain) => style,
        (true, Colour::Dim) => style.add_modifier(Modifier::DIM),
        (true, Colour::Green) => style.fg(Color::Green),
        (true, Colour::Yellow) => style.fg(Color::Yellow),
        (true, Colour::Red) => style.fg(Color::Red),
    }
}

/// Sends keys, pasted text and changes of the size, until the terminal is gone.
pub fn watch_keys(events: Sender<Event>) -> io::Result<()> {
    thread::Builder::new().spawn(move || {
        loop {
            let event = match event::read() {
                Ok(event) => from_terminal(event),
                Err(error) => Some(Event::Failed(Failure::Output(error))),
            };
            let Some(event) = event else {
                continue;
            };
            let is_last = matches!(event, Event::Failed(_));
            if events.send(event).is_err() || is_last {
                return;
            }
        }
    })?;
    Ok(())
}

fn from_terminal(event: TerminalEvent) -> Option<Event> {
    match event {
        TerminalEvent::Key(key) if key.kind != KeyEventKind::Release => {
            from_key(key).map(Event::Key)
        }
        TerminalEvent::Paste(text) => Some(Event::Pasted(text)),
        TerminalEvent::Resize(..) => Some(Event::Tick),
        _ => None,
    }
}

fn from_key(key: KeyEvent) -> Option<Key> {
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match key.code {
        KeyCode::Char('c') if is_control => Key::CtrlC,
        KeyCode::Char(c) if !is_control => Key::Char(c),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Tab => Key::Tab,
        KeyCode::BackTab => Key::BackTab,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::process::{Command, Stdio};

    use nix::pty::openpty;
    use nix::sys::termios::tcgetattr;

    use super::*;

    const CHILD: &str = "REMIT_TEST_PANICS";

    /// The test runs itself on a terminal, and panics there.
    #[test]
    fn panic_gives_the_terminal_back() {
        if std::env::var_os(CHILD).is_some() {
            let _screen = Screen::open().unwrap();
            panic!("on purpose");
        }
        let pty = openpty(None, None).unwrap();
        let before = tcgetattr(&pty.slave).unwrap();
        let copy = || Stdio::from(pty.slave.try_clone().unwrap());
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("commands::top::screen::tests::panic_gives_the_terminal_back")
            .env(CHILD, "1")
            .env("TERM", "xterm")
            .stdin(copy())
            .stdout(copy())
            .stderr(copy())
            .spawn()
            .unwrap();
        let mut master = File::from(pty.master.try_clone().unwrap());
        let mut written = String::new();
        let mut chunk = [0; 4096];
        while !written.contains("on purpose") {
            let length = master.read(&mut chunk).unwrap();
            written += &String::from_utf8_lossy(&chunk[..length]);
        }
        assert!(!child.wait().unwrap().success());
        let (screen, message) = (written.find("\x1b[?1049h"), written.find("on purpose"));
        let left = written.find("\x1b[?1049l");
        assert!(screen < left && left < message, "{written:?}");
        assert!(
            screen.is_some() && written.contains("\x1b[?25h"),
            "{written:?}"
        );
        assert_eq!(tcgetattr(&pty.slave).unwrap(), before);
    }
}
