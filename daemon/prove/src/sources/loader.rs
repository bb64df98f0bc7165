//! Directories of the dynamic loader, and what it loads into every program: ld.so(8), ldconfig(8).

use super::included::Includes;
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
    let mut left = Includes::new(files.into_iter().map(|file| (file, false)));
    while let Some((file, is_included)) = left.take(look) {
        if is_included {
            let source = Source::whole(&file);
            let when = &When::ByItself;
            look.obeys(0, file.clone(), RuleId::LibraryPath, when, &source);
        }
        let content = look.machine.read(&file).unwrap_or_default();
        for (number, line) in lines(&content) {
            let is_separator =
                |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b':' | b',');
            let text = line.split(|byte| *byte == b'#').next().unwrap_or_default();
            let included = text.trim_ascii_start().strip_prefix(b"include");
            let included =
                included.filter(|rest| rest.first().is_some_and(u8::is_ascii_whitespace));
            if let Some(names) = included {
                let above = file.parent().unwrap_or_else(FilePath::root);
                let names = names.split(u8::is_ascii_whitespace);
                for name in names.filter(|name| !name.is_empty()) {
                    left.add(look, &file, &above, name, &true);
                    // A new file in it fits the pattern, too.
                    let directory = above.resolve(name).and_then(|path| path.parent());
                    if let Some(directory) = directory.filter(|_| name.contains(&b'*')) {
                        let source = Source::line(&file, number, line);
                        let when = &When::ByItself;
                        look.obeys(0, directory, RuleId::LibraryPath, when, &source);
                    }
                }
                continue;
            }
            for word in text.split(is_separator) {
                if let Some(path) = FilePath::new(word) {
                    let source = Source::line(&file, number, line);
                    look.obeys(0, path, RuleId::LibraryPath, &When::ByItself, &source);
                }
            }
        }
    }
}
