use super::reader::threaded;
use image::RgbImage;
use std::io::Cursor;
use std::sync::Arc;

use ::parquet::column::writer::ColumnWriter;
use ::parquet::data_type::ByteArray;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;
use image::{DynamicImage, ImageFormat};
use proptest::prelude::*;

use super::*;

/// An image of one colour, 12 x 10.
pub(super) fn png(red: u8) -> Vec<u8> {
    encoded(
        DynamicImage::ImageRgb8(RgbImage::from_pixel(12, 10, image::Rgb([red, 0, 9]))),
        ImageFormat::Png,
    )
}

fn encoded(image: DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).expect("encodes");
    bytes.into_inner()
}

/// A tar of these entries.
pub(super) fn tar(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in entries {
        let mut header = tar::Header::new_gnu();
        // By hand: the crate does not write names that lead out.
        header.as_gnu_mut().expect("GNU").name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, *bytes).expect("appends");
    }
    builder.into_inner().expect("ends")
}

/// A parquet file of these columns of bytes; all rows have a value in each.
pub(super) fn parquet_file(schema: &str, columns: &[Vec<Vec<u8>>]) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(schema).expect("a schema"));
    let mut bytes = Vec::new();
    let mut writer =
        SerializedFileWriter::new(&mut bytes, schema, Arc::new(WriterProperties::builder().build()))
            .expect("begins");
    let mut group = writer.next_row_group().expect("a group");
    for values in columns {
        let mut column = group.next_column().expect("a column").expect("another");
        let values: Vec<ByteArray> = values.iter().map(|v| ByteArray::from(v.clone())).collect();
        let ones = vec![1; values.len()];
        match column.untyped() {
            ColumnWriter::ByteArrayColumnWriter(typed) => {
                typed.write_batch(&values, Some(&ones), None).expect("writes");
            }
            _ => panic!("only bytes here"),
        }
        column.close().expect("closes");
    }
    group.close().expect("closes");
    writer.close().expect("closes");
    bytes
}

const TEXTS: &str = "message m { OPTIONAL BYTE_ARRAY caption (UTF8); }";
pub(super) const ROWS: &str =
    "message m { REQUIRED group image { OPTIONAL BYTE_ARRAY bytes; } OPTIONAL BYTE_ARRAY text (UTF8); }";

fn npy(descr: &str, n: usize, d: usize, values: &[u8]) -> Vec<u8> {
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({n}, {d}), }}");
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(values);
    bytes
}

pub(super) fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, bytes) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("inside")).expect("a folder");
        std::fs::write(path, bytes).expect("written");
    }
    folder
}

fn open(folder: &tempfile::TempDir, name: &str) -> Source {
    let options = SourceOptions {
        images: folder
            .path()
            .join("pictures")
            .is_dir()
            .then(|| folder.path().join("pictures")),
        ..SourceOptions::default()
    };
    let place = folder.path().join(name);
    let source = Source::open(&place.to_string_lossy(), &options).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert_eq!(source.identity().expect("a hash").len(), 64);
    source
}

/// Each item in a line: id, captions and the first pixel or value, or what is wrong; without the folder's name.
fn told(folder: &tempfile::TempDir, name: &str) -> Vec<String> {
    let source = open(folder, name);
    let mut all = Vec::new();
    for unit in 0..source.n_units() {
        for item in source.unit(unit).expect("opens") {
            all.push(tell(item));
        }
    }
    let n = source.n_records();
    assert!(n.is_none_or(|n| n == all.len()), "{n:?} of {all:?}");
    all.iter()
        .map(|line| line.replace(&folder.path().display().to_string(), ""))
        .collect()
}

pub(super) fn tell(item: Item) -> String {
    match item {
        Item::Reject(reject) => format!("{}: {}: {}", reject.id, reject.reason, reject.detail),
        Item::Fault(fault) => format!("FAULT {fault}"),
        Item::Record(record) => {
            let captions: Vec<String> = record
                .captions
                .into_iter()
                .map(|c| c.id.map_or(c.text.clone(), |id| format!("{id}={}", c.text)))
                .collect();
            let seen = match record.image {
                RecordImage::Embedding(values) => format!("{values:?}"),
                image => match image.decode(&ImageLimits::default()) {
                    Ok(image) => format!("{:?}", image.get_pixel(1, 1).0),
                    Err((reason, _)) => reason.to_string(),
                },
            };
            let dropped: Vec<String> = record
                .dropped
                .into_iter()
                .map(|(reason, detail)| format!(" ({reason}: {detail})"))
                .collect();
            format!(
                "{}: {} {seen}{}",
                record.id,
                captions.join(" | "),
                dropped.concat()
            )
        }
    }
}

