//! How far the [checker](crate::world::checker) can be trusted: its accuracy on true renders, which is the ceiling of every score that it gives, on
//! damaged ones, and how often it says of an image with one thing wrong that it is right.

use rayon::prelude::*;
use serde::Serialize;

use crate::noise::{Noise, Stream};
use crate::world::checker::{Checker, Reading, Verdict, verdict};
use crate::world::{Scene, Statement, VariantKind, World, variants};

/// What is done to a render before it is read. Lengths are pixels of an image of 64 x 64; in smaller ones they are as much smaller.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Damage {
    /// Nothing.
    None,
    /// Gaussian noise of this standard deviation; pixels are 0 to 1.
    Noise(f32),
    /// Gaussian blur of this standard deviation.
    Blur(f32),
    /// Scaled to half its size and back.
    Halved,
    /// As a JPEG of quality 30.
    Jpeg,
    /// Displaced by a smooth random field of this standard deviation: sprites are bent.
    Bend(f32),
    /// `Bend(1.5)`, then `Blur(1)`, then `Noise(.05)`: the most like what a small decoder leaves.
    Mixed,
}

impl Damage {
    /// All that is measured.
    pub const ALL: [Self; 11] = [
        Self::None,
        Self::Noise(0.05),
        Self::Noise(0.1),
        Self::Noise(0.2),
        Self::Blur(1.0),
        Self::Blur(2.0),
        Self::Halved,
        Self::Jpeg,
        Self::Bend(1.0),
        Self::Bend(2.0),
        Self::Mixed,
    ];

    /// Its name in tables of this world.
    pub fn name(self, world: World) -> String {
        let length = |v: f32| v * scale(world);
        let half = world.image_size() / 2;
        match self {
            Self::None => "true renders".to_owned(),
            Self::Noise(sigma) => format!("noise, sigma {sigma}"),
            Self::Blur(sigma) => format!("blur, radius {}", length(sigma)),
            Self::Halved => format!("{half} x {half} and back"),
            Self::Jpeg => "JPEG, quality 30".to_owned(),
            Self::Bend(sigma) => format!("bent by {} px", length(sigma)),
            Self::Mixed => "bent, blurred, noisy".to_owned(),
        }
    }

    /// The damaged image of this world.
    pub fn apply(self, world: World, pixels: &[u8], noise: &mut Noise) -> Vec<u8> {
        use image::imageops::{FilterType, blur, resize};
        let side = world.image_size() as u32;
        let image = || {
            image::RgbImage::from_raw(side, side, pixels.to_vec())
                .expect("an image has three bytes per pixel")
        };
        match self {
            Self::None => pixels.to_vec(),
            Self::Noise(sigma) => {
                let drawn = noise.normal_vec(pixels.len());
                let noisy = |(v, e): (&u8, f32)| (f32::from(*v) + 255.0 * sigma * e).round() as u8;
                pixels.iter().zip(drawn).map(noisy).collect()
            }
            Self::Blur(sigma) => blur(&image(), sigma * scale(world)).into_raw(),
            Self::Halved => {
                let half = resize(&image(), side / 2, side / 2, FilterType::Triangle);
                resize(&half, side, side, FilterType::Triangle).into_raw()
            }
            Self::Jpeg => {
                let mut bytes = Vec::new();
                image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 30)
                    .encode_image(&image())
                    .expect("memory takes all bytes");
                let format = image::ImageFormat::Jpeg;
                let read =
                    image::load_from_memory_with_format(&bytes, format).expect("what was just written");
                read.to_rgb8().into_raw()
            }
            Self::Bend(sigma) => bend(world.image_size(), pixels, sigma * scale(world), noise),
            Self::Mixed => [Self::Bend(1.5), Self::Blur(1.0), Self::Noise(0.05)]
                .iter()
                .fold(pixels.to_vec(), |pixels, damage| {
                    damage.apply(world, &pixels, noise)
                }),
        }
    }
}

/// Of lengths of an image of 64 x 64.
fn scale(world: World) -> f32 {
    world.image_size() as f32 / 64.0
}

