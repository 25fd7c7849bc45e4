//! The syntax tree of a chunk, with every name resolved.
//!
//! All nodes live in flat vectors of the [`Chunk`] and name each other by index. The parser fills
//! them and nobody changes them afterwards.
//!
//! # Walking the tree
//!
//! Code generation goes function by function, from [`FuncId::MAIN`]. When it meets
//! [`ExprKind::Function`] or [`StmtKind::LocalFunction`] it generates that function before it goes
//! on, or queues it: nothing about a variable is left to be learned, since `captured` and
//! `assigned` are final.
//!
//! - **Children come before parents** in the numbering of expressions, left before right.
//! - **Depth.** Statements and expressions nest at most 200 levels together, except to the left:
//!   `a + b + c ...`, `a.b.c ...` and `f()()() ...` make arbitrarily deep trees of left children
//!   ([`Chunk::left`]). Walk those with a loop: follow [`Chunk::left`] down to the leaf, pushing
//!   the nodes, then generate from the leaf upwards.
//! - **Lines.** `Expr::line` is the line that Lua names for an error of that operation, e.g. the
//!   operator's for arithmetic, the last operand's for comparisons, the opening parenthesis' for
//!   calls. For the target of an assignment it is the line of the store. Nested concatenations
//!   `a .. (b .. c)` are one operation in Lua, with the line of the innermost.
//! - **Scopes.** A variable comes into being where its statement says: [`StmtKind::Local`] after
//!   its values, [`StmtKind::LocalFunction`] before its function, loop variables with each
//!   iteration, parameters with the function. It ends with its block; those of a `repeat` body
//!   with the condition. A captured variable needs a fresh cell each time it comes into being.
//! - **Compile-time constants** ([`Attrib::CompileTime`]) need no register: each use is already
//!   the literal. Such a variable is the last of its `local` statement, whose last value is not to
//!   be evaluated, and there are as many values as variables.
//! - **Multiple results.** [`ExprKind::Call`] and [`ExprKind::Vararg`] stand for all of their
//!   values at the end of a list or as a table's last field, and for one value anywhere else. In
//!   parentheses they are an [`ExprKind::Paren`].
//! - **Closing.** `closes` tells that a jump or return leaves the scope of a to-be-closed variable
//!   (a generic `for` has a hidden one).

use std::fmt;
use std::ops::Index;

use super::strings::{StrId, Strings};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident => $field:ident: $node:ty;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);

        impl $name {
            /// The id as an index.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl Index<$name> for Chunk {
            type Output = $node;

            #[inline]
            fn index(&self, id: $name) -> &$node {
                &self.$field[id.index()]
            }
        }
    )*};
}

ids! {
    /// Names an expression.
    ExprId => exprs: Expr;
    /// Names a block.
    BlockId => blocks: Block;
    /// Names a local variable; ids are unique in the chunk.
    VarId => vars: Var;
    /// Names a function.
    FuncId => functions: Function;
    /// Names a label.
    LabelId => labels: Label;
    /// Names a `goto`.
    GotoId => gotos: Goto;
}

impl BlockId {
    /// The block without statements, which stands for a missing `else`.
    pub const EMPTY: BlockId = BlockId(0);
}

impl VarId {
    /// The variable `_ENV` outside of the main function.
    pub const ENV: VarId = VarId(0);
}

impl FuncId {
    /// The main function.
    pub const MAIN: FuncId = FuncId(0);
}

/// A list of expressions; see [`Chunk::list`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExprList(pub(super) u32);

impl ExprList {
    /// The empty list.
    pub const EMPTY: ExprList = ExprList(0);
}

/// A run of nodes of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub(super) start: u32,
    pub(super) len: u32,
}

impl Span {
    fn of<T>(self, all: &[T]) -> &[T] {
        &all[self.start as usize..][..self.len as usize]
    }
}

/// An expression.
#[derive(Clone, Copy, Debug)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// The line of the operation.
    pub line: u32,
}

