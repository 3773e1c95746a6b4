//! Devices: with their kernels, the only files that depend on the Cargo features of the backends.
//!
//! Burn picks its backend at run time, by the value of [`Device`]; Cargo features of this package (`flex`, `ndarray`, `wgpu`, `vulkan`,
//! `metal`, `cuda`) decide which backends a build holds. `Device::default()` prefers GPUs and depends on what other crates switched on, so
//! the project always builds its device from a [`DeviceSpec`].

mod adamw_step;
mod allocator;
#[cfg(feature = "cubecl")]
pub mod custom_kernels;
#[cfg(not(feature = "cubecl"))]
#[path = "device/no_custom_kernels.rs"]
pub mod custom_kernels;
#[cfg(feature = "flex")]
mod host;
#[cfg(not(feature = "flex"))]
#[path = "device/no_host.rs"]
mod host;
mod kernel_error;
#[cfg(feature = "cubecl")]
pub mod kernels;
#[cfg(not(feature = "cubecl"))]
#[path = "device/no_kernels.rs"]
pub mod kernels;
#[cfg_attr(
    not(feature = "cubecl"),
    allow(dead_code, reason = "read by the kernels of GPUs; its tests run everywhere")
)]
mod places;
mod windows;

use std::fmt;
use std::str::FromStr;

use burn::tensor::{DType, Device, DeviceError as BurnError, FloatDType, Tensor};

pub use adamw_step::AdamWStep;
pub use allocator::keep_freed_memory;
pub use host::{HostValues, host_values, map_host, map_host_with_gradient};
pub use kernel_error::KernelError;
pub use windows::Windows;

/// A device by name: `flex`, `ndarray`, `wgpu`, `vulkan`, `metal`, `cuda`, the last four with an optional index (`cuda:1`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeviceSpec {
    backend: Backend,
    index: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Backend {
    Flex,
    NdArray,
    Wgpu,
    Vulkan,
    Metal,
    Cuda,
}

/// What networks compute in. Between networks everything is f32 ([`crate::nn::to_compute_dtype`], [`crate::nn::to_f32`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Precision {
    /// 32 bits: the precision of the reference numbers.
    #[default]
    F32,
    /// 16 bits, 11 of them significant, up to 65504.
    F16,
    /// 16 bits, 8 of them significant, with the range of f32.
    Bf16,
}

impl Precision {
    const ALL: [(Self, &'static str, FloatDType); 3] = [
        (Self::F32, "f32", FloatDType::F32),
        (Self::F16, "f16", FloatDType::F16),
        (Self::Bf16, "bf16", FloatDType::BF16),
    ];

    /// The names of all.
    pub fn names() -> [&'static str; 3] {
        Self::ALL.map(|(_, name, _)| name)
    }

    /// Burn's name for it.
    pub fn dtype(self) -> FloatDType {
        Self::ALL[self as usize].2
    }

    /// The largest relative error of rounding to it: 2^-p with p significant bits.
    pub fn unit_roundoff(self) -> f64 {
        let significant = match self {
            Self::F32 => 24,
            Self::F16 => 11,
            Self::Bf16 => 8,
        };
        0.5f64.powi(significant)
    }
}

impl FromStr for Precision {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let found = Self::ALL.into_iter().find(|(_, name, _)| *name == text);
        found.map_or_else(|| Err(DeviceError::UnknownPrecision(text.into())), |p| Ok(p.0))
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL[*self as usize].1)
    }
}

/// Precision of a device's f32 matrix products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Products {
    /// 24 significant bits.
    #[default]
    F32,
    /// 11 significant bits, sums in f32: CubeCL 0.11.3 uses TF32 on CUDA devices from Ampere on, and no setting changes this.
    Tf32,
}

impl Products {
    /// Rounding error of these products, in multiples of f32's.
    pub fn rounding(self) -> f64 {
        match self {
            Self::F32 => 1.0,
            Self::Tf32 => f64::from(1 << 13),
        }
    }
}

