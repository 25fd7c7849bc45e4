//! Random superblocks for property tests.
//!
//! A superblock is made for a [`World`], which says what it finds when it is entered. It obeys the rules that
//! [`verify`](super::verify) checks, and beyond them those of which executors are not told: slots of a table are accessed
//! behind a guard on its shape, elements behind a guard on the index, divisors are not zero, stores into objects are
//! followed by a barrier, loops end. So it can be run in a VM that is as the world says, if collections are
//! stopped; what is left behind at its exit is to be compared, not to be resumed: the snapshots are random, too.
//!
//! The same seed gives the same superblock; a smaller size gives a shorter one.

use std::collections::BTreeMap;

use perilune_uops::{Exit, FloatFunction, MicroOp, Operation, Type};

use super::superblock::*;
use crate::bytecode::cache::SlotOffsets;
use crate::runtime::array::ArrayKind;
use crate::runtime::coroutine::Continuation;

mod actions;
mod execution;
mod tests;

/// What is known of a value.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Content {
    /// Its type, which is relied on.
    pub ty: Type,
    /// If that is `Tagged`, the type that it is guarded to have.
    pub likely: Type,
    /// The shape that a table is guarded to have, by its index among the layouts.
    pub layout: Option<usize>,
    /// How many elements a table usually has, and what they are.
    pub elements: Option<(u32, Type)>,
}

impl Content {
    pub const fn of(ty: Type) -> Content {
        Content {
            ty,
            likely: ty,
            layout: None,
            elements: None,
        }
    }

    /// A tagged value that usually is of type `likely`.
    pub const fn tagged(likely: Type) -> Content {
        Content {
            ty: Type::Tagged,
            ..Content::of(likely)
        }
    }

    pub const fn table(layout: usize, elements: Option<(u32, Type)>) -> Content {
        Content {
            layout: Some(layout),
            elements,
            ..Content::of(Type::Table)
        }
    }
}

/// Where a key is and what its value usually is.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub slot: SlotOffsets,
    pub in_overflow: bool,
    pub likely: Type,
}

/// A shape.
#[derive(Clone, Debug)]
pub struct Layout {
    pub shape: u32,
    pub places: Vec<Place>,
    /// The layout with one more inline slot, the last of its places, if there is room for it.
    pub next: Option<usize>,
}

/// A function that is called.
#[derive(Clone, Copy, Debug)]
pub struct Callee {
    /// The addresses of the closure and of its prototype.
    pub closure: u64,
    pub proto: u64,
    pub registers: u16,
}

/// What a superblock finds when it is entered.
#[derive(Clone, Debug)]
pub struct World {
    /// The address of the running function's prototype, and its number of registers.
    pub proto: u64,
    pub registers: u16,
    /// Instructions at which control can leave. The loop begins at the one behind them.
    pub pcs: u32,
    /// What slots hold. Others are not read.
    pub slots: Vec<(Slot, Content)>,
    /// The parameters, if the superblock is that of a side exit.
    pub params: Vec<Content>,
    /// Objects, other than prototypes, which the superblock can name.
    pub objects: Vec<(Object, Content)>,
    pub layouts: Vec<Layout>,
    pub callee: Option<Callee>,
}

impl World {
    /// A world of symbolic addresses and shapes, for what looks at superblocks without running them.
    pub fn symbolic() -> World {
        let place = |payload, tag, in_overflow, likely| Place {
            slot: SlotOffsets { payload, tag },
            in_overflow,
            likely,
        };
        let (x, y) = (
            place(48, 72, false, Type::Int),
            place(56, 73, false, Type::Float),
        );
        let layouts = vec![
            Layout {
                shape: 20,
                places: vec![x],
                next: Some(1),
            },
            Layout {
                shape: 21,
                places: vec![x, y],
                next: None,
            },
            Layout {
                shape: 22,
                places: vec![y, place(8, 40, true, Type::Table)],
                next: None,
            },
        ];
        let types = [Type::Int, Type::Float, Type::Bool, Type::String, Type::Cell];
        let mut slots: Vec<Content> = types.map(Content::of).to_vec();
        slots.extend([Type::Int, Type::Float, Type::Table].map(Content::tagged));
        slots.extend([
            Content::table(0, Some((9, Type::Int))),
            Content::table(1, Some((5, Type::Tagged))),
        ]);
        World {
            proto: 0x1000,
            registers: slots.len() as u16 + 4,
            pcs: 100,
            slots: slots
                .into_iter()
                .enumerate()
                .map(|(i, content)| (i as Slot + 1, content))
                .collect(),
            params: Vec::new(),
            objects: vec![
                (
                    Object {
                        kind: ObjectKind::Table,
                        addr: 0x2000,
                    },
                    Content::table(2, None),
                ),
                (
                    Object {
                        kind: ObjectKind::String,
                        addr: 0x3000,
                    },
                    Content::of(Type::String),
                ),
            ],
            layouts,
            callee: Some(Callee {
                closure: 0x4000,
                proto: 0x5000,
                registers: 6,
            }),
        }
    }
}

