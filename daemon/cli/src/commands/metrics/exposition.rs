//! The text format of Prometheus, version 0.0.4: families with HELP and TYPE, and their samples.

use serde::Serialize;

/// What each file begins with. The first family is always there.
pub const START: &str = "# HELP remit_up ";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Gauge,
    Counter,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MetricFamily {
    pub name: &'static str,
    #[serde(rename = "type")]
    pub kind: Kind,
    pub help: &'static str,
    pub samples: Vec<Sample>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sample {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<Label>,
    pub value: f64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Label {
    pub name: &'static str,
    pub value: String,
}

pub fn text(families: &[MetricFamily]) -> String {
    families.iter().map(family).collect()
}

fn family(family: &MetricFamily) -> String {
    let MetricFamily { name, help, .. } = family;
    let mut text = format!(
        "# HELP {name} {help}\n# TYPE {name} {}\n",
        family.kind.name()
    );
    for Sample { label, value } in &family.samples {
        let label = match label {
            Some(Label { name, value }) => format!("{{{name}=\"{}\"}}", escaped(value)),
            None => String::new(),
        };
        text += &format!("{name}{label} {value}\n");
    }
    text
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_are_escaped() {
        let label = Label {
            name: "version",
            value: "a\\\"b\n".into(),
        };
        let family = MetricFamily {
            name: "remit_x",
            kind: Kind::Gauge,
            help: "An x.",
            samples: vec![Sample {
                label: Some(label),
                value: 1.5,
            }],
        };
        let expect =
            "# HELP remit_x An x.\n# TYPE remit_x gauge\nremit_x{version=\"a\\\\\\\"b\\n\"} 1.5\n";
        assert_eq!(text(&[family]), expect);
    }
}
