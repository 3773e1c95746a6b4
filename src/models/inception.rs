//! The Inception v3 behind the Frechet inception distance (arXiv 1512.00567 as TensorFlow published it on 2015-12-05; reference: pytorch-fid
//! `fid_inception_v3`, whose converted weights these are).
//!
//! It differs from torchvision's Inception v3 in its pooling: averages do not count the padding, and the last block takes the maximum where torchvision
//! takes an average. Another network gives another "FID".
//!
//! Axes: batch; channels; h, w.

use std::path::Path;

use burn::module::Param;
use burn::nn::Initializer;
use burn::prelude::*;
use burn::tensor::assert_shape;
use burn::tensor::module::{avg_pool2d, max_pool2d};
use burn::tensor::ops::{AvgPoolOptions, ConvOptions, MaxPoolOptions};

use crate::limits;
use crate::nn::{conv2d, to_compute_dtype, to_f32};
use crate::weights::{self, Checkpoint, Mapping, WeightsError};

/// Published names of [`Inception`]'s parameters.
pub const MAPPING: Mapping = Mapping {
    rules: &[(".conv2d_", ".Conv2d_"), (".mixed_", ".Mixed_")],
};

/// Sides of the images that it reads.
pub const SIDE: usize = 299;
/// Classes of the published classifier: the 1,000 of ImageNet and eight that nobody uses.
const N_CLASSES: usize = 1008;
/// Added to variances.
const EPSILON: f64 = 1e-3;
/// Channels of the first convolution at the published width.
const FIRST: usize = 32;

/// A convolution without a bias, a batch norm with its running statistics, and ReLU.
#[derive(Module, Debug)]
struct Conv {
    conv: Kernel,
    bn: Norm,
    stride: usize,
    padding: [usize; 2],
}

#[derive(Module, Debug)]
struct Kernel {
    /// `[c_out, c_in, h, w]`
    weight: Param<Tensor<4>>,
}

/// All `[c_out]`.
#[derive(Module, Debug)]
struct Norm {
    weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
    running_mean: Param<Tensor<1>>,
    running_var: Param<Tensor<1>>,
}

impl Conv {
    /// `x`: `[batch, c_in, h, w]` -> `[batch, c_out, h', w']`. The norm is folded into the kernel, in f32: two products a channel instead of two a pixel.
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [weight, bias, mean, var] = [
            &self.bn.weight,
            &self.bn.bias,
            &self.bn.running_mean,
            &self.bn.running_var,
        ]
        .map(|param| to_f32(param.val()));
        let scale = weight / var.add_scalar(EPSILON).sqrt();
        let shift = bias - mean * scale.clone();
        let [c_out] = scale.dims();
        let kernel = to_f32(self.conv.weight.val()) * scale.reshape([c_out, 1, 1, 1]);
        let options = ConvOptions::new([self.stride; 2], self.padding, [1, 1], 1);
        let (kernel, shift) = (kernel.cast(x.dtype()), shift.cast(x.dtype()));
        burn::tensor::activation::relu(conv2d(x, kernel, Some(shift), options))
    }
}

/// Makes convolutions `c_in -> c_out`, all channels but the image's three divided by the same number.
struct Maker<'a> {
    divisor: usize,
    device: &'a Device,
}

impl Maker<'_> {
    fn conv(&self, c_in: usize, c_out: usize, kernel: [usize; 2]) -> Conv {
        self.conv_with(c_in, c_out, kernel, 1, [0, 0])
    }

    /// Keeps the size of the image.
    fn same(&self, c_in: usize, c_out: usize, kernel: [usize; 2]) -> Conv {
        self.conv_with(c_in, c_out, kernel, 1, kernel.map(|k| k / 2))
    }

    fn halving(&self, c_in: usize, c_out: usize) -> Conv {
        self.conv_with(c_in, c_out, [3, 3], 2, [0, 0])
    }

    fn conv_with(
        &self,
        c_in: usize,
        c_out: usize,
        kernel: [usize; 2],
        stride: usize,
        padding: [usize; 2],
    ) -> Conv {
        let c_in = if c_in == 3 { 3 } else { c_in / self.divisor };
        let c_out = c_out / self.divisor;
        let row = |initial: Initializer| initial.init([c_out], self.device);
        Conv {
            conv: Kernel {
                weight: Initializer::Zeros.init([c_out, c_in, kernel[0], kernel[1]], self.device),
            },
            bn: Norm {
                weight: row(Initializer::Ones),
                bias: row(Initializer::Zeros),
                running_mean: row(Initializer::Zeros),
                running_var: row(Initializer::Ones),
            },
            stride,
            padding,
        }
    }
}

