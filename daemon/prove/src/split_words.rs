//! Splits the words of a program into options with their values, and operands, as getopt_long(3) does.

/// The options of a program.
#[derive(Debug)]
pub(crate) struct OptionTable {
    /// Those that have a value, as `-t` and `--target-directory`.
    pub values: &'static [&'static str],
    /// Those that have none, or only an attached one: letters behind one hyphen, and long ones, with blanks between them.
    pub flags: &'static str,
}

impl OptionTable {
    /// Returns the full name of a long option. `None`: the program's options are others.
    fn long<'w>(&self, name: &'w str) -> Option<&'w str>
    where
        'static: 'w,
    {
        let flags = || self.flags.split_ascii_whitespace();
        let all = || self.values.iter().copied().chain(flags());
        let is_exact = all().any(|one| one == name) || name.starts_with("--no-");
        let full = || all().find(|one| one.starts_with(name));
        is_exact.then_some(name).or_else(full)
    }

    fn has_letter(&self, name: &str, letter: char) -> bool {
        let flags = self.flags.split_ascii_whitespace();
        let mut letters = flags.filter(|one| !one.starts_with("--"));
        self.values.contains(&name) || letters.any(|one| one.contains(letter))
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct SplitWords<'w> {
    /// Each with its value, or with an empty one.
    options: Vec<(String, &'w str)>,
    pub operands: Vec<&'w str>,
    /// `--` ends the options.
    pub is_ended: bool,
    /// An option is not in the table: the word behind it may be its value.
    pub has_unknown: bool,
}

impl<'w> SplitWords<'w> {
    /// Splits words of a program of which it is only known that these options have values.
    pub fn from_words(words: &[&'w str], values: &[&str]) -> Self {
        Self::split(words, values, None)
    }

    /// Splits words of a program whose options are all in a table. Long ones may be abbreviated.
    pub fn by_table(words: &[&'w str], table: &OptionTable) -> Self {
        Self::split(words, table.values, Some(table))
    }

    fn split(words: &[&'w str], values: &[&str], table: Option<&OptionTable>) -> Self {
        let mut split = Self::default();
        let mut left = words.iter().copied();
        while let Some(word) = left.next() {
            if split.is_ended || word == "-" || !word.starts_with('-') {
                split.operands.push(word);
            } else if word == "--" {
                split.is_ended = true;
            } else if values.contains(&word) {
                let value = left.next().unwrap_or_default();
                split.options.push((word.to_owned(), value));
            } else if word.starts_with("--") {
                let (name, attached) = match word.split_once('=') {
                    Some((name, value)) => (name, Some(value)),
                    None => (word, None),
                };
                let full = table.map_or(Some(name), |table| table.long(name));
                split.has_unknown |= full.is_none() && attached.is_none();
                let name = full.unwrap_or(name);
                let next = || values.contains(&name).then(|| left.next()).flatten();
                let value = attached.or_else(next).unwrap_or_default();
                split.options.push((name.to_owned(), value));
            } else {
                let mut letters = word.chars();
                letters.next();
                while let Some(letter) = letters.next() {
                    let name = format!("-{letter}");
                    split.has_unknown |=
                        table.is_some_and(|table| !table.has_letter(&name, letter));
                    let has_value = values.contains(&name.as_str());
                    let value = match letters.as_str() {
                        _ if !has_value => "",
                        "" => left.next().unwrap_or_default(),
                        attached => attached,
                    };
                    split.options.push((name, value));
                    if has_value {
                        break;
                    }
                }
            }
        }
        split
    }

    pub fn has(&self, names: &[&str]) -> bool {
        self.values(names).next().is_some()
    }

    /// Returns the values of these options, in their order.
    pub fn values(&self, names: &[&str]) -> impl DoubleEndedIterator<Item = &'w str> {
        let options = self.options.iter();
        options
            .filter(move |(name, _)| names.contains(&name.as_str()))
            .map(|(_, value)| *value)
    }

    /// Returns the value that counts: the last one.
    pub fn value(&self, names: &[&str]) -> Option<&'w str> {
        self.values(names).next_back()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: OptionTable = OptionTable {
        values: &["-t", "-o", "--target", "--owner"],
        flags: "-dr --recursive --own",
    };

    #[test]
    fn words_are_options_values_and_operands() {
        type Row<'r> = (&'r str, &'r [(&'r str, &'r str)], &'r [&'r str], bool);
        let rows: [Row<'_>; 12] = [
            ("a b", &[], &["a", "b"], false),
            ("-t a b", &[("-t", "a")], &["b"], false),
            ("-ta b", &[("-t", "a")], &["b"], false),
            ("-rt a b", &[("-r", ""), ("-t", "a")], &["b"], false),
            (
                "-rta -d b",
                &[("-r", ""), ("-t", "a"), ("-d", "")],
                &["b"],
                false,
            ),
            ("a -r b", &[("-r", "")], &["a", "b"], false),
            (
                "--target a --owner=x b",
                &[("--target", "a"), ("--owner", "x")],
                &["b"],
                false,
            ),
            ("--targ a b", &[("--target", "a")], &["b"], false),
            ("--own b", &[("--own", "")], &["b"], false),
            ("-x b --no-x", &[("-x", ""), ("--no-x", "")], &["b"], true),
            ("-t -- - -- -t b", &[("-t", "--")], &["-", "-t", "b"], false),
            (
                "--other 3 b --other=3",
                &[("--other", ""), ("--other", "3")],
                &["3", "b"],
                true,
            ),
        ];
        for (line, options, operands, has_unknown) in rows {
            let words: Vec<&str> = line.split(' ').collect();
            let split = SplitWords::by_table(&words, &TABLE);
            let found: Vec<(&str, &str)> = split
                .options
                .iter()
                .map(|(name, value)| (name.as_str(), *value))
                .collect();
            assert_eq!(found, options, "{line}");
            assert_eq!(split.operands, operands, "{line}");
            assert_eq!(split.has_unknown, has_unknown, "{line}");
            assert_eq!(split.is_ended, line.contains(" -- -t"), "{line}");
        }
        let plain = SplitWords::from_words(&["-qn", "20", "--targ", "a"], &["-n", "--target"]);
        assert_eq!(plain.operands, ["a"]);
        assert!(plain.has(&["-q"]) && !plain.has_unknown);
    }
}
