//! Host values in Lua.
//!
//! A value lives in a userdata object as a [`UserCell`], which counts borrows as `RefCell` does. Its methods are
//! host functions that check the type of what they are called on by the value, never by the metatable, which scripts may
//! change. While a method runs, the window of its arguments keeps the object alive; a borrow by the host pins the
//! VM.

use std::any::{Any, TypeId};
use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::convert::{FromLua, FromLuaMulti, IntoLua, IntoLuaMulti, RawValue, Window, through_raw};
use super::error::{Error, Result};
use super::function::{Function, HostCode, new_host_function, running, signature};
use super::handle::{Handle, handle_type};
use super::shared::{Context, enter, enter_directly};
use super::value::Value;
use super::{Table, Vm};
use crate::runtime::object::{Gc, Kind};
use crate::runtime::table::Table as RawTable;
use crate::runtime::userdata::Userdata;
use crate::runtime::value::Value as Raw;
use crate::tier1::native::DirectCall;
use crate::tier1::{Args, NativeFn, NativeResult, Raised, State};

/// A Rust type whose values Lua can hold and use.
///
/// ```
/// use perilune::{UserData, UserDataMethods, Vm};
///
/// struct Counter(i64);
///
/// impl UserData for Counter {
///     fn add_methods(methods: &mut UserDataMethods<Self>) {
///         methods.add_method("get", |_, this, ()| Ok(this.0));
///         methods.add_method_mut("add", |_, this, n: i64| {
///             this.0 += n;
///             Ok(())
///         });
///     }
/// }
///
/// let vm = Vm::new();
/// vm.globals().set("counter", Counter(1))?;
/// assert_eq!(vm.load("counter:add(2); return counter:get()").eval::<i64>()?, 3);
/// # Ok::<(), perilune::Error>(())
/// ```
///
/// A panic in the type's `Drop` during a collection is reported by the panic hook and goes no further.
pub trait UserData: Sized + Send + 'static {
    /// The name of the type in error messages and `tostring`: by default the Rust type's, without its path.
    fn type_name() -> String {
        let name = std::any::type_name::<Self>();
        let head = name.split('<').next().unwrap_or(name);
        head.rsplit("::").next().unwrap_or(head).to_owned()
    }

    /// Says what Lua can do with values of the type. Called once per VM.
    fn add_methods(methods: &mut UserDataMethods<'_, Self>) {
        let _ = methods;
    }
}

/// An event that a metatable can define.
///
/// ```
/// assert_eq!(perilune::MetaMethod::Add.name(), "__add");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum MetaMethod {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Unm,
    IDiv,
    BAnd,
    BOr,
    BXor,
    BNot,
    Shl,
    Shr,
    Concat,
    Len,
    Eq,
    Lt,
    Le,
    Index,
    NewIndex,
    Call,
    ToString,
    Pairs,
    Close,
}

impl MetaMethod {
    /// The key in the metatable.
    pub fn name(self) -> &'static str {
        match self {
            MetaMethod::Add => "__add",
            MetaMethod::Sub => "__sub",
            MetaMethod::Mul => "__mul",
            MetaMethod::Div => "__div",
            MetaMethod::Mod => "__mod",
            MetaMethod::Pow => "__pow",
            MetaMethod::Unm => "__unm",
            MetaMethod::IDiv => "__idiv",
            MetaMethod::BAnd => "__band",
            MetaMethod::BOr => "__bor",
            MetaMethod::BXor => "__bxor",
            MetaMethod::BNot => "__bnot",
            MetaMethod::Shl => "__shl",
            MetaMethod::Shr => "__shr",
            MetaMethod::Concat => "__concat",
            MetaMethod::Len => "__len",
            MetaMethod::Eq => "__eq",
            MetaMethod::Lt => "__lt",
            MetaMethod::Le => "__le",
            MetaMethod::Index => "__index",
            MetaMethod::NewIndex => "__newindex",
            MetaMethod::Call => "__call",
            MetaMethod::ToString => "__tostring",
            MetaMethod::Pairs => "__pairs",
            MetaMethod::Close => "__close",
        }
    }
}

