//! A soak as a picture: resident memory over the number of calls, as SVG. Pure.

use std::fmt::Write as _;

use super::{Sample, Soak};

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 60.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 290.0;
const RIGHT: f64 = 740.0;
const MIB: f64 = 1_048_576.0;
/// Lines of the grid.
const LINES: u32 = 4;

type Value = fn(&Sample) -> u64;
const SERIES: [(&str, &str, Value); 3] = [
    ("warden", "#2a6fdb", |sample| sample.warden),
    ("broker", "#c2571a", |sample| sample.broker),
    ("helpers", "#2e8b57", |sample| sample.helpers),
];

pub fn svg(soak: &Soak) -> String {
    let values = SERIES
        .iter()
        .flat_map(|(_, _, of)| soak.samples.iter().map(of));
    let most = (values.max().unwrap_or(0) as f64 / MIB * 1.15)
        .ceil()
        .max(1.0);
    let calls = soak.calls.max(1) as f64;
    let x = |count: u64| LEFT + (RIGHT - LEFT) * count as f64 / calls;
    let y = |mib: f64| BOTTOM - (BOTTOM - TOP) * mib / most;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<title>Resident memory over {} calls in {:.0} s</title>\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"24\" fill=\"#222222\">Resident memory in MiB over the number of calls: {} in {:.0} s</text>\n",
        soak.calls, soak.seconds, soak.calls, soak.seconds
    );
    for line in 0..=LINES {
        let part = f64::from(line) / f64::from(LINES);
        let (mib, count) = (most * part, (calls * part) as u64);
        let (down, right) = (y(mib), x(count));
        let _ = write!(
            svg,
            "<path d=\"M{LEFT} {down:.1}H{RIGHT}\" stroke=\"#dddddd\"/>\n\
             <text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#555555\">{mib:.1}</text>\n\
             <text x=\"{right:.1}\" y=\"{:.0}\" text-anchor=\"middle\" fill=\"#555555\">{count}</text>\n",
            LEFT - 8.0,
            down + 4.0,
            BOTTOM + 22.0
        );
    }
    for (at, (name, colour, of)) in SERIES.iter().enumerate() {
        let points = soak.samples.iter();
        let points: Vec<String> = points
            .map(|sample| format!("{:.1},{:.1}", x(sample.calls), y(of(sample) as f64 / MIB)))
            .collect();
        let down = TOP + 20.0 * at as f64;
        let _ = write!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n\
             <text x=\"{:.0}\" y=\"{:.0}\" fill=\"{colour}\">{name}</text>\n",
            points.join(" "),
            RIGHT + 14.0,
            down + 4.0
        );
    }
    svg + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sample_is_a_point_within_the_axes() {
        let sample = |calls: u64| Sample {
            calls,
            warden: 8 << 20,
            broker: (9 << 20) + calls,
            helpers: 5 << 20,
            ..Sample::default()
        };
        let soak = Soak {
            seconds: 3.0,
            calls: 1000,
            users: 3,
            samples: [0, 500, 1000].map(sample).to_vec(),
        };
        let svg = svg(&soak);
        let lines: Vec<&str> = svg
            .lines()
            .filter(|line| line.starts_with("<polyline"))
            .collect();
        assert_eq!(lines.len(), SERIES.len());
        for line in lines {
            let points = line.split('"').nth(1).unwrap();
            let points: Vec<(f64, f64)> = points
                .split(' ')
                .map(|point| point.split_once(',').unwrap())
                .map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap()))
                .collect();
            assert_eq!(points.len(), 3);
            assert!(
                points
                    .iter()
                    .all(|(x, y)| (LEFT..=RIGHT).contains(x) && (TOP..=BOTTOM).contains(y))
            );
            assert_eq!((points[0].0, points[2].0), (LEFT, RIGHT));
        }
    }
}
