//! What a client may write, and in which one form it may reach the app.

use super::stage::{Case, End, Outcome, Stage};
use super::wire::Message;

/// Follows every request of the tables: it may be served only where it is a request of its own.
const FOLLOWS: &str = "GET /smuggled HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n";

const FOLLOWED: &str = "GET /smuggled HTTP/1.1";

/// What the app has to have seen of a row's request.
#[derive(Clone, Debug)]
pub enum Sees {
    Line(&'static str),
    Has(&'static str, &'static str),
    Lacks(&'static str),
    Body(&'static str),
    Trailer(&'static str, &'static str),
    NoTrailer(&'static str),
    /// Its end has not come: what followed was its body.
    Unfinished,
}

/// What becomes of the bytes after the request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Next {
    /// They are the next request.
    Served,
    /// The connection closes, they are nothing.
    Never,
    Either,
}

#[derive(Clone, Debug)]
pub enum Expect {
    /// One of these statuses and the end; the app sees nothing.
    Refused(&'static [u16]),
    /// One of these statuses. Where the request ends is beyond doubt, so what follows may be served.
    RefusedAlone(&'static [u16]),
    /// Wrong in its body: the app may have seen its head, but never its end.
    Broken,
    /// Broken, or once and in one form.
    BrokenOr(Vec<Sees>),
    Once(Next, Vec<Sees>),
    /// Refused or once: the RFC leaves it open.
    Open(&'static [u16], Next, Vec<Sees>),
    /// These requests in this order, each answered.
    Several(Vec<&'static str>),
    /// The app sees nothing and the connection ends.
    Nothing,
}

pub struct Row {
    name: &'static str,
    section: &'static str,
    text: String,
    expect: Expect,
    half_close: bool,
}

/// A request that is refused, until it is said otherwise.
pub fn row(name: &'static str, section: &'static str, text: impl Into<String>) -> Row {
    let text = text.into() + FOLLOWS;
    Row { name, section, text, expect: Expect::Refused(&[400]), half_close: false }
}

impl Row {
    fn expect(mut self, expect: Expect) -> Self {
        self.expect = expect;
        self
    }

    pub fn refused(self, statuses: &'static [u16]) -> Self {
        self.expect(Expect::Refused(statuses))
    }

    /// The same for a request that is whole: what follows may be served.
    pub fn refused_alone(self, statuses: &'static [u16]) -> Self {
        self.expect(Expect::RefusedAlone(statuses))
    }

    pub fn broken(self) -> Self {
        self.expect(Expect::Broken)
    }

    pub fn broken_or(self, sees: &[Sees]) -> Self {
        self.expect(Expect::BrokenOr(sees.to_vec()))
    }

    /// It passes, and so does what follows.
    pub fn passes(self, sees: &[Sees]) -> Self {
        self.expect(Expect::Once(Next::Served, sees.to_vec()))
    }

    /// It passes, and the connection closes.
    pub fn passes_last(self, sees: &[Sees]) -> Self {
        self.expect(Expect::Once(Next::Never, sees.to_vec()))
    }

    pub fn open(self, next: Next, sees: &[Sees]) -> Self {
        self.open_or(&[400], next, sees)
    }

    pub fn open_or(self, statuses: &'static [u16], next: Next, sees: &[Sees]) -> Self {
        self.expect(Expect::Open(statuses, next, sees.to_vec()))
    }

    pub fn several(self, lines: &[&'static str]) -> Self {
        self.expect(Expect::Several(lines.to_vec()))
    }

    pub fn nothing(self) -> Self {
        self.expect(Expect::Nothing)
    }

    /// The client writes no more: what waits for more sees the end.
    pub fn then_ends(mut self) -> Self {
        self.half_close = true;
        self
    }

    pub fn case(self) -> Case {
        let (name, section) = (self.name.to_owned(), self.section);
        Case { name, section, plays: Box::new(move |stage| check(stage, &self)) }
    }
}

struct Observed {
    answers: Vec<Message>,
    end: End,
    requests: Vec<Message>,
    unfinished: Vec<Message>,
}

impl Observed {
    fn shown(&self) -> String {
        let list = |messages: &[Message]| messages.iter().map(Message::shown).collect::<Vec<_>>().join(" and ");
        format!(
            "client: {} {:?}; app: {}; unfinished: {}",
            list(&self.answers),
            self.end,
            list(&self.requests),
            list(&self.unfinished)
        )
    }
}

fn play(stage: &Stage, row: &Row) -> Result<Observed, String> {
    let mut client = stage.client();
    client.write(&row.text);
    if row.half_close {
        client.half_close();
    }
    let to_head = row.text.trim_start().starts_with("HEAD ");
    let answers = if matches!(row.expect, Expect::Nothing) {
        // Whatever it is, it is no HTTP/1.1.
        client.rest();
        Ok(Vec::new())
    } else {
        client.answers(to_head)
    };
    let seen = stage.seen()?;
    let answers = answers?;
    if !seen.oddities.is_empty() {
        return Err(format!("the app received what can be read in more than one way: {:?}", seen.oddities));
    }
    let end = client.end.unwrap_or(End::Silent);
    Ok(Observed { answers, end, requests: seen.requests, unfinished: seen.unfinished })
}

fn check(stage: &Stage, row: &Row) -> Outcome {
    let observed = play(stage, row)?;
    let outcome = always(&observed).and_then(|()| fits(&observed, &row.expect));
    outcome.map_err(|why| format!("{why}; {}", observed.shown()))
}

/// What holds for every row.
fn always(observed: &Observed) -> Outcome {
    always_of(observed.requests.iter().chain(&observed.unfinished))?;
    if observed.end == End::Silent { Err("the connection stays open".to_owned()) } else { Ok(()) }
}

/// What holds for every request that reaches the app.
pub fn always_of<'a>(requests: impl Iterator<Item = &'a Message>) -> Outcome {
    for request in requests {
        for name in ["x-serin-track", "x-forwarded-for", "x-request-id", "host"] {
            if request.all(name).count() != 1 {
                return Err(format!("the app has to see one {name}"));
            }
        }
        for name in ["keep-alive", "proxy-connection", "http2-settings"] {
            lacks(request, name)?;
        }
        if request.all("upgrade").any(|value| value.to_ascii_lowercase().contains("h2c")) {
            return Err("the app is asked for h2c".to_owned());
        }
    }
    Ok(())
}

fn lacks(request: &Message, name: &str) -> Outcome {
    if request.field(name).is_some() { Err(format!("the app sees {name}")) } else { Ok(()) }
}

fn fits(observed: &Observed, expect: &Expect) -> Outcome {
    match expect {
        Expect::Refused(statuses) => refused(observed, statuses),
        Expect::RefusedAlone(statuses) => refused_alone(observed, statuses),
        Expect::Broken => broken(observed),
        Expect::BrokenOr(sees) => {
            broken(observed).or_else(|first| once(observed, Next::Either, sees).map_err(|or| first + ", and " + &or))
        }
        Expect::Once(next, sees) => once(observed, *next, sees),
        Expect::Open(statuses, next, sees) => refused_alone(observed, statuses)
            .or_else(|first| once(observed, *next, sees).map_err(|or| first + ", and " + &or)),
        Expect::Several(lines) => several(observed, lines),
        Expect::Nothing if observed.requests.is_empty() && observed.unfinished.is_empty() => Ok(()),
        Expect::Nothing => Err("the app saw something".to_owned()),
    }
}

fn refused(observed: &Observed, statuses: &[u16]) -> Outcome {
    if !observed.requests.is_empty() || !observed.unfinished.is_empty() {
        return Err("it is not refused: it reached the app".to_owned());
    }
    match observed.answers.as_slice() {
        [answer] if statuses.contains(&answer.status()) => made_by_serin(answer),
        [_] => Err(format!("the status is not one of {statuses:?}")),
        answers => Err(format!("{} answers", answers.len())),
    }
}

fn refused_alone(observed: &Observed, statuses: &[u16]) -> Outcome {
    let follows = observed.requests.first().is_some_and(|request| request.line == FOLLOWED);
    match (observed.requests.as_slice(), observed.answers.as_slice()) {
        ([request], [answer, next]) if follows && statuses.contains(&answer.status()) => {
            made_by_serin(answer)?;
            own_answer(request, next)
        }
        _ => refused(observed, statuses),
    }
}

/// Nobody can take it for the app's.
fn made_by_serin(answer: &Message) -> Outcome {
    if answer.complete && (answer.field("serin-error").is_some() || answer.body.is_empty()) {
        return Ok(());
    }
    Err("a refusal has serin-error, or is a status alone".to_owned())
}

fn broken(observed: &Observed) -> Outcome {
    if !observed.requests.is_empty() || observed.unfinished.len() > 1 {
        return Err("a request that is broken is one for the app".to_owned());
    }
    match observed.answers.as_slice() {
        [] => Ok(()),
        [answer] if (400..500).contains(&answer.status()) => made_by_serin(answer),
        _ => Err("a broken request is answered with an error and the end".to_owned()),
    }
}

fn once(observed: &Observed, next: Next, sees: &[Sees]) -> Outcome {
    if sees.iter().any(|sees| matches!(sees, Sees::Unfinished)) {
        return match (observed.requests.as_slice(), observed.unfinished.as_slice()) {
            ([], [request]) => saw(request, sees),
            _ => Err("the app has to see one request without an end".to_owned()),
        };
    }
    let (Some(request), []) = (observed.requests.first(), observed.unfinished.as_slice()) else {
        return Err("it did not reach the app as one request".to_owned());
    };
    saw(request, sees)?;
    let Some(answer) = observed.answers.first() else { return Err("no answer".to_owned()) };
    own_answer(request, answer)?;
    match next {
        Next::Served => served(observed),
        Next::Never => never(observed),
        Next::Either => served(observed).or_else(|_| never(observed)),
    }
}

fn served(observed: &Observed) -> Outcome {
    match (observed.requests.as_slice(), observed.answers.as_slice()) {
        ([_, request], [_, answer]) if request.line == FOLLOWED => own_answer(request, answer),
        _ => Err("what follows is a request of its own and has to be served".to_owned()),
    }
}

fn never(observed: &Observed) -> Outcome {
    let refused = observed.answers.iter().skip(1).all(|answer| (400..500).contains(&answer.status()));
    if observed.requests.len() == 1 && observed.answers.len() <= 2 && refused {
        return Ok(());
    }
    Err("the connection has to close after the first".to_owned())
}

/// The app's answer to this request, to the byte.
fn own_answer(request: &Message, answer: &Message) -> Outcome {
    let head = request.line.starts_with("HEAD ");
    let body = if head { String::new() } else { format!("saw {}", request.line) };
    if answer.status() == 200 && answer.complete && answer.body == body && answer.field("x-app") == Some("1") {
        return Ok(());
    }
    Err(format!("not the app's answer to {:?}", request.line))
}

pub fn saw(request: &Message, sees: &[Sees]) -> Outcome {
    for sees in sees {
        let fits = match sees {
            Sees::Line(line) => request.line == *line,
            Sees::Has(name, value) => request.all(name).eq([*value]),
            Sees::Lacks(name) => request.field(name).is_none(),
            Sees::Body(body) => request.body == *body,
            Sees::Trailer(name, value) => request.trailers.iter().any(|(own, it)| own == name && it == value),
            Sees::NoTrailer(name) => !request.trailers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name)),
            Sees::Unfinished => !request.complete,
        };
        if !fits {
            return Err(format!("the app has to see {sees:?}"));
        }
    }
    Ok(())
}

fn several(observed: &Observed, lines: &[&str]) -> Outcome {
    let seen: Vec<&str> = observed.requests.iter().map(|request| request.line.as_str()).collect();
    if seen != lines || observed.answers.len() != lines.len() {
        return Err(format!("the app has to see {lines:?}, each with an answer"));
    }
    observed.requests.iter().zip(&observed.answers).try_for_each(|(request, answer)| own_answer(request, answer))
}
