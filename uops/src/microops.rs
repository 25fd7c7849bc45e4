//! The micro-ops: what instructions are made of, and what superblocks consist of.
//!
//! A micro-op takes immediate *operands*, known when it is placed, and *inputs*, which are values made by earlier
//! micro-ops; it makes at most one value. Values are typed: unboxed, a pointer of known kind, or tagged. The
//! invariant that everything rests on: an exit to the beginning of an instruction is taken only while nothing
//! of that instruction has happened yet, so that it can be executed again from there.
//!
//! In the table, `NAME[operands](inputs) -> output {effects} exit Kind`. In the equations, `x`, `y`, ... are
//! the inputs and `z` is the output (of guards: their input, now of a known type); `R[r]` is a register of the
//! running function, `K[k]` a constant. What may be in the way of an equation is said by the exit: a guard *needs* its
//! condition and exits without it.
//!
//! *Call-outs* (`exit Status`) leave to the runtime what has no short form. Those that may call store their
//! result in a register themselves: it may come from a frame that they push, whose continuation finishes
//! the instruction.

use std::fmt;
use std::str::FromStr;

use crate::names::{UnknownName, named};

named! {
    /// The type of a value.
    pub enum Type {
        Int,
        Float,
        Bool,
        Table,
        String,
        /// A closure over bytecode.
        Closure,
        /// A function of the host.
        Native,
        /// The heap cell of a captured variable.
        Cell,
        Userdata,
        Coroutine,
        /// Payload and tag.
        Tagged,
        /// Of inputs: a value of any type; its tag is known from the type unless that is `Tagged`.
        Any,
        /// Of inputs: a pointer of any kind.
        Object,
    }
}

impl Type {
    /// Whether it is a type that values have, not only a constraint on inputs.
    pub const fn is_concrete(self) -> bool {
        !matches!(self, Type::Any | Type::Object)
    }

    /// Whether an input declared as `self` takes a value of type `value`.
    pub const fn accepts(self, value: Type) -> bool {
        use Type::{Any, Bool, Float, Int, Object, Tagged};
        match self {
            Any => true,
            Object => !matches!(value, Int | Float | Bool | Tagged),
            _ => self as u8 == value as u8,
        }
    }
}

named! {
    /// What an immediate operand is.
    pub enum Immediate {
        /// A register that is read.
        Use,
        /// A register that is written.
        Def,
        /// A register that starts a group, as the equation says.
        Group,
        /// A number of registers, as the equation says. Of arguments and results: one more than their number, or 0 for
        /// an open list, which ends at `top`.
        Count,
        /// An index of a constant.
        Constant,
        /// An index of a captured variable.
        Captured,
        /// An index of a nested prototype.
        Nested,
        /// An integer.
        Int,
        /// A float.
        Float,
        /// Yes or no.
        Flag,
        /// The instruction at which control goes on if it leaves here.
        Target,
        /// Which operation a call-out performs.
        Operation,
        /// A mathematical function of floats.
        Function,
        /// An index of a field cache, which names the key.
        Field,
        /// An index of a call site.
        Call,
        /// An index of a table site.
        Site,
        /// An index of a loop site.
        Loop,
        /// A shape.
        Shape,
        /// A slot of a shape: payload and tag offsets.
        Slot,
        /// What an array holds.
        ArrayKind,
        /// The VM's holder epoch.
        Epoch,
        /// An object, by its index among the objects that a superblock names.
        Object,
        /// A prototype, named like an object.
        Proto,
    }
}

named! {
    /// A class of memory; accesses to different classes do not interfere.
    pub enum Memory {
        /// Registers.
        Frame,
        /// Captured variables and their state.
        Cell,
        /// Which cells a closure has; only `debug.upvaluejoin` ever changes that.
        Captured,
        /// Slots of the object part; accesses to different slots do not interfere either.
        Field,
        /// Elements of the array part.
        Element,
        /// Hash parts.
        Hash,
        /// A table's shape, metatable, blocks, and the array's length and kind.
        Header,
        /// Mark bits and what the collector remembers.
        Barrier,
        /// Call records, `top`, the interrupt word, counters.
        State,
    }
}

/// A set of classes of memory.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct MemorySet(u16);

impl MemorySet {
    pub const EMPTY: MemorySet = MemorySet(0);
    pub const ALL: MemorySet = MemorySet::of(Memory::ALL);

    /// The set of these classes.
    pub const fn of(classes: &[Memory]) -> MemorySet {
        let mut bits = 0;
        let mut i = 0;
        while i < classes.len() {
            bits |= 1 << classes[i] as u16;
            i += 1;
        }
        MemorySet(bits)
    }

