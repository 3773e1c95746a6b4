//! Operations that Burn 0.22.1 composes of many kernels, each as one kernel of CubeCL: exact GELU, LayerNorm, the softmax of
//! attention, the update of AdamW; and the windows of a convolution, which Burn cannot lay out for a matrix product.
//!
//! They are extensions of Burn's backends, so that autodiff, fusion and devices work as for its own operations.

mod cubes;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::cubecl::dtype_to_storage_type;
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, TensorMetadata, backend_extension};
use burn::cubecl::calculate_cube_count_elemwise;
use burn::cubecl::prelude::*;
use burn::tensor::{FloatDType, Shape, Tensor};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use super::adamw_step::AdamWStep;
use super::windows::Windows;

/// Threads that compute one row of a LayerNorm.
const ROW_THREADS: u32 = 128;
/// Threads that compute one row of attention's scores, a few dozen long.
const SCORE_THREADS: u32 = 32;

/// `x * Phi(x)` by erf, with the exact derivative.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as Kernels>::exact_gelu(x.into_dispatch()))
}

/// Rows `x` `[n, d]`, normalised, times `gamma` `[d]` plus `beta` `[d]`.
pub fn layer_norm(x: Tensor<2>, gamma: Tensor<1>, beta: Tensor<1>, epsilon: f64) -> Tensor<2> {
    let (x, gamma, beta) = (x.into_dispatch(), gamma.into_dispatch(), beta.into_dispatch());
    Tensor::from_dispatch(<Dispatch as Kernels>::row_norm(x, gamma, beta, epsilon as f32))
}