/// A device that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum DeviceError {
    /// The device name is unknown.
    #[error(
        "unknown device `{0}`: expected flex, ndarray, wgpu, vulkan, metal or cuda, the last four with an optional index such as cuda:1"
    )]
    Unknown(String),
    /// The name is known but the feature was off when this program was compiled.
    #[error("device `{device}` is not in this build, which has: {}; build with `--features {feature}`", .available.join(", "))]
    NotBuilt {
        /// The requested device.
        device: String,
        /// The Cargo feature that adds it.
        feature: &'static str,
        /// The devices of this build.
        available: Vec<String>,
    },
    /// The precision is unknown.
    #[error("unknown dtype `{0}`: expected f32, f16 or bf16")]
    UnknownPrecision(String),
    /// The device cannot compute in that precision.
    #[error("device `{device}` does not compute in {precision}: {reason}")]
    Precision {
        /// The requested device.
        device: String,
        /// The requested precision.
        precision: Precision,
        /// The reason.
        reason: &'static str,
    },
    /// The backend is compiled in but finds no such hardware.
    #[error("device `{device}` was not found on this machine: {reason}")]
    Absent {
        /// The requested device.
        device: String,
        /// The backend's message.
        reason: String,
    },
    /// The device computes wrong results.
    #[error(
        "device `{device}` computes wrongly: {what} is off by {difference:.1e}, {allowed:.0e} are allowed; another driver may help"
    )]
    Wrong {
        /// The requested device.
        device: String,
        /// The operation.
        what: &'static str,
        /// The largest absolute difference.
        difference: f32,
        /// The largest difference that rounding explains.
        allowed: f32,
    },
}

impl Backend {
    const ALL: [Self; 6] = [
        Self::Flex,
        Self::NdArray,
        Self::Wgpu,
        Self::Vulkan,
        Self::Metal,
        Self::Cuda,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            Self::NdArray => "ndarray",
            Self::Wgpu => "wgpu",
            Self::Vulkan => "vulkan",
            Self::Metal => "metal",
            Self::Cuda => "cuda",
        }
    }

    fn is_built(self) -> bool {
        match self {
            Self::Flex => cfg!(feature = "flex"),
            Self::NdArray => cfg!(feature = "ndarray"),
            Self::Wgpu => cfg!(feature = "wgpu"),
            Self::Vulkan => cfg!(feature = "vulkan"),
            Self::Metal => cfg!(feature = "metal"),
            Self::Cuda => cfg!(feature = "cuda"),
        }
    }
}

impl FromStr for DeviceSpec {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let unknown = || DeviceError::Unknown(text.to_string());
        let (name, index) = match text.split_once(':') {
            Some((name, index)) => (name, Some(index.parse().map_err(|_| unknown())?)),
            None => (text, None),
        };
        let backend = Backend::ALL
            .into_iter()
            .find(|b| b.name() == name)
            .ok_or_else(unknown)?;
        if index.is_some() && matches!(backend, Backend::Flex | Backend::NdArray) {
            return Err(unknown());
        }
        Ok(Self { backend, index })
    }
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.backend.name())?;
        match self.index {
            Some(i) => write!(f, ":{i}"),
            None => Ok(()),
        }
    }
}

impl Default for DeviceSpec {
    /// The first device of [`DeviceSpec::available`]: `flex` unless it was left out of the build.
    fn default() -> Self {
        Self::available().into_iter().next().unwrap_or(Self {
            backend: Backend::Flex,
            index: None,
        })
    }
}

impl DeviceSpec {
    /// Every device that this build can name, CPU first.
    pub fn available() -> Vec<Self> {
        let built = Backend::ALL.into_iter().filter(|b| b.is_built());
        built.map(|backend| Self { backend, index: None }).collect()
    }

    /// Every device name that the project knows, and whether this build has it.
    pub fn known() -> Vec<(&'static str, bool)> {
        Backend::ALL
            .into_iter()
            .map(|b| (b.name(), b.is_built()))
            .collect()
    }

    /// Whether this is a CPU backend.
    pub fn is_cpu(&self) -> bool {
        matches!(self.backend, Backend::Flex | Backend::NdArray)
    }

    /// Whether Burn 0.22.1 can exchange gradients between such devices, as distributed data parallel training requires. Burn panics on other devices.
    pub fn exchanges_gradients(&self) -> bool {
        self.backend == Backend::Cuda
    }

    /// The Burn device, computing in f32.
    ///
    /// # Errors
    /// [`DeviceError::NotBuilt`] when the backend was not compiled in, [`DeviceError::Absent`] when the machine lacks the hardware.
    pub fn device(&self) -> Result<Device, DeviceError> {
        self.device_in(Precision::F32)
    }

