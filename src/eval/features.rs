//! Images to features, batch by batch, and a cache of them by the images' content.

use std::path::{Path, PathBuf};

use image::RgbImage;
use rayon::prelude::*;

use super::{Embeddings, EvalError};
use crate::files::{self, FileError};
use crate::image_file::{self, ImageLimits, Pixels};
use crate::limits;

/// Images cannot be turned into features.
#[derive(Debug, thiserror::Error)]
pub enum FeatureError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// An image. A metric over the others would be the metric of another set.
    #[error("{path}: {reason}: mend or remove it, a score without it would be another set's")]
    Image {
        /// The file.
        path: PathBuf,
        /// Why it cannot be used.
        reason: String,
    },
    /// The network gives no numbers.
    #[error(
        "{path}: its features are not finite: the weights are broken, or the device computes wrongly (try --device flex)"
    )]
    NonFinite {
        /// The file.
        path: PathBuf,
    },
    /// Sizes.
    #[error(transparent)]
    Eval(#[from] EvalError),
}

/// A network that gives features of images.
pub trait Features {
    /// Identifies its features: weights, preprocessing, precision. Names a folder of the cache.
    fn identity(&self) -> String;

    /// Width of a feature.
    fn d(&self) -> usize;

    /// One image as the network's input.
    ///
    /// # Errors
    /// Why it cannot.
    fn prepare(&self, image: &RgbImage) -> Result<Vec<f32>, String>;

    /// An image file as the network's input, for networks to which transparency and palettes matter; others see its colours.
    ///
    /// # Errors
    /// Why it cannot.
    fn prepare_pixels(&self, image: &Pixels) -> Result<Vec<f32>, String> {
        self.prepare(&image.rgb)
    }

    /// `n` prepared images, one after the other -> `[n, d]`, row by row.
    fn forward(&self, prepared: Vec<f32>, n: usize) -> Vec<f32>;

    /// What the features of image `i` of a call depend on beside the image, such as questions about it: tells its entries in the cache apart.
    fn asked(&self, _i: usize) -> &str {
        ""
    }

    /// [`Features::forward`] of the images `which` of a call.
    fn forward_images(&self, prepared: Vec<f32>, which: &[usize]) -> Vec<f32> {
        self.forward(prepared, which.len())
    }
}

/// What `read` makes of each image and its number, in order. At most `batch` images are in memory; `on_images` is called with the number of images that are
/// done.
///
/// # Errors
/// [`FeatureError`], naming the image.
pub fn each_image<T: Send>(
    images: &[PathBuf],
    batch: usize,
    read: &(dyn Fn(usize, &RgbImage) -> Result<T, String> + Sync),
    on_images: &mut dyn FnMut(usize),
) -> Result<Vec<T>, FeatureError> {
    let mut found = Vec::with_capacity(images.len());
    for paths in images.chunks(batch.max(1)) {
        let first = found.len();
        let one = |(i, path): (usize, &PathBuf)| {
            decoded(path, &read_file(path)?, |image| read(first + i, &image.rgb))
        };
        let batch: Vec<T> = paths.par_iter().enumerate().map(one).collect::<Result<_, _>>()?;
        found.extend(batch);
        on_images(found.len());
    }
    Ok(found)
}

