//! Sources, binary chunks and descriptions of functions: whatever is accepted can be run without harm.

use perilune::bytecode::{CellSource, Constant, FunctionBuilder, Instr, Op, Role, TableSize, Wide};
use perilune::{Error, Function, HookContext, HookTriggers, Libraries, Value, Variadic, Vm};

/// Instructions after which a run is given up.
const STEPS: u32 = 200_000;

/// A VM that cannot do much.
fn machine() -> Vm {
    let libraries = Libraries::BASE
        | Libraries::STRING
        | Libraries::TABLE
        | Libraries::MATH
        | Libraries::COROUTINE;
    let vm = Vm::builder()
        .libraries(libraries)
        .memory_limit(16 << 20)
        .hot_threshold(2)
        .output(Box::new(std::io::sink()))
        .build()
        .expect("memory for a VM");
    vm.globals()
        .set("print", Value::Nil)
        .expect("storing nil needs no memory");
    vm
}

/// Runs a function with some arguments, once in tier 1 and with limited steps, then, if it came to an end, with everything hot.
/// Any error will do.
fn run(vm: &Vm, f: &Function) {
    let call = || -> Result<Variadic<Value>, Error> { f.call((1, "text", 2.5, f)) };
    let hook = |_: &Vm, _: HookContext<'_>| Err(Error::Cancelled);
    vm.set_hook(HookTriggers::every_nth_instruction(STEPS), hook)
        .expect("the VM is idle");
    let ends = !matches!(call(), Err(Error::Cancelled));
    vm.remove_hook().expect("the VM is idle");
    if ends {
        for _ in 0..8 {
            let _ = call();
        }
    }
}

/// Source text is compiled; what is compiled can be described, listed and written.
pub fn source(source: &[u8]) {
    let vm = machine();
    let Ok(f) = vm.load(source).name("=source").into_function() else {
        return;
    };
    // A binary chunk may have been written by hand, and be good for nothing.
    let Ok(Some(description)) = f.description() else {
        return;
    };
    vm.load_bytecode(&description)
        .expect("the verifier accepts what the compiler makes");
    f.listing().expect("the VM is idle");
    for strip in [false, true] {
        let chunk = f.dump(strip).expect("the VM is idle").expect("a function");
        vm.load(chunk)
            .into_function()
            .expect("what is written can be read");
    }
}

/// A program whose chunk the input changes.
const PROGRAM: &str = "local a, b = ... local t = {a, b, x = 1} for i = 1, 3 do t[i] = function() a = i return a, b end end \
    for k, v in pairs(t) do t.y = tostring(v) .. '' end return t[1](), #t, a and b or t.x";

/// A binary chunk of which some bytes are others.
pub fn chunk(input: &[u8]) {
    let vm = machine();
    let program = vm.load(PROGRAM).into_function().expect("it compiles");
    let strip = input.len().is_multiple_of(2);
    let mut chunk = program
        .dump(strip)
        .expect("the VM is idle")
        .expect("a Lua function");
    // The input is a list of changes: two bytes for the place, one for the value.
    for change in input.chunks_exact(3) {
        let at = u16::from_le_bytes([change[0], change[1]]) as usize % chunk.len();
        chunk[at] = change[2];
    }
    if let Ok(f) = vm.load(&chunk).name("=chunk").into_function() {
        run(&vm, &f);
    }
}

/// A function that a builder makes, six bytes an instruction: opcode, operands, live count.
pub fn bytecode(input: &[u8]) {
    let mut f = FunctionBuilder::new("=random", 4, 0);
    f.set_vararg();
    f.reserve_registers(10);
    f.captured("_ENV", CellSource::Captured(0));
    f.constant(Constant::Integer(3));
    f.constant(Constant::Float(0.5));
    f.constant(Constant::String(b"text".to_vec()));
    for bytes in input.chunks_exact(6).take(60) {
        let op = Op::ALL[bytes[0] as usize % Op::ALL.len()].general();
        let wide = match op.format().d {
            Wide::None => 0,
            Wide::Field => f.field("text"),
            Wide::Call => f.call_site(),
            Wide::Table => f.table_site(TableSize::default()),
            _ => bytes[4] as i8 as u32,
        };
        let instr = match op.format().b {
            Role::Loop => Instr::with_bc(op, bytes[1] % 10, f.loop_site(), wide),
            _ => Instr::new(op, bytes[1] % 10, bytes[2] % 10, bytes[3] % 10, wide),
        };
        f.emit(instr, bytes[5] as usize % 11);
    }
    f.emit(Instr::new(Op::RETURN0, 0, 0, 0, 0), 0);
    let Ok(description) = f.finish() else { return };
    let vm = machine();
    if let Ok(f) = vm.load_bytecode(&description) {
        run(&vm, &f);
    }
}
