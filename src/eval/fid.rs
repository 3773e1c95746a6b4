//! The Frechet inception distance (arXiv 1706.08500) as pytorch-fid and clean-fid (arXiv 2104.11222) compute it.
//!
//! The distance is that of [`crate::eval::frechet`]; what differs between tools, and between numbers that are called FID, is how an image becomes the
//! network's input ([`Resize`]) and which network it is ([`crate::models::inception`]). burn-train's FID is another one: it normalises with ImageNet's
//! mean and deviation, which these weights were not trained with, resizes with aligned corners, and takes the root by an iteration in f32.
//!
//! The distance of finite sets is too large by about a constant over their size: compare only numbers of the same size, or use [`infinity`].

use std::fmt;
use std::io::{Cursor, Read, Write};
use std::path::Path;
use std::str::FromStr;

use image::RgbImage;
use nalgebra::{DMatrix, DVector};
use npyz::{NpyFile, WriterBuilder};
use rand::seq::index::sample;

use super::frechet::{Frechet, Moments, frechet};
use super::{Embeddings, EvalError};
use crate::data::source::has_plain_header;
use crate::files::{self, FileError};
use crate::models::clip::preprocess::resize_bicubic_f32;
use crate::models::inception::SIDE;
use crate::noise::{Noise, Stream};

/// Images below which a covariance of 2,048 features cannot have full rank.
pub const FULL_RANK: usize = 2048;

/// How an image becomes the network's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Resize {
    /// pytorch-fid: values in 0..1, bilinear without antialiasing, twice minus one.
    #[default]
    PytorchFid,
    /// clean-fid `clean`: Pillow's bicubic filter in floating point, clipped, not rounded; `(x - 128) / 128`.
    Clean,
    /// clean-fid `legacy_pytorch`: values in 0..255, bilinear without antialiasing, clipped; `2 x / 255 - 1`.
    LegacyPytorch,
}

impl Resize {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::PytorchFid, Self::Clean, Self::LegacyPytorch];

    /// Name on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::PytorchFid => "pytorch-fid",
            Self::Clean => "clean",
            Self::LegacyPytorch => "legacy-pytorch",
        }
    }

    /// The resized image before it is shifted and scaled for the network, `[3, 299, 299]`: in 0..1 for [`Resize::PytorchFid`], else in 0..255.
    pub fn resized(self, image: &RgbImage) -> Vec<f32> {
        let (w, h) = (image.width() as usize, image.height() as usize);
        let plane = |channel: usize| -> Vec<f32> {
            let values = image.pixels().map(|p| f32::from(p.0[channel]));
            match self {
                // As torchvision's ToTensor: a division.
                Self::PytorchFid => values.map(|v| v / 255.0).collect(),
                Self::Clean | Self::LegacyPytorch => values.collect(),
            }
        };
        let mut out = Vec::with_capacity(3 * SIDE * SIDE);
        for channel in 0..3 {
            let plane = plane(channel);
            out.extend(match self {
                Self::Clean => resize_bicubic_f32(&plane, (w, h), (SIDE, SIDE)),
                Self::PytorchFid | Self::LegacyPytorch => bilinear(&plane, (w, h)),
            });
        }
        if self != Self::PytorchFid {
            out.iter_mut().for_each(|v| *v = v.clamp(0.0, 255.0));
        }
        out
    }

    /// The network's input, `[3, 299, 299]` in about -1..1.
    pub fn apply(self, image: &RgbImage) -> Vec<f32> {
        let mut values = self.resized(image);
        for v in &mut values {
            *v = match self {
                Self::PytorchFid => 2.0 * *v - 1.0,
                Self::Clean => (*v - 128.0) / 128.0,
                Self::LegacyPytorch => 2.0 * (*v / 255.0) - 1.0,
            };
        }
        values
    }
}

impl fmt::Display for Resize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Resize {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|mode| mode.name() == name);
        found.ok_or_else(|| format!("expected one of {}, found {name:?}", names()))
    }
}

