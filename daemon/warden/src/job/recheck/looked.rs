//! What a child could not find out. It is no change, so a request stays pending.

use super::Check;
use crate::approval::accepted::SignaturesNow;
use crate::approval::file_hash::Unmeasured;

/// Returns what the child could not find out about a request that is being approved.
pub fn not_looked_at(job: &Check<'_>) -> Option<String> {
    let Check::Approving(request, by, found) = job else {
        return None;
    };
    match found {
        Err(Unmeasured::Failed(why)) => Some(why.clone()),
        Err(Unmeasured::Unbindable(_)) => None,
        Ok(found) => {
            let requester = &request.draft.requester.subject;
            let mut rests_on = request.approvers().chain([*by, requester]);
            let unanswered =
                rests_on.find_map(|one| found.people.unanswered(one.uid(), one.user()));
            unanswered.or_else(|| match &found.signatures {
                SignaturesNow::Unread(why) if !job.has_bad_signature() => Some(why.clone()),
                _ => None,
            })
        }
    }
}
