//! Folding: constants, algebraic identities, and what follows from the types of values.
//!
//! Every identity is exact, for integers that wrap around and for IEEE floats; a float operation whose result is NaN is
//! left alone, because the sign of a NaN shows. A guard whose condition is known disappears; if the condition is known
//! not to hold, control leaves there for good and the superblock ends.
//!
//! What guards establish is remembered for the rest of the superblock: there is no way around a guard.

use perilune_uops::{MicroOp, Type};

use crate::runtime::{functions, number};
use crate::tier2::superblock::{is_constant, Node, ObjectId, Ref, Rewriter, Superblock};

/// What becomes of a node.
enum Outcome {
    /// It stays as it is.
    Keep,
    /// This node takes its place, and may be simplified further.
    Become(Node),
    /// This value takes its place.
    Value(Ref),
    /// It is a guard that always holds.
    Holds,
    /// It is a guard that never holds.
    Fails,
}

use Outcome::{Become, Fails, Holds, Keep, Value};

/// What is known of a node beyond its type.
#[derive(Clone, Copy)]
struct Knowledge {
    /// The same value, of a known type; or the constant that it is.
    typed: Ref,
    /// Tagged, but not nil.
    not_nil: bool,
    /// A boolean that a guard has decided.
    truth: Option<bool>,
}

struct Folder<'a> {
    rw: Rewriter<'a>,
    /// For each new node.
    known: Vec<Knowledge>,
}

/// The pass; see the module's documentation.
pub fn fold(old: &Superblock) -> Option<Superblock> {
    let mut folder = Folder {
        rw: Rewriter::new(old),
        known: Vec::with_capacity(old.nodes.len() + 8),
    };
    for (r, node) in old.iter() {
        if matches!(node.op, MicroOp::LOOP | MicroOp::PHI) {
            folder.rw.copy(r);
            continue;
        }
        let mut new = folder.rw.renamed(r);
        loop {
            match folder.simplify(&new) {
                Keep => {
                    let made = folder.rw.emit(r, new);
                    folder.learn(made);
                    break;
                }
                Become(node) => {
                    new = Node {
                        exit: if node.is_anchored() {
                            new.exit
                        } else {
                            node.exit
                        },
                        ..node
                    }
                }
                Value(by) => {
                    folder.rw.replace(r, by);
                    break;
                }
                Holds => break,
                Fails => return Some(folder.rw.leave(node.exit)),
            }
        }
    }
    folder.rw.finish().unless_same(old)
}

