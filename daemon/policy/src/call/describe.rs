use crate::load::diagnostic::quoted;
use crate::model::command::{Command, Param, Stdin};

impl Command {
    /// Returns the call's form: the name, and the arguments in capitals, optional ones in brackets.
    pub fn usage(&self) -> String {
        let mut usage = self.name.clone();
        for param in &self.params {
            let value = param.name.to_uppercase();
            let more = if param.most > 1 { "…" } else { "" };
            usage += &match param.required() {
                true => format!(" {}={value}{more}", param.name),
                false => format!(" [{}={value}{more}]", param.name),
            };
        }
        usage
    }

    /// Returns a line for each argument: what it must be, and its default. A last line says what standard input is
    /// for if it is the caller's.
    pub fn describe(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.params.iter().map(Param::describe).collect();
        if self.stdin == Stdin::Caller {
            lines.push("standard input: what the caller gives".into());
        }
        lines
    }

    pub(crate) fn takes(&self) -> String {
        let names: Vec<&str> = self
            .params
            .iter()
            .map(|param| param.name.as_str())
            .collect();
        match names.is_empty() {
            true => format!("{} takes no arguments", self.name),
            false => format!("arguments of {}: {}", self.name, names.join(", ")),
        }
    }
}

impl Param {
    pub fn required(&self) -> bool {
        !self.optional && self.default.is_none()
    }

    fn describe(&self) -> String {
        let mut line = format!("{}: ", self.name);
        if !self.summary.is_empty() {
            line += &format!("{}; ", self.summary);
        }
        line += &self.kind.describe();
        if self.most > 1 {
            line += &format!("; up to {} times", self.most);
        }
        match &self.default {
            Some(default) => line += &format!("; {} when absent", quoted(default)),
            None if self.optional => line += "; may be absent",
            None => {}
        }
        line
    }
}
