//! The README and the tutorial as a reader meets them: every block of commands is run in order, in one
//! shell, in a folder like a fresh clone; what they show as output has to be there.
//!
//! A block is told by its fence: `sh` is run, `text` is what the commands before it have printed, `yaml` is
//! the file that the text before it names, or a part of the configuration. Any other fence is a mistake.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod common;

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use common::{PATIENCE, eventually, have};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The ports that the documents name. The system chooses others, for commands and configuration alike.
const PORTS: [&str; 6] = ["8080", "8081", "3000", "3001", "9900", "9901"];

/// What does not end by itself, or not in the time of a test: it runs beside what follows.
const LONG: [&str; 5] = ["serin run", "serin demo", "serin status --watch", "serin events", "serin deploy rehearse"];

/// What would build or test Serin once more: what it names has to exist.
const HELD: [&str; 5] =
    ["cargo test", "cargo bench", "cargo install --path", "cargo build", "cargo run --release --example"];

/// What is run in place of a command, and why.
const INSTEAD: [(&str, &str); 2] = [
    // The program is built already.
    ("cargo run --release -- ", "serin "),
    // A minute of traffic has to be measured before it is enough; here it is given.
    ("serin plan ", "serin plan --requests-per-second 100 "),
];

/// The longest that one command takes.
const LONGEST: Duration = Duration::from_secs(60);

// ---------------------------------------------------------------- documents

struct Block {
    line: usize,
    language: String,
    text: String,
    /// The paragraph before it.
    before: String,
}

/// All fenced blocks in order.
fn blocks(document: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let (mut inside, mut paragraph) = (false, String::new());
    for (index, line) in document.lines().enumerate() {
        match line.strip_prefix("```") {
            Some(_) if inside => inside = false,
            Some(language) => {
                let before = std::mem::take(&mut paragraph);
                found.push(Block { line: index + 1, language: language.to_owned(), text: String::new(), before });
                inside = true;
            }
            None if inside => writeln!(found.last_mut().unwrap().text, "{line}").unwrap(),
            None if line.trim_start().starts_with("```") => {
                panic!("line {}: a fence that is set in is not read", index + 1)
            }
            None if line.is_empty() => {}
            None => {
                // A blank line ends a paragraph, but not what the block after it is about.
                if document.lines().nth(index.wrapping_sub(1)).is_none_or(str::is_empty) {
                    paragraph.clear();
                }
                writeln!(paragraph, "{line}").unwrap();
            }
        }
    }
    assert!(!inside, "the last fence is open");
    found
}

/// The file that a paragraph names as `serin.yaml`.
fn names_file(paragraph: &str) -> Option<&str> {
    paragraph.split('`').skip(1).step_by(2).find(|word| word.ends_with(".yaml") && !word.contains('/'))
}

/// The commands of a block: lines are put together until the shell finds them whole.
fn commands(block: &str) -> Vec<String> {
    let (mut whole, mut part) = (Vec::new(), String::new());
    for line in block.lines() {
        writeln!(part, "{line}").unwrap();
        if line.ends_with('\\') {
            continue;
        }
        let read = Command::new("bash").args(["-n", "-c", &part]).output().unwrap();
        // A document that has not ended is only a warning.
        if read.status.success() && read.stderr.is_empty() {
            whole.push(std::mem::take(&mut part));
        }
    }
    assert!(part.is_empty(), "the shell does not understand {part}");
    whole.retain(|command| command.lines().any(|line| !line.trim().is_empty() && !line.trim().starts_with('#')));
    whole
}

/// Whether each line of what a document shows stands somewhere in what was printed: its words in their
/// order. `…` stands for any, as do numbers, their units, and what has no letters; shares and versions are held.
fn shows(printed: &str, shown: &str) -> Result<(), String> {
    let lacks = |line: &&str| {
        let wanted = stable_words(line);
        !printed.lines().any(|there| {
            let mut words = there.split_whitespace();
            wanted.iter().all(|word| words.any(|one| one == *word))
        })
    };
    shown.lines().find(lacks).map_or(Ok(()), |line| Err(format!("`{line}` is not in what was printed:\n{printed}")))
}

