//! `frechet_*`, `npz`, `kid_*`, `clip_fid`: distances between sets of images, against pytorch-fid and clean-fid.

use std::collections::BTreeMap;

use image::RgbImage;

use super::{Array, Computed, Context, Outcome, Tolerance};
use crate::eval::Embeddings;
use crate::eval::fid::{Statistics, npz_features};
use crate::eval::frechet::{Frechet, Moments, frechet, frechet_of};
use crate::eval::kid::kid_of;
use crate::files;
use crate::models::clip::ImageEncoder;
use crate::models::clip::preprocess::{Cut, read_image};

/// Why a golden cannot be computed.
pub(super) type Failed = Box<dyn std::error::Error + Send + Sync>;

/// A scalar, compared with a bound of its own.
pub(super) fn scalar(name: &str, value: f64, bound: f64) -> Computed {
    Computed::new(
        format!("out.{name}"),
        Array::f64([], vec![value]),
        Tolerance::Reach(bound),
    )
}

/// Mean and unbiased deviation, in f64.
pub(super) fn mean_std<T: Copy + Into<f64>>(values: &[T]) -> [f64; 2] {
    let n = values.len() as f64;
    let mean = values.iter().map(|v| (*v).into()).sum::<f64>() / n;
    let square: f64 = values.iter().map(|v| ((*v).into() - mean).powi(2)).sum();
    [mean, (square / (n - 1.0)).sqrt()]
}

/// All images of a folder, by name.
fn folder(context: &Context, name: &str) -> Result<Vec<RgbImage>, Failed> {
    let files = files::list(context.root().join(name))?;
    files.iter().map(|file| Ok(read_image(file)?)).collect()
}

/// The distances that a golden has, computed from `by_moments` (eigenvalues of covariances) and, where there are features, from these.
fn distances(context: &Context, by_moments: &Frechet, by_rows: Option<&Frechet>) -> Vec<Computed> {
    let best = by_rows.unwrap_or(by_moments).distance;
    let size = best.abs().max(1.0);
    // Where covariances are singular the reference itself is this far off.
    let off = |key: &str| {
        let table = context
            .info("abs_diff_to_best")
            .ok()
            .and_then(|table| table.get(key));
        table.and_then(serde_json::Value::as_f64).unwrap_or(2e-7 * size)
    };
    let trace = (by_moments.reference_variance + by_moments.variance - by_moments.covariance_term) / 2.0;
    let mut computed = vec![
        scalar("official_sqrtm", best, 1e-9 * size + 2.0 * off("official_sqrtm")),
        scalar(
            "fid_eigh",
            by_moments.distance,
            1e-9 * size + 4.0 * off("fid_eigh"),
        ),
        scalar("tr_sqrt_eigh", trace, 1e-9 * size + 4.0 * off("fid_eigh")),
        scalar("fid_60digits", best, 1e-9 * size),
        scalar("fid_svd", best, 1e-6 * size),
    ];
    computed.retain(|c| context.golden().contains_key(&c.name));
    computed
}

fn rows(context: &Context, name: &str) -> Result<Embeddings, Failed> {
    let array = context.input(name)?;
    let values = array.to_f64().into_iter().map(|v| v as f32).collect();
    Ok(Embeddings::new(array.shape[0], array.shape[1], values)?)
}

fn moments_of(mean: &Array, covariance: &Array) -> Result<Moments, Failed> {
    let d = mean.to_f64().len();
    let (mean, covariance) = (mean.to_f64(), covariance.to_f64());
    Ok(Moments::new(
        0,
        nalgebra::DVector::from_vec(mean),
        nalgebra::DMatrix::from_row_slice(d, d, &covariance),
    )?)
}

/// Mean and covariance, to rounding.
fn told_moments(context: &Context, moments: &Moments, [mean, covariance]: [&str; 2]) -> Vec<Computed> {
    let d = moments.mean().len();
    let bound = Tolerance::Reach(1e-12 * moments.covariance().amax().max(moments.mean().amax()).max(1.0));
    let mut computed = vec![
        Computed::new(
            mean,
            Array::f64([d], moments.mean().iter().copied().collect()),
            bound,
        ),
        Computed::new(
            covariance,
            Array::f64([d, d], moments.covariance().iter().copied().collect()),
            bound,
        ),
    ];
    computed.retain(|c| context.golden().contains_key(&c.name));
    computed
}

/// A distance, its statistics from features or given.
pub(super) fn frechet_case(context: &Context) -> Outcome {
    if !context.golden().contains_key("in.features_1") {
        let moments = |i: usize| {
            moments_of(
                context.input(&format!("in.mu_{i}"))?,
                context.input(&format!("in.sigma_{i}"))?,
            )
        };
        return Ok(distances(context, &frechet(&moments(1)?, &moments(2)?)?, None));
    }
    let (a, b) = (rows(context, "in.features_1")?, rows(context, "in.features_2")?);
    let (ma, mb) = (Moments::of(&a)?, Moments::of(&b)?);
    let mut computed = distances(context, &frechet(&ma, &mb)?, Some(&frechet_of(&a, &b)?));
    computed.extend(told_moments(context, &ma, ["out.mu_1", "out.sigma_1"]));
    computed.extend(told_moments(context, &mb, ["out.mu_2", "out.sigma_2"]));
    Ok(computed)
}