const _: () = assert!(size_of::<Expr>() == 16);

/// What an expression is.
#[derive(Clone, Copy, Debug)]
pub enum ExprKind {
    /// `nil`
    Nil,
    /// `true`
    True,
    /// `false`
    False,
    /// An integer literal.
    Int(Packed<i64>),
    /// A float literal.
    Float(Packed<f64>),
    /// A string literal.
    Str(StrId),
    /// `...`
    Vararg,
    /// A function expression.
    Function(FuncId),
    /// A table constructor; see [`Chunk::fields`].
    Table(Span),
    /// A local of the current function.
    Local(VarId),
    /// An upvalue of the current function, by its index.
    Upvalue(u8),
    /// A global: the field `name` of the upvalue `env`. (With `_ENV` a local variable, a global is
    /// a [`ExprKind::Field`] of it.)
    Global { env: u8, name: StrId },
    /// `object.name`, or `object["name"]`
    Field { object: ExprId, name: StrId },
    /// `object[key]`
    Index { object: ExprId, key: ExprId },
    /// `callee(args)`
    Call { callee: ExprId, args: ExprList },
    /// `object:name`, only as a callee.
    Method { object: ExprId, name: StrId },
    /// An expression in parentheses, where that matters: a variable (no longer assignable), a call
    /// or `...` (one value).
    Paren(ExprId),
    /// A unary operation.
    Unary(UnaryOp, ExprId),
    /// A binary operation.
    Binary(BinaryOp, ExprId, ExprId),
}

/// A 64-bit literal that does not raise its node's alignment.
#[derive(Clone, Copy)]
pub struct Packed<T> {
    halves: [u32; 2],
    value: std::marker::PhantomData<T>,
}

impl<T> Packed<T> {
    fn from_bits(bits: u64) -> Packed<T> {
        Packed {
            halves: [bits as u32, (bits >> 32) as u32],
            value: std::marker::PhantomData,
        }
    }

    fn bits(self) -> u64 {
        (self.halves[1] as u64) << 32 | self.halves[0] as u64
    }
}

impl From<i64> for Packed<i64> {
    fn from(value: i64) -> Self {
        Packed::from_bits(value as u64)
    }
}

impl From<f64> for Packed<f64> {
    fn from(value: f64) -> Self {
        Packed::from_bits(value.to_bits())
    }
}

impl Packed<i64> {
    /// The value.
    pub fn get(self) -> i64 {
        self.bits() as i64
    }
}

impl Packed<f64> {
    /// The value.
    pub fn get(self) -> f64 {
        f64::from_bits(self.bits())
    }
}

impl fmt::Debug for Packed<i64> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl fmt::Debug for Packed<f64> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// Unary operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnaryOp {
    /// `-`
    Negate,
    /// `~`
    BitNot,
    /// `not`
    Not,
    /// `#`
    Length,
}

/// Binary operators, the short-circuiting ones included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryOp {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `%`
    Modulo,
    /// `^`
    Power,
    /// `/`
    Divide,
    /// `//`
    FloorDivide,
    /// `&`
    BitAnd,
    /// `|`
    BitOr,
    /// `~`
    BitXor,
    /// `<<`
    ShiftLeft,
    /// `>>`
    ShiftRight,
    /// `..`
    Concat,
    /// `==`
    Equal,
    /// `~=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
    /// `and`
    And,
    /// `or`
    Or,
}

impl BinaryOp {
    /// Whether the operator compares its operands.
    pub fn is_comparison(self) -> bool {
        use BinaryOp::*;
        matches!(
            self,
            Equal | NotEqual | Less | LessEqual | Greater | GreaterEqual
        )
    }
}

/// A field of a table constructor.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Where the value goes.
    pub key: FieldKey,
    /// The value.
    pub value: ExprId,
    /// The line of the store.
    pub line: u32,
}

