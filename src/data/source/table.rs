//! Delimited tables of captions and images: CC3M's `caption TAB url` and CC12M's `url TAB caption` as published without a header, and tables with a
//! header of any columns (open_clip's, Flickr's, CSVs of all kinds).
//!
//! Rows of one image are one record with several captions. An image is the file that its row names, by path or by the last part of a URL; it is found
//! by number only if every row has its numbered file, or on request. Only offsets of rows are in memory.

use std::collections::HashMap;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::caption::usable;
use super::columns::{self, Columns, Found};
use super::delimited::{Damage, RawRecord, Records, split};
use super::item::{EXTENSIONS, Fault, Item, Record, RecordImage, Reject, RejectReason, SourceError};
use super::place::check_text;
use super::reader::{Files, Items, Kind, Reader, SourceOptions, UNIT, inside, names_and_sizes};
use crate::files::{self, FileError};

/// The format.
pub(super) const FORMAT: Kind = Kind {
    name: "tsv",
    scheme: None,
    extensions: &["tsv"],
    files: Files::Index,
    open: open_tsv,
};

fn open_tsv(place: &str, options: &SourceOptions) -> Result<Box<dyn Reader>, SourceError> {
    let path = Path::new(place);
    check_text(path)?;
    let table = TableOptions {
        columns: &options.columns,
        separator: options.separator,
        by_position: options.by_position,
        named_ids: false,
    };
    let images = options.images_of(place, FORMAT.name)?;
    Ok(Box::new(Table::open(path, images, &table)?))
}

/// Rows from which header, separator and columns are detected.
const SAMPLE: usize = 100;
/// Rows whose files are looked up before numbered images are considered.
const NAMED: usize = 1000;
/// Candidate separators.
const SEPARATORS: [char; 4] = ['\t', ',', ';', '|'];

/// The layout of a table.
pub(super) struct TableOptions<'a> {
    pub(super) columns: &'a Columns,
    pub(super) separator: Option<char>,
    /// Row i has the image with number i, whatever the row names.
    pub(super) by_position: bool,
    /// Whether ids are file names or row numbers.
    pub(super) named_ids: bool,
}

/// Start of a row.
#[derive(Debug, Clone, Copy)]
struct Row {
    offset: u64,
    line: u32,
    number: u32,
}

/// The table.
pub(super) struct Table {
    path: PathBuf,
    images: PathBuf,
    layout: Layout,
    by_position: bool,
    named_ids: bool,
    /// Rows, grouped by image, in the order in which images first appear.
    rows: Vec<Row>,
    /// First row of each image, and whether its rows name several URLs with the same ending.
    starts: Vec<(u32, bool)>,
    notes: Vec<String>,
}

/// Detected columns.
#[derive(Debug, Clone)]
struct Layout {
    separator: char,
    n_fields: usize,
    has_header: bool,
    found: Found,
}

impl Table {
    pub(super) fn open(
        path: &Path,
        images: PathBuf,
        options: &TableOptions<'_>,
    ) -> Result<Self, SourceError> {
        let layout = Layout::tell(path, options)?;
        let mut table = Self {
            path: path.to_path_buf(),
            images,
            layout,
            by_position: options.by_position,
            named_ids: options.named_ids,
            rows: Vec::new(),
            starts: Vec::new(),
            notes: Vec::new(),
        };
        let names_found = table.index()?;
        if !options.by_position && !names_found && !table.rows.is_empty() {
            table.number()?;
        }
        Ok(table)
    }

    fn io(&self) -> impl Fn(std::io::Error) -> SourceError + use<> {
        let path = self.path.clone();
        move |source| {
            let path = path.clone();
            FileError::Io {
                action: "read",
                path,
                source,
            }
            .into()
        }
    }

    fn records(&self, from: (u64, u32)) -> Result<Records<BufReader<File>>, SourceError> {
        let layout = &self.layout;
        Records::new(open(&self.path)?, layout.separator, Some(layout.n_fields), from).map_err(self.io())
    }