// Cells.

/// A host value whose `Drop` may run in the middle of a collection, where no panic may pass.
pub(crate) struct Contained<T>(ManuallyDrop<T>);

impl<T> Contained<T> {
    pub fn new(v: T) -> Contained<T> {
        Contained(ManuallyDrop::new(v))
    }

    fn into_inner(mut self) -> T {
        // SAFETY: the value is taken once, and not dropped afterwards.
        let v = unsafe { ManuallyDrop::take(&mut self.0) };
        std::mem::forget(self);
        v
    }
}

impl<T> Deref for Contained<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Drop for Contained<T> {
    fn drop(&mut self) {
        // SAFETY: dropped once, here.
        let dropped = catch_unwind(AssertUnwindSafe(|| unsafe {
            ManuallyDrop::drop(&mut self.0)
        }));
        if let Err(payload) = dropped {
            // The payload's own `Drop` may panic as well.
            std::mem::forget(payload);
        }
    }
}

/// A host value and its borrows: -1 for a mutable one, else the number of shared ones.
struct UserCell<T> {
    borrows: Cell<isize>,
    value: Contained<UnsafeCell<T>>,
}

impl<T> UserCell<T> {
    #[inline]
    fn lock(&self) -> Result<()> {
        let n = self.borrows.get();
        if n < 0 {
            return Err(Error::UserDataBorrowed { mutably: true });
        }
        self.borrows.set(n + 1);
        Ok(())
    }

    #[inline]
    fn lock_mut(&self) -> Result<()> {
        match self.borrows.get() {
            0 => {
                self.borrows.set(-1);
                Ok(())
            }
            n => Err(Error::UserDataBorrowed { mutably: n < 0 }),
        }
    }
}

/// A borrow that ends when this is dropped.
struct Borrow<'a>(&'a Cell<isize>);

impl Drop for Borrow<'_> {
    #[inline]
    fn drop(&mut self) {
        let n = self.0.get();
        self.0.set(if n < 0 { 0 } else { n - 1 });
    }
}

/// Makes a userdata object.
pub(crate) fn new_userdata(
    st: &mut State,
    data: Box<dyn Any + Send>,
    metatable: Option<Gc<RawTable>>,
) -> std::result::Result<Gc<Userdata>, Raised> {
    let cell = st.rt.heap.alloc(size_of::<Userdata>());
    let p = st.check_memory(cell)?.cast::<Userdata>();
    // SAFETY: the cell is fresh and large enough.
    let userdata = unsafe {
        p.write(Userdata {
            barrier: Cell::new(0),
            kind: Kind::Userdata,
            finalizable: Cell::new(false),
            spare: 0,
            user_value_count: 0,
            metatable: Cell::new(metatable),
            data: Cell::new(Some(data)),
            user_values: Cell::new(Vec::new()),
        });
        Gc::from_ptr(p)
    };
    let registered = st.rt.heap.register_userdata(userdata);
    st.check_memory(registered)?;
    Ok(userdata)
}

/// The cell of a `T` in a value. It lives as long as the object is alive and the value is not taken.
#[inline]
fn cell_of<'a, T: UserData>(v: Raw) -> Result<&'a UserCell<T>> {
    if let Some(userdata) = v.as_userdata() {
        // SAFETY: the field changes only when the value is taken, and no host code runs here.
        match unsafe { &*userdata.data.as_ptr() } {
            Some(data) => {
                if let Some(cell) = data.downcast_ref() {
                    return Ok(cell);
                }
            }
            None => return Err(Error::UserDataTaken),
        }
    }
    Err(wrong_type::<T>(v))
}

#[cold]
fn wrong_type<T: UserData>(v: Raw) -> Error {
    Error::FromLua {
        expected: T::type_name().into(),
        got: super::error::type_name(v),
        message: None,
    }
}

// Methods.

