//! Reading fixtures: `manifest.json`, goldens with their `info`, tensors of any type; and writing what was computed in the same form.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::prelude::*;
use burn::tensor::{DType, FloatDType, TensorData};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;
use tempfile::TempDir;

use super::Tolerance;
use crate::files::{self, ArchiveError, FileError};
use crate::weights::TensorFile;

/// What a family returns: the tensors it computed, or why it could not.
pub type Outcome = Result<Vec<Computed>, Box<dyn std::error::Error + Send + Sync>>;

/// A fixture or golden could not be read, or lacks something.
#[derive(Debug, thiserror::Error)]
pub enum FixtureError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// An archive could not be unpacked.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// None of the paths is a fixture.
    #[error("no fixture among {}: a fixture is a folder with a manifest.json, or a .zip of one", list(.0))]
    NoFixture(Vec<PathBuf>),
    /// No golden has that name.
    #[error("no golden matches {0:?}")]
    NoMatch(String),
    /// A file holds something else than it should.
    #[error("{path}: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A golden lacks a tensor, or has another one than expected.
    #[error("golden {golden}: tensor `{tensor}`: expected {expected}, found {found}")]
    Tensor {
        /// The golden.
        golden: String,
        /// The tensor.
        tensor: String,
        /// What was needed.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// A golden's `info` lacks a key, or has another value than expected.
    #[error("golden {golden}: info key `{key}`: {reason}")]
    Info {
        /// The golden.
        golden: String,
        /// The key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The fixture lacks a part that the golden is about.
    #[error("{path}: no {part} in this fixture")]
    Part {
        /// The fixture.
        path: PathBuf,
        /// What was looked for.
        part: String,
    },
}

fn list(paths: &[PathBuf]) -> String {
    paths
        .iter()
        .map(|p| p.display().to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

/// Numbers of one type.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// f32; f16 and bf16 are widened to it.
    F32(Vec<f32>),
    /// f64.
    F64(Vec<f64>),
    /// i64; i32 is widened to it.
    I64(Vec<i64>),
    /// u8, and bool as 0 and 1.
    U8(Vec<u8>),
}

/// A tensor on the host.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Sizes of the axes; empty for a scalar.
    pub shape: Vec<usize>,
    /// The numbers, last axis fastest.
    pub values: Values,
}

impl Array {
    /// f32 numbers.
    pub fn f32(shape: impl Into<Vec<usize>>, values: Vec<f32>) -> Self {
        Self {
            shape: shape.into(),
            values: Values::F32(values),
        }
    }

    /// f64 numbers.
    pub fn f64(shape: impl Into<Vec<usize>>, values: Vec<f64>) -> Self {
        Self {
            shape: shape.into(),
            values: Values::F64(values),
        }
    }

    /// Whole numbers.
    pub fn i64(shape: impl Into<Vec<usize>>, values: Vec<i64>) -> Self {
        Self {
            shape: shape.into(),
            values: Values::I64(values),
        }
    }

    /// Bytes.
    pub fn u8(shape: impl Into<Vec<usize>>, values: Vec<u8>) -> Self {
        Self {
            shape: shape.into(),
            values: Values::U8(values),
        }
    }

    /// The numbers as f64.
    pub fn to_f64(&self) -> Vec<f64> {
        match &self.values {
            Values::F32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            Values::F64(v) => v.clone(),
            Values::I64(v) => v.iter().map(|&x| x as f64).collect(),
            Values::U8(v) => v.iter().map(|&x| f64::from(x)).collect(),
        }
    }

    /// The largest absolute value.
    pub fn max_abs(&self) -> f64 {
        self.to_f64().into_iter().fold(0.0, |m, x| m.max(x.abs()))
    }

    /// The largest absolute difference to `other`; infinite where a value of either is not finite or the lengths differ.
    pub fn max_abs_diff(&self, other: &Array) -> f64 {
        let (a, b) = (self.to_f64(), other.to_f64());
        if a.len() != b.len() {
            return f64::INFINITY;
        }
        a.into_iter().zip(b).fold(0.0, |m, (a, b)| {
            let d = (a - b).abs();
            if d.is_finite() { m.max(d) } else { f64::INFINITY }
        })
    }

    fn type_name(&self) -> &'static str {
        match self.values {
            Values::F32(_) => "f32",
            Values::F64(_) => "f64",
            Values::I64(_) => "i64",
            Values::U8(_) => "u8",
        }
    }

    fn from_view(view: &TensorView<'_>) -> Result<Self, String> {
        fn numbers<T, const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
            bytes.as_chunks::<N>().0.iter().map(|c| read(*c)).collect()
        }
        let bytes = view.data();
        let values = match view.dtype() {
            Dtype::F32 => Values::F32(numbers(bytes, f32::from_le_bytes)),
            Dtype::F16 => Values::F32(numbers(bytes, |b| half::f16::from_le_bytes(b).to_f32())),
            Dtype::BF16 => Values::F32(numbers(bytes, |b| half::bf16::from_le_bytes(b).to_f32())),
            Dtype::F64 => Values::F64(numbers(bytes, f64::from_le_bytes)),
            Dtype::I64 => Values::I64(numbers(bytes, i64::from_le_bytes)),
            Dtype::I32 => Values::I64(numbers(bytes, |b| i64::from(i32::from_le_bytes(b)))),
            Dtype::U8 | Dtype::BOOL => Values::U8(bytes.to_vec()),
            other => return Err(format!("unsupported type {other:?}")),
        };
        Ok(Self {
            shape: view.shape().to_vec(),
            values,
        })
    }

    fn to_bytes(&self) -> (Dtype, Vec<u8>) {
        match &self.values {
            Values::F32(v) => (Dtype::F32, v.iter().flat_map(|x| x.to_le_bytes()).collect()),
            Values::F64(v) => (Dtype::F64, v.iter().flat_map(|x| x.to_le_bytes()).collect()),
            Values::I64(v) => (Dtype::I64, v.iter().flat_map(|x| x.to_le_bytes()).collect()),
            Values::U8(v) => (Dtype::U8, v.clone()),
        }
    }
}

