//! Words about preferences.

use super::notes::percent;
use crate::comparison::{Meeting, Preference, Results};

/// Description of the method, above the tables.
pub(super) const HOW: &str = "PickScore's choice between two images of one prompt: the share of prompts won, a tie as half a win, and the mean probability of the \
first system's image. 95 % intervals from the bootstrap over prompts, the same prompts for both systems.";

/// A row of a preference's table: opponent, win rate, mean probability, prompts, ties.
pub(super) fn row(results: &Results, meeting: &Meeting) -> [String; 5] {
    let mark = if meeting.differs.is_some() { " ≠" } else { "" };
    [
        format!("{}{mark}", label(results, meeting.opponent)),
        percent(&meeting.win_rate),
        percent(&meeting.mean_probability),
        meeting.n_prompts.to_string(),
        meeting.n_ties.to_string(),
    ]
}

/// The label of system `i`.
pub(super) fn label(results: &Results, i: usize) -> &str {
    results.rows.get(i).map_or("", |row| row.system.label.as_str())
}

/// The heading.
pub(super) fn title(preference: &Preference) -> String {
    match preference.spec.label.as_str() {
        "" => preference.spec.name.clone(),
        label => label.to_owned(),
    }
}

/// The label of the reference.
pub(super) fn reference<'a>(results: &'a Results, preference: &Preference) -> &'a str {
    let name = preference.spec.reference.as_deref().unwrap_or_default();
    let row = results.rows.iter().find(|row| row.system.name == name);
    row.map_or("", |row| row.system.label.as_str())
}

/// The mean over opponents, measured and published; empty where there is neither.
pub(super) fn mean(preference: &Preference) -> String {
    let share = |value: f64| format!("{:.1} %", 100.0 * value);
    let measured = preference.mean().map(|value| format!("{} m", share(value)));
    let published = preference.published.map(|value| format!("{} p", share(value)));
    let both: Vec<String> = [measured, published].into_iter().flatten().collect();
    match both.is_empty() {
        true => String::new(),
        false => format!("Mean win rate of the reference: {}.", both.join(", ")),
    }
}

/// Systems without scores, in words; empty where all have them.
pub(super) fn missing(results: &Results, preference: &Preference) -> String {
    let told = |(i, why): &(usize, String)| format!("{} ({why})", label(results, *i));
    match preference.missing.is_empty() {
        true => String::new(),
        false => format!(
            "Missing: {}.",
            preference.missing.iter().map(told).collect::<Vec<_>>().join("; ")
        ),
    }
}

/// What differs between the protocols of two systems, in words.
pub(super) fn differences(results: &Results, preference: &Preference) -> Vec<String> {
    let told = |m: &Meeting| {
        let (a, b) = (label(results, m.system), label(results, m.opponent));
        m.differs.as_ref().map(|d| format!("≠ {a} against {b}: {d}"))
    };
    preference.meetings.iter().filter_map(told).collect()
}
