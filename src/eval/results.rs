//! The result file of one evaluated run, `eval/embedding.json`:
//!
//! ```json
//! {"version": 1, "metrics": [
//!   {"name": "forced_choice/object", "split": "unseen", "value": 0.5, "n": 2, "per_prompt": [1.0, 0.0], "prompts": [3, 4]},
//!   {"name": "frechet", "split": "all", "value": 0.03, "n": 400, "note": "..."}
//! ]}
//! ```

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::EvalError;
use super::bootstrap::{Bootstrap, Interval};
use crate::files;
use crate::limits;

/// One number, with what it was averaged from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// What was measured, as `family/detail`.
    pub name: String,
    /// On which prompts: `all`, `seen`, `unseen`, or `against` for counter-bias prompts.
    pub split: String,
    /// The number; the mean of `per_prompt` where that is there.
    pub value: f64,
    /// Number of prompts behind it.
    #[serde(default)]
    pub n: usize,
    /// The value of each prompt (a mean over noise seeds where there are several). Absent if the metric is one of a distribution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_prompt: Option<Vec<f64>>,
    /// Which prompts `per_prompt` belongs to, ascending; compare these before pairing two systems.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompts: Option<Vec<usize>>,
    /// A caveat that belongs beside the number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Metric {
    /// A metric with no value per prompt.
    pub fn scalar(name: impl Into<String>, split: impl Into<String>, value: f64, n: usize) -> Self {
        Self {
            name: name.into(),
            split: split.into(),
            value: rounded(value),
            n,
            per_prompt: None,
            prompts: None,
            note: None,
        }
    }

    /// The mean of `(prompt, value)` pairs, of which there must be at least one.
    pub fn per_prompt(name: impl Into<String>, split: impl Into<String>, values: &[(usize, f64)]) -> Self {
        let (prompts, per_prompt): (Vec<usize>, Vec<f64>) =
            values.iter().map(|&(i, v)| (i, rounded(v))).unzip();
        let value = per_prompt.iter().sum::<f64>() / per_prompt.len() as f64;
        Self {
            per_prompt: Some(per_prompt),
            prompts: Some(prompts),
            ..Self::scalar(name, split, value, values.len())
        }
    }

    /// The mean of the same metric over several runs (one a seed), with its interval over seeds and prompts. A metric without
    /// values per prompt is resampled over seeds only.
    ///
    /// # Errors
    /// [`EvalError::Shape`] if the runs do not agree in name, split or prompts; else like [`Bootstrap::mean`].
    pub fn interval(runs: &[&Self], bootstrap: &Bootstrap) -> Result<Interval, EvalError> {
        bootstrap.mean(&Self::table(runs)?)
    }

    /// The scores of several runs of one system as `[seed][prompt]`, for [`Bootstrap`].
    ///
    /// # Errors
    /// [`EvalError::Shape`] if there are no runs or they do not agree in name, split or prompts.
    pub fn table(runs: &[&Self]) -> Result<Vec<Vec<f64>>, EvalError> {
        let Some(first) = runs.first() else {
            return Err(EvalError::shape("metric", "at least one run", "none"));
        };
        let row = |run: &&Self| {
            run.check_same(first)?;
            Ok(run.per_prompt.clone().unwrap_or_else(|| vec![run.value]))
        };
        runs.iter().map(row).collect()
    }

    /// Fails unless `other` is the same metric, on the same split and prompts, so that the two may be paired.
    ///
    /// # Errors
    /// [`EvalError::Shape`] saying what differs.
    pub fn check_same(&self, other: &Self) -> Result<(), EvalError> {
        if (&self.name, &self.split) != (&other.name, &other.split) {
            let (expected, found) = (other.key(), self.key());
            return Err(EvalError::shape("metric", expected, found));
        }
        let count = |m: &Self| m.per_prompt.as_ref().map(Vec::len);
        if count(self) != count(other) || self.prompts != other.prompts {
            let what = format!("metric {}", self.key());
            return Err(EvalError::shape(what, "the same prompts in every run", "others"));
        }
        Ok(())
    }

    fn key(&self) -> String {
        format!("{} ({})", self.name, self.split)
    }

    fn problem(&self) -> Option<&'static str> {
        let values = self.per_prompt.as_deref().unwrap_or_default();
        if limits::not_finite(values.iter().copied().chain([self.value])).is_some() {
            return Some("holds a number that is not finite");
        }
        if self.per_prompt.is_some() {
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let scale = values.iter().fold(1.0, |m: f64, v| m.max(v.abs()));
            if values.is_empty() || (mean - self.value).abs() > 1e-6 * scale {
                return Some("has a value that is not the mean of per_prompt");
            }
        }
        if let Some(prompts) = &self.prompts
            && (prompts.len() != values.len() || !prompts.is_sorted_by(|a, b| a < b))
        {
            return Some("has prompts that are not ascending or do not fit per_prompt");
        }
        None
    }
}