/// The average of 3 x 3 pixels, of those that there are.
fn average(x: Tensor<4>) -> Tensor<4> {
    let options = AvgPoolOptions {
        kernel_size: [3, 3],
        stride: [1, 1],
        padding: [(1, 1), (1, 1)],
        count_include_pad: false,
        ceil_mode: false,
    };
    avg_pool2d(x, options)
}

/// The maximum of 3 x 3 pixels.
fn maximum(x: Tensor<4>, stride: usize, padding: usize) -> Tensor<4> {
    let options = MaxPoolOptions {
        kernel_size: [3, 3],
        stride: [stride; 2],
        padding: [(padding, padding); 2],
        dilation: [1, 1],
        ceil_mode: false,
    };
    max_pool2d(x, options)
}

/// 35 x 35 pixels.
#[derive(Module, Debug)]
struct BlockA {
    branch1x1: Conv,
    branch5x5_1: Conv,
    branch5x5_2: Conv,
    branch3x3dbl_1: Conv,
    branch3x3dbl_2: Conv,
    branch3x3dbl_3: Conv,
    branch_pool: Conv,
}

impl BlockA {
    fn init(c_in: usize, c_pool: usize, make: &Maker<'_>) -> Self {
        Self {
            branch1x1: make.conv(c_in, 64, [1, 1]),
            branch5x5_1: make.conv(c_in, 48, [1, 1]),
            branch5x5_2: make.same(48, 64, [5, 5]),
            branch3x3dbl_1: make.conv(c_in, 64, [1, 1]),
            branch3x3dbl_2: make.same(64, 96, [3, 3]),
            branch3x3dbl_3: make.same(96, 96, [3, 3]),
            branch_pool: make.conv(c_in, c_pool, [1, 1]),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let five = self.branch5x5_2.forward(self.branch5x5_1.forward(x.clone()));
        let double = self
            .branch3x3dbl_2
            .forward(self.branch3x3dbl_1.forward(x.clone()));
        let double = self.branch3x3dbl_3.forward(double);
        let pool = self.branch_pool.forward(average(x.clone()));
        Tensor::cat(vec![self.branch1x1.forward(x), five, double, pool], 1)
    }
}

/// 35 x 35 to 17 x 17 pixels.
#[derive(Module, Debug)]
struct BlockB {
    branch3x3: Conv,
    branch3x3dbl_1: Conv,
    branch3x3dbl_2: Conv,
    branch3x3dbl_3: Conv,
}

impl BlockB {
    fn init(c_in: usize, make: &Maker<'_>) -> Self {
        Self {
            branch3x3: make.halving(c_in, 384),
            branch3x3dbl_1: make.conv(c_in, 64, [1, 1]),
            branch3x3dbl_2: make.same(64, 96, [3, 3]),
            branch3x3dbl_3: make.halving(96, 96),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let double = self
            .branch3x3dbl_2
            .forward(self.branch3x3dbl_1.forward(x.clone()));
        let double = self.branch3x3dbl_3.forward(double);
        Tensor::cat(
            vec![self.branch3x3.forward(x.clone()), double, maximum(x, 2, 0)],
            1,
        )
    }
}

/// 17 x 17 pixels; 7 x 7 kernels as rows and columns.
#[derive(Module, Debug)]
struct BlockC {
    branch1x1: Conv,
    branch7x7_1: Conv,
    branch7x7_2: Conv,
    branch7x7_3: Conv,
    branch7x7dbl_1: Conv,
    branch7x7dbl_2: Conv,
    branch7x7dbl_3: Conv,
    branch7x7dbl_4: Conv,
    branch7x7dbl_5: Conv,
    branch_pool: Conv,
}

impl BlockC {
    fn init(c: usize, make: &Maker<'_>) -> Self {
        const IN: usize = 768;
        const OUT: usize = 192;
        Self {
            branch1x1: make.conv(IN, OUT, [1, 1]),
            branch7x7_1: make.conv(IN, c, [1, 1]),
            branch7x7_2: make.same(c, c, [1, 7]),
            branch7x7_3: make.same(c, OUT, [7, 1]),
            branch7x7dbl_1: make.conv(IN, c, [1, 1]),
            branch7x7dbl_2: make.same(c, c, [7, 1]),
            branch7x7dbl_3: make.same(c, c, [1, 7]),
            branch7x7dbl_4: make.same(c, c, [7, 1]),
            branch7x7dbl_5: make.same(c, OUT, [1, 7]),
            branch_pool: make.conv(IN, OUT, [1, 1]),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let seven = self.branch7x7_2.forward(self.branch7x7_1.forward(x.clone()));
        let seven = self.branch7x7_3.forward(seven);
        let double = self
            .branch7x7dbl_2
            .forward(self.branch7x7dbl_1.forward(x.clone()));
        let double = self.branch7x7dbl_4.forward(self.branch7x7dbl_3.forward(double));
        let double = self.branch7x7dbl_5.forward(double);
        let pool = self.branch_pool.forward(average(x.clone()));
        Tensor::cat(vec![self.branch1x1.forward(x), seven, double, pool], 1)
    }
}

/// 17 x 17 to 8 x 8 pixels.
#[derive(Module, Debug)]
struct BlockD {
    branch3x3_1: Conv,
    branch3x3_2: Conv,
    branch7x7x3_1: Conv,
    branch7x7x3_2: Conv,
    branch7x7x3_3: Conv,
    branch7x7x3_4: Conv,
}

impl BlockD {
    fn init(c_in: usize, make: &Maker<'_>) -> Self {
        Self {
            branch3x3_1: make.conv(c_in, 192, [1, 1]),
            branch3x3_2: make.halving(192, 320),
            branch7x7x3_1: make.conv(c_in, 192, [1, 1]),
            branch7x7x3_2: make.same(192, 192, [1, 7]),
            branch7x7x3_3: make.same(192, 192, [7, 1]),
            branch7x7x3_4: make.halving(192, 192),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let three = self.branch3x3_2.forward(self.branch3x3_1.forward(x.clone()));
        let seven = self.branch7x7x3_2.forward(self.branch7x7x3_1.forward(x.clone()));
        let seven = self.branch7x7x3_4.forward(self.branch7x7x3_3.forward(seven));
        Tensor::cat(vec![three, seven, maximum(x, 2, 0)], 1)
    }
}

/// 8 x 8 pixels.
#[derive(Module, Debug)]
struct BlockE {
    branch1x1: Conv,
    branch3x3_1: Conv,
    branch3x3_2a: Conv,
    branch3x3_2b: Conv,
    branch3x3dbl_1: Conv,
    branch3x3dbl_2: Conv,
    branch3x3dbl_3a: Conv,
    branch3x3dbl_3b: Conv,
    branch_pool: Conv,
}

impl BlockE {
    fn init(c_in: usize, make: &Maker<'_>) -> Self {
        Self {
            branch1x1: make.conv(c_in, 320, [1, 1]),
            branch3x3_1: make.conv(c_in, 384, [1, 1]),
            branch3x3_2a: make.same(384, 384, [1, 3]),
            branch3x3_2b: make.same(384, 384, [3, 1]),
            branch3x3dbl_1: make.conv(c_in, 448, [1, 1]),
            branch3x3dbl_2: make.same(448, 384, [3, 3]),
            branch3x3dbl_3a: make.same(384, 384, [1, 3]),
            branch3x3dbl_3b: make.same(384, 384, [3, 1]),
            branch_pool: make.conv(c_in, 192, [1, 1]),
        }
    }

