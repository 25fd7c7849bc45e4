//! Scanning: what each kind of object refers to.

use std::mem::size_of;

use super::block::CLASS_SIZE;
use super::mark::{Marker, push};
use crate::bytecode::proto::Proto;
use crate::runtime::coroutine::{CallRecord, Coroutine, record_flags};
use crate::runtime::function::{Closure, Native, UpCell};
use crate::runtime::metatable::Event;
use crate::runtime::object::{Gc, Header, Kind};
use crate::runtime::table::Table;
use crate::runtime::userdata::Userdata;
use crate::runtime::value::{Tag, Value};

/// Which references of a table are weak.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weakness {
    None,
    Keys,
    Values,
    Both,
}

/// A run of values laid out as in tables: payloads and tags apart.
#[derive(Clone, Copy)]
pub(super) struct Run {
    pub payloads: *const u64,
    /// Distance from one payload to the next, in payloads: 1 or -1.
    pub step: isize,
    pub tags: *const u8,
    pub len: usize,
}

impl Run {
    pub const EMPTY: Run = Run {
        payloads: std::ptr::null(),
        step: 1,
        tags: std::ptr::null(),
        len: 0,
    };

    /// The values from `start` to `end`, which must lie in the run.
    fn part(self, start: usize, end: usize) -> Run {
        Run {
            payloads: self.payloads.wrapping_offset(start as isize * self.step),
            tags: self.tags.wrapping_add(start),
            len: end - start,
            ..self
        }
    }

    /// # Safety
    /// The run must be initialised, and `i` below its length.
    #[inline(always)]
    pub unsafe fn get(self, i: usize) -> (u8, u64) {
        // SAFETY: the caller's promise.
        unsafe {
            (
                *self.tags.add(i),
                *self.payloads.offset(i as isize * self.step),
            )
        }
    }
}

/// A table of which some has been scanned: the elements and nodes before these have. Where elements or nodes move, the
/// table is logged, and scanned again as a whole.
#[derive(Clone, Copy)]
pub(super) struct Partial {
    pub table: Gc<Table>,
    pub element: usize,
    pub node: usize,
}

/// How many elements or nodes are scanned at a time.
pub(super) const SLICE: usize = if cfg!(test) { 4 } else { 512 };

/// Whether any of eight tags is that of a collectable value.
#[inline(always)]
fn any_collectable(tags: u64) -> bool {
    // Tags are below 128, so adding 128 - 6 to each byte sets its top bit exactly if the tag is 6 or more.
    tags.wrapping_add(0x7a7a_7a7a_7a7a_7a7a) & 0x8080_8080_8080_8080 != 0
}