/// Reads every pixel from elsewhere, by a displacement that is drawn on a coarse grid; bilinear throughout.
fn bend(side: usize, pixels: &[u8], sigma: f32, noise: &mut Noise) -> Vec<u8> {
    /// Knots of the grid along a side.
    const KNOTS: usize = 6;
    let drawn = noise.normal_vec(2 * KNOTS * KNOTS);
    let between = |value: &dyn Fn(usize, usize) -> f32, x: f32, y: f32, last: usize| {
        let (x0, y0) = ((x as usize).min(last - 1), (y as usize).min(last - 1));
        let (u, v) = (x - x0 as f32, y - y0 as f32);
        let row = |y: usize| value(x0, y) * (1.0 - u) + value(x0 + 1, y) * u;
        row(y0) * (1.0 - v) + row(y0 + 1) * v
    };
    let last = side - 1;
    let mut bent = Vec::with_capacity(pixels.len());
    for pixel in 0..side * side {
        let at = [pixel % side, pixel / side].map(|v| v as f32);
        let [x, y] = [0, 1].map(|axis| {
            let knot = |i: usize, j: usize| drawn[(axis * KNOTS + j) * KNOTS + i];
            let [gx, gy] = at.map(|v| v / last as f32 * (KNOTS - 1) as f32);
            (at[axis] + sigma * between(&knot, gx, gy, KNOTS - 1)).clamp(0.0, last as f32)
        });
        bent.extend([0, 1, 2].map(|channel| {
            let value = |i: usize, j: usize| f32::from(pixels[(j * side + i) * 3 + channel]);
            between(&value, x, y, last).round() as u8
        }));
    }
    bent
}

/// A share, and of how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct HitRate {
    /// How many did.
    pub hits: usize,
    /// How many could.
    pub n: usize,
}

impl HitRate {
    fn add(&mut self, hit: bool) {
        self.hits += usize::from(hit);
        self.n += 1;
    }

    fn with(self, other: Self) -> Self {
        Self {
            hits: self.hits + other.hits,
            n: self.n + other.n,
        }
    }

    /// The share, 0 if there is nothing to divide by.
    pub fn value(self) -> f64 {
        self.hits as f64 / self.n.max(1) as f64
    }
}

/// What was right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Accuracy {
    /// Main objects that were found.
    pub object: HitRate,
    /// Painted ones found in their colour.
    pub colour: HitRate,
    /// Ones with a texture found in it.
    pub texture: HitRate,
    /// Ones in the art's own colours found so.
    pub own_colours: HitRate,
    /// Images of two painted objects, in each of which both were found in their colours and textures.
    pub binding: HitRate,
    /// Images of two objects, in which their relation was read right.
    pub relation: HitRate,
    /// Images where as many main objects were found as there are.
    pub count: HitRate,
    /// Images that are wrong in one of the ways of [`WRONG`] and were not found so.
    pub wrong: [HitRate; WRONG.len()],
}

/// The ways in which [`Accuracy::wrong`] images are wrong.
pub const WRONG: [VariantKind; 5] = [
    VariantKind::Object,
    VariantKind::Colour,
    VariantKind::Texture,
    VariantKind::Binding,
    VariantKind::Relation,
];

impl Accuracy {
    fn with(mut self, other: Self) -> Self {
        self.object = self.object.with(other.object);
        self.colour = self.colour.with(other.colour);
        self.texture = self.texture.with(other.texture);
        self.own_colours = self.own_colours.with(other.own_colours);
        self.binding = self.binding.with(other.binding);
        self.relation = self.relation.with(other.relation);
        self.count = self.count.with(other.count);
        for (share, other) in self.wrong.iter_mut().zip(other.wrong) {
            *share = share.with(other);
        }
        self
    }

    fn add(&mut self, scene: &Scene, reading: &Reading) {
        let verdict = verdict(&Statement::describing(scene), reading);
        for (sprite, object) in scene.main().zip(&verdict.objects) {
            self.object.add(object.object);
            if let Some(right) = object.texture {
                self.texture.add(right);
            }
            match object.colour {
                Some(right) => self.colour.add(right),
                None => {
                    let mut seen = reading.objects.iter();
                    self.own_colours
                        .add(seen.any(|seen| seen.noun == sprite.noun && seen.colour.is_none()));
                }
            }
        }
        if let Some(right) = verdict.binding {
            self.binding.add(right);
        }
        if let Some(right) = verdict.relation {
            self.relation.add(right);
        }
        self.count.add(reading.objects.len() == scene.main().count());
    }
}

/// Whether the verdict overlooks what is wrong.
fn overlooks(kind: VariantKind, verdict: &Verdict) -> bool {
    match kind {
        VariantKind::Object => verdict.objects.iter().all(|o| o.object),
        VariantKind::Colour => verdict.objects.iter().all(|o| o.colour != Some(false)),
        VariantKind::Texture => verdict.objects.iter().all(|o| o.texture != Some(false)),
        VariantKind::Binding => verdict.binding == Some(true),
        VariantKind::Relation => verdict.relation == Some(true),
        VariantKind::Distractor => verdict.all(),
    }
}

