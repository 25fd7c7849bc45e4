//! Arithmetic and comparisons of integers and floats.

use perilune_uops::MicroOp;

use super::assembler::{Alu, Cond, Label, Mem, Shift, Sse, at};
use super::lower::Lowering;
use super::operands::immediate;
use super::registers::*;
use crate::jit::CompileError;
use crate::jit::allocation::Place;
use crate::jit::helpers;
use crate::tier2::superblock::{Node, Ref, Superblock};

/// A call of a function of floats, to be emitted: arguments and result are in float registers.
struct FloatCall {
    function: usize,
    inputs: Vec<Place>,
    out: Place,
    live: Vec<Place>,
}

impl Lowering<'_, '_> {
    /// A node that is about integers.
    pub fn integers(&mut self, node: &Node, out: Place) {
        use MicroOp::*;
        match node.op {
            ADD_I => self.add(node, out),
            SUB_I => self.subtract(node, out),
            MUL_I => self.multiply(node, out),
            AND_I => self.commutative(Alu::And, node, out),
            OR_I => self.commutative(Alu::Or, node, out),
            XOR_I => self.commutative(Alu::Xor, node, out),
            IDIV_I | MOD_I => self.divide(node, out),
            NEG_I | NOT_I => {
                let to = self.e.target(out, RAX);
                self.e.gpr_to(to, self.input(node, 0));
                if node.op == NEG_I {
                    self.e.asm.neg(to)
                } else {
                    self.e.asm.not(to)
                }
                self.e.put(out, to);
            }
            SHL_I | SHR_I => self.shift(node, out),
            SAR_I => {
                let by = self.input(node, 1);
                if !matches!(by, Place::Const(_)) {
                    self.e.gpr_to(RCX, by);
                }
                self.e.gpr_to(RAX, self.input(node, 0));
                match by {
                    Place::Const(by) => self.e.asm.shift_imm(Shift::Arithmetic, RAX, by as u8 & 63),
                    _ => self.e.asm.shift(Shift::Arithmetic, RAX),
                }
                self.e.put(out, RAX);
            }
            ABS_I => {
                self.e.gpr_to(RAX, self.input(node, 0));
                self.e.asm.mov(RCX, RAX);
                self.e.asm.neg(RCX);
                self.e.asm.cmov(Cond::GreaterEqual, RAX, RCX);
                self.e.put(out, RAX);
            }
            MIN_I | MAX_I => {
                self.e.gpr_to(RAX, self.input(node, 0));
                let y = self.e.gpr(self.input(node, 1), RCX);
                self.e.asm.alu(Alu::Cmp, RAX, y);
                self.e.asm.cmov(
                    if node.op == MIN_I {
                        Cond::Greater
                    } else {
                        Cond::Less
                    },
                    RAX,
                    y,
                );
                self.e.put(out, RAX);
            }
            EQ_I | SAME | LT_I | LE_I | LT_U => {
                self.e.compare(self.input(node, 0), self.input(node, 1));
                self.put_condition(int_condition(node.op), out);
            }
            SELECT_I => {
                self.e.gpr_to(RAX, self.input(node, 2));
                let y = self.e.gpr(self.input(node, 1), RCX);
                let b = self.e.gpr(self.input(node, 0), RDX);
                self.e.asm.test(b, b);
                self.e.asm.cmov(Cond::NotEqual, RAX, y);
                self.e.put(out, RAX);
            }
            GUARD_NOT_ZERO => {
                self.compare_zero(self.input(node, 0));
                self.leave_if(Cond::Equal, node.exit);
            }
            _ => unreachable!("the others are not about integers"),
        }
    }