#[test]
fn names_in_tars_are_as_long_as_names_are() {
    use crate::limits::MAX_NAME;
    let long = format!("{}/{}", "f".repeat(90), "n".repeat(150));
    let (image, text) = (png(1), b"a cat".as_slice());
    let gnu = |name: &str, bytes: &[u8], builder: &mut tar::Builder<Vec<u8>>| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, bytes).expect("appends");
    };
    let mut builder = tar::Builder::new(Vec::new());
    gnu(&format!("{long}.png"), &image, &mut builder);
    builder
        .append_pax_extensions([("path", format!("{long}.txt").as_bytes())])
        .expect("appends");
    gnu("short", text, &mut builder);
    gnu("01.png", &image, &mut builder);
    gnu("01.txt", text, &mut builder);
    let good = builder.into_inner().expect("ends");
    let entry = |kind: tar::EntryType, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        let mut builder = tar::Builder::new(Vec::new());
        gnu("00.png", &png(1), &mut builder);
        gnu("00.txt", b"a dog", &mut builder);
        builder.append(&header, bytes).expect("appends");
        gnu("02.txt", b"never seen", &mut builder);
        builder.into_inner().expect("ends")
    };
    let endless = vec![b'n'; MAX_NAME as usize + 1];
    let folder = folder(&[
        ("a.tar", &good),
        ("b.tar", &entry(tar::EntryType::GNULongName, &endless)),
        ("c.tar", &entry(tar::EntryType::XHeader, &endless)),
        (
            "d.tar",
            &entry(tar::EntryType::XHeader, b"26 size=99999999999999999\n"),
        ),
    ]);
    assert_eq!(
        told(&folder, "a.tar"),
        [
            format!("{long}: a cat [1, 0, 9]"),
            "01: a cat [1, 0, 9]".to_owned()
        ]
    );
    for (file, why) in [
        ("b.tar", "a name of 65537 bytes, at most 65536 are read"),
        ("c.tar", "a name of 65537 bytes, at most 65536 are read"),
        ("d.tar", "a file of 99999999999999999 bytes, by its pax header"),
    ] {
        let items = told(&folder, file);
        let [first, fault] = &items[..] else {
            panic!("{items:?}")
        };
        assert_eq!(first, "00: a dog [1, 0, 9]");
        assert!(
            fault.starts_with(&format!("FAULT /{file}: an entry that cannot be used"))
                && fault.ends_with(why),
            "{fault}"
        );
    }
    assert_eq!(open(&folder, "a.tar").about(), Some(2));
}

#[test]
fn tars_are_streamed_sample_by_sample() {
    let (a, b) = (png(1), png(2));
    let info = br#"{"caption": ["one", "two"], "status": "success"}"#;
    let failed = br#"{"caption": "x", "status": "failed_to_download", "error_message": "404"}"#;
    let whole = tar(&[
        ("00.jpg", &a),
        ("00.txt", b" a\tred\xef\xbb\xbf cat\n"),
        ("00.json", info),
        ("./d/01.png", &b),
        ("./d/01.json", info),
        ("02.json", failed),
        ("03.txt", b"no picture"),
        ("04.jpg", &a),
        ("../05.txt", b"out"),
        ("/06.txt", b"out"),
        ("07.png", &a),
        ("07.txt", b"\xff\xfe"),
        ("08.png", b"not a picture"),
        ("08.txt", b"broken"),
        ("00.png", &b),
        ("00.txt", b"again"),
        ("09.json", b"{"),
    ]);
    let folder = folder(&[
        ("a.tar", &whole),
        ("b.tar", &whole[..2048 + 300]),
        ("c.tar", &whole[..whole.len() - 1024]),
    ]);
    let wanted = [
        "00: a red cat [1, 0, 9]",
        "d/01: one | two [2, 0, 9]",
        "02: not-downloaded: 404",
        "03: no-picture: no .jpg, .png or .webp",
        "../05.txt: unsafe-path: a name that leads out of its folder",
        "/06.txt: unsafe-path: a name that leads out of its folder",
        "04: no-caption: no caption",
        "07: not-utf8: invalid utf-8 sequence of 1 bytes from index 0",
        "08: broken broken-picture",
        "00: duplicate-key: the tar has this key before",
        "09: bad-record: its .json: EOF while parsing an object at line 1 column 1",
    ];
    assert_eq!(told(&folder, "a.tar"), wanted);
    let cut = told(&folder, "b.tar");
    assert!(
        cut.last()
            .is_some_and(|last| last.starts_with("FAULT /b.tar: the tar ends early, near byte")),
        "{cut:?}"
    );
    // Truncated between two files: the present files are whole, but more may be missing.
    let mut between = told(&folder, "c.tar");
    let last = between.pop().expect("items");
    assert_eq!(between, wanted);
    assert!(
        last.starts_with("FAULT /c.tar: the tar ends early")
            && last.ends_with("the block that ends a tar is missing"),
        "{last}"
    );
    assert_eq!(open(&folder, "").n_units(), 3);
    assert_eq!(open(&folder, "*.tar").n_units(), 3);
}