    pub const fn contains(self, class: Memory) -> bool {
        self.0 & 1 << class as u16 != 0
    }

    pub const fn intersects(self, other: MemorySet) -> bool {
        self.0 & other.0 != 0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The set without this class.
    pub const fn without(self, class: Memory) -> MemorySet {
        MemorySet(self.0 & !(1 << class as u16))
    }
}

/// What a micro-op does besides making a value.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Effects {
    pub reads: MemorySet,
    pub writes: MemorySet,
    /// It makes an object.
    pub allocates: bool,
    /// It may raise an error.
    pub raises: bool,
    /// It may run any code at all; then it reads, writes, allocates and raises.
    pub calls: bool,
}

impl Effects {
    const NONE: Effects = Effects {
        reads: MemorySet::EMPTY,
        writes: MemorySet::EMPTY,
        allocates: false,
        raises: false,
        calls: false,
    };

    const fn reads(self, classes: &[Memory]) -> Effects {
        Effects {
            reads: MemorySet::of(classes),
            ..self
        }
    }

    const fn writes(self, classes: &[Memory]) -> Effects {
        Effects {
            writes: MemorySet::of(classes),
            ..self
        }
    }

    const fn allocates(self, _: &[Memory]) -> Effects {
        Effects {
            allocates: true,
            ..self
        }
    }

    const fn raises(self, _: &[Memory]) -> Effects {
        Effects {
            raises: true,
            ..self
        }
    }

    const fn calls(self, _: &[Memory]) -> Effects {
        Effects {
            reads: MemorySet::ALL,
            writes: MemorySet::ALL,
            allocates: true,
            raises: true,
            calls: true,
        }
    }

    /// Whether the micro-op changes nothing that can be observed, so that it may be repeated or left out.
    pub const fn is_none(self) -> bool {
        self.writes.is_empty() && !self.allocates && !self.raises && !self.calls
    }
}

named! {
    /// How control can leave at a micro-op.
    pub enum Exit {
        /// Not at all.
        None,
        /// A guard: control leaves for the beginning of this instruction unless the condition holds.
        Restart,
        /// A branch: control leaves for the target, the instruction being complete, or goes on.
        Branch,
        /// A poll: control leaves for the instruction it has come to, this one being complete.
        Here,
        /// A call-out's status, tested once: done; raised; frame pushed, which runs before control comes back behind
        /// this instruction; leave, because this executor may not go on.
        Status,
        /// Control always goes on elsewhere: at a jump's target, in a callee, in the caller.
        Transfer,
    }
}

macro_rules! microops {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident $([$($operand:ident),+])? ($($input:ident),*) $(-> $output:ident)?
            $({$($effect:ident $($class:ident)*),+})? $(exit $exit:ident)?;
    )*) => {
        /// A micro-op.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[allow(non_camel_case_types, reason = "micro-ops are written as in the manual")]
        #[allow(rustdoc::broken_intra_doc_links, reason = "brackets are registers, not links")]
        #[repr(u8)]
        pub enum MicroOp { $( $(#[doc = $doc])+ $name ),* }

        impl MicroOp {
            /// Every micro-op, in the order of the table.
            pub const ALL: &'static [MicroOp] = &[$(MicroOp::$name),*];

            const DECLARATIONS: &'static [Declaration] = &[$(Declaration {
                name: stringify!($name),
                description: concat!($($doc),+),
                operands: &[$($(Immediate::$operand),+)?],
                inputs: &[$(Type::$input),*],
                output: microops!(@output $($output)?),
                effects: Effects::NONE $($(.$effect(&[$(Memory::$class),*]))+)?,
                exit: microops!(@exit $($exit)?),
            }),*];
        }
    };
    (@output) => { None };
    (@output $output:ident) => { Some(Type::$output) };
    (@exit) => { Exit::None };
    (@exit $exit:ident) => { Exit::$exit };
}

/// What the table says of a micro-op.
#[derive(Clone, Copy, Debug)]
pub struct Declaration {
    pub name: &'static str,
    /// The semantics, as an equation.
    pub description: &'static str,
    pub operands: &'static [Immediate],
    pub inputs: &'static [Type],
    pub output: Option<Type>,
    pub effects: Effects,
    pub exit: Exit,
}

