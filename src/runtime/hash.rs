//! The hash part of tables: a chained scatter table with Brent's variation, as Lua's.
//!
//! Invariant (Lua's): an element that is not in its main position collides with one that is in its own. So a
//! lookup only walks the chain that begins at its key's main position, and the table can be full. A node whose value
//! is nil keeps its key and its place until the part is rebuilt, which happens only when a new key finds no
//! free node; so a traversal may assign nil to any key. The collector may replace the key of such a node by
//! [`DEAD_KEY`] with the same payload. Keys are normalised: no float with an integer value, never nil or NaN.

use std::cell::Cell;
use std::mem::size_of;
use std::ptr::NonNull;
use std::slice;

use super::object::Gc;
use super::interner::StringTable;
use super::string::Str;
use super::value::{Tag, Value};
use crate::heap::{Heap, OutOfMemory};

/// The key tag of a node whose key has been collected.
pub const DEAD_KEY: u8 = 0xFF;

/// The smallest number of nodes.
const NODES_MIN: usize = 4;

/// One key and its value.
#[repr(C)]
pub struct Node {
    payload: Cell<u64>,
    key_payload: Cell<u64>,
    tag: Cell<u8>,
    key_tag: Cell<u8>,
    /// The distance to the next node of the chain, or 0.
    next: Cell<i32>,
}

const _: () = assert!(size_of::<Node>() == 24);

impl Node {
    #[inline(always)]
    pub fn value(&self) -> Value {
        Value::new(self.payload.get(), Tag::from_byte(self.tag.get()))
    }

    /// Replaces the value, without barrier.
    #[inline(always)]
    pub fn set_value(&self, v: Value) {
        self.payload.set(v.payload());
        self.tag.set(v.tag().byte());
    }

    /// The key; nil for a node never used or whose key is dead.
    #[inline(always)]
    pub fn key(&self) -> Value {
        match self.key_tag.get() {
            DEAD_KEY => Value::NIL,
            tag => Value::new(self.key_payload.get(), Tag::from_byte(tag)),
        }
    }

    /// Forgets the key but not its place, so that a traversal that stands there can go on. Only for nodes
    /// whose value is nil.
    pub fn kill_key(&self) {
        debug_assert!(self.value().is_nil());
        if self.key().as_object().is_some() {
            self.key_tag.set(DEAD_KEY);
        }
    }

    #[inline(always)]
    fn has_key(&self, tag: Tag, payload: u64) -> bool {
        self.key_payload.get() == payload && self.key_tag.get() == tag.byte()
    }

    #[inline(always)]
    fn is_free(&self) -> bool {
        self.key_tag.get() == Tag::NIL.byte()
    }
}

/// The head of a hash part. The nodes, a power of two of them, follow it.
#[repr(C)]
pub struct HashPart {
    /// All nodes from here on are in use.
    last_free: Cell<u32>,
    mask: u32,
    /// 64 minus the binary logarithm of the number of nodes.
    shift: u8,
    /// Whether integer keys have been inserted.
    has_ints: Cell<bool>,
}

const _: () = assert!(size_of::<HashPart>() <= HEAD);

/// Nodes begin at this distance from the head.
const HEAD: usize = 16;

/// What [`HashPart::position_of_word`] multiplies with.
const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;

/// How many of the lowest bits of an object's address are not looked at, being always the same.
const OBJECT_SHIFT: u8 = 4;

/// Where machine code finds things in a part, and in its nodes.
#[cfg(all(feature = "jit", target_arch = "x86_64", target_os = "linux"))]
pub mod layout {
    use std::mem::offset_of;

    use super::{HashPart, Node};

    pub const MASK: i32 = offset_of!(HashPart, mask) as i32;
    pub const SHIFT: i32 = offset_of!(HashPart, shift) as i32;
    pub const NODES: i32 = super::HEAD as i32;
    pub const NODE: i32 = size_of::<Node>() as i32;
    pub const PAYLOAD: i32 = offset_of!(Node, payload) as i32;
    pub const TAG: i32 = offset_of!(Node, tag) as i32;
    pub const KEY: i32 = offset_of!(Node, key_payload) as i32;
    pub const KEY_TAG: i32 = offset_of!(Node, key_tag) as i32;
    pub const NEXT: i32 = offset_of!(Node, next) as i32;
    pub const MULTIPLIER: u64 = super::MULTIPLIER;
    pub const OBJECT_SHIFT: u8 = super::OBJECT_SHIFT;
}

impl HashPart {
    /// The number of nodes for `count` keys.
    pub fn nodes_for(count: usize) -> usize {
        count.next_power_of_two().max(NODES_MIN)
    }

    /// The size of a part with so many nodes, in bytes.
    #[inline]
    pub fn size(nodes: usize) -> usize {
        HEAD + nodes * size_of::<Node>()
    }

    /// An empty part with a power of two of nodes.
    pub(super) fn alloc(heap: &mut Heap, nodes: usize) -> Result<NonNull<HashPart>, OutOfMemory> {
        debug_assert!(nodes.is_power_of_two() && nodes >= NODES_MIN);
        if nodes > 1 << 30 {
            return Err(OutOfMemory);
        }
        let block = heap.alloc(HashPart::size(nodes))?;
        let part: NonNull<HashPart> = block.cast();
        // SAFETY: the block is fresh and has room for head and nodes; all zeros is a free node.
        unsafe {
            block.as_ptr().write_bytes(0, HashPart::size(nodes));
            part.write(HashPart {
                last_free: Cell::new(nodes as u32),
                mask: nodes as u32 - 1,
                shift: 64 - nodes.trailing_zeros() as u8,
                has_ints: Cell::new(false),
            });
        }
        Ok(part)
    }