impl Folder<'_> {
    fn node(&self, r: Ref) -> &Node {
        self.rw.new.node(r)
    }

    fn known(&self, r: Ref) -> Knowledge {
        let nothing = Knowledge {
            typed: Ref::NONE,
            not_nil: false,
            truth: None,
        };
        self.known.get(r.index()).copied().unwrap_or(nothing)
    }

    fn know(&mut self, r: Ref) -> &mut Knowledge {
        if self.known.len() <= r.index() {
            let nothing = Knowledge {
                typed: Ref::NONE,
                not_nil: false,
                truth: None,
            };
            self.known.resize(r.index() + 1, nothing);
        }
        &mut self.known[r.index()]
    }

    /// The same value under its most precise name.
    fn precise(&self, mut r: Ref) -> Ref {
        loop {
            let typed = self.known(r).typed;
            if typed.is_none() {
                return r;
            }
            r = typed;
        }
    }

    /// The type of a value, unless it is unknown.
    fn type_of(&self, r: Ref) -> Option<Type> {
        self.node(self.precise(r))
            .ty
            .filter(|&ty| ty != Type::Tagged)
    }

    fn is_nil(&self, r: Ref) -> bool {
        self.node(r).op == MicroOp::CONST_NIL
    }

    fn is_not_nil(&self, r: Ref) -> bool {
        self.type_of(r).is_some() || self.known(r).not_nil
    }

    fn int(&self, r: Ref) -> Option<i64> {
        let node = self.node(r);
        (node.op == MicroOp::CONST_INT).then_some(node.operands[0] as i64)
    }

    fn float(&self, r: Ref) -> Option<f64> {
        let node = self.node(r);
        (node.op == MicroOp::CONST_FLOAT).then(|| f64::from_bits(node.operands[0]))
    }

    fn bool(&self, r: Ref) -> Option<bool> {
        let node = self.node(r);
        if node.op == MicroOp::CONST_BOOL {
            Some(node.operands[0] != 0)
        } else {
            self.known(r).truth
        }
    }

    /// The object that a value is.
    fn object(&self, r: Ref) -> Option<u64> {
        let node = self.node(self.precise(r));
        is_constant(node.op).then_some(node.operands[0])
    }

    fn make(&mut self, node: Node) -> Ref {
        self.rw.add(node)
    }

    fn make_int(&mut self, i: i64) -> Ref {
        self.make(Node::int(i))
    }

    /// Remembers what holds behind a node.
    fn learn(&mut self, r: Ref) {
        use MicroOp::*;
        let node = *self.node(r);
        let subject = node.inputs[0];
        match node.op {
            GUARD_INT | GUARD_FLOAT | GUARD_BOOL | GUARD_STRING | GUARD_TABLE | GUARD_CLOSURE
            | GUARD_NATIVE | GUARD_CELL | GUARD_USERDATA | GUARD_COROUTINE => {
                self.know(subject).typed = r
            }
            GUARD_NOT_NIL => self.know(subject).not_nil = true,
            GUARD_FOUND if node.operands[0] == 0 => self.know(subject).not_nil = true,
            GUARD_ACCEPTS => self.know(node.inputs[1]).not_nil = true,
            GUARD_STORABLE | GUARD_RAW_STORABLE => self.know(node.inputs[2]).not_nil = true,
            GUARD_TRUE | GUARD_FALSE => {
                self.know(subject).truth = Some(node.op == GUARD_TRUE);
                // What decides between nil and the rest also says which of them it was.
                let test = *self.node(subject);
                match test.op {
                    TRUTH if node.op == GUARD_TRUE => self.know(test.inputs[0]).not_nil = true,
                    IS_NIL if node.op == GUARD_FALSE => self.know(test.inputs[0]).not_nil = true,
                    _ => {}
                }
            }
            GUARD_OBJECT => {
                let object = ObjectId(node.operands[0] as u32);
                if let Some((op, _)) = self.rw.new.object(object).kind.constant() {
                    let constant = self.make(Node::new(op, &[], &[object.0 as u64]));
                    self.know(subject).typed = constant;
                }
            }
            _ => {}
        }
    }

    fn simplify(&mut self, node: &Node) -> Outcome {
        use MicroOp::*;
        let [x, y, w] = node.inputs;
        match node.op {
            GUARD_INT => self.type_guard(x, Type::Int),
            GUARD_FLOAT => self.type_guard(x, Type::Float),
            GUARD_BOOL => self.type_guard(x, Type::Bool),
            GUARD_STRING => self.type_guard(x, Type::String),
            GUARD_TABLE => self.type_guard(x, Type::Table),
            GUARD_CLOSURE => self.type_guard(x, Type::Closure),
            GUARD_NATIVE => self.type_guard(x, Type::Native),
            GUARD_CELL => self.type_guard(x, Type::Cell),
            GUARD_USERDATA => self.type_guard(x, Type::Userdata),
            GUARD_COROUTINE => self.type_guard(x, Type::Coroutine),
            GUARD_NUMBER => match self.type_of(x) {
                Some(Type::Int) => Become(Node::new(INT_TO_FLOAT, &[self.precise(x)], &[])),
                Some(Type::Float) => Value(self.precise(x)),
                Some(_) => Fails,
                None if self.is_nil(x) => Fails,
                None => Keep,
            },
            GUARD_NIL => {
                if self.is_nil(x) {
                    Holds
                } else if self.is_not_nil(x) {
                    Fails
                } else {
                    Keep
                }
            }
            GUARD_NOT_NIL => self.nil_guard(x),
            GUARD_FOUND if node.operands[0] != 0 => Holds,
            GUARD_FOUND => self.nil_guard(x),
            GUARD_FOUND_IN if self.is_not_nil(y) => Holds,
            GUARD_ACCEPTS if self.is_nil(y) => Fails,
            GUARD_STORABLE | GUARD_RAW_STORABLE if self.is_nil(w) => Fails,
            GUARD_OBJECT => match self.object(x) {
                Some(object) if object == node.operands[0] => Holds,
                Some(_) => Fails,
                None => {
                    let kind = self.rw.new.object(ObjectId(node.operands[0] as u32)).kind;
                    match (self.type_of(x), kind.constant()) {
                        (Some(ty), Some((_, expected))) if ty != expected => Fails,
                        _ if self.is_nil(x) => Fails,
                        _ => Keep,
                    }
                }
            },
            GUARD_NEXT => match self.type_of(x) {
                None | Some(Type::Native) if !self.is_nil(x) => Keep,
                _ => Fails,
            },
            GUARD_PROTO => match self.node(x) {
                made if made.op == ALLOCATE_CLOSURE && made.operands[0] == node.operands[0] => {
                    Holds
                }
                made if made.op == ALLOCATE_CLOSURE => Fails,
                _ => Keep,
            },
            GUARD_TRUE | GUARD_FALSE => {
                let expected = node.op == GUARD_TRUE;
                match self.bool(x) {
                    Some(b) if b == expected => Holds,
                    Some(_) => Fails,
                    None => match *self.node(x) {
                        Node {
                            op: NOT,
                            inputs: [inner, ..],
                            ..
                        } => Become(Node::new(
                            if expected { GUARD_FALSE } else { GUARD_TRUE },
                            &[inner],
                            &[],
                        )),
                        _ => Keep,
                    },
                }
            }
            GUARD_NOT_ZERO => match self.int(x) {
                Some(0) => Fails,
                Some(_) => Holds,
                None => Keep,
            },
            GUARD_RAW_EQ => {
                let may_ask = |ty| matches!(ty, None | Some(Type::Table | Type::Userdata));
                let (a, b) = (self.type_of(x), self.type_of(y));
                let nil = self.is_nil(x) || self.is_nil(y);
                let same = self.precise(x) == self.precise(y);
                let different = a.is_some() && b.is_some() && a != b;
                if nil || same || different || !may_ask(a) || !may_ask(b) {
                    Holds
                } else {
                    Keep
                }
            }
            TRUTH => match self.type_of(x) {
                Some(Type::Bool) => Value(self.precise(x)),
                Some(_) => Become(Node::bool(true)),
                None if self.is_nil(x) => Become(Node::bool(false)),
                None => Keep,
            },
            IS_NIL => {
                if self.is_nil(x) {
                    Become(Node::bool(true))
                } else if self.is_not_nil(x) {
                    Become(Node::bool(false))
                } else {
                    Keep
                }
            }
            NOT => self.negation(x),
            SAME => {
                let (a, b) = (self.precise(x), self.precise(y));
                match (self.object(a), self.object(b)) {
                    _ if a == b => Become(Node::bool(true)),
                    (Some(p), Some(q)) => Become(Node::bool(p == q)),
                    _ if self.type_of(a) != self.type_of(b) => Become(Node::bool(false)),
                    _ => Keep,
                }
            }
            RAW_EQ => self.equality(x, y),
            EQ_S | LE_S if x == y => Become(Node::bool(true)),
            LT_S if x == y => Become(Node::bool(false)),
            FLOAT_TO_INT => self.float_to_int(x),
            _ if node.op.declaration().output.is_none() => Keep,
            _ if node
                .op
                .declaration()
                .inputs
                .iter()
                .all(|&ty| ty == Type::Int) =>
            {
                self.int_operation(node)
            }
            SELECT_I | SELECT_F | SELECT => match (self.bool(x), *self.node(x)) {
                (Some(b), _) => Value(if b { y } else { w }),
                _ if y == w => Value(y),
                (
                    None,
                    Node {
                        op: NOT,
                        inputs: [inner, ..],
                        ..
                    },
                ) => Become(Node::new(node.op, &[inner, w, y], &[])),
                _ => Keep,
            },
            _ if node
                .op
                .declaration()
                .inputs
                .iter()
                .all(|&ty| ty == Type::Float) =>
            {
                self.float_operation(node)
            }
            _ => Keep,
        }
    }

    fn type_guard(&self, x: Ref, ty: Type) -> Outcome {
        match self.type_of(x) {
            Some(known) if known == ty => Value(self.precise(x)),
            Some(_) => Fails,
            None if self.is_nil(x) => Fails,
            None => Keep,
        }
    }

    /// A guard that a value is not nil.
    fn nil_guard(&self, x: Ref) -> Outcome {
        if self.is_nil(x) {
            Fails
        } else if self.is_not_nil(x) {
            Holds
        } else {
            Keep
        }
    }

    fn negation(&self, x: Ref) -> Outcome {
        use MicroOp::*;
        if let Some(b) = self.bool(x) {
            return Become(Node::bool(!b));
        }
        let test = self.node(x);
        let [a, b, _] = test.inputs;
        match test.op {
            NOT => Value(a),
            LT_I => Become(Node::new(LE_I, &[b, a], &[])),
            LE_I => Become(Node::new(LT_I, &[b, a], &[])),
            // Strings are totally ordered, unlike floats.
            LT_S => Become(Node::new(LE_S, &[b, a], &[])),
            LE_S => Become(Node::new(LT_S, &[b, a], &[])),
            _ => Keep,
        }
    }

    /// `RAW_EQ` of values of which something is known.
    fn equality(&mut self, x: Ref, y: Ref) -> Outcome {
        use Type::*;
        if self.is_nil(x) || self.is_nil(y) {
            let other = if self.is_nil(x) { y } else { x };
            return Become(Node::new(MicroOp::IS_NIL, &[other], &[]));
        }
        let (a, b) = (self.precise(x), self.precise(y));
        let (Some(s), Some(t)) = (self.type_of(a), self.type_of(b)) else {
            return Keep;
        };
        match (s, t) {
            (Int, Int) => Become(Node::new(MicroOp::EQ_I, &[a, b], &[])),
            (Float, Float) => Become(Node::new(MicroOp::EQ_F, &[a, b], &[])),
            (Int, Float) | (Float, Int) => {
                let (i, f) = if s == Int { (a, b) } else { (b, a) };
                match (self.float(f).map(number::float_to_int_exact), self.int(i)) {
                    (Some(Some(c)), _) => {
                        let c = self.make_int(c);
                        Become(Node::new(MicroOp::EQ_I, &[i, c], &[]))
                    }
                    (Some(None), _) => Become(Node::bool(false)),
                    (None, Some(c)) if number::float_to_int_exact(c as f64) == Some(c) => {
                        let c = self.make(Node::float(c as f64));
                        Become(Node::new(MicroOp::EQ_F, &[f, c], &[]))
                    }
                    (None, Some(_)) => Become(Node::bool(false)),
                    (None, None) => Keep,
                }
            }
            (Bool, Bool) => match (self.bool(a), self.bool(b)) {
                (Some(p), Some(q)) => Become(Node::bool(p == q)),
                (Some(true), _) => Value(b),
                (_, Some(true)) => Value(a),
                (Some(false), _) => Become(Node::new(MicroOp::NOT, &[b], &[])),
                (_, Some(false)) => Become(Node::new(MicroOp::NOT, &[a], &[])),
                _ if a == b => Become(Node::bool(true)),
                _ => Keep,
            },
            (String, String) => Become(Node::new(MicroOp::EQ_S, &[a, b], &[])),
            _ if s == t => Become(Node::new(MicroOp::SAME, &[a, b], &[])),
            _ => Become(Node::bool(false)),
        }
    }

    fn float_to_int(&self, x: Ref) -> Outcome {
        if let Some(f) = self.float(x) {
            return match number::float_to_int_exact(f) {
                Some(i) => Become(Node::int(i)),
                None => Fails,
            };
        }
        match *self.node(x) {
            Node {
                op: MicroOp::INT_TO_FLOAT,
                inputs: [i, ..],
                ..
            } if self.converts_exactly(i) => Value(i),
            _ => Keep,
        }
    }

    /// Whether an integer is known to be small enough to be the same as a float.
    fn converts_exactly(&self, i: Ref) -> bool {
        const BOUND: i64 = 1 << 53;
        let node = self.node(i);
        let constant = node.inputs().get(1).and_then(|&c| self.int(c));
        match node.op {
            MicroOp::CONST_INT => (-BOUND..=BOUND).contains(&(node.operands[0] as i64)),
            MicroOp::AND_I => constant.is_some_and(|c| (0..=BOUND).contains(&c)),
            MicroOp::MOD_I => constant.is_some_and(|c| (-BOUND..=BOUND).contains(&c)),
            MicroOp::SHR_I => constant.is_some_and(|c| (11..64).contains(&c)),
            MicroOp::SAR_I => constant.is_some_and(|c| (10..64).contains(&c)),
            MicroOp::LENGTH_S | MicroOp::LENGTH_T | MicroOp::LOAD_BYTE => true,
            _ => false,
        }
    }

    /// An operation on integers that makes a value.
    fn int_operation(&mut self, node: &Node) -> Outcome {
        use MicroOp::*;
        let [x, y, _] = node.inputs;
        if node.op.declaration().inputs.len() == 1 {
            return self.unary_int(node, x);
        }
        if node.op.declaration().inputs.len() != 2 {
            return Keep;
        }
        if let (Some(a), Some(b)) = (self.int(x), self.int(y)) {
            return match node.op {
                ADD_I => Become(Node::int(a.wrapping_add(b))),
                SUB_I => Become(Node::int(a.wrapping_sub(b))),
                MUL_I => Become(Node::int(a.wrapping_mul(b))),
                IDIV_I => number::int_floor_div(a, b).map_or(Keep, |z| Become(Node::int(z))),
                MOD_I => number::int_modulo(a, b).map_or(Keep, |z| Become(Node::int(z))),
                AND_I => Become(Node::int(a & b)),
                OR_I => Become(Node::int(a | b)),
                XOR_I => Become(Node::int(a ^ b)),
                SHL_I => Become(Node::int(number::shift_left(a, b))),
                SHR_I => Become(Node::int(number::shift_right(a, b))),
                SAR_I => Become(Node::int(a >> (b & 63))),
                MIN_I => Become(Node::int(a.min(b))),
                MAX_I => Become(Node::int(a.max(b))),
                EQ_I => Become(Node::bool(a == b)),
                LT_I => Become(Node::bool(a < b)),
                LE_I => Become(Node::bool(a <= b)),
                LT_U => Become(Node::bool((a as u64) < b as u64)),
                _ => Keep,
            };
        }
        if matches!(
            node.op,
            ADD_I | MUL_I | AND_I | OR_I | XOR_I | MIN_I | MAX_I | EQ_I
        ) && self.int(x).is_some()
        {
            return Become(Node::new(node.op, &[y, x], &[]));
        }
        if x == y {
            match node.op {
                SUB_I | XOR_I => return Become(Node::int(0)),
                AND_I | OR_I | MIN_I | MAX_I => return Value(x),
                EQ_I | LE_I => return Become(Node::bool(true)),
                LT_I | LT_U => return Become(Node::bool(false)),
                _ => {}
            }
        }
        match (self.int(x), self.int(y)) {
            (_, Some(c)) => self.int_with_constant(node.op, x, c),
            (Some(c), _) => match (node.op, c) {
                (SUB_I, 0) => Become(Node::new(NEG_I, &[y], &[])),
                (LE_I, i64::MIN) => Become(Node::bool(true)),
                (LT_I, i64::MAX) => Become(Node::bool(false)),
                (LT_U, -1) => Become(Node::bool(false)),
                (SHL_I | SHR_I | SAR_I, 0) => Value(x),
                (SAR_I, -1) => Value(x),
                _ => Keep,
            },
            _ => Keep,
        }
    }

    fn unary_int(&mut self, node: &Node, x: Ref) -> Outcome {
        use MicroOp::*;
        if let Some(a) = self.int(x) {
            return match node.op {
                NEG_I => Become(Node::int(a.wrapping_neg())),
                NOT_I => Become(Node::int(!a)),
                ABS_I => Become(Node::int(a.wrapping_abs())),
                INT_TO_FLOAT => Become(Node::float(a as f64)),
                EXACT_FLOAT => match number::exact_float(a) {
                    Some(f) => Become(Node::float(f)),
                    None => Fails,
                },
                _ => Keep,
            };
        }
        let inner = self.node(x);
        match (node.op, inner.op) {
            (NEG_I, NEG_I) | (NOT_I, NOT_I) => Value(inner.inputs[0]),
            (NEG_I, SUB_I) => Become(Node::new(SUB_I, &[inner.inputs[1], inner.inputs[0]], &[])),
            (ABS_I, ABS_I) => Value(x),
            (ABS_I, NEG_I) => Become(Node::new(ABS_I, &[inner.inputs[0]], &[])),
            _ => Keep,
        }
    }

    /// A binary operation whose second operand is a constant, unlike the first.
    fn int_with_constant(&mut self, op: MicroOp, x: Ref, c: i64) -> Outcome {
        use MicroOp::*;
        match (op, c) {
            (ADD_I | SUB_I | OR_I | XOR_I | SHL_I | SHR_I | SAR_I, 0) => return Value(x),
            (MUL_I | IDIV_I, 1) => return Value(x),
            (MUL_I | AND_I, 0) | (MOD_I, 1 | -1) => return Become(Node::int(0)),
            (MUL_I | IDIV_I, -1) => return Become(Node::new(NEG_I, &[x], &[])),
            (AND_I, -1) => return Value(x),
            (OR_I, -1) => return Become(Node::int(-1)),
            (XOR_I, -1) => return Become(Node::new(NOT_I, &[x], &[])),
            (SHL_I | SHR_I, _) if !(-63..=63).contains(&c) => return Become(Node::int(0)),
            (MIN_I, i64::MIN) | (MAX_I, i64::MAX) => return Become(Node::int(c)),
            (MIN_I, i64::MAX) | (MAX_I, i64::MIN) => return Value(x),
            (LT_I, i64::MIN) | (LT_U, 0) => return Become(Node::bool(false)),
            (LE_I, i64::MAX) => return Become(Node::bool(true)),
            _ => {}
        }
        // Powers of two. A shift with the sign rounds down, and so does the mask: what Lua wants.
        if c > 1 && c & (c - 1) == 0 {
            let (op, operand) = match op {
                MUL_I => (SHL_I, c.trailing_zeros() as i64),
                IDIV_I => (SAR_I, c.trailing_zeros() as i64),
                MOD_I => (AND_I, c - 1),
                _ => return self.reassociated(op, x, c),
            };
            let operand = self.make_int(operand);
            return Become(Node::new(op, &[x, operand], &[]));
        }
        let m = c.wrapping_neg();
        if op == MOD_I && m > 1 && m & (m - 1) == 0 {
            let negated = self.make(Node::new(NEG_I, &[x], &[]));
            let mask = self.make_int(m - 1);
            let rest = self.make(Node::new(AND_I, &[negated, mask], &[]));
            return Become(Node::new(NEG_I, &[rest], &[]));
        }
        self.reassociated(op, x, c)
    }

    /// Joins two constants that are applied one after the other.
    fn reassociated(&mut self, op: MicroOp, x: Ref, c: i64) -> Outcome {
        use MicroOp::*;
        let inner = *self.node(x);
        let [a, b, _] = inner.inputs;
        if inner.op.declaration().inputs.len() != 2 {
            return Keep;
        }
        if let (SUB_I, Some(d)) = (inner.op, self.int(a)) {
            // d - b
            let (op, d) = match op {
                ADD_I => (SUB_I, d.wrapping_add(c)),
                SUB_I => (SUB_I, d.wrapping_sub(c)),
                EQ_I => (EQ_I, d.wrapping_sub(c)),
                _ => return Keep,
            };
            let d = self.make_int(d);
            let inputs = if op == EQ_I { [b, d] } else { [d, b] };
            return Become(Node::new(op, &inputs, &[]));
        }
        let Some(d) = self.int(b) else { return Keep };
        let (op, c) = match (inner.op, op) {
            (ADD_I, ADD_I) => (ADD_I, d.wrapping_add(c)),
            (ADD_I, SUB_I) => (ADD_I, d.wrapping_sub(c)),
            (SUB_I, ADD_I) => (ADD_I, c.wrapping_sub(d)),
            (SUB_I, SUB_I) => (SUB_I, d.wrapping_add(c)),
            (ADD_I, EQ_I) => (EQ_I, c.wrapping_sub(d)),
            (SUB_I, EQ_I) => (EQ_I, c.wrapping_add(d)),
            (XOR_I, XOR_I) => (XOR_I, c ^ d),
            (XOR_I, EQ_I) => (EQ_I, c ^ d),
            (AND_I, AND_I) => (AND_I, c & d),
            (OR_I, OR_I) => (OR_I, c | d),
            (MUL_I, MUL_I) => (MUL_I, c.wrapping_mul(d)),
            (SHL_I, SHL_I) | (SHR_I, SHR_I) if c > 0 && d > 0 => (op, c + d),
            (MIN_I, MIN_I) => (MIN_I, c.min(d)),
            (MAX_I, MAX_I) => (MAX_I, c.max(d)),
            _ => return Keep,
        };
        let c = self.make_int(c);
        Become(Node::new(op, &[a, c], &[]))
    }

    /// An operation on floats that makes a value.
    fn float_operation(&mut self, node: &Node) -> Outcome {
        use MicroOp::*;
        let [x, y, w] = node.inputs;
        match *node.op.declaration().inputs {
            [_] => self.unary_float(node, x),
            [_, _] => self.binary_float(node, x, y),
            [_, _, _] if node.op == FOR_GOES_ON => match self.float(w) {
                Some(step) if step > 0.0 => Become(Node::new(LE_F, &[x, y], &[])),
                Some(_) => Become(Node::new(LE_F, &[y, x], &[])),
                None => Keep,
            },
            _ => Keep,
        }
    }

    fn unary_float(&mut self, node: &Node, x: Ref) -> Outcome {
        use MicroOp::*;
        if let Some(a) = self.float(x) {
            let z = match node.op {
                NEG_F => -a,
                ABS_F => a.abs(),
                SQRT_F => a.sqrt(),
                FLOOR_F => a.floor(),
                CEIL_F => a.ceil(),
                CALL_F => functions::call(node.operands[0], a, 0.0),
                _ => return Keep,
            };
            return if z.is_nan() {
                Keep
            } else {
                Become(Node::float(z))
            };
        }
        let inner = self.node(x);
        match (node.op, inner.op) {
            (NEG_F, NEG_F) => Value(inner.inputs[0]),
            (ABS_F, NEG_F | ABS_F) => Become(Node::new(ABS_F, &[inner.inputs[0]], &[])),
            (FLOOR_F | CEIL_F, INT_TO_FLOAT | FLOOR_F | CEIL_F) => Value(x),
            _ => Keep,
        }
    }

    fn binary_float(&mut self, node: &Node, x: Ref, y: Ref) -> Outcome {
        use MicroOp::*;
        if let (Some(a), Some(b)) = (self.float(x), self.float(y)) {
            let z = match node.op {
                ADD_F => a + b,
                SUB_F => a - b,
                MUL_F => a * b,
                DIV_F => a / b,
                IDIV_F => number::float_floor_div(a, b),
                MOD_F => number::float_modulo(a, b),
                POW_F => number::pow(a, b),
                CALL_FF => functions::call(node.operands[0], a, b),
                MIN_F => {
                    if b < a {
                        b
                    } else {
                        a
                    }
                }
                MAX_F => {
                    if a < b {
                        b
                    } else {
                        a
                    }
                }
                EQ_F => return Become(Node::bool(a == b)),
                LT_F => return Become(Node::bool(a < b)),
                LE_F => return Become(Node::bool(a <= b)),
                _ => return Keep,
            };
            return if z.is_nan() {
                Keep
            } else {
                Become(Node::float(z))
            };
        }
        // Of two NaNs the first one is the result.
        if matches!(node.op, ADD_F | MUL_F | EQ_F) && self.float(x).is_some_and(|c| !c.is_nan()) {
            return Become(Node::new(node.op, &[y, x], &[]));
        }
        if let Some(comparison) = self.comparison_of_int(node.op, x, y) {
            return comparison;
        }
        match (node.op, self.float(y)) {
            // Adding the negative zero changes nothing; adding the positive one makes -0.0 positive.
            (ADD_F, Some(c)) if c.to_bits() == (-0.0f64).to_bits() => Value(x),
            (SUB_F, Some(c)) if c.to_bits() == 0 => Value(x),
            (MUL_F | DIV_F, Some(1.0)) => Value(x),
            (POW_F, Some(2.0)) => Become(Node::new(MUL_F, &[x, x], &[])),
            (DIV_F, Some(c)) if has_exact_reciprocal(c) => {
                let c = self.make(Node::float(1.0 / c));
                Become(Node::new(MUL_F, &[x, c], &[]))
            }
            (MIN_F | MAX_F, None) if x == y => Value(x),
            (LT_F, None) if x == y => Become(Node::bool(false)),
            _ => Keep,
        }
    }

    /// Compares a converted integer with a constant as integers. Where the constant is integral and small, rounding
    /// does not carry any integer over it.
    fn comparison_of_int(&mut self, op: MicroOp, x: Ref, y: Ref) -> Option<Outcome> {
        use MicroOp::*;
        let op = match op {
            EQ_F => EQ_I,
            LT_F => LT_I,
            LE_F => LE_I,
            _ => return None,
        };
        let converted = |r: Ref| {
            let node = self.node(r);
            (node.op == INT_TO_FLOAT).then_some(node.inputs[0])
        };
        let small = |r: Ref| {
            let i = number::float_to_int_exact(self.float(r)?)?;
            (i.unsigned_abs() < 1 << 53).then_some(i)
        };
        if let (Some(i), Some(c)) = (converted(x), small(y)) {
            let c = self.make_int(c);
            return Some(Become(Node::new(op, &[i, c], &[])));
        }
        if let (Some(c), Some(i)) = (small(x), converted(y)) {
            let c = self.make_int(c);
            return Some(Become(Node::new(op, &[c, i], &[])));
        }
        None
    }
}

/// Whether dividing by `c` is the same as multiplying by its reciprocal.
fn has_exact_reciprocal(c: f64) -> bool {
    const MANTISSA: u64 = (1 << 52) - 1;
    c.is_normal() && (1.0 / c).is_normal() && c.to_bits() & MANTISSA == 0
}
