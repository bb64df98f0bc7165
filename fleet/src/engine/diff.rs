//! The difference of two texts by lines, as `diff` shows it without context. Pure, with bounded work.

/// Lines of the differing middle for which the longest common part is searched.
const MIDDLE: usize = 400;
/// Mark of a run of equal lines.
const EQUAL: char = '…';

/// Returns the lines that differ, each after `-` or `+`; nothing if all are the same. `None`: the texts are too different to be
/// compared.
pub fn diff(old: &str, new: &str) -> Option<String> {
    diff_below(old, new, |_, _| String::new())
}

/// As [`diff`]. `above` returns the lines that say what a line is about: by its mark and its number in that text, from 0. They
/// are shown before lines that are about something else than the line before.
pub fn diff_below(old: &str, new: &str, above: impl Fn(char, usize) -> String) -> Option<String> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let same = |(a, b): &(&&str, &&str)| a == b;
    let before = old.iter().zip(&new).take_while(same).count();
    let rest = |lines: &[&str]| lines.len() - before;
    let most = rest(&old).min(rest(&new));
    let ends = old.iter().rev().zip(new.iter().rev());
    let after = ends.take(most).take_while(same).count();
    let old = old.get(before..old.len() - after)?;
    let new = new.get(before..new.len() - after)?;
    if old.len() > MIDDLE || new.len() > MIDDLE {
        return None;
    }
    if old.is_empty() && new.is_empty() {
        return Some(String::new());
    }
    let mut out = format!("@@ line {} @@\n", before + 1);
    let (mut last, mut about) = (EQUAL, String::new());
    for (mark, line, at) in steps(old, new) {
        if mark != EQUAL {
            let heads = above(mark, before + at);
            if mark != last && heads != about {
                out.push_str(&heads);
            }
            about = heads;
        }
        last = mark;
        out.push(mark);
        out.push_str(line);
        out.push('\n');
    }
    Some(out)
}

/// Returns removed and added lines in order with their numbers, and a mark for each run of equal lines between them.
fn steps<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<(char, &'a str, usize)> {
    let width = new.len() + 1;
    let mut lengths = vec![0_u16; (old.len() + 1) * width];
    let at = |a: usize, b: usize| a * width + b;
    for (a, left) in old.iter().enumerate().rev() {
        for (b, right) in new.iter().enumerate().rev() {
            let of = |index: usize| lengths.get(index).copied().unwrap_or(0);
            let length = match left == right {
                true => of(at(a + 1, b + 1)) + 1,
                false => of(at(a + 1, b)).max(of(at(a, b + 1))),
            };
            if let Some(slot) = lengths.get_mut(at(a, b)) {
                *slot = length;
            }
        }
    }
    let of = |a, b| lengths.get(at(a, b)).copied().unwrap_or(0);
    let (mut a, mut b) = (0, 0);
    let mut found: Vec<(char, &str, usize)> = Vec::new();
    loop {
        match (old.get(a), new.get(b)) {
            (Some(left), Some(right)) if left == right => {
                if found.last().is_some_and(|(mark, ..)| *mark != EQUAL) {
                    found.push((EQUAL, "", a));
                }
                (a, b) = (a + 1, b + 1);
            }
            (Some(left), right) if right.is_none() || of(a + 1, b) >= of(a, b + 1) => {
                found.push(('-', *left, a));
                a += 1;
            }
            (_, Some(right)) => {
                found.push(('+', *right, b));
                b += 1;
            }
            _ => return found,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_differing_lines_are_shown() {
        for (old, new, expect) in [
            ("a\nb\nc\n", "a\nx\nc\n", "@@ line 2 @@\n-b\n+x\n"),
            ("a\nb\n", "a\nb\nc\n", "@@ line 3 @@\n+c\n"),
            ("a\nb\nc\n", "b\nc\n", "@@ line 1 @@\n-a\n"),
            (
                "a\nb\nc\nd\n",
                "x\nb\nc\ny\n",
                "@@ line 1 @@\n-a\n+x\n…\n-d\n+y\n",
            ),
            ("", "a\n", "@@ line 1 @@\n+a\n"),
            ("a\na\n", "a\na\na\n", "@@ line 3 @@\n+a\n"),
            ("a\nb\n", "a\nb", ""),
        ] {
            assert_eq!(diff(old, new).as_deref(), Some(expect), "{old:?} {new:?}");
        }
    }

    #[test]
    fn very_different_texts_are_not_compared() {
        let numbers = |from: usize| {
            (from..from + MIDDLE + 1)
                .map(|n| format!("{n}\n"))
                .collect::<String>()
        };
        assert_eq!(diff(&numbers(0), &numbers(10_000)), None);
        // A long common part costs nothing.
        let long = numbers(0).repeat(50);
        assert!(
            diff(&long, &(long.clone() + "end\n"))
                .unwrap()
                .ends_with("+end\n")
        );
    }
}
