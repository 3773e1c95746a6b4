//! Folders of images in common layouts, with the prompts from their names or side files.
//!
//! | layout | prompt of an image |
//! |---|---|
//! | ours | `origin.prompt` of the side file `NAME.json` |
//! | `pictures/` of a run | `prompt` in `index.json` |
//! | GenEval: `00000/metadata.jsonl`, `00000/samples/0000.png` | `prompt` of the metadata |
//! | T2I-CompBench: `{prompt}_{index}.png`, in the folder or its `samples/` | the name, without index and underscore |
//! | HRS-Bench: `00012_03.png` with its CSV of prompts | the row, from 0, that the name begins with |
//! | any, with a file of prompts | line by line, or row by row, in the order of the names: one image a prompt, or as many for each |
//! | COCO: names that end in the image's number, with `captions_*.json` | its first caption |

mod captions;
mod file;
mod names;
mod prompt_files;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::kept_images::KeptImages;
use crate::files;

pub use captions::first_captions;
pub use file::{ImageFile, ImageFolderError};
pub use names::index;
pub use prompt_files::PromptFile;

/// Files of other kinds that a message names, at most.
const NAMED: usize = 3;

/// [`read_with`], prompts from the usual column.
///
/// # Errors
/// [`ImageFolderError`].
pub fn read(folder: &Path, prompts: Option<&Path>) -> Result<Vec<ImageFile>, ImageFolderError> {
    read_with(folder, prompts.map(|path| PromptFile { path, column: None }))
}

/// The images of `folder`, by name, numbers in names by their size, with their prompts. Hidden files are no images; other files that belong to no image, and
/// images in sub-folders, are left out with a warning.
///
/// # Errors
/// [`ImageFolderError`].
pub fn read_with(folder: &Path, prompts: Option<PromptFile<'_>>) -> Result<Vec<ImageFile>, ImageFolderError> {
    let samples = folder.join("samples");
    let mut found = flat(folder)?;
    // T2I-CompBench's scripts leave a grid of each prompt's images beside samples/.
    if samples.is_dir() && found.iter().all(|image| names::is_grid(&image.path)) {
        found = flat(&samples)?;
    } else if found.is_empty() {
        found = geneval(folder)?;
    } else {
        let others = with_images(folder)?;
        if let Some((first, n)) = others.first() {
            tracing::warn!(
                "{}: images in sub-folders are not scored: {n} in {}{}",
                folder.display(),
                first.display(),
                more(others.len() - 1)
            );
        }
    }
    if found.is_empty() {
        return Err(ImageFolderError::Empty {
            folder: folder.to_path_buf(),
            others: with_images(folder)?,
        });
    }
    if let Some(prompts) = prompts {
        prompts.tell(folder, &mut found)?;
    }
    Ok(found)
}

fn more(n: usize) -> String {
    match n {
        0 => String::new(),
        n => format!(", and {n} more"),
    }
}

/// The image files in a folder, in their order, without hidden ones.
fn image_files(folder: &Path) -> Result<Vec<PathBuf>, ImageFolderError> {
    let mut images = Vec::new();
    let mut others = Vec::new();
    let mut foreign = Vec::new();
    for path in files::list_names(folder)? {
        match () {
            () if names::is_hidden(&path) || path.is_dir() => {}
            () if names::is_image(&path) && !path.exists() => {
                return Err(ImageFolderError::Content {
                    path,
                    reason: "a link that leads nowhere: mend or remove it".into(),
                });
            }
            () if names::is_image(&path) => images.push(path),
            () if names::is_foreign_image(&path) => foreign.push(path),
            () => others.push(path),
        }
    }
    if let Some(path) = foreign.first() {
        return Err(ImageFolderError::Format {
            path: path.clone(),
            more: foreign.len() - 1,
        });
    }
    images.sort_by(|a, b| names::by_name(a, b));
    names::check_twice(&images)?;
    // Side files belong to their images, and prompts to all.
    let stems: std::collections::HashSet<_> = images.iter().map(|image| image.with_extension("")).collect();
    others.retain(|path| !stems.contains(&path.with_extension("")));
    if !images.is_empty() && !others.is_empty() {
        let named = others.iter().take(NAMED).filter_map(|path| path.file_name());
        let named: Vec<_> = named.map(|name| name.to_string_lossy()).collect();
        tracing::warn!(
            "{}: {} other files are not scored: {}{}",
            folder.display(),
            others.len(),
            named.join(", "),
            more(others.len() - named.len())
        );
    }
    Ok(images)
}

