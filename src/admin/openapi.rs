//! The API's description (OpenAPI 3.1), made from the table of operations.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::access::Access;
use super::meanings;
use super::operations::{Answer, Operation, operations};

/// Where it is.
pub(super) const PATH: &str = "/api/openapi.json";
const VERBS: [&str; 8] = ["advance", "pause", "resume", "promote", "rollback", "undo", "retry", "return"];
/// A ramp knows the first ones.
const RAMP_VERBS: usize = 5;

/// The whole description.
pub fn document() -> Value {
    let mut paths = Map::new();
    for operation in operations() {
        for (index, path) in operation.paths().into_iter().enumerate() {
            let method = operation.method.as_str().to_lowercase();
            let path = path.replace("{*", "{");
            let entry = paths.entry(path.clone()).or_insert_with(|| json!({}));
            entry[method] = described(&operation, &path, index > 0);
        }
    }
    let mut schemas = schemas();
    meanings::add_to(&mut schemas);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Serin admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Flags, services and deployments of a running Serin. With one service the paths \
                without services/{service} work too.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
        "security": [{ "token": [] }, {}],
    })
}

fn described(operation: &Operation, path: &str, short: bool) -> Value {
    let id = if short { format!("{}OfTheOnlyService", operation.id) } else { operation.id.to_owned() };
    let mut described = json!({
        "operationId": id,
        "summary": operation.summary,
        "x-serin-access": operation.access.name(),
        "parameters": parameters(operation, path),
        "responses": responses(operation, path),
    });
    if let Some(schema) = operation.body {
        described["x-serin-body-max"] = json!(operation.body_max);
        described["requestBody"] = json!({
            "required": true,
            "content": { "application/json": { "schema": reference(schema) } },
        });
    }
    described
}

fn parameters(operation: &Operation, path: &str) -> Vec<Value> {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path = names.map(|name| {
        let schema = match name {
            "verb" if path.contains("/ramp/") => json!({ "enum": VERBS[..RAMP_VERBS] }),
            "verb" => json!({ "enum": VERBS }),
            _ => json!({ "type": "string", "minLength": 1 }),
        };
        json!({ "name": name, "in": "path", "required": true, "schema": schema })
    });
    let in_query =
        operation.query.iter().map(|name| json!({ "name": name, "in": "query", "schema": { "type": "string" } }));
    let matching = (operation.refusals.contains(&412))
        .then(|| json!({ "name": "If-Match", "in": "header", "schema": { "type": "string" } }));
    in_path.chain(in_query).chain(matching).collect()
}

fn responses(operation: &Operation, path: &str) -> Value {
    let mut responses = Map::new();
    for status in operation.answers {
        let content = match operation.answer {
            Answer::Json(schema) => json!({ "application/json": { "schema": reference(schema) } }),
            Answer::Text("text/plain") => json!({
                "text/plain": { "schema": { "type": "string" } },
                "application/openmetrics-text": { "schema": { "type": "string" } },
            }),
            Answer::Text(kind) => json!({ kind: { "schema": { "type": "string" } } }),
        };
        responses.insert(status.to_string(), json!({ "description": reason(*status), "content": content }));
    }
    let refusals: &[u16] = match operation.access {
        Access::Open => &[421],
        Access::Read if operation.body.is_none() => &[401, 403, 421, 503],
        _ => &[400, 401, 403, 413, 415, 421, 503],
    };
    let of_path: &[u16] = if path.contains('{') || !operation.query.is_empty() { &[400] } else { &[] };
    // Without its service's name a path is only there where there is one service.
    let content = match path.starts_with("/ofrep/") {
        true => json!({ "application/json": { "schema": reference("OfrepFailure") } }),
        false => json!({ "application/problem+json": { "schema": reference("Problem") } }),
    };
    for status in [refusals, of_path, operation.refusals].concat() {
        responses.insert(status.to_string(), json!({ "description": reason(status), "content": content.clone() }));
    }
    Value::Object(responses)
}

fn reason(status: u16) -> &'static str {
    StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("")
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn list(of: &str) -> Value {
    json!({ "type": "array", "items": reference(of) })
}

fn object(required: &[&str], properties: &Value) -> Value {
    json!({ "type": "object", "required": required, "properties": properties })
}

