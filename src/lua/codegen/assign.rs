//! Assignments, and the fields of table constructors.

use smallvec::SmallVec;

use super::Generator;
use super::expr::{Operand, small_key};
use crate::bytecode::{Instr, Op};
use crate::lua::StrId;
use crate::lua::ast::{ExprId, ExprKind, ExprList, Field, FieldKey};
use crate::runtime::value::Value;

/// Where a value goes, with everything evaluated that has to be before the value.
#[derive(Clone, Copy)]
enum Target {
    Register(usize),
    Cell(usize),
    Captured(u8),
    /// A field of a captured variable that holds an environment.
    Global {
        env: u8,
        name: StrId,
    },
    Field {
        object: Operand,
        name: StrId,
    },
    Index {
        object: Operand,
        key: Key,
    },
}

#[derive(Clone, Copy)]
enum Key {
    Int(i32),
    Operand(Operand),
}

/// The source of a store.
#[derive(Clone, Copy)]
enum Source {
    Register(usize),
    Literal(Value),
}

impl Generator<'_> {
    /// `target = value`
    pub(super) fn assign(&mut self, target: ExprId, value: ExprId) {
        let start = self.f.free;
        let place = self.target(target, &[]);
        self.store_expr(place, value, self.chunk[target].line, start);
        self.f.free = start;
    }

    /// `targets = values`
    pub(super) fn assign_many(&mut self, targets: ExprList, values: ExprList) {
        let start = self.f.free;
        let targets = self.chunk.list(targets);
        let values = self.chunk.list(values);
        let places: SmallVec<[Target; 8]> = targets
            .iter()
            .map(|&target| self.target(target, targets))
            .collect();
        let first = self.f.free;
        let mut count = targets.len();
        if let (Some(&place), Some((&last, init))) = (places.last(), values.split_last())
            && targets.len() == values.len()
        {
            // The last value goes to its target without detour.
            for &value in init {
                self.eval_next(value);
            }
            count -= 1;
            let free = self.f.free;
            self.store_expr(place, last, self.chunk[targets[count]].line, free);
            self.f.free = free;
        } else {
            self.adjust(values, count);
        }
        for i in (0..count).rev() {
            let free = self.f.free;
            self.store(
                places[i],
                Source::Register(first + i),
                self.chunk[targets[i]].line,
                free,
            );
            self.f.free = free;
        }
        self.f.free = start;
    }

    /// Evaluates the parts of a target. Variables among `assigned`, the targets of the same statement, are copied.
    fn target(&mut self, e: ExprId, assigned: &[ExprId]) -> Target {
        match self.kind(e) {
            ExprKind::Local(var) => {
                let r = self.registers[var.index()];
                if self.chunk[var].captured {
                    Target::Cell(r)
                } else {
                    Target::Register(r)
                }
            }
            ExprKind::Upvalue(index) => Target::Captured(index),
            ExprKind::Global { env, name } => Target::Global { env, name },
            ExprKind::Field { object, name } => Target::Field {
                object: self.part(object, assigned, true),
                name,
            },
            ExprKind::Index { object, key } => {
                let object = self.part(object, assigned, false);
                let key = match small_key(self.kind(key)) {
                    Some(key) => Key::Int(key),
                    None => Key::Operand(self.part(key, assigned, false)),
                };
                Target::Index { object, key }
            }
            _ => unreachable!("the parser rejects other targets"),
        }
    }

    /// Evaluates a table or key of a target; a captured variable that may wait is left alone.
    fn part(&mut self, e: ExprId, assigned: &[ExprId], may_wait: bool) -> Operand {
        let conflict = assigned
            .iter()
            .any(|&target| match (self.kind(target), self.kind(e)) {
                (ExprKind::Local(target), ExprKind::Local(var)) => target == var,
                (ExprKind::Upvalue(target), ExprKind::Upvalue(index)) => target == index,
                _ => false,
            });
        match self.kind(e) {
            ExprKind::Local(_) if conflict => Operand::Register(self.eval_next(e)),
            ExprKind::Upvalue(index) if may_wait && !conflict => Operand::Captured(index),
            _ => self.operand(e),
        }
    }

    /// Evaluates `value` and stores it. Registers from `live` up are free once the store begins.
    fn store_expr(&mut self, target: Target, value: ExprId, line: u32, live: usize) {
        let source = match target {
            Target::Register(r) => {
                self.eval_to(value, r);
                return;
            }
            Target::Field { .. }
            | Target::Index {
                key: Key::Operand(_),
                ..
            } if let Some(v) = self.literal(value) => Source::Literal(v),
            _ => {
                let operand = self.operand(value);
                Source::Register(self.register(operand))
            }
        };
        self.store(target, source, line, live);
    }

    fn store(&mut self, target: Target, source: Source, line: u32, live: usize) {
        self.line(line);
        match target {
            Target::Register(r) => {
                let value = self.source(source);
                self.finish_store(live, |this| this.read_to(Operand::Register(value), r));
            }
            Target::Cell(r) => {
                let value = self.source(source);
                self.finish_store(live, |this| this.emit(Op::SETCELL, r, value, 0, 0));
            }
            Target::Captured(index) => {
                let value = self.source(source);
                self.finish_store(live, |this| {
                    this.emit(Op::SETUP, value, index as usize, 0, 0)
                });
            }
            Target::Global { env, name } => match self.field(name) {
                Some(field) => {
                    let value = self.source(source);
                    self.finish_store(live, |this| {
                        this.emit(Op::SETENV, value, env as usize, 0, field)
                    });
                }
                None => self.store_by_name(Operand::Captured(env), name, source, live),
            },
            Target::Field { object, name } => match self.field(name) {
                Some(field) => {
                    let object = self.register(object);
                    if let Source::Literal(v) = source
                        && let Some(k) = self.f.builder.short_constant(v)
                    {
                        let store = Instr::with_bc(Op::SETFIELDK, object as u8, k, field);
                        self.f.builder.emit(store, live);
                        return;
                    }
                    let value = self.source(source);
                    self.finish_store(live, |this| {
                        this.emit(Op::SETFIELD, object, value, 0, field)
                    });
                }
                None => self.store_by_name(object, name, source, live),
            },
            Target::Index {
                object,
                key: Key::Int(key),
            } => {
                let object = self.register(object);
                let value = self.source(source);
                self.finish_store(live, |this| {
                    this.emit(Op::SETINT, object, value, 0, key as u32)
                });
            }
            Target::Index {
                object,
                key: Key::Operand(key),
            } => {
                let object = self.register(object);
                let key = self.register(key);
                self.store_by_key(object, key, source, live);
            }
        }
    }

    /// Emits the store itself, during which only registers below `live` are in use.
    fn finish_store(&mut self, live: usize, emit: impl FnOnce(&mut Self)) {
        self.f.free = live;
        emit(self);
    }

    /// The register of what is stored.
    fn source(&mut self, source: Source) -> usize {
        match source {
            Source::Register(r) => r,
            Source::Literal(v) => {
                self.load(v, self.f.free);
                self.claim(1)
            }
        }
    }

    /// Stores to a name that is too long for a field cache.
    fn store_by_name(&mut self, object: Operand, name: StrId, source: Source, live: usize) {
        let object = self.register(object);
        let key = self.name(name);
        self.store_by_key(object, key, source, live);
    }

    fn store_by_key(&mut self, object: usize, key: usize, source: Source, live: usize) {
        match source {
            Source::Register(value) => {
                self.finish_store(live, |this| this.emit(Op::SETINDEX, object, key, value, 0));
            }
            Source::Literal(v) => {
                let k = self.f.builder.constant(v);
                self.finish_store(live, |this| this.emit(Op::SETINDEXK, object, key, 0, k));
            }
        }
    }

    /// Stores a field of the constructor whose table is in `table`. Takes no register.
    pub(super) fn store_field(&mut self, table: usize, field: &Field) {
        let start = self.f.free;
        let object = Operand::Register(table);
        let target = match field.key {
            FieldKey::Name(name) => Target::Field { object, name },
            FieldKey::Expr(key) => match small_key(self.kind(key)) {
                Some(key) => Target::Index {
                    object,
                    key: Key::Int(key),
                },
                None => Target::Index {
                    object,
                    key: Key::Operand(self.operand(key)),
                },
            },
            FieldKey::Next => return,
        };
        self.store_expr(target, field.value, field.line, start);
        self.f.free = start;
    }
}
