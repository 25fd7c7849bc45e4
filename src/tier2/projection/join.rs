//! Coming back to a loop: a side executor goes on at the head of the loop that it has left, behind the loop's guards.
//!
//! The head is a *label*: a snapshot of the loop's superblock says which value each slot has there. A slot whose value is a `PHI` may get
//! any value of its type. Every other slot must have the value that it had when the loop was entered, and what has been read from
//! memory before the loop must still be so. In return nothing that the loop has established is done again, and its values stay where they
//! are: the code of a side executor that joins leaves alone what the loop keeps in registers, and so may the side executors of that one.

use perilune_uops::{Immediate, Memory, MicroOp, Type};
use smallvec::SmallVec;

use super::super::executor::{Anchor, Executor};
use super::super::optimizer::alias::{changes_elsewhere, is_fresh};
use super::super::superblock::*;
use super::{Ended, Flow, Projector, Stop, Top};
use crate::tier2::Engine;

/// The loop that a side executor has come from.
pub(super) struct Join<'a> {
    /// The executor with the loop.
    root: &'a Executor,
    /// The side executors between that and the one that is being made.
    chain: SmallVec<[Side<'a>; 8]>,
    /// Slots that have values from before the loop where this superblock begins, as nodes of the loop's superblock.
    origins: Vec<(Slot, Ref)>,
    /// The slots of the exit, which are the new superblock's parameters.
    params: &'a [(Slot, Ref)],
    label: SnapshotId,
    /// The depth of inlining at which the loop runs.
    depth: u32,
}

/// A side executor between the loop and the one that is being made.
struct Side<'a> {
    superblock: &'a Superblock,
    /// The slots of the exit at which it begins, which are its parameters, and those that have values from before the loop there.
    params: &'a [(Slot, Ref)],
    entry: Vec<(Slot, Ref)>,
}