/// Collects what Lua can do with a type; see [`UserData::add_methods`].
///
/// Methods get the value, functions only their arguments. Methods that change the value (`_mut`) fail while it is
/// borrowed, for instance by a method that has called back into Lua.
///
/// ```
/// use perilune::{MetaMethod, UserData, UserDataMethods, UserDataRef, Vm};
///
/// #[derive(Clone, Copy)]
/// struct Vec2 { x: f64, y: f64 }
///
/// impl UserData for Vec2 {
///     fn add_methods(methods: &mut UserDataMethods<Self>) {
///         methods.add_field_method_get("x", |_, this| Ok(this.x));
///         methods.add_field_method_set("x", |_, this, x: f64| {
///             this.x = x;
///             Ok(())
///         });
///         methods.add_meta_method(MetaMethod::Add, |_, this, other: UserDataRef<Vec2>| {
///             Ok(Vec2 { x: this.x + other.x, y: this.y + other.y })
///         });
///     }
/// }
///
/// let vm = Vm::new();
/// vm.globals().set("v", Vec2 { x: 1.0, y: 2.0 })?;
/// assert_eq!(vm.load("v.x = 5; return (v + v).x").eval::<f64>()?, 10.0);
/// # Ok::<(), perilune::Error>(())
/// ```
pub struct UserDataMethods<'a, T> {
    vm: &'a Vm,
    metatable: Table,
    methods: Table,
    getters: Table,
    setters: Table,
    index: Option<Function>,
    new_index: Option<Function>,
    has_getters: bool,
    has_setters: bool,
    /// The first failure to make a function.
    failed: Option<Error>,
    marker: PhantomData<T>,
}

/// The code of a method of `T`.
fn method<T, F, A, R>(st: &mut State, args: Args) -> NativeResult
where
    T: UserData,
    F: Fn(&Vm, &T, A) -> Result<R>,
    A: FromLuaMulti,
    R: IntoLuaMulti,
{
    // SAFETY: `method_code` is paired with a closure of the type.
    let f: &F = unsafe { running(st, args) };
    enter(st, |cx| call_method(f, args, cx))
}

unsafe extern "C" fn direct_method<T, F, A, R>(call: *mut DirectCall, base: u32, count: u32) -> i32
where
    T: UserData,
    F: Fn(&Vm, &T, A) -> Result<R>,
    A: FromLuaMulti,
    R: IntoLuaMulti,
{
    // SAFETY: machine code makes a call, and the state is not used by others; `method_code` is paired with a closure of the type.
    unsafe {
        let args = Args { base, count };
        let f: &F = running(&*(*call).state, args);
        enter_directly(call, |cx| call_method(f, args, cx))
    }
}