/// The key of a field of a table constructor.
#[derive(Clone, Copy, Debug)]
pub enum FieldKey {
    /// `value`: the next integer.
    Next,
    /// `name = value`, or `["name"] = value`
    Name(StrId),
    /// `[key] = value`
    Expr(ExprId),
}

/// A statement.
#[derive(Clone, Copy, Debug)]
pub struct Stmt {
    /// What it is.
    pub kind: StmtKind,
    /// The line that Lua attributes the statement's own operation to: that of the last token for
    /// local variables, assignments, returns and jumps, of the keyword for `if`, `while`, `repeat`
    /// and numeric `for`, of the first value for generic `for`.
    pub line: u32,
}

/// What a statement is.
#[derive(Clone, Copy, Debug)]
pub enum StmtKind {
    /// `local a, b = values`: `count` variables from `first` on.
    Local {
        count: u8,
        first: VarId,
        values: ExprList,
    },
    /// `local function f`
    LocalFunction { var: VarId, function: FuncId },
    /// `target = value`, and `function target() ... end`
    Assign { target: ExprId, value: ExprId },
    /// `targets = values`, unless there is one of each. Targets are stored to from right to left.
    AssignMany { targets: ExprList, values: ExprList },
    /// A call.
    Call(ExprId),
    /// `do body end`
    Do(BlockId),
    /// `while condition do body end`; the condition is tested in `line`.
    While { condition: ExprId, line: u32, body: BlockId },
    /// `repeat body until condition`; the condition is inside the scope of the body, and tested in `line`.
    Repeat { body: BlockId, condition: ExprId, line: u32 },
    /// `if ... elseif ... else otherwise end`; see [`Chunk::arms`].
    If { arms: Span, otherwise: BlockId },
    /// `for var = start, limit [, step] do body end`: `range` has two or three values.
    NumericFor {
        var: VarId,
        range: ExprList,
        body: BlockId,
    },
    /// `for a, b in values do body end`: `count` variables from `first` on.
    GenericFor {
        count: u8,
        first: VarId,
        values: ExprList,
        body: BlockId,
    },
    /// `return values`
    Return { closes: bool, values: ExprList },
    /// `break`; `closes` is about the loop's body, not the loop's own hidden variable.
    Break { closes: bool },
    /// `goto label`
    Goto(GotoId),
    /// `::label::`
    Label(LabelId),
}

const _: () = assert!(size_of::<Stmt>() == 20);

/// A condition with its block.
#[derive(Clone, Copy, Debug)]
pub struct Arm {
    /// The condition.
    pub condition: ExprId,
    /// The line of the `then`, where the condition is tested.
    pub line: u32,
    /// What to do if it holds.
    pub body: BlockId,
}

/// A sequence of statements that is a scope; see [`Chunk::statements`].
#[derive(Clone, Copy, Debug)]
pub struct Block {
    pub(super) statements: Span,
    /// In the body of a `for`, the line of its `do`, where wrong values of the loop are reported; otherwise 0.
    pub do_line: u32,
    /// The line of the block's last token.
    pub end_line: u32,
    /// In the body of a `for`, the line of its `end`; otherwise 0.
    pub close_line: u32,
}

/// A local variable.
#[derive(Clone, Copy, Debug)]
pub struct Var {
    /// Its name.
    pub name: StrId,
    /// The function it is declared in; for [`VarId::ENV`] the main function, whose upvalue it is.
    pub function: FuncId,
    /// Its attribute.
    pub attrib: Attrib,
    /// Whether some inner function uses it.
    pub captured: bool,
    /// Whether there are assignments to it besides its initialisation.
    pub assigned: bool,
}

/// The attribute of a local variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attrib {
    /// Without attribute.
    Regular,
    /// `<const>`, with a value that is known at run time.
    Const,
    /// `<const>`, with a literal value: there is no variable at run time.
    CompileTime,
    /// `<close>`
    Close,
}

