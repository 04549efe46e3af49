#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| quintet_module::fuzzing::idempotency_key(data));
