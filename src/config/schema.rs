//! JSON Schemas of specifications, for editors: keys, types, defaults and descriptions from the types that read them, bounds from their checks.
//!
//! A schema has draft 7, which editors of TOML and JSON know. It describes a layer, in which every key may be left out. What a check compares with another
//! key is not in it.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::check::Bound;

/// A segment of a key that stands for every name in a table of named ones.
pub const ANY: &str = "*";

/// The schema of a `T`, without references.
pub fn of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    tidy(&mut schema);
    schema
}

/// `schema` as a document of its own.
pub fn document(title: &str, mut schema: Value) -> Value {
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["title"] = json!(title);
    schema
}

/// The schema of `extends`.
pub fn extends() -> Value {
    json!({
        "type": "string",
        "description": "The file under this one, relative to it: what this file says replaces what that one says, key by key.",
    })
}

/// Puts bounds on the values at their keys; keys that `schema` does not have are left out.
pub fn restrict(schema: &mut Value, bounds: &[(String, Bound)]) {
    for (key, bound) in bounds {
        let path: Vec<&str> = key.split('.').collect();
        let (keyword, limit) = bound.keyword();
        at(schema, &path, &mut |leaf| tighten(leaf, keyword, &limit));
    }
}

/// Lets tables with a `kind` leave it out, as in a layer over another.
pub fn optional_kind(schema: &mut Value) {
    if let Some(variants) = schema.as_object_mut().and_then(|s| s.remove("oneOf")) {
        schema["anyOf"] = variants;
    }
    for variant in variants(schema) {
        if let Some(variant) = variant.as_object_mut() {
            variant.remove("required");
        }
    }
}

/// The variants of a table with a `kind`.
pub fn variants(schema: &mut Value) -> impl Iterator<Item = &mut Value> {
    let all = schema.as_object_mut().into_iter().flat_map(Map::iter_mut);
    let lists = all.filter(|(key, _)| is_choice(key));
    lists.filter_map(|(_, list)| list.as_array_mut()).flatten()
}

/// Whether this is the variant `kind`.
pub fn is_variant(schema: &Value, kind: &str) -> bool {
    schema["properties"]["kind"]["const"] == kind
}

fn is_choice(keyword: &str) -> bool {
    matches!(keyword, "anyOf" | "oneOf" | "allOf")
}

/// Calls `change` with every schema of the value at `path`.
fn at(schema: &mut Value, path: &[&str], change: &mut dyn FnMut(&mut Map<String, Value>)) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    for (_, list) in object.iter_mut().filter(|(keyword, _)| is_choice(keyword)) {
        let variants = list.as_array_mut().into_iter().flatten();
        variants.for_each(|variant| at(variant, path, change));
    }
    if let Some(items) = object.get_mut("items") {
        return at(items, path, change);
    }
    let Some((first, rest)) = path.split_first() else {
        // A text beside a number, as in `tau`, or a choice of schemas, has no bounds of its own.
        if object.contains_key("type") {
            change(object);
        }
        return;
    };
    let inner = match *first {
        ANY => object.get_mut("additionalProperties"),
        key => object.get_mut("properties").and_then(|keys| keys.get_mut(key)),
    };
    if let Some(inner) = inner {
        at(inner, rest, change);
    }
}

/// Adds a keyword; the tighter of two limits stays.
fn tighten(schema: &mut Map<String, Value>, keyword: &str, limit: &Value) {
    let (old, new) = (schema.get(keyword).and_then(Value::as_f64), limit.as_f64());
    let is_looser = match (old, new) {
        (Some(old), Some(new)) if keyword.to_lowercase().contains("min") => old >= new,
        (Some(old), Some(new)) => old <= new,
        _ => false,
    };
    if !is_looser {
        schema.insert(keyword.to_owned(), limit.clone());
    }
}

/// Removes what is of no use in an editor: nulls, which TOML does not have, defaults of whole tables, formats of numbers, links within documentation.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Array(list) => list.iter_mut().for_each(tidy),
        Value::Object(object) => {
            object.remove("format");
            if matches!(object.get("default"), Some(Value::Null | Value::Object(_))) {
                object.remove("default");
            }
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|name| name != "null");
                if let [one] = types.as_slice() {
                    let one = one.clone();
                    object.insert("type".into(), one);
                }
            }
            if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
                choices.retain(|choice| choice["type"] != "null");
                if let [Value::Object(one)] = choices.as_slice() {
                    let one = one.clone();
                    object.remove("anyOf");
                    // The key's own description, rather than that of its type.
                    for (keyword, value) in one {
                        object.entry(keyword).or_insert(value);
                    }
                }
            }
            if let Some(Value::String(text)) = object.get_mut("description") {
                *text = without_links(text);
            }
            object.values_mut().for_each(tidy);
        }
        _ => (),
    }
}

/// The text of documentation without the marks and targets of its links: `[World](crate::world::World)` becomes `World`.
fn without_links(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("[`") {
        let Some((name, after)) = after.split_once("`]") else {
            break;
        };
        plain += before;
        plain += name;
        let target = after.strip_prefix('(').and_then(|target| target.split_once(')'));
        rest = target.map_or(after, |(_, after)| after);
    }
    (plain + rest).replace('`', "").replace('\n', " ")
}