/// A computed tensor, to be compared with the golden's tensor of that name.
#[derive(Debug, Clone, PartialEq)]
pub struct Computed {
    /// Name in the golden, `out.` included.
    pub name: String,
    /// What was computed.
    pub array: Array,
    /// How far it may be off.
    pub tolerance: Tolerance,
}

impl Computed {
    /// Numbers that stand on the host.
    pub fn new(name: impl Into<String>, array: Array, tolerance: Tolerance) -> Self {
        Self {
            name: name.into(),
            array,
            tolerance,
        }
    }

    /// A float tensor of any device.
    pub fn tensor<const D: usize>(name: impl Into<String>, tensor: Tensor<D>, tolerance: Tolerance) -> Self {
        let shape = tensor.dims().to_vec();
        let values = tensor.into_data().iter::<f32>().collect();
        Self::new(name, Array::f32(shape, values), tolerance)
    }
}

/// A folder or archive of goldens.
#[derive(Debug, Clone)]
pub struct Fixture {
    root: PathBuf,
    name: String,
    goldens: BTreeSet<String>,
    /// Where an archive is unpacked, as long as the fixture is in use.
    _unpacked: Option<Arc<TempDir>>,
}

impl Fixture {
    /// Opens a folder or a zip archive; `Ok(Err(reason))` where it is no fixture.
    ///
    /// # Errors
    /// [`FixtureError`] where there is nothing at `path`, its manifest is broken, or it is an archive that cannot be unpacked.
    pub fn open(path: &Path) -> Result<Result<Self, String>, FixtureError> {
        if !path.exists() {
            return Err(FileError::Missing(path.to_path_buf()).into());
        }
        if !path.is_file() || path.extension().is_none_or(|e| e != "zip") {
            return Self::open_folder(path);
        }
        let folder = tempfile::tempdir().map_err(|e| FileError::io("create", &std::env::temp_dir(), e))?;
        let root = files::unpack(path, folder.path())?;
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        Ok(Self::open_folder(&root)?.map(|fixture| Self {
            name,
            _unpacked: Some(Arc::new(folder)),
            ..fixture
        }))
    }