impl Marker<'_> {
    /// Marks what a marked object refers to. Returns the bytes looked at.
    #[inline]
    pub(super) fn scan(&mut self, object: Gc<Header>) -> usize {
        object.barrier.set(1);
        match object.kind {
            Kind::ShortString | Kind::LongString => CLASS_SIZE[0] as usize,
            Kind::Table => self.scan_table(object.cast()),
            Kind::Closure => self.scan_closure(object.cast()),
            Kind::Native => self.scan_native(object.cast()),
            Kind::Cell => {
                self.mark_value(object.cast::<UpCell>().get());
                size_of::<UpCell>()
            }
            Kind::Userdata => self.scan_userdata(object.cast()),
            Kind::Coroutine => {
                let co: Gc<Coroutine> = object.cast();
                // Stores to a stack pass no barrier.
                let marking = &mut self.rt.heap.marking;
                push(&mut marking.coroutines, co, &mut marking.failed);
                self.scan_coroutine(co)
            }
            Kind::Proto => self.scan_proto(object.cast()),
        }
    }

    fn scan_closure(&mut self, closure: Gc<Closure>) -> usize {
        self.mark(closure.proto);
        let cells = closure.cell_count as usize;
        for i in 0..cells {
            self.mark(closure.cell(i));
        }
        Closure::size(cells)
    }

    fn scan_native(&mut self, native: Gc<Native>) -> usize {
        let upvalues = native.upvalue_count as usize;
        for i in 0..upvalues {
            self.mark_value(native.upvalue(i));
        }
        Native::size(upvalues)
    }

    fn scan_userdata(&mut self, userdata: Gc<Userdata>) -> usize {
        if let Some(m) = userdata.metatable.get() {
            self.mark(m);
        }
        let values = userdata.user_values.take();
        for &v in &values {
            self.mark_value(v);
        }
        let size = size_of::<Userdata>() + values.len() * size_of::<Value>();
        userdata.user_values.set(values);
        size
    }

    /// Names and constants are strong, inline caches weak, except for the keys they are for.
    fn scan_proto(&mut self, proto: Gc<Proto>) -> usize {
        let info = &proto.info;
        for &v in &info.constants {
            self.mark_value(v);
        }
        for field in &info.fields {
            self.mark_str(field.key);
        }
        for &child in &info.protos {
            self.mark(child);
        }
        for name in info.captured.iter().filter_map(|c| c.name) {
            self.mark_str(name);
        }
        for local in &info.locals {
            self.mark_str(local.name);
        }
        self.mark_str(info.source);
        size_of::<Proto>()
            + (info.constants.len() + info.fields.len() + info.protos.len() + info.locals.len())
                * size_of::<Value>()
    }

    /// Marks what a coroutine's activations use, and nothing else that lies on its stack.
    pub(super) fn scan_coroutine(&mut self, co: Gc<Coroutine>) -> usize {
        if let Some(resumer) = co.resumer.get() {
            self.mark(resumer);
        }
        self.mark_value(co.hook.get().function);
        let mut scanned = 0;
        each_window(co, |first, end, _| {
            for slot in first..end {
                // SAFETY: the slots of a window are initialised.
                self.mark_value(unsafe { Value::load(co.stack.get().add(slot as usize)) });
            }
            scanned += size_of::<CallRecord>() + end.saturating_sub(first) as usize * size_of::<Value>();
        });
        scanned
    }

    /// Overwrites the slots of a coroutine's stack that no activation uses. So whatever such a slot holds at the next
    /// cycle has been stored since, and is a valid reference even if that slot has come into use unwritten.
    pub(super) fn clear_dead_slots(co: Gc<Coroutine>) {
        each_window(co, |_, end, next| {
            for slot in end..next {
                // SAFETY: within the stack; slots outside the windows are never read.
                unsafe { Value::store(co.stack.get().add(slot as usize), Value::NIL) };
            }
        });
    }

    fn weakness(&self, t: Gc<Table>) -> Weakness {
        if t.metatable.get().is_none() {
            return Weakness::None;
        }
        let Some(mode) = self.rt.table_event(t, Event::Mode).as_string() else {
            return Weakness::None;
        };
        let has = |c| mode.as_bytes().contains(&c);
        match (has(b'k'), has(b'v')) {
            (false, false) => Weakness::None,
            (true, false) => Weakness::Keys,
            (false, true) => Weakness::Values,
            (true, true) => Weakness::Both,
        }
    }

    fn scan_table(&mut self, t: Gc<Table>) -> usize {
        let (inline, overflow, array) = self.runs(t);
        let capacity = t.array_cap.get() as usize;
        if capacity != 0 {
            self.mark_block(t.array.get().wrapping_sub(8 * capacity));
        }
        self.mark_block(t.overflow.get());
        self.mark_block(t.hash.get().cast());
        if let Some(m) = t.metatable.get() {
            self.mark(m);
        }
        let weakness = self.weakness(t);
        let marking = &mut self.rt.heap.marking;
        match weakness {
            Weakness::None => {}
            Weakness::Keys => push(&mut marking.ephemerons, t, &mut marking.failed),
            Weakness::Values => push(&mut marking.weak_values, t, &mut marking.failed),
            Weakness::Both => push(&mut marking.all_weak, t, &mut marking.failed),
        }
        let nodes = t.hash_part().map_or(0, |hash| hash.node_count());
        if weakness == Weakness::None && array.len + nodes > SLICE {
            let marking = &mut self.rt.heap.marking;
            let partial = Partial {
                table: t,
                element: 0,
                node: 0,
            };
            push(&mut marking.partial, partial, &mut marking.failed);
            // SAFETY: the runs of a table are initialised.
            unsafe {
                self.scan_run(inline);
                self.scan_run(overflow);
            }
            return size_of::<Table>() + 9 * (inline.len + overflow.len);
        }
        if matches!(weakness, Weakness::None | Weakness::Keys) {
            // SAFETY: the runs of a table are initialised.
            unsafe {
                self.scan_run(inline);
                self.scan_run(overflow);
                self.scan_run(array);
            }
        }
        let nodes = match weakness {
            Weakness::None => self.scan_hash(t, 0, nodes),
            Weakness::Values => self.scan_hash_keys(t),
            Weakness::Keys => {
                self.scan_ephemeron(t);
                0
            }
            Weakness::Both => 0,
        };
        size_of::<Table>() + 9 * (inline.len + overflow.len + array.len) + 32 * nodes
    }

    /// Scans the next slice of a large table. Returns the bytes looked at, or `None` if there is none.
    pub(super) fn scan_slice(&mut self) -> Option<usize> {
        let Partial { table, element, node } = *self.rt.heap.marking.partial.last()?;
        let (_, _, array) = self.runs(table);
        let nodes = table.hash_part().map_or(0, |hash| hash.node_count());
        if element < array.len {
            let end = array.len.min(element + SLICE);
            // SAFETY: a part of a table's run.
            unsafe { self.scan_run(array.part(element, end)) };
            self.resume_at(table, end, node);
            Some(9 * (end - element))
        } else if node < nodes {
            let end = nodes.min(node + SLICE);
            self.scan_hash(table, node, end);
            self.resume_at(table, element, end);
            Some(32 * (end - node))
        } else {
            self.rt.heap.marking.partial.pop();
            Some(size_of::<Partial>())
        }
    }

    /// Notes how far the last of the partially scanned tables has been.
    fn resume_at(&mut self, table: Gc<Table>, element: usize, node: usize) {
        if let Some(last) = self.rt.heap.marking.partial.last_mut() {
            *last = Partial { table, element, node };
        }
    }

    /// The values of a table's object part and array part, which is empty if it holds nothing that is collected.
    pub(super) fn runs(&self, t: Gc<Table>) -> (Run, Run, Run) {
        let shapes = &self.rt.shapes;
        let shape = t.shape.get();
        let slots = shapes.slot_count(shape) as usize;
        let capacity = shapes.inline_cap(shape) as usize;
        // The kinds of uniform arrays are tags, and the others are greater.
        let holds_objects = t.array_kind.get().0 >= Tag::STRING.byte();
        let array = Run {
            payloads: t.array.get().wrapping_sub(8).cast(),
            step: -1,
            tags: t.array.get(),
            len: if holds_objects {
                t.array_len.get() as usize
            } else {
                0
            },
        };
        // The runs follow the header; an overflow block is as large as its shape says.
        let payloads = t.as_ptr().wrapping_add(1).cast::<u64>();
        let inline = Run {
            payloads,
            step: 1,
            tags: payloads.wrapping_add(capacity).cast(),
            len: slots.min(capacity),
        };
        if slots <= capacity {
            return (inline, Run::EMPTY, array);
        }
        let payloads = t.overflow.get().cast::<u64>();
        let tags = payloads
            .wrapping_add(shapes.overflow_cap(shape) as usize)
            .cast();
        (
            inline,
            Run {
                payloads,
                step: 1,
                tags,
                len: slots - capacity,
            },
            array,
        )
    }

    /// # Safety
    /// The run must be initialised.
    #[inline]
    unsafe fn scan_run(&mut self, run: Run) {
        let mut i = 0;
        // SAFETY: all accesses are below the length.
        unsafe {
            while i + 8 <= run.len {
                if any_collectable(run.tags.add(i).cast::<u64>().read_unaligned()) {
                    for j in i..i + 8 {
                        let (tag, payload) = run.get(j);
                        self.mark_slot(tag, payload);
                    }
                }
                i += 8;
            }
            while i < run.len {
                let (tag, payload) = run.get(i);
                self.mark_slot(tag, payload);
                i += 1;
            }
        }
    }
}

