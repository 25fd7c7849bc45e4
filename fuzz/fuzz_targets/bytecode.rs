#![no_main]

#[path = "common.rs"]
mod common;

use libfuzzer_sys::fuzz_target;
use perilune::bytecode::{CellSource, Constant, FunctionBuilder, Instr, Op, TableSize, Wide};

fuzz_target!(|input: &[u8]| {
    let mut f = FunctionBuilder::new("=random", 4, 0);
    f.set_vararg();
    f.reserve_registers(10);
    f.captured("_ENV", CellSource::Captured(0));
    f.constant(Constant::Integer(3));
    f.constant(Constant::Float(0.5));
    f.constant(Constant::String(b"text".to_vec()));
    // Six bytes an instruction: opcode, operands, live count.
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
            perilune::bytecode::Role::Loop => Instr::with_bc(op, bytes[1] % 10, f.loop_site(), wide),
            _ => Instr::new(op, bytes[1] % 10, bytes[2] % 10, bytes[3] % 10, wide),
        };
        f.emit(instr, bytes[5] as usize % 11);
    }
    f.emit(Instr::new(Op::RETURN0, 0, 0, 0, 0), 0);
    let Ok(description) = f.finish() else { return };
    let vm = common::machine();
    if let Ok(f) = vm.load_bytecode(&description) {
        common::run(&f);
    }
});
