//! The table of metrics into what Prometheus reads: its text format 0.0.4, or OpenMetrics where that is asked for.
//! Knows no metric by name.

use std::fmt::{Display, Formatter, Result, Write};

use super::instrument::{Kind, Metric, Point, Spread, Unit, Value};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    OpenMetrics,
}

impl Format {
    /// What an `Accept` prefers (RFC 9110 §12.5.1); who asks for neither gets what everybody reads.
    pub fn preferred(accept: &str) -> Self {
        let [mut open, mut text] = [0.0_f64; 2];
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default().to_ascii_lowercase();
            let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
            match &*media {
                "application/openmetrics-text" => open = open.max(weight),
                "text/plain" => text = text.max(weight),
                _ => {}
            }
        }
        if open > 0.0 && open >= text { Self::OpenMetrics } else { Self::Text }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    pub fn write(self, table: &[Metric]) -> String {
        let mut out = String::new();
        for metric in table {
            // Writing to a string does not fail.
            let _ = self.metric(&mut out, metric);
        }
        if self == Self::OpenMetrics {
            out.push_str("# EOF\n");
        }
        out
    }

    fn metric(self, out: &mut String, metric: &Metric) -> Result {
        let unit = match metric.unit {
            Unit::None => "",
            Unit::Seconds => "seconds",
            Unit::Bytes => "bytes",
        };
        let family = if unit.is_empty() { metric.name.to_owned() } else { format!("{}_{unit}", metric.name) };
        let (sample, kind) = match metric.kind {
            Kind::Counter => (format!("{family}_total"), "counter"),
            Kind::Gauge => (family.clone(), "gauge"),
            Kind::Histogram => (family.clone(), "histogram"),
        };
        // OpenMetrics types the family, 0.0.4 the name of the sample.
        let named = match self {
            Self::Text => &sample,
            Self::OpenMetrics => &family,
        };
        writeln!(out, "# HELP {named} {}", metric.help)?;
        writeln!(out, "# TYPE {named} {kind}")?;
        if self == Self::OpenMetrics && !unit.is_empty() {
            writeln!(out, "# UNIT {named} {unit}")?;
        }
        metric.points.iter().try_for_each(|point| self.point(out, &sample, point))
    }

    fn point(self, out: &mut String, name: &str, point: &Point) -> Result {
        let labels = Labels(&point.labels, None);
        match &point.value {
            Value::Whole(value) => writeln!(out, "{name}{labels} {value}"),
            Value::Real(value) => writeln!(out, "{name}{labels} {value}"),
            Value::Spread(spread) => self.spread(out, name, (point, spread)),
        }
    }

    fn spread(self, out: &mut String, name: &str, (point, spread): (&Point, &Spread)) -> Result {
        let mut below = 0;
        for (bound, count) in spread.bounds.iter().map(Some).chain([None]).zip(spread.counts) {
            below += count;
            let bound = match (bound, self) {
                (None, _) => "+Inf".to_owned(),
                (Some(nanos), Self::Text) => format!("{}", *nanos as f64 / 1e9),
                // Numbers of OpenMetrics' `le` have a point.
                (Some(nanos), Self::OpenMetrics) if nanos % 1_000_000_000 == 0 => format!("{}.0", nanos / 1_000_000_000),
                (Some(nanos), Self::OpenMetrics) => format!("{}", *nanos as f64 / 1e9),
            };
            writeln!(out, "{name}_bucket{} {below}", Labels(&point.labels, Some(&bound)))?;
        }
        let labels = Labels(&point.labels, None);
        writeln!(out, "{name}_sum{labels} {}", spread.sum as f64 / 1e9)?;
        writeln!(out, "{name}_count{labels} {below}")
    }
}

/// The labels of a sample, and the bound of a bucket.
struct Labels<'a>(&'a super::instrument::Labels, Option<&'a str>);

impl Display for Labels<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        let bound = self.1.map(|bound| ("le", bound));
        let mut before = '{';
        for (name, value) in self.0.iter().map(|(name, value)| (*name, &**value)).chain(bound) {
            write!(out, "{before}{name}=\"")?;
            for char in value.chars() {
                match char {
                    '\\' => out.write_str("\\\\")?,
                    '"' => out.write_str("\\\"")?,
                    '\n' => out.write_str("\\n")?,
                    char => out.write_char(char)?,
                }
            }
            out.write_char('"')?;
            before = ',';
        }
        if before == ',' { out.write_char('}') } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_is_for_those_who_prefer_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,\
                          text/plain;version=1.0.0;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, format) in [
            (prometheus, Format::OpenMetrics),
            ("application/openmetrics-text", Format::OpenMetrics),
            ("application/openmetrics-text; version=1.0.0, text/plain", Format::OpenMetrics),
            ("Application/OpenMetrics-Text;q=0.3,text/plain;q=0.5", Format::Text),
            ("application/openmetrics-text;q=0", Format::Text),
            ("application/openmetrics-text;q=x", Format::Text),
            ("application/vnd.google.protobuf, text/plain;q=0.1", Format::Text),
            ("*/*", Format::Text),
            ("", Format::Text),
        ] {
            assert_eq!(Format::preferred(accept), format, "{accept}");
        }
    }

    #[test]
    fn each_format_types_the_name_that_it_should() {
        let labels = vec![("credential", "a \"b\"\\\n".into())];
        let counted = Metric::new(("test_things", Unit::None), Kind::Counter, "Things", vec![Point { labels, value: Value::Whole(7) }]);
        let sample = "test_things_total{credential=\"a \\\"b\\\"\\\\\\n\"} 7\n";
        let text = Format::Text.write(std::slice::from_ref(&counted));
        assert_eq!(text, format!("# HELP test_things_total Things\n# TYPE test_things_total counter\n{sample}"));
        let open = Format::OpenMetrics.write(&[counted]);
        assert_eq!(open, format!("# HELP test_things Things\n# TYPE test_things counter\n{sample}# EOF\n"));
    }

    #[test]
    fn buckets_add_up_to_the_count() {
        const BOUNDS: [u64; 8] = [1_000, 2_000, 3_000, 4_000, 5_000, 6_000, 1_000_000_000, 30_000_000_000];
        let spread = Spread { bounds: &BOUNDS, counts: [1, 0, 2, 0, 0, 0, 0, 3, 4], sum: 1_500_000_000 };
        let timed = Metric::new(("test", Unit::Seconds), Kind::Histogram, "Times", Point::only(Value::Spread(spread)));
        let text = Format::Text.write(std::slice::from_ref(&timed));
        for line in ["_bucket{le=\"0.000001\"} 1", "_bucket{le=\"1\"} 3", "_bucket{le=\"30\"} 6", "_bucket{le=\"+Inf\"} 10", "_sum 1.5", "_count 10"]
        {
            assert!(text.contains(&format!("\ntest_seconds{line}\n")), "{line} in {text}");
        }
        let open = Format::OpenMetrics.write(&[timed]);
        assert!(open.contains("# UNIT test_seconds seconds\n") && open.contains("le=\"30.0\""), "{open}");
    }
}
