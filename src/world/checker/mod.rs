//! The exact checker: what is in a picture of the world, from its pixels alone.
//!
//! Analysis by synthesis. The ground is the picture's median colour, and what differs from it is explained by sprites, one after the other. A
//! sprite's *gain* is by how much the squared norm of that difference falls when the sprite is taken away.
//!
//! 1. A coarse sweep (cells of four pixels) over all nouns, paints and places names candidates.
//! 2. A fine search over places and sizes decides between them, on pixels that are blurred as the templates are. The best one is covered up, and
//!    the next sprite looked for in what is left.
//! 3. Every sprite is decided anew with all others known. Here templates are elastic: their blocks may move by two pixels, so that a slightly
//!    deformed sprite is still taken for what it is.
//!
//! What no template resembles is not read. A [`Reading`] compares with a caption's [`Statement`](super::Statement) by [`verdict`].

mod field;
mod template;
mod verdict;

pub use verdict::{ObjectVerdict, Verdict, verdict};

use std::sync::OnceLock;

use self::field::Field;
use self::template::{Bank, Look, Template};
use super::nouns::{Colour, N_NOUNS, Noun};
use super::scene::{BYSTANDER_SIZE, MAIN_SIZES};
use super::sprite::stamp;

/// Score below which a sprite is not seen.
const MIN_SCORE: f32 = 0.6;
/// Share of a sprite that others may not cover.
const MIN_VISIBLE: f32 = 0.7;
/// Signal to noise ratio below which a sprite is not seen. The best of all templates and places reaches four and a half in noise alone.
const MIN_SIGNAL: f32 = 6.0;
/// Sprites that a picture is searched for.
const MAX_SPRITES: usize = 4;
/// Candidates that the coarse sweep hands on.
const N_COARSE: usize = 24;
/// Candidates that are compared pixel by pixel.
const N_FINE: usize = 8;

/// A sprite that the checker sees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seen {
    /// What it is.
    pub noun: Noun,
    /// Its colour; `None` is the art's own colouring.
    pub colour: Option<Colour>,
    /// Its longer side, in pixels.
    pub size: u8,
    /// Its middle: x from the left, y from the top, in pixels.
    pub centre: [u8; 2],
    /// How much of what is there it explains, 0 to 1; a true render has about 1. Things that the world cannot draw are often taken for the
    /// sprite that they resemble most, at a lower score.
    pub score: f32,
}

impl Seen {
    /// Whether it may be called so: it is painted in `colour`, or the art's own colours are much like it, as those of a sheep are white.
    pub fn looks(&self, colour: Colour) -> bool {
        match self.colour {
            Some(painted) => painted == colour,
            None => own_colour(self.noun) == Some(colour),
        }
    }
}

/// What the checker sees in a picture. Both lists are in the order in which the sprites stand out, and empty if nothing is found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reading {
    /// Main objects, of which captions speak.
    pub objects: Vec<Seen>,
    /// Small ones, of which captions do not speak.
    pub bystanders: Vec<Seen>,
}

/// Reads pictures.
#[derive(Debug)]
pub struct Checker {
    bank: Bank,
}

impl Default for Checker {
    fn default() -> Self {
        Self::new()
    }
}

/// A sprite somewhere.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    look: Look,
    size: u8,
    centre: [isize; 2],
    gain: f32,
}

impl Candidate {
    fn is_main(&self) -> bool {
        self.size != BYSTANDER_SIZE
    }
}

impl Checker {
    /// Makes the templates, which takes a moment.
    pub fn new() -> Self {
        Self { bank: Bank::new() }
    }

