//! The `PHI`s: those that do not change in the loop disappear, and those that always have one type get it.
//!
//! Two that get the same from each pass, as the index of a numeric loop and its variable do, are one if they begin with the same, which
//! is made sure of before the loop.
//!
//! That a tagged `PHI` has a type is first assumed, of all that the body guards, and then retracted where what comes
//! back, or what the loop begins with, does not agree, until nothing changes. What the loop begins with is guarded
//! before the loop if its type is not known there; the guard leaves for the head of the loop.

use perilune_uops::{MicroOp, Type};

use super::alias::is_type_guard;
use crate::tier2::superblock::{Loop, Node, Ref, Rewriter, SnapshotId, Superblock, guard_of};

struct Phis<'a> {
    sb: &'a Superblock,
    looping: &'a Loop,
    /// For each `PHI` the node that it is, itself or another one.
    same: Vec<Ref>,
    /// Numbers before the loop that are made sure to be the same.
    equated: Vec<(Ref, Ref)>,
    /// For each `PHI` the type that it is to have.
    ty: Vec<Type>,
    /// For each node the first one that guards its type.
    guarded: Vec<Ref>,
}

/// The pass; see the module's documentation.
pub fn phis(old: &Superblock) -> Option<Superblock> {
    let looping = old.looping.as_ref()?;
    if looping.back.is_empty() {
        return None;
    }
    let mut phis = Phis {
        sb: old,
        looping,
        same: old.phis().collect(),
        equated: Vec::new(),
        ty: old.phis().map(|r| old.type_of(r)).collect(),
        guarded: vec![Ref::NONE; old.nodes.len()],
    };
    phis.find_same();
    phis.assume();
    while phis.retract() {}
    phis.rewrite().unless_same(old)
}

