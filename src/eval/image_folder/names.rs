//! Names of image files: their order, the prompt and the index that they hold.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};

use super::file::ImageFolderError;
use crate::eval::compbench::official_prompt;

/// Extensions of image files.
const EXTENSIONS: [&str; 4] = ["png", "jpg", "jpeg", "webp"];
/// Extensions of images that are not read.
const FOREIGN: [&str; 13] = [
    "apng", "avif", "bmp", "gif", "heic", "jfif", "jp2", "jxl", "pgm", "ppm", "tga", "tif", "tiff",
];

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    extensions.contains(&extension.to_lowercase().as_str())
}

/// Whether a file's name is that of an image that can be read.
pub(super) fn is_image(path: &Path) -> bool {
    has_extension(path, &EXTENSIONS)
}

/// Whether a file's name is that of an image of another format.
pub(super) fn is_foreign_image(path: &Path) -> bool {
    has_extension(path, &FOREIGN)
}

/// Whether a name is that of a grid of T2I-CompBench's scripts: `{prompt}-grid-00000.png`.
pub(super) fn is_grid(path: &Path) -> bool {
    let number = stem(path).rsplit_once("-grid-").map(|(_, number)| number);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// Whether a file is hidden.
pub(super) fn is_hidden(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

fn stem(path: &Path) -> &str {
    path.file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default()
}

/// A run of digits with its number, or what is between two of them.
type Piece<'a> = (&'a str, Option<u128>);

/// The pieces of a name.
fn pieces(name: &str) -> Vec<Piece<'_>> {
    let mut found = Vec::new();
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let is_digit = first.is_ascii_digit();
        let end = rest
            .find(|c: char| c.is_ascii_digit() != is_digit)
            .unwrap_or(rest.len());
        let (piece, after) = rest.split_at(end);
        found.push((piece, piece.parse().ok()));
        rest = after;
    }
    found
}

/// Order of image files: by name, but numbers in names by their size, so that `10.png` stands behind `9.png`.
pub(super) fn by_name(a: &Path, b: &Path) -> Ordering {
    let (first, second) = (pieces(stem(a)), pieces(stem(b)));
    let piece = |(a, b): (&Piece<'_>, &Piece<'_>)| match (a.1, b.1) {
        (Some(m), Some(n)) => m.cmp(&n),
        _ => a.0.cmp(b.0),
    };
    let differ = first.iter().zip(&second).map(piece).find(|order| order.is_ne());
    let order = differ.unwrap_or_else(|| first.len().cmp(&second.len()));
    order.then_with(|| a.cmp(b))
}

/// Refuses two files for one image: names with numbers that differ in the extension or in leading zeros only. `images` are in their [order](by_name).
pub(super) fn check_twice(images: &[PathBuf]) -> Result<(), ImageFolderError> {
    let same = |a: &Path, b: &Path| {
        let key = |path: &Path| -> Vec<(String, Option<u128>)> {
            let pieces = pieces(stem(path));
            let each = pieces
                .iter()
                .map(|(text, n)| (if n.is_some() { "" } else { text }.to_string(), *n));
            each.collect()
        };
        let key_of_a = key(a);
        key_of_a.iter().any(|(_, n)| n.is_some()) && key_of_a == key(b)
    };
    match images.windows(2).find(|pair| same(&pair[0], &pair[1])) {
        Some(pair) => Err(ImageFolderError::Twice {
            first: pair[0].clone(),
            second: pair[1].clone(),
        }),
        None => Ok(()),
    }
}

/// Prompt and index of a name `{prompt}_{index}.png`, T2I-CompBench's.
fn parts(image: &Path) -> Option<(&str, u64)> {
    let (prompt, index) = stem(image).rsplit_once('_')?;
    let is_number = index.bytes().all(|b| b.is_ascii_digit());
    Some((prompt, index.parse().ok().filter(|_| is_number)?))
}

/// The index in a name `{prompt}_{index}.png`, T2I-CompBench's; none in other names.
pub fn index(image: &Path) -> Option<u64> {
    parts(image).map(|(_, index)| index)
}

/// The prompt in a name `{prompt}_{index}`; the official one where the name holds a prompt of T2I-CompBench without the characters that names cannot hold.
pub(super) fn prompt(image: &Path) -> Option<String> {
    let (prompt, _) = parts(image)?;
    match official_prompt(prompt) {
        Some(official) => Some(official.to_owned()),
        None => prompt.contains(' ').then(|| prompt.to_owned()),
    }
}

/// The numbers of a name that has nothing else: HRS-Bench's `00012_03.png` is image 3 of prompt 12.
pub(super) fn numbers(image: &Path) -> Option<(u64, u64)> {
    let stem = stem(image);
    let (first, second) = stem.split_once('_').unwrap_or((stem, "0"));
    let number = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| text.parse().ok())?
    };
    Some((number(first)?, number(second)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_in_order_and_doubles_are_refused() {
        let sorted = |names: &[&str]| -> Vec<String> {
            let mut paths: Vec<PathBuf> = names.iter().map(PathBuf::from).collect();
            paths.sort_by(|a, b| by_name(a, b));
            paths.iter().map(|path| path.display().to_string()).collect()
        };
        assert_eq!(
            sorted(&["10.png", "9.png", "1.jpg"]),
            ["1.jpg", "9.png", "10.png"]
        );
        assert_eq!(
            sorted(&[
                "b_2.png",
                "a cat_000010.png",
                "a cat_000009.png",
                "b_11.png",
                "b.png"
            ]),
            [
                "a cat_000009.png",
                "a cat_000010.png",
                "b.png",
                "b_2.png",
                "b_11.png"
            ]
        );
        let twice = |names: &[&str]| check_twice(&names.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert!(twice(&["1.png", "2.png", "2_1.png", "a1.png", "a.png", "a.webp"]).is_ok());
        for double in [
            ["1.jpg", "1.png"],
            ["1.png", "001.png"],
            ["a cat_3.png", "a cat_003.png"],
        ] {
            assert!(twice(&double).is_err_and(|e| e.to_string().contains("two images of one number")));
        }
        // Names that are not UTF-8 or have more digits than a number must not be taken for each other.
        let long = "9".repeat(60);
        assert!(twice(&[&format!("{long}1.png"), &format!("{long}2.png")]).is_ok());
    }

    #[test]
    fn names_hold_prompts_and_numbers() {
        let of = |name: &str| prompt(Path::new(name));
        assert_eq!(of("a red cat_000001.png").as_deref(), Some("a red cat"));
        assert_eq!(
            (of("zebra_7.png"), of("a red cat.png"), of("a red cat_x1.png")),
            (None, None, None)
        );
        // As a script writes it that keeps letters only.
        assert_eq!(
            of("a_green_bench_and_a_blue_bowl_12.png").as_deref(),
            Some("a green bench and a blue bowl")
        );
        assert_eq!(index(Path::new("d/a red cat_000012.png")), Some(12));
        assert_eq!(index(Path::new("000012.png")), None);
        assert_eq!(numbers(Path::new("00012_03.png")), Some((12, 3)));
        assert_eq!(
            (numbers(Path::new("7.png")), numbers(Path::new("a7.png"))),
            (Some((7, 0)), None)
        );
    }
}