/// `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)` of one channel to 299 x 299, in f32 as it computes on a CPU.
fn bilinear(values: &[f32], (w, h): (usize, usize)) -> Vec<f32> {
    let axis = |n: usize| -> Vec<(usize, usize, f32)> {
        let scale = n as f32 / SIDE as f32;
        (0..SIDE)
            .map(|x| {
                let at = (scale * (x as f32 + 0.5) - 0.5).max(0.0);
                let first = (at as usize).min(n - 1);
                (first, (first + 1).min(n - 1), at - first as f32)
            })
            .collect()
    };
    let (columns, rows) = (axis(w), axis(h));
    let mut out = Vec::with_capacity(SIDE * SIDE);
    for &(y0, y1, dy) in &rows {
        let (upper, lower) = (&values[y0 * w..(y0 + 1) * w], &values[y1 * w..(y1 + 1) * w]);
        for &(x0, x1, dx) in &columns {
            let along = |row: &[f32]| (1.0 - dx) * row[x0] + dx * row[x1];
            out.push((1.0 - dy) * along(upper) + dy * along(lower));
        }
    }
    out
}

/// Mean and covariance of the features of a set of images, as `.npz` files keep them.
#[derive(Debug, Clone, PartialEq)]
pub struct Statistics {
    /// Images; unknown for files of other tools.
    pub n: Option<usize>,
    /// The moments; their own count is 0 where it is unknown.
    pub moments: Moments,
}

impl Statistics {
    /// Of features, one row an image.
    ///
    /// # Errors
    /// [`EvalError::TooFew`] for less than two.
    pub fn of(features: &Embeddings) -> Result<Self, EvalError> {
        Ok(Self {
            n: Some(features.n()),
            moments: Moments::of(features)?,
        })
    }

    /// Reads `mu` and `sigma` (and `n`, where we wrote it) from an `.npz`.
    ///
    /// # Errors
    /// [`StatisticsError`], naming the file and the array.
    pub fn read(path: &Path) -> Result<Self, StatisticsError> {
        let mut archive = Npz::open(path)?;
        let (mu_shape, mu) = archive.floats("mu")?;
        let (shape, sigma) = archive.floats("sigma")?;
        let d = mu.len();
        if mu_shape != [d] || shape != [d, d] || d == 0 {
            return Err(archive.wrong(
                "sigma",
                format!("[d, d] for mu of [d], found {shape:?} for {mu_shape:?}"),
            ));
        }
        let n = match archive.has("n") {
            true => archive.floats("n")?.1.first().map(|n| *n as usize),
            false => None,
        };
        // Row by row, and symmetric.
        let moments = Moments::new(
            n.unwrap_or(0),
            DVector::from_vec(mu),
            DMatrix::from_row_slice(d, d, &sigma),
        );
        let moments = moments.map_err(|e| archive.wrong("sigma", e.to_string()))?;
        Ok(Self { n, moments })
    }

    /// Writes `mu`, `sigma` (both f64, as pytorch-fid and clean-fid read them) and `n`.
    ///
    /// # Errors
    /// [`FileError::Io`].
    pub fn write(&self, path: &Path) -> Result<(), FileError> {
        let d = self.moments.mean().len() as u64;
        let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let fail = |e: std::io::Error| FileError::Io {
            action: "write",
            path: path.to_path_buf(),
            source: e,
        };
        let covariance = self.moments.covariance();
        let arrays: [(&str, Vec<u64>, Vec<f64>); 2] = [
            ("mu", vec![d], self.moments.mean().iter().copied().collect()),
            ("sigma", vec![d, d], covariance.iter().copied().collect()),
        ];
        for (name, shape, values) in arrays {
            npy(&mut archive, name, &shape, &values).map_err(fail)?;
        }
        if let Some(n) = self.n {
            npy(&mut archive, "n", &[], &[n as f64]).map_err(fail)?;
        }
        let bytes = archive.finish().map_err(|e| fail(e.into()))?.into_inner();
        files::write_atomic(path, &bytes)
    }

    /// The distance to `reference`.
    ///
    /// # Errors
    /// Those of [`frechet`].
    pub fn distance(&self, reference: &Self) -> Result<Frechet, EvalError> {
        frechet(&self.moments, &reference.moments)
    }
}