/// Sub-folders with images directly in them, with how many.
fn with_images(folder: &Path) -> Result<Vec<(PathBuf, usize)>, ImageFolderError> {
    let mut found = Vec::new();
    for path in files::list_folders(folder)? {
        // A sub-folder that may not be read has none that could be scored.
        let names = files::list_names(&path).unwrap_or_default();
        let n = names.iter().filter(|path| names::is_image(path)).count();
        if n > 0 {
            found.push((path, n));
        }
    }
    Ok(found)
}

fn flat(folder: &Path) -> Result<Vec<ImageFile>, ImageFolderError> {
    let images = image_files(folder)?.into_iter();
    // An index.json of another program tells no prompts.
    let kept = KeptImages::read(folder).ok().flatten();
    let kept = kept.map_or_else(Vec::new, |index| index.images);
    let of_run: HashMap<String, String> = kept.into_iter().map(|kept| (kept.file, kept.prompt)).collect();
    let of_run = |path: &Path| of_run.get(path.file_name()?.to_str()?).cloned();
    Ok(images
        .map(|path| ImageFile {
            prompt: of_side_file(&path)
                .or_else(|| of_run(&path))
                .or_else(|| names::prompt(&path)),
            path,
        })
        .collect())
}

/// The prompt in our own side file.
fn of_side_file(image: &Path) -> Option<String> {
    let side: Value = serde_json::from_str(&files::read_text(image.with_extension("json")).ok()?).ok()?;
    Some(side.get("origin")?.get("prompt")?.as_str()?.to_owned())
}

#[derive(Deserialize)]
struct Metadata {
    prompt: String,
}

fn geneval(folder: &Path) -> Result<Vec<ImageFile>, ImageFolderError> {
    let mut found = Vec::new();
    for sample in files::list_folders(folder)? {
        let path = sample.join("metadata.jsonl");
        let images = sample.join("samples");
        if !path.is_file() || !images.is_dir() {
            continue;
        }
        let text = files::read_text(&path)?;
        let first = text.lines().next().unwrap_or_default();
        let metadata: Metadata = serde_json::from_str(first).map_err(|e| ImageFolderError::Content {
            path,
            reason: format!("expected an object with `prompt`: {e}"),
        })?;
        found.extend(image_files(&images)?.into_iter().map(|path| ImageFile {
            path,
            prompt: Some(metadata.prompt.clone()),
        }));
    }
    Ok(found)
}

/// The prompts of all images.
///
/// # Errors
/// [`ImageFolderError::Content`], naming the first image without one, and what would tell it.
pub fn prompts(images: &[ImageFile]) -> Result<Vec<String>, ImageFolderError> {
    let known = images.iter().map(|image| {
        image.prompt.clone().ok_or_else(|| ImageFolderError::Content {
            path: image.path.clone(),
            reason: "no prompt is known for it: expected a side file of ours, a name like \"a red cat_000001.png\", or --prompts".into(),
        })
    });
    known.collect()
}

/// `values` of `images` by prompt, in the order of the images; an image without a known prompt stands alone.
pub fn by_prompt(images: &[ImageFile], values: impl IntoIterator<Item = f64>) -> BTreeMap<&str, Vec<f64>> {
    let mut all: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (image, value) in images.iter().zip(values) {
        let path = || image.path.to_str().unwrap_or_default();
        let prompt = image.prompt.as_deref().unwrap_or_else(path);
        all.entry(prompt).or_default().push(value);
    }
    all
}

