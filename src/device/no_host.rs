//! Memory shared with flex in a build without it: there is none.

use std::ops::Deref;

use burn::tensor::Tensor;

/// None.
#[derive(Debug)]
pub enum HostValues {}

impl Deref for HostValues {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match *self {}
    }
}

/// None.
pub fn host_values<const D: usize>(_x: &Tensor<D>) -> Option<HostValues> {
    None
}

/// Cannot.
///
/// # Errors
/// Always, with `x` itself.
pub fn map_host<const D: usize>(x: Tensor<D>, _f: impl FnOnce(&mut [f32])) -> Result<Tensor<D>, Tensor<D>> {
    Err(x)
}

/// Cannot.
///
/// # Errors
/// Always, with `x` itself.
pub fn map_host_with_gradient<const D: usize>(
    x: Tensor<D>,
    _f: fn(&mut [f32]),
    _gradient: fn(&[f32], &mut [f32]),
) -> Result<Tensor<D>, Tensor<D>> {
    Err(x)
}
