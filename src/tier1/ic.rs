//! Filling the inline caches of field instructions.
//!
//! An instruction goes from general to one cached shape, then to several ([`State::cached_shapes`]), and when even these
//! do not suffice back to general for good: it is megamorphic and uses the VM's [shared
//! cache](crate::bytecode::cache::SharedCache). Misses are counted in the cache.

use super::state::State;
use crate::bytecode::cache::{
    FieldCache, FieldEntry, MEGAMORPHIC, POLY_MAX, PolyCache, SlotKind, SlotOffsets, StoreEntry,
};
use crate::bytecode::{Instr, Op};
use crate::runtime::metatable::Event;
use crate::runtime::object::Gc;
use crate::runtime::shape::{Location, ShapeId};
use crate::runtime::string::Str;
use crate::runtime::table::{Table, table_flags};
use crate::runtime::value::Value;

/// Misses after which a site that cannot have several shapes of its own is megamorphic.
const SINGLE_MISSES: u16 = 8;
/// Misses of a megamorphic site in succession of which nothing could be learned, after which it does not try for a
/// long time.
const HOPELESS: u16 = 2 * MEGAMORPHIC;
/// The longest chain of holders that a cache sees through.
const HOLDERS_MAX: usize = 16;

/// How a get of `key` from tables of the shape of `t` goes, if a cache can know it.
fn plan_get(st: &mut State, t: Gc<Table>, key: Gc<Str>) -> Option<FieldEntry> {
    if t.has_flag(table_flags::DICTIONARY) {
        return None;
    }
    let shape = t.shape.get();
    let entry = |kind, slot, holder, nil_is_final, epoch| FieldEntry { shape, epoch, slot, kind, nil_is_final, holder };
    let class_known = t.metatable.get().is_none() || st.rt.class_is_known(shape);
    let own = match st.rt.locate(t, key) {
        Location::Inline(slot) => Some((SlotKind::Inline, slot)),
        Location::Overflow(slot) => Some((SlotKind::Overflow, slot)),
        Location::Dictionary(_) => return None,
        Location::Absent if !class_known => return None,
        Location::Absent => None,
    };
    let index = st.rt.table_event(t, Event::Index);
    let Some((kind, slot)) = own else {
        st.rt.rely_on_absence(t);
        return plan_through(st, index, key, shape);
    };
    // A nil in the slot is the result if no holder has the key either.
    let inherited = if class_known { plan_through(st, index, key, shape) } else { None };
    let nil_is_final = inherited.is_some_and(|e| e.kind == SlotKind::Absent);
    Some(entry(kind, slot, None, nil_is_final, st.rt.holder_epoch))
}

/// The same from the value of an `__index` on, for receivers of `shape`.
fn plan_through(st: &mut State, mut index: Value, key: Gc<Str>, shape: ShapeId) -> Option<FieldEntry> {
    let entry = |kind, slot, holder, nil_is_final, epoch| FieldEntry { shape, epoch, slot, kind, nil_is_final, holder };
    for _ in 0..HOLDERS_MAX {
        if index.is_nil() {
            let epoch = st.rt.holder_epoch;
            return Some(entry(SlotKind::Absent, SlotOffsets::default(), None, true, epoch));
        }
        let holder = index.as_table()?;
        if !st.rt.make_holder(holder).ok()? {
            return None;
        }
        let (kind, slot) = match st.rt.locate(holder, key) {
            Location::Inline(slot) => (SlotKind::HolderInline, slot),
            Location::Overflow(slot) => (SlotKind::HolderOverflow, slot),
            Location::Dictionary(_) => return None,
            Location::Absent => {
                if holder.metatable.get().is_some() && !st.rt.class_is_known(holder.shape.get()) {
                    return None;
                }
                st.rt.rely_on_absence(holder);
                index = st.rt.table_event(holder, Event::Index);
                continue;
            }
        };
        return Some(entry(kind, slot, Some(holder), false, st.rt.holder_epoch));
    }
    None
}

