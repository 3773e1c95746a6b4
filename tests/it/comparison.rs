//! Comparisons of systems: drawn, killed, resumed, scored, reported; and specifications that are wrong.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use eclipse_t2i::comparison::{Comparison, Folders, Results};
use eclipse_t2i::eval::image_folder::ImageFile;
use eclipse_t2i::eval::image_score::ImageScore;
use eclipse_t2i::eval::per_image;
use eclipse_t2i::files::{list, read_text};
use eclipse_t2i::report::comparison::write_comparison;
use eclipse_t2i::report::{About, ReportFiles};
use serde_json::Value;

use crate::{program, tiny};

/// Two systems that draw, two of images made elsewhere, one of numbers, one whose weights are not there.
const SPEC: &str = "
published = 'published.toml'
[systems.karlo]
label = 'Karlo'
pipeline = 'karlo'
prior = 'prior'
clip = 'clip'
steps = 2
super_res_steps = 2
[systems.kandinsky]
pipeline = 'kandinsky'
prior = 'prior'
clip = 'clip'
steps = 3
scheduler = 'ddim'
size = { width = 64, height = 64 }
[systems.theirs]
images = 'images'
folders = { coco = 'fid_a', words = 'fid_a' }
[systems.half]
images = 'half'
[systems.numbers]
label = 'Only numbers'
[systems.absent]
pipeline = 'weights/absent'
[prompts.coco]
source = { kind = 'coco_captions', path = 'captions.json' }
images = 1
same_seeds = false
[prompts.words]
source = { kind = 'lines', path = 'prompts.txt' }
images = 2
[metrics.fid]
inception = 'inception_narrow/model.safetensors'
reference = 'images/fid_b'
[metrics.clip-score]
clip = 'clip'
[metrics.pick-score]
clip = 'clip'
[table.columns]
fid = { prompts = 'coco', metric = 'fid', label = 'FID', decimals = 1 }
words = { prompts = 'words', metric = 'clip-score', decimals = 3 }
[scatter]
columns = ['words']
label = 'cosine'
[preferences.all]
reference = 'karlo'
prompts = ['words']
round_robin = true
";

const PUBLISHED: &str = "
source = 'somebody'
footnotes = { '*' = 'official' }
[preferences]
all = 0.75
[systems.karlo]
total = 1900
scores = { words = 0.31 }
[systems.numbers]
total = 4500
scores = { fid = { value = 10.65, notes = ['*'] }, words = 0.5 }
[systems.absent]
total = 900
scores = { words = 0.25 }
";

/// Networks, prompts, images, a reference and the specification.
fn desk() -> tempfile::TempDir {
    let desk = tempfile::tempdir().expect("a folder");
    let at = |name: &str| desk.path().join(name);
    tiny::write_karlo(&at("karlo"));
    tiny::write_kandinsky(&at("kandinsky"));
    tiny::write_prior(&at("prior"), &tiny::prior_config());
    tiny::write_clip(&at("clip"));
    for name in ["images", "inception_narrow"] {
        tiny::copy(&tiny::golden("eval-tiny-s0").join(name), &at(name));
    }
    // Five images do not go round two prompts.
    for i in 0..5 {
        tiny::copy(&at("images/fid_a/000.png"), &at(&format!("half/words/{i}.png")));
    }
    let captions = r#"{"annotations": [{"image_id": 9, "id": 1, "caption": "a red/blue cat."}, {"image_id": 4, "id": 2, "caption": "two dogs"}]}"#;
    for (name, text) in [
        ("captions.json", captions),
        ("prompts.txt", "a red cat\ntwo dogs\n"),
        ("sweep.toml", SPEC),
        ("published.toml", PUBLISHED),
    ] {
        std::fs::write(at(name), text).expect("written");
    }
    desk
}

fn eclipse(desk: &Path, args: &str) -> (i32, String, String) {
    program::eclipse(desk, args.split_whitespace())
}

