//! The answer of an experiment: sentences with numbers that come from the scores.

use super::metric_key::MetricKey;
use super::results::Report;
use super::text::interval_text;
use crate::eval::Interval;

/// `answer` with its numbers in the place of `{a: metric@split}` and `{a - b: metric@split}`, see
/// [`ReportSpec::answer`](crate::experiment::report_spec::ReportSpec::answer).
///
/// # Errors
/// The first number that the report does not have, and what it would need.
pub(super) fn fill(report: &Report, answer: &str) -> Result<String, String> {
    let mut text = String::new();
    let mut rest = answer;
    while let Some((before, after)) = rest.split_once('{') {
        let (number, after) = after
            .split_once('}')
            .ok_or_else(|| format!("{{{after}: expected a closing brace"))?;
        text.push_str(before);
        text.push_str(&number_of(report, number)?);
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

fn number_of(report: &Report, number: &str) -> Result<String, String> {
    let fail = |why: String| format!("{{{number}}}: {why}");
    let (what, metric) = number
        .rsplit_once(": ")
        .ok_or_else(|| fail("expected `SYSTEM: METRIC@SPLIT` or `SYSTEM - SYSTEM: METRIC@SPLIT`".into()))?;
    let (name, split) = metric.split_once('@').unwrap_or((metric, "all"));
    let key = MetricKey {
        name: name.into(),
        split: split.into(),
    };
    let cell = |label: &str| {
        let labels = || {
            report
                .systems
                .iter()
                .map(|s| s.label.as_str())
                .collect::<Vec<_>>()
        };
        let system = report
            .system(label)
            .ok_or_else(|| fail(format!("no system {label}; there are {}", labels().join("; "))))?;
        let cell = system.cells.get(&key);
        cell.map(|cell| (system, cell))
            .ok_or_else(|| fail(format!("{label} has no {metric}")))
    };
    let digits = key.decimals();
    if report.system(what).is_some() {
        let (_, cell) = cell(what)?;
        return Ok(interval_text(&cell.interval, cell.has_interval, false, digits));
    }
    let (a, b) = what
        .split_once(" - ")
        .ok_or_else(|| cell(what).map_or_else(|e| e, |_| String::new()))?;
    let ((first, of_first), (second, of_second)) = (cell(a)?, cell(b)?);
    let difference = match (of_first.difference, of_second.difference) {
        (Some(d), _) if first.compared_with.as_deref() == Some(b) => d,
        (_, Some(d)) if second.compared_with.as_deref() == Some(a) => Interval {
            value: 0.0 - d.value,
            low: 0.0 - d.high,
            high: 0.0 - d.low,
        },
        _ => return Err(fail(format!("{a} and {b} are not compared prompt by prompt"))),
    };
    Ok(interval_text(&difference, true, true, digits))
}
