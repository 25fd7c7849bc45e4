//! Errors, on their way to the host and from it.
//!
//! An error of a host function travels through Lua as a userdata that holds the [`Error`], so `pcall` catches it like
//! any other and the host that gets it finds the original again.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use super::convert::root;
use super::shared::{Inner, Shared};
use super::userdata::new_userdata;
use super::value::Value;
use crate::bytecode::VerifyError;
use crate::runtime::metatable::Event;
use crate::runtime::object::Gc;
use crate::runtime::table::Table;
use crate::runtime::value::{Tag, Value as Raw};
use crate::tier1::{Args, NativeResult, Raised, State};

/// The result of most operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation failed.
///
/// ```
/// use perilune::{Error, Vm};
///
/// let vm = Vm::new();
/// let error = vm.load("error('no luck')").name("=luck").exec().unwrap_err();
/// assert_eq!(error.to_string().lines().next(), Some("luck:1: no luck"));
/// assert!(matches!(vm.load("x = = 1").exec(), Err(Error::Syntax { .. })));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The source is not Lua.
    Syntax {
        /// The message, with its position.
        message: String,
        /// The source ends where something more is expected: an interactive program may ask for another line.
        incomplete_input: bool,
    },
    /// An error was raised while Lua ran, and nothing caught it.
    Runtime(Box<RuntimeError>),
    /// Bytecode that the verifier does not accept.
    Bytecode(Box<VerifyError>),
    /// Memory, or the VM's limit of it, is exhausted.
    Memory,
    /// The run was [cancelled](super::CancelHandle).
    Cancelled,
    /// More values were passed than fit on the stack.
    StackOverflow,
    /// A Lua value cannot be converted to the Rust type.
    FromLua {
        /// What is needed, in Lua's terms.
        expected: Cow<'static, str>,
        /// The type of the value.
        got: &'static str,
        /// Why the value does not do, if its type is right.
        message: Option<Cow<'static, str>>,
    },
    /// A Rust value cannot be converted to a Lua value.
    IntoLua {
        /// The Rust type.
        from: &'static str,
        /// Why not.
        message: Cow<'static, str>,
    },
    /// An argument of a host function, counted from 1, could not be converted.
    BadArgument {
        /// Which one.
        position: usize,
        /// Why.
        cause: Arc<Error>,
    },
    /// The value in a userdata is borrowed in a way that excludes this use.
    UserDataBorrowed {
        /// The borrow in progress is a mutable one.
        mutably: bool,
    },
    /// The value in a userdata has been taken.
    UserDataTaken,
    /// The handle belongs to another VM.
    WrongVm,
    /// The VM has been dropped.
    Dropped,
    /// The VM is at work on something that must not be disturbed (a collection that drops host values, a
    /// warning), or a panic has left it unusable.
    Busy,
    /// An error of the host, see [`Error::external`].
    External(Arc<dyn StdError + Send + Sync>),
}

