//! What takes apart what others have written: with all that fuzzers have found so far
//! (`fuzz/corpus`) and with changes to it, the same ones in every run.
//!
//! The coverage-guided fuzzer is `cargo fuzz run -s none TARGET` (see CONTRIBUTING.md).
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::panic::catch_unwind;
use std::path::Path;

use serin::fuzzing::TARGETS;

/// Changes to each corpus, less where one takes long.
const CHANGES: usize = 100_000;
const SLOW: [(&str, usize); 3] = [("configuration", 10_000), ("state", 5_000), ("flags", 10_000)];

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) as usize % bound.max(1)
    }
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new("fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{target} has no corpus");
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// One to four changes: a byte, a piece gone, doubled, or taken from another input.
fn changed(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    const ODD: [&[u8]; 12] =
        [b"\0", b"\r", b"\n", b":", b"%2e", b"-1", b"1e999", b"\xff", b"{", b"[", b"18446744073709551616", b"\""];
    let mut bytes = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(32)).min(bytes.len());
        match random.below(6) {
            0 if at < bytes.len() => bytes[at] = random.below(256) as u8,
            1 => drop(bytes.drain(at..end)),
            2 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            3 => {
                let other = &corpus[random.below(corpus.len())];
                let from = random.below(other.len() + 1);
                bytes.splice(at..end, other[from..(from + random.below(64)).min(other.len())].iter().copied());
            }
            4 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            _ => drop(bytes.splice(at..at, ODD[random.below(ODD.len())].iter().copied())),
        }
    }
    bytes
}

#[test]
fn nothing_that_others_write_ends_in_a_panic() {
    for (name, run) in TARGETS {
        let corpus = corpus(name);
        let changes = SLOW.iter().find(|(slow, _)| *slow == name).map_or(CHANGES, |(_, count)| *count);
        let mut random = Random(7);
        let inputs = corpus.iter().cloned().chain((0..changes).map(|_| changed(&corpus, &mut random)));
        for input in inputs {
            assert!(catch_unwind(|| run(&input)).is_ok(), "{name}: {:?}", String::from_utf8_lossy(&input));
        }
    }
}