/// `text` without the numbers that this machine computed.
fn without_numbers(text: &str, cells: &Value) -> String {
    let mut text = text.to_owned();
    for cell in cells.as_array().expect("cells") {
        let digits = if cell["column"] == "fid" { 1 } else { 3 };
        let score = &cell["measured"];
        let ends = [&score["value"], &score["interval"][0], &score["interval"][1]];
        for value in ends.into_iter().filter_map(Value::as_f64) {
            text = text.replace(&format!("{value:.digits$}"), "N");
        }
    }
    text
}

#[test]
fn a_comparison_is_drawn_killed_resumed_scored_and_reported() {
    let desk = desk();
    let folder = desk.path();
    let samples = folder.join("runs/x/karlo/words/samples");
    let x = folder.join("x");
    std::fs::create_dir(&x).expect("made");
    std::fs::rename(folder.join("sweep.toml"), x.join("sweep.toml")).expect("moved");
    let (code, said, err) = eclipse(folder, "sweep x --dry-run");
    assert_eq!(code, 0, "{err}");
    assert!(
        said.contains("karlo/words: 0 of 4 images; to score: clip-score, pick-score\n"),
        "{said}"
    );
    assert!(
        said.contains("absent/coco: 0 of 2 images; to score: fid; missing: weights/absent is not there"),
        "{said}"
    );
    assert!(!folder.join("runs").exists());

    let n_images = || {
        list(&samples).map_or(0, |files| {
            files
                .iter()
                .filter(|f| f.extension().is_some_and(|e| e == "png"))
                .count()
        })
    };
    let mut command = program::command(folder, ["sweep", "x"]);
    let child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    tiny::kill_when(child, || n_images() > 0);
    let first = samples.join("a red cat_000000.png");
    let before = first.metadata().expect("drawn").modified().expect("a time");
    let (code, said, err) = eclipse(folder, "sweep x --json");
    assert_eq!(code, 1, "{err}");
    assert!(
        err.contains("error: 2 failed, the same command tries again:\n")
            && err.contains("half/words: clip-score: half/words: 5 images for the 2 prompts of words"),
        "{err}"
    );
    assert_eq!(
        first.metadata().expect("kept").modified().expect("a time"),
        before,
        "drawn twice"
    );
    assert_eq!(n_images(), 4);
    // As in T2I-CompBench's generator: one seed for the k-th image of every prompt.
    let seed = |name: &str| {
        let side = read_text(samples.join(name)).expect("a side file");
        serde_json::from_str::<Value>(&side).expect("JSON")["seed"].clone()
    };
    let names = [
        "a red cat_000000.json",
        "a red cat_000001.json",
        "two dogs_000002.json",
        "two dogs_000003.json",
    ];
    assert_eq!(names.map(seed), [42, 43, 42, 43].map(Value::from));
    assert!(
        folder
            .join("runs/x/karlo/coco/samples/a red_blue cat._000001.png")
            .is_file()
    );

    let cells: Value = serde_json::from_str(&said).expect("JSON");
    let of = |system: &str, column: &str| {
        let cells = cells.as_array().expect("cells");
        let cell = cells
            .iter()
            .find(|cell| cell["system"] == system && cell["column"] == column);
        cell.expect("a cell").clone()
    };
    for system in ["karlo", "kandinsky", "theirs"] {
        assert!(
            of(system, "fid")["measured"]["value"]
                .as_f64()
                .is_some_and(|v| v > 0.0)
        );
        assert!(of(system, "words")["measured"]["interval"][1].is_number());
    }
    assert_eq!(of("numbers", "words")["measured"], Value::Null);
    let result = folder.join("runs/x/results");
    let markdown = read_text(result.join("README.md")).expect("a report");
    // Hashes, device and version do not belong into a snapshot.
    let markdown = markdown.split("## Protocols").next().expect("a part").to_owned();
    let preferences = markdown.find("\n## all").expect("the preference");
    insta::assert_snapshot!(
        "comparison_table",
        without_numbers(&markdown[..preferences], &cells)
    );
    assert!(
        markdown[preferences..].contains("| Karlo against | win rate | mean probability | prompts | ties |"),
        "{markdown}"
    );
    assert!(markdown[preferences..].contains("75.0 % p"), "{markdown}");
    let page = read_text(result.join("index.html")).expect("a page");
    assert!(
        page.contains("<i>10.7*</i> p") && page.contains("Protocols of the measured numbers"),
        "{page}"
    );
    assert!(
        read_text(result.join("figure.svg"))
            .expect("a plot")
            .contains("Only numbers")
    );

    // Nothing is left to do; a setting of a metric that changes computes that metric again.
    let written = |metric: &str| {
        let path = folder.join(format!("runs/x/theirs/coco/eval/{metric}.json"));
        path.metadata().expect("scored").modified().expect("a time")
    };
    let fid = written("fid");
    std::fs::remove_dir_all(folder.join("half")).expect("removed");
    let (code, said, err) = eclipse(folder, "sweep x");
    assert_eq!(code, 0, "{err}");
    assert!(
        !err.contains("to draw") && !err.contains("clip-score of"),
        "{err}"
    );
    assert!(said.contains("Karlo"), "{said}");
    assert_eq!(written("fid"), fid);
    let (code, _, err) = eclipse(folder, "sweep x --set metrics.fid.resize=clean");
    assert_eq!(code, 0, "{err}");
    assert!(
        written("fid") > fid && err.contains("theirs/coco: fid of 12 images"),
        "{err}"
    );

    // Images of other settings are neither replaced nor mixed; the other systems go on.
    let (code, _, err) = eclipse(folder, "sweep x --set systems.karlo.steps=3");
    assert_eq!(code, 1);
    assert!(
        err.contains("karlo/words: drawing: ")
            && err.contains("is of another call: `decoder")
            && err.contains("remove the folder of these images"),
        "{err}"
    );
    let (code, said, err) = eclipse(folder, "report x --publish");
    assert_eq!((code, said.contains("Only numbers")), (0, true), "{err}");
    assert!(x.join("results/README.md").is_file() && !x.join("results/index.html").exists());
    let (code, _, err) = eclipse(folder, "sweep x --publish --set systems.karlo.steps=3");
    assert_eq!(code, 2, "{err}");
}

