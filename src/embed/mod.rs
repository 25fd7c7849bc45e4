//! The embedding API: VMs, handles to their values, conversions, host values, errors and limits.
//!
//! - [`vm`]: the VM and its settings; [`chunk`]: loading source;
//! - [`table`], [`string`], [`function`], [`coroutine`], [`userdata`]: handles by type, on top of [`handle`];
//! - [`hook`]: hooks; [`value`], [`convert`]: values and conversions; [`error`]: errors and how they cross the boundary;
//! - [`shared`]: the lock and why all this is sound. Only that module creates references to the state.

mod chunk;
mod convert;
mod coroutine;
mod error;
mod function;
mod handle;
mod hook;
mod shared;
mod string;
mod table;
mod userdata;
mod value;
mod vm;

pub use chunk::Chunk;
pub use convert::{Bytes, FromLua, FromLuaMulti, IntoLua, IntoLuaMulti};
pub use coroutine::{Coroutine, CoroutineStatus};
pub use error::{Error, Result, RuntimeError};
pub use function::{Function, Signature, ValueKind};
pub use hook::{HookContext, HookEvent, HookTriggers};
pub use string::{BorrowedBytes, LuaString};
pub use table::{Table, TablePairs, TableSequence};
pub use userdata::{
    AnyUserData, MetaMethod, UserData, UserDataMethods, UserDataRef, UserDataRefMut,
};
pub use value::{LightUserData, MultiValue, Value, Variadic};
pub use vm::{CancelHandle, Vm, VmBuilder};
