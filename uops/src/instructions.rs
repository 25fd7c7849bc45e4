//! The instruction set.
//!
//! An instruction is a 64-bit word:
//!
//! ```text
//!  63            32 31   24 23   16 15    8 7     0
//! |       d        |   c   |   b   |   a   |  op   |
//! ```
//!
//! `a`, `b` and `c` name registers or small numbers; where the table says so, `b` and `c` together are one
//! 16-bit number (`bc`, `b` its low half). `d` is a 32-bit number: a constant, a jump (in instructions, from the
//! next one), an immediate integer, or the index of an inline cache.
//!
//! In the table, `R[i]` is register `i` of the running function, `K[i]` a constant, `U[i]` a captured
//! variable, `F[d]` the field cache `d` with its key `F[d].key`, `P[d]` a nested prototype. `cell(x)` is the
//! variable in a heap cell. `top` is the end of the last open list of values (an open call or vararg).
//!
//! A specialised instruction does what its general one does, for operands of one kind, and turns back into it
//! when the operands are of another kind. Only general instructions occur in prototypes before they run; the
//! verifier rejects the others.

/// What an 8-bit operand is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Not used; must be zero.
    None,
    /// A register that is written.
    Def,
    /// A register that is read.
    Use,
    /// A register that must hold a cell.
    Cell,
    /// A register that receives a cell.
    DefCell,
    /// A register that starts a group, as the instruction's description says.
    Group,
    /// A captured variable.
    Captured,
    /// A number.
    Count,
    /// With the next operand: a 16-bit loop index.
    Loop,
    /// With the next operand: a 16-bit index of a constant.
    Constant,
    /// With the next operand: a signed 16-bit integer.
    Imm,
}

/// What the 32-bit operand is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wide {
    /// Free for the interpreter's own use; zero in a prototype that has not run.
    None,
    /// A signed integer.
    Int,
    /// A constant.
    Constant,
    /// A constant that is a number.
    Number,
    /// A jump, counted from the next instruction.
    Jump,
    /// A field cache.
    Field,
    /// A call site.
    Call,
    /// A table site.
    Table,
    /// A nested prototype.
    Proto,
}

/// The operands of an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Format {
    pub a: Role,
    pub b: Role,
    pub c: Role,
    pub d: Wide,
}

