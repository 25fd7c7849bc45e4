//! What the kernels have in common: a VM with hand-made objects, offsets for machine code, and calling it.
//!
//! Machine code keeps the VM state in `r14`, the current call record in `r15` and the frame's base in `r13`; all
//! other registers are free, and none survives a call between executors. The current record's place in the
//! [`State`] is brought up to date only where Rust code may look at it.

use std::mem::offset_of;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use dynasmrt::{AssemblyOffset, DynasmApi, DynasmLabelApi, ExecutableBuffer, dynasm};
use perilune::bytecode::cache::{CallSite, LoopSite};
use perilune::bytecode::lines::LineTable;
use perilune::bytecode::proto::{Proto, ProtoInfo};
use perilune::bytecode::{Instr, Op};
use perilune::heap::Heap;
use perilune::runtime::Runtime;
use perilune::runtime::coroutine::{CallRecord, Continuation, Coroutine};
use perilune::runtime::function::{CellState, Closure, Native, UpCell};
use perilune::runtime::object::{Gc, Kind};
use perilune::runtime::shape::{Location, ShapeId};
use perilune::runtime::string::Str;
use perilune::runtime::table::Table;
use perilune::runtime::value::Value;
use perilune::tier1::State;
use perilune::tier1::state::interrupt;

pub type Assembler = dynasmrt::x64::Assembler;

macro_rules! offsets {
    ($($name:ident = $($ty:ident . $field:ident)+;)*) => {
        $(pub const $name: i32 = 0 $(+ offset_of!($ty, $field) as i32)+;)*
    };
}

offsets! {
    INTERRUPT = State.interrupt;
    RECORD = State.record;
    STACK = State.stack;
    STACK_LIMIT = State.stack_limit;
    RECORDS_END = State.records_end;
    TOP = State.top;
    CURRENT = State.co;
    HEAP = State.rt Runtime.heap;
    RECORD_PC = CallRecord.pc;
    RECORD_RETURN_SITE = CallRecord.return_site;
    RECORD_BASE = CallRecord.base;
    RECORD_TOP = CallRecord.top;
    RECORD_EXTRA = CallRecord.extra_args;
    RECORD_WANTED = CallRecord.wanted;
    SHAPE = Table.shape;
    ARRAY = Table.array;
    ARRAY_LEN = Table.array_len;
    ARRAY_KIND = Table.array_kind;
    OVERFLOW = Table.overflow;
    RECORD_THEN = CallRecord.then;
    RECORD_AUX = CallRecord.aux;
    NATIVE_DEPTH = State.native_depth;
    NATIVE_FUNC = Native.func;
    CO_STATUS = Coroutine.status;
    CO_NON_YIELDABLE = Coroutine.non_yieldable;
    CO_STACK = Coroutine.stack;
    CO_STACK_SIZE = Coroutine.stack_size;
    CO_TOP = Coroutine.top;
    CO_RECORDS = Coroutine.records;
    CO_RECORDS_SIZE = Coroutine.records_size;
    CO_DEPTH = Coroutine.depth;
    CO_RESUMER = Coroutine.resumer;
    SITE_CODE = LoopSite.code;
    CELL_TAG = UpCell.tag;
    CELL_PAYLOAD = UpCell.payload;
}

pub const RECORD_SIZE: i32 = size_of::<CallRecord>() as i32;
pub const SLOT: i32 = size_of::<Value>() as i32;
pub const INT: i8 = 3;
pub const TABLE: i8 = 7;
pub const CLOSURE: i8 = 8;
pub const NATIVE: i8 = 9;

const _: () = {
    assert!(INTERRUPT == 0);
    assert!(RECORD_TOP == RECORD_BASE + 4 && RECORD_WANTED == RECORD_EXTRA + 4);
};

/// Whether to collect before every run and at many of the polls that a kernel makes while it allocates.
pub static STRESS: AtomicBool = AtomicBool::new(false);

/// Under stress, one poll in so many collects: a number without factors in common with the sizes of trees.
const STRESSED_POLL: u64 = 61;