    /// Node `i`, which is about floats.
    pub fn floats(&mut self, i: usize, node: &Node, out: Place) -> Result<(), CompileError> {
        use MicroOp::*;
        let exit = node.exit;
        match node.op {
            ADD_F => self.float_op(Sse::Add, i, node, out, true),
            SUB_F => self.float_op(Sse::Sub, i, node, out, false),
            MUL_F => self.float_op(Sse::Mul, i, node, out, true),
            DIV_F => self.float_op(Sse::Div, i, node, out, false),
            IDIV_F if std::is_x86_feature_detected!("sse4.1") => {
                self.e.xmm_to(XMM_SCRATCH, self.input(node, 0));
                let y = self.e.float_operand_of(self.input(node, 1));
                self.e.asm.sse(Sse::Div, XMM_SCRATCH, y);
                let to = self.e.target_xmm(out);
                self.e.asm.round(to, XMM_SCRATCH, 1);
                self.e.put_xmm(out, to);
            }
            POW_F if self.input(node, 1) == Place::Const(2.0f64.to_bits()) => {
                self.e.xmm_to(XMM_SCRATCH, self.input(node, 0));
                self.e.asm.sse(Sse::Mul, XMM_SCRATCH, XMM_SCRATCH);
                self.e.put_xmm(out, XMM_SCRATCH);
            }
            MOD_F if std::is_x86_feature_detected!("sse4.1") => self.float_modulo(i, node, out)?,
            FLOOR_F | CEIL_F if std::is_x86_feature_detected!("sse4.1") => {
                let to = self.e.target_xmm(out);
                let from = self.e.float_operand(self.input(node, 0));
                self.e
                    .asm
                    .round(to, from, if node.op == FLOOR_F { 1 } else { 2 });
                self.e.put_xmm(out, to);
            }
            IDIV_F | MOD_F | POW_F | FLOOR_F | CEIL_F | CALL_F | CALL_FF => {
                let call = self.float_call(i, node)?;
                self.call_float(&call);
            }
            RANDOM_F => {
                self.call_for_word(i, helpers::random_float as *const () as usize, &[], out)
            }
            RANDOM_I => {
                let bounds = [self.input(node, 0), self.input(node, 1)];
                self.call_for_word(
                    i,
                    helpers::random_between as *const () as usize,
                    &bounds,
                    out,
                );
            }
            NEG_F | ABS_F => {
                let to = self.e.target_xmm(out);
                self.e.xmm_to(to, self.input(node, 0));
                let mask = self.e.asm.literal(if node.op == NEG_F {
                    1 << 63
                } else {
                    u64::MAX >> 1
                });
                match node.op {
                    NEG_F => self.e.asm.xor_float(to, mask),
                    _ => self.e.asm.and_float(to, mask),
                }
                self.e.put_xmm(out, to);
            }
            SQRT_F => {
                let to = self.e.target_xmm(out);
                let from = self.e.float_operand(self.input(node, 0));
                self.e.asm.sse(Sse::Sqrt, to, from);
                self.e.put_xmm(out, to);
            }
            MIN_F | MAX_F => {
                self.e.xmm_to(XMM_SCRATCH, self.input(node, 1));
                let x = self.e.float_operand_of(self.input(node, 0));
                self.e.asm.sse(
                    if node.op == MIN_F { Sse::Min } else { Sse::Max },
                    XMM_SCRATCH,
                    x,
                );
                self.e.put_xmm(out, XMM_SCRATCH);
            }
            EQ_F => {
                self.compare_floats(self.input(node, 0), self.input(node, 1));
                // Equal, and not unordered.
                self.e.asm.set(Cond::Parity, RCX);
                self.e.asm.set(Cond::Equal, RAX);
                self.e.asm.not(RCX);
                self.e.asm.alu32(Alu::And, RAX, RCX);
                self.e.put(out, RAX);
            }
            LT_F | LE_F => {
                self.compare_floats(self.input(node, 1), self.input(node, 0));
                self.put_condition(
                    if node.op == LT_F {
                        Cond::Above
                    } else {
                        Cond::AboveEqual
                    },
                    out,
                );
            }
            SELECT_F => {
                let done = self.e.asm.label();
                self.compare_zero(self.input(node, 0));
                self.e.xmm_keeping_flags(XMM_SCRATCH, self.input(node, 1));
                self.e.asm.jump_if(Cond::NotEqual, done);
                self.e.xmm_keeping_flags(XMM_SCRATCH, self.input(node, 2));
                self.e.asm.bind(done);
                self.e.put_xmm(out, XMM_SCRATCH);
            }
            INT_TO_FLOAT => self.int_to_float(self.input(node, 0), out),
            EXACT_FLOAT => {
                let x = self.input(node, 0);
                self.e.gpr_to(RAX, x);
                self.e.asm.mov_imm(RCX, 1 << 53);
                self.e.asm.alu(Alu::Add, RAX, RCX);
                self.e.asm.shift_imm(Shift::Right, RAX, 54);
                self.leave_if(Cond::NotEqual, node.exit);
                self.int_to_float(x, out);
            }
            FLOAT_TO_INT => {
                let x = self.e.xmm(self.input(node, 0), XMM_SCRATCH);
                self.e.asm.int_of_float(RAX, x);
                // The one number that does not fit converts to one that is not equal.
                let kept = x == XMM_SCRATCH;
                if kept {
                    self.e.asm.bits_of_float(RCX, x);
                }
                self.e.asm.zero_float(XMM_SCRATCH);
                self.e.asm.float_of_int(XMM_SCRATCH, RAX);
                if kept {
                    self.e.asm.bits_of_float(RDX, XMM_SCRATCH);
                    // Only the zeros are equal and have different bits.
                    let (different, back) = self.detour(move |l, back| {
                        l.e.asm.alu(Alu::Or, RDX, RCX);
                        l.e.asm.alu(Alu::Add, RDX, RDX);
                        l.leave_if(Cond::NotEqual, exit);
                        l.e.asm.jump(back);
                    });
                    self.e.asm.alu(Alu::Cmp, RDX, RCX);
                    self.e.asm.jump_if(Cond::NotEqual, different);
                    self.e.asm.bind(back);
                } else {
                    self.e.asm.compare_floats(XMM_SCRATCH, x);
                    self.leave_if(Cond::NotEqual, exit);
                    self.leave_if(Cond::Parity, exit);
                }
                self.e.put(out, RAX);
            }
            FOR_GOES_ON => {
                let [no, done] = [self.e.asm.label(), self.e.asm.label()];
                self.goes_on(node, no);
                self.e.asm.mov_imm(RAX, 1);
                self.e.asm.jump(done);
                self.e.asm.bind(no);
                self.e.asm.mov_imm(RAX, 0);
                self.e.asm.bind(done);
                self.e.put(out, RAX);
            }
            _ => unreachable!("the others are not about floats"),
        }
        Ok(())
    }