impl Phis<'_> {
    fn phi(&self, i: usize) -> Ref {
        Ref(self.looping.head.0 + 1 + i as u32)
    }

    /// The position of a node among the `PHI`s.
    fn index(&self, r: Ref) -> Option<usize> {
        let i = r.index().wrapping_sub(self.looping.head.index() + 1);
        (i < self.looping.back.len()).then_some(i)
    }

    /// The value behind type guards, and behind `PHI`s that are others.
    fn origin(&self, mut r: Ref) -> Ref {
        loop {
            let node = self.sb.node(r);
            r = match self.index(r) {
                Some(i) if self.same[i] != r => self.same[i],
                None if is_type_guard(node.op) => node.inputs[0],
                _ => return r,
            };
        }
    }

    /// Finds `PHI`s that never change, and those that do what another one does.
    fn find_same(&mut self) {
        let mut changed = true;
        while changed {
            changed = false;
            for i in 0..self.same.len() {
                let phi = self.phi(i);
                if self.same[i] != phi {
                    continue;
                }
                let init = self.sb.node(phi).inputs[0];
                let back = self.origin(self.looping.back[i]);
                let twin = || {
                    (0..i).map(|j| self.phi(j)).find(|&other| {
                        self.origin(other) == other
                            && self.sb.node(other).inputs[0] == init
                            && self.sb.node(other).ty == self.sb.node(phi).ty
                            && self.origin(
                                self.looping.back[other.index() - self.looping.head.index() - 1],
                            ) == back
                    })
                };
                let same = if back == phi || back == self.origin(init) {
                    Some(init)
                } else {
                    twin()
                };
                if let Some(same) = same {
                    self.same[i] = same;
                    changed = true;
                }
            }
        }
        if !self.sb.keeps_bounds {
            (0..self.same.len()).for_each(|i| self.equate(i));
        }
    }

    /// Finds the `PHI` that counts and gets what this one gets.
    fn equate(&mut self, i: usize) {
        let phi = self.phi(i);
        let back = self.origin(self.looping.back[i]);
        let next = self.sb.node(back);
        if self.same[i] != phi || next.op != MicroOp::ADD_I {
            return;
        }
        let counted = self.origin(next.inputs[0]);
        let Some(j) = self.index(counted).filter(|&j| j < i) else { return };
        let is_number = |i: usize| {
            let phi = self.sb.node(self.phi(i));
            [phi.ty, self.sb.node(phi.inputs[0]).ty].iter().all(|ty| matches!(ty, Some(Type::Int | Type::Tagged)))
        };
        if self.origin(self.looping.back[j]) == back && is_number(i) && is_number(j) {
            let init = |phi: Ref| self.sb.node(phi).inputs[0];
            self.equated.push((init(phi), init(counted)));
            self.same[i] = counted;
        }
    }

    /// Assumes of each tagged `PHI` the type that the body wants, or that it begins with.
    fn assume(&mut self) {
        let mut numeric = vec![false; self.ty.len()];
        for (r, node) in self.sb.iter().skip(self.looping.head.index()) {
            if is_type_guard(node.op) {
                let input = node.inputs[0];
                if self.guarded[input.index()].is_none() {
                    self.guarded[input.index()] = r;
                }
            } else if node.op == MicroOp::GUARD_NUMBER
                && let Some(i) = self.index(node.inputs[0])
            {
                numeric[i] = true;
            }
        }
        for (i, numeric) in numeric.into_iter().enumerate() {
            if self.ty[i] != Type::Tagged || self.same[i] != self.phi(i) {
                continue;
            }
            let guard = self.guarded[self.phi(i).index()];
            let init = self.sb.type_of(self.sb.node(self.phi(i)).inputs[0]);
            let back = self.sb.type_of(self.typed_back(i));
            if !guard.is_none() {
                self.ty[i] = self.sb.type_of(guard);
            } else if init != Type::Tagged {
                self.ty[i] = init;
            } else if numeric && matches!(back, Type::Int | Type::Float) {
                self.ty[i] = back;
            }
        }
    }

    /// What comes back, under its most precise name.
    fn typed_back(&self, i: usize) -> Ref {
        let back = self.looping.back[i];
        let guard = self.guarded[back.index()];
        if self.sb.type_of(back) == Type::Tagged && !guard.is_none() {
            guard
        } else {
            back
        }
    }

    /// The type of a value, given those of the `PHI`s.
    fn type_of(&self, r: Ref) -> Type {
        match self.index(r) {
            Some(i) if self.same[i] != r => self.type_of(self.same[i]),
            Some(i) => self.ty[i],
            None => self.sb.type_of(r),
        }
    }

    /// Takes back an assumption that does not hold; false if all do.
    fn retract(&mut self) -> bool {
        let mut changed = false;
        for i in 0..self.ty.len() {
            let phi = self.phi(i);
            if self.sb.type_of(phi) != Type::Tagged
                || self.ty[i] == Type::Tagged
                || self.same[i] != phi
            {
                continue;
            }
            let init = self.type_of(self.sb.node(phi).inputs[0]);
            let back = self.type_of(self.typed_back(i));
            if back != self.ty[i] || init != self.ty[i] && init != Type::Tagged {
                self.ty[i] = Type::Tagged;
                changed = true;
            }
        }
        changed
    }

    fn rewrite(&self) -> Superblock {
        let mut rw = Rewriter::new(self.sb);
        let mut inits = Vec::with_capacity(self.ty.len());
        for (r, node) in self.sb.iter() {
            if r == self.looping.head {
                for &(x, y) in &self.equated {
                    let [x, y] = [x, y].map(|r| self.number(&mut rw, r));
                    let same = rw.add(Node::new(MicroOp::EQ_I, &[x, y], &[]));
                    rw.add(Node::new(MicroOp::GUARD_TRUE, &[same], &[]).with_exit(self.looping.entry));
                }
                for i in 0..self.ty.len() {
                    inits.push(self.init(&mut rw, i));
                }
                rw.copy(r);
                continue;
            }
            if let Some(i) = self.index(r) {
                if self.same[i] != r {
                    rw.replace(r, rw.name(self.same[i]));
                    continue;
                }
                rw.emit(
                    r,
                    Node::new(MicroOp::PHI, &[inits[i]], &[]).with_type(self.ty[i]),
                );
                if self.ty[i] != self.sb.type_of(self.looping.back[i]) && self.ty[i] != Type::Tagged
                {
                    rw.back[i] = self.typed_back(i);
                }
                continue;
            }
            if is_type_guard(node.op) {
                let value = rw.name(node.inputs[0]);
                if rw.new.node(value).op == MicroOp::PHI && rw.new.node(value).ty == node.ty {
                    rw.replace(r, value);
                    continue;
                }
            }
            rw.copy(r);
        }
        let mut new = rw.finish();
        // Whoever comes back knows nothing of memory that a slot's `PHI` stands for.
        if self.merges_memory()
            && let Some(looping) = &mut new.looping
        {
            looping.label = SnapshotId::NONE;
        }
        new
    }

    /// Whether a `PHI` of what is in memory is one with another `PHI`.
    fn merges_memory(&self) -> bool {
        let label = self.looping.label;
        let is_slot = |phi: Ref| label.is_none() || self.sb.slots_of(label).iter().any(|s| s.1 == phi);
        (0..self.same.len()).any(|i| {
            let (phi, same) = (self.phi(i), self.same[i]);
            same != phi && self.index(same).is_some() && is_slot(phi) != is_slot(same)
        })
    }

    /// What the loop begins with as an integer.
    fn number(&self, rw: &mut Rewriter, r: Ref) -> Ref {
        let value = rw.name(r);
        if rw.new.node(value).ty == Some(Type::Int) {
            return value;
        }
        rw.add(Node::new(MicroOp::GUARD_INT, &[value], &[]).with_exit(self.looping.entry))
    }

    /// What a `PHI` begins with, as a new node of its type.
    fn init(&self, rw: &mut Rewriter, i: usize) -> Ref {
        let init = rw.name(self.sb.node(self.phi(i)).inputs[0]);
        if self.same[i] != self.phi(i) || rw.new.node(init).ty == Some(self.ty[i]) {
            return init;
        }
        match guard_of(self.ty[i]) {
            Some(guard) => rw.add(Node::new(guard, &[init], &[]).with_exit(self.looping.entry)),
            None => init,
        }
    }
}
