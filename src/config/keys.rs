//! Every key that Serin knows: name, kind, default, meaning. The parser reads by this table,
//! `serin schema` prints it, and a key that is not in it is an unknown key.

use std::time::Duration;

use super::checked::{
    AccessLogFormat, Anonymous, Balance, HeaderStyle, LogFormat, LogLevel, RetryCause, SaltKind, ShieldMethods, Stick,
    TokenRole,
};
use super::definition::Kind::{
    Bool, Decimal, Either, List, Names, Number, OneOrMany, Section as Sub, Size, Span, Text, Word,
};
use super::definition::{Form, Kind, Section, key, optional, required, section, words};
use crate::decide::flags::{EnvironmentRules, RuleKind};
use crate::decide::guard::{Enforcement, RateRule};
use crate::decide::rollout::{OnComplete, OnFail, OnInsufficient, Strategy};

const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = Duration::from_secs(365 * 86_400);
const MILLISECOND: Duration = Duration::from_millis(1);
/// App servers are not asked more often than ten times a second.
const TENTH: Duration = Duration::from_millis(100);

const ANY_TEXT: Kind = Text(&Form { what: "a text", pattern: "" });
const ADDRESS: Kind =
    Text(&Form { what: "an address with a port", pattern: r"^(\[[0-9A-Fa-f:.]+\]|[0-9.]+):[0-9]{1,5}$" });
