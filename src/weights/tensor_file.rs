//! Writing safetensors files.

use std::collections::HashMap;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::WeightsError;
use crate::files;

/// A safetensors file that is being put together.
#[derive(Debug, Default)]
pub struct TensorFile {
    tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)>,
    metadata: Option<HashMap<String, String>>,
}

impl TensorFile {
    /// A file without tensors.
    pub fn new() -> Self {
        Self::default()
    }

    /// The file with the f32 tensor `name` of this shape.
    #[must_use]
    pub fn with(self, name: impl Into<String>, shape: &[usize], values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.with_bytes(name, Dtype::F32, shape, bytes)
    }

    /// The file with the tensor `name` of this dtype and shape; `bytes` are its little-endian values, row by row.
    #[must_use]
    pub fn with_bytes(
        mut self,
        name: impl Into<String>,
        dtype: Dtype,
        shape: &[usize],
        bytes: Vec<u8>,
    ) -> Self {
        self.tensors.push((name.into(), dtype, shape.to_vec(), bytes));
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
        let views: Result<Vec<_>, safetensors::SafeTensorError> = self
            .tensors
            .iter()
            .map(|(name, dtype, shape, bytes)| Ok((name, TensorView::new(*dtype, shape.clone(), bytes)?)))
            .collect();
        views
            .and_then(|views| safetensors::serialize(views, self.metadata.clone()))
            .map_err(|e| WeightsError::Broken {
                path: path.to_path_buf(),
                reason: e.to_string(),
            })
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// Like [`TensorFile::to_bytes`], and [`WeightsError::File`].
    pub fn write(&self, path: &Path) -> Result<(), WeightsError> {
        Ok(files::write_atomic(path, &self.to_bytes(path)?)?)
    }
}
