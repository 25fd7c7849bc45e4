//! Functions: closures over bytecode, host functions, and the cells of captured locals.

use std::cell::Cell;
use std::mem::{offset_of, size_of};
use std::ptr;

use super::object::{Gc, Kind, Object};
use super::Runtime;
use super::value::{Tag, Value};
use crate::bytecode::proto::Proto;
use crate::heap::OutOfMemory;
use crate::tier1::{Builtin, NativeFn};

/// How often the variable in an [`UpCell`] has been stored to. Executors may treat a cell that is
/// `Constant` as its value, as long as they are told of the next store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum CellState {
    Uninitialised,
    Constant,
    Mutable,
}

/// The heap cell of a captured local: sixteen bytes.
#[repr(C, align(8))]
pub struct UpCell {
    pub barrier: Cell<u8>,
    pub kind: Kind,
    pub state: Cell<CellState>,
    pub tag: Cell<u8>,
    pub spare: u32,
    pub payload: Cell<u64>,
}

const _: () = {
    assert!(size_of::<UpCell>() == 16);
    assert!(offset_of!(UpCell, state) == 2 && offset_of!(UpCell, tag) == 3 && offset_of!(UpCell, payload) == 8);
};

// SAFETY: `#[repr(C)]`, barrier and kind first.
unsafe impl Object for UpCell {}

impl UpCell {
    #[inline(always)]
    pub fn get(&self) -> Value {
        Value::new(self.payload.get(), Tag::from_byte(self.tag.get()))
    }

    /// Replaces the value without barrier or state change.
    #[inline(always)]
    pub fn put(&self, v: Value) {
        self.payload.set(v.payload());
        self.tag.set(v.tag().byte());
    }
}

/// A closure over bytecode. Its cells follow the header.
#[repr(C, align(8))]
pub struct Closure {
    pub barrier: Cell<u8>,
    pub kind: Kind,
    pub cell_count: u8,
    pub spare: u8,
    pub spare2: u32,
    pub proto: Gc<Proto>,
}

const _: () = assert!(size_of::<Closure>() == 16 && offset_of!(Closure, proto) == 8);

// SAFETY: `#[repr(C)]`, barrier and kind first.
unsafe impl Object for Closure {}

impl Closure {
    /// The size of a closure with `cells` captured variables, in bytes.
    pub fn size(cells: usize) -> usize {
        size_of::<Closure>() + cells * size_of::<Gc<UpCell>>()
    }
}

impl Gc<Closure> {
    /// The `i`-th captured variable.
    #[inline(always)]
    pub fn cell(self, i: usize) -> Gc<UpCell> {
        debug_assert!(i < self.cell_count as usize);
        // SAFETY: a closure is allocated with `cell_count` initialised cells behind it, and indices come
        // from verified bytecode or have been checked by the caller.
        unsafe { *(self.as_ptr().add(1) as *const Gc<UpCell>).add(i) }
    }

    /// Sets the `i`-th captured variable, without barrier.
    #[inline(always)]
    pub fn set_cell(self, i: usize, c: Gc<UpCell>) {
        debug_assert!(i < self.cell_count as usize);
        // SAFETY: as in `cell`.
        unsafe { *(self.as_ptr().add(1) as *mut Gc<UpCell>).add(i) = c }
    }
}

/// A function of the host. Its upvalues follow the header.
#[repr(C, align(8))]
pub struct Native {
    pub barrier: Cell<u8>,
    pub kind: Kind,
    pub upvalue_count: u8,
    /// Which library function this is, for those that instructions or the optimizer know; see
    /// [`Builtin`](crate::tier1::Builtin).
    pub builtin: crate::tier1::Builtin,
    pub spare: u32,
    pub func: NativeFn,
}

const _: () = assert!(size_of::<Native>() == 16 && offset_of!(Native, func) == 8);

// SAFETY: `#[repr(C)]`, barrier and kind first.
unsafe impl Object for Native {}