fn stable_words(line: &str) -> Vec<&str> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = |word: &str| word.chars().any(|c| c.is_ascii_digit());
    let version =
        |word: &str| word.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let is_stable = |at: usize| {
        let word = words[at];
        let share = words.get(at + 1).is_some_and(|next| next.starts_with('%'));
        let unit = at > 0 && number(words[at - 1]) && matches!(word, "ms" | "s");
        let letters = word.chars().any(char::is_alphabetic);
        version(word) || number(word) && share || letters && !number(word) && !unit
    };
    (0..words.len()).filter(|at| is_stable(*at)).map(|at| words[at]).collect()
}

/// What a command of cargo names is there.
fn is_held(command: &str) {
    let manifest = std::fs::read_to_string(Path::new(ROOT).join("Cargo.toml")).unwrap();
    let words: Vec<&str> = command.split('#').next().unwrap().split_whitespace().collect();
    let exists = |folder: &str, name: &str| {
        let file = Path::new(ROOT).join(folder).join(format!("{name}.rs"));
        file.exists() || manifest.contains(&format!("name = \"{name}\"\npath = \"{folder}/"))
    };
    let mut options = words.iter().skip(2);
    while let Some(option) = options.next() {
        match *option {
            "--bench" => assert!(exists("benches", options.next().unwrap()), "{command}"),
            "--example" => assert!(exists("examples", options.next().unwrap()), "{command}"),
            "--test" => assert!(exists("tests", options.next().unwrap()), "{command}"),
            "--path" => assert_eq!(options.next(), Some(&"."), "{command}"),
            other => assert_eq!(other, "--release", "{command}"),
        }
    }
    assert!(manifest.contains("[[bin]]\nname = \"serin\""), "{command}");
}

// ---------------------------------------------------------------- a reader

/// A shell in a folder like a fresh clone, with `serin` in its path.
struct Reader {
    shell: Child,
    input: ChildStdin,
    codes: Receiver<i32>,
    folder: tempfile::TempDir,
    /// What the documents say, and what it is here.
    ports: Vec<(&'static str, String)>,
    run: usize,
}

/// How a command went.
struct Ran {
    output: PathBuf,
    /// It is still running.
    beside: bool,
}

impl Drop for Reader {
    /// Ends the shell and all that it has left running.
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.shell);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.shell.wait();
    }
}

