//! A part of the report as text.

use crate::render::{table, units};

pub struct Section(pub String);

impl Section {
    pub fn new(name: &str) -> Self {
        Self(format!("{name}\n"))
    }

    pub fn fact(&mut self, name: &str, value: Option<impl AsRef<str>>) {
        if let Some(value) = value {
            self.0 += &table::fact(name, value.as_ref());
        }
    }

    pub fn lines(&mut self, lines: &str) {
        self.0 += lines;
    }
}

pub fn size(bytes: Option<u64>) -> Option<String> {
    bytes.map(units::bytes)
}
