//! HTTP/2 by hand: frames as they are meant, right or wrong, and no more of HPACK than
//! it takes to read an answer.

use std::collections::BTreeMap;

use super::wire;
use crate::common::frames::{ACK, PREFACE};
pub use crate::common::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, frame,
};

/// The length of each symbol's code, `a` for 5 bits: codes of one length follow one another.
const CODES: &str = "isxxxxxxxtzxxzxxxxxxxxzxxxxxxxxxbffhibdgffdgdbbbaaabbbbbbbcdkbhfibccccccccccccccccccccccdcdioijbkaba\
    babbbaccbbbabcbaabccccckgjixprpprrrsrssssststtrstssssqrsrsstrqprrssqsrrtqrssqqrqsrssprrrsrrsvvporsru\
    vvvwwvtuoqvwwvwtqqvvxwwwptpqrqqsrruuttvsvwvvwwwwwxwwwwwvz";

/// The static table of RFC 7541, appendix A.
const STATIC: &str = ":authority= :method=GET :method=POST :path=/ :path=/index.html :scheme=http :scheme=https \
    :status=200 :status=204 :status=206 :status=304 :status=400 :status=404 :status=500 accept-charset= \
    accept-encoding=gzip,deflate accept-language= accept-ranges= accept= access-control-allow-origin= \
    age= allow= authorization= cache-control= content-disposition= content-encoding= content-language= \
    content-length= content-location= content-range= content-type= cookie= date= etag= expect= expires= \
    from= host= if-match= if-modified-since= if-none-match= if-range= if-unmodified-since= last-modified= \
    link= location= max-forwards= proxy-authenticate= proxy-authorization= range= referer= \
    refresh= retry-after= server= set-cookie= strict-transport-security= transfer-encoding= user-agent= \
    vary= via= www-authenticate=";

const PADDED: u8 = 8;
const PRIORITIZED: u8 = 0x20;

/// The preface, and settings that keep the other side's dynamic table empty and forbid pushes.
pub fn preface() -> Vec<u8> {
    let settings = [0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0];
    [PREFACE, &frame(SETTINGS, 0, 0, &settings)].concat()
}

/// Fields as literals that are never indexed: whatever they say, they are said to the byte.
pub fn block(fields: &[(String, String)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            let text = wire::bytes(text);
            integer(&mut bytes, text.len());
            bytes.extend(text);
        }
    }
    bytes
}

fn integer(bytes: &mut Vec<u8>, mut value: usize) {
    if value < 127 {
        bytes.push(value as u8);
        return;
    }
    bytes.push(127);
    value -= 127;
    while value >= 128 {
        bytes.push((value % 128) as u8 | 128);
        value /= 128;
    }
    bytes.push(value as u8);
}

/// A stream as the client has seen it.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    pub fields: Vec<(String, String)>,
    pub data: String,
    pub trailers: Vec<(String, String)>,
    pub ended: bool,
    /// The error code that it ended with.
    pub reset: Option<u32>,
}

