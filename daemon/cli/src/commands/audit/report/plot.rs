//! Bars for days, stacked by outcome. Pure.

use remit_common::calendar::day;

use super::counts::{Days, Deed, DeedCounts};
use super::html::{Attribute, Html, Tag};
use crate::render::units;

/// Units of the picture: of a bar with its gap, of the gap, and of its height.
const STEP: u64 = 10;
const GAP: u64 = 2;
const HEIGHT: u64 = 1000;
/// The least height of what is not zero, so that it is seen.
const LEAST: u64 = 14;
/// Fewer bars than these are not stretched.
const FEW: usize = 14;

/// An outcome in a plot: its word, its class in the style, and what counts for it.
struct PlotOutcome {
    word: &'static str,
    class: &'static str,
    deeds: &'static [Deed],
}

/// From the bottom of a bar to its top.
const OUTCOMES: [PlotOutcome; 4] = [
    PlotOutcome {
        word: "ran, changes nothing",
        class: "looked",
        deeds: &[Deed::Looked],
    },
    PlotOutcome {
        word: "change started",
        class: "changed",
        deeds: &[Deed::Changed],
    },
    PlotOutcome {
        word: "not approved",
        class: "unapproved",
        deeds: &[Deed::Denied, Deed::Lapsed],
    },
    PlotOutcome {
        word: "refused",
        class: "refused",
        deeds: &[Deed::Refused],
    },
];

impl PlotOutcome {
    fn count(&self, counts: &DeedCounts) -> u64 {
        let counts = self.deeds.iter().map(|deed| counts.get(*deed));
        counts.fold(0, u64::saturating_add)
    }
}

/// The days of a plot, and how many of them are in one bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    first: u64,
    per_bar: u64,
    bars: usize,
}

impl Grid {
    const MOST: u64 = 92;
    const PER_BAR: [u64; 4] = [1, 7, 28, 364];

    /// Returns a grid for these days, the newest of them if they are too many. `None` if there are no days.
    pub fn new(days: &Days) -> Option<Self> {
        let (first, _) = days.days.first_key_value()?;
        let (last, _) = days.days.last_key_value()?;
        let count = last - first + 1;
        let fits = |per: &u64| count.div_ceil(*per) <= Self::MOST;
        let per_bar = Self::PER_BAR.into_iter().find(fits).unwrap_or(364);
        let bars = count.div_ceil(per_bar).min(Self::MOST);
        Some(Self {
            first: (last + 1).saturating_sub(bars * per_bar),
            per_bar,
            bars: usize::try_from(bars).unwrap_or(0),
        })
    }

    fn bars(&self, days: &Days) -> Vec<(u64, DeedCounts)> {
        let bar = |number| {
            let first = self.first + number * self.per_bar;
            let mut counts = DeedCounts::default();
            let days = days.days.range(first..first + self.per_bar);
            days.for_each(|(_, one)| counts.add_all(one));
            (first, counts)
        };
        (0..self.bars as u64).map(bar).collect()
    }

    /// Returns what a bar is: a day, or several.
    fn unit(&self) -> String {
        match self.per_bar {
            1 => "each bar is a day (UTC)".to_owned(),
            days => format!("each bar is {days} days (UTC)"),
        }
    }
}

/// Writes the large plot, with its legend and scale.
pub fn plot(html: &mut Html, grid: Grid, days: &Days) {
    let bars = grid.bars(days);
    let top = top(&bars);
    let last = grid.first + grid.per_bar * bars.len() as u64 - 1;
    html.element(Tag::Figure, &[], |html| {
        legend(html);
        html.element(Tag::Div, &[Attribute::Class("plot")], |html| {
            html.element(Tag::Div, &[Attribute::Class("scale")], |html| {
                html.line(Tag::Span, &[], &top.to_string());
                html.line(Tag::Span, &[], "0");
            });
            let label = format!(
                "Bars for {} to {}, at most {top}; the table below has the numbers",
                day(grid.first),
                day(last)
            );
            picture(html, &[Attribute::Picture(&label)], &bars, top, true);
            html.element(Tag::Div, &[Attribute::Class("dates")], |html| {
                let ends = [day(grid.first), day(last)];
                match bars.len() {
                    1 => html.line(Tag::Span, &[], &ends.concat()[..10]),
                    ..FEW => html.line(Tag::Span, &[], &ends.join(" to ")),
                    _ => ends.iter().for_each(|day| html.line(Tag::Span, &[], day)),
                }
            });
        });
        let caption = format!("Jobs and requests by outcome; {}.", grid.unit());
        html.line(Tag::Figcaption, &[], &caption);
    });
}

/// Writes a small plot, of one user, with the same days as the large one.
pub fn spark(html: &mut Html, grid: Grid, days: &Days) {
    let bars = grid.bars(days);
    let attributes = [Attribute::Class("spark"), Attribute::Decoration];
    picture(html, &attributes, &bars, top(&bars), false);
}