/// Polls under stress so far.
static POLLS: AtomicU64 = AtomicU64::new(0);

/// `wanted`, `continuation` and `flags` of the record of a call that wants one result.
pub const ONE_RESULT: i32 = 1 | (Continuation::Call as i32) << 16;

/// Where a field lies in tables of a shape.
#[derive(Clone, Copy)]
pub struct Field {
    pub payload: i32,
    pub tag: i32,
}

pub struct Vm {
    pub st: Box<State>,
}

impl Vm {
    pub fn new() -> Vm {
        let mut st = State::new().expect("memory for a VM");
        st.grow_stack(10_000).expect("memory for the stack");
        for _ in 0..9 {
            st.grow_records().expect("memory for call records");
        }
        // Only kernels that allocate expect the collector's requests.
        st.rt.heap.stop();
        Vm { st }
    }

    pub fn key(&mut self, name: &'static str) -> Gc<Str> {
        let key = self.st.rt.intern_static(name.as_bytes());
        key.expect("memory for a string")
    }

    /// A table of these fields, all inline.
    pub fn table(&mut self, fields: &[(&'static str, Value)]) -> Gc<Table> {
        let shape = self.st.rt.shapes.root_for(fields.len() as u32);
        let t = self.st.rt.new_table(shape, 0).expect("memory for a table");
        for &(name, v) in fields {
            self.set(t, name, v);
        }
        t
    }

    /// A table of these elements.
    pub fn array(&mut self, values: impl Iterator<Item = Value>) -> Gc<Table> {
        let values: Vec<Value> = values.collect();
        let t = self.st.rt.new_table(ShapeId::EMPTY, values.len() as u32);
        let t = t.expect("memory for an array");
        for (i, v) in values.into_iter().enumerate() {
            let set = self.st.rt.set_int(t, i as i64 + 1, v);
            set.expect("memory for an element");
        }
        t
    }

    pub fn set(&mut self, t: Gc<Table>, name: &'static str, v: Value) {
        let key = self.key(name);
        let set = self.st.rt.init_str(t, key, v);
        set.expect("memory for a field");
    }

    pub fn set_metatable(&mut self, t: Gc<Table>, m: Gc<Table>) {
        let set = self.st.rt.set_metatable(t, Some(m));
        set.expect("memory for a shape");
    }

    /// Where tables of the shape of `t` have a field inline.
    pub fn field(&mut self, t: Gc<Table>, name: &'static str) -> Field {
        let key = self.key(name);
        match self.st.rt.locate(t, key) {
            Location::Inline(at) => Field {
                payload: at.payload as i32,
                tag: at.tag as i32,
            },
            other => panic!("{name} is no inline slot but {other:?}"),
        }
    }

    /// Where tables of the shape of `t` have a field in their overflow block.
    pub fn overflow_field(&mut self, t: Gc<Table>, name: &'static str) -> Field {
        let key = self.key(name);
        match self.st.rt.locate(t, key) {
            Location::Overflow(at) => Field {
                payload: at.payload as i32,
                tag: at.tag as i32,
            },
            other => panic!("{name} is no overflow slot but {other:?}"),
        }
    }

    pub fn cell(&mut self, v: Value) -> Gc<UpCell> {
        let p = self
            .st
            .rt
            .heap
            .alloc(size_of::<UpCell>())
            .expect("memory for a cell")
            .cast::<UpCell>();
        // SAFETY: the cell is fresh and large enough.
        unsafe {
            p.write(UpCell {
                barrier: 0.into(),
                kind: Kind::Cell,
                state: CellState::Mutable.into(),
                tag: v.tag().byte().into(),
                spare: 0,
                payload: v.payload().into(),
            });
            Gc::from_ptr(p)
        }
    }

    /// A closure without captured variables, over a function of as many instructions as `live` has entries: the
    /// registers in use after each. It is a constant of the machine code, so the host keeps it.
    pub fn closure(&mut self, params: u8, registers: u32, live: &[u8]) -> Gc<Closure> {
        let source = self.key("=kernel");
        let mut info = Box::new(ProtoInfo {
            code: vec![Instr::new(Op::ALL[0], 0, 0, 0, 0); live.len()],
            constants: Vec::new(),
            fields: Vec::new(),
            calls: Vec::new(),
            tables: Vec::new(),
            loops: Vec::new(),
            protos: Vec::new(),
            captured: Vec::new(),
            live: live.to_vec(),
            lines: LineTable::default(),
            locals: Vec::new(),
            history: Vec::new().into(),
            source,
            line_defined: 0,
            last_line: 0,
        });
        let heap = &mut self.st.rt.heap;
        let p = heap
            .alloc(size_of::<Proto>())
            .expect("memory for a prototype")
            .cast::<Proto>();
        let c = heap
            .alloc(Closure::size(0))
            .expect("memory for a closure")
            .cast::<Closure>();
        // SAFETY: the cells are fresh and large enough; the head points into arrays that `info` owns.
        unsafe {
            p.write(Proto {
                barrier: 0.into(),
                kind: Kind::Proto,
                params,
                flags: 0,
                registers,
                code: info.code.as_mut_ptr(),
                constants: info.constants.as_ptr(),
                fields: info.fields.as_ptr(),
                calls: info.calls.as_ptr(),
                tables: info.tables.as_ptr(),
                loops: info.loops.as_ptr(),
                entry: LoopSite::new(),
                info,
            });
            let proto = Gc::from_ptr(p);
            heap.register_proto(proto).expect("memory for a prototype");
            c.write(Closure {
                barrier: 0.into(),
                kind: Kind::Closure,
                cell_count: 0,
                spare: 0,
                spare2: 0,
                proto,
            });
            let closure = Gc::from_ptr(c);
            self.st.handles.insert(Value::closure(closure));
            closure
        }
    }

    /// Makes `function` the running function, at the bottom of the main coroutine's stack.
    pub fn enter(&mut self, function: Gc<Closure>) {
        let record = CallRecord {
            pc: function.proto.code,
            base: 2,
            top: 2 + function.proto.registers,
            flags: 0,
            ..CallRecord::bottom()
        };
        self.st
            .push_record(record)
            .expect("memory for call records");
        let slot = self.st.slot(1);
        // SAFETY: the stack has been grown for it.
        unsafe { Value::store(slot, Value::closure(function)) };
    }

    /// The record of the function that the host has entered.
    pub fn bottom(&self) -> *mut CallRecord {
        // SAFETY: the coroutine's own record is the first.
        unsafe { self.st.co.records.get().add(1) }
    }

    /// The address of a slot of the running function.
    pub fn register(&self, i: u32) -> *mut Value {
        self.st.slot(self.st.frame().base + i)
    }
}

/// What machine code returns: a payload, and whether it has left by an exit that no benchmark should take.
#[repr(C)]
pub struct Out {
    pub payload: u64,
    pub exited: u64,
}

/// Finished machine code.
pub struct Code {
    buffer: ExecutableBuffer,
    entry: AssemblyOffset,
    /// The code refers to them by address.
    sites: Box<[CallSite]>,
}

/// The call sites of code to be made. Records refer to the places behind them.
pub fn return_sites(count: usize) -> Box<[CallSite]> {
    (0..count).map(|_| CallSite::new()).collect()
}

impl Code {
    pub fn new(ops: Assembler, entry: AssemblyOffset) -> Code {
        let buffer = ops
            .finalize()
            .unwrap_or_else(|_| panic!("the assembler is in use"));
        Code {
            buffer,
            entry,
            sites: Box::new([]),
        }
    }

    /// Makes calls through these sites return to these places.
    pub fn returning(
        mut self,
        sites: Box<[CallSite]>,
        places: impl IntoIterator<Item = AssemblyOffset>,
    ) -> Code {
        self.sites = sites;
        for (site, place) in self.sites.iter().zip(places) {
            site.returns.code.set(self.buffer.ptr(place));
        }
        self
    }

    /// The number of the site that a record returns through.
    pub fn site_of(&self, record: &CallRecord) -> usize {
        let site = self
            .sites
            .iter()
            .position(|s| std::ptr::eq(&s.returns, record.return_site));
        site.expect("a record pushed by this code")
    }

    /// Runs the code on the running function's frame.
    pub fn run(&self, vm: &mut Vm, argument: i64) -> u64 {
        let out = self.enter(vm, argument);
        assert!(out.exited == 0, "the kernel has left by an exit");
        out.payload
    }

    /// Runs the code on the running function's frame, until it is done or leaves by an exit.
    pub fn enter(&self, vm: &mut Vm, argument: i64) -> Out {
        if STRESS.load(Ordering::Relaxed) {
            vm.st.top = vm.st.slot(vm.st.frame().top);
            vm.st.with_collector(|rt, roots| rt.collect_full(roots));
        }
        let base = vm.register(0);
        // SAFETY: the code begins with `prologue`, which takes these arguments, and obeys the invariants of the
        // objects that it touches.
        unsafe {
            let f: extern "C" fn(*mut State, *mut Value, i64) -> Out =
                std::mem::transmute(self.buffer.ptr(self.entry));
            f(&mut *vm.st, base, argument)
        }
    }
}

/// Saves the host's registers and sets up the fixed ones; the argument is in `rdx` afterwards.
pub fn prologue(ops: &mut Assembler) -> AssemblyOffset {
    let entry = ops.offset();
    dynasm!(ops
        ; .arch x64
        ; push rbp
        ; push rbx
        ; push r12
        ; push r13
        ; push r14
        ; push r15
        ; sub rsp, 8
        ; mov r14, rdi
        ; mov r13, rsi
        ; mov r15, [r14 + RECORD]
    );
    entry
}

/// Returns `rax` to the host; and the label `exit`, which goes there from anywhere.
pub fn epilogue(ops: &mut Assembler) {
    dynasm!(ops
        ; .arch x64
        ; xor edx, edx
        ; jmp >leave
        ; ->exit:
        ; mov edx, 1
        ; leave:
        ; mov [r14 + RECORD], r15
        ; add rsp, 8
        ; pop r15
        ; pop r14
        ; pop r13
        ; pop r12
        ; pop rbx
        ; pop rbp
        ; ret
    );
}

/// The first word of a fresh table.
pub fn table_word(shape: ShapeId) -> i64 {
    (shape.0 as i64) << 32 | (Kind::Table as i64) << 8
}

/// Where machine code finds cursor and limit of the class for cells of `size` bytes, and the cell size.
pub fn bump(size: usize) -> (i32, i32, i32) {
    let spans = Heap::spans_of(size);
    (HEAP + spans.cursor as i32, HEAP + spans.limit as i32, spans.cell as i32)
}

/// The slow path of allocation. Null if there is no memory. When the collector is due, the heap says so in the
/// interrupt word.
pub extern "C" fn alloc_slow(st: &mut State, size: usize) -> *mut u8 {
    let cell = st.rt.heap.alloc(size);
    cell.map_or(std::ptr::null_mut(), |p| p.as_ptr())
}

/// The slow path of a poll: a step of the collector, which withdraws its request.
pub extern "C" fn collect(st: &mut State) {
    let stress = STRESS.load(Ordering::Relaxed);
    if !stress || POLLS.fetch_add(1, Ordering::Relaxed).is_multiple_of(STRESSED_POLL) {
        st.top = st.slot(st.frame().top);
        st.with_collector(|rt, roots| if stress { rt.collect_full(roots) } else { rt.gc_step(roots) });
    }
    if stress {
        // The next poll comes here, too.
        st.request(interrupt::COLLECT);
    }
}

/// The slow path of the write barrier.
pub extern "C" fn barrier(st: &mut State, container: Gc<Table>) {
    st.rt.heap.barrier(container.header());
}
