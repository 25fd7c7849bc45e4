//! What each instruction is made of: its expansion into micro-ops.
//!
//! The one definition of what instructions mean beyond their descriptions: projection copies these steps into
//! superblocks, with the fields, the caches and the constants of the instruction in the place of the operands.
//!
//! In the table, `[a]` is register `a`, `{d}` the number in field `d`, `{shape}` what the instruction's cache or the
//! recording says, `{next}` the next instruction. A name stands for the value that an earlier step of the same
//! expansion has made. An expansion begins at the instruction; a guard that fails goes back there, and tier 1
//! executes the instruction, in whichever form it has by then.
//!
//! Behind `|` come *cases*: what the instruction does for operands of particular types, as long as the guards of the
//! case hold. They are for instructions that have no specialised form for these types, or have lost it. Projection
//! takes the first one whose guards agree with what it knows of the operands, otherwise the expansion itself.

use std::fmt;

use crate::names::named;
use crate::{MicroOp, Op};

/// A field of an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Field {
    A,
    B,
    C,
    D,
    /// `b` and `c` together; signed where the instruction's format says so.
    BC,
    /// No field: the number zero.
    Zero,
}

named! {
    /// What the operation of a generic arithmetic or comparison micro-op is.
    pub enum Operation {
        Add,
        Sub,
        Mul,
        Div,
        Mod,
        Pow,
        IDiv,
        BAnd,
        BOr,
        BXor,
        Shl,
        Shr,
        Unm,
        BNot,
        Eq,
        Lt,
        Le,
    }
}

impl Operation {
    /// Whether it compares; the others are arithmetic.
    pub const fn is_comparison(self) -> bool {
        matches!(self, Operation::Eq | Operation::Lt | Operation::Le)
    }

    /// The operation that an immediate operand names.
    pub fn from_operand(operand: u64) -> Option<Operation> {
        Operation::ALL.get(usize::try_from(operand).ok()?).copied()
    }
}

/// What an instruction has learned, or its recording has seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Feedback {
    /// The cached shape.
    Shape,
    /// The shape that a table gets by the store.
    NextShape,
    /// The cached slot.
    Slot,
    /// The table in which the key is found.
    Holder,
    /// The holder epoch at which it was found.
    Epoch,
    /// Whether a nil in the slot settles the matter.
    NilIsFinal,
    /// The prototype of the callee.
    Proto,
}

/// An immediate operand, in terms of the instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operand {
    /// The register that a field names, or one some places above it.
    Register(Field, u8),
    /// The number in a field, plus some.
    Number(Field, u8),
    /// This number.
    Literal(u8),
    /// The instruction after this one.
    Next,
    Operation(Operation),
    Feedback(Feedback),
}

/// One micro-op of an expansion.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub op: MicroOp,
    pub operands: &'static [Operand],
    /// The steps that make the inputs, by their positions in the expansion.
    pub inputs: &'static [u8],
    /// The name of the value that the step makes; empty if it makes none.
    pub name: &'static str,
}

/// The position of the step that makes the value `name`. Runs at compile time, where it is an error if there is none.
const fn step_of(names: &[&str], name: &str) -> u8 {
    const fn equal(a: &[u8], b: &[u8]) -> bool {
        let mut i = 0;
        while i < a.len() && i < b.len() && a[i] == b[i] {
            i += 1;
        }
        a.len() == b.len() && i == a.len()
    }
    let mut i = 0;
    while i < names.len() {
        if equal(names[i].as_bytes(), name.as_bytes()) {
            return i as u8;
        }
        i += 1;
    }
    panic!("a value is used that no step makes")
}