macro_rules! instructions {
    ($( $(#[doc = $doc:literal])+ $name:ident($a:ident, $b:ident, $c:ident, $d:ident) $(specialises $base:ident)? ; )*) => {
        /// An opcode.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[allow(non_camel_case_types, reason = "opcodes are written as in the manual")]
        #[allow(rustdoc::broken_intra_doc_links, reason = "brackets are registers, not links")]
        #[repr(u8)]
        pub enum Op { $( $(#[doc = $doc])+ $name ),* }

        impl Op {
            /// Every opcode, in encoding order.
            pub const ALL: &'static [Op] = &[$(Op::$name),*];

            /// The name in listings.
            pub const fn name(self) -> &'static str {
                const NAMES: &[&str] = &[$(stringify!($name)),*];
                NAMES[self as usize]
            }

            /// What the instruction does.
            pub fn description(self) -> &'static str {
                const TEXTS: &[&str] = &[$(concat!($($doc),+)),*];
                TEXTS[self as usize]
            }

            /// The operands.
            pub const fn format(self) -> Format {
                const FORMATS: &[Format] = &[$(Format { a: Role::$a, b: Role::$b, c: Role::$c, d: Wide::$d }),*];
                FORMATS[self as usize]
            }

            /// Whether the instruction jumps or not, depending on its operands.
            pub fn is_conditional(self) -> bool {
                let general = self.general();
                general.format().d == Wide::Jump && !matches!(general, Op::JMP | Op::LOOP | Op::TFORPREP)
            }

            /// The general instruction that this one specialises; itself if it is general.
            pub fn general(self) -> Op {
                const GENERAL: &[Option<Op>] = &[$(instructions!(@base $($base)?)),*];
                GENERAL[self as usize].unwrap_or(self)
            }
        }
    };
    (@base $base:ident) => { Some(Op::$base) };
    (@base) => { None };
}

instructions! {
    // Moving values.
    /// R[a] = R[b]
    MOVE(Def, Use, None, None);
    /// R[a] = d
    LOADI(Def, None, None, Int);
    /// R[a] = K[d]
    LOADK(Def, None, None, Constant);
    /// R[a], ..., R[a+b] = nil
    NIL(Group, Count, None, None);
    /// R[a] = false
    FALSE(Def, None, None, None);
    /// R[a] = true
    TRUE(Def, None, None, None);

    // Captured variables.
    /// R[a] = a new cell with the value R[a]
    CELL(Group, None, None, None);
    /// R[a] = a new cell with nil, not initialised yet
    NEWCELL(DefCell, None, None, None);
    /// R[a] = cell(R[b])
    GETCELL(Def, Cell, None, None);
    /// cell(R[a]) = R[b]
    SETCELL(Cell, Use, None, None);
    /// R[a] = U[b]
    GETUP(Def, Captured, None, None);
    /// U[b] = R[a]
    SETUP(Use, Captured, None, None);

    // Tables.
    /// R[a] = U[b][F[d].key]
    GETENV(Def, Captured, None, Field);
    /// U[b][F[d].key] = R[a]
    SETENV(Use, Captured, None, Field);
    /// R[a] = R[b][F[d].key]
    GETFIELD(Def, Use, None, Field);
    /// R[a][F[d].key] = R[b]
    SETFIELD(Use, Use, None, Field);
    /// R[a][F[d].key] = K[bc]
    SETFIELDK(Use, Constant, None, Field);
    /// R[a+1] = R[b]; R[a] = R[b][F[d].key]
    SELF(Group, Use, None, Field);
    /// R[a] = R[b][R[c]]
    GETINDEX(Def, Use, Use, None);
    /// R[a] = R[b][d]
    GETINT(Def, Use, None, Int);
    /// R[a][R[b]] = R[c]
    SETINDEX(Use, Use, Use, None);
    /// R[a][R[b]] = K[d]
    SETINDEXK(Use, Use, None, Constant);
    /// R[a][d] = R[b]
    SETINT(Use, Use, None, Int);
    /// R[a] = {}, with the sizes that table site d has learned
    NEWTABLE(Def, None, None, Table);
    /// R[a][d+i] = R[a+i] for 1 <= i <= b; if b is 0, for all up to top
    SETLIST(Group, Count, None, Int);

    // Arithmetic.
    /// R[a] = R[b] + R[c]
    ADD(Def, Use, Use, None);
    /// R[a] = R[b] - R[c]
    SUB(Def, Use, Use, None);
    /// R[a] = R[b] * R[c]
    MUL(Def, Use, Use, None);
    /// R[a] = R[b] / R[c]
    DIV(Def, Use, Use, None);
    /// R[a] = R[b] % R[c]
    MOD(Def, Use, Use, None);
    /// R[a] = R[b] ^ R[c]
    POW(Def, Use, Use, None);
    /// R[a] = R[b] // R[c]
    IDIV(Def, Use, Use, None);
    /// R[a] = R[b] & R[c]
    BAND(Def, Use, Use, None);
    /// R[a] = R[b] | R[c]
    BOR(Def, Use, Use, None);
    /// R[a] = R[b] ~ R[c]
    BXOR(Def, Use, Use, None);
    /// R[a] = R[b] << R[c]
    SHL(Def, Use, Use, None);
    /// R[a] = R[b] >> R[c]
    SHR(Def, Use, Use, None);
    /// R[a] = R[b] + K[d]
    ADDK(Def, Use, None, Number);
    /// R[a] = R[b] - K[d]
    SUBK(Def, Use, None, Number);
    /// R[a] = R[b] * K[d]
    MULK(Def, Use, None, Number);
    /// R[a] = R[b] / K[d]
    DIVK(Def, Use, None, Number);
    /// R[a] = R[b] % K[d]
    MODK(Def, Use, None, Number);
    /// R[a] = R[b] ^ K[d]
    POWK(Def, Use, None, Number);
    /// R[a] = R[b] // K[d]
    IDIVK(Def, Use, None, Number);
    /// R[a] = R[b] & K[d]
    BANDK(Def, Use, None, Number);
    /// R[a] = R[b] | K[d]
    BORK(Def, Use, None, Number);
    /// R[a] = R[b] ~ K[d]
    BXORK(Def, Use, None, Number);
    /// R[a] = R[b] << K[d]
    SHLK(Def, Use, None, Number);
    /// R[a] = R[b] >> K[d]
    SHRK(Def, Use, None, Number);
    /// R[a] = -R[b]
    UNM(Def, Use, None, None);
    /// R[a] = ~R[b]
    BNOT(Def, Use, None, None);
    /// R[a] = not R[b]
    NOT(Def, Use, None, None);
    /// R[a] = #R[b]
    LEN(Def, Use, None, None);
    /// R[a] = R[a] .. R[a+1] .. ... .. R[a+b-1], b >= 2
    CONCAT(Group, Count, None, None);

    // Jumps.
    /// jump d (forward)
    JMP(None, None, None, Jump);
    /// jump d (backward): the end of a loop; loop site bc
    LOOP(None, Loop, None, Jump);
    /// if R[a] then jump d
    JT(Use, None, None, Jump);
    /// if not R[a] then jump d
    JF(Use, None, None, Jump);
    /// if R[b] then R[a] = R[b]; jump d
    JTSET(Def, Use, None, Jump);
    /// if not R[b] then R[a] = R[b]; jump d
    JFSET(Def, Use, None, Jump);
    /// if R[a] == R[b] then jump d
    JEQ(Use, Use, None, Jump);
    /// if not (R[a] == R[b]) then jump d
    JNE(Use, Use, None, Jump);
    /// if R[a] == K[bc] (primitively) then jump d
    JEQK(Use, Constant, None, Jump);
    /// if not (R[a] == K[bc]) (primitively) then jump d
    JNEK(Use, Constant, None, Jump);
    /// if R[a] < R[b] then jump d
    JLT(Use, Use, None, Jump);
    /// if not (R[a] < R[b]) then jump d
    JNLT(Use, Use, None, Jump);
    /// if R[a] <= R[b] then jump d
    JLE(Use, Use, None, Jump);
    /// if not (R[a] <= R[b]) then jump d
    JNLE(Use, Use, None, Jump);
    /// if R[a] < bc then jump d
    JLTI(Use, Imm, None, Jump);
    /// if not (R[a] < bc) then jump d
    JNLTI(Use, Imm, None, Jump);
    /// if R[a] <= bc then jump d
    JLEI(Use, Imm, None, Jump);
    /// if not (R[a] <= bc) then jump d
    JNLEI(Use, Imm, None, Jump);
    /// if R[a] > bc then jump d
    JGTI(Use, Imm, None, Jump);
    /// if not (R[a] > bc) then jump d
    JNGTI(Use, Imm, None, Jump);
    /// if R[a] >= bc then jump d
    JGEI(Use, Imm, None, Jump);
    /// if not (R[a] >= bc) then jump d
    JNGEI(Use, Imm, None, Jump);

    // Loops.
    /// prepares a numeric loop over R[a] (start), R[a+1] (limit), R[a+2] (step): R[a+3] = R[a], and
    /// R[a+1] = the number of further passes if start and step are integers; if the loop does not run at all, jump d
    FORPREP(Group, None, None, Jump);
    /// R[a] += R[a+2]; if R[a] has not passed the limit then R[a+3] = R[a]; jump d (backward); loop site bc
    FORLOOP(Group, Loop, None, Jump);
    /// marks R[a+3] to be closed if it is not nil or false; jump d
    TFORPREP(Group, None, None, Jump);
    /// R[a+4], ..., R[a+3+c] = R[a](R[a+1], R[a+2]); call site d
    TFORCALL(Group, None, Count, Call);
    /// if R[a+4] ~= nil then R[a+2] = R[a+4]; jump d (backward); loop site bc
    TFORLOOP(Group, Loop, None, Jump);

    // Calls.
    /// R[a], ..., R[a+c-2] = R[a](R[a+1], ..., R[a+b-1]); if b is 0 arguments up to top; if c is 0 all results and
    /// set top; call site d
    CALL(Group, Count, Count, Call);
    /// return R[a](R[a+1], ..., R[a+b-1]); if b is 0 arguments up to top
    TAILCALL(Group, Count, None, Call);
    /// return R[a], ..., R[a+b-2]; if b is 0 up to top
    RETURN(Group, Count, None, None);
    /// return nothing
    RETURN0(None, None, None, None);
    /// return R[a]
    RETURN1(Use, None, None, None);
    /// R[a], ..., R[a+c-2] = the extra arguments; if c is 0 all of them and set top
    VARARG(Group, None, Count, None);
    /// R[a] = a closure over P[d]
    CLOSURE(Def, None, None, Proto);
    /// marks R[a] to be closed
    TBC(Use, None, None, None);
    /// closes all variables marked at R[a] and above
    CLOSE(Group, None, None, None);

    // Specialised forms.
    /// both operands are integers
    ADD_INT(Def, Use, Use, None) specialises ADD;
    /// both operands are floats
    ADD_FLOAT(Def, Use, Use, None) specialises ADD;
    /// both operands are integers
    SUB_INT(Def, Use, Use, None) specialises SUB;
    /// both operands are floats
    SUB_FLOAT(Def, Use, Use, None) specialises SUB;
    /// both operands are integers
    MUL_INT(Def, Use, Use, None) specialises MUL;
    /// both operands are floats
    MUL_FLOAT(Def, Use, Use, None) specialises MUL;
    /// both operands are floats
    DIV_FLOAT(Def, Use, Use, None) specialises DIV;
    /// both operands are integers
    ADDK_INT(Def, Use, None, Number) specialises ADDK;
    /// both operands are floats
    ADDK_FLOAT(Def, Use, None, Number) specialises ADDK;
    /// both operands are integers
    SUBK_INT(Def, Use, None, Number) specialises SUBK;
    /// both operands are floats
    SUBK_FLOAT(Def, Use, None, Number) specialises SUBK;
    /// both operands are integers
    MULK_INT(Def, Use, None, Number) specialises MULK;
    /// both operands are floats
    MULK_FLOAT(Def, Use, None, Number) specialises MULK;
    /// the first operand is a float
    DIVK_FLOAT(Def, Use, None, Number) specialises DIVK;
    /// both operands are integers, the constant is positive
    MODK_INT(Def, Use, None, Number) specialises MODK;
    /// both operands are integers, the constant is positive
    IDIVK_INT(Def, Use, None, Number) specialises IDIVK;
    /// the table has the cached shape, which keeps the key in an inline slot
    GETENV_INLINE(Def, Captured, None, Field) specialises GETENV;
    /// the table has the cached shape, which keeps the key in an overflow slot
    GETENV_OVERFLOW(Def, Captured, None, Field) specialises GETENV;
    /// the table has the cached shape, which keeps the key in an inline slot
    SETENV_INLINE(Use, Captured, None, Field) specialises SETENV;
    /// the table has the cached shape, which keeps the key in an overflow slot
    SETENV_OVERFLOW(Use, Captured, None, Field) specialises SETENV;
    /// R[b] has the cached shape, which keeps the key in an inline slot
    GETFIELD_INLINE(Def, Use, None, Field) specialises GETFIELD;
    /// R[b] has the cached shape, which keeps the key in an overflow slot
    GETFIELD_OVERFLOW(Def, Use, None, Field) specialises GETFIELD;
    /// R[b] has the cached shape, and the key is found in the cached holder
    GETFIELD_HOLDER(Def, Use, None, Field) specialises GETFIELD;
    /// R[b] has one of several cached shapes
    GETFIELD_POLY(Def, Use, None, Field) specialises GETFIELD;
    /// R[a] has the cached shape, which keeps the key in an inline slot
    SETFIELD_INLINE(Use, Use, None, Field) specialises SETFIELD;
    /// R[a] has the cached shape, which keeps the key in an overflow slot
    SETFIELD_OVERFLOW(Use, Use, None, Field) specialises SETFIELD;
    /// R[a] has the cached shape, which lacks the key but has an inline slot for it
    SETFIELD_ADD(Use, Use, None, Field) specialises SETFIELD;
    /// R[a] has one of several cached shapes
    SETFIELD_POLY(Use, Use, None, Field) specialises SETFIELD;
    /// R[a] has the cached shape, which keeps the key in an inline slot
    SETFIELDK_INLINE(Use, Constant, None, Field) specialises SETFIELDK;
    /// R[a] has the cached shape, which lacks the key but has an inline slot for it
    SETFIELDK_ADD(Use, Constant, None, Field) specialises SETFIELDK;
    /// R[b] has the cached shape, which keeps the key in an inline slot
    SELF_INLINE(Group, Use, None, Field) specialises SELF;
    /// R[b] has the cached shape, and the key is found in the cached holder
    SELF_HOLDER(Group, Use, None, Field) specialises SELF;
    /// R[b] has one of several cached shapes
    SELF_POLY(Group, Use, None, Field) specialises SELF;
    /// R[b] is a string, and the key is found in the cached holder
    SELF_STRING(Group, Use, None, Field) specialises SELF;
    /// R[b] is a table and R[c] an integer in its array part
    GETINDEX_INT(Def, Use, Use, None) specialises GETINDEX;
    /// R[b] is a table and R[c] a short string
    GETINDEX_STR(Def, Use, Use, None) specialises GETINDEX;
    /// R[a] is a table and R[b] an integer in its array part
    SETINDEX_INT(Use, Use, Use, None) specialises SETINDEX;
    /// R[a] is a table and R[b] an integer in its array part
    SETINDEXK_INT(Use, Use, None, Constant) specialises SETINDEXK;
    /// R[b] is a table
    LEN_TABLE(Def, Use, None, None) specialises LEN;
    /// R[b] is a string
    LEN_STRING(Def, Use, None, None) specialises LEN;
    /// all operands are strings
    CONCAT_STR(Group, Count, None, None) specialises CONCAT;
    /// both operands are integers
    JLT_INT(Use, Use, None, Jump) specialises JLT;
    /// both operands are floats
    JLT_FLOAT(Use, Use, None, Jump) specialises JLT;
    /// both operands are integers
    JNLT_INT(Use, Use, None, Jump) specialises JNLT;
    /// both operands are floats
    JNLT_FLOAT(Use, Use, None, Jump) specialises JNLT;
    /// both operands are integers
    JLE_INT(Use, Use, None, Jump) specialises JLE;
    /// both operands are floats
    JLE_FLOAT(Use, Use, None, Jump) specialises JLE;
    /// both operands are integers
    JNLE_INT(Use, Use, None, Jump) specialises JNLE;
    /// both operands are floats
    JNLE_FLOAT(Use, Use, None, Jump) specialises JNLE;
    /// start and step are integers; R[a+1] counts the passes left
    FORLOOP_INT(Group, Loop, None, Jump) specialises FORLOOP;
    /// R[a] is `next` and R[a+1] a table
    TFORCALL_NEXT(Group, None, Count, Call) specialises TFORCALL;
    /// R[a] is a closure over the cached prototype, which takes exactly the arguments given
    CALL_EXACT(Group, Count, Count, Call) specialises CALL;
    /// R[a] is a host function
    CALL_NATIVE(Group, Count, Count, Call) specialises CALL;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_specialised_instruction_has_the_format_of_its_general_one() {
        for &op in Op::ALL {
            assert_eq!(op.format(), op.general().format(), "{}", op.name());
            assert_eq!(op.general().general(), op.general(), "{}", op.name());
        }
    }

    #[test]
    fn opcodes_are_dense() {
        for (i, &op) in Op::ALL.iter().enumerate() {
            assert_eq!(op as usize, i);
        }
    }
}
