//! The `package` library and `require`.
//!
//! The searchers and `require` have the `package` table as an upvalue. Modules in C cannot be loaded; the searchers
//! for them look for files all the same, and say so when they find one.

use super::io::path_of;
use super::load::{ANY, load_file};
use super::support::index;
use super::{Fields, library, running, set_field};
use crate::runtime::object::Gc;
use crate::runtime::table::Table;
use crate::runtime::value::Value;
use crate::tier1::{Args, NativeFn, NativeResult, Raised, State};

const LUA_PATH: &str = "/usr/local/share/lua/5.4/?.lua;/usr/local/share/lua/5.4/?/init.lua;\
    /usr/local/lib/lua/5.4/?.lua;/usr/local/lib/lua/5.4/?/init.lua;./?.lua;./?/init.lua";
const C_PATH: &str = "/usr/local/lib/lua/5.4/?.so;/usr/local/lib/lua/5.4/loadall.so;./?.so";
/// The separators of directories and templates, the mark in a template, and two that C modules use.
const CONFIG: &str = "/\n;\n?\n!\n-\n";
/// Registry keys.
pub const LOADED: &str = "_LOADED";
/// If this one is true, the environment is not looked at.
pub const NO_ENVIRONMENT: &str = "LUA_NOENV";
const PRELOAD: &str = "_PRELOAD";
const NO_C_MODULES: &str = "dynamic libraries not enabled; check your Lua installation";

/// Makes the library's table, and adds `require` to the globals.
pub fn open(st: &mut State, globals: &mut Fields) -> Result<Gc<Table>, Raised> {
    let key = st.string_value(NO_ENVIRONMENT.as_bytes())?;
    let environment = st.rt.get(st.registry, key).is_falsy();
    let path = st.string_value(&initial_path(environment, "LUA_PATH", LUA_PATH))?;
    let c_path = st.string_value(&initial_path(environment, "LUA_CPATH", C_PATH))?;
    let config = st.string_value(CONFIG.as_bytes())?;
    let loaded = registry_table(st, LOADED)?;
    let preload = registry_table(st, PRELOAD)?;
    let list = library(st, &[], &[])?;
    let package = library(
        st,
        &[("loadlib", loadlib), ("searchpath", searchpath)],
        &[
            ("path", path),
            ("cpath", c_path),
            ("config", config),
            ("loaded", Value::table(loaded)),
            ("preload", Value::table(preload)),
            ("searchers", Value::table(list)),
        ],
    )?;
    let searchers: [NativeFn; 4] = [search_preload, search_lua, search_c, search_c_root];
    for (i, searcher) in searchers.into_iter().enumerate() {
        let f = st.rt.new_native(searcher, &[Value::table(package)]);
        let f = st.check_memory(f)?;
        let stored = st.rt.set_int(list, i as i64 + 1, Value::native(f));
        st.check_store(stored)?;
    }
    globals.add_function(st, "require", require, &[Value::table(package)])?;
    Ok(package)
}

/// A table in the registry, made on first use.
pub fn registry_table(st: &mut State, key: &str) -> Result<Gc<Table>, Raised> {
    let k = st.string_value(key.as_bytes())?;
    if let Some(t) = st.rt.get(st.registry, k).as_table() {
        return Ok(t);
    }
    let t = library(st, &[], &[])?;
    let registry = st.registry;
    set_field(st, registry, key, Value::table(t))?;
    Ok(t)
}

/// The default, or a path from the environment, in which `;;` stands for the default.
fn initial_path(environment: bool, name: &str, default: &str) -> Vec<u8> {
    use std::os::unix::ffi::OsStringExt;
    if !environment {
        return default.into();
    }
    let set = std::env::var_os(format!("{name}_5_4")).or_else(|| std::env::var_os(name));
    let Some(path) = set.map(|path| path.into_vec()) else {
        return default.into();
    };
    let Some(at) = memchr::memmem::find(&path, b";;") else {
        return path;
    };
    let mut full = Vec::new();
    if at > 0 {
        full.extend_from_slice(&path[..at + 1]);
    }
    full.extend_from_slice(default.as_bytes());
    if at + 2 < path.len() {
        full.extend_from_slice(&path[at + 1..]);
    }
    full
}