#[test]
fn indexes_name_images_elsewhere() {
    let (a, b) = (png(1), png(2));
    let coco = br#"{"images": [{"id": 7, "file_name": "a.png"}, {"id": 8, "file_name": "../b.png"}, {"id": 9, "file_name": "none.png"}, {"id": 10, "file_name": "a.png"}],
        "annotations": [{"id": 70, "image_id": 7, "caption": "one"}, {"id": 71, "image_id": 7, "caption": " "}, {"id": 72, "image_id": 7, "caption": "two"},
        {"id": 80, "image_id": 8, "caption": "x"}, {"id": 81, "image_id": 88, "caption": "lost"}, {"id": 90, "image_id": 9, "caption": "x"}]}"#;
    let folder = folder(&[
        ("pictures/a.png", &a),
        ("pictures/000000002.jpg", &b),
        ("pictures/00000/000000003.png", &b),
        ("captions.json", coco),
        ("cc3m.tsv", b"a red cat\thttps://x.y/z/a.png?w=3\nno tab\nnumbered\thttps://x.y/other\nalso\thttps://x.y/q.jpg\n\xff\ta.png\nclimbs\t../a.png\n"),
        ("cc12m.tsv", b"a.png\ta cat.jpg of yours\na.png\t \n"),
        ("headed.tsv", b"\xef\xbb\xbfurl\tCaption\na.png\ta cat\nb.png\n"),
    ]);
    assert_eq!(
        told(&folder, "captions.json"),
        [
            "7: 70=one | 72=two [1, 0, 9] (no-caption: caption 71: an empty caption)",
            "8: unsafe-path: \"../b.png\" leads out of /pictures",
            "9: 90=x no-picture",
            "10: no-caption: no caption",
            "81: no-picture: annotation 81 is of image 88, which `images` has not",
        ]
    );
    assert_eq!(
        told(&folder, "cc3m.tsv"),
        [
            "0: a red cat [1, 0, 9]",
            "1: bad-record: 1 field(s) where 2 are expected (separator '\\t')",
            "2: no-picture: no other in /pictures",
            "3: no-picture: no q.jpg in /pictures",
            "4: not-utf8: a line in another encoding",
            "5: unsafe-path: \"../a.png\" leads out of /pictures",
        ]
    );
    assert_eq!(
        told(&folder, "cc12m.tsv"),
        ["0: a cat.jpg of yours [1, 0, 9] (no-caption: an empty caption)"]
    );
    assert_eq!(
        told(&folder, "headed.tsv"),
        [
            "0: a cat [1, 0, 9]",
            "1: bad-record: 1 field(s) where 2 are expected (separator '\\t')"
        ]
    );
    let second = open(&folder, "headed.tsv").unit(0).expect("a unit").nth(1);
    assert!(matches!(second, Some(Item::Reject(r)) if r.place.ends_with("headed.tsv line 3")));
}

