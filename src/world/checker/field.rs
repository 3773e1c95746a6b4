//! An image without its ground, and how well a template explains it.

use super::super::worlds::World;
use super::template::{Coarse, Rgba, Scale, Template, WINDOW, blur};

/// Cells along a side of the image, of every world.
const N_CELLS: usize = 16;
/// Cells around the image, so that windows may reach out of it.
const BORDER: usize = WINDOW / 2;
const STRIDE: usize = N_CELLS + 2 * BORDER;
/// Windows lie between cells; those nearest to the border are centred two cells inside.
const INSET: usize = 2;
/// Windows along a side of the image.
const N_WINDOWS: usize = N_CELLS + 1 - 2 * INSET;

/// An image minus its ground.
#[derive(Debug, Clone)]
pub(super) struct Field {
    scale: Scale,
    /// The ground's colour; the fourth is 1, as the ground's alpha.
    ground: Rgba,
    /// The difference to the ground, blurred as templates are; the fourth is 1 where the pixel counts and all four are 0 where not.
    pixels: Vec<Rgba>,
}

/// How a template lies on the field.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Match {
    /// Inner product of field and template.
    pub both: f32,
    /// Squared norm of the template.
    pub template: f32,
}

impl Match {
    /// By how much the field's squared norm falls when the template is taken away, as it is or somewhat paler.
    pub(super) fn gain(self) -> f32 {
        self.strength() * (2.0 * self.both - self.strength() * self.template)
    }

    /// How far the template stands out from noise of this variance on the blurred field: in standard deviations of its product with the field, if the
    /// field were noise. Blurring left only `kept` of the noise's variance, but all of its share in what is smooth.
    pub(super) fn signal(self, noise: f32, kept: f32) -> f32 {
        self.both / (self.template * noise / kept).sqrt().max(1e-6)
    }

    /// How pale the template is at its best.
    fn strength(self) -> f32 {
        const PALEST: f32 = 0.6;
        (self.both / self.template.max(1e-9)).clamp(PALEST, 1.0)
    }
}

impl Field {
    /// The image minus the median of each channel.
    ///
    /// # Panics
    /// If `image` has not [`World::image_bytes`] bytes.
    pub(super) fn new(world: World, image: &[u8]) -> Self {
        assert_eq!(image.len(), world.image_bytes(), "an image's bytes");
        let scale = Scale::of(world);
        let image = image.as_chunks::<3>().0;
        let [r, g, b] = std::array::from_fn(|channel| {
            let mut values: Vec<u8> = image.iter().map(|pixel| pixel[channel]).collect();
            let n = values.len() / 2;
            f32::from(*values.select_nth_unstable(n).1) / 255.0
        });
        let difference = |[red, green, blue]: &[u8; 3]| {
            let [red, green, blue] = [red, green, blue].map(|v| f32::from(*v) / 255.0);
            [red - r, green - g, blue - b, 1.0]
        };
        let mut pixels: Vec<Rgba> = image.iter().map(difference).collect();
        blur(&mut pixels, scale.side, scale.blur);
        for pixel in &mut pixels {
            pixel[3] = 1.0;
        }
        let mut field = Self {
            scale,
            ground: [r, g, b, 1.0],
            pixels,
        };
        field.level(|_| true);
        field
    }

    /// Corrects the ground: the median of what counts and is near to it becomes zero. Unlike the pixels' own median this allows for noise that
    /// is cut off at white.
    pub(super) fn level(&mut self, counts: impl Fn(usize) -> bool) {
        const NEAR: f32 = 0.1;
        let is_ground = |pixel: &Rgba| pixel[..3].iter().all(|v| v.abs() < NEAR);
        let ground: Vec<Rgba> = self
            .pixels
            .iter()
            .enumerate()
            .filter(|(i, p)| counts(*i) && is_ground(p))
            .map(|(_, p)| *p)
            .collect();
        if ground.is_empty() {
            return;
        }
        for channel in 0..3 {
            let mut values: Vec<f32> = ground.iter().map(|pixel| pixel[channel]).collect();
            let n = values.len() / 2;
            let median = *values.select_nth_unstable_by(n, f32::total_cmp).1;
            self.ground[channel] += median;
            for pixel in &mut self.pixels {
                pixel[channel] -= median * pixel[3];
            }
        }
    }