/// Images of two systems by prompt: the `k`-th image of a prompt meets the `k`-th of the other system.
///
/// # Errors
/// [`ImageFolderError::Content`] where one system lacks an image that the other has.
pub fn meetings(first: &[ImageFile], second: &[ImageFile]) -> Result<Vec<(usize, usize)>, ImageFolderError> {
    let numbered = |images: &[ImageFile]| -> Result<HashMap<(String, usize), usize>, ImageFolderError> {
        let mut seen: HashMap<String, usize> = HashMap::new();
        let each = prompts(images)?.into_iter().enumerate().map(|(i, prompt)| {
            let k = seen.entry(prompt.clone()).or_default();
            *k += 1;
            ((prompt, *k), i)
        });
        Ok(each.collect())
    };
    let (a, b) = (numbered(first)?, numbered(second)?);
    let lacks = |images: &[ImageFile],
                 of: &HashMap<(String, usize), usize>,
                 other: &HashMap<(String, usize), usize>| {
        let lonely = of
            .iter()
            .filter(|(key, _)| !other.contains_key(*key))
            .map(|(key, i)| (*i, key))
            .min();
        lonely.map(|(i, (prompt, k))| ImageFolderError::Content {
            path: images[i].path.clone(),
            reason: format!("the other system has no image {k} for {prompt:?}"),
        })
    };
    if let Some(error) = lacks(first, &a, &b).or_else(|| lacks(second, &b, &a)) {
        return Err(error);
    }
    let mut pairs: Vec<(usize, usize)> = a.iter().map(|(key, i)| (*i, b[key])).collect();
    pairs.sort_unstable();
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(names: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a folder");
        for (name, text) in names {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        dir
    }

    fn told(dir: &tempfile::TempDir, prompts: Option<&str>) -> Result<Vec<Option<String>>, String> {
        let prompts = prompts.map(|name| dir.path().join(name));
        let found = read(dir.path(), prompts.as_deref())
            .map_err(|e| e.to_string().replace(&dir.path().display().to_string(), ""))?;
        Ok(found.into_iter().map(|image| image.prompt).collect())
    }

    #[test]
    fn layouts_tell_their_prompts() {
        let some = |text: &str| Some(text.to_owned());
        let flat = folder(&[
            ("a red cat_000001.png", ""),
            ("a red cat_000002.png", ""),
            ("ours.png", ""),
            ("ours.json", r#"{"origin": {"prompt": "a dog"}}"#),
            ("zebra_7.png", ""),
            (".hidden.png", ""),
            ("notes.txt", "x"),
        ]);
        let cat = some("a red cat");
        assert_eq!(
            told(&flat, None),
            Ok(vec![cat.clone(), cat.clone(), some("a dog"), None])
        );
        let images = read(flat.path(), None).expect("readable");
        assert!(prompts(&images).is_err_and(|e| e.to_string().contains("zebra_7.png: no prompt is known")));
        let geneval = folder(&[
            (
                "00000/metadata.jsonl",
                "{\"tag\": \"x\", \"prompt\": \"two cups\"}\n",
            ),
            ("00000/samples/0000.png", ""),
            ("00000/samples/0001.png", ""),
            ("00001/metadata.jsonl", "{\"prompt\": \"a car\"}"),
            ("00001/samples/0000.jpg", ""),
        ]);
        assert_eq!(
            told(&geneval, None),
            Ok(vec![some("two cups"), some("two cups"), some("a car")])
        );
        let coco = folder(&[
            ("COCO_val2014_000000000042.jpg", ""),
            ("000000000007.jpg", ""),
            (
                "captions.json",
                r#"{"annotations": [{"image_id": 42, "id": 9, "caption": "later"}, {"image_id": 42, "id": 3, "caption": "first\n"}, {"image_id": 7, "id": 1, "caption": "b"}]}"#,
            ),
            ("lines.txt", "x\ny\n\n"),
            ("three.txt", "x\ny\nz"),
        ]);
        assert_eq!(
            told(&coco, Some("captions.json")),
            Ok(vec![some("b"), some("first")])
        );
        assert_eq!(told(&coco, Some("lines.txt")), Ok(vec![some("x"), some("y")]));
        assert!(told(&coco, Some("three.txt")).is_err_and(|e| e.contains("3 prompts for the 2 images")));
        assert!(told(&folder(&[("a.txt", "")]), None).is_err_and(|e| e.contains("no image in this folder")));
    }

    #[test]
    fn systems_meet_prompt_by_prompt() {
        let image = |name: &str, prompt: &str| ImageFile {
            path: name.into(),
            prompt: Some(prompt.into()),
        };
        let first = [image("1", "a"), image("2", "b"), image("3", "b")];
        let second = [image("4", "b"), image("5", "b"), image("6", "a")];
        assert_eq!(
            meetings(&first, &second).expect("all meet"),
            [(0, 2), (1, 0), (2, 1)]
        );
        let lonely = meetings(&first, &second[1..]).expect_err("one lacks").to_string();
        assert!(
            lonely.starts_with("3: the other system has no image 2 for \"b\""),
            "{lonely}"
        );
    }
}