fn top(bars: &[(u64, DeedCounts)]) -> u64 {
    let sum = |(_, counts): &(u64, DeedCounts)| {
        let counts = OUTCOMES.iter().map(|outcome| outcome.count(counts));
        counts.fold(0, u64::saturating_add)
    };
    bars.iter().map(sum).max().unwrap_or(0)
}

fn legend(html: &mut Html) {
    html.element(Tag::Ul, &[Attribute::Class("legend")], |html| {
        for outcome in &OUTCOMES {
            html.element(Tag::Li, &[], |html| {
                let (width, height) = (STEP, STEP);
                let swatch = [
                    Attribute::Stretched { width, height },
                    Attribute::Decoration,
                ];
                html.element(Tag::Svg, &swatch, |html| {
                    let class = Attribute::Class(outcome.class);
                    html.element(
                        Tag::Rect,
                        &[class, Attribute::Size { width, height }],
                        |_| {},
                    );
                });
                html.text(outcome.word);
            });
        }
    });
}

fn picture(
    html: &mut Html,
    attributes: &[Attribute<'_>],
    bars: &[(u64, DeedCounts)],
    top: u64,
    has_titles: bool,
) {
    let width = STEP * bars.len().max(FEW) as u64;
    let height = HEIGHT;
    let mut all = vec![Attribute::Stretched { width, height }];
    all.extend_from_slice(attributes);
    html.element(Tag::Svg, &all, |html| {
        for (number, (first, counts)) in bars.iter().enumerate() {
            html.element(Tag::G, &[], |html| {
                if has_titles {
                    html.line(Tag::Title, &[], &title(*first, counts));
                }
                bar(html, number as u64 * STEP + GAP / 2, counts, top);
            });
        }
    });
}

fn title(first: u64, counts: &DeedCounts) -> String {
    let parts = OUTCOMES.iter().map(|outcome| {
        let count = outcome.count(counts);
        format!("{} {count}", outcome.word)
    });
    format!("{}: {}", day(first), parts.collect::<Vec<_>>().join("; "))
}

fn bar(html: &mut Html, x: u64, counts: &DeedCounts, top: u64) {
    let mut y = HEIGHT;
    for outcome in &OUTCOMES {
        let count = outcome.count(counts);
        let height = height(count, top).min(y);
        if height == 0 {
            continue;
        }
        y -= height;
        let width = STEP - GAP;
        let class = Attribute::Class(outcome.class);
        let rect = [
            class,
            Attribute::At { x, y },
            Attribute::Size { width, height },
        ];
        html.element(Tag::Rect, &rect, |_| {});
    }
}

fn height(count: u64, top: u64) -> u64 {
    let available = u128::from(HEIGHT - LEAST * OUTCOMES.len() as u64);
    let height = u128::from(count) * available / u128::from(top.max(1));
    match count {
        0 => 0,
        _ => u64::try_from(height).unwrap_or(HEIGHT).max(LEAST),
    }
}

/// Returns what the plot does not show, in a sentence. Empty if it shows everything.
pub fn beyond(grid: Grid, days: &Days) -> String {
    let mut counts = days.before;
    let before = days.days.range(..grid.first);
    before.for_each(|(_, one)| counts.add_all(one));
    let sum = |counts: &DeedCounts| {
        let all = OUTCOMES.iter().map(|outcome| outcome.count(counts));
        all.fold(0, u64::saturating_add)
    };
    let mut said = String::new();
    for (count, why) in [
        (sum(&counts), "came before the first bar"),
        (sum(&days.untimed), "have no time"),
    ] {
        if count > 0 {
            said += &format!("{} {why}. ", units::count(count, "outcome"));
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(pairs: &[(u64, u64)]) -> Days {
        let mut days = Days::default();
        for (day, count) in pairs {
            days.add(Some(*day), Deed::Looked, *count);
        }
        days
    }

    #[test]
    fn bars_hold_as_many_days_as_needed() {
        for (first, last, per_bar, bars) in [
            (100, 100, 1, 1),
            (100, 191, 1, 92),
            (100, 192, 7, 14),
            (0, 643, 7, 92),
            (0, 644, 28, 24),
            (0, 20_777, 364, 58),
            (0, 2_932_896, 364, 92),
        ] {
            let days = days(&[(first, 1), (last, 2)]);
            let grid = Grid::new(&days).unwrap();
            assert_eq!((grid.per_bar, grid.bars), (per_bar, bars), "{first} {last}");
            let counted: u64 = grid
                .bars(&days)
                .iter()
                .map(|(_, counts)| counts.get(Deed::Looked))
                .sum();
            let is_all = counted == 3;
            assert_eq!(is_all, beyond(grid, &days).is_empty(), "{first} {last}");
            assert!(counted >= 2, "{first} {last}");
        }
        assert_eq!(Grid::new(&Days::default()), None);
    }

    #[test]
    fn heights_stay_in_the_picture() {
        for (count, top, expect) in [
            (0, 0, 0),
            (0, 9, 0),
            (1, 1_000_000, LEAST),
            (9, 9, 944),
            (u64::MAX, u64::MAX, 944),
        ] {
            assert_eq!(height(count, top), expect, "{count} of {top}");
        }
    }
}