/// What a superblock consists of.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The number of actions, each of which makes a few nodes.
    pub size: usize,
    /// There is a loop, which runs at most this often.
    pub passes: Option<u32>,
    /// There are call-outs, which may run anything.
    pub calls: bool,
    /// There are allocations.
    pub allocations: bool,
    /// There are inlined frames.
    pub inlining: bool,
}

impl Options {
    /// Everything there is.
    pub const fn all(size: usize) -> Options {
        Options {
            size,
            passes: Some(8),
            calls: true,
            allocations: true,
            inlining: true,
        }
    }
}

/// A generator of random numbers.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// True once in `n` times.
    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> Option<T> {
        (!items.is_empty()).then(|| items[self.below(items.len())])
    }
}

/// A value that has been made.
#[derive(Clone, Copy)]
struct Value {
    r: Ref,
    content: Content,
}

/// What guards have shown, as far as nothing has happened since that could change it.
#[derive(Default)]
struct Facts {
    /// Tables and their layouts.
    layouts: Vec<(Ref, usize)>,
    /// Tables and indices of elements in use.
    elements: Vec<(Ref, Ref)>,
    kinds: Vec<(Ref, ArrayKind)>,
    /// Cells that are mutable.
    mutable: Vec<Ref>,
}

struct Generator<'w> {
    world: &'w World,
    options: Options,
    random: Random,
    sb: Superblock,
    values: Vec<Value>,
    facts: Facts,
    /// Integers that are not zero. They stay so.
    nonzero: Vec<Ref>,
    frame: FrameId,
    /// The frame that is not returned from: the one in which the loop begins.
    floor: FrameId,
    /// For each frame its function; of the first one it is in memory.
    functions: Vec<Ref>,
    /// The last snapshot.
    here: Option<SnapshotId>,
    /// Whether slots in memory may have changed.
    disturbed: bool,
}

/// A random superblock for this world.
pub fn superblock(world: &World, options: Options, seed: u64) -> Superblock {
    let mut generator = Generator::new(world, options, seed);
    generator.begin();
    match options.passes {
        Some(passes) => {
            let before = generator.random.below(options.size + 1);
            generator.actions(before);
            generator.looping(passes, options.size - before);
        }
        None => {
            generator.actions(options.size);
            generator.leave();
        }
    }
    generator.sb
}