    /// The Burn device, with networks computing in `precision`. A process has one precision per device: that of its first call.
    ///
    /// # Errors
    /// Like [`DeviceSpec::device`]; [`DeviceError::Precision`] when the backend lacks that precision, or the process already uses another.
    pub fn device_in(&self, precision: Precision) -> Result<Device, DeviceError> {
        if !self.backend.is_built() {
            return Err(DeviceError::NotBuilt {
                device: self.to_string(),
                feature: self.backend.name(),
                available: Self::available().iter().map(Self::to_string).collect(),
            });
        }
        let open = std::panic::AssertUnwindSafe(|| {
            let device = self.open();
            self.set_precision(device, precision)
        });
        // GPU backends panic when there is no adapter or no driver: turn that into an error that names the device.
        match self.backend {
            Backend::Flex | Backend::NdArray => open(),
            _ => {
                kernels::configure();
                std::panic::catch_unwind(move || open().map(probe)).map_err(|panic| DeviceError::Absent {
                    device: self.to_string(),
                    reason: panic_text(panic.as_ref()),
                })?
            }
        }
    }

    /// Runs a matrix product, a softmax and a convolution on the device and compares the results with loops on the host. A bad driver can end the
    /// process: call this function from a child process.
    ///
    /// # Errors
    /// Like [`DeviceSpec::device`]; [`DeviceError::Wrong`] when the numbers differ by more than rounding.
    pub fn check(&self) -> Result<Products, DeviceError> {
        let device = self.device()?;
        let computed = std::panic::AssertUnwindSafe(|| sample::compute(&device));
        let computed = std::panic::catch_unwind(computed).map_err(|panic| DeviceError::Absent {
            device: self.to_string(),
            reason: panic_text(panic.as_ref()),
        })?;
        let mut products = Products::F32;
        for ((what, values), expected) in computed.into_iter().zip(sample::expected()) {
            let differences = values.iter().zip(&expected).map(|(a, b)| (a - b).abs());
            let nan = values.len() != expected.len() || values.iter().any(|v| v.is_nan());
            let difference = if nan {
                f32::NAN
            } else {
                differences.fold(0.0, f32::max)
            };
            let allowed = match self.backend {
                Backend::Cuda => sample::ALLOWED_TF32,
                _ => sample::ALLOWED,
            };
            if nan || difference > allowed {
                return Err(DeviceError::Wrong {
                    device: self.to_string(),
                    what,
                    difference,
                    allowed,
                });
            }
            if difference > sample::ALLOWED {
                products = Products::Tf32;
            }
        }
        Ok(products)
    }

    /// Burn's default dtype of a device can be set once in a process, and before its first tensor.
    fn set_precision(&self, mut device: Device, precision: Precision) -> Result<Device, DeviceError> {
        let refuse = |reason| DeviceError::Precision {
            device: self.to_string(),
            precision,
            reason,
        };
        match device.configure(precision.dtype()) {
            Err(BurnError::UnsupportedDType { .. }) => Err(refuse("its backend does not support that dtype")),
            // The dtype was set before, by a call of this function or by a tensor.
            _ if device.settings().float_dtype != precision.dtype() => {
                Err(refuse("this process already computes in another dtype on it"))
            }
            _ => Ok(device),
        }
    }

    fn open(&self) -> Device {
        match self.backend {
            #[cfg(feature = "flex")]
            Backend::Flex => Device::flex(),
            #[cfg(feature = "ndarray")]
            Backend::NdArray =>
            {
                #[expect(deprecated, reason = "kept beside flex, its successor, until Burn removes it")]
                Device::ndarray()
            }
            #[cfg(feature = "wgpu")]
            Backend::Wgpu => Device::wgpu(kind(self.index)),
            #[cfg(feature = "vulkan")]
            Backend::Vulkan => Device::vulkan(kind(self.index)),
            #[cfg(feature = "metal")]
            Backend::Metal => Device::metal(kind(self.index)),
            #[cfg(feature = "cuda")]
            Backend::Cuda => Device::cuda(self.index.unwrap_or(0)),
            #[allow(unreachable_patterns, reason = "which arms exist depends on the features")]
            other => unreachable!("{} is not built; DeviceSpec::device checked that", other.name()),
        }
    }
}

/// Whether Burn's own GELU has the exact derivative on `device`. Burn 0.22.1 differentiates the tanh approximation of GELU on every backend
/// (`burn-backend`'s `gelu_backward`) except flex, which overrides it. The approximation is off by 2e-4 in a prior's gradients.
pub fn has_exact_gelu(device: &Device) -> bool {
    is_flex(device)
}

