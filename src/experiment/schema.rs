//! JSON Schemas of a run's specification and of a sweep's.

use serde_json::{Map, Value, json};

use super::report_spec::{self, ReportSpec};
use super::spec::{LrScheduleConfig, Objective, RunSpec};
use crate::config::check::{Bound, bounds_of};
use crate::config::{InvalidValue, schema};
use crate::eval::baselines::BaselineKind;
use crate::train::objectives::{CheckContext, PriorObjective};

/// The JSON Schema of a run: `eclipse train --config FILE`.
///
/// # Errors
/// [`InvalidValue`], if the checks refuse the defaults: a mistake of the program.
pub fn run_schema() -> Result<Value, InvalidValue> {
    let mut run = layer()?;
    run["properties"]["extends"] = schema::extends();
    run["allOf"] = usual_kinds(&run);
    Ok(schema::document("Run", run))
}

/// The JSON Schema of a sweep: `experiments/NAME/sweep.toml`, and the files that it extends.
///
/// # Errors
/// [`InvalidValue`], if the checks refuse the defaults: a mistake of the program.
pub fn sweep_schema() -> Result<Value, InvalidValue> {
    let run = layer()?;
    let usual = usual_kinds(&run);
    let mut definitions = Map::new();
    let axes = axes(&run, &mut definitions);
    let mut sweep = run.clone();
    for (key, value) in sweep["properties"].as_object_mut().into_iter().flatten() {
        *value = reference(key);
    }
    let mut smoke = sweep.clone();
    smoke["description"] = json!("Replaces values under --smoke.");
    smoke["properties"]["axes"] = axes.clone();
    let mut report = schema::of::<ReportSpec>();
    schema::restrict(&mut report, &report_spec::bounds()?);
    let keys = &mut sweep["properties"];
    keys["extends"] = schema::extends();
    keys["axes"] = axes;
    keys["baselines"] = schema::of::<Vec<BaselineKind>>();
    keys["baselines"]["description"] = json!("Methods without a network, scored beside the runs.");
    keys["smoke"] = smoke;
    keys["report"] = report;
    sweep["allOf"] = usual;
    sweep["definitions"] = Value::Object(definitions);
    Ok(schema::document("Sweep", sweep))
}

/// The keys of a run, in a file that may leave any of them to the file that it extends.
fn layer() -> Result<Value, InvalidValue> {
    let mut run = schema::of::<RunSpec>();
    let mut bounds = bounds_of(|| super::run::check(&RunSpec::default()))?;
    for kind in LrScheduleConfig::KINDS {
        let mut train = RunSpec::default().train;
        train.schedule = LrScheduleConfig::of_kind(kind).unwrap_or(train.schedule);
        bounds.extend(bounds_of(|| train.check(usize::MAX, true))?);
    }
    // Objectives share names of keys, so the bounds of each are put on its own variant.
    bounds.retain(|(key, _)| !key.starts_with("objective."));
    schema::restrict(&mut run, &bounds);
    for kind in Objective::KINDS {
        let bounds = objective_bounds(kind)?;
        let objective = &mut run["properties"]["objective"];
        if let Some(variant) = schema::variants(objective).find(|v| schema::is_variant(v, kind)) {
            schema::restrict(variant, &bounds);
        }
    }
    schema::optional_kind(&mut run["properties"]["objective"]);
    schema::optional_kind(&mut run["properties"]["train"]["properties"]["schedule"]);
    Ok(run)
}

/// The bounds of an objective's own keys.
fn objective_bounds(kind: &str) -> Result<Vec<(String, Bound)>, InvalidValue> {
    let train = RunSpec::default().train;
    let context = CheckContext {
        train: &train,
        n_pairs: usize::MAX,
        has_store: false,
    };
    let bounds =
        bounds_of(|| Objective::of_kind(kind).map_or(Ok(()), |objective| objective.check(&context)))?;
    let own = |(key, bound): (String, Bound)| Some((key.strip_prefix("objective.")?.to_owned(), bound));
    Ok(bounds.into_iter().filter_map(own).collect())
}

