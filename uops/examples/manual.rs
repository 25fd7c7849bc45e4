//! Prints the manual: the instruction set with its expansions, the micro-ops, what their declarations consist of, and
//! what is particular about them in superblocks.

use std::io::{self, BufWriter, Write};

use perilune_uops::{
    Exit, Format, Immediate, Listing, Memory, MicroOp, Op, Operation, Role, Type, Wide,
};

/// The operands as in the table of instructions, without those that are not used.
fn operands(format: Format) -> String {
    let mut parts = Vec::new();
    for (field, role) in [("a", format.a), ("b", format.b), ("c", format.c)] {
        let field = match role {
            Role::None => continue,
            Role::Loop | Role::Constant | Role::Imm => "bc",
            _ => field,
        };
        parts.push(format!("{field}: {role:?}"));
    }
    if format.d != Wide::None {
        parts.push(format!("d: {:?}", format.d));
    }
    parts.join(", ")
}

fn instructions(out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "INSTRUCTIONS")?;
    for op in Op::ALL {
        writeln!(out, "\n{} ({})", op.name(), operands(op.format()))?;
        if op.general() != *op {
            write!(out, "    {} if", op.general().name())?;
        } else {
            write!(out, "   ")?;
        }
        writeln!(out, "{}", op.description())?;
        writeln!(out, "        {}", Listing(op.expansion()))?;
        for case in op.cases() {
            writeln!(out, "      | {}", Listing(case))?;
        }
    }
    Ok(())
}

fn microops(out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\nMICRO-OPS\n")?;
    for op in MicroOp::ALL {
        writeln!(out, "{}", op.declaration())?;
        writeln!(out, "       {}", op.declaration().description)?;
    }
    Ok(())
}

/// The members of an enumeration, with their names and what they are.
fn section<T: Copy>(
    out: &mut impl Write,
    title: &str,
    members: &[T],
    name: fn(T) -> &'static str,
    description: fn(T) -> &'static str,
) -> io::Result<()> {
    writeln!(out, "\n{title}\n")?;
    for &member in members {
        writeln!(
            out,
            "{}",
            format!("{:12}{}", name(member), description(member)).trim_end()
        )?;
    }
    Ok(())
}

/// The micro-ops with a property, a few in each line.
fn list(out: &mut impl Write, title: &str, has: fn(MicroOp) -> bool) -> io::Result<()> {
    let names: Vec<&str> = MicroOp::ALL
        .iter()
        .filter(|op| has(**op))
        .map(|op| op.name())
        .collect();
    writeln!(out, "{title}")?;
    for line in names.chunks(6) {
        writeln!(out, "       {}", line.join(" "))?;
    }
    Ok(())
}

fn superblocks(out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\nMICRO-OPS IN SUPERBLOCKS\n")?;
    list(out, "Only in expansions:", |op| !op.is_in_superblocks())?;
    list(
        out,
        "With a type noted with each node:",
        MicroOp::has_own_type,
    )?;
    list(out, "At the end, and nowhere else:", |op| {
        op.is_in_superblocks() && op.ends()
    })
}

fn main() -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    instructions(&mut out)?;
    microops(&mut out)?;
    section(&mut out, "TYPES", Type::ALL, Type::name, Type::description)?;
    section(
        &mut out,
        "OPERANDS",
        Immediate::ALL,
        Immediate::name,
        Immediate::description,
    )?;
    section(
        &mut out,
        "OPERATIONS",
        Operation::ALL,
        Operation::name,
        Operation::description,
    )?;
    section(
        &mut out,
        "MEMORY",
        Memory::ALL,
        Memory::name,
        Memory::description,
    )?;
    section(&mut out, "EXITS", Exit::ALL, Exit::name, Exit::description)?;
    superblocks(&mut out)?;
    out.flush()
}