fn install(cache: &FieldCache, e: &FieldEntry) {
    cache.shape.set(e.shape);
    cache.epoch.set(e.epoch);
    cache.slot.set(e.slot);
    cache.holder.set(e.holder);
    cache.nil_is_final.set(e.nil_is_final);
    cache.in_overflow.set(matches!(e.kind, SlotKind::Overflow | SlotKind::HolderOverflow));
}

/// Adds a shape to a polymorphic site, or replaces its entry; false if the site has `most` of
/// them already, which is at most [`POLY_MAX`].
fn install_poly(cache: &FieldCache, e: FieldEntry, most: usize) -> bool {
    if cache.more.get().is_null() {
        cache.more.set(Box::into_raw(Box::new(PolyCache { len: 0, entries: [e; POLY_MAX] })));
    }
    // SAFETY: the box is owned by the cache, and nobody else refers to it now.
    let more = unsafe { &mut *cache.more.get() };
    let at = more.entries[..more.len].iter().position(|old| old.shape == e.shape).unwrap_or(more.len);
    if at == most {
        return false;
    }
    more.entries[at] = e;
    more.len = more.len.max(at + 1);
    true
}

/// The entry that a site with one cached shape has, to be kept when it becomes polymorphic.
fn installed(cache: &FieldCache, op: Op) -> Option<FieldEntry> {
    let over = cache.in_overflow.get();
    let kind = match op {
        Op::GETFIELD_INLINE | Op::SELF_INLINE | Op::SETFIELD_INLINE => SlotKind::Inline,
        Op::GETFIELD_OVERFLOW | Op::SETFIELD_OVERFLOW => SlotKind::Overflow,
        Op::GETFIELD_HOLDER | Op::SELF_HOLDER if over => SlotKind::HolderOverflow,
        Op::GETFIELD_HOLDER | Op::SELF_HOLDER => SlotKind::HolderInline,
        _ => return None,
    };
    (cache.shape.get() != ShapeId::NONE).then(|| FieldEntry {
        shape: cache.shape.get(),
        epoch: cache.epoch.get(),
        slot: cache.slot.get(),
        kind,
        nil_is_final: cache.nil_is_final.get(),
        holder: cache.holder.get(),
    })
}

/// Gives the running instruction another of its forms.
fn rewrite(st: &mut State, at: *mut Instr, op: Op) {
    // SAFETY: `at` is the running instruction, and `op` has the same operands.
    let before = unsafe { std::ptr::replace(at, (*at).with_op(op)) }.op();
    if op != before {
        let tally = if op == op.general() { &mut st.counters.despecialised } else { &mut st.counters.specialised };
        tally.count(op);
    }
}

/// Counts a miss; false if the site is megamorphic.
fn count_miss(cache: &FieldCache) -> bool {
    if cache.is_megamorphic() {
        return false;
    }
    cache.misses.set(cache.misses.get() + 1);
    true
}

/// Makes a site megamorphic.
fn give_up(st: &mut State, at: *mut Instr, op: Op, cache: &FieldCache) {
    cache.misses.set(MEGAMORPHIC);
    cache.clear();
    rewrite(st, at, op.general());
}

/// Counts what a miss of a megamorphic site has come to.
fn count_lesson(cache: &FieldCache, learned: bool) {
    let misses = if learned { None } else { cache.misses.get().checked_add(1) };
    cache.misses.set(misses.unwrap_or(MEGAMORPHIC));
}

/// Teaches the shared cache how to get the key of `cache` from tables like `t`.
fn share_get(st: &mut State, t: Gc<Table>, cache: &FieldCache) {
    let epoch = st.rt.holder_epoch;
    if st.rt.shared_cache.load(t.shape.get(), cache.key).is_some_and(|e| e.epoch == epoch) {
        return;
    }
    let hopeless = cache.misses.get() >= HOPELESS;
    let plan = if hopeless { None } else { plan_get(st, t, cache.key) };
    count_lesson(cache, plan.is_some());
    if let Some(e) = plan {
        st.rt.shared_cache.put_load(cache.key, e);
    }
}

