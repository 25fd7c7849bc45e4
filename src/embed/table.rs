//! Tables.

use std::marker::PhantomData;

use super::convert::{FromLua, FromLuaMulti, IntoLua, IntoLuaMulti, RawValue, Window};
use super::error::{Error, Result};
use super::handle::{Handle, handle_type};
use super::shared::Section;
use super::userdata::AnyUserData;
use super::value::Value;
use crate::runtime::metatable::Event;
use crate::runtime::value::Value as Raw;
use crate::stdlib::support;
use crate::tier1::{Raised, State};

handle_type! {
    /// A table.
    ///
    /// ```
    /// let vm = perilune::Vm::new();
    /// let t = vm.create_table()?;
    /// t.set("name", "Luna")?;
    /// t.push(10)?;
    /// assert_eq!(t.get::<String>("name")?, "Luna");
    /// assert_eq!(t.len()?, 1);
    /// # Ok::<(), perilune::Error>(())
    /// ```
    Table, "table", |v| v.is_table()
}

/// A field of any object, with metamethods.
fn get<V: FromLua>(object: &Handle, key: impl IntoLua) -> Result<V> {
    let section = Section::new(&object.inner)?;
    let cx = section.context();
    cx.push(key.into_raw(cx)?.0)?;
    let key = cx.slot(section.first());
    let raw = cx.with(|st| {
        let t = object.get(st);
        t.as_table()
            .map(|t| st.rt.get(t, key))
            .filter(|v| !v.is_nil())
    });
    let v = match raw {
        Some(v) => v,
        None => object
            .inner
            .protect(|st, _| support::index(st, object.get(st), key))?,
    };
    V::from_raw(RawValue(v), cx)
}

/// Sets a field of any object, with metamethods.
fn set(object: &Handle, key: impl IntoLua, v: impl IntoLua) -> Result<()> {
    let section = Section::new(&object.inner)?;
    let cx = section.context();
    cx.push(key.into_raw(cx)?.0)?;
    cx.push(v.into_raw(cx)?.0)?;
    let (key, v) = (cx.slot(section.first()), cx.slot(section.first() + 1));
    object.inner.protect(|st, _| {
        super::vm::collect_if_due(st);
        support::set_index(st, object.get(st), key, v)
    })
}

/// Calls a field of any object; as a method, if `with_self`.
fn call_field<R: FromLuaMulti>(
    object: &Handle,
    name: &str,
    args: impl IntoLuaMulti,
    with_self: bool,
) -> Result<R> {
    let f: Value = get(object, name)?;
    let section = Section::new(&object.inner)?;
    let cx = section.context();
    cx.push(f.into_raw(cx)?.0)?;
    if with_self {
        cx.push(cx.with(|st| object.get(st)))?;
    }
    args.push_all(cx)?;
    let count = section.call()?;
    let window = Window {
        first: section.first(),
        count,
        skipped: 0,
    };
    R::read_all(window, cx).map_err(Error::of_result)
}

/// The metatable of any object.
fn metatable(object: &Handle) -> Result<Option<Table>> {
    object.inner.with(|st, shared| {
        let m = st.rt.metatable(object.get(st))?;
        Some(Table(Handle::new(st, shared, &object.inner, Raw::table(m))))
    })
}

macro_rules! object_methods {
    ($type:ident) => {
        impl $type {
            /// The value of a field. Runs metamethods.
            pub fn get<V: FromLua>(&self, key: impl IntoLua) -> Result<V> {
                get(&self.0, key)
            }

            /// Sets a field. Runs metamethods.
            pub fn set(&self, key: impl IntoLua, value: impl IntoLua) -> Result<()> {
                set(&self.0, key, value)
            }

            /// Calls the function in a field: `object.name(...)`.
            pub fn call_function<R: FromLuaMulti>(
                &self,
                name: &str,
                args: impl IntoLuaMulti,
            ) -> Result<R> {
                call_field(&self.0, name, args, false)
            }

            /// Calls the method in a field: `object:name(...)`.
            pub fn call_method<R: FromLuaMulti>(
                &self,
                name: &str,
                args: impl IntoLuaMulti,
            ) -> Result<R> {
                call_field(&self.0, name, args, true)
            }

            /// The metatable, if there is one, whatever its `__metatable` says.
            pub fn metatable(&self) -> Result<Option<Table>> {
                metatable(&self.0)
            }
        }
    };
}

