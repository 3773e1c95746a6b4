//! The exact checker: what is in an image of the world, from its pixels alone.
//!
//! Analysis by synthesis. The ground is the image's median colour, and what differs from it is explained by sprites, one after the other. A
//! sprite's *gain* is by how much the squared norm of that difference falls when the sprite is taken away.
//!
//! 1. A coarse sweep (cells of a 16th of the image's side) over all nouns, paints and places names candidates.
//! 2. A fine search over places and sizes decides between them, on pixels that are blurred as the templates are. The best one is covered up, and
//!    the next sprite looked for in what is left.
//! 3. Every sprite is decided again with all others known. Here templates are elastic: their blocks may move by a 32nd of the image's side, so that a
//!    slightly deformed sprite is still recognised.
//!
//! What resembles no template is ignored. A [`Reading`] compares with a caption's [`Statement`](super::Statement) by [`verdict()`].

mod field;
mod template;
mod verdict;

pub use verdict::{ObjectVerdict, Verdict, verdict};

use std::sync::OnceLock;

use self::field::Field;
use self::template::{Bank, Template};
use super::attributes::{Colour, Texture};
use super::noun::Noun;
use super::sprite::{Look, stamp};
use super::worlds::World;

/// Score below which a sprite is not seen.
const MIN_SCORE: f32 = 0.6;
/// Score that true renders reach: below it another explanation may be better.
const GOOD_SCORE: f32 = 0.9;
/// Share of a sprite that others may not cover.
const MIN_VISIBLE: f32 = 0.7;
/// Signal to noise ratio below which a sprite is not seen. The best of all templates and places reaches four and a half in noise alone.
const MIN_SIGNAL: f32 = 6.0;
/// Sprites that an image is searched for.
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
    /// Its texture; `None` in worlds without textures.
    pub texture: Option<Texture>,
    /// Its longer side, in pixels.
    pub size: u8,
    /// Its middle: x from the left, y from the top, in pixels.
    pub centre: [u8; 2],
    /// How much of what is there it explains, 0 to 1; a true render has about 1. Things that the world cannot draw are often taken for the
    /// sprite that they resemble most, at a lower score.
    pub score: f32,
}

impl Seen {
    /// Whether `colour` describes it: it is painted in `colour`, or the art's own colours resemble it, as those of a sheep are white.
    pub fn looks(&self, colour: Colour) -> bool {
        match self.colour {
            Some(painted) => painted == colour,
            None => own_colour(self.noun) == Some(colour),
        }
    }
}

/// What the checker sees in an image. Both lists are in the order in which the sprites stand out, and empty if nothing is found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reading {
    /// Main objects, of which captions speak.
    pub objects: Vec<Seen>,
    /// Small ones, of which captions do not speak.
    pub distractors: Vec<Seen>,
}

impl Reading {
    fn sprites(&self) -> impl Iterator<Item = &Seen> {
        self.objects.iter().chain(&self.distractors)
    }

    /// The sprite of the lowest score.
    fn weakest(&self) -> Option<&Seen> {
        self.sprites().min_by(|a, b| a.score.total_cmp(&b.score))
    }
}

/// Reads images of one world.
#[derive(Debug)]
pub struct Checker {
    bank: Bank,
}

/// A sprite somewhere.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    look: Look,
    size: u8,
    centre: [isize; 2],
    gain: f32,
}

impl Checker {
    /// Makes the templates, which takes a moment.
    pub fn new(world: World) -> Self {
        Self {
            bank: Bank::new(world),
        }
    }

    /// The world whose images it reads.
    pub fn world(&self) -> World {
        self.bank.world()
    }

    /// What is in an image of [`World::image_bytes`] bytes, RGB, row by row.
    ///
    /// # Panics
    /// If `image` has another size.
    pub fn read(&self, image: &[u8]) -> Reading {
        let whole = Field::new(self.world(), image);
        let reading = self.explain(whole.clone(), None);
        // A sprite may have been put between two similar ones, and explains a part of both.
        let Some(weakest) = reading.weakest().filter(|seen| seen.score < GOOD_SCORE) else {
            return reading;
        };
        let other = self.explain(whole, Some(weakest.centre.map(isize::from)));
        let score = other.weakest().map_or(0.0, |seen| seen.score);
        if other.sprites().count() > reading.sprites().count() && score > weakest.score {
            other
        } else {
            reading
        }
    }

    /// Explains an image by sprites, none of which is looked for near to `avoid`.
    fn explain(&self, mut whole: Field, avoid: Option<[isize; 2]>) -> Reading {
        let mut rest = whole.clone();
        let mut found = Vec::new();
        for _ in 0..MAX_SPRITES {
            let candidates = self.strongest(&rest, avoid);
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
            if score < MIN_SCORE
                || field
                    .compare(template, best.centre, 1)
                    .signal(noise, field.kept_noise())
                    < MIN_SIGNAL
            {
                continue;
            }
            let seen = Seen {
                noun: best.look.noun,
                colour: best.look.colour,
                texture: best.look.texture,
                size: best.size,
                centre: best.centre.map(|v| v as u8),
                score: score.min(1.0),
            };
            if best.size != self.world().distractor_size() {
                reading.objects.push(seen);
            } else {
                reading.distractors.push(seen);
            }
        }
        reading
    }

    fn template(&self, candidate: &Candidate) -> &Template {
        self.bank.get(candidate.look, candidate.size)
    }

