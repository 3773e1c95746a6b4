//! Writing a module's parameters as a published checkpoint.

use std::collections::HashMap;
use std::path::Path;

use burn::module::Module;
use burn::store::{BurnToPyTorchAdapter, FloatCastAdapter, ModuleAdapter, ModuleSnapshot, bridge};
use burn::tensor::DType;
use safetensors::Dtype;

use super::{Mapping, TensorFile, WeightsError, parameters};
use crate::limits;

/// Writes every parameter of `module` to `path` under its published name, layout and the given dtype (f32, f16 or bf16), so that
/// diffusers and transformers load the file. The file appears whole or not at all.
///
/// # Errors
/// [`WeightsError::File`] when the disk refuses, [`WeightsError::Broken`] for another dtype, or a value that is not finite in it.
pub fn save<M: Module>(module: &M, path: &Path, mapping: &Mapping, dtype: DType) -> Result<(), WeightsError> {
    let broken = |reason: String| WeightsError::Broken {
        path: path.to_path_buf(),
        reason,
    };
    let stored = match dtype {
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        other => return Err(broken(format!("cannot write dtype {other:?}"))),
    };
    let names: HashMap<String, String> = parameters(module, mapping)
        .into_iter()
        .map(|p| (p.path.clone(), p.name))
        .collect();
    // Collected without an adapter first: the adapter renames norms, and our own paths are the keys here.
    let paths = module.collect(None, None, false).into_iter().map(|t| t.name);
    let adapter = BurnToPyTorchAdapter.chain(FloatCastAdapter::to(dtype));
    let adapted = module.collect(None, Some(Box::new(adapter)), false);
    let mut file = TensorFile::new().with_metadata("format", "pt");
    for (parameter, tensor) in paths.zip(adapted) {
        let Some(name) = names.get(&parameter) else {
            continue;
        };
        let data = bridge::into_data(tensor).map_err(|e| broken(e.to_string()))?;
        if let Some(limits::Odd { value, .. }) = limits::not_finite(data.iter::<f32>()) {
            return Err(broken(format!(
                "`{name}` would hold {value}: expected numbers that {dtype:?} holds"
            )));
        }
        let shape = data.shape().to_vec();
        file = file.with_bytes(name, stored, &shape, data.into_bytes().to_vec());
    }
    file.write(path)
}
