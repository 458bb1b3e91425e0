//! HTTP/1.1 read as strictly as the grammar is written: what fits it in only one
//! way, or an error. Bytes are kept as characters, one to one, so that rows can show them.

/// A message as its receiver has to read it.
#[derive(Clone, Debug, Default)]
pub struct Message {
    pub line: String,
    pub fields: Vec<(String, String)>,
    pub body: String,
    pub trailers: Vec<(String, String)>,
    /// Whether its end has come.
    pub complete: bool,
    /// How many bytes it took.
    pub used: usize,
}

impl Message {
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The second word of the first line: a request's target, an answer's status.
    pub fn second(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    pub fn status(&self) -> u16 {
        self.second().parse().unwrap_or(0)
    }

    /// Short enough for a list of failures.
    pub fn shown(&self) -> String {
        let fields: Vec<String> = self.fields.iter().map(|(name, value)| format!("{name}: {}", cut(value))).collect();
        let end = if self.complete { "whole" } else { "unfinished" };
        let trailers = if self.trailers.is_empty() { String::new() } else { format!(" trailers {:?}", self.trailers) };
        format!("{:?} [{}] body {:?} {end}{trailers}", cut(&self.line), fields.join("; "), cut(&self.body))
    }
}

/// The start of a long text.
pub fn cut(text: &str) -> String {
    if text.chars().count() <= 90 { text.to_owned() } else { text.chars().take(90).collect::<String>() + "…" }
}

/// Bytes as characters, one to one.
pub fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// Characters as bytes, one to one.
pub fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Framing {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

/// The request at the front of what an app has received; `None` while its head is unfinished.
pub fn request(bytes: &[u8]) -> Result<Option<Message>, String> {
    let Some(mut message) = head(bytes)? else { return Ok(None) };
    request_line(&message.line)?;
    let hosts = message.all("host").count();
    if hosts != 1 {
        return Err(format!("{hosts} Host fields in {}", message.shown()));
    }
    let framing = declared(&message)?.unwrap_or(Framing::None);
    body(bytes, &mut message, framing)?;
    Ok(Some(message))
}

/// The answer at the front of what a client has received. `closed` says that an orderly end came after it.
pub fn answer(bytes: &[u8], to_head: bool, closed: bool) -> Result<Option<Message>, String> {
    let Some(mut message) = head(bytes)? else { return Ok(None) };
    status_line(&message.line)?;
    let declared = declared(&message)?;
    let status = message.status();
    let without = to_head || (100..200).contains(&status) || matches!(status, 204 | 304);
    if matches!(status, 100..200 | 204) && declared.is_some() {
        return Err(format!("a {status} that declares a body: {}", message.shown()));
    }
    let framing = if without { Framing::None } else { declared.unwrap_or(Framing::UntilClose) };
    body(bytes, &mut message, framing)?;
    message.complete |= framing == Framing::UntilClose && closed;
    Ok(Some(message))
}

fn head(bytes: &[u8]) -> Result<Option<Message>, String> {
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let text = text(&bytes[..end]);
    let mut lines = text.split("\r\n");
    let line = lines.next().unwrap_or_default().to_owned();
    let fields = lines.map(field).collect::<Result<_, _>>()?;
    Ok(Some(Message { line, fields, used: end + 4, ..Message::default() }))
}

fn field(line: &str) -> Result<(String, String), String> {
    let (name, value) = line.split_once(':').ok_or_else(|| format!("a field without a colon: {line:?}"))?;
    let value = value.trim_matches([' ', '\t']);
    if !is_token(name) {
        return Err(format!("a field's name that is none: {:?}", cut(line)));
    }
    if value.chars().any(|c| c != '\t' && (c < ' ' || c == '\x7f')) {
        return Err(format!("a control in a field: {:?}", cut(line)));
    }
    Ok((name.to_owned(), value.to_owned()))
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))
}

fn request_line(line: &str) -> Result<(), String> {
    let words: Vec<&str> = line.split(' ').collect();
    let fits = match words.as_slice() {
        [method, target, "HTTP/1.1"] => is_token(method) && is_target(target),
        _ => false,
    };
    if fits { Ok(()) } else { Err(format!("a request line that is none: {:?}", cut(line))) }
}

fn is_target(target: &str) -> bool {
    (target.starts_with('/') || target == "*") && target.chars().all(|c| c > ' ' && c != '\x7f' && c != '#')
}

fn status_line(line: &str) -> Result<(), String> {
    let rest = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 "));
    let rest = rest.ok_or_else(|| format!("a status line that is none: {line:?}"))?;
    let (status, reason) = rest.split_once(' ').unwrap_or((rest, ""));
    let fits = status.len() == 3
        && status.chars().all(|c| c.is_ascii_digit())
        && !status.starts_with('0')
        && reason.chars().all(|c| c == '\t' || (c >= ' ' && c != '\x7f'));
    if fits { Ok(()) } else { Err(format!("a status line that is none: {line:?}")) }
}

/// What a message says of its body; more than one word about it is an error.
fn declared(message: &Message) -> Result<Option<Framing>, String> {
    let lengths: Vec<&str> = message.all("content-length").collect();
    let codings: Vec<&str> = message.all("transfer-encoding").collect();
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Ok(None),
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => Ok(Some(Framing::Chunked)),
        ([length], []) if !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit()) => {
            length.parse().map(|length| Some(Framing::Length(length))).map_err(|_| format!("a length of {length}"))
        }
        _ => Err(format!("a framing that is not one: {lengths:?} {codings:?} in {}", message.shown())),
    }
}

fn body(bytes: &[u8], message: &mut Message, framing: Framing) -> Result<(), String> {
    let rest = &bytes[message.used..];
    match framing {
        Framing::None => message.complete = true,
        Framing::Length(length) => {
            let have = usize::try_from(length).unwrap_or(usize::MAX).min(rest.len());
            message.body = text(&rest[..have]);
            message.used += have;
            message.complete = have as u64 == length;
        }
        Framing::Chunked => {
            chunks(rest, message)?;
            if !message.complete {
                message.used = bytes.len();
            }
        }
        Framing::UntilClose => {
            message.body = text(rest);
            message.used = bytes.len();
        }
    }
    Ok(())
}

fn chunks(bytes: &[u8], message: &mut Message) -> Result<(), String> {
    let mut at = 0;
    loop {
        let Some(end) = find(&bytes[at..], b"\r\n") else { return Ok(()) };
        let line = text(&bytes[at..at + end]);
        if line.is_empty() || line.len() > 16 || !line.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(format!("a chunk size that is none: {:?}", cut(&line)));
        }
        let size = usize::from_str_radix(&line, 16).map_err(|error| error.to_string())?;
        at += end + 2;
        if size == 0 {
            return last_chunk(bytes, at, message);
        }
        let data = &bytes[at..];
        message.body.push_str(&text(&data[..size.min(data.len())]));
        if data.len() - size.min(data.len()) < 2 {
            return Ok(());
        }
        if &data[size..size + 2] != b"\r\n" {
            return Err(format!("a chunk of {size} that does not end"));
        }
        at += size + 2;
    }
}

fn last_chunk(bytes: &[u8], at: usize, message: &mut Message) -> Result<(), String> {
    // The last size line's own end may be the trailers' end.
    let Some(end) = find(&bytes[at - 2..], b"\r\n\r\n") else { return Ok(()) };
    let section = text(&bytes[at - 2..at - 2 + end]);
    message.trailers = section.split("\r\n").filter(|line| !line.is_empty()).map(field).collect::<Result<_, _>>()?;
    message.used += at - 2 + end + 4;
    message.complete = true;
    Ok(())
}

pub fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}
