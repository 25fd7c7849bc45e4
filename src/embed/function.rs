//! Functions: calling them, and making them of Rust closures.
//!
//! A host function is a native object with one upvalue: a userdata that holds a [`HostFunction`], the closure behind a
//! description of its Rust signature. The native's code is monomorphised over the closure's type, so a call finds the
//! closure without a virtual call and converts scalars straight from the stack. Natives of this kind are marked
//! [`Builtin::Host`]: scripts must not get at their upvalue, on whose type the code relies.

use super::Vm;
use super::convert::{FromLuaMulti, IntoLuaMulti, Window};
use super::error::{Error, Result};
use super::handle::handle_type;
use super::shared::{Context, Section, enter, enter_directly};
use super::userdata::{Contained, new_userdata};
use crate::bytecode::{FunctionDescription, binary, listing};
use crate::runtime::function::Native;
use crate::runtime::object::Gc;
use crate::runtime::value::Value as Raw;
use crate::tier1::native::{DirectCall, DirectFn, HostHead, host_value};
use crate::tier1::{Args, Builtin, NativeFn, NativeResult, Raised, State};

/// What is known of a value that crosses the boundary; see [`Signature`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ValueKind {
    /// An `i64`.
    Integer,
    /// An `f64`.
    Float,
    /// A `bool`.
    Boolean,
    /// One value of any kind.
    Any,
    /// Any number of values.
    Rest,
}

/// The Rust signature of a host function. Compiled code passes integers, floats and booleans without boxing them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signature {
    /// The arguments.
    pub arguments: Vec<ValueKind>,
    /// The results.
    pub results: Vec<ValueKind>,
}

/// What the upvalue of a host function holds.
#[repr(C)]
pub(crate) struct HostFunction<F> {
    head: HostHead,
    signature: Signature,
    call: Contained<F>,
}

/// The closure of the running host function.
///
/// # Safety
/// The running function must have been made by [`new_host_function`] with a closure of this type, and `f` be used only
/// until it returns.
#[inline(always)]
pub(crate) unsafe fn running<'a, F>(st: &State, args: Args) -> &'a F {
    // SAFETY: the running function lies below its window, which keeps it alive. It is a host function with such a closure.
    unsafe {
        let native: Gc<Native> = Gc::from_addr(Raw::payload_at(st.slot(args.base - 1)));
        &(*host_value(native).cast::<HostFunction<F>>()).call
    }
}

/// The code of a host function, called by tier 1 and by machine code.
#[derive(Clone, Copy)]
pub(crate) struct HostCode {
    pub called: NativeFn,
    pub direct: DirectFn,
}

/// Makes a host function.
pub(crate) fn new_host_function<F: Send + 'static>(
    st: &mut State,
    code: HostCode,
    signature: Signature,
    call: F,
) -> std::result::Result<Raw, Raised> {
    let data = new_userdata(
        st,
        Box::new(HostFunction {
            head: HostHead {
                direct: code.direct,
            },
            signature,
            call: Contained::new(call),
        }),
        None,
    )?;
    let native = st.rt.new_native(code.called, &[Raw::userdata(data)]);
    let native = st.check_memory(native)?;
    // SAFETY: nobody else knows the object yet.
    unsafe { (*native.as_ptr()).builtin = Builtin::Host };
    Ok(Raw::native(native))
}

/// The signature of a closure.
pub(crate) fn signature<A: FromLuaMulti, R: IntoLuaMulti>() -> Signature {
    let (mut arguments, mut results) = (Vec::new(), Vec::new());
    A::kinds(&mut arguments);
    R::kinds(&mut results);
    Signature { arguments, results }
}

/// The code of a host function with a closure of type `F`.
pub(crate) fn code<F, A, R>() -> HostCode
where
    F: Fn(&Vm, A) -> Result<R>,
    A: FromLuaMulti,
    R: IntoLuaMulti,
{
    HostCode {
        called: trampoline::<F, A, R>,
        direct: direct::<F, A, R>,
    }
}