/// The summary repeats the cases; that it repeats them truly is all there is to see.
pub(super) fn frechet_table(context: &Context) -> Outcome {
    let mut computed = Vec::new();
    let mut cases: BTreeMap<String, Vec<Computed>> = BTreeMap::new();
    for name in context.golden().keys() {
        let mut parts = name.splitn(3, '.');
        let (Some("cases"), Some(case), Some(value)) = (parts.next(), parts.next(), parts.next()) else {
            context.set_aside(name);
            continue;
        };
        if !cases.contains_key(case) {
            let fixture = super::Fixture::open(context.root())??;
            let golden = fixture.context(&format!("frechet_{case}"), context.device())?;
            cases.insert(case.to_owned(), frechet_case(&golden)?);
        }
        let wanted = format!("out.{value}");
        match cases[case].iter().find(|c| c.name == wanted) {
            Some(found) => computed.push(Computed {
                name: name.clone(),
                ..found.clone()
            }),
            None => context.set_aside(name),
        }
    }
    Ok(computed)
}

/// Archives in every spelling of numpy's.
pub(super) fn archives(context: &Context) -> Outcome {
    let dir = context.root().join("npz");
    let mut computed = Vec::new();
    for name in context.info_as::<Vec<String>>("files")? {
        if !name.starts_with("stats_") || name == "stats_other.npz" {
            continue;
        }
        let moments = Statistics::read(&dir.join(&name))?.moments;
        let single = if name.contains("f32") { 1e-6 } else { 0.0 };
        for mut c in told_moments(context, &moments, ["out.mu", "out.sigma"]) {
            c.tolerance = Tolerance::Reach(single * c.array.max_abs());
            computed.push(c);
        }
    }
    let [a, b] = context.info_as::<[String; 2]>("pair")?;
    let (a, b) = (Statistics::read(&dir.join(a))?, Statistics::read(&dir.join(b))?);
    computed.extend(distances(context, &a.distance(&b)?, None));
    let features = npz_features(&dir.join("kid_feats.npz"))?;
    let array = Array::f32([features.n(), features.d()], features.values().to_vec());
    computed.push(Computed::new("out.feats", array, Tolerance::Exact));
    Ok(computed)
}

/// KID of given subsets.
pub(super) fn kid(context: &Context) -> Outcome {
    let (a, b) = (rows(context, "in.feats1")?, rows(context, "in.feats2")?);
    let index = |name: &str| -> Result<Vec<Vec<usize>>, Failed> {
        let size = context.input(name)?.shape[1];
        let all: Vec<usize> = context.whole_numbers(name)?.iter().map(|i| *i as usize).collect();
        Ok(all.chunks(size).map(<[usize]>::to_vec).collect())
    };
    let subsets: Vec<_> = index("in.subset_index_feats1")?
        .into_iter()
        .zip(index("in.subset_index_feats2")?)
        .collect();
    let (value, each) = kid_of(&a, &b, &subsets)?;
    let size = value.abs().max(1.0);
    let rounding = context.reference_noise("out.kid").unwrap_or_default();
    Ok(vec![
        scalar("kid_official_f64", value, 1e-12 * size),
        scalar("kid_official_f32", value, 4.0 * rounding + 1e-7 * size),
        Computed::new(
            "out.per_subset_f64",
            Array::f64([each.len()], each),
            Tolerance::Reach(1e-11 * size),
        ),
    ])
}

/// CLIP-FID, as clean-fid has it.
pub(super) fn clip_fid(context: &Context) -> Outcome {
    let encoder = ImageEncoder::load(
        &context.folder_named(&context.info_as::<String>("model")?)?,
        context.device(),
    )?;
    compared_folders(context, |images| {
        let pixels = images
            .iter()
            .map(|image| encoder.preprocess().apply_cut(image, Cut::Even));
        let pixels = pixels.collect::<Result<Vec<_>, _>>()?.concat();
        let features = encoder.encode_pixels(pixels);
        let [n, d] = features.dims();
        Ok(Embeddings::new(
            n,
            d,
            features.into_data().iter::<f32>().collect(),
        )?)
    })
}

/// Features of both folders, their moments, and the distance, from the golden's own features: the network's rounding is compared by itself.
pub(super) fn compared_folders(
    context: &Context,
    features: impl Fn(Vec<RgbImage>) -> Result<Embeddings, Failed>,
) -> Outcome {
    let names: [String; 2] = context.info_as("folders")?;
    let mut computed = Vec::new();
    for (name, which) in names.iter().zip(["a", "b"]) {
        let found = features(folder(context, name)?)?;
        let shape = [found.n(), found.d()];
        let array = Array::f32(shape, found.values().to_vec());
        computed.push(Computed::new(
            format!("out.features_{which}"),
            array,
            Tolerance::Float,
        ));
    }
    let golden = |which: &str| rows(context, &format!("out.features_{which}"));
    let (a, b) = (golden("a")?, golden("b")?);
    let (ma, mb) = (Moments::of(&a)?, Moments::of(&b)?);
    computed.extend(told_moments(context, &ma, ["out.mu_a", "out.sigma_a"]));
    computed.extend(told_moments(context, &mb, ["out.mu_b", "out.sigma_b"]));
    computed.extend(distances(
        context,
        &frechet(&ma, &mb)?,
        Some(&frechet_of(&a, &b)?),
    ));
    Ok(computed)
}
