//! What random superblocks are made of. An action that finds no values to work on does nothing.

use super::*;

/// Micro-ops without operands whose inputs may be any of the right types.
const INTS: [MicroOp; 14] = [
    MicroOp::ADD_I,
    MicroOp::SUB_I,
    MicroOp::MUL_I,
    MicroOp::NEG_I,
    MicroOp::AND_I,
    MicroOp::OR_I,
    MicroOp::XOR_I,
    MicroOp::NOT_I,
    MicroOp::SHL_I,
    MicroOp::SHR_I,
    MicroOp::ABS_I,
    MicroOp::MIN_I,
    MicroOp::MAX_I,
    MicroOp::SELECT_I,
];
const FLOATS: [MicroOp; 16] = [
    MicroOp::ADD_F,
    MicroOp::SUB_F,
    MicroOp::MUL_F,
    MicroOp::DIV_F,
    MicroOp::IDIV_F,
    MicroOp::MOD_F,
    MicroOp::POW_F,
    MicroOp::NEG_F,
    MicroOp::ABS_F,
    MicroOp::SQRT_F,
    MicroOp::FLOOR_F,
    MicroOp::CEIL_F,
    MicroOp::MIN_F,
    MicroOp::MAX_F,
    MicroOp::SELECT_F,
    MicroOp::INT_TO_FLOAT,
];
const CONDITIONS: [MicroOp; 18] = [
    MicroOp::EQ_I,
    MicroOp::LT_I,
    MicroOp::LE_I,
    MicroOp::LT_U,
    MicroOp::EQ_F,
    MicroOp::LT_F,
    MicroOp::LE_F,
    MicroOp::FOR_GOES_ON,
    MicroOp::NOT,
    MicroOp::SELECT,
    MicroOp::TRUTH,
    MicroOp::IS_NIL,
    MicroOp::SAME,
    MicroOp::RAW_EQ,
    MicroOp::EQ_S,
    MicroOp::LT_S,
    MicroOp::LE_S,
    MicroOp::LENGTH_S,
];
/// Guards that often fail.
const GUARDS: [MicroOp; 9] = [
    MicroOp::GUARD_TRUE,
    MicroOp::GUARD_FALSE,
    MicroOp::GUARD_NIL,
    MicroOp::GUARD_NOT_NIL,
    MicroOp::GUARD_RAW_EQ,
    MicroOp::GUARD_NUMBER,
    MicroOp::GUARD_NO_METATABLE,
    MicroOp::FLOAT_TO_INT,
    MicroOp::EXACT_FLOAT,
];
/// Reads of any part of a table.
const READS: [MicroOp; 3] = [MicroOp::LENGTH_T, MicroOp::RAW_GET, MicroOp::GUARD_FOUND_IN];
const POLLS: [MicroOp; 3] = [MicroOp::POLL, MicroOp::GUARD_VALID, MicroOp::SAFEPOINT];

/// Numbers with which arithmetic is most likely to go wrong.
const INT_CONSTANTS: [i64; 10] = [0, 1, -1, 2, 7, 63, 64, i64::MAX, i64::MIN, 1 << 53];
const FLOAT_CONSTANTS: [f64; 9] = [
    0.0,
    -0.0,
    1.0,
    -1.5,
    0.5,
    9007199254740992.0,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::NAN,
];

/// The guard that makes sure of a type.
fn guard_of(ty: Type) -> Option<MicroOp> {
    Some(match ty {
        Type::Int => MicroOp::GUARD_INT,
        Type::Float => MicroOp::GUARD_FLOAT,
        Type::Bool => MicroOp::GUARD_BOOL,
        Type::Table => MicroOp::GUARD_TABLE,
        Type::String => MicroOp::GUARD_STRING,
        Type::Closure => MicroOp::GUARD_CLOSURE,
        Type::Native => MicroOp::GUARD_NATIVE,
        Type::Cell => MicroOp::GUARD_CELL,
        Type::Userdata => MicroOp::GUARD_USERDATA,
        Type::Coroutine => MicroOp::GUARD_COROUTINE,
        Type::Tagged | Type::Any | Type::Object => return None,
    })
}

