//! The configuration that the program uses: checked once, then trusted.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use super::cidr::Networks;
use super::error_rule::StatusSet;
use super::problem::Problem;
use crate::decide::bucket::Share;
use crate::decide::flags::{EnvironmentRules, FlagName, Rule, RuleKind};
use crate::decide::guard::GuardPlan;
use crate::decide::rollout::{Conduct, Stages, Steps, Strategy};
use crate::signed::Signed;
use crate::tls::{ClientTls, ServerTls};

/// A whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it came from.
    pub file: PathBuf,
    /// What works, but hardly as it is meant.
    pub warnings: Vec<Problem>,
    /// What `environment` rules compare with.
    pub environment: String,
    /// The folder of the state files.
    pub state_directory: PathBuf,
    /// Where clients connect.
    pub listeners: Vec<Listener>,
    /// The admin API.
    pub admin: Admin,
    /// Where probes and scrapes ask without a token.
    pub health: Option<SocketAddr>,
    /// Where apps on their users' devices ask for flags; `None`: nowhere.
    pub ofrep: Option<Ofrep>,
    /// Who a request is from.
    pub identity: Identity,
    /// What hosts and paths lead to; one at least.
    pub services: Vec<Service>,
    /// Whether it is the three-line form: state files and metrics then have the guide's own shape.
    pub three_lines: bool,
    /// How flags reach the app.
    pub flags: FlagSettings,
    /// The first word of the guide's metrics.
    pub metrics_namespace: String,
    /// What Serin says of itself.
    pub log: Log,
    /// A line for every request; `None`: there are none.
    pub access_log: Option<AccessLog>,
    /// Limits of the whole process.
    pub limits: Limits,
    /// Worker threads; `None`: one a core.
    pub workers: Option<usize>,
    /// How the process ends.
    pub drain: DrainTimes,
    /// Files that were read for it, beside its own.
    pub files: Vec<PathBuf>,
}

impl Config {
    /// Whether some peer's forwarding and identity headers are believed.
    pub fn trusts_somebody(&self) -> bool {
        self.listeners.iter().any(|listener| !listener.trusted.0.is_empty())
    }

    /// Whether somebody can match rules of this kind.
    pub fn believes(&self, kind: RuleKind) -> bool {
        let sources = match kind {
            RuleKind::User => &self.identity.user,
            RuleKind::Group => &self.identity.group,
            _ => return true,
        };
        sources.iter().any(|source| self.believes_source(source))
    }

    /// Whether anybody is believed who speaks there.
    pub fn believes_source(&self, source: &Source) -> bool {
        match source.belief {
            Belief::Anyone | Belief::Signed(_) => true,
            Belief::TrustedPeers => self.trusts_somebody() && matches!(source.place, Place::Header(_)),
        }
    }
}

/// What Serin says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// How much.
    pub level: LogLevel,
    /// In which form; from the start on.
    pub format: LogFormat,
}

/// How much is said; each says what those before it say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What needs a person.
    Error,
    /// What may soon.
    Warn,
    /// What happens to deployments and the process.
    Info,
    /// Single requests that went wrong.
    Debug,
    /// What libraries say.
    Trace,
}

impl LogLevel {
    /// Its name, in configuration and API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// JSON lines.
    Json,
}

/// A line for every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// Its form.
    pub format: AccessLogFormat,
    /// Where it goes.
    pub to: AccessLogTarget,
    /// The part of requests that is written.
    pub sample: Share,
}

/// The form of the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLogFormat {
    /// JSON lines.
    Json,
    /// The common log format.
    Common,
    /// The combined log format: referer and user agent behind it.
    Combined,
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLogTarget {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, which is opened anew after it was moved.
    File(PathBuf),
}

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainTimes {
    /// Accepting goes on for so long, until whoever sends clients here has noticed.
    pub delay: Duration,
    /// Connections may live on for so long afterwards.
    pub timeout: Duration,
}

/// The admin API.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Where it listens; beyond loopback there are tokens.
    pub address: SocketAddr,
    /// Names that it answers to, beside localhost and literal addresses.
    pub hosts: Vec<String>,
    /// Who may do what; empty: everybody on this machine may do everything.
    pub tokens: Vec<Token>,
    /// It speaks TLS.
    pub tls: Option<ServerTls>,
}