#[test]
fn tars_tell_about_how_many_they_have() {
    let samples = |n: usize| {
        let names: Vec<_> = (0..n).map(|i| (format!("{i}.png"), format!("{i}.txt"))).collect();
        let (image, text) = (png(1), b"a cat");
        let both = names
            .iter()
            .flat_map(|(a, b)| [(a.as_str(), image.as_slice()), (b.as_str(), &text[..])]);
        tar(&both.collect::<Vec<_>>())
    };
    let (three, six) = (samples(3), samples(6));
    let folder = folder(&[
        ("t/0.tar", &three),
        ("t/1.tar", &six),
        ("t/0_stats.json", br#"{"count": 9, "successes": 3}"#),
    ]);
    let source = open(&folder, "t");
    assert_eq!(source.n_records(), None, "one of them says nothing");
    let about = source.about().expect("by the first");
    assert!((8..=10).contains(&about), "{about}");
    std::fs::write(folder.path().join("t/1_stats.json"), r#"{"successes": 6}"#).expect("written");
    assert_eq!((source.n_records(), source.about()), (Some(9), Some(9)));
    assert_eq!(told(&folder, "t").len(), 9);
}

#[test]
fn folders_have_texts_beside_or_a_table() {
    let a = png(1);
    let beside = folder(&[
        ("b/x.png", &a),
        ("b/x.txt", b"in a folder"),
        ("a.png", &a),
        ("a.txt", b"a \x07 bell"),
        ("c.png", &a),
    ]);
    let found = told(&beside, "");
    assert_eq!(
        found[..2],
        ["a.png: a bell [1, 0, 9]", "b/x.png: in a folder [1, 0, 9]"]
    );
    assert!(
        found[2].starts_with("c.png: no-caption: no such file"),
        "{found:?}"
    );
    let lines = b"{\"file_name\": \"x.png\", \"text\": \"one\"}\n\n{\"file_name\": \"x.png\", \"caption\": [\"two\", \"three\"]}\n";
    let jsonl = folder(&[("x.png", &a), ("metadata.jsonl", lines)]);
    assert_eq!(told(&jsonl, ""), ["x.png: one | two | three [1, 0, 9]"]);
    let csv = folder(&[
        ("x.png", &a),
        ("list.csv", b"n,Image,Caption\n1,x.png,\"a, b\"\n2,x.png\n"),
    ]);
    assert_eq!(
        told(&csv, ""),
        [
            "x.png: a, b [1, 0, 9]",
            "1: bad-record: 2 field(s) where 3 are expected (separator ',')"
        ]
    );
}

#[test]
fn parquet_holds_images_and_embeddings_have_captions() {
    let rows = parquet_file(
        ROWS,
        &[
            vec![png(1), b"no".to_vec()],
            vec![b"one".to_vec(), b"two".to_vec()],
        ],
    );
    let data = folder(&[("train-0.parquet", &rows)]);
    assert_eq!(told(&data, ""), ["0: one [1, 0, 9]", "1: two broken-picture"]);
    let half: Vec<u8> = [1.0f32, 2.0, 3.0, f32::NAN]
        .iter()
        .flat_map(|&v| half::f16::from_f32(v).to_le_bytes())
        .collect();
    let captions =
        |texts: &[&str]| parquet_file(TEXTS, &[texts.iter().map(|t| t.as_bytes().to_vec()).collect()]);
    let single: Vec<u8> = [4.0f32, 5.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let retrieved = folder(&[
        ("img_emb/img_emb_0.npy", &npy("<f2", 2, 2, &half)),
        ("metadata/metadata_0.parquet", &captions(&["one", "two"])),
        ("img_emb/img_emb_1.npy", &npy("<f4", 1, 2, &single)),
        ("metadata/metadata_1.parquet", &captions(&["three"])),
    ]);
    assert_eq!(
        told(&retrieved, ""),
        [
            "0: one [1.0, 2.0]",
            "1: bad-record: a value that is not finite",
            "0: three [4.0, 5.0]"
        ]
    );
}

#[test]
fn images_are_decoded_within_limits() {
    let decode = |bytes: Vec<u8>| RecordImage::Encoded(bytes).decode(&ImageLimits::default());
    // A PNG that says it has 30,000 x 30,000 pixels, in 57 bytes.
    let mut bomb = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut header = b"IHDR".to_vec();
    header.extend(30_000u32.to_be_bytes());
    header.extend(30_000u32.to_be_bytes());
    header.extend([8, 2, 0, 0, 0]);
    bomb.extend(13u32.to_be_bytes());
    bomb.extend(&header);
    let crc = header.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            if crc & 1 == 1 {
                0xEDB8_8320 ^ (crc >> 1)
            } else {
                crc >> 1
            }
        })
    });
    bomb.extend((!crc).to_be_bytes());
    bomb.extend(b"\0\0\0\0IDAT\x35\xaf\x06\x1e");
    let (reason, detail) = decode(bomb).expect_err("refused");
    assert_eq!(reason, RejectReason::TooLarge, "{detail}");
    assert_eq!(detail, "30000 x 30000; at most 100000000 pixels, 16384 a side");

    // Made by Pillow: the left half cyan, the right half yellow.
    let cmyk = decode(include_bytes!("cmyk.jpg").to_vec()).expect("cyan and yellow");
    let near = |x: u32, wanted: [u8; 3]| {
        let found = cmyk.get_pixel(x, 5).0;
        assert!(
            found.iter().zip(wanted).all(|(a, b)| a.abs_diff(b) < 12),
            "{found:?} where {wanted:?} should be"
        );
    };
    near(2, [0, 255, 255]);
    near(13, [255, 255, 0]);

    let deep = image::ImageBuffer::from_pixel(9, 9, image::Rgb([65535u16, 0, 32768]));
    let deep = decode(encoded(DynamicImage::ImageRgb16(deep), ImageFormat::Png)).expect("16 bits");
    assert_eq!(deep.get_pixel(0, 0).0, [255, 0, 128]);
    let clear = image::RgbaImage::from_pixel(9, 9, image::Rgba([7, 8, 9, 0]));
    let clear = decode(encoded(DynamicImage::ImageRgba8(clear), ImageFormat::Png)).expect("alpha");
    assert_eq!(clear.get_pixel(0, 0).0, [7, 8, 9]);
    let grey = DynamicImage::ImageLuma8(image::GrayImage::from_pixel(9, 9, image::Luma([77])));
    for format in [ImageFormat::Png, ImageFormat::WebP] {
        assert_eq!(
            decode(encoded(grey.clone(), format))
                .expect("grey")
                .get_pixel(0, 0)
                .0,
            [77; 3]
        );
    }
    let speck = DynamicImage::ImageRgb8(RgbImage::new(7, 99));
    assert_eq!(
        decode(encoded(speck, ImageFormat::Png)).expect_err("small").0,
        RejectReason::TooSmall
    );
    let mut cut = png(3);
    cut.truncate(cut.len() - 20);
    assert_eq!(decode(cut).expect_err("cut").0, RejectReason::BrokenImage);
    let few = ImageLimits {
        max_bytes: 10,
        ..ImageLimits::default()
    };
    assert_eq!(
        RecordImage::Encoded(png(3)).decode(&few).expect_err("large").0,
        RejectReason::TooLarge
    );
}

