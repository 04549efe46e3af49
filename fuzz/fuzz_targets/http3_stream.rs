#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| edge_gateway::fuzzing::http3_stream(data));