    fn add(&mut self, node: &Node, out: Place) {
        let (x, y) = (self.input(node, 0), self.input(node, 1));
        let (x, y) = if matches!(x, Place::Const(_)) {
            (y, x)
        } else {
            (x, y)
        };
        if let (Place::Gpr(a), Place::Gpr(to), Some(imm)) = (x, out, constant(y))
            && a != to
        {
            return self.e.asm.lea(Gpr(to), at(Gpr(a), imm));
        }
        if let (Place::Gpr(a), Place::Gpr(b), Place::Gpr(to)) = (x, y, out)
            && a != to
            && b != to
        {
            return self.e.asm.lea(
                Gpr(to),
                Mem::Indexed {
                    base: Gpr(a),
                    index: Gpr(b),
                    scale: 1,
                    disp: 0,
                },
            );
        }
        self.commutative(Alu::Add, node, out);
    }

    fn commutative(&mut self, op: Alu, node: &Node, out: Place) {
        let (mut x, mut y) = (self.input(node, 0), self.input(node, 1));
        if y == out || matches!(x, Place::Const(_)) {
            std::mem::swap(&mut x, &mut y);
        }
        // Both may be there, or neither.
        let to = if y == out {
            RAX
        } else {
            self.e.target(out, RAX)
        };
        self.e.gpr_to(to, x);
        self.e.alu(op, to, y, RCX);
        self.e.put(out, to);
    }

    fn subtract(&mut self, node: &Node, out: Place) {
        let (x, y) = (self.input(node, 0), self.input(node, 1));
        if let (Place::Gpr(a), Place::Gpr(to), Some(imm)) = (x, out, constant(y))
            && a != to
            && let Some(disp) = imm.checked_neg()
        {
            return self.e.asm.lea(Gpr(to), at(Gpr(a), disp));
        }
        let to = if y == out {
            RAX
        } else {
            self.e.target(out, RAX)
        };
        self.e.gpr_to(to, x);
        self.e.alu(Alu::Sub, to, y, RCX);
        self.e.put(out, to);
    }

