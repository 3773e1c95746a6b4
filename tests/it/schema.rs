//! JSON Schemas of specifications: what editors refuse is what the program refuses.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use boon::{Compiler, SchemaIndex, Schemas};
use eclipse_t2i::comparison::{self, Comparison, Published, is_comparison};
use eclipse_t2i::experiment::{SweepSpec, run_schema, sweep, sweep_schema};
use eclipse_t2i::testbed::{ClipRecipe, DecoderRecipe};
use serde_json::{Value, json};

use super::program::eclipse;

/// A compiled schema.
struct Validator(Schemas, SchemaIndex);

impl Validator {
    fn new(schema: Value) -> Self {
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        let at = "https://example.org/schema.json";
        compiler.add_resource(at, schema).expect("a schema");
        let index = compiler.compile(at, &mut schemas).expect("compiles");
        Self(schemas, index)
    }

    fn check(&self, value: &Value) -> Result<(), String> {
        self.0.validate(value, self.1).map_err(|e| format!("{e:#}"))
    }

    fn accepts(&self, text: &str) -> bool {
        self.check(&as_json(text)).is_ok()
    }
}

fn as_json(text: &str) -> Value {
    let table: toml::Table = text.parse().expect("TOML");
    serde_json::to_value(table).expect("JSON")
}

fn run() -> Validator {
    Validator::new(run_schema().expect("made"))
}

fn sweeps() -> Validator {
    Validator::new(sweep_schema().expect("made"))
}

fn comparisons() -> Validator {
    Validator::new(comparison::schema().expect("made"))
}

fn experiments() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments")
}