    /// What blurring leaves of the variance of noise.
    pub(super) fn kept_noise(&self) -> f32 {
        // The sum of the squares of 1 2 1 / 4, or of 1 4 6 4 1 / 16; squared, for two directions.
        let sum: f32 = if self.scale.blur == 1 { 0.375 } else { 0.2734 };
        sum * sum
    }

    /// Whether a pixel counts.
    pub(super) fn counts(&self, pixel: usize) -> bool {
        self.pixels[pixel][3] > 0.0
    }

    /// Lets no pixel count that the template at `centre` touches.
    pub(super) fn cover(&mut self, template: &Template, centre: [isize; 2]) {
        const TOUCHED: f32 = 0.002;
        let pixels = &mut self.pixels;
        each(self.scale.side, template, centre, 1, |from, to| {
            if template.rgba[from][3] > TOUCHED {
                pixels[to] = [0.0; 4];
            }
        });
    }

    /// The share of the template at `centre` that lies on pixels that count.
    pub(super) fn visible(&self, template: &Template, centre: [isize; 2]) -> f32 {
        let (mut all, mut seen) = (0.0_f32, 0.0_f32);
        each(self.scale.side, template, centre, 1, |from, to| {
            all += template.rgba[from][3];
            seen += template.rgba[from][3] * self.pixels[to][3];
        });
        seen / all.max(1e-6)
    }

    /// How the template lies on the field at `centre`, from every `step`th pixel in both directions.
    pub(super) fn compare(&self, template: &Template, centre: [isize; 2], step: usize) -> Match {
        let (mut both, mut own) = ([0.0_f32; 4], [0.0_f32; 4]);
        each(self.scale.side, template, centre, step, |from, to| {
            let (sprite, field) = (template.rgba[from], self.pixels[to]);
            for i in 0..4 {
                let value = sprite[i] - sprite[3] * self.ground[i];
                both[i] += field[i] * value;
                own[i] += field[3] * value * value;
            }
        });
        let scale = (step * step) as f32;
        Match {
            both: scale * both.iter().sum::<f32>(),
            template: scale * own.iter().sum::<f32>(),
        }
    }

    /// The gain of a template at `centre` that may be deformed a little: of every block of the field the part of the template counts that explains
    /// it best, from there or from nearby, but less is made of what comes from further away.
    pub(super) fn elastic_gain(&self, template: &Template, centre: [isize; 2]) -> f32 {
        /// What of the profit is lost at the far corner of the reach.
        const STIFFNESS: f32 = 0.5;
        let Scale { block, reach, .. } = self.scale;
        let rigid = self.compare(template, centre, 1);
        let strength = rigid.strength();
        let (width, height) = (template.width, template.height);
        // The template on this ground, with a border as wide as the reach; and the field below it.
        let stride = width + 2 * reach;
        let mut sprite = vec![[0.0_f32; 4]; stride * (height + 2 * reach)];
        for (y, row) in template.rgba.chunks_exact(width).enumerate() {
            for (to, value) in sprite[(y + reach) * stride + reach..].iter_mut().zip(row) {
                *to = std::array::from_fn(|i| strength * (value[i] - value[3] * self.ground[i]));
            }
        }
        let mut below = vec![[0.0_f32; 4]; width * height];
        each(self.scale.side, template, centre, 1, |from, to| {
            below[from] = self.pixels[to]
        });

        let mut gain = rigid.gain();
        for y0 in (0..height).step_by(block) {
            for x0 in (0..width).step_by(block) {
                let n = block.min(width - x0);
                let error = |dx: usize, dy: usize| -> f32 {
                    let mut sum = [0.0_f32; 4];
                    for y in y0..(y0 + block).min(height) {
                        let field = &below[y * width + x0..][..n];
                        let sprite = &sprite[(y + dy) * stride + x0 + dx..][..n];
                        for (f, s) in field.iter().zip(sprite) {
                            for i in 0..4 {
                                let off = f[i] - s[i];
                                sum[i] += f[3] * off * off;
                            }
                        }
                    }
                    // The fourth holds no colour.
                    sum[0] + sum[1] + sum[2]
                };
                let rigid = error(reach, reach);
                let mut profit = 0.0_f32;
                for dy in 0..=2 * reach {
                    for dx in 0..=2 * reach {
                        let far = (dx.abs_diff(reach).pow(2) + dy.abs_diff(reach).pow(2)) as f32;
                        let kept = 1.0 - STIFFNESS * far / (2 * reach * reach) as f32;
                        profit = profit.max(kept * (rigid - error(dx, dy)));
                    }
                }
                gain += profit;
            }
        }
        gain
    }