/// The first slot of an activation: the function's, or the first extra argument.
fn first_slot(record: &CallRecord) -> u32 {
    record.base - 1 - record.extra_args
}

/// Calls `visit` for each activation of a coroutine that does not run or has been written back: the first slot in use, the
/// end of those in use, and where the next activation or the rest of the stack begins.
fn each_window(co: Gc<Coroutine>, mut visit: impl FnMut(u32, u32, u32)) {
    let depth = co.depth.get() as usize;
    let records = co.records.get();
    let to_close = co.to_close.take();
    for i in 0..depth {
        // SAFETY: `depth` records are in use.
        let (record, callee) = unsafe { (&*records.add(i), (i + 1 < depth).then(|| &*records.add(i + 1))) };
        let first = first_slot(record);
        let next = callee.map(first_slot);
        let mut end = match callee {
            // Whatever registers the next instruction reads, they are in use.
            Some(callee) if callee.is_hook() => first_slot(callee),
            // SAFETY: a record in use.
            _ => unsafe { window_end(co.stack.get(), record, next, co.top.get()) },
        };
        let limit = next.unwrap_or(co.stack_size.get());
        // Variables to be closed are in use until they are, whatever the code says.
        if let Some(&last) = to_close.iter().rfind(|&&slot| slot < limit) {
            end = end.max(last + 1);
        }
        visit(first, end, limit);
    }
    co.to_close.set(to_close);
}

/// The end of the slots that an activation uses. `next` is where the activation that it has called begins, and
/// `top` the end of the stack's contents.
///
/// # Safety
/// The record must be one in use of a coroutine that does not run or has been written back.
unsafe fn window_end(stack: *const Value, record: &CallRecord, next: Option<u32>, top: u32) -> u32 {
    if record.flags & record_flags::NATIVE != 0 {
        // A host function uses everything up to what it has called.
        return next.unwrap_or(record.top.max(top));
    }
    // At a safepoint of the running function the interpreter has set the end itself.
    let Some(next) = next else { return top };
    if record.flags & record_flags::CLOSING != 0 {
        return record.top.min(next);
    }
    // SAFETY: below the base of a bytecode function lies its closure; `pc` points into its code.
    let live = unsafe {
        let closure = Value::load(stack.add(record.base as usize - 1)).as_closure();
        let proto = closure
            .expect("a frame of bytecode has a closure below its base")
            .proto;
        match record.pc.offset_from(proto.code) {
            0 => proto.params,
            pc => proto.info.live[pc as usize - 1],
        }
    };
    (record.base + live as u32).min(next)
}