fn schemas() -> Value {
    let text = || json!({ "type": "string" });
    let count = || json!({ "type": "integer", "minimum": 0 });
    let percent = || json!({ "type": "number", "minimum": 0, "maximum": 100 });
    let rate = || json!({ "type": "number", "minimum": 0, "maximum": 1 });
    let seconds = || json!({ "oneOf": [{ "type": "number", "minimum": 0 }, { "type": "string" }] });
    let milliseconds = || json!({ "type": "number", "minimum": 0 });
    let maybe = |kind: &str| json!({ "type": [kind, "null"] });
    let variants = || json!({ "type": "object", "additionalProperties": reference("Variant") });
    let kinds = || {
        json!({ "enum": ["percentage", "user", "group", "environment", "track", "attribute", "schedule", "all",
        "any", "none"] })
    };
    let texts = || json!({ "oneOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] });
    json!({
        "Log": object(&["level"], &json!({ "level": text() })),
        "NewLog": { "type": "object", "required": ["level"], "additionalProperties": false,
            "properties": { "level": { "enum": ["error", "warn", "info", "debug", "trace"] } } },
        "Problem": object(&["status", "code", "detail"], &json!({
            "title": text(), "status": count(), "code": text(), "detail": text(), "field": text() })),
        "Ramp": object(&["flag", "status", "from", "stage", "startedAt", "rolloutPercentage", "on", "off"], &json!({
            "flag": text(), "status": { "enum": ["in_progress", "paused", "completed", "rolled_back"] },
            "from": percent(), "stage": count(), "startedAt": text(), "endedAt": text(), "text": text(),
            "rolloutPercentage": percent(), "on": { "type": "object" }, "off": { "type": "object" } })),
        "Import": { "type": "object", "required": ["document"], "additionalProperties": false, "properties": {
            "document": { "type": "object" }, "hash": { "enum": ["text", "cbor"] }, "dryRun": { "type": "boolean" },
            "replace": { "type": "boolean" } } },
        "Imported": object(&["changes", "dryRun", "version"], &json!({ "dryRun": { "type": "boolean" },
            "version": count(), "changes": { "type": "array", "items": object(&["flag", "change"], &json!({
                "flag": text(), "change": { "enum": ["created", "changed", "unchanged", "deleted"] },
                "fields": { "type": "array", "items": object(&["field", "before", "after"], &json!({
                    "field": text(), "before": {}, "after": {} })) } })) } })),
        "Lint": object(&["warnings"], &json!({ "warnings": { "type": "array", "items": object(
            &["flag", "code", "text"], &json!({ "flag": text(), "code": text(), "text": text() })) } })),
        "OfrepContext": object(&[], &json!({ "context": { "type": ["object", "null"],
            "properties": { "targetingKey": maybe("string") } } })),
        "OfrepEvaluation": object(&["key", "reason", "variant", "metadata"], &json!({
            "key": text(), "reason": text(), "variant": text(), "metadata": { "type": "object" }, "value": {} })),
        "OfrepEvaluations": object(&["flags"], &json!({
            "flags": { "type": "array", "items": object(&["key", "metadata"], &json!({ "key": text() })) } })),
        "OfrepFailure": object(&["errorCode", "errorDetails", "metadata"], &json!({
            "key": text(), "errorCode": text(), "errorDetails": text(), "metadata": { "type": "object" } })),
        "Target": object(&["type", "value"], &json!({
            "type": kinds(),
            "value": { "oneOf": [percent(), texts(), { "type": "object" }, list("Target")] } })),
        "Rule": { "allOf": [reference("Target"), object(&[], &json!({ "variant": text(), "split": object(
            &["hash", "weights"], &json!({ "hash": { "enum": ["murmur3", "murmur3-cbor"] } })) }))] },
        "Variant": object(&["value"], &json!({
            "value": { "type": ["boolean", "string", "number", "object", "array"] },
            "weight": { "type": "integer", "minimum": 0, "maximum": 1_000_000 } })),
        "Schedule": object(&[], &json!({ "from": text(), "until": text() })),
        "Prerequisite": object(&["flag"], &json!({ "flag": text(), "variant": text() })),
        "NewFlag": object(&["enabled", "rolloutPercentage"], &json!({
            "description": text(), "enabled": { "type": "boolean" }, "rolloutPercentage": percent(),
            "rules": list("Rule"), "variants": variants(), "defaultVariant": maybe("string"),
            "schedule": reference("Schedule"), "prerequisites": list("Prerequisite"),
            "client": { "type": "boolean" },
            "ramp": { "type": ["object", "null"] } })),
        "FlagPatch": object(&[], &json!({
            "description": text(), "enabled": { "type": "boolean" },
            "rolloutPercentage": { "type": "number", "description": "out of range is clamped" },
            "rules": list("Rule"), "variants": variants(), "defaultVariant": maybe("string"),
            "schedule": reference("Schedule"), "prerequisites": list("Prerequisite"),
            "client": { "type": "boolean" },
            "ramp": { "type": ["object", "null"] } })),
        "Flag": object(&["name", "enabled", "rolloutPercentage", "rules", "createdAt", "updatedAt"], &json!({
            "name": text(), "description": text(), "enabled": { "type": "boolean" },
            "rolloutPercentage": percent(), "rules": list("Rule"), "variants": variants(), "defaultVariant": text(),
            "schedule": reference("Schedule"), "prerequisites": list("Prerequisite"),
            "client": { "type": "boolean" }, "createdAt": text(), "updatedAt": text() })),
        "Flags": object(&["flags", "version"], &json!({ "flags": list("Flag"), "version": count() })),
        "Evaluate": object(&[], &json!({ "context": object(&[], &json!({
            "userId": maybe("string"), "sessionId": maybe("string"), "groupId": maybe("string"),
            "environment": maybe("string"), "service": maybe("string"), "attributes": { "type": "object" } })) })),
        "Evaluation": object(&["flagName", "enabled", "reason"], &json!({
            "flagName": text(), "enabled": { "type": "boolean" },
            "reason": { "enum": ["default", "override", "disabled", "schedule", "prerequisite", "rule", "percentage"] },
            "ruleMatched": kinds(), "variant": text(), "value": {} })),
        "Plan": object(&["traffic", "measured", "stages"], &json!({
            "traffic": { "type": "object" }, "measured": { "type": "boolean" },
            "stages": { "type": "array", "items": { "type": "object" } } })),
        "Reload": { "type": "object", "additionalProperties": false,
            "properties": { "discard": { "type": "boolean" } } },
        "Stage": object(&["percentage", "duration", "maxErrorRate"], &json!({
            "percentage": percent(), "duration": seconds(), "minRequests": count(), "maxErrorRate": rate(),
            "hold": { "type": "boolean" } })),
        "Guard": { "type": "object", "additionalProperties": false, "properties": {
            "falseRollback": { "type": "number", "exclusiveMinimum": 0, "maximum": 0.5 },
            "errors": { "enum": ["enforce", "observe", "off"] }, "latency": { "enum": ["enforce", "observe", "off"] },
            "slowerThan": { "type": "string", "description": "p50 to p99 of stable, or a duration like 250ms" },
            "rate": { "enum": ["plain", "evidence"] } } },
        "StartRehearsal": { "type": "object", "required": ["errorRate"], "additionalProperties": false, "properties": {
            "errorRate": rate(), "times": { "type": "integer", "minimum": 1, "maximum": 100 }, "for": seconds(),
            "stages": list("Stage"), "guard": reference("Guard") } },
        "Rehearsal": object(&["service", "by", "startedAt", "text", "running", "errorRate", "times", "rolledBack",
                "requests", "errors", "lost", "elapsedSeconds", "runs"], &json!({
            "service": text(), "by": text(), "startedAt": text(), "text": text(), "running": { "type": "boolean" },
            "errorRate": rate(), "times": count(), "rolledBack": count(), "requests": count(), "errors": count(),
            "lost": count(), "elapsedSeconds": { "type": "number" }, "canaryRequestsMedian": maybe("integer"),
            "canaryRequestsP95": maybe("integer"), "secondsMedian": maybe("number"),
            "runs": { "type": "array", "items": { "type": "object" } } })),
        "Standing": object(&["guard", "enforces", "evidence", "bound", "sign", "canaryUsers", "stableUsers"], &json!({
            "guard": { "enum": ["errors", "latency", "limit"] }, "enforces": { "type": "boolean" },
            "evidence": { "type": "number" }, "highest": { "type": "number" }, "bound": { "type": "number" },
            "sign": { "enum": ["no sign", "watching", "suspicious", "proven"] }, "canaryUsers": count(),
            "stableUsers": count(), "atMost": { "type": "number" }, "slowerThan": { "type": "number" } })),
        "Start": { "type": "object", "additionalProperties": false, "properties": {
            "version": { "type": "string", "pattern": "^[!-~]{1,128}$", "description": "needed but for an A/A test" },
            "aa": { "type": "boolean" },
            "strategy": { "enum": ["canary", "rolling", "blue-green", "instant"] }, "stages": list("Stage"),
            "step": percent(), "interval": seconds(), "pool": text(), "bake": seconds(),
            "guard": reference("Guard"), "onFail": { "enum": ["rollback", "pause"] },
            "onInsufficient": { "enum": ["extend", "pause", "rollback"] }, "maxDuration": seconds(),
            "promoteEarly": { "type": "boolean" }, "onComplete": { "enum": ["promote", "return"] },
            "warmup": seconds(), "include": list("Rule"), "exclude": list("Rule"), "restart": { "type": "boolean" },
            "force": { "type": "boolean" } } },
        "Act": { "type": "object", "additionalProperties": false,
            "properties": { "reason": maybe("string"), "force": { "type": "boolean" } } },
        "Event": object(&["at", "kind", "by", "text"], &json!({
            "at": text(), "kind": text(), "by": text(), "text": text() })),
        "Metrics": object(&["totalRequests", "canaryRequests", "canaryErrors", "baselineRequests", "baselineErrors"],
            &json!({
                "totalRequests": count(), "canaryRequests": count(), "canaryErrors": count(),
                "canaryErrorRate": maybe("number"), "canaryLatencyP95": maybe("number"),
                "baselineRequests": count(), "baselineErrors": count(), "baselineErrorRate": maybe("number"),
                "baselineLatencyP95": maybe("number"), "lastUpdated": text() })),
        "Deployment": object(
            &["id", "service", "version", "status", "strategy", "pool", "currentStageIndex", "currentPercentage",
                "startedAt", "stages", "metrics", "guard", "events", "revision"],
            &json!({
                "id": text(), "service": text(), "version": text(), "previousVersion": maybe("string"),
                "status": { "enum": ["pending", "in_progress", "paused", "completed", "rolled_back", "failed"] },
                "strategy": { "enum": ["canary", "rolling", "blue-green", "instant"] }, "pool": text(),
                "previousPool": text(), "revision": count(), "currentStageIndex": count(),
                "currentPercentage": percent(), "startedAt": text(), "completedAt": text(),
                "stages": list("Stage"), "bake": seconds(), "guard": reference("Guard"),
                "metrics": reference("Metrics"), "evidence": list("Standing"), "aa": { "type": "boolean" },
                "rollbackReason": text(), "decision": { "type": "object" },
                "events": list("Event"), "durable": { "type": "boolean" } })),
        "Deployments": object(&["deployments"], &json!({ "deployments": list("Deployment") })),
        "Caller": object(&["name", "role"], &json!({
            "name": text(), "role": { "enum": ["read", "record", "write"] } })),
        "TrackSample": object(&["requests", "errors"], &json!({ "requests": count(), "errors": count(),
            "p50": milliseconds(), "p95": milliseconds(), "p99": milliseconds() })),
        "Sample": object(&["at", "seconds", "share", "stable", "canary", "evidence"], &json!({
            "at": { "type": "number" },
            "seconds": { "type": "number", "minimum": 0 }, "share": percent(), "stable": reference("TrackSample"),
            "canary": reference("TrackSample"), "evidence": object(&[], &json!({
                "errors": { "type": "number" }, "latency": { "type": "number" }, "limit": { "type": "number" } })) })),
        "Samples": object(&["samples"], &json!({ "deployment": text(), "samples": list("Sample") })),
        "Live": object(&["requestsPerSecond"], &json!({
            "requestsPerSecond": { "type": "number", "minimum": 0 },
            "errorRate": rate(), "p50": milliseconds(), "p95": milliseconds(), "p99": milliseconds() })),
        "StageLive": object(&["elapsedSeconds", "seconds", "running", "canaryRequests", "minRequests"], &json!({
            "elapsedSeconds": { "type": "number", "minimum": 0 }, "seconds": { "type": "number", "minimum": 0 },
            "running": { "type": "boolean" }, "canaryRequests": count(), "minRequests": count() })),
        "Service": object(&["name", "stable", "pools", "deployment", "live"], &json!({
            "last": object(&["id", "version", "status", "text"], &json!({ "id": text(), "version": text(),
                "status": text(), "completedAt": text(), "text": text() })),
            "live": object(&["stable"], &json!({ "stable": reference("Live"), "canary": reference("Live"),
                "stage": reference("StageLive") })),
            "name": text(), "pools": { "type": "array", "items": text() },
            "stable": object(&["pool"], &json!({ "pool": text(), "version": text() })),
            "deployment": { "oneOf": [reference("Deployment"), { "type": "null" }] } })),
        "Services": object(&["services"], &json!({ "services": list("Service") })),
        "Assignment": object(&["track", "share", "reason", "identity"], &json!({
            "track": { "enum": ["stable", "canary"] }, "bucket": maybe("integer"), "share": percent(),
            "reason": { "enum": ["none", "share", "include", "exclude"] }, "identity": text() })),
        "Explanation": object(&["service", "assignment", "flags"], &json!({
            "service": text(), "assignment": reference("Assignment"), "flags": list("Evaluation") })),
        "Outcome": { "type": "object", "required": ["track", "error"], "additionalProperties": false, "properties": {
            "track": { "enum": ["stable", "canary"] },
            "latencyMs": { "type": ["number", "null"], "minimum": 0, "maximum": 86_400_000 },
            "error": { "type": "boolean" }, "userId": maybe("string") } },
        "Outcomes": { "oneOf": [reference("Outcome"), list("Outcome")] },
        "OverrideFields": { "type": "object", "required": ["track"], "additionalProperties": false, "properties": {
            "track": { "enum": ["stable", "canary"] }, "for": seconds() } },
        "Override": object(&["header", "cookie", "value", "track", "expiresAt"], &json!({
            "header": text(), "cookie": text(), "value": text(), "track": { "enum": ["stable", "canary"] },
            "expiresAt": count() })),
        "Recorded": object(&["recorded"], &json!({ "recorded": count() })),
    })
}
