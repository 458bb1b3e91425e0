//! The table of keys in words, section by section, for the reference.

use std::time::Duration;

use super::definition::{Key, Kind, Presence, Section};
use super::keys;

/// The sections of a file, each once, in the order in which a reader meets them.
#[derive(Clone, Debug)]
pub struct SectionReference {
    /// Where it stands: `services.<name>.deploy.stages[]`; several places may have the same keys.
    pub paths: Vec<String>,
    /// What it is about.
    pub about: &'static str,
    /// Of each of these groups exactly one key is given.
    pub one_of: Vec<Vec<&'static str>>,
    /// Its keys.
    pub keys: Vec<KeyReference>,
}

/// A key.
#[derive(Clone, Debug)]
pub struct KeyReference {
    /// Its name.
    pub name: &'static str,
    /// What it may be, in words.
    pub kind: String,
    /// The words that it may be, where these are all.
    pub words: &'static [&'static str],
    /// Whether it has to be there.
    pub required: bool,
    /// What it is where it is not given, as YAML; `None`: there is none.
    pub default: Option<&'static str>,
    /// What it means.
    pub about: &'static str,
    /// Whether its value has keys of its own, which are another section.
    pub has_section: bool,
}

/// The sections of a configuration.
pub fn reference() -> Vec<SectionReference> {
    let mut walk = Walk::default();
    walk.enter("", &keys::TOP);
    walk.sections()
}

/// The sections of a scenario for `serin simulate`, but for `deploy`, which is a service's.
pub fn scenario_reference() -> Vec<SectionReference> {
    let mut walk = Walk::default();
    walk.enter("", &keys::SCENARIO);
    let own = walk.0.into_iter().filter(|(section, _)| !is_within_deploy(section));
    own.map(|(section, paths)| row(section, paths)).collect()
}

fn is_within_deploy(section: &'static Section) -> bool {
    let mut deploy = Walk::default();
    deploy.enter("deploy", &keys::DEPLOY);
    deploy.0.iter().any(|(known, _)| std::ptr::eq(*known, section))
}

/// Each section with the places where it stands.
#[derive(Default)]
struct Walk(Vec<(&'static Section, Vec<String>)>);

impl Walk {
    fn enter(&mut self, path: &str, section: &'static Section) {
        if let Some((_, paths)) = self.0.iter_mut().find(|(known, _)| std::ptr::eq(*known, section)) {
            paths.push(path.to_owned());
        } else {
            self.0.push((section, vec![path.to_owned()]));
        }
        for key in section.keys {
            let dot = if path.is_empty() { "" } else { "." };
            self.look_into(&format!("{path}{dot}{}", key.name), &key.kind);
        }
    }

    fn look_into(&mut self, path: &str, kind: &'static Kind) {
        match kind {
            Kind::Section(section) => self.enter(path, section),
            Kind::Names(inner) => self.look_into(&format!("{path}.<name>"), inner),
            Kind::List(inner) | Kind::OneOrMany(inner) => self.look_into(&format!("{path}[]"), inner),
            Kind::Either(kinds) => kinds.iter().for_each(|kind| self.look_into(path, kind)),
            _ => {}
        }
    }

    fn sections(self) -> Vec<SectionReference> {
        self.0.into_iter().map(|(section, paths)| row(section, paths)).collect()
    }
}

fn row(section: &'static Section, paths: Vec<String>) -> SectionReference {
    SectionReference {
        paths,
        about: section.about,
        one_of: section.one_of.iter().map(|group| group.to_vec()).collect(),
        keys: section.keys.iter().map(key).collect(),
    }
}

fn key(key: &'static Key) -> KeyReference {
    KeyReference {
        name: key.name,
        kind: words(&key.kind),
        words: match key.kind {
            Kind::Word(words) => words,
            Kind::Bool => &["true", "false"],
            _ => &[],
        },
        required: matches!(key.presence, Presence::Required),
        default: if let Presence::Default(text) = key.presence { Some(text) } else { None },
        about: key.about,
        has_section: has_section(&key.kind),
    }
}

fn has_section(kind: &Kind) -> bool {
    match kind {
        Kind::Section(_) => true,
        Kind::Names(inner) | Kind::List(inner) | Kind::OneOrMany(inner) => has_section(inner),
        Kind::Either(kinds) => kinds.iter().any(has_section),
        _ => false,
    }
}

fn words(kind: &Kind) -> String {
    match kind {
        Kind::Section(_) => "mapping".to_owned(),
        Kind::Names(inner) => format!("names, each with: {}", words(inner)),
        Kind::List(inner) => format!("list of: {}", words(inner)),
        Kind::OneOrMany(inner) => format!("{}, or a list of them", words(inner)),
        Kind::Either(kinds) => kinds.iter().map(words).collect::<Vec<_>>().join("; or "),
        Kind::Text(form) => form.what.to_owned(),
        Kind::Word(known) => known.join(", "),
        Kind::Bool => "true, false".to_owned(),
        Kind::Number(first, last) => format!("whole number, {first} to {}", last_number(*last)),
        Kind::Decimal(first, last) if *first == f64::MIN_POSITIVE => format!("number above 0, to {last}"),
        Kind::Decimal(first, last) => format!("number, {first} to {last}"),
        Kind::Span(first, last) => format!("duration, {} to {}", span(*first), span(*last)),
        Kind::Size(first, last) => format!("size, {} to {}", size(*first), size(*last)),
    }
}

fn last_number(last: u64) -> String {
    if last == u64::MAX { "2^64 - 1".to_owned() } else { last.to_string() }
}

/// In its largest whole unit.
fn span(span: Duration) -> String {
    const UNITS: [(&str, u128); 5] =
        [("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000)];
    let micros = span.as_micros();
    if micros == 0 {
        return "0s".to_owned();
    }
    let unit = UNITS.iter().find(|(_, unit)| micros.is_multiple_of(*unit));
    unit.map_or_else(|| format!("{micros}us"), |(name, unit)| format!("{}{name}", micros / unit))
}

fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match bytes {
        0 => "0".to_owned(),
        u64::MAX => "any".to_owned(),
        _ => {
            let unit = UNITS.iter().find(|(_, unit)| bytes.is_multiple_of(*unit));
            unit.map_or_else(|| format!("{bytes} bytes"), |(name, unit)| format!("{} {name}", bytes / unit))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_is_told_once_with_all_its_places() {
        let sections = reference();
        let secret = sections.iter().find(|section| section.paths.iter().any(|path| path == "ofrep.tokens[]")).unwrap();
        assert!(secret.paths.iter().any(|path| path == "services.<name>.overrides.secret"), "{:?}", secret.paths);
        let mut paths: Vec<&String> = sections.iter().flat_map(|section| &section.paths).collect();
        let all = paths.len();
        paths.sort();
        paths.dedup();
        assert_eq!(paths.len(), all);
    }

    #[test]
    fn ranges_are_told_in_whole_units() {
        let told = [Duration::ZERO, Duration::from_millis(1), Duration::from_secs(90), Duration::from_secs(86_400)];
        assert_eq!(told.map(span), ["0s", "1ms", "90s", "1d"]);
        assert_eq!([0, 16, 1 << 10, 65_534, 1 << 20].map(size), ["0", "16 bytes", "1 KiB", "65534 bytes", "1 MiB"]);
    }
}
