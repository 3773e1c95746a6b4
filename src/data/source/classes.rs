//! Inputs that could silently corrupt a result, by class: shifted pairs, ambiguous images, lost records and files.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::tests::{ROWS, folder, parquet_file, png, tar, tell};
use super::*;

fn options(images: &tempfile::TempDir) -> SourceOptions {
    SourceOptions {
        images: Some(images.path().join("images")),
        ..SourceOptions::default()
    }
}

fn read(place: &Path, options: &SourceOptions) -> Result<Vec<String>, String> {
    let parent = place.parent().unwrap_or(place).display().to_string();
    let bare = |text: String| text.replace(&format!("{parent}/"), "").replace(&parent, "");
    let source = Source::open(&place.to_string_lossy(), options).map_err(|e| bare(e.to_string()))?;
    let mut told = Vec::new();
    for unit in 0..source.n_units() {
        let items = source.unit(unit).map_err(|e| e.to_string())?;
        told.extend(items.map(|item| bare(tell(item))));
    }
    Ok(told)
}

/// A table whose images are named by number, as img2dataset names them: image i has the red value i.
fn numbered(table: &[u8], n: u8, more: &[(&str, &[u8])]) -> tempfile::TempDir {
    let names: Vec<String> = (0..n).map(|i| format!("images/{i:09}.png")).collect();
    let images: Vec<Vec<u8>> = (0..n).map(png).collect();
    let mut files: Vec<(&str, &[u8])> = names
        .iter()
        .map(String::as_str)
        .zip(images.iter().map(Vec::as_slice))
        .collect();
    files.push(("t.tsv", table));
    files.extend(more);
    folder(&files)
}

