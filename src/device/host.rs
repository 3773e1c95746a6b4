//! Memory that the program shares with flex, Burn's CPU backend: kernels of this program read and write it without a copy.

use std::ops::Deref;

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::NoCheckpointing};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind, unary};
use burn::backend::{Autodiff, Flex, tensor::FloatTensor};
use burn::tensor::{DType, Tensor};

/// The values of a tensor, in the order of its axes.
#[derive(Debug)]
pub struct HostValues {
    tensor: Values,
    n: usize,
}

type Values = FloatTensor<Flex>;

impl Deref for HostValues {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.tensor.storage::<f32>()[..self.n]
    }
}

/// Whether kernels of this program can compute on `x`: f32 on flex, without a graph of gradients.
fn is_host<const D: usize>(x: &Tensor<D>) -> bool {
    x.dtype() == DType::F32 && super::has_own_kernels(&x.device())
}

/// The values of `x`, if it is f32 on flex without a graph of gradients. They are copied only if `x` is a view in another order.
pub fn host_values<const D: usize>(x: &Tensor<D>) -> Option<HostValues> {
    if !is_host(x) {
        return None;
    }
    let tensor = x.clone().try_into_primitive::<Flex>().ok()?;
    let is_in_order = tensor.is_contiguous() && tensor.layout().start_offset() == 0;
    let tensor = if is_in_order {
        tensor
    } else {
        tensor.to_contiguous()
    };
    Some(HostValues {
        tensor,
        n: x.shape().num_elements(),
    })
}

/// `x` with values changed in place by `f`, if it is f32 on flex without a graph of gradients; they are copied if something else refers to them.
///
/// # Errors
/// `x` itself on other devices.
pub fn map_host<const D: usize>(x: Tensor<D>, f: impl FnOnce(&mut [f32])) -> Result<Tensor<D>, Tensor<D>> {
    if !is_host(&x) {
        return Err(x);
    }
    let device = x.device();
    let mut data = x.into_data();
    f(data.as_mut_slice().expect("values of f32"));
    Ok(Tensor::from_data(data, (&device, DType::F32)))
}

/// `x` with values changed by `f`, on flex in f32 where gradients are recorded: `gradient(values, grad)` multiplies `grad` in place by the derivative at
/// `values`, those of `x`.
///
/// # Errors
/// `x` itself on other devices, and with gradient checkpointing.
pub fn map_host_with_gradient<const D: usize>(
    x: Tensor<D>,
    f: fn(&mut [f32]),
    gradient: fn(&[f32], &mut [f32]),
) -> Result<Tensor<D>, Tensor<D>> {
    #[derive(Debug)]
    struct Map(fn(&[f32], &mut [f32]));

    impl Backward<Flex, 1> for Map {
        type State = Values;

        fn backward(self, ops: Ops<Values, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
            unary::<Flex, _>(ops.parents, ops.node, grads, |grad| {
                let x = ops.state.to_contiguous().into_data();
                map(grad, |grad| (self.0)(x.as_slice().expect("values of f32"), grad))
            });
        }
    }

    if x.dtype() != DType::F32 {
        return Err(x);
    }
    let Ok(tensor) = x.clone().try_into_primitive::<Autodiff<Flex>>() else {
        return Err(x);
    };
    drop(x);
    let operation = Map(gradient).prepare::<NoCheckpointing>([tensor.node()]);
    let y = match operation.compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let x = tensor.into_primitive();
            prep.finish(x.clone(), map(x, f))
        }
        OpsKind::UnTracked(prep) => prep.finish(map(tensor.into_primitive(), f)),
    };
    Ok(Tensor::from_primitive::<Autodiff<Flex>>(y))
}

fn map(values: Values, f: impl FnOnce(&mut [f32])) -> Values {
    let mut data = values.into_data();
    f(data.as_mut_slice().expect("values of f32"));
    Values::from_data(data)
}