    /// Squared norm of the field within the template's frame, without what `noise` (its variance) adds to it.
    pub(super) fn energy(&self, template: &Template, centre: [isize; 2], noise: f32) -> f32 {
        let mut sum = 0.0;
        each(self.scale.side, template, centre, 1, |_, to| {
            let [r, g, b, counts] = self.pixels[to];
            sum += r * r + g * g + b * b - 3.0 * counts * noise;
        });
        sum
    }

    /// The variance of the ground, per value: from a low quantile of all that counts, as sprites do not reach so low.
    pub(super) fn noise(&self) -> f32 {
        // Of the absolute value of N(0, 1), at .2 of all pixels, if three in four are ground.
        const QUANTILE: f32 = 0.342;
        const MOST: f32 = 0.005;
        let mut values: Vec<f32> = self
            .pixels
            .iter()
            .filter(|pixel| pixel[3] > 0.0)
            .flat_map(|[r, g, b, _]| [r.abs(), g.abs(), b.abs()])
            .collect();
        if values.is_empty() {
            return 0.0;
        }
        let n = values.len() / 5;
        let (_, quantile, _) = values.select_nth_unstable_by(n, f32::total_cmp);
        (*quantile / QUANTILE).powi(2).min(MOST)
    }

    /// Cells with their border.
    pub(super) fn cells(&self) -> Cells {
        let Scale { side, cell, .. } = self.scale;
        let mut values = vec![[0.0; 3]; STRIDE * STRIDE];
        for (i, [r, g, b, _]) in self.pixels.iter().enumerate() {
            let (x, y) = (i % side / cell, i / side / cell);
            let sums = &mut values[(y + BORDER) * STRIDE + x + BORDER];
            for (sum, v) in sums.iter_mut().zip([r, g, b]) {
                *sum += v / (cell * cell) as f32;
            }
        }
        Cells {
            cell,
            ground: self.ground,
            values,
        }
    }
}

/// Calls `visit` with the index in the template and in the image (of this side) of every `step`th pixel of the template that is in the image.
fn each(
    side: usize,
    template: &Template,
    centre: [isize; 2],
    step: usize,
    mut visit: impl FnMut(usize, usize),
) {
    let side = side as isize;
    let [left, top] = [0, 1].map(|axis| centre[axis] + template.offset[axis]);
    // The first pixel inside, on the template's own lattice.
    let first = |start: isize| (-start).max(0).cast_unsigned().div_ceil(step) * step;
    let last = |start: isize, length: usize| (side - start).clamp(0, length as isize) as usize;
    let (x0, x1) = (first(left), last(left, template.width));
    let (y0, y1) = (first(top), last(top, template.height));
    for y in (y0..y1).step_by(step) {
        let from = y * template.width;
        let to = (top + y as isize) * side + left;
        for x in (x0..x1).step_by(step) {
            visit(from + x, (to + x as isize) as usize);
        }
    }
}

/// The field in coarse cells.
#[derive(Debug)]
pub(super) struct Cells {
    /// A cell's side, in pixels.
    cell: usize,
    ground: Rgba,
    values: Vec<[f32; 3]>,
}

/// Windows that are matched at once.
const BLOCK: usize = 4;

