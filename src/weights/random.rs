//! Checkpoints of random numbers, written tensor by tensor: what loading and computing cost at full size can be measured without
//! published weights, and without a model in memory.

use std::io::Write;
use std::path::Path;

use burn::tensor::DType;
use half::{bf16, f16};
use rand_chacha::rand_core::Rng;
use serde_json::{Map, json};

use super::{Parameter, WeightsError};
use crate::noise::Noise;

/// Values drawn and written at once.
const CHUNK: usize = 1 << 16;

/// Writes `parameters` to `path` as one safetensors file of f32, f16 or bf16.
///
/// Values keep what flows through a network finite: weights of layers are uniform with variance one over their fan-in, norms are the identity,
/// biases zero.
///
/// # Errors
/// [`WeightsError::File`] when the disk refuses, [`WeightsError::Broken`] for another dtype.
pub fn write_random(
    parameters: &[Parameter],
    path: &Path,
    dtype: DType,
    noise: &mut Noise,
) -> Result<(), WeightsError> {
    let (name, convert): (_, fn(f32, &mut Vec<u8>)) = match dtype {
        DType::F32 => ("F32", |x, to| to.extend(x.to_le_bytes())),
        DType::F16 => ("F16", |x, to| to.extend(f16::from_f32(x).to_le_bytes())),
        DType::BF16 => ("BF16", |x, to| to.extend(bf16::from_f32(x).to_le_bytes())),
        other => {
            return Err(WeightsError::Broken {
                path: path.to_path_buf(),
                reason: format!("cannot write dtype {other:?}"),
            });
        }
    };
    let mut header = Map::from_iter([("__metadata__".to_string(), json!({"format": "pt"}))]);
    let mut end = 0;
    for parameter in parameters {
        let start = end;
        end += parameter.shape.iter().product::<usize>() * dtype.size();
        let entry = json!({"dtype": name, "shape": parameter.shape, "data_offsets": [start, end]});
        header.insert(parameter.name.clone(), entry);
    }
    let mut header = serde_json::Value::Object(header).to_string();
    // The data start at a multiple of eight, as safetensors' own writer has it.
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    let fill = |file: &mut dyn Write| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        let (mut random, mut bytes) = (vec![0; 2 * CHUNK], Vec::with_capacity(4 * CHUNK));
        for parameter in parameters {
            let values = Values::of(parameter);
            let mut left = parameter.shape.iter().product::<usize>();
            while left > 0 {
                let n = left.min(CHUNK);
                bytes.clear();
                if let Values::Uniform(_) = values {
                    noise.rng().fill_bytes(&mut random[..2 * n]);
                }
                for pair in random[..2 * n].as_chunks::<2>().0 {
                    convert(values.at(i16::from_le_bytes(*pair)), &mut bytes);
                }
                file.write_all(&bytes)?;
                left -= n;
            }
        }
        Ok(())
    };
    Ok(crate::files::write_atomic_with(path, fill)?)
}

/// What a parameter is filled with.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Values {
    Constant(f32),
    /// Between plus and minus this.
    Uniform(f32),
}

impl Values {
    fn of(parameter: &Parameter) -> Self {
        let last = parameter.name.rsplit('.').next().unwrap_or_default();
        match (last, &parameter.shape[..]) {
            // The scale of a norm, and the statistics that whiten embeddings.
            ("weight", [_]) | ("clip_std", _) => Self::Constant(1.0),
            ("bias" | "clip_mean", _) => Self::Constant(0.0),
            (_, []) => Self::Constant(0.0),
            (_, [n]) => Self::with_variance(*n),
            (_, [_, fan_in @ ..]) => Self::with_variance(fan_in.iter().product()),
        }
    }

    /// Uniform, with variance `1 / n`.
    fn with_variance(n: usize) -> Self {
        Self::Uniform((3.0 / n.max(1) as f32).sqrt())
    }

    fn at(self, random: i16) -> f32 {
        match self {
            Self::Constant(value) => value,
            Self::Uniform(bound) => bound * f32::from(random) / 32768.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::Checkpoint;

    fn parameter(name: &str, shape: &[usize]) -> Parameter {
        Parameter {
            path: name.into(),
            name: name.into(),
            shape: shape.to_vec(),
            transposed: false,
        }
    }

    #[test]
    fn files_hold_what_was_asked_for() {
        let desk = tempfile::tempdir().expect("a temporary folder");
        let parameters = [
            parameter("conv.weight", &[64, 300, 3, 3]),
            parameter("conv.bias", &[64]),
            parameter("norm.weight", &[64]),
            parameter("clip_std", &[1, 5]),
        ];
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let path = desk.path().join("model.safetensors");
            let write =
                |seed| write_random(&parameters, &path, dtype, &mut Noise::new(seed)).expect("written");
            let read = || {
                let file = Checkpoint::open(&path).expect("a whole file");
                assert_eq!(file.tensors().len(), parameters.len());
                let values = |name: &str| -> Vec<f32> {
                    let data = file.read(name).expect("there");
                    assert_eq!(data.dtype(), dtype);
                    data.iter::<f32>().collect()
                };
                assert_eq!(values("conv.bias"), [0.0; 64]);
                assert_eq!(values("norm.weight"), [1.0; 64]);
                assert_eq!(values("clip_std"), [1.0; 5]);
                values("conv.weight")
            };
            write(1);
            let first = read();
            // More than one chunk: all of it random, none of it twice.
            assert!(first.len() > 2 * CHUNK && first[..99] != first[CHUNK..CHUNK + 99]);
            let variance = first.iter().map(|x| f64::from(x * x)).sum::<f64>() / first.len() as f64;
            assert!((variance * 2700.0 - 1.0).abs() < 0.02, "{variance}");
            write(2);
            assert_ne!(first, read());
        }
    }
}