fn trampoline<F, A, R>(st: &mut State, args: Args) -> NativeResult
where
    F: Fn(&Vm, A) -> Result<R>,
    A: FromLuaMulti,
    R: IntoLuaMulti,
{
    // SAFETY: `code` is paired with a closure of the type.
    let f: &F = unsafe { running(st, args) };
    enter(st, |cx| convert_and_call(f, args, cx))
}

unsafe extern "C" fn direct<F, A, R>(call: *mut DirectCall, base: u32, count: u32) -> i32
where
    F: Fn(&Vm, A) -> Result<R>,
    A: FromLuaMulti,
    R: IntoLuaMulti,
{
    // SAFETY: machine code makes a call, and the state is not used by others; `code` is paired with a closure of the type.
    unsafe {
        let args = Args { base, count };
        let f: &F = running(&*(*call).state, args);
        enter_directly(call, |cx| convert_and_call(f, args, cx))
    }
}

#[inline(always)]
fn convert_and_call<F, A, R>(f: &F, args: Args, cx: Context<'_>) -> Result<i32>
where
    F: Fn(&Vm, A) -> Result<R>,
    A: FromLuaMulti,
    R: IntoLuaMulti,
{
    let window = Window {
        first: args.base,
        count: args.count,
        skipped: 0,
    };
    let a = A::read_all(window, cx)?;
    f(cx.vm, a)?.ret(args.base, cx)
}

handle_type! {
    /// A function of Lua or of the host.
    ///
    /// ```
    /// use perilune::{Function, Vm};
    ///
    /// let vm = Vm::new();
    /// let add: Function = vm.load("function(a, b) return a + b end").eval()?;
    /// assert_eq!(add.call::<i64>((1, 2))?, 3);
    /// # Ok::<(), perilune::Error>(())
    /// ```
    Function, "function", |v| v.tag().is_function()
}

impl Function {
    /// Calls the function and converts its results.
    ///
    /// Errors that nothing in Lua catches, and arguments and results that cannot be converted, are returned. If a
    /// host function panics in the course of the call, the panic goes on here.
    ///
    /// ```
    /// let vm = perilune::Vm::new();
    /// let upper: perilune::Function = vm.load("string.upper").eval()?;
    /// assert_eq!(upper.call::<String>("moon")?, "MOON");
    /// # Ok::<(), perilune::Error>(())
    /// ```
    #[inline]
    pub fn call<R: FromLuaMulti>(&self, args: impl IntoLuaMulti) -> Result<R> {
        let section = Section::new(&self.0.inner)?;
        let cx = section.context();
        cx.push(cx.with(|st| self.0.get(st)))?;
        args.push_all(cx)?;
        let count = section.call()?;
        let window = Window {
            first: section.first(),
            count,
            skipped: 0,
        };
        R::read_all(window, cx).map_err(Error::of_result)
    }

    /// Like [`call`](Function::call), with a message handler. If nothing in Lua catches an error, the handler is called with the
    /// error's value where it has been raised, and what it returns becomes the value: until then, all functions are still in
    /// progress, for example for `debug.getinfo`.
    ///
    /// The handler also gets the errors of Lua code that host functions inside the call have called in their turn.
    ///
    /// ```
    /// let vm = perilune::Vm::new();
    /// let f = vm.load("local secret = 42 error('lost')").into_function()?;
    /// let handler = vm
    ///     .load("function(e) return e .. ', secret is ' .. select(2, debug.getlocal(3, 1)) end")
    ///     .eval()?;
    /// let error = f.call_with_handler::<()>((), &handler).unwrap_err();
    /// assert!(error.to_string().contains("lost, secret is 42"));
    /// # Ok::<(), perilune::Error>(())
    /// ```
    pub fn call_with_handler<R: FromLuaMulti>(
        &self,
        args: impl IntoLuaMulti,
        handler: &Function,
    ) -> Result<R> {
        let section = Section::new(&self.0.inner)?;
        let cx = section.context();
        handler.clone().push_all(cx)?;
        cx.push(cx.with(|st| self.0.get(st)))?;
        args.push_all(cx)?;
        let count = section.call_handled()?;
        let window = Window {
            first: section.first() + 1,
            count,
            skipped: 0,
        };
        R::read_all(window, cx).map_err(Error::of_result)
    }

    /// The description of the function's bytecode, nested functions included; `None` for host functions.
    ///
    /// ```
    /// use perilune::bytecode::Op;
    ///
    /// let vm = perilune::Vm::new();
    /// let description = vm.load("return ...").into_function()?.description()?.unwrap();
    /// assert!(description.vararg);
    /// assert_eq!(description.code[0].instr.op(), Op::VARARG);
    /// # Ok::<(), perilune::Error>(())
    /// ```
    pub fn description(&self) -> Result<Option<FunctionDescription>> {
        self.0.inner.with(|st, _| {
            let closure = self.0.get(st).as_closure()?;
            Some(FunctionDescription::of(&closure.proto))
        })
    }

    /// The function as a binary chunk, which [`Vm::load`] takes; `None` for a host function. With `strip` it is without the
    /// names and lines that messages show. Captured variables are not part of it: a loaded function has new ones, of which the
    /// first is the table of globals and the others are nil.
    ///
    /// ```
    /// let vm = perilune::Vm::new();
    /// let chunk = vm.load("return ... + 1").into_function()?.dump(true)?.unwrap();
    /// assert_eq!(vm.load(&chunk).call::<i64>(41)?, 42);
    /// assert!(vm.load(&chunk[..40]).exec().is_err());
    /// # Ok::<(), perilune::Error>(())
    /// ```
    pub fn dump(&self, strip: bool) -> Result<Option<Vec<u8>>> {
        self.0.inner.with(|st, _| {
            let proto = self.0.get(st).as_closure().map(|closure| closure.proto);
            let Some(proto) = proto.filter(|proto| binary::is_writable(proto)) else {
                return Ok(None);
            };
            let mut chunk = Vec::new();
            binary::write(&proto, strip, &mut |piece| -> Result<()> {
                chunk.try_reserve(piece.len()).map_err(|_| Error::Memory)?;
                chunk.extend_from_slice(piece);
                Ok(())
            })?;
            Ok(Some(chunk))
        })?
    }

    /// The bytecode of a Lua function and of all functions inside it, for people; `None` for a host function. Shows
    /// the instructions in their present form, which changes as they run.
    ///
    /// ```
    /// let vm = perilune::Vm::new();
    /// let f = vm.load("return 1").into_function()?;
    /// assert!(f.listing()?.unwrap().contains("RETURN"));
    /// # Ok::<(), perilune::Error>(())
    /// ```
    pub fn listing(&self) -> Result<Option<String>> {
        self.0.inner.with(|st, _| {
            let proto = self.0.get(st).as_closure()?.proto;
            let mut text = String::new();
            listing::list(proto, &mut text).expect("a string takes all text");
            Some(text)
        })
    }

    /// The Rust signature, if this is a function made by [`Vm::create_function`] and its relatives.
    ///
    /// ```
    /// use perilune::{Signature, ValueKind, Vm};
    ///
    /// let vm = Vm::new();
    /// let f = vm.create_function(|_, (a, b): (i64, String)| Ok(a as f64 + b.len() as f64))?;
    /// let signature = f.signature()?.unwrap();
    /// assert_eq!(signature.arguments, [ValueKind::Integer, ValueKind::Any]);
    /// assert_eq!(signature.results, [ValueKind::Float]);
    /// # Ok::<(), perilune::Error>(())
    /// ```
    pub fn signature(&self) -> Result<Option<Signature>> {
        self.0.inner.with(|st, _| {
            let native = self
                .0
                .get(st)
                .as_native()
                .filter(|n| n.builtin == Builtin::Host)?;
            // SAFETY: a host function; the signature comes first, whatever the closure.
            Some(unsafe {
                (*host_value(native).cast::<HostFunction<()>>())
                    .signature
                    .clone()
            })
        })
    }
}
