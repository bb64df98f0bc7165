//! Bounds the time that the daemon needs to match the values of a call, because its loop waits for that.

use std::cmp::Reverse;

use remit_common::caps;

use crate::load::reader::{Report, WithSpan};
use remit_policy::model::command::{Param, ParamKind};
use remit_policy::model::pattern::MOST_WORK;
use remit_policy::quoted;

/// Maximum work of all values of a call: above 64 values of 4096 bytes with the default pattern.
const CALL_WORK: usize = 8 * MOST_WORK;

/// Refuses arguments whose values could need more than their share.
pub(crate) fn check(params: &[WithSpan<Param>], report: &mut Report<'_>) {
    let mut values = Vec::new();
    for WithSpan { value: param, span } in params {
        let ParamKind::Text { pattern, max, .. } = &param.kind else {
            continue;
        };
        match pattern.work(*max) {
            Ok(work) => values.extend(std::iter::repeat_n((work, span), param.most)),
            Err(fits) => {
                let of = quoted(&param.name);
                let message =
                    format!("a value of {of} with {max} bytes takes too long to match its pattern");
                let help = format!("write max = {fits}, or a pattern with smaller repetitions");
                report.error_with_help(span.clone(), message, &help);
            }
        }
    }
    values.sort_by_key(|(work, _)| Reverse(*work));
    values.truncate(caps::NAMED_ARGS);
    let all: usize = values.iter().map(|(work, _)| work).sum();
    if let Some((_, span)) = values.first().filter(|_| all > CALL_WORK) {
        let message = "the values of one call take too long to match their patterns".to_owned();
        let help = "write a smaller 'max' or 'repeat', or a pattern with smaller repetitions";
        report.error_with_help((*span).clone(), message, help);
    }
}