/// A token of the admin API.
#[derive(Clone, Debug)]
pub struct Token {
    /// The name in the audit line.
    pub name: String,
    /// Its text.
    pub secret: Secret,
    /// What it may do.
    pub role: TokenRole,
}

/// What a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenRole {
    /// Everything.
    Write,
    /// Read.
    Read,
    /// Record outcomes, nothing else.
    Record,
}

/// A text that no log, answer or error shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// A secret.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Its bytes, to compare or sign with.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where apps on their users' devices ask for flags by OFREP.
#[derive(Clone, Debug)]
pub struct Ofrep {
    /// Where it listens; port 0: the system chooses.
    pub address: SocketAddr,
    /// Clients speak TLS.
    pub tls: Option<ServerTls>,
    /// What stands before `/ofrep/v1`: empty, or `/like/this`.
    pub path: String,
    /// Peers whose forwarding and identity headers are believed.
    pub trusted: Networks,
    /// One of these is needed, where there are any.
    pub tokens: Vec<Secret>,
    /// Pages that may ask.
    pub origins: Origins,
    /// How often an address may ask in the long run.
    pub requests_per_second: u32,
    /// How often at once.
    pub burst: u32,
    /// Whether clients are offered a stream of signals that flags have changed.
    pub events: bool,
}

/// Origins of pages (RFC 6454) that may ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    /// All of them.
    pub any: bool,
    /// These.
    pub named: Vec<String>,
}

impl Origins {
    /// Whether this one may.
    pub fn allow(&self, origin: &http::HeaderValue) -> bool {
        self.any || self.named.iter().any(|named| named.as_bytes() == origin.as_bytes())
    }
}

/// An address where clients connect.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Port 0: the system chooses.
    pub address: SocketAddr,
    /// Peers whose forwarding and identity headers are believed.
    pub trusted: Networks,
    /// Clients speak TLS.
    pub tls: Option<ServerTls>,
    /// Each connection begins with a PROXY header, which says who the peer is.
    pub proxy_protocol: bool,
}

/// Where a request's identity stands: each list in order, the first that is present and not empty.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The user's id.
    pub user: Vec<Source>,
    /// The session's id.
    pub session: Vec<Place>,
    /// Groups, comma separated.
    pub group: Vec<Source>,
    /// What else is known of whoever asks, by name, in the order of names: for rules about
    /// attributes.
    pub attributes: Vec<(String, Source)>,
    /// What users without either have.
    pub anonymous: Anonymous,
    /// What a bucket is drawn for.
    pub stick: Stick,
}

/// One place of a user's id or groups.
#[derive(Clone, Debug)]
pub struct Source {
    /// Header or cookie.
    pub place: Place,
    /// When it is believed.
    pub belief: Belief,
}

/// When a source is believed.
#[derive(Clone, Debug)]
pub enum Belief {
    /// A header, from a trusted peer.
    TrustedPeers,
    /// From anyone.
    Anyone,
    /// From whoever has it signed; what is not counts as none.
    Signed(Arc<Signed>),
}

/// Header or cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A header's value.
    Header(HeaderName),
    /// A cookie's value.
    Cookie(String),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Header(name) => write!(f, "the header {name}"),
            Self::Cookie(name) => write!(f, "the cookie {name}"),
        }
    }
}

/// What a request without user and session has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anonymous {
    /// A cookie of Serin's own, `serin_id`.
    Cookie,
    /// The client's address, IPv6 by its /64.
    Ip,
    /// Nothing: it stays on stable.
    Stable,
}

/// What a bucket is drawn for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stick {
    /// The user's id, else the session's, else the anonymous one.
    Identity,
    /// The browser's `serin_id`, through sign-in and sign-out.
    Browser,
}

