//! Drawing of one sprite: images with transparency, scaled and recoloured.

use super::attributes::Colour;

/// A sprite ready to be pasted.
#[derive(Debug)]
pub(in crate::world) struct Stamp {
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
    /// `height * width` of red, green, blue, alpha; colours are premultiplied by alpha.
    pub rgba: Vec<[u8; 4]>,
}

/// An image with transparency: `height * width` of premultiplied RGBA, 0 to 1.
#[derive(Debug, Clone)]
pub(in crate::world) struct Layer {
    pub width: usize,
    pub height: usize,
    pub rgba: Vec<[f32; 4]>,
}

impl Layer {
    pub(in crate::world) fn cropped(&self) -> Self {
        let visible = |x: usize, y: usize| self.rgba[y * self.width + x][3] > 0.0;
        let columns: Vec<usize> = (0..self.width)
            .filter(|&x| (0..self.height).any(|y| visible(x, y)))
            .collect();
        let rows: Vec<usize> = (0..self.height)
            .filter(|&y| (0..self.width).any(|x| visible(x, y)))
            .collect();
        let (x0, y0) = (columns[0], rows[0]);
        let (width, height) = (columns[columns.len() - 1] - x0 + 1, rows[rows.len() - 1] - y0 + 1);
        let rgba = (0..height)
            .flat_map(|y| self.rgba[(y0 + y) * self.width + x0..][..width].iter().copied())
            .collect();
        Self { width, height, rgba }
    }

    /// Area average, so that the longer side has `size` pixels. On premultiplied colours: sharper filters leave dotted edges.
    pub(in crate::world) fn scaled(&self, size: usize) -> Self {
        let longer = self.width.max(self.height);
        let to = |side: usize| ((side * size + longer / 2) / longer).max(1);
        let (width, height) = (to(self.width), to(self.height));
        let (columns, rows) = (windows(self.width, width), windows(self.height, height));
        let mut rgba = Vec::with_capacity(width * height);
        for row in &rows {
            for column in &columns {
                let mut sum = [0.0; 4];
                for &(y, wy) in row {
                    for &(x, wx) in column {
                        let pixel = self.rgba[y * self.width + x];
                        for (s, p) in sum.iter_mut().zip(pixel) {
                            *s += wy * wx * p;
                        }
                    }
                }
                rgba.push(sum);
            }
        }
        Self { width, height, rgba }
    }

    /// Paints the layer in `colour`, keeping its shading: each pixel's brightness against the layer's own mean decides how far it
    /// goes from the colour's shade to black or to white. Light and dark art alike come out in the colour asked for, which
    /// changing hue or lightness alone does not give.
    pub(in crate::world) fn recolour(&mut self, colour: Colour) {
        let luma = |[r, g, b, _]: [f32; 4]| 0.299 * r + 0.587 * g + 0.114 * b; // premultiplied: luma * alpha
        let (sum, weight) = self
            .rgba
            .iter()
            .fold((0.0, 0.0), |(s, w), &p| (s + luma(p), w + p[3]));
        let mean = sum / weight;
        let shade = colour.shade();
        for pixel in &mut self.rgba {
            let alpha = pixel[3];
            if alpha == 0.0 {
                continue;
            }
            let mut d = (0.85 * (luma(*pixel) / alpha - mean)).clamp(-0.75, 0.75);
            match colour {
                Colour::Black => d = 0.55 * d.max(-0.1),
                Colour::White => d -= 0.06,
                _ => {}
            }
            for (value, base) in pixel.iter_mut().zip(shade) {
                let painted = if d < 0.0 {
                    base * (1.0 + d)
                } else {
                    base + (1.0 - base) * d.min(0.6)
                };
                *value = painted * alpha;
            }
        }
    }

    pub(in crate::world) fn stamp(&self) -> Stamp {
        let byte = |v: f32| (v * 255.0 + 0.5) as u8;
        Stamp {
            width: self.width,
            height: self.height,
            rgba: self.rgba.iter().map(|p| p.map(byte)).collect(),
        }
    }
}

/// For each of `to` equal windows over `from` pixels: the pixels it covers and their shares, which sum to 1.
fn windows(from: usize, to: usize) -> Vec<Vec<(usize, f32)>> {
    // In units of 1/to pixel, so that all borders are whole numbers.
    (0..to)
        .map(|i| {
            let (start, end) = (i * from, (i + 1) * from);
            (start / to..end.div_ceil(to))
                .map(|p| {
                    let covered = end.min((p + 1) * to) - start.max(p * to);
                    (p, covered as f32 / from as f32)
                })
                .collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_share_every_pixel_out() {
        for (from, to) in [(72, 30), (72, 18), (41, 26), (7, 7), (5, 3)] {
            let shares = windows(from, to);
            let mut given = vec![0.0; from];
            for window in &shares {
                let sum: f32 = window.iter().map(|w| w.1).sum();
                assert!((sum - 1.0).abs() < 1e-5, "{from} to {to}: a window sums to {sum}");
                for &(p, share) in window {
                    given[p] += share;
                }
            }
            let each = to as f32 / from as f32;
            assert!(
                given.iter().all(|g| (g - each).abs() < 1e-5),
                "{from} to {to}: {given:?}"
            );
        }
    }
}
