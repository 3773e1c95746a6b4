//! Pixels in the place of latents: squares of pixels moved into the channels (Shi et al. 2016, the inverse of their sub-pixel shuffle).
//!
//! It stands where MoVQ stands in Kandinsky 2.2, for images so small that no autoencoder is worth its weights: a UNet has fewer places to visit.
//! With `pool` 1 nothing is lost; above that, squares of `pool` x `pool` pixels become their mean first, and are drawn by bicubic interpolation in the
//! end: a UNet then draws at a fraction of the resolution. A pipeline with it has `pixel_space/config.json`, which no other program reads.
//!
//! Axes: batch; channels; h, w of the image; side = block x pool, the pixels along the side of a square.

use std::path::Path;

use burn::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::check::require;
use crate::nn::upscale_bicubic;
use crate::weights::{WeightsError, read_json, write_json};

const CLASS: &str = "PixelSpace";

/// The map between images and channels, and `config.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Map<String, Value>")]
pub struct PixelSpace {
    /// Side of a square, in pooled pixels.
    pub block: usize,
    /// Pixels along each side that become their mean; 1 keeps all.
    pub pool: usize,
    /// Channels of an image.
    pub picture_channels: usize,
}

impl PixelSpace {
    /// Squares of `block` x `block` pixels of a colour picture, each the mean of `pool` x `pool`.
    pub fn rgb(block: usize, pool: usize) -> Self {
        Self {
            block,
            pool,
            picture_channels: 3,
        }
    }

    /// Reads `dir/config.json`.
    ///
    /// # Errors
    /// [`WeightsError::Value`] for another class, an unknown key or a size of 0.
    pub fn read(dir: &Path) -> Result<Self, WeightsError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            _class_name: String,
            block: usize,
            pool: usize,
            picture_channels: usize,
        }
        let path = dir.join("config.json");
        let file: File = read_json(&path)?;
        let class = &file._class_name;
        require("_class_name", class == CLASS, CLASS, class).map_err(|invalid| invalid.at(path.display()))?;
        let sizes = [
            ("block", file.block),
            ("pool", file.pool),
            ("picture_channels", file.picture_channels),
        ];
        for (key, value) in sizes {
            require(key, value > 0, "at least 1", value).map_err(|invalid| invalid.at(path.display()))?;
        }
        Ok(Self {
            block: file.block,
            pool: file.pool,
            picture_channels: file.picture_channels,
        })
    }

    /// Writes `dir/config.json`.
    ///
    /// # Errors
    /// [`WeightsError::File`].
    pub fn save(&self, dir: &Path) -> Result<(), WeightsError> {
        crate::files::create_dir(dir)?;
        write_json(&dir.join("config.json"), self)
    }

    /// Channels of what [`PixelSpace::decode`] takes.
    pub fn channels(&self) -> usize {
        self.picture_channels * self.block * self.block
    }

    /// Pixels along the side of a square, before pooling.
    pub fn side(&self) -> usize {
        self.block * self.pool
    }

    /// `image`: `[batch, picture_channels, h, w]` -> `[batch, picture_channels block^2, h / side, w / side]`. Channels are ordered by the picture's
    /// channel, then by row and column in the square.
    ///
    /// # Panics
    /// If squares do not tile the image.
    pub fn encode(&self, image: Tensor<4>) -> Tensor<4> {
        let [batch, c, h, w] = image.dims();
        assert!(
            h.is_multiple_of(self.side()) && w.is_multiple_of(self.side()),
            "squares of {} pixels do not tile {h} x {w}",
            self.side()
        );
        let (image, h, w) = match self.pool {
            1 => (image, h, w),
            pool => {
                let pooled = image.reshape([batch, c, h / pool, pool, w / pool, pool]);
                let pooled = pooled.mean_dim(5).mean_dim(3);
                (pooled.reshape([batch, c, h / pool, w / pool]), h / pool, w / pool)
            }
        };
        let side = self.block;
        image
            .reshape([batch, c, h / side, side, w / side, side])
            .permute([0, 1, 3, 5, 2, 4])
            .reshape([batch, c * side * side, h / side, w / side])
    }

    /// The inverse of [`PixelSpace::encode`]; of what was pooled, an image that has about these means.
    ///
    /// # Panics
    /// If the channels are not [`PixelSpace::channels`].
    pub fn decode(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, channels, h, w] = x.dims();
        assert_eq!(channels, self.channels(), "channels of a square");
        let side = self.block;
        let image = x
            .reshape([batch, self.picture_channels, side, side, h, w])
            .permute([0, 1, 4, 2, 5, 3])
            .reshape([batch, self.picture_channels, h * side, w * side]);
        match self.pool {
            1 => image,
            _ => upscale_bicubic(image, [h * self.side(), w * self.side()], true),
        }
    }
}