    fn multiply(&mut self, node: &Node, out: Place) {
        let (mut x, mut y) = (self.input(node, 0), self.input(node, 1));
        if y == out || matches!(x, Place::Const(_)) {
            std::mem::swap(&mut x, &mut y);
        }
        if let Some(imm) = constant(y) {
            let to = self.e.target(out, RAX);
            let from = self.e.operand(x, RAX);
            self.e.asm.imul_imm(to, from, imm);
            return self.e.put(out, to);
        }
        let to = if y == out {
            RAX
        } else {
            self.e.target(out, RAX)
        };
        self.e.gpr_to(to, x);
        let y = self.e.operand(y, RCX);
        self.e.asm.imul(to, y);
        self.e.put(out, to);
    }

    /// Division rounded down, or its rest.
    fn divide(&mut self, node: &Node, out: Place) {
        let modulo = node.op == MicroOp::MOD_I;
        let (x, y) = (self.input(node, 0), self.input(node, 1));
        if let Place::Const(by) = y
            && by as i64 > 0
        {
            return self.divide_by(node, by, out);
        }
        self.e.gpr_to(RAX, x);
        self.e.gpr_to(RCX, y);
        let done = self.e.asm.label();
        if !matches!(y, Place::Const(by) if by as i64 != -1) {
            // The division of the least integer by this one would trap.
            let (minus_one, _) = self.detour(move |l, _| {
                if modulo {
                    l.e.asm.mov_imm(RAX, 0)
                } else {
                    l.e.asm.neg(RAX)
                }
                l.e.asm.jump(done);
            });
            self.e.asm.alu_imm(Alu::Cmp, RCX, -1);
            self.e.asm.jump_if(Cond::Equal, minus_one);
        }
        // Numbers that are not negative and fit into half a register are divided several times as fast.
        let (wide, narrow_done) = (self.e.asm.label(), self.e.asm.label());
        self.e.asm.mov(RDX, RAX);
        self.e.asm.alu(Alu::Or, RDX, RCX);
        self.e.asm.shift_imm(Shift::Right, RDX, 32);
        self.e.asm.jump_if(Cond::NotEqual, wide);
        self.e.asm.div32(RCX);
        if modulo {
            self.e.asm.mov(RAX, RDX);
        }
        self.e.asm.jump(narrow_done);
        self.e.asm.bind(wide);
        self.e.asm.cqo();
        self.e.asm.idiv(RCX);
        // Division truncates: if it is inexact and the signs differ, the quotient is one too high.
        let exact = self.e.asm.label();
        self.e.asm.test(RDX, RDX);
        self.e.asm.jump_if(Cond::Equal, exact);
        if modulo {
            self.e.asm.mov(RAX, RDX);
            self.e.asm.alu(Alu::Xor, RAX, RCX);
            self.e.asm.jump_if(Cond::NotSign, exact);
            self.e.asm.alu(Alu::Add, RDX, RCX);
        } else {
            self.e.asm.alu(Alu::Xor, RDX, RCX);
            self.e.asm.jump_if(Cond::NotSign, exact);
            self.e.asm.alu_imm(Alu::Sub, RAX, 1);
        }
        self.e.asm.bind(exact);
        if modulo {
            self.e.asm.mov(RAX, RDX);
        }
        self.e.asm.bind(narrow_done);
        self.e.asm.bind(done);
        self.e.put(out, RAX);
    }