impl<'a> Join<'a> {
    /// The loop that an exit of `parent` is in, as long as its values are where it has left them.
    pub(super) fn new(parent: &'a Executor, exit: SnapshotId) -> Option<Join<'a>> {
        let in_loop = parent.superblock.looping.as_ref().is_some_and(|l| {
            let first = parent.superblock.nodes.iter().position(|node| node.exit == exit);
            first.is_some_and(|first| first > l.head.index())
        });
        let root = if in_loop { parent } else { joined(parent)? };
        let label = root.superblock.looping.as_ref()?.label;
        if label.is_none() {
            return None;
        }
        let mut path: SmallVec<[(&Executor, &Superblock, SnapshotId); 8]> = SmallVec::new();
        let mut e = parent;
        while !std::ptr::eq(e, root) {
            let Anchor::Exit(before, begins) = e.anchor else { return None };
            // SAFETY: the parents of valid executors are valid.
            let before = unsafe { &*before };
            path.push((e, &before.superblock, begins));
            e = before;
        }
        let mut chain: SmallVec<[Side; 8]> = SmallVec::new();
        for &(e, before, begins) in path.iter().rev() {
            let entry = origins(&root.superblock, chain.last(), begins);
            chain.push(Side { superblock: &e.superblock, params: before.slots_of(begins), entry });
        }
        let origins = origins(&root.superblock, chain.last(), exit);
        let frame = root.superblock.snapshot_at(label).frame;
        let depth = root.superblock.inlined(frame) as u32;
        let params = parent.superblock.slots_of(exit);
        Some(Join { root, origins, chain, params, label, depth })
    }

    /// Whether memory is at the loop's head what it was before the loop, for all that the loop relies on, after `sb` has run.
    fn memory_holds(&self, sb: &Superblock) -> bool {
        let root = &self.root.superblock;
        let Some(looping) = &root.looping else { return false };
        let head = looping.head.index();
        let body = &root.nodes[head + 1 + looping.back.len()..];
        let used = used_from_before(root);
        let side = || self.chain.iter().map(|side| side.superblock).chain([sb]);
        let writers = side().flat_map(|sb| sb.nodes.iter().map(move |node| (sb, node)));
        let writers: Vec<(&Superblock, &Node)> =
            writers.filter(|(_, node)| !node.effects().writes.without(Memory::State).is_empty()).collect();
        let calls = |node: &Node| node.effects().calls;
        // Of an object that is new the loop knows that the collector has not scanned it, which it does in calls, and that nobody else
        // has got hold of it, which calls in the loop would notice.
        let knows_new = root.nodes[..head].iter().zip(&used).any(|(node, used)| *used && is_fresh(node.op));
        let found_out = writers.iter().any(|w| calls(w.1)) || body.iter().any(calls) && !writers.is_empty();
        if knows_new && found_out {
            return false;
        }
        // What is changed in an object that the side executors have made is none of the loop's business.
        let spares = |&(sb, w): &(&Superblock, &Node), reader: &Node| {
            let subject = w.inputs().first().map(|&r| sb.node(canonical(sb, r)).op);
            reader.op != MicroOp::GUARD_EPOCH && !calls(w) && subject.is_some_and(is_fresh)
        };
        let shapes_known = !root.param_shapes.is_empty();
        let reshapes = |w: &(&Superblock, &Node)| w.1.effects().writes.contains(Memory::Header);
        let holds = |(node, used): (&Node, &bool)| {
            // What follows from a guard, or from what has been stored, may be a constant, in which nobody sees where it comes from.
            let relied_on = *used || node.is_guard() || node.ty.is_none();
            !relied_on || writers.iter().all(|w| spares(w, node) || !changes_elsewhere(w.1, node))
        };
        !(shapes_known && writers.iter().any(reshapes)) && root.nodes[..head].iter().zip(&used).all(holds)
    }
}

/// For each node before the loop whether something in the loop uses it, or a guard before the loop does, also by way of
/// others: a value that the loop uses may have been found on a path through several objects.
fn used_from_before(sb: &Superblock) -> Vec<bool> {
    let Some(looping) = &sb.looping else { return Vec::new() };
    let head = looping.head.index();
    let mut used = vec![false; head];
    let mut uses = |r: Ref| {
        if r.index() < head {
            used[r.index()] = true;
        }
    };
    for node in &sb.nodes[head + 1 + looping.back.len()..] {
        node.inputs().iter().for_each(|&r| uses(r));
        if !node.exit.is_none() {
            sb.values_of(node.exit).iter().for_each(|s| uses(s.1));
        }
    }
    looping.back.iter().for_each(|&r| uses(r));
    for node in sb.nodes[..head].iter().filter(|node| node.is_guard()) {
        node.inputs().iter().for_each(|&r| uses(r));
    }
    for i in (0..head).rev() {
        if used[i] {
            sb.nodes[i].inputs().iter().for_each(|r| used[r.index()] = true);
        }
    }
    used
}

/// The executor whose loop `e` comes back to, all of whose values it keeps.
fn joined(e: &Executor) -> Option<&Executor> {
    e.superblock.joins().then(|| e.with_loop()).flatten()
}

/// The value behind type guards and tags.
fn canonical(sb: &Superblock, mut r: Ref) -> Ref {
    while !r.is_none() && (guarded_type(sb.node(r).op).is_some() || sb.node(r).op == MicroOp::TAG) {
        r = sb.node(r).inputs[0];
    }
    r
}

/// Whether a slot in memory never has another value than the one for which `same` holds: call-outs store that one, and leave no
/// results there.
fn is_stable(sb: &Superblock, slot: Slot, same: impl Fn(Ref) -> bool) -> bool {
    sb.call_outs.iter().map(|r| sb.node(*r)).all(|node| {
        let kinds = node.op.declaration().operands.iter().zip(node.operands());
        let mut results = kinds.filter(|(kind, _)| matches!(kind, Immediate::Def | Immediate::Group));
        let kept = results.all(|(_, first)| (slot as u64) < *first);
        kept && sb.slots_of(node.exit).iter().filter(|s| s.0 == slot).all(|s| same(s.1))
    })
}

fn find(origins: &[(Slot, Ref)], slot: Slot) -> Option<Ref> {
    origins.iter().find(|o| o.0 == slot).map(|o| o.1)
}

/// See [`Join::origins`]; `exit` is one of the last side executor, or of the loop's own if there is none.
fn origins(root: &Superblock, last: Option<&Side>, exit: SnapshotId) -> Vec<(Slot, Ref)> {
    let Some(Side { superblock: sb, params, entry }) = last else {
        return origins_in_loop(root, exit);
    };
    let value = |r: Ref| origin_of(sb, r, params, entry);
    let mut found = Vec::new();
    let mentioned = sb.slots_of(exit);
    found.extend(mentioned.iter().filter_map(|&(slot, r)| Some((slot, value(r)?))));
    for &(slot, r) in entry {
        if !mentioned.iter().any(|s| s.0 == slot) && is_stable(sb, slot, |x| value(x) == Some(r)) {
            found.push((slot, r));
        }
    }
    found
}

/// The node before the loop whose value `r` has, in a superblock that begins with these parameters.
fn origin_of(sb: &Superblock, r: Ref, params: &[(Slot, Ref)], entry: &[(Slot, Ref)]) -> Option<Ref> {
    let r = canonical(sb, r);
    let node = sb.node(r);
    match node.op {
        MicroOp::PARAM => find(entry, params.get(node.operands[0] as usize)?.0),
        MicroOp::LOAD => {
            let slot = node.operands[0] as Slot;
            let known = find(entry, slot).filter(|_| !params.iter().any(|p| p.0 == slot))?;
            is_stable(sb, slot, |x| x == r).then_some(known)
        }
        _ => None,
    }
}

/// The same for an exit in the loop.
fn origins_in_loop(sb: &Superblock, exit: SnapshotId) -> Vec<(Slot, Ref)> {
    let Some(looping) = &sb.looping else {
        return Vec::new();
    };
    let before =
        |r: Ref| Some(canonical(sb, r)).filter(|r| *r < looping.head || sb.node(*r).op == MicroOp::PHI);
    let mentioned = sb.slots_of(exit);
    let mut found: Vec<(Slot, Ref)> =
        mentioned.iter().filter_map(|&(slot, r)| Some((slot, before(r)?))).collect();
    for &(slot, r) in sb.slots_of(looping.label) {
        let Some(r) = before(r) else { continue };
        let loaded = sb.node(r).op == MicroOp::LOAD && sb.node(r).operands[0] == slot as u64;
        if loaded
            && !mentioned.iter().any(|s| s.0 == slot)
            && is_stable(sb, slot, |x| canonical(sb, x) == r)
        {
            found.push((slot, r));
        }
    }
    found
}

impl<'a> Projector<'a> {
    /// If control has come back to the head of the loop that this superblock has come from, and everything is as the loop needs it, ends
    /// the superblock there.
    pub(super) fn try_to_join(&mut self) -> Flow {
        let Some(join) = self.join.take() else {
            return Ok(());
        };
        // What is above has been left for good once the loop's frame has returned.
        let left = (self.sb.inlined(self.frame) as u32) < join.depth;
        if left || self.st.tier2.engine != Engine::Jit {
            return Ok(());
        }
        if self.done == 0 || !self.is_at(&join) {
            self.join = Some(join);
            return Ok(());
        }
        if self.can_join(&join) {
            self.give_phis(&join);
            return Err(Ended(Stop::Join));
        }
        // Another copy of the loop for each way through it would be too many: what is not as this one needs it goes on in the
        // loop's own executor, in memory.
        match self.last_back_edge() {
            Some(_) if self.top == Top::None => Err(Ended(self.leave(self.pc(), Stop::Link))),
            _ => Ok(()),
        }
    }

