//! Provenance of the runs of a report.

use super::finished::Finished;
use crate::experiment::provenance::{Provenance, SessionRecord};

fn sessions(runs: &[Finished]) -> impl Iterator<Item = &SessionRecord> {
    runs.iter().flat_map(|r| &r.provenance.sessions)
}

fn commits(runs: &[Finished], digits: usize) -> Vec<String> {
    distinct(sessions(runs).map(|session| commit_of(session, digits)))
}

/// Seconds of a session that finished its run.
fn took(session: &SessionRecord) -> Option<u64> {
    duration(&session.start, session.end.as_deref()?)
}

fn seconds(runs: &[Finished]) -> u64 {
    sessions(runs).filter_map(took).sum()
}

/// Seconds of one run, where the end of its sessions is known.
pub(super) fn seconds_of(provenance: &Provenance) -> Option<u64> {
    let known: Vec<u64> = provenance.sessions.iter().filter_map(took).collect();
    (!known.is_empty()).then(|| known.iter().sum())
}

/// The commit of a session.
pub(super) fn commit(session: &SessionRecord) -> String {
    commit_of(session, 40)
}

fn commit_of(session: &SessionRecord, digits: usize) -> String {
    let sha = session.git_sha.as_deref();
    let sha = sha.map_or("unknown", |sha| sha.get(..digits).unwrap_or(sha));
    match session.git_dirty {
        Some(true) => format!("{sha} (changed)"),
        _ => sha.to_owned(),
    }
}

/// One sentence on the provenance of the runs.
pub(super) fn made(runs: &[Finished]) -> String {
    format!(
        "{} finished runs; code {}; device {}; {} s of run time in all.",
        runs.len(),
        commits(runs, 10).join(", "),
        distinct(sessions(runs).map(|s| s.device.clone())).join(", "),
        seconds(runs)
    )
}

/// The provenance of the runs: `(name, values)`.
pub(super) fn of(runs: &[Finished]) -> Vec<(&'static str, Vec<String>)> {
    let of = |value: &dyn Fn(&Provenance) -> String| distinct(runs.iter().map(|r| value(&r.provenance)));
    let starts = distinct(sessions(runs).map(|s| s.start.clone()));
    let ends = distinct(sessions(runs).filter_map(|s| s.end.clone()));
    let when = starts.first().zip(ends.last());
    let inputs = runs.iter().flat_map(|r| &r.provenance.inputs);
    vec![
        ("runs", vec![runs.len().to_string()]),
        ("commands", distinct(sessions(runs).map(|s| command(&s.argv)))),
        ("code", commits(runs, 40)),
        ("program version", of(&|p| p.package_version.clone())),
        ("SHA-256 of Cargo.lock", of(&|p| p.cargo_lock_sha256.clone())),
        ("device", distinct(sessions(runs).map(|s| s.device.clone()))),
        (
            "time",
            when.map(|(start, end)| format!("{start} to {end}, {} s of run time in all", seconds(runs)))
                .into_iter()
                .collect(),
        ),
        (
            "SHA-256 of files read",
            distinct(inputs.map(|(name, hash)| format!("{name} {hash}"))),
        ),
    ]
}

fn duration(start: &str, end: &str) -> Option<u64> {
    let parse = |text| humantime::parse_rfc3339(text).ok();
    parse(end)?
        .duration_since(parse(start)?)
        .ok()
        .map(|d| d.as_secs())
}

/// Distinct values, in order.
fn distinct(values: impl Iterator<Item = String>) -> Vec<String> {
    let set: std::collections::BTreeSet<String> = values.collect();
    set.into_iter().collect()
}

/// Options that name local paths and change no result.
const PLACES: [&str; 2] = ["--runs", "--out"];

/// A command without paths of this machine, to repeat it elsewhere.
fn command(argv: &[String]) -> String {
    let mut words = vec!["eclipse"];
    let mut given = argv.iter().skip(1).map(String::as_str);
    while let Some(word) = given.next() {
        if PLACES.contains(&word) {
            given.next();
        } else if !PLACES.iter().any(|place| word.starts_with(&format!("{place}="))) {
            words.push(word);
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_has_no_places_of_one_machine() {
        let given = "/home/me/eclipse sweep lambda --runs /data/runs --jobs 2 --out=/tmp/x --set seed=1";
        let argv: Vec<String> = given.split(' ').map(str::to_owned).collect();
        assert_eq!(command(&argv), "eclipse sweep lambda --jobs 2 --set seed=1");
    }
}
