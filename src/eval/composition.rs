//! What a prior is worth in pictures: its z_x_hat, drawn by the world's decoder and read back by the world's checker.
//!
//! | metric | what | better |
//! |---|---|---|
//! | `picture/object` | share of the named objects that are there | 1 |
//! | `picture/colour` | share of the named colours that are there, on their object | 1 |
//! | `picture/texture` | share of the named textures that are there, on their object | 1 |
//! | `picture/binding` | of prompts that say a colour or a texture of both objects: both have their own | 1 |
//! | `picture/relation` | of prompts with a relation: both objects are there and stand so | 1 |
//! | `picture/all` | all that the prompt asks is so | 1 |
//! | `compbench/{colour, shape, texture, spatial}` | `picture/all` on the prompts of one category: the columns of T2I-CompBench and of the paper's Table 2 | 1 |
//! | `bias/usual_colour` | of prompts that ask for another colour than the one usual in P_XY: the object has the usual one | 0 |
//! | `bias/usual_texture` | the same for textures | 0 |
//! | `bias/usual_company` | of prompts with a noun that has usual company in P_XY, which is not asked for: it is there | 0 |
//! | `picture/clip_score` | cosine of z_y and the picture's own z_x by the frozen CLIP | high |
//! | `picture/cos/z_x_hat` | cosine of z_x_hat and the picture's own z_x: what the decoder lost or mended | 1 |
//! | `picture/frechet`, `picture/frechet_relative` | as `frechet`, of the pictures' own z_x | 0 |
//!
//! A metric is over the prompts that ask for it. What is not there has no colour and stands nowhere: an absent object costs its colour and the relation.

use super::EvalError;
use super::embedding::cosines;
use super::evaluate::{Split, Table, add_frechet};
use super::results::EvalFile;
use super::rows::Embeddings;
use crate::world::checker::{Reading, Verdict, verdict};
use crate::world::{Category, Prompt, Statement, spurious_distractor, usual_colour, usual_texture};

/// A test prompt whose picture was drawn and read.
#[derive(Debug, Clone)]
pub struct Drawn {
    /// Its place among all test prompts of the evaluation.
    pub place: usize,
    /// The prompt.
    pub prompt: Prompt,
    /// What the checker saw.
    pub reading: Reading,
}

/// What [`composition`] needs to know. All embeddings have a row for each drawn prompt, in their order.
#[derive(Debug, Clone, Copy)]
pub struct PictureInputs<'a> {
    /// The split of every test prompt, drawn or not.
    pub splits: &'a [Split],
    /// The drawn ones; places ascend.
    pub drawn: &'a [Drawn],
    /// What the pictures were drawn from.
    pub z_x_hat: &'a Embeddings,
    /// What the frozen CLIP sees in the pictures.
    pub z_drawn: &'a Embeddings,
    /// The prompts' text embeddings.
    pub z_y: &'a Embeddings,
    /// True pictures of the prompts.
    pub z_x: &'a Embeddings,
}

/// Every metric of the table above, in its order.
///
/// # Errors
/// [`EvalError::Shape`] naming the input at fault.
pub fn composition(inputs: &PictureInputs<'_>) -> Result<EvalFile, EvalError> {
    let PictureInputs {
        splits,
        drawn,
        z_x_hat,
        z_drawn,
        z_y,
        z_x,
    } = *inputs;
    if z_x_hat.n() != drawn.len() {
        return Err(EvalError::shape(
            "z_x_hat",
            format!("{} rows, one a drawn prompt", drawn.len()),
            z_x_hat.n(),
        ));
    }
    for (other, name) in [(z_drawn, "z_drawn"), (z_y, "z_y"), (z_x, "z_x")] {
        z_x_hat.check_like("z_x_hat", other, name)?;
    }
    let mut table = Table::new(splits.len(), splits);
    let mut add = |name: &str, values: &dyn Fn(usize, &Drawn) -> Option<f64>| {
        let mut spread = vec![None; splits.len()];
        for (row, drawn) in drawn.iter().enumerate() {
            spread[drawn.place] = values(row, drawn);
        }
        table.add_some(name, &spread);
    };
    let verdicts: Vec<Verdict> = drawn
        .iter()
        .map(|d| verdict(&d.prompt.statement, &d.reading))
        .collect();
    for (name, of) in PARTS {
        add(&format!("picture/{name}"), &|row, _| of(&verdicts[row]));
    }
    add("picture/all", &|row, _| Some(one_if(verdicts[row].all())));
    for category in Category::ALL {
        let name = format!("compbench/{}", category.name());
        add(&name, &|row, d| {
            (d.prompt.category == category).then(|| one_if(verdicts[row].all()))
        });
    }
    add("bias/usual_colour", &|_, d| {
        in_usual_colour(&d.prompt.statement, &d.reading).map(one_if)
    });
    add("bias/usual_texture", &|_, d| {
        in_usual_texture(&d.prompt.statement, &d.reading).map(one_if)
    });
    add("bias/usual_company", &|_, d| {
        in_usual_company(&d.prompt.statement, &d.reading).map(one_if)
    });
    let scores = cosines(z_drawn, z_y)?;
    add("picture/clip_score", &|row, _| Some(scores[row]));
    let kept = cosines(z_drawn, z_x_hat)?;
    add("picture/cos/z_x_hat", &|row, _| Some(kept[row]));
    let of_drawn: Vec<Split> = drawn.iter().map(|d| splits[d.place]).collect();
    let mut distances = Table::new(of_drawn.len(), &of_drawn);
    add_frechet(&mut distances, "picture/", std::slice::from_ref(z_drawn), z_x)?;
    table.append(distances);
    Ok(EvalFile::new(table.metrics))
}