    /// What is in a picture of [`PICTURE_BYTES`](super::PICTURE_BYTES) bytes, RGB, row by row.
    ///
    /// # Panics
    /// If `picture` has another size.
    pub fn read(&self, picture: &[u8]) -> Reading {
        let mut whole = Field::new(picture);
        let mut rest = whole.clone();
        let mut found = Vec::new();
        for _ in 0..MAX_SPRITES {
            let candidates = self.strongest(&rest);
            let Some(best) = candidates.first() else { break };
            let template = self.template(best);
            if rest.visible(template, best.centre) >= MIN_VISIBLE {
                found.push(candidates.clone());
            }
            rest.cover(template, best.centre);
        }

        whole.level(|pixel| rest.counts(pixel));
        let noise = rest.noise();
        let mut reading = Reading::default();
        for i in 0..found.len() {
            let mut field = whole.clone();
            for other in found
                .iter()
                .enumerate()
                .filter(|(j, _)| *j != i)
                .map(|(_, other)| other[0])
            {
                field.cover(self.template(&other), other.centre);
            }
            self.settle(&field, &mut found[i]);
            for candidate in &mut found[i] {
                candidate.gain = field.elastic_gain(self.template(candidate), candidate.centre);
            }
            keep(&mut found[i], N_FINE);
            let best = found[i][0];
            let template = self.template(&best);
            let score = best.gain / field.energy(template, best.centre, noise).max(1e-6);
            if score < MIN_SCORE || field.compare(template, best.centre, 1).signal(noise) < MIN_SIGNAL {
                continue;
            }
            let seen = Seen {
                noun: best.look.noun,
                colour: best.look.colour,
                size: best.size,
                centre: best.centre.map(|v| v as u8),
                score: score.min(1.0),
            };
            if best.is_main() {
                reading.objects.push(seen);
            } else {
                reading.bystanders.push(seen);
            }
        }
        reading
    }

    fn template(&self, candidate: &Candidate) -> &Template {
        self.bank.get(candidate.look, candidate.size)
    }

    /// What the sprite that explains most of the field may be, the best first; empty if there is none.
    fn strongest(&self, field: &Field) -> Vec<Candidate> {
        /// Of the faintest sprite's squared norm, what a window must have: it may be pale, and is wider than its window.
        const PALE: f32 = 0.25;
        let cells = field.cells();
        let mut candidates = Vec::new();
        for coarse in self.bank.coarse() {
            let gains = cells.sweep(coarse, PALE * self.bank.faintest());
            candidates.extend(
                gains
                    .into_iter()
                    .zip(Look::all())
                    .map(|((gain, centre), look)| Candidate {
                        look,
                        size: coarse.size,
                        centre,
                        gain,
                    }),
            );
        }
        keep(&mut candidates, N_COARSE);
        for candidate in &mut candidates {
            *candidate = self.best_of(field, *candidate, &around(2), [candidate.size], 2);
        }
        keep(&mut candidates, N_COARSE / 2);
        for candidate in &mut candidates {
            *candidate = self.best_of(field, *candidate, &around(1), sizes(candidate.size, 2), 2);
        }
        keep(&mut candidates, N_FINE);
        self.settle(field, &mut candidates);
        candidates.retain(|candidate| candidate.gain > 0.0);
        candidates
    }

    /// Moves and sizes all candidates to where they fit best, pixel by pixel, and orders them.
    fn settle(&self, field: &Field, candidates: &mut Vec<Candidate>) {
        for candidate in &mut *candidates {
            let moved = self.best_of(field, *candidate, &around(1), [candidate.size], 1);
            let sized = self.best_of(field, moved, &[[0, 0]], sizes(moved.size, 1), 1);
            *candidate = self.best_of(field, sized, &around(1), [sized.size], 1);
        }
        keep(candidates, N_FINE);
    }

    /// The candidate at the best of these displacements and sizes; every `step`th pixel counts.
    fn best_of(
        &self,
        field: &Field,
        candidate: Candidate,
        moves: &[[isize; 2]],
        sizes: impl IntoIterator<Item = u8>,
        step: usize,
    ) -> Candidate {
        let mut best = Candidate {
            gain: f32::MIN,
            ..candidate
        };
        for size in sizes {
            let template = self.bank.get(candidate.look, size);
            for [dx, dy] in moves {
                let centre = [candidate.centre[0] + dx, candidate.centre[1] + dy];
                let gain = field.compare(template, centre, step).gain();
                if gain > best.gain {
                    best = Candidate {
                        size,
                        centre,
                        gain,
                        ..candidate
                    };
                }
            }
        }
        best
    }
}

/// No displacement, and one by `step` in all eight directions.
fn around(step: isize) -> [[isize; 2]; 9] {
    std::array::from_fn(|i| [i as isize % 3 - 1, i as isize / 3 - 1].map(|v| v * step))
}

/// The sizes that a sprite of `size` may have: a bystander's, or every `step`th of the main sprites'.
fn sizes(size: u8, step: usize) -> impl Iterator<Item = u8> {
    let range = if size == BYSTANDER_SIZE {
        size..=size
    } else {
        MAIN_SIZES
    };
    range.step_by(step)
}

