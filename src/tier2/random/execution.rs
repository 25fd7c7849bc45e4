//! Random superblocks leave a VM in the same state whether they are optimized or not.

use proptest::prelude::*;

use super::super::optimizer::{optimize, tag::tag};
use super::super::{Engine, run};
use super::super::uop::tests::{call, eval, executor, function, pc, vm};
use super::*;
use crate::runtime::function::Closure;
use crate::runtime::object::Gc;
use crate::runtime::shape::{Location, ShapeId};
use crate::runtime::table::Table;
use crate::runtime::value::{Tag, Value as LuaValue};
use crate::tier1::State;

/// What is running: ten parameters, which make the world, and more registers.
const RUNNING: &str = "function(a, b, c, d, e, f, g, h, i, j)
    local k, l, m, n
    local function again() return a, b, c, d, e, f, g, h, i, j, k, l, m, n end
    a = b; b = c; c = d; d = e; e = f; f = g; g = h; h = i; i = j; j = k; k = l
    return again
end";
const CALLED: &str = "function(a, b, c) local d = a + b; c = d; return c end";
/// The arguments.
const ARGUMENTS: [&str; 10] = [
    "5",
    "2.5",
    "true",
    "'text'",
    "7",
    "0.5",
    "{ x = {}, y = 3.5 }",
    "{ x = 1, 1, 2, 3, 4, 5 }",
    "(function() local t = { x = 2, 0.5, 1.5, 2.5 } t.y = 0.25 return t end)()",
    "nil",
];
/// The contents of a table, in an order that depends on nothing else.
const CONTENTS: &str = "function(t)
    local function name(v) return math.type(v) and string.format('%s %q', math.type(v), v ~= v and 'nan' or v)
        or type(v) == 'string' and v or type(v) == 'boolean' and tostring(v) or type(v) end
    local parts = {}
    for k, v in next, t do parts[#parts + 1] = name(k) .. '=' .. name(v) end
    table.sort(parts)
    return #t .. ' ' .. table.concat(parts, ' ')
end";

/// A VM, with what is about to run.
struct Machine {
    st: Box<State>,
    running: Gc<Closure>,
    arguments: Vec<LuaValue>,
    contents: LuaValue,
    world: World,
}

fn layout_of(st: &State, table: Gc<Table>, likely: Type) -> Layout {
    let shape: ShapeId = table.shape.get();
    let places = (0..st.rt.shapes.slot_count(shape)).filter_map(|i| {
        let (slot, in_overflow) = match st.rt.shapes.slot_location(shape, i) {
            Location::Inline(slot) => (slot, false),
            Location::Overflow(slot) => (slot, true),
            _ => return None,
        };
        Some(Place {
            slot,
            in_overflow,
            likely,
        })
    });
    Layout {
        shape: shape.0,
        places: places.collect(),
        next: None,
    }
}

impl Machine {
    fn new(engine: Engine) -> Machine {
        let mut st = vm();
        st.tier2.engine = engine;
        st.rt.heap.stop();
        let contents = eval(&mut st, CONTENTS);
        let running = function(&mut st, RUNNING);
        let called = function(&mut st, CALLED);
        let arguments: Vec<LuaValue> = ARGUMENTS
            .iter()
            .map(|source| eval(&mut st, source))
            .collect();
        let layouts: Vec<Layout> = (6..9)
            .map(|i| layout_of(&st, arguments[i].as_table().expect("a table"), Type::Float))
            .collect();
        let slots = [
            Content::of(Type::Int),
            Content::of(Type::Float),
            Content::of(Type::Bool),
            Content::of(Type::String),
            Content::tagged(Type::Int),
            Content::tagged(Type::Float),
            Content {
                layout: Some(0),
                ..Content::tagged(Type::Table)
            },
            Content::table(1, Some((5, Type::Int))),
            Content::table(2, Some((3, Type::Float))),
            Content::tagged(Type::Tagged),
        ];
        let world = World {
            proto: running.proto.addr(),
            registers: running.proto.registers as u16,
            pcs: 4,
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
                        addr: arguments[7].payload(),
                    },
                    slots[7],
                ),
                (
                    Object {
                        kind: ObjectKind::String,
                        addr: arguments[3].payload(),
                    },
                    slots[3],
                ),
            ],
            layouts,
            callee: Some(Callee {
                closure: called.addr(),
                proto: called.proto.addr(),
                registers: called.proto.registers as u16,
            }),
        };
        Machine {
            st,
            running,
            arguments,
            contents,
            world,
        }
    }

    /// Runs a superblock and describes what it has left behind.
    fn run(&mut self, sb: Superblock) -> (u32, String) {
        let st = &mut *self.st;
        let slots = sb.slot_count() as u32;
        let executor = executor(st, self.running, sb);
        call(st, self.running, &self.arguments);
        let base = st.frame().base;
        let depth = st.depth();
        assert!(st.reserve(base + slots).is_ok());
        for slot in base + self.arguments.len() as u32..base - 1 + slots {
            // SAFETY: there is room.
            unsafe { LuaValue::store(st.slot(slot), LuaValue::NIL) };
        }
        let outcome = run(st, executor);
        let mut left = format!(
            "{outcome:?}, {} frames up at {}:",
            st.depth() - depth,
            pc(st)
        );
        let at = pc(st);
        for slot in base - 1..base - 1 + slots {
            // SAFETY: as above.
            let v = unsafe { LuaValue::load(self.st.slot(slot)) };
            left.push_str(&format!(" {}", self.name(v)));
            if v.tag() == Tag::TABLE {
                left.push_str(&format!(" {{{}}}", self.contents_of(v)));
            }
        }
        for i in 6..9 {
            left.push('\n');
            left.push_str(&self.contents_of(self.arguments[i]));
        }
        (at, left)
    }

    /// A value without addresses.
    fn name(&self, v: LuaValue) -> String {
        let known = self
            .arguments
            .iter()
            .position(|a| v.tag() == Tag::TABLE && a.same_bits(v));
        match (known, v.tag()) {
            (Some(i), _) => format!("argument {i}"),
            (_, Tag::INT) => format!("{}", v.payload() as i64),
            (_, Tag::FLOAT) if v.as_float().is_some_and(f64::is_nan) => "nan".to_owned(),
            (_, Tag::FLOAT) => format!("{:?}", v.as_float()),
            (_, Tag::TRUE) => "true".to_owned(),
            (_, tag) => tag.type_name().to_owned(),
        }
    }

    fn contents_of(&mut self, table: LuaValue) -> String {
        let st = &mut *self.st;
        let (at, _) = st
            .call_value(self.contents, &[table])
            .expect("the contents can be listed");
        // SAFETY: a result.
        let text = unsafe { LuaValue::load(st.slot(at)) };
        String::from_utf8_lossy(text.as_string().expect("a string").as_bytes()).into_owned()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn optimized_superblocks_do_the_same(
        size in 1..50usize,
        (looping, allocations, inlining) in any::<(bool, bool, bool)>(),
        seed: u64,
    ) {
        let options = Options { size, passes: looping.then_some(8), calls: false, allocations, inlining };
        let (mut plain, mut optimized) = (Machine::new(Engine::Uops), Machine::new(Engine::Uops));
        let sb = superblock(&plain.world, options, seed);
        // The last pass is needed by whatever runs a superblock.
        let (_, expected) = plain.run(tag(&sb).unwrap_or_else(|| sb.clone()));
        let sb = superblock(&optimized.world, options, seed);
        let better = optimize(sb.clone());
        let (at, found) = optimized.run(better.clone());
        // A guard that has been moved before the loop leaves there.
        if at != optimized.world.pcs {
            prop_assert_eq!(expected, found, "{}\n{}", sb, better);
        }
    }

    #[test]
    #[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
    fn machine_code_does_the_same(
        size in 1..80usize,
        (looping, allocations, inlining, optimizing) in any::<(bool, bool, bool, bool)>(),
        seed: u64,
    ) {
        let options = Options { size, passes: looping.then_some(8), calls: false, allocations, inlining };
        let (mut interpreted, mut compiled) = (Machine::new(Engine::Uops), Machine::new(Engine::Jit));
        let prepare = |sb: Superblock| if optimizing { optimize(sb) } else { tag(&sb).unwrap_or(sb) };
        let sb = prepare(superblock(&interpreted.world, options, seed));
        let expected = interpreted.run(sb);
        let sb = prepare(superblock(&compiled.world, options, seed));
        let found = compiled.run(sb.clone());
        prop_assert_eq!(expected, found, "{}", sb);
    }
}