#[test]
fn position_stands_for_a_name_only_where_every_row_has_its_number() {
    let by_position = |desk: &tempfile::TempDir| SourceOptions {
        by_position: true,
        ..options(desk)
    };
    let wanted = ["0: zero [0, 0, 9]", "1: one [1, 0, 9]", "2: two [2, 0, 9]"];
    for table in [
        "zero\thttp://x/a.jpg\none\thttp://x/b.jpg\ntwo\thttp://x/c.jpg\n",
        "caption\turl\tmd5\nzero\thttp://x/a.jpg\t1\none\thttp://x/b.jpg\t2\ntwo\thttp://x/c.jpg\t3\n",
        "words\tlink\nzero\thttp://x/a.jpg\none\thttp://x/b.jpg\ntwo\thttp://x/c.jpg\n",
        "\nzero\thttp://x/a.jpg\n\n\none\thttp://x/b.jpg\n \ntwo\thttp://x/c.jpg\n\n",
        "caption\turl\n\"zero\"\thttp://x/a.jpg\n\"one\n\"\thttp://x/b.jpg\ntwo\thttp://x/c.jpg\n",
    ] {
        let desk = numbered(table.as_bytes(), 3, &[]);
        let place = desk.path().join("t.tsv");
        assert_eq!(read(&place, &options(&desk)).expect("reads"), wanted, "{table}");
        let source = Source::open(&place.to_string_lossy(), &options(&desk)).expect("opens");
        assert!(source.notes()[0].contains("by position"), "{:?}", source.notes());
    }
    // One image too few, or one too many: the assignment is unknown.
    let table = b"zero\thttp://x/a.jpg\none\thttp://x/b.jpg\ntwo\thttp://x/c.jpg\n";
    for n in [2, 4] {
        let desk = numbered(table, n, &[]);
        let refused = read(&desk.path().join("t.tsv"), &options(&desk)).expect_err("refused");
        assert!(
            refused.contains("--by-position takes image i for row i"),
            "{refused}"
        );
        let told = read(&desk.path().join("t.tsv"), &by_position(&desk)).expect("asked for");
        assert_eq!(told.len(), 3);
        assert_eq!(told[..2], wanted[..2]);
    }
    // The sidecar file of the downloader overrides the number.
    let desk = numbered(
        table,
        3,
        &[("images/000000001.json", br#"{"url": "http://x/other.jpg"}"#)],
    );
    let told = read(&desk.path().join("t.tsv"), &options(&desk)).expect("reads");
    assert_eq!(
        told[1],
        "1: bad-record: images/000000001.png is of http://x/other.jpg, the row names http://x/b.jpg"
    );
}

#[test]
fn urls_that_end_alike_are_not_one_file() {
    let desk = folder(&[
        (
            "t.tsv",
            b"a\thttp://x/1/image.png\nb\thttp://x/2/image.png\nc\thttp://x/3/c.png\nd\thttp://x/3/c.png\n",
        ),
        ("images/image.png", &png(1)),
        ("images/c.png", &png(3)),
    ]);
    assert_eq!(
        read(&desk.path().join("t.tsv"), &options(&desk)).expect("reads"),
        [
            "0: bad-record: 2 rows have URLs that end in image.png: which of them the file is cannot be told",
            "2: c | d [3, 0, 9]"
        ]
    );
}

proptest! {
    /// For any table, a caption gets the image that its row names and no other, and rows of one image are one record.
    #[test]
    fn a_row_gets_the_image_it_names(
        rows in prop::collection::vec((0u8..12, "[a-z ,;|\"\n]{0,8}"), 1..30),
        separator in prop::sample::select(vec!['\t', ',', ';', '|']),
        header in prop::sample::select(vec![["file_name", "caption", "n"], ["Image Name", "comment", "comment number"], ["id", "text", "filepath"], ["path", "title", "x"]]),
        blank in any::<bool>(), relative in any::<bool>(),
    ) {
        let mut writer = csv::WriterBuilder::new().delimiter(separator as u8).from_writer(Vec::new());
        writer.write_record(header).expect("writes");
        let at = if header[2] == "filepath" { 2 } else { 0 };
        for (i, (image, caption)) in rows.iter().enumerate() {
            let mut fields = [i.to_string(), format!("{image} {caption}"), i.to_string()];
            fields[at] = format!("{}images/{image}.png", if relative { "./" } else { "" });
            writer.write_record(&fields).expect("writes");
        }
        let mut table = writer.into_inner().expect("ends");
        if blank {
            table.extend(b"\n\n");
        }
        let images: Vec<(String, Vec<u8>)> = (0..12).map(|i| (format!("images/{i}.png"), png(i))).collect();
        let mut files: Vec<(&str, &[u8])> = images.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
        files.push(("t.csv", &table));
        let desk = folder(&files);
        let source = Source::open(&desk.path().join("t.csv").to_string_lossy(), &SourceOptions::default()).expect("opens");
        let mut found: BTreeMap<u8, usize> = BTreeMap::new();
        for item in source.unit(0).expect("a unit") {
            let Item::Record(record) = item else { panic!("{}", tell(item)) };
            let red = record.image.decode(&ImageLimits::default()).expect("an image").get_pixel(0, 0).0[0];
            for caption in &record.captions {
                let named: u8 = caption.text.split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
                prop_assert_eq!(named, red);
            }
            prop_assert!(found.insert(red, record.captions.len()).is_none(), "an image in two records");
        }
        let mut wanted: BTreeMap<u8, usize> = BTreeMap::new();
        rows.iter().for_each(|(image, _)| *wanted.entry(*image).or_default() += 1);
        prop_assert_eq!(found, wanted);
    }
}

#[test]
fn columns_are_found_or_named() {
    let desk = folder(&[
        ("a.csv", b"what,where,size\na cat,x.png,1\n"),
        ("b.csv", b"filepath\ttitle\nx.png\ta cat\n"),
        ("c.txt", b"image_name| comment_number| comment\nx.png| 0| a cat\n"),
        ("d.jsonl", b"{\"img_file\": \"x.png\", \"words\": \"a cat\"}\n"),
        ("e.jsonl", b"\xef\xbb\xbf{\"image\": \"x.png\", \"text\": null, \"caption\": \"a cat\"}\n{\"image\": \"x.png\", \"sentences\": [{\"raw\": \"b\"}]}\n"),
        ("f.tsv", b"0.9\tx.png\ta cat\n0.8\tx.png\ta dog\n"),
        ("x.png", &png(1)),
    ]);
    let named = |image: &str, caption: &str| SourceOptions {
        columns: Columns {
            image: Some(image.into()),
            caption: Some(caption.into()),
        },
        format: Some(Format(&folder::FORMAT)),
        ..SourceOptions::default()
    };
    // Without a header, by number.
    let numbers = |image: &str, caption: &str| SourceOptions {
        format: Some(Format(&table::FORMAT)),
        images: Some(desk.path().to_path_buf()),
        ..named(image, caption)
    };
    let plain = SourceOptions {
        format: Some(Format(&folder::FORMAT)),
        ..SourceOptions::default()
    };
    let read = |name: &str, options: &SourceOptions| read(&desk.path().join(name), options);
    assert_eq!(
        read("f.tsv", &numbers("2", "3")),
        Ok(vec!["0: a cat | a dog [1, 0, 9]".into()])
    );
    assert_eq!(
        read("f.tsv", &numbers("2", "4")).expect_err("refused"),
        "f.tsv: --image-column 2: no such column; found 0.9, x.png, a cat; columns of a table without a header are numbered from 1"
    );
    let cat = vec!["x.png: a cat [1, 0, 9]".to_owned()];
    assert_eq!(
        read("a.csv", &plain).expect_err("refused"),
        "a.csv: no column for the caption: expected caption or text, found what, where, size; name it with --caption-column"
    );
    assert_eq!(read("a.csv", &named("where", "what")), Ok(cat.clone()));
    assert_eq!(
        read("a.csv", &named("where", "who")).expect_err("refused"),
        "a.csv: --caption-column who: no such column; found what, where, size"
    );
    assert_eq!(read("b.csv", &plain), Ok(cat.clone()));
    assert_eq!(read("c.txt", &plain), Ok(cat.clone()));
    assert!(
        read("d.jsonl", &plain)
            .expect_err("refused")
            .contains("--image-column")
    );
    assert_eq!(read("d.jsonl", &named("img_file", "words")), Ok(cat));
    assert_eq!(
        read("e.jsonl", &plain),
        Ok(vec!["x.png: a cat | b [1, 0, 9]".into()])
    );
}

#[test]
fn a_bad_record_is_a_reject_and_no_more() {
    let coco = br#"{"images": [{"id": "a", "file_name": "x.png"}, {"id": 2}, {"file_name": "x.png"}, {"id": "a", "file_name": "y.png"}],
        "annotations": [{"image_id": "a", "caption": "one"}, {"id": 5, "image_id": "a", "caption": null}, {"id": 6, "caption": "x"}, {"id": 7, "image_id": "a", "caption": 3}]}"#;
    let lines = b"{\"file_name\": \"x.png\", \"text\": \"one\"}\n{\"file_name\": \"x.png\", \"text\": null}\n{\"file_name\": \"x.png\", \"text\": \"caf\xe9\"}\nnonsense\n[1]\n{\"text\": \"of nothing\"}\n";
    let desk = folder(&[("images/x.png", &png(1)), ("c.json", coco), ("l.jsonl", lines)]);
    assert_eq!(
        read(&desk.path().join("c.json"), &options(&desk)).expect("reads"),
        [
            "a: one [1, 0, 9] (no-caption: caption 5: an empty caption)",
            "2: no-picture: image 2 has no `file_name`",
            "images 2: bad-record: `images` entry 2 has no `id`",
            "a: duplicate-key: `images` has a twice",
            "6: no-picture: annotation 6 is of image nothing, which `images` has not",
            "7: bad-record: annotation 7: `caption` is 3",
        ]
    );
    let told = read(&desk.path().join("l.jsonl"), &options(&desk)).expect("reads");
    let reasons: Vec<&str> = told
        .iter()
        .map(|line| line.split(": ").nth(1).unwrap_or_default())
        .collect();
    assert_eq!(
        reasons,
        [
            "one [1, 0, 9]",
            "no-caption",
            "not-utf8",
            "bad-record",
            "bad-record",
            "no-picture"
        ]
    );
}

#[test]
fn tars_with_litter_and_json_that_nobody_needs() {
    let a = png(1);
    let whole = tar(&[
        ("._00.jpg", b"litter"),
        ("00.png", &a),
        ("._00.txt", b"litter"),
        ("00.txt", b"a cat"),
        ("00.json", b"{not json"),
        ("__MACOSX/00.png", b"litter"),
        ("01.png", &a),
        ("01.txt", b" \n"),
        ("01.json", br#"{"caption": "from json", "status": null}"#),
        ("02.png", &a),
        ("02.txt", b"a dog"),
        (
            "02.json",
            br#"{"caption": 7, "status": 200, "error_message": []}"#,
        ),
        ("03 v1.5.png", &a),
        ("03 v1.5.txt", b"cut"),
    ]);
    let desk = folder(&[("a.tar", &whole)]);
    assert_eq!(
        read(&desk.path().join("a.tar"), &SourceOptions::default()).expect("reads"),
        [
            "00: a cat [1, 0, 9]",
            "01: from json [1, 0, 9]",
            "02: a dog [1, 0, 9]",
            "03 v1: no-caption: no caption; 2 of its names are cut at the first dot, as webdataset does: `03 v1` + `5.png`",
        ]
    );
}

#[test]
fn a_file_that_is_something_else_is_told() {
    let whole = tar(&[("0.png", &png(1)), ("0.txt", b"a cat")]);
    let gzip: &[u8] = b"\x1f\x8b\x08\0\0";
    let html: &[u8] = b"<!DOCTYPE html><title>404</title>";
    let lfs: &[u8] = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n";
    let desk = folder(&[
        ("gz.tar", gzip),
        ("gz.csv", gzip),
        ("gz/0.tar.gz", gzip),
        ("html.tar", html),
        ("html.json", html),
        ("lfs.parquet", lfs),
        ("lfs/metadata.jsonl", lfs),
        ("empty.tsv", b""),
        ("wide.csv", b"\xff\xfea\0"),
        ("some/0.tar", &whole),
        ("some/1.tar", html),
        (
            "named.tar",
            &parquet_file(ROWS, &[vec![png(1)], vec![b"one".to_vec()]]),
        ),
    ]);
    let told = |name: &str| read(&desk.path().join(name), &options(&desk));
    for (name, wanted) in [
        ("gz.tar", "gz.tar: is gzip: gunzip it first"),
        ("gz.csv", "gz.csv: is gzip: gunzip it first"),
        ("gz", "gz/0.tar.gz: is gzip: gunzip it first"),
        (
            "html.tar",
            "html.tar: is an HTML page: the download has failed (a login, or an error page)",
        ),
        (
            "html.json",
            "html.json: is an HTML page: the download has failed (a login, or an error page)",
        ),
        (
            "lfs.parquet",
            "lfs.parquet: is a git-lfs pointer, not the file: git lfs pull",
        ),
        (
            "lfs",
            "lfs/metadata.jsonl: is a git-lfs pointer, not the file: git lfs pull",
        ),
        ("empty.tsv", "empty.tsv: is empty"),
        ("wide.csv", "wide.csv: is UTF-16: save it as UTF-8"),
    ] {
        assert_eq!(told(name).expect_err(name), wanted);
    }
    // The first bytes decide the format, not the name.
    assert_eq!(told("named.tar").expect("parquet"), ["0: one [1, 0, 9]"]);
    // A pattern names shards whether or not they exist.
    let lost = "FAULT some/1.tar: is an HTML page: the download has failed (a login, or an error page)";
    assert_eq!(told("some").expect("one is good"), ["0: a cat [1, 0, 9]", lost]);
    let pattern = desk.path().join("some/{0..2}.tar");
    let told = read(&pattern, &SourceOptions::default()).expect("one is good");
    assert_eq!(told[2], "FAULT 2.tar: no such file");
}

#[test]
fn splits_and_patterns_choose_files() {
    let shard = |caption: &str| parquet_file(ROWS, &[vec![png(1)], vec![caption.as_bytes().to_vec()]]);
    let (one, two, test) = (shard("one"), shard("two"), shard("test"));
    let desk = folder(&[
        ("repo/README.md", b"x"),
        ("repo/data/train-00000-of-00002.parquet", &one),
        ("repo/data/train-00001-of-00002.parquet", &two),
        ("repo/data/test-00000-of-00001.parquet", &test),
        (
            "folders/train/metadata.jsonl",
            b"{\"file_name\": \"a.png\", \"text\": \"one\"}\n",
        ),
        ("folders/train/a.png", &png(1)),
        ("folders/val/metadata.csv", b"file_name,text\na.png,two\n"),
        ("folders/val/a.png", &png(2)),
    ]);
    let split = |name: &str| SourceOptions {
        split: Some(name.into()),
        ..SourceOptions::default()
    };
    let captions = |name: &str, options: &SourceOptions| -> Result<Vec<String>, String> {
        let told = read(&desk.path().join(name), options)?;
        Ok(told
            .iter()
            .map(|line| line.split(' ').nth(1).unwrap_or_default().to_owned())
            .collect())
    };
    let all = SourceOptions::default();
    assert_eq!(
        captions("repo", &all),
        Ok(vec!["test".into(), "one".into(), "two".into()])
    );
    assert_eq!(
        captions("repo", &split("training")),
        Ok(vec!["one".into(), "two".into()])
    );
    assert_eq!(
        captions("repo/data/train-*.parquet", &all),
        Ok(vec!["one".into(), "two".into()])
    );
    assert_eq!(captions("folders", &all), Ok(vec!["one".into(), "two".into()]));
    assert_eq!(captions("folders", &split("validation")), Ok(vec!["two".into()]));
    assert_eq!(
        captions("repo", &split("dev")).expect_err("none"),
        "repo: --split dev: no such split; found test (1 file(s)), train (2 file(s))"
    );
    let notes = Source::open(&desk.path().join("repo").to_string_lossy(), &all)
        .expect("opens")
        .notes();
    assert!(
        notes[0].ends_with(
            "the splits test (1 file(s)), train (2 file(s)) are read together: --split takes one of them"
        ),
        "{notes:?}"
    );
}

#[test]
fn absolute_paths_are_read_where_they_lead_into_the_folder() {
    let desk = folder(&[("images/x.png", &png(1)), ("y.png", &png(2))]);
    let at = |name: &str| desk.path().join(name).display().to_string();
    let table = format!("filepath,title\n{},in\n{},out\n", at("images/x.png"), at("y.png"));
    std::fs::write(desk.path().join("t.csv"), table).expect("written");
    let told = read(&desk.path().join("t.csv"), &options(&desk)).expect("reads");
    assert!(
        told[0].ends_with(": in [1, 0, 9]") && told[1].contains("unsafe-path"),
        "{told:?}"
    );
}

#[cfg(unix)]
#[test]
fn links_to_folders_are_followed_once() {
    let desk = folder(&[
        ("pictures/own.png", &png(1)),
        ("pictures/own.txt", b"own"),
        ("real/other.png", &png(2)),
        ("real/other.txt", b"other"),
        ("stub/own.png", &png(1)),
        ("stub/own.txt", b"own"),
        ("stub/more", b"../real\n"),
    ]);
    let link = |to: &str, at: &str| std::os::unix::fs::symlink(to, desk.path().join(at)).expect("a link");
    link("../real", "pictures/linked");
    link("..", "pictures/up");
    link(".", "pictures/self");
    let told = read(&desk.path().join("pictures"), &SourceOptions::default()).expect("reads");
    assert!(
        told.iter().any(|line| line.contains("other [2, 0, 9]")),
        "{told:?}"
    );
    assert_eq!(
        told.iter().filter(|line| line.contains("own [1, 0, 9]")).count(),
        2,
        "own, and the other folder's"
    );
    let notes = Source::open(
        &desk.path().join("stub").to_string_lossy(),
        &SourceOptions::default(),
    )
    .expect("opens")
    .notes();
    assert!(
        notes[0].contains("stub/more is a text that names the folder ../real"),
        "{notes:?}"
    );
}

#[test]
fn one_lost_file_of_embeddings_is_told() {
    let npy = |values: [f32; 2]| {
        let mut header = String::from("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }");
        header.push_str(&" ".repeat(117 - header.len()));
        header.push('\n');
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        bytes
    };
    let captions = parquet_file(
        "message m { OPTIONAL BYTE_ARRAY caption (UTF8); }",
        &[vec![b"one".to_vec()]],
    );
    let desk = folder(&[
        ("e/img_emb/img_emb_0.npy", &npy([1.0, 2.0])),
        ("e/metadata/metadata_0.parquet", &captions),
        ("e/img_emb/img_emb_1.npy", &npy([3.0, 4.0])),
    ]);
    let told = read(&desk.path().join("e"), &SourceOptions::default()).expect("one is good");
    assert_eq!(told[0], "0: one [1.0, 2.0]");
    assert!(
        told[1].starts_with("FAULT e/img_emb/img_emb_1.npy: no such file: "),
        "{told:?}"
    );
}

#[test]
fn an_image_downloaders_log_is_no_source() {
    let log = parquet_file(
        "message m { OPTIONAL BYTE_ARRAY url (UTF8); OPTIONAL BYTE_ARRAY key (UTF8); OPTIONAL BYTE_ARRAY status (UTF8); OPTIONAL BYTE_ARRAY caption (UTF8); }",
        &[
            vec![b"http://x/a.png".to_vec()],
            vec![b"0".to_vec()],
            vec![b"success".to_vec()],
            vec![b"x".to_vec()],
        ],
    );
    let desk = folder(&[
        ("out/00000.parquet", &log),
        ("out/00000/0.png", &png(1)),
        ("out/00000/0.txt", b"a cat"),
    ]);
    assert_eq!(
        read(&desk.path().join("out"), &SourceOptions::default()).expect("reads"),
        ["00000/0.png: a cat [1, 0, 9]"]
    );
}