impl Reader {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (clone, bin) = (folder.path().join("clone"), folder.path().join("bin"));
        for made in [&clone, &bin, &folder.path().join("output")] {
            std::fs::create_dir(made).unwrap();
        }
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_serin"), bin.join("serin")).unwrap();
        std::os::unix::fs::symlink(Path::new(ROOT).join("examples"), clone.join("examples")).unwrap();
        // Serin's state goes to this folder: it is no link.
        std::fs::create_dir(clone.join("config")).unwrap();
        std::os::unix::fs::symlink(Path::new(ROOT).join("config/scenarios"), clone.join("config/scenarios")).unwrap();
        let listeners = PORTS.map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let chosen = listeners.iter().map(|listener| listener.local_addr().unwrap().port().to_string());
        let ports: Vec<_> = PORTS.into_iter().zip(chosen).collect();
        drop(listeners);
        let path = std::env::var_os("PATH").unwrap();
        let path = std::env::join_paths(std::iter::once(bin).chain(std::env::split_paths(&path))).unwrap();
        let admin = ports.iter().find(|(document, _)| *document == "9900").unwrap().1.clone();
        let mut shell = Command::new("bash")
            .current_dir(&clone)
            .env("PATH", path)
            .env("HOME", folder.path())
            // The command line's default, which is a port of the documents.
            .env("SERIN_ADMIN", format!("http://127.0.0.1:{admin}"))
            .env("NO_COLOR", "1")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, lines) = (shell.stdin.take().unwrap(), BufReader::new(shell.stdout.take().unwrap()));
        let (tell, codes) = channel();
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let _ = tell.send(line.parse().unwrap());
            }
        });
        Self { shell, input, codes, folder, ports, run: 0 }
    }

    fn clone_folder(&self) -> PathBuf {
        self.folder.path().join("clone")
    }

    /// A text with the ports of this machine in place of the documents'.
    fn here(&self, text: &str) -> String {
        swap(text, self.ports.iter().map(|(document, here)| (*document, here.as_str())))
    }

    /// The other way round.
    fn as_documented(&self, text: &str) -> String {
        swap(text, self.ports.iter().map(|(document, here)| (here.as_str(), *document)))
    }

    /// Runs a command that has to succeed.
    fn does(&mut self, command: &str) -> Ran {
        let bare = command.split('#').next().unwrap().trim_end();
        let output = self.folder.path().join("output").join(self.run.to_string());
        if HELD.iter().any(|held| bare.starts_with(held)) {
            is_held(bare);
            std::fs::write(&output, "").unwrap();
            return Ran { output, beside: false };
        }
        let replaced =
            INSTEAD.iter().find_map(|(from, to)| command.strip_prefix(from).map(|rest| format!("{to}{rest}")));
        let command = replaced.as_deref().unwrap_or(command);
        let beside = LONG.iter().any(|long| command.starts_with(long)) && !bare.contains('&');
        let script = self.folder.path().join("output").join(format!("{}.sh", self.run));
        let text = self.here(command);
        std::fs::write(&script, if beside { format!("{{ {text}}} &\n") } else { text }).unwrap();
        self.run += 1;
        writeln!(self.input, "source '{}' > '{}' 2>&1 < /dev/null; echo $?", script.display(), output.display())
            .unwrap();
        let code = self.codes.recv_timeout(LONGEST);
        let printed = self.printed(&output);
        assert_eq!(code, Ok(0), "{command}\n{printed}");
        if command.starts_with("serin run") {
            // Who types is not faster than Serin starts.
            eventually("Serin serves", || {
                let admin = self.here("http://127.0.0.1:9900");
                common::cli(&["--admin", &admin, "ready"]).status.success().then_some(())
            });
        }
        Ran { output, beside }
    }

    fn printed(&self, output: &Path) -> String {
        self.as_documented(&String::from_utf8_lossy(&std::fs::read(output).unwrap()))
    }
}

/// Numbers exchanged for others, where they stand alone.
fn swap<'a>(text: &str, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let pairs: Vec<_> = pairs.collect();
    let mut swapped = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(at);
        let length = from.find(|c: char| !c.is_ascii_digit()).unwrap_or(from.len());
        let (number, after) = from.split_at(length);
        swapped += before;
        swapped += pairs.iter().find(|(one, _)| *one == number).map_or(number, |(_, other)| other);
        rest = after;
    }
    swapped + rest
}