#[inline(always)]
fn call_method<T, F, A, R>(f: &F, args: Args, cx: Context<'_>) -> Result<i32>
where
    T: UserData,
    F: Fn(&Vm, &T, A) -> Result<R>,
    A: FromLuaMulti,
    R: IntoLuaMulti,
{
    let (this, rest) = receiver::<T>(args, cx)?;
    this.lock()?;
    let _borrow = Borrow(&this.borrows);
    let a = A::read_all(rest, cx)?;
    // SAFETY: the borrow is counted; the object is this function's first argument, which keeps it alive.
    f(cx.vm, unsafe { &*this.value.get() }, a)?.ret(args.base, cx)
}

fn method_code<T, F, A, R>() -> HostCode
where
    T: UserData,
    F: Fn(&Vm, &T, A) -> Result<R>,
    A: FromLuaMulti,
    R: IntoLuaMulti,
{
    HostCode {
        called: method::<T, F, A, R>,
        direct: direct_method::<T, F, A, R>,
    }
}

/// The code of a method that changes the value.
fn method_mut<T, F, A, R>(st: &mut State, args: Args) -> NativeResult
where
    T: UserData,
    F: Fn(&Vm, &mut T, A) -> Result<R>,
    A: FromLuaMulti,
    R: IntoLuaMulti,
{
    // SAFETY: `method_mut_code` is paired with a closure of the type.
    let f: &F = unsafe { running(st, args) };
    enter(st, |cx| call_method_mut(f, args, cx))
}

unsafe extern "C" fn direct_method_mut<T, F, A, R>(
    call: *mut DirectCall,
    base: u32,
    count: u32,
) -> i32
where
    T: UserData,
    F: Fn(&Vm, &mut T, A) -> Result<R>,
    A: FromLuaMulti,
    R: IntoLuaMulti,
{
    // SAFETY: as in `direct_method`.
    unsafe {
        let args = Args { base, count };
        let f: &F = running(&*(*call).state, args);
        enter_directly(call, |cx| call_method_mut(f, args, cx))
    }
}

#[inline(always)]
fn call_method_mut<T, F, A, R>(f: &F, args: Args, cx: Context<'_>) -> Result<i32>
where
    T: UserData,
    F: Fn(&Vm, &mut T, A) -> Result<R>,
    A: FromLuaMulti,
    R: IntoLuaMulti,
{
    let (this, rest) = receiver::<T>(args, cx)?;
    this.lock_mut()?;
    let _borrow = Borrow(&this.borrows);
    let a = A::read_all(rest, cx)?;
    // SAFETY: the borrow is exclusive; the object is this function's first argument, which keeps it alive.
    f(cx.vm, unsafe { &mut *this.value.get() }, a)?.ret(args.base, cx)
}

fn method_mut_code<T, F, A, R>() -> HostCode
where
    T: UserData,
    F: Fn(&Vm, &mut T, A) -> Result<R>,
    A: FromLuaMulti,
    R: IntoLuaMulti,
{
    HostCode {
        called: method_mut::<T, F, A, R>,
        direct: direct_method_mut::<T, F, A, R>,
    }
}

/// The value that a method is called on, and the other arguments.
#[inline]
fn receiver<'a, T: UserData>(args: Args, cx: Context<'a>) -> Result<(&'a UserCell<T>, Window)> {
    let all = Window {
        first: args.base,
        count: args.count,
        skipped: 0,
    };
    let this = cell_of::<T>(all.get(0, cx).0).map_err(|e| e.at(1))?;
    Ok((this, all.rest(1)))
}

impl<'a, T: UserData> UserDataMethods<'a, T> {
    /// A method: `value:name(...)`.
    pub fn add_method<A, R, F>(&mut self, name: &str, f: F)
    where
        A: FromLuaMulti + 'static,
        R: IntoLuaMulti + 'static,
        F: Fn(&Vm, &T, A) -> Result<R> + Send + 'static,
    {
        let f = self.native::<A, R, F>(method_code::<T, F, A, R>(), f);
        self.put(|m| &m.methods, name, f);
    }

    /// A method that may change the value.
    pub fn add_method_mut<A, R, F>(&mut self, name: &str, f: F)
    where
        A: FromLuaMulti + 'static,
        R: IntoLuaMulti + 'static,
        F: Fn(&Vm, &mut T, A) -> Result<R> + Send + 'static,
    {
        let f = self.native::<A, R, F>(method_mut_code::<T, F, A, R>(), f);
        self.put(|m| &m.methods, name, f);
    }

    /// A function: `value.name(...)`.
    pub fn add_function<A, R, F>(&mut self, name: &str, f: F)
    where
        A: FromLuaMulti + 'static,
        R: IntoLuaMulti + 'static,
        F: Fn(&Vm, A) -> Result<R> + Send + 'static,
    {
        let f = self.vm.create_function(f);
        self.put(|m| &m.methods, name, f);
    }

    /// Reading a field: `value.name`.
    pub fn add_field_method_get<R, F>(&mut self, name: &str, f: F)
    where
        R: IntoLuaMulti + 'static,
        F: Fn(&Vm, &T) -> Result<R> + Send + 'static,
    {
        let f = move |vm: &Vm, this: &T, (): ()| f(vm, this);
        let f = self.wrap_method(f);
        self.has_getters = true;
        self.put(|m| &m.getters, name, f);
    }

    /// Writing a field: `value.name = v`.
    pub fn add_field_method_set<A, F>(&mut self, name: &str, f: F)
    where
        A: FromLua + 'static,
        F: Fn(&Vm, &mut T, A) -> Result<()> + Send + 'static,
    {
        let f = self.native::<A, (), F>(method_mut_code::<T, F, A, ()>(), f);
        self.has_setters = true;
        self.put(|m| &m.setters, name, f);
    }

    /// An operator whose left operand is the value. If the value is the right operand the other one comes first,
    /// and the method fails: use [`add_meta_function`](Self::add_meta_function) for operators with operands of mixed
    /// types.
    pub fn add_meta_method<A, R, F>(&mut self, event: MetaMethod, f: F)
    where
        A: FromLuaMulti + 'static,
        R: IntoLuaMulti + 'static,
        F: Fn(&Vm, &T, A) -> Result<R> + Send + 'static,
    {
        let f = self.wrap_method(f);
        self.put_event(event, f);
    }

    /// An operator that may change the value.
    pub fn add_meta_method_mut<A, R, F>(&mut self, event: MetaMethod, f: F)
    where
        A: FromLuaMulti + 'static,
        R: IntoLuaMulti + 'static,
        F: Fn(&Vm, &mut T, A) -> Result<R> + Send + 'static,
    {
        let f = self.native::<A, R, F>(method_mut_code::<T, F, A, R>(), f);
        self.put_event(event, f);
    }

    /// An operator as a function of its operands.
    pub fn add_meta_function<A, R, F>(&mut self, event: MetaMethod, f: F)
    where
        A: FromLuaMulti + 'static,
        R: IntoLuaMulti + 'static,
        F: Fn(&Vm, A) -> Result<R> + Send + 'static,
    {
        let f = self.vm.create_function(f);
        self.put_event(event, f);
    }

    fn wrap_method<A, R, F>(&mut self, f: F) -> Result<Function>
    where
        A: FromLuaMulti,
        R: IntoLuaMulti,
        F: Fn(&Vm, &T, A) -> Result<R> + Send + 'static,
    {
        self.native::<A, R, F>(method_code::<T, F, A, R>(), f)
    }

    fn native<A: FromLuaMulti, R: IntoLuaMulti, F: Send + 'static>(
        &self,
        code: HostCode,
        f: F,
    ) -> Result<Function> {
        let mut signature = signature::<A, R>();
        signature.arguments.insert(0, super::ValueKind::Any);
        self.vm.new_function(code, signature, f)
    }

    fn put(&mut self, to: impl Fn(&Self) -> &Table, name: &str, f: Result<Function>) {
        let done = f.and_then(|f| to(self).raw_set(name, f));
        if let Err(e) = done {
            self.failed.get_or_insert(e);
        }
    }

    fn put_event(&mut self, event: MetaMethod, f: Result<Function>) {
        match (event, f) {
            (MetaMethod::Index, Ok(f)) => self.index = Some(f),
            (MetaMethod::NewIndex, Ok(f)) => self.new_index = Some(f),
            (_, f) => self.put(|m| &m.metatable, event.name(), f),
        }
    }

    fn finish(self) -> Result<Table> {
        if let Some(e) = self.failed {
            return Err(e);
        }
        let vm = self.vm;
        if self.has_getters || self.index.is_some() {
            let dispatch =
                vm.new_dispatcher(index, &self.methods, &self.getters, self.index.as_ref())?;
            self.metatable.raw_set("__index", dispatch)?;
        } else {
            self.metatable.raw_set("__index", self.methods)?;
        }
        if self.has_setters || self.new_index.is_some() {
            let dispatch = vm.new_dispatcher(
                new_index,
                &self.setters,
                &self.setters,
                self.new_index.as_ref(),
            )?;
            self.metatable.raw_set("__newindex", dispatch)?;
        }
        self.metatable.raw_set("__name", T::type_name())?;
        self.metatable.raw_set("__metatable", false)?;
        Ok(self.metatable)
    }
}