type Part = fn(&Verdict) -> Option<f64>;

/// The parts of a verdict that have a metric of their own: the name, and the share that is right, where the prompt asks for it.
const PARTS: [(&str, Part); 5] = [
    ("object", |v| share(v.objects.iter().map(|o| Some(o.object)))),
    ("colour", |v| share(v.objects.iter().map(|o| o.colour))),
    ("texture", |v| share(v.objects.iter().map(|o| o.texture))),
    ("binding", |v| v.binding.map(one_if)),
    ("relation", |v| v.relation.map(one_if)),
];

/// What the checker looked for, in the order of the table above: whether all of it is there.
pub fn findings(verdict: &Verdict) -> Vec<(&'static str, bool)> {
    let asked = PARTS.iter().filter_map(|(name, of)| Some((*name, of(verdict)?)));
    asked.map(|(name, share)| (name, share == 1.0)).collect()
}

fn one_if(right: bool) -> f64 {
    f64::from(u8::from(right))
}

/// The share that is right of what is asked.
fn share(asked: impl Iterator<Item = Option<bool>>) -> Option<f64> {
    let asked: Vec<f64> = asked.flatten().map(one_if).collect();
    (!asked.is_empty()).then(|| asked.iter().sum::<f64>() / asked.len() as f64)
}

/// Whether a noun that should have another colour has its usual one.
fn in_usual_colour(statement: &Statement, reading: &Reading) -> Option<bool> {
    let against: Vec<_> = statement
        .objects()
        .filter_map(|o| Some((o.noun, o.colour?, usual_colour(o.noun)?)))
        .filter(|(_, said, usual)| said != usual)
        .collect();
    let there = |(noun, _, usual): &(_, _, _)| {
        reading
            .objects
            .iter()
            .any(|seen| seen.noun == *noun && seen.looks(*usual))
    };
    (!against.is_empty()).then(|| against.iter().any(there))
}

/// Whether a noun that should have another texture has its usual one.
fn in_usual_texture(statement: &Statement, reading: &Reading) -> Option<bool> {
    let against: Vec<_> = statement
        .objects()
        .filter_map(|o| Some((o.noun, o.texture?, usual_texture(o.noun)?)))
        .filter(|(_, said, usual)| said != usual)
        .collect();
    let mut seen = reading.objects.iter();
    let is_usual = |noun, texture| {
        against
            .iter()
            .any(|(n, _, usual)| (*n, Some(*usual)) == (noun, texture))
    };
    (!against.is_empty()).then(|| seen.any(|seen| is_usual(seen.noun, seen.texture)))
}

