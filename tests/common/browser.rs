//! A real Chromium, driven as WebDriver says (W3C Recommendation), for one test.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::http::exchange;
use super::{Process, eventually};

/// How an element is named in answers (section 12.2).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Keys without a character (section 17.4.2).
pub const TAB: &str = "\u{E004}";
pub const ENTER: &str = "\u{E007}";
pub const ESCAPE: &str = "\u{E00C}";
pub const LEFT: &str = "\u{E012}";
const END: &str = "\u{E010}";
const BACKSPACE: &str = "\u{E003}";

/// A window with nothing remembered.
pub struct Browser {
    driver: SocketAddr,
    session: String,
    base: String,
    _process: Process,
}

/// What a driver refused.
#[derive(Debug)]
struct Refused(#[allow(dead_code, reason = "shown where a test fails")] String);

impl Browser {
    /// Opens the dashboard of this admin address, with more of the browser's arguments.
    pub fn open(admin: SocketAddr, args: &[&str]) -> Self {
        let mut child = Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let process = Process::from(child);
        let port = loop {
            let mut line = String::new();
            assert!(said.read_line(&mut line).unwrap() > 0, "chromedriver has ended");
            if let Some((_, port)) = line.trim().rsplit_once("started successfully on port ") {
                break port.trim_end_matches('.').parse().unwrap();
            }
        };
        // A pipe that nobody reads would stop it.
        std::thread::spawn(move || said.lines().map_while(Result::ok).for_each(drop));
        let own = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1300,1000"];
        let args = [&own, args].concat();
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": { "args": args },
        } } });
        let driver = SocketAddr::from(([127, 0, 0, 1], port));
        let (base, session) = (format!("http://{admin}"), String::new());
        let mut browser = Self { driver, session, base, _process: process };
        let begun = browser.ask("POST", "/session", &capabilities).unwrap();
        browser.session = format!("/session/{}", begun["sessionId"].as_str().unwrap());
        browser.go("/");
        browser
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, Refused> {
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
             connection: close\r\n\r\n{body}",
            self.driver
        );
        let answer = exchange(self.driver, head.as_bytes());
        let mut value: Value = serde_json::from_slice(&answer.body).unwrap();
        match answer.status {
            200 => Ok(value["value"].take()),
            _ => Err(Refused(value["value"]["message"].to_string())),
        }
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value, Refused> {
        self.ask("POST", &format!("{}{path}", self.session), body)
    }

    pub fn go(&self, path: &str) {
        self.post("/url", &json!({ "url": format!("{}{path}", self.base) })).unwrap();
    }

    /// A function body's value.
    pub fn js(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({ "script": script, "args": [] })).unwrap()
    }

    /// The value that a function body's promise comes to.
    pub fn js_later(&self, script: &str) -> Value {
        let script = format!("const done = arguments[arguments.length - 1]; (async () => {{ {script} }})().then(done)");
        self.post("/execute/async", &json!({ "script": script, "args": [] })).unwrap()
    }

    fn elements(&self, css: &str) -> Vec<String> {
        self.find("css selector", css)
    }

    fn find(&self, using: &str, value: &str) -> Vec<String> {
        let found = self.post("/elements", &json!({ "using": using, "value": value })).unwrap_or_default();
        let found = found.as_array().cloned().unwrap_or_default();
        found.iter().filter_map(|element| Some(format!("/element/{}", element[ELEMENT].as_str()?))).collect()
    }

    /// Clicks as a person does: on what is visible and not covered.
    pub fn click(&self, css: &str) {
        self.click_on(css, || self.elements(css));
    }

    /// The same on the button or link with this text.
    pub fn press(&self, text: &str) {
        let path = format!("//*[self::button or self::a or self::summary][normalize-space()='{text}']");
        self.click_on(text, || self.find("xpath", &path));
    }

    fn click_on(&self, what: &str, find: impl Fn() -> Vec<String>) {
        eventually(&format!("a click on {what}"), || {
            find().iter().find_map(|element| self.post(&format!("{element}/click"), &json!({})).ok())
        });
    }

    /// Types into a field, in the place of what stands there.
    pub fn write(&self, css: &str, text: &str) {
        let length = format!("return document.querySelector({})?.value.length", json!(css));
        let there = eventually(css, || self.js(&length).as_u64());
        let gone = BACKSPACE.repeat(there as usize);
        self.keys(css, &format!("{END}{gone}{text}"));
    }

    /// Presses these keys in an element.
    pub fn keys(&self, css: &str, keys: &str) {
        eventually(css, || {
            let element = self.elements(css).into_iter().next()?;
            self.post(&format!("{element}/value"), &json!({ "text": keys })).ok()
        });
    }

    /// Presses a key where the focus is.
    pub fn key(&self, key: &str) {
        let press = [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })];
        let actions = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": press }] });
        self.post("/actions", &actions).unwrap();
    }

    /// The visible text of the elements.
    pub fn text(&self, css: &str) -> String {
        let css = json!(css);
        let read = format!("return [...document.querySelectorAll({css})].map((e) => e.innerText).join('\\n')");
        self.js(&read).as_str().unwrap_or_default().to_owned()
    }

    /// Waits for a text in one of the elements.
    pub fn sees(&self, css: &str, text: &str) {
        eventually(&format!("{text:?} in {css}"), || self.text(css).contains(text).then_some(()));
    }

    /// Waits until it is gone.
    pub fn sees_no(&self, css: &str, text: &str) {
        eventually(&format!("no {text:?} in {css}"), || (!self.text(css).contains(text)).then_some(()));
    }

    pub fn size(&self, width: u32, height: u32) {
        self.post("/window/rect", &json!({ "width": width, "height": height })).unwrap();
    }

    /// A picture of the window, in target/tmp/dashboard, for whoever wants to look.
    pub fn picture(&self, name: &str) {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboard");
        std::fs::create_dir_all(&folder).unwrap();
        let png = self.ask("GET", &format!("{}/screenshot", self.session), &Value::Null).unwrap();
        let png = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, png.as_str().unwrap()).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), png).unwrap();
    }

    /// The console's errors since it was last asked: of scripts, of the policy, of the network.
    pub fn console(&self) -> Vec<String> {
        let said = self.post("/se/log", &json!({ "type": "browser" })).unwrap();
        let lines = said.as_array().into_iter().flatten();
        lines.filter(|line| line["level"] == "SEVERE").map(|line| line["message"].to_string()).collect()
    }
}

impl Drop for Browser {
    /// The driver ends the browser, and is itself ended as a process.
    fn drop(&mut self) {
        let _ = self.ask("DELETE", &self.session, &Value::Null);
    }
}