    /// The same by a positive constant: by a shift, or by a multiplication with the reciprocal as a fraction of 2^63 and more. Such a
    /// product is exact for numbers below 2^63 (Granlund and Montgomery 1994). A negative number is divided as its complement: that
    /// is no negative one, and the quotient's complement is rounded down.
    fn divide_by(&mut self, node: &Node, by: u64, out: Place) {
        let modulo = node.op == MicroOp::MOD_I;
        let x = self.input(node, 0);
        let to = self.e.target(out, RAX);
        if by.is_power_of_two() {
            self.e.gpr_to(to, x);
            if modulo {
                self.e.alu(Alu::And, to, Place::Const(by - 1), RCX);
            } else {
                self.e
                    .asm
                    .shift_imm(Shift::Arithmetic, to, by.trailing_zeros() as u8);
            }
            return self.e.put(out, to);
        }
        let log = by.ilog2() + 1;
        let reciprocal = (1u128 << (63 + log)).div_ceil(by as u128) as u64;
        if is_natural(self.e.plan.sb, node.inputs[0]) {
            self.e.asm.mov_imm(RAX, reciprocal);
            let x = self.e.operand(x, RDX);
            self.e.asm.mul(x);
            self.e.asm.shift_imm(Shift::Right, RDX, log as u8 - 1);
        } else {
            self.e.gpr_to(RCX, x);
            self.e.asm.mov(RDX, RCX);
            self.e.asm.shift_imm(Shift::Arithmetic, RCX, 63);
            self.e.asm.alu(Alu::Xor, RDX, RCX);
            self.e.asm.mov_imm(RAX, reciprocal);
            self.e.asm.mul(RDX);
            self.e.asm.shift_imm(Shift::Right, RDX, log as u8 - 1);
            self.e.asm.alu(Alu::Xor, RDX, RCX);
        }
        if !modulo {
            return self.e.put(out, RDX);
        }
        match immediate(by) {
            Some(by) => self.e.asm.imul_imm(RDX, RDX, by),
            None => {
                self.e.asm.mov_imm(RCX, by);
                self.e.asm.imul(RDX, RCX);
            }
        }
        self.e.gpr_to(to, x);
        self.e.asm.alu(Alu::Sub, to, RDX);
        self.e.put(out, to);
    }

    fn shift(&mut self, node: &Node, out: Place) {
        let left = node.op == MicroOp::SHL_I;
        let (x, by) = (self.input(node, 0), self.input(node, 1));
        if let Place::Const(by) = by {
            let by = by as i64;
            let (by, left) = if by < 0 {
                (by.checked_neg().unwrap_or(64), !left)
            } else {
                (by, left)
            };
            if by > 63 {
                return self.e.move_to(out, Place::Const(0));
            }
            let to = self.e.target(out, RAX);
            self.e.gpr_to(to, x);
            self.e
                .asm
                .shift_imm(if left { Shift::Left } else { Shift::Right }, to, by as u8);
            return self.e.put(out, to);
        }
        self.e.gpr_to(RCX, by);
        self.e.gpr_to(RAX, x);
        let (there, back) = if left {
            (Shift::Left, Shift::Right)
        } else {
            (Shift::Right, Shift::Left)
        };
        let (other, done) = self.detour(move |l, done| {
            let zero = l.e.asm.label();
            l.e.asm.neg(RCX);
            l.e.asm.alu_imm(Alu::Cmp, RCX, 63);
            l.e.asm.jump_if(Cond::Above, zero);
            l.e.asm.shift(back, RAX);
            l.e.asm.jump(done);
            l.e.asm.bind(zero);
            l.e.asm.mov_imm(RAX, 0);
            l.e.asm.jump(done);
        });
        self.e.asm.alu_imm(Alu::Cmp, RCX, 63);
        self.e.asm.jump_if(Cond::Above, other);
        self.e.asm.shift(there, RAX);
        self.e.asm.bind(done);
        self.e.put(out, RAX);
    }

    fn float_op(&mut self, op: Sse, i: usize, node: &Node, out: Place, commutative: bool) {
        let (mut x, mut y) = (self.input(node, 0), self.input(node, 1));
        if let Some(load) = self.e.plan.with[i] {
            let load = load as usize;
            let to = self.e.target_xmm(out);
            self.e.xmm_to(to, x);
            let y = self.element_in_memory(load, &self.e.plan.sb.nodes[load]);
            self.e.asm.sse(op, to, y);
            return self.e.put_xmm(out, to);
        }
        if commutative && (y == out || matches!(x, Place::Const(_))) {
            std::mem::swap(&mut x, &mut y);
        }
        let to = if y == out {
            XMM_SCRATCH
        } else {
            self.e.target_xmm(out)
        };
        self.e.xmm_to(to, x);
        let y = self.e.float_operand_of(y);
        self.e.asm.sse(op, to, y);
        self.e.put_xmm(out, to);
    }

