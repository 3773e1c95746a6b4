//! Strict loading of a checkpoint into a module.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::prelude::*;
use burn::store::burn_pack::Error as PackError;
use burn::store::{FloatCastAdapter, ModuleAdapter, ModuleSnapshot, PyTorchToBurnAdapter, bridge};
use burn::tensor::DType;

use super::{Checkpoint, Mapping, Parameter, WeightsError};

/// Every float parameter of `module` in the order of its fields, with its published name and shape. Reads no values, so it costs nothing
/// for a full-size model whose parameters are still lazy.
pub fn parameters<M: Module>(module: &M, mapping: &Mapping) -> Vec<Parameter> {
    list(module, mapping).0
}

/// [`parameters`], and the device that the first one is on.
fn list<M: Module>(module: &M, mapping: &Mapping) -> (Vec<Parameter>, Option<Device>) {
    let mut lister = Lister {
        mapping,
        names: Vec::new(),
        containers: Vec::new(),
        found: Vec::new(),
        device: None,
    };
    module.visit(&mut lister);
    (lister.found, lister.device)
}

/// Loads every parameter of `module` from `checkpoint`, one after the other; values are cast to the precision of the module's device.
///
/// `ignored` are beginnings of tensor names that may be left unused (the other tower of a full CLIP checkpoint, say).
///
/// # Errors
/// [`WeightsError::Mismatch`] listing missing, unused and mis-shaped tensors and tensors that are not floating point, by their published
/// names; [`WeightsError::Broken`] when reading fails. The module is consumed: nothing half-loaded is left.
pub fn load<M: Module>(
    mut module: M,
    model: &str,
    checkpoint: &Checkpoint,
    mapping: &Mapping,
    ignored: &[&str],
) -> Result<M, WeightsError> {
    let (wanted, device) = list(&module, mapping);
    let mut unused: BTreeMap<_, _> = checkpoint.tensors().iter().collect();
    let (mut missing, mut misfits, mut tensors) = (Vec::new(), Vec::new(), Vec::new());
    for parameter in &wanted {
        let Some((name, stored)) = unused.remove_entry(&parameter.name) else {
            missing.push(parameter.name.clone());
            continue;
        };
        let dtype = match stored.burn_dtype() {
            Some(dtype) if dtype.is_float() => dtype,
            _ => {
                misfits.push((
                    name.clone(),
                    "a floating dtype".into(),
                    format!("{:?}", stored.dtype),
                ));
                continue;
            }
        };
        if stored.shape != parameter.shape {
            misfits.push((
                name.clone(),
                format!("{:?}", parameter.shape),
                format!("{:?}", stored.shape),
            ));
            continue;
        }
        let source = stored.clone();
        let read = move || {
            source
                .read()
                .map_err(|e| PackError::ValidationError(e.to_string()))
        };
        tensors.push(bridge::deferred(
            parameter.path.clone(),
            dtype,
            stored.shape.clone().into(),
            None,
            read,
        ));
    }
    let unused: Vec<String> = unused
        .into_keys()
        .filter(|name| !ignored.iter().any(|i| name.starts_with(i)))
        .cloned()
        .collect();
    let mismatch = |missing, unused, misfits| WeightsError::Mismatch {
        path: checkpoint.path().to_path_buf(),
        model: model.to_string(),
        missing,
        unused,
        misfits,
    };
    if !(missing.is_empty() && unused.is_empty() && misfits.is_empty()) {
        return Err(mismatch(missing, unused, misfits));
    }
    let precision = device.map_or(DType::F32, |device| device.settings().float_dtype.into());
    let adapter = PyTorchToBurnAdapter.chain(FloatCastAdapter::to(precision));
    let result = module.apply(tensors, None, Some(Box::new(adapter)), false);
    match result.errors.first() {
        Some(error) => Err(WeightsError::Broken {
            path: checkpoint.path().to_path_buf(),
            reason: error.to_string(),
        }),
        // The names were matched above; what Burn could not place would be an error of the mapping.
        None if !result.missing.is_empty() || !result.unused.is_empty() => Err(mismatch(
            result.missing.into_iter().map(|(path, _)| path).collect(),
            result.unused,
            Vec::new(),
        )),
        None => Ok(module),
    }
}

struct Lister<'a> {
    mapping: &'a Mapping,
    names: Vec<String>,
    containers: Vec<String>,
    found: Vec<Parameter>,
    device: Option<Device>,
}

impl ModuleVisitor for Lister<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.names.push(name.to_string());
        self.containers.push(container.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.names.pop();
        self.containers.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.names.join(".");
        let mut shape = param.lazy_shape().to_vec();
        self.device.get_or_insert_with(|| param.lazy_device());
        // `containers` ends with the struct that owns the parameter.
        let owner = self
            .containers
            .iter()
            .rev()
            .find(|c| c.starts_with("Struct:"))
            .map_or("", String::as_str);
        let transposed = owner == "Struct:Linear" && shape.len() == 2;
        if transposed {
            shape.reverse();
        }
        let mut name = self.mapping.published(&path);
        if matches!(owner, "Struct:LayerNorm" | "Struct:GroupNorm") {
            name = name.replace(".gamma", ".weight").replace(".beta", ".bias");
        }
        self.found.push(Parameter {
            path,
            name,
            shape,
            transposed,
        });
    }
}
