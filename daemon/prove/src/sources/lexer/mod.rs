//! Splits a shell text into commands, as far as words show them. Each command of a condition, a loop or a function
//! counts. Total on any bytes, in time and memory that are linear in the text.

mod groups;
mod marks;
mod open;
mod state;

use std::collections::BTreeSet;

use super::shell::{ShellCommand, base_name};
use marks::{arithmetic, has_quote, is_before_word, output};
use open::{OuterCommand, Redirect, Unclosed};
use state::{ShellState, cost, is_assignment};

/// Quotes, groups, substitutions and cases in each other.
const DEPTH: usize = 64;
const TOO_DEEP: &str = "its brackets in each other are not followed to their end";

/// Words after which a command follows.
const BEFORE: [&[u8]; 11] = [
    b"if", b"then", b"else", b"elif", b"do", b"while", b"until", b"!", b"exec", b"command",
    b"builtin",
];

/// The commands of a text.
#[derive(Debug, Default)]
pub struct Lexed {
    pub commands: Vec<ShellCommand>,
    /// What it cost: a word for each word, and for copies.
    pub words: usize,
    /// The rest has more words.
    pub is_cut: bool,
    /// What else is not followed.
    pub unread: BTreeSet<&'static str>,
}

/// Returns the commands of the first `most` words. One with a value that a sourced file or `eval` may have changed is
/// there twice: with that value, and without any.
pub fn lexed(text: &[u8], most: usize) -> Lexed {
    let (mut found, used_kept) = one_way(text, most, false);
    if used_kept {
        let (other, _) = one_way(text, most.saturating_sub(found.words), true);
        let known: BTreeSet<&ShellCommand> = found.commands.iter().collect();
        let other_commands = other.commands.into_iter();
        let new = other_commands.filter(|command| !known.contains(command));
        let new: Vec<ShellCommand> = new.collect();
        found.commands.extend(new);
        found.words = found.words.saturating_add(other.words);
        found.is_cut |= other.is_cut;
        found.unread.extend(other.unread);
    }
    found
}

/// Returns the commands, and whether one has a value that may have changed.
fn one_way(text: &[u8], most: usize, ends_values: bool) -> (Lexed, bool) {
    let mut lexer = TextLexer {
        line: 1,
        before: b'\n',
        ..TextLexer::default()
    };
    lexer.state.ends_values = ends_values;
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        if lexer.found.words >= most {
            lexer.found.is_cut = true;
            break;
        }
        rest = lexer.byte(*byte, after);
        let read = text.len().saturating_sub(rest.len());
        let last = text.get(read.saturating_sub(1)).copied();
        lexer.before = last.unwrap_or_default();
    }
    while lexer.pop() {}
    lexer.end_command();
    let used_kept = lexer.state.used_kept;
    let found = Lexed {
        unread: lexer.state.unread,
        ..lexer.found
    };
    (found, used_kept)
}

#[derive(Debug, Default)]
struct TextLexer {
    found: Lexed,
    line: usize,
    /// The byte before this one.
    before: u8,
    word: Vec<u8>,
    command: ShellCommand,
    redirect: Redirect,
    state: ShellState,
    /// The input that the pipe before this command has.
    feed: Option<Vec<u8>>,
    /// The input of each command of the groups that are open, unless a pipe in them gives another.
    group_feed: Option<Vec<u8>>,
    open: Vec<Unclosed>,
}