/// Whether this program's own kernels ([`crate::nn`]) replace operations of Burn (0.22.1) in large layers: on flex, where they are two to six times as fast.
/// Not while gradients are recorded.
pub fn has_own_kernels(device: &Device) -> bool {
    is_flex(device) && !device.is_autodiff()
}

/// Whether one product with concatenated matrices is faster than one product per matrix. On an H200 a prior's step takes 9 to 16 % less, on flex 3
/// to 10 % more because concatenation copies; on ndarray there is no difference. `cargo bench --bench prior` measures it.
pub fn fuses_products(device: &Device) -> bool {
    !is_flex(device)
}

/// Whether rows of a batch are computed side by side, each group on a thread of its own ([`crate::nn::RowGroups`]). Burn's flex (0.22.1) leaves most
/// element-wise operations and reductions to one thread; other devices divide every operation.
pub fn spreads_rows(device: &Device) -> bool {
    is_flex(device)
}

/// Whether a tensor's memory is the program's own: flex hands it out (`Tensor::into_data`) and takes it back without a copy.
pub fn shares_memory(device: &Device) -> bool {
    is_flex(device)
}

/// The multiple that a product's rows are rounded up to where their number varies from step to step. CubeCL tunes a product again for other powers
/// of two in its sizes; other backends gain nothing from rows without content.
pub fn row_multiple(device: &Device) -> usize {
    if is_cubecl(device) { 64 } else { 1 }
}

/// Whether gradients are clipped and parameters updated as one flat tensor: every operation on a tensor of its own is a kernel launch, which costs a
/// GPU some microseconds whatever the size.
pub fn groups_updates(device: &Device) -> bool {
    is_cubecl(device)
}

/// Whether `x` is computed by [`custom_kernels`]: f32 on a device of CubeCL. Not in a build with fusion, where Burn fuses element-wise operations by
/// itself, and an operation that it does not know would divide what it fuses.
pub fn takes_custom_kernels<const D: usize>(x: &Tensor<D>) -> bool {
    cfg!(not(feature = "fusion")) && x.dtype() == DType::F32 && is_cubecl(&x.device())
}

/// Whether a convolution is a matrix product with all its windows ([`custom_kernels::windows`]): on CubeCL, whose own kernel (0.11.3, `Direct`) uses a thread for
/// each value and no tensor cores. With `autotune` Burn chooses among kernels that use them. Not while gradients are recorded.
pub fn convolves_by_products(device: &Device) -> bool {
    cfg!(not(feature = "autotune")) && is_cubecl(device) && !device.is_autodiff()
}

fn is_cubecl(device: &Device) -> bool {
    cfg!(feature = "cubecl") && !is_flex(device) && !is_ndarray(device)
}

#[cfg(feature = "ndarray")]
#[expect(deprecated, reason = "kept beside flex, its successor, until Burn removes it")]
fn is_ndarray(device: &Device) -> bool {
    *device == Device::ndarray()
}

#[cfg(not(feature = "ndarray"))]
fn is_ndarray(_device: &Device) -> bool {
    false
}

#[cfg(feature = "flex")]
fn is_flex(device: &Device) -> bool {
    *device == Device::flex()
}

#[cfg(not(feature = "flex"))]
fn is_flex(_device: &Device) -> bool {
    false
}

#[cfg(any(feature = "wgpu", feature = "vulkan", feature = "metal"))]
fn kind(index: Option<usize>) -> burn::tensor::DeviceKind {
    match index {
        Some(i) => burn::tensor::DeviceKind::DiscreteGpu(i),
        None => burn::tensor::DeviceKind::DefaultDevice,
    }
}

/// Runs one small operation, so that a missing driver is reported here and not during a run.
fn probe(device: Device) -> Device {
    let two = Tensor::<1>::ones([1], &device).mul_scalar(2.0);
    let _ = two.into_data();
    device
}

/// A small computation whose result is known.
mod sample {
    use burn::tensor::activation::softmax;
    use burn::tensor::module::conv2d;
    use burn::tensor::ops::ConvOptions;
    use burn::tensor::{Device, Tensor, TensorData};

    /// f32 sums of [`K`] products in any order.
    pub(super) const ALLOWED: f32 = 1e-4;
    /// TF32 rounds each factor by up to 2^-11 of itself: [`K`] products of .06 on average, by 2^-10 of each at most. 8e-4 was seen on an H200.
    pub(super) const ALLOWED_TF32: f32 = 4e-3;
    const M: usize = 33;
    const K: usize = 70;
    const N: usize = 65;
    const SIDE: usize = 9;