/// Results on disk: a value, its number of images, and a value for each image of two prompts.
fn write_score(
    folders: &Folders,
    comparison: &Comparison,
    system: usize,
    metric: &str,
    value: f64,
    n: usize,
) {
    let eval = folders.eval(&comparison.systems[system], &comparison.prompts[0]);
    let score = ImageScore {
        metric: metric.into(),
        lower_is_better: false,
        value,
        interval: Some([value - 0.1, value + 0.1]),
        n,
        also: Default::default(),
        protocol: [("weights_sha256".to_owned(), "1".into())].into(),
        program: "eclipse".into(),
    };
    score.write(&eval).expect("written");
    let folder = folders
        .images(&comparison.systems[system], &comparison.prompts[0])
        .expect("a folder");
    std::fs::create_dir_all(&folder).expect("made");
    let image = |i: usize| {
        let path = folder.join(format!("prompt {}_{i:06}.png", i % 2));
        std::fs::write(&path, [i as u8]).expect("written");
        ImageFile { path, prompt: None }
    };
    let images: Vec<ImageFile> = (0..n).map(image).collect();
    let each: Vec<f64> = (0..n).map(|i| value + i as f64).collect();
    per_image::write(&eval, metric, &folder, &images, &each).expect("written");
}

#[test]
fn only_numbers_of_one_protocol_are_compared() {
    let desk = tempfile::tempdir().expect("a folder");
    let at = |name: &str| desk.path().join(name);
    let spec = "
[systems]
a = { images = 'DESK/a' }
b = { images = 'DESK/b' }
c = { images = 'DESK/c' }
d = { images = 'DESK/d' }
[prompts.p]
source = { kind = 'lines', path = 'nowhere.txt' }
[table.columns.score]
prompts = 'p'
metric = 'clip-score'
[preferences.one]
prompts = ['p']
reference = 'a'
";
    let spec = spec.replace("DESK", &desk.path().display().to_string());
    std::fs::write(at("sweep.toml"), spec).expect("written");
    let comparison = Comparison::read(&at("sweep.toml"), &[], false).expect("valid");
    let folders = Folders::new(at("runs"));
    for (system, value, n) in [(0, 0.2, 4), (1, 0.3, 4), (2, 0.9, 2)] {
        write_score(&folders, &comparison, system, "clip-score", value, n);
        write_score(&folders, &comparison, system, "pick-score", value, n);
    }
    let results = Results::read(&comparison, &folders).expect("readable");
    let cells: Vec<_> = results.rows.iter().map(|row| &row.cells[0]).collect();
    assert_eq!(
        cells.iter().map(|c| c.is_best).collect::<Vec<_>>(),
        [false, true, false, false]
    );
    assert_eq!(
        cells[2].differs.as_deref(),
        Some("n is 2, 4 for most of the column")
    );
    assert!(cells[0].differs.is_none() && cells[1].differs.is_none());
    assert!(
        cells[3]
            .missing
            .as_ref()
            .is_some_and(|why| why.ends_with("d/p is not there"))
    );
    assert_eq!(results.n_measured(), (3, 4));
    let preference = &results.preferences[0];
    assert_eq!(preference.missing.len(), 1);
    let [b, c] = &preference.meetings[..] else {
        panic!("{preference:?}")
    };
    // b is above a by 0.1 on each image; c has one image a prompt, which meets the first of a.
    assert_eq!((b.opponent, b.win_rate.value, b.n_prompts), (1, 0.0, 2));
    assert!((b.mean_probability.value - 1.0 / (1.0 + 0.1_f64.exp())).abs() < 1e-12);
    assert_eq!((c.opponent, c.n_prompts), (2, 2));
    assert!(
        b.differs.is_none() && c.differs.as_ref().is_some_and(|d| d.contains("n is 4")),
        "{c:?}"
    );
}