    fn open_folder(root: &Path) -> Result<Result<Self, String>, FixtureError> {
        let path = root.join("manifest.json");
        if !path.is_file() {
            return Ok(Err("no manifest.json".into()));
        }
        let manifest: Value =
            serde_json::from_str(&files::read_text(&path)?).map_err(|e| FixtureError::Malformed {
                path: path.clone(),
                reason: format!("no valid JSON: {e}"),
            })?;
        let Some(index) = manifest.get("goldens").and_then(Value::as_object) else {
            return Err(FixtureError::Malformed {
                path,
                reason: "key `goldens`: expected an object".into(),
            });
        };
        let mut goldens: BTreeSet<String> = index.keys().cloned().collect();
        for entry in std::fs::read_dir(root.join("goldens"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let file = entry.path();
            if file.extension().is_some_and(|e| e == "safetensors")
                && let Some(stem) = file.file_stem().and_then(|s| s.to_str())
            {
                goldens.insert(stem.to_string());
            }
        }
        let full = root.canonicalize().unwrap_or_else(|_| root.to_path_buf());
        let name = full
            .file_name()
            .map_or_else(|| "fixture".into(), |n| n.to_string_lossy().into_owned());
        Ok(Ok(Self {
            root: root.to_path_buf(),
            name,
            goldens,
            _unpacked: None,
        }))
    }

    /// Name of the folder.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Names of the goldens, those of the manifest and those that lie there.
    pub fn goldens(&self) -> impl Iterator<Item = &str> {
        self.goldens.iter().map(String::as_str)
    }

    /// Reads one golden.
    ///
    /// # Errors
    /// [`FixtureError`] that names the file.
    pub fn context<'a>(&'a self, golden: &str, device: &Device) -> Result<Context<'a>, FixtureError> {
        let path = self.root.join("goldens").join(format!("{golden}.safetensors"));
        let table = path.with_extension("json");
        if !path.is_file() && table.is_file() {
            return self.table(golden, table, device);
        }
        let bytes = files::read(&path)?;
        let malformed = |reason: String| FixtureError::Malformed {
            path: path.clone(),
            reason,
        };
        let file = SafeTensors::deserialize(&bytes).map_err(|e| malformed(e.to_string()))?;
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| malformed(e.to_string()))?;
        let info = match header.metadata().as_ref().and_then(|m| m.get("info")) {
            Some(text) => {
                serde_json::from_str(text).map_err(|e| malformed(format!("metadata key `info`: {e}")))?
            }
            None => Value::Null,
        };
        let mut tensors = BTreeMap::new();
        for (name, view) in file.iter() {
            let array = Array::from_view(&view).map_err(|e| malformed(format!("tensor `{name}`: {e}")))?;
            tensors.insert(name.to_string(), array);
        }
        Ok(Context {
            root: &self.root,
            name: golden.to_string(),
            info,
            tensors,
            device: device.clone(),
            path,
            read: RefCell::default(),
        })
    }
}

impl Fixture {
    /// A golden that is a JSON file: every number in it, but for those of `info`, is a tensor without axes, called by its keys; booleans are 0 and 1.
    fn table<'a>(
        &'a self,
        golden: &str,
        path: PathBuf,
        device: &Device,
    ) -> Result<Context<'a>, FixtureError> {
        let table: Value =
            serde_json::from_str(&files::read_text(&path)?).map_err(|e| FixtureError::Malformed {
                path: path.clone(),
                reason: format!("no valid JSON: {e}"),
            })?;
        let mut tensors = BTreeMap::new();
        numbers_of(&table, "", &mut tensors);
        tensors.retain(|name, _| !name.starts_with("info."));
        Ok(Context {
            root: &self.root,
            name: golden.to_string(),
            info: table,
            tensors,
            device: device.clone(),
            path,
            read: RefCell::default(),
        })
    }
}

fn numbers_of(value: &Value, key: &str, found: &mut BTreeMap<String, Array>) {
    let dotted = |name: &str| match key {
        "" => name.to_owned(),
        key => format!("{key}.{name}"),
    };
    match value {
        Value::Object(map) => map
            .iter()
            .for_each(|(name, value)| numbers_of(value, &dotted(name), found)),
        Value::Array(list) => {
            let named = list.iter().enumerate();
            named.for_each(|(i, value)| numbers_of(value, &dotted(&i.to_string()), found));
        }
        Value::Number(n) => drop(found.insert(
            key.to_owned(),
            Array::f64([], vec![n.as_f64().unwrap_or(f64::NAN)]),
        )),
        Value::Bool(b) => drop(found.insert(key.to_owned(), Array::f64([], vec![f64::from(u8::from(*b))]))),
        Value::Null | Value::String(_) => {}
    }
}