#[test]
fn captions_are_cleaned() {
    let clean = |text: &str| caption::clean(text).map_err(|(reason, _)| reason);
    assert_eq!(
        clean("\u{feff} a\u{0}\r\n red\u{85}cat  "),
        Ok("a red cat".into())
    );
    assert_eq!(clean(" \t "), Err(RejectReason::NoCaption));
    assert_eq!(clean(&"x".repeat(65_537)), Err(RejectReason::CaptionTooLong));
    assert_eq!(clean(&"x ".repeat(32_768)).map(|t| t.len()), Ok(65_535));
}

#[test]
fn worlds_have_queries() {
    let open = |place: &str| Source::open(place, &SourceOptions::default());
    let source = open("world:shapes?n=1200&seed=4&holes=false&captions=rich").expect("a world");
    assert_eq!(
        (source.n_units(), source.n_records(), source.format()),
        (2, Some(1200), Format(&world::FORMAT))
    );
    assert_eq!(source.unit(1).expect("a unit").count(), 200);
    for (place, wanted) in [
        ("world:mars", "world:mars: expected one of emoji, shapes"),
        (
            "world:emoji?n=0",
            "world:emoji?n=0: `n`: expected a number from 1 to 10000000, found \"0\"",
        ),
        (
            "world:emoji?m=1",
            "world:emoji?m=1: unknown key `m`: expected n, seed, holes, bias or captions",
        ),
    ] {
        assert_eq!(open(place).expect_err(place).to_string(), wanted);
    }
}

#[test]
fn a_deep_npy_header_is_refused_and_not_read() {
    // One that nests, and one that claims 600 MB.
    for (length, header) in [
        (1_000_001, "(".repeat(1_000_000) + "\n"),
        (0x277b_0076_u32, "{}\n".to_owned()),
    ] {
        let mut bytes = b"\x93NUMPY\x03\x00".to_vec();
        bytes.extend(length.to_le_bytes());
        bytes.extend(header.as_bytes());
        let folder = folder(&[
            ("img_emb/img_emb_0.npy", &bytes),
            ("metadata/metadata_0.parquet", b""),
        ]);
        let error =
            Source::open(&folder.path().to_string_lossy(), &SourceOptions::default()).expect_err("refused");
        assert!(
            error
                .to_string()
                .ends_with("found brackets within brackets, or a header of megabytes"),
            "{error}"
        );
    }
}