microops! {
    // Constants.
    /// z = nil
    CONST_NIL() -> Tagged;
    /// z = i
    CONST_INT[Int]() -> Int;
    /// z = f
    CONST_FLOAT[Float]() -> Float;
    /// z = b
    CONST_BOOL[Flag]() -> Bool;
    /// z = K[k]
    CONST[Constant]() -> Tagged;
    /// z = object o
    CONST_TABLE[Object]() -> Table;
    /// z = object o
    CONST_STRING[Object]() -> String;
    /// z = object o
    CONST_CLOSURE[Object]() -> Closure;
    /// z = object o
    CONST_NATIVE[Object]() -> Native;
    /// z = object o
    CONST_CELL[Object]() -> Cell;
    /// z = object o
    CONST_USERDATA[Object]() -> Userdata;
    /// z = object o
    CONST_COROUTINE[Object]() -> Coroutine;

    // The frame.
    /// z = R[r]
    LOAD[Use]() -> Tagged {reads Frame};
    /// R[r] = x
    STORE[Def](Any) {writes Frame};
    /// R[r], ..., R[r+n] = nil
    STORE_NILS[Group, Count]() {writes Frame};
    /// R[r], ..., R[r+n-1] = x, y, nil, ..., nil
    STORE_PAIR[Group, Count](Any, Any) {writes Frame};
    /// z = the running function
    CALLEE() -> Closure {reads State};
    /// z = the number of extra arguments
    EXTRA_COUNT() -> Int {reads State};
    /// z = extra argument x, from 0, which exists
    LOAD_EXTRA(Int) -> Tagged {reads Frame State};
    /// z = the number of values in the open list from R[r] on
    LIST_COUNT[Use]() -> Int {reads Frame State};

    // Types.
    /// z = x; needs x to be an integer
    GUARD_INT(Any) -> Int exit Restart;
    /// z = x; needs x to be a float
    GUARD_FLOAT(Any) -> Float exit Restart;
    /// z = x as a float; needs x to be a number
    GUARD_NUMBER(Any) -> Float exit Restart;
    /// z = x; needs x to be false or true
    GUARD_BOOL(Any) -> Bool exit Restart;
    /// z = x; needs x to be a string
    GUARD_STRING(Any) -> String exit Restart;
    /// z = x; needs x to be a table
    GUARD_TABLE(Any) -> Table exit Restart;
    /// z = x; needs x to be a closure
    GUARD_CLOSURE(Any) -> Closure exit Restart;
    /// z = x; needs x to be a host function
    GUARD_NATIVE(Any) -> Native exit Restart;
    /// z = x; needs x to be a cell
    GUARD_CELL(Any) -> Cell exit Restart;
    /// z = x; needs x to be a full userdata
    GUARD_USERDATA(Any) -> Userdata exit Restart;
    /// z = x; needs x to be a coroutine
    GUARD_COROUTINE(Any) -> Coroutine exit Restart;
    /// needs x to be nil
    GUARD_NIL(Any) exit Restart;
    /// needs x not to be nil
    GUARD_NOT_NIL(Any) exit Restart;
    /// needs x to be object o
    GUARD_OBJECT[Object](Any) exit Restart;
    /// needs x to be the library's `next`
    GUARD_NEXT(Any) exit Restart;
    /// needs x
    GUARD_TRUE(Bool) exit Restart;
    /// needs not x
    GUARD_FALSE(Bool) exit Restart;
    /// z = x is neither nil nor false
    TRUTH(Any) -> Bool;
    /// z = x is nil
    IS_NIL(Any) -> Bool;

    // Integers; they wrap around.
    /// z = x + y
    ADD_I(Int, Int) -> Int;
    /// z = x - y
    SUB_I(Int, Int) -> Int;
    /// z = x * y
    MUL_I(Int, Int) -> Int;
    /// z = x // y, rounded down; y is not 0
    IDIV_I(Int, Int) -> Int;
    /// z = x - (x // y) * y; y is not 0
    MOD_I(Int, Int) -> Int;
    /// z = -x
    NEG_I(Int) -> Int;
    /// z = x & y
    AND_I(Int, Int) -> Int;
    /// z = x | y
    OR_I(Int, Int) -> Int;
    /// z = x ~ y
    XOR_I(Int, Int) -> Int;
    /// z = ~x
    NOT_I(Int) -> Int;
    /// z = x << y, with zeros shifted in; a negative y shifts right, 64 and more give 0
    SHL_I(Int, Int) -> Int;
    /// z = x >> y, with zeros shifted in; a negative y shifts left, 64 and more give 0
    SHR_I(Int, Int) -> Int;
    /// z = x >> y, with copies of the sign shifted in; y is one of 0, ..., 63
    SAR_I(Int, Int) -> Int;
    /// z = |x|
    ABS_I(Int) -> Int;
    /// z = the lesser of x and y
    MIN_I(Int, Int) -> Int;
    /// z = the greater of x and y
    MAX_I(Int, Int) -> Int;
    /// z = x == y
    EQ_I(Int, Int) -> Bool;
    /// z = x < y
    LT_I(Int, Int) -> Bool;
    /// z = x <= y
    LE_I(Int, Int) -> Bool;
    /// z = x < y, both as unsigned numbers
    LT_U(Int, Int) -> Bool;
    /// z = if x then y else w, the third input
    SELECT_I(Bool, Int, Int) -> Int;
    /// needs x ~= 0
    GUARD_NOT_ZERO(Int) exit Restart;

    // Floats.
    /// z = x + y
    ADD_F(Float, Float) -> Float;
    /// z = x - y
    SUB_F(Float, Float) -> Float;
    /// z = x * y
    MUL_F(Float, Float) -> Float;
    /// z = x / y
    DIV_F(Float, Float) -> Float;
    /// z = the floor of x / y
    IDIV_F(Float, Float) -> Float;
    /// z = x modulo y, with the sign of y
    MOD_F(Float, Float) -> Float;
    /// z = x ^ y
    POW_F(Float, Float) -> Float;
    /// z = -x
    NEG_F(Float) -> Float;
    /// z = |x|
    ABS_F(Float) -> Float;
    /// z = the square root of x
    SQRT_F(Float) -> Float;
    /// z = the greatest integral float that is not greater than x
    FLOOR_F(Float) -> Float;
    /// z = the least integral float that is not less than x
    CEIL_F(Float) -> Float;
    /// z = if y < x then y else x
    MIN_F(Float, Float) -> Float;
    /// z = if x < y then y else x
    MAX_F(Float, Float) -> Float;
    /// z = x == y
    EQ_F(Float, Float) -> Bool;
    /// z = x < y
    LT_F(Float, Float) -> Bool;
    /// z = x <= y
    LE_F(Float, Float) -> Bool;
    /// z = if x then y else w, the third input
    SELECT_F(Bool, Float, Float) -> Float;
    /// z = x, rounded to nearest
    INT_TO_FLOAT(Int) -> Float;
    /// z = x as a float; needs -2^53 <= x < 2^53, so that nothing is rounded
    EXACT_FLOAT(Int) -> Float exit Restart;
    /// z = x; needs x to be integral and in the range of integers
    FLOAT_TO_INT(Float) -> Int exit Restart;
    /// z = f(x), f a function of one float
    CALL_F[Function](Float) -> Float;
    /// z = f(x, y), f a function of two floats
    CALL_FF[Function](Float, Float) -> Float;
    /// z = a random float, 0 <= z < 1
    RANDOM_F() -> Float {reads State, writes State};
    /// z = a random integer, x <= z <= y; x <= y
    RANDOM_I(Int, Int) -> Int {reads State, writes State};
    /// z = if w > 0 then x <= y else y <= x, w the third input: whether a loop with step w goes on
    FOR_GOES_ON(Float, Float, Float) -> Bool;

    // Booleans, identity and strings.
    /// z = if x then y else w, the third input
    SELECT(Bool, Any, Any) -> Tagged;
    /// z = not x
    NOT(Bool) -> Bool;
    /// z = x == y, by identity
    SAME(Object, Object) -> Bool;
    /// z = x == y, primitively
    RAW_EQ(Any, Any) -> Bool;
    /// needs x == y to ask no metatable: x and y are not two different tables or userdata with an `__eq`
    GUARD_RAW_EQ(Any, Any) {reads Field Hash Header} exit Restart;
    /// z = x == y, by content
    EQ_S(String, String) -> Bool;
    /// z = x < y, by bytes
    LT_S(String, String) -> Bool;
    /// z = x <= y, by bytes
    LE_S(String, String) -> Bool;
    /// z = #x
    LENGTH_S(String) -> Int;
    /// z = byte y of x; needs 1 <= y <= #x
    LOAD_BYTE(String, Int) -> Int exit Restart;
    /// z = the part of x from position y to position w, the third input; negative positions count from the end
    SUBSTRING(String, Int, Int) -> String {allocates, raises} exit Status;
    /// z = the string of the byte x; fails unless 0 <= x <= 255
    BYTE_STRING(Int) -> String {allocates, raises} exit Status;
    /// needs R[r], ..., R[r+n-1] to be strings
    GUARD_STRINGS[Group, Count]() {reads Frame} exit Restart;
    /// z = R[r] .. R[r+1] .. ... .. R[r+n-1], all strings or numbers
    CONCAT_S[Group, Count]() -> String {reads Frame, allocates, raises} exit Status;

    // Captured variables.
    /// z = captured variable u of closure x
    LOAD_CAPTURED[Captured](Closure) -> Cell {reads Captured};
    /// captured variable u of the new closure x = y
    INIT_CAPTURED[Captured](Closure, Cell) {writes Captured};
    /// z = cell(x)
    LOAD_CELL(Cell) -> Tagged {reads Cell};
    /// cell(x) = y; the first store makes the cell constant, the second mutable, which breaks what relied on it
    SET_CELL(Cell, Any) {writes Cell Barrier} exit Status;
    /// needs cell x to be mutable
    GUARD_MUTABLE(Cell) {reads Cell} exit Restart;
    /// cell(x) = y; the cell is mutable, and a barrier follows
    STORE_CELL(Cell, Any) {writes Cell};
    /// z = a new constant cell with the value x
    NEW_CELL(Any) -> Cell {allocates, raises} exit Status;
    /// z = a new uninitialised cell with nil
    NEW_EMPTY_CELL() -> Cell {allocates, raises} exit Status;
    /// z = a closure over nested prototype p, its cells from registers and the running function as p says
    NEW_CLOSURE[Nested]() -> Closure {reads Frame State, allocates, raises} exit Status;
    /// z = a closure over prototype p whose captured variables are set next
    ALLOCATE_CLOSURE[Proto]() -> Closure {allocates, raises} exit Status;
    /// needs closure x to be over prototype p
    GUARD_PROTO[Proto](Closure) exit Restart;

    // Tables: the header.
    /// needs x to have shape s
    GUARD_SHAPE[Shape](Table) {reads Header} exit Restart;
    /// shape(x) = s
    SET_SHAPE[Shape](Table) {writes Header};
    /// needs x to have no metatable
    GUARD_NO_METATABLE(Table) {reads Header} exit Restart;
    /// needs the metatable of x to be object o
    GUARD_METATABLE[Object](Userdata) {reads Header} exit Restart;
    /// metatable(x) = y; shape(x) = s
    SET_METATABLE[Shape](Table, Table) {writes Header};
    /// needs the holder epoch to be e: no table through which others find keys has changed but in its values
    GUARD_EPOCH[Epoch]() {reads State} exit Restart;
    /// the collector hears of a store into x
    BARRIER(Object) {reads Barrier, writes Barrier};
    /// z = a new table, with the sizes that table site t has learned
    NEW_TABLE[Site]() -> Table {allocates, raises} exit Status;
    /// z = a new table of shape s with an array of capacity n
    ALLOCATE_TABLE[Shape, Int]() -> Table {allocates, raises} exit Status;

    // Tables: the object part.
    /// z = slot s of x, in the table itself
    LOAD_INLINE[Slot](Table) -> Tagged {reads Field};
    /// z = slot s of x, in its overflow block
    LOAD_OVERFLOW[Slot](Table) -> Tagged {reads Field Header};
    /// z = slot s of table o, wherever it has it
    LOAD_HOLDER[Object, Slot]() -> Tagged {reads Field Header};
    /// slot s of x, in the table itself, = y; a barrier follows
    STORE_INLINE[Slot](Table, Any) {writes Field};
    /// slot s of x, in its overflow block, = y; a barrier follows
    STORE_OVERFLOW[Slot](Table, Any) {reads Header, writes Field};
    /// needs x not to be nil, or nil to be final by flag b: no metatable would be asked
    GUARD_FOUND[Flag](Any) exit Restart;
    /// needs y not to be nil, or x to have no metatable
    GUARD_FOUND_IN(Table, Any) {reads Header} exit Restart;

    // Tables: the array part.
    /// needs 1 <= y <= the number of elements in use
    GUARD_IN_ARRAY(Table, Int) {reads Header} exit Restart;
    /// needs the array to hold what kind k says
    GUARD_ARRAY_KIND[ArrayKind](Table) {reads Header} exit Restart;
    /// needs y not to be nil and to be of the kind that the array holds
    GUARD_ACCEPTS(Table, Any) {reads Header} exit Restart;
    /// needs y to be the index after the last element, with capacity for it and nothing that could be asked
    GUARD_APPENDS(Table, Int) {reads Header} exit Restart;
    /// needs w, the third input, to be storable at y: not nil, of the array's kind, and over an element that is not nil
    /// or has no metatable to ask, or behind the last one as for GUARD_APPENDS
    GUARD_STORABLE(Table, Int, Any) {reads Header Element} exit Restart;
    /// the same without a metatable being asked: over an element, or behind the last one with capacity for it
    GUARD_RAW_STORABLE(Table, Int, Any) {reads Header Element} exit Restart;
    /// z = element y
    LOAD_ELEMENT(Table, Int) -> Tagged {reads Element Header};
    /// z = element y of an array of integers
    LOAD_ELEMENT_I(Table, Int) -> Int {reads Element Header};
    /// z = element y of an array of floats
    LOAD_ELEMENT_F(Table, Int) -> Float {reads Element Header};
    /// z = element y is neither nil nor false
    TEST_ELEMENT(Table, Int) -> Bool {reads Element Header};
    /// element y = w, the third input; y may be the index after the last element; a barrier follows
    STORE_ELEMENT(Table, Int, Any) {reads Header, writes Element Header};
    /// element y = w, the third input; y is in use; a barrier follows
    REPLACE_ELEMENT(Table, Int, Any) {reads Header, writes Element};
    /// the next element of x, y, = w, the third input; x is new and has capacity for it, and w is not nil; the array holds
    /// what it held and that
    INIT_ELEMENT(Table, Int, Any) {reads Header, writes Element Header};
    /// z = the border of x, which has no `__len`
    LENGTH_T(Table) -> Int {reads Header Element Hash};
    /// elements i+1, ... of x = R[r+1], ..., R[r+n]; if n is 0 up to top
    SET_LIST[Group, Count, Int](Table)
        {reads Frame State, writes Element Hash Header Barrier, allocates, raises} exit Status;

    // Tables: any key.
    /// z = x[y], without metatables
    RAW_GET(Table, Any) -> Tagged {reads Field Element Hash Header};
    /// x[y] = w, the third input, without metatables
    RAW_SET(Table, Any, Any) {writes Field Element Hash Header Barrier State, allocates, raises} exit Status;
    /// z = the position of the first key with a value behind key y, or the end; needs y to be nil or a key of x
    FIND_NEXT(Table, Any) -> Int {reads Field Element Hash Header} exit Restart;
    /// z = the position of key y of x, or the beginning; needs y to be nil or a key of x
    KEY_POSITION(Table, Any) -> Int {reads Field Element Hash Header} exit Restart;
    /// z = the position of the first key with a value behind position y, or the end
    NEXT_POSITION(Table, Int) -> Int {reads Field Element Hash Header};
    /// z = the key at position y, or nil at the end
    LOAD_KEY(Table, Int) -> Tagged {reads Field Element Hash Header};
    /// z = the value at position y, or nil at the end
    LOAD_VALUE(Table, Int) -> Tagged {reads Field Element Hash Header};

    // Operations on any operands, with conversions and metamethods.
    /// R[r] = x op y (of unary operations y is x)
    ARITH[Def, Operation](Any, Any) {calls} exit Status;
    /// z = x op y; if a metamethod is called, its result decides the instruction's jump
    COMPARE[Operation](Any, Any) -> Bool {calls} exit Status;
    /// R[r] = #x
    LENGTH[Def](Any) {calls} exit Status;
    /// R[r] = R[r] .. R[r+1] .. ... .. R[r+n-1]
    CONCAT[Group, Count]() {calls} exit Status;
    /// R[r] = x[y]
    GET_INDEX[Def](Any, Any) {calls} exit Status;
    /// x[y] = w, the third input
    SET_INDEX(Any, Any, Any) {calls} exit Status;
    /// R[r] = x[F[f].key]
    GET_FIELD[Def, Field](Any) {calls} exit Status;
    /// x[F[f].key] = y
    SET_FIELD[Field](Any, Any) {calls} exit Status;
    /// R[r+1] = x; R[r] = x[F[f].key]
    GET_METHOD[Group, Field](Any) {calls} exit Status;
    /// raises x
    RAISE(Any) {raises} exit Status;

    // Control.
    /// goes on at t
    JUMP[Target]() exit Transfer;
    /// goes on at t if x
    JUMP_IF[Target](Bool) exit Branch;
    /// goes on at t if not x
    JUMP_UNLESS[Target](Bool) exit Branch;
    /// z = whether the numeric loop over R[r], R[r+1], R[r+2] runs; if so it is prepared, with R[r+3] = R[r]
    FOR_PREPARE[Group]() -> Bool {reads Frame, writes Frame, raises} exit Status;
    /// the head of loop l, after its back-edge: heat is counted here, loops are closed here
    LOOP_HEAD[Loop]() {writes State} exit Here;
    /// the entry of prototype p: heat is counted here
    ENTRY[Proto]() {writes State} exit Here;
    /// leaves if the interrupt word is set
    POLL() {reads State} exit Here;
    /// leaves if it is time to collect garbage
    SAFEPOINT() {reads State} exit Here;
    /// i objects have not been made where the program makes them: after many of those the collector is as near as if some had been
    SUNK[Int]() {writes State};
    /// makes this executor the current one and counts the previous one down
    START() {writes State};

    // Calls. A call is of R[r] with the arguments R[r+1], ...; the results go to R[r], ...
    /// calls R[r] with n arguments for m results; call site s
    CALL[Group, Count, Count, Call]() {calls} exit Status;
    /// calls host function x in R[r] with n arguments for m results
    CALL_NATIVE[Group, Count, Count](Native) {calls} exit Status;
    /// the same, at call site s, when control is elsewhere afterwards: in another coroutine, or in a function that x calls
    SWITCH[Group, Count, Count, Call](Native) {calls} exit Transfer;
    /// calls leaf function x in R[r] with n arguments for m results; fails if it would raise an error or call something
    CALL_LEAF[Group, Count, Count](Native) {reads Frame Field Element Hash Header, writes Frame State, allocates, raises} exit Status;
    /// the same of one that may change elements of tables
    CALL_TABLE[Group, Count, Count](Native)
        {reads Frame Field Element Hash Header, writes Frame State Element Hash Header Barrier, allocates, raises} exit Status;
    /// returns the results of calling R[r] with n arguments
    TAIL_CALL[Group, Count]() {calls} exit Status;
    /// needs n arguments behind R[r] to be as many as the parameters of p, which takes no extra ones
    GUARD_ARGS[Group, Count, Proto]() {reads State} exit Restart;
    /// needs room for a frame of p with its function in R[r]
    GUARD_ROOM[Group, Proto]() {reads State} exit Restart;
    /// pushes the frame of R[r], a closure over p with n arguments, of which p drops those it has no parameters for; call site s.
    /// Without room for it, control leaves before the instruction
    PUSH_FRAME[Group, Count, Proto, Call]() {reads Frame, writes Frame State} exit Transfer;
    /// puts R[r], a closure over p, and its n arguments in the place of the running function. Without room for it, or if the
    /// frame is not a plain one, control leaves before the instruction
    REPLACE_FRAME[Group, Count, Proto]() {reads Frame, writes Frame State} exit Transfer;
    /// needs the frame to return plainly: to a call instruction, with nothing to close and no extra arguments
    GUARD_PLAIN_RETURN() {reads State} exit Restart;
    /// pops the frame, whatever it returns to, and gives the caller the results R[r], ...; their number is n
    POP_FRAME[Group, Count]() {reads Frame State, writes Frame State} exit Transfer;
    /// closes pending variables, then returns R[r], ...; their number is n
    LEAVE[Group, Count]() {calls} exit Status;
    /// R[r], ... = the extra arguments; their number is n
    VARARG[Group, Count]() {reads Frame State, writes Frame State, raises} exit Status;
    /// marks R[r] to be closed unless it is nil or false
    MARK_TO_CLOSE[Use]() {reads Frame, writes State, raises} exit Status;
    /// needs the frame in which the superblock begins to have marked no variable so far
    GUARD_UNMARKED() {reads State} exit Restart;
    /// needs n more calls that catch errors to be allowed
    GUARD_CATCHING[Count]() {reads State} exit Restart;
    /// closes the variables marked at R[r] and above, the last first
    CLOSE[Group]() {calls} exit Status;

    // What only superblocks have. In them the type of what LOAD, PARAM and PHI make is noted with each of them.
    /// z = parameter i of the superblock
    PARAM[Int]() -> Tagged;
    /// the head of the superblock's loop
    LOOP();
    /// z = x on the first pass of the loop, afterwards what the pass before has left for it
    PHI(Any) -> Tagged;
    /// z = x, tagged
    TAG(Any) -> Tagged;
    /// z = a new table with an array of capacity n, which snapshots describe and nobody else mentions
    VIRTUAL_TABLE[Int]() -> Table;
    /// z = a new closure over prototype p, as above
    VIRTUAL_CLOSURE[Proto]() -> Closure;
    /// z = a new cell, as above
    VIRTUAL_CELL() -> Cell;
    /// goes back to the head of the loop
    BACK() exit Transfer;
    /// leaves
    EXIT() exit Transfer;
    /// leaves for the head of loop l, which has an executor or will have one
    LINK[Loop]() exit Transfer;
    /// goes on at the head of the loop at one of whose exits the superblock has begun, with the values of its slots for the `PHI`s there
    JOIN() exit Transfer;
    /// leaves if this executor may not go on
    GUARD_VALID() {reads State} exit Here;
    /// executes the instruction as tier 1 does
    INTERPRET() {calls} exit Status;
}

