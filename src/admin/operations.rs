//! The table of all calls: path, method, who may, what comes and what is answered.

use axum::http::Method;
use axum::routing::{self, MethodRouter};

use super::access::{self, Access};
use super::api::Admin;
use super::{deployments, events, flags, health, log, ofrep};

/// One call.
pub(super) struct Operation {
    pub(super) id: &'static str,
    pub(super) method: Method,
    /// Behind `/api`; with `{service}` it exists a second time without the service.
    pub(super) path: &'static str,
    pub(super) summary: &'static str,
    pub(super) access: Access,
    pub(super) handler: fn() -> MethodRouter<Admin>,
    /// The schema of its body.
    pub(super) body: Option<&'static str>,
    /// Names of its query's fields.
    pub(super) query: &'static [&'static str],
    /// What it answers where all is well: statuses, and a schema or a content type.
    pub(super) answers: &'static [u16],
    pub(super) answer: Answer,
    /// Statuses of its own refusals, beside those of its access.
    pub(super) refusals: &'static [u16],
    /// Bytes that its body may have.
    pub(super) body_max: usize,
}

/// What an answer is.
#[derive(Clone, Copy)]
pub(super) enum Answer {
    /// JSON of this schema.
    Json(&'static str),
    /// A text.
    Text(&'static str),
}

/// What a body may have, where nothing else is said.
const BODY_MAX: usize = 1 << 20;
const OF_SERVICE: &str = "/api/services/{service}/";

impl Operation {
    /// Its paths: with one service the part that names it may be left out.
    pub(super) fn paths(&self) -> Vec<String> {
        let short = self.path.strip_prefix(OF_SERVICE).map(|rest| format!("/api/{rest}"));
        [Some(self.path.to_owned()), short].into_iter().flatten().collect()
    }
}

macro_rules! operation {
    ($id:literal, $method:ident, $path:literal, $access:ident, $handler:path, $answer:expr, $summary:literal
     $(, $field:ident: $value:expr)* $(,)?) => {
        Operation {
            $($field: $value,)*
            ..Operation {
                id: $id,
                method: Method::$method,
                path: $path,
                summary: $summary,
                access: Access::$access,
                handler: || routing::on(
                    routing::MethodFilter::try_from(Method::$method).unwrap_or(routing::MethodFilter::GET),
                    $handler,
                ),
                body: None,
                query: &[],
                answers: &[200],
                answer: $answer,
                refusals: &[],
                body_max: BODY_MAX,
            }
        }
    };
}

/// All of them.
pub(super) fn operations() -> Vec<Operation> {
    use Answer::{Json, Text};
    vec![
        operation!("listFlags", GET, "/api/flags", Read, flags::list, Json("Flags"), "All flags (getAllFlags)"),
        operation!("getFlag", GET, "/api/flags/{name}", Read, flags::get, Json("Flag"), "One flag (getFlag)",
            refusals: &[404]),
        operation!("setFlag", PUT, "/api/flags/{name}", Write, flags::set, Json("Flag"),
            "Create or replace a flag (setFlag)", body: Some("NewFlag"), refusals: &[409, 412, 422]),
        operation!("patchFlag", PATCH, "/api/flags/{name}", Write, flags::patch, Json("Flag"),
            "Change some fields of a flag (updateRolloutPercentage)", body: Some("FlagPatch"),
            refusals: &[404, 409, 412, 422]),
        operation!("deleteFlag", DELETE, "/api/flags/{name}", Write, flags::delete, Json("Flag"),
            "Delete a flag (deleteFlag)", refusals: &[404, 409, 412]),
        operation!("evaluateFlag", POST, "/api/flags/{name}/evaluate", Read, flags::evaluate, Json("Evaluation"),
            "Is it on for somebody, and why (evaluateFlag, isFeatureEnabled)", body: Some("Evaluate")),
        operation!("getRamp", GET, "/api/flags/{name}/ramp", Read, flags::ramp, Json("Ramp"),
            "How a flag's percentage grows by itself, with its evidence", refusals: &[404]),
        operation!("actOnRamp", POST, "/api/flags/{name}/ramp/{verb}", Write, flags::act_on_ramp, Json("Ramp"),
            "Steer it: advance, pause, resume, promote, rollback", body: Some("Act"), refusals: &[404, 409]),
        operation!(
            "lintFlags",
            GET,
            "/api/lint/flags",
            Read,
            flags::lint,
            Json("Lint"),
            "Flags that can never be on, rules that never match, flags that everybody has had for long"
        ),
        operation!("importFlags", POST, "/api/import/flags", Write, flags::import, Json("Imported"),
            "Bring in flagd's flags or the guide's file, or say what that would change", body: Some("Import"),
            refusals: &[409, 422], body_max: 32 << 20),
        operation!("reloadFlags", POST, "/api/state/flags/reload", Write, flags::reload, Json("Flags"),
            "Read the flag file again; discard: write over what somebody broke in it", body: Some("Reload"),
            refusals: &[409]),
        operation!("listServices", GET, "/api/services", Read, deployments::services, Json("Services"), "All services"),
        operation!("getService", GET, "/api/services/{service}", Read, deployments::service, Json("Service"),
            "One service", refusals: &[404]),
        operation!("getDeployment", GET, "/api/services/{service}/deployment", Read, deployments::current,
            Json("Deployment"), "The deployment that runs (getCurrentDeployment)", refusals: &[404]),
        operation!("listDeployments", GET, "/api/services/{service}/deployments", Read, deployments::history,
            Json("Deployments"), "The last ten that ended (getDeploymentHistory)", refusals: &[404]),
        operation!("getSamples", GET, "/api/services/{service}/samples", Read, deployments::samples, Json("Samples"),
            "Rates, errors, latencies and evidence over time: of the deployment that runs, or of the last five minutes \
             without one. deployment: an id, or `last` for the newest of this process, also where it has ended. \
             after: only what came after this time, in seconds since 1970",
            query: &["deployment", "after"], refusals: &[404]),
        operation!("startDeployment", POST, "/api/services/{service}/deployments", Write, deployments::start,
            Json("Deployment"), "Start a deployment (startCanaryDeployment, instantDeploy)", body: Some("Start"),
            answers: &[200, 201], refusals: &[404, 409, 412]),
        operation!("actOnDeployment", POST, "/api/services/{service}/deployment/{verb}", Write, deployments::act,
            Json("Deployment"),
            "Steer it (advanceCanaryStage, pauseDeployment, resumeDeployment, rollbackDeployment, …)",
            body: Some("Act"), answers: &[200, 201], refusals: &[404, 409, 412]),
        operation!("getAssignment", GET, "/api/services/{service}/assignment", Read, deployments::assignment,
            Json("Assignment"), "Where a user is (shouldRouteToCanary)",
            query: &["userId", "sessionId", "groupId"], refusals: &[404]),
        operation!("getPlan", GET, "/api/services/{service}/plan", Read, deployments::plan, Json("Plan"),
            "What each stage of a deployment can see at the measured or given traffic",
            query: &["requestsPerSecond", "errorRate"], refusals: &[404]),
        operation!("startRehearsal", POST, "/api/services/{service}/rehearsal", Write, deployments::rehearse,
            Json("Rehearsal"), "Invent errors beside live outcomes: when would they be found? Nobody is hurt",
            body: Some("StartRehearsal"), answers: &[201], refusals: &[404, 409]),
        operation!("getRehearsal", GET, "/api/services/{service}/rehearsal", Read, deployments::rehearsal,
            Json("Rehearsal"), "The rehearsal that runs, or the last one", refusals: &[404]),
        operation!("stopRehearsal", DELETE, "/api/services/{service}/rehearsal", Write, deployments::stop_rehearsal,
            Json("Rehearsal"), "End a rehearsal", refusals: &[404]),
        operation!("recordOutcomes", POST, "/api/services/{service}/outcomes", Record, deployments::outcomes,
            Json("Recorded"), "Record outcomes that the proxy does not see (recordCanaryRequest)",
            body: Some("Outcomes"), answers: &[202], refusals: &[404]),
        operation!("createOverride", POST, "/api/services/{service}/overrides", Write, deployments::force,
            Json("Override"), "Sign an override: who holds it is on that track, also at 0 %",
            body: Some("OverrideFields"), answers: &[201], refusals: &[404, 409]),
        operation!("explain", GET, "/api/explain", Read, deployments::explain, Json("Explanation"),
            "Where a user is and which flags are on, each with its reason",
            query: &["url", "service", "userId", "sessionId", "groupId"], refusals: &[404]),
        operation!("ofrepEvaluate", POST, "/ofrep/v1/evaluate/flags/{*key}", Read, ofrep::evaluate,
            Json("OfrepEvaluation"), "One flag for an SDK (OpenFeature Remote Evaluation Protocol)",
            body: Some("OfrepContext"), refusals: &[404]),
        operation!("ofrepEvaluateAll", POST, "/ofrep/v1/evaluate/flags", Read, ofrep::evaluate_all,
            Json("OfrepEvaluations"), "All flags for an SDK; If-None-Match with the tag of the last answer: 304",
            body: Some("OfrepContext")),
        operation!(
            "getCaller",
            GET,
            "/api/caller",
            Read,
            access::caller,
            Json("Caller"),
            "Who asks, and what the token may do"
        ),
        operation!("getLog", GET, "/api/log", Read, log::level, Json("Log"), "The level of the log",
            refusals: &[404]),
        operation!("setLog", PUT, "/api/log", Write, log::set_level, Json("Log"),
            "Another level, until the next start or another one in a changed configuration", body: Some("NewLog"),
            refusals: &[404]),
        operation!(
            "listEvents",
            GET,
            "/api/events",
            Read,
            events::stream,
            Text("text/event-stream"),
            "Every change as it happens; Last-Event-ID goes on from there"
        ),
        operation!(
            "getApiMetrics",
            GET,
            "/api/metrics",
            Read,
            health::metrics,
            Text("text/plain"),
            "Metrics: Prometheus text, or OpenMetrics by Accept"
        ),
        operation!("getMetrics", GET, "/metrics", Read, health::metrics, Text("text/plain"), "The same"),
        operation!("isAlive", GET, "/healthz", Open, health::alive, Text("text/plain"), "The process is alive"),
        operation!("isReady", GET, "/readyz", Open, health::ready, Text("text/plain"), "Traffic is served",
            refusals: &[503]),
    ]
}