/// What each format looks like when nothing is wrong, to be damaged.
fn sound() -> Vec<(&'static str, Vec<u8>)> {
    let info: &[u8] = br#"{"caption": "x", "status": "success"}"#;
    vec![
        ("a.tar", tar(&[("0.png", &png(1)), ("0.txt", b"a cat"), ("1.json", info), ("1.png", &png(2))])),
        ("a.tsv", b"a cat\tx.png\na dog\tx.png\n".to_vec()),
        ("a.json", br#"{"images": [{"id": 1, "file_name": "x.png"}], "annotations": [{"id": 1, "image_id": 1, "caption": "x"}]}"#.to_vec()),
        ("metadata.jsonl", b"{\"file_name\": \"x.png\", \"text\": \"one\"}\n".to_vec()),
        ("a.csv", b"file,caption\nx.png,a cat\n".to_vec()),
        ("a.parquet", parquet_file(ROWS, &[vec![png(1)], vec![b"one".to_vec()]])),
        ("img_emb/img_emb_0.npy", npy("<f4", 2, 1, &[0; 8])),
        ("x.png", png(4)),
        ("x.jpg", include_bytes!("cmyk.jpg").to_vec()),
    ]
}

/// Reads an input to its end.
fn read(name: &str, bytes: &[u8]) {
    let captions = || parquet_file(TEXTS, &[vec![b"a".to_vec(), b"b".to_vec()]]);
    if name.starts_with("x.") {
        let _ = RecordImage::Encoded(bytes.to_vec()).decode(&ImageLimits::default());
        return;
    }
    let folder = folder(&[(name, bytes), ("pictures/x.png", b"x")]);
    let mut place = folder.path().join(name);
    if name.starts_with("img_emb") {
        std::fs::create_dir(folder.path().join("metadata")).expect("a folder");
        std::fs::write(folder.path().join("metadata/metadata_0.parquet"), captions()).expect("written");
        place = folder.path().to_path_buf();
    }
    let options = SourceOptions {
        images: Some(folder.path().join("pictures")),
        ..SourceOptions::default()
    };
    let Ok(source) = Source::open(&place.to_string_lossy(), &options) else {
        return;
    };
    for unit in 0..source.n_units() {
        let Ok(items) = source.unit(unit) else { continue };
        for item in items.take(100) {
            assert!(!tell(item).is_empty());
        }
    }
}

proptest! {
    #[test]
    fn damaged_files_never_panic(
        which in 0usize..9, damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(), truncate: bool,
    ) {
        let (name, mut bytes) = sound().swap_remove(which);
        for (place, value) in damage {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if truncate {
            bytes.truncate(cut.index(bytes.len()));
        }
        read(name, &bytes);
    }

    #[test]
    fn noise_never_panics(which in 0usize..9, bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let (name, _) = sound().swap_remove(which);
        read(name, &bytes);
    }
}

#[test]
fn a_reader_that_panics_ends_in_a_fault() {
    let items = threaded(Path::new("a.tar"), |tell| {
        tell(Item::Fault(Fault::new(Path::new("first"), "told")));
        panic!("not to be seen");
    });
    let told: Vec<String> = items.map(tell).collect();
    assert_eq!(
        told,
        [
            "FAULT first: told",
            "FAULT a.tar: the file is damaged: its reader gave up"
        ]
    );
}

#[test]
fn parquet_pages_that_claim_too_much_are_refused() {
    use ::parquet::file::reader::FileReader;
    let folder = folder(&[(
        "a.parquet",
        &parquet_file(ROWS, &[vec![png(1); 40], vec![b"one".to_vec(); 40]]),
    )]);
    let path = folder.path().join("a.parquet");
    let reader = super::parquet::open(&path).expect("opens");
    let within = |most| pages::within(&path, reader.metadata(), most);
    // 40 images of some hundred bytes, and 40 captions of seven.
    assert_eq!(within(100_000), Ok(()));
    let error = within(100).expect_err("too much");
    assert!(
        error.starts_with("a page at byte ") && error.contains(" claims "),
        "{error}"
    );
}
