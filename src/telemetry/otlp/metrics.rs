//! The table of metrics into OTLP's: cumulative sums, gauges and histograms with the bounds that Prometheus is told.
//! Knows no metric by name.

use std::time::{Duration, SystemTime};

use super::wire::{Any, attribute, bytes, eight, fixed, message, number, piece, whole};
use crate::telemetry::instrument::{Kind, Metric, Point, Spread, Unit, Value};

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: u64 = 2;

/// Since when it is counted, and the moment of the count, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub start: u64,
    pub now: u64,
}

impl Span {
    pub fn since(start: SystemTime) -> Self {
        let nanos = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).as_ref().map_or(0, Duration::as_nanos);
        let [start, now] = [start, SystemTime::now()].map(|time| u64::try_from(nanos(time)).unwrap_or_default());
        Self { start, now }
    }
}

/// `ScopeMetrics.metrics`, one behind the other.
pub fn written(table: &[Metric], span: Span) -> Vec<u8> {
    let mut out = Vec::new();
    for metric in table {
        message(&mut out, piece(2), |out| one(out, metric, span));
    }
    out
}

/// Under a name that Prometheus, which adds the unit and `_total` to what comes over OTLP, has as its own text says it.
fn one(out: &mut Vec<u8>, metric: &Metric, span: Span) {
    let name = metric.name.replacen('_', ".", 1);
    let unit = match metric.unit {
        Unit::None => "",
        Unit::Seconds => "s",
        Unit::Bytes => "By",
    };
    bytes(out, piece(1), name.as_bytes());
    bytes(out, piece(2), metric.help.as_bytes());
    bytes(out, piece(3), unit.as_bytes());
    match metric.kind {
        Kind::Gauge => message(out, piece(5), |out| points(out, metric, span)),
        Kind::Counter => message(out, piece(7), |out| {
            points(out, metric, span);
            number(out, whole(2), CUMULATIVE);
            // is_monotonic
            number(out, whole(3), 1);
        }),
        Kind::Histogram => message(out, piece(9), |out| {
            points(out, metric, span);
            number(out, whole(2), CUMULATIVE);
        }),
    }
}

fn points(out: &mut Vec<u8>, metric: &Metric, span: Span) {
    for point in &metric.points {
        message(out, piece(1), |out| match &point.value {
            Value::Whole(value) => single(out, (point, span), |out| fixed(out, eight(6), *value)),
            Value::Real(value) => single(out, (point, span), |out| fixed(out, eight(4), value.to_bits())),
            Value::Spread(spread) => histogram(out, (point, span), spread),
        });
    }
}

/// `NumberDataPoint`.
fn single(out: &mut Vec<u8>, (point, span): (&Point, Span), value: impl FnOnce(&mut Vec<u8>)) {
    fixed(out, eight(2), span.start);
    fixed(out, eight(3), span.now);
    value(out);
    labels(out, piece(7), point);
}

/// `HistogramDataPoint`.
fn histogram(out: &mut Vec<u8>, (point, span): (&Point, Span), spread: &Spread) {
    fixed(out, eight(2), span.start);
    fixed(out, eight(3), span.now);
    fixed(out, eight(4), spread.count());
    fixed(out, eight(5), (spread.sum as f64 / 1e9).to_bits());
    message(out, piece(6), |out| spread.counts.iter().for_each(|count| out.extend_from_slice(&count.to_le_bytes())));
    let bounds = spread.bounds.iter().map(|nanos| (*nanos as f64 / 1e9).to_bits());
    message(out, piece(7), |out| bounds.for_each(|bound| out.extend_from_slice(&bound.to_le_bytes())));
    labels(out, piece(9), point);
}

fn labels(out: &mut Vec<u8>, tag: u8, point: &Point) {
    point.labels.iter().for_each(|(name, value)| attribute(out, tag, name, Any::Text(value)));
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::metrics::v1::ScopeMetrics;
    use opentelemetry_proto::tonic::metrics::v1::metric::Data;
    use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
    use prost::Message;

    use super::*;
    use crate::telemetry::metrics::Metrics;

    #[test]
    fn others_read_the_whole_table() {
        let metrics = Metrics::default();
        metrics.refused("connections");
        metrics.upstream.observe(Duration::from_millis(2));
        let table = metrics.collect();
        let read = ScopeMetrics::decode(&*written(&table, Span { start: 3, now: 7 })).unwrap().metrics;
        assert_eq!(read.len(), table.len());
        for (metric, read) in table.iter().zip(&read) {
            assert_eq!(read.name.replace('.', "_"), metric.name);
            let count = match read.data.as_ref().unwrap() {
                Data::Gauge(gauge) => gauge.data_points.len(),
                Data::Sum(sum) => {
                    assert!(sum.is_monotonic && sum.aggregation_temporality == 2);
                    sum.data_points.len()
                }
                Data::Histogram(histogram) => histogram.data_points.len(),
                other @ (Data::ExponentialHistogram(_) | Data::Summary(_)) => panic!("{other:?}"),
            };
            assert_eq!(count, metric.points.len(), "{}", metric.name);
        }
        let named = |name: &str| read.iter().find(|metric| metric.name == name).unwrap().data.clone().unwrap();
        let Data::Sum(refused) = named("scopegate.refused_connections") else { panic!() };
        let point = &refused.data_points[0];
        assert_eq!((point.value, point.start_time_unix_nano, point.time_unix_nano), (Some(Number::AsInt(1)), 3, 7));
        assert_eq!(point.attributes[0].key, "bound");
        let Data::Histogram(upstream) = named("scopegate.upstream") else { panic!() };
        let point = &upstream.data_points[0];
        assert_eq!((point.count, point.sum, point.bucket_counts.len(), point.explicit_bounds.len()), (1, Some(0.002), 9, 8));
        assert_eq!((point.bucket_counts[1], point.explicit_bounds[0]), (1, 0.001));
    }
}