    /// Scans the table for the offsets and images of its rows. Returns whether any of the first rows names an existing file.
    fn index(&mut self) -> Result<bool, SourceError> {
        let mut records = self.records((0, 1))?;
        if self.layout.has_header {
            records.next().map_err(self.io())?;
        }
        let (mut groups, mut rows): (HashMap<u64, u32>, Vec<(u32, Row)>) = (HashMap::new(), Vec::new());
        let (mut urls, mut clash): (HashMap<u32, u64>, Vec<bool>) = (HashMap::new(), Vec::new());
        let mut found = false;
        while let Some(record) = records.next().map_err(self.io())? {
            let number = u32::try_from(rows.len())
                .map_err(|_| SourceError::content(&self.path, "more than 2^32 rows"))?;
            let row = Row {
                offset: record.offset,
                line: record.line,
                number,
            };
            let name = self.name_of(&record).ok();
            found |= number < NAMED as u32 && name.as_deref().is_some_and(|name| self.named(name).is_some());
            let new = clash.len() as u32;
            let group = match &name {
                Some(name) if !self.by_position => *groups.entry(hash(last_part(name))).or_insert(new),
                _ => new,
            };
            if group == new {
                clash.push(false);
            }
            if let Some(name) = name.filter(|name| !self.by_position && name.contains("://")) {
                clash[group as usize] |= *urls.entry(group).or_insert_with(|| hash(&name)) != hash(&name);
            }
            rows.push((group, row));
        }
        rows.sort_by_key(|(group, _)| *group);
        for (i, (group, row)) in rows.iter().enumerate() {
            if *group as usize == self.starts.len() {
                self.starts.push((i as u32, clash[*group as usize]));
            }
            self.rows.push(*row);
        }
        Ok(found)
    }

    /// No row names an existing file: images may be numbered, as in img2dataset's output. Then rows and numbered images must match one by one.
    fn number(&mut self) -> Result<(), SourceError> {
        let numbered = numbered_images(&self.images)?;
        if numbered.is_empty() {
            return Ok(());
        }
        let mut rows = self.rows.clone();
        rows.sort_by_key(|row| row.number);
        let mut records = self.records((0, 1))?;
        for row in rows.iter().skip(NAMED) {
            records.go_to(row.offset, row.line).map_err(self.io())?;
            let record = records.next().map_err(self.io())?;
            if record.is_some_and(|r| self.name_of(&r).is_ok_and(|name| self.named(&name).is_some())) {
                return Ok(());
            }
        }
        let n = rows.len();
        if numbered.len() != n || numbered.iter().enumerate().any(|(i, number)| i as u64 != *number) {
            let reason = format!(
                "no row names a file in {}, and its {} numbered images are not those of the {n} rows one by one; \
                 --by-position takes image i for row i all the same",
                self.images.display(),
                numbered.len()
            );
            return Err(SourceError::content(&self.path, reason));
        }
        self.notes.push(format!(
            "{}: no row names a file in {}: its {n} numbered images are taken for the {n} rows, by position",
            self.path.display(),
            self.images.display()
        ));
        self.by_position = true;
        self.starts = (0..n as u32).map(|i| (i, false)).collect();
        self.rows = rows;
        Ok(())
    }

    fn place(&self, row: &Row) -> String {
        format!("{} line {}", self.path.display(), row.line)
    }

    /// The first non-empty field of the image columns.
    fn name_of(&self, record: &RawRecord) -> Result<String, (RejectReason, String)> {
        let fields = self.fields(record)?;
        let named = self.layout.found.image.iter().filter_map(|&i| fields.get(i));
        let name = named.map(|f| f.trim()).find(|f| !f.is_empty());
        name.map(str::to_owned)
            .ok_or_else(|| (RejectReason::NoImage, "the row names no image".into()))
    }