/// An error that Lua code raised or let pass; see [`Error::Runtime`].
#[derive(Clone, Debug)]
pub struct RuntimeError {
    /// The error value as text.
    pub message: String,
    /// The error value.
    pub value: Value,
    /// The calls in progress when it was raised.
    pub traceback: Option<String>,
    /// The host's error, if a host function has raised it.
    pub source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Wraps an error of the host. Lua sees a value whose `tostring` is the error's text.
    ///
    /// ```
    /// use perilune::{Error, Vm};
    ///
    /// let vm = Vm::new();
    /// let parse = vm.create_function(|_, s: String| s.parse::<u8>().map_err(Error::external))?;
    /// let error = parse.call::<u8>("many").unwrap_err();
    /// assert!(error.downcast_ref::<std::num::ParseIntError>().is_some());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn external(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        Error::External(error.into().into())
    }

    /// An error with a message.
    ///
    /// ```
    /// use perilune::Error;
    ///
    /// assert_eq!(Error::message("out of cheese").to_string(), "out of cheese");
    /// ```
    pub fn message(message: impl Into<String>) -> Error {
        Error::external(message.into())
    }

    /// The host's error of type `E` behind this one.
    ///
    /// ```
    /// use perilune::Error;
    ///
    /// let error = Error::external(std::fmt::Error);
    /// assert!(error.downcast_ref::<std::fmt::Error>().is_some());
    /// ```
    pub fn downcast_ref<E: StdError + 'static>(&self) -> Option<&E> {
        let mut next = self.source();
        while let Some(e) = next {
            if let Some(found) = e.downcast_ref() {
                return Some(found);
            }
            next = e.source();
        }
        None
    }

    pub(crate) fn conversion(expected: &'static str, v: Raw) -> Error {
        Error::FromLua {
            expected: expected.into(),
            got: type_name(v),
            message: None,
        }
    }

    #[cold]
    pub(crate) fn unsuitable(
        expected: &'static str,
        v: Raw,
        message: impl Into<Cow<'static, str>>,
    ) -> Error {
        Error::FromLua {
            expected: expected.into(),
            got: type_name(v),
            message: Some(message.into()),
        }
    }

    /// This error, of the argument at `position`.
    #[cold]
    pub(crate) fn at(self, position: u32) -> Error {
        match self {
            Error::BadArgument { .. } => self,
            _ => Error::BadArgument {
                position: position as usize,
                cause: Arc::new(self),
            },
        }
    }

    /// This error, if it is not about an argument.
    #[cold]
    pub(crate) fn of_result(self) -> Error {
        match self {
            Error::BadArgument { cause, .. } => Arc::unwrap_or_clone(cause),
            e => e,
        }
    }
}

/// The type name in conversion errors.
pub(crate) fn type_name(v: Raw) -> &'static str {
    if v.tag() == Tag::LIGHT {
        "light userdata"
    } else {
        v.tag().type_name()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Syntax { message, .. } => f.write_str(message),
            Error::Runtime(e) => {
                f.write_str(&e.message)?;
                match &e.traceback {
                    Some(traceback) => write!(f, "\n{traceback}"),
                    None => Ok(()),
                }
            }
            Error::Bytecode(e) => e.fmt(f),
            Error::Memory => f.write_str("not enough memory"),
            Error::Cancelled => f.write_str("cancelled"),
            Error::StackOverflow => f.write_str("stack overflow"),
            Error::FromLua {
                message: Some(message),
                ..
            } => f.write_str(message),
            Error::FromLua { expected, got, .. } => write!(f, "{expected} expected, got {got}"),
            Error::IntoLua { from, message } => {
                write!(f, "cannot convert {from} to a Lua value: {message}")
            }
            Error::BadArgument { position, cause } => {
                write!(f, "bad argument #{position} ({cause})")
            }
            Error::UserDataBorrowed { mutably: true } => {
                f.write_str("userdata is already mutably borrowed")
            }
            Error::UserDataBorrowed { mutably: false } => {
                f.write_str("userdata is already borrowed")
            }
            Error::UserDataTaken => f.write_str("userdata has been taken"),
            Error::WrongVm => f.write_str("value belongs to another VM"),
            Error::Dropped => f.write_str("the VM has been dropped"),
            Error::Busy => f.write_str("the VM cannot be used at this point"),
            Error::External(e) => e.fmt(f),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Error::Runtime(e) => e.source.as_ref().map(|e| &**e as _),
            Error::BadArgument { cause, .. } => Some(&**cause),
            Error::Bytecode(e) => Some(&**e),
            Error::External(e) => Some(&**e),
            _ => None,
        }
    }
}

/// The host value in an error userdata.
struct HostError(Error);

/// The error in a value, if it is an error of the host.
pub(crate) fn of_value(v: Raw) -> Option<Error> {
    let userdata = v.as_userdata()?;
    // SAFETY: nobody changes the field while this reads it, and no host code runs.
    let data = unsafe { &*userdata.data.as_ptr() };
    Some(data.as_ref()?.downcast_ref::<HostError>()?.0.clone())
}