/// The kind of an array whose elements are of a type.
fn kind_of(ty: Type) -> ArrayKind {
    match ty {
        Type::Int => ArrayKind::INT,
        Type::Float => ArrayKind::FLOAT,
        _ => ArrayKind::PACKED,
    }
}

impl Generator<'_> {
    pub(super) fn action(&mut self) {
        match self.random.below(42) {
            0..6 => self.any_of(&INTS),
            6..9 => self.any_of(&FLOATS),
            9 => self.float_function(),
            10..14 => self.any_of(&CONDITIONS),
            14 => self.any_of(&POLLS),
            15 => self.any_of(&GUARDS),
            16..18 => self.any_of(&READS),
            18..20 => self.divide(),
            20..25 => self.load(),
            25..28 => self.get_field(),
            28..31 => self.set_field(),
            31..33 => self.get_element(),
            33..35 => self.set_element(),
            35 => self.cell(),
            36 if self.random.one_in(2) => self.traverse(),
            36 => self.object(),
            37 if self.options.inlining => self.call_or_return(),
            38 if self.options.calls => self.call_out(),
            39.. if self.options.allocations => self.allocate(),
            _ => self.constant_number(),
        }
    }

    // Values.

    fn constant_number(&mut self) {
        if self.random.one_in(2) {
            self.int();
        } else {
            self.float();
        }
    }

    fn int(&mut self) -> Ref {
        let i = INT_CONSTANTS[self.random.below(INT_CONSTANTS.len())];
        self.make(Node::int(i), Content::of(Type::Int))
    }

    fn float(&mut self) -> Ref {
        let f = FLOAT_CONSTANTS[self.random.below(FLOAT_CONSTANTS.len())];
        self.make(Node::float(f), Content::of(Type::Float))
    }

    /// A value that an input of type `ty` accepts.
    fn value(&mut self, ty: Type) -> Option<Value> {
        // A cell is no value of the language: nothing but what is made for cells takes one.
        let accepts = |v: &&Value| {
            ty.accepts(v.content.ty) && (ty == Type::Cell || v.content.likely != Type::Cell)
        };
        let accepted: Vec<Value> = self.values.iter().filter(accepts).copied().collect();
        let recent = accepted.len().saturating_sub(6);
        let from = if self.random.one_in(2) { recent } else { 0 };
        if let Some(value) = self.random.pick(&accepted[from..])
            && !self.random.one_in(6)
        {
            return Some(value);
        }
        self.fresh(ty)
    }

    /// The same, made here: a constant, or the result of a guard.
    fn fresh(&mut self, ty: Type) -> Option<Value> {
        let guardable = |v: &&Value| v.content.ty == Type::Tagged && v.content.likely == ty;
        let candidates: Vec<Value> = self.values.iter().filter(guardable).copied().collect();
        if let (Some(value), Some(guard)) = (self.random.pick(&candidates), guard_of(ty)) {
            let content = Content {
                ty,
                ..value.content
            };
            let r = self.make_or_leave(guard, &[value.r], &[], content);
            return Some(Value { r, content });
        }
        let r = match ty {
            Type::Int => self.int(),
            Type::Float => self.float(),
            Type::Bool => {
                let b = self.random.one_in(2);
                self.make(Node::bool(b), Content::of(Type::Bool))
            }
            Type::Tagged | Type::Any => {
                self.make(Node::nil(), Content::tagged(Type::Tagged));
                return self.values.last().copied();
            }
            _ => return self.named_object(ty),
        };
        Some(Value {
            r,
            content: Content::of(ty),
        })
    }

    /// An object of the world as a constant.
    fn named_object(&mut self, ty: Type) -> Option<Value> {
        let objects: Vec<(Object, Content)> = self
            .world
            .objects
            .iter()
            .filter(|(_, content)| ty.accepts(content.ty))
            .copied()
            .collect();
        let (object, content) = self.random.pick(&objects)?;
        let (op, _) = object.kind.constant()?;
        let id = self.sb.intern(object);
        let r = self.make(Node::new(op, &[], &[id.0 as u64]), content);
        Some(Value { r, content })
    }

    /// One of these micro-ops, which have no operands, with inputs of the right types.
    fn any_of(&mut self, ops: &[MicroOp]) {
        let op = ops[self.random.below(ops.len())];
        let declaration = op.declaration();
        let mut inputs = Vec::new();
        for &ty in declaration.inputs {
            match self.value(ty) {
                Some(value) => inputs.push(value.r),
                None => return,
            }
        }
        let mut node = Node::new(op, &inputs, &[]);
        if declaration.exit != Exit::None {
            node.exit = self.exit();
        }
        match declaration.output {
            Some(ty) => _ = self.make(node, Content::of(ty)),
            None => _ = self.sb.push(node),
        }
    }

    fn float_function(&mut self) {
        let function = FloatFunction::ALL[self.random.below(FloatFunction::ALL.len())];
        let (Some(x), Some(y)) = (self.value(Type::Float), self.value(Type::Float)) else {
            return;
        };
        let (op, inputs) = match function.arity() {
            1 => (MicroOp::CALL_F, &[x.r][..]),
            _ => (MicroOp::CALL_FF, &[x.r, y.r][..]),
        };
        self.make(
            Node::new(op, inputs, &[function as u64]),
            Content::of(Type::Float),
        );
    }

    fn divide(&mut self) {
        let (Some(x), Some(y)) = (self.value(Type::Int), self.value(Type::Int)) else {
            return;
        };
        if !self.nonzero.contains(&y.r) {
            self.guard(MicroOp::GUARD_NOT_ZERO, &[y.r], &[]);
            self.nonzero.push(y.r);
        }
        let op = if self.random.one_in(2) {
            MicroOp::IDIV_I
        } else {
            MicroOp::MOD_I
        };
        self.make(Node::new(op, &[x.r, y.r], &[]), Content::of(Type::Int));
    }

    fn load(&mut self) {
        let Some((slot, content)) = self.random.pick(&self.world.slots) else {
            return;
        };
        let content = if self.disturbed {
            Content::tagged(content.likely)
        } else {
            content
        };
        self.make(
            Node::new(MicroOp::LOAD, &[], &[slot as u64]).with_type(content.ty),
            content,
        );
    }

    /// What uses a named object: a guard, or a load from a table.
    fn object(&mut self) {
        if self.random.one_in(2) {
            self.load_holder();
        } else if let Some(value) = self.named_object(Type::Object)
            && let Some(other) = self.value(Type::Any)
        {
            let id = self.sb.node(value.r).operands[0];
            self.guard(MicroOp::GUARD_OBJECT, &[other.r], &[id]);
        }
    }

    /// A load from a named table, whose shape is guarded.
    fn load_holder(&mut self) {
        let Some(Value { r, content }) = self.named_object(Type::Table) else {
            return;
        };
        let Some(Layout { shape, places, .. }) = content.layout.map(|i| &self.world.layouts[i])
        else {
            return;
        };
        let Some(place) = self.random.pick(places) else {
            return;
        };
        self.guard(MicroOp::GUARD_SHAPE, &[r], &[*shape as u64]);
        let operands = [self.sb.node(r).operands[0], slot_operand(place.slot)];
        self.make(
            Node::new(MicroOp::LOAD_HOLDER, &[], &operands),
            Content::tagged(place.likely),
        );
    }

    // Tables.

    /// The first key and value, and the next ones.
    fn traverse(&mut self) {
        let Some(Value { r: table, .. }) = self.value(Type::Table) else {
            return;
        };
        let nil = self.make(Node::nil(), Content::tagged(Type::Tagged));
        let int = Content::of(Type::Int);
        let mut position = self.make_or_leave(MicroOp::FIND_NEXT, &[table, nil], &[], int);
        for _ in 0..self.random.below(3) {
            position = self.make(
                Node::new(MicroOp::NEXT_POSITION, &[table, position], &[]),
                int,
            );
        }
        for op in [MicroOp::LOAD_KEY, MicroOp::LOAD_VALUE] {
            self.make(
                Node::new(op, &[table, position], &[]),
                Content::tagged(Type::Int),
            );
        }
    }

    /// A table that has one of the layouts, behind a guard if it is not known.
    fn shaped(&mut self) -> Option<(Ref, usize)> {
        let table = self.value(Type::Table)?;
        let known = self.facts.layouts.iter().find(|(r, _)| *r == table.r);
        if let Some(&(_, layout)) = known {
            return Some((table.r, layout));
        }
        let layout = match table.content.layout {
            Some(layout) => layout,
            None if self.world.layouts.is_empty() => return None,
            None => self.random.below(self.world.layouts.len()),
        };
        self.guard(
            MicroOp::GUARD_SHAPE,
            &[table.r],
            &[self.world.layouts[layout].shape as u64],
        );
        self.facts.layouts.push((table.r, layout));
        Some((table.r, layout))
    }

    fn get_field(&mut self) {
        let Some((table, layout)) = self.shaped() else {
            return;
        };
        let Some(place) = self.random.pick(&self.world.layouts[layout].places) else {
            return;
        };
        let op = if place.in_overflow {
            MicroOp::LOAD_OVERFLOW
        } else {
            MicroOp::LOAD_INLINE
        };
        let node = Node::new(op, &[table], &[slot_operand(place.slot)]);
        let v = self.make(node, Content::tagged(place.likely));
        if self.random.one_in(2) {
            self.guard(MicroOp::GUARD_FOUND, &[v], &[1]);
        }
    }

    fn set_field(&mut self) {
        let Some((table, layout)) = self.shaped() else {
            return;
        };
        let Layout { places, next, .. } = &self.world.layouts[layout];
        if let Some(next) = *next
            && self.random.one_in(2)
        {
            self.add_field(table, next);
        } else if let Some(place) = self.random.pick(places) {
            self.store(table, place);
        }
    }

    fn store(&mut self, table: Ref, place: Place) {
        let Some(v) = self.stored(place.likely) else {
            return;
        };
        let op = if place.in_overflow {
            MicroOp::STORE_OVERFLOW
        } else {
            MicroOp::STORE_INLINE
        };
        self.sb
            .push(Node::new(op, &[table, v], &[slot_operand(place.slot)]));
        self.barrier(table);
    }

    /// A value to be stored where `likely` ones usually are.
    fn stored(&mut self, likely: Type) -> Option<Ref> {
        let ty = if self.random.one_in(4) || likely == Type::Tagged {
            Type::Any
        } else {
            likely
        };
        self.value(ty).map(|value| value.r)
    }

    fn barrier(&mut self, object: Ref) {
        self.sb.push(Node::new(MicroOp::BARRIER, &[object], &[]));
    }

    fn add_field(&mut self, table: Ref, next: usize) {
        let Layout { shape, places, .. } = &self.world.layouts[next];
        let Some(place) = places.last() else {
            return;
        };
        let Some(v) = self.stored(place.likely) else {
            return;
        };
        self.guard(MicroOp::GUARD_NOT_NIL, &[v], &[]);
        self.sb.push(Node::new(
            MicroOp::STORE_INLINE,
            &[table, v],
            &[slot_operand(place.slot)],
        ));
        self.sb
            .push(Node::new(MicroOp::SET_SHAPE, &[table], &[*shape as u64]));
        self.barrier(table);
        // Others may be the same table.
        self.facts.layouts.clear();
        self.facts.layouts.push((table, next));
    }

    /// A table, an index and what its elements usually are; the element is in use.
    fn element(&mut self) -> Option<(Ref, Ref, Type)> {
        let table = self.value(Type::Table)?;
        let (n, likely) = table.content.elements.unwrap_or((1, Type::Tagged));
        if let Some(&(_, index)) = self.facts.elements.iter().find(|(t, _)| *t == table.r)
            && self.random.one_in(2)
        {
            return Some((table.r, index, likely));
        }
        let index = if self.random.one_in(4) {
            self.value(Type::Int)?.r
        } else {
            let i = 1 + self.random.below(n as usize);
            self.make(Node::int(i as i64), Content::of(Type::Int))
        };
        self.guard(MicroOp::GUARD_IN_ARRAY, &[table.r, index], &[]);
        self.facts.elements.push((table.r, index));
        Some((table.r, index, likely))
    }

    fn get_element(&mut self) {
        let Some((table, index, likely)) = self.element() else {
            return;
        };
        let kind = kind_of(likely);
        let op = match likely {
            Type::Int => MicroOp::LOAD_ELEMENT_I,
            Type::Float => MicroOp::LOAD_ELEMENT_F,
            _ if self.random.one_in(4) => MicroOp::TEST_ELEMENT,
            _ => MicroOp::LOAD_ELEMENT,
        };
        if op == MicroOp::TEST_ELEMENT {
            self.make(Node::new(op, &[table, index], &[]), Content::of(Type::Bool));
        } else if kind == ArrayKind::PACKED || self.random.one_in(3) {
            let node = Node::new(MicroOp::LOAD_ELEMENT, &[table, index], &[]);
            self.make(node, Content::tagged(likely));
        } else {
            if !self.facts.kinds.contains(&(table, kind)) {
                self.guard(MicroOp::GUARD_ARRAY_KIND, &[table], &[kind.0 as u64]);
                self.facts.kinds.push((table, kind));
            }
            self.make(Node::new(op, &[table, index], &[]), Content::of(likely));
        }
    }

    fn set_element(&mut self) {
        match self.random.below(6) {
            0 | 1 => return self.append(),
            2 => return self.set_any_key(),
            _ => {}
        }
        let Some((table, index, likely)) = self.element() else {
            return;
        };
        let Some(v) = self.stored(likely) else {
            return;
        };
        if self.random.one_in(2) {
            self.guard(MicroOp::GUARD_ACCEPTS, &[table, v], &[]);
            self.sb
                .push(Node::new(MicroOp::REPLACE_ELEMENT, &[table, index, v], &[]));
        } else {
            let guard = if self.random.one_in(3) { MicroOp::GUARD_RAW_STORABLE } else { MicroOp::GUARD_STORABLE };
            self.guard(guard, &[table, index, v], &[]);
            self.sb
                .push(Node::new(MicroOp::STORE_ELEMENT, &[table, index, v], &[]));
        }
        self.barrier(table);
    }

    /// A store behind the last element.
    fn append(&mut self) {
        let Some(table) = self.value(Type::Table) else {
            return;
        };
        let (_, likely) = table.content.elements.unwrap_or((0, Type::Tagged));
        let Some(v) = self.stored(likely) else {
            return;
        };
        let one = self.make(Node::int(1), Content::of(Type::Int));
        let length = self.make(
            Node::new(MicroOp::LENGTH_T, &[table.r], &[]),
            Content::of(Type::Int),
        );
        let index = self.make(
            Node::new(MicroOp::ADD_I, &[length, one], &[]),
            Content::of(Type::Int),
        );
        self.guard(MicroOp::GUARD_APPENDS, &[table.r, index], &[]);
        self.guard(MicroOp::GUARD_ACCEPTS, &[table.r, v], &[]);
        self.sb
            .push(Node::new(MicroOp::STORE_ELEMENT, &[table.r, index, v], &[]));
        self.barrier(table.r);
    }

    /// A store that may add a key, and so change the shape.
    fn set_any_key(&mut self) {
        let (Some(table), Some(key), Some(v)) = (
            self.value(Type::Table),
            self.value(Type::Any),
            self.value(Type::Any),
        ) else {
            return;
        };
        self.guard(MicroOp::GUARD_NO_METATABLE, &[table.r], &[]);
        self.guard(MicroOp::RAW_SET, &[table.r, key.r, v.r], &[]);
        self.facts = Facts::default();
    }

    // Cells, calls and allocations.

    fn cell(&mut self) {
        let Some(cell) = self.value(Type::Cell) else {
            return;
        };
        if self.random.one_in(2) {
            self.make(
                Node::new(MicroOp::LOAD_CELL, &[cell.r], &[]),
                Content::tagged(Type::Int),
            );
        } else if let Some(v) = self.value(Type::Any) {
            if self.random.one_in(3) {
                return self.guard(MicroOp::SET_CELL, &[cell.r, v.r], &[]);
            }
            if !self.facts.mutable.contains(&cell.r) {
                self.guard(MicroOp::GUARD_MUTABLE, &[cell.r], &[]);
                self.facts.mutable.push(cell.r);
            }
            self.sb
                .push(Node::new(MicroOp::STORE_CELL, &[cell.r, v.r], &[]));
            self.barrier(cell.r);
        }
    }

    fn call_or_return(&mut self) {
        let Frame { caller, .. } = *self.sb.frame(self.frame);
        let deep = self.sb.chain(self.frame).count() > 3;
        match (caller, self.world.callee) {
            (Some(caller), _) if self.frame != self.floor && (deep || self.random.one_in(2)) => {
                self.frame = caller;
            }
            (_, Some(callee)) if !deep => self.call(callee),
            _ => {}
        }
    }

    fn call(&mut self, callee: Callee) {
        let closure = self.sb.intern(Object {
            kind: ObjectKind::Closure,
            addr: callee.closure,
        });
        let proto = self.sb.intern(Object {
            kind: ObjectKind::Proto,
            addr: callee.proto,
        });
        let node = Node::new(MicroOp::CONST_CLOSURE, &[], &[closure.0 as u64]);
        let function = self.make(node, Content::of(Type::Closure));
        let caller = *self.sb.frame(self.frame);
        let result = caller.base + self.random.below(caller.registers as usize) as Slot;
        self.sb.frames.push(Frame {
            caller: Some(self.frame),
            proto,
            base: result + 1,
            registers: callee.registers,
            return_pc: self.random.below(self.world.pcs as usize) as u32,
            call_site: NO_CALL_SITE,
            wanted: 1,
            result,
            ..caller
        });
        self.functions.push(function);
        self.frame = FrameId(self.sb.frames.len() as u16 - 1);
    }

    /// A call-out that may run anything, and loads its result.
    fn call_out(&mut self) {
        let (Some(x), Some(y)) = (self.value(Type::Any), self.value(Type::Any)) else {
            return;
        };
        let frame = *self.sb.frame(self.frame);
        let slot = (frame.base as usize + self.random.below(frame.registers as usize)) as u64;
        let exit = self.snapshot();
        let node = match self.random.below(3) {
            0 => Node::new(MicroOp::ARITH, &[x.r, y.r], &[slot, Operation::Add as u64]),
            1 => Node::new(MicroOp::LENGTH, &[x.r], &[slot]),
            _ => Node::new(MicroOp::GET_INDEX, &[x.r, y.r], &[slot]),
        };
        self.sb.push(node.with_exit(exit));
        self.facts = Facts::default();
        self.disturbed = true;
        self.make(
            Node::new(MicroOp::LOAD, &[], &[slot]),
            Content::tagged(Type::Int),
        );
    }

    fn allocate(&mut self) {
        if self.random.one_in(3) {
            if let Some(v) = self.value(Type::Any) {
                self.make_or_leave(MicroOp::NEW_CELL, &[v.r], &[], Content::of(Type::Cell));
            }
        } else if !self.world.layouts.is_empty() {
            self.new_table();
        }
    }

    /// A table with its slots filled, and some elements.
    fn new_table(&mut self) {
        let layout = self.random.below(self.world.layouts.len());
        let Layout { shape, places, .. } = &self.world.layouts[layout];
        if places.iter().any(|place| place.in_overflow) {
            return;
        }
        let elements = [Type::Int, Type::Float, Type::Any][self.random.below(3)];
        let capacity = self.random.below(5);
        let operands = [*shape as u64, capacity as u64];
        let likely = if elements == Type::Any { Type::Tagged } else { elements };
        let content = Content::table(layout, (capacity > 0).then_some((capacity as u32, likely)));
        let table = self.make_or_leave(MicroOp::ALLOCATE_TABLE, &[], &operands, content);
        self.facts.layouts.push((table, layout));
        for &place in places {
            self.store(table, place);
        }
        for i in 1..=self.random.below(capacity + 1) {
            let Some(v) = self.value(elements) else {
                break;
            };
            if v.content.ty == Type::Tagged {
                self.guard(MicroOp::GUARD_NOT_NIL, &[v.r], &[]);
            }
            let index = self.make(Node::int(i as i64), Content::of(Type::Int));
            self.sb
                .push(Node::new(MicroOp::INIT_ELEMENT, &[table, index, v.r], &[]));
        }
        self.barrier(table);
    }
}