/// Checks, at compile time, that values are made once and before they are used, and that each step has the operands,
/// inputs and output that its micro-op declares, the inputs of the right types.
const fn checked(names: &[&str], steps: &'static [Step]) -> &'static [Step] {
    let mut i = 0;
    while i < steps.len() {
        let step = &steps[i];
        let declared = step.op.declaration();
        assert!(
            step.operands.len() == declared.operands.len(),
            "wrong number of operands"
        );
        assert!(
            step.inputs.len() == declared.inputs.len(),
            "wrong number of inputs"
        );
        assert!(
            step.name.is_empty() == declared.output.is_none(),
            "a value without name, or a name without value"
        );
        assert!(
            step.name.is_empty() || step_of(names, step.name) == i as u8,
            "a value is made twice"
        );
        let mut j = 0;
        while j < step.inputs.len() {
            let source = step.inputs[j] as usize;
            assert!(source < i, "a value is used before it is made");
            match steps[source].op.declaration().output {
                Some(output) => assert!(
                    declared.inputs[j].accepts(output),
                    "an input of the wrong type"
                ),
                None => panic!("the step makes no value"),
            }
            j += 1;
        }
        i += 1;
    }
    steps
}

macro_rules! field {
    (a) => {
        Field::A
    };
    (b) => {
        Field::B
    };
    (c) => {
        Field::C
    };
    (d) => {
        Field::D
    };
    (bc) => {
        Field::BC
    };
    (0) => {
        Field::Zero
    };
}

macro_rules! operand {
    ([$field:tt]) => {
        Operand::Register(field!($field), 0)
    };
    ([$field:tt + $n:literal]) => {
        Operand::Register(field!($field), $n)
    };
    ({a}) => {
        Operand::Number(Field::A, 0)
    };
    ({b}) => {
        Operand::Number(Field::B, 0)
    };
    ({c}) => {
        Operand::Number(Field::C, 0)
    };
    ({d}) => {
        Operand::Number(Field::D, 0)
    };
    ({bc}) => {
        Operand::Number(Field::BC, 0)
    };
    ({$field:tt + $n:literal}) => {
        Operand::Number(field!($field), $n)
    };
    ({next}) => {
        Operand::Next
    };
    ({shape}) => {
        Operand::Feedback(Feedback::Shape)
    };
    ({next_shape}) => {
        Operand::Feedback(Feedback::NextShape)
    };
    ({slot}) => {
        Operand::Feedback(Feedback::Slot)
    };
    ({holder}) => {
        Operand::Feedback(Feedback::Holder)
    };
    ({epoch}) => {
        Operand::Feedback(Feedback::Epoch)
    };
    ({nil_is_final}) => {
        Operand::Feedback(Feedback::NilIsFinal)
    };
    ({proto}) => {
        Operand::Feedback(Feedback::Proto)
    };
    ({$operation:ident}) => {
        Operand::Operation(Operation::$operation)
    };
    ({$n:literal}) => {
        Operand::Literal($n)
    };
}

// The steps of one expansion: gathers them one by one, then makes the array.
macro_rules! steps {
    (@gathered $({ ($($name:ident)?) $op:ident [$($operand:tt)*] [$($input:ident)*] })*) => {{
        const NAMES: &[&str] = &[$(concat!($(stringify!($name))?)),*];
        const STEPS: &[Step] = checked(NAMES, &[$(Step {
            op: MicroOp::$op,
            operands: &[$(operand!($operand)),*],
            inputs: &[$(step_of(NAMES, stringify!($input))),*],
            name: concat!($(stringify!($name))?),
        }),*]);
        STEPS
    }};
    (@gathered $($done:tt)*) => { compile_error!("not a step") };
    ([$($done:tt)*]) => { steps!(@gathered $($done)*) };
    ([$($done:tt)*] $name:ident = $op:ident $([$($r:tt)+])* $({$($n:tt)+})* $($input:ident)*; $($rest:tt)*) => {
        steps!([$($done)* { ($name) $op [$([$($r)+])* $({$($n)+})*] [$($input)*] }] $($rest)*)
    };
    ([$($done:tt)*] $op:ident $([$($r:tt)+])* $({$($n:tt)+})* $($input:ident)*; $($rest:tt)*) => {
        steps!([$($done)* { () $op [$([$($r)+])* $({$($n)+})*] [$($input)*] }] $($rest)*)
    };
}

// The forms of arithmetic and comparison: `(form ...)` in the table is an expansion made by the macro `form`. The
// second operand is `[c]`, a register, or `{d}`, a constant.

/// `R[a] = R[b] op y`, whatever the operands are.
macro_rules! general {
    ($operation:ident [c]) => { steps!([] x = LOAD [b]; y = LOAD [c]; ARITH [a] {$operation} x y;) };
    ($operation:ident {d}) => { steps!([] x = LOAD [b]; y = CONST {d}; ARITH [a] {$operation} x y;) };
}

/// `R[a] = R[b] op y` for operands that pass the guards.
macro_rules! guarded {
    ($op:ident $first:ident $second:ident [c]) => {
        steps!([] x = LOAD [b]; i = $first x; y = LOAD [c]; j = $second y; z = $op i j; STORE [a] z;)
    };
    ($op:ident $first:ident $second:ident {d}) => {
        steps!([] x = LOAD [b]; i = $first x; y = CONST {d}; j = $second y; z = $op i j; STORE [a] z;)
    };
}

macro_rules! ints {
    ($op:ident $y:tt) => { guarded!($op GUARD_INT GUARD_INT $y) };
}

macro_rules! floats {
    ($op:ident $y:tt) => { guarded!($op GUARD_FLOAT GUARD_FLOAT $y) };
}

macro_rules! float_number {
    ($op:ident $y:tt) => { guarded!($op GUARD_FLOAT GUARD_NUMBER $y) };
}

macro_rules! number_float {
    ($op:ident $y:tt) => { guarded!($op GUARD_NUMBER GUARD_FLOAT $y) };
}

macro_rules! numbers {
    ($op:ident $y:tt) => { guarded!($op GUARD_NUMBER GUARD_NUMBER $y) };
}

/// `R[a] = R[b] op y` for integers, y not zero.
macro_rules! divide {
    ($op:ident [c]) => {
        steps!([]
            x = LOAD [b]; i = GUARD_INT x; y = LOAD [c]; j = GUARD_INT y; GUARD_NOT_ZERO j;
            z = $op i j; STORE [a] z;
        )
    };
    ($op:ident {d}) => {
        steps!([]
            x = LOAD [b]; i = GUARD_INT x; y = CONST {d}; j = GUARD_INT y; GUARD_NOT_ZERO j;
            z = $op i j; STORE [a] z;
        )
    };
}

/// A jump if `R[a] op R[b]`, or unless.
macro_rules! compare {
    ($guard:ident $op:ident $jump:ident) => {
        steps!([] x = LOAD [a]; i = $guard x; y = LOAD [b]; j = $guard y; c = $op i j; $jump {d} c;)
    };
}

/// The same of an integer and a float, compared as floats.
macro_rules! compare_mixed {
    (int $op:ident $jump:ident) => {
        steps!([]
            x = LOAD [a]; i = GUARD_INT x; y = LOAD [b]; g = GUARD_FLOAT y; f = EXACT_FLOAT i;
            c = $op f g; $jump {d} c;
        )
    };
    (float $op:ident $jump:ident) => {
        steps!([]
            x = LOAD [a]; f = GUARD_FLOAT x; y = LOAD [b]; j = GUARD_INT y; g = EXACT_FLOAT j;
            c = $op f g; $jump {d} c;
        )
    };
}

macro_rules! expand {
    ({ $($step:tt)* }) => { steps!([] $($step)*) };
    (($form:ident $($argument:tt)*)) => { $form!($($argument)*) };
}

macro_rules! expansions {
    ($( $op:ident $steps:tt $(| $case:tt)* )*) => {
        impl Op {
            /// What the instruction is made of.
            pub const fn expansion(self) -> &'static [Step] {
                match self { $( Op::$op => expand!($steps) ),* }
            }

            /// What it may be replaced by for operands of particular types, the cheapest first.
            pub const fn cases(self) -> &'static [&'static [Step]] {
                match self { $( Op::$op => &[$( expand!($case) ),*] ),* }
            }
        }
    };
}

