//! Programs that start others on another machine, as ssh(1). Some of their settings name what runs on this one.

use remit_programs::Wrapper;

use super::execution::Execution;
use super::options::split_setting;
use super::shell::base_name;
use crate::look::Look;
use crate::split_words::SplitWords;

impl Look<'_> {
    /// Notes what the options among these words name, with their values in the same word or the next one.
    pub(super) fn settings(&mut self, by: &Execution, wrapper: &Wrapper, words: &[Vec<u8>]) {
        let words: Vec<_> = words
            .iter()
            .map(|word| String::from_utf8_lossy(word))
            .collect();
        let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
        let with_value = [wrapper.with_value, wrapper.code].concat();
        for value in SplitWords::from_words(&words, &with_value).values(wrapper.code) {
            self.setting(by, value.as_bytes());
        }
    }

    pub(super) fn remote(&self, by: &Execution, program: &[u8]) {
        let name = remit_common::text::line(base_name(program), 60);
        let why = format!("what {name} runs on another machine is not followed");
        self.machine.unknown(&by.source.file, why);
    }

    /// `ProxyCommand=TEXT` of ssh, or a file of settings. What others name is read at most.
    fn setting(&mut self, by: &Execution, value: &[u8]) {
        let (name, text) = split_setting(value);
        match &*name.to_ascii_lowercase() {
            b"remotecommand" => self.remote(by, b"ssh"),
            command if command.ends_with(b"command") => self.nested_text(by, text),
            b"include" | b"pkcs11provider" | b"securitykeyprovider" | b"xauthlocation" => {
                self.loads(by, &[], text);
            }
            _ if name.len() < value.len() => {}
            _ => self.loads(by, &[], value),
        }
    }
}
