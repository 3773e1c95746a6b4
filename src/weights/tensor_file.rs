//! Writing safetensors files.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::WeightsError;
use crate::files;

/// A tensor of the file.
#[derive(Debug)]
struct Tensor<'a> {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    /// Little-endian values, row by row.
    bytes: Cow<'a, [u8]>,
}

/// A safetensors file that is being put together.
#[derive(Debug, Default)]
pub struct TensorFile<'a> {
    tensors: Vec<Tensor<'a>>,
    metadata: Option<HashMap<String, String>>,
}

impl<'a> TensorFile<'a> {
    /// A file without tensors.
    pub fn new() -> Self {
        Self::default()
    }

    /// The file with the f32 tensor `name` of this shape.
    #[must_use]
    pub fn with(self, name: impl Into<String>, shape: &[usize], values: &[f32]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.with_bytes(name, Dtype::F32, shape, bytes)
    }

    /// The file with the tensor `name` of this dtype and shape; `bytes` are its little-endian values, row by row.
    #[must_use]
    pub fn with_bytes(
        mut self,
        name: impl Into<String>,
        dtype: Dtype,
        shape: &[usize],
        bytes: impl Into<Cow<'a, [u8]>>,
    ) -> Self {
        self.tensors.push(Tensor {
            name: name.into(),
            dtype,
            shape: shape.to_vec(),
            bytes: bytes.into(),
        });
        self
    }

    /// The file with an entry in its metadata.
    #[must_use]
    pub fn with_metadata(mut self, key: &str, value: impl Into<String>) -> Self {
        let metadata = self.metadata.get_or_insert_default();
        metadata.insert(key.to_owned(), value.into());
        self
    }

    /// The bytes of the file; `path` is for messages.
    ///
    /// # Errors
    /// [`WeightsError::Broken`] for a shape that does not fit its values.
    pub fn to_bytes(&self, path: &Path) -> Result<Vec<u8>, WeightsError> {
        let bytes = safetensors::serialize(self.views(path)?, self.metadata.clone());
        bytes.map_err(|e| broken(path, &e))
    }

    /// Writes the file, whole or not at all, without a copy of its tensors in memory.
    ///
    /// # Errors
    /// Like [`TensorFile::to_bytes`], and [`WeightsError::File`].
    pub fn write(&self, path: &Path) -> Result<(), WeightsError> {
        let views = self.views(path)?;
        Ok(files::write_atomic_at(path, |temporary| {
            safetensors::serialize_to_file(views, self.metadata.clone(), temporary)
                .map_err(std::io::Error::other)
        })?)
    }

    fn views(&self, path: &Path) -> Result<Vec<(&str, TensorView<'_>)>, WeightsError> {
        let mut views = Vec::with_capacity(self.tensors.len());
        for tensor in &self.tensors {
            let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes);
            views.push((tensor.name.as_str(), view.map_err(|e| broken(path, &e))?));
        }
        Ok(views)
    }
}

fn broken(path: &Path, error: &safetensors::SafeTensorError) -> WeightsError {
    WeightsError::Broken {
        path: path.to_path_buf(),
        reason: error.to_string(),
    }
}