    /// The running frame is about to be replaced by another one, which a loop's exits do not know of if it is that of the loop, or below it.
    pub(super) fn replaces_frame(&mut self) {
        let depth = self.sb.inlined(self.frame) as u32;
        self.join = self.join.take().filter(|join| depth > join.depth);
    }

    /// Whether everything is as the loop needs it, at its head.
    fn can_join(&self, join: &Join) -> bool {
        let root = &join.root.superblock;
        let Some(looping) = &root.looping else {
            return false;
        };
        let label = root.slots_of(join.label);
        let fits = |&(slot, r): &(Slot, Ref)| {
            if slot >= POSITIONS {
                self.is_traversed(slot - POSITIONS)
            } else if r > looping.head {
                self.fits(slot, root.type_of(r))
            } else {
                self.is_same(join, slot, r)
            }
        };
        self.top == Top::None
            // All `PHI`s have to be given values.
            && root.phis().all(|phi| label.iter().any(|s| s.1 == phi))
            && join.memory_holds(&self.sb)
            && label.iter().all(fits)
            && self.gives_phis_one_value(join)
            && looping.counters.iter().all(|counter| self.counts_on(join, counter))
    }

    /// Whether slots that are one `PHI` have one value.
    fn gives_phis_one_value(&self, join: &Join) -> bool {
        let root = &join.root.superblock;
        let given = |slot: Slot| {
            let value = self.slots[slot as usize].value;
            if value.is_none() { value } else { canonical(&self.sb, value) }
        };
        let label = root.slots_of(join.label).iter().filter(|s| s.0 < POSITIONS);
        let phis = label.filter(|s| root.node(s.1).op == MicroOp::PHI);
        phis.clone().enumerate().all(|(i, &(slot, phi))| {
            phis.clone().skip(i + 1).filter(|s| s.1 == phi).all(|s| {
                !given(slot).is_none() && given(slot) == given(s.0)
            })
        })
    }