/// `__index` of a type with fields or an index method of its own. Upvalues: the methods, the getters, and what is asked
/// in the end.
fn index(st: &mut State, args: Args) -> NativeResult {
    let (methods, getters, last) = dispatch_tables(st, args);
    let key = st.arg(args, 1);
    if let Some(methods) = methods {
        let v = st.rt.get(methods, key);
        if !v.is_nil() {
            return st.ret1(args, v);
        }
    }
    let getter = getters.map_or(Raw::NIL, |t| st.rt.get(t, key));
    if !getter.is_nil() {
        return become_native(
            st,
            getter,
            Args {
                base: args.base,
                count: args.count.min(1),
            },
        );
    }
    if last.is_nil() {
        return st.ret1(args, Raw::NIL);
    }
    become_native(st, last, args)
}

/// `__newindex`, likewise.
fn new_index(st: &mut State, args: Args) -> NativeResult {
    let (_, setters, last) = dispatch_tables(st, args);
    let key = st.arg(args, 1);
    let setter = setters.map_or(Raw::NIL, |t| st.rt.get(t, key));
    if !setter.is_nil() && args.count >= 3 {
        let v = st.arg(args, 2);
        st.set_arg(args, 1, v);
        return become_native(
            st,
            setter,
            Args {
                base: args.base,
                count: 2,
            },
        );
    }
    if !last.is_nil() {
        return become_native(st, last, args);
    }
    let name = match key.as_string() {
        Some(s) => String::from_utf8_lossy(s.as_bytes()).into_owned(),
        None => format!("({})", key.tag().type_name()),
    };
    Err(st.raise_text(&format!("cannot set field '{name}'")))
}