/// Limits of the images that are scored.
fn image_limits() -> ImageLimits {
    ImageLimits {
        min_side: 1,
        ..ImageLimits::default()
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, FileError> {
    files::read_at_most(path, image_limits().max_bytes, "an image file")
}

/// What `read` makes of the image in `bytes`, the content of `path`.
fn decoded<T>(
    path: &Path,
    bytes: &[u8],
    read: impl FnOnce(&Pixels) -> Result<T, String>,
) -> Result<T, FeatureError> {
    let image = image_file::decode_pixels(bytes, &image_limits()).map_err(|e| e.to_string());
    image
        .and_then(|image| read(&image))
        .map_err(|reason| FeatureError::Image {
            path: path.to_path_buf(),
            reason,
        })
}

/// A row of the cache, or else the network's input.
type Row = Result<Vec<f32>, Vec<f32>>;

/// The features of `images`, row by row. At most `batch` images are in memory. Features are kept below `cache`, if there is one, by network and by the hash
/// of the image's file, and are not computed again; `on_image` is called for every image, with whether its features were in the cache.
///
/// # Errors
/// [`FeatureError`], naming the image.
pub fn features(
    network: &(dyn Features + Sync),
    images: &[PathBuf],
    batch: usize,
    cache: Option<&Path>,
    on_image: &mut dyn FnMut(bool),
) -> Result<Embeddings, FeatureError> {
    let d = network.d();
    let folder = cache.map(|cache| {
        cache
            .join("features")
            .join(files::sha256(network.identity().as_bytes()))
    });
    if let Some(folder) = &folder {
        files::create_dir(folder)?;
    }
    let mut rows: Vec<f32> = Vec::with_capacity(images.len() * d);
    for paths in images.chunks(batch.max(1)) {
        let first = rows.len() / d;
        let read = |(i, path): (usize, &PathBuf)| -> Result<(Option<PathBuf>, Row), FeatureError> {
            let bytes = read_file(path)?;
            let entry = folder
                .as_ref()
                .map(|folder| folder.join(entry_name(&bytes, network.asked(first + i))));
            if let Some(known) = entry.as_ref().and_then(|entry| kept(entry, d)) {
                return Ok((entry, Ok(known)));
            }
            let prepared = decoded(path, &bytes, |image| network.prepare_pixels(image))?;
            Ok((entry, Err(prepared)))
        };
        let read: Vec<_> = paths.par_iter().enumerate().map(read).collect::<Result<_, _>>()?;
        let prepared: Vec<f32> = read
            .iter()
            .filter_map(|(_, r)| r.as_ref().err())
            .flatten()
            .copied()
            .collect();
        let new: Vec<usize> = (0..paths.len()).filter(|i| read[*i].1.is_err()).collect();
        let computed = if new.is_empty() {
            Vec::new()
        } else {
            let which: Vec<usize> = new.into_iter().map(|i| first + i).collect();
            network.forward_images(prepared, &which)
        };
        let mut computed = computed.chunks_exact(d);
        for (path, (entry, known)) in paths.iter().zip(read) {
            let was_there = known.is_ok();
            let row = match known {
                Ok(row) => row,
                Err(_) => computed.next().unwrap_or_default().to_vec(),
            };
            if row.len() != d || limits::not_finite(row.iter().copied()).is_some() {
                return Err(FeatureError::NonFinite { path: path.clone() });
            }
            if let (Some(entry), false) = (&entry, was_there) {
                let mut bytes: Vec<u8> = row.iter().flat_map(|v| v.to_le_bytes()).collect();
                bytes.extend(files::sha256(&bytes).into_bytes());
                files::write_atomic(entry, &bytes)?;
            }
            rows.extend(row);
            on_image(was_there);
        }
    }
    Ok(Embeddings::new(images.len(), d, rows)?)
}

/// The name of a row of the cache: of the content of an image, and what is asked about it.
fn entry_name(image: &[u8], asked: &str) -> String {
    let image = files::sha256(image);
    match asked {
        "" => format!("{image}.f32"),
        asked => format!("{image}-{}.f32", files::sha256(asked.as_bytes())),
    }
}

/// A row of the cache: its numbers, little-endian, and their SHA-256. `None` unless it is whole: it is computed again then.
fn kept(entry: &Path, d: usize) -> Option<Vec<f32>> {
    let bytes = std::fs::read(entry).ok()?;
    let (numbers, sha256) = bytes.split_at_checked(4 * d)?;
    let (values, _) = numbers.as_chunks::<4>();
    (sha256 == files::sha256(numbers).as_bytes())
        .then(|| values.iter().map(|b| f32::from_le_bytes(*b)).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Mean red and blue; remembers how many images it saw at a time.
    struct Means(Mutex<Vec<usize>>);

    impl Features for Means {
        fn identity(&self) -> String {
            "means".into()
        }

        fn d(&self) -> usize {
            2
        }

        fn prepare(&self, image: &RgbImage) -> Result<Vec<f32>, String> {
            let mean = |c: usize| {
                image.pixels().map(|p| f32::from(p.0[c])).sum::<f32>()
                    / (image.width() * image.height()) as f32
            };
            match image.width() {
                13 => Err("unlucky".into()),
                _ => Ok(vec![mean(0), mean(2)]),
            }
        }

        fn forward(&self, prepared: Vec<f32>, n: usize) -> Vec<f32> {
            self.0.lock().expect("no panic").push(n);
            prepared
                .into_iter()
                .map(|v| if v == 66.0 { f32::NAN } else { v })
                .collect()
        }
    }

    #[test]
    fn features_are_computed_once_and_wrong_images_are_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let write = |name: &str, width: u32, red: u8| {
            let path = dir.path().join(name);
            RgbImage::from_pixel(width, 2, image::Rgb([red, 0, 7]))
                .save(&path)
                .expect("written");
            path
        };
        let mut images: Vec<PathBuf> = (0..5).map(|i| write(&format!("{i}.png"), 3, i)).collect();
        let network = Means(Mutex::default());
        let run = |images: &[PathBuf]| {
            let mut there = Vec::new();
            let found = features(&network, images, 2, Some(dir.path()), &mut |was| there.push(was));
            found.map(|rows| (rows.values().to_vec(), there))
        };
        let (rows, there) = run(&images[..3]).expect("features");
        assert_eq!(
            (rows, there),
            (vec![0.0, 7.0, 1.0, 7.0, 2.0, 7.0], vec![false; 3])
        );
        // Renamed, it is the same image; others are new.
        std::fs::rename(&images[0], dir.path().join("a.png")).expect("renamed");
        images[0] = dir.path().join("a.png");
        let (rows, there) = run(&images).expect("features");
        assert_eq!(
            (rows[0], rows[8], there),
            (0.0, 4.0, vec![true, true, true, false, false])
        );
        assert_eq!(
            std::mem::take(&mut *network.0.lock().expect("no panic")),
            [2, 1, 1, 1]
        );
        // A damaged entry is computed again: one that is cut, and one whose numbers were changed.
        let cache: Vec<PathBuf> = files::list_folders(dir.path().join("features"))
            .and_then(|of_networks| files::list(&of_networks[0]))
            .expect("the cache");
        for damage in [
            |bytes: &mut Vec<u8>| bytes.truncate(5),
            |bytes: &mut Vec<u8>| bytes[0] ^= 1,
        ] {
            for entry in &cache {
                let mut bytes = files::read(entry).expect("an entry");
                damage(&mut bytes);
                std::fs::write(entry, bytes).expect("damaged");
            }
            let (again, there) = run(&images).expect("features");
            assert_eq!((again, there), (rows.clone(), vec![false; 5]));
        }
        let wrong = |path: PathBuf| run(&[path]).expect_err("wrong").to_string();
        assert!(wrong(write("wide.png", 13, 1)).contains("wide.png: unlucky: mend or remove it"));
        assert!(wrong(write("nan.png", 3, 66)).contains("nan.png: its features are not finite"));
        let broken = dir.path().join("broken.png");
        std::fs::write(&broken, "no image").expect("written");
        assert!(wrong(broken).contains("broken.png: "));
    }
}