/// Writes the report of Table 1 with nothing measured into `out`.
pub fn write_table_1(out: &Path) -> PathBuf {
    let results = published_table_1();
    let about = About::read(&results.comparison.folder, out).expect("a README");
    write_comparison(&results, out, &about, ReportFiles::All).expect("written");
    out.to_path_buf()
}

/// Table 1 with nothing measured.
fn published_table_1() -> Results {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/table1/sweep.toml");
    let comparison = Comparison::read(&path, &[], false).expect("valid");
    let nowhere = tempfile::tempdir().expect("a folder");
    Results::read(&comparison, &Folders::new(nowhere.path())).expect("readable")
}

/// The heights of the paper's Figure 1, which it gives as a plot only, read with four digits.
#[test]
fn figure_1_follows_from_the_published_table() {
    let points = published_table_1().points();
    let means: Vec<String> = points.iter().map(|p| format!("{:.4}", p.mean)).collect();
    let expected = [
        "0.3832", "0.4736", "0.3642", "0.4995", "0.5863", "0.5430", "0.5721", "0.5464", "0.5612", "0.5509",
        "0.5636", "0.5904",
    ];
    assert_eq!(means, expected);
}

#[test]
fn specifications_that_are_wrong_are_answered_with_the_key() {
    let desk = desk();
    let folder = desk.path();
    let published = |text: &str| SPEC.replace("'published.toml'", &format!("'{text}'"));
    let more = |text: &str| format!("{SPEC}\n{text}\n");
    for (name, text) in [
        ("empty.txt", "\n\n"),
        ("none.json", "{\"annotations\": []}"),
        ("bad.json", "[1]"),
    ] {
        std::fs::write(folder.join(name), text).expect("written");
    }
    for (name, text) in [
        ("system.toml", "[systems.nobody]\ntotal = 3"),
        ("column.toml", "[systems.karlo.scores]\ncolour = 0.5"),
        (
            "note.toml",
            "[systems.karlo.scores]\nwords = { value = 1.0, notes = ['+'] }",
        ),
        ("number.toml", "[systems.karlo.scores]\nwords = 'high'"),
        ("preference.toml", "[preferences]\nnone = 0.5"),
    ] {
        std::fs::write(folder.join(name), text).expect("written");
    }
    let cases = [
        (
            "an unknown key of a system",
            more("[systems.new]\npipelin = 'karlo'"),
        ),
        ("an unknown table", more("[system.new]\npipeline = 'karlo'")),
        (
            "an unknown sampler",
            more("[systems.new]\npipeline = 'karlo'\nscheduler = 'euler'"),
        ),
        (
            "steps that are no number",
            more("[systems.new]\npipeline = 'karlo'\nsteps = 'many'"),
        ),
        (
            "a pipeline and images",
            more("[systems.new]\npipeline = 'karlo'\nimages = 'images'"),
        ),
        (
            "a prior without a pipeline",
            more("[systems.new]\nprior = 'prior'"),
        ),
        (
            "two systems of one folder",
            more("[systems.new]\nimages = 'half'"),
        ),
        (
            "two systems that draw the same",
            SPEC.replace(
                "pipeline = 'kandinsky'\nprior = 'prior'\nclip = 'clip'\nsteps = 3\nscheduler = 'ddim'\nsize = { width = 64, height = 64 }",
                "pipeline = 'karlo'\nprior = 'prior'\nclip = 'clip'\nsteps = 2\nsuper_res_steps = 2",
            ),
        ),
        (
            "a name that is no folder's",
            more("[systems.'../new']\nlabel = 'x'"),
        ),
        (
            "a system with the name of a folder",
            more("[systems.results]\nlabel = 'x'"),
        ),
        (
            "an unknown prompt set of a folder",
            SPEC.replace("coco = 'fid_a'", "cocoa = 'fid_a'"),
        ),
        (
            "an unknown metric",
            SPEC.replace("metric = 'clip-score'", "metric = 'clip-scores'"),
        ),
        (
            "an unknown metric's settings",
            more("[metrics.is]\nclip = 'clip'"),
        ),
        (
            "an unknown setting of a metric",
            more("[metrics.kid]\nclap = 'clip'"),
        ),
        ("an unknown resize", more("[metrics.kid]\nresize = 'nearest'")),
        (
            "an unknown prompt set of a column",
            SPEC.replace("prompts = 'coco'", "prompts = 'cocos'"),
        ),
        ("prompts without a source", more("[prompts.new]\nimages = 1")),
        (
            "prompts of an unknown kind",
            more("[prompts.new]\nsource = { kind = 'csv', path = 'x' }"),
        ),
        (
            "an empty file of prompts",
            more("[prompts.new]\nsource = { kind = 'lines', path = 'empty.txt' }"),
        ),
        (
            "captions without captions",
            more("[prompts.new]\nsource = { kind = 'coco_captions', path = 'none.json' }"),
        ),
        (
            "captions of another form",
            more("[prompts.new]\nsource = { kind = 'coco_captions', path = 'bad.json' }"),
        ),
        ("no image", SPEC.replace("images = 2", "images = 0")),
        (
            "no column",
            SPEC.split("[table.columns]").next().expect("a part").to_owned(),
        ),
        (
            "a column of the scatter plot",
            SPEC.replace("columns = ['words']", "columns = ['word']"),
        ),
        (
            "a preference of nobody",
            more("[preferences.new]\nprompts = ['words']"),
        ),
        (
            "a preference of an unknown system",
            more("[preferences.new]\nprompts = ['words']\nreference = 'karlos'"),
        ),
        ("a published system", published("system.toml")),
        ("a published column", published("column.toml")),
        ("a published footnote", published("note.toml")),
        ("a published number", published("number.toml")),
        ("a published preference", published("preference.toml")),
        ("no published numbers", published("nowhere.toml")),
        ("a float type", more("[compute]\ndtype = 'f8'")),
        ("a smoke that is no table", format!("smoke = 3\n{SPEC}")),
    ];
    let mut told = String::new();
    for (name, text) in cases {
        std::fs::write(folder.join("bad.toml"), text).expect("written");
        let smoke = if name.starts_with("a smoke") {
            " --smoke"
        } else {
            ""
        };
        let (code, _, err) = eclipse(folder, &format!("sweep bad.toml --dry-run{smoke}"));
        told.push_str(&format!("{name} (exit code {code})\n  {}\n", err.trim()));
        assert!(code == 2 || code == 1, "{name}: {code}: {err}");
    }
    let told = told.replace(&format!("{}/", folder.display()), "");
    insta::assert_snapshot!("comparison_mistakes", told);
}