/// That tables without a `kind` have the default one, in a file that extends no other and has no axes.
fn usual_kinds(run: &Value) -> Value {
    let default = RunSpec::default();
    let objective = only(&run["properties"]["objective"], default.objective.kind());
    let schedule = &run["properties"]["train"]["properties"]["schedule"];
    let schedule = only(schedule, default.train.schedule.kind());
    json!([{
        "if": { "not": { "anyOf": [{ "required": ["extends"] }, { "required": ["axes"] }] } },
        "then": { "properties": {
            "objective": objective,
            "train": { "properties": { "schedule": schedule } },
        } },
    }])
}

/// `schema`, a table with a `kind`, of this kind where it names none.
fn only(schema: &Value, kind: &str) -> Value {
    let mut schema = schema.clone();
    let keys = schema::variants(&mut schema).find(|variant| schema::is_variant(variant, kind));
    let keys = keys.map_or_else(|| json!({}), |variant| bare(&variant["properties"]));
    json!({
        "if": { "not": { "required": ["kind"] } },
        "then": { "properties": keys, "additionalProperties": false },
    })
}

/// The names of `properties`, any value of which is right.
fn bare(properties: &Value) -> Value {
    let names = properties.as_object().into_iter().flatten();
    Value::Object(names.map(|(name, _)| (name.clone(), json!(true))).collect())
}

fn reference(key: &str) -> Value {
    json!({ "$ref": format!("#/definitions/{key}") })
}

/// `[axes]`: every key of a run with a list of values or a table of named ones. `definitions` receives the schemas of the keys.
fn axes(run: &Value, definitions: &mut Map<String, Value>) -> Value {
    let mut keys = Map::new();
    collect("", run, &mut keys);
    let names: Vec<String> = keys.keys().cloned().collect();
    definitions.extend(keys);
    let axis = |key: &String| (key.clone(), axis(key, &names));
    let properties: Map<String, Value> = names.iter().map(axis).collect();
    json!({
        "type": "object",
        "description": "What varies: keys of a run, each with a list of values or a table of named ones. The runs are all combinations.",
        "properties": properties,
        "additionalProperties": false,
    })
}

/// The values of an axis: a list, a table of named ones, or, for a table, the axes of its own keys (`train.lr = [..]` without quotes).
fn axis(key: &str, names: &[String]) -> Value {
    let value = reference(key);
    let mut forms = vec![
        json!({ "type": "array", "items": value, "minItems": 1 }),
        json!({ "type": "object", "additionalProperties": value, "minProperties": 1 }),
    ];
    let inner = |name: &String| {
        let rest = name.strip_prefix(key)?.strip_prefix('.')?;
        (!rest.contains('.')).then(|| (rest.to_owned(), axis(name, names)))
    };
    let inner: Map<String, Value> = names.iter().filter_map(inner).collect();
    if !inner.is_empty() {
        forms.push(json!({ "type": "object", "properties": inner, "additionalProperties": false }));
    }
    json!({ "anyOf": forms })
}

/// The schema of every key below `prefix`, by dotted path. Keys that several variants have allow what any of them allows.
fn collect(prefix: &str, schema: &Value, keys: &mut Map<String, Value>) {
    for (name, value) in schema["properties"].as_object().into_iter().flatten() {
        let path = match prefix {
            "" => name.clone(),
            prefix => format!("{prefix}.{name}"),
        };
        match keys.get_mut(&path) {
            None => drop(keys.insert(path.clone(), value.clone())),
            Some(other) if other == value => (),
            Some(other) => match other.get_mut("anyOf").and_then(Value::as_array_mut) {
                Some(forms) if !forms.contains(value) => forms.push(value.clone()),
                Some(_) => (),
                None => *other = json!({ "anyOf": [other.clone(), value] }),
            },
        }
        collect(&path, value, keys);
    }
    for keyword in ["anyOf", "oneOf"] {
        for variant in schema[keyword].as_array().into_iter().flatten() {
            collect(prefix, variant, keys);
        }
    }
}
