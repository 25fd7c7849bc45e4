//! Prints the manual: the instruction set with its expansions, and the micro-ops.

use std::io::{self, BufWriter, Write};

use perilune_uops::{Format, Listing, MicroOp, Op, Role, Wide};

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

fn main() -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
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
    writeln!(out, "\nMICRO-OPS\n")?;
    for op in MicroOp::ALL {
        writeln!(out, "{}", op.declaration())?;
        writeln!(out, "       {}", op.declaration().description)?;
    }
    out.flush()
}
