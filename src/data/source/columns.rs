//! Finds the image and caption columns of a table, JSON line or parquet file.

/// Names of image columns, in order of preference: a file before a URL.
const IMAGES: [&str; 21] = [
    "file_name",
    "filename",
    "filepath",
    "file_path",
    "file",
    "path",
    "image_path",
    "image_file",
    "image_name",
    "image",
    "img",
    "img_path",
    "jpg",
    "jpeg",
    "png",
    "webp",
    "image_url",
    "img_url",
    "url",
    "link",
    "image_link",
];
/// Names of caption columns, in order of preference.
const CAPTIONS: [&str; 13] = [
    "caption",
    "text",
    "captions",
    "sentences",
    "title",
    "comment",
    "description",
    "prompt",
    "txt",
    "alt_text",
    "alttext",
    "alt",
    "label_text",
];

/// Columns named by the user, which override detection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Columns {
    /// The image column: a file name, a URL, or the image itself.
    pub image: Option<String>,
    /// The caption column.
    pub caption: Option<String>,
}

/// Indices of the columns in a header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Image columns in order of preference: one may be empty in some rows.
    pub(super) image: Vec<usize>,
    /// Caption columns in order of preference.
    pub(super) caption: Vec<usize>,
    /// Numbered captions (`caption_0`, `caption_1`): each is a caption.
    pub(super) numbered: Vec<usize>,
}

impl Found {
    /// Whether there are caption columns.
    pub(super) fn has_caption(&self) -> bool {
        !self.caption.is_empty() || !self.numbered.is_empty()
    }
}

/// A name in lower case, without quotes, spaces and byte-order mark.
pub(super) fn plain(name: &str) -> String {
    let bare = name
        .trim_start_matches('\u{feff}')
        .trim()
        .trim_matches('"')
        .trim();
    bare.to_lowercase().replace([' ', '-'], "_")
}

/// Finds the columns by name, ignoring case.
///
/// # Errors
/// The message for a user-named column that does not exist.
pub(super) fn find<'a>(names: impl IntoIterator<Item = &'a str>, columns: &Columns) -> Result<Found, String> {
    let names: Vec<&str> = names.into_iter().collect();
    let plain_names: Vec<String> = names.iter().map(|name| plain(name)).collect();
    let asked = |option: &str, wanted: &Option<String>| -> Result<Option<usize>, String> {
        let Some(wanted) = wanted else {
            return Ok(None);
        };
        let exact = names.iter().position(|name| name == wanted);
        match exact.or_else(|| plain_names.iter().position(|name| *name == plain(wanted))) {
            Some(at) => Ok(Some(at)),
            None => Err(format!(
                "{option} {wanted}: no such column; found {}",
                names.join(", ")
            )),
        }
    };
    let known = |list: &[&str]| -> Vec<usize> {
        let place = |wanted: &&str| plain_names.iter().position(|name| name == wanted);
        list.iter().filter_map(place).collect()
    };
    let mut found = Found {
        image: known(&IMAGES),
        caption: known(&CAPTIONS),
        numbered: vec![],
    };
    if let Some(at) = asked("--image-column", &columns.image)? {
        found.image = vec![at];
    }
    match asked("--caption-column", &columns.caption)? {
        Some(at) => found.caption = vec![at],
        None => {
            found.numbered = (0..names.len())
                .filter(|&i| is_numbered(&plain_names[i]))
                .collect()
        }
    }
    found
        .caption
        .retain(|at| found.image.first().is_none_or(|image| image != at));
    Ok(found)
}

/// `caption_0`, `caption1`, `text_2`.
fn is_numbered(name: &str) -> bool {
    ["caption", "text", "sentence"].iter().any(|stem| {
        let rest = name.strip_prefix(stem).map(|rest| rest.trim_start_matches('_'));
        rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
    })
}

/// Whether a value is a URL or the name of an image file.
pub(super) fn names_an_image(value: &str) -> bool {
    let value = value.trim();
    let bare = value.split(['?', '#']).next().unwrap_or(value).to_lowercase();
    let named = super::item::EXTENSIONS
        .iter()
        .any(|e| bare.ends_with(&format!(".{e}")));
    value.contains("://") && !value.contains(' ') || (named && !value.contains(' '))
}

/// The message for a column that was not found.
pub(super) fn missing(what: &str, names: &[impl AsRef<str>]) -> String {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    format!(
        "no column for the {what}: expected {}, found {}; name it with --{what}-column",
        if what == "image" {
            "file_name, image, path or url"
        } else {
            "caption or text"
        },
        names.join(", ")
    )
}