/// Teaches the shared cache how to set the key of `cache` in tables like `t`.
fn share_set(st: &mut State, t: Gc<Table>, cache: &FieldCache) {
    let hopeless = cache.misses.get() >= HOPELESS;
    let plan = if hopeless { None } else { plan_set(st, t, cache.key) };
    count_lesson(cache, plan.is_some());
    if let Some(e) = plan {
        st.rt.shared_cache.put_store(cache.key, e);
    }
}

/// If the site knows the shape of `t` (and has found nil in the slot), the epoch of what it knows.
fn known_since(cache: &FieldCache, op: Op, t: Gc<Table>) -> Option<u32> {
    let shape = t.shape.get();
    match op {
        Op::GETFIELD_INLINE | Op::GETFIELD_OVERFLOW | Op::GETENV_INLINE | Op::GETENV_OVERFLOW | Op::SELF_INLINE => {
            (cache.shape.get() == shape).then(|| cache.epoch.get())
        }
        Op::GETFIELD_POLY | Op::SELF_POLY => {
            // SAFETY: null, or a live box owned by the cache.
            let more = unsafe { cache.more.get().as_ref() }?;
            let own = |e: &&FieldEntry| e.shape == shape && matches!(e.kind, SlotKind::Inline | SlotKind::Overflow);
            more.entries[..more.len].iter().find(own).map(|e| e.epoch)
        }
        _ => None,
    }
}

/// Teaches a get (GETFIELD, GETENV or SELF and their forms) the shape of `t`.
pub(super) fn learn_get(st: &mut State, at: *mut Instr, t: Gc<Table>, cache: &FieldCache) {
    // SAFETY: the running instruction.
    let op = unsafe { (*at).op() };
    if let Some(epoch) = known_since(cache, op, t) {
        // Holders may have changed since; if so, learn that again, which is no miss.
        if epoch != st.rt.holder_epoch
            && let Some(e) = plan_get(st, t, cache.key)
        {
            if cache.more.get().is_null() {
                install(cache, &e);
            } else {
                install_poly(cache, e, st.cached_shapes);
            }
        }
        return;
    }
    if !count_miss(cache) {
        rewrite(st, at, op.general());
        share_get(st, t, cache);
        return;
    }
    let Some(e) = plan_get(st, t, cache.key) else {
        return;
    };
    let forms = match op.general() {
        Op::GETFIELD => [Some(Op::GETFIELD_INLINE), Some(Op::GETFIELD_OVERFLOW), Some(Op::GETFIELD_HOLDER)],
        Op::SELF => [Some(Op::SELF_INLINE), None, Some(Op::SELF_HOLDER)],
        _ => [Some(Op::GETENV_INLINE), Some(Op::GETENV_OVERFLOW), None],
    };
    let form = match e.kind {
        SlotKind::Inline => forms[0],
        SlotKind::Overflow => forms[1],
        SlotKind::HolderInline | SlotKind::HolderOverflow => forms[2],
        SlotKind::Absent => None,
    };
    let poly = match op.general() {
        Op::GETFIELD => Some(Op::GETFIELD_POLY),
        Op::SELF => Some(Op::SELF_POLY),
        _ => None,
    };
    let first = cache.shape.get() == ShapeId::NONE && cache.more.get().is_null();
    match (form, poly) {
        (Some(form), _) if first || poly.is_none() || cache.shape.get() == e.shape && cache.more.get().is_null() => {
            install(cache, &e);
            rewrite(st, at, form);
        }
        (_, Some(poly)) => {
            if cache.more.get().is_null()
                && let Some(old) = installed(cache, op)
            {
                install_poly(cache, old, st.cached_shapes);
            }
            if install_poly(cache, e, st.cached_shapes) {
                rewrite(st, at, poly);
            } else {
                give_up(st, at, op, cache);
            }
        }
        _ => {}
    }
}

/// Teaches a SELF on a string where the method is.
pub(super) fn learn_string_method(st: &mut State, at: *mut Instr, cache: &FieldCache) {
    if !count_miss(cache) {
        return;
    }
    let sample = st.rt.strings.empty();
    let index = st.rt.metamethod(Value::string(sample), Event::Index);
    let Some(e) = plan_through(st, index, cache.key, ShapeId::NONE) else {
        return;
    };
    if matches!(e.kind, SlotKind::HolderInline | SlotKind::HolderOverflow) {
        cache.clear();
        install(cache, &e);
        rewrite(st, at, Op::SELF_STRING);
    }
}

