//! Listings of prototypes for people, as `--dump=bytecode` prints them.

use std::fmt::{self, Write};

use perilune_uops::instructions::{Role, Wide};

use super::Instr;
use super::proto::Proto;
use crate::runtime::object::Gc;
use crate::runtime::string::Str;
use crate::runtime::value::{Tag, Value};

/// The longest string shown of a constant, in bytes.
const TEXT_MAX: usize = 40;

/// Writes the listing of a function and of all functions inside it, each after the one that contains it.
///
/// A line is the instruction's index, its source line, its name and operands (`r` registers, `u` captured
/// variables), and what they stand for.
pub fn list(proto: Gc<Proto>, out: &mut dyn Write) -> fmt::Result {
    let mut waiting = vec![proto];
    let mut is_first = true;
    while let Some(proto) = waiting.pop() {
        if !is_first {
            writeln!(out)?;
        }
        is_first = false;
        list_one(proto, out)?;
        waiting.extend(proto.info.protos.iter().rev());
    }
    Ok(())
}

fn list_one(proto: Gc<Proto>, out: &mut dyn Write) -> fmt::Result {
    let info = &proto.info;
    writeln!(
        out,
        "function {}:{},{} ({} params, flags {}, {} registers, {} captured)",
        text(info.source),
        info.line_defined,
        info.last_line,
        proto.params,
        proto.flags,
        proto.registers,
        info.captured.len(),
    )?;
    for (pc, instr) in info.code.iter().enumerate() {
        write!(
            out,
            "{pc:5} [{}] {:<10}",
            info.lines.line(pc as u32),
            instr.op().name()
        )?;
        write!(out, " {:<14}", operands(*instr))?;
        comment(proto, pc, out)?;
        writeln!(out)?;
    }
    Ok(())
}

/// The operands by role.
fn operands(instr: Instr) -> String {
    let format = instr.op().format();
    let mut out = String::new();
    let mut show = |role: Role, byte: usize| {
        let shown = match role {
            Role::None => return,
            Role::Def | Role::Use | Role::Cell | Role::DefCell | Role::Group => format!("r{byte}"),
            Role::Captured => format!("u{byte}"),
            Role::Count => format!("{byte}"),
            Role::Loop | Role::Constant => format!("{}", instr.bc()),
            Role::Imm => format!("{}", instr.bc() as i16),
        };
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(&shown);
    };
    show(format.a, instr.a());
    show(format.b, instr.b());
    if !matches!(format.b, Role::Loop | Role::Constant | Role::Imm) {
        show(format.c, instr.c());
    }
    if format.d != Wide::None {
        if !out.is_empty() {
            out.push(' ');
        }
        match format.d {
            Wide::Int | Wide::Jump => out.push_str(&instr.sd().to_string()),
            _ => out.push_str(&instr.d().to_string()),
        }
    }
    out
}

fn comment(proto: Gc<Proto>, pc: usize, out: &mut dyn Write) -> fmt::Result {
    let info = &proto.info;
    let instr = info.code[pc];
    let format = instr.op().format();
    let constant = |index: usize| info.constants.get(index).map_or("?".into(), |v| value(*v));
    if format.b == Role::Constant {
        write!(out, " ; {}", constant(instr.bc() as usize))?;
    }
    match format.d {
        Wide::Constant | Wide::Number => write!(out, " ; {}", constant(instr.d() as usize)),
        Wide::Jump => write!(out, " ; to {}", pc as i64 + 1 + instr.sd() as i64),
        Wide::Field => match info.fields.get(instr.d() as usize) {
            Some(field) => write!(out, " ; {}", text(field.key)),
            None => write!(out, " ; ?"),
        },
        Wide::Proto => match info.protos.get(instr.d() as usize) {
            Some(inner) => write!(out, " ; line {}", inner.info.line_defined),
            None => write!(out, " ; ?"),
        },
        _ => Ok(()),
    }
}

fn value(v: Value) -> String {
    match (v.tag(), v.as_int(), v.as_float(), v.as_string()) {
        (_, Some(i), ..) => i.to_string(),
        (_, _, Some(f), _) => format!("{f:?}"),
        (_, _, _, Some(s)) => format!("\"{}\"", text(s)),
        (Tag::TRUE, ..) => "true".into(),
        (Tag::FALSE, ..) => "false".into(),
        _ => "nil".into(),
    }
}

/// A string, escaped and cut.
fn text(s: Gc<Str>) -> String {
    let bytes = s.as_bytes();
    let mut shown = bytes[..bytes.len().min(TEXT_MAX)]
        .escape_ascii()
        .to_string();
    if bytes.len() > TEXT_MAX {
        shown.push_str("...");
    }
    shown
}
