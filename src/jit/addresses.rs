//! Addresses of elements: what several accesses to arrays compute alike is computed once.
//!
//! An array's payloads run downward from its base and its tags upward, so an access needs the base, the index, and the index
//! negated. *Derived* values are bases and negated indices that are kept: a base before the loop if nothing in the loop gives the
//! table another array, else from one access to the next; a negated index from its first use on. Indices that differ
//! in constants have one negated index in common.
//!
//! Where an array is known to hold values of one tag only, a value of that type is stored without its tag.
//!
//! A base that is kept through the loop stands on a guard before the loop that would not hold any more if the table got
//! another array, so whoever comes back to the loop knows of it.

use hashbrown::HashMap;
use perilune_uops::{Memory, MicroOp, Type};

use crate::runtime::array::ArrayKind;
use crate::runtime::hasher::BuildWordHasher;
use crate::tier2::optimizer::alias::Aliases;
use crate::tier2::superblock::{Node, Ref, Superblock};

/// The most that is added to an index in an address.
const OFFSET_MAX: i64 = 1 << 20;

/// A value that accesses have in common.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Common {
    /// The base of a table's array.
    Base(Ref),
    Negated(Ref),
}

impl Common {
    /// What it is made of.
    pub fn operand(self) -> Ref {
        let (Common::Base(r) | Common::Negated(r)) = self;
        r
    }
}

/// A value that is made before node `at`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Derived {
    pub common: Common,
    pub at: u32,
}

/// How a node finds its element: the index is `index + offset`. Derived values are named by their numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    pub index: Ref,
    pub offset: i32,
    pub base: Option<u32>,
    pub negated: Option<u32>,
    /// Whether the element's tag matters.
    tag: bool,
}

/// See the module's documentation.
pub struct Addresses {
    /// In the order in which they are made.
    pub derived: Vec<Derived>,
    /// For each node; empty if none accesses elements.
    accesses: Vec<Option<Access>>,
}

/// Whether a node needs its element's payload, and its tag.
fn needs(op: MicroOp) -> Option<(bool, bool)> {
    use MicroOp::*;
    match op {
        LOAD_ELEMENT | REPLACE_ELEMENT => Some((true, true)),
        LOAD_ELEMENT_I | LOAD_ELEMENT_F => Some((true, false)),
        TEST_ELEMENT => Some((false, true)),
        _ => None,
    }
}

/// An index as a node plus a constant.
fn split(sb: &Superblock, mut r: Ref) -> (Ref, i64) {
    let mut offset = 0i64;
    loop {
        let node = sb.node(r);
        let constant = node.inputs().get(1).map(|&c| sb.node(c));
        let constant = constant
            .filter(|c| c.op == MicroOp::CONST_INT)
            .map(|c| c.operands[0] as i64);
        let sum = match (node.op, constant) {
            (MicroOp::ADD_I, Some(c)) => offset.checked_add(c),
            (MicroOp::SUB_I, Some(c)) => offset.checked_sub(c),
            _ => None,
        };
        match sum {
            Some(sum)
                if sum.unsigned_abs() <= OFFSET_MAX as u64
                    && sb.node(node.inputs[0]).op != MicroOp::CONST_INT =>
            {
                (r, offset) = (node.inputs[0], sum)
            }
            _ => return (r, offset),
        }
    }
}

impl Addresses {
    pub fn new(sb: &Superblock) -> Addresses {
        let indexes = |node: &Node| needs(node.op).is_some() || node.op == MicroOp::GUARD_IN_ARRAY;
        if !sb.nodes.iter().any(indexes) {
            return Addresses {
                derived: Vec::new(),
                accesses: Vec::new(),
            };
        }
        let mut finder = Finder {
            sb,
            head: sb.looping.as_ref().map_or(Ref::NONE, |l| l.head),
            aliases: None,
            known: HashMap::default(),
            uniform: Vec::new(),
            derived: Vec::new(),
            uses: Vec::new(),
        };
        // Indices that one node stands for need not be taken apart.
        let mut parts: HashMap<Ref, Option<Ref>, BuildWordHasher> = HashMap::default();
        for node in sb.nodes.iter().filter(|node| indexes(node)) {
            let index = node.inputs[1];
            let whole = parts.entry(split(sb, index).0).or_insert(Some(index));
            *whole = whole.filter(|&other| other == index);
        }
        let mut accesses = vec![None; sb.nodes.len()];
        for (r, node) in sb.iter() {
            if indexes(node) {
                let (index, offset) = match split(sb, node.inputs[1]) {
                    (index, offset) if parts[&index].is_none() => (index, offset as i32),
                    _ => (node.inputs[1], 0),
                };
                accesses[r.index()] = Some(finder.access(r, node, index, offset));
            }
            finder.pass(r, node);
        }
        finder.finish(accesses)
    }

    /// How node `i` finds its element, if it accesses one.
    pub fn access(&self, i: usize) -> Option<&Access> {
        self.accesses.get(i)?.as_ref()
    }

    /// The derived values that node `i` uses.
    pub fn used_by(&self, i: usize) -> impl Iterator<Item = u32> {
        self.access(i)
            .into_iter()
            .flat_map(|a| [a.base, a.negated])
            .flatten()
    }

    /// The inputs that node `i` uses as such.
    pub fn inputs(&self, i: usize, node: &Node) -> [Option<Ref>; 3] {
        let [mut first, mut second, third] = [0, 1, 2].map(|k| node.inputs().get(k).copied());
        if let Some(access) = self.access(i) {
            first = first.filter(|_| access.base.is_none());
            second = Some(access.index).filter(|_| access.negated.is_none() || access.tag);
        }
        [first, second, third]
    }