/// A function.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    /// The line of the definition; 0 for the main function.
    pub line: u32,
    /// The line of its `end`.
    pub end_line: u32,
    /// The first parameter; the others follow.
    pub first_param: VarId,
    /// The number of parameters, `self` included.
    pub param_count: u8,
    /// Whether it takes `...`.
    pub is_vararg: bool,
    /// Its statements.
    pub body: BlockId,
    pub(super) upvalues: Span,
}

/// A variable of an enclosing function that a function uses; see [`Chunk::upvalues`].
#[derive(Clone, Copy, Debug)]
pub struct Upvalue {
    /// The variable, which knows name, attribute and whether it is assigned.
    pub var: VarId,
    /// Where the function that creates the closure finds it.
    pub source: UpvalueSource,
}

/// Where a closure's creator finds an upvalue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpvalueSource {
    /// A local of the parent, which is [`Upvalue::var`].
    ParentLocal,
    /// An upvalue of the parent, by index.
    ParentUpvalue(u8),
    /// `_ENV` of the main function, which the loader provides.
    Loader,
}

/// A label.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    /// Its name.
    pub name: StrId,
    /// The line of its declaration.
    pub line: u32,
    /// How many named variables of the function are in scope for a jump to it, in order of
    /// declaration, compile-time constants included.
    pub in_scope: u32,
}

/// A `goto`.
#[derive(Clone, Copy, Debug)]
pub struct Goto {
    /// Its target, in the same function.
    pub label: LabelId,
    /// Whether the jump leaves the scope of a to-be-closed variable.
    pub closes: bool,
}

/// The syntax tree of a source text.
#[derive(Default)]
pub struct Chunk {
    /// Names and string literals.
    pub strings: Strings,
    pub(super) exprs: Vec<Expr>,
    /// The expression lists, each after its length.
    pub(super) lists: Vec<ExprId>,
    pub(super) fields: Vec<Field>,
    pub(super) stmts: Vec<Stmt>,
    pub(super) blocks: Vec<Block>,
    pub(super) arms: Vec<Arm>,
    pub(super) vars: Vec<Var>,
    pub(super) functions: Vec<Function>,
    pub(super) upvalues: Vec<Upvalue>,
    pub(super) labels: Vec<Label>,
    pub(super) gotos: Vec<Goto>,
}

impl Chunk {
    /// The expressions of a list.
    #[inline]
    pub fn list(&self, list: ExprList) -> &[ExprId] {
        let start = list.0 as usize;
        &self.lists[start + 1..][..self.lists[start].index()]
    }

    /// The statements of a block.
    #[inline]
    pub fn statements(&self, block: BlockId) -> &[Stmt] {
        self[block].statements.of(&self.stmts)
    }

    /// The fields of a table constructor.
    #[inline]
    pub fn fields(&self, fields: Span) -> &[Field] {
        fields.of(&self.fields)
    }

    /// The conditional blocks of an `if`.
    #[inline]
    pub fn arms(&self, arms: Span) -> &[Arm] {
        arms.of(&self.arms)
    }

    /// The upvalues of a function, at most 255.
    pub fn upvalues(&self, function: FuncId) -> &[Upvalue] {
        self[function].upvalues.of(&self.upvalues)
    }

    /// The number of variables, for side tables.
    pub fn var_count(&self) -> usize {
        self.vars.len()
    }

    /// The number of labels, for side tables.
    pub fn label_count(&self) -> usize {
        self.labels.len()
    }

    /// The child that is evaluated first and may nest without bound.
    pub fn left(&self, expr: ExprId) -> Option<ExprId> {
        match self[expr].kind {
            ExprKind::Field { object, .. }
            | ExprKind::Index { object, .. }
            | ExprKind::Method { object, .. } => Some(object),
            ExprKind::Call { callee, .. } => Some(callee),
            ExprKind::Binary(_, left, _) => Some(left),
            _ => None,
        }
    }
}
