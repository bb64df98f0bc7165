//! Splits an answer of the daemon into its parts.

use remit_approval::{AnswerHead, Context};

/// The parts of an answer. None of them is checked.
#[derive(Debug)]
pub struct Answer<'a> {
    pub context: Context,
    pub request: &'a [u8],
    pub contents: Vec<&'a [u8]>,
}

impl<'a> Answer<'a> {
    /// Returns the parts of `bytes`, or `None` if the lengths do not cover exactly all of them.
    #[must_use]
    pub fn split(bytes: &'a [u8]) -> Option<Self> {
        let (head, mut rest) = postcard::take_from_bytes::<AnswerHead>(bytes).ok()?;
        let mut take = |length: u64| {
            let (part, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            rest = after;
            Some(part)
        };
        let request = take(head.request)?;
        let contents = head.contents.iter().map(|length| take(*length));
        let contents = contents.collect::<Option<Vec<_>>>()?;
        rest.is_empty().then_some(Self {
            context: head.context,
            request,
            contents,
        })
    }
}