    fn fields<'a>(&self, record: &'a RawRecord) -> Result<&'a [String], (RejectReason, String)> {
        let fields = match &record.fields {
            Ok(fields) => fields,
            Err(Damage::NotUtf8) => return Err((RejectReason::NotUtf8, "a line in another encoding".into())),
            Err(Damage::TooLong) => {
                return Err((RejectReason::BadRecord, "a line of more than 1 MiB".into()));
            }
        };
        if fields.len() == self.layout.n_fields {
            return Ok(fields);
        }
        let detail = format!(
            "{} field(s) where {} are expected (separator {:?})",
            fields.len(),
            self.layout.n_fields,
            self.layout.separator
        );
        Err((RejectReason::BadRecord, detail))
    }

    fn captions(&self, fields: &[String]) -> Vec<String> {
        let found = &self.layout.found;
        let full = |i: &usize| fields.get(*i).filter(|f| !f.trim().is_empty());
        match found.caption.iter().find_map(full) {
            Some(text) => vec![text.clone()],
            None => found.numbered.iter().filter_map(full).cloned().collect(),
        }
    }

    /// The record of an image. Its rejected rows are rejected captions.
    fn item(&self, group: usize, records: &mut Records<BufReader<File>>) -> std::io::Result<Item> {
        let (start, clash) = self.starts[group];
        let end = self
            .starts
            .get(group + 1)
            .map_or(self.rows.len(), |s| s.0 as usize);
        let rows = &self.rows[start as usize..end];
        let first = rows[0];
        let (mut texts, mut wrong, mut image) = (Vec::new(), Vec::new(), None);
        for row in rows {
            records.go_to(row.offset, row.line)?;
            let Some(record) = records.next()? else {
                wrong.push((RejectReason::BadRecord, "the table has changed".to_owned()));
                continue;
            };
            match self
                .name_of(&record)
                .and_then(|name| Ok((name, self.fields(&record)?)))
            {
                Ok((name, fields)) => {
                    let captions = self.captions(fields);
                    if captions.is_empty() {
                        wrong.push((RejectReason::NoCaption, "an empty caption".to_owned()));
                    }
                    texts.extend(captions.into_iter().map(|text| (None, text)));
                    image.get_or_insert(name);
                }
                Err(why) => wrong.push(why),
            }
        }
        let (place, name) = (self.place(&first), image.unwrap_or_default());
        let id = match self.named_ids && !name.is_empty() {
            true => name.clone(),
            false => first.number.to_string(),
        };
        let made = usable(texts)
            .map_err(|why| match wrong.pop() {
                Some(earlier) if name.is_empty() || why.1 == "no caption" => earlier,
                _ => why,
            })
            .and_then(|mut captions| {
                if clash {
                    let detail = format!(
                        "{} rows have URLs that end in {}: which of them the file is cannot be told",
                        rows.len(),
                        last_part(&name)
                    );
                    return Err((RejectReason::BadRecord, detail));
                }
                captions.dropped.append(&mut wrong);
                Ok((captions, self.file(first.number, &name)?))
            });
        Ok(match made {
            Ok((captions, file)) => Item::Record(Record {
                id,
                place,
                captions: captions.captions,
                dropped: captions.dropped,
                caption_file: None,
                image: RecordImage::File(file),
            }),
            Err((reason, detail)) => Reject::item(id, place, reason, detail),
        })
    }

    /// The file `name`, if it exists.
    fn named(&self, name: &str) -> Option<PathBuf> {
        inside(&self.images, last_part(name)).filter(|file| file.is_file())
    }

    /// The image of a row.
    fn file(&self, number: u32, name: &str) -> Result<PathBuf, (RejectReason, String)> {
        if !self.by_position {
            if let Some(file) = self.named(name) {
                return Ok(file);
            }
            return Err(
                match name.contains("://") || inside(&self.images, name).is_some() {
                    true => {
                        let detail = format!("no {} in {}", last_part(name), self.images.display());
                        (RejectReason::NoImage, detail)
                    }
                    false => {
                        let detail = format!("{name:?} leads out of {}", self.images.display());
                        (RejectReason::UnsafePath, detail)
                    }
                },
            );
        }
        let numbered = format!("{number:09}");
        let folders = [
            self.images.clone(),
            self.images.join(format!("{:05}", number as usize / UNIT)),
        ];
        let mut tried = folders
            .iter()
            .flat_map(|folder| EXTENSIONS.map(|e| folder.join(format!("{numbered}.{e}"))));
        let Some(file) = tried.find(|file| file.is_file()) else {
            let detail = format!("no {numbered}.jpg in {}", self.images.display());
            return Err((RejectReason::NoImage, detail));
        };
        // img2dataset's sidecar file contains the image's URL.
        let info = files::read(file.with_extension("json")).ok();
        let url = info
            .and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok())
            .and_then(|info| Some(info.get("url")?.as_str()?.to_owned()));
        match url {
            Some(url) if url != name => {
                let detail = format!("{} is of {url}, the row names {name}", file.display());
                Err((RejectReason::BadRecord, detail))
            }
            _ => Ok(file),
        }
    }
}