fn npy(
    archive: &mut zip::ZipWriter<Cursor<Vec<u8>>>,
    name: &str,
    shape: &[u64],
    values: &[f64],
) -> std::io::Result<()> {
    archive.start_file(format!("{name}.npy"), zip::write::SimpleFileOptions::default())?;
    let mut bytes = Vec::new();
    let mut writer = npyz::WriteOptions::new()
        .default_dtype()
        .shape(shape)
        .writer(&mut bytes)
        .begin_nd()?;
    writer.extend(values.iter().copied())?;
    writer.finish()?;
    archive.write_all(&bytes)
}

/// Features of images, one row each: `feats` of an `.npz`, as clean-fid keeps them for KID.
///
/// # Errors
/// [`StatisticsError`], naming the file and the array.
pub fn npz_features(path: &Path) -> Result<Embeddings, StatisticsError> {
    let mut archive = Npz::open(path)?;
    let (shape, values) = archive.floats("feats")?;
    let [n, d] = shape[..] else {
        return Err(archive.wrong("feats", format!("expected [images, d], found {shape:?}")));
    };
    let values = values.into_iter().map(|v| v as f32).collect();
    Embeddings::new(n, d, values).map_err(|e| archive.wrong("feats", e))
}

/// An archive of arrays cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StatisticsError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// What is in it.
    #[error("{path}: {reason}")]
    Content {
        /// The file.
        path: std::path::PathBuf,
        /// The array, what was expected, what was found.
        reason: String,
    },
    /// Features of another network.
    #[error(
        "{path}: features of width {found}, but the network gives {expected}: expected a reference from the same network"
    )]
    Width {
        /// The file.
        path: std::path::PathBuf,
        /// Its width.
        found: usize,
        /// That of the network.
        expected: usize,
    },
}

/// Refuses a reference of width `found` from `path` for a network of width `expected`.
///
/// # Errors
/// [`StatisticsError::Width`].
pub fn check_width(path: &Path, found: usize, expected: usize) -> Result<(), StatisticsError> {
    match found == expected {
        true => Ok(()),
        false => Err(StatisticsError::Width {
            path: path.to_path_buf(),
            found,
            expected,
        }),
    }
}

/// Numpy's `.npz`: a zip archive of `.npy` files. npyz has a reader of its own, which would parse a header before its size can be looked at.
pub(super) struct Npz {
    path: std::path::PathBuf,
    archive: zip::ZipArchive<Cursor<Vec<u8>>>,
}

impl Npz {
    /// Opens `path`.
    pub(super) fn open(path: &Path) -> Result<Self, StatisticsError> {
        let bytes = files::read(path)?;
        let archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|e| StatisticsError::Content {
            path: path.to_path_buf(),
            reason: format!(
                "no zip archive: {e}; expected an .npz, with mu [d] and sigma [d, d] or with feats [images, d]"
            ),
        })?;
        Ok(Self {
            path: path.to_path_buf(),
            archive,
        })
    }

    fn wrong(&self, array: &str, reason: impl fmt::Display) -> StatisticsError {
        StatisticsError::Content {
            path: self.path.clone(),
            reason: format!("`{array}`: {reason}"),
        }
    }

    fn has(&self, array: &str) -> bool {
        self.archive.index_for_name(&format!("{array}.npy")).is_some()
    }

    /// An array of floats or whole numbers of any width and byte order, row by row: shape and values.
    pub(super) fn floats(&mut self, array: &str) -> Result<(Vec<usize>, Vec<f64>), StatisticsError> {
        if !self.has(array) {
            let names: Vec<String> = self.archive.file_names().flatten().map(Into::into).collect();
            let expected = match array {
                "feats" => "an .npz with feats [images, d], as clean-fid keeps for KID",
                _ => "an .npz with mu [d] and sigma [d, d], as pytorch-fid and clean-fid write them",
            };
            return Err(self.wrong(
                array,
                format!("not there, only {}; expected {expected}", names.join(", ")),
            ));
        }
        let mut bytes = Vec::new();
        let read = self
            .archive
            .by_name(&format!("{array}.npy"))
            .map_err(std::io::Error::from);
        // A small archive may claim any size.
        let read = read.and_then(|file| file.take(crate::limits::MAX_FILE).read_to_end(&mut bytes));
        read.map_err(|e| self.wrong(array, e))?;
        array_of(&bytes).map_err(|e| self.wrong(array, e))
    }
}

