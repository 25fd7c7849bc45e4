//! Deoptimisation: the state of tier 1, made from the state of an executor.
//!
//! An executor keeps registers of its frames elsewhere, and frames of inlined functions nowhere. Before anybody else may look, the
//! slots of a snapshot are stored ([`store_slots`]) and the records of inlined frames are pushed ([`materialise`]). Both
//! backends do that here; they differ in where they find the values.
//!
//! Virtual objects of the snapshot are made as well ([`store_snapshot`]).
//!
//! Invariant: while an executor runs, the current record is the one of its first frame, and there is room on both
//! stacks for all of its frames ([`make_room`]).

use std::ptr;

use perilune_uops::MicroOp;
use smallvec::SmallVec;

use super::executor::Room;
use super::superblock::{
    Frame, FrameId, NO_CALL_SITE, ObjectId, ObjectKind, Part, Ref, Slot, SnapshotId, Superblock, is_virtual, slot_offsets,
};
use crate::bytecode::proto::Proto;
use crate::heap::OutOfMemory;
use crate::runtime::Runtime;
use crate::runtime::coroutine::{CallRecord, Continuation, record_flags};
use crate::runtime::function::CellState;
use crate::runtime::object::Gc;
use crate::runtime::shape::ShapeId;
use crate::runtime::value::Value;
use crate::tier1::State;
use crate::tier1::callback::protected_call_returned;
use crate::tier1::state::{STACK_MAX, STACK_SLACK};

/// Makes room for the frames of a superblock that begins in the current record. False, with nothing raised, if there
/// is none: then tier 1 goes on, and raises the error where it is due.
#[inline]
pub fn make_room(st: &mut State, room: Room) -> bool {
    let end = st.frame().base as usize - 1 + room.slots as usize;
    let fits = end + STACK_SLACK as usize <= st.co.stack_size.get() as usize;
    if !fits {
        // Overflowing would use up the reserve of error handling.
        let possible = end + STACK_SLACK as usize <= STACK_MAX as usize;
        if !possible || st.reserve(end as u32).is_err() {
            st.error = Value::NIL;
            return false;
        }
    }
    while free_records(st) < room.records as usize {
        if st.grow_records().is_err() {
            st.error = Value::NIL;
            return false;
        }
    }
    true
}

/// How many records can be pushed.
pub fn free_records(st: &State) -> usize {
    // SAFETY: both point into the record stack, or behind its end.
    unsafe { st.records_end.offset_from(st.record) as usize - 1 }
}

/// Stores slots of the frames whose slot 0 is at stack index `origin`.
///
/// # Safety
/// There is room for the slots.
#[inline]
pub unsafe fn store_slots(st: &mut State, origin: u32, slots: impl IntoIterator<Item = (Slot, Value)>) {
    let first = st.slot(origin);
    for (slot, v) in slots {
        // SAFETY: the caller's promise.
        unsafe { Value::store(first.add(slot as usize), v) };
    }
}

/// Stores the slots of a snapshot for which control leaves, with the objects that are virtual, which are made. `value` says what
/// the values are by their position among [`Superblock::values_of`]. If there is no memory for the objects, nil is stored in
/// their place, and the error is to be raised in tier 1.
///
/// # Safety
/// There is room for the slots. The values are alive, and of the types that they have in the superblock, which is one that an
/// executor has.
pub unsafe fn store_snapshot(
    st: &mut State,
    sb: &Superblock,
    origin: u32,
    id: SnapshotId,
    value: impl Fn(usize) -> Value,
) -> Result<(), OutOfMemory> {
    if !sb.has_virtual_objects(id) {
        let slots = sb.slots_of(id).iter().enumerate().map(|(k, &(slot, _))| (slot, value(k)));
        // SAFETY: the caller's promise.
        unsafe { store_slots(st, origin, slots) };
        return Ok(());
    }
    let mut objects = Objects::new();
    // SAFETY: the caller's promise.
    let made = unsafe { rebuild(&mut st.rt, sb, id, &value, &mut objects) };
    if made.is_err() {
        objects.clear();
    }
    let found = |r: Ref| objects.iter().find(|o| o.0 == r).map_or(Value::NIL, |o| o.1);
    let slots = sb.slots_of(id).iter().enumerate().map(|(k, &(slot, r))| {
        let v = if is_virtual(sb.node(r).op) { found(r) } else { value(k) };
        (slot, v)
    });
    // SAFETY: the caller's promise.
    unsafe { store_slots(st, origin, slots) };
    made
}

/// Objects by their nodes.
type Objects = SmallVec<[(Ref, Value); 8]>;

