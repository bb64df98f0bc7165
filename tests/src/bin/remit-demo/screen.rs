//! Prints for people: at most 80 columns, colors only on a terminal. Collects the failed checks.

use std::io::IsTerminal;
use std::process::ExitCode;

const WIDTH: usize = 80;
/// Columns of the first part of a row. The remaining columns hold the longest answer.
const FIRST: usize = 46;

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

    pub fn command(&self, line: &str) {
        println!("{}", self.paint("36", &cut(line, WIDTH)));
    }

    /// Prints output of a program. Truncates long lines.
    pub fn output(&self, text: &str) {
        for line in text.lines() {
            println!("{}", cut(line, WIDTH));
        }
    }

    /// Prints a sentence of remit. Wraps it between words.
    pub fn sentence(&self, text: &str) {
        for (index, line) in folded(text, WIDTH - 2).iter().enumerate() {
            println!("{}{line}", if index == 0 { "" } else { "  " });
        }
    }

    pub fn row(&self, what: &str, answer: &str, held: bool) {
        let line = format!("{:FIRST$}  {answer}", cut(what, FIRST));
        println!(
            "{}",
            self.paint(if held { "32" } else { "31" }, &cut(&line, WIDTH))
        );
    }

    pub fn check(&mut self, holds: bool, what: &str) {
        if !holds {
            println!("{}", self.paint("31", &format!("not so: {what}")));
            self.wrong.push(what.to_owned());
        }
    }

    /// Prints the result and returns the exit status.
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

/// Truncates `line` to `width` characters, the last one `…`.
fn cut(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    line.chars().take(width - 1).chain(['…']).collect()
}

/// Wraps `text` at `width` characters. Truncates longer words.
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