    /// Whether the element that node `i` replaces has the tag of the new one.
    pub fn keeps_tag(&self, i: usize) -> bool {
        self.access(i).is_some_and(|access| !access.tag)
    }
}

struct Finder<'a> {
    sb: &'a Superblock,
    head: Ref,
    /// Known once they are needed.
    aliases: Option<Aliases<'a>>,
    /// The derived values that are right here.
    known: HashMap<Common, u32, BuildWordHasher>,
    /// Tables whose arrays are known to hold values of one type here, by the guards that say so.
    uniform: Vec<Ref>,
    derived: Vec<Derived>,
    uses: Vec<u32>,
}

impl Finder<'_> {
    fn access(&mut self, r: Ref, node: &Node, index: Ref, offset: i32) -> Access {
        let mut access = Access {
            index,
            offset,
            base: None,
            negated: None,
            tag: true,
        };
        let Some((payload, tag)) = needs(node.op) else {
            return access;
        };
        access.tag = tag && !(node.op == MicroOp::REPLACE_ELEMENT && self.is_of_kind(node));
        access.base = Some(self.common(r, Common::Base(node.inputs[0])));
        if payload && self.sb.node(index).op != MicroOp::CONST_INT {
            access.negated = Some(self.common(r, Common::Negated(index)));
        }
        access
    }

    /// A derived value for node `r`.
    fn common(&mut self, r: Ref, common: Common) -> u32 {
        if let Some(&known) = self.known.get(&common) {
            self.uses[known as usize] += 1;
            return known;
        }
        let before_loop = !self.head.is_none() && r > self.head && common.operand() < self.head;
        let at = if before_loop && self.is_invariant(common) {
            self.head
        } else {
            r
        };
        let new = self.derived.len() as u32;
        self.derived.push(Derived { common, at: at.0 });
        // What is made before the loop is worth it for one use.
        self.uses.push(if at == r { 1 } else { 2 });
        self.known.insert(common, new);
        new
    }

    /// Whether a value is the same in every pass of the loop, before which its operand is made.
    fn is_invariant(&mut self, common: Common) -> bool {
        use MicroOp::{GUARD_ACCEPTS, GUARD_ARRAY_KIND, GUARD_IN_ARRAY};
        let Common::Base(table) = common else {
            return true;
        };
        let sb = self.sb;
        let aliases = self.aliases.get_or_insert_with(|| Aliases::new(sb));
        let table = aliases.origin(table);
        let before = sb.iter().take(self.head.index());
        before
            .filter(|(_, node)| {
                matches!(node.op, GUARD_IN_ARRAY | GUARD_ARRAY_KIND | GUARD_ACCEPTS)
            })
            .any(|(guard, node)| {
                aliases.origin(node.inputs[0]) == table && !aliases.clobbered_in_loop(guard)
            })
    }

    /// Whether a store leaves an element with the tag that all have there.
    fn is_of_kind(&self, store: &Node) -> bool {
        let kind = match self.sb.type_of(store.inputs[2]) {
            Type::Int => ArrayKind::INT,
            Type::Float => ArrayKind::FLOAT,
            _ => return false,
        };
        let says = |&guard: &Ref| {
            let guard = self.sb.node(guard);
            guard.inputs[0] == store.inputs[0] && guard.operands[0] == kind.0 as u64
        };
        self.uniform.iter().any(says)
    }

    /// Node `r` has run.
    fn pass(&mut self, r: Ref, node: &Node) {
        if node.op == MicroOp::GUARD_ARRAY_KIND {
            self.uniform.push(r);
        }
        let effects = node.effects();
        let changes = effects.calls || effects.writes.contains(Memory::Header);
        // It may give any table another array, or the loop has done so.
        let forgets = changes && !matches!(node.op, MicroOp::STORE_ELEMENT | MicroOp::SET_SHAPE)
            || r == self.head;
        if forgets {
            let (derived, head) = (&self.derived, self.head.0);
            let kept = |at: u32| r.0 > head && derived[at as usize].at == head;
            self.known
                .retain(|common, at| matches!(common, Common::Negated(_)) || kept(*at));
            if r != self.head {
                self.uniform.clear();
            } else if !self.uniform.is_empty() {
                let sb = self.sb;
                let aliases = self.aliases.get_or_insert_with(|| Aliases::new(sb));
                self.uniform
                    .retain(|&guard| !aliases.clobbered_in_loop(guard));
            }
        }
    }

    /// What one access alone needs is not worth keeping.
    fn finish(self, mut accesses: Vec<Option<Access>>) -> Addresses {
        let kept = |i: &u32| self.uses[*i as usize] > 1;
        let mut order: Vec<u32> = (0..self.derived.len() as u32).filter(kept).collect();
        order.sort_by_key(|&i| self.derived[i as usize].at);
        let mut names = vec![None; self.derived.len()];
        for (new, &old) in order.iter().enumerate() {
            names[old as usize] = Some(new as u32);
        }
        for access in accesses.iter_mut().flatten() {
            access.base = access.base.and_then(|i| names[i as usize]);
            access.negated = access.negated.and_then(|i| names[i as usize]);
        }
        let derived = order.iter().map(|&i| self.derived[i as usize]).collect();
        Addresses { derived, accesses }
    }
}
