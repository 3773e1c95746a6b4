//! What every sprite looks like to the checker: slightly blurred, and once more in coarse cells.

use super::super::nouns::{Colour, Noun};
use super::super::scene::{BYSTANDER_SIZE, MAIN_SIZES};
use super::super::sprite::stamp;

/// Pixels around a sprite that belong to its template: the blur reaches two.
pub(super) const MARGIN: usize = 3;
/// A coarse cell's side, in pixels.
pub(super) const CELL: usize = 4;
/// A coarse template's side, in cells. It holds the largest sprite, centred on a corner of cells.
pub(super) const WINDOW: usize = 8;
/// Paints of a noun: the art's own colours, then the eight colours.
pub(super) const N_PAINTS: usize = 1 + Colour::ALL.len();

/// Red, green, blue, alpha.
pub(super) type Rgba = [f32; 4];

/// A noun in a paint: what a template shows, but for its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    pub noun: Noun,
    /// `None`: the art's own colours.
    pub colour: Option<Colour>,
}

impl Look {
    /// All looks, by number.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        Noun::all().flat_map(|noun| {
            std::iter::once(None)
                .chain(Colour::ALL.map(Some))
                .map(move |colour| Self { noun, colour })
        })
    }

    /// Its number.
    pub(super) fn index(self) -> usize {
        self.noun.index() * N_PAINTS + self.colour.map_or(0, |colour| 1 + colour.index())
    }
}

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
        let stamp = stamp(look.noun, look.colour, size);
        let (width, height) = (stamp.width + 2 * MARGIN, stamp.height + 2 * MARGIN);
        let mut rgba = vec![[0.0; 4]; width * height];
        for (i, pixel) in stamp.rgba.iter().enumerate() {
            let (x, y) = (i % stamp.width + MARGIN, i / stamp.width + MARGIN);
            rgba[y * width + x] = pixel.map(|v| f32::from(v) / 255.0);
        }
        blur(&mut rgba, width);
        let offset = [stamp.width, stamp.height].map(|side| -((side / 2 + MARGIN) as isize));
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
    fn cells(&self) -> [Rgba; WINDOW * WINDOW] {
        let mut cells = [[0.0; 4]; WINDOW * WINDOW];
        let middle = (WINDOW * CELL / 2) as isize;
        for (i, pixel) in self.rgba.iter().enumerate() {
            let [x, y] = [i % self.width, i / self.width].map(|v| v as isize);
            let (x, y) = (x + self.offset[0] + middle, y + self.offset[1] + middle);
            let side = (WINDOW * CELL) as isize;
            if (0..side).contains(&x) && (0..side).contains(&y) {
                let cell = &mut cells[y as usize / CELL * WINDOW + x as usize / CELL];
                for (sum, v) in cell.iter_mut().zip(pixel) {
                    *sum += v / (CELL * CELL) as f32;
                }
            }
        }
        cells
    }
}

/// Binomial blur, 1 4 6 4 1 in both directions; zero outside.
pub(super) fn blur(pixels: &mut [Rgba], width: usize) {
    for _ in 0..2 {
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

/// The size of main sprites that the coarse search looks for.
const MIDDLE_SIZE: u8 = (*MAIN_SIZES.start() + *MAIN_SIZES.end()) / 2;

/// All sizes, the bystanders' first.
fn sizes() -> impl Iterator<Item = u8> + Clone {
    std::iter::once(BYSTANDER_SIZE).chain(MAIN_SIZES)
}

impl Bank {
    pub(super) fn new() -> Self {
        let templates: Vec<Template> = Look::all()
            .flat_map(|look| sizes().map(move |size| Template::new(look, size)))
            .collect();
        let coarse = [BYSTANDER_SIZE, MIDDLE_SIZE].map(|size| {
            let looks: Vec<_> = templates
                .iter()
                .filter(|t| t.size == size)
                .map(Template::cells)
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
            templates,
            coarse,
            faintest,
        }
    }

    /// The template of a look at one of the world's sizes.
    pub(super) fn get(&self, look: Look, size: u8) -> &Template {
        let scale = sizes().position(|s| s == size).expect("a size of the world");
        &self.templates[look.index() * sizes().count() + scale]
    }

    /// The smallest squared norm of all templates on the ground they are faintest on.
    pub(super) fn faintest(&self) -> f32 {
        self.faintest
    }

    pub(super) fn coarse(&self) -> &[Coarse] {
        &self.coarse
    }
}
