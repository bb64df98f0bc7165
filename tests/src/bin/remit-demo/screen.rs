//! Prints for people: at most 80 columns, colours only on a terminal. Keeps the checks that failed.

use std::io::IsTerminal;
use std::process::ExitCode;

/// Columns of a usual terminal.
const WIDTH: usize = 80;
/// Columns of the first part of a row: the rest holds the longest answer.
const FIRST: usize = 46;

/// Where the demo prints, and what did not hold so far.
pub struct Screen {
    colour: bool,
    wrong: Vec<String>,
}

impl Screen {
    pub fn new() -> Self {
        Self {
            colour: std::io::stdout().is_terminal(),
            wrong: Vec::new(),
        }
    }

    pub fn title(&self, text: &str) {
        println!();
        println!("{}", self.paint("1", &format!("== {text}")));
    }

    /// A command line, as a person types it.
    pub fn command(&self, line: &str) {
        println!("{}", self.paint("36", &cut(line, WIDTH)));
    }

    /// Output of a program: long lines are cut.
    pub fn output(&self, text: &str) {
        for line in text.lines() {
            println!("{}", cut(line, WIDTH));
        }
    }

    /// A sentence of remit: folded between words.
    pub fn sentence(&self, text: &str) {
        for (index, line) in folded(text, WIDTH - 2).iter().enumerate() {
            println!("{}{line}", if index == 0 { "" } else { "  " });
        }
    }

    /// Two columns, green if it held.
    pub fn row(&self, what: &str, answer: &str, held: bool) {
        let line = format!("{:FIRST$}  {answer}", cut(what, FIRST));
        println!(
            "{}",
            self.paint(if held { "32" } else { "31" }, &cut(&line, WIDTH))
        );
    }

    /// Notes `what` as wrong unless it holds.
    pub fn check(&mut self, holds: bool, what: &str) {
        if !holds {
            println!("{}", self.paint("31", &format!("not so: {what}")));
            self.wrong.push(what.to_owned());
        }
    }

    /// The last line, and the exit status.
    pub fn verdict(&self) -> ExitCode {
        println!();
        if self.wrong.is_empty() {
            println!("Everything held.");
            return ExitCode::SUCCESS;
        }
        println!("Not everything held:");
        self.wrong.iter().for_each(|wrong| println!("  {wrong}"));
        ExitCode::FAILURE
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{colour}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// At most `width` characters of `line`, the last one `…` if something is missing.
fn cut(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    line.chars().take(width - 1).chain(['…']).collect()
}

/// `text` in lines of at most `width` characters; longer words are cut.
fn folded(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let word = cut(word, width);
        let last = lines.last_mut().expect("there is always one");
        if last.is_empty() {
            *last = word;
        } else if last.chars().count() + 1 + word.chars().count() <= width {
            last.push(' ');
            last.push_str(&word);
        } else {
            lines.push(word);
        }
    }
    lines
}