/// Makes the virtual objects of a snapshot: first all of them, since they may refer to each other, then their parts. The
/// collector does not run in between, so nothing that is made has to be reachable, and nothing needs a barrier.
///
/// # Safety
/// As for [`store_snapshot`].
unsafe fn rebuild(
    rt: &mut Runtime,
    sb: &Superblock,
    id: SnapshotId,
    value: &impl Fn(usize) -> Value,
    objects: &mut Objects,
) -> Result<(), OutOfMemory> {
    for described in sb.virtual_objects(id) {
        let node = sb.node(described.object);
        let made = match node.op {
            MicroOp::VIRTUAL_TABLE => {
                Value::table(rt.allocate_table(ShapeId(described.header), node.operands[0] as u32)?)
            }
            MicroOp::VIRTUAL_CLOSURE => {
                let proto = Gc::from_addr(sb.object(ObjectId(node.operands[0] as u32)).addr);
                // SAFETY: all its captured variables are set below, before anybody can look at it; if not all objects can be made,
                // nobody ever does.
                Value::closure(unsafe { rt.allocate_closure(proto)? })
            }
            _ => {
                let state = [CellState::Uninitialised, CellState::Constant, CellState::Mutable];
                Value::cell(rt.new_cell(Value::NIL, state[described.header as usize])?)
            }
        };
        objects.push((described.object, made));
    }
    let mut at = sb.slots_of(id).len();
    for (described, &(_, object)) in sb.virtual_objects(id).zip(objects.iter()) {
        for (&part, &(_, r)) in described.parts.iter().zip(described.values) {
            let v = if is_virtual(sb.node(r).op) {
                objects.iter().find(|o| o.0 == r).map_or(Value::NIL, |o| o.1)
            } else {
                value(at)
            };
            at += 1;
            let described_so = "verified descriptions fit the object";
            match part {
                Part::Slot(slot) => {
                    let table = object.as_table().expect(described_so);
                    // SAFETY: a slot of the table's shape, in the table itself.
                    unsafe { table.put_inline(slot_offsets(slot as u64), v) };
                }
                Part::Element(_) => object.as_table().expect(described_so).push_element(v),
                Part::Metatable => {
                    let table = object.as_table().expect(described_so);
                    table.metatable.set(Some(v.as_table().expect(described_so)));
                }
                Part::Captured(i) => {
                    let closure = object.as_closure().expect(described_so);
                    closure.set_cell(i as usize, v.as_cell().expect(described_so));
                }
                Part::Content => object.as_cell().expect(described_so).put(v),
            }
        }
    }
    Ok(())
}

/// The prototype of a frame.
pub fn proto_of(sb: &Superblock, frame: FrameId) -> Gc<Proto> {
    let object = sb.object(sb.frame(frame).proto);
    debug_assert_eq!(object.kind, ObjectKind::Proto);
    Gc::from_addr(object.addr)
}

/// Whether the current record is that of a function with this prototype.
pub fn is_running(st: &State, proto: Gc<Proto>) -> bool {
    // SAFETY: the function lies below the base of its record.
    let function = unsafe { Value::load(st.slot(st.frame().base - 1)) };
    function.as_closure().is_some_and(|f| f.proto == proto)
}

/// Sets the program counters of a snapshot's frames, the innermost one's to `pc`, pushes the records of inlined ones, and
/// sets `top` if the snapshot has one. The slots have been stored.
///
/// # Safety
/// The current record is that of the superblock's first frame, whose slot 0 is at stack index `origin`; there is room
/// for the records, and the prototypes are alive.
pub unsafe fn materialise(st: &mut State, sb: &Superblock, origin: u32, id: SnapshotId, pc: u32) {
    let snapshot = sb.snapshot_at(id);
    if let Some(top) = snapshot.top {
        st.top = st.slot(origin + top as u32);
    }
    if sb.frame(snapshot.frame).caller.is_none() {
        let proto = proto_of(sb, snapshot.frame);
        debug_assert!((pc as usize) < proto.info.code.len() + 1);
        // SAFETY: an instruction of the prototype, or the end of its code.
        st.frame_mut().pc = unsafe { proto.code.add(pc as usize) };
        return;
    }
    let chain: SmallVec<[FrameId; 8]> = sb.chain(snapshot.frame).collect();
    for (i, &id) in chain.iter().enumerate().rev() {
        let frame = sb.frame(id);
        let proto = proto_of(sb, id);
        let resume = if i == 0 { pc } else { sb.frame(chain[i - 1]).return_pc };
        debug_assert!((resume as usize) < proto.info.code.len() + 1);
        // SAFETY: an instruction of the prototype, or the end of its code.
        let pc = unsafe { proto.code.add(resume as usize) };
        let Some(caller) = frame.caller else {
            st.frame_mut().pc = pc;
            continue;
        };
        let caller = proto_of(sb, caller);
        let return_site = match frame.call_site {
            NO_CALL_SITE => ptr::null(),
            site => &raw const caller.info.calls[site as usize].returns,
        };
        let base = origin + frame.base as u32;
        let mut record = CallRecord {
            pc,
            return_site,
            then: None,
            base,
            top: base + frame.registers as u32,
            extra_args: frame.extra_args,
            wanted: frame.wanted,
            continuation: frame.continuation,
            flags: frame.flags,
            aux: frame.aux,
        };
        if frame.is_protected() {
            // SAFETY: there is room: the caller's promise.
            unsafe { push(st, protecting(origin, frame)) };
            st.co.catching.set(st.co.catching.get() + 1);
            record = CallRecord { return_site: ptr::null(), then: Some(protected_call_returned), wanted: -1, ..record };
        }
        // SAFETY: as above.
        unsafe { push(st, record) };
    }
}

/// The record of the `pcall` that has called a frame.
fn protecting(origin: u32, frame: &Frame) -> CallRecord {
    let base = origin + frame.result as u32 + 1;
    CallRecord {
        pc: ptr::null(),
        return_site: ptr::null(),
        then: None,
        base,
        top: base + 1,
        extra_args: 0,
        wanted: frame.wanted,
        continuation: Continuation::Call,
        flags: record_flags::NATIVE | record_flags::CATCHES,
        aux: 0,
    }
}

/// # Safety
/// There is room for one more record.
unsafe fn push(st: &mut State, record: CallRecord) {
    debug_assert!(free_records(st) > 0);
    // SAFETY: the caller's promise.
    unsafe {
        let next = st.record.add(1);
        next.write(record);
        st.record = next;
    }
}