const ENDPOINT: Kind = Text(&Form { what: "an app server's address", pattern: "^(https?|h2c)://[^/@?#]+/?$" });
const PATH: Kind = Text(&Form { what: "a path", pattern: "^/" });
const HEADER: Kind = Text(&Form { what: "a header's name", pattern: r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$" });
const VARIABLE: Kind = Text(&Form { what: "a variable of the environment", pattern: "^[^=]+$" });
const NAMESPACE: Kind = Text(&Form { what: "the first word of a metric", pattern: "^[A-Za-z_][A-Za-z0-9_]{0,63}$" });
const NETWORK: Kind = Text(&Form { what: "a network", pattern: r"^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$" });
const VERSION: Kind = Text(&Form { what: "a version", pattern: "^[!-~]{1,128}$" });
const STATUSES: Kind = Text(&Form { what: "a status, or a range", pattern: "^[1-5][0-9][0-9](-[1-5][0-9][0-9])?$" });
const FLAG: Kind = Text(&Form { what: "a flag's name", pattern: "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$" });
const PREFIX: Kind = Text(&Form { what: "the start of a header's name", pattern: "^[A-Za-z0-9_.-]{2,}-$" });
const ORIGIN: Kind = Text(&Form { what: "an origin, or *", pattern: r"^(\*|https?://[A-Za-z0-9._:\[\]-]+)$" });
const HOST: Kind = Text(&Form { what: "a host's name", pattern: r"^(\*\.)?[A-Za-z0-9._:\[\]-]+$" });
const SLOWER: Kind = Text(&Form { what: "a percentile of stable, or a duration", pattern: "^(p[5-9][0-9]|[0-9].*)$" });
const PERCENT: Kind = Decimal(0.0, 100.0);
const FRACTION: Kind = Decimal(0.0, 1.0);
const TEXTS: Kind = OneOrMany(&ANY_TEXT);
const ENDPOINTS: Kind = OneOrMany(&ENDPOINT);

pub(super) const LEVELS: [(&str, LogLevel); 5] = [
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];
pub(super) const LOG_FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];
pub(super) const ACCESS_LOG_FORMATS: [(&str, AccessLogFormat); 3] =
    [("json", AccessLogFormat::Json), ("common", AccessLogFormat::Common), ("combined", AccessLogFormat::Combined)];
pub(super) const ROLES: [(&str, TokenRole); 3] =
    [("write", TokenRole::Write), ("read", TokenRole::Read), ("record", TokenRole::Record)];
pub(super) const ANONYMOUS: [(&str, Anonymous); 3] =
    [("cookie", Anonymous::Cookie), ("ip", Anonymous::Ip), ("stable", Anonymous::Stable)];
pub(super) const STICK: [(&str, Stick); 2] = [("identity", Stick::Identity), ("browser", Stick::Browser)];
pub(super) const BALANCE: [(&str, Balance); 3] =
    [("leastRequest", Balance::LeastRequest), ("roundRobin", Balance::RoundRobin), ("hash", Balance::Hash)];
pub(super) const CAUSES: [(&str, RetryCause); 2] = [("connect", RetryCause::Connect), ("reset", RetryCause::Reset)];
pub(super) const SHIELDED: [(&str, ShieldMethods); 3] =
    [("safe", ShieldMethods::Safe), ("idempotent", ShieldMethods::Idempotent), ("off", ShieldMethods::Off)];
pub(super) const STRATEGIES: [(&str, Strategy); 4] = [
    ("canary", Strategy::Canary),
    ("rolling", Strategy::Rolling),
    ("blue-green", Strategy::BlueGreen),
    ("instant", Strategy::Instant),
];
pub(super) const ENFORCEMENTS: [(&str, Enforcement); 3] =
    [("enforce", Enforcement::Enforce), ("observe", Enforcement::Observe), ("off", Enforcement::Off)];
pub(super) const RATES: [(&str, RateRule); 2] = [("plain", RateRule::Plain), ("evidence", RateRule::Evidence)];
pub(super) const ON_FAIL: [(&str, OnFail); 2] = [("rollback", OnFail::Rollback), ("pause", OnFail::Pause)];
pub(super) const ON_INSUFFICIENT: [(&str, OnInsufficient); 3] =
    [("extend", OnInsufficient::Extend), ("pause", OnInsufficient::Pause), ("rollback", OnInsufficient::Rollback)];
pub(super) const ON_COMPLETE: [(&str, OnComplete); 2] =
    [("promote", OnComplete::Promote), ("return", OnComplete::Return)];
pub(super) const CHOSEN: [(&str, RuleKind); 2] = [("user", RuleKind::User), ("group", RuleKind::Group)];
pub(super) const SALTS: [(&str, SaltKind); 2] = [("deployment", SaltKind::Deployment), ("service", SaltKind::Service)];
pub(super) const STYLES: [(&str, HeaderStyle); 2] = [("each", HeaderStyle::Each), ("list", HeaderStyle::List)];
pub(super) const READINGS: [(&str, EnvironmentRules); 2] =
    [("restrict", EnvironmentRules::Restrict), ("match", EnvironmentRules::Match)];
pub(super) const ACTIVITY: [(&str, bool); 2] = [("equal", false), ("heavyTailed", true)];

macro_rules! word {
    ($table:ident) => {
        Word(&const { words(&$table) })
    };
}

pub(super) static TOP: Section = Section {
    one_of: &[&["listen", "listeners"], &["stable", "services"]],
    ..section(
        "Serin's configuration. Durations are seconds (600) or text (10m, 1h30m); sizes bytes or text (64KiB); ${NAME} in a value is a variable of the environment.",
        &[
            optional("listen", ADDRESS, "where clients connect, in the three-line form"),
            optional("stable", ENDPOINTS, "the app, in the three-line form"),
            optional(
                "canary",
                ENDPOINTS,
                "the app's next version, in the three-line form; without it Serin is a proxy with flags",
            ),
            optional(
                "environment",
                ANY_TEXT,
                "what `environment` rules compare with; $SERIN_ENVIRONMENT where it is not given, else production",
            ),
            key("state", Sub(&STATE), "{}", "the state files"),
            optional("listeners", List(&Sub(&LISTENER)), "where clients connect"),
            key("admin", Sub(&ADMIN), "{}", "the admin API"),
            optional(
                "health",
                Sub(&HEALTH_LISTENER),
                "a listener for probes and scrapes: /healthz, /readyz, /metrics without a token",
            ),
            optional("ofrep", Sub(&OFREP), "a listener where apps on their users' devices ask for flags by OFREP"),
            key(
                "identity",
                Sub(&IDENTITY),
                "{}",
                "who a request is from; in each list the first source that is present and not empty",
            ),
            optional("services", Names(&Sub(&SERVICE)), "what hosts and paths lead to"),
            key("flags", Sub(&FLAGS), "{}", "how feature flags reach the app"),
            key("metrics", Sub(&METRICS), "{}", "the metrics text"),
            key("log", Sub(&LOG), "{}", "what Serin says of itself, on standard error"),
            optional("accessLog", Sub(&ACCESS_LOG), "a line for every request; none unless it is given"),
            key("limits", Sub(&LIMITS), "{}", "limits of the whole process"),
            key("workers", Either(&[Word(&["auto"]), Number(1, 1_024)]), "auto", "worker threads; auto: one a core"),
            key("drain", Sub(&DRAIN), "{}", "how the process ends"),
        ],
    )
};

static STATE: Section = section(
    "The state files.",
    &[key(
        "directory",
        ANY_TEXT,
        "config/observability",
        "the folder of feature-flags.json, deploy-state.json, checkpoint.json; made at first use",
    )],
);

static LISTENER: Section = section(
    "An address where clients connect.",
    &[
        required("address", ADDRESS, "where clients connect, for example 0.0.0.0:8080 or [::]:8080"),
        key("trustedProxies", List(&NETWORK), "[]", "peers whose X-Forwarded-* and identity headers are believed"),
        optional("tls", Sub(&TLS), "clients speak TLS there"),
        key(
            "proxyProtocol",
            Bool,
            "false",
            "each connection begins with a PROXY header, v1 or v2: only for addresses that nobody but the load balancer reaches",
        ),
    ],
);

static TLS: Section = section(
    "TLS 1.2 and 1.3, with HTTP/2 and HTTP/1.1 by ALPN. Renewed files are picked up.",
    &[
        required(
            "certificates",
            List(&Sub(&CERTIFICATE)),
            "the client's server name picks one; the first one is for everybody else",
        ),
        optional("clientCa", ANY_TEXT, "a PEM file: clients have to show a certificate of one of its authorities"),
    ],
);

static CERTIFICATE: Section = section(
    "A certificate.",
    &[
        required("cert", ANY_TEXT, "the PEM file of the chain, the server's own certificate first"),
        required("key", ANY_TEXT, "the PEM file of its private key"),
    ],
);

static ADMIN: Section = section(
    "The admin API. Beyond loopback it needs `tokens`, and `tls` or `plaintext: true`.",
    &[
        key("address", ADDRESS, "127.0.0.1:9900", "where it listens"),
        key("hosts", List(&ANY_TEXT), "[]", "names that it answers to, beside localhost and literal addresses"),
        key(
            "tokens",
            List(&Sub(&TOKEN)),
            "[]",
            "who may do what; without tokens whoever is on this machine may change everything",
        ),
        optional("tls", Sub(&TLS), "it speaks TLS"),
        key("plaintext", Bool, "false", "beyond loopback and without `tls`: the network between is yours"),
    ],
);

static TOKEN: Section = section(
    "A token of the admin API.",
    &[
        required("name", ANY_TEXT, "the name in the audit line"),
        required("env", VARIABLE, "the variable that holds the token, at least 16 visible ASCII characters"),
        required("role", word!(ROLES), "write: everything; read: read; record: record outcomes, nothing else"),
    ],
);

static HEALTH_LISTENER: Section =
    section("A listener for probes and scrapes.", &[required("address", ADDRESS, "where probes ask")]);

static OFREP: Section = section(
    "Flags for apps with an SDK on their users' devices: the OpenFeature Remote Evaluation Protocol, for flags with `client: true`. Servers ask by the admin API.",
    &[
        required("address", ADDRESS, "where it listens"),
        optional("tls", Sub(&TLS), "clients speak TLS there"),
        key("path", PATH, "/", "what stands before /ofrep/v1"),
        key("trustedProxies", List(&NETWORK), "[]", "peers whose X-Forwarded-For and identity headers are believed"),
        key("tokens", List(&Sub(&SECRET)), "[]", "one of these is needed, as Bearer or X-API-Key; default: none is"),
        key("origins", List(&ORIGIN), "[]", "pages that may ask (CORS): https://shop.example.com, or `*` for all"),
        key("requestsPerSecond", Number(1, 100_000), "20", "how often an address may ask in the long run (429)"),
        key("burst", Number(1, 1_000_000), "100", "how often at once"),
        key("events", Bool, "false", "clients are offered a stream of signals that flags have changed"),
    ],
);

static IDENTITY: Section = section(
    "Who a request is from.",
    &[
        key("user", List(&SOURCE), "[ { header: x-user-id } ]", "the user's id"),
        key("session", List(&Sub(&SESSION)), "[ { cookie: session_id } ]", "the session's id, where there is no user"),
        key("group", List(&SOURCE), "[ { header: x-user-group } ]", "groups, comma separated"),
        key("attributes", Names(&SOURCE), "{}", "what rules about attributes look at: a source by each name"),
        key(
            "anonymous",
            word!(ANONYMOUS),
            "cookie",
            "what users without either have. cookie: serin_id; ip: the address, /64 for IPv6; stable: nothing",
        ),
        key("stick", word!(STICK), "identity", "browser: the bucket of serin_id is kept through sign-in"),
    ],
);

const SOURCE: Kind = Sub(&SOURCE_KEYS);
static SOURCE_KEYS: Section = Section {
    one_of: &[&["header", "cookie"]],
    ..section(
        "One place of a user's id or groups.",
        &[
            optional("header", HEADER, "a header's value"),
            optional("cookie", ANY_TEXT, "a cookie's value"),
            key("trust", Bool, "false", "believed from anyone, not from trusted peers alone"),
            optional(
                "verify",
                Sub(&SECRET),
                "the value is `id.code`, the code its HMAC-SHA256 (hex or base64): believed, and nothing else counts",
            ),
            optional(
                "jwt",
                Sub(&JWT),
                "the value is a signed token (RFC 7519): its claim is believed, and nothing else counts",
            ),
        ],
    )
};

/// RFC 7519. The kind of key says which algorithm is taken, never the token alone.
static JWT: Section = Section {
    one_of: &[&["secret", "key", "jwks"]],
    ..section(
        "A signed token: HS256 by a secret, RS256 or ES256 by a public key. It has to have an `exp`.",
        &[
            optional("secret", Sub(&SECRET), "the secret of HS256"),
            optional("key", ANY_TEXT, "a PEM file with a public key: RS256 or ES256"),
            optional("jwks", ANY_TEXT, "a file with a set of public keys (RFC 7517)"),
            key("claim", ANY_TEXT, "sub", "the claim that is the id; of a list each is a group"),
            optional("issuer", ANY_TEXT, "the `iss` that it has to have"),
            optional("audience", ANY_TEXT, "the `aud` that it has to have"),
        ],
    )
};

/// A session draws a bucket and matches no rule: there is nothing to believe.
static SESSION: Section = Section {
    one_of: &[&["header", "cookie"]],
    ..section(
        "One place of a session's id.",
        &[optional("header", HEADER, "a header's value"), optional("cookie", ANY_TEXT, "a cookie's value")],
    )
};

pub(super) static SERVICE: Section = section(
    "What a host and path lead to.",
    &[
        key(
            "match",
            Sub(&MATCH),
            "{}",
            "the hosts and path it answers; without it everything that no other service has",
        ),
        required(
            "pools",
            Names(&Sub(&POOL)),
            "named app servers, each running one version, for example `blue: { endpoints: [...] }`",
        ),
        required("stable", ANY_TEXT, "the pool that is stable at first start; afterwards the state file knows"),
        optional("canary", ANY_TEXT, "the pool that is the canary at first start"),
        key(
            "balance",
            word!(BALANCE),
            "leastRequest",
            "which app server a request goes to. leastRequest: the better of two at random; hash: a user's own",
        ),
        key(
            "slowStart",
            Span(Duration::ZERO, DAY),
            "0s",
            "an app server that comes back gets its share little by little, over so long",
        ),
        optional(
            "health",
            Sub(&HEALTH_CHECK),
            "how app servers are asked whether they are well; not at all unless it is given",
        ),
        key(
            "ejection",
            Sub(&EJECTION),
            "{}",
            "when an app server is left out for a while; its errors stay charged to its track",
        ),
        key("connections", Sub(&CONNECTIONS), "{}", "connections to app servers"),
        key("timeouts", Sub(&TIMEOUTS), "{}", "deadlines of an exchange"),
        key("errors", Sub(&ERRORS), "{}", "what counts as an error of its track"),
        key(
            "retry",
            Sub(&RETRY),
            "{}",
            "what is tried once more on another app server of its track, where that is safe",
        ),
        key("shield", Sub(&SHIELD), "{}", "which canary errors stable answers in its place"),
        key("skew", Sub(&SKEW), "{}", "a GET that is 404 on one track is tried on the other while a deployment runs"),
        key("deploy", Sub(&DEPLOY), "{}", "what a deployment does unless told otherwise; fixed when it starts"),
        optional("overrides", Sub(&OVERRIDES), "signed overrides; there are none unless it is given"),
    ],
);

static MATCH: Section = section(
    "The hosts and path of a service.",
    &[
        key(
            "hosts",
            OneOrMany(&HOST),
            "[]",
            "hosts; `*.` stands for one label or more; none: all that no other service has",
        ),
        key("path", PATH, "/", "the path's beginning, up to a segment's end; the longest wins"),
    ],
);

static POOL: Section = section(
    "App servers that run one version.",
    &[
        required("endpoints", ENDPOINTS, "the addresses of its app servers"),
        optional(
            "version",
            Either(&[VERSION, Sub(&ASKED)]),
            "the version it runs: a text, or where the app servers tell it",
        ),
        optional("tls", Sub(&APP_TLS), "how `https://` app servers are checked"),
    ],
);

static APP_TLS: Section = section(
    "How app servers are checked. Without it: by the system's authorities and the address's name.",
    &[
        optional("ca", ANY_TEXT, "a PEM file: authorities that are believed in place of the system's"),
        optional("serverName", ANY_TEXT, "the name that is asked for and checked, in place of the address's"),
        key("skipVerification", Bool, "false", "nothing is checked: whoever answers is believed"),
    ],
);

static ASKED: Section = section(
    "Where app servers tell their version.",
    &[
        required("path", PATH, "the path that tells the version"),
        optional("json", ANY_TEXT, "the key of a JSON answer; without it the answer's text is the version"),
    ],
);

static HEALTH_CHECK: Section = section(
    "How app servers are asked whether they are well.",
    &[
        required("path", PATH, "what is asked for, for example /up; 200 to 399 is well"),
        key("interval", Span(TENTH, DAY), "1s", "how often"),
        key("timeout", Span(MILLISECOND, DAY), "5s", "how long an answer may take"),
        key("unhealthyAfter", Number(1, 1_000), "3", "so many bad answers in a row: unhealthy"),
        key("healthyAfter", Number(1, 1_000), "2", "so many good ones: healthy again"),
    ],
);

static EJECTION: Section = section(
    "When an app server is left out for a while.",
    &[
        key("consecutiveErrors", Number(0, 1_000_000), "5", "connect, reset, timeout, 5xx in a row; 0: never"),
        key("for", Span(MILLISECOND, DAY), "30s", "for how long"),
        key("maxShare", Number(0, 100), "50", "at most this part of a pool, in percent, and never the last one"),
    ],
);

static CONNECTIONS: Section = section(
    "Connections to app servers.",
    &[
        key("perEndpoint", Number(0, 1_000_000), "0", "requests under way at once to each app server; 0: any number"),
        key(
            "queue",
            Number(0, 1_000_000),
            "0",
            "requests of a pool that may wait for their turn; only with perEndpoint",
        ),
        key("idle", Number(0, 10_000), "32", "connections kept idle, per app server and worker"),
        key(
            "idleFor",
            Span(MILLISECOND, DAY),
            "4s",
            "for how long; the app's own `Keep-Alive: timeout=N` is believed (N - 1)",
        ),
    ],
);

static TIMEOUTS: Section = section(
    "Deadlines of an exchange.",
    &[
        key("connect", Span(MILLISECOND, DAY), "2s", "until a connection stands"),
        key("response", Span(MILLISECOND, DAY), "60s", "from the end of the request's body to the head of the answer"),
        key("stream", Span(Duration::ZERO, DAY), "0s", "silence in an answer's body; 0: any"),
    ],
);

static ERRORS: Section = section(
    "What counts as an error of its track.",
    &[
        key("status", OneOrMany(&STATUSES), "[500-599]", "statuses of the app"),
        key("grpcStatus", OneOrMany(&Number(0, 16)), "[2, 4, 13, 14, 15]", "gRPC statuses, in the head or in trailers"),
        key(
            "abandonAfter",
            Span(MILLISECOND, DAY),
            "5s",
            "a client that waited so long for the head and left was abandoned",
        ),
        key("outcomeHeader", HEADER, "x-serin-outcome", "the app's own word: `error` in this header"),
        key("ignore", Sub(&IGNORE), "{}", "what is no outcome, and is recorded in metrics only"),
    ],
);

static IGNORE: Section = section(
    "What is no outcome.",
    &[key("paths", TEXTS, "[]", "exact paths"), key("userAgents", TEXTS, "[]", "texts in User-Agent")],
);

static RETRY: Section = section(
    "What is tried once more on another app server of its track.",
    &[
        key("attempts", Number(0, 2), "1", "how often"),
        key(
            "on",
            OneOrMany(&word!(CAUSES)),
            "[connect, reset]",
            "connect: no connection; reset: closed before the answer, where the method is idempotent",
        ),
    ],
);

static SHIELD: Section = section(
    "Which canary errors stable answers in its place.",
    &[
        key("methods", word!(SHIELDED), "safe", "safe: GET, HEAD, OPTIONS, TRACE; idempotent: PUT and DELETE as well"),
        key("budget", Number(0, 100), "20", "at most so many percent of stable's requests, and at least 10 a second"),
    ],
);

static SKEW: Section =
    section("Files of the other track.", &[key("paths", OneOrMany(&PATH), "[]", "beginnings of paths")]);

static OVERRIDES: Section =
    section("Signed overrides.", &[required("secret", Sub(&SECRET), "what overrides are signed with")]);

static SECRET: Section = section(
    "A secret.",
    &[required("env", VARIABLE, "the variable that holds it, at least 16 visible ASCII characters")],
);

pub(super) static DEPLOY: Section = section(
    "What a deployment does unless told otherwise.",
    &[
        key(
            "strategy",
            word!(STRATEGIES),
            "canary",
            "canary: the stages; rolling: step by step; blue-green: nobody until advance; instant: everybody at once",
        ),
        key(
            "stages",
            List(&Sub(&STAGE)),
            "[ { percentage: 10, duration: 300, minRequests: 100, maxErrorRate: 0.05 }, \
               { percentage: 50, duration: 600, minRequests: 500, maxErrorRate: 0.03 }, \
               { percentage: 100, duration: 0, minRequests: 0, maxErrorRate: 0.02 } ]",
            "shares to hold for a time; they grow to 100",
        ),
        key("step", Decimal(1.0, 100.0), "10", "rolling grows by so many percent"),
        key("interval", Span(Duration::ZERO, YEAR), "60", "and holds each for so long"),
        key("guard", Sub(&GUARD), "{}", "the comparison of canary and stable"),
        key("bake", Span(Duration::ZERO, YEAR), "10m", "the watch after 100 %: the old pool is kept as the way back"),
        key("include", List(&Sub(&CHOSEN_RULE)), "[]", "who is always on the canary, whatever the share"),
        key("exclude", List(&Sub(&CHOSEN_RULE)), "[]", "who is never on the canary"),
        key(
            "salt",
            word!(SALTS),
            "deployment",
            "deployment: other first users every time; service: always the same ones",
        ),
        key("onFail", word!(ON_FAIL), "rollback", "pause: the share stays and a person decides"),
        key("onInsufficient", word!(ON_INSUFFICIENT), "extend", "duration over, minRequests not reached"),
        key("maxDuration", Span(Duration::from_secs(1), YEAR), "24h", "the longest a stage lasts; then it pauses"),
        key(
            "promoteEarly",
            Bool,
            "false",
            "end a stage once the canary's error rate is shown to be below the stage's limit",
        ),
        key(
            "onComplete",
            word!(ON_COMPLETE),
            "promote",
            "promote: the pools swap roles; return: back once the old pool runs the new version",
        ),
        key(
            "warmup",
            Span(Duration::ZERO, DAY),
            "0s",
            "after the start and each stage slow answers do not count for so long; errors do",
        ),
    ],
);

static STAGE: Section = section(
    "A share to hold for a time.",
    &[
        required("percentage", PERCENT, "the part of users on the canary"),
        required("duration", Span(Duration::ZERO, YEAR), "how long the stage lasts at least"),
        key(
            "minRequests",
            Number(0, 1_000_000_000),
            "0",
            "canary requests before the error rate decides; 0: it needs evidence",
        ),
        required("maxErrorRate", FRACTION, "the error rate above which it fails, 0.05 for 5 %"),
        key("hold", Bool, "false", "it ends by `advance` only"),
    ],
);

static GUARD: Section = section(
    "The comparison of canary and stable.",
    &[
        key("falseRollback", Decimal(0.0, 0.5), "0.01", "the part of unchanged versions that may be rolled back"),
        key("errors", word!(ENFORCEMENTS), "enforce", "more errors than stable"),
        key("latency", word!(ENFORCEMENTS), "observe", "more slow answers than stable"),
        key("slowerThan", SLOWER, "p95", "what is slow: a percentile of stable (p50 to p99) or a duration"),
        key(
            "rate",
            word!(RATES),
            "plain",
            "how maxErrorRate is held once minRequests are there: plainly, or with evidence",
        ),
    ],
);

static CHOSEN_RULE: Section =
    section("Who is chosen.", &[required("type", word!(CHOSEN), "user or group"), required("value", TEXTS, "who")]);

static FLAGS: Section = section(
    "How feature flags reach the app.",
    &[
        key("headers", Sub(&FLAG_HEADERS), "{}", "the headers that tell the app"),
        key(
            "environmentPrefix",
            ANY_TEXT,
            "FEATURE_FLAG_",
            "what variables that force flags begin with: FEATURE_FLAG_NEW_DASHBOARD=true|false|25",
        ),
        key(
            "environmentRules",
            word!(READINGS),
            "restrict",
            "restrict: in another environment the flag is off; match: one of these turns it on",
        ),
    ],
);

static FLAG_HEADERS: Section = section(
    "The headers that tell the app.",
    &[
        key("prefix", PREFIX, "x-feature-", "what they begin with; ends with `-`"),
        key(
            "style",
            word!(STYLES),
            "each",
            "each: a header a flag; list: one field, feature-flags, with the names of those that are on",
        ),
        key(
            "expose",
            Either(&[Word(&["all"]), List(&FLAG)]),
            "all",
            "which flags the app sees: all, or a list of names",
        ),
        key("maxCount", Number(0, 1_000), "50", "no more flags than this are exposed"),
        key("maxBytes", Size(0, 65_536), "4KiB", "their headers have no more bytes than this"),
    ],
);

static METRICS: Section =
    section("The metrics text.", &[key("namespace", NAMESPACE, "togetheros", "the first word of the guide's metrics")]);

static LOG: Section = section(
    "What Serin says of itself, on standard error.",
    &[
        key(
            "level",
            word!(LEVELS),
            "info",
            "how much; `serin log LEVEL` changes it until the next start, $SERIN_LOG is stronger at the start",
        ),
        key("format", word!(LOG_FORMATS), "text", "text for people, or JSON lines"),
    ],
);

static ACCESS_LOG: Section = section(
    "A line for every request.",
    &[
        key(
            "format",
            word!(ACCESS_LOG_FORMATS),
            "json",
            "json; or as web servers write it: common, or combined, which has referer and agent as well",
        ),
        key("to", ANY_TEXT, "stdout", "stdout, stderr, or a file, which is opened anew after it was moved"),
        key("sample", Decimal(0.0, 100.0), "100", "the part of requests that is written, in percent"),
    ],
);

static LIMITS: Section = section(
    "Limits of the whole process.",
    &[
        // The parser's own buffer is at least 8 KiB, its target at most 65,534 bytes.
        key("headerBytes", Size(1_024, 1 << 20), "64KiB", "of a request's head (431)"),
        key("headers", Number(1, 10_000), "100", "fields in a request's head (431)"),
        key("uriBytes", Size(16, 65_534), "8KiB", "of a request's target (414)"),
        key("bodyBytes", Size(0, u64::MAX), "0", "of a request's body (413); 0: any"),
        key("headerTimeout", Span(MILLISECOND, DAY), "10s", "from a head's first byte to its last (408)"),
        key("keepAlive", Span(MILLISECOND, DAY), "75s", "between two requests of a connection"),
        key(
            "bodyIdle",
            Span(MILLISECOND, DAY),
            "30s",
            "a client that neither sends its body (408) nor takes the answer's for so long is cut off",
        ),
        key("streams", Number(1, 65_535), "256", "requests at once on a connection of HTTP/2"),
        key("connections", Number(1, 10_000_000), "20000", "client connections open at once; over it accepting pauses"),
    ],
);

static DRAIN: Section = section(
    "How the process ends.",
    &[
        key(
            "delay",
            Span(Duration::ZERO, DAY),
            "5s",
            "after SIGTERM accepting goes on for so long, until whoever sends clients here has noticed",
        ),
        key("timeout", Span(Duration::ZERO, DAY), "30s", "connections may live on for so long afterwards"),
    ],
);

/// A scenario for `serin simulate`.
pub(super) static SCENARIO: Section = section(
    "A release in virtual time.",
    &[
        key("seed", Number(0, u64::MAX), "1", "everything that is drawn depends on it"),
        key("duration", Span(MILLISECOND, YEAR), "1h", "no longer than that"),
        key("users", Either(&[Number(1, 10_000_000), Sub(&CROWD)]), "10000", "who asks"),
        required("requestsPerSecond", Either(&[RATE, List(&Sub(&RATE_PART))]), "how many come, for example 1000"),
        required("stable", Either(&[Sub(&ANSWERS), List(&Sub(&ANSWERS_PART))]), "how it answers"),
        required("canary", Either(&[Sub(&ANSWERS), List(&Sub(&ANSWERS_PART))]), "how it answers"),
        key("deploy", Sub(&DEPLOY), "{}", "how the version is deployed"),
    ],
);

const RATE: Kind = Decimal(f64::MIN_POSITIVE, 1e6);
const AT: Kind = Span(Duration::ZERO, YEAR);

pub(super) static CROWD: Section = section(
    "Users.",
    &[
        required("count", Number(1, 10_000_000), "how many there are"),
        key("activity", word!(ACTIVITY), "equal", "heavyTailed: few of them make most of the requests"),
        key("culprits", FRACTION, "0", "this part of them has half of all errors"),
    ],
);

pub(super) static RATE_PART: Section = section(
    "Requests a second from a time on.",
    &[key("at", AT, "0s", "since when"), required("value", RATE, "how many come")],
);

macro_rules! answers {
    ($($at:expr)?) => {
        section("How a track answers.", &[
            $($at,)?
            key("errorRate", FRACTION, "0", "errors per request"),
            key("latency", Span(Duration::from_micros(1), YEAR), "50ms", "the median of its answers"),
            optional("p95", Span(Duration::from_micros(1), YEAR), "their 95th percentile; 2.5 times the median unless it is given"),
        ])
    };
}

pub(super) static ANSWERS: Section = answers!();
pub(super) static ANSWERS_PART: Section = answers!(key("at", AT, "0s", "since when"));