/// `softmax(scale scores + bias)` by rows, `[batch, n_heads, n, seq]`; `bias`: `[batch or 1, 1, n, seq]`, without a gradient.
pub fn biased_softmax(scores: Tensor<4>, bias: Tensor<4>, scale: f64) -> Tensor<4> {
    let (scores, bias) = (scores.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(<Dispatch as Kernels>::biased_softmax(scores, bias, scale as f32))
}

/// The parameter and both moments after a step of AdamW.
pub fn adamw<const D: usize>(step: AdamWStep, tensors: [Tensor<D>; 4]) -> [Tensor<D>; 3] {
    let [parameter, moment_1, moment_2, grad] = tensors.map(Tensor::into_dispatch);
    let (parameter, moment_1, moment_2) =
        <Dispatch as Kernels>::adamw(parameter, moment_1, moment_2, grad, step);
    [parameter, moment_1, moment_2].map(Tensor::from_dispatch)
}

/// The windows of `x` `[batch, c_in, h, w]`, `[batch, c_in * taps, rows * columns]`, of any float dtype; without a derivative.
pub fn windows(x: Tensor<4>, windows: Windows) -> Tensor<3> {
    Tensor::from_dispatch(<Dispatch as Kernels>::windows(x.into_dispatch(), windows))
}

/// What autodiff never reaches: derivatives of derivatives, and updates of parameters.
const NO_AUTODIFF: &str = "not differentiable";

/// The extension of Burn's backends.
#[backend_extension(Cube, Autodiff, Fusion: cfg(feature = "fusion"))]
pub trait Kernels: Backend {
    /// See [`gelu`].
    #[fusion(dtype = x, shape = x)]
    fn exact_gelu(x: FloatTensor<Self>) -> FloatTensor<Self>;

    /// The gradient of `x`.
    #[fusion(meta = |x, _grad| x.clone())]
    fn exact_gelu_backward(_x: FloatTensor<Self>, _grad: FloatTensor<Self>) -> FloatTensor<Self> {
        unreachable!("{NO_AUTODIFF}")
    }

    /// See [`layer_norm`].
    #[fusion(dtype = x, shape = x)]
    fn row_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self>;

    /// The gradient of `x`, and of `gamma` row by row.
    #[fusion(meta = |x, _gamma, _grad, _epsilon| (x.clone(), x.clone()))]
    fn row_norm_backward(
        _x: FloatTensor<Self>,
        _gamma: FloatTensor<Self>,
        _grad: FloatTensor<Self>,
        _epsilon: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        unreachable!("{NO_AUTODIFF}")
    }

    /// See [`biased_softmax`].
    #[fusion(dtype = scores, shape = scores)]
    fn biased_softmax(scores: FloatTensor<Self>, bias: FloatTensor<Self>, scale: f32) -> FloatTensor<Self>;

    /// The gradient of the scores, from the softmax `y` and its gradient.
    #[fusion(meta = |y, _grad, _scale| y.clone())]
    fn biased_softmax_backward(
        _y: FloatTensor<Self>,
        _grad: FloatTensor<Self>,
        _scale: f32,
    ) -> FloatTensor<Self> {
        unreachable!("{NO_AUTODIFF}")
    }

    /// See [`adamw`].
    #[fusion(meta = |p, m, v, _grad, _step| (p.clone(), m.clone(), v.clone()))]
    fn adamw(
        _parameter: FloatTensor<Self>,
        _moment_1: FloatTensor<Self>,
        _moment_2: FloatTensor<Self>,
        _grad: FloatTensor<Self>,
        _step: AdamWStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        unreachable!("{NO_AUTODIFF}")
    }

    /// See [`windows`].
    #[fusion(dtype = x, shape = Shape::new(windows.shape(x.dims())))]
    fn windows(x: FloatTensor<Self>, windows: Windows) -> FloatTensor<Self> {
        let _ = (x, windows);
        unreachable!("{NO_AUTODIFF}")
    }
}

/// Launches a kernel of [`cubes`] with the dtype of the tensor `$x` and the threads that `$grid` gives it.
macro_rules! launch {
    ($kernel:ident, $grid:ident($x:ident), $($argument:expr),+ $(,)?) => {{
        let (count, dim) = $grid(&$x);
        let (client, address) = ($x.client.clone(), $x.required_address_type());
        let dtype = dtype_to_storage_type($x.dtype);
        cubes::$kernel::launch(&client, count, dim, address, $($argument,)+ dtype);
    }};
}

impl Kernels for CubeBackend {
    fn exact_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let y = like(&x);
        let to = y.clone().into_linear_view();
        launch!(gelu, elementwise(x), x.into_linear_view(), to);
        y
    }

    fn exact_gelu_backward(x: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        let x_grad = like(&x);
        let (grad, to) = (grad.into_linear_view(), x_grad.clone().into_linear_view());
        launch!(gelu_backward, elementwise(x), x.into_linear_view(), grad, to);
        x_grad
    }

    fn row_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self> {
        let y = like(&x);
        let [gamma, beta, to] = [gamma, beta, y.clone()].map(|tensor| tensor.into_tensor_arg());
        launch!(
            row_norm,
            rows(x),
            x.into_tensor_arg(),
            gamma,
            beta,
            to,
            epsilon,
            ROW_THREADS as usize
        );
        y
    }

    fn row_norm_backward(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        epsilon: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let out = (like(&x), like(&x));
        let [gamma, grad] = [gamma, grad].map(|tensor| tensor.into_tensor_arg());
        let (x_grad, gamma_grad) = (out.0.clone().into_tensor_arg(), out.1.clone().into_tensor_arg());
        launch!(
            row_norm_backward,
            rows(x),
            x.into_tensor_arg(),
            gamma,
            grad,
            x_grad,
            gamma_grad,
            epsilon,
            ROW_THREADS as usize,
        );
        out
    }

    fn biased_softmax(scores: FloatTensor<Self>, bias: FloatTensor<Self>, scale: f32) -> FloatTensor<Self> {
        let y = like(&scores);
        let [bias, to] = [bias, y.clone()].map(|tensor| tensor.into_tensor_arg());
        launch!(
            softmax,
            score_rows(scores),
            scores.into_tensor_arg(),
            bias,
            to,
            scale,
            SCORE_THREADS as usize
        );
        y
    }

    fn biased_softmax_backward(
        y: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        scale: f32,
    ) -> FloatTensor<Self> {
        let scores_grad = like(&y);
        let [grad, to] = [grad, scores_grad.clone()].map(|tensor| tensor.into_tensor_arg());
        launch!(
            softmax_backward,
            score_rows(y),
            y.into_tensor_arg(),
            grad,
            to,
            scale,
            SCORE_THREADS as usize
        );
        scores_grad
    }

    fn adamw(
        parameter: FloatTensor<Self>,
        moment_1: FloatTensor<Self>,
        moment_2: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        step: AdamWStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let out = [like(&parameter), like(&parameter), like(&parameter)];
        let [moment_1, moment_2, grad] = [moment_1, moment_2, grad].map(|tensor| tensor.into_linear_view());
        let [new, new_1, new_2] = out.clone().map(|tensor| tensor.into_linear_view());
        launch!(
            adamw,
            elementwise(parameter),
            parameter.into_linear_view(),
            moment_1,
            moment_2,
            grad,
            new,
            new_1,
            new_2,
            step.betas[0],
            step.betas[1],
            step.corrections[0],
            step.corrections[1],
            step.eps,
            step.kept,
            step.lr,
        );
        let [parameter, moment_1, moment_2] = out;
        (parameter, moment_1, moment_2)
    }

    fn windows(x: FloatTensor<Self>, windows: Windows) -> FloatTensor<Self> {
        let shape = Shape::new(windows.shape(x.shape().dims()));
        let y = CubeBackend::float_empty(shape, &x.device(), x.dtype.into());
        let (x, to) = (x.into_tensor_arg(), y.clone().into_tensor_arg());
        launch!(
            windows,
            elementwise(y),
            x,
            to,
            windows.rows.start,
            windows.columns,
            windows.kernel[1],
            windows.kernel[0] * windows.kernel[1],
            windows.stride[0],
            windows.stride[1],
            windows.padding[0],
            windows.padding[1],
        );
        y
    }
}