impl Stream {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    pub fn status(&self) -> u16 {
        self.field(":status").and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    pub fn is_over(&self) -> bool {
        self.ended || self.reset.is_some()
    }
}

/// What a client has seen of a connection.
#[derive(Debug, Default)]
pub struct Seen {
    pub streams: BTreeMap<u32, Stream>,
    pub goaway: Option<u32>,
    pub settings: bool,
    block: Vec<u8>,
}

impl Seen {
    /// Takes all whole frames from the front; says what has to be answered.
    pub fn take(&mut self, bytes: &mut Vec<u8>) -> Result<Vec<u8>, String> {
        let mut replies = Vec::new();
        while bytes.len() >= 9 {
            let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
            if bytes.len() < 9 + length {
                break;
            }
            let (kind, flags) = (bytes[3], bytes[4]);
            let stream = u32::from_be_bytes([bytes[5], bytes[6], bytes[7], bytes[8]]) & 0x7fff_ffff;
            let payload = bytes[9..9 + length].to_vec();
            bytes.drain(..9 + length);
            replies.extend(self.frame(kind, flags, stream, &payload)?);
        }
        Ok(replies)
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<Vec<u8>, String> {
        let code = |at: usize| payload.get(at..at + 4).map_or(0, |code| u32::from_be_bytes(code.try_into().unwrap()));
        match kind {
            SETTINGS if flags & ACK == 0 => {
                self.settings = true;
                return Ok(frame(SETTINGS, ACK, 0, &[]));
            }
            GOAWAY => self.goaway = Some(code(4)),
            RST_STREAM => self.stream(stream).reset = Some(code(0)),
            DATA => {
                let data = wire::text(unpadded(flags, payload));
                let own = self.stream(stream);
                own.data.push_str(&data);
                own.ended |= flags & END_STREAM != 0;
            }
            HEADERS | CONTINUATION => {
                let payload = unpadded(flags, payload);
                let skip = if kind == HEADERS && flags & PRIORITIZED != 0 { 5 } else { 0 };
                self.block.extend_from_slice(&payload[skip..]);
                if flags & END_HEADERS != 0 {
                    let fields = decode(&std::mem::take(&mut self.block))?;
                    self.head(stream, fields);
                }
                self.stream(stream).ended |= kind == HEADERS && flags & END_STREAM != 0;
            }
            _ => {}
        }
        Ok(Vec::new())
    }

    fn stream(&mut self, id: u32) -> &mut Stream {
        self.streams.entry(id).or_default()
    }

    /// An interim answer makes way for the final one.
    fn head(&mut self, stream: u32, fields: Vec<(String, String)>) {
        let own = self.stream(stream);
        if own.fields.is_empty() || (100..200).contains(&own.status()) {
            own.fields = fields;
        } else {
            own.trailers.extend(fields);
        }
    }
}

fn unpadded(flags: u8, payload: &[u8]) -> &[u8] {
    if flags & PADDED == 0 {
        return payload;
    }
    &payload[1..payload.len() - usize::from(payload[0])]
}

fn decode(mut bytes: &[u8]) -> Result<Vec<(String, String)>, String> {
    let mut fields = Vec::new();
    while let Some(first) = bytes.first().copied() {
        if first & 0x80 != 0 {
            let index = number(&mut bytes, 7)?;
            fields.push(indexed(index)?);
        } else if first & 0xe0 == 0x20 {
            number(&mut bytes, 5)?;
        } else {
            let index = number(&mut bytes, if first & 0x40 != 0 { 6 } else { 4 })?;
            let name = if index == 0 { string(&mut bytes)? } else { indexed(index)?.0 };
            fields.push((name, string(&mut bytes)?));
        }
    }
    Ok(fields)
}

fn indexed(index: usize) -> Result<(String, String), String> {
    let pair = index.checked_sub(1).and_then(|index| STATIC.split_ascii_whitespace().nth(index));
    let (name, value) = pair.and_then(|pair| pair.split_once('=')).ok_or_else(|| format!("index {index}"))?;
    Ok((name.to_owned(), value.to_owned()))
}

fn byte(bytes: &mut &[u8]) -> Result<u8, String> {
    let (first, rest) = bytes.split_first().ok_or("a block that breaks off")?;
    *bytes = rest;
    Ok(*first)
}

fn number(bytes: &mut &[u8], prefix: u32) -> Result<usize, String> {
    let most = (1 << prefix) - 1;
    let mut value = usize::from(byte(bytes)?) & most;
    if value < most {
        return Ok(value);
    }
    for shift in (0..28).step_by(7) {
        let next = byte(bytes)?;
        value += usize::from(next & 127) << shift;
        if next & 128 == 0 {
            return Ok(value);
        }
    }
    Err("a number without end".to_owned())
}

fn string(bytes: &mut &[u8]) -> Result<String, String> {
    let coded = bytes.first().is_some_and(|first| first & 128 != 0);
    let length = number(bytes, 7)?;
    if bytes.len() < length {
        return Err("a string that breaks off".to_owned());
    }
    let (own, rest) = bytes.split_at(length);
    *bytes = rest;
    if coded { huffman(own) } else { Ok(wire::text(own)) }
}

/// Each symbol by the length and the bits of its code.
fn codes() -> BTreeMap<(u8, u32), u8> {
    let mut symbols: Vec<(u8, u16)> = CODES.bytes().map(|c| c - b'a' + 5).zip(0..).collect();
    symbols.sort_unstable();
    let (mut codes, mut code, mut before) = (BTreeMap::new(), 0_u32, 0);
    for (length, symbol) in symbols {
        code <<= length - before;
        before = length;
        if let Ok(symbol) = u8::try_from(symbol) {
            codes.insert((length, code), symbol);
        }
        code += 1;
    }
    codes
}

fn huffman(bytes: &[u8]) -> Result<String, String> {
    let codes = codes();
    let (mut text, mut length, mut code) = (Vec::new(), 0, 0_u32);
    for bit in bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| u32::from(byte >> at & 1))) {
        (length, code) = (length + 1, code << 1 | bit);
        if let Some(symbol) = codes.get(&(length, code)) {
            text.push(*symbol);
            (length, code) = (0, 0);
        }
        if length > 30 {
            return Err("a code that is none".to_owned());
        }
    }
    Ok(wire::text(&text))
}