type Dispatch = (Option<Gc<RawTable>>, Option<Gc<RawTable>>, Raw);

fn dispatch_tables(st: &State, args: Args) -> Dispatch {
    // SAFETY: the running function lies below its window.
    let f = unsafe { Raw::load(st.slot(args.base - 1)) };
    match f.as_native() {
        Some(f) => (
            f.upvalue(0).as_table(),
            f.upvalue(1).as_table(),
            f.upvalue(2),
        ),
        None => (None, None, Raw::NIL),
    }
}

/// Lets another host function take the place of the running one.
fn become_native(st: &mut State, f: Raw, args: Args) -> NativeResult {
    let Some(native) = f.as_native() else {
        return st.ret1(args, Raw::NIL);
    };
    // SAFETY: the function's slot.
    unsafe { Raw::store(st.slot(args.base - 1), f) };
    (native.func)(st, args)
}

impl Vm {
    /// The metatable of a host type.
    fn metatable_of<T: UserData>(&self, cx: Context<'_>) -> Result<Gc<RawTable>> {
        if let Some(slot) = cx.shared.types.borrow().get(&TypeId::of::<T>()).copied() {
            return cx
                .with(|st| st.handles.get(slot))
                .as_table()
                .ok_or(Error::Busy);
        }
        let mut methods = UserDataMethods::<T> {
            vm: self,
            metatable: self.create_table()?,
            methods: self.create_table()?,
            getters: self.create_table()?,
            setters: self.create_table()?,
            index: None,
            new_index: None,
            has_getters: false,
            has_setters: false,
            failed: None,
            marker: PhantomData,
        };
        T::add_methods(&mut methods);
        let metatable = methods.finish()?;
        cx.with(|st| {
            let v = metatable.0.get(st);
            let slot = cx.shared.root(st, v);
            cx.shared.types.borrow_mut().insert(TypeId::of::<T>(), slot);
            v.as_table().ok_or(Error::Busy)
        })
    }
}

impl<T: UserData> IntoLua for T {
    fn into_lua(self, vm: &Vm) -> Result<Value> {
        vm.create_userdata(self).map(Value::UserData)
    }