    /// `pooled` is `x`, averaged in the first of these blocks, by maxima in the second.
    fn forward(&self, x: Tensor<4>, pooled: Tensor<4>) -> Tensor<4> {
        let three = self.branch3x3_1.forward(x.clone());
        let double = self
            .branch3x3dbl_2
            .forward(self.branch3x3dbl_1.forward(x.clone()));
        let parts = vec![
            self.branch1x1.forward(x),
            self.branch3x3_2a.forward(three.clone()),
            self.branch3x3_2b.forward(three),
            self.branch3x3dbl_3a.forward(double.clone()),
            self.branch3x3dbl_3b.forward(double),
            self.branch_pool.forward(pooled),
        ];
        Tensor::cat(parts, 1)
    }
}

#[derive(Module, Debug)]
struct Classifier {
    /// `[n_classes, d]`, as published.
    weight: Param<Tensor<2>>,
    /// `[n_classes]`
    bias: Param<Tensor<1>>,
}

/// The network.
#[derive(Module, Debug)]
#[allow(non_snake_case, reason = "published names")]
pub struct Inception {
    conv2d_1a_3x3: Conv,
    conv2d_2a_3x3: Conv,
    conv2d_2b_3x3: Conv,
    conv2d_3b_1x1: Conv,
    conv2d_4a_3x3: Conv,
    mixed_5b: BlockA,
    mixed_5c: BlockA,
    mixed_5d: BlockA,
    mixed_6a: BlockB,
    mixed_6b: BlockC,
    mixed_6c: BlockC,
    mixed_6d: BlockC,
    mixed_6e: BlockC,
    mixed_7a: BlockD,
    mixed_7b: BlockE,
    mixed_7c: BlockE,
    fc: Classifier,
}

/// What pytorch-fid calls blocks 0 to 3.
#[derive(Debug, Clone)]
pub struct Blocks {
    /// After the first maximum, `[batch, 64, 73, 73]`.
    pub first: Tensor<4>,
    /// After the second, `[batch, 192, 35, 35]`.
    pub second: Tensor<4>,
    /// Before the classifier of old, `[batch, 768, 17, 17]`.
    pub third: Tensor<4>,
    /// The features of the FID: averages over the last 8 x 8 pixels, `[batch, 2048]`.
    pub features: Tensor<2>,
}

impl Inception {
    /// The network with all its channels, but for the image's three, divided by `divisor`. Its values are lazy and of no use until they are loaded.
    fn init(divisor: usize, device: &Device) -> Self {
        let make = &Maker { divisor, device };
        let d = 2048 / divisor;
        Self {
            conv2d_1a_3x3: make.halving(3, FIRST),
            conv2d_2a_3x3: make.conv(32, 32, [3, 3]),
            conv2d_2b_3x3: make.same(32, 64, [3, 3]),
            conv2d_3b_1x1: make.conv(64, 80, [1, 1]),
            conv2d_4a_3x3: make.conv(80, 192, [3, 3]),
            mixed_5b: BlockA::init(192, 32, make),
            mixed_5c: BlockA::init(256, 64, make),
            mixed_5d: BlockA::init(288, 64, make),
            mixed_6a: BlockB::init(288, make),
            mixed_6b: BlockC::init(128, make),
            mixed_6c: BlockC::init(160, make),
            mixed_6d: BlockC::init(160, make),
            mixed_6e: BlockC::init(192, make),
            mixed_7a: BlockD::init(768, make),
            mixed_7b: BlockE::init(1280, make),
            mixed_7c: BlockE::init(2048, make),
            fc: Classifier {
                weight: Initializer::Zeros.init([N_CLASSES, d], device),
                bias: Initializer::Zeros.init([N_CLASSES], device),
            },
        }
    }

