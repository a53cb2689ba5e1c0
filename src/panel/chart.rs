//! Numbers over time into a picture, drawn here: no script, and the same numbers in words beside it.
//! Tells series apart by how their lines are drawn, not by colour alone.

use std::fmt::Write;

use maud::{Markup, html};

/// One line of a chart.
pub struct Series {
    pub label: &'static str,
    /// As the style sheet draws it: nothing, `second`, `third`.
    pub kind: &'static str,
    /// From the oldest to the newest; none where nothing was measured.
    pub values: Vec<Option<f64>>,
}

const WIDTH: f64 = 180.0;
const HEIGHT: f64 = 60.0;

/// A chart with its heading; `text` writes a value with its unit.
pub fn chart(title: &str, over: &str, series: &[Series], text: impl Fn(f64) -> String) -> Markup {
    let values = series.iter().flat_map(|series| &series.values).flatten().copied();
    let most = values.fold(0.0, f64::max);
    let now = |series: &Series| series.values.last().copied().flatten().map_or_else(|| "none".to_owned(), &text);
    let told: Vec<String> = series.iter().map(|series| format!("{} now {}, at most {}", series.label, now(series), text(peak(series)))).collect();
    let label = format!("{title}, {over}: {}", told.join("; "));
    html! {
        figure {
            figcaption { span { (title) } span { "at most " strong { (text(most)) } } }
            svg.chart role="img" aria-label=(label) viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" {
                @for part in [0.0, 0.5, 1.0] { line.grid x1="0" x2=(WIDTH) y1=(HEIGHT * part) y2=(HEIGHT * part) {} }
                @for (index, series) in series.iter().enumerate() {
                    @for run in runs(&series.values, most) {
                        @if index == 0 { polygon.area points=(filled(&run)) {} }
                        polyline.line.(series.kind) points=(points(&run)) {}
                    }
                }
            }
            ul.legend {
                @for series in series {
                    li {
                        svg.chart aria-hidden="true" viewBox="0 0 24 8" { line.line.(series.kind) x1="0" x2="24" y1="4" y2="4" {} }
                        (series.label) " " strong { (now(series)) }
                    }
                }
            }
        }
    }
}

fn peak(series: &Series) -> f64 {
    series.values.iter().flatten().copied().fold(0.0, f64::max)
}

/// Points that follow each other without a gap, as places in the picture. The newest stands at its right edge.
fn runs(values: &[Option<f64>], most: f64) -> Vec<Vec<(f64, f64)>> {
    let step = WIDTH / (values.len().max(2) - 1) as f64;
    let scale = if most > 0.0 { (HEIGHT - 2.0) / most } else { 0.0 };
    let place = |(index, value): (usize, &Option<f64>)| value.map(|value| (index as f64 * step, HEIGHT - 1.0 - value * scale));
    let places: Vec<_> = values.iter().enumerate().map(place).collect();
    places.split(Option::is_none).map(|run| run.iter().flatten().copied().collect()).filter(|run: &Vec<_>| !run.is_empty()).collect()
}

fn points(run: &[(f64, f64)]) -> String {
    let mut out = String::new();
    for (x, y) in run {
        let _ = write!(out, "{x:.1},{y:.1} ");
    }
    // A single point has no length, and would not be seen.
    if let [(x, y)] = run {
        let _ = write!(out, "{:.1},{y:.1}", x + 1.0);
    }
    out
}

fn filled(run: &[(f64, f64)]) -> String {
    let (first, last) = (run.first().map_or(0.0, |(x, _)| *x), run.last().map_or(0.0, |(x, _)| *x));
    format!("{first:.1},{HEIGHT} {}{last:.1},{HEIGHT}", points(run))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_in_the_numbers_is_a_gap_in_the_line() {
        let runs = runs(&[Some(1.0), Some(2.0), None, Some(4.0)], 4.0);
        assert_eq!(runs.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(runs[1], [(180.0, 1.0)]);
    }

    #[test]
    fn a_chart_says_in_words_what_it_draws() {
        let series = [Series { label: "allowed", kind: "", values: vec![Some(1.0), Some(3.0), Some(2.0)] }];
        let drawn = chart("Decisions a second", "last 15 minutes", &series, |value| format!("{value:.1}")).0;
        assert!(drawn.contains("aria-label=\"Decisions a second, last 15 minutes: allowed now 2.0, at most 3.0\""), "{drawn}");
        assert!(!drawn.contains("style="), "the policy forbids it");
        let nothing = chart("x", "y", &[], |value| value.to_string()).0;
        assert!(nothing.contains("at most <strong>0</strong>"), "{nothing}");
    }
}
