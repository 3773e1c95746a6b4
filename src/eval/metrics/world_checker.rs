//! `world-checker`: what the checker of a built-in world finds in any folder of images of it. The shares are those of `picture/*` for the same images.

use std::collections::BTreeMap;

use serde_json::json;

use super::checked_images::{ALL, shares};
use super::family::{Family, Source};
use super::image_set::{ImageMetric, ImageMetricError, ImageOption, ImageSet, Measured};
use super::info::MetricInfo;
use crate::eval::image_folder;
use crate::files;
use crate::world::checker::{Checker, Verdict, verdict};
use crate::world::{Statement, World};

pub(super) const FAMILY: Family = Family {
    rows: &[MetricInfo::higher(
        "world-checker",
        "Share of images in which the checker of a built-in world finds everything that the prompt asks for",
        "share of images",
    )],
    source: Source::ImageFolder(&WorldChecker),
};

struct WorldChecker;

impl ImageMetric for WorldChecker {
    fn options(&self) -> &'static [ImageOption] {
        &[ImageOption::World]
    }

    fn measure(&self, images: &ImageSet<'_>) -> Result<Measured, ImageMetricError> {
        let world = images.options.world;
        let prompts = image_folder::prompts(&images.images)?;
        let parse = |(prompt, image): (&String, &image_folder::ImageFile)| {
            let unknown = || ImageMetricError::Prompt {
                path: image.path.clone(),
                prompt: prompt.clone(),
                world,
            };
            world.parse(prompt).ok_or_else(unknown)
        };
        let statements = prompts.iter().zip(&images.images).map(parse);
        let statements: Vec<Statement> = statements.collect::<Result<_, _>>()?;
        let checker = Checker::new(world);
        let verdicts: Vec<Verdict> = images.each(&|row, image| {
            fits(world, image.width(), image.height())?;
            Ok(verdict(&statements[row], &checker.read(image.as_raw())))
        })?;
        let protocol = BTreeMap::from([
            ("world".to_owned(), json!(world.name())),
            (
                "prompts_sha256".to_owned(),
                json!(files::sha256(prompts.join("\n").as_bytes())),
            ),
        ]);
        let mut measured = Measured::default();
        for (name, values) in shares(&verdicts) {
            let asked: Vec<f64> = values.into_iter().flatten().collect();
            if asked.is_empty() {
                continue;
            }
            let n = asked.len();
            let mean = Measured::mean(asked, BTreeMap::new());
            if name == ALL {
                // Every image has this one.
                (measured.value, measured.each) = (mean.value, mean.each);
            } else {
                measured.also.insert(name.to_owned(), mean.value);
                measured.also.insert(format!("{name}, images"), n as f64);
            }
        }
        Ok(Measured { protocol, ..measured })
    }
}

/// Fails unless an image has the size of the world's.
fn fits(world: World, width: u32, height: u32) -> Result<(), String> {
    let side = world.image_size() as u32;
    match (width, height) == (side, side) {
        true => Ok(()),
        false => Err(format!(
            "expected {side} x {side} pixels, as images of the world {world} have, found {width} x {height}"
        )),
    }
}