    /// Loads `pt_inception-2015-12-05-6726825d.pth` or the same tensors in a safetensors file or model folder. A file whose channels are all divided by
    /// one number loads as a miniature.
    ///
    /// # Errors
    /// [`WeightsError`], naming the file and what does not fit.
    pub fn load(path: &Path, device: &Device) -> Result<Self, WeightsError> {
        Self::from_checkpoint(&Checkpoint::open(path)?, device)
    }

    /// [`Inception::load`] from an open checkpoint.
    ///
    /// # Errors
    /// [`WeightsError`]; [`WeightsError::Broken`] for numbers that are not finite, which the network's ReLUs would hide.
    pub fn from_checkpoint(checkpoint: &Checkpoint, device: &Device) -> Result<Self, WeightsError> {
        let first = checkpoint.tensors().get("Conv2d_1a_3x3.conv.weight");
        let first = first.and_then(|t| t.shape.first().copied()).unwrap_or(FIRST);
        let divisor = match first {
            n if n > 0 && FIRST.is_multiple_of(n) => FIRST / n,
            _ => 1,
        };
        // Counters of PyTorch's batch norm, which newer exports have.
        let checkpoint = checkpoint.without(|name| name.ends_with(".num_batches_tracked"));
        for (name, tensor) in checkpoint.tensors() {
            let data = tensor.read()?;
            if let Some(odd) = limits::not_finite(data.iter::<f32>()) {
                return Err(WeightsError::Broken {
                    path: checkpoint.path().to_path_buf(),
                    reason: format!("{name}: expected finite numbers, found {} that are not", odd.n),
                });
            }
        }
        weights::load(
            Self::init(divisor, device),
            "Inception",
            &checkpoint,
            &MAPPING,
            &[],
        )
    }

