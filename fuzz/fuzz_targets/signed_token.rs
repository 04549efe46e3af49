#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| identity_provider::fuzzing::signed_token(data));
