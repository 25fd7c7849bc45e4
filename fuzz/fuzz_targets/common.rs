//! What the targets share: VMs with limits, and the same code run by the reference.

#![allow(dead_code, reason = "each target uses a part")]

use std::cell::RefCell;

use perilune::{Error, Function, HookTriggers, Libraries, Value, Variadic, Vm};

/// Instructions after which a run is given up.
const STEPS: u32 = 200_000;

/// A VM that cannot do much.
pub fn machine() -> Vm {
    let libraries = Libraries::BASE | Libraries::STRING | Libraries::TABLE | Libraries::MATH | Libraries::COROUTINE;
    let vm = Vm::builder()
        .libraries(libraries)
        .memory_limit(16 << 20)
        .hot_threshold(2)
        .output(Box::new(std::io::sink()))
        .build()
        .expect("memory for a VM");
    vm.set_hook(HookTriggers::every_nth_instruction(STEPS), |_, _| Err(Error::Cancelled))
        .expect("the VM is idle");
    vm
}

/// Runs a function with some arguments. Any error will do.
pub fn run(f: &Function) {
    let _: Result<Variadic<Value>, Error> = f.call((1, "text", 2.5, f));
}

/// Code that is run by both engines with the fuzzer's bytes, and returns a text.
pub struct Comparison {
    ours: Function,
    theirs: mlua::Function,
    _vm: Vm,
    _lua: mlua::Lua,
}

impl Comparison {
    fn new(code: &str) -> Comparison {
        let vm = Vm::new();
        let lua = mlua::Lua::new();
        Comparison {
            ours: vm.load(code).name("=code").into_function().expect("the code is right"),
            theirs: lua.load(code).set_name("=code").into_function().expect("the code is right"),
            _vm: vm,
            _lua: lua,
        }
    }

    fn check(&self, bytes: &[u8]) {
        let ours: perilune::Bytes = self.ours.call(perilune::Bytes(bytes.to_vec())).expect("the code catches errors");
        let input = self._lua.create_string(bytes).expect("memory for a string");
        let theirs: mlua::String = self.theirs.call(input).expect("the code catches errors");
        assert_eq!(
            String::from_utf8_lossy(&ours.0),
            String::from_utf8_lossy(&theirs.as_bytes()),
            "{:?}",
            String::from_utf8_lossy(bytes)
        );
    }
}

thread_local! {
    static COMPARISON: RefCell<Option<Comparison>> = const { RefCell::new(None) };
}

/// Runs `code` with `bytes` in both engines and compares what it returns. A process has one such code.
pub fn compare(code: &str, bytes: &[u8]) {
    COMPARISON.with_borrow_mut(|comparison| {
        comparison.get_or_insert_with(|| Comparison::new(code)).check(bytes);
    });
}
