//! Finds values that replace an absent one. Without its value an optional argument adds no element, so the next one
//! takes its position. Then a value passes for another one, whose type it was never checked against.

use crate::load::reader::WithSpan;
use remit_policy::call::bind::param_position;
use remit_policy::model::command::{Param, ParamKind, Part, Word};
use remit_policy::{Severity, quoted};

use super::Finding;

/// Finds each optional value whose absence would move another one up. Values in brackets of their own are skipped:
/// the brackets say that it is meant.
pub(crate) fn gaps(argv: &[WithSpan<Part>], params: &[WithSpan<Param>]) -> Vec<Finding> {
    let param = |word: &Word| params.get(param_position(word)?).map(|param| &param.value);
    let mut found = Vec::new();
    for (at, part) in argv.iter().enumerate() {
        let Part::Word(word @ Word::Value(_)) = &part.value else {
            continue;
        };
        let Some(gone) = param(word).filter(|param| is_optional(param)) else {
            continue;
        };
        let after = argv.iter().skip(at + 1).map(|part| &part.value);
        if let Some(next) = moves_up(after, &param) {
            let message = format!(
                "if {} is not given, {} takes its position",
                quoted(&gone.name),
                quoted(&next.name)
            );
            found.push(Finding {
                severity: Severity::Error,
                span: part.span.clone(),
                message,
            });
        }
    }
    found
}

/// Returns false for a flag: it has no position of its own.
fn is_optional(param: &Param) -> bool {
    param.optional && param.default.is_none() && !matches!(param.kind, ParamKind::Flag(_))
}

fn moves_up<'a, 'p>(
    mut after: impl Iterator<Item = &'a Part>,
    param: &impl Fn(&Word) -> Option<&'p Param>,
) -> Option<&'p Param> {
    after.find_map(|part| {
        let (first, is_group) = match part {
            Part::Word(word) => (word, false),
            Part::Group(words) => (words.first()?, true),
        };
        match first {
            Word::Value(_) => {
                let is_flag = |param: &&Param| matches!(param.kind, ParamKind::Flag(_));
                param(first).filter(|param| !is_flag(param)).map(Some)
            }
            Word::Literal(_) | Word::Attached(..) => (!is_group).then_some(None),
        }
    })?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn param(name: &str, optional: bool, flag: bool) -> WithSpan<Param> {
        let text = ParamKind::Text {
            pattern: crate::load::regex::pattern("a").unwrap(),
            max: 1,
            dash: false,
        };
        let kind = match flag {
            true => ParamKind::Flag("-f".into()),
            false => text,
        };
        let value = Param {
            name: name.into(),
            kind,
            summary: String::new(),
            optional,
            default: None,
            most: 1,
        };
        WithSpan { value, span: 0..0 }
    }

    #[test]
    fn what_would_move_up_is_found() {
        let params = [
            param("x", true, false),
            param("y", false, false),
            param("f", true, true),
        ];
        let literal = |text: &str| Part::Word(Word::Literal(text.into()));
        let value = |at| Part::Word(Word::Value(at));
        let group = |words: Vec<Word>| Part::Group(words);
        let check = |argv: Vec<Part>, expect: usize| {
            let shown = format!("{argv:?}");
            let argv: Vec<_> = argv
                .into_iter()
                .map(|value| WithSpan { value, span: 0..0 })
                .collect();
            let found = gaps(&argv, &params);
            assert_eq!(found.len(), expect, "{shown}: {found:?}");
        };
        let (x, y, f) = (Word::Value(0), Word::Value(1), Word::Value(2));
        check(vec![literal("--out"), value(0), value(1)], 1);
        check(vec![value(0), value(1)], 1);
        check(vec![value(0), value(2), value(1)], 1);
        check(vec![value(0), group(vec![f]), value(1)], 1);
        check(vec![value(0), group(vec![y.clone()])], 1);
        check(vec![value(1), value(0)], 0);
        check(vec![value(2), value(1)], 0);
        check(vec![value(0), literal("--"), value(1)], 0);
        let attached = Part::Word(Word::Attached("--y=".into(), 1));
        check(vec![value(0), attached, value(1)], 0);
        let out = Word::Literal("--out".into());
        check(vec![group(vec![out, x.clone()]), value(1)], 0);
        check(vec![group(vec![x]), value(1)], 0);
        let with = group(vec![Word::Literal("-q".into()), y]);
        check(vec![value(0), with], 0);
    }
}