    /// Width of the features: 2048.
    pub fn d(&self) -> usize {
        self.fc.weight.dims()[1]
    }

    /// `x`: `[batch, 3, 299, 299]` in -1..1 -> every block.
    pub fn forward(&self, x: Tensor<4>) -> Blocks {
        self.forward_with(x, &mut |_, _| {})
    }

    /// [`Inception::forward`]; `on_layer` sees the output of every layer, under its published name.
    pub fn forward_with(&self, x: Tensor<4>, on_layer: &mut dyn FnMut(&'static str, &Tensor<4>)) -> Blocks {
        let [batch, ..] = x.dims();
        assert_shape!(x, [batch, 3, SIDE, SIDE]);
        let x = to_compute_dtype(x);
        let mut see = |name, y: Tensor<4>| {
            on_layer(name, &y);
            y
        };
        let x = see("Conv2d_1a_3x3", self.conv2d_1a_3x3.forward(x));
        let x = see("Conv2d_2a_3x3", self.conv2d_2a_3x3.forward(x));
        let x = see("Conv2d_2b_3x3", self.conv2d_2b_3x3.forward(x));
        let first = maximum(x, 2, 0);
        let x = see("Conv2d_3b_1x1", self.conv2d_3b_1x1.forward(first.clone()));
        let x = see("Conv2d_4a_3x3", self.conv2d_4a_3x3.forward(x));
        let second = maximum(x, 2, 0);
        let x = see("Mixed_5b", self.mixed_5b.forward(second.clone()));
        let x = see("Mixed_5c", self.mixed_5c.forward(x));
        let x = see("Mixed_5d", self.mixed_5d.forward(x));
        let x = see("Mixed_6a", self.mixed_6a.forward(x));
        let x = see("Mixed_6b", self.mixed_6b.forward(x));
        let x = see("Mixed_6c", self.mixed_6c.forward(x));
        let x = see("Mixed_6d", self.mixed_6d.forward(x));
        let third = see("Mixed_6e", self.mixed_6e.forward(x));
        let x = see("Mixed_7a", self.mixed_7a.forward(third.clone()));
        let x = see("Mixed_7b", self.mixed_7b.forward(x.clone(), average(x)));
        let x = see("Mixed_7c", self.mixed_7c.forward(x.clone(), maximum(x, 1, 1)));
        Blocks {
            first,
            second,
            third,
            features: spatial_mean(x),
        }
    }

    /// The classifier's logits of features `[batch, d]` -> `[batch, 1008]`. The FID does not use them.
    pub fn logits(&self, features: Tensor<2>) -> Tensor<2> {
        let [weight, bias] = [
            to_f32(self.fc.weight.val()),
            to_f32(self.fc.bias.val().unsqueeze()),
        ];
        features.matmul(weight.transpose()) + bias
    }
}

/// `[batch, channels, h, w]` -> `[batch, channels]`, f32.
pub fn spatial_mean(x: Tensor<4>) -> Tensor<2> {
    let [batch, channels, h, w] = x.dims();
    to_f32(x)
        .reshape([batch, channels, h * w])
        .mean_dim(2)
        .reshape([batch, channels])
}
