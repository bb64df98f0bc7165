//! A unit, and names of units.

use super::parse::Setting;
use crate::path::FilePath;

/// Returns true if a unit of this name reads this key in this section, systemd.syntax(7): another section has no such key.
pub fn is_read(name: &str, setting: &Setting) -> bool {
    const OF_ALL: [&[u8]; 6] = [
        b"Wants",
        b"Requires",
        b"BindsTo",
        b"Upholds",
        b"OnFailure",
        b"OnSuccess",
    ];
    let kind = name.rsplit('.').next().unwrap_or_default();
    let section = match setting.key.as_slice() {
        key if OF_ALL.contains(&key) => "Unit".to_owned(),
        b"Also" => "Install".to_owned(),
        // `[Service]` of a service.
        _ => {
            let mut letters = kind.chars();
            let first = letters.next().map(|first| first.to_ascii_uppercase());
            first.into_iter().chain(letters).collect()
        }
    };
    setting.section == section.as_bytes()
}

/// A unit with the settings of its file and its drop-ins.
#[derive(Debug, Default)]
pub struct Unit {
    pub settings: Vec<(FilePath, Setting)>,
    pub files: Vec<FilePath>,
}

impl Unit {
    /// All values of a setting; an empty one takes back those before.
    pub fn list(&self, key: &str) -> Vec<&(FilePath, Setting)> {
        let mut found = Vec::new();
        for one in self
            .settings
            .iter()
            .filter(|(_, one)| one.key == key.as_bytes())
        {
            match one.1.value.is_empty() {
                true => found.clear(),
                false => found.push(one),
            }
        }
        found
    }

    pub fn value(&self, key: &str) -> Option<&[u8]> {
        self.list(key)
            .last()
            .map(|(_, setting)| setting.value.as_slice())
    }

    pub fn is_on(&self, key: &str) -> bool {
        let value = self.value(key).unwrap_or_default().to_ascii_lowercase();
        matches!(&*value, b"yes" | b"y" | b"true" | b"t" | b"1" | b"on")
    }
}