impl Layout {
    /// Separator, header and columns, from the first rows.
    fn tell(path: &Path, options: &TableOptions<'_>) -> Result<Self, SourceError> {
        let wrong = |reason: String| SourceError::content(path, reason);
        let first = first_line(path)?;
        let separator = match options.separator {
            Some(separator) => separator,
            None => separator_of(&first, path, options.columns),
        };
        let (header, _) = split(&first, separator);
        let named = columns::find(header.iter().map(String::as_str), &Columns::default()).unwrap_or_default();
        let io = |source| FileError::Io {
            action: "read",
            path: path.to_path_buf(),
            source,
        };
        let mut records = Records::new(open(path)?, separator, Some(header.len()), (0, 1)).map_err(io)?;
        let mut sample = Vec::new();
        while sample.len() <= SAMPLE
            && let Some(record) = records.next().map_err(io)?
        {
            sample.extend(record.fields.ok());
        }
        // Number of image names per column, except in the first row.
        let votes = |i: usize| {
            let values = sample.iter().skip(1).filter_map(|row| row.get(i));
            values.filter(|value| columns::names_an_image(value)).count()
        };
        let asked = options.columns != &Columns::default()
            && columns::find(header.iter().map(String::as_str), options.columns).is_ok();
        let is_named = !named.image.is_empty() || named.has_caption();
        let has_image = header.iter().any(|field| columns::names_an_image(field));
        let has_header =
            asked || (is_named && !has_image) || (!has_image && (0..header.len()).any(|i| votes(i) > 0));
        let n_fields = header.len();
        if has_header {
            let mut found =
                columns::find(header.iter().map(String::as_str), options.columns).map_err(wrong)?;
            if found.image.is_empty() {
                found.image.extend(
                    (0..n_fields)
                        .filter(|i| !found.caption.contains(i))
                        .max_by_key(|&i| votes(i))
                        .filter(|&i| votes(i) > 0),
                );
            }
            if !found.has_caption() && n_fields == 2 && found.image.len() == 1 {
                found.caption.push(1 - found.image[0]);
            }
            for (what, is_there) in [
                ("image", !found.image.is_empty()),
                ("caption", found.has_caption()),
            ] {
                if !is_there {
                    return Err(wrong(columns::missing(what, &header)));
                }
            }
            return Ok(Self {
                separator,
                n_fields,
                has_header,
                found,
            });
        }
        // The most frequent number of fields: the first row may be faulty.
        let mut counts: HashMap<usize, usize> = HashMap::new();
        for row in &sample {
            *counts.entry(row.len()).or_default() += 1;
        }
        let n_fields = counts
            .into_iter()
            .max_by_key(|&(n, count)| (count, n == 2, n))
            .map_or(0, |(n, _)| n);
        if options.columns != &Columns::default() {
            let found = numbered_columns(options.columns, n_fields)
                .ok_or(())
                .or_else(|()| columns::find(header.iter().map(String::as_str), options.columns));
            let found = found.map_err(|e| {
                wrong(format!(
                    "{e}; columns of a table without a header are numbered from 1"
                ))
            })?;
            return Ok(Self {
                separator,
                n_fields,
                has_header,
                found,
            });
        }
        let all = |i: usize| {
            let values = sample
                .iter()
                .filter(|row| row.len() == n_fields)
                .filter_map(|row| row.get(i));
            values.filter(|value| columns::names_an_image(value)).count()
        };
        match n_fields {
            2 if all(0) != all(1) => {
                let image = usize::from(all(1) > all(0));
                Ok(Self {
                    separator,
                    n_fields,
                    has_header,
                    found: Found {
                        image: vec![image],
                        caption: vec![1 - image],
                        numbered: vec![],
                    },
                })
            }
            n => Err(wrong(format!(
                "expected lines of a caption and an image's URL or path, in either order, or a header; found lines of {n} field(s) by the separator \
                 {separator:?}, the first of them {first:?}; --separator, --image-column and --caption-column name what is not found"
            ))),
        }
    }
}

/// The separator with the most known names in the first line; else that of the file's extension; else that with the most fields.
fn separator_of(first: &str, path: &Path, asked: &Columns) -> char {
    let is_tsv = path
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("tsv") || e.eq_ignore_ascii_case("tab"));
    let usual = if is_tsv { '\t' } else { ',' };
    let score = |separator: char| {
        let (fields, _) = split(first, separator);
        let found = columns::find(fields.iter().map(String::as_str), &Columns::default()).unwrap_or_default();
        let is_asked =
            columns::find(fields.iter().map(String::as_str), asked).is_ok() && asked != &Columns::default();
        let known = usize::from(!found.image.is_empty())
            + usize::from(found.has_caption())
            + 2 * usize::from(is_asked);
        let known = if fields.len() > 1 { known } else { 0 };
        (known, separator == usual && fields.len() > 1, fields.len())
    };
    let best = SEPARATORS.into_iter().max_by_key(|&s| score(s));
    best.filter(|&s| score(s).2 > 1).unwrap_or(usual)
}