#[test]
fn committed_experiments_validate() {
    let (run, sweeps, comparisons) = (run(), sweeps(), comparisons());
    let published = Validator::new(Published::schema());
    let mut n = 0;
    for folder in std::fs::read_dir(experiments()).expect("experiments").flatten() {
        let sweep = folder.path().join("sweep.toml");
        if !folder.path().is_dir() {
            continue;
        }
        let kind = is_comparison(&sweep).ok();
        for file in std::fs::read_dir(folder.path()).expect("a folder").flatten() {
            let path = file.path();
            if path.extension().is_none_or(|end| end != "toml") {
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("a file");
            let value = as_json(&text);
            let schema = match path.file_stem().and_then(|stem| stem.to_str()) {
                Some("published") => &published,
                _ => match kind {
                    Some(true) => &comparisons,
                    Some(false) => &sweeps,
                    None if value.get("axes").is_some() => &sweeps,
                    None => &run,
                },
            };
            if let Err(error) = schema.check(&value) {
                panic!("{}: {error}", path.display());
            }
            n += 1;
        }
    }
    assert!(n > 30, "{n} files");
}

/// The keys of a table with a value, below `prefix`: `(key, schema, kind of the objective or schedule that has it)`.
fn keys<'a>(prefix: &str, schema: &'a Value, kind: &str, found: &mut Vec<(String, &'a Value, String)>) {
    for (name, value) in schema["properties"].as_object().into_iter().flatten() {
        let key = match prefix {
            "" => name.clone(),
            prefix => format!("{prefix}.{name}"),
        };
        let is_table = value.get("properties").is_some() || value["anyOf"][0].get("properties").is_some();
        match is_table {
            true => keys(&key, value, kind, found),
            false => found.push((key, value, kind.to_owned())),
        }
    }
    for variant in schema["anyOf"].as_array().into_iter().flatten() {
        let kind = variant["properties"]["kind"]["const"].as_str().unwrap_or(kind);
        keys(prefix, variant, kind, found);
    }
}

/// Values on both sides of every bound, and of every type.
fn candidates(schema: &Value) -> Vec<String> {
    let mut values: Vec<String> = [
        "\"odd\"",
        "true",
        "-1",
        "0",
        "1",
        "2",
        "0.5",
        "[1]",
        "{ odd = 1 }",
    ]
    .map(str::to_owned)
    .to_vec();
    let step = if schema["type"] == "integer" { 1.0 } else { 1e-3 };
    let limits = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"];
    let number = |v: f64| match schema["type"] == "integer" {
        true => format!("{}", v as i64),
        false => format!("{v:?}"),
    };
    for limit in limits.iter().filter_map(|limit| schema[limit].as_f64()) {
        values.extend([limit - step, limit, limit + step].map(number));
    }
    let names = schema["enum"]
        .as_array()
        .into_iter()
        .flatten()
        .chain([&schema["const"]]);
    let described = schema["oneOf"].as_array().into_iter().flatten();
    let names = names.chain(described.map(|choice| &choice["const"]));
    values.extend(names.filter(|name| name.is_string()).map(Value::to_string));
    values.extend(
        schema
            .get("default")
            .filter(|v| !v.is_array())
            .map(Value::to_string),
    );
    values
}

/// Why the program refuses a run.
fn refused(text: &str, folder: &Path) -> Option<String> {
    let path = folder.join("run.toml");
    std::fs::write(&path, text).expect("written");
    sweep::single(&path, &[]).err().map(|error| error.to_string())
}

/// Checks that compare several keys: schemas cannot have them. Their messages name the other key, or say `because`.
const SEVERAL_KEYS: [&str; 9] = [
    "because",
    "data.n_pairs",
    "data.n_validation",
    "train.lr (",
    "train_steps (",
    "beta_start (",
    "n_heads being",
    "Eq. 4 takes its negatives",
    "at most 4096", // model.d_head, of 16 heads
];

#[test]
fn a_schema_refuses_what_the_program_refuses() {
    let schema = run_schema().expect("made");
    let (run, sweeps) = (run(), sweeps());
    let folder = tempfile::tempdir().expect("a folder");
    let mut all = Vec::new();
    keys("", &schema, "", &mut all);
    let (mut n, mut n_refused, mut of_several) = (0, 0, BTreeSet::new());
    for (key, schema, kind) in all {
        let table = key.rsplit_once('.').map_or("", |(table, _)| table);
        let table = if table.starts_with("objective") {
            "objective"
        } else {
            table
        };
        let is_kind = key.ends_with(".kind");
        let kind = match kind.as_str() {
            "" => String::new(),
            _ if is_kind => String::new(),
            kind => format!("{table}.kind = \"{kind}\"\n"),
        };
        if key == "extends" {
            continue;
        }
        for value in candidates(schema) {
            let text = format!("{kind}{key} = {value}\n");
            if text.parse::<toml::Table>().is_err() {
                panic!("{text}");
            }
            let (by_schema, by_program) = (!run.accepts(&text), refused(&text, folder.path()));
            n += 1;
            n_refused += usize::from(by_program.is_some());
            match &by_program {
                Some(message) if !by_schema && SEVERAL_KEYS.iter().any(|words| message.contains(words)) => {
                    of_several.insert(key.clone());
                }
                message => assert_eq!(by_schema, message.is_some(), "{text}: {message:?}"),
            }
            let axis = format!("{kind}[axes]\n\"{key}\" = [{value}]\n");
            let by_schema_of_axes = !sweeps.accepts(&axis);
            // An axis does not know the kind beside it: what any kind allows is allowed.
            if by_schema_of_axes {
                assert!(by_schema, "{axis}");
            } else if kind.is_empty() {
                assert!(!by_schema, "{axis}");
            }
            assert!(by_schema || sweeps.accepts(&text), "{text}");
        }
    }
    assert!(n > 1000 && n_refused > 500, "{n} values, {n_refused} refused");
    insta::assert_snapshot!(of_several.into_iter().collect::<Vec<_>>().join("\n"));
}

#[test]
fn wrong_files_are_refused_by_both() {
    let folder = tempfile::tempdir().expect("a folder");
    let (run, sweeps, comparisons) = (run(), sweeps(), comparisons());
    for text in [
        "sed = 1",
        "[trian]\nsteps = 1",
        "[train]\nstep = 1",
        "[objective]\nkind = \"eclips\"",
        "[objective]\nsampler.steps = 5",
        "[objective]\nkind = \"flow\"\nlambda = 0.5",
        "[train.schedule]\nkind = \"constant\"\nt_0 = 5",
        "[train.schedule]\npct_start = 0.5",
        "[train]\nbetas = [0.9]",
        "[train]\nbetas = [0.9, 1.0]",
        "objective = \"eclipse\"",
        "[axes]\nseed = [0]",
    ] {
        assert!(refused(text, folder.path()).is_some(), "{text}");
        assert!(!run.accepts(text), "{text}");
    }
    let sweep = |text: &str| {
        let path = folder.path().join("sweep.toml");
        std::fs::write(&path, text).expect("written");
        let spec = SweepSpec::read(&path.to_string_lossy(), &[], false);
        spec.and_then(|spec| spec.expand().map(drop)).is_ok()
    };
    for (text, is_right) in [
        ("[axes]\n\"objective.lambda\" = [0.0, 0.2]\nseed = [0, 1]", true),
        ("[axes]\nobjective.lambda = [0.0, 0.2]", true),
        (
            "[axes]\nobjective = { a = { kind = \"flow\" }, b = { kind = \"diffusion\", sampler.steps = 3 } }",
            true,
        ),
        ("[axes]\n\"objective.lamda\" = [0.0]", false),
        ("[axes]\nseed = 3", false),
        ("[axes]\nseed = []", false),
        ("[axes]\n\"train.lr\" = [\"fast\"]", false),
        (
            "[axes]\nobjective = { a = { kind = \"flow\", lambda = 1.0 } }",
            false,
        ),
        ("baselines = [\"ridge\"]", true),
        ("baselines = [\"ridges\"]", false),
        ("baselines = \"ridge\"", false),
        ("[report]\ncurve = { x = \"objective.lambda\", log = true }", true),
        (
            "[[report.curve]]\nx = \"objective.lambda\"\n[[report.curve]]\nx = \"train.lr\"",
            true,
        ),
        ("[report]\ncurve = { log = true }", false),
        (
            "[report]\ncurve = { x = \"train.lr\", logarithmic = true }",
            false,
        ),
        (
            "[report]\npreference = { metric = \"a@b\", tolerance = -0.5 }",
            false,
        ),
        ("[report]\nsummary = [\"a\", \"b\", \"c\", \"d\", \"e\"]", false),
        ("[report]\ncolumn = [\"a\"]", false),
    ] {
        assert_eq!(sweep(text), is_right, "{text}");
        assert_eq!(sweeps.accepts(text), is_right, "{text}");
    }
    let table1 = experiments().join("table1");
    let base = std::fs::read_to_string(table1.join("sweep.toml")).expect("a file");
    let base: String = base
        .lines()
        .filter(|line| !line.starts_with("published"))
        .fold(String::new(), |text, line| text + line + "\n");
    let base = base.replace("\"base.toml\"", &format!("{:?}", table1.join("base.toml")));
    let comparison = |text: &str| {
        let path = folder.path().join("comparison.toml");
        std::fs::write(&path, text).expect("written");
        Comparison::read(&path, &[], false)
            .map(drop)
            .map_err(|e| e.to_string())
    };
    assert_eq!(comparison(&base), Ok(()));
    assert!(comparisons.accepts(&base));
    for wrong in [
        "[system.odd]",
        "[systems.odd]\nstep = 3",
        "[systems.odd]\npipeline = \"a\"\nsteps = \"many\"",
        "[systems.odd]\npipeline = \"a\"\nscheduler = \"dim\"",
        "[systems.odd]\npipeline = \"a\"\nsize = 512",
        "[prompts.odd]\nsource = { kind = \"lines\" }",
        "[prompts.odd]\nsource = { kind = \"lines\", path = \"a\" }\nimages = 0",
        "[prompts.odd]\nsource = { kind = \"t2i_compbench\", category = \"colour\" }",
        "[metrics.clips]",
        "[metrics.fid]\nresize = \"bilinear\"",
        "[table.columns.odd]\nprompts = \"color\"\nmetric = \"clips\"",
        "[preferences.odd]\nprompts = [\"color\"]\nround_robin = true\ntie = -1.0",
        "[compute]\ndtype = \"f64\"",
        "[compute]\nbatch = 0",
    ] {
        let text = format!("{base}\n{wrong}\n");
        assert!(comparison(&text).is_err(), "{wrong}");
        assert!(!comparisons.accepts(&text), "{wrong}");
    }
    for (schema, wrong) in [
        (ClipRecipe::schema(), json!({"n_vision_blocks": 1})),
        (ClipRecipe::schema(), json!({"canonical": 1.5})),
        (DecoderRecipe::schema(), json!({"cond_drop": 1.0})),
        (DecoderRecipe::schema(), json!({"channel": [1]})),
    ] {
        let schema = Validator::new(schema.expect("made"));
        assert!(schema.check(&json!({"n_steps": 3})).is_ok());
        assert!(schema.check(&wrong).is_err(), "{wrong}");
    }
}

#[test]
fn the_program_prints_and_writes_schemas() {
    let folder = tempfile::tempdir().expect("a folder");
    let (code, out, said) = eclipse(folder.path(), ["schema", "train"]);
    assert_eq!(code, 0, "{said}");
    let train: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(train, run_schema().expect("made"));
    insta::assert_snapshot!(
        "schema_of_train_data_and_schedule",
        format!(
            "{:#}\n{:#}\n{:#}",
            train["properties"]["data"]["properties"]["captions"],
            train["properties"]["train"]["properties"]["grad_clip"],
            train["properties"]["train"]["properties"]["schedule"]
        )
    );
    let (code, _, said) = eclipse(folder.path(), ["schema", "--write", "made"]);
    assert_eq!(code, 0, "{said}");
    insta::assert_snapshot!("written_schemas", said);
    for file in std::fs::read_dir(folder.path().join("made"))
        .expect("made")
        .flatten()
    {
        let text = std::fs::read_to_string(file.path()).expect("readable");
        Validator::new(serde_json::from_str(&text).expect("JSON"));
    }
    let (code, _, said) = eclipse(folder.path(), ["schema"]);
    assert_eq!(code, 2, "{said}");
}