/// Reads a document from its beginning to its end. `meanwhile` is told of each block of commands, and does
/// what happens at the reader's before it.
fn read(file: &str, mut meanwhile: impl FnMut(&mut Reader, &Block)) {
    let document = std::fs::read_to_string(Path::new(ROOT).join(file)).unwrap();
    let mut reader = Reader::new();
    let (mut before, mut later): (Vec<Ran>, Vec<(usize, PathBuf, String)>) = (Vec::new(), Vec::new());
    let mut config = String::new();
    for block in blocks(&document) {
        let place = format!("{file}:{}", block.line);
        match block.language.as_str() {
            "sh" => {
                meanwhile(&mut reader, &block);
                let commands = commands(&block.text);
                assert!(!commands.is_empty(), "{place} has no command");
                before = commands.iter().map(|command| reader.does(command)).collect();
            }
            "text" => {
                assert!(!before.is_empty(), "{place} comes after no command");
                if let Some(ran) = before.iter().find(|ran| ran.beside) {
                    later.push((block.line, ran.output.clone(), block.text));
                    continue;
                }
                let printed: String = before.iter().map(|ran| reader.printed(&ran.output)).collect();
                shows(&printed, &block.text).unwrap_or_else(|lacks| panic!("{place}: {lacks}"));
            }
            "yaml" => {
                let (name, text) = match names_file(&block.before) {
                    Some(name) => {
                        config.clone_from(&block.text);
                        (name, config.clone())
                    }
                    // A part: with the rest it is a configuration.
                    None => ("part.yaml", format!("{config}{}", block.text)),
                };
                let admin = if text.contains("admin:") { "" } else { "admin: { address: 127.0.0.1:9900 }\n" };
                let file = reader.clone_folder().join(name);
                std::fs::write(&file, reader.here(&format!("{text}{admin}"))).unwrap();
                let check = common::cli(&["check", "--config", file.to_str().unwrap()]);
                assert!(check.status.success(), "{place}: {}", String::from_utf8_lossy(&check.stderr));
            }
            other => panic!("{place}: nobody knows how to hold a block of `{other}`"),
        }
    }
    let began = Instant::now();
    for (line, output, shown) in later {
        while let Err(lacks) = shows(&reader.printed(&output), &shown) {
            assert!(began.elapsed() < PATIENCE, "{file}:{line}: {lacks}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

// ---------------------------------------------------------------- the documents

#[test]
fn the_tutorial_does_what_it_says() {
    if have("bash") && have("python3") && have("curl") {
        read("docs/tutorial.md", |_, _| {});
    }
}

#[test]
fn the_commands_of_the_readme_do_what_they_say() {
    if !(have("bash") && have("python3") && have("curl")) {
        return;
    }
    read("README.md", |reader, block| {
        if block.text.contains("serin check") {
            an_app_of_the_readers_own(reader);
        } else if block.text.contains("serin plan") {
            a_day_passes(reader);
        } else if block.text.contains("flags import") {
            std::fs::copy(Path::new(ROOT).join("examples/apps/flagd.json"), reader.clone_folder().join("flagd.json"))
                .unwrap();
        }
    });
}

fn app(reader: &mut Reader, port: &str, version: &str) {
    reader.does(&format!("PORT={port} VERSION={version} python3 examples/apps/python/app.py & APP_{port}=$!\n"));
    reader.does(&format!("curl -s --retry 9 --retry-connrefused http://127.0.0.1:{port}/healthz\n"));
}

/// Two versions of an app, as the README takes for given.
fn an_app_of_the_readers_own(reader: &mut Reader) {
    app(reader, "3000", "v2.0.0");
    app(reader, "3001", "v2.1.0");
}

/// Users have come, the release of the beginning has gone through, another one has failed, and
/// yesterday's access log is there.
fn a_day_passes(reader: &mut Reader) {
    let lines = (0..600).map(|at| {
        let status = if at % 100 == 0 { 500 } else { 200 };
        let time = format!("10/Oct/2025:13:{:02}:{:02} +0000", at / 60, at % 60);
        format!("10.0.0.{} - - [{time}] \"GET /cart HTTP/1.1\" {status} 512 \"-\" \"-\"\n", at % 50)
    });
    std::fs::write(reader.clone_folder().join("access.log"), lines.collect::<String>()).unwrap();
    reader.does("python3 examples/apps/users.py http://127.0.0.1:8080 &\n");
    reader.does("serin deploy promote\n");
    reader.does("kill $APP_3000; wait $APP_3000\n");
    reader.does("serin deploy start v2.2.0 --wait --timeout 20s; [ $? -eq 3 ]\n");
    app(reader, "3000", "v2.2.0");
}

#[test]
fn every_command_of_cargo_that_the_documents_name_is_there() {
    for file in ["README.md", "CONTRIBUTING.md", "docs/tutorial.md", "examples/apps/README.md"] {
        let document = std::fs::read_to_string(Path::new(ROOT).join(file)).unwrap();
        let lines = document.split('`').skip(1).step_by(2).filter_map(|code| code.lines().next());
        for command in lines.filter_map(|code| code.find("cargo ").map(|at| &code[at..])) {
            if HELD.iter().any(|held| command.starts_with(held)) {
                is_held(command);
            }
        }
    }
}