    /// What the sprite that explains most of the field may be, the best first; empty if there is none. Not nearer to `avoid` than an eighth of
    /// the image's side.
    fn strongest(&self, field: &Field, avoid: Option<[isize; 2]>) -> Vec<Candidate> {
        /// Of the faintest sprite's squared norm, what a window must have: it may be pale, and is wider than its window.
        const PALE: f32 = 0.25;
        let cells = field.cells();
        let mut candidates = Vec::new();
        for coarse in self.bank.coarse() {
            let gains = cells.sweep(coarse, PALE * self.bank.faintest());
            candidates.extend(
                gains
                    .into_iter()
                    .zip(self.bank.looks())
                    .map(|((gain, centre), &look)| Candidate {
                        look,
                        size: coarse.size,
                        centre,
                        gain,
                    }),
            );
        }
        if let Some(avoid) = avoid {
            let far = (4 * self.world().unit()).cast_signed();
            candidates.retain(|c| (0..2).any(|axis| (c.centre[axis] - avoid[axis]).abs() > far));
        }
        keep(&mut candidates, N_COARSE);
        let (world, unit) = (self.world(), self.world().unit());
        for candidate in &mut candidates {
            let moves = around(unit.cast_signed());
            *candidate = self.best_of(field, *candidate, &moves, [candidate.size], unit);
        }
        keep(&mut candidates, N_COARSE / 2);
        for candidate in &mut candidates {
            let sizes = sizes(world, candidate.size, unit);
            *candidate = self.best_of(field, *candidate, &around(1), sizes, unit);
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
            let sizes = sizes(self.world(), moved.size, 1);
            let sized = self.best_of(field, moved, &[[0, 0]], sizes, 1);
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

/// The sizes that a sprite of `size` may have: a distractor's, or every `step`th of the main sprites'.
fn sizes(world: World, size: u8, step: usize) -> impl Iterator<Item = u8> {
    let range = if size == world.distractor_size() {
        size..=size
    } else {
        world.main_sizes()
    };
    range.step_by(step)
}

/// Keeps the `n` candidates of the largest gains, in order.
fn keep(candidates: &mut Vec<Candidate>, n: usize) {
    candidates.sort_by(|a, b| b.gain.total_cmp(&a.gain));
    candidates.truncate(n);
}

/// The colour that the art's own colours resemble, if there is one: pixel by pixel they are close to the art painted in it.
fn own_colour(noun: Noun) -> Option<Colour> {
    static CACHE: [OnceLock<Vec<Option<Colour>>>; World::ALL.len()] =
        [const { OnceLock::new() }; World::ALL.len()];
    let world = noun.world();
    CACHE[world as usize].get_or_init(|| world.nouns().map(find_own_colour).collect())[noun.index()]
}

fn find_own_colour(noun: Noun) -> Option<Colour> {
    /// A root mean square over visible pixels, per pixel.
    const NEAR: f32 = 0.25;
    let world = noun.world();
    if !world.has_own_colours() {
        return None;
    }
    let pixels = |colour| {
        let look = Look {
            noun,
            colour,
            texture: None,
        };
        &stamp(look, *world.main_sizes().end()).rgba
    };
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;
    use crate::world::scene::Sprite;

    /// All of them in the emoji world. In a few images of shapes a neighbour of the same colour hides what a sprite is.
    #[test]
    fn true_renders_are_read_to_the_pixel() {
        let mut noise = Noise::new(21);
        for (world, least) in [(World::Emoji, 1.0), (World::Shapes, 0.95)] {
            let checker = Checker::new(world);
            let (mut hits, mut n) = (0.0, 0.0);
            for _ in 0..120 {
                let scene = world.scene_w(noise.rng());
                let reading = checker.read(&scene.render());
                let counts = [reading.objects.len(), reading.distractors.len()];
                let expected = [scene.main().count(), scene.distractor.iter().count()];
                let near = |a: u8, b: u8| a.abs_diff(b) <= 1;
                let found = |sprite: &Sprite| {
                    reading.sprites().any(|seen| {
                        seen.noun == sprite.noun
                            && seen.colour == sprite.colour
                            && seen.texture == sprite.texture
                            && near(seen.size, sprite.size)
                            && near(seen.centre[0], sprite.centre[0])
                            && near(seen.centre[1], sprite.centre[1])
                            && seen.score > 0.9
                    })
                };
                let right = counts == expected && scene.sprites().all(found);
                assert!(right || least < 1.0, "{scene:?}: {reading:?}");
                hits += f64::from(right);
                n += 1.0;
            }
            assert!(hits >= least * n, "{world}: {hits} of {n}");
        }
    }

    #[test]
    fn nothing_is_found_where_nothing_is() {
        let mut noise = Noise::new(22);
        for world in World::ALL {
            let (checker, n) = (Checker::new(world), world.image_bytes());
            for level in [0, 40, 190, 255] {
                assert_eq!(checker.read(&vec![level; n]), Reading::default(), "{level}");
            }
            for sigma in [5.0, 25.0, 50.0] {
                let values = noise.normal_vec(n);
                let image: Vec<u8> = values.iter().map(|v| (192.0 + sigma * v) as u8).collect();
                assert_eq!(checker.read(&image), Reading::default(), "{sigma}");
            }
        }
    }

    #[test]
    fn art_may_be_called_by_a_colour_only_if_it_has_it() {
        let own = |word| own_colour(World::Emoji.noun_called(word).expect("a noun of the world"));
        assert_eq!(own("sheep"), Some(Colour::White));
        assert_eq!(own("apple"), Some(Colour::Red));
        assert_eq!(own("butterfly"), None);
        let seen = Seen {
            noun: World::Emoji.noun_called("sheep").expect("a noun of the world"),
            colour: Some(Colour::Red),
            texture: None,
            size: 28,
            centre: [32; 2],
            score: 1.0,
        };
        assert!(seen.looks(Colour::Red) && !seen.looks(Colour::White));
        let natural = Seen { colour: None, ..seen };
        assert!(natural.looks(Colour::White) && !natural.looks(Colour::Red));
    }
}