impl From<PixelSpace> for Map<String, Value> {
    fn from(space: PixelSpace) -> Self {
        let entries = [
            ("_class_name", Value::from(CLASS)),
            ("block", space.block.into()),
            ("pool", space.pool.into()),
            ("picture_channels", space.picture_channels.into()),
        ];
        entries.into_iter().map(|(k, v)| (k.to_string(), v)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn squares_go_to_channels_and_back() {
        let device = Device::flex();
        let values: Vec<f32> = (0..2 * 3 * 4 * 6).map(|i| i as f32).collect();
        let image: Tensor<4> = Tensor::from_data(TensorData::new(values, [2, 3, 4, 6]), &device);
        let space = PixelSpace::rgb(2, 1);
        let x = space.encode(image.clone());
        assert_eq!(x.dims(), [2, space.channels(), 2, 3]);
        // Second image, green, the square's lower left pixel, second row, third column: pixel (3, 4).
        let at = |x: &Tensor<4>, [b, c, y, x_]: [usize; 4]| -> f32 {
            x.clone()
                .slice([b..b + 1, c..c + 1, y..y + 1, x_..x_ + 1])
                .into_scalar()
        };
        assert_eq!(at(&x, [1, 4 + 2, 1, 2]), at(&image, [1, 1, 3, 4]));
        assert_eq!(space.decode(x).into_data(), image.into_data());
    }

    /// Flat parts come back as they were, and a pooled pixel is a mean.
    #[test]
    fn pooled_pixels_are_means_and_flat_parts_are_kept() {
        let device = Device::flex();
        let values: Vec<f32> = (0..3 * 8 * 12)
            .map(|i| if i % 12 < 8 { 0.5 } else { -0.25 * (i % 2) as f32 })
            .collect();
        let image: Tensor<4> = Tensor::from_data(TensorData::new(values, [1, 3, 8, 12]), &device);
        let space = PixelSpace::rgb(2, 2);
        let x = space.encode(image.clone());
        assert_eq!(x.dims(), [1, 12, 2, 3]);
        let at = |x: &Tensor<4>, [c, y, x_]: [usize; 3]| -> f32 {
            x.clone()
                .slice([0..1, c..c + 1, y..y + 1, x_..x_ + 1])
                .into_scalar()
        };
        assert_eq!([at(&x, [5, 1, 1]), at(&x, [5, 1, 2])], [0.5, -0.125]);
        let back = space.decode(x);
        assert_eq!(back.dims(), image.dims());
        // Away from the edge.
        assert!((at(&back, [1, 3, 3]) - 0.5).abs() < 1e-6);
    }

    #[test]
    fn a_config_is_read_back_and_another_refused_by_name() {
        let dir = tempfile::tempdir().expect("a folder");
        PixelSpace::rgb(4, 2).save(dir.path()).expect("written");
        assert_eq!(PixelSpace::read(dir.path()).expect("read"), PixelSpace::rgb(4, 2));
        let cases = [
            (
                json!({"_class_name": "VQModel", "block": 2, "pool": 1, "picture_channels": 3}),
                "_class_name: expected PixelSpace, found VQModel",
            ),
            (
                json!({"_class_name": "PixelSpace", "block": 0, "pool": 1, "picture_channels": 3}),
                "block: expected at least 1, found 0",
            ),
            (
                json!({"_class_name": "PixelSpace", "block": 2, "pool": 1, "picture_channels": 3, "mean": 0.7}),
                "mean: unknown key",
            ),
        ];
        for (config, message) in cases {
            let path = dir.path().join("config.json");
            std::fs::write(&path, config.to_string()).expect("written");
            let error = PixelSpace::read(dir.path()).expect_err("refused").to_string();
            assert!(
                error.contains(message) && error.contains("config.json"),
                "{error}"
            );
        }
    }
}
