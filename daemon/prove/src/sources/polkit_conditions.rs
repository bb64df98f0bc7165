//! What a rule of polkit(8) answers where a comparison by `!=` or a list without an element is true.

/// What follows a condition that is true of all but what it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// They get a yes.
    Permitted,
    /// The rule ends for them without a yes.
    Refused,
    Unknown,
}

/// A rule, and its text with `_` for the bytes of quoted words.
pub struct Conditions<'r> {
    rule: &'r str,
    code: String,
}

impl<'r> Conditions<'r> {
    /// `words`: each quoted word of the rule with the text before it.
    pub fn new(rule: &'r str, words: &[(&str, &str)]) -> Self {
        let mut code = String::with_capacity(rule.len());
        for (word, before) in words {
            code.push_str(before);
            code.push('"');
            code.extend(std::iter::repeat_n('_', word.len()));
            code.push('"');
        }
        let rest = rule.get(code.len()..).unwrap_or_default();
        Self {
            rule,
            code: code + rest,
        }
    }

    /// What follows a comparison of the quoted word of this number by `!=`. `None`: it is not compared so.
    pub fn unequal(&self, number: usize) -> Option<Others> {
        let mut quotes = self.code.match_indices(['"', '\'']).map(|(at, _)| at);
        let begin = quotes.nth(number.saturating_mul(2))?;
        let end = quotes.next()?.saturating_add(1);
        let (before, behind) = (self.code.get(..begin)?, self.code.get(end..)?);
        let before = before.trim_end();
        let is_unequal = before.ends_with('=') && before.trim_end_matches('=').ends_with('!')
            || behind.trim_start().starts_with("!=");
        is_unequal.then(|| self.others(begin).unwrap_or(Others::Unknown))
    }

    /// What follows each search of a list that finds nothing.
    pub fn missing(&self) -> Vec<Others> {
        let mut found = Vec::new();
        for (at, _) in self.code.match_indices(".indexOf(") {
            let behind = self.code.get(at..).unwrap_or_default();
            let end = closed(behind);
            let behind = end.and_then(|end| behind.get(end..));
            let behind = behind.unwrap_or_default().trim_start();
            if behind.starts_with('<') || behind.starts_with("==") {
                found.push(self.others(at).unwrap_or(Others::Unknown));
            }
        }
        for name in [".includes(", ".test("] {
            for (at, _) in self.code.match_indices(name) {
                let before = self.code.get(..at).unwrap_or_default();
                let object = before.rsplit(['(', '&', '|', ';', '{', '}', '=']).next();
                if object.is_some_and(|object| object.trim_start().starts_with('!')) {
                    found.push(self.others(at).unwrap_or(Others::Unknown));
                }
            }
        }
        let bare: String = self.code.split_whitespace().collect();
        if bare.contains("-1==") || bare.contains("(0>") {
            found.push(Others::Unknown);
        }
        found
    }

    /// What follows the condition with a comparison at `at`.
    fn others(&self, at: usize) -> Option<Others> {
        let head = self.code.get(..at)?;
        let begin = head.rfind("if")?;
        let open = begin.saturating_add("if".len());
        let is_one = head.get(open..)?.trim_start().starts_with('(')
            && !head.get(open..)?.contains([';', '{', '}']);
        let end = open.saturating_add(closed(self.code.get(open..)?)?);
        if !is_one || end <= at {
            return None;
        }
        let condition = self.code.get(open..end)?;
        let behind = self.code.get(end..)?;
        let blanks = behind.len().saturating_sub(behind.trim_start().len());
        let from = end.saturating_add(blanks);
        let behind = self.code.get(from..)?;
        let length = match behind.starts_with('{') {
            true => closed(behind)?,
            false => behind.find(';')?,
        };
        let says_yes = |text: &str| text.to_ascii_lowercase().contains("yes");
        if says_yes(self.rule.get(from..from.saturating_add(length))?) {
            return Some(Others::Permitted);
        }
        // A statement that always ends the rule, in the rule's outermost block, before each yes.
        let statement = behind.get(..length)?;
        let is_end = statement.contains("return") && !statement.contains('?');
        let is_end = is_end && !statement.contains("if") && !statement.contains("function");
        let before = head.get(..begin)?;
        let depth = before
            .matches('{')
            .count()
            .checked_sub(before.matches('}').count());
        let is_outermost = depth == Some(1) && before.trim_end().ends_with(['{', ';', '}']);
        let is_first = !says_yes(self.rule.get(..begin)?);
        (is_end && is_outermost && is_first && is_for_all_others(condition))
            .then_some(Others::Refused)
    }
}

/// Returns true if a condition holds for each value that its comparisons do not name: `A || B`, or `X != "a" && X != "b"`.
fn is_for_all_others(condition: &str) -> bool {
    let bare: String = condition.split_whitespace().collect();
    let bare = bare
        .strip_prefix('(')
        .and_then(|bare| bare.strip_suffix(')'));
    let is_plain = |bare: &&str| !["!(", "?", "false"].iter().any(|one| bare.contains(one));
    let Some(bare) = bare.filter(is_plain) else {
        return false;
    };
    let sides: Option<Vec<&str>> = bare
        .split("&&")
        .map(|part| Some(part.split_once("!=")?.0))
        .collect();
    let is_one_side =
        sides.is_some_and(|sides| sides.iter().all(|side| sides.first() == Some(side)));
    !bare.contains("&&") || is_one_side && !bare.contains("||")
}

/// Returns the end of the first group in brackets.
fn closed(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let open = text.find(['(', '{'])?;
    for (at, char) in text.char_indices().skip_while(|(at, _)| *at < open) {
        match char {
            '(' | '{' => depth = depth.saturating_add(1),
            ')' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at.checked_add(1);
        }
    }
    None
}