    fn into_raw(self, cx: Context<'_>) -> Result<RawValue> {
        let metatable = cx.vm.metatable_of::<T>(cx)?;
        let cell = UserCell {
            borrows: Cell::new(0),
            value: Contained::new(UnsafeCell::new(self)),
        };
        cx.with(|st| {
            super::vm::collect_if_due(st);
            match new_userdata(st, Box::new(cell), Some(metatable)) {
                Ok(u) => Ok(RawValue(Raw::userdata(u))),
                Err(Raised) => Err(Error::Memory),
            }
        })
    }
}

handle_type! {
    /// A userdata object, which holds a host value of some type.
    ///
    /// ```
    /// use perilune::{UserData, Vm};
    ///
    /// struct Name(String);
    /// impl UserData for Name {}
    ///
    /// let vm = Vm::new();
    /// let object = vm.create_userdata(Name("Selene".into()))?;
    /// assert!(object.is::<Name>());
    /// assert_eq!(object.borrow::<Name>()?.0, "Selene");
    /// object.borrow_mut::<Name>()?.0.push('!');
    /// assert_eq!(object.take::<Name>()?.0, "Selene!");
    /// # Ok::<(), perilune::Error>(())
    /// ```
    AnyUserData, "userdata", |v| v.as_userdata().is_some()
}

impl AnyUserData {
    /// Whether this holds a `T`.
    pub fn is<T: UserData>(&self) -> bool {
        self.0
            .inner
            .with(|st, _| cell_of::<T>(self.0.get(st)).is_ok())
            .unwrap_or(false)
    }

    /// Borrows the value. Fails if it is of another type, borrowed mutably, or taken. Until the borrow ends other
    /// threads cannot use the VM.
    pub fn borrow<T: UserData>(&self) -> Result<UserDataRef<T>> {
        let pin = Pin::new(&self.0)?;
        let cell = self
            .0
            .inner
            .with(|st, _| cell_of::<T>(self.0.get(st)).map(|c| &raw const *c))??;
        // SAFETY: the handle in the pin keeps the object alive, and the pin the VM.
        unsafe { (*cell).lock()? };
        Ok(UserDataRef { cell, pin })
    }

    /// Borrows the value mutably.
    pub fn borrow_mut<T: UserData>(&self) -> Result<UserDataRefMut<T>> {
        let pin = Pin::new(&self.0)?;
        let cell = self
            .0
            .inner
            .with(|st, _| cell_of::<T>(self.0.get(st)).map(|c| &raw const *c))??;
        // SAFETY: the handle in the pin keeps the object alive, and the pin the VM.
        unsafe { (*cell).lock_mut()? };
        Ok(UserDataRefMut { cell, pin })
    }

    /// Takes the value out. From then on all uses of the object fail. Fails while it is borrowed.
    pub fn take<T: UserData>(&self) -> Result<T> {
        let cell = self.0.inner.with(|st, _| {
            let v = self.0.get(st);
            let cell = cell_of::<T>(v)?;
            // Must not be borrowed; nor will it be, since nothing finds it any longer.
            cell.lock_mut()?;
            let data = v
                .as_userdata()
                .and_then(|u| u.data.take())
                .ok_or(Error::UserDataTaken)?;
            data.downcast::<UserCell<T>>()
                .map_err(|_| Error::UserDataTaken)
        })??;
        Ok(cell.value.into_inner().into_inner())
    }
}

/// Keeps a VM and one of its objects, and the VM's lock for this thread.
pub(crate) struct Pin {
    handle: Handle,
    /// The lock belongs to the thread.
    marker: PhantomData<*const ()>,
}

impl Pin {
    pub fn new(handle: &Handle) -> Result<Pin> {
        handle.inner.pin()?;
        Ok(Pin {
            handle: handle.clone(),
            marker: PhantomData,
        })
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        // SAFETY: `new` has made the pin on this thread: the type is not `Send`.
        unsafe { self.handle.inner.unpin() };
    }
}

/// A borrow of the value in a userdata; see [`AnyUserData::borrow`]. As the argument of a host function it takes a
/// userdata of the type.
pub struct UserDataRef<T: UserData> {
    cell: *const UserCell<T>,
    #[expect(dead_code, reason = "held for its Drop")]
    pin: Pin,
}

