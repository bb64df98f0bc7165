//! Which host of a set is next: the canary first, the others only if it ended well, none after too many errors. Pure.

/// What has become of the request on one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing was sent to it.
    NotSent,
    /// It was asked, or its job runs.
    Sent,
    /// Its job waits for a slot of the host.
    Queued,
    /// Its request waits for an approval.
    Waiting,
    /// Its request had not started when the set stopped, and is being withdrawn.
    Withdrawing,
    Withdrawn,
    Well,
    /// It ended otherwise, was refused, or nobody knows.
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Hosts that are asked or run at a time, after the canary. Those that wait for a person are not counted.
    pub concurrency: usize,
    /// More errors stop the set. An error of the canary always does.
    pub max_errors: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    Send(Vec<usize>),
    Withdraw(Vec<usize>),
    /// Until a host reports something.
    Wait,
    Over,
}

impl Order {
    /// Returns true if nothing more is sent. The first host is the canary.
    pub fn has_failed(self, stages: &[Stage]) -> bool {
        stages.first() == Some(&Stage::Failed) || count(stages, Stage::Failed) > self.max_errors
    }

    /// Returns the next step. `is_stopped`: by its user.
    pub fn step(self, stages: &[Stage], is_stopped: bool) -> Step {
        let at = |wanted: Stage| -> Vec<usize> {
            let all = stages.iter().enumerate();
            all.filter_map(|(at, stage)| (*stage == wanted).then_some(at))
                .collect()
        };
        let is_ending = is_stopped || self.has_failed(stages);
        let to_send = match stages.first() {
            _ if is_ending => Vec::new(),
            Some(Stage::NotSent) => vec![0],
            Some(Stage::Well) => {
                let open = count(stages, Stage::Sent) + count(stages, Stage::Queued);
                let free = self.concurrency.saturating_sub(open);
                at(Stage::NotSent).into_iter().take(free).collect()
            }
            _ => Vec::new(),
        };
        if !to_send.is_empty() {
            return Step::Send(to_send);
        }
        let mut not_started = [at(Stage::Waiting), at(Stage::Queued)].concat();
        not_started.sort_unstable();
        if is_ending && !not_started.is_empty() {
            return Step::Withdraw(not_started);
        }
        let is_over = |stage: &Stage| {
            use Stage::{Failed, NotSent, Well, Withdrawn};
            matches!(stage, NotSent | Withdrawn | Well | Failed)
        };
        match stages.iter().all(is_over) {
            true => Step::Over,
            false => Step::Wait,
        }
    }
}

fn count(stages: &[Stage], wanted: Stage) -> usize {
    stages.iter().filter(|stage| **stage == wanted).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stages(text: &str) -> Vec<Stage> {
        let one = |c| match c {
            '.' => Stage::NotSent,
            's' => Stage::Sent,
            'q' => Stage::Queued,
            'w' => Stage::Waiting,
            'x' => Stage::Withdrawing,
            '-' => Stage::Withdrawn,
            '+' => Stage::Well,
            '!' => Stage::Failed,
            other => panic!("{other}"),
        };
        text.chars().map(one).collect()
    }

    #[test]
    fn canary_is_alone_and_others_follow_if_it_ended_well() {
        let order = Order {
            concurrency: 2,
            max_errors: 1,
        };
        for (text, expect) in [
            ("....", Step::Send(vec![0])),
            ("s...", Step::Wait),
            ("w...", Step::Wait),
            ("!...", Step::Over),
            ("+...", Step::Send(vec![1, 2])),
            ("+s..", Step::Send(vec![2])),
            ("+ss.", Step::Wait),
            ("+ww.", Step::Send(vec![3])),
            ("+www", Step::Wait),
            ("+!..", Step::Send(vec![2, 3])),
            ("+!!.", Step::Over),
            ("+!!s.", Step::Wait),
            ("+!!ww.", Step::Withdraw(vec![3, 4])),
            ("+!!xs.", Step::Wait),
            ("+sq.", Step::Wait),
            ("+!!qw.s", Step::Withdraw(vec![3, 4])),
            ("+!!-+.", Step::Over),
            ("++++", Step::Over),
        ] {
            assert_eq!(order.step(&stages(text), false), expect, "{text}");
        }
        for (text, expect) in [
            ("....", Step::Over),
            ("w...", Step::Withdraw(vec![0])),
            ("x...", Step::Wait),
            ("+s.w", Step::Withdraw(vec![3])),
            ("+s.-", Step::Wait),
        ] {
            assert_eq!(order.step(&stages(text), true), expect, "{text}");
        }
    }

    /// Whatever hosts do, no host is sent anything once more errors than allowed were seen, or before the canary is well.
    #[test]
    fn nothing_is_sent_after_too_many_errors() {
        let all = ['.', 's', 'q', 'w', 'x', '-', '+', '!'];
        for max_errors in 0..3 {
            let order = Order {
                concurrency: 2,
                max_errors,
            };
            for number in 0..8_usize.pow(4) {
                let text: String = (0..4)
                    .map(|digit| all[number / 8_usize.pow(digit) % 8])
                    .collect();
                let stages = stages(&text);
                if let Step::Send(sent) = order.step(&stages, false) {
                    assert!(text.matches('!').count() <= max_errors, "{text}");
                    assert!(sent == [0] || text.starts_with('+'), "{text}");
                    let open = count(&stages, Stage::Sent) + count(&stages, Stage::Queued);
                    let flying = open + sent.len();
                    assert!(flying <= 2 || sent == [0], "{text}");
                    assert!(sent.iter().all(|at| stages[*at] == Stage::NotSent));
                }
            }
        }
    }
}
