//! What happened, for whoever listens.
//!
//! Every change has a number; a listener that lost its connection goes on behind
//! the last number it saw, as long as it is kept.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio::sync::broadcast;

/// As many are kept for listeners that come back, and may wait for one that is slow.
const KEPT: usize = 1_024;

/// A change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Grows by one with each change of this process.
    pub version: u64,
    /// RFC 3339.
    pub at: String,
    /// `flag`, `flagDeleted`, `flags`, or what happened to a deployment: `started`, `stage`, `rolledBack`, …
    pub kind: String,
    /// Who did it: a token's name, `operator`, `serin`.
    pub by: String,
    /// Which service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Which deployment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// Which flag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flag: Option<String>,
    /// For a person.
    pub text: String,
}

/// Tells changes. Cheap to clone.
#[derive(Clone)]
pub struct Events {
    sender: broadcast::Sender<Arc<Change>>,
    kept: Arc<Mutex<VecDeque<Arc<Change>>>>,
    /// Tells this process's numbers from those of an earlier one.
    process: i64,
}

impl Events {
    pub(super) fn new(process: i64) -> Self {
        Self { sender: broadcast::channel(KEPT).0, kept: Arc::default(), process }
    }

    /// The id of a change, unique over restarts.
    pub fn id(&self, change: &Change) -> String {
        format!("{}-{}", self.process, change.version)
    }

    /// The id of the newest change; where there was none yet, one that comes before all.
    pub fn newest(&self) -> String {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        format!("{}-{}", self.process, kept.back().map_or(0, |change| change.version))
    }

    /// What came after the change with this id, `None` where nobody knows that any more,
    /// and what will come.
    pub fn after(&self, id: Option<&str>) -> (Option<Vec<Arc<Change>>>, broadcast::Receiver<Arc<Change>>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock: nothing is told between the two.
        let receiver = self.sender.subscribe();
        let Some(id) = id else { return (Some(Vec::new()), receiver) };
        let own = id.split_once('-').filter(|(process, _)| process.parse() == Ok(self.process));
        let version = own.and_then(|(_, version)| version.parse::<u64>().ok());
        let oldest = kept.front().map_or(1, |change| change.version);
        let newest = kept.back().map_or(0, |change| change.version);
        let known = version.filter(|version| *version + 1 >= oldest && *version <= newest);
        let missed = known.map(|version| kept.iter().filter(|change| change.version > version).cloned().collect());
        (missed, receiver)
    }

    /// The changes that are kept, the oldest first.
    pub fn recent(&self) -> Vec<Arc<Change>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    pub(super) fn tell(&self, mut change: Change) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        change.version = kept.back().map_or(0, |last| last.version) + 1;
        let change = Arc::new(change);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(Arc::clone(&change));
        // Nobody may be listening.
        let _ = self.sender.send(change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(text: &str) -> Change {
        Change {
            version: 0,
            at: String::new(),
            kind: "flag".into(),
            by: "serin".into(),
            service: None,
            deployment: None,
            flag: None,
            text: text.into(),
        }
    }

    #[test]
    fn who_comes_back_misses_nothing_or_is_told() {
        let events = Events::new(7);
        let start = events.newest();
        for n in 1..=3 {
            events.tell(change(&n.to_string()));
        }
        let texts =
            |missed: Option<Vec<Arc<Change>>>| missed.map(|m| m.iter().map(|c| c.text.clone()).collect::<Vec<_>>());
        assert_eq!(events.after(Some(&start)).0.map(|missed| missed.len()), Some(3));
        assert_eq!(texts(events.after(Some("7-1")).0), Some(vec!["2".to_owned(), "3".to_owned()]));
        assert_eq!(events.newest(), "7-3");
        assert_eq!(texts(events.after(Some("7-3")).0), Some(vec![]));
        assert_eq!(texts(events.after(None).0), Some(vec![]));
        for unknown in ["6-1", "7-9", "x", ""] {
            assert_eq!(texts(events.after(Some(unknown)).0), None, "{unknown}");
        }
        for n in 0..KEPT {
            events.tell(change(&n.to_string()));
        }
        assert_eq!(texts(events.after(Some("7-1")).0), None, "no longer kept");
    }
}
