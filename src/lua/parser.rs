//! The parser: tokens to a resolved tree, by recursive descent in one pass.
//!
//! Invariant: `bindings` maps every name to the innermost variable of that name in scope, in
//! whichever function; `active` lists the variables in scope, so that leaving a block can undo its
//! bindings. Lists under construction wait on scratch stacks and move to the chunk when complete.
//!
//! Lines imitate Lua's one-pass compiler, which emits an access to a field only when the value is
//! needed, often after reading another token, and attributes it to that token's line. See
//! [`Parser::discharge`].

use std::mem::{replace, take};

use super::ast::*;
use super::lexer::{Lexer, TOKEN_KINDS, Tok};
use super::strings::StrId;
use super::{Fail, SyntaxError, append, fold, push};
use crate::heap::Meter;

/// How deep statements and expressions may nest, together with the native calls around.
const MAX_DEPTH: u32 = 200;
/// How many variables of one function may be in scope at once.
const MAX_LOCALS: u32 = 200;
/// How many variables of other functions one function may use.
const MAX_UPVALUES: usize = 255;
/// How many labels may be visible, or jumps unresolved, at once.
const MAX_LABELS: usize = i16::MAX as usize;

/// Parses a source text.
///
/// `chunk_name` names the text in messages, with Lua's conventions (see [`super::chunk_id`]).
/// `depth` is how many of the 200 levels of native calls are in use already. Takes time and memory
/// proportional to the text, unless it makes unusual use of `goto`. The memory is taken from `meter`; after a success
/// only the tree's has not been given back.
pub fn parse(source: &[u8], chunk_name: &[u8], depth: u32, meter: &Meter) -> Result<Chunk, SyntaxError> {
    parse_until(source, chunk_name, depth, meter, None)
}