/// An error of the host as a Lua value.
pub(crate) fn to_value(
    st: &mut State,
    shared: &Shared,
    error: Error,
) -> std::result::Result<Raw, Raised> {
    let metatable = match shared.error_metatable.get() {
        Some(slot) => st.handles.get(slot),
        None => {
            let m = Raw::table(error_metatable(st)?);
            shared.error_metatable.set(Some(shared.root(st, m)));
            m
        }
    };
    new_userdata(st, Box::new(HostError(error)), metatable.as_table()).map(Raw::userdata)
}

fn error_metatable(st: &mut State) -> std::result::Result<Gc<Table>, Raised> {
    let root = st.rt.shapes.root_for(3);
    let t = st.rt.new_table(root, 0);
    let t = st.check_memory(t)?;
    let tostring = st.rt.new_native(error_tostring, &[]);
    let tostring = Raw::native(st.check_memory(tostring)?);
    let name = st.string_value(b"error")?;
    for (event, v) in [
        (Event::ToString, tostring),
        (Event::Name, name),
        (Event::Metatable, Raw::FALSE),
    ] {
        let key = Raw::string(st.rt.events[event as usize]);
        let stored = st.rt.set(t, key, v);
        st.check_store(stored)?;
    }
    Ok(t)
}

fn error_tostring(st: &mut State, args: Args) -> NativeResult {
    let text = match of_value(st.arg(args, 0)) {
        Some(error) => error.to_string(),
        None => return Err(st.arg_type_error(args, 0, "error")),
    };
    let s = st.string_value(text.as_bytes())?;
    st.ret1(args, s)
}

/// Raises an error that a host function has returned.
#[cold]
pub(crate) fn raise(st: &mut State, shared: &Shared, inner: &Arc<Inner>, error: Error) -> Raised {
    if st.cancelling {
        return Raised;
    }
    let value = match error {
        Error::Memory => return st.raise_memory(),
        Error::Cancelled => {
            st.cancelling = true;
            Ok(Raw::NIL)
        }
        Error::BadArgument { position, cause } if matches!(*cause, Error::FromLua { .. }) => {
            return st.arg_error(position as u32 - 1, &cause.to_string());
        }
        Error::Runtime(e) => match e.value.raw_in(st, shared, inner) {
            Ok(v) => Ok(v),
            Err(_) => to_value(st, shared, Error::Runtime(e)),
        },
        error => to_value(st, shared, error),
    };
    match value {
        Ok(v) => st.raise(v),
        Err(raised) => raised,
    }
}

/// The host's form of an error value that nothing in Lua has caught.
#[cold]
pub(crate) fn from_lua(
    st: &mut State,
    shared: &Shared,
    inner: &Arc<Inner>,
    v: Raw,
    traceback: Option<Vec<u8>>,
) -> Error {
    if v.as_string() == Some(st.memory_message) {
        return Error::Memory;
    }
    let traceback = traceback.map(|t| String::from_utf8_lossy(&t).into_owned());
    let host = of_value(v);
    let message = match &host {
        Some(e) => e.to_string(),
        None => text_of(st, v),
    };
    let source = host.map(|e| match e {
        Error::External(e) => e,
        e => Arc::new(e),
    });
    let value = root(st, shared, inner, v);
    Error::Runtime(Box::new(RuntimeError {
        message,
        value,
        traceback,
        source,
    }))
}

fn text_of(st: &mut State, v: Raw) -> String {
    if v.tag().is_number()
        && let Ok(s) = st.number_to_str(v)
    {
        return String::from_utf8_lossy(s.as_bytes()).into_owned();
    }
    match v.as_string() {
        Some(s) => String::from_utf8_lossy(s.as_bytes()).into_owned(),
        None => format!("(error object is a {} value)", v.tag().type_name()),
    }
}