impl<T: UserData> Deref for UserDataRef<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the pin keeps the cell, and the borrow is counted.
        unsafe { &*(*self.cell).value.get() }
    }
}

impl<T: UserData> Drop for UserDataRef<T> {
    fn drop(&mut self) {
        // SAFETY: the pin, which is dropped afterwards, keeps the cell.
        drop(Borrow(unsafe { &(*self.cell).borrows }));
    }
}

/// A mutable borrow of the value in a userdata; see [`AnyUserData::borrow_mut`].
pub struct UserDataRefMut<T: UserData> {
    cell: *const UserCell<T>,
    #[expect(dead_code, reason = "held for its Drop")]
    pin: Pin,
}

impl<T: UserData> Deref for UserDataRefMut<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the pin keeps the cell, and the borrow is exclusive.
        unsafe { &*(*self.cell).value.get() }
    }
}

impl<T: UserData> DerefMut for UserDataRefMut<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`.
        unsafe { &mut *(*self.cell).value.get() }
    }
}

impl<T: UserData> Drop for UserDataRefMut<T> {
    fn drop(&mut self) {
        // SAFETY: the pin, which is dropped afterwards, keeps the cell.
        drop(Borrow(unsafe { &(*self.cell).borrows }));
    }
}

impl<T: UserData> FromLua for UserDataRef<T> {
    fn from_lua(value: Value, vm: &Vm) -> Result<UserDataRef<T>> {
        through_raw(value, vm)
    }

    fn from_raw(raw: RawValue, cx: Context<'_>) -> Result<UserDataRef<T>> {
        cell_of::<T>(raw.0)?;
        AnyUserData(cx.handle(raw.0)).borrow()
    }
}

impl<T: UserData> FromLua for UserDataRefMut<T> {
    fn from_lua(value: Value, vm: &Vm) -> Result<UserDataRefMut<T>> {
        through_raw(value, vm)
    }

    fn from_raw(raw: RawValue, cx: Context<'_>) -> Result<UserDataRefMut<T>> {
        cell_of::<T>(raw.0)?;
        AnyUserData(cx.handle(raw.0)).borrow_mut()
    }
}

impl Vm {
    /// Makes a userdata that holds `value`.
    ///
    /// ```
    /// use perilune::{UserData, Vm};
    ///
    /// struct Token;
    /// impl UserData for Token {}
    ///
    /// let vm = Vm::new();
    /// vm.globals().set("token", vm.create_userdata(Token)?)?;
    /// assert!(vm.load("return tostring(token)").eval::<String>()?.starts_with("Token: "));
    /// # Ok::<(), perilune::Error>(())
    /// ```
    pub fn create_userdata<T: UserData>(&self, value: T) -> Result<AnyUserData> {
        self.section(|cx| {
            let raw = value.into_raw(cx)?;
            Ok(AnyUserData(cx.handle(raw.0)))
        })
    }

    /// Makes a host function of its code and closure.
    pub(crate) fn new_function<F: Send + 'static>(
        &self,
        code: HostCode,
        signature: super::Signature,
        f: F,
    ) -> Result<Function> {
        self.inner.with(|st, shared| {
            super::vm::collect_if_due(st);
            match new_host_function(st, code, signature, f) {
                Ok(v) => Ok(Function(Handle::new(st, shared, &self.inner, v))),
                Err(Raised) => Err(Error::Memory),
            }
        })?
    }

    fn new_dispatcher(
        &self,
        code: NativeFn,
        first: &Table,
        second: &Table,
        last: Option<&Function>,
    ) -> Result<Function> {
        self.inner.with(|st, shared| {
            let last = last.map_or(Raw::NIL, |f| f.0.get(st));
            let upvalues = [first.0.get(st), second.0.get(st), last];
            let native = st
                .rt
                .new_native(code, &upvalues)
                .map_err(|_| Error::Memory)?;
            Ok(Function(Handle::new(
                st,
                shared,
                &self.inner,
                Raw::native(native),
            )))
        })?
    }
}