/// Like [`parse`], but objects to an expression of the chunk: the error names the token at which a compiler that works
/// in one pass has just met the need for a register to keep the expression's value in.
pub(super) fn parse_until(
    source: &[u8],
    chunk_name: &[u8],
    depth: u32,
    meter: &Meter,
    objection: Option<(ExprId, &'static str)>,
) -> Result<Chunk, SyntaxError> {
    let Ok(mut parser) = Parser::new(source, chunk_name, depth, meter) else {
        return Err(SyntaxError::OutOfMemory);
    };
    parser.objection = objection;
    match parser.main_function() {
        Ok(()) => Ok(parser.finish()),
        Err(Fail::Malformed) => Err(SyntaxError::Malformed(parser.lexer.take_message())),
        Err(Fail::StackOverflow) => Err(SyntaxError::StackOverflow),
        Err(Fail::OutOfMemory) => Err(SyntaxError::OutOfMemory),
    }
}

/// An operator's left and right binding powers; the left one is 0 for other tokens.
type Priority = (u8, u8, BinaryOp);

const UNARY_PRIORITY: u8 = 12;

const PRIORITIES: [Priority; TOKEN_KINDS] = {
    use BinaryOp::*;
    let mut table = [(0, 0, Add); TOKEN_KINDS];
    table[Tok::Or as usize] = (1, 1, Or);
    table[Tok::And as usize] = (2, 2, And);
    table[Tok::Less as usize] = (3, 3, Less);
    table[Tok::Greater as usize] = (3, 3, Greater);
    table[Tok::LessEqual as usize] = (3, 3, LessEqual);
    table[Tok::GreaterEqual as usize] = (3, 3, GreaterEqual);
    table[Tok::NotEqual as usize] = (3, 3, NotEqual);
    table[Tok::Equal as usize] = (3, 3, Equal);
    table[Tok::Pipe as usize] = (4, 4, BitOr);
    table[Tok::Tilde as usize] = (5, 5, BitXor);
    table[Tok::Ampersand as usize] = (6, 6, BitAnd);
    table[Tok::ShiftLeft as usize] = (7, 7, ShiftLeft);
    table[Tok::ShiftRight as usize] = (7, 7, ShiftRight);
    table[Tok::Concat as usize] = (9, 8, Concat);
    table[Tok::Plus as usize] = (10, 10, Add);
    table[Tok::Minus as usize] = (10, 10, Subtract);
    table[Tok::Star as usize] = (11, 11, Multiply);
    table[Tok::Slash as usize] = (11, 11, Divide);
    table[Tok::FloorDivide as usize] = (11, 11, FloorDivide);
    table[Tok::Percent as usize] = (11, 11, Modulo);
    table[Tok::Caret as usize] = (14, 13, Power);
    table
};

/// A variable in scope, with the variable that its name meant before.
struct Active {
    var: VarId,
    shadowed: Option<VarId>,
}

/// The innermost block: where its parts of the parser's stacks start.
#[derive(Clone, Copy)]
struct Scope {
    active: usize,
    /// The variables that are in scope at its very end; beside those outside of it, a loop's.
    at_end: usize,
    labels: usize,
    pending: usize,
    locals: u32,
    to_close: u32,
    loop_base: Option<u32>,
}

/// A function under construction.
struct FuncState {
    id: FuncId,
    /// Where its variables start in `active`.
    first_active: usize,
    /// Where its labels start in `labels`.
    first_label: usize,
    upvalues: Vec<Upvalue>,
    /// The variables in scope, including hidden ones and those yet to come into being.
    locals: u32,
    /// The to-be-closed variables in scope.
    to_close: u32,
    /// `to_close` in the body of the innermost loop.
    loop_base: Option<u32>,
    scope: Scope,
}

/// A jump whose label has not been seen; a `break` outside any loop waits for a label that cannot
/// exist.
struct Pending {
    name: StrId,
    line: u32,
    goto: GotoId,
    /// How much of `active` is in scope both at the jump and in the current block.
    active: usize,
    to_close: u32,
}

/// A label that jumps can see.
struct Visible {
    label: LabelId,
    to_close: u32,
}

struct Parser<'s> {
    lexer: Lexer<'s>,
    chunk: Chunk,
    depth: u32,
    /// The enclosing functions, outermost first.
    outer: Vec<FuncState>,
    func: FuncState,
    /// By string: the variable that the name means.
    bindings: Vec<Option<VarId>>,
    active: Vec<Active>,
    labels: Vec<Visible>,
    pending: Vec<Pending>,
    /// The values of the compile-time constants in scope, by ascending variable.
    constants: Vec<(VarId, ExprKind)>,
    open_exprs: Vec<ExprId>,
    open_fields: Vec<Field>,
    open_stmts: Vec<Stmt>,
    open_arms: Vec<Arm>,
    /// Where the last parsed expression starts among the nodes.
    expr_start: usize,
    /// The last use of a compile-time constant, which is no variable any more but must be
    /// recognised as one when assigned to.
    constant_use: Option<(ExprId, StrId)>,
    /// An expression that is an error, and why.
    objection: Option<(ExprId, &'static str)>,
}

fn span<T>(from: usize, all: &[T]) -> Span {
    Span {
        start: from as u32,
        len: (all.len() - from) as u32,
    }
}

impl FuncState {
    fn new(id: FuncId, active: usize, labels: usize, pending: usize) -> FuncState {
        let scope = Scope {
            active,
            at_end: active,
            labels,
            pending,
            locals: 0,
            to_close: 0,
            loop_base: None,
        };
        FuncState {
            id,
            first_active: active,
            first_label: labels,
            upvalues: Vec::new(),
            locals: 0,
            to_close: 0,
            loop_base: None,
            scope,
        }
    }
}

impl<'s> Parser<'s> {
    fn new(source: &'s [u8], chunk_name: &'s [u8], depth: u32, meter: &'s Meter<'s>) -> Result<Parser<'s>, Fail> {
        let lexer = Lexer::new(source, chunk_name, meter)?;
        let mut parser = Parser {
            lexer,
            chunk: Chunk::default(),
            depth,
            outer: Vec::new(),
            func: FuncState::new(FuncId::MAIN, 0, 0, 0),
            bindings: Vec::new(),
            active: Vec::new(),
            labels: Vec::new(),
            pending: Vec::new(),
            constants: Vec::new(),
            open_exprs: Vec::new(),
            open_fields: Vec::new(),
            open_stmts: Vec::new(),
            open_arms: Vec::new(),
            expr_start: 0,
            constant_use: None,
            objection: None,
        };
        push(meter, &mut parser.chunk.lists, ExprId(0))?;
        parser.close_block(0, 0)?;
        push(
            meter, &mut parser.chunk.vars,
            Var {
                name: StrId::ENV,
                function: FuncId::MAIN,
                attrib: Attrib::Regular,
                captured: true,
                assigned: false,
            },
        )?;
        parser.bind(StrId::ENV, Some(VarId::ENV))?;
        push(
            meter, &mut parser.func.upvalues,
            Upvalue {
                var: VarId::ENV,
                source: UpvalueSource::Loader,
            },
        )?;
        Ok(parser)
    }

    /// The tree, without what was needed to make it.
    fn finish(self) -> Chunk {
        let meter = self.lexer.meter;
        meter.free(self.outer);
        meter.free(self.bindings);
        meter.free(self.active);
        meter.free(self.labels);
        meter.free(self.pending);
        meter.free(self.constants);
        meter.free(self.open_exprs);
        meter.free(self.open_fields);
        meter.free(self.open_stmts);
        meter.free(self.open_arms);
        Chunk {
            strings: self.lexer.finish(),
            ..self.chunk
        }
    }

    // Tokens

    fn kind(&self) -> Tok {
        self.lexer.token.kind
    }

    fn advance(&mut self) -> Result<(), Fail> {
        self.lexer.advance()
    }

    fn accept(&mut self, kind: Tok) -> Result<bool, Fail> {
        let found = self.kind() == kind;
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn expect(&mut self, kind: Tok) -> Result<(), Fail> {
        if self.kind() != kind {
            return Err(self.expected(kind));
        }
        self.advance()
    }

    #[cold]
    fn expected(&mut self, kind: Tok) -> Fail {
        let message = format!("{} expected", kind.describe());
        self.lexer.syntax_error(message.as_bytes())
    }

    /// Expects the token that closes what `opening` at `line` has opened.
    fn expect_match(&mut self, kind: Tok, opening: Tok, line: u32) -> Result<(), Fail> {
        if self.kind() == kind {
            return self.advance();
        }
        if line == self.lexer.line {
            return Err(self.expected(kind));
        }
        let (kind, opening) = (kind.describe(), opening.describe());
        let message = format!("{kind} expected (to close {opening} at line {line})");
        Err(self.lexer.syntax_error(message.as_bytes()))
    }

    fn expect_name(&mut self) -> Result<StrId, Fail> {
        let token = self.lexer.token;
        self.expect(Tok::Name)?;
        Ok(token.string())
    }

    /// An error without a token, whose message is `before`, the name and `after`.
    #[cold]
    fn name_error(&mut self, before: &str, name: StrId, after: &str) -> Fail {
        let mut message = before.as_bytes().to_vec();
        match append(self.lexer.meter, &mut message, self.lexer.strings.get(name)) {
            Ok(()) => {
                message.extend_from_slice(after.as_bytes());
                self.lexer.semantic_error(&message)
            }
            Err(fail) => fail,
        }
    }

    #[cold]
    fn limit_error(&mut self, function: FuncId, what: &str, limit: usize) -> Fail {
        let place = match self.chunk[function].line {
            0 => "main function".to_string(),
            line => format!("function at line {line}"),
        };
        let message = format!("too many {what} (limit is {limit}) in {place}");
        self.lexer.syntax_error(message.as_bytes())
    }

    fn check_label_count(&mut self, count: usize) -> Result<(), Fail> {
        if count < MAX_LABELS {
            return Ok(());
        }
        let message = format!("too many labels/gotos (limit is {MAX_LABELS})");
        Err(self.lexer.plain_error(message.as_bytes()))
    }

    fn enter_level(&mut self) -> Result<(), Fail> {
        self.depth += 1;
        if self.depth >= MAX_DEPTH {
            return Err(Fail::StackOverflow);
        }
        Ok(())
    }

    fn leave_level(&mut self) {
        self.depth -= 1;
    }

    // Nodes

    #[inline]
    fn add(&mut self, kind: ExprKind, line: u32) -> Result<ExprId, Fail> {
        let id = ExprId(self.chunk.exprs.len() as u32);
        push(self.lexer.meter, &mut self.chunk.exprs, Expr { kind, line })?;
        match self.objection {
            Some((e, what)) if e == id => Err(self.object(what)),
            _ => Ok(id),
        }
    }

    /// The last expression is an error. Operands and list elements get their registers once what separates them from the
    /// next one has been read.
    #[cold]
    fn object(&mut self, what: &str) -> Fail {
        if matches!(self.kind(), Tok::Comma | Tok::Concat | Tok::RightParen)
            && let Err(fail) = self.advance()
        {
            return fail;
        }
        self.lexer.syntax_error(what.as_bytes())
    }

    /// Adds an expression at the line of the last token.
    #[inline]
    fn add_here(&mut self, kind: ExprKind) -> Result<ExprId, Fail> {
        self.add(kind, self.lexer.last_line)
    }

    /// The value of `expr` is needed now: if it is a field or global, Lua reads it here.
    #[inline]
    fn discharge(&mut self, expr: ExprId) {
        let node = &mut self.chunk.exprs[expr.index()];
        if let ExprKind::Global { .. }
        | ExprKind::Field { .. }
        | ExprKind::Index { .. }
        | ExprKind::Nil
        | ExprKind::False = node.kind
        {
            node.line = self.lexer.last_line;
        }
    }

    /// Completes the list of expressions on the scratch stack from `base` on.
    fn close_list(&mut self, base: usize) -> Result<ExprList, Fail> {
        let items = &self.open_exprs[base..];
        let Some(&last) = items.last() else {
            return Ok(ExprList::EMPTY);
        };
        let list = ExprList(self.chunk.lists.len() as u32);
        push(self.lexer.meter, &mut self.chunk.lists, ExprId(items.len() as u32))?;
        append(self.lexer.meter, &mut self.chunk.lists, items)?;
        self.open_exprs.truncate(base);
        self.discharge(last);
        Ok(list)
    }

    /// Completes the block of the statements on the scratch stack from `base` on.
    fn close_block(&mut self, base: usize, end_line: u32) -> Result<BlockId, Fail> {
        let start = self.chunk.stmts.len();
        append(self.lexer.meter, &mut self.chunk.stmts, &self.open_stmts[base..])?;
        self.open_stmts.truncate(base);
        let id = BlockId(self.chunk.blocks.len() as u32);
        let statements = span(start, &self.chunk.stmts);
        push(
            self.lexer.meter, &mut self.chunk.blocks,
            Block {
                statements,
                do_line: 0,
                close_line: 0,
                end_line,
            },
        )?;
        Ok(id)
    }

    fn add_stmt(&mut self, kind: StmtKind, line: u32) -> Result<(), Fail> {
        push(self.lexer.meter, &mut self.open_stmts, Stmt { kind, line })
    }

    /// Adds a statement at the line of the last token.
    fn add_stmt_here(&mut self, kind: StmtKind) -> Result<(), Fail> {
        self.add_stmt(kind, self.lexer.last_line)
    }

    // Scopes

    fn binding(&self, name: StrId) -> Option<VarId> {
        self.bindings.get(name.index()).copied().flatten()
    }

    fn bind(&mut self, name: StrId, var: Option<VarId>) -> Result<(), Fail> {
        if name.index() >= self.bindings.len() {
            let len = self.lexer.strings.len();
            let more = len - self.bindings.len();
            self.lexer.meter.reserve(&mut self.bindings, more)?;
            self.bindings.resize(len, None);
        }
        self.bindings[name.index()] = var;
        Ok(())
    }

    /// Counts `count` more variables, hidden ones too, against the function's limit.
    fn count_locals(&mut self, count: u32) -> Result<(), Fail> {
        self.func.locals += count;
        if self.func.locals > MAX_LOCALS {
            let limit = MAX_LOCALS as usize;
            return Err(self.limit_error(self.func.id, "local variables", limit));
        }
        Ok(())
    }

    /// Declares a variable, which does not come into being yet.
    fn declare(&mut self, name: StrId) -> Result<VarId, Fail> {
        self.count_locals(1)?;
        let id = VarId(self.chunk.vars.len() as u32);
        let var = Var {
            name,
            function: self.func.id,
            attrib: Attrib::Regular,
            captured: false,
            assigned: false,
        };
        push(self.lexer.meter, &mut self.chunk.vars, var)?;
        Ok(id)
    }

    /// Brings `count` variables from `first` on into scope.
    fn activate(&mut self, first: VarId, count: u8) -> Result<(), Fail> {
        for id in first.0..first.0 + count as u32 {
            let var = VarId(id);
            let name = self.chunk[var].name;
            let shadowed = self.binding(name);
            push(self.lexer.meter, &mut self.active, Active { var, shadowed })?;
            self.bind(name, Some(var))?;
        }
        Ok(())
    }

    /// Opens a block and returns the enclosing one.
    fn enter_block(&mut self) -> Scope {
        let scope = Scope {
            active: self.active.len(),
            at_end: self.active.len(),
            labels: self.labels.len(),
            pending: self.pending.len(),
            locals: self.func.locals,
            to_close: self.func.to_close,
            loop_base: self.func.loop_base,
        };
        replace(&mut self.func.scope, scope)
    }

    /// Opens the block of a loop's body.
    fn enter_loop(&mut self) -> Scope {
        let outer = self.enter_block();
        self.func.loop_base = Some(self.func.to_close);
        outer
    }

    /// Closes the block and returns to the enclosing one.
    fn leave_block(&mut self, outer: Scope) -> Result<(), Fail> {
        self.leave_scope()?;
        let scope = self.func.scope;
        for jump in &mut self.pending[scope.pending..] {
            jump.active = jump.active.min(scope.active);
        }
        self.func.scope = outer;
        Ok(())
    }

    /// Undoes the bindings and labels of the block.
    fn leave_scope(&mut self) -> Result<(), Fail> {
        let scope = self.func.scope;
        while self.active.len() > scope.active {
            if let Some(Active { var, shadowed }) = self.active.pop() {
                self.bind(self.chunk[var].name, shadowed)?;
                if self.chunk[var].attrib == Attrib::CompileTime {
                    self.constants.pop();
                }
            }
        }
        self.labels.truncate(scope.labels);
        self.func.locals = scope.locals;
        self.func.to_close = scope.to_close;
        self.func.loop_base = scope.loop_base;
        Ok(())
    }

    /// The index of `var` among the upvalues of the function at `level` of nesting, which it is
    /// added to if need be, as to those of the functions in between.
    fn upvalue(&mut self, level: usize, var: VarId) -> Result<u8, Fail> {
        let func = self.outer.get(level).unwrap_or(&self.func);
        let found = func.upvalues.iter().position(|up| up.var == var);
        if let Some(index) = found {
            return Ok(index as u8);
        }
        let parent = self.outer[level - 1].id;
        let source = if var != VarId::ENV && self.chunk[var].function == parent {
            self.chunk.vars[var.index()].captured = true;
            UpvalueSource::ParentLocal
        } else {
            UpvalueSource::ParentUpvalue(self.upvalue(level - 1, var)?)
        };
        let meter = self.lexer.meter;
        let func = self.outer.get_mut(level).unwrap_or(&mut self.func);
        let index = func.upvalues.len();
        if index >= MAX_UPVALUES {
            let function = func.id;
            return Err(self.limit_error(function, "upvalues", MAX_UPVALUES));
        }
        push(meter, &mut func.upvalues, Upvalue { var, source })?;
        Ok(index as u8)
    }

    /// What the name of a variable in scope means.
    fn variable(&mut self, var: VarId) -> Result<ExprId, Fail> {
        let Var {
            name,
            function,
            attrib,
            ..
        } = self.chunk[var];
        if attrib == Attrib::CompileTime
            && let Ok(at) = self.constants.binary_search_by_key(&var, |entry| entry.0)
        {
            let expr = self.add_here(self.constants[at].1)?;
            self.constant_use = Some((expr, name));
            return Ok(expr);
        }
        let kind = if var != VarId::ENV && function == self.func.id {
            ExprKind::Local(var)
        } else {
            ExprKind::Upvalue(self.upvalue(self.outer.len(), var)?)
        };
        self.add_here(kind)
    }

    /// Resolves the current token, a name.
    fn name(&mut self) -> Result<ExprId, Fail> {
        let name = self.expect_name()?;
        if let Some(var) = self.binding(name) {
            return self.variable(var);
        }
        let env = self.binding(StrId::ENV).unwrap_or(VarId::ENV);
        let object = if env == VarId::ENV {
            let env = self.upvalue(self.outer.len(), env)?;
            return self.add_here(ExprKind::Global { env, name });
        } else {
            self.variable(env)?
        };
        match self.chunk[object].kind {
            ExprKind::Upvalue(env) => self.add_here(ExprKind::Global { env, name }),
            _ => self.add_here(ExprKind::Field { object, name }),
        }
    }

    // Functions

    fn main_function(&mut self) -> Result<(), Fail> {
        push(
            self.lexer.meter, &mut self.chunk.functions,
            Function {
                line: 0,
                end_line: 0,
                first_param: VarId(1),
                param_count: 0,
                is_vararg: true,
                body: BlockId::EMPTY,
                upvalues: span(0, &self.chunk.upvalues),
            },
        )?;
        self.advance()?;
        let body = self.statements()?;
        if self.kind() != Tok::Eof {
            return Err(self.expected(Tok::Eof));
        }
        self.close_function(body, self.lexer.line)
    }

    /// Parses a function from its parameters to its `end`.
    fn function(&mut self, line: u32, is_method: bool) -> Result<FuncId, Fail> {
        let id = FuncId(self.chunk.functions.len() as u32);
        push(
            self.lexer.meter, &mut self.chunk.functions,
            Function {
                line,
                end_line: 0,
                first_param: VarId(self.chunk.vars.len() as u32),
                param_count: 0,
                is_vararg: false,
                body: BlockId::EMPTY,
                upvalues: span(0, &self.chunk.upvalues[..0]),
            },
        )?;
        let (active, labels) = (self.active.len(), self.labels.len());
        let func = FuncState::new(id, active, labels, self.pending.len());
        let outer = replace(&mut self.func, func);
        push(self.lexer.meter, &mut self.outer, outer)?;
        self.expect(Tok::LeftParen)?;
        self.parameters(id, is_method)?;
        self.expect(Tok::RightParen)?;
        let body = self.statements()?;
        let end_line = self.lexer.line;
        self.expect_match(Tok::End, Tok::Function, line)?;
        self.close_function(body, end_line)?;
        if let Some(outer) = self.outer.pop() {
            self.func = outer;
        }
        Ok(id)
    }

    fn parameters(&mut self, id: FuncId, is_method: bool) -> Result<(), Fail> {
        let mut count = is_method as u8;
        if is_method {
            self.declare(StrId::SELF)?;
        }
        if self.kind() != Tok::RightParen {
            loop {
                if self.accept(Tok::Dots)? {
                    self.chunk.functions[id.index()].is_vararg = true;
                    break;
                }
                if self.kind() != Tok::Name {
                    return Err(self.lexer.syntax_error(b"<name> or '...' expected"));
                }
                let name = self.expect_name()?;
                self.declare(name)?;
                count += 1;
                if !self.accept(Tok::Comma)? {
                    break;
                }
            }
        }
        self.chunk.functions[id.index()].param_count = count;
        self.activate(self.chunk[id].first_param, count)
    }

    /// Completes the current function.
    fn close_function(&mut self, body: BlockId, end_line: u32) -> Result<(), Fail> {
        self.leave_scope()?;
        if let Some(jump) = self.pending.get(self.func.scope.pending) {
            let (name, line) = (jump.name, jump.line);
            if name == StrId::BREAK {
                let message = format!("break outside loop at line {line}");
                return Err(self.lexer.semantic_error(message.as_bytes()));
            }
            let after = format!("' for <goto> at line {line}");
            return Err(self.name_error("no visible label '", name, &after));
        }
        let start = self.chunk.upvalues.len();
        let meter = self.lexer.meter;
        append(meter, &mut self.chunk.upvalues, &self.func.upvalues)?;
        meter.free(take(&mut self.func.upvalues));
        let function = &mut self.chunk.functions[self.func.id.index()];
        function.body = body;
        function.end_line = end_line;
        function.upvalues = span(start, &self.chunk.upvalues);
        Ok(())
    }

    // Statements

    /// Whether the current token ends a block.
    fn at_block_end(&self, until_counts: bool) -> bool {
        match self.kind() {
            Tok::Else | Tok::Elseif | Tok::End | Tok::Eof => true,
            Tok::Until => until_counts,
            _ => false,
        }
    }

    fn statements(&mut self) -> Result<BlockId, Fail> {
        let base = self.open_stmts.len();
        while !self.at_block_end(true) {
            let is_last = self.kind() == Tok::Return;
            self.statement()?;
            if is_last {
                break;
            }
        }
        self.close_block(base, self.lexer.last_line)
    }

    fn block(&mut self) -> Result<BlockId, Fail> {
        let outer = self.enter_block();
        let block = self.statements()?;
        self.leave_block(outer)?;
        Ok(block)
    }

    fn statement(&mut self) -> Result<(), Fail> {
        self.enter_level()?;
        let line = self.lexer.line;
        match self.kind() {
            Tok::Semicolon => self.advance()?,
            Tok::If => self.if_statement(line)?,
            Tok::While => self.while_statement(line)?,
            Tok::Do => {
                self.advance()?;
                let body = self.block()?;
                self.expect_match(Tok::End, Tok::Do, line)?;
                self.add_stmt(StmtKind::Do(body), line)?;
            }
            Tok::For => self.for_statement(line)?,
            Tok::Repeat => self.repeat_statement(line)?,
            Tok::Function => self.function_statement(line)?,
            Tok::Local => {
                self.advance()?;
                if self.accept(Tok::Function)? {
                    self.local_function()?;
                } else {
                    self.local_statement()?;
                }
            }
            Tok::DoubleColon => {
                self.advance()?;
                self.label_statement(line)?;
            }
            Tok::Return => self.return_statement()?,
            Tok::Break => self.break_statement(line)?,
            Tok::Goto => {
                self.advance()?;
                self.goto_statement()?;
            }
            _ => self.expression_statement()?,
        }
        self.leave_level();
        Ok(())
    }

    fn if_statement(&mut self, line: u32) -> Result<(), Fail> {
        let base = self.open_arms.len();
        while matches!(self.kind(), Tok::If | Tok::Elseif) {
            self.advance()?;
            let condition = self.expr()?;
            let line = self.lexer.line;
            self.expect(Tok::Then)?;
            self.discharge(condition);
            let body = self.block()?;
            push(self.lexer.meter, &mut self.open_arms, Arm { condition, line, body })?;
            if self.kind() == Tok::If {
                break;
            }
        }
        let otherwise = if self.accept(Tok::Else)? {
            self.block()?
        } else {
            BlockId::EMPTY
        };
        self.expect_match(Tok::End, Tok::If, line)?;
        let start = self.chunk.arms.len();
        append(self.lexer.meter, &mut self.chunk.arms, &self.open_arms[base..])?;
        self.open_arms.truncate(base);
        let arms = span(start, &self.chunk.arms);
        self.add_stmt(StmtKind::If { arms, otherwise }, line)
    }

    fn while_statement(&mut self, line: u32) -> Result<(), Fail> {
        self.advance()?;
        let condition = self.expr()?;
        let test_line = self.lexer.last_line;
        let outer = self.enter_loop();
        self.expect(Tok::Do)?;
        let body = self.statements()?;
        self.leave_block(outer)?;
        self.expect_match(Tok::End, Tok::While, line)?;
        self.add_stmt(StmtKind::While { condition, line: test_line, body }, line)
    }

    fn repeat_statement(&mut self, line: u32) -> Result<(), Fail> {
        let outer = self.enter_loop();
        self.advance()?;
        let body = self.statements()?;
        self.expect_match(Tok::Until, Tok::Repeat, line)?;
        let condition = self.expr()?;
        let test_line = self.lexer.last_line;
        self.leave_block(outer)?;
        self.add_stmt(StmtKind::Repeat { body, condition, line: test_line }, line)
    }

    fn for_statement(&mut self, line: u32) -> Result<(), Fail> {
        let outer = self.enter_block();
        self.advance()?;
        let name = self.expect_name()?;
        match self.kind() {
            Tok::Assign => self.numeric_for(name, line)?,
            Tok::Comma | Tok::In => self.generic_for(name, line)?,
            _ => return Err(self.lexer.syntax_error(b"'=' or 'in' expected")),
        }
        self.leave_block(outer)
    }

    fn numeric_for(&mut self, name: StrId, line: u32) -> Result<(), Fail> {
        // Index, limit and step have variables of their own.
        self.count_locals(3)?;
        let var = self.declare(name)?;
        self.expect(Tok::Assign)?;
        let base = self.open_exprs.len();
        let start = self.expr()?;
        push(self.lexer.meter, &mut self.open_exprs, start)?;
        self.expect(Tok::Comma)?;
        let limit = self.expr()?;
        push(self.lexer.meter, &mut self.open_exprs, limit)?;
        if self.accept(Tok::Comma)? {
            let step = self.expr()?;
            push(self.lexer.meter, &mut self.open_exprs, step)?;
        }
        let range = self.close_list(base)?;
        let body = self.for_body(var, 1, line)?;
        self.add_stmt(StmtKind::NumericFor { var, range, body }, line)
    }

    fn generic_for(&mut self, name: StrId, line: u32) -> Result<(), Fail> {
        // Iterator, state, control and closing value have variables of their own.
        self.count_locals(4)?;
        let first = self.declare(name)?;
        let mut count = 1;
        while self.accept(Tok::Comma)? {
            let name = self.expect_name()?;
            self.declare(name)?;
            count += 1;
        }
        self.expect(Tok::In)?;
        let values_line = self.lexer.line;
        let base = self.expr_list()?;
        let values = self.close_list(base)?;
        self.func.to_close += 1;
        let body = self.for_body(first, count, line)?;
        self.add_stmt(
            StmtKind::GenericFor {
                count,
                first,
                values,
                body,
            },
            values_line,
        )
    }

    fn for_body(&mut self, first: VarId, count: u8, line: u32) -> Result<BlockId, Fail> {
        let do_line = self.lexer.line;
        self.expect(Tok::Do)?;
        let outer = self.enter_loop();
        self.activate(first, count)?;
        // A jump to the end of the body goes on with the loop, which keeps its variables and its closing value.
        self.func.scope.at_end = self.active.len();
        let body = self.statements()?;
        self.chunk.blocks[body.index()].do_line = do_line;
        self.leave_block(outer)?;
        self.expect_match(Tok::End, Tok::For, line)?;
        self.chunk.blocks[body.index()].close_line = self.lexer.last_line;
        Ok(body)
    }

    fn function_statement(&mut self, line: u32) -> Result<(), Fail> {
        self.advance()?;
        let mut target = self.name()?;
        while self.kind() == Tok::Dot {
            target = self.field(target)?;
        }
        let is_method = self.kind() == Tok::Colon;
        if is_method {
            target = self.field(target)?;
        }
        // Whether that may be assigned to is asked after the body, as in Lua, which shows in the message's line.
        let constant_use = self.constant_use;
        let function = self.function(line, is_method)?;
        self.constant_use = constant_use;
        self.check_target(target)?;
        let value = self.add_here(ExprKind::Function(function))?;
        self.chunk.exprs[target.index()].line = line;
        self.add_stmt(StmtKind::Assign { target, value }, line)
    }

    fn local_function(&mut self) -> Result<(), Fail> {
        let name = self.expect_name()?;
        let var = self.declare(name)?;
        self.activate(var, 1)?;
        let function = self.function(self.lexer.line, false)?;
        self.add_stmt_here(StmtKind::LocalFunction { var, function })
    }

    fn local_statement(&mut self) -> Result<(), Fail> {
        let first = VarId(self.chunk.vars.len() as u32);
        let mut count = 0;
        let mut closes = false;
        let last = loop {
            let name = self.expect_name()?;
            let var = self.declare(name)?;
            let attrib = self.attribute()?;
            if attrib == Attrib::Close && replace(&mut closes, true) {
                let message = b"multiple to-be-closed variables in local list";
                return Err(self.lexer.semantic_error(message));
            }
            self.chunk.vars[var.index()].attrib = attrib;
            count += 1;
            if !self.accept(Tok::Comma)? {
                break var;
            }
        };
        let base = self.open_exprs.len();
        if self.accept(Tok::Assign)? {
            self.expr_list()?;
        }
        if self.open_exprs.len() - base == count as usize
            && self.chunk[last].attrib == Attrib::Const
            && let Some(value) = self.constant(self.expr_start)
        {
            self.chunk.vars[last.index()].attrib = Attrib::CompileTime;
            push(self.lexer.meter, &mut self.constants, (last, value))?;
        }
        let values = self.close_list(base)?;
        self.activate(first, count)?;
        self.func.to_close += closes as u32;
        self.add_stmt_here(StmtKind::Local {
            count,
            first,
            values,
        })
    }

    fn attribute(&mut self) -> Result<Attrib, Fail> {
        if !self.accept(Tok::Less)? {
            return Ok(Attrib::Regular);
        }
        let name = self.expect_name()?;
        self.expect(Tok::Greater)?;
        match self.lexer.strings.get(name) {
            b"const" => Ok(Attrib::Const),
            b"close" => Ok(Attrib::Close),
            _ => Err(self.name_error("unknown attribute '", name, "'")),
        }
    }

    fn return_statement(&mut self) -> Result<(), Fail> {
        self.advance()?;
        let base = self.open_exprs.len();
        if !self.at_block_end(true) && self.kind() != Tok::Semicolon {
            self.expr_list()?;
        }
        let values = self.close_list(base)?;
        let closes = self.func.to_close > 0;
        self.add_stmt_here(StmtKind::Return { closes, values })?;
        self.accept(Tok::Semicolon)?;
        Ok(())
    }

    fn break_statement(&mut self, line: u32) -> Result<(), Fail> {
        self.advance()?;
        match self.func.loop_base {
            Some(base) => {
                let closes = self.func.to_close > base;
                self.add_stmt_here(StmtKind::Break { closes })
            }
            None => self.add_pending(StrId::BREAK, line),
        }
    }

    fn goto_statement(&mut self) -> Result<(), Fail> {
        let line = self.lexer.line;
        let name = self.expect_name()?;
        let Some(at) = self.find_label(name) else {
            return self.add_pending(name, line);
        };
        let Visible { label, to_close } = self.labels[at];
        let id = GotoId(self.chunk.gotos.len() as u32);
        let closes = self.func.to_close > to_close;
        push(self.lexer.meter, &mut self.chunk.gotos, Goto { label, closes })?;
        self.add_stmt_here(StmtKind::Goto(id))
    }

    /// Adds a jump whose label is yet to come.
    fn add_pending(&mut self, name: StrId, line: u32) -> Result<(), Fail> {
        self.check_label_count(self.pending.len())?;
        let goto = GotoId(self.chunk.gotos.len() as u32);
        // Completed when the label turns up, without which there will be no chunk.
        let unknown = Goto {
            label: LabelId(0),
            closes: false,
        };
        push(self.lexer.meter, &mut self.chunk.gotos, unknown)?;
        push(
            self.lexer.meter, &mut self.pending,
            Pending {
                name,
                line,
                goto,
                active: self.active.len(),
                to_close: self.func.to_close,
            },
        )?;
        self.add_stmt_here(StmtKind::Goto(goto))
    }

    /// The position among the visible labels of the current function's label of this name.
    fn find_label(&self, name: StrId) -> Option<usize> {
        let visible = &self.labels[self.func.first_label..];
        let found = visible
            .iter()
            .position(|visible| self.chunk[visible.label].name == name)?;
        Some(self.func.first_label + found)
    }

    fn label_statement(&mut self, line: u32) -> Result<(), Fail> {
        let name = self.expect_name()?;
        self.expect(Tok::DoubleColon)?;
        // Only labels and semicolons between a label and the end of its block put it there.
        while matches!(self.kind(), Tok::Semicolon | Tok::DoubleColon) {
            self.statement()?;
        }
        if let Some(at) = self.find_label(name) {
            let line = self.chunk[self.labels[at].label].line;
            let after = format!("' already defined on line {line}");
            return Err(self.name_error("label '", name, &after));
        }
        let active = if self.at_block_end(false) {
            self.func.scope.at_end
        } else {
            self.active.len()
        };
        self.check_label_count(self.labels.len())?;
        let label = LabelId(self.chunk.labels.len() as u32);
        push(
            self.lexer.meter, &mut self.chunk.labels,
            Label {
                name,
                line,
                in_scope: (active - self.func.first_active) as u32,
            },
        )?;
        let to_close = self.func.to_close;
        push(self.lexer.meter, &mut self.labels, Visible { label, to_close })?;
        self.resolve_pending(name, label, active)?;
        self.add_stmt_here(StmtKind::Label(label))
    }

    /// Directs the block's pending jumps of this name to the label.
    fn resolve_pending(&mut self, name: StrId, label: LabelId, active: usize) -> Result<(), Fail> {
        let start = self.func.scope.pending;
        let to_close = self.func.to_close;
        let jumps = self.pending[start..].iter();
        for jump in jumps.filter(|jump| jump.name == name) {
            if jump.active < active {
                let var = self.chunk[self.active[jump.active].var].name;
                let var = String::from_utf8_lossy(self.lexer.strings.get(var));
                let after = format!(
                    "> at line {} jumps into the scope of local '{var}'",
                    jump.line
                );
                return Err(self.name_error("<goto ", name, &after));
            }
            self.chunk.gotos[jump.goto.index()] = Goto {
                label,
                closes: jump.to_close > to_close,
            };
        }
        let mut index = 0;
        self.pending.retain(|jump| {
            index += 1;
            index <= start || jump.name != name
        });
        Ok(())
    }

    fn expression_statement(&mut self) -> Result<(), Fail> {
        let target = self.suffixed()?;
        if matches!(self.kind(), Tok::Assign | Tok::Comma) {
            return self.assignment(target);
        }
        let node = self.chunk[target];
        if !matches!(node.kind, ExprKind::Call { .. }) {
            return Err(self.lexer.syntax_error(b"syntax error"));
        }
        self.add_stmt(StmtKind::Call(target), node.line)
    }

    fn assignment(&mut self, first: ExprId) -> Result<(), Fail> {
        let targets_base = self.open_exprs.len();
        let depth = self.depth;
        self.check_target(first)?;
        push(self.lexer.meter, &mut self.open_exprs, first)?;
        while self.accept(Tok::Comma)? {
            let target = self.suffixed()?;
            self.enter_level()?;
            self.check_target(target)?;
            push(self.lexer.meter, &mut self.open_exprs, target)?;
        }
        self.expect(Tok::Assign)?;
        let values_base = self.expr_list()?;
        self.depth = depth;
        for at in targets_base..values_base {
            self.discharge(self.open_exprs[at]);
        }
        let kind = match self.open_exprs[targets_base..] {
            [target, value] if values_base == targets_base + 1 => {
                self.discharge(value);
                self.open_exprs.truncate(targets_base);
                StmtKind::Assign { target, value }
            }
            _ => {
                let values = self.close_list(values_base)?;
                let targets = self.close_list(targets_base)?;
                StmtKind::AssignMany { targets, values }
            }
        };
        self.add_stmt_here(kind)
    }

    /// Checks that an expression can be assigned to, and notes that it is.
    fn check_target(&mut self, target: ExprId) -> Result<(), Fail> {
        let var = match self.chunk[target].kind {
            ExprKind::Global { .. } | ExprKind::Field { .. } | ExprKind::Index { .. } => {
                return Ok(());
            }
            ExprKind::Local(var) => var,
            ExprKind::Upvalue(index) => self.func.upvalues[index as usize].var,
            _ => {
                return Err(match self.constant_use {
                    Some((expr, name)) if expr == target => self.constant_error(name),
                    _ => self.lexer.syntax_error(b"syntax error"),
                });
            }
        };
        let var = &mut self.chunk.vars[var.index()];
        var.assigned = true;
        let (attrib, name) = (var.attrib, var.name);
        match attrib {
            Attrib::Regular => Ok(()),
            _ => Err(self.constant_error(name)),
        }
    }

    #[cold]
    fn constant_error(&mut self, name: StrId) -> Fail {
        self.name_error("attempt to assign to const variable '", name, "'")
    }

    // Expressions

    fn expr(&mut self) -> Result<ExprId, Fail> {
        self.binary(0)
    }

    /// Parses expressions onto the scratch stack and returns where they start.
    fn expr_list(&mut self) -> Result<usize, Fail> {
        let base = self.open_exprs.len();
        loop {
            let start = self.chunk.exprs.len();
            let expr = self.expr()?;
            push(self.lexer.meter, &mut self.open_exprs, expr)?;
            self.expr_start = start;
            if !self.accept(Tok::Comma)? {
                return Ok(base);
            }
            self.discharge(expr);
        }
    }

    /// Parses operators that bind stronger than `limit`.
    fn binary(&mut self, limit: u8) -> Result<ExprId, Fail> {
        self.enter_level()?;
        let mut left = match self.kind() {
            Tok::Minus => self.unary(UnaryOp::Negate)?,
            Tok::Tilde => self.unary(UnaryOp::BitNot)?,
            Tok::Not => self.unary(UnaryOp::Not)?,
            Tok::Hash => self.unary(UnaryOp::Length)?,
            _ => self.simple()?,
        };
        loop {
            let (left_power, right_power, op) = PRIORITIES[self.kind() as usize];
            if left_power <= limit {
                break;
            }
            let mut line = self.lexer.line;
            self.advance()?;
            self.discharge(left);
            let right = self.binary(right_power)?;
            if op.is_comparison() {
                line = self.lexer.last_line;
            }
            left = self.add(ExprKind::Binary(op, left, right), line)?;
        }
        self.leave_level();
        Ok(left)
    }

    fn unary(&mut self, op: UnaryOp) -> Result<ExprId, Fail> {
        let line = self.lexer.line;
        self.advance()?;
        let operand = self.binary(UNARY_PRIORITY)?;
        self.add(ExprKind::Unary(op, operand), line)
    }

    fn simple(&mut self) -> Result<ExprId, Fail> {
        let token = self.lexer.token;
        let kind = match token.kind {
            Tok::Int => ExprKind::Int(token.int().into()),
            Tok::Float => ExprKind::Float(token.float().into()),
            Tok::String => ExprKind::Str(token.string()),
            Tok::Nil => ExprKind::Nil,
            Tok::True => ExprKind::True,
            Tok::False => ExprKind::False,
            Tok::Dots => {
                if !self.chunk[self.func.id].is_vararg {
                    let message = b"cannot use '...' outside a vararg function";
                    return Err(self.lexer.syntax_error(message));
                }
                ExprKind::Vararg
            }
            Tok::LeftBrace => return self.table(),
            Tok::Function => {
                self.advance()?;
                let function = self.function(self.lexer.line, false)?;
                return self.add_here(ExprKind::Function(function));
            }
            _ => return self.suffixed(),
        };
        self.advance()?;
        self.add_here(kind)
    }

    fn primary(&mut self) -> Result<ExprId, Fail> {
        match self.kind() {
            Tok::Name => self.name(),
            Tok::LeftParen => {
                let line = self.lexer.line;
                self.advance()?;
                let inner = self.expr()?;
                self.expect_match(Tok::RightParen, Tok::LeftParen, line)?;
                self.discharge(inner);
                self.constant_use = None;
                match self.chunk[inner].kind {
                    ExprKind::Local(_)
                    | ExprKind::Upvalue(_)
                    | ExprKind::Global { .. }
                    | ExprKind::Field { .. }
                    | ExprKind::Index { .. }
                    | ExprKind::Call { .. }
                    | ExprKind::Vararg => self.add_here(ExprKind::Paren(inner)),
                    _ => Ok(inner),
                }
            }
            _ => Err(self.lexer.syntax_error(b"unexpected symbol")),
        }
    }

    /// Parses a primary expression with its fields, indices and calls.
    fn suffixed(&mut self) -> Result<ExprId, Fail> {
        let mut expr = self.primary()?;
        loop {
            expr = match self.kind() {
                Tok::Dot => self.field(expr)?,
                Tok::LeftBracket => {
                    let key = self.key()?;
                    let object = expr;
                    self.add_here(match self.chunk[key].kind {
                        ExprKind::Str(name) => ExprKind::Field { object, name },
                        _ => ExprKind::Index { object, key },
                    })?
                }
                Tok::Colon => {
                    self.advance()?;
                    let name = self.expect_name()?;
                    self.discharge(expr);
                    let object = expr;
                    let callee = self.add_here(ExprKind::Method { object, name })?;
                    self.call(callee)?
                }
                Tok::LeftParen | Tok::String | Tok::LeftBrace => self.call(expr)?,
                _ => return Ok(expr),
            };
        }
    }

    /// Parses `.name`; the separator may be a colon.
    fn field(&mut self, object: ExprId) -> Result<ExprId, Fail> {
        self.advance()?;
        let name = self.expect_name()?;
        self.add_here(ExprKind::Field { object, name })
    }

    /// Parses `[key]`.
    fn key(&mut self) -> Result<ExprId, Fail> {
        self.advance()?;
        let key = self.expr()?;
        self.expect(Tok::RightBracket)?;
        Ok(key)
    }

    fn call(&mut self, callee: ExprId) -> Result<ExprId, Fail> {
        let line = self.lexer.line;
        let base = self.open_exprs.len();
        match self.kind() {
            Tok::LeftParen => {
                self.advance()?;
                if self.kind() != Tok::RightParen {
                    self.expr_list()?;
                }
                self.expect_match(Tok::RightParen, Tok::LeftParen, line)?;
            }
            Tok::LeftBrace => {
                let table = self.table()?;
                push(self.lexer.meter, &mut self.open_exprs, table)?;
            }
            Tok::String => {
                let text = self.lexer.token.string();
                self.advance()?;
                let text = self.add_here(ExprKind::Str(text))?;
                push(self.lexer.meter, &mut self.open_exprs, text)?;
            }
            _ => return Err(self.lexer.syntax_error(b"function arguments expected")),
        }
        let args = self.close_list(base)?;
        self.add(ExprKind::Call { callee, args }, line)
    }

    fn table(&mut self) -> Result<ExprId, Fail> {
        let line = self.lexer.line;
        self.expect(Tok::LeftBrace)?;
        let base = self.open_fields.len();
        // A value without key is stored when the next field or the end has been read.
        let mut waiting = None;
        while self.kind() != Tok::RightBrace {
            if let Some(value) = waiting.take() {
                self.discharge(value);
            }
            let key = match self.kind() {
                Tok::Name if self.lexer.peek()? == Tok::Assign => {
                    FieldKey::Name(self.expect_name()?)
                }
                Tok::LeftBracket => {
                    let key = self.key()?;
                    match self.chunk[key].kind {
                        ExprKind::Str(name) => FieldKey::Name(name),
                        _ => FieldKey::Expr(key),
                    }
                }
                _ => FieldKey::Next,
            };
            let has_key = !matches!(key, FieldKey::Next);
            if has_key {
                self.expect(Tok::Assign)?;
            }
            let value = self.expr()?;
            waiting = (!has_key).then_some(value);
            let line = self.lexer.last_line;
            push(self.lexer.meter, &mut self.open_fields, Field { key, value, line })?;
            if !self.accept(Tok::Comma)? && !self.accept(Tok::Semicolon)? {
                break;
            }
        }
        self.expect_match(Tok::RightBrace, Tok::LeftBrace, line)?;
        if let Some(value) = waiting {
            self.discharge(value);
        }
        // The last elements are stored at the end.
        let close_line = self.lexer.last_line;
        let last = self.open_fields[base..].iter_mut().rfind(|field| matches!(field.key, FieldKey::Next));
        if let Some(last) = last {
            last.line = close_line;
        }
        let start = self.chunk.fields.len();
        append(self.lexer.meter, &mut self.chunk.fields, &self.open_fields[base..])?;
        self.open_fields.truncate(base);
        let fields = span(start, &self.chunk.fields);
        self.add(ExprKind::Table(fields), line)
    }

    /// The value of the expression that starts at `start` and ends with the last node, if Lua
    /// knows it at compile time. The nodes of such an expression are in postfix order.
    fn constant(&self, start: usize) -> Option<ExprKind> {
        use ExprKind::*;
        let mut stack = Vec::new();
        for node in &self.chunk.exprs[start..] {
            let value = match node.kind {
                Nil | True | False | Int(_) | Float(_) | Str(_) => node.kind,
                Unary(UnaryOp::Not, _) => match stack.pop()? {
                    Nil | False => True,
                    _ => False,
                },
                Unary(op, _) => fold::literal(fold::unary(op, fold::numeral(stack.pop()?)?)?),
                Binary(op, ..) => {
                    let (right, left) = (stack.pop()?, stack.pop()?);
                    let is_false = matches!(left, Nil | False);
                    match op {
                        BinaryOp::And if !is_false => right,
                        BinaryOp::Or if is_false => right,
                        _ => fold::literal(fold::binary(
                            op,
                            fold::numeral(left)?,
                            fold::numeral(right)?,
                        )?),
                    }
                }
                _ => return None,
            };
            stack.push(value);
        }
        stack.pop()
    }
}