/// Nine significant digits, and zero below 1e-12, where there is nothing but rounding. A file stays small, and what is read from
/// it is what was written, bit for bit (a fast parser is only exact up to 15 digits).
fn rounded(value: f64) -> f64 {
    if value.abs() < 1e-12 {
        return 0.0;
    }
    format!("{value:.8e}").parse().unwrap_or(value)
}

/// All metrics of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalFile {
    /// Version of this format and of the definitions of the metrics: [`EvalFile::VERSION`].
    pub version: u32,
    /// The metrics, in the order of a report; no two have the same name and split.
    pub metrics: Vec<Metric>,
}

impl EvalFile {
    /// The version that this code writes and reads.
    pub const VERSION: u32 = 1;

    /// A file of these metrics.
    pub fn new(metrics: Vec<Metric>) -> Self {
        Self {
            version: Self::VERSION,
            metrics,
        }
    }

    /// The metric of this name and split.
    pub fn get(&self, name: &str, split: &str) -> Option<&Metric> {
        self.metrics.iter().find(|m| m.name == name && m.split == split)
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`EvalError::File`], [`EvalError::Json`] with line and column, or [`EvalError::Content`] naming the metric.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, EvalError> {
        let path = path.as_ref();
        let text = files::read_text(path)?;
        let file: Self = serde_json::from_str(&text).map_err(|source| EvalError::Json {
            path: path.to_path_buf(),
            source,
        })?;
        file.check(path)?;
        Ok(file)
    }

