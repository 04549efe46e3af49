#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| quintet_http2::fuzzing::http2_header_block(data));