impl TextLexer {
    /// Takes a byte, and of those after it what belongs to it. Returns the rest.
    fn byte<'t>(&mut self, byte: u8, after: &'t [u8]) -> &'t [u8] {
        let is_quoted = matches!(self.open.last(), Some(Unclosed::Quote));
        let is_target = self.redirect != Redirect::No && self.word.is_empty();
        match byte {
            b'\\' => {
                let Some((escaped, after)) = after.split_first() else {
                    return after;
                };
                match escaped {
                    b'\n' => self.line = self.line.saturating_add(1),
                    escaped => self.word.push(*escaped),
                }
                return after;
            }
            b'$' => return self.dollar(after, is_quoted),
            b'`' => {
                if !self.close(b'`') {
                    self.substitution(b'`');
                }
            }
            b'\n' => {
                // A quote that has no end on its line is none.
                while matches!(self.open.last(), Some(Unclosed::Quote)) {
                    self.open.pop();
                }
                self.end_command();
                self.line = self.line.saturating_add(1);
            }
            b'"' if is_quoted => {
                self.open.pop();
            }
            byte if is_quoted => self.word.push(byte),
            b'"' => {
                if has_quote(after) {
                    self.push(Unclosed::Quote);
                }
            }
            b'\'' => {
                let end = after.iter().position(|byte| matches!(byte, b'\'' | b'\n'));
                if let Some((inner, [b'\'', rest @ ..])) = end.map(|end| after.split_at(end)) {
                    self.word.extend_from_slice(inner);
                    return rest;
                }
            }
            b'#' if self.word.is_empty() && is_before_word(self.before) => {
                let end = after.iter().position(|byte| *byte == b'\n');
                return after.split_at(end.unwrap_or(after.len())).1;
            }
            b' ' | b'\t' | b'\r' => self.end_word(),
            b'<' | b'>' => return self.redirected(byte, after),
            b'&' | b'|' if is_target => {}
            b'(' => return self.bracket(after, is_target),
            b')' => self.closing_bracket(),
            b'|' if self.is_pattern() => self.end_word(),
            b'|' if after.first() != Some(&b'|') && self.before != b'|' => self.pipe(),
            b';' => {
                self.end_command();
                self.feed = None;
                if let (Some(Unclosed::Case { is_pattern }), Some(b';' | b'&')) =
                    (self.open.last_mut(), after.first())
                {
                    *is_pattern = true;
                    return after.get(1..).unwrap_or_default();
                }
            }
            b'|' | b'&' => self.end_command(),
            // A word of find(1) and xargs(1).
            b'{' if self.word.is_empty() && after.starts_with(b"}") => {
                self.word.extend_from_slice(b"{}");
                return after.get(1..).unwrap_or_default();
            }
            b'{' | b'}' if self.word.is_empty() => self.brace(byte, after),
            byte => self.word.push(byte),
        }
        after
    }

    /// `$(…)`, `$((…))`, `${NAME}` and `$NAME`.
    fn dollar<'t>(&mut self, after: &'t [u8], is_quoted: bool) -> &'t [u8] {
        if let [b'(', b'(', inner @ ..] = after
            && let Some(end) = arithmetic(inner)
        {
            self.word.extend_from_slice("$((…))".as_bytes());
            return inner.get(end..).unwrap_or_default();
        }
        match after {
            [b'(', inner @ ..] => {
                self.substitution(b')');
                inner
            }
            [b'{', inner @ ..] => {
                let end = inner.iter().position(|byte| matches!(byte, b'}' | b'\n'));
                let (name, rest) = inner.split_at(end.unwrap_or(inner.len()));
                self.value(name);
                rest.strip_prefix(b"}").unwrap_or(rest)
            }
            [b'\'' | b'"', ..] if !is_quoted => after,
            _ => {
                let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
                let end = after.iter().position(|byte| !is_of_name(byte));
                let (name, rest) = after.split_at(end.unwrap_or(after.len()));
                self.value(name);
                rest
            }
        }
    }

    fn value(&mut self, name: &[u8]) {
        let cost = self.state.value(name, &mut self.word);
        self.found.words = self.found.words.saturating_add(cost);
    }

    fn redirected<'t>(&mut self, byte: u8, after: &'t [u8]) -> &'t [u8] {
        // `2>`
        if self.word.iter().all(u8::is_ascii_digit) {
            self.word.clear();
        }
        self.end_word();
        let is_text = |byte: &u8| matches!(byte, b'<' | b'>' | b'-');
        let more = after.iter().take_while(|byte| is_text(byte)).count();
        let is_input = byte == b'<' && more == 0 && after.first() != Some(&b'&');
        self.redirect = if is_input {
            Redirect::Input
        } else {
            Redirect::Other
        };
        after.get(more..).unwrap_or_default()
    }

    fn push(&mut self, one: Unclosed) {
        match self.open.len() >= DEPTH {
            true => {
                self.state.unread.insert(TOO_DEEP);
            }
            false => self.open.push(one),
        }
    }

    fn substitution(&mut self, end: u8) {
        if self.open.len() >= DEPTH {
            self.end_command();
        }
        let outer = OuterCommand {
            end,
            first: self.found.commands.len(),
            word: std::mem::take(&mut self.word),
            command: std::mem::take(&mut self.command),
            redirect: std::mem::take(&mut self.redirect),
            directory: self.state.directory.clone(),
            feed: self.feed.take(),
        };
        self.push(Unclosed::Substitution(Box::new(outer)));
    }

    /// Closes what such a byte ends, and what is open in it. Returns false if there is nothing.
    fn close(&mut self, end: u8) -> bool {
        let at = self.open.iter().rposition(|one| one.is_closed_by(end));
        let Some(at) = at else {
            return false;
        };
        while self.open.len() > at {
            self.pop();
        }
        true
    }

    /// Closes what was opened last. Returns false if nothing is open.
    fn pop(&mut self) -> bool {
        match self.open.pop() {
            None => return false,
            Some(Unclosed::Quote | Unclosed::Case { .. }) => {}
            Some(Unclosed::Braces { feed }) => {
                self.end_command();
                self.group_feed = feed;
            }
            Some(Unclosed::Group { directory, feed }) => {
                self.end_command();
                self.state.directory = directory;
                self.group_feed = feed;
                // What is behind it is no program.
                self.command.words.push(Vec::new());
            }
            Some(Unclosed::Substitution(outer)) => {
                self.end_command();
                // Of several programs in it the first that was found is shown.
                let inner = self.found.commands.get(outer.first);
                let shown = output(inner.and_then(|one| one.words.first()));
                self.word = outer.word;
                self.word.extend(shown);
                self.command = outer.command;
                self.redirect = outer.redirect;
                self.state.directory = outer.directory;
                self.feed = outer.feed;
            }
        }
        true
    }

    fn end_word(&mut self) {
        let word = std::mem::take(&mut self.word);
        if word.is_empty() {
            return;
        }
        self.found.words = self.found.words.saturating_add(1);
        match std::mem::take(&mut self.redirect) {
            Redirect::No => {}
            Redirect::Input => {
                self.command.input = Some(word);
                return;
            }
            Redirect::Other => return,
        }
        let words = &self.command.words;
        let is_first = words.is_empty();
        if is_first && (BEFORE.contains(&word.as_slice()) || word.starts_with(b"-")) {
            return;
        }
        if let (b"in", [case, _]) = (word.as_slice(), words.as_slice())
            && case == b"case"
        {
            self.command = ShellCommand::default();
            self.push(Unclosed::Case { is_pattern: true });
            return;
        }
        if is_first && word == b"esac" && matches!(self.open.last(), Some(Unclosed::Case { .. })) {
            self.open.pop();
        }
        if is_first && self.command.variables.is_empty() {
            self.command.line = self.line;
        }
        match is_first && is_assignment(&word) {
            true => self.command.variables.push(word),
            false => self.command.words.push(word),
        }
    }

    /// The next command reads what this one writes.
    fn pipe(&mut self) {
        self.end_word();
        let fed = match self.command.words.as_slice() {
            [program, file] if base_name(program) == b"cat" && !file.starts_with(b"-") => {
                file.clone()
            }
            words => output(words.first()),
        };
        self.end_command();
        self.feed = Some(fed);
    }

    fn end_command(&mut self) {
        self.end_word();
        self.redirect = Redirect::No;
        let mut command = std::mem::take(&mut self.command);
        if command.words.iter().any(|word| !word.is_empty()) || !command.variables.is_empty() {
            // The command of a pipe may begin on a later line, or in a group.
            let feed = self.feed.take().or_else(|| self.group_feed.clone());
            let fed = cost(feed.as_ref().map_or(0, Vec::len));
            command.input = command.input.take().or(feed);
            let cost = self.state.settle(&mut command).saturating_add(fed);
            self.found.words = self.found.words.saturating_add(cost);
            self.found.commands.push(command);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MANY: usize = 10_000;

    /// Each command as its directory, its variables and its words, and `<` with its input.
    fn shown(text: &str) -> Vec<String> {
        let found = lexed(text.as_bytes(), MANY).commands.into_iter();
        let shown = found.map(|one| {
            let directory = one.directory.map(|text| [text, b": ".to_vec()].concat());
            let words = one.variables.into_iter().chain(one.words);
            let words = words.collect::<Vec<_>>().join(&b'|');
            let input = one.input.map(|text| [b"<".to_vec(), text].concat());
            let parts = [
                directory.unwrap_or_default(),
                words,
                input.unwrap_or_default(),
            ];
            String::from_utf8_lossy(&parts.concat()).into_owned()
        });
        shown.collect()
    }

    fn check<'r>(rows: impl IntoIterator<Item = (&'r str, &'r [&'r str])>) {
        for (text, expect) in rows {
            assert_eq!(shown(text), expect, "{text}");
        }
    }

    #[test]
    fn commands_have_their_words() {
        let rows: [(&str, &[&str]); 23] = [
            (
                "# /not/this\nX=1 /opt/a.sh --x /srv/in # no",
                &["X=1|/opt/a.sh|--x|/srv/in"],
            ),
            (
                "if backup 2>/dev/null; then . /etc/x.conf; fi",
                &["backup", ".|/etc/x.conf", "fi"],
            ),
            ("sh -c \"cd /srv && /opt/b\"", &["sh|-c|cd /srv && /opt/b"]),
            ("sh -c 'a\n/b'", &["sh|-c|a", "/b"]),
            ("it's /a\n/b", &["its|/a", "/b"]),
            ("a > /b 2>&1 < /c d", &["a|d</c"]),
            ("2>/dev/null a; b >| /c; d &> /e", &["a", "b", "d"]),
            (
                "D=/a\n/b; export E=c; d",
                &["D=/a", "/b", "E=c|export|E=c", "d"],
            ),
            (
                "cd /a && ./b; cd c; d",
                &["/a: cd|/a", "/a: ./b", "/a/c: cd|c", "/a/c: d"],
            ),
            ("(cd /a && ./b); c", &["/a: cd|/a", "/a: ./b", "c"]),
            (
                "a /x | b; c || d; <(e) f",
                &["a|/x", "b<$(a …)", "c", "d", "e", "f<$(e …)"],
            ),
            ("cat /x | sh", &["cat|/x", "sh</x"]),
            ("cat /x |\n\n # y\n sh\nb", &["cat|/x", "sh</x", "b"]),
            ("cat /x |& sh; b", &["cat|/x", "sh</x", "b"]),
            ("a | (sh); b", &["a", "sh<$(a …)", "b"]),
            ("a | ; b", &["a", "b"]),
            ("a | { b; c; }; d", &["a", "b<$(a …)", "c<$(a …)", "d"]),
            (
                "a | (b && c\nd) | e; f",
                &["a", "b<$(a …)", "c<$(a …)", "d<$(a …)", "e<$(…)", "f"],
            ),
            (
                "a | { { b; }; c | d; e {f,g}; }; h",
                &[
                    "a",
                    "b<$(a …)",
                    "c<$(a …)",
                    "d<$(c …)",
                    "e<$(a …)",
                    "f,g}<$(a …)",
                    "h",
                ],
            ),
            (
                "a | { b=$(c); (d }); e; }; f",
                &[
                    "a",
                    "c<$(a …)",
                    "b=$(c …)<$(a …)",
                    "d<$(a …)",
                    "e<$(a …)",
                    "f",
                ],
            ),
            ("a | B=c sh\nb", &["a", "B=c|sh<$(a …)", "b"]),
            ("f() { /a; }\nA=(b c)", &["/a", "A=", "|b|c"]),
            ("a # b\nc#d $# ;# e\nf", &["a", "c#d|$#", "f"]),
        ];
        check(rows);
    }

    #[test]
    fn command_goes_on_behind_a_substitution() {
        check([
            ("x=\"$(/a b)\" /c", &["/a|b", "x=$(a …)|/c"][..]),
            ("T=$(cat /t) /a /b", &["cat|/t", "T=$(cat …)|/a|/b"]),
            (
                "[ \"$(a b)\" = 7 ] && /c \"d e\"",
                &["a|b", "[|$(a …)|=|7|]", "/c|d e"],
            ),
            (
                "x \"$(a \"b c\")\" && /d \"e\"",
                &["a|b c", "x|$(a …)", "/d|e"],
            ),
            ("x \"`a`\" && /d \"e\"", &["a", "x|$(a …)", "/d|e"]),
            ("$(a) b; ${D}/c; $D/e", &["a", "$(a …)|b", "$D/c", "$D/e"]),
            ("e \"$(d) # x\" > /y; /c", &["d", "e|$(d …) # x", "/c"]),
            ("e \"j $(h)#1\"; /c", &["h", "e|j $(h …)#1", "/c"]),
            ("x \"$(\na\n)\" && /d \"e\"", &["a", "x|$(a …)", "/d|e"]),
            (
                "s $((R % (6))); x=$((`a`)); /b",
                &["s|$((…))", "a", "$(a …)", "x=$(a …)", "/b"],
            ),
            (
                "a $(b `c` $(d) e",
                &["c", "d", "b|$(c …)|$(d …)|e", "a|$(c …)"],
            ),
        ]);
    }

    #[test]
    fn patterns_of_a_case_are_no_commands() {
        check([
            (
                "case \"$1\" in\na) . /b ;;\nc|*.d) cd /e && ./f ;;\nesac; g",
                &[".|/b", "/e: cd|/e", "/e: ./f", "/e: esac", "/e: g"][..],
            ),
            ("case $x in (a|b) c;; *) d; esac", &["c", "d", "esac"]),
            (
                "x=$(case $y in a) /b;; esac) /c",
                &["/b", "esac", "x=$(b …)|/c"],
            ),
            ("a) /b", &["|a", "/b"]),
        ]);
    }

    #[test]
    fn values_that_the_text_has_are_known() {
        check([
            (
                "A=/a; B=$A/b\n\"${B}/c\" '$A'",
                &["A=/a", "B=/a/b", "/a/b/c|$A"][..],
            ),
            ("A=/a; cd $A && ./b", &["A=/a", "/a: cd|/a", "/a: ./b"]),
            ("A=/a; A=/b; $A/c", &["A=/a", "A=/b", "$A/c"]),
            ("A=$(b); $A/c", &["b", "A=$(b …)", "$A/c"]),
            ("A=/a b; $A/c", &["A=/a|b", "$A/c"]),
            ("A=/a; . /b; $A/c", &["A=/a", ".|/b", "/a/c", "$A/c"]),
            ("A=/a; . /b; c", &["A=/a", ".|/b", "c"]),
            (
                "A=/a; . /b; A=/c; $A/d",
                &["A=/a", ".|/b", "A=/c", "/c/d", "$A/d"],
            ),
            (
                "A=/a; . /b; B=$A/c; $B/d",
                &["A=/a", ".|/b", "B=/a/c", "/a/c/d", "B=$A/c", "$B/d"],
            ),
            (
                "A=/a; A=/b; . /c; A=/d; $A/e",
                &["A=/a", "A=/b", ".|/c", "A=/d", "$A/e"],
            ),
            (
                "A=/a; source b; $A/c",
                &["A=/a", "source|b", "/a/c", "$A/c"],
            ),
            ("A=/a; . /lib/b; $A/c", &["A=/a", ".|/lib/b", "/a/c"]),
            ("A=/a; eval b; $A/c", &["A=/a", "eval|b", "/a/c", "$A/c"]),
            (". /b; A=/a; $A/c", &[".|/b", "A=/a", "/a/c"]),
            ("cd /a; . ./b; ./c", &["/a: cd|/a", "/a: .|./b", "/a: ./c"]),
            ("A=/a; A+=/b; $A/c", &["A=/a", "A+=/b", "$A/c"]),
            (
                "PATH+=:/a; export PATH+=:/b; c",
                &[
                    "PATH=$PATH:/a",
                    "PATH=$PATH:/a|PATH=$PATH:/b|export|PATH+=:/b",
                    "PATH=$PATH:/a|PATH=$PATH:/b|c",
                ],
            ),
            (
                "for A in /a/*; do . \"$A\"; done",
                &["for|A|in|/a/*", ".|$A", "done"],
            ),
            (
                "PATH=/a:$PATH; export PATH=$PATH:/b; c",
                &[
                    "PATH=/a:$PATH",
                    "PATH=/a:$PATH|PATH=$PATH:/b|export|PATH=$PATH:/b",
                    "PATH=/a:$PATH|PATH=$PATH:/b|c",
                ],
            ),
        ]);
    }

    #[test]
    fn lines_are_counted_over_continuations() {
        let found = lexed(b"a \\\n/x\n/y 'b'\n\n'c\nd'", MANY).commands;
        let lines: Vec<usize> = found.iter().map(|one| one.line).collect();
        assert_eq!(lines, [1, 3, 5, 6]);
    }

    /// Copies cost words, so a long text with them is cut like one with many words.
    #[test]
    fn what_is_kept_is_bounded() {
        let long = "a".repeat(1000);
        for text in [
            format!("PATH=/{long}\n{}", "a;".repeat(100_000)),
            format!("cd /{long}\n{}", "a;".repeat(100_000)),
            format!("cd {long}\n").repeat(1000),
            format!("A={long}\n{}", "$A".repeat(100_000)),
            format!("PATH=/{long}:$PATH\n").repeat(1000),
            format!("A={long}\n. /b\n{}", "$A ".repeat(100_000)),
            format!("cat /{long} | {{ {}", "a;".repeat(100_000)),
            format!("cat /{long} | {{ {}", "()".repeat(100_000)),
            "a ".repeat(100_000),
            "$(a ".repeat(100_000),
            "`a $(\"".repeat(100_000),
            "$((".repeat(100_000),
            "((((a ".repeat(100_000),
            "case a in (b) ".repeat(100_000),
        ] {
            let found = lexed(text.as_bytes(), MANY);
            let start = text.get(..20).unwrap_or(&text);
            assert!(found.is_cut || !found.unread.is_empty(), "{start}");
            assert!(found.words < MANY + 100, "{start}: {}", found.words);
            let parts = |one: &ShellCommand| {
                let words = one.variables.iter().chain(&one.words);
                let copies = one.directory.iter().chain(&one.input);
                words.chain(copies).map(Vec::len).sum::<usize>()
            };
            let kept: usize = found.commands.iter().map(parts).sum();
            assert!(kept < text.len() + 64 * MANY, "{start}: {kept}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>) {
            for command in lexed(&bytes, MANY).commands {
                let _ = command.words.iter().map(Vec::len).sum::<usize>();
            }
        }

        /// Marks in any order: unlike random bytes, they open and close.
        #[test]
        fn any_marks_are_read(
            marks in prop::collection::vec("[$()`\"'#;&|<>{}= \\n\\\\a]|case a in|esac|;;|\\$\\(\\(", 0..80)
        ) {
            let text = marks.concat();
            let found = lexed(text.as_bytes(), MANY);
            prop_assert!(!found.is_cut);
            let words = found.commands.iter().flat_map(|one| &one.words);
            prop_assert!(words.map(Vec::len).sum::<usize>() < 50 * (text.len() + 1));
        }
    }
}