/// What a host and path lead to.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// The hosts it answers; empty: all that no other one answers.
    pub hosts: Vec<Host>,
    /// The path prefix it answers, `/` or `/like/this`.
    pub path: String,
    /// Its pools, two at the most in roles.
    pub pools: Vec<Pool>,
    /// The pool that is stable at first start.
    pub stable: usize,
    /// The pool that is the canary at first start.
    pub canary: Option<usize>,
    /// Which of a pool's app servers a request goes to.
    pub balance: Balance,
    /// After an app server has come back its share of requests grows for so long.
    pub slow_start: Duration,
    /// How app servers are asked whether they are well; `None`: they are not asked.
    pub health: Option<HealthCheck>,
    /// When an app server is left out for a while.
    pub ejection: Ejection,
    /// Connections to app servers.
    pub connections: Connections,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// What counts as an error.
    pub errors: ErrorRules,
    /// What is tried once more on another app server of its track.
    pub retry: Retry,
    /// Which canary errors stable answers in its place.
    pub shield: Shield,
    /// Path prefixes whose 404 is tried on the other track.
    pub skew: Vec<String>,
    /// What a deployment does unless told otherwise.
    pub deploy: DeployDefaults,
    /// The secret of signed overrides; none: there are no overrides.
    pub override_secret: Option<Secret>,
}

/// A host of a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// `shop.example.com`
    Exact(String),
    /// `*.shop.example.com`, kept as `.shop.example.com`.
    Suffix(String),
}

/// Named endpoints that run one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// One at least.
    pub endpoints: Vec<Endpoint>,
    /// The version it runs, where configuration says so or says whom to ask.
    pub version: PoolVersion,
}

impl Pool {
    /// The version that configuration itself names.
    pub fn named_version(&self) -> Option<&str> {
        match &self.version {
            PoolVersion::Named(version) => Some(version),
            _ => None,
        }
    }
}

/// Where the version of a pool is known from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PoolVersion {
    /// From whoever deploys.
    #[default]
    Unknown,
    /// From configuration.
    Named(String),
    /// From the app servers themselves.
    Asked {
        /// The path to ask.
        path: String,
        /// The key of a JSON answer; without one the answer's text is the version.
        json: Option<String>,
    },
}

/// How an app server is spoken to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// `http://`: HTTP/1.1.
    Http1,
    /// `h2c://`: HTTP/2 with prior knowledge (RFC 9113 section 3.3).
    Http2,
    /// `https://`: whichever of them it chooses by ALPN.
    Tls(ClientTls),
}

impl Transport {
    /// How addresses begin.
    pub const fn scheme(&self) -> &'static str {
        match self {
            Self::Http1 => "http",
            Self::Http2 => "h2c",
            Self::Tls(_) => "https",
        }
    }
}

/// One app server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// How it is spoken to.
    pub transport: Transport,
    /// A name or an address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = self.transport.scheme();
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

/// Which of a pool's app servers a request goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// The one of two random ones that has fewer requests under way.
    LeastRequest,
    /// Each in turn.
    RoundRobin,
    /// Always the same one for the same identity.
    Hash,
}

/// How app servers are asked whether they are well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked for; 200 to 399 is well.
    pub path: String,
    /// How often.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// So many bad answers in a row: unhealthy.
    pub unhealthy_after: u32,
    /// So many good ones: healthy again.
    pub healthy_after: u32,
}

/// When an app server is left out for a while: its errors stay charged to its track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// Errors in a row (connect, reset, timeout, 5xx); 0: never.
    pub consecutive_errors: u32,
    /// For how long.
    pub span: Duration,
    /// At most this part of a pool, in percent, and never the last one.
    pub max_share: u8,
}

/// What is tried once more on another app server of its track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How often, 0 to 2.
    pub attempts: u8,
    /// No connection.
    pub connect: bool,
    /// Closed before the answer, where the method is idempotent.
    pub reset: bool,
}

/// Why something is tried once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryCause {
    /// No connection.
    Connect,
    /// Closed before the answer.
    Reset,
}

/// Which canary errors stable answers in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shield {
    /// For which methods.
    pub methods: ShieldMethods,
    /// At most so many percent of stable's requests, and at least 10 a second.
    pub budget: u8,
}

/// The methods that are shielded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShieldMethods {
    /// GET, HEAD, OPTIONS, TRACE (RFC 9110 section 9.2.1).
    Safe,
    /// PUT and DELETE as well (RFC 9110 section 9.2.2).
    Idempotent,
    /// None.
    Off,
}