fn loadlib(st: &mut State, args: Args) -> NativeResult {
    st.arg_str(args, 0)?;
    st.arg_str(args, 1)?;
    let message = st.string_value(NO_C_MODULES.as_bytes())?;
    let place = st.string_value(b"absent")?;
    st.ret(args, &[Value::NIL, message, place])
}

// Searching files.

fn replace(st: &mut State, text: &[u8], from: &[u8], to: &[u8]) -> Result<Vec<u8>, Raised> {
    // The result may be much longer than what it is made from: it must have room in the heap, too.
    let count = memchr::memmem::find_iter(text, from).count();
    let most = text.len().saturating_add(count.saturating_mul(to.len()));
    let room = st.rt.heap.charge(most);
    st.check_memory(room)?;
    st.rt.heap.discharge(most);
    let mut out = Vec::with_capacity(most);
    let mut rest = text;
    while let Some(at) = memchr::memmem::find(rest, from) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    out.extend_from_slice(rest);
    Ok(out)
}

/// A file's name, or a message that lists those tried.
type Found = Result<Vec<u8>, Vec<u8>>;

/// The first file that can be read of those the templates in `path` give for `name`.
fn search(st: &mut State, name: &[u8], path: &[u8], separator: &[u8], directory: &[u8]) -> Result<Found, Raised> {
    let name = match separator {
        [] => name.to_vec(),
        _ => replace(st, name, separator, directory)?,
    };
    let path = replace(st, path, b"?", &name)?;
    for file in path.split(|&b| b == b';') {
        if std::fs::File::open(path_of(file)).is_ok() {
            return Ok(Ok(file.to_vec()));
        }
        st.check_cancelled()?;
    }
    let list = replace(st, &path, b";", b"'\n\tno file '")?;
    Ok(Err([b"no file '", &list[..], b"'"].concat()))
}

fn searchpath(st: &mut State, args: Args) -> NativeResult {
    let name = st.arg_str(args, 0)?.as_bytes();
    let path = st.arg_str(args, 1)?.as_bytes();
    let separator = if st.arg(args, 2).is_nil() { b"." } else { st.arg_str(args, 2)?.as_bytes() };
    let directory = if st.arg(args, 3).is_nil() { b"/" } else { st.arg_str(args, 3)?.as_bytes() };
    match search(st, name, path, separator, directory)? {
        Ok(file) => {
            let file = st.string_value(&file)?;
            st.ret1(args, file)
        }
        Err(message) => {
            let message = st.string_value(&message)?;
            st.ret2(args, Value::NIL, message)
        }
    }
}

// Searchers.

fn package_field(st: &mut State, args: Args, name: &str) -> Result<Value, Raised> {
    let package = running(st, args).upvalue(0);
    let key = st.string_value(name.as_bytes())?;
    index(st, package, key)
}

/// Looks for a module along one of the package table's paths.
fn search_module(st: &mut State, args: Args, name: &[u8], field: &str) -> Result<Found, Raised> {
    let mut path = package_field(st, args, field)?;
    if path.tag().is_number() {
        path = Value::string(st.number_to_str(path)?);
    }
    match path.as_string() {
        Some(path) => search(st, name, path.as_bytes(), b".", b"/"),
        None => Err(st.raise_text(&format!("'package.{field}' must be a string"))),
    }
}

fn ret_message(st: &mut State, args: Args, text: &[u8]) -> NativeResult {
    let v = st.string_value(text)?;
    st.ret1(args, v)
}

fn load_error(st: &mut State, name: &[u8], file: &[u8], message: &[u8]) -> Raised {
    let text = [b"error loading module '", name, b"' from file '", file, b"':\n\t", message].concat();
    st.raise_bytes(&text)
}

fn search_preload(st: &mut State, args: Args) -> NativeResult {
    let name = st.arg_str(args, 0)?;
    let preload = registry_table(st, PRELOAD)?;
    let loader = index(st, Value::table(preload), Value::string(name))?;
    if loader.is_nil() {
        return ret_message(st, args, &[b"no field package.preload['", name.as_bytes(), b"']"].concat());
    }
    let data = st.string_value(b":preload:")?;
    st.ret2(args, loader, data)
}