    /// Whether the loop's numbers are what they would be after the rest of the pass.
    fn counts_on(&self, join: &Join, counter: &Counter) -> bool {
        let root = &join.root.superblock;
        let given = |phi: Ref| {
            let slot = root.slots_of(join.label).iter().find(|s| s.1 == phi)?.0;
            let value = self.slots.get(slot as usize)?.value;
            (!value.is_none()).then(|| canonical(&self.sb, value))
        };
        let (Some(index), Some(count)) = (given(counter.index), given(counter.count)) else {
            return false;
        };
        let is_phi = |r: Ref, phi: Ref| origin_of(&self.sb, r, join.params, &join.origins) == Some(phi);
        let constant = |r: Ref| {
            let node = self.sb.node(r);
            (node.op == MicroOp::CONST_INT).then_some(node.operands[0])
        };
        let (next, left) = (self.sb.node(index), self.sb.node(count));
        let step = canonical(root, counter.step);
        let steps = next.op == MicroOp::ADD_I && is_phi(next.inputs[0], counter.index) && {
            let by = canonical(&self.sb, next.inputs[1]);
            origin_of(&self.sb, by, join.params, &join.origins) == Some(step)
                || is_same_constant(root, step, &self.sb, by)
        };
        let goes_on = |guard: &Node| {
            let test = self.sb.node(guard.inputs[0]);
            test.op == MicroOp::EQ_I
                && is_phi(test.inputs[0], counter.count)
                && constant(test.inputs[1]) == Some(0)
        };
        steps
            && left.op == MicroOp::SUB_I
            && is_phi(left.inputs[0], counter.count)
            && constant(left.inputs[1]) == Some(1)
            && self.sb.nodes.iter().filter(|node| node.op == MicroOp::GUARD_FALSE).any(goes_on)
    }

