//! Folders of images in common layouts, with the prompts from their names or side files.
//!
//! | layout | prompt of an image |
//! |---|---|
//! | ours | `origin.prompt` of the side file `NAME.json` |
//! | `pictures/` of a run | `prompt` in `index.json` |
//! | GenEval: `00000/metadata.jsonl`, `00000/samples/0000.png` | `prompt` of the metadata |
//! | T2I-CompBench: `{prompt}_{index}.png` | the name, without index and underscore |
//! | any, with a file of prompts | line by line, in the order of the names: one image a prompt, or as many for each |
//! | COCO: names that end in the image's number, with `captions_*.json` | its first caption |

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::kept_images::KeptImages;
use crate::files::{self, FileError};
use crate::limits::MAX_INDEX;

/// Extensions of image files.
const EXTENSIONS: [&str; 4] = ["png", "jpg", "jpeg", "webp"];

/// An image, and what it was asked to show, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFile {
    /// The file.
    pub path: PathBuf,
    /// The prompt.
    pub prompt: Option<String>,
}

/// A folder of images cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ImageFolderError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Nothing to score.
    #[error("{0}: no image in this folder (.png, .jpg, .jpeg or .webp; or GenEval's 00000/samples/)")]
    Empty(PathBuf),
    /// Images and prompts do not fit.
    #[error(
        "{prompts}: {n_prompts} prompts for the {n_images} images of {folder}: expected as many images as prompts, or the same number of images for each"
    )]
    Prompts {
        /// The folder.
        folder: PathBuf,
        /// The file of prompts.
        prompts: PathBuf,
        /// Images.
        n_images: usize,
        /// Prompts.
        n_prompts: usize,
    },
    /// A file of captions lacks an image's.
    #[error(
        "{captions}: no caption for {image}: expected the number at the end of its name among the images"
    )]
    Caption {
        /// The file of captions.
        captions: PathBuf,
        /// The image.
        image: PathBuf,
    },
    /// A file that tells prompts cannot be read.
    #[error("{path}: {reason}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What was expected and found.
        reason: String,
    },
}

/// The images of `folder`, by name, with their prompts; `prompts` is a text with one a line or COCO's captions. Files of other kinds are no images, and
/// hidden ones are none.
///
/// # Errors
/// [`ImageFolderError`].
pub fn read(folder: &Path, prompts: Option<&Path>) -> Result<Vec<ImageFile>, ImageFolderError> {
    let mut found = flat(folder)?;
    if found.is_empty() {
        found = geneval(folder)?;
    }
    if found.is_empty() {
        return Err(ImageFolderError::Empty(folder.to_path_buf()));
    }
    match prompts {
        Some(path) if path.extension().is_some_and(|e| e == "json") => of_coco(&mut found, path)?,
        Some(path) => line_by_line(folder, &mut found, path)?,
        None => {}
    }
    Ok(found)
}

fn is_image(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let extension = path
        .extension()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    !name.starts_with('.') && EXTENSIONS.contains(&extension.as_str())
}

fn flat(folder: &Path) -> Result<Vec<ImageFile>, ImageFolderError> {
    let images = files::list(folder)?.into_iter().filter(|path| is_image(path));
    // An index.json of another program tells no prompts.
    let kept = KeptImages::read(folder).ok().flatten();
    let kept = kept.map_or_else(Vec::new, |index| index.images);
    let of_run: HashMap<String, String> = kept.into_iter().map(|kept| (kept.file, kept.prompt)).collect();
    let of_run = |path: &Path| of_run.get(path.file_name()?.to_str()?).cloned();
    Ok(images
        .map(|path| ImageFile {
            prompt: of_side_file(&path)
                .or_else(|| of_run(&path))
                .or_else(|| of_name(&path)),
            path,
        })
        .collect())
}

/// The prompt in our own side file.
fn of_side_file(image: &Path) -> Option<String> {
    let side: Value = serde_json::from_str(&files::read_text(image.with_extension("json")).ok()?).ok()?;
    Some(side.get("origin")?.get("prompt")?.as_str()?.to_owned())
}

/// `{prompt}_{index}`, as T2I-CompBench's scripts split it.
fn of_name(image: &Path) -> Option<String> {
    let stem = image.file_stem()?.to_str()?;
    let (prompt, index) = stem.rsplit_once('_')?;
    let is_index = !index.is_empty() && index.bytes().all(|b| b.is_ascii_digit());
    (is_index && prompt.contains(' ')).then(|| prompt.to_owned())
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
        let images = files::list(images)?.into_iter().filter(|path| is_image(path));
        found.extend(images.map(|path| ImageFile {
            path,
            prompt: Some(metadata.prompt.clone()),
        }));
    }
    Ok(found)
}

fn line_by_line(folder: &Path, images: &mut [ImageFile], path: &Path) -> Result<(), ImageFolderError> {
    let text = files::read_text(path)?;
    let prompts: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let n = images.len();
    if prompts.is_empty() || !n.is_multiple_of(prompts.len()) {
        return Err(ImageFolderError::Prompts {
            folder: folder.to_path_buf(),
            prompts: path.to_path_buf(),
            n_images: n,
            n_prompts: prompts.len(),
        });
    }
    let each = n / prompts.len();
    for (i, image) in images.iter_mut().enumerate() {
        image.prompt = Some(prompts[i / each].to_owned());
    }
    Ok(())
}

#[derive(Deserialize)]
struct Captions {
    annotations: Vec<Annotation>,
}

#[derive(Deserialize)]
struct Annotation {
    image_id: u64,
    id: u64,
    caption: String,
}

fn of_coco(images: &mut [ImageFile], path: &Path) -> Result<(), ImageFolderError> {
    let bytes = files::read_at_most(path, MAX_INDEX, "captions in JSON")?;
    let captions: Captions = serde_json::from_slice(&bytes).map_err(|e| ImageFolderError::Content {
        path: path.to_path_buf(),
        reason: format!("expected COCO's captions, an object with `annotations`: {e}"),
    })?;
    let mut first: BTreeMap<u64, (u64, String)> = BTreeMap::new();
    for annotation in captions.annotations {
        let entry = first
            .entry(annotation.image_id)
            .or_insert_with(|| (u64::MAX, String::new()));
        if annotation.id < entry.0 {
            *entry = (annotation.id, annotation.caption);
        }
    }
    for image in images {
        let stem = image
            .path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let digits = stem.rfind(|c: char| !c.is_ascii_digit()).map_or(0, |at| at + 1);
        let caption = stem[digits..].parse().ok().and_then(|id: u64| first.get(&id));
        let (_, caption) = caption.ok_or_else(|| ImageFolderError::Caption {
            captions: path.to_path_buf(),
            image: image.path.clone(),
        })?;
        image.prompt = Some(caption.trim().to_owned());
    }
    Ok(())
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