/// One golden and where to compute it. Remembers which tensors were read.
#[derive(Debug)]
pub struct Context<'a> {
    root: &'a Path,
    name: String,
    info: Value,
    tensors: BTreeMap<String, Array>,
    device: Device,
    path: PathBuf,
    read: RefCell<BTreeSet<String>>,
}

impl Context<'_> {
    /// The fixture's folder, where the checkpoints are.
    pub fn root(&self) -> &Path {
        self.root
    }

    /// The golden's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The golden's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where to compute.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Whether networks compute in f32 there.
    pub fn is_f32(&self) -> bool {
        self.device.settings().float_dtype == FloatDType::F32
    }

    /// All tensors of the golden. Looking here does not count as reading.
    pub fn golden(&self) -> &BTreeMap<String, Array> {
        &self.tensors
    }

    /// The value under `key` of the golden's `info`.
    ///
    /// # Errors
    /// [`FixtureError::Info`] where it is absent.
    pub fn info(&self, key: &str) -> Result<&Value, FixtureError> {
        self.info.get(key).ok_or_else(|| self.bad_info(key, "is missing"))
    }

    /// The value under `key` of the golden's `info`, as a `T`.
    ///
    /// # Errors
    /// [`FixtureError::Info`] where it is absent or something else.
    pub fn info_as<T: serde::de::DeserializeOwned>(&self, key: &str) -> Result<T, FixtureError> {
        serde_json::from_value(self.info(key)?.clone()).map_err(|e| self.bad_info(key, e.to_string()))
    }

    fn bad_info(&self, key: &str, reason: impl Into<String>) -> FixtureError {
        FixtureError::Info {
            golden: self.name.clone(),
            key: key.into(),
            reason: reason.into(),
        }
    }

    /// The tensor `name`, read as an input.
    ///
    /// # Errors
    /// [`FixtureError::Tensor`] where the golden has none of that name.
    pub fn input(&self, name: &str) -> Result<&Array, FixtureError> {
        let array = self
            .tensors
            .get(name)
            .ok_or_else(|| self.bad_tensor(name, "a tensor", "none".into()))?;
        self.read.borrow_mut().insert(name.to_string());
        Ok(array)
    }

    /// The float tensor `name` on the device, in f32, read as an input.
    ///
    /// # Errors
    /// [`FixtureError::Tensor`] where it is absent, holds whole numbers or has another rank.
    pub fn float<const D: usize>(&self, name: &str) -> Result<Tensor<D>, FixtureError> {
        let array = self.ranked::<D>(name)?;
        let values: Vec<f32> = match &array.values {
            Values::F32(v) => v.clone(),
            Values::F64(v) => v.iter().map(|&x| x as f32).collect(),
            _ => return Err(self.bad_tensor(name, "floats", array.type_name().into())),
        };
        Ok(Tensor::from_data(
            TensorData::new(values, array.shape.clone()),
            (&self.device, DType::F32),
        ))
    }

    /// The whole-number tensor `name` on the device, read as an input.
    ///
    /// # Errors
    /// [`FixtureError::Tensor`] where it is absent, holds floats or has another rank.
    pub fn int<const D: usize>(&self, name: &str) -> Result<Tensor<D, Int>, FixtureError> {
        let array = self.ranked::<D>(name)?;
        let values = self.whole(name, array)?;
        Ok(Tensor::from_data(
            TensorData::new(values, array.shape.clone()),
            &self.device,
        ))
    }

    /// The whole numbers of tensor `name`, read as an input.
    ///
    /// # Errors
    /// [`FixtureError::Tensor`] where it is absent or holds floats.
    pub fn whole_numbers(&self, name: &str) -> Result<Vec<i64>, FixtureError> {
        let array = self.input(name)?;
        self.whole(name, array)
    }

    fn whole(&self, name: &str, array: &Array) -> Result<Vec<i64>, FixtureError> {
        match &array.values {
            Values::I64(v) => Ok(v.clone()),
            Values::U8(v) => Ok(v.iter().map(|&x| i64::from(x)).collect()),
            _ => Err(self.bad_tensor(name, "whole numbers", array.type_name().into())),
        }
    }

    fn ranked<const D: usize>(&self, name: &str) -> Result<&Array, FixtureError> {
        let array = self.input(name)?;
        if array.shape.len() == D {
            return Ok(array);
        }
        Err(self.bad_tensor(name, &format!("{D} axes"), format!("shape {:?}", array.shape)))
    }

    fn bad_tensor(&self, name: &str, expected: &str, found: String) -> FixtureError {
        let (golden, tensor) = (self.name.clone(), name.to_string());
        FixtureError::Tensor {
            golden,
            tensor,
            expected: expected.into(),
            found,
        }
    }

    /// The recorded draws `noise.000`, `noise.001`, .. in order, by name.
    pub fn noise_names(&self) -> Vec<&str> {
        self.tensors
            .keys()
            .map(String::as_str)
            .filter(|n| n.starts_with("noise."))
            .collect()
    }

    /// Says that the golden's tensor `name` is deliberately not compared. `out.*` tensors cannot be set aside.
    pub fn set_aside(&self, name: &str) {
        self.read.borrow_mut().insert(name.to_string());
    }

    /// The fixture's folder called `name` that holds a `config.json`, the first by path where there are several.
    ///
    /// # Errors
    /// [`FixtureError::Part`] where there is none.
    pub fn folder_named(&self, name: &str) -> Result<PathBuf, FixtureError> {
        let folders = self.folders_with(name, &["config.json"])?;
        let called = |folder: &PathBuf| folder.file_name().is_some_and(|f| f == name);
        let part = || FixtureError::Part {
            path: self.root.to_path_buf(),
            part: format!("folder {name}/"),
        };
        folders.into_iter().find(called).ok_or_else(part)
    }

    /// Whether the tensor `name` was read or set aside.
    pub fn was_read(&self, name: &str) -> bool {
        self.read.borrow().contains(name)
    }

    /// The reference's own rounding error on `name`: the entry of `f64_max_abs_diff` with that name (without `out.`), or with the longest name that
    /// `name` continues after a dot.
    pub fn reference_noise(&self, name: &str) -> Option<f64> {
        let table = self.info.get("f64_max_abs_diff")?;
        if let Some(x) = table.as_f64() {
            return Some(x);
        }
        let mut key = name.strip_prefix("out.").unwrap_or(name);
        loop {
            if let Some(x) = table.get(key).and_then(Value::as_f64) {
                return Some(x);
            }
            key = &key[..key.rfind('.')?];
        }
    }

    /// Folders of the fixture that hold all of `files`, in order of their paths.
    ///
    /// # Errors
    /// [`FixtureError::Part`] where there is none.
    pub fn folders_with(&self, part: &str, files: &[&str]) -> Result<Vec<PathBuf>, FixtureError> {
        let found = find_folders(self.root, &|folder| {
            files.iter().all(|f| folder.join(f).is_file())
        });
        if found.is_empty() {
            return Err(FixtureError::Part {
                path: self.root.to_path_buf(),
                part: part.into(),
            });
        }
        Ok(found)
    }
}