    #[inline(always)]
    pub fn node_count(&self) -> usize {
        self.mask as usize + 1
    }

    /// Whether there may be integer keys.
    #[inline(always)]
    pub fn has_ints(&self) -> bool {
        self.has_ints.get()
    }

    #[inline(always)]
    pub fn nodes(&self) -> &[Node] {
        // SAFETY: so many initialised nodes follow the head in its block.
        unsafe {
            let first = (self as *const HashPart as *const u8).add(HEAD) as *const Node;
            slice::from_raw_parts(first, self.node_count())
        }
    }

    #[inline(always)]
    fn node(&self, i: usize) -> &Node {
        debug_assert!(i < self.node_count());
        // SAFETY: main positions are masked, and chains lead from node to node of this part.
        unsafe { self.nodes().get_unchecked(i) }
    }

    /// Multiplicative hashing (Fibonacci): strides spread well.
    #[inline(always)]
    fn position_of_word(&self, word: u64) -> usize {
        (word.wrapping_mul(MULTIPLIER) >> self.shift) as usize
    }

    fn main_position(&self, strings: &StringTable, tag: Tag, payload: u64) -> usize {
        match tag {
            Tag::STRING => (strings.hash_of(Gc::from_addr(payload)) & self.mask) as usize,
            Tag::INT => self.position_of_word(payload),
            Tag::FLOAT => self.position_of_word(payload ^ payload >> 32),
            Tag::FALSE | Tag::TRUE => (tag.byte() as u32 & self.mask) as usize,
            _ => self.position_of_word(payload >> OBJECT_SHIFT),
        }
    }

    #[inline(always)]
    fn find_from(&self, mut at: usize, matches: impl Fn(&Node) -> bool) -> Option<usize> {
        loop {
            let node = self.node(at);
            if matches(node) {
                return Some(at);
            }
            match node.next.get() {
                0 => return None,
                distance => at = at.wrapping_add_signed(distance as isize),
            }
        }
    }

    /// The node of an interned string.
    #[inline(always)]
    pub fn find_str(&self, key: Gc<Str>) -> Option<usize> {
        let at = (key.hash.get() & self.mask) as usize;
        self.find_from(at, |node| node.has_key(Tag::STRING, key.addr()))
    }

    /// The node of an integer.
    #[inline(always)]
    pub fn find_int(&self, key: i64) -> Option<usize> {
        self.find_from(self.position_of_word(key as u64), |node| {
            node.has_key(Tag::INT, key as u64)
        })
    }

    /// The node of any normalised key.
    pub fn find(&self, strings: &StringTable, key: Value) -> Option<usize> {
        let at = self.main_position(strings, key.tag(), key.payload());
        match key.as_string() {
            Some(s) if !s.is_short() => self.find_from(at, |node| {
                node.key()
                    .as_string()
                    .is_some_and(|k| k == s || k.content_equals(s))
            }),
            _ => self.find_from(at, |node| node.has_key(key.tag(), key.payload())),
        }
    }

    /// The node of a key that the collector may have declared dead since the traversal saw it.
    pub(super) fn find_for_next(&self, strings: &StringTable, key: Value) -> Option<usize> {
        self.find(strings, key).or_else(|| {
            let at = self.main_position(strings, key.tag(), key.payload());
            let object = key.as_object()?;
            let dead = |node: &Node| {
                node.key_tag.get() == DEAD_KEY && node.key_payload.get() == object.addr()
            };
            self.find_from(at, dead)
        })
    }

    /// Inserts a key that is not there; false if there is no free node.
    #[must_use]
    pub(super) fn insert(&self, strings: &StringTable, key: Value, v: Value) -> bool {
        let mut at = self.main_position(strings, key.tag(), key.payload());
        let main = self.node(at);
        if !main.value().is_nil() {
            let Some(free) = self.take_free() else {
                return false;
            };
            let other = self.main_position(strings, main.key().tag(), main.key().payload());
            if other != at {
                // The node in the way is not in its main position: move it to the free one.
                let mut previous = other;
                loop {
                    let next =
                        previous.wrapping_add_signed(self.node(previous).next.get() as isize);
                    if next == at {
                        break;
                    }
                    previous = next;
                }
                let moved = self.node(free);
                self.node(previous)
                    .next
                    .set((free as isize - previous as isize) as i32);
                moved.payload.set(main.payload.get());
                moved.tag.set(main.tag.get());
                moved.key_payload.set(main.key_payload.get());
                moved.key_tag.set(main.key_tag.get());
                let next = main.next.get();
                moved.next.set(if next == 0 {
                    0
                } else {
                    next + (at as isize - free as isize) as i32
                });
                main.next.set(0);
            } else {
                // It is: the new key goes to the free node, second in the chain.
                let next = main.next.get();
                let distance = (free as isize - at as isize) as i32;
                self.node(free)
                    .next
                    .set(if next == 0 { 0 } else { next - distance });
                main.next.set(distance);
                at = free;
            }
        }
        let node = self.node(at);
        node.key_payload.set(key.payload());
        node.key_tag.set(key.tag().byte());
        node.set_value(v);
        if key.is_int() {
            self.has_ints.set(true);
        }
        true
    }

    fn take_free(&self) -> Option<usize> {
        let mut at = self.last_free.get();
        while at > 0 {
            at -= 1;
            if self.node(at as usize).is_free() {
                self.last_free.set(at);
                return Some(at as usize);
            }
        }
        self.last_free.set(0);
        None
    }
}
