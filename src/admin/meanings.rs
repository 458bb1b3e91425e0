//! What the fields of the API's schemas mean: put into its description, and from there into
//! the reference.

use serde_json::{Value, json};

/// By `Schema.field`, or by the field alone where it means the same everywhere.
const MEANINGS: &[(&str, &str)] = &[
    ("Act.force", "although it has failed (promote), or its pool answers another version (undo)"),
    ("Act.reason", "why, for the record; of a rollback"),
    ("Assignment.bucket", "from 0 to 9,999; null without a deployment or a drawn bucket"),
    ("Assignment.identity", "the id that the bucket is drawn for"),
    ("Assignment.reason", "why the user is there"),
    ("Assignment.share", "the share of users on the canary, in percent"),
    ("Caller.name", "the token's name; `operator` where there are no tokens"),
    ("Caller.role", "what it may do"),
    ("Deployment.aa", "an A/A test: the version is stable already"),
    ("Deployment.bake", "the watch after 100 %, in seconds"),
    ("Deployment.completedAt", "when it ended; absent while it runs"),
    ("Deployment.currentPercentage", "the share now, in percent"),
    ("Deployment.currentStageIndex", "the stage, from 0; the number of stages in the bake"),
    ("Deployment.decision", "the verdict: rule, text, counts of both tracks, routes, request ids, events for a replay"),
    ("Deployment.events", "what happened, the oldest first"),
    ("Deployment.evidence", "how its guards stand"),
    ("Deployment.guard", "what its guards are"),
    ("Deployment.id", "its id; buckets are drawn for it"),
    ("Deployment.metrics", "what was counted"),
    ("Deployment.pool", "the pool that it goes to"),
    ("Deployment.previousPool", "the pool that was stable when it began"),
    ("Deployment.previousVersion", "what was stable when it began"),
    ("Deployment.revision", "grows with each change of its course"),
    ("Deployment.rollbackReason", "why it was rolled back"),
    ("Deployment.status", "`pending` and `failed` are read from files of others, never written"),
    ("Deployments.deployments", "the newest first"),
    ("Evaluate.context", "whose flag it is; without it nobody's"),
    ("Evaluate.context.attributes", "what rules about attributes look at"),
    ("Evaluate.context.environment", "another environment than the configured one"),
    ("Evaluate.context.groupId", "groups, comma separated"),
    ("Evaluate.context.service", "whose deployment `track` rules look at"),
    ("Evaluate.context.sessionId", "the session's id, where there is no user"),
    ("Evaluate.context.userId", "the user's id"),
    ("Evaluation.enabled", "whether it is on"),
    ("Evaluation.flagName", "the flag"),
    ("Evaluation.reason", "the step of the evaluation that decided"),
    ("Evaluation.ruleMatched", "the type of the rule that decided"),
    ("Evaluation.value", "the variant's value, of a flag with variants"),
    ("Evaluation.variant", "the variant's name"),
    ("Event.by", "`serin`, or the name of the token of who asked"),
    ("Event.kind", "what happened, in a word"),
    ("Explanation.assignment", "where the user is"),
    ("Explanation.flags", "each flag with its reason"),
    ("Flags.flags", "by name"),
    ("Flags.version", "grows by one with each change of the flag file"),
    ("Guard.errors", "the comparison of errors"),
    ("Guard.falseRollback", "the part of unchanged versions that may be rolled back"),
    ("Guard.latency", "the comparison of slow answers"),
    ("Guard.rate", "how `maxErrorRate` is held once `minRequests` are there"),
    ("Import.document", "flagd's file or the guide's, as it is"),
    ("Import.dryRun", "say what would change, and change nothing"),
    ("Import.hash", "how flagd drew its fractions: text until 2026, cbor since"),
    ("Import.replace", "delete flags that the document lacks"),
    ("Imported.changes", "one for each flag"),
    ("Imported.changes.change", "what becomes of it"),
    ("Imported.changes.fields", "what differs, of a flag that changes"),
    ("Imported.changes.fields.after", "in the document"),
    ("Imported.changes.fields.before", "until now"),
    ("Imported.changes.fields.field", "the field's name"),
    ("Imported.dryRun", "whether nothing was changed"),
    ("Imported.version", "of the flag file afterwards"),
    ("Lint.warnings", "one for each doubt"),
    ("Lint.warnings.code", "a word for programs"),
    ("Live.errorRate", "errors among the last ten seconds' outcomes; absent without any"),
    ("Live.p50", "the median of latencies in milliseconds, over the deployment; without one, since the start"),
    ("Live.p95", "the 95th percentile of them"),
    ("Live.p99", "the 99th percentile of them"),
    ("Live.requestsPerSecond", "outcomes a second, of the last ten seconds"),
    ("Log.level", "the level, or the filter of `$SERIN_LOG`"),
    ("Metrics.baselineErrorRate", "errors per request on stable"),
    ("Metrics.baselineErrors", "errors on stable"),
    ("Metrics.baselineLatencyP95", "stable's 95th percentile, in milliseconds"),
    ("Metrics.baselineRequests", "requests on stable"),
    ("Metrics.canaryErrorRate", "errors per request on the canary"),
    ("Metrics.canaryErrors", "errors on the canary"),
    ("Metrics.canaryLatencyP95", "the canary's 95th percentile, in milliseconds"),
    ("Metrics.canaryRequests", "requests on the canary"),
    ("Metrics.totalRequests", "requests on both tracks"),
    ("NewLog.level", "the level from now on"),
    ("OfrepContext.context", "OpenFeature's evaluation context"),
    ("OfrepContext.context.targetingKey", "the user's id"),
    ("OfrepEvaluation.reason", "OpenFeature's reason"),
    ("OfrepEvaluation.value", "absent where the caller's own default holds"),
    ("OfrepEvaluations.flags", "an evaluation or a failure for each flag"),
    ("OfrepFailure.errorCode", "OpenFeature's error code"),
    ("OfrepFailure.errorDetails", "for a person"),
    ("Outcome.error", "whether it went wrong"),
    ("Outcome.latencyMs", "how long it took, in milliseconds"),
    ("Outcome.userId", "whose it was; without a user only the rate rule hears of it"),
    ("Override.cookie", "as `name=value`"),
    ("Override.expiresAt", "in seconds since 1970"),
    ("Override.header", "as `name: value`"),
    ("Override.value", "the signed text alone"),
    ("OverrideFields.for", "how long it is good: seconds, or a text like 1h"),
    ("Plan.measured", "whether the traffic was measured, or given by the query"),
    ("Plan.stages", "for each stage: what is found, after how many requests, and warnings"),
    ("Plan.traffic", "requests a second and stable's error rate"),
    ("Prerequisite.flag", "the flag that has to be on"),
    ("Prerequisite.variant", "the variant that it has to have"),
    ("Problem.code", "a word for programs"),
    ("Problem.detail", "a sentence for people"),
    ("Problem.field", "the field that is wrong, where it is one"),
    ("Problem.title", "the status in words"),
    ("Ramp.from", "the percentage before the ramp, to which a breach sets it back"),
    ("Ramp.off", "requests, errors and users of those that have the flag off by their bucket"),
    ("Ramp.on", "requests, errors and users of those that have it on by their bucket"),
    ("Ramp.stage", "the stage, from 0"),
    ("Ramp.text", "why it has ended or stands still"),
    ("Recorded.recorded", "how many were taken"),
    ("Rehearsal.canaryRequestsMedian", "canary requests until a rollback, as a median"),
    ("Rehearsal.canaryRequestsP95", "canary requests until a rollback: nineteen of twenty needed no more"),
    ("Rehearsal.elapsedSeconds", "how long it has lasted"),
    ("Rehearsal.errorRate", "canary requests that become errors on paper"),
    ("Rehearsal.errors", "real errors among the outcomes"),
    ("Rehearsal.lost", "outcomes that came too fast to be heard"),
    ("Rehearsal.requests", "outcomes heard"),
    ("Rehearsal.rolledBack", "how many would have been rolled back"),
    ("Rehearsal.running", "whether it goes on"),
    ("Rehearsal.runs", "each of the rollouts"),
    ("Rehearsal.secondsMedian", "seconds until a rollback, as a median"),
    ("Rehearsal.text", "in one sentence"),
    ("Rehearsal.times", "how many rollouts at once"),
    ("Reload.discard", "write over what somebody broke in the file, which is put aside"),
    ("Rule.split", "how flagd drew the variants of an imported flag"),
    ("Rule.split.hash", "flagd's hash, before and since 2026"),
    ("Rule.variant", "the variant of those that it matches"),
    ("Sample.at", "its end, in seconds since 1970"),
    ("Sample.canary", "what the canary did meanwhile"),
    ("Sample.evidence", "what each guard had come to; of samples that were put together the highest"),
    ("Sample.evidence.errors", "of the comparison of errors"),
    ("Sample.evidence.latency", "of the comparison of slow answers"),
    ("Sample.evidence.limit", "of the limit"),
    ("Sample.seconds", "how long it lasted"),
    ("Sample.share", "the canary's share at its end, in percent"),
    ("Sample.stable", "what stable did meanwhile"),
    ("Samples.deployment", "whose course it is; absent without one"),
    ("Samples.samples", "the oldest first; a long course has fewer and longer ones"),
    ("Schedule.from", "RFC 3339; before it the flag is off"),
    ("Schedule.until", "RFC 3339; from then on it is off"),
    ("Service.deployment", "the one that runs"),
    ("Service.last", "the newest one that has ended, for as long as the history knows it"),
    ("Service.last.completedAt", "when it ended"),
    ("Service.last.id", "its id"),
    ("Service.last.text", "the verdict's sentence, else the last thing that was told of it"),
    ("Service.live", "how it goes now"),
    ("Service.live.canary", "what the canary does, while there is one"),
    ("Service.live.stable", "what stable does"),
    ("Service.live.stage", "how far the stage is, where time moves it on"),
    ("Service.stable", "the pool that is stable, with its version where anybody said"),
    ("Service.stable.pool", "its name"),
    ("Service.stable.version", "what it runs"),
    ("Services.services", "all of them"),
    ("Stage.duration", "how long it lasts at least: seconds, or a text like 10m"),
    ("Stage.hold", "it ends by `advance` only"),
    ("Stage.maxErrorRate", "the error rate above which it fails"),
    ("Stage.minRequests", "canary requests before the error rate decides; 0: it needs evidence"),
    ("Stage.percentage", "the share of users on the canary"),
    ("StageLive.canaryRequests", "the canary's outcomes in this stage"),
    ("StageLive.elapsedSeconds", "its time that is over"),
    ("StageLive.minRequests", "as many have to come before it ends"),
    ("StageLive.running", "whether its clock runs: not while it is paused"),
    ("StageLive.seconds", "how long it lasts at least"),
    ("Standing.atMost", "what the canary is shown to stay below: so many times stable's"),
    ("Standing.bound", "the evidence at which it fires"),
    ("Standing.canaryUsers", "canary users with an event that counted in this window"),
    ("Standing.enforces", "whether proven means rolled back"),
    ("Standing.evidence", "what a bet of 1 against an unchanged version has become"),
    ("Standing.guard", "which guard"),
    ("Standing.highest", "the highest evidence in this deployment"),
    ("Standing.sign", "the evidence in words"),
    ("Standing.slowerThan", "what is slow, in milliseconds, once that is known"),
    ("Standing.stableUsers", "stable users with one"),
    ("Start.aa", "an A/A test: a release of what is stable already"),
    ("Start.bake", "the watch after 100 %"),
    ("Start.exclude", "who is never on the canary"),
    ("Start.force", "although something speaks against it"),
    ("Start.guard", "what of the guard is other than configured"),
    ("Start.include", "who is always on the canary"),
    ("Start.interval", "how long each step of a rolling one lasts"),
    ("Start.maxDuration", "the longest a stage lasts before it pauses"),
    ("Start.onComplete", "after the bake"),
    ("Start.onFail", "after a verdict"),
    ("Start.onInsufficient", "duration over, `minRequests` not reached"),
    ("Start.pool", "the pool that runs it; by default the one of two that is not stable"),
    ("Start.promoteEarly", "end a stage once the canary is shown to be good"),
    ("Start.restart", "begin again where this version is running already"),
    ("Start.stages", "other stages than configured"),
    ("Start.step", "the step of a rolling one, in percent"),
    ("Start.warmup", "after the start and each stage slow answers do not count for so long"),
    ("StartRehearsal.errorRate", "canary requests that become errors on paper"),
    ("StartRehearsal.for", "the longest it lasts: seconds, or a text like 10m; a day at the most"),
    ("StartRehearsal.guard", "what of the guard is other than configured"),
    ("StartRehearsal.stages", "other stages than configured"),
    ("StartRehearsal.times", "how many rollouts at once; 20 unless given"),
    ("Target.value", "what the type asks for: a percentage, ids, conditions, or other rules"),
    ("TrackSample.errors", "those that were errors"),
    ("TrackSample.p50", "the median of latencies, in milliseconds; absent without any"),
    ("TrackSample.p95", "the 95th percentile of them"),
    ("TrackSample.p99", "the 99th percentile of them"),
    ("TrackSample.requests", "outcomes"),
    ("Variant.value", "what the app is told"),
    ("Variant.weight", "its part beside the others'"),
    ("at", "RFC 3339"),
    ("by", "who asked"),
    ("client", "whether apps on users' devices may see it"),
    ("createdAt", "RFC 3339"),
    ("defaultVariant", "what those have for whom it is off; null: none"),
    ("description", "what it is for"),
    ("durable", "whether it is on disk already; a rollback is carried out in any case"),
    ("enabled", "off: it is off for everybody"),
    ("endedAt", "RFC 3339"),
    ("flag", "the flag's name"),
    ("key", "the flag's name"),
    ("lastUpdated", "RFC 3339"),
    ("metadata", "further facts, as OpenFeature has it"),
    ("name", "its name"),
    ("pools", "names of its pools"),
    ("prerequisites", "flags that have to be on before it"),
    ("ramp", "stages and guard of a guarded ramp; null ends it"),
    ("rolloutPercentage", "the part of users that have it on"),
    ("rules", "the first that matches decides"),
    ("schedule", "when it may be on"),
    ("service", "the service's name"),
    ("stages", "shares to hold for a time; they grow to 100"),
    ("startedAt", "RFC 3339"),
    ("status", "how it stands"),
    ("strategy", "how it moves"),
    ("text", "a sentence for people"),
    ("track", "which track"),
    ("type", "the kind of the rule"),
    ("updatedAt", "RFC 3339"),
    ("variant", "the variant's name"),
    ("variants", "values with weights, by name"),
    ("version", "the version, of 1 to 128 visible ASCII characters"),
];