impl MicroOp {
    /// Whether it occurs in superblocks. The others occur in expansions only: in superblocks jumps have become guards,
    /// constants by index have become values, and what has been stored to registers is in the snapshots.
    #[inline]
    pub const fn is_in_superblocks(self) -> bool {
        !matches!(
            self,
            MicroOp::CONST
                | MicroOp::STORE
                | MicroOp::STORE_NILS
                | MicroOp::STORE_PAIR
                | MicroOp::JUMP
                | MicroOp::JUMP_IF
                | MicroOp::JUMP_UNLESS
                | MicroOp::LOOP_HEAD
                | MicroOp::ENTRY
                | MicroOp::GUARD_ARGS
        )
    }

    /// Whether a superblock ends with it, because control never goes on behind it.
    #[inline]
    pub const fn ends(self) -> bool {
        matches!(self.declaration().exit, Exit::Transfer) || matches!(self, MicroOp::RAISE)
    }

    /// Whether the type of its value is noted with each node of a superblock instead of being declared.
    #[inline]
    pub const fn has_own_type(self) -> bool {
        matches!(self, MicroOp::LOAD | MicroOp::PARAM | MicroOp::PHI)
    }

    /// All that the table says.
    #[inline]
    pub const fn declaration(self) -> &'static Declaration {
        &MicroOp::DECLARATIONS[self as usize]
    }

    /// The name in listings.
    #[inline]
    pub const fn name(self) -> &'static str {
        self.declaration().name
    }
}

