//! Directories of the dynamic loader, and what it loads into every program: ld.so(8), ldconfig(8).

use crate::facts::{Source, When};
use crate::lines::lines;
use crate::look::Look;
use crate::path::FilePath;
use crate::rule::RuleId;

pub fn look(look: &mut Look<'_>) {
    let directory = FilePath::fixed("/etc/ld.so.conf.d");
    let names = look.machine.list(&directory).into_iter();
    let names = names.filter(|name| name.ends_with(b".conf"));
    let mut files: Vec<FilePath> = names.filter_map(|name| directory.join(name)).collect();
    files.push(FilePath::fixed("/etc/ld.so.conf"));
    files.push(FilePath::fixed("/etc/ld.so.preload"));
    for file in files {
        let content = look.machine.read(&file).unwrap_or_default();
        for (number, line) in lines(&content) {
            let is_separator =
                |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b':' | b',');
            let text = line.split(|byte| *byte == b'#').next().unwrap_or_default();
            for word in text.split(is_separator) {
                if let Some(path) = FilePath::new(word) {
                    let source = Source::line(&file, number, line);
                    look.obeys(0, path, RuleId::LibraryPath, &When::ByItself, &source);
                }
            }
        }
    }
}