    fn float_call(&self, i: usize, node: &Node) -> Result<FloatCall, CompileError> {
        let function = helpers::float_function(node).ok_or(CompileError::MicroOp(node.op))?;
        Ok(FloatCall {
            function,
            inputs: node.inputs().iter().map(|&r| self.e.place(r, 0)).collect(),
            out: self.e.place(Ref(i as u32), 0),
            live: self.e.allocation.live_through(i).collect(),
        })
    }

    fn call_float(&mut self, call: &FloatCall) {
        self.e.save(&call.live, false);
        let arguments = (0..).map(Place::Xmm).zip(call.inputs.iter().copied());
        self.e.moves(arguments.collect());
        self.e.asm.mov_imm(RAX, call.function as u64);
        self.e.asm.call(RAX);
        self.e.asm.movsd(XMM_SCRATCH, Xmm(0));
        self.e.restore(&call.live);
        self.e.put_xmm(call.out, XMM_SCRATCH);
    }

    /// The rest of a division: in place if the divisor is a positive integer and both operands are below 2^52. Then the quotient,
    /// rounded down, has an exact product with the divisor. If rounding has carried it up to the next integer, the rest is
    /// negative, and becomes exact again when the divisor is added.
    fn float_modulo(&mut self, i: usize, node: &Node, out: Place) -> Result<(), CompileError> {
        let (x, y) = (self.input(node, 0), self.input(node, 1));
        let constant = match y {
            Place::Const(bits) => Some(f64::from_bits(bits)),
            _ => None,
        };
        let fits = |y: f64| (1.0..BOUND).contains(&y) && y.trunc() == y;
        if constant.is_some_and(|y| !fits(y)) {
            let call = self.float_call(i, node)?;
            self.call_float(&call);
            return Ok(());
        }
        let s = XMM_SCRATCH;
        let call = self.float_call(i, node)?;
        let (otherwise, done) = self.detour(move |l, done| {
            l.call_float(&call);
            l.e.asm.jump(done);
        });
        if constant.is_none() {
            let by = self.e.xmm(y, s);
            self.e.asm.int_of_float(RAX, by);
            if by == s {
                self.e.asm.bits_of_float(RCX, s);
                self.e.asm.float_of_int(s, RAX);
                self.e.asm.bits_of_float(RDX, s);
                self.e.asm.alu(Alu::Cmp, RDX, RCX);
            } else {
                self.e.asm.zero_float(s);
                self.e.asm.float_of_int(s, RAX);
                self.e.asm.compare_floats(s, by);
                self.e.asm.jump_if(Cond::Parity, otherwise);
            }
            self.e.asm.jump_if(Cond::NotEqual, otherwise);
            self.e.asm.alu_imm(Alu::Sub, RAX, 1);
            self.e.asm.shift_imm(Shift::Right, RAX, BOUND_LOG);
            self.e.asm.jump_if(Cond::NotEqual, otherwise);
        }
        // The exponent, biased.
        self.e.gpr_to(RAX, x);
        self.e.asm.alu(Alu::Add, RAX, RAX);
        self.e.asm.shift_imm(Shift::Right, RAX, 53);
        self.e.asm.alu32_imm(Alu::Cmp, RAX, 1023 + BOUND_LOG as i32);
        self.e.asm.jump_if(Cond::AboveEqual, otherwise);
        self.e.xmm_to(s, x);
        match constant {
            Some(by) if by.to_bits().trailing_zeros() >= 52 => {
                let reciprocal = self.e.asm.literal((1.0 / by).to_bits());
                self.e.asm.sse(Sse::Mul, s, reciprocal);
            }
            _ => {
                let by = self.e.float_operand_of(y);
                self.e.asm.sse(Sse::Div, s, by);
            }
        }
        self.e.asm.round(s, s, 1);
        let by = self.e.float_operand_of(y);
        self.e.asm.sse(Sse::Mul, s, by);
        // x - s, as -s + x.
        let sign = self.e.asm.literal(1 << 63);
        self.e.asm.xor_float(s, sign);
        let operand = self.e.float_operand_of(x);
        self.e.asm.sse(Sse::Add, s, operand);
        let (not_positive, positive) = self.detour(move |l, positive| {
            let negative = l.e.asm.label();
            l.e.asm.jump_if(Cond::NotEqual, negative);
            // A zero has the sign of x.
            l.e.gpr_to(RAX, x);
            l.e.asm.shift_imm(Shift::Right, RAX, 63);
            l.e.asm.shift_imm(Shift::Left, RAX, 63);
            l.e.asm.float_of_bits(s, RAX);
            l.e.asm.jump(positive);
            l.e.asm.bind(negative);
            let by = l.e.float_operand_of(y);
            l.e.asm.sse(Sse::Add, s, by);
            l.e.asm.jump(positive);
        });
        self.e.asm.bits_of_float(RAX, s);
        self.e.asm.test(RAX, RAX);
        self.e.asm.jump_if(Cond::LessEqual, not_positive);
        self.e.asm.bind(positive);
        self.e.put_xmm(out, s);
        self.e.asm.bind(done);
        Ok(())
    }