    fn left(i: usize, k: usize) -> f32 {
        ((3 * i + 5 * k) % 11) as f32 / 11.0 - 0.45
    }

    fn right(k: usize, j: usize) -> f32 {
        ((7 * k + 2 * j) % 13) as f32 / 13.0 - 0.4
    }

    /// Results on the device: a product `[M, N]`, its softmax by rows, and a 3 x 3 convolution with padding of `[1, 2, SIDE, SIDE]` to 4 channels.
    pub(super) fn compute(device: &Device) -> [(&'static str, Vec<f32>); 3] {
        let tensor = |n: usize, m: usize, f: fn(usize, usize) -> f32| -> Tensor<2> {
            let values: Vec<f32> = (0..n * m).map(|i| f(i / m, i % m)).collect();
            Tensor::from_data(TensorData::new(values, [n, m]), device)
        };
        let product = tensor(M, K, left).matmul(tensor(K, N, right));
        let image = tensor(2, SIDE * SIDE, left).reshape([1, 2, SIDE, SIDE]);
        let weight = tensor(4, 2 * 9, right).reshape([4, 2, 3, 3]);
        let convolved = conv2d(image, weight, None, ConvOptions::new([1, 1], [1, 1], [1, 1], 1));
        let read = |data: TensorData| data.iter::<f32>().collect::<Vec<f32>>();
        [
            ("a matrix product", read(product.clone().into_data())),
            ("a softmax", read(softmax(product, 1).into_data())),
            ("a convolution", read(convolved.into_data())),
        ]
    }

    /// The same results, computed in loops.
    pub(super) fn expected() -> [Vec<f32>; 3] {
        let mut product = vec![0.0; M * N];
        for (at, sum) in product.iter_mut().enumerate() {
            *sum = (0..K).map(|k| left(at / N, k) * right(k, at % N)).sum::<f32>();
        }
        let rows = product.chunks(N).flat_map(|row| {
            let exp: Vec<f32> = row.iter().map(|v| v.exp()).collect();
            let sum: f32 = exp.iter().sum();
            exp.into_iter().map(move |e| e / sum)
        });
        let softmax = rows.collect();
        let mut convolved = Vec::with_capacity(4 * SIDE * SIDE);
        for (out, y, x) in (0..4 * SIDE * SIDE).map(|i| (i / SIDE / SIDE, i / SIDE % SIDE, i % SIDE)) {
            let tap = |i: usize| {
                let (channel, dy, dx) = (i / 9, i / 3 % 3, i % 3);
                let (y, x) = ((y + dy).checked_sub(1)?, (x + dx).checked_sub(1)?);
                (y < SIDE && x < SIDE).then(|| left(channel, y * SIDE + x) * right(out, i))
            };
            convolved.push((0..2 * 9).filter_map(tap).sum());
        }
        [product, softmax, convolved]
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or(panic.downcast_ref::<&str>().copied());
    text.unwrap_or("the backend gave no reason")
        .lines()
        .next()
        .unwrap_or_default()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for name in ["flex", "ndarray", "wgpu", "vulkan:1", "metal", "cuda", "cuda:3"] {
            assert_eq!(
                name.parse::<DeviceSpec>().map(|d| d.to_string()),
                Ok(name.to_string())
            );
        }
        for name in ["", "gpu", "flex:0", "cuda:", "cuda:x", "CUDA"] {
            assert_eq!(
                name.parse::<DeviceSpec>(),
                Err(DeviceError::Unknown(name.to_string()))
            );
        }
    }

    #[test]
    fn what_this_build_has_computes_rightly() {
        for device in DeviceSpec::available().into_iter().filter(DeviceSpec::is_cpu) {
            assert_eq!(device.check(), Ok(Products::F32));
        }
    }

    #[test]
    fn a_device_outside_the_build_is_refused_by_name() {
        let missing = DeviceSpec::known().into_iter().find(|(_, built)| !built);
        let (name, _) = missing.expect("no build has metal and cuda together");
        let error = name
            .parse::<DeviceSpec>()
            .and_then(|d| d.device())
            .expect_err("must be refused")
            .to_string();
        assert!(
            error.contains(&format!("`{name}` is not in this build, which has:")),
            "{error}"
        );
    }
}