/// Folders at or below `root` for which `holds`, in order of their paths.
fn find_folders(root: &Path, holds: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![root.to_path_buf()];
    while let Some(folder) = left.pop() {
        if holds(&folder) {
            found.push(folder.clone());
        }
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        left.extend(entries.map(|e| e.path()).filter(|p| p.is_dir()));
    }
    found.sort();
    found
}

/// Writes `computed` to `folder/<golden>.safetensors`.
pub(super) fn dump(folder: &Path, golden: &str, computed: &[Computed]) -> Result<(), FixtureError> {
    files::create_dir(folder)?;
    let path = folder.join(format!("{golden}.safetensors"));
    let mut file = TensorFile::new();
    for c in computed {
        let (dtype, bytes) = c.array.to_bytes();
        file = file.with_bytes(&c.name, dtype, &c.array.shape, bytes);
    }
    file.write(&path).map_err(|e| FixtureError::Malformed {
        path,
        reason: e.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_infinite_where_a_value_is_not_finite() {
        let a = Array::f32([2], vec![1.0, 2.0]);
        assert_eq!(a.max_abs_diff(&Array::f64([2], vec![1.0, 2.5])), 0.5);
        assert_eq!(
            a.max_abs_diff(&Array::f32([2], vec![1.0, f32::NAN])),
            f64::INFINITY
        );
        assert_eq!(a.max_abs_diff(&Array::f32([1], vec![1.0])), f64::INFINITY);
    }
}