/// A `.npy` file: shape and values, row by row.
fn array_of(bytes: &[u8]) -> Result<(Vec<usize>, Vec<f64>), String> {
    fn values<T: npyz::Deserialize>(
        npy: NpyFile<&[u8]>,
        as_f64: impl Fn(T) -> f64,
    ) -> Result<Vec<f64>, String> {
        let data = npy.data::<T>().map_err(|e| e.to_string())?;
        data.map(|v| v.map(&as_f64).map_err(|e| e.to_string())).collect()
    }
    if !has_plain_header(&mut Cursor::new(bytes)).unwrap_or(false) {
        return Err("expected the header of an array of numbers".into());
    }
    let npy = NpyFile::new(bytes).map_err(|e| e.to_string())?;
    let shape: Vec<usize> = npy.shape().iter().map(|&n| n as usize).collect();
    let is_by_columns = npy.order() == npyz::Order::Fortran;
    let n = shape.iter().try_fold(1usize, |n, side| n.checked_mul(*side));
    if n.is_none_or(|n| n > bytes.len()) {
        return Err(format!("{shape:?} values in {} bytes", bytes.len()));
    }
    let kind = npy.dtype().descr();
    let kind: String = kind.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    let values = match kind.as_str() {
        "f8" => values::<f64>(npy, |v| v)?,
        "f4" => values::<f32>(npy, f64::from)?,
        "i8" => values::<i64>(npy, |v| v as f64)?,
        "i4" => values::<i32>(npy, f64::from)?,
        other => return Err(format!("expected f8 or f4, found the type {other}")),
    };
    let values = match shape[..] {
        [rows, columns] if is_by_columns => {
            let at = |i: usize| values[(i % columns) * rows + i / columns];
            (0..rows * columns).map(at).collect()
        }
        _ => values,
    };
    Ok((shape, values))
}

/// The distance extrapolated to infinitely many images (arXiv 1911.07023, "FID-infinity").
#[derive(Debug, Clone, PartialEq)]
pub struct Infinity {
    /// The intercept of the line through the distances of subsets over one through their size.
    pub distance: f64,
    /// `(images, distance)` of each subset.
    pub points: Vec<(usize, f64)>,
}

/// Extrapolates from `n_points` random subsets of `features`, from a tenth of them (at least two images) to all, to the reference's statistics.
///
/// # Errors
/// Those of [`Moments::of`] and [`frechet`].
pub fn infinity(
    features: &Embeddings,
    reference: &Statistics,
    n_points: usize,
    seed: u64,
) -> Result<Infinity, EvalError> {
    let (n, least) = (features.n(), (features.n() / 10).max(2));
    let mut points = Vec::with_capacity(n_points);
    for i in 0..n_points.max(2) {
        let size = least + (n - least) * i / (n_points.max(2) - 1);
        let mut draws = Noise::of(seed, Stream::Repetition(i as u64));
        let rows: Vec<usize> = sample(draws.rng(), n, size).into_vec();
        let part = Statistics::of(&features.select(&rows))?;
        points.push((size, part.distance(reference)?.distance));
    }
    Ok(Infinity {
        distance: intercept(&points),
        points,
    })
}

/// Least squares of the distances over one through the sizes, at 0.
fn intercept(points: &[(usize, f64)]) -> f64 {
    let n = points.len() as f64;
    let x = |size: usize| 1.0 / size as f64;
    let mean_x = points.iter().map(|(size, _)| x(*size)).sum::<f64>() / n;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / n;
    let covariance: f64 = points
        .iter()
        .map(|(size, y)| (x(*size) - mean_x) * (y - mean_y))
        .sum();
    let variance: f64 = points.iter().map(|(size, _)| (x(*size) - mean_x).powi(2)).sum();
    match variance > 0.0 {
        true => mean_y - covariance / variance * mean_x,
        false => mean_y,
    }
}
