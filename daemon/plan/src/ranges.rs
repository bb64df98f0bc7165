//! Ranges of users and groups as which an account may act in its own user namespace: subuid(5).

/// Not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    first: u32,
    last: u32,
}

#[derive(Debug, PartialEq, Eq)]
pub struct NotPlain;

impl IdRange {
    /// Returns the range of a line; none for a comment, and for what programs skip. Some programs read other spellings of
    /// numbers, and numbers beyond 32 bits, as others do not.
    pub fn read(line: &[u8]) -> Result<Option<Self>, NotPlain> {
        if line.starts_with(b"#") || !line.contains(&b':') {
            return Ok(None);
        }
        let mut fields = line.split(|byte| *byte == b':').skip(1);
        let (first, count) = (plain(fields.next())?, plain(fields.next())?);
        let Some(more) = count.checked_sub(1) else {
            return Ok(None);
        };
        match (first.checked_add(more), fields.next()) {
            (Some(last), None) => Ok(Some(Self { first, last })),
            _ => Err(NotPlain),
        }
    }

    pub const fn first(self) -> u32 {
        self.first
    }

    pub const fn last(self) -> u32 {
        self.last
    }

    pub const fn contains(self, id: u32) -> bool {
        self.first <= id && id <= self.last
    }

    pub const fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

fn plain(field: Option<&[u8]>) -> Result<u32, NotPlain> {
    let digits = field.ok_or(NotPlain)?;
    // strtoul(3) reads "010" as 8.
    let is_plain =
        digits.iter().all(u8::is_ascii_digit) && (digits == b"0" || !digits.starts_with(b"0"));
    let text = std::str::from_utf8(digits).ok().filter(|_| is_plain);
    text.and_then(|text| text.parse().ok()).ok_or(NotPlain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_of_plain_numbers() {
        for (line, expect) in [
            ("bot:165536:65536", Ok(Some((165_536, 231_071)))),
            ("bot:0:1", Ok(Some((0, 0)))),
            ("bot:1:4294967295", Ok(Some((1, u32::MAX)))),
            ("bot:5:0", Ok(None)),
            ("", Ok(None)),
            ("bot", Ok(None)),
            ("# bot: a comment", Ok(None)),
            ("bot:0x0:1", Err(NotPlain)),
            ("bot:010:1", Err(NotPlain)),
            ("bot: 0:1", Err(NotPlain)),
            ("bot:-1:2", Err(NotPlain)),
            ("bot:+0:1", Err(NotPlain)),
            ("bot:1", Err(NotPlain)),
            ("bot:1:2:3", Err(NotPlain)),
            ("bot:1:2\r", Err(NotPlain)),
            ("bot::2", Err(NotPlain)),
            ("bot:4294967296:1", Err(NotPlain)),
            ("bot:2:4294967295", Err(NotPlain)),
        ] {
            let read = IdRange::read(line.as_bytes());
            let found = read.map(|range| range.map(|range| (range.first(), range.last())));
            assert_eq!(found, expect, "{line}");
        }
    }
}