/// Adds what is known to the properties of these schemas.
pub(super) fn add_to(schemas: &mut Value) {
    let Some(schemas) = schemas.as_object_mut() else { return };
    for (name, schema) in schemas {
        add_to_fields(name, schema);
        for part in schema.get_mut("allOf").and_then(Value::as_array_mut).into_iter().flatten() {
            add_to_fields(name, part);
        }
    }
}

fn add_to_fields(under: &str, schema: &mut Value) {
    let Some(fields) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for (name, field) in fields {
        let path = format!("{under}.{name}");
        let known = |wanted: &str| MEANINGS.iter().find(|(path, _)| *path == wanted);
        let meaning = known(&path).or_else(|| known(name));
        // OpenAPI 3.1 lets a description stand beside a reference.
        if let (Some((_, meaning)), Some(field)) = (meaning, field.as_object_mut()) {
            field.entry("description").or_insert_with(|| json!(meaning));
        }
        add_to_fields(&path, field);
        if let Some(items) = field.get_mut("items") {
            add_to_fields(&path, items);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_field_of_every_schema_means_something_and_every_meaning_has_a_field() {
        let document = super::super::openapi::document();
        let mut used = BTreeSet::new();
        for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
            look_at(name, schema, &mut used);
            schema["allOf"].as_array().into_iter().flatten().for_each(|part| look_at(name, part, &mut used));
        }
        let unused: Vec<&str> = MEANINGS.iter().map(|(path, _)| *path).filter(|path| !used.contains(*path)).collect();
        assert!(unused.is_empty(), "{unused:?}");
    }

    fn look_at(under: &str, schema: &Value, used: &mut BTreeSet<String>) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{under}.{name}");
            assert!(field["description"].is_string(), "{path}");
            look_at(&path, field, used);
            look_at(&path, &field["items"], used);
            used.extend([path, name.clone()]);
        }
    }
}