/// How a set of `key` in tables of the shape of `t` goes, if a cache can know it. `t` has no `__newindex`.
fn plan_set(st: &mut State, t: Gc<Table>, key: Gc<Str>) -> Option<StoreEntry> {
    let event_key = key.event.get() != 0;
    if t.has_flag(table_flags::DICTIONARY) || st.rt.store_needs_slow_path(t, key) {
        return None;
    }
    let shape = t.shape.get();
    // Without a known class the next table of this shape may have a `__newindex`.
    let plain = t.metatable.get().is_none() || st.rt.class_is_known(shape);
    // The events of a metatable are not changed behind its back.
    match st.rt.locate(t, key) {
        Location::Inline(slot) if !event_key => {
            Some(StoreEntry { shape, next_shape: shape, slot, in_overflow: false, nil_is_final: plain })
        }
        Location::Overflow(slot) if !event_key => {
            Some(StoreEntry { shape, next_shape: shape, slot, in_overflow: true, nil_is_final: plain })
        }
        Location::Absent if plain && !(event_key && t.has_flag(table_flags::IS_METATABLE)) => {
            let plan = st.rt.plan_add(t, key)?;
            Some(StoreEntry {
                shape,
                next_shape: plan.next_shape,
                slot: plan.offsets,
                in_overflow: !plan.inline,
                nil_is_final: !event_key,
            })
        }
        _ => None,
    }
}

/// Teaches a set (SETFIELD, SETFIELDK or SETENV and their forms) the shape of `t`, which has no `__newindex`; the
/// store itself has not been made.
pub(super) fn learn_set(st: &mut State, at: *mut Instr, t: Gc<Table>, cache: &FieldCache) {
    // SAFETY: the running instruction.
    let op = unsafe { (*at).op() };
    if !count_miss(cache) {
        rewrite(st, at, op.general());
        share_set(st, t, cache);
        return;
    }
    let Some(e) = plan_set(st, t, cache.key) else {
        return;
    };
    let misses = cache.misses.get();
    let single = cache.more.get().is_null();
    if e.next_shape != e.shape {
        let form = match op.general() {
            Op::SETFIELD => Op::SETFIELD_ADD,
            Op::SETFIELDK => Op::SETFIELDK_ADD,
            _ => return,
        };
        if misses >= SINGLE_MISSES {
            give_up(st, at, op, cache);
        } else if single && !e.in_overflow {
            cache.shape.set(e.shape);
            cache.next_shape.set(e.next_shape);
            cache.nil_is_final.set(e.nil_is_final);
            cache.slot.set(e.slot);
            rewrite(st, at, form);
        }
        return;
    }
    let form = match (op.general(), e.in_overflow) {
        (Op::SETFIELD, false) => Op::SETFIELD_INLINE,
        (Op::SETFIELD, true) => Op::SETFIELD_OVERFLOW,
        (Op::SETFIELDK, false) => Op::SETFIELDK_INLINE,
        (Op::SETENV, false) => Op::SETENV_INLINE,
        (Op::SETENV, true) => Op::SETENV_OVERFLOW,
        _ => return,
    };
    let kind = if e.in_overflow { SlotKind::Overflow } else { SlotKind::Inline };
    let e = FieldEntry { shape: e.shape, epoch: 0, slot: e.slot, kind, nil_is_final: e.nil_is_final, holder: None };
    let first = cache.shape.get() == ShapeId::NONE && single;
    if op.general() == Op::SETFIELDK && misses >= SINGLE_MISSES {
        give_up(st, at, op, cache);
    } else if first || op.general() != Op::SETFIELD || misses < 3 && single {
        install(cache, &e);
        rewrite(st, at, form);
    } else {
        if single && let Some(old) = installed(cache, op) {
            install_poly(cache, old, st.cached_shapes);
        }
        if install_poly(cache, e, st.cached_shapes) {
            rewrite(st, at, Op::SETFIELD_POLY);
        } else {
            give_up(st, at, op, cache);
        }
    }
}
