//! Refusals that come again. Who asks for the same thing a third time is told to stop, and waits for the answer.

use std::time::{Duration, Instant};

use remit_common::refusal::{Code, Refusal};

/// A refusal that has not come again for so long is forgotten.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Different refusals remembered of one uid; the one that came longest ago goes first.
const KEPT: usize = 32;
/// From this one on the answer is held back.
const MANY: u32 = 3;
/// How long, the first time; each time after that twice as long.
const FIRST: Duration = Duration::from_millis(500);
/// How long at most.
const LONGEST: Duration = Duration::from_secs(5);

/// What one uid was refused lately.
#[derive(Debug, Default)]
pub struct Denials(Vec<Denial>);

#[derive(Debug)]
struct Denial {
    /// As the warden said it.
    refusal: Refusal,
    times: u32,
    last: Instant,
}

impl Denials {
    /// Counts a refusal. What the client is told, and how long it waits for that.
    pub fn count(&mut self, refusal: Refusal, now: Instant) -> (Refusal, Duration) {
        // The warden's not_found is about a command that policy does not give this user.
        if !matches!(
            refusal.code,
            Code::DeniedRule
                | Code::NotFound
                | Code::NeedsApproval
                | Code::ApprovalDenied
                | Code::ApprovalVoid
        ) {
            return (refusal, Duration::ZERO);
        }
        self.0
            .retain(|denial| now.saturating_duration_since(denial.last) < REMEMBERED);
        let times = match self
            .0
            .iter_mut()
            .find(|denial| same(&denial.refusal, &refusal))
        {
            Some(denial) => {
                denial.times = denial.times.saturating_add(1);
                denial.last = now;
                denial.times
            }
            None => {
                self.add(refusal.clone(), now);
                1
            }
        };
        match times.checked_sub(MANY) {
            None => (refusal, Duration::ZERO),
            Some(more) => (refusal.next(advice(times)), pause(more)),
        }
    }

    fn add(&mut self, refusal: Refusal, now: Instant) {
        if self.0.len() >= KEPT
            && let Some(oldest) =
                (0..self.0.len()).min_by_key(|at| self.0.get(*at).map(|denial| denial.last))
        {
            self.0.swap_remove(oldest);
        }
        self.0.push(Denial {
            refusal,
            times: 1,
            last: now,
        });
    }
}

/// What the agent could do about them is the same for both, whatever else they say.
fn same(one: &Refusal, other: &Refusal) -> bool {
    let reason = |refusal: &Refusal| {
        let Refusal {
            code,
            message,
            object,
            by,
            ..
        } = refusal.clone();
        (code, message, object, by)
    };
    reason(one) == reason(other)
}

fn advice(times: u32) -> String {
    format!(
        "refused {times} times for the same reason: do not try again; tell the person you work for what you need \
         and why"
    )
}

fn pause(more: u32) -> Duration {
    FIRST
        .saturating_mul(2_u32.saturating_pow(more))
        .min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(object: &str) -> Refusal {
        Refusal::new(Code::DeniedRule, "no rule allows it")
            .by("policy")
            .object(object)
            .next("ask")
    }

    fn waits(denials: &mut Denials, object: &str, at: Instant) -> u128 {
        denials.count(denied(object), at).1.as_millis()
    }

    #[test]
    fn the_third_equal_one_says_stop_and_each_takes_longer() {
        let (mut denials, now) = (Denials::default(), Instant::now());
        for expect in [0, 0, 500, 1000, 2000, 4000, 5000, 5000] {
            assert_eq!(waits(&mut denials, "a", now), expect);
        }
        assert_eq!(
            denials.count(denied("b"), now),
            (denied("b"), Duration::ZERO),
            "another object is another reason"
        );
        let (told, _) = denials.count(denied("a"), now);
        assert_eq!(
            told.next.as_deref(),
            Some(
                "refused 9 times for the same reason: do not try again; tell the person you work for what you \
                 need and why"
            )
        );
        assert_eq!((told.object, told.by), (denied("a").object, denied("a").by));
    }

    #[test]
    fn whatever_policy_says_no_with_counts() {
        let (mut denials, now) = (Denials::default(), Instant::now());
        for code in [Code::NeedsApproval, Code::ApprovalDenied] {
            let refusal = Refusal::new(code, "no");
            let waits = [(); 3].map(|()| denials.count(refusal.clone(), now).1.as_millis());
            assert_eq!(waits, [0, 0, 500], "{code}");
        }
        // Names that are tried one after the other are reasons of their own.
        for (name, expect) in [("a.a", 0), ("a.b", 0), ("a.c", 0), ("a.a", 0), ("a.a", 500)] {
            let (_, wait) = denials.count(Refusal::no_such_command(name), now);
            assert_eq!(wait.as_millis(), expect, "{name}");
        }
    }

    #[test]
    fn ten_minutes_without_it_are_enough() {
        let (mut denials, start) = (Denials::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        for (seconds, expect) in [
            (0, 0),
            (1, 0),
            (600, 500),
            (1200, 0),
            (1201, 0),
            (1202, 500),
        ] {
            assert_eq!(waits(&mut denials, "a", at(seconds)), expect, "{seconds}");
        }
    }

    #[test]
    fn other_refusals_do_not_count() {
        let (mut denials, now) = (Denials::default(), Instant::now());
        let busy = Refusal::new(Code::Busy, "full");
        for _ in 0..9 {
            assert_eq!(
                denials.count(busy.clone(), now),
                (busy.clone(), Duration::ZERO)
            );
        }
        assert!(denials.0.is_empty());
    }

    #[test]
    fn the_table_is_bounded_and_what_comes_often_stays() {
        let (mut denials, start) = (Denials::default(), Instant::now());
        waits(&mut denials, "often", start);
        for number in 0..1000_u64 {
            let at = start + Duration::from_millis(number);
            waits(&mut denials, &number.to_string(), at);
            if number % 10 == 0 {
                waits(&mut denials, "often", at);
            }
        }
        assert_eq!(denials.0.len(), KEPT);
        assert_eq!(
            waits(&mut denials, "often", start + Duration::from_secs(1)),
            5000
        );
        assert_eq!(waits(&mut denials, "0", start + Duration::from_secs(1)), 0);
    }
}
