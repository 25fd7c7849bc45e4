#![no_main]

#[path = "common.rs"]
mod common;

use libfuzzer_sys::fuzz_target;

/// A program whose chunk the input changes.
const PROGRAM: &str = "local a, b = ... local t = {a, b, x = 1} for i = 1, 3 do t[i] = function() a = i return a, b end end \
    for k, v in pairs(t) do t.y = tostring(v) .. '' end return t[1](), #t, a and b or t.x";

fuzz_target!(|input: &[u8]| {
    let vm = common::machine();
    let mut chunk = vm.load(PROGRAM).into_function().unwrap().dump(input.len() % 2 == 0).unwrap().unwrap();
    // The input is a list of changes: two bytes for the place, one for the value.
    for change in input.chunks_exact(3) {
        let at = u16::from_le_bytes([change[0], change[1]]) as usize % chunk.len();
        chunk[at] = change[2];
    }
    if let Ok(f) = vm.load(&chunk).name("=chunk").into_function() {
        common::run(&f);
    }
});