    /// Checks the metrics and writes the file, one metric a line.
    ///
    /// # Errors
    /// [`EvalError::Content`] (nothing is written then) or [`EvalError::File`].
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), EvalError> {
        let path = path.as_ref();
        self.check(path)?;
        let json = |source| EvalError::Json {
            path: path.to_path_buf(),
            source,
        };
        let lines: Vec<String> = self
            .metrics
            .iter()
            .map(serde_json::to_string)
            .collect::<Result<_, _>>()
            .map_err(json)?;
        let text = format!(
            "{{\"version\":{},\"metrics\":[\n{}\n]}}\n",
            self.version,
            lines.join(",\n")
        );
        files::write_atomic(path, text.as_bytes())?;
        Ok(())
    }

    fn check(&self, path: &Path) -> Result<(), EvalError> {
        let fail = |problem| {
            Err(EvalError::Content {
                path: path.to_path_buf(),
                problem,
            })
        };
        if self.version != Self::VERSION {
            return fail(format!(
                "version {} of the evaluation format, expected {}; evaluate the run again",
                self.version,
                Self::VERSION
            ));
        }
        let mut seen = BTreeSet::new();
        for metric in &self.metrics {
            if !seen.insert((&metric.name, &metric.split)) {
                return fail(format!("metric {} stands there twice", metric.key()));
            }
            if let Some(problem) = metric.problem() {
                return fail(format!("metric {} {problem}", metric.key()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> EvalFile {
        EvalFile::new(vec![
            Metric::per_prompt("forced_choice/object", "unseen", &[(3, 1.0), (4, 0.0), (9, 1.0)]),
            Metric {
                note: Some("few".into()),
                ..Metric::scalar("frechet", "all", 0.03, 40)
            },
        ])
    }

    #[test]
    fn writes_and_reads_back_with_the_agreed_keys() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("embedding.json");
        sample().write(&path)?;
        assert_eq!(EvalFile::read(&path)?, sample());
        let json: serde_json::Value = serde_json::from_str(&files::read_text(&path)?)?;
        assert_eq!(json["version"], 1);
        assert_eq!(
            json["metrics"][0]["per_prompt"],
            serde_json::json!([1.0, 0.0, 1.0])
        );
        assert_eq!(json["metrics"][1].get("per_prompt"), None);
        Ok(())
    }

    #[test]
    fn numbers_survive_the_file_bit_for_bit() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("embedding.json");
        let mut noise = crate::noise::Noise::new(1);
        let mut value = |i: usize| {
            let [mantissa, exponent] = [0, 1].map(|_| f64::from(noise.normal_vec(1)[0]));
            (i, mantissa * 10_f64.powf(3.0 * exponent))
        };
        let values: Vec<(usize, f64)> = (0..2000).map(&mut value).collect();
        let file = EvalFile::new(vec![Metric::per_prompt("m", "all", &values)]);
        file.write(&path)?;
        assert_eq!(EvalFile::read(&path)?, file);
        let kept = file.metrics[0].per_prompt.as_deref().ok_or("values")?;
        let close =
            |(kept, (_, value)): (&f64, &(usize, f64))| (kept - value).abs() <= 1e-8 * value.abs() + 1e-12;
        assert!(kept.iter().zip(&values).all(close));
        assert_eq!(
            (rounded(1.0 / 3.0), rounded(-2e-17), rounded(0.25)),
            (0.333333333, 0.0, 0.25)
        );
        Ok(())
    }

    #[test]
    fn reads_what_has_only_the_agreed_keys() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("embedding.json");
        let text = r#"{"version":1,"metrics":[{"name":"a","split":"all","value":0.5,"per_prompt":[1,0]}]}"#;
        files::write_atomic(&path, text.as_bytes())?;
        let file = EvalFile::read(&path)?;
        assert_eq!(
            file.get("a", "all").and_then(|m| m.per_prompt.clone()),
            Some(vec![1.0, 0.0])
        );
        assert_eq!(file.get("a", "seen"), None);
        Ok(())
    }

    #[test]
    fn refuses_what_cannot_be_and_writes_nothing() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("embedding.json");
        let broken = |change: &dyn Fn(&mut EvalFile)| {
            let mut file = sample();
            change(&mut file);
            let message = file.write(&path).expect_err("refused").to_string();
            assert!(!path.exists());
            message.replace(&path.display().to_string(), "FILE")
        };
        assert_eq!(
            broken(&|f| f.metrics[1].value = f64::NAN),
            "FILE: metric frechet (all) holds a number that is not finite"
        );
        assert_eq!(
            broken(&|f| f.metrics[0].value = 0.5),
            "FILE: metric forced_choice/object (unseen) has a value that is not the mean of per_prompt"
        );
        assert_eq!(
            broken(&|f| f.metrics[0].prompts = Some(vec![3, 3, 9])),
            "FILE: metric forced_choice/object (unseen) has prompts that are not ascending or do not fit per_prompt"
        );
        assert_eq!(
            broken(&|f| f.metrics.push(f.metrics[1].clone())),
            "FILE: metric frechet (all) stands there twice"
        );
        assert_eq!(
            broken(&|f| f.version = 2),
            "FILE: version 2 of the evaluation format, expected 1; evaluate the run again"
        );
        files::write_atomic(&path, b"{\"version\":1,\"metrics\":[{}]}")?;
        assert!(matches!(EvalFile::read(&path), Err(EvalError::Json { .. })));
        assert!(matches!(
            EvalFile::read(dir.path().join("no.json")),
            Err(EvalError::File(_))
        ));
        Ok(())
    }

    #[test]
    fn seeds_are_only_put_together_on_the_same_prompts() -> Result<(), EvalError> {
        let a = Metric::per_prompt("m", "all", &[(0, 1.0), (1, 0.0)]);
        let b = Metric::per_prompt("m", "all", &[(0, 1.0), (1, 1.0)]);
        let other = Metric::per_prompt("m", "all", &[(0, 1.0), (2, 1.0)]);
        assert_eq!(Metric::table(&[&a, &b])?, [[1.0, 0.0], [1.0, 1.0]]);
        assert_eq!(Metric::interval(&[&a, &b], &Bootstrap::default())?.value, 0.75);
        assert!(Metric::table(&[&a, &other]).is_err());
        assert!(Metric::table(&[&a, &Metric::per_prompt("m", "seen", &[(0, 1.0), (1, 0.0)])]).is_err());
        let scalar = Metric::scalar("frechet", "all", 2.0, 9);
        assert_eq!(Metric::table(&[&scalar, &scalar])?, [[2.0], [2.0]]);
        Ok(())
    }
}