fn search_lua(st: &mut State, args: Args) -> NativeResult {
    let name = st.arg_str(args, 0)?.as_bytes();
    let file = match search_module(st, args, name, "path")? {
        Ok(file) => file,
        Err(message) => return ret_message(st, args, &message),
    };
    match load_file(st, Some(&file), ANY)? {
        Ok(closure) => {
            let file = st.string_value(&file)?;
            st.ret2(args, Value::closure(closure), file)
        }
        Err(message) => {
            let message = message.as_string().map_or(&b""[..], |s| s.as_bytes());
            Err(load_error(st, name, &file, message))
        }
    }
}

fn search_c(st: &mut State, args: Args) -> NativeResult {
    let name = st.arg_str(args, 0)?.as_bytes();
    match search_module(st, args, name, "cpath")? {
        Ok(file) => Err(load_error(st, name, &file, NO_C_MODULES.as_bytes())),
        Err(message) => ret_message(st, args, &message),
    }
}

/// Looks for a C library that has the module as a part.
fn search_c_root(st: &mut State, args: Args) -> NativeResult {
    let name = st.arg_str(args, 0)?.as_bytes();
    let Some(dot) = memchr::memchr(b'.', name) else {
        return st.ret0();
    };
    match search_module(st, args, &name[..dot], "cpath")? {
        Ok(file) => Err(load_error(st, name, &file, NO_C_MODULES.as_bytes())),
        Err(message) => ret_message(st, args, &message),
    }
}

fn require(st: &mut State, args: Args) -> NativeResult {
    let name = st.arg_str(args, 0)?;
    let key = Value::string(name);
    let loaded = Value::table(registry_table(st, LOADED)?);
    let module = index(st, loaded, key)?;
    if !module.is_falsy() {
        return st.ret1(args, module);
    }
    let (loader_at, data) = find_loader(st, args, key)?;
    // The loader's slots are behind the window, which must hold what is needed after the call: its data.
    let frame_top = st.frame().top;
    st.reserve(loader_at + 4)?;
    // SAFETY: room was made above; the loader and its data lie at `loader_at`.
    unsafe {
        let loader = Value::load(st.slot(loader_at));
        Value::store(st.slot(frame_top), data);
        Value::store(st.slot(frame_top + 1), loader);
        Value::store(st.slot(frame_top + 2), key);
        Value::store(st.slot(frame_top + 3), data);
    }
    st.frame_mut().top = frame_top + 1;
    let n = st.call(frame_top + 1, 2)?;
    // SAFETY: results are initialised.
    let mut module = if n == 0 { Value::NIL } else { unsafe { Value::load(st.slot(frame_top + 1)) } };
    if !module.is_nil() {
        super::support::set_index(st, loaded, key, module)?;
    }
    module = index(st, loaded, key)?;
    if module.is_nil() {
        module = Value::TRUE;
        super::support::set_index(st, loaded, key, module)?;
    }
    st.ret2(args, module, data)
}

/// Asks the searchers for a loader; returns the stack index where it lies, and its data.
fn find_loader(st: &mut State, args: Args, key: Value) -> Result<(u32, Value), Raised> {
    let Some(searchers) = package_field(st, args, "searchers")?.as_table() else {
        return Err(st.raise_text("'package.searchers' must be a table"));
    };
    let mut message = Vec::new();
    for i in 1.. {
        let searcher = searchers.get_int(i);
        if searcher.is_nil() {
            break;
        }
        let (at, n) = st.call_value(searcher, &[key])?;
        // SAFETY: results are initialised.
        let result = |i: u32| if i < n { unsafe { Value::load(st.slot(at + i)) } } else { Value::NIL };
        let (loader, data) = (result(0), result(1));
        if loader.tag().is_function() {
            return Ok((at, data));
        }
        if loader.is_string() || loader.tag().is_number() {
            let text = match loader.as_string() {
                Some(text) => text,
                None => st.number_to_str(loader)?,
            };
            message.extend_from_slice(b"\n\t");
            message.extend_from_slice(text.as_bytes());
        }
    }
    let name = key.as_string().map_or(&b""[..], |s| s.as_bytes());
    let text = [b"module '", name, b"' not found:", &message[..]].concat();
    Err(st.raise_bytes(&text))
}