impl Native {
    /// The size of a host function with `upvalues` values, in bytes.
    pub fn size(upvalues: usize) -> usize {
        size_of::<Native>() + upvalues * size_of::<Value>()
    }
}

impl Gc<Native> {
    /// The `i`-th upvalue.
    #[inline(always)]
    pub fn upvalue(self, i: usize) -> Value {
        assert!(i < self.upvalue_count as usize);
        // SAFETY: `upvalue_count` initialised values follow the header; checked above.
        unsafe { *(self.as_ptr().add(1) as *const Value).add(i) }
    }

    /// Sets the `i`-th upvalue, without barrier.
    #[inline(always)]
    pub fn set_upvalue(self, i: usize, v: Value) {
        assert!(i < self.upvalue_count as usize);
        // SAFETY: as in `upvalue`.
        unsafe { *(self.as_ptr().add(1) as *mut Value).add(i) = v }
    }
}

impl Runtime {
    /// A cell for a captured variable.
    #[inline]
    pub fn new_cell(&mut self, v: Value, state: CellState) -> Result<Gc<UpCell>, OutOfMemory> {
        let p = self.heap.alloc(size_of::<UpCell>())?.cast::<UpCell>();
        // SAFETY: the allocation is large enough and fresh.
        unsafe {
            p.write(UpCell {
                barrier: Default::default(),
                kind: Kind::Cell,
                state: state.into(),
                tag: v.tag().byte().into(),
                spare: 0,
                payload: v.payload().into(),
            });
            Ok(Gc::from_ptr(p))
        }
    }

    /// A closure over a prototype, with as many cells as that has captured variables.
    pub fn new_closure(&mut self, proto: Gc<Proto>, cells: &[Gc<UpCell>]) -> Result<Gc<Closure>, OutOfMemory> {
        assert_eq!(cells.len(), proto.info.captured.len());
        // SAFETY: all captured variables are set below.
        let closure = unsafe { self.allocate_closure(proto)? };
        for (i, &cell) in cells.iter().enumerate() {
            closure.set_cell(i, cell);
        }
        Ok(closure)
    }

    /// The same without its cells.
    ///
    /// # Safety
    /// The caller sets every captured variable before the collector runs or anybody looks at the closure.
    #[inline]
    pub unsafe fn allocate_closure(&mut self, proto: Gc<Proto>) -> Result<Gc<Closure>, OutOfMemory> {
        let cells = proto.info.captured.len();
        let p = self.heap.alloc(Closure::size(cells))?.cast::<Closure>();
        // SAFETY: the cell is fresh and has room for the head and the captured variables.
        unsafe {
            p.write(Closure {
                barrier: Cell::new(0),
                kind: Kind::Closure,
                cell_count: cells as u8,
                spare: 0,
                spare2: 0,
                proto,
            });
            Ok(Gc::from_ptr(p))
        }
    }

    /// A host function with at most 255 upvalues.
    pub fn new_native(&mut self, func: NativeFn, upvalues: &[Value]) -> Result<Gc<Native>, OutOfMemory> {
        self.new_builtin(func, Builtin::Other, upvalues)
    }

    /// A host function that instructions or the optimizer know.
    pub fn new_builtin(
        &mut self,
        func: NativeFn,
        builtin: Builtin,
        upvalues: &[Value],
    ) -> Result<Gc<Native>, OutOfMemory> {
        let upvalue_count = u8::try_from(upvalues.len()).expect("library functions have few upvalues");
        let p = self.heap.alloc(Native::size(upvalues.len()))?.cast::<Native>();
        // SAFETY: the cell is fresh and has room for the head and the upvalues.
        unsafe {
            p.write(Native {
                barrier: Cell::new(0),
                kind: Kind::Native,
                upvalue_count,
                builtin,
                spare: 0,
                func,
            });
            ptr::copy_nonoverlapping(upvalues.as_ptr(), p.as_ptr().add(1) as *mut Value, upvalues.len());
            Ok(Gc::from_ptr(p))
        }
    }
}
