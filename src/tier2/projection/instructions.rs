//! What each instruction becomes.

use perilune_uops::{MicroOp, Type};

use super::super::superblock::*;
use super::{Ended, Flow, Projector, Stop, type_of_tag};
use crate::bytecode::proto::CellSource;
use crate::bytecode::{Instr, Op};
use crate::runtime::assumption::Assumption;
use crate::runtime::metatable::Event;
use crate::runtime::function::{CellState, UpCell};
use crate::runtime::object::Gc;
use crate::runtime::value::Value;
use crate::tier1::recording::facts;

/// Elements that a constructor gives a table one by one; more are copied from memory.
const ELEMENTS_MAX: u64 = 32;

impl Projector<'_> {
    pub(super) fn project_instruction(&mut self, instr: Instr) -> Flow {
        let op = instr.op();
        match op.general() {
            Op::LOOP => {
                self.poll();
                self.goes_to(super::target(self.pc(), instr))
            }
            Op::FORLOOP => self.for_loop(instr),
            Op::TFORLOOP => self.iterator_loop(instr),
            Op::TFORCALL => self.iterator_call(instr),
            Op::TFORPREP => self.iterator_prepare(instr),
            Op::FORPREP => self.for_prepare(instr),

            Op::CELL => {
                let x = self.read(self.register(instr.a()));
                let cell = self.emit(MicroOp::NEW_CELL, &[x], &[]);
                self.write(self.register(instr.a()), cell);
                self.goes_on()
            }
            Op::GETCELL => {
                let cell = self.cell_in(instr.b());
                self.get_cell(instr, cell)
            }
            Op::SETCELL => {
                let cell = self.cell_in(instr.a());
                let state = self.cell_sample(cell);
                self.set_cell(cell, state, instr.b())
            }
            Op::GETUP => {
                let (cell, _) = self.captured(instr.b());
                self.get_cell(instr, cell)
            }
            Op::SETUP => {
                let (cell, state) = self.captured(instr.b());
                self.set_cell(cell, state, instr.a())
            }
            Op::CLOSURE => self.closure(instr),

            Op::GETENV => {
                let table = self.environment(instr.b());
                self.get_field(instr, table, instr.a())
            }
            Op::SETENV => {
                let table = self.environment(instr.b());
                let v = self.read(self.register(instr.a()));
                self.set_field(instr, table, v)
            }
            Op::GETFIELD => {
                let receiver = self.read(self.register(instr.b()));
                self.get_field(instr, receiver, instr.a())
            }
            Op::SELF => self.get_method(instr),
            Op::SETFIELD => {
                let receiver = self.read(self.register(instr.a()));
                let v = self.read(self.register(instr.b()));
                self.set_field(instr, receiver, v)
            }
            Op::SETFIELDK => {
                let receiver = self.read(self.register(instr.a()));
                let v = self.constant_of(instr.bc() as usize);
                self.set_field(instr, receiver, v)
            }
            Op::GETINDEX => {
                let key = self.read(self.register(instr.c()));
                self.get_index(instr, key)
            }
            Op::GETINT => {
                let key = self.sb.push(Node::int(instr.sd() as i64));
                self.get_index(instr, key)
            }
            Op::SETINDEX => {
                let key = self.read(self.register(instr.b()));
                let v = self.read(self.register(instr.c()));
                self.set_index(instr, key, v)
            }
            Op::SETINDEXK => {
                let key = self.read(self.register(instr.b()));
                let v = self.constant_of(instr.d() as usize);
                self.set_index(instr, key, v)
            }
            Op::SETINT => {
                let key = self.sb.push(Node::int(instr.sd() as i64));
                let v = self.read(self.register(instr.b()));
                self.set_index(instr, key, v)
            }
            Op::NEWTABLE => self.new_table(instr),
            Op::SETLIST => self.set_list(instr),
            Op::LEN => self.length(instr),
            Op::CONCAT => self.concat(instr),

            Op::JEQ | Op::JNE => self.equality(instr),
            Op::JEQK | Op::JNEK => self.equality_with_constant(instr),

            Op::CALL => self.call(instr),
            Op::TAILCALL => self.tail_call(instr),
            Op::RETURN => self.return_values(instr, instr.a(), instr.b()),
            Op::RETURN0 => self.return_values(instr, 0, 1),
            Op::RETURN1 => self.return_values(instr, instr.a(), 2),
            Op::VARARG => self.vararg(instr),
            // Marking a variable ends a superblock in an inlined frame, so there is none to close.
            Op::CLOSE if self.frame != FrameId(0) && self.stays() => self.goes_on(),
            Op::CLOSE if self.step().facts & facts::MARKED == 0 && !self.cautious && self.stays() => {
                self.emit(MicroOp::GUARD_UNMARKED, &[], &[]);
                self.goes_on()
            }
            Op::TBC | Op::CLOSE => self.in_frame(instr),
            _ => self.by_table(instr),
        }
    }

    /// As the tables say: the first case that fits, else the expansion of the general instruction.
    fn by_table(&mut self, instr: Instr) -> Flow {
        let general = instr.op().general();
        if self.stays() {
            for case in general.cases() {
                if self.case_fits(instr, case) {
                    return self.expand(instr, case);
                }
            }
        }
        self.general(instr)
    }

    /// As the general instruction's expansion says. If the recording shows that it has called something, the
    /// superblock ends behind it.
    pub(super) fn general(&mut self, instr: Instr) -> Flow {
        if !self.stays() && self.enters_handler() && self.follow_handler(instr).is_some() {
            return Ok(());
        }
        let general = instr.op().general();
        if self.stays() || !general.is_conditional() {
            let stays = self.stays();
            let flow = self.expand(instr, general.expansion());
            return if stays { flow } else { Err(flow.err().unwrap_or(Ended(Stop::Call))) };
        }
        // A comparison that calls a metamethod, which decides where control goes on.
        self.stop_here(Stop::Call)
    }

    /// An instruction that needs the frame itself.
    fn in_frame(&mut self, instr: Instr) -> Flow {
        if self.frame != FrameId(0) || !self.stays() {
            return self.stop_here(Stop::Frame);
        }
        self.expand(instr, instr.op().general().expansion())
    }

    pub(super) fn poll(&mut self) {
        self.emit(MicroOp::POLL, &[], &[]);
    }

    // Captured variables.

    /// The cell in a register.
    fn cell_in(&mut self, register: usize) -> Ref {
        let x = self.read(self.register(register));
        self.guard_type(x, Type::Cell)
    }

    /// The state of a cell, if it is a constant object.
    fn cell_sample(&self, cell: Ref) -> Option<CellState> {
        let object = self.constant_object(cell)?;
        Some(Gc::<UpCell>::from_addr(object.addr).state.get())
    }

    /// The running function.
    pub(super) fn callee(&mut self) -> Ref {
        self.read(self.base() - 1)
    }

    /// Captured variable `i` of the running function, and its state when this was recorded.
    fn captured(&mut self, i: usize) -> (Ref, Option<CellState>) {
        let f = self.callee();
        let f = self.guard_type(f, Type::Closure);
        if let Some(cell) = self.captured_by_new(f, i) {
            return (cell, None);
        }
        if let Some(object) = self.constant_object(f) {
            let cell = Gc::<crate::runtime::function::Closure>::from_addr(object.addr).cell(i);
            let constant = self.constant(Value::cell(cell)).expect("cells have constants");
            return (constant, Some(cell.state.get()));
        }
        let loaded = self.emit(MicroOp::LOAD_CAPTURED, &[f], &[i as u64]);
        let cell = self.step().closure.cell(i);
        // The functions of a module share its variables: taking their cell for a constant makes the value one.
        let varies = self.proto().info.captured[i].varies();
        if cell.state.get() == CellState::Constant && !varies && !self.cautious {
            let id = self.object(ObjectKind::Cell, cell.addr());
            self.emit(MicroOp::GUARD_OBJECT, &[loaded], &[id.0 as u64]);
            let constant = self.constant(Value::cell(cell)).expect("cells have constants");
            return (constant, Some(CellState::Constant));
        }
        (loaded, Some(cell.state.get()))
    }

    /// Captured variable `i` of a closure that the superblock makes.
    fn captured_by_new(&self, f: Ref, i: usize) -> Option<Ref> {
        if self.sb.node(f).op != MicroOp::ALLOCATE_CLOSURE {
            return None;
        }
        let inits = self.sb.nodes[f.index() + 1..].iter();
        let mut inits = inits.take_while(|node| node.op == MicroOp::INIT_CAPTURED && node.inputs[0] == f);
        inits.find(|node| node.operands[0] == i as u64).map(|node| node.inputs[1])
    }

    /// The value of a cell: a constant if the cell is.
    pub(super) fn load_cell(&mut self, cell: Ref) -> Ref {
        if let Some(object) = self.constant_object(cell) {
            let cell: Gc<UpCell> = Gc::from_addr(object.addr);
            if cell.state.get() == CellState::Constant
                && let Some(v) = self.constant(cell.get())
            {
                self.assume(Assumption::CellConstant(cell));
                return v;
            }
        }
        self.emit(MicroOp::LOAD_CELL, &[cell], &[])
    }

    fn get_cell(&mut self, instr: Instr, cell: Ref) -> Flow {
        let v = self.load_cell(cell);
        self.write(self.register(instr.a()), v);
        self.goes_on()
    }

    fn set_cell(&mut self, cell: Ref, state: Option<CellState>, from: usize) -> Flow {
        let v = self.read(self.register(from));
        if matches!(self.sb.node(cell).op, MicroOp::NEW_CELL | MicroOp::NEW_EMPTY_CELL) {
            // Nothing relies on what a cell holds that the superblock makes. One that was constant and has been set is mutable.
            let set = |node: &Node| node.op == MicroOp::SET_CELL && node.inputs[0] == cell;
            let constant = self.sb.node(cell).op == MicroOp::NEW_CELL;
            if constant && self.sb.nodes[cell.index()..].iter().any(set) {
                self.emit(MicroOp::STORE_CELL, &[cell, v], &[]);
                self.emit(MicroOp::BARRIER, &[cell], &[]);
            } else {
                self.emit(MicroOp::SET_CELL, &[cell, v], &[]);
            }
            return self.goes_on();
        }
        if state == Some(CellState::Mutable) && !self.cautious {
            // A cell that is mutable stays so.
            if self.constant_object(cell).is_none() {
                self.emit(MicroOp::GUARD_MUTABLE, &[cell], &[]);
            }
            self.emit(MicroOp::STORE_CELL, &[cell, v], &[]);
            self.emit(MicroOp::BARRIER, &[cell], &[]);
        } else {
            self.emit(MicroOp::SET_CELL, &[cell, v], &[]);
            self.unsettled = true;
        }
        self.goes_on()
    }

    /// The table of globals.
    fn environment(&mut self, i: usize) -> Ref {
        let (cell, _) = self.captured(i);
        self.load_cell(cell)
    }

    fn closure(&mut self, instr: Instr) -> Flow {
        let proto = self.proto().info.protos[instr.d() as usize];
        let id = self.object(ObjectKind::Proto, proto.addr());
        let mut cells = Vec::with_capacity(proto.info.captured.len());
        for var in &proto.info.captured {
            cells.push(match var.source {
                CellSource::Register(r) => self.cell_in(r as usize),
                CellSource::Captured(i) => self.captured(i as usize).0,
            });
        }
        let f = self.emit(MicroOp::ALLOCATE_CLOSURE, &[], &[id.0 as u64]);
        for (i, cell) in cells.into_iter().enumerate() {
            self.emit(MicroOp::INIT_CAPTURED, &[f, cell], &[i as u64]);
        }
        self.write(self.register(instr.a()), f);
        self.goes_on()
    }

    // Comparisons for equality.

    fn equality(&mut self, instr: Instr) -> Flow {
        if !self.stays() {
            return self.general(instr);
        }
        let x = self.read(self.register(instr.a()));
        let y = self.read(self.register(instr.b()));
        let [tx, ty, ..] = self.step().tags;
        self.compare_equal(instr, x, y, tx, ty, Op::JEQ)
    }

    fn equality_with_constant(&mut self, instr: Instr) -> Flow {
        let x = self.read(self.register(instr.a()));
        let v: Value = self.proto().info.constants[instr.bc() as usize];
        let tx = self.step().tags[0];
        if v.is_nil() {
            let c = self.emit(MicroOp::IS_NIL, &[x], &[]);
            return self.jump_on(instr, c, Op::JEQK);
        }
        let y = self.constant(v).expect("constants of prototypes have micro-ops");
        let short = v.as_string().is_some_and(|s| s.is_short());
        if short && type_of_tag(tx) == Some(Type::String) && !self.cautious {
            let x = self.guard_type(x, Type::String);
            let c = self.emit(MicroOp::SAME, &[x, y], &[]);
            return self.jump_on(instr, c, Op::JEQK);
        }
        self.compare_equal(instr, x, y, tx, v.tag().byte(), Op::JEQK)
    }

    /// Compares two values whose tags were recorded, primitively.
    fn compare_equal(&mut self, instr: Instr, x: Ref, y: Ref, tx: u8, ty: u8, positive: Op) -> Flow {
        let same = type_of_tag(tx).filter(|t| tx == ty && Some(*t) == type_of_tag(ty) && !self.cautious);
        if let (Some(a @ (Type::Int | Type::Float)), Some(b @ (Type::Int | Type::Float))) =
            (type_of_tag(tx), type_of_tag(ty))
            && a != b
            && !self.cautious
        {
            let (x, y) = (self.guard_type(x, a), self.guard_type(y, b));
            let inputs = [self.exact_float(x), self.exact_float(y)];
            let c = self.emit(MicroOp::EQ_F, &inputs, &[]);
            return self.jump_on(instr, c, positive);
        }
        let op = match same {
            Some(Type::Int) => MicroOp::EQ_I,
            Some(Type::Float) => MicroOp::EQ_F,
            Some(Type::String) => MicroOp::EQ_S,
            Some(Type::Table) => MicroOp::SAME,
            _ => {
                if !matches!(positive, Op::JEQK) {
                    self.emit(MicroOp::GUARD_RAW_EQ, &[x, y], &[]);
                }
                let c = self.emit(MicroOp::RAW_EQ, &[x, y], &[]);
                return self.jump_on(instr, c, positive);
            }
        };
        let ty = same.expect("matched above");
        let x = self.guard_type(x, ty);
        let y = self.guard_type(y, ty);
        if ty == Type::Table {
            self.emit(MicroOp::GUARD_RAW_EQ, &[x, y], &[]);
        }
        let c = self.emit(op, &[x, y], &[]);
        self.jump_on(instr, c, positive)
    }

    /// Jumps if `c`, or unless the instruction is the negation of `positive`.
    fn jump_on(&mut self, instr: Instr, c: Ref, positive: Op) -> Flow {
        let op = if instr.op().general() == positive { MicroOp::JUMP_IF } else { MicroOp::JUMP_UNLESS };
        let to = super::target(self.pc(), instr);
        if self.branch(instr, op, to, c, true)? { self.goes_to(to) } else { self.goes_on() }
    }

    // Tables and strings.

    fn new_table(&mut self, instr: Instr) -> Flow {
        let site = &self.proto().info.tables[instr.d() as usize];
        let (shape, cap) = (site.shape.get().0, site.array_cap.get());
        let t = self.emit(MicroOp::ALLOCATE_TABLE, &[], &[shape as u64, cap as u64]);
        self.set_shape(t, shape);
        self.write(self.register(instr.a()), t);
        self.goes_on()
    }

    fn set_list(&mut self, instr: Instr) -> Flow {
        let table = self.read(self.register(instr.a()));
        let t = self.guard_type(table, Type::Table);
        if instr.b() == 0 {
            self.list_in_memory(instr.a() + 1);
        }
        let count = match (instr.b(), self.top) {
            (0, super::Top::Slot(top)) => (top - self.register(instr.a()) - 1) as u64,
            (n, _) => n as u64,
        };
        if count == 0 && instr.b() == 0 && self.top != super::Top::Memory {
            self.top = super::Top::None;
            return self.goes_on();
        }
        if self.elements_of_new(t, instr, count).is_some() {
            self.top = super::Top::None;
            return self.goes_on();
        }
        self.emit(MicroOp::SET_LIST, &[t], &[self.register(instr.a()) as u64, count, instr.sd() as u64]);
        self.top = super::Top::None;
        self.goes_on()
    }

    /// `SETLIST` as single elements, of a table that the superblock makes and that has got nothing but fields and elements so far.
    fn elements_of_new(&mut self, t: Ref, instr: Instr, count: u64) -> Option<()> {
        let table = *self.sb.node(t);
        let start = instr.sd() as u64;
        if table.op != MicroOp::ALLOCATE_TABLE
            || self.cautious
            || self.top == super::Top::Memory
            || count > ELEMENTS_MAX
            || start + count > table.operands[1]
        {
            return None;
        }
        let mut elements = 0;
        for node in &self.sb.nodes[t.index() + 1..] {
            if node.effects().calls || node.op == MicroOp::RAW_SET {
                return None;
            }
            let Some(k) = node.inputs().iter().position(|&r| r == t) else { continue };
            match node.op {
                MicroOp::INIT_ELEMENT if k == 0 => elements += 1,
                MicroOp::STORE_INLINE | MicroOp::SET_SHAPE if k == 0 => {}
                MicroOp::BARRIER | MicroOp::GUARD_SHAPE => {}
                _ => return None,
            }
        }
        if elements != start {
            return None;
        }
        let first = self.register(instr.a()) + 1;
        for k in 0..count as Slot {
            let v = self.read(first + k);
            if self.sb.type_of(v) == Type::Tagged {
                self.emit(MicroOp::GUARD_NOT_NIL, &[v], &[]);
            }
        }
        for k in 0..count {
            let v = self.read(first + k as Slot);
            let i = self.sb.push(Node::int((start + k + 1) as i64));
            self.emit(MicroOp::INIT_ELEMENT, &[t, i, v], &[]);
        }
        self.emit(MicroOp::BARRIER, &[t], &[]);
        Some(())
    }

    fn length(&mut self, instr: Instr) -> Flow {
        let x = self.read(self.register(instr.b()));
        let recorded = type_of_tag(self.step().tags[1]);
        if !self.stays() || self.cautious {
            return self.general(instr);
        }
        let n = match recorded {
            Some(Type::Table) => {
                let Some(t) = self.plain_table(x, &[Event::Len]) else {
                    return self.general(instr);
                };
                self.emit(MicroOp::LENGTH_T, &[t], &[])
            }
            Some(Type::String) => {
                let s = self.guard_type(x, Type::String);
                self.emit(MicroOp::LENGTH_S, &[s], &[])
            }
            _ => return self.general(instr),
        };
        self.write(self.register(instr.a()), n);
        self.goes_on()
    }

    fn concat(&mut self, instr: Instr) -> Flow {
        if self.step().facts & facts::STRINGS != 0 && !self.cautious {
            let first = self.register(instr.a());
            for i in 0..instr.b() {
                let x = self.read(first + i as Slot);
                if self.sb.type_of(x) == Type::Tagged {
                    let recorded = self.step().tags.get(i).and_then(|tag| type_of_tag(*tag));
                    self.guard_type(x, recorded.unwrap_or(Type::String));
                }
            }
            let s = self.emit(MicroOp::CONCAT_S, &[], &[first as u64, instr.b() as u64]);
            self.write(first, s);
            return self.goes_on();
        }
        self.general(instr)
    }
}