object_methods!(Table);
object_methods!(AnyUserData);

impl Table {
    fn with<R>(
        &self,
        f: impl FnOnce(
            &mut State,
            crate::runtime::object::Gc<crate::runtime::table::Table>,
        ) -> std::result::Result<R, Raised>,
    ) -> Result<R> {
        self.0.inner.protect(|st, _| {
            let t = self
                .0
                .get(st)
                .as_table()
                .expect("the handle of a table names a table");
            f(st, t)
        })
    }

    /// The value of a field, without metamethods.
    pub fn raw_get<V: FromLua>(&self, key: impl IntoLua) -> Result<V> {
        let section = Section::new(&self.0.inner)?;
        let cx = section.context();
        let key = key.into_raw(cx)?.0;
        let v = cx.with(|st| {
            self.0
                .get(st)
                .as_table()
                .map_or(Raw::NIL, |t| st.rt.get(t, key))
        });
        V::from_raw(RawValue(v), cx)
    }

    /// Sets a field, without metamethods.
    pub fn raw_set(&self, key: impl IntoLua, value: impl IntoLua) -> Result<()> {
        let section = Section::new(&self.0.inner)?;
        let cx = section.context();
        cx.push(key.into_raw(cx)?.0)?;
        cx.push(value.into_raw(cx)?.0)?;
        let (key, v) = (cx.slot(section.first()), cx.slot(section.first() + 1));
        self.with(|st, t| {
            super::vm::collect_if_due(st);
            let stored = st.rt.set(t, key, v);
            st.check_store(stored)
        })
    }

    /// The length, as the operator `#` gives it.
    ///
    /// ```
    /// let vm = perilune::Vm::new();
    /// let t: perilune::Table = vm.load("setmetatable({}, {__len = function() return 7 end})").eval()?;
    /// assert_eq!((t.len()?, t.raw_len()?), (7, 0));
    /// # Ok::<(), perilune::Error>(())
    /// ```
    pub fn len(&self) -> Result<i64> {
        self.with(|st, t| support::length(st, Raw::table(t)))
    }

    /// Whether the table has no entries at all.
    pub fn is_empty(&self) -> Result<bool> {
        self.with(|st, t| Ok(st.rt.next_index(t, 0).is_none()))
    }

    /// The length of the sequence, without metamethods.
    pub fn raw_len(&self) -> Result<u64> {
        self.with(|_, t| Ok(t.length() as u64))
    }

    /// Whether a field is not nil. Runs metamethods.
    pub fn contains_key(&self, key: impl IntoLua) -> Result<bool> {
        Ok(!self.get::<Value>(key)?.is_nil())
    }

    /// Appends a value to the sequence. Runs metamethods.
    pub fn push(&self, value: impl IntoLua) -> Result<()> {
        self.set(self.len()? + 1, value)
    }

    /// Removes all entries.
    ///
    /// ```
    /// let vm = perilune::Vm::new();
    /// let t: perilune::Table = vm.load("{1, 2, x = 3}").eval()?;
    /// t.clear()?;
    /// assert!(t.is_empty()?);
    /// # Ok::<(), perilune::Error>(())
    /// ```
    pub fn clear(&self) -> Result<()> {
        self.with(|st, t| {
            let mut at = 0;
            while let Some((next, key, _)) = st.rt.next_index(t, at) {
                let stored = st.rt.set(t, key, Raw::NIL);
                st.check_store(stored)?;
                at = next;
            }
            Ok(())
        })
    }

    /// Sets or removes the metatable.
    ///
    /// ```
    /// let vm = perilune::Vm::new();
    /// let (t, m) = (vm.create_table()?, vm.create_table()?);
    /// m.set("__index", vm.create_function(|_, (_, key): (perilune::Table, String)| Ok(key + "!"))?)?;
    /// t.set_metatable(Some(&m))?;
    /// assert_eq!(t.get::<String>("moon")?, "moon!");
    /// # Ok::<(), perilune::Error>(())
    /// ```
    pub fn set_metatable(&self, metatable: Option<&Table>) -> Result<()> {
        let section = Section::new(&self.0.inner)?;
        let m = match metatable {
            Some(m) => m.0.in_context(section.context())?.as_table(),
            None => None,
        };
        self.with(|st, t| {
            let set = st.rt.set_metatable(t, m);
            st.check_memory(set)?;
            if m.is_some() && !st.rt.table_event(t, Event::Gc).is_nil() {
                let registered = st.rt.heap.register_finalizer(t.header());
                st.check_memory(registered)?;
            }
            Ok(())
        })
    }

