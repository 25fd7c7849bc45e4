//! Dead code: what nobody uses disappears, and so does from snapshots what is in memory anyway.
//!
//! A node lives if it is anchored, if a living node uses it, or if the snapshot of a living node has it. What
//! the loop carries back lives if its `PHI` does.

use perilune_uops::MicroOp;

use crate::tier2::superblock::{Ref, Rewriter, SnapshotId, Superblock};

/// The pass; see the module's documentation.
pub fn dce(old: &Superblock) -> Option<Superblock> {
    let in_memory = InMemory::new(old);
    let mut live = Liveness {
        sb: old,
        in_memory: &in_memory,
        nodes: vec![false; old.nodes.len()],
        snapshots: vec![false; old.snapshots.len()],
        pending: Vec::with_capacity(old.nodes.len()),
    };
    for (r, node) in old.iter() {
        if node.is_anchored() {
            live.mark(r);
        }
    }
    if let Some(l) = &old.looping {
        live.mark_snapshot(l.entry);
        // Whoever comes back to the loop has to leave in memory what its exits find there.
        if !l.label.is_none() {
            let loads = old.slots_of(l.label).iter().filter(|s| old.node(s.1).op == MicroOp::LOAD);
            loads.for_each(|s| live.mark(s.1));
        }
    }
    live.run();
    let nodes = live.nodes;
    let mut rw = Rewriter::new(old);
    rw.keep_slots(|snapshot, slot, value| !in_memory.holds(snapshot, slot, value));
    for (r, _) in old.iter() {
        if nodes[r.index()] {
            rw.copy(r);
        }
    }
    rw.finish().unless_same(old)
}

struct Liveness<'a> {
    sb: &'a Superblock,
    in_memory: &'a InMemory<'a>,
    nodes: Vec<bool>,
    snapshots: Vec<bool>,
    pending: Vec<Ref>,
}

impl Liveness<'_> {
    fn mark(&mut self, r: Ref) {
        if !std::mem::replace(&mut self.nodes[r.index()], true) {
            self.pending.push(r);
        }
    }

    fn mark_snapshot(&mut self, id: SnapshotId) {
        if id.is_none() || std::mem::replace(&mut self.snapshots[id.0 as usize], true) {
            return;
        }
        for &(slot, value) in self.sb.slots_of(id) {
            if !self.in_memory.holds(id, slot, value) {
                self.mark(value);
            }
        }
        for object in self.sb.virtual_objects(id) {
            self.mark(object.object);
            object.values.iter().for_each(|&(_, value)| self.mark(value));
        }
    }

    fn run(&mut self) {
        let sb = self.sb;
        while let Some(r) = self.pending.pop() {
            let node = sb.node(r);
            for &input in node.inputs() {
                self.mark(input);
            }
            self.mark_snapshot(node.exit);
            if node.op == MicroOp::PHI
                && let Some(l) = &sb.looping
            {
                self.mark(l.back[r.index() - l.head.index() - 1]);
            }
        }
    }
}

/// For each snapshot the earliest position at which a slot may be loaded so that it is still unchanged in
/// memory wherever the snapshot is used.
struct InMemory<'a> {
    sb: &'a Superblock,
    since: Vec<u32>,
}

impl<'a> InMemory<'a> {
    fn new(sb: &'a Superblock) -> InMemory<'a> {
        let mut since = vec![0; sb.snapshots.len()];
        let mut stored = 0;
        for (r, node) in sb.iter() {
            if node.op == MicroOp::LOOP {
                if let Some(l) = &sb.looping {
                    since[l.entry.0 as usize] = stored;
                }
                if sb.call_outs.last().is_some_and(|last| *last > r) {
                    stored = r.0 + 1;
                }
            }
            if !node.exit.is_none() {
                let since = &mut since[node.exit.0 as usize];
                *since = stored.max(*since);
            }
            if node.is_call_out() {
                stored = r.0 + 1;
            }
        }
        InMemory { sb, since }
    }

    /// Whether the value of a slot in a snapshot is what memory has there wherever the snapshot is used.
    fn holds(&self, snapshot: SnapshotId, slot: u16, value: Ref) -> bool {
        let node = self.sb.node(value);
        // What a loop is given is not looked for in memory.
        let given = self.sb.joins() && self.sb.nodes.last().is_some_and(|last| last.exit == snapshot);
        !given
            && node.op == MicroOp::LOAD
            && node.operands[0] == slot as u64
            && value.0 >= self.since[snapshot.0 as usize]
    }
}