expansions! {
    // Moving values.
    MOVE { x = LOAD [b]; STORE [a] x; }
    LOADI { x = CONST_INT {d}; STORE [a] x; }
    LOADK { x = CONST {d}; STORE [a] x; }
    NIL { STORE_NILS [a] {b}; }
    FALSE { x = CONST_BOOL {0}; STORE [a] x; }
    TRUE { x = CONST_BOOL {1}; STORE [a] x; }

    // Captured variables.
    CELL { x = LOAD [a]; u = NEW_CELL x; STORE [a] u; SAFEPOINT; }
    NEWCELL { u = NEW_EMPTY_CELL; STORE [a] u; SAFEPOINT; }
    GETCELL { x = LOAD [b]; u = GUARD_CELL x; v = LOAD_CELL u; STORE [a] v; }
    SETCELL { x = LOAD [a]; u = GUARD_CELL x; v = LOAD [b]; SET_CELL u v; }
    GETUP { f = CALLEE; u = LOAD_CAPTURED {b} f; v = LOAD_CELL u; STORE [a] v; }
    SETUP { f = CALLEE; u = LOAD_CAPTURED {b} f; v = LOAD [a]; SET_CELL u v; }

    // Tables.
    GETENV { f = CALLEE; u = LOAD_CAPTURED {b} f; x = LOAD_CELL u; GET_FIELD [a] {d} x; }
    SETENV { f = CALLEE; u = LOAD_CAPTURED {b} f; x = LOAD_CELL u; v = LOAD [a]; SET_FIELD {d} x v; }
    GETFIELD { x = LOAD [b]; GET_FIELD [a] {d} x; }
    SETFIELD { x = LOAD [a]; v = LOAD [b]; SET_FIELD {d} x v; }
    SETFIELDK { x = LOAD [a]; v = CONST {bc}; SET_FIELD {d} x v; }
    SELF { x = LOAD [b]; GET_METHOD [a] {d} x; }
    GETINDEX { x = LOAD [b]; k = LOAD [c]; GET_INDEX [a] x k; }
        | { x = LOAD [b]; t = GUARD_TABLE x; k = LOAD [c]; v = RAW_GET t k; GUARD_FOUND_IN t v; STORE [a] v; }
    GETINT { x = LOAD [b]; i = CONST_INT {d}; GET_INDEX [a] x i; }
        | {
            x = LOAD [b]; t = GUARD_TABLE x; i = CONST_INT {d}; GUARD_IN_ARRAY t i;
            v = LOAD_ELEMENT t i; GUARD_FOUND_IN t v; STORE [a] v;
        }
        | { x = LOAD [b]; t = GUARD_TABLE x; k = CONST_INT {d}; v = RAW_GET t k; GUARD_FOUND_IN t v; STORE [a] v; }
    SETINDEX { x = LOAD [a]; k = LOAD [b]; v = LOAD [c]; SET_INDEX x k v; }
        | { x = LOAD [a]; t = GUARD_TABLE x; GUARD_NO_METATABLE t; k = LOAD [b]; v = LOAD [c]; RAW_SET t k v; }
    SETINDEXK { x = LOAD [a]; k = LOAD [b]; v = CONST {d}; SET_INDEX x k v; }
        | { x = LOAD [a]; t = GUARD_TABLE x; GUARD_NO_METATABLE t; k = LOAD [b]; v = CONST {d}; RAW_SET t k v; }
    SETINT { x = LOAD [a]; i = CONST_INT {d}; v = LOAD [b]; SET_INDEX x i v; }
        | {
            x = LOAD [a]; t = GUARD_TABLE x; i = CONST_INT {d}; v = LOAD [b];
            GUARD_STORABLE t i v; STORE_ELEMENT t i v; BARRIER t;
        }
        | { x = LOAD [a]; t = GUARD_TABLE x; GUARD_NO_METATABLE t; i = CONST_INT {d}; v = LOAD [b]; RAW_SET t i v; }
    NEWTABLE { t = NEW_TABLE {d}; STORE [a] t; SAFEPOINT; }
    SETLIST { x = LOAD [a]; t = GUARD_TABLE x; SET_LIST [a] {b} {d} t; }

    // Arithmetic.
    ADD (general Add [c]) | (ints ADD_I [c]) | (float_number ADD_F [c]) | (number_float ADD_F [c])
    SUB (general Sub [c]) | (ints SUB_I [c]) | (float_number SUB_F [c]) | (number_float SUB_F [c])
    MUL (general Mul [c]) | (ints MUL_I [c]) | (float_number MUL_F [c]) | (number_float MUL_F [c])
    DIV (general Div [c]) | (numbers DIV_F [c])
    MOD (general Mod [c]) | (divide MOD_I [c]) | (float_number MOD_F [c]) | (number_float MOD_F [c])
    POW (general Pow [c]) | (numbers POW_F [c])
    IDIV (general IDiv [c]) | (divide IDIV_I [c]) | (float_number IDIV_F [c]) | (number_float IDIV_F [c])
    BAND (general BAnd [c]) | (ints AND_I [c])
    BOR (general BOr [c]) | (ints OR_I [c])
    BXOR (general BXor [c]) | (ints XOR_I [c])
    SHL (general Shl [c]) | (ints SHL_I [c])
    SHR (general Shr [c]) | (ints SHR_I [c])
    ADDK (general Add {d}) | (ints ADD_I {d}) | (float_number ADD_F {d}) | (number_float ADD_F {d})
    SUBK (general Sub {d}) | (ints SUB_I {d}) | (float_number SUB_F {d}) | (number_float SUB_F {d})
    MULK (general Mul {d}) | (ints MUL_I {d}) | (float_number MUL_F {d}) | (number_float MUL_F {d})
    DIVK (general Div {d}) | (numbers DIV_F {d})
    MODK (general Mod {d}) | (divide MOD_I {d}) | (float_number MOD_F {d}) | (number_float MOD_F {d})
    POWK (general Pow {d}) | (numbers POW_F {d})
    IDIVK (general IDiv {d}) | (divide IDIV_I {d}) | (float_number IDIV_F {d}) | (number_float IDIV_F {d})
    BANDK (general BAnd {d}) | (ints AND_I {d})
    BORK (general BOr {d}) | (ints OR_I {d})
    BXORK (general BXor {d}) | (ints XOR_I {d})
    SHLK (general Shl {d}) | (ints SHL_I {d})
    SHRK (general Shr {d}) | (ints SHR_I {d})
    UNM { x = LOAD [b]; ARITH [a] {Unm} x x; }
        | { x = LOAD [b]; i = GUARD_INT x; z = NEG_I i; STORE [a] z; }
        | { x = LOAD [b]; i = GUARD_FLOAT x; z = NEG_F i; STORE [a] z; }
    BNOT { x = LOAD [b]; ARITH [a] {BNot} x x; }
        | { x = LOAD [b]; i = GUARD_INT x; z = NOT_I i; STORE [a] z; }
    NOT { x = LOAD [b]; y = TRUTH x; z = NOT y; STORE [a] z; }
    LEN { x = LOAD [b]; LENGTH [a] x; }
    CONCAT { CONCAT [a] {b}; SAFEPOINT; }

    // Jumps.
    JMP { JUMP {d}; }
    LOOP { JUMP {d}; LOOP_HEAD {bc}; POLL; }
    JT { x = LOAD [a]; c = TRUTH x; JUMP_IF {d} c; }
    JF { x = LOAD [a]; c = TRUTH x; JUMP_UNLESS {d} c; }
    JTSET { x = LOAD [b]; c = TRUTH x; JUMP_UNLESS {next} c; STORE [a] x; JUMP {d}; }
    JFSET { x = LOAD [b]; c = TRUTH x; JUMP_IF {next} c; STORE [a] x; JUMP {d}; }
    JEQ { x = LOAD [a]; y = LOAD [b]; c = COMPARE {Eq} x y; JUMP_IF {d} c; }
        | { x = LOAD [a]; y = LOAD [b]; GUARD_RAW_EQ x y; c = RAW_EQ x y; JUMP_IF {d} c; }
    JNE { x = LOAD [a]; y = LOAD [b]; c = COMPARE {Eq} x y; JUMP_UNLESS {d} c; }
        | { x = LOAD [a]; y = LOAD [b]; GUARD_RAW_EQ x y; c = RAW_EQ x y; JUMP_UNLESS {d} c; }
    JEQK { x = LOAD [a]; y = CONST {bc}; c = RAW_EQ x y; JUMP_IF {d} c; }
    JNEK { x = LOAD [a]; y = CONST {bc}; c = RAW_EQ x y; JUMP_UNLESS {d} c; }
    JLT { x = LOAD [a]; y = LOAD [b]; c = COMPARE {Lt} x y; JUMP_IF {d} c; }
        | (compare GUARD_INT LT_I JUMP_IF) | (compare GUARD_FLOAT LT_F JUMP_IF)
        | (compare_mixed int LT_F JUMP_IF) | (compare_mixed float LT_F JUMP_IF)
        | (compare GUARD_STRING LT_S JUMP_IF)
    JNLT { x = LOAD [a]; y = LOAD [b]; c = COMPARE {Lt} x y; JUMP_UNLESS {d} c; }
        | (compare GUARD_INT LT_I JUMP_UNLESS) | (compare GUARD_FLOAT LT_F JUMP_UNLESS)
        | (compare_mixed int LT_F JUMP_UNLESS) | (compare_mixed float LT_F JUMP_UNLESS)
        | (compare GUARD_STRING LT_S JUMP_UNLESS)
    JLE { x = LOAD [a]; y = LOAD [b]; c = COMPARE {Le} x y; JUMP_IF {d} c; }
        | (compare GUARD_INT LE_I JUMP_IF) | (compare GUARD_FLOAT LE_F JUMP_IF)
        | (compare_mixed int LE_F JUMP_IF) | (compare_mixed float LE_F JUMP_IF)
        | (compare GUARD_STRING LE_S JUMP_IF)
    JNLE { x = LOAD [a]; y = LOAD [b]; c = COMPARE {Le} x y; JUMP_UNLESS {d} c; }
        | (compare GUARD_INT LE_I JUMP_UNLESS) | (compare GUARD_FLOAT LE_F JUMP_UNLESS)
        | (compare_mixed int LE_F JUMP_UNLESS) | (compare_mixed float LE_F JUMP_UNLESS)
        | (compare GUARD_STRING LE_S JUMP_UNLESS)
    JLTI { x = LOAD [a]; y = CONST_INT {bc}; c = COMPARE {Lt} x y; JUMP_IF {d} c; }
        | { x = LOAD [a]; i = GUARD_INT x; y = CONST_INT {bc}; c = LT_I i y; JUMP_IF {d} c; }
        | { x = LOAD [a]; f = GUARD_FLOAT x; y = CONST_INT {bc}; g = INT_TO_FLOAT y; c = LT_F f g; JUMP_IF {d} c; }
    JNLTI { x = LOAD [a]; y = CONST_INT {bc}; c = COMPARE {Lt} x y; JUMP_UNLESS {d} c; }
        | { x = LOAD [a]; i = GUARD_INT x; y = CONST_INT {bc}; c = LT_I i y; JUMP_UNLESS {d} c; }
        | { x = LOAD [a]; f = GUARD_FLOAT x; y = CONST_INT {bc}; g = INT_TO_FLOAT y; c = LT_F f g; JUMP_UNLESS {d} c; }
    JLEI { x = LOAD [a]; y = CONST_INT {bc}; c = COMPARE {Le} x y; JUMP_IF {d} c; }
        | { x = LOAD [a]; i = GUARD_INT x; y = CONST_INT {bc}; c = LE_I i y; JUMP_IF {d} c; }
        | { x = LOAD [a]; f = GUARD_FLOAT x; y = CONST_INT {bc}; g = INT_TO_FLOAT y; c = LE_F f g; JUMP_IF {d} c; }
    JNLEI { x = LOAD [a]; y = CONST_INT {bc}; c = COMPARE {Le} x y; JUMP_UNLESS {d} c; }
        | { x = LOAD [a]; i = GUARD_INT x; y = CONST_INT {bc}; c = LE_I i y; JUMP_UNLESS {d} c; }
        | { x = LOAD [a]; f = GUARD_FLOAT x; y = CONST_INT {bc}; g = INT_TO_FLOAT y; c = LE_F f g; JUMP_UNLESS {d} c; }
    JGTI { x = LOAD [a]; y = CONST_INT {bc}; c = COMPARE {Lt} y x; JUMP_IF {d} c; }
        | { x = LOAD [a]; i = GUARD_INT x; y = CONST_INT {bc}; c = LT_I y i; JUMP_IF {d} c; }
        | { x = LOAD [a]; f = GUARD_FLOAT x; y = CONST_INT {bc}; g = INT_TO_FLOAT y; c = LT_F g f; JUMP_IF {d} c; }
    JNGTI { x = LOAD [a]; y = CONST_INT {bc}; c = COMPARE {Lt} y x; JUMP_UNLESS {d} c; }
        | { x = LOAD [a]; i = GUARD_INT x; y = CONST_INT {bc}; c = LT_I y i; JUMP_UNLESS {d} c; }
        | { x = LOAD [a]; f = GUARD_FLOAT x; y = CONST_INT {bc}; g = INT_TO_FLOAT y; c = LT_F g f; JUMP_UNLESS {d} c; }
    JGEI { x = LOAD [a]; y = CONST_INT {bc}; c = COMPARE {Le} y x; JUMP_IF {d} c; }
        | { x = LOAD [a]; i = GUARD_INT x; y = CONST_INT {bc}; c = LE_I y i; JUMP_IF {d} c; }
        | { x = LOAD [a]; f = GUARD_FLOAT x; y = CONST_INT {bc}; g = INT_TO_FLOAT y; c = LE_F g f; JUMP_IF {d} c; }
    JNGEI { x = LOAD [a]; y = CONST_INT {bc}; c = COMPARE {Le} y x; JUMP_UNLESS {d} c; }
        | { x = LOAD [a]; i = GUARD_INT x; y = CONST_INT {bc}; c = LE_I y i; JUMP_UNLESS {d} c; }
        | { x = LOAD [a]; f = GUARD_FLOAT x; y = CONST_INT {bc}; g = INT_TO_FLOAT y; c = LE_F g f; JUMP_UNLESS {d} c; }

    // Loops.
    FORPREP { c = FOR_PREPARE [a]; JUMP_UNLESS {d} c; }
        | {
            x = LOAD [a]; i = GUARD_INT x; y = LOAD [a+1]; j = GUARD_INT y; w = LOAD [a+2]; k = GUARD_INT w;
            one = CONST_INT {1}; e = EQ_I k one; GUARD_TRUE e; c = LE_I i j; JUMP_UNLESS {d} c;
            n = SUB_I j i; STORE [a+1] n; STORE [a+3] i;
        }
    FORLOOP {
        x = LOAD [a]; f = GUARD_FLOAT x; y = LOAD [a+1]; g = GUARD_FLOAT y; w = LOAD [a+2]; h = GUARD_FLOAT w;
        z = ADD_F f h; c = FOR_GOES_ON z g h; JUMP_UNLESS {next} c;
        STORE [a] z; STORE [a+3] z; JUMP {d}; LOOP_HEAD {bc}; POLL;
    }
    TFORPREP { MARK_TO_CLOSE [a+3]; JUMP {d}; }
    TFORCALL {
        f = LOAD [a]; s = LOAD [a+1]; k = LOAD [a+2]; STORE [a+4] f; STORE [a+5] s; STORE [a+6] k;
        CALL [a+4] {3} {c+1} {d};
    }
    TFORLOOP {
        x = LOAD [a+4]; c = IS_NIL x; JUMP_IF {next} c; STORE [a+2] x; JUMP {d}; LOOP_HEAD {bc}; POLL;
    }

    // Calls.
    CALL { CALL [a] {b} {c} {d}; }
    TAILCALL { TAIL_CALL [a] {b}; POLL; }
        | {
            GUARD_PLAIN_RETURN; x = LOAD [a]; f = GUARD_CLOSURE x; GUARD_PROTO {proto} f;
            GUARD_ARGS [a] {b} {proto}; GUARD_ROOM [a] {proto};
            REPLACE_FRAME [a] {b} {proto}; ENTRY {proto}; POLL;
        }
    RETURN { LEAVE [a] {b}; }
        | { GUARD_PLAIN_RETURN; POP_FRAME [a] {b}; }
    RETURN0 { LEAVE [0] {1}; }
        | { GUARD_PLAIN_RETURN; POP_FRAME [0] {1}; }
    RETURN1 { LEAVE [a] {2}; }
        | { GUARD_PLAIN_RETURN; POP_FRAME [a] {2}; }
    VARARG { VARARG [a] {c}; }
    CLOSURE { f = NEW_CLOSURE {d}; STORE [a] f; SAFEPOINT; }
    TBC { MARK_TO_CLOSE [a]; }
    CLOSE { CLOSE [a]; }

    // Specialised forms: arithmetic.
    ADD_INT (ints ADD_I [c])
    ADD_FLOAT (floats ADD_F [c])
    SUB_INT (ints SUB_I [c])
    SUB_FLOAT (floats SUB_F [c])
    MUL_INT (ints MUL_I [c])
    MUL_FLOAT (floats MUL_F [c])
    DIV_FLOAT (floats DIV_F [c])
    ADDK_INT (ints ADD_I {d})
    ADDK_FLOAT (floats ADD_F {d})
    SUBK_INT (ints SUB_I {d})
    SUBK_FLOAT (floats SUB_F {d})
    MULK_INT (ints MUL_I {d})
    MULK_FLOAT (floats MUL_F {d})
    DIVK_FLOAT (floats DIV_F {d})
    MODK_INT (divide MOD_I {d})
    IDIVK_INT (divide IDIV_I {d})

    // Specialised forms: tables. A polymorphic form means what its general form means; it looks into its cache first.
    GETENV_INLINE {
        f = CALLEE; u = LOAD_CAPTURED {b} f; x = LOAD_CELL u; t = GUARD_TABLE x; GUARD_SHAPE {shape} t;
        v = LOAD_INLINE {slot} t; GUARD_FOUND {nil_is_final} v; STORE [a] v;
    }
    GETENV_OVERFLOW {
        f = CALLEE; u = LOAD_CAPTURED {b} f; x = LOAD_CELL u; t = GUARD_TABLE x; GUARD_SHAPE {shape} t;
        v = LOAD_OVERFLOW {slot} t; GUARD_FOUND {nil_is_final} v; STORE [a] v;
    }
    SETENV_INLINE {
        f = CALLEE; u = LOAD_CAPTURED {b} f; x = LOAD_CELL u; t = GUARD_TABLE x; GUARD_SHAPE {shape} t;
        o = LOAD_INLINE {slot} t; GUARD_FOUND {nil_is_final} o; v = LOAD [a]; STORE_INLINE {slot} t v; BARRIER t;
    }
    SETENV_OVERFLOW {
        f = CALLEE; u = LOAD_CAPTURED {b} f; x = LOAD_CELL u; t = GUARD_TABLE x; GUARD_SHAPE {shape} t;
        o = LOAD_OVERFLOW {slot} t; GUARD_FOUND {nil_is_final} o; v = LOAD [a]; STORE_OVERFLOW {slot} t v; BARRIER t;
    }
    GETFIELD_INLINE {
        x = LOAD [b]; t = GUARD_TABLE x; GUARD_SHAPE {shape} t; v = LOAD_INLINE {slot} t;
        GUARD_FOUND {nil_is_final} v; STORE [a] v;
    }
    GETFIELD_OVERFLOW {
        x = LOAD [b]; t = GUARD_TABLE x; GUARD_SHAPE {shape} t; v = LOAD_OVERFLOW {slot} t;
        GUARD_FOUND {nil_is_final} v; STORE [a] v;
    }
    GETFIELD_HOLDER {
        x = LOAD [b]; t = GUARD_TABLE x; GUARD_SHAPE {shape} t; GUARD_EPOCH {epoch};
        v = LOAD_HOLDER {holder} {slot}; GUARD_NOT_NIL v; STORE [a] v;
    }
    GETFIELD_POLY { x = LOAD [b]; GET_FIELD [a] {d} x; }
    SETFIELD_INLINE {
        x = LOAD [a]; t = GUARD_TABLE x; GUARD_SHAPE {shape} t; o = LOAD_INLINE {slot} t;
        GUARD_FOUND {nil_is_final} o; v = LOAD [b]; STORE_INLINE {slot} t v; BARRIER t;
    }
    SETFIELD_OVERFLOW {
        x = LOAD [a]; t = GUARD_TABLE x; GUARD_SHAPE {shape} t; o = LOAD_OVERFLOW {slot} t;
        GUARD_FOUND {nil_is_final} o; v = LOAD [b]; STORE_OVERFLOW {slot} t v; BARRIER t;
    }
    SETFIELD_ADD {
        x = LOAD [a]; t = GUARD_TABLE x; GUARD_SHAPE {shape} t; v = LOAD [b]; GUARD_NOT_NIL v;
        STORE_INLINE {slot} t v; SET_SHAPE {next_shape} t; BARRIER t;
    }
    SETFIELD_POLY { x = LOAD [a]; v = LOAD [b]; SET_FIELD {d} x v; }
    SETFIELDK_INLINE {
        x = LOAD [a]; t = GUARD_TABLE x; GUARD_SHAPE {shape} t; o = LOAD_INLINE {slot} t;
        GUARD_FOUND {nil_is_final} o; v = CONST {bc}; STORE_INLINE {slot} t v; BARRIER t;
    }
    SETFIELDK_ADD {
        x = LOAD [a]; t = GUARD_TABLE x; GUARD_SHAPE {shape} t; v = CONST {bc}; GUARD_NOT_NIL v;
        STORE_INLINE {slot} t v; SET_SHAPE {next_shape} t; BARRIER t;
    }
    SELF_INLINE {
        x = LOAD [b]; t = GUARD_TABLE x; GUARD_SHAPE {shape} t; v = LOAD_INLINE {slot} t;
        GUARD_NOT_NIL v; STORE [a+1] x; STORE [a] v;
    }
    SELF_HOLDER {
        x = LOAD [b]; t = GUARD_TABLE x; GUARD_SHAPE {shape} t; GUARD_EPOCH {epoch};
        v = LOAD_HOLDER {holder} {slot}; GUARD_NOT_NIL v; STORE [a+1] x; STORE [a] v;
    }
    SELF_POLY { x = LOAD [b]; GET_METHOD [a] {d} x; }
    SELF_STRING {
        x = LOAD [b]; s = GUARD_STRING x; GUARD_EPOCH {epoch};
        v = LOAD_HOLDER {holder} {slot}; GUARD_NOT_NIL v; STORE [a+1] s; STORE [a] v;
    }
    GETINDEX_INT {
        x = LOAD [b]; t = GUARD_TABLE x; k = LOAD [c]; i = GUARD_INT k;
        GUARD_IN_ARRAY t i; v = LOAD_ELEMENT t i; GUARD_FOUND_IN t v; STORE [a] v;
    }
    GETINDEX_STR {
        x = LOAD [b]; t = GUARD_TABLE x; k = LOAD [c]; s = GUARD_STRING k;
        v = RAW_GET t s; GUARD_FOUND_IN t v; STORE [a] v;
    }
    SETINDEX_INT {
        x = LOAD [a]; t = GUARD_TABLE x; k = LOAD [b]; i = GUARD_INT k; v = LOAD [c];
        GUARD_STORABLE t i v; STORE_ELEMENT t i v; BARRIER t;
    }
    SETINDEXK_INT {
        x = LOAD [a]; t = GUARD_TABLE x; k = LOAD [b]; i = GUARD_INT k; v = CONST {d};
        GUARD_STORABLE t i v; STORE_ELEMENT t i v; BARRIER t;
    }
    LEN_TABLE { x = LOAD [b]; t = GUARD_TABLE x; GUARD_NO_METATABLE t; z = LENGTH_T t; STORE [a] z; }
    LEN_STRING { x = LOAD [b]; s = GUARD_STRING x; z = LENGTH_S s; STORE [a] z; }
    CONCAT_STR { GUARD_STRINGS [a] {b}; s = CONCAT_S [a] {b}; STORE [a] s; SAFEPOINT; }

    // Specialised forms: jumps and loops.
    JLT_INT (compare GUARD_INT LT_I JUMP_IF)
    JLT_FLOAT (compare GUARD_FLOAT LT_F JUMP_IF)
    JNLT_INT (compare GUARD_INT LT_I JUMP_UNLESS)
    JNLT_FLOAT (compare GUARD_FLOAT LT_F JUMP_UNLESS)
    JLE_INT (compare GUARD_INT LE_I JUMP_IF)
    JLE_FLOAT (compare GUARD_FLOAT LE_F JUMP_IF)
    JNLE_INT (compare GUARD_INT LE_I JUMP_UNLESS)
    JNLE_FLOAT (compare GUARD_FLOAT LE_F JUMP_UNLESS)
    FORLOOP_INT {
        x = LOAD [a]; i = GUARD_INT x; y = LOAD [a+1]; j = GUARD_INT y; w = LOAD [a+2]; k = GUARD_INT w;
        zero = CONST_INT {0}; c = EQ_I j zero; JUMP_IF {next} c;
        one = CONST_INT {1}; n = SUB_I j one; z = ADD_I i k;
        STORE [a+1] n; STORE [a] z; STORE [a+3] z; JUMP {d}; LOOP_HEAD {bc}; POLL;
    }
    TFORCALL_NEXT {
        x = LOAD [a]; GUARD_NEXT x; y = LOAD [a+1]; t = GUARD_TABLE y; k = LOAD [a+2];
        p = FIND_NEXT t k; n = LOAD_KEY t p; v = LOAD_VALUE t p; STORE_PAIR [a+4] {c} n v;
    }

    // Specialised forms: calls.
    CALL_EXACT {
        x = LOAD [a]; f = GUARD_CLOSURE x; GUARD_PROTO {proto} f; GUARD_ARGS [a] {b} {proto}; GUARD_ROOM [a] {proto};
        PUSH_FRAME [a] {b} {proto} {d}; ENTRY {proto}; POLL;
    }
    CALL_NATIVE { x = LOAD [a]; f = GUARD_NATIVE x; CALL_NATIVE [a] {b} {c} f; SAFEPOINT; POLL; }
}

