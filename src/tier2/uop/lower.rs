//! Lowering: from a superblock to [`Code`].
//!
//! Registers are assigned in one pass over the nodes, each for the time between the value's making and its last use, in
//! which uses by snapshots count. What is made before the loop and used in it keeps its register to the end. A value
//! that a pass leaves for the next one is put into the register of its `PHI` at once if that is no longer needed.
//!
//! Nodes that are often found together become one instruction: a comparison, load or guard is *sunk* into the node behind it
//! that alone uses it.

use std::collections::HashMap;
use std::fmt;

use perilune_uops::{MicroOp, Type};

use super::callout::Request;
use super::code::{CallOut, Code, Form, Insn, Location, Opcode, Param, immediate, pointer_tag};
use crate::runtime::value::Tag;
use crate::tier2::executor::Counts;
use crate::tier2::superblock::{Node, ObjectId, ObjectKind, Ref, SnapshotId, Superblock, slot_offsets};

/// Why a superblock has no code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LowerError {
    /// The micro-op does not belong into a superblock, or not in this way.
    MicroOp(MicroOp),
    /// It needs too many registers, or has numbers that are too large.
    TooLarge,
    /// The last node is not one with which control leaves for good.
    Open,
}

impl fmt::Display for LowerError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            LowerError::MicroOp(op) => write!(f, "{op} in a superblock"),
            LowerError::TooLarge => f.write_str("the superblock is too large"),
            LowerError::Open => f.write_str("the superblock has no end"),
        }
    }
}

impl std::error::Error for LowerError {}

/// No register.
const NO_REGISTER: u16 = u16::MAX;
/// Snapshots beyond this do not fit beside a tag.
const NARROW_EXITS: u32 = 1 << 24;

/// The code of a superblock, which has been verified.
pub fn lower(sb: &Superblock) -> Result<Code, LowerError> {
    let mut l = Lowering::new(sb);
    l.count_uses();
    l.fuse();
    l.find_last_uses();
    l.coalesce();
    l.assign_fixed()?;
    for i in 0..sb.nodes.len() {
        l.node(i)?;
    }
    l.finish()
}

struct Lowering<'a> {
    sb: &'a Superblock,
    /// How often the value of each node is used.
    uses: Vec<u32>,
    /// The node into which this one has been sunk.
    sunk: Vec<Option<u32>>,
    /// The node that has been sunk into this one.
    with: Vec<Option<u32>>,
    /// The last node that uses the value.
    last: Vec<u32>,
    /// The values whose last use each node is.
    expiring: Vec<Vec<u32>>,
    /// For each node the `PHI` whose register it takes.
    same_as: Vec<Option<u32>>,
    /// Values whose registers are never free again.
    held: Vec<bool>,
    register: Vec<u16>,
    free: Vec<u16>,
    free_pairs: Vec<u16>,
    next: usize,
    constants: Vec<u64>,
    constant_at: HashMap<(u64, Option<u64>), usize>,
    first_constant: usize,
    params: Vec<Param>,
    insns: Vec<Insn>,
    call_outs: Vec<CallOut>,
    loop_start: usize,
}

