#![no_main]

#[path = "common.rs"]
mod common;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|source: &[u8]| {
    let vm = common::machine();
    if let Ok(f) = vm.load(source).name("=source").into_function() {
        // What is compiled can be described, listed and written.
        let description = f.description().expect("the VM is idle").expect("a Lua function");
        vm.load_bytecode(&description).expect("the verifier accepts what the compiler makes");
    }
});