    pub fn int_to_float(&mut self, from: Place, out: Place) {
        let to = self.e.target_xmm(out);
        let from = self.e.operand(from, RAX);
        // The rest of the register would be waited for.
        self.e.asm.zero_float(to);
        self.e.asm.float_of_int(to, from);
        self.e.put_xmm(out, to);
    }

    pub fn compare_floats(&mut self, x: Place, y: Place) {
        let x = self.e.xmm(x, XMM_SCRATCH);
        let y = self.e.float_operand_of(y);
        self.e.asm.compare_floats(x, y);
    }

    /// Jumps to `ends` unless a loop over floats goes on.
    pub fn goes_on(&mut self, test: &Node, ends: Label) {
        let (next, limit, step) = (
            self.input(test, 0),
            self.input(test, 1),
            self.input(test, 2),
        );
        match step {
            Place::Const(bits) if f64::from_bits(bits) > 0.0 => {
                self.compare_floats(limit, next);
                self.e.asm.jump_if(Cond::Below, ends);
            }
            Place::Const(_) => {
                self.compare_floats(next, limit);
                self.e.asm.jump_if(Cond::Below, ends);
            }
            step => {
                let (down, on) = self.detour(move |l, on| {
                    l.compare_floats(next, limit);
                    l.e.asm.jump_if(Cond::Below, ends);
                    l.e.asm.jump(on);
                });
                self.compare_floats(step, Place::Const(0));
                self.e.asm.jump_if(Cond::BelowEqual, down);
                self.compare_floats(limit, next);
                self.e.asm.jump_if(Cond::Below, ends);
                self.e.asm.bind(on);
            }
        }
    }
}

/// A constant as an immediate operand, if the place is one that fits.
fn constant(place: Place) -> Option<i32> {
    match place {
        Place::Const(bits) => immediate(bits),
        _ => None,
    }
}

/// Whether an integer is certainly not negative.
fn is_natural(sb: &Superblock, r: Ref) -> bool {
    use MicroOp::*;
    let node = sb.node(r);
    let constant = |k: usize| match sb.node(node.inputs[k]) {
        Node {
            op: CONST_INT,
            operands: [i, ..],
            ..
        } => Some(*i as i64),
        _ => None,
    };
    let positive = |k: usize| constant(k).is_some_and(|i| i > 0);
    match node.op {
        CONST_INT => node.operands[0] as i64 >= 0,
        LOAD_BYTE | LENGTH_S | LENGTH_T | EXTRA_COUNT => true,
        AND_I => [0, 1]
            .into_iter()
            .any(|k| constant(k).is_some_and(|i| i >= 0)),
        MOD_I => positive(1),
        SHR_I => constant(1).is_some_and(|by| (1..64).contains(&by)),
        IDIV_I => positive(1) && is_natural(sb, node.inputs[0]),
        _ => false,
    }
}

/// Floats below this whose rests are computed in place.
const BOUND: f64 = (1u64 << BOUND_LOG) as f64;
const BOUND_LOG: u8 = 52;

/// The condition that a comparison of integers, or of identities, is about.
pub fn int_condition(op: MicroOp) -> Cond {
    match op {
        MicroOp::LT_I => Cond::Less,
        MicroOp::LE_I => Cond::LessEqual,
        MicroOp::LT_U => Cond::Below,
        _ => Cond::Equal,
    }
}