impl<'a> Lowering<'a> {
    fn new(sb: &'a Superblock) -> Lowering<'a> {
        let n = sb.nodes.len();
        Lowering {
            sb,
            uses: vec![0; n],
            sunk: vec![None; n],
            with: vec![None; n],
            last: vec![0; n],
            expiring: vec![Vec::new(); n],
            same_as: vec![None; n],
            held: vec![false; n],
            register: vec![NO_REGISTER; n],
            free: Vec::new(),
            free_pairs: Vec::new(),
            next: 0,
            constants: Vec::new(),
            constant_at: HashMap::new(),
            first_constant: 0,
            params: Vec::new(),
            insns: Vec::with_capacity(n + 8),
            call_outs: Vec::new(),
            loop_start: 0,
        }
    }

    fn head(&self) -> Option<usize> {
        self.sb.looping.as_ref().map(|l| l.head.index())
    }

    /// What a node uses: its inputs, and the values of its snapshot.
    fn used_by(&self, node: &'a Node) -> impl Iterator<Item = Ref> + 'a {
        let slots = if node.exit.is_none() { &[] } else { self.sb.values_of(node.exit) };
        node.inputs().iter().copied().chain(slots.iter().map(|s| s.1))
    }

    fn back(&self) -> &'a [Ref] {
        self.sb.looping.as_ref().map_or(&[], |l| &l.back)
    }

    fn count_uses(&mut self) {
        for node in &self.sb.nodes {
            for r in self.used_by(node) {
                self.uses[r.index()] += 1;
            }
        }
        for r in self.back() {
            self.uses[r.index()] += 1;
        }
    }

    /// Whether no code is made for a node.
    fn is_dead(&self, i: usize) -> bool {
        self.uses[i] == 0 && !self.sb.nodes[i].is_anchored()
    }

    // Fusion.

    fn fuse(&mut self) {
        for i in 0..self.sb.nodes.len() {
            if let Some(first) = self.partner(i) {
                self.sunk[first] = Some(i as u32);
                self.with[i] = Some(first as u32);
            }
        }
    }

    /// The node that becomes one instruction with node `i`.
    fn partner(&self, i: usize) -> Option<usize> {
        use MicroOp::*;
        let node = &self.sb.nodes[i];
        if self.is_dead(i) {
            return None;
        }
        let first = node.inputs().first()?.index();
        let source = &self.sb.nodes[first];
        let only_use = self.uses[first] == 1 && self.sunk[first].is_none();
        let adjacent = first + 1 == i;
        let fits = match node.op {
            GUARD_TRUE | GUARD_FALSE => {
                let same_side = self.head().is_none_or(|head| (first < head) == (i < head));
                let tagged = |source: &Node| self.sb.type_of(source.inputs[0]) == Type::Tagged;
                let fusible = match source.op {
                    EQ_I | LT_I | LE_I | LT_U | EQ_F | LT_F | LE_F | SAME => true,
                    FOR_GOES_ON => node.op == GUARD_TRUE,
                    TRUTH | IS_NIL => tagged(source),
                    _ => false,
                };
                only_use && same_side && fusible
            }
            GUARD_SHAPE => {
                adjacent
                    && source.op == GUARD_TABLE
                    && source.exit == node.exit
                    && self.sb.type_of(source.inputs[0]) == Type::Tagged
                    && self.with[first].is_none()
            }
            GUARD_INT | GUARD_FLOAT | GUARD_STRING | GUARD_TABLE | GUARD_CLOSURE | GUARD_NATIVE | GUARD_CELL
            | GUARD_USERDATA | GUARD_COROUTINE => {
                let loads = matches!(source.op, LOAD | LOAD_INLINE | LOAD_OVERFLOW | LOAD_HOLDER | LOAD_ELEMENT);
                let narrow = source.op != LOAD_ELEMENT || node.exit.0 < NARROW_EXITS;
                only_use && adjacent && loads && narrow && source.ty == Some(Type::Tagged)
            }
            LOAD_ELEMENT | LOAD_ELEMENT_I | LOAD_ELEMENT_F => {
                let before = i.checked_sub(1)?;
                let guard = &self.sb.nodes[before];
                let same = guard.op == GUARD_IN_ARRAY && guard.inputs() == node.inputs();
                return (same && self.sunk[before].is_none()).then_some(before);
            }
            _ => false,
        };
        fits.then_some(first)
    }

    /// Where code for a node is made.
    fn place(&self, mut i: usize) -> usize {
        while let Some(at) = self.sunk[i] {
            // A table guard that has been sunk is made there, too.
            i = at as usize;
        }
        i
    }

    // Lifetimes.

    fn find_last_uses(&mut self) {
        let n = self.sb.nodes.len();
        for i in 0..n {
            let node = &self.sb.nodes[i];
            // The first values of the loop are moved at its head.
            let at = match (node.op, self.head()) {
                (MicroOp::PHI, Some(head)) => head,
                _ => self.place(i),
            };
            let used: Vec<Ref> = self.used_by(node).collect();
            for r in used {
                self.extend(r.index(), at);
            }
        }
        for r in self.back() {
            self.extend(r.index(), n - 1);
        }
        for i in 0..n {
            // A value that nobody uses is made nevertheless if its node is anchored.
            let last = (self.last[i] as usize).max(self.place(i));
            self.last[i] = last as u32;
            self.expiring[last].push(i as u32);
        }
    }

    fn extend(&mut self, value: usize, use_at: usize) {
        let at = match self.head() {
            Some(head) if value < head && use_at > head => self.sb.nodes.len() - 1,
            _ => use_at,
        };
        self.last[value] = self.last[value].max(at as u32);
    }

    /// Lets what a pass leaves for the next one take the register of its `PHI`.
    fn coalesce(&mut self) {
        let Some(head) = self.head() else { return };
        let body = head + self.back().len();
        for (phi, back) in self.sb.phis().zip(self.back()) {
            let (p, b) = (phi.index(), back.index());
            let free = b > body
                && self.last[p] as usize <= b
                && self.same_as[b].is_none()
                && self.sunk[b].is_none()
                && constant_of(self.sb, b).is_none();
            if free && self.uses[p] > 0 && self.sb.nodes[p].ty == self.sb.nodes[b].ty {
                self.same_as[b] = Some(p as u32);
                self.held[p] = true;
                self.held[b] = true;
            }
        }
    }

    // Registers.

    /// Gives parameters and constants their registers.
    fn assign_fixed(&mut self) -> Result<(), LowerError> {
        for (i, node) in self.sb.nodes.iter().enumerate() {
            if node.op == MicroOp::PARAM && self.uses[i] > 0 {
                let ty = self.sb.type_of(Ref(i as u32));
                self.register[i] = self.fresh(ty)?;
                self.params.push(Param { index: node.operands[0] as u32, form: Form::of(ty) });
            }
        }
        self.first_constant = self.next;
        for i in 0..self.sb.nodes.len() {
            if self.is_dead(i) {
                continue;
            }
            let node = &self.sb.nodes[i];
            if let Some((payload, tag)) = constant_of(self.sb, i) {
                self.register[i] = self.add_constant(payload, tag)?;
                self.held[i] = true;
            }
            match node.op {
                MicroOp::GUARD_OBJECT => {
                    let (addr, tag) = self.object(node.operands[0]);
                    self.add_constant(addr, None)?;
                    self.add_constant(addr, tag)?;
                }
                MicroOp::GUARD_PROTO
                | MicroOp::ALLOCATE_CLOSURE
                | MicroOp::LOAD_HOLDER
                | MicroOp::GUARD_METATABLE => {
                    let addr = self.object(node.operands[0]).0;
                    self.add_constant(addr, None)?;
                }
                MicroOp::NEW_TABLE => {
                    let addr = self.running_proto(node);
                    self.add_constant(addr, None)?;
                }
                _ => {}
            }
        }
        self.next += self.constants.len();
        self.check_size()
    }

    /// An object's address and the tag of values that are it.
    fn object(&self, operand: u64) -> (u64, Option<u64>) {
        let object = self.sb.object(ObjectId(operand as u32));
        let tag = object.kind.constant().and_then(|(_, ty)| pointer_tag(ty));
        (object.addr, tag.map(|tag| tag.byte() as u64))
    }

    /// The prototype of the function that runs at a node with an exit.
    fn running_proto(&self, node: &Node) -> u64 {
        let frame = self.sb.snapshot_at(node.exit).frame;
        self.sb.object(self.sb.frame(frame).proto).addr
    }

    fn add_constant(&mut self, payload: u64, tag: Option<u64>) -> Result<u16, LowerError> {
        let first = self.first_constant;
        let at = *self.constant_at.entry((payload, tag)).or_insert_with(|| {
            let at = first + self.constants.len();
            self.constants.push(payload);
            self.constants.extend(tag);
            at
        });
        u16::try_from(at).map_err(|_| LowerError::TooLarge)
    }

    /// The register of a constant that has been added.
    fn constant(&self, payload: u64, tag: Option<u64>) -> u16 {
        self.constant_at[&(payload, tag)] as u16
    }

    fn check_size(&self) -> Result<(), LowerError> {
        // One more is for moves in circles.
        if self.next + 1 < NO_REGISTER as usize { Ok(()) } else { Err(LowerError::TooLarge) }
    }

    fn fresh(&mut self, ty: Type) -> Result<u16, LowerError> {
        let register = self.next;
        self.next += width(ty);
        self.check_size()?;
        Ok(register as u16)
    }

    fn allocate(&mut self, i: usize) -> Result<u16, LowerError> {
        let ty = self.sb.type_of(Ref(i as u32));
        let register = match self.same_as[i] {
            Some(phi) => self.register[phi as usize],
            None => {
                let list = if ty == Type::Tagged { &mut self.free_pairs } else { &mut self.free };
                match list.pop() {
                    Some(register) => register,
                    None => self.fresh(ty)?,
                }
            }
        };
        self.register[i] = register;
        Ok(register)
    }

    /// Frees the registers of values that nobody uses behind node `i`.
    fn expire(&mut self, i: usize, made_here: bool) {
        for value in std::mem::take(&mut self.expiring[i]) {
            let v = value as usize;
            if (v == i) != made_here {
                self.expiring[i].push(value);
            } else if self.register[v] != NO_REGISTER && !self.held[v] {
                if self.sb.nodes[v].ty == Some(Type::Tagged) {
                    self.free_pairs.push(self.register[v]);
                } else {
                    self.free.push(self.register[v]);
                }
            }
        }
    }

    // Code.

    fn emit(&mut self, op: Opcode, a: u16, b: u16, c: u16, imm: u64) {
        self.insns.push(Insn::new(op, a, b, c, imm));
    }

    /// The register of an input.
    fn input(&self, node: &Node, k: usize) -> u16 {
        let register = self.register[node.inputs[k].index()];
        debug_assert!(register != NO_REGISTER, "{} uses a value without register", node.op);
        register
    }

    fn type_of(&self, node: &Node, k: usize) -> Type {
        self.sb.type_of(node.inputs[k])
    }

    fn form(&self, node: &Node, k: usize) -> Form {
        Form::of(self.type_of(node, k))
    }

    fn node(&mut self, i: usize) -> Result<(), LowerError> {
        let node = self.sb.nodes[i];
        if self.sunk[i].is_some() || self.is_dead(i) && node.op != MicroOp::PHI {
            // A table guard that is sunk makes a value: its register is assigned where it is made.
            return Ok(());
        }
        match node.op {
            MicroOp::PARAM => {}
            MicroOp::PHI => {}
            MicroOp::LOOP => self.loop_head()?,
            _ => {
                self.expire(i, false);
                let made = match self.with[i] {
                    Some(first) if node.op == MicroOp::GUARD_SHAPE => first as usize,
                    _ => i,
                };
                let output = if self.sb.nodes[made].ty.is_none() {
                    NO_REGISTER
                } else if self.register[made] != NO_REGISTER {
                    self.register[made]
                } else {
                    self.allocate(made)?
                };
                self.lower(i, &node, output)?;
            }
        }
        self.expire(i, true);
        Ok(())
    }

    fn loop_head(&mut self) -> Result<(), LowerError> {
        let phis: Vec<Ref> = self.sb.phis().filter(|phi| self.uses[phi.index()] > 0).collect();
        let mut moves = Vec::new();
        for &phi in &phis {
            let to = self.allocate(phi.index())?;
            let from = self.input(self.sb.node(phi), 0);
            push_moves(&mut moves, to, from, self.sb.type_of(phi));
        }
        self.moves(moves);
        self.loop_start = self.insns.len();
        if let Some(head) = self.head() {
            self.expire(head, false);
        }
        Ok(())
    }

    /// Moves registers all at once: one after the other, such that none is overwritten before it has been read.
    fn moves(&mut self, mut pending: Vec<(u16, u16)>) {
        pending.retain(|(to, from)| to != from);
        let mut ordered = Vec::with_capacity(pending.len());
        while !pending.is_empty() {
            let ready = pending.iter().position(|m| pending.iter().all(|other| other.1 != m.0));
            match ready {
                Some(at) => ordered.push(pending.swap_remove(at)),
                None => {
                    // All are in circles: the first one's target is kept elsewhere.
                    let kept = pending[0].0;
                    let spare = self.spare();
                    ordered.push((spare, kept));
                    pending.iter_mut().filter(|m| m.1 == kept).for_each(|m| m.1 = spare);
                }
            }
        }
        for two in ordered.chunks(2) {
            match *two {
                [(a, b), (c, d)] => self.emit(Opcode::Move2, a, b, d, c as u64),
                [(a, b)] => self.emit(Opcode::Move, a, b, 0, 0),
                _ => unreachable!("chunks of one or two"),
            }
        }
    }

    /// A register for breaking circles. Each circle is done before the next one is broken, so there is one.
    fn spare(&mut self) -> u16 {
        self.next as u16
    }

    fn call_out(&mut self, node: &Node, output: u16) {
        let mut inputs = [(0, Form::INT); 3];
        for (k, input) in inputs.iter_mut().enumerate().take(node.inputs().len()) {
            *input = (self.input(node, k), self.form(node, k));
        }
        let at = self.call_outs.len() as u64;
        self.call_outs.push(CallOut { request: Request::new(self.sb, node), inputs, output });
        self.emit(Opcode::CallOut, 0, 0, 0, at);
    }

    /// A guard for a type with one tag.
    fn guard_type(&mut self, i: usize, node: &Node, output: u16, ty: Type) {
        let exit = node.exit.0 as u64;
        let tag = pointer_tag(ty).map_or(0, Tag::byte) as u16;
        if let Some(first) = self.with[i] {
            return self.guarded_load(first as usize, node, output, tag);
        }
        let from = self.type_of(node, 0);
        let b = self.input(node, 0);
        if from == Type::Tagged {
            self.emit(Opcode::GuardTag, output, b, tag, exit);
        } else if from == ty {
            self.emit(Opcode::Move, output, b, 0, 0);
        } else {
            self.emit(Opcode::Exit, 0, 0, 0, exit);
        }
    }

    /// A load whose value must have a tag.
    fn guarded_load(&mut self, first: usize, guard: &Node, output: u16, tag: u16) {
        let load = self.sb.nodes[first];
        let exit = guard.exit.0;
        match load.op {
            MicroOp::LOAD => self.emit(Opcode::LoadSlotGuard, output, load.operands[0] as u16, tag, exit as u64),
            MicroOp::LOAD_ELEMENT => {
                let (b, c) = (self.input(&load, 0), self.input(&load, 1));
                match self.with[first] {
                    Some(bounds) => {
                        let high = exit | (tag as u32) << 24;
                        let low = self.sb.nodes[bounds as usize].exit.0;
                        let imm = low as u64 | (high as u64) << 32;
                        self.emit(Opcode::GuardLoadElementGuard, output, b, c, imm);
                    }
                    None => self.emit(Opcode::LoadElementGuard, output, b, c, exit as u64 | (tag as u64) << 32),
                }
            }
            _ => {
                let (inline, b, slot) = self.slot_of(&load);
                let op = if inline { Opcode::LoadInlineGuard } else { Opcode::LoadOverflowGuard };
                self.emit(op, output, b, tag, exit as u64 | slot << 32);
            }
        }
    }

    /// Of a load from a table: whether the slot is in the table itself, the table's register, and the slot.
    fn slot_of(&self, load: &Node) -> (bool, u16, u64) {
        match load.op {
            MicroOp::LOAD_HOLDER => {
                let slot = load.operands[1];
                let table = self.constant(self.object(load.operands[0]).0, None);
                (!slot_offsets(slot).in_overflow(), table, slot)
            }
            op => (op == MicroOp::LOAD_INLINE, self.input(load, 0), load.operands[0]),
        }
    }

    /// A guard for a Bool, which may have been sunk into it.
    fn guard_bool(&mut self, i: usize, node: &Node, sense: bool) {
        use MicroOp::*;
        use Opcode::*;
        let exit = node.exit.0 as u64;
        let Some(first) = self.with[i] else {
            let b = self.input(node, 0);
            return self.emit(if sense { GuardTrue } else { GuardFalse }, 0, b, 0, exit);
        };
        let test = self.sb.nodes[first as usize];
        let b = self.input(&test, 0);
        let c = if test.inputs().len() > 1 { self.input(&test, 1) } else { 0 };
        let (op, b, c) = match (test.op, sense) {
            (EQ_I | SAME, true) => (GuardEqI, b, c),
            (EQ_I | SAME, false) => (GuardNeI, b, c),
            (LT_I, true) => (GuardLtI, b, c),
            (LT_I, false) => (GuardLeI, c, b),
            (LE_I, true) => (GuardLeI, b, c),
            (LE_I, false) => (GuardLtI, c, b),
            (LT_U, true) => (GuardLtU, b, c),
            (LT_U, false) => (GuardNotLtU, b, c),
            (EQ_F, true) => (GuardEqF, b, c),
            (EQ_F, false) => (GuardNeF, b, c),
            (LT_F, true) => (GuardLtF, b, c),
            (LT_F, false) => (GuardNotLtF, b, c),
            (LE_F, true) => (GuardLeF, b, c),
            (LE_F, false) => (GuardNotLeF, b, c),
            (TRUTH, true) => (GuardTruthy, b, 0),
            (TRUTH, false) => (GuardFalsy, b, 0),
            (IS_NIL, true) => (GuardNil, b, 0),
            (IS_NIL, false) => (GuardNotNil, b, 0),
            (FOR_GOES_ON, _) => {
                let third = self.input(&test, 2);
                return self.emit(GuardGoesOn, 0, b, c, immediate(exit as u32, third, Form::FLOAT, Form::FLOAT));
            }
            _ => unreachable!("only these are sunk into guards"),
        };
        self.emit(op, 0, b, c, exit);
    }

    fn lower(&mut self, i: usize, node: &Node, a: u16) -> Result<(), LowerError> {
        use Opcode as O;
        let exit = if node.exit.is_none() { 0 } else { node.exit.0 as u64 };
        let input = |k: usize| self.input(node, k);
        let operand = node.operands[0];
        let form = |k: usize| self.form(node, k);
        let none = Form::INT;
        macro_rules! unary {
            ($op:ident) => {{
                let b = input(0);
                self.emit(O::$op, a, b, 0, exit)
            }};
        }
        macro_rules! binary {
            ($op:ident) => {{
                let (b, c) = (input(0), input(1));
                self.emit(O::$op, a, b, c, exit)
            }};
        }
        macro_rules! ternary {
            ($op:ident) => {{
                let (b, c, third, second) = (input(0), input(1), input(2), form(2));
                self.emit(O::$op, a, b, c, immediate(exit as u32, third, second, none))
            }};
        }
        // The second input may be of any type.
        macro_rules! with_any {
            ($op:ident, $low:expr) => {{
                let (b, c, f) = (input(0), input(1), form(1));
                self.emit(O::$op, a, b, c, immediate($low, 0, f, none))
            }};
        }
        let nothing = || Ok(());
        match node.op {
            // Constants are in their registers already.
            MicroOp::CONST_NIL
            | MicroOp::CONST_INT
            | MicroOp::CONST_FLOAT
            | MicroOp::CONST_BOOL
            | MicroOp::CONST_TABLE
            | MicroOp::CONST_STRING
            | MicroOp::CONST_CLOSURE
            | MicroOp::CONST_NATIVE
            | MicroOp::CONST_CELL
            | MicroOp::CONST_USERDATA
            | MicroOp::CONST_COROUTINE => return nothing(),

            // The frame.
            MicroOp::LOAD => {
                let op = match node.ty {
                    Some(Type::Tagged) => O::LoadSlot,
                    Some(Type::Bool) => O::LoadSlotBool,
                    _ => O::LoadSlotPayload,
                };
                self.emit(op, a, operand as u16, 0, 0);
            }
            MicroOp::CALLEE => self.emit(O::LoadSlotPayload, a, 0, 0, 0),
            MicroOp::EXTRA_COUNT => self.emit(O::ExtraCount, a, 0, 0, 0),
            MicroOp::LOAD_EXTRA => unary!(LoadExtra),
            MicroOp::LIST_COUNT => self.emit(O::ListCount, a, operand as u16, 0, 0),

            // Types.
            MicroOp::GUARD_INT => self.guard_type(i, node, a, Type::Int),
            MicroOp::GUARD_FLOAT => self.guard_type(i, node, a, Type::Float),
            MicroOp::GUARD_STRING => self.guard_type(i, node, a, Type::String),
            MicroOp::GUARD_TABLE => self.guard_type(i, node, a, Type::Table),
            MicroOp::GUARD_CLOSURE => self.guard_type(i, node, a, Type::Closure),
            MicroOp::GUARD_NATIVE => self.guard_type(i, node, a, Type::Native),
            MicroOp::GUARD_CELL => self.guard_type(i, node, a, Type::Cell),
            MicroOp::GUARD_USERDATA => self.guard_type(i, node, a, Type::Userdata),
            MicroOp::GUARD_COROUTINE => self.guard_type(i, node, a, Type::Coroutine),
            MicroOp::GUARD_NUMBER => match self.type_of(node, 0) {
                Type::Tagged => unary!(GuardNumber),
                Type::Int => unary!(IntToFloat),
                Type::Float => unary!(Move),
                _ => self.emit(O::Exit, 0, 0, 0, exit),
            },
            MicroOp::GUARD_BOOL => match self.type_of(node, 0) {
                Type::Tagged => unary!(GuardBool),
                Type::Bool => unary!(Move),
                _ => self.emit(O::Exit, 0, 0, 0, exit),
            },
            MicroOp::GUARD_NIL => match self.type_of(node, 0) {
                Type::Tagged => unary!(GuardNil),
                _ => self.emit(O::Exit, 0, 0, 0, exit),
            },
            MicroOp::GUARD_NOT_NIL => {
                if self.type_of(node, 0) == Type::Tagged {
                    unary!(GuardNotNil)
                }
            }
            MicroOp::GUARD_OBJECT => {
                let (addr, tag) = self.object(operand);
                let ty = self.type_of(node, 0);
                let b = input(0);
                if ty == Type::Tagged {
                    let c = self.constant(addr, tag);
                    self.emit(O::GuardIdentical, 0, b, c, exit);
                } else if pointer_tag(ty).map(|t| t.byte() as u64) == tag && tag.is_some() {
                    let c = self.constant(addr, None);
                    self.emit(O::GuardSame, 0, b, c, exit);
                } else {
                    self.emit(O::Exit, 0, 0, 0, exit);
                }
            }
            MicroOp::GUARD_NEXT => match self.type_of(node, 0) {
                Type::Tagged => unary!(GuardNext),
                Type::Native => unary!(GuardNextPayload),
                _ => self.emit(O::Exit, 0, 0, 0, exit),
            },
            MicroOp::GUARD_TRUE => self.guard_bool(i, node, true),
            MicroOp::GUARD_FALSE => self.guard_bool(i, node, false),
            MicroOp::TRUTH => match self.type_of(node, 0) {
                Type::Tagged => unary!(Truthy),
                Type::Bool => unary!(Move),
                _ => self.emit(O::Set, a, 0, 0, 1),
            },
            MicroOp::IS_NIL => match self.type_of(node, 0) {
                Type::Tagged => unary!(IsNil),
                _ => self.emit(O::Set, a, 0, 0, 0),
            },

            // Integers.
            MicroOp::ADD_I => binary!(AddI),
            MicroOp::SUB_I => binary!(SubI),
            MicroOp::MUL_I => binary!(MulI),
            MicroOp::IDIV_I => binary!(IDivI),
            MicroOp::MOD_I => binary!(ModI),
            MicroOp::NEG_I => unary!(NegI),
            MicroOp::AND_I => binary!(AndI),
            MicroOp::OR_I => binary!(OrI),
            MicroOp::XOR_I => binary!(XorI),
            MicroOp::NOT_I => unary!(NotI),
            MicroOp::SHL_I => binary!(ShlI),
            MicroOp::SHR_I => binary!(ShrI),
            MicroOp::SAR_I => binary!(SarI),
            MicroOp::ABS_I => unary!(AbsI),
            MicroOp::MIN_I => binary!(MinI),
            MicroOp::MAX_I => binary!(MaxI),
            MicroOp::EQ_I | MicroOp::SAME => binary!(EqI),
            MicroOp::LT_I => binary!(LtI),
            MicroOp::LE_I => binary!(LeI),
            MicroOp::LT_U => binary!(LtU),
            MicroOp::SELECT_I | MicroOp::SELECT_F => ternary!(Select),
            MicroOp::GUARD_NOT_ZERO => unary!(GuardNotZero),

            // Floats.
            MicroOp::ADD_F => binary!(AddF),
            MicroOp::SUB_F => binary!(SubF),
            MicroOp::MUL_F => binary!(MulF),
            MicroOp::DIV_F => binary!(DivF),
            MicroOp::IDIV_F => binary!(IDivF),
            MicroOp::MOD_F => binary!(ModF),
            MicroOp::POW_F => binary!(PowF),
            MicroOp::NEG_F => unary!(NegF),
            MicroOp::ABS_F => unary!(AbsF),
            MicroOp::SQRT_F => unary!(SqrtF),
            MicroOp::FLOOR_F => unary!(FloorF),
            MicroOp::CEIL_F => unary!(CeilF),
            MicroOp::MIN_F => binary!(MinF),
            MicroOp::MAX_F => binary!(MaxF),
            MicroOp::EQ_F => binary!(EqF),
            MicroOp::LT_F => binary!(LtF),
            MicroOp::LE_F => binary!(LeF),
            MicroOp::INT_TO_FLOAT => unary!(IntToFloat),
            MicroOp::FLOAT_TO_INT => unary!(FloatToInt),
            MicroOp::EXACT_FLOAT => unary!(ExactFloat),
            MicroOp::CALL_F => {
                let b = input(0);
                self.emit(O::CallF, a, b, 0, operand)
            }
            MicroOp::CALL_FF => {
                let (b, c) = (input(0), input(1));
                self.emit(O::CallFF, a, b, c, operand)
            }
            MicroOp::RANDOM_F => self.emit(O::RandomF, a, 0, 0, 0),
            MicroOp::RANDOM_I => binary!(RandomI),
            MicroOp::FOR_GOES_ON => ternary!(GoesOn),

            // Booleans, identity and strings.
            MicroOp::NOT => unary!(Not),
            MicroOp::SELECT => {
                let (b, c, third) = (input(0), input(1), input(2));
                let imm = immediate(0, third, form(1), form(2));
                self.emit(O::SelectTagged, a, b, c, imm)
            }
            MicroOp::RAW_EQ | MicroOp::GUARD_RAW_EQ => {
                let op = if node.op == MicroOp::RAW_EQ { O::RawEq } else { O::GuardRawEq };
                let imm = immediate(exit as u32, 0, form(0), form(1));
                let (b, c) = (input(0), input(1));
                self.emit(op, a, b, c, imm);
            }
            MicroOp::EQ_S => binary!(EqS),
            MicroOp::LT_S => binary!(LtS),
            MicroOp::LE_S => binary!(LeS),
            MicroOp::LENGTH_S => unary!(LengthS),
            MicroOp::LOAD_BYTE => binary!(LoadByte),
            MicroOp::SUBSTRING => ternary!(Substring),
            MicroOp::BYTE_STRING => unary!(ByteString),

            // Captured variables.
            MicroOp::LOAD_CAPTURED => {
                let b = input(0);
                self.emit(O::LoadCaptured, a, b, operand as u16, 0)
            }
            MicroOp::INIT_CAPTURED => {
                let (b, cell) = (input(0), input(1));
                self.emit(O::InitCaptured, cell, b, operand as u16, 0)
            }
            MicroOp::LOAD_CELL => unary!(LoadCell),
            MicroOp::SET_CELL => with_any!(SetCell, exit as u32),
            MicroOp::GUARD_MUTABLE => unary!(GuardMutable),
            MicroOp::STORE_CELL => with_any!(StoreCell, 0),
            MicroOp::NEW_CELL => {
                let (b, f) = (input(0), form(0));
                self.emit(O::NewCell, a, b, 0, immediate(exit as u32, 0, f, none))
            }
            MicroOp::NEW_EMPTY_CELL => self.emit(O::NewEmptyCell, a, 0, 0, exit),
            MicroOp::ALLOCATE_CLOSURE => {
                let proto = self.constant(self.object(operand).0, None);
                self.emit(O::AllocateClosure, a, proto, 0, exit)
            }
            MicroOp::GUARD_PROTO => {
                let (b, proto) = (input(0), self.constant(self.object(operand).0, None));
                self.emit(O::GuardProto, a, b, proto, exit)
            }

            // Tables: the header.
            MicroOp::GUARD_SHAPE => match self.with[i] {
                Some(first) => {
                    let b = self.input(&self.sb.nodes[first as usize], 0);
                    self.emit(O::GuardTableShape, a, b, 0, exit | operand << 32)
                }
                None => {
                    let b = input(0);
                    self.emit(O::GuardShape, 0, b, 0, exit | operand << 32)
                }
            },
            MicroOp::SET_SHAPE => {
                let b = input(0);
                self.emit(O::SetShape, 0, b, 0, operand)
            }
            MicroOp::GUARD_NO_METATABLE => unary!(GuardNoMetatable),
            MicroOp::GUARD_METATABLE => {
                let (b, metatable) = (input(0), self.constant(self.object(operand).0, None));
                self.emit(O::GuardMetatable, 0, b, metatable, exit)
            }
            MicroOp::SET_METATABLE => {
                let (b, c) = (input(0), input(1));
                self.emit(O::SetMetatable, 0, b, c, operand)
            }
            MicroOp::GUARD_EPOCH => self.emit(O::GuardEpoch, 0, 0, 0, exit | operand << 32),
            MicroOp::BARRIER => unary!(Barrier),
            MicroOp::NEW_TABLE => {
                let proto = self.constant(self.running_proto(node), None);
                self.emit(O::NewTable, a, proto, 0, exit | operand << 32)
            }
            MicroOp::ALLOCATE_TABLE => {
                let capacity = u16::try_from(node.operands[1]).map_err(|_| LowerError::TooLarge)?;
                self.emit(O::AllocateTable, a, 0, capacity, exit | operand << 32)
            }

            // Tables: the object part.
            MicroOp::LOAD_INLINE | MicroOp::LOAD_OVERFLOW | MicroOp::LOAD_HOLDER => {
                let (inline, b, slot) = self.slot_of(node);
                self.emit(if inline { O::LoadInline } else { O::LoadOverflow }, a, b, 0, slot << 32)
            }
            MicroOp::STORE_INLINE => with_any!(StoreInline, operand as u32),
            MicroOp::STORE_OVERFLOW => with_any!(StoreOverflow, operand as u32),
            MicroOp::GUARD_FOUND => {
                if operand == 0 && self.type_of(node, 0) == Type::Tagged {
                    unary!(GuardNotNil)
                }
            }
            MicroOp::GUARD_FOUND_IN => {
                if self.type_of(node, 1) == Type::Tagged {
                    binary!(GuardFoundIn)
                }
            }

            // Tables: the array part.
            MicroOp::GUARD_IN_ARRAY => binary!(GuardInArray),
            MicroOp::GUARD_ARRAY_KIND => {
                let b = input(0);
                self.emit(O::GuardArrayKind, 0, b, operand as u16, exit)
            }
            MicroOp::GUARD_ACCEPTS => with_any!(GuardAccepts, exit as u32),
            MicroOp::GUARD_APPENDS => binary!(GuardAppends),
            MicroOp::GUARD_STORABLE => ternary!(GuardStorable),
            MicroOp::GUARD_RAW_STORABLE => ternary!(GuardRawStorable),
            MicroOp::LOAD_ELEMENT | MicroOp::LOAD_ELEMENT_I | MicroOp::LOAD_ELEMENT_F => {
                let (b, c) = (input(0), input(1));
                let tagged = node.op == MicroOp::LOAD_ELEMENT;
                match self.with[i] {
                    Some(bounds) => {
                        let exit = self.sb.nodes[bounds as usize].exit.0 as u64;
                        let op = if tagged { O::GuardLoadElement } else { O::GuardLoadElementPayload };
                        self.emit(op, a, b, c, exit)
                    }
                    None => self.emit(if tagged { O::LoadElement } else { O::LoadElementPayload }, a, b, c, 0),
                }
            }
            MicroOp::TEST_ELEMENT => binary!(TestElement),
            MicroOp::STORE_ELEMENT => ternary!(StoreElement),
            MicroOp::REPLACE_ELEMENT => ternary!(ReplaceElement),
            MicroOp::INIT_ELEMENT => ternary!(InitElement),
            MicroOp::LENGTH_T => unary!(LengthT),

            // Tables: any key.
            MicroOp::RAW_GET => with_any!(RawGet, 0),
            MicroOp::RAW_SET => {
                let imm = immediate(exit as u32, input(2), form(1), form(2));
                let (b, c) = (input(0), input(1));
                self.emit(O::RawSet, 0, b, c, imm)
            }
            MicroOp::KEY_POSITION => with_any!(KeyPosition, exit as u32),
            MicroOp::FIND_NEXT => with_any!(FindNext, exit as u32),
            MicroOp::NEXT_POSITION => binary!(NextPosition),
            MicroOp::LOAD_KEY => binary!(LoadKey),
            MicroOp::LOAD_VALUE => binary!(LoadValue),

            // Heat is not counted here, and there is room for all frames when the executor is entered.
            MicroOp::LOOP_HEAD | MicroOp::ENTRY | MicroOp::GUARD_ROOM | MicroOp::GUARD_ARGS => return nothing(),
            MicroOp::POLL => self.emit(O::Poll, 0, 0, 0, exit),
            MicroOp::SAFEPOINT => self.emit(O::Safepoint, 0, 0, 0, exit),
            MicroOp::SUNK => self.emit(O::Sunk, 0, 0, 0, operand),
            MicroOp::START => self.emit(O::Start, 0, 0, 0, 0),
            MicroOp::GUARD_PLAIN_RETURN => {
                let frame = self.sb.frame(self.sb.snapshot_at(node.exit).frame);
                let plain = frame.continuation as u8 | frame.flags == 0;
                match frame.caller {
                    None => self.emit(O::GuardPlainReturn, 0, 0, 0, exit),
                    Some(_) if plain => {}
                    Some(_) => self.emit(O::Exit, 0, 0, 0, exit),
                }
            }
            MicroOp::GUARD_CATCHING => self.emit(O::GuardCatching, 0, 0, operand as u16, exit),
            MicroOp::GUARD_UNMARKED => self.emit(O::GuardUnmarked, 0, 0, 0, exit),
            MicroOp::GUARD_VALID => self.emit(O::GuardValid, 0, 0, 0, exit),
            MicroOp::EXIT | MicroOp::LINK | MicroOp::JOIN => self.emit(O::Exit, 0, 0, 0, exit),
            MicroOp::BACK => {
                let mut moves = Vec::new();
                for (phi, &back) in self.sb.phis().zip(self.back()) {
                    if self.uses[phi.index()] > 0 {
                        let (to, from) = (self.register[phi.index()], self.register[back.index()]);
                        push_moves(&mut moves, to, from, self.sb.type_of(phi));
                    }
                }
                self.moves(moves);
                self.emit(O::Back, 0, 0, 0, self.loop_start as u64)
            }

            // Call-outs.
            MicroOp::GUARD_STRINGS
            | MicroOp::CONCAT_S
            | MicroOp::NEW_CLOSURE
            | MicroOp::SET_LIST
            | MicroOp::ARITH
            | MicroOp::COMPARE
            | MicroOp::LENGTH
            | MicroOp::CONCAT
            | MicroOp::GET_INDEX
            | MicroOp::SET_INDEX
            | MicroOp::GET_FIELD
            | MicroOp::SET_FIELD
            | MicroOp::GET_METHOD
            | MicroOp::RAISE
            | MicroOp::FOR_PREPARE
            | MicroOp::CALL
            | MicroOp::CALL_NATIVE
            | MicroOp::SWITCH
            | MicroOp::CALL_LEAF
            | MicroOp::CALL_TABLE
            | MicroOp::TAIL_CALL
            | MicroOp::PUSH_FRAME
            | MicroOp::REPLACE_FRAME
            | MicroOp::POP_FRAME
            | MicroOp::LEAVE
            | MicroOp::VARARG
            | MicroOp::MARK_TO_CLOSE
            | MicroOp::CLOSE
            | MicroOp::INTERPRET => self.call_out(node, a),

            MicroOp::TAG => {
                let (b, f) = (input(0), form(0));
                self.emit(O::Tag, a, b, 0, immediate(0, 0, f, none))
            }

            // Made when control leaves.
            MicroOp::VIRTUAL_TABLE | MicroOp::VIRTUAL_CLOSURE | MicroOp::VIRTUAL_CELL => return nothing(),

            // Handled before.
            MicroOp::PARAM | MicroOp::LOOP | MicroOp::PHI => return nothing(),

            // Projection leaves none of these.
            MicroOp::CONST
            | MicroOp::STORE
            | MicroOp::STORE_NILS
            | MicroOp::STORE_PAIR
            | MicroOp::JUMP
            | MicroOp::JUMP_IF
            | MicroOp::JUMP_UNLESS => return Err(LowerError::MicroOp(node.op)),
        }
        Ok(())
    }

    fn finish(self) -> Result<Code, LowerError> {
        use MicroOp::{LEAVE, TAIL_CALL};
        match self.sb.nodes.last() {
            Some(node) if node.op.ends() || matches!(node.op, LEAVE | TAIL_CALL) => {}
            _ => return Err(LowerError::Open),
        }
        let mut locations = Vec::with_capacity(self.sb.slots.len());
        let mut ends = Vec::with_capacity(self.sb.snapshots.len());
        for id in 0..self.sb.snapshots.len() {
            for &(_, r) in self.sb.values_of(SnapshotId(id as u32)) {
                locations.push(match self.register[r.index()] {
                    // Of a virtual object, or of a snapshot that no node uses.
                    NO_REGISTER => Location { register: 0, form: Form::INT },
                    register => Location { register, form: Form::of(self.sb.type_of(r)) },
                });
            }
            ends.push(locations.len() as u32);
        }
        let code = Code {
            registers: self.next + 1,
            params: self.params.into(),
            first_constant: self.first_constant,
            constants: self.constants.into(),
            ends: ends.into(),
            locations: locations.into(),
            call_outs: self.call_outs.into(),
            insns: self.insns.into(),
            counts: Counts::default(),
        };
        assert!(code.first_constant + code.constants.len() <= code.registers);
        assert!(code.locations.iter().all(|l| (l.register as usize) < code.registers));
        Ok(code)
    }
}

/// Registers that a value takes.
fn width(ty: Type) -> usize {
    if ty == Type::Tagged { 2 } else { 1 }
}

/// The moves for one value.
fn push_moves(moves: &mut Vec<(u16, u16)>, to: u16, from: u16, ty: Type) {
    moves.extend((0..width(ty) as u16).map(|k| (to + k, from + k)));
}

/// The payload, and of a tagged one the tag, of a constant.
fn constant_of(sb: &Superblock, i: usize) -> Option<(u64, Option<u64>)> {
    let node = &sb.nodes[i];
    let object = |kind: ObjectKind| {
        let object = sb.object(ObjectId(node.operands[0] as u32));
        debug_assert_eq!(object.kind, kind);
        Some((object.addr, None))
    };
    match node.op {
        MicroOp::CONST_NIL => Some((0, Some(Tag::NIL.byte() as u64))),
        MicroOp::CONST_INT | MicroOp::CONST_FLOAT | MicroOp::CONST_BOOL => Some((node.operands[0], None)),
        MicroOp::CONST_TABLE => object(ObjectKind::Table),
        MicroOp::CONST_STRING => object(ObjectKind::String),
        MicroOp::CONST_CLOSURE => object(ObjectKind::Closure),
        MicroOp::CONST_NATIVE => object(ObjectKind::Native),
        MicroOp::CONST_CELL => object(ObjectKind::Cell),
        MicroOp::CONST_USERDATA => object(ObjectKind::Userdata),
        MicroOp::CONST_COROUTINE => object(ObjectKind::Coroutine),
        _ => None,
    }
}