/// Both columns by number, from 1, if the user gives numbers.
fn numbered_columns(columns: &Columns, n_fields: usize) -> Option<Found> {
    let number = |name: &Option<String>| -> Option<usize> {
        let number = name.as_ref()?.parse::<usize>().ok()?;
        (1..=n_fields).contains(&number).then(|| number - 1)
    };
    Some(Found {
        image: vec![number(&columns.image)?],
        caption: vec![number(&columns.caption)?],
        numbered: vec![],
    })
}

/// The first line that is not blank.
fn first_line(path: &Path) -> Result<String, SourceError> {
    let io = |source| FileError::Io {
        action: "read",
        path: path.to_path_buf(),
        source,
    };
    let mut records = Records::new(open(path)?, '\0', None, (0, 1)).map_err(io)?;
    let first = records.next().map_err(io)?;
    match first.map(|record| record.fields) {
        Some(Ok(fields)) => Ok(fields.concat()),
        Some(Err(_)) | None => Ok(String::new()),
    }
}

/// The last part of a URL, without its query; a path is unchanged.
fn last_part(name: &str) -> &str {
    if !name.contains("://") {
        return name.trim_start_matches("./");
    }
    let bare = name.split(['?', '#']).next().unwrap_or(name);
    bare.rsplit('/').next().unwrap_or(bare)
}

/// Numbers of images with purely numeric names, sorted, in `folder` and its numeric subfolders.
fn numbered_images(folder: &Path) -> Result<Vec<u64>, SourceError> {
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let is_number = |text: &str| text.len() == 9 && digits(text);
    let stem = |path: &Path| path.file_stem().map(|s| s.to_string_lossy().into_owned());
    let mut folders = vec![folder.to_path_buf()];
    folders.extend(
        files::list_folders(folder)?
            .into_iter()
            .filter(|f| stem(f).is_some_and(|s| s.len() == 5 && digits(&s))),
    );
    let mut numbers = Vec::new();
    for folder in folders {
        for file in files::list(&folder)? {
            let is_image = file
                .extension()
                .is_some_and(|e| EXTENSIONS.iter().any(|x| e.eq_ignore_ascii_case(x)));
            if let Some(number) = stem(&file)
                .filter(|s| is_image && is_number(s))
                .and_then(|s| s.parse().ok())
            {
                numbers.push(number);
            }
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

fn open(path: &Path) -> Result<BufReader<File>, SourceError> {
    let file = File::open(path).map_err(|source| FileError::io("read", path, source))?;
    Ok(BufReader::new(file))
}

impl Reader for Table {
    fn n_units(&self) -> usize {
        self.starts.len().div_ceil(UNIT)
    }

    fn unit_name(&self, unit: usize) -> String {
        format!("{}, images from {}", self.path.display(), unit * UNIT)
    }

    fn n_records(&self) -> Option<usize> {
        Some(self.starts.len())
    }

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    fn unit(&self, unit: usize) -> Result<Items<'_>, SourceError> {
        let first = (unit * UNIT).min(self.starts.len());
        let last = (first + UNIT).min(self.starts.len());
        let start = self.starts.get(first).map(|s| self.rows[s.0 as usize]);
        let mut records = self.records(start.map_or((0, 1), |row| (row.offset, row.line)))?;
        let mut failed = false;
        Ok(Box::new((first..last).map_while(move |group| {
            if failed {
                return None;
            }
            Some(self.item(group, &mut records).unwrap_or_else(|e| {
                failed = true;
                Item::Fault(Fault::new(&self.path, e))
            }))
        })))
    }

    fn files(&self, _unit: usize) -> Vec<PathBuf> {
        vec![self.path.clone()]
    }

    fn identity(&self) -> Result<String, SourceError> {
        let by = if self.by_position { "by position\n" } else { "" };
        Ok(by.to_owned()
            + &format!("{:?}\n", self.layout.found)
            + &names_and_sizes(std::slice::from_ref(&self.path))?)
    }
}