impl Cells {
    /// The windows where a sprite may be: their first cell's number. Windows with much less in them than a neighbour has are left out, as the
    /// neighbour holds whatever it is better.
    fn windows(&self, faintest: f32) -> Vec<usize> {
        const INNER: usize = WINDOW - 2;
        const REACH: usize = 3;
        const SHARE: f32 = 0.6;
        const FAINT: f32 = 0.02;
        let energy: Vec<f32> = self
            .values
            .iter()
            .map(|v| v.iter().map(|v| v * v).sum())
            .collect();
        let held: Vec<f32> = (0..N_WINDOWS * N_WINDOWS)
            .map(|window| {
                let start = first_cell(window) + STRIDE + 1;
                let rows = (0..INNER).map(|y| &energy[start + y * STRIDE..][..INNER]);
                rows.flatten().sum()
            })
            .collect();
        let largest = held.iter().copied().fold(0.0, f32::max);
        if largest * ((self.cell * self.cell) as f32) < faintest {
            return Vec::new();
        }
        let near = |at: usize| at.saturating_sub(REACH)..(at + REACH + 1).min(N_WINDOWS);
        (0..held.len())
            .filter(|&window| {
                let (x, y) = (window % N_WINDOWS, window / N_WINDOWS);
                let rows = near(y).map(|y| &held[y * N_WINDOWS..][near(x)]);
                let most = rows.flatten().copied().fold(0.0, f32::max);
                held[window] >= FAINT * largest && held[window] >= SHARE * most
            })
            .map(first_cell)
            .collect()
    }

    /// For each look the gain of its best window, and that window's centre in pixels. Nothing if no window's squared norm reaches `faintest`.
    pub(super) fn sweep(&self, coarse: &Coarse, faintest: f32) -> Vec<(f32, [isize; 2])> {
        let windows = self.windows(faintest);
        if windows.is_empty() {
            return Vec::new();
        }
        let n_looks = coarse.values.len() / (coarse.cells.len() * 4);
        // Templates on this ground: [cell][channel][look].
        let mut templates = Vec::with_capacity(coarse.cells.len() * 3 * n_looks);
        let mut own = vec![0.0_f32; n_looks];
        for cell in coarse.values.chunks_exact(4 * n_looks) {
            let (colours, alpha) = cell.split_at(3 * n_looks);
            for (colour, ground) in colours.chunks_exact(n_looks).zip(self.ground) {
                for ((c, a), sum) in colour.iter().zip(alpha).zip(&mut own) {
                    let value = c - a * ground;
                    *sum += value * value;
                    templates.push(value);
                }
            }
        }
        let mut best = vec![(f32::MIN, [0; 2]); n_looks];
        let mut sums = vec![0.0_f32; BLOCK * n_looks];
        for windows in windows.chunks(BLOCK) {
            sums.fill(0.0);
            let start: [usize; BLOCK] = std::array::from_fn(|j| windows[j.min(windows.len() - 1)]);
            for (cell, values) in coarse.cells.iter().zip(templates.chunks_exact(3 * n_looks)) {
                let [r, g, b] = [0, 1, 2].map(|i| &values[i * n_looks..][..n_looks]);
                for (sums, start) in sums.chunks_exact_mut(n_looks).zip(start) {
                    let [fr, fg, fb] = self.values[start + cell / WINDOW * STRIDE + cell % WINDOW];
                    for (((sum, r), g), b) in sums.iter_mut().zip(r).zip(g).zip(b) {
                        *sum += fr * r + fg * g + fb * b;
                    }
                }
            }
            for (window, sums) in windows.iter().zip(sums.chunks_exact(n_looks)) {
                let centre = [window % STRIDE, window / STRIDE].map(|v| (v * self.cell) as isize);
                for ((best, both), own) in best.iter_mut().zip(sums).zip(&own) {
                    let fit = Match {
                        both: *both,
                        template: *own,
                    };
                    let gain = fit.gain() * (self.cell * self.cell) as f32;
                    if gain > best.0 {
                        *best = (gain, centre);
                    }
                }
            }
        }
        best
    }
}

/// Where a window starts. As the border is half a window wide, this is also the image's cell at its centre.
fn first_cell(window: usize) -> usize {
    (window / N_WINDOWS + INSET) * STRIDE + window % N_WINDOWS + INSET
}
