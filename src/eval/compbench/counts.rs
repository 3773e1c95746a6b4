//! Whether a folder holds the same number of images of each prompt of a category.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::{Category, PROMPTS};

/// How many images a folder has of the prompts of a category.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// The category.
    pub category: Category,
    /// Its prompts that have images.
    pub prompts: usize,
    /// The least and the largest number of images of those prompts.
    pub each: (usize, usize),
    /// Images of other prompts.
    pub strays: usize,
    /// The first prompt that has less images than another, with its number.
    lacking: Option<(&'static str, usize)>,
    n_lacking: usize,
    /// The first image of another prompt.
    stray: Option<usize>,
}

/// A folder does not hold a category.
#[derive(Debug, thiserror::Error)]
pub enum CountError {
    /// Prompts lack images.
    #[error(
        "{folder}: {n} of the {PROMPTS} prompts of category {category} lack images, of which others have {most}; the first is {prompt:?} with {found}: draw them, or \
         say --incomplete, which the result then says too"
    )]
    Lacking {
        /// The folder.
        folder: PathBuf,
        /// The category.
        category: Category,
        /// Prompts that lack images.
        n: usize,
        /// How many images others have.
        most: usize,
        /// The first of the prompts.
        prompt: &'static str,
        /// How many images it has.
        found: usize,
    },
    /// Images show other prompts.
    #[error(
        "{image}: its prompt {prompt:?} is none of category {category} (and {more} more images): remove them, or say --incomplete, which the result then says too"
    )]
    Strays {
        /// The first of the images.
        image: PathBuf,
        /// Its prompt.
        prompt: String,
        /// The category.
        category: Category,
        /// How many more.
        more: usize,
    },
}

impl Counts {
    /// Counts the images by their `prompts`.
    pub fn of(category: Category, prompts: &[String]) -> Self {
        let mut each: HashMap<&str, usize> = category.prompts().iter().map(|prompt| (*prompt, 0)).collect();
        let (mut strays, mut stray) = (0, None);
        for (i, prompt) in prompts.iter().enumerate() {
            match each.get_mut(prompt.as_str()) {
                Some(n) => *n += 1,
                None => {
                    strays += 1;
                    stray.get_or_insert(i);
                }
            }
        }
        let most = each.values().copied().max().unwrap_or(0);
        let there = each.values().copied().filter(|n| *n > 0);
        let lacking = category.prompts().iter().map(|prompt| (*prompt, each[prompt]));
        let lacking: Vec<_> = lacking.filter(|(_, n)| *n < most || most == 0).collect();
        Self {
            category,
            prompts: there.clone().count(),
            each: (there.min().unwrap_or(0), most),
            strays,
            lacking: lacking.first().copied(),
            n_lacking: lacking.len(),
            stray,
        }
    }

    /// Fails unless every prompt has the same number of images, and no image another prompt. `images` are those that were counted, `prompts` theirs.
    ///
    /// # Errors
    /// [`CountError`], naming the folder, or the image.
    pub fn check(
        &self,
        folder: &Path,
        image: impl Fn(usize) -> PathBuf,
        prompts: &[String],
    ) -> Result<(), CountError> {
        if let Some(first) = self.stray {
            return Err(CountError::Strays {
                image: image(first),
                prompt: prompts[first].clone(),
                category: self.category,
                more: self.strays - 1,
            });
        }
        match self.lacking {
            Some((prompt, found)) => Err(CountError::Lacking {
                folder: folder.to_path_buf(),
                category: self.category,
                n: self.n_lacking,
                most: self.each.1,
                prompt,
                found,
            }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_category_is_complete_or_says_what_it_lacks() {
        let images = |leave_out: &dyn Fn(usize, usize) -> bool| -> Vec<String> {
            let prompts = Category::Color.prompts();
            let each = (0..2).flat_map(|k| (0..PROMPTS).map(move |i| (i, k)));
            each.filter(|(i, k)| !leave_out(*i, *k))
                .map(|(i, _)| prompts[i].to_owned())
                .collect()
        };
        let told = |prompts: &[String]| {
            let counts = Counts::of(Category::Color, prompts);
            let image = |i: usize| PathBuf::from(format!("{i}.png"));
            let told = counts.check(Path::new("drawn"), image, prompts);
            (counts.prompts, counts.each, told.map_err(|e| e.to_string()))
        };
        assert_eq!(told(&images(&|_, _| false)), (300, (2, 2), Ok(())));
        let (n, each, lacking) = told(&images(&|i, k| i == 7 && k == 1));
        assert_eq!((n, each), (300, (1, 2)));
        assert_eq!(
            lacking,
            Err("drawn: 1 of the 300 prompts of category color lack images, of which others have 2; the first is \"a brown backpack and a blue cow\" with 1: \
                 draw them, or say --incomplete, which the result then says too"
                .into())
        );
        let (n, each, lacking) = told(&images(&|i, _| i > 9));
        assert_eq!((n, each), (10, (2, 2)));
        assert!(lacking.is_err_and(|e| e.contains("290 of the 300 prompts")));
        let mut strays = images(&|_, _| false);
        strays.insert(3, "a cat".into());
        assert!(
            told(&strays)
                .2
                .is_err_and(|e| e.starts_with("3.png: its prompt \"a cat\" is none of category color"))
        );
    }
}