    /// Goes through all entries, in no particular order and without metamethods. Entries may be changed and
    /// removed meanwhile; if some are added, others may be missed or met twice.
    ///
    /// ```
    /// let vm = perilune::Vm::new();
    /// let t: perilune::Table = vm.load("{a = 1, b = 2}").eval()?;
    /// let mut pairs: Vec<(String, i64)> = t.pairs().collect::<Result<_, _>>()?;
    /// pairs.sort();
    /// assert_eq!(pairs, [("a".into(), 1), ("b".into(), 2)]);
    /// # Ok::<(), perilune::Error>(())
    /// ```
    pub fn pairs<K: FromLua, V: FromLua>(&self) -> TablePairs<'_, K, V> {
        TablePairs {
            table: self,
            position: Some(0),
            marker: PhantomData,
        }
    }

    /// Goes through the elements from 1 up to the first nil, without metamethods.
    ///
    /// ```
    /// let vm = perilune::Vm::new();
    /// let t: perilune::Table = vm.load("{3, 4, 5}").eval()?;
    /// let sum: i64 = t.sequence_values::<i64>().sum::<Result<_, _>>()?;
    /// assert_eq!(sum, 12);
    /// # Ok::<(), perilune::Error>(())
    /// ```
    pub fn sequence_values<V: FromLua>(&self) -> TableSequence<'_, V> {
        TableSequence {
            table: self,
            index: 1,
            marker: PhantomData,
        }
    }
}

/// See [`Table::pairs`].
pub struct TablePairs<'a, K, V> {
    table: &'a Table,
    /// `None` at the end.
    position: Option<u64>,
    marker: PhantomData<(K, V)>,
}

impl<K: FromLua, V: FromLua> TablePairs<'_, K, V> {
    fn step(&mut self, position: u64) -> Result<Option<(K, V)>> {
        let section = Section::new(&self.table.0.inner)?;
        let cx = section.context();
        let entry = cx.with(|st| {
            self.table
                .0
                .get(st)
                .as_table()
                .and_then(|t| st.rt.next_index(t, position))
        });
        let Some((next, key, v)) = entry else {
            return Ok(None);
        };
        cx.push(v)?;
        self.position = Some(next);
        let key = K::from_raw(RawValue(key), cx)?;
        let v = V::from_raw(RawValue(cx.slot(section.first())), cx)?;
        Ok(Some((key, v)))
    }
}

impl<K: FromLua, V: FromLua> Iterator for TablePairs<'_, K, V> {
    type Item = Result<(K, V)>;

    fn next(&mut self) -> Option<Result<(K, V)>> {
        // Nothing follows an error.
        let position = self.position.take()?;
        self.step(position).transpose()
    }
}

/// See [`Table::sequence_values`].
pub struct TableSequence<'a, V> {
    table: &'a Table,
    /// 0 at the end.
    index: i64,
    marker: PhantomData<V>,
}

impl<V: FromLua> TableSequence<'_, V> {
    fn step(&mut self, index: i64) -> Result<Option<V>> {
        let section = Section::new(&self.table.0.inner)?;
        let cx = section.context();
        let v = cx.with(|st| {
            self.table
                .0
                .get(st)
                .as_table()
                .map_or(Raw::NIL, |t| st.rt.get(t, Raw::int(index)))
        });
        if v.is_nil() {
            return Ok(None);
        }
        let v = V::from_raw(RawValue(v), cx)?;
        self.index = index.wrapping_add(1);
        Ok(Some(v))
    }
}

impl<V: FromLua> Iterator for TableSequence<'_, V> {
    type Item = Result<V>;

    fn next(&mut self) -> Option<Result<V>> {
        let index = std::mem::take(&mut self.index);
        if index == 0 {
            None
        } else {
            self.step(index).transpose()
        }
    }
}
