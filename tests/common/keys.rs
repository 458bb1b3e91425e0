//! The keys of a configuration, out of its schema.

use serde_json::Value;

/// The paths of all keys that are no mappings of known keys: `services.*.timeouts.connect`,
/// `listeners[].address`.
pub fn leaves(schema: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    walk(schema, String::new(), &mut paths);
    paths.sort();
    paths.dedup();
    paths
}

fn walk(schema: &Value, path: String, paths: &mut Vec<String>) {
    let mut inner = Vec::new();
    parts(schema, &path, &mut inner);
    if inner.is_empty() {
        paths.push(path);
    }
    for (path, schema) in inner {
        walk(schema, path, paths);
    }
}

/// What lies one step deeper, whichever alternative it is in.
fn parts<'a>(schema: &'a Value, path: &str, found: &mut Vec<(String, &'a Value)>) {
    if let Some(properties) = schema["properties"].as_object() {
        let below = |key: &String| if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        found.extend(properties.iter().map(|(key, schema)| (below(key), schema)));
    }
    if schema["additionalProperties"].is_object() {
        found.push((format!("{path}.*"), &schema["additionalProperties"]));
    }
    if schema["items"]["properties"].is_object() {
        found.push((format!("{path}[]"), &schema["items"]));
    }
    for alternative in schema["anyOf"].as_array().into_iter().flatten() {
        parts(alternative, path, found);
    }
}

/// Whether a document has such a key anywhere.
pub fn has(document: &Value, path: &str) -> bool {
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    let (key, listed) = first.strip_suffix("[]").map_or((first, false), |key| (key, true));
    let values: Vec<&Value> = match (key, document) {
        ("*", Value::Object(map)) => map.values().collect(),
        (key, document) => document.get(key).into_iter().collect(),
    };
    let values = values.into_iter().flat_map(|value| match value {
        Value::Array(values) if listed => values.iter().collect(),
        value => vec![value],
    });
    values.into_iter().any(|value| rest.is_empty() || has(value, rest))
}