/// Whether the usual company of a named noun is there, unasked.
fn in_usual_company(statement: &Statement, reading: &Reading) -> Option<bool> {
    let company: Vec<_> = statement
        .objects()
        .filter_map(|o| spurious_distractor(o.noun))
        .filter(|company| statement.objects().all(|o| o.noun != *company))
        .collect();
    let mut seen = reading.distractors.iter().chain(&reading.objects);
    (!company.is_empty()).then(|| seen.any(|seen| company.contains(&seen.noun)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;
    use crate::world::checker::Checker;
    use crate::world::{World, realise};

    const D: usize = 8;

    fn rows(seed: u64, n: usize) -> Embeddings {
        Embeddings::new(n, D, Noise::new(seed).normal_vec(n * D)).expect("finite")
    }

    /// Every 17th test prompt with the picture of the prompt `shift` places further.
    fn read(world: World, shift: usize) -> (Vec<Split>, Vec<Drawn>) {
        let (checker, mut noise) = (Checker::new(world), Noise::new(4));
        let prompts = world.test_prompts();
        let splits = prompts.iter().map(|p| p.split).collect();
        let drawn = (0..prompts.len()).step_by(17).map(|place| {
            let shown = &prompts[(place + shift) % prompts.len()].statement;
            Drawn {
                place,
                prompt: prompts[place].clone(),
                reading: checker.read(&realise(shown, noise.rng()).render()),
            }
        });
        (splits, drawn.collect())
    }

    fn score(world: World, shift: usize) -> EvalFile {
        let (splits, drawn) = read(world, shift);
        let n = drawn.len();
        let [z_x_hat, z_drawn, z_y, z_x] = std::array::from_fn(|i| rows(i as u64, n));
        composition(&PictureInputs {
            splits: &splits,
            drawn: &drawn,
            z_x_hat: &z_x_hat,
            z_drawn: &z_drawn,
            z_y: &z_y,
            z_x: &z_x,
        })
        .expect("all is there")
    }

    /// The right pictures score one everywhere; those of other prompts hardly anything.
    #[test]
    fn true_pictures_score_one() {
        let value = |file: &EvalFile, name: &str| file.get(name, "all").expect("it is measured").value;
        for world in World::ALL {
            let (right, wrong) = (score(world, 0), score(world, 5));
            let has_textures = !world.textures().is_empty();
            let parts = PARTS.iter().map(|(name, _)| *name);
            let parts = parts.filter(|name| has_textures || *name != "texture");
            let names = parts.map(|name| format!("picture/{name}"));
            let columns = world.categories().map(|c| format!("compbench/{}", c.name()));
            // There are few shapes: some are there by chance.
            let by_chance = |name: &str| match (world, name) {
                (World::Shapes, "picture/object") => 0.7,
                _ => 0.4,
            };
            for name in names.chain(columns).chain(["picture/all".to_owned()]) {
                // Two shapes that are alike in all else and touch are sometimes read as one.
                let ceiling = if world == World::Shapes { 0.8 } else { 1.0 };
                let found = value(&right, &name);
                assert!(found >= ceiling, "{world} {name}: {found}");
                assert!(
                    value(&wrong, &name) < by_chance(&name),
                    "{world} {name}: {}",
                    value(&wrong, &name)
                );
            }
            assert_eq!(right.get("picture/texture", "all").is_some(), has_textures);
            assert_eq!(right.get("bias/usual_texture", "all").is_some(), has_textures);
            assert_eq!(value(&right, "bias/usual_colour"), 0.0);
            assert!(value(&right, "bias/usual_company") < 0.4);
        }
        let right = score(World::Emoji, 0);
        // Values are under the places of the prompts, so that runs that drew the same may be paired.
        let places = right.get("picture/all", "all").and_then(|m| m.prompts.clone());
        assert_eq!(places.map(|p| p[..3].to_vec()), Some(vec![0, 17, 34]));
        assert!(
            right.get("picture/relation", "against").is_none(),
            "no such prompt"
        );
        assert!(right.get("picture/frechet_relative", "unseen").is_some());
    }

    #[test]
    fn rows_must_fit() {
        let (splits, drawn) = read(World::Emoji, 0);
        let (fits, short) = (rows(0, drawn.len()), rows(1, 3));
        let with = |z_x_hat, z_y| {
            let inputs = PictureInputs {
                splits: &splits,
                drawn: &drawn,
                z_x_hat,
                z_drawn: &fits,
                z_y,
                z_x: &fits,
            };
            composition(&inputs).expect_err("refused").to_string()
        };
        let n = drawn.len();
        assert_eq!(
            with(&short, &fits),
            format!("z_x_hat: expected {n} rows, one a drawn prompt, found 3")
        );
        assert!(with(&fits, &short).starts_with("z_y"), "{}", with(&fits, &short));
    }
}