/// Connections to an endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Connections {
    /// Requests under way at once, in the whole process; `None`: any number.
    pub per_endpoint: Option<usize>,
    /// Requests that may wait for their turn, for each pool.
    pub queue: usize,
    /// Kept idle, per endpoint and worker.
    pub idle: usize,
    /// For how long.
    pub idle_for: Duration,
}

impl Connections {
    /// Whether idle ones are kept alike.
    pub fn alike_idle(&self, other: &Self) -> bool {
        (self.idle, self.idle_for) == (other.idle, other.idle_for)
    }
}

/// Deadlines of an exchange.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Until a connection stands.
    pub connect: Duration,
    /// From the end of the request body to the head of the answer.
    pub response: Duration,
    /// Silence in an answer's body; `None`: any.
    pub stream: Option<Duration>,
}

/// What counts as an error.
#[derive(Clone, Debug)]
pub struct ErrorRules {
    /// Statuses of the app.
    pub status: StatusSet,
    /// gRPC statuses, 0 to 16: the bit of each.
    pub grpc_status: u32,
    /// A client that waited this long for the head and left was abandoned.
    pub abandon_after: Duration,
    /// The app's own word: `error` in this header.
    pub outcome_header: HeaderName,
    /// What is no outcome.
    pub ignore: Ignore,
}

/// Exchanges that are no outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignore {
    /// Exact paths.
    pub paths: Vec<String>,
    /// Texts in `User-Agent`.
    pub user_agents: Vec<String>,
}

/// What a deployment does unless told otherwise.
#[derive(Clone, Debug)]
pub struct DeployDefaults {
    /// How it moves.
    pub strategy: Strategy,
    /// Its stages.
    pub stages: Stages,
    /// The steps of a rolling one.
    pub steps: Steps,
    /// Its guard.
    pub guard: GuardPlan,
    /// The watch after 100 %.
    pub bake: Duration,
    /// What it does where its stages do not say.
    pub conduct: Conduct,
    /// Who is always on the canary.
    pub include: Vec<Rule>,
    /// Who is never.
    pub exclude: Vec<Rule>,
    /// Whose buckets.
    pub salt: SaltKind,
}

/// Whose buckets a deployment draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaltKind {
    /// Its own: other first users every time.
    Deployment,
    /// The service's: always the same ones.
    Service,
}

/// How flags reach the app.
#[derive(Clone, Debug)]
pub struct FlagSettings {
    /// The headers that tell it.
    pub headers: FlagHeaders,
    /// What variables begin with.
    pub environment_prefix: String,
    /// How `environment` rules are read.
    pub environment_rules: EnvironmentRules,
}

/// The headers that tell the app which flags are on.
#[derive(Clone, Debug)]
pub struct FlagHeaders {
    /// What they begin with.
    pub prefix: String,
    /// A header each, or one for all.
    pub style: HeaderStyle,
    /// Which ones.
    pub expose: Expose,
    /// No more flags than this are exposed.
    pub max_count: usize,
    /// Their headers have no more bytes than this.
    pub max_bytes: usize,
}

/// How flags are written to the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderStyle {
    /// `x-feature-<name>: true`, a header each.
    Each,
    /// `feature-flags: a, b`, the names of those that are on.
    List,
}

/// Which flags the app sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expose {
    /// All.
    All,
    /// These.
    Names(Vec<FlagName>),
}

/// Limits of the whole process.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of a request's head.
    pub header_bytes: usize,
    /// Fields in a request's head.
    pub headers: usize,
    /// Of a request's target.
    pub uri_bytes: usize,
    /// Of a request's body; `None`: any.
    pub body_bytes: Option<u64>,
    /// From a head's first byte to its last.
    pub header_timeout: Duration,
    /// Between two requests of a connection.
    pub keep_alive: Duration,
    /// Open at once.
    pub connections: usize,
    /// Until a client that neither sends nor takes a body is cut off.
    pub body_idle: Duration,
    /// Requests at once on a connection of HTTP/2.
    pub streams: u32,
}
