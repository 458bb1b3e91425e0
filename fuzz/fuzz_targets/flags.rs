#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| serin::fuzzing::run("flags", bytes));