impl<'w> Generator<'w> {
    fn new(world: &'w World, options: Options, seed: u64) -> Generator<'w> {
        Generator {
            world,
            options,
            random: Random(seed),
            sb: Superblock::default(),
            values: Vec::new(),
            facts: Facts::default(),
            nonzero: Vec::new(),
            frame: FrameId(0),
            floor: FrameId(0),
            functions: vec![Ref::NONE],
            here: None,
            disturbed: false,
        }
    }

    fn begin(&mut self) {
        let proto = self.sb.intern(Object {
            kind: ObjectKind::Proto,
            addr: self.world.proto,
        });
        self.sb.frames.push(Frame {
            caller: None,
            proto,
            base: 1,
            registers: self.world.registers,
            return_pc: 0,
            call_site: NO_CALL_SITE,
            wanted: 0,
            continuation: Continuation::Call,
            flags: 0,
            extra_args: 0,
            result: 0,
            aux: 0,
        });
        self.sb.push(Node::new(MicroOp::START, &[], &[]));
        for (i, &content) in self.world.params.iter().enumerate() {
            let node = Node::new(MicroOp::PARAM, &[], &[i as u64]).with_type(content.ty);
            self.make(node, content);
        }
    }

    fn actions(&mut self, n: usize) {
        for _ in 0..n {
            self.action();
        }
    }

    fn leave(&mut self) {
        let exit = self.snapshot();
        self.sb
            .push(Node::new(MicroOp::EXIT, &[], &[]).with_exit(exit));
    }

    /// A loop that runs at most `passes` times, with `n` actions in its body.
    fn looping(&mut self, passes: u32, n: usize) {
        let zero = self.make(Node::int(0), Content::of(Type::Int));
        let firsts: Vec<Value> = (0..self.random.below(5))
            .filter_map(|_| self.random.pick(&self.values))
            .collect();
        let int = Content::of(Type::Int);
        let [first, count, step] = [
            1 + self.random.below(3) as i64,
            self.random.below(passes as usize + 1) as i64,
            [1, 1, 2, -1][self.random.below(4)],
        ]
        .map(|i| self.make(Node::int(i), int));
        let entry = self.entry();
        let head = self.sb.push(Node::new(MicroOp::LOOP, &[], &[]));
        self.facts = Facts::default();
        self.floor = self.frame;
        self.disturbed |= self.options.calls;
        let counter = self.phi(
            Value {
                r: zero,
                content: Content::of(Type::Int),
            },
            false,
        );
        let [index, left] = [first, count].map(|r| self.phi(Value { r, content: int }, false));
        let mut phis = Vec::new();
        for first in firsts {
            let loose = first.content.likely != Type::Cell && self.random.one_in(3);
            let phi = self.phi(first, loose);
            phis.push(self.sb.type_of(phi));
        }
        self.sb.looping = Some(Loop {
            head,
            back: Vec::new(),
            entry,
            label: SnapshotId::NONE,
            counters: Vec::new(),
        });
        self.actions(n);
        self.frame = self.floor;
        let mut back = vec![self.count(counter, passes)];
        back.extend(self.count_down(index, step, left));
        back.extend(phis.into_iter().map(|ty| self.carried(ty)));
        if let Some(looping) = &mut self.sb.looping {
            looping.back = back;
        }
        self.sb.push(Node::new(MicroOp::BACK, &[], &[]));
    }

    /// A phi; if it is `loose`, it may become anything.
    fn phi(&mut self, first: Value, loose: bool) -> Ref {
        let content = if loose {
            Content::tagged(first.content.likely)
        } else {
            first.content
        };
        let node = Node::new(MicroOp::PHI, &[first.r], &[]).with_type(content.ty);
        // The next pass may have another table there.
        self.make(node, content)
    }

    /// Leaves the loop if it has run often enough; the next value of the counter.
    fn count(&mut self, counter: Ref, passes: u32) -> Ref {
        let one = self.make(Node::int(1), Content::of(Type::Int));
        let next = self.make(
            Node::new(MicroOp::ADD_I, &[counter, one], &[]),
            Content::of(Type::Int),
        );
        let limit = self.make(Node::int(passes as i64), Content::of(Type::Int));
        let goes_on = self.make(
            Node::new(MicroOp::LT_I, &[next, limit], &[]),
            Content::of(Type::Bool),
        );
        self.guard(MicroOp::GUARD_TRUE, &[goes_on], &[]);
        next
    }

    /// Leaves a numeric loop after its last pass; the next values of its index and its count.
    fn count_down(&mut self, index: Ref, step: Ref, count: Ref) -> [Ref; 2] {
        let int = Content::of(Type::Int);
        let (zero, one) = (self.make(Node::int(0), int), self.make(Node::int(1), int));
        let last = Node::new(MicroOp::EQ_I, &[count, zero], &[]);
        let last = self.make(last, Content::of(Type::Bool));
        self.guard(MicroOp::GUARD_FALSE, &[last], &[]);
        let next = self.make(Node::new(MicroOp::ADD_I, &[index, step], &[]), int);
        let left = self.make(Node::new(MicroOp::SUB_I, &[count, one], &[]), int);
        [next, left]
    }

    /// A value for the next pass.
    fn carried(&mut self, ty: Type) -> Ref {
        let fitting =
            |v: &&Value| v.content.ty == ty || ty == Type::Tagged && v.content.likely != Type::Cell;
        let candidates: Vec<Value> = self.values.iter().filter(fitting).copied().collect();
        // The phi itself fits.
        candidates[self.random.below(candidates.len())].r
    }

    /// Adds a node that makes a value.
    fn make(&mut self, node: Node, content: Content) -> Ref {
        let r = self.sb.push(node);
        self.values.push(Value { r, content });
        r
    }

    /// The snapshot for a node with an exit: often that of the node before.
    fn exit(&mut self) -> SnapshotId {
        match self.here {
            Some(here)
                if self.sb.snapshot_at(here).frame == self.frame && !self.random.one_in(3) =>
            {
                here
            }
            _ => self.snapshot(),
        }
    }

    /// A new snapshot of the running frame.
    fn snapshot(&mut self) -> SnapshotId {
        let chain: Vec<FrameId> = self.sb.chain(self.frame).collect();
        let frame = *self.sb.frame(self.frame);
        let end = (frame.base + frame.registers) as usize;
        let mut slots = BTreeMap::new();
        for _ in 0..self.random.below(5) {
            if let Some(value) = self.random.pick(&self.values) {
                slots.insert(1 + self.random.below(end - 1) as Slot, value.r);
            }
        }
        // The functions of inlined frames are where their frames begin.
        for id in chain.into_iter().filter(|id| *id != FrameId(0)) {
            slots.insert(self.sb.frame(id).base - 1, self.functions[id.0 as usize]);
        }
        let top = self
            .random
            .one_in(8)
            .then(|| frame.base + self.random.below(frame.registers as usize + 1) as Slot);
        let pc = self.random.below(self.world.pcs as usize) as u32;
        let id = self.sb.snapshot(self.frame, pc, top, slots);
        self.here = Some(id);
        id
    }

    /// The snapshot in which the loop begins: no other one has its program counter.
    fn entry(&mut self) -> SnapshotId {
        let id = self.snapshot();
        self.here = None;
        self.sb.snapshots[id.0 as usize].pc = self.world.pcs;
        id
    }

    /// Adds a guard, or another node that makes no value and has an exit.
    fn guard(&mut self, op: MicroOp, inputs: &[Ref], operands: &[u64]) {
        let exit = self.exit();
        self.sb
            .push(Node::new(op, inputs, operands).with_exit(exit));
    }

    /// Adds a node with an exit that makes a value.
    fn make_or_leave(
        &mut self,
        op: MicroOp,
        inputs: &[Ref],
        operands: &[u64],
        content: Content,
    ) -> Ref {
        let exit = self.exit();
        self.make(Node::new(op, inputs, operands).with_exit(exit), content)
    }
}
