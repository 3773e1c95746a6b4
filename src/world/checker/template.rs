//! What every sprite looks like to the checker: slightly blurred, and once more in coarse cells.

use super::super::sprite::{Look, sizes, stamp};
use super::super::worlds::World;

/// Lengths, in pixels, that go with a world's image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scale {
    /// The image's side.
    pub side: usize,
    /// Rounds of blur: one in an image of 32 pixels, two in one of 64.
    pub blur: usize,
    /// Around a sprite: pixels that belong to its template. A round of blur reaches one.
    pub margin: usize,
    /// A coarse cell's side.
    pub cell: usize,
    /// How far blocks of an elastic template may move.
    pub reach: usize,
    /// Their side.
    pub block: usize,
}

impl Scale {
    pub(super) fn of(world: World) -> Self {
        let unit = world.unit();
        Self {
            side: world.image_size(),
            blur: unit,
            margin: unit + 1,
            cell: 2 * unit,
            reach: unit,
            block: 4 * unit,
        }
    }
}

/// A coarse template's side, in cells. It holds the largest sprite, centred on a corner of cells.
pub(super) const WINDOW: usize = 8;
/// Red, green, blue, alpha.
pub(super) type Rgba = [f32; 4];

/// A sprite with its margin, blurred as [`blur`] does.
#[derive(Debug)]
pub(super) struct Template {
    pub size: u8,
    pub width: usize,
    pub height: usize,
    /// From the sprite's centre to the template's left and top.
    pub offset: [isize; 2],
    /// `height * width`; colours are premultiplied by alpha.
    pub rgba: Vec<Rgba>,
}

impl Template {
    fn new(look: Look, size: u8) -> Self {
        let scale = Scale::of(look.noun.world());
        let margin = scale.margin;
        let stamp = stamp(look, size);
        let (width, height) = (stamp.width + 2 * margin, stamp.height + 2 * margin);
        let mut rgba = vec![[0.0; 4]; width * height];
        for (i, pixel) in stamp.rgba.iter().enumerate() {
            let (x, y) = (i % stamp.width + margin, i / stamp.width + margin);
            rgba[y * width + x] = pixel.map(|v| f32::from(v) / 255.0);
        }
        blur(&mut rgba, width, scale.blur);
        let offset = [stamp.width, stamp.height].map(|side| -((side / 2 + margin) as isize));
        Self {
            size,
            width,
            height,
            offset,
            rgba,
        }
    }

    /// Its squared norm on the lightest or the darkest ground of the world, whichever is less.
    fn faintest(&self) -> f32 {
        let norm = |ground: f32| -> f32 {
            let pixels = self
                .rgba
                .iter()
                .flat_map(|[r, g, b, a]| [r, g, b].map(|v| v - a * ground));
            pixels.map(|v| v * v).sum()
        };
        norm(0.7).min(norm(0.82))
    }

    /// Its mean over cells, its centre in the middle of the window.
    fn cells(&self, cell: usize) -> [Rgba; WINDOW * WINDOW] {
        let mut cells = [[0.0; 4]; WINDOW * WINDOW];
        let middle = (WINDOW * cell / 2) as isize;
        for (i, pixel) in self.rgba.iter().enumerate() {
            let [x, y] = [i % self.width, i / self.width].map(|v| v as isize);
            let (x, y) = (x + self.offset[0] + middle, y + self.offset[1] + middle);
            let side = (WINDOW * cell) as isize;
            if (0..side).contains(&x) && (0..side).contains(&y) {
                let sums = &mut cells[y as usize / cell * WINDOW + x as usize / cell];
                for (sum, v) in sums.iter_mut().zip(pixel) {
                    *sum += v / (cell * cell) as f32;
                }
            }
        }
        cells
    }
}

/// Binomial blur, 1 2 1 in both directions, so many times; zero outside.
pub(super) fn blur(pixels: &mut [Rgba], width: usize, rounds: usize) {
    for _ in 0..rounds {
        blur_once(pixels, width);
    }
}

fn blur_once(pixels: &mut [Rgba], width: usize) {
    let mix = |a: Rgba, b: Rgba, c: Rgba| std::array::from_fn(|i| 0.25 * (a[i] + c[i]) + 0.5 * b[i]);
    for row in pixels.chunks_exact_mut(width) {
        let mut before = [0.0; 4];
        for x in 0..width {
            let after = row.get(x + 1).copied().unwrap_or_default();
            let here = row[x];
            row[x] = mix(before, here, after);
            before = here;
        }
    }
    let height = pixels.len() / width;
    let mut before = vec![[0.0; 4]; width];
    for y in 0..height {
        for x in 0..width {
            let after = pixels.get((y + 1) * width + x).copied().unwrap_or_default();
            let here = pixels[y * width + x];
            pixels[y * width + x] = mix(before[x], here, after);
            before[x] = here;
        }
    }
}

/// All templates.
#[derive(Debug)]
pub(super) struct Bank {
    world: World,
    looks: Vec<Look>,
    templates: Vec<Template>,
    coarse: [Coarse; 2],
    faintest: f32,
}

/// Coarse templates of all looks at one size, so that one sweep over a window matches all of them.
#[derive(Debug)]
pub(super) struct Coarse {
    /// The size of sprites that they stand for.
    pub size: u8,
    /// Cells of the window in which any of them has something.
    pub cells: Vec<usize>,
    /// `[cell of cells][red, green, blue, alpha][look]`.
    pub values: Vec<f32>,
}

impl Bank {
    pub(super) fn new(world: World) -> Self {
        let looks: Vec<Look> = Look::all(world).collect();
        let templates: Vec<Template> = looks
            .iter()
            .flat_map(|&look| sizes(world).map(move |size| Template::new(look, size)))
            .collect();
        let cell = Scale::of(world).cell;
        let middle_size = (*world.main_sizes().start() + *world.main_sizes().end()) / 2;
        let coarse = [world.distractor_size(), middle_size].map(|size| {
            let looks: Vec<_> = templates
                .iter()
                .filter(|t| t.size == size)
                .map(|template| template.cells(cell))
                .collect();
            let cells: Vec<usize> = (0..WINDOW * WINDOW)
                .filter(|&cell| looks.iter().any(|look| look[cell][3] > 0.02))
                .collect();
            let mut values = Vec::with_capacity(cells.len() * 4 * looks.len());
            for &cell in &cells {
                for channel in 0..4 {
                    values.extend(looks.iter().map(|look| look[cell][channel]));
                }
            }
            Coarse { size, cells, values }
        });
        let faintest = templates
            .iter()
            .map(Template::faintest)
            .fold(f32::INFINITY, f32::min);
        Self {
            world,
            looks,
            templates,
            coarse,
            faintest,
        }
    }

    /// The template of a look at one of the world's sizes.
    pub(super) fn get(&self, look: Look, size: u8) -> &Template {
        let mut all = sizes(self.world);
        let n_sizes = all.clone().count();
        let scale = all.position(|s| s == size).expect("a size of the world");
        &self.templates[look.index() * n_sizes + scale]
    }

    pub(super) fn world(&self) -> World {
        self.world
    }

    /// All looks, by number.
    pub(super) fn looks(&self) -> &[Look] {
        &self.looks
    }

    /// The smallest squared norm of all templates on the ground they are faintest on.
    pub(super) fn faintest(&self) -> f32 {
        self.faintest
    }

    pub(super) fn coarse(&self) -> &[Coarse] {
        &self.coarse
    }
}