/// Accuracy on `n` images of W with this damage, and on one image for each way in which each of them can be wrong. The images depend on the
/// seed alone.
pub fn accuracy(checker: &Checker, damage: Damage, n: usize, seed: u64) -> Accuracy {
    let world = checker.world();
    let one = |i: usize| {
        let mut noise = Noise::of(seed, Stream::CheckedImage(i as u64));
        let scene = world.scene_w(noise.rng());
        let said = Statement::describing(&scene);
        let wrong = variants(&scene, &said, noise.rng());
        let mut found = Accuracy::default();
        let mut read = |scene: &Scene| checker.read(&damage.apply(world, &scene.render(), &mut noise));
        found.add(&scene, &read(&scene));
        for (kind, share) in WRONG.into_iter().zip(&mut found.wrong) {
            if let Some(variant) = wrong.iter().find(|variant| variant.kind == kind) {
                share.add(overlooks(kind, &verdict(&said, &read(&variant.scene))));
            }
        }
        found
    };
    (0..n)
        .into_par_iter()
        .map(one)
        .reduce(Accuracy::default, Accuracy::with)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checker may be used for what it reads at .95 and better (true renders: .99), and it overlooks hardly anything.
    #[test]
    fn what_a_small_decoder_may_leave_does_not_blind_the_checker() {
        let checkers = World::ALL.map(Checker::new);
        let all = checkers
            .iter()
            .flat_map(|c| Damage::ALL.map(|damage| (c, damage)));
        for (checker, damage) in all {
            let world = checker.world();
            // Shapes are misread or overlooked in one of a hundred images or fewer: so few images as of emoji could not tell that from the bounds.
            let n = match (world, damage) {
                (World::Emoji, Damage::None) => 60,
                (World::Emoji, _) => 24,
                (World::Shapes, Damage::None) => 200,
                (World::Shapes, _) => 100,
            };
            let found = accuracy(checker, damage, n, 3);
            // 16 x 16 pixels do not hold a texture.
            let blind = world == World::Shapes && damage == Damage::Halved;
            let threshold = match damage {
                Damage::None => 0.99,
                _ if blind => 0.3,
                _ if world == World::Shapes => 0.85,
                // The two that are worse than any decoder should be.
                Damage::Bend(sigma) if sigma > 1.0 => 0.9,
                Damage::Noise(sigma) if sigma > 0.1 => 0.9,
                _ => 0.95,
            };
            let overlooked = if blind { 0.2 } else { 0.03 };
            for (name, share) in [
                ("object", found.object),
                ("colour", found.colour),
                ("texture", found.texture),
                ("own colours", found.own_colours),
                ("binding", found.binding),
                ("relation", found.relation),
            ] {
                let asked = match name {
                    "texture" => !world.textures().is_empty(),
                    "own colours" => world.has_own_colours(),
                    _ => true,
                };
                assert_eq!(share.n > 5, asked, "{world}, {name}: {share:?}");
                let found = share.value();
                assert!(
                    !asked || found >= threshold,
                    "{world}, {}, {name}: {share:?}",
                    damage.name(world)
                );
            }
            for (kind, share) in WRONG.into_iter().zip(found.wrong) {
                let asked = kind != VariantKind::Texture || !world.textures().is_empty();
                assert_eq!(share.n > 5, asked, "{world}, {kind:?}: {share:?}");
                assert!(
                    share.value() <= overlooked,
                    "{world}, {}, {kind:?}: {share:?}",
                    damage.name(world)
                );
            }
        }
    }

    #[test]
    fn damage_is_done_and_depends_on_the_seed_alone() {
        let all = World::ALL.map(|world| Damage::ALL.map(|damage| (world, damage)));
        for (world, damage) in all.into_iter().flatten() {
            let image = world.scene_w(Noise::new(1).rng()).render();
            let damaged = damage.apply(world, &image, &mut Noise::new(2));
            assert_eq!(damaged.len(), image.len());
            assert_eq!(damaged == image, damage == Damage::None, "{damage:?}");
            assert_eq!(
                damaged,
                damage.apply(world, &image, &mut Noise::new(2)),
                "{damage:?}"
            );
        }
    }
}
