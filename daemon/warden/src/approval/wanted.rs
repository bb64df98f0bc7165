//! What is to be measured of a draft, and what becomes of the copies that come of it.

use std::ffi::{CStr, CString};

use remit_common::refusal::{Code, Refusal};
use remit_confine::PathIs;

use super::measure::{self, AsFound, Eyes, Held, Measuring, Wanted, Word};
use crate::people::Question;
use crate::plan::{Draft, Passed, SlotWhat};
use crate::warden::Warden;

impl Warden {
    /// Puts copies of files in the place of the files themselves: from here on, what is approved of them is what the
    /// job gets.
    ///
    /// # Errors
    /// They hold more than may wait, or one was not made.
    pub(super) fn hold_copies(
        &self,
        draft: &mut Draft,
        measuring: Measuring,
        found: AsFound,
    ) -> Result<AsFound, Refusal> {
        let copied = found.files.iter().filter(|file| file.held == Held::Copied);
        let bytes = copied
            .map(|file| file.measured.size)
            .fold(0, u64::saturating_add);
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        draft.held = draft.held.saturating_add(bytes);
        self.approvals
            .has_bytes(draft.requester.subject.uid(), draft.held)?;
        let copies = measuring
            .into_copies(&found.files)
            .map_err(|why| Refusal::new(Code::NotStarted, why))?;
        for (at, copy) in copies {
            draft.bound.hold_copy(at, copy);
        }
        Ok(found)
    }
}

/// What is to be measured of a draft.
pub fn wanted(draft: &Draft) -> Wanted {
    let bound = &draft.bound;
    let subject = &draft.requester.subject;
    let argv = bound.argv.iter().enumerate().map(|(at, element)| {
        let slot = bound.slots.iter().find(|slot| slot.index == at);
        match slot.map(|slot| &slot.what) {
            Some(SlotWhat::Path {
                under,
                beneath,
                is,
                pass,
            }) => path_word(under, beneath, *is, pass),
            Some(SlotWhat::Secret(_)) => Word::Settled,
            None if at == 0 || bound.literal.get(at).copied().unwrap_or(false) => {
                Word::Literal(element.clone())
            }
            None => Word::Text(element.clone()),
        }
    });
    let identity = bound.compiled.sandbox().identity(draft.uid.get());
    Wanted {
        argv: argv.collect(),
        path: draft.path.clone(),
        describe: draft
            .call()
            .named()
            .and_then(|_| measure::asking(&bound.argv)),
        cwd: bound.cwd.clone(),
        chosen: draft.call().named().is_none(),
        eyes: identity.map_or(Eyes::Root, |(uid, gid, groups)| Eyes::of(uid, gid, groups)),
        uid: subject.uid(),
        people: Question::of([subject]),
    }
}

fn path_word(under: &CStr, beneath: &CStr, is: PathIs, pass: &Passed) -> Word {
    let slash: &[u8] = match under.to_bytes().ends_with(b"/") || beneath.is_empty() {
        true => b"",
        false => b"/",
    };
    let whole = [under.to_bytes(), slash, beneath.to_bytes()].concat();
    match (CString::new(whole), pass) {
        (Ok(path), Passed::Text | Passed::Descriptor) => Word::Path {
            path,
            is,
            copied: matches!(pass, Passed::Descriptor),
        },
        // Neither part has a NUL byte.
        (Ok(_), Passed::Copy(_)) | (Err(_), _) => Word::Settled,
    }
}