/// Keeps the `n` candidates of the largest gains, in order.
fn keep(candidates: &mut Vec<Candidate>, n: usize) {
    candidates.sort_by(|a, b| b.gain.total_cmp(&a.gain));
    candidates.truncate(n);
}

/// The colour that the art's own colours are much like, if there is one: pixel by pixel they are near to the art painted so.
fn own_colour(noun: Noun) -> Option<Colour> {
    static CACHE: [OnceLock<Option<Colour>>; N_NOUNS] = [const { OnceLock::new() }; N_NOUNS];
    /// A root mean square over visible pixels, per pixel.
    const NEAR: f32 = 0.25;
    *CACHE[noun.index()].get_or_init(|| {
        let pixels = |colour| &stamp(noun, colour, *MAIN_SIZES.end()).rgba;
        let own = pixels(None);
        let visible: f32 = own.iter().map(|pixel| f32::from(pixel[3])).sum();
        let distance = |colour: Colour| -> f32 {
            let squares = own.iter().zip(pixels(Some(colour))).map(|(a, b)| {
                let off = |i: usize| f32::from(a[i]) - f32::from(b[i]);
                off(0).powi(2) + off(1).powi(2) + off(2).powi(2)
            });
            (squares.sum::<f32>() / (255.0 * visible)).sqrt()
        };
        let nearest = Colour::ALL
            .into_iter()
            .min_by(|a, b| distance(*a).total_cmp(&distance(*b)))?;
        (distance(nearest) < NEAR).then_some(nearest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;
    use crate::world::pairs::scene_w;
    use crate::world::scene::{PICTURE_BYTES, Scene};

    #[test]
    fn true_renders_are_read_to_the_pixel() {
        let checker = Checker::new();
        let mut noise = Noise::new(21);
        for _ in 0..120 {
            let scene: Scene = scene_w(noise.rng());
            let reading = checker.read(&scene.render());
            assert_eq!(
                reading.objects.len(),
                scene.main().count(),
                "{scene:?}: {reading:?}"
            );
            assert_eq!(
                reading.bystanders.len(),
                scene.bystander.iter().count(),
                "{scene:?}: {reading:?}"
            );
            for sprite in scene.sprites() {
                let mut all = reading.objects.iter().chain(&reading.bystanders);
                let near = |a: u8, b: u8| a.abs_diff(b) <= 1;
                let found = all.any(|seen| {
                    seen.noun == sprite.noun
                        && seen.colour == sprite.colour
                        && near(seen.size, sprite.size)
                        && near(seen.centre[0], sprite.centre[0])
                        && near(seen.centre[1], sprite.centre[1])
                        && seen.score > 0.9
                });
                assert!(found, "{sprite:?}: {reading:?}");
            }
        }
    }

    #[test]
    fn nothing_is_found_where_nothing_is() {
        let checker = Checker::new();
        let mut noise = Noise::new(22);
        for level in [0, 40, 190, 255] {
            assert_eq!(
                checker.read(&[level; PICTURE_BYTES]),
                Reading::default(),
                "{level}"
            );
        }
        for sigma in [5.0, 25.0, 50.0] {
            let values = noise.normal_vec(PICTURE_BYTES);
            let picture: Vec<u8> = values.iter().map(|v| (192.0 + sigma * v) as u8).collect();
            assert_eq!(checker.read(&picture), Reading::default(), "{sigma}");
        }
    }

    #[test]
    fn art_may_be_called_by_a_colour_only_if_it_has_it() {
        let own = |word| own_colour(Noun::from_word(word).expect("a noun of the world"));
        assert_eq!(own("sheep"), Some(Colour::White));
        assert_eq!(own("apple"), Some(Colour::Red));
        assert_eq!(own("butterfly"), None);
        let seen = Seen {
            noun: Noun::from_word("sheep").expect("a noun of the world"),
            colour: Some(Colour::Red),
            size: 28,
            centre: [32; 2],
            score: 1.0,
        };
        assert!(seen.looks(Colour::Red) && !seen.looks(Colour::White));
        let natural = Seen { colour: None, ..seen };
        assert!(natural.looks(Colour::White) && !natural.looks(Colour::Red));
    }
}