    /// Whether control is at the loop's head, on the same path of calls.
    fn is_at(&self, join: &Join) -> bool {
        let (root, sb) = (&join.root.superblock, &self.sb);
        let label = root.snapshot_at(join.label);
        let mut theirs = root.chain(label.frame).map(|id| (root, *root.frame(id)));
        let mut ours = sb.chain(self.frame).map(|id| (sb, *sb.frame(id)));
        self.pc() == label.pc
            && loop {
                match (theirs.next(), ours.next()) {
                    (None, None) => break true,
                    (Some((a, x)), Some((b, y))) => {
                        let same = a.object(x.proto) == b.object(y.proto)
                            && (x.base, x.return_pc, x.flags, x.extra_args) == (y.base, y.return_pc, y.flags, y.extra_args);
                        if !same {
                            break false;
                        }
                    }
                    _ => break false,
                }
            }
    }

    /// Whether the position of a traversal is at hand, by its control variable.
    fn is_traversed(&self, control: Slot) -> bool {
        let [table, key] = [control - 1, control].map(|slot| self.slots[slot as usize].value);
        self.traversal.is_some_and(|t| t.control == control && (t.table, t.key) == (table, key))
    }

    /// Whether a slot has, or can be made sure to have, a value of a type.
    fn fits(&self, slot: Slot, ty: Type) -> bool {
        let value = self.slots[slot as usize].value;
        if ty == Type::Tagged || value.is_none() {
            return true;
        }
        let known = self.sb.type_of(value);
        known == ty || known == Type::Tagged && guard_of(ty).is_some()
    }

    /// Whether a slot has the value of a node before the loop.
    fn is_same(&self, join: &Join, slot: Slot, r: Ref) -> bool {
        let root = &join.root.superblock;
        let r = canonical(root, r);
        let known = self.slots[slot as usize];
        let value = |x: Ref| origin_of(&self.sb, x, join.params, &join.origins);
        let node = root.node(r);
        let loaded = node.op == MicroOp::LOAD && node.operands[0] == slot as u64;
        // The loop may rely on memory for what it has loaded from there.
        let memory_kept = !loaded
            || is_stable(&self.sb, slot, |x| value(x) == Some(r))
                && join.chain.iter().all(|side| {
                    let value = |x: Ref| origin_of(side.superblock, x, side.params, &side.entry);
                    is_stable(side.superblock, slot, |x| value(x) == Some(r))
                });
        if !memory_kept {
            return false;
        }
        if known.value.is_none() {
            return find(&join.origins, slot) == Some(r) && is_stable(&self.sb, slot, |x| value(x) == Some(r));
        }
        value(known.value) == Some(r) || is_same_constant(root, r, &self.sb, canonical(&self.sb, known.value))
    }

    /// Ends with giving the loop its next values.
    fn give_phis(&mut self, join: &Join) {
        let root = &join.root.superblock;
        let label = root.slots_of(join.label);
        self.here = SnapshotId::NONE;
        let mut given: Vec<(Slot, Ref)> = Vec::new();
        for &(slot, r) in label.iter().filter(|s| root.node(s.1).op == MicroOp::PHI) {
            let value = match self.traversal {
                Some(t) if slot >= POSITIONS => t.position,
                _ => self.read(slot),
            };
            let ty = root.type_of(r);
            let value = if ty == Type::Tagged { value } else { self.guard_type(value, ty) };
            given.push((slot, value));
        }
        let pc = self.pc();
        let exit = self.sb.snapshot(self.frame, pc, None, given);
        self.sb.push(Node::new(MicroOp::JOIN, &[], &[]).with_exit(exit));
        self.unroll();
    }
}

/// Whether two nodes are the same constant.
fn is_same_constant(a: &Superblock, x: Ref, b: &Superblock, y: Ref) -> bool {
    let (p, q) = (a.node(x), b.node(y));
    match p.op {
        _ if p.op != q.op => false,
        MicroOp::CONST_NIL => true,
        MicroOp::CONST_INT | MicroOp::CONST_FLOAT | MicroOp::CONST_BOOL => p.operands[0] == q.operands[0],
        _ => a.constant_object(x).is_some_and(|object| b.constant_object(y) == Some(object)),
    }
}