/// Writes an expansion as it is in the table.
pub struct Listing<'a>(pub &'a [Step]);

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for (i, step) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            if !step.name.is_empty() {
                write!(f, "{} = ", step.name)?;
            }
            write!(f, "{}", step.op)?;
            for operand in step.operands {
                write!(f, " {operand}")?;
            }
            for &input in step.inputs {
                write!(f, " {}", self.0[input as usize].name)?;
            }
            f.write_str(";")?;
        }
        Ok(())
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Field::A => "a",
            Field::B => "b",
            Field::C => "c",
            Field::D => "d",
            Field::BC => "bc",
            Field::Zero => "0",
        })
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Operand::Register(field, 0) => write!(f, "[{field}]"),
            Operand::Register(field, n) => write!(f, "[{field}+{n}]"),
            Operand::Number(field, 0) => write!(f, "{{{field}}}"),
            Operand::Number(field, n) => write!(f, "{{{field}+{n}}}"),
            Operand::Literal(n) => write!(f, "{{{n}}}"),
            Operand::Next => f.write_str("{next}"),
            Operand::Operation(operation) => write!(f, "{{{operation}}}"),
            Operand::Feedback(feedback) => f.write_str(match feedback {
                Feedback::Shape => "{shape}",
                Feedback::NextShape => "{next_shape}",
                Feedback::Slot => "{slot}",
                Feedback::Holder => "{holder}",
                Feedback::Epoch => "{epoch}",
                Feedback::NilIsFinal => "{nil_is_final}",
                Feedback::Proto => "{proto}",
            }),
        }
    }
}

#[cfg(test)]
mod tests;