impl FromStr for MicroOp {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<MicroOp, UnknownName> {
        MicroOp::ALL
            .iter()
            .copied()
            .find(|op| op.name() == name)
            .ok_or(UnknownName)
    }
}

impl fmt::Display for MicroOp {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Effects {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut separator = "";
        let mut part = |f: &mut fmt::Formatter, text: &str| {
            write!(f, "{separator}{text}")?;
            separator = ", ";
            Ok(())
        };
        if self.calls {
            return part(f, "calls");
        }
        for (verb, set) in [("reads", self.reads), ("writes", self.writes)] {
            let classes: Vec<String> = Memory::ALL
                .iter()
                .filter(|&&c| set.contains(c))
                .map(Memory::to_string)
                .collect();
            if !classes.is_empty() {
                part(f, &format!("{verb} {}", classes.join(" ")))?;
            }
        }
        for (word, holds) in [("allocates", self.allocates), ("raises", self.raises)] {
            if holds {
                part(f, word)?;
            }
        }
        Ok(())
    }
}

/// The declaration as in the table.
impl fmt::Display for Declaration {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fn list<T: fmt::Display>(items: &[T]) -> String {
            let items: Vec<String> = items.iter().map(T::to_string).collect();
            items.join(", ")
        }
        f.write_str(self.name)?;
        if !self.operands.is_empty() {
            write!(f, "[{}]", list(self.operands))?;
        }
        write!(f, "({})", list(self.inputs))?;
        if let Some(output) = self.output {
            write!(f, " -> {output}")?;
        }
        if self.effects != Effects::NONE {
            write!(f, " {{{}}}", self.effects)?;
        }
        if self.exit != Exit::None {
            write!(f, " exit {}", self.exit)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_back() {
        for (i, &op) in MicroOp::ALL.iter().enumerate() {
            assert_eq!(op as usize, i);
            assert_eq!(op.name().parse(), Ok(op));
        }
        assert_eq!("ADD_X".parse::<MicroOp>(), Err(UnknownName));
    }

    #[test]
    fn an_exit_agrees_with_the_effects() {
        for op in MicroOp::ALL {
            let d = op.declaration();
            match d.exit {
                Exit::Restart | Exit::Branch => {
                    assert!(d.effects.is_none(), "{op} is not free of effects")
                }
                // Control does not come back.
                Exit::Status | Exit::Transfer => {}
                _ => assert!(!d.effects.raises && !d.effects.calls, "{op} needs a status"),
            }
            let target = d.operands.contains(&Immediate::Target);
            assert_eq!(
                target,
                d.exit == Exit::Branch || *op == MicroOp::JUMP,
                "{op}"
            );
        }
    }

    #[test]
    fn what_writes_a_register_has_the_effect() {
        for op in MicroOp::ALL {
            let d = op.declaration();
            if d.operands.contains(&Immediate::Def) {
                assert!(d.effects.writes.contains(Memory::Frame), "{op}");
            }
            if d.operands.contains(&Immediate::Use) {
                assert!(d.effects.reads.contains(Memory::Frame), "{op}");
            }
        }
    }

    #[test]
    fn values_have_one_concrete_type() {
        for op in MicroOp::ALL {
            assert!(
                op.declaration().output.is_none_or(Type::is_concrete),
                "{op}"
            );
        }
        for name in ["Int", "Tagged", "Any"] {
            assert_eq!(name.parse::<Type>().map(Type::name), Ok(name));
        }
        assert_eq!("int".parse::<Type>(), Err(UnknownName));
        assert_eq!(
            Memory::Cell.description().trim(),
            "Captured variables and their state."
        );
        assert!(Type::Any.accepts(Type::Float) && Type::Object.accepts(Type::Cell));
        assert!(!Type::Object.accepts(Type::Tagged) && !Type::Int.accepts(Type::Tagged));
    }
}
