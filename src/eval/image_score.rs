//! A metric's result on a folder of images: the value, and the protocol that another value must share to be comparable.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::files;
use crate::weights::{WeightsError, read_json, write_json};

/// The content of `eval/<metric>.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageScore {
    /// Its name: `fid`, `kid`, `clip-fid`, `clip-score`, `pick-score`.
    pub metric: String,
    /// Whether a lower value is better.
    pub lower_is_better: bool,
    /// The value.
    pub value: f64,
    /// The ends of its 95 % interval over prompts, with all images of each, for metrics that are means over images.
    pub interval: Option<[f64; 2]>,
    /// Images.
    pub n: usize,
    /// More of the same computation, as in `fid_infinity`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub also: BTreeMap<String, f64>,
    /// Everything that another number must share to be compared: preprocessing, weights, reference, counts, seeds, precision. Keys that end in `_path` only
    /// say where things lay.
    pub protocol: BTreeMap<String, Value>,
    /// Program and version.
    pub program: String,
}

/// Two results are of different protocols.
#[derive(Debug, thiserror::Error)]
#[error(
    "{path}: a {metric} of another protocol, which is another number: `{key}` is {there} there, {here} here"
)]
pub struct OtherProtocol {
    /// The file.
    pub path: PathBuf,
    /// The metric.
    pub metric: String,
    /// The first key that differs.
    pub key: String,
    /// Its value there.
    pub there: String,
    /// Its value here.
    pub here: String,
}

impl ImageScore {
    /// Reads a result.
    ///
    /// # Errors
    /// [`WeightsError`], naming the file.
    pub fn read(path: &Path) -> Result<Self, WeightsError> {
        read_json(path)
    }

    /// Writes `<metric>.json` into the folder `dir`; gives its path.
    ///
    /// # Errors
    /// [`WeightsError`], naming the file.
    pub fn write(&self, dir: &Path) -> Result<PathBuf, WeightsError> {
        files::create_dir(dir)?;
        let path = dir.join(format!("{}.json", self.metric));
        write_json(&path, self)?;
        Ok(path)
    }

    /// This value minus that of `other`, which was read from `path`.
    ///
    /// # Errors
    /// Like [`ImageScore::check_same`].
    pub fn minus(&self, other: &Self, path: &Path) -> Result<f64, OtherProtocol> {
        self.check_same(other, path)?;
        Ok(self.value - other.value)
    }

    /// Fails unless `other`, which was read from `path`, may be compared with this one.
    ///
    /// # Errors
    /// [`OtherProtocol`] unless metric, number of images and protocol are the same.
    pub fn check_same(&self, other: &Self, path: &Path) -> Result<(), OtherProtocol> {
        let told = |score: &Self| -> BTreeMap<String, Value> {
            let mut all: BTreeMap<String, Value> = score.protocol.clone();
            all.retain(|key, _| !key.ends_with("_path"));
            all.insert("metric".into(), score.metric.clone().into());
            all.insert("n".into(), score.n.into());
            all
        };
        let (here, there) = (told(self), told(other));
        let keys: std::collections::BTreeSet<&String> = here.keys().chain(there.keys()).collect();
        for key in keys {
            let value = |of: &BTreeMap<String, Value>| {
                of.get(key).map_or_else(|| "absent".to_owned(), Value::to_string)
            };
            if here.get(key) != there.get(key) {
                return Err(OtherProtocol {
                    path: path.to_path_buf(),
                    metric: other.metric.clone(),
                    key: key.clone(),
                    there: value(&there),
                    here: value(&here),
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_protocol_is_compared() {
        let score = |resize: &str, n: usize, path: &str| ImageScore {
            metric: "fid".into(),
            lower_is_better: true,
            value: n as f64,
            interval: None,
            n,
            also: BTreeMap::new(),
            protocol: BTreeMap::from([
                ("resize".into(), resize.into()),
                ("reference_path".into(), path.into()),
            ]),
            program: "x".into(),
        };
        let dir = tempfile::tempdir().expect("a folder");
        let path = score("clean", 9, "b")
            .write(&dir.path().join("eval"))
            .expect("written");
        assert!(path.ends_with("eval/fid.json"));
        let there = ImageScore::read(&path).expect("readable");
        assert_eq!(
            score("clean", 9, "a").minus(&there, &path).expect("the same"),
            0.0
        );
        let other = score("clean", 5, "a")
            .minus(&there, &path)
            .expect_err("other")
            .to_string();
        assert!(other.ends_with("`n` is 9 there, 5 here"), "{other}");
        let other = score("pytorch-fid", 9, "a")
            .minus(&there, &path)
            .expect_err("other")
            .to_string();
        assert!(
            other.ends_with("`resize` is \"clean\" there, \"pytorch-fid\" here"),
            "{other}"
        );
    }
}
