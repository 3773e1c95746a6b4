//! Stored numbers to numbers in memory, in one pass over a mapped file: another precision, and transposed where our axes are the other way.

use burn::tensor::{DType, TensorData};
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use half::{bf16, f16};
use rayon::prelude::*;

/// Values converted at once; a transposed block of them stays in the first-level cache.
const CHUNK: usize = 4096;
/// Sides of the blocks of a transposition: source columns, source rows.
const TILE: [usize; 2] = [64, 16];

/// `bytes` in little-endian `from`, `shape` row by row -> data of dtype `to`; a matrix with its axes swapped if `transposed`. `None` for dtypes
/// other than f64, f32, f16 and bf16 (and f64 as a target).
pub(super) fn convert(
    bytes: &[u8],
    from: DType,
    shape: &[usize],
    to: DType,
    transposed: bool,
) -> Option<TensorData> {
    let decode: Decode = match from {
        DType::F64 => |bytes, to| {
            for (x, b) in to.iter_mut().zip(bytes.as_chunks().0) {
                *x = f64::from_le_bytes(*b) as f32;
            }
        },
        DType::F32 => |bytes, to| {
            for (x, b) in to.iter_mut().zip(bytes.as_chunks().0) {
                *x = f32::from_le_bytes(*b);
            }
        },
        DType::F16 => |bytes, to| {
            with_bits(bytes, |bits, at| {
                let bits: &[f16] = bits.reinterpret_cast();
                bits.convert_to_f32_slice(&mut to[at..at + bits.len()]);
            })
        },
        DType::BF16 => |bytes, to| {
            with_bits(bytes, |bits, at| {
                let bits: &[bf16] = bits.reinterpret_cast();
                bits.convert_to_f32_slice(&mut to[at..at + bits.len()]);
            })
        },
        _ => return None,
    };
    let source = Source {
        bytes,
        size: from.size(),
        decode,
    };
    let (rows, columns) = match (transposed, shape) {
        (true, &[rows, columns]) => (rows, columns),
        _ => (1, shape.iter().product()),
    };
    let shape = match transposed {
        true => vec![columns, rows],
        false => shape.to_vec(),
    };
    Some(match to {
        DType::F32 => TensorData::new(source.matrix(rows, columns, |x, to| to.copy_from_slice(x)), shape),
        DType::F16 => {
            let half = |x: &[f32], to: &mut [f16]| to.convert_from_f32_slice(x);
            TensorData::new(source.matrix(rows, columns, half), shape)
        }
        DType::BF16 => {
            let half = |x: &[f32], to: &mut [bf16]| to.convert_from_f32_slice(x);
            TensorData::new(source.matrix(rows, columns, half), shape)
        }
        _ => return None,
    })
}

/// Decodes as many values as there are.
type Decode = fn(&[u8], &mut [f32]);

/// Hands over the 16-bit words of `bytes`, some at a time, with the number of words before them.
fn with_bits(bytes: &[u8], mut see: impl FnMut(&[u16], usize)) {
    let mut words = [0; TILE[0]];
    for (i, chunk) in bytes.as_chunks::<2>().0.chunks(words.len()).enumerate() {
        for (word, b) in words.iter_mut().zip(chunk) {
            *word = u16::from_le_bytes(*b);
        }
        see(&words[..chunk.len()], i * TILE[0]);
    }
}

struct Source<'a> {
    bytes: &'a [u8],
    /// Bytes of a value.
    size: usize,
    decode: Decode,
}

impl Source<'_> {
    /// The values from `start` on, as many as there is room for.
    fn read(&self, start: usize, to: &mut [f32]) {
        let bytes = start * self.size..(start + to.len()) * self.size;
        (self.decode)(&self.bytes[bytes], to);
    }

    /// `rows` x `columns`, read with the columns as rows; one row is read as it stands.
    fn matrix<T: Default + Clone + Copy + Send + Sync>(
        &self,
        rows: usize,
        columns: usize,
        encode: impl Fn(&[f32], &mut [T]) + Sync,
    ) -> Vec<T> {
        let mut out = vec![T::default(); rows * columns];
        if rows <= 1 || columns <= 1 {
            out.par_chunks_mut(CHUNK).enumerate().for_each(|(i, out)| {
                let mut values = [0.0; CHUNK];
                let values = &mut values[..out.len()];
                self.read(i * CHUNK, values);
                encode(values, out);
            });
            return out;
        }
        // Each task makes the output rows of some source columns.
        out.par_chunks_mut(TILE[0] * rows)
            .enumerate()
            .for_each(|(i, out)| {
                let first = i * TILE[0];
                let width = out.len() / rows;
                let (mut values, mut line) = ([[0.0; TILE[0]]; TILE[1]], [0.0; TILE[1]]);
                for top in (0..rows).step_by(TILE[1]) {
                    let height = TILE[1].min(rows - top);
                    for (r, values) in values[..height].iter_mut().enumerate() {
                        let start = (top + r) * columns + first;
                        self.read(start, &mut values[..width]);
                    }
                    for (c, out) in out.chunks_mut(rows).enumerate() {
                        for (value, values) in line[..height].iter_mut().zip(&values) {
                            *value = values[c];
                        }
                        encode(&line[..height], &mut out[top..top + height]);
                    }
                }
            });
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every pair of dtypes, sizes around the blocks' edges, both ways round: as one value at a time has it.
    #[test]
    fn blocks_make_no_difference() {
        for [rows, columns] in [[1, 1], [1, 9000], [70, 1], [17, 63], [16, 64], [33, 130]] {
            let value = |i: usize| (i as f32 * 0.7).sin() * 3.0;
            for from in [DType::F64, DType::F32, DType::F16, DType::BF16] {
                let (mut bytes, mut stored) = (Vec::new(), Vec::new());
                for x in (0..rows * columns).map(value) {
                    let x = match from {
                        DType::F64 => {
                            bytes.extend(f64::from(x).to_le_bytes());
                            x
                        }
                        DType::F16 => {
                            bytes.extend(f16::from_f32(x).to_le_bytes());
                            f16::from_f32(x).to_f32()
                        }
                        DType::BF16 => {
                            bytes.extend(bf16::from_f32(x).to_le_bytes());
                            bf16::from_f32(x).to_f32()
                        }
                        _ => {
                            bytes.extend(x.to_le_bytes());
                            x
                        }
                    };
                    stored.push(x);
                }
                for to in [DType::F32, DType::F16, DType::BF16] {
                    let round = |x: f32| match to {
                        DType::F16 => f16::from_f32(x).to_f32(),
                        DType::BF16 => bf16::from_f32(x).to_f32(),
                        _ => x,
                    };
                    for transposed in [false, true] {
                        let data = convert(&bytes, from, &[rows, columns], to, transposed).expect("floats");
                        let at = |i: usize| match transposed {
                            true => stored[i % rows * columns + i / rows],
                            false => stored[i],
                        };
                        let expected: Vec<f32> = (0..rows * columns).map(|i| round(at(i))).collect();
                        assert_eq!(data.dtype(), to);
                        assert_eq!(
                            data.shape().to_vec(),
                            if transposed {
                                [columns, rows]
                            } else {
                                [rows, columns]
                            }
                        );
                        assert_eq!(
                            data.iter::<f32>().collect::<Vec<_>>(),
                            expected,
                            "{from:?} {to:?} {rows} x {columns}"
                        );
                    }
                }
            }
        }
        assert!(convert(&[0; 8], DType::I64, &[1], DType::F32, false).is_none());
    }
}