fn like(x: &CubeTensor) -> CubeTensor {
    CubeBackend::float_empty(x.shape(), &x.device(), FloatDType::F32)
}

/// A thread for each element.
fn elementwise(x: &CubeTensor) -> (CubeCount, CubeDim) {
    let n = x.shape().num_elements();
    let dim = CubeDim::new(&x.client, n);
    (calculate_cube_count_elemwise(&x.client, n, dim), dim)
}

/// [`ROW_THREADS`] for each row.
fn rows(x: &CubeTensor) -> (CubeCount, CubeDim) {
    let dim = CubeDim::new_1d(ROW_THREADS);
    let n = x.shape()[0] * ROW_THREADS as usize;
    (calculate_cube_count_elemwise(&x.client, n, dim), dim)
}

/// [`SCORE_THREADS`] for each row of `[batch, n_heads, n, seq]`.
fn score_rows(x: &CubeTensor) -> (CubeCount, CubeDim) {
    let dim = CubeDim::new_1d(SCORE_THREADS);
    let [batch, n_heads, n, _] = x.shape().dims::<4>();
    let threads = batch * n_heads * n * SCORE_THREADS as usize;
    (calculate_cube_count_elemwise(&x.client, threads, dim), dim)
}

impl<B: Backend + Kernels, C: CheckpointStrategy> Kernels for Autodiff<B, C> {
    fn exact_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        match GeluBackward.prepare::<C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let x = x.into_primitive();
                prep.finish(x.clone(), B::exact_gelu(x))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::exact_gelu(x.into_primitive())),
        }
    }

    fn row_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), gamma.node(), beta.node()];
        let [x, gamma, beta] = [x, gamma, beta].map(|tensor| tensor.into_primitive());
        match RowNormBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let y = B::row_norm(x.clone(), gamma.clone(), beta, epsilon);
                prep.finish((x, gamma, epsilon), y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::row_norm(x, gamma, beta, epsilon)),
        }
    }

    fn biased_softmax(scores: FloatTensor<Self>, bias: FloatTensor<Self>, scale: f32) -> FloatTensor<Self> {
        let node = scores.node();
        let y = B::biased_softmax(scores.into_primitive(), bias.into_primitive(), scale);
        match SoftmaxBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((y.clone(), scale), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}

#[derive(Debug)]
struct SoftmaxBackward;

impl<B: Backend + Kernels> Backward<B, 1> for SoftmaxBackward {
    /// The softmax, and the factor on the scores.
    type State = (FloatTensor<B>, f32);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let ([scores], (y, scale)) = (ops.parents, ops.state);
        if let Some(node) = scores {
            grads.register::<B>(node.id, B::biased_softmax_backward(y, grad, scale));
        }
    }
}

#[derive(Debug)]
struct GeluBackward;

impl<B: Backend + Kernels> Backward<B, 1> for GeluBackward {
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let [x] = ops.parents;
        if let Some(node) = x {
            grads.register::<B>(node.id, B::exact_gelu_backward(ops.state, grad));
        }
    }
}

#[derive(Debug)]
struct RowNormBackward;

impl<B: Backend + Kernels> Backward<B, 3> for RowNormBackward {
    /// Input, gamma, epsilon.
    type State = (FloatTensor<B>, FloatTensor<B>, f32);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let ([x, gamma, beta], (input, weight, epsilon)) = (ops.parents, ops.state);
        let (x_grad, gamma_grad) = B::row_norm_backward(input, weight.clone(), grad.clone(), epsilon);
        let over_rows = |grad| B::float_reshape(B::float_sum_dim(grad, 0), weight.shape());
        if let Some(node) = x {
            grads.register::<B>(node.id, x_grad);
        }
        if let Some(node) = gamma {
            grads.register::<B>(node.id, over_rows(gamma_grad));
        }
        if let Some(node) = beta {
            grads.register::<B>(node.id, over_rows(grad));
        }
    }
}
